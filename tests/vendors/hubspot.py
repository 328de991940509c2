"""HubSpot as its published references describe it.

It follows the OpenAPI descriptions that HubSpot publishes as "Contacts" v3, "Communication Preferences Subscriptions"
v4, "Events Send Event Completions" v3 and "Events" v3, and the pages "Search the CRM", "API usage guidelines" and
"Error handling". Of these: private apps are known by a bearer token and have scopes; a search has at most 200 rows a
page and 10,000 in all, and knows no archived record; a batch has at most 100 inputs; a page of a list has at most 100;
properties are texts; the e-mail address is unique and is compared in small letters; a GDPR delete forgets the record.
A portal with data privacy settings asks for the legal basis of a subscription. That custom events with one `uuid` are
one event is nowhere promised, and is not so here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from .system import Answer, Refusal, Request, System, missing

TOKEN: Final = "pat-eu1-of-tests"
SCOPES: Final = frozenset(
    {
        "crm.objects.contacts.read",
        "crm.objects.contacts.write",
        "communication_preferences.read_write",
        "analytics.behavioral_events.send",
    }
)
_STATES: Final = ("SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED")
_BASES: Final = (
    "CONSENT_WITH_NOTICE", "LEGITIMATE_INTEREST_CLIENT", "LEGITIMATE_INTEREST_OTHER", "LEGITIMATE_INTEREST_PQL",
    "NON_GDPR", "PERFORMANCE_OF_CONTRACT", "PROCESS_AND_STORE",
)  # fmt: skip
_READ_ONLY: Final = frozenset({"hs_object_id", "createdate", "lastmodifieddate"})
Record = dict[str, Any]


class HubSpot(System):
    """A portal: contacts, subscriptions, custom events.

    Attributes:
        now: the portal's clock; each write moves it by a millisecond, as does `put`.
        contacts: by record id: `properties`, `createdAt`, `updatedAt`, `archivedAt`.
        subscriptions: the names of subscription types by id.
        statuses: by address and subscription: state, legal basis and when it was set.
        opted_out: who has opted out of all e-mail, and when.
        events: the completions of custom events.
        event_types: the properties of each custom event.
        erased: the ids of records that were deleted for ever.
        n_written: how many calls changed something.
        unseen: records that the search does not know yet.
        most: how many rows a search gives on a page, and in all.
        while_searching: what somebody else does in the portal during a search.
    """

    def __init__(
        self, *, scopes: frozenset[str] = SCOPES, asks_for_basis: bool = False, most: tuple[int, int] = (200, 10_000)
    ) -> None:
        super().__init__()
        self.scopes, self.asks_for_basis, self.most = scopes, asks_for_basis, most
        self.now = datetime(2026, 3, 2, 9, tzinfo=UTC)
        self.contacts: dict[str, Record] = {}
        self.properties = {"email", "firstname", "lastname", "hs_object_id", "createdate", "lastmodifieddate"}
        self.unique = {"email", "hs_object_id"}
        self.subscriptions: dict[int, str] = {}
        self.statuses: dict[tuple[str, int], Record] = {}
        self.opted_out: dict[str, datetime] = {}
        self.events: list[Record] = []
        self.event_types: dict[str, set[str]] = {}
        self.erased: list[str] = []
        self.unseen: set[str] = set()
        self.n_written = 0
        self.while_searching: Callable[[], None] = lambda: None

    def put(self, record: str | None = None, **properties: str | None) -> str:
        """Writes a contact as somebody in HubSpot does, and gives its record's id."""
        self.properties.update(properties)
        at = self._tick()
        if record is None:
            record = str(10_001 + len(self.contacts) + len(self.erased))
            self.contacts[record] = {"properties": {}, "createdAt": at, "archivedAt": None}
        kept = self.contacts[record]
        kept["properties"].update({k: v for k, v in properties.items() if v is not None})
        for name in (name for name, value in properties.items() if value is None):
            kept["properties"].pop(name, None)
        kept["updatedAt"] = at
        return record

    def archive(self, record: str) -> None:
        """Deletes a contact so that it can be restored."""
        self.contacts[record]["archivedAt"] = self._tick()

    def subscribe(self, email: str, subscription: int, state: str, **more: Any) -> Record:
        """Sets a subscription as somebody in HubSpot does."""
        at = self._tick()
        self.statuses[email.lower(), subscription] = {"state": state, "at": at, **more}
        self._touch(email, at)
        return self.statuses[email.lower(), subscription]

    def opt_out(self, email: str) -> None:
        """Unsubscribes an address from all e-mail."""
        self.opted_out[email.lower()] = at = self._tick()
        self._touch(email, at)

    def state(self, email: str, subscription: int) -> str:
        """The state of a subscription."""
        kept = self.statuses.get((email.lower(), subscription), {"state": "NOT_SPECIFIED"})
        return "UNSUBSCRIBED" if email.lower() in self.opted_out else str(kept["state"])

    def busy(self) -> Answer:
        said = {"errorType": "RATE_LIMIT", "policyName": "TEN_SECONDLY_ROLLING", "correlationId": _CORRELATION}
        message = "You have reached your ten_secondly_rolling limit."
        return Answer(429, {"status": "error", "message": message, **said}, {"retry-after": "10"})

    def broken(self) -> Answer:
        return _error(500, "INTERNAL_ERROR", "internal error")

    def answer(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise Refusal(_error(401, "INVALID_AUTHENTICATION", "Authentication credentials not found."))
        if request.body and not request.headers.get("content-type", "").startswith("application/json"):
            raise Refusal(_error(415, "VALIDATION_ERROR", "Unsupported media type"))
        for method, pattern, scope, name in _WAYS:
            match = re.fullmatch(pattern, request.path)
            if match and method == request.method:
                if scope not in self.scopes:
                    raise Refusal(_error(403, "MISSING_SCOPES", "This app hasn't been granted all required scopes"))
                return getattr(self, name)(request, *map(_unquoted, match.groups()))  # type: ignore[no-any-return]
        raise Refusal(Answer(404, None))

    def _search(self, request: Request) -> Answer:
        body = _body(request)
        groups, sorts = body.get("filterGroups", []), body.get("sorts", [])
        limit, after = body.get("limit", 10), int(body.get("after") or 0)
        if not 1 <= limit <= self.most[0]:
            raise _invalid(f"limit {limit}")
        if after + limit > self.most[1]:
            raise _invalid("paging past the most that a search gives")
        if len(groups) > 5 or any(len(one["filters"]) > 6 for one in groups) or len(sorts) > 1:
            raise _invalid("too many filters or sorts")
        self._known({one["propertyName"] for group in groups for one in group["filters"]})
        alive = [one for one in self.contacts if not self.contacts[one]["archivedAt"] and one not in self.unseen]
        found = [self._value_row(one) for one in alive]
        if groups:
            found = [row for row in found if any(all(_holds(row, one) for one in g["filters"]) for g in groups)]
        for one in sorts:
            found.sort(key=lambda row: _number(row.get(one["propertyName"])), reverse=one["direction"] == "DESCENDING")
        rows = [self._shown(row["hs_object_id"], body.get("properties")) for row in found[after : after + limit]]
        more = {"paging": {"next": {"after": str(after + limit)}}} if len(found) > after + limit else {}
        self.while_searching()
        return Answer(200, {"total": len(found), "results": rows, **more})

    def _list(self, request: Request) -> Answer:
        limit = int(request.query.get("limit", 10))
        if not 1 <= limit <= 100:
            raise _invalid(f"limit {limit}")
        is_archived = request.query.get("archived") == "true"
        ids = sorted((one for one, row in self.contacts.items() if bool(row["archivedAt"]) is is_archived), key=int)
        after = int(request.query.get("after", 0))
        page = [one for one in ids if int(one) > after][:limit]
        wanted = request.query["properties"].split(",") if "properties" in request.query else None
        more = {"paging": {"next": {"after": page[-1]}}} if page and page[-1] != ids[-1] else {}
        return Answer(200, {"results": [self._shown(one, wanted) for one in page], **more})

    def _read(self, request: Request, key: str) -> Answer:
        record = self._found(key, request.query.get("idProperty"))
        wanted = request.query["properties"].split(",") if "properties" in request.query else None
        return Answer(200, self._shown(record, wanted))

    def _write(self, request: Request, key: str) -> Answer:
        record = self._found(key, request.query.get("idProperty"))
        given = _body(request).get("properties")
        if not isinstance(given, dict):
            raise _invalid("properties are missing")
        self._written(record, given)
        return Answer(200, self._shown(record, None))

    def _batch_read(self, request: Request) -> Answer:
        body = _body(request)
        inputs = _inputs(body)
        by, rows, errors = body.get("idProperty"), [], []
        for one in inputs:
            try:
                rows.append(self._shown(self._found(str(one["id"]), by), body.get("properties")))
            except Refusal as refused:
                errors.append({**refused.answer.said, "context": {"ids": [one["id"]]}})
        said: Record = {"status": "COMPLETE", "results": rows, "startedAt": _text(self.now)}
        said["completedAt"] = _text(self.now)
        return Answer(207, said | {"numErrors": len(errors), "errors": errors}) if errors else Answer(200, said)

    def _erase(self, request: Request) -> Answer:
        body = _body(request)
        if missing(body, ["objectId"]) or body.get("idProperty", "email") != "email":
            raise _invalid("objectId is missing, or idProperty is not email")
        record = self._found(str(body["objectId"]), body.get("idProperty"))
        email = self.contacts.pop(record)["properties"].get("email", "").lower()
        self.erased.append(record)
        for key in [one for one in self.statuses if one[0] == email]:
            del self.statuses[key]
        self.n_written += 1
        return Answer(204)

    def _statuses(self, request: Request, email: str) -> Answer:
        _on_email(request.query.get("channel"))
        return _done(self.now, [row for one in self.subscriptions if (row := self._status(email, one))])

    def _set_status(self, request: Request, email: str) -> Answer:
        body = _body(request)
        if missing(body, ["channel", "statusState", "subscriptionId"]):
            raise _invalid("channel, statusState and subscriptionId are required")
        _on_email(body["channel"])
        subscription, state = body["subscriptionId"], body["statusState"]
        if type(subscription) is not int or subscription not in self.subscriptions or state not in _STATES:
            raise _invalid(f"subscription {subscription!r}, state {state!r}")
        if body.get("legalBasis") not in (None, *_BASES):
            raise _invalid("legalBasis")
        if self.asks_for_basis and state == "SUBSCRIBED" and missing(body, ["legalBasis", "legalBasisExplanation"]):
            raise _invalid("legalBasis and legalBasisExplanation are required in a portal with data privacy settings")
        changed = self.state(email, subscription) != state
        if changed:
            if state == "SUBSCRIBED":
                self.opted_out.pop(email.lower(), None)
            self.subscribe(email, subscription, state, basis=body.get("legalBasis"))
            self.n_written += 1
        row = self._status(email, subscription)
        reason = "REQUESTED_CHANGE_OCCURRED" if changed else "NO_STATUS_CHANGE"
        return _done(self.now, [{**(row or {}), "setStatusSuccessReason": reason}])

    def _unsubscribe_all(self, request: Request, email: str) -> Answer:
        _on_email(request.query.get("channel"))
        if email.lower() not in self.opted_out:
            self.opt_out(email)
            self.n_written += 1
        return _done(self.now, [row for one in self.subscriptions if (row := self._status(email, one))])

    def _batch_statuses(self, request: Request) -> Answer:
        _on_email(request.query.get("channel"))
        rows = []
        for email in _inputs(_body(request)):
            found = [row for one in self.subscriptions if (row := self._status(email, one))]
            rows.append({"subscriberIdString": email, "statuses": found})
        return _done(self.now, rows)

    def _batch_opted_out(self, request: Request) -> Answer:
        _on_email(request.query.get("channel"))
        rows = []
        for email in _inputs(_body(request)):
            at = self.opted_out.get(email.lower())
            wide = {"subscriberIdString": email, "channel": "EMAIL", "wideStatusType": "PORTAL_WIDE"}
            found = [] if at is None else [{**wide, "status": "UNSUBSCRIBED", "timestamp": _text(at)}]
            rows.append({"subscriberIdString": email, "wideStatuses": found})
        return _done(self.now, rows)

    def _send_event(self, request: Request) -> Answer:
        body = _body(request)
        if missing(body, ["eventName"]) or not isinstance(body.get("properties"), dict):
            raise _invalid("eventName and properties are required")
        known = self.event_types.get(body["eventName"])
        if known is None:
            raise _invalid("no such event definition")
        if not any(body.get(one) for one in ("objectId", "email", "utk")):
            raise _invalid("objectId, email or utk is required")
        if {*body["properties"]} - known or not all(isinstance(one, str) for one in body["properties"].values()):
            raise _invalid("a property is not of the event's definition, or no text")
        self.events.append(dict(body))
        self.n_written += 1
        return Answer(204)

    def _find_events(self, request: Request) -> Answer:
        query = request.query
        if "objectId" in query and "objectType" not in query:
            raise _invalid("objectType is required beside objectId")
        if query.get("sort", "ASCENDING") not in ("ASCENDING", "DESCENDING"):
            raise _invalid("sort")
        limit, after = int(query.get("limit", 20)), int(query.get("after", 0))
        if not 1 <= limit <= 1000:
            raise _invalid(f"limit {limit}")
        found = [
            {**one, "id": f"event-{place}"}
            for place, one in enumerate(self.events)
            if query.get("eventType") in (None, one["eventName"])
            and query.get("objectId") in (None, one["objectId"])
            and ("occurredAfter" not in query or _at(one["occurredAt"]) > _at(query["occurredAfter"]))
            and all(one["properties"].get(k[9:]) == v for k, v in query.items() if k.startswith("property."))
        ]
        found.sort(key=lambda one: _at(one["occurredAt"]), reverse=query.get("sort") == "DESCENDING")
        rows = [
            {
                "id": one["id"], "eventType": one["eventName"], "objectType": "CONTACT", "objectId": one["objectId"],
                "occurredAt": one["occurredAt"], "properties": one["properties"],
            }
            for one in found[after : after + limit]
        ]  # fmt: skip
        more = {"paging": {"next": {"after": str(after + limit)}}} if len(found) > after + limit else {}
        return Answer(200, {"results": rows, **more})

    def _tick(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def _touch(self, email: str, at: datetime) -> None:
        for row in self.contacts.values():
            if row["properties"].get("email", "").lower() == email.lower():
                row["updatedAt"] = at

    def _value_row(self, record: str) -> dict[str, str]:
        kept = self.contacts[record]
        own = {"hs_object_id": record, "lastmodifieddate": _text(kept["updatedAt"])}
        return {**kept["properties"], **own, "createdate": _text(kept["createdAt"])}

    def _shown(self, record: str, wanted: list[str] | None) -> Record:
        kept, row = self.contacts[record], self._value_row(record)
        names = ["createdate", "hs_object_id", "lastmodifieddate", *(wanted or ["email", "firstname", "lastname"])]
        said = {
            "id": record, "properties": {name: row.get(name) for name in names}, "createdAt": row["createdate"],
            "updatedAt": row["lastmodifieddate"], "archived": bool(kept["archivedAt"]),
        }  # fmt: skip
        return said | ({"archivedAt": _text(kept["archivedAt"])} if kept["archivedAt"] else {})

    def _found(self, key: str, by: str | None) -> str:
        by = by or "hs_object_id"
        if by not in self.unique:
            raise _invalid(f"{by} is no unique property")
        for record, row in self.contacts.items():
            if not row["archivedAt"] and self._value_row(record).get(by, "").lower() == key.lower():
                return record
        raise Refusal(_error(404, "OBJECT_NOT_FOUND", "Object not found"))

    def _known(self, names: set[str]) -> None:
        if names - self.properties:
            raise Refusal(_error(400, "VALIDATION_ERROR", "Property values were not valid", "PROPERTY_DOESNT_EXIST"))

    def _written(self, record: str, given: Mapping[str, Any]) -> None:
        self._known({*given})
        if {*given} & _READ_ONLY:
            raise Refusal(_error(400, "VALIDATION_ERROR", "Property values were not valid", "READ_ONLY_VALUE"))
        before = dict(self.contacts[record]["properties"])
        self.contacts[record]["properties"].update({name: str(value) for name, value in given.items()})
        if self.contacts[record]["properties"] != before:
            self.contacts[record]["updatedAt"] = self._tick()
            self.n_written += 1

    def _status(self, email: str, subscription: int) -> Record | None:
        kept, wide = self.statuses.get((email.lower(), subscription)), self.opted_out.get(email.lower())
        if kept is None and wide is None:
            return None
        at = max(one for one in (kept and kept["at"], wide) if one)
        return {
            "subscriberIdString": email, "subscriptionId": subscription, "channel": "EMAIL", "source": "API",
            "subscriptionName": self.subscriptions[subscription], "status": self.state(email, subscription),
            "timestamp": _text(at), "legalBasis": (kept or {}).get("basis"),
        }  # fmt: skip


_CORRELATION: Final = "aeb5f871-7f07-4993-9211-075dc63e7cbf"
_CONTACTS: Final = "/crm/v3/objects/contacts"
_PREFERENCES: Final = "/communication-preferences/v4/statuses"
_READING, _WRITING = "crm.objects.contacts.read", "crm.objects.contacts.write"
_CONSENT, _EVENTS = "communication_preferences.read_write", "analytics.behavioral_events.send"
_WAYS: Final = [
    ("POST", f"{_CONTACTS}/search", _READING, "_search"),
    ("POST", f"{_CONTACTS}/batch/read", _READING, "_batch_read"),
    ("POST", f"{_CONTACTS}/gdpr-delete", _WRITING, "_erase"),
    ("GET", _CONTACTS, _READING, "_list"),
    ("GET", f"{_CONTACTS}/([^/]+)", _READING, "_read"),
    ("PATCH", f"{_CONTACTS}/([^/]+)", _WRITING, "_write"),
    ("POST", f"{_PREFERENCES}/batch/read", _CONSENT, "_batch_statuses"),
    ("POST", f"{_PREFERENCES}/batch/unsubscribe-all/read", _CONSENT, "_batch_opted_out"),
    ("GET", f"{_PREFERENCES}/([^/]+)", _CONSENT, "_statuses"),
    ("POST", f"{_PREFERENCES}/([^/]+)", _CONSENT, "_set_status"),
    ("POST", f"{_PREFERENCES}/([^/]+)/unsubscribe-all", _CONSENT, "_unsubscribe_all"),
    ("POST", "/events/v3/send", _EVENTS, "_send_event"),
    ("GET", "/events/v3/events/?", _READING, "_find_events"),
]


def _error(status: int, category: str, message: str, code: str | None = None) -> Answer:
    said: Record = {"status": "error", "message": message, "correlationId": _CORRELATION, "category": category}
    return Answer(status, said | ({"errors": [{"message": message, "code": code}]} if code else {}))


def _invalid(message: str) -> Refusal:
    return Refusal(_error(400, "VALIDATION_ERROR", f"Invalid input: {message}"))


def _body(request: Request) -> Record:
    if not isinstance(request.data, dict):
        raise _invalid("no JSON object")
    return dict(request.data)


def _inputs(body: Record) -> list[Any]:
    inputs = body.get("inputs")
    if not isinstance(inputs, list) or not 1 <= len(inputs) <= 100:
        raise _invalid("a batch has 1 to 100 inputs")
    return inputs


def _on_email(channel: str | None) -> None:
    if channel != "EMAIL":
        raise _invalid("channel must be EMAIL")


def _done(at: datetime, rows: list[Record]) -> Answer:
    return Answer(200, {"status": "COMPLETE", "startedAt": _text(at), "completedAt": _text(at), "results": rows})


def _unquoted(text: str) -> str:
    from urllib.parse import unquote

    return unquote(text)


@cache
def _text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@cache
def _number(value: str | None) -> float:
    """How a property's value compares: an instant by its milliseconds, whether written as such or as ISO 8601."""
    if value is None:
        return float("-inf")
    return float(value) if re.fullmatch(r"-?\d+(\.\d+)?", value) else _at(value).timestamp() * 1000


def _holds(row: Mapping[str, str], one: Mapping[str, Any]) -> bool:
    operator, value = one["operator"], row.get(one["propertyName"])
    if operator in ("HAS_PROPERTY", "NOT_HAS_PROPERTY"):
        return (value is not None) is (operator == "HAS_PROPERTY")
    if value is None:
        return False
    if operator == "EQ" and not re.fullmatch(r"-?\d+", str(one["value"])):
        return value.lower() == str(one["value"]).lower()
    is_it, wanted = round(_number(value)), round(_number(str(one["value"])))
    return {"EQ": is_it == wanted, "GT": is_it > wanted, "GTE": is_it >= wanted, "LT": is_it < wanted}[operator]
