"""What blocks a promotion: each fault is told with its place and its remedy, all at once, and nothing changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

import journeylab as jl
from journeylab.errors import DataError, DefinitionError
from journeylab.experiments.record import DecisionRecord
from journeylab.journey import Cap, Exit, Journey, Policy, Portfolio, Send, Trigger
from journeylab.sender.keys import Keys
from journeylab.sender.ownstore import store_url
from journeylab.sender.promotion.checks import Finding
from journeylab.sender.promotion.promoting import Prepared, prepare, promote
from journeylab.sender.promotion.standing import frozen_release, running
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from promotable import summary, write_messages, write_promotable

WHY = "the journey is new"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_promotable(tmp_path)
    return tmp_path


def hello(**changes: Any) -> Journey:
    nodes = {"greet": Send(send="welcome_1", next="done"), "done": Exit(exit="finished")}
    data = {"journey": "hello", "trigger": Trigger(event="signup"), "nodes": nodes, "quiet_hours": NIGHT}
    return Journey(**(data | changes))


NIGHT = {"from": "21:00", "to": "08:00"}


@pytest.fixture
def known(folder: Path) -> Iterator[Store]:
    """A store that knows the attribute `plan`, and consent for marketing."""
    store = Store.open(f"sqlite:///{folder}/journeylab.db", create=True)
    with store.writing() as connection:
        now = store.now(connection)
        connection.execute(insert(t.names), [{"scope": "contact", "name": "plan", "kind": "text"}])
        row = {"contact": "ada", "event": "consent_given", "occurred_at": now, "received_at": now}
        connection.execute(insert(t.events), row | {"properties": {"purpose": "marketing"}})
    yield store
    store.close()


def prepared(folder: Path, journey: Any, **more: Any) -> Prepared:
    more = {"without_forecast": WHY} | more
    return prepare(journey, settings=folder / "sender.yaml", **more)


def errors(folder: Path, journey: Any, **more: Any) -> list[str]:
    return [str(one) for one in prepared(folder, journey, **more).findings.errors]


def warned(made: Prepared) -> list[str]:
    return [f"{one.check}: {one.message}" for one in made.findings.warnings if "dns" not in one.message]


def test_a_sound_journey_is_released_and_reads_back(folder: Path, known: Store) -> None:
    journey = hello()
    made = prepared(folder, journey, without_forecast=None, forecast=summary(journey))
    assert made.findings.errors == []
    assert (made.former, made.changes) == (None, ())
    done = made.open(share=0.05, actor="ada")
    assert done.has_changed
    assert Keys.read(folder / "state" / "keys.json")
    with known.reading() as connection:
        (one,) = running(connection)
        frozen = frozen_release(connection, one.release_id)
    assert (one.version, one.is_canary, one.has_forecast, one.created_by) == (journey.version, True, True, "ada")
    assert [*frozen.messages] == ["welcome_1"]
    again = prepared(folder, journey, without_forecast=None, forecast=summary(journey)).open(share=0.05, actor="ada")
    assert not again.has_changed


def test_all_faults_are_told_at_once_and_nothing_is_made(folder: Path) -> None:
    journey = hello(
        nodes={
            "greet": Send(send="welcome_2", at="best", next="call"), "call": {"call": "loyalty", "next": "care"},
            "care": {"decide": [{"if": 'score("churn") > 0.5 and age > 3', "go": "done"}], "else": "offer"},
            "offer": Send(send="offer_plain", next="nowhere"), "done": Exit(exit="finished"),
        },
    )  # fmt: skip
    made = prepared(folder, journey, without_forecast=None)
    found = {one.check: one for one in made.findings.errors}
    assert {*found} == {"definition", "messages", "names", "calls", "models", "forecast"}
    assert "no node 'nowhere'" in found["definition"].message
    assert found["messages"] == Finding(
        "messages", "error", "node greet",
        "there is no message 'welcome_2'; did you mean 'welcome_1'? Known messages: offer_discount, offer_free_month, "
        "offer_plain, reminder, welcome_1.",
    )  # fmt: skip
    assert "has no service 'loyalty'" in found["calls"].message
    models = [one.message for one in made.findings.errors if one.check == "models"]
    assert models == [
        'the scores of score("churn") are missing; give --models churn=FILE',
        "send times 'best' of `at: best` are missing; give --models best=FILE",
    ]
    assert "--without-forecast REASON" in found["forecast"].message
    names = [one for one in made.findings.errors if one.check == "names"]
    assert [one.place for one in names] == ["message offer_plain", "hello"]
    assert "no contact has the attribute 'age'; import contacts" in names[1].message
    with pytest.raises(DefinitionError, match=r"(?s)nowhere.*welcome_2.*loyalty"):
        made.open(share=1.0, actor="ada")
    assert not (folder / "journeylab.db").exists()
    assert not (folder / "state").exists()


def test_files_that_cannot_be_read_are_told_together(folder: Path) -> None:
    (folder / "sender.yaml").write_text("sender: shop\n")
    (folder / "bad.yaml").write_text("journey: bad\n")
    (folder / "record.json").write_text("{}")
    with pytest.raises(DefinitionError) as caught:
        prepare(folder / "bad.yaml", settings=folder / "sender.yaml", record=folder / "record.json")
    text = str(caught.value)
    assert "needs `domain`" in text
    assert "needs `trigger`" in text
    assert "no decision record" in text


def test_a_failing_test_blocks_and_a_missing_one_warns(folder: Path, known: Store) -> None:
    file = folder / "hello.yaml"
    hello().save(file)
    made = prepared(folder, file)
    assert made.findings.errors == []
    assert any("there are no tests" in one for one in warned(made))
    case = "- case: is greeted\n  events: [{event: signup, at: '2026-03-02T10:00Z'}]\n  expect: {sends: [WHAT]}\n"
    tests = folder / "hello.tests.yaml"
    tests.write_text(case.replace("WHAT", "welcome_1"))
    assert errors(folder, file) == []
    tests.write_text(case.replace("WHAT", "offer_plain"))
    (fault,) = errors(folder, file)
    assert fault.startswith(f"error: tests: {tests}:1: is greeted: ")
    tests.write_text("- case: is greeted\n")
    assert any("tests" in one for one in errors(folder, file))


def test_message_rules_block(folder: Path, known: Store) -> None:
    page = folder / "messages" / "welcome_1.html"
    page.write_text(page.read_text().replace('<a href="{{ unsubscribe_url }}">Unsubscribe</a>', ""))
    assert any("unsubscribe-link" in one and "message welcome_1" in one for one in errors(folder, hello()))
    write_messages(folder / "messages", "welcome_1")
    (folder / "dkim.pem").unlink()
    assert any("dkim" in one for one in errors(folder, hello()))


def test_the_purpose_is_one_that_somebody_consented_to(folder: Path, known: Store) -> None:
    (fault,) = errors(folder, hello(purpose="marketting"))
    assert "nobody has consented to the purpose 'marketting'" in fault
    assert "did you mean 'marketing'" in fault
    settings = folder / "sender.yaml"
    settings.write_text(settings.read_text() + "basis: {orders: contract}\n")
    assert errors(folder, hello(purpose="orders")) == []


def test_models_that_nothing_asks_are_refused(folder: Path, known: Store) -> None:
    (fault,) = errors(folder, hello(), models={"best": folder / "best.parquet"})
    assert "the journey asks no send times 'best'; leave the model out" in fault
    nodes = {"greet": Send(send="welcome_1", at="best", next="done"), "done": Exit(exit="finished")}
    assert errors(folder, hello(nodes=nodes), models={"best": folder / "best.parquet"}) == []
    with pytest.raises(DefinitionError, match="there is no file"):
        prepared(folder, hello(nodes=nodes), models={"best": folder / "none.parquet"})


def test_a_decision_record_must_speak_of_this_version_and_have_passed(folder: Path, known: Store) -> None:
    passed = {check: {"passed": True} for check in ("ratio", "maturity", "guardrails")}
    journey = hello()

    def record(**more: Any) -> DecisionRecord:
        parts = {"experiment": {"name": "offer", "versions": {"b": journey.version}}, "asked": {}, "found": {}}
        return DecisionRecord(**(parts | {"checked": passed, "tried": {}, "decided": {"arm": "b"}} | more))

    assert errors(folder, journey, record=record()) == []
    assert any("no arm was decided on" in one for one in errors(folder, journey, record=record(decided={})))
    assert any("other versions" in one for one in errors(folder, hello(holdout="5%"), record=record()))
    assert len(errors(folder, journey, record=record(checked={}))) == 3
    record().write(folder / "record.json")
    made = prepared(folder, journey, record=folder / "record.json")
    made.open(share=1.0, actor="ada")
    with known.reading() as connection:
        frozen = frozen_release(connection, running(connection)[0].release_id)
    assert frozen.record is not None
    assert frozen.record["hash"] == record().hash


def test_another_policy_than_the_others_have_is_told(folder: Path, known: Store) -> None:
    prepared(folder, hello()).open(share=1.0, actor="ada")
    other = Portfolio(
        journeys=(hello(journey="other"),),
        policy=Policy(cap=Cap(sends=3, within="7d")),  # type: ignore[arg-type]
    )
    said = "hello runs under another policy (none, here cap: {'sends': 3, 'within': '7d'}), and its entries keep it"
    assert errors(folder, other) == []
    assert any(said in one for one in warned(prepared(folder, other)))
    assert not any("policy" in one for one in warned(prepared(folder, hello(journey="other"))))


def test_waiting_for_opens_that_nobody_notes_is_told(folder: Path, known: Store) -> None:
    nodes = {
        "greet": {"send": "welcome_1", "next": "read"},
        "read": {"wait_for": "opened(greet)", "within": "3d", "then": "done", "else": "done"},
        "done": {"exit": "finished"},
    }  # fmt: skip
    settings = folder / "sender.yaml"
    assert not any("tracking" in one for one in warned(prepared(folder, hello(nodes=nodes))))
    settings.write_text(settings.read_text().replace("tracking: {opens: true, clicks: true}\n", ""))
    assert any("waits for opened(greet), and `tracking: {opens: true}`" in one
               for one in warned(prepared(folder, hello(nodes=nodes))))  # fmt: skip


def test_what_differs_from_what_runs_is_told_in_a_reviewers_words(folder: Path, known: Store) -> None:
    prepared(folder, hello()).open(share=1.0, actor="ada")
    assert prepared(folder, hello()).changes == ()
    page = folder / "messages" / "welcome_1.html"
    page.write_text(page.read_text().replace("Hello", "Welcome"))
    write_messages(folder / "messages", "welcome_2")
    nodes = {
        "greet": Send(send="welcome_1", at="best", next="more"), "more": Send(send="welcome_2", next="done"),
        "done": Exit(exit="finished"),
    }  # fmt: skip
    made = prepared(folder, hello(nodes=nodes, holdout="5%"), models={"best": folder / "best.parquet"})
    assert made.former == hello().version
    text = "\n".join(made.changes)
    for line in ("holdout", "node 'more' added", "message 'welcome_2' added", "message 'welcome_1' changed",
                 "send_times 'best' added", "version: "):  # fmt: skip
        assert line in text, text


def test_from_python_a_journey_is_promoted_by_one_call(folder: Path, known: Store, monkeypatch: Any) -> None:
    monkeypatch.chdir(folder)
    journey = hello()
    (folder / "forecast.json").write_text(json.dumps(summary(journey)))
    done = jl.promote(journey, store="sqlite:///journeylab.db", forecast="forecast.json")
    assert (done.has_changed, done.share) == (True, 1.0)
    assert jl.promote is promote
    with pytest.raises(DefinitionError, match="forecast"):
        jl.promote(journey)


def test_a_release_opens_at_the_time_of_the_sender_s_clock(folder: Path, known: Store) -> None:
    at = datetime(2031, 3, 30, 1, 0, tzinfo=UTC)
    done = prepared(folder, hello(), clock=lambda _connection: at).open(share=1.0, actor="ada")
    with known.reading() as connection:
        [one] = running(connection)
        made = connection.execute(select(t.releases.c.created_at)).scalars().all()
    assert (done.at, one.from_at, made) == (at, at, [at])
    later = at + timedelta(days=1)
    again = promote(hello(quiet_hours=None), settings=folder / "sender.yaml", without_forecast=WHY,
                    clock=lambda _connection: later)  # fmt: skip
    assert again.at == later


def test_names_may_come_from_a_log(folder: Path) -> None:
    log = jl.EventLog.from_rows(
        [{"contact": "ada", "event": "consent_given", "occurred_at": "2026-03-01T09:00:00Z", "purpose": "marketing"}],
        [{"contact": "ada", "plan": "trial"}],
        cache=False,
    )
    made = prepared(folder, hello(), log=log)
    assert made.findings.errors == []
    assert not any("consented" in one for one in warned(made))
    assert any("nobody has consented" in one for one in errors(folder, hello(purpose="other"), log=log))


def test_a_sqlite_file_is_relative_to_the_settings(folder: Path) -> None:
    assert store_url(Settings.read(folder / "sender.yaml")) == f"sqlite:///{folder}/journeylab.db"


def test_a_store_with_older_tables_is_brought_up_to_date_on_request(folder: Path, known: Store) -> None:
    with known.writing() as connection:
        connection.exec_driver_sql("update alembic_version set version_num = 'other'")
    with pytest.raises(DataError, match="newer: update it"):
        prepared(folder, hello())
