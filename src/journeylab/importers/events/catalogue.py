"""The systems whose exports are known, and their maps in Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Final

from journeylab.errors import DataError, known
from journeylab.extensions import found, made

from .adapter import Adapter, Event, Table

__all__ = ["BUILT_IN", "adapter_of", "map_lines", "section", "system_names"]

BUILT_IN: Final = (
    "salesforce", "eloqua", "hubspot", "mautic", "klaviyo", "dittofeed", "braze", "segment", "ga4", "matomo",
    "warehouse",
)  # fmt: skip
"""The systems that come with JourneyLab, each a module of `systems` with an `ADAPTER`."""


def system_names() -> list[str]:
    """The names of all systems, built in and installed."""
    return sorted({*BUILT_IN, *found("event_importers", BUILT_IN)})


def adapter_of(name: str) -> Adapter:
    """What is known of a system.

    Raises:
        DataError: when there is none of that name, or the package that brings it is broken.
    """
    if name in BUILT_IN:
        own: Adapter = import_module(f"{__package__}.systems.{name}").ADAPTER
        return own
    if name not in system_names():
        raise DataError(f"no system {name!r} whose events are imported; {known(name, system_names(), 'systems')}")
    brought = made("event_importers", name, BUILT_IN)
    if not isinstance(brought, Adapter):
        raise DataError(
            f"the event importer {name!r} is a {type(brought).__name__}; it must be a "
            f"journeylab.importers.events.Adapter"
        )
    return brought


def section(adapter: Adapter) -> str:
    """What docs/importing-events.md says of a system: how to import its exports, and the map."""
    return "\n".join([f"## {adapter.title}: `{adapter.name}`", adapter.steps.rstrip(), "", *map_lines(adapter)])


def map_lines(adapter: Adapter) -> Iterator[str]:
    """The map of a system in Markdown: how its instants are understood, its tables, and what becomes of each column."""
    yield f"Written from: {'; '.join(adapter.documented)}."
    yield ""
    yield f"Instants: {adapter.clock.told}."
    others = {table.clock.told: table.clock for table in adapter.tables if table.clock not in (None, adapter.clock)}
    for told, clock in others.items():
        named = _codes(tuple(table.name for table in adapter.tables if table.clock == clock), ", ")
        yield f"Instants of {named}: {told}."
    yield ""
    yield "| table | is here | contact | instant | id | message |"
    yield "|---|---|---|---|---|---|"
    for table in adapter.tables:
        yield f"| `{table.name}` | {_events(table)} | {_codes(table.contact, ' or ')} | {_at(adapter, table)} | " + (
            f"{_codes(table.key, ', ')} | {_codes(table.message, ' or ')} |"
        )
    tables_of: dict[str, list[str]] = {}
    for table in adapter.tables:
        for line in _columns(table):
            tables_of.setdefault(line, []).append(f"`{table.name}`")
    yield ""
    for line, tables in tables_of.items():
        yield f"- {', '.join(tables)}: {line}"
    yield from (f"- {limit}" for limit in adapter.limits)


def _codes(names: tuple[str, ...], between: str) -> str:
    return between.join(f"`{name}`" for name in names)


def _events(table: Table) -> str:
    if table.skipped:
        return f"left out: {table.skipped}"
    said = [_event(event) for event in table.events if event.name]
    if table.is_contacts:
        said.insert(0, "contacts")
    if table.names:
        said.append(f"names of messages: `{table.names.key}` is called `{table.names.name}`")
    if table.named_by:
        said.append(f"any other: the event that `{table.named_by}` names")
    return "; ".join(said)


def _event(event: Event) -> str:
    tests = [f"`{column}` is {_values(values)}" for column, values in event.when.items()]
    tests += [f"`{column}` is not {_values(values)}" for column, values in event.unless.items()]
    said = "".join(f", `{name}` {value}" for name, value in event.said.items())
    return f"`{event.name}`{said}" + (f" where {' and '.join(tests)}" if tests else "")


def _values(values: tuple[str, ...]) -> str:
    return " or ".join(f"`{value}`" if value else "missing" for value in values)


def _at(adapter: Adapter, table: Table) -> str:
    columns = tuple(dict.fromkeys(event.at for event in table.events)) or (
        (table.modified_at,) if table.modified_at else ()
    )
    unit = {"text": "", "s": " (seconds)", "ms": " (milliseconds)", "us": " (microseconds)"}
    received = f", received `{table.received_at}`" if table.received_at else ""
    return f"{_codes(columns, ', ')}{unit[adapter.clock_of(table).form]}{received}" if columns else ""


def _columns(table: Table) -> Iterator[str]:
    by_ours: dict[str, list[str]] = {}
    for theirs, ours in table.properties.items():
        by_ours.setdefault(ours, []).append(theirs)
    what = "attribute" if table.is_contacts else "property"
    for ours, columns in by_ours.items():
        kind = " (a flag)" if ours in table.flags else " (a number)" if ours in table.numbers else ""
        yield f"{what} `{ours}`{kind}: {_codes(tuple(columns), ' or ')}"
    by_reason: dict[str, list[str]] = {}
    for column, why in table.left_out.items():
        by_reason.setdefault(why, []).append(column)
    for why, names in by_reason.items():
        yield f"left out, {why}: {_codes(tuple(names), ', ')}"
    for value, why in table.passed_over.items():
        yield f"rows left out where `{table.sorted_by}` is `{value}`: {why}"
    if table.anonymous:
        yield f"rows left out without a contact: {table.anonymous}"
    if table.aliases:
        yield "also under the names " + ", ".join(f"`{alias}` for `{name}`" for alias, name in table.aliases.items())
    if table.differs:
        yield f"approximately: {table.differs}"
