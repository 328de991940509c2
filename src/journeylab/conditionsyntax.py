"""The text of a condition in Python's grammar, read and never run; its faults are in the words of conditions."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterable
from typing import NamedTuple

from .errors import JourneyLabError

__all__ = ["ConditionError", "ConditionFault", "ConditionSource", "RefusedError"]

LONGEST = 4000
_FOREIGN = (
    (re.compile(r"(?<![=!<>])=(?!=)"), "equality is written =="),
    (re.compile(r"&&|\bAND\b"), "write and"),
    (re.compile(r"\|\||\bOR\b"), "write or"),
    (re.compile(r"!(?!=)|\bNOT\b"), "write not"),
    (re.compile(r"<>"), "inequality is written !="),
    (re.compile("[\u2018\u2019\u201c\u201d\u201e]"), 'texts stand in straight quotes: "…"'),
)


class ConditionFault(NamedTuple):
    """One fault of a condition, and the character of its text (from 0) at which it lies."""

    message: str
    offset: int


class ConditionError(JourneyLabError):
    """The condition's author must act: `faults` holds every fault of the text."""

    def __init__(self, text: str, faults: Iterable[ConditionFault]) -> None:
        self.text = text
        self.faults = sorted(faults, key=lambda fault: fault.offset)
        super().__init__("\n".join(f"{message} (at character {at + 1} of {text!r})" for message, at in self.faults))


class RefusedError(Exception):
    """Ends the parse of one part of a condition; its fault is recorded, and the other parts go on."""


class ConditionSource:
    """One text on its way to be a condition; `faults` gathers what is wrong with it, at characters from `base` on."""

    def __init__(self, text: str, base: int = 0) -> None:
        self.faults: list[ConditionFault] = []
        self._line = re.sub(r"[\r\n\t\f]", " ", text).lstrip()
        self._base = base + len(text) - len(text.lstrip())

    def expression(self) -> ast.expr:
        """The text in Python's grammar; its faults of syntax are in the words of conditions."""
        if not self._line.strip():
            raise self._refused_at("there is no condition here", 0)
        if len(self._line) > LONGEST:
            raise self._refused_at(f"longer than {LONGEST} characters; name a part of it as a segment", LONGEST)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                tree = ast.parse(self._line, mode="eval").body
        except SyntaxError as error:
            raise self._syntax_fault(error) from None
        except (ValueError, RecursionError, MemoryError):
            raise self._refused_at("this is no condition that can be read", 0) from None
        for token in tokenize.generate_tokens(io.StringIO(self._line).readline):
            if token.type == tokenize.COMMENT:
                raise self._refused_at("a condition holds no comment; write it beside the condition", token.start[1])
        return tree

    def said(self, node: ast.expr) -> str:
        """The part of the text that a node stands for."""
        return self._line.encode()[node.col_offset : node.end_col_offset].decode()

    def refused(self, message: str, node: ast.expr) -> RefusedError:
        """Records a fault at a node; to be raised."""
        self.faults.append(ConditionFault(message, self.place(node)))
        return RefusedError()

    def place(self, node: ast.expr) -> int:
        """The character at which a node begins."""
        return self._base + len(self._line.encode()[: node.col_offset].decode())

    def _refused_at(self, message: str, offset: int) -> RefusedError:
        self.faults.append(ConditionFault(message, self._base + offset))
        return RefusedError()

    def _syntax_fault(self, error: SyntaxError) -> RefusedError:
        outside = re.sub(r"\"[^\"]*\"|'[^']*'", lambda quoted: " " * len(quoted[0]), self._line)
        for pattern, remedy in _FOREIGN:
            found = pattern.search(outside)
            if found and not self._is_keyword_equals(outside, found.start()):
                return self._refused_at(f"{found[0]!r} is not used in conditions; {remedy}", found.start())
        if error.offset is None:
            return self._refused_at(error.msg, 0)
        if error.offset == 0:
            return self._refused_at("the condition ends too early; something must follow", len(self._line.rstrip()))
        reason = "" if error.msg.startswith("invalid syntax") else f": {error.msg}"
        rest = self._line[error.offset - 1 :][:20]
        return self._refused_at(f"cannot read on from {rest!r}{reason}", error.offset - 1)

    @staticmethod
    def _is_keyword_equals(line: str, at: int) -> bool:
        return line[at] == "=" and re.search(r"\bwhere\s*$", line[:at]) is not None
