"""The connector to Segment against a source that keeps to Segment's pages, under every way in which calls fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeylab.connectors.connector import Connector, Reach
from journeylab.sender.acting import Acting
from journeylab.sender.permissions import PERMISSIONS
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sender.tokens import create
from journeylab.sender.web.serving import served
from stores import events_of, rows_of
from vendors.driving import connector, fact, impatient, reaching, told
from vendors.segment import WRITE_KEY, Segment
from vendors.system import FAULTS
from webclient import Client, settings_for

SECRETS = {"env:SEGMENT": WRITE_KEY}
SETTINGS: dict[str, Any] = {
    "write_key": "env:SEGMENT",
    "push": ["consent", "suppression", "timeline", "contacts"],
    "names": {"message.bounced": "Email Bounced"},
    "traits": {"journey": "last_journey", "message": "last_message"},
}
few = settings(max_examples=15, deadline=None)
TRACK: dict[str, Any] = {
    "type": "track", "event": "Order Completed", "userId": "ada", "messageId": "ajs-1", "context": {"ip": "192.0.2.1"},
    "timestamp": "2026-03-01T10:00:00.000Z", "properties": {"total": 30.5},
}  # fmt: skip
MAPPING = {
    "contact": "$.userId", "event": "purchase", "occurred_at": "$.timestamp", "id": "$.messageId",
    "properties": "$.properties",
}  # fmt: skip
"""What docs/crm.md says to write as the data of a webhook destination, for one of the events."""


@pytest.fixture
def source() -> Iterator[Segment]:
    with Segment() as system:
        yield system


@pytest.fixture
def one(source: Segment) -> Connector:
    return connector("segment", source.url, **SETTINGS)


@pytest.fixture
def reach(one: Connector) -> Reach:
    return reaching(one, SECRETS)


@few
@given(faults=st.lists(st.sampled_from((None, *FAULTS)), max_size=6))
def test_what_happened_is_tracked_once_whatever_fails(faults: list[str | None]) -> None:
    with impatient(), Segment() as source:
        one = connector("segment", source.url, **SETTINGS)
        reach = reaching(one, SECRETS)
        source.fail(*faults)
        sent = fact("message.sent", journey="welcome", message="hello")
        for _ in range(2):
            assert told(one, sent, reach).is_taken
        assert told(one, fact("message.bounced", journey="welcome", bounce_type="soft"), reach).is_taken
        assert [(call["event"], call["userId"]) for call in source.of("track")] == [
            ("Message Sent", "ada"),
            ("Email Bounced", "ada"),
        ]
        assert source.of("track")[0]["properties"] == {"journey": "welcome", "message": "hello"}
        assert source.of("track")[0]["timestamp"] == "2026-03-02T10:00:00.000Z"
        assert len(source.of("identify")) == 2
        assert source.of("identify")[0]["traits"] == {"last_journey": "welcome", "last_message": "hello"}
        assert not source.dropped


def test_consent_and_addresses_are_tracked_without_an_address(source: Segment, one: Connector, reach: Reach) -> None:
    told(one, fact("consent.withdrawn", purpose=None, route="page"), reach)
    told(one, fact("contact.suppressed", reason="bounced", status="5.1.1"), reach)
    assert [(call["event"], call["properties"]) for call in source.of("track")] == [
        ("Consent Withdrawn", {"route": "page"}),
        ("Contact Suppressed", {"reason": "bounced", "status": "5.1.1"}),
    ]
    assert told(one, fact("contact.erased"), reach).text == "Segment is not told this"


def test_long_ids_are_shortened_and_stay_themselves(source: Segment, one: Connector, reach: Reach) -> None:
    long = replace(fact("message.sent"), webhook_id="x" * 150)
    told(one, long, reach)
    told(one, long, reach)
    told(one, replace(long, webhook_id="x" * 149), reach)
    assert len(source.of("track")) == 2
    assert not source.dropped


def test_what_is_too_long_is_given_up(source: Segment, one: Connector, reach: Reach) -> None:
    reply = told(one, fact("message.sent", note="x" * 40_000), reach)
    assert (reply.is_hopeless, reply.text) == (True, "it has more than the 32 kB of a call to Segment")
    assert not source.calls


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_what_a_webhook_destination_posts_is_taken_once(store: Store, tmp_path: Path) -> None:
    """By its mapping and the header that it is given, one by one or as a batch."""
    with store.writing() as connection:
        maker = Acting("ewa", frozenset(PERMISSIONS), frozenset({"ewa"}))
        token = create(connection, maker, "segment", ["bring_in_events"], timedelta(days=9), store.now(connection))
    client = Client(served(store, settings_for(tmp_path)))  # type: ignore[arg-type]
    data = {name: TRACK[path[2:]] if path.startswith("$.") else path for name, path in MAPPING.items()}
    for body, n_new in ((data, 1), ([data, {**data, "id": "ajs-2"}], 1), ([data], 0)):
        headers = {"Authorization": f"Bearer {token}"}
        answer = client("POST", "/events", content=json.dumps(body).encode(), headers=headers).json()
        assert (answer["n_new"], answer["refused"]) == (n_new, [])
    assert [event for event, _ in events_of(store, "ada", "purchase")] == ["purchase"] * 2
    (first, _) = rows_of(store, t.events)
    assert (first.occurred_at.isoformat(), first.source_id) == ("2026-03-01T10:00:00+00:00", "ajs-1")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"pull": {"events": {}}}, "Segment is not asked for anything"),
        ({"push": ["erasure"]}, "nothing is told by the word 'erasure'"),
        ({"traits": {}}, "`contacts` needs `traits`"),
        ({"names": {"message.snet": "Sent"}}, "did you mean 'message.sent'"),
    ],
)
def test_settings_are_refused_with_a_remedy(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        connector("segment", "https://api.segment.io", **{**SETTINGS, **change})
