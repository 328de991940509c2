"""`journeylab promote` and `release`: exit codes, JSON, words; and the workflows of docs/promote.md as they stand."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from sqlalchemy import insert, update

from journeylab.datasets import fixtures
from journeylab.journey import Journey
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from promotable import summary, write_promotable

GUIDE = (Path(__file__).parent.parent / "docs" / "promote.md").read_text(encoding="utf-8")
MODELS = ("--models", "best=best.parquet")
Run = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `trial_welcome` can be promoted, with a forecast and a store that knows the names it uses."""
    file = write_promotable(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("forecast.json").write_text(json.dumps(summary(Journey.read(file))))
    store = Store.open("sqlite:///journeylab.db", create=True)
    with store.writing() as connection:
        names = (("contact", "plan"), ("event", "country"), ("event", "page"))
        connection.execute(insert(t.names), [{"scope": of, "name": name, "kind": "text"} for of, name in names])
    store.close()
    return tmp_path


def promoted(run: Run, *more: object, status: int = 0) -> str:
    return run("promote", "trial_welcome.yaml", "--forecast", "forecast.json", *MODELS, *more, status=status)


def test_from_check_to_full_and_back(folder: Path, run: Run) -> None:
    version = Journey.read(folder / "trial_welcome.yaml").version
    assert f"trial_welcome {version}: no release of it takes entries yet" in promoted(run, "--check-only")
    assert "5% of contacts" in promoted(run, "--canary", "5%", "--yes")
    assert "nothing has changed" in promoted(run, "--canary", "5%", "--yes")
    assert re.search(rf"trial_welcome +1 +{version} +5%", run("release", "list"))
    assert "takes all entries" in run("release", "full", "trial_welcome")
    assert "already" in run("release", "full", "trial_welcome")
    assert "stands still" in run("release", "pause", "trial_welcome", "--reason", "a typo")
    assert "trial_welcome is paused since" in run("release", "list")
    assert "goes on" in run("release", "resume", "trial_welcome")
    assert "no contact yet" in run("release", "watch", "trial_welcome")
    assert "nobody enters" in run("release", "rollback", "trial_welcome", "--reason", "opens", "--version", version)
    assert "nothing has changed" in run(
        "release", "rollback", "trial_welcome", "--reason", "opens", "--version", version
    )
    assert "was rolled back" in promoted(run, "--yes", status=1)
    assert "100% of contacts" in promoted(run, "--yes", "--again")
    assert "takes no entries" in run("release", "withdraw", "trial_welcome", "--reason", "over")
    shown = run("release", "show", "trial_welcome")
    assert "send: welcome_1" in shown
    assert "messages: offer_discount " in shown


def test_json_has_findings_changes_and_what_was_done(folder: Path, run: Run) -> None:
    checked = json.loads(promoted(run, "--check-only", "--json"))
    assert (checked["sound"], checked["done"], checked["former"]) == (True, None, None)
    done = json.loads(promoted(run, "--yes", "--json", "--actor", "ada"))
    assert done["done"]["changed"] is True
    assert done["done"]["hash"] == done["hash"] == checked["hash"]
    assert {one["check"] for one in done["findings"]} >= {"messages", "consent"}
    listed = json.loads(run("release", "list", "--json"))
    assert listed["running"][0] | {"since": ""} == {
        "journey": "trial_welcome", "version": done["version"], "release": 1, "hash": done["hash"], "share": 1.0,
        "canary": False, "since": "", "forecast": True,
    }  # fmt: skip
    assert listed["releases"][0]["by"] == "ada"
    watched = json.loads(run("release", "watch", "trial_welcome", "--json"))
    assert watched["outside"] == 0
    assert watched["shares"][0]["verdict"] == "too_few"
    assert json.loads(run("release", "show", "trial_welcome", "--json"))["models"][0]["name"] == "best"


def test_faults_end_with_status_1_and_name_everything(folder: Path, run: Run) -> None:
    said = run("promote", "trial_welcome.yaml", "--yes", status=1)
    assert "error: forecast: trial_welcome: there is no forecast" in said
    assert "error: models: trial_welcome: send times 'best'" in said
    assert "2 faults; nothing is released" in said
    data = run("promote", "trial_welcome.yaml", "--yes", "--json", status=1)
    assert json.loads(data[: data.rindex("}") + 1])["sound"] is False
    assert "release list" in said or run("release", "list")


def test_wrong_usage_ends_with_status_2(folder: Path, run: Run) -> None:
    assert "say --yes" in promoted(run, status=2)
    assert "not both" in promoted(run, "--yes", "--full", "--canary", "5%", status=2)
    assert "write 5%" in promoted(run, "--yes", "--canary", "150%", status=2)
    assert "leave the reason out" in promoted(run, "--yes", "--without-forecast", "why", status=2)
    assert "NAME=FILE" in run("promote", "trial_welcome.yaml", "--yes", "--models", "best.parquet", status=2)
    assert "--reason" in run("release", "pause", "trial_welcome", status=2)


def test_without_any_release_commands_say_so(folder: Path, run: Run) -> None:
    assert "was ever promoted" in run("release", "pause", "trial_welcome", "--reason", "x", status=1)
    assert "was ever promoted" in run("release", "watch", "trial_welcome", status=1)
    (folder / "journeylab.db").unlink()
    assert "nothing was ever promoted to this store" in run("release", "list", status=1)


def test_a_release_outside_of_its_forecast_ends_watch_with_status_1(folder: Path, run: Run) -> None:
    promoted(run, "--yes")
    version = Journey.read(folder / "trial_welcome.yaml").version
    store = Store.open("sqlite:///journeylab.db")
    with store.writing() as connection:
        now = store.now(connection)
        for i in range(300):
            of = {"contact": f"c{i}", "journey": "trial_welcome", "entry": 1, "version": version}
            entry = {**of, "entered_at": now, "left_at": None, "exit": None, "converted": False, "held_out": False}
            connection.execute(insert(t.entries), entry)
            visit = {**of, "node": "offer", "visit": 1, "arrived_at": now, "left_at": now, "evidence": "observed"}
            connection.execute(insert(t.visits), {**visit, "branch": "plain"})
        connection.execute(update(t.spans).values(from_at=now))
    store.close()
    said = run("release", "watch", "trial_welcome", status=1)
    assert "outside  offer: plain: 100.0% of 300 contacts" in said
    assert "outside of the forecast of 20.0%" in said


# The workflows of the guide


def workflows() -> list[dict[str, Any]]:
    blocks = re.findall(r"^```yaml\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)
    return [YAML(typ="safe", pure=True).load(block) for block in blocks]


def commands(workflow: dict[str, Any]) -> list[str]:
    """All commands of a workflow, in the order of its jobs."""
    if "jobs" in workflow:
        return [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    return [line for job in workflow.values() if isinstance(job, dict) for line in job.get("script", ())]


@pytest.mark.long
@pytest.mark.parametrize("place", [0, 1])
def test_the_workflows_of_the_guide_run(
    place: int, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch, simulated: str
) -> None:
    shop = fixtures() / "shop"
    monkeypatch.setenv("EVENTS", str(shop / "events.parquet"))
    monkeypatch.setenv("CONTACTS", str(shop / "contacts.parquet"))
    monkeypatch.setenv("GITLAB_USER_LOGIN", "ada")
    n = 0
    for line in commands(workflows()[place]):
        command, _, otherwise = line.partition(" || ")
        words = [os.path.expandvars(word) for word in shlex.split(command)]
        assert words[0] == "journeylab"
        if ">" in words:
            assert words[1] == "simulate"
            Path(words[-1]).write_text(simulated)
        else:
            run(*words[1:])
        if otherwise:  # what would be done if it were outside; the usage is right
            words = shlex.split(otherwise.strip("{ }").partition(";")[0])
            assert words[:4] == ["journeylab", "release", "rollback", "trial_welcome"]
            assert words[4::2] == ["--reason", "--actor"]
        n += 1
    assert n >= 7
    listed = json.loads(run("release", "list", "--json"))
    assert listed["running"][0]["share"] == (0.05, 1.0)[place]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the guide's `simulate` prints; a response model is fitted by no more than the nightly tests."""
    return json.dumps(summary(Journey.read(write_promotable(tmp_path_factory.mktemp("simulated")))))


@pytest.mark.nightly
def test_promote_simulates_over_the_log_that_it_is_given(folder: Path, run: Run) -> None:
    shop = fixtures() / "shop"
    log = ("--events", shop / "events.parquet", "--contacts", shop / "contacts.parquet")
    run("promote", "trial_welcome.yaml", *MODELS, *log, "--yes")
    shares = json.loads(run("release", "watch", "trial_welcome", "--json"))["shares"]
    assert {one["kind"] for one in shares} == {"branch", "exit", "response"}
    found = {(one["node"], one["outcome"]): one for one in shares}
    assert found["read", "then"]["forecast_low"] < 0.27 < found["read", "then"]["forecast_high"]
