"""The audit log in both databases: gapless, in the transaction of the change, closed to change, and erasable."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError

from journeylab.errors import DataError
from journeylab.sender.audit.checkpoints import Checkpoint
from journeylab.sender.audit.keeping import note_settings, signer_of
from journeylab.sender.audit.proofs import proof_of, proven
from journeylab.sender.audit.reading import (
    Unreadable,
    entries_of,
    erase,
    kept_checkpoints,
    leaves_of,
    read_frontier,
    size_of,
)
from journeylab.sender.audit.roles import grants_for
from journeylab.sender.audit.verifying import Verification, verified
from journeylab.sender.live.intake import Incoming, receive
from journeylab.sender.settings import Access
from journeylab.sender.store import Store, act
from journeylab.sender.store import tables as t
from journeylab.sender.store.migrations import upgrade
from sendworld import make_settings
from stores import KEYS, START, rows_of

SETTINGS = make_settings(Path())
SIGNER = signer_of(SETTINGS, KEYS)


def done(store: Store, *actions: str, contact: str | None = None, **details: Any) -> None:
    with store.writing() as connection:
        for action in actions:
            act(connection, store.now(connection), "kim", action, "welcome", contact=contact, **details)


def verify(store: Store) -> Verification:
    with store.snapshot() as connection:
        return verified(entries_of(connection), read_frontier(connection), kept_checkpoints(connection), [], SIGNER.key)


def stated(store: Store) -> None:
    """A checkpoint of what there is."""
    with store.writing() as connection:
        frontier = read_frontier(connection)
        assert frontier is not None
        made = Checkpoint(SIGNER.name, frontier.size, frontier.root, store.now(connection))
        row = {"at": made.at, "size": made.size, "root": made.root.hex(), "note": made.signed(SIGNER), "taken_by": []}
        connection.execute(t.checkpoints.insert(), row)


def test_the_first_migration_makes_the_tables_that_the_program_knows(store: Store) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    with store.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, t.metadata) == []
    upgrade(store.engine)  # again, which changes nothing


def test_entries_are_numbered_without_gaps_and_roll_back_with_the_change(store: Store) -> None:
    done(store, "pause", "resume", reason="one")
    with suppress(KeyboardInterrupt), store.writing() as connection:
        act(connection, store.now(connection), "kim", "promote", "welcome")
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="no float"):
        done(store, "promote", share=0.5)
    done(store, "full")
    assert [(one.seq, one.action) for one in rows_of(store, t.audit)] == [(1, "pause"), (2, "resume"), (3, "full")]
    assert verify(store).is_well
    with store.reading() as connection:
        assert size_of(connection) == 3
        assert len(leaves_of(connection, after=1)) == 2
        with pytest.raises(KeyError):
            act(connection, store.now(connection), "kim", "pause", "welcome")


def test_nothing_is_done_while_it_cannot_be_recorded(store: Store) -> None:
    done(store, "pause")
    with store.writing() as connection:
        connection.execute(t.audit_tree.update().values(frontier="zz"))
    with pytest.raises(DataError, match="the audit log is damaged"):
        done(store, "resume")
    assert len(rows_of(store, t.audit)) == 1


def test_many_writers_at_once_leave_one_order(store: Store) -> None:
    def write(who: int) -> None:
        for n in range(10):
            done(store, f"a{who}", f"b{who}", n=n)

    threads = [threading.Thread(target=write, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = verify(store)
    assert (found.n_entries, found.faults) == (120, ())


def test_consent_changes_are_entries_whatever_way_they_come(store: Store) -> None:
    with store.writing() as connection:
        events = [Incoming("ada", "consent_given", None, {"purpose": "news"}, "s1"), Incoming("ada", "visit")]
        receive(connection, [*events, Incoming("ada", "erased")], store.now(connection))
        receive(connection, events[:1], store.now(connection))  # the same again
    found = [(one.actor, one.action, one.contact, one.details.get("purpose")) for one in rows_of(store, t.audit)]
    assert found == [("intake", "consent_given", "ada", "news"), ("intake", "erased", "ada", None)]


CHANGES = [
    "update audit set actor = 'eve' where seq = 1",
    "update audit set details = '{}' where seq = 1",
    "update audit set contact = null, details = null where seq = 1",
    "update audit set leaf_hash = 'x'",
    "update audit set seq = 9 where seq = 1",
    "delete from audit where seq = 2",
    "insert into audit select * from audit where seq = 1",
]


@pytest.mark.parametrize("change", CHANGES)
def test_rows_cannot_be_changed_by_accident(store: Store, change: str) -> None:
    done(store, "pause", "resume", contact="ada")
    with pytest.raises(DBAPIError), store.writing() as connection:
        connection.execute(text(change))
    assert verify(store).is_well


def test_replacing_and_truncating_are_changes_too(store: Store) -> None:
    done(store, "pause", "resume", contact="ada")
    change = "insert or replace into audit select * from audit where seq = 1" if store.is_sqlite else "truncate audit"
    with pytest.raises(DBAPIError, match="stay as they are"), store.writing() as connection:
        connection.execute(text(change))


def test_what_is_erased_is_gone_and_the_tree_still_verifies(store: Store) -> None:
    done(store, "consent_given", contact="ada", route="canary-7f3a")
    done(store, "pause", reason="bounces")
    done(store, "contact_revealed", contact="ada")
    done(store, "contact_revealed", contact="zofia")
    stated(store)
    with store.reading() as connection:
        before = read_frontier(connection)
    with store.writing() as connection:
        assert erase(connection, "ada") == 2
        act(connection, store.now(connection), "kim", "erased", "contact", n_entries=2)
    rows = rows_of(store, t.audit)
    assert [(one.contact, one.details, one.salt is None) for one in rows[:3]] == [
        (None, None, True), (None, {"reason": "bounces"}, False), (None, None, True),
    ]  # fmt: skip
    assert rows[3].contact == "zofia"
    found = verify(store)
    assert (found.faults, found.n_erased) == ((), 2)
    assert rows[-1].details == {"n_entries": 2, "entries": [1, 3]}
    with store.reading() as connection:
        assert read_frontier(connection) != before
    with store.writing() as connection:
        assert erase(connection, "nobody") == 0
    with pytest.raises(ValueError, match="a transaction that says so"), store.writing() as connection:
        erase(connection, "zofia")
    assert rows_of(store, t.audit)[3].contact == "zofia"


def test_a_proof_is_checked_with_the_key_alone(store: Store) -> None:

    done(store, "consent_given", contact="ada", purpose="news")
    done(store, "pause", "resume")
    done(store, "consent_withdrawn", contact="ada", purpose="news")
    with store.reading() as connection, pytest.raises(DataError, match="no checkpoint yet"):
        proof_of(connection, SIGNER.key, contact="ada")
    stated(store)
    done(store, "contact_revealed", contact="ada")
    with store.reading() as connection:
        proof, n_later = proof_of(connection, SIGNER.key, contact="ada")
        by_number, _ = proof_of(connection, SIGNER.key, seq=2)
        with pytest.raises(DataError, match="came after the last checkpoint"):
            proof_of(connection, SIGNER.key, seq=5)
        with pytest.raises(DataError, match="no entry of 'nobody'"):
            proof_of(connection, SIGNER.key, contact="nobody")
    shown = proven(json.dumps(proof), SIGNER.key)
    assert [(one.seq, one.action) for one in shown.entries] == [(1, "consent_given"), (4, "consent_withdrawn")]
    assert n_later == 1
    assert proven(json.dumps(by_number), SIGNER.key).entries[0].action == "pause"
    for name, value, why in [
        ("actor", "eve", "not as it was recorded"), ("details", {"purpose": "else"}, "not as it was recorded"),
        ("contact", "zofia", "not as it was recorded"), ("seq", 2, "not as it was recorded"),
        ("proof", [], "is not in the log"), ("leaf_hash", "00" * 32, "not as it was recorded"),
    ]:  # fmt: skip
        forged = json.loads(json.dumps(proof))
        forged["entries"][0][name] = value
        with pytest.raises(DataError, match=why):
            proven(json.dumps(forged), SIGNER.key)
    for wrong in ("", "[]", "{}", json.dumps(proof | {"entries": []})):
        with pytest.raises(DataError, match=r"no proof|proves nothing"):
            proven(wrong, SIGNER.key)


def test_without_the_path_a_forged_entry_is_proven(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:

    from journeylab.sender.audit import proofs
    from journeylab.sender.audit.entries import sealed

    done(store, "consent_withdrawn", contact="ada")
    stated(store)
    with store.reading() as connection:
        proof, _ = proof_of(connection, SIGNER.key, seq=1)
        (real,) = entries_of(connection)
    assert not isinstance(real, Unreadable)
    forged = sealed(1, real.at, "contact", "consent_given", "consent", "ada", {}, bytes(32))
    text_ = json.dumps(proof | {"entries": [proofs._plain(forged) | {"proof": []}]})
    with pytest.raises(DataError, match="is not in the log"):
        proven(text_, SIGNER.key)
    monkeypatch.setattr(proofs, "is_included", lambda *_: True)
    assert proven(text_, SIGNER.key).entries[0].action == "consent_given"


def test_other_settings_access_policy_and_key_are_noted_once(store: Store) -> None:
    note_settings(store, SETTINGS, "w1")
    note_settings(store, SETTINGS, "serve@host")
    assert [(one.actor, one.action) for one in rows_of(store, t.audit)] == [
        ("w1", "settings_changed"), ("w1", "access_changed"), ("w1", "policy_changed"), ("w1", "key_changed"),
    ]  # fmt: skip
    first = rows_of(store, t.audit)[0]
    for changed in ({"attempts": 9}, {"attempts": 9, "domain": "other.example"}):
        note_settings(store, SETTINGS.model_copy(update=changed), "serve@host")
        note_settings(store, SETTINGS.model_copy(update=changed), "w2")
    one, two = rows_of(store, t.audit)[4:]
    assert (one.actor, one.action, one.details["before"]) == ("serve@host", "settings_changed", first.details["now"])
    assert (one.details["changed"], two.details["changed"]) == (["attempts"], ["domain"])
    assert "other.example" not in json.dumps(two.details)


def test_who_gives_himself_a_role_is_named_by_the_log(store: Store) -> None:
    """Settings lie outside of the database: without the entry nobody could see later that there was such a role."""
    access = Access(people={"eve": ("admin",)})
    note_settings(store, SETTINGS, "w1")
    note_settings(store, SETTINGS.model_copy(update={"access": access}), "w1")
    note_settings(store, SETTINGS, "w1")
    told = [(one.action, one.details.get("changed")) for one in rows_of(store, t.audit)[4:]]
    assert told == [("settings_changed", ["access"]), ("access_changed", None)] * 2
    assert "eve" not in json.dumps([one.details for one in rows_of(store, t.audit)])


def test_a_policy_that_was_changed_beside_a_promotion_is_noted(store: Store) -> None:
    released = {
        "journey": "welcome", "version": "v1", "definition": {}, "policy": {"holdout": "2%"}, "messages": {},
        "models": [], "hash": "h", "created_at": START, "created_by": "kim",
    }  # fmt: skip
    with store.writing() as connection:
        connection.execute(t.releases.insert(), released)
        span = {"release_id": 1, "from_at": START, "share_from": 0.0, "share_to": 1.0, "share_salt": "s"}
        connection.execute(t.spans.insert(), span)
    note_settings(store, SETTINGS, "w1")
    with store.writing() as connection:  # as somebody who can write to the database
        connection.execute(t.releases.update().values(policy={}))
    note_settings(store, SETTINGS, "w1")
    assert [one.action for one in rows_of(store, t.audit)[4:]] == ["policy_changed"]


SPOILT = [
    "update audit set details = 'no json' where seq = 2", "update audit set salt = 'zz' where seq = 2",
    "update audit set details = '[]' where seq = 2", "update audit set details = '{\"a\": 0.5}' where seq = 2",
    "update audit set leaf_hash = '' where seq = 2", "update audit set at = 'then' where seq = 2",
    "update audit set actor = x'00' where seq = 2",
]  # fmt: skip


@pytest.mark.parametrize("change", SPOILT)
def test_whatever_stands_in_a_row_is_a_fault_and_no_failure(store: Store, change: str) -> None:
    done(store, "pause", "resume", "full", contact="ada")
    with store.writing() as connection:
        if store.is_sqlite:
            connection.execute(text("drop trigger audit_not_changed"))
        elif "then" in change or "x'" in change:
            pytest.skip("PostgreSQL's columns have types")
        else:
            connection.execute(text("set local session_replication_role = replica"))
        connection.execute(text(change))
    assert [(one.what, one.first) for one in verify(store).faults][:1] == [("edited", 2)]


AS_ROLE = [
    "truncate audit",
    "delete from checkpoints",
    "delete from audit_tree",
    "update audit set contact = null, details = null, salt = null",
    "drop trigger audit_not_changed on audit",
    "alter table audit disable trigger all",
    "set session_replication_role = replica",
    "create or replace function audit_guard() returns trigger language plpgsql as 'begin return old; end'",
]


def test_a_senders_role_adds_to_the_log_and_changes_nothing_in_it(postgres_server: Any) -> None:
    name = postgres_server.create()
    owner = Store.open(postgres_server.url(name), create=True)
    role = 'send"er'
    with owner.writing() as connection:
        connection.execute(text('drop role if exists "send""er"'))
        connection.execute(text('create role "send""er" login'))
        for statement in grants_for(role):
            connection.execute(text(statement))
    done(owner, "pause", contact="ada")

    engine = create_engine(postgres_server.url(name))
    sender = Store(engine)

    @event.listens_for(engine, "connect")
    def _as_sender(connection: Any, _: Any) -> None:
        connection.execute('set role "send""er"')
        connection.commit()

    try:
        done(sender, "resume", contact="ada")
        for change in [*CHANGES, *AS_ROLE]:
            with pytest.raises(DBAPIError), sender.writing() as connection:
                connection.execute(text(change))
        with sender.writing() as connection:
            assert erase(connection, "ada") == 2
            act(connection, sender.now(connection), "kim", "erased", "person")
        assert (verify(sender).faults, verify(sender).n_erased) == ((), 2)
    finally:
        sender.close()
        with owner.writing() as connection:
            connection.execute(text('drop owned by "send""er"'))
            connection.execute(text('drop role "send""er"'))
        owner.close()
        postgres_server.drop(name)
