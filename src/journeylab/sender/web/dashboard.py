"""The dashboard: one page without scripts that says what the sender does, and what needs a person, by whose command.

It names journeys, nodes and messages by their keys, never a contact. Who has the dashboard's secret may read it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import Connection, select
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from journeylab.language import formatted, from_english, instant_text, later, say, using
from journeylab.pages import template
from journeylab.sender.live.pulls import standing
from journeylab.sender.promotion.deviation import Deviation, counted_of, deviations
from journeylab.sender.promotion.forecast import Forecast
from journeylab.sender.promotion.releases import RunningRelease, pauses, running
from journeylab.sender.sending.alerts import open_alerts
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t

from . import figures
from .headers import security_headers
from .kept import Kept
from .opening import opened
from .site import language_for
from .words import Language, language_in

__all__ = ["Dashboard", "dashboard_routes"]

_FORECAST_FOR: Final = timedelta(minutes=5)
_MOST_FIGURES: Final = 40
_STATES: Final = tuple(state for state in t.STATES if state != "claimed")
"""The states that have a column; what is claimed is ready as far as people care."""
_CHART: Final = (720, 150)
_WORDS: Final = {
    "critical": later("critical"), "error": later("error"), "warning": later("warning"), "info": later("note"),
    "planned": later("planned"), "ready": later("ready"), "transmitting": later("transmitting"),
    "accepted": later("accepted"), "rejected": later("rejected"), "failed": later("failed"),
    "ambiguous": later("ambiguous"), "suppressed": later("suppressed"), "cancelled": later("cancelled"),
    "expired": later("expired"), "closed": later("works"), "half_open": later("is tried with one message"),
    "open": later("is left alone"),
}  # fmt: skip
"""What is said for severities of alerts, states of messages and states of relays."""


class Bar(NamedTuple):
    """An hour of the chart: its corner and size, its number and its name."""

    x: float
    y: float
    width: float
    height: float
    n: int
    hour: str


class Compared(NamedTuple):
    """A release beside its forecast, as of an instant."""

    journey: str
    version: str
    at: datetime
    rows: tuple[Deviation, ...]
    n_left_out: int


class Dashboard:
    """The page of a store, in either language.

    Args:
        store: the sender's store.
        settings: the sender's settings.
        clock: seconds that only ever grow; a page is kept for twenty times as long as it took to make.
    """

    def __init__(self, store: Store, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.store, self.settings = store, settings
        self.css = _text("dashboard.css")
        self.headers = security_headers(self.css, is_https=urlsplit(settings.public_url).scheme == "https")
        self._compared: dict[int, Compared] = {}
        self._kept = Kept(clock)

    def page(self, language: Language) -> str:
        """The page as HTML, as of the store's instant or of shortly before."""
        return self._kept.get(language, lambda: self._made(language))

    def _made(self, language: Language) -> str:
        with self.store.reading() as connection:
            now = self.store.now(connection)
            facts = self._facts(connection, now)
        with using(language):
            return template("dashboard.html.j2", "journeylab.sender.web").render(
                **facts,
                css=self.css,
                sender=self.settings.from_.name or self.settings.sender,
                staging=self.settings.staging,
                words=_WORDS,
                alert=from_english,
                state_names=tuple(say(_WORDS[state]) for state in _STATES),
                percent=percent_text,
                instant=lambda at: instant_text(at, is_long=True),
                ago=lambda at: say("{time} ago", time=length_text(max(now - at, timedelta(0)))),
                length=length_text,
            )

    def _facts(self, connection: Connection, now: datetime) -> dict[str, Any]:
        by_state = figures.sends_by_state(connection)
        found = running(connection)
        by_hour = figures.sends_by_hour(connection, now)
        took = sorted(one for some in figures.latencies(connection, now).values() for one in some)
        since = figures.oldest_ready(connection, now)
        return {
            "now": now,
            "alerts": open_alerts(connection),
            "releases": found,
            "paused": {one.journey: one for one in pauses(connection)},
            "states": _STATES,
            "sends": _table(by_state),
            "queue_age": None if since is None else now - since,
            "latency": (took[len(took) // 2], took[int(0.95 * (len(took) - 1))]) if took else None,
            "n_ambiguous": sum(n for (_, state), n in by_state.items() if state == "ambiguous"),
            "n_sent_today": sum(n for _, n in by_hour),
            "bars": _bars(by_hour),
            "chart": _CHART,
            "most": max(n for _, n in by_hour),
            "ambiguous": figures.ambiguous_sends(connection),
            "compared": [one for one in (self._compare(connection, one, now) for one in found) if one is not None],
            "seen": figures.seen_by_journey(connection, now),
            "outbox": figures.outbox_by_target(connection),
            "pulls": standing(connection, self.settings),
            "relays": self._relays(connection),
            "calls": _table(figures.calls_by_service(connection)),
            "workers": figures.workers_seen(connection, now),
        }

    def _relays(self, connection: Connection) -> list[tuple[str, str, datetime | None]]:
        known = {row.relay: row for row in connection.execute(select(t.relays))}
        names = [relay.name for relay in self.settings.relays]
        return [
            (name, known[name].state, known[name].try_at) if name in known else (name, "closed", None) for name in names
        ]

    def _compare(self, connection: Connection, release: RunningRelease, now: datetime) -> Compared | None:
        """A release beside its forecast, at most five minutes old: counting is not for every look."""
        if not release.has_forecast:
            return None
        known = self._compared.get(release.release_id)
        if known is None or now - known.at >= _FORECAST_FOR:
            of_release = select(t.releases.c.forecast).where(t.releases.c.release_id == release.release_id)
            forecast = Forecast.from_dict(connection.execute(of_release).scalar_one())
            table = deviations(forecast, counted_of(connection, release.release_id, now))
            rows = [Deviation(**row) for row in table.to_dict("records")]
            rows.sort(key=lambda row: (row.verdict != "outside", row.p_value))
            known = Compared(
                release.journey, release.version, now, tuple(rows[:_MOST_FIGURES]), len(rows[_MOST_FIGURES:])
            )
            self._compared[release.release_id] = known
        return known


def _table(counts: dict[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """The counts as rows by the first key; what is claimed is counted as ready."""
    found: dict[str, dict[str, int]] = {}
    for (name, state), n in sorted(counts.items()):
        row = found.setdefault(name, {})
        shown = "ready" if state == "claimed" else state
        row[shown] = row.get(shown, 0) + n
    return found


def _bars(by_hour: list[tuple[datetime, int]]) -> list[Bar]:
    width, height = _CHART
    step, most = width / len(by_hour), max(1, *(n for _, n in by_hour))
    bars = []
    for place, (at, n) in enumerate(by_hour):
        tall = max(height * n / most, 2.0 if n else 0.0)
        bars.append(
            Bar(round(place * step + 2, 1), round(height - tall, 1), round(step - 4, 1), round(tall, 1), n, f"{at:%H}")
        )
    return bars


def percent_text(share: float) -> str:
    r"""A share in percent; a dash where there is none.

    >>> percent_text(0.0523), percent_text(1.0), percent_text(float("nan")) == "\u2013"
    ('5.2 %', '100 %', True)
    """
    if math.isnan(share):
        return "\N{EN DASH}"
    return f"{formatted(100 * share, '.0f' if f'{100 * share:.1f}'.endswith('.0') else '.1f')} %"


def length_text(length: timedelta) -> str:
    """A length of time in its two largest units.

    >>> length_text(timedelta(hours=26, minutes=5)), length_text(timedelta(milliseconds=420))
    ('1 d 2 h', '0.4 s')
    """
    seconds = length.total_seconds()
    if seconds < 10:
        return say("{n} s", n=formatted(seconds, ".1f"))
    days, rest = divmod(round(seconds), 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, left = divmod(rest, 60)
    parts = [
        (days, say("{n} d", n=days)), (hours, say("{n} h", n=hours)), (minutes, say("{n} min", n=minutes)),
        (left, say("{n} s", n=left)),
    ]  # fmt: skip
    first = next(place for place, (n, _) in enumerate(parts) if n)
    return " ".join(text for n, text in parts[first : first + 2] if n)


def _text(name: str) -> str:
    return files("journeylab.sender.web").joinpath(f"templates/{name}").read_text(encoding="utf-8")


def dashboard_routes(
    store: Store, settings: Settings, clock: Callable[[], float] = time.monotonic
) -> list[BaseRoute]:  # fmt: skip
    """The route `/dashboard`, opened by the dashboard's secret; none where the settings have no such secret.

    Raises:
        DataError: when the secret is missing, or short enough to be guessed.
    """
    if settings.dashboard is None:
        return []
    dashboard = Dashboard(store, settings, clock)

    async def show(request: Request) -> Response:
        """GET: the page; `?lang=pl` or `?lang=en` choose its language."""
        language = language_in(request.query_params.get("lang")) or language_for(None, None, request)
        page = await run_in_threadpool(dashboard.page, language)
        return HTMLResponse(page, headers=dashboard.headers | {"Content-Language": language})

    return [Route("/dashboard", opened(settings, show, "GET /dashboard"), methods=["GET"])]
