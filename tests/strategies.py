"""Worlds for the property tests: random journeys and logs, small and nasty.

`worlds` draws journeys that are valid by rules 22 and 24 and a log around a change of clocks. Instants come from a
grid of six hours that holds the change itself, durations mostly from its multiples, so that much happens at one
instant; a few are off by a microsecond. Everything is plain data, as files and logs give it, and is printed as such.

How a journey is made sound: its nodes stand in a row, each leads to the next by one of its branches, and a branch
leads back only from or to a node that takes time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy, composite

from oracle import DAY, MICROSECOND, ZERO, duration, failing

T = TypeVar("T")
HOUR = timedelta(hours=1)
ZONES = (
    "Europe/Warsaw", "America/New_York", "Australia/Sydney", "Pacific/Auckland", "America/Santiago", "Atlantic/Azores",
    "Asia/Kolkata",
)  # fmt: skip
# Changes of clocks in both directions and hemispheres, in Santiago and the Azores at midnight; Kolkata has none.
CHANGES = (
    ("Europe/Warsaw", datetime(2025, 3, 30, 1, tzinfo=UTC)),
    ("Europe/Warsaw", datetime(2025, 10, 26, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2025, 11, 2, 6, tzinfo=UTC)),
    ("Australia/Sydney", datetime(2025, 4, 5, 16, tzinfo=UTC)),
    ("Australia/Sydney", datetime(2025, 10, 4, 16, tzinfo=UTC)),
    ("Pacific/Auckland", datetime(2026, 4, 4, 14, tzinfo=UTC)),
    ("Pacific/Auckland", datetime(2025, 9, 27, 14, tzinfo=UTC)),
    ("America/Santiago", datetime(2025, 4, 6, 3, tzinfo=UTC)),
    ("America/Santiago", datetime(2025, 9, 7, 4, tzinfo=UTC)),
    ("Atlantic/Azores", datetime(2025, 3, 30, 1, tzinfo=UTC)),
    ("Atlantic/Azores", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("Asia/Kolkata", datetime(2025, 6, 15, 18, 30, tzinfo=UTC)),
)
# What the columns of the log and of the contacts hold, also where a world happens to use none of their values.
PROPERTY_KINDS: dict[str, type] = {
    "message": str, "link": str, "bounce_type": str, "purpose": str, "name": str, "value": str, "plan": str,
    "page": str, "amount": float, "paid": bool,
}  # fmt: skip
ATTRIBUTE_KINDS: dict[str, type] = {
    "plan": str, "points": float, "vip": bool, "renewal": date, "due_at": datetime, "household": float,
}  # fmt: skip

CONTACTS = ("ada", "ben", "cyd", "dee")
MESSAGES = ("m1", "m2")
MODELS = ("best", "opens")
DURATIONS = ("6h", "1d", "12h", "1h", "3d", "90m", "1d12h", "1us")
TIMES = ("09:00", "00:00", "00:30", "01:00", "01:30", "02:00", "02:30", "03:00", "12:00:30", "17:00", "23:00", "23:30")
END_TIMES = (*TIMES, "24:00")
OFFSETS = ("-1d", "6h", "1d", "-90m")
DAYS = (["mon", "tue", "wed", "thu", "fri"], ["sat", "sun"], ["sun"])
TAKES_TIME = ("wait", "wait_until", "wait_for")
SHARES = {
    1: (["100%"],),
    2: (["50%", "50%"], ["70%", "30%"], [0.25, 0.75], ["0%", "100%"]),
    3: (["40%", "40%", "20%"], ["33.4%", "33.3%", "33.3%"]),
}


@dataclass
class World:
    """All that a replay is given; `calls` holds the contacts for whom a service fails, by service.

    `best` has by model and contact the scores of hours of the week, those of the contact `None` for all others.
    """

    journeys: list[dict[str, Any]]
    events: list[dict[str, Any]]
    contacts: list[dict[str, Any]]
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    segments: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] | None = None
    until: datetime | None = None
    match: timedelta = DAY
    calls: dict[str, set[str]] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    best: dict[str, dict[str | None, dict[int, float]]] | None = None
    pauses: dict[str, list[tuple[datetime, datetime]]] = field(default_factory=dict)

    def inputs(self) -> dict[str, Any]:
        """The arguments of `oracle.interpret`."""
        return {**vars(self), "calls": failing(self.calls)}


@dataclass(frozen=True)
class Around:
    """The place and time that a world is about."""

    zone: str
    change_at: datetime

    @property
    def start_at(self) -> datetime:
        return self.change_at - 2 * DAY

    @property
    def dates(self) -> tuple[date, ...]:
        return tuple(self.change_at.date() + n * DAY for n in (0, 1, -1, 2, 4))

    @property
    def zones(self) -> tuple[str, ...]:
        return (self.zone, self.zone, *ZONES)


@cache
def numbers(n: int) -> SearchStrategy[int]:
    return st.integers(0, n - 1)


BOOLEANS = st.booleans()
JITTERS = (ZERO,) * 8 + (MICROSECOND, -MICROSECOND, HOUR / 2, HOUR)


@dataclass(frozen=True)
class Chooser:
    """Chooses by hypothesis's `draw`; one strategy serves all choices among as many, which keeps drawing fast."""

    draw: DrawFn
    around: Around

    def one(self, options: Sequence[T]) -> T:
        """One of the options; examples shrink to the first."""
        return options[self.draw(numbers(len(options)))]

    def flag(self) -> bool:
        return self.draw(BOOLEANS)

    def at_most(self, n: int) -> int:
        return self.draw(numbers(n + 1))

    def many(self, least: int, most: int, make: Callable[[], T]) -> list[T]:
        """From `least` to `most` things."""
        return [make() for _ in range(least + self.at_most(most - least))]

    def some(self, options: Sequence[T], most: int) -> list[T]:
        """Up to `most` different ones of the options."""
        chosen: list[T] = []
        for _ in range(self.at_most(min(most, len(options)))):
            chosen.append(self.one([option for option in options if option not in chosen]))
        return chosen

    def instant(self, n_days: int = 5) -> datetime:
        """An instant of the grid from two days before the change on, now and then off it."""
        return self.around.start_at + 6 * self.at_most(4 * n_days) * HOUR + self.one(JITTERS)

    def with_some(self, given: dict[str, Any], **optional: Sequence[Any] | Callable[[], Any]) -> dict[str, Any]:
        """The dictionary with some of the optional keys, each with an option or with what its function makes.

        `else_` and the like stand for what Python reserves.
        """
        for name, options in optional.items():
            if self.flag():
                given[name.rstrip("_")] = options() if callable(options) else self.one(options)
        return given


# Conditions ---------------------------------------------------------------------------------------------------------

ATTRIBUTE_TESTS = (
    'plan == "trial"', "points >= 2", "vip", "not vip", 'plan != "trial"', 'plan in ["trial", "pro"]',
    'plan not in ["pro"]', "points in [1, 2.5]", "missing(points)", "missing(plan)", "0 < points <= 2",
    "points / (points - 1) > 1", "-points < 0", "points * 2 - 1 >= 1", "vip == true", "vip != False",
    'timezone == "Europe/Warsaw"', "local_hour() >= 9", "1 <= local_hour() < 3", 'weekday() in ["sat", "sun"]',
    'weekday() == "sun"', "weekday() < 5", "weekday() != 6", "not (points == 1)",
)  # fmt: skip
PAST_TESTS = (
    'count("visit") >= 1', 'count("visit", "6h") == 1', 'count("visit", "1d") < 2', 'did("purchase")',
    'did("purchase", "12h")', 'not did("visit", "1us")', 'sum("purchase.amount", "1d") >= 1',
    'sum("purchase.amount") + points > 2', 'mean("purchase.amount") > 0.75', 'min("purchase.amount", "3d") < 1',
    'max("purchase.amount") != 2', 'last("purchase.amount") >= 1', 'last("visit.page") == "home"',
    'missing(last("visit.page"))', 'missing(mean("purchase.amount", "1d"))', 'since("visit") > "6h"',
    'since("visit") <= "1d"', 'since_first("visit") >= "12h"', 'missing(since("purchase"))',
    'since("purchase", where="paid") < "1d"', 'count("purchase", "3d", where="amount >= 1") >= 1',
    'did("visit", where="page == \'home\'")', 'count("purchase", where="not paid") > 0',
    'last("purchase.amount", where="paid") > 0.5', 'did("opened", "1d")', 'count("ping") >= 2',
    'count("visit", where="missing(page)") == 1', 'points > count("visit")',
)  # fmt: skip
PROPERTY_TESTS = (
    'page == "home"', "amount >= 1", "paid", 'plan == "trial"', "points >= 2", "missing(page)", "not paid",
    'amount > 0.5 and plan != "pro"', 'count("visit") >= 2', 'since_first("visit") > "6h"', 'missing(plan) or vip',
    'last("visit.page") == page', "local_hour() < 12",
)  # fmt: skip
ENTRY_TESTS = (
    "entry.amount >= 1",
    'entry.plan == "trial"',
    "missing(entry.amount)",
    "entry.paid",
    "entry.plan == plan",
)


@dataclass(frozen=True)
class Known:
    """What conditions may speak of in their place: nodes that send, and segments."""

    around: Around
    sends: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()


@cache
def contact_tests(known: Known, *, in_entry: bool) -> tuple[str, ...]:
    """The simple conditions that may be asked of a contact."""
    tests = [*ATTRIBUTE_TESTS, *PAST_TESTS, 'score("churn") > 0.5', 'missing(score("churn"))']
    tests += [f'renewal {op} "{day}"' for day in known.around.dates[:2] for op in ("<", "==", ">=")]
    tests += [f'segment("{name}") {bound}' for name in known.segments for bound in (">= 0.5", "< 0.6", "> 0")] * 2
    if in_entry:
        tests += ENTRY_TESTS
        for node in known.sends:
            asked = [f"{kind}({node})" for kind in ("opened", "sent", "clicked", "delivered", "bounced")]
            tests += [*asked, f"not opened({node})", f'clicked({node}, "pricing")'] * 3
    return tuple(tests)


SHAPES = ("{0}", "{0}", "{0}", "not ({0})", "({0}) and ({1})", "({0}) or ({1})")


def combined(choose: Chooser, tests: tuple[str, ...]) -> str:
    """One of the tests, or two of them."""
    shape = choose.one(SHAPES)
    first = choose.one(tests)
    return shape.format(first, choose.one(tests) if "{1}" in shape else "")


def condition(choose: Chooser, known: Known, *, in_entry: bool = True) -> str:
    return combined(choose, contact_tests(known, in_entry=in_entry))


def where(choose: Chooser, *, in_entry: bool = True) -> str:
    """What may be said of an event at hand."""
    return combined(choose, PROPERTY_TESTS + (ENTRY_TESTS if in_entry else ()))


def segment(choose: Chooser, known: Known) -> Any:
    """A condition, bare or not, or weighted evidence."""
    kind = choose.one(("bare", "condition", "weights", "weights"))
    if kind != "weights":
        asked = condition(choose, known, in_entry=False)
        return asked if kind == "bare" else {"condition": asked}

    def evidence() -> dict[str, Any]:
        return {"when": condition(choose, known, in_entry=False), "weight": choose.one((1.0, 2.5, -1.0, -0.5))}

    return choose.with_some({"weights": choose.many(1, 3, evidence)}, bias=(-1.0, 1.5))


# Journeys -----------------------------------------------------------------------------------------------------------


def window(choose: Chooser) -> dict[str, Any]:
    start = choose.one(TIMES)
    end = choose.one([end for end in END_TIMES if end != start])
    return choose.with_some({"between": [start, end]}, days=DAYS)


def cap(choose: Chooser) -> dict[str, Any]:
    return {"sends": choose.one((1, 2)), "within": choose.one(("6h", "1d", "3d", "1w"))}


@dataclass(frozen=True)
class Slot:
    """Where a node stands: what its first branch leads to, what others may lead to, and what it may speak of."""

    following: str
    others: tuple[str, ...]
    names: tuple[str, ...]
    known: Known
    emitted: tuple[str, ...]
    parts: tuple[str, ...]

    @property
    def any(self) -> tuple[str, ...]:
        return (self.following, *self.others)


def send_node(choose: Chooser, slot: Slot) -> dict[str, Any]:
    node = choose.with_some(
        {"send": choose.one(MESSAGES), "next": slot.following},
        skipped=slot.any,
        expires=("6h", "1d", "5d", "0s", "9d"),
        when_capped=("skip", "wait"),
    )
    if choose.flag():
        node["at"] = window(choose) if choose.one((True, False, False)) else best(choose, node.get("expires", "2d"))
    return node


def best(choose: Chooser, expires: str) -> Any:
    """The terms of `at: best`, no longer than the send is kept."""
    if choose.one((True, False, False)):
        return "best"
    ahead = [one for one in ("1d", "6h", "90m", "5d") if duration(one) <= duration(expires)]
    terms = choose.with_some({"best": choose.one(MODELS)}, explore=("50%", "100%", "0%", 0.334), days=DAYS)
    if choose.flag():
        terms["between"] = window(choose)["between"]
    return choose.with_some(terms, within=ahead) if ahead else terms


def hour_scores(choose: Chooser) -> dict[int, float]:
    """Scores of some hours of the week, many of them equal: of one, of one in so many, or of those of a stretch."""
    first = choose.at_most(167)
    match choose.one(("all", "all", "one", "some", "stretch")):
        case "one":
            hours: Sequence[int] = (first,)
        case "some":
            hours = range(first % 5, 168, choose.one((3, 7, 25)))
        case "stretch":
            hours = [(first + n) % 168 for n in range(choose.one((2, 9, 30)))]
        case _:
            hours = range(168)
    step, most = choose.one((5, 11, 67)), choose.one((3, 40, 168))
    return {hour: float((hour * step + first) % most) for hour in hours}


def wait_node(choose: Chooser, slot: Slot) -> dict[str, Any]:
    return {"wait": choose.one(DURATIONS), "next": slot.following}


def wait_until_node(choose: Chooser, slot: Slot) -> dict[str, Any]:
    match choose.one(("window", "time", "date", "instant")):
        case "window":
            return {"wait_until": window(choose), "next": slot.following}
        case "time":
            until = choose.with_some({"time": choose.one(TIMES)}, days=DAYS)
            return {"wait_until": until, "next": slot.following}
        case "date":
            until = choose.with_some({"date": "renewal"}, offset=OFFSETS, time=TIMES)
        case _:
            until = choose.with_some({"date": "due_at"}, offset=OFFSETS)
    return choose.with_some({"wait_until": until, "next": slot.following}, else_=slot.others)


def awaited(choose: Chooser, slot: Slot) -> str:
    if slot.known.sends and choose.flag():
        kinds = (
            "opened({})",
            "clicked({})",
            'clicked({}, "pricing")',
            "delivered({})",
            "bounced({})",
            "complained({})",
        )
        return choose.one((*kinds, "unsubscribed({})")).format(choose.one(slot.known.sends))
    name = choose.one(("visit", "purchase", "ping", "pong"))
    return f"event({name!r}, where={where(choose)!r})" if choose.flag() else name


def wait_for_node(choose: Chooser, slot: Slot) -> dict[str, Any]:
    within, since = choose.one(("1d", "3d", "12h", "36h", "6h", "90m")), ("entry", "entry", *slot.names)
    if choose.flag():
        node: dict[str, Any] = {"wait_for": awaited(choose, slot), "within": within, "then": choose.one(slot.others)}
    else:
        listed = choose.many(1, 3, lambda: {"await": awaited(choose, slot), "go": choose.one(slot.any)})
        node = {"wait_for": listed, "within": within}
    return choose.with_some({**node, "else": slot.following}, since=since)


def decide_node(choose: Chooser, slot: Slot) -> dict[str, Any]:
    clauses = choose.many(1, 3, lambda: {"if": condition(choose, slot.known), "go": choose.one(slot.others)})
    return {"decide": clauses, "else": slot.following}


def split_node(choose: Chooser, slot: Slot) -> dict[str, Any]:
    arms = [slot.following, *choose.some([name for name in slot.others if name != slot.following], 2)]
    shares = choose.one(SHARES[len(arms)])
    return choose.with_some({"split": dict(zip(arms, shares, strict=True))}, per=("entry", "contact"), salt=("test_7",))


def set_node(choose: Chooser, slot: Slot) -> dict[str, Any]:
    values = {
        "plan": ("trial", "pro"), "points": (1, 2.5, 0), "vip": (True, False), "timezone": choose.around.zones,
        "household": (23, 17),
    }  # fmt: skip
    name = choose.one((*values, "household", "household"))
    return {"set": {name: choose.one(values[name])}, "next": slot.following}


def emit_node(choose: Chooser, slot: Slot) -> dict[str, Any]:
    name = choose.one((*slot.emitted, *slot.emitted, "opened", "consent_withdrawn"))
    if name == "opened":
        emitted: Any = {"event": name, "with": {"message": choose.one(MESSAGES)}}
    elif name == "consent_withdrawn":
        emitted = {"event": name, "with": {"purpose": "news"}}
    elif choose.flag():
        emitted = name
    else:
        amount = {"amount": choose.one((1, 0.5))}
        emitted = {"event": name, "with": choose.with_some(amount, page=("home",), paid=(True, False))}
    return {"emit": emitted, "next": slot.following}


def call_node(choose: Chooser, slot: Slot) -> dict[str, Any]:
    return choose.with_some({"call": choose.one(("crm", "shop")), "next": slot.following}, failed=slot.any)


def run_node(choose: Chooser, slot: Slot) -> dict[str, Any]:
    return {"run": choose.one(slot.parts), "next": slot.following}


NODES: dict[str, Callable[[Chooser, Slot], dict[str, Any]]] = {
    "send": send_node, "wait": wait_node, "wait_for": wait_for_node, "decide": decide_node,
    "wait_until": wait_until_node, "split": split_node, "set": set_node, "emit": emit_node, "call": call_node,
    "run": run_node,
}  # fmt: skip


@dataclass(frozen=True)
class Surroundings:
    """What the nodes of a journey may use of the world around them."""

    segments: tuple[str, ...]
    emitted: tuple[str, ...]
    parts: dict[str, dict[str, Any]]


def graph(choose: Chooser, given: Surroundings, most: int) -> dict[str, dict[str, Any]]:
    """The nodes of a sound journey."""
    kinds = tuple(NODES) if given.parts else tuple(NODES)[:-1]
    verbs = choose.many(1, most, lambda: choose.one(("send", *kinds, "decide", "send", "wait_for")))
    names = [f"n{i}" for i in range(len(verbs))]
    slow = [name for name, verb in zip(names, verbs, strict=True) if verb in TAKES_TIME]
    sends = [name for name, verb in zip(names, verbs, strict=True) if verb == "send"]
    nodes: dict[str, dict[str, Any]] = {}
    for i, (name, verb) in enumerate(zip(names, verbs, strict=True)):
        later = (*names[i + 1 :], "done", "gone")
        back = names[: i + 1] if verb in TAKES_TIME else [one for one in slow if one in names[:i]]
        known = Known(choose.around, (*sends, *sends_in_parts(nodes, given.parts)), given.segments)
        slot = Slot(later[0], (*later[1:], *back), tuple(names), known, given.emitted, tuple(given.parts))
        nodes[name] = NODES[verb](choose, slot)
    nodes["done"] = {"exit": "finished"}
    return {**nodes, "gone": {"exit": "early"}} if is_named(list(nodes.values()), "gone") else nodes


def sends_in_parts(nodes: dict[str, dict[str, Any]], parts: dict[str, dict[str, Any]]) -> list[str]:
    """The nodes that send in the parts that these nodes run, under their full names."""
    return [
        f"{name}.{inner}"
        for name, node in nodes.items()
        if "run" in node
        for inner, inner_node in parts[node["run"]]["nodes"].items()
        if "send" in inner_node
    ]


def is_named(value: Any, name: str) -> bool:
    """Whether a node leads to `name`; nothing else is called so."""
    if isinstance(value, dict):
        return any(is_named(part, name) for part in (*value, *value.values()))
    return any(is_named(part, name) for part in value) if isinstance(value, list) else value == name


def part_definitions(choose: Chooser) -> dict[str, dict[str, Any]]:
    """Up to two parts; the second may run the first."""
    parts: dict[str, dict[str, Any]] = {}
    for name in ("care", "rescue")[: choose.one((0, 1, 2, 2))]:
        nodes = graph(choose, Surroundings(("keen",), ("visit",), dict(parts)), 3)
        part = {"journey": name, "trigger": {"event": "signup"}, "nodes": nodes}
        parts[name] = choose.with_some(part, segments=lambda: {"keen": segment(choose, Known(choose.around))})
    return parts


def trigger(choose: Chooser, events: tuple[str, ...]) -> dict[str, Any]:
    reentry: tuple[str, ...] = ("always", "after_exit", "6h", "1d", "3d")
    known = Known(choose.around, segments=("keen",))

    def asked() -> str:
        return condition(choose, known, in_entry=False)

    match choose.one(("event", "event", "event", "event", "segment", "date", "instant")):
        case "event":
            event = choose.one(events)
            return choose.with_some({"event": event}, where=lambda: where(choose, in_entry=False), reentry=reentry)
        case "segment":
            every = {"segment": "keen", "every": choose.one(("1d", "12h", "1w", "36h"))}
            bounds = (0.3, 0.9, 0.0, 1.0)
            return choose.with_some(every, at_least=bounds, offset=("6h", "-90m"), where=asked, reentry=reentry)
        case "date":
            return choose.with_some({"date": "renewal"}, offset=OFFSETS, time=TIMES, where=asked, reentry=reentry)
        case _:
            return choose.with_some({"date": "due_at"}, offset=OFFSETS, where=asked, reentry=reentry)


def exit_cause(choose: Chooser) -> dict[str, Any]:
    event = choose.one(("purchase", "visit", "ping", "opened", "consent_withdrawn"))
    return choose.with_some({"event": event}, where=lambda: where(choose), goal=(True, False))


TRIGGERS = (("signup", "purchase", "visit"), ("ping", "signup", "visit"), ("pong", "ping", "signup"))
EMITTED = ("ping", "pong", "visit")  # each of them triggers journeys, those that emit it, too (24)


def journey(choose: Chooser, i: int, parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The i-th journey of a world."""
    near = Known(choose.around, segments=("keen",))
    spec = choose.with_some(
        {"journey": ("welcome", "cart", "bye")[i]},
        timezone=choose.around.zones,
        exit_when=lambda: choose.many(1, 2, lambda: exit_cause(choose)),
        quiet_hours=lambda: dict(zip(("from", "to"), window(choose)["between"], strict=True)),
        cap=lambda: cap(choose),
        priority=(1, 2, -1),
        max_visits=(1, 2, 3),
        segments=lambda: {"near": segment(choose, near)},
    )
    if choose.flag():
        spec["unit"] = choose.one(("household", "plan", "household", "contact"))
    if choose.one((False, "unit" in spec, False, False, True)):
        spec["holdout"] = choose.one(("50%", 0.2))
    own = {"purpose": "news"} if choose.one((False, False, False, True)) else {}
    names = ("keen", *spec.get("segments", ()))
    nodes = graph(choose, Surroundings(names, EMITTED, {} if own else parts), 7)
    return {**spec, **own, "trigger": trigger(choose, TRIGGERS[i]), "nodes": nodes}


# Logs ---------------------------------------------------------------------------------------------------------------

HAPPENINGS = (
    "visit", "purchase", "ping", "sent", "opened", "clicked", "attribute_changed", "visit", "purchase", "pong", "sent",
    "opened", "delivered", "sent", "attribute_changed", "bounced", "unsubscribed",
)  # fmt: skip


def properties(choose: Chooser, name: str) -> dict[str, Any]:
    """The properties of an event of a name."""
    match name:
        case "signup":
            return choose.with_some({}, plan=("trial", "pro"))
        case "visit":
            return choose.with_some({}, page=("home", "pricing"))
        case "purchase" | "ping" | "pong":
            return choose.with_some({}, amount=(1.0, 0.5, 2.0), paid=(True, False))
        case "clicked":
            return choose.with_some({"message": choose.one(MESSAGES)}, link=("pricing", "docs"))
        case "bounced":
            kind = choose.one(("soft", "soft", "soft", "soft", "hard", None))
            return {"message": choose.one(MESSAGES), **({"bounce_type": kind} if kind else {})}
        case "consent_given" | "consent_withdrawn":
            return choose.with_some({}, purpose=("marketing", "news"))
        case "attribute_changed":
            return change(choose)
        case "erased":
            return {}
        case _:
            return {"message": choose.one(MESSAGES)}


def change(choose: Chooser) -> dict[str, Any]:
    """The properties of an `attribute_changed`: values are texts, as a column of one type holds them."""
    name = choose.one((*ATTRIBUTE_KINDS, "timezone", "household", "household"))
    values: dict[str, Sequence[str]] = {
        "plan": ("trial", "pro"),
        "points": ("1", "2.5", "0"),
        "vip": ("true", "false"),
        "household": ("4", "5", "17"),
        "timezone": choose.around.zones,
        "renewal": [day.isoformat() for day in choose.around.dates],
    }
    if choose.one((False, False, False, True)):
        return {"name": name}
    return {"name": name, "value": choose.one(values[name]) if name in values else choose.instant().isoformat()}


def attributes(choose: Chooser, *, is_first: bool) -> dict[str, Any]:
    """Attributes and time zone; the first contact has them all, so that each attribute has a kind."""
    values: dict[str, Callable[[], Any]] = {
        "plan": lambda: choose.one(("trial", "pro")),
        "points": lambda: choose.one((1.0, 2.5, 0.0)),
        "vip": lambda: choose.flag(),
        "renewal": lambda: choose.one(choose.around.dates),
        "due_at": lambda: choose.instant(),
        "household": lambda: choose.one((4.0, 5.0)),
    }
    known = {name: make() if is_first or choose.flag() else None for name, make in values.items()}
    return {"attributes": known, "timezone": choose.one((None, *choose.around.zones))}


@cache
def happenings(around: Around, names: tuple[str, ...], least: int) -> SearchStrategy[list[dict[str, Any]]]:
    """From `least` to 25 events without their contact, names drawn from `names`."""

    @composite
    def happening(draw: DrawFn) -> dict[str, Any]:
        choose = Chooser(draw, around)
        name = choose.one(names)
        return {"event": name, "occurred_at": choose.instant(), "properties": properties(choose, name)}

    return st.lists(happening(), min_size=least, max_size=25)


def log(choose: Chooser, contacts: tuple[str, ...], triggered_by: tuple[str, ...]) -> list[dict[str, Any]]:
    """A log in its order. Consent is given to all at the start, or nowhere mentioned, or as it happens."""
    consents = choose.one(("given", "unmentioned", "given", "mixed"))
    names = (*triggered_by, *HAPPENINGS, *triggered_by)
    if consents == "mixed":
        names += ("consent_given", "consent_given", "consent_given", "consent_withdrawn")
    if choose.one((False, False, True)):
        names += ("complained", "erased")
    events: list[dict[str, Any]] = []
    if consents != "unmentioned":
        given = {"event": "consent_given", "occurred_at": choose.around.start_at, "properties": {}}
        events += [{"contact": contact, **given} for contact in contacts if consents == "given" or choose.flag()]
    for contact in contacts:
        happened = choose.draw(happenings(choose.around, names, choose.one((0, 6, 16, 16))))
        events += [{"contact": contact, **row} for row in happened]
    return events


def policy(choose: Chooser) -> dict[str, Any]:
    return choose.with_some({}, cap=lambda: cap(choose), holdout=("50%", 0.2, "0%"))


def pause(choose: Chooser) -> tuple[datetime, datetime]:
    start, end = sorted((choose.instant(), choose.instant()))
    return start, end


def send_times(choose: Chooser, contacts: tuple[str, ...]) -> dict[str, dict[str | None, dict[int, float]]]:
    """What each model knows of some contacts, and now and then of all others."""
    known: dict[str, dict[str | None, dict[int, float]]] = {}
    for model in MODELS:
        known[model] = {name: hour_scores(choose) for name in choose.some(contacts, 4)}
        if choose.flag():
            known[model][None] = hour_scores(choose)
    return known


@composite
def worlds(draw: DrawFn) -> World:
    """A portfolio of one to three journeys, and a log of one to four contacts."""
    choose = Chooser(draw, Around(*CHANGES[draw(numbers(len(CHANGES)))]))
    names = CONTACTS[: 1 + choose.at_most(3)]
    parts = part_definitions(choose)
    portfolio = [journey(choose, i, parts) for i in range(choose.one((1, 1, 2, 3)))]
    contacts = [{"contact": name, **attributes(choose, is_first=name == names[0])} for name in names]
    triggered_by = tuple(sorted({one["trigger"]["event"] for one in portfolio if "event" in one["trigger"]}))
    paused = [one["journey"] for one in portfolio if choose.one((False,) * 5 + (True,))]
    is_run = any("run" in node for one in portfolio for node in one["nodes"].values())
    return World(
        journeys=portfolio,
        events=log(choose, names, triggered_by),
        contacts=contacts[:-1] if len(names) > 1 and choose.one((False, False, False, True)) else contacts,
        parts=parts if is_run else {},
        segments={"keen": segment(choose, Known(choose.around))},
        policy=policy(choose) if choose.one((False, False, True)) else None,
        until=choose.instant(9) if choose.flag() else None,
        match=choose.one((DAY, 6 * HOUR, 3 * DAY)),
        calls={name: set(choose.some(names, 2)) for name in choose.some(("crm", "shop"), 2)},
        scores={"churn": {name: choose.one((0.25, 0.75, 0.5)) for name in choose.some(names, 4)}},
        best=send_times(choose, names) if choose.one((True, True, False)) else None,
        pauses={name: [pause(choose)] for name in paused},
    )
