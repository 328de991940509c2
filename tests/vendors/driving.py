"""Whoever pulls and tells, in its simplest form: tries the same again until it succeeds, and counts what came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from journeylab.connectors import http
from journeylab.connectors.connector import Connector, Later, Page, Reach, connector_of
from journeylab.connectors.facts import Fact
from journeylab.connectors.http import Call, Reply, Server, exchange

AT = datetime(2026, 3, 2, 10, tzinfo=UTC)
"""The instant of all facts and calls."""
_MOST_TRIES = 40


@contextmanager
def impatient() -> Iterator[None]:
    """Gives a silent system up after a moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http, "_READ_SECONDS", 0.08)
        http._pool.cache_clear()
        yield
    http._pool.cache_clear()


def connector(kind: str, url: str, **settings: Any) -> Connector:
    """A connector as the settings would name it."""
    return connector_of({"kind": kind, "url": url, **settings})


def reaching(one: Connector, secrets: Mapping[str, str]) -> Reach:
    """Makes calls with a connector's credentials."""
    server = Server(one.url)
    return one.with_credentials(lambda call: exchange(server, call, AT, longest_reply=1 << 24), secrets.__getitem__)


def pages(one: Connector, stream: str, reach: Reach, cursor: Mapping[str, Any] | None = None) -> Iterator[Page]:
    """The pages of a stream up to its last; one that cannot be had now is asked for again."""
    source, n_tries = one.source(), 0
    while True:
        try:
            page = source.pull(stream, cursor, reach)
        except Later:
            n_tries += 1
            assert n_tries < _MOST_TRIES
            continue
        yield page
        if page.is_last:
            return
        cursor = page.cursor


class Taken:
    """What was taken of a stream: contacts by the latest change, events by their ids."""

    def __init__(self) -> None:
        self.contacts: dict[str, dict[str, Any]] = {}
        self.events: dict[str, dict[str, Any]] = {}
        self.cursor: Mapping[str, Any] | None = None
        self.n_pages = 0

    def pull(self, one: Connector, stream: str, reach: Reach) -> Taken:
        """Takes all pages that there are for now."""
        for page in pages(one, stream, reach, self.cursor):
            self.n_pages += 1
            self.cursor = page.cursor
            for row in page.contacts:
                known = self.contacts.get(row["contact"])
                if known is None or known["changed_at"] < row["changed_at"]:
                    self.contacts[row["contact"]] = dict(row)
            for event in page.events:
                known = self.events.setdefault(event["id"], dict(event))
                assert known == event  # one id is one event
        return self


def fact(kind: str, contact: str = "ada", at: datetime = AT, **data: Any) -> Fact:
    """A fact about a contact."""
    return Fact(kind, f"{kind}_{contact}_{at.isoformat()}", at, {"contact": contact, **data})


def told(one: Connector, what: Fact, reach: Reach) -> Reply:
    """The reply after which a fact is not told again."""
    target = one.target()
    for _ in range(_MOST_TRIES):
        reply = target.tell(what, reach)
        if reply.is_taken or reply.is_hopeless:
            return reply
    raise AssertionError(f"never told: {reply.text}")


def counted(reach: Reach, calls: list[Call]) -> Reach:
    """Makes calls and notes them."""
    return lambda call: calls.append(call) or reach(call)  # type: ignore[func-returns-value]
