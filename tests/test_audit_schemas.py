"""Records of every kind of entry against the schemas of those who read them, as far as the schemas ask for anything.

The schemas here are of our own writing, after what is published: for ECS 8.11 the field reference and the page on
allowed values of `event.kind`, `event.category` and `event.type` (elastic/ecs, `schemas/event.yml`); for OCSF 1.1.0
class 3004 of schema.ocsf.io (ocsf/ocsf-schema, `events/iam/entity_management.json`, `events/base_event.json`,
`objects/metadata.json`, `objects/managed_entity.json`, `objects/product.json`, `objects/actor.json`). ECS lets anybody
add fields of their own beside; OCSF does so under `unmapped` alone.
"""

from __future__ import annotations

import ast
import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from journeylab.sender.audit import formats
from journeylab.sender.audit.entries import sealed
from journeylab.sender.audit.formats import Event, Source, event_of, record

SOURCE = Source("Our shop", "shop.example", "1.0")
AT = datetime(2026, 3, 2, 9, 0, 0, 250000, tzinfo=UTC)
KEYWORD = {"type": "string", "minLength": 1}

TYPES_OF = {
    "configuration": ["access", "change", "creation", "deletion", "info"],
    "database": ["access", "change", "error", "info"],
    "iam": ["admin", "change", "creation", "deletion", "group", "info", "user"],
    "process": ["access", "change", "end", "info", "start"],
}
"""What ECS expects as types of a category, of the categories that we use."""

ECS = {
    "type": "object",
    "required": ["@timestamp", "ecs", "event", "message"],
    "properties": {
        "@timestamp": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$"},
        "message": {"type": "string"},
        "ecs": {"type": "object", "required": ["version"], "properties": {"version": {"const": "8.11.0"}}},
        "event": {
            "type": "object",
            "required": ["kind", "category", "type", "outcome"],
            "additionalProperties": False,
            "properties": {
                "kind": {"enum": ["alert", "enrichment", "event", "metric", "pipeline_error", "signal", "state"]},
                "category": {"type": "array", "items": {"enum": [*TYPES_OF]}, "minItems": 1, "maxItems": 1},
                "type": {"type": "array", "items": KEYWORD, "minItems": 1},
                "action": KEYWORD, "module": KEYWORD, "dataset": KEYWORD, "id": KEYWORD,
                "outcome": {"enum": ["failure", "success", "unknown"]},
                "sequence": {"type": "integer", "minimum": -(2**63), "exclusiveMaximum": 2**63},
                "severity": {"type": "integer"},
            },
            "allOf": [
                {
                    "if": {"properties": {"category": {"const": [category]}}},
                    "then": {"properties": {"type": {"items": {"enum": types}}}},
                }
                for category, types in TYPES_OF.items()
            ],
        },
        "user": {"type": "object", "additionalProperties": False, "properties": {"name": KEYWORD}},
        "host": {"type": "object", "additionalProperties": False, "properties": {"name": KEYWORD}},
        "service": {
            "type": "object", "additionalProperties": False,
            "properties": {"type": KEYWORD, "name": KEYWORD, "version": KEYWORD},
        },
        "journeylab": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "additionalProperties": False,
}  # fmt: skip

OCSF = {
    "type": "object",
    "required": [
        "activity_id", "category_uid", "class_uid", "entity", "metadata", "severity_id", "time", "type_uid",
    ],
    "properties": {
        "activity_id": {"enum": [0, 1, 2, 3, 4, 99]},
        "category_uid": {"const": 3},
        "class_uid": {"const": 3004},
        "type_uid": {"enum": [300400, 300401, 300402, 300403, 300404, 300499]},
        "severity_id": {"enum": [0, 1, 2, 3, 4, 5, 6, 99]},
        "status_id": {"enum": [0, 1, 2, 99]},
        "time": {"type": "integer", "minimum": 0},
        "message": {"type": "string"},
        "actor": {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "properties": {"user": {"type": "object", "required": ["name"], "additionalProperties": False,
                                    "properties": {"name": KEYWORD}}},
        },
        "entity": {
            "type": "object",
            "additionalProperties": False,
            "anyOf": [{"required": ["name"]}, {"required": ["uid"]}],
            "properties": {"name": KEYWORD, "uid": KEYWORD, "type": KEYWORD, "version": KEYWORD},
        },
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "required": ["product", "version"],
            "properties": {
                "version": {"const": "1.1.0"},
                "sequence": {"type": "integer"},
                "uid": KEYWORD,
                "log_name": KEYWORD,
                "product": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["vendor_name"],
                    "properties": {"name": KEYWORD, "vendor_name": KEYWORD, "version": KEYWORD},
                },
            },
        },
        "unmapped": {"type": "object"},
    },
    "additionalProperties": False,
    "allOf": [
        {
            "if": {"properties": {"activity_id": {"const": one}}},
            "then": {"properties": {"type_uid": {"const": 300400 + one}}},
        }
        for one in (0, 1, 2, 3, 4, 99)
    ],
}  # fmt: skip

SCHEMAS = {"ecs": ECS, "ocsf": OCSF}
VALIDATORS = {form: Draft202012Validator(schema) for form, schema in SCHEMAS.items()}


def faults(form: str, said: str) -> list[str]:
    return [f"{one.json_path}: {one.message}" for one in VALIDATORS[form].iter_errors(json.loads(said))]


@cache
def actions() -> list[str]:
    """Every action that the sender's sources name to `act`, and those that have a kind of their own."""
    found = {*formats._KINDS}
    for path in (Path(formats.__file__).parents[2]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "act" and len(node.args) > 3:
                found |= {one.value for one in ast.walk(node.args[3]) if isinstance(one, ast.Constant)}
    return sorted(one for one in found if isinstance(one, str) and one.isidentifier())


@pytest.mark.parametrize("form", SCHEMAS)
def test_the_schemas_are_ones(form: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[form])


@pytest.mark.parametrize("form", SCHEMAS)
def test_every_kind_of_entry_is_what_its_reader_expects(form: str) -> None:
    assert {"promote", "erased", "consent_given", "settings_changed", "access_changed", "contact_revealed"} <= {
        *actions()
    }
    for action in actions():
        for contact in (None, "ada"):
            entry = sealed(7, AT, "kim", action, "welcome/5f3a", contact, {"reason": "x", "n": 3}, bytes(32))
            assert faults(form, record(event_of(entry), SOURCE, form)) == [], action
    checkpoint = Event(12, "ab" * 32, AT, "audit", "checkpoint", "12", note="c2hvcA==")
    assert faults(form, record(checkpoint, SOURCE, form)) == []


some_text = st.text(min_size=1, max_size=30)


@pytest.mark.parametrize("form", SCHEMAS)
@given(st.deferred(lambda: st.sampled_from(actions())), some_text, some_text, st.integers(1, 2**53))
@settings(max_examples=50)
def test_whatever_is_in_an_entry_its_record_is_valid(form: str, action: str, actor: str, what: str, seq: int) -> None:
    event = Event(seq, "ab" * 32, AT, actor, action, what, details="{}")
    assert faults(form, record(event, SOURCE, form)) == []


@pytest.mark.parametrize(
    ("form", "broken"),
    [
        ("ecs", {"category": "configuration", "type": "end"}), ("ecs", {"category": "audit"}),
        ("ocsf", {"activity": 7}), ("ocsf", {"activity": 5}),
    ],
)  # fmt: skip
def test_the_schemas_see_what_does_not_fit(form: str, broken: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_CHANGED", formats._CHANGED._replace(**broken))
    said = record(Event(1, "ab" * 32, AT, "kim", "retry", "crm"), SOURCE, form)
    assert faults(form, said) != []
