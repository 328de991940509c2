"""The states of messages: every way that there is and no other, against a model, on both databases.

The model keeps what really happened at a relay: which transmissions began and which were accepted. Whatever workers,
crashes, lapses, late replies and people do in whatever order, no message is transmitted twice unless somebody decided
so, none is lost, and what has ended stays ended.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import insert

from journeylab.sender.sending import claims, gate
from journeylab.sender.sending.claims import claim, reap, release
from journeylab.sender.sending.gate import CLAUSES, Passed, Request, let_pass
from journeylab.sender.sending.preparing import Made
from journeylab.sender.sending.reconcile import resolve
from journeylab.sender.sending.settling import Settled, settle
from journeylab.sender.sending.states import FINAL, MAY_STAY, WAYS, move, move_all
from journeylab.sender.sending.transport import Outcome
from journeylab.sender.store import tables as t
from journeylab.sender.store.tables import STATES
from sendworld import KEYS, MINUTE, World, body_of, world
from stores import freeze


def test_every_state_has_its_ways() -> None:
    assert {*WAYS} == {*STATES}
    assert {to for ways in WAYS.values() for to in ways} == {*STATES} - {"planned"} | {"planned"}
    assert {*FINAL} == {"accepted", "rejected", "failed", "suppressed", "cancelled", "expired"}


@pytest.fixture
def one(tmp_path: Path) -> Iterator[World]:
    with world(f"sqlite:///{tmp_path / 'sender.db'}", tmp_path) as made:
        yield made


def test_a_message_goes_only_the_ways_that_there_are(one: World) -> None:
    pairs = {one.add(node=f"{a}_{b}", state=a): (a, b) for a in STATES for b in STATES}
    with one.store.writing() as connection:
        for key, (before, after) in pairs.items():
            if after in WAYS[before]:
                assert move(connection, key, before, after, fence=0)
                continue
            if before == after in MAY_STAY:
                assert move_all(connection, before, after, [{"message_key": key, "fence": 0, "reason": "x"}]) == 1
            else:
                with pytest.raises(ValueError, match=f"cannot go from {before} to {after}"):
                    move_all(connection, before, after, [{"message_key": key, "fence": 0}])
            with pytest.raises(ValueError, match=f"cannot go from {before} to {after}"):
                move(connection, key, before, after)
    assert one.states() == {key: b if b in WAYS[a] else a for key, (a, b) in pairs.items()}


@pytest.mark.parametrize(("state", "fence"), [("ready", 1), ("claimed", 2)])
def test_a_change_names_what_it_starts_from(one: World, state: str, fence: int) -> None:
    key = one.add(state="claimed", fence=1)
    to = "planned"
    with one.store.writing() as connection:
        assert not move(connection, key, state, to, fence=fence)
        assert move_all(connection, state, to, [{"message_key": key, "fence": fence, "reason": "x"}]) == 0
    assert one.row(key).state == "claimed"


class Flight:
    """A message at a relay: the claim under which it was offered, when it passed, and what the relay did at the dot."""

    def __init__(self, key: str, fence: int) -> None:
        self.key, self.fence = key, fence
        self.passed: Passed | None = None
        self.is_accepted: bool | None = None


class Sending(RuleBasedStateMachine):
    """Workers, relays, lapses and people; `url` and `folder` are set by the test."""

    url: str
    folder: Path

    @initialize()
    def begin(self) -> None:
        self.context = world(self.url or f"sqlite:///{tempfile.mkdtemp(dir=self.folder)}/a.db", self.folder, attempts=3)
        self.one = self.context.__enter__()
        self.flights: list[Flight] = []
        self.accepted: Counter[str] = Counter()
        self.let_again: Counter[str] = Counter()
        self.ended: dict[str, str] = {}
        self.n = 0

    def teardown(self) -> None:
        if hasattr(self, "context"):
            self.context.__exit__(None, None, None)

    @property
    def now(self) -> Any:
        return self.one.clock.now

    @rule()
    def plan(self) -> None:
        self.n += 1
        key = self.one.add(f"c{self.n}", not_after=self.now + timedelta(hours=3))
        row = SimpleNamespace(message_key=key, contact=f"c{self.n}")
        with self.one.store.writing() as connection:
            freeze(connection, [(row, Made(f"c{self.n}@mail.example", body_of(key), {}))], self.now)

    @rule(most=st.integers(1, 3))
    def claim(self, most: int) -> None:
        with self.one.store.writing() as connection:
            keys = claim(connection, "w", most, self.now + MINUTE, self.now)
        self.flights += [Flight(key, self.one.row(key).fence) for key in keys]

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), most=st.integers(1, 3))
    def gate(self, data: st.DataObject, most: int) -> None:
        open_ = [one for one in self.flights if one.passed is None]
        if not open_:
            return
        some = data.draw(st.lists(st.sampled_from(open_), min_size=1, max_size=most, unique_by=lambda one: one.key))
        requests = [Request(one.key, one.fence, self.one.row(one.key).contact, "main") for one in some]
        with self.one.store.writing() as connection:
            answers = let_pass(connection, requests, self.now, self.one.settings)
        for one in some:
            answer = answers[one.key]
            if isinstance(answer, Passed):
                one.passed = answer
            else:
                self.flights.remove(one)

    @precondition(lambda self: any(one.passed for one in self.flights))
    @rule(data=st.data(), is_taken=st.booleans())
    def dot(self, data: st.DataObject, is_taken: bool) -> None:
        """The dot arrives, and the relay takes the message or not; nobody has heard of it yet."""
        one = data.draw(st.sampled_from([one for one in self.flights if one.passed]))
        if one.is_accepted is None:
            one.is_accepted = is_taken
            self.accepted[one.key] += is_taken

    @precondition(lambda self: any(one.is_accepted is not None for one in self.flights))
    @rule(data=st.data(), code=st.sampled_from([452, 554]))
    def reply(self, data: st.DataObject, code: int) -> None:
        one = data.draw(st.sampled_from([one for one in self.flights if one.is_accepted is not None]))
        kind = "accepted" if one.is_accepted else {452: "temporary", 554: "rejected"}[code]
        self._settle(one, Outcome(kind, "dot", 250 if one.is_accepted else code))  # type: ignore[arg-type]

    @precondition(lambda self: any(one.passed for one in self.flights))
    @rule(data=st.data())
    def no_reply(self, data: st.DataObject) -> None:
        self._settle(data.draw(st.sampled_from([one for one in self.flights if one.passed])), Outcome("unknown", "dot"))

    @precondition(lambda self: any(one.is_accepted is None for one in self.flights))
    @rule(data=st.data(), kind=st.sampled_from(["withdrawn", "temporary", "rejected", "unreached"]))
    def before_the_dot(self, data: st.DataObject, kind: Any) -> None:
        """The message is taken back or refused before its end; after the gate it can only be taken back."""
        one = data.draw(st.sampled_from([one for one in self.flights if one.is_accepted is None]))
        self._settle(one, Outcome("withdrawn" if one.passed else kind, "rcpt", 450))

    def _settle(self, one: Flight, outcome: Outcome) -> None:
        contact = self.one.row(one.key).contact
        gated_at = one.passed and one.passed.gated_at
        settled = Settled(one.key, one.fence, contact, outcome, "main", gated_at)
        with self.one.store.writing() as connection:
            settle(connection, [settled], self.now, self.one.settings)
        self.flights.remove(one)
        self.one.advanced(contact)

    @precondition(lambda self: self.flights)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """A worker is gone, and with it what it knew."""
        self.flights.remove(data.draw(st.sampled_from(self.flights)))

    @precondition(lambda self: any(one.passed is None for one in self.flights))
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from([one for one in self.flights if one.passed is None]))
        with self.one.store.writing() as connection:
            release(connection, {one.key: one.fence})
        self.flights.remove(one)

    @rule(time=st.sampled_from([timedelta(seconds=1), MINUTE, timedelta(minutes=12), timedelta(hours=1)]))
    def lapse(self, time: timedelta) -> None:
        self.one.clock.pass_by(time)
        with self.one.store.writing() as connection:
            reap(connection, self.now, lambda step, key: None)

    @precondition(lambda self: self.n)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        """A contact withdraws, and the machine takes back what it waits to send."""
        contact = f"c{data.draw(st.integers(1, self.n))}"
        self.one.receive("consent_withdrawn", contact, purpose="marketing")
        key = KEYS.message_key("welcome", contact, 1, "hello", 1)
        with self.one.store.writing() as connection:
            move(connection, key, ("planned", "ready", "claimed"), "cancelled")

    @rule()
    def pause(self) -> None:
        with self.one.store.writing() as connection:
            if not connection.execute(t.pauses.select().where(t.pauses.c.ended_at.is_(None))).first():
                pause = {"journey": "welcome", "started_at": self.now, "reason": "look", "started_by": "ada"}
                connection.execute(insert(t.pauses), pause)

    @rule()
    def resume(self) -> None:
        """The pause ends, and the machine makes ready what it had to plan anew."""
        self.one.set(t.pauses, t.pauses.c.ended_at.is_(None), ended_at=self.now)
        self.one.set(t.contacts, t.contacts.c.next_at.is_not(None), next_at=None)
        for key, state in self.one.states().items():
            if state == "planned":
                with self.one.store.writing() as connection:
                    move(connection, key, "planned", "ready", not_before=self.now)

    @precondition(lambda self: "ambiguous" in self.one.states().values())
    @rule(data=st.data(), how=st.sampled_from(["delivered", "resend", "abandon"]))
    def decide(self, data: st.DataObject, how: Any) -> None:
        key = data.draw(st.sampled_from(sorted(k for k, state in self.one.states().items() if state == "ambiguous")))
        resolve(self.one.store, key, how, "grace")
        self.let_again[key] += how == "resend"
        self.one.advanced(self.one.row(key).contact)

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "one"):
            return
        states = self.one.states()
        with self.one.store.reading() as connection:
            acts = connection.execute(t.audit.select()).all()
        delivered = {row.object for row in acts if row.details.get("how") == "delivered"}
        for key, state in states.items():
            n = self.accepted[key]
            assert n <= 1 + self.let_again[key], "sent twice, and nobody has decided so"
            may_have_gone = state in ("transmitting", "ambiguous", "accepted", "failed") or self.let_again[key]
            assert not n or may_have_gone, "it arrived, and nobody can know"
            assert state != "accepted" or n or key in delivered, "it is accepted, and did not arrive"
        assert all(states[key] == state for key, state in self.ended.items()), "what has ended has changed"
        self.ended |= {key: state for key, state in states.items() if state in FINAL}
        told = Counter(row.contact for row in self.one.events("sent", "not_sent"))
        for i in range(1, self.n + 1):
            end = self.ended.get(KEYS.message_key("welcome", f"c{i}", 1, "hello", 1))
            assert told[f"c{i}"] == (end in ("accepted", "rejected", "failed")), "an end is told once"


def run_model(url: str, folder: Path, n: int, phases: Sequence[Phase] = tuple(Phase)) -> None:
    model = type("Model", (Sending,), {"url": url, "folder": folder})
    chosen = hypothesis_settings(max_examples=n, stateful_step_count=40, phases=phases)
    run_state_machine_as_test(model, settings=chosen)  # type: ignore[no-untyped-call]


def test_the_model_holds_on_sqlite(tmp_path: Path) -> None:
    run_model("", tmp_path, 25)


@pytest.mark.long
def test_the_model_holds_on_postgresql(tmp_path: Path, postgresql: str) -> None:
    run_model(postgresql, tmp_path, 8)


@pytest.mark.nightly
def test_the_model_holds_for_long(tmp_path: Path) -> None:
    run_model("", tmp_path, 300)


def _reaped(connection: Any, now: Any, observe: Any) -> tuple[int, int]:
    """A reaper that lets what was on its way be sent again."""
    late = (t.sends.c.state == "transmitting") & (t.sends.c.lease_until <= now)
    connection.execute(t.sends.update().where(late).values(state="ready", fence=t.sends.c.fence + 1))
    return claims.reap(connection, now, observe)


@pytest.mark.parametrize("fault", ["reaper", "state"])
def test_the_model_finds_out_what_is_not_guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    if fault == "reaper":
        monkeypatch.setitem(globals(), "reap", _reaped)
    else:  # a worker that slept beyond its lease passes whatever was done since
        less = {name: one for name, one in CLAUSES.items() if name not in ("state", "fence", "lease", "repeat")}
        monkeypatch.setattr(gate, "CLAUSES", less)
    with pytest.raises((AssertionError, RuntimeError, ValueError)):
        run_model("", tmp_path, 300, (Phase.generate,))
