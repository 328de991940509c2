"""HubSpot: contacts, their subscriptions and custom events are pulled; consent and what happened here is told.

It keeps to HubSpot's references "Contacts" v3, "Search the CRM", "Communication Preferences Subscriptions" v4, "Events"
v3 and "Events Send Event Completions" v3.

What changed is found by the search, sorted by `lastmodifieddate`. Each page asks for what changed at or after the last
instant of the page before, not for the next 200 rows: a contact that changes while pages are read moves to the end, and
with it all places, so that one would be left out; and no search gives more than 10,000 rows. Where a whole page changed
in one millisecond, as after an import, that millisecond is read in the order of record numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from journeylab.errors import known
from journeylab.journey import Definition, Name
from journeylab.references import BaseUrl, SecretReference

from .connector import Broken, Page, Reach, Secrets, Spacing
from .credentials import Bearer
from .crm import Crm, FieldName, instant_of, part, rows_in, said_of
from .http import Call
from .hubspotcalls import (
    CHANGED,
    CONTACTS,
    EVENTS,
    ON_EMAIL,
    RECORD,
    STATUSES,
    after_of,
    batch_of,
    hurried,
    properties_of,
    text_of,
)
from .hubspottarget import HubSpotTarget
from .pushed import PUSHED

__all__ = ["HubSpot", "HubSpotSource", "Property"]

_MOST_FOUND: Final = 200
"""Rows of one search."""
_MOST_AT_ONCE: Final = 100
"""Inputs of a batch, and rows of a list."""
_CONSENT: Final = {"SUBSCRIBED": "consent_given", "UNSUBSCRIBED": "consent_withdrawn"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_Cursor = Mapping[str, Any]


class Property(Definition):
    """A property of contacts; HubSpot gives texts, and `kind` says what a text is."""

    property: FieldName
    kind: Literal["text", "number", "flag"] = "text"

    def value(self, text: str | None) -> str | float | bool | None:
        """The value; a text that is not of the kind stays as it is, for intake to refuse."""
        if not text:
            return None
        if self.kind == "flag":
            return {"true": True, "false": False}.get(text, text)
        if self.kind == "number":
            try:
                return float(text)
            except ValueError:
                return text
        return text


def _property(value: object) -> object:
    return {"property": value} if isinstance(value, str) else value


class HubSpot(Crm):
    """What the settings say of a portal.

    Attributes:
        token: the token of a private app.
        attributes: the property of each attribute, by its name or as `{property, kind}`.
        subscriptions: the number of the subscription type of each purpose.
        legal_basis, legal_basis_explanation: what HubSpot is told with a consent.
        events: what the completions of a custom event are called here, by the event's internal name.
        timeline: the custom event by which each kind of fact is told.
    """

    streams: ClassVar[tuple[str, ...]] = ("contacts", "consent", "events", "deleted")
    kind: Literal["hubspot"]
    url: BaseUrl = "https://api.hubapi.com"
    token: SecretReference
    at_most: Spacing | None = timedelta(milliseconds=250)
    contact: FieldName = RECORD
    address: FieldName = "email"
    attributes: dict[Name, Annotated[Property, BeforeValidator(_property)]] = Field(default_factory=dict)
    subscriptions: dict[Name, int] = Field(default_factory=dict)
    legal_basis: Literal[
        "CONSENT_WITH_NOTICE", "LEGITIMATE_INTEREST_CLIENT", "LEGITIMATE_INTEREST_OTHER", "LEGITIMATE_INTEREST_PQL",
        "NON_GDPR", "PERFORMANCE_OF_CONTRACT", "PROCESS_AND_STORE",
    ] = "CONSENT_WITH_NOTICE"  # fmt: skip
    legal_basis_explanation: str = "Consent was given to the sender of our messages"
    events: dict[FieldName, Name] = Field(default_factory=dict)
    timeline: dict[str, FieldName] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_what_is_needed(self) -> HubSpot:
        pulls, pushes = {"consent": "subscriptions", "events": "events"}, {
            "consent": "subscriptions", "timeline": "timeline", "suppression": "suppressed"
        }  # fmt: skip
        for way, words, needs in (("pull", self.pull, pulls), ("push", self.push, pushes)):
            for word in words:
                if word in needs and not getattr(self, needs[word]):
                    raise ValueError(f"{way}: `{word}` needs `{needs[word]}`")
        for kind in self.timeline:
            if kind not in PUSHED["timeline"]:
                raise ValueError(f"timeline: there is no fact {kind!r}; {known(kind, PUSHED['timeline'], 'facts')}")
        return self

    def with_credentials(self, reach: Reach, secrets: Secrets) -> Reach:
        """Makes calls with the token of the private app."""
        return Bearer(bearer=self.token).put_on(reach, secrets)

    def source(self) -> HubSpotSource:
        """What is pulled."""
        return HubSpotSource(self)

    def target(self) -> HubSpotTarget:
        """What is told."""
        return HubSpotTarget(self)


class HubSpotSource:
    """Pulls a portal's contacts; see the module's text.

    | stream | brings |
    |---|---|
    | `contacts` | contacts that changed, with address and attributes |
    | `consent` | `consent_given`, `consent_withdrawn` of contacts that changed, for purposes that have a subscription |
    | `events` | the completions of custom events |
    | `deleted` | an event of each contact that was deleted and can be restored |
    """

    def __init__(self, settings: HubSpot) -> None:
        self.settings = settings
        self.streams = {
            "contacts": self._contacts, "consent": self._consent, "events": self._events, "deleted": self._deleted
        }  # fmt: skip

    def pull(self, stream: str, cursor: _Cursor | None, reach: Reach) -> Page:
        """The next page of a stream; see `Source`."""
        return self.streams[stream](cursor or {}, lambda call: hurried(reach(call)))

    def _contacts(self, cursor: _Cursor, reach: Reach) -> Page:
        wanted = self.settings
        names = [wanted.contact, wanted.address, *(one.property for one in wanted.attributes.values())]
        rows, following, is_last = self._changed(cursor, reach, names, _MOST_FOUND)
        contacts = []
        for row in rows:
            given = properties_of(row)
            address = given.get(wanted.address)
            one = {
                "contact": given.get(wanted.contact),
                "attributes": {name: it.value(given.get(it.property)) for name, it in wanted.attributes.items()},
                "changed_at": _changed_at(row),
            }
            contacts.append(one | ({"address": address} if address else {}))
        return Page(contacts=contacts, cursor=following, is_last=is_last)

    def _consent(self, cursor: _Cursor, reach: Reach) -> Page:
        wanted = self.settings
        rows, following, is_last = self._changed(cursor, reach, [wanted.contact, wanted.address], _MOST_AT_ONCE)
        contact_of: dict[str, tuple[str, str]] = {}
        for row in rows:
            contact, address = (properties_of(row).get(name) for name in (wanted.contact, wanted.address))
            if contact and address:
                contact_of[address.lower()] = contact, part(row, "id", str)
        events: list[dict[str, Any]] = []
        if contact_of:
            inputs = {"inputs": [*contact_of]}
            of_each = f"{STATUSES}/batch/read"
            of_all = f"{STATUSES}/batch/unsubscribe-all/read"
            standing = batch_of(reach(Call.of_json("POST", of_each, inputs, query=ON_EMAIL)))
            wide = batch_of(reach(Call.of_json("POST", of_all, inputs, query=ON_EMAIL)))
            out = {_address(group): _opted_out(rows_in(group, "wideStatuses")) for group in wide}
            for group in standing:
                if _address(group) not in contact_of:
                    raise Broken("its reply has subscriptions of an address that was not asked for")
                whose = contact_of[_address(group)]
                events += self._standing(*whose, rows_in(group, "statuses"), out.get(_address(group)))
        return Page(events=events, cursor=following, is_last=is_last)

    def _standing(
        self, contact: str, record: str, statuses: Sequence[_Cursor], out: _Cursor | None
    ) -> list[dict[str, Any]]:
        """The consent of a contact, by purpose; who has opted out of everything has withdrawn each."""
        by_subscription = {part(one, "subscriptionId", int): one for one in statuses}
        found = []
        for purpose, subscription in self.settings.subscriptions.items():
            status = out or by_subscription.get(subscription)
            event = _CONSENT.get(part(status, "status", str)) if status is not None else None
            if status is None or event is None:
                continue
            at = part(status, "timestamp", str)
            found.append(
                {
                    "contact": contact,
                    "event": event,
                    "occurred_at": instant_of(at, "timestamp"),
                    "id": f"{record}/{subscription}/{event}/{at}",
                    "properties": {"purpose": purpose},
                }
            )
        return found

    def _events(self, cursor: _Cursor, reach: Reach) -> Page:
        """A page of one custom event after the other; `place` in a cursor says which."""
        names = sorted(self.settings.events)
        place = cursor.get("place", 0) if cursor.get("place", 0) < len(names) else 0
        name, since, latest = names[place], dict(cursor.get("since", {})), cursor.get("latest")
        query: dict[str, Any] = {
            "objectType": "contact", "eventType": name, "sort": "ASCENDING", "limit": _MOST_AT_ONCE
        }  # fmt: skip
        query |= {"occurredAfter": since[name]} if name in since else {}
        query |= {"after": cursor["after"]} if cursor.get("after") else {}
        said = said_of(reach(Call("GET", f"{EVENTS}/events/", query=query)))
        rows = rows_in(said, "results")
        contact_of = self._contact_of({part(row, "objectId", str) for row in rows}, reach)
        events = []
        for row in rows:
            at = instant_of(row.get("occurredAt"), "occurredAt")
            latest = text_of(at if latest is None else max(at, instant_of(latest, "latest")))
            contact = contact_of.get(row["objectId"])
            if contact is not None:
                events.append(
                    {
                        "contact": contact,
                        "event": self.settings.events[name],
                        "occurred_at": at,
                        "id": part(row, "id", str),
                        "properties": {key: value for key, value in properties_of(row).items() if value},
                    }
                )
        if after := after_of(said):
            following = {"place": place, "after": after, "since": since, "latest": latest}
            return Page(events=events, cursor=following, is_last=False)
        if latest is not None:
            since[name] = text_of(instant_of(latest, "latest") - self.settings.overlap)
        is_last = place + 1 == len(names)
        return Page(events=events, cursor={"place": 0 if is_last else place + 1, "since": since}, is_last=is_last)

    def _deleted(self, cursor: _Cursor, reach: Reach) -> Page:
        wanted = self.settings
        query: dict[str, Any] = {"archived": "true", "limit": _MOST_AT_ONCE, "properties": wanted.contact}
        query |= {"after": cursor["after"]} if cursor.get("after") else {}
        said = said_of(reach(Call("GET", CONTACTS, query=query)))
        events = []
        for row in rows_in(said, "results"):
            contact, at = properties_of(row).get(wanted.contact), part(row, "archivedAt", str)
            if contact:
                events.append(
                    {
                        "contact": contact,
                        "event": wanted.deleted,
                        "occurred_at": instant_of(at, "archivedAt"),
                        "id": f"{part(row, 'id', str)}/{at}",
                        "properties": {},
                    }
                )
        after = after_of(said)
        return Page(events=events, cursor={"after": after} if after else {}, is_last=after is None)

    def _changed(
        self, cursor: _Cursor, reach: Reach, names: Sequence[str], most: int
    ) -> tuple[list[Any], dict[str, Any], bool]:
        """Rows that changed, where to go on, and whether these were the last; see the module's text.

        In a cursor `since` is the millisecond from which on is read, `beyond` the record after which that one
        millisecond is read, and `latest` the latest one that was seen.
        """
        since, beyond, latest = cursor.get("since", 0), cursor.get("beyond"), cursor.get("latest", 0)
        if beyond is None:
            filters, order = [_filter(CHANGED, "GTE", since)], CHANGED
        else:
            filters, order = [_filter(CHANGED, "EQ", since), _filter(RECORD, "GT", beyond)], RECORD
        if self.settings.contact != RECORD:
            filters.append({"propertyName": self.settings.contact, "operator": "HAS_PROPERTY"})
        body = {
            "filterGroups": [{"filters": filters}],
            "sorts": [{"propertyName": order, "direction": "ASCENDING"}],
            "properties": sorted({RECORD, CHANGED, *names}),
            "limit": most,
        }
        rows = rows_in(said_of(reach(Call.of_json("POST", f"{CONTACTS}/search", body))), "results")
        at = [(_changed_at(row) - _EPOCH) // _MILLISECOND for row in rows]
        latest = max([latest, *at])
        if len(rows) < most:
            if beyond is not None:
                return rows, {"since": since + 1, "latest": latest}, False
            return rows, {"since": max(latest - self.settings.overlap // _MILLISECOND, 0), "latest": latest}, True
        if beyond is not None:
            return rows, {"since": since, "beyond": part(rows[-1], "id", str), "latest": latest}, False
        if at[-1] > since:
            return rows, {"since": at[-1], "latest": latest}, False
        return rows, {"since": since, "beyond": "0", "latest": latest}, False

    def _contact_of(self, records: set[str], reach: Reach) -> dict[str, str]:
        """The contacts of records; those that HubSpot knows no more, or that have no id, are left out."""
        name = self.settings.contact
        if name == RECORD or not records:
            return {record: record for record in records}
        inputs = [{"id": record} for record in sorted(records)]
        body = {"inputs": inputs, "properties": [name], "propertiesWithHistory": []}
        rows = rows_in(said_of(reach(Call.of_json("POST", f"{CONTACTS}/batch/read", body))), "results")
        found = {part(row, "id", str): properties_of(row).get(name) for row in rows}
        return {record: contact for record, contact in found.items() if contact}


def _changed_at(row: Mapping[str, Any]) -> datetime:
    return instant_of(properties_of(row).get(CHANGED), CHANGED)


def _address(group: Mapping[str, Any]) -> str:
    return part(group, "subscriberIdString", str).lower()


def _opted_out(statuses: Sequence[_Cursor]) -> _Cursor | None:
    """The status by which an address has opted out of everything, if it has."""
    return next((one for one in statuses if one.get("status") == "UNSUBSCRIBED"), None)


def _filter(name: str, operator: str, value: object) -> dict[str, str]:
    return {"propertyName": name, "operator": operator, "value": str(value)}
