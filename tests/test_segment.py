"""The connector to Segment against a source that keeps to Segment's pages, under every way in which calls fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeylab.connectors.connector import Connector, Reach
from journeylab.connectors.segment import Segment as SegmentSettings
from journeylab.connectors.segment import call_of
from vendors.driving import connector, fact, impatient, reaching, told
from vendors.segment import WRITE_KEY, Segment
from vendors.system import FAULTS

SECRETS = {"env:SEGMENT": WRITE_KEY}
SETTINGS: dict[str, Any] = {
    "write_key": "env:SEGMENT",
    "push": ["consent", "suppression", "timeline", "contacts"],
    "names": {"message.bounced": "Email Bounced"},
    "traits": {"journey": "last_journey", "message": "last_message"},
    "events": {"Order Completed": "purchase"},
    "attributes": {"plan": "subscriptionPlan"},
}
few = settings(max_examples=15, deadline=None)
TRACK = {
    "type": "track", "event": "Order Completed", "userId": "ada", "messageId": "m1",
    "timestamp": "2026-03-01T10:00:00.000Z", "properties": {"total": 30.5, "gift": True, "products": [{"sku": "a"}]},
}  # fmt: skip


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


def _settings() -> SegmentSettings:
    return SegmentSettings.model_validate({"kind": "segment", **SETTINGS})


def test_track_calls_are_events_with_their_own_ids() -> None:
    taken = call_of(TRACK, _settings())
    assert taken is not None
    assert taken.event is not None
    assert {**taken.event, "occurred_at": taken.event["occurred_at"].isoformat()} == {
        "contact": "ada",
        "event": "purchase",
        "occurred_at": "2026-03-01T10:00:00+00:00",
        "id": "m1",
        "properties": {"total": 30.5, "gift": True},
    }
    assert taken.left_out == ("products",)


def test_identify_calls_are_contacts() -> None:
    call = {"type": "identify", "userId": "ada", "messageId": "m2", "traits": {"email": "a@shop.example", "age": 3}}
    taken = call_of(call, _settings())
    assert taken is not None
    assert taken.contact == {"contact": "ada", "address": "a@shop.example", "attributes": {}}
    taken = call_of({**call, "traits": {"subscriptionPlan": "Premium"}}, _settings())
    assert taken is not None
    assert taken.contact == {"contact": "ada", "attributes": {"plan": "Premium"}}


@pytest.mark.parametrize(
    "call",
    [
        {**TRACK, "event": "Another"}, {"type": "page", "userId": "ada"}, {"type": "delete", "userId": "ada"},
        {**TRACK, "userId": None, "anonymousId": "anon"},
        {"type": "identify", "userId": "ada", "messageId": "m2", "traits": {"age": 3}},
    ],
)  # fmt: skip
def test_what_is_not_wanted_is_nothing(call: dict[str, Any]) -> None:
    assert call_of(call, _settings()) is None


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ([], "no object"),
        ({**TRACK, "userId": None}, "`userId` is missing"),
        ({**TRACK, "messageId": ""}, "`messageId` is missing"),
        ({**TRACK, "timestamp": "2026-03-01T10:00:00"}, "`timestamp` is no instant"),
        ({**TRACK, "properties": []}, None),
        ({**TRACK, "properties": [1]}, "is no object"),
    ],
)
def test_calls_that_are_not_whole_are_refused(call: Any, why: str | None) -> None:
    if why is None:
        assert call_of(call, _settings()) is not None
    else:
        with pytest.raises(ValueError, match=why):
            call_of(call, _settings())


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
