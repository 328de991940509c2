"""What properties and attributes are kept as: numbers, flags and texts, alike in whatever parts they come.

A column is a number or a flag where all its values are; values of several kinds are texts, numbers among them in their
shortest form. So what a log has does not depend on which increment brought what.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

    from journeylab.rejects import Rejects

__all__ = ["alike", "as_flags", "as_numbers", "as_texts", "kept", "of_values", "stacked"]

_EXACT: Final = 2**53
_TRUE, _FALSE = ("true", "1", "yes", "t", "y"), ("false", "0", "no", "f", "n")
_NUMBER: Final = r"^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$"


def number_text(value: float) -> str:
    """A number in its shortest form.

    >>> number_text(5.0), number_text(2.5), number_text(1e300)
    ('5', '2.5', '1e+300')
    """
    return str(int(value)) if float(value).is_integer() and abs(value) <= _EXACT else repr(float(value))


def _plain(value: Any) -> Any:
    """One value of JSON or of a database as None, bool, float or str."""
    if value is None or isinstance(value, bool | str):
        return value if value != "" else None
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, int):
        return float(value) if abs(value) <= _EXACT else str(value)
    if isinstance(value, float | Decimal):
        number = float(value)
        return None if number != number else number
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def of_values(values: Sequence[Any]) -> pa.ChunkedArray:
    """A column of JSON's values, or a database's, as float64, bool or text.

    >>> of_values([1, None, 2.5]).type, of_values([1, "x", True]).to_pylist()
    (DataType(double), ['1', 'x', 'true'])
    """
    import pyarrow as pa

    plain = [_plain(value) for value in values]
    kinds = {type(value) for value in plain if value is not None}
    if len(kinds) > 1:
        plain = [None if value is None else _text(value) for value in plain]
    kind = pa.bool_() if kinds == {bool} else pa.float64() if kinds == {float} else pa.string()
    return pa.chunked_array([pa.array(plain, kind)])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, bool) else number_text(value)


def kept(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """An Arrow column as float64, bool or text: what an empty text is, and NaN, is missing; times are ISO 8601."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        column = column.cast(pa.string())
        return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    if pa.types.is_boolean(kind):
        return column
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_timestamp(kind):
        return _times(column)
    if pa.types.is_floating(kind):
        column = column.cast(pa.float64())
        return pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    if pa.types.is_integer(kind):
        ends = pc.min_max(column)
        if column.null_count == len(column) or max(abs(ends["min"].as_py()), abs(ends["max"].as_py())) <= _EXACT:
            return column.cast(pa.float64())
    return of_values(column.to_pylist())


def _times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Timestamps as ISO 8601, in UTC where they are instants."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_aware = column.type.tz is not None
    texts = pc.strftime(column.cast(pa.timestamp("us", "UTC" if is_aware else None)), "%Y-%m-%dT%H:%M:%S")
    return pc.binary_join_element_wise(texts, "Z" if is_aware else "", "")


def as_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as texts: numbers in their shortest form, whole ones exactly; an empty text is missing.

    >>> import pyarrow as pa
    >>> as_texts(pa.chunked_array([[7.0, 2.5]])).to_pylist(), as_texts(pa.chunked_array([[2**60]])).to_pylist()
    (['7', '2.5'], ['1152921504606846976'])
    """
    import pyarrow as pa

    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    column = kept(column)
    if pa.types.is_floating(column.type):
        texts = [None if value is None else number_text(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    return column.cast(pa.string())


def as_numbers(column: pa.ChunkedArray, name: str, rejects: Rejects) -> pa.ChunkedArray:
    """A column as float64; texts that are no numbers go to `rejects`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = kept(column)
    if pa.types.is_floating(column.type):
        return column
    texts = column.cast(pa.string())
    bad = pc.fill_null(pc.invert(pc.match_substring_regex(texts, _NUMBER)), fill_value=False)
    rejects.add(np.flatnonzero(bad.to_numpy()), name, texts.filter(bad), "is no number")
    found = pc.if_else(bad, pa.scalar(None, pa.string()), texts).cast(pa.float64())
    infinite = pc.fill_null(pc.is_inf(found), fill_value=False)
    rejects.add(np.flatnonzero(infinite.to_numpy()), name, texts.filter(infinite), "is beyond 1.8e308")
    return pc.if_else(infinite, pa.scalar(None, pa.float64()), found)


def as_flags(column: pa.ChunkedArray, name: str, rejects: Rejects) -> pa.ChunkedArray:
    """A column as flags: true and false, 1 and 0, yes and no; other texts go to `rejects`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = kept(column)
    if pa.types.is_boolean(column.type):
        return column
    texts = pc.utf8_lower(as_texts(column))
    true, false = (pc.is_in(texts, pa.array(some, pa.string())) for some in (_TRUE, _FALSE))
    bad = pc.and_(pc.is_valid(texts), pc.invert(pc.or_(true, false)))
    rejects.add(np.flatnonzero(bad.to_numpy()), name, texts.filter(bad), "is neither true nor false")
    return pc.if_else(pc.or_(true, false), true, pa.scalar(None, pa.bool_()))


def alike(columns: Sequence[pa.ChunkedArray]) -> list[pa.ChunkedArray]:
    """Columns of one property as one kind: their own where it is the same in all, else texts."""
    import pyarrow as pa

    kinds = {column.type for column in columns if column.null_count < len(column)}
    if len(kinds) == 1:
        kind = kinds.pop()
        return [
            column if column.type == kind else pa.chunked_array([pa.nulls(len(column), kind)]) for column in columns
        ]
    if not kinds:
        return [column.cast(pa.string()) for column in columns]
    return [as_texts(column) for column in columns]


def stacked(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables on top of each other: columns of one name as one kind, missing where a table has none of it."""
    import pyarrow as pa

    names = list(dict.fromkeys(name for table in tables for name in table.column_names))
    columns = {}
    for name in names:
        parts = [
            table[name] if name in table.column_names else pa.chunked_array([pa.nulls(len(table), pa.string())])
            for table in tables
        ]
        same = alike(parts)
        columns[name] = pa.chunked_array([chunk for part in same for chunk in part.chunks], same[0].type)
    return pa.table(columns)
