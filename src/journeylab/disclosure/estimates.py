"""Estimates beside what is shown: what a model or an analysis says of people whose number may be shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from journeylab.errors import DataError

from .perturbation import BASE

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

__all__ = ["coarse", "with_estimates"]

_STEPS = np.array([digit * 10.0**power for power in range(-12, 1) for digit in (1, 2, 5)])


def coarse(values: ArrayLike, n: ArrayLike, size: float = 1.0) -> NDArray[np.float64]:
    """Means of `n` people, rounded to what five of them are of it, in steps of 1, 2 or 5 and zeros.

    Args:
        values: means, or differences of means.
        n: how many people the smaller group has.
        size: how much one person may count: 1 for shares, about the mean for amounts.

    >>> coarse([0.4123, 0.00417], [130, 100_000])
    array([0.4    , 0.00415])
    """
    least = np.nan_to_num(BASE / np.asarray(n, float), nan=1.0, posinf=1.0)
    scale = 10.0 ** np.floor(np.log10(size)) if size > 0 else 1.0
    step = scale * _STEPS[np.minimum(np.searchsorted(_STEPS, least * size / scale), len(_STEPS) - 1)]
    found: NDArray[np.float64] = np.round(np.round(np.asarray(values, float) / step) * step, 12)
    return found


def with_estimates(
    shown: pd.DataFrame, estimates: pd.DataFrame, *, on: Sequence[str], shares: Sequence[str], words: Sequence[str] = ()
) -> pd.DataFrame:
    """A disclosed table with estimates beside its numbers, where these are shown.

    An estimate is a mean over many people, or what a model says of them, so one of them moves it by less than one over
    their number: it is rounded to what five people are of their group (`coarse`). Of a hidden number it says nothing.

    Args:
        shown: a table of `Disclosed.tables`.
        estimates: a row for each key.
        on: the columns of the key.
        shares: columns of `estimates` in 0..1 to add; missing where nothing is estimated.
        words: columns of text to add.

    Returns:
        `shown` with the columns, missing where its number is hidden or nothing is estimated.

    Raises:
        DataError: when a key is in `estimates` twice, or a share is none.

    >>> import pandas as pd
    >>> shown = pd.DataFrame({"branch": ["then", "else"], "n_contacts": pd.array([55, None], dtype="Int64"),
    ...                       "n_within": pd.array([130, 130], dtype="Int64"),
    ...                       "status": ["shown", "hidden: few people"]})
    >>> said = pd.DataFrame({"branch": ["then", "else"], "predicted_share": [0.4123, 0.0311]})
    >>> with_estimates(shown, said, on=["branch"], shares=["predicted_share"])["predicted_share"].tolist()
    [0.4, nan]
    """
    keys = list(on)
    if estimates.duplicated(keys).any():
        raise DataError("estimates have a key twice; give one row for each")
    found = shown.merge(estimates[[*keys, *shares, *words]], on=keys, how="left", validate="many_to_one")
    is_shown = (found["status"] == "shown").to_numpy()
    n = found["n_within"].fillna(found["n_contacts"]).astype("Float64").to_numpy(float, na_value=np.nan)
    for name in shares:
        values = found[name].to_numpy(float, na_value=np.nan)
        if ((values < 0) | (values > 1)).any():
            raise DataError(f"estimates: {name} is a share, from 0 to 1")
        found[name] = np.where(is_shown, np.clip(coarse(values, n), 0, 1), np.nan)
    for name in words:
        found[name] = found[name].where(is_shown)
    return found
