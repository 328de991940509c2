"""Weights of a segment fitted from an outcome, and what they are worth on a later cut of the log.

The evidence is taken as of one instant and the outcome from the time after it, so nothing that the segment could not
have known when it is asked plays a part. Whether the fit helps is judged at a later instant, by time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from .clock import instant, microseconds
from .conditions import Condition
from .display import Shown, block, table
from .durations import duration_text, parse_duration
from .errors import DataError, DefinitionError, Fault, JourneyLabError, known
from .expressions import literal_text
from .journey import Evidence, Segment
from .resulttables import Tables
from .segments import Evaluator, instant_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .eventlog import EventLog

__all__ = ["FittedSegment", "Validation", "fit"]

_Z = 1.959964
_OUTCOME = "outcome"
_BIAS = "(bias)"
_MOST_ROWS = 60


@dataclass(frozen=True, slots=True)
class Validation(Shown):
    """How well the fitted membership foretold the outcome at a later instant, beside the base rate of the fit.

    Both scores are means over contacts, lower is better. `gain` is how much lower the log loss is than that of
    foretelling the base rate for everybody, from `gain_low` to `gain_high` (95 %, paired over contacts).
    """

    as_of: datetime
    n_contacts: int
    outcome_rate: float
    log_loss: float
    base_log_loss: float
    brier: float
    base_brier: float
    gain: float
    gain_low: float
    gain_high: float

    @property
    def no_gain(self) -> bool:
        """Whether the fit cannot be told from foretelling the base rate for everybody."""
        return not self.gain_low > 0

    def __str__(self) -> str:
        scores = f"log loss {self.log_loss:.4f} against {self.base_log_loss:.4f} for the base rate"
        verdict = "no gain: do not use these weights" if self.no_gain else "better than the base rate"
        gain = f"gain {self.gain:.4f}, 95% from {self.gain_low:.4f} to {self.gain_high:.4f}"
        brier = f"Brier {self.brier:.4f} against {self.base_brier:.4f}"
        return f"as of {self.as_of:%Y-%m-%d}, {self.n_contacts:,} contacts: {verdict} ({scores}; {gain}; {brier})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FittedSegment(Tables):
    """A segment whose weights were fitted, with how sure they are and what they are worth.

    Attributes:
        segment: the segment, its weights and bias rounded to four decimals, ready for a journey.
        coefficients: a row for each line of evidence and one for the bias: `evidence` (text), `weight`,
            `standard_error`, the 95 % interval `low` and `high`, `n_contacts` for whom it holds.
        outcome: the event or condition that was foretold.
        as_of: the instant of the evidence, aware UTC.
        within: how long after it the outcome was looked for.
        n_contacts: how many contacts the weights rest on.
        outcome_rate: the share of them with the outcome, 0..1.
        validation: what the fit is worth at a later instant, missing where the log ends too early.
    """

    _table_names: ClassVar = ("coefficients",)

    segment: Segment
    coefficients: pd.DataFrame
    outcome: str
    as_of: datetime
    within: timedelta
    n_contacts: int
    outcome_rate: float
    validation: Validation | None

    @property
    def notes(self) -> list[str]:
        """What to know before using the weights, in sentences."""
        if self.validation is not None:
            return [f"Validated {self.validation}."]
        later = f"{self.as_of + 2 * self.within:%Y-%m-%d}"
        return [f"Not validated: that needs a log up to {later} or an earlier as_of; the weights may be worth nothing."]

    def __repr__(self) -> str:
        worth = "not validated" if self.validation is None else "no gain" if self.validation.no_gain else "better"
        foretold = f"{self.outcome} within {duration_text(self.within)}"
        contacts = f"{self.n_contacts:,} contacts as of {self.as_of:%Y-%m-%d}"
        return f"FittedSegment({foretold}, from {contacts}, base rate {self.outcome_rate:.1%}, {worth})"

    def _repr_html_(self) -> str:
        rows = [
            (one.evidence, f"{one.weight:.3f}", f"{one.low:.3f} to {one.high:.3f}", f"{one.n_contacts:,}")
            for one in self.coefficients.itertuples()
        ]
        notes = [(note,) for note in self.notes]
        head = ("evidence", "weight", "95% interval", "contacts")
        return block(repr(self), table(head, rows, _MOST_ROWS), table(("what it is worth",), notes))


class _Cut(NamedTuple):
    """The evidence as of an instant (contact, evidence) and the outcome after it, for contacts who exist by then."""

    evidence: NDArray[np.float64]
    outcome: NDArray[np.float64]
    is_in: NDArray[np.bool_]


def fit(
    segment: Segment,
    log: EventLog,
    *,
    outcome: str | Condition,
    as_of: datetime | str,
    within: timedelta | str = "30d",
    validate_as_of: datetime | str | None = None,
    C: float = 1.0,  # noqa: N803  (scikit-learn's name)
) -> FittedSegment:
    """The segment with the weights that best foretell an outcome, as a `FittedSegment`.

    A ridge logistic regression of the outcome on the lines of evidence, over all contacts who exist as of `as_of`. Its
    standard errors are those of le Cessie, S. and van Houwelingen, J. C. (1992), Ridge estimators in logistic
    regression, Applied Statistics 41, 191-201; they take contacts as independent and describe association, not effect
    (rule 32).

    Args:
        segment: a segment with weights; only their conditions are used.
        log: the event log.
        outcome: the name of an event, which happened or not in (as_of, as_of + within]; or a condition as of
            as_of + within, such as `did("purchase", "30d", where="amount > 50")`.
        as_of: the instant of the evidence: aware, or ISO text.
        within: how long after it the outcome is looked for.
        validate_as_of: the later instant at which the fit is judged; by default as_of + within, where the log reaches
            that far. It is refused where it is earlier, as the outcomes would overlap.
        C: the inverse strength of the ridge, as in scikit-learn.

    Raises:
        DefinitionError: when the segment has no weights, or a condition is at fault or does not fit the log.
        DataError: when the log ends before the outcome can be known, or nobody or everybody has it.
        JourneyLabError: when scikit-learn is not installed.
    """
    if not segment.weights:
        raise DefinitionError(
            [Fault((), "a plain condition has no weights to fit; give the segment lines of evidence")]
        )
    length = _positive(within)
    at_us = instant_in(log, as_of, "as_of")
    later_us = _validation_instant(log, at_us, length, validate_as_of)
    evidence = Evaluator(log, {one.when: Segment(condition=one.when) for one in segment.weights})
    happened = Evaluator(log, {_OUTCOME: _outcome(log, outcome, length)})
    cut = _cut(evidence, happened, at_us, length)
    fitted, coefficients = _fitted(cut, list(evidence.conditions), C)
    rate = float(cut.outcome.mean())
    validation = None
    if later_us is not None:
        later = _cut(evidence, happened, later_us, length)
        foretold = Evaluator(log, {_OUTCOME: fitted}).membership(_OUTCOME, later_us)[later.is_in]
        validation = _validated(instant(later_us), foretold, later.outcome, rate)
    return FittedSegment(
        fitted, coefficients, str(outcome), instant(at_us), length, len(cut.outcome), rate, validation
    )  # fmt: skip


def _positive(within: timedelta | str) -> timedelta:
    try:
        length = parse_duration(within)
    except ValueError as problem:
        raise DataError(f"within: {problem}") from None
    if length <= timedelta(0):
        raise DataError(f"within must be longer than zero, got {duration_text(length)}")
    return length


def _validation_instant(
    log: EventLog, at_us: int, length: timedelta, validate_as_of: datetime | str | None
) -> int | None:
    """The instant at which the fit is judged; missing where the log does not reach that far.

    Raises:
        DataError: when the log does not reach as far as it has to.
    """
    latest = instant(log.end_us) - length
    reach = f"its outcome is known only at {duration_text(length)} after it; the latest as_of is {latest.isoformat()}"
    if instant(at_us) > latest:
        raise DataError(f"as_of {instant(at_us).isoformat()} is too late for this log: {reach}")
    earliest = instant(at_us) + length
    if validate_as_of is None:
        return microseconds(earliest) if earliest <= latest else None
    later_us = instant_in(log, validate_as_of, "validate_as_of")
    if instant(later_us) < earliest:
        raise DataError(f"validate_as_of must be at least {duration_text(length)} after as_of: {earliest.isoformat()}")
    if instant(later_us) > latest:
        raise DataError(f"validate_as_of {instant(later_us).isoformat()} is too late for this log: {reach}")
    return later_us


def _outcome(log: EventLog, outcome: str | Condition, length: timedelta) -> Segment:
    text = str(outcome)
    if text in log.event_names:
        return Segment(condition=f"did({literal_text(text)}, {literal_text(duration_text(length))})")
    if text.isidentifier() and text not in log.attribute_names:
        raise DataError(f"no event {text!r} in this log; {known(text, log.event_names, 'events')}")
    return Segment(condition=text)


def _cut(evidence: Evaluator, happened: Evaluator, at_us: int, length: timedelta) -> _Cut:
    is_in = evidence.exists(at_us)
    flags = [evidence.membership(name, at_us)[is_in] for name in evidence.conditions]
    after_us = microseconds(instant(at_us) + length)
    cut = _Cut(np.column_stack(flags), happened.membership(_OUTCOME, after_us)[is_in], is_in)
    if len(cut.outcome) == 0:
        raise DataError(f"nobody exists as of {instant(at_us).isoformat()}; choose a later as_of")
    return cut


def _fitted(cut: _Cut, evidence: list[str], strength: float) -> tuple[Segment, pd.DataFrame]:
    """The segment and its table of coefficients."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise JourneyLabError('fitting weights needs scikit-learn: pip install "journeylab[models]"') from None
    if not strength > 0:
        raise DataError(f"C must be greater than zero, got {strength!r}")
    n, n_outcomes = len(cut.outcome), int(cut.outcome.sum())
    if n_outcomes in (0, n):
        raise DataError(f"{'nobody' if n_outcomes == 0 else 'everybody'} of {n:,} contacts has the outcome: no weights")
    model = LogisticRegression(C=strength, tol=1e-8, max_iter=1000).fit(cut.evidence, cut.outcome)
    weights = np.append(model.coef_[0], model.intercept_[0]).round(4)
    with_bias = np.column_stack([cut.evidence, np.ones(n)])
    error = _standard_errors(with_bias, weights, strength)
    lines = tuple(Evidence(when=when, weight=weight) for when, weight in zip(evidence, weights[:-1], strict=True))
    coefficients = pd.DataFrame(
        {
            "evidence": [*evidence, _BIAS],
            "weight": weights,
            "standard_error": error,
            "low": weights - _Z * error,
            "high": weights + _Z * error,
            "n_contacts": with_bias.sum(axis=0).astype(np.int64),
        }
    )
    return Segment(weights=lines, bias=weights[-1]), coefficients


def _standard_errors(
    with_bias: NDArray[np.float64], weights: NDArray[np.float64], strength: float
) -> NDArray[np.float64]:
    """The standard errors of le Cessie and van Houwelingen (1992); the bias, in the last column, is not penalised."""
    foretold = 1 / (1 + np.exp(-with_bias @ weights))
    information = (with_bias * (foretold * (1 - foretold))[:, None]).T @ with_bias
    penalty = np.full(len(weights), 1 / strength)
    penalty[-1] = 0
    inverse = np.linalg.inv(information + np.diag(penalty))
    error: NDArray[np.float64] = np.sqrt(np.diag(inverse @ information @ inverse))
    return error


def _validated(
    as_of: datetime, foretold: NDArray[np.float64], outcome: NDArray[np.float64], base_rate: float
) -> Validation:
    loss, base_loss = (_log_losses(one, outcome) for one in (foretold, np.full(len(outcome), base_rate)))
    gains = base_loss - loss
    half = _Z * float(gains.std(ddof=1)) / len(gains) ** 0.5 if len(gains) > 1 else np.inf
    gain = float(gains.mean())
    return Validation(
        as_of=as_of,
        n_contacts=len(outcome),
        outcome_rate=float(outcome.mean()),
        log_loss=float(loss.mean()),
        base_log_loss=float(base_loss.mean()),
        brier=float(((foretold - outcome) ** 2).mean()),
        base_brier=float(((base_rate - outcome) ** 2).mean()),
        gain=gain,
        gain_low=gain - half,
        gain_high=gain + half,
    )


def _log_losses(foretold: NDArray[np.float64], outcome: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.log(np.where(outcome == 1, foretold, 1 - foretold))
