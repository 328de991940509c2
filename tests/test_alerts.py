"""Alerts: one for each cause, told once when it begins and once when it ends, without anybody's address."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as some

from journeylab.sender.logs import without_addresses
from journeylab.sender.sending.alerts import open_alerts, raise_alert, resolve
from journeylab.sender.sending.notices import tell
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from stores import START, rows_of


def raised(store: Store, cause: str = "relay/main", text: str = "it is gone", severity: str = "error") -> bool:
    with store.writing() as connection:
        return raise_alert(connection, cause, severity, text, store.now(connection))


def resolved(store: Store, cause: str = "relay/main") -> bool:
    with store.writing() as connection:
        return resolve(connection, cause, store.now(connection))


def test_a_cause_is_told_once_while_it_lasts(store: Store) -> None:
    assert [raised(store), raised(store, text="still gone", severity="critical"), raised(store)] == [True, False, False]
    (alert,) = rows_of(store, t.alerts)
    assert (alert.cause, alert.n_seen, alert.severity, alert.resolved_at) == ("relay/main", 3, "critical", None)
    assert alert.started_at < alert.seen_at
    told, worse = rows_of(store, t.outbox)
    assert told.target == worse.target == "alerts"
    assert told.about == worse.about
    assert (worse.body["type"], worse.body["data"]["severity"]) == ("alert.raised", "critical")
    assert told.body["type"] == "alert.raised"
    assert told.body["data"] == {
        "dedup_key": "relay/main",
        "severity": "error",
        "summary": "it is gone",
        "status": "raised",
        "started_at": alert.started_at.isoformat(),
        "acknowledged_at": None,
        "resolved_at": None,
    }


def test_what_is_over_is_told_once_and_may_begin_again(store: Store) -> None:
    assert not resolved(store)
    raised(store)
    assert [resolved(store), resolved(store)] == [True, False]
    assert raised(store)
    kinds = [one.body["type"] for one in rows_of(store, t.outbox)]
    assert kinds == ["alert.raised", "alert.resolved", "alert.raised"]
    assert len({one.webhook_id for one in rows_of(store, t.outbox)}) == 3
    first, second = rows_of(store, t.alerts)
    assert first.resolved_at is not None
    assert second.resolved_at is None


def test_open_alerts_come_the_worst_first_then_the_oldest(store: Store) -> None:
    for cause, severity in [("a", "warning"), ("b", "critical"), ("c", "warning"), ("d", "info"), ("e", "error")]:
        raised(store, cause, severity=severity)
    resolved(store, "a")
    raised(store, "a", severity="warning")
    with store.reading() as connection:
        assert [one.cause for one in open_alerts(connection)] == ["b", "e", "c", "a", "d"]


@pytest.mark.parametrize("n", [8])
def test_of_many_that_notice_at_once_one_tells(store: Store, n: int) -> None:
    together = Barrier(n)

    def notice(_: int) -> bool:
        together.wait()
        return raised(store)

    with ThreadPoolExecutor(n) as threads:
        assert sorted(threads.map(notice, range(n))) == [False] * (n - 1) + [True]
        assert sorted(threads.map(lambda _: resolved(store), range(n))) == [False] * (n - 1) + [True]
    (alert,) = rows_of(store, t.alerts)
    assert alert.n_seen == n
    assert len(rows_of(store, t.outbox)) == 2


def test_addresses_leave_with_no_alert(store: Store) -> None:
    assert raised(store, "relay/main", "550 <ada@rcpt.test> unknown (b+tok@bounces.shop.example)")
    (alert,) = rows_of(store, t.alerts)
    assert alert.text == "550 <(address)> unknown ((address))"
    (told,) = rows_of(store, t.outbox)
    assert "@" not in str(told.body)


def test_an_alert_that_is_rolled_back_tells_nobody(store: Store) -> None:
    with pytest.raises(RuntimeError), store.writing() as connection:  # noqa: PT012
        raise_alert(connection, "x", "error", "x", START)
        raise RuntimeError
    assert not rows_of(store, t.alerts)
    assert not rows_of(store, t.outbox)


def test_the_last_time_it_was_seen_does_not_go_back(store: Store) -> None:
    with store.writing() as connection:
        raise_alert(connection, "x", "error", "x", START)
        raise_alert(connection, "x", "error", "x", START + timedelta(hours=1))
        raise_alert(connection, "x", "error", "x", START)
    assert rows_of(store, t.alerts)[0].seen_at == START + timedelta(hours=1)


def test_an_unknown_severity_is_the_programs_fault(store: Store) -> None:
    with pytest.raises(ValueError, match="did you mean 'critical'"):
        raised(store, severity="criticl")


@given(some.emails(), some.text(max_size=20), some.text(max_size=20))
def test_no_address_survives_in_a_text(address: str, before: str, after: str) -> None:
    assert address not in without_addresses(f"{before} {address} {after}")
    assert address not in without_addresses(f"{before}<{address}>{after}")


def test_what_is_told_under_one_id_is_put_down_once(store: Store) -> None:
    with store.writing() as connection:
        now = store.now(connection)
        assert tell(connection, "crm", "one", "consent.withdrawn", {"contact": "ada"}, now)
        assert not tell(connection, "crm", "one", "consent.withdrawn", {"contact": "eve"}, now)
    (row,) = rows_of(store, t.outbox)
    assert row.body["data"] == {"contact": "ada"}
