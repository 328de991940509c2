"""What a PostgreSQL role needs to send, so that it can add to the audit log and change nothing in it."""

from __future__ import annotations

from journeylab.errors import DataError
from journeylab.sender.store import tables as t

__all__ = ["grants_for"]

_ADDED_TO = ("audit",)
_CHANGED = ("audit_tree", "audit_positions", "checkpoints")


def grants_for(role: str) -> list[str]:
    """The statements, for the role that owns the tables, with what others had before taken away.

    >>> grants_for("sender")[0]
    'revoke all on all tables in schema public from "sender";'

    Raises:
        DataError: when the name is none.
    """
    if not role.strip() or "\x00" in role:
        raise DataError("a role has a name")
    who = '"' + role.replace('"', '""') + '"'
    rest = [name for name in sorted(t.metadata.tables) if name not in (*_ADDED_TO, *_CHANGED)]
    return [
        f"revoke all on all tables in schema public from {who};",
        f"grant usage on schema public to {who};",
        f"grant select on alembic_version to {who};",
        f"grant select, insert, update, delete on {', '.join(rest)} to {who};",
        f"grant select, insert, update on {', '.join(_CHANGED)} to {who};",
        f"grant select, insert on {', '.join(_ADDED_TO)} to {who};",
        f"grant usage, select on all sequences in schema public to {who};",
        f"grant execute on function audit_erase(text) to {who};",
    ]
