"""Senders from which a guard is taken away, by name; the invariants must notice each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import bindparam, update

from journeylab.sender.sending import claims, gate, reconcile, settling, worker
from journeylab.sender.store import tables as t


def _without(*clauses: str) -> None:
    gate.CLAUSES = {name: clause for name, clause in gate.CLAUSES.items() if name not in clauses}


def no_fence() -> None:
    """Whoever had the message once may speak for it."""
    _without("fence")
    real = settling._Settling._decide

    def decide(self: Any, row: Any, one: Any) -> None:
        real(self, row, one._replace(fence=row.fence))

    settling._Settling._decide = decide


def no_lease() -> None:
    """A claim never ends."""
    worker.reap = lambda *given: (0, 0)


def no_consent() -> None:
    """The gate does not ask what the contact has said meanwhile."""
    _without("consent")


def no_state() -> None:
    """A claim whose lease is over is taken back whatever has become of the message since."""
    lapsed = update(t.sends).where(t.sends.c.lease_until <= bindparam("now", type_=t.sends.c.lease_until.type))
    taken = {"state": "ready", "worker": None, "lease_until": None, "fence": t.sends.c.fence + 1}
    claims._LAPSED_CLAIMS = lapsed.values(taken).returning(t.sends.c.message_key)


def no_state_at_a_decision() -> None:
    """A person's decision is written without a look at what was settled while it was made."""

    def move(connection: Any, key: str, state: Any, to: str, *, fence: Any = None, **values: Any) -> bool:
        changed = update(t.sends).where(t.sends.c.message_key == key).values(state=to, **values)
        return bool(connection.execute(changed).rowcount)

    reconcile.move = move


def no_replay() -> None:
    """Receipts are written and never read."""
    worker.replay = lambda *given: 0


def no_restore_guard() -> None:
    """A database that was put back from a copy is taken for the newest."""
    worker.refuse_older_copy = lambda *given: None
    worker.replay = lambda *given: 0


def resends() -> None:
    """What was on its way when its worker died is simply sent again."""
    claims._LAPSED_SENDS = claims._LAPSED_SENDS.values(state="ready", fence=t.sends.c.fence + 1)


def no_gate() -> None:
    """The dot goes out before anything says that it will."""

    def let_pass(connection: Any, requests: Any, now: Any, *rest: Any) -> Any:
        return {one.message_key: gate.Passed(now) for one in requests}

    worker.let_pass = let_pass


MUTANTS: dict[str, Callable[[], None]] = {
    one.__name__: one
    for one in (
        no_fence, no_lease, no_consent, no_gate, no_state, no_state_at_a_decision, no_replay, no_restore_guard, resends,
    )
}  # fmt: skip
