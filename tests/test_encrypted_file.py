"""A store in a file that is encrypted: without the ring nothing can be read in it, with it all goes as elsewhere."""

from __future__ import annotations

import logging
import sys
from datetime import timedelta
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import select

from journeylab import Journey
from journeylab.errors import DataError, DefinitionError
from journeylab.program import Release
from journeylab.sender.health import health_of
from journeylab.sender.keys import Keys, key_ring
from journeylab.sender.live.intake import Person, receive_people
from journeylab.sender.live.productionlog import verify
from journeylab.sender.ownstore import own_store, store_of, store_url
from journeylab.sender.persons.erasure import erase
from journeylab.sender.sending.worker import Worker
from journeylab.sender.settings import Relay, Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from liverun import LiveRun, StillClock
from sendworld import KEYS, START, rendered, world
from servers.smtp import SmtpOracle

pytest.importorskip("sqlcipher3")
CANARY = "crm-Zx7canaryQ-17"
DRIVERS = ("sqlite", "sqlite+pysqlcipher")


def read_without_a_key(folder: Path) -> bytes:
    """All bytes of a database's files: the file, its write-ahead log, its journal."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob("sender.db*")))


@pytest.mark.parametrize("driver", DRIVERS)
def test_without_the_ring_a_file_tells_nothing_and_a_plain_one_tells_tables_and_ids(
    driver: str, tmp_path: Path
) -> None:
    store = Store.open(f"{driver}:///{tmp_path}/sender.db", KEYS, create=True)
    with store.writing() as connection:
        receive_people(connection, [Person(CANARY, "ada@mail.example")], START)
    assert {path.name for path in tmp_path.iterdir()} >= {"sender.db", "sender.db-wal"}
    while_open = read_without_a_key(tmp_path)
    store.close()
    after = read_without_a_key(tmp_path)
    wanted = [b"SQLite format 3", b"renderings", b"CREATE TABLE", CANARY.encode(), b"contact_added"]
    found = {one for one in wanted if one in while_open and one in after}
    assert found == (set() if "cipher" in driver else {*wanted})


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_rollback_journal_is_encrypted_too(driver: str, tmp_path: Path) -> None:
    store = Store.open(f"{driver}:///{tmp_path}/sender.db", KEYS, create=True)
    with store.engine.connect() as connection:
        connection.exec_driver_sql("commit")  # the mode is changed outside of transactions alone
        assert connection.exec_driver_sql("pragma journal_mode = delete").scalar() == "delete"
        connection.exec_driver_sql("pragma cache_size = 1")
        connection.exec_driver_sql("begin immediate")
        connection.exec_driver_sql("alter table names add column note text")
        for n in range(2000):
            row = ("event", f"n{n}", CANARY)
            connection.exec_driver_sql("insert into names (scope, name, kind, note) values (?, ?, 'text', ?)", row)
        journal = (tmp_path / "sender.db-journal").read_bytes()
        spilled = read_without_a_key(tmp_path)
        connection.exec_driver_sql("rollback")
    store.close()
    is_plain = "cipher" not in driver
    assert len(journal) > 4096
    assert (b"CREATE TABLE names" in journal) is is_plain
    assert (CANARY.encode() in spilled) is is_plain


def test_it_is_the_rings_first_key_and_sqlcipher_as_others_use_it(tmp_path: Path) -> None:
    import sqlcipher3

    Store.open(f"sqlite+pysqlcipher:///{tmp_path}/sender.db", KEYS, create=True).close()
    key = HKDF(SHA256(), 32, salt=None, info=b"journeylab/file/v1").derive(KEYS.root)
    connection = sqlcipher3.connect(str(tmp_path / "sender.db"))
    connection.execute(f"pragma key = \"x'{key.hex()}'\"")
    assert connection.execute("select count(*) from sqlite_master where name = 'contacts'").fetchone() == (1,)
    assert connection.execute("pragma cipher_integrity_check").fetchall() == []
    connection.close()


def test_only_the_right_ring_and_the_right_url_open_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plain, url = f"sqlite:///{tmp_path}/plain.db", f"sqlite+pysqlcipher:///{tmp_path}/sender.db"
    for one in (plain, url):
        Store.open(one, KEYS, create=True).close()
    Store.open(url, KEYS.rotated()).close()
    Store.open(url, file_key=KEYS.of("file")).close()
    for where, keys, said in [
        (url, Keys(bytes(32)), "sender.db does not open with this key ring"),
        (url, None, "sender.db: the file is encrypted; it is opened with the sender's key ring"),
        (url.replace("+pysqlcipher", ""), KEYS, "encrypted one's URL is sqlite.pysqlcipher:///sender.db"),
        (plain.replace("sqlite", "sqlite+pysqlcipher"), KEYS, "plain.db is not encrypted; its URL is sqlite:///plain"),
    ]:
        with pytest.raises(DataError, match=said) as refused:
            Store.open(where, keys)
        assert KEYS.of("file").hex() not in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_the_key_stands_in_no_url_and_no_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store = Store.open(f"sqlite+pysqlcipher:///{tmp_path}/sender.db", KEYS, create=True)
    shown = f"{store!r} {store.engine.url} {store.engine.url.render_as_string(hide_password=False)} {caplog.text}"
    store.close()
    assert KEYS.of("file").hex() not in shown.lower()


def test_without_sqlcipher_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlcipher3", None)
    with pytest.raises(DataError, match=r"pip install 'journeylab\[sqlcipher\]'"):
        Store.open(f"sqlite+pysqlcipher:///{tmp_path}/sender.db", KEYS, create=True)


def test_a_page_that_was_changed_is_refused(tmp_path: Path) -> None:
    url = f"sqlite+pysqlcipher:///{tmp_path}/sender.db"
    Store.open(url, KEYS, create=True).close()
    file = tmp_path / "sender.db"
    held = bytearray(file.read_bytes())
    held[1000] ^= 1
    file.write_bytes(held)
    with pytest.raises(DataError, match="another sender's, or damaged"):
        Store.open(url, KEYS)


JOURNEY = Journey.model_validate(
    {
        "journey": "welcome", "trigger": {"event": "signup"}, "purpose": "marketing",
        "nodes": {"hello": {"send": "hello_mail", "next": "pause"}, "pause": {"wait": "3d", "next": "done"},
                  "done": {"exit": "finished"}},
    }
)  # fmt: skip


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_journey_runs_and_a_person_is_erased_in_it(driver: str, tmp_path: Path) -> None:
    store = Store.open(f"{driver}:///{tmp_path}/sender.db", KEYS, clock=StillClock(START), create=True)
    run = LiveRun(store, [Release(journey=JOURNEY)])
    run.declare("event", {"purpose": "text", "product": "text"})
    run.people([{"contact": CANARY}, {"contact": "bob"}])
    consent = {"event": "consent_given", "occurred_at": START, "properties": {"purpose": "marketing"}}
    signup = {"event": "signup", "occurred_at": START + timedelta(hours=1), "properties": {"product": "book"}}
    events = [one | {"contact": contact} for one in (consent, signup) for contact in (CANARY, "bob")]
    run.run(events, START + timedelta(days=1))
    with store.reading() as connection:
        assert connection.scalars(select(t.sends.c.state)).all() == ["accepted", "accepted"]
    settings = run.settings.model_copy(update={"folder": tmp_path})
    erase(store, settings, lambda _: run.running, CANARY, reason="asked for", actor="kim")
    with store.reading() as connection:
        assert CANARY not in connection.scalars(select(t.sends.c.contact)).all()
    assert verify(store, lambda _: run.running).differences.empty
    store.close()
    assert CANARY.encode() not in read_without_a_key(tmp_path)


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_is_sent_arrives_once_and_an_older_copy_is_refused(driver: str, tmp_path: Path) -> None:
    with SmtpOracle(tmp_path / "ledger", fsync=False) as oracle:
        relay = Relay(name="main", host="127.0.0.1", port=oracle.port, tls="none")
        with world(f"{driver}:///{tmp_path}/sender.db", tmp_path, relay) as one:
            keys = [one.add(f"c{i}") for i in range(5)]
            one.store.close()
            copy(tmp_path / "sender.db", tmp_path / "backup.db")
            assert Worker(one.store, one.settings, "w1", rendered).run(until_idle=True) == {"accepted": 5}
            assert oracle.counts() == dict.fromkeys(keys, 1)
            one.store.close()
            for path in tmp_path.glob("sender.db*"):
                path.unlink()
            copy(tmp_path / "backup.db", tmp_path / "sender.db")
            with pytest.raises(DataError, match="does not know of 5 messages"):
                Worker(one.store, one.settings, "w2", rendered)


def settings_file(folder: Path, **changed: Any) -> Path:
    """A sender's settings, whose store is encrypted."""
    path = folder / "sender.yaml"
    path.write_text(
        "sender: shop\ndomain: shop.example\nfrom: {address: hello@shop.example}\nlist_id: news.shop.example\n"
        "bounces: bounces.shop.example\npublic_url: https://mail.shop.example\n"
        "relays: [{host: 127.0.0.1, port: 1, tls: none}]\nstore: sqlite+pysqlcipher:///sender.db\n"
    )
    return path


def test_settings_name_it_and_commands_find_its_key_by_themselves(tmp_path: Path, run: Any) -> None:
    file = settings_file(tmp_path)
    settings = Settings.read(file)
    assert store_url(settings) == f"sqlite+pysqlcipher:///{tmp_path}/sender.db"
    assert store_of(settings) is None
    own_store(settings, key_ring(settings, create=True), create=True).close()
    there = store_of(settings)
    assert there is not None
    assert there.cipher_version is not None
    with pytest.raises(DataError, match="open the store with the sender's keys"):
        assert there.keys
    there.close()
    (said,) = [one for one in health_of(file, lambda: START) if one.what == "store"]
    assert said.is_well
    assert said.text.startswith("SQLCipher 4.")
    assert "2: in use, seals 0 contacts" in (
        run("keys", "rotate", "--settings", str(file)) + run("keys", "list", "--settings", str(file))
    )
    assert key_ring(settings).newest == 2


def test_a_password_in_the_url_is_refused(tmp_path: Path) -> None:
    file = settings_file(tmp_path)
    file.write_text(file.read_text().replace("pysqlcipher:///", "pysqlcipher://:secret@/"))
    with pytest.raises(DefinitionError, match="store has a password in it"):
        Settings.read(file)
