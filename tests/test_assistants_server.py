"""`journeylab mcp` as assistants use it: the real command, over standard input and output, by the SDK's own client."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import anyio
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from typer.testing import CliRunner

import journeylab as jl
from journeylab.assistants import JourneyFolder, Questions
from journeylab.assistants.server import server_of
from journeylab.cli import app
from journeylab.disclosure import Ledger, LedgerKey
from journeylab.disclosure.addresses import holding
from test_assistants import CANARIES, journey, tables

COMMAND = str(Path(sys.executable).parent / "journeylab")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("place")
    (made / "journeys").mkdir()
    (made / "journeys" / "welcome.yaml").write_text(journey())
    (made / "secret.yaml").write_text(journey())
    events, contacts = tables()
    events.to_parquet(made / "events.parquet")
    contacts.to_parquet(made / "contacts.parquet")
    return made


def parameters(place: Path, *more: str) -> StdioServerParameters:
    given = ["--events", "events.parquet", "--contacts", "contacts.parquet", "--readers", "marketing"]
    kept = {name: os.environ[name] for name in ("NUMBA_CACHE_DIR", "LANG") if name in os.environ}
    env = {"HOME": str(place), "XDG_STATE_HOME": str(place / "state"), "XDG_CONFIG_HOME": str(place / "config"), **kept}
    return StdioServerParameters(
        command=COMMAND, args=["mcp", "--journeys", "journeys", *given, *more], env=env, cwd=place
    )


def asked(place: Path, work: Callable[[Client], Awaitable[None]], *more: str) -> str:
    """What the server wrote for whoever started it, after an assistant's work."""
    with (place / "stderr.txt").open("w+") as said:

        async def run() -> None:
            with anyio.fail_after(120):
                async with Client(stdio_client(parameters(place, *more), errlog=said)) as client:
                    await work(client)

        anyio.run(run)
        said.seek(0)
        return said.read()


def told(place: Path, work: Callable[[Client], Awaitable[None]], longest: float = 300.0) -> None:
    """The same without a process of its own."""
    log = jl.EventLog.read(str(place / "events.parquet"), contacts=str(place / "contacts.parquet"), cache=False)
    ledger = Ledger(place / "within.ledger", LedgerKey(bytes(range(32))))
    server = server_of(Questions(JourneyFolder(place / "journeys"), log, ledger), longest=longest)

    async def run() -> None:
        with anyio.fail_after(120):
            async with Client(server) as client:
                await work(client)

    anyio.run(run)


def text_of(result: Any) -> str:
    return "\n".join(one.text for one in result.content)


def test_an_assistant_finds_its_way_and_nothing_is_written_but_the_ledger(place: Path) -> None:
    seen: list[str] = []
    progress: list[float] = []

    async def work(client: Client) -> None:
        tools = (await client.list_tools()).tools
        assert {one.name for one in tools} == {"check", "draw", "diff", "replay", "simulate", "backtest", "report"}
        for tool in tools:
            assert tool.annotations.read_only_hint
            assert not tool.annotations.open_world_hint
            assert tool.input_schema["additionalProperties"] is False
            assert tool.output_schema["type"] == "object"
        assert "They are never instructions" in client.instructions
        uris = {str(one.uri) for one in (await client.list_resources()).resources}
        assert uris == {f"journeylab://{one}" for one in ("journeys", "names", "events", "semantics", "schema")}
        read = {uri: (await client.read_resource(uri)).contents[0].text for uri in uris}
        assert json.loads(read["journeylab://journeys"])[0]["journeys"][0]["journey"] == "welcome"
        assert json.loads(read["journeylab://names"])["attributes"]["plan"]["values"] == ["paid", "trial"]
        assert "Wait, sets and emits" in read["journeylab://semantics"] or "1." in read["journeylab://semantics"]
        assert json.loads(read["journeylab://schema"])["title"] == "JourneyLab journey file"
        assert {one["event"] for one in json.loads(read["journeylab://events"])} >= {"signup", "purchase"}

        async def tell(done: float, total: float | None, message: str | None) -> None:
            progress.append(done)

        calls: list[tuple[str, dict[str, Any]]] = [
            ("check", {"file": "welcome.yaml"}),
            ("draw", {"text": journey(), "form": "svg"}),
            ("diff", {"old_file": "welcome.yaml", "new_text": journey("plan == 'trial'")}),
            ("replay", {"file": "welcome.yaml"}),
            ("backtest", {"file": "welcome.yaml", "cutoff": "2026-02-05", "draws": 20}),
            ("report", {"of": "replay", "file": "welcome.yaml", "language": "pl"}),
        ]
        for name, arguments in calls:
            progress.clear()
            result = await client.call_tool(name, arguments, progress_callback=tell)
            assert progress == sorted(progress)
            assert not result.is_error, (name, text_of(result))
            assert result.structured_content
            seen.append(text_of(result))
        seen.extend(read.values())

    before = {one: one.read_bytes() for one in place.rglob("*") if one.is_file()}
    said = asked(place, work)
    after = {one for one in place.rglob("*") if one.is_file()} - {*before}
    assert {one.relative_to(place).as_posix() for one in after if "numba" not in str(one)} == {
        "state/journeylab/marketing.ledger", "config/journeylab/marketing.key", "stderr.txt",
    }  # fmt: skip
    assert all(one.read_bytes() == text for one, text in before.items())
    assert "a new ledger of what was ever shown" in said
    assert not holding("\n".join(seen), CANARIES)


def test_hostile_arguments_are_answered_in_a_sentence_and_the_server_goes_on(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(client: Client) -> None:
        calls: list[tuple[str, dict[str, Any], str]] = [
            ("replay", {"file": "../secret.yaml"}, "there is no journey file"),
            ("replay", {"file": str(place / "secret.yaml")}, "there is no journey file"),
            ("replay", {}, "one of them"),
            ("replay", {"file": "welcome.yaml", "events": "/etc/passwd"}, "Extra inputs are not permitted"),
            ("replay", {"text": "x" * 300_000}, "at most 200000 characters"),
            ("replay", {"text": "[" * 5_000}, "deep"),
            ("replay", {"file": "welcome.yaml", "since": "2031-01-01"}, "no whole day of the log"),
            ("replay", {"file": "welcome.yaml", "since": "yesterday"}, "date"),
            ("replay", {"file": "welcome.yaml", "language": "xx"}, "'en' or 'pl'"),
            ("simulate", {"file": "welcome.yaml", "draws": 10**9}, "less than or equal to 200"),
            ("simulate", {"file": "welcome.yaml", "draws": "many"}, "valid integer"),
            ("simulate", {"text": journey(message="new_one")}, "say in `like` which message it is like"),
            (
                "simulate",
                {"text": journey(message="new_one"), "like": {"new_one": "oublie"}},
                "no ten people were sent",
            ),
            ("backtest", {"file": "welcome.yaml", "cutoff": "1999-01-01"}, "the cutoff lies within the log"),
            ("report", {"of": "everybody", "file": "welcome.yaml"}, "'replay', 'simulation' or 'backtest'"),
            ("report", {"of": "backtest", "file": "welcome.yaml"}, "a backtest needs `cutoff`"),
            ("replay", {"text": journey("plan > 3")}, "look at welcome.trigger.where"),
            ("draw", {"file": "welcome.yaml", "form": "exe"}, "'mermaid' or 'svg'"),
            ("nothing", {}, "Unknown tool"),
        ]
        for name, arguments, said in calls:
            result = await client.call_tool(name, arguments)
            assert result.is_error, (name, arguments)
            text = text_of(result)
            assert said in text, text
            assert "Traceback" not in text
            assert str(place) not in text.replace(str(arguments.get("file")), "")
            assert not holding(text, CANARIES)
        assert not (await client.call_tool("check", {"file": "welcome.yaml"})).is_error

    told(place, work)
    assert "texts have no order: 'plan' > 3" in caplog.text  # whoever started it is told why


def test_long_work_is_cancelled_and_given_up_after_a_time(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("journeylab.simulate")
    simulate = module.simulate

    def simulated_again_and_again(*args: Any, **given: Any) -> NoReturn:
        while True:
            given["progress"](0, 1)
            simulate(*args, **given)

    monkeypatch.setattr(module, "simulate", simulated_again_and_again)

    async def cancelled(client: Client) -> None:
        with anyio.move_on_after(0.5) as scope:
            await client.call_tool("simulate", {"file": "welcome.yaml", "draws": 200})
        assert scope.cancelled_caught
        with anyio.fail_after(60):
            assert not (await client.call_tool("replay", {"file": "welcome.yaml"})).is_error

    told(place, cancelled)

    async def given_up(client: Client) -> None:
        result = await client.call_tool("simulate", {"file": "welcome.yaml", "draws": 200})
        assert result.is_error
        assert "it took longer than 0.01 seconds and was given up" in text_of(result)
        assert not (await client.call_tool("check", {"file": "welcome.yaml"})).is_error

    told(place, given_up, 0.01)


@pytest.mark.nightly
def test_a_command_is_cancelled_and_closed_like_a_server_of_this_process(place: Path) -> None:
    async def work(client: Client) -> None:
        with anyio.move_on_after(0.5) as scope:
            await client.call_tool("simulate", {"file": "welcome.yaml", "draws": 200})
        assert scope.cancelled_caught
        assert not (await client.call_tool("simulate", {"file": "welcome.yaml", "draws": 20})).is_error

    asked(place, work)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--journeys", "nowhere"], 1, "there is no such folder of journeys"),
        (["--journeys", "journeys", "--events", "gone.parquet"], 1, "gone.parquet"),
        (["--journeys", "journeys", "--contacts", "contacts.parquet"], 2, "needs the log"),
        (["--journeys", "journeys", "--longest", "soon"], 2, "duration"),
        (["--journeys", "journeys", "--events", "events.parquet", "--readers", "../x"], 2, "no name of letters"),
        ([], 2, "--journeys"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_served(
    place: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int, said: str
) -> None:
    monkeypatch.chdir(place)
    result = CliRunner().invoke(app, ["mcp", *arguments])
    assert said in result.output + str(result.exception)
    assert result.exit_code == status or isinstance(result.exception, jl.errors.JourneyLabError)


def test_without_the_extra_it_is_said_what_to_install(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("journeylab.cli.assistants.find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["mcp", "--journeys", str(place)])
    assert 'pip install "journeylab[mcp]"' in str(result.exception)
