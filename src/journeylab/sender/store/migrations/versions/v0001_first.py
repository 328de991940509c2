"""The first tables."""

import sqlalchemy as sa
from alembic import op

from journeylab.sender.store import tables as t

revision = "0001"
down_revision = None


_STAYS = ("seq", "at", "actor", "action", "object", "commitment", "leaf_hash")
_GOES = ("contact", "details", "salt")
_SAID = "entries of the audit log stay as they are; only contact, details and salt can be erased, together"
# SQLite's `insert or replace` would delete without the trigger for deletions.
_GUARDS = {
    "sqlite": (
        f"create trigger audit_not_deleted before delete on audit begin select raise(abort, '{_SAID}'); end",
        "create trigger audit_not_replaced before insert on audit "
        "when exists (select 1 from audit where seq = new.seq) "
        f"begin select raise(abort, '{_SAID}'); end",
        "create trigger audit_not_changed before update on audit when "
        + " or ".join([f"new.{one} is not old.{one}" for one in _STAYS] + [f"new.{one} is not null" for one in _GOES])
        + f" begin select raise(abort, '{_SAID}'); end",
    ),
    "postgresql": (
        "create function audit_guard() returns trigger language plpgsql as $$ begin "
        "if tg_op = 'UPDATE' then if "
        + " and ".join(
            [f"new.{one} is not distinct from old.{one}" for one in _STAYS] + [f"new.{one} is null" for one in _GOES]
        )
        + f" then return new; end if; end if; raise exception '{_SAID}' using errcode = 'insufficient_privilege'; "
        "end $$",
        "create trigger audit_not_changed before update or delete on audit for each row execute function audit_guard()",
        "create trigger audit_not_truncated before truncate on audit for each statement execute function audit_guard()",
        # By the owner's right, so that the sender's role needs none to update; and no table of that role's own.
        "do $do$ begin execute format('create function audit_erase(of text) returns setof bigint language sql "
        "security definer set search_path = pg_catalog, %I, pg_temp as "
        "$$ update audit set contact = null, details = null, salt = null where contact = of returning seq $$', "
        "current_schema()); end $do$",
        "revoke all on function audit_erase(text) from public",
    ),
}


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("alert_id", t.number(), autoincrement=True, nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("started_at", t.Instant(), nullable=False),
        sa.Column("seen_at", t.Instant(), nullable=False),
        sa.Column("n_seen", sa.Integer(), nullable=False),
        sa.Column("acknowledged_at", t.Instant(), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("resolved_at", t.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_alerts")),
    )
    op.create_index(
        "uq_alerts_open_cause",
        "alerts",
        ["cause"],
        unique=True,
        sqlite_where=sa.text("resolved_at is null"),
        postgresql_where=sa.text("resolved_at is null"),
    )
    op.create_table(
        "approvals",
        sa.Column("approval_id", t.number(), autoincrement=True, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("share", sa.Float(), nullable=True),
        sa.Column("contact", sa.Text(), nullable=True),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("asked_at", t.Instant(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("people", t.Json(), nullable=False),
        sa.Column("expires_at", t.Instant(), nullable=False),
        sa.Column("approved_at", t.Instant(), nullable=True),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("used_at", t.Instant(), nullable=True),
        sa.CheckConstraint("kind in ('promotion', 'reveal', 'copy', 'export')", name=op.f("ck_approvals_kind")),
        sa.PrimaryKeyConstraint("approval_id", name=op.f("pk_approvals")),
    )
    op.create_index("ix_approvals_object", "approvals", ["object"], unique=False)
    op.create_index("ix_approvals_contact", "approvals", ["contact"], unique=False)
    op.create_table(
        "reports",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("journey", sa.Text(), nullable=False),
        sa.Column("until_at", t.Instant(), nullable=False),
        sa.Column("claimed_at", t.Instant(), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=False),
        sa.Column("sent_to", t.Json(), nullable=False),
        sa.Column("written_at", t.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_reports")),
    )
    op.create_table(
        "audit",
        sa.Column("seq", t.number(), autoincrement=False, nullable=False),
        sa.Column("at", t.Instant(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("contact", sa.Text(), nullable=True),
        sa.Column("details", t.Json(), nullable=True),
        sa.Column("salt", sa.Text(), nullable=True),
        sa.Column("commitment", sa.Text(), nullable=False),
        sa.Column("leaf_hash", sa.Text(), nullable=False),
        sa.CheckConstraint("seq >= 1", name=op.f("ck_audit_seq")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_contact", "audit", ["contact"], unique=False)
    op.create_index("ix_audit_object", "audit", ["object", "seq"], unique=False)
    op.create_table(
        "audit_positions",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", t.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("target", name=op.f("pk_audit_positions")),
    )
    op.create_table(
        "audit_tree",
        sa.Column("tree", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("frontier", sa.Text(), nullable=False),
        sa.CheckConstraint("tree = 1", name=op.f("ck_audit_tree_one")),
        sa.PrimaryKeyConstraint("tree", name=op.f("pk_audit_tree")),
    )
    op.create_table(
        "checkpoints",
        sa.Column("checkpoint_id", t.number(), autoincrement=True, nullable=False),
        sa.Column("at", t.Instant(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("taken_by", t.Json(), nullable=False),
        sa.PrimaryKeyConstraint("checkpoint_id", name=op.f("pk_checkpoints")),
    )
    for statement in _GUARDS[op.get_bind().dialect.name]:
        op.execute(statement)
    op.create_table(
        "contacts",
        sa.Column("contact", sa.Text(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=True),
        sa.Column("address", sa.LargeBinary(), nullable=True),
        sa.Column("address_digest", sa.Text(), nullable=True),
        sa.Column("attributes", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", t.Instant(), nullable=False),
        sa.Column("last_at", t.Instant(), nullable=False),
        sa.Column("next_at", t.Instant(), nullable=True),
        sa.Column("held_because", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("contact", name=op.f("pk_contacts")),
    )
    op.create_index("ix_contacts_address_digest", "contacts", ["address_digest"], unique=False)
    op.create_index("ix_contacts_created_at", "contacts", ["created_at"], unique=False)
    op.create_index("ix_contacts_next_at", "contacts", ["next_at"], unique=False)
    op.create_table(
        "entries",
        sa.Column("contact", sa.Text(), nullable=False),
        sa.Column("journey", sa.Text(), nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("entered_at", t.Instant(), nullable=False),
        sa.Column("left_at", t.Instant(), nullable=True),
        sa.Column("exit", sa.Text(), nullable=True),
        sa.Column("converted", sa.Boolean(), nullable=False),
        sa.Column("held_out", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("contact", "journey", "entry", name=op.f("pk_entries")),
    )
    op.create_index("ix_entries_journey_version", "entries", ["journey", "version"], unique=False)
    op.create_table(
        "erasures",
        sa.Column("stand_in", sa.Text(), nullable=False),
        sa.Column("contact", sa.Text(), nullable=True),
        sa.Column("erased_at", t.Instant(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("finished_at", t.Instant(), nullable=True),
        sa.Column("tallied_at", t.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("stand_in", name=op.f("pk_erasures")),
    )
    op.create_index("uq_erasures_contact", "erasures", ["contact"], unique=True)
    op.create_table(
        "left_out",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("n_values", sa.BigInteger(), nullable=False),
        sa.Column("last_at", t.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_left_out")),
    )
    op.create_table(
        "tallies",
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("journey", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("n_rows", sa.BigInteger(), nullable=False),
        sa.Column("n_contacts", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("n_contacts >= 10", name=op.f("ck_tallies_n_contacts")),
        sa.PrimaryKeyConstraint(
            "what", "period", "journey", "version", "node", "name", "outcome", name=op.f("pk_tallies")
        ),
    )
    op.create_table(
        "events",
        sa.Column("event_id", t.number(), autoincrement=True, nullable=False),
        sa.Column("source_id", sa.Text(), nullable=True),
        sa.Column("contact", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("occurred_at", t.Instant(), nullable=False),
        sa.Column("received_at", t.Instant(), nullable=False),
        sa.Column("properties", t.Json(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_events")),
        sa.UniqueConstraint("source_id", name=op.f("uq_events_source_id")),
    )
    op.create_index("ix_events_contact_received_at", "events", ["contact", "received_at", "event_id"], unique=False)
    op.create_index(
        "ix_events_returned",
        "events",
        ["received_at"],
        unique=False,
        sqlite_where=sa.text("event in ('bounced', 'complained')"),
        postgresql_where=sa.text("event in ('bounced', 'complained')"),
    )
    op.create_index(
        "ix_events_seen",
        "events",
        ["received_at"],
        unique=False,
        sqlite_where=sa.text("event in ('clicked', 'opened')"),
        postgresql_where=sa.text("event in ('clicked', 'opened')"),
    )
    op.create_table(
        "inbox",
        sa.Column("inbox_id", t.number(), autoincrement=True, nullable=False),
        sa.Column("contact", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.Text(), nullable=True),
        sa.Column("properties", sa.Text(), nullable=True),
        sa.Column("source_id", sa.Text(), nullable=True),
        sa.Column("put_at", t.Instant(), server_default=sa.text("(CURRENT_TIMESTAMP)"), nullable=False),
        sa.Column("taken_at", t.Instant(), nullable=True),
        sa.Column("refused_because", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("inbox_id", name=op.f("pk_inbox")),
    )
    op.create_index(
        "ix_inbox_put",
        "inbox",
        ["inbox_id"],
        unique=False,
        sqlite_where=sa.text("taken_at is null"),
        postgresql_where=sa.text("taken_at is null"),
    )
    op.create_index(
        "ix_inbox_refused",
        "inbox",
        ["inbox_id"],
        unique=False,
        sqlite_where=sa.text("refused_because is not null"),
        postgresql_where=sa.text("refused_because is not null"),
    )
    op.create_index("ix_inbox_taken_at", "inbox", ["taken_at"], unique=False)
    op.create_table(
        "names",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.CheckConstraint("kind in ('number', 'text', 'flag', 'date', 'instant')", name=op.f("ck_names_kind")),
        sa.CheckConstraint("scope in ('event', 'contact')", name=op.f("ck_names_scope")),
        sa.PrimaryKeyConstraint("scope", "name", name=op.f("pk_names")),
    )
    op.create_table(
        "outbox",
        sa.Column("outbox_id", t.number(), autoincrement=True, nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("webhook_id", sa.Text(), nullable=False),
        sa.Column("about", sa.Text(), nullable=True),
        sa.Column("body", t.Json(), nullable=False),
        sa.Column("created_at", t.Instant(), nullable=False),
        sa.Column("spread_at", t.Instant(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", t.Instant(), nullable=True),
        sa.Column("lease_until", t.Instant(), nullable=True),
        sa.Column("delivered_at", t.Instant(), nullable=True),
        sa.Column("dead_at", t.Instant(), nullable=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("outbox_id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("target", "webhook_id", name=op.f("uq_outbox_target_webhook_id")),
    )
    op.create_index(
        "ix_outbox_about",
        "outbox",
        ["target", "about"],
        unique=False,
        sqlite_where=sa.text("about is not null"),
        postgresql_where=sa.text("about is not null"),
    )
    op.create_index(
        "ix_outbox_dead_at",
        "outbox",
        ["dead_at"],
        unique=False,
        sqlite_where=sa.text("dead_at is not null"),
        postgresql_where=sa.text("dead_at is not null"),
    )
    op.create_index("ix_outbox_next_attempt_at", "outbox", ["next_attempt_at"], unique=False)
    op.create_index(
        "ix_outbox_unspread",
        "outbox",
        ["outbox_id"],
        unique=False,
        sqlite_where=sa.text("spread_at is null"),
        postgresql_where=sa.text("spread_at is null"),
    )
    op.create_table(
        "pauses",
        sa.Column("pause_id", t.number(), autoincrement=True, nullable=False),
        sa.Column("journey", sa.Text(), nullable=False),
        sa.Column("started_at", t.Instant(), nullable=False),
        sa.Column("ended_at", t.Instant(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("pause_id", name=op.f("pk_pauses")),
    )
    op.create_index("ix_pauses_journey", "pauses", ["journey"], unique=False)
    op.create_index(
        "uq_pauses_open_journey",
        "pauses",
        ["journey"],
        unique=True,
        sqlite_where=sa.text("ended_at is null"),
        postgresql_where=sa.text("ended_at is null"),
    )
    op.create_table(
        "relays",
        sa.Column("relay", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("n_failures", sa.Integer(), nullable=False),
        sa.Column("n_rejected", sa.Integer(), nullable=False),
        sa.Column("n_openings", sa.Integer(), nullable=False),
        sa.Column("opened_at", t.Instant(), nullable=True),
        sa.Column("try_at", t.Instant(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint("state in ('closed', 'open', 'half_open')", name=op.f("ck_relays_state")),
        sa.PrimaryKeyConstraint("relay", name=op.f("pk_relays")),
    )
    op.create_table(
        "releases",
        sa.Column("release_id", t.number(), autoincrement=True, nullable=False),
        sa.Column("journey", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("definition", t.Json(), nullable=False),
        sa.Column("policy", t.Json(), nullable=False),
        sa.Column("messages", t.Json(), nullable=False),
        sa.Column("models", t.Json(), nullable=False),
        sa.Column("forecast", t.Json(), nullable=True),
        sa.Column("record", t.Json(), nullable=True),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("created_at", t.Instant(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("release_id", name=op.f("pk_releases")),
        sa.UniqueConstraint("hash", name=op.f("uq_releases_hash")),
    )
    op.create_index("ix_releases_journey", "releases", ["journey"], unique=False)
    op.create_table(
        "statistics",
        sa.Column("until_at", t.Instant(), nullable=False),
        sa.Column("from_at", t.Instant(), nullable=False),
        sa.Column("told_at", t.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("until_at", name=op.f("pk_statistics")),
    )
    op.create_table(
        "suppressions",
        sa.Column("address_digest", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", t.Instant(), nullable=False),
        sa.Column("message_key", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("address_digest", name=op.f("pk_suppressions")),
    )
    op.create_table(
        "visits",
        sa.Column("contact", sa.Text(), nullable=False),
        sa.Column("journey", sa.Text(), nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("visit", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("arrived_at", t.Instant(), nullable=False),
        sa.Column("left_at", t.Instant(), nullable=True),
        sa.Column("branch", sa.Text(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("contact", "journey", "entry", "node", "visit", name=op.f("pk_visits")),
    )
    op.create_table(
        "tokens",
        sa.Column("token_id", t.number(), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("scope", t.Json(), nullable=False),
        sa.Column("created_at", t.Instant(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", t.Instant(), nullable=False),
        sa.Column("revoked_at", t.Instant(), nullable=True),
        sa.Column("revoked_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_tokens_digest")),
    )
    op.create_index(
        "uq_tokens_open_name",
        "tokens",
        ["name"],
        unique=True,
        sqlite_where=sa.text("revoked_at is null"),
        postgresql_where=sa.text("revoked_at is null"),
    )
    op.create_table(
        "wordings",
        sa.Column("wording", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("wording", name=op.f("pk_wordings")),
    )
    op.create_table(
        "workers",
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("started_at", t.Instant(), nullable=False),
        sa.Column("seen_at", t.Instant(), nullable=False),
        sa.Column("stopped_at", t.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("worker", name=op.f("pk_workers")),
    )
    op.create_table(
        "calls",
        sa.Column("call_key", sa.Text(), nullable=False),
        sa.Column("journey", sa.Text(), nullable=False),
        sa.Column("contact", sa.Text(), nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("visit", sa.Integer(), nullable=False),
        sa.Column("release_id", t.number(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("planned_at", t.Instant(), nullable=False),
        sa.Column("not_before", t.Instant(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease_until", t.Instant(), nullable=True),
        sa.Column("settled_at", t.Instant(), nullable=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state in ('planned', 'ready', 'claimed', 'succeeded', 'failed', 'cancelled')", name=op.f("ck_calls_state")
        ),
        sa.ForeignKeyConstraint(["release_id"], ["releases.release_id"], name=op.f("fk_calls_release_id")),
        sa.PrimaryKeyConstraint("call_key", name=op.f("pk_calls")),
        sa.UniqueConstraint(
            "contact", "journey", "entry", "node", "visit", name=op.f("uq_calls_contact_journey_entry_node_visit")
        ),
    )
    op.create_index("ix_calls_state_not_before", "calls", ["state", "not_before"], unique=False)
    op.create_table(
        "consents",
        sa.Column("consent_id", t.number(), autoincrement=True, nullable=False),
        sa.Column("contact", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=True),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("at", t.Instant(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("wording", sa.Text(), nullable=True),
        sa.Column("request_key", sa.Text(), nullable=True),
        sa.Column("expires_at", t.Instant(), nullable=True),
        sa.Column("message_key", sa.Text(), nullable=True),
        sa.Column("evidence", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("what in ('requested', 'given', 'withdrawn')", name=op.f("ck_consents_what")),
        sa.ForeignKeyConstraint(["wording"], ["wordings.wording"], name=op.f("fk_consents_wording")),
        sa.PrimaryKeyConstraint("consent_id", name=op.f("pk_consents")),
    )
    op.create_index("ix_consents_contact", "consents", ["contact"], unique=False)
    op.create_index("ix_consents_request_key", "consents", ["request_key"], unique=False)
    op.create_table(
        "sends",
        sa.Column("message_key", sa.Text(), nullable=False),
        sa.Column("journey", sa.Text(), nullable=False),
        sa.Column("contact", sa.Text(), nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("visit", sa.Integer(), nullable=False),
        sa.Column("release_id", t.number(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("transactional", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("planned_at", t.Instant(), nullable=False),
        sa.Column("not_before", t.Instant(), nullable=True),
        sa.Column("not_after", t.Instant(), nullable=False),
        sa.Column("open_until", t.Instant(), nullable=True),
        sa.Column("cap_sends", sa.Integer(), nullable=True),
        sa.Column("cap_within_us", sa.BigInteger(), nullable=True),
        sa.Column("policy_cap_sends", sa.Integer(), nullable=True),
        sa.Column("policy_cap_within_us", sa.BigInteger(), nullable=True),
        sa.Column("choice", t.Json(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_until", t.Instant(), nullable=True),
        sa.Column("gated_at", t.Instant(), nullable=True),
        sa.Column("settled_at", t.Instant(), nullable=True),
        sa.Column("relay", sa.Text(), nullable=True),
        sa.Column("queue_id", sa.Text(), nullable=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state in ('planned', 'ready', 'claimed', 'transmitting', 'accepted', 'rejected', 'failed', 'ambiguous', 'suppressed', 'cancelled', 'expired')",
            name=op.f("ck_sends_state"),
        ),
        sa.ForeignKeyConstraint(["release_id"], ["releases.release_id"], name=op.f("fk_sends_release_id")),
        sa.PrimaryKeyConstraint("message_key", name=op.f("pk_sends")),
        sa.UniqueConstraint(
            "contact", "journey", "entry", "node", "visit", name=op.f("uq_sends_contact_journey_entry_node_visit")
        ),
    )
    op.create_index("ix_sends_gated_at", "sends", ["gated_at"], unique=False)
    op.create_index("ix_sends_state_not_before", "sends", ["state", "not_before", "journey"], unique=False)
    op.create_table(
        "forgotten",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_forgotten")),
    )
    op.create_table(
        "conflicts",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("n_values", sa.BigInteger(), nullable=False),
        sa.Column("last_at", t.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("name", "source", name=op.f("pk_conflicts")),
    )
    op.create_table(
        "connectors",
        sa.Column("connector", sa.Text(), nullable=False),
        sa.Column("free_at", t.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("connector", name=op.f("pk_connectors")),
    )
    op.create_table(
        "outdated",
        sa.Column("contact", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("from_at", t.Instant(), nullable=False),
        sa.Column("until_at", t.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("contact", "name", "from_at", name=op.f("pk_outdated")),
    )
    op.create_table(
        "products",
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("properties", t.Json(), nullable=False),
        sa.Column("is_gone", sa.Boolean(), nullable=False),
        sa.Column("changed_at", t.Instant(), nullable=True),
        sa.Column("taken_at", t.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("product", name=op.f("pk_products")),
    )
    op.create_table(
        "pulled",
        sa.Column("connector", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("changed_at", t.Instant(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("refused_at", t.Instant(), nullable=True),
        sa.Column("refused_because", sa.Text(), nullable=True),
        sa.CheckConstraint("kind in ('contact', 'event', 'product')", name=op.f("ck_pulled_kind")),
        sa.PrimaryKeyConstraint("connector", "stream", "kind", "item", name=op.f("pk_pulled")),
    )
    op.create_index("ix_pulled_item", "pulled", ["item"], unique=False)
    op.create_index(
        "ix_pulled_refused",
        "pulled",
        ["connector", "stream"],
        unique=False,
        sqlite_where=sa.text("refused_because is not null"),
        postgresql_where=sa.text("refused_because is not null"),
    )
    op.create_table(
        "pulls",
        sa.Column("connector", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("cursor", t.Json(), nullable=True),
        sa.Column("covers", t.Json(), nullable=False),
        sa.Column("started_at", t.Instant(), nullable=True),
        sa.Column("complete_at", t.Instant(), nullable=True),
        sa.Column("completed_at", t.Instant(), nullable=True),
        sa.Column("next_at", t.Instant(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("n_rows", sa.BigInteger(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_until", t.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("connector", "stream", name=op.f("pk_pulls")),
    )
    op.create_table(
        "said",
        sa.Column("contact", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("said_at", t.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("contact", "name", name=op.f("pk_said")),
    )
    op.create_index("ix_said_name", "said", ["name", "source", "said_at"], unique=False)
    op.create_table(
        "spans",
        sa.Column("span_id", t.number(), autoincrement=True, nullable=False),
        sa.Column("release_id", t.number(), nullable=False),
        sa.Column("from_at", t.Instant(), nullable=False),
        sa.Column("until_at", t.Instant(), nullable=True),
        sa.Column("share_from", sa.Float(), nullable=False),
        sa.Column("share_to", sa.Float(), nullable=False),
        sa.Column("share_salt", sa.Text(), nullable=False),
        sa.CheckConstraint("0 <= share_from and share_from < share_to and share_to <= 1", name=op.f("ck_spans_share")),
        sa.ForeignKeyConstraint(["release_id"], ["releases.release_id"], name=op.f("fk_spans_release_id")),
        sa.PrimaryKeyConstraint("span_id", name=op.f("pk_spans")),
    )
    op.create_table(
        "hits",
        sa.Column("hit_id", t.number(), autoincrement=True, nullable=False),
        sa.Column("message_key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("link", sa.Text(), nullable=True),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("agent", sa.LargeBinary(), nullable=True),
        sa.Column("at", t.Instant(), nullable=False),
        sa.Column("settled_at", t.Instant(), nullable=True),
        sa.CheckConstraint("kind in ('open', 'click')", name=op.f("ck_hits_kind")),
        sa.ForeignKeyConstraint(["message_key"], ["sends.message_key"], name=op.f("fk_hits_message_key")),
        sa.PrimaryKeyConstraint("hit_id", name=op.f("pk_hits")),
    )
    op.create_index("ix_hits_message_key", "hits", ["message_key"], unique=False)
    op.create_index("ix_hits_settled_at", "hits", ["settled_at"], unique=False)
    op.create_index(
        "ix_hits_open_at",
        "hits",
        ["at"],
        unique=False,
        sqlite_where=sa.text("settled_at is null"),
        postgresql_where=sa.text("settled_at is null"),
    )
    op.create_table(
        "renderings",
        sa.Column("message_key", sa.Text(), nullable=False),
        sa.Column("address", sa.LargeBinary(), nullable=False),
        sa.Column("address_digest", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("links", sa.LargeBinary(), nullable=False),
        sa.Column("rendered_at", t.Instant(), nullable=False),
        sa.Column("n_changes", sa.Integer(), nullable=True),
        sa.Column("catalogue_at", t.Instant(), nullable=True),
        sa.ForeignKeyConstraint(["message_key"], ["sends.message_key"], name=op.f("fk_renderings_message_key")),
        sa.PrimaryKeyConstraint("message_key", name=op.f("pk_renderings")),
    )
