"""A split that sends more contacts to the arms that do better, and still leaves a log that can be evaluated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numba import njit
from scipy.special import betainc

from journeylab.display import block, figure, table
from journeylab.errors import DataError, known, listed
from journeylab.journey import Split
from journeylab.keyedhash import purpose_key, uniform, unit_hashes

if TYPE_CHECKING:
    from journeylab.journey import Journey
    from journeylab.offpolicy import Floats

__all__ = ["ThompsonSplit", "best_chances", "check_floor", "floored"]

_PLACES = np.concatenate([np.linspace(-8, -4, 5)[:-1], np.linspace(-4, 4, 41), np.linspace(4, 8, 5)[1:]])
"""Where a posterior is looked at, in standard deviations from its mean."""
_STEPS = 1000
_FORMAT = "journeylab.ThompsonSplit/1"


_MOST_ARMS = 20


class ThompsonSplit:
    """A split whose probabilities follow what comes of its arms, by Thompson sampling in batches, with a floor.

    Each arm's rate has a beta posterior with the prior Beta(1, 1). An arm is drawn with the probability that it is the
    best (Thompson, W. R. (1933), On the likelihood that one unknown probability exceeds another, Biometrika 25,
    285-294), computed and not drawn, so that it can be written down; a floor that every arm keeps leaves the log
    evaluable. Probabilities change with `update` only, between which is a batch. Units are assigned by the keyed hash
    of rule 22: with equal probabilities as a `split` of the same salt would.

    The posterior takes an arm's rate for the same at all times: where rates drift, or outcomes of arms are not equally
    old, what was drawn more often later looks better or worse than it is. Evaluate the log by `adaptive_means`.

    Args:
        arms: two or more names.
        salt: what the hash is keyed with, such as `journey/node`.
        floor: the least probability of every arm, above 0 and up to one over the number of arms.

    Attributes:
        batch: how many updates there were.

    Raises:
        DataError: for fewer than two arms, arms of one name, or a floor out of its bounds.

    >>> split = ThompsonSplit(["plain", "discount"], salt="welcome/offer")
    >>> split.propensities()
    {'plain': 0.5, 'discount': 0.5}
    >>> split.update({"plain": [0] * 90 + [1] * 10, "discount": [0] * 80 + [1] * 20})
    >>> {arm: round(share, 2) for arm, share in split.propensities().items()}
    {'plain': 0.12, 'discount': 0.88}
    >>> split.assign([17, 18])
      unit       arm  probability  batch
    0   17  discount     0.879998      1
    1   18  discount     0.879998      1
    """

    def __init__(self, arms: Sequence[str], *, salt: str, floor: float = 0.1) -> None:
        self.arms = [str(arm) for arm in arms]
        if len(self.arms) < 2 or len(set(self.arms)) < len(self.arms):
            raise DataError(f"a split has two or more arms of different names, got {', '.join(self.arms) or 'none'}")
        check_floor(floor, len(self.arms))
        self.salt, self.floor, self.batch = salt, floor, 0
        self._successes, self._failures = np.zeros(len(self.arms), np.int64), np.zeros(len(self.arms), np.int64)

    def __repr__(self) -> str:
        shares = ", ".join(f"{arm} {share:.0%}" for arm, share in self.propensities().items())
        return f"ThompsonSplit({shares}; batch {self.batch})"

    def propensities(self) -> dict[str, float]:
        """With which probability each arm is drawn in this batch: at least the floor, and 1 together."""
        shares = floored(best_chances(self._successes, self._failures), self.floor)
        return dict(zip(self.arms, shares.tolist(), strict=True))

    def assign(self, units: Iterable[object]) -> pd.DataFrame:
        """The arm of each unit in this batch, with the probability it was drawn with.

        The same unit in the same batch always has the same arm; in a later batch it may have another, so ask once for
        each unit, when it is exposed, and keep the row.

        Args:
            units: ids of contacts, or of what the split is drawn for.

        Returns:
            Columns `unit` (text), `arm` (text), `probability` (0..1, of that arm), `batch` (int).

        Raises:
            DataError: when an id is missing.
        """
        import pyarrow as pa

        ids = list(units)
        missing = [place for place, one in enumerate(ids) if one is None or one != one]
        if missing:
            raise DataError(f"unit {missing[0]} of {len(ids)} has no id; without one it cannot be assigned")
        texts = [str(one) for one in ids]
        hashes = unit_hashes(pa.array(texts, pa.large_string()))
        shares = self.propensities()
        order = sorted(self.arms)  # as rule 22 breaks ties
        turns = np.column_stack([
            -np.log(_uniforms(hashes, np.uint64(purpose_key(f"{self.salt}/{arm}")))) / shares[arm] for arm in order
        ])  # fmt: skip
        won = np.argmin(turns, axis=1) if len(ids) else np.empty(0, np.int64)
        return pd.DataFrame({
            "unit": pd.Series(texts, dtype=str),
            "arm": pd.Series(np.array(order, object)[won], dtype=str),
            "probability": np.array([shares[arm] for arm in order])[won],
            "batch": np.full(len(ids), self.batch, np.int64),
        })  # fmt: skip

    def update(self, outcomes: Mapping[str, Iterable[float]]) -> None:
        """Takes in what came of some arms, after which a new batch begins.

        Give outcomes that have matured, each once, and of all arms those that are equally old.

        Args:
            outcomes: for arms, zeros and ones (or flags) of units.

        Raises:
            DataError: for an unknown arm, or an outcome that is neither 0 nor 1; then nothing is taken in.
        """
        counts = {}
        for arm, values in outcomes.items():
            if arm not in self.arms:
                raise DataError(f"no arm {arm!r}; {known(str(arm), self.arms, 'arms')}")
            found = np.asarray(list(values), dtype=float)
            bad = np.flatnonzero(~np.isin(found, [0, 1]))
            if len(bad):
                raise DataError(f"outcome {bad[0]} of arm {arm!r} is {found[bad[0]]}; outcomes are 0 or 1")
            counts[arm] = int(found.sum()), len(found)
        for arm, (n_successes, n) in counts.items():
            self._successes[self.arms.index(arm)] += n_successes
            self._failures[self.arms.index(arm)] += n - n_successes
        self.batch += 1

    def applied(self, journey: Journey, node: str) -> Journey:
        """The journey with the shares of this batch in one of its splits: its next version, to be promoted (rule 26).

        Shares are rounded to a tenth of a percent, each at least the floor; contacts keep their arms but for those whom
        the shares must move (rule 22), and replays record the probabilities.

        Args:
            journey: the journey that has the split.
            node: the split's node, whose arms are these.

        Raises:
            DataError: when there is no such split, or it has other arms or another salt, so that its units were not
                drawn by it.
        """
        split = journey.nodes.get(node)
        if not isinstance(split, Split):
            splits = [name for name, one in journey.nodes.items() if isinstance(one, Split)]
            raise DataError(f"{journey.journey} has no split {node!r}; {known(node, splits, 'splits')}")
        salt = split.salt or f"{journey.journey}/{node}"
        if {*split.split} != {*self.arms} or salt != self.salt:
            raise DataError(
                f"{journey.journey}/{node} has the arms {listed(split.split)} and the salt {salt!r}, and this splits "
                f"{listed(self.arms)} by {self.salt!r}"
            )
        least = math.ceil(self.floor * _STEPS - 1e-9)
        rest = np.array([share - self.floor for share in self.propensities().values()])
        free = _STEPS - least * len(self.arms)
        exact = free * rest / rest.sum() if rest.sum() > 0 else np.full(len(rest), free / len(rest))
        whole = np.floor(exact).astype(int)
        whole[np.argsort(whole - exact, kind="stable")[: free - whole.sum()]] += 1
        shares = {arm: Fraction(least + int(n), _STEPS) for arm, n in zip(self.arms, whole, strict=True)}
        changed = split.model_copy(update={"split": {arm: shares[arm] for arm in split.split}})
        return journey.model_copy(update={"nodes": {**journey.nodes, node: changed}})

    def to_dict(self) -> dict[str, Any]:
        """The whole state, as plain data that `from_dict` reads."""
        return {
            "format": _FORMAT, "arms": self.arms, "salt": self.salt, "floor": self.floor, "batch": self.batch,
            "n_successes": self._successes.tolist(), "n_failures": self._failures.tolist(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> ThompsonSplit:
        """The split in the state that `to_dict` gave.

        Raises:
            DataError: when it is no such state.
        """
        if state.get("format") != _FORMAT:
            raise DataError(f"this is no state of a split: its format is {state.get('format')!r}, not {_FORMAT!r}")
        split = cls(state["arms"], salt=state["salt"], floor=state["floor"])
        split.batch = int(state["batch"])
        split._successes[:], split._failures[:] = state["n_successes"], state["n_failures"]
        return split

    def _repr_html_(self) -> str:
        came = zip(self.propensities().items(), self._successes, self._failures, strict=True)
        rows = [(arm, figure(share), f"{good:,}", f"{good + bad:,}") for (arm, share), good, bad in came]
        return block(repr(self), table(("arm", "probability", "answers", "units"), rows, _MOST_ARMS))


def check_floor(floor: float, n_arms: int) -> None:
    """Nothing, when every arm can keep the floor.

    Raises:
        DataError: when it is not above 0, or more than an equal share.
    """
    if not 0 < floor <= 1 / n_arms + 1e-12:
        raise DataError(f"floor={floor}: every arm of {n_arms} keeps more than 0 and at most {1 / n_arms:.4g}")


def floored(chances: Floats, floor: float) -> Floats:
    """Probabilities of which each keeps the floor and the rest is shared out by the chances.

    Args:
        chances: (..., arm), 1 together.
        floor: up to one over the number of arms.

    >>> floored(np.array([1.0, 0.0]), 0.1)
    array([0.9, 0.1])
    """
    shares: Floats = floor + (1 - floor * chances.shape[-1]) * chances
    return shares


def best_chances(n_successes: Any, n_failures: Any) -> Floats:
    """How likely each arm has the highest rate, by beta posteriors with the prior Beta(1, 1): float64 (..., arm).

    The integral of one arm's distribution against the product of the others', by the trapezoid rule over places that
    lie close wherever one of the posteriors is narrow; right to about three digits.

    Args:
        n_successes: (..., arm).
        n_failures: (..., arm).

    >>> best_chances([10, 20], [90, 80]).round(3)
    array([0.025, 0.975])
    """
    a, b = np.asarray(n_successes, float) + 1, np.asarray(n_failures, float) + 1
    mean = a / (a + b)
    deviation = np.sqrt(mean * (1 - mean) / (a + b + 1))
    places = (mean[..., None] + deviation[..., None] * _PLACES).reshape(*a.shape[:-1], -1)
    x = np.sort(np.clip(places, 0, 1), axis=-1)
    x[..., 0], x[..., -1] = 0, 1
    below = betainc(a[..., None], b[..., None], x[..., None, :])
    chances = np.empty_like(a)
    for arm in range(a.shape[-1]):
        others = np.delete(below, arm, axis=-2).prod(axis=-2)
        steps = np.diff(below[..., arm, :], axis=-1)
        chances[..., arm] = (steps * (others[..., 1:] + others[..., :-1]) / 2).sum(axis=-1)
    shares: Floats = chances / chances.sum(axis=-1, keepdims=True)
    return shares


@njit(nogil=True, cache=True)
def _uniforms(units, key):  # type: ignore[no-untyped-def]
    out = np.empty(units.shape[0])
    for i in range(units.shape[0]):
        out[i] = uniform(units[i], key)
    return out
