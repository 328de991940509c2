"""A logged table as arrays: actions, rewards and probabilities, with every fault of the table named at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from journeylab.display import counted
from journeylab.errors import DataError, known
from journeylab.tablesource import as_frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from journeylab.offpolicy import Bools, Floats, Ints

__all__ = ["CERTAIN", "Decisions", "Faults", "action_names", "codes_of", "frame_of", "read_decisions", "require"]

CERTAIN = 1 - 1e-9
"""From this probability on nothing else could have been done."""

_SHOWN = 3
_WORDS = {"true": 1.0, "false": 0.0}
_NUMBER = r"[+-]?(?:0|[1-9]\d*|(?:0|[1-9]\d*)?[.]\d+|(?:0|[1-9]\d*)[.]\d*)(?:[eE][+-]?\d+)?"


@dataclass(frozen=True, eq=False)
class Decisions:
    """Decisions that were logged, one for each row of a table.

    Attributes:
        labels: the names of the actions, logged ones and the policy's, sorted.
        actions: a code into `labels` of what was done.
        propensities: the probability with which it was done; NaN where the log does not say.
        targets: a code into `labels` of what the policy would do, or None.
        target_propensities: the policy's probability of what was done.
        weights: the second divided by the first; 0 where the first is missing.
    """

    labels: list[str]
    actions: Ints
    propensities: Floats
    targets: Ints | None
    target_propensities: Floats
    weights: Floats


class Faults:
    """Collects what is wrong with a table, to say all of it at once."""

    def __init__(self, table: pd.DataFrame) -> None:
        self._index = table.index
        self._place = str(table.index.name or "row")
        self._texts: list[str] = []

    def add(self, text: str) -> None:
        """Takes note of a fault of the whole table."""
        self._texts.append(text)

    def rows(self, column: str, is_bad: NDArray[np.bool_], values: Any, reason: str) -> None:
        """Takes note of the rows that are bad: the first ones by number and value, the others counted."""
        bad = np.flatnonzero(is_bad)
        if not len(bad):
            return
        shown = [f"{self._place} {self._index[row]}: {_shown(values[row])}" for row in bad[:_SHOWN]]
        rest = f" and {len(bad) - _SHOWN:,} more" if len(bad) > _SHOWN else ""
        self._texts.append(f"column {column!r} {reason} ({', '.join(shown)}{rest})")

    def raise_if_any(self) -> None:
        """Raises all faults as one error.

        Raises:
            DataError: when there are any.
        """
        if self._texts:
            raise DataError("\n".join(self._texts))


def _shown(value: Any) -> str:
    return "missing" if pd.isna(value) else repr(value.item() if isinstance(value, np.generic) else value)


def frame_of(table: Any) -> pd.DataFrame:
    """The table as a pandas frame, whichever kind it is, with rows and names of its own for columns.

    Raises:
        DataError: when it is no table, has no rows, or has two columns of one name.
    """
    frame = as_frame(table)
    if not len(frame):
        raise DataError("the table has no rows; there is nothing to take a value from")
    if not frame.columns.is_unique:
        twice = sorted({str(name) for name in frame.columns[frame.columns.duplicated()]})
        raise DataError(f"two columns are named {', '.join(map(repr, twice))}; rename one")
    return frame


def require(frame: pd.DataFrame, columns: Iterable[tuple[str, str]]) -> None:
    """Nothing, when all columns are there.

    Args:
        frame: the table.
        columns: what each is for, and its name.

    Raises:
        DataError: with every unknown column, the nearest name and those that are there.
    """
    missing = [(what, name) for what, name in columns if name not in frame.columns]
    if missing:
        raise DataError(
            "\n".join(
                f"{what}: no column {name!r}; {known(str(name), frame.columns, 'columns')}" for what, name in missing
            )
        )


def action_names(columns: Sequence[tuple[str, pd.Series]], faults: Faults) -> list[NDArray[np.object_]]:
    """The values of columns of actions as texts that can be compared, whatever types they have: 1, 1.0 and "1" agree.

    Args:
        columns: each with its name.
        faults: takes note of missing values.
    """
    named = []
    for name, values in columns:
        faults.rows(name, values.isna().to_numpy(), values.to_numpy(), "must name an action in every row")
        named.append(_canonical(values))
    kinds = [set(names[~pd.isna(names)]) for names in named]
    if any(kind <= set(_WORDS) for kind in kinds) and any(kind <= {"0", "1"} for kind in kinds):
        # Flags in one column, 0 and 1 in the other.
        digits = {"true": "1", "false": "0"}
        named = [np.array([digits.get(name, name) for name in names], dtype=object) for names in named]
    return named


def _canonical(values: pd.Series) -> NDArray[np.object_]:
    codes, distinct = pd.factorize(values, use_na_sentinel=True)
    texts = pd.Series([str(one) for one in distinct], dtype=object)
    lowered = texts.str.lower()
    if len(texts) and lowered.isin(list(_WORDS)).all():
        texts = lowered
    elif len(texts) and texts.str.fullmatch(_NUMBER).all():
        texts = pd.Series([_number_text(one) for one in texts], dtype=object)
    found = np.full(len(codes), None, dtype=object)
    found[codes >= 0] = texts.to_numpy(dtype=object)[codes[codes >= 0]]
    return found


def _number_text(text: str) -> str:
    number = float(text)
    is_exact = number.is_integer() and abs(number) < 2**53
    return str(int(number)) if is_exact else text


def numbers(frame: pd.DataFrame, column: str, faults: Faults, *, missing: str | None = None) -> Floats:
    """A column as float64, flags as 0 and 1, texts of numbers read; NaN where missing.

    Args:
        frame: the table.
        column: its name.
        faults: takes note of what is no finite number.
        missing: what to say of missing values where they are a fault.
    """
    values = frame[column]
    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_complex_dtype(values.dtype):
        found = pd.Series(values.to_numpy(dtype=float, na_value=np.nan))
    else:
        texts = values.astype(object).where(values.notna(), None)
        texts = texts.map(lambda one: _WORDS.get(one.strip().lower(), one) if isinstance(one, str) else one)
        found = pd.to_numeric(texts.reset_index(drop=True), errors="coerce").astype(float)
    raw = values.to_numpy()
    array: Floats = found.to_numpy(dtype=float)
    is_missing = values.isna().to_numpy()
    faults.rows(column, (np.isnan(array) & ~is_missing) | np.isinf(array), raw, "must hold finite numbers")
    if missing is not None:
        faults.rows(column, is_missing, raw, missing)
    return array


def codes_of(values: pd.Series) -> Ints:
    """A code from 0 for each value; missing ones have a code of their own, the last."""
    codes, distinct = pd.factorize(values, use_na_sentinel=True)
    return np.where(codes < 0, len(distinct), codes).astype(np.int64)


def read_decisions(
    frame: pd.DataFrame,
    faults: Faults,
    *,
    action: str,
    propensity: str | Floats,
    target: str | None,
    target_propensity: str | None,
) -> Decisions:
    """The decisions in a table whose columns are there; what is wrong goes to `faults`.

    A logged probability may be missing, which leaves its row without support; 0 is a fault, as what has no probability
    is not done.
    """
    columns = [(action, frame[action])] + ([(target, frame[target])] if target is not None else [])
    names = action_names(columns, faults)
    coded, labels = pd.factorize(np.concatenate(names), sort=True, use_na_sentinel=True)
    actions = coded[: len(frame)].astype(np.int64)
    logged = numbers(frame, propensity, faults) if isinstance(propensity, str) else propensity
    column = propensity if isinstance(propensity, str) else "propensity"
    _check_range(
        column, logged, logged <= 0, "must lie above 0 and up to 1, as what was done had a probability", faults
    )
    if target is not None:
        targets = coded[len(frame) :].astype(np.int64)
        by_policy = (targets == actions).astype(float)
    else:
        assert target_propensity is not None
        targets = None
        by_policy = numbers(frame, target_propensity, faults, missing="must give the policy's probability in every row")
        _check_range(target_propensity, by_policy, by_policy < 0, "must lie between 0 and 1", faults)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(np.isnan(logged), 0.0, by_policy / logged)
    # What is equal up to how it was written down, is equal.
    weights = np.where(np.abs(weights - 1) < 1e-9, 1.0, weights)
    return Decisions([str(label) for label in labels], actions, logged, targets, by_policy, weights)


def _check_range(column: str, values: Floats, is_low: Bools, reason: str, faults: Faults) -> None:
    faults.rows(column, is_low | (values > 1 + 1e-9), values, reason)


def described(n: int, what: str, whole: int) -> str:
    """A count of rows and its share.

    >>> described(20, "row", 1000)
    '20 rows (2.0%)'
    """
    return f"{counted(n, what)} ({n / whole:.1%})"
