"""Fitting anew on a schedule: whether newly fitted send times take the place of those in use."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.base import clone

from journeylab.clock import instant
from journeylab.display import block
from journeylab.errors import DataError
from journeylab.progress import Progress

from .evaluation import known_by, microseconds_of
from .watching import Watch, watch

if TYPE_CHECKING:
    from journeylab.sendtimes import SendTimes

    from .estimator import SendTimeEstimator
    from .sends import SendTable

__all__ = ["Challenge", "challenged"]


class Challenge(NamedTuple):
    """A champion and a challenger held against each other on sends that neither had seen.

    Attributes:
        watch: what became of the champion, its alarms, and the decision.
        held_out_from: the challenger was fitted to the sends until then, aware UTC, and both are judged on those since.
    """

    watch: Watch
    held_out_from: datetime

    @property
    def is_won(self) -> bool:
        """Whether the challenger takes the champion's place."""
        return self.watch.decision == "replace"

    def __repr__(self) -> str:
        won = "is won" if self.is_won else "is not won"
        return f"Challenge({won}, on sends from {self.held_out_from:%Y-%m-%d} on)"

    def _repr_html_(self) -> str:
        return block(repr(self), self.watch._repr_html_())


def challenged(
    champion: SendTimes,
    model: SendTimeEstimator,
    sends: SendTable,
    *,
    assume_causal: bool = False,
    slot_hours: int = 1,
    progress: Progress = None,
) -> Challenge:
    """Whether a model, fitted anew, is to take the place of the send times in use, as a `Challenge`.

    Of the sends since the champion was fitted, those at drawn hours whose answers are in are halved by time: a clone of
    the model is fitted to what was known by then, and both are judged on the later half, which neither has seen
    (`watch`). If the challenger wins, fit it to everything: what was judged is the model, not the file.

    Args:
        champion: the send times in use.
        model: fitted or not.
        sends: from a log with the sends before and since the champion was fitted.
        assume_causal: as for `SendTimeEstimator.send_times`.
        slot_hours: as for `evaluate`.
        progress: as for `evaluate_out_of_time`.

    Raises:
        DataError: when the champion does not say until when it knew the log, there are no sends since, or there is
            nothing to fit to.
    """
    until = champion.about.get("until")
    if until is None:
        raise DataError(
            "the champion does not say until when it knew the log (`until`), so no send is known to be new to it; "
            "fit a champion first"
        )
    is_new = (sends.at >= microseconds_of(until, "until")) & sends.is_matured
    drawn = sends.at[is_new & sends.is_random]
    at = drawn if len(drawn) else sends.at[is_new]
    if not len(at):
        raise DataError(
            f"no send since {until}, when the champion was fitted, could be looked at for all of `within`; the log "
            f"ends {sends.until.isoformat()}: wait, or give a later log"
        )
    cut = int(np.quantile(at, 0.5, method="higher"))
    early = known_by(sends, cut)
    if not early.answered.any():
        raise DataError(f"no send before {instant(cut).isoformat()} was answered, so there is nothing to fit to")
    held = clone(model).fit(early, progress=progress).send_times(assume_causal=assume_causal)
    found = watch(champion, sends, challenger=held, slot_hours=slot_hours, progress=progress)
    return Challenge(found, instant(cut))
