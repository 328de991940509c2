"""Checkpoints leave on time, and a SIEM is told every entry at least once, in order, over TLS that is verified."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from journeylab.errors import JourneyLabError
from journeylab.sender.audit.checkpoints import opened
from journeylab.sender.audit.folder import outside
from journeylab.sender.audit.keeping import EVERY, MOST, Keeper, signer_of, why_unheld
from journeylab.sender.audit.reading import entries_of, kept_checkpoints, leaves_of, read_frontier
from journeylab.sender.audit.shipping import Unsent, position_of, send, ship, target_of
from journeylab.sender.audit.tree import Frontier
from journeylab.sender.audit.verifying import Verification, verified
from journeylab.sender.sending.worker import Worker
from journeylab.sender.settings import Relay, Settings, Syslog
from journeylab.sender.store import Store, act
from journeylab.sender.store import tables as t
from sendworld import World, make_settings, rendered
from servers.certificates import Authority
from servers.rsyslog import Rsyslog, why_not
from servers.smtp import SmtpOracle
from stores import KEYS, rows_of


@pytest.fixture(scope="module")
def rsyslog(authority: Authority) -> Iterator[Rsyslog]:
    if reason := why_not():
        pytest.skip(reason)
    running = Rsyslog(authority)
    yield running
    running.stop()


class Siem:
    """A receiver over TLS that may break off after so many bytes, as long as `breaks` says."""

    def __init__(self, authority: Authority, *names: str, breaks: int = 0, version: Any = None) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.certificate(*names))
        if version is not None:
            context.maximum_version = version
        self._context, self.breaks, self.data, self.versions = context, breaks, b"", set[str | None]()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._server.accept()
            except OSError:
                return
            with plain:
                try:
                    with self._context.wrap_socket(plain, server_side=True) as secure:
                        self.versions.add(secure.version())
                        self._take(secure, plain)
                except OSError:
                    pass

    def _take(self, secure: ssl.SSLSocket, plain: socket.socket) -> None:
        while data := secure.recv(4096):
            if self.breaks:
                self.breaks -= 1
                # Reset, as a machine that dies: what came before is lost.
                secure.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                return
            self.data += data

    def messages(self) -> list[str]:
        found, rest = [], self.data
        while rest:
            length, _, rest = rest.partition(b" ")
            found.append(rest[: int(length)].decode())
            rest = rest[int(length) :]
        return found

    def numbers(self) -> list[int]:
        return [int(one.partition(' seq="')[2].partition('"')[0]) for one in self.messages()]

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def siem(authority: Authority) -> Iterator[Siem]:
    made = Siem(authority)
    yield made
    made.close()


def settings_for(folder: Path, port: int, authority: Authority, *checkpoints: str, form: str = "rfc5424") -> Settings:
    syslog = {"host": "localhost", "port": port, "ca": str(authority.file), "format": form, "timeout": "5s"}
    return make_settings(folder, audit={"checkpoints": list(checkpoints), "syslog": syslog})


def done(store: Store, n: int, **about: Any) -> None:
    with store.writing() as connection:
        for place in range(n):
            act(connection, store.now(connection), "kim", "pause", f"journey{place}", **about)


def syslog_of(settings: Settings) -> Syslog:
    assert settings.audit.syslog is not None
    return settings.audit.syslog


def test_a_siem_is_told_every_entry_once_and_knows_where_it_was(
    store: Store, tmp_path: Path, siem: Siem, authority: Authority
) -> None:
    settings = settings_for(tmp_path, siem.port, authority)
    done(store, 1203)
    assert ship(store, settings, syslog_of(settings)) == 1203
    assert ship(store, settings, syslog_of(settings)) == 0
    done(store, 2)
    assert ship(store, settings, syslog_of(settings)) == 2
    assert siem.numbers() == [*range(1, 1206)]
    assert siem.versions == {"TLSv1.3"}
    with store.reading() as connection:
        assert position_of(connection, target_of(syslog_of(settings))) == 1205
    assert ship(store, settings, syslog_of(settings), after=1200) == 5
    assert siem.numbers()[-5:] == [1201, 1202, 1203, 1204, 1205]
    with store.reading() as connection:
        assert position_of(connection, target_of(syslog_of(settings))) == 1205


def test_what_a_siem_did_not_take_is_told_again(store: Store, tmp_path: Path, siem: Siem, authority: Authority) -> None:
    settings = settings_for(tmp_path, siem.port, authority)
    done(store, 40)
    siem.breaks = 1
    with pytest.raises(Unsent, match=f"tls://localhost:{siem.port} has not taken"):
        ship(store, settings, syslog_of(settings))
    with store.reading() as connection:
        assert position_of(connection, target_of(syslog_of(settings))) == 0
    assert ship(store, settings, syslog_of(settings)) == 40
    assert siem.numbers()[-40:] == [*range(1, 41)]


def test_nothing_is_told_to_who_is_not_the_siem(tmp_path: Path, authority: Authority) -> None:
    for names, version, ca in [
        (("other.example",), None, authority.file), ((), ssl.TLSVersion.TLSv1_2, authority.file), ((), None, None),
    ]:  # fmt: skip
        one = Siem(authority, *names, version=version)
        to = Syslog(host="localhost", port=one.port, ca=None if ca is None else str(ca), timeout=timedelta(seconds=5))
        with pytest.raises(Unsent):
            send([b"5 hello"], to, tmp_path)
        assert one.data == b""
        one.close()
    with pytest.raises(Unsent):
        send([b"5 hello"], Syslog(host="localhost", port=one.port), tmp_path)
    with pytest.raises(JourneyLabError, match=r"authorities nowhere\.pem cannot be read"):
        send([b"5 hello"], Syslog(host="localhost", port=one.port, ca="nowhere.pem"), tmp_path)


NASTY = 'too many\n<108>1 - - - - - - forged "]\\ = | é\u2028\ufeff\x00\x1b'.replace("\x00", "")


@pytest.mark.parametrize("form", ["rfc5424", "ecs", "cef", "ocsf"])
def test_a_real_syslog_server_takes_each_as_one_record(
    store: Store, tmp_path: Path, rsyslog: Rsyslog, authority: Authority, form: str
) -> None:
    settings = settings_for(tmp_path, rsyslog.port, authority, form=form)
    before = len(rsyslog.taken(0))
    done(store, 3, reason=NASTY)
    assert ship(store, settings, syslog_of(settings)) == 3
    taken = rsyslog.taken(before + 3)[before:]
    assert len(taken) == 3
    entries = rows_of(store, t.audit)
    for entry, one in zip(entries, taken, strict=True):
        assert (one["pri"], one["host"], one["app"], one["msgid"]) == ("108", "shop.example", "journeylab", "pause")
        assert f'seq="{entry.seq}" leaf="{entry.leaf_hash}"' in one["structured"]
        if form in ("ecs", "ocsf"):
            assert entry.leaf_hash in json.dumps(json.loads(one["message"].strip().removeprefix("\ufeff")))


def test_messages_are_sent_without_an_entry(tmp_path: Path) -> None:
    with SmtpOracle(tmp_path / "ledger") as relay:
        one = World(f"sqlite:///{tmp_path}/sender.db", tmp_path, Relay(host="127.0.0.1", port=relay.port, tls="none"))
        for n in range(5):
            one.add(f"c{n}")
        before = len(rows_of(one.store, t.audit))
        worker = Worker(one.store, one.settings, "w1", rendered)
        assert worker.run(until_idle=True) == {"accepted": 5}
        assert len(rows_of(one.store, t.audit)) == before == 5  # each contact's consent
        one.store.close()


# Checkpoints


def verify(store: Store, settings: Settings, path: Path) -> Verification:
    key = signer_of(settings, KEYS).key
    with store.snapshot() as connection:
        return verified(
            entries_of(connection), read_frontier(connection), kept_checkpoints(connection), outside(path, key), key
        )


def kept(store: Store, keeper: Keeper) -> int:
    with store.reading() as connection:
        now = store.now(connection)
    return keeper.keep(now)


def moved(store: Store, by: timedelta) -> None:
    store.clock.move(seconds=by.total_seconds())  # type: ignore[attr-defined]


def causes(store: Store) -> list[str]:
    return [one.cause for one in rows_of(store, t.alerts, resolved_at=None)]


def test_checkpoints_leave_every_five_minutes_or_thousand_entries(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "worm"
    folder.mkdir()
    settings = make_settings(tmp_path, audit={"checkpoints": ["file:worm"]})
    keeper, other = Keeper(store, settings), Keeper(store, settings)
    assert kept(store, keeper) == 2  # made and given, though there is no entry
    assert kept(store, other) == 0
    done(store, 3)
    assert kept(store, keeper) == 0
    moved(store, EVERY)
    assert kept(store, other) == 2
    moved(store, EVERY)
    assert kept(store, keeper) == 2  # also when nothing has happened
    done(store, MOST)
    assert kept(store, keeper) == 2
    assert [one.size for one in rows_of(store, t.checkpoints)] == [0, 3, 3, 1003]
    assert causes(store) == []
    found = verify(store, settings, folder)
    assert (found.faults, found.n_outside, found.newest and found.newest.size) == ((), 4, 1003)
    assert len([*folder.rglob("*.leaves")]) == 4


def test_a_log_that_was_set_back_is_seen_by_the_folder(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "worm"
    folder.mkdir()
    settings = make_settings(tmp_path, audit={"checkpoints": ["file:worm"]})
    keeper = Keeper(store, settings)
    done(store, 9)
    kept(store, keeper)
    with store.writing() as connection:  # as somebody who owns the database
        if store.is_sqlite:
            connection.execute(text("drop trigger audit_not_deleted"))
        else:
            connection.execute(text("set local session_replication_role = replica"))
        connection.execute(text("delete from audit where seq > 5"))
        connection.execute(text("delete from audit_tree"))
        connection.execute(text("delete from checkpoints"))
        grown = Frontier().grown(leaves_of(connection))
        row = {"tree": 1, "size": 5, "frontier": b"".join(grown.hashes).hex()}
        connection.execute(t.audit_tree.insert(), row)
    moved(store, EVERY)
    assert kept(store, keeper) == 1  # made, and not taken
    moved(store, timedelta(minutes=1))
    kept(store, keeper)
    assert causes(store) == ["audit/checkpoints"]
    found = verify(store, settings, folder)
    assert {("cut_off", 6)} <= {(one.what, one.first) for one in found.faults}


def test_a_checkpoint_put_again_in_the_folder_is_found(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "worm"
    folder.mkdir()
    settings = make_settings(tmp_path, audit={"checkpoints": [f"file:{folder}"]})
    keeper = Keeper(store, settings)
    for _ in range(2):
        done(store, 3)
        kept(store, keeper)
        moved(store, EVERY)
    old, new = sorted(folder.rglob("*.checkpoint"))
    leaves = sorted(folder.rglob("*.leaves"))[1]
    good = new.read_text(), leaves.read_text()
    assert verify(store, settings, folder).is_well
    new.write_text(old.read_text())
    assert any("put there again" in one.text for one in verify(store, settings, folder).faults)
    new.write_text(good[0])
    lines = good[1].splitlines()
    leaves.write_text("\n".join([lines[0], "00" * 32, *lines[2:]]))
    assert any("leaves beside it" in one.text for one in verify(store, settings, folder).faults)
    leaves.write_text("nothing")
    assert any("has not the leaves" in one.text for one in verify(store, settings, folder).faults)


def test_a_siem_takes_checkpoints_and_its_log_is_held_against(
    store: Store, tmp_path: Path, rsyslog: Rsyslog, authority: Authority
) -> None:
    settings = settings_for(tmp_path, rsyslog.port, authority, "syslog")
    before = len(rsyslog.taken(0))
    done(store, 4)
    assert kept(store, Keeper(store, settings)) == 6
    assert len(rsyslog.taken(before + 5)) == before + 5
    mine = tmp_path / "siem.log"
    mine.write_text("\n".join(rsyslog.file.read_text().splitlines()[before:]))
    found = verify(store, settings, mine)
    assert (found.faults, found.n_outside, found.newest and found.newest.size) == ((), 1, 4)
    theirs = outside(mine, signer_of(settings, KEYS).key)
    assert [(one.first, len(one.leaves)) for one in theirs] == [(1, 4)]  # which locates a change to its entry


def test_nobody_to_take_checkpoints_and_nobody_who_does_are_alerts(
    store: Store, tmp_path: Path, authority: Authority
) -> None:
    nowhere = make_settings(tmp_path)
    with store.reading() as connection:
        assert "no checkpoint of the audit log leaves" in str(why_unheld(connection, nowhere, store.now(connection)))
    kept(store, Keeper(store, nowhere))
    assert causes(store) == ["audit/checkpoints"]
    away = make_settings(tmp_path, audit={"checkpoints": ["file:away"]})
    keeper = Keeper(store, away)
    kept(store, keeper)
    assert causes(store) == []  # it may be taken soon
    moved(store, timedelta(minutes=2))
    kept(store, keeper)
    assert causes(store) == ["audit/checkpoints"]
    (tmp_path / "away").mkdir()
    moved(store, timedelta(minutes=2))
    kept(store, keeper)
    assert causes(store) == []
    with store.reading() as connection:
        later = store.now(connection) + 3 * EVERY
        assert "`journeylab run` makes them" in str(why_unheld(connection, away, later))
    gone = settings_for(tmp_path, 1, authority, "file:away")
    done(store, 1)
    keeper = Keeper(store, gone)
    kept(store, keeper)
    assert causes(store) == ["audit/siem"]


def test_a_webhook_takes_checkpoints(store: Store, tmp_path: Path) -> None:
    webhook = {"url": "https://audit.example/checkpoints", "secret": "env:NOT_READ"}
    settings = make_settings(tmp_path, audit={"checkpoints": ["webhook"], "webhook": webhook})
    keeper = Keeper(store, settings)
    assert kept(store, keeper) == 1
    (row,) = rows_of(store, t.outbox)
    assert (row.target, row.body["type"]) == ("audit", "audit.checkpoint")
    assert opened(row.body["data"]["note"], signer_of(settings, KEYS).key).size == 0
    with store.writing() as connection:
        connection.execute(t.outbox.update().values(delivered_at=datetime(2026, 3, 2, tzinfo=UTC)))
    assert kept(store, keeper) == 1
    assert rows_of(store, t.checkpoints)[0].taken_by == ["webhook"]
    with pytest.raises(ValueError, match="say with `syslog:`"):
        make_settings(tmp_path, audit={"checkpoints": ["syslog"]})
    with pytest.raises(ValueError, match="takes no checkpoints"):
        make_settings(tmp_path, audit={"checkpoints": ["post"]})
