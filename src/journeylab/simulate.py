"""The model world: a journey replayed over a log whose sends a response model answers, in many draws (rules 31 to 33).

A contact is followed through the log as long as the log answers: its own events, and its responses to sends that the
log has. From the first send on that the log does not have, the contact's further way is the model's: what the log
tells of its reactions afterwards was answered to other messages, and is not seen. Every draw has another level of the
model, within its error, and other fates; so the spread over the draws holds the model's uncertainty, the draws' own,
and that of a finite number of contacts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from . import layout as o
from .answering import LOCAL_HOUR, Answering
from .clock import NEVER, microseconds
from .errors import DataError
from .execution import Progress, asked, run
from .journey import Policy
from .program import Compiled, Model
from .records import Tally, tally
from .simulation import Diverged, Simulation
from .worlds import Journeys, Ready, prepared

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .eventlog import EventLog
    from .responses import Responses

__all__ = ["simulate"]

_ALWAYS_LATE = ("sent", "complained", "unsubscribed")
_A_MINUTE = 60_000_000
_OF_A_SEND = ("delivered", "opened", "clicked", "bounced")


def simulate(
    journeys: Journeys,
    log: EventLog,
    *,
    responses: Responses,
    draws: int = 200,
    level: float = 0.9,
    rng: np.random.Generator | int = 0,
    until: datetime | str | None = None,
    match: timedelta | str = "1h",
    policy: Policy | None = None,
    scores: Mapping[str, pd.DataFrame] | None = None,
    send_times: pd.DataFrame | None = None,
    assumed_consent: Collection[str] | None = None,
    like: Mapping[str, str] | None = None,
    override: str | None = None,
    forget_from: datetime | None = None,
    progress: Progress | None = None,
) -> Simulation:
    """What the journeys would have done, with the responses of a model where the log has none, as a `Simulation`.

    Args:
        journeys: one journey, a portfolio, journeys that run together, or releases of them.
        log: the event log; it decides who enters, and answers the sends that it has (rule 33).
        responses: the response model; see `responses.fit_responses`, and `responses.Responses` for one's own.
        draws: how many times the model answers.
        level: of the prediction intervals, in 0..1.
        rng: decides the draws; the same number gives the same simulation.
        until: as for `replay.replay`, like the following.
        match: how much later than a send a logged `sent` may be that answers for it (rule 33). It may be a minute
            earlier, no more: what came of it would be missed.
        policy: what holds over all journeys.
        send_times: for `at: best`.
        assumed_consent: the purposes for which consent is assumed.
        scores: for each `score("name")`, a table with `contact`, `score` and optionally `as_of`.
        like: for each message that the model does not know, a known one whose responses it is assumed to have.
        override: the reason to use a model that does not reproduce the log's own rates; printed in the result.
        forget_from: an instant from which on the log answers no send; a contact's events after its first send from
            then on are not seen, those that trigger a journey excepted. This is how `backtest` hides what came.
        progress: called with the contacts done and in all.

    Raises:
        DataError: when the model does not know a message, or does not reproduce the log's own rates and no `override`
            is given, or when an argument does not fit.
        DefinitionError: when a journey, or a feature of the model, does not fit the log.
    """
    _check(draws, level, scores)
    notes = _override(responses, override)
    model = Model((*responses.features, LOCAL_HOUR), responses.converts, _conversion(log, responses.converts))
    given: dict[str, Any] = {
        "match": match, "policy": policy, "scores": scores, "send_times": send_times, "model": model,
        "ask_from": forget_from,
    }  # fmt: skip
    ready = prepared(journeys, log, until=until, assumed_consent=assumed_consent, **given)
    naive = _answered_by_the_log(ready)
    diverged, base = _until_the_model(ready)
    reduced = log.hiding(_hidden(ready, diverged, responses.converts, everything=forget_from is not None))
    ready = prepared(journeys, reduced, until=ready.until, assumed_consent=ready.assumed_consent, **given)
    answering = Answering(
        ready.compiled,
        ready.world,
        responses,
        like=like or {},
        n_draws=draws,
        rng=np.random.default_rng(rng),
        soft_share=_soft_share(log, forget_from),
        withdraws=_withdraws(log, forget_from),
    )
    assumed = [
        f"Responses to {ours!r} are assumed to be like those to {theirs!r}." for ours, theirs in (like or {}).items()
    ]
    return Simulation(ready, log, diverged, answering, base, naive, draws, level, (*notes, *assumed), progress)


def _check(draws: int, level: float, scores: Mapping[str, Any] | None) -> None:
    if draws < 2:
        raise DataError(f"draws: a spread needs at least 2, got {draws}; 200 give steady intervals")
    if not 0 < level < 1:
        raise DataError(f"level: an interval's level lies between 0 and 1, got {level}")
    for name, score in (scores or {}).items():
        if not isinstance(score, pd.DataFrame):
            raise DataError(f"score {name!r}: a simulation takes scores as tables with contact, score and as_of")


def _override(responses: Responses, override: str | None) -> list[str]:
    """What is to be printed of a model that does not reproduce the rates it was validated on.

    Raises:
        DataError: when there is such a model and no reason to use it all the same.
    """
    failures = list(getattr(responses, "failures", ()))
    if not failures:
        return []
    said = "; ".join(failures)
    if override is None:
        raise DataError(
            f"the model does not reproduce the log's own rates within its interval: {said}. Scenarios built on it "
            "would mislead; fit it on a period that is like the one asked about, or say why it is used all the same: "
            'override="…"'
        )
    return [f"OVERRIDDEN ({override}): the model does not reproduce the log's own rates: {said}."]


def _conversion(log: EventLog, converts: str | None) -> dict[str, float]:
    """The mean of each numeric property of the event that a conversion is; conditions on predicted ones see it."""
    if converts is None or converts not in log.event_names:
        return {}
    row = log.stream(converts).row
    means = {}
    for name in log.property_names:
        column = log.property(name)
        if column.kind == "number" and len(row):
            values = column.values[row]
            if not np.isnan(values).all():
                means[name] = float(np.nanmean(values))
    return means


def _answered_by_the_log(ready: Ready) -> Tally:
    """The counts of a plain replay."""
    ready.world.limits[o.L_ASK_SENDS] = 0
    outs = run(ready.compiled.program, ready.world, len(ready.compiled.exits), ready.log.n_contacts, record=False)
    ready.world.limits[o.L_ASK_SENDS] = 1
    return tally(ready.compiled, outs)


def _until_the_model(ready: Ready) -> tuple[Diverged, Tally]:
    """The contacts that come to a send which the log does not answer; and the counts of all others."""
    program, n_contacts = ready.compiled.program, ready.log.n_contacts
    outs = run(program, ready.world, len(ready.compiled.exits), n_contacts, record=False)
    first = asked(program, outs)
    base = tally(ready.compiled, outs)
    return Diverged(first.place, first._replace(place=np.arange(len(first.place)))), base


def _triggers(compiled: Compiled) -> set[str]:
    """The events that make entries."""
    return {str(one.journey.trigger.event) for one in compiled.releases if one.journey.trigger.event is not None}


def _hidden(
    ready: Ready, diverged: Diverged, converts: str | None, *, everything: bool
) -> Callable[..., NDArray[np.bool_]]:
    """Which events are not seen: reactions of contacts after the send from which on the model answers for them.

    A response to a message that the log sent before is still seen.
    """
    log = ready.log
    since = np.full(log.n_contacts, NEVER)
    since[diverged.contacts] = diverged.first.rows[:, o.K_AT]
    triggers = _triggers(ready.compiled)

    def hidden(
        event: str, contact: NDArray[np.int32], at: NDArray[np.int64], row: NDArray[np.integer[Any]]
    ) -> NDArray[np.bool_]:
        late: NDArray[np.bool_] = at > since[contact]
        if event in _ALWAYS_LATE or event == converts or (everything and event not in triggers):
            return late
        if event == "consent_withdrawn":
            return late & _by_unsubscribing(log, contact, at)
        if event not in _OF_A_SEND or "message" not in log.property_names:
            return np.zeros(len(at), np.bool_)
        late[late] = _sent_at(log, contact[late], at[late], row[late]) > since[contact[late]]
        return late

    return hidden


def _by_unsubscribing(log: EventLog, contact: NDArray[np.int32], at: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which withdrawals of consent come within a minute of an `unsubscribed`, and so answer a message."""
    gone = log.stream("unsubscribed")
    who = np.repeat(np.arange(log.n_contacts, dtype=np.int64), np.diff(gone.offsets))
    near = np.zeros(len(at), np.bool_)
    order = np.argsort(at, kind="stable")
    asked = pd.DataFrame({"contact": contact[order].astype(np.int64), "at": at[order]})
    known_ones = pd.DataFrame({"contact": who, "at": gone.at, "gone_at": gone.at}).sort_values("at", kind="stable")
    found = pd.merge_asof(asked, known_ones, on="at", by="contact", direction="nearest", tolerance=_A_MINUTE)
    near[order] = found["gone_at"].notna().to_numpy()
    return near


def _sent_at(
    log: EventLog, contact: NDArray[np.int32], at: NDArray[np.int64], row: NDArray[np.integer[Any]]
) -> NDArray[np.int64]:
    """When the message was sent that a response answers; NEVER where the log does not have that send."""
    sent, message = log.stream("sent"), log.property("message").values
    who = np.repeat(np.arange(log.n_contacts, dtype=np.int64), np.diff(sent.offsets))
    made = pd.DataFrame({"contact": who, "message": message[sent.row], "at": sent.at, "sent_at": sent.at})
    answered = pd.DataFrame({"contact": contact.astype(np.int64), "message": message[row], "at": at})
    order = np.argsort(at, kind="stable")
    found = pd.merge_asof(
        answered.iloc[order].reset_index(drop=True), made.sort_values("at", kind="stable"), on="at",
        by=["contact", "message"],
    )  # fmt: skip
    sent_at = np.empty(len(at), np.int64)
    sent_at[order] = found["sent_at"].fillna(int(NEVER)).to_numpy(np.int64)
    return sent_at


def _soft_share(log: EventLog, before: datetime | None) -> float:
    """The share of bounces that are soft, which do not stop further messages."""
    if "bounce_type" not in log.property_names or "bounced" not in log.event_names:
        return 0.0
    stream, column = log.stream("bounced"), log.property("bounce_type")
    rows = stream.row if before is None else stream.row[stream.at < microseconds(before)]
    if not len(rows) or column.categories is None or "soft" not in column.categories:
        return 0.0
    return float((column.values[rows] == column.categories.index("soft")).mean())


def _withdraws(log: EventLog, before: datetime | None) -> bool:
    """Whether in the log at least half of those who unsubscribe withdraw their consent within a minute."""
    n_gone = int((log.stream("unsubscribed").at < (NEVER if before is None else microseconds(before))).sum())
    withdrawn = log.stream("consent_withdrawn")
    who = np.repeat(np.arange(log.n_contacts, dtype=np.int32), np.diff(withdrawn.offsets))
    mine = withdrawn.at < (NEVER if before is None else microseconds(before))
    return 2 * int(_by_unsubscribing(log, who[mine], withdrawn.at[mine]).sum()) >= n_gone
