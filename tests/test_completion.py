"""Editors and notebooks complete what is public, and type checkers see the types."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jedi
import pytest
from IPython.core.completer import IPCompleter, provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

import journeylab as jl
import publicobjects
from journeylab import experiments, sendtime
from journeylab.resulttables import Tables

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[1]
CONSUMER = """\
from datetime import timedelta

import polars as pl
import pyarrow as pa

import journeylab as jl
from journeylab import datasets, experiments, sendtime


def told(n_done: int, n_all: int) -> None:
    print(n_done, n_all)


log = datasets.given_log()
journey = jl.Journey.read("trial_welcome.yaml")
result = jl.replay(journey, log, progress=True)
model = jl.fit_responses(log, converts="purchase", progress=told)
arrow: pa.Table = result.to_arrow("visits")
frame: pl.DataFrame = result.to_polars("visits")
reveal_type(result)
reveal_type(result.tables)
reveal_type(result.journeys)
reveal_type(jl.simulate(journey, log, responses=model))
reveal_type(jl.backtest(journey, log, cutoff="2026-04-01"))
reveal_type(model.within)
reveal_type(sendtime.HabitModel().fit(log, progress=False))
reveal_type(sendtime.evaluate(log, {}))
reveal_type(experiments.Proportion("visit"))
reveal_type(experiments.read_units(frame, arm="arm", control="a", metrics=[]))
reveal_type(jl.policy_value(frame, action="a", reward="r", propensity="p", target="t").refused)
reveal_type(jl.Cap(sends=3, within=timedelta(days=7)).sends)
"""
REVEALED = [
    "journeylab.replay.Replay", "journeylab.resulttables.ResultTables", "list[journeylab.journey.Journey]",
    "journeylab.simulation.Simulation", "journeylab.backtest.Backtest", "datetime.timedelta",
    "journeylab.sendtime.habit.HabitModel", "journeylab.sendtime.value.SendTimeValue",
    "journeylab.experiments.metrics.Proportion", "journeylab.experiments.unittable.UnitTable", "str | None", "int",
]  # fmt: skip
WRONG = """\
import journeylab as jl

jl.replay("trial_welcome", progress=3)
jl.Exit(exit="finished").nxt
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What jedi keeps on disk is read half written where another process, such as a notebook, is just writing it."""
    monkeypatch.setattr(jedi.settings, "cache_directory", str(tmp_path_factory.getbasetemp() / "jedi"))


def of_source(code: str) -> list[str]:
    """What an editor completes at the end of some code, which it does not run."""
    lines = code.splitlines()
    return [one.name for one in jedi.Script(code).complete(len(lines), len(lines[-1]))]


def in_notebook(text: str, **names: Any) -> list[str]:
    """What IPython completes, which knows the objects."""
    shell = InteractiveShell.instance()
    completer = IPCompleter(shell=shell, namespace=names, global_namespace=names)
    with provisionalcompleter():
        return [one.text for one in completer.completions(text, len(text))]


@pytest.mark.parametrize("module", [jl, sendtime, experiments])
def test_a_package_lists_what_is_public_and_nothing_else(module):
    assert {name for name in dir(module) if not name.startswith("_")} == set(module.__all__)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import journeylab as jl\njl.rep", ["replay", "replaypage", "replayruns", "report", "reports", "Replay"]),
        ("import journeylab as jl\njl.replay(a, b).vis", ["visits"]),
        ("import journeylab as jl\njl.replay(a, b).to_", ["to_arrow", "to_polars"]),
        ("import journeylab as jl\njl.simulate(a, b, responses=c).outc", ["outcomes"]),
        ("import journeylab as jl\njl.Journey.read('x').che", ["check"]),
        ("import journeylab as jl\njl.experiments.Prop", ["Proportion"]),
        ("from journeylab import sendtime\nsendtime.HabitModel().fit(a).sco", ["scores"]),
        ("from journeylab import datasets\ndatasets.giv", ["given_log"]),
        ("from journeylab import datasets\ndatasets.shop().eve", ["event_names", "events"]),
    ],
)
def test_an_editor_completes_without_running_anything(code, expected):
    assert of_source(code) == expected


def test_a_notebook_completes_the_package():
    found = in_notebook("jl.rep", jl=jl)
    assert {"replay", "report"} <= {one.rpartition(".")[2] for one in found}


RESULTS = [name for name, make in publicobjects.EXAMPLES.items() if name not in ("ResultTables", "HourScores")]


@pytest.mark.parametrize("name", RESULTS)
def test_a_notebook_completes_every_object_and_hides_what_is_private(name):
    shown = publicobjects.EXAMPLES[name]()
    found = {one.rpartition(".")[2] for one in in_notebook("it.", it=shown)}
    assert not any(one.startswith("_") for one in found)
    if isinstance(shown, Tables):
        assert {"tables", "to_arrow", "to_polars"} <= found
    public = {one for one in vars(type(shown)) if not one.startswith("_")}
    assert public <= found


def test_tables_and_nodes_complete_their_names():
    result = publicobjects.replayed()
    found = in_notebook('it["vis', it=result.tables)
    assert any("visits" in one for one in found)
    nodes = in_notebook('it["hel', it=publicobjects.welcome().nodes)
    assert any("hello" in one for one in nodes)


def checked(code: str, folder: Path) -> str:
    """What mypy says of a program that uses the package as anybody would."""
    (folder / "consumer.py").write_text(code)
    (folder / "mypy.ini").write_text("[mypy]\n[mypy-pyarrow.*]\nignore_missing_imports = True\n")
    cache = ROOT / ".mypy_cache" / "consumer"
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "mypy.ini", "--cache-dir", str(cache)]
    done = subprocess.run([*command, "consumer.py"], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.nightly
def test_a_type_checker_sees_the_types(tmp_path):
    assert (Path(jl.__file__).parent / "py.typed").is_file()
    said = checked(CONSUMER, tmp_path)
    assert re.findall(r'Revealed type is "(.*)"', said) == REVEALED, said
    assert " error: " not in said, said
    said = checked(WRONG, tmp_path)
    assert len(re.findall(" error: ", said)) == 4, said
