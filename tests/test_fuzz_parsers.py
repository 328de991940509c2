"""Whatever comes from outside is a value or an error that speaks to whoever brought it, and that soon."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing, suppress
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from auditlog import SIGNER
from fuzzing import FIXTURES, PIECES, Parser, mutated, parsers, reads
from journeylab.cli import main
from journeylab.errors import JourneyLabError
from journeylab.jsontext import DEEPEST, data_of

PARSERS = {one.name: one for one in parsers()}
each = pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)
quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@each
def test_samples_are_read(parser: Parser, tmp_path: Path) -> None:
    """Else nothing beyond the first refusal would be looked at."""
    is_read = [not isinstance(reads(parser, one, tmp_path), str) for one in parser.samples]
    assert any(is_read) or parser.name in ("column map", "message", "options")


@each
@given(data=st.data())
@settings(max_examples=8, suppress_health_check=quiet)
def test_what_is_damaged_is_read_or_refused(parser: Parser, tmp_path: Path, data: st.DataObject) -> None:
    reads(parser, data.draw(mutated(parser.samples)), tmp_path)


@pytest.mark.nightly
@each
@given(data=st.data())
@settings(max_examples=2_000, suppress_health_check=quiet)
def test_whatever_is_damaged_is_read_or_refused(parser: Parser, tmp_path: Path, data: st.DataObject) -> None:
    reads(parser, data.draw(mutated(parser.samples)), tmp_path)


@pytest.mark.nightly
@each
def test_every_piece_in_every_place_is_read_or_refused(parser: Parser, tmp_path: Path) -> None:
    for sample in parser.samples[:2]:
        for piece in PIECES:
            for at in range(0, len(sample), max(1, len(sample) // 15)):
                reads(parser, sample[:at] + piece + sample[at:], tmp_path)


DEEP, DIGITS, HALF = b"[" * 5_000, b"9" * 5_000, rb'"\ud800"'
RECORD = json.loads(PARSERS["decision"].samples[0])
NOTE = PARSERS["checkpoint"].samples[0]
KEYS = json.loads(PARSERS["pseudonyms' keys"].samples[0])
TABLE = b"<table><tr><td>ada</td></tr></table>"


def record(**parts: Any) -> bytes:
    return json.dumps(RECORD | parts).encode()


def shown(html: str) -> bytes:
    return json.dumps({"cells": [{"outputs": [{"data": {"text/html": html}}]}]}).encode()


FOUND = {
    "journey.yaml": [
        b"%YAML 9.9\n---\njourney: a\n",
        b"journey: a\ntimezone: [x]\n", b"journey: a\nnodes: {a: {wait_until: {between: [[1], {a: b}]}}}\n",
        b"journey: a\nsplit: " + b"9" * 400 + b"\n", b"journey: " + DEEP, b"a: &a [*a, *a]\n", b"- " * 3_000,
        b"journey: a\nnodes: {a: {wait: " + b"9" * 30 + b"d, next: b}}\n",
    ],
    "journey.json": [DEEP, DIGITS, HALF, b'{"journey": ' + HALF + b"}"],
    "experiment": [b"# nothing", b"experiment: a\nsegments: " + b"[" * 700],
    "settings": [b"", b"sender: a\ninbox: {timezone: [x]}\n", b"sender: a\nattempts: " + b"9" * 400],
    "message": [b"message: {" * 400, b"# nothing\n", b"{{ " + b"(" * 3_000, b"{{ " + b"9" * 5_000],
    "duration": [b"9" * 60 + b"w", b"9" * 5_000 + b"d", b"99999999999d"],
    "options": [b"9" * 400, b"a=" + b"9" * 400, b"3/" + b"9" * 40 + b"d", b"\0"],
    "column map": [DEEP, DIGITS],
    "events.csv": [
        b"contact,event\r,x\nada,b\n", b"contact,\xff\xfe\nada,x\n", b"contact,event\nada,b,\xe2\x82,d\n",
        b"contact,event\nada,caf\xe9\n",
    ],
    "events.jsonl": [
        b"null", b"null null", b" null\n", b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
        b'{"a":\n' * 20_000 + b"}\n" * 20_000,
        b'{"contact": ' + HALF + b', "event": "x"}', b'{"contact": "\xf9", "event": "x"}', DEEP,
    ],
    "events.json": [
        b'[{"contact": "a", "event": "b", "n": ' + b"9" * 400 + b'}, {"contact": "a", "event": "b", "n": 1.5}]',
        b'[{"contact": ' + HALF + b"}]", DEEP,
    ],
    "send times.csv": [b"," * 100_000, b"contact,hour_of_week\n\xff,9\n", b"contact,hour_of_week\nada,1e999\n",
                       b"contact,hour_of_week\nada," + b"9" * 400 + b"\n"],
    "scores.csv": [b"a," * 50_000, b"contact,score\nada,nan\n", b"contact,score\n\"ada,0.5\n"],
    "checkpoint": [
        NOTE.replace(b"time 2026", b"time x"), NOTE.replace(b"\n3\n", b"\n" + DIGITS + b"\n"),
        NOTE.replace(b"\n3\n", "\n٣\n".encode()), NOTE[:-3] + b"=\n", NOTE.rstrip() + NOTE[NOTE.index("—".encode()) :],
        NOTE.replace(b"time 2026-03-02T09:00:00.000000Z", b"time 0001-01-01T00:00:00+23:00"),
    ],
    "proof": [DEEP, DIGITS, b'{"format": "journeylab audit proof 1", "checkpoint": "", "entries": [{}]}'],
    "public key": [b"shop+\xff+AQ==", "shop+é+é".encode(), b"\xff+00000000+AQ=="],
    "key ring": [DEEP, b'{"roots": "ab"}', b'{"roots": {"a": 1}}', b'{"roots": [' + DIGITS + b"]}"],
    "ledger's key": [DEEP, b"[]", b'{"ledger": ' + HALF + b"}"],
    "pseudonyms' keys": [
        DEEP, b'{"keys": [], "destroyed": {}}', json.dumps(KEYS | {"keys": {"x": {}}}).encode(),
        json.dumps(KEYS | {"keys": {'["r", "e"]': {"root": "ab", "expires_at": "2026-03-02"}}}).encode(),
        json.dumps(KEYS | {"destroyed": {"a": 1}}).encode(),
    ],
    "decision": [
        DEEP, DIGITS, record(experiment={"versions": "a"}), record(experiment=[]), record(checked={"ratio": True}),
        record(decided={"decided_at": 3}), record(decided={"decided_at": "x"}), record(found={"a": float("nan")}),
        record(decided={"arm": "\ud800"}),
    ],
    "declaration": [DEEP, DIGITS],
    "forecast": [DEEP, DIGITS, b'{"journeys": true}', b'{"journeys": 3}'],
    "notebook.ipynb": [
        DEEP, DIGITS, shown("<table><tr><td>x<table>y"), shown("<![x["), b'{"cells": {"a": 1}}', b'{"cells": [3]}',
    ],
    "notebook.html": [b'"session": ' + DEEP, b'"session": {"cells": 3}', b"<![ if x", b"<table><td>x<table>y" + TABLE],
    "draft": [
        b'{"journeys": {"": {}}, "names": {"": []}}', b'{"journeys": {"": {"timezone": ["x"]}}, "names": {}}',
        b'{"journeys": {"": {"journey": ' + HALF + b'}}, "names": {}}', b'{"journeys": {"": {}}, "names": 3}', DEEP,
    ],
    "receipt": [DEEP, DIGITS, b"{}", HALF],
    "erasures": [
        DEEP + b"\n", b'{"contact": ', b"[]\n", b'{"contact": 1, "stand_in": [], "erased_at": "x"}\n', b"\xff\n",
    ],
    "reply to a webhook": [DEEP, DIGITS, "²".encode(), b"9" * 5_000],
}  # fmt: skip
"""What one parser or another has fallen over."""


@pytest.mark.parametrize("name", FOUND)
def test_what_was_fallen_over_is_read_or_refused(name: str, tmp_path: Path) -> None:
    for data in FOUND[name]:
        reads(PARSERS[name], data, tmp_path)


def test_send_times_do_not_point_beyond_their_ends(tmp_path: Path) -> None:
    """Whoever writes a file can compute its version: what is compiled would read memory that is not the table's."""
    from journeylab.sendtimes import SendTimes

    good = SendTimes.read(_written(tmp_path, PARSERS["send times.parquet"].samples[0]))
    bad = [("profile", [0, 2_000_000]), ("profile", [0, -1]), ("profile", [0, -5]), ("level", [0, 99]), ("fallback", 7)]
    for name, value in bad:
        made = copy(good)  # as its own maker would not make it
        object.__setattr__(made, name, value if isinstance(value, int) else np.array(value, getattr(good, name).dtype))
        vars(made).pop("version", None)
        made.write(tmp_path / "bad.parquet")
        with pytest.raises(JourneyLabError, match=r"none of send times|is a row of scores"):
            SendTimes.read(tmp_path / "bad.parquet")


def test_what_arrow_knows_and_cannot_do_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole numbers of 128 bits, which a few changed bytes make of those of 64."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise pa.ArrowNotImplementedError("Integers with more than 64 bits not implemented")

    for name in ("read_schema", "read_table"):
        with monkeypatch.context() as patched:
            patched.setattr(pq, name, refuse)
            said = reads(PARSERS["send times.parquet"], PARSERS["send times.parquet"].samples[0], tmp_path)
            assert "more than 64 bits" in said


def _written(folder: Path, data: bytes) -> Path:
    path = folder / "given.parquet"
    path.write_bytes(data)
    return path


# The guards, and what happens without


BOMBS = ("[" * 5_000, '{"a":' * 5_000, "9" * 5_000)


@pytest.mark.parametrize("text", BOMBS, ids=("lists", "objects", "digits"))
def test_python_s_reader_of_json_falls_over_what_ours_refuses(text: str) -> None:
    with pytest.raises((RecursionError, ValueError)) as found:
        json.loads(text)
    assert not isinstance(found.value, json.JSONDecodeError)
    with pytest.raises(ValueError, match=r"nested more than|more than 4,300 digits|Expecting"):
        data_of(text)


@pytest.mark.parametrize("text", ["NaN", "[-Infinity]", "1e999", '"\\ud800"', "[" * 102 + "]" * 102, '"\udcff"'])
def test_what_no_database_and_no_other_reader_takes_is_refused(text: str) -> None:
    json.loads(text)  # which Python takes
    with pytest.raises(ValueError, match=r"it has|it is nested|is no JSON"):
        data_of(text)


@settings(max_examples=40)
@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(), lambda one: st.lists(one)
                    | st.dictionaries(st.text(), one), max_leaves=20), st.booleans())  # fmt: skip
def test_whatever_is_json_is_read_as_it_is(data: Any, is_ascii: bool) -> None:
    assert data_of(json.dumps(data, ensure_ascii=is_ascii)) == data
    assert data_of(json.dumps(data, ensure_ascii=is_ascii).encode()) == data


def test_the_deepest_that_is_taken() -> None:
    assert data_of("[" * DEEPEST + "]" * DEEPEST) is not None


def test_brackets_cost_a_reader_of_yaml_the_square_and_us_nothing(tmp_path: Path) -> None:
    text = "a: " + "[" * 900

    def seconds(read: Any) -> float:
        begun = time.thread_time()
        with pytest.raises((YAMLError, RecursionError)):
            read()
        return time.thread_time() - begun

    parser = PARSERS["settings"]
    unguarded = seconds(lambda: [*YAML(typ="rt", pure=True).compose_all(text)])
    begun = time.thread_time()
    assert "nested too deeply" in reads(parser, text.encode(), tmp_path)
    assert time.thread_time() - begun < unguarded / 5


# The command line


JOURNEY = str(FIXTURES / "journeys" / "trial_welcome.yaml")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["check", "FILE"], "journey.yaml"), (["draw", "FILE"], "journey.json"),
        (["replay", JOURNEY, "--events", "FILE"], "events.csv"),
        (["replay", JOURNEY, "--events", "FILE"], "events.jsonl"),
        (["audit", "verify-proof", "FILE", "--key", str(SIGNER.key)], "proof"),
        (["experiment", "plan", "FILE", "--events", "FILE"], "experiment"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)  # fmt: skip
def test_the_command_line_has_a_sentence_and_no_traceback(
    arguments: list[str], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suffix = name.partition(".")[2] or {"proof": "json", "experiment": "yaml"}[name]
    for number, data in enumerate(FOUND[name]):
        path = tmp_path / f"given{number}.{suffix}"
        path.write_bytes(data)
        with pytest.raises(SystemExit) as ended:
            main([str(path) if one == "FILE" else one for one in arguments])
        said = f"{ended.value.code}{capsys.readouterr()}"
        assert ended.value.code not in (0, None)
        assert "Traceback" not in said
        assert str(path.name) in said


@pytest.mark.parametrize("noted", [b"", b"{}", b'{"columns": [{}]}', b'{"columns": 3}', DEEP, b"\xff"])
@pytest.mark.parametrize("name", ["scores.parquet", "send times.parquet", "events.parquet"])
def test_what_pandas_has_noted_in_a_file_does_not_count(name: str, noted: bytes, tmp_path: Path) -> None:
    columns = {"scores": {"contact": ["ada"], "score": [0.5]}, "send times": {"contact": ["ada"], "hour_of_week": [9]},
               "events": {"contact": ["ada"], "event": ["visit"]}}[name.partition(".")[0]]  # fmt: skip
    pq.write_table(pa.table(columns).replace_schema_metadata({b"pandas": noted}), tmp_path / "noted.parquet")
    assert reads(PARSERS[name], (tmp_path / "noted.parquet").read_bytes(), tmp_path) is None


def test_a_ledger_whose_schema_is_no_text_is_refused(tmp_path: Path) -> None:
    good = PARSERS["ledger"].samples[0]
    at = good.index(b"create table") if b"create table" in good else good.index(b"CREATE TABLE")
    for place in range(at, at + 60, 3):
        reads(PARSERS["ledger"], good[:place] + b"\xa0" + good[place + 1 :], tmp_path)


@pytest.mark.parametrize("sealed", [None, "text", b"", b"short", bytes(40), 3])
def test_a_ledger_in_which_somebody_has_written_is_refused(sealed: Any, tmp_path: Path) -> None:
    parser, path = PARSERS["ledger"], tmp_path / "changed"
    for table in ("about", "shown"):
        path.write_bytes(parser.samples[0])
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("pragma ignore_check_constraints = on")
            connection.execute("pragma writable_schema = on")
            connection.execute("update sqlite_master set sql = replace(sql, 'not null', '') where type = 'table'")
            connection.commit()
        with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.DatabaseError):
            connection.execute(f"update {table} set sealed = ?", (sealed,))
            connection.commit()
            assert "the ledger" in reads(parser, path.read_bytes(), tmp_path)
