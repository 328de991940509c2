"""Erasure: nothing of the person is left in tables, files or logs, nobody writes to them again, and all still fits."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import delete, insert, select

from journeylab import Journey
from journeylab.errors import DataError
from journeylab.program import Release
from journeylab.sender.audit.keeping import signer_of
from journeylab.sender.audit.reading import entries_of, read_frontier
from journeylab.sender.audit.verifying import verified
from journeylab.sender.consent.requests import give
from journeylab.sender.live.intake import Incoming, Person, receive, receive_people
from journeylab.sender.live.productionlog import verify as verify_decisions
from journeylab.sender.persons.copies import copy_of
from journeylab.sender.persons.erasure import Erased, erase, repeat, stand_in
from journeylab.sender.sending.journal import Receipt, adopt, refuse_older_copy
from journeylab.sender.store import Store, act
from journeylab.sender.store import tables as t
from liverun import SETTINGS, LiveRun, StillClock
from stores import KEYS, rows_of

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
CANARY = "Zx7canaryQ"
CONTACT = f"crm-{CANARY}-17"
JOURNEY = Journey.model_validate(
    {
        "journey": "welcome",
        "trigger": {"event": "signup"},
        "purpose": "marketing",
        "nodes": {
            "hello": {"send": "hello_mail", "next": "pause"},
            "pause": {"wait": "3d", "next": "again"},
            "again": {"send": "again_mail", "next": "done"},
            "done": {"exit": "finished"},
        },
    }
)


class Shop:
    """A store in which one contact, whose every field is a token of its own, has gone through everything."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = Store(store.engine, StillClock(START))
        self.settings = SETTINGS.model_copy(update={"folder": folder})
        self.run = LiveRun(self.store, [Release(journey=JOURNEY)], settings=self.settings)
        self.run.declare("event", {"purpose": "text", "product": "text"})
        self.clock = self.run.clock
        with self.store.writing() as connection:
            people = [Person(one, f"{one}@rcpt.test", {"first_name": one}) for one in (CONTACT, "bob")]
            assert not receive_people(connection, people, START).refused
            for one in (CONTACT, "bob"):
                give(connection, one, "marketing", "Yes", "en", "form", {"agent": CANARY}, START)
                act(connection, START, "ada", "looked_at", "a contact", contact=one, why=one)
        events = [
            {"contact": one, "event": name, "occurred_at": START + timedelta(hours=1), "properties": {"product": one}}
            for one in (CONTACT, "bob")
            for name in ("signup", "bought")
        ]
        self.run.run(events, START + timedelta(days=1))
        with self.store.writing() as connection:
            key = connection.scalar(select(t.sends.c.message_key).where(t.sends.c.contact == CONTACT))
            hit = {"message_key": key, "kind": "open", "method": "GET", "at": self.clock.at}
            connection.execute(insert(t.hits), hit)
            connection.execute(
                insert(t.inbox), {"contact": CONTACT, "event": "late", "properties": f'{{"a":"{CANARY}"}}'}
            )

    def erase(self, contact: str = CONTACT) -> Erased:
        runs = self.run.running
        return erase(self.store, self.settings, lambda _: runs, contact, reason="asked for", actor="ada")

    def named_in(self) -> list[str]:
        """The tables in which the token stands."""
        with self.store.reading() as connection:
            return [
                table.name
                for table in t.metadata.sorted_tables
                if any(CANARY in str(cell) for row in connection.execute(select(table)) for cell in row)
            ]


@pytest.fixture
def shop(store: Store, tmp_path: Path) -> Shop:
    return Shop(store, tmp_path)


def test_a_copy_has_all_that_is_known(shop: Shop) -> None:
    with shop.store.reading() as connection:
        found = copy_of(connection, CONTACT)
        with pytest.raises(DataError, match="of whom anything is known"):
            copy_of(connection, "nobody")
    assert found["address"] == f"{CONTACT}@rcpt.test"
    assert found["attributes"] == {"first_name": CONTACT}
    assert [one["event"] for one in found["events"]][:2] == ["contact_added", "consent_given"]
    assert {"event": "bought", "product": CONTACT}.items() <= {
        **next(one for one in found["events"] if one["event"] == "bought"), "product": CONTACT
    }.items()  # fmt: skip
    assert found["consent"][0]["evidence"] == {"agent": CANARY}
    assert json.dumps(found)


def test_nothing_is_left_in_any_table_and_all_others_are_as_they_were(shop: Shop) -> None:
    assert {"contacts", "events", "entries", "visits", "sends", "audit", "inbox"} <= {*shop.named_in()}
    before = {table: len(rows_of(shop.store, table)) for table in (t.entries, t.visits, t.sends)}
    with shop.store.reading() as connection:
        bob = copy_of(connection, "bob")
    done = shop.erase()
    assert (done.is_finished, done.n_on_their_way, done.n_suppressed) == (True, 0, 1)
    assert done.n_deleted["events"] >= 4
    assert shop.named_in() == []
    assert {table: len(rows_of(shop.store, table)) for table in before} == before
    with shop.store.reading() as connection:
        assert copy_of(connection, "bob") == bob
        ends = connection.execute(
            select(t.entries.c.exit, t.entries.c.left_at).where(t.entries.c.contact == done.stand_in)
        )
        assert ends.all() == [("erased", done.erased_at)]
        states = {*connection.scalars(select(t.sends.c.state).where(t.sends.c.contact == done.stand_in))}
    assert states <= {"accepted", "cancelled", "suppressed", "expired"}
    with pytest.raises(DataError, match="there is no contact"):
        shop.erase()


def test_the_audit_log_still_verifies_and_tells_of_the_erasure(shop: Shop) -> None:
    done = shop.erase()
    with shop.store.reading() as connection:
        key = signer_of(shop.settings, KEYS).key
        found = verified(entries_of(connection), read_frontier(connection), [], [], key)
    assert found.faults == ()
    assert found.n_erased == done.n_deleted["audit"] > 0
    entries = rows_of(shop.store, t.audit)
    assert (entries[-1].action, entries[-1].object, entries[-1].contact) == ("erased", done.stand_in, None)


def test_what_was_decided_for_others_is_still_what_replay_gives(shop: Shop) -> None:
    shop.erase()
    shop.run.run([], START + timedelta(days=5))
    found = verify_decisions(shop.store, lambda _: shop.run.running)
    assert found.differences.empty
    assert found.n_contacts == 1
    assert shop.named_in() == []


def comes_again(shop: Shop) -> None:
    """The erased person is brought in under another id and enters; all that is due until the journey's end happens."""
    shop.clock.at += timedelta(days=1)
    with shop.store.writing() as connection:
        receive_people(connection, [Person("new-id", f"{CONTACT}@rcpt.test".upper())], shop.clock.at)
        give(connection, "new-id", "marketing", "Yes", "en", "form", {}, shop.clock.at)
        receive(connection, [Incoming("new-id", "signup")], shop.clock.at)
    shop.run.run([], shop.clock.at + timedelta(days=5))


def test_who_is_brought_in_again_gets_no_mail(shop: Shop) -> None:
    shop.erase()
    comes_again(shop)
    sends = rows_of(shop.store, t.sends, contact="new-id")
    ends = {(one.node, one.state, one.reason, one.gated_at) for one in sends}
    assert ends == {(node, "suppressed", "suppression", None) for node in ("hello", "again")}
    assert {one.fence for one in sends} == {1}  # each was claimed once
    visits = rows_of(shop.store, t.visits, contact="new-id")
    assert [(one.node, one.branch) for one in visits if one.node != "pause"] == [
        ("again", "skipped"), ("done", None), ("hello", "skipped")
    ]  # fmt: skip
    (entry,) = rows_of(shop.store, t.entries, contact="new-id")
    assert entry.exit == "finished"
    (contact,) = rows_of(shop.store, t.contacts, contact="new-id")
    assert contact.held_because is None
    assert rows_of(shop.store, t.alerts) == []
    assert verify_decisions(shop.store, lambda _: shop.run.running).differences.empty


def test_without_the_suppression_who_is_brought_in_again_would_get_mail(shop: Shop) -> None:
    shop.erase()
    with shop.store.writing() as connection:
        connection.execute(delete(t.suppressions))
    comes_again(shop)
    assert {one.state for one in rows_of(shop.store, t.sends, contact="new-id")} == {"accepted"}


def names_of(contact: str) -> set[str]:
    """The names that a contact's messages have by rule 30, as whoever holds the ring can make them of its id."""
    return {KEYS.message_key("welcome", contact, 1, node, 1) for node in ("hello", "again")}


def test_whoever_guesses_the_id_finds_no_stand_in(shop: Shop) -> None:
    with shop.store.writing() as connection:
        (key,) = connection.scalars(
            select(t.sends.c.message_key).where(t.sends.c.contact == CONTACT, t.sends.c.node == "hello")
        )
        connection.execute(
            insert(t.suppressions), {"address_digest": "d", "reason": "bounced", "at": START, "message_key": key}
        )
        connection.execute(t.consents.update().values(message_key=key, request_key=key))
    assert key in names_of(CONTACT)
    shop.erase()
    with shop.store.reading() as connection:
        cells = {
            str(cell)
            for table in t.metadata.sorted_tables
            if table is not t.audit
            for row in connection.execute(select(table)).mappings()
            if row.get("contact") != "bob" or table is t.sends
            for cell in row.values()
        }
    assert not cells & names_of(CONTACT)
    assert cells & names_of("bob")  # as those of the others are found


def test_an_erased_id_that_is_brought_in_again_is_a_new_contact(shop: Shop) -> None:
    shop.erase()
    shop.clock.at += timedelta(days=1)
    with shop.store.writing() as connection:
        receive_people(connection, [Person(CONTACT, f"{CONTACT}@rcpt.test")], shop.clock.at)
        give(connection, CONTACT, "marketing", "Yes", "en", "form", {}, shop.clock.at)
        connection.execute(delete(t.suppressions))  # the run writes to the address that it had
    shop.run.run([{"contact": CONTACT, "event": "signup", "occurred_at": shop.clock.at}], START + timedelta(days=9))
    sends = rows_of(shop.store, t.sends, contact=CONTACT)
    assert {(one.node, one.state) for one in sends} == {("hello", "accepted"), ("again", "accepted")}
    assert {one.message_key for one in sends} == names_of(CONTACT)
    assert verify_decisions(shop.store, lambda _: shop.run.running).differences.empty


def receipt_of(shop: Shop) -> Receipt:
    """What this machine noted of the first message."""
    (row,) = rows_of(shop.store, t.sends, contact=CONTACT, node="hello")
    about = {name: getattr(row, name) for name in ("message_key", "journey", "entry", "node", "visit", "message")}
    return Receipt(
        **about, contact=CONTACT, purpose="marketing", transactional=False, release_id=row.release_id, fence=row.fence,
        gated_at=row.gated_at, relay="relay", kind="accepted", code=250, enhanced=None, reply="ok", queue_id=None,
        at=row.settled_at,
    )  # fmt: skip


def test_receipts_of_an_erased_person_are_no_sign_of_an_older_copy(shop: Shop) -> None:
    receipt = receipt_of(shop)
    refuse_older_copy(shop.store, [receipt])
    shop.clock.at += timedelta(hours=1)
    shop.erase()
    refuse_older_copy(shop.store, [receipt])
    later = replace(receipt, at=shop.clock.at + timedelta(hours=1))
    with pytest.raises(DataError, match="restored from an older copy"):
        refuse_older_copy(shop.store, [later])
    with shop.store.writing() as connection:
        connection.execute(t.erasures.update().values(finished_at=None))
    with pytest.raises(DataError, match="restored from an older copy"):  # without knowing of erasures
        refuse_older_copy(shop.store, [receipt])


def test_adopted_receipts_bring_no_erased_person_back(shop: Shop, tmp_path: Path) -> None:
    receipt = receipt_of(shop)
    file = tmp_path / "receipts" / "worker" / "000001.jsonl"
    file.parent.mkdir(parents=True)
    file.write_bytes(receipt.line())
    shop.clock.at += timedelta(hours=1)
    shop.erase()
    assert adopt(shop.store, tmp_path / "receipts", "ada").n_written == 0
    assert shop.named_in() == []
    with shop.store.writing() as connection:
        connection.execute(t.erasures.update().values(finished_at=None))
    assert adopt(shop.store, tmp_path / "receipts", "ada").n_written == 1  # without knowing of erasures
    assert CONTACT in {one.contact for one in rows_of(shop.store, t.contacts)}


def test_whom_the_machine_cannot_advance_is_erased_all_the_same(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("journeylab.sender.persons.erasure.advance", fails)
    done = shop.erase()
    assert shop.named_in() == []
    (entry,) = rows_of(shop.store, t.entries, contact=done.stand_in)
    assert (entry.exit, entry.left_at) == ("erased", done.erased_at)
    assert {one.left_at is None for one in rows_of(shop.store, t.visits, contact=done.stand_in)} == {False}


def test_a_message_on_its_way_comes_to_its_end_first(shop: Shop) -> None:
    with shop.store.writing() as connection:
        key = connection.scalar(select(t.sends.c.message_key).where(t.sends.c.contact == CONTACT))
        going = t.sends.update().where(t.sends.c.message_key == key)
        connection.execute(going.values(state="ambiguous", lease_until=None))
    done = shop.erase()
    assert (done.is_finished, done.n_on_their_way) == (False, 1)
    with shop.store.writing() as connection:
        got = receive(connection, [Incoming("bob", "bought"), Incoming(CONTACT, "bought")], shop.clock.at)
        assert (got.n_new, [one.place for one in got.refused]) == (1, [1])
        people = receive_people(connection, [Person(CONTACT, "new@rcpt.test"), Person("bob")], shop.clock.at)
        assert [(one.place, one.reason.partition(";")[0]) for one in people.refused] == [
            (0, "the person is being erased and a message is on its way")
        ]
    with shop.store.writing() as connection:
        assert stand_in(connection, shop.clock.at) == 0
        connection.execute(going.values(state="failed"))
        assert stand_in(connection, shop.clock.at) == 1
    assert shop.named_in() == []


def test_files_that_were_taken_go_and_refused_ones_are_named(store: Store, tmp_path: Path) -> None:
    shop = Shop(store, tmp_path)
    shop.settings = shop.settings.model_copy(update={"inbox": SimpleNamespace(folder="inbox", timezone=None)})
    for name in ("taken", "refused"):
        folder = tmp_path / "inbox" / "events" / name
        folder.mkdir(parents=True)
        (folder / "a.csv").write_text(f"contact,event\n{CONTACT},signup\n")
        (folder / "b.csv").write_text("contact,event\nbob,signup\n")
        (folder / "c.json").write_text(f'{{"broken": "{CONTACT}"')
    done = shop.erase()
    left = {f"{one.parent.name}/{one.name}" for one in (tmp_path / "inbox").rglob("*.*")}
    assert left == {"taken/b.csv", "refused/a.csv", "refused/b.csv", "refused/c.json"}
    assert sorted(Path(one).name for one in done.files) == ["a.csv", "c.json"]


def in_files(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.rglob("*") if one.is_file() and CANARY.encode() in one.read_bytes())


@pytest.fixture
def on_disk(sqlite_store_file: Path, tmp_path: Path) -> Shop:
    shutil.copy(sqlite_store_file, tmp_path / "sender.db")
    return Shop(Store.open(f"sqlite:///{tmp_path}/sender.db", KEYS), tmp_path)


def test_nothing_is_left_in_the_files_of_a_database(on_disk: Shop, tmp_path: Path) -> None:
    assert in_files(tmp_path)
    on_disk.erase()
    assert in_files(tmp_path) == []  # while it is open
    on_disk.store.close()
    assert in_files(tmp_path) == []


def test_without_secure_delete_the_file_would_still_tell(on_disk: Shop, tmp_path: Path) -> None:
    with on_disk.store.engine.connect() as connection:
        connection.exec_driver_sql("pragma secure_delete = off")
    on_disk.erase()
    on_disk.store.close()
    assert in_files(tmp_path) == ["sender.db"]


def test_personal_fields_never_stood_in_the_files_of_postgresql(shop: Shop, request: pytest.FixtureRequest) -> None:
    if shop.store.is_sqlite:
        pytest.skip("of PostgreSQL alone")
    field = "Qy3onlyInFields"
    with shop.store.writing() as connection:
        receive_people(connection, [Person("eve", f"{field}@rcpt.test", {"first_name": field})], shop.clock.at)
        receive(connection, [Incoming("eve", "bought", None, {"product": field})], shop.clock.at)
    shop.erase("eve")
    with shop.store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("checkpoint")
    folder = request.getfixturevalue("postgres_server").folder
    found = [one for one in folder.rglob("*") if one.is_file() and field.encode() in one.read_bytes()]
    assert found == []


def test_a_database_restored_from_before_is_erased_again(on_disk: Shop, tmp_path: Path) -> None:
    on_disk.store.close()
    shutil.copy(tmp_path / "sender.db", tmp_path / "backup")
    on_disk.erase()
    on_disk.store.close()
    for one in tmp_path.glob("sender.db*"):
        one.unlink()
    shutil.copy(tmp_path / "backup", tmp_path / "sender.db")
    (tmp_path / "backup").unlink()
    assert on_disk.named_in()
    again = repeat(on_disk.store, on_disk.settings, lambda _: on_disk.run.running, actor="ada")
    assert again == 1
    assert on_disk.named_in() == []
    assert repeat(on_disk.store, on_disk.settings, lambda _: on_disk.run.running, actor="ada") == 0
    assert CANARY not in (tmp_path / "state" / "erasures.jsonl").read_text()
