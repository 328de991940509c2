"""The states of a message and the ways between them; `move`, `move_all` and the claims are who changes them.

```
planned ─► ready ─► claimed ─► transmitting ─► accepted
   ▲         ▲         │            ├─► rejected       (a 5xx reply)
   │         ├─────────┤            ├─► ready          (a 4xx reply: tried again)
   └─────────┼── gate ─┘            ├─► failed         (tried often enough)
             │                      └─► ambiguous      (no reply is known)
          lease lapsed               ambiguous ─► accepted | ready | failed     (evidence, or a person)
planned, ready, claimed ─► suppressed | cancelled | expired | failed | rejected
```

A change is one UPDATE that names the state, and where a worker makes it the fence, that it starts from: of two that
race one finds nothing to change. The fence counts claims; a worker that lost its claim can change nothing any more,
but for one thing: a reply that comes late is still the truth, whatever was decided meanwhile. So a message that is
`ambiguous`, or that a person has let be sent again since, becomes `accepted` under an old fence.

Where a relay drops what it has seen before (`Relay.drops_repeats`), an ambiguous message is offered to it again
without ceasing to be ambiguous: a worker takes a lease on it, and the gate lets it from `ambiguous` to `transmitting`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Connection, update

from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import Bulk, Given

__all__ = ["FINAL", "IN_FLIGHT", "MAY_STAY", "WAITING", "WAYS", "move", "move_all"]

WAYS: Final[dict[str, frozenset[str]]] = {
    "planned": frozenset({"ready", "accepted", "suppressed", "cancelled", "expired", "failed"}),
    "ready": frozenset({"planned", "claimed", "accepted", "suppressed", "cancelled", "expired", "failed"}),
    "claimed": frozenset(
        {"planned", "ready", "transmitting", "accepted", "suppressed", "cancelled", "expired", "failed", "rejected"}
    ),
    "transmitting": frozenset({"accepted", "rejected", "ready", "failed", "ambiguous"}),
    "ambiguous": frozenset({"accepted", "rejected", "ready", "transmitting", "failed"}),
    "accepted": frozenset(),
    "rejected": frozenset(),
    "failed": frozenset(),
    "suppressed": frozenset(),
    "cancelled": frozenset(),
    "expired": frozenset(),
}
"""Where a message may go from each state."""
FINAL: Final = tuple(state for state, ways in WAYS.items() if not ways)
"""The states in which a message stays."""
WAITING: Final = ("planned", "ready", "claimed")
"""The states in which nothing of a message has left: it can still be taken back."""
MAY_STAY: Final = ("planned", "ready")
"""The states in which the machine may change its mind about when a message goes."""
IN_FLIGHT: Final = ("transmitting", "ambiguous")
"""The states in which a message may have been taken by a relay."""


def move(
    connection: Connection, key: str, state: str | tuple[str, ...], to: str, *, fence: int | None = None, **values: Any
) -> bool:
    """Whether a message went from a state to another, with other columns set beside.

    Args:
        connection: a writing transaction.
        key: the message's key.
        state: the state, or states, that it must be in.
        to: where it goes.
        fence: the fence that it must have; the worker's own, where a worker moves it.
        values: columns of `sends` to set.

    Raises:
        ValueError: for a way that there is not: a fault of the program.
    """
    _refuse_unknown(state, to)
    condition = (t.sends.c.message_key == key) & t.sends.c.state.in_((state,) if isinstance(state, str) else state)
    if fence is not None:
        condition &= t.sends.c.fence == fence
    changed = connection.execute(update(t.sends).where(condition).values(state=to, **values))
    return bool(changed.rowcount)


def move_all(connection: Connection, state: str, to: str, rows: Sequence[Mapping[str, Any]]) -> int:
    """How many messages went from a state to another.

    Args:
        connection: a writing transaction.
        state: the state that they must be in.
        to: where they go; or the same state, one of `MAY_STAY`, to set columns alone.
        rows: of each message its `message_key`, the `fence` that it must have, and the other columns to set, the same
            ones for all.

    Raises:
        ValueError: for a way that there is not: a fault of the program.
    """
    if not (state == to in MAY_STAY):
        _refuse_unknown(state, to)
    if not rows:
        return 0
    columns = tuple(name for name in rows[0] if name not in ("message_key", "fence"))
    values = itemgetter("message_key", "fence", *columns)
    return _moving(state, to, columns).run(connection, [values(row) for row in rows])


def _refuse_unknown(state: str | tuple[str, ...], to: str) -> None:
    for one in (state,) if isinstance(state, str) else state:
        if to not in WAYS[one]:
            raise ValueError(f"a message cannot go from {one} to {to}")


@cache
def _moving(state: str, to: str, columns: tuple[str, ...]) -> Bulk:
    def moving(given: Given) -> Any:
        is_there = (t.sends.c.message_key == given("of_key")) & (t.sends.c.fence == given("of_fence"))
        values = {name: given(f"to_{name}") for name in columns}
        return update(t.sends).where(is_there, t.state_beside == state).values(state=to, **values)

    return Bulk(moving, "of_key", "of_fence", *(f"to_{name}" for name in columns))
