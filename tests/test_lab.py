"""`journeylab lab` opens the notebooks on the log that it is given, from copies that it never writes over."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pandas as pd
import pytest

import journeylab as jl
from journeylab import datasets
from journeylab.cli import notebooks

SECONDS = 60


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@contextmanager
def lab(folder: Path, port: int, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The running command, which is ended by its own process id."""
    command = [sys.executable, "-c", "from journeylab.cli import main; main()", "lab"]
    with open(folder / "said.txt", "w") as said:
        process = subprocess.Popen(
            [*command, "--no-browser", "--port", str(port), *arguments], cwd=folder, stdout=said, stderr=said,
            text=True, env={**os.environ, **environment},
        )  # fmt: skip
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def page(process: subprocess.Popen[str], url: str, folder: Path) -> str:
    """What is at an address, once somebody answers."""
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        assert process.poll() is None, (folder / "said.txt").read_text()
        try:
            with urlopen(url, timeout=10) as answer:
                return str(answer.read().decode())
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError((folder / "said.txt").read_text())


def write_orders(folder: Path) -> Path:
    table = pd.DataFrame({"customer_id": [7, 8, 7], "date": ["2026-03-01", "2026-03-02", "2026-03-09"]})
    table.to_csv(folder / "orders.csv", index=False)
    return folder / "orders.csv"


def test_marimo_opens_on_copies(tmp_path):
    mine = tmp_path / "journeylab-notebooks"
    mine.mkdir()
    (mine / "01_explore_segments.py").write_text("# mine\n")
    port = free_port()
    with lab(tmp_path, port) as process:
        assert "marimo" in page(process, f"http://127.0.0.1:{port}/", tmp_path)
    assert (mine / "01_explore_segments.py").read_text() == "# mine\n"
    assert "nothing was written over" in (tmp_path / "said.txt").read_text()


def test_jupyterlab_opens_without_its_news(tmp_path):
    pytest.importorskip("jupyterlab")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "jupyter_server_config.py").write_text(
        "c.ServerApp.allow_root = True\nc.IdentityProvider.token = ''\n"
    )
    port = free_port()
    with lab(tmp_path, port, "--jupyter", JUPYTER_CONFIG_DIR=str(tmp_path / "config")) as process:
        assert "JupyterLab" in page(process, f"http://127.0.0.1:{port}/lab", tmp_path)
        place = "@jupyterlab/apputils-extension:notification"
        settings = json.loads(page(process, f"http://127.0.0.1:{port}/lab/api/settings/{place}", tmp_path))
        assert settings["schema"]["properties"]["fetchNews"]["default"] == "false"
        listed = json.loads(page(process, f"http://127.0.0.1:{port}/api/contents", tmp_path))
        assert "01_explore_segments.py" in [one["name"] for one in listed["content"]]


@pytest.fixture
def started(monkeypatch) -> list[tuple[list[str], dict[str, str]]]:
    """What would be started, and with which environment."""
    found: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda _, arguments, environment: found.append((arguments[1:], environment)))
    return found


def test_the_log_goes_to_the_notebooks(run, started, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_orders(tmp_path)
    run(
        "lab", "--events", "orders.csv", "--columns", "customer_id=contact,date=occurred_at", "--event", "purchase",
        "--timezone", "UTC", "--language", "pl", "01_explore_segments",
    )  # fmt: skip
    [(arguments, environment)] = started
    assert arguments[:3] == ["-m", "marimo", "edit"]
    assert arguments[-1] == str(Path("journeylab-notebooks") / "01_explore_segments.py")
    assert environment["JOURNEYLAB_LANGUAGE"] == "pl"
    for name, value in environment.items():
        if name.startswith("JOURNEYLAB_"):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir("/")
    log = datasets.given_log()
    assert (log.n_events, log.event_names, log.n_contacts) == (3, ["purchase"], 2)


def test_the_arguments_of_jupyterlab(run, started, tmp_path):
    run("lab", "--jupyter", "--port", 8123, "--no-browser", "--folder", tmp_path / "mine", "01_explore_segments.py")
    [(arguments, _)] = started
    assert arguments[:2] == ["-m", "jupyterlab"]
    assert f"--ServerApp.root_dir={tmp_path / 'mine'}" in arguments
    assert "--ServerApp.port=8123" in arguments
    assert "--no-browser" in arguments
    assert "--LabApp.default_url=/lab/tree/01_explore_segments.py" in arguments


def test_jupyterlab_begins_with_the_tour(run, started, tmp_path):
    run("lab", "--jupyter", "--no-browser", "--folder", tmp_path / "mine")
    [(arguments, _)] = started
    assert "--LabApp.default_url=/lab/tree/tour.md" in arguments
    run("lab", "--folder", tmp_path / "mine")
    assert started[1][0][-1] == str(tmp_path / "mine")


def test_without_a_log_it_is_the_shops(monkeypatch):
    monkeypatch.delenv("JOURNEYLAB_EVENTS", raising=False)
    assert repr(datasets.given_log()) == repr(datasets.shop())


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"JOURNEYLAB_CONTACTS": "c.csv"}, "JOURNEYLAB_CONTACTS is set, and JOURNEYLAB_EVENTS is not"),
        ({"JOURNEYLAB_EVENTS": "e.csv", "JOURNEYLAB_COLUMNS": "a=b"}, "JOURNEYLAB_COLUMNS is no JSON object"),
        ({"JOURNEYLAB_EVENTS": "nowhere.csv"}, "there is no file nowhere.csv"),
    ],
)
def test_variables_that_do_not_fit_are_named(monkeypatch, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(jl.DataError, match=message):
        datasets.given_log()


def test_faults_are_said_before_anything_opens(run, started, tmp_path):
    def said(*arguments: Any, status: int = 1) -> str:
        return run("lab", "--folder", tmp_path / "mine", *arguments, status=status)

    write_orders(tmp_path)
    assert "map it with --columns" in said("--events", tmp_path / "orders.csv", "--event", "purchase")
    assert "no notebook 'repaly'" in said("repaly")
    assert "say where the events are" in said("--contacts", "contacts.csv", status=2)
    (tmp_path / "file").write_text("")
    assert "name a folder with --folder" in run("lab", "--folder", tmp_path / "file", status=1)
    assert started == []


@pytest.mark.parametrize(("options", "extra"), [([], "notebook"), (["--jupyter"], "lab")])
def test_a_missing_tool_says_which_extra_to_install(run, started, monkeypatch, options, extra):
    monkeypatch.setattr(notebooks, "find_spec", lambda name: None)
    assert f'pip install "journeylab[{extra}]"' in run("lab", *options, status=1)


def test_the_wheel_has_the_notebooks():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    shipped = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert shipped["notebooks"] == "journeylab/notebooks"
    assert (datasets.notebooks() / "01_explore_segments.py").is_file()
