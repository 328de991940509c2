"""Doctor looks at a sender as its operator would: what is missing, what waits for a person."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from journeylab.sender.audit.keeping import Keeper
from journeylab.sender.health import health_of
from journeylab.sender.keys import Keys
from journeylab.sender.sending.alerts import raise_alert
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from servers.smtp import SmtpOracle


def now() -> datetime:
    return datetime.now(UTC)


def written(folder: Path, port: int, **more: Any) -> Path:
    given = {
        "sender": "shop", "domain": "shop.example", "from": {"address": "hello@shop.example"},
        "list_id": "news.shop.example", "bounces": "bounces.shop.example", "public_url": "https://mail.shop.example",
        "relays": [{"name": "main", "host": "127.0.0.1", "port": port, "tls": "none"}],
    }  # fmt: skip
    (folder / "messages").mkdir(exist_ok=True)
    file = folder / "sender.json"
    file.write_text(json.dumps(given | more))
    return file


def faults(file: Path) -> dict[str, str]:
    return {one.what: one.text for one in health_of(file, now) if not one.is_well}


def test_a_sender_that_is_well_has_nothing_to_mend(tmp_path: Path) -> None:
    with SmtpOracle(tmp_path / "ledger") as relay:
        file = written(tmp_path, relay.port, audit={"checkpoints": ["file:worm"]})
        (tmp_path / "worm").mkdir()
        keys = Keys.made(tmp_path / "state" / "keys.json")
        store = Store.open(f"sqlite:///{tmp_path}/journeylab.db", keys, create=True)
        assert Keeper(store, Settings.read(file)).keep(now()) == 2
        store.close()
        found = health_of(file, now)
    assert [one.what for one in found if not one.is_well] in ([], ["messages"])
    assert {one.what for one in found} >= {"secrets", "keys", "store", "receipts", "clock", "relay main", "alerts"}
    assert found[-2].what == "audit log"


def test_a_system_for_incidents_without_its_secret_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "e93facc04764012d7bfb002500d5d1a6")
    monkeypatch.delenv("NOWHERE_SET", raising=False)
    desk = {"kind": "servicenow_event", "url": "https://acme.example", "user": "x", "password": "env:NOWHERE_SET"}
    pager = {"name": "pager", "kind": "pagerduty", "routing_key": "env:KEY"}
    found = health_of(written(tmp_path, 1, incidents=[pager, {"name": "desk", **desk}]), now)
    said = {one.what: (one.text, one.is_well) for one in found}
    assert said["incidents pager"][0].startswith("pagerduty, hears of error and worse")
    assert "set the environment variable NOWHERE_SET" in said["incidents desk"][0]
    assert not said["incidents desk"][1]


def test_whatever_is_missing_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE_SET", raising=False)
    found = faults(written(tmp_path, 1, webhook_secret="env:NOWHERE_SET"))
    assert "set the environment variable NOWHERE_SET" in found["secrets"]
    assert "there is no key" in found["keys"]
    assert "has no tables yet" in found["store"]
    assert "127.0.0.1:1 does not take messages (connection)" in found["relay main"]


def test_what_waits_for_a_person_is_a_fault(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/journeylab.db", create=True)
    with store.writing() as connection:
        raise_alert(connection, "sends/ambiguous", "error", "2 messages are ambiguous", store.now(connection))
    store.close()
    found = faults(written(tmp_path, 1))
    assert found["alerts"] == "2 messages are ambiguous"
    assert "no checkpoint of the audit log leaves this machine" in found["audit log"]
