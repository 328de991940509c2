"""What was known when a decision was made: as numbers for a model, and as groups in which support is looked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .decisions import codes_of

if TYPE_CHECKING:
    from journeylab.offpolicy import Floats, Ints

__all__ = ["Context", "as_numbers", "read_context"]

_FEW = 10
_MOST_LEVELS = 50
_N_BINS = 10
_ROWS_TO_A_GROUP = 20


@dataclass(frozen=True, eq=False)
class Context:
    """What was known of each row.

    Attributes:
        features: (row, feature), each with mean 0 and standard deviation 1.
        groups: a code for each row, 0 up, by each grouping: all columns together where that leaves
            enough rows to a group, each column by itself, and the whole.
    """

    features: Floats
    groups: list[Ints]


def read_context(frame: pd.DataFrame, columns: tuple[str, ...]) -> Context:
    """The context in some columns: texts, flags and numbers of few values by value, other numbers as they are.

    Missing values are a value of their own. Numbers are grouped by tenths, and texts of more than 50 values count only
    with their most frequent ones.
    """
    n = len(frame)
    features: list[Floats] = []
    groups: list[Ints] = []
    for column in columns:
        values = as_numbers(frame[column])
        is_number = pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)
        if is_number and values.nunique() > _FEW:
            array = values.to_numpy(dtype=float, na_value=np.nan)
            is_missing = np.isnan(array)
            features.append(np.where(is_missing, np.nanmean(array), array))
            if is_missing.any():
                features.append(is_missing.astype(float))
            groups.append(_binned(array))
        else:
            codes = codes_of(values)
            n_rows = np.bincount(codes)
            frequent = np.argsort(-n_rows, kind="stable")[:_MOST_LEVELS]
            features += [(codes == level).astype(float) for level in frequent if n_rows[level] >= _FEW]
            groups.append(codes)
    matrix = np.column_stack(features) if features else np.empty((n, 0))
    matrix = matrix - matrix.mean(axis=0)
    deviation = matrix.std(axis=0)
    matrix = matrix[:, deviation > 0] / deviation[deviation > 0]
    return Context(matrix, _groupings(groups, n))


def as_numbers(values: pd.Series) -> pd.Series:
    """Texts that are all numbers, as those; instants as numbers; everything else as it is."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return values.astype("int64").astype(float).where(values.notna())
    if pd.api.types.is_numeric_dtype(values.dtype):
        return values
    texts = values.astype(object).where(values.notna(), None)
    read = pd.to_numeric(texts, errors="coerce")
    return values.astype(str).where(values.notna()) if read.isna().sum() > values.isna().sum() else read.astype(float)


def _binned(values: Floats) -> Ints:
    """Tenths of the rows by value; missing ones last."""
    edges = np.unique(np.nanquantile(values, np.arange(1, _N_BINS) / _N_BINS))
    return np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="right")).astype(np.int64)


def _groupings(groups: list[Ints], n: int) -> list[Ints]:
    whole = np.zeros(n, np.int64)
    together = whole
    for codes in groups:
        together = together * (int(codes.max()) + 1) + codes
        together = np.unique(together, return_inverse=True)[1].astype(np.int64)
    found = [together] if len(groups) > 1 and together.max() + 1 <= n / _ROWS_TO_A_GROUP else []
    return [*found, *groups, whole]
