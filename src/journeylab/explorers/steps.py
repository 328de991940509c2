"""What became of one entry of a replay, step by step, each wait and exit explained by the rule behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from journeylab.errors import DataError, known
from journeylab.journey import Best, Decide, Exit, Journey, Node, Run, Send, Split, Wait, WaitFor, WaitUntil, Window
from journeylab.language import date_text, duration_words, later, list_text, plural, say
from journeylab.resulttables import Tables

from .samplepaths import pseudonym

if TYPE_CHECKING:
    from journeylab.replay import Replay

__all__ = ["ANY", "EntryPath", "contact_path", "counted_places", "entries_that_went", "path_of"]

_AROUND = timedelta(days=7)
ANY = "any"
_REASONS = {
    "consent": later("there was no consent"), "suppression": later("the address takes no more mail"),
    "at": later("its hour did not come in time"), "quiet_hours": later("quiet hours lasted too long"),
    "cap": later("the cap of the journey was reached"), "policy_cap": later("the cap of all journeys was reached"),
    "holdout": later("the contact is held out"), "pause": later("sending was paused"),
    "late": later("it would have been too late"), "stale": later("what it depends on was too old"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EntryPath(Tables):
    """One entry of a contact under a pseudonym.

    Attributes:
        pseudonym: the contact's, for this session.
        journey: the journey's name.
        timezone: the contact's own, or the journey's where it has none.
        steps: `node`, `branch` (missing for an exit and while still inside), `arrived_at`, `left_at` (UTC, missing
            while still inside), `arrived_local` (text), `evidence`, and `why` it went on as it did, in a sentence.
        events: the contact's events from a week before the entry until a week after it: `event`, `occurred_at` (UTC),
            `occurred_local` (text).
        exit: the name of the exit; None while still inside.
    """

    _table_names: ClassVar = ("steps", "events")

    pseudonym: str
    journey: str
    timezone: str
    steps: pd.DataFrame
    events: pd.DataFrame
    exit: str | None


def entries_that_went(result: Replay, went: str = ANY, journey: str | None = None) -> list[tuple[Any, int]]:
    """The entries, as contact and number, that went somewhere, in the order of their pseudonyms.

    Args:
        result: a replay.
        went: "any", "node:NAME", "branch:NODE:BRANCH", "exit:NAME", or "inside" for who is still inside.
        journey: its name; it may be left out where there is only one.

    Raises:
        DataError: when there is no such journey or place.
    """
    name = _journey(result, journey).journey
    visits, entries = (one[one["journey"] == name] for one in (result.visits, result.entries))
    kind, _, place = went.partition(":")
    if kind == "node":
        found = visits[visits["node"] == _known(place, visits["node"], "nodes")]
    elif kind == "branch":
        node, _, branch = place.rpartition(":")
        at_node = visits[visits["node"] == _known(node, visits["node"], "nodes")]
        found = at_node[at_node["branch"] == _known(branch, at_node["branch"], "branches")]
    elif kind == "exit":
        found = entries[entries["exit"] == _known(place, entries["exit"], "exits")]
    elif went == "inside":
        found = entries[entries["exit"].isna()]
    elif went == ANY:
        found = entries
    else:
        raise DataError(f'went={went!r}: write "any", "inside", "node:NAME", "branch:NODE:BRANCH" or "exit:NAME"')
    pairs = dict.fromkeys(zip(found["contact"].tolist(), found["entry"].tolist(), strict=True))
    return sorted(pairs, key=lambda one: (pseudonym(one[0]), one[1]))


def contact_path(result: Replay, went: str = ANY, place: int = 0, journey: str | None = None) -> EntryPath:
    """The path of one entry that went somewhere: its steps explained, and the events around it.

    Args:
        result: a replay.
        went: where; see `entries_that_went`.
        place: which of them, from 0 on.
        journey: its name; it may be left out where there is only one.

    Raises:
        DataError: when there is no such journey, place or entry.
    """
    found = entries_that_went(result, went, journey)
    if not 0 <= place < len(found):
        raise DataError(f"place={place}: {len(found)} entries went there, counted from 0")
    return path_of(result, *found[place], _journey(result, journey))


def path_of(result: Replay, contact: Any, entry: int, journey: Journey) -> EntryPath:
    """As `contact_path`, of an entry by its contact and number."""
    log = result.log_in_memory
    name = journey.journey
    visits, sends, entries = (
        one[(one["contact"] == contact) & (one["journey"] == name) & (one["entry"] == entry)]
        for one in (result.visits, result.sends, result.entries)
    )
    row = entries.iloc[0]
    zone = _zone(result, contact, journey)
    left = None if pd.isna(row["exit"]) else str(row["exit"])
    decided = {(one.node, one.visit): one for one in sends.itertuples()}
    whys = [
        _why(journey, one, decided.get((one.node, one.visit)), is_last=k == len(visits) - 1, left=left, zone=zone)
        for k, one in enumerate(visits.itertuples())
    ]
    steps = pd.DataFrame({
        "node": visits["node"].astype("str").to_numpy(), "branch": visits["branch"].astype("str").to_numpy(),
        "arrived_at": visits["arrived_at"].to_numpy(), "left_at": visits["left_at"].to_numpy(),
        "evidence": visits["evidence"].astype("str").to_numpy(),
    })  # fmt: skip
    for column in ("arrived_at", "left_at"):
        steps[column] = pd.to_datetime(steps[column], utc=True)
    steps["arrived_local"] = pd.array([local_text(one, zone) for one in steps["arrived_at"]], dtype="str")
    steps["why"] = pd.array(whys, dtype="str")
    start, end = row["entered_at"] - _AROUND, (result.until if pd.isna(row["left_at"]) else row["left_at"]) + _AROUND
    code = int(np.flatnonzero(log.contact_ids.to_numpy(zero_copy_only=False) == contact)[0])
    happened = sorted(
        (at, event)
        for event in log.event_names
        for stream in [log.stream(event)]
        for at in stream.at[stream.offsets[code] : stream.offsets[code + 1]].tolist()
        if start.value // 1000 <= at <= pd.Timestamp(end).value // 1000
    )
    instants = pd.to_datetime(np.array([at for at, _ in happened], "datetime64[us]"), utc=True)
    events = pd.DataFrame({
        "event": pd.array([event for _, event in happened], dtype="str"), "occurred_at": instants,
        "occurred_local": pd.array([local_text(one, zone) for one in instants], dtype="str"),
    })  # fmt: skip
    return EntryPath(
        pseudonym=pseudonym(contact), journey=name, timezone=str(zone), steps=steps, events=events, exit=left
    )


def local_text(at: datetime, zone: ZoneInfo) -> str:
    """An instant in a time zone, to the minute."""
    local = at.astimezone(zone)
    return f"{date_text(local.date())} {local:%H:%M}"


def _journey(result: Replay, name: str | None) -> Journey:
    there = {one.journey: one for one in result.journeys}
    if name is None and len(there) == 1:
        [name] = there
    if name not in there:
        raise DataError(f"journey={name!r}: {known(str(name), there, 'journeys')}")
    return there[name]


def _known(name: str, column: pd.Series[str], what: str) -> str:
    there = column.dropna().unique()
    if name not in set(there):
        raise DataError(f"{name!r}: {known(name, there, what)}")
    return name


def _zone(result: Replay, contact: Any, journey: Journey) -> ZoneInfo:
    if "timezone" in result.log_in_memory.attribute_names:
        table = result.log_in_memory.contacts(result.until)
        value = table.loc[table["contact"] == contact, "timezone"].iloc[0]
        if not pd.isna(value):
            return ZoneInfo(str(value))
    return ZoneInfo(journey.timezone)


def _node(journey: Journey, name: str) -> Node:
    """A node by its name, those of sub-journeys below the node that runs them."""
    first, _, rest = name.partition(".")
    node = journey.nodes[first]
    return _node(journey.parts[node.run], rest) if rest and isinstance(node, Run) else node


def _why(journey: Journey, visit: Any, sent: Any, *, is_last: bool, left: str | None, zone: ZoneInfo) -> str:
    node = _node(journey, visit.node)
    is_open = pd.isna(visit.branch)
    length = None if pd.isna(visit.left_at) else visit.left_at - visit.arrived_at
    if isinstance(node, Exit):
        return say("Left by the exit {exit}.", exit=node.exit) if is_last else say("The sub-journey ends here.")
    if is_open and is_last:
        return _stopped(node, left, length)
    match node:
        case Send():
            return " ".join(_of_send(journey, node, sent, length, visit.arrived_at.astimezone(zone)))
        case Wait():
            return say("Waited {wait}.", wait=duration_words(node.wait))
        case WaitUntil():
            return say("Waited until {at}, local time.", at=local_text(visit.left_at, zone))
        case WaitFor():
            what = node.wait_for if isinstance(node.wait_for, str) else say("one of what is awaited")
            if visit.branch == "else":
                return say("{what} did not come within {within}.", what=what, within=duration_words(node.within))
            return say("{what} came after {length}.", what=what, length=duration_words(length or timedelta()))
        case Decide():
            held = next((one.condition for one in node.decide if one.go == visit.branch), None)
            if held is None:
                return say("None of the conditions held.")
            return say("It held that {condition}.", condition=held)
        case Split():
            return say("Drawn by the contact's hash: {arm}.", arm=visit.branch)
        case Run():
            return say("The sub-journey {name} begins.", name=node.run)
    return say("Done at once.")


def _of_send(journey: Journey, node: Send, sent: Any, length: timedelta | None, arrived: datetime) -> Iterator[str]:
    """What a send waited for, as far as the time of arrival tells, and what became of it."""
    if length and length > timedelta(minutes=1):
        reasons, time, quiet = [], f"{arrived:%H:%M}", journey.quiet_hours
        if isinstance(node.at, Best):
            reasons.append(say("its best hour"))
        elif isinstance(node.at, Window) and not (
            node.at.between[0] <= time < node.at.between[1] and f"{arrived:%a}".lower() in node.at.days
        ):
            reasons.append(say("its window from {start} to {end}", start=node.at.between[0], end=node.at.between[1]))
        if quiet is not None and (
            quiet.start <= time < quiet.end if quiet.start < quiet.end else not quiet.end <= time < quiet.start
        ):
            reasons.append(say("the end of quiet hours ({start} to {end})", start=quiet.start, end=quiet.end))
        if not reasons and journey.cap is not None:
            reasons.append(say("room under the cap"))
        awaited = list_text(reasons) or say("its turn")
        yield say("Waited {length} for {what}, local time.", length=duration_words(length), what=awaited)
    if sent is None or sent.is_sent:
        yield say("Sent {message}.", message=node.send)
    else:
        reason = say(_REASONS[sent.reason]) if sent.reason in _REASONS else str(sent.reason)
        yield say("Not sent {message}: {reason}.", message=node.send, reason=reason)


def _stopped(node: Node, left: str | None, length: timedelta | None) -> str:
    """Why an entry ended at a node that has not led on."""
    stayed = duration_words(length) if length is not None else ""
    if left is None:
        return say("Still here when the replay ends.")
    if left.startswith("goal:"):
        return say(
            "The goal {event} came after {length} here: left by {exit}.", event=left[5:], length=stayed, exit=left
        )
    if isinstance(node, Send) and left.startswith("consent"):
        return say("Consent was withdrawn: left by {exit}.", exit=left)
    return say("{exit} came after {length} here, which ends every entry.", exit=left, length=stayed)


def counted_places(result: Replay, journey: str) -> list[tuple[str, int, str]]:
    """Every place that entries went to: how `went` writes it, how many entries, and its words."""
    visits = result.visits[result.visits["journey"] == journey]
    entries = result.entries[result.entries["journey"] == journey]
    found = [(ANY, len(entries), say("any of them"))]
    exits = entries["exit"].value_counts()
    found += [(f"exit:{name}", int(n), say("left by {exit}", exit=name)) for name, n in exits.items() if n]
    n_inside = int(entries["exit"].isna().sum())
    if n_inside:
        found.append(("inside", n_inside, say("still inside")))
    keys = ["contact", "entry", "node"]
    nodes = visits.drop_duplicates(keys)["node"].value_counts()
    branches = visits.drop_duplicates([*keys, "branch"]).groupby(["node", "branch"], observed=True).size()
    for name in dict.fromkeys(visits["node"]):
        found.append((f"node:{name}", int(nodes[name]), say("came to {node}", node=name)))
        mine = branches[name] if name in branches.index.get_level_values(0) else pd.Series(dtype="int64")
        if len(mine) > 1:
            found += [
                (f"branch:{name}:{branch}", int(n), f"{name} → {branch}") for branch, n in mine.items() if n
            ]  # fmt: skip
    return found


def counted_words(n: int, smallest: int) -> str:
    """How many entries, as people read it."""
    return say("fewer than {n} entries", n=smallest) if 0 < n < smallest else plural("{n} entry", "{n} entries", n)
