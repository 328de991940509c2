"""Who is told things outside, as the settings say: webhooks, systems for incidents and connectors, by their names.

| name in the outbox | in the settings |
|---|---|
| `crm`, `alerts`, `audit` | the signed webhooks of these names |
| `incidents/NAME` | an entry of `incidents` |
| `connectors/NAME` | an entry of `connectors` that has `push` |
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
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
from journeylab.sender.logs import logger
from journeylab.sender.settings import Alerts, Outgoing, Settings

from .webhooks import Described, Request, post, server_of

__all__ = ["Recipients", "origin_of"]

_LONGEST: Final = 120.0
"""For how many seconds calls are made to tell one fact; one more is made shorter than the rest of its claim."""
_LONGEST_REPLY: Final = 2**20


def origin_of(settings: Settings) -> Origin:
    """Who tells: the sender, where it is reached, and the dashboard where it has one."""
    page = f"{settings.public_url}/dashboard" if settings.dashboard is not None else None
    return Origin(settings.sender, urlsplit(settings.public_url).hostname or settings.domain, page)


class Recipients:
    """Those who are told.

    Args:
        settings: the sender's.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        webhooks = (("crm", settings.crm), ("alerts", settings.alerts), ("audit", settings.audit.webhook))
        self._webhooks: dict[str, Alerts | Outgoing] = {name: to for name, to in webhooks if to is not None}
        self._incidents: dict[str, IncidentSystem] = {f"incidents/{one.name}": one for one in settings.incidents}
        self._connectors = {f"connectors/{name}": one for name, one in settings.connectors.items() if one.push}
        self._ways: dict[str, tuple[Target, _Reached]] = {}
        self._lock = threading.Lock()

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
        return self.told(
            row.target, Fact(body["type"], row.webhook_id, datetime.fromisoformat(body["timestamp"]), body["data"]), at
        )

    def told(self, name: str, fact: Fact, at: datetime) -> Reply:
        """The reply of a system for incidents or a connector to a fact."""
        try:
            target, reached = self._way(name)
            return target.tell(fact, reached.at(at))
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

    def _way(self, name: str) -> tuple[Target, _Reached]:
        """What tells one its facts, and by which calls; made when it is first needed, and kept with its tokens."""
        with self._lock:
            if name not in self._ways:
                self._ways[name] = self._made(name)
            return self._ways[name]

    def _made(self, name: str) -> tuple[Target, _Reached]:
        settings = self._settings
        if name in self._connectors:
            connector = self._connectors[name]
            return connector.target(), _Reached(settings, connector, connector.with_credentials)
        system = self._incidents[name]
        target = system.target(origin_of(settings), settings.secret)
        if isinstance(system, CalledSystem):
            return target, _Reached(settings, system, system.with_credentials)
        return target, _Reached(settings, None, lambda reach, _: reach)


class _Reached:
    """The calls to one system, with credentials put on; each thread's at its instant, and not for ever."""

    def __init__(
        self,
        settings: Settings,
        there: Described | None,
        with_credentials: Callable[[Reach, Callable[[str], str]], Reach],
    ) -> None:
        self._server = None if there is None else server_of(there, settings)
        self._of_thread = threading.local()
        self._reach = with_credentials(self._call, settings.secret)

    def at(self, instant: datetime) -> Reach:
        """The way in which this thread makes calls for one fact from now on."""
        self._of_thread.at, self._of_thread.until = instant, monotonic() + _LONGEST
        return self._reach

    def _call(self, call: Call) -> Reply:
        if self._server is None or monotonic() > self._of_thread.until:
            return Reply(None, f"it took more than {_LONGEST:.0f} seconds in all")
        return exchange(self._server, call, self._of_thread.at, longest_reply=_LONGEST_REPLY)
