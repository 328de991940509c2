"""Incidents and events in ServiceNow, by its Table API and by the web service of Event Management.

It follows ServiceNow's pages "Table API", "Pushing events to the instance using web service API", "Client credentials
grant workflow", "Inbound REST API rate limiting" and "Resolve and close an incident".

An incident is looked up by `correlation_id` before it is made or changed, as the Table API drops no repeats. An event
has a `message_key`, by which Event Management finds its alert again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, Literal
from urllib.parse import urlencode

from pydantic import Field, model_validator

from journeylab.references import SecretReference

from .connector import Reach, Secrets
from .credentials import basic, with_token
from .facts import Fact, passed_over
from .http import Call, Reply
from .incidents import ALERTS, STATISTICS, CalledSystem, Origin, incident_key

__all__ = ["ServiceNow", "ServiceNowEvents", "ServiceNowIncidents"]

_TABLE: Final = "/api/now/table/incident"
_EVENTS: Final = "/api/global/em/jsonv2"
_TOKEN: Final = "/oauth_token.do"
_NEW, _IN_PROGRESS, _RESOLVED = "1", "2", "6"
_OVER: Final = frozenset({_RESOLVED, "7", "8"})
"""Resolved, closed and canceled."""
_LONGEST_KEY: Final = 100
_LONGEST_TITLE: Final = 160
_WEIGHT: Final[dict[str, tuple[str, str]]] = {
    "critical": ("1", "1"), "error": ("2", "1"), "warning": ("3", "2"), "info": ("3", "3"),
}  # fmt: skip
"""Impact and urgency, from which ServiceNow works out the priority: 1, 2, 4 and 5 where its rules are as delivered."""
_SEVERITY: Final = {"critical": "1", "error": "2", "warning": "4", "info": "5"}
"""Of events: critical, major, warning, and OK for what needs nobody."""
_CLEAR: Final = "0"
_SYS_ID: Final = re.compile("[0-9a-f]{32}")


class ServiceNow(CalledSystem):
    """An instance of ServiceNow; it is called as a user, or by a token of an OAuth application (client credentials).

    Attributes:
        url: the instance, such as `https://acme.service-now.com`.
        user, password: of an integration user; the password is a secret's reference.
        client_id, client_secret: of an application in the registry; the latter is a secret's reference.
    """

    user: str | None = None
    password: SecretReference | None = None
    client_id: str | None = None
    client_secret: SecretReference | None = None

    @model_validator(mode="after")
    def _has_one_way_in(self) -> ServiceNow:
        by_user, by_token = (self.user, self.password), (self.client_id, self.client_secret)
        given = [way for way in (by_user, by_token) if way != (None, None)]
        if len(given) != 1 or None in given[0]:
            raise ValueError("ServiceNow takes either `user` and `password`, or `client_id` and `client_secret`")
        return self

    def with_credentials(self, reach: Reach, secrets: Secrets) -> Reach:
        """Makes calls as the user, or with a token that is asked for when it is first needed."""
        if self.password is not None:
            who = basic(self.user or "", secrets(self.password))
            return lambda call: reach(replace(call, headers={**call.headers, "authorization": who}))
        secret = secrets(self.client_secret or "")
        form = {"grant_type": "client_credentials", "client_id": self.client_id or "", "client_secret": secret}
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        asking = Call("POST", _TOKEN, headers, urlencode(form).encode())

        def ask() -> Reply:
            reply = reach(asking)
            return reply if reply.is_taken else replace(reply, status=None)  # a refusal may be the instance's mood

        return with_token(reach, ask)


class ServiceNowIncidents(ServiceNow):
    """Incidents of ServiceNow.

    Attributes:
        close_code: the resolution code of an incident that is over by itself; which there are is the instance's.
        fields: further fields of a new incident, such as `assignment_group` or `caller_id`.
    """

    kind: Literal["servicenow_incident"]
    close_code: str = "Solution provided"
    fields: dict[str, str] = Field(default_factory=dict)

    def target(self, origin: Origin, secrets: Secrets) -> IncidentTarget:  # noqa: ARG002
        """What tells it of alerts."""
        return IncidentTarget(origin, self.close_code, self.fields)


class ServiceNowEvents(ServiceNow):
    """Event Management of ServiceNow; its rules make alerts and incidents of events."""

    hears: ClassVar[frozenset[str]] = (ALERTS - {"alert.acknowledged"}) | {STATISTICS}
    kind: Literal["servicenow_event"]

    def target(self, origin: Origin, secrets: Secrets) -> EventTarget:  # noqa: ARG002
        """What tells it of alerts and statistics."""
        return EventTarget(origin)


class IncidentTarget:
    """Makes, changes and resolves incidents by the Table API.

    Args:
        origin: who tells.
        close_code: the resolution code of what is over.
        fields: further fields of a new incident.
    """

    def __init__(self, origin: Origin, close_code: str, fields: Mapping[str, str]) -> None:
        self._origin, self._close_code, self._fields = origin, close_code, fields

    def tell(self, fact: Fact, reach: Reach) -> Reply:
        """Looks the alert's incident up, and makes it, or changes it where that is not done yet."""
        if fact.kind not in ALERTS:
            return passed_over("incidents of ServiceNow have no notion of it")
        key = incident_key(self._origin, fact.data, _LONGEST_KEY)
        looked = _whole(reach(_look_up(key)))
        if not looked.is_taken:
            return looked
        rows = _of_key(looked.said["result"], key)
        open_rows = [row for row in rows if str(row.get("state")) not in _OVER]
        if fact.kind == "alert.raised":
            return self._raised(fact.data, key, rows, open_rows, reach)
        changes = _acknowledged(open_rows) if fact.kind == "alert.acknowledged" else self._resolved(open_rows)
        reply = looked
        for row, change in changes:
            reply = _whole(reach(Call.of_json("PATCH", f"{_TABLE}/{row['sys_id']}", change)))
            if not reply.is_taken:
                return reply
        return reply

    def _raised(
        self, data: Mapping[str, Any], key: str, rows: list[Any], open_rows: list[Any], reach: Reach
    ) -> Reply:  # fmt: skip
        impact, urgency = _WEIGHT[data["severity"]]
        if any(_is_as_bad(row, impact, urgency) for row in open_rows or rows):
            return passed_over("ServiceNow has the incident")
        if open_rows:
            note = f"It got worse ({data['severity']}): {data['summary']}"
            change = {"impact": impact, "urgency": urgency, "work_notes": note}
            return _whole(reach(Call.of_json("PATCH", f"{_TABLE}/{open_rows[0]['sys_id']}", change)))
        origin = self._origin
        shown = [data["summary"], f"Cause: {data['dedup_key']}", f"Since: {data['started_at']}"]
        row = {
            **self._fields,
            "short_description": f"{origin.sender}: {data['summary']}"[:_LONGEST_TITLE],
            "description": "\n".join(shown + ([origin.dashboard] if origin.dashboard else [])),
            "correlation_id": key,
            "correlation_display": "JourneyLab",
            "impact": impact,
            "urgency": urgency,
        }
        return _whole(reach(Call.of_json("POST", _TABLE, row)))

    def _resolved(self, rows: list[Any]) -> list[tuple[Any, dict[str, str]]]:
        note = "JourneyLab finds that the cause is over."
        return [(row, {"state": _RESOLVED, "close_code": self._close_code, "close_notes": note}) for row in rows]


def _acknowledged(rows: list[Any]) -> list[tuple[Any, dict[str, str]]]:
    note = "Somebody looks after it, as was said in JourneyLab."
    return [(row, {"state": _IN_PROGRESS, "work_notes": note}) for row in rows if row.get("state") == _NEW]


def _is_as_bad(row: Mapping[str, Any], impact: str, urgency: str) -> bool:
    """Whether an incident was told of something at least as bad; where people changed its weight, it was."""
    have, want = (row.get("impact"), row.get("urgency")), (impact, urgency)
    return have not in _WEIGHT.values() or have <= want


def _of_key(result: Any, key: str) -> list[Any]:
    """The incidents of a key: an instance passes over a query that it does not understand, and gives what it has."""
    rows = [row for row in (result if isinstance(result, list) else []) if isinstance(row, dict)]
    return [
        row for row in rows if row.get("correlation_id") == key and _SYS_ID.fullmatch(str(row.get("sys_id")))
    ]  # fmt: skip


def _look_up(key: str) -> Call:
    query: dict[str, str | int] = {
        "sysparm_query": f"correlation_id={key}^ORDERBYDESCsys_created_on",
        "sysparm_fields": "sys_id,state,impact,urgency,correlation_id",
        "sysparm_limit": 20,
    }
    return Call("GET", _TABLE, {"accept": "application/json"}, query=query)


class EventTarget:
    """Puts events into Event Management.

    Args:
        origin: who tells.
    """

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    def tell(self, fact: Fact, reach: Reach) -> Reply:
        """Puts one event there: an alert's, its clearing, or one with statistics, which needs nobody."""
        data, origin = fact.data, self._origin
        event = {
            "source": "JourneyLab",
            "event_class": f"JourneyLab {origin.sender}",
            "node": origin.host,
            "time_of_event": datetime.astimezone(fact.occurred_at, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        }
        if fact.kind == STATISTICS:
            event |= {
                "type": STATISTICS, "resource": origin.sender, "severity": _SEVERITY["info"],
                "message_key": f"{origin.sender}/{STATISTICS}", "description": f"{origin.sender}: statistics",
                "additional_info": json.dumps(_flat(data), sort_keys=True),
            }  # fmt: skip
        elif fact.kind in ("alert.raised", "alert.resolved"):
            is_over = fact.kind == "alert.resolved"
            more = {"severity": data["severity"], "since": data["started_at"], "dashboard": origin.dashboard or ""}
            event |= {
                "type": data["dedup_key"].partition("/")[0],
                "resource": data["dedup_key"],
                "message_key": incident_key(origin, data, _LONGEST_KEY),
                "severity": _CLEAR if is_over else _SEVERITY[data["severity"]],
                "resolution_state": "Closing" if is_over else "New",
                "description": data["summary"],
                "additional_info": json.dumps(more, sort_keys=True),
            }
        else:
            return passed_over("Event Management has no notion of it")
        return _judged(reach(Call.of_json("POST", _EVENTS, {"records": [event]}, {"accept": "application/json"})))


def _flat(data: Mapping[str, Any]) -> dict[str, str]:
    """Nested data as texts by their paths, as additional information has keys and values alone."""
    found: dict[str, str] = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{below}": text for below, text in _flat(value).items()}
        elif value is not None:
            found[name] = str(value)
    return found


def _judged(reply: Reply) -> Reply:
    """A reply that is taken only where it says something in JSON: an instance that sleeps shows a page instead."""
    if reply.is_taken and not isinstance(reply.said, dict):
        return replace(reply, status=None, text=f"{reply.status}, but {reply.fault or 'no JSON: is the instance up?'}")
    if reply.status == 400:
        return replace(reply, text="400: ServiceNow finds the call invalid", is_hopeless=True)
    return reply


def _whole(reply: Reply) -> Reply:
    """A reply of the Table API that is taken only where it has a result."""
    reply = _judged(reply)
    if reply.is_taken and "result" not in reply.said:
        return replace(reply, status=None, text=f"{reply.status}, but without a result")
    return reply
