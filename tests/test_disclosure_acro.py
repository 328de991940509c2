"""What ACRO refuses, we refuse: against the answers of ACRO 1.0.2 (MIT), and against itself where it is installed.

ACRO wants an older pandas than ours, so its answers were written down: `SUMS` are contributions to the sum of a cell,
with the checks that it failed under its settings as they come ("few": the threshold of 10; "two": the two greatest are
over 90 %; "one": all but the two greatest are less than 10 % of the greatest).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from journeylab.disclosure import Ledger, LedgerKey, cells, disclose
from journeylab.disclosure.thresholds import FEWEST, dominated

MONDAY, TUESDAY = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)
SIZES = {1: "few", 2: "few", 5: "few", 8: "few", 9: "few", 10: "", 11: "", 20: ""}
# fmt: off
SUMS = [
    ([2, 6, 11, 23, 8, 4, 3, 16, 38, 10, 2, 3, 37], ""),
    ([1022, 1, 7, 2, 4, 5, 4, 13, 7, 4, 11, 17, 1, 6], "one two"),
    ([164, 237, 7, 5, 3, 5, 2, 2, 9, 2], "two"),
    ([1, 10, 2, 8, 8, 1, 6, 6], "few"),
    ([2483, 15, 2, 5, 3, 31, 13, 84, 14, 17, 17, 4, 7, 29], "one two"),
    ([255, 344, 14, 5, 6, 9, 8, 3], "few two"),
    ([2, 19, 5, 3, 2, 11, 3, 2, 14, 2, 5, 7, 5], ""),
    ([758, 28, 4, 2, 1, 6, 5, 10, 5, 5, 4, 4, 9, 5, 8], "one two"),
    ([510, 607, 10, 3, 18, 8, 4, 4, 3, 8, 22, 5], "two"),
    ([2, 10, 5, 3, 3, 7, 11, 4, 8, 15, 10, 18], ""),
    ([1006, 46, 14, 8, 15, 3, 5, 16, 14, 35, 7, 2], ""),
    ([194, 445, 29, 8, 1, 5, 4, 36, 3], "few"),
    ([3, 9, 22, 14, 3, 2, 8, 4, 4, 1, 52], ""),
    ([461, 3, 18, 28, 1, 4, 5, 14, 7, 6, 7], ""),
    ([1288, 548, 109, 3, 4, 8, 12, 21, 11, 3], "two"),
    ([48, 7, 2, 3, 32, 4, 1, 4, 7, 24, 3, 14, 16, 4], ""),
    ([2657, 41, 17, 10, 23, 6, 7, 3, 7, 7, 118], "one two"),
    ([240, 328, 6, 24, 1, 8, 17, 1, 2, 21, 6, 2, 5, 4, 15], ""),
    ([7, 28, 10, 14, 6, 2, 4, 14, 8, 3, 1, 8, 5, 5], ""),
    ([2298, 10, 10, 19, 19, 28, 17, 5, 7, 12, 5, 13, 23, 3, 1], "one two"),
    ([489, 567, 42, 15, 7, 5, 8, 6, 6, 2, 26, 7, 8, 8], ""),
    ([13, 5, 6, 8, 3, 17, 4, 3, 3, 9, 16, 4], ""),
    ([1469, 3, 24, 7, 4, 4, 12, 18, 6, 19, 60, 6], "one two"),
    ([202, 554, 4, 4, 2, 13, 1, 2, 55], "few two"),
    ([43, 13, 8, 2, 7, 4, 4, 4, 7, 5, 18, 2], ""),
    ([2313, 47, 8, 24, 23, 28, 15, 2, 6, 5, 2, 5, 2], "one two"),
    ([195, 225, 3, 4, 5, 5, 7, 5], "few two"),
    ([11, 4, 4, 11, 6, 7, 1, 0, 10, 10], ""),
    ([509, 9, 8, 2, 18, 4, 12, 9, 10], "few two"),
    ([296, 445, 3, 5, 39, 5, 24, 17, 15], "few"),
    ([3, 11, 36, 4, 7, 4, 10, 3, 37, 5, 2, 44], ""),
    ([683, 12, 13, 5, 6, 15, 18, 19, 9, 5], ""),
    ([558, 530, 5, 26, 15, 15, 2, 5, 4, 9, 1, 26, 10, 11, 2], ""),
    ([2, 10, 15, 4, 17, 5, 25, 13, 9, 55, 17], ""),
    ([767, 4, 17, 18, 7, 16, 3, 9, 2, 10, 5], "one two"),
    ([895, 1324, 3, 4, 21, 5, 43, 9, 8, 11, 42, 14, 12, 10, 2], "two"),
]
# fmt: on


def _shown(contributions: list[int], folder: Path) -> pd.DataFrame | None:
    """What the gate shows of a cell with such contributions, beside two large ones."""
    parts = {"a": contributions, "b": [5] * 60, "c": [5] * 80}
    rows = pd.DataFrame(
        [(f"{group}{at}", group, value) for group, its in parts.items() for at, value in enumerate(its)],
        columns=["contact", "group", "price"],
    )
    table = cells(rows, table="t", by=["group"], levels={"group": list(parts)}, sums={"paid": "price"})
    found = disclose(
        [table],
        of="x",
        period=(MONDAY, TUESDAY),
        data_until=TUESDAY,
        ledger=Ledger(folder / "l.db", LedgerKey(bytes(32))),
    )
    frame = found.tables["t"]
    return frame if frame["status"][0] == "shown" else None


@pytest.mark.parametrize(("contributions", "failed"), SUMS)
def test_a_sum_that_acro_refuses_is_refused(contributions: list[int], failed: str, tmp_path: Path) -> None:
    values = np.array(contributions, dtype=float)
    assert (len(values) < FEWEST) == ("few" in failed)
    assert dominated(values) == ("two" in failed or "one" in failed)
    frame = _shown(contributions, tmp_path)
    if failed:
        assert frame is None or "paid" not in frame
    else:
        assert frame is not None
        assert frame["paid"][0] > 0


@pytest.mark.parametrize(("n", "failed"), SIZES.items())
def test_a_count_that_acro_refuses_is_refused(n: int, failed: str, tmp_path: Path) -> None:
    frame = _shown([5] * n, tmp_path)
    assert (frame is None) == bool(failed)


def test_acro_still_says_so() -> None:
    acro = pytest.importorskip("acro").ACRO(suppress=False)
    rows = pd.DataFrame([(f"g{at:02}", value) for at, (its, _) in enumerate(SUMS) for value in its], columns=["g", "v"])
    acro.crosstab(rows["g"], pd.Series("x", index=rows.index), values=rows["v"], aggfunc="sum")
    verdicts = acro.results.get_index(-1).outcome.iloc[:, 0].str.strip()
    assert [one == "ok" for one in verdicts] == [not failed for _, failed in SUMS]
