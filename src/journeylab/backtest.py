"""Would the model have been right? A journey that really ran is predicted from before a cutoff, and compared.

`backtest` fits a response model on what was known at the cutoff, lets it answer every send from then on, and holds the
branches and exits against those that came. Who entered is taken from the log: it is not what is predicted. After a
contact's first send, nothing that the contact did is seen, be it a response or a visit of its own accord.

A verdict is given for every node whose branches may differ:

* `calibrated`: what came lies within the prediction interval of each branch,
* `biased`: it lies outside,
* `unknowable`: neither the log before the cutoff nor the model can say; the reason stands beside it.

Events that end a journey and that the model does not predict, such as closing an account, are taken from the log.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from . import conditions as c
from . import layout as o
from .bucketed import BucketedLog
from .clock import instant, microseconds
from .display import block, counted, plain, table
from .errors import DataError, listed
from .journey import Decide, Journey, Policy, Segment, Send, Split, WaitFor
from .program import Release
from .progress import Progress
from .replay import Replay, replay
from .responses import Responses, fit_responses
from .resulttables import Tables
from .simulate import simulate
from .simulation import Simulation
from .tablesource import Table
from .worlds import goal_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .advice import SendTimesGiven
    from .eventlog import EventLog

__all__ = ["Backtest", "backtest"]

FEWEST = 30
"""With fewer decisions after the cutoff a node's verdict is `unknowable`."""
ON_RECORD = 0.9
"""The share of a node's decisions that the log has to answer for the journey to have really run."""
VERDICTS = ("calibrated", "biased", "unknowable")
_MOST_ROWS = 60
_FORETOLD = {"sent", "consent_given", "consent_withdrawn", "erased"}


def backtest(
    journey: Journey,
    log: EventLog | BucketedLog,
    *,
    cutoff: datetime | str,
    responses: Responses | Callable[..., Responses] | None = None,
    converts: str | None = None,
    within: timedelta | str = "7d",
    draws: int = 200,
    level: float = 0.9,
    rng: np.random.Generator | int = 0,
    match: timedelta | str = "1d",
    policy: Policy | None = None,
    send_times: SendTimesGiven | None = None,
    scores: Mapping[str, Table] | None = None,
    assumed_consent: Collection[str] | None = None,
    progress: Progress = None,
) -> Backtest:
    """What a model that knew nothing later than the cutoff says of a journey that really ran, against what came.

    Args:
        journey: the journey, as it ran.
        log: the event log with its sends, in memory or in buckets; see `fit_responses` for what is then fitted to.
        cutoff: an aware instant or ISO text; entries from then on are predicted.
        responses: a response model fitted on what was known at the cutoff, or what fits one to that, called as
            `fit_responses`, which is the default.
        converts: the event that a conversion is; by default the journey's goal, where it has one.
        within: how long after a send responses are looked for, by a model that is fitted.
        draws: how many times the model answers.
        level: of the prediction intervals, in 0..1.
        rng: decides the fit and the draws; the same number gives the same backtest.
        match: how far a logged `sent` may lie from the send that it answers for (rule 33).
        policy: what holds over all journeys.
        send_times: for `at: best`, as for `replay.replay`.
        scores: for each `score("name")`, a table with `contact`, `score` and optionally `as_of`.
        assumed_consent: the purposes for which consent is assumed, as for `replay.replay`.
        progress: `True` for a bar of each stage (the fit, the replay, the draws), or what to call with how much is done
            of a stage and how much there is in all; see `progress`.

    Raises:
        DataError: when the cutoff leaves no sends before it, or no entries after it.
        DefinitionError: when the journey does not fit the log.
    """
    at = _instant(cutoff, log)
    converts = converts or goal_of([journey])
    if responses is None or callable(responses):
        fit = responses or fit_responses
        seen = log.largest_sample() if isinstance(log, BucketedLog) else log
        model = fit(seen.truncated(at), converts=converts, within=within, rng=rng, progress=progress)
    else:
        model = responses
    releases = [Release(journey=journey, until_at=at), Release(journey=journey, from_at=at)]
    given: dict[str, Any] = {"match": match, "policy": policy, "send_times": send_times, "scores": scores}
    came = replay(releases, log, assumed_consent=assumed_consent, progress=progress, **given)
    predicted = simulate(
        releases, log, responses=model, draws=draws, level=level, rng=rng, forget_from=at, override="a backtest",
        assumed_consent=came.assumed_consent, progress=progress, **given,
    )  # fmt: skip
    if not predicted.tally.n_by_journey[:, -1, o.T_ENTERED].any():
        raise DataError(f"no contact entered {journey.journey!r} after the cutoff, {at:%Y-%m-%d %H:%M} UTC")
    return Backtest(journey, at, model, came, predicted, converts)


def _instant(cutoff: datetime | str, log: EventLog | BucketedLog) -> datetime:
    try:
        when = datetime.fromisoformat(cutoff) if isinstance(cutoff, str) else cutoff
        if isinstance(cutoff, str) and len(cutoff) == len("2026-03-01"):
            when = when.replace(tzinfo=UTC)
        at = instant(microseconds(when))
    except ValueError as problem:
        raise DataError(f"the cutoff: {problem}; write it as 2026-03-01 or 2026-03-01T12:00:00+00:00") from None
    if not log.start_at < at < log.end_at:
        raise DataError(
            f"the cutoff, {at:%Y-%m-%d %H:%M} UTC, has to lie within the log: after {log.start_at:%Y-%m-%d %H:%M} and "
            f"before {log.end_at:%Y-%m-%d %H:%M}"
        )
    return at


def _unforeseen(journey: Journey, node: object, responses: Responses, converts: str | None) -> str | None:
    """Why the model cannot say which branch of a node is taken after a send; `None` where it can."""
    foretold = {"sent", "consent_given", "erased", *responses.responses} - {"converted"} | (
        {converts} if converts else set()
    )
    if "unsubscribed" in responses.responses:
        foretold.add("consent_withdrawn")
    if isinstance(node, WaitFor):
        for text in node.awaited:
            awaited = c.parse_awaited(text)
            if isinstance(awaited, c.AwaitedEvent):
                if awaited.event not in foretold:
                    return f"it awaits {awaited.event!r}, which the model does not predict"
                if awaited.where is not None:
                    return f"it awaits {awaited.event!r} with certain properties, which the model does not predict"
            elif awaited.link is not None:
                return f"it awaits a click on {awaited.link!r}: the model does not predict which link is clicked"
            elif awaited.kind not in foretold:
                return f"it awaits {awaited.kind!r}, which the model does not predict"
        return None
    if isinstance(node, Decide):
        asked = {event for one in node.decide for event in _events_in(one.condition, journey.known_segments)}
        if unforeseen := sorted(asked - foretold):
            return f"it asks for {', '.join(map(repr, unforeseen))} after a send, which the model does not predict"
    return None


def _events_in(text: str, segments: Mapping[str, Segment]) -> Iterator[str]:
    """The events that a condition asks for, those of its segments included."""
    for part in c.walk(c.parse(text).tree):
        if isinstance(part, c.Aggregate):
            yield part.event
        elif isinstance(part, c.SegmentMembership):
            segment = segments[part.name]
            for inner in [segment.condition] if segment.condition else [one.when for one in segment.weights]:
                yield from _events_in(inner, segments)


@dataclass(frozen=True, eq=False, repr=False)
class Backtest(Tables):
    """A journey that really ran, predicted from before a cutoff, beside what came.

    Attributes:
        journey: the journey.
        cutoff: the instant (aware UTC) after which the model knew nothing.
        responses: the response model.
        came: the replay over the whole log.
        predicted: the simulation whose model knew nothing later than the cutoff.
        converts: the event that a conversion is.
    """

    _table_names: ClassVar = ("nodes", "branches", "outcomes")

    journey: Journey
    cutoff: datetime
    responses: Responses
    came: Replay
    predicted: Simulation
    converts: str | None

    def __repr__(self) -> str:
        n = self.nodes["verdict"].value_counts()
        nodes = ", ".join(f"{n.get(verdict, 0)} {verdict}" for verdict in VERDICTS)
        entries = f"{counted(self.n_entries, 'entry')} from {self.cutoff:%Y-%m-%d} on"
        return f"Backtest({self.journey.journey}: {entries}; nodes: {nodes})"

    @cached_property
    def n_entries(self) -> int:
        """How many entries came after the cutoff."""
        return int(self.came.tally.n_by_journey[-1, o.T_ENTERED])

    @cached_property
    def branches(self) -> pd.DataFrame:
        """Each branch as it was predicted and as it came, for entries after the cutoff.

        Columns: `node, verb, branch, target` (text; the last two missing for visits that left the journey there),
        `n_came` (int), `came_share` and `predicted_share` with its prediction interval `low` and `high` (0..1 of the
        node's closed visits, missing where there are none), `is_inside` (bool; whether what came lies in the interval,
        whose level is shared out among the node's branches).
        """
        compiled = self.came.compiled
        mine = {i for i, one in enumerate(compiled.nodes) if one.journey == len(compiled.releases) - 1}
        rows: list[tuple[str | None, ...]] = []
        came, drawn = [], []
        for i in sorted(mine):
            info = compiled.nodes[i]
            for k, edge in enumerate(compiled.edges):
                if edge.node == i:
                    rows.append((info.name, info.node.verb, edge.branch, edge.target))
                    came.append(int(self.came.tally.n_by_edge[k].sum()))
                    drawn.append(self.predicted.tally.n_by_edge[:, k].sum(axis=1))
            rows.append((info.name, info.node.verb, None, None))
            came.append(int(self.came.tally.n_by_node[i, o.ENDED]))
            drawn.append(self.predicted.tally.n_by_node[:, i, o.ENDED])
        frame = pd.DataFrame(rows, columns=["node", "verb", "branch", "target"])
        compared = _compared(frame, np.array(came), np.stack(drawn, axis=1), frame["node"], self.predicted.level)
        return compared[compared["verb"] != "exit"].reset_index(drop=True)

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """Each exit as it was predicted and as it came, for entries after the cutoff, with its verdict.

        Columns: `exit` (text; missing for entries still inside), `n_came`, `came_share`, `predicted_share`, `low`,
        `high`, `is_inside` as for `branches`, of the entries; `verdict` and `why` (text, missing where calibrated).
        """
        compiled = self.came.compiled
        release = len(compiled.releases) - 1
        mine = [i for i, (of, _, _) in enumerate(compiled.exits) if of == release]
        frame = pd.DataFrame({"exit": [compiled.exits[i][1] for i in mine] + [None]})
        came = [*self.came.tally.n_by_exit[mine], self.came.tally.n_by_journey[release, o.T_INSIDE]]
        drawn = np.column_stack(
            [self.predicted.tally.n_by_exit[:, mine], self.predicted.tally.n_by_journey[:, release, o.T_INSIDE]]
        )
        frame = _compared(frame, np.array(came), drawn, pd.Series("all", index=frame.index), self.predicted.level)
        foretold = {*_FORETOLD, *self.responses.responses, *((self.converts,) if self.converts else ())}
        why = {
            one.text: f"the model does not predict {one.event!r}"
            for one in self.journey.exit_when
            if one.event not in foretold
        }
        behind = [str(row.node) for row in self.nodes.itertuples() if row.verdict == "unknowable" and row.is_decisive]
        verdicts = []
        for row in frame.itertuples():
            reason = why.get(row.exit)
            if reason is None and behind and not row.is_inside:
                reason = f"it rests on {listed(behind)}, which {'is' if len(behind) == 1 else 'are'} unknowable"
            verdicts.append(self._verdict(row.is_inside, int(frame["n_came"].sum()), reason))
        frame["verdict"], frame["why"] = zip(*verdicts, strict=True)
        return frame

    @cached_property
    def nodes(self) -> pd.DataFrame:
        """The verdict on each node.

        Columns: `node, verb` (text), `n_decisions` (int, the closed visits that came), `predicted_share` (how many of
        the predicted ones rest on the model), `largest_gap` (what came less what was predicted, of the branch where
        they lie farthest apart), `is_decisive` (bool, whether enough came for the way of many to hang on it),
        `verdict` (calibrated, biased or unknowable) and `why` (text, missing where calibrated).
        """
        compiled, rows = self.came.compiled, []
        release = len(compiled.releases) - 1
        for i, info in enumerate(compiled.nodes):
            if info.journey != release or info.node.verb == "exit":
                continue
            mine = self.branches[self.branches["node"] == info.name]
            edges = [k for k, edge in enumerate(compiled.edges) if edge.node == i]
            by_log = self.came.tally.n_by_edge[edges].sum(axis=0)
            by_model = self.predicted.tally.n_by_edge[:, edges].sum(axis=(0, 1))
            n, n_closed = int(mine["n_came"].sum()), max(1, int(by_log.sum()))
            share = float(by_model[o.PREDICTED] / max(1, by_model.sum()))
            why = None
            if share > 0 or not by_model.sum():
                why = _unforeseen(self.journey, info.node, self.responses, self.converts)
            is_best = isinstance(info.node, Send) and info.node.best is not None
            if (
                why is None
                and not (isinstance(info.node, Split) or is_best)
                and by_log[o.ASSUMED] > (1 - ON_RECORD) * n_closed
            ):
                why = (
                    f"the log does not have {by_log[o.ASSUMED] / n_closed:.0%} of what it rests on: "
                    "the journey did not run like this"
                )
            if why is None and n and not by_model.sum():
                why = "the model never comes here"
            gap = mine["came_share"] - mine["predicted_share"]
            largest = float(gap.loc[gap.abs().idxmax()]) if gap.notna().any() else np.nan
            verdict, why = self._verdict(bool(mine["is_inside"].all()), n, why)
            if verdict == "biased":
                outside = mine[~mine["is_inside"]]
                worst = outside.loc[gap[outside.index].abs().idxmax()]
                branch = worst["branch"] if isinstance(worst["branch"], str) else "left the journey"
                why = f"{branch}: {_said(worst)}"
            rows.append((info.name, info.node.verb, n, share, largest, n >= FEWEST, verdict, why))
        columns = ["node", "verb", "n_decisions", "predicted_share", "largest_gap", "is_decisive", "verdict", "why"]
        return pd.DataFrame(rows, columns=columns)

    @staticmethod
    def _verdict(is_inside: bool, n: int, why: str | None) -> tuple[str, str | None]:
        if why is None and n < FEWEST:
            why = f"only {n} came after the cutoff; a verdict takes {FEWEST}"
        if why is not None:
            return "unknowable", why
        return ("calibrated" if is_inside else "biased"), None

    @property
    def failures(self) -> tuple[str, ...]:
        """What the model got wrong, for `simulate`, which refuses a model with failures unless they are overridden."""
        biased = self.nodes[self.nodes["verdict"] == "biased"]
        wrong = self.outcomes[self.outcomes["verdict"] == "biased"]
        return (
            *(f"{row.node}: {row.why}" for row in biased.itertuples()),
            *(
                f"exit {row['exit'] if isinstance(row['exit'], str) else 'still inside'}: {_said(row)}"
                for _, row in wrong.iterrows()
            ),
        )

    @property
    def model(self) -> Responses:
        """The response model with what the backtest found wrong with it; for scenarios take this one."""
        marked = copy(self.responses)
        object.__setattr__(marked, "failures", (*self.responses.failures, *self.failures))
        return marked

    def summary(self) -> dict[str, Any]:
        """The backtest as plain data: what `journeylab backtest --json` prints."""
        return {
            "journey": self.journey.journey,
            "version": self.journey.version,
            "cutoff": self.cutoff.isoformat(),
            "until": self.came.until.isoformat(),
            "draws": self.predicted.draws,
            "level": self.predicted.level,
            "n_entries": self.n_entries,
            "nodes": {
                str(row.node): {
                    "verdict": row.verdict,
                    "why": _text(row.why) or None,
                    "n_decisions": row.n_decisions,
                    "predicted_share": row.predicted_share,
                    "branches": {
                        ("left" if not isinstance(one.branch, str) else one.branch): _figures(one)
                        for one in self.branches[self.branches["node"] == row.node].itertuples()
                    },
                }
                for row in self.nodes.itertuples()
            },
            "exits": {
                ("still_inside" if not isinstance(one.exit, str) else one.exit): {
                    "verdict": one.verdict,
                    "why": _text(one.why) or None,
                    **_figures(one),
                }
                for one in self.outcomes.itertuples()
            },
            "failures": list(self.failures),
            "notes": self.predicted.notes,
        }  # fmt: skip

    def _repr_html_(self) -> str:
        nodes = [
            (one.node, one.verb, f"{one.n_decisions:,}", one.verdict, one.why if isinstance(one.why, str) else "")
            for one in self.nodes.itertuples()
        ]
        branches = [
            (
                one.node, _text(one.branch, "(left)"), f"{one.n_came:,}", f"{one.came_share:.1%}",
                f"{one.predicted_share:.1%}", f"{one.low:.1%} to {one.high:.1%}",
            )
            for one in self.branches[self.branches["n_came"] > 0].itertuples()
        ]  # fmt: skip
        interval = f"{self.predicted.level:.0%} interval"
        return block(
            repr(self),
            table(("node", "verb", "decisions", "verdict", "why"), nodes, _MOST_ROWS),
            table(("node", "branch", "came", "came", "predicted", interval), branches, _MOST_ROWS),
        )


def _compared(
    frame: pd.DataFrame, came: NDArray[np.int64], drawn: NDArray[np.int64], group: pd.Series, level: float
) -> pd.DataFrame:
    """What came beside what was predicted; a group's level is shared out among the branches that can be taken."""
    code, _ = pd.factorize(group)
    total, drawn_total = np.bincount(code, came), np.stack([np.bincount(code, one) for one in drawn])
    with np.errstate(invalid="ignore"):
        share, drawn_share = came / total[code], drawn / drawn_total[:, code]
    can = (came > 0) | (drawn > 0).any(axis=0)
    # The shares of a group add up to one, so that one of them says nothing of its own.
    n_free = np.maximum(np.bincount(code, can) - 1, 1)[code]
    low, high = np.full(len(came), np.nan), np.full(len(came), np.nan)
    for i in np.flatnonzero(~np.isnan(drawn_share).all(axis=0)):
        values, tail = drawn_share[~np.isnan(drawn_share[:, i]), i], (1 - level) / n_free[i] / 2
        low[i], high[i] = np.quantile(values, [tail, 1 - tail], method="weibull")
    frame["n_came"], frame["came_share"] = came, share
    frame["predicted_share"] = [
        one[~np.isnan(one)].mean() if not np.isnan(one).all() else np.nan for one in drawn_share.T
    ]
    frame["low"], frame["high"] = low, high
    with np.errstate(invalid="ignore"):
        frame["is_inside"] = np.isnan(share) | np.isnan(low) | ((low - 1e-12 <= share) & (share <= high + 1e-12))
    return frame


def _text(value: object, missing: str = "") -> str:
    return value if isinstance(value, str) else missing


def _said(row: pd.Series) -> str:
    return f"{row['came_share']:.1%} came, {row['low']:.1%} to {row['high']:.1%} was predicted"


def _figures(row: Any) -> dict[str, Any]:
    return {
        "n_came": int(row.n_came),
        "came_share": plain(row.came_share),
        "predicted_share": plain(row.predicted_share),
        "interval": [plain(row.low), plain(row.high)],
        "is_inside": bool(row.is_inside),
    }
