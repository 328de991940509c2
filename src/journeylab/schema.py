"""The JSON Schema of journey files, made from the classes of `journey`, for editors and other programs.

The published copy is `journey.schema.json` beside this file; `python -m journeylab.schema` prints it anew.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from .journey import VERBS, Journey, Policy, Segment

__all__ = ["json_schema", "schema_text"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NOT_IN_FILES = ("parts", "shared")


class _FilesSchema(GenerateJsonSchema):
    """Pydantic's schema as files are: a key is left out rather than null, and defaults are left to the reader."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of a journey file: one journey, or several under `journeys`.

    Each document of a YAML file that holds several is such a file. What the schema cannot say, such as that targets
    exist and conditions can be read, is said by `Journey.check`.

    >>> sorted(json_schema()["$defs"]["Node"])
    ['allOf', 'description', 'oneOf', 'type']
    """
    classes: list[type[BaseModel]] = [Journey, Policy, Segment, *VERBS.values()]
    _, schema = models_json_schema([(one, "validation") for one in classes], schema_generator=_FilesSchema)
    parts: dict[str, Any] = schema["$defs"]
    for part in parts.values():
        if "description" in part:
            part["description"] = part["description"].split("\n\n")[0]
        for name, value in part.get("properties", {}).items():
            if "patternProperties" in value:
                part["properties"][name] = _named(value)
    for key in _NOT_IN_FILES:
        del parts["Journey"]["properties"][key]
    parts["Node"] = _node()
    parts["Segment"] = {"anyOf": [{"type": "string"}, _one_of(parts["Segment"], ["condition"], ["weights"])]}
    parts["Trigger"] = _one_of(parts["Trigger"], ["event"], ["segment", "every"], ["date"])
    parts["WaitFor"] |= {
        "if": {"properties": {"wait_for": {"type": "string"}}},
        "then": {"required": ["then"]},
        "else": {"not": {"required": ["then"]}},
    }
    parts["Journeys"] = _journeys(parts["Journey"]["properties"]["segments"])
    return {
        "$schema": _DIALECT,
        "title": "JourneyLab journey file",
        "if": {"required": ["journeys"]},
        "then": {"$ref": "#/$defs/Journeys"},
        "else": {"$ref": "#/$defs/Journey"},
        "$defs": dict(sorted(parts.items())),
    }


def schema_text() -> str:
    """The schema as the text of its published file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _node() -> dict[str, Any]:
    """A node: one verb, and what belongs to that verb."""
    return {
        "type": "object",
        "description": "One node of a journey; its one verb says what it does.",
        "oneOf": [{"required": [verb]} for verb in VERBS],
        "allOf": [
            {"if": {"required": [verb]}, "then": {"$ref": f"#/$defs/{kind.__name__}"}} for verb, kind in VERBS.items()
        ],
    }


def _journeys(segments: dict[str, Any]) -> dict[str, Any]:
    """A file of several journeys."""
    return {
        "type": "object",
        "description": "Several journeys that run together, the policy over them, and the segments they share.",
        "properties": {
            "journeys": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Journey"}},
            "policy": {"$ref": "#/$defs/Policy"},
            "segments": segments,
        },
        "required": ["journeys"],
        "additionalProperties": False,
    }


def _one_of(part: dict[str, Any], *required: list[str]) -> dict[str, Any]:
    return {**part, "oneOf": [{"required": keys} for keys in required]}


def _named(mapping: dict[str, Any]) -> dict[str, Any]:
    """A mapping whose keys are all names; pydantic lets other keys pass."""
    return {key: value for key, value in mapping.items() if key != "propertyNames"} | {"additionalProperties": False}


if __name__ == "__main__":
    sys.stdout.write(schema_text())
