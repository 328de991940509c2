"""The commands of send times on a small simulated shop that mails at drawn hours."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from journeylab.advice import read
from journeylab.cli import main
from journeylab.eventlog import EventLog
from journeylab.sendtime import retraining
from journeylab.sendtime.rules import BestGlobalHour
from journeylab.sendtime.sends import SendTable, send_table
from journeylab.sendtime.watching import Watch, watch
from journeylab.sendtimes import WEEK, SendTimes
from journeylab.shop import Shop

pytestmark = pytest.mark.long

Run = Callable[..., str]

JOURNEY = """
journey: letters
trigger: {event: opened}
nodes:
  hello: {send: news, at: {best: hours, explore: 10%}, next: done}
  done: {exit: finished}
"""


def rows(log: EventLog) -> pd.DataFrame:
    """The sends and responses of a log as a table."""
    parts = []
    for event in ("signup", "sent", "opened", "clicked"):
        stream = log.stream(event)
        who = log.contact_ids.take(stream_owner(log, event)).to_pandas()
        part = pd.DataFrame(
            {"contact": who, "event": event, "occurred_at": pd.to_datetime(stream.at, unit="us", utc=True)}
        )
        if event != "signup":
            part["message"] = "news"
        if event == "sent" and "slot_propensity" in log.property_names:
            part["slot_propensity"] = log.property("slot_propensity").values[stream.row]
        if event in ("opened", "clicked"):
            part["is_machine"] = log.property("is_machine").values[stream.row] == 1
        parts.append(part)
    return pd.concat(parts)


def stream_owner(log: EventLog, event: str) -> Any:
    return np.repeat(np.arange(log.n_contacts), np.diff(log.stream(event).offsets))


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(1_000, seed=5, days=120, opens={"news": 0.5}, machine_share=0.3)


@pytest.fixture(scope="module")
def log(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name a log of sends at drawn hours."""
    folder = tmp_path_factory.mktemp("log")
    rows(shop.mailed(10)).to_parquet(folder / "events.parquet")
    shop.contacts.to_parquet(folder / "contacts.parquet")
    return ["--events", str(folder / "events.parquet"), "--contacts", str(folder / "contacts.parquet")]


@pytest.fixture(scope="module")
def fitted(log: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The habit model's file."""
    path = tmp_path_factory.mktemp("times") / "times.parquet"
    with pytest.raises(SystemExit) as exit_info:
        main(["sendtime", "fit", *log, "--outcome", "opened", "--segment", "country", "--out", str(path)])
    assert not exit_info.value.code
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command, and gives what it prints on stdout; what is on stderr is `run.err`."""

    def run(*arguments: str, status: int = 0) -> str:
        with pytest.raises(SystemExit) as exit_info:
            main(arguments)
        code = exit_info.value.code or 0
        out, run.err = capsys.readouterr()  # type: ignore[attr-defined]
        if isinstance(code, str):
            run.err, code = run.err + code, 1  # type: ignore[attr-defined]
        assert code == status, run.err  # type: ignore[attr-defined]
        return out

    return run


def err(run: Run) -> str:
    return str(run.err)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", ["fit", "evaluate", "show"])
def test_every_command_has_examples(run: Run, command: str) -> None:
    assert f"\n    journeylab sendtime {command}" in run("sendtime", command, "--help").partition("Examples:")[2]


# fit ----------------------------------------------------------------------------------------------------------------


def test_fit_says_what_it_may_claim(run: Run, log: list[str], tmp_path: Path) -> None:
    path = tmp_path / "new" / "times.parquet"
    out = run("sendtime", "fit", *log, "--model", "everyone", "--outcome", "opened", "--out", str(path))
    assert out.startswith("BestGlobalHour: 10,000 sends, 10,000 of them at drawn hours, until 2026-")
    assert "an answer is opened within 2w" in out
    assert re.search(r"\n  everyone +[\d,]+ +\d+\.\d .* used +1,000\n", out)
    assert "expected gain" in out
    assert f"wrote {path}: version {SendTimes.read(path).version}\n" in out
    assert "fitted BestGlobalHour to 10,000 sends" in err(run)


def test_fit_as_json_has_evidence_levels_gain_and_no_alarms(run: Run, log: list[str], tmp_path: Path) -> None:
    path = tmp_path / "times.parquet"
    found = json.loads(run("sendtime", "fit", *log, "--outcome", "opened", "--out", str(path), "--json"))
    assert [row["level"] for row in found["evidence"]] == ["everyone", "segment", "person"]
    assert found["evidence"][0]["is_used"] is True
    assert sum(found["levels"].values()) == found["n_contacts"] == 1_000
    assert found["gain"]["low"] <= found["gain"]["gain"] <= found["gain"]["high"]
    assert (found["n_sends"], found["n_random"], found["is_causal"]) == (10_000, 10_000, True)
    assert found["version"] == SendTimes.read(path).version
    assert found["file"] == str(path)
    assert found["alarms"] == []


def test_fit_writes_what_its_pictures_need(fitted: Path) -> None:
    about = SendTimes.read(fitted).about
    assert "PL" in about["segments"]
    assert {len(marks) for marks in about["marks"].values()} == {WEEK}
    assert about["within"] == "2w"


def test_a_log_without_random_sends_says_that_nothing_causal_can_be_learned(
    run: Run, shop: Shop, tmp_path: Path
) -> None:
    rows(shop.mailed(6, hour_of_day=9)).to_parquet(tmp_path / "events.parquet")
    arguments = ["sendtime", "fit", "--events", str(tmp_path / "events.parquet"), "--outcome", "opened"]
    out = run(*arguments, "--out", str(tmp_path / "times.parquet"))
    assert "nothing causal can be learned" in out
    times = SendTimes.read(tmp_path / "times.parquet")
    assert times.about["is_causal"] is False
    assert "All hours are alike" in run("sendtime", "show", str(tmp_path / "times.parquet"))
    out = run(*arguments, "--assume-causal", "--out", str(tmp_path / "times.parquet"))
    assert "assumed: that what was learned from sends at hours nobody drew is causal" in out


def test_faults_of_fit_name_place_value_and_remedy(run: Run, log: list[str], tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "times.parquet")]
    run("sendtime", "fit", "--events", str(tmp_path / "none.parquet"), *out, status=1)
    assert "none.parquet" in err(run)
    run("sendtime", "fit", *log, "--model", "habits", *out, status=2)
    assert "'habits' is none of habit, everyone" in err(run)
    run("sendtime", "fit", *log, "--segment", "countri", *out, status=1)
    assert "did you mean 'country'?" in err(run)
    run("sendtime", "fit", *log, "--outcome", "converted", *out, status=2)
    assert "--converts" in err(run)
    run("sendtime", "fit", *log, "--within", "0d", *out, status=1)
    assert "within must be longer than zero" in err(run)
    orders = tmp_path / "orders.csv"
    orders.write_text("contact,event,occurred_at\nada,purchase,2026-03-01T09:00:00Z\n")
    run("sendtime", "fit", "--events", str(orders), *out, status=1)
    assert "no `sent` events in this log" in err(run)
    assert "Traceback" not in err(run)
    assert not (tmp_path / "times.parquet").exists()


# A champion ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evenings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of sends at drawn hours, answered in the evening."""
    rng, n = np.random.default_rng(7), 20_000
    at = pd.Timestamp("2026-03-02", tz="UTC") + pd.to_timedelta(rng.integers(0, 12 * WEEK, n), unit="h")
    sent = pd.DataFrame(
        {"contact": [f"c-{one}" for one in rng.integers(0, 800, n)], "event": "sent", "occurred_at": at,
         "message": [f"m{one % 20}" for one in range(n)], "slot_propensity": 1 / WEEK}
    )  # fmt: skip
    likely = np.where(np.abs(at.hour - 19) <= 1, 0.5, 0.08)
    opened = sent[rng.random(n) < likely].assign(event="opened", slot_propensity=np.nan)
    opened["occurred_at"] += pd.Timedelta(minutes=10)
    end = pd.DataFrame({"contact": ["c-0"], "event": "visit", "occurred_at": [at.max() + pd.Timedelta(days=15)]})
    path = tmp_path_factory.mktemp("evenings") / "events.parquet"
    pd.concat([sent, opened, end]).to_parquet(path)
    return path


def champion_at(hour: int, path: Path) -> Path:
    scores = np.where(np.arange(WEEK) % 24 == hour, 0.16, 0.15)[None].astype(np.float32)
    about = {"model": "by hand", "outcome": "opened", "until": "2026-04-01T00:00:00+00:00"}
    none = np.empty((0, 3), np.float32)
    times = SendTimes(pa.array([], pa.string()), np.empty(0, np.int32), scores, 0, np.empty(0, np.int8), none, about)
    times.write(path)
    return path


def test_a_challenger_that_is_better_on_sends_neither_has_seen_takes_the_place(
    run: Run, evenings: Path, tmp_path: Path
) -> None:
    old, new, card = champion_at(3, tmp_path / "old.parquet"), tmp_path / "new.parquet", tmp_path / "cards" / "card.md"
    arguments = ["sendtime", "fit", "--events", str(evenings), "--model", "everyone", "--champion", str(old)]
    out = run(*arguments, "--out", str(new), "--card", str(card))
    assert "replace the champion: the challenger is better beyond noise." in out
    assert out.endswith(f"version {SendTimes.read(new).version} (the challenger)\n")
    assert int(SendTimes.read(new).scores[0].argmax()) % 24 in (18, 19, 20)
    assert card.read_text().startswith("# Send times\n")
    assert "c-1" not in card.read_text()
    found = json.loads(run(*arguments, "--out", str(new), "--json"))
    assert found["decision"] == "replace"
    assert found["held_out_from"] > "2026-04-01"
    assert found["watch"]["comparison"]["since"] >= found["held_out_from"]
    assert isinstance(found["alarms"], list)


def test_a_champion_that_is_as_good_is_written_again(run: Run, evenings: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "old.parquet", tmp_path / "new.parquet"
    fitting = ["sendtime", "fit", "--events", str(evenings), "--model", "everyone", "--within", "1d"]
    run(*fitting, "--until", "2026-04-13T00:00:00Z", "--out", str(old))
    out = run(*fitting, "--champion", str(old), "--out", str(new))
    assert "keep the champion: " in out
    assert SendTimes.read(new).version == SendTimes.read(old).version
    assert out.endswith("(the champion)\n")


def test_the_challenger_knows_nothing_of_the_sends_it_is_judged_on(
    evenings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[SendTimes] = []

    def watched(champion: SendTimes, sends: SendTable, *, challenger: SendTimes, **options: Any) -> Watch:
        seen.append(challenger)
        return watch(champion, sends, challenger=challenger, **options)

    monkeypatch.setattr(retraining, "watch", watched)
    sends = send_table(EventLog.read(str(evenings)), outcome="opened")
    found = retraining.challenged(SendTimes.read(champion_at(3, tmp_path / "old.parquet")), BestGlobalHour(), sends)
    [challenger] = seen
    cut = pd.Timestamp(found.held_out_from)
    assert pd.Timestamp(challenger.about["until"]) == cut
    assert challenger.about["n_sends"] == (sends.at < cut.value // 1_000).sum()
    assert found.watch.comparison is not None
    assert found.watch.comparison.since == cut
    assert found.watch.comparison.seen == ()
    assert found.is_won


def test_alarms_are_told_with_exit_status_0(run: Run, evenings: Path, tmp_path: Path) -> None:
    old = champion_at(3, tmp_path / "old.parquet")
    times = SendTimes.read(old)
    replace(times, scores=times.scores / 3).write(old)  # its chances are far too low
    arguments = ["sendtime", "fit", "--events", str(evenings), "--model", "everyone", "--champion", str(old)]
    out = run(*arguments, "--out", str(tmp_path / "new.parquet"))
    assert "alarm: People answered " in out
    found = json.loads(run(*arguments, "--out", str(tmp_path / "new.parquet"), "--json"))
    assert "calibration" in [one["name"] for one in found["alarms"]]


def test_faults_of_a_champion(run: Run, evenings: Path, tmp_path: Path) -> None:
    hours, out = tmp_path / "hours.parquet", ["--out", str(tmp_path / "new.parquet")]
    SendTimes.of_hours(pd.DataFrame({"contact": ["c-1"], "hour_of_week": [9]})).write(hours)
    fitting = ["sendtime", "fit", "--events", str(evenings), "--model", "everyone"]
    run(*fitting, "--champion", str(hours), *out, status=1)
    assert "does not say until when it knew the log" in err(run)
    run(*fitting, "--champion", str(tmp_path / "none.parquet"), *out, status=1)
    assert "none.parquet" in err(run)
    run(*fitting, "--out", str(tmp_path / "late.parquet"))
    run(*fitting, "--champion", str(tmp_path / "late.parquet"), *out, status=1)
    assert "wait, or give a later log" in err(run)


def test_the_page_shows_predictions_by_week(run: Run, evenings: Path, tmp_path: Path) -> None:
    old, page = champion_at(3, tmp_path / "old.parquet"), tmp_path / "page.html"
    run("sendtime", "show", str(old), "--html", str(page), "--events", str(evenings))
    assert "Predicted and observed over time" in page.read_text()
    assert "c-1" not in page.read_text()


# show ---------------------------------------------------------------------------------------------------------------


def week_rows(out: str) -> list[str]:
    return [
        line[6:] for line in out.splitlines() if line[:6].strip() in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    ]


def test_show_draws_the_week_in_seven_aligned_rows(run: Run, fitted: Path) -> None:
    out = run("sendtime", "show", str(fitted))
    week = week_rows(out)
    assert [len(row) for row in week] == [48] * 7
    assert set("".join(week)) <= set("░▒▓█+-")
    assert "-" in "".join(week)
    best = int(read(fitted).scores[0].argmax())
    day, hour = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[best // 24], best % 24
    assert f"best: {day} {hour:02d}:00\n" in out
    assert "█" in week[best // 24][2 * hour]


def test_show_of_a_contact_has_its_level_and_gain(run: Run, fitted: Path) -> None:
    table = read(fitted).table()
    one = table.sort_values("gain").iloc[-1]
    out = run("sendtime", "show", str(fitted), "--contact", one["contact"])
    assert f"level: {one['level']}\n" in out
    assert "expected gain over the hour that is best for everyone: +" in out
    found = json.loads(run("sendtime", "show", str(fitted), "--contact", one["contact"], "--json"))
    assert found["best_hour"] == one["hour_of_week"]
    assert found["gain"]["gain"] == pytest.approx(one["gain"], abs=1e-6)
    assert len(found["hours"]) == WEEK
    assert found["hours"][30]["day"] == "Tue"


def test_faults_of_show_name_the_nearest_contact_and_what_is_wrong(run: Run, fitted: Path, log: list[str]) -> None:
    name = read(fitted).contacts[0].as_py()
    run("sendtime", "show", str(fitted), "--contact", name + "x", status=1)
    assert f"did you mean {name!r}?" in err(run)
    run("sendtime", "show", "none.parquet", status=1)
    assert "there is no file 'none.parquet'" in err(run)
    run("sendtime", "show", log[1], status=1)
    assert "holds no send times; `journeylab sendtime fit` writes such files" in err(run)
    run("sendtime", "show", str(fitted), "--contact", name, "--segment", "PL", status=1)
    assert "not both" in err(run)
    run("sendtime", "show", str(fitted), "--segment", "XX", status=1)
    assert "segment 'XX'" in err(run)
    run("sendtime", "show", str(fitted), "--events", log[1], status=2)
    assert "--html" in err(run)


def test_show_writes_one_page_without_scripts_network_or_names(
    run: Run, fitted: Path, log: list[str], tmp_path: Path
) -> None:
    page, drawing = tmp_path / "new" / "times.html", tmp_path / "week.svg"
    run("sendtime", "show", str(fitted), "--html", str(page), "--svg", str(drawing))
    text = page.read_text()
    assert "<script" not in text
    assert "akacja-" not in text
    assert not re.search(r'(?:src|href)="(?!#)', text)
    assert "default-src 'none'" in text
    assert "When everyone answers" in text
    assert drawing.read_text().startswith("<svg")
    run("sendtime", "show", str(fitted), "--html", str(page), *log, status=1)
    assert "give a later log" in err(run)


def test_a_contacts_picture_does_not_name_them(run: Run, fitted: Path, tmp_path: Path) -> None:
    name = read(fitted).contacts[0].as_py()
    run("sendtime", "show", str(fitted), "--contact", name, "--svg", str(tmp_path / "week.svg"))
    text = (tmp_path / "week.svg").read_text()
    assert name not in text
    assert re.search(r"contact [0-9a-f]{8}", text)


def test_show_takes_a_table_of_one_hour_for_each_contact(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "hours.csv"
    path.write_text("contact,hour_of_week\nada,9\njan,42\n")
    out = run("sendtime", "show", str(path))
    assert "There is nothing for everyone" in out
    out = run("sendtime", "show", str(path), "--contact", "jan")
    assert "best: Tue 18:00\n" in out
    assert "blank: never chosen" in out


# evaluate -----------------------------------------------------------------------------------------------------------


def test_models_are_evaluated_out_of_time(run: Run, log: list[str]) -> None:
    arguments = ["sendtime", "evaluate", "--model", "everyone", "--model", "median", *log, "--outcome", "opened"]
    out = run(*arguments)
    assert re.match(
        r"[\d,]+ sends at drawn hours to [\d,]+ contacts from 2026-\d\d-\d\d on; an answer is opened\n", out
    )
    assert re.search(r"\n  drawn +[\d,]+ +[\d,]+ +\d+\.\d\d% +\d+\.\d\d% to \d+\.\d\d%\n", out)
    assert re.search(r"\n  median over everyone +[+-]", out)
    assert "takes sends at drawn hours" in out
    found = json.loads(run(*arguments, "--json"))
    assert [row["arm"] for row in found["values"]] == ["drawn", "everyone", "median"]
    assert {row["lift"] for row in found["needed"]} == {0.02, 0.05, 0.1}
    assert found["seen"] == []
    assert found["sentences"]


def test_files_are_evaluated_on_the_sends_since_they_were_fitted(
    run: Run, shop: Shop, fitted: Path, log: list[str], tmp_path: Path
) -> None:
    out = run("sendtime", "evaluate", f"now={fitted}", *log)
    assert "Nothing causal can be learned" in out
    found = json.loads(run("sendtime", "evaluate", f"now={fitted}", *log, "--since", "2026-01-01T00:00:00Z", "--json"))
    assert found["seen"]
    assert found["outcome"] == "opened"


def test_faults_of_evaluate_say_what_to_give(run: Run, fitted: Path, log: list[str]) -> None:
    run("sendtime", "evaluate", *log, status=2)
    assert "give files or models, neither is given" in err(run)
    run("sendtime", "evaluate", str(fitted), "--model", "habit", *log, status=2)
    assert "both are given" in err(run)
    run("sendtime", "evaluate", str(fitted), str(fitted), *log, status=2)
    assert "'times' is there twice; write NAME=FILE" in err(run)
    run("sendtime", "evaluate", "now=none.parquet", *log, status=1)
    assert "there is no file 'none.parquet'" in err(run)
    run("sendtime", "evaluate", str(fitted), *log, "--baseline", "tims", status=1)
    assert "did you mean 'times'?" in err(run)


# Round trip ---------------------------------------------------------------------------------------------------------


def test_what_fit_writes_replay_takes(run: Run, fitted: Path, log: list[str], tmp_path: Path) -> None:
    journey = tmp_path / "letters.yaml"
    journey.write_text(JOURNEY)
    found = json.loads(run("replay", str(journey), *log, "--send-times", str(fitted), "--json"))
    sends = sum(found["nodes"]["hello"]["branches"].values())
    assert found["n_entries"] > sends - 1 > 0
