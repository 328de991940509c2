"""A store in the middle of a day: two releases, messages in every state, trouble, opens by people and machines."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import insert

from journeylab.sender.promotion.forecast import EXITS, Expected, Forecast
from journeylab.sender.sending.alerts import raise_alert
from journeylab.sender.sending.breaker import note
from journeylab.sender.sending.notices import tell
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from stores import KEYS, people

CANARIES = ("ada_lovelace", "zofia_kowalska")
"""Contacts, whose ids and addresses nobody is to see."""


def fill(store: Store) -> None:
    """Fills a store; `ada_lovelace` and `zofia_kowalska` are among the contacts."""
    contacts = [*CANARIES, *(f"c{n}" for n in range(60))]
    people(store, *contacts)
    with store.writing() as connection:
        now = store.now(connection)
        ids = [
            _release(connection, now, "welcome", "v1", 1.0, _forecast()),
            _release(connection, now, "winback", "v7", 0.05),
        ]
        states = ["accepted"] * 40 + ["ambiguous"] * 2 + ["rejected"] * 3 + ["ready"] * 9 + ["suppressed"] * 8
        rows = []
        for place, (contact, state) in enumerate(zip(contacts, states, strict=True)):
            at = now - timedelta(minutes=23 * place + 1)
            rows.append(_send(contact, state, at, ids[0]))
        connection.execute(insert(t.sends), rows)
        for place, contact in enumerate(contacts[:30]):
            about = {name: rows[place][name] for name in ("journey", "entry", "node", "visit", "message")}
            for event, is_machine in [("opened", place % 3 == 0), ("clicked", place % 5 == 0)]:
                event_row = {"contact": contact, "event": event, "occurred_at": now, "received_at": now}
                connection.execute(insert(t.events), event_row | {"properties": about | {"is_machine": is_machine}})
            entry = {"contact": contact, "journey": "welcome", "entry": 1, "version": "v1", "held_out": False}
            entry |= {"entered_at": now, "left_at": now, "exit": "done", "converted": False}
            connection.execute(insert(t.entries), entry)
        pause = {"journey": "winback", "started_at": now, "reason": "too many bounces", "started_by": "breaker"}
        connection.execute(insert(t.pauses), pause)
        raise_alert(connection, "forecast:welcome:v1:(exits)", "warning", "entries end otherwise than forecast", now)
        raise_alert(connection, "sends/ambiguous", "error", "2 messages wait for ada@rcpt.test to be decided on", now)
        note(connection, "main", "auth", now)
        tell(connection, "crm", "m1", "consent.withdrawn", {"contact": "ada_lovelace"}, now - timedelta(hours=3))
        call = {
            "journey": "welcome",
            "contact": "ada_lovelace",
            "entry": 1,
            "visit": 1,
            "release_id": ids[0],
            "attempts": 1,
        }
        call |= {"planned_at": now, "service": "scoring"}
        for state in ("succeeded", "failed", "ready"):
            connection.execute(insert(t.calls), call | {"call_key": state, "node": state, "state": state})
        worker = {"worker": "host-1", "host": "mail1", "started_at": now - timedelta(hours=5), "seen_at": now}
        connection.execute(insert(t.workers), worker)


def _forecast() -> dict[str, Any]:
    expected = (
        Expected("exit", EXITS, "done", 0.1, 0.08, 0.12),
        Expected("branch", "hello", "next", 1.0, 1.0, 1.0),
    )
    return Forecast("welcome", "v1", 0.9, 1000.0, expected).to_dict()


def _release(connection: Any, now: Any, journey: str, version: str, share: float, forecast: Any = None) -> int:
    row = {"journey": journey, "version": version, "definition": {}, "policy": {}, "messages": {}, "models": {}}
    row |= {"hash": journey, "created_at": now, "created_by": "kim", "forecast": forecast}
    made = connection.execute(insert(t.releases).returning(t.releases.c.release_id), row).scalar_one()
    span = {"release_id": made, "from_at": now - timedelta(days=2), "share_from": 0.0, "share_to": share}
    connection.execute(insert(t.spans), span | {"share_salt": "x"})
    return int(made)


def _send(contact: str, state: str, at: Any, release_id: int) -> dict[str, Any]:
    went = state in ("accepted", "ambiguous", "rejected")
    return {
        "message_key": KEYS.message_key("welcome", contact, 1, "hello", 1),
        "journey": "welcome",
        "contact": contact,
        "entry": 1,
        "node": "hello",
        "visit": 1,
        "release_id": release_id,
        "message": "hello_mail",
        "purpose": "marketing",
        "transactional": False,
        "state": state,
        "planned_at": at,
        "not_before": at,
        "not_after": at + timedelta(days=2),
        "attempts": 1,
        "fence": 1,
        "gated_at": at + timedelta(seconds=2) if went else None,
        "settled_at": at + timedelta(seconds=3) if went else None,
        "relay": "main" if went else None,
    }
