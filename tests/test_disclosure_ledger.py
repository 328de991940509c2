"""The ledger keeps who was behind a number: from other eyes, from two at once, from a crash; and budgets of OpenDP."""

from __future__ import annotations

import multiprocessing
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from journeylab.disclosure import Budget, Cells, Ledger, LedgerKey, cells, decision, disclose, gate, private_counts
from journeylab.errors import DataError

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
KEY = LedgerKey(bytes(range(32)))


def people(first: int, last: int) -> list[str]:
    return [f"akacja-{n:05}" for n in range(first, last)]


def groups(name: str = "groups", **sets: list[str]) -> Cells:
    rows = pd.DataFrame([(one, group) for group, its in sets.items() for one in its], columns=["contact", "group"])
    return cells(rows, table=name, by=["group"], population=people(0, 500), levels={"group": list(sets)})


def shown(path: Path, table: Cells) -> dict[str, Any]:
    return disclose(
        [table], of="all", period=(MONDAY, MONDAY + DAY), data_until=MONDAY + DAY, ledger=Ledger(path, KEY)
    ).to_dict()


def test_nothing_in_the_file_can_be_read_without_the_key(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    shown(path, groups(secret_segment=people(0, 100), other=people(100, 200)))
    data = path.read_bytes()
    for text in ("akacja", "secret_segment", "groups", str(KEY.ids(["akacja-00001"])[0])):
        assert text.encode() not in data
    assert KEY.ids(["akacja-00001"]).astype(">u8").tobytes() not in data
    assert path.stat().st_mode & 0o077 == 0


def test_another_key_and_a_changed_row_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    shown(path, groups(a=people(0, 100)))
    with pytest.raises(DataError, match="not of this key"), Ledger(path, LedgerKey(bytes(32))).writing():
        pass
    with sqlite3.connect(path) as connection:
        one, other = connection.execute("select name, sealed from outcomes limit 2").fetchall()
        connection.execute("update outcomes set sealed = ? where name = ?", (other[1], one[0]))
    connection.close()
    with pytest.raises(DataError, match="was changed"):
        shown(path, groups(a=people(0, 100)))


def test_a_file_that_is_none_or_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("no database, but long enough to be taken for something" * 3)
    path.chmod(0o600)
    with pytest.raises(DataError, match="cannot be used"), Ledger(path, KEY).writing():
        pass
    path.chmod(0o644)
    with pytest.raises(DataError, match="others may read"), Ledger(path, KEY).writing():
        pass


def test_keys_are_kept_in_files_of_their_owner(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = LedgerKey.make(path)
    assert LedgerKey.read(path) == key
    assert key.root.hex() not in repr(key)
    with pytest.raises(DataError, match="already"):
        LedgerKey.make(path)
    path.chmod(0o644)
    with pytest.raises(DataError, match="chmod 600"):
        LedgerKey.read(path)
    with pytest.raises(DataError, match="there is no key"):
        LedgerKey.read(tmp_path / "none")
    path.write_text("{}")
    path.chmod(0o600)
    with pytest.raises(DataError, match="no key of a ledger"):
        LedgerKey.read(path)


def test_what_fails_before_the_ledger_is_written_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(path, KEY).writing():
        pass
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise RuntimeError("power is gone")

    with monkeypatch.context() as patch:
        patch.setattr(gate, "further_figures", fail)
        with pytest.raises(RuntimeError):
            shown(path, groups(a=people(0, 100)))
    with Ledger(path, KEY).writing() as writing:
        assert writing.shown() == []
    assert len(before)


def test_what_fails_after_it_is_in_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody read it, but it is taken for read: the other way round somebody could have."""
    path = tmp_path / "ledger.db"

    def fail(*_: object) -> None:
        raise RuntimeError("power is gone")

    with monkeypatch.context() as patch:
        patch.setattr(gate, "frame_of", fail)
        with pytest.raises(RuntimeError):
            shown(path, groups(a=people(0, 100)))
    assert shown(path, groups("less one", a=people(1, 100)))["refused"] == ["less one"]


def _disclose(path: Path, first: int, queue: Any) -> None:
    queue.put(shown(path, groups(f"from {first}", a=people(first, 100 + first))))


def test_of_two_that_differ_by_few_and_come_at_once_one_is_shown(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    both = [context.Process(target=_disclose, args=(tmp_path / "ledger.db", first, queue)) for first in (0, 2)]
    for one in both:
        one.start()
    told = [queue.get(timeout=60) for _ in both]
    for one in both:
        one.join()
    assert sorted(len(one["tables"]) for one in told) == [0, 1]


def test_every_number_is_decided_in_the_ledger_before_it_is_returned(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    told = shown(path, groups(a=people(0, 100), b=people(100, 200)))
    with Ledger(path, KEY).writing() as writing:
        entries = {(int(one.value), len(one.ids)) for one in writing.shown()}
    assert {(row["n_contacts"], 100) for row in told["tables"]["groups"]} | {(500, 500)} == entries
    assert decision.likeness.n_apart(KEY.ids(people(0, 10)), KEY.ids(people(0, 12))) == 2


# Differential privacy.


@pytest.fixture
def budget(tmp_path: Path) -> Budget:
    pytest.importorskip("opendp")
    return Budget("contacts", 2.0, Ledger(tmp_path / "ledger.db", KEY))


def test_private_counts_are_near_the_truth_and_cost_their_epsilon(budget: Budget) -> None:
    table = groups(a=people(0, 100), b=people(100, 103), c=[])
    found = private_counts(table, of="march", epsilon=1.0, budget=budget, most_cells=1)
    assert found.table["group"].tolist() == list("abc")
    assert (np.abs(found.table["n_contacts"] - [100, 3, 0]) < 40).all()
    assert (found.spent, found.budget, found.scale) == (1.0, 2.0, 1.0)
    assert (found.table["high"] - found.table["low"] == 8).all()


def test_the_same_again_is_free_and_alike(budget: Budget) -> None:
    table = groups(a=people(0, 100), b=people(100, 103))
    once, again = (private_counts(table, of="march", epsilon=1.0, budget=budget, most_cells=1) for _ in range(2))
    pd.testing.assert_frame_equal(once.table, again.table)
    assert again.spent == 1.0


def test_beyond_the_budget_there_is_no_answer(budget: Budget) -> None:
    table = groups(a=people(0, 100))
    private_counts(table, of="march", epsilon=1.5, budget=budget, most_cells=1)
    with pytest.raises(DataError, match=r"0\.5 is left"):
        private_counts(table, of="april", epsilon=1.0, budget=budget, most_cells=1)
    with pytest.raises(DataError, match="was fixed at 2"):
        private_counts(table, of="april", epsilon=1.0, budget=Budget("contacts", 9.0, budget.ledger), most_cells=1)


def test_the_noise_is_that_of_the_scale_and_covers_as_it_says(tmp_path: Path) -> None:
    pytest.importorskip("opendp")
    table = cells(
        pd.DataFrame({"contact": people(0, 400), "group": [f"g{n % 400}" for n in range(400)]}),
        table="many", by=["group"], levels={"group": [f"g{n}" for n in range(4_000)]},
    )  # fmt: skip
    found = private_counts(
        table, of="x", epsilon=0.5, budget=Budget("p", 1.0, Ledger(tmp_path / "l.db", KEY)), most_cells=1
    )
    truth = np.array([1] * 400 + [0] * 3_600)
    covered = (found.table["low"] <= truth) & (truth <= found.table["high"])
    # Mean of the absolute discrete Laplace of scale 2: 2a / (1 - a^2) with a = exp(-1/2).
    assert abs(np.abs(found.table["n_contacts"] - truth).mean() - 2 * np.exp(-0.5) / (1 - np.exp(-1))) < 0.25
    assert covered.mean() > 0.94


def test_nobody_counts_in_more_cells_than_is_said(budget: Budget) -> None:
    everywhere = groups(a=people(0, 500), b=people(0, 500), c=people(0, 500))
    found = private_counts(everywhere, of="x", epsilon=1.0, budget=budget, most_cells=1)
    assert abs(found.table["n_contacts"].sum() - 500) < 60


@pytest.mark.parametrize(
    ("options", "says"),
    [({"epsilon": 0}, "greater than 0"), ({"most_cells": 0}, "at least one cell"), ({"levels": None}, "no levels")],
)
def test_private_counts_at_fault_are_refused(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    rows = pd.DataFrame({"contact": people(0, 20), "group": "a"})
    table = cells(rows, table="t", by=["group"], levels=options.pop("levels", {"group": ["a"]}))
    given = {"of": "x", "epsilon": 1.0, "most_cells": 1, "budget": Budget("p", 1.0, Ledger(tmp_path / "l.db", KEY))}
    with pytest.raises(DataError, match=says):
        private_counts(table, **given | options)
