"""The connector to HubSpot against a portal that keeps to HubSpot's references, under every way in which calls fail."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journeylab.connectors.connector import Broken, Connector, Later, Reach
from journeylab.connectors.http import Call, Reply
from vendors.driving import AT, Taken, connector, fact, impatient, pages, reaching, told
from vendors.hubspot import SCOPES, TOKEN, HubSpot
from vendors.system import FAULTS

SECRETS = {"env:HUBSPOT": TOKEN}
HAPPENED = "pe123_journey"
SETTINGS: dict[str, Any] = {
    "token": "env:HUBSPOT",
    "contact": "customer_id",
    "attributes": {"plan": "plan", "age": {"property": "age", "kind": "number"}},
    "subscriptions": {"marketing": 71, "tips": 72},
    "events": {"pe123_webinar": "webinar_attended", "pe123_call": "called_us"},
    "timeline": {"message.sent": HAPPENED, "journey.entered": HAPPENED},
    "writes": {"journey": "jl_journey", "message": "jl_message"},
    "as_of": "jl_as_of",
    "suppressed": "jl_suppressed",
    "pull": {"contacts": {}, "consent": {}, "events": {}, "deleted": {}},
    "push": ["consent", "suppression", "contacts", "timeline", "erasure"],
}
faults = st.lists(st.sampled_from((None, *FAULTS)), max_size=6)
few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _portal(**more: Any) -> HubSpot:
    portal = HubSpot(**more)
    portal.unique.add("customer_id")
    portal.properties |= {"customer_id", "plan", "age", "jl_journey", "jl_message", "jl_as_of", "jl_suppressed"}
    portal.subscriptions = {71: "News", 72: "Tips"}
    said = {"journeylab_id", "journey", "message", "version", "node"}
    portal.event_types = {HAPPENED: said, "pe123_webinar": {"title"}, "pe123_call": set()}
    return portal


@pytest.fixture
def portal() -> Iterator[HubSpot]:
    with _portal() as system:
        yield system


@pytest.fixture
def one(portal: HubSpot) -> Connector:
    return connector("hubspot", portal.url, **SETTINGS)


@pytest.fixture
def reach(one: Connector) -> Reach:
    return reaching(one, SECRETS)


def _shown(taken: Taken) -> dict[str, Any]:
    return {contact: (row.get("address"), row["attributes"]) for contact, row in taken.contacts.items()}


def test_contacts_come_with_address_and_attributes(portal: HubSpot, one: Connector, reach: Reach) -> None:
    portal.put(customer_id="ada", email="ada@shop.example", plan="free", age="36")
    portal.put(customer_id="bo", plan=None, age="many")
    portal.put(email="nobody@shop.example")  # without an id of ours
    taken = Taken().pull(one, "contacts", reach)
    assert _shown(taken) == {
        "ada": ("ada@shop.example", {"plan": "free", "age": 36.0}),
        "bo": (None, {"plan": None, "age": "many"}),
    }
    assert taken.contacts["ada"]["changed_at"] < taken.contacts["bo"]["changed_at"] <= portal.now


def test_later_pulls_bring_what_changed_since(portal: HubSpot, one: Connector, reach: Reach) -> None:
    record = portal.put(customer_id="ada", plan="free")
    portal.now += timedelta(minutes=5)
    portal.put(customer_id="bo", plan="free")
    taken = Taken().pull(one, "contacts", reach)
    portal.now += timedelta(minutes=5)
    portal.put(record, plan="paid")
    fresh = Taken()
    fresh.cursor = taken.cursor
    assert _shown(fresh.pull(one, "contacts", reach)) == {
        "ada": (None, {"plan": "paid", "age": None}),
        "bo": (None, {"plan": "free", "age": None}),  # within the overlap
    }


def test_what_the_search_learns_of_late_is_in_the_overlap(portal: HubSpot, one: Connector, reach: Reach) -> None:
    slow = portal.put(customer_id="slow")
    portal.unseen.add(slow)
    portal.put(customer_id="quick")
    taken = Taken().pull(one, "contacts", reach)
    assert {*taken.contacts} == {"quick"}
    portal.unseen.clear()
    assert {*taken.pull(one, "contacts", reach).contacts} == {"quick", "slow"}


@pytest.mark.nightly
def test_more_than_ten_thousand_contacts_come_whole() -> None:
    with _portal() as portal:
        for n in range(10_150):
            portal.put(customer_id=f"c{n}")
        imported_at = portal.now
        for n in range(450):  # in one millisecond
            portal.contacts[portal.put(customer_id=f"i{n}")]["updatedAt"] = imported_at
        one = connector("hubspot", portal.url, **SETTINGS)
        taken = Taken().pull(one, "contacts", reaching(one, SECRETS))
        assert len(taken.contacts) == 10_600
        assert taken.n_pages < 62


@few
@given(faults=faults, changes=st.lists(st.integers(0, 29), max_size=12), same=st.booleans())
def test_nothing_is_left_out_whatever_changes_and_fails_meanwhile(
    faults: list[str | None], changes: list[int], *, same: bool
) -> None:
    with impatient(), _portal(most=(7, 14)) as portal:
        records = [portal.put(customer_id=f"c{n}", plan="0") for n in range(30)]
        if same:
            for record in records[3:25]:
                portal.contacts[record]["updatedAt"] = portal.contacts[records[3]]["updatedAt"]
        left = list(changes)

        def change() -> None:
            if left:
                record = records[left.pop()]
                portal.put(record, plan=str(int(portal.contacts[record]["properties"]["plan"]) + 1))

        portal.while_searching = change
        portal.fail(*faults)
        one = connector("hubspot", portal.url, **SETTINGS)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("journeylab.connectors.hubspot._MOST_FOUND", 7)
            taken = Taken().pull(one, "contacts", reaching(one, SECRETS))
            portal.while_searching = lambda: None
            taken.pull(one, "contacts", reaching(one, SECRETS))
        expected = {row["properties"]["customer_id"]: row["properties"]["plan"] for row in portal.contacts.values()}
        assert {contact: row["attributes"]["plan"] for contact, row in taken.contacts.items()} == expected


def test_consent_comes_by_purpose_with_its_own_instant(portal: HubSpot, one: Connector, reach: Reach) -> None:
    for name in ("ada", "bo", "cy"):
        portal.put(customer_id=name, email=f"{name}@Shop.example")
    given_at = portal.subscribe("ada@shop.example", 71, "SUBSCRIBED")["at"]
    portal.subscribe("ada@shop.example", 72, "NOT_SPECIFIED")
    portal.subscribe("bo@shop.example", 72, "UNSUBSCRIBED")
    portal.subscribe("cy@shop.example", 71, "SUBSCRIBED")
    portal.opt_out("cy@shop.example")
    found = [*Taken().pull(one, "consent", reach).events.values()]
    said = {(row["contact"], row["event"], row["properties"]["purpose"]) for row in found}
    assert said == {
        ("ada", "consent_given", "marketing"),
        ("bo", "consent_withdrawn", "tips"),
        ("cy", "consent_withdrawn", "marketing"),
        ("cy", "consent_withdrawn", "tips"),
    }
    (given,) = (row for row in found if row["contact"] == "ada")
    assert given["occurred_at"] == given_at
    assert "@" not in str(given)


@few
@given(faults=faults)
def test_consent_is_told_once_whatever_fails(faults: list[str | None]) -> None:
    with impatient(), _portal() as portal:
        one = connector("hubspot", portal.url, **SETTINGS)
        reach = reaching(one, SECRETS)
        portal.put(customer_id="ada", email="ada+news@shop.example")
        portal.fail(*faults)
        assert told(one, fact("consent.given", purpose="marketing", route="page"), reach).is_taken
        assert portal.state("ada+news@shop.example", 71) == "SUBSCRIBED"
        assert told(one, fact("consent.withdrawn", purpose="marketing", route="one_click"), reach).is_taken
        assert portal.state("ada+news@shop.example", 71) == "UNSUBSCRIBED"
        assert portal.state("ada+news@shop.example", 72) == "NOT_SPECIFIED"
        assert portal.n_written == 2


def test_withdrawing_for_every_purpose_opts_out_of_all_e_mail(portal: HubSpot, one: Connector, reach: Reach) -> None:
    portal.put(customer_id="ada", email="ada@shop.example")
    what = fact("consent.withdrawn", purpose=None, route="page")
    assert told(one, what, reach).is_taken
    assert told(one, what, reach).is_taken
    assert "ada@shop.example" in portal.opted_out
    assert portal.n_written == 1


def test_a_portal_that_asks_for_a_legal_basis_is_told_one(one: Connector) -> None:
    with _portal(asks_for_basis=True) as portal:
        one = connector("hubspot", portal.url, **SETTINGS, legal_basis="LEGITIMATE_INTEREST_CLIENT")
        portal.put(customer_id="ada", email="ada@shop.example")
        assert told(one, fact("consent.given", purpose="tips", route="page"), reaching(one, SECRETS)).is_taken
        assert portal.statuses["ada@shop.example", 72]["basis"] == "LEGITIMATE_INTEREST_CLIENT"


@few
@given(faults=faults)
def test_what_happened_stands_on_the_timeline_once(faults: list[str | None]) -> None:
    """But for a call that was taken and whose reply was lost right before the portal lets it be found; see the docs."""
    with impatient(), _portal() as portal:
        one = connector("hubspot", portal.url, **SETTINGS)
        reach = reaching(one, SECRETS)
        record = portal.put(customer_id="ada", email="ada@shop.example")
        portal.fail(*faults)
        sent = fact("message.sent", journey="welcome", message="hello", version="v1")
        for _ in range(2):
            assert told(one, sent, reach).is_taken
        (event,) = portal.events
        assert (event["objectId"], event["occurredAt"]) == (record, "2026-03-02T10:00:00.000Z")
        assert event["properties"]["journeylab_id"] == sent.webhook_id
        kept = portal.contacts[record]["properties"]
        assert (kept["jl_journey"], kept["jl_message"], kept["jl_as_of"]) == (
            "welcome",
            "hello",
            "2026-03-02T10:00:00.000Z",
        )


def test_what_happened_before_is_not_written_over_what_happened_last(
    portal: HubSpot, one: Connector, reach: Reach
) -> None:
    record = portal.put(customer_id="ada")
    told(one, fact("message.sent", journey="welcome", message="second"), reach)
    told(one, fact("message.sent", at=AT - timedelta(hours=1), journey="welcome", message="first"), reach)
    assert portal.contacts[record]["properties"]["jl_message"] == "second"
    assert len(portal.events) == 2


def test_an_address_to_which_nothing_goes_is_told(portal: HubSpot, one: Connector, reach: Reach) -> None:
    ada, bo = (portal.put(customer_id=name, email=f"{name}@shop.example") for name in ("ada", "bo"))
    told(one, fact("contact.suppressed", reason="bounced", status="5.1.1"), reach)
    told(one, fact("contact.suppressed", "bo", reason="complained"), reach)
    assert portal.contacts[ada]["properties"]["jl_suppressed"] == "bounced"
    assert portal.contacts[bo]["properties"]["jl_suppressed"] == "complained"
    assert {*portal.opted_out} == {"bo@shop.example"}


@few
@given(faults=faults)
def test_who_was_erased_is_erased_there(faults: list[str | None]) -> None:
    with impatient(), _portal() as portal:
        one = connector("hubspot", portal.url, **SETTINGS)
        record = portal.put(customer_id="ada", email="ada@shop.example")
        portal.put(customer_id="bo")
        portal.fail(*faults)
        assert told(one, fact("contact.erased"), reaching(one, SECRETS)).is_taken
        assert portal.erased == [record]
        assert len(portal.contacts) == 1


def test_who_is_not_there_has_no_timeline_but_a_consent_waits_for_a_person(
    portal: HubSpot, one: Connector, reach: Reach
) -> None:
    assert told(one, fact("message.sent", message="hello"), reach).is_taken
    reply = told(one, fact("consent.withdrawn", purpose="marketing"), reach)
    assert reply.is_hopeless
    assert reply.text == "HubSpot has no such contact"
    portal.put(customer_id="bo")
    reply = told(one, fact("consent.withdrawn", "bo", purpose="marketing"), reach)
    assert (reply.is_hopeless, reply.text) == (True, "the contact has no address in HubSpot")
    assert told(one, fact("consent.withdrawn", purpose="elsewhere"), reach).text == (
        "its purpose has no subscription in HubSpot"
    )
    assert portal.n_written == 0


def test_custom_events_come_with_their_ids(portal: HubSpot, one: Connector, reach: Reach) -> None:
    ada = portal.put(customer_id="ada")
    gone = portal.put(customer_id="gone")
    portal.archive(gone)
    for minute in range(130):
        at = f"2026-03-01T{10 + minute // 60}:{minute % 60:02}:00.000Z"
        portal.events.append({"eventName": "pe123_webinar", "objectId": ada, "occurredAt": at, "properties": {}})
    for record in (ada, gone):
        at = "2026-03-01T09:00:00.000Z"
        portal.events.append({"eventName": "pe123_call", "objectId": record, "occurredAt": at, "properties": {}})
    taken = Taken().pull(one, "events", reach)
    assert len(taken.events) == 131
    assert {row["contact"] for row in taken.events.values()} == {"ada"}
    assert {row["event"] for row in taken.events.values()} == {"webinar_attended", "called_us"}
    n_pages = taken.n_pages
    later = {"occurredAt": "2026-03-01T12:30:00.000Z", "properties": {"title": "Wine"}}
    portal.events.append({"eventName": "pe123_webinar", "objectId": ada, **later})
    taken.pull(one, "events", reach)
    assert len(taken.events) == 132
    assert taken.n_pages == n_pages + 2
    assert [row["properties"] for row in taken.events.values() if row["properties"]] == [{"title": "Wine"}]


def test_who_was_deleted_has_an_event_each_time(portal: HubSpot, one: Connector, reach: Reach) -> None:
    records = [portal.put(customer_id=f"c{n}") for n in range(120)]
    for record in records[5:]:
        portal.archive(record)
    taken = Taken().pull(one, "deleted", reach).pull(one, "deleted", reach)
    assert len(taken.events) == 115
    assert {row["event"] for row in taken.events.values()} == {"contact_deleted"}


def test_a_wrong_token_or_a_missing_scope_needs_a_person(portal: HubSpot, one: Connector) -> None:
    wrong = reaching(one, {"env:HUBSPOT": "pat-of-another"})
    with pytest.raises(Broken, match="401"):
        [*pages(one, "contacts", wrong)]
    reply = one.target().tell(fact("consent.given", purpose="tips"), wrong)
    assert (reply.status, reply.is_hopeless) == (401, False)
    assert reply.text == "401: HubSpot says INVALID_AUTHENTICATION"
    with _portal(scopes=SCOPES - {"communication_preferences.read_write"}) as shut:
        here = connector("hubspot", shut.url, **SETTINGS)
        shut.put(customer_id="ada", email="ada@shop.example")
        reply = here.target().tell(fact("consent.given", purpose="tips"), reaching(here, SECRETS))
        assert (reply.status, reply.is_hopeless) == (403, False)
        with pytest.raises(Broken, match="403"):
            [*pages(here, "consent", reaching(here, SECRETS))]


def test_a_property_that_is_not_there_is_a_dead_letter_that_says_so(
    portal: HubSpot, one: Connector, reach: Reach
) -> None:
    portal.put(customer_id="ada")
    portal.properties.discard("jl_journey")
    reply = told(one, fact("journey.entered", journey="welcome"), reach)
    assert reply.is_hopeless
    assert reply.text == "400: HubSpot says PROPERTY_DOESNT_EXIST"


def test_a_limit_without_a_header_has_the_wait_of_its_policy(portal: HubSpot, one: Connector, reach: Reach) -> None:
    portal.busy = lambda: type(HubSpot.busy(portal))(429, {"policyName": "TEN_SECONDLY_ROLLING"})  # type: ignore[method-assign]
    portal.fail("busy", "busy")
    with pytest.raises(Later) as caught:
        one.source().pull("contacts", None, reach)
    assert caught.value.retry_after == timedelta(seconds=10)
    reply = one.target().tell(fact("message.sent"), reach)
    assert (reply.retry_after, reply.is_hopeless) == (timedelta(seconds=10), False)


@pytest.mark.parametrize(
    "said",
    [
        [], {}, {"results": None}, {"results": [1]}, {"results": [{}]}, {"results": [{"properties": {}}]},
        {"results": [{"id": 7, "properties": {"lastmodifieddate": "yesterday"}}]},
        {"results": [{"id": "7", "properties": {"lastmodifieddate": "2026-03-01T10:00:00"}}]},
    ],
)  # fmt: skip
def test_what_nobody_can_read_is_broken(one: Connector, said: Any) -> None:
    def reach(call: Call) -> Reply:
        return Reply(200, "200", said=said)

    with pytest.raises(Broken):
        one.source().pull("contacts", None, reach)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"pull": {"contcats": {}}}, "there is no stream 'contcats'; did you mean 'contacts'"),
        ({"push": ["consents"]}, "nothing is told by the word 'consents'; did you mean 'consent'"),
        ({"subscriptions": {}}, "`consent` needs `subscriptions`"),
        ({"events": {}}, "`events` needs `events`"),
        ({"suppressed": None}, "`suppression` needs `suppressed`"),
        ({"as_of": None}, "`contacts` needs `writes` and `as_of`"),
        ({"writes": {"adress": "x"}}, "no fact says 'adress'"),
        ({"timeline": {"message.snet": "x"}}, "there is no fact 'message.snet'; did you mean 'message.sent'"),
        ({"token": "pat-eu1-itself"}, "a secret is written env:NAME"),
        ({"contact": "a b"}, "contact"),
    ],
)
def test_settings_are_refused_with_a_remedy(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        connector("hubspot", "https://api.hubapi.com", **{**SETTINGS, **change})
