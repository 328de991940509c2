"""Akacja, a made-up online shop: its contacts and what they did from January to May 2026, simulated.

Nobody in it exists. Contacts sign up, visit, buy, lapse, move and leave; the shop sends them the messages that the
demo's journeys name, and chooses offers at random with recorded propensities, so that there is a truth to find:
`OFFER_EFFECTS`. The delay of an open is Weibull with shape 0.433 and scale 15.16 h, the fit to 14.9 million sends of
the XCampaign data (CIKM 2025), thinned by the local hour of day. The log spans the start of European summer time
(2026-03-29) and the end of Sydney's (2026-04-05).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["OFFER_EFFECTS", "simulate_shop"]

Ints: TypeAlias = NDArray[np.int64]

# Instants are whole seconds since 1970 in UTC until the log is written.
MINUTE, HOUR, DAY = 60, 3_600, 86_400
OPENS_AT = int(np.datetime64("2026-01-26T00:00:00").astype("datetime64[s]").astype(np.int64))
N_DAYS = 120
ENDS_AT = OPENS_AT + N_DAYS * DAY
NEVER = np.int64(2**60)

PLACES = {  # time zone: (country, share of the contacts)
    "Europe/Warsaw": ("PL", 0.46),
    "Europe/Berlin": ("DE", 0.16),
    "Europe/London": ("GB", 0.14),
    "America/New_York": ("US", 0.10),
    "Australia/Sydney": ("AU", 0.08),
    "Asia/Kolkata": ("IN", 0.06),
}
ZONES = list(PLACES)
# How likely somebody is to be at it in each local hour of the day, relative to the busiest.
RHYTHM = np.array(
    [6, 3, 2, 2, 2, 6, 20, 45, 70, 85, 90, 85, 75, 70, 72, 70, 68, 72, 82, 95, 100, 80, 45, 18], dtype=float
) / 100  # fmt: skip
PAGES = {"home": 0.30, "product": 0.34, "blog": 0.14, "pricing": 0.12, "basket": 0.10}
OPEN_SHARES = {
    "welcome_1": 0.30, "reminder": 0.13, "winback_1": 0.10, "winback_2": 0.09,
    "offer_discount": 0.22, "offer_free_month": 0.21, "offer_plain": 0.17,
}  # fmt: skip
OFFERS = {"offer_discount": 0.4, "offer_free_month": 0.4, "offer_plain": 0.2}
# What an offer adds to the chance of a purchase within the days that follow, by message.
OFFER_EFFECTS = {"offer_discount": 0.13, "offer_free_month": 0.10, "offer_plain": 0.05}
TEXTS = ["plan", "country", "page", "purpose", "message", "link", "bounce_type", "name", "value"]


def simulate_shop(n_contacts: int, rng: np.random.Generator | int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The shop's event log and contacts, as (events, contacts); `datasets.make_shop` describes their columns."""
    shop = _Shop.opened(n_contacts, np.random.default_rng(rng))
    shop.sign_up()
    shop.leave_and_move()
    visited_at = shop.visit()
    shop.welcome()
    shop.win_back(visited_at)
    shop.upgrade()
    return shop.events(), shop.contacts()


@dataclass
class _Shop:
    """The simulation so far: arrays with one element for each contact, and the events in the order of their making."""

    rng: np.random.Generator
    zone: Ints
    is_trial: NDArray[np.bool_]
    signed_up_at: Ints
    consented_at: Ints
    interest: NDArray[np.float64]  # around 1; scales visits and opens
    stopped_at: Ints  # nothing is sent from here on: consent withdrawn, a hard bounce, a complaint
    gone_at: Ints  # nothing happens after this: account closed, erased
    bought_at: Ints  # first purchase
    parts: list[pd.DataFrame] = field(default_factory=list)

    @classmethod
    def opened(cls, n: int, rng: np.random.Generator) -> _Shop:
        """The shop with its contacts, before anything happened: many sign up at the opening, fewer later."""
        zone = rng.choice(len(ZONES), size=n, p=[share for _, share in PLACES.values()])
        day = np.where(rng.random(n) < 0.55, rng.exponential(14, n), rng.uniform(0, N_DAYS, n)).astype(np.int64)
        signed_up_at = _at_local_time(rng, np.minimum(day, N_DAYS - 2), zone)
        return cls(
            rng=rng,
            zone=zone,
            is_trial=rng.random(n) < 0.7,
            signed_up_at=signed_up_at,
            consented_at=np.where(rng.random(n) < 0.93, signed_up_at, NEVER),
            interest=rng.gamma(2.0, 0.5, n),
            stopped_at=np.full(n, NEVER),
            gone_at=np.full(n, NEVER),
            bought_at=np.full(n, NEVER),
        )

    def log(self, event: str, who: Ints, at: Ints, **properties: Any) -> None:
        """Adds an event of each contact in `who`, at the instants `at`."""
        self.parts.append(pd.DataFrame({"who": who, "event": event, "at": at, **properties}))

    def sign_up(self) -> None:
        """Signups, with consent at the same instant, just before, where it was given."""
        consenting = np.flatnonzero(self.consented_at < NEVER)
        self.log("consent_given", consenting, self.consented_at[consenting], purpose="marketing")
        everybody = np.arange(self.zone.size)
        country = np.array([country for country, _ in PLACES.values()])[self.zone]
        plan = np.where(self.is_trial, "trial", "paid")
        self.log("signup", everybody, self.signed_up_at, plan=plan, country=country)

    def leave_and_move(self) -> None:
        """Withdrawals (some of them followed by a new consent), closed accounts, erasures, and moves abroad."""
        who, at = self._some(0.02, 30)
        consenting = self.consented_at[who] < NEVER
        who, at = who[consenting], at[consenting]
        self.log("consent_withdrawn", who, at, purpose="marketing")
        np.minimum.at(self.stopped_at, who, at)
        again = self.rng.random(who.size) < 0.2
        self.log("consent_given", who[again], at[again] + 9 * DAY, purpose="marketing")
        for event, share, days in (("account_closed", 0.025, 45), ("erased", 0.004, 50)):
            who, at = self._some(share, days)
            self.log(event, who, at)
            np.minimum.at(self.gone_at, who, at)
        who, at = self._some(0.02, 40)
        target = np.array(ZONES)[(self.zone[who] + self.rng.integers(1, len(ZONES), who.size)) % len(ZONES)]
        self.log("attribute_changed", who, at, name="timezone", value=target)

    def _some(self, share: float, mean_days: float) -> tuple[Ints, Ints]:
        who = np.flatnonzero(self.rng.random(self.zone.size) < share)
        return who, self.signed_up_at[who] + HOUR + (self.rng.exponential(mean_days * DAY, who.size)).astype(np.int64)

    def visit(self) -> Ints:
        """Visits until each contact lapses, and purchases from the basket; returns each contact's last visit."""
        rng, n = self.rng, self.zone.size
        lasts = np.minimum(rng.exponential(42 * DAY, n), ENDS_AT - self.signed_up_at)
        who = np.repeat(np.arange(n), rng.poisson(self.interest * (1.5 + 0.6 * lasts / DAY)))
        day = (self.signed_up_at[who] - OPENS_AT + rng.random(who.size) * lasts[who]).astype(np.int64) // DAY
        at = _at_local_time(rng, day, self.zone[who])
        later = at > self.signed_up_at[who]
        who, at = np.append(np.arange(n), who[later]), np.append(self.signed_up_at + 40, at[later])
        page = rng.choice(list(PAGES), size=who.size, p=list(PAGES.values()))
        self.log("visit", who, at, page=page)
        buys = (page == "basket") & (rng.random(who.size) < 0.13)
        self.buy(who[buys], at[buys] + rng.integers(2 * MINUTE, 15 * MINUTE, int(buys.sum())))
        last_at = self.signed_up_at.copy()
        np.maximum.at(last_at, who, at)
        return last_at

    def buy(self, who: Ints, at: Ints) -> None:
        """Purchases of log-normal amounts."""
        kept = at < np.minimum(self.gone_at[who], ENDS_AT)
        who, at = who[kept], at[kept]
        self.log("purchase", who, at, amount=self.rng.lognormal(4.0, 0.7, who.size).round(2))
        np.minimum.at(self.bought_at, who, at)

    def welcome(self) -> None:
        """The shop's own welcome: an offer drawn at random for those who open within three days, else a reminder."""
        rng = self.rng
        soon_at = self.signed_up_at + rng.integers(20, 5 * MINUTE, self.zone.size)
        who, sent_at, opened_at = self.send("welcome_1", np.arange(self.zone.size), soon_at)
        unread = (opened_at > sent_at + 3 * DAY) & self.is_trial[who]
        read = ~unread & self.is_trial[who]
        self.send("reminder", who[unread], self._in_office_hours(who[unread], sent_at[unread] + 7 * DAY))
        who, at = who[read], self._in_office_hours(who[read], opened_at[read])
        waiting = self.bought_at[who] > at
        who, at = who[waiting], at[waiting]
        offered = rng.choice(list(OFFERS), size=who.size, p=list(OFFERS.values()))
        for message, propensity in OFFERS.items():
            chosen = offered == message
            got, sent_at, _ = self.send(message, who[chosen], at[chosen], propensity=propensity)
            buying = rng.random(got.size) < OFFER_EFFECTS[message]
            self.buy(got[buying], sent_at[buying] + rng.exponential(2.5 * DAY, int(buying.sum())).astype(np.int64))

    def win_back(self, visited_at: Ints) -> None:
        """Two messages to those who stayed away for thirty days, a week apart; a few of those who open come back."""
        who = np.flatnonzero(visited_at + 30 * DAY < ENDS_AT)
        who, sent_at, opened_at = self.send("winback_1", who, self._in_office_hours(who, visited_at[who] + 30 * DAY))
        back = (opened_at < NEVER) & (self.rng.random(who.size) < 0.45)
        self._come_back(who[back], opened_at[back])
        again = ~back | (opened_at > sent_at + 7 * DAY)
        who, sent_at, opened_at = self.send("winback_2", who[again], sent_at[again] + 7 * DAY)
        back = (opened_at < NEVER) & (self.rng.random(who.size) < 0.4)
        self._come_back(who[back], opened_at[back])

    def _come_back(self, who: Ints, at: Ints) -> None:
        for after in (2 * MINUTE, 5 * MINUTE, 3 * DAY):
            self.log("visit", who, at + after, page=self.rng.choice(["home", "product", "basket"], size=who.size))
        buying = self.rng.random(who.size) < 0.3
        self.buy(who[buying], at[buying] + 12 * MINUTE)

    def upgrade(self) -> None:
        """A trial becomes a paid plan with the first purchase."""
        who = np.flatnonzero(self.is_trial & (self.bought_at < NEVER))
        self.log("attribute_changed", who, self.bought_at[who], name="plan", value="paid")

    def send(self, message: str, who: Ints, at: Ints, **properties: Any) -> tuple[Ints, Ints, Ints]:
        """Sends to those who may be sent to; returns (who, sent at, opened at or `NEVER`), and logs all responses."""
        stopped_at = np.minimum(self.stopped_at[who], self.gone_at[who])
        allowed = (self.consented_at[who] <= at) & (at < np.minimum(stopped_at, ENDS_AT))
        who, at = who[allowed], at[allowed]
        self.log("sent", who, at, message=message, **properties)
        fate = self.rng.choice(["delivered", "hard", "soft"], size=who.size, p=[0.985, 0.005, 0.01])
        delivered = fate == "delivered"
        after = at + self.rng.integers(1, 30, who.size)
        self.log("delivered", who[delivered], after[delivered], message=message)
        self.log("bounced", who[~delivered], after[~delivered], message=message, bounce_type=fate[~delivered])
        np.minimum.at(self.stopped_at, who[fate == "hard"], after[fate == "hard"])
        scanned = delivered & (self.rng.random(who.size) < 0.08)
        self.log("opened", who[scanned], after[scanned] + 2, message=message, is_machine=True)
        reads = delivered & (self.rng.random(who.size) < OPEN_SHARES[message] * np.minimum(self.interest[who], 2))
        opened_at = np.full(who.size, NEVER)
        opened_at[reads] = self._opens(who[reads], after[reads])
        self._respond(message, who[reads], opened_at[reads])
        return who, at, opened_at

    def _opens(self, who: Ints, delivered_at: Ints) -> Ints:
        """The first of some Weibull delays that falls into a waking hour, taken as likely as the hour is busy."""
        n_tries = 6
        delay = self.rng.weibull(0.433, (who.size, n_tries)) * 15.16 * HOUR
        at = delivered_at[:, None] + 5 + delay.astype(np.int64)
        local = _local(at.ravel(), np.repeat(self.zone[who], n_tries)).reshape(at.shape)
        awake = self.rng.random(at.shape) < RHYTHM[local // HOUR % 24]
        awake[:, -1] = True
        opened_at: Ints = at[np.arange(who.size), awake.argmax(axis=1)]
        return opened_at

    def _respond(self, message: str, who: Ints, opened_at: Ints) -> None:
        self.log("opened", who, opened_at, message=message, is_machine=False)
        kind = self.rng.random(who.size)
        after = opened_at + self.rng.integers(5, 5 * MINUTE, who.size)
        clicks, leaves, complains = kind < 0.3, kind > 0.985, (kind > 0.981) & (kind <= 0.985)
        link = self.rng.choice(["shop", "pricing"], size=int(clicks.sum()), p=[0.7, 0.3])
        self.log("clicked", who[clicks], after[clicks], message=message, link=link, is_machine=False)
        self.log("unsubscribed", who[leaves], after[leaves], message=message)
        self.log("consent_withdrawn", who[leaves], after[leaves], purpose="marketing")
        self.log("complained", who[complains], after[complains], message=message)
        stops = leaves | complains
        np.minimum.at(self.stopped_at, who[stops], after[stops])

    def _in_office_hours(self, who: Ints, at: Ints) -> Ints:
        """The instants, moved on to 09:00 of the same or the next local day where it is not between 09:00 and 17:00."""
        local = _local(at, self.zone[who])
        of_day = local % DAY
        early, late = of_day < 9 * HOUR, of_day >= 17 * HOUR
        moved = np.where(early | late, local - of_day + 9 * HOUR + late * DAY, local)
        return _utc(moved, self.zone[who])

    def events(self) -> pd.DataFrame:
        """The event log: what happened until the log's end and the contact's, in order of time."""
        events = pd.concat(self.parts, ignore_index=True)
        at = events["at"].to_numpy()
        events = events[(at < ENDS_AT) & (at <= self.gone_at[events["who"].to_numpy()])]
        events = events.sort_values(["at", "who"], kind="stable", ignore_index=True)
        events.insert(0, "contact", _names(events.pop("who").to_numpy()))
        events.insert(2, "occurred_at", pd.to_datetime(events.pop("at"), unit="s", utc=True).dt.as_unit("us"))
        return events.astype({**dict.fromkeys(TEXTS, "str"), "is_machine": "boolean"})[
            ["contact", "event", "occurred_at", "plan", "country", "page", "amount", "purpose", "message",
             "propensity", "link", "is_machine", "bounce_type", "name", "value"]
        ]  # fmt: skip

    def contacts(self) -> pd.DataFrame:
        """The contacts table, as of signup."""
        ends_at = (_local(self.signed_up_at, self.zone) + 14 * DAY).astype("datetime64[s]")
        dates = ends_at.astype("datetime64[D]").tolist()
        return pd.DataFrame(
            {
                "contact": _names(np.arange(self.zone.size)),
                "timezone": np.array(ZONES)[self.zone],
                "country": np.array([country for country, _ in PLACES.values()])[self.zone],
                "plan": np.where(self.is_trial, "trial", "paid"),
                "trial_ends_on": [day if trial else None for day, trial in zip(dates, self.is_trial, strict=True)],
            }
        )


def _names(who: Ints) -> pd.Series:
    return pd.Series(who + 1).astype("str").str.zfill(5).radd("akacja-")


def _at_local_time(rng: np.random.Generator, day: Ints, zone: Ints) -> Ints:
    """An instant on each local day (counted from the opening), at a local hour drawn from the rhythm."""
    hour = rng.choice(24, size=day.size, p=RHYTHM / RHYTHM.sum())
    return _utc(OPENS_AT + day * DAY + hour * HOUR + rng.integers(0, HOUR, day.size), zone)


def _local(at: Ints, zone: Ints) -> Ints:
    """What the local clocks show at the instants, as seconds since 1970 local."""
    local = np.empty_like(at)
    for code, name in enumerate(ZONES):
        here = zone == code
        clock = pd.DatetimeIndex(at[here].astype("datetime64[s]"), tz="UTC").tz_convert(name).tz_localize(None)
        local[here] = clock.to_numpy().astype("datetime64[s]").astype(np.int64)
    return local


def _utc(local: Ints, zone: Ints) -> Ints:
    """The instants at which the local clocks show those seconds: after a gap, and first where they occur twice."""
    at = np.empty_like(local)
    for code, name in enumerate(ZONES):
        here = zone == code
        clock = pd.DatetimeIndex(local[here].astype("datetime64[s]"))
        known = clock.tz_localize(name, ambiguous=np.ones(clock.size, dtype=bool), nonexistent="shift_forward")
        at[here] = known.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[s]").astype(np.int64)
    return at
