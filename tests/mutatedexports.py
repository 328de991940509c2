"""Exports as nobody exports them: keys gone, values of other types, ids that lead nowhere or in a circle."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from importing import exports
from journeylab.errors import DefinitionError
from journeylab.importers import import_journeys
from journeylab.importers.conversion import Imported

ODD = st.sampled_from([
    None, True, False, 0, -1, 3, 2**70, 1.5, 1e300, "", " ", "0", "-7", "nan", "inf", "1e999", "yes", "no", "entry",
    "' or '", '"', "\\", "\u202e", "Ü", "x" * 5000, [], [[]], [None], [1, "a"], {}, {"a": None}, "2026-13-45", "25:61",
])  # fmt: skip


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value inside."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def at(data: Any, path: tuple[Any, ...]) -> Any:
    """The value at a place."""
    for key in path:
        data = data[key]
    return data


@cache
def samples(system: str) -> list[Any]:
    """The exports of a system that are JSON."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in exports(system) if path.suffix == ".json"]


@st.composite
def mutated(draw: st.DrawFn, system: str) -> Any:
    """An export of a system with one to three values deleted, replaced, or exchanged with others of its own."""

    def one_of(listed: list[Any]) -> Any:
        return listed[draw(st.integers(0, 10**6)) % len(listed)]

    data = copy.deepcopy(one_of(samples(system)))
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(data))
        if not found:
            break
        *above, key = one_of(found)
        holder = at(data, tuple(above))
        what = draw(st.sampled_from(["delete", "replace", "exchange"]))
        if what == "delete":
            del holder[key]
        elif what == "replace":
            holder[key] = draw(ODD)
        else:
            holder[key] = copy.deepcopy(at(data, one_of(found)))
    return data


def told(data: Any, system: str, folder: Path) -> Imported | list[str]:
    """The journeys of an export, or the faults that it is refused with."""
    path = folder / "export.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    try:
        made = import_journeys(path, system)
    except DefinitionError as problem:
        faults = [str(fault) for fault in problem.faults]
    else:
        assert made.text()
        return made
    assert faults
    return faults
