"""Receipts outlive a crash, and a database restored from an older copy is found out by them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, select

from journeylab.errors import DataError
from journeylab.sender.sending import journal
from journeylab.sender.sending.journal import KEPT_FOR, Journal, Receipt, adopt, newest, refuse_older_copy, replay
from journeylab.sender.sending.worker import Worker
from journeylab.sender.store import tables as t
from sendworld import START, World, rendered, world
from servers.smtp import SmtpOracle
from test_worker import relay_of

RECEIPT = Receipt(
    message_key="0" * 32, journey="welcome", contact="ada", entry=1, node="hello", visit=1, message="hello",
    purpose="marketing", transactional=False, release_id=None, fence=1, gated_at=START, relay="main", kind="accepted",
    code=250, enhanced="2.0.0", reply="Ok: queued as 4F1", queue_id="4F1", at=START,
)  # fmt: skip


def of(n: int, **changed: Any) -> Receipt:
    return replace(RECEIPT, message_key=f"{n:032x}", at=START + timedelta(seconds=n), **changed)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[World]:
    with world(f"sqlite:///{tmp_path / 'sender.db'}", tmp_path) as made:
        yield made


def write(folder: Path, *receipts: Receipt, worker: str = "w1") -> Path:
    mine = Journal(folder, worker)
    mine.write(receipts)
    mine.close()
    return folder / worker / "000001.jsonl"


@given(st.text(), st.one_of(st.none(), st.text()), st.integers(0, 10**6))
def test_a_receipt_is_read_as_it_was_written(reply: str, queue_id: str | None, microseconds: int) -> None:
    receipt = replace(RECEIPT, reply=reply, queue_id=queue_id, gated_at=START + timedelta(microseconds=microseconds))
    line = receipt.line()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert Receipt.read(line) == receipt


def test_all_workers_of_a_machine_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    write(tmp_path, of(1), of(3))
    write(tmp_path, of(2), worker="w2")
    write(tmp_path, of(4))
    assert newest(tmp_path) == [of(1), of(2), of(3), of(4)]
    assert newest(tmp_path / "nowhere") == []


def test_a_line_that_a_crash_left_half_written_is_none(tmp_path: Path) -> None:
    path = write(tmp_path, of(1), of(2))
    path.write_bytes(path.read_bytes()[:-20])
    assert newest(tmp_path) == [of(1)]
    write(tmp_path, of(3))
    assert newest(tmp_path) == [of(1), of(3)]


@pytest.mark.parametrize("line", [b"", b"{}", b"[1]", b"null", b"\xff", b'{"kind": "accepted"}', b"0"])
def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path, line: bytes) -> None:
    path = write(tmp_path, of(1), of(2))
    first, second, _ = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([first, line, second, b""]))
    with pytest.raises(DataError, match=r"000001\.jsonl:2: no receipt"):
        newest(tmp_path)


@pytest.mark.parametrize("worker", ["", "../x", "a/b", ".hidden"])
def test_a_worker_has_a_plain_name(tmp_path: Path, worker: str) -> None:
    with pytest.raises(DataError, match="no worker's name"):
        Journal(tmp_path, worker)


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="receipts cannot be written there"):
        Journal(tmp_path / "file", "w1")


def test_files_are_begun_anew_and_old_ones_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_FULL", 1000)
    mine = Journal(tmp_path, "w1")
    day = timedelta(days=1)
    for n in range(90):
        mine.write([replace(of(n), at=START + n * day)])
    mine.close()
    kept = newest(tmp_path, everything=True)
    assert kept[-1].at == START + 89 * day
    assert START + 89 * day - KEPT_FOR - 4 * day <= kept[0].at <= START + 89 * day - KEPT_FOR
    assert 3 <= len(newest(tmp_path)) <= 8


def test_a_disk_that_is_full_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Journal(tmp_path, "w1")
    mine.write([of(1)])

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as failing:
        failing.setattr(journal.os, "fdatasync", fail)
        with pytest.raises(OSError, match="No space"):
            mine.write([of(2)])
    mine.write([of(3)])
    mine.close()
    assert newest(tmp_path) == [of(1), of(3)]


def receipt_for(one: World, contact: str = "ada", *, state: str = "transmitting", **changed: Any) -> Receipt:
    key = one.claimed(contact, state=state, gated_at=START if state != "claimed" else None, relay="main").message_key
    return replace(RECEIPT, message_key=key, contact=contact, **changed)


@pytest.mark.parametrize(
    ("kind", "code", "state"),
    [("accepted", 250, "accepted"), ("rejected", 554, "rejected"), ("temporary", 452, "ready")],
)
@pytest.mark.parametrize("before", ["transmitting", "ambiguous"])
def test_what_was_not_settled_is_settled(one: World, kind: str, code: int, state: str, before: str) -> None:
    receipt = receipt_for(one, state=before, kind=kind, code=code)
    if before == "ambiguous":
        one.set(t.sends, t.sends.c.contact == "ada", lease_until=None)
    assert replay(one.store, [receipt], one.settings) == 1
    assert one.row(receipt.message_key).state == state
    replay(one.store, [receipt], one.settings)
    assert one.row(receipt.message_key).state == state
    assert len(one.events("sent", "not_sent")) == (state != "ready")


def test_a_database_that_knows_all_receipts_is_let_be(one: World) -> None:
    receipts = [receipt_for(one, f"c{i}", state=state) for i, state in enumerate(("transmitting", "ambiguous"))]
    refuse_older_copy(one.store, receipts)
    replay(one.store, receipts, one.settings)
    refuse_older_copy(one.store, receipts)
    refuse_older_copy(one.store, [of(7, kind="temporary")])


@pytest.mark.parametrize("state", ["planned", "ready", "claimed", None])
@pytest.mark.parametrize("fence", [0, 1])
def test_a_database_that_does_not_know_a_receipt_is_older(one: World, state: str | None, fence: int) -> None:
    receipt = receipt_for(one)
    if state is None:
        with one.store.writing() as connection:
            connection.execute(delete(t.renderings))
            connection.execute(delete(t.sends))
    else:
        one.set(t.sends, t.sends.c.contact == "ada", state=state, fence=fence, gated_at=None)
    with pytest.raises(DataError, match=r"restored from an older copy.*sends adopt"):
        refuse_older_copy(one.store, [receipt])


def test_a_message_that_a_person_lets_be_sent_again_is_known(one: World) -> None:
    receipt = receipt_for(one)
    one.set(t.sends, t.sends.c.contact == "ada", state="ready", fence=2, gated_at=None)
    refuse_older_copy(one.store, [receipt])


def test_a_restored_database_is_refused_until_it_is_told(tmp_path: Path) -> None:
    with (
        SmtpOracle(tmp_path / "ledger", fsync=False) as oracle,
        world(f"sqlite:///{tmp_path / 'sender.db'}", tmp_path, relay_of(oracle.port)) as one,
    ):
        keys = [one.add(f"c{i}") for i in range(4)]
        one.add("later", not_before=START + timedelta(hours=1))
        one.store.close()
        for path in tmp_path.glob("sender.db*"):
            copy(path, tmp_path / f"backup-{path.name}")
        Worker(one.store, one.settings, "w1", rendered).run(until_idle=True)
        one.store.close()
        for path in tmp_path.glob("sender.db*"):
            path.unlink()
        for path in tmp_path.glob("backup-*"):
            copy(path, tmp_path / path.name.removeprefix("backup-"))
        with pytest.raises(DataError, match="does not know of 4 messages"):
            Worker(one.store, one.settings, "w2", rendered)
        with one.store.writing() as connection:  # a contact that came after the backup, and a plan that is gone
            connection.execute(delete(t.sends).where(t.sends.c.message_key == keys[0]))
            connection.execute(delete(t.events).where(t.events.c.contact == "c0"))
            connection.execute(delete(t.entries).where(t.entries.c.contact == "c0"))
            connection.execute(delete(t.contacts).where(t.contacts.c.contact == "c0"))
        receipts = one.settings.path(one.settings.state) / "receipts"
        found = adopt(one.store, receipts, "grace")
        assert (found.n_receipts, found.n_written, found.since) == (4, 4, START)
        assert {one.row(key).state for key in keys} == {"accepted"}
        assert {row.contact for row in one.events("sent")} == {"c0", "c1", "c2", "c3"}
        with one.store.reading() as connection:
            act = connection.execute(select(t.audit).where(t.audit.c.actor == "grace")).one()
        assert (act.actor, act.action, act.details["n_written"]) == ("grace", "adopt", 4)
        assert adopt(one.store, receipts, "grace").n_written == 0
        one.clock.pass_by(timedelta(hours=2))
        one.advanced("c0")
        assert Worker(one.store, one.settings, "w2", rendered).run(until_idle=True) == {"accepted": 1}
        assert set(oracle.counts().values()) == {1}
        assert len(oracle.counts()) == 5


def test_adopting_says_when_receipts_do_not_reach_back(one: World, tmp_path: Path) -> None:
    one.add()
    folder = tmp_path / "receipts"
    write(folder, of(1, contact="bob"))
    assert not adopt(one.store, folder, "grace").is_complete
    one.receive("purchase")
    one.clock.pass_by(timedelta(minutes=1))
    one.receive("purchase")
    assert adopt(one.store, folder, "grace").is_complete


def test_receipts_hold_no_address(tmp_path: Path) -> None:
    with (
        SmtpOracle(tmp_path / "ledger", fsync=False) as oracle,
        world(f"sqlite:///{tmp_path / 'sender.db'}", tmp_path, relay_of(oracle.port)) as one,
    ):
        one.add()
        Worker(one.store, one.settings, "w1", rendered).run(until_idle=True)
        text = (one.settings.path(one.settings.state) / "receipts" / "w1" / "000001.jsonl").read_text()
        assert json.loads(text)["contact"] == "ada"
        assert "@" not in text
