"""The oracle: docs/semantics.md held a second time, slowly and literally, to be read beside that page.

`interpret` replays journeys over a log, one contact at a time, one instant after the other, one step after the other.
It shares no code with the package, so that where the two agree, each is evidence for the other. Numbers in
parentheses are rules. Where the page leaves a detail open, the reading taken here says "Reading:".

>>> hello = {"journey": "hello", "trigger": {"event": "signup"},
...          "nodes": {"welcome": {"send": "welcome_1", "next": "done"}, "done": {"exit": "finished"}}}
>>> t = datetime(2026, 3, 2, 9, tzinfo=UTC)
>>> log = [{"contact": "ada", "event": "consent_given", "occurred_at": t - DAY},
...        {"contact": "ada", "event": "signup", "occurred_at": t}]
>>> [(visit.node, visit.branch, visit.evidence) for visit in interpret([hello], log, []).visits]
[('welcome', 'next', 'assumed'), ('done', None, 'observed')]
"""

from __future__ import annotations

import ast
import hashlib
import math
import operator
import re
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

Spec: TypeAlias = dict[str, Any]
ZERO, DAY, MICROSECOND = timedelta(0), timedelta(days=1), timedelta(microseconds=1)
NEVER = datetime.max.replace(tzinfo=UTC)
FIRST_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
VERBS = ("send", "wait", "wait_until", "wait_for", "decide", "split", "run", "set", "emit", "call", "exit")
RESPONSES = ("delivered", "opened", "clicked", "bounced", "complained", "unsubscribed")


class VisitRow(NamedTuple):
    """One visit; `left_at` and `branch` are missing while it is open, `branch` also where the entry left or ended."""

    contact: Any
    journey: str
    entry: int
    node: str
    visit: int
    arrived_at: datetime
    left_at: datetime | None
    branch: str | None
    evidence: str


class EntryRow(NamedTuple):
    """One entry; `left_at` and `exit` are missing while it runs."""

    contact: Any
    journey: str
    entry: int
    entered_at: datetime
    left_at: datetime | None
    exit: str | None
    converted: bool
    held_out: bool


class SendRow(NamedTuple):
    """One send that was decided: made at `sent_at`, or skipped for `reason`; and what advised its hour (17)."""

    contact: Any
    journey: str
    entry: int
    node: str
    visit: int
    message: str
    sent_at: datetime | None
    reason: str | None
    advice: str | None = None
    slot_propensity: float | None = None
    slots: str | None = None


class ArmRow(NamedTuple):
    """One arm that was assigned, that of a holdout included, with the text that was hashed (22, 23)."""

    contact: Any
    journey: str
    entry: int
    unit: str
    node: str
    arm: str
    probability: float
    assigned_at: datetime


@dataclass
class Result:
    """Visits and sends by contact, entry, arrival, journey and order of happening; entries by contact and journey.

    Arms are in the order of the visits; an entry's holdouts come first.
    """

    visits: list[VisitRow] = field(default_factory=list)
    entries: list[EntryRow] = field(default_factory=list)
    sends: list[SendRow] = field(default_factory=list)
    arms: list[ArmRow] = field(default_factory=list)


# Durations and local time (2, 3, 4) ---------------------------------------------------------------------------------

UNITS = {
    "w": 7 * DAY, "d": DAY, "h": timedelta(hours=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1), "us": MICROSECOND,
}  # fmt: skip


@cache
def duration(text: str) -> timedelta:
    """Exact elapsed time; a day is 24 hours (2)."""
    if not re.fullmatch(r"-?(\d+(w|d|h|ms|us|m|s))+", text):
        raise ValueError(f"no duration: {text!r}")
    total = sum((int(n) * UNITS[unit] for n, unit in re.findall(r"(\d+)(ms|us|w|d|h|m|s)", text)), ZERO)
    return -total if text.startswith("-") else total


@cache
def clock_time(text: str) -> timedelta:
    """A local time as what the clock shows after midnight; `24:00` is the next midnight."""
    hours, minutes, seconds = (int(part) for part in f"{text}:00".split(":")[:3])
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def local(at: datetime, zone: str) -> datetime:
    """What the local clock and calendar show."""
    return at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


@cache
def local_instant(day: date, after_midnight: timedelta, zone: str) -> datetime:
    """The first instant at which the local clock shows this time of this day, or a later one (3)."""
    wall = datetime.combine(day, time()) + after_midnight
    shown = wall.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)  # of two occurrences this is the first
    if local(shown, zone) == wall:
        return shown
    before, after = wall.replace(tzinfo=ZoneInfo(zone), fold=1).astimezone(UTC), shown  # on either side of the gap
    while after - before > MICROSECOND:
        between = before + (after - before) // 2
        before, after = (before, between) if local(between, zone) >= wall else (between, after)
    return after


@dataclass(frozen=True)
class Window:
    """A daily local window (4)."""

    start: timedelta
    end: timedelta
    days: tuple[str, ...] = WEEKDAYS

    def spans(self, at: datetime, zone: str) -> Iterator[tuple[datetime, datetime]]:
        """The spans that have not ended at `at`, in order; one that the gap swallows does not occur."""
        day = local(at, zone).date() - 2 * DAY
        while True:
            end_day = day + DAY if self.end < self.start else day
            span = local_instant(day, self.start, zone), local_instant(end_day, self.end, zone)
            if WEEKDAYS[day.weekday()] in self.days and span[0] < span[1] and at < span[1]:
                yield span
            day += DAY

    def opens(self, at: datetime, zone: str) -> datetime:
        """The first instant from `at` on that is inside."""
        return max(at, next(self.spans(at, zone))[0])

    def is_over(self, at: datetime, zone: str, latest: datetime) -> datetime:
        """The first instant from `at` on that is outside, or one after `latest`; one span may follow on another."""
        for start, end in self.spans(at, zone):
            if at < start:
                break
            at = end
            if at > latest:
                break
        return at


def window(spec: Spec) -> Window:
    """The window of `{between, days}`."""
    start, end = spec["between"]
    return Window(clock_time(start), clock_time(end), tuple(spec.get("days", WEEKDAYS)))


class Hour(NamedTuple):
    """A local hour: which one of the week, and what of it is left from an instant on."""

    of_week: int
    at: datetime
    end: datetime


def hours_from(at: datetime, zone: str) -> Iterator[Hour]:
    """The local hours that end after `at`, in order; one that the gap swallows does not occur (3)."""
    day = local(at, zone).date() - 2 * DAY
    while True:
        for hour in range(24):
            start, end = (local_instant(day, timedelta(hours=h), zone) for h in (hour, hour + 1))
            if start < end and at < end:
                yield Hour(day.weekday() * 24 + hour, max(at, start), end)
        day += DAY


# Keyed hash (22) ----------------------------------------------------------------------------------------------------

WORD = 2**64 - 1


def siphash(key: bytes, data: bytes) -> int:
    """SipHash-2-4 with a 64-bit result (Aumasson and Bernstein 2012)."""

    def rotated(x: int, n: int) -> int:
        return (x << n | x >> (64 - n)) & WORD

    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    a, b = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D
    c, d = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573

    def rounds(n: int) -> None:
        nonlocal a, b, c, d
        for _ in range(n):
            a, c = (a + b) & WORD, (c + d) & WORD
            b, d = rotated(b, 13) ^ a, rotated(d, 16) ^ c
            a = rotated(a, 32)
            c, a = (c + b) & WORD, (a + d) & WORD
            b, d = rotated(b, 17) ^ c, rotated(d, 21) ^ a
            c = rotated(c, 32)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) % 256])
    for i in range(0, len(padded), 8):
        word = int.from_bytes(padded[i : i + 8], "little")
        d ^= word
        rounds(2)
        a ^= word
    c ^= 0xFF
    rounds(4)
    return a ^ b ^ c ^ d


def mix(x: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    x = (x + 0x9E3779B97F4A7C15) & WORD
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & WORD
    x = (x ^ x >> 27) * 0x94D049BB133111EB & WORD
    return x ^ x >> 31


def unit_text(value: Any) -> str:
    """What stands for a contact or another unit: a whole number's decimals (22)."""
    return str(int(value)) if isinstance(value, int | float) else str(value)


def unit_of(text: str) -> int:
    """The unit as a number: the same everywhere."""
    return siphash(b"journeylab/units", text.encode())


def uniform(unit: int, text: str) -> float:
    """A number strictly between 0 and 1, fixed by the unit and the text."""
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return ((mix(unit ^ key) >> 11) + 0.5) * 2.0**-53


def share(written: str | float) -> Fraction:
    """An exact share of `"40%"` or 0.4."""
    text = str(written).strip()
    return Fraction(text.rstrip("% ")) / 100 if text.endswith("%") else Fraction(text)


def arm_of(unit: int, salt: str, shares: Spec) -> str:
    """The arm by weighted rendezvous: a raised share only wins contacts, and no more than the raise demands (22)."""
    weights = {arm: float(share(written)) for arm, written in shares.items()}
    return min((-math.log(uniform(unit, f"{salt}/{arm}")) / w, arm) for arm, w in weights.items() if w > 0)[1]


# Events and attributes (1, 7) ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Event:
    """One event of a contact; `rank` orders a contact's events: by instant, logged before emitted, then by row (1)."""

    name: str
    at: datetime
    properties: dict[str, Any]
    rank: tuple[datetime, bool, int]

    @property
    def is_logged(self) -> bool:
        return not self.rank[1]


def is_missing(value: Any) -> bool:
    return value is None or value != value


def typed(value: Any, kind: type) -> Any:
    """A value of an attribute in its own type, which the text in an `attribute_changed` event may have lost."""
    if is_missing(value):
        return None
    if isinstance(value, str) and kind is bool:
        return {"true": True, "false": False}[value.lower()]
    if isinstance(value, str) and kind is datetime:
        return datetime.fromisoformat(value).astimezone(UTC)
    if isinstance(value, str) and kind is date:
        return date.fromisoformat(value)
    return float(value) if isinstance(value, str) and kind is float else value


class History:
    """What has happened to one contact: events in the contact's order, and attributes with their changes."""

    def __init__(self, rows: list[Spec], attributes: Spec, kinds: dict[str, type]) -> None:
        self.events: list[Event] = []
        self.named: dict[str, list[Event]] = defaultdict(list)
        self._attributes = {name: value for name, value in attributes.items() if not is_missing(value)}
        self._changes: dict[str, list[tuple[datetime, Any]]] = defaultdict(list)
        self._kinds = kinds
        for row in sorted(rows, key=lambda row: row["occurred_at"]):  # stable: then by row
            properties = {k: v for k, v in row.items() if k not in ("contact", "event", "occurred_at", "properties")}
            self._add(row["event"], row["occurred_at"].astimezone(UTC), {**properties, **row.get("properties", {})})
        self.first_logged_at = self.events[0].at if self.events else None

    def _add(self, name: str, at: datetime, properties: Spec, *, is_emitted: bool = False) -> None:
        known = {key: value for key, value in properties.items() if not is_missing(value)}
        event = Event(name, at, known, (at, is_emitted, len(self.events)))
        insort(self.events, event, key=lambda e: e.rank)
        insort(self.named[name], event, key=lambda e: e.rank)
        if name == "attribute_changed":
            self.set(known["name"], at, known.get("value"))

    def emit(self, name: str, at: datetime, properties: Spec) -> None:
        """An event that a journey makes follows all logged events of its instant, and those emitted before it (1)."""
        self._add(name, at, properties, is_emitted=True)

    def set(self, name: str, at: datetime, value: Any) -> None:
        """A change follows all changes of its instant that are there (7)."""
        insort(self._changes[name], (at, typed(value, self._kinds.get(name, str))), key=lambda change: change[0])

    def attribute(self, name: str, at: datetime) -> Any:
        """The value as of an instant, or `None` (7)."""
        changes = self._changes.get(name, [])
        n = bisect_right(changes, at, key=lambda change: change[0])
        return changes[n - 1][1] if n else self._attributes.get(name)

    def zone(self, at: datetime, otherwise: str) -> str:
        """The contact's time zone as of an instant, else the journey's (3)."""
        return str(self.attribute("timezone", at) or otherwise)

    def at(self, instant: datetime) -> list[Event]:
        """The events of one instant."""
        first = bisect_left(self.events, instant, key=lambda e: e.at)
        return self.events[first : bisect_right(self.events, instant, key=lambda e: e.at)]

    def between(self, name: str, after: datetime | None, until: datetime) -> list[Event]:
        """The events of a name in (after, until], in order."""
        return [e for e in self.named.get(name, []) if (after is None or e.at > after) and e.at <= until]

    def next_instant(self, at: datetime) -> datetime | None:
        n = bisect_right(self.events, at, key=lambda e: e.at)
        return self.events[n].at if n < len(self.events) else None


# Definitions --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a text stands: how it names nodes (25), and which segments it knows."""

    prefix: str
    segments: dict[str, Any]


@dataclass(frozen=True)
class Node:
    """A node under its full name; `run` is the `run` node whose part it belongs to."""

    name: str
    verb: str
    spec: dict[str, Any]
    place: Place
    run: Node | None

    def target(self, written: str) -> str:
        return self.place.prefix + written


class Journey:
    """A definition, its defaults filled in and its parts unfolded (25)."""

    def __init__(self, spec: Spec, parts: dict[str, Spec], shared: Spec) -> None:
        self.name: str = spec["journey"]
        self.purpose: str = spec.get("purpose", "marketing")
        self.timezone: str = spec.get("timezone", "UTC")
        self.trigger: Spec = spec["trigger"]
        self.exit_when: list[Spec] = spec.get("exit_when", [])
        quiet = spec.get("quiet_hours")
        self.quiet_hours = Window(clock_time(quiet["from"]), clock_time(quiet["to"])) if quiet else None
        self.cap: Spec | None = spec.get("cap")
        self.holdout = share(spec.get("holdout", 0))
        self.unit: str = spec.get("unit", "contact")
        self.max_visits: int = spec.get("max_visits", 20)
        self.order = (-spec.get("priority", 0), self.name)
        self.place = Place("", {**shared, **spec.get("segments", {})})
        self.nodes: dict[str, Node] = {}
        self.first_of_part: dict[str, str] = {}
        self.first = self._unfold(spec, parts, shared, "", None)

    def _unfold(self, spec: Spec, parts: dict[str, Spec], shared: Spec, prefix: str, run: Node | None) -> str:
        """Adds the nodes under their full names; returns the first one's."""
        place = Place(prefix, {**shared, **spec.get("segments", {})})
        for name, node_spec in spec["nodes"].items():
            (verb,) = (verb for verb in VERBS if verb in node_spec)
            node = self.nodes[prefix + name] = Node(prefix + name, verb, node_spec, place, run)
            if verb == "run":
                part = parts[node_spec["run"]]
                self.first_of_part[node.name] = self._unfold(part, parts, shared, f"{node.name}.", node)
        return prefix + str(spec.get("start") or next(iter(spec["nodes"])))


@dataclass
class Visit:
    """A visit under way; `wake_at` is where its wait or its hold ends."""

    node: Node
    number: int
    arrived_at: datetime
    wake_at: datetime
    left_at: datetime | None = None
    branch: str | None = None
    evidence: str = "observed"
    has_no_date: bool = False
    advice: str | None = None
    slot_propensity: float | None = None
    slots: str | None = None
    sent_at: datetime | None = None
    reason: str | None = None
    judged: dict[tuple[int, Event], bool] = field(default_factory=dict)

    @property
    def deadline(self) -> datetime:
        return self.arrived_at + duration(self.node.spec["within"])

    def close(self, at: datetime, branch: str | None = None) -> None:
        self.left_at, self.branch = at, branch


class Awaited(NamedTuple):
    """What a `wait_for` awaits: an event of a name, or where a node is named a response to its message (8, 9)."""

    name: str
    node: str | None
    link: str | None
    where: str | None
    branch: str
    target: str


class Sent(NamedTuple):
    """One message that was really sent, and whether the log has it (33)."""

    journey: str
    node: str
    at: datetime
    is_in_log: bool


@dataclass
class Entry:
    """One run of one contact through a journey; `open` are its open visits, the `run` nodes around the last one."""

    journey: Journey
    number: int
    entered_at: datetime
    trigger: Event | None
    unit: str
    is_held_out: bool
    visits: list[Visit] = field(default_factory=list)
    open: list[Visit] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    arms: list[ArmRow] = field(default_factory=list)
    judged: set[Event] = field(default_factory=set)
    left_at: datetime | None = None
    exit: str | None = None
    is_converted: bool = False

    @property
    def order(self) -> tuple[int, str, int]:
        """The order of entries at one instant (21)."""
        return (*self.journey.order, self.number)

    def last_sent(self, node: str, at: datetime) -> Sent | None:
        """The last send of a node's message in this entry, as of an instant (9)."""
        return next((sent for sent in reversed(self.sent) if sent.node == node and sent.at <= at), None)

    def arrive(self, name: str, at: datetime) -> Visit | None:
        """Opens a visit, or ends the entry when it would be one too many (24)."""
        number = 1 + sum(visit.node.name == name for visit in self.visits)
        if number > self.journey.max_visits:
            self.leave(at, "max_visits")
            return None
        visit = Visit(self.journey.nodes[name], number, at, at)
        self.visits.append(visit)
        self.open.append(visit)
        return visit

    def leave(self, at: datetime, text: str, *, is_converted: bool = False) -> None:
        """Ends the entry; what is open closes with no branch (14)."""
        for visit in self.open:
            visit.close(at)
        self.open.clear()
        self.left_at, self.exit, self.is_converted = at, text, is_converted


# Conditions (6, 7, 9) -----------------------------------------------------------------------------------------------

COMPARISONS = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip
ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
FLAGS = {"true": True, "false": False}


@cache
def parsed(text: str) -> ast.expr:
    return ast.parse(text.strip(), mode="eval").body


def as_of_kind(value: Any, other: Any, *, is_order: bool) -> Any:
    """A written text as the kind of what it is compared with: a duration or a date; only dates have an order."""
    if not isinstance(value, str):
        return value
    if isinstance(other, timedelta):
        return duration(value)
    if isinstance(other, datetime) or (is_order and isinstance(other, str)):
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return date.fromisoformat(value) if isinstance(other, date) else value


@dataclass
class Question:
    """Conditions asked of one contact as of one instant.

    `event` is the event whose `where` this is; `of_past_events` says that a bare name is a property of it only.
    `rests_on_silence` and `asked_a_score` gather what the answers rest on (33).
    """

    history: History
    at: datetime
    journey: Journey
    place: Place
    scores: dict[str, float | None]
    entry: Entry | None = None
    event: Event | None = None
    of_past_events: bool = False
    rests_on_silence: bool = False
    asked_a_score: bool = False

    def holds(self, text: str | None) -> bool:
        return text is None or self.flag(parsed(text))

    def flag(self, node: ast.expr) -> bool:
        """A missing flag is false (7)."""
        value = self.value(node)
        if not isinstance(value, bool | None):
            raise TypeError(f"no flag: {ast.unparse(node)}")
        return bool(value)

    def value(self, node: ast.expr) -> Any:
        """The value of an expression, `None` where it is missing; every part is asked, none is passed over."""
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return FLAGS[name] if name in FLAGS else self.bare_name(name)
            case ast.Attribute(value=ast.Name(id="entry"), attr=name):
                trigger = self.entry.trigger if self.entry else self.event
                return trigger.properties.get(name) if trigger else None
            case ast.BoolOp(op=op, values=values):
                flags = [self.flag(value) for value in values]
                return all(flags) if isinstance(op, ast.And) else any(flags)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self.flag(operand)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                value = self.value(operand)
                return None if value is None else -value
            case ast.BinOp(left=left, op=op, right=right):
                return self.calculated(self.value(left), type(op), self.value(right))
            case ast.Compare():
                return self.compared(node)
            case ast.Call(func=ast.Name(id=name), args=args):
                return self.called(name, args, {one.arg: one.value for one in node.keywords})
        raise TypeError(f"no condition: {ast.unparse(node)}")

    def bare_name(self, name: str) -> Any:
        """A property of the event at hand, else the contact's attribute as of the instant (7)."""
        value = self.event.properties.get(name) if self.event else None
        return value if value is not None or self.of_past_events else self.history.attribute(name, self.at)

    def calculated(self, left: Any, op: type[ast.operator], right: Any) -> Any:
        """Arithmetic with a missing value is missing, division by zero too (7)."""
        if left is None or right is None or (op is ast.Div and right == 0):
            return None
        return ARITHMETIC[op](left, right)

    def compared(self, node: ast.Compare) -> bool:
        """Every link of a chain must hold; one with a missing value does not, `!=` and `not in` included (7)."""
        sides = [node.left, *node.comparators]
        is_weekday = any(ast.unparse(side) == "weekday()" for side in sides)
        values = [self.side(side, is_weekday) for side in sides]
        return all(self.link(op, *pair) for op, pair in zip(node.ops, pairwise(values), strict=True))

    def side(self, node: ast.expr, is_weekday: bool) -> Any:
        """The value of a side, or the values of a list; beside weekday() a day's name is its number."""
        if isinstance(node, ast.List | ast.Tuple):
            return [self.side(one, is_weekday) for one in node.elts]
        value = self.value(node)
        return WEEKDAYS.index(value.lower()) if is_weekday and isinstance(value, str) else value

    def link(self, op: ast.cmpop, left: Any, right: Any) -> bool:
        if left is None or right is None:
            return False
        if isinstance(op, ast.In | ast.NotIn):
            is_in = any(as_of_kind(one, left, is_order=False) == left for one in right)
            return is_in == isinstance(op, ast.In)
        is_order = not isinstance(op, ast.Eq | ast.NotEq)
        right_value = as_of_kind(right, left, is_order=is_order)
        return bool(COMPARISONS[type(op)](as_of_kind(left, right, is_order=is_order), right_value))

    def called(self, name: str, args: list[ast.expr], keywords: dict[str | None, ast.expr]) -> Any:
        if name == "sent":
            return self.entry is not None and self.entry.last_sent(self.node_named(args[0]), self.at) is not None
        if name in RESPONSES:
            return self.response(name, args)
        match name:
            case "segment":
                return self.membership(ast.literal_eval(args[0]))
            case "score":
                self.asked_a_score = True
                return self.scores.get(ast.literal_eval(args[0]))
            case "missing":
                return self.value(args[0]) is None
            case "local_hour":
                return self.local_now().hour
            case "weekday":
                return self.local_now().weekday()
        return self.aggregate(name, [ast.literal_eval(one) for one in args], keywords.get("where"))

    def local_now(self) -> datetime:
        return local(self.at, self.history.zone(self.at, self.journey.timezone))

    def node_named(self, node: ast.expr) -> str:
        return self.place.prefix + ast.unparse(node)

    def response(self, kind: str, args: list[ast.expr]) -> bool:
        """Whether there is such an event of the node's message since its last send in this entry (9)."""
        node = self.node_named(args[0])
        sent = self.entry.last_sent(node, self.at) if self.entry else None
        if sent is None:
            return False
        link = ast.literal_eval(args[1]) if len(args) > 1 else None
        message = self.journey.nodes[node].spec["send"]
        is_there = bool(responses(self.history, kind, message, link, sent.at, self.at))
        self.rests_on_silence |= not is_there and not sent.is_in_log
        return is_there

    def membership(self, name: str) -> float:
        """A segment is a condition, or the logistic of the weights that apply; it knows the contact and no event."""
        asked = replace(self, event=None)
        segment = self.place.segments[name]
        if isinstance(segment, str):
            segment = {"condition": segment}
        if "condition" in segment:
            membership = float(asked.holds(segment["condition"]))
        else:
            weights = sum(one["weight"] for one in segment["weights"] if asked.holds(one["when"]))
            membership = 1 / (1 + math.exp(-segment.get("bias", 0.0) - weights))
        self.asked_a_score |= asked.asked_a_score
        return membership

    def aggregate(self, function: str, args: list[str], where: ast.expr | None) -> Any:
        """A function over past events: those in (t - w, t], without a window all history (6); of none, see (7)."""
        of_a_property = function in ("sum", "mean", "min", "max", "last")
        name, _, prop = args[0].rpartition(".") if of_a_property else (args[0], "", "")
        after = self.at - duration(args[1]) if len(args) > 1 else None
        found = [e for e in self.history.between(name, after, self.at) if self.is_counted(e, where)]
        values = [e.properties[prop] for e in found if prop in e.properties]
        match function:
            case "count":
                return len(found)
            case "did":
                return bool(found)
            case "sum":
                return sum(values)
            case "mean":
                return sum(values) / len(values) if values else None
            case "min":
                return min(values, default=None)
            case "max":
                return max(values, default=None)
            case "last":
                return found[-1].properties.get(prop) if found else None
            case "since":
                return self.at - found[-1].at if found else None
            case "since_first":
                return self.at - found[0].at if found else None
        raise TypeError(f"no function: {function}")

    def is_counted(self, event: Event, where: ast.expr | None) -> bool:
        if where is None:
            return True
        asked = Question(self.history, self.at, self.journey, self.place, self.scores, event=event, of_past_events=True)
        return asked.holds(ast.literal_eval(where))


def responses(
    history: History, kind: str, message: str, link: str | None, after: datetime, until: datetime
) -> list[Event]:
    """What a message met with: events strictly later than its send (9, 33)."""
    found = [e for e in history.between(kind, after, until) if e.properties.get("message") == message]
    return [e for e in found if link is None or e.properties.get("link") == link]


# The replay of one contact ------------------------------------------------------------------------------------------


@dataclass
class World:
    """What a replay is given beside the contact."""

    journeys: list[Journey]
    policy: Spec
    first_at: datetime
    last_at: datetime
    horizon: datetime
    match: timedelta
    calls: dict[str, Callable[[Any, datetime], bool]]
    scores: dict[str, dict[Any, float]]
    best: dict[str, dict[Any, dict[int, float]]]
    pauses: dict[str, list[tuple[datetime, datetime]]]
    has_consents_of: set[str]


class Replay:
    """One contact's way through all journeys."""

    def __init__(self, world: World, contact: Any, history: History) -> None:
        self.world, self.contact, self.history = world, contact, history
        self.unit = unit_of(unit_text(contact))
        self.scores = {name: given.get(contact) for name, given in world.scores.items()}
        self.entries: list[Entry] = []
        self.considered: set[tuple[str, Event | datetime]] = set()
        self.sent: list[Sent] = []

    def run(self) -> None:
        """From the log's first instant up to and including the horizon (35)."""
        at: datetime | None = self.world.first_at
        while at is not None and at <= self.world.horizon:
            self.instant(at)
            at = min(self.later_instants(at), default=None)

    def later_instants(self, at: datetime) -> Iterator[datetime]:
        """The instants after this one at which something may happen, as things stand."""
        candidates = [self.history.next_instant(at)]
        for journey in self.world.journeys:
            candidates += [self.next_schedule(journey, at), self.date_target(journey, at)]
            candidates += [end for _, end in self.world.pauses.get(journey.name, [])]
        for entry in self.running():
            visit = entry.open[-1]
            candidates.append(visit.deadline if visit.node.verb == "wait_for" else visit.wake_at)
        return (one for one in candidates if one is not None and one > at)

    def instant(self, at: datetime) -> None:
        """Leaving comes first, then entering, then everything else, one step at a time (13, 21)."""
        for _ in range(100_000):
            for entry in self.running():
                self.leave_if_caused(entry, at)
            if self.enter_all(at):
                continue
            due = next((entry for entry in self.running() if self.is_due(entry, at)), None)
            if due is None:
                return
            self.step(due, due.open[-1], at)
        raise RecursionError(f"journeys make each other enter for ever at {at}")

    def running(self) -> list[Entry]:
        return sorted((entry for entry in self.entries if entry.left_at is None), key=lambda entry: entry.order)

    def question(self, at: datetime, journey: Journey, place: Place, **more: Any) -> Question:
        return Question(self.history, at, journey, place, self.scores, **more)

    def is_paused(self, journey: Journey, at: datetime) -> bool:
        """A pause includes its start and not its end, at which the journey is resumed (28)."""
        return any(start <= at < end for start, end in self.world.pauses.get(journey.name, []))

    # Entering (11, 12)

    def enter_all(self, at: datetime) -> bool:
        n_entries = len(self.entries)
        for journey in self.world.journeys:
            for trigger in self.triggers(journey, at):
                key = (journey.name, trigger or at)
                if key not in self.considered:
                    self.considered.add(key)
                    self.enter_if_allowed(journey, trigger, at)
        return len(self.entries) > n_entries

    def triggers(self, journey: Journey, at: datetime) -> list[Event | None]:
        """What may make an entry at this instant, in the contact's order; `None` is a schedule or a date."""
        if self.is_paused(journey, at):
            return []
        spec = journey.trigger
        if "event" in spec:
            return [e for e in self.history.at(at) if e.name == spec["event"]]
        is_now = self.is_scheduled(journey, at) if "segment" in spec else self.date_target(journey, at) == at
        return [None] if is_now else []

    def is_scheduled(self, journey: Journey, at: datetime) -> bool:
        exists_from = self.history.first_logged_at or self.world.first_at
        return exists_from <= at and self.next_schedule(journey, at - MICROSECOND) == at

    def next_schedule(self, journey: Journey, at: datetime) -> datetime | None:
        """The first instant of a segment's schedule after `at` (11)."""
        if "segment" not in journey.trigger:
            return None
        origin = FIRST_MONDAY + duration(journey.trigger.get("offset", "0s"))
        every = duration(journey.trigger["every"])
        return origin + ((at - origin) // every + 1) * every

    def date_target(self, journey: Journey, at: datetime) -> datetime | None:
        """The instant at which the date trigger fires, by the attributes as of `at` (11)."""
        spec = journey.trigger
        return self.date_instant(journey, spec, at) if "date" in spec else None

    def date_instant(self, journey: Journey, spec: Spec, at: datetime) -> datetime | None:
        """A local time of the date in an attribute, or the attribute's own instant, plus the offset."""
        value = self.history.attribute(spec["date"], at)
        if value is None:
            return None
        if not isinstance(value, datetime):
            zone = self.history.zone(at, journey.timezone)
            value = local_instant(value, clock_time(spec.get("time", "00:00")), zone)
        return value + duration(spec.get("offset", "0s"))

    def enter_if_allowed(self, journey: Journey, trigger: Event | None, at: datetime) -> None:
        asked = self.question(at, journey, journey.place, event=trigger)
        name = journey.trigger.get("segment")
        if name is not None and asked.membership(name) < journey.trigger.get("at_least", 0.5):
            return
        if not (asked.holds(journey.trigger.get("where")) and self.consent_stands(journey, at)):
            return
        before = [entry for entry in self.entries if entry.journey is journey]
        if not self.reentry_allows(journey.trigger.get("reentry", "never"), before, at):
            return
        if trigger is not None and not trigger.is_logged:  # journeys may not make each other enter for ever (24)
            emitted = [one for one in before if one.entered_at == at and one.trigger and not one.trigger.is_logged]
            if len(emitted) >= journey.max_visits:
                return
        entry = Entry(journey, len(before) + 1, at, trigger, self.unit_at(journey, at), False)
        entry.is_held_out = self.is_held_out(entry, at)
        self.entries.append(entry)
        self.arrive(entry, journey.first, at)

    def unit_at(self, journey: Journey, at: datetime) -> str:
        """The value of the journey's unit on entering; a contact without one is its own unit (22)."""
        value = None if journey.unit == "contact" else self.history.attribute(journey.unit, at)
        return unit_text(self.contact if value is None else value)

    def is_held_out(self, entry: Entry, at: datetime) -> bool:
        """Whether the journey holds the unit out, or the policy the contact (23)."""
        journey, salt = entry.journey, self.world.policy.get("salt")
        of_policy = share(self.world.policy.get("holdout", 0)) if journey.purpose == "marketing" else Fraction(0)
        place = "(policy)/holdout" if salt is None else f"(policy)/{salt}/holdout"
        of_journey = ("holdout", entry.unit, f"{journey.name}/holdout", journey.holdout)
        held = []
        for node, unit, key, of in (("policy_holdout", unit_text(self.contact), place, of_policy), of_journey):
            held.append(uniform(unit_of(unit), key) < of)
            if of:
                arm, chance = ("holdout", of) if held[-1] else ("treated", 1 - of)
                self.assign(entry, unit, node, arm, float(chance), at)
        return any(held)

    def assign(self, entry: Entry, unit: str, node: str, arm: str, chance: float, at: datetime) -> None:
        entry.arms.append(ArmRow(self.contact, entry.journey.name, entry.number, unit, node, arm, chance, at))

    def reentry_allows(self, reentry: str, before: list[Entry], at: datetime) -> bool:
        if reentry == "always" or not before:
            return True
        is_none_running = all(entry.left_at is not None for entry in before)
        if reentry in ("never", "after_exit"):
            return reentry == "after_exit" and is_none_running
        return is_none_running and at - before[-1].entered_at >= duration(reentry)

    def consent_stands(self, journey: Journey, at: datetime) -> bool:
        """The latest word on the journey's purpose is a giving (11); without any in the log it is assumed (34)."""
        words = [e for e in self.history.events if e.at <= at and concerns_consent(e, journey.purpose)]
        return words[-1].name == "consent_given" if words else journey.purpose not in self.world.has_consents_of

    # Leaving (14, 15)

    def leave_if_caused(self, entry: Entry, at: datetime) -> None:
        """Reading: like an awaited event, an event is judged once for an entry, when it is first seen."""
        for event in self.history.at(at):
            is_later = event.rank > entry.trigger.rank if entry.trigger else event.at > entry.entered_at
            if not is_later or event in entry.judged:
                continue
            entry.judged.add(event)
            if event.name in ("consent_withdrawn", "erased") and concerns_consent(event, entry.journey.purpose):
                return entry.leave(at, event.name)
            for cause in entry.journey.exit_when:
                if cause["event"] == event.name and self.holds_of_event(entry, event, cause.get("where")):
                    is_goal = cause.get("goal", False)
                    return entry.leave(at, f"goal:{event.name}" if is_goal else event.name, is_converted=is_goal)
        return None

    def holds_of_event(self, entry: Entry, event: Event, where: str | None, place: Place | None = None) -> bool:
        """The `where` of an event, as of the event's own instant (7, 8)."""
        place = place or entry.journey.place
        return self.question(event.at, entry.journey, place, entry=entry, event=event).holds(where)

    # Steps

    def arrive(self, entry: Entry, name: str, at: datetime) -> None:
        """Arriving is part of the step that leads there; what a wait aims at is known on arrival."""
        visit = entry.arrive(name, at)
        if visit is None:
            return
        if visit.node.verb == "wait":
            visit.wake_at = at + duration(visit.node.spec["wait"])
        elif visit.node.verb == "wait_until":
            target = self.until(entry.journey, visit.node.spec["wait_until"], at)
            visit.has_no_date = target is None
            visit.wake_at = max(at, target or at)

    def go(self, entry: Entry, at: datetime, branch: str, target: str) -> None:
        """Leaves the node by a branch, and arrives where it leads."""
        entry.open.pop().close(at, branch)
        self.arrive(entry, target, at)

    def is_due(self, entry: Entry, at: datetime) -> bool:
        visit = entry.open[-1]
        if self.is_paused(entry.journey, at):
            return False
        if visit.node.verb == "wait_for":
            return at >= visit.deadline or self.winner(entry, visit, at) is not None
        return at >= visit.wake_at

    def step(self, entry: Entry, visit: Visit, at: datetime) -> None:
        """One step of one entry: what its node does at this instant."""
        node = visit.node
        match node.verb:
            case "send":
                self.step_send(entry, visit, at)
            case "wait_for":
                self.step_wait_for(entry, visit, at)
            case "decide":
                self.step_decide(entry, visit, at)
            case "wait_until" if "else" in node.spec and visit.has_no_date:
                self.go(entry, at, "else", node.target(node.spec["else"]))
            case "split":
                unit, shares = unit_of(entry.unit), node.spec["split"]
                if node.spec.get("per") == "entry":
                    unit = mix((unit + entry.number) & WORD)
                arm = arm_of(unit, self.salt(entry.journey, node), shares)
                self.assign(entry, entry.unit, node.name, node.target(arm), float(share(shares[arm])), at)
                self.go(entry, at, node.target(arm), node.target(arm))
            case "run":
                self.arrive(entry, entry.journey.first_of_part[node.name], at)
            case "call":
                visit.evidence = "assumed"
                answer = self.world.calls.get(node.spec["call"])
                is_done = answer is None or answer(self.contact, at)
                failed = node.spec.get("failed", node.spec["next"])
                self.go(
                    entry, at, "next" if is_done else "failed", node.target(node.spec["next"] if is_done else failed)
                )
            case "exit":
                self.step_exit(entry, visit, at)
            case _:
                if node.verb == "set":
                    for name, value in node.spec["set"].items():
                        self.history.set(name, at, value)
                if node.verb == "emit":
                    emitted = node.spec["emit"]
                    emitted = {"event": emitted} if isinstance(emitted, str) else emitted
                    self.history.emit(emitted["event"], at, emitted.get("with", {}))
                self.go(entry, at, "next", node.target(node.spec["next"]))

    def salt(self, journey: Journey, node: Node) -> str:
        return node.spec.get("salt") or f"{journey.name}/{node.name}"

    def step_exit(self, entry: Entry, visit: Visit, at: datetime) -> None:
        """Ends the entry, or in a part the part, whose `run` node goes on (25)."""
        run = visit.node.run
        if run is None:
            entry.leave(at, visit.node.spec["exit"])
        else:
            entry.open.pop().close(at)
            self.go(entry, at, "next", run.target(run.spec["next"]))

    def step_decide(self, entry: Entry, visit: Visit, at: datetime) -> None:
        """The first clause that holds; what was asked up to it says what the outcome rests on (33)."""
        node = visit.node
        asked = self.question(at, entry.journey, node.place, entry=entry)
        goes = next((clause["go"] for clause in node.spec["decide"] if asked.holds(clause["if"])), node.spec["else"])
        if asked.rests_on_silence or asked.asked_a_score:
            visit.evidence = "assumed" if asked.rests_on_silence else "predicted"
        self.go(entry, at, node.target(goes), node.target(goes))

    # Waiting (5, 8, 9, 10)

    def until(self, journey: Journey, spec: Spec, at: datetime) -> datetime | None:
        """What a `wait_until` waits for, as seen on arrival; `None` for a date that is missing."""
        if "date" in spec:
            return self.date_instant(journey, spec, at)
        zone = self.history.zone(at, journey.timezone)
        if "between" in spec:
            return window(spec).opens(at, zone)
        day = local(at, zone).date() - DAY
        while True:
            shown = local_instant(day, clock_time(spec["time"]), zone)
            if shown >= at and WEEKDAYS[day.weekday()] in spec.get("days", WEEKDAYS):
                return shown
            day += DAY

    def winner(self, entry: Entry, visit: Visit, at: datetime) -> tuple[str, str] | None:
        """The branch and target of the earliest awaited event that is there; of one instant, the first listed (10)."""
        found = [
            (event.at, i, one)
            for i, one in enumerate(awaited_by(visit.node))
            for event in self.candidates(entry, visit, one, at)
            if self.is_awaited(entry, visit, i, one, event)
        ]
        if not found:
            return None
        _, _, first = min(found, key=lambda each: each[:2])
        return first.branch, first.target

    def candidates(self, entry: Entry, visit: Visit, awaited: Awaited, at: datetime) -> list[Event]:
        """The events of an awaited name in its window, up to now or to the deadline (8, 9)."""
        until = min(at, visit.deadline)
        if awaited.node is None:
            return self.history.between(awaited.name, self.window_opens(entry, visit), until)
        sent = entry.last_sent(awaited.node, visit.arrived_at)
        message = entry.journey.nodes[awaited.node].spec["send"]
        return responses(self.history, awaited.name, message, awaited.link, sent.at, until) if sent else []

    def window_opens(self, entry: Entry, visit: Visit) -> datetime:
        since = visit.node.spec.get("since")
        if since is None:
            return visit.arrived_at
        if since == "entry":
            return entry.entered_at
        arrivals = [one.arrived_at for one in entry.visits if one.node.name == visit.node.target(since)]
        return arrivals[-1] if arrivals else visit.arrived_at

    def is_awaited(self, entry: Entry, visit: Visit, i: int, awaited: Awaited, event: Event) -> bool:
        """Whether the event's `where` holds, judged once (8)."""
        if (i, event) not in visit.judged:
            visit.judged[i, event] = self.holds_of_event(entry, event, awaited.where, visit.node.place)
        return visit.judged[i, event]

    def step_wait_for(self, entry: Entry, visit: Visit, at: datetime) -> None:
        """Passes by what won, else by the timeout; assumed where it rests on a message's silence (33)."""
        if any(self.is_silent(entry, visit, one, at) for one in awaited_by(visit.node)):
            visit.evidence = "assumed"
        timeout = "else", visit.node.target(visit.node.spec["else"])
        self.go(entry, at, *(self.winner(entry, visit, at) or timeout))

    def is_silent(self, entry: Entry, visit: Visit, awaited: Awaited, at: datetime) -> bool:
        """Whether a message that the log does not have was awaited and met with nothing."""
        sent = entry.last_sent(awaited.node, visit.arrived_at) if awaited.node else None
        return sent is not None and not sent.is_in_log and not self.candidates(entry, visit, awaited, at)

    # Sending (17 to 20, 23)

    def step_send(self, entry: Entry, visit: Visit, at: datetime) -> None:
        """Asks all gates; the first that answers later than now holds the send, or has it skipped (17, 19)."""
        if entry.is_held_out:
            return self.skip(entry, visit, at, "holdout")
        spec = visit.node.spec
        latest = visit.arrived_at + duration(spec.get("expires", "2d"))
        for gate, answer in self.gates(entry, visit, at, latest):
            if answer > at:
                if answer > latest or ("cap" in gate and spec.get("when_capped") == "skip"):
                    return self.skip(entry, visit, at, gate)
                visit.wake_at = answer
                return None
        # Reading: only a pause can keep a send from being asked until it has expired (28).
        return self.skip(entry, visit, at, "pause") if at > latest else self.send(entry, visit, at)

    def gates(self, entry: Entry, visit: Visit, at: datetime, latest: datetime) -> Iterator[tuple[str, datetime]]:
        """Each gate, and the first instant from now on at which it lets the send pass (17)."""
        journey, spec = entry.journey, visit.node.spec
        zone = self.history.zone(at, journey.timezone)
        yield "consent", at if self.consent_stands(journey, at) else NEVER
        yield "suppression", NEVER if self.is_suppressed(at) else at
        if is_best(spec):
            yield "at", self.best_time(entry, visit, at)
        else:
            yield "at", window(spec["at"]).opens(at, zone) if "at" in spec else at
        yield "quiet_hours", journey.quiet_hours.is_over(at, zone, latest) if journey.quiet_hours else at
        yield "cap", under_cap(journey.cap, [one.at for one in self.sent if one.journey == journey.name], at)
        yield "policy_cap", under_cap(self.world.policy.get("cap"), [one.at for one in self.sent], at)

    def is_suppressed(self, at: datetime) -> bool:
        bounces = self.history.between("bounced", None, at)
        is_hard = any(e.properties.get("bounce_type") != "soft" for e in bounces)
        return is_hard or bool(self.history.between("complained", None, at))

    # Best hours (17)

    def asked_scores(self, node: Node) -> tuple[str | None, dict[int, float]]:
        """Whose scores of the hours of the week count for the contact, and these; none where no model has any."""
        by_contact = self.world.best.get(best_terms(node.spec)["best"], {})
        if self.contact in by_contact:
            return "known", by_contact[self.contact]
        return ("fallback", by_contact[None]) if None in by_contact else (None, {})

    def best_time(self, entry: Entry, visit: Visit, at: datetime) -> datetime:
        zone, allowed = self.history.zone(at, entry.journey.timezone), best_window(visit.node.spec)
        whose, scores = self.asked_scores(visit.node)
        draw = self.drawn(entry, visit)
        if draw is not None and at < draw[1].at:
            return draw[1].at
        if whose is None or draw is not None or at > visit.arrived_at + ahead(visit.node.spec):
            return allowed.opens(at, zone) if allowed else at
        found = self.best_candidates(entry, visit, at)
        if found:
            return max(found, key=lambda hour: (scores[hour.of_week], at - hour.at)).at
        for hour in hours_from(at, zone):
            if hour.at > at + 4 * 7 * DAY:
                return NEVER
            if hour.of_week in scores:
                opens = allowed.opens(hour.at, zone) if allowed else hour.at
                if opens < hour.end:
                    return opens
        raise AssertionError

    def best_candidates(self, entry: Entry, visit: Visit, at: datetime) -> list[Hour]:
        """The hours that the send may take at an instant, in order, each hour of the week once."""
        zone, allowed, quiet = (
            self.history.zone(at, entry.journey.timezone), best_window(visit.node.spec), entry.journey.quiet_hours,
        )  # fmt: skip
        _, scores = self.asked_scores(visit.node)
        found: dict[int, Hour] = {}
        for hour in hours_from(at, zone):
            if hour.at > visit.arrived_at + ahead(visit.node.spec):
                break
            is_allowed = allowed is None or allowed.opens(hour.at, zone) == hour.at
            is_loud = quiet is None or quiet.is_over(hour.at, zone, hour.at) == hour.at
            if hour.of_week in scores and is_allowed and is_loud:
                found.setdefault(hour.of_week, hour)
        return list(found.values())

    def drawn(self, entry: Entry, visit: Visit) -> tuple[list[Hour], Hour] | None:
        """The hours that an explored visit has the choice of, and the one that it takes."""
        place, of = f"{entry.journey.name}/{visit.node.name}", float(share(best_terms(visit.node.spec)["explore"]))
        turn = uniform(self.unit, f"{place}/explore") + (entry.number + visit.number) * of
        found = self.best_candidates(entry, visit, visit.arrived_at)
        if not turn - math.floor(turn) < of or len(found) < 2:
            return None
        unit = mix((mix((self.unit + entry.number) & WORD) + visit.number) & WORD)
        return found, found[min(int(uniform(unit, f"{place}/hour") * len(found)), len(found) - 1)]

    def note_advice(self, entry: Entry, visit: Visit, at: datetime) -> None:
        """What is recorded of a send that is made: whose scores it went by, or what chance chose from."""
        visit.advice, _ = self.asked_scores(visit.node)
        draw = self.drawn(entry, visit)
        if draw is not None:
            visit.advice = "explored"
            visit.slots = f"{sum(1 << hour.of_week for hour in draw[0]):042x}"
            visit.slot_propensity = 1 / len(draw[0]) if draw[1].at <= at < draw[1].end else None

    def send(self, entry: Entry, visit: Visit, at: datetime) -> None:
        """Makes the send; it is in the log if that has the message within `match` on either side (33)."""
        spec = visit.node.spec
        logged = [
            e for e in self.history.named.get("sent", []) if e.is_logged and e.properties.get("message") == spec["send"]
        ]
        is_in_log = any(abs(e.at - at) <= self.world.match for e in logged)
        is_any_time = is_best(spec) and self.asked_scores(visit.node)[0] is None
        if is_best(spec):
            self.note_advice(entry, visit, at)
        visit.evidence = "observed" if is_in_log and not is_any_time else "assumed"
        visit.sent_at = at
        sent = Sent(entry.journey.name, visit.node.name, at, is_in_log)
        entry.sent.append(sent)
        self.sent.append(sent)
        self.go(entry, at, "next", visit.node.target(spec["next"]))

    def skip(self, entry: Entry, visit: Visit, at: datetime, reason: str) -> None:
        visit.reason = reason
        spec = visit.node.spec
        self.go(entry, at, "skipped", visit.node.target(spec.get("skipped", spec["next"])))


def is_best(spec: Spec) -> bool:
    return spec.get("at") == "best" or "best" in spec.get("at", {})


def best_terms(spec: Spec) -> Spec:
    """The terms of `at: best` with their defaults."""
    given = {"best": "best"} if spec["at"] == "best" else spec["at"]
    return {"explore": "5%", **given}


def best_window(spec: Spec) -> Window | None:
    terms = best_terms(spec)
    if not {"between", "days"} & terms.keys():
        return None
    return window({"between": ["00:00", "24:00"], **terms})


def ahead(spec: Spec) -> timedelta:
    """How long after its arrival a visit may take an hour."""
    terms = best_terms(spec)
    return duration(terms["within"]) if "within" in terms else min(duration(spec.get("expires", "2d")), 7 * DAY)


def awaited_by(node: Node) -> list[Awaited]:
    """What a `wait_for` awaits, in its order."""
    spec = node.spec["wait_for"]
    if isinstance(spec, str):
        return [awaited_in(spec, node, "then", node.spec["then"])]
    return [awaited_in(one["await"], node, node.target(one["go"]), one["go"]) for one in spec]


def awaited_in(text: str, node: Node, branch: str, goes: str) -> Awaited:
    """What a text such as `visit`, `event("visit", where="…")` or `clicked(NODE, "link")` awaits."""
    leads = branch, node.target(goes)
    match parsed(text):
        case ast.Name(id=name):
            return Awaited(name, None, None, None, *leads)
        case ast.Call(func=ast.Name(id="event"), args=[name], keywords=keywords):
            where = ast.literal_eval(keywords[0].value) if keywords else None
            return Awaited(ast.literal_eval(name), None, None, where, *leads)
        case ast.Call(func=ast.Name(id=kind), args=[of, *link]) if kind in RESPONSES:
            return Awaited(
                kind, node.target(ast.unparse(of)), ast.literal_eval(link[0]) if link else None, None, *leads
            )
    raise TypeError(f"nothing to await: {text}")


def concerns_consent(event: Event, purpose: str) -> bool:
    """Whether an event is a word on consent for a purpose; one without a purpose speaks for all (11)."""
    is_word = event.name in ("consent_given", "consent_withdrawn", "erased")
    return is_word and (event.name == "erased" or event.properties.get("purpose", purpose) == purpose)


def under_cap(cap: Spec | None, sent_at: list[datetime], at: datetime) -> datetime:
    """The first instant from now on at which fewer than `sends` lie in (t - within, t] (18)."""
    if cap is None:
        return at
    within = duration(cap["within"])
    # The count falls only when a send leaves the window, at its instant + within, which the window excludes.
    instants = [at, *sorted(one + within for one in sent_at if one + within > at)]
    return next(t for t in instants if sum(t - within < one <= t for one in sent_at) < cap["sends"])


# The whole ----------------------------------------------------------------------------------------------------------


def interpret(
    journeys: list[Spec],
    events: list[Spec],
    contacts: list[Spec],
    *,
    policy: Spec | None = None,
    until: datetime | None = None,
    match: timedelta = DAY,
    parts: dict[str, Spec] | None = None,
    segments: Spec | None = None,
    calls: dict[str, Callable[[Any, datetime], bool]] | None = None,
    scores: dict[str, dict[Any, float]] | None = None,
    best: dict[str, dict[Any, dict[int, float]]] | None = None,
    pauses: dict[str, list[tuple[datetime, datetime]]] | None = None,
) -> Result:
    """What the journeys would have done to the contacts of a log.

    Args:
        journeys: as journey files hold them, texts for durations and shares.
        events: the log in its order: `contact`, `event`, `occurred_at` (aware), and properties, beside these keys or
            under `properties`.
        contacts: `contact`, and optionally `attributes` (dates as dates or aware instants) and `timezone`. The value
            of an `attribute_changed` may be a text; it is read as the kind that the attribute has here.
        policy: `{"cap": …, "holdout": …, "salt": …}` over all journeys.
        until: the horizon; the log's last instant if it is not given (35).
        match: how far from the replayed send the log's `sent` may lie (33).
        parts: the journeys that `run` names (25).
        segments: those of the surrounding file.
        calls: the answers of outside services.
        scores: by name and contact; missing where a contact has none.
        best: by model and contact the scores of hours of the week, 0 for Monday 00:00 local; those of the contact
            `None` are the fallback.
        pauses: by journey, from the start up to the resumption (28).
    """
    if not events:
        return Result()
    parts, shared = parts or {}, segments or {}
    instants = [row["occurred_at"].astimezone(UTC) for row in events]
    built = sorted((Journey(spec, parts, shared) for spec in journeys), key=lambda journey: journey.order)
    world = World(
        built, policy or {}, min(instants), max(instants), until or max(instants), match,
        calls or {}, scores or {}, best or {}, pauses or {}, purposes_with_consents(built, events),
    )  # fmt: skip
    result = Result()
    for contact, history in histories(events, contacts).items():
        replay = Replay(world, contact, history)
        replay.run()
        report(replay, result)
    return result


def purposes_with_consents(journeys: list[Journey], events: list[Spec]) -> set[str]:
    """The purposes of which the log has any word (34)."""
    words = [row for row in events if row["event"] in ("consent_given", "consent_withdrawn")]
    named = [{**row, **row.get("properties", {})}.get("purpose") for row in words]
    return {one.purpose for one in journeys if any(is_missing(name) or name == one.purpose for name in named)}


def histories(events: list[Spec], contacts: list[Spec]) -> dict[Any, History]:
    """What the log and the contacts table know of each contact, by contact."""
    rows: dict[Any, list[Spec]] = {row["contact"]: [] for row in contacts}
    for row in events:
        rows.setdefault(row["contact"], []).append(row)
    given = {row["contact"]: {**row.get("attributes", {}), "timezone": row.get("timezone")} for row in contacts}
    kinds: dict[str, type] = {}
    for attributes in given.values():
        for name, value in attributes.items():
            if not is_missing(value):
                kinds[name] = float if isinstance(value, int) and not isinstance(value, bool) else type(value)
    return {contact: History(rows[contact], given.get(contact, {}), kinds) for contact in sorted(rows)}


def report(replay: Replay, result: Result) -> None:
    """Adds what became of one contact to the result."""
    world = replay.world
    visits: list[tuple[VisitRow, SendRow | None]] = []
    for entry in sorted(replay.entries, key=lambda one: (one.journey.name, one.number)):
        key = (replay.contact, entry.journey.name, entry.number)
        result.entries.append(
            EntryRow(*key, entry.entered_at, entry.left_at, entry.exit, entry.is_converted, entry.is_held_out)
        )
        result.arms += entry.arms
        for visit in entry.visits:
            # Beyond the log's end it is assumed that nothing more happens (35).
            is_beyond = world.horizon > world.last_at and (visit.left_at is None or visit.left_at > world.last_at)
            evidence = "assumed" if is_beyond else visit.evidence
            row = VisitRow(*key, visit.node.name, visit.number, visit.arrived_at, visit.left_at, visit.branch, evidence)
            is_decided = visit.sent_at is not None or visit.reason is not None
            message = visit.node.spec.get("send", "")
            advised = visit.advice, visit.slot_propensity, visit.slots
            decided = SendRow(*key, row.node, row.visit, message, visit.sent_at, visit.reason, *advised)
            sent = decided if is_decided else None
            visits.append((row, sent))
    visits.sort(key=lambda pair: (pair[0].entry, pair[0].arrived_at, pair[0].journey))  # stable: order of happening
    result.visits += [row for row, _ in visits]
    result.sends += [sent for _, sent in visits if sent is not None]


def failing(calls: dict[str, set[Any]]) -> dict[str, Callable[[Any, datetime], bool]]:
    """The answers of services each of which fails for the contacts of its set."""

    def answer(fails: set[Any]) -> Callable[[Any, datetime], bool]:
        return lambda contact, _at: contact not in fails

    return {name: answer(fails) for name, fails in calls.items()}
