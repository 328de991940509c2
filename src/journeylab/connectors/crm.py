"""What connectors to CRM systems have in common: what their settings say, and how their replies are judged."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, TypeVar

from pydantic import Field, field_validator, model_validator

from journeylab.errors import known
from journeylab.journey import Name, PositiveDuration

from .connector import Broken, Connector, said
from .facts import Fact
from .http import Reply
from .pushed import PUSHED, check_push, facts_of

__all__ = ["Crm", "FieldName", "instant_of", "judged", "part", "rows_in", "said_of"]

FieldName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.]*$")]
"""The name of a field of the other system."""
_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,60}")
_YEARS: Final = range(1970, 2200)
_T = TypeVar("_T")


class Crm(Connector):
    """What the settings say of a CRM.

    Attributes:
        contact: the field that has the contact's id, the same for all time and of one record alone.
        address: the field that has the address.
        attributes: the field of each attribute that is pulled.
        writes: by what a fact says (`journey`, `version`, `message`, `exit`, `reason`, `kind`), the field of the
            contact that keeps what was said last; for `push: [contacts]`.
        as_of: the field of the contact that keeps the instant of what `writes` wrote, so that nothing older is written
            over it.
        deleted: the event that a contact has when it was deleted there, so that it can be restored.
        overlap: how far before the latest change the next pull begins, for what becomes visible late.
        suppressed: the field of the contact that is told why nothing goes to its address; for `push: [suppression]`.
    """

    streams: ClassVar[tuple[str, ...]] = ()
    contact: FieldName
    address: FieldName
    attributes: dict[Name, Any] = Field(default_factory=dict)
    writes: dict[Name, FieldName] = Field(default_factory=dict)
    as_of: FieldName | None = None
    deleted: Name = "contact_deleted"
    overlap: PositiveDuration = timedelta(minutes=2)
    suppressed: FieldName | None = None

    @field_validator("push")
    @classmethod
    def _pushes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_push(value)

    @model_validator(mode="after")
    def _is_whole(self) -> Crm:
        for stream in self.pull:
            if stream not in self.streams:
                raise ValueError(f"pull: there is no stream {stream!r}; {known(stream, self.streams, 'streams')}")
        if "contacts" in self.push and (not self.writes or self.as_of is None):
            raise ValueError("push: `contacts` needs `writes` and `as_of`, the fields that it writes")
        if unknown := [one for one in self.writes if one not in _WRITTEN]:
            raise ValueError(f"writes: no fact says {unknown[0]!r}; {known(unknown[0], _WRITTEN, 'names')}")
        return self

    def told(self) -> frozenset[str]:
        """The kinds of facts that it is told."""
        return facts_of(self.push)

    def written(self, fact: Fact) -> dict[str, str]:
        """The fields of the contact that a fact changes, as texts; without the one for the instant."""
        about = {"kind": fact.kind, **fact.data}
        return {name: str(about[key]) for key, name in self.writes.items() if about.get(key) is not None}


_WRITTEN: Final = ("exit", "journey", "kind", "message", "reason", "version")
assert {*PUSHED["contacts"]} == {*PUSHED["timeline"]}


def judged(reply: Reply, who: str, code_of: Callable[[Any], object], hopeless: Callable[[int, str], bool]) -> Reply:
    """A reply that says in words what the other side found fault with, and whether trying again helps.

    Args:
        reply: what came.
        who: whose reply it is.
        code_of: the code of a fault in the reply's JSON, or anything else where there is none; texts are not shown, as
            they may name a person.
        hopeless: whether a status and a code stay as they are until somebody changes something.
    """
    if reply.is_taken or reply.status is None or reply.is_hopeless:
        return reply
    found = code_of(reply.said)
    code = found if isinstance(found, str) and _CODE.fullmatch(found) else ""
    text = f"{reply.text}: {who} says {code}" if code else reply.text
    return replace(reply, text=text, is_hopeless=hopeless(reply.status, code))


def said_of(reply: Reply) -> Mapping[str, Any]:
    """The object that a reply says.

    Raises:
        Later: when it cannot be had now.
        Broken: when it is none, or the other side refuses to say it.
    """
    found = said(reply)
    if not isinstance(found, Mapping):
        raise Broken("its reply is no JSON object")
    return found


def part(data: object, name: str, kind: type[_T]) -> _T:
    """A part of what was said, of a kind.

    Raises:
        Broken: when there is none, or it is of another kind.
    """
    found = data.get(name) if isinstance(data, Mapping) else None
    if not isinstance(found, kind):
        raise Broken(f"its reply has no {name!r} as its reference describes it")
    return found


def rows_in(data: object, name: str) -> list[Mapping[str, Any]]:
    """The objects of a list in what was said.

    Raises:
        Broken: when there is no list, or it has other things.
    """
    found = part(data, name, list)
    if not all(isinstance(one, Mapping) for one in found):
        raise Broken(f"its reply has other things than objects in {name!r}")
    return found


def instant_of(text: object, name: str) -> datetime:
    """An instant that was said as ISO 8601 with a zone.

    Raises:
        Broken: when it is none.
    """
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or at.year not in _YEARS:
        raise Broken(f"its reply has no instant as {name!r}")
    return at
