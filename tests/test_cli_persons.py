"""The commands that a person's request needs, and those over the key ring."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import journeylab as jl
from journeylab.sender.keys import Keys
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from stores import rows_of

Run = Callable[..., str]
CANARY = "Zx7canaryQ"
SETTINGS = """
sender: shop
domain: shop.example
from: {address: hello@shop.example}
list_id: news.shop.example
bounces: bounces.shop.example
public_url: https://mail.shop.example
relays: [{host: 127.0.0.1, tls: none}]
"""


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> Path:
    """A folder with a sender that knows two contacts."""
    monkeypatch.chdir(tmp_path)
    Path("sender.yaml").write_text(SETTINGS)
    Path("people.csv").write_text(
        f"contact,address,first_name,plan\n{CANARY},{CANARY}@mail.example,{CANARY},paid\nbob,bob@mail.example,Bob,trial\n"
    )
    run("contacts", "import", "people.csv")
    Path("people.csv").unlink()
    return tmp_path


def test_a_copy_is_for_the_person_alone(people: Path, run: Run) -> None:
    assert run("contacts", "copy", CANARY, "--out", "copy.json") == "copy.json: 1 event and 0 messages\n"
    found = json.loads(Path("copy.json").read_text())
    assert (found["address"], found["attributes"]) == (f"{CANARY}@mail.example", {"first_name": CANARY, "plan": "paid"})
    assert Path("copy.json").stat().st_mode & 0o777 == 0o600
    assert "of whom anything is known" in run("contacts", "copy", "eve", "--out", "x.json", status=1)
    assert not Path("x.json").exists()
    assert "contact_copied" in run("audit", "list")


def test_an_erasure_leaves_nobody_and_says_what_is_left(people: Path, run: Run) -> None:
    said = run("contacts", "erase", CANARY, "--reason", "asked for, ticket 4711", "--yes")
    assert "what is left belongs to erased-" in said
    assert "1 address to which nothing is sent any more" in said
    assert "backups can hold the key until" in said
    assert "there is no contact" in run("contacts", "erase", CANARY, "--reason", "x", "--yes", status=1)
    for one in people.rglob("*"):
        assert not one.is_file() or CANARY.encode() not in one.read_bytes(), one
    found = json.loads(run("contacts", "list", "--json"))
    assert {one["contact"][:7] for one in found["contacts"]} == {"bob"}
    assert "ticket 4711" in run("audit", "list", "--json")


def test_keys_are_rotated_and_an_old_one_destroyed_once_it_seals_nobody(people: Path, run: Run) -> None:
    assert run("keys", "list") == "1: in use, seals 2 contacts\n"
    assert "key 2 is in use; 2 contacts sealed with it" in run("keys", "rotate")
    assert run("keys", "list").splitlines() == ["1: kept, seals 0 contacts", "2: in use, seals 2 contacts"]
    assert "is in use; rotate first" in run("keys", "destroy", "2", "--yes", status=1)
    run("keys", "rotate")
    assert "key 2 is destroyed" in run("keys", "destroy", "2", "--yes")
    assert "cannot be destroyed" in run("keys", "destroy", "1", "--yes", status=1)
    assert "first_name = Bob" in run("contacts", "show", "bob", "--reveal")
    shown = run("keys", "list", "--json") + run("audit", "list", "--json")
    ring = json.loads(Path("state/keys.json").read_text())["roots"]
    assert ring[1] is None
    assert not any(root and root in shown for root in ring)


def test_a_ring_from_elsewhere_is_written_where_one_says(
    people: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RING", Path("state/keys.json").read_text())
    Path("state/keys.json").unlink()
    Path("sender.yaml").write_text(SETTINGS + "keys: env:RING\n")
    assert "first_name = Bob" in run("contacts", "show", "bob", "--reveal")
    assert "say --out FILE" in run("keys", "rotate", status=1)
    run("keys", "rotate", "--out", "new.json")
    assert "it is older than what it is to open" in run("contacts", "show", "bob", status=1)
    monkeypatch.setenv("RING", Path("new.json").read_text())
    assert "first_name = Bob" in run("contacts", "show", "bob", "--reveal")


def test_without_the_ring_nothing_is_read(people: Path, run: Run) -> None:
    ring = Path("state/keys.json")
    Keys.made(people / "another.json")
    ring.write_text((people / "another.json").read_text())
    assert "these are not the keys of this store" in run("contacts", "show", "bob", status=1)
    ring.unlink()
    assert "there is no key" in run("contacts", "show", "bob", status=1)
    assert "bob" in run("contacts", "list")
    store = Store.open("sqlite:///journeylab.db")
    names = [one.name for one in rows_of(store, t.names)]
    store.close()
    assert names == ["first_name", "plan"]


def test_a_copy_for_analysts_names_nobody_and_replays(people: Path, run: Run) -> None:
    lines = [f"{one},signup,2026-03-0{day}T09:00:00Z,{one}" for day in (1, 2) for one in (CANARY, "bob")]
    Path("events.csv").write_text("\n".join(["contact,event,occurred_at,note", *lines]) + "\n")
    run("contacts", "events", "events.csv")
    files = ("--events", "e.parquet", "--contacts", "c.parquet", "--purpose", "send times")
    assert "did you mean 'first_name'" in run("contacts", "pseudonymise", *files, "--attribute", "frst_name", status=1)
    refused = run("contacts", "pseudonymise", *files, "--property", "note", status=1)
    assert "column 'note' has an id or an address" in refused
    assert not Path("e.parquet").exists()
    assert "an id or an address" in run("contacts", "pseudonymise", *files, "--attribute", "first_name", status=1)
    assert "2 contacts: c.parquet" in run("contacts", "pseudonymise", *files, "--attribute", "plan")
    log = jl.EventLog.read("e.parquet", contacts="c.parquet")
    ids = log.contact_ids.to_pylist()
    assert (log.n_contacts, {len(one) for one in ids}) == (2, {32})
    assert b"bob" not in Path("e.parquet").read_bytes()
    assert CANARY.encode() not in Path("e.parquet").read_bytes()
    again = run("contacts", "pseudonymise", *files)
    assert "plan" not in again
    assert not {*jl.EventLog.read("e.parquet", contacts="c.parquet").contact_ids.to_pylist()} & {*ids}
    assert "log_pseudonymised" in run("audit", "list")
