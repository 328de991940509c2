"""The contacts of the simulated shop: who they are, when in the week they are at it, and what they do on their own.

Nobody in it exists. What is drawn here does not depend on any message: it is the same under every journey.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .clock import Zones, zones

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["DAY", "HOUR", "MAILBOXES", "OPENS_AT", "SECOND", "WEEK", "Contacts", "Happenings", "Rhythm", "season"]

Ints: TypeAlias = "NDArray[np.int64]"
Floats: TypeAlias = "NDArray[np.float64]"

# Instants are microseconds since 1970 in UTC, always whole seconds.
SECOND = 1_000_000
HOUR, DAY = 3_600 * SECOND, 86_400 * SECOND
OPENS_AT = int(datetime(2026, 1, 26, tzinfo=UTC).timestamp()) * SECOND
NEVER = np.int64(2**62)
WEEK = 168  # hours

PLACES = {  # time zone: (country, share of the contacts)
    "Europe/Warsaw": ("PL", 0.46),
    "Europe/Berlin": ("DE", 0.16),
    "Europe/London": ("GB", 0.14),
    "America/New_York": ("US", 0.10),
    "Australia/Sydney": ("AU", 0.08),
    "Asia/Kolkata": ("IN", 0.06),
}
ZONES = list(PLACES)
MAILBOXES = {"webmail": 0.66, "apple": 0.20, "company": 0.14}
PAGES = {"home": 0.30, "product": 0.34, "blog": 0.14, "pricing": 0.12, "basket": 0.10}
# How likely anybody is to be at it in each local hour of the day, and the shares of those busiest at an hour.
AWAKE = np.array(
    [10, 5, 3, 3, 3, 8, 25, 50, 70, 85, 90, 85, 80, 75, 75, 72, 70, 75, 85, 95, 100, 85, 50, 25], dtype=float
) / 100  # fmt: skip
BUSIEST = np.array([1, 0, 0, 0, 0, 1, 4, 8, 9, 9, 7, 5, 7, 6, 3, 3, 4, 5, 7, 9, 9, 6, 3, 2], dtype=float) / 108
# What the days from Monday to Sunday are worth to people of the working week, of all days, of the weekend.
WEEKDAYS = np.array([[1.25] * 5 + [0.45, 0.3], [1.05] * 5 + [0.9, 0.85], [0.7, 0.7, 0.7, 0.75, 0.9, 1.7, 1.55]])
N_HABITS = 24 * len(WEEKDAYS)


def season(at: Ints) -> Floats:
    """How lively the time of the year is, around 1: most in winter, least in July."""
    return 1 + 0.1 * np.cos(2 * np.pi * (at / DAY - 20) / 365.25)


class Rhythm:
    """The habits of contacts as weights of the 168 local hours of the week, each with a mean of 1.

    Habit `24 * k + h` is that of people of the k-th kind of week who are busiest at hour h. Time can be counted by a
    habit: an hour that weighs 2 counts as two, so that what waits for its moment comes in the contact's own hours.

    `strength` is an exponent on the weights: without it (0) every hour is like every other.
    """

    def __init__(self, strength: float = 1.0) -> None:
        hours = np.arange(24)
        near = np.exp(2.5 * (np.cos(2 * np.pi * (hours[None] - hours[:, None]) / 24) - 1))
        by_day = AWAKE**0.7 * (0.35 + 1.65 * near)
        table = (WEEKDAYS[:, None, :, None] * by_day[None, :, None, :]).reshape(N_HABITS, WEEK) ** strength
        self.weights = table / table.mean(axis=1, keepdims=True)
        first = WEEK * np.arange(N_HABITS)[:, None]
        counted = np.concatenate([np.zeros((N_HABITS, 1)), np.cumsum(self.weights, axis=1)[:, :-1]], axis=1)
        self._hour = np.append((first + np.arange(WEEK)).ravel(), N_HABITS * WEEK).astype(float)
        self._counted = np.append((first + counted).ravel(), N_HABITS * WEEK)

    def weight(self, habit: Ints, hour: Floats) -> Floats:
        """What an hour of the week, fractions and all, weighs by a habit."""
        return np.asarray(self.weights[habit, hour.astype(np.int64)])

    def counted(self, habit: Ints, hour: Floats, hours: Floats) -> Floats:
        """How long the `hours` from an hour of the week on are, counted by a habit."""
        return self._at(habit, hour + hours, self._hour, self._counted) - self._at(
            habit, hour, self._hour, self._counted
        )

    def later(self, habit: Ints, hour: Floats, counted: Floats) -> Floats:
        """After how many hours from an hour of the week on a time has passed that is `counted` by a habit."""
        start = self._at(habit, hour, self._hour, self._counted)
        return self._at(habit, start + counted, self._counted, self._hour) - hour

    @staticmethod
    def _at(habit: Ints, value: Floats, of: Floats, to: Floats) -> Floats:
        weeks = np.floor(value / WEEK)
        found = np.interp(habit * WEEK + value - weeks * WEEK, of, to)
        return np.asarray(found - habit * WEEK + weeks * WEEK)


@cache
def _zone_table() -> Zones:
    opens = datetime(2026, 1, 26, tzinfo=UTC)
    return zones(ZONES, opens - timedelta(days=30), opens + timedelta(days=1500))


def _wall(at: Ints, zone: Ints) -> Ints:
    """What the local clocks show at the instants, as microseconds since 1970 local."""
    table, wall = _zone_table(), at.copy()
    for code in range(len(ZONES)):
        here, mine = zone == code, slice(table.first[code], table.first[code + 1])
        wall[here] += table.offset[mine][np.searchsorted(table.at[mine], at[here], side="right") - 1]
    return wall


def _instant(wall: Ints, zone: Ints) -> Ints:
    """The first instants at which the local clocks show those times or later (rule 3)."""
    table, at = _zone_table(), wall.copy()
    for code in range(len(ZONES)):
        here, mine = zone == code, slice(table.first[code], table.first[code + 1])
        changes, offset = table.at[mine], table.offset[mine]
        i = np.searchsorted(changes[1:] + offset[:-1], wall[here], side="right")
        at[here] = np.maximum(changes[i], wall[here] - offset[i])
    return at


def _hour_of_week(wall: Ints) -> Floats:
    return np.asarray((wall / HOUR - 96) % WEEK)  # 1970 began on a Thursday


@dataclass
class Happenings:
    """Events as they are gathered, each call's of one kind; `table` puts them in order."""

    parts: list[pa.Table] = field(default_factory=list)

    def add(self, event: str, who: Ints, at: Ints, step: Ints | None = None, **properties: Any) -> None:
        """Adds an event of each contact in `who` at the instants `at`; properties are one value or one for each.

        `step` orders a contact's events of one instant; those without one come first.
        """
        import pyarrow as pa

        columns: dict[str, Any] = {
            "who": pa.array(who, pa.int64()),
            "at": pa.array(at, pa.int64()),
            "step": pa.array(np.full(len(who), -1) if step is None else step, pa.int64()),
        }
        for name, value in ({"event": event} | properties).items():
            values = np.repeat(np.array([value]), len(who)) if np.ndim(value) == 0 else value
            column = pa.array(values, from_pandas=True)
            is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            columns[name] = column.cast(pa.string()).dictionary_encode() if is_text else column
        if len(who):
            self.parts.append(pa.table(columns))

    def table(self, before: pa.Table | None = None) -> pa.Table:
        """All events as `who`, `at`, `event` and properties, by instant, contact and step, then as they were added."""
        import pyarrow as pa

        parts = self.parts if before is None else [before, *self.parts]
        table = pa.concat_tables(parts, promote_options="default").unify_dictionaries().combine_chunks()
        order = np.lexsort([table[name].to_numpy() for name in ("step", "who", "at")])
        return table.take(pa.array(order))


@dataclass(frozen=True, eq=False)
class Contacts:
    """The contacts of a shop, as arrays with an element for each; the times of leaving are NEVER for those who stay.

    `interest` (mean 1) scales visits and opens, `spending` (mean 1) purchases. A contact visits from the signup to
    `lapsed_at`, and again between `back_at` and `gone_again_at`.
    """

    ends_at: int
    rhythm: Rhythm
    zone: Ints
    moved_at: Ints
    moved_to: Ints
    is_trial: NDArray[np.bool_]
    signed_up_at: Ints
    consents: NDArray[np.bool_]
    habit: Ints
    interest: Floats
    spending: Floats
    lapsed_at: Ints
    back_at: Ints
    gone_again_at: Ints
    closed_at: Ints
    erased_at: Ints
    mailbox: Ints
    is_dead_end: NDArray[np.bool_]  # the address bounces

    @classmethod
    def drawn(cls, n: int, rng: np.random.Generator, days: int, habits: float = 1.0) -> Contacts:
        """Contacts of a shop that is open for some days: many sign up at the opening, fewer later."""
        rhythm, ends_at = Rhythm(habits), OPENS_AT + days * DAY
        zone = rng.choice(len(ZONES), size=n, p=[share for _, share in PLACES.values()])
        busiest = rng.choice(24, size=n, p=BUSIEST / BUSIEST.sum())
        habit = 24 * rng.choice(len(WEEKDAYS), size=n, p=[0.5, 0.3, 0.2]) + busiest
        day = np.where(rng.random(n) < 0.55, rng.exponential(14, n), rng.uniform(0, days, n))
        start = OPENS_AT + np.minimum(day, max(days - 2, 0.5)).astype(np.int64) * DAY
        hours = rhythm.later(habit, _hour_of_week(start), rng.uniform(0, 24, n) * 0.9)
        signed_up_at = np.minimum(_instant(start + _seconds(hours), zone), ends_at - HOUR)
        lapsed_at = signed_up_at + _days(rng.exponential(42, n))
        back_at = np.where(rng.random(n) < 0.55, lapsed_at + _days(rng.exponential(40, n)), NEVER)
        return cls(
            ends_at=ends_at,
            rhythm=rhythm,
            zone=zone,
            moved_at=np.where(rng.random(n) < 0.02, signed_up_at + HOUR + _days(rng.exponential(40, n)), NEVER),
            moved_to=(zone + rng.integers(1, len(ZONES), n)) % len(ZONES),
            is_trial=rng.random(n) < 0.7,
            signed_up_at=signed_up_at,
            consents=rng.random(n) < 0.93,
            habit=habit,
            interest=rng.gamma(1.2, 1 / 1.2, n),
            spending=rng.gamma(2.0, 0.5, n),
            lapsed_at=lapsed_at,
            back_at=back_at,
            gone_again_at=np.where(back_at < NEVER, back_at + _days(rng.exponential(20, n)), NEVER),
            closed_at=np.where(rng.random(n) < 0.025, signed_up_at + HOUR + _days(rng.exponential(45, n)), NEVER),
            erased_at=np.where(rng.random(n) < 0.004, signed_up_at + HOUR + _days(rng.exponential(50, n)), NEVER),
            mailbox=rng.choice(len(MAILBOXES), size=n, p=list(MAILBOXES.values())),
            is_dead_end=rng.random(n) < 0.005,
        )

    @property
    def names(self) -> NDArray[np.str_]:
        """Their pseudonyms, such as `akacja-00017`."""
        return np.array([f"akacja-{who:05d}" for who in range(1, len(self.zone) + 1)])

    @property
    def gone_at(self) -> Ints:
        """When they close their account or are erased."""
        return np.minimum(self.closed_at, self.erased_at)

    def hour_of_week(self, who: Ints, at: Ints) -> Floats:
        """The local hour of the week, fractions and all; 0 is Monday 00:00."""
        zone = np.where(at >= self.moved_at[who], self.moved_to[who], self.zone[who])
        return _hour_of_week(_wall(at, zone))

    def is_active(self, who: Ints, at: Ints) -> NDArray[np.bool_]:
        """Whether they still visit, or do again."""
        again = (self.back_at[who] <= at) & (at < self.gone_again_at[who])
        return np.asarray((at < self.lapsed_at[who]) | again)

    def table(self) -> pd.DataFrame:
        """The contacts as of their signup; `datasets.make_shop` says which columns."""
        import pandas as pd

        trial_ends_on = (_wall(self.signed_up_at, self.zone) // DAY + 14).astype("datetime64[D]").tolist()
        dates = [day if trial else None for day, trial in zip(trial_ends_on, self.is_trial, strict=True)]
        return pd.DataFrame(
            {
                "contact": self.names,
                "timezone": np.array(ZONES)[self.zone],
                "country": np.array([country for country, _ in PLACES.values()])[self.zone],
                "plan": np.where(self.is_trial, "trial", "paid"),
                "mailbox": np.array(list(MAILBOXES))[self.mailbox],
                "trial_ends_on": dates,
            }
        )

    def organic(self, rng: np.random.Generator) -> pa.Table:
        """What they do on their own, as `Happenings.table` has it; nothing after they are gone."""
        happened, everybody = Happenings(), np.arange(len(self.zone))
        given = everybody[self.consents]
        happened.add("consent_given", given, self.signed_up_at[given], purpose="marketing")
        country = np.array([country for country, _ in PLACES.values()])[self.zone]
        plan = np.where(self.is_trial, "trial", "paid")
        happened.add("signup", everybody, self.signed_up_at, plan=plan, country=country)
        self._withdraw(happened, given, rng)
        for event, at in (("account_closed", self.closed_at), ("erased", self.erased_at)):
            who = np.flatnonzero(at < NEVER)
            happened.add(event, who, at[who])
        who = np.flatnonzero(self.moved_at < NEVER)
        moved = np.array(ZONES)[self.moved_to[who]]
        happened.add("attribute_changed", who, self.moved_at[who], name="timezone", value=moved)
        self._visit(happened, rng)
        table = happened.table()
        who, at = table["who"].to_numpy(), table["at"].to_numpy()
        return table.filter((at < self.ends_at) & (at <= self.gone_at[who]))

    def _withdraw(self, happened: Happenings, given: Ints, rng: np.random.Generator) -> None:
        """Consent withdrawn without a cause, and by some given again."""
        who = given[rng.random(len(given)) < 0.02]
        at = self.signed_up_at[who] + HOUR + _days(rng.exponential(30, len(who)))
        happened.add("consent_withdrawn", who, at, purpose="marketing")
        again = rng.random(len(who)) < 0.2
        happened.add("consent_given", who[again], at[again] + 9 * DAY, purpose="marketing")

    def _visit(self, happened: Happenings, rng: np.random.Generator) -> None:
        """Visits in the contacts' own hours, purchases from the basket, and paid plans with the first of them."""
        everybody = np.arange(len(self.zone))
        visits = [(everybody, self.signed_up_at + 40 * SECOND)]
        for starts_at, ends_at in ((self.signed_up_at, self.lapsed_at), (self.back_at, self.gone_again_at)):
            visits.append(self._spell(starts_at, np.minimum(ends_at, self.ends_at), rng))
        who, at = (np.concatenate(ends) for ends in zip(*visits, strict=True))
        page = rng.choice(len(PAGES), size=len(who), p=list(PAGES.values()))
        happened.add("visit", who, at, page=np.array(list(PAGES))[page])
        buys = (page == list(PAGES).index("basket")) & (rng.random(len(who)) < np.minimum(0.13 * self.spending[who], 1))
        who, at = who[buys], at[buys] + SECOND * rng.integers(120, 900, int(buys.sum()))
        happened.add("purchase", who, at, amount=rng.lognormal(4.0, 0.7, len(who)).round(2))
        first_at = np.full(len(self.zone), NEVER)
        np.minimum.at(first_at, who, at)
        paying = np.flatnonzero(self.is_trial & (first_at < NEVER))
        happened.add("attribute_changed", paying, first_at[paying], name="plan", value="paid")

    def _spell(self, starts_at: Ints, ends_at: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """The visits of contacts who are active from one instant to another."""
        who = np.flatnonzero(starts_at < ends_at)
        hours = (ends_at[who] - starts_at[who]) / HOUR
        n = rng.poisson(self.interest[who] * (1.5 + 0.6 * hours / 24))
        who, hours = np.repeat(who, n), np.repeat(hours, n)
        wall = _wall(starts_at[who], self.zone[who])
        hour, habit = _hour_of_week(wall), self.habit[who]
        passed = self.rhythm.counted(habit, hour, hours) * rng.random(len(who))
        wall = wall + _seconds(self.rhythm.later(habit, hour, passed))
        at = _instant(wall, self.zone[who])
        at = np.where(at >= self.moved_at[who], _instant(wall, self.moved_to[who]), at)
        kept = (at > starts_at[who]) & (rng.random(len(who)) * 1.1 < season(at))
        return who[kept], at[kept]


def _seconds(hours: Floats) -> Ints:
    """Hours as microseconds, to the whole second."""
    return np.asarray((hours * 3_600).astype(np.int64) * SECOND)


def _days(days: Floats) -> Ints:
    return _seconds(days * 24)
