"""Roles of PostgreSQL: who may read and write which column, so that the database itself holds what a command would.

| role | for | may |
|---|---|---|
| `sender` | `run`, `serve`, and who brings in, reveals or erases | do all but change the past of the audit log |
| `operator` | who promotes, stops and makes tokens | read all but what is sealed; write what that takes |
| `analyst` | notebooks | read states, figures and contacts' ids |
| `auditor` | who verifies and exports the audit log | read it |
| `maintenance` | who looks after the database | read states and figures; vacuum, from PostgreSQL 17 on |
| `source` | systems that put events into the table `inbox` | add to it |

A column that stands in no list is nobody's. Who may read one column of a table can count its rows. Two things are wider
than they look: PostgreSQL lets a table be locked only by who may update all of it (`spans`, `pauses`), and a row only
by who may update one column: an operator could change who a release says it was made by. The audit log says who did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from journeylab.errors import DataError
from journeylab.sender.store import tables as t

__all__ = ["COLUMNS", "READERS", "ROLES", "Role", "readable", "statements"]

Role = Literal["sender", "operator", "analyst", "auditor", "maintenance", "source"]
ROLES: Final[tuple[Role, ...]] = ("sender", "operator", "analyst", "auditor", "maintenance", "source")
Kind = Literal["figures", "ids", "work", "sealed", "log", "proof"]

READERS: Final[Mapping[Kind, frozenset[Role]]] = {
    "figures": frozenset({"sender", "operator", "analyst", "maintenance"}),
    "ids": frozenset({"sender", "operator", "analyst"}),
    "work": frozenset({"sender", "operator"}),
    "sealed": frozenset({"sender"}),
    "log": frozenset({"sender", "operator", "auditor"}),
    "proof": frozenset({"sender", "auditor"}),
}
"""Who reads which kind of column. `sealed` is ciphertext, digests, and what came from outside and may name somebody."""

COLUMNS: Final[Mapping[str, Mapping[Kind, str]]] = {
    "contacts": {
        "figures": "created_at next_at",
        "ids": "contact last_at",
        "work": "held_because",
        "sealed": "sealed_key address address_digest attributes",
    },
    "names": {"figures": "scope name kind"},
    "left_out": {"figures": "name n_values last_at"},
    "events": {
        "figures": "event occurred_at received_at",
        "ids": "event_id contact properties",
        "sealed": "source_id sealed",
    },
    "inbox": {
        "figures": "inbox_id put_at taken_at",
        "sealed": "contact event occurred_at properties source_id refused_because",
    },
    "releases": {
        "figures": "release_id journey version definition policy messages forecast record hash created_at created_by",
        "work": "models",
    },
    "spans": {"figures": "span_id release_id from_at until_at share_from share_to share_salt"},
    "pauses": {"figures": "pause_id journey started_at ended_at reason started_by ended_by"},
    "entries": {
        "figures": "journey entry version entered_at left_at exit converted held_out",
        "ids": "contact",
    },
    "visits": {
        "figures": "journey entry node visit version arrived_at left_at branch evidence",
        "ids": "contact",
    },
    "sends": {
        "figures": "journey entry node visit release_id message purpose transactional state reason planned_at "
        "not_before not_after open_until cap_sends cap_within_us policy_cap_sends policy_cap_within_us attempts worker "
        "fence lease_until gated_at settled_at relay",
        "ids": "message_key contact choice",
        "work": "queue_id reply",
    },
    "renderings": {
        "figures": "rendered_at n_changes catalogue_at",
        "ids": "message_key",
        "sealed": "address address_digest body hash links",
    },
    "calls": {
        "figures": "journey entry node visit release_id service state planned_at not_before attempts worker "
        "lease_until settled_at",
        "ids": "call_key contact",
        "sealed": "reply",
    },
    "outbox": {
        "figures": "outbox_id target created_at spread_at attempts next_attempt_at lease_until delivered_at dead_at",
        "sealed": "webhook_id about body reply",
    },
    "hits": {"figures": "hit_id kind method at settled_at", "ids": "message_key link", "sealed": "agent"},
    "wordings": {"figures": "wording language text"},
    "consents": {
        "figures": "purpose what at",
        "ids": "consent_id contact route wording expires_at message_key",
        "sealed": "request_key evidence",
    },
    "erasures": {"figures": "erased_at tallied_at finished_at", "ids": "stand_in", "sealed": "contact reason"},
    "forgotten": {"sealed": "digest"},
    "tallies": {"figures": "what period journey version node name outcome n_rows n_contacts"},
    "suppressions": {"figures": "reason at", "ids": "message_key", "sealed": "address_digest"},
    "alerts": {
        "figures": "alert_id cause severity text started_at seen_at n_seen acknowledged_at acknowledged_by resolved_at",
    },
    "statistics": {"figures": "until_at from_at told_at"},
    "relays": {"figures": "relay state n_failures n_rejected n_openings opened_at try_at reason"},
    "workers": {"figures": "worker host started_at seen_at stopped_at"},
    "tokens": {"work": "token_id name digest scope created_at created_by expires_at revoked_at revoked_by"},
    "approvals": {
        "work": "approval_id kind object share contact purpose asked_at asked_by people expires_at approved_at "
        "approved_by used_at",
    },
    "reports": {"figures": "name journey until_at claimed_at claimed_by written_at", "work": "sent_to"},
    "connectors": {"figures": "connector free_at"},
    "pulls": {
        "figures": "connector stream covers started_at complete_at completed_at next_at attempts n_rows worker fence "
        "lease_until",
        "work": "cursor reply",
    },
    "pulled": {"figures": "connector stream kind changed_at refused_at", "sealed": "item digest refused_because"},
    "said": {"figures": "name source said_at", "ids": "contact"},
    "outdated": {"figures": "name from_at until_at", "ids": "contact"},
    "conflicts": {"figures": "name source n_values last_at"},
    "products": {"figures": "product properties is_gone changed_at taken_at"},
    "audit": {"log": "seq at actor action object details", "proof": "contact salt commitment leaf_hash"},
    "audit_tree": {"log": "tree size frontier"},
    "checkpoints": {"proof": "checkpoint_id at size root note taken_by"},
    "audit_positions": {"proof": "target seq at"},
}
"""Each column of each table, under the kind of what it holds."""

_ALL: Final = "*"
_INSERTS: Final[Mapping[Role, Mapping[str, str]]] = {
    "sender": dict.fromkeys(COLUMNS, _ALL),
    "operator": dict.fromkeys(
        ("names", "releases", "spans", "pauses", "approvals", "tokens", "audit", "audit_tree"), _ALL
    ),
    "source": {"inbox": "contact event occurred_at properties source_id"},
}
_UPDATES: Final[Mapping[Role, Mapping[str, str]]] = {
    "sender": {name: _ALL for name in COLUMNS if name not in ("audit", "wordings")},
    "operator": {
        "contacts": "next_at",
        "spans": _ALL,
        "pauses": _ALL,
        "releases": "created_by",
        "approvals": "expires_at approved_at approved_by used_at",
        "tokens": "revoked_at revoked_by",
        "audit_tree": "size frontier",
    },
}
_LOCKED: Final = ("spans", "pauses")
_DELETES: Final[Mapping[Role, tuple[str, ...]]] = {
    "sender": (
        "approvals", "calls", "consents", "contacts", "entries", "events", "hits", "inbox", "outbox",
        "outdated", "pulled", "relays", "renderings", "said", "sends", "visits",
    ),
}  # fmt: skip


def readable(role: Role, table: str) -> list[str]:
    """The columns of a table that a role may read.

    >>> readable("analyst", "suppressions"), readable("auditor", "suppressions")
    (['reason', 'at', 'message_key'], [])
    """
    return [name for kind, names in COLUMNS[table].items() if role in READERS[kind] for name in names.split()]


def statements(prefix: str = "journeylab", schema: str = "public") -> list[str]:
    """The SQL for the owner of the tables: roles that nobody logs in as, without what they had, and with what they may.

    People and processes get a role by `grant journeylab_analyst to ewa`.

    >>> next(one for one in statements() if "suppressions" in one and "analyst" in one)
    'grant select (reason, at, message_key) on "public".suppressions to "journeylab_analyst";'

    Args:
        prefix: how the roles' names begin, before `_sender` and the others.
        schema: where the tables are.

    Raises:
        DataError: when a name is none.
    """
    place, who = _quoted(schema), {role: _quoted(f"{prefix}_{role}") for role in ROLES}
    made = [
        f"do $$ begin create role {name} nologin; exception when duplicate_object or unique_violation then end $$;"
        for name in who.values()
    ]
    ours = ", ".join(f"{place}.{name}" for name in (*COLUMNS, "alembic_version"))
    cleared = [
        f"revoke all on all {what} in schema {place} from {', '.join(who.values())};"
        for what in ("tables", "sequences", "functions")
    ]
    return [
        "begin;",
        *made,
        *cleared,
        f"revoke all on table {ours} from public;",
        f"revoke all on function {place}.audit_erase(text), {place}.audit_guard() from public;",
        f"revoke create on schema {place} from public, {', '.join(who.values())};",
        f"grant usage on schema {place} to {', '.join(who.values())};",
        f"grant select on {place}.alembic_version to {', '.join(who.values())};",
        *(line for role, name in who.items() for line in _granted(role, name, place)),
        f"grant execute on function {place}.audit_erase(text) to {who['sender']};",
        f"do $$ begin if current_setting('server_version_num')::int >= 170000 then execute "
        f"'grant maintain on all tables in schema {place} to {who['maintenance']}'; end if; end $$;",
        "commit;",
    ]


def _granted(role: Role, name: str, place: str) -> Iterable[str]:
    """What one role may do."""
    for table in COLUMNS:
        of = f"on {place}.{table} to {name};"
        rights = [f"select ({', '.join(columns)})"] if (columns := readable(role, table)) else []
        for what, given in (("insert", _INSERTS), ("update", _UPDATES)):
            if (of_columns := given.get(role, {}).get(table)) is not None:
                is_whole = what == "update" and table in _LOCKED
                rights.append(what if is_whole else f"{what} ({', '.join(_columns(table, of_columns))})")
        if table in _DELETES.get(role, ()):
            rights.append("delete")
        if rights:
            yield f"grant {', '.join(rights)} {of}"
        if table in _INSERTS.get(role, {}):
            for column in t.metadata.tables[table].columns:
                if column.primary_key and column.autoincrement is True:
                    yield f"grant usage on sequence {place}.{table}_{column.name}_seq to {name};"


def _columns(table: str, names: str) -> list[str]:
    return [one for kind in COLUMNS[table].values() for one in kind.split()] if names == _ALL else names.split()


def _quoted(name: str) -> str:
    if not name.strip() or "\x00" in name or "'" in name or "$" in name:
        raise DataError(f"{name!r} is no name of a role or a schema here")
    return '"' + name.replace('"', '""') + '"'
