"""What differs between two definitions of a journey, in the words of a reviewer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Literal

from .conditionparser import MESSAGES
from .conditions import canonical_text, segments_in
from .display import block
from .journey import VERBS, Journey, Portfolio
from .yamltext import flow_text

if TYPE_CHECKING:
    from .yamlsource import Path

__all__ = ["Change", "as_markdown", "as_text", "compared", "diff"]

_GROUPS = {"nodes": "node", "segments": "segment", "parts": "part"}
_CONDITIONS = {"where", "if", "when", "wait_for", "await"}
_TARGETS = {"next", "then", "else", "skipped", "failed", "go", "since", "start"}
_MESSAGE_OF = re.compile(rf"\b({'|'.join(MESSAGES)})\(\s*(\w+)")


@dataclass(frozen=True)
class Change:
    """One difference: where it is, and the values before and after, as they are written in files, `None` for none.

    A node is `"renamed"` when it has another name and the same content; `before` and `after` are then the names.
    The change at `("version",)` says that the journey does something else (rule 26).
    """

    path: Path
    before: Any
    after: Any
    kind: Literal["added", "removed", "changed", "renamed"]

    @property
    def place(self) -> str:
        """Where the change is: `node 'read': within`."""
        return _place(self.path, repr)

    @property
    def text(self) -> str:
        """The change in one line.

        >>> Change(("nodes", "read", "within"), "3d", "5d", "changed").text
        "node 'read': within: 3d -> 5d"
        """
        return _sentence(self, repr, "->", _shown)

    @property
    def markdown(self) -> str:
        """The change in one line of Markdown.

        >>> Change(("nodes", "read", "within"), "3d", "5d", "changed").markdown
        'node `read`: within: `3d` → `5d`'
        """
        return _sentence(self, _code, "→", lambda value: _code(_shown(value)))

    def _repr_html_(self) -> str:
        return block(self.text)


def diff(before: Journey, after: Journey) -> list[Change]:
    """The differences of two definitions in the order of the later one, its parts included; the version's comes last.

    Values that a file leaves out count with their defaults. A renamed node is one change, with all that leads to it.

    >>> from journeylab.journey import Exit, Journey, Trigger, Wait
    >>> nodes = {"pause": Wait(wait="3d", next="done"), "done": Exit(exit="finished")}
    >>> before = Journey(journey="hello", trigger=Trigger(event="signup"), nodes=nodes)
    >>> after = before.model_copy(update={"nodes": {**nodes, "pause": Wait(wait="5d", next="done")}})
    >>> print(as_text(diff(before, after)))
    node 'pause': wait: 3d -> 5d
    version: ... -> ...
    """
    changes = list(_journeys(before, after, ()))
    if before.version != after.version:
        changes.append(Change(("version",), before.version, after.version, "changed"))
    return changes


def as_text(changes: Sequence[Change]) -> str:
    """The changes as lines of plain text.

    >>> as_text([])
    'no difference'
    """
    return "\n".join(_lines(changes, [change.text for change in changes]))


def as_markdown(changes: Sequence[Change]) -> str:
    """The changes as a Markdown list, as it stands well in a merge request.

    >>> as_markdown([])
    '- no difference'
    """
    return "\n".join(f"- {line}" for line in _lines(changes, [change.markdown for change in changes]))


def _lines(changes: Sequence[Change], lines: list[str]) -> list[str]:
    if not changes:
        return ["no difference"]
    same = [] if changes[-1].path == ("version",) else ["the version stays: the journey does the same as before"]
    return [*lines, *same]


def _journeys(before: Journey, after: Journey, path: Path) -> Iterator[Change]:
    old, new = _written(before), _written(after)
    names = _renames(old["nodes"], new["nodes"])
    for name, renamed in names.items():
        yield Change((*path, "nodes", renamed), name, renamed, "renamed")
    yield from _values(_rename(old, names), new, _with_defaults(before, names), _with_defaults(after, {}), path)
    for name, part in after.parts.items():
        if name in before.parts:
            yield from _journeys(before.parts[name], part, (*path, "parts", name))


def _written(journey: Journey) -> dict[str, Any]:
    """A journey as its file says it, with the segments it has from elsewhere, and where it starts."""
    data = journey.data()
    used = [name for name in segments_in(journey) if name in journey.known_segments]
    segments = {name: journey.known_segments[name].data() for name in dict.fromkeys([*journey.segments, *used])}
    return {**data, "start": journey.first, "segments": segments}


def _with_defaults(journey: Journey, names: Mapping[str, str]) -> dict[str, Any]:
    """A journey with every value that it has, also those that files leave out."""
    full = journey.model_dump(mode="json", by_alias=True)
    nodes = {names.get(name, name): node.model_dump(mode="json", by_alias=True) for name, node in journey.nodes.items()}
    return {**full, "nodes": nodes}


def _values(before: Any, after: Any, full_before: Any, full_after: Any, path: Path) -> Iterator[Change]:
    """The changes between two values as written; `full_before` and `full_after` are the same with defaults."""
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping) and _verb(before) == _verb(after):
        for key in dict.fromkeys([*after, *before]):
            here = (*path, key)
            default_before, default_after = _get(full_before, key), _get(full_after, key)
            if key in before and key in after:
                yield from _values(before[key], after[key], default_before, default_after, here)
            elif key in after and default_before in (None, "", [], {}):
                yield Change(here, None, after[key], "added")
            elif key in before and default_after in (None, "", [], {}):
                yield Change(here, before[key], None, "removed")
            else:
                yield Change(here, before.get(key, default_before), after.get(key, default_after), "changed")
    elif isinstance(before, list) and isinstance(after, list) and all(isinstance(one, dict) for one in before + after):
        yield from _lists(before, after, full_before, full_after, path)
    else:
        yield Change(path, before, after, "changed")


def _lists(before: list[Any], after: list[Any], full_before: Any, full_after: Any, path: Path) -> Iterator[Change]:
    texts = [flow_text(one) for one in before], [flow_text(one) for one in after]
    for _, i, i_end, j, j_end in SequenceMatcher(None, *texts, autojunk=False).get_opcodes():
        both = min(i_end - i, j_end - j)
        for k in range(both):
            here = (*path, j + k)
            yield from _values(before[i + k], after[j + k], _get(full_before, i + k), _get(full_after, j + k), here)
        for k in range(i + both, i_end):
            yield Change((*path, k), before[k], None, "removed")
        for k in range(j + both, j_end):
            yield Change((*path, k), None, after[k], "added")


def _get(value: Any, key: Any) -> Any:
    if isinstance(value, Mapping):
        return value.get(key)
    return value[key] if isinstance(value, list) and isinstance(key, int) and key < len(value) else None


def _verb(data: Mapping[str, Any]) -> str | None:
    return next((key for key in data if key in VERBS), None)


def _renames(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """The nodes that have another name and the same content, once what they lead to is renamed alike."""
    names: dict[str, str] = {}
    while True:
        gone = [name for name in before if name not in after and name not in names]
        new = [name for name in after if name not in before and name not in names.values()]
        found = next(((a, b) for a in gone for b in new if _rename(before[a], names) == after[b]), None)
        if found is None:
            return names
        names[found[0]] = found[1]


def _rename(value: Any, names: Mapping[str, str], key: str = "") -> Any:
    """A definition with nodes under other names, also where they are named."""
    if isinstance(value, Mapping):
        is_of_nodes = key in ("nodes", "split")
        return {(names.get(k, k) if is_of_nodes else k): _rename(v, names, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_rename(one, names, key) for one in value]
    if key in _TARGETS:
        return names.get(value, value)
    if key in _CONDITIONS and isinstance(value, str):
        return _MESSAGE_OF.sub(lambda found: f"{found[1]}({names.get(found[2], found[2])}", value)
    return value


def _place(path: Path, quoted: Callable[[str], str]) -> str:
    words: list[str] = []
    rest = list(path)
    while len(rest) > 1 and rest[0] in _GROUPS:
        words.append(f"{_GROUPS[str(rest[0])]} {quoted(str(rest[1]))}")
        rest = rest[2:]
    for part in rest:
        if isinstance(part, int):
            words[-1] += f" {part + 1}"
        else:
            words.append(part)
    return ": ".join(words)


def _sentence(change: Change, quoted: Callable[[str], str], arrow: str, shown: Callable[[Any], str]) -> str:
    place = _place(change.path, quoted)
    is_entry = len(change.path) > 1 and change.path[-2] in _GROUPS
    before, after = shown(change.before), shown(change.after)
    if change.kind == "renamed":
        return f"node {quoted(change.before)} renamed to {quoted(change.after)}"
    if change.path[-1] == "layout":
        return f"{place} {change.kind}, which does nothing to what the journey does"
    if change.kind == "added":
        return f"{place} added: {after}"
    if change.kind == "removed":
        return f"{place} removed" if is_entry else f"{place} removed: {before}"
    same = change.path[-1] in _CONDITIONS and canonical_text(str(change.before)) == canonical_text(str(change.after))
    return f"{place}: {before} {arrow} {after}{' (the same meaning)' if same else ''}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else flow_text(value)


def _code(text: str) -> str:
    """A text as code in Markdown, whatever backticks it holds."""
    one_line = " ".join(str(text).split())
    fence = "`" * (max(map(len, re.findall("`+", one_line)), default=0) + 1)
    pad = " " if one_line.startswith("`") or one_line.endswith("`") or not one_line else ""
    return f"{fence}{pad}{one_line}{pad}{fence}"


def compared(old: Portfolio, new: Portfolio) -> Iterator[tuple[str, list[Change]]]:
    """The changes of each journey, by its name; those of what holds over all under `policy`.

    Two portfolios of one journey each are compared whatever the journeys are called.
    """
    if old.policy != new.policy:
        yield "policy", [Change(("policy",), old.policy.data(), new.policy.data(), "changed")]
    before, after = ({one.journey: one for one in portfolio.journeys} for portfolio in (old, new))
    if len(before) == len(after) == 1:
        yield new.journeys[0].journey, diff(old.journeys[0], new.journeys[0])
        return
    for name in dict.fromkeys([*after, *before]):
        if name not in before:
            yield name, [Change(("version",), None, after[name].version, "added")]
        elif name not in after:
            yield name, [Change(("version",), before[name].version, None, "removed")]
        else:
            yield name, diff(before[name], after[name])
