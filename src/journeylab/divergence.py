"""Until when the log speaks for a contact of a simulation, and what of it is not seen afterwards (rules 31 and 33).

A contact follows the log as long as both made the same sends. The way parts where the journey makes one that the log
does not have, or where the log has one that the journey does not make and would have replaced. What the contact then
did in answer to messages was an answer to other messages.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from . import layout as o
from .clock import NEVER
from .execution import asked, recorded, run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .eventlog import EventLog
    from .worlds import Ready

__all__ = ["diverged_since", "events_of", "hidden_after", "is_near", "messages_in"]

_OF_A_SEND = ("delivered", "opened", "clicked", "bounced")
_A_MINUTE = 60_000_000

Hidden = Callable[[str, "NDArray[np.int32]", "NDArray[np.int64]", "NDArray[np.integer[Any]]"], "NDArray[np.bool_]"]


def events_of(log: EventLog, event: str) -> pd.DataFrame:
    """All events of a name, in order of time: `contact` (code), `at` (microseconds), `message` (code, -1 for none)."""
    stream = log.stream(event)
    who = np.repeat(np.arange(log.n_contacts, dtype=np.int64), np.diff(stream.offsets))
    frame = pd.DataFrame({"contact": who, "at": stream.at, "message": _messages_of(log, stream.row)})
    return frame.sort_values("at", kind="stable", ignore_index=True)


def messages_in(log: EventLog) -> list[str]:
    """The messages that the log's events name, by their code."""
    return (log.property("message").categories or []) if "message" in log.property_names else []


def _messages_of(log: EventLog, rows: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    if "message" not in log.property_names or log.property("message").categories is None:
        return np.full(len(rows), -1)
    return np.asarray(log.property("message").held[rows], np.int64)


def is_near(events: pd.DataFrame, others: pd.DataFrame) -> NDArray[np.bool_]:
    """Which events have another of the same contact within a minute; both in order of time."""
    right = others[["contact", "at"]].assign(found=True)
    found = pd.merge_asof(
        events[["contact", "at"]], right, on="at", by="contact", direction="nearest", tolerance=_A_MINUTE
    )
    near: NDArray[np.bool_] = found["found"].notna().to_numpy()
    return near


def _replaced(log: EventLog, replaced: Collection[str]) -> NDArray[np.bool_]:
    """For each code of a message, and in the last place for none, whether it is one of those."""
    return np.array([text in replaced for text in messages_in(log)] + [False], np.bool_)


def diverged_since(ready: Ready, replaced: Collection[str]) -> NDArray[np.int64]:
    """The instant from which the log does not speak for each contact (microseconds), NEVER where it does to the end."""
    program, n_contacts, n_exits = ready.compiled.program, ready.log.n_contacts, len(ready.compiled.exits)
    first = asked(program, run(program, ready.world, n_exits, n_contacts, record=False))
    since = np.full(n_contacts, NEVER)
    since[first.place] = first.rows[:, o.K_AT]
    sent = events_of(ready.log, "sent")
    sent = sent[_replaced(ready.log, replaced)[sent["message"]]]
    if len(sent):
        foreign = _foreign(ready, sent)
        np.minimum.at(since, foreign["contact"].to_numpy(), foreign["at"].to_numpy())
    return since


def _foreign(ready: Ready, sent: pd.DataFrame) -> pd.DataFrame:
    """The log's sends, from a contact's first entry on, that the journeys do not make."""
    limits, compiled = ready.world.limits, ready.compiled
    who = np.unique(sent["contact"].to_numpy())
    limits[o.L_ASK_SENDS] = 0
    outs = run(compiled.program, ready.world, len(compiled.exits), ready.log.n_contacts, record=True, contacts=who)
    limits[o.L_ASK_SENDS] = 1
    found = recorded(outs)
    entered = np.full(ready.log.n_contacts, NEVER)
    np.minimum.at(entered, found.entries[:, o.R_CONTACT], found.entries[:, o.R_STARTED])
    visits, left_at = found.visits, found.times[:, 1]
    is_send = compiled.program.nodes[visits[:, o.V_NODE], o.N_OP] == o.OP_SEND
    is_made = is_send & (visits[:, o.V_EDGE] == compiled.program.nodes[visits[:, o.V_NODE], o.N_EDGE])
    is_made &= found.marks[:, o.V_REASON] == o.BECAUSE_NOT
    made = pd.DataFrame(
        {
            "contact": found.contact[is_made],
            "at": left_at[is_made] - limits[o.L_BEFORE],
            "message": _message_codes(ready)[visits[is_made, o.V_NODE]],
            "made_at": left_at[is_made],
        }
    ).sort_values("at", kind="stable")
    within = sent[sent["at"].to_numpy() >= entered[sent["contact"].to_numpy()]].astype({"message": np.int64})
    nearest = pd.merge_asof(within, made, on="at", by=["contact", "message"])
    late = nearest["at"] - nearest["made_at"].fillna(-int(NEVER)) > limits[o.L_MATCH]
    return nearest[late.to_numpy()]


def _message_codes(ready: Ready) -> NDArray[np.int64]:
    """The log's code of each node's message, -1 for other nodes and for messages that the log does not have."""
    code = {text: i for i, text in enumerate(messages_in(ready.log))}
    return np.array([code.get(getattr(one.node, "send", ""), -1) for one in ready.compiled.nodes], np.int64)


def hidden_after(
    ready: Ready, since: NDArray[np.int64], replaced: Collection[str], converts: str | None, *, everything: bool
) -> Hidden:
    """Which events are not seen, for `EventLog.hiding`: reactions of contacts after the log ceased to speak for them.

    A response to a message that was sent before is still seen, and so is everything about messages that are not
    replaced. With `everything`, only what triggers journeys or ends them of itself is seen, and the sends of others.
    """
    log, is_replaced = ready.log, _replaced(ready.log, replaced)
    causes = {one.event for release in ready.compiled.releases for one in release.journey.exit_when}
    triggers = {one.journey.trigger.event for one in ready.compiled.releases}
    given = {*triggers, *causes, "sent", "consent_withdrawn", "erased"} - {*_OF_A_SEND, "complained", "unsubscribed"}
    sent = events_of(log, "sent").assign(sent_at=lambda frame: frame["at"])
    gone = events_of(log, "unsubscribed")
    gone = gone[is_replaced[gone["message"]] | (gone["message"] < 0)]

    def hidden(
        event: str, contact: NDArray[np.int32], at: NDArray[np.int64], row: NDArray[np.integer[Any]]
    ) -> NDArray[np.bool_]:
        late: NDArray[np.bool_] = at > since[contact]
        message = _messages_of(log, row)
        if event == "sent":  # the send itself, too: the model answers it, and it is not its own past
            return (at >= since[contact]) & is_replaced[message]
        if event == converts or (everything and event not in given):
            return late
        if event == "consent_withdrawn":
            order = np.argsort(at, kind="stable")
            near = np.empty(len(at), np.bool_)
            near[order] = is_near(pd.DataFrame({"contact": contact[order].astype(np.int64), "at": at[order]}), gone)
            return late & near
        if event in ("complained", "unsubscribed"):
            return late & (is_replaced[message] | (message < 0))
        if event not in _OF_A_SEND:
            return np.zeros(len(at), np.bool_)
        late &= is_replaced[message]
        late[late] = _sent_at(sent, contact[late], message[late], at[late]) > since[contact[late]]
        return late

    return hidden


def _sent_at(
    sent: pd.DataFrame, contact: NDArray[np.int32], message: NDArray[np.int64], at: NDArray[np.int64]
) -> NDArray[np.int64]:
    """When the message was sent that a response answers; NEVER where the log does not have that send."""
    order = np.argsort(at, kind="stable")
    answered = pd.DataFrame({"contact": contact[order].astype(np.int64), "message": message[order], "at": at[order]})
    found = pd.merge_asof(answered, sent, on="at", by=["contact", "message"])
    sent_at = np.empty(len(at), np.int64)
    sent_at[order] = found["sent_at"].fillna(int(NEVER)).to_numpy(np.int64)
    return sent_at
