"""Serving: the application with dashboard and metrics, behind uvicorn."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any, Final

from journeylab.sender.audit.keeping import note_settings
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store

from .app import application
from .dashboard import dashboard_routes
from .metrics import Measured, Measures, metrics_routes

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["MOST_AT_ONCE", "impatient", "serve", "served"]

MOST_AT_ONCE: Final = 1000
"""How many connections there may be; more are answered by 503, so that they do not take all that the machine has."""
_PATIENCE: Final = 15.0


def served(store: Store, settings: Settings) -> ASGIApp:
    """All that `journeylab serve` answers, for any ASGI server.

    Raises:
        DataError: when a secret that the settings name is missing.
    """
    measures = Measures(store, settings, time.monotonic)
    app = application(store, settings)
    app.router.routes.extend([*dashboard_routes(store, settings), *metrics_routes(measures, settings)])
    return Measured(app, measures)


def serve(
    store: Store, settings: Settings, *, host: str, port: int, proxies: str | None = None
) -> None:  # fmt: skip
    """Answers until it is stopped.

    Args:
        store: the sender's store.
        settings: the sender's settings.
        host: the address on which it listens.
        port: the port.
        proxies: the addresses of proxies whose `X-Forwarded-For` is believed, with commas; None where there are none.
    """
    import uvicorn

    note_settings(store, settings, f"serve@{socket.gethostname()}")
    # Tokens stand in paths: no access log. Logs are those of the sender, set up by the caller.
    uvicorn.run(
        served(store, settings), host=host, port=port, access_log=False, log_config=None, server_header=False,
        proxy_headers=proxies is not None, forwarded_allow_ips=proxies, timeout_graceful_shutdown=10,
        http=impatient(), ws="none", limit_concurrency=MOST_AT_ONCE,
    )  # fmt: skip


def impatient(seconds: float = _PATIENCE) -> type[Any]:
    """HTTP as uvicorn speaks it, but for those who take longer than so many seconds to say what they ask for.

    Without it whoever sends a header a letter at a time holds a connection for as long as they like.
    """
    from asyncio import TimerHandle, Transport

    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Impatient(H11Protocol):
        _late: TimerHandle | None = None

        def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._forget()

        def _watch(self) -> None:
            cycle: Any = self.cycle  # None before the first request, whatever its type says
            if cycle is not None and not cycle.response_complete:
                self._forget()  # it is answered; its body has a limit of its own
            elif self._late is None:
                self._late = self.loop.call_later(seconds, self.transport.close)

        def _forget(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return Impatient
