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

from .bucketed import BucketedLog
from .draws import Draws, DrawsInBuckets, Question
from .errors import DataError, known, listed
from .eventlog import EventLog
from .journey import Policy
from .language import say
from .logfacts import LogFacts, facts_of
from .progress import Progress
from .simulation import Simulation
from .tablesource import Table, is_table
from .worlds import Journeys

if TYPE_CHECKING:
    from .advice import SendTimesGiven
    from .replayruns import DrawsElsewhere, LogElsewhere
    from .responses import Responses

__all__ = ["simulate"]


def simulate(
    journeys: Journeys,
    log: EventLog | BucketedLog | LogElsewhere,
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
        log: the event log, in memory, in buckets or in Spark; it decides who enters, and answers the sends that it has
            (rule 33).
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
    question = Question(
        journeys, responses, draws, rng.spawn(1)[0] if isinstance(rng, np.random.Generator) else rng, match, policy,
        scores, send_times, frozenset(replaces or ()), dict(like or {}), forget_from, until, assumed_consent,
    )  # fmt: skip
    runs: Draws | DrawsInBuckets | DrawsElsewhere
    if isinstance(log, EventLog):
        facts = facts_of(log, responses.converts, forget_from)
        _check_messages(facts, question.replaces)
        runs = Draws(question, log, facts, progress)
    else:
        runs = (
            DrawsInBuckets(question, log, progress) if isinstance(log, BucketedLog) else log.drawn(question, progress)
        )
        _check_messages(runs.facts, question.replaces)
    notes += [
        say("Responses to {one!r} are assumed to be like those to {other!r}.", one=one, other=other)
        for one, other in question.like.items()
    ]
    if forget_from is None:
        notes += _others(runs.facts.sent - question.replaced(runs.compiled))
    return Simulation(runs.compiled, log, runs.until, runs, draws, level, tuple(notes))


def _others(messages: Collection[str]) -> list[str]:
    """What is to be said of messages that are in the log beside the journeys' own."""
    if not messages:
        return []
    return [
        say(
            "The log's other messages go on as they were sent: {messages}. Name those that the journey takes the place "
            "of: replaces=[…].",
            messages=listed(messages, most=8),
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


def _check_messages(facts: LogFacts, replaces: Collection[str]) -> None:
    for message in sorted(replaces):
        if message not in facts.messages:
            raise DataError(
                f"replaces: no message {message!r} in the log; {known(message, facts.messages, 'messages')}"
            )


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
