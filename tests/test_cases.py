"""The cases in tests/cases: one file for each rule of docs/semantics.md, worked out by hand from that page.

Every case is run by the machine and by the oracle. Both must agree with each other in everything, and with what the
case expects. A file has the `rule`, its `title`, and `cases`. A case has its fact as its name, and

- `journey` or `journeys`, as in journey files; `j` and a trigger on `signup` are the defaults; `parts`, `segments` and
  `policy` stand beside them; `releases` have a `journey`, `from` and `until` each;
- `log`, an event a line: `[CONTACT:] EVENT INSTANT [PROPERTY=VALUE …]`; `contacts` and `until`;
- what the world answers: `match`, `pauses` by journey, `calls` (the contacts for whom a service fails), `scores` by
  name and contact, `best` (by contact, `others` for those unknown, the hour of the week, or the scores of hours and
  ranges of them such as 8-11), `received: true` for a log read by `received_at`.

It expects some of

- `visits`, all those at the nodes that it names: `[CONTACT [JOURNEY] [ENTRY]:] NODE[#VISIT] ARRIVED LEFT BRANCH
  [EVIDENCE]`;
- `entries`, all of them: `[CONTACT [JOURNEY] [ENTRY]:] ENTERED LEFT EXIT [converted] [held_out]`;
- `sends`, all of them: `[CONTACT [JOURNEY] [ENTRY]:] NODE[#VISIT] DECIDED sent|REASON [EVIDENCE]`;
- `holds` and `fails`, conditions asked in the journey's stead when a contact enters it;
- `notes`, texts that the notes of the replay contain; `refused`, texts that the refusal contains.

`xfail` says why a case is known to fail; `run: false` beside it keeps one from running that would end the process.

The contact is `ada` and numbers are 1 where nothing is said. `..` is an instant and `-` a text that is missing. All
instants are UTC; the day is Monday 2 March 2026 and the year 2026 where nothing is said.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from ruamel.yaml import YAML

import oracle
import worlds
from journeylab import journeyfile
from journeylab.durations import parse_duration
from journeylab.errors import JourneyLabError
from journeylab.eventlog import EventLog
from journeylab.program import Release
from journeylab.replay import Replay, replay

FOLDER = Path(__file__).parent / "cases"
SEMANTICS = Path(__file__).parent.parent / "docs" / "semantics.md"
N_RULES = 35
Case = dict[str, Any]
Row = tuple[Any, ...]


# Reading cases ------------------------------------------------------------------------------------------------------


def instant(text: str) -> datetime | None:
    """An instant as cases write it; `..` is missing."""
    if text == "..":
        return None
    if re.match(r"\d\d:", text):
        text = f"03-02T{text}"
    if re.match(r"\d\d-", text):
        text = f"2026-{text}"
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def lines(text: str) -> Iterator[tuple[str, list[str]]]:
    """What stands before the colon of each line, and the words after it."""
    for line in text.strip().splitlines():
        before, colon, rest = line.partition(": ")
        yield (before, shlex.split(rest)) if colon else ("", shlex.split(line))


def scalar(text: str) -> bool | float | str:
    if text in ("true", "false"):
        return text == "true"
    return float(text) if re.fullmatch(r"-?\d+(\.\d+)?", text) else text


def events_of(case: Case) -> list[Case]:
    """The log's rows, flat."""
    events = []
    for contact, (name, at, *properties) in lines(case["log"]):
        row: Case = {"contact": contact or "ada", "event": name, "occurred_at": instant(at)}
        for key, _, value in (one.partition("=") for one in properties):
            row[key] = instant(value) if key == "received_at" else scalar(value)
            if key == "value":  # a changed attribute is written as a text
                row[key] = value
        events.append(row)
    return events


def journeys_of(case: Case) -> list[Case]:
    """The definitions, defaults filled in; conditions to be asked make a journey each."""
    given = case.get("journeys") or [case.get("journey", {})]
    if "releases" in case:
        given = [one["journey"] for one in case["releases"]]
    if "holds" in case or "fails" in case:
        given = [
            {**given[0], "journey": f"{answer}_{n}", "nodes": asking(condition)}
            for answer in ("holds", "fails")
            for n, condition in enumerate(case.get(answer, []))
        ]
    return [{"journey": "j", "trigger": {"event": "signup"}, **one} for one in given]


def asking(condition: str) -> Case:
    clauses = [{"if": condition, "go": "held"}]
    return {"ask": {"decide": clauses, "else": "failed"}, "held": {"exit": "holds"}, "failed": {"exit": "fails"}}


def pauses_of(case: Case) -> dict[str, list[tuple[datetime, datetime]]]:
    return {
        journey: [(instant(start), instant(end)) for start, end in spans]  # type: ignore[misc]
        for journey, spans in case.get("pauses", {}).items()
    }


def match_of(case: Case) -> timedelta:
    return parse_duration(case.get("match", "1d"))


def until_of(case: Case) -> datetime | None:
    return instant(str(case["until"])) if "until" in case else None


# What happens -------------------------------------------------------------------------------------------------------


class Happened(NamedTuple):
    """Visits, entries and sends as rows that compare; sorted."""

    visits: list[Row]
    entries: list[Row]
    sends: list[Row]


def interpreted(case: Case) -> Happened:
    """What happens by the oracle."""
    contacts = [
        {
            "contact": row["contact"],
            "timezone": row.get("timezone"),
            "attributes": {name: value for name, value in row.items() if name not in ("contact", "timezone")},
        }
        for row in case.get("contacts", [])
    ]
    events = events_of(case)
    if case.get("received"):
        events = [{**row, "occurred_at": row.pop("received_at", row["occurred_at"])} for row in events]
    result = oracle.interpret(
        journeys_of(case), events, contacts, policy=case.get("policy"), until=until_of(case), match=match_of(case),
        parts={name: {"journey": name, **part} for name, part in case.get("parts", {}).items()},
        segments=case.get("segments"), calls=oracle.failing({k: set(v) for k, v in case.get("calls", {}).items()}),
        scores=case.get("scores"), best=best_of(case), pauses=pauses_of(case),
    )  # fmt: skip
    left = {(v.contact, v.journey, v.entry, v.node, v.visit): (v.left_at, v.evidence) for v in result.visits}
    sends = []
    for one in result.sends:
        key = (one.contact, one.journey, one.entry, one.node, one.visit)
        sends.append((*key, left[key][0], one.reason or "sent", left[key][1]))
    visits = [tuple(one) for one in result.visits]
    return Happened(sorted(visits, key=str), sorted(map(tuple, result.entries), key=str), sorted(sends, key=str))


def replayed(case: Case, folder: Path) -> Replay:
    """What happens by the machine, from files and a log as users have them."""
    for name, part in case.get("parts", {}).items():
        form = {"journey": name, "trigger": {"event": "signup"}, **part}
        (folder / f"{name}.json").write_text(json.dumps(form))
    written = {key: case[key] for key in ("segments", "policy") if key in case}
    releases = []
    for n, journey in enumerate(journeys_of(case)):
        path = folder / f"case-{n}.json"
        path.write_text(json.dumps({**written, "journeys": [journey]}))
        portfolio = journeyfile.read(path)
        spans = {key: instant(value) for key, value in case.get("releases", [{}] * 99)[n].items() if key != "journey"}
        pauses = tuple(pauses_of(case).get(portfolio.one().journey, ()))
        releases.append(
            Release(journey=portfolio.one(), from_at=spans.get("from"), until_at=spans.get("until"), pauses=pauses)
        )
    log = EventLog.from_rows(events_of(case), case.get("contacts", ()))
    return replay(
        releases, log.by_received() if case.get("received") else log, until=until_of(case), match=match_of(case),
        policy=portfolio.policy, scores=scores_of(case), send_times=send_times_of(case),
        calls={k: answering(set(v)) for k, v in case.get("calls", {}).items()},
    )  # fmt: skip


def answering(fails: set[str]) -> Any:
    return lambda contact, _at: contact not in fails


def scores_of(case: Case) -> dict[str, pd.DataFrame]:
    return {
        name: pd.DataFrame({"contact": pd.Series(list(of), dtype=str), "score": pd.Series(of.values(), dtype=float)})
        for name, of in case.get("scores", {}).items()
    }


def best_of(case: Case) -> dict[str, Any] | None:
    """The scores by model and contact, of whom `others` are those that the model does not know."""
    if "best" not in case:
        return None
    known = {None if contact == "others" else contact: scores_in(one) for contact, one in case["best"].items()}
    return dict.fromkeys(("best", "opens"), known)


def scores_in(written: int | dict[int | str, float]) -> dict[int, float]:
    """The scores of hours of the week; an hour may be a range, such as 8-11."""
    if isinstance(written, int):
        return {written: 1.0}
    scores = {}
    for hours, score in written.items():
        first, _, last = str(hours).partition("-")
        scores |= dict.fromkeys(range(int(first), int(last or first) + 1), float(score))
    return scores


def send_times_of(case: Case) -> Any:
    """What the machine is given: a table where the case has one hour for each contact."""
    best = case.get("best")
    if best is None or not all(isinstance(one, int) for one in best.values()):
        return None if best is None else worlds.send_times_of(best_of(case)["best"])  # type: ignore[index]
    return pd.DataFrame({"contact": list(best), "hour_of_week": list(best.values())})


def happened(result: Replay) -> Happened:
    """The tables of a replay as rows that compare."""

    def rows(table: pd.DataFrame, *columns: str) -> list[Row]:
        values = table[list(columns)].astype(object).itertuples(index=False)
        return sorted((tuple(map(plain, row)) for row in values), key=str)

    key = ("contact", "journey", "entry")
    sends = result.sends.astype({"reason": "str"}).assign(reason=lambda t: t["reason"].where(~t["is_sent"], "sent"))
    return Happened(
        rows(result.visits, *key, "node", "visit", "arrived_at", "left_at", "branch", "evidence"),
        rows(result.entries, *key, "entered_at", "left_at", "exit", "converted", "held_out"),
        rows(sends, *key, "node", "visit", "decided_at", "reason", "evidence"),
    )


def plain(value: Any) -> Any:
    """A table's value in plain Python; `None` where it is missing."""
    if pd.isna(value):
        return None
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value


# What is expected ---------------------------------------------------------------------------------------------------


def key_of(before: str, journey: str) -> tuple[str, str, int]:
    """Contact, journey and entry, as far as they are written."""
    words = before.split()
    number = int(words.pop()) if words and words[-1].isdigit() else 1
    contact, named = [*words, *("ada", journey)[len(words) :]]
    return contact, named, number


def text_or_none(word: str) -> str | None:
    return None if word == "-" else word


def node_of(word: str) -> tuple[str, int]:
    node, _, number = word.partition("#")
    return node, int(number or 1)


def expected_visits(case: Case, journey: str) -> list[Row]:
    rows = []
    for before, (node, arrived, left, branch, *evidence) in lines(case["visits"]):
        rows.append(
            (*key_of(before, journey), *node_of(node), instant(arrived), instant(left), text_or_none(branch), *evidence)
        )
    return sorted(rows, key=str)


def expected_entries(case: Case, journey: str) -> list[Row]:
    rows = []
    for before, (entered, left, text, *marks) in lines(case["entries"]):
        assert set(marks) <= {"converted", "held_out"}
        flags = "converted" in marks, "held_out" in marks
        rows.append((*key_of(before, journey), instant(entered), instant(left), text_or_none(text), *flags))
    return sorted(rows, key=str)


def expected_sends(case: Case, journey: str) -> list[Row]:
    rows = []
    for before, (node, decided, reason, *evidence) in lines(case["sends"]):
        rows.append((*key_of(before, journey), *node_of(node), instant(decided), reason, *evidence))
    return sorted(rows, key=str)


def check(case: Case, got: Happened) -> None:
    """Compares what happened with what the case expects; evidence only where it is written."""
    journey = journeys_of(case)[0]["journey"]
    if "visits" in case:
        rows = expected_visits(case, journey)
        nodes = {row[3] for row in rows}
        visits = [row for row in got.visits if row[3] in nodes]
        assert sorted((row[: len(rows[0])] for row in visits), key=str) == rows
    if "entries" in case:
        assert got.entries == expected_entries(case, journey)
    if "sends" in case:
        sends = expected_sends(case, journey)
        assert sorted((row[: len(sends[0])] if sends else row for row in got.sends), key=str) == sends
    if "holds" in case or "fails" in case:
        asked = {one["journey"]: one["nodes"]["ask"]["decide"][0]["if"] for one in journeys_of(case)}
        exits = {row[1]: row[5] for row in got.entries}
        assert {asked[j]: exits.get(j) for j in asked} == {asked[j]: j.partition("_")[0] for j in asked}


# The tests ----------------------------------------------------------------------------------------------------------


@cache
def files() -> dict[int, Case]:
    """The files of cases by rule."""
    read = [YAML(typ="safe").load(path) for path in sorted(FOLDER.glob("rule_*.yaml"))]
    return {file["rule"]: file for file in read}


def parameter(rule: int, case: Case) -> Any:
    marks = [pytest.mark.xfail(strict=True, reason=case["xfail"], run=case.get("run", True))] if "xfail" in case else []
    return pytest.param(case, id=f"{rule:02}: {case['case']}", marks=marks)


@pytest.mark.parametrize("case", [parameter(rule, case) for rule, file in files().items() for case in file["cases"]])
def test_a_case_is_as_the_rule_says(case: Case, tmp_path: Path) -> None:
    if "refused" in case:
        with pytest.raises(JourneyLabError) as refusal:
            replayed(case, tmp_path)
        assert [text for text in case["refused"] if text not in str(refusal.value)] == []
        return
    result = replayed(case, tmp_path)
    got = happened(result)
    check(case, got)
    assert [text for text in case.get("notes", []) if text not in " ".join(result.notes)] == []
    if "releases" not in case:  # the oracle knows one version of a journey
        assert interpreted(case) == got


def test_every_rule_has_cases_under_its_title() -> None:
    titles = re.findall(r"^\*\*(\d+)\. (.+?)\.\*\*", SEMANTICS.read_text(), re.MULTILINE)
    assert len(titles) == N_RULES
    assert {rule: file["title"] for rule, file in files().items()} == {int(n): title for n, title in titles}
    assert [rule for rule, file in files().items() if not file["cases"]] == []


def test_a_file_is_called_after_its_rule() -> None:
    names = {f"rule_{file['rule']:02}_{re.sub('[^a-z]+', '_', file['title'].lower())}" for file in files().values()}
    assert {path.stem for path in FOLDER.iterdir()} == names


def test_every_case_has_its_own_name_and_expects_something() -> None:
    expectations = {"visits", "entries", "sends", "holds", "fails", "refused", "notes"}
    for file in files().values():
        names = [case["case"] for case in file["cases"]]
        assert len(set(names)) == len(names)
        assert [case["case"] for case in file["cases"] if not expectations & case.keys()] == []
