"""Connectors on the command line: a shop is pulled, its plans are in mail, and who depends on what is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path

import pytest
import yaml

from promotable import SETTINGS, write_key, write_messages
from pulling import ORDERS, PEOPLE, connector
from servers.smtp import SmtpOracle
from vendors.shopify import Shopify

Run = Callable[..., str]
JOURNEY = """\
journey: hello
trigger: {event: signup}
nodes:
  greet: {send: welcome_1, next: done}
  done: {exit: finished}
"""
SETTING = """\
journey: hello
trigger: {event: signup}
nodes:
  mark: {set: {plan: gone}, next: done}
  done: {exit: finished}
"""


@pytest.fixture
def shop() -> Iterator[Shopify]:
    with Shopify() as made:
        made.now = datetime.now(UTC)
        yield made


@pytest.fixture
def oracle(tmp_path: Path) -> Iterator[SmtpOracle]:
    with SmtpOracle(tmp_path / "ledger", keep=True) as one:
        yield one


@pytest.fixture
def folder(tmp_path: Path, shop: Shopify, oracle: SmtpOracle, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOP", "shpat-of-tests")
    more = {
        "connectors": {"shop": connector(shop, people=PEOPLE, orders=ORDERS)},
        "attributes": {"plan": {"source": "shop", "stream": "people", "max_age": "1h"}},
        "basis": {"marketing": "contract"},
    }
    settings = SETTINGS.replace("port: 2525", f"port: {oracle.port}")
    Path("sender.yaml").write_text(settings + yaml.safe_dump(json.loads(json.dumps(more))))
    Path("hello.yaml").write_text(JOURNEY)
    Path("signup.csv").write_text("contact,event\nben,signup\n")
    Path("people.csv").write_text("contact,address\nben,ben@mail.example\n")
    write_messages(tmp_path / "messages", "welcome_1")
    write_key(tmp_path / "dkim.pem")
    shop.put(1, customer="ada", mail="ada@mail.example", plan="gold", total=5)
    return tmp_path


def test_what_a_shop_knows_is_in_the_mail(folder: Path, run: Run, oracle: SmtpOracle, shop: Shopify) -> None:
    pulled = run("connectors", "pull", "shop")
    assert "people: known as of" in pulled
    released = run("promote", "hello.yaml", "--without-forecast", "the first", "--yes")
    assert "welcome_1 waits where plan of shop is older than 1h" in released
    run("contacts", "import", "people.csv")
    run("contacts", "events", "signup.csv")
    run("run", "--once")  # nobody knows his plan yet
    assert oracle.records() == []
    assert "stale:plan" in run("sends", "list")
    shop.put(2, customer="ben", mail="ben@mail.example", plan="silver", total=5)
    run("connectors", "pull", "shop")
    run("run", "--once")
    (record,) = oracle.records()
    assert "plan silver" in message_from_bytes(record.message).get_payload(0).get_payload(decode=True).decode()  # type: ignore[union-attr]
    listed = json.loads(run("connectors", "list", "--json"))
    assert [(one["stream"], one["n_rows"], one["every"]) for one in listed["streams"]] == [
        ("orders", 3, "5m"),
        ("people", 3, "5m"),
    ]
    assert listed["attributes"] == [
        {"attribute": "plan", "source": "shop", "stream": "people", "conflict": "refuse", "max_age": "1h",
         "stale": "hold"}
    ]  # fmt: skip
    assert "plan is true by shop (people), others: refuse, at most 1h old, else hold" in run("connectors", "list")
    said = run("connectors", "reset", "shop", "people")
    assert said == "people of shop is pulled from its beginning again\n"
    assert json.loads(run("connectors", "list", "--json"))["streams"][1]["complete_at"] is None


def test_what_another_says_is_left_out_and_named(folder: Path, run: Run) -> None:
    Path("people.csv").write_text("contact,address,plan\nben,ben@mail.example,free\n")
    run("contacts", "import", "people.csv")
    Path("more.csv").write_text("contact,plan\nben,gold\n")
    assert json.loads(run("contacts", "import", "more.csv", "--json"))["conflicts"] == {"plan": 1}


def test_a_journey_that_sets_what_another_owns_is_at_fault(folder: Path, run: Run) -> None:
    Path("setting.yaml").write_text(SETTING)
    said = run("check", "setting.yaml", "--settings", "sender.yaml", status=1)
    assert "setting.yaml:4:" in said
    assert "'plan' is true by shop, as `attributes` in the settings says, and no journey sets it" in said
    said = run("promote", "setting.yaml", "--without-forecast", "no", "--yes", status=1)
    assert "error: attributes: setting.yaml:4:" in said


def test_doctor_says_what_depends_on_what_and_how_old_it_is(folder: Path, run: Run, shop: Shopify) -> None:
    run("connectors", "pull", "shop")
    run("promote", "hello.yaml", "--without-forecast", "the first", "--yes")
    run("connectors", "reset", "shop", "people")
    said = run("doctor", "--settings", "sender.yaml", status=1)
    assert "welcome_1 waits where plan of shop is older than 1h; never said" in said
    assert "connector shop" in said
    assert "rest, pulls orders every 5m, people every 5m" in said
    run("connectors", "pull", "shop")
    said = run("doctor", "--settings", "sender.yaml", status=1)
    assert "welcome_1 waits where plan of shop is older than 1h; last said" in said


def test_what_cannot_be_pulled_ends_with_status_1(folder: Path, run: Run, shop: Shopify) -> None:
    shop.fail(*["busy"] * 4)
    said = run("connectors", "pull", "shop", status=1)
    assert "people: not known as a whole yet; 429" in said
    assert "did you mean 'shop'" in run("connectors", "pull", "shp", status=1)
    assert "did you mean 'people'" in run("connectors", "reset", "shop", "peple", status=1)
