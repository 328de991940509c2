"""The examples of docs/extending.md, installed from the page as a package and used as it says: none of them can rot."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pytest_httpserver import HTTPServer
from sqlalchemy import select
from werkzeug import Request, Response

from installed import install
from journeylab import datasets
from journeylab.cli import main
from journeylab.sender.health import health_of
from journeylab.sender.live.intake import attributes_of
from journeylab.sender.live.pulls import Puller
from journeylab.sender.sending.worker import Worker
from journeylab.sender.settings import Relay
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from sendworld import START, Clock, body_of, make_settings, opened, rendered, world
from stores import a_send
from test_writing import made, one, parsed, settings_of

PAGE = (Path(__file__).parent.parent / "docs" / "extending.md").read_text(encoding="utf-8")
MODULES = dict(re.findall(r"```python\n# (acme_\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
PROJECT = tomllib.loads(re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)[1])["project"]  # type: ignore[index]
__all__ = ["one"]


@pytest.fixture(autouse=True)
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    lines = []
    for group, points in PROJECT["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    folder = install(tmp_path / "packages", PROJECT["name"], MODULES, "\n".join(lines), PROJECT["version"])
    monkeypatch.syspath_prepend(str(folder))
    yield
    for module in MODULES:
        sys.modules.pop(module.removesuffix(".py"), None)


def run(*arguments: object) -> object:
    """The exit status of a command, or what it says was at fault."""
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    return ended.value.code or 0


def test_each_example_has_at_most_sixty_lines_and_an_entry_point() -> None:
    assert len(MODULES) == 7
    assert all(len(text.splitlines()) <= 60 for text in MODULES.values())
    named = {
        value.partition(":")[0] + ".py" for points in PROJECT["entry-points"].values() for value in points.values()
    }
    assert named == {*MODULES}


def test_the_importer_makes_journeys_of_an_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [
        {"type": "mail", "label": "Hello", "subject": "Welcome", "mail": "m1", "colour": "red"},
        {"type": "tag", "tag": "new"},
        {"type": "pause", "label": "Some days", "days": 3},
        {"type": "mail", "label": "More", "subject": "More of it", "mail": "m2"},
    ]
    export, journey = tmp_path / "export.json", tmp_path / "hello.yaml"
    export.write_text(json.dumps({"id": 7, "name": "Say hello", "begin": {"event": "signup"}, "steps": steps}))
    assert run("convert", "plume", export, "-o", journey) == 0
    said = capsys.readouterr()
    assert "business days" in said.out + said.err
    assert "colour" in said.out + said.err  # nothing is passed over
    assert run("check", journey) == 0
    shop = datasets.fixtures() / "shop"
    assert run("replay", journey, "--events", shop / "events.parquet", "--json") == 0
    found = json.loads("{" + capsys.readouterr().out.partition("{")[2])
    assert found["nodes"].keys() == {"hello", "some_days", "more", "done"}
    export.write_text(json.dumps({"name": "Say hello", "begin": {"event": "signup"}, "steps": [{"type": "fax"}]}))
    assert "steps.0.type: 'fax' is none of the types" in str(run("convert", "plume", export))


def test_the_event_importer_makes_a_log_of_an_export(tmp_path: Path) -> None:
    rows = [
        "member,what,when,mail,robot", "ada,delivery,2026-03-02 10:00:00,m1,", "ada,view,2026-03-02 11:00:00,m1,true",
        "bob,leave,2026-03-03 09:30:00,,",
    ]  # fmt: skip
    (tmp_path / "activity.csv").write_text("\n".join(rows) + "\n")
    log = tmp_path / "events.parquet"
    for _ in range(2):
        assert run("events", "import", "plume", tmp_path / "activity.csv", "--log", log) == 0
    found = pd.read_parquet(log).sort_values(["occurred_at", "event"])
    assert found["event"].tolist() == ["sent", "opened", "consent_withdrawn", "unsubscribed"]
    assert [str(one) for one in found["occurred_at"]][:2] == ["2026-03-02 09:00:00+00:00", "2026-03-02 10:00:00+00:00"]
    assert found["is_machine"].tolist()[1]
    assert run("events", "systems", "plume") == 0


def test_the_connector_is_pulled(tmp_path: Path, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [{"number": n, "id": f"m{n}", "mail": f"m{n}@mail.example", "club": "chess"} for n in range(1, 6)]

    def answer(request: Request) -> Response:
        if request.headers.get("authorization") != "Bearer s3cret":
            return Response("{}", 401)
        rest = [one for one in members if one["number"] > int(request.args["after"])]
        return Response(json.dumps({"members": rest[:2], "more": len(rest) > 2}), content_type="application/json")

    httpserver.expect_request("/club/members").respond_with_handler(answer)
    monkeypatch.setenv("CLUB", "s3cret")
    club = {
        "kind": "members",
        "url": httpserver.url_for("/club"),
        "token": "env:CLUB",
        "pull": {"members": {"every": "5m"}},
    }
    settings = make_settings(tmp_path, connectors={"club": club})
    clock = Clock()
    store = opened(f"sqlite:///{tmp_path / 'sender.db'}", clock)
    try:
        puller = Puller(store, settings, "w1")
        for _ in range(3):
            puller.pull_due()
            clock.pass_by(timedelta(minutes=5))
        with store.reading() as connection:
            known = [*connection.scalars(select(t.contacts.c.contact))]
            assert attributes_of(connection, known) == {one["id"]: {"club": "chess"} for one in members}
    finally:
        store.close()


def test_the_models_are_asked_for_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop = datasets.fixtures() / "shop"
    log = ["--events", shop / "events.parquet", "--contacts", shop / "contacts.parquet"]
    assert run("sendtime", "fit", *log, "--model", "trees", "--outcome", "opened", "--out", tmp_path / "t.parquet") == 0
    assert "fitted FromClassifier" in capsys.readouterr().err
    welcome = datasets.journey_file("trial_welcome")
    assert run("simulate", welcome, *log, "--model", "rates", "--draws", 5, "--json") == 0
    said = capsys.readouterr()
    assert "fitted 3 responses" in said.err
    assert json.loads(said.out)["journey"] == "trial_welcome"
    assert run("sendtime", "fit", *log, "--model", "tress", "--out", tmp_path / "t.parquet") == 2
    assert "trees" in capsys.readouterr().err
    simulated = ("simulate", welcome, *log, "--model")
    assert "is no function that fits a response model" in str(run(*simulated, "trees"))
    assert "did you mean 'rates'" in str(run(*simulated, "rate"))


@pytest.mark.nightly
def test_the_response_model_is_held_against_what_came_and_reported(tmp_path: Path) -> None:
    shop = datasets.fixtures() / "shop"
    log = ["--events", shop / "events.parquet", "--contacts", shop / "contacts.parquet"]
    more = [*log, "--model", "rates", "--draws", 5, "--cutoff", "2026-04-15"]
    welcome = datasets.journey_file("trial_welcome")
    assert run("backtest", welcome, *more) == 0
    kept = ["--ledger", tmp_path / "l", "--ledger-key", tmp_path / "k", "--out", tmp_path / "r.html"]
    assert run("report", "backtest", welcome, *more, *kept) == 0
    assert run("report", "simulation", welcome, *log, "--model", "rates", "--draws", 5, *kept) == 0


def test_the_recommender_chooses_what_a_message_shows(one: Store, tmp_path: Path) -> None:
    key = a_send(one, "ada", release_id=1)
    html = parsed(made(one, settings_of(tmp_path, recommend={"hook": "newest"}), key)).get_body(("html",)).get_content()
    assert "<p>kettle</p>" in html
    assert "<p>teapot</p>" in html


def test_the_channel_carries_messages(tmp_path: Path, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POST_TOKEN", "s3cret")
    seen: dict[str, bytes] = {}
    statuses = iter([202, 429, 422, 503, 500])

    def answer(request: Request) -> Response:
        key = request.headers["idempotency-key"]
        assert request.headers["authorization"] == "Bearer s3cret"
        status = 202 if key in seen else next(statuses, 202)
        if status == 500:  # it has taken it all the same
            seen[key] = request.data
            return Response("", 500)
        if status == 202:
            seen.setdefault(key, request.data)
        return Response(json.dumps({"id": f"p-{key[:6]}"}), status, content_type="application/json")

    httpserver.expect_request("/v1/messages", method="POST").respond_with_handler(answer)
    post: dict[str, Any] = {
        "name": "post", "channel": "post", "options": {"url": httpserver.url_for("/v1")},
        "secrets": {"token": "env:POST_TOKEN"}, "idempotency_for": "24h",
    }  # fmt: skip
    with world(f"sqlite:///{tmp_path / 'sender.db'}", tmp_path, Relay.model_validate(post)) as there:
        keys = [there.add(f"c{i}") for i in range(6)]

        def send() -> dict[str, int]:
            return dict(Worker(there.store, there.settings, "w1", rendered).run(until_idle=True))

        first = send()
        assert first == {"accepted": 3, "temporary": 2, "rejected": 1, "unknown": 1}  # the unknown one was asked again
        there.clock.pass_by(timedelta(minutes=10))
        assert send() == {"accepted": 2}
        states = there.states()
        assert sorted(states.values()) == ["accepted"] * 5 + ["rejected"]
        assert seen == {key: body_of(key) for key in keys if states[key] == "accepted"}


def test_doctor_says_what_is_installed_without_importing_it(capsys: pytest.CaptureFixture[str]) -> None:
    run("doctor")
    said = capsys.readouterr().out
    assert "plume (importers) of acme-journeys 1.0" in said
    assert "post (channels) of acme-journeys 1.0" in said
    assert not {one.removesuffix(".py") for one in MODULES} & {*sys.modules}


@pytest.mark.parametrize(("name", "is_well"), [("newest", True), ("newset", False)])
def test_doctor_says_whether_the_recommender_of_the_settings_is_there(
    tmp_path: Path, name: str, *, is_well: bool
) -> None:
    settings = make_settings(tmp_path).data() | {"recommend": {"hook": name}}
    (tmp_path / "sender.json").write_text(json.dumps(settings, default=str))
    found = {one.what: one for one in health_of(tmp_path / "sender.json", lambda: START)}
    assert found["recommender"].is_well is is_well
    assert found["recommender"].text == "newest is ready" or "did you mean 'newest'" in found["recommender"].text
