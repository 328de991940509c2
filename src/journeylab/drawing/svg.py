"""A journey as one static SVG: no scripts, no ids, no fonts of its own, readable on light and dark pages."""

from __future__ import annotations

import math
import re
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from journeylab.journey import Journey, Node
from journeylab.language import count_text, formatted, later, say, share_text

from .facts import Edge, edges_of, exits_text, left_here, limits_text, node_facts, trigger_facts
from .layers import Box, Placement, place

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EdgeText", "svg"]

_TRIGGER = " trigger"  # no node can have this name
_FAMILY = {
    "send": "m", "wait": "t", "wait_until": "t", "wait_for": "t", "decide": "c", "split": "c",
    "run": "a", "set": "a", "emit": "a", "call": "a", "exit": "x", "": "x",
}  # fmt: skip
# Small line icons, 12 by 12: an envelope, a clock, a fork, branches, and so on.
_ICON = {
    "send": "M0 2h12v8.5h-12zM0 2.5l6 4.5 6-4.5",
    "wait": "M6 .5a5.5 5.5 0 1 0 .01 0M6 3v3.2l2.3 1.6",
    "wait_until": "M0 2h12v9.5h-12zM0 5h12M3.5 0v3M8.5 0v3",
    "wait_for": "M1.5 9.5h9l-1.3-2v-3a3.2 3.2 0 0 0-6.4 0v3zM4.7 11.3h2.6",
    "decide": "M6 0l6 6-6 6-6-6z",
    "split": "M6 0v4M6 4l-4.5 4v4M6 4l4.5 4v4M6 4v8",
    "run": "M0 0h8v8h-8zM8 4h4v8h-8v-4",
    "set": "M0 6l6-6h6v6l-6 6zM9 3h.1",
    "emit": "M7 0l-6 7h4.5l-1.5 5 7-7.5h-5z",
    "call": "M0 6h9.5M6 2l4 4-4 4M12 0v12",
    "exit": "M.5 .5h11v11h-11z",
    "": "M2 0l9 6-9 6z",
}
_STYLE = (
    ".jl-drawing{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;font-size:11px}"
    ".jl-drawing text{fill:currentColor;fill-opacity:.78}"
    ".jl-drawing .n{font-size:13px;font-weight:600;fill-opacity:1}"
    ".jl-drawing .b{font-weight:600;fill-opacity:1}"
    ".jl-drawing .q{fill-opacity:1}"
    ".jl-drawing .i{font-style:italic}"
    ".jl-drawing .e{fill:none;stroke:currentColor;stroke-opacity:.36;stroke-linejoin:round}"
    ".jl-drawing .g{stroke:#1a8f4c;stroke-opacity:1}"
    ".jl-drawing .w{stroke:#b97700;stroke-opacity:1}"
    ".jl-drawing .r{stroke:#c2352b;stroke-opacity:1}"
    ".jl-drawing .h{fill:currentColor;fill-opacity:.6;stroke:none}"
    ".jl-drawing .s{fill-opacity:.13;stroke-width:1.4}"
    ".jl-drawing .k{fill:none;stroke-width:1.3;stroke-linejoin:round;stroke-linecap:round}"
    ".jl-drawing .m{stroke:#2a7fc0;fill:#2a7fc0}"
    ".jl-drawing .t{stroke:#d07f00;fill:#d07f00}"
    ".jl-drawing .c{stroke:#a062b4;fill:#a062b4}"
    ".jl-drawing .a{stroke:#1f9a78;fill:#1f9a78}"
    ".jl-drawing .x{stroke:#7c8792;fill:#7c8792}"
    ".jl-drawing .k{fill:none}"
)
# A status is told by colour, by line and in words.
_STROKE = {"identified": " g", "weak": " w", "not identified": " r"}
_MARK_DASHES = {
    "identified": "", "weak": ' stroke-dasharray="7 4"', "not identified": ' stroke-dasharray="2 3"',
}  # fmt: skip
_STATUSES = {"identified": later("identified"), "weak": later("weak"), "not identified": later("not identified")}
_LEGEND_OF_COUNTS = later(
    "Numbers: visits that took the branch, and their share of all that left the node. "
    "Dashed: at least half of them assumed; dotted: predicted."
)
_LEGEND_OF_MARKS = later(
    "Identified (green, solid): the log can tell. Weak (amber, dashed): it tells little. Not identified (red, dotted): "
    "it cannot. n: visits with every send behind them on record, and how many equally likely ones they are worth; "
    "p: how likely those sends were."
)
_PAD, _LINE, _MAX_TEXT = 12.0, 15.0, 270.0
_NAME_SIZE, _FACT_SIZE = 13.0, 11.0
_THIN = 1.3


class EdgeText(NamedTuple):
    """What is written on an edge instead of its counts: lines of text, and how heavy it is drawn beside the others."""

    lines: Sequence[str]
    weight: int = 0


@dataclass(frozen=True, slots=True)
class _Card:
    """What one box shows."""

    name: str
    verb: str
    facts: list[str]

    @property
    def lines(self) -> list[str]:
        return [line for fact in self.facts for line in _wrapped(fact, _FACT_SIZE, _MAX_TEXT)]

    @property
    def height(self) -> float:
        return 2 * _PAD + 12 + _LINE * len(self.lines)

    @property
    def width(self) -> float:
        texts = [_text_width(self.name, _NAME_SIZE, bold=True) + 20, *(_text_width(f, _FACT_SIZE) for f in self.lines)]
        return max(96.0, min(max(texts), _MAX_TEXT) + 2 * self.inset)

    @property
    def inset(self) -> float:
        return _PAD + (10 if self.verb in ("decide", "split") else 2)


def svg(
    journey: Journey,
    counts: pd.DataFrame | None = None,
    *,
    smallest: int = 1,
    support: pd.DataFrame | None = None,
    texts: Mapping[tuple[str, str], EdgeText] | None = None,
    legend: str = "",
) -> str:
    """The journey drawn from its trigger downwards, as one `<svg>` element to show in a page or to save as a file.

    Colour, shape and icon tell the verb, each box its key facts. With counts, an edge says how many visits took it and
    their share of all visits that left the node, and is as wide as its number; it is dashed where at least half of
    them are assumed, dotted where at least half are predicted, and says how many.

    Args:
        journey: the journey; it need not be sound, a target that is not defined is drawn as such.
        counts: closed visits by branch, as a replay returns them.
        smallest: a number below this is shown as such ("<5"), without its share, so that nobody is singled out.
        support: what a log has of each edge, as `supportmap.SupportMap.edges`; shown instead of counts, in the colour
            and line of its status.
        texts: what to write on the edge from a node to a target, instead of counts.
        legend: what the texts are.

    Raises:
        DataError: when `counts` lacks a column or has nothing of this journey.

    >>> from journeylab.journey import Exit, Journey, Send, Trigger
    >>> picture = svg(Journey(journey="hello", trigger=Trigger(event="signup"),
    ...                       nodes={"greet": Send(send="hi", next="done"), "done": Exit(exit="finished")}))
    >>> picture[:52]
    '<svg xmlns="http://www.w3.org/2000/svg" class="jl-dr'
    """
    edges = edges_of(journey, counts)
    if texts is not None:
        edges = [replace(edge, n_visits=texts.get((edge.node, edge.target), EdgeText(())).weight) for edge in edges]
    cards = _cards(journey, counts, smallest)
    marks = [None if support is None else _mark(edge, support) for edge in edges]
    labels = {
        number: _written(edge, texts) if texts is not None else _label(edge, smallest) if mark is None
        else _marked_label(edge, mark)
        for number, (edge, mark) in enumerate(zip(edges, marks, strict=True))
    }  # fmt: skip
    leaving: dict[str, list[int]] = {name: [] for name in cards}
    for number, edge in enumerate(edges):
        leaving[edge.node].append(number)
    boxes = {
        name: Box(
            max(card.width, _labels_width([labels[number] for number in leaving[name]])),
            card.height,
            8 + 13 * max((len(labels[number]) for number in leaving[name]), default=0),
        )
        for name, card in cards.items()
    }
    ends = [(_TRIGGER, journey.first), *((edge.node, edge.target) for edge in edges)]
    placement = place(boxes, ends)
    leaving = {name: [number + 1 for number in numbers] for name, numbers in leaving.items()}
    leaving[_TRIGGER] = [0]
    ports = _out_ports(placement, boxes, ends, leaving, {number + 1: label for number, label in labels.items()})
    arrivals = _in_ports(placement, boxes, ends, ports)
    parts = _lines(edges, marks, placement, boxes, ends, list(zip(ports, arrivals, strict=True)))
    for number, label in labels.items():
        x, y = ports[number + 1], placement.boxes[edges[number].node][1] + boxes[edges[number].node].height
        parts.append(_label_text(label, x + 6, y + 13))
    parts += [_box(card, placement.boxes[name], boxes[name]) for name, card in cards.items()]
    if not legend and (support is not None or counts is not None):
        legend = say(_LEGEND_OF_MARKS if support is not None else _LEGEND_OF_COUNTS)
    return _page(journey, legend, parts, placement)


def _cards(journey: Journey, counts: pd.DataFrame | None, smallest: int) -> dict[str, _Card]:
    first, *facts = trigger_facts(journey.trigger)
    cards = {_TRIGGER: _Card(first, "", facts)}
    gone = {} if counts is None else left_here(journey, counts)
    targets = [journey.first, *(target for _, _, target in journey.edges())]
    for name in dict.fromkeys([*journey.nodes, *targets]):
        node: Node | None = journey.nodes.get(name)
        if node is None:
            cards[name] = _Card(name, "", [say("is not defined")])
            continue
        left = [say("left the journey here: {n}", n=count_text(gone[name], smallest))] if name in gone else []
        cards[name] = _Card(name, node.verb, [*node_facts(node), *left])
    return cards


def _written(edge: Edge, texts: Mapping[tuple[str, str], EdgeText]) -> list[tuple[str, str]]:
    """The lines on an edge when they are given."""
    lines = [("b", _fit(edge.label, _FACT_SIZE, 150.0))] if edge.label else []
    return [*lines, *(("q", line) for line in texts.get((edge.node, edge.target), EdgeText(())).lines)]


def _label(edge: Edge, smallest: int) -> list[tuple[str, str]]:
    """The lines on an edge, each with its class: what the branch is, how many took it, how many of them are unsure."""
    lines = [("b", _fit(edge.label, _FACT_SIZE, 150.0))] if edge.label else []
    if edge.n_visits is None:
        return lines
    if edge.n_visits < smallest or edge.branch_share == 1:
        lines.append(("q", count_text(edge.n_visits, smallest)))
    else:
        lines.append(("q", f"{count_text(edge.n_visits)} · {share_text(edge.branch_share)}"))
    if edge.n_visits >= smallest:
        if edge.n_assumed:
            lines.append(("i", say("{share} assumed", share=_part(edge.n_assumed, edge.n_visits, smallest))))
        if edge.n_predicted:
            lines.append(("i", say("{share} predicted", share=_part(edge.n_predicted, edge.n_visits, smallest))))
    return lines


def _part(n: int, of: int, smallest: int) -> str:
    return count_text(n, smallest) if n < smallest else share_text(n / of)


class _Mark(NamedTuple):
    """What a log has of an edge."""

    status: str
    n: int
    effective_n: float
    low: float
    high: float


def _mark(edge: Edge, support: pd.DataFrame) -> _Mark:
    """The mark of an edge: of several branches, the worst status and all their numbers."""
    mine = support[(support["node"] == edge.node) & support["branch"].isin(edge.branches)]
    taken = mine[mine["n_visits"] > 0] if (mine["n_visits"] > 0).any() else mine
    status = max(taken["status"], key=list(_STROKE).index)
    sums = int(mine["n_on_record"].sum()), float(mine["effective_n"].sum())
    return _Mark(str(status), *sums, mine["propensity_low"].min(), mine["propensity_high"].max())


def _marked_label(edge: Edge, mark: _Mark) -> list[tuple[str, str]]:
    """The lines on a marked edge: what the branch is, its status, how many are on record, and how likely they were."""
    lines = [("b", _fit(edge.label, _FACT_SIZE, 150.0))] if edge.label else []
    lines.append(("q", say(_STATUSES[mark.status])))
    n, worth = count_text(mark.n), count_text(round(mark.effective_n))
    lines.append(("q", f"n {n}" if n == worth else say("n {n}, worth {worth}", n=n, worth=worth)))
    if mark.n and (mark.low < 1 or mark.high < 1):
        low, high = formatted(mark.low, ".2g"), formatted(mark.high, ".2g")
        lines.append(("i", f"p {low}" if low == high else say("p {low} to {high}", low=low, high=high)))
    return lines


def _labels_width(labels: Sequence[list[tuple[str, str]]]) -> float:
    if len(labels) == 1:
        return 2 * _block_width(labels[0]) if labels[0] else 0.0
    return sum(_block_width(label) for label in labels) + 2 * _PAD


def _block_width(label: list[tuple[str, str]]) -> float:
    return 16 + max((_text_width(text, _FACT_SIZE, bold=kind == "b") for kind, text in label), default=8.0)


def _out_ports(
    placement: Placement,
    boxes: dict[str, Box],
    ends: Sequence[tuple[str, str]],
    leaving: dict[str, list[int]],
    labels: dict[int, list[tuple[str, str]]],
) -> list[float]:
    """The x at which each edge leaves its box: in the order of where they go, with room for their labels."""
    ports = [0.0] * len(ends)
    for name, numbers in leaving.items():
        centre, width = placement.boxes[name][0], boxes[name].width
        if len(numbers) == 1:
            ports[numbers[0]] = centre
            continue
        ahead = {
            number: placement.lanes[number][0][0] if placement.lanes[number] else placement.boxes[ends[number][1]][0]
            for number in numbers
        }
        widths = {number: _block_width(labels[number]) for number in numbers}
        spare = (width - 2 * _PAD - sum(widths.values())) / len(numbers) if numbers else 0.0
        left = centre - width / 2 + _PAD
        for number in sorted(numbers, key=ahead.__getitem__):
            ports[number] = left + spare / 2 + 8
            left += widths[number] + spare
    return ports


def _in_ports(
    placement: Placement, boxes: dict[str, Box], ends: Sequence[tuple[str, str]], ports: Sequence[float]
) -> list[float]:
    """The x at which each edge arrives at its box: in the order of where they come from."""
    arrivals = [0.0] * len(ends)
    coming: dict[str, list[int]] = {}
    for number, (_, target) in enumerate(ends):
        coming.setdefault(target, []).append(number)
    for name, numbers in coming.items():
        centre, width = placement.boxes[name][0], boxes[name].width
        before = {n: placement.lanes[n][-1][0] if placement.lanes[n] else ports[n] for n in numbers}
        step = min(22.0, (width - 36) / len(numbers))
        for place_, number in enumerate(sorted(numbers, key=before.__getitem__)):
            arrivals[number] = centre + (place_ - (len(numbers) - 1) / 2) * step
    return arrivals


def _lines(
    edges: Sequence[Edge],
    marks: Sequence[_Mark | None],
    placement: Placement,
    boxes: dict[str, Box],
    ends: Sequence[tuple[str, str]],
    ports: Sequence[tuple[float, float]],
) -> list[str]:
    """All edges, as one path for each kind of line, and their arrowheads as another."""
    most = max((edge.n_visits or 0 for edge in edges), default=0)
    drawn: dict[str, list[str]] = {}
    heads = []
    for number, edge in enumerate([None, *edges]):
        width = _THIN + (5 * (edge.n_visits or 0) / most if edge and most else 0)
        half = 3.6 + width / 2
        mark = marks[number - 1] if edge else None
        line = f'class="e{_STROKE[mark.status] if mark else ""}" stroke-width="{2.4 if mark else width:.1f}"'
        line += (_dashes(edge) if mark is None else _MARK_DASHES[mark.status]) if edge else ""
        drawn.setdefault(line, []).append(_route(placement, boxes, ends[number], number, ports[number], 2 * half))
        end_x, top = ports[number][1], placement.boxes[ends[number][1]][1]
        heads.append(f"M{end_x:.0f} {top - 1:.0f}l-{half:.1f}-{2 * half:.1f}h{2 * half:.1f}z")
    lines = [f'<path {line} d="{"".join(paths)}"/>' for line, paths in drawn.items()]
    return [*lines, f'<path class="h" d="{"".join(heads)}"/>']


def _route(
    placement: Placement,
    boxes: dict[str, Box],
    ends: tuple[str, str],
    number: int,
    ports: tuple[float, float],
    head: float,
) -> str:
    """The path of one edge: straight under its box and in its lanes, curved between rows."""
    node, target = ends
    x, y = ports[0], placement.rows[placement.ranks[node]][1]
    path = f"M{x:.0f} {placement.boxes[node][1] + boxes[node].height:.0f}V{y:.0f}"
    down = True
    for lane_x, from_y, to_y in placement.lanes[number]:
        goes_down = to_y > from_y
        path += _curve(x, y, lane_x, from_y, down, goes_down) + f"V{to_y:.0f}"
        x, y, down = lane_x, to_y, goes_down
    path += _curve(x, y, ports[1], placement.boxes[target][1] - head, down, goes_down=True)
    return re.sub(r"(?:V\d+)+(V\d+)", r"\1", path)


def _curve(x: float, y: float, to_x: float, to_y: float, down: bool, goes_down: bool) -> str:
    """From one point to another, leaving and arriving upright; relative to whole pixels, which is short to write."""
    across, up_or_down = round(to_x) - round(x), round(to_y) - round(y)
    if down != goes_down:
        turn = 24 if down else -24
        return f"c0 {turn} {across} {up_or_down + turn} {across} {up_or_down}"
    if not across:
        return f"V{to_y:.0f}"
    return f"c0 {up_or_down // 2} {across} {up_or_down - up_or_down // 2} {across} {up_or_down}"


def _dashes(edge: Edge) -> str:
    if edge.n_visits and edge.n_assumed * 2 >= edge.n_visits:
        return ' stroke-dasharray="7 4"'
    if edge.n_visits and edge.n_predicted * 2 >= edge.n_visits:
        return ' stroke-dasharray="2 3"'
    return ""


def _label_text(label: list[tuple[str, str]], x: float, y: float) -> str:
    return "".join(
        f'<text class="{kind}" x="{x:.0f}" y="{y + 13 * number:.0f}">{escape(text)}</text>'
        for number, (kind, text) in enumerate(label)
    )


def _box(card: _Card, at: tuple[float, float], box: Box) -> str:
    left, top = at[0] - box.width / 2, at[1]
    family = _FAMILY.get(card.verb, "x")
    x, y = left + card.inset, top + _PAD
    name = _fit(card.name, _NAME_SIZE, box.width - 2 * card.inset - 18, bold=True)
    lines = "".join(
        f'<text x="{x:.0f}" y="{y + 25 + _LINE * number:.0f}">{escape(line)}</text>'
        for number, line in enumerate(card.lines)
    )
    shortened = name != card.name or any(line.endswith("…") for line in card.lines)
    drawn = (
        f"{_outline(card.verb, family, left, top, box)}"
        f'<path class="k {family}" transform="translate({x:.0f} {y - 1:.0f})" d="{_ICON.get(card.verb, "")}"/>'
        f'<text class="n" x="{x + 18:.0f}" y="{y + 10:.0f}">{escape(name)}</text>{lines}'
    )
    return f"<g><title>{escape('; '.join([card.name, *card.facts]))}</title>{drawn}</g>" if shortened else drawn


def _outline(verb: str, family: str, left: float, top: float, box: Box) -> str:
    """The shape of a box: choices are hexagons, what takes time and exits are rounded, a part has a double border."""
    width, height = box.width, box.height
    if verb in ("decide", "split"):
        half = height / 2
        sides = f"h{width - 20:.0f}l10 {half:.1f}l-10 {half:.1f}h{20 - width:.0f}l-10-{half:.1f}z"
        return f'<path class="s {family}" d="M{left + 10:.0f} {top:.0f}{sides}"/>'
    inner = ""
    if verb == "run":
        inner = f'<path class="k {family}" d="M{left + 4:.0f} {top:.0f}v{height:.0f}m{width - 8:.0f} 0v-{height:.0f}"/>'
    radius = {"wait": 16, "wait_until": 16, "wait_for": 16, "exit": 20, "": 20, "run": 0}.get(verb, 5)
    place_ = f'x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{height:.0f}" rx="{radius}"'
    return f'<rect class="s {family}" {place_}/>{inner}'


def _page(journey: Journey, legend: str, parts: Sequence[str], placement: Placement) -> str:
    notes = [text for text in (exits_text(journey), limits_text(journey), legend) if text]
    width = max(placement.width, 340.0)
    lines = [line for note in notes for line in textwrap.wrap(note, max(24, int((width - 32) / 6.4)))]
    y = placement.height + 12
    written = "".join(
        f'<text x="16" y="{y + 16 * number:.0f}">{escape(line)}</text>' for number, line in enumerate(lines)
    )
    height = math.ceil(y + 16 * len(lines)) if lines else math.ceil(placement.height)
    if journey.title:
        title = escape(say("Journey {name}: {title}", name=journey.journey, title=journey.title))
    else:
        title = escape(say("Journey {name}", name=journey.journey))
    shift = (width - placement.width) / 2
    drawing = "".join(parts) if not shift else f'<g transform="translate({shift:.0f} 0)">{"".join(parts)}</g>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="jl-drawing" width="{math.ceil(width)}" height="{height}" '
        f'viewBox="0 0 {math.ceil(width)} {height}" role="img" aria-label="{title}" style="max-width:100%;height:auto">'
        f"<title>{title}</title><style>{_STYLE}</style>{drawing}{written}</svg>"
    )


def _text_width(text: str, size: float, *, bold: bool = False) -> float:
    """A little more than the width of the text in any common sans-serif font: the pages bring no fonts."""
    width = 0.0
    for letter in text:
        if letter in "ijl.,:;'|!()[] ":
            width += 0.39
        elif unicodedata.east_asian_width(letter) in "WF":
            width += 1.05
        elif letter in "mwMW@%":
            width += 0.95
        else:
            width += 0.7 if letter.isupper() else 0.62
    return width * size * (1.06 if bold else 1.0)


def _fit(text: str, size: float, room: float, *, bold: bool = False) -> str:
    """The text, shortened with an ellipsis where it would not fit; the whole text is in the box's title."""
    if _text_width(text, size, bold=bold) <= room:
        return text
    while text and _text_width(text + "…", size, bold=bold) > room:
        text = text[:-1]
    return text.rstrip() + "…"


def _wrapped(text: str, size: float, room: float, most: int = 4) -> list[str]:
    """The text in at most so many lines, broken between words, the last shortened where it would not fit."""
    lines: list[str] = []
    for word in text.split():
        if len(lines) == most or (lines and _text_width(f"{lines[-1]} {word}", size) <= room):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [_fit(line, size, room) for line in lines]
