"""Other systems for the sender's tests: settings that name them, and what they were told."""

from __future__ import annotations

import json
from typing import Any

from pytest_httpserver import HTTPServer

from journeylab.sender.settings import Settings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def settings(**more: Any) -> Settings:
    """A shop's settings, and whatever else they are to say."""
    return Settings.model_validate(
        {
            "sender": "shop",
            "domain": "shop.example",
            "from": {"address": "hello@shop.example"},
            "list_id": "news.shop.example",
            "bounces": "bounces.shop.example",
            "public_url": "https://mail.shop.example",
            "relays": [{"name": "main", "host": "smtp.example"}],
        }
        | more
    )


def at(server: HTTPServer, path: str) -> dict[str, str]:
    """How settings name an address of a server."""
    return {"url": server.url_for(path), "secret": "env:OUTSIDE_SECRET"}


def told(server: HTTPServer, path: str | None = None) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """What a server was told: headers with small letters, and bodies."""
    return [
        ({name.lower(): value for name, value in request.headers.items()}, json.loads(request.data))
        for request, _ in server.log
        if path is None or request.path == path
    ]
