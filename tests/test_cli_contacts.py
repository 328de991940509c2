"""`journeylab contacts`: what comes in, what is shown to whom, what is changed, and what a mail server pipes in."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import insert, update

from journeylab.eventlog import EventLog
from journeylab.sender.keys import Keys
from journeylab.sender.live.ticks import tick
from journeylab.sender.process import WhatRuns
from journeylab.sender.promotion.standing import releases
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from promotable import SETTINGS
from stores import rows_of, send_row

Run = Callable[..., str]
WORDING = "Yes, write to me.\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("sender.yaml").write_text(SETTINGS)
    Path("people.csv").write_text("contact,email,plan\nada,Ada@mail.example,trial\nbo,bo@mail.example,pro\n")
    Path("wording.txt").write_text(WORDING)
    Keys.made(tmp_path / "state" / "keys.json")
    return tmp_path


@pytest.fixture
def people(folder: Path, run: Run) -> Path:
    run("contacts", "import", "people.csv", "--columns", "email=address")
    return folder


def with_store(work: Callable[[Store], Any]) -> Any:
    store = Store.open("sqlite:///journeylab.db", Keys.read(Path("state/keys.json")))
    try:
        return work(store)
    finally:
        store.close()


def rows(table: Any, **values: Any) -> list[Any]:
    found: list[Any] = with_store(lambda store: rows_of(store, table, **values))
    return found


def test_contacts_and_events_come_in_once(folder: Path, run: Run) -> None:
    said = run("contacts", "import", "people.csv", "--columns", "email=address")
    assert said == "2 contacts new or changed, 0 known before\n"
    assert "0 contacts new or changed, 2 known before" in run("contacts", "import", "people.csv", "--columns",
                                                             "email=address")  # fmt: skip
    Path("events.csv").write_text("contact,event,when\nada,signup,2026-03-01 09:00\n,signup,2026-03-01 09:00\n")
    mapped = ("contacts", "events", "events.csv", "--columns", "when=occurred_at", "--timezone", "Europe/Warsaw")
    said = run(*mapped, status=1)
    assert "1 event new, 0 known before" in said
    assert "line 3: contact is missing" in said
    assert "--rejects OUT.csv" in said
    assert "0 events new, 1 known before" in run(*mapped, "--rejects", "bad.csv")
    assert pd.read_csv("bad.csv")["row"].tolist() == [3]
    assert json.loads(run(*mapped, "--rejects", "bad.csv", "--json")) == {
        "n_new": 0, "n_repeated": 1, "refused": [{"row": 3, "reason": "contact is missing"}], "left_out": {}
    }  # fmt: skip
    assert rows(t.events, event="signup")[0].occurred_at.isoformat() == "2026-03-01T08:00:00+00:00"


def test_personal_data_are_shown_only_when_asked_for_and_that_is_kept(people: Path, run: Run) -> None:
    shown = run("contacts", "show", "ada")
    assert "attributes: plan" in shown
    for one in (shown, run("contacts", "show", "ada", "--json"), run("contacts", "list", "--json")):
        assert "mail.example" not in one
        assert "trial" not in one
    assert rows(t.audit) == []
    revealed = run("contacts", "show", "ada", "--reveal", "--actor", "eve")
    assert "address: Ada@mail.example" in revealed
    assert "plan = trial" in revealed
    (action,) = rows(t.audit)
    assert (action.actor, action.action, action.contact) == ("eve", "contact_revealed", "ada")
    assert "there is no contact 'nobody'" in run("contacts", "show", "nobody", "--reveal", status=1)


def test_a_held_contact_is_listed_with_the_reason_and_tried_again(people: Path, run: Run) -> None:
    def hold(store: Store) -> None:
        with store.writing() as connection:
            held = update(t.contacts).where(t.contacts.c.contact == "ada")
            connection.execute(held.values(held_because="DataError: ada@mail.example is odd", next_at=None))

    with_store(hold)
    said = run("contacts", "list", "--held")
    assert "ada is held: DataError:" in said
    assert "mail.example" not in said
    assert "bo" not in said
    assert "ada is tried again" in run("contacts", "resume", "ada", "--actor", "eve")
    assert "nothing has changed" in run("contacts", "resume", "ada")
    assert run("contacts", "list", "--held") == "no contact\n"
    ada = rows(t.contacts, contact="ada")[0]
    assert ada.held_because is None
    assert ada.next_at is not None
    assert [one.action for one in rows(t.audit)] == ["contact_resumed"]
    assert "1 more; --most N" in run("contacts", "list", "--most", 1)
    assert "no journey 'x' was ever promoted" in run("contacts", "list", "--journey", "x", status=1)


def test_consent_is_asked_given_and_withdrawn_with_its_proof(people: Path, run: Run) -> None:
    of = ("contacts", "consent", "ada")
    asks = (*of, "--purpose", "marketing", "--ask", "wording.txt")
    messages = people / "messages"
    messages.mkdir()
    (messages / "hello.yaml").write_text("message: hello\nsubject: Hello\n")
    (messages / "hello.html").write_text('<p>Hello <a href="{{ unsubscribe_url }}">no more</a></p>')
    assert "no message asks to confirm" in run(*asks, status=1)
    for name in ("confirm_subscription", "confirm_once_more"):
        (messages / f"{name}.yaml").write_text(f"message: {name}\nsubject: Please confirm\ntransactional: true\n")
        (messages / f"{name}.html").write_text('<p><a href="{{ confirm_url }}">Yes</a></p>')
    assert "several messages ask to confirm (confirm_once_more, confirm_subscription)" in run(*asks, status=1)
    assert "'hello' asks nobody to confirm; Known messages that do: confirm_once_more" in run(
        *asks, "--message", "hello", status=1
    )
    (messages / "confirm_once_more.yaml").unlink()
    (messages / "confirm_once_more.html").unlink()
    assert "ada is asked by a message" in run(*of, "--purpose", "marketing", "--ask", "wording.txt")
    assert "within the last day already" in run(*of, "--purpose", "marketing", "--ask", "wording.txt")
    assert "needs it" in run(*of, "--purpose", "news", "--given", "wording.txt", status=2)
    assert "say which" in run(*of, "--given", "wording.txt", "--evidence", "x", status=2)
    assert "say one of" in run(*of, "--purpose", "news", status=2)
    said = run(*of, "--purpose", "news", "--given", "wording.txt", "--evidence", "letter no. 17", "--actor", "eve")
    assert "ada has consented to news" in said
    shown = json.loads(run("contacts", "show", "ada", "--json"))["consent"]
    assert [(one["what"], one["purpose"]) for one in shown] == [("requested", "marketing"), ("given", "news")]
    assert shown[1]["text"] == WORDING.strip()
    assert shown[1]["route"] == "person: eve"
    assert "evidence" not in shown[1]
    proof = json.loads(run("contacts", "show", "ada", "--json", "--reveal"))["consent"][1]
    assert proof["evidence"] == {"by": "eve", "through": "command line", "evidence": "letter no. 17"}
    assert "nothing more at all; 1 message taken back" in run(*of, "--withdraw")
    assert "since" in run(*of, "--withdraw")
    assert "no contact 'nobody'" in run("contacts", "consent", "nobody", "--withdraw", status=1)
    assert [one.message for one in rows(t.sends, contact="ada")] == ["confirm_subscription"]
    assert [one.action for one in rows(t.audit)][:2] == ["consent_requested", "consent_given"]


def test_mails_that_come_back_through_a_pipe(people: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys.read(people / "state" / "keys.json")

    def sent(store: Store) -> str:
        with store.writing() as connection:
            row = send_row("ada", "hello", store.now(connection), state="accepted")
            row["message_key"] = keys.message_key("welcome", "ada", 1, "hello", 1)
            connection.execute(insert(t.sends), row)
        return str(row["message_key"])

    key = with_store(sent)
    token = keys.token("unsubscribe", bytes.fromhex(key))
    raw = f"From: ada@mail.example\nSubject: {token}\n\nunsubscribe\n".encode()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(raw)))
    assert run("contacts", "report", "-") == "unsubscribed: from marketing\n"
    Path("again.eml").write_bytes(raw)
    assert "which was known" in run("contacts", "report", "again.eml")
    Path("other.eml").write_bytes(b"Subject: hello\n\nhello\n")
    assert json.loads(run("contacts", "report", "other.eml", "--json"))["taken"] is False
    assert [one.event for one in rows(t.events, contact="ada")][-1] == "consent_withdrawn"
    (people / "journeylab.db").unlink()
    assert "nothing was ever promoted" in run("contacts", "report", "other.eml", status=75)
    assert "no such file" in run("contacts", "report", "other.eml", "--settings", "none.yaml", status=75)


def test_the_log_is_exported_and_what_was_decided_verified(people: Path, run: Run) -> None:
    assert "2 left out, as something is due" in run("contacts", "verify")

    def advanced(store: Store) -> None:
        tick(store, WhatRuns(Settings.read("sender.yaml")))
        with store.reading() as connection:
            assert releases(connection) == []

    with_store(advanced)
    assert run("contacts", "verify") == (
        "2 contacts: all is as replay gives it; 0 left out, as something is due for them, 0 as they are held\n"
    )
    out = ("contacts", "export", "--events", "e.parquet", "--contacts", "c.parquet")
    assert run(*out) == "2 events: e.parquet\n2 contacts: c.parquet\n"
    assert json.loads(run(*out, "--json")) == {"n_events": 2, "n_contacts": 2, "n_on_their_way": 0}
    log = EventLog.read("e.parquet", contacts="c.parquet").by_received()
    assert log.contact_ids.to_pylist() == ["ada", "bo"]
    assert {one.action for one in rows(t.audit)} == {"log_exported"}

    def tamper(store: Store) -> None:
        with store.writing() as connection:
            visit = {"contact": "ada", "journey": "j", "entry": 1, "node": "n", "visit": 1, "version": "x",
                     "arrived_at": store.now(connection), "evidence": "observed"}  # fmt: skip
            connection.execute(insert(t.visits), visit)

    with_store(tamper)
    assert "ada j/1/n/1: row is there, not None" in run("contacts", "verify", status=1)
    found = run("contacts", "verify", "--json", status=1)
    assert json.loads(found[: found.rindex("}") + 1])["differences"][0]["contact"] == "ada"
