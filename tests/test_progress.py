"""Progress is shown where one looks: a bar in marimo, Jupyter and a terminal, lines elsewhere, and never unasked."""

import importlib.util
import io
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import journeylab as jl
from journeylab import datasets, experiments, sendtime
from journeylab import progress as told

STAGE = """
    from journeylab.progress import shown

    with shown(True, "counting") as tell:
        for n in range(1, 41):
            tell(n, 40)
"""
MARIMO = f"""import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo

    made, bar = [], mo.status.progress_bar
    mo.status.progress_bar = lambda **given: made.append(given) or bar(**given)
{STAGE}
    mo.status.progress_bar = bar
    print(f"bars: {{made}}")
    return (mo,)
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_is_shown_unasked(capsys):
    for nothing in (None, False):
        with told.shown(nothing, "counting") as tell:
            tell(1, 2)
    assert capsys.readouterr() == ("", "")


def test_a_bar_moves_on_a_terminal_and_is_gone_at_the_end(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(told, "_UNSEEN_SECONDS", 0)
    with told.shown(True, "counting") as tell:
        tell(1, 4)
        assert "counting  25% |" in screen.getvalue()
        tell(4, 4)
    assert screen.getvalue().split("\r")[-1].strip() == ""


def test_what_is_quickly_done_leaves_a_terminal_alone(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with told.shown(True, "counting") as tell:
        tell(4, 4)
    assert screen.getvalue().strip() == ""


def test_elsewhere_there_are_ten_lines_at_the_most(capsys):
    with told.shown(True, "counting") as tell:
        for n in range(1, 1001):
            tell(n, 1000)
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 10)
    assert err.endswith("counting: 1,000 of 1,000\n")


def test_a_marimo_app_that_runs_as_a_script_prints_lines(tmp_path, capsys):
    path = tmp_path / "counting.py"
    path.write_text(MARIMO)
    spec = importlib.util.spec_from_file_location("counting", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.app.run()
    out, err = capsys.readouterr()
    assert out == "bars: []\n"
    assert err.endswith("counting: 40 of 40\n")


def test_a_marimo_notebook_has_marimos_own_bar(tmp_path):
    path = tmp_path / "counting.py"
    path.write_text(MARIMO)
    command = [sys.executable, "-m", "marimo", "export", "html", str(path), "-o", str(tmp_path / "counting.html"), "-f"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert "bars: [{'total': 40, 'title': 'counting', 'remove_on_exit': True}]" in done.stdout + done.stderr
    assert "counting:" not in done.stderr


def test_a_jupyter_kernel_has_a_widget():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    import textwrap

    slowly = "import time\n" + textwrap.dedent(STAGE) + "        time.sleep(0.02)\n"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(slowly)])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    [shown] = [one for one in notebook.cells[0].outputs if one.output_type == "display_data"]
    assert "application/vnd.jupyter.widget-view+json" in shown.data
    assert not any(one.output_type == "stream" for one in notebook.cells[0].outputs)


# Every long function takes it.


@pytest.fixture(scope="module")
def log() -> jl.EventLog:
    return datasets.shop()


@pytest.fixture(scope="module")
def journey() -> jl.Journey:
    return jl.Journey.read(datasets.journey_file("trial_welcome"))


@pytest.fixture(scope="module")
def drawn() -> sendtime.SendTable:
    """Sends at drawn hours, of which some are answered."""
    rng = np.random.default_rng(3)
    n = 3_000
    at = pd.Timestamp("2026-03-02", tz="UTC") + pd.to_timedelta(rng.integers(0, 28 * 24, n), unit="h")
    sent = pd.DataFrame(
        {"contact": rng.integers(0, 300, n), "event": "sent", "occurred_at": at, "message": "m",
         "slot_propensity": 1 / 168}
    )  # fmt: skip
    opened = sent[rng.random(n) < 0.3].assign(event="opened", slot_propensity=np.nan)
    opened["occurred_at"] += pd.to_timedelta(10, unit="m")
    return sendtime.send_table(jl.EventLog.read(pd.concat([sent, opened])))


@pytest.fixture(scope="module")
def trial() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    n = 1_500
    at = pd.Timestamp("2026-03-02", tz="UTC") + pd.to_timedelta(np.arange(n), unit="m")
    return pd.DataFrame(
        {"arm": rng.choice(["mail", "none"], n), "city": rng.choice(["Gdynia", "Lublin"], n), "at": at,
         "visit": rng.random(n) < 0.2}
    )  # fmt: skip


Told = Callable[[int, int], None]
FEATURES = ['count("sent", "7d")']


def _experiment() -> jl.Experiment:
    return jl.Experiment.of_table(
        "arm", experiment="spring", control="none", primary=experiments.Proportion("visit"), exposed_at="at",
        shares={"mail": "50%", "none": "50%"}, features=["city"], stopping=experiments.Stopping(planned_n=1000),
    )  # fmt: skip


LONG: dict[str, Callable[[Any, Told], Any]] = {
    "EventLog.read": lambda got, tell: jl.EventLog.read(
        datasets.fixtures() / "shop" / "events.parquet", cache=False, progress=tell
    ),
    "replay": lambda got, tell: jl.replay(got("journey"), got("log"), progress=tell),
    "visits": lambda got, tell: jl.replay(got("journey"), got("log"), progress=tell).visits,
    "fit_responses": lambda got, tell: jl.fit_responses(got("log"), features=FEATURES, progress=tell),
    "sizes": lambda got, tell: jl.sizes(got("log"), 'did("visit", "7d")', progress=tell),
    "send times": lambda got, tell: sendtime.HabitModel().fit(got("drawn"), progress=tell),
    "evaluate": lambda got, tell: sendtime.evaluate(
        got("drawn"), {"all": sendtime.BestGlobalHour().fit(got("drawn"))}, progress=tell
    ),
    "evaluate_out_of_time": lambda got, tell: sendtime.evaluate_out_of_time(
        got("drawn"), {"all": sendtime.BestGlobalHour()}, progress=tell
    ),
    "plan": lambda got, tell: _experiment().plan(got("trial"), aa_runs=5, progress=tell),
    "analyze": lambda got, tell: _experiment().analyze(got("trial"), progress=tell),
    "watch": lambda got, tell: _experiment().watch(got("trial"), looks=4, progress=tell),
    "recommend": lambda got, tell: experiments.recommend(
        got("trial"), features=["city"], control="none", outcome="visit", progress=tell
    ),
}


@pytest.mark.parametrize("name", LONG)
def test_every_long_function_tells_how_far_it_is(name, request):
    steps: list[tuple[int, int]] = []
    LONG[name](request.getfixturevalue, lambda n_done, n_all: steps.append((n_done, n_all)))
    assert steps
    assert all(0 <= n_done <= n_all for n_done, n_all in steps)
    assert steps[-1][0] == steps[-1][1]


def test_a_simulation_and_a_backtest_tell_how_far_they_are(log, journey, capsys):
    model = jl.fit_responses(log, converts="purchase", features=FEATURES)
    steps: list[tuple[int, int]] = []
    jl.simulate(journey, log, responses=model, draws=5, override="a test", progress=lambda *step: steps.append(step))
    assert steps[-1] == (5, 5)
    jl.backtest(journey, log, cutoff="2026-04-15", responses=model, draws=5, progress=True)
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in said] == ["replaying", "drawing responses"]


def test_the_command_line_has_bars_on_a_terminal_only(capsys):
    from journeylab.cli.screen import step

    with step("counting") as counting:
        assert counting.progress is False
        counting.done = "counted"
    assert capsys.readouterr().err.startswith("counted (0.")
