"""Any system that gives lists of objects as JSON by GET: what is asked for, how it pages, and which columns are taken.

```yaml
erp:
  kind: rest
  url: https://erp.example/api
  auth: {bearer: env:ERP_TOKEN}
  at_most: 2/s
  pull:
    orders:
      every: 5m
      path: /orders
      rows: events
      items: orders
      paging: {link: header}
      since: {parameter: updated_at_min, overlap: 10m}
      event: purchase
      id: [id]
      columns: {customer.id: contact, processed_at: occurred_at, updated_at: changed_at, total: amount}
```

A column is named by its path in the row (`customer.id`); what `columns` does not name is not taken. Pages by number or
offset move when rows come and go between two calls, and a row may be in none. So the row before a page is asked for
again with it; where that is another one than before, all pages are read anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urljoin

from pydantic import Field, model_validator

from journeylab.clock import instant
from journeylab.journey import Definition, Duration, Name, Zone

from .connector import Broken, Connector, Page, Reach, Secrets, Source, Stream, said
from .credentials import Credentials
from .http import Call, Reply

__all__ = ["ByCursor", "ByLink", "ByOffset", "ByPage", "Rest", "RestStream", "Since", "Some"]

_Data = Mapping[str, Any]
_KEYS: Final = {"contacts": "contact", "events": "contact", "products": "product"}
_OURS: Final = {
    "contacts": ("contact", "address", "changed_at"),
    "events": ("contact", "event", "occurred_at", "changed_at"),
    "products": ("product", "changed_at"),
}
"""The names that rows themselves have; others are properties, or attributes."""
_INSIDE: Final = {"contacts": "attributes", "events": "properties", "products": "properties"}
_LINK: Final = re.compile(r"\s*<([^<>]*)>(.*)", re.DOTALL)
_REL: Final = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s";,]+))', re.IGNORECASE)
_MOST_ANEW: Final = 5


class ByLink(Definition):
    """The next page is where a link leads.

    Attributes:
        link: the link's path in the reply, or `header` (RFC 8288, `rel="next"`).
        resume: the path of a link in the last page with which the next pull begins, where there is one.
    """

    link: str
    resume: str | None = None


class ByCursor(Definition):
    """The next page is asked for with what this one says.

    Attributes:
        cursor: its path in the reply; the last page has none.
        parameter: the parameter that it is given as.
    """

    cursor: str
    parameter: str


class Sized(Definition):
    """How many rows a page is asked to have; a page without any ends the list, as there may be fewer on any."""

    size: Annotated[int, Field(ge=2)] | None = None
    size_parameter: str | None = None

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if (self.size is None) != (self.size_parameter is None):
            raise ValueError("`size` and `size_parameter` go together")
        return self

    @property
    def sized(self) -> dict[str, str]:
        """The parameter that says so, if there is one."""
        return {} if self.size_parameter is None else {self.size_parameter: str(self.size)}


class ByPage(Sized):
    """Pages have numbers.

    Attributes:
        page: the parameter with the number.
        first: the first page's.
        size, size_parameter: how many rows are asked for, by which parameter.
    """

    page: str
    first: int = 1


class ByOffset(Sized):
    """Pages begin after so many rows.

    Attributes:
        offset: the parameter with how many rows are passed over.
        size, size_parameter: how many rows are asked for, by which parameter.
    """

    offset: str


class Since(Definition):
    """Only what has changed is asked for, from the second pull on.

    Attributes:
        parameter: the parameter with the instant.
        overlap: how much earlier than the latest change that was seen.
        format: how it is written.
    """

    parameter: str
    overlap: Duration = timedelta(minutes=5)
    format: Literal["iso", "epoch", "epoch_ms"] = "iso"


class Some(Definition):
    """Rows that have one of some values in a column."""

    column: str
    values: tuple[str, ...] = Field(min_length=1)

    def holds(self, row: Any) -> bool:
        """Whether a row has one."""
        return _text(_at(row, self.column)) in self.values


class RestStream(Stream):
    """A list that is pulled.

    Attributes:
        path: after the connector's URL.
        query: further parameters.
        rows: what a row is.
        items: the path of the list in the reply; without it the reply is the list.
        paging: how it pages; without it there is one page.
        since: how only changes are asked for; without it everything is, each time.
        columns: our names by the paths of columns: `contact`, `address`, `event`, `occurred_at`, `product`,
            `changed_at`, or a property's.
        event: the event's name, where no column has it.
        id: the columns that together tell events apart.
        only: the rows that are taken, where not all are.
        gone: the rows whose products are not sold any more.
        times: how instants are written in columns.
        timezone: the zone of instants that do not say theirs; without it such rows are refused.
    """

    path: str
    query: dict[str, str] = Field(default_factory=dict)
    rows: Literal["contacts", "events", "products"]
    items: str | None = None
    paging: ByLink | ByCursor | ByPage | ByOffset | None = None
    since: Since | None = None
    columns: dict[str, Name] = Field(min_length=1)
    event: Name | None = None
    id: tuple[str, ...] = ()
    only: Some | None = None
    gone: Some | None = None
    times: Literal["iso", "epoch", "epoch_ms"] = "iso"
    timezone: Zone | None = None

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> RestStream:
        names = [*self.columns.values()]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two columns are {twice!r}; leave one out")
        if _KEYS[self.rows] not in names:
            raise ValueError(f"no column is {_KEYS[self.rows]!r}, which {self.rows} need")
        if self.rows == "events":
            if ("event" in names) == (self.event is not None):
                raise ValueError("events have their name in `event`, or in a column that is `event`")
            if "occurred_at" not in names:
                raise ValueError("no column is 'occurred_at', which events need")
            if not self.id:
                raise ValueError("events need `id`: the columns that tell them apart")
        if self.since is not None and not {"changed_at", "occurred_at"} & {*names}:
            raise ValueError("`since` needs a column that is 'changed_at', by which it goes on")
        return self


class Rest(Connector):
    """A system that gives lists as JSON.

    Attributes:
        auth: how it is shown who calls; see `credentials`.
        headers: further headers of each call.
    """

    kind: Literal["rest"] = "rest"
    auth: Credentials | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    pull: dict[Name, RestStream] = Field(default_factory=dict)  # type: ignore[assignment]

    def with_credentials(self, reach: Reach, secrets: Secrets) -> Reach:
        """Makes calls with what `auth` says."""
        return reach if self.auth is None else self.auth.put_on(reach, secrets)

    def source(self) -> Source:
        """What is pulled."""
        return _Lists(self)


@dataclass(frozen=True)
class _Lists:
    """The lists of a system.

    A cursor has `since`, from when on changes are asked for, `seen`, the latest change of the pull at hand, `at`, the
    instant of its first reply by the other side's clock, where the next page is (`link`, `cursor`, `n`), `last`, what
    the row before it is known by, and `anew`, how often pages were read from the first on.
    """

    of: Rest

    def pull(self, stream: str, cursor: _Data | None, reach: Reach) -> Page:
        """The next page; see `connector.Source`."""
        list_, here = self.of.pull[stream], dict(cursor or {})
        reply = reach(self._call(list_, here))
        rows = _rows(list_, said(reply))
        is_same, own = self._is_where_it_was(list_, here, rows, reach)
        read = [_row(list_, row) for row in own if list_.only is None or list_.only.holds(row)]
        here["seen"] = _latest([here.get("seen"), *(_changed(row) for row in read)])
        here.setdefault("at", _date(reply))
        if not is_same:
            if here.get("anew", 0) >= _MOST_ANEW:
                raise Broken(f"rows come and go between pages faster than they are read {_MOST_ANEW} times over")
            kept = {key: value for key, value in here.items() if key in ("since", "seen", "at")}
            return _page(list_, read, kept | {"anew": here.get("anew", 0) + 1}, is_last=False)
        following = self._following(list_, here, reply, rows, n_own=len(own))
        if following is not None:
            kept = {key: here[key] for key in ("since", "seen", "at", "anew") if here.get(key) is not None}
            return _page(list_, read, kept | following, is_last=False)
        return _page(list_, read, _resumed(list_, here, reply), is_last=True)

    def _call(self, list_: RestStream, here: _Data) -> Call:
        headers = {"accept": "application/json", **self.of.headers}
        if "link" in here:
            return Call("GET", here["link"], headers)
        query = dict(list_.query)
        if list_.since is not None and here.get("since") is not None:
            query[list_.since.parameter] = _written(here["since"], list_.since)
        paging = list_.paging
        if isinstance(paging, ByCursor) and "cursor" in here:
            query[paging.parameter] = here["cursor"]
        elif isinstance(paging, ByPage):
            query |= {paging.page: str(here.get("n", paging.first)), **paging.sized}
        elif isinstance(paging, ByOffset):
            query |= {paging.offset: str(here.get("n", 0)), **paging.sized}
        return Call("GET", list_.path, headers, query=query)

    def _is_where_it_was(
        self, list_: RestStream, here: _Data, rows: Sequence[Any], reach: Reach
    ) -> tuple[bool, Sequence[Any]]:
        """Whether the row before a page is still the one that was there, and the page's own rows."""
        paging = list_.paging
        if "last" not in here:
            return True, rows
        if isinstance(paging, ByOffset):
            return bool(rows) and _known_by(list_, rows[0]) == here["last"], rows[1:]
        assert isinstance(paging, ByPage), paging  # no other keeps the last row
        before = self._call(list_, {**here, "n": here["n"] - 1})
        again = _rows(list_, said(reach(before)))
        return bool(again) and _known_by(list_, again[-1]) == here["last"], rows

    def _following(
        self, list_: RestStream, here: _Data, reply: Reply, rows: Sequence[Any], *, n_own: int
    ) -> dict[str, Any] | None:
        """Where the next page is; None after the last one."""
        paging = list_.paging
        if isinstance(paging, ByPage | ByOffset):
            if not n_own:
                return None
            n = here.get("n", paging.first if isinstance(paging, ByPage) else 0)
            step = 1 if isinstance(paging, ByPage) else len(rows) - 1
            return {"n": n + step, "last": _known_by(list_, rows[-1])}
        if isinstance(paging, ByCursor):
            token = _text(_at(reply.said, paging.cursor))
            return {"cursor": token} if token else None
        if isinstance(paging, ByLink):
            link = _linked(reply) if paging.link == "header" else _at(reply.said, paging.link)
            return {"link": self._whole(list_, link)} if isinstance(link, str) and link else None
        return None

    def _whole(self, list_: RestStream, link: str) -> str:
        """A link as a whole address; where it leads to another server, the call is not made."""
        return urljoin(f"{self.of.url}/{list_.path.lstrip('/')}", link)


def _resumed(list_: RestStream, here: _Data, reply: Reply) -> dict[str, Any]:
    """Where the next pull begins."""
    paging = list_.paging
    if isinstance(paging, ByLink) and paging.resume is not None:
        link = _at(reply.said, paging.resume)
        if not isinstance(link, str) or not link:
            raise Broken(f"the last page has no link at {paging.resume}, with which the next pull would begin")
        return {"link": link}
    if list_.since is None:
        return {}
    # Not later than the other side's clock at the beginning: a row from the future would hide all that come before it.
    latest = _latest([here.get("seen"), here.get("since")])
    bounds = [one for one in (latest, here.get("at")) if one is not None]
    return {} if latest is None else {"since": min(bounds)}


def _page(list_: RestStream, read: Sequence[_Data], cursor: _Data, *, is_last: bool) -> Page:
    return Page(**{list_.rows: read}, cursor=cursor, is_last=is_last)


def _rows(list_: RestStream, body: Any) -> Sequence[Any]:
    found = body if list_.items is None else _at(body, list_.items)
    if not isinstance(found, list):
        raise Broken(f"there is no list at {list_.items or 'the top'} of its reply")
    return found


def _row(list_: RestStream, row: Any) -> dict[str, Any]:
    """A row in our words; what cannot be read is left as it is, so that the row is refused for it."""
    inside: dict[str, Any] = {}
    made: dict[str, Any] = {_INSIDE[list_.rows]: inside}
    for path, name in list_.columns.items():
        value = _at(row, path)
        if name not in _OURS[list_.rows]:
            if value is not None or list_.rows != "events":
                inside[name] = value
        elif name in ("occurred_at", "changed_at"):
            made[name] = _instant(value, list_)
        elif name in ("contact", "product"):
            made[name] = _text(value)
        elif value is not None:
            made[name] = value
    if list_.rows == "events":
        if list_.event is not None:
            made["event"] = list_.event
        made["id"] = _known_by(list_, row)
    if list_.rows == "products":
        made["gone"] = list_.gone is not None and list_.gone.holds(row)
    return made


def _known_by(list_: RestStream, row: Any) -> str | None:
    """What a row is known by, from page to page; None where it lacks that."""
    key = _KEYS[list_.rows]
    paths = list_.id or [path for path, name in list_.columns.items() if name == key]
    parts = [_text(_at(row, path)) for path in paths]
    return None if None in parts else "/".join(part for part in parts if part is not None)


def _at(data: Any, path: str) -> Any:
    """What stands at a path; None where nothing does."""
    for part in path.split("."):
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, list) and part.isdigit() and int(part) < len(data):
            data = data[int(part)]
        else:
            return None
    return data


def _text(value: Any) -> str | None:
    """A text, or a whole number or flag as one."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else None


def _instant(value: Any, list_: RestStream) -> Any:
    """An instant as ISO 8601 text in UTC; what is none stays as it is."""
    if value is None:
        return None
    try:
        if list_.times != "iso":
            microseconds = round(float(value) * (1e6 if list_.times == "epoch" else 1e3))
            return instant(microseconds).isoformat()
        at = datetime.fromisoformat(value)
        return (at if at.tzinfo is not None else _zoned(at, list_.timezone)).astimezone(UTC).isoformat()
    except (TypeError, ValueError, OverflowError):
        return value


def _zoned(at: datetime, zone: str | None) -> datetime:
    """A time in a zone (rule 3).

    Raises:
        ValueError: when no zone is known, or it occurs twice there.
    """
    import pyarrow as pa

    from journeylab.instants import instants
    from journeylab.rejects import Rejects

    if zone is None:
        raise ValueError("no zone")
    found = instants(pa.chunked_array([[at]]), "time", zone, Rejects("a row"))
    return instant(found[0].as_py())


def _changed(row: _Data) -> str | None:
    """When a row changed, as ISO 8601 text in UTC, if it says so in a way that is understood."""
    at = row.get("changed_at", row.get("occurred_at"))
    try:
        return at if isinstance(at, str) and datetime.fromisoformat(at).utcoffset() == timedelta(0) else None
    except ValueError:
        return None


def _latest(instants: Iterable[str | None]) -> str | None:
    known = [one for one in instants if one is not None]
    return max(known, key=datetime.fromisoformat, default=None)


def _date(reply: Reply) -> str | None:
    """The instant of a reply by the other side's clock (RFC 9110, 6.6.1)."""
    try:
        at = parsedate_to_datetime(reply.headers["date"])
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        return None


def _written(since: str, how: Since) -> str:
    at = datetime.fromisoformat(since) - how.overlap
    if how.format == "iso":
        return at.isoformat().replace("+00:00", "Z")
    return str(int(at.timestamp() * (1 if how.format == "epoch" else 1000)))


def _linked(reply: Reply) -> str | None:
    """The link to the next page in the header `Link` (RFC 8288)."""
    for one in re.split(r",\s*(?=<)", reply.headers.get("link", "")):
        link = _LINK.match(one)
        rel = _REL.search(link[2]) if link else None
        if link and rel and "next" in (rel[1] or rel[2] or "").lower().split():
            return link[1]
    return None
