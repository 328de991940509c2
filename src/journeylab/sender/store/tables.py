"""The sender's tables, as SQL shows them: names from the glossary, instants in UTC, JSON as text.

| table | a row is | written by |
|---|---|---|
| `contacts` | a contact: where mail goes, attributes on coming in, when something is due next | intake, ticks |
| `names` | an event property or contact attribute and its kind, the same for all time | intake |
| `left_out` | a name of what comes in and no purpose declares: how many values were not kept | intake |
| `events` | an event as it was received, a release's own sends among them (rule 29) | intake, gate, settling |
| `inbox` | an event that another system has put there by SQL, and what became of it | others, intake |
| `releases` | a frozen version: definition, messages, forecast, hashes | promote |
| `spans` | when, and of which share of contacts, a release takes entries (rule 26) | promote |
| `pauses` | a pause of a journey; open where `ended_at` is missing (rule 28) | pause, resume, breakers |
| `entries`, `visits` | what the machine has decided, as `replay` gives it | ticks |
| `sends` | a message by its identity (rule 30), and its state | ticks, sending |
| `renderings` | the bytes of a message, frozen when they were first made | sending |
| `calls` | an outside call of a `call` node | ticks, calls |
| `outbox` | what somebody outside has to be told, at least once, under one id; dead where `dead_at` says | `tell` |
| `hits` | a load of a message's picture or a followed link as it came, before it is an event | serve, ticks |
| `consents` | what was asked of, given and withdrawn by a contact, with its proof; only added to | consent |
| `wordings` | a text that was consented to | consent |
| `erasures` | an erased person: by which name what is left of it stands | erasure |
| `forgotten` | a keyed digest of an erased contact's id, by which no pull brings the person back | erasure |
| `tallies` | what is left of rows that were deleted: a count of at least ten people | retention |
| `suppressions` | an address digest to which nothing goes any more | bounces, complaints |
| `alerts` | a cause of trouble, from when it came until it was over | whoever notices |
| `statistics` | a period whose counts others were told | run |
| `relays` | the state of each relay's circuit breaker | sending |
| `workers` | a process that sends | sending |
| `tokens` | a token of a service: its digest, what it is for and until when | `tokens` |
| `approvals` | what somebody wants to do that takes a second person, and whether one approved it | `approvals` |
| `reports` | a report that is written on schedule, and whether it was | run |
| `connectors` | another system: when it may be called next | whoever calls it |
| `pulls` | a stream that is pulled: how far, since when it is known as a whole, when next | pulls |
| `pulled` | a row of a stream: how new what was taken of it is, or why it was refused | pulls |
| `said` | an attribute of a contact that may be too old: who said it last, and as of when | intake, pulls |
| `outdated` | when what was known of an attribute was too old, and, as it turned out, wrong | intake, pulls |
| `conflicts` | an attribute of which another than its owner spoke: how many values were not taken | intake |
| `products` | a product of the catalogue | pulls |
| `audit` | what a person or automaton did to the sender; only added to | `act` |
| `audit_tree` | one row: the frontier of the tree over `audit` | `act` |
| `checkpoints` | a signed statement of what `audit` was, and who has taken it | run |
| `audit_positions` | up to which entry a SIEM has been told | run, `audit export` |

What is known of a person is sealed (`seals`): in `contacts` the address and attributes, in `events` what no column and
no contract names, in `renderings` all but the hash, in `consents` the evidence, in `hits` the user agent. A contact is
found by its `address_digest`. Where `sealed_key` is missing, the person was erased.

A contact's rows are written under a lock on its row in `contacts`, whose `last_at` is the last instant at which
anything was received or decided for it: each next one is later, so that no event ever falls into a decided past.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    func,
    text,
)

__all__ = [
    "KEPT", "RETURNED", "SEEN", "STATES", "alerts", "approvals", "audit", "audit_positions", "audit_tree", "calls",
    "checkpoints", "conflicts", "connectors", "consents", "contacts", "entries", "erasures", "events", "forgotten",
    "hits", "inbox", "left_out", "metadata", "names", "outbox", "outdated", "pauses", "products", "pulled", "pulls",
    "relays", "releases", "renderings", "reports", "said", "sends", "spans", "state_beside", "statistics",
    "suppressions", "tallies", "tokens", "visits", "wordings", "workers",
]  # fmt: skip

STATES: Final = (
    "planned", "ready", "claimed", "transmitting", "accepted", "rejected", "failed", "ambiguous", "suppressed",
    "cancelled", "expired",
)  # fmt: skip
"""The states of a message; see `journeylab.sender.sending.states` for the ways between them."""

RETURNED: Final = text("event in ('bounced', 'complained')")
"""Which events tell that a message came back: a condition on `events` that has an index."""
SEEN: Final = text("event in ('clicked', 'opened')")
"""Which events tell that a message was seen: the same."""
KEPT: Final = {"sqlite": text("body <> x''"), "postgresql": text("body <> ''")}
"""Which messages still have their bytes: a condition on `renderings` that has an index, for each kind of database."""
_DEAD: Final = text("dead_at is not null")
_DELIVERED: Final = text("delivered_at is not null")
_WAITING: Final = text("delivered_at is null and dead_at is null")
_HELD: Final = text("held_because is not null")
_UNSPREAD: Final = text("spread_at is null")
_ABOUT: Final = text("about is not null")
_PUT: Final = text("taken_at is null")
_REFUSED: Final = text("refused_because is not null")


def aware(at: datetime) -> datetime:
    """The instant.

    Raises:
        ValueError: for one without a time zone: a fault of the program.
    """
    if at.tzinfo is None:
        raise ValueError(f"the instant {at} has no time zone")
    return at


def as_text(at: datetime) -> str:
    """An instant as SQLite holds it; raises like `aware`."""
    return aware(at).astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def as_instant(held: Any) -> datetime:
    """An instant as a database holds it, text or aware: aware UTC."""
    if isinstance(held, str):
        return datetime.fromisoformat(held + "+00:00")
    found: datetime = held.astimezone(UTC)
    return found


class Instant(TypeDecorator[datetime]):
    """An aware UTC instant to the microsecond: `timestamptz` in PostgreSQL, text that sorts in SQLite."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        at = aware(value)
        return as_text(at) if dialect.name == "sqlite" else at

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else as_instant(value)


class Json(TypeDecorator[Any]):
    """Plain data as JSON text with sorted keys."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002
        return None if value is None else json.loads(value)


def number() -> Any:
    """The type of a key that the database counts up."""
    return BigInteger().with_variant(Integer, "sqlite")


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_open(table: str, of: str, end: str) -> Index:
    """At most one row that has not ended for each value of a column, whoever races."""
    is_open = text(f"{end} is null")
    return Index(f"uq_{table}_open_{of}", of, unique=True, sqlite_where=is_open, postgresql_where=is_open)


def _identity() -> list[Column[Any]]:
    """The identity of what a node does once (rule 30)."""
    return [
        Column("journey", Text, nullable=False),
        Column("contact", Text, nullable=False),
        Column("entry", Integer, nullable=False),
        Column("node", Text, nullable=False),
        Column("visit", Integer, nullable=False),
    ]


contacts = Table(
    "contacts",
    metadata,
    Column("contact", Text, primary_key=True),
    Column("sealed_key", LargeBinary),
    Column("address", LargeBinary),
    Column("address_digest", Text),
    Column("attributes", LargeBinary),
    Column("created_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("next_at", Instant),
    Column("held_because", Text),
    Index("ix_contacts_next_at", "next_at"),
    Index("ix_contacts_address_digest", "address_digest"),
    Index("ix_contacts_created_at", "created_at"),
    Index("ix_contacts_held", "contact", sqlite_where=_HELD, postgresql_where=_HELD),
)

names = Table(
    "names",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    CheckConstraint("scope in ('event', 'contact')", name="scope"),
    CheckConstraint("kind in ('number', 'text', 'flag', 'date', 'instant')", name="kind"),
)

left_out = Table(
    "left_out",
    metadata,
    Column("name", Text, primary_key=True),
    Column("n_values", BigInteger, nullable=False),
    Column("last_at", Instant, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("event_id", number(), primary_key=True, autoincrement=True),
    Column("source_id", Text, unique=True),
    Column("contact", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("occurred_at", Instant, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("properties", Json, nullable=False),
    Column("sealed", LargeBinary),
    Index("ix_events_contact_received_at", "contact", "received_at", "event_id"),
    Index("ix_events_returned", "received_at", sqlite_where=RETURNED, postgresql_where=RETURNED),
    Index("ix_events_seen", "received_at", sqlite_where=SEEN, postgresql_where=SEEN),
)

inbox = Table(
    "inbox",
    metadata,
    Column("inbox_id", number(), primary_key=True, autoincrement=True),
    Column("contact", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("occurred_at", Text),
    Column("properties", Text),
    Column("source_id", Text),
    Column("put_at", Instant, nullable=False, server_default=func.current_timestamp()),
    Column("taken_at", Instant),
    Column("refused_because", Text),
    Index("ix_inbox_put", "inbox_id", sqlite_where=_PUT, postgresql_where=_PUT),
    Index("ix_inbox_taken_at", "taken_at"),
    Index("ix_inbox_refused", "inbox_id", sqlite_where=_REFUSED, postgresql_where=_REFUSED),
)
"""Others write contact, event and what they know of the rest; texts, so that no database guesses a time's zone."""

releases = Table(
    "releases",
    metadata,
    Column("release_id", number(), primary_key=True, autoincrement=True),
    Column("journey", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("definition", Json, nullable=False),
    Column("policy", Json, nullable=False),
    Column("messages", Json, nullable=False),
    Column("models", Json, nullable=False),
    Column("forecast", Json),
    Column("record", Json),
    Column("hash", Text, nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    Index("ix_releases_journey", "journey"),
)

spans = Table(
    "spans",
    metadata,
    Column("span_id", number(), primary_key=True, autoincrement=True),
    Column("release_id", ForeignKey("releases.release_id"), nullable=False),
    Column("from_at", Instant, nullable=False),
    Column("until_at", Instant),
    Column("share_from", Float, nullable=False),
    Column("share_to", Float, nullable=False),
    Column("share_salt", Text, nullable=False),
    CheckConstraint("0 <= share_from and share_from < share_to and share_to <= 1", name="share"),
)

pauses = Table(
    "pauses",
    metadata,
    Column("pause_id", number(), primary_key=True, autoincrement=True),
    Column("journey", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("reason", Text, nullable=False),
    Column("started_by", Text, nullable=False),
    Column("ended_by", Text),
    Index("ix_pauses_journey", "journey"),
    _one_open("pauses", "journey", "ended_at"),
)

entries = Table(
    "entries",
    metadata,
    Column("contact", Text, primary_key=True),
    Column("journey", Text, primary_key=True),
    Column("entry", Integer, primary_key=True),
    Column("version", Text, nullable=False),
    Column("entered_at", Instant, nullable=False),
    Column("left_at", Instant),
    Column("exit", Text),
    Column("converted", Boolean, nullable=False),
    Column("held_out", Boolean, nullable=False),
    Index("ix_entries_journey_version", "journey", "version"),
)

visits = Table(
    "visits",
    metadata,
    Column("contact", Text, primary_key=True),
    Column("journey", Text, primary_key=True),
    Column("entry", Integer, primary_key=True),
    Column("node", Text, primary_key=True),
    Column("visit", Integer, primary_key=True),
    Column("version", Text, nullable=False),
    Column("arrived_at", Instant, nullable=False),
    Column("left_at", Instant),
    Column("branch", Text),
    Column("evidence", Text, nullable=False),
)

sends = Table(
    "sends",
    metadata,
    Column("message_key", Text, primary_key=True),
    *_identity(),
    Column("release_id", ForeignKey("releases.release_id")),
    Column("message", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("transactional", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("planned_at", Instant, nullable=False),
    Column("not_before", Instant),
    Column("not_after", Instant, nullable=False),
    Column("open_until", Instant),
    Column("cap_sends", Integer),
    Column("cap_within_us", BigInteger),
    Column("policy_cap_sends", Integer),
    Column("policy_cap_within_us", BigInteger),
    Column("choice", Json),
    Column("attempts", Integer, nullable=False),
    Column("worker", Text),
    Column("fence", Integer, nullable=False),
    Column("lease_until", Instant),
    Column("gated_at", Instant),
    Column("settled_at", Instant),
    Column("relay", Text),
    Column("queue_id", Text),
    Column("reply", Text),
    UniqueConstraint("contact", "journey", "entry", "node", "visit"),
    CheckConstraint("state in (" + ", ".join(f"'{one}'" for one in STATES) + ")", name="state"),
    Index("ix_sends_state_not_before", "state", "not_before", "journey"),
    Index("ix_sends_gated_at", "gated_at"),
)

state_beside = sends.c.state.concat("")
"""A message's state, in conditions that another index serves: SQLite would take that of states, with all messages."""

renderings = Table(
    "renderings",
    metadata,
    Column("message_key", ForeignKey("sends.message_key"), primary_key=True),
    Column("address", LargeBinary, nullable=False),
    Column("address_digest", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("hash", Text, nullable=False),
    Column("links", LargeBinary, nullable=False),
    Column("rendered_at", Instant, nullable=False),
    Column("n_changes", Integer),
    Column("catalogue_at", Instant),
    Index("ix_renderings_kept", "rendered_at", sqlite_where=KEPT["sqlite"], postgresql_where=KEPT["postgresql"]),
)
"""`n_changes` is how many changes of the contact's attributes it knows, and `catalogue_at` of when its products are."""

calls = Table(
    "calls",
    metadata,
    Column("call_key", Text, primary_key=True),
    *_identity(),
    Column("release_id", ForeignKey("releases.release_id"), nullable=False),
    Column("service", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("planned_at", Instant, nullable=False),
    Column("not_before", Instant),
    Column("attempts", Integer, nullable=False),
    Column("worker", Text),
    Column("lease_until", Instant),
    Column("settled_at", Instant),
    Column("reply", Text),
    UniqueConstraint("contact", "journey", "entry", "node", "visit"),
    CheckConstraint("state in ('planned', 'ready', 'claimed', 'succeeded', 'failed', 'cancelled')", name="state"),
    Index("ix_calls_state_not_before", "state", "not_before"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("outbox_id", number(), primary_key=True, autoincrement=True),
    Column("target", Text, nullable=False),
    Column("webhook_id", Text, nullable=False),
    Column("about", Text),
    Column("body", Json, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("spread_at", Instant),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Instant),
    Column("lease_until", Instant),
    Column("delivered_at", Instant),
    Column("dead_at", Instant),
    Column("reply", Text),
    UniqueConstraint("target", "webhook_id"),
    Index("ix_outbox_unspread", "outbox_id", sqlite_where=_UNSPREAD, postgresql_where=_UNSPREAD),
    Index("ix_outbox_about", "target", "about", sqlite_where=_ABOUT, postgresql_where=_ABOUT),
    Index("ix_outbox_waiting", "next_attempt_at", sqlite_where=_WAITING, postgresql_where=_WAITING),
    Index("ix_outbox_delivered_at", "delivered_at", sqlite_where=_DELIVERED, postgresql_where=_DELIVERED),
    Index("ix_outbox_dead_at", "dead_at", sqlite_where=_DEAD, postgresql_where=_DEAD),
)

hits = Table(
    "hits",
    metadata,
    Column("hit_id", number(), primary_key=True, autoincrement=True),
    Column("message_key", ForeignKey("sends.message_key"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("link", Text),
    Column("method", Text, nullable=False),
    Column("agent", LargeBinary),
    Column("at", Instant, nullable=False),
    Column("settled_at", Instant),
    CheckConstraint("kind in ('open', 'click')", name="kind"),
    Index("ix_hits_message_key", "message_key"),
    Index("ix_hits_settled_at", "settled_at"),
    Index(
        "ix_hits_open_at", "at", sqlite_where=text("settled_at is null"), postgresql_where=text("settled_at is null")
    ),
)

wordings = Table(
    "wordings",
    metadata,
    Column("wording", Text, primary_key=True),
    Column("language", Text, nullable=False),
    Column("text", Text, nullable=False),
)

consents = Table(
    "consents",
    metadata,
    Column("consent_id", number(), primary_key=True, autoincrement=True),
    Column("contact", Text, nullable=False),
    Column("purpose", Text),
    Column("what", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("route", Text, nullable=False),
    Column("wording", ForeignKey("wordings.wording")),
    Column("request_key", Text),
    Column("expires_at", Instant),
    Column("message_key", Text),
    Column("evidence", LargeBinary, nullable=False),
    CheckConstraint("what in ('requested', 'given', 'withdrawn')", name="what"),
    Index("ix_consents_contact", "contact"),
    Index("ix_consents_request_key", "request_key"),
)

erasures = Table(
    "erasures",
    metadata,
    Column("stand_in", Text, primary_key=True),
    Column("contact", Text),
    Column("erased_at", Instant, nullable=False),
    Column("reason", Text, nullable=False),
    Column("finished_at", Instant),
    Column("tallied_at", Instant),
    Index("uq_erasures_contact", "contact", unique=True),
)
"""`contact` is there until its messages have come to their ends, at `finished_at`; then all that is left is renamed.
From `tallied_at` on only counts are left of it."""

forgotten = Table("forgotten", metadata, Column("digest", Text, primary_key=True))
"""It stands alone: no stand-in is found by it."""

tallies = Table(
    "tallies",
    metadata,
    Column("what", Text, primary_key=True),
    Column("period", Text, primary_key=True),
    Column("journey", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("node", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("outcome", Text, primary_key=True),
    Column("n_rows", BigInteger, nullable=False),
    Column("n_contacts", BigInteger, nullable=False),
    CheckConstraint("n_contacts >= 10", name="n_contacts"),
)
"""See `journeylab.sender.persons.tallies`."""

suppressions = Table(
    "suppressions",
    metadata,
    Column("address_digest", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("message_key", Text),
)

alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", number(), primary_key=True, autoincrement=True),
    Column("cause", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("n_seen", Integer, nullable=False),
    Column("acknowledged_at", Instant),
    Column("acknowledged_by", Text),
    Column("resolved_at", Instant),
    _one_open("alerts", "cause", "resolved_at"),
)

statistics = Table(
    "statistics",
    metadata,
    Column("until_at", Instant, primary_key=True),
    Column("from_at", Instant, nullable=False),
    Column("told_at", Instant, nullable=False),
)

relays = Table(
    "relays",
    metadata,
    Column("relay", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("n_failures", Integer, nullable=False),
    Column("n_rejected", Integer, nullable=False),
    Column("n_openings", Integer, nullable=False),
    Column("opened_at", Instant),
    Column("try_at", Instant),
    Column("reason", Text),
    CheckConstraint("state in ('closed', 'open', 'half_open')", name="state"),
)

workers = Table(
    "workers",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("stopped_at", Instant),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", number(), primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),
    Column("scope", Json, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    Column("revoked_by", Text),
    _one_open("tokens", "name", "revoked_at"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("approval_id", number(), primary_key=True, autoincrement=True),
    Column("kind", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("share", Float),
    Column("contact", Text),
    Column("purpose", Text, nullable=False),
    Column("asked_at", Instant, nullable=False),
    Column("asked_by", Text, nullable=False),
    Column("people", Json, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("approved_at", Instant),
    Column("approved_by", Text),
    Column("used_at", Instant),
    CheckConstraint("kind in ('promotion', 'reveal', 'copy', 'export')", name="kind"),
    Index("ix_approvals_object", "object"),
    Index("ix_approvals_contact", "contact"),
)
"""`object` is JOURNEY/HASH of the release, `contact` or `production log`; `people` are all behind the one who asked."""

reports = Table(
    "reports",
    metadata,
    Column("name", Text, primary_key=True),
    Column("journey", Text, nullable=False),
    Column("until_at", Instant, nullable=False),
    Column("claimed_at", Instant, nullable=False),
    Column("claimed_by", Text, nullable=False),
    Column("sent_to", Json, nullable=False),
    Column("written_at", Instant),
)

connectors = Table(
    "connectors",
    metadata,
    Column("connector", Text, primary_key=True),
    Column("free_at", Instant, nullable=False),
)

pulls = Table(
    "pulls",
    metadata,
    Column("connector", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("cursor", Json),
    Column("covers", Json, nullable=False),
    Column("started_at", Instant),
    Column("complete_at", Instant),
    Column("completed_at", Instant),
    Column("next_at", Instant, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("reply", Text),
    Column("n_rows", BigInteger, nullable=False),
    Column("worker", Text),
    Column("fence", Integer, nullable=False),
    Column("lease_until", Instant),
)
"""A complete pull began at `complete_at` and ended at `completed_at`; the one at hand began at `started_at`. `covers`
names the attributes that the stream has owned since its cursor began; `n_rows` counts what came since."""

pulled = Table(
    "pulled",
    metadata,
    Column("connector", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("item", Text, primary_key=True),
    Column("changed_at", Instant),
    Column("digest", Text),
    Column("refused_at", Instant),
    Column("refused_because", Text),
    CheckConstraint("kind in ('contact', 'event', 'product')", name="kind"),
    Index("ix_pulled_item", "item"),
    Index("ix_pulled_refused", "connector", "stream", sqlite_where=_REFUSED, postgresql_where=_REFUSED),
)
"""`item` is the contact's id, the product's, or the source's own of an event; `digest` is a keyed one of all of it."""

said = Table(
    "said",
    metadata,
    Column("contact", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("said_at", Instant, nullable=False),
    Index("ix_said_name", "name", "source", "said_at"),
)

outdated = Table(
    "outdated",
    metadata,
    Column("contact", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("from_at", Instant, primary_key=True),
    Column("until_at", Instant, nullable=False),
)

conflicts = Table(
    "conflicts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("n_values", BigInteger, nullable=False),
    Column("last_at", Instant, nullable=False),
)

products = Table(
    "products",
    metadata,
    Column("product", Text, primary_key=True),
    Column("properties", Json, nullable=False),
    Column("is_gone", Boolean, nullable=False),
    Column("changed_at", Instant),
    Column("taken_at", Instant, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", number(), primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("contact", Text),
    Column("details", Json),
    Column("salt", Text),
    Column("commitment", Text, nullable=False),
    Column("leaf_hash", Text, nullable=False),
    CheckConstraint("seq >= 1", name="seq"),
    Index("ix_audit_contact", "contact"),
    Index("ix_audit_object", "object", "seq"),
)
"""Entries; see `journeylab.sender.audit.entries`. Hashes and salts are hexadecimal."""

audit_tree = Table(
    "audit_tree",
    metadata,
    Column("tree", Integer, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("frontier", Text, nullable=False),
    CheckConstraint("tree = 1", name="one"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("checkpoint_id", number(), primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("root", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("taken_by", Json, nullable=False),
)

audit_positions = Table(
    "audit_positions",
    metadata,
    Column("target", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("at", Instant, nullable=False),
)
