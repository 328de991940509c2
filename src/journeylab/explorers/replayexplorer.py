"""The replay explorer: sliders over a journey's numbers, and what a replay, and a forecast, come to at once.

Every change is replayed over the whole log. With a response model, a forecast over a sample of contacts comes with it,
as large as answers within a blink allow; the forecast over all of them follows when the hand rests.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import pandas as pd

from journeylab.canvas.dials import dials_of
from journeylab.canvas.drafts import MAIN, Draft
from journeylab.canvas.layers import Over, laid, waiting_layer
from journeylab.canvas.views import as_sent
from journeylab.canvas.widget import Canvas
from journeylab.errors import JourneyLabError
from journeylab.language import count_text, say, share_text, using
from journeylab.visits import wilson_interval

if TYPE_CHECKING:
    from journeylab.eventlog import EventLog
    from journeylab.journey import Journey
    from journeylab.replay import Replay
    from journeylab.responses import Responses
    from journeylab.simulation import Simulation

__all__ = ["ReplayExplorer"]

_SECONDS = 0.2
"""How long the forecast of a change may take: with the replay and the way to the browser it stays below 0.3 s."""
_ALSO_PREDICTED = ("until", "policy", "scores", "send_times", "assumed_consent")
"""The arguments of a replay that a simulation has, too."""
_FEWEST = 200
"""Contacts below which a sample is not cut further: its intervals would say nothing."""


class ReplayExplorer(Canvas):
    """A journey over a log, with a slider for every wait, window, cap, hour and threshold.

    Moving a slider changes the definition that is drawn (`explorer.journey`, `explorer.to_yaml()`), replays it and
    shows what comes of it beside what came of the journey it began with.

    Attributes:
        began: the journey that the explorer began with.
        forecast: the latest simulation, of all contacts or of a sample; None without a response model.
    """

    def __init__(
        self,
        journey: Journey | str,
        log: EventLog,
        *,
        responses: Responses | None = None,
        draws: int = 40,
        seed: int = 0,
        **options: Any,
    ) -> None:
        """Replays a journey and shows its sliders.

        Args:
            journey: the journey to begin with, or the name of a new one.
            log: the event log.
            responses: the response model that answers sends which the log lacks, see `fit_responses`; without one
                there are counts and no forecast.
            draws: how often the model answers.
            seed: decides the draws; all changes are answered with the same.
            **options: of `Canvas`: `height`, `language`, and arguments of `replay`.

        Raises:
            DefinitionError: when the journey does not fit the log.
        """
        self._responses, self._draws, self._seed = responses, draws, seed
        self._sample: EventLog | None = None
        self._part = 1
        self.forecast: Simulation | None = None
        self._before: dict[str, int] | None = None
        super().__init__(journey, log=log, **options)
        self.began = self.journey
        self._before = None if self.replay is None else _outcomes(self.replay)
        self._tell()

    def _layers(self, journey: Journey) -> dict[str, Any]:
        self.forecast = None
        layers = super()._layers(journey)
        if self._responses is None:
            return layers
        try:
            return {**self._forecast(journey, whole=False), **layers}
        except (
            JourneyLabError
        ) as error:  # such as a message that the model does not know: the counts stand all the same
            return {**layers, "forecast": {**waiting_layer(), "title": say("Forecast"), "summary": str(error)}}

    def _forecast(self, journey: Journey, *, whole: bool) -> dict[str, Any]:
        """The layer of a forecast; of a sample of contacts, unless of all."""
        assert self._log is not None
        log, self.forecast = (self._log, self._simulate(journey, self._log)) if whole else self._sampled(journey)
        over: list[Over] = [self.forecast]
        layer = laid(journey, over)["forecast"]
        if log is not self._log:
            layer["partial"] = True
            layer["summary"] = say(
                "forecast from {n} of {of} contacts; that of all follows", n=count_text(log.n_contacts),
                of=count_text(self._log.n_contacts),
            )  # fmt: skip
        return {"forecast": layer}

    def _simulate(self, journey: Journey, log: EventLog) -> Simulation:
        from journeylab.simulate import simulate

        assert self._responses is not None
        given = {name: value for name, value in self._replaying.items() if name in _ALSO_PREDICTED}
        simulation = simulate(journey, log, responses=self._responses, draws=self._draws, rng=self._seed, **given)
        simulation.branches  # noqa: B018 - counted now, so that it counts as the time it takes
        return simulation

    def _sampled(self, journey: Journey) -> tuple[EventLog, Simulation]:
        """The part of the log that is halved until a forecast of it takes no longer than it may, and that forecast."""
        assert self._log is not None
        while True:
            if self._sample is None:
                self._sample = self._log if self._part == 1 else self._log.partition(0, self._part)
                self._simulate(journey, self._sample)  # what is only done once for a log does not count
            began = perf_counter()
            found = self._simulate(journey, self._sample)
            if perf_counter() - began <= _SECONDS or self._sample.n_contacts < 2 * _FEWEST:
                return self._sample, found
            self._part *= 2
            self._sample = None

    def _asked(self, widget: Any, content: Any, buffers: Any) -> None:
        """Answers the browser, which asks for the whole forecast when the hand rests."""
        if content != {"ask": "refine"}:
            super()._asked(widget, content, buffers)
        elif self.forecast is not None:
            with using(self.language):
                self.layers = {**self.layers, **as_sent(self._forecast(self.journey, whole=True))}
            self._tell()

    def _over(self) -> list[Over]:
        return [*super()._over(), *([self.forecast] if self.forecast is not None else [])]

    def _show(self, draft: Draft) -> None:
        super()._show(draft)
        self.dials = as_sent({"": dials_of(draft.journeys[MAIN])})[""]
        self._tell()

    def _tell(self) -> None:
        """Shows what came of the journey beside what came of the one it began with."""
        with using(self.language):
            self.outcome = as_sent(self._outcome()) if self._before is not None and self.replay is not None else {}

    @property
    def outcomes(self) -> pd.DataFrame:
        """What came of the journey, and of the one the explorer began with.

        Columns: `outcome` (text: entries, sends, or an exit), `n`, `n_before` (int), `share`, `low`, `high`,
        `share_before`, `low_before`, `high_before` (0..1, of the entries, 95 % Wilson intervals; missing for sends and
        entries). Empty while the drawing has faults.
        """
        columns = ["outcome", "n", "n_before", "share", "low", "high", "share_before", "low_before", "high_before"]
        if self.replay is None or self._before is None:
            return pd.DataFrame(columns=columns)
        now, was = _outcomes(self.replay), self._before
        rows = []
        for name in [*now, *(one for one in was if one not in now)]:
            a, b = now.get(name, 0), was.get(name, 0)
            shares: list[float] = []
            for n, of in ((a, now["entries"]), (b, was["entries"])):
                low, high = (float(bound) for bound in wilson_interval(n, of))
                is_share = name not in ("entries", "sends") and of > 0
                shares += [n / of, low, high] if is_share else [float("nan")] * 3
            rows.append((name, a, b, *shares))
        return pd.DataFrame(rows, columns=columns)

    def _outcome(self) -> dict[str, Any]:
        rows, outcomes = [], self.outcomes
        predicted = {} if self.forecast is None else _predicted(self.forecast)
        for row in outcomes.itertuples():
            shown = {
                "label": _said(str(row.outcome)),
                "now": _shown(row.n, row.share, row.low, row.high),
                "was": _shown(row.n_before, row.share_before, row.low_before, row.high_before),
            }
            if row.outcome in predicted:
                share, low, high = predicted[str(row.outcome)]
                text = f"{share_text(share)} ({share_text(low)} \N{EN DASH} {share_text(high)})"
                shown["forecast"] = {"text": text, "share": share, "low": low, "high": high}
            rows.append(shown)
        note = say(
            "Intervals are of 95%. They say how sure a share is for the contacts of this log, not what the change "
            "would make contacts do: what they would have done with messages that they never got is assumed, or "
            "predicted."
        )
        return {"rows": rows, "sentence": _sentence(outcomes), "note": note}


def _outcomes(replay: Replay) -> dict[str, int]:
    """Entries, sends and exits of the first journey of a replay."""
    summary = replay.summary(replay.journeys[0].journey)
    sends = replay.counts[(replay.counts["verb"] == "send") & (replay.counts["branch"] == "next")]
    return {
        "entries": summary["n_entries"],
        "sends": int(sends["n_visits"].sum()),
        **dict(sorted(summary["exits"].items(), key=lambda one: (not one[0].startswith("goal:"), -one[1]))),
        "still inside": summary["still_inside"],
    }


def _sentence(outcomes: pd.DataFrame) -> str:
    goals = [row for row in outcomes.itertuples() if str(row.outcome).startswith("goal:")]
    if not goals:
        return say("The journey names no goal, so nothing counts as converted.")
    goal = max(goals, key=lambda row: row.n)
    name = str(goal.outcome).removeprefix("goal:")
    return say(
        "{share} of the entries leave by the goal {goal} ({low} to {high}); before, it was {before}.",
        share=share_text(goal.share), goal=name, low=share_text(goal.low), high=share_text(goal.high),
        before=share_text(goal.share_before),
    )  # fmt: skip


def _predicted(forecast: Simulation) -> dict[str, tuple[float, float, float]]:
    """The share of entries by exit that a forecast gives, with its interval."""
    columns = ["entry_share", "entry_share_low", "entry_share_high"]
    table = forecast.outcomes.assign(exit=forecast.outcomes["exit"].fillna("still inside"))
    return {name: (share, low, high) for name, share, low, high in table[["exit", *columns]].itertuples(index=False)}


def _said(name: str) -> str:
    words = {"entries": say("entries"), "sends": say("sends"), "still inside": say("still inside")}
    return words.get(name, name)


def _shown(n: int, share: float, low: float, high: float) -> dict[str, Any]:
    if share != share:
        return {"text": count_text(n)}
    return {"text": f"{count_text(n)} · {share_text(share)}", "share": share, "low": low, "high": high}
