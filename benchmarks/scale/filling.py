"""Many waiting contacts, as fast as PostgreSQL takes rows, each as intake and a tick have written one of them.

One contact comes in by the sender itself. Its rows in all tables are the pattern of the others: another name, sealed
with another key, later by a while, with an entry of the audit log of its own. `tests/test_scale.py` compares the two.

Sealing is what takes time. So each contact may have twins beside it, whose rows are made by SQL: of the same size, in
the same pages and indexes, but with seals that nobody can open. Nothing is ever due for a twin.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
from sqlalchemy import Connection, Table, select, update

from journeylab.sender.audit.entries import SALT, sealed
from journeylab.sender.keys import Keys
from journeylab.sender.store import tables as t
from journeylab.sender.store.recording import frontier_of
from journeylab.sender.store.seals import Seal, Seals, seal_of

from .place import Clock, Place, came_in

__all__ = ["fill", "name_of"]

_PATTERN: Final = "pattern"
_AT_ONCE: Final = 5000
_TABLES: Final = (t.contacts, t.events, t.entries, t.visits)
_SEALED: Final = {"address": "contacts.address", "attributes": "contacts.attributes", "sealed": "events.sealed"}
_json: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode
_SPREAD: Final = timedelta(days=4)
"""Contacts have come in over four days, up to a day ago: nobody's week is over for two more days."""


def name_of(i: int) -> str:
    """The name of a contact by its number; its twins' end otherwise."""
    return f"c{i:07d}0"


class _Block(NamedTuple):
    """Contacts who came in at one instant: the numbers from `first` up to `end`, and when."""

    first: int
    end: int
    at: datetime


class _Pattern(NamedTuple):
    """The rows of one contact, what is sealed of it opened, as of the instant at which it came in."""

    rows: dict[str, list[dict[str, Any]]]
    act: Any
    at: datetime


def fill(place: Place, n: int, n_twins: int = 0, n_processes: int = 2) -> float:
    """Adds contacts up to `n` who wait, each with some twins; how many seconds that took."""
    began = time.monotonic()
    first = place.execute("select count(*) from contacts where contact like 'c%0'")[0][0]
    if first >= n:
        return 0.0
    clock = Clock(datetime.now(UTC) - timedelta(days=5))
    store = place.store(clock)
    if not first:
        came_in(place, store, [_PATTERN])
    with store.reading() as connection:
        pattern = _pattern(connection)
        size, hashes = connection.execute(select(t.audit_tree.c.size, t.audit_tree.c.frontier)).one()
    starts = range(first, n, _AT_ONCE)
    step = _SPREAD / max(1, len(starts))
    blocks = [_Block(one, min(one + _AT_ONCE, n), clock.at + place * step) for place, one in enumerate(starts)]
    frontier = frontier_of(size, hashes)
    with _unindexed(place), ProcessPoolExecutor(n_processes) as pool:
        for leaves in pool.map(partial(_filled, place, pattern, size + 1 - first, n_twins), blocks):
            frontier = frontier.grown(leaves)
    with store.writing() as connection:  # opened before, and the database forgets nothing any more
        connection.execute(update(t.audit_tree).values(size=frontier.size, frontier=b"".join(frontier.hashes).hex()))
    store.close()
    place.execute("vacuum analyze")
    return time.monotonic() - began


@contextmanager
def _unindexed(place: Place) -> Iterator[None]:
    """Without indexes that no constraint needs, and without waiting for the disk; both are back afterwards."""
    indexes = place.execute(
        "select indexname, indexdef from pg_indexes where tablename = any('{contacts,events,entries,visits,audit}') "
        "and not exists (select from pg_constraint where conname = indexname)"
    )
    hasty = ("fsync", "full_page_writes")
    for name, _ in indexes:
        place.execute(f"drop index {name}")
    for name in hasty:
        place.execute(f"alter system set {name} = off")
    place.execute("select pg_reload_conf()")
    yield
    for _, definition in indexes:
        place.execute(definition)
    for name in hasty:
        place.execute(f"alter system reset {name}")
    place.execute("select pg_reload_conf()")
    place.execute("checkpoint")


def _pattern(connection: Connection) -> _Pattern:
    seal, found = seal_of(connection, _PATTERN), {}
    for table in _TABLES:
        rows = connection.execute(select(table).where(table.c.contact == _PATTERN).order_by(*table.primary_key)).all()
        found[table.name] = [
            {name: _opened(seal, name, value) for name, value in row._mapping.items() if name != "event_id"}
            for row in rows
        ]
    act = connection.execute(select(t.audit).where(t.audit.c.contact == _PATTERN)).one()  # it has consented
    return _Pattern(found, act, found["contacts"][0]["created_at"])


def _opened(seal: Seal, name: str, value: Any) -> Any:
    return seal.open(_SEALED[name], value) if name in _SEALED and value is not None else value


@lru_cache
def _seals(keys: Path) -> Seals:
    """This process's; by the ring alone, as no store opens while a database may forget."""
    return Seals(Keys.read(keys))


def _filled(place: Place, pattern: _Pattern, seq: int, n_twins: int, block: _Block) -> list[bytes]:
    """Writes a block of contacts; the leaves of their entries of the audit log."""
    seals = _seals(place.keys)
    later, names = block.at - pattern.at, [name_of(i) for i in range(block.first, block.end)]
    people = [(seals.of(name, key), key) for name in names for key in [seals.new_key(name)]]
    leaves: list[bytes] = []

    def entries() -> Iterator[str]:
        for number, name in enumerate(names, seq + block.first):
            act = pattern.act
            details = {key: _of(value, name) for key, value in act.details.items()}
            salt = os.urandom(SALT)
            one = sealed(number, act.at + later, act.actor, act.action, act.object, name, details, salt)
            leaves.append(one.leaf_hash)
            yield (
                f"{one.seq}\t{one.at}\t{one.actor}\t{one.action}\t{one.object}\t{name}\t{_json(details)}\t"
                f"{salt.hex()}\t{one.commitment.hex()}\t{one.leaf_hash.hex()}\n"
            )

    with psycopg.connect(place.url.replace("+psycopg", "")) as connection, connection.cursor() as cursor:

        def put(table: Table, columns: Sequence[str], lines: Iterable[str]) -> None:
            names = ", ".join(columns)
            cursor.execute(f"create temp table given on commit drop as select {names} from {table.name} limit 0")
            with cursor.copy(f"copy given ({names}) from stdin") as copy:
                copy.write("".join(lines).encode())
            cells = ", ".join(_TWIN.get(name, f"given.{name}") for name in columns)
            cursor.execute(
                f"insert into {table.name} ({names}) select {cells} from given, generate_series(0, {n_twins}) as twin, "
                "lateral (select left(contact, -1) || twin) as it (name) order by it.name, given.ctid"
            )
            cursor.execute("drop table given")

        for table in _TABLES:
            made = [_made(row, later, seals) for row in pattern.rows[table.name]]
            put(table, [*pattern.rows[table.name][0]], (one(*person) for one in made for person in people))
        put(t.audit, [column.name for column in t.audit.c], entries())
    return leaves


_TWIN: Final = {
    "contact": "it.name",
    "source_id": "replace(given.source_id, contact, it.name)",
    "address_digest": "case twin when 0 then address_digest else md5(it.name) end",
    "seq": "seq + twin * 1000000000::bigint",
    "details": "replace(details, contact, it.name)",
}
"""What of a row is another one with a twin, in SQL."""


def _of(value: Any, name: str) -> Any:
    return value.replace(_PATTERN, name) if isinstance(value, str) else value


def _made(row: dict[str, Any], later: timedelta, seals: Seals) -> Callable[[Seal, bytes], str]:
    """What makes of a contact's seal and key the line that COPY takes, from a row of the pattern."""
    cells: list[str | Callable[[Seal, bytes], str]] = []
    for name, value in row.items():
        if name == "sealed_key":
            cells.append(lambda _, key: _bytes(key))
        elif value is None:
            cells.append(r"\N")
        elif name == "address_digest":
            cells.append(lambda seal, _: seals.keys.address_digest(f"{seal.contact}@mail.example"))
        elif name in _SEALED:
            cells.append(lambda seal, _, of=_SEALED[name], text=value: _bytes(seal.seal(of, _of(text, seal.contact))))
        elif isinstance(value, datetime):
            cells.append(str(value + later))
        elif isinstance(value, dict):
            cells.append(_json(value))
        elif isinstance(value, str) and _PATTERN in value:
            cells.append(lambda seal, _, text=value: text.replace(_PATTERN, seal.contact))
        else:
            cells.append(str(value))
    fixed = "\t".join(cell.replace("{", "{{").replace("}", "}}") if isinstance(cell, str) else "{}" for cell in cells)
    moving = [cell for cell in cells if not isinstance(cell, str)]
    return lambda seal, key: fixed.format(*(cell(seal, key) for cell in moving)) + "\n"


def _bytes(data: bytes) -> str:
    return rf"\\x{data.hex()}"
