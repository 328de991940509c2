"""The commands on the bundled data: what a person reads, and the JSON that machines read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from journeylab import datasets
from journeylab.cli import in_options, main
from journeylab.journeyfile import read
from journeylab.replay import replay
from journeylab.responses import ResponseModel, fit_responses
from journeylab.sendtimes import SendTimes

WELCOME = str(datasets.journey_file("trial_welcome"))
PORTFOLIO = str(datasets.journey_file("shop_portfolio"))
SHOP = [
    "--events", str(datasets.fixtures() / "shop" / "events.parquet"),
    "--contacts", str(datasets.fixtures() / "shop" / "contacts.parquet"),
]  # fmt: skip
CDNOW = ["--columns", "customer_id=contact,date=occurred_at", "--event", "purchase", "--timezone", "UTC"]

Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that must succeed, and gives what it prints on stdout; what is on stderr is `run.err`."""

    def run(*arguments: str, status: int = 0) -> str:
        with pytest.raises(SystemExit) as exit_info:
            main(arguments)
        out, run.err = capsys.readouterr()  # type: ignore[attr-defined]
        assert (exit_info.value.code or 0) == status, run.err  # type: ignore[attr-defined]
        return out

    return run


def test_help_imports_nothing_heavy():
    code = "import sys\nfrom journeylab.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
    code += "print([m for m in ('numpy', 'pandas', 'numba', 'pyarrow', 'duckdb', 'pydantic') if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines()[-1] == "[]"
    assert "replay" in printed.stdout


COMMANDS = [
    "demo", "check", "draw", "diff", "test", "replay", "simulate", "backtest", "policy", "doctor",
    *(f"report {of}" for of in ("replay", "simulation", "backtest", "experiment", "sendtime", "release")),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples(run, command):
    assert f"\n    journeylab {command}" in run(*command.split(), "--help").partition("Examples:")[2]


def test_check_of_sound_files_counts_the_journeys(run):
    out = run("check", WELCOME, PORTFOLIO)
    assert "note: node 'keen': of 'keen_care' only the nodes are used" in out
    assert out.endswith("3 journeys are sound\n")


def test_check_as_json_has_every_fault_with_its_place(run, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "journey: bad\ntrigger: {event: signup}\nnodes:\n  greet: {send: hi, next: don}\n  done: {exit: ok}\n"
    )
    found = json.loads(run("check", str(bad), WELCOME, "--json", status=1))
    assert not found["sound"]
    assert [one["journey"] for one in found["journeys"]] == ["trial_welcome"]
    [fault] = found["faults"]
    assert (fault["path"], fault["line"], fault["file"]) == (["nodes", "greet", "next"], 4, str(bad))
    assert "did you mean 'done'?" in fault["message"]


def test_draw_prints_mermaid_and_writes_svg_by_its_suffix(run, tmp_path):
    assert run("draw", WELCOME).startswith("flowchart TD\n")
    run("draw", PORTFOLIO, "--journey", "winback", "--out", str(tmp_path / "new" / "drawing.svg"))
    assert (tmp_path / "new" / "drawing.svg").read_text().startswith("<svg")


@pytest.fixture
def changed(tmp_path: Path) -> str:
    """The portfolio with a shorter wait in one journey, without the other, under another policy."""
    text = Path(PORTFOLIO).read_text()
    text = text.replace("within: 3d, then: offer", "within: 5d, then: offer").replace(
        "cap: {sends: 2,", "cap: {sends: 1,"
    )
    for part in ("trial_welcome", "keen_care"):
        (tmp_path / f"{part}.yaml").write_text(datasets.journey_file(part).read_text())
    path = tmp_path / "changed.yaml"
    path.write_text(text[: text.index("  - journey: winback")])
    return str(path)


def test_diff_names_changes_by_journey_and_of_the_policy(run, changed):
    out = run("diff", PORTFOLIO, changed)
    assert "node 'read': within: 3d -> 5d" in out
    assert "policy:\n" in out
    assert "{cap: {sends: 2, within: 7d}} -> {cap: {sends: 1, within: 7d}}" in out
    assert "winback:\n  version removed" in out
    assert "node `read`: within: `3d` → `5d`" in run("diff", PORTFOLIO, changed, "--markdown")


def test_diff_as_json_has_values_before_and_after(run, changed):
    changes = json.loads(run("diff", PORTFOLIO, changed, "--json"))["changes"]
    assert {"journey": "trial_welcome", "before": "3d", "after": "5d"}.items() <= next(
        change for change in changes if change["path"] == ["nodes", "read", "within"]
    ).items()


def test_diff_of_equal_files_says_so(run):
    assert run("diff", WELCOME, WELCOME) == "no difference\n"


def test_replay_as_json_is_the_summary(run):
    found = json.loads(run("replay", WELCOME, *SHOP, "--json"))
    assert found == replay(read(WELCOME), datasets.shop()).summary()
    read_node = found["nodes"]["read"]
    assert set(read_node["branches"]) == {"then", "else"}
    assert sum(found["exits"].values()) + found["still_inside"] == found["n_entries"]


def test_replay_prints_branches_with_intervals_exits_notes_and_what_to_do_next(run):
    out = run("replay", WELCOME, *SHOP)
    lines = out.splitlines()
    assert lines[0] == "1 journey over 237,659 events of 7,000 contacts, until 2026-05-25 23:59 UTC"
    assert "contacts entered once each" in out
    assert [line.split()[:2] for line in lines if line.startswith("  read ")] == [["read", "then"]]
    assert " to " in next(line for line in lines if line.startswith("  read "))
    assert "  goal:purchase" in out
    assert "note: " in out
    assert lines[-1].startswith("next: ")
    assert "read 237,659 events of 7,000 contacts" in run.err


def test_several_journeys_run_together_under_the_policy_of_their_file_or_a_given_cap(run):
    found = json.loads(run("replay", PORTFOLIO, *SHOP, "--json"))["journeys"]
    result = replay(read(PORTFOLIO), datasets.shop())
    assert found == [result.summary("trial_welcome"), result.summary("winback")]
    capped = json.loads(run("replay", PORTFOLIO, *SHOP, "--cap", "1/30d", "--json"))["journeys"]
    assert capped[1]["nodes"]["second"]["branches"]["skipped"] > found[1]["nodes"]["second"]["branches"]["skipped"]


def test_one_of_several_journeys_can_be_chosen(run):
    assert json.loads(run("replay", PORTFOLIO, *SHOP, "--journey", "winback", "--json"))["journey"] == "winback"


@pytest.mark.parametrize("name", ["visits.parquet", "visits.csv"])
def test_visits_are_written_as_a_table(run, tmp_path, name):
    run("replay", WELCOME, *SHOP, "--visits", str(tmp_path / name), "--json")
    visits = (pd.read_parquet if name.endswith("parquet") else pd.read_csv)(tmp_path / name)
    wanted = ["contact", "journey", "version", "entry", "node", "visit", "arrived_at", "left_at", "branch", "evidence"]
    assert list(visits.columns) == wanted
    assert len(visits) == len(replay(read(WELCOME), datasets.shop()).visits)


def test_columns_under_other_names_are_mapped(run):
    source = str(datasets.fixtures() / "cdnow" / "purchases.parquet")
    found = json.loads(run("replay", str(datasets.journey_file("cdnow_winback")), "--events", source, *CDNOW, "--json"))
    assert found["n_contacts"] == 23_570
    assert any("consent is assumed for everybody" in note for note in found["notes"])


def test_horizon_is_until(run):
    found = json.loads(run("replay", WELCOME, *SHOP, "--until", "2026-03-01T00:00+00:00", "--json"))
    assert found["until"] == "2026-03-01T00:00:00+00:00"


def test_database_is_read_by_a_query(run, tmp_path):
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(tmp_path / "shop.db")) as database, database:
        database.execute("CREATE TABLE events (contact TEXT, event TEXT, occurred_at TEXT, plan TEXT, country TEXT)")
        row = ("ada", "signup", "2026-03-02T09:00:00Z", "trial", "PL")
        database.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", row)
    care = tmp_path / "hello.yaml"
    care.write_text(
        "journey: hello\ntrigger: {event: signup}\nnodes:\n  greet: {send: hi, next: done}\n  done: {exit: ok}\n"
    )
    source = ["--events", f"sqlite:///{tmp_path / 'shop.db'}", "--query", "SELECT * FROM events"]
    assert json.loads(run("replay", str(care), *source, "--json"))["exits"] == {"ok": 1}


def test_bad_rows_are_set_aside_and_counted(run, tmp_path):
    events = tmp_path / "events.csv"
    events.write_text(
        "contact,event,occurred_at,page\nada,visit,2026-03-02T09:00Z,basket\nbo,visit,soon,basket\n,visit,,\n"
    )
    aside = tmp_path / "rejects.csv"
    care = str(datasets.journey_file("keen_care"))
    found = json.loads(run("replay", care, "--events", str(events), "--rejects", str(aside), "--json"))
    assert found["n_entries"] == 1
    assert f"set aside 2 bad rows: {aside}" in run.err
    rejects = pd.read_csv(aside)
    assert set(rejects["row"]) == {3, 4}
    assert rejects.loc[rejects["row"] == 3, "value"].item() == "soon"


def test_nobody_entering_is_said_with_where_to_look(run, tmp_path):
    events = tmp_path / "events.csv"
    events.write_text("contact,event,occurred_at,page\nada,visit,2026-03-02T09:00Z,home\n")
    out = run("replay", str(datasets.journey_file("keen_care")), "--events", str(events))
    assert "nobody entered" in out
    assert out.splitlines()[-1].startswith("next: look at the trigger")


def test_page_of_a_replay_is_written_where_it_is_asked_for(run, tmp_path):
    out = run("replay", WELCOME, *SHOP, "--html", str(tmp_path / "new" / "welcome.html"))
    assert "<h1>" in (tmp_path / "new" / "welcome.html").read_text()
    assert "next: change it" in out or "next: `journeylab test" in out


# Prediction. A fifth of the shop is enough to see what is printed; its model is fitted once for all tests.


@pytest.fixture(scope="module")
def fifth(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that name the log and the contacts of every fifth contact of the shop."""
    folder, shop = tmp_path_factory.mktemp("fifth"), datasets.fixtures() / "shop"
    for table in ("events", "contacts"):
        kept = f"SELECT * FROM '{shop / table}.parquet' WHERE contact[-1:] IN ('0', '5')"
        duckdb.sql(kept).write_parquet(str(folder / f"{table}.parquet"))
    return ["--events", str(folder / "events.parquet"), "--contacts", str(folder / "contacts.parquet")]


@pytest.fixture(scope="module")
def fitted() -> Iterator[dict[str, Any]]:
    """Makes the commands fit each model once; `fitted["failures"]` are said to be wrong with the ones to come."""
    known: dict[Any, ResponseModel] = {}
    state: dict[str, Any] = {"failures": ()}

    def fit_once(log: Any, converts: str | None = None, **given: Any) -> ResponseModel:
        key = (log.n_events, log.end_at, converts, given["within"], given["rng"])
        if key not in known:
            features = ['count("opened") / (count("sent") + 1)', 'since("visit")', "local_hour()"]
            known[key] = fit_responses(log, converts=converts, features=features, **given)
        return replace(known[key], failures=state["failures"])

    with pytest.MonkeyPatch.context() as patch:
        for module in ("responses", "backtest"):
            patch.setattr(import_module(f"journeylab.{module}"), "fit_responses", fit_once)
        yield state


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The welcome that the shop really ran."""
    path = tmp_path_factory.mktemp("history") / "akacja_welcome.yaml"
    datasets.shop_history().journeys[0].save(path)
    return str(path)


def at_best(folder: Path) -> str:
    """A journey whose sends ask the send times `opens`."""
    path = folder / "best.yaml"
    path.write_text(
        "journey: best\ntrigger: {event: signup}\nnodes:\n"
        "  hello: {send: welcome_1, at: {best: opens, explore: 0%}, expires: 8d, next: done}\n"
        "  done: {exit: finished}\n"
    )
    return str(path)


def test_replay_takes_send_times_of_any_form(run, tmp_path):
    contacts = pd.read_parquet(SHOP[-1])["contact"][:2000]
    table = pd.DataFrame({"contact": contacts, "hour_of_week": 9})
    table.to_csv(tmp_path / "hours.csv", index=False)
    table.to_parquet(tmp_path / "hours.parquet", index=False)
    SendTimes.of_hours(table).write(tmp_path / "times.parquet")
    replayed = ["replay", at_best(tmp_path), *SHOP, "--json"]
    summaries = [
        run(*replayed, "--send-times", f"{name}{tmp_path / file}")
        for name, file in (("", "hours.csv"), ("opens=", "hours.parquet"), ("opens=", "times.parquet"))
    ]
    assert len(set(summaries)) == 1
    assert summaries[0] != run(*replayed)
    assert not any("No send times" in note for note in json.loads(summaries[0])["notes"])


def test_replay_says_whom_the_send_times_do_not_know(run, tmp_path):
    scores = np.ones((1, 168), np.float32)
    nobody = SendTimes(
        pa.array([], pa.string()), np.empty(0, np.int32), scores, 0, np.empty(0, np.int8), np.empty((0, 3), np.float32)
    )
    nobody.write(tmp_path / "times.parquet")
    found = json.loads(
        run("replay", at_best(tmp_path), *SHOP, "--send-times", str(tmp_path / "times.parquet"), "--json")
    )
    n = found["nodes"]["hello"]["branches"]["next"]
    said = f"{n:,} sends to {n:,} contacts that the send times do not know went by the fallback (rule 17)."
    assert said in found["notes"]


def test_simulate_as_json_has_intervals_and_what_is_on_record(run, fifth, fitted):
    found = json.loads(run("simulate", WELCOME, *fifth, "--draws", "10", "--level", "0.8", "--json"))
    assert (found["journey"], found["draws"], found["level"]) == ("trial_welcome", 10, 0.8)
    assert 0 < found["observed_share"] < 1
    then = found["nodes"]["read"]["branches"]["then"]
    assert set(then) == {"n_visits", "share", "interval", "observed_share", "naive_share"}
    low, high = then["interval"]
    assert 0 < low <= then["share"] <= high < 1
    assert then["naive_share"] > high  # opens are on record, silence only where the message was sent
    purchase = found["exits"]["goal:purchase"]
    assert purchase["is_goal"]
    assert purchase["interval"][0] <= purchase["n_entries"] <= purchase["interval"][1]
    assert sum(one["n_entries"] for one in found["exits"].values()) == pytest.approx(found["n_entries"], abs=0.6)
    assert any("of these decisions are on record" in note for note in found["notes"])


def test_simulate_prints_each_branch_with_its_interval_and_the_naive_share(run, fifth, fitted):
    lines = run("simulate", WELCOME, *fifth, "--draws", "5").splitlines()
    assert lines[0].startswith("5 draws over ")
    assert re.match(r"trial_welcome \([0-9a-f]{12}\)", lines[2])
    assert lines[3].split("  ")[1:][0] == "node"
    assert re.search(r"90% interval +on record +naive$", lines[3])
    then = next(line for line in lines if line.startswith("  read "))
    assert re.search(r"then +\d+ +\d+\.\d% +\d+\.\d% to \d+\.\d% +\d+\.\d% +\d+\.\d%$", then)
    assert any(line.startswith("  goal:purchase ") for line in lines)
    assert re.search(r"note: \d+% of these decisions are on record, the others are predicted", "\n".join(lines))
    assert "simulated 5 draws of " in run.err


def test_equal_seeds_give_equal_simulations(run, fifth, fitted):
    simulate = ["simulate", WELCOME, *fifth, "--draws", "3", "--json"]
    one, same, other = (json.loads(run(*simulate, "--seed", seed)) for seed in ("1", "1", "2"))
    assert one == same
    assert one["nodes"] != other["nodes"]


def test_simulate_writes_the_model_card_and_the_support_map(run, fifth, fitted, tmp_path):
    card, drawing = tmp_path / "new" / "card.md", tmp_path / "new" / "map.svg"
    run("simulate", WELCOME, *fifth, "--draws", "2", "--card", str(card), "--support", str(drawing), "--json")
    assert card.read_text().startswith("# Response model\n")
    assert "## What it must not be used for" in card.read_text()
    picture = drawing.read_text()
    assert picture.startswith("<svg")
    assert ">not identified<" in picture
    assert f"wrote the model card: {card}" in run.err
    assert f"drew the support map: {drawing}" in run.err


def test_a_message_never_sent_is_refused_until_it_is_said_to_be_like_another(run, fifth, fitted, tmp_path):
    new = tmp_path / "new.yaml"
    new.write_text(
        "journey: new\ntrigger: {event: signup}\nnodes:\n  greet: {send: welcome_2, next: heard}\n"
        "  heard: {wait_for: opened(greet), within: 2d, then: done, else: done}\n  done: {exit: ok}\n"
    )
    simulate = ["simulate", str(new), *fifth, "--draws", "2"]
    with pytest.raises(SystemExit, match=r"'welcome_2' was never sent .*did you mean 'welcome_1'"):
        main(simulate)
    found = json.loads(run(*simulate, "--like", "welcome_2=welcome_1", "--json"))
    assert "Responses to 'welcome_2' are assumed to be like those to 'welcome_1'." in found["notes"]


def test_a_model_that_fails_is_refused_until_it_is_overridden_which_is_printed(run, fifth, fitted, monkeypatch):
    monkeypatch.setitem(fitted, "failures", ("read: then: 9.0% came, 20.0% to 30.0% was predicted",))
    simulate = ["simulate", WELCOME, *fifth, "--draws", "2"]
    with pytest.raises(SystemExit, match=r"does not reproduce the log's own rates .* 9\.0% came"):
        main(simulate)
    out = run(*simulate, "--override", "only to see its shape")
    assert "note: OVERRIDDEN (only to see its shape): the model does not reproduce" in out


def test_several_journeys_are_simulated_together(run, fifth, fitted):
    found = json.loads(run("simulate", PORTFOLIO, *fifth, "--draws", "2", "--converts", "purchase", "--json"))
    assert [one["journey"] for one in found["journeys"]] == ["trial_welcome", "winback"]


def test_backtest_as_json_has_a_verdict_for_every_node(run, fifth, fitted, history):
    found = json.loads(run("backtest", history, *fifth, "--cutoff", "2026-04-15", "--draws", "10", "--json"))
    assert (found["journey"], found["cutoff"]) == ("akacja_welcome", "2026-04-15T00:00:00+00:00")
    assert {one["verdict"] for one in found["nodes"].values()} <= {"calibrated", "biased", "unknowable"}
    hello, then = found["nodes"]["hello"], found["nodes"]["read"]["branches"]["then"]
    assert (hello["verdict"], hello["why"]) == ("calibrated", None)
    assert {"n_came", "came_share", "predicted_share", "interval", "is_inside"} <= set(then)
    closed = found["exits"]["account_closed"]
    assert (closed["verdict"], closed["why"]) == ("unknowable", "the model does not predict 'account_closed'")
    assert isinstance(found["failures"], list)


def test_backtest_prints_what_came_beside_what_was_predicted(run, fifth, fitted, history):
    out = run("backtest", history, *fifth, "--cutoff", "2026-04-15", "--draws", "5")
    assert re.match(r"akacja_welcome \([0-9a-f]{12}\): \d+ entries from 2026-04-15 00:00 UTC on", out)
    read_line = next(line for line in out.splitlines() if line.startswith("  read "))
    assert read_line.endswith(("calibrated", "biased", "unknowable"))
    assert "\nunknowable: account_closed: the model does not predict 'account_closed'\n" in out


@pytest.fixture(scope="module")
def offers(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The offers that the shop drew at random, and whether a purchase followed within two weeks."""
    path = tmp_path_factory.mktemp("offers") / "offers.csv"
    events = f"'{datasets.fixtures() / 'shop' / 'events.parquet'}'"
    duckdb.sql(
        f"""SELECT message, propensity, 'offer_discount' AS plan, 'offer_gift' AS never, EXISTS (
            FROM {events} AS later WHERE later.contact = offer.contact AND later.event = 'purchase'
            AND later.occurred_at BETWEEN offer.occurred_at AND offer.occurred_at + INTERVAL 14 DAY)::INT AS bought
        FROM {events} AS offer WHERE event = 'sent' AND message LIKE 'offer_%'"""
    ).write_csv(str(path))
    return str(path)


OFFERS = ["--action", "message", "--reward", "bought", "--propensity", "propensity"]


def test_policy_as_json_has_estimates_and_diagnostics(run, offers):
    found = json.loads(run("policy", offers, *OFFERS, "--target", "plan", "--json"))
    assert {one["estimator"] for one in found["estimates"]} >= {"ips", "snips", "dr"}
    for one in found["estimates"]:
        assert one["interval"][0] <= one["value"] <= one["interval"][1]
        assert one["standard_error"] > 0
    assert {"effective_n", "max_weight_share", "mean_weight", "unsupported_share"} <= set(found["diagnostics"])
    assert (found["n"], found["refused"]) == (len(pd.read_csv(offers)), None)


def test_policy_that_the_log_never_did_is_refused_with_bounds_and_status_zero(run, offers):
    found = json.loads(run("policy", offers, *OFFERS, "--target", "never", "--json"))  # status 0, as `run` asserts
    assert "the log could not have done 100.0% of what the policy does" in found["refused"]
    assert found["estimates"] == []
    assert found["bounds"] == [0.0, 1.0]
    out = run("policy", offers, *OFFERS, "--target", "never")
    assert "drawn at random" in out  # the experiment that would tell


def test_doctor_finds_what_is_needed(run):
    out = run("doctor")
    assert "ok  Python:" in out
    assert "bundled data:" in out
    assert out.endswith("all is well\n")
    findings = {one["what"]: one["state"] for one in json.loads(run("doctor", "--json"))["findings"]}
    assert findings["packages"] == "well"


def test_doctor_says_that_the_bundled_data_is_missing(run, monkeypatch):
    monkeypatch.setattr(datasets, "_PLACES", (Path("nowhere"),))
    out = run("doctor", status=1)
    assert "NO  bundled data:   the bundled data is missing" in out
    assert out.endswith("1 fault\n")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ('say it with timezone="UTC"', "say it with --timezone UTC"),
        ("leave out event='purchase'", "leave out --event purchase"),
        ("columns= names 'date'", "--columns names 'date'"),
    ],
)
def test_messages_of_the_library_are_said_in_options(message, said):
    assert in_options(message) == said
