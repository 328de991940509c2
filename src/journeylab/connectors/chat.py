"""Alerts and statistics as messages of the services that apprise knows: chats, telephones, other incident tools.

A message can come twice, as no service drops repeats, and nothing ties the message of an end to that of its beginning
but their words. The calls are apprise's own: they are not bound to public addresses, and its own rules hold for TLS.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

from journeylab.errors import DataError
from journeylab.references import SecretReference

from .connector import Reach, Secrets
from .facts import Fact, passed_over
from .http import Reply
from .incidents import ALERTS, STATISTICS, IncidentSystem, Origin

__all__ = ["Chat"]

_SECONDS: Final = 30
_LOUDNESS: Final = {"critical": "failure", "error": "failure", "warning": "warning", "info": "info"}


class Chat(IncidentSystem):
    """A service of apprise.

    Attributes:
        service: its apprise URL, a secret, as there are tokens in it; of one service alone.
    """

    hears: ClassVar[frozenset[str]] = ALERTS | {STATISTICS}
    kind: Literal["apprise"]
    service: SecretReference

    def target(self, origin: Origin, secrets: Secrets) -> ChatTarget:
        """What tells it of alerts and statistics.

        Raises:
            DataError: when the secret or apprise is not there, or the secret is no URL that apprise knows.
        """
        return ChatTarget(origin, _service(self.service, secrets(self.service)))


class ChatTarget:
    """Writes messages to a service.

    Args:
        origin: who tells.
        service: apprise, with one service.
    """

    def __init__(self, origin: Origin, service: Any) -> None:
        self._origin, self._service = origin, service

    def tell(self, fact: Fact, reach: Reach) -> Reply:  # noqa: ARG002
        """Writes one message."""
        if fact.kind == STATISTICS:
            title, body, loudness = "statistics", statistics_text(fact.data), "info"
        elif fact.kind == "alert.raised":
            title, body = fact.data["severity"], fact.data["summary"]
            loudness = _LOUDNESS[title]
        elif fact.kind in ALERTS:
            title = "over" if fact.kind == "alert.resolved" else "somebody looks after it"
            body, loudness = fact.data["summary"], "success" if title == "over" else "info"
        else:
            return passed_over("there is no message for it")
        lines = [body] if fact.kind == STATISTICS else [body, f"({fact.data['dedup_key']})"]
        if self._origin.dashboard is not None:
            lines.append(self._origin.dashboard)
        result = self._service.notify(
            body="\n".join(lines), title=f"{self._origin.sender}: {title}", notify_type=loudness, timeout=_SECONDS
        )
        return Reply(200, "the service took it") if result else Reply(None, "the service did not take it")


def statistics_text(data: Mapping[str, Any]) -> str:
    """Statistics in lines: what happened to how many, where it was enough people to be told."""
    lines = [f"{data['from_at']} to {data['until_at']}"]
    for place, counts in [*data["journeys"].items(), ("alerts", data["alerts"])]:
        told = [f"{name.removeprefix('n_')} {_number(n)}" for name, n in counts.items() if n is not None]
        lines.append(f"{place}: {', '.join(told) or 'of too few people'}")
    if data["n_journeys_left_out"]:
        lines.append(f"and {data['n_journeys_left_out']} journeys with fewer messages")
    return "\n".join(lines)


def _number(value: int | float) -> str:
    return f"{value:.2%}" if isinstance(value, float) else f"{value:,}"


def _service(reference: str, url: str) -> Any:
    try:
        import apprise
    except ImportError:
        raise DataError('messages by apprise take the extra: pip install "journeylab[incidents]"') from None
    # What it logs has the URL in it now and then, and in that the service's secrets.
    logging.getLogger("apprise").propagate = False
    asset = apprise.AppriseAsset(secure_logging=True, storage_mode="memory", app_id="JourneyLab", app_desc="JourneyLab")
    service = apprise.Apprise(asset=asset)
    if not service.add(url) or len(service) != 1:
        raise DataError(f"the secret {reference} is no URL of one service that apprise knows")
    return service
