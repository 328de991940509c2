"""Rows under pseudonyms, and notebooks that were saved with what they showed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from journeylab.disclosure import (
    Grant,
    Ledger,
    LedgerKey,
    PseudonymKeys,
    cells,
    check_notebook,
    disclose,
    pseudonymised,
)
from journeylab.errors import DataError

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
DAY = timedelta(days=1)
GRANT = Grant("ewa", "report.pseudonymised_rows", "complaints", NOW + DAY)
ADDRESSES = [f"{name}{n}@shop.example" for name in ("ada", "bob", "ewa") for n in range(40)]


@pytest.fixture
def keys(tmp_path: Path) -> PseudonymKeys:
    return PseudonymKeys(tmp_path / "keys.json")


def rows() -> pd.DataFrame:
    return pd.DataFrame({"contact": ADDRESSES, "node": "read", "visit": range(len(ADDRESSES))})


def given(keys: PseudonymKeys, **options: Any) -> pd.DataFrame:
    given = {
        "frame": rows(), "report": "march", "purpose": "complaints", "grant": GRANT, "keys": keys, "now": NOW,
        "columns": ["node", "visit"],
    }  # fmt: skip
    given |= options
    return pseudonymised(given.pop("frame"), **given)


def test_the_same_contact_is_the_same_in_a_report_and_another_in_the_next(keys: PseudonymKeys) -> None:
    one, again, other = given(keys), given(keys), given(keys, report="april")
    pd.testing.assert_frame_equal(one, again)
    assert one["pseudonym"].str.fullmatch("[0-9a-f]{32}").all()
    assert one["pseudonym"].nunique() == len(ADDRESSES)
    assert not set(one["pseudonym"]) & set(other["pseudonym"])
    assert not set(one["pseudonym"]) & set(given(keys, epoch="2")["pseudonym"])


def test_the_order_of_rows_tells_nothing_of_the_ids(keys: PseudonymKeys) -> None:
    found = given(keys)
    assert found["pseudonym"].is_monotonic_increasing
    assert found["visit"].tolist() != sorted(found["visit"])


def test_a_dictionary_of_all_addresses_hits_nothing_without_the_key_and_everything_with_it(keys: PseudonymKeys) -> None:
    told = set(given(keys)["pseudonym"])
    guesses = set()
    for one in ADDRESSES:
        for name in ("md5", "sha1", "sha256", "sha512", "blake2b"):
            guesses.add(hashlib.new(name, one.encode()).hexdigest()[:32])
        for key in (b"", bytes(32), b"march", b"report-pseudonym/v1", one.encode()):
            guesses.add(hmac.digest(key, one.encode(), "sha256").hex()[:32])
    key = keys.of("march", "1", expires_at=GRANT.expires_at, now=NOW)
    assert not told & guesses
    assert told == {hmac.digest(key, one.encode(), "sha256").hex()[:32] for one in ADDRESSES}


def test_a_key_is_destroyed_when_it_expires(keys: PseudonymKeys) -> None:
    given(keys)
    root = next(iter(json.loads(keys.path.read_text())["keys"].values()))["root"]
    later = NOW + 2 * DAY
    with pytest.raises(DataError, match="is destroyed"):
        given(keys, now=later, grant=replace(GRANT, expires_at=later + DAY))
    assert root not in keys.path.read_text()
    assert keys.destroy_expired(later) == 0
    assert len(given(keys, epoch="2", now=later, grant=replace(GRANT, expires_at=later + DAY))) == len(ADDRESSES)


def test_a_key_can_be_destroyed_before(keys: PseudonymKeys) -> None:
    given(keys)
    keys.destroy("march", "1", now=NOW)
    with pytest.raises(DataError, match="is destroyed"):
        given(keys)
    with pytest.raises(DataError, match="no key of report 'april'"):
        keys.destroy("april", "1", now=NOW)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"grant": replace(GRANT, permission="report.read")}, "rows under pseudonyms need"),
        ({"purpose": "curiosity"}, "not for 'curiosity'"),
        ({"purpose": " "}, "for a purpose"),
        ({"now": NOW + DAY}, "expired at"),
        ({"columns": ["node"]}, "not declared: visit"),
        ({"columns": ["node", "visits"]}, "did you mean 'visit'"),
        ({"frame": rows().assign(node="see ada1@shop.example")}, "has an id or an address"),
        (
            {"frame": pd.DataFrame({"contact": ["a1", "b2"], "node": ["b2", "x"], "visit": 1})},
            "has an id or an address",
        ),
        ({"frame": rows().assign(contact=None)}, "is missing"),
    ],
)
def test_rows_leave_only_as_granted(options: dict[str, Any], says: str, keys: PseudonymKeys) -> None:
    with pytest.raises(DataError, match=says):
        given(keys, **options)


def test_keys_that_others_may_read_or_that_are_none_are_refused(keys: PseudonymKeys) -> None:
    keys.path.write_text("nonsense")
    keys.path.chmod(0o600)
    with pytest.raises(DataError, match="no file of pseudonyms' keys"):
        given(keys)
    keys.path.chmod(0o640)
    with pytest.raises(DataError, match="chmod 600"):
        given(keys)


# Notebooks.


def notebook(path: Path, *outputs: dict[str, Any], code: str = "1", metadata: dict[str, Any] | None = None) -> Path:
    cell = {"cell_type": "code", "source": [code], "metadata": {}, "outputs": list(outputs)}
    path.write_text(json.dumps({"cells": [cell], "metadata": metadata or {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def display(**data: Any) -> dict[str, Any]:
    mimes = {"html": "text/html", "plain": "text/plain", "json": "application/vnd.plotly.v1+json"}
    return {"output_type": "display_data", "data": {mimes[name]: value for name, value in data.items()}, "metadata": {}}


FRAME = pd.DataFrame({"contact": ["akacja-00001", "akacja-00002"], "node": ["read", "read"]})
COUNTS = pd.DataFrame({"node": ["read", "offer"], "n_visits": [120, 3]})


@pytest.mark.parametrize(
    ("output", "kinds"),
    [
        (display(html=FRAME.to_html()), {"rows"}),
        (display(plain=repr(FRAME)), {"rows"}),
        (display(html=COUNTS.to_html().splitlines(keepends=True)), {"few"}),
        (display(plain=repr(COUNTS)), {"few"}),
        (display(plain=repr(COUNTS.assign(n_visits=[120, 30]))), set()),
        (display(json={"data": [{"contact": ["a", "b"], "y": [1, 2]}]}), {"rows"}),
        (display(plain="write to ada@shop.example"), {"address"}),
        (
            {"output_type": "error", "ename": "KeyError", "evalue": "x", "traceback": ["no ada@shop.example"]},
            {"address"},
        ),
        ({"output_type": "stream", "name": "stdout", "text": ["akacja-canary\n"]}, {"canary"}),
        (display(plain=base64.b64encode(b"xx akacja-canary").decode()), {"canary"}),
        (display(plain=hashlib.sha256(b"akacja-canary").hexdigest()), {"canary"}),
        (display(plain="Replay(hello: 1 entry of 1 contact)"), set()),
    ],
)
def test_outputs_that_tell_of_people_are_found(output: dict[str, Any], kinds: set[str], tmp_path: Path) -> None:
    found = check_notebook(notebook(tmp_path / "n.ipynb", output), canaries=["akacja-canary"])
    assert {one.kind for one in found} == kinds
    assert all(one.place.startswith("cell 1, output 1") for one in found)
    assert not any(text in str(one) for one in found for text in ("shop.example", "akacja"))


def test_code_and_metadata_are_looked_through(tmp_path: Path) -> None:
    path = notebook(tmp_path / "n.ipynb", code="log.of('ada@shop.example')", metadata={"author": "akacja-canary"})
    found = check_notebook(path, canaries=["akacja-canary"])
    assert [(one.place, one.kind) for one in found] == [("cell 1, code", "address"), ("metadata", "canary")]


def test_what_came_through_the_gate_is_passed_over_until_it_is_changed(tmp_path: Path) -> None:
    people = pd.DataFrame({"contact": [f"c{n}" for n in range(100)], "plan": ["free"] * 62 + ["paid"] * 38})
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    shown = disclose(
        [cells(people, table="plans", by=["plan"])], of="x", period=(monday, monday + DAY), data_until=monday + DAY,
        ledger=Ledger(tmp_path / "l.db", LedgerKey(bytes(32))),
    )  # fmt: skip
    page = shown._repr_html_()
    assert check_notebook(notebook(tmp_path / "n.ipynb", display(html=page, plain=repr(shown)))) == []
    changed = page.replace("<td>60</td>", "<td>6</td>").replace("n_contacts", "n_contacts")
    assert [one.kind for one in check_notebook(notebook(tmp_path / "n.ipynb", display(html=changed)))] == ["few"]


def test_sessions_and_pages_of_marimo_are_read(tmp_path: Path) -> None:
    output = {"type": "data", "data": {"text/html": FRAME.to_html()}}
    data = json.dumps(json.dumps([{"contact": "a", "n_visits": 3}])).replace('"', "&quot;")
    rich = {"type": "data", "data": {"text/html": f"<marimo-table data-data='{data}'></marimo-table>"}}
    console = {"type": "stream", "name": "stderr", "text": "no ada@shop.example"}
    session = {"version": "1", "cells": [{"id": "a", "outputs": [output], "console": []}, {"id": "b", "outputs": [rich], "console": [console]}]}  # fmt: skip  # noqa: E501
    (tmp_path / "n.json").write_text(json.dumps(session))
    (tmp_path / "n.html").write_text(f'<html><script>x = {{"session": {json.dumps(session)}}}</script></html>')
    expected = {
        ("cell 1, output 1, text/html", "rows"), ("cell 2, output 1, text/html", "rows"),
        ("cell 2, output 1, text/html", "few"), ("cell 2, console 1", "address"),
    }  # fmt: skip
    assert {(one.place, one.kind) for one in check_notebook(tmp_path / "n.json")} == expected
    assert expected <= {(one.place, one.kind) for one in check_notebook(tmp_path / "n.html")}


@pytest.mark.parametrize(
    ("name", "text"), [("n.ipynb", "{}"), ("n.ipynb", "no json"), ("n.txt", "x"), ("n.json", "[]")]
)
def test_files_that_are_no_notebooks_are_refused(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match="no notebook"):
        check_notebook(tmp_path / name)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        check_notebook(tmp_path / "none.ipynb")
