"""What the numbers of a replay rest on beside the log, in sentences that a reader can act on (rules 31 to 35)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from . import layout as o
from .clock import instant
from .durations import length_text
from .errors import nearest
from .journey import MARKETING, Call, Policy, Send
from .language import formatted, instant_text, plural, say
from .program import RESPONSES, Compiled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .bucketed import BucketedLog
    from .eventlog import EventLog
    from .replayruns import LogElsewhere

__all__ = ["notes_on"]

_OWN_EVENTS = {"sent", *RESPONSES, "consent_given", "consent_withdrawn", "erased"}
_MOST_NAMES = 12


def notes_on(
    compiled: Compiled,
    log: EventLog | BucketedLog | LogElsewhere,
    policy: Policy,
    *,
    until_us: int,
    match: timedelta,
    assumed_consent: frozenset[str],
    events: Sequence[str],
    has_send_times: bool,
    by_fallback: tuple[int, int],
    calls: Sequence[str],
    by_edge: NDArray[np.int64],
    n_without_consent: int,
    n_endless: int,
    with_counts: bool = True,
) -> Iterator[str]:
    """The notes on a replay; without counts, those that tell of how many something is true are left out.

    `events` are the names of events that the journeys ask for, `calls` the services that were answered, `by_edge` the
    machine's counts by branch and evidence, `by_fallback` how many sends to how many contacts went at the hour of a
    fallback.
    """
    for purpose in sorted(assumed_consent):
        yield say(
            "The log has no consent event for {purpose!r}: consent is assumed for everybody (rule 34).", purpose=purpose
        )
    if n_without_consent and with_counts:
        yield plural(
            "{n} triggers made no entry because consent did not stand (rule 11).",
            "{n} triggers made no entry because consent did not stand (rule 11).",
            n_without_consent,
        )
    if n_endless and with_counts:
        yield plural(
            "{n} emitted triggers made no entry, as their journeys make each other enter without end at one instant: "
            "more than max_visits entries of one contact (rule 24).",
            "{n} emitted triggers made no entry, as their journeys make each other enter without end at one instant: "
            "more than max_visits entries of one contact (rule 24).",
            n_endless,
        )
    exempt = [one.journey.journey for one in compiled.releases if policy.holdout and not policy.holdout_of(one.journey)]
    if exempt:
        names = ", ".join(sorted({*exempt}))
        yield say(
            "The policy holds nobody out of {names}: the purpose is not {marketing!r} (rule 23).",
            names=names,
            marketing=MARKETING,
        )
    for event in sorted({*events} - _OWN_EVENTS - {*log.known_events}):
        yield _unknown_event(event, log.known_events)
    if with_counts:
        yield from _sends(compiled, by_edge, match)
    if not has_send_times and compiled.models:
        yield say("No send times were given: `at: best` is assumed to be any time.")
    unexplored = sorted(
        {
            info.name
            for info in compiled.nodes
            if isinstance(info.node, Send) and info.node.best and not info.node.best.explore
        }
    )
    if unexplored:
        yield say(
            "No send of {nodes} explores (`explore: 0%`): from what comes of them nothing causal can be learned about "
            "send times.",
            nodes=", ".join(unexplored),
        )
    if by_fallback[0] and with_counts:
        yield say(
            "{sends} to {contacts} that the send times do not know went by the fallback (rule 17).",
            sends=plural("{n} send", "{n} sends", by_fallback[0]),
            contacts=plural("{n} contact", "{n} contacts", by_fallback[1]),
        )
    services = sorted({info.node.call for info in compiled.nodes if isinstance(info.node, Call)} - {*calls})
    if services:
        yield say("Calls of {services} are assumed to succeed.", services=", ".join(services))
    if until_us > log.end_us:
        yield say(
            "The log ends on {at}: what ends later is assumed, as if nothing more happened (rule 35).",
            at=instant_text(instant(log.end_us)),
        )
    if "unsubscribed" in log.known_events and "consent_withdrawn" not in log.known_events:
        yield say(
            "The log has `unsubscribed` events and no `consent_withdrawn`: an unsubscription does not end these "
            "journeys unless exit_when lists it."
        )


def _unknown_event(event: str, names: Sequence[str]) -> str:
    if not names:
        return say("The event {event!r} never occurs in the log; There are no events.", event=event)
    near = nearest(event, names)
    if near is None:
        return say("The event {event!r} never occurs in the log; Known events: {names}.", event=event,
                   names=_names(names))  # fmt: skip
    return say(
        "The event {event!r} never occurs in the log; did you mean {near!r}? Known events: {names}.",
        event=event,
        near=near,
        names=_names(names),
    )


def _names(names: Sequence[str]) -> str:
    ordered = sorted(names)
    if len(ordered) <= _MOST_NAMES:
        return ", ".join(ordered)
    rest = len(ordered) - _MOST_NAMES
    return say("{names} and {n} more", names=", ".join(ordered[:_MOST_NAMES]), n=rest)


def _sends(compiled: Compiled, by_edge: NDArray[np.int64], match: timedelta) -> Iterator[str]:
    """How many sends the log answers for (rule 33)."""
    made = [
        i
        for i, edge in enumerate(compiled.edges)
        if isinstance(compiled.nodes[edge.node].node, Send) and edge.branch == "next"
    ]
    n_sends, n_assumed = int(by_edge[made].sum()), int(by_edge[made][:, o.ASSUMED].sum())
    if n_assumed:
        yield say(
            "{n} of {of} sends have no `sent` of that message in the log within {match}: that nobody responded to them "
            "is assumed (rule 33).",
            n=formatted(n_assumed),
            of=formatted(n_sends),
            match=length_text(match),
        )
