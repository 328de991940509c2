"""The form of a journey: plain data to `Journey`, or every fault of its keys and values in words an author can act on.

Faults of meaning (targets, graph, conditions) are found by `check`.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .errors import Fault, known, listed
from .journey import VERBS, Exit, Journey, Node, Segment, Trigger
from .yamlsource import Document, Path

__all__ = ["Form", "form_of", "part_of", "segments_of"]

P = TypeVar("P", bound=BaseModel)

_SHAPES = {
    "at": 'best, {best: MODEL}, or a window such as {between: ["09:00", "17:00"]}',
    "between": 'two local times, such as ["09:00", "17:00"]',
    "days": "a list of weekdays, such as [mon, tue]",
    "decide": "a list of {if, go}",
    "emit": "the name of an event, or {event, with}",
    "exit_when": "a list of {event, where, goal}",
    "journey": "a name",
    "nodes": "a mapping of names to nodes",
    "segments": "a mapping of names to segments",
    "split": "a mapping of nodes to shares, such as {a: 50%, b: 50%}",
    "wait_for": "what is awaited, or a list of {await, go}",
    "weights": "a list of {when, weight}",
}
_KINDS = {
    "bool_parsing": "true or false", "bool_type": "true or false", "dict_type": "a mapping",
    "float_parsing": "a number", "float_type": "a number", "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number", "list_type": "a list", "mapping_type": "a mapping", "model_type": "a mapping",
    "string_type": "a text", "tuple_type": "a list",
}  # fmt: skip


@dataclass
class Form:
    """A journey whose form was read from `data`.

    `journey` has a stand-in for what is at fault, so that the rest can be checked, and is missing where too little is
    left; `unclear` names the nodes at fault.
    """

    data: Any
    journey: Journey | None
    faults: list[Fault] = field(default_factory=list)
    unclear: frozenset[str] = frozenset()


def form_of(data: Any, document: Document, prefix: Path = ()) -> Form:
    """The form of the journey that lies at `prefix` of a document."""
    if not isinstance(data, Mapping):
        return Form(
            data, None, [document.fault(prefix, "a journey is a mapping with `journey`, `trigger` and `nodes`")]
        )
    faults: list[Fault] = []
    unclear: set[str] = set()
    rest = dict(data)
    if isinstance(rest.get("nodes"), Mapping):
        nodes = {name: _node(one, document, (*prefix, "nodes", name)) for name, one in rest["nodes"].items()}
        rest["nodes"] = {name: Exit(exit="") if node is None else node for name, (node, _) in nodes.items()}
        unclear = {str(name) for name, (node, _) in nodes.items() if node is None}
        faults += [fault for _, found in nodes.values() for fault in found]
    if isinstance(rest.get("segments"), Mapping):
        rest["segments"], found = segments_of(rest["segments"], document, (*prefix, "segments"))
        faults += found
    journey, found = part_of(Journey, rest, document, prefix, "a journey")
    if found:
        journey = _without(rest, {fault.path[len(prefix)] for fault in found if len(fault.path) > len(prefix)})
    return Form(data, journey, faults + found, frozenset(unclear))


def segments_of(data: Any, document: Document, path: Path) -> tuple[dict[str, Segment], list[Fault]]:
    """The segments that plain data gives, with a stand-in for each that is at fault, and the faults."""
    if not isinstance(data, Mapping):
        return {}, [document.fault(path, f"segments is {_SHAPES['segments']}; got {_shown(data)}")]
    parts = {str(name): _segment(one, document, (*path, name)) for name, one in data.items()}
    segments = {name: Segment(condition="true") if part is None else part for name, (part, _) in parts.items()}
    return segments, [fault for _, found in parts.values() for fault in found]


def part_of(model: type[P], data: Any, document: Document, path: Path, what: str) -> tuple[P | None, list[Fault]]:
    """The part of a definition that plain data gives; or None and its faults, unknown keys at any depth among them."""
    faults: list[Fault] = []
    if isinstance(data, Mapping):
        faults = _unknown_keys(model, data, path, document, what)
        data = {key: value for key, value in data.items() if key in _keys(model)}
    try:
        part = model.model_validate(data)
    except ValidationError as error:
        # Whose model is found out by what stands in it (`kind: …`), its unknown keys pydantic alone knows.
        by_kind = {info.alias or name for name, info in model.model_fields.items() if not _models_in(info.annotation)}
        return None, faults + _translated(error.errors(include_url=False), data, document, path, what, by_kind)
    return (None if faults else part), faults


def _without(data: dict[str, Any], bad: Set[str | int]) -> Journey | None:
    """The journey without the keys at fault, with stand-ins where they are needed; None where too little is left."""
    rest = {key: value for key, value in data.items() if key not in bad}
    rest |= {"journey": rest.get("journey", "nameless"), "trigger": rest.get("trigger", Trigger(event="unknown"))}
    try:
        return Journey.model_validate(rest)
    except ValidationError:
        return None


def _node(data: Any, document: Document, path: Path) -> tuple[Node | None, list[Fault]]:
    if not isinstance(data, Mapping):
        return None, [document.fault(path, "a node is a mapping with one verb, such as {send: welcome, next: done}")]
    verbs = [key for key in data if key in VERBS]
    if len(verbs) > 1:
        return None, [document.fault(path, f"a node has one verb, not both {' and '.join(verbs)}")]
    if not verbs:
        first = str(next(iter(data), ""))
        return None, [document.fault(path, f"a node needs a verb; {known(first, VERBS, 'verbs')}")]
    return part_of(VERBS[verbs[0]], data, document, path, verbs[0])


def _segment(data: Any, document: Document, path: Path) -> tuple[Segment | None, list[Fault]]:
    if not isinstance(data, Mapping | str):
        return None, [document.fault(path, "a segment is a condition, or {weights: [{when, weight}], bias}")]
    return part_of(Segment, data, document, path, "a segment")


def _keys(model: type[BaseModel]) -> set[str]:
    return {info.alias or name for name, info in model.model_fields.items() if not info.exclude}


def _unknown_keys(
    model: type[BaseModel], data: Mapping[str, Any], path: Path, document: Document, what: str
) -> list[Fault]:
    """A fault for each key, at any depth, that the model does not have under that name in files."""
    faults = [
        document.fault((*path, key), f"{what} has no {key!r}; {known(str(key), _keys(model), 'keys')}", at_key=True)
        for key in data
        if key not in _keys(model)
    ]
    for name, info in model.model_fields.items():
        key = info.alias or name
        models = [one for one in _models_in(info.annotation) if one not in (Node, Journey, Segment)]
        value = data.get(key)
        for i, part in _parts(value, is_by_name=get_origin(info.annotation) is dict):
            if models and isinstance(part, Mapping):
                here = (*path, key) if i is None else (*path, key, i)
                faults += _unknown_keys(_meant(models, part), part, here, document, key)
    return faults


def _parts(value: Any, *, is_by_name: bool) -> list[tuple[str | int | None, Any]]:
    """The parts of a key's value, each with its index or name; the value itself, without, where it is one part."""
    if isinstance(value, list | tuple):
        return [*enumerate(value)]
    return [*value.items()] if is_by_name and isinstance(value, Mapping) else [(None, value)]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models among the alternatives of an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _meant(models: list[type[BaseModel]], data: Mapping[str, Any]) -> type[BaseModel]:
    """The alternative whose keys the data has: all that it needs, else the most of them."""

    def fit(model: type[BaseModel]) -> tuple[bool, int]:
        needed = {info.alias or name for name, info in model.model_fields.items() if info.is_required()}
        return needed <= data.keys(), len(_keys(model) & data.keys())

    return max(models, key=fit)


def _translated(
    errors: list[ErrorDetails], data: Any, document: Document, path: Path, what: str, by_kind: Set[str]
) -> list[Fault]:
    """One fault for each place that pydantic complains about, alternatives that were not meant left out.

    Unknown keys are told already, but those of parts `by_kind`.
    """
    by_place: dict[Path, list[ErrorDetails]] = {}
    for error in errors:
        place = _place(error, data)
        if error["type"] != "extra_forbidden" or (place and place[0] in by_kind):
            by_place.setdefault(place, []).append(error)
    faults = []
    for place, found in by_place.items():
        deeper = any(other[: len(place)] == place and len(other) > len(place) for other in by_place)
        meant = [one for one in found if one["type"] in ("value_error", "missing")] if deeper else found
        if meant:
            faults.append(document.fault((*path, *place), _sentence(place, meant, _around(place, what))))
    return faults


def _around(place: Path, what: str) -> str:
    """What a message calls the part around a place: its key, or `what` at the top."""
    names = [part for part in place[:-1] if isinstance(part, str)]
    return names[-1] if names else what


def _place(error: ErrorDetails, data: Any) -> Path:
    """The path of an error in the data; pydantic's names of alternatives are left out."""
    place: list[str | int] = []
    value = data
    for i, part in enumerate(error["loc"]):
        is_last = i == len(error["loc"]) - 1
        is_key = isinstance(value, Mapping) and part in value
        is_index = isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)
        if is_key or is_index:
            value = value[part]
            place.append(part)
        elif is_last and error["type"] == "missing" and isinstance(value, Mapping):
            place.append(part)
    return tuple(place)


def _sentence(place: Path, errors: list[ErrorDetails], around: str) -> str:
    first = errors[0]
    kind, value, context = first["type"], first["input"], first.get("ctx", {})
    name = next((part for part in reversed(place) if isinstance(part, str)), "")
    if kind == "missing" and not isinstance(first["loc"][-1], int):
        return f"{around} needs `{name}`"
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden":
        return f"{around} has no {name!r}"
    if name in _SHAPES and place and place[-1] == name:
        nothing = value in ({}, [], ())
        return f"{name} is {_SHAPES[name]}; {'nothing is listed here' if nothing else f'got {_shown(value)}'}"
    if kind == "literal_error":
        return f"{name} is {context['expected'].replace(chr(39), '')}, not {_shown(value)}"
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = f"at least {context['ge']}" if kind == "greater_than_equal" else f"at most {context['le']}"
        return f"{name} must be {bound}, got {_shown(value)}"
    if kind in ("too_short", "missing"):
        return f"{name} lists too little"
    expected = [_KINDS[one["type"]] for one in errors if one["type"] in _KINDS]
    if expected:
        return f"{name} is {' or '.join(dict.fromkeys(expected))}, not {_shown(value)}"
    return f"{name}: {first['msg'][0].lower()}{first['msg'][1:]}, got {_shown(value)}"


def _shown(value: Any) -> str:
    """A value of a file as a message shows it."""
    if isinstance(value, Mapping):
        return f"a mapping of {listed(value)}" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, bool):
        return str(value).lower()
    return "nothing" if value is None else repr(value)
