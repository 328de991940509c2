"""What the command line prints when something is wrong: place, value and remedy on stderr, and no traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from journeylab.cli import main

JOURNEY = """\
journey: hello
trigger: {event: signup, where: plan == "trial"}
nodes:
  greet: {send: welcome, next: done}
  done: {exit: finished}
"""
EVENTS = "contact,event,occurred_at,plan\nada,signup,2026-03-01T09:00:00Z,trial\nbo,signup,2026-03-02T09:00:00Z,paid\n"


class Printed(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Printed]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in a folder with a sound journey and a sound event log, and further files given by name."""
    monkeypatch.chdir(tmp_path)
    Path("hello.yaml").write_text(JOURNEY)
    Path("events.csv").write_text(EVENTS)

    def run(*arguments: str, **files: str) -> Printed:
        for name, text in files.items():
            Path(name.replace("_", ".")).write_text(text)
        with pytest.raises(SystemExit) as exit_info:
            main(arguments)
        out, err = capsys.readouterr()
        code = exit_info.value.code
        if isinstance(code, str):  # as the interpreter does it
            code, err = 1, err + code
        assert "Traceback" not in out + err
        return Printed(int(code or 0), out, err)

    return run


def replayed(run: Run, *more: str, events: str = "events.csv", **files: str) -> Printed:
    return run("replay", "hello.yaml", "--events", events, *more, **files)


def test_missing_journey_file_names_the_nearest(run):
    printed = run("check", "helo.yaml")
    assert printed.status == 1
    assert "helo.yaml: no such file; did you mean 'hello.yaml'?" in printed.err


def test_missing_event_log_names_the_nearest(run):
    printed = replayed(run, events="event.csv")
    assert printed.status == 1
    assert "there is no file event.csv; did you mean 'events.csv'?" in printed.err


def test_bad_yaml_is_at_its_line_and_column(run):
    printed = run("check", "bad.yaml", bad_yaml="journey: hello\ntrigger: {event: signup\nnodes: {}\n")
    assert printed.status == 1
    assert "bad.yaml:3:6: no YAML: expected ',' or '}', but got ':'" in printed.err


def test_unknown_key_names_the_nearest(run):
    printed = run("check", "bad.yaml", bad_yaml=JOURNEY.replace("next: done", "nxt: done"))
    assert printed.status == 1
    assert "bad.yaml:4:26: nodes.greet.nxt: send has no 'nxt'; did you mean 'next'?" in printed.err


def test_faults_of_all_files_are_printed_at_once(run):
    one, other = JOURNEY.replace("next: done", "next: don"), JOURNEY.replace('"trial"', "'trial")
    printed = run("replay", "one.yaml", "other.yaml", "--events", "events.csv", one_yaml=one, other_yaml=other)
    assert printed.status == 1
    assert "one.yaml:4:32: nodes.greet.next: no node 'don'; did you mean 'done'?" in printed.err
    assert "other.yaml:2:" in printed.err


def test_missing_columns_are_said_with_the_option_that_maps_them(run):
    printed = replayed(run, events="bad.csv", bad_csv="customer_id,event,date\nada,signup,2026-03-01T09:00:00Z\n")
    assert printed.status == 1
    assert "bad.csv: there is no column 'contact'; map it with --columns customer_id=contact." in printed.err
    assert "bad.csv: there is no column 'occurred_at'; map it with --columns date=occurred_at." in printed.err


def test_column_of_a_wrong_type_is_shown_with_a_value(run):
    pd.DataFrame({"contact": ["ada"], "event": ["signup"], "occurred_at": [3.5]}).to_parquet("bad.parquet")
    printed = replayed(run, events="bad.parquet")
    assert printed.status == 1
    assert "bad.parquet: column 'occurred_at' holds numbers such as 3.5" in printed.err


def test_naive_times_are_refused_until_a_zone_is_named(run):
    naive = EVENTS.replace("Z,", ",")
    printed = replayed(run, events="bad.csv", bad_csv=naive)
    assert printed.status == 1
    assert "times without a time zone; say which zone they are in with --timezone UTC" in printed.err


def test_unknown_time_zone_is_refused(run):
    printed = replayed(run, "--timezone", "Mars/Base")
    assert printed.status == 1
    assert "--timezone Mars/Base is no time zone" in printed.err


def test_duplicate_contact_is_said_with_both_lines(run):
    printed = replayed(run, "--contacts", "people.csv", people_csv="contact,plan\nada,trial\nada,paid\n")
    assert printed.status == 1
    assert "line 3, column contact: 'ada' is also on line 2" in printed.err
    assert "--rejects OUT.csv" in printed.err


def test_empty_log_is_refused(run):
    printed = replayed(run, events="bad.csv", bad_csv="contact,event,occurred_at\n")
    assert printed.status == 1
    assert "bad.csv: there are no events" in printed.err


def test_mixed_types_are_said_with_their_rows(run):
    first = '{"contact": "ada", "event": "signup", "occurred_at": "2026-03-01T09:00:00Z", "amount": %s}\n'
    printed = replayed(run, events="bad.jsonl", bad_jsonl=first % "3" + first % "4" + first % '"four"')
    assert printed.status == 1
    assert "line 3, column amount: 'four' is a text, most of the column is a number" in printed.err


def test_many_bad_rows_are_counted_and_the_first_are_shown(run):
    rows = "".join(f"c{i},signup,yesterday,trial\n" for i in range(40))
    printed = replayed(run, events="bad.csv", bad_csv=EVENTS + rows)
    assert printed.status == 1
    assert "bad.csv: 40 of 42 lines are bad:" in printed.err
    assert "line 4, column occurred_at: 'yesterday' is no time in ISO 8601" in printed.err
    assert "and 35 more" in printed.err


def test_unknown_attribute_in_a_condition_names_the_nearest(run):
    printed = run("replay", "bad.yaml", "--events", "events.csv", bad_yaml=JOURNEY.replace("plan ==", "plann =="))
    assert printed.status == 1
    assert "hello.trigger.where: no event has 'plann' and no contact; did you mean 'plan'?" in printed.err


def test_unknown_journey_name_names_the_nearest(run):
    printed = replayed(run, "--journey", "helo")
    assert printed.status == 1
    assert "no journey 'helo' here; did you mean 'hello'? Known journeys: hello." in printed.err


def test_journey_that_is_in_two_files_is_refused(run):
    printed = run("replay", "hello.yaml", "again.yaml", "--events", "events.csv", again_yaml=JOURNEY)
    assert printed.status == 1
    assert "again.yaml: a journey 'hello' is in hello.yaml as well" in printed.err


def test_database_without_a_query_is_asked_for_one(run):
    printed = replayed(run, events="sqlite:///events.db")
    assert printed.status == 1
    assert '--query "SELECT ..."' in printed.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay", "hello.yaml"], "Missing option '--events'"),
        (["replay", "hello.yaml", "--events", "events.csv", "--columns", "date"], "'date' maps nothing; write"),
        (["replay", "hello.yaml", "--events", "events.csv", "--cap", "3"], "write SENDS/WITHIN, such as 3/7d"),
        (["replay", "hello.yaml", "--events", "events.csv", "--match", "3"], "a duration needs a unit, got '3'"),
        (["replay", "hello.yaml", "--events", "events.csv", "--until", "tomorrow"], "'tomorrow' is no instant"),
        (["replay", "hello.yaml", "--events", "events.csv", "--until", "2026-03-01"], "does not say its time zone"),
        (["replay", "hello.yaml", "--events", "events.csv", "--visits", "v.xlsx"], "ends in neither .parquet nor .csv"),
        (["chek", "hello.yaml"], "Did you mean 'check'?"),
        (["draw", "hello.yaml", "--format", "png"], "'png' is not one of"),
    ],
)
def test_wrong_usage_exits_with_status_two_and_says_the_right_one(run, arguments, said):
    printed = run(*arguments)
    assert printed.status == 2
    assert said in printed.err
    assert printed.out == ""


SENT = "contact,event,occurred_at,message,plan\n" + "".join(
    f"c{i},signup,2026-03-{1 + i % 20:02}T09:00:00Z,,trial\nc{i},sent,2026-03-{1 + i % 20:02}T09:00:00Z,welcome,\n"
    for i in range(60)
)
OPENED = "".join(f"c{i},opened,2026-03-{1 + i % 20:02}T11:00:00Z,welcome,\n" for i in range(0, 60, 3))


def test_a_log_without_sends_teaches_no_model(run):
    printed = run("simulate", "hello.yaml", "--events", "events.csv")
    assert printed.status == 1
    assert "sent" in printed.err
    assert printed.out == ""


def test_a_log_without_responses_teaches_no_model(run):
    printed = run("simulate", "hello.yaml", "--events", "sent.csv", "--within", "1d", sent_csv=SENT)
    assert printed.status == 1


def test_too_short_a_log_is_said_with_what_would_do(run):
    sent = "ada,sent,2026-03-01T09:00:00Z,welcome,\n"
    events = "contact,event,occurred_at,message,plan\nada,signup,2026-03-01T09:00:00Z,,trial\n" + sent
    printed = run("simulate", "hello.yaml", "--events", "short.csv", short_csv=events)
    assert printed.status == 1
    assert "0 of 1 sends were looked at for all of 7d, and 50 are needed; bring a longer log" in printed.err


@pytest.mark.parametrize(
    ("cutoff", "said"),
    [
        ("soon", "write it as 2026-03-01 or 2026-03-01T12:00:00+00:00"),
        ("2026-03-12T09:00:00", "write it as 2026-03-01 or 2026-03-01T12:00:00+00:00"),
        ("2027-01-01", "the cutoff, 2027-01-01 00:00 UTC, has to lie within the log"),
    ],
)
def test_a_cutoff_that_is_no_instant_of_the_log_is_refused(run, cutoff, said):
    printed = run("backtest", "hello.yaml", "--events", "sent.csv", "--cutoff", cutoff, sent_csv=SENT)
    assert printed.status == 1
    assert said in printed.err


def test_a_card_that_cannot_be_written_is_said_with_its_place(run):
    options = ["--draws", "2", "--within", "1d", "--card", "hello.yaml/card.md"]
    printed = run("simulate", "hello.yaml", "--events", "sent.csv", *options, sent_csv=SENT + OPENED)
    assert printed.status == 1
    assert "hello.yaml" in printed.err


TWO = JOURNEY.replace("hello", "other")
SIMULATE = ["simulate", "hello.yaml", "--events", "events.csv"]
BACKTEST = ["backtest", "hello.yaml", "--events", "events.csv"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (SIMULATE[:2], "Missing option '--events'"),
        ([*SIMULATE, "--draws", "1"], "'--draws': Input should be greater than or equal to 2"),
        ([*SIMULATE, "--level", "95"], "'--level': Input should be less than or equal to 0.999"),
        ([*SIMULATE, "--like", "welcome"], "'welcome' says nothing; write NEW_MESSAGE=KNOWN_MESSAGE"),
        ([*SIMULATE, "--overide", "why"], "No such option: --overide"),
        ([*SIMULATE[:2], "two.yaml", *SIMULATE[2:], "--support", "map.svg"], "choose it with --journey"),
        (BACKTEST, "Missing option '--cutoff'"),
        ([*BACKTEST[:2], "two.yaml", *BACKTEST[2:], "--cutoff", "2026-03-02"], "choose one of hello, other"),
        (["policy", "events.csv", "--action", "event", "--reward", "plan"], "give one of the two, neither is given"),
    ],
)
def test_wrong_usage_of_prediction_exits_with_status_two(run, arguments, said):
    printed = run(*arguments, two_yaml=TWO)
    assert printed.status == 2
    assert said in " ".join(printed.err.split())
    assert printed.out == ""


def test_a_column_that_the_table_of_decisions_lacks_names_the_nearest(run):
    columns = ["--action", "mesage", "--reward", "bought", "--propensity", "propensity", "--target", "plan"]
    rows = "message,bought,propensity,plan\na,1,0.5,a\nb,0,0.5,a\n"
    printed = run("policy", "offers.csv", *columns, offers_csv=rows)
    assert printed.status == 1
    assert "mesage" in printed.err
    assert "message" in printed.err


def test_output_that_cannot_be_written_is_said_with_its_place(run):
    printed = run("draw", "hello.yaml", "--out", "hello.yaml/drawing.svg")
    assert printed.status == 1
    assert "hello.yaml" in printed.err


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("- case: one\n  expect: {}\n", "hello.tests.yaml:1:3: 0.events: a case needs `events`"),
        ("- case: one\n  events: [{event: signup, at: soon}]\n  expect: {}\n", "'soon' is no instant"),
        (
            "- case: one\n  events: [{event: signup, at: 2026-03-01T09:00}]\n  expect: {}\n",
            "does not say its time zone",
        ),
        (
            "- case: one\n  events: [{event: signup}]\n  expect: {}\n",
            "hello.tests.yaml:2:12: 0.events.0: an event needs `at`",
        ),
        (
            "- case: one\n  events: [{event: a, at: 2026-03-01T09:00Z}]\n  expect: {pth: [greet]}\n",
            "hello.tests.yaml:3:12: 0.expect.pth: expect has no 'pth'; did you mean 'path'?",
        ),
        (
            "- case: one\n  events: [{event: a, at: 2026-03-01T09:00Z}]\n  expect: {path: [gret]}\n",
            "'hello' has no node 'gret'; did you mean 'greet'?",
        ),
        (
            "- case: one\n  events: [{event: a, at: 2026-03-01T09:00Z}]\n  calls: {crm: fails}\n  expect: {}\n",
            "no journey here asks for 'crm'; There are no calls.",
        ),
        ("case: one\n", "a file of cases is a list"),
    ],
)
def test_faults_of_cases_are_said_with_their_place(run, case, said):
    Path("hello.tests.yaml").write_text(case)
    printed = run("test", "hello.yaml")
    assert printed.status == 1
    assert said in printed.err


def test_journey_without_cases_is_told_how_to_write_some(run):
    printed = run("test", "hello.yaml")
    assert printed.status == 1
    assert "hello.tests.yaml: there are no cases beside hello.yaml" in printed.err


BEST = JOURNEY.replace("send: welcome,", "send: welcome, at: {best: opens},")


@pytest.mark.parametrize("command", ["replay", "simulate", "backtest"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["hours.parquet"], "there is no file 'hours.parquet'"),
        (["events.csv"], "'events.csv': send_times needs a column 'hour_of_week'"),
        (["broken.parquet"], "'broken.parquet' cannot be read"),
        (["bad.csv"], "hour_of_week is a whole number from 0 to 167, got 168"),
        (["opens=hours.csv", "opens=hours.csv"], "write each once as NAME=FILE, or one FILE"),
        (["opens=hours.csv", "hours.csv"], "'hours.csv' is one of 2; write each once as NAME=FILE"),
        (["opens="], "'opens=' is one of 1"),
    ],
)
def test_send_times_that_cannot_be_used_are_named_before_the_log_is_read(run, command, given, said):
    more = ["--cutoff", "2026-03-02"] if command == "backtest" else []
    times = [part for text in given for part in ("--send-times", text)]
    files = {"hours_csv": "contact,hour_of_week\nada,9\n", "bad_csv": "contact,hour_of_week\nada,168\n"}
    printed = run(
        command, "hello.yaml", "--events", "none.csv", *more, *times, hello_yaml=BEST, broken_parquet="no", **files
    )
    assert printed.status in (1, 2)
    assert said in " ".join(printed.err.replace("│", " ").split())


def test_a_journeys_send_times_that_are_not_given_are_named_with_the_nearest(run):
    hours = "contact,hour_of_week\nada,9\n"
    printed = replayed(run, "--send-times", "open=hours.csv", hello_yaml=BEST, hours_csv=hours)
    assert printed.status == 1
    assert "no send times 'opens' were given; did you mean 'open'? Known send times: open." in printed.err
