"""Response models: whether a send is opened, clicked, unsubscribed from …, converts, and when, learned from a log.

`fit_responses` fits them and says, by time, what they are worth; `simulate` asks them about messages that were never
sent. Whatever has the attributes of `Responses` can be asked in their place; `own_fit` gives what fits it where an
installed package brings that.

Nothing here is an effect: a model says what came of sends like those on record, made when and to whom they were made
(rule 32).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import pandas as pd

from . import extensions
from .bucketed import BucketedLog
from .clock import instant
from .delays import DelayTable
from .durations import duration_text
from .errors import DataError, JourneyLabError
from .progress import Progress, shown
from .resulttables import Tables
from .sendhistory import Features, default_features, sends_in

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .eventlog import EventLog
    from .responsefit import FittedResponse

__all__ = ["ResponseModel", "Responses", "fit_responses", "own_fit"]

_LEAST_SENDS = 50
_TRAINING_SHARE = 0.75
_HOUR = "local_hour()"
_TENURES_US = np.array([1, 12, 48, 168, 720], np.int64) * 3_600_000_000


class Responses(Protocol):
    """What a simulation needs to know of a response model."""

    @property
    def responses(self) -> tuple[str, ...]:
        """The responses it knows, in the order of `predict`."""

    @property
    def features(self) -> tuple[str, ...]:
        """The texts of the values that it wants to be told, in the order of `predict`."""

    @property
    def messages(self) -> tuple[str, ...]:
        """The messages it knows."""

    @property
    def within(self) -> timedelta:
        """How long after a send responses come."""

    @property
    def converts(self) -> str | None:
        """The event that a conversion is."""

    @property
    def cell_edges(self) -> NDArray[np.float64]:
        """The log-odds that divide sends into cells of like chances, (response, edge); none for a single cell."""

    @property
    def cell_sd(self) -> NDArray[np.float64]:
        """The standard deviation of the level's error in log-odds, (message, cell, response)."""

    @property
    def shift_sd(self) -> NDArray[np.float64]:
        """That of the level of a message's own sends as a whole, (message, response)."""

    @property
    def unseen_sd(self) -> NDArray[np.float64]:
        """That of the level of a message that it does not know, by response."""

    @property
    def failures(self) -> tuple[str, ...]:
        """What a backtest found wrong with it, in sentences; nothing as long as there was none."""

    def predict(self, X: NDArray[np.float64], message: NDArray[np.int64]) -> NDArray[np.float64]:  # noqa: N803
        """The probability of each response, (send, response)."""

    def draw_delays(
        self, response: str, message: NDArray[np.int64], slot: NDArray[np.int64], u: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """The delay at a share `u` of all delays, microseconds."""

    def slot_of(self, local_hour: ArrayLike) -> NDArray[np.int64]:
        """The slot of the local hour of a send."""

    def tenure_slot_of(self, known_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """The slot of how long a contact was known when it was sent to."""


@dataclass(frozen=True, eq=False, repr=False)
class ResponseModel(Tables):
    """Fitted responses to sends, with what they are worth.

    Attributes:
        responses: the responses, in the order of the log's contract, then `converted`.
        features: the texts of the values asked for, in the language of conditions.
        messages: the messages known, sorted.
        within: how long after the send (a click: after the open) a response is looked for.
        converts: the event that a conversion is, if any.
        until: the instant up to which the log was looked at, aware UTC.
        timezone: the zone of contacts without one of their own.
        delays: by response, its `DelayTable`: from the send, of `clicked` from the open; of `converted` by how long
            the contact was known instead of by message.
        shift_sd: float64 (message, response), the standard deviation of the model's error of level, in log-odds; where
            levels moved from week to week, or from the fit to the validation, by more than chance, that is in it.
        unseen_sd: float64 by response, the same for a message that was never sent.
        cell_edges: float64 (response, edge), log-odds that divide sends into cells of like chances.
        cell_sd: float64 (message, cell, response), the standard deviation of the level's error in each cell, by itself.
        validation: a row for each response, on sends after those the model was fitted to: `response`, `n_sends`,
            `n_responses`, `rate`, `log_loss`, `baseline_log_loss`, `brier`, `baseline_brier` (means over sends, lower
            is better; of the boosted model and of the shrunken rates), `gain` (how much lower its log loss is) and
            `gain_se` (contacts taken together), `used` (`boosted` or `baseline`), and of that one
            `calibration_intercept` (log-odds by which it was too low) with its standard error
            `calibration_intercept_se`, and `calibration_slope` (1 is best). Missing where too little came.
        calibration: for each response and model, bins of the validation's sends: `response`, `model`, `bin`,
            `n_sends`, `predicted_rate`, `observed_rate` and its 95 % Wilson interval, `low` and `high`.
        n_sends, n_contacts: what the models were fitted to.
        start_at: the first send, aware UTC.
        cut_at: the first instant of the validation, aware UTC.
        failures: what its validation or a backtest found wrong with it, in sentences.
    """

    _table_names: ClassVar = ("validation", "calibration")

    responses: tuple[str, ...]
    features: tuple[str, ...]
    messages: tuple[str, ...]
    within: timedelta
    converts: str | None
    until: datetime
    timezone: str
    delays: dict[str, DelayTable]
    shift_sd: NDArray[np.float64]
    unseen_sd: NDArray[np.float64]
    cell_edges: NDArray[np.float64]
    cell_sd: NDArray[np.float64]
    validation: pd.DataFrame
    calibration: pd.DataFrame
    n_sends: int
    n_contacts: int
    start_at: datetime
    cut_at: datetime
    failures: tuple[str, ...] = ()
    _fitted: dict[str, FittedResponse] = field(default_factory=dict)

    def predict(self, X: NDArray[np.float64], message: NDArray[np.int64]) -> NDArray[np.float64]:  # noqa: N803
        """The mean probability that each response comes: float64 (send, response), 0..1.

        `delivered`, `bounced` and `converted` are of the send, `opened`, `complained` and `unsubscribed` of one that
        is not bounced, `clicked` of one that is opened. `converted` is the contact's next such event before any other
        send to them, which takes over.

        Args:
            X: float64 (send, feature): the `features` as of each send; NaN where missing.
            message: int64, places in `messages`; -1 for a message that was never sent.
        """
        from scipy.special import expit

        design = np.column_stack([X, message])
        return np.column_stack([expit(self._fitted[name].log_odds(design)) for name in self.responses])

    def draw_delays(
        self, response: str, message: NDArray[np.int64], slot: NDArray[np.int64], u: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """The delay below which a share `u` of a response's delays lies: int64 microseconds, from 1 to `within`.

        Args:
            response: one of `responses`; the delay counts from the send, for `clicked` from the open.
            message: int64, places in `messages`; -1 for a message that was never sent.
            slot: the slot of each send, of `slot_of`; for `converted`, of `tenure_slot_of`.
            u: shares in 0..1, to be drawn uniformly.
        """
        if response == "converted":
            message, slot = slot, np.zeros_like(slot)
        return self.delays[response].draw(message, slot, u)

    def tenure_slot_of(self, known_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """The slot of how long a contact was known when it was sent to (microseconds): int64, 0 to 5."""
        return tenure_slots(known_us)

    def slot_of(self, local_hour: ArrayLike) -> NDArray[np.int64]:
        """The slot of each local hour (0 to 23) of sending: int64, one for each four hours."""
        slot: NDArray[np.int64] = np.asarray(local_hour).astype(np.int64) // 4
        return slot

    def card(self, data: str = "") -> str:
        """The model card: what the model is, what it is worth and what it must not be used for, as Markdown.

        `data` says what the log is, such as "the shop Akacja, simulated".
        """
        from .responsecard import card_of

        return card_of(self, data)

    def __repr__(self) -> str:
        better = int((self.validation["used"] == "boosted").sum())
        return (
            f"ResponseModel({len(self.responses)} responses to {len(self.messages)} messages within "
            f"{duration_text(self.within)}, from {self.n_sends:,} sends to {self.n_contacts:,} contacts until "
            f"{self.until:%Y-%m-%d}; {better} of {len(self.responses)} beat the shrunken rates out of time)"
        )

    def _repr_html_(self) -> str:
        from .responsecard import html_of

        return html_of(self)


def fit_responses(
    log: EventLog | BucketedLog,
    until: datetime | str | None = None,
    converts: str | None = None,
    features: Sequence[str] | None = None,
    within: timedelta | str = "7d",
    rng: np.random.Generator | int = 0,
    progress: Progress = None,
    *,
    timezone: str = "UTC",
    n_jobs: int = 1,
) -> ResponseModel:
    """The response models of a log, as a `ResponseModel`.

    For each response, boosted trees on the features are validated on the last quarter of the time against shrunken
    rates of messages; what is better there is fitted to everything. Sends that one has not looked at for the whole of
    `within` count by the share of responses that come so soon. Opens by machines count as opens, as they do in a
    replay; a click without an open counts as one.

    Args:
        log: the event log, with `sent` events and responses that carry their `message`. Of one in buckets as large a
            share of the contacts as its budget of memory holds, chosen by a hash of their ids; all, where it does.
        until: nothing later is looked at: aware, or ISO text; by default the log's end.
        converts: the event that is a conversion (a journey's goal), if conversions are wanted.
        features: values in the language of conditions; by default those that the log offers.
        within: how long after a send responses are looked for.
        rng: a seed, or a generator to draw one from.
        progress: `True` for a bar, or what to call with the responses done and in all; see `progress`.
        timezone: the zone of contacts without one of their own (rule 3).
        n_jobs: how many threads LightGBM may use; more than are idle make it slower.

    Raises:
        DataError: when there are no sends, they do not say their message, or too few were looked at for long enough.
        DefinitionError: when a feature is at fault or does not fit the log, with all faults.
        JourneyLabError: when scikit-learn or LightGBM is not installed.

    >>> from journeylab import datasets
    >>> model = fit_responses(datasets.shop(), converts="purchase", features=['count("sent", "7d")', "local_hour()"])
    >>> model.responses
    ('delivered', 'opened', 'clicked', 'bounced', 'complained', 'unsubscribed', 'converted')
    >>> model.predict(np.array([[0.0, 10.0]]), np.array([model.messages.index("welcome_1")]))[:, :3].round(1)
    array([[1. , 0.3, 0.3]])
    """
    try:
        import lightgbm  # noqa: F401

        from .responsefit import fit_response
    except ImportError:
        raise JourneyLabError(
            'response models need scikit-learn and LightGBM: pip install "journeylab[models]"'
        ) from None
    except OSError as problem:
        raise JourneyLabError(
            f"LightGBM finds no OpenMP library ({problem}): install it, on Debian as the package libgomp1"
        ) from None
    if isinstance(log, BucketedLog):
        log = log.largest_sample()
    sends = sends_in(log, converts, within, until)
    end_us, start_us = sends.log.end_us, int(sends.at[0])
    n_matured = sends.n_matured(end_us)
    if n_matured < _LEAST_SENDS:
        raise DataError(
            f"{n_matured:,} of {len(sends):,} sends were looked at for all of {duration_text(sends.within)}, and "
            f"{_LEAST_SENDS} are needed; bring a longer log, or ask for a shorter within"
        )
    cut_us = int(start_us + _TRAINING_SHARE * (end_us - sends.within_us - start_us))
    texts = default_features(sends, cut_us) if features is None else tuple(features)
    asked = Features(sends.log, texts, timezone)
    design = np.empty((len(sends), len(texts) + 1))
    design[:, :-1], design[:, -1] = asked.values(sends.contact, sends.at), sends.message
    hours = Features(sends.log, [_HOUR], timezone).values(sends.contact, sends.at)[:, 0]
    # The hash of a contact is the same in every part of the log, unlike its code.
    clusters = (sends.log.unit_hashes[sends.contact] >> np.uint64(1)).astype(np.int64)
    seed = int(np.random.default_rng(rng).integers(2**31))
    tenures = tenure_slots(sends.at - sends.log.first_at[sends.contact])
    if not sends.came:
        raise DataError(
            f"the log has {len(sends):,} sends and no response to any: events named delivered, opened, clicked, "
            "bounced, complained or unsubscribed, with their message"
        )
    fitted = {}
    slots = hours.astype(np.int64) // 4
    with shown(progress, "fitting responses") as tell:
        for done, name in enumerate(sends.came):
            fitted[name] = fit_response(sends, name, design, clusters, slots, tenures, cut_us, seed, n_jobs)
            tell(done + 1, len(sends.came))
    validation = pd.DataFrame([{"response": name, **one.validation} for name, one in fitted.items()])
    return ResponseModel(
        responses=tuple(fitted),
        features=texts,
        messages=sends.messages,
        within=sends.within,
        converts=converts,
        until=instant(end_us),
        timezone=timezone,
        delays={name: one.delays for name, one in fitted.items()},
        shift_sd=np.column_stack([one.shift_sd for one in fitted.values()]),
        unseen_sd=np.array([one.unseen_sd for one in fitted.values()]),
        cell_edges=np.array([one.cell_edges for one in fitted.values()]),
        cell_sd=np.stack([one.cell_sd for one in fitted.values()], axis=-1),
        validation=validation,
        calibration=pd.concat([one.calibration for one in fitted.values()], ignore_index=True),
        n_sends=len(sends),
        n_contacts=len(np.unique(sends.contact)),
        start_at=instant(start_us),
        cut_at=instant(cut_us),
        failures=_failures(validation, instant(cut_us)),
        _fitted=fitted,
    )


def own_fit(name: str) -> Callable[..., Responses]:
    """What fits the response model that an installed package brings under a name; called as `fit_responses`.

    What it gives must have all attributes of `Responses`; it is asked for by `log`, and by name `converts`, `within`,
    `rng` and `progress`.

    Args:
        name: the name of an entry point in the group `journeylab.models`.

    Raises:
        DataError: when no package brings it, or what it fits lacks attributes; the latter when it is called.

    >>> own_fit("acme")
    Traceback (most recent call last):
    ...
    journeylab.errors.DataError: no installed package brings the model 'acme'; There are no models.
    """
    brought = extensions.load("models", name)
    if isinstance(brought, type) or not callable(brought):
        raise DataError(f"the model {name!r} is no function that fits a response model to a log; see docs/extending.md")

    def fit(log: EventLog, **given: Any) -> Responses:
        model: Responses = brought(log, **given)
        missing = [one for one in vars(Responses) if not one.startswith("_") and not hasattr(model, one)]
        if missing:
            raise DataError(
                f"the model {name!r} has fitted a {type(model).__name__}, which has no {', '.join(missing)}; see "
                "docs/extending.md for what a response model must have"
            )
        return model

    return fit


def tenure_slots(known_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """0 to 5: known for less than an hour, twelve hours, two days, a week, thirty days, or for longer."""
    return np.searchsorted(_TENURES_US, known_us, side="right")


def _failures(validation: pd.DataFrame, cut_at: datetime) -> tuple[str, ...]:
    """The responses whose later level a fit on what came before missed by more than chance and by a tenth or more."""
    missed = validation["calibration_intercept"] / validation["calibration_intercept_se"]
    # One test for each response, at 1 % for all together.
    is_missed = missed.abs().fillna(0.0) > NormalDist().inv_cdf(1 - 0.005 / len(validation))
    is_far = (validation["calibration_intercept"].abs() > 0.1) & (validation["n_responses"] >= _LEAST_SENDS)
    return tuple(
        f"{row.response}: from {cut_at:%Y-%m-%d} on {row.n_responses:,} of {row.n_sends:,} came, and odds "
        f"{'lower' if row.calibration_intercept > 0 else 'higher'} by {abs(np.expm1(-row.calibration_intercept)):.0%} "
        "were predicted from before"
        for row in validation[is_missed & is_far].itertuples()
    )
