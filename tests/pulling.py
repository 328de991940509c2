"""Systems that are pulled without a network between, and a sender that pulls them, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest

from journeylab.connectors.http import Call, Reply, Server
from journeylab.sender import connecting
from vendors.system import Request, System

WAIT = timedelta(seconds=2)
ORDERS = {
    "path": "/admin/api/2024-10/orders.json",
    "query": {"status": "any", "limit": "2"},
    "rows": "events",
    "items": "orders",
    "paging": {"link": "header"},
    "since": {"parameter": "updated_at_min", "overlap": "1s"},
    "event": "purchase",
    "id": ["id"],
    "columns": {"customer": "contact", "created_at": "occurred_at", "updated_at": "changed_at", "total": "amount"},
}
PEOPLE = {key: value for key, value in ORDERS.items() if key not in ("event", "id")} | {
    "rows": "contacts",
    "columns": {"customer": "contact", "mail": "address", "updated_at": "changed_at", "plan": "plan"},
}


class Crash(BaseException):
    """The process ends here, whatever it is about."""


def connector(system: System, every: str = "5m", **streams: Any) -> dict[str, Any]:
    """A shop as the settings name it; each stream like `ORDERS` or `PEOPLE`."""
    return {
        "kind": "rest",
        "url": system.url,
        "auth": {"header": "X-Shopify-Access-Token", "value": "env:SHOP"},
        "pull": {name: {**stream, "every": every} for name, stream in streams.items()},
    }


@contextmanager
def wired(*systems: System) -> Iterator[pytest.MonkeyPatch]:
    """Calls go straight to these systems; whatever fault befalls one, there is no reply, but for a refusal."""
    by_url = {one.url: one for one in systems}

    def exchange(server: Server, call: Call, at: datetime, *, longest_reply: int) -> Reply:
        path, _, query = call.path.removeprefix(server.url).partition("?")
        given = dict(parse_qsl(query)) | {name: str(value) for name, value in (call.query or {}).items()}
        answer, fault = by_url[server.url].reply(Request(call.method, path, given, call.headers, call.body or b""))
        if answer is None or fault is not None:
            return Reply(None, f"it broke off ({fault})")
        after = answer.headers.get("retry-after")
        wait = None if after is None else timedelta(seconds=float(after))
        return Reply(answer.status, str(answer.status), wait, answer.said, answer.headers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOP", "shpat-of-tests")
        patch.setattr(connecting, "exchange", exchange)
        yield patch
