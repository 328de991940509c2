"""Exports that come in parts: whatever overlaps, in whatever order and however often, the log is the same."""

from __future__ import annotations

import codecs
import gzip
import json
import zipfile
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeylab.cli import main
from journeylab.errors import DataError
from journeylab.importers.events import import_events
from journeylab.importers.events.adapter import Clock
from journeylab.importers.events.clocks import instants_by
from journeylab.importers.events.logfile import Log, People
from journeylab.rejects import Rejects

EXPORTS = Path(__file__).parent / "exports"
LINES = ("braze", "dittofeed", "segment", "ga4")
TABLES = ("salesforce", "mautic")
_number = count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts")


def _pieces(system: str) -> list[tuple[str, str, str]]:
    """The rows of all files of an export: the file, what stands above its rows, and the row."""
    found = []
    for path in sorted((EXPORTS / system).iterdir()):
        lines = path.read_text().splitlines(keepends=True)
        head = lines.pop(0) if path.suffix == ".csv" else ""
        found += [(path.name, head, line) for line in lines]
    return found


def _written(folder: Path, pieces: list[tuple[str, str, str]]) -> Path:
    """A folder with the files that some rows make."""
    made = folder / str(next(_number))
    made.mkdir()
    bodies: dict[str, str] = {}
    for name, head, line in pieces:
        bodies[name] = bodies.get(name, head) + line
    for name, body in bodies.items():
        (made / name).write_text(body)
    return made


@pytest.mark.parametrize("system", ["salesforce", "mautic", "segment"])
@settings(max_examples=2)
@given(data=st.data())
def test_any_parts_in_any_order_give_the_log_of_the_whole(folder, system, data):
    _parts_give_the_whole(folder, system, data)


@pytest.mark.nightly
@pytest.mark.parametrize("system", [*LINES, *TABLES])
@settings(max_examples=100)
@given(data=st.data())
def test_any_parts_of_all_exports_give_the_log_of_the_whole(folder, system, data):
    _parts_give_the_whole(folder, system, data)


def _parts_give_the_whole(folder: Path, system: str, data: st.DataObject) -> None:
    pieces = _pieces(system)
    whole = import_events(system, EXPORTS / system)
    n_parts = data.draw(st.integers(2, 4))
    in_parts = data.draw(
        st.lists(st.sets(st.integers(0, n_parts - 1), min_size=1), min_size=len(pieces), max_size=len(pieces))
    )
    shuffled = data.draw(st.permutations(range(len(pieces))))
    log, contacts = folder / f"{next(_number)}.parquet", folder / f"{next(_number)}.parquet"
    n_new = 0
    for part in range(n_parts):
        mine = [pieces[i] for i in shuffled if part in in_parts[i]]
        if mine:
            n_new += import_events(system, _written(folder, mine), log, contacts=contacts).n_new
    got = Log.read(log)
    assert got.events.equals(whole.events)
    assert n_new == len(whole.events)
    if whole.contacts is not None:
        people = People.read(contacts).table
        assert people.select(whole.contacts.column_names).equals(whole.contacts)


_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False),
    st.text(alphabet="aż 1.", max_size=4), st.lists(st.integers(0, 3), max_size=2),
)  # fmt: skip


@settings(max_examples=8)
@given(data=st.data())
def test_values_of_any_kinds_give_the_same_columns_in_whatever_parts(data):
    rows = [
        {"contact": f"c{data.draw(st.integers(0, 3))}", "event": data.draw(st.sampled_from(["sent", "opened", "buy"])),
         "occurred_at": datetime(2026, 3, 1, 9, data.draw(st.integers(0, 2)), tzinfo=UTC).isoformat(), "id": i,
         **data.draw(st.dictionaries(st.sampled_from(["amount", "plan", "value", "Is Gold"]), _VALUES))}
        for i in range(data.draw(st.integers(1, 8)))
    ]  # fmt: skip
    whole = import_events("warehouse", [rows]).events
    log = Log.empty()
    for i in data.draw(st.permutations(range(len(rows)))):
        part = import_events("warehouse", [[rows[i], *data.draw(st.lists(st.sampled_from(rows), max_size=2))]])
        log, _ = log.with_rows(part.events, {}, {})
    assert log.events.equals(whole)


def test_importing_twice_changes_not_a_byte(tmp_path):
    log, contacts = tmp_path / "log.parquet", tmp_path / "contacts.parquet"
    first = import_events("salesforce", EXPORTS / "salesforce", log, contacts=contacts)
    before = log.read_bytes(), contacts.read_bytes(), log.stat().st_mtime_ns
    again = import_events("salesforce", EXPORTS / "salesforce", log, contacts=contacts)
    assert (log.read_bytes(), contacts.read_bytes(), log.stat().st_mtime_ns) == before
    assert (first.n_new, first.n_repeated, again.n_new, again.n_repeated) == (20, 0, 0, 20)
    assert (again.n_changed, again.by_event["n_new"].sum()) == (0, 0)


def test_a_name_of_a_message_that_comes_later_is_put_in(tmp_path):
    log = tmp_path / "log.parquet"
    import_events("salesforce", EXPORTS / "salesforce" / "Sent.csv", log)
    assert set(pd.read_parquet(log)["message"]) == {"901", "902"}
    import_events("salesforce", EXPORTS / "salesforce" / "SendJobs.csv", log)
    assert set(pd.read_parquet(log)["message"]) == {"Welcome 1", "902"}


def test_a_row_that_comes_with_other_values_is_counted_and_the_first_is_kept(tmp_path):
    log = tmp_path / "log.parquet"
    row = {"contact": "ada", "event": "buy", "occurred_at": "2026-03-01T09:00:00Z", "id": 1, "amount": 3}
    import_events("warehouse", [row], log)
    got = import_events("warehouse", [row | {"amount": 4}, row], log)
    assert (got.n_new, got.n_repeated, got.n_changed) == (0, 2, 1)
    assert got.events["amount"].to_pylist() == [3.0]


def test_two_instances_of_a_system_are_kept_apart_by_name(tmp_path):
    log = tmp_path / "log.parquet"
    import_events("mautic", EXPORTS / "mautic" / "email_stats.csv", log, name="poland")
    both = import_events("mautic", EXPORTS / "mautic" / "email_stats.csv", log, name="germany")
    assert both.n_new == 3
    assert {one.partition("/")[0] for one in both.events["source_id"].to_pylist()} == {"poland", "germany"}
    with pytest.raises(DataError, match="begins every id"):
        import_events("mautic", EXPORTS / "mautic", name="a/b")


def test_of_a_contact_the_latest_row_counts_and_what_it_does_not_have_is_kept(tmp_path):
    path = tmp_path / "contacts.parquet"
    rows = [
        {"contact": "ada", "modified_at": "2026-03-02T00:00:00Z", "plan": "pro", "city": None},
        {"contact": "ada", "modified_at": "2026-03-01T00:00:00Z", "plan": "trial", "city": "Lublin"},
    ]
    for order in (rows, rows[::-1]):
        path.unlink(missing_ok=True)
        for row in order:
            got = import_events("warehouse", {"contacts": [row]}, contacts=path)
        kept = got.contacts.to_pylist()
        assert [(one["plan"], one.get("city")) for one in kept] == [("pro", None)]
    got = import_events(
        "warehouse", {"contacts": [{"contact": "ada", "modified_at": "2026-03-05T00:00:00Z", "age": 31}]}, contacts=path
    )
    assert got.contacts.to_pylist()[0]["plan"] == "pro"
    assert got.contacts.to_pylist()[0]["age"] == 31


# Files


def _sent(encode, delimiter: str = ",") -> bytes:
    lines = (EXPORTS / "salesforce" / "Sent.csv").read_text().replace(",", delimiter)
    return encode(lines)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("Sent.csv", _sent(lambda text: text.encode("utf-16-le"))),
        ("Sent.csv", _sent(lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"))),
        ("Sent.csv", _sent(lambda text: text.encode("utf-16-be"))),
        ("Sent.csv", _sent(lambda text: text.encode("utf-8-sig"))),
        ("Sent.tab", _sent(str.encode, "\t")),
        ("Sent.txt", _sent(str.encode, "|")),
        ("Sent.csv.gz", gzip.compress(_sent(str.encode))),
        ("Sent.csv", _sent(lambda text: text.replace("\n", "\r\n").encode())),
    ],
)
def test_extracts_in_any_encoding_and_with_any_separator(tmp_path, name, body):
    file = tmp_path / name
    file.write_bytes(body)
    assert import_events("salesforce", file).events.equals(
        import_events("salesforce", EXPORTS / "salesforce" / "Sent.csv").events
    )


def test_an_archive_is_all_that_is_in_it(tmp_path):
    archive = tmp_path / "extract.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted((EXPORTS / "salesforce").iterdir()):
            file.writestr(path.name, path.read_text().encode("utf-16-le"))
    whole = import_events("salesforce", EXPORTS / "salesforce")
    assert import_events("salesforce", archive).events.equals(whole.events)


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path):
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("Sent.csv", b"0" * (1 << 25))
    with pytest.raises(DataError, match="unpacks to more than"):
        import_events("salesforce", archive)
    archive.write_bytes(b"PK\x03\x04 no")
    with pytest.raises(DataError, match="cannot be read as a zip archive"):
        import_events("salesforce", archive)


def test_parquet_frames_and_json_documents_say_the_same(tmp_path):
    rows = [json.loads(line) for line in (EXPORTS / "ga4" / "events.jsonl").read_text().splitlines()]
    whole = import_events("ga4", EXPORTS / "ga4").events
    names = {name: None for row in rows for name in row}
    pq.write_table(pa.Table.from_pylist([names | row for row in rows]), tmp_path / "events.parquet")
    (tmp_path / "events.json").write_text(json.dumps(rows))
    assert import_events("ga4", tmp_path / "events.parquet").events.equals(whole)
    assert import_events("ga4", tmp_path / "events.json").events.equals(whole)
    assert import_events("ga4", rows).events.equals(whole)
    flat = pd.DataFrame(
        {"contact": ["ada"], "event": ["x"], "occurred_at": [pd.Timestamp("2026-03-01", tz="UTC")], "id": [1]}
    )
    assert import_events("warehouse", flat).n_new == 1


@pytest.mark.parametrize("name", ["a.avro", "a.xlsx", "a"])
def test_what_is_not_read_is_said(tmp_path, name):
    file = tmp_path / name
    file.write_bytes(b"x")
    with pytest.raises(DataError, match=r"Avro is not read|the ending does not say"):
        import_events("braze", file)


# Clocks

SFMC, ISO = Clock("text", "Etc/GMT+6", ""), Clock("text", None, "")


@pytest.mark.parametrize(
    ("clock", "values", "zone", "expected"),
    [
        (SFMC, ["7/4/2026 11:59:59 PM", "1/4/2026 12:00:00 AM"], None, ["2026-07-05T05:59:59", "2026-01-04T06:00:00"]),
        (SFMC, ["7/4/2026 11:59:59 PM"], "America/Chicago", ["2026-07-05T04:59:59"]),
        (ISO, ["2026-03-29 02:30:00"], "Europe/Warsaw", ["2026-03-29T01:00:00"]),
        (ISO, ["2026-10-25 02:30:00"], "Europe/Warsaw", ["2026-10-25T00:30:00"]),
        (ISO, ["2026-03-29T02:30:00+02:00"], None, ["2026-03-29T00:30:00"]),
        (ISO, ["2026-03-29T02:30:00.5Z"], "Europe/Warsaw", ["2026-03-29T02:30:00.500000"]),
        (Clock("ms", None, ""), [1772355600123, 0], None, ["2026-03-01T09:00:00.123000", "1970-01-01T00:00:00"]),
        (Clock("ms", None, ""), ["1772355600123"], None, ["2026-03-01T09:00:00.123000"]),
        (Clock("s", None, ""), ["1772355600.25", "0"], None, ["2026-03-01T09:00:00.250000", "1970-01-01T00:00:00"]),
        (Clock("s", None, ""), [1772355600.25], None, ["2026-03-01T09:00:00.250000"]),
        (Clock("us", None, ""), ["1772355600123456"], None, ["2026-03-01T09:00:00.123456"]),
        (Clock("us", None, ""), [datetime(2026, 3, 1, 9, tzinfo=UTC)], None, ["2026-03-01T09:00:00"]),
    ],
)  # fmt: skip
def test_clocks(clock, values, zone, expected):
    rejects = Rejects("a file")
    found = instants_by(clock, pa.chunked_array([values]), "at", zone, rejects)
    assert not rejects
    assert [at.replace(tzinfo=None).isoformat() for at in found.cast(pa.timestamp("us", "UTC")).to_pylist()] == expected


@given(st.integers(86_400, 7_000_000_000))
def test_every_way_of_writing_an_instant_says_the_same(seconds):
    at = datetime.fromtimestamp(seconds, UTC)
    american = f"{at.month}/{at.day}/{at.year} {at.hour % 12 or 12}:{at:%M:%S} {'AM' if at.hour < 12 else 'PM'}"
    written = {
        "s": [str(seconds)], "ms": [str(seconds * 1000)], "us": [str(seconds * 10**6)],
        "text": [at.isoformat(), american, f"{at:%Y-%m-%d %H:%M:%S}"],
    }  # fmt: skip
    for form, texts in written.items():
        rejects = Rejects("a file")
        found = instants_by(Clock(form, "UTC", ""), pa.chunked_array([texts]), "at", None, rejects)
        assert found.to_pylist() == [seconds * 10**6] * len(texts)


# The log


def test_only_logs_of_imports_are_added_to(tmp_path):
    log = tmp_path / "mine.parquet"
    pd.DataFrame({"contact": ["ada"]}).to_parquet(log)
    before = log.read_bytes()
    with pytest.raises(DataError, match="holds no log that an import has written"):
        import_events("mautic", EXPORTS / "mautic", log)
    assert log.read_bytes() == before
    table = pa.table({"contact": ["ada"]}).replace_schema_metadata(
        {b"journeylab.import": b'{"format": 1, "what": "log"}'}
    )
    pq.write_table(table, log)
    with pytest.raises(DataError, match="holds no log that an import has written"):
        import_events("mautic", EXPORTS / "mautic", log)
    log.write_bytes(b"x")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        import_events("mautic", EXPORTS / "mautic", log)
    with pytest.raises(DataError, match=r"does not end in \.parquet"):
        import_events("mautic", EXPORTS / "mautic", tmp_path / "log.csv")
    import_events("mautic", EXPORTS / "mautic", tmp_path / "log.parquet")
    with pytest.raises(DataError, match="holds no contacts that an import has written"):
        import_events("mautic", EXPORTS / "mautic", contacts=tmp_path / "log.parquet")


def test_a_log_is_replaced_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    log = tmp_path / "log.parquet"
    import_events("mautic", EXPORTS / "mautic" / "email_stats.csv", log)
    before = log.read_bytes()

    def interrupted(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(DataError, match="cannot be written: No space left"):
        import_events("mautic", EXPORTS / "mautic", log)
    monkeypatch.undo()
    assert log.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["log.parquet"]


def test_whoever_else_writes_the_log_meanwhile_is_not_written_over(tmp_path):
    path = tmp_path / "log.parquet"
    import_events("mautic", EXPORTS / "mautic" / "email_stats.csv", path)
    mine = Log.read(path)
    import_events("mautic", EXPORTS / "mautic" / "page_hits.csv", path)
    with pytest.raises(DataError, match="was written by somebody else meanwhile; import again"):
        mine.write(path)
    assert Log.read(path).events.num_rows == 5


# The command


@pytest.fixture
def run(capsys):
    def run(*arguments: str, status: int = 0) -> str:
        with pytest.raises(SystemExit) as exit_info:
            main(arguments)
        out, err = capsys.readouterr()
        code = exit_info.value.code or 0
        assert (code if isinstance(code, int) else 1) == status, (code, err)
        return out if status == 0 else str(exit_info.value.code)

    return run


def test_the_command_says_what_came_and_what_became_of_it(run, tmp_path):
    log = str(tmp_path / "events.parquet")
    out = run("events", "import", "salesforce", str(EXPORTS / "salesforce"), "--log", log)
    assert out.startswith("29 rows: 20 new, 0 repeated, 0 set aside\n")
    assert "left out, 1 row of NotSent: what was never sent leaves no trace at a contact" in out
    assert "where they say no zone in Etc/GMT+6: Central Standard Time without daylight saving (UTC-6)" in out
    assert "  sent                  3    3  2026-03-01 08:00  2026-07-05 05:59" in out
    assert "5 contacts came and were not kept; --contacts FILE.parquet keeps them" in out
    said = json.loads(run("events", "import", "salesforce", str(EXPORTS / "salesforce"), "--log", log, "--json"))
    assert (said["n_new"], said["n_repeated"], said["n_events"], said["n_contacts"]) == (0, 20, 20, 5)


def test_bad_rows_are_an_error_or_set_aside_into_a_file(run, tmp_path):
    file, log, aside = tmp_path / "Sent.csv", tmp_path / "events.parquet", tmp_path / "aside.csv"
    file.write_text((EXPORTS / "salesforce" / "Sent.csv").read_text().replace("3/1/2026 2:00:01 AM", "yesterday"))
    said = run("events", "import", "salesforce", str(file), "--log", str(log), status=1)
    assert "line 3, column EventDate: 'yesterday' is no time in ISO 8601" in said
    assert "set bad rows aside with --rejects OUT.csv" in said
    assert not log.exists()
    out = run("events", "import", "salesforce", str(file), "--log", str(log), "--rejects", str(aside))
    assert out.startswith(f"3 rows: 2 new, 0 repeated, 1 set aside ({aside})")
    assert pd.read_csv(aside)[["row", "column", "value"]].values.tolist() == [[3, "EventDate", "yesterday"]]


def test_the_command_shows_the_maps(run):
    assert "Salesforce (Marketing Cloud and CRM)   Sent, Opens" in run("events", "systems")
    assert "`filteredEvent`" in run("events", "systems", "hubspot")
    assert {one["system"] for one in json.loads(run("events", "systems", "--json"))} >= {"hubspot", "warehouse"}
    assert "did you mean 'mautic'" in run("events", "systems", "mautik", status=1)


@pytest.mark.parametrize("command", ["events import", "events systems"])
def test_commands_have_examples(run, command):
    assert f"\n    journeylab {command}" in run(*command.split(), "--help").partition("Examples:")[2]
