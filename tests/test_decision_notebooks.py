"""The notebooks of send times, variants and releases on small logs: what they find, and what they say is missing.

That every notebook runs as a script and as an app is held by `browser/test_notebooks`.
"""

import importlib.util
from html import unescape
from pathlib import Path
from types import ModuleType
from typing import Any

import marimo as mo
import pytest

import journeylab as jl
from journeylab.shop import Shop

pytestmark = pytest.mark.browser  # with the apps, by `make browser`

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def load(stem: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(stem, NOTEBOOKS / f"{stem}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(stem: str, **defs: Any) -> tuple[str, Any]:
    """What a notebook says, as text of its pages, and what it defines, with some of it given."""
    outputs, found = load(stem).app.run(defs=defs)
    return unescape(unescape(" ".join(str(getattr(one, "text", "")) for one in outputs))), found


def slider(value: int) -> Any:
    return mo.ui.slider(0, 10_000, 1, value=value)


@pytest.fixture(scope="module")
def foreign() -> jl.EventLog:
    """A log of another company, which mails nobody."""
    rows = [("ada", "signup", 1), ("bo", "signup", 2), ("ada", "login", 3), ("ada", "order", 9), ("bo", "login", 20)]
    return jl.EventLog.from_rows(
        {"contact": contact, "event": event, "occurred_at": f"2026-03-{day:02d}T12:00:00Z"}
        for contact, event, day in rows
    )


@pytest.fixture(scope="module")
def small_shop() -> jl.EventLog:
    """A small shop after its own journeys."""
    return Shop(1_200, seed=3, days=70).run(jl.datasets.shop_history()).log


# Send times


@pytest.fixture(scope="module")
def drawn() -> jl.EventLog:
    """A log whose sends went at drawn hours."""
    return Shop(400, seed=5, days=120, opens={"news": 0.6}).mailed(8)


def test_send_times_are_learned_from_drawn_hours(drawn: jl.EventLog) -> None:
    said, found = run("04_learn_send_times", log=drawn)
    assert found["source"].value == "the log above"
    assert found["n_drawn"] == 3_200
    assert "3,200 went at a drawn hour" in said
    assert found["file"].startswith(b"PAR1")
    explorer = found["explorer"].widget
    assert explorer.tables["levels"]["n_contacts"].sum() == 400
    assert len(explorer.tables["week"]) == 168
    assert set(explorer.tables["value"]["arm"]) == {"habit", "median of opens", "everyone"}
    assert found["value"].verdict in explorer.finding


def test_without_drawn_hours_it_is_said_what_is_missing(foreign: jl.EventLog) -> None:
    said, found = run("04_learn_send_times", log=foreign, n_contacts=slider(150), n_letters=slider(4))
    assert "This log cannot tell which hour is better" in said
    assert "events in this log" in said
    assert "explore" in said
    assert found["source"].value == "Akacja's weekly letter, at drawn hours"
    assert len(found["sends"]) == 150 * 4


def test_a_log_without_drawn_hours_that_is_asked_for_advises_nothing() -> None:
    at_nine = Shop(150, seed=1, opens={"news": 0.6}).mailed(4, hour_of_day=9)
    said, found = run("04_learn_send_times", log=at_nine, source=mo.ui.radio(["the log above"], value="the log above"))
    assert found["value"] is None
    assert "value" not in list(found["explorer"].widget.tables)
    assert not found["model"].is_causal_
    assert "nobody can tell what advice would be worth" in said


# Variants


@pytest.fixture(scope="module")
def middling_shop() -> jl.EventLog:
    """One in which enough contacts came to the offers."""
    return Shop(3_500, seed=3, days=80).run(jl.datasets.shop_history()).log


@pytest.fixture(scope="module")
def tested(middling_shop: jl.EventLog) -> tuple[str, Any]:
    return run("05_test_variants", log=middling_shop, aa_runs=slider(0), planned_n=slider(400), wanted=slider(10))


def test_variants_get_a_verdict_in_words(tested: tuple[str, Any]) -> None:
    said, found = tested
    assert found["experiment"].stopping.planned_n == 400
    assert {one.arm for one in found["found"].verdicts} == {"discount", "free_month"}
    for one in found["found"].verdicts:
        assert f"{one.arm}: {one.decision}" in said
    assert found["counts"]["units"].sum() == sum(found["found"].primary.ratio.n.values())
    watcher = found["watcher"].widget
    assert set(watcher.tables["path"]["arm"]) == {"discount", "free_month"}
    assert "of the planned 400 units are in" in watcher.finding
    n_units = watcher.tables["path"]["n_units"].max()
    days = [day for day, _ in watcher.shown_controls[0]["options"]]
    watcher.values = {"as_of": days[-6]}
    assert watcher.tables["path"]["n_units"].max() < n_units


def test_an_earlier_day_knows_less(tested: tuple[str, Any], middling_shop: jl.EventLog) -> None:
    given = {"aa_runs": slider(0), "planned_n": slider(400), "wanted": slider(10)}
    said, found = run("05_test_variants", log=middling_shop, as_of_day=slider(60), **given)
    assert found["as_of"].date().isoformat() in said
    assert found["counts"]["units"].sum() < tested[1]["counts"]["units"].sum()


def test_a_day_on_which_nothing_could_be_known_says_so(middling_shop: jl.EventLog) -> None:
    given = {"aa_runs": slider(0), "planned_n": slider(400), "wanted": slider(10)}
    said, found = run("05_test_variants", log=middling_shop, as_of_day=mo.ui.slider(0, 1, 0.05, value=0.05), **given)
    assert "nobody was exposed" in said
    assert "Nothing can be told as of this day" in said
    assert found["found"] is None


def test_an_experiment_that_does_not_fit_the_log_is_refused_in_words(foreign: jl.EventLog) -> None:
    said, found = run("05_test_variants", log=foreign, aa_runs=slider(0))
    assert "This log cannot answer the question" in said
    assert "Give the file of an experiment on a journey that fits" in said
    assert "found" not in found
    assert "What next" in said


# Releases


def rehearsed(log: jl.EventLog, **changed: Any) -> tuple[str, Any]:
    given = {"n_contacts": slider(25), "new_wait": slider(2), "full_day": slider(3), "n_days": slider(4)}
    said, found = run("06_promote_and_watch", log=log, **given | changed)
    for store in found["rehearsal"]["looks"].values():
        store.close()
    return said, found


def test_a_release_is_rehearsed_from_checks_to_withdrawal(small_shop: jl.EventLog) -> None:
    said, found = rehearsed(small_shop)
    rehearsal = found["rehearsal"]
    assert not rehearsal["findings"].errors
    assert "node 'pause': wait: 4d -> 2d" in rehearsal["changes"]
    assert [one.action for one in rehearsal["said"]] == ["promote", "promote", "full", "roll_back", "withdraw"]
    assert rehearsal["entries"]["n_entries"].sum() == rehearsal["n_contacts"] == 25
    assert rehearsal["sends"].query("state == 'accepted'")["n_sends"].sum() > 0
    assert set(rehearsal["previews"]) >= {"welcome_1", "reminder"}
    assert set(found["look"]["verdict"]) <= {"within", "too_few", "outside"}
    monitor = found["monitor"].widget
    assert monitor.tables["forecast"].equals(found["look"])
    assert monitor.tables["runs"]["version"].tolist() == [rehearsal["version"]]
    assert "goes at once, within the quiet hours" in said


def test_an_earlier_day_is_looked_at_in_the_store_of_that_day(small_shop: jl.EventLog) -> None:
    said, found = rehearsed(small_shop, as_of_look=slider(0))
    runs = found["monitor"].widget.tables["runs"]
    assert runs["share"].round(6).tolist() == [0.4, 0.6]  # not open for all yet
    assert runs["version"].iloc[0] == found["rehearsal"]["version"]
    assert "On day 0, 0 shares of the new version are within their forecast" in said


def test_explorers_and_pictures_speak_the_language_that_is_asked_for(
    drawn: jl.EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("_cells.LANGUAGE", "pl")
    said, found = run("04_learn_send_times", log=drawn)
    assert found["explorer"].widget.finding.startswith("wszyscy: ")
    assert "3,200 went at a drawn hour" in said  # what the notebook says itself stays English


def test_lost_answers_are_seen_live(small_shop: jl.EventLog) -> None:
    _, found = rehearsed(small_shop, lost=slider(100))
    read = found["look"].query("node == 'read' and outcome == 'then'").iloc[0]
    assert read["n"] > 0
    assert read["live_share"] == 0


def test_a_journey_that_does_not_fit_the_log_is_not_rehearsed(foreign: jl.EventLog) -> None:
    said, found = run("06_promote_and_watch", log=foreign)
    assert "This log cannot rehearse the journey" in said
    assert "rehearsal" not in found
    assert "journeylab release watch" in said
