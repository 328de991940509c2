"""A portfolio of journeys lowered to the tables of `layout.Program`: parts unfolded, names resolved, faults collected.

The machine runs only programs, never journeys. `compile_portfolio` resolves every name against what the log (or the
live store) has, so that a journey that does not fit its data is refused before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from . import conditions as c
from . import layout as o
from .clock import NEVER, microseconds
from .display import block, counted
from .durations import parse_time_of_day
from .errors import DefinitionError, Fault, known
from .journey import (
    CONTACT,
    MOST_AHEAD,
    WEEKDAYS,
    Best,
    Call,
    Decide,
    Emit,
    Exit,
    Journey,
    Node,
    Policy,
    Run,
    Segment,
    Send,
    Set,
    Split,
    Wait,
    WaitFor,
    WaitUntil,
    Window,
)  # fmt: skip
from .keyedhash import purpose_key
from .postfix import Names, Nodes, Postfix, TypeFault, literal, message_stream

__all__ = ["Compiled", "EdgeInfo", "NodeInfo", "Release", "compile_portfolio", "for_purpose"]

RESPONSES = ("delivered", "opened", "clicked", "bounced", "complained", "unsubscribed")


@dataclass(frozen=True, slots=True)
class Model:
    """What a program asks of a world that answers its sends, and what such an answer makes happen.

    `features` are the values (`conditions.parse_value`) that go with every request; `converts` is the event that a
    conversion is, with `properties` of its own.
    """

    features: tuple[str, ...] = ()
    converts: str | None = None
    properties: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One version of a journey: takes entries in [from_at, until_at) (rule 26), stands still in `pauses` (rule 28).

    It takes those of the contacts whose number, a keyed hash of `share_salt`, lies in the `share`; an open pause has
    no end. Its entries keep the `policy` that it has, where it has one of its own, and the `models`: the scores and
    send times that are given under other names than the journey has for them.
    """

    journey: Journey
    from_at: datetime | None = None
    until_at: datetime | None = None
    pauses: tuple[tuple[datetime, datetime | None], ...] = ()
    share: tuple[float, float] = (0.0, 1.0)
    share_salt: str = ""
    policy: Policy | None = None
    models: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __repr__(self) -> str:
        span = "" if self.from_at is None else f", from {self.from_at:%Y-%m-%d %H:%M}"
        span += "" if self.until_at is None else f", until {self.until_at:%Y-%m-%d %H:%M}"
        low, high = self.share
        span += "" if (low, high) == (0, 1) else f", {high - low:.0%} of contacts"
        span += f", {counted(len(self.pauses), 'pause')}" if self.pauses else ""
        return f"Release({self.journey.journey}, version {self.journey.version}{span})"

    def _repr_html_(self) -> str:
        return block(repr(self), self.journey._repr_html_())


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What a row of `Program.nodes` is called, for results."""

    journey: int
    name: str
    node: Node


@dataclass(frozen=True, slots=True)
class EdgeInfo:
    """What a row of `Program.edges` is called, for results; `probability` is an arm's share."""

    node: int
    branch: str
    target: str
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Compiled:
    """A program with the names of its rows.

    `releases`, `nodes`, `edges` and `exits` are in the order of the program's tables; an exit is (journey, text, goal).
    `calls` are the services that are called, `models` the send times that `at: best` asks.
    """

    program: o.Program
    releases: Sequence[Release]
    groups: Sequence[str]
    nodes: Sequence[NodeInfo]
    edges: Sequence[EdgeInfo]
    exits: Sequence[tuple[int, str, bool]]
    calls: Sequence[str]
    models: Sequence[str]


_OPERATORS = (
    c.Number, c.Text, c.Flag, c.Missing, c.Not, c.And, c.Or, c.Compare, c.In, c.Arithmetic, c.Negate,
)  # fmt: skip


def for_purpose(purpose: str, names: Names) -> c.Tree | None:
    """The condition that picks the consent events of a purpose; one without a purpose speaks for all (rule 11)."""
    if "purpose" not in names.property_names:
        return None
    mine = c.Compare("==", c.Property("purpose"), c.Text(purpose))
    return c.Or((mine, c.Missing(c.Property("purpose"))))


def _us(value: timedelta) -> int:
    return value // timedelta(microseconds=1)


def _days(days: Sequence[str]) -> int:
    return sum(1 << WEEKDAYS.index(day) for day in days)


def _window(window: Window) -> list[int]:
    """The start, the end and the days of a window."""
    start, end = (parse_time_of_day(one, end=True) for one in window.between)
    return [start, end, _days(window.days)]


def _table(rows: Sequence[Sequence[int]], columns: int) -> np.ndarray:
    return np.array(rows, np.int64).reshape(len(rows), columns)


@dataclass
class _Part:
    """The nodes of one journey, or of one unfolding of a part, while they are compiled."""

    journey: Journey
    index: int
    prefix: str
    run: int
    first: dict[str, int]
    path: tuple[str | int, ...]

    inner: dict[str, _Part] = field(default_factory=dict)

    def sends(self) -> Nodes:
        """The send nodes by the names they have here: those of a part after its `run` node."""
        own = {
            name: (self.first[name], node.send) for name, node in self.journey.nodes.items() if isinstance(node, Send)
        }
        for run, part in self.inner.items():
            own.update({f"{run}.{name}": found for name, found in part.sends().items()})
        return own

    def place(self, name: str) -> int:
        """The row of a node by the name it has here."""
        run, _, rest = name.partition(".")
        return self.inner[run].place(rest) if rest else self.first[name]


@dataclass
class _Compiler:
    names: Names
    releases: Sequence[Release]
    assume_consent: frozenset[str]
    postfix: Postfix
    model: Model | None
    policy: Policy
    units: dict[str, int] = field(default_factory=dict)
    journeys: list[list[int]] = field(default_factory=list)
    journeys_x: list[list[float]] = field(default_factory=list)
    nodes: list[list[int]] = field(default_factory=list)
    node_info: list[NodeInfo] = field(default_factory=list)
    edges: list[int] = field(default_factory=list)
    edge_info: list[EdgeInfo] = field(default_factory=list)
    awaits: list[list[int]] = field(default_factory=list)
    clauses: list[list[int]] = field(default_factory=list)
    causes: list[list[int]] = field(default_factory=list)
    assigned: list[list[int]] = field(default_factory=list)
    assigned_x: list[float] = field(default_factory=list)
    arms: list[list[int]] = field(default_factory=list)
    arms_x: list[float] = field(default_factory=list)
    bests: list[list[int]] = field(default_factory=list)
    bests_x: list[float] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    consents: list[list[int]] = field(default_factory=list)
    purposes: list[str] = field(default_factory=list)
    pauses: list[list[int]] = field(default_factory=list)
    exits: list[tuple[int, str, bool]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    edge_of: dict[tuple[int, str], int] = field(default_factory=dict)

    def fault(self, path: tuple[str | int, ...], message: str) -> None:
        self.postfix.faults.append(Fault(path, message))

    def exit(self, journey: int, text: str, goal: bool = False) -> int:
        if (journey, text, goal) not in self.exits:
            self.exits.append((journey, text, goal))
        return self.exits.index((journey, text, goal))

    def events(
        self, event: str, where: str | c.Tree | None, path: tuple[str | int, ...], segments: Mapping[str, Segment]
    ) -> tuple[int, int]:
        """The stream of an event and the condition still to be judged on each; none where properties alone decide."""
        tree = c.parse(where, scope="event").tree if isinstance(where, str) else where
        if tree is None:
            return self.names.stream(event), o.NONE
        own = (*_OPERATORS, c.Property)
        names = {part.name for part in c.walk(tree) if isinstance(part, c.Property)}
        only_own = all(isinstance(part, own) for part in c.walk(tree)) and not names & {*self.names.attribute_names}
        if only_own and names <= {*self.names.property_names}:
            try:
                return self.names.stream(event, tree), o.NONE
            except TypeFault as problem:
                self.fault(path, str(problem))
                return o.NONE, o.NONE
        return self.names.stream(event), self.postfix.condition(tree, path, {}, segments)

    def guard(self, where: str | None, path: tuple[str | int, ...], segments: Mapping[str, Segment]) -> int:
        if where is None:
            return o.NONE
        return self.postfix.condition(c.parse(where).tree, path, {}, segments)

    def consent(self, purpose: str) -> int:
        """The row of the purpose's consent streams."""
        if purpose not in self.purposes:
            about = for_purpose(purpose, self.names)
            given, withdrawn = (self.names.stream(event, about) for event in ("consent_given", "consent_withdrawn"))
            self.purposes.append(purpose)
            self.consents.append([given, withdrawn, self.names.stream("erased")])
        return self.purposes.index(purpose)

    # Journeys

    def unit(self, journey: Journey) -> None:
        """Makes the attribute known that is the journey's unit; to be called before any node may set it."""
        name, path = journey.unit, (journey.journey, "unit")
        if name in (CONTACT, *self.units):
            return
        if name not in self.names.attribute_names:
            self.fault(path, f"no attribute {name!r}; {known(name, self.names.attribute_names, 'attributes')}")
            return
        try:
            self.units[name] = self.names.unit_attribute(name)
        except TypeFault as problem:
            self.fault(path, str(problem))

    def journey(self, index: int, order: int, release: Release, groups: Sequence[str]) -> None:
        journey, row = release.journey, [o.NONE] * o.J_COLUMNS
        policy = self.policy if release.policy is None else release.policy
        self.postfix.scores = release.models
        path: tuple[str | int, ...] = (journey.journey,)
        consent = self.consent(journey.purpose)
        row[o.J_CONSENT], row[o.J_CONSENT_ASSUMED] = consent, int(journey.purpose in self.assume_consent)
        self._trigger(journey, row, path)
        part = self._unfold(journey, index, "", o.NONE, path)
        self._fill_all(part)
        row[o.J_NODES], row[o.J_NODES_END] = part.first[next(iter(journey.nodes))], len(self.nodes)
        row[o.J_FIRST_NODE] = part.first[journey.first]
        if journey.quiet_hours:
            row[o.J_QUIET_START] = parse_time_of_day(journey.quiet_hours.start)
            row[o.J_QUIET_END] = parse_time_of_day(journey.quiet_hours.end, end=True)
        if journey.cap:
            row[o.J_CAP_SENDS], row[o.J_CAP_WITHIN] = journey.cap.sends, _us(journey.cap.within)
        if policy.cap:
            row[o.J_POLICY_SENDS], row[o.J_POLICY_WITHIN] = policy.cap.sends, _us(policy.cap.within)
        row[o.J_GATED] = int(max(row[gate] for gate in (o.J_QUIET_START, o.J_CAP_SENDS, o.J_POLICY_SENDS)) >= 0)
        row[o.J_MAX_VISITS], row[o.J_ZONE] = journey.max_visits, self.names.zone(journey.timezone)
        row[o.J_MAX_VISITS_EXIT] = self.exit(index, "max_visits")
        row[o.J_CAUSES] = len(self.causes)
        given = self.consents[consent]
        self.causes.append([given[o.WITHDRAWN], o.NONE, self.exit(index, "consent_withdrawn")])
        self.causes.append([given[o.ERASED], o.NONE, self.exit(index, "erased")])
        for i, one in enumerate(journey.exit_when):
            where = (*path, "exit_when", i, "where")
            events = self.events(one.event, one.where, where, journey.known_segments)
            self.causes.append([*events, self.exit(index, one.text, one.goal)])
        row[o.J_CAUSES_END] = len(self.causes)
        row[o.J_HOLDOUT_KEY] = _signed(purpose_key(f"{journey.journey}/holdout"))
        row[o.J_GROUP] = groups.index(journey.journey)
        row[o.J_FROM] = -int(NEVER) if release.from_at is None else microseconds(release.from_at)
        row[o.J_UNTIL] = int(NEVER) if release.until_at is None else microseconds(release.until_at)
        row[o.J_PAUSES] = len(self.pauses)
        self.pauses += sorted(
            [microseconds(start), int(NEVER) if end is None else microseconds(end)] for start, end in release.pauses
        )
        row[o.J_PAUSES_END], row[o.J_ORDER] = len(self.pauses), order
        row[o.J_UNIT] = self.units.get(journey.unit, o.NONE)
        salt = "" if policy.salt is None else f"{policy.salt}/"
        row[o.J_POLICY_HOLDOUT_KEY] = _signed(purpose_key(f"(policy)/{salt}holdout"))  # no journey is called so
        row[o.J_SHARE_KEY] = _signed(purpose_key(f"{journey.journey}/release/{release.share_salt}"))
        self.journeys.append(row)
        shares = float(journey.holdout), float(policy.holdout_of(journey))
        self.journeys_x.append([shares[0], journey.trigger.at_least, shares[1], *release.share])

    def _trigger(self, journey: Journey, row: list[int], path: tuple[str | int, ...]) -> None:
        trigger, path, segments = journey.trigger, (*path, "trigger"), journey.known_segments
        row[o.J_OFFSET], row[o.J_TIME] = _us(trigger.offset), parse_time_of_day(trigger.time)
        if trigger.event is not None:
            row[o.J_TRIGGER] = o.TRIGGER_EVENT
            row[o.J_STREAM], row[o.J_WHERE] = self.events(trigger.event, trigger.where, (*path, "where"), segments)
            self._reentry(journey, row)
            return
        row[o.J_WHERE] = self.guard(trigger.where, (*path, "where"), segments)
        if trigger.segment is not None:
            row[o.J_TRIGGER], row[o.J_EVERY] = o.TRIGGER_SEGMENT, _us(trigger.every or timedelta(0))
            row[o.J_MEMBERSHIP] = self.postfix.membership(trigger.segment, (*path, "segment"), segments)
        else:
            row[o.J_TRIGGER] = o.TRIGGER_DATE
            row[o.J_DATE], is_instant = self._date(str(trigger.date), (*path, "date"))
            row[o.J_DATE_IS_INSTANT] = int(is_instant)
        self._reentry(journey, row)

    def _reentry(self, journey: Journey, row: list[int]) -> None:
        trigger = journey.trigger
        if isinstance(trigger.reentry, timedelta):
            row[o.J_REENTRY], row[o.J_COOLDOWN] = o.REENTRY_COOLDOWN, _us(trigger.reentry)
        else:
            row[o.J_REENTRY] = ("never", "after_exit", "always").index(trigger.reentry)

    def _date(self, name: str, path: tuple[str | int, ...]) -> tuple[int, bool]:
        """The index of a date attribute, and whether it is an instant."""
        try:
            index, kind = self.postfix._attribute(name)
        except TypeFault as problem:
            self.fault(path, str(problem))
            return o.NONE, False
        if kind not in ("date", "instant", "unknown"):
            self.fault(path, f"attribute {name!r} is a {kind} in this log, not a date")
        return index, kind == "instant"

    # Nodes

    def _unfold(self, journey: Journey, index: int, prefix: str, run: int, path: tuple[str | int, ...]) -> _Part:
        """Gives every node of a journey its row, and those of its parts after them."""
        start = len(self.nodes)
        part = _Part(journey, index, prefix, run, {name: start + i for i, name in enumerate(journey.nodes)}, path)
        for name, node in journey.nodes.items():
            self.node_info.append(NodeInfo(index, prefix + name, node))
            self.nodes.append([o.NONE] * o.N_COLUMNS)
        for name, node in journey.nodes.items():
            if isinstance(node, Run):
                inner, inside = journey.parts[node.run], (*path, "nodes", name, "run")
                part.inner[name] = self._unfold(inner, index, f"{prefix}{name}.", part.first[name], inside)
        return part

    def _fill_all(self, part: _Part) -> None:
        for name in part.journey.nodes:
            self._fill(part, name)
        for inner in part.inner.values():
            self._fill_all(inner)

    def _edge(self, part: _Part, node: int, branch: str, target: str, share: float | None = None) -> int:
        """The branch of a node; one that is called after the node it goes to is qualified like that node."""
        by_name = isinstance(self.node_info[node].node, Decide | Split | WaitFor) and branch == target
        label = part.prefix + branch if by_name else branch
        if (node, label) not in self.edge_of:
            self.edge_of[node, label] = len(self.edges)
            self.edges.append(part.first[target])
            self.edge_info.append(EdgeInfo(node, label, part.prefix + target, share))
        return self.edge_of[node, label]

    def _fill(self, part: _Part, name: str) -> None:
        index, node = part.first[name], part.journey.nodes[name]
        row, path = self.nodes[index], (*part.path, "nodes", name)
        row[o.N_JOURNEY], row[o.N_RUN] = part.index, part.run
        shares = node.split if isinstance(node, Split) else {}
        edges = [
            self._edge(part, index, branch, target, float(shares[target]) if shares else None)
            for branch, target, _ in node.branches()
        ]
        if not isinstance(node, Split | Exit):
            row[o.N_EDGE], row[o.N_OTHER_EDGE] = edges[0], edges[-1] if len(edges) > 1 else o.NONE
        match node:
            case Send():
                self._send(row, node, part, name)
            case Wait():
                row[o.N_OP], row[o.A] = o.OP_WAIT, _us(node.wait)
            case WaitUntil():
                self._wait_until(row, node, path)
            case WaitFor():
                self._wait_for(row, part, edges, node, path)
            case Decide():
                row[o.N_OP], row[o.A] = o.OP_DECIDE, len(self.clauses)
                for i, (one, edge) in enumerate(zip(node.decide, edges, strict=False)):
                    tree, segments = c.parse(one.condition).tree, part.journey.known_segments
                    condition = self.postfix.condition(tree, (*path, "decide", i, "if"), part.sends(), segments)
                    self.clauses.append([condition, edge])
                row[o.B] = len(self.clauses)
            case Split():
                self._split(row, part, index, name, node)
            case Run():
                row[o.N_OP], row[o.A] = o.OP_RUN, part.inner[name].first[part.inner[name].journey.first]
            case Set():
                self._set(row, node, path)
            case Emit():
                row[o.N_OP], row[o.A] = o.OP_EMIT, self.names.own_event(node.emitted.event, node.emitted.properties)
            case Call():
                if node.call not in self.calls:
                    self.calls.append(node.call)
                row[o.N_OP], row[o.A] = o.OP_CALL, self.calls.index(node.call)
            case Exit():
                row[o.N_OP] = o.OP_EXIT
                row[o.A] = self.exit(part.index, node.exit) if part.run == o.NONE else o.NONE
        row[o.N_PLAIN] = int(
            row[o.N_OP] in (o.OP_WAIT, o.OP_DECIDE, o.OP_SPLIT)
            or (row[o.N_OP] == o.OP_SEND and row[o.C] == o.AT_ANY)
            or (row[o.N_OP] == o.OP_WAIT_FOR and row[o.E] == 0)
            or (row[o.N_OP] == o.OP_EXIT and part.run == o.NONE)
        )

    def _send(self, row: list[int], node: Send, part: _Part, name: str) -> None:
        row[o.N_OP], row[o.A], row[o.B] = o.OP_SEND, _us(node.expires), int(node.when_capped == "skip")
        row[o.C] = o.AT_ANY
        if isinstance(node.at, Window):
            row[o.C], row[o.D : o.F + 1] = o.AT_WINDOW, _window(node.at)
        elif node.best is not None:
            row[o.C], row[o.D] = o.AT_BEST, len(self.bests)
            self._best(node.best, node.expires, self.releases[part.index], f"{part.prefix}{name}")
        row[o.G] = message_stream(self.names, "sent", node.send)
        responses = [self.names.own_event(kind, {"message": node.send}) for kind in RESPONSES]
        row[o.H] = responses[0]
        if self.model is not None:
            self.names.own_event("sent", {"message": node.send})
            self.names.own_event("consent_withdrawn", {"purpose": self.releases[part.index].journey.purpose})
            self.names.own_event("bounced", {"message": node.send, "bounce_type": "soft"})

    def _best(self, best: Best, expires: timedelta, release: Release, node: str) -> None:
        model, salt = release.models.get(best.best, best.best), f"{release.journey.journey}/{node}"
        if model not in self.models:
            self.models.append(model)
        ahead = min(expires, MOST_AHEAD) if best.within is None else best.within
        window = [o.NONE, o.NONE, o.NONE] if best.window is None else _window(best.window)
        keys = [_signed(purpose_key(f"{salt}/{what}")) for what in ("explore", "hour")]
        self.bests.append([self.models.index(model), _us(ahead), *window, *keys])
        self.bests_x.append(float(best.explore))

    def converted(self) -> int:
        """The kind of own event that a conversion is, NONE where there is none."""
        if self.model is None or self.model.converts is None:
            return o.NONE
        return self.names.own_event(self.model.converts, self.model.properties)

    def features(self) -> list[int]:
        """The conditions whose values go with the request of a send."""
        texts = () if self.model is None else self.model.features
        return [self.postfix.value(c.parse_value(text), ("features", i)) for i, text in enumerate(texts)]

    def _wait_until(self, row: list[int], node: WaitUntil, path: tuple[str | int, ...]) -> None:
        until = node.wait_until
        row[o.N_OP], row[o.D], row[o.F] = o.OP_WAIT_UNTIL, _days(until.days), _us(until.offset)
        row[o.B] = parse_time_of_day(until.time or "00:00")
        if until.between is not None:
            row[o.A] = o.UNTIL_WINDOW
            row[o.B], row[o.C] = (parse_time_of_day(end, end=True) for end in until.between)
        elif until.date is not None:
            row[o.E], is_instant = self._date(until.date, (*path, "wait_until", "date"))
            row[o.A] = o.UNTIL_INSTANT if is_instant else o.UNTIL_DATE
        else:
            row[o.A] = o.UNTIL_TIME

    def _wait_for(
        self, row: list[int], part: _Part, edges: list[int], node: WaitFor, path: tuple[str | int, ...]
    ) -> None:
        row[o.N_OP], row[o.A], row[o.B] = o.OP_WAIT_FOR, _us(node.within), len(self.awaits)
        row[o.D] = o.SINCE_ARRIVAL
        if node.since is not None:
            row[o.D] = o.SINCE_ENTRY if node.since == "entry" else part.place(node.since)
        sends = part.sends()
        for i, (text, edge) in enumerate(zip(node.awaited, edges, strict=False)):
            awaited = c.parse_awaited(text)
            if isinstance(awaited, c.AwaitedMessage):
                of, message = sends[awaited.node]
                stream = message_stream(self.names, awaited.kind, message, awaited.link)
                self.awaits.append([stream, o.NONE, of, edge])
            else:
                where = (*path, "wait_for", i)
                events = self.events(awaited.event, awaited.where, where, part.journey.known_segments)
                self.awaits.append([*events, o.NONE, edge])
        row[o.C] = len(self.awaits)
        row[o.E] = int(any(guard != o.NONE for _, guard, _, _ in self.awaits[row[o.B] :]))
        row[o.F] = int(any(of != o.NONE for _, _, of, _ in self.awaits[row[o.B] :]))

    def _split(self, row: list[int], part: _Part, index: int, name: str, node: Split) -> None:
        row[o.N_OP], row[o.A], row[o.C] = o.OP_SPLIT, len(self.arms), int(node.per == "entry")
        salt = node.salt or f"{self.releases[part.index].journey.journey}/{part.prefix}{name}"
        for arm, share in sorted(node.split.items()):
            self.arms.append([_signed(purpose_key(f"{salt}/{arm}")), self._edge(part, index, arm, arm)])
            self.arms_x.append(float(share))
        row[o.B] = len(self.arms)

    def _set(self, row: list[int], node: Set, path: tuple[str | int, ...]) -> None:
        row[o.N_OP], row[o.A] = o.OP_SET, len(self.assigned)
        for name, value in node.set.items():
            attribute, kind = self.names.attribute(name)
            try:
                number = literal(value, kind, self.names, f"attribute {name!r}")
                if name == "timezone":
                    self.assigned.append([self.names.zone_attribute()])
                    self.assigned_x.append(float(self.names.zone(str(value))))
                if self.units.get(name, attribute) != attribute:
                    self.assigned_x.append(self.names.text(_unit_text(name, value)))
                    self.assigned.append([self.units[name]])
            except TypeFault as problem:
                self.fault((*path, "set", name), str(problem))
                continue
            self.assigned.append([attribute])
            self.assigned_x.append(number)
        row[o.B] = len(self.assigned)


def _unit_text(name: str, value: bool | float | str) -> str:
    """What an attribute that is a unit is set to, as a text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value % 1 != 0:
        raise TypeFault(f"attribute {name!r} is a unit, a text or a whole number, not {value!r} (rule 22)")
    return str(int(value))


def _signed(key: int) -> int:
    """A 64-bit key as it lies in an int64 table."""
    return key - 2**64 if key >= 2**63 else key


def compile_portfolio(
    releases: Sequence[Release],
    policy: Policy,
    names: Names,
    *,
    assume_consent: frozenset[str] = frozenset(),
    model: Model | None = None,
) -> Compiled:
    """The program of journeys that run together, by descending priority and then by name (rule 21).

    `assume_consent` holds the purposes for which consent is assumed (rule 34); `model` is given where sends are to be
    answered.

    Raises:
        DefinitionError: with every fault of the journeys, and every name or type that does not fit the log.
    """
    ordered = sorted(releases, key=lambda one: (-one.journey.priority, one.journey.journey))
    faults = [fault for one in ordered for fault in one.journey.check()]
    if faults:
        raise DefinitionError(faults)
    groups = sorted({one.journey.journey for one in ordered})
    work = _Compiler(names, ordered, assume_consent, Postfix(names), model, policy)
    for release in ordered:
        _declare(release.journey, names)
    names.expect({name for release in ordered for name in c.properties_in(release.journey)})
    for release in ordered:
        work.unit(release.journey)
    order = sorted({(-one.journey.priority, one.journey.journey) for one in ordered})
    for index, release in enumerate(ordered):
        work.journey(index, order.index((-release.journey.priority, release.journey.journey)), release, groups)
    _mark_open(work)
    converted, features = work.converted(), work.features()
    if work.postfix.faults:
        raise DefinitionError(work.postfix.faults)
    complained = names.stream("complained")
    soft = c.Compare("==", c.Property("bounce_type"), c.Text("soft"))
    bounced = names.stream("bounced", c.Not(soft) if "bounce_type" in names.property_names else None)
    program = o.Program(
        journeys=_table(work.journeys, o.J_COLUMNS),
        journeys_x=np.array(work.journeys_x, np.float64),
        nodes=_table(work.nodes, o.N_COLUMNS),
        edges=np.array(work.edges, np.int64),
        awaits=_table(work.awaits, 4),
        clauses=_table(work.clauses, 2),
        causes=_table(work.causes, 3),
        assigned=_table(work.assigned, 1),
        assigned_x=np.array(work.assigned_x, np.float64),
        arms=_table(work.arms, 2),
        arms_x=np.array(work.arms_x, np.float64),
        bests=_table(work.bests, o.BEST_COLUMNS),
        bests_x=np.array(work.bests_x, np.float64),
        consents=_table(work.consents, 3),
        suppressions=np.array([complained, bounced], np.int64),
        pauses=_table(work.pauses, 2),
        features=np.array(features, np.int64),
        sizes=_sizes(work, features, converted),
        **work.postfix.tables(),
    )
    return Compiled(program, ordered, groups, work.node_info, work.edge_info, work.exits, work.calls, work.models)


def _sizes(work: _Compiler, features: Sequence[int], converted: int) -> np.ndarray:
    sizes = np.zeros(o.N_SIZES, np.int64)
    sizes[o.N_JOURNEYS], sizes[o.N_NODES] = len(work.journeys), len(work.nodes)
    sizes[o.N_EDGES], sizes[o.N_EXITS] = len(work.edges), len(work.exits)
    sizes[o.N_FEATURES], sizes[o.N_CONVERTED] = len(features), converted
    sizes[o.N_PURPOSES] = len(work.consents)
    sizes[o.N_CAPS] = _n_caps(work)
    return sizes


def _n_caps(work: _Compiler) -> int:
    return sum(int(row[cap] >= 0) for row in work.journeys for cap in (o.J_CAP_SENDS, o.J_POLICY_SENDS))


def _mark_open(work: _Compiler) -> None:
    """Marks the journeys in which nothing but what a contact does itself can hold up a send that names no time."""
    n_caps = _n_caps(work)
    for row in work.journeys:
        is_held_up = n_caps > 0 or row[o.J_GATED] == 1 or row[o.J_PAUSES] < row[o.J_PAUSES_END]
        row[o.J_OPEN] = int(row[o.J_CONSENT_ASSUMED] == 1 and not is_held_up)


def _declare(journey: Journey, names: Names) -> None:
    """Makes known what the journey and its parts set and emit, so that conditions may ask for it."""
    for node in journey.nodes.values():
        if isinstance(node, Set):
            names.declare(node.set, {})
        elif isinstance(node, Emit):
            names.declare({}, node.emitted.properties)
        elif isinstance(node, Send):
            names.declare({}, {"message": node.send, "link": ""})
    for part in journey.parts.values():
        _declare(part, names)
