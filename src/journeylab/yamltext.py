"""Plain data as YAML text in the layout of journey files: small mappings on one line, the rest in blocks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["entry_lines", "flow_text", "item_lines", "scalar_text", "yaml_text"]

WIDTH = 88
_IN_BLOCKS = {"trigger", "exit_when", "nodes", "segments", "journeys", "decide", "weights"}
# What stays without quotes: words, durations and percentages, and in blocks also conditions. Nothing that any reader
# of YAML takes for a number, a date, a time or a flag.
_WORD = re.compile(r"[A-Za-z_][\w./+()-]*( [\w./+()-]+)*", re.ASCII)
_AMOUNT = re.compile(r"-?(\d+(us|ms|w|d|h|m|s))+|\d+(\.\d+)?%")
_CONDITION = re.compile(r"[A-Za-z_(][^\x00-\x1f\x7f-\x9f\\]*[^\s\\:]")
_AMBIGUOUS = re.compile(r"true|false|null|yes|no|on|off|y|n|nan|inf", re.IGNORECASE)


def yaml_text(data: Mapping[str, Any]) -> str:
    """The YAML text of a mapping.

    >>> print(yaml_text({"journey": "hello", "nodes": {"done": {"exit": "finished"}}}), end="")
    journey: hello
    nodes:
      done: {exit: finished}
    """
    return "".join(f"{line}\n" for key, value in data.items() for line in entry_lines(key, value, 0))


def entry_lines(key: str, value: Any, indent: int) -> list[str]:
    """The lines of one entry of a block mapping at a column."""
    start = " " * indent + scalar_text(key) + ":"
    if not isinstance(value, Mapping | Sequence) or isinstance(value, str):
        return [f"{start} {scalar_text(value)}"]
    line = f"{start} {flow_text(value)}"
    if not value or (key not in _IN_BLOCKS and not _needs_block(value) and len(line) <= WIDTH):
        return [line]
    if isinstance(value, Mapping):
        return [start, *(line for name, part in value.items() for line in entry_lines(name, part, indent + 2))]
    return [start, *(line for part in value for line in item_lines(part, indent + 2))]


def item_lines(value: Any, indent: int) -> list[str]:
    """The lines of one item of a block sequence whose dash stands at a column."""
    start = " " * indent + "- "
    if not isinstance(value, Mapping):
        return [start + (flow_text(value) if isinstance(value, list | tuple) else scalar_text(value))]
    line = start + flow_text(value)
    if not value or ("if" not in value and not _needs_block(value) and len(line) <= WIDTH):
        return [line]
    lines = [line for name, part in value.items() for line in entry_lines(name, part, indent + 2)]
    return [start + lines[0].lstrip(), *lines[1:]]


def flow_text(value: Any) -> str:
    """A value on one line, as it stands inside braces and brackets."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar_text(k, in_flow=True)}: {flow_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow_text, value)) + "]"
    return scalar_text(value, in_flow=True)


def scalar_text(value: Any, *, in_flow: bool = False, quote: str | None = None) -> str:
    """A single value, quoted where it needs to be, or with the quotes asked for.

    >>> scalar_text("3d"), scalar_text("21:00"), scalar_text("no"), scalar_text("a, b", in_flow=True)
    ('3d', '"21:00"', '"no"', '"a, b"')
    """
    if not isinstance(value, str):
        return json.dumps(value)
    if quote is None and _is_plain(value, in_flow=in_flow):
        return value
    printable = value.isprintable()
    if printable and (quote == "'" or (quote is None and '"' in value)):
        return "'" + value.replace("'", "''") + "'"
    return re.sub(r"[^\x20-\x7e]", _escaped, json.dumps(value, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable():
        return character
    return f"\\U{ord(character):08x}" if ord(character) > 0xFFFF else f"\\u{ord(character):04x}"


def _is_plain(text: str, *, in_flow: bool) -> bool:
    if _AMBIGUOUS.fullmatch(text):
        return False
    if _WORD.fullmatch(text) or _AMOUNT.fullmatch(text):
        return True
    return not in_flow and text.isprintable() and bool(_CONDITION.fullmatch(text)) and not re.search(r":\s|\s#", text)


def _needs_block(value: Any) -> bool:
    """Whether a value holds a list that is read line by line, at any depth."""
    if isinstance(value, Mapping):
        return any(key in ("decide", "weights") or _needs_block(part) for key, part in value.items())
    return False
