"""Calls to other systems: signed (Standard Webhooks) and repeated under one id.

The receiver knows a repeated call by `webhook-id`, which is the same at every attempt, and its author by
`webhook-signature`. Only a reply of 200 to 299 counts as taken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from journeylab.connectors.http import Call, Reply, Server, beside, exchange
from journeylab.errors import DataError
from journeylab.sender.settings import Alerts, Outgoing, Settings

__all__ = [
    "LEASE", "LONGEST_BODY", "MOST_AT_A_TIME", "WORRYING", "Described", "Request", "post", "post_all", "server_of",
]  # fmt: skip

LEASE: Final = timedelta(minutes=3)
"""How long claimed calls belong to who claimed them: longer than the slowest of them takes."""
MOST_AT_A_TIME: Final = 480
"""How many calls are made before a process looks after something else."""
WORRYING: Final = 4
"""After how many failed attempts of one call, about 3 minutes, somebody is told."""
LONGEST_BODY: Final = 20_000


@dataclass(frozen=True)
class Request:
    """A call to be made.

    Attributes:
        to: where, and with whose secret; None where the settings do not say.
        name: who that is, in messages.
        webhook_id: the same at every attempt.
        body: plain data.
        at: the instant that it says to be of, from the store's clock.
        headers: further ones.
    """

    to: Outgoing | Alerts | None
    name: str
    webhook_id: str
    body: Mapping[str, Any]
    at: datetime
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def data(self) -> bytes:
        """The bytes that are sent and signed."""
        return json.dumps(self.body, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def post_all(requests: Sequence[Request], settings: Settings) -> list[Reply]:
    """The replies to some calls, made beside each other, in their order."""
    return beside(lambda request: post(request, settings), requests)


def post(request: Request, settings: Settings) -> Reply:
    """The reply to a call."""
    if request.to is None:
        return Reply(None, f"the settings say no address for {request.name}", is_hopeless=True)
    data = request.data
    if len(data) >= LONGEST_BODY:
        return Reply(None, f"it has {len(data):,} bytes, and may have {LONGEST_BODY:,}", is_hopeless=True)
    try:
        headers = _signed(request, data, settings)
    except DataError as problem:
        return Reply(None, str(problem))
    return exchange(server_of(request.to, settings), Call("POST", "", headers, data), request.at)


class Described(Protocol):
    """A server as any part of the settings describes one."""

    @property
    def url(self) -> str:
        """Where it is."""
        ...

    @property
    def ca(self) -> str | None:
        """The file of authorities to trust."""
        ...

    @property
    def tls_minimum(self) -> str:
        """The least version of TLS."""
        ...

    @property
    def internal(self) -> bool:
        """Whether it stands in a private network."""
        ...


def server_of(to: Described, settings: Settings) -> Server:
    """The server that settings describe."""
    return Server(to.url, None if to.ca is None else settings.path(to.ca), to.tls_minimum, to.internal)


def _signed(request: Request, data: bytes, settings: Settings) -> dict[str, str]:
    headers = {
        **request.headers,
        "content-type": "application/json",
        "user-agent": "journeylab",
        "webhook-id": request.webhook_id,
        "webhook-timestamp": str(int(request.at.timestamp())),
    }
    reference = request.to.secret if request.to is not None else None
    if reference is None:
        return headers
    from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

    try:
        webhook = Webhook(settings.secret(reference))
    except (ValueError, EmptyWebhookSecretError):  # what it does not understand may be the secret: it is not shown
        raise DataError(f"the secret {reference} is none of a webhook: it is `whsec_` and base 64") from None
    return headers | {"webhook-signature": webhook.sign(request.webhook_id, request.at, data.decode())}
