"""The model world: a journey replayed over a log whose sends a response model answers, in many draws (rules 31 to 33).

A contact is followed through the log as long as the log answers: its own events, and its responses to sends that the
log has. From the first send on that the log does not have, the contact's further way is the model's: what the log
tells of its reactions afterwards was answered to other messages, and is not seen. Every draw has another level of the
model, within its error, and other fates; so the spread over the draws holds the model's uncertainty, the draws' own,
and that of a finite number of contacts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from . import layout as o
from .answering import LOCAL_HOUR, Answering
from .clock import NEVER, microseconds
from .divergence import diverged_since, events_of, hidden_after, is_near, messages_in
from .errors import DataError, known, listed
from .execution import run
from .journey import Policy, Send
from .language import say
from .program import Model
from .progress import Progress
from .records import Tally, tally
from .simulation import Simulation
from .tablesource import Table, is_table
from .worlds import Journeys, Ready, prepared

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .advice import SendTimesGiven
    from .eventlog import EventLog
    from .responses import Responses

__all__ = ["simulate"]


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
    scores: Mapping[str, Table] | None = None,
    send_times: SendTimesGiven | None = None,
    assumed_consent: Collection[str] | None = None,
    replaces: Collection[str] | None = None,
    like: Mapping[str, str] | None = None,
    override: str | None = None,
    forget_from: datetime | None = None,
    progress: Progress = None,
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
        send_times: for `at: best`, as for `replay.replay`.
        assumed_consent: the purposes for which consent is assumed.
        scores: for each `score("name")`, a table with `contact`, `score` and optionally `as_of`.
        replaces: the messages of the log that the journeys take the place of, beside those that they send themselves;
            all others go on as they were sent.
        like: for each message that the model does not know, a known one whose responses it is assumed to have.
        override: the reason to use a model that does not reproduce the log's own rates; printed in the result.
        forget_from: an instant from which on the log answers no send; a contact's events after its first send from
            then on are not seen, those that trigger a journey excepted. This is how `backtest` hides what came.
        progress: `True` for a bar, or what to call with the draws done and in all; see `progress`.

    Raises:
        DataError: when the model does not know a message, or does not reproduce the log's own rates and no `override`
            is given, or when an argument does not fit.
        DefinitionError: when a journey, or a feature of the model, does not fit the log.
    """
    _check(draws, level, scores)
    notes = _override(responses, override)
    _check_messages(log, replaces or ())
    model = Model((*responses.features, LOCAL_HOUR), responses.converts, _conversion(log, responses.converts))
    given: dict[str, Any] = {
        "match": match, "policy": policy, "scores": scores, "send_times": send_times, "model": model,
        "ask_from": forget_from,
    }  # fmt: skip
    ready = prepared(journeys, log, until=until, assumed_consent=assumed_consent, **given)
    own = {info.node.send for info in ready.compiled.nodes if isinstance(info.node, Send)}
    replaced = own | {*(replaces or ())}
    since = diverged_since(ready, replaced)
    on_record = np.flatnonzero(since == NEVER)
    # An empty list of contacts would stand for all.
    base = _tally(ready, asks=True, contacts=on_record) if len(on_record) else _nothing(ready)
    naive = _tally(ready, asks=False)
    seen = log.hiding(hidden_after(ready, since, replaced, responses.converts, everything=forget_from is not None))
    ready = prepared(journeys, seen, until=ready.until, assumed_consent=ready.assumed_consent, **given)
    answering = Answering(
        ready.compiled,
        ready.world,
        responses,
        like=like or {},
        n_draws=draws,
        rng=np.random.default_rng(rng),
        soft_share=_soft_share(log, forget_from),
        withdraws=_withdraws(log, forget_from),
        is_as_logged=forget_from is not None,
    )
    notes += [
        say("Responses to {one!r} are assumed to be like those to {other!r}.", one=one, other=other)
        for one, other in (like or {}).items()
    ]
    notes += _others(log, replaced, forget_from)
    diverged = np.flatnonzero(since != NEVER)
    return Simulation(ready, log, diverged, answering, base, naive, draws, level, tuple(notes), progress)


def _nothing(ready: Ready) -> Tally:
    return tally(ready.compiled, [])


def _others(log: EventLog, replaced: Collection[str], forget_from: datetime | None) -> list[str]:
    """What is to be said of messages that are in the log beside the journeys' own."""
    if "message" not in log.property_names or not len(log.stream("sent").row):
        return []
    sent = np.unique(log.property("message").values[log.stream("sent").row])
    texts = log.property("message").categories or []
    others = sorted({texts[int(code)] for code in sent if code == code and code >= 0} - {*replaced})
    if not others or forget_from is not None:
        return []
    return [
        say(
            "The log's other messages go on as they were sent: {messages}. Name those that the journey takes the place "
            "of: replaces=[…].",
            messages=listed(others, most=8),
        )
    ]


def _check(draws: int, level: float, scores: Mapping[str, Any] | None) -> None:
    if draws < 2:
        raise DataError(f"draws: a spread needs at least 2, got {draws}; 200 give steady intervals")
    if not 0 < level < 1:
        raise DataError(f"level: an interval's level lies between 0 and 1, got {level}")
    for name, score in (scores or {}).items():
        if not is_table(score):
            raise DataError(f"score {name!r}: a simulation takes scores as tables with contact, score and as_of")


def _check_messages(log: EventLog, messages: Collection[str]) -> None:
    has = messages_in(log)
    for message in messages:
        if message not in has:
            raise DataError(f"replaces: no message {message!r} in the log; {known(message, has, 'messages')}")


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
    return [
        say(
            "OVERRIDDEN ({reason}): the model does not reproduce the log's own rates: {failures}.",
            reason=override,
            failures=said,
        )
    ]


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


def _tally(ready: Ready, *, asks: bool, contacts: NDArray[np.int64] | None = None) -> Tally:
    """The counts of a plain replay; where `asks`, of those contacts alone who come to no send that is to be asked."""
    ready.world.limits[o.L_ASK_SENDS] = int(asks)
    compiled, n_contacts = ready.compiled, ready.log.n_contacts
    outs = run(compiled.program, ready.world, len(compiled.exits), n_contacts, record=False, contacts=contacts)
    ready.world.limits[o.L_ASK_SENDS] = 1
    return tally(compiled, outs)


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
    known_by = int(NEVER) if before is None else microseconds(before)
    gone, withdrawn = events_of(log, "unsubscribed"), events_of(log, "consent_withdrawn")
    gone, withdrawn = gone[gone["at"] < known_by], withdrawn[withdrawn["at"] < known_by]
    return 2 * int(is_near(withdrawn, gone).sum()) >= len(gone)
