"""The release monitor: what runs, its forecast beside what has come, and what stands still. It only reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd
from sqlalchemy import select

from journeylab.errors import DataError, known
from journeylab.language import formatted, from_english, later, plural, say, sentences_text, share_text
from journeylab.sender.promotion.deviation import Counts, counted_of, deviations
from journeylab.sender.promotion.forecast import Forecast
from journeylab.sender.promotion.standing import pauses, running
from journeylab.sender.store import tables as t
from journeylab.svgaxes import BLUE, ORANGE, Axes, Tick, drawn, pointed_at

from .controls import Again, Choice, Control
from .explorer import Explorer
from .views import SMALLEST, Picture, View

if TYPE_CHECKING:
    from journeylab.sender.store import Store

__all__ = ["ReleaseMonitor", "release_tables"]

_VERDICTS = {
    "too_few": later("too few yet"), "within": later("within the forecast"), "outside": later("outside the forecast"),
}  # fmt: skip
_SEVERITIES = {
    "critical": later("critical"), "error": later("error"), "warning": later("warning"), "info": later("info"),
}  # fmt: skip
_MOST_ROWS = 40
_NOTHING: Counts = {}


def release_tables(store: Store, release_id: int | None = None) -> dict[str, pd.DataFrame]:
    """What runs, what stands still, open alerts, and a release's forecast beside what has come.

    Args:
        store: a sender's database, which is only read.
        release_id: the release; by default the first of those that take entries.

    Returns:
        `runs`: `release_id`, `journey`, `version`, `share` (0..1, of contacts), `from_at` (UTC), `created_by`,
        `has_forecast`. `forecast`: a row for each watched share, as `Deviation` has it; empty without a forecast.
        `stops`: `journey`, `started_at` (UTC), `reason`, `started_by` of every pause that lasts, breakers' included.
        `alerts`: `cause`, `severity`, `text`, `started_at` (UTC) of those that are not resolved.

    Raises:
        DataError: when nothing takes entries under that number.
    """
    with store.reading() as connection:
        now = store.now(connection)
        found = running(connection)
        runs = pd.DataFrame(
            [(one.release_id, one.journey, one.version, one.share[1] - one.share[0], one.from_at, one.created_by,
              one.has_forecast) for one in found],
            columns=["release_id", "journey", "version", "share", "from_at", "created_by", "has_forecast"],
        )  # fmt: skip
        stops = pd.DataFrame(pauses(connection), columns=["journey", "started_at", "reason", "started_by"])
        names = ["cause", "severity", "text", "started_at"]
        open_ones = select(*(t.alerts.c[name] for name in names)).where(t.alerts.c.resolved_at.is_(None))
        alerts = pd.DataFrame(connection.execute(open_ones.order_by(t.alerts.c.alert_id)).all(), columns=names)
        there = [one.release_id for one in found]
        if release_id is None:
            release_id = there[0] if there else None
        elif release_id not in there:
            raise DataError(f"release {release_id}: {known(str(release_id), there, 'releases that take entries')}")
        expected, counts = Forecast("", "", 0.9, 0.0, ()), _NOTHING
        chosen = next((one for one in found if one.release_id == release_id), None)
        if chosen is not None and chosen.has_forecast:
            of = select(t.releases.c.forecast).where(t.releases.c.release_id == release_id)
            expected = Forecast.from_dict(connection.execute(of).scalar_one())
            counts = counted_of(connection, chosen.release_id, now)
    return {"runs": runs, "forecast": deviations(expected, counts), "stops": stops, "alerts": alerts}


class ReleaseMonitor(Explorer):
    """Shows the releases that take entries, the forecast of one beside what has come, and what stands still.

    Its values are the `release` (its number as text) and `again`, which counts how often it was looked at anew: the
    next one reads the database again. Its tables are `runs`, `forecast`, `stops` and `alerts`. It changes nothing and
    raises no alert.
    """

    def __init__(self, store: Store, *, language: str = "en") -> None:
        """Shows the first release that takes entries.

        Args:
            store: a sender's database.
            language: of the explorer, `en` or `pl`.

        Raises:
            DataError: when there is no such language.
        """
        self._store = store
        runs = release_tables(store)["runs"]
        super().__init__(
            {"release": str(runs["release_id"].iloc[0]) if len(runs) else "", "again": 0}, language=language
        )

    def title(self) -> str:
        return say("Releases")

    def controls(self, values: Mapping[str, Any]) -> Sequence[Control]:  # noqa: ARG002
        with self._store.reading() as connection:
            found = running(connection)
        options = [(str(one.release_id), f"{one.journey} {one.version} ({one.shown_share})") for one in found]
        return (
            Choice(name="release", label=say("Release"), options=options or [("", say("none takes entries"))]),
            Again(name="again", label=say("Look again")),
        )

    def look(self, values: Mapping[str, Any]) -> View:
        tables = release_tables(self._store, int(values["release"]) if values["release"] else None)
        forecast = tables["forecast"]
        return View(
            finding=_finding(tables),
            pictures=(_forecast_picture(forecast), *_lists(tables)),
            notes=[say("Intervals hold whenever one looks, for all shares of the release together.")],
            code=(
                "import journeylab as jl\n\n"
                f"tables = jl.explorers.release_tables(store, {values['release'] or None})\n"
                + "".join(f"{name} = tables[{name!r}]\n" for name in ("forecast", "runs", "stops", "alerts"))
            ),
        )


def _finding(tables: Mapping[str, pd.DataFrame]) -> str:
    n_outside = int((tables["forecast"]["verdict"] == "outside").sum())
    n = len(tables["forecast"])
    said = [plural("{n} release takes entries.", "{n} releases take entries.", len(tables["runs"]))]
    if n:
        said.append(
            plural(
                "{n} share is outside of its forecast, of {of}.",
                "{n} shares are outside of their forecast, of {of}.",
                n_outside,
                of=formatted(n),
            )
        )
    if len(tables["stops"]):
        said.append(plural("{n} journey stands still.", "{n} journeys stand still.", len(tables["stops"])))
    if len(tables["alerts"]):
        said.append(plural("{n} alert is open.", "{n} alerts are open.", len(tables["alerts"])))
    return sentences_text(said)


def _forecast_picture(forecast: pd.DataFrame) -> Picture:
    title = say("Forecast and reality")
    return Picture(
        name="forecast",
        title=title,
        svg="" if forecast.empty else _forecast_svg(forecast, title),
        table=forecast,
        heads={"node": say("Node"), "outcome": say("Outcome"), "n": say("Contacts"), "live_share": say("Share"),
               "low": say("from"), "high": say("to"), "forecast_share": say("Forecast"), "forecast_low": say("from"),
               "forecast_high": say("to"), "verdict": say("Verdict")},
        hides={"n": ["live_share", "low", "high"]},
        shares=["live_share", "low", "high", "forecast_share", "forecast_low", "forecast_high"],
        texts={"verdict": lambda one: say(_VERDICTS[one])},
        notes=_forecast_notes(forecast),
    )  # fmt: skip


def _forecast_notes(forecast: pd.DataFrame) -> list[str]:
    if forecast.empty:
        return [say("Without a forecast there is nothing to hold reality against.")]
    n_few = int((forecast["verdict"] == "too_few").sum())
    few = plural("{n} share has too few contacts to be told.", "{n} shares have too few contacts to be told.", n_few)
    return [few] if n_few else []


def _lists(tables: Mapping[str, pd.DataFrame]) -> list[Picture]:
    heads = {
        "journey": say("Journey"), "version": say("Version"), "share": say("Share"), "from_at": say("Since"),
        "created_by": say("By"), "started_at": say("Since"), "reason": say("Reason"), "started_by": say("By"),
        "cause": say("Cause"), "severity": say("Severity"), "text": say("Message"),
    }  # fmt: skip
    titles = {"runs": say("What runs"), "stops": say("What stands still"), "alerts": say("Open alerts")}
    return [
        Picture(
            name=name,
            title=title,
            svg="",
            table=tables[name],
            heads={column: heads[column] for column in tables[name].columns if column in heads},
            shares=["share"],
            texts={"severity": lambda one: say(_SEVERITIES[one]), "reason": from_english, "text": from_english},
        )
        for name, title in titles.items()
    ]


def _forecast_svg(forecast: pd.DataFrame, title: str) -> str:
    """The forecast of each share as a band, what has come as a dot with its interval; outside is orange and says so."""
    rows = [*forecast.head(_MOST_ROWS).itertuples()]
    labels = [f"{row.node}: {row.outcome}" for row in rows]
    left = min(300.0, 16 + 7.0 * max(len(one) for one in labels))
    axes = Axes((0, 1), (0, 1), left, 8, 720 - left - 40, 26.0 * len(rows))
    parts = list(axes.grid(say("share of contacts: forecast (band), and what has come (dot; triangle where outside)"),
                           [Tick(one, share_text(one)) for one in (0, 0.25, 0.5, 0.75, 1)], []))  # fmt: skip
    for place, (row, label) in enumerate(zip(rows, labels, strict=True)):
        y = axes.top + 26 * place + 13
        ends = [row.forecast_low, row.forecast_high, row.low, row.high]
        a, b, low, high = axes.places(ends, [0] * 4)[0]
        colour = ORANGE if row.verdict == "outside" else BLUE
        shape = (f'<rect x="{a:.1f}" y="{y - 8:.1f}" width="{max(2.0, b - a):.1f}" height="16" '
                 f'fill="currentColor" fill-opacity=".22"/>')  # fmt: skip
        if row.n >= SMALLEST:
            x = float(axes.places(row.live_share, 0)[0])
            mark = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'
            if row.verdict == "outside":
                mark = f'<path d="M{x:.1f} {y - 7:.1f}l7 12h-14z" fill="{colour}"/>'
            shape += f'<path d="M{low:.1f} {y:.1f}H{high:.1f}" stroke="{colour}" stroke-width="2.5"/>{mark}'
        parts.append(f'<text x="{left - 10:.0f}" y="{y + 4:.0f}" text-anchor="end">{escape(label)}</text>')
        parts.append(pointed_at(shape, f"{label}: {say(_VERDICTS[row.verdict])}"))
    return drawn(720, axes.top + axes.height + 44, title, parts)
