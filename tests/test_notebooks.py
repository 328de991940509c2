"""Notebooks run from top to bottom as scripts, on other data, and pass marimo's own checks."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import journeylab as jl

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.py"))
REPLAY = "01_replay_a_journey"


def load(stem: str) -> ModuleType:
    path = next(path for path in NOTEBOOKS if path.stem == stem)
    spec = importlib.util.spec_from_file_location(stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(**defs: Any) -> Any:
    _, found = load(REPLAY).app.run(defs=defs)
    return found


@pytest.fixture(scope="module")
def log() -> jl.EventLog:
    rows = [("ada", "signup", 1), ("bo", "signup", 2), ("ada", "login", 3), ("ada", "order", 9), ("bo", "login", 20)]
    return jl.EventLog.from_rows(
        {"contact": contact, "event": event, "occurred_at": f"2026-03-{day:02d}T12:00:00Z"}
        for contact, event, day in rows
    )


@pytest.fixture(scope="module")
def base() -> jl.Journey:
    return jl.Journey(
        journey="hello",
        trigger=jl.Trigger(event="signup"),
        exit_when=[jl.ExitWhen(event="order", goal=True)],
        nodes={
            "pause": jl.Wait(wait="36h", next="arms"),
            "arms": jl.Split(split={"left": "25%", "right": "75%"}),
            "left": jl.Send(send="left_1", next="done"),
            "right": jl.Send(send="right_1", next="done"),
            "done": jl.Exit(exit="finished"),
        },
    )


def test_notebooks_pass_marimos_checks() -> None:
    command = [sys.executable, "-m", "marimo", "check", "--strict", *map(str, NOTEBOOKS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_as_a_script(path: Path) -> None:
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


def test_untouched_controls_leave_the_journey_as_it_was(log: jl.EventLog, base: jl.Journey) -> None:
    found = run(log=log, base=base)
    assert found["journey"].version == base.version
    assert found["result"].summary() == jl.replay(base, log).summary()


def test_the_bundled_journey_is_replayed_over_the_shop() -> None:
    found = run()
    assert found["result"].n_entries == found["before"].n_entries > 1_000
    assert found["sizes"]["segment"].nunique() == 3


def test_other_logs_get_segments_of_their_own_events(log: jl.EventLog, base: jl.Journey) -> None:
    found = run(log=log, base=base)
    assert set(found["segments"]) == {"login_in_30_days", "order_in_30_days", "signup_in_30_days"}


def test_a_fault_is_shown_where_it_can_be_mended(log: jl.EventLog) -> None:
    journey = jl.Journey(
        journey="hello",
        trigger=jl.Trigger(event="signup", where='contry == "PL"'),
        nodes={"pause": jl.Wait(wait="1d", next="done"), "done": jl.Exit(exit="finished")},
    )
    outputs, found = load(REPLAY).app.run(defs={"log": log, "base": journey})
    assert "result" not in found
    assert any("contry" in getattr(output, "text", "") for output in outputs)
