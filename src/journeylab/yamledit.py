"""Edits of a YAML text that touch only what changed: comments, order, blanks and quotes of the rest stay."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple, TypeAlias

from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from .yamltext import entry_lines, flow_text, item_lines, scalar_text

__all__ = ["edited", "end_of", "renamed", "reordered"]


class Member(NamedTuple):
    """A key or item of a collection: where it starts in the text, and its value."""

    start: int
    key: str | None
    value: Node


Replacement: TypeAlias = tuple[int, int, str]
Entry: TypeAlias = tuple[str | None, Any]
# How a new value is written in the place of an old one, from where to where.
Place: TypeAlias = Callable[[Any], Replacement]


def edited(text: str, node: Node, before: Any, after: Any) -> str:
    """The text with the value at `node` changed from `before` to `after`.

    Keys that stand in the text and in neither value, such as defaults written out, stay.
    """
    edit = _Edit(text)

    def whole(value: Any) -> Replacement:
        lines = "".join(f"{line}\n" for key, part in value.items() for line in entry_lines(key, part, 0))
        return node.start_mark.index, edit.end(node), lines.rstrip("\n")

    edit.change(node, before, after, whole, in_flow=_is_flow(node))
    for start, end, new in sorted(edit.replacements, key=lambda one: one[:2], reverse=True):
        text = text[:start] + new + text[end:]
    return text


def reordered(text: str, node: MappingNode, names: Sequence[str]) -> str:
    """The text with the entries of a mapping in the order of `names`, each with the comments above it."""
    edit = _Edit(text)
    members = edit.members(node)
    if _is_flow(node):
        parts = {str(one.key): text[one.start : edit.end(one.value)] for one in members}
        new = "{" + ", ".join(parts[name] for name in names) + "}"
        return text[: node.start_mark.index] + new + text[edit.end(node) :]
    ends = [edit.line_end(edit.end(one.value)) for one in members]
    starts = [edit.comments_start(members[0].start), *ends[:-1]]
    chunks = {str(one.key): text[start:end] for one, start, end in zip(members, starts, ends, strict=True)}
    closed = "".join(chunk if chunk.endswith("\n") else f"{chunk}\n" for chunk in (chunks[name] for name in names))
    return text[: starts[0]] + closed + text[ends[-1] :]


def end_of(text: str, node: Node) -> int:
    """Where the text of a node ends, the comments and blank lines after it left out."""
    return _Edit(text).end(node)


def renamed(text: str, node: MappingNode, names: Mapping[str, str]) -> str:
    """The text with keys of a mapping under other names, as `names` has them; nothing else is touched."""
    keys = [
        (key.start_mark.index, key.end_mark.index, names[str(key.value)]) for key, _ in node.value if key.value in names
    ]
    for start, end, name in reversed(keys):
        text = text[:start] + scalar_text(name) + text[end:]
    return text


class _Edit:
    """The replacements, in one text, that turn old values into new ones."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.replacements: list[Replacement] = []

    def change(self, node: Node, before: Any, after: Any, place: Place, *, in_flow: bool) -> None:
        """Adds what turns `before` at a node into `after`; `place` writes the whole value anew."""
        if before == after:
            return
        if isinstance(node, ScalarNode) and not isinstance(after, Mapping | list):
            quote = node.style if node.style in ('"', "'") else None
            new = scalar_text(after, in_flow=in_flow, quote=quote)
            self.replacements.append((node.start_mark.index, self.end(node), new))
        elif isinstance(node, MappingNode) and isinstance(before, Mapping) and isinstance(after, Mapping):
            self._mapping(node, before, after, place)
        elif isinstance(node, SequenceNode) and isinstance(before, list) and isinstance(after, list):
            self._sequence(node, before, after, place)
        else:
            self.replacements.append(place(after))

    def end(self, node: Node) -> int:
        """Where the text of a node ends, the comments and blank lines after it left out."""
        if isinstance(node, ScalarNode) or _is_flow(node):
            start, end = int(node.start_mark.index), int(node.end_mark.index)
            return start + len(self.text[start:end].rstrip())
        return max(self.end(one.value) for one in self.members(node))

    def line_start(self, index: int) -> int:
        """Where the line of a character begins."""
        return self.text.rfind("\n", 0, index) + 1

    def comments_start(self, index: int) -> int:
        """Where the comment lines begin that stand right above the line of a character, or that line itself."""
        start = self.line_start(index)
        while start and self.text[self.line_start(start - 1) : start].lstrip().startswith("#"):
            start = self.line_start(start - 1)
        return start

    def line_end(self, index: int) -> int:
        """Where the line after that of a character begins."""
        found = self.text.find("\n", index)
        return len(self.text) if found < 0 else found + 1

    def members(self, node: Node) -> list[Member]:
        """The keys or items of a collection, in the order of the text."""
        if isinstance(node, MappingNode):
            return [Member(int(key.start_mark.index), str(key.value), value) for key, value in node.value]
        return [Member(int(value.start_mark.index), None, value) for value in node.value]

    def _mapping(self, node: MappingNode, before: Mapping[str, Any], after: Mapping[str, Any], place: Place) -> None:
        members = self.members(node)
        written = [str(one.key) for one in members]
        gone = [i for i, key in enumerate(written) if key in before and key not in after]
        added: dict[int, list[Entry]] = {}
        last = -1
        for key, value in after.items():
            if key in written:
                last = written.index(key)
            else:
                added.setdefault(last, []).append((key, value))
        if not self._resize(node, members, gone, added):
            self.replacements.append(place(after))
            return
        for one in members:
            key = str(one.key)
            if key in after:
                old = before.get(key)
                self.change(one.value, old, after[key], self._entry_place(one, node), in_flow=_is_flow(node))

    def _sequence(self, node: SequenceNode, before: list[Any], after: list[Any], place: Place) -> None:
        members = self.members(node)
        gone: list[int] = []
        added: dict[int, list[Entry]] = {}
        pairs: list[tuple[int, int]] = []
        for _, i, i_end, j, j_end in SequenceMatcher(
            None, _frozen(before), _frozen(after), autojunk=False
        ).get_opcodes():
            both = min(i_end - i, j_end - j)
            pairs += zip(range(i, i + both), range(j, j + both), strict=True)
            gone += range(i + both, i_end)
            if j + both < j_end:
                added.setdefault(i + both - 1, []).extend((None, one) for one in after[j + both : j_end])
        if len(before) != len(members) or not self._resize(node, members, gone, added):
            self.replacements.append(place(after))
            return
        for i, j in pairs:
            item_place = self._item_place(members[i], node)
            self.change(members[i].value, before[i], after[j], item_place, in_flow=_is_flow(node))

    def _resize(self, node: Node, members: list[Member], gone: list[int], added: dict[int, list[Entry]]) -> bool:
        """Removes and adds members; False, and nothing done, where the collection has to be written anew."""
        if not gone and not added:
            return True
        if len(gone) == len(members):
            return False
        if _is_flow(node):
            self._resize_flow(members, gone, added)
            return True
        if not all(self._has_own_line(one) for one in members[1:]) or (
            0 in gone and not self._has_own_line(members[0])
        ):
            return False
        self._resize_block(node, members, gone, added)
        return True

    def _resize_flow(self, members: list[Member], gone: list[int], added: dict[int, list[Entry]]) -> None:
        kept = [i for i in range(len(members)) if i not in gone]
        for i in gone:
            if i > kept[0]:
                self.replacements.append((self.end(members[i - 1].value), self.end(members[i].value), ""))
            else:
                self.replacements.append((members[i].start, members[i + 1].start, ""))
        for after, parts in added.items():
            texts = [flow_text(value) if key is None else flow_text({key: value})[1:-1] for key, value in parts]
            above = [i for i in kept if i <= after]
            at = self.end(members[above[-1]].value) if above else members[kept[0]].start
            new = "".join(f", {one}" for one in texts) if above else "".join(f"{one}, " for one in texts)
            self.replacements.append((at, at, new))

    def _resize_block(self, node: Node, members: list[Member], gone: list[int], added: dict[int, list[Entry]]) -> None:
        column = node.start_mark.column
        ends = [self.line_end(self.end(one.value)) for one in members]
        starts = [self.comments_start(members[0].start), *ends[:-1]]
        kept = [i for i in range(len(members)) if i not in gone]
        self.replacements += [(starts[i], ends[i], "") for i in gone]
        for after, parts in added.items():
            at = ends[max((i for i in kept if i <= after), default=kept[0])]
            new = [
                line
                for key, value in parts
                for line in (item_lines(value, column) if key is None else entry_lines(key, value, column))
            ]
            opening = "" if self.text[:at].endswith("\n") else "\n"
            self.replacements.append((at, at, opening + "".join(f"{line}\n" for line in new)))

    def _has_own_line(self, member: Member) -> bool:
        prefix = self.text[self.line_start(member.start) : member.start].strip()
        return prefix == ("-" if member.key is None else "")

    def _entry_place(self, member: Member, around: Node) -> Place:
        def place(value: Any) -> Replacement:
            end = self.end(member.value)
            if _is_flow(around):
                return member.start, end, flow_text({member.key: value})[1:-1]
            lines = entry_lines(str(member.key), value, around.start_mark.column)
            return member.start, end, "\n".join(lines).lstrip()

        return place

    def _item_place(self, member: Member, around: Node) -> Place:
        def place(value: Any) -> Replacement:
            end = self.end(member.value)
            if _is_flow(around):
                return member.start, end, flow_text(value)
            lines = item_lines(value, member.value.start_mark.column - 2)
            return member.start, end, "\n".join(lines).lstrip().removeprefix("- ")

        return place


def _is_flow(node: Node) -> bool:
    """Whether a node is a collection in braces or brackets."""
    return isinstance(node, CollectionNode) and bool(node.flow_style)


def _frozen(values: list[Any]) -> list[str]:
    """Texts that are equal where the values are."""
    return [json.dumps(value, sort_keys=True) for value in values]
