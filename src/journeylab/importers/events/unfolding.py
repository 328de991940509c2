"""Flat rows of nested JSON: objects in objects become columns `a.b`, lists stay JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

__all__ = ["TABLE", "flat", "json_text", "records", "unfolding"]

TABLE: Final = "\0table"
"""The key under which an unfolded row may say the name of its table."""
_LISTS: Final = ("results", "items", "elements", "data", "events", "records", "rows")
"""Under which key the answers of an API have their rows."""


def json_text(value: Any) -> str:
    """A list or an object as a text that is the same for the same data.

    >>> json_text({"b": 1, "a": [True]})
    '{"a":[true],"b":1}'
    """
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)


def flat(row: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The values of an object by their paths; lists as JSON, empty ones and empty texts as None.

    >>> flat({"user": {"id": 7, "name": ""}, "tags": ["a"]})
    {'user.id': 7, 'user.name': None, 'tags': '["a"]'}
    """
    found: dict[str, Any] = {}
    for name, value in row.items():
        path = f"{before}{name}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{path}.")
        elif isinstance(value, list | tuple):
            found[path] = json_text(value) if value else None
        else:
            found[path] = None if value == "" else value
    return found


def records(data: Any, *marks: str) -> Iterator[Mapping[str, Any]]:
    """The objects of a document: of a list, or of the one list that an API's answer has its rows in.

    Args:
        data: a document, or one of its rows.
        marks: keys that rows have and answers have not.

    Raises:
        ValueError: when there is something else in it.

    >>> list(records({"results": [{"id": 1}], "paging": {}}, "id")), list(records({"id": 1, "items": []}, "id"))
    ([{'id': 1}], [{'id': 1, 'items': []}])
    """
    if isinstance(data, Mapping):
        inside = [key for key in _LISTS if isinstance(data.get(key), list)]
        if not inside or any(mark in data for mark in marks):
            yield data
            return
        data = data[inside[0]]
    if not isinstance(data, list):
        raise ValueError("is no object and no list of objects")
    for one in data:
        if not isinstance(one, Mapping):
            raise ValueError("has something in its list that is no object")
        yield one


def unfolding(*marks: str) -> Callable[[Any], Iterator[dict[str, Any]]]:
    """What makes flat rows of a document or a line; see `records`."""

    def unfold(data: Any) -> Iterator[dict[str, Any]]:
        for row in records(data, *marks):
            yield flat(row)

    return unfold
