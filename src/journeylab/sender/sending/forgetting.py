"""Forgetting: the bytes of a message, and the address to which it went, go some days after its end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, update

from journeylab.sender.store import Store
from journeylab.sender.store import tables as t

from .states import FINAL

__all__ = ["KEPT", "forget_bytes"]

KEPT: Final = timedelta(days=7)
"""How long the bytes of a message are kept after its end."""
_AT_ONCE: Final = 1000


def forget_bytes(store: Store, now: datetime, most: int = 100_000) -> int:
    """How many messages lost their bytes and addresses, as they ended some days ago; where links lead is still known.

    Args:
        store: the sender's database.
        now: the store's instant.
        most: how many at most, some in each transaction.
    """
    r, s, total = t.renderings.c, t.sends.c, 0
    ended = (
        select(r.message_key)
        .join(t.sends, s.message_key == r.message_key)
        # A message is made before its end: those that were made since are not looked at.
        .where(
            t.KEPT[store.engine.dialect.name],
            r.rendered_at < now - KEPT,
            t.state_beside.in_(FINAL),
            s.settled_at < now - KEPT,
        )
        .order_by(r.rendered_at)
        .limit(_AT_ONCE)
    )
    gone = update(t.renderings).where(r.message_key.in_(ended.scalar_subquery())).values(body=b"", address=b"")
    while total < most:
        with store.writing() as connection:
            n = connection.execute(gone).rowcount
        total += n
        if n < _AT_ONCE:
            break
    return total
