"""Releases: who takes entries since when, as a replay over the store's spans sees it; and all ways back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import insert, select, update

import journeylab as jl
from databases import DATABASES
from journeylab.errors import DataError
from journeylab.journey import Exit, Journey, Policy, Segment, Send, Trigger, Wait
from journeylab.sender.live.intake import make_contacts
from journeylab.sender.mail.messages import Message, Messages
from journeylab.sender.promotion.frozen import Frozen, Model, definition_of, journey_of, needed_models, sends_of
from journeylab.sender.promotion.releases import Done, open_fully, pause, promote, resume, roll_back, withdraw
from journeylab.sender.promotion.standing import (
    frozen_release,
    machine_releases,
    pauses,
    releases,
    running,
    taking,
    what_runs,
)
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from stores import KEYS

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


def frozen(wait: str = "1d", text: str = "Hello", **more: Any) -> Frozen:
    journey = Journey(
        journey="hello",
        trigger=Trigger(event="signup", **more),
        nodes={
            "greet": Send(send="welcome_1", next="pause"), "pause": Wait(wait=wait, next="done"),
            "done": Exit(exit="finished"),
        },
    )  # fmt: skip
    message = Message(message="welcome_1", subject=text, templates={"welcome_1.html": "<p>Hi</p>"})
    return Frozen(journey, Policy(), Messages({"welcome_1": message}))


class Live:
    """A store with a clock that goes on by an hour with each action."""

    def __init__(self, url: str) -> None:
        self.at = START
        self.store = Store.open(url, KEYS, clock=lambda _connection: self.at, create=True)

    def promote(self, what: Frozen, share: float = 1.0, **more: Any) -> Done:
        return self._then(promote(self.store, what, share=share, actor="ada", **more))

    def full(self) -> Done:
        return self._then(open_fully(self.store, "hello", actor="ada"))

    def roll_back(self, version: str | None = None) -> Done:
        return self._then(roll_back(self.store, "hello", reason="too many opens", actor="jan", version=version))

    def pause(self) -> Done:
        return self._then(pause(self.store, "hello", reason="a typo", actor="jan"))

    def resume(self) -> Done:
        return self._then(resume(self.store, "hello", actor="ada"))

    def withdraw(self) -> Done:
        return self._then(withdraw(self.store, "hello", reason="over", actor="ada"))

    def _then(self, done: Done) -> Done:
        self.at += HOUR
        return done

    def shares(self) -> dict[str, tuple[float, float]]:
        with self.store.reading() as connection:
            return {one.version: one.share for one in running(connection)}


def _live(url: str) -> Iterator[Live]:
    made = Live(url)
    yield made
    made.store.close()


@pytest.fixture
def live(tmp_path: Path, sqlite_store_file: Path) -> Iterator[Live]:
    yield from _live(f"sqlite:///{shutil.copy(sqlite_store_file, tmp_path / 'live.db')}")


@pytest.fixture(params=DATABASES)
def either(request: pytest.FixtureRequest) -> Iterator[Live]:
    if request.param == "sqlite":
        yield request.getfixturevalue("live")
    else:
        yield from _live(request.getfixturevalue("postgresql"))


A, B, C = frozen("1d"), frozen("2d"), frozen("3d")
VERSIONS = [one.journey.version for one in (A, B, C)]
VA, VB, VC = VERSIONS


def test_a_canary_shares_with_the_former_release_and_keeps_its_contacts_as_it_grows(either: Live) -> None:
    assert either.promote(A).has_changed
    assert either.shares() == {VA: (0, 1)}
    said = either.promote(B, 0.05)
    assert (said.has_changed, said.share, said.at) == (True, 0.05, START + HOUR)
    assert either.shares() == {VB: (0, 0.05), VA: (0.05, 1)}
    either.promote(B, 0.2)
    assert either.shares() == {VB: (0, 0.2), VA: (0.2, 1)}
    either.full()
    assert either.shares() == {VB: (0, 1)}
    with either.store.reading() as connection:
        spans = machine_releases(connection)
    assert {one.share_salt for one in spans[1:]} == {VB}


def soon_after(hour: int) -> str:
    return (START + hour * HOUR + timedelta(minutes=1)).isoformat()


def entered(live: Live, n: int = 1000) -> pd.DataFrame:
    """The version that each of some contacts enters who sign up a minute after each hour, by what the store says."""
    rows = [
        {
            "contact": f"c{i}.{k}",
            "event": "signup",
            "occurred_at": (START + k * HOUR + timedelta(minutes=1)).isoformat(),
        }
        for k in range(round((live.at - START) / HOUR))
        for i in range(n)
    ]
    with live.store.reading() as connection:
        found = machine_releases(connection)
    entries = jl.replay(list(found), jl.EventLog.from_rows(rows, cache=False), assumed_consent={"marketing"}).entries
    return entries.assign(hour=((entries["entered_at"] - START) // HOUR).astype(int))


def test_each_contact_enters_the_release_whose_share_it_is_in(live: Live) -> None:
    live.promote(A)
    live.promote(B, 0.1)
    live.promote(B, 0.3)
    live.roll_back()
    by = entered(live).groupby(["hour", "version"]).size()
    assert by[0, VA] == 1000
    assert 70 < by[1, VB] < 130
    assert by[1, VA] + by[1, VB] == 1000
    assert 240 < by[2, VB] < 360
    assert by[2, VA] + by[2, VB] == 1000
    assert by[3, VA] == 1000


def test_contacts_of_a_canary_stay_in_it_when_it_grows(live: Live) -> None:
    live.promote(A)
    live.promote(B, 0.1)
    live.promote(B, 0.3)
    with live.store.reading() as connection:
        found = machine_releases(connection)
    rows = [{"contact": f"c{i}", "event": "signup", "occurred_at": soon_after(k)} for k in (1, 2) for i in range(500)]
    ever = Trigger(event="signup", reentry="always")
    again = [replace(one, journey=one.journey.model_copy(update={"trigger": ever})) for one in found]
    names = {one.journey.version: old for one, old in zip(again, (VA, VB, VA, VB, VA), strict=True)}
    entries = jl.replay(again, jl.EventLog.from_rows(rows, cache=False), assumed_consent={"marketing"}).entries
    entries["version"] = entries["version"].map(names)
    early = entries[entries["entered_at"] < START + 2 * HOUR].set_index("contact")["version"]
    late = entries[entries["entered_at"] > START + 2 * HOUR].set_index("contact")["version"]
    assert (early == VB).sum() > 20
    assert (late[early[early == VB].index] == VB).all()


def test_promoting_the_same_again_changes_nothing(live: Live) -> None:
    first = live.promote(A, 0.05)
    again = live.promote(A, 0.05)
    assert (again.has_changed, again.release_id) == (False, first.release_id)
    assert "nothing has changed" in again.sentence
    assert live.promote(A).has_changed
    assert not live.full().has_changed
    with live.store.reading() as connection:
        assert len(releases(connection)) == 1
        assert len([*connection.execute(select(t.audit))]) == 2


def test_rolling_back_a_canary_gives_all_to_the_former_release_once(live: Live) -> None:
    live.promote(A)
    live.promote(B, 0.05)
    done = live.roll_back(VB)
    assert (done.has_changed, done.version, done.share) == (True, VA, 1.0)
    assert live.shares() == {VA: (0, 1)}
    assert not live.roll_back(VB).has_changed
    assert live.shares() == {VA: (0, 1)}


def test_rolling_back_a_full_release_gives_all_to_the_one_before_it_and_so_on(live: Live) -> None:
    for one in (A, B, C):
        live.promote(one)
    assert live.roll_back().version == VB
    assert live.roll_back().version == VA
    assert live.shares() == {VA: (0, 1)}
    last = live.roll_back()
    assert last.has_changed
    assert last.version is None
    assert "nobody enters" in last.sentence
    with pytest.raises(DataError, match="nothing to take back"):
        live.roll_back()


def test_a_release_that_was_rolled_back_is_promoted_again_only_on_request(live: Live) -> None:
    live.promote(A)
    live.promote(B)
    live.roll_back()
    with pytest.raises(DataError, match=r"was rolled back at 2026-03-01 11:00 UTC by jan .too many opens.*--again"):
        live.promote(B)
    assert live.promote(B, again=True).has_changed
    assert live.shares() == {VB: (0, 1)}


def test_another_canary_takes_the_place_of_the_first(live: Live) -> None:
    live.promote(A)
    live.promote(B, 0.05)
    live.promote(C, 0.1)
    assert live.shares() == {VC: (0, 0.1), VA: (0.1, 1)}


def test_a_full_release_does_not_become_its_own_canary(live: Live) -> None:
    live.promote(A)
    with pytest.raises(DataError, match=r"takes entries already; .journeylab release rollback hello."):
        live.promote(A, 0.05)
    with pytest.raises(DataError, match="above 0% and up to 100%, got 0%"):
        live.promote(B, 0.0)


def test_other_messages_make_another_release_of_the_same_version(live: Live) -> None:
    other = frozen("1d", text="Welcome")
    assert other.journey.version == VA
    first, second = live.promote(A), live.promote(other)
    assert first.release_id != second.release_id
    with live.store.reading() as connection:
        assert [one.release_id for one in running(connection)] == [second.release_id]
        assert [one.release_id for one in taking(connection)] == [first.release_id, second.release_id]


def test_a_paused_journey_is_paused_once_and_resumed_once(either: Live) -> None:
    either.promote(A)
    assert either.pause().has_changed
    assert "paused already, since 2026-03-01 10:00:00 UTC (a typo)" in either.pause().sentence
    with either.store.reading() as connection:
        assert [one.journey for one in pauses(connection)] == ["hello"]
        assert machine_releases(connection)[0].pauses == ((START + HOUR, None),)
    assert either.resume().has_changed
    assert not either.resume().has_changed
    with either.store.reading() as connection:
        assert pauses(connection) == []
        assert machine_releases(connection)[0].pauses == ((START + HOUR, START + 3 * HOUR),)
    assert not entered(either)["hour"].isin([1, 2]).any()


def test_resuming_makes_those_inside_due(either: Live) -> None:
    either.promote(A)
    later = START + timedelta(days=9)
    with either.store.writing() as connection:
        for contact, next_at in (("in", None), ("in_later", later), ("out", None), ("gone", later)):
            make_contacts(connection, [(contact, None, {})], START, START)
            connection.execute(t.contacts.update().where(t.contacts.c.contact == contact).values(next_at=next_at))
        for contact, left_at in (("in", None), ("in_later", None), ("gone", START)):
            entry = {"contact": contact, "journey": "hello", "entry": 1, "version": VA, "entered_at": START}
            connection.execute(insert(t.entries), {**entry, "left_at": left_at, "converted": False, "held_out": False})
    either.pause()
    either.resume()
    with either.store.reading() as connection:
        due = {row.contact: row.next_at for row in connection.execute(select(t.contacts))}
    assert due == {"in": START + 2 * HOUR, "in_later": START + 2 * HOUR, "out": None, "gone": later}


def test_a_journey_that_begins_on_a_date_makes_everybody_due(live: Live) -> None:
    with live.store.writing() as connection:
        make_contacts(connection, [("ada", None, {})], START, START)
    journey = A.journey.model_copy(update={"trigger": Trigger(date="ends_on")})
    live.promote(Frozen(journey, A.policy, A.messages))
    with live.store.reading() as connection:
        assert connection.scalars(select(t.contacts.c.next_at)).one() == START


def test_withdrawing_stops_entries_once(live: Live) -> None:
    live.promote(A)
    live.promote(B, 0.05)
    assert live.withdraw().has_changed
    assert live.shares() == {}
    assert not live.withdraw().has_changed
    with pytest.raises(DataError, match="no release of hello takes entries"):
        live.full()
    live.promote(C)
    assert "no release before it" in live.roll_back().sentence


def test_unknown_names_are_told_with_what_there_is(live: Live) -> None:
    with pytest.raises(DataError, match="no journey 'hello' was ever promoted; There are no journeys"):
        live.pause()
    live.promote(A)
    with pytest.raises(DataError, match=f"no version 'abc'; Known versions: {VA}"):
        live.roll_back("abc")
    with pytest.raises(DataError, match="did you mean 'hello'"):
        pause(live.store, "helo", reason="", actor="ada")


def test_every_action_is_noted_with_who_did_it(either: Live) -> None:
    either.promote(A)
    either.promote(B, 0.05)
    either.pause()
    either.resume()
    either.full()
    either.roll_back()
    either.withdraw()
    with either.store.reading() as connection:
        rows = [*connection.execute(select(t.audit).order_by(t.audit.c.seq))]
    assert [row.action for row in rows] == ["promote", "promote", "pause", "resume", "full", "roll_back", "withdraw"]
    assert rows[1].details == {"release_id": 2, "share": "5%"}
    assert (rows[5].actor, rows[5].details["reason"]) == ("jan", "too many opens")
    assert rows[5].object == f"hello/{B.hash[:12]}"


# What a release is made of


def test_a_release_reads_back_from_the_database_alone(either: Live) -> None:
    part = Journey(
        journey="care",
        trigger=Trigger(event="visit"),
        nodes={"z_help": Send(send="help", at="best", next="a_done"), "a_done": Exit(exit="helped")},
    )
    journey = jl.Journey.from_data(
        {
            "journey": "hello", "trigger": {"event": "signup", "where": 'segment("keen") >= 0.5'}, "holdout": "5%",
            "nodes": {
                "z": {"run": "care", "next": "b"},
                "b": {"decide": [{"if": 'score("churn") > 0.5', "go": "a"}], "else": "a"},
                "a": {"exit": "finished"},
            },
        }
    ).model_copy(update={"parts": {"care": part}, "shared": {"keen": Segment(condition="plan == 'x'")}})  # fmt: skip
    times = jl.SendTimes.of_hours(pd.DataFrame({"contact": ["ada"], "hour_of_week": [9]}))
    scores = pd.DataFrame({"contact": ["ada"], "score": [0.7], "more": ["x"]})
    models = (Model.of_send_times("best", times), Model.of_scores("churn", scores))
    message = Message(message="help", subject="Hi", templates={"help.html": "<p>Hi</p>"})
    what = Frozen(
        journey, Policy.model_validate({"holdout": "2%"}), Messages({"help": message}), models,
        {"hash": "ab" * 32, "arm": "b"}, {"without": "new"},
    )  # fmt: skip
    assert needed_models(journey) == [("scores", "churn"), ("send_times", "best")]
    assert sends_of(journey) == {"help": ["z_help"]}
    done = either.promote(what)
    with either.store.reading() as connection:
        read = frozen_release(connection, int(done.release_id or 0))
        assert taking(connection)[0].release.policy == what.policy
    assert read.hash == what.hash
    assert read.journey.version == journey.version
    assert read.journey.first == "z"
    assert read.journey.parts["care"].first == "z_help"
    assert read.messages["help"].templates == message.templates
    assert read.models[0].send_times().version == times.version
    assert read.models[1].scores().to_dict("list") == {"contact": ["ada"], "score": [0.7]}
    assert read.record == what.record
    with either.store.reading() as connection:
        found = what_runs(connection, ["contract"])
    assert [(one.release_id, one.version, one.transactional) for one in found.versions] == [
        (done.release_id, journey.version, frozenset())
    ]
    (span,) = found.versions[0].spans
    assert (span.policy, list(found.basis)) == (what.policy, ["contract"])
    assert found.send_times[span.models["best"]].version == times.version
    assert found.scores[span.models["churn"]]["score"].tolist() == [0.7]


def test_entries_keep_the_models_and_the_policy_of_their_release(either: Live) -> None:
    """Whatever is promoted later, of a past entry the same is decided (rule 26)."""
    journey = jl.Journey.from_data(
        {
            "journey": "hello", "trigger": {"event": "signup"},
            "nodes": {
                "ask": {"decide": [{"if": 'score("churn") > 0.5', "go": "one"}], "else": "other"},
                "one": {"send": "help", "next": "two"},
                "two": {"send": "help", "when_capped": "skip", "next": "end"},
                "other": {"exit": "other"}, "end": {"exit": "finished"},
            },
        }
    )  # fmt: skip
    message = Message(message="help", subject="Hi", templates={"help.html": "<p>Hi</p>"})
    policies = ({"cap": {"sends": 1, "within": "7d"}}, {})
    at = []
    for score, policy in zip((0.9, 0.1), policies, strict=True):
        model = Model.of_scores("churn", pd.DataFrame({"contact": ["ada", "bob"], "score": [score, score]}))
        messages = Messages({"help": message})
        at.append(either.at)
        either.promote(
            Frozen(journey, Policy.model_validate(policy), messages, (model,), None, {"without": "new"})
        )  # fmt: skip
    with either.store.reading() as connection:
        found = what_runs(connection)
    spans = [span for version in found.versions for span in version.spans]
    assert [found.of(span).release_id for span in spans] == [1, 2]
    rows = [{"contact": c, "event": "signup", "occurred_at": one} for c, one in zip(("ada", "bob"), at, strict=True)]
    log = jl.EventLog.read(pd.DataFrame(rows))
    run = jl.replay(spans, log, scores=found.scores, assumed_consent=["marketing"])
    assert run.entries.set_index("contact")["exit"].to_dict() == {"ada": "finished", "bob": "other"}
    assert [*zip(run.sends["node"], run.sends["is_sent"], strict=True)] == [("one", True), ("two", False)]


def test_a_release_that_was_changed_in_the_database_is_refused(live: Live) -> None:
    done = live.promote(A)
    with live.store.writing() as connection:
        connection.execute(update(t.releases).values(definition=definition_of(B.journey)))
    with live.store.reading() as connection, pytest.raises(DataError, match="changed in the database"):
        frozen_release(connection, int(done.release_id or 0))
    with live.store.reading() as connection, pytest.raises(DataError, match="is not that of version"):
        taking(connection)
    with live.store.reading() as connection, pytest.raises(DataError, match="there is no release 99"):
        frozen_release(connection, 99)


@pytest.mark.parametrize("name", ["trial_welcome", "keen_care", "trial_ends", "cdnow_winback"])
def test_bundled_journeys_keep_their_version(name: str) -> None:
    import json

    journey = Journey.read(jl.datasets.journey_file(name))
    assert journey_of(json.loads(json.dumps(definition_of(journey), sort_keys=True))).version == journey.version


def test_titles_change_no_hash_and_everything_else_does() -> None:
    titled = Frozen(A.journey.model_copy(update={"title": "Hi"}), A.policy, A.messages)
    assert titled.hash == A.hash
    others = [
        B, frozen("1d", "Other"), Frozen(A.journey, Policy.model_validate({"holdout": "1%"}), A.messages),
        Frozen(A.journey, A.policy, A.messages, (Model("scores", "x", b"1"),)),
        Frozen(A.journey, A.policy, A.messages, (), {"hash": "1"}),
        Frozen(A.journey, A.policy, A.messages, (), None, {"without": "another reason"}),
    ]  # fmt: skip
    assert len({A.hash, *(one.hash for one in others)}) == len(others) + 1


def test_models_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        Model.read("scores", "churn", tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_text("contact,scor\nada,1\n")
    with pytest.raises(DataError, match="need a column 'score'; did you mean 'scor'"):
        Model.read("scores", "churn", tmp_path / "bad.csv")
    (tmp_path / "text.csv").write_text("contact,score\nada,high\n")
    with pytest.raises(DataError, match="not numbers"):
        Model.read("scores", "churn", tmp_path / "text.csv")
    (tmp_path / "good.csv").write_text("contact,score\nada,0.5\n")
    assert Model.read("scores", "churn", tmp_path / "good.csv").scores()["score"].tolist() == [0.5]
    (tmp_path / "hours.csv").write_text("contact,hour_of_week\nada,9\n")
    assert Model.read("send_times", "best", tmp_path / "hours.csv").send_times().table()["hour_of_week"].tolist() == [9]
