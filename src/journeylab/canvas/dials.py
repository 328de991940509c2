"""The numbers of a journey that a slider can move: waits, windows, caps, hours and thresholds.

A dial names the place of its text in the definition and which number of that text it is, counted from 0; so a slider
writes a definition and nothing else.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from math import ceil, log10
from typing import Any

from journeylab.language import say

__all__ = ["dials_of"]

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_DURATION = re.compile(r"(\d+)(w|d|h|m)")
_SIGNS = {ast.GtE: ">=", ast.Gt: ">", ast.LtE: "<=", ast.Lt: "<", ast.Eq: "==", ast.NotEq: "!="}
_MOST = {"w": 8, "d": 14, "h": 48, "m": 120}

Dial = dict[str, Any]


def dials_of(definition: Mapping[str, Any], journey: str = "") -> list[Dial]:
    """The dials of a definition, in its order.

    Each has the `journey` it is of, its `group` (a node, or empty for the journey), a `label`, the `path` of its text,
    `nth` (which number of the text; None where the value is the number itself), `value`, `low`, `high`, `step`, `unit`
    and `digits` (how many an hour is written with).

    >>> [(one["label"], one["value"], one["unit"]) for one in dials_of({"nodes": {"pause": {"wait": "4d"}}})]
    [('wait', 4.0, 'd')]
    """
    found = [*_of_journey(definition)]
    for name, node in definition.get("nodes", {}).items():
        if isinstance(node, Mapping):
            found += _of_node(name, node)
    return [{"journey": journey, **one} for one in found]


def _dial(group: str, label: str, path: list[str | int], nth: int | None, value: float, **more: Any) -> Dial:
    shown = {"low": 0.0, "high": 10.0, "step": 1.0, "unit": "", "digits": 0, **more}
    return {"group": group, "label": label, "path": path, "nth": nth, "value": value, **shown}


def _duration(group: str, label: str, path: list[str | int], text: object, nth: int = 0) -> Iterator[Dial]:
    """The dial of a duration of one unit, such as 4d."""
    if isinstance(text, str) and (match := _DURATION.fullmatch(text)):
        value, unit = float(match[1]), match[2]
        yield _dial(group, label, path, nth, value, low=1.0, high=max(_MOST[unit], 2 * value), unit=unit)


def _hours(
    group: str, labels: tuple[str, str], path: list[str | int], keys: tuple[Any, Any], owner: Any
) -> Iterator[Dial]:
    for key, label in zip(keys, labels, strict=True):
        text = owner[key] if isinstance(owner, list) else owner.get(key)
        if isinstance(text, str) and re.fullmatch(r"\d\d:\d\d", text):
            yield _dial(group, label, [*path, key], 0, float(text[:2]), high=23.0, unit="h", digits=2)


def _of_journey(definition: Mapping[str, Any]) -> Iterator[Dial]:
    cap, quiet = definition.get("cap"), definition.get("quiet_hours")
    if isinstance(cap, Mapping):
        if isinstance(cap.get("sends"), int):
            high = float(max(10, 2 * cap["sends"]))
            yield _dial("", say("cap: sends"), ["cap", "sends"], None, float(cap["sends"]), low=1.0, high=high)
        yield from _duration("", say("cap: within"), ["cap", "within"], cap.get("within"))
    if isinstance(quiet, Mapping):
        labels = (say("quiet hours: from"), say("quiet hours: to"))
        yield from _hours("", labels, ["quiet_hours"], ("from", "to"), quiet)
    if isinstance(holdout := definition.get("holdout"), str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)%", holdout)):
        yield _dial("", say("held out"), ["holdout"], 0, float(match[1]), high=50.0, unit="%")
    trigger = definition.get("trigger")
    if isinstance(trigger, Mapping):
        yield from _of_text("", "where", ["trigger", "where"], trigger.get("where"))


def _of_node(name: str, node: Mapping[str, Any]) -> Iterator[Dial]:
    at = ["nodes", name]
    for key in ("wait", "within", "expires"):
        yield from _duration(name, key, [*at, key], node.get(key))
    window = node.get("at")
    if isinstance(window, Mapping) and isinstance(between := window.get("between"), list) and len(between) == 2:
        yield from _hours(name, (say("from"), say("to")), [*at, "at", "between"], (0, 1), between)
    if isinstance(clauses := node.get("decide"), list):
        for i, clause in enumerate(clauses):
            if isinstance(clause, Mapping):
                label = "if" if len(clauses) == 1 else f"if {i + 1}"
                yield from _of_text(name, label, [*at, "decide", i, "if"], clause.get("if"))
    awaited = node.get("wait_for")
    if isinstance(awaited, str):
        yield from _of_text(name, "wait_for", [*at, "wait_for"], awaited)


def _of_text(group: str, label: str, path: list[str | int], text: object) -> Iterator[Dial]:
    """The windows and thresholds in the text of a condition, each named by what it belongs to."""
    try:
        tree = ast.parse(text, mode="eval") if isinstance(text, str) else None
    except SyntaxError:
        tree = None
    if tree is None:
        return
    starts = [match.start() for match in _NUMBER.finditer(str(text))]
    for part in ast.walk(tree):
        if isinstance(part, ast.Call):
            pairs = [(one, say("window")) for one in part.args[1:]]
            about: ast.expr = part
        elif isinstance(part, ast.Compare) and len(part.ops) == 1:
            pairs, about = [(part.comparators[0], _SIGNS.get(type(part.ops[0]), ""))], part.left
        else:
            continue
        for one, sign in pairs:
            if not isinstance(one, ast.Constant):
                continue
            at = len(str(text).encode()[: one.col_offset].decode())
            name = f"{label}: {_named(about)} {sign}"
            if isinstance(one.value, str) and at + 1 in starts:
                yield from _duration(group, name, path, one.value, starts.index(at + 1))
            elif isinstance(one.value, int | float) and at in starts and sign:
                yield _threshold(group, name, path, float(one.value), starts.index(at))


def _threshold(group: str, label: str, path: list[str | int], value: float, nth: int) -> Dial:
    high = 1.0 if 0 < value < 1 else max(10.0, 2 * value)
    step = 0.05 if high == 1.0 else 10.0 ** max(0, ceil(log10(high)) - 2)
    return _dial(group, label, path, nth, value, high=high, step=step)


def _named(part: ast.expr) -> str:
    """A function with its first argument, or the expression as it is written."""
    if isinstance(part, ast.Call) and part.args:
        return f"{ast.unparse(part.func)}({ast.unparse(part.args[0])})"
    return ast.unparse(part)
