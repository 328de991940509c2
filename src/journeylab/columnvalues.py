"""What the values of a column are: numbers, flags, texts, instants or dates, each as float64 for the machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from uuid import UUID

import numpy as np

from .errors import DataError
from .instants import DATE, INSTANT, instants, no_such_day
from .interning import intern
from .rejects import Rejects

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = [
    "Column", "Kind", "TextsSeen", "as_text", "column_floats", "column_of", "fitting", "from_values", "is_marked_text",
    "is_text_type", "kind_of_texts", "marked_texts", "parsed", "understood",
]  # fmt: skip

Kind: TypeAlias = Literal["number", "flag", "text", "instant", "date", "unknown"]
_NUMBER = r"^[+-]?(\d+([.]\d*)?|[.]\d+)([eE][+-]?\d+)?$"
_CODE = r"^[+-]?0\d"  # postal codes and the like, whose zeros in front matter
_FLAG = r"^([Tt]rue|TRUE|[Ff]alse|FALSE)$"
_PATTERNS: dict[Kind, str] = {"number": _NUMBER, "flag": _FLAG, "date": f"^{DATE}$", "instant": INSTANT}
_WHAT = {"number": "no number", "flag": "neither true nor false", "date": "no date", "instant": "no time in ISO 8601"}
_EXACT = 2**53
_TEXT = {b"journeylab": b"text"}


@dataclass(frozen=True, eq=False)
class Column:
    """One property of all events.

    Attributes:
        kind: what the values are; `unknown` when all are missing.
        held: the values by row, as `values` gives them; for texts int32 codes into `categories`, -1 where missing.
        categories: the texts by code, `None` unless the kind is `text`.
    """

    kind: Kind
    held: NDArray[np.float64] | NDArray[np.int32]
    categories: list[str] | None = None

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """float64 by row, NaN where missing: numbers as they are, flags 0 and 1, texts as codes into `categories`.

        Instants are microseconds and dates days since 1970-01-01.
        """
        return (
            self.held.astype(np.float64, copy=False)
            if self.categories is None
            else np.where(self.held < 0, np.nan, self.held)
        )


def _group(value: Any) -> str:
    """What a Python value is."""
    if isinstance(value, bool | np.bool_):
        return "flag"
    if isinstance(value, int | float | Decimal | np.number):
        return "number"
    if isinstance(value, str | UUID):
        return "text"
    if isinstance(value, datetime):
        return "time without a time zone" if value.tzinfo is None else "time with a time zone"
    return "date" if isinstance(value, date) else type(value).__name__


def as_text(value: Any) -> str:
    """A value of a column of several types as text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def from_values(name: str, values: list[Any], rejects: Rejects, *, mixed: bool = False) -> pa.ChunkedArray:
    """An Arrow column of Python values; where they are of several types, those of the rarer types go to `rejects`.

    With `mixed`, values of several types become texts instead.
    """
    import pyarrow as pa

    groups = Counter(_group(value) for value in values if value is not None)
    usual = groups.most_common(1)[0][0] if groups else "text"
    if len(groups) > 1 and mixed:
        values, usual = [None if value is None else as_text(value) for value in values], "text"
    elif len(groups) > 1:
        odd = [row for row, value in enumerate(values) if value is not None and _group(value) != usual]
        reasons = pa.array([f"is a {_group(values[row])}, most of the column is a {usual}" for row in odd], pa.string())
        rejects.add(np.array(odd, np.int64), name, pa.array([str(values[row]) for row in odd], pa.string()), reasons)
        odd_rows = set(odd)
        values = [None if row in odd_rows else value for row, value in enumerate(values)]
    if usual == "number":
        values = [value.item() if isinstance(value, np.generic) else value for value in values]
    elif usual == "text":
        values = [None if value is None else str(value) for value in values]
    try:
        if usual == "number" and any(not isinstance(value, int) for value in values if value is not None):
            values = [None if value is None else float(value) for value in values]
        return pa.chunked_array([pa.array(values, from_pandas=True)])
    except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
        raise DataError(f"{rejects.source}: column {name!r} cannot be read: {error}") from None


def is_text_type(kind: pa.DataType) -> bool:
    """Whether a type is one of texts."""
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


class TextsSeen:
    """What the texts of a column can be read as, in however many parts they come."""

    def __init__(self) -> None:
        self._n_values = 0
        self._n_fitting: Counter[Kind] = Counter()
        self._has_codes = False

    def add(self, texts: pa.ChunkedArray | pa.Array) -> TextsSeen:
        """Looks at some more of them."""
        import pyarrow.compute as pc

        n_values = len(texts) - texts.null_count
        if n_values:
            self._n_values += n_values
            self._has_codes = self._has_codes or pc.any(pc.match_substring_regex(texts, _CODE)).as_py()
            for kind, pattern in _PATTERNS.items():
                self._n_fitting[kind] += pc.sum(pc.match_substring_regex(texts, pattern)).as_py()
        return self

    def plain(self) -> Any:
        """What was seen, as JSON for `join`."""
        return [self._n_values, self._n_fitting, self._has_codes]

    def join(self, plain: Any) -> None:
        """Takes in what was seen elsewhere."""
        n_values, n_fitting, has_codes = plain
        self._n_values += n_values
        self._n_fitting.update(n_fitting)
        self._has_codes = self._has_codes or has_codes

    def kind(self, *, most: bool = False) -> Kind:
        """The kind that all of them, or `most`, can be read as."""
        if not self._n_values:
            return "unknown"
        for kind in _PATTERNS:
            if kind == "number" and self._has_codes:
                continue
            if self._n_fitting[kind] == self._n_values or (most and 2 * self._n_fitting[kind] > self._n_values):
                return kind
        return "text"


def fitting(texts: pa.Array, kind: Kind) -> pa.Array:
    """Those of some texts that look like values of a kind."""
    import pyarrow.compute as pc

    return texts.filter(pc.match_substring_regex(texts, _PATTERNS[kind]))


def kind_of_texts(texts: pa.ChunkedArray | pa.Array, *, most: bool = False) -> Kind:
    """What texts are that only texts could be kept as: the kind that all of them, or `most`, can be read as."""
    return TextsSeen().add(texts).kind(most=most)


def parsed(texts: pa.ChunkedArray, kind: Kind, name: str, zone: str | None, rejects: Rejects) -> pa.ChunkedArray:
    """Texts read as a kind: float64, bool, date32, or int64 microseconds for instants; bad ones go to `rejects`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind in ("text", "unknown"):
        return texts
    if kind == "instant":
        return instants(texts, name, zone, rejects, bounded=False)
    bad = pc.invert(pc.match_substring_regex(texts, _PATTERNS[kind]))
    good = pc.if_else(bad, pa.scalar(None, texts.type), texts)
    if kind == "date":
        missing = no_such_day(good)
        bad = pc.or_(bad, missing)
        good = pc.if_else(missing, pa.scalar(None, texts.type), good)
    if pc.any(bad).as_py():
        rejects.add(
            np.flatnonzero(pc.fill_null(bad, fill_value=False).to_numpy()), name, texts.filter(bad), f"is {_WHAT[kind]}"
        )
    if kind == "flag":
        return pc.equal(pc.utf8_lower(good), "true")
    return good.cast({"number": pa.float64(), "date": pa.date32()}[kind])


def understood(texts: pa.ChunkedArray, name: str, rejects: Rejects) -> pa.ChunkedArray:
    """A column of a file that knows only texts, as what most of its values are; the others go to `rejects`."""
    import pyarrow as pa

    kind = kind_of_texts(texts, most=True)
    if kind == "unknown":
        return pa.chunked_array([pa.nulls(len(texts))])
    if kind == "instant":  # stays a text: whether it has zones, and which, matters only to those who use it
        parsed(texts, kind, name, "UTC", rejects)
        return texts
    return parsed(texts, kind, name, None, rejects)


def marked_texts(table: pa.Table, names: Collection[str]) -> pa.Table:
    """The table with some columns marked as texts, whatever these look like; Arrow and Parquet keep the mark."""
    import pyarrow as pa

    fields = [field.with_metadata(_TEXT) if field.name in names else field for field in table.schema]
    return table.cast(pa.schema(fields, table.schema.metadata))


def is_marked_text(table: pa.Table, name: str) -> bool:
    """Whether a column is marked as texts."""
    metadata = table.schema.field(name).metadata or {}
    return all(metadata.get(key) == value for key, value in _TEXT.items())


def column_of(column: pa.ChunkedArray, name: str, zone: str | None, source: str, *, is_text: bool = False) -> Column:
    """The column as float64 with its kind; texts that are all ISO 8601 dates or instants are that, but for `is_text`.

    Raises:
        DataError: when it holds nothing that a property can be, naive times without `zone`, or whole numbers so large
            that float64 would change them.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    rejects = Rejects(source)
    if pa.types.is_null(kind):
        return Column("unknown", np.full(len(column), np.nan))
    if pa.types.is_boolean(kind):
        return Column("flag", column_floats(column))
    if is_text_type(kind):
        return _texts(column, name, zone, rejects, is_text=is_text)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        if pa.types.is_integer(kind) and len(column) > column.null_count:
            ends = pc.min_max(column)
            if max(abs(ends["min"].as_py()), abs(ends["max"].as_py())) > _EXACT:
                raise DataError(
                    f"{source}: column {name!r} has whole numbers beyond 2**53, which cannot be held exactly; "
                    "if they are identifiers, make texts of them"
                )
        return Column("number", column_floats(column))
    if pa.types.is_date(kind):
        return Column("date", column_floats(column))
    if pa.types.is_timestamp(kind):
        return Column("instant", column_floats(instants(column, name, zone, rejects, bounded=False)))
    raise DataError(
        f"{source}: column {name!r} is of type {kind}; a property is a number, flag, text, date or time: "
        "unfold it into such columns, or do without it"
    )


def column_floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Numbers as they are, flags as 0 and 1, dates as days since 1970-01-01; NaN where missing."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_date(column.type):
        column = column.cast(pa.date32()).cast(pa.int32())
    elif pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    return np.ascontiguousarray(column.cast(pa.float64(), safe=False).to_numpy(), np.float64)


def _texts(column: pa.ChunkedArray, name: str, zone: str | None, rejects: Rejects, *, is_text: bool) -> Column:
    import pyarrow as pa

    codes, distinct = intern(column)
    kind: Kind = "text" if is_text else kind_of_texts(distinct)
    if kind in ("date", "instant"):
        found = parsed(pa.chunked_array([distinct]), kind, name, zone, rejects)
        if not rejects:
            return Column(kind, np.append(column_floats(found), np.nan)[codes])
        kind = "text"  # such as 2026-02-30: it looks like a date and is none
    if kind == "unknown":
        return Column(kind, np.full(len(column), np.nan))
    return Column("text", codes, distinct.to_pylist())
