"""`journeylab audit`: what was done is listed, verified against what has left, proven to a contact, told to a SIEM."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from journeylab.sender.audit.keeping import Keeper
from journeylab.sender.keys import Keys
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store, act
from promotable import SETTINGS

Run = Callable[..., str]
AUDIT = "audit: {checkpoints: ['file:worm']}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> Path:
    """A sender to which something was done, and whose checkpoint has left."""
    monkeypatch.chdir(tmp_path)
    Path("sender.yaml").write_text(SETTINGS + AUDIT)
    Path("worm").mkdir()
    Path("people.csv").write_text("contact,address,plan\nada,ada@mail.example,trial\nbo,bo@mail.example,pro\n")
    Path("wording.txt").write_text("Yes, write to me.\n")
    Keys.made(tmp_path / "state" / "keys.json")
    run("contacts", "import", "people.csv")
    of = ("contacts", "consent", "ada", "--purpose", "news")
    run(*of, "--given", "wording.txt", "--evidence", "letter no. 17", "--actor", "eve")
    run("contacts", "show", "bo", "--reveal", "--actor", "kim")
    run(*of, "--withdraw", "--actor", "kim")
    done("pause", "welcome/5f3a", reason="bounces")
    keep()
    return tmp_path


def done(action: str, what: str, **details: Any) -> None:
    store = Store.open("sqlite:///journeylab.db")
    with store.writing() as connection:
        act(connection, store.now(connection), "breaker", action, what, **details)
    store.close()


def keep() -> None:
    settings = Settings.read("sender.yaml")
    store = Store.open("sqlite:///journeylab.db", Keys.read(settings.path("state") / "keys.json"))
    with store.reading() as connection:
        now = store.now(connection)
    Keeper(store, settings).keep(now)
    store.close()


def changed(*statements: str) -> None:
    """What somebody does to the file who may write it."""
    with sqlite3.connect("journeylab.db") as connection:
        for name in ("audit_not_changed", "audit_not_deleted", "audit_not_replaced"):
            connection.execute(f"drop trigger if exists {name}")
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_what_was_done_is_listed_and_filtered(folder: Path, run: Run) -> None:
    said = run("audit", "list")
    assert said.startswith("4 entries\n")
    assert "purpose: news, route: person: eve" in said
    found = json.loads(run("audit", "list", "--json"))["entries"]
    assert [(one["seq"], one["actor"], one["action"], one["contact"]) for one in found] == [
        (1, "eve", "consent_given", "ada"), (2, "kim", "contact_revealed", "bo"),
        (3, "kim", "consent_withdrawn", "ada"), (4, "breaker", "pause", None),
    ]  # fmt: skip

    def numbers(*given: str) -> list[int]:
        return [one["seq"] for one in json.loads(run("audit", "list", "--json", *given))["entries"]]

    assert numbers("--by", "kim") == [2, 3]
    assert numbers("--contact", "ada") == [1, 3]
    assert numbers("--object", "welcome") == [4]
    assert numbers("--since", "2200-01-01T00:00:00+00:00") == []
    assert numbers("--most", "2") == [3, 4]
    assert "the latest 1:" in run("audit", "list", "--most", "1")
    assert "did you mean 'pause'" in run("audit", "list", "--action", "paus", status=1)


def test_a_log_is_verified_with_and_without_what_has_left(folder: Path, run: Run) -> None:
    alone = run("audit", "verify")
    assert "4 entries; 1 checkpoint in the database, 0 from outside" in alone
    assert "cannot be seen" in alone
    assert "rest on the database" not in run("audit", "verify", "--against", "worm")
    done("resume", "welcome/5f3a")
    assert "the 1 entry after it rest on the database alone" in run("audit", "verify", "--against", "worm")
    data = json.loads(run("audit", "verify", "--against", "worm", "--key", run("audit", "key").strip(), "--json"))
    assert (data["n_entries"], data["newest"]["size"], data["faults"]) == (5, 4, [])
    assert "there is no such file" in run("audit", "verify", "--against", "nowhere", status=1)
    assert "no checkpoint in it" in run("audit", "verify", "--against", "wording.txt", status=1)
    assert "no public key" in run("audit", "verify", "--key", "shop", status=1)
    other = "akacja+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    assert "no public key" in run("audit", "verify", "--key", other, status=1)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("update audit set actor = 'eve' where seq = 2", "entry 2 was changed: it is not what its leaf says"),
        ("update audit set details = '{}' where seq = 3", "entry 3 was changed: its contact or its details"),
        ("delete from audit where seq = 1", "entry 1 is not there"),
        ("delete from audit where seq > 2", "entries 3 to 4 are not there"),
        ("update checkpoints set note = 'mine'", "it is no checkpoint"),
        ("update checkpoints set at = 'then'", "its note is another's"),
        ("delete from checkpoints", "1 checkpoint that left the machine"),
        ("update audit_tree set frontier = 'zz'", "the row of the tree cannot be read"),
    ],
)
def test_a_change_is_named_with_its_entry(folder: Path, run: Run, statement: str, said: str) -> None:
    changed(statement)
    assert f"FAULT {said}" in run("audit", "verify", "--against", "worm", status=1).replace(
        "FAULT checkpoint 1 in the database: ", "FAULT "
    )
    assert json.loads(run("audit", "verify", "--against", "worm", "--json", status=1).rpartition("}")[0] + "}")[
        "faults"
    ]


def test_a_contact_is_given_a_proof_that_needs_nothing_but_the_key(folder: Path, run: Run) -> None:
    key = run("audit", "key").strip()
    assert key.startswith("akacja+")
    assert "2 entries: ada.json" in run("audit", "prove", "ada.json", "--contact", "ada", "--actor", "kim")
    proof = Path("ada.json").read_text()
    said = run("audit", "verify-proof", "ada.json", "--key", key)
    assert "2 entries are in the log that akacja signed at" in said
    assert "kim: consent_withdrawn consent (ada): purpose: news" in said
    assert len(json.loads(run("audit", "verify-proof", "ada.json", "--key", key, "--json"))["entries"]) == 2
    last = json.loads(run("audit", "list", "--json"))["entries"][-1]
    assert (last["actor"], last["action"], last["contact"]) == ("kim", "entries_proved", "ada")
    Path("ada.json").write_text(proof.replace('"news"', '"all"'))
    assert "ada.json: entry 1 is not as it was recorded" in run(
        "audit", "verify-proof", "ada.json", "--key", key, status=1
    )
    assert "no entry of 'nobody'" in run("audit", "prove", "x.json", "--contact", "nobody", status=1)
    assert "say one of" in run("audit", "prove", "x.json", status=2)
    assert "1 entry: two.json" in run("audit", "prove", "two.json", "--seq", "2")
    changed("update audit set actor = 'bob' where seq = 1")
    assert "entry 1 was changed" in run("audit", "prove", "x.json", "--contact", "ada", status=1)


def test_entries_are_written_for_a_siem(folder: Path, run: Run) -> None:
    for form in ("rfc5424", "ecs", "cef", "ocsf"):
        lines = run("audit", "export", "--format", form).splitlines()
        assert len(lines) == 4
        assert "bounces" in lines[3]
        assert not any(re.search(r"\bada\b|\bnews\b(?!\.akacja)", one) for one in lines)  # hashes may have ada inside
    assert len(run("audit", "export", "--format", "ecs", "--from", "3").splitlines()) == 2
    assert "did you mean 'cef'" in run("audit", "export", "--format", "cfe", status=2)
    assert "write tls://HOST:PORT" in run("audit", "export", "--format", "cef", "--to", "udp://x", status=2)
    assert "write tls://HOST:PORT" in run("audit", "export", "--format", "cef", "--to", "tls://x:0x", status=2)
    assert "go with --to" in run("audit", "export", "--format", "cef", "--json", status=2)
    assert "has not taken" in run("audit", "export", "--format", "cef", "--to", "tls://127.0.0.1:1", status=1)


def test_a_role_is_granted_no_more_than_it_needs(run: Run) -> None:
    said = run("audit", "grants", "sender")
    assert 'grant select, insert on audit to "sender";' in said
    assert "update, delete on audit" not in said
