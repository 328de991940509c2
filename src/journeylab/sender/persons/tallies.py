"""Tallies: what is left of rows that go: counts by journey, version, node and day, of at least ten people each.

| `what` | a row was | `name` | `outcome` |
|---|---|---|---|
| `opens`, `clicks` | a load of a picture or a followed link as it came, machines' too | the message | the link |
| `sends` | a message | the message | its last state |
| `entries`, `held_out_entries` | an entry | | its exit |
| `visits` | a visit | | its branch |
| `calls` | an outside call | the service | its state |
| `consents` | a consent asked for, given or withdrawn | the purpose | which, and by which way |

`period` is the day (UTC) on which it was: 2026-03-02. Counts of few people are not kept. They are put together: of a
month (2026-03), then of a year (2026), then of a journey in a year; opens and clicks those of a message on a day,
then of a journey on a day. So a node or outcome that is empty, and a period longer than a day, stand for those that had
too few by themselves, and not for all. What is still of fewer than ten people in the end is left out. `n_contacts` are
the people of each batch of rows that went, added up.

The least number is that of the release gate (`disclosure.thresholds`). A count is also put together with others where
what is left of its group (all outcomes of a node on a day) would be of 1 to 9 people, so that the difference between
two counts tells of ten, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from sqlalchemy import Connection

from journeylab.disclosure.thresholds import FEWEST
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import insert_into

__all__ = ["BY_DAY", "BY_YEAR", "Cell", "Tally", "add", "tallied"]


class Cell(NamedTuple):
    """What a tally counts; see the module's text."""

    what: str
    period: str
    journey: str = ""
    version: str = ""
    node: str = ""
    name: str = ""
    outcome: str = ""


class Tally(NamedTuple):
    """How many rows, and of how many people."""

    n_rows: int
    n_contacts: int


Ladder: TypeAlias = Sequence[Callable[[Cell], Cell]]
"""How cells of few people are put together, step by step."""
BY_DAY: Final[Ladder] = (
    lambda cell: cell._replace(outcome=""),
    lambda cell: Cell(cell.what, cell.period, cell.journey),
)
"""Within a day: the links of a message, then the messages of a journey."""
BY_YEAR: Final[Ladder] = (
    lambda cell: cell._replace(period=cell.period[:7]),
    lambda cell: cell._replace(period=cell.period[:4]),
    lambda cell: Cell(cell.what, cell.period, cell.journey, outcome=cell.outcome),
)
"""The days of a month, the months of a year, the nodes and versions of a journey."""


def tallied(rows: Iterable[tuple[str, Cell]], ladder: Ladder) -> dict[Cell, Tally]:
    """The tallies of rows, each of which is a contact and what it counts for.

    >>> rows = [(f"c{i}", Cell("visits", "2026-03-02", "hello", node="ask", outcome="then")) for i in range(12)]
    >>> tallied([*rows, ("ada", rows[0][1]._replace(node="offer"))], BY_YEAR)
    {Cell(what='visits', period='2026-03-02', ..., outcome='then'): Tally(n_rows=12, n_contacts=12)}
    """
    pool: dict[Cell, list[str]] = defaultdict(list)
    for contact, cell in rows:
        pool[cell].append(contact)
    found: dict[Cell, Tally] = {}
    for step in (None, *ladder):
        if step is not None:
            pool = _together(pool, step)
        groups: dict[Cell, list[Cell]] = defaultdict(list)
        for cell in pool:
            groups[cell._replace(outcome="")].append(cell)
        for cells in groups.values():
            for cell in _kept(cells, pool):
                before, contacts = found.get(cell, Tally(0, 0)), pool.pop(cell)
                found[cell] = Tally(before.n_rows + len(contacts), before.n_contacts + len({*contacts}))
    return found


def _together(pool: Mapping[Cell, list[str]], step: Callable[[Cell], Cell]) -> dict[Cell, list[str]]:
    made: dict[Cell, list[str]] = defaultdict(list)
    for cell, contacts in pool.items():
        made[step(cell)] += contacts
    return made


def _kept(cells: Sequence[Cell], pool: Mapping[Cell, Sequence[str]]) -> list[Cell]:
    """The cells of a group that have enough people, and leave enough of the others or nobody."""
    ordered = sorted(cells, key=lambda cell: (len({*pool[cell]}), cell))
    few = [cell for cell in ordered if len({*pool[cell]}) < FEWEST]
    kept, rest = ordered[len(few) :], {contact for cell in few for contact in pool[cell]}
    while kept and 0 < len(rest) < FEWEST:
        rest |= {*pool[kept.pop(0)]}
    return kept


def add(connection: Connection, tallies: Mapping[Cell, Tally]) -> None:
    """Adds tallies to those that are kept, in the transaction in which the rows go."""
    if not tallies:
        return
    made = insert_into(connection, t.tallies)
    c, new = t.tallies.c, made.excluded
    adding = {"n_rows": c.n_rows + new.n_rows, "n_contacts": c.n_contacts + new.n_contacts}
    rows = [cell._asdict() | tally._asdict() for cell, tally in sorted(tallies.items())]
    connection.execute(made.on_conflict_do_update(index_elements=[*Cell._fields], set_=adding), rows)
