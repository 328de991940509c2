"""Systems in which people deal with incidents: which there are, what each hears of, and how it knows an incident again.

An alert is one incident from when it began until it is over. Its key is made of the sender, the cause and the instant
at which it began: whoever sends it twice opens one incident, and the same cause on another day opens another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator

from journeylab.errors import known
from journeylab.journey import Definition, Name
from journeylab.references import BaseUrl

from .connector import Reach, Secrets
from .facts import Target

__all__ = [
    "ALERTS", "SEVERITIES", "STATISTICS", "CalledSystem", "IncidentSystem", "Origin", "Severity", "incident_key",
    "incident_system_of",
]  # fmt: skip

Severity = Literal["critical", "error", "warning", "info"]
SEVERITIES: Final[tuple[Severity, ...]] = ("critical", "error", "warning", "info")
"""From worst to least: mail stands still, something does not work, somebody should look, nothing to do."""
ALERTS: Final = frozenset({"alert.raised", "alert.acknowledged", "alert.resolved"})
STATISTICS: Final = "statistics"
_ODD: Final = re.compile(r"[^A-Za-z0-9_./:-]")


@dataclass(frozen=True)
class Origin:
    """Who tells.

    Attributes:
        sender: the sender's name.
        host: the host at which it is reached from outside.
        dashboard: the address of the page that shows what is wrong; None where there is none.
    """

    sender: str
    host: str
    dashboard: str | None = None


class IncidentSystem(Definition):
    """What the settings say of a system for incidents; each kind adds what it needs.

    Attributes:
        name: its name, by which `journeylab incidents test` and the outbox call it.
        kind: the name of the kind.
        at_least: the least severity of which it hears.
    """

    hears: ClassVar[frozenset[str]] = ALERTS
    """The kinds of facts of which it has a notion."""
    name: Name
    kind: str
    at_least: Severity = "error"

    def is_told(self, kind: str, data: Mapping[str, Any]) -> bool:
        """Whether it is told of an alert: whether that is bad enough.

        An alert's severity is the worst that it ever had, so that whoever heard of its beginning hears of its end.
        """
        return kind in ALERTS & self.hears and SEVERITIES.index(data["severity"]) <= SEVERITIES.index(self.at_least)

    def target(self, origin: Origin, secrets: Secrets) -> Target:
        """What tells it facts in its words.

        Raises:
            DataError: when a secret or a package that it takes is not there.
        """
        raise NotImplementedError


class CalledSystem(IncidentSystem):
    """One that is called by HTTP.

    Attributes:
        url: where it is; `https`, but on this machine.
        ca: a PEM file of authorities to trust instead of the system's.
        tls_minimum: the least version of TLS.
        internal: whether it stands in a private network, where nothing is called unless this says so.
    """

    url: BaseUrl
    ca: str | None = None
    tls_minimum: Annotated[Literal["1.2", "1.3"], BeforeValidator(str)] = "1.3"
    internal: bool = False

    def with_credentials(self, reach: Reach, secrets: Secrets) -> Reach:  # noqa: ARG002
        """Makes calls with credentials put on; by default there are none."""
        return reach


_KINDS: Final = {
    "apprise": "chat:Chat", "pagerduty": "pagerduty:PagerDuty", "servicenow_event": "servicenow:ServiceNowEvents",
    "servicenow_incident": "servicenow:ServiceNowIncidents",
}  # fmt: skip


def incident_system_of(value: object) -> IncidentSystem:
    """What the settings say of a system for incidents, read by its kind.

    Raises:
        ValueError: with what is wrong, as pydantic's validators do.
    """
    if isinstance(value, IncidentSystem):
        return value
    if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
        raise ValueError(f"a system for incidents has its `kind`: one of {', '.join(sorted(_KINDS))}")
    kind = value["kind"]
    if kind not in _KINDS:
        raise ValueError(f"no system for incidents is of the kind {kind!r}; {known(kind, _KINDS, 'kinds')}")
    module, _, name = _KINDS[kind].partition(":")
    made: type[IncidentSystem] = getattr(import_module(f"journeylab.connectors.{module}"), name)
    return made.model_validate(value)


def incident_key(origin: Origin, data: Mapping[str, Any], longest: int) -> str:
    """The key of an alert's incident: sender, cause and beginning, in letters, digits and `_./:-`.

    What is too long, or has other characters in it, is told apart by a digest (BLAKE2b) at its end.

    Args:
        origin: who tells.
        data: of a fact about an alert.
        longest: how many characters the system keeps.

    >>> shop = Origin("shop", "mail.shop.example")
    >>> alert = {"dedup_key": "relay/main", "started_at": "2026-03-02T09:00:00+00:00"}
    >>> incident_key(shop, alert, 100)
    'shop/relay/main/20260302T090000'
    >>> incident_key(shop, alert | {"dedup_key": "relay/płk^A"}, 60)
    'shop/relay/p_k_A/20260302T090000-90c50f4630388edd32a741ba'
    """
    begun = re.sub(r"[-:]", "", data["started_at"].partition("+")[0])
    whole = f"{origin.sender}/{data['dedup_key']}/{begun}"
    plain = _ODD.sub("_", whole)
    if plain == whole and len(whole) <= longest:
        return whole
    digest = blake2b(whole.encode(), digest_size=12).hexdigest()
    return f"{plain[: longest - len(digest) - 1]}-{digest}"
