"""The definition of a journey: a trigger, nodes with one verb each, and the rules that hold for all of them.

These classes are data: they say what a journey is and never run it. The same definition is written as YAML or JSON
(`Journey.read`, `Journey.save`) or built in Python; `Journey.check` lists its faults, `program.compile` lowers it.
What each field means is said by the rules of docs/semantics.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, TypeAlias
from zoneinfo import available_timezones

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PrivateAttr,
    StrictBool,
    StrictInt,
    Tag,
    WithJsonSchema,
    model_validator,
)  # fmt: skip

from .display import MOST_DRAWINGS, block, counted, facts, rest, table
from .durations import duration_text, parse_duration, parse_time_of_day, time_of_day_text
from .errors import DefinitionError, Fault, known

if TYPE_CHECKING:
    from .canvas import Canvas

__all__ = [
    "Awaited", "Best", "Call", "Cap", "Clause", "Decide", "Emit", "Emitted", "Evidence", "Exit", "ExitWhen",
    "Journey", "Node", "Policy", "Portfolio", "QuietHours", "Run", "Segment", "Send", "Set", "Split",
    "Trigger", "Until", "VERBS", "Wait", "WaitFor", "WaitUntil", "Window",
]  # fmt: skip

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MARKETING: Final = "marketing"
"""The purpose of a journey that says none, and the one of which a policy's holdout holds contacts out (rule 23)."""
CONTACT: Final = "contact"
"""The unit of a journey that says none: the contact itself (rule 22)."""
MOST_AHEAD: Final = timedelta(days=7)
"""How far ahead `at: best` looks: scores are of the hours of one week."""
_AMBIGUOUS = {"yes", "no", "on", "off", "y", "n", "true", "false", "null"}


def _duration(value: object) -> timedelta:
    return parse_duration(value)


def _positive_duration(value: object) -> timedelta:
    result = parse_duration(value)
    if result <= timedelta(0):
        raise ValueError("this duration must be longer than zero")
    return result


def _signed_duration(value: object) -> timedelta:
    return parse_duration(value, signed=True)


def _share(value: object) -> Fraction:
    """An exact share from `"40%"`, `0.4` or `"0.4"`."""
    if isinstance(value, Fraction):
        share = value
    elif isinstance(value, str) and re.fullmatch(r"\s*\d+(\.\d+)?\s*%\s*", value):
        share = Fraction(value.strip().rstrip("%").strip()) / 100
    elif not isinstance(value, bool) and re.fullmatch(r"\d+(\.\d+)?(e-?\d+)?", str(value)):
        share = Fraction(str(value))
    else:
        raise ValueError(f'a share is written "40%" or 0.4, got {value!r}')
    if not 0 <= share <= 1:
        raise ValueError(f"a share lies between 0% and 100%, got {value!r}")
    return share


def _share_text(share: Fraction) -> str:
    percent = share * 100
    return f"{percent.numerator}%" if percent.denominator == 1 else f"{float(percent):.12g}%"


def _name(value: object) -> str:
    if isinstance(value, bool) or (isinstance(value, str) and value.lower() in _AMBIGUOUS):
        raise ValueError(f"{str(value).lower()!r} means something else to some YAML readers; choose another name")
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError(f"a name has letters, digits and underscores and starts with a letter, got {value!r}")
    return value


def _time(value: object) -> str:
    return time_of_day_text(parse_time_of_day(value))


def _end_time(value: object) -> str:
    return time_of_day_text(parse_time_of_day(value, end=True))


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _zone(value: object) -> str:
    if not isinstance(value, str) or value not in _zones():
        raise ValueError(f"{value!r} is no time zone; {known(str(value), _zones(), 'time zones')}")
    return str(value)


def _text_schema(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


_DURATION_SCHEMA = _text_schema(r"^(\d+(us|ms|w|d|h|m|s))+$", "3d")
_to_text = PlainSerializer(duration_text, return_type=str)
Duration = Annotated[timedelta, BeforeValidator(_duration), _to_text, _DURATION_SCHEMA]
PositiveDuration = Annotated[timedelta, BeforeValidator(_positive_duration), _to_text, _DURATION_SCHEMA]
SignedDuration = Annotated[
    timedelta, BeforeValidator(_signed_duration), _to_text, _text_schema(r"^-?(\d+(us|ms|w|d|h|m|s))+$", "-14d")
]
Share = Annotated[
    Fraction,
    BeforeValidator(_share),
    PlainSerializer(_share_text, return_type=str),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^\d+(\.\d+)?%$"}, {"type": "number"}]}),
]
Name = Annotated[str, BeforeValidator(_name), _text_schema("^[A-Za-z_][A-Za-z0-9_]*$", "welcome")]
TimeOfDay = Annotated[str, BeforeValidator(_time), _text_schema(r"^([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?$", "09:00")]
EndTime = Annotated[
    str, BeforeValidator(_end_time), _text_schema(r"^(([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?|24:00)$", "17:00")
]
Zone = Annotated[str, BeforeValidator(_zone), WithJsonSchema({"type": "string", "examples": ["Europe/Warsaw"]})]
Weekday: TypeAlias = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Scalar: TypeAlias = bool | int | float | str


class Definition(BaseModel):
    """What all parts of a definition share: frozen, no unknown keys, `else` and `from` under Python names."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, strict=False)

    def data(self) -> dict[str, Any]:
        """The part as plain data, as it is written in a file: no defaults, texts for durations and shares."""
        dumped: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return dumped

    def _said(self) -> dict[str, Any]:
        """What it says, by the names that Python has for it, defaults left out."""
        said: dict[str, Any] = self.model_dump(mode="json", exclude_defaults=True)
        return said

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._said().items())})"

    def __str__(self) -> str:
        return repr(self)

    def _repr_html_(self) -> str:
        return block(type(self).__name__, facts(self._said().items()))


class Window(Definition):
    """A daily local window that includes its start and excludes its end (rules 3 and 4), on `days` (default: all)."""

    between: tuple[TimeOfDay, EndTime]
    days: tuple[Weekday, ...] = WEEKDAYS

    @model_validator(mode="after")
    def _not_empty(self) -> Window:
        if self.between[0] == self.between[1]:
            raise ValueError(f"the window from {self.between[0]} to {self.between[1]} is empty (rule 4)")
        if not self.days:
            raise ValueError("a window needs at least one day")
        return self


class Best(Definition):
    """The best hour of the local week for each contact by the scores of the model `best` (rule 17).

    It is chosen among the hours of the next `within` (default: the send's `expires`, at most 7d) that lie in `between`
    on `days`; of the visits a share `explore` takes one of these hours by chance instead, which the model learns from.
    """

    best: Name
    between: tuple[TimeOfDay, EndTime] | None = None
    days: tuple[Weekday, ...] = WEEKDAYS
    within: PositiveDuration | None = None
    explore: Share = Fraction(1, 20)

    @model_validator(mode="after")
    def _is_possible(self) -> Best:
        if self.between is not None and self.between[0] == self.between[1]:
            raise ValueError(f"the window from {self.between[0]} to {self.between[1]} is empty (rule 4)")
        if not self.days:
            raise ValueError("a window needs at least one day")
        if self.within is not None and self.within > MOST_AHEAD:
            raise ValueError(
                f"within is {duration_text(self.within)}: scores are of the hours of one week; write at most 7d"
            )
        return self

    @property
    def window(self) -> Window | None:
        """The local window in which the hours lie; `None` where every hour of the week may be chosen."""
        if self.between is None and {*self.days} == {*WEEKDAYS}:
            return None
        return Window(between=self.between or ("00:00", "24:00"), days=self.days)


def _kind_of_at(value: Any) -> str:
    """Which alternative of `at` a value is meant to be; the tags are none of its keys."""
    if isinstance(value, str):
        return "word"
    is_best = isinstance(value, Best) or (isinstance(value, Mapping) and {"best", "within", "explore"} & value.keys())
    return "Best" if is_best else "Window"


At: TypeAlias = Annotated[
    Annotated[Literal["best"], Tag("word")] | Annotated[Best, Tag("Best")] | Annotated[Window, Tag("Window")],
    Discriminator(_kind_of_at),
]


class QuietHours(Definition):
    """The local hours in which nothing is sent; a send is held to their end (rule 18)."""

    start: TimeOfDay = Field(alias="from")
    end: EndTime = Field(alias="to")

    @model_validator(mode="after")
    def _not_empty(self) -> QuietHours:
        if self.start == self.end:
            raise ValueError(f"quiet hours from {self.start} to {self.end} are empty (rule 4)")
        return self


class Cap(Definition):
    """At most `sends` messages to a contact in any rolling `within` (rule 18)."""

    sends: StrictInt = Field(ge=1)
    within: PositiveDuration


class Policy(Definition):
    """What holds over all journeys that run together: one `cap`, and a `holdout` of contacts (rules 18 and 23).

    The holdout is drawn by a keyed hash; with another `salt` it has other contacts.
    """

    cap: Cap | None = None
    holdout: Share = Fraction(0)
    salt: str | None = None

    @model_validator(mode="after")
    def _salt_of_a_holdout(self) -> Policy:
        if self.salt is not None and not self.holdout:
            raise ValueError(f"the salt {self.salt!r} draws a holdout, and there is none; write holdout: 2%")
        return self

    def holdout_of(self, journey: Journey) -> Fraction:
        """The share of contacts whom the policy holds out of a journey: none where its purpose is not marketing."""
        return self.holdout if journey.purpose == MARKETING else Fraction(0)


class Trigger(Definition):
    """What makes an entry (rules 11 to 13): an event, a segment on a schedule, or a date attribute with an offset."""

    event: str | None = None
    segment: Name | None = None
    date: Name | None = None
    where: str | None = None
    reentry: Literal["never", "after_exit", "always"] | PositiveDuration = "never"
    every: PositiveDuration | None = None
    at_least: float = Field(default=0.5, ge=0, le=1)
    offset: SignedDuration = timedelta(0)
    time: TimeOfDay = "00:00"

    @model_validator(mode="before")
    @classmethod
    def _reentry_is_a_word_or_a_duration(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "reentry" in data:
            value = data["reentry"]
            if not isinstance(value, timedelta) and value not in ("never", "after_exit", "always"):
                try:
                    data = {**data, "reentry": parse_duration(value)}
                except ValueError:
                    raise ValueError(
                        f"reentry is never, after_exit, always or a duration such as 30d, got {value!r}"
                    ) from None
        return data

    @model_validator(mode="after")
    def _one_kind(self) -> Trigger:
        kinds = [kind for kind in ("event", "segment", "date") if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"a trigger has exactly one of event, segment and date, got {kinds or 'none'}")
        allowed = {"event": set(), "segment": {"every", "at_least", "offset"}, "date": {"offset", "time"}}[kinds[0]]
        extra = {"every", "at_least", "offset", "time"} & self.model_fields_set - allowed
        if extra:
            raise ValueError(f"a trigger on {kinds[0]} has no {', '.join(sorted(extra))}")
        if self.segment is not None and self.every is None:
            raise ValueError("a trigger on a segment needs `every`, such as 1d")
        return self


class ExitWhen(Definition):
    """An event that ends the entry at its own instant (rule 14); with `goal`, the entry has converted (rule 15)."""

    event: str
    where: str | None = None
    goal: StrictBool = False

    @property
    def text(self) -> str:
        """The exit's text in results: the event, with `goal:` before it where it is a goal."""
        return f"goal:{self.event}" if self.goal else self.event


class Clause(Definition):
    """One line of a `decide`: `if` the condition holds, `go` there."""

    condition: str = Field(alias="if")
    go: str


class Awaited(Definition):
    """One line of a `wait_for` list: what is awaited, and where it leads."""

    awaited: str = Field(alias="await")
    go: str


class Node(Definition):
    """One node of a journey; `VERBS` maps the verb that names each kind to its class."""

    verb: ClassVar[str] = ""
    takes_time: ClassVar[bool] = False

    def branches(self) -> list[tuple[str, str, str | int]]:
        """The branches in order, each as (branch, target, field that names the target)."""
        return [("next", self.next, "next")] if hasattr(self, "next") else []


class Send(Node):
    """Sends the message `send`, after the gates of rule 17."""

    verb: ClassVar[str] = "send"
    send: str
    next: str
    skipped: str | None = None
    at: At | None = None
    expires: Duration = timedelta(days=2)
    when_capped: Literal["wait", "skip"] = "wait"

    @model_validator(mode="after")
    def _expires_after_the_best_hour(self) -> Send:
        within = self.at.within if isinstance(self.at, Best) else None
        if within is not None and within > self.expires:
            raise ValueError(
                f"within is {duration_text(within)}, longer than the send's expires, {duration_text(self.expires)}: "
                f"what is held longer is skipped (rule 19); write expires: {duration_text(within)}"
            )
        return self

    @property
    def best(self) -> Best | None:
        """The terms of `at: best`, its defaults filled in; `None` where the send is at another time."""
        if isinstance(self.at, Best):
            return self.at
        return Best(best="best") if self.at == "best" else None

    def branches(self) -> list[tuple[str, str, str | int]]:
        skipped = self.skipped if self.skipped is not None else self.next
        return [("next", self.next, "next"), ("skipped", skipped, "skipped" if self.skipped is not None else "next")]


class Wait(Node):
    """Waits an exact duration (rule 2)."""

    verb: ClassVar[str] = "wait"
    takes_time: ClassVar[bool] = True
    wait: PositiveDuration
    next: str


class Until(Definition):
    """What `wait_until` waits for: a local window, a local time of day, or a date attribute with an offset."""

    between: tuple[TimeOfDay, EndTime] | None = None
    days: tuple[Weekday, ...] = WEEKDAYS
    date: Name | None = None
    offset: SignedDuration = timedelta(0)
    time: TimeOfDay | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Until:
        if self.date is not None:
            if self.between is not None or "days" in self.model_fields_set:
                raise ValueError("wait_until with a date takes offset and time, not between and days")
        elif (self.between is None) == (self.time is None):
            raise ValueError("wait_until has one of between, time, or date (date with an optional time)")
        elif "offset" in self.model_fields_set:
            raise ValueError("wait_until takes an offset only with a date")
        if self.between is not None and self.between[0] == self.between[1]:
            raise ValueError(f"the window from {self.between[0]} to {self.between[1]} is empty (rule 4)")
        if not self.days:
            raise ValueError("a window needs at least one day")
        return self


class WaitUntil(Node):
    """Waits until a local window or time, or a date attribute; a passed target continues at once (rule 5)."""

    verb: ClassVar[str] = "wait_until"
    takes_time: ClassVar[bool] = True
    wait_until: Until
    next: str
    otherwise: str | None = Field(default=None, alias="else")

    @model_validator(mode="after")
    def _else_needs_a_date(self) -> WaitUntil:
        if self.otherwise is not None and self.wait_until.date is None:
            raise ValueError("else is for contacts without the date; this wait_until has no date")
        return self

    def branches(self) -> list[tuple[str, str, str | int]]:
        missing = [] if self.otherwise is None else [("else", self.otherwise, "else")]
        return [("next", self.next, "next"), *missing]


class WaitFor(Node):
    """Waits for the first of the awaited events, at most `within` (rules 8 to 10)."""

    verb: ClassVar[str] = "wait_for"
    takes_time: ClassVar[bool] = True
    wait_for: str | tuple[Awaited, ...]
    within: PositiveDuration
    then: str | None = None
    otherwise: str = Field(alias="else")
    since: str | None = None

    @model_validator(mode="after")
    def _then_or_list(self) -> WaitFor:
        if isinstance(self.wait_for, str):
            if self.then is None:
                raise ValueError("wait_for needs `then`: where to go when the awaited happens")
        elif self.then is not None:
            raise ValueError("with a list of awaited events each has its own `go`; `then` is not used")
        elif not self.wait_for:
            raise ValueError("wait_for awaits nothing")
        return self

    @property
    def awaited(self) -> list[str]:
        """The awaited things in their order."""
        return [self.wait_for] if isinstance(self.wait_for, str) else [one.awaited for one in self.wait_for]

    def branches(self) -> list[tuple[str, str, str | int]]:
        if isinstance(self.wait_for, str):
            return [("then", self.then or "", "then"), ("else", self.otherwise, "else")]
        return [*((one.go, one.go, "wait_for") for one in self.wait_for), ("else", self.otherwise, "else")]


class Decide(Node):
    """Takes the first clause whose condition holds, else `else`."""

    verb: ClassVar[str] = "decide"
    decide: tuple[Clause, ...] = Field(min_length=1)
    otherwise: str = Field(alias="else")

    def branches(self) -> list[tuple[str, str, str | int]]:
        return [*((one.go, one.go, "decide") for one in self.decide), (self.otherwise, self.otherwise, "else")]


class Split(Node):
    """Sends each unit to one arm by a keyed hash (rule 22); each arm is a node, its share the probability."""

    verb: ClassVar[str] = "split"
    split: dict[str, Share] = Field(min_length=1)
    per: Literal["contact", "entry"] = "contact"
    salt: str | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> Split:
        total = sum(self.split.values())
        if total != 1:
            raise ValueError(f"the shares add up to {_share_text(Fraction(total))}, not 100% (rule 22)")
        return self

    def branches(self) -> list[tuple[str, str, str | int]]:
        return [(arm, arm, "split") for arm in self.split]


class Run(Node):
    """Runs another journey's nodes as a part, then goes on (rule 25)."""

    verb: ClassVar[str] = "run"
    run: Name
    next: str


class Set(Node):
    """Sets attributes of the contact, from that instant on."""

    verb: ClassVar[str] = "set"
    set: dict[Name, Scalar] = Field(min_length=1)
    next: str


class Emitted(Definition):
    """An event that a journey makes, with properties."""

    event: str
    properties: dict[Name, Scalar] = Field(default_factory=dict, alias="with")


class Emit(Node):
    """Makes an event of the contact, which conditions, waits, exits and triggers see like any other."""

    verb: ClassVar[str] = "emit"
    emit: str | Emitted
    next: str

    @property
    def emitted(self) -> Emitted:
        """The event, whichever way it was written."""
        return self.emit if isinstance(self.emit, Emitted) else Emitted(event=self.emit)


class Call(Node):
    """Calls an outside service; `failed` is where a failed call leads (default: to where `next` goes)."""

    verb: ClassVar[str] = "call"
    call: str
    next: str
    failed: str | None = None

    def branches(self) -> list[tuple[str, str, str | int]]:
        failed = self.failed if self.failed is not None else self.next
        return [("next", self.next, "next"), ("failed", failed, "failed" if self.failed is not None else "next")]


class Exit(Node):
    """Ends the entry with a text."""

    verb: ClassVar[str] = "exit"
    exit: str


VERBS: dict[str, type[Node]] = {
    kind.verb: kind for kind in (Send, Wait, WaitUntil, WaitFor, Decide, Split, Run, Set, Emit, Call, Exit)
}


class Evidence(Definition):
    """One line of a weighted segment: `when` the condition holds, `weight` is added."""

    when: str
    weight: float


class Segment(Definition):
    """A named condition, or weighted evidence whose membership is the logistic of bias plus the weights that apply."""

    condition: str | None = None
    weights: tuple[Evidence, ...] = ()
    bias: float = 0.0

    @model_validator(mode="before")
    @classmethod
    def _a_bare_condition(cls, data: Any) -> Any:
        return {"condition": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _one_form(self) -> Segment:
        if (self.condition is None) == (not self.weights):
            raise ValueError("a segment is a condition or has weights, one of the two")
        if self.condition is not None and self.bias:
            raise ValueError("a bias belongs to weights, not to a plain condition")
        return self

    def data(self) -> Any:
        return self.condition if self.condition is not None else super().data()

    def __repr__(self) -> str:
        if self.condition is not None:
            return f"Segment({self.condition!r})"
        return f"Segment({counted(len(self.weights), 'weight')}, bias {self.bias:g})"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        rows = [(one.when, f"{one.weight:g}") for one in self.weights]
        return block(repr(self), *([table(("evidence", "weight"), rows)] if rows else []))


def _node(value: Any) -> Any:
    """The node class chosen by the one verb among the keys."""
    if isinstance(value, Node) or not isinstance(value, Mapping):
        return value
    verbs = [key for key in value if key in VERBS]
    if len(verbs) != 1:
        keys = ", ".join(str(key) for key in value) or "nothing"
        found = f"{len(verbs)} verbs ({', '.join(verbs)})" if verbs else f"no verb among {keys}"
        raise ValueError(f"a node has exactly one verb, got {found}. Known verbs: {', '.join(sorted(VERBS))}.")
    return VERBS[verbs[0]].model_validate(value)


AnyNode = Annotated[Node, BeforeValidator(_node)]


@dataclass(frozen=True, slots=True)
class Written:
    """The YAML text that a journey was read from, if it was; two journeys are equal whatever their texts."""

    text: str | None = field(default=None, compare=False)


class Journey(Definition):
    """One journey: what makes an entry, its nodes, and the rules that hold in all of them.

    `unit` is who shares an arm: the contact, or all contacts with one value of an attribute (rule 22).
    `parts` holds the journeys that `run` names and `shared` the segments of the surrounding file; both are found by
    `Journey.read` and are not written back by `data`.

    >>> journey = Journey(
    ...     journey="hello",
    ...     trigger=Trigger(event="signup"),
    ...     nodes={"welcome": Send(send="welcome_1", next="done"), "done": Exit(exit="finished")},
    ... )
    >>> journey
    Journey('hello', 2 nodes, on signup, version 759a3f64f5e8)
    >>> Journey.from_data(journey.data()) == journey
    True
    """

    journey: Name
    title: str = ""
    description: str = ""
    purpose: str = MARKETING
    timezone: Zone = "UTC"
    trigger: Trigger
    exit_when: tuple[ExitWhen, ...] = ()
    quiet_hours: QuietHours | None = None
    cap: Cap | None = None
    holdout: Share = Fraction(0)
    unit: Name = CONTACT
    priority: StrictInt = 0
    max_visits: StrictInt = Field(default=20, ge=1)
    start: str | None = None
    nodes: dict[Name, AnyNode] = Field(min_length=1)
    segments: dict[Name, Segment] = Field(default_factory=dict)
    layout: dict[str, Any] = Field(default_factory=dict)
    parts: dict[str, Journey] = Field(default_factory=dict, exclude=True, repr=False)
    shared: dict[str, Segment] = Field(default_factory=dict, exclude=True, repr=False)
    _written: Written = PrivateAttr(default=Written())

    @property
    def first(self) -> str:
        """The node at which an entry begins: `start`, else the first node listed."""
        return self.start if self.start is not None else next(iter(self.nodes))

    @property
    def known_segments(self) -> dict[str, Segment]:
        """The segments that conditions may name: the journey's own, then those of the surrounding file."""
        return {**self.shared, **self.segments}

    def edges(self) -> Iterator[tuple[str, str, str]]:
        """Every branch of every node, as (node, branch, target)."""
        for name, node in self.nodes.items():
            for branch, target, _ in node.branches():
                yield name, branch, target

    def data(self) -> dict[str, Any]:
        """The journey as plain data, as it is written in a file: no defaults, texts for durations and shares."""
        written = {key: value for key, value in super().data().items() if key not in ("nodes", "segments")}
        layout = written.pop("layout", None)
        written["nodes"] = {name: node.data() for name, node in self.nodes.items()}
        if self.segments:
            written["segments"] = {name: segment.data() for name, segment in self.segments.items()}
        return {**written, "layout": layout} if layout else written

    def canonical(self) -> dict[str, Any]:
        """The definition reduced to what it does: texts for people left out, names sorted, parts and segments included.

        Two definitions with equal canonical forms behave equally; the version is the hash of this form (rule 26).
        """
        from .conditions import canonical_text, segments_in

        def plain(value: Any, key: str | None = None) -> Any:
            if isinstance(value, dict):
                return {name: plain(part, name) for name, part in sorted(value.items())}
            if isinstance(value, list):
                return [plain(part, key) for part in value]
            if isinstance(value, str) and key in {"where", "if", "when", "condition", "wait_for", "await"}:
                return canonical_text(value)
            return value

        own = self.data()
        for text in ("title", "description", "layout", "segments"):
            own.pop(text, None)
        own["start"] = self.first
        used = segments_in(self)
        own["segments"] = {
            name: {"condition": one} if isinstance(one, str) else one
            for name, one in ((name, self.known_segments[name].data()) for name in used if name in self.known_segments)
        }
        runs = {node.run for node in self.nodes.values() if isinstance(node, Run)}
        own["parts"] = {name: self.parts[name].canonical() for name in runs if name in self.parts}
        result: dict[str, Any] = plain(own)
        return result

    @property
    def version(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of the canonical form (rule 26)."""
        text = json.dumps(self.canonical(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def __repr__(self) -> str:
        start = self.trigger.event or self.trigger.segment or self.trigger.date
        return f"Journey({self.journey!r}, {len(self.nodes)} nodes, on {start}, version {self.version})"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        from .drawing import svg

        return svg(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any], *, source: str | None = None) -> Journey:
        """The journey that plain data describes.

        Raises:
            DefinitionError: with every fault of the form; `check` looks for faults of meaning.
        """
        from .journeyfile import journey_from_data

        return journey_from_data(data, source=source)

    @classmethod
    def read(cls, path: str | Path, name: str | None = None) -> Journey:
        """The checked journey in a YAML or JSON file; `name` chooses among several.

        Raises:
            DefinitionError: with every fault, its line and column; or when the file holds several and none is named.
        """
        from .journeyfile import read

        return read(path).one(name)

    def check(self) -> list[Fault]:
        """Every fault of meaning: names, graph, conditions (rule 24); empty when the journey is sound."""
        from .check import faults_of

        return faults_of(self)

    def to_yaml(self) -> str:
        """The journey as YAML; what was read from YAML keeps the comments, order and blanks of that text.

        Its parts and the segments of the surrounding file are not in it.
        """
        from .journeytext import text_of_journey

        return text_of_journey(self)

    def edit(self, **options: Any) -> Canvas:
        """The journey on a canvas, on which it can be changed; in marimo, wrap it in `mo.ui.anywidget`.

        Args:
            **options: of `canvas.Canvas`: `log` replays every change, `compared` shows what differs from another
                version, `language` is `en` or `pl`.

        Raises:
            DataError: when there is no such language, or a number of the journey is not exact in a browser.
        """
        from .canvas import Canvas

        return Canvas(self, **options)

    def save(self, path: str | Path) -> None:
        """Writes the journey to a YAML or JSON file; comments and order of an existing file are kept."""
        from .journeyfile import save

        save(self, path)


class Portfolio(Definition):
    """The journeys that run together on the same contacts, and the policy over all of them."""

    journeys: tuple[Journey, ...] = Field(min_length=1)
    policy: Policy = Policy()

    @model_validator(mode="after")
    def _names_differ(self) -> Portfolio:
        names = [journey.journey for journey in self.journeys]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two journeys are named {', '.join(twice)}")
        return self

    def __repr__(self) -> str:
        return f"Portfolio({counted(len(self.journeys), 'journey')}: {', '.join(one.journey for one in self.journeys)})"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        drawn = (one._repr_html_() for one in self.journeys[:MOST_DRAWINGS])
        return block(repr(self), *drawn, rest(len(self.journeys) - MOST_DRAWINGS, "journeys"))

    def one(self, name: str | None = None) -> Journey:
        """The journey called `name`, or the only one.

        Raises:
            DefinitionError: when there is no such journey, or several and no name.
        """
        names = [journey.journey for journey in self.journeys]
        if name is None and len(names) == 1:
            return self.journeys[0]
        if name is None:
            raise DefinitionError([Fault((), f"there are {len(names)} journeys here, name one: {', '.join(names)}")])
        if name not in names:
            raise DefinitionError([Fault((), f"no journey {name!r} here; {known(name, names, 'journeys')}")])
        return self.journeys[names.index(name)]
