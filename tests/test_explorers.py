"""Explorers without a browser: what is chosen, what is answered, and that the code gives the same tables."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sqlalchemy import update
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

import journeylab as jl
from bundles import digest_of_sources
from drawnsends import drawn_sends
from journeylab import datasets, experiments, sendtime
from journeylab.explorers import (
    ExperimentWatcher,
    PathExplorer,
    ReleaseMonitor,
    SegmentExplorer,
    SendTimeExplorer,
    attribute_contrasts,
    contact_path,
    release_tables,
    sample_paths,
)
from journeylab.explorers.controls import Choice, ControlError, Kept, Several, Slider, Stepper, Text, Toggle
from journeylab.explorers.explorer import Explorer
from journeylab.explorers.samplepaths import pseudonym
from journeylab.explorers.steps import entries_that_went
from journeylab.explorers.views import Picture
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sendtimeplots import week_table
from test_deviation import Shop, mixed

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "src" / "journeylab" / "explorers" / "static"
SEGMENTS = {"new": 'since("signup") < "30d"', "buyers": 'count("purchase", "90d") >= 1', "paid": 'plan == "paid"'}


@pytest.fixture(scope="module")
def log() -> jl.EventLog:
    return datasets.shop()


@pytest.fixture(scope="module")
def segments(log: jl.EventLog) -> SegmentExplorer:
    return SegmentExplorer(log, SEGMENTS)


@pytest.fixture(scope="module")
def habit() -> sendtime.SendTimeEstimator:
    return sendtime.HabitModel().fit(drawn_sends(3, lambda contact, hour: np.where(hour % 24 == 9, 0.5, 0.2)))


@pytest.fixture
def explorer(segments: SegmentExplorer) -> SegmentExplorer:
    """The explorer as it is at first."""
    segments.language = "en"
    segments.values = {
        "condition": SEGMENTS["new"], "name": "new", "as_of": "end", "every": "7d", "sample": 0,
        "segments": [{"name": name, "condition": SEGMENTS[name]} for name in ("buyers", "paid")],
    }  # fmt: skip
    return segments


def asks(explorer: Explorer, n: str, language: str = "en", **values: Any) -> dict[str, Any]:
    """What the browser is told when it asks."""
    explorer.asked = {"n": n, "values": {**explorer.values, **values}, "language": language}
    return dict(explorer.answer)


def same_by_code(explorer: Explorer, **names: Any) -> None:
    """Runs the explorer's code and compares its tables."""
    exec(explorer.code, names)
    assert list(explorer.tables)
    for name, table in explorer.tables.items():
        pd.testing.assert_frame_equal(names[name], table)


# Segments -------------------------------------------------------------------------------------------------------------


def test_the_finding_says_how_many_and_what_distinguishes_them(explorer: SegmentExplorer, log: jl.EventLog) -> None:
    n = len(jl.audience(log, SEGMENTS["new"]))
    assert explorer.finding.startswith(f"new: {n} of 7,000 contacts")
    assert "they differ most in trial_ends_on" in explorer.finding
    explorer.values = {"condition": 'plan == "paid"', "name": "payers"}
    assert explorer.finding.startswith("payers: 3,153 of 7,000 contacts (45.0%) on 2026-05-25")


def test_tables_are_those_of_the_library_and_of_the_code(explorer: SegmentExplorer, log: jl.EventLog) -> None:
    pd.testing.assert_frame_equal(explorer.tables["sizes"], jl.sizes(log, SEGMENTS, "7d"))
    pd.testing.assert_frame_equal(explorer.tables["overlap"], jl.overlap(log, SEGMENTS))
    same_by_code(explorer, log=log)
    explorer.values = {"as_of": "2026-04-01", "every": "28d", "sample": 3}
    same_by_code(explorer, log=log)
    assert explorer.to_arrow("paths").column_names == ["contact", "event", "occurred_at"]
    with pytest.raises(jl.DataError, match="SegmentExplorer; did you mean 'sizes'"):
        explorer.tables["size"]


def test_weighted_segments_are_kept_as_they_are(log: jl.EventLog) -> None:
    weighted = jl.Segment.model_validate({"weights": [{"when": 'did("purchase", "60d")', "weight": 2.0}], "bias": -1.0})
    explorer = SegmentExplorer(log, {"new": SEGMENTS["new"], "keen": weighted})
    assert explorer.values["segments"] == [{"name": "keen", "condition": None}]
    same_by_code(explorer, log=log)


def test_conditions_may_name_kept_segments(explorer: SegmentExplorer) -> None:
    explorer.values = {"condition": 'segment("buyers") >= 0.5 and segment("paid") >= 0.5', "name": "both"}
    table = explorer.tables["overlap"]
    assert (table["both"] == (table["buyers"] & table["paid"])).all()
    assert explorer.vocabulary["segments"] == ["buyers", "paid"]


def test_faults_are_told_at_their_control_and_what_was_seen_stays(explorer: SegmentExplorer) -> None:
    before, finding = explorer.view, explorer.finding
    for values, control, part in [
        ({"condition": 'plan == "trial" and'}, "condition", "at character 20"),
        ({"condition": "coutry == 'PL'"}, "condition", "did you mean 'country'"),
        ({"condition": " "}, "condition", "Write a condition"),
        ({"name": " "}, "name", "Give the segment a name"),
        ({"segments": [{"name": "odd", "condition": "1 +"}]}, "segments", "the condition ends too early"),
        ({"segments": [{"name": "a", "condition": "true"}] * 2}, "segments", "a name of its own"),
        ({"every": "2d"}, "every", "Known values"),
        ({"as_of": "2020-01-01"}, "as_of", "Known values"),
        ({"name": "contact"}, "name", "cannot be called contact"),
        ({"segments": [{"name": "n_contacts", "condition": "true"}]}, "segments", "cannot be called n_contacts"),
    ]:
        answer = asks(explorer, "x-1", **values)
        assert answer["n"] == "x-1"
        assert [one["control"] for one in answer["faults"]] == [control], values
        assert part in answer["faults"][0]["message"]
        assert explorer.view == before
        assert explorer.finding == finding
        with pytest.raises(jl.JourneyLabError):
            explorer.values = values
    assert asks(explorer, "x-2")["faults"] == []
    with pytest.raises(jl.DataError, match="no control 'conditions'; did you mean 'condition'"):
        explorer.values = {"conditions": "true"}


def test_an_answer_says_what_it_is_an_answer_to(explorer: SegmentExplorer) -> None:
    answer = asks(explorer, "a-7", condition='plan == "paid"', name="payers")
    assert answer == {"n": "a-7", "values": explorer.values, "faults": []}
    assert explorer.view["finding"].startswith("payers: 3,153")
    explorer.values = {"name": "paying"}
    assert explorer.answer["n"] is None


def test_small_counts_are_not_given(explorer: SegmentExplorer, log: jl.EventLog, tmp_path: Path) -> None:
    few = jl.audience(log, 'did("complained")')
    assert 0 < len(few) < 10
    explorer.values = {"condition": 'did("complained")', "name": "few"}
    assert explorer.finding == "few: <10 of 7,000 contacts on 2026-05-25; too few to say more."
    pictures = {one["name"]: one for one in explorer.view["pictures"]}
    assert explorer.tables["paths"].empty
    assert pictures["paths"]["svg"] == ""
    for row in pictures["contrasts"]["rows"]:
        n_inside, share = row[2], row[3]
        assert (n_inside, share) in {("0", "0%"), ("<10", "")}
    sizes = pd.read_csv(pd.io.common.StringIO(pictures["sizes"]["csv"]))
    shown = sizes[sizes["segment"] == "few"]
    assert set(shown["n_contacts"]) <= {"0", "<10"}
    assert shown.loc[shown["n_contacts"] == "<10", "audience_share"].isna().all()
    page = explorer.save(tmp_path / "deep" / "few.html").read_text()
    assert not re.search(rf"few, [^<]*: {len(few)}\b", page)
    assert "&lt;10" in page


def test_nobody_is_named(explorer: SegmentExplorer, tmp_path: Path) -> None:
    said = str(explorer.view) + explorer.save(tmp_path / "page.html").read_text() + explorer.code
    assert "akacja-" not in said
    assert len(explorer.tables["paths"]["contact"].unique()) == 6


def test_paths_are_the_last_events_of_members(log: jl.EventLog) -> None:
    at = pd.Timestamp("2026-04-01", tz="UTC")
    paths = sample_paths(log, SEGMENTS, "buyers", at.isoformat(), n=4, n_events=5, seed=2)
    assert paths.groupby("contact").size().max() <= 5
    assert (paths["occurred_at"] <= at).all()
    members = set(jl.audience(log, SEGMENTS["buyers"], at.isoformat())["contact"])
    events = log.events()
    events = events[(events["occurred_at"] <= at) & events["contact"].isin(members)]
    lasts = {
        tuple(zip(one["event"], one["occurred_at"], strict=True))
        for _, one in events.sort_values(["contact", "occurred_at", "event"])
        .groupby("contact")
        .tail(5)
        .groupby("contact")
    }
    for _, one in paths.groupby("contact"):
        assert tuple(zip(one["event"], one["occurred_at"], strict=True)) in lasts
    with pytest.raises(jl.DataError, match="did you mean 'buyers'"):
        sample_paths(log, SEGMENTS, "buyer")
    with pytest.raises(jl.DataError, match="there are several segments"):
        sample_paths(log, SEGMENTS)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 40)), min_size=4, max_size=60))
def test_contrasts_are_shares_with_intervals(people: list[tuple[str, bool, int]]) -> None:
    rows = [{"contact": n, "event": "visit", "occurred_at": "2026-03-01T00:00:00Z"} for n in range(len(people))]
    contacts = [{"contact": n, "kind": kind, "is_in": is_in, "age": age} for n, (kind, is_in, age) in enumerate(people)]
    table = attribute_contrasts(jl.EventLog.from_rows(rows, contacts), "is_in")
    n_in = sum(is_in for _, is_in, _ in people)
    n_out = len(people) - n_in
    assert table.groupby("attribute")[["n_inside", "n_outside"]].sum().eq([n_in, n_out]).all().all()
    assert table["difference"].abs().is_monotonic_decreasing or table["difference"].isna().all()
    for row in table[table["attribute"] == "kind"].itertuples():
        n = sum(kind == row.value and is_in for kind, is_in, _ in people)
        other = sum(kind == row.value and not is_in for kind, is_in, _ in people)
        assert (row.n_inside, row.n_outside) == (n, other)
        if n_in and n_out:
            assert (row.inside_low, row.inside_high) == pytest.approx(
                proportion_confint(n, n_in, method="wilson"), abs=1e-9
            )
            newcombe = confint_proportions_2indep(n, n_in, other, n_out, compare="diff", method="newcomb")
            assert (row.low, row.high) == pytest.approx(newcombe, abs=1e-6)


def test_numbers_are_compared_by_quarters() -> None:
    rng = np.random.default_rng(1)
    ages = np.round(stats.norm(40, 9).rvs(400, random_state=rng))
    rows = [{"contact": n, "event": "visit", "occurred_at": "2026-03-01T00:00:00Z"} for n in range(400)]
    contacts = [{"contact": n, "age": float(age) if n % 9 else None} for n, age in enumerate(ages)]
    table = attribute_contrasts(jl.EventLog.from_rows(rows, contacts), "age > 45")
    assert len(table) == 5
    assert "(missing)" in set(table["value"])
    known = table[table["value"] != "(missing)"]
    totals = known["n_inside"] + known["n_outside"]
    assert totals.between(60, 120).all()
    top = known.iloc[0]
    assert top["difference"] > 0.8


def test_a_log_without_attributes_has_nothing_to_compare() -> None:
    rows = [{"contact": n, "event": "visit", "occurred_at": "2026-03-01T00:00:00Z"} for n in range(30)]
    explorer = SegmentExplorer(jl.EventLog.from_rows([*rows, {**rows[0], "occurred_at": "2026-03-20T00:00:00Z"}]))
    assert explorer.values["condition"] == 'did("visit", "30d")'
    assert explorer.finding == "segment: 30 of 30 contacts (100%) on 2026-03-20."
    assert explorer.tables["contrasts"].empty


# Paths ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def replayed(log: jl.EventLog) -> jl.Replay:
    return jl.replay(jl.Journey.read(datasets.journey_file("trial_welcome")), log)


@pytest.fixture(scope="module")
def path(replayed: jl.Replay) -> PathExplorer:
    return PathExplorer(replayed)


def test_one_who_went_there_is_shown(path: PathExplorer, replayed: jl.Replay) -> None:
    path.values = {"went": "exit:goal:purchase", "place": 0}
    assert path.finding.endswith("left by goal:purchase.")
    assert path.tables["steps"]["why"].iloc[-1].startswith("The goal purchase came after")
    same_by_code(path, result=replayed)
    path.values = {"went": "branch:read:else"}
    steps = path.tables["steps"].set_index("node")
    assert steps.loc["read", "why"] == "opened(hello) did not come within 3 days."
    assert (steps.loc["read", "left_at"] - steps.loc["read", "arrived_at"]) == pd.Timedelta(days=3)
    assert len(entries_that_went(replayed, "branch:read:else")) == 2370
    path.values = {"went": "branch:hello:skipped"}
    assert path.tables["steps"]["why"].iloc[0].startswith("Not sent welcome_1: ")
    path.values = {"went": "inside"}
    assert path.finding.endswith("still inside.")
    same_by_code(path, result=replayed)


def test_next_and_previous_show_others(path: PathExplorer, replayed: jl.Replay) -> None:
    path.values = {"went": "node:keen", "place": 0}
    first = path.finding
    path.values = {"place": 1}
    assert path.finding != first
    path.values = {"place": 0}
    assert path.finding == first
    path.values = {"place": 9_999}
    assert path.values["place"] == len(entries_that_went(replayed, "node:keen")) - 1


def test_steps_and_events_are_those_of_the_contact(replayed: jl.Replay, log: jl.EventLog) -> None:
    contact, entry = entries_that_went(replayed, "exit:finished")[3]
    found = contact_path(replayed, "exit:finished", 3)
    mine = replayed.visits[(replayed.visits["contact"] == contact) & (replayed.visits["entry"] == entry)]
    assert found.steps["arrived_at"].tolist() == mine["arrived_at"].tolist()
    events = log.events()
    start, end = mine["arrived_at"].min() - pd.Timedelta(days=7), mine["left_at"].max() + pd.Timedelta(days=7)
    events = events[(events["contact"] == contact) & events["occurred_at"].between(start, end)]
    assert sorted(found.events["occurred_at"]) == sorted(events["occurred_at"])
    contacts = log.contacts().set_index("contact")
    assert found.timezone == (contacts.loc[contact, "timezone"] or "Europe/Warsaw")
    local = mine["arrived_at"].iloc[0].tz_convert(found.timezone)
    assert found.steps["arrived_local"].iloc[0] == f"{local:%Y-%m-%d %H:%M}"
    assert str(contact) not in str(found)


def test_unknown_places_are_told(path: PathExplorer, replayed: jl.Replay) -> None:
    for went, part in [("node:helo", "did you mean 'hello'"), ("exit:finish", "did you mean 'finished'"),
                       ("read", 'write "any"'), ("branch:read:els", "did you mean 'else'")]:  # fmt: skip
        with pytest.raises(jl.DataError, match=part):
            contact_path(replayed, went)
    with pytest.raises(jl.DataError, match="counted from 0"):
        contact_path(replayed, "any", 1_000_000)
    with pytest.raises(jl.DataError, match="did you mean"):
        contact_path(replayed, journey="trial_welcom")
    answer = asks(path, "x-1", went="node:helo")
    assert [one["control"] for one in answer["faults"]] == ["went"]
    nobody = jl.replay(
        jl.Journey(journey="a", trigger=jl.Trigger(event="signup"), nodes={"done": jl.Exit(exit="finished")}),
        jl.EventLog.from_rows([{"contact": 1, "event": "visit", "occurred_at": "2026-03-01T00:00:00Z"}]),
    )
    with pytest.raises(jl.DataError, match="nobody entered"):
        PathExplorer(nobody)


# Send times -----------------------------------------------------------------------------------------------------------


def test_the_hours_of_everyone_and_of_contacts_are_shown(habit: sendtime.SendTimeEstimator) -> None:
    explorer = SendTimeExplorer(habit)
    times = habit.send_times()
    assert "What sending by it is worth is not known here" in explorer.finding
    pd.testing.assert_frame_equal(explorer.tables["week"], week_table(habit))
    same_by_code(explorer, source=habit)
    explorer.values = {"of": "contact", "place": 3}
    same_by_code(explorer, source=habit)
    assert explorer.tables["week"]["low"].notna().all()
    row = explorer._ordered[3]
    contact = times.contacts[row].as_py()
    assert explorer.finding.startswith(pseudonym(contact))
    assert len({one["control"] for one in asks(explorer, "s-1", of="segment:none")["faults"]}) == 1
    assert asks(explorer, "s-2", language="pl")["faults"] == []
    assert explorer.view["pictures"][0]["rows"][0][0].startswith("pon.")


def test_what_it_is_worth_is_told_with_its_interval(habit: sendtime.SendTimeEstimator) -> None:
    sends = drawn_sends(200, lambda contact, hour: np.where(hour % 24 == 9, 0.6, 0.1))
    value = sendtime.evaluate_out_of_time(sends, {"own hours": sendtime.HabitModel()}, slot_hours=3)
    explorer = SendTimeExplorer(habit, value=value)
    assert value.verdict in explorer.finding
    pd.testing.assert_frame_equal(explorer.tables["value"], value.gains)
    same_by_code(explorer, source=habit, value=value)
    shown = next(one for one in explorer.view["pictures"] if one["name"] == "value")
    assert shown["svg"].startswith("<svg")


def test_a_log_without_drawn_hours_says_that_nothing_causal_is_known(log: jl.EventLog) -> None:
    explorer = SendTimeExplorer(log)
    assert any("nothing causal can be learned" in one for one in explorer.view["notes"])
    same_by_code(explorer, log=log)


# Experiments ----------------------------------------------------------------------------------------------------------


def of_table() -> tuple[jl.Experiment, pd.DataFrame]:
    rng = np.random.default_rng(1)
    n = 6_000
    at = pd.Timestamp("2026-03-02", tz="UTC") + pd.to_timedelta(np.arange(n) * 2, unit="m")
    arm = rng.choice(["mail", "none"], n)
    table = pd.DataFrame({"arm": arm, "at": at, "visit": rng.random(n) < np.where(arm == "mail", 0.25, 0.15)})
    experiment = jl.Experiment.of_table(
        "arm", experiment="spring", control="none", primary=experiments.Proportion("visit"), exposed_at="at",
        shares={"mail": "50%", "none": "50%"}, stopping=experiments.Stopping(planned_n=n),
    )  # fmt: skip
    return experiment, table


def test_an_experiment_is_watched_as_of_a_day() -> None:
    experiment, table = of_table()
    watcher = ExperimentWatcher(experiment, table)
    assert watcher.finding.startswith("6,000 of the planned 6,000 units are in (100%).")
    assert "The arms have their shares" in watcher.finding
    same_by_code(watcher, experiment=experiment, table=table)
    days = [one for one, _ in watcher.controls(watcher.values)[0].options]  # type: ignore[attr-defined]
    assert days == ["2026-03-03", "2026-03-04", "2026-03-05", "2026-03-06", "2026-03-07", "2026-03-08", "2026-03-09",
                    "2026-03-10", "end"]  # fmt: skip
    watcher.values = {"as_of": "2026-03-04"}
    assert watcher.finding.startswith("1,441 of the planned 6,000 units are in (24%).")
    assert watcher.tables["path"]["looked_at"].max() <= pd.Timestamp("2026-03-04", tz="UTC")
    same_by_code(watcher, experiment=experiment, table=table)
    with pytest.raises(jl.DataError, match="when units were exposed"):
        ExperimentWatcher(experiment, table.drop(columns="at"))


def test_an_experiment_on_a_log_is_replayed_until_the_day(log: jl.EventLog) -> None:
    journey = datasets.shop_history().one("akacja_welcome")
    experiment = jl.Experiment.of_split(
        journey, "hour", experiment="hour", control="hello", window="14d", primary=experiments.Proportion("purchase"),
        stopping=experiments.Stopping(planned_n=2000),
    )  # fmt: skip
    watcher = ExperimentWatcher(experiment, log)
    day = watcher.controls(watcher.values)[0].options[8][0]  # type: ignore[attr-defined]
    answer = asks(watcher, "w-1", "pl", as_of=day)
    assert answer["faults"] == []
    assert watcher.finding.startswith("Zebrano ")
    same_by_code(watcher, experiment=experiment, log=log)


# Releases -------------------------------------------------------------------------------------------------------------


def test_a_release_is_monitored_and_nothing_is_written(store: Store) -> None:
    shop = Shop(store)
    monitor = ReleaseMonitor(store)
    assert monitor.finding == "1 release takes entries. 0 shares are outside of their forecast, of 4."
    assert set(monitor.tables["forecast"]["verdict"]) == {"too_few"}
    same_by_code(monitor, store=store)
    with store.reading() as connection:
        now = store.now(connection)
    shop.start = now - timedelta(days=12)
    with store.writing() as connection:
        connection.execute(update(t.spans).values(from_at=shop.start))
    shop.come(3000, mixed(0.7), now)
    assert "0 shares are outside" in monitor.finding
    monitor.values = {"again": 1}
    assert "4 shares are outside of their forecast, of 4." in monitor.finding
    same_by_code(monitor, store=store)
    assert shop.alerts() == []
    assert asks(monitor, "r-1", "pl")["faults"] == []
    assert [one["control"] for one in asks(monitor, "r-2", "pl", release="99")["faults"]] == ["release"]
    with pytest.raises(jl.DataError, match="release 99"):
        release_tables(store, 99)


# The frame ------------------------------------------------------------------------------------------------------------


def test_it_speaks_polish(explorer: SegmentExplorer) -> None:
    english = {one["name"]: one["label"] for one in explorer.shown_controls}
    assert asks(explorer, "p-1", language="pl")["faults"] == []
    assert explorer.language == "pl"
    assert explorer.words["picture"] == "Obraz"
    assert explorer.finding.startswith("new: 749 z 7")
    assert "25.05.2026" in explorer.finding
    polish = {one["name"]: one["label"] for one in explorer.shown_controls}
    assert all(polish[name] != label for name, label in english.items())
    assert explorer.view["pictures"][0]["title"] == "Wielkość w czasie"
    with pytest.raises(jl.DataError, match="Known languages"):
        explorer.language = "polish"


def test_pictures_are_drawings_without_scripts(explorer: SegmentExplorer) -> None:
    explorer.values = {"name": "<b>&", "condition": 'plan == "paid"'}
    for one in explorer.view["pictures"]:
        root = ET.fromstring(one["svg"])
        assert root.get("role") == "img"
        assert not [part for part in root.iter() if part.tag.endswith(("script", "image", "b"))]
        assert len(one["rows"]) == len(explorer.tables[one["name"]])
        assert all(len(row) == len(one["head"]) for row in one["rows"])


def test_a_page_needs_nothing_else(explorer: SegmentExplorer, tmp_path: Path) -> None:
    page = explorer.save(tmp_path / "page.html").read_text()
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "src=" not in page
    assert explorer.finding in page
    assert page.count("<svg") == 4
    explorer.asked = {"n": "page-1", "page": True}
    assert explorer.page == {"n": "page-1", "html": page}


def test_controls_take_only_what_they_offer() -> None:
    options = [(1, "one"), (2, "two")]
    for control, fits, fails in [
        (Choice(name="a", label="", options=options), 1, 3),
        (Slider(name="a", label="", options=options), 2, "1"),
        (Several(name="a", label="", options=options), [1, 2], [3]),
        (Several(name="a", label="", options=options), [], "1"),
        (Text(name="a", label=""), "x", 1),
        (Toggle(name="a", label=""), True, 1),
        (Stepper(name="a", label="", n=3), 2, -1),
        (Kept(name="a", label="", text="b", title="c"), [{"name": "x", "condition": "true"}], [{"name": "x"}]),
    ]:
        assert control.checked(fits) == fits
        with pytest.raises(ControlError) as error:
            control.checked(fails)
        assert error.value.control == "a"
    assert Stepper(name="a", label="", n=3).checked(7) == 2


def test_cells_are_for_people_and_csv_for_programs() -> None:
    table = pd.DataFrame({
        "n": [12_345, 3], "share": [0.25, 0.5], "at": pd.to_datetime(["2026-03-01T08:00Z", None]),
        "is_in": [True, False], "gain": [0.021, -0.5],
    })  # fmt: skip
    picture = Picture(name="a", title="A", svg="", table=table, heads={name: name for name in table},
                      hides={"n": ["share"]}, shares=["share"], signed=["gain"])  # fmt: skip
    assert picture.cells() == [
        ["12,345", "25.0%", "2026-03-01 08:00 UTC", "yes", "+2.1"],
        ["<10", "", "\N{EN DASH}", "no", "-50.0"],
    ]
    assert picture.csv() == (
        "n,share,at,is_in,gain\n12345,0.25,2026-03-01T08:00:00+00:00,True,0.021\n<10,,,False,-0.5\n"
    )


# The bundle -----------------------------------------------------------------------------------------------------------


def test_the_bundle_is_that_of_its_sources() -> None:
    for file in ("explorer.js", "explorer.css"):
        said = re.match(r"/\* JourneyLab explorer; sources ([0-9a-f]{64})", (STATIC / file).read_text())
        assert said is not None
        assert said[1] == digest_of_sources("explorer.jsx"), "run `make widgets`"


def test_building_anew_gives_the_same_bundle(tmp_path: Path) -> None:
    if shutil.which("node") is None or not (ROOT / "js" / "node_modules").is_dir():
        pytest.skip("there are no node modules here; `make widgets` brings them")
    subprocess.run(["node", "build.mjs", str(tmp_path)], cwd=ROOT / "js", check=True, capture_output=True)
    for file in STATIC.iterdir():
        assert (tmp_path / "explorers" / file.name).read_bytes() == file.read_bytes(), file.name


def test_the_bundle_is_small_and_stays_at_home() -> None:
    script, style = (STATIC / "explorer.js").read_text(), (STATIC / "explorer.css").read_text()
    assert len(script.encode()) < 100_000
    assert not re.search(r"@import|url\(\s*['\"]?https?:", style)
    assert set(re.findall(r"https?://([\w.-]+)", script)) <= {"www.w3.org"}
    assert "preact" in (STATIC / "LICENSES.txt").read_text()
