"""The command `lab`: the bundled notebooks, in marimo or JupyterLab, on a log of one's own."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from journeylab.display import counted
from journeylab.errors import DataError, JourneyLabError, known

from .options import Columns, Contacts, Event, Language, Query, Timezone
from .source import Source

__all__ = ["lab"]

_SETTINGS = Path(__file__).parents[1] / "templates" / "jupyterlab"
_MARIMO, _JUPYTER = (".py",), (".py", ".ipynb", ".md")
_TOUR = "tour.md"
_LEFT = shutil.ignore_patterns("__pycache__", "__marimo__", ".*", "*.pyc")


def lab(
    notebook: Annotated[
        str | None,
        typer.Argument(
            metavar="[NOTEBOOK]",
            help="Which to open, by its name; by default the tour in JupyterLab, else all are listed.",
        ),
    ] = None,
    events: Annotated[
        str | None,
        typer.Option("--events", metavar="FILE|URL", help="The event log to work on; by default the bundled shop's."),
    ] = None,
    contacts: Contacts = None,
    columns: Columns = None,
    event: Event = None,
    timezone: Timezone = None,
    query: Query = None,
    jupyter: Annotated[bool, typer.Option("--jupyter", help="Open JupyterLab instead of marimo.")] = False,
    folder: Annotated[
        Path, typer.Option("--folder", metavar="DIR", help="Where your copies of the notebooks are, or are to be.")
    ] = Path("journeylab-notebooks"),
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="The port on this machine.")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, and open no browser.")] = False,
    language: Language = "en",
) -> None:
    """Open the notebooks that come with JourneyLab, on your own event log or on the bundled shop's.

    They are copied to a folder of yours; what is there already is never written over. The log goes to them by
    environment variables, which journeylab.datasets.given_log reads.

    \b
    Examples:
      journeylab lab
      journeylab lab --events orders.csv --columns customer_id=contact,date=occurred_at --event purchase --timezone UTC
      journeylab lab 01_explore_segments --jupyter --no-browser --port 8888
    """
    tool = "jupyterlab" if jupyter else "marimo"
    if find_spec(tool) is None:
        name, extra = ("JupyterLab", "lab") if jupyter else ("marimo", "notebook")
        raise JourneyLabError(f'{name} is not installed: pip install "journeylab[{extra}]"')
    environment = dict(os.environ)
    given = (contacts, columns, event, timezone, query)
    if events is not None:
        from journeylab.datasets import log_environment

        Source(events, contacts, columns, event, timezone, query, None).read()  # a fault is said here, not in a cell
        environment |= log_environment(
            events, contacts=contacts, columns=columns, event=event, timezone=timezone, query=query
        )
    elif any(given):
        raise typer.BadParameter("say where the events are: --events FILE|URL", param_hint="--events")
    environment["JOURNEYLAB_LANGUAGE"] = language
    copied = _copied(folder)
    endings = _JUPYTER if jupyter else _MARIMO
    opened = None if notebook is None else _named(notebook, folder, endings)
    if jupyter and opened is None and (folder / _TOUR).is_file():
        opened = folder / _TOUR
    said = f"copied {counted(copied, 'file')} to {folder}" if copied else f"all notebooks are in {folder} already"
    typer.echo(f"{said}; nothing was written over", err=True)
    sys.stderr.flush()
    arguments = (_jupyter if jupyter else _marimo)(folder, opened, port, no_browser=no_browser)
    os.execve(sys.executable, [sys.executable, "-m", *arguments], environment)


def _copied(folder: Path) -> int:
    """Copies the bundled notebooks that are not in the folder yet; how many files they are."""
    from journeylab.datasets import notebooks

    bundled, n_copied = notebooks(), 0

    def copy(source: str, target: str) -> None:
        nonlocal n_copied
        if not Path(target).exists():
            shutil.copyfile(source, target)
            n_copied += 1

    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; name a folder with --folder")
    if folder.resolve() != bundled.resolve():
        shutil.copytree(bundled, folder, ignore=_LEFT, copy_function=copy, dirs_exist_ok=True)
    return n_copied


def _named(name: str, folder: Path, endings: tuple[str, ...]) -> Path:
    """The notebook of a name, with or without its ending.

    Raises:
        DataError: when there is none in the folder.
    """
    found = {
        str(path.relative_to(folder).with_suffix("")): path
        for path in sorted(folder.rglob("*"))
        if path.suffix in endings and not any(part.startswith(("_", ".")) for part in path.relative_to(folder).parts)
    }
    wanted = str(Path(name).with_suffix("")) if Path(name).suffix in _JUPYTER else name
    by_stem = {path.stem: path for path in found.values()}
    if wanted not in found and wanted not in by_stem:
        raise DataError(f"no notebook {name!r} in {folder}; {known(wanted, found, 'notebooks')}")
    return found.get(wanted) or by_stem[wanted]


def _marimo(folder: Path, notebook: Path | None, port: int | None, *, no_browser: bool) -> list[str]:
    options = [*([] if port is None else ["--port", str(port)]), *(["--headless"] if no_browser else [])]
    return ["marimo", "edit", "--skip-update-check", "--no-sandbox", *options, str(notebook or folder)]


def _jupyter(folder: Path, notebook: Path | None, port: int | None, *, no_browser: bool) -> list[str]:
    options = [*([] if port is None else [f"--ServerApp.port={port}"]), *(["--no-browser"] if no_browser else [])]
    if notebook is not None:
        place = quote(notebook.relative_to(folder).as_posix())
        options.append(f"--LabApp.default_url=/lab/tree/{place}")
    # That there is no pop-up about news, and that a text is opened as a notebook, are settings and no options; those of
    # the user stay in force.
    return [
        "jupyterlab",
        f"--ServerApp.root_dir={folder.resolve()}",
        f"--LabApp.app_settings_dir={_SETTINGS}",
        *options,
    ]
