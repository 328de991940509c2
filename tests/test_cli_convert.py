"""`journeylab convert`, as its users run it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from importing import EXPORTS
from journeylab import Journey, datasets
from journeylab.cli import main

WELCOME = str(EXPORTS / "dittofeed" / "welcome.json")
TWO = str(EXPORTS / "dittofeed" / "experiment.json")
CARE = str(datasets.journey_file("keen_care"))

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; its exit status, output and errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(one) for one in arguments])
        out, err = capsys.readouterr()
        code = ended.value.code
        return (1, out, err + code) if isinstance(code, str) else (int(code or 0), out, err)

    return call


def test_the_journey_is_printed_and_what_became_of_it_stands_beside(run):
    status, out, err = run("convert", "dittofeed", WELCOME)
    assert status == 0
    assert out.startswith("# Made of welcome.json (dittofeed) by `journeylab convert`.\n")
    assert "journey: welcome\n" in out
    assert "approximated: 2" in err
    assert "journeys.0.definition.nodes.0: MessageNode/Email 'Say hello' -> say_hello" in err


def test_in_a_file_the_journey_is_sound_and_its_losses_are_on_the_screen(run, tmp_path):
    target, messages = tmp_path / "welcome.yaml", tmp_path / "messages.csv"
    status, out, err = run("convert", "dittofeed", WELCOME, "-o", target, "--messages", messages)
    assert (status, err) == (0, "")
    assert f"1 journey written to {target}" in out
    assert Journey.read(target).first == "say_hello"
    assert messages.read_text(encoding="utf-8") == (
        "message,called\nwelcome_mail,t-welcome\nwelcome_mail,Welcome mail\n"
        "first_purchase_nudge,t-nudge\nfirst_purchase_nudge,First purchase nudge\n"
    )


def test_as_json_there_is_everything_for_machines(run, tmp_path):
    status, out, _ = run("convert", "dittofeed", WELCOME, "-o", tmp_path / "a.yaml", "--json")
    data = json.loads(out)
    assert status == 0
    assert (data["from"], data["to"], data["journeys"]) == ("dittofeed", "journeylab", ["welcome"])
    assert {one["verdict"] for one in data["losses"]} == {"mapped", "approximated"}
    assert {"journey", "place", "element", "verdict", "becomes", "note"} == {*data["losses"][0]}


def test_one_of_several_journeys_is_chosen_by_its_name(run, tmp_path):
    target = tmp_path / "two.json"
    status, _, err = run("convert", "dittofeed", TWO, "-o", target)
    assert status == 1
    assert "a JSON file has one journey, and these are 2; write YAML" in err
    assert run("convert", "dittofeed", TWO, "-o", target, "--journey", "three_subjects_2")[0] == 0
    assert Journey.read(target).journey == "three_subjects_2"
    status, _, err = run("convert", "dittofeed", TWO, "--journey", "three_subject")
    assert status == 1
    assert "did you mean 'three_subjects'" in err


def test_a_journey_file_goes_to_another_system(run, tmp_path):
    target = tmp_path / "care.json"
    status, out, _ = run("convert", "journeylab", CARE, "--to", "dittofeed", "-o", target)
    assert status == 0
    assert "approximated" in out
    assert json.loads(target.read_text(encoding="utf-8"))["journeys"][0]["id"] == "keen_care"


def test_an_export_goes_to_another_system_with_both_reports(run, tmp_path):
    status, out, _ = run("convert", "braze", EXPORTS / "braze" / "welcome.json", "--to", "dittofeed", "--json")
    places = [one["place"] for one in json.loads(out)["losses"]]
    assert status == 0
    assert "steps.0" in places
    assert "nodes.hello" in places


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["hubsopt", WELCOME], 1, "no system 'hubsopt'; did you mean 'hubspot'?"),
        (["braze", WELCOME], 1, "name: this is missing"),
        (["dittofeed", "nowhere.json"], 1, "nowhere.json: cannot be read: No such file or directory"),
        (["dittofeed", CARE], 1, "it is no JSON"),
        (["dittofeed", WELCOME, "--timezone", "Europe/Warsow"], 1, "did you mean 'Europe/Warsaw'?"),
        (["dittofeed", WELCOME, "-o", "nowhere/a.yaml"], 1, "cannot be written: No such file or directory"),
        (["journeylab", CARE], 2, "it comes from journeylab and goes there"),
        (["journeylab", CARE, "--to", "braze"], 1, "journeys cannot be exported to 'braze', only imported from it"),
        (["journeylab", CARE, "--to", "dittofeed", "--messages", "a.csv"], 2, "a journey file has no messages"),
    ],
)
def test_what_cannot_be_done_is_said_without_a_traceback(run, arguments, status, said):
    found, out, err = run("convert", *arguments)
    assert (found, out) == (status, "")
    assert said in " ".join(err.split()).replace("│ ", "")
