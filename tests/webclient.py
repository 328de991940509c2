"""A client for the sender's pages and webhooks, straight to the application or to a server on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from standardwebhooks import Webhook
from starlette.applications import Starlette

from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.web.app import application

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def settings_for(folder: Path, **more: Any) -> Settings:
    """Settings of a shop; the secret of its webhooks lies in the folder."""
    (folder / "webhook.secret").write_text(SECRET)
    given = {
        "sender": "shop",
        "domain": "shop.example",
        "from": {"name": "Our Shop", "address": "hello@shop.example"},
        "list_id": "news.shop.example",
        "bounces": "bounces.shop.example",
        "public_url": "https://mail.shop.example",
        "relays": [{"host": "127.0.0.1", "tls": "none"}],
        "webhook_secret": "file:webhook.secret",
        "tracking": {"opens": True, "clicks": True},
        "basis": {"orders": "contract"},
        "purposes": {
            "marketing": {"title": {"en": "News and offers", "pl": "Nowości i oferty"}},
            "surveys": {
                "title": {"en": "Surveys", "pl": "Ankiety"},
                "wording": {"en": "You may ask me what I think.", "pl": "Możecie mnie pytać o zdanie."},
            },
            "orders": {"title": {"en": "Your orders", "pl": "Twoje zamówienia"}},
        },
    } | more
    return Settings.model_validate(given).model_copy(update={"folder": folder})


class Client:
    """Asks an application as one reader does, from one address."""

    def __init__(self, app: Starlette, ip: str = "192.0.2.77") -> None:
        self.app, self.ip = app, ip

    def __call__(self, method: str, path: str, **given: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=(self.ip, 40000), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="https://mail.shop.example") as client:
                return await client.request(method, path, **given)

        return asyncio.run(asked())

    def signed(self, path: str, body: Any, webhook_id: str = "msg_1", **more: Any) -> httpx.Response:
        """The answer to a webhook as other systems send it."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self("POST", path, content=raw, headers=signature(raw, webhook_id), **more)


def signature(raw: bytes, webhook_id: str = "msg_1", at: datetime | None = None) -> dict[str, str]:
    """The headers of a signed webhook, by the library's own signer."""
    at = at or datetime.now(UTC)
    signed = Webhook(SECRET).sign(webhook_id, at, raw.decode())
    return {"webhook-id": webhook_id, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signed}


def app_for(store: Store, folder: Path, clock: Any = lambda: 0.0, **settings: Any) -> Starlette:
    return application(store, settings_for(folder, **settings), clock=clock)


@contextmanager
def served(app: Starlette, port: int = 0) -> Iterator[str]:
    """The address of a server on loopback that runs the application."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, access_log=False, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    ready = threading.Event()
    for _ in range(200):
        if server.started:
            break
        ready.wait(0.05)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
