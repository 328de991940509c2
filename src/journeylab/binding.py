"""What a program needs of a log: its names as indices, its columns as arrays, the world to run in.

`LogNames` resolves the names of a portfolio while it is compiled and then makes the `World`. What it prepares of a log
(filtered streams, columns with one code for equal texts) is kept with the log, so that the next replay finds it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from . import conditions as c
from . import layout as o
from .clock import NEVER, Zones, instant, zones
from .keyedhash import unit_hashes
from .machine import new_out, new_state, select_events
from .postfix import Postfix, TypeFault
from .program import RESPONSES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .eventlog import EventLog

__all__ = ["LogNames", "bare_program", "no_answers"]

_AROUND = timedelta(days=400)


class Stream(NamedTuple):
    """The events of one name that meet a condition: by contact, in their order."""

    offsets: NDArray[np.int64]
    at: NDArray[np.int64]
    row: NDArray[np.int64]


class AsOf(NamedTuple):
    """A value of every contact and its changes; no changes where `offsets` is empty."""

    kind: str
    base: NDArray[np.float64]
    offsets: NDArray[np.int64]
    at: NDArray[np.int64]
    row: NDArray[np.int64]
    value: NDArray[np.float64]


@dataclass
class _Prepared:
    """What was made of a log for earlier programs."""

    codes: dict[str, int] = field(default_factory=dict)
    streams: dict[tuple[str, c.Tree | None], Stream] = field(default_factory=dict)
    properties: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    attributes: dict[str, AsOf] = field(default_factory=dict)
    zones: dict[tuple[Sequence[str], int, int], Zones] = field(default_factory=dict)


_PREPARED: WeakKeyDictionary[EventLog, _Prepared] = WeakKeyDictionary()
_NO_INTS, _NO_FLOATS = np.empty(0, np.int64), np.empty(0, np.float64)


def _ints(values: Any) -> NDArray[np.int64]:
    return np.ascontiguousarray(values, np.int64)


def _floats(values: Any) -> NDArray[np.float64]:
    return np.ascontiguousarray(values, np.float64)


def _address(array: NDArray[Any]) -> int:
    return int(array.ctypes.data) if array.size else 0


def no_answers() -> dict[str, NDArray[Any]]:
    """The answers of a world that was not asked yet."""
    return {"answer_offsets": _NO_INTS, "answers": np.empty((0, 5), np.int64), "answers_x": _NO_FLOATS}


def bare_program(postfix: Postfix, zone: int = 0) -> o.Program:
    """A program of conditions alone; local time in them is that of `zone` for contacts without one (rule 3)."""
    journeys = np.full((1, o.J_COLUMNS), o.NONE)
    journeys[0, o.J_ZONE] = zone
    empty = {name: np.empty((0, 2), np.int64) for name in o.Program._fields}
    return o.Program(
        **empty
        | {
            "journeys": journeys,
            "journeys_x": np.zeros((1, o.JX_COLUMNS)),
            "nodes": np.empty((0, o.N_COLUMNS), np.int64),
            "edges": _NO_INTS,
            "assigned_x": _NO_FLOATS,
            "arms_x": _NO_FLOATS,
            "bests_x": _NO_FLOATS,
            "suppressions": _NO_INTS,
            "features": _NO_INTS,
            "sizes": np.zeros(o.N_SIZES, np.int64),
        }
        | postfix.tables()
    )


class LogNames:
    """The names of an event log, as `postfix.Names` asks for them, and the world made of those that were used."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self._kept = _PREPARED.setdefault(log, _Prepared())
        self._declared: dict[str, bool | float | str] = {}
        self._declared_properties: dict[str, bool | float | str] = {}
        self._streams: dict[tuple[str, c.Tree | None], int] = {}
        self._properties: dict[str, int] = {}
        self._attributes: dict[str, int] = {}
        self._zone_attribute = o.NONE
        self._units: dict[str, str] = {}
        self._scores: dict[str, int] = {}
        self._own: list[tuple[str, Mapping[str, bool | float | str]]] = []
        self._zones: dict[str, int] = {}

    # Names

    @cached_property
    def attribute_names(self) -> Sequence[str]:
        """The attributes that the log has or the program sets."""
        return sorted({*self.log.attribute_names, *self._declared})

    @cached_property
    def property_names(self) -> Sequence[str]:
        """The properties that the log has or the program emits."""
        return sorted({*self.log.property_names, *self._declared_properties})

    def declare(
        self, attributes: Mapping[str, bool | float | str], properties: Mapping[str, bool | float | str]
    ) -> None:
        """Makes known what the program itself will set and emit; to be called before names are asked for."""
        self._declared.update(attributes)
        self._declared_properties.update(properties)
        for name in ("attribute_names", "property_names"):
            self.__dict__.pop(name, None)

    def expect(self, properties: Collection[str]) -> None:
        """Makes known which properties will be asked for; a message's own events need its name where there are any."""
        has_messages = set(self.log.event_names) & {"sent", *RESPONSES}
        self.log.load({*properties, *(("message",) if has_messages else ())})

    def text(self, value: str) -> float:
        """The code of a text, the same in every attribute and property of the log."""
        return float(self._kept.codes.setdefault(value, len(self._kept.codes)))

    def _text_codes(self, categories: Sequence[str]) -> NDArray[np.float64]:
        """The common codes of some texts, and NaN behind them for a missing one, whose place is -1."""
        return np.array([*(self.text(text) for text in categories), np.nan])

    def _coded(self, kind: str, categories: Sequence[str] | None, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """An attribute's values, whose texts have the log's common codes."""
        if kind != "text":
            return _floats(values)
        return self._text_codes(categories or ())[np.where(np.isnan(values), -1, values).astype(np.int64)]

    def event_property(self, name: str) -> tuple[int, str]:
        """The index and kind of a property; one that nothing has is missing everywhere, of unknown kind."""
        index = self._properties.setdefault(name, len(self._properties))
        is_logged = name in self.log.property_names
        return index, self.log.property(name).kind if is_logged else _kind_of(self._declared_properties.get(name))

    def _property(self, name: str) -> NDArray[np.float64]:
        """A property's values by row, as the machine reads them; empty where the log has none."""
        if name not in self._kept.properties:
            column = self.log.property(name) if name in self.log.property_names else None
            if column is None:
                self._kept.properties[name] = _NO_FLOATS
            elif column.categories is None:
                self._kept.properties[name] = _floats(column.values)
            else:
                self._kept.properties[name] = self._text_codes(column.categories)[column.held]
        return self._kept.properties[name]

    def attribute(self, name: str) -> tuple[int, str]:
        """The index and kind of an attribute."""
        index = self._attributes.setdefault(name, len(self._attributes))
        return index, self._as_of(name).kind

    def _as_of(self, name: str) -> AsOf:
        if name not in self.log.attribute_names:
            base = np.full(self.log.n_contacts, np.nan)
            kind = "text" if name == "timezone" else _kind_of(self._declared.get(name))
            return AsOf(kind, base, _NO_INTS, _NO_INTS, _NO_INTS, _NO_FLOATS)
        if name not in self._kept.attributes:
            found = self.log.attribute(name)
            base = self._coded(found.kind, found.categories, found.base)
            value = self._coded(found.kind, found.categories, found.value)
            offsets, at, row = (found.offsets, found.at, found.row) if len(value) else (_NO_INTS,) * 3
            self._kept.attributes[name] = AsOf(found.kind, base, _ints(offsets), _ints(at), _ints(row), value)
        return self._kept.attributes[name]

    def zone_attribute(self) -> int:
        """The index under which the machine keeps every contact's time zone."""
        if self._zone_attribute == o.NONE:
            self._zone_attribute = self._attributes.setdefault("(time zone)", len(self._attributes))
        return self._zone_attribute

    def unit_attribute(self, name: str) -> int:
        """The index under which the machine keeps an attribute's values as codes of texts, numbers as their decimals.

        Raises:
            TypeFault: when its values are no texts and no whole numbers.
        """
        found = self._as_of(name)
        if found.kind not in ("text", "number", "unknown"):
            raise TypeFault(
                f"attribute {name!r} is a {found.kind} in this log; a unit is a text or a whole number (rule 22)"
            )
        if found.kind == "number":
            for values in (found.base, found.value):
                odd = values[~np.isnan(values) & ((np.trunc(values) != values) | (np.abs(values) > 2**53))]
                if len(odd):
                    raise TypeFault(
                        f"attribute {name!r} has {odd[0]:g} in this log; a unit is a text or a whole number (rule 22)"
                    )
        key = name if found.kind == "text" else f"(unit) {name}"
        self._units[key] = name
        return self._attributes.setdefault(key, len(self._attributes))

    @property
    def unit_texts(self) -> Sequence[str]:
        """The texts by the codes that units have in entries."""
        return list(self._kept.codes)

    def _unit_values(self, name: str) -> AsOf:
        """An attribute of whole numbers with the codes of their decimals for them."""
        key = f"(unit) {name}"
        if key not in self._kept.attributes:
            found = self._as_of(name)
            numbers = np.unique(np.concatenate([found.base, found.value]))
            numbers = numbers[~np.isnan(numbers)]
            codes = self._text_codes([str(one) for one in numbers.astype(np.int64).tolist()])
            base, value = (_floats(codes[np.searchsorted(numbers, values)]) for values in (found.base, found.value))
            self._kept.attributes[key] = found._replace(kind="text", base=base, value=value)
        return self._kept.attributes[key]

    def zone(self, name: str) -> int:
        """The index of a time zone."""
        return self._zones.setdefault(name, len(self._zones))

    def score(self, name: str) -> int:
        """The index of a score."""
        return self._scores.setdefault(name, len(self._scores))

    def own_event(self, event: str, properties: Mapping[str, bool | float | str]) -> int:
        """The index of a new kind of event that the program makes."""
        for name in properties:
            self._properties.setdefault(name, len(self._properties))
        self._own.append((event, properties))
        return len(self._own) - 1

    def stream(self, event: str, where: c.Tree | None = None) -> int:
        """The index of the events of a name that meet a condition on their properties."""
        if (event, where) not in self._kept.streams:
            if where is None:
                found = self.log.stream(event)
            else:
                found = self.log.stream_where(event, lambda rows: self._meeting(where, rows))
            self._kept.streams[event, where] = Stream(*(_ints(array) for array in found))
        return self._streams.setdefault((event, where), len(self._streams))

    @property
    def stream_arrays(self) -> Sequence[Stream]:
        """The streams that were asked for, by their index, as the machine walks them."""
        return [self._kept.streams[key] for key in self._streams]

    def _meeting(self, where: c.Tree, rows: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Which events of the log meet a condition; on one text alone it is judged once for each text."""
        names = {part.name for part in c.walk(where) if isinstance(part, c.Property)}
        if len(rows) and len(names) == 1 and names <= {*self.log.property_names}:
            (name,) = names
            column = self.log.property(name)
            if column.categories is not None:
                texts = self._text_codes(column.categories)
                judged = self._judged(where, np.arange(len(texts)), {name: texts})
                # A missing text has the place -1: the last one.
                meets: NDArray[np.bool_] = judged.take(column.held[rows], mode="wrap")
                return meets
        return self._judged(where, rows.astype(np.int64), {})

    def _judged(
        self, where: c.Tree, rows: NDArray[np.int64], columns: Mapping[str, NDArray[np.float64]]
    ) -> NDArray[np.bool_]:
        """Which events meet a condition, by the machine's own evaluation; `columns` stand for the log's properties."""
        keep = np.zeros(len(rows), np.bool_)
        if not len(rows):
            return keep
        postfix = Postfix(self, past=True)
        condition = postfix.condition(where, (), {}, {})
        if postfix.faults:
            raise TypeFault(postfix.faults[0].message)
        program = bare_program(postfix)
        state = new_state(program, max(1, len(self._own)))
        for kind in range(len(self._own)):
            state.own[kind, 1] = kind
        world = self._world({}, program.code, columns)
        select_events(program, world, state, new_out(program, 0), condition, rows, keep)
        return keep

    # The world

    def has_events(self, event: str, where: c.Tree | None = None) -> bool:
        """Whether the log has any event of a name that meets a condition."""
        self.stream(event, where)
        return len(self._kept.streams[event, where].at) > 0

    @property
    def event_names(self) -> Sequence[str]:
        """The names of the events that the program asks for."""
        return sorted({event for event, _ in self._streams})

    @property
    def streams(self) -> list[tuple[str, c.Tree | None]]:
        """The events that the program asks for, with the condition on their properties, by their index."""
        return list(self._streams)

    @property
    def properties(self) -> list[str]:
        """The properties that the program asks for, by their index."""
        return list(self._properties)

    @property
    def attributes(self) -> list[str]:
        """The attributes that the program asks for, by their index, those of units by what they are."""
        return [self._units.get(name, name) for name in self._attributes]

    @property
    def score_names(self) -> Sequence[str]:
        """The scores that the program asks for, by their index."""
        return list(self._scores)

    def _own_values(self) -> NDArray[np.float64]:
        values = np.full((len(self._own), len(self._properties)), np.nan)
        for kind, (_, properties) in enumerate(self._own):
            for name, value in properties.items():
                values[kind, self._properties[name]] = self.text(value) if isinstance(value, str) else float(value)
        return values

    def _own_streams(self) -> NDArray[np.uint8]:
        """Which streams each kind of own event belongs to, by the conditions of the streams."""
        belongs = np.zeros((len(self._own), len(self._streams)), np.uint8)
        for (event, where), index in self._streams.items():
            mine = [kind for kind, (name, _) in enumerate(self._own) if name == event]
            if mine:
                rows = o.OWN_ROW + np.array(mine, np.int64)
                nothing = dict.fromkeys(self._properties, _NO_FLOATS)
                belongs[mine, index] = 1 if where is None else self._judged(where, rows, nothing)
        return belongs

    def _zone_values(self) -> AsOf:
        """The `timezone` attribute with zones' indices for texts."""
        found = self._as_of("timezone")
        texts = list(self._kept.codes)
        index = np.full(len(texts) + 1, np.nan)
        for values in (found.base, found.value):
            for code in np.unique(values[~np.isnan(values)]).astype(np.int64):
                index[code] = self.zone(texts[code])
        base, value = (
            index[np.where(np.isnan(values), len(index) - 1, values).astype(np.int64)]
            for values in (found.base, found.value)
        )
        return found._replace(base=_floats(base), value=_floats(value))

    def world(
        self, code: NDArray[np.int64], *, until_us: int, match_us: int, scores: Mapping[str, AsOf], **more: Any
    ) -> tuple[o.World, list[Any]]:
        """The world of the names used so far, and the arrays that must be kept alive with it.

        `code` is the program's: of the properties, only those that it reads are there.
        """
        kept: list[Any] = []
        if "timezone" in self.log.attribute_names:
            self.zone_attribute()
        units = {key: name for key, name in self._units.items() if key != name}
        named = {name: self._as_of(name) for name in self._attributes if name not in ("(time zone)", *units)}
        named |= {key: self._unit_values(name) for key, name in units.items()}
        if self._zone_attribute != o.NONE:
            named["(time zone)"] = self._zone_values()
        # Judging own events makes known what properties the conditions of streams read: then they can be counted.
        own_streams = self._own_streams()
        low, high = min(self.log.start_us, until_us), max(self.log.end_us, until_us)
        key = (tuple(self._zones), low, high)
        if key not in self._kept.zones:
            self._kept.zones[key] = zones(list(self._zones), instant(low) - _AROUND, instant(high) + _AROUND)
        limits = np.zeros(o.L_COLUMNS, np.int64)
        limits[o.L_START], limits[o.L_LOG_END], limits[o.L_UNTIL] = self.log.start_us, self.log.end_us, until_us
        limits[o.L_BEFORE] = limits[o.L_MATCH] = match_us
        limits[o.L_ZONE_ATTRIBUTE] = self._zone_attribute
        limits[o.L_ASK_FROM] = NEVER
        limits[o.L_STREAMS], limits[o.L_PROPERTIES] = len(self._streams), len(self._properties)
        given = {
            "attributes": self._table([named[name] for name in self._attributes], kept),
            "scores": self._table([scores.get(name) for name in self._scores], kept),
            "own_streams": own_streams.ravel(),
            "own_values": self._own_values().ravel(),
            "zones": self._kept.zones[key],
            "unit_values": self._unit_hashes(),
            "limits": limits,
        }
        return self._world(given | more, code, {}), kept

    def _unit_hashes(self) -> NDArray[np.uint64]:
        """The unit hash of each text, empty when no attribute is a unit."""
        import pyarrow as pa

        return unit_hashes(pa.array(self.unit_texts if self._units else [], pa.large_string()))

    def _table(self, columns: Sequence[AsOf | None], kept: list[Any]) -> NDArray[np.int64]:
        kept.extend(columns)
        rows = [[0] * 5 if one is None else [_address(array) for array in one[1:]] for one in columns]
        return np.array(rows, np.int64).reshape(len(columns), 5)

    def _world(
        self, given: Mapping[str, Any], code: NDArray[np.int64], columns: Mapping[str, NDArray[np.float64]]
    ) -> o.World:
        streams = [[_address(array) for array in one] if len(one.at) else [0, 0, 0] for one in self.stream_arrays]
        is_read = _properties_read(code)
        properties = [
            _address(columns[name] if name in columns else self._property(name)) if index in is_read else 0
            for name, index in self._properties.items()
        ]
        limits = np.zeros(o.L_COLUMNS, np.int64)
        limits[o.L_PROPERTIES] = len(self._properties)
        nothing: dict[str, Any] = {
            "attributes": np.empty((0, 5), np.int64),
            "scores": np.empty((0, 5), np.int64),
            "own_streams": np.empty(0, np.uint8),
            "own_values": self._own_values().ravel(),
            "zones": Zones(_NO_INTS, _NO_INTS, _NO_INTS),
            "units": np.empty(0, np.uint64),
            "unit_values": np.empty(0, np.uint64),
            "first_at": _NO_INTS,
            "ranks": np.empty((0, o.WEEK), np.uint8),
            "rank_rows": _NO_INTS,
            "asked_calls": np.empty(0, np.uint8),
            "limits": limits,
            **no_answers(),
        }
        return o.World(
            streams=np.array(streams, np.int64).reshape(len(streams), 3),
            properties=np.array(properties, np.int64),
            **nothing | dict(given),
        )


def _properties_read(code: NDArray[np.int64]) -> set[int]:
    """The indices of the properties that postfix operations read."""
    operation = code[:, 0]
    of_one = np.isin(operation, (o.EVENT_PROPERTY, o.ENTRY_PROPERTY))
    of_many = np.isin(operation, (o.SUM, o.MEAN, o.MIN, o.MAX, o.LAST_VALUE))
    return {*code[of_one, 1].tolist(), *code[of_many, 2].tolist()}


def _kind_of(value: bool | float | str | None) -> str:
    """The kind of a value that a program sets or emits."""
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, str):
        return "text"
    return "unknown" if value is None else "number"
