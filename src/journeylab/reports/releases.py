"""The report of a release: what has come of it since, beside what was forecast."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd
from sqlalchemy import select

from journeylab.disclosure import Cells, cells, with_estimates
from journeylab.errors import DataError, known
from journeylab.journeytext import plain_text
from journeylab.language import date_text, formatted, later, plural, say
from journeylab.sender.promotion.deviation import counted_of, deviations
from journeylab.sender.promotion.forecast import Forecast
from journeylab.sender.promotion.standing import frozen_release, releases
from journeylab.sender.store import tables as t

from .asking import Asking, joined, reading
from .flows import (
    HIDDEN,
    Flow,
    branch_part,
    conversion_part,
    counts_text,
    drawn,
    entered,
    entered_figure,
    number_text,
    outcome_part,
    percent,
    share_of,
    week_part,
    zone_of,
)  # fmt: skip
from .page import Figure, Part, Report, Row

if TYPE_CHECKING:
    from journeylab.disclosure import Disclosed
    from journeylab.journey import Journey
    from journeylab.sender.store import Store

__all__ = ["Released", "release_report", "released"]

_STATES = {
    "accepted": "sent", "rejected": "failed", "failed": "failed", "ambiguous": "failed", "suppressed": "held_back",
    "cancelled": "held_back", "expired": "held_back",
}  # fmt: skip
_WORDS = {
    "sent": later("sent"), "failed": later("failed"), "held_back": later("held back"), "waiting": later("waiting"),
}  # fmt: skip
_VERDICTS = {
    "too_few": later("too few yet"), "within": later("within the forecast"), "outside": later("outside the forecast"),
}  # fmt: skip


@dataclass(frozen=True, repr=False)
class Released:
    """What has come of a release: `released` reads it from a sender's database.

    Attributes:
        journey: the journey as it was released.
        release_id: its number.
        released_at: when it was promoted (UTC).
        visits, entries: frames as those of a replay, of this version.
        sends: `contact`, `message`, `state`, `planned_at` (UTC).
        forecast: what was forecast; empty without a forecast.
        deviations: the forecast beside what has come; see `sender.promotion.deviation`.
        until: up to when it is known (UTC).
    """

    journey: Journey
    release_id: int
    released_at: datetime
    visits: pd.DataFrame
    entries: pd.DataFrame
    sends: pd.DataFrame
    forecast: Forecast
    deviations: pd.DataFrame
    until: datetime

    def __repr__(self) -> str:
        return f"Released({self.journey.journey} {self.journey.version}, release {self.release_id})"


def released(store: Store, journey: str, *, release_id: int | None = None) -> Released:
    """What has come of a journey's release, without anything personal but contacts' ids.

    Args:
        store: the sender's database; no key ring is needed.
        journey: the journey's name.
        release_id: which release; by default the newest.

    Raises:
        DataError: when there is no such release.
    """
    with store.reading() as connection:
        now = store.now(connection)
        found = releases(connection, journey)
        if not found:
            there = sorted({row.journey for row in releases(connection)})
            raise DataError(f"no release of {journey!r}; {known(journey, there, 'journeys')}")
        numbers = [row.release_id for row in found]
        if release_id is not None and release_id not in numbers:
            raise DataError(f"release {release_id} of {journey}: {known(str(release_id), numbers, 'releases')}")
        row = found[0] if release_id is None else found[numbers.index(release_id)]
        frozen = frozen_release(connection, row.release_id)
        forecast = Forecast("", "", 0.9, 0.0, ())
        if "without" not in frozen.forecast:
            forecast = Forecast.from_dict(frozen.forecast)
        gaps = deviations(forecast, counted_of(connection, row.release_id, now) if forecast.expected else {})

        def frame(table: Any, names: tuple[str, ...], at: tuple[str, ...], where: Any) -> pd.DataFrame:
            rows = connection.execute(select(*(table.c[name] for name in names)).where(where)).all()
            made = pd.DataFrame(rows, columns=list(names))
            return made.assign(**{name: pd.to_datetime(made[name], utc=True) for name in at})

        def mine(table: Any) -> Any:
            return (table.c.journey == journey) & (table.c.version == row.version)

        return Released(
            frozen.journey, row.release_id, row.created_at,
            frame(t.visits, ("contact", "entry", "node", "visit", "arrived_at", "left_at", "branch"),
                  ("arrived_at", "left_at"), mine(t.visits)),
            frame(t.entries, ("contact", "entry", "entered_at", "left_at", "exit", "converted", "held_out"),
                  ("entered_at", "left_at"), mine(t.entries)),
            frame(t.sends, ("contact", "message", "state", "planned_at"), ("planned_at",),
                  t.sends.c.release_id == row.release_id),
            forecast, gaps, now,
        )  # fmt: skip


def release_report(found: Released, asking: Asking) -> Report:
    """The report of a release, up to the last midnight."""
    journey = found.journey
    zone = zone_of(journey)
    if found.entries.empty:
        raise DataError(f"nobody has entered release {found.release_id} of {journey.journey} yet; report later")
    since, until = asking.period(found.entries["entered_at"].min().to_pydatetime(), found.until, zone)
    flow = Flow(journey, found.visits, found.entries, since, until)
    sends = found.sends[(found.sends["planned_at"] >= since) & (found.sends["planned_at"] < until)]
    of = f"release {found.release_id} of {journey.journey} {journey.version}"
    shown = asking.disclosed([*flow.tables(), *_messages(sends)], of, (since, until), zone, found.until)
    tables = dict(shown.tables)
    said = found.deviations.rename(columns={"outcome": "branch"})
    shares = ["forecast_share", "forecast_low", "forecast_high"]
    for name, kind, on in (("branches", "branch", ["node", "branch"]), ("exits", "exit", ["exit"])):
        if name in tables:
            mine = said[said["kind"] == kind].rename(columns={} if kind == "branch" else {"branch": "exit"})
            mine = mine.astype(dict.fromkeys([*on, "verdict"], object))
            tables[name] = with_estimates(tables[name], mine, on=on, shares=shares, words=["verdict"])
    goals = [one.event for one in journey.exit_when if one.goal]
    verdicts = _verdicts(tables)
    has_forecast = bool(found.forecast.expected)
    return Report(
        of="release",
        title=asking.title or journey.title or journey.journey,
        language=asking.language,
        data=asking.data,
        asked=[
            say("What has come of this journey since it was released on {date} (version {version})?",
                date=date_text(found.released_at), version=journey.version),
        ],
        answer=joined(_answer(shown, goals, verdicts, has_forecast=has_forecast)),
        figures=[
            entered_figure(shown),
            *([Figure(formatted(verdicts.get("outside", 0)), say("shares outside of the forecast"))]
              if has_forecast else []),
        ],
        drawing=drawn(journey, tables.get("branches"), counts_text),
        parts=[*_parts(tables, goals, has_forecast=has_forecast)],
        basis=[
            say("Observed: everything; it is what the sender decided and sent."),
            say("Predicted: the forecast alone, made before the release.") if has_forecast
            else say("Predicted: nothing; it was released without a forecast."),
            say("Assumed: nothing."),
        ],
        unknown=[
            say("What contacts would have done without the journey; only a holdout tells."),
            say("What becomes of those who are still inside."),
            *([say("What few did: such numbers are hidden here, and known to those who run the sender.")]
              if shown.n_hidden else []),
        ],
        next_steps=[*_next_steps(verdicts, has_forecast=has_forecast)],
        reading=reading(
            shown,
            *([say("A share is outside of its forecast where that cannot be chance, however often one has looked.")]
              if has_forecast else []),
        ),
        definition=plain_text(journey),
        disclosed=shown,
        tables=tables,
    )  # fmt: skip


def _messages(sends: pd.DataFrame) -> Iterator[Cells]:
    """`messages`: what became of each message, by contact."""
    if sends.empty:
        return
    rows = sends.assign(became=sends["state"].map(_STATES).fillna("waiting"))
    levels = {"message": sorted(rows["message"].unique()), "became": list(_WORDS)}
    yield cells(rows, table="messages", by=["message", "became"], within=["message"], at="planned_at", levels=levels)


def _verdicts(tables: dict[str, pd.DataFrame]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in ("branches", "exits"):
        if name in tables:
            for verdict, n in tables[name]["verdict"].value_counts().items():
                found[str(verdict)] = found.get(str(verdict), 0) + int(n)
    return found


def _answer(shown: Disclosed, goals: list[str], verdicts: dict[str, int], *, has_forecast: bool) -> Iterator[str]:
    n = entered(shown)
    if pd.isna(n):
        yield say("How many contacts entered may not be shown: too few did.")
        return
    yield say("About {n} contacts have entered.", n=formatted(int(n)))  # type: ignore[call-overload]
    exits = shown.tables.get("exits")
    reached = None if exits is None else exits[exits["exit"].str.startswith("goal:") & exits["n_contacts"].notna()]
    if reached is not None and len(reached):
        row = reached.iloc[0]
        share, interval, _ = share_of(row["n_contacts"], row["n_within"])
        yield say("{share} of them ({interval}) have reached {goals}.", share=share, interval=interval,
                  goals=say(" or ").join(goals))  # fmt: skip
    if not has_forecast:
        yield say("It was released without a forecast, so there is nothing to hold that against.")
    elif outside := verdicts.get("outside", 0):
        yield plural("{n} share that may be shown lies outside of its forecast.",
                     "{n} shares that may be shown lie outside of their forecasts.", outside)  # fmt: skip
    elif verdicts.get("within", 0):
        yield say("All shares that may be shown lie within their forecasts, or are of too few yet.")
    else:
        yield say("Too few have come yet to hold them against the forecast.")


def _parts(tables: dict[str, pd.DataFrame], goals: list[str], *, has_forecast: bool) -> Iterator[Part]:
    more = {
        say("forecast"): lambda row: percent(row["forecast_share"]),
        say("between"): lambda row: "" if pd.isna(row["forecast_low"]) else say(
            "{low} to {high}", low=percent(row["forecast_low"]), high=percent(row["forecast_high"])
        ),
        say("verdict"): lambda row: say(_VERDICTS[row["verdict"]]) if isinstance(row["verdict"], str) else HIDDEN,
    } if has_forecast else {}  # fmt: skip
    if "branches" in tables:
        yield branch_part(tables["branches"], more=more)
    if "exits" in tables:
        yield outcome_part(tables["exits"], goals, more=more)
    if "conversions" in tables:
        yield conversion_part(tables["conversions"], goals)
    if "messages" in tables:
        rows, before = [], None
        for _, row in tables["messages"].iterrows():
            share, _, bar = share_of(row["n_contacts"], row["n_within"])
            first = row["message"] if row["message"] != before else ""
            before = row["message"]
            word = _WORDS[row["became"]]
            rows.append(Row((first, say(word), number_text(row["n_contacts"]), share), bar))
        yield Part(
            say("What became of the messages"), "observed", "",
            head=[say("message"), say("what became of it"), say("contacts"), say("share")], rows=rows,
        )  # fmt: skip
    if "weeks" in tables:
        yield week_part(tables["weeks"])


def _next_steps(verdicts: dict[str, int], *, has_forecast: bool) -> Iterator[str]:
    if verdicts.get("outside", 0):
        yield say(
            "Find out what is different from the time that the forecast was learned from; pause the journey if it "
            "harms (`release pause`)."
        )
    elif has_forecast:
        yield say("Go on, and look again in a week.")
    else:
        yield say("Give the next release a forecast (`journeylab promote --forecast`).")
    yield say("Hold back a share of contacts (`holdout: 5%`) to learn what the journey causes.")
