"""What takes entries and what stands still: the releases in a store, as people, ticks and the machine want them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, Row, select

from journeylab import program
from journeylab.errors import DataError
from journeylab.journey import Policy
from journeylab.sender.store import tables as t

from .frozen import Frozen, journey_of, models_of

if TYPE_CHECKING:
    import pandas as pd

    from journeylab.journey import Journey
    from journeylab.sender.live.running import Running
    from journeylab.sendtimes import SendTimes

__all__ = [
    "Paused", "RunningRelease", "Taking", "frozen_release", "machine_releases", "pauses", "releases",
    "running", "share_text", "taking", "what_runs",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunningRelease:
    """A release that takes entries, since `from_at`, of the contacts in its `share`."""

    release_id: int
    journey: str
    version: str
    hash: str
    share: tuple[float, float]
    from_at: datetime
    created_by: str
    has_forecast: bool

    @property
    def is_canary(self) -> bool:
        """Whether it takes entries of the first few only."""
        return self.share[0] == 0 and self.share[1] < 1

    @property
    def shown_share(self) -> str:
        """Its share of contacts, as a text.

        >>> from datetime import UTC
        >>> now = datetime(2026, 3, 1, tzinfo=UTC)
        >>> RunningRelease(2, "hello", "759a3f64f5e8", "f1", (0.05, 1.0), now, "ada", True).shown_share
        '95%'
        """
        return share_text(self.share[1] - self.share[0])


class Taking(NamedTuple):
    """A span of a release, as the machine takes it: `release` for `compile_portfolio`, `release_id` for rows."""

    release_id: int
    release: program.Release


class Paused(NamedTuple):
    """A journey that stands still, since when, why and by whom."""

    journey: str
    started_at: datetime
    reason: str
    started_by: str


def share_text(share: float) -> str:
    """A share of contacts as a text.

    >>> share_text(0.05), share_text(0.125)
    ('5%', '12.5%')
    """
    return f"{round(share * 100, 6):g}%"


def running(connection: Connection) -> list[RunningRelease]:
    """The releases that take entries, by journey, a canary before the release that it is tried against."""
    columns = ("release_id", "journey", "version", "hash", "created_by", "forecast")
    rows = connection.execute(
        select(*(t.releases.c[name] for name in columns), t.spans.c.from_at, t.spans.c.share_from, t.spans.c.share_to)
        .join(t.spans)
        .where(t.spans.c.until_at.is_(None))
        .order_by(t.releases.c.journey, t.spans.c.share_from)
    )
    return [
        RunningRelease(
            row.release_id, row.journey, row.version, row.hash, (row.share_from, row.share_to), row.from_at,
            row.created_by, "without" not in (row.forecast or {"without": ""}),
        )
        for row in rows
    ]  # fmt: skip


def releases(connection: Connection, journey: str | None = None) -> list[Row[Any]]:
    """All releases, the newest first: `release_id, journey, version, hash, created_at, created_by`."""
    columns = ("release_id", "journey", "version", "hash", "created_at", "created_by")
    query = select(*(t.releases.c[name] for name in columns)).order_by(t.releases.c.release_id.desc())
    return [*connection.execute(query if journey is None else query.where(t.releases.c.journey == journey))]


def frozen_release(connection: Connection, release_id: int) -> Frozen:
    """All that a release is made of.

    Raises:
        DataError: when there is no such release, or it is not what its hash says.
    """
    row = connection.execute(select(t.releases).where(t.releases.c.release_id == release_id)).one_or_none()
    if row is None:
        raise DataError(f"there is no release {release_id}; `journeylab release list` shows all")
    return Frozen.of_row(row)


def taking(connection: Connection, journeys: Sequence[str] | None = None) -> list[Taking]:
    """Every span of every release, past ones too, as the machine takes it (rules 26 and 28): one row for each span.

    The machine works out a contact's whole past, so that it needs what took entries then. Whoever keeps this must read
    it again in the transaction in which it decides: a change of releases waits for those that have read it.

    Raises:
        DataError: when a definition is not that of its version.
    """
    kept: list[Any] = [t.releases.c[name] for name in ("journey", "version", "policy")]
    query = select(t.spans, *kept).join(t.releases).order_by(t.spans.c.span_id)
    if journeys is not None:
        query = query.where(t.releases.c.journey.in_(journeys))
    rows = [*connection.execute(query)]
    definitions: dict[int, Journey] = {}
    for release_id in {row.release_id for row in rows}:
        of = select(t.releases.c.definition, t.releases.c.version).where(t.releases.c.release_id == release_id)
        found = connection.execute(of).one()
        journey = journey_of(found.definition)
        if journey.version != found.version:
            raise DataError(f"the definition of release {release_id} is not that of version {found.version} any more")
        definitions[release_id] = journey
    stops: dict[str, list[tuple[datetime, datetime | None]]] = {}
    for row in connection.execute(select(t.pauses).order_by(t.pauses.c.started_at)):
        stops.setdefault(row.journey, []).append((row.started_at, row.ended_at))
    return [
        Taking(
            row.release_id,
            program.Release(
                journey=definitions[row.release_id],
                from_at=row.from_at,
                until_at=row.until_at,
                pauses=tuple(stops.get(row.journey, ())),
                share=(row.share_from, row.share_to),
                share_salt=row.share_salt,
                policy=Policy.model_validate(row.policy),
            ),
        )
        for row in rows
    ]


def machine_releases(connection: Connection, journeys: Sequence[str] | None = None) -> tuple[program.Release, ...]:
    """The releases of `taking`, for `program.compile_portfolio` and `replay`."""
    return tuple(one.release for one in taking(connection, journeys))


def what_runs(connection: Connection, basis: Collection[str] = ()) -> Running:
    """All releases that ever took entries, each with its own models and policy, as ticks take them.

    Args:
        connection: a transaction that reads.
        basis: the purposes whose basis is not consent (`Settings.basis`).
    """
    from journeylab.sender.live.running import Running, Version

    spans: dict[int, list[program.Release]] = {}
    for one in taking(connection):
        spans.setdefault(one.release_id, []).append(one.release)
    query = select(t.releases.c.release_id, t.releases.c.messages, t.releases.c.models)
    rows = {row.release_id: row for row in connection.execute(query.where(t.releases.c.release_id.in_(spans)))}
    send_times: dict[str, SendTimes] = {}
    scores: dict[str, pd.DataFrame] = {}
    versions = []
    for release_id in sorted(spans):
        models = models_of(rows[release_id].models)
        own = {one.name: f"{one.name} of release {release_id}" for one in models}
        send_times |= {own[one.name]: one.send_times() for one in models if one.kind == "send_times"}
        scores |= {own[one.name]: one.scores() for one in models if one.kind == "scores"}
        messages = rows[release_id].messages["messages"]
        transactional = frozenset(name for name, one in messages.items() if one.get("transactional"))
        of = tuple(replace(span, models=own) for span in spans[release_id])
        versions.append(Version(release_id, of, transactional))
    return Running(tuple(versions), basis, send_times, scores)


def pauses(connection: Connection) -> list[Paused]:
    """The journeys that stand still."""
    rows = connection.execute(select(t.pauses).where(t.pauses.c.ended_at.is_(None)).order_by(t.pauses.c.journey))
    return [Paused(row.journey, row.started_at, row.reason, row.started_by) for row in rows]
