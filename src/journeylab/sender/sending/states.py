"""The states of a message and the ways between them; every change of state goes through `move`.

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
but for one thing: a reply that comes late is still the truth, so `ambiguous` becomes `accepted` under the old fence.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, update

from journeylab.sender.store import tables as t

__all__ = ["FINAL", "IN_FLIGHT", "WAITING", "WAYS", "move"]

WAYS: Final[dict[str, frozenset[str]]] = {
    "planned": frozenset({"ready", "suppressed", "cancelled", "expired", "failed"}),
    "ready": frozenset({"planned", "claimed", "suppressed", "cancelled", "expired", "failed"}),
    "claimed": frozenset(
        {"planned", "ready", "transmitting", "suppressed", "cancelled", "expired", "failed", "rejected"}
    ),
    "transmitting": frozenset({"accepted", "rejected", "ready", "failed", "ambiguous"}),
    "ambiguous": frozenset({"accepted", "ready", "rejected", "failed"}),
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
    states = (state,) if isinstance(state, str) else state
    for one in states:
        if to not in WAYS[one]:
            raise ValueError(f"a message cannot go from {one} to {to}")
    condition = (t.sends.c.message_key == key) & t.sends.c.state.in_(states)
    if fence is not None:
        condition &= t.sends.c.fence == fence
    changed = connection.execute(update(t.sends).where(condition).values(state=to, **values))
    return bool(changed.rowcount)
