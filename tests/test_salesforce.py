"""The connector to Salesforce against an org that keeps to Salesforce's references, under every way of failing."""

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
from vendors.salesforce import CLIENT_ID, CLIENT_SECRET, Salesforce
from vendors.system import FAULTS, Answer

SECRETS = {"env:SALESFORCE": CLIENT_SECRET}
PURPOSE = "0ZW000000000001AAA"
SETTINGS: dict[str, Any] = {
    "client_id": CLIENT_ID,
    "client_secret": "env:SALESFORCE",
    "contact": "Customer_Id__c",
    "attributes": {"plan": "Plan__c", "created": "CreatedDate"},
    "opt_out": "marketing",
    "purposes": {"tips": PURPOSE},
    "consent_id": "JourneyLab_Id__c",
    "task_id": "JourneyLab_Id__c",
    "writes": {"journey": "JL_Journey__c", "message": "JL_Message__c"},
    "as_of": "JL_As_Of__c",
    "pull": {"contacts": {}, "consent": {}, "opt_outs": {}, "deleted": {}},
    "push": ["consent", "suppression", "contacts", "timeline", "erasure"],
}
faults = st.lists(st.sampled_from((None, *FAULTS)), max_size=6)
few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def org() -> Iterator[Salesforce]:
    with Salesforce() as system:
        yield system


@pytest.fixture
def one(org: Salesforce) -> Connector:
    return connector("salesforce", org.url, **SETTINGS)


@pytest.fixture
def reach(one: Connector) -> Reach:
    return reaching(one, SECRETS)


def _ada(org: Salesforce, **values: Any) -> str:
    individual = org.put("Individual", LastName="Lovelace")
    return org.put(Customer_Id__c="ada", LastName="Lovelace", IndividualId=individual, **values)


def test_contacts_come_with_address_and_attributes(org: Salesforce, one: Connector, reach: Reach) -> None:
    org.put(Customer_Id__c="ada", LastName="Lovelace", Email="ada@shop.example", Plan__c="free")
    org.put(Customer_Id__c="bo", LastName="Ek")
    org.put(LastName="without an id of ours")
    taken = Taken().pull(one, "contacts", reach)
    assert {contact: row.get("address") for contact, row in taken.contacts.items()} == {
        "ada": "ada@shop.example",
        "bo": None,
    }
    assert taken.contacts["ada"]["attributes"] == {"plan": "free", "created": "2026-03-02T09:00:01.000Z"}
    assert taken.contacts["bo"]["attributes"]["plan"] is None
    assert taken.contacts["bo"]["changed_at"] == org.now - timedelta(seconds=2)


def test_leads_are_read_and_written_as_well(org: Salesforce) -> None:
    lead = connector("salesforce", org.url, **{**SETTINGS, "object": "Lead", "attributes": {}, "push": ["consent"]})
    record = org.put("Lead", Customer_Id__c="ada", LastName="Lovelace", Company="-")
    reach = reaching(lead, SECRETS)
    lead = lead.model_copy(update={"as_of": None})
    assert {*Taken().pull(lead, "contacts", reach).contacts} == {"ada"}
    assert told(lead, fact("consent.withdrawn", purpose="marketing"), reach).is_taken
    assert org.records["Lead"][record]["HasOptedOutOfEmail"] is True


@few
@given(faults=faults, changes=st.lists(st.integers(0, 29), max_size=12), same=st.booleans(), batch=st.integers(3, 9))
def test_nothing_is_left_out_whatever_changes_and_fails_meanwhile(
    faults: list[str | None], changes: list[int], batch: int, *, same: bool
) -> None:
    with impatient(), Salesforce(batch=batch) as org:
        records = [org.put(Customer_Id__c=f"c{n}", LastName="x", Plan__c="0") for n in range(30)]
        if same:
            for record in records[3:25]:
                org.records["Contact"][record]["SystemModstamp"] = org.records["Contact"][records[3]]["SystemModstamp"]
        left = list(changes)

        def change() -> None:
            if left:
                record = records[left.pop()]
                org.put(record=record, Plan__c=str(int(org.records["Contact"][record]["Plan__c"]) + 1))

        org.while_querying = change
        one = connector("salesforce", org.url, **SETTINGS)
        reach = reaching(one, SECRETS)
        org.fail(*faults)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("journeylab.connectors.salesforce._MOST", 7)
            taken = Taken().pull(one, "contacts", reach)
            org.while_querying = lambda: None
            org.expire()
            taken.pull(one, "contacts", reach)
        expected = {row["Customer_Id__c"]: row["Plan__c"] for row in org.of("Contact")}
        assert {contact: row["attributes"]["plan"] for contact, row in taken.contacts.items()} == expected


def test_a_session_that_has_ended_is_begun_anew_once(org: Salesforce, one: Connector, reach: Reach) -> None:
    _ada(org)
    assert {*Taken().pull(one, "contacts", reach).contacts} == {"ada"}
    org.expire()
    assert {*Taken().pull(one, "contacts", reach).contacts} == {"ada"}
    assert org.paths("POST") == ["/services/oauth2/token"] * 2


def test_a_secret_that_is_wrong_needs_a_person(org: Salesforce, one: Connector) -> None:
    wrong = reaching(one, {"env:SALESFORCE": "of-another"})
    with pytest.raises(Broken, match=r"no token: 400"):
        [*pages(one, "contacts", wrong)]
    reply = one.target().tell(fact("consent.given", purpose="tips"), wrong)
    assert not reply.is_taken


def test_an_org_that_has_had_its_calls_is_left_alone(org: Salesforce, one: Connector, reach: Reach) -> None:
    _ada(org)
    Taken().pull(one, "contacts", reach)
    org.fail("busy", "busy")
    with pytest.raises(Later) as caught:
        one.source().pull("contacts", None, reach)
    assert (caught.value.retry_after, caught.value.text) == (
        timedelta(minutes=15),
        "403: Salesforce says REQUEST_LIMIT_EXCEEDED",
    )
    reply = one.target().tell(fact("consent.given", purpose="marketing"), reach)
    assert (reply.retry_after, reply.is_hopeless) == (timedelta(minutes=15), False)


def test_a_record_that_is_locked_is_tried_again(org: Salesforce, one: Connector, reach: Reach) -> None:
    _ada(org)
    org.broken = lambda: Answer(400, [{"errorCode": "UNABLE_TO_LOCK_ROW", "message": "x"}])  # type: ignore[method-assign]
    org.fail(None, None, "broken")
    assert told(one, fact("consent.withdrawn", purpose="marketing"), reach).is_taken


@few
@given(faults=faults)
def test_consent_is_told_once_whatever_fails(faults: list[str | None]) -> None:
    with impatient(), Salesforce() as org:
        one = connector("salesforce", org.url, **SETTINGS)
        reach = reaching(one, SECRETS)
        record = _ada(org)
        org.fail(*faults)
        assert told(one, fact("consent.withdrawn", purpose="marketing", route="page"), reach).is_taken
        assert told(one, fact("consent.given", purpose="tips", route="page"), reach).is_taken
        assert told(one, fact("consent.withdrawn", purpose="tips", route="one_click"), reach).is_taken
        assert org.records["Contact"][record]["HasOptedOutOfEmail"] is True
        (kept,) = org.of("ContactPointTypeConsent")
        assert (kept["PrivacyConsentStatus"], kept["DataUsePurposeId"]) == ("OptOut", PURPOSE)
        assert org.n_written == 3


def test_withdrawing_for_every_purpose_reaches_all_of_them(org: Salesforce, one: Connector, reach: Reach) -> None:
    record = _ada(org)
    told(one, fact("consent.given", purpose="tips", route="page"), reach)
    assert told(one, fact("consent.withdrawn", purpose=None, route="mail"), reach).is_taken
    assert org.records["Contact"][record]["HasOptedOutOfEmail"] is True
    (kept,) = org.of("ContactPointTypeConsent")
    assert (kept["PrivacyConsentStatus"], kept["CaptureContactPointType"]) == ("OptOut", "Email")


def test_consent_comes_by_purpose_with_its_own_instant(org: Salesforce, one: Connector, reach: Reach) -> None:
    _ada(org, HasOptedOutOfEmail=True)
    org.put(Customer_Id__c="bo", LastName="Ek")
    said = {"ContactPointType": "Email", "CaptureDate": "2025-12-01T08:00:00.000+0000", "DataUsePurposeId": PURPOSE}
    party = {"PartyId": next(iter(org.records["Individual"])), "PrivacyConsentStatus": "OptIn"}
    org.put("ContactPointTypeConsent", **said, **party)
    org.put("ContactPointTypeConsent", **said, PartyId="0PK000000000009AAA", PrivacyConsentStatus="OptOut")
    org.put("ContactPointTypeConsent", **{**said, "ContactPointType": "Phone"}, **party)
    (given,) = Taken().pull(one, "consent", reach).events.values()
    assert (given["contact"], given["event"], given["properties"]) == ("ada", "consent_given", {"purpose": "tips"})
    assert given["occurred_at"].isoformat() == "2025-12-01T08:00:00+00:00"
    (out,) = Taken().pull(one, "opt_outs", reach).events.values()
    assert (out["contact"], out["event"], out["properties"]) == ("ada", "consent_withdrawn", {"purpose": "marketing"})


def test_who_was_deleted_has_an_event(org: Salesforce, one: Connector, reach: Reach) -> None:
    record = _ada(org)
    org.put(record=record, IsDeleted=True)
    assert not Taken().pull(one, "contacts", reach).contacts
    taken = Taken().pull(one, "deleted", reach).pull(one, "deleted", reach)
    (event,) = taken.events.values()
    assert (event["contact"], event["event"], event["occurred_at"]) == ("ada", "contact_deleted", org.now)


@few
@given(faults=faults)
def test_what_happened_is_a_task_once(faults: list[str | None]) -> None:
    with impatient(), Salesforce() as org:
        one = connector("salesforce", org.url, **SETTINGS)
        reach = reaching(one, SECRETS)
        record = _ada(org)
        org.fail(*faults)
        sent = fact("message.sent", journey="welcome", message="hello", version="v1")
        for _ in range(2):
            assert told(one, sent, reach).is_taken
        (task,) = org.of("Task")
        assert (task["WhoId"], task["Subject"], task["ActivityDate"]) == (record, "message.sent: hello", "2026-03-02")
        assert task["JourneyLab_Id__c"] == sent.webhook_id
        kept = org.records["Contact"][record]
        assert (kept["JL_Journey__c"], kept["JL_Message__c"]) == ("welcome", "hello")
        earlier = fact("message.sent", at=AT - timedelta(hours=1), journey="welcome", message="before")
        assert told(one, earlier, reach).is_taken
        assert kept["JL_Message__c"] == "hello"
        assert len(org.of("Task")) == 2


def test_addresses_and_persons_to_whom_nothing_goes_are_told(org: Salesforce, one: Connector, reach: Reach) -> None:
    record = _ada(org)
    other = org.put(Customer_Id__c="bo", LastName="Ek")
    told(one, fact("contact.suppressed", reason="bounced", status="5.1.1"), reach)
    told(one, fact("contact.suppressed", "bo", reason="complained"), reach)
    kept = org.records["Contact"][record]
    assert (kept["EmailBouncedReason"], kept["EmailBouncedDate"]) == ("5.1.1", "2026-03-02T10:00:00.000Z")
    assert kept["HasOptedOutOfEmail"] is False
    assert org.records["Contact"][other]["HasOptedOutOfEmail"] is True
    assert told(one, fact("contact.erased"), reach).is_taken
    (individual,) = org.of("Individual")
    assert individual["ShouldForget"] is True
    assert told(one, fact("contact.erased", "bo"), reach).text == (
        "the contact has no individual in Salesforce (IndividualId)"
    )


def test_who_is_not_there_or_twice_there_is_said(org: Salesforce, one: Connector, reach: Reach) -> None:
    assert told(one, fact("message.sent", message="hello"), reach).is_taken
    assert told(one, fact("contact.erased"), reach).is_taken
    reply = told(one, fact("consent.withdrawn", purpose="marketing"), reach)
    assert (reply.is_hopeless, reply.text) == (True, "Salesforce has no such contact")
    for _ in range(2):
        org.put(Customer_Id__c="ada", LastName="Lovelace")
    reply = told(one, fact("consent.withdrawn", purpose="marketing"), reach)
    assert (reply.is_hopeless, reply.text) == (True, "several records have the contact's id")
    org.put(Customer_Id__c="bo", LastName="Ek")
    reply = told(one, fact("consent.given", "bo", purpose="tips"), reach)
    assert (reply.is_hopeless, reply.text) == (True, "the contact has no individual in Salesforce (IndividualId)")
    assert told(one, fact("consent.given", purpose="elsewhere"), reach).text == (
        "its purpose is none that Salesforce keeps"
    )
    assert org.n_written == 0


def test_a_field_that_is_not_there_is_said(org: Salesforce, one: Connector, reach: Reach) -> None:
    _ada(org)
    org.fields["Contact"].discard("Plan__c")
    with pytest.raises(Broken, match="400: Salesforce says INVALID_FIELD"):
        one.source().pull("contacts", None, reach)
    org.fields["Contact"].discard("JL_Journey__c")
    reply = told(one, fact("journey.entered", journey="welcome"), reach)
    assert (reply.is_hopeless, reply.text) == (True, "400: Salesforce says INVALID_FIELD")


@pytest.mark.parametrize(
    "said",
    [
        [], {}, {"records": None}, {"records": [1], "done": True}, {"records": [{}], "done": True},
        {"records": [{"SystemModstamp": "2026-03-01T10:00:00.000+0000", "Id": "1' OR Id != null"}], "done": True},
        {"records": [{"SystemModstamp": "now", "Id": "003000000000000AAA"}], "done": True},
        {"records": [{"SystemModstamp": "2026-03-01T10:00:00.000+0000", "Id": "003000000000000AAA"}]},
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
        ({"pull": {"contact": {}}}, "there is no stream 'contact'; did you mean 'contacts'"),
        ({"purposes": {}}, "`consent` needs `purposes`"),
        ({"opt_out": None}, "`opt_outs` needs `opt_out`"),
        ({"consent_id": None}, "`consent` needs `consent_id`"),
        ({"task_id": None}, "`timeline` needs `task_id`"),
        ({"purposes": {"tips": "x' OR"}}, "purposes"),
        ({"contact": "Id, Email"}, "contact"),
        ({"version": "v62"}, "version"),
    ],
)
def test_settings_are_refused_with_a_remedy(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        connector("salesforce", "https://shop.my.salesforce.com", **{**SETTINGS, **change})
