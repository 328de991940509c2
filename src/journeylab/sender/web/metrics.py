"""Metrics for Prometheus: what the store says when it is asked, and what this process has answered.

Names begin with `journeylab_`; labels are journeys, states, relays, services and routes, never contacts or messages.
What the store says is the same whichever process is asked, and kept for twenty times as long as it took to find out;
`journeylab_http_…` are of the one process that answers.

| metric | labels | what |
|---|---|---|
| `store_up` | | 1 where the store answered; without it there is nothing of the store |
| `sends` | journey, state | messages by state; `state="ambiguous"` are for a person |
| `send_latency_seconds` | journey, quantile | from when a message could go to its acceptance, of the last hour |
| `queue_age_seconds` | | how long the message that has waited longest could have gone |
| `relay_state` | relay, state | 1 for the state of the breaker |
| `outbox`, `outbox_age_seconds` | target, state | what other systems are still to be told |
| `calls` | service, state | outside calls |
| `open_rate`, `click_rate` | journey, by | of the messages of 7 days, by people and by machines only |
| `forecast_outside` | journey, version | nodes that are outside of their forecast |
| `left_out` | name | values that came in and were not kept, as no purpose declares them |
| `conflicts` | name, source | values of attributes that were not taken, as another source owns them |
| `pull_age_seconds` | connector, stream | how old what is known of a stream is: since its last complete pull began |
| `pull_failures`, `pull_refused` | connector, stream | faults in a row of a stream; rows of it that are refused |
| `attribute_age_seconds` | name, source | how long ago the owner of an attribute with `max_age` last spoke of it |
| `alerts` | severity | open alerts |
| `paused` | journey | 1 for a journey that stands still |
| `release_share` | journey, version | the share of contacts of whose entries a release takes |
| `worker_seen_seconds` | worker | how long ago a running worker said that it is there |
| `http_request_seconds` | route, method, status | a histogram of answers |
| `http_handled_share` | | the share of requests that were answered without a fault of ours (below 500) |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from journeylab.sender.live.pulls import standing
from journeylab.sender.logs import logger
from journeylab.sender.promotion.releases import pauses, running
from journeylab.sender.sending.alerts import SEVERITIES
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t

from . import figures
from .kept import Kept
from .opening import opened

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

__all__ = ["Measured", "Measures", "metrics_routes"]

_QUANTILES: Final = (0.5, 0.95, 0.99)
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS: Final = ("GET", "HEAD", "POST")
Gauge = Callable[..., "GaugeMetricFamily"]


class Measures:
    """The metrics of a process and of its store.

    Args:
        store: the sender's store.
        settings: name the relays.
        clock: seconds that only ever grow, such as `time.monotonic`.
    """

    def __init__(self, store: Store, settings: Settings, clock: Callable[[], float]) -> None:
        from prometheus_client import CollectorRegistry, Histogram

        self.clock = clock
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "journeylab_http_request_seconds",
            "Answers of this process, by how long they took",
            ("route", "method", "status"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._n_answered = self._n_handled = 0
        self.kept = Kept(clock)
        self.registry.register(_OfStore(store, settings, self))

    @property
    def handled_share(self) -> float:
        """The share of requests that were answered without a fault of ours; 1 where there were none."""
        return self._n_handled / self._n_answered if self._n_answered else 1.0

    def note(self, route: str, method: str, status: int, seconds: float) -> None:
        """Notes an answer."""
        self._n_answered += 1
        self._n_handled += status < 500
        method = method if method in _METHODS else "other"
        self._requests.labels(route, method, str(status)).observe(seconds)

    def text(self) -> bytes:
        """All metrics, as Prometheus reads them."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)


class _OfStore:
    """What the store says at the moment at which it is asked."""

    def __init__(self, store: Store, settings: Settings, measures: Measures) -> None:
        self.store, self.settings, self.measures = store, settings, measures

    def describe(self) -> Iterable[Any]:
        """Nothing, so that registering asks nothing of the store."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All of it, or where the store does not answer, that it does not."""
        from prometheus_client.core import GaugeMetricFamily

        def gauge(name: str, what: str, *labels: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"journeylab_{name}", what, labels=labels)

        handled = gauge("http_handled_share", "Share of this process's answers below 500")
        handled.add_metric([], self.measures.handled_share)
        up = gauge("store_up", "Whether the store answered")
        found: list[GaugeMetricFamily] = []
        try:
            found = self.measures.kept.get("store", lambda: self._asked(gauge))
        except SQLAlchemyError as problem:
            logger("metrics").warning("the store does not answer", problem=type(problem).__name__)
        up.add_metric([], bool(found))
        yield from (handled, up, *found)

    def _asked(self, gauge: Gauge) -> list[GaugeMetricFamily]:
        with self.store.reading() as connection:
            return [*_families(connection, self.settings, self.store.now(connection), gauge)]


def _families(
    connection: Connection, settings: Settings, now: datetime, gauge: Gauge
) -> Iterator[GaugeMetricFamily]:  # fmt: skip
    sends = gauge("sends", "Messages by state", "journey", "state")
    by_state = figures.sends_by_state(connection)
    for journey in sorted({journey for journey, _ in by_state}):
        for state in t.STATES:
            sends.add_metric([journey, state], by_state.get((journey, state), 0))
    yield sends
    yield from _times(connection, now, gauge)
    yield from _others(connection, settings, now, gauge)
    rates = {"open_rate": "Share of messages of 7 days that were opened", "click_rate": "The same, clicked"}
    families = {name: gauge(name, what, "journey", "by") for name, what in rates.items()}
    for journey, seen in figures.seen_by_journey(connection, now).items():
        families["open_rate"].add_metric([journey, "people"], seen.n_opened / seen.n_sent)
        families["open_rate"].add_metric([journey, "machines"], seen.n_opened_by_machines / seen.n_sent)
        families["click_rate"].add_metric([journey, "people"], seen.n_clicked / seen.n_sent)
        families["click_rate"].add_metric([journey, "machines"], seen.n_clicked_by_machines / seen.n_sent)
    yield from families.values()
    yield from _releases(connection, gauge)


def _times(connection: Connection, now: datetime, gauge: Gauge) -> Iterator[GaugeMetricFamily]:
    import numpy as np

    latency = gauge("send_latency_seconds", "From when messages could go to acceptance, 1 hour", "journey", "quantile")
    for journey, found in sorted(figures.latencies(connection, now).items()):
        for quantile in _QUANTILES:
            seconds = float(np.quantile([one.total_seconds() for one in found], quantile))
            latency.add_metric([journey, str(quantile)], seconds)
    yield latency
    age = gauge("queue_age_seconds", "How long the oldest waiting message could have gone")
    since = figures.oldest_ready(connection, now)
    age.add_metric([], (now - since).total_seconds() if since else 0.0)
    yield age
    workers = gauge("worker_seen_seconds", "How long ago a running worker was seen", "worker")
    for row in figures.workers_seen(connection, now):
        workers.add_metric([row.worker], (now - row.seen_at).total_seconds())
    yield workers


def _others(
    connection: Connection, settings: Settings, now: datetime, gauge: Gauge
) -> Iterator[GaugeMetricFamily]:  # fmt: skip
    states = {row.relay: row.state for row in connection.execute(select(t.relays))}
    relays = gauge("relay_state", "State of the relay's circuit breaker", "relay", "state")
    for name in (relay.name for relay in settings.relays):
        for state in ("closed", "half_open", "open"):
            relays.add_metric([name, state], states.get(name, "closed") == state)
    yield relays
    outbox = gauge("outbox", "What other systems are still to be told", "target", "state")
    age = gauge("outbox_age_seconds", "How long the oldest of it has waited", "target")
    for target, one in figures.outbox_by_target(connection).items():
        for state, n in (("waiting", one.n_waiting - one.n_failing), ("failing", one.n_failing), ("dead", one.n_dead)):
            outbox.add_metric([target, state], n)
        age.add_metric([target], (now - one.oldest_at).total_seconds() if one.oldest_at else 0.0)
    yield from (outbox, age)
    calls = gauge("calls", "Outside calls by state", "service", "state")
    for (service, state), n in sorted(figures.calls_by_service(connection).items()):
        calls.add_metric([service, state], n)
    yield calls
    left_out = gauge("left_out", "Values that came in and no purpose declares", "name")
    for row in connection.execute(select(t.left_out).order_by(t.left_out.c.name)):
        left_out.add_metric([row.name], row.n_values)
    yield left_out
    yield from _sources(connection, settings, now, gauge)


def _sources(connection: Connection, settings: Settings, now: datetime, gauge: Gauge) -> Iterator[GaugeMetricFamily]:
    """What comes from other systems, and how old it is."""
    conflicts = gauge("conflicts", "Values of attributes that another source owns, not taken", "name", "source")
    for row in connection.execute(select(t.conflicts).order_by(t.conflicts.c.name, t.conflicts.c.source)):
        conflicts.add_metric([row.name, row.source], row.n_values)
    yield conflicts
    age = gauge("pull_age_seconds", "Since the last complete pull of a stream began", "connector", "stream")
    failures = gauge("pull_failures", "Faults in a row of a stream", "connector", "stream")
    refused = gauge("pull_refused", "Rows of a stream that are refused", "connector", "stream")
    for one in standing(connection, settings):
        labels = [one.connector, one.stream]
        if one.complete_at is not None:
            age.add_metric(labels, (now - one.complete_at).total_seconds())
        failures.add_metric(labels, one.attempts)
        refused.add_metric(labels, one.n_refused)
    yield from (age, failures, refused)
    ages = gauge("attribute_age_seconds", "Since an attribute's owner last spoke of it", "name", "source")
    for (name, source), at in figures.spoken_of(connection, settings).items():
        ages.add_metric([name, source], (now - at).total_seconds())
    yield ages


def _releases(connection: Connection, gauge: Gauge) -> Iterator[GaugeMetricFamily]:
    is_open = t.alerts.c.resolved_at.is_(None)
    severities = select(t.alerts.c.severity, func.count()).where(is_open).group_by(t.alerts.c.severity)
    n_open = {row[0]: row[1] for row in connection.execute(severities)}
    alerts = gauge("alerts", "Open alerts", "severity")
    for severity in SEVERITIES:
        alerts.add_metric([severity], n_open.get(severity, 0))
    yield alerts
    share = gauge("release_share", "Share of contacts of whom a release takes entries", "journey", "version")
    outside = gauge("forecast_outside", "Nodes that are outside of their forecast", "journey", "version")
    causes = [*connection.scalars(select(t.alerts.c.cause).where(is_open))]
    paused = {one.journey for one in pauses(connection)}
    found = running(connection)
    for one in found:
        share.add_metric([one.journey, one.version], one.share[1] - one.share[0])
        n_outside = sum(cause.startswith(f"forecast:{one.journey}:{one.version}:") for cause in causes)
        outside.add_metric([one.journey, one.version], n_outside)
    yield from (share, outside)
    stand = gauge("paused", "Whether a journey stands still", "journey")
    for journey in sorted({one.journey for one in found} | paused):
        stand.add_metric([journey], journey in paused)
    yield stand


class Measured:
    """Notes how long each answer takes, by the route that it came from: paths have tokens in them."""

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self.app, self.measures = app, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers as the application does."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, start = 500, self.measures.clock()

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_on)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.measures.note(route, scope["method"], status, self.measures.clock() - start)


def metrics_routes(measures: Measures, settings: Settings) -> list[BaseRoute]:
    """The route `/metrics`, opened by the dashboard's secret; none where the settings have no such secret."""

    async def metrics(_: Request) -> Response:
        """GET: all metrics."""
        from prometheus_client import CONTENT_TYPE_LATEST

        text = await run_in_threadpool(measures.text)
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [Route("/metrics", opened(settings, metrics, "GET /metrics"), methods=["GET"])] if settings.dashboard else []
