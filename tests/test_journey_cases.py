"""Cases beside journeys: they say what a replay says, and where they differ, what differs."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from journeylab import datasets
from journeylab.cases import junit_xml, read_cases, run_case
from journeylab.cli import main
from journeylab.errors import DefinitionError

JOURNEY = """\
journey: hello
timezone: Europe/Warsaw
trigger: {event: signup, reentry: always}
exit_when: [{event: purchase, goal: true}]
quiet_hours: {from: "21:00", to: "08:00"}
nodes:
  known:
    decide: [{if: score("interest") >= 0.5 and country == "PL", go: tell}]
    else: greet
  tell: {call: crm, next: greet, failed: done}
  greet: {send: welcome, next: read}
  read: {wait_for: opened(greet), within: 3d, then: done, else: unread}
  done: {exit: finished}
  unread: {exit: unread}
"""
SIGNUP = '{event: signup, at: "2026-03-02T10:00+01:00"}'


@pytest.fixture
def problems(tmp_path: Path):
    """Runs one case, given as YAML without its name, and gives its problems."""

    def problems(text: str, interest: float = 0.1) -> list[str]:
        (tmp_path / "hello.yaml").write_text(JOURNEY)
        lines = text.strip().replace("\n", "\n  ")
        (tmp_path / "hello.tests.yaml").write_text(f"- case: one\n  scores: {{interest: {interest}}}\n  {lines}\n")
        suite = read_cases(tmp_path / "hello.yaml")
        return list(run_case(suite.cases[0], suite.portfolio).problems)

    return problems


@pytest.mark.parametrize("path", sorted((datasets.fixtures() / "journeys").glob("*.tests.yaml")), ids=lambda p: p.name)
def test_bundled_journeys_do_what_their_cases_say(path):
    suite = read_cases(path)
    found = {case.text: list(run_case(case, suite.portfolio).problems) for case in suite.cases}
    assert found == {case.text: [] for case in suite.cases}


def test_every_bundled_journey_file_has_cases():
    folder = datasets.fixtures() / "journeys"
    journeys = {path.stem for path in folder.glob("*.yaml") if not path.name.endswith(".tests.yaml")}
    assert journeys == {path.name.removesuffix(".tests.yaml") for path in folder.glob("*.tests.yaml")}


def test_case_that_is_as_expected_has_no_problem(problems):
    assert not problems(f"""
events: [{SIGNUP}, {{event: opened, at: +2h, message: welcome}}]
expect:
  path: [known, greet, read, done]
  sends: [{{message: welcome, at: +0s}}]
  exit: finished
  converted: false
  still_inside: false
""")


def test_paths_that_differ_are_shown_one_above_the_other(problems):
    assert problems(f"events: [{SIGNUP}]\nexpect: {{path: [known, greet, read, done]}}") == [
        "path: expected known > greet > read > done\n"
        "      got      known > greet > read > unread\n"
        "                                      ^"
    ]


def test_send_at_another_instant_is_a_problem(problems):
    night = SIGNUP.replace("10:00", "22:00")
    assert problems(f"events: [{night}]\nexpect: {{sends: [{{message: welcome, at: +1h}}]}}") == [
        "sends: 'welcome' was expected at 2026-03-02T22:00:00+00:00, got 2026-03-03T07:00:00+00:00"
    ]


def test_exit_conversion_and_being_inside_are_compared(problems):
    bought = f"events: [{SIGNUP}, {{event: purchase, at: +1h}}]"
    assert problems(f"{bought}\nexpect: {{exit: unread, converted: false, still_inside: true}}") == [
        "exit: expected 'unread', got 'goal:purchase'",
        "still_inside: expected true, got the exit 'goal:purchase'",
        "converted: expected false, got true",
    ]
    assert problems(f"events: [{SIGNUP}]\nuntil: +1d\nexpect: {{exit: unread, still_inside: false}}") == [
        "exit: expected 'unread', got none, it is still inside",
        "still_inside: expected false, got still inside, at 'read'",
    ]


def test_a_unit_that_a_case_does_not_give_is_missing(tmp_path: Path) -> None:
    halves = "unit: household\nnodes:\n  half: {split: {known: 50%, done: 50%}}"
    (tmp_path / "hello.yaml").write_text(JOURNEY.replace("nodes:", halves))
    (tmp_path / "hello.tests.yaml").write_text(
        f"- {{case: no household, scores: {{interest: 0.1}}, events: [{SIGNUP}], expect: {{}}}}\n"
    )
    suite = read_cases(tmp_path / "hello.yaml")
    assert not run_case(suite.cases[0], suite.portfolio).problems


def test_an_entry_that_nobody_expected_is_a_problem(problems):
    again = f"events: [{SIGNUP}, {{event: signup, at: +10d}}]"
    assert problems(f"{again}\nexpect: {{}}") == ["entries: expected 1, got 2 (ended by unread, unread)"]
    assert not problems(f"{again}\nexpect: {{entries: 2, entry: 2, sends: [{{message: welcome, at: +10d}}]}}")
    assert problems(f"events: [{SIGNUP}]\nexpect: {{entries: 0}}") == ["entries: expected 0, got 1 (ended by unread)"]


@pytest.mark.parametrize(
    ("interest", "outcome", "path"),
    [
        (0.9, "fails", "[known, tell, done]"),
        (0.9, "succeeds", "[known, tell, greet, read, unread]"),
        (0.1, "fails", "[known, greet, read, unread]"),
    ],
)
def test_scores_attributes_and_outside_calls_are_answered(problems, interest, outcome, path):
    assert not problems(
        f"""
attributes: {{country: PL}}
calls: {{crm: {outcome}}}
events: [{SIGNUP}]
expect: {{path: {path}}}
""",
        interest,
    )


def test_what_cannot_be_replayed_is_a_problem_of_its_case(problems):
    [problem] = problems(f"attributes: {{country: 3}}\nevents: [{SIGNUP}]\nexpect: {{}}")
    assert problem.startswith("it cannot be replayed: ")


def test_path_may_name_the_file_of_cases_itself():
    path = datasets.fixtures() / "journeys" / "keen_care.tests.yaml"
    assert read_cases(path).portfolio.journeys[0].journey == "keen_care"


def test_case_of_a_file_of_several_journeys_says_which(tmp_path):
    for name in ("shop_portfolio", "keen_care"):
        (tmp_path / f"{name}.yaml").write_text(datasets.journey_file(name).read_text())
    (tmp_path / "shop_portfolio.tests.yaml").write_text(f"- case: one\n  events: [{SIGNUP}]\n  expect: {{}}\n")
    with pytest.raises(DefinitionError, match="several journeys; say which; Known journeys: trial_welcome, winback"):
        read_cases(tmp_path / "shop_portfolio.yaml")


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    (tmp_path / "care.yaml").write_text(datasets.journey_file("keen_care").read_text())
    visit = '{event: visit, at: "2026-03-02T12:00Z", page: %s}'
    (tmp_path / "care.tests.yaml").write_text(
        f"- case: helped\n  events: [{visit % 'basket'}]\n  expect: {{exit: helped}}\n"
        f"- case: <not> helped\n  events: [{visit % 'home'}]\n  expect: {{exit: helped}}\n"
    )
    return tmp_path / "care.yaml"


def test_junit_has_a_test_case_for_each_case_and_its_failure(failing):
    suite = read_cases(failing)
    text = junit_xml({suite.path: [run_case(case, suite.portfolio) for case in suite.cases]})
    [found] = ElementTree.fromstring(text)
    assert (found.get("tests"), found.get("failures")) == ("2", "1")
    good, bad = found
    assert (good.get("name"), good.get("classname"), len(good)) == ("helped", "keen_care", 0)
    assert (bad.get("name"), bad.get("line")) == ("<not> helped", "4")
    assert bad[0].get("message") == bad[0].text == "entries: expected 1, got 0"


def test_command_prints_each_case_writes_junit_and_exits_with_one_when_a_case_fails(failing, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["test", str(failing), "--junit", str(tmp_path / "results.xml")])
    assert exit_info.value.code == 1
    out = capsys.readouterr().out.splitlines()
    assert out[1:] == [
        "  ok    helped",
        "  FAIL  <not> helped",
        "        entries: expected 1, got 0",
        "2 cases, 1 failed",
    ]
    assert ElementTree.parse(tmp_path / "results.xml").getroot().tag == "testsuites"
    with pytest.raises(SystemExit):
        main(["test", str(failing), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["n_cases"], found["n_failed"]) == (2, 1)
    assert found["cases"][1]["problems"] == ["entries: expected 1, got 0"]
