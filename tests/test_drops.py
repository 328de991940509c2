"""The inbox: events that others put into a table or a folder are taken once, in their order, or refused in sight."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import insert, text, update

from journeylab.errors import DataError
from journeylab.sender.live import arrivals, drops
from journeylab.sender.live.arrivals import receive_tables
from journeylab.sender.live.drops import take_files, take_inbox, take_table
from journeylab.sender.live.productionlog import production_log
from journeylab.sender.sending.alerts import open_alerts
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from liverun import SETTINGS
from stores import rows_of

LOCAL = SETTINGS.model_copy(update={"inbox": SETTINGS.inbox.model_copy(update={"timezone": "Europe/Warsaw"})})


def said(store: Store) -> list[str]:
    with store.reading() as connection:
        return [str(one.cause) for one in open_alerts(connection)]


def put(store: Store, sql: str) -> None:
    with store.writing() as connection:
        connection.execute(text(sql))


# The table


def test_rows_that_others_insert_by_plain_sql_are_events_in_their_order(store: Store) -> None:
    put(store, "insert into inbox (contact, event) values ('ada', 'signup')")
    put(
        store,
        """insert into inbox (contact, event, occurred_at, properties, source_id)
        values ('ada', 'purchase', '2026-03-01T10:00:00+01:00', '{"amount": 30, "gift": true}', 'crm-1'),
               ('bo', 'purchase', '2026-03-01 09:30:00+00', null, 'crm-2'),
               ('ada', 'purchase', '2026-03-01T11:00:00Z', '{"amount": 4}', 'crm-1')""",
    )
    assert take_table(store, SETTINGS) == 4
    assert take_table(store, SETTINGS) == 0
    found = [(one.contact, one.event, one.properties, one.source_id) for one in rows_of(store, t.events)]
    assert found == [
        ("ada", "signup", {}, None), ("ada", "purchase", {"amount": 30, "gift": True}, "crm-1"),
        ("bo", "purchase", {}, "crm-2"),
    ]  # fmt: skip
    assert rows_of(store, t.events)[1].occurred_at.isoformat() == "2026-03-01T09:00:00+00:00"
    assert all(one.taken_at is not None and one.put_at is not None for one in rows_of(store, t.inbox))
    assert said(store) == []


def test_refused_rows_stay_with_their_reason_until_a_person_has_corrected_them(store: Store) -> None:
    rows = [
        {"contact": "ada", "event": "signup", "occurred_at": "2026-03-01 10:00"},
        {"contact": "ada", "event": "signup", "occurred_at": "yesterday"},
        {"contact": "ada", "event": "sent"},
        {"contact": "ada", "event": "signup", "properties": "[1]"},
        {"contact": "ada", "event": "signup", "properties": '{"amount": NaN}'},
        {"contact": "ada", "event": "signup", "properties": "{"},
        {"contact": " ", "event": "signup"},
        {"contact": "bo", "event": "signup"},
    ]
    with store.writing() as connection:
        for row in rows:
            connection.execute(insert(t.inbox), row)
    assert take_table(store, SETTINGS) == len(rows)
    because = [one.refused_because for one in rows_of(store, t.inbox)]
    parts = ("has no time zone", "no instant as in ISO 8601", "the sender's own", "no JSON object", "NaN is no JSON",
             "is no JSON", "`contact` is missing")  # fmt: skip
    assert [part in reason for part, reason in zip(parts, because, strict=False)] == [True] * len(parts)
    assert because[-1] is None
    assert said(store) == ["inbox/rows"]
    assert [one.contact for one in rows_of(store, t.events)] == ["bo"]
    with store.writing() as connection:
        connection.execute(t.inbox.delete().where(t.inbox.c.inbox_id.between(2, 7)))
        again = update(t.inbox).where(t.inbox.c.inbox_id == 1)
        connection.execute(again.values(taken_at=None, refused_because=None))
    assert take_table(store, LOCAL) == 1
    take_table(store, LOCAL)
    assert said(store) == []
    assert rows_of(store, t.events, contact="ada")[0].occurred_at.isoformat() == "2026-03-01T09:00:00+00:00"


def test_a_transaction_that_fails_leaves_the_rows_to_be_taken(store: Store) -> None:
    put(store, "insert into inbox (contact, event) values ('ada', 'signup')")

    def crash() -> None:
        with store.writing() as connection:
            assert take_inbox(connection, store.now(connection)) == 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        crash()
    assert rows_of(store, t.events) == []
    assert take_table(store, SETTINGS) == 1


def test_one_process_at_a_time_takes_rows_and_old_ones_are_forgotten(store: Store) -> None:
    put(store, "insert into inbox (contact, event) values ('ada', 'signup'), ('bo', 'sent')")
    if not store.is_sqlite:
        with store.writing() as one, store.writing() as other:
            assert take_inbox(one, store.now(one)) == 2
            assert take_inbox(other, store.now(other)) == 0
    take_table(store, SETTINGS)
    store.clock.move(days=8)  # type: ignore[attr-defined]
    put(store, "insert into inbox (contact, event) values ('cy', 'signup')")
    take_table(store, SETTINGS)
    assert [one.contact for one in rows_of(store, t.inbox)] == ["bo", "cy"]


# The folders


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = SETTINGS.model_copy(update={"inbox": SETTINGS.inbox.model_copy(update={"folder": "inbox"})})
    return found.model_copy(update={"folder": tmp_path})


@pytest.fixture
def drop(tmp_path: Path) -> Callable[..., Path]:
    """Puts a file down, by default long enough ago."""

    def put_down(name: str, content: str | bytes, *, seconds_ago: float = 60) -> Path:
        path = tmp_path / "inbox" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        at = path.stat().st_mtime - seconds_ago
        os.utime(path, (at, at))
        return path

    return put_down


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue())


PEOPLE = "contact,address,plan,age,since,vip\nada,Ada@Mail.Example,trial,30,2026-01-31,true\nbo,bo@mail.example,,,,\n"
SIGNUP = {"contact": "ada", "event": "signup", "occurred_at": "2026-03-01T09:00:00Z", "source": "ad"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("e.jsonl", "\n".join(json.dumps({**SIGNUP, "n": i}) for i in range(3))),
        ("e.json", json.dumps([{**SIGNUP, "n": i} for i in range(3)])),
        ("e.csv", "contact,event,occurred_at,source,n\n" + "".join(
            f"ada,signup,2026-03-01T09:00:00Z,ad,{i}\n" for i in range(3)
        )),
        ("e.parquet", parquet([{**SIGNUP, "n": float(i)} for i in range(3)])),
        ("e.ndjson", "\n".join(json.dumps({
            **{k: v for k, v in SIGNUP.items() if k != "source"}, "properties": {"source": "ad", "n": i}
        }) for i in range(3))),
    ],
)  # fmt: skip
def test_files_of_all_kinds_are_events_once(
    name: str, content: str | bytes, store: Store, settings: Settings, drop: Callable[..., Path], tmp_path: Path
) -> None:
    drop(f"events/{name}", content)
    drop("contacts/people.csv", PEOPLE)
    assert take_files(store, settings) == 2
    assert take_files(store, settings) == 0
    found = rows_of(store, t.events, event="signup")
    assert [one.properties for one in found] == [{"source": "ad", "n": i} for i in range(3)]
    assert found[0].occurred_at.isoformat() == "2026-03-01T09:00:00+00:00"
    assert (tmp_path / "inbox" / "events" / "taken" / name).exists()
    drop(f"events/again-{name}", content)
    take_files(store, settings)
    assert len(rows_of(store, t.events, event="signup")) == 3
    ada = rows_of(store, t.contacts, contact="ada")[0]
    assert (ada.address, ada.attributes) == (
        "Ada@mail.example", {"plan": "trial", "age": 30, "since": "2026-01-31", "vip": True}
    )  # fmt: skip
    assert {one.name: one.kind for one in rows_of(store, t.names, scope="contact")} == {
        "plan": "text", "age": "number", "since": "date", "vip": "flag",
    }  # fmt: skip


def test_files_that_somebody_writes_still_are_left_alone(
    store: Store, settings: Settings, drop: Callable[..., Path]
) -> None:
    line = json.dumps(SIGNUP)
    for name in ("a.jsonl.part", ".a.jsonl", "a.jsonl.tmp"):
        drop(f"events/{name}", line)
    new = drop("events/b.jsonl", line, seconds_ago=0)
    assert take_files(store, settings) == 0
    at = new.stat().st_mtime - 6
    os.utime(new, (at, at))
    assert take_files(store, settings) == 1


def test_a_crash_between_receiving_and_moving_repeats_nothing(
    store: Store, settings: Settings, drop: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "AT_ONCE", 10)
    drop("events/many.jsonl", "\n".join(json.dumps({**SIGNUP, "n": i}) for i in range(35)))

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(drops, "_move", crash)
        with pytest.raises(KeyboardInterrupt):
            take_files(store, settings)
    looks = iter([False, False, False, True])
    assert take_files(store, settings, lambda: next(looks)) == 0  # stopped before its third part
    assert take_files(store, settings) == 1
    assert [one.properties["n"] for one in rows_of(store, t.events)] == [*range(35)]


def test_refused_rows_lie_beside_with_reasons_and_can_be_put_down_again(
    store: Store, settings: Settings, drop: Callable[..., Path], tmp_path: Path
) -> None:
    lines = ["contact,event,occurred_at,amount", "ada,signup,2026-03-01T09:00:00Z,3", ",signup,2026-03-01T09:00:00Z,3",
             "ada,signup,soon,3", "ada,signup,2026-03-01T09:00:00Z,many", "ada,signup", "bo,sent,,1"]  # fmt: skip
    drop("events/e.csv", "\n".join(lines))
    assert take_files(store, settings) == 1
    assert len(rows_of(store, t.events)) == 1
    beside = tmp_path / "inbox" / "events" / "refused" / "e.csv.refused.csv"
    table = pd.read_csv(beside)
    assert table["row"].tolist() == [3, 4, 5, 6, 7]
    parts = ("contact is missing", "'soon' is no time", "'many' is no number", "has 2 values", "the sender's own")
    assert [part in reason for part, reason in zip(parts, table["reason"], strict=True)] == [True] * 5
    assert said(store) == ["inbox/files"]
    fixed = table.iloc[[2]].assign(amount=5).drop(columns=["row", "reason"])
    drop("events/fixed.csv", fixed.to_csv(index=False))
    beside.unlink()
    take_files(store, settings)
    assert [one.properties for one in rows_of(store, t.events)] == [{"amount": 3}, {"amount": 5}]
    assert said(store) == []


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("events/e.csv", "customer,event\nada,signup\n", "no column 'contact'"),
        ("events/e.csv", "contact,event,occurred_at\nada,signup,2026-03-01 09:00\n", "time zone"),
        ("events/e.csv", "contact,event,received_at\nada,signup,2026-03-01T09:00:00Z\n", "notes itself"),
        ("events/e.xlsx", "x", "the ending does not say"),
        ("events/e.json", "[1, 2]", "neither an object nor a list of objects"),
        ("events/e.json", "{", "is no JSON"),
        ("events/e.parquet", b"PAR1", "cannot be read as Parquet"),
        ("events/e.jsonl", '{"contact": "ada", "event": "x", "tags": [1]}', "of type list"),
        ("contacts/e.csv", "name\nada\n", "no column 'contact'"),
    ],
)
def test_files_of_which_nothing_can_be_read_are_refused_whole(
    name: str, content: str | bytes, reason: str, store: Store, settings: Settings, drop: Callable[..., Path]
) -> None:
    path = drop(name, content)
    assert take_files(store, settings) == 1
    assert not path.exists()
    assert (path.parent / "refused" / path.name).exists()
    assert reason in (path.parent / "refused" / f"{path.name}.refused.csv").read_text()
    assert said(store) == ["inbox/files"]


def test_times_without_a_zone_are_of_that_of_the_settings(
    store: Store, settings: Settings, drop: Callable[..., Path]
) -> None:
    drop("events/e.csv", "contact,event,occurred_at\nada,signup,2026-07-01 09:00\n")
    inbox = settings.inbox.model_copy(update={"timezone": "Europe/Warsaw"})
    take_files(store, settings.model_copy(update={"inbox": inbox}))
    assert rows_of(store, t.events)[0].occurred_at.isoformat() == "2026-07-01T07:00:00+00:00"


def test_a_file_does_not_take_the_place_of_one_that_was_taken(
    store: Store, settings: Settings, drop: Callable[..., Path], tmp_path: Path
) -> None:
    for n in range(2):
        drop("events/daily.jsonl", json.dumps({**SIGNUP, "n": n}))
        take_files(store, settings)
    assert len([*(tmp_path / "inbox" / "events" / "taken").iterdir()]) == 2


def test_a_folder_that_cannot_be_used_is_told_and_stops_nothing(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "inbox").write_text("a file, and no folder")
    assert take_files(store, settings) == 0
    assert said(store) == ["inbox/folder"]
    (tmp_path / "inbox").unlink()
    take_files(store, settings)
    assert said(store) == []


# From Python


def test_tables_of_all_kinds_come_from_python(store: Store) -> None:
    rows = [{"contact": i, "event": "signup", "occurred_at": "2026-03-01T09:00:00Z", "id": f"x{i}", "amount": i / 2}
            for i in range(3)]  # fmt: skip
    people = [{"contact": "0", "address": "ada@mail.example", "plan": "trial"}]
    frame = pd.DataFrame(rows).assign(occurred_at=pd.Timestamp("2026-03-01T09:00:00Z"))
    got = receive_tables(store, frame, people)
    assert (got.events.n_new, got.contacts.n_new) == (3, 1)
    for again in (rows, pl.DataFrame(rows), pa.Table.from_pylist(rows), frame):
        assert receive_tables(store, again).events.n_repeated == 3
    log = production_log(store)
    assert log.contact_ids.to_pylist() == ["0", "1", "2"]
    assert log.property("amount").values[1:].tolist() == [0.0, 0.5, 1.0]
    with pytest.raises(DataError, match="no column 'event'"):
        receive_tables(store, [{"contact": "ada"}])
    with pytest.raises(DataError, match="time zone"):
        receive_tables(store, pd.DataFrame(rows).assign(occurred_at=pd.Timestamp("2026-03-01T09:00:00")))
