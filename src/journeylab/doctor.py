"""Whether JourneyLab is installed well: Python, packages, the compiled machine, the cache, the bundled data, extras."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from .errors import DataError

__all__ = ["Finding", "compile_all", "examine", "examine_sender"]

_PACKAGES = (
    "alembic", "cryptography", "css-inline", "dkimpy", "duckdb", "email-validator", "jinja2", "numba", "numpy",
    "pandas", "prometheus-client", "pyarrow", "pydantic", "ruamel.yaml", "scipy", "sqlalchemy",
    "standardwebhooks", "starlette", "structlog", "tqdm", "typer", "tzdata", "urllib3", "uvicorn",
)  # fmt: skip
_EXTRAS = {
    "notebook": ("marimo", "plotly"),
    "lab": ("jupyterlab", "plotly"),
    "polars": ("polars",),
    "models": ("scikit-learn",),
    "postgresql": ("psycopg",),
    "mjml": ("mjml-python",),
    "mcp": ("mcp",),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what it is, its state (`"optional"` is missing), and what to know or do."""

    what: str
    state: Literal["well", "optional", "fault"]
    text: str


def examine() -> list[Finding]:
    """What there is to know about this installation, most basic first."""
    return [_python(), _packages(), _machine(), _cache(), _fixtures(), *_extras(), _extensions()]


def examine_sender(settings: str | Path, clock: Callable[[], datetime]) -> list[Finding]:
    """What there is to know about a sender; see `sender.health.health_of`."""
    from .sender.health import health_of

    found = health_of(settings, clock)
    return [Finding(one.what, "well" if one.is_well else "fault", one.text) for one in found]


def compile_all() -> None:
    """Compiles everything that is compiled at first use, by replaying the bundled journeys over the bundled data."""
    from .demo import DEMOS

    for demo in DEMOS:
        demo.replay()


def _python() -> Finding:
    here = ".".join(map(str, sys.version_info[:3]))
    is_well = sys.version_info >= (3, 11)
    text = f"{here} at {sys.executable}" if is_well else f"{here}; 3.11 or later is needed"
    return Finding("Python", "well" if is_well else "fault", text)


def _installed(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those installed, with their versions, and those missing."""
    there, missing = [], []
    for name in names:
        try:
            there.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    return there, missing


def _packages() -> Finding:
    there, missing = _installed(_PACKAGES)
    if missing:
        return Finding("packages", "fault", f"missing: {', '.join(missing)}; install JourneyLab anew")
    return Finding("packages", "well", ", ".join(there))


def _machine() -> Finding:
    from .machine import is_compiled

    if is_compiled():
        return Finding("machine", "well", "compiled")
    return Finding(
        "machine", "optional", "not compiled yet: the first replay does it; now: journeylab doctor --compile"
    )


def _cache() -> Finding:
    from .logcache import cache_folder

    folder = cache_folder()
    try:
        entries = [one for one in folder.iterdir() if one.is_dir()] if folder.is_dir() else []
        n_bytes = sum(file.stat().st_size for one in entries for file in one.iterdir())
    except OSError as error:
        return Finding("cache", "fault", f"{folder} cannot be read: {error.strerror}; JOURNEYLAB_CACHE names another")
    logs = f"{len(entries)} prepared log{'' if len(entries) == 1 else 's'}"
    return Finding("cache", "well", f"{folder}: {logs}, {n_bytes / 1e6:.1f} MB; deleting it is safe")


def _fixtures() -> Finding:
    from .datasets import fixtures

    try:
        folder = fixtures()
    except DataError as error:
        return Finding("bundled data", "fault", str(error))
    return Finding("bundled data", "well", f"{_counted_files(folder)} files in {folder}")


def _counted_files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def _extras() -> Iterator[Finding]:
    for extra, names in _EXTRAS.items():
        there, missing = _installed(names)
        if missing:
            yield Finding(f"extra {extra}", "optional", f"not installed: pip install 'journeylab[{extra}]'")
        else:
            yield Finding(f"extra {extra}", "well", ", ".join(there))


def _extensions() -> Finding:
    """What other packages bring in, unimported."""
    from .extensions import GROUPS, found

    there = [one for group in GROUPS for one in found(group).values()]
    faults = [one.fault for one in there if one.fault is not None]
    said = [f"{one.name} ({one.group}) of {one.packages[0]}" for one in there]
    return Finding("extensions", "fault" if faults else "well", "; ".join(faults or said) or "none")
