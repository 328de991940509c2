"""PagerDuty's Events API v2 as its published references describe it.

It follows the pages "Events API v2 Overview" and "Send an Alert Event" and the OpenAPI description "PagerDuty V2 Events
API": what an event must have, which values there are, how long they may be, that 202 alone is taken and 400 never will
be, and that further events of a `dedup_key` count for the open alert, while after its end a trigger opens another and
the rest is dropped. The pages name no `Retry-After`; `busy` sends one all the same, as it must be obeyed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from .system import Answer, Refusal, Request, System, missing

ROUTING_KEY: Final = "e93facc04764012d7bfb002500d5d1a6"
_TOP: Final = frozenset(
    {"routing_key", "event_action", "dedup_key", "payload", "images", "links", "client", "client_url"}
)
_PAYLOAD: Final = frozenset(
    {"summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details"}
)
_LARGEST: Final = 512 * 1024


@dataclass
class Incident:
    """An alert, and the incident that it is in."""

    dedup_key: str
    status: str
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def severity(self) -> str:
        """That of the latest trigger."""
        return str([one for one in self.events if one["event_action"] == "trigger"][-1]["payload"]["severity"])


class PagerDuty(System):
    """A service: its incidents, in the order in which they were opened, and what was dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.incidents: list[Incident] = []
        self.dropped: list[dict[str, Any]] = []

    def open(self) -> list[Incident]:
        """The incidents that are not resolved."""
        return [one for one in self.incidents if one.status != "resolved"]

    def busy(self) -> Answer:
        return Answer(429, None, {"retry-after": "7"})

    def broken(self) -> Answer:
        return Answer(500, {"status": "Internal Server Error", "message": "it went wrong"})

    def answer(self, request: Request) -> Answer:
        if (request.method, request.path) != ("POST", "/v2/enqueue"):
            raise Refusal(Answer(404, None))
        event = request.data
        errors = ["JSON parse error"] if not isinstance(event, dict) else _errors(event)
        if len(request.body) > _LARGEST:
            errors.append("Event is larger than 512 KB")
        if errors:
            said = {"status": "invalid event", "message": "Event object is invalid", "errors": errors}
            raise Refusal(Answer(400, said))
        self._take(event)
        said = {"status": "success", "message": "Event processed", "dedup_key": event.get("dedup_key")}
        return Answer(202, said)

    def _take(self, event: dict[str, Any]) -> None:
        found = next((one for one in self.open() if one.dedup_key == event["dedup_key"]), None)
        if found is None and event["event_action"] == "trigger":
            found = Incident(event["dedup_key"], "triggered")
            self.incidents.append(found)
        if found is None:
            self.dropped.append(event)
            return
        found.events.append(event)
        found.status = {"acknowledge": "acknowledged", "resolve": "resolved"}.get(event["event_action"], found.status)


def _errors(event: dict[str, Any]) -> list[str]:
    found = [f"'{name}' is missing or blank" for name in missing(event, ["routing_key", "event_action"])]
    found += [f"'{name}' is unknown" for name in event.keys() - _TOP]
    if len(str(event.get("routing_key"))) != 32:
        found.append("Length of 'routing_key' is incorrect (should be 32 characters)")
    elif event["routing_key"] != ROUTING_KEY:
        found.append("'routing_key' is no integration's")
    if event.get("event_action") not in ("trigger", "acknowledge", "resolve"):
        found.append("'event_action' must be one of trigger, acknowledge, resolve")
    if event.get("event_action") != "trigger":
        found += [f"'{name}' is missing or blank" for name in missing(event, ["dedup_key"])]
    key = event.get("dedup_key")
    if key is not None and not (isinstance(key, str) and len(key) <= 255):
        found.append("'dedup_key' is no text of at most 255 characters")
    if event.get("event_action") == "trigger":
        found += _payload_errors(event.get("payload"))
        found += [f"link without href: {one}" for one in event.get("links", []) if missing(one, ["href"])]
    return found


def _payload_errors(payload: Any) -> list[str]:
    if not isinstance(payload, dict):
        return ["'payload' is missing or blank"]
    found = [f"'payload.{name}' is missing or blank" for name in missing(payload, ["summary", "source", "severity"])]
    found += [f"'payload.{name}' is unknown" for name in payload.keys() - _PAYLOAD]
    if len(str(payload.get("summary"))) > 1024:
        found.append("'payload.summary' has more than 1024 characters")
    if payload.get("severity") not in ("critical", "error", "warning", "info"):
        found.append("'payload.severity' must be one of critical, error, warning, info")
    if not isinstance(payload.get("custom_details", {}), dict):
        found.append("'payload.custom_details' is no object")
    texts = ("summary", "source", "component", "group", "class")
    found += [f"'payload.{name}' is no text" for name in texts if not isinstance(payload.get(name, ""), str)]
    try:
        datetime.fromisoformat(payload.get("timestamp", "2026-03-02T09:00:00+00:00"))
    except (ValueError, TypeError):
        found.append("'payload.timestamp' is no ISO 8601")
    return found
