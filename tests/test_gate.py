"""The gate: what speaks against a message at its last instant keeps it back; each clause alone, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from databases import DATABASES
from journeylab.sender.live.intake import Incoming, receive
from journeylab.sender.sending import gate
from journeylab.sender.sending.gate import CLAUSES, Passed, Refused, Request, let_pass
from journeylab.sender.settings import Relay
from journeylab.sender.store import tables as t
from sendworld import KEYS, MINUTE, START, World, world

DAY = timedelta(days=1)
DROPS = Relay(
    name="main", host="127.0.0.1", tls="none", idempotency_header="Idempotency-Key", idempotency_for=timedelta(hours=24)
)


@pytest.fixture(scope="module")
def database(postgres_server: Any) -> Iterator[str]:
    name = postgres_server.create()
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture(params=DATABASES)
def one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    url = f"sqlite:///{tmp_path / 'sender.db'}" if request.param == "sqlite" else request.getfixturevalue("database")
    with world(url, tmp_path) as made:
        yield made


def ask(one: World, *requests: Request) -> list[Passed | Refused]:
    with one.store.writing() as connection:
        found = let_pass(connection, requests, one.store.now(connection), one.settings)
    return [found[request.message_key] for request in requests]


def sent_before(one: World, entry: int, ago: timedelta, state: str = "accepted", **columns: Any) -> None:
    one.add(entry=entry, state=state, gated_at=one.clock.now - ago, **columns)


def capped(one: World, **columns: Any) -> Request:
    return one.claimed(**{"cap_sends": 1, "cap_within_us": DAY // timedelta(microseconds=1), **columns})


def of(key: str) -> Any:
    return t.sends.c.message_key == key


def test_a_message_that_nothing_speaks_against_passes(one: World) -> None:
    request = one.claimed()
    assert ask(one, request) == [Passed(START)]
    row = one.row(request.message_key)
    assert (row.state, row.gated_at, row.relay) == ("transmitting", START, "main")
    assert row.lease_until >= START + timedelta(minutes=10)
    with one.store.reading() as connection:
        assert connection.execute(select(t.contacts.c.last_at)).scalar_one() == START
    assert one.events("postponed") == []


# Every clause: what makes it refuse, and where the message is then. The same is run with the clause taken away.


def no_claim(one: World) -> Request:
    return one.claimed(state="cancelled")


def other_fence(one: World) -> Request:
    return one.claimed(fence=2)


def lease_over(one: World) -> Request:
    return one.claimed(lease_until=START)


def contact_due(one: World) -> Request:
    request = one.claimed()
    one.receive("purchase", is_advanced=False)
    return request


def contact_held(one: World) -> Request:
    request = one.claimed()
    one.set(t.contacts, t.contacts.c.contact == "ada", held_because="a fault")
    return request


def moved_away(one: World) -> Request:
    request = one.claimed()
    one.moves("ada", "ada@elsewhere.example")
    return request


def too_early(one: World) -> Request:
    return one.claimed(not_before=START + MINUTE)


def entry_over(one: World) -> Request:
    request = one.claimed()
    one.set(t.entries, t.entries.c.contact == "ada", left_at=START, exit="goal")
    return request


def withdrawn(one: World) -> Request:
    request = one.claimed()
    one.receive("consent_withdrawn", purpose="marketing")
    return request


def complained(one: World) -> Request:
    request = one.claimed()
    one.receive("complained")
    return request


def suppressed(one: World) -> Request:
    """The address is suppressed because of another contact: nothing is received of this one."""
    request = one.claimed()
    digest = KEYS.address_digest("Ada@Mail.example")
    one.insert(t.suppressions, address_digest=digest, reason="erased", at=START)
    return request


def paused(one: World) -> Request:
    request = one.claimed()
    one.insert(t.pauses, journey="welcome", started_at=START, reason="look", started_by="ada")
    return request


def too_late(one: World) -> Request:
    return one.claimed(not_after=START - timedelta(microseconds=1))


def in_quiet_hours(one: World) -> Request:
    return one.claimed(open_until=START)


def at_the_cap(one: World) -> Request:
    sent_before(one, 2, DAY - timedelta(microseconds=1))
    return capped(one)


def at_the_policy_cap(one: World) -> Request:
    sent_before(one, 2, timedelta(hours=1), journey="other")
    return one.claimed(policy_cap_sends=1, policy_cap_within_us=DAY // timedelta(microseconds=1))


REFUSALS: list[tuple[str, Callable[[World], Request], str]] = [
    ("state", no_claim, "cancelled"),
    ("fence", other_fence, "claimed"),
    ("lease", lease_over, "claimed"),
    ("due", contact_due, "ready"),
    ("held", contact_held, "ready"),
    ("address", moved_away, "ready"),
    ("early", too_early, "ready"),
    ("left", entry_over, "cancelled"),
    ("consent", withdrawn, "planned"),
    ("suppression", complained, "suppressed"),
    ("suppression", suppressed, "suppressed"),
    ("pause", paused, "planned"),
    ("late", too_late, "planned"),
    ("quiet_hours", in_quiet_hours, "planned"),
    ("cap", at_the_cap, "planned"),
    ("policy_cap", at_the_policy_cap, "planned"),
]


def test_all_clauses_are_tried() -> None:
    of_ages = {"outdated", "stale", "changed"}  # see test_ages.py
    assert {clause for clause, _, _ in REFUSALS} | {"repeat"} | of_ages == {*CLAUSES}


IDS = [f"{clause}-{prepare.__name__}" for clause, prepare, _ in REFUSALS]
IDENTITY = {"journey": "welcome", "entry": 1, "node": "hello", "visit": 1}


@pytest.mark.parametrize(("reason", "prepare", "state"), REFUSALS, ids=IDS)
def test_each_clause_refuses(one: World, reason: str, prepare: Callable[[World], Request], state: str) -> None:
    request = prepare(one)
    before = one.row(request.message_key)
    assert ask(one, request) == [Refused(reason)]
    row = one.row(request.message_key)
    assert (row.state, row.gated_at) == (state, None)
    if reason in ("state", "fence", "lease"):
        assert row == before
    else:
        assert (row.worker, row.lease_until) == (None, None)
    told = one.events("postponed", "not_sent")
    if state not in ("planned", "suppressed"):
        assert told == []
        return
    assert [(event.event, event.properties) for event in told] == [
        ("postponed", IDENTITY) if state == "planned" else
        ("not_sent", {**IDENTITY, "message": "hello", "reason": "suppression"})
    ]  # fmt: skip
    at = told[0].received_at
    assert at >= START
    assert (row.reason, row.settled_at) == (reason, None if state == "planned" else at)
    assert state != "planned" or row.not_before is None
    with one.store.reading() as connection:
        assert connection.execute(select(t.contacts.c.next_at)).scalar_one() == at


@pytest.mark.parametrize(("reason", "prepare", "state"), REFUSALS, ids=IDS)
def test_without_a_clause_the_message_would_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str, prepare: Callable[[World], Request], state: str
) -> None:
    gone = ("state", "repeat") if reason == "state" else (reason,)
    monkeypatch.setattr(gate, "CLAUSES", {name: clause for name, clause in CLAUSES.items() if name not in gone})
    with world(f"sqlite:///{tmp_path / 'sender.db'}", tmp_path) as one:
        request = prepare(one)
        if reason == "state":
            with pytest.raises(ValueError, match="cannot go from cancelled"):
                ask(one, request)
        else:
            assert isinstance(ask(one, request)[0], Passed)


def passes(one: World, request: Request) -> bool:
    return isinstance(ask(one, request)[0], Passed)


@pytest.mark.parametrize(
    ("events", "goes"),
    [
        ([("consent_withdrawn", None)], False),
        ([("consent_withdrawn", "news")], True),
        ([("consent_withdrawn", None), ("consent_given", "marketing")], True),
        ([("erased", None)], False),
        ([("bounced", None)], False),
    ],
)
def test_what_was_said_last_counts(one: World, events: list[tuple[str, str | None]], goes: bool) -> None:
    request = one.claimed()
    for event, purpose in events:
        one.receive(event, **({} if purpose is None else {"purpose": purpose}))
    assert passes(one, request) == goes


def test_a_soft_bounce_suppresses_nothing(one: World) -> None:
    request = one.claimed()
    one.receive("bounced", bounce_type="soft")
    assert passes(one, request)


def test_a_suppressed_address_ends_one_message_after_another(one: World) -> None:
    first, second = suppressed(one), one.claimed(node="again")
    assert ask(one, first, second) == [Refused("suppression"), Refused("due")]
    one.advanced()
    assert ask(one, one.claimed(node="third")) == [Refused("suppression")]


def test_confirmation_mail_to_a_suppressed_address_ends_too(one: World) -> None:
    request = one.claimed(journey="(consent)", node="confirm", purpose="news")
    suppressed(one)
    assert ask(one, request) == [Refused("suppression")]
    assert one.row(request.message_key).state == "suppressed"


def test_a_purpose_of_another_basis_needs_no_consent_but_no_withdrawal_either(tmp_path: Path) -> None:
    with world(f"sqlite:///{tmp_path / 'a.db'}", tmp_path, basis={"receipt": "contract"}) as one:
        assert passes(one, one.claimed(purpose="receipt"))
        assert not passes(one, one.claimed(entry=2, purpose="news"))
        one.receive("consent_withdrawn", purpose="receipt")
        assert not passes(one, one.claimed(entry=3, purpose="receipt"))


def test_a_pause_includes_its_start_and_excludes_its_end(one: World) -> None:
    request = one.claimed()
    pause = {"journey": "welcome", "reason": "look", "started_by": "ada"}
    one.insert(t.pauses, started_at=START - DAY, ended_at=START, **pause)
    one.insert(t.pauses, started_at=START + MINUTE, ended_at=START + DAY, **pause)
    one.insert(t.pauses, **(pause | {"journey": "other"}), started_at=START - DAY)
    assert passes(one, request)


def test_the_last_instant_is_in_time(one: World) -> None:
    assert passes(one, one.claimed(not_after=START))


def test_a_cap_counts_what_went_or_may_have_gone_and_nothing_older(one: World) -> None:
    sent_before(one, 2, DAY)
    sent_before(one, 3, MINUTE, journey="other")
    for entry, state in enumerate(("failed", "ready", "planned"), start=4):
        sent_before(one, entry, MINUTE, state)
    assert passes(one, capped(one))
    for entry, state in enumerate(("transmitting", "ambiguous", "accepted", "rejected"), start=7):
        sent_before(one, entry, MINUTE, state)
        n_before = entry - 6 + 1
        assert not passes(one, capped(one, entry=entry + 10, cap_sends=n_before))
        one.advanced()


def test_confirmation_mail_needs_no_entry_and_no_consent(one: World) -> None:
    request = one.claimed(journey="(consent)", node="confirm", purpose="news", policy_cap_sends=None)
    assert passes(one, request)


@pytest.mark.parametrize("event", ["complained", "erased"])
def test_confirmation_mail_goes_to_nobody_who_complained_or_was_erased(one: World, event: str) -> None:
    request = one.claimed(journey="(consent)", node="confirm", purpose="news")
    one.clock.pass_by(timedelta(seconds=1))
    one.receive(event)
    assert not passes(one, request)


def test_confirmation_mail_does_not_count_for_a_policy_cap(one: World) -> None:
    sent_before(one, 2, MINUTE, journey="(consent)")
    assert passes(one, one.claimed(policy_cap_sends=1, policy_cap_within_us=10**12))


def test_messages_of_one_contact_count_for_each_other(one: World) -> None:
    first, second = capped(one), capped(one, node="again")
    third = capped(one, node="third")
    assert ask(one, first, second, third) == [Passed(START), Refused("cap"), Refused("due")]


def test_what_is_not_there_does_not_pass(one: World) -> None:
    assert ask(one, Request("ff" * 16, 1, "nobody", "main")) == [Refused("state")]


def test_nothing_passes_before_what_was_decided(one: World) -> None:
    """A clock that was set back: the instant of the gate is still later than all that was received."""
    request = one.claimed()
    one.receive("purchase")
    one.clock.pass_by(-timedelta(seconds=30))
    (answer,) = ask(one, request)
    assert answer == Passed(START + timedelta(microseconds=1))


def test_a_group_asks_about_each(one: World) -> None:
    requests = [one.claimed(f"c{i}") for i in range(30)]
    for i in range(0, 30, 3):
        one.receive("consent_withdrawn", f"c{i}", purpose="marketing")
    answers = ask(one, *requests)
    assert [isinstance(answer, Passed) for answer in answers] == [i % 3 != 0 for i in range(30)]


# Messages that are offered again to a relay that drops what it has seen.


@pytest.fixture
def dropping(tmp_path: Path) -> Iterator[World]:
    with world(f"sqlite:///{tmp_path / 'sender.db'}", tmp_path, DROPS) as made:
        yield made


def repeated(one: World, **columns: Any) -> Request:
    given = {"state": "ambiguous", "gated_at": START - timedelta(hours=1), "relay": "main"}
    return one.claimed(**{**given, **columns})


def test_an_ambiguous_message_may_be_repeated(dropping: World) -> None:
    request = repeated(dropping)
    assert ask(dropping, request) == [Passed(START - timedelta(hours=1))]
    row = dropping.row(request.message_key)
    assert (row.state, row.reason) == ("transmitting", "repeated")


@pytest.mark.parametrize("changed", [{"gated_at": START - timedelta(hours=22)}, {"relay": "other"}])
def test_it_is_not_repeated_where_the_relay_may_not_know_it(dropping: World, changed: dict[str, Any]) -> None:
    request = repeated(dropping, **changed)
    assert ask(dropping, request) == [Refused("repeat")]
    assert dropping.row(request.message_key).state == "ambiguous"


def test_it_stays_ambiguous_when_it_is_refused(dropping: World) -> None:
    request = repeated(dropping)
    dropping.receive("consent_withdrawn", purpose="marketing")
    assert ask(dropping, request) == [Refused("consent")]
    row = dropping.row(request.message_key)
    assert (row.state, row.lease_until, row.not_before > START) == ("ambiguous", None, True)
    assert dropping.events("postponed") == []


def test_a_relay_that_promises_nothing_gets_nothing_twice(one: World) -> None:
    assert ask(one, repeated(one)) == [Refused("repeat")]


# Races.


def test_groups_that_meet_cannot_block_each_other(one: World) -> None:
    """Each of four threads lets pass and withdraws over the same contacts in an order of its own."""
    requests = [[one.claimed(f"c{i}", node=f"n{k}") for i in range(12)] for k in range(4)]
    answers: list[Any] = []

    def gate_all(mine: list[Request]) -> None:
        for start in range(0, len(mine), 3):
            answers.extend(ask(one, *mine[start : start + 3]))

    threads = [
        threading.Thread(target=gate_all, args=(mine[:: 1 if k % 2 else -1],)) for k, mine in enumerate(requests)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 48
    assert all(isinstance(answer, Passed) for answer in answers)


def test_no_message_passes_after_its_withdrawal(one: World) -> None:
    n = 40
    requests = [one.claimed(f"c{i}") for i in range(n)]
    withdrawn_at: dict[str, Any] = {}
    found: dict[str, set[str]] = {}

    def withdraw() -> None:
        for i in range(n):
            contact = f"c{i}"
            with one.store.writing() as connection:
                receive(connection, [Incoming(contact, "consent_withdrawn", None, {"purpose": "marketing"})], START)
                mine = select(t.sends.c.state).where(t.sends.c.contact == contact)
                found[contact] = {*connection.scalars(mine)}
                at = select(t.contacts.c.last_at).where(t.contacts.c.contact == contact)
                withdrawn_at[contact] = connection.execute(at).scalar_one()
                connection.execute(update(t.contacts).values(next_at=None).where(t.contacts.c.contact == contact))

    thread = threading.Thread(target=withdraw)
    thread.start()
    answers: dict[str, Passed | Refused] = {}
    for start in range(0, n, 4):
        for request, answer in zip(requests[start : start + 4], ask(one, *requests[start : start + 4]), strict=True):
            answers[request.contact] = answer
    thread.join()
    for contact, answer in answers.items():
        if isinstance(answer, Passed):
            assert answer.gated_at < withdrawn_at[contact]
            assert found[contact] == {"transmitting"}  # the receipt can name it
        else:
            assert found[contact] == {"claimed"}
