"""Calls to the connectors of the settings: with credentials put on, and no more of them than the other side takes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from time import sleep
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select, update

from journeylab.connectors.connector import Connector, Reach
from journeylab.connectors.http import Call, Reply, Server, exchange
from journeylab.errors import DataError
from journeylab.sender.store import Store, insert_missing
from journeylab.sender.store import tables as t

if TYPE_CHECKING:
    from journeylab.sender.settings import Settings

__all__ = ["Connections"]

LONGEST_REPLY: Final = 16 * 1024 * 1024
"""How many bytes a page of another system may have."""
_LONGEST_WAIT: Final = timedelta(seconds=30)


class Connections:
    """Makes calls to connectors; what is asked for first, such as a token, is kept as long as this is.

    Args:
        store: the sender's database, by which processes take turns.
        settings: the sender's.
        wait: waits for so many seconds.
    """

    def __init__(self, store: Store, settings: Settings, wait: Callable[[float], Any] = sleep) -> None:
        self.store, self.settings, self._wait = store, settings, wait
        self._made: dict[str, Reach] = {}

    def reach(self, name: str) -> Reach:
        """Makes calls to a connector; never raises for what the other side does.

        Where the settings say `at_most`, calls of all processes together are spaced, each waiting for its turn. One
        whose turn is not within half a minute is not made, and answered with 429 and when it is.
        """
        if name not in self._made:
            connector: Connector = self.settings.connectors[name]
            ca = None if connector.ca is None else self.settings.path(connector.ca)
            server = Server(connector.url, ca, connector.tls_minimum, connector.internal)

            def plain(call: Call) -> Reply:
                at, wait = self._turn(name, connector.at_most)
                if wait > _LONGEST_WAIT:
                    return Reply(429, "it was called as often as `at_most` says", wait)
                if wait:
                    self._wait(wait.total_seconds())
                return exchange(server, call, at, longest_reply=LONGEST_REPLY)

            held = connector.with_credentials(plain, cache(self.settings.secret))

            def reach(call: Call) -> Reply:
                try:
                    return held(call)
                except DataError as problem:  # a secret is not there
                    return Reply(None, str(problem), is_hopeless=True)

            self._made[name] = reach
        return self._made[name]

    def _turn(self, name: str, spacing: timedelta | None) -> tuple[datetime, timedelta]:
        """The instant, and how long to wait from it; the turn is taken, but where it is too far away."""
        if spacing is None:
            with self.store.reading() as connection:
                return self.store.now(connection), timedelta(0)
        c = t.connectors.c
        with self.store.writing() as connection:
            now = self.store.now(connection)
            insert_missing(connection, t.connectors, [{"connector": name, "free_at": now}], ["connector"])
            free_at = connection.execute(select(c.free_at).where(c.connector == name).with_for_update()).scalar_one()
            begin = max(now, free_at)
            if begin - now <= _LONGEST_WAIT:
                connection.execute(update(t.connectors).where(c.connector == name).values(free_at=begin + spacing))
            return now, begin - now
