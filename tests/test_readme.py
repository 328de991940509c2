"""The README's five minutes, followed by the letter: its files are written, its commands run, its Python executed."""

from __future__ import annotations

import re
import shlex
import textwrap
from pathlib import Path

import pytest

from journeylab.cli import main

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SECTION = README[README.index("## Five minutes") : README.index("## What it promises")]


def block(language: str) -> str:
    """The one fenced block of a language, without its indentation."""
    (found,) = re.findall(rf"^ *```{language}\n(.*?)^ *```", SECTION, flags=re.MULTILINE | re.DOTALL)
    return textwrap.dedent(found)


def commands() -> list[list[str]]:
    """The commands of `journeylab` that stand on lines of their own, in their order."""
    joined = SECTION.replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in joined.splitlines() if re.match(r"\s{4,}journeylab ", line)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the log and the journey of the README."""
    monkeypatch.chdir(tmp_path)
    log = re.findall(r"^    (\S+,\S+.*)$", SECTION[: SECTION.index("1. Install")], flags=re.MULTILINE)
    Path("orders.csv").write_text("\n".join(log) + "\n")
    Path("winback.yaml").write_text(block("yaml"))
    return tmp_path


def test_commands_take_a_log_of_ones_own_to_a_replayed_journey(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [command[0] for command in commands()] == ["check", "draw", "replay"]
    for command in commands():
        with pytest.raises(SystemExit) as exit_info:
            main(command)
        assert not exit_info.value.code, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "1 journey is sound" in out
    assert "2 contacts entered once each" in out
    assert (folder / "winback.svg").read_text().startswith("<svg")
    assert "settle" in (folder / "winback.html").read_text()


def test_the_same_in_python(folder: Path) -> None:
    found: dict[str, object] = {}
    exec(compile(block("python"), "README.md", "exec"), found)
    result = found["result"]
    assert result.n_contacts == 2  # type: ignore[attr-defined]
    assert set(result.visits["node"]) == {"settle"}  # type: ignore[attr-defined]
