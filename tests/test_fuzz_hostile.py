"""Files that are made to run code, to fill the memory or to take for ever, and the messages of a browser."""

from __future__ import annotations

import ast
import gzip
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from traitlets import TraitError

import journeylab
from fuzzing import PIECES, Parser, parsers, reads
from journeylab.errors import DataError
from journeylab.eventlog import EventLog
from journeylab.explorers import SegmentExplorer
from journeylab.sender.live import drops
from journeylab.sender.live.drops import open_table
from journeylab.sender.store import Store
from sendworld import make_settings
from stores import KEYS

PARSERS = {one.name: one for one in parsers()}

# Nothing that is read runs


RUNS_CODE = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
RUNNERS = {"eval", "exec", "__import__", "os.system", "os.popen", "pd.read_pickle", "yaml.load", "yaml.unsafe_load"}


def test_nothing_imports_or_calls_what_runs_what_it_reads() -> None:
    for path in sorted(Path(journeylab.__file__).parent.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if not re.search(
            r"pickle|joblib|marshal|shelve|\beval\(|\bexec\(|__import__|popen|shell|yaml\.|np\.load", text
        ):
            continue
        for node in ast.walk(ast.parse(text)):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {one.partition(".")[0] for one in names} & RUNS_CODE, path
            if isinstance(node, ast.Call):
                name, given = ast.unparse(node.func), {one.arg: ast.unparse(one.value) for one in node.keywords}
                assert name not in RUNNERS, path
                assert "shell" not in given, path
                assert name != "np.load" or given.get("allow_pickle") == "False", path


class Payload:
    """Makes a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def hostile(folder: Path) -> dict[str, bytes]:
    """Files that run code in readers that let them: pickles, and types of Arrow that are pickled in the schema."""
    payload = pickle.dumps(Payload(folder / "ran"))
    meta = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": payload}
    field = pa.field("contact", pa.string(), metadata=meta)
    schema = pa.schema([field, pa.field("event", pa.string()), pa.field("hour_of_week", pa.int64())])
    table = pa.table([["ada"], ["visit"], [9]], schema=schema)
    arrow, parquet = pa.BufferOutputStream(), pa.BufferOutputStream()
    pa.feather.write_feather(table, arrow)
    pa.parquet.write_table(table.replace_schema_metadata({b"pandas": payload, b"sendtimes": payload}), parquet)
    yaml = b"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [ran]]\n"
    return {
        "pickle": payload, "npy": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
        + payload, "arrow": arrow.getvalue().to_pybytes(), "parquet": parquet.getvalue().to_pybytes(), "yaml": yaml,
        "template": b"{{ ''.__class__.__mro__[1].__subclasses__() }}", "entity": b'<!DOCTYPE a [<!ENTITY b "c">]>&b;',
    }  # fmt: skip


@pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)
def test_no_parser_runs_what_it_reads(parser: Parser, tmp_path: Path) -> None:
    for data in hostile(tmp_path).values():
        reads(parser, data, tmp_path)
        assert not (tmp_path / "ran").exists()


def test_with_a_reader_that_runs_it_the_payload_does_run(tmp_path: Path) -> None:
    """Else the test before would prove nothing."""
    (tmp_path / "model.pkl").write_bytes(hostile(tmp_path)["pickle"])
    pd.read_pickle(tmp_path / "model.pkl")
    assert (tmp_path / "ran").exists()


# Little that stands for much


def bombs(folder: Path, n: int) -> dict[str, Path]:
    """Files of some kilobytes that stand for n rows of a kilobyte."""
    row = b"ada,visit," + b"a" * 1_000 + b"\n"
    paths = {one: folder / f"bomb.{one}" for one in ("csv.gz", "jsonl.gz", "parquet")}
    paths["csv.gz"].write_bytes(gzip.compress(b"contact,event,page\n" + row * n))
    line = b'{"contact": "ada", "event": "visit", "page": "' + b"a" * 1_000 + b'"}\n'
    paths["jsonl.gz"].write_bytes(gzip.compress(line * n))
    table = pa.table(
        {"contact": ["ada"] * n, "event": ["visit"] * n, "page": [f"{i % 9}" + "a" * 1_000 for i in range(n)]}
    )
    pa.parquet.write_table(table, paths["parquet"], compression="zstd", use_dictionary=False)
    return paths


@pytest.mark.parametrize("kind", ["csv.gz", "jsonl.gz", "parquet"])
def test_a_file_that_unpacks_to_more_than_it_may_is_refused_unread(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bombs(tmp_path, 20_000)[kind]
    assert path.stat().st_size < 600_000
    before = pa.total_allocated_bytes()
    table = open_table(path)
    assert len(table.read(["page"])) == 20_000  # with the limit as it is, which stands for 20 MB
    assert pa.total_allocated_bytes() - before >= 0
    monkeypatch.setattr(drops, "MOST_BYTES", 8 * 2**20)
    with pytest.raises(DataError, match="has more than 8 MB, unpacked; send it in parts"):
        open_table(path)


@pytest.mark.nightly
def test_reading_what_is_bounded_needs_no_more_memory_than_that() -> None:
    """A hundred megabytes from half a megabyte, under a limit of the whole process; without the bound it is reached."""
    code = (
        "import gzip, resource, sys, tempfile, pathlib\n"
        "from journeylab.sender.live import drops\n"
        "import pyarrow.csv, journeylab.eventlog\n"
        "path = pathlib.Path(tempfile.mkdtemp()) / 'bomb.csv.gz'\n"
        "row = b'ada,visit,' + b'a' * 1000 + b'\\n'\n"
        "with gzip.open(path, 'wb') as file:\n"
        "    file.write(b'contact,event,page\\n')\n"
        "    for _ in range(300): file.write(row * 1000)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "if sys.argv[1] == 'on': drops.MOST_BYTES = 10 * 2**20\n"
        "try: drops.open_table(path)\n"
        "except Exception as problem: print(type(problem).__name__)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    grown = {}
    for guard in ("on", "off"):
        said = subprocess.run([sys.executable, "-c", code, guard], capture_output=True, text=True, check=True).stdout
        grown[guard] = int(said.split()[-1])
        assert ("DataError" in said) == (guard == "on")
    assert grown["on"] < 60 < 200 < grown["off"]


def test_aliases_of_aliases_are_refused_before_they_are_written_out(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ("journey.yaml", "settings", "experiment", "message"):
        said = reads(PARSERS[name], (f"{name}: a\n" + "\n".join(lines)).encode(), tmp_path)
        assert "anchors and aliases are not used" in said, name
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_columns_in_masses_are_refused_or_read_in_time(tmp_path: Path) -> None:
    reads(PARSERS["events.csv"], b"contact,event," + b",".join(b"a%d" % i for i in range(20_000)) + b"\n", tmp_path)
    reads(PARSERS["events.csv"], b"," * 60_000, tmp_path)


# What a browser sends to an explorer


@pytest.fixture(scope="module")
def explorer() -> SegmentExplorer:
    start = datetime(2026, 3, 2, 9, tzinfo=UTC)
    rows = [
        {"contact": f"c{i}", "event": event, "occurred_at": start + timedelta(days=3 * i)}
        for i in range(12)
        for event in ("signup", "visit")
    ]
    return SegmentExplorer(EventLog.from_rows(rows))


NAMES = ["segment", "segments", "as_of", "kept", "condition", "where", "chosen", "nothing"]
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from([one.decode("utf-8", "replace")[:50] for one in PIECES]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_browser_asks_an_explorer_is_answered(explorer: SegmentExplorer, data: st.DataObject) -> None:
    names = st.sampled_from(NAMES)
    asked = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "n": plain, "values": st.dictionaries(names, plain, max_size=3) | plain,
                "language": st.sampled_from(["en", "pl", "xx"]) | plain, "page": plain,
            },
        )
    )  # fmt: skip
    before = explorer.finding, explorer.language, explorer.values
    forged = {name: data.draw(plain) for name in ("values", "language", "view", "answer", "page")}
    try:
        explorer.set_state({"asked": asked} | forged)
    except TraitError:  # as traitlets tells whoever sets what is of another kind
        assert not isinstance(asked, dict)
    assert explorer.view != forged["view"]
    assert explorer.language in ("en", "pl")
    assert explorer.finding
    if not isinstance(asked.get("values"), dict):
        assert (explorer.finding, explorer.language, explorer.values) == before


# A file that ends the process which reads it


READING = """
import sys
from pathlib import Path
from journeylab.sender.live import drops
from journeylab.sender.store import Store
sys.path.insert(0, {tests!r})
from liverun import SETTINGS
from stores import KEYS
inbox = SETTINGS.inbox.model_copy(update={{"folder": "inbox"}})
settings = SETTINGS.model_copy(update={{"inbox": inbox, "folder": Path({folder!r})}})
if sys.argv[1] == "crash":
    import os, signal
    drops._read = lambda *_: os.kill(os.getpid(), signal.SIGSEGV)  # as a fault in a reader that is no Python
store = Store.open("sqlite:///" + {folder!r} + "/sender.db", KEYS, create=True)
print(drops.take_files(store, settings))
"""


@pytest.mark.parametrize("is_guarded", [True, False])
def test_a_file_that_was_begun_five_times_is_put_aside_and_without_the_guard_begun_again(
    is_guarded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = tmp_path / "inbox" / "events"
    events.mkdir(parents=True)
    (events / "poison.csv").write_text("contact,event\nada,visit\n")
    os.utime(events / "poison.csv", (1, 1))
    (events / ".poison.csv.begun").write_text("." * drops._MOST_BEGUN)
    if not is_guarded:
        monkeypatch.setattr(drops, "_MOST_BEGUN", 10**6)
    store = Store.open(f"sqlite:///{tmp_path}/sender.db", KEYS, create=True)
    sender = make_settings(tmp_path, inbox={"folder": "inbox"})
    assert drops.take_files(store, sender) == 1
    store.close()
    assert (events / "refused" / "poison.csv").exists() == is_guarded
    assert (events / "taken" / "poison.csv").exists() != is_guarded
    assert not (events / ".poison.csv.begun").exists()


@pytest.mark.nightly
@pytest.mark.parametrize("is_guarded", [True, False])
def test_a_file_at_which_the_process_ends_is_put_aside(
    is_guarded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the guard the sender would be started, read it and end again, for ever."""
    events = tmp_path / "inbox" / "events"
    events.mkdir(parents=True)
    (events / "poison.csv").write_text("contact,event\nada,visit\n")
    os.utime(events / "poison.csv", (1, 1))
    code = READING.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    if not is_guarded:
        code = code.replace("print(", "drops._MOST_BEGUN = 10**6\nprint(")
    assert subprocess.run([sys.executable, "-c", code, "crash"], check=False).returncode == -signal.SIGSEGV
    assert (events / ".poison.csv.begun").read_text() == "."
    (events / ".poison.csv.begun").write_text("." * drops._MOST_BEGUN)  # as after four more
    ended = subprocess.run([sys.executable, "-c", code, "crash"], check=False, capture_output=True, text=True)
    assert (ended.returncode == 0) == is_guarded, ended.stderr
    assert (events / "refused" / "poison.csv").exists() == is_guarded


def test_a_note_of_an_erasure_that_a_crash_left_half_written_is_none_and_joins_nothing(tmp_path: Path) -> None:
    from journeylab.sender.persons import erasure

    sender = make_settings(tmp_path, state=".")
    at = datetime(2026, 3, 2, 9, tzinfo=UTC)
    for contact in ("ada", "ben"):
        erasure._note(sender, KEYS, contact, f"gone-{contact}", at, [])
    with (tmp_path / "erasures.jsonl").open("ab") as file:
        file.write(b'{"contact": "ab", "stand')
    assert [one["stand_in"] for one in erasure._noted(sender)] == ["gone-ada", "gone-ben"]
    erasure._note(sender, KEYS, "cyd", "gone-cyd", at, [])
    assert [one["stand_in"] for one in erasure._noted(sender)] == ["gone-ada", "gone-ben", "gone-cyd"]
    whole = (tmp_path / "erasures.jsonl").read_bytes()
    (tmp_path / "erasures.jsonl").write_bytes(whole.replace(b"gone-ben", b'gone-b"n'))
    with pytest.raises(DataError, match=r"erasures.jsonl:2: no note of an erasure"):
        [*erasure._noted(sender)]
