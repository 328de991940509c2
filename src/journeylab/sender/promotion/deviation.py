"""Whether what contacts do leaves the forecast of their release: a test that may be looked at at any time.

Each share is held against its forecast interval [a, b] by two bets, one that it lies above b and one that it lies below
a. A bet's stake is what a mixture of shares on its side would have earned over the edge of the interval, contact by
contact; as long as every contact's chance lies in [a, b], neither can be expected to grow, however often one looks and
whenever one stops (Ville's inequality). So an alarm is false in at most 5 % of releases, over their whole lives, for
all their shares together. The bets need no approximation and no least number.

Robbins, H. (1970). Statistical methods related to the law of the iterated logarithm. Annals of Mathematical Statistics
41, 1397-1409; Howard, S. R., Ramdas, A., McAuliffe, J. and Sekhon, J. (2021). Time-uniform, nonparametric,
nonasymptotic confidence sequences. Annals of Statistics 49, 1055-1080 (the beta-binomial mixture).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from sqlalchemy import Connection, and_, func, or_, select

from journeylab.durations import parse_duration
from journeylab.errors import DataError
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import member

from .forecast import EXITS, WITHIN, Expected, Forecast

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

__all__ = ["ALPHA", "Counts", "Deviation", "compare", "counted_of", "deviations", "live_interval", "log_evidence"]

ALPHA: Final = 0.05
"""The chance that any share of a release is ever said to be outside although all are within."""
_STRENGTH: Final = 40.0
"""How many contacts' worth the mixture weighs at the interval's edge: it is most sensitive after some times as many."""
_WIDEST: Final = 0.2
"""How wide the interval of a live share may be for it to be said that it is within the forecast."""

Verdict = Literal["too_few", "within", "outside"]
Counts = Mapping[tuple[str, str], Mapping[str | None, int]]
"""By kind and node (responses: MESSAGE/KIND), how many contacts ended in each outcome; under None in none of them."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """A live share beside its forecast.

    Attributes:
        kind, node, outcome: as in `forecast.Expected`.
        n: how many contacts it is a share of.
        n_taken: how many of them had the outcome.
        live_share: missing (NaN) where there is none yet.
        low, high: where the live share lies, whenever one looks, for all shares of the release together.
        forecast_share, forecast_low, forecast_high: the forecast.
        p_value: always valid, of this one share.
        verdict: `too_few` where neither could be told yet, `within`, or `outside`.
        sentence: the same for a person.
    """

    kind: str
    node: str
    outcome: str
    n: int
    n_taken: int
    live_share: float
    low: float
    high: float
    forecast_share: float
    forecast_low: float
    forecast_high: float
    p_value: float
    verdict: Verdict
    sentence: str


def log_evidence(n_taken: ArrayLike, n: ArrayLike, edge: float, side: Literal["above", "below"]) -> NDArray[np.float64]:
    """The logarithm of the evidence that a share lies above (or below) an edge, after `n_taken` of `n`.

    It is that of a beta mixture around the edge, cut off there, against the edge itself; its expectation stays at most
    1 while every single chance is at most (at least) the edge.

    Args:
        n_taken: how many had the outcome.
        n: how many could have had it.
        edge: 0..1.
        side: where the share is looked for.

    >>> float(log_evidence(60, 100, 0.5, "above").round(2)), float(log_evidence(60, 100, 0.5, "below").round(2))
    (1.46, -1.6)
    """
    from scipy.special import betaln

    taken, of = np.asarray(n_taken, float), np.asarray(n, float)
    if side == "below":
        return log_evidence(of - taken, of, 1 - edge, "above")
    if edge >= 1:
        return np.zeros(np.broadcast(taken, of).shape)
    if edge <= 0:
        return np.where(taken > 0, np.inf, 0.0)
    a, b = _STRENGTH * edge, _STRENGTH * (1 - edge)
    gained = betaln(a + taken, b + of - taken) + _log_tail(a + taken, b + of - taken, edge)
    start = betaln(a, b) + _log_tail(a, b, edge)
    found: NDArray[np.float64] = gained - start - taken * np.log(edge) - (of - taken) * np.log1p(-edge)
    return found


def _log_tail(a: ArrayLike, b: ArrayLike, edge: float) -> NDArray[np.float64]:
    """The logarithm of the part of a beta distribution above an edge; -inf where that is nothing."""
    from scipy.special import betaincc

    with np.errstate(divide="ignore"):
        found: NDArray[np.float64] = np.log(betaincc(a, b, edge))
    return found


def live_interval(n_taken: int, n: int, alpha: float) -> tuple[float, float]:
    """Where a live share lies, whenever one looks: the edges against which neither bet has reached 2 / alpha.

    >>> [round(end, 3) for end in live_interval(60, 100, 0.05)]
    [0.441, 0.745]
    """
    if not n:
        return 0.0, 1.0
    below = _least_edge(n_taken, n, alpha)
    return below, 1 - _least_edge(n - n_taken, n, alpha)


def _least_edge(n_taken: int, n: int, alpha: float) -> float:
    """The least edge above which the share is not known to lie."""
    limit = np.log(2 / alpha)
    low, high = 0.0, n_taken / n
    for _ in range(50):
        middle = (low + high) / 2
        if log_evidence(n_taken, n, middle, "above") >= limit:
            low = middle
        else:
            high = middle
    return low


def _deviation(expected: Expected, n_taken: int, n: int, alpha: float) -> Deviation:
    evidence = max(
        float(log_evidence(n_taken, n, expected.high, "above")), float(log_evidence(n_taken, n, expected.low, "below"))
    )
    p_value = float(min(1.0, 2 * np.exp(-evidence)))
    low, high = live_interval(n_taken, n, alpha)
    share = n_taken / n if n else np.nan
    verdict: Verdict = "outside" if p_value <= alpha else "too_few" if high - low > _WIDEST else "within"
    return Deviation(
        expected.kind, expected.node, expected.outcome, n, n_taken, share, low, high, expected.share, expected.low,
        expected.high, p_value, verdict, _sentence(expected, share, low, high, n, verdict),
    )  # fmt: skip


def _sentence(expected: Expected, share: float, low: float, high: float, n: int, verdict: Verdict) -> str:
    what = {
        "branch": f"{expected.node}: {expected.outcome}",
        "exit": f"entries that end with {expected.outcome}",
        "response": f"{expected.node}: {expected.outcome} within {WITHIN}",
    }[expected.kind]
    forecast = f"{expected.low:.1%} to {expected.high:.1%}"
    if expected.low == expected.high:
        forecast = f"{expected.share:.1%}"
    if not n:
        return f"{what}: no contact yet; forecast {forecast}."
    live = f"{share:.1%} of {n:,} contacts ({low:.1%} to {high:.1%})"
    said = {
        "too_few": f"too few yet to tell; forecast {forecast}",
        "within": f"in accordance with the forecast of {forecast}",
        "outside": f"outside of the forecast of {forecast}",
    }[verdict]
    return f"{what}: {live}, {said}."


def _counted_under(expected: Expected) -> str:
    """The name under which a figure is counted: opens and clicks of a message do not exclude each other."""
    return f"{expected.node}/{expected.outcome}" if expected.kind == "response" else expected.node


def deviations(forecast: Forecast, counts: Counts, *, alpha: float = ALPHA) -> pd.DataFrame:
    """The live shares beside their forecast, a row for each that is watched, with the attributes of `Deviation`.

    The figures of a release share `alpha` evenly (Bonferroni), so that the chance of any false alarm in its whole life
    is at most `alpha`: with every look, and however the shares depend on each other. Each contact must be counted once
    for each node, in the order in which contacts arrived, none left out in between.

    Args:
        forecast: what was expected.
        counts: what has come.
        alpha: the chance of a false alarm.
    """
    import pandas as pd

    rows = []
    for one in forecast.expected:
        mine = counts.get((one.kind, _counted_under(one)), {})
        rows.append(_deviation(one, mine.get(one.outcome, 0), sum(mine.values()), alpha / len(forecast.expected)))
    return pd.DataFrame([asdict(row) for row in rows], columns=[*Deviation.__dataclass_fields__])


# What has come, by the store


def counted_of(connection: Connection, release_id: int, now: datetime) -> Counts:
    """What the contacts of a release have done, as `deviations` takes it; canary and full together.

    A contact's first entry into the release counts, and its first visit of each node. Visits are counted in the order
    of their arrival up to the first that is still open, and entries likewise: what ends soon is not counted before what
    ends late. Sends are counted after 7 days. Where two releases differ in messages alone, and take entries at one
    time, entries of both count for both.

    Args:
        connection: a transaction that reads.
        release_id: the release.
        now: the store's instant.

    Raises:
        DataError: when there is no such release.
    """
    of = select(t.releases.c.journey, t.releases.c.version).where(t.releases.c.release_id == release_id)
    release = connection.execute(of).one_or_none()
    if release is None:
        raise DataError(f"there is no release {release_id}; `journeylab release list` shows all")
    spans = [*connection.execute(select(t.spans).where(t.spans.c.release_id == release_id))]
    counts: dict[tuple[str, str], dict[str | None, int]] = {}
    if not spans:
        return counts
    within = or_(
        *(
            and_(t.entries.c.entered_at >= span.from_at, t.entries.c.entered_at < (span.until_at or now))
            for span in spans
        )
    )
    mine = (t.entries.c.journey == release.journey) & (t.entries.c.version == release.version) & within
    first = select(t.entries.c.contact, func.min(t.entries.c.entry).label("entry")).where(mine)
    first_entries = first.group_by(t.entries.c.contact).subquery()
    entered = and_(t.entries.c.contact == first_entries.c.contact, t.entries.c.entry == first_entries.c.entry)
    entries = (
        select(t.entries.c.entered_at, t.entries.c.left_at, t.entries.c.exit)
        .join(first_entries, entered)
        .where(t.entries.c.journey == release.journey)
        .subquery()
    )
    still = select(func.min(entries.c.entered_at)).where(entries.c.left_at.is_(None)).scalar_subquery()
    done = select(entries.c.exit, func.count()).where(still.is_(None) | (entries.c.entered_at < still))
    counts["exit", EXITS] = {row[0]: row[1] for row in connection.execute(done.group_by(entries.c.exit))}
    visited = and_(t.visits.c.contact == first_entries.c.contact, t.visits.c.entry == first_entries.c.entry)
    visits = (
        select(t.visits.c.node, t.visits.c.arrived_at, t.visits.c.left_at, t.visits.c.branch)
        .join(first_entries, visited)
        .where((t.visits.c.journey == release.journey) & (t.visits.c.visit == 1))
        .subquery()
    )
    open_ = select(visits.c.node, func.min(visits.c.arrived_at).label("at")).where(visits.c.left_at.is_(None))
    first_open = open_.group_by(visits.c.node).subquery()
    closed = (
        select(visits.c.node, visits.c.branch, func.count())
        .outerjoin(first_open, visits.c.node == first_open.c.node)
        .where(first_open.c.at.is_(None) | (visits.c.arrived_at < first_open.c.at))
        .group_by(visits.c.node, visits.c.branch)
    )
    for node, branch, n in connection.execute(closed):
        counts.setdefault(("branch", node), {})[branch] = n
    return {**counts, **_responses(connection, release_id, now)}


def _responses(connection: Connection, release_id: int, now: datetime) -> dict[tuple[str, str], dict[str | None, int]]:
    """How many first sends of each message were opened, and clicked, within 7 days; each kind is a count of its own."""
    within, s, e = parse_duration(WITHIN), t.sends.c, t.events.c
    first = (
        select(s.contact, s.message, func.min(s.gated_at).label("at"))
        .where(s.release_id == release_id, s.state == "accepted")
        .group_by(s.contact, s.message)
        .having(func.min(s.gated_at) <= now - within)
        .subquery()
    )
    sent = select(first.c.message, func.count()).group_by(first.c.message)
    n: dict[str, int] = {row[0]: row[1] for row in connection.execute(sent)}
    if not n:
        return {}
    mine = and_(e.contact == first.c.contact, member(connection, e.properties, "message") == first.c.message)
    came = (
        select(first.c.message, e.event, first.c.at, func.min(e.received_at))
        .join(first, mine)
        .where(t.SEEN, e.received_at > first.c.at)
        .group_by(first.c.contact, first.c.message, e.event, first.c.at)
    )
    taken: Counter[tuple[str, str]] = Counter()
    for message, event, at, received_at in connection.execute(came.execution_options(yield_per=10_000)):
        taken[message, event] += received_at - at <= within
    return {
        ("response", f"{message}/{kind}"): {kind: taken[message, kind], None: of - taken[message, kind]}
        for message, of in n.items()
        for kind in ("opened", "clicked")
    }


def compare(
    connection: Connection, release_id: int, now: datetime, counts: Counts | None = None, *, alpha: float = ALPHA
) -> pd.DataFrame:
    """The table of `deviations` of a release, with an alert for each node that is outside of the forecast.

    An alert's cause is `forecast:JOURNEY:VERSION:NODE`. It is resolved when the node is found within again.

    Args:
        connection: a transaction that writes.
        release_id: the release; one without a forecast has an empty table.
        now: the store's instant.
        counts: what has come, by `counted_of`, which takes long where contacts are many; by default it is asked here.
        alpha: the chance of a false alarm.

    Raises:
        DataError: when there is no such release.
    """
    from journeylab.sender.sending.alerts import raise_alert, resolve

    counts = counted_of(connection, release_id, now) if counts is None else counts
    release = connection.execute(select(t.releases).where(t.releases.c.release_id == release_id)).one()
    if "without" in (release.forecast or {"without": ""}):
        return deviations(Forecast(release.journey, release.version, 0.9, 0.0, ()), {})
    found = deviations(Forecast.from_dict(release.forecast), counts, alpha=alpha)
    for node, rows in found.groupby("node", sort=False):
        cause = f"forecast:{release.journey}:{release.version}:{node}"
        outside = rows[rows["verdict"] == "outside"]
        if len(outside):
            raise_alert(connection, cause, "warning", " ".join(outside["sentence"]), now)
        elif (rows["verdict"] == "within").all():
            resolve(connection, cause, now)
    return found
