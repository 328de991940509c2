"""Incidents in PagerDuty, by its Events API v2 (pages "Events API v2 Overview" and "Send an Alert Event").

An event is taken where the reply is 202; a 400 says that it never will be. PagerDuty drops repeats by `dedup_key` as
long as the alert is open there. Which incident a person has resolved there already is not asked for: a later trigger
of the same alert, when it got worse, opens another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from journeylab.references import BaseUrl, SecretReference

from .connector import Reach, Secrets
from .facts import Fact, passed_over
from .http import Call, Reply
from .incidents import CalledSystem, Origin, incident_key

__all__ = ["PagerDuty"]

_PATH: Final = "/v2/enqueue"
_ACTIONS: Final = {"alert.raised": "trigger", "alert.acknowledged": "acknowledge", "alert.resolved": "resolve"}
_LONGEST_KEY: Final = 255
_LONGEST_SUMMARY: Final = 1024
_LONGEST_COMPONENT: Final = 255


class PagerDuty(CalledSystem):
    """A service of PagerDuty.

    Attributes:
        url: `https://events.eu.pagerduty.com` in the region EU.
        routing_key: the integration key of an Events API v2 integration, a secret.
    """

    kind: Literal["pagerduty"]
    url: BaseUrl = "https://events.pagerduty.com"
    routing_key: SecretReference

    def target(self, origin: Origin, secrets: Secrets) -> PagerDutyTarget:
        """What tells it of alerts."""
        return PagerDutyTarget(origin, secrets(self.routing_key))


class PagerDutyTarget:
    """Tells a service of PagerDuty of alerts.

    Args:
        origin: who tells.
        routing_key: of the service's integration.
    """

    def __init__(self, origin: Origin, routing_key: str) -> None:
        self._origin, self._routing_key = origin, routing_key

    def tell(self, fact: Fact, reach: Reach) -> Reply:
        """Triggers, acknowledges or resolves the alert's incident."""
        if fact.kind not in _ACTIONS:
            return passed_over("PagerDuty has no notion of it")
        event: dict[str, Any] = {
            "routing_key": self._routing_key,
            "event_action": _ACTIONS[fact.kind],
            "dedup_key": incident_key(self._origin, fact.data, _LONGEST_KEY),
        }
        if fact.kind == "alert.raised":
            event |= self._described(fact.data)
        reply = reach(Call.of_json("POST", _PATH, event))
        if reply.is_taken and reply.status != 202:
            return replace(reply, status=None, text=f"{reply.status}: PagerDuty takes events by 202 alone")
        if reply.status == 400:
            text = "400: PagerDuty finds the event invalid; is `routing_key` an integration key of Events API v2?"
            return replace(reply, text=text, is_hopeless=True)
        return reply

    def _described(self, data: Mapping[str, Any]) -> dict[str, Any]:
        cause, origin = data["dedup_key"], self._origin
        found: dict[str, Any] = {
            "payload": {
                "summary": f"{origin.sender}: {data['summary']}"[:_LONGEST_SUMMARY],
                "source": origin.host,
                "severity": data["severity"],
                "timestamp": data["started_at"],
                "component": cause[:_LONGEST_COMPONENT],
                "group": origin.sender,
                "class": cause.partition("/")[0][:_LONGEST_COMPONENT],
                "custom_details": {"cause": cause[:_LONGEST_COMPONENT], "sender": origin.sender},
            },
            "client": "JourneyLab",
        }
        if origin.dashboard is not None:
            found["client_url"] = origin.dashboard
            found["links"] = [{"href": origin.dashboard, "text": "Dashboard"}]
        return found
