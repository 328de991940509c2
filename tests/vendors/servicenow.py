"""ServiceNow's Table API for incidents and the web service of Event Management, as its references describe them.

It follows the pages "Table API", "Pushing events to the instance using web service API", "Client credentials grant
workflow", "Inbound REST API rate limiting", "Life cycle of an Incident" and "Resolve and close an incident": basic
authentication or a bearer token; a part of a query that is not understood is passed over; a resolved incident needs its
resolution code, of those that there are, and notes; a closed one does not change; a field keeps as many characters as
it has room for (correlation_id 100, short_description 160), and the rest is cut without a word. Events with one
`message_key` are of one alert, which severity 0 or the state `Closing` closes. What the web service replies is nowhere
described but as JSON.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qs

from .system import Answer, Refusal, Request, System, missing

USER: Final = ("journeylab", "a secret: ü")
CLIENT: Final = ("0123456789abcdef", "its secret")
CLOSE_CODES: Final = ("Solution provided", "No resolution provided", "Resolved by change", "User error")
_ROOM: Final = {"correlation_id": 100, "correlation_display": 100, "short_description": 160, "close_notes": 4000}
_FIELDS: Final = frozenset(
    {
        "sys_id", "number", "state", "impact", "urgency", "short_description", "description", "correlation_id",
        "correlation_display", "close_code", "close_notes", "work_notes", "assignment_group", "caller_id", "category",
        "sys_created_on",
    }
)  # fmt: skip
_OF_EVENT: Final = frozenset(
    {
        "source", "event_class", "node", "resource", "metric_name", "type", "message_key", "severity",
        "additional_info", "time_of_event", "resolution_state", "description",
    }
)  # fmt: skip


class ServiceNow(System):
    """An instance.

    Attributes:
        incidents: the rows of the table, in the order in which they were made.
        alerts: by message key, the severities of the events that came, and whether it is open.
        mandatory: fields that a data policy asks for when an incident is made.
        is_asleep: whether it shows a page instead of an answer, as an instance that hibernates does.
    """

    def __init__(self, mandatory: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.incidents: list[dict[str, str]] = []
        self.alerts: dict[str, dict[str, Any]] = {}
        self.mandatory = mandatory
        self.is_asleep = False
        self._n_tokens = 0
        self._token: str | None = None

    def open(self) -> list[dict[str, str]]:
        """The incidents that are not resolved, closed or canceled."""
        return [one for one in self.incidents if one["state"] not in ("6", "7", "8")]

    def revoke(self) -> None:
        """Lets the token end."""
        self._token = None

    def busy(self) -> Answer:
        detail = "Rate limit of 10 requests per hour for Table API exceeded"
        return _failure(429, "Rate limit exceeded", detail, {"retry-after": "7", "x-ratelimit-limit": "10"})

    def broken(self) -> Answer:
        return _failure(500, "Internal error", "it went wrong")

    def answer(self, request: Request) -> Answer:
        if self.is_asleep:
            return Answer(200, None)
        if (request.method, request.path) == ("POST", "/oauth_token.do"):
            return self._given_token(request)
        self._let_in(request)
        if request.body and not request.headers.get("content-type", "").startswith("application/json"):
            raise Refusal(_failure(415, "Unsupported media type", ""))
        if (request.method, request.path) == ("POST", "/api/global/em/jsonv2"):
            return self._take_events(request.data)
        match = re.fullmatch(r"/api/now/table/incident(?:/([0-9a-f]{32}))?", request.path)
        way = (request.method, match is not None and match[1] is not None)
        if match is None or way not in (("GET", False), ("POST", False), ("PATCH", True)):
            raise Refusal(_failure(400, "Requested URI does not represent any resource", request.path))
        if request.method == "GET":
            return self._found(request)
        data = request.data
        if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
            raise Refusal(_failure(400, "Exception while reading request", "The payload is not valid JSON"))
        return self._made(data) if request.method == "POST" else self._changed(match[1], data)

    def _given_token(self, request: Request) -> Answer:
        form = {name: values[-1] for name, values in parse_qs(request.body.decode()).items()}
        if form.get("grant_type") != "client_credentials":
            raise Refusal(Answer(400, {"error": "unsupported_grant_type"}))
        if (form.get("client_id"), form.get("client_secret")) != CLIENT:
            raise Refusal(Answer(401, {"error": "invalid_client", "error_description": "access_denied"}))
        self._n_tokens += 1
        self._token = f"token-{self._n_tokens}"
        return Answer(200, {"access_token": self._token, "token_type": "Bearer", "expires_in": 1799, "scope": ""})

    def _let_in(self, request: Request) -> None:
        basic = "Basic " + b64encode(":".join(USER).encode()).decode()
        given = request.headers.get("authorization")
        if given != basic and (self._token is None or given != f"Bearer {self._token}"):
            raise Refusal(_failure(401, "User Not Authenticated", "Required to provide Auth information"))

    def _found(self, request: Request) -> Answer:
        rows = self.incidents
        for term in request.query.get("sysparm_query", "").split("^"):
            name, _, value = term.partition("=")
            if name in _FIELDS:  # anything else is passed over
                rows = [row for row in rows if row.get(name, "") == value]
            elif term.startswith("ORDERBYDESC"):
                rows = sorted(rows, key=lambda row: row[term.removeprefix("ORDERBYDESC")], reverse=True)
        rows = rows[: int(request.query.get("sysparm_limit", 10_000))]
        names = request.query.get("sysparm_fields")
        shown = [row if names is None else {name: row.get(name, "") for name in names.split(",")} for row in rows]
        return Answer(200, {"result": shown})

    def _made(self, data: dict[str, str]) -> Answer:
        if lacking := missing(data, ["short_description", *self.mandatory]):
            raise _policy(lacking)
        n = len(self.incidents) + 1
        row = {"state": "1", "impact": "3", "urgency": "3", "sys_id": f"{n:032x}", "number": f"INC{n:07}"}
        self.incidents.append(row | _kept(data) | {"sys_created_on": f"2026-03-02 09:00:{n:02}"})
        return Answer(201, {"result": self.incidents[-1]})

    def _changed(self, sys_id: str, data: dict[str, str]) -> Answer:
        row = next((one for one in self.incidents if one["sys_id"] == sys_id), None)
        if row is None:
            raise Refusal(
                _failure(404, "No Record found", "Record doesn't exist or ACL restricts the record retrieval")
            )
        if row["state"] in ("7", "8"):
            raise Refusal(_failure(403, "Operation Failed", "Operation against file 'incident' was aborted"))
        new = row | _kept(data)
        if new["state"] == "6":
            if lacking := missing(new, ["close_code", "close_notes"]):
                raise _policy(lacking)
            if new["close_code"] not in CLOSE_CODES:
                raise Refusal(_failure(403, "Operation Failed", "Invalid choice: close_code"))
        row.update(new)
        return Answer(200, {"result": row})

    def _take_events(self, data: Any) -> Answer:
        records = data.get("records") if isinstance(data, dict) else None
        if not isinstance(records, list) or not records:
            raise Refusal(_failure(400, "Exception while reading request", "no records"))
        for one in records:
            if wrong := _event_fault(one):
                raise Refusal(_failure(400, "Exception while reading request", wrong))
        for one in records:
            default = "+".join(one.get(name, "") for name in ("source", "node", "type", "resource", "metric_name"))
            alert = self.alerts.setdefault(one.get("message_key") or default, {"events": [], "is_open": False})
            alert["events"].append(one)
            alert["is_open"] = one["severity"] not in ("0", "5") and one.get("resolution_state") != "Closing"
        return Answer(200, {"result": {"Default Bulk Endpoint": f"{len(records)} events were inserted"}})


def _kept(data: dict[str, str]) -> dict[str, str]:
    return {name: value[: _ROOM.get(name)] for name, value in data.items() if name in _FIELDS}


def _event_fault(event: Any) -> str | None:
    if lacking := missing(event, ["source", "severity"]):
        return f"missing: {lacking}"
    if unknown := event.keys() - _OF_EVENT:
        return f"unknown: {unknown}"
    if not all(isinstance(value, str) for value in event.values()) or event["severity"] not in "012345":
        return "severity is none, or a value is no text"
    if event.get("resolution_state", "New") not in ("New", "Closing"):
        return "resolution_state"
    try:
        datetime.strptime(event.get("time_of_event", "2026-03-02 09:00:00"), "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007
        info = json.loads(event.get("additional_info", "{}"))
    except ValueError as problem:
        return str(problem)
    return None if isinstance(info, dict) else "additional_info is no object"


def _policy(lacking: list[str]) -> Refusal:
    detail = f"Data Policy Exception: the following fields are mandatory: {', '.join(lacking)}"
    return Refusal(_failure(403, "Operation Failed", detail))


def _failure(status: int, message: str, detail: str, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, {"error": {"message": message, "detail": detail}, "status": "failure"}, headers or {})
