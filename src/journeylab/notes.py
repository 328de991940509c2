"""What the numbers of a replay rest on beside the log, in sentences that a reader can act on (rules 31 to 35)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from . import layout as o
from .clock import instant
from .display import counted
from .errors import known
from .journey import MARKETING, Call, Policy, Send
from .program import RESPONSES, Compiled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .eventlog import EventLog

__all__ = ["notes_on"]

_OWN_EVENTS = {"sent", *RESPONSES, "consent_given", "consent_withdrawn", "erased"}


def notes_on(
    compiled: Compiled,
    log: EventLog,
    policy: Policy,
    *,
    until_us: int,
    match: str,
    assumed_consent: frozenset[str],
    events: Sequence[str],
    has_send_times: bool,
    by_fallback: tuple[int, int],
    calls: Sequence[str],
    by_edge: NDArray[np.int64],
    n_without_consent: int,
    n_endless: int,
) -> Iterator[str]:
    """The notes on a replay.

    `events` are the names of events that the journeys ask for, `calls` the services that were answered, `by_edge` the
    machine's counts by branch and evidence, `by_fallback` how many sends to how many contacts went at the hour of a
    fallback.
    """
    for purpose in sorted(assumed_consent):
        yield f"The log has no consent event for {purpose!r}: consent is assumed for everybody (rule 34)."
    if n_without_consent:
        yield f"{n_without_consent:,} triggers made no entry because consent did not stand (rule 11)."
    if n_endless:
        yield (
            f"{n_endless:,} emitted triggers made no entry, as their journeys make each other enter without end at one "
            "instant: more than max_visits entries of one contact (rule 24)."
        )
    exempt = [one.journey.journey for one in compiled.releases if policy.holdout and not policy.holdout_of(one.journey)]
    if exempt:
        names = ", ".join(sorted({*exempt}))
        yield f"The policy holds nobody out of {names}: the purpose is not {MARKETING!r} (rule 23)."
    for event in sorted({*events} - _OWN_EVENTS - {*log.event_names}):
        yield f"The event {event!r} never occurs in the log; {known(event, log.event_names, 'events')}"
    yield from _sends(compiled, by_edge, match)
    if not has_send_times and compiled.models:
        yield "No send times were given: `at: best` is assumed to be any time."
    unexplored = sorted(
        {
            info.name
            for info in compiled.nodes
            if isinstance(info.node, Send) and info.node.best and not info.node.best.explore
        }
    )
    if unexplored:
        yield (
            f"No send of {', '.join(unexplored)} explores (`explore: 0%`): from what comes of them nothing causal can "
            "be learned about send times."
        )
    if by_fallback[0]:
        yield (
            f"{counted(by_fallback[0], 'send')} to {counted(by_fallback[1], 'contact')} that the send times do not "
            "know went by the fallback (rule 17)."
        )
    services = sorted({info.node.call for info in compiled.nodes if isinstance(info.node, Call)} - {*calls})
    if services:
        yield f"Calls of {', '.join(services)} are assumed to succeed."
    if until_us > log.end_us:
        yield (
            f"The log ends on {instant(log.end_us):%Y-%m-%d %H:%M} UTC: what ends later is assumed, as if nothing more "
            "happened (rule 35)."
        )
    if "unsubscribed" in log.event_names and "consent_withdrawn" not in log.event_names:
        yield (
            "The log has `unsubscribed` events and no `consent_withdrawn`: an unsubscription does not end these "
            "journeys unless exit_when lists it."
        )


def _sends(compiled: Compiled, by_edge: NDArray[np.int64], match: str) -> Iterator[str]:
    """How many sends the log answers for (rule 33)."""
    made = [
        i
        for i, edge in enumerate(compiled.edges)
        if isinstance(compiled.nodes[edge.node].node, Send) and edge.branch == "next"
    ]
    n_sends, n_assumed = int(by_edge[made].sum()), int(by_edge[made][:, o.ASSUMED].sum())
    if n_assumed:
        yield (
            f"{n_assumed:,} of {n_sends:,} sends have no `sent` of that message in the log within {match}: that nobody "
            "responded to them is assumed (rule 33)."
        )
