"""The YAML text of one journey: written anew, or changed only where the journey is, so that comments and order stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node

from .errors import DefinitionError, Fault
from .journey import Journey, Written
from .journeyform import form_of
from .yamledit import edited, end_of, renamed, reordered
from .yamlsource import Document, documents
from .yamltext import yaml_text

__all__ = ["block_text", "child", "plain_text", "read_text", "rewritten", "text_of_journey", "with_text"]

_LEADING_ON = ("skipped", "failed", "next", "then", "else")


def plain_text(journey: Journey) -> str:
    """The YAML text of a journey, in the layout of the documentation."""
    data = journey.data()
    for name, node in data["nodes"].items():
        data["nodes"][name] = {key: node[key] for key in sorted(node, key=lambda key: key in _LEADING_ON)}
    return yaml_text(data)


def text_of_journey(journey: Journey) -> str:
    """The YAML text that a journey was read from, changed where the journey is; without one, its plain text.

    Raises:
        DefinitionError: when the text cannot be changed in place.
    """
    text = journey._written.text
    if text is None:
        return plain_text(journey)
    before = _data(text)
    after = journey.data()
    if before is not None and before == after and list(before["nodes"]) == list(after["nodes"]):
        return text
    new = text if before is None else rewritten(text, lambda one: read_text(one).node, before, after)
    written = _data(new)
    if written is None or written != after or list(written["nodes"]) != list(after["nodes"]):
        raise DefinitionError([Fault((), "its text cannot be changed in place; write the journey to a new file")])
    return new


def with_text(journey: Journey, text: str) -> Journey:
    """The same journey, as read from a YAML text."""
    copy = journey.model_copy()
    copy._written = Written(text)
    return copy


def read_text(text: str) -> Document:
    """The document of a text that holds one journey."""
    return documents(text)[0]


def _data(text: str) -> dict[str, Any] | None:
    """The data of the journey in a text, as `Journey.data` gives them; None where it has faults."""
    document = read_text(text)
    form = form_of(document.data, document)
    return None if document.faults or form.faults or form.journey is None else form.journey.data()


def rewritten(
    text: str,
    find: Callable[[str], Node | None],
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    names: Mapping[str, str] | None = None,
) -> str:
    """The text with a journey changed, wherever it lies in it.

    Args:
        text: the YAML text.
        find: gives the node of the journey in a text.
        before: the data of the journey in the text.
        after: the data that it shall have.
        names: nodes that have another name now: old to new.
    """
    nodes = child(find(text), "nodes")
    if names and isinstance(nodes, MappingNode):
        text = renamed(text, nodes, names)
        before = {**before, "nodes": {names.get(name, name): one for name, one in before["nodes"].items()}}
    node = find(text)
    assert node is not None
    new = edited(text, node, before, after)
    nodes = child(find(new), "nodes")
    return reordered(new, nodes, list(after["nodes"])) if isinstance(nodes, MappingNode) and nodes.value else new


def child(node: Node | None, key: str | int) -> Node | None:
    """The value under a key, or the item, of a collection."""
    if isinstance(node, MappingNode):
        return next((value for name, value in node.value if name.value == key), None)
    return node.value[key] if node is not None and isinstance(key, int) else None


def block_text(text: str, node: Node) -> str | None:
    r"""The part of a text that is one journey, as a text of its own; None for one in braces.

    >>> text = "journeys:\n  - journey: a  # first\n    nodes: {}\n  - journey: b\n"
    >>> listed = child(read_text(text).node, "journeys")
    >>> block_text(text, child(listed, 0))
    'journey: a  # first\nnodes: {}\n'
    """
    if not isinstance(node, MappingNode) or node.flow_style:
        return None
    column, first = int(node.start_mark.column), int(node.start_mark.index)
    lines = text.splitlines(keepends=True)
    at = text.count("\n", 0, first)
    if column:
        last = text.count("\n", 0, end_of(text, node)) + 1
        cut = [f"{' ' * column}{lines[at][column:]}", *lines[at + 1 : last]]
        return "".join(line[min(column, len(line) - len(line.lstrip(" "))) :] for line in cut)
    above = max((i + 1 for i in range(at) if lines[i].startswith(("---", "%"))), default=0)
    below = next((i for i in range(at, len(lines)) if lines[i].startswith(("---", "..."))), len(lines))
    return "".join(lines[above:below])
