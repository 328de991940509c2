"""Who is told things outside, as the settings say: webhooks, systems for incidents and connectors, by their names.

| name in the outbox | in the settings |
|---|---|
| `crm`, `alerts`, `audit` | the signed webhooks of these names |
| `incidents/NAME` | an entry of `incidents` |
| `connectors/NAME` | an entry of `connectors` that has `push` |
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from time import monotonic
from traceback import extract_tb
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import Row

from journeylab.connectors.connector import Broken, Later, Reach
from journeylab.connectors.facts import Fact, Target
from journeylab.connectors.http import Call, Reply, exchange
from journeylab.connectors.incidents import CalledSystem, IncidentSystem, Origin
from journeylab.connectors.pushed import facts_of
from journeylab.errors import DataError
from journeylab.sender.connecting import Connections
from journeylab.sender.logs import logger
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store

from .webhooks import Request, post, server_of

__all__ = ["Recipients", "origin_of"]

_LONGEST: Final = 60.0
"""After how many seconds no more calls are made to tell one fact, so that its claim does not run out."""


def origin_of(settings: Settings) -> Origin:
    """Who tells: the sender, where it is reached, and the dashboard where it has one."""
    page = f"{settings.public_url}/dashboard" if settings.dashboard is not None else None
    return Origin(settings.sender, urlsplit(settings.public_url).hostname or settings.domain, page)


class Recipients:
    """Those who are told.

    Args:
        store: the sender's database, by which calls to connectors take turns.
        settings: the sender's.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._settings, self._connections = settings, Connections(store, settings)
        self._webhooks = settings.webhooks
        self._incidents: dict[str, IncidentSystem] = {f"incidents/{one.name}": one for one in settings.incidents}
        self._connectors = {f"connectors/{name}": one for name, one in settings.connectors.items() if one.push}
        self._ways: dict[str, tuple[Target, Reach]] = {}
        self._lock = Lock()
        self._at = datetime.min.replace(tzinfo=UTC)

    @property
    def names(self) -> list[str]:
        """Their names in the outbox."""
        return [*self._webhooks, *self._incidents, *self._connectors]

    def is_webhook(self, name: str) -> bool:
        """Whether it is a signed webhook, whose receiver keeps what it is told by the instants in it."""
        return name in self._webhooks

    def beside(self, body: Mapping[str, Any]) -> list[str]:
        """Who else is told what goes to the webhook for alerts or for the CRM."""
        kind, data = body["type"], body["data"]
        told = [name for name, one in self._incidents.items() if one.is_told(kind, data)]
        return told + [name for name, one in self._connectors.items() if kind in facts_of(one.push)]

    def reply(self, row: Row[Any], at: datetime) -> Reply:
        """The reply of whom a row of the outbox is for, as of an instant of the store."""
        if row.target in self._webhooks:
            return post(Request(self._webhooks[row.target], row.target, row.webhook_id, row.body, at), self._settings)
        body = row.body
        fact = Fact(body["type"], row.webhook_id, datetime.fromisoformat(body["timestamp"]), body["data"])
        return self.told(row.target, fact, at)

    def told(self, name: str, fact: Fact, at: datetime) -> Reply:
        """The reply of a system for incidents or a connector to a fact, as of an instant of the store."""
        try:
            target, reach = self._way(name, at)
            return target.tell(fact, _for_a_while(reach))
        except DataError as problem:
            return Reply(None, str(problem))
        except Later as later:
            return Reply(None, later.text, later.retry_after)
        except Broken as broken:
            return Reply(None, broken.text, is_hopeless=True)
        except Exception as problem:
            place = extract_tb(problem.__traceback__)[-1]
            # Where it went wrong, not the text of it, which may have what is told.
            text = f"telling it went wrong: {type(problem).__name__} at {Path(place.filename).name}:{place.lineno}"
            logger("outbox").error("telling went wrong", target=name, problem=text)
            return Reply(None, text)

    def _way(self, name: str, at: datetime) -> tuple[Target, Reach]:
        """What tells one its facts, and by which calls; made when it is first needed, and kept with its tokens."""
        with self._lock:
            self._at = at
            if name not in self._ways:
                self._ways[name] = self._made(name)
            return self._ways[name]

    def _made(self, name: str) -> tuple[Target, Reach]:
        if name in self._connectors:
            return self._connectors[name].target(), self._connections.reach(name.partition("/")[2])
        settings, system = self._settings, self._incidents[name]
        target = system.target(origin_of(settings), settings.secret)
        if not isinstance(system, CalledSystem):
            return target, lambda _: Reply(None, "it is called by no URL")
        server = server_of(system, settings)
        return target, system.with_credentials(lambda call: exchange(server, call, self._at), settings.secret)


def _for_a_while(reach: Reach) -> Reach:
    """Makes calls until it is time to leave off."""
    until = monotonic() + _LONGEST

    def limited(call: Call) -> Reply:
        if monotonic() > until:
            return Reply(None, f"it took more than {_LONGEST:.0f} seconds in all")
        return reach(call)

    return limited
