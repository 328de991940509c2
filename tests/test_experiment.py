"""What an experiment declares: its forms, its faults, its version, and the record of what was decided on it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from journeylab.datasets import fixtures, shop_history
from journeylab.errors import DataError, DefinitionError
from journeylab.experiments import Experiment, Guardrail, Mean, Proportion, Ratio, Stopping
from journeylab.experiments.record import DecisionRecord
from journeylab.journey import Journey

JOURNEY = """
journey: hello
trigger: {event: signup}
holdout: 10%
nodes:
  offer: {split: {a: 25%, b: 75%}}
  a: {send: letter_a, next: done}
  b: {send: letter_b, next: done}
  done: {exit: finished}
"""
EXPERIMENT = """
experiment: letters
question: Which letter?
journey: hello.yaml
split: offer
control: a
window: 7d
primary: {proportion: purchase}
secondary:
  - {ratio: purchase.amount / purchase}
guardrails:
  - {guardrail: unsubscribed, margin: 0.01}
  - {guardrail: {count: visit, better: higher}, margin: 1}
stopping: {planned_n: 1000, rule: group_sequential, looks: 4}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hello.yaml").write_text(JOURNEY)
    (tmp_path / "letters.yaml").write_text(EXPERIMENT)
    return tmp_path


def declared(folder: Path, old: str = "", new: str = "") -> Experiment:
    assert old in EXPERIMENT
    path = folder / "other.yaml"
    path.write_text(EXPERIMENT.replace(old, new) if old else EXPERIMENT)
    return Experiment.read(path)


def test_a_file_says_what_python_says(folder: Path) -> None:
    read = Experiment.read(folder / "letters.yaml")
    made = Experiment.of_split(
        Journey.read(folder / "hello.yaml"),
        "offer",
        experiment="letters",
        control="a",
        window="7d",
        primary=Proportion("purchase"),
        secondary=[Ratio("purchase.amount/purchase")],
        guardrails=[
            Guardrail("unsubscribed", margin=0.01),
            Guardrail({"count": "visit", "better": "higher"}, margin=1),
        ],
        stopping=Stopping(planned_n=1000, rule="group_sequential", looks=4),
    )
    assert read.arms == made.arms
    assert [one.name for one in read.metrics] == ["purchase", "purchase.amount/purchase", "unsubscribed", "visit"]
    assert read.stopping == made.stopping
    assert read.versions == made.versions


def test_a_split_has_its_arms_the_control_first(folder: Path) -> None:
    arms = Experiment.read(folder / "letters.yaml").arms
    assert arms == {"a": 0.25, "b": 0.75}
    assert next(iter(arms)) == "a"
    assert next(iter(declared(folder, "control: a", "control: b").arms)) == "b"
    assert declared(folder, "control: a", "control: holdout").control == "holdout"


def test_a_journey_is_held_against_its_holdout(folder: Path) -> None:
    made = declared(folder, "split: offer\ncontrol: a", "split: holdout\ncontrol: holdout")
    assert made.arms == pytest.approx({"holdout": 0.1, "treated": 0.9})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("purchase}", "purchases}"),
        ("window: 7d", "window: 8d"),
        ("margin: 0.01", "margin: 0.02"),
        ("planned_n: 1000", "planned_n: 1001"),
        ("looks: 4", "looks: 5"),
        ("control: a", "control: b"),
    ],
)
def test_the_version_changes_with_what_decides(folder: Path, old: str, new: str) -> None:
    assert declared(folder, old, new).version != declared(folder).version


def test_the_version_changes_with_the_journey_and_not_with_words(folder: Path) -> None:
    before = declared(folder)
    assert declared(folder, "Which letter?", "Which of the two letters?").version == before.version
    (folder / "hello.yaml").write_text(JOURNEY.replace("letter_b", "letter_c"))
    assert declared(folder).version != before.version


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("split: offer", "split: offr", "no split 'offr'; did you mean 'offer'?"),
        ("control: a", "control: c", "no arm 'c'"),
        ("hello.yaml", "helo.yaml", "no such file; did you mean 'hello.yaml'?"),
        ("window: 7d", "windw: 7d", "an experiment has no 'windw'; did you mean 'window'?"),
        ("window: 7d\n", "", "needs a `window`"),
        ("{proportion: purchase}", "{proporton: purchase}", "a metric has one of mean, proportion"),
        ("{proportion: purchase}", "{better: higher}", "a metric has one of mean, proportion"),
        ("guardrail: unsubscribed", "guardrail: unsubscribd", "one of unsubscribed, complained, bounced, mails"),
        ("looks: 4", "looks: [50%, 25%, 100%]", "`looks` rise to 100%"),
        (", looks: 4", "", "`looks` go with `rule: group_sequential`"),
        ("journey: hello.yaml\n", "journey: hello.yaml\narm: group\n", "one of `journey` with `split`"),
        ("{ratio: purchase.amount / purchase}", "{proportion: purchase}", "two metrics are named 'purchase'"),
    ],
)
def test_a_fault_says_what_to_do(folder: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(DefinitionError, match="yaml") as raised:
        declared(folder, old, new)
    assert says in str(raised.value)


def test_all_faults_of_a_file_come_at_once_with_their_lines(folder: Path) -> None:
    path = folder / "other.yaml"
    path.write_text(EXPERIMENT.replace("window: 7d", "window: soon").replace("margin: 1}", "margin: -1}"))
    with pytest.raises(DefinitionError) as raised:
        Experiment.read(path)
    assert {(fault.line, fault.path[0]) for fault in raised.value.faults} == {(7, "window"), (13, "guardrails")}


def test_a_file_without_an_experiment_says_so(folder: Path) -> None:
    with pytest.raises(DefinitionError, match="begins with `experiment: NAME`"):
        Experiment.read(folder / "hello.yaml")


def test_journeys_are_compared_as_arms(folder: Path) -> None:
    (folder / "new.yaml").write_text(JOURNEY.replace("letter_b", "letter_c"))
    one = "journey: hello.yaml\nsplit: offer\ncontrol: a"
    made = declared(folder, one, "journeys: {old: hello.yaml, new: new.yaml}\ncontrol: old")
    assert made.arms == {"old": 0.5, "new": 0.5}
    assert {*made.versions} == {"old", "new"}
    assert made.versions["old"] != made.versions["new"]


def test_one_of_several_journeys_is_named_after_the_file() -> None:
    made = Experiment.read(fixtures() / "experiments" / "offer_test.yaml")
    assert made.versions == {"akacja_welcome": shop_history().one("akacja_welcome").version}
    assert made.portfolio is not None


def test_shares_of_a_table_add_up() -> None:
    with pytest.raises(ValidationError, match="do not add up to 100%"):
        Experiment.of_table(
            "group", experiment="x", shares={"a": "50%", "b": "40%"}, control="a", primary=Mean("spend"),
            stopping=Stopping(planned_n=10),
        )  # fmt: skip


# The record


def record(**changed: object) -> DecisionRecord:
    passed = {"passed": True, "sentence": "All is well."}
    parts: dict[str, dict[str, object]] = {
        "experiment": {"name": "letters", "version": "abc", "versions": {"hello": "123"}},
        "asked": {},
        "found": {"results": [{"effect": 0.01}]},
        "checked": {"ratio": passed, "maturity": passed, "guardrails": passed},
        "tried": {},
        "decided": {"arm": "b", "decided_at": datetime(2026, 3, 1, tzinfo=UTC).isoformat()},
    }
    return DecisionRecord(**{**parts, **changed})  # type: ignore[arg-type]


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = record().write(tmp_path / "record.json")
    read = DecisionRecord.read(path)
    assert read == record()
    assert read.hash == json.loads(path.read_text())["hash"]
    assert read.refusals("123") == []
    assert read.decided_at == datetime(2026, 3, 1, tzinfo=UTC)


def test_a_record_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = record().write(tmp_path / "record.json")
    path.write_text(path.read_text().replace("0.01", "0.02"))
    with pytest.raises(DataError, match="was changed after the decision"):
        DecisionRecord.read(path)


def test_a_record_is_not_written_over(tmp_path: Path) -> None:
    path = record().write(tmp_path / "record.json")
    with pytest.raises(DataError, match="there is a record already"):
        record().write(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "no JSON", '{"record": 1}'])
def test_what_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(DataError, match="no decision record"):
        DecisionRecord.read(path)


@pytest.mark.parametrize("check", ["ratio", "maturity", "guardrails"])
def test_a_variant_is_refused_for_each_check_that_fails(check: str) -> None:
    failed = {**record().checked, check: {"passed": False, "sentence": f"The {check} failed."}}
    assert record(checked=failed).refusals("123") == [f"The {check} failed."]
    missing = {name: found for name, found in record().checked.items() if name != check}
    assert len(record(checked=missing).refusals("123")) == 1


def test_a_record_speaks_of_its_own_version_and_arm_only() -> None:
    assert "other versions than 456" in record().refusals("456")[0]
    assert record(decided={"arm": None}).refusals("123") == ["no arm was decided on"]
