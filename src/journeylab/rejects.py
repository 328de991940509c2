"""Bad rows of a table: collected while it is checked, then one error, or a table of what was set aside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["Rejects", "check_choice", "no_rejects"]

_SHOWN = 5
_VALUE_WIDTH = 60


def check_choice(rejects: object) -> None:
    """Accepts what may be done with bad rows.

    Raises:
        DataError: when it is neither `"error"` nor `"set_aside"`.
    """
    if rejects not in ("error", "set_aside"):
        raise DataError(f'rejects={rejects!r} is not known; it is "error" or "set_aside"')


def no_rejects() -> pa.Table:
    """A table of rejects without rows: source, row (int64), column, value, reason (texts; value may be missing)."""
    import pyarrow as pa

    text = pa.string()
    names = [("source", text), ("row", pa.int64()), ("column", text), ("value", text), ("reason", text)]
    return pa.schema(names).empty_table()


def _texts(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The values as texts to show."""
    import pyarrow as pa

    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    try:
        return values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([None if value is None else str(value) for value in values.to_pylist()], pa.string())


class Rejects:
    """The bad values of one table, by row.

    `first_row` is the number people give the table's first row: 0 for a table, 2 for a CSV file, whose header is line
    1, and 1 for JSON Lines. Lines that became no rows are `passed`; of a selection of rows, `numbers` has each row's.
    """

    def __init__(self, source: str, *, first_row: int = 0) -> None:
        self.source = source
        self.first_row = first_row
        self.numbers: NDArray[np.int64] | None = None
        self.passed: NDArray[np.int64] | None = None
        self.n_lines_lost = 0
        self._rows: list[NDArray[np.int64]] = []
        self._parts: list[pa.Table] = []

    @property
    def place(self) -> str:
        """What people call a row of this table."""
        return "line" if self.first_row else "row"

    def number(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers people give to rows."""
        if self.numbers is not None:
            return self.numbers[rows]
        numbers: NDArray[np.int64] = rows + self.first_row
        if self.passed is None:
            return numbers
        # How many rows come before each line that was passed over.
        before = self.passed - np.arange(len(self.passed))
        return numbers + np.searchsorted(before, numbers, side="right")

    def pass_over(self, numbers: NDArray[np.int64]) -> None:
        """Notes lines of the file that are no rows, by their numbers."""
        self.passed = np.union1d(np.empty(0, np.int64) if self.passed is None else self.passed, numbers)

    def add(self, rows: NDArray[np.int64], column: str, values: Any, reason: str | pa.Array) -> None:
        """Rejects rows (counted from 0) for their values in a column; `reason` is one for all or one for each."""
        if len(rows):
            self._rows.append(rows)
            self._add(self.number(rows), column, values, reason)

    def add_lines(self, numbers: NDArray[np.int64], values: Any, reason: str | pa.Array) -> None:
        """Rejects lines of the file that never became rows."""
        if len(numbers):
            self.n_lines_lost += len(numbers)
            self._add(numbers, "(line)", values, reason)

    def _add(self, numbers: NDArray[np.int64], column: str, values: Any, reason: str | pa.Array) -> None:
        import pyarrow as pa

        def repeated(value: str) -> pa.Array:
            return pa.repeat(pa.scalar(value), len(numbers))

        columns = {
            "source": repeated(self.source),
            "row": pa.array(numbers, pa.int64()),
            "column": repeated(column),
            "value": _texts(values),
            "reason": repeated(reason) if isinstance(reason, str) else reason,
        }
        self._parts.append(pa.table(columns))

    def of(self, rows: NDArray[np.int64]) -> Rejects:
        """Empty rejects for a selection of rows, which are numbered as they are here."""
        some = Rejects(self.source, first_row=self.first_row)
        some.numbers = self.number(rows)
        return some

    def absorb(self, others: Rejects, rows: NDArray[np.int64]) -> None:
        """Adds the rejects of a selection of rows."""
        self._rows.extend(rows[of_others] for of_others in others._rows)
        self._parts.extend(others._parts)

    def __bool__(self) -> bool:
        return bool(self._parts)

    @property
    def table(self) -> pa.Table:
        """What was rejected, sorted by row: source, row, column, value, reason."""
        import pyarrow as pa

        if not self._parts:
            return no_rejects()
        return pa.concat_tables(self._parts).sort_by([("row", "ascending"), ("column", "ascending")])

    def kept(self, n_rows: int) -> NDArray[np.bool_]:
        """Which rows are good, bool by row."""
        keep = np.ones(n_rows, np.bool_)
        for rows in self._rows:
            keep[rows] = False
        return keep

    def error(self, n_rows: int) -> DataError:
        """One error that counts the bad rows, shows the first, and carries all of them in `rejects`."""
        n_rows += self.n_lines_lost
        table = self.table
        numbers = np.unique(table["row"].to_numpy())
        first = np.flatnonzero(table["row"].to_numpy() <= numbers[min(_SHOWN, len(numbers)) - 1])[: 2 * _SHOWN]
        shown = [
            f"  {self.place} {one['row']}, column {one['column']}: {_shown(one['value'])}{one['reason']}"
            for one in table.take(first).to_pylist()
        ]
        rest = len(table) - len(shown)
        more = [f"  and {rest:,} more"] if rest else []
        bad = f"{len(numbers):,} of {n_rows:,} {self.place}s {'is' if len(numbers) == 1 else 'are'} bad"
        remedy = f'Correct {"it" if len(numbers) == 1 else "them"}, or set bad rows aside with rejects="set_aside".'
        return DataError("\n".join([f"{self.source}: {bad}:", *shown, *more, remedy]), table)


def _shown(value: str | None) -> str:
    if value is None:
        return ""
    return f"{value if len(value) <= _VALUE_WIDTH else value[: _VALUE_WIDTH - 1] + '…'!r} "
