"""A journey that is being made of an export: names that are allowed, targets that exist, and what became of each part.

Importers say what there is in the order in which they find it, by the other system's own ids (`key`); the draft gives
names, joins the branches, and at the end makes the journey and checks it like any other.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from keyword import iskeyword
from typing import Any, Final

from journeylab.conditions import ConditionError, parse
from journeylab.errors import DefinitionError, Fault, known
from journeylab.expressions import Tree, expression_text, literal_text
from journeylab.journey import Journey

from .export import Export, Part
from .outcomes import NodeType, Outcome, Verdict, node_type

__all__ = ["ANY_TIME", "Draft", "literal", "name_of"]

ANY_TIME: Final = {"between": ["00:00", "24:00"]}
"""A window that is always open: a node that waits for it only leads on, as an arm that goes to another's node."""
_TAKEN: Final = {
    "else", "entry", "yes", "no", "on", "off", "y", "n", "true", "false", "null", "contact", "event", "timezone",
    "occurred_at", "received_at", "segment", "score", "missing", "count", "did", "sum", "mean", "min", "max", "last",
    "since", "since_first", "sent", "opened", "clicked", "bounced", "delivered", "complained", "unsubscribed",
    "local_hour", "weekday",
}  # fmt: skip
"""Words that mean something in journeys, and so are no names of what was imported."""
_LONGEST: Final = 48
_FILTER: Final = 40
_ROUNDING: Final = Fraction(1, 1000)
_PARTS: Final = 1_000_000


def name_of(label: str, otherwise: str = "node") -> str:
    """A label as a name: letters, digits and underscores, without accents, in lower case.

    >>> name_of("Wait 3 days"), name_of("Żółty e-mail!"), name_of("1st"), name_of("else"), name_of("…")
    ('wait_3_days', 'zolty_e_mail', 'n_1st', 'else_', 'node')
    """
    plain = unicodedata.normalize("NFKD", label.replace("ł", "l").replace("Ł", "L")).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")[:_LONGEST].strip("_") or otherwise
    if name[0].isdigit():
        name = f"n_{name}"
    return f"{name}_" if name in _TAKEN or iskeyword(name) else name


def literal(value: object) -> str:
    """A text, number or flag as it is written in a condition.

    >>> literal("trial"), literal(3), literal(True)
    ('"trial"', '3', 'true')
    """
    return literal_text(value if isinstance(value, bool | int | float) else str(value))


class Draft:
    """A journey that is being made.

    Args:
        export: what it is made of.
        types: the system's node types, for what they become.
        title: its title there; the journey is named after it.
        part: the part of the export that it is.
        folds: whether fields whose names differ by case alone are one there.

    Attributes:
        fields: the journey's fields but for its nodes, as they are written in a file.
        nodes: its nodes, as they are written in a file.
        outcomes: what became of the parts so far.
        messages: the other system's id of each message, by the message's name.
        titles: what it is called there, by the message's name.
        first: the node at which it begins; importers set it.
    """

    def __init__(
        self, export: Export, types: Sequence[NodeType], title: str, part: Part, *, folds: bool = False
    ) -> None:  # fmt: skip
        self.export, self._types, self._part, self._folds = export, types, part, folds
        self.fields: dict[str, Any] = {"journey": name_of(title, "journey"), "title": _line(title)}
        self.nodes: dict[str, dict[str, Any]] = {}
        self.outcomes: list[Outcome] = []
        self.messages: dict[str, str] = {}
        self.titles: dict[str, str] = {}
        self.first = ""
        self._names: dict[Hashable, str] = {}
        self._used: set[str] = set()
        self._onward: dict[str, str] = {}
        self._noted: set[str] = set()
        self._places: dict[str, Part] = {}
        self._arms: dict[str, list[tuple[str, Fraction, str]]] = {}

    # Names

    def name(self, key: Hashable, label: str = "") -> str:
        """The name of the node that stands for an element of the export, the same whenever it is asked for.

        The first label that is given counts; importers name all elements before they look into any.
        """
        if key not in self._names:
            self._names[key] = self.free(name_of(label or str(key)))
        return self._names[key]

    def free(self, wanted: str) -> str:
        """A name that no node has yet: the wanted one, or it with a number."""
        name, n = wanted, 2
        while name in self._used:
            name, n = f"{wanted}_{n}", n + 1
        self._used.add(name)
        return name

    def attribute_for(self, key: Hashable, label: str) -> str:
        """The attribute that stands for something of the export, by what that is: the same one each time, of it alone.

        It is named after the label, with a number where another thing has that name.
        """
        attributes = self.export.attributes
        if key not in attributes:
            wanted = name_of(label, "attribute")
            name, n = wanted, 2
            while name in attributes.values():
                name, n = f"{wanted}_{n}", n + 1
            attributes[key] = name
        return attributes[key]

    def attribute(self, label: str, part: Part | None = None) -> str:
        """The attribute that stands for a field of contacts; noted where its name is another one here."""
        name = self.attribute_for(("field", label.casefold() if self._folds else label), label)
        if name != label and label not in self._noted:
            self._noted.add(label)
            note = f"the attribute {name} stands for {label!r}; name it so where contacts are imported"
            self.note(part or self._part, f"field {label!r}", Verdict.mapped, name, note=note)
        return name

    def flag_of(
        self, label: str, part: Part, what: str, why: str = "the export names it without saying who is in it",
        of: Hashable = None,
    ) -> str:  # fmt: skip
        """A flag attribute for something that no condition says: another one for each label, or what it is `of`."""
        name = self.attribute_for(("flag", what, label if of is None else of), f"{what} {label}")
        note = f"{why}; here it is the flag attribute {name}, which the contacts have to have"
        self.note(part, f"{what} {label!r}", Verdict.approximated, name, note=note)
        return name

    def flag_of_filter(self, label: str, part: Part, why: object) -> str:
        """A flag attribute for a filter that no condition says, the same whenever the same label comes."""
        name = self.attribute_for(("filter", label), label[:_FILTER] or "filter")
        note = f"{why}; here it is the flag attribute {name}, which the contacts have to have"
        self.note(part, f"filter {label!r}", Verdict.approximated, name, note=note)
        return name

    def segment(self, label: str, condition: str) -> str:
        """Defines a segment, and gives its name."""
        segments = self.fields.setdefault("segments", {})
        name, n = name_of(label, "segment"), 2
        while segments.get(name, condition) != condition:
            name, n = f"{name_of(label, 'segment')}_{n}", n + 1
        segments[name] = condition
        return name

    def message(self, label: str, identity: str = "") -> str:
        """The message of a send, by what it is called there; `identity` is what the system's own events call it."""
        name, n = name_of(label or identity, "message"), 2
        while self.messages.get(name, identity) != identity:
            name, n = f"{name_of(label or identity, 'message')}_{n}", n + 1
        self.messages[name] = identity
        self.titles[name] = label
        return name

    # Nodes

    def node(self, name: str, part: Part | None = None, **said: Any) -> str:
        """Writes a node under a name; `said` is what it says in a file, with `otherwise` for `else`."""
        if "otherwise" in said:
            said["else"] = said.pop("otherwise")
        self.nodes[name] = {key: value for key, value in said.items() if value is not None}
        if part is not None:
            self._places[name] = part
        return name

    def exit(self, text: str = "finished") -> str:
        """The name of an exit node with a text, made when it is first asked for."""
        key = ("exit", text)
        if key not in self._names:
            self._names[key] = self.free("done" if text == "finished" else name_of(text, "left"))
            self.node(self._names[key], exit=text)
        return self._names[key]

    def goes(self, key: Hashable | None, label: str = "") -> str:
        """The name of the node that a branch leads to: the element's, or the exit where there is no element."""
        return self.exit() if key in (None, "") else self.name(key, label)

    def passes(self, name: str, target: str) -> None:
        """Says that an element has no node of its own: whatever leads to it leads to `target`."""
        self._onward[name] = target

    def step(self, name: str, target: str, part: Part | None = None) -> str:
        """Writes a node that only leads on: an arm must be a node of its own."""
        return self.node(name, part, wait_until=dict(ANY_TIME), next=target)

    def arms(self, name: str, part: Part, arms: Sequence[tuple[str, Fraction, str]], **said: Any) -> None:
        """Writes a split: arms as (label, share, target).

        An arm is a node (rule 22): the one that it leads to, or where that is an exit or another arm's, too, one that
        is called after the label and leads there.

        Raises:
            Malformed: when the shares are not those of a whole; a difference of rounding goes to the last arm.
        """
        total = sum((share for _, share, _ in arms), Fraction(0))
        if abs(total - 1) > _ROUNDING:
            raise part.malformed(f"the shares add up to {float(total * 100):g} %, not to 100 (rule 22)")
        if total != 1:
            label, share, target = arms[-1]
            arms = [*arms[:-1], (label, share + 1 - total, target)]
            note = f"the shares add up to {float(total * 100):g} %; the last one has the rest (rule 22)"
            self.note(part, "shares", Verdict.approximated, name, note=note)
        self._arms[name] = [one for one in arms if one[1] > 0]
        self.node(name, part, split={}, **said)

    def condition(self, said: str | Tree, part: Part, key: str | None = None) -> str:
        """The text of a condition, given as a text or as a tree, which quotes what it has to.

        Raises:
            Malformed: when it cannot be read: values of the export that no condition takes.
        """
        text = said if isinstance(said, str) else expression_text(said)
        try:
            parse(text)
        except ConditionError as problem:
            raise part.malformed(f"no condition of ours says this: {str(problem)[:300]}", key) from None
        return text

    # What became of it

    def did(
        self, part: Part, kind: str, label: str = "", *becomes: str, but: str = "", without: str = ""
    ) -> None:  # fmt: skip
        """Notes what became of an element.

        Args:
            part: the element.
            kind: its type, one of the system's node types; its table says what differs.
            label: its name there.
            becomes: the nodes that stand for it.
            but: what differs in this one beside; it is approximated then.
            without: why this one is left out.
        """
        found = node_type(self._types, kind)
        if found is None:
            raise part.malformed(
                f"{kind!r} is no known type; {known(kind, [one.name for one in self._types], 'types')}"
            )
        verdict = Verdict.left_out if without else found.verdict
        if but and verdict is Verdict.mapped:
            verdict = Verdict.approximated
        note = without or "; ".join(one for one in (found.note, but) if one)
        element = f"{kind} {_line(label)!r}" if label else kind
        self.outcomes.append(Outcome(part.place, element, verdict, becomes, _line(note)))

    def note(self, part: Part, element: str, verdict: Verdict, *becomes: str, note: str = "") -> None:
        """Notes what became of something that is no element: a setting, a field, a filter."""
        outcome = Outcome(part.place, _line(element), verdict, becomes, _line(note))
        if outcome not in self.outcomes:
            self.outcomes.append(outcome)

    def left_out(self, part: Part, element: str, note: str) -> None:
        """Notes something that is not in the journey."""
        self.note(part, element, Verdict.left_out, note=note)

    # The whole

    def journey(self) -> Journey:
        """The checked journey.

        Raises:
            DefinitionError: with each fault of it, at its place in the export.
        """
        for name, arms in self._arms.items():
            self.nodes[name]["split"] = dict(self._leading(name, arms))
        nodes = {name: self._joined(said) for name, said in self.nodes.items()}
        first = self._end_of(self.first)
        ordered = self._ordered(first, nodes)
        for name in nodes:
            if name not in ordered and name in self._places:
                self.left_out(self._places[name], f"node {name}", "nothing leads to it")
        self.outcomes = [replace(one, becomes=tuple(map(self._end_of, one.becomes))) for one in self.outcomes]
        data = {**self.fields, "nodes": ordered}
        segments = data.pop("segments", {})
        used = {name: one for name, one in segments.items() if name in repr(data) or name in repr(segments)}
        return self._checked(data | ({"segments": used} if used else {}))

    def _end_of(self, name: str) -> str:
        """Where a name leads in the end, past the elements that have no node."""
        seen: list[str] = []
        while name in self._onward:
            if name in seen:
                raise self._part.malformed(f"the elements {' -> '.join([*seen, name])} lead in a circle to nowhere")
            seen.append(name)
            name = self._onward[name]
        return name

    def _leading(self, name: str, arms: Sequence[tuple[str, Fraction, str]]) -> Iterator[tuple[str, str]]:
        """The nodes that stand for the arms of a split, and their shares."""
        ends = [self._end_of(target) for _, _, target in arms]
        shares = [Fraction(round(share * _PARTS), _PARTS) for _, share, _ in arms]
        shares[-1] = 1 - sum(shares[:-1], Fraction(0))  # thirds have no end as a percentage
        for (label, _, _), share, end in zip(arms, shares, ends, strict=True):
            if "exit" in self.nodes.get(end, {}) or ends.count(end) > 1:
                end = self.step(self.free(name_of(label, "arm")), end, self._places.get(name))
            yield end, _percent(share)

    def _joined(self, said: Mapping[str, Any]) -> dict[str, Any]:
        joined = dict(said)
        for key in ("next", "then", "else", "skipped", "failed"):
            if key in joined:
                joined[key] = self._end_of(joined[key])
        for key in ("decide", "wait_for"):
            if isinstance(joined.get(key), list):
                joined[key] = [{**one, "go": self._end_of(one["go"])} for one in joined[key]]
        return joined

    def _ordered(self, first: str, nodes: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """The nodes that can be reached, in the order in which a reader meets them, exits last."""
        waiting, found = [first], {}
        while waiting:
            name = waiting.pop(0)
            if name in found or name not in nodes:
                continue
            found[name] = nodes[name]
            waiting = [*_targets(nodes[name]), *waiting]
        exits = {name: node for name, node in found.items() if "exit" in node}
        return {name: node for name, node in found.items() if name not in exits} | exits

    def _checked(self, data: Mapping[str, Any]) -> Journey:
        from journeylab.check import faults_of

        try:
            journey = Journey.from_data(data)
        except DefinitionError as problem:
            faults = list(problem.faults)
        else:
            faults = faults_of(journey)
            if not faults:
                return journey
        raise DefinitionError([self._placed(fault) for fault in faults])

    def _placed(self, fault: Fault) -> Fault:
        """A fault of the journey, at the place of the export that it comes from."""
        part = self._part
        if len(fault.path) > 1 and fault.path[0] == "nodes":
            part = self._places.get(str(fault.path[1]), part)
        inside = ".".join(map(str, fault.path))
        return Fault(part.place, f"as {inside}: {fault.message}" if inside else fault.message, self.export.source)


def _targets(node: Mapping[str, Any]) -> list[str]:
    """The nodes that a node leads to, as it is written in a file."""
    listed = [one["go"] for key in ("decide", "wait_for") if isinstance(node.get(key), list) for one in node[key]]
    named = [str(node[key]) for key in ("then", "next", "else", "skipped", "failed") if key in node]
    return [*listed, *node.get("split", {}), *named]


def _percent(share: Fraction) -> str:
    percent = share * 100
    return f"{percent.numerator}%" if percent.denominator == 1 else f"{float(percent):.8g}%"


def _line(text: str) -> str:
    """A text of the export on one line, without characters that nobody sees."""
    return re.sub(r"\s+", " ", "".join(one if one.isprintable() or one.isspace() else "�" for one in text)).strip()
