"""A simulated shop whose truth is known: what any journey would really bring is had by running it there.

Nobody in it exists. A `Shop` has contacts with habits of their own and what they do without any message; `Shop.run`
sends them what a journey, a portfolio or a logging policy says, by the same machine as every other world, and answers
every send as the contact truly reacts. The log of such a run is all that an analyst would have; the same shop run with
another journey is what an analyst cannot have: what would have happened.

The opening of messages is scaled to published figures of 14.9 million sends (XCampaign, Mailprofiler, CIKM 2025): 9.1 %
of sends opened, 26 % of the opens within an hour, half within 6 h 25 min, 71 % within a day, 93 % within a week.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from . import conditions as c
from .clock import NEVER, instant, microseconds
from .display import block, counted, frame
from .errors import DataError
from .eventlog import EventLog
from .execution import in_rounds
from .journey import Journey, Policy, WaitFor
from .keyedhash import unit_hashes
from .program import Compiled
from .shopcontacts import DAY, HOUR, OPENS_AT, SECOND, WEEK, Contacts, Happenings, Ints
from .shopreactions import Reactions, Sends
from .shoprun import CHOICES, MODEL, STEPS, Answering, ShopRun, named, respond
from .worlds import Journeys, codes_of, prepared

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from .advice import SendTimesGiven

__all__ = ["Shop", "ShopRun"]

# What the machine cannot know of the responses to a message that is still to be sent.
_UNKNOWN = {"link", "is_machine", "bounce_type", "propensity", *CHOICES}


class Shop:
    """A simulated shop: contacts, what they do on their own, and how they truly react to messages.

    Two shops of the same arguments are equal. Chance in reactions comes from keyed hashes of the contact, the message
    and how often it was sent to the contact before, so runs of two journeys over one shop differ only by what the
    journeys change, and results do not depend on the order of contacts.

    Args:
        n_contacts: how many contacts there are.
        seed: what the shop is drawn from.
        days: for how many days from 2026-01-26 (UTC) the shop is open.
        opens: for messages, how many contacts of medium interest open one that comes at an average hour, in 0..1; by
            default those of `shopreactions.OPENS`, and for any other message from 0.06 to 0.12 by its name.
        sells: for messages, how many of those who click buy because of it, in 0..1, each at 59 euro; by default those
            of `shopreactions.SELLS`, and for any other message from 0.1 to 0.4 by its name.
        fatigue: by how much (on a log scale) each message of the last seven days lowers the rate of opening; those of
            the last thirty days count a quarter.
        machine_share: how many deliveries to Apple mailboxes (20 % of the contacts) are opened by a machine, in 0..1;
            at company mailboxes (14 %) half as many are opened and clicked by a scanner.
        drift_at: the instant (aware, or ISO text) from which opens and clicks are `drift` times as likely.
        drift: that factor.
        habits: how strongly contacts prefer hours: an exponent on their weights; at 0 all hours are alike.

    Attributes:
        names: the contacts' pseudonyms, by their number less one.

    Raises:
        DataError: for less than one contact or three days, a number outside of its bounds, or a naive instant.

    >>> shop = Shop(300, seed=7)
    >>> shop
    Shop(simulated: 300 contacts, 120 days from 2026-01-26, seed 7)
    >>> shop.organic.event_names[:3]
    ['account_closed', 'attribute_changed', 'consent_given']
    """

    def __init__(
        self,
        n_contacts: int,
        *,
        seed: int = 2026,
        days: int = 120,
        opens: Mapping[str, float] | None = None,
        sells: Mapping[str, float] | None = None,
        fatigue: float = 0.25,
        machine_share: float = 0.7,
        drift_at: datetime | str | None = None,
        drift: float = 1.0,
        habits: float = 1.0,
    ) -> None:
        if n_contacts < 1:
            raise DataError(f"a shop needs at least one contact, got n_contacts={n_contacts}")
        if days < 3:
            raise DataError(f"a shop is open for at least three days, got days={days}")
        shares = {
            f"{what} of {name!r}": one
            for what, by in (("opens", opens), ("sells", sells))
            for name, one in (by or {}).items()
        }
        for what, share in (shares | {"machine_share": machine_share}).items():
            if not 0 <= share <= 1:
                raise DataError(f"{what} is a share from 0 to 1, got {share}")
        if drift <= 0:
            raise DataError(f"drift is a factor above 0, got {drift}")
        self.n_contacts, self.seed, self.days = n_contacts, seed, days
        if habits < 0:
            raise DataError(f"habits is an exponent from 0 on, got {habits}")
        self._rng = np.random.default_rng(seed)
        self._contacts = Contacts.drawn(n_contacts, self._rng, days, habits)
        self.names = self._contacts.names
        self._reactions = Reactions(
            contacts=self._contacts,
            units=unit_hashes(pa.array(self.names)),
            seed=seed,
            opens=dict(opens or {}),
            sells=dict(sells or {}),
            fatigue=fatigue,
            machine_share=machine_share,
            drift_at=_drift_us(drift_at),
            drift=drift,
        )

    def __repr__(self) -> str:
        opened = f"{instant(OPENS_AT):%Y-%m-%d}"
        return (
            f"Shop(simulated: {counted(self.n_contacts, 'contact')}, {self.days} days from {opened}, seed {self.seed})"
        )

    @property
    def ends_at(self) -> datetime:
        """The instant at which the shop's log ends (UTC)."""
        return instant(OPENS_AT + self.days * DAY)

    @cached_property
    def contacts(self) -> pd.DataFrame:
        """The contacts as of their signup, simulated.

        Columns: `contact` (a pseudonym such as `akacja-00017`), `timezone`, `country`, `plan` (`trial` or `paid`),
        `mailbox` (`webmail`, `apple` or `company`), `trial_ends_on` (a date, missing for paid plans).
        """
        return self._contacts.table()

    @cached_property
    def happened(self) -> pa.Table:
        """What they do on their own, as `shopcontacts.Happenings.table` has it."""
        return self._contacts.organic(self._rng)

    @cached_property
    def _place(self) -> Ints:
        """The code of each contact in the log, which has an order of its own."""
        return codes_of(self.organic, self.names, "the shop")

    @cached_property
    def organic(self) -> EventLog:
        """The log of what the contacts do without any message; it ends with the shop."""
        return self.log_of(self.happened, self.ends_at)

    def log_of(self, happened: pa.Table, until: datetime) -> EventLog:
        """The log of what happened (`shopcontacts.Happenings.table`), of which nothing is unknown up to an instant."""
        log = EventLog.read(named(happened, self.names), contacts=self.contacts, cache=False)
        return log.truncated(until)

    def run(
        self,
        journeys: Journeys,
        *,
        policy: Policy | None = None,
        send_times: SendTimesGiven | None = None,
        until: datetime | str | None = None,
    ) -> ShopRun:
        """What the journeys truly do and bring in this shop, simulated, as a `ShopRun`.

        Args:
            journeys: one journey, a portfolio, journeys that run together, or releases of them; their splits and
                holdouts are what the logging policy leaves to chance.
            policy: what holds over all journeys; by default the portfolio's.
            send_times: for `at: best`, as for `replay.replay`.
            until: the horizon, an aware instant or ISO text; by default the shop's end.

        Raises:
            DefinitionError: when a journey is unsound or names what the shop does not have, with all faults.
            DataError: when the horizon lies beyond the shop's end, or a journey asks for a property of responses that
                nobody can know before they are there (`link`, `is_machine`, `bounce_type`, `propensity`, `send_times`,
                `slot_propensity`, `slots`).

        >>> from journeylab import datasets, journeyfile
        >>> journey = journeyfile.read(datasets.journey_file("trial_welcome"))
        >>> run = Shop(300, seed=7).run(journey)
        >>> run
        ShopRun(simulated shop, trial_welcome: 164 entries, 314 sends until 2026-05-26)
        """
        ready = prepared(journeys, self.organic, policy=policy, send_times=send_times, until=until, model=MODEL)
        if ready.until > self.ends_at:
            raise DataError(f"the shop is open until {self.ends_at.isoformat()}, not {ready.until.isoformat()}")
        _check_journeys(ready.compiled)
        answering = Answering(ready.compiled, self._reactions, np.argsort(self._place))
        everybody = np.arange(self.n_contacts)
        done = in_rounds(
            ready.compiled.program, ready.world, len(ready.compiled.exits), everybody, answering, record=True
        )
        return ShopRun(self, ready, done, answering)

    def mailed(self, n_each: int, *, message: str = "news", hour_of_day: int | None = None, seed: int = 0) -> EventLog:
        """The log of one message a week to everybody, from the week after their signup on, simulated.

        Each goes at an hour of its week drawn uniformly, with `slot_propensity` 1/168; or, with `hour_of_day`, always
        at that local hour, which tells nothing of other hours. The log ends 30 days after the last, and the shop may
        have closed by then. Nobody stops it: contacts who unsubscribe are sent more.

        Args:
            n_each: how many messages each contact gets.
            message: its name.
            hour_of_day: 0 to 23; by default hours are drawn.
            seed: what hours and minutes are drawn from.

        >>> log = Shop(200, seed=7).mailed(3)
        >>> len(log.stream("sent").at), log.property("slot_propensity").values[0].round(4)
        (600, np.float64(0.006))
        """
        rng, contacts = np.random.default_rng(seed), self._contacts
        who = np.repeat(np.arange(self.n_contacts), n_each)
        nth = np.tile(np.arange(n_each), self.n_contacts)
        day = (contacts.signed_up_at[who] // DAY + 1) * DAY + nth * 7 * DAY
        at = day + rng.integers(0, 7 * DAY // SECOND, len(who)) * SECOND
        chosen: dict[str, Any] = {"slot_propensity": np.full(len(who), 1 / WEEK)}
        if hour_of_day is not None:
            local = contacts.hour_of_week(who, day) % 24
            at = day + ((hour_of_day - local) % 24 * HOUR).astype(np.int64) + rng.integers(0, 60, len(who)) * SECOND
            chosen = {}
        in_month = np.minimum(nth, 4).astype(float)
        sends = Sends(who, at, np.zeros_like(who), nth, np.zeros(len(who)), in_month)
        names, step = np.array([message], object)[sends.message], np.arange(len(who)) * STEPS
        happened = Happenings()
        happened.add("sent", who, at, step, message=names, **chosen)
        found = self._reactions.answered(sends, [message])
        respond(happened, found, who, step, names, np.array(["marketing"], object)[sends.message])
        table = happened.table()
        return self.log_of(table, instant(int(at.max()) + 30 * DAY))

    def chances(self, message: str = "news") -> NDArray[np.float64]:
        """The true chance that each contact opens a message sent at each hour of the week, float64 (contact, 168).

        For a contact who is active, rested (no message in the thirty days before), at a mean time of the year.
        """
        return self._reactions.chances(message)

    def truth(self, journeys: Journeys, **options: Any) -> pd.DataFrame:
        """The true share of every branch, simulated: `run(...).branches`, with the options of `run`."""
        return self.run(journeys, **options).branches

    def _repr_html_(self) -> str:
        return block(repr(self), frame(self.contacts.drop(columns="contact"), "contacts"))


def _drift_us(drift_at: datetime | str | None) -> int:
    if drift_at is None:
        return int(NEVER)
    try:
        return microseconds(datetime.fromisoformat(drift_at) if isinstance(drift_at, str) else drift_at)
    except ValueError as problem:
        raise DataError(f"drift_at: {problem}; write it as 2026-03-29T12:00:00+00:00") from None


def _with_parts(journey: Journey) -> Iterator[Journey]:
    yield journey
    for part in journey.parts.values():
        yield from _with_parts(part)


def _check_journeys(compiled: Compiled) -> None:
    """Refuses journeys that ask for what the answers to a send do not tell."""
    for release in compiled.releases:
        journey = release.journey
        asked = c.properties_in(journey) & _UNKNOWN
        for one in _with_parts(journey):
            awaited = [text for node in one.nodes.values() if isinstance(node, WaitFor) for text in node.awaited]
            if any(getattr(c.parse_awaited(text), "link", None) for text in awaited):
                asked.add("link")
        if asked:
            raise DataError(
                f"journey {journey.journey!r} asks for {', '.join(sorted(asked))} of events, which a simulated shop "
                "cannot tell before it has run; ask for the event alone"
            )
