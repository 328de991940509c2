"""Kinds of properties and attributes: a name has that of its first value, for ever, so that a log can hold them all."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, select

from journeylab.errors import DataError, known, listed
from journeylab.instants import DATE, INSTANT, zone_names
from journeylab.sender.store import insert_missing
from journeylab.sender.store import tables as t
from journeylab.sender.store.lookup import Lookup

__all__ = ["LONGEST_ID", "Names", "declare", "is_name", "known_names", "not_a_text", "property_kinds"]

_OWN_KINDS: Final = {
    "journey": "text", "entry": "number", "node": "text", "visit": "number", "message": "text", "reason": "text",
    "actual_at": "instant", "succeeded": "flag", "purpose": "text", "bounce_type": "text", "link": "text",
    "is_machine": "flag", "actor": "text", "rule": "text", "name": "text", "value": "text",
}  # fmt: skip
"""The kinds of properties that the sender's own events have, whoever is the first to write them."""
_KINDS: Final = {bool: "flag", int: "number", float: "number", str: "text", datetime: "instant", date: "date"}
_TAKEN: Final = {
    "event": (("contact", "event", "occurred_at", "received_at"), "an event"),
    "contact": (("contact",), "a contact"),
}
"""By scope: the names that are columns of a log already."""
_NUMBER: Final = re.compile(r"[+-]?(\d+([.]\d*)?|[.]\d+)([eE][+-]?\d+)?", re.ASCII)
_EXACT: Final = 2**53
_LONGEST: Final = 10_000
LONGEST_ID: Final = 200
_NAMES: Final = Lookup(lambda among: select(t.names.c.name, t.names.c.kind).where(among(t.names.c.scope)))


def known_names(connection: Connection, scope: str) -> dict[str, str]:
    """The kinds of all properties (`event`) or attributes (`contact`), by name."""
    return dict(_NAMES.rows(connection, [scope]))


def property_kinds(connection: Connection) -> dict[str, str]:
    """The kinds of all properties by name, those of the sender's own events among them."""
    return _OWN_KINDS | known_names(connection, "event")


def declare(connection: Connection, scope: str, kinds: Mapping[str, str]) -> None:
    """Makes kinds of properties or attributes known before any value comes.

    Raises:
        DataError: when one is known as another kind.
    """
    known = known_names(connection, scope)
    clashes = [f"{name} ({known[name]}, not {kind})" for name, kind in kinds.items() if known.get(name, kind) != kind]
    if clashes:
        raise DataError(f"these are of another kind in the store: {listed(clashes)}")
    rows = [{"scope": scope, "name": name, "kind": kind} for name, kind in kinds.items() if name not in known]
    if rows:
        insert_missing(connection, t.names, rows, ["scope", "name"])


def is_name(name: object) -> bool:
    """Whether something can name an event, a property or an attribute."""
    return isinstance(name, str) and name.isidentifier() and len(name) <= LONGEST_ID


def not_a_text(text: str) -> str | None:
    """Why a database cannot hold a text as it is, or None."""
    if "\x00" in text:
        return "has a NUL in it"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "has half of a surrogate pair in it, which is no text"
    return None


class Names:
    """The names known so far, and the new ones of a batch; a name keeps its first kind for ever.

    Args:
        connection: a writing transaction.
        scope: `event` for properties, `contact` for attributes.
    """

    def __init__(self, connection: Connection, scope: str) -> None:
        self.connection, self.scope = connection, scope
        self.known = known_names(connection, scope)
        self.new: dict[str, str] = {}

    def checked(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        """The values as they are stored, or why they cannot be; None among them is left out."""
        stored: dict[str, Any] = {}
        first: dict[str, str] = {}
        for name, value in values.items():
            if value is None:
                continue
            kind = self.known.get(name) or self.new.get(name)
            if kind is None:
                kind, problem = self._first_kind(name, value)
                if problem:
                    return {}, problem
                first[name] = kind
            held, problem = _held(value, kind)
            if problem is None and name == "timezone" and self.scope == "contact":
                problem = _no_zone(held)
            if problem:
                return {}, f"{name}{problem}"
            stored[name] = held
        self.new |= first
        return stored, None

    def own(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The properties of an event that the sender makes, as they are stored; None among them is left out.

        Raises:
            ValueError: for one that it does not have: a fault of the program.
        """
        if all(name in self.known and self.known[name] == _OWN_KINDS.get(name) for name in values):
            return {
                name: value.isoformat() if type(value) is datetime else value
                for name, value in values.items()
                if value is not None
            }
        stored, problem = self.checked(values)
        if problem:
            raise ValueError(problem)
        return stored

    def changed(self, name: Any, value: Any) -> tuple[str | None, str | None]:
        """The new value of an attribute as the text that an `attribute_changed` event has, or why it cannot be one."""
        if name is None:
            return None, "`name` is missing: which attribute has changed"
        if value is None:
            return None, None if is_name(name) else f"{str(name)[:40]!r} is no attribute's name"
        kind = self.known.get(name) or self.new.get(name)
        if isinstance(value, str):
            value = _understood(value, kind)
        elif kind == "text":
            value = json.dumps(value)
        stored, problem = self.checked({name: value})
        if problem:
            return None, problem
        held = stored[name]
        return held if isinstance(held, str) else json.dumps(held), None

    def saved(self) -> bool:
        """Saves the new names; False where another transaction has made one of another kind meanwhile.

        Then the values have to be checked again.
        """
        if not self.new:
            return True
        rows = [{"scope": self.scope, "name": name, "kind": kind} for name, kind in sorted(self.new.items())]
        insert_missing(self.connection, t.names, rows, ["scope", "name"])
        self.known = known_names(self.connection, self.scope)
        agreed = all(self.known[name] == kind for name, kind in self.new.items())
        self.new = {}
        return agreed

    def _first_kind(self, name: Any, value: Any) -> tuple[str, str | None]:
        taken, what = _TAKEN[self.scope]
        if not is_name(name):
            return "", f"{str(name)[:40]!r} is no name: letters, digits and underscores"
        if name in taken:
            return "", f"{name!r} is what {what} itself has; give it another name"
        kind = (_OWN_KINDS.get(name) if self.scope == "event" else None) or _KINDS.get(type(value))
        if kind == "text" and name not in _OWN_KINDS:
            kind = _looks_like(value)
        if kind is None:
            return "", f"{name}: {type(value).__name__} is neither a text, a number nor a flag"
        return kind, None


def _held(value: Any, kind: str) -> tuple[Any, str | None]:
    """The value as JSON holds it, and what is wrong with it, to follow its name."""
    if kind == "text":
        if type(value) is str:
            if len(value) > _LONGEST:
                return value, f" is longer than {_LONGEST:,} characters"
            problem = not_a_text(value)
            return value, problem and f": {problem.removeprefix('has ')}"
    elif kind == "number":
        if type(value) is float:
            return value, None if math.isfinite(value) else f": {value} is no number"
        if type(value) is int:
            beyond = f": {value} cannot be held exactly; if it identifies something, make a text of it"
            return value, beyond if abs(value) > _EXACT else None
    elif kind == "flag":
        if type(value) is bool:
            return value, None
    else:
        held = _time(value, kind)
        if held is not None:
            return held, None
    return value, f" is {'an' if kind == 'instant' else 'a'} {kind}, got {str(value)[:40]!r}"


def _time(value: Any, kind: str) -> str | None:
    """A date or an instant as ISO 8601 text; None where it is none."""
    try:
        if kind == "date":
            found = date.fromisoformat(value) if isinstance(value, str) else value
            return found.isoformat() if type(found) is date else None
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return at.isoformat() if isinstance(at, datetime) and at.tzinfo is not None else None


def _no_zone(value: str) -> str | None:
    if value in zone_names():
        return None
    hint = known(value, zone_names(), "time zones").partition(" Known ")[0]
    return f": {value[:40]!r} is no time zone" + (f"; {hint}" if hint.startswith("did") else "")


def _understood(text: str, kind: str | None) -> Any:
    """What a text says that tells a value of a kind, or, where none is known yet, what it looks like."""
    lower = text.lower()
    if kind in (None, "flag") and lower in ("true", "false"):
        return lower == "true"
    if kind in (None, "number") and _NUMBER.fullmatch(text) and (kind or not re.match(r"[+-]?0\d", text)):
        found = float(text)
        return int(found) if found.is_integer() and abs(found) <= _EXACT else found
    return text


def _looks_like(text: str) -> str:
    """The kind of a text that is the first value of its name: a date, an instant with its zone, or a text."""
    if re.fullmatch(DATE, text) and _time(text, "date"):
        return "date"
    return "instant" if re.fullmatch(INSTANT, text) and _time(text, "instant") else "text"
