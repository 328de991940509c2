"""Reports on schedule: each period's once, by whoever comes first, written whole, and mailed by a real SMTP server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from journeylab.journey import Exit, ExitWhen, Journey, Policy, Send, Trigger, WaitFor
from journeylab.reports import scheduled
from journeylab.reports.scheduled import Reporting, period_end, sender_ledger
from journeylab.sender.mail.messages import Messages
from journeylab.sender.promotion.frozen import Frozen
from journeylab.sender.promotion.releases import promote
from journeylab.sender.settings import ScheduledReport, Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from servers.smtp import SmtpOracle
from stores import rows_of

ON_SQLITE = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
"""For what does not hang on the database."""
READER = "marketing@shop.example"
NOW = datetime(2026, 3, 18, 9, tzinfo=UTC)
WELCOME = Journey(
    journey="welcome",
    timezone="Europe/Warsaw",
    trigger=Trigger(event="signup"),
    exit_when=[ExitWhen(event="purchase", goal=True)],
    nodes={
        "hello": Send(send="welcome_1", next="read"),
        "read": WaitFor(wait_for="opened(hello)", within="3d", then="done", **{"else": "gone"}),
        "done": Exit(exit="finished"),
        "gone": Exit(exit="silent"),
    },
)


def entered(store: Store, n: int, since: datetime = NOW - timedelta(days=16)) -> None:
    """Contacts who entered, of whom two of five opened."""
    with store.writing() as connection:
        entries, visits = [], []
        for number in range(n):
            contact, at = f"crm-{number}", since + timedelta(minutes=20 * number)
            left = at + (timedelta(hours=5) if number % 5 < 2 else timedelta(days=3))
            about = {"contact": contact, "journey": "welcome", "entry": 1, "version": WELCOME.version}
            way, exit_ = ("then", "finished") if number % 5 < 2 else ("else", "silent")
            entries.append({**about, "entered_at": at, "left_at": left, "exit": exit_, "converted": False,
                            "held_out": False})  # fmt: skip
            for node, arrived, gone, branch in (("hello", at, at, "next"), ("read", at, left, way)):
                visits.append({**about, "node": node, "visit": 1, "arrived_at": arrived, "left_at": gone,
                               "branch": branch, "evidence": "observed"})  # fmt: skip
        connection.execute(insert(t.entries), entries)
        connection.execute(insert(t.visits), visits)


@pytest.fixture
def shop(store: Store) -> Store:
    """A store in which 400 contacts have gone through a release."""
    store.clock.at = NOW  # type: ignore[attr-defined]
    promote(store, Frozen(WELCOME, Policy(), Messages({}), forecast={"without": "a test"}), actor="ewa")
    entered(store, 400)
    return store


def settings_for(folder: Path, port: int = 2525, **report: Any) -> Settings:
    (folder / "sender.yaml").write_text(
        "sender: shop\ndomain: shop.example\nfrom: {name: Our Shop, address: hello@shop.example}\n"
        "list_id: news.shop.example\nbounces: bounces.shop.example\npublic_url: https://mail.shop.example\n"
        f"relays: [{{host: 127.0.0.1, port: {port}, tls: none}}]\n"
    )
    given = ScheduledReport(journey="welcome", **report)
    return Settings.read(folder / "sender.yaml").model_copy(update={"reports": (given,)})


@pytest.mark.parametrize(
    ("every", "ends"), [("day", "2026-03-18"), ("week", "2026-03-16"), ("month", "2026-03-01")]
)  # fmt: skip
def test_a_period_is_reported_once_it_is_over(every: str, ends: str) -> None:
    assert period_end(NOW, every, "Europe/Warsaw").isoformat() == ends


def test_midnight_is_local() -> None:
    late = datetime(2026, 3, 15, 23, 30, tzinfo=UTC)
    assert period_end(late, "week", "Europe/Warsaw").isoformat() == "2026-03-16"
    assert period_end(late, "week", "UTC").isoformat() == "2026-03-09"


def test_a_report_is_written_once_by_whoever_comes_first(shop: Store, tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    one, other = Reporting(shop, settings, "one"), Reporting(shop, settings, "other")
    assert (one(NOW), other(NOW), one(NOW + timedelta(hours=2))) == (1, 0, 0)
    [path] = (tmp_path / "reports").iterdir()
    assert path.name == "welcome-week-2026-03-16.html"
    page = path.read_text(encoding="utf-8")
    assert "contacts have entered" in page
    assert "2026-03-16" in page
    [row] = rows_of(shop, t.reports)
    assert (row.name, row.claimed_by, row.written_at) == (path.name, "one", NOW)
    assert [one.action for one in rows_of(shop, t.audit)][-1] == "report_written"
    assert one(NOW + timedelta(days=7)) == 1
    assert len([*(tmp_path / "reports").iterdir()]) == 2


def test_whoever_was_cut_off_is_followed_by_another_after_an_hour(
    shop: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(tmp_path)

    class Cut(BaseException):
        pass

    def cut(*_: object, **__: object) -> None:
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(scheduled, "report", cut)
        with pytest.raises(Cut):
            Reporting(shop, settings, "one")(NOW)
    other = Reporting(shop, settings, "other")
    assert other(NOW + timedelta(minutes=5)) == 0
    assert not (tmp_path / "reports").exists()
    assert Reporting(shop, settings, "third")(NOW + timedelta(minutes=61)) == 1


@ON_SQLITE
def test_it_is_mailed_to_its_readers_and_never_twice(shop: Store, tmp_path: Path) -> None:
    with SmtpOracle(tmp_path / "ledger", keep=True) as oracle:
        settings = settings_for(tmp_path, oracle.port, to=[READER, "boss@shop.example"], language="pl")
        assert Reporting(shop, settings, "one")(NOW) == 1
        assert Reporting(shop, settings, "other")(NOW + timedelta(hours=3)) == 0
        records = oracle.records()
    assert [one.rcpt for one in records] == [[READER], ["boss@shop.example"]]
    mails = [message_from_bytes(one.message, policy=default) for one in records]
    assert len({one["Message-ID"] for one in mails}) == 2
    [attached] = mails[0].iter_attachments()
    assert attached.get_filename() == "welcome-week-2026-03-16.html"
    page = attached.get_content()
    assert (tmp_path / "reports" / "welcome-week-2026-03-16.html").read_text(encoding="utf-8").split() == page.split()
    assert '<html lang="pl">' in page
    body = mails[0].get_body(("plain",)).get_content()
    assert "crm-" not in body + page


@ON_SQLITE
def test_a_relay_that_is_away_is_an_alert_and_who_had_it_is_not_sent_it_again(shop: Store, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, 1, to=[READER])
    assert Reporting(shop, settings, "one")(NOW) == 0
    [alert] = rows_of(shop, t.alerts)
    assert alert.cause == "report/welcome/week"
    assert "takes no mail" in alert.text
    assert READER not in alert.text
    with shop.writing() as connection:
        connection.execute(update(t.reports).values(sent_to=["boss@shop.example"]))
    with SmtpOracle(tmp_path / "ledger", keep=True) as oracle:
        again = settings_for(tmp_path, oracle.port, to=["boss@shop.example", READER])
        assert Reporting(shop, again, "one")(NOW + timedelta(minutes=61)) == 1
        assert [one.rcpt for one in oracle.records()] == [[READER]]
    assert rows_of(shop, t.alerts)[0].resolved_at is not None


@ON_SQLITE
def test_in_staging_no_report_leaves_by_mail(shop: Store, tmp_path: Path) -> None:
    from journeylab.sender.settings import Staging

    with SmtpOracle(tmp_path / "ledger", keep=True) as oracle:
        settings = settings_for(tmp_path, oracle.port, to=["boss@elsewhere.example"])
        staging = settings.model_copy(update={"staging": Staging(domains=("shop.example",))})
        assert Reporting(shop, staging, "one")(NOW) == 0
        assert not oracle.records()
        assert Reporting(shop, settings, "two")(NOW + timedelta(minutes=61)) == 1, "without it, it does"
        assert len(oracle.records()) == 1


@ON_SQLITE
def test_a_journey_that_nobody_has_entered_is_said(shop: Store, tmp_path: Path) -> None:
    with shop.writing() as connection:
        connection.execute(t.visits.delete())
        connection.execute(t.entries.delete())
    assert Reporting(shop, settings_for(tmp_path), "one")(NOW) == 0
    assert "nobody has entered" in rows_of(shop, t.alerts)[0].text
    assert not (tmp_path / "reports").exists()


@ON_SQLITE
def test_a_journey_that_was_never_released_waits(shop: Store, tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    other = settings.model_copy(update={"reports": (ScheduledReport(journey="another"),)})
    assert Reporting(shop, other, "one")(NOW) == 0
    assert not rows_of(shop, t.alerts)


@ON_SQLITE
def test_what_a_sender_reported_is_kept_in_its_state_under_its_ring(shop: Store, tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    assert Reporting(shop, settings, "one")(NOW) == 1
    ledger = tmp_path / "state" / "reports.ledger"
    assert ledger.stat().st_mode & 0o077 == 0
    assert b"crm-" not in ledger.read_bytes()
    with sender_ledger(shop, settings).writing() as writing:
        assert writing.shown()
