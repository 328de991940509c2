"""Notebooks run from top to bottom as scripts, on other data, and pass marimo's own checks."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import journeylab as jl
from constantmodel import ConstantModel
from journeylab import datasets

pytestmark = pytest.mark.browser  # with the apps, by `make browser`

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("0*.py"))
SEGMENTS, DRAW, REPLAY = "01_explore_segments", "02_draw_a_journey", "03_replay_and_backtest"


def load(stem: str) -> ModuleType:
    path = next(path for path in NOTEBOOKS if path.stem == stem)
    spec = importlib.util.spec_from_file_location(stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(stem: str, **defs: Any) -> Any:
    """What a notebook defines when it is run with some of its definitions given."""
    _, found = load(stem).app.run(defs=defs)
    return found


@pytest.fixture(scope="module")
def log() -> jl.EventLog:
    """A log of another firm, with other events."""
    rows = [("ada", "start", 1), ("bo", "start", 2), ("ada", "login", 3), ("ada", "order", 9), ("bo", "login", 20)]
    return jl.EventLog.from_rows(
        {"contact": contact, "event": event, "occurred_at": f"2026-03-{day:02d}T12:00:00Z"}
        for contact, event, day in rows
    )


@pytest.fixture(scope="module")
def began() -> jl.Journey:
    return jl.Journey(
        journey="hello",
        trigger=jl.Trigger(event="start"),
        exit_when=[jl.ExitWhen(event="order", goal=True)],
        nodes={
            "pause": jl.Wait(wait="36h", next="arms"),
            "arms": jl.Split(split={"left": "25%", "right": "75%"}),
            "left": jl.Send(send="left_1", next="done"),
            "right": jl.Send(send="right_1", next="done"),
            "done": jl.Exit(exit="finished"),
        },
    )


def test_there_are_six_and_they_tell_one_story() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        SEGMENTS, DRAW, REPLAY, "04_learn_send_times", "05_test_variants", "06_promote_and_watch",
    ]  # fmt: skip


def test_notebooks_pass_marimos_checks() -> None:
    command = [sys.executable, "-m", "marimo", "check", "--strict", *map(str, NOTEBOOKS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_segments_begin_with_what_the_log_has(log: jl.EventLog) -> None:
    found = run(SEGMENTS, log=log)
    assert set(found["examples"]) == {"login_in_30_days", "order_in_30_days", "start_in_30_days"}
    assert found["text"].startswith("segments:\n")
    [first, *_] = found["segments"].values()
    assert sorted(found["audience"]["contact"]) == sorted(jl.audience(log, first)["contact"])


def test_a_new_journey_is_drawn_over_any_log(log: jl.EventLog) -> None:
    found = run(DRAW, log=log, began="mine")
    assert found["canvas"].checked["faults"] == []
    assert found["text"].startswith("journey: mine\ntrigger:\n  event: login\n")


def test_an_untouched_drawing_is_the_file_it_came_from() -> None:
    found = run(DRAW)
    assert found["text"] == Path(datasets.journey_file("trial_welcome")).read_text()


def test_an_untouched_explorer_replays_the_journey_as_it_is(log: jl.EventLog, began: jl.Journey) -> None:
    found = run(REPLAY, log=log, began=began)
    assert found["result"].summary() == jl.replay(began, log).summary()
    assert found["support"].journey.version == began.version


def test_a_model_predicts_and_a_backtest_judges(log: jl.EventLog, began: jl.Journey) -> None:
    model = ConstantModel(["left_1", "right_1"], delivered=1.0, opened=0.5)
    found = run(REPLAY, log=log, began=began, model=model)
    assert found["explorer"].forecast is not None
    assert "verdicts" not in found  # it runs when asked for


def test_a_fault_is_shown_where_it_can_be_mended(log: jl.EventLog) -> None:
    journey = jl.Journey(
        journey="hello",
        trigger=jl.Trigger(event="start", where='contry == "PL"'),
        nodes={"pause": jl.Wait(wait="1d", next="done"), "done": jl.Exit(exit="finished")},
    )
    outputs, found = load(REPLAY).app.run(defs={"log": log, "began": journey})
    assert "result" not in found
    assert any("faults" in getattr(output, "text", "") for output in outputs)
    assert any("contry" in fault["message"] for fault in found["explorer"].checked["faults"])


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the tour was made a notebook for Jupyter and one for marimo, as `make tour` does."""
    folder = tmp_path_factory.mktemp("tour")
    source = NOTEBOOKS[0].parent / "tour.md"
    for command in (
        ["jupytext", "--quiet", "--to", "ipynb", str(source), "--output", "tour.ipynb"],
        ["marimo", "convert", "tour.ipynb", "--output", "tour.py"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
    return folder


def test_the_tour_runs_in_marimo(tour: Path) -> None:
    spec = importlib.util.spec_from_file_location("tour", tour / "tour.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    _, found = module.app.run()
    assert found["result"].n_entries == found["explorer"].replay.n_entries > 1_000


def test_the_tour_runs_in_jupyter(tour: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(tour / "tour.ipynb", as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output for output in shown if output["output_type"] == "error"] == []
    widgets = [output for output in shown if "application/vnd.jupyter.widget-view+json" in output.get("data", {})]
    assert len(widgets) == 3
