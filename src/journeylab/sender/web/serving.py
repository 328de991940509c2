"""Serving: the application with dashboard and metrics, behind uvicorn."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from journeylab.sender.audit.keeping import note_settings
from journeylab.sender.keys import Keys
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store

from .app import application
from .dashboard import dashboard_routes
from .metrics import Measured, Measures, metrics_routes

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["serve", "served"]


def served(store: Store, settings: Settings, keys: Keys) -> ASGIApp:
    """All that `journeylab serve` answers, for any ASGI server.

    Raises:
        DataError: when a secret that the settings name is missing.
    """
    measures = Measures(store, settings, time.monotonic)
    app = application(store, settings, keys)
    app.router.routes.extend([*dashboard_routes(store, settings), *metrics_routes(measures, settings)])
    return Measured(app, measures)


def serve(
    store: Store, settings: Settings, keys: Keys, *, host: str, port: int, proxies: str | None = None
) -> None:  # fmt: skip
    """Answers until it is stopped.

    Args:
        store: the sender's store.
        settings: the sender's settings.
        keys: the sender's keys.
        host: the address on which it listens.
        port: the port.
        proxies: the addresses of proxies whose `X-Forwarded-For` is believed, with commas; None where there are none.
    """
    import uvicorn

    note_settings(store, settings, keys, f"serve@{socket.gethostname()}")
    # Tokens stand in paths: no access log. Logs are those of the sender, set up by the caller.
    uvicorn.run(
        served(store, settings, keys), host=host, port=port, access_log=False, log_config=None, server_header=False,
        proxy_headers=proxies is not None, forwarded_allow_ips=proxies, timeout_graceful_shutdown=10,
    )  # fmt: skip
