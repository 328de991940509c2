"""How an experiment's units overlap with other journeys, and whether shared caps fall on its arms unequally."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from journeylab.clock import NEVER, microseconds
from journeylab.display import Shown, plain_rows
from journeylab.errors import DataError
from journeylab.eventindex import Stream
from journeylab.experiments.effect import effects_table
from journeylab.experiments.exposure.windows import microseconds_of, upto
from journeylab.experiments.unittable import quoted
from journeylab.journey import CONTACT
from journeylab.language import again, formatted, later, say
from journeylab.resulttables import Tables
from journeylab.worlds import codes_of

from .differences import differences

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from journeylab.experiments.effect import Effect
    from journeylab.experiments.exposure.outcomes import OutcomeTable
    from journeylab.experiments.exposure.windows import Bools, Ints
    from journeylab.experiments.metrics import Metric
    from journeylab.replay import Replay

__all__ = ["OVERLAPS", "Overlap", "overlap"]

OVERLAPS = "overlaps"
_INSIDE, _ALONE = later("in another journey"), later("in no other journey")
_CAPS = ("cap", "policy_cap")
_ALPHA = 0.001


@dataclass(frozen=True, eq=False)
class Overlap(Tables, Shown):
    """What else went on around the units of an experiment.

    Attributes:
        matrix: a row for each other journey and arm: `journey`, `arm` (text), `n_units`, `n_inside_at_exposure`,
            `n_inside` (int; at some time within the window), `inside_share` (0..1), `p_value` (of arms having the same
            share inside within the window; the same for all arms of a journey).
        caps: a row for each arm: `arm`, `n_units`, `n_capped` (units of whom a cap skipped at least one send),
            `capped_share`, `p_value` (of arms having the same share).
        effects: `effect.effects_table` of the effects among those in another journey at their exposure and those in
            none; empty where no metrics were asked for, or one of the two groups lacks an arm.
        difference: whether they differ; see `differences.differences`.
        name: what messages call the experiment.
        notes: what to know of the overlap, in sentences.
    """

    _table_names: ClassVar = ("matrix", "caps", "effects", "difference")

    matrix: pd.DataFrame
    caps: pd.DataFrame
    effects: pd.DataFrame
    difference: pd.DataFrame
    name: str
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing says that arms overlap or are capped unequally, or that an effect depends on overlap."""
        return not self._unequal().size and not self._capped() and self._depending().empty

    def _unequal(self) -> NDArray[np.object_]:
        n = max(self.matrix["journey"].nunique(), 1)
        return np.asarray(self.matrix.loc[self.matrix["p_value"] < _ALPHA / n, "journey"].unique(), object)

    def _capped(self) -> bool:
        return bool((self.caps["p_value"] < _ALPHA).any())

    def _depending(self) -> pd.DataFrame:
        return self.difference[self.difference["p_value"] < 0.05 / max(len(self.difference), 1)]

    def sentences(self) -> list[str]:
        """What overlaps, in plain words."""
        said = []
        for journey, rows in self.matrix.groupby("journey"):
            shares = ", ".join(f"{one.arm} {formatted(one.inside_share, '.1%')}" for one in rows.itertuples())
            values = {"name": self.name, "journey": journey, "shares": shares}
            if journey in self._unequal():
                said.append(
                    say(
                        "{name}: within their window these shares of units were in journey {journey!r}: {shares}; the "
                        "arms differ, so their effect is also that of the other journey.",
                        **values,
                    )
                )
            else:
                said.append(
                    say(
                        "{name}: within their window these shares of units were in journey {journey!r}: {shares}.",
                        **values,
                    )
                )
        if self.caps["n_capped"].any():
            shares = ", ".join(f"{one.arm} {formatted(one.capped_share, '.1%')}" for one in self.caps.itertuples())
            values = {"name": self.name, "shares": shares}
            if self._capped():
                said.append(
                    say(
                        "{name}: a cap skipped sends to these shares of units: {shares}; the arms differ, so they are "
                        "not treated as they were meant to be.",
                        **values,
                    )
                )
            else:
                said.append(say("{name}: a cap skipped sends to these shares of units: {shares}.", **values))
        said += [
            say(
                "{name}: the effect of {arm!r} on {metric} is not the same {least} (less) and {most} (more), p = {p}.",
                name=self.name,
                arm=one.arm,
                metric=one.metric,
                least=say(one.least),
                most=say(one.most),
                p=formatted(one.p_value, ".2g"),
            )
            for one in self._depending().itertuples()
        ]
        if len(self.difference) and self._depending().empty:
            said.append(say("{name}: nothing says that effects depend on being in another journey.", name=self.name))
        return [*said, *(again(note) for note in self.notes)]

    def to_dict(self) -> dict[str, Any]:
        """The overlap as plain data for JSON."""
        tables = {name: plain_rows(getattr(self, name)) for name in ("matrix", "caps", "difference")}
        return {"passed": self.passed, "sentences": self.sentences(), **tables}

    def __repr__(self) -> str:
        return f"Overlap({self.name}: {'nothing' if self.passed else 'something'} says that it matters)"


def overlap(
    units: OutcomeTable,
    portfolio: Replay | None = None,
    *,
    metrics: Sequence[Metric] | None = None,
    alpha: float = 0.05,
) -> Overlap:
    """How many units were in each other journey, whether caps fell on arms alike, and the effects by overlap.

    Where neither the portfolio nor the log names other journeys, nothing is known of overlap, and a note says so.

    With a replay of the portfolio a unit is in another journey from its entry to its leaving. Without one the log's
    `sent` events with a `journey` tell: a unit is in a journey within its window when that one sent it something then,
    and at its exposure when it did so within as much time before.

    Effects are told apart by what was so at the exposure, which an arm cannot change; how many are in other journeys
    later may itself come of the arm. Tests are Pearson's chi-square; of units that got their arm together, as those of
    a household, they look at the first. Sends that a cap delays are not told from others.

    Args:
        units: the experiment's units, from a log.
        portfolio: a replay of all journeys over the same log.
        metrics: for which metrics effects are told apart; by default those of `units`, none with an empty list.
        alpha: the error of the effects' intervals.

    Raises:
        DataError: when the portfolio was replayed over another log.

    >>> from journeylab import datasets, replay
    >>> from journeylab.experiments.exposure.exposures import split_exposures
    >>> from journeylab.experiments.metrics import Count
    >>> from journeylab.experiments.exposure.outcomes import unit_table
    >>> both = replay(datasets.shop_history(), datasets.shop())
    >>> units = unit_table(split_exposures(both, "offer", "akacja_welcome"), [Count("visit")], window="14d")
    >>> overlap(units, both).matrix[["journey", "arm", "n_inside"]].iloc[0].to_dict()
    {'journey': 'akacja_winback', 'arm': 'discount', 'n_inside': 0}
    """
    import pandas as pd

    exposures = units.exposures
    end = np.minimum(exposures.at_us + _window_us(units), microseconds(units.until))
    if portfolio is not None and portfolio.log is not exposures.log:
        raise DataError(f"{exposures.name}: the portfolio was replayed over another log than the experiment")
    inside = _by_replay(units, portfolio, end) if portfolio is not None else _by_sends(units, end)
    arms, is_first = exposures.frame["arm"].to_numpy(object), exposures.is_first
    notes = []
    if not inside:
        notes.append(
            say(
                "{name}: nothing is known of other journeys; a replay of all that ran together tells who was in them "
                "and what their sends left of a shared cap.",
                name=exposures.name,
            )
        )
    elif portfolio is None:
        notes.append(
            say(
                "{name}: other journeys are known from what they sent only; a replay of all journeys tells who was in "
                "them.",
                name=exposures.name,
            )
        )
    rows = []
    for journey, (at_exposure, within) in inside.items():
        p_value = _p_value(arms[is_first], within[is_first])
        for arm in exposures.shares:
            mine = arms == arm
            n, n_within = int(mine.sum()), int(within[mine].sum())
            share = n_within / n if n else math.nan
            rows.append((journey, arm, n, int(at_exposure[mine].sum()), n_within, share, p_value))
    columns = ["journey", "arm", "n_units", "n_inside_at_exposure", "n_inside", "inside_share", "p_value"]
    found: list[Effect] = []
    wanted = units.metrics if metrics is None else tuple(metrics)
    if wanted and inside:
        is_inside = np.logical_or.reduce([at_exposure for at_exposure, _ in inside.values()])
        found, more = _by_overlap(units, wanted, is_inside, alpha)
        notes += more
    return Overlap(
        matrix=pd.DataFrame(rows, columns=columns),
        caps=_caps(units, arms),
        effects=effects_table(found),
        difference=differences(found),
        name=exposures.name,
        notes=tuple(notes),
    )


def _by_overlap(
    units: OutcomeTable, metrics: Sequence[Metric], is_inside: Bools, alpha: float
) -> tuple[list[Effect], list[str]]:
    """The effects of the units in other journeys and of those in none, or why there are none."""
    import pandas as pd

    from journeylab.experiments.estimation.effects import effects

    name, frame = units.exposures.name, units.exposures.frame
    if not is_inside.any():
        return [], [say("{name}: no unit was in another journey at its exposure.", name=name)]
    group = pd.array(np.where(is_inside, _INSIDE, _ALONE), dtype="str")
    told = units.with_columns({OVERLAPS: group}).narrowed("is_matured")
    n_there = told.rows(f"{quoted(OVERLAPS)}, count(DISTINCT arm)", "GROUP BY ALL")
    if dict(n_there) != dict.fromkeys((_INSIDE, _ALONE), frame["arm"].nunique()):
        return [], [say("{name}: too few units are in or out of other journeys to tell effects apart.", name=name)]
    return effects(told, metrics, by=OVERLAPS, alpha=alpha), []


def _window_us(units: OutcomeTable) -> int:
    return units.window // timedelta(microseconds=1)


def _by_replay(units: OutcomeTable, portfolio: Replay, end: Ints) -> dict[str, tuple[Bools, Bools]]:
    """For each other journey which units were inside at their exposure, and at some time within their window."""
    exposures, log = units.exposures, units.exposures.log
    entries, found = portfolio.entries, {}
    for name in portfolio.compiled.groups:
        if name in exposures.journeys:
            continue
        mine = entries[entries["journey"] == name]
        contact, entered = codes_of(log, mine[CONTACT], name), microseconds_of(mine["entered_at"])
        left = np.where(mine["left_at"].isna(), NEVER, microseconds_of(mine["left_at"].fillna(mine["entered_at"])))
        starts, ends = _stream(contact, entered, log.n_contacts), _stream(contact, left, log.n_contacts)
        # Inside at t are all entries begun by then, less those that have ended by then.
        at_exposure = upto(starts, exposures.contact, exposures.at_us) > upto(ends, exposures.contact, exposures.at_us)
        begun = upto(starts, exposures.contact, end) > upto(starts, exposures.contact, exposures.at_us)
        found[name] = at_exposure, at_exposure | begun
    return found


def _by_sends(units: OutcomeTable, end: Ints) -> dict[str, tuple[Bools, Bools]]:
    exposures, log = units.exposures, units.exposures.log
    column = log.property("journey") if "journey" in log.property_names else None
    sent, found = log.stream("sent"), {}
    held = column.held[sent.row] if column is not None else np.full(len(sent.at), -1)
    for code, name in enumerate(column.categories or [] if column is not None else []):
        stream = sent.where(held == code)
        if name in exposures.journeys or not len(stream.at):
            continue
        now, then = exposures.at_us, exposures.at_us - _window_us(units)
        n = [upto(stream, exposures.contact, at) for at in (then, now, end)]
        found[name] = n[1] > n[0], n[2] > n[1]
    return found


def _stream(contact: Ints, at: Ints, n_contacts: int) -> Stream:
    order = np.lexsort((at, contact))
    offsets = np.searchsorted(contact[order], np.arange(n_contacts + 1)).astype(np.int64)
    return Stream(offsets, at[order], order)


def _caps(units: OutcomeTable, arms: NDArray[np.object_]) -> pd.DataFrame:
    import pandas as pd

    sends, is_first = units.exposures.sends, units.exposures.is_first
    is_capped = np.zeros(len(arms), np.bool_)
    is_capped[sends.loc[sends["reason"].isin(_CAPS), "row"].to_numpy()] = True
    n_units = {arm: int((arms == arm).sum()) for arm in units.exposures.shares}
    n_capped = {arm: int(is_capped[arms == arm].sum()) for arm in n_units}
    return pd.DataFrame(
        {
            "arm": list(n_units),
            "n_units": list(n_units.values()),
            "n_capped": list(n_capped.values()),
            "capped_share": [n_capped[arm] / n if n else math.nan for arm, n in n_units.items()],
            "p_value": _p_value(arms[is_first], is_capped[is_first]),
        }
    )


def _p_value(arms: Iterable[object], flag: Bools) -> float:
    """The p value of arms having the same share of a flag; missing where nobody has it, or everybody."""
    from scipy import stats

    _, code = np.unique(np.asarray(arms, str), return_inverse=True)
    counts = np.zeros((2, code.max(initial=0) + 1), np.int64)
    np.add.at(counts, (flag.astype(int), code), 1)
    if counts.shape[1] < 2 or not counts.sum(axis=1).all():
        return math.nan
    return float(stats.chi2_contingency(counts, correction=False).pvalue)
