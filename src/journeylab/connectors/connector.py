"""What a connector is: what the settings say of another system, and how what it says becomes contacts and events.

A connector's kind is a class of settings, a subclass of `Connector`, known by its name (`kind: hubspot`). Its `source`
is what is pulled and its `target` what is told (`facts`). Both are translation and nothing more: they make calls
through `reach`, which puts credentials on, and read replies. They keep no state and read no clock; who calls them keeps
the cursor, waits after faults, and makes sure that nothing is taken twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Protocol, TypeAlias

from pydantic import BeforeValidator, Field, PlainSerializer

from journeylab.errors import DataError, known
from journeylab.extensions import found, load
from journeylab.journey import Definition, Name, PositiveDuration
from journeylab.journeyform import part_of
from journeylab.references import BaseUrl
from journeylab.yamlsource import Document

if TYPE_CHECKING:
    from .facts import Target
    from .http import Call, Reply

__all__ = [
    "Broken", "Connector", "Later", "Page", "Reach", "Secrets", "Source", "Spacing", "Stream", "connector_of",
    "kind_named", "kinds", "said",
]  # fmt: skip

Reach: TypeAlias = "Callable[[Call], Reply]"
"""Makes one call and gives the reply, whatever it is."""
Secrets: TypeAlias = Callable[[str], str]
"""The secret that a reference of the settings names."""
_Data: TypeAlias = Mapping[str, Any]


class Later(Exception):
    """The other side cannot say it now: busy, broken or silent, or what came is only half of it. Asked again later.

    Attributes:
        text: what happened, in words, without what the other side wrote.
        retry_after: how long it asks to be left alone; None where it does not say.
    """

    def __init__(self, text: str, retry_after: timedelta | None = None) -> None:
        super().__init__(text)
        self.text, self.retry_after = text, retry_after


class Broken(Exception):
    """The other side says what nobody can read, or refuses what is asked: somebody has to look at it.

    Attributes:
        text: what is wrong and where, in words, without what the other side wrote.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True)
class Page:
    """What one call or a few brought, plain data. Each row is taken or refused by itself.

    Attributes:
        contacts: `{contact, address?, attributes, changed_at?}`: all that the stream says of a contact. An attribute
            of None is one that the source has no value for. `changed_at` (aware) is the source's own instant of the
            change: what is older than what was taken already is passed over.
        events: `{contact, event, occurred_at, id, properties}`; `id` is the source's own, unique in the stream. A
            repeated one is known by it.
        products: `{product, properties, gone?, changed_at?}`; `gone` is true for one that is not sold any more.
        cursor: where to go on after this page, JSON data; it is kept in the transaction that takes the page.
        is_last: whether there is nothing more for now, so that the whole stream has been seen.
    """

    contacts: Sequence[_Data] = ()
    events: Sequence[_Data] = ()
    products: Sequence[_Data] = ()
    cursor: _Data = field(default_factory=dict)
    is_last: bool = True


class Source(Protocol):
    """What is pulled from another system."""

    def pull(self, stream: str, cursor: _Data | None, reach: Reach) -> Page:
        """The next page of a stream.

        The same cursor asks for the same page again: it may have changed meanwhile, but nothing that comes after what
        was seen may be left out. After a page that `is_last` the cursor is where the next pull begins; what changed
        while pages were read must be in that one, if it was in none of these.

        Args:
            stream: its name in the settings.
            cursor: what the page before said; None at the very beginning.
            reach: makes a call.

        Raises:
            Later: when the page cannot be had now.
            Broken: when it cannot be read.
        """
        ...


_PER: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _spacing(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"([1-9]\d{0,6})/([smhd])", value.replace(" ", "")) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no rate, such as 10/s, 100/m or 5000/h")
    return timedelta(seconds=_PER[match[2]] / int(match[1]))


def _rate(spacing: timedelta) -> str:
    return next(f"{n}/{unit}" for unit, s in _PER.items() if (n := round(s / spacing.total_seconds())) >= 1)


Spacing = Annotated[timedelta, BeforeValidator(_spacing), PlainSerializer(_rate, return_type=str)]
"""How far calls are apart, written as a rate: `10/s`."""


class Stream(Definition):
    """One thing that is pulled.

    Attributes:
        every: how long after the begin of a complete pull the next one begins.
    """

    every: PositiveDuration = timedelta(minutes=5)


class Connector(Definition):
    """What the settings say of another system; each kind adds what it needs.

    Attributes:
        kind: the name of the kind.
        url: where it is; `https`, but on this machine. A kind may have one of its own by default.
        ca: a PEM file of authorities to trust instead of the system's.
        tls_minimum: the least version of TLS.
        internal: whether it stands in a private network, where nothing is called unless this says so.
        at_most: how many calls it takes, such as `10/s`; they are spaced evenly.
        pull: what is pulled from it, by the stream's name.
        push: what it is told.
    """

    kind: str
    url: BaseUrl
    ca: str | None = None
    tls_minimum: Annotated[Literal["1.2", "1.3"], BeforeValidator(str)] = "1.3"
    internal: bool = False
    at_most: Spacing | None = None
    pull: dict[Name, Stream] = Field(default_factory=dict)
    push: tuple[str, ...] = ()

    def with_credentials(self, reach: Reach, secrets: Secrets) -> Reach:  # noqa: ARG002
        """Makes calls with credentials put on; by default there are none.

        Whatever is asked for first (a token of an hour, say) is asked through `reach`, when it is first needed, and
        kept by what is returned for as long as that lives.
        """
        return reach

    def source(self) -> Source:
        """What is pulled from it.

        Raises:
            DataError: when nothing can be.
        """
        raise DataError(f"nothing can be pulled from a connector of the kind {self.kind!r}; leave out `pull:`")

    def target(self) -> Target:
        """What is told to it.

        Raises:
            DataError: when nothing can be.
        """
        raise DataError(f"nothing can be told to a connector of the kind {self.kind!r}; leave out `push:`")


_BUILT_IN: Final = {
    "rest": "rest:Rest", "hubspot": "hubspot:HubSpot", "salesforce": "salesforce:Salesforce",
    "segment": "segment:Segment",
}  # fmt: skip


def kinds() -> list[str]:
    """The names of the kinds that there are, those of installed packages among them, sorted."""
    return sorted({*_BUILT_IN, *found("connectors")})


def kind_named(name: str) -> type[Connector]:
    """The class of a kind.

    Raises:
        DataError: when there is none of that name, or the package that brings it is at fault.

    >>> kind_named("rset")
    Traceback (most recent call last):
    ...
    journeylab.errors.DataError: no connector is of the kind 'rset'; did you mean 'rest'? Known kinds: hubspot, ...
    """
    if name in _BUILT_IN:
        module, _, made = _BUILT_IN[name].partition(":")
        found_here: type[Connector] = getattr(import_module(f"journeylab.connectors.{module}"), made)
        return found_here
    if name not in found("connectors"):
        raise DataError(f"no connector is of the kind {name!r}; {known(name, kinds(), 'kinds')}")
    brought = load("connectors", name, _BUILT_IN)
    if not (isinstance(brought, type) and issubclass(brought, Connector)):
        raise DataError(f"the connector {name!r} is no subclass of journeylab.connectors.connector.Connector")
    return brought


def connector_of(value: object) -> Connector:
    """What the settings say of a connector, read by its kind.

    Raises:
        ValueError: with what is wrong, as pydantic's validators do.
    """
    if isinstance(value, Connector):
        return value
    if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
        raise ValueError(f"a connector has its `kind`: one of {', '.join(kinds())}")
    try:
        kind = kind_named(value["kind"])
    except DataError as problem:
        raise ValueError(str(problem)) from None
    made, faults = part_of(kind, value, Document(), (), "the connector")
    if made is None:
        raise ValueError("; ".join(map(str, faults)))
    for is_said, way in ((made.pull, made.source), (made.push, made.target)):
        if is_said:
            try:
                way()
            except DataError as problem:
                raise ValueError(str(problem)) from None
    return made


_AGAIN: Final = (408, 425, 429)


def said(reply: Reply) -> Any:
    """The JSON that a reply says.

    Raises:
        Later: when there is no reply, or one that says to come again (408, 425, 429, 5xx), or no whole JSON.
        Broken: when the other side refuses what was asked for.
    """
    if reply.is_taken:
        if reply.said is None:
            raise Later(reply.fault or "its reply has no JSON")
        return reply.said
    if not reply.is_hopeless and (reply.status is None or reply.status in _AGAIN or reply.status >= 500):
        raise Later(reply.text, reply.retry_after)
    raise Broken(reply.text)
