"""Assignments as arrays: arms by code, shares or each row's probabilities, instants; whatever is wrong is named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from journeylab.display import counted
from journeylab.errors import DataError, known, listed
from journeylab.tablesource import Table, as_frame, is_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.int64]

__all__ = ["arm_codes", "check_arms", "chances_of", "instants_of", "shares_of"]


def shares_of(shares: Mapping[str, float]) -> tuple[list[str], Floats]:
    """The names of the arms, and what each should have, adding up to 1.

    Raises:
        DataError: when there are fewer than two, one is not within 0..1, or they do not add up to 1.

    >>> shares_of({"a": 0.25, "b": 0.75})
    (['a', 'b'], array([0.25, 0.75]))
    """
    arms, theta = [str(arm) for arm in shares], np.array([float(share) for share in shares.values()])
    if len(arms) < 2:
        raise DataError(f"a split has at least two arms; shares names {listed(arms) or 'none'}")
    wrong = [arm for arm, share in zip(arms, theta, strict=True) if not 0 < share < 1]
    if wrong:
        raise DataError(f"the share of arm {wrong[0]!r} is {shares[wrong[0]]!r}; shares lie between 0 and 1")
    if not abs(theta.sum() - 1) < 1e-6:
        raise DataError(f"the shares of {listed(arms)} add up to {theta.sum():.6g}, not to 1; write a third as 1/3")
    return arms, theta / theta.sum()


def check_arms(names: Iterable[str], arms: Sequence[str]) -> None:
    """Accepts names that are all arms.

    Raises:
        DataError: with the nearest arm, when one is not.
    """
    for name in names:
        if name not in arms:
            raise DataError(f"arm {name!r} has no share; {known(name, arms, 'arms')}")


def chances_of(
    shares: Mapping[str, float] | None,
    probabilities: Table | Floats | None,
    arms: Sequence[str] | None,
    n_rows: int,
) -> tuple[list[str], Floats]:
    """The names of the arms, and their shares (arm,) or each row's probabilities (row, arm).

    Raises:
        DataError: when both or none is given, or one of them is not as it should be.
    """
    if (shares is None) == (probabilities is None):
        raise DataError("give either shares, the same for all rows, or probabilities of each row")
    if shares is not None:
        return shares_of(shares)
    if is_table(probabilities):
        given = as_frame(probabilities, "probabilities")
        probabilities, arms = given.to_numpy(dtype=float), [str(column) for column in given.columns]
    if arms is None:
        raise DataError("name the columns of probabilities with arms=")
    matrix = np.asarray(probabilities, dtype=float)
    if matrix.shape != (n_rows, len(arms)):
        raise DataError(f"probabilities has the shape {matrix.shape}; {n_rows} rows and {len(arms)} arms are needed")
    is_wrong = ~((matrix >= 0).all(axis=1) & (np.abs(matrix.sum(axis=1) - 1) < 1e-6))
    if is_wrong.any():
        row = int(np.argmax(is_wrong))
        raise DataError(
            f"row {row} of probabilities is {matrix[row].tolist()}; each is at least 0 and they add up to 1 "
            f"({counted(int(is_wrong.sum()), 'such row')})"
        )
    return [str(arm) for arm in arms], matrix


def arm_codes(values: pd.Series, arms: Sequence[str]) -> Ints:
    """The place of each row's arm among the arms.

    Raises:
        DataError: when a row names none, or one that is unknown.
    """
    codes, distinct = pd.factorize(values)
    if (codes < 0).any():
        n_missing = int((codes < 0).sum())
        raise DataError(f"row {int(np.argmin(codes))} of assignments names no arm ({counted(n_missing, 'such row')})")
    names = [str(one) for one in distinct]
    check_arms(names, arms)
    places = np.array([arms.index(name) for name in names], dtype=np.int64)
    of_rows: Ints = places[codes]
    return of_rows


def instants_of(assignments: pd.DataFrame) -> pd.DatetimeIndex | None:
    """When each row was exposed; None where the table has no such column.

    Raises:
        DataError: when times have no zone, or one is missing.
    """
    if "exposed_at" not in assignments.columns:
        return None
    values = assignments["exposed_at"]
    if not isinstance(values.dtype, pd.DatetimeTZDtype):
        raise DataError(f"exposed_at holds instants with a time zone, such as UTC; it is {values.dtype} here")
    if values.isna().any():
        raise DataError(f"row {int(np.argmax(values.isna()))} of assignments has no exposed_at")
    return pd.DatetimeIndex(values)
