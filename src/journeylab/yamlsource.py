"""YAML 1.2 and JSON texts as plain data, with the place of every key and value and every fault of the text.

Stricter than YAML: duplicate keys, anchors, tags, and words that mean something else to a YAML 1.1 reader are refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from .errors import Fault
from .jsontext import DEEPEST, data_of

__all__ = ["Document", "Path", "documents"]

Path: TypeAlias = tuple[str | int, ...]
Place: TypeAlias = tuple[int, int]

_CORE = "tag:yaml.org,2002:"
_AMBIGUOUS = re.compile(r"yes|no|on|off|y|n", re.IGNORECASE)
_BRACKET = re.compile(r"[\[\]{}]")
_TOO_DEEP = f"nested too deeply, in more than {DEEPEST} levels"
_TRUE = ("true", "True", "TRUE")


@dataclass
class Document:
    """One document of a file: its plain `data`, where each part stands, and the faults of its text.

    `keys` and `values` map the path of each part to (line, column), counted from 1; `node` is ruamel's node graph.
    """

    data: Any = None
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    source: str | None = None
    node: Node | None = None

    def fault(self, path: Path, message: str, *, at_key: bool = False) -> Fault:
        """A fault at the place of `path`, or of the nearest part around it that stands in the text."""
        place = self.keys.get(path) if at_key else None
        around = path
        while place is None and around:
            is_block = around in self.keys and self.keys[around][0] != self.values[around][0]
            place = self.keys[around] if is_block else self.values.get(around)
            around = around[:-1]
        place = place or self.values.get(())
        return Fault(path, message, self.source, *(place or (None, None)))


def documents(text: str, *, source: str | None = None, is_json: bool = False) -> list[Document]:
    """The documents of a YAML text, or the one of a JSON text.

    A text with a fault of syntax gives one document more that holds that fault; the documents before it are read.

    >>> [document] = documents("journey: hello  # a comment")
    >>> document.data, document.values["journey",]
    ({'journey': 'hello'}, (1, 10))
    """
    if is_json:
        try:
            data_of(text)
        except json.JSONDecodeError as error:
            return [Document(faults=[Fault((), f"no JSON: {error.msg}", source, error.lineno, error.colno)])]
        except ValueError as error:
            return [Document(faults=[Fault((), f"no JSON that can be used: {error}", source)])]
    elif _flow_depth(text) > DEEPEST:  # which ruamel would read in the square of its time
        return [Document(faults=[Fault((), _TOO_DEEP, source)])]
    found = []
    try:
        for node in YAML(typ="rt", pure=True).compose_all(text):
            document = Document(source=source, node=node)
            document.data = _Reader(document).value(node, ())
            found.append(document)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (None, None)
        context = f" ({error.context})" if error.context else ""
        found.append(Document(faults=[Fault((), f"no YAML: {error.problem}{context}", source, *place)]))
    except YAMLError as error:
        reason = " ".join(str(error).split())
        found.append(Document(faults=[Fault((), f"no YAML: {reason}", source)]))
    except (KeyError, ValueError) as error:  # as ruamel says that a version in %YAML is none, among other things
        found.append(Document(faults=[Fault((), f"no YAML that can be read: {str(error)[:200]}", source)]))
    except RecursionError:
        found.append(Document(faults=[Fault((), _TOO_DEEP, source)]))
    return found


def _flow_depth(text: str) -> int:
    """How many brackets and braces are open at most, those in texts and comments among them."""
    depth = deepest = 0
    for bracket in _BRACKET.findall(text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


class _Reader:
    """The making of plain data from a node graph; what cannot be read becomes None, with a fault."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.seen: set[int] = set()

    def value(self, node: Node, path: Path) -> Any:
        """The plain data of a node."""
        self.document.values[path] = _place(node)
        if len(path) > DEEPEST:
            return self._refuse(path, _TOO_DEEP)
        if id(node) in self.seen:
            return self._refuse(path, "anchors and aliases are not used in journey files; write it out again")
        self.seen.add(id(node))
        kind = str(node.tag).removeprefix(_CORE)
        if isinstance(node, MappingNode) and kind == "map":
            return {name: self.value(value, (*path, name)) for name, value in self._entries(node, path)}
        if isinstance(node, SequenceNode) and kind == "seq":
            return [self.value(value, (*path, i)) for i, value in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node, kind, path)
        return self._refuse(path, f"the tag {node.tag} is not used in journey files")

    def _entries(self, node: MappingNode, path: Path) -> Iterator[tuple[str, Node]]:
        names: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.document.faults.append(Fault(path, "a key is a plain word", self.document.source, *_place(key)))
                continue
            name = str(key.value)
            here = (*path, name)
            if name in names:
                line = self.document.keys[here][0]
                message = f"{name!r} is here twice, first on line {line}; keep one"
                self.document.faults.append(Fault(here, message, self.document.source, *_place(key)))
                continue
            names.add(name)
            self.document.keys[here] = _place(key)
            if key.style is None and (_AMBIGUOUS.fullmatch(name) or name in ("true", "false", "null", "~", "<<")):
                message = f"the key {name} means something else to some YAML readers; choose another or quote it"
                self.document.faults.append(Fault(here, message, self.document.source, *_place(key)))
            yield name, value

    def _scalar(self, node: ScalarNode, kind: str, path: Path) -> Any:
        text = str(node.value)
        if node.style == ">":
            text = text.replace("\a", "")  # with which ruamel marks where lines were folded
        if kind == "str" and node.style is None and _AMBIGUOUS.fullmatch(text):
            word = "true or false" if text.lower() in ("yes", "no", "on", "off") else "a longer word"
            return self._refuse(
                path, f'{text} means a flag to some YAML readers; write {word}, or "{text}" for the text'
            )
        if kind in ("str", "timestamp"):
            return _joined_surrogates(text)
        if kind == "null":
            return self._refuse(path, "there is no value here; write one or leave the key out")
        if kind == "bool":
            return text in _TRUE
        if kind not in ("int", "float"):
            return self._refuse(path, f"the tag {node.tag} is not used in journey files")
        try:
            number: int | float = int(text, 0) if kind == "int" else float(text)
            is_finite = math.isfinite(number)
        except OverflowError:
            is_finite = False
        except ValueError:
            return self._refuse(
                path, f'{text} is no plain number; write it without leading zeros, or quote it: "{text}"'
            )
        if not is_finite:
            return self._refuse(path, f"{text} is no number that can be compared; quote it if it is a text")
        return number

    def _refuse(self, path: Path, message: str) -> None:
        self.document.faults.append(Fault(path, message, self.document.source, *self.document.values[path]))


def _place(node: Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _joined_surrogates(text: str) -> str:
    r"""The text with JSON's escaped pairs such as `\ud83d\ude00` as the one character they mean."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
