"""From a log to the curve of mails a week, or why the log cannot tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, hstack

from journeylab.durations import duration_text
from journeylab.errors import DataError, listed
from journeylab.sendhistory import Features

from .rates import RateFit, fit_rates, level_before, standardised
from .result import MailFrequency, Rates, curve_of, first_fall, seen_note
from .sends import DAY, HARMS, OUTCOMES, SendTable, people_only

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from journeylab.eventlog import EventLog

    from .rates import Bools, Floats, Ints
    from .sends import Came

__all__ = ["mail_frequency"]

_LEAST_SENDS, _LEAST_CONTACTS, _LEAST_CAME = 200, 50, 10
_LEAST_STEADY_SENDS, _LEAST_STEADY_CONTACTS, _STEADY = 100, 30, 0.75
_LEAST_SPREAD = 0.05  # of mails a week among sends that are otherwise alike, as a variance: one in twenty gets one more
_LEAST_HARMS = 20
_MOST_MESSAGES, _LEAST_OF_MESSAGE, _MOST_PERIODS = 60, 100, 30
_PENALTY, _HARM_PENALTY, _VOLUME_PENALTY = 0.25, 1.0, 1e-3
_MANY_CUT = 0.05
_NEEDED = 2 * (1.645 + 0.842) ** 2 / math.log(0.8) ** 2
"""How many outcomes each arm of an experiment needs to see a fall by a fifth, four times of five, at 5 %."""


def mail_frequency(
    log: EventLog,
    *,
    outcome: str = "clicked",
    harm: str = "unsubscribed",
    within: timedelta | str = "7d",
    most: int = 8,
    steady: bool = True,
    randomised: bool = False,
    adjust: Sequence[str] = (),
    until: datetime | str | None = None,
    level: float = 0.9,
    timezone: str = "UTC",
) -> MailFrequency:
    """What comes of a mail by how many the contact gets a week, who gets how many adjusted for, as a `MailFrequency`.

    A send makes the mails of the seven days before it one more: that many a week. What came of it (people's opens and
    clicks; a click counts as an open) is compared with what came of sends of the same message, in the same week of the
    calendar, as long after the contact's first send, to contacts of the same level who did as much on their own. A
    contact's level is learned from what came of its own sends, as docs/frequency.md and `rates` explain. Conditional
    models, which compare a contact with itself alone, are not used: they are wrong where readers are sent more, and
    where an unsubscribe ends the sends.

    An unsubscribe happens once, so it is a hazard: by send, between contacts, with the same adjustment, and with the
    level at which the contact answered its sends before. As few unsubscribe, it is taken to rise or fall by the same
    factor with each mail.

    Args:
        log: the event log, with `sent` events and their `message`, and people's opens or clicks.
        outcome: "clicked" or "opened".
        harm: "unsubscribed" or "complained"; one without a message is laid to the last send before it.
        within: how long after a send its outcome is looked for; later sends are left out.
        most: the greatest number of mails a week that is told apart; more count with it.
        steady: whether k mails a week means k in each week of the last thirty days; otherwise in the last seven days,
            and those before as they were.
        randomised: whether chance alone decided how many mails contacts get, as by a `split`. What contacts do on
            their own is not adjusted for then.
        adjust: more that is known of a send, as values in the language of conditions: what decided on the volume.
        until: nothing later is looked at: aware, or ISO text; by default the log's end.
        level: of the intervals, within 0..1; contacts are the clusters.
        timezone: the zone of contacts without one of their own (rule 3), for `adjust`.

    Raises:
        DataError: when an argument is at fault, there are no sends or outcomes, or nearly everybody is sent the same
            number of mails, so that the log cannot tell: with what to leave to chance (rule 32).
        DefinitionError: when a value of `adjust` is at fault or does not fit the log, with all faults.

    >>> from journeylab import Exit, Journey, Send, Split, Trigger, Wait
    >>> from journeylab.shop import Shop
    >>> nodes = {"volume": Split(split={"mail_1": "50%", "mail_3": "50%"})}
    >>> for often, pause in ((1, "170h"), (3, "57h")):
    ...     nodes[f"mail_{often}"] = Send(send="news", next=f"pause_{often}")
    ...     nodes[f"pause_{often}"] = Wait(wait=pause, next=f"mail_{often}")
    >>> journey = Journey(journey="news", trigger=Trigger(event="signup"), nodes=nodes)
    >>> log = Shop(600, seed=3, fatigue=0.4).run(journey).log
    >>> found = mail_frequency(log, outcome="opened", within="2d", randomised=True)
    >>> found
    MailFrequency(opened within 2d, 8,339 sends to 558 contacts: falls from 3 a week on, up to 3; randomised)
    """
    _check(outcome, harm, most, level)
    people, tells = people_only(log)
    table = SendTable.of(people, within, until)
    came, harmed = table.came(outcome), table.came(harm)
    if came is None:
        raise DataError(
            f"no send of this log was {outcome} by a person within {duration_text(table.sends.within)}: `{outcome}` "
            "events with the `message` of the send are needed"
        )
    design = _Design.of_table(table, came, most, adjust, timezone, is_randomised=randomised, is_steady=steady)
    fit, _ = _fitted(design, came)
    rates = _rates(design, fit, design.known, is_line=False)
    harms = _harm_rates(design, harmed, came if outcome == "opened" else table.came("opened") or came)
    curve = curve_of(rates, harms, design.naive(came), design.naive(harmed), design.counts(), level)
    notes = [*_notes(design, tells_machines=tells), *_harm_notes(harm, harmed, harms)]
    return MailFrequency(
        curve=curve,
        falls_from=first_fall(rates, level),
        outcome=outcome,
        harm=harm,
        within=table.sends.within,
        is_steady=steady,
        is_randomised=randomised,
        n_sends=len(table.at),
        n_contacts=int(table.contact.max()) + 1,
        level=level,
        notes=[*notes, *seen_note(rates, outcome, level)],
        _rates=rates,
        _harms=harms,
    )


def _check(outcome: str, harm: str, most: int, level: float) -> None:
    for name, value, options in (("outcome", outcome, OUTCOMES), ("harm", harm, HARMS)):
        if value not in options:
            raise DataError(f"{name} is one of {listed(options)}; got {value!r}")
    if most < 2:
        raise DataError(f"most is 2 or more, for one mail a week to be compared with; got {most}")
    if not 0 < level < 1:
        raise DataError(f"level lies between 0 and 1, such as 0.9; got {level!r}")


@dataclass(frozen=True, eq=False)
class _Design:
    """What is known of each send, and the numbers of mails a week that are told apart.

    Attributes:
        table: the sends.
        of: by send, its number of mails a week, from `n_levels` on that; 0 where the week before is not all known.
        n_levels: the greatest number that is told apart.
        n_shown: the greatest of which the log can speak.
        mails: by number up to `n_levels`, the mean of the mails a week.
        known: sparse (send, column), of the outcome; the first column is the constant.
        known_of_harm: the same with less in it.
        is_randomised: whether chance alone decided on the number.
        is_steady: whether the rest of the month goes along with the week.
    """

    table: SendTable
    of: Ints
    n_levels: int
    n_shown: int
    mails: Floats
    known: Any
    known_of_harm: Any
    is_randomised: bool
    is_steady: bool

    @classmethod
    def of_table(
        cls,
        table: SendTable,
        came: Came,
        most: int,
        adjust: Sequence[str],
        timezone: str,
        *,
        is_randomised: bool,
        is_steady: bool,
    ) -> _Design:
        """The design; DataError where nearly everybody is sent the same number of mails."""
        n_levels = _n_levels(table, came, most)
        of = np.where(table.is_known, np.minimum(table.week, n_levels), 0)
        message = _frequent(table.message)
        period = (table.at - 4 * DAY) // (7 * DAY)  # from Mondays on
        period = (period - period.min()) // -(-(int(np.ptp(period)) + 1) // _MOST_PERIODS)
        constant, unknown = np.ones((len(of), 1)), 1.0 - table.is_known[:, None]
        more = [] if is_randomised else [table.own]
        more += [_values(table, adjust, timezone)] if adjust else []
        known = hstack([constant, _each(message), _each(period), _each(table.tenure), unknown, *more]).tocsr()
        # Few harms cannot carry as much: a week, a month or longer since the first send.
        tenure = np.searchsorted([1, 8, 10], table.tenure, side="right")
        known_of_harm = hstack([constant, _each(message), _each(tenure), unknown, *more]).tocsr()
        _check_spread(table, came, known)
        mails = np.array([table.week[of == one].mean() for one in range(1, n_levels + 1)])
        n_shown = _n_steady(table, of, mails) if is_steady else n_levels
        if n_shown < 2:
            raise DataError(
                "no contacts, or hardly any, were sent two or more mails a week throughout a month, so the log cannot "
                "tell what that does. Ask with steady=False what the last seven days do, the weeks before left as "
                f"they were; or {_experiment(came)}"
            )
        return cls(table, of, n_levels, n_shown, mails, known, known_of_harm, is_randomised, is_steady)

    def naive(self, came: Came | None) -> Floats:
        """The rate by number of mails, nothing adjusted for."""
        if came is None:
            return np.zeros(self.n_shown)
        return np.array([came.came[self.of == one].mean() for one in range(1, self.n_shown + 1)])

    def counts(self) -> pd.DataFrame:
        """`mails_per_week`, `and_more`, `mean_mails`, `n_sends`, `n_contacts`."""
        rows = []
        for one in range(1, self.n_shown + 1):
            mine = self.of == one
            has_more = bool((self.table.week[mine] > one).any())
            n_contacts = len(np.unique(self.table.contact[mine]))
            rows.append((one, has_more, self.mails[one - 1], int(mine.sum()), n_contacts))
        return pd.DataFrame(rows, columns=["mails_per_week", "and_more", "mean_mails", "n_sends", "n_contacts"])

    def volumes(self, number: int | None, *, is_line: bool) -> Any:
        """The columns of how much was sent before: as it was, or as if it were that many a week at all known sends.

        A column for each number from 2 on, or one that counts for `is_line`, and one for the rest of the month.
        """
        if number is None:
            of, rest = self.of, np.where(self.table.is_known, self.table.rest, 0.0)
            mails = np.where(self.of > 0, self.table.week, 1.0)
        else:
            rest = self.table.rest[self.table.is_known]
            of, mails = np.full(len(rest), number), np.full(len(rest), self.mails[number - 1])
            rest = mails if self.is_steady else rest
        week = [mails - 1] if is_line else [of == one for one in range(2, self.n_levels + 1)]
        return csr_matrix(np.column_stack([*week, rest]).astype(np.float64))


def _n_levels(table: SendTable, came: Came, most: int) -> int:
    """The greatest number of mails a week up to which each occurs often enough; more mails count with it.

    A contact's first send tells nothing: it has none before it, whatever is sent.
    """
    later = table.is_known & (table.tenure > 0)

    def is_enough(mine: Bools) -> bool:
        n_contacts = len(np.unique(table.contact[mine]))
        return mine.sum() >= _LEAST_SENDS and n_contacts >= _LEAST_CONTACTS and came.came[mine].sum() >= _LEAST_CAME

    number = 1
    while number < most and is_enough(later & (table.week == number)) and is_enough(later & (table.week > number)):
        number += 1
    if number < 2:
        n_once = int((later & (table.week == 1)).sum())
        n_more = int((later & (table.week > 1)).sum())
        raise DataError(
            f"nearly everybody is sent the same: {n_once:,} sends after a contact's first are its only one in a week, "
            f"and {n_more:,} are not; of either {_LEAST_SENDS} are needed, to {_LEAST_CONTACTS} contacts, with "
            f"{_LEAST_CAME} outcomes. To tell what more mails do, {_experiment(came)}"
        )
    return number


def _check_spread(table: SendTable, came: Came, known: Any) -> None:
    """Refuses a log in which what else is known of a send settles how many mails a week it makes."""
    later = table.is_known & (table.tenure > 0)
    design, week = known[later], np.minimum(table.week[later], 8).astype(np.float64)
    squares = (design.T @ design).toarray()
    fitted = design @ np.linalg.solve(squares + 1e-6 * np.eye(len(squares)) * max(len(week), 1), design.T @ week)
    spread = float(np.mean((week - fitted) ** 2))
    if spread < _LEAST_SPREAD:
        raise DataError(
            "nearly everybody is sent the same number of mails: the message, the week and the time since the first "
            f"send settle it but for a variance of {spread:.3f} (at least {_LEAST_SPREAD} is needed). To tell what "
            f"more mails do, {_experiment(came)}"
        )


def _experiment(came: Came) -> str:
    rate = float(came.came.mean())
    needed = math.ceil(_NEEDED / (8 * rate) / 10) * 10
    return (
        "let a `split` draw for each contact how many mails it gets, such as 1, 2 or 4 a week, and write its "
        f"probability into `propensity`; at {rate:.1%} outcomes a mail about {needed:,} contacts in each arm show a "
        "fall by a fifth within eight weeks"
    )


def _n_steady(table: SendTable, of: Ints, mails: Floats) -> int:
    """The greatest number of mails a week that enough contacts were sent for about a month; those below lie between."""
    for number in range(len(mails), 1, -1):
        mine = (of == number) & (table.rest >= _STEADY * number)
        if mine.sum() >= _LEAST_STEADY_SENDS and len(np.unique(table.contact[mine])) >= _LEAST_STEADY_CONTACTS:
            return number
    return 1


def _frequent(message: Ints) -> Ints:
    """The messages, those of few sends and all beyond the most frequent ones taken together."""
    n = np.bincount(message)
    frequent = np.argsort(-n, kind="stable")[:_MOST_MESSAGES]
    frequent = frequent[n[frequent] >= _LEAST_OF_MESSAGE]
    return np.where(np.isin(message, frequent), message, len(n))


def _each(codes: Ints) -> Any:
    """A column for each code but the first."""
    found, place = np.unique(codes, return_inverse=True)
    columns = csr_matrix((np.ones(len(codes)), (np.arange(len(codes)), place)), shape=(len(codes), len(found)))
    return columns[:, 1:]


def _values(table: SendTable, adjust: Sequence[str], timezone: str) -> Floats:
    """The values of `adjust`, each with mean 0 and deviation 1, and where one is missing in a column of its own."""
    rows = table.rows
    asked = Features(table.sends.log, tuple(adjust), timezone)
    columns = []
    for values in asked.values(table.sends.contact[rows], table.sends.at[rows]).T:
        is_missing = np.isnan(values)
        held = values[~is_missing]
        if len(held) and held.std() > 0:
            columns.append(np.where(is_missing, 0.0, (values - held.mean()) / held.std()))
        if is_missing.any() and not is_missing.all():
            columns.append(is_missing.astype(np.float64))
    return np.column_stack([*columns, np.empty((len(rows), 0))])


def _fitted(design: _Design, came: Came) -> tuple[RateFit, Any]:
    whole = hstack([design.known, design.volumes(None, is_line=False)]).tocsr()
    penalty = np.full(whole.shape[1], _PENALTY)
    penalty[0], penalty[design.known.shape[1] :] = 0.0, _VOLUME_PENALTY
    return fit_rates(came.came, came.opportunity, whole, design.table.contact, penalty), whole


def _harm_rates(design: _Design, harmed: Came | None, came: Came) -> Rates | None:
    """The rates of harm; None where there is too little of it."""
    if harmed is None or harmed.came.sum() < _LEAST_HARMS:
        return None
    fit, whole = _fitted(design, came)
    level = level_before(fit, came.came, came.opportunity, whole, design.table.contact)
    known = hstack([design.known_of_harm, np.log(level)[:, None]]).tocsr()
    whole = hstack([known, design.volumes(None, is_line=True)]).tocsr()
    penalty = np.full(whole.shape[1], _HARM_PENALTY)
    penalty[0], penalty[known.shape[1] - 1 :] = 0.0, _VOLUME_PENALTY
    found = fit_rates(harmed.came, harmed.opportunity, whole, design.table.contact, penalty, has_levels=False)
    return _rates(design, found, known, is_line=True)


def _rates(design: _Design, fit: RateFit, known: Any, *, is_line: bool) -> Rates:
    """The mean rate at each number of mails, over the contacts and their known sends."""
    here, contact = known[design.table.is_known], design.table.contact[design.table.is_known]
    found = [
        standardised(fit, hstack([here, design.volumes(number, is_line=is_line)]).tocsr(), contact)
        for number in range(1, design.n_shown + 1)
    ]
    return Rates(
        design.mails[: design.n_shown],
        np.array([one.mean for one in found]),
        np.column_stack([one.influence for one in found]),
    )


def _notes(design: _Design, *, tells_machines: bool) -> list[str]:
    """What the figures rest on, in sentences."""
    table, notes = design.table, []
    if design.is_randomised:
        notes.append("That chance alone decided how many mails contacts get is taken from randomised=True.")
    else:
        notes.append(
            "Nobody drew how many mails contacts get: the figures rest on the adjustment, not on an experiment. What "
            "else had a say in it, and matters for what comes of a mail, is not adjusted for."
        )
    notes.append(
        "A rate at k mails a week is that of contacts who are sent k in each week of a month."
        if design.is_steady
        else "A rate at k mails a week is that of k in the last seven days, the weeks before as they were."
    )
    if design.n_shown < design.n_levels:
        notes.append(
            f"Hardly any contacts were sent more than {design.n_shown} a week throughout a month: of that the log "
            "cannot tell."
        )
    if not tells_machines:
        notes.append("The log does not say which opens and clicks are machines' (`is_machine`): all count as people's.")
    if table.cut_share > _MANY_CUT:
        notes.append(
            f"{table.cut_share:.0%} of the sends were followed by the same message within "
            f"{duration_text(table.sends.within)}: what came after that counts for the later send, and the earlier "
            "one by the share of what comes so soon."
        )
    return notes


def _harm_notes(harm: str, harmed: Came | None, harms: Rates | None) -> list[str]:
    n = 0 if harmed is None else int(harmed.came.sum())
    if harms is None:
        return [
            f"Only {n:,} sends were {harm}, too few to say how that goes with the number (at least {_LEAST_HARMS})."
        ]
    return [f"{n:,} sends were {harm}: taken to change by the same factor with each mail."]
