"""The support map: which branches of a journey the log can speak about, and which it cannot (rule 32).

A journey that was never run says nothing by itself of its branches. Those before the first send are on record: they
rest on what contacts did anyway. Behind a send, the log speaks for the contacts that it sent that message to, then and
not otherwise; if chance decided whom, with a known probability, they stand for all others. If a rule decided, or
nobody wrote down how, they stand for themselves alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from .display import block, table
from .drawing import svg
from .durations import parse_duration
from .journey import Journey, Policy
from .language import formatted, plural, say, share_text
from .offpolicy import diagnose
from .policy.refusal import reasons_to_refuse
from .replay import replay
from .resulttables import Tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .eventlog import EventLog

__all__ = ["SupportMap", "support_map"]

STATUSES = ("identified", "weak", "not identified")
FULL = 0.95
"""A send that the log made to so many of those whom the journey would send it is on record as it is."""
_FEW, _ERRORS = 100, 4
_BEFORE = pd.Timedelta(minutes=1)


def support_map(
    journey: Journey,
    log: EventLog,
    *,
    match: timedelta | str = "1h",
    policy: Policy | None = None,
) -> SupportMap:
    """Every edge of a journey with what the log has of it, as a `SupportMap`.

    Args:
        journey: the journey that is asked about; it need not have run.
        log: the event log, whose `sent` events have a `propensity` where chance decided.
        match: how much later than a send a logged `sent` may be that answers for it (rule 33).
        policy: what holds over all journeys.

    Raises:
        DefinitionError: when the journey does not fit the log.

    >>> from journeylab import datasets, journeyfile
    >>> journey = journeyfile.read(datasets.journey_file("trial_welcome")).journeys[0]
    >>> support_map(journey, datasets.shop())
    SupportMap(trial_welcome: 11 identified, 5 weak, 7 not identified)
    """
    result = replay(journey, log, match=match, policy=policy)
    sends = _with_record(result.sends, _logged(log), pd.Timedelta(parse_duration(match)))
    nodes, weights = _nodes(result.nodes, sends)
    visits = _with_history(result.visits, sends.assign(weight=weights), nodes)
    return SupportMap(journey, nodes, _edges(journey, visits))


def _logged(log: EventLog) -> pd.DataFrame:
    """The log's sends: `contact` (code), `message`, `at`, `propensity` (missing where it was not logged)."""
    stream = log.stream("sent")
    who = np.repeat(np.arange(log.n_contacts), np.diff(stream.offsets))
    frame = pd.DataFrame({"contact": log.contact_ids.take(who).to_pandas(), "at": stream.at.astype("datetime64[us]")})
    frame["at"] = frame["at"].dt.tz_localize("UTC")
    frame["message"] = _texts(log, "message", stream.row)
    has = "propensity" in log.property_names and log.property("propensity").kind == "number"
    frame["propensity"] = log.property("propensity").values[stream.row] if has else np.nan
    return frame


def _texts(log: EventLog, name: str, rows: NDArray[np.int64]) -> pd.Series:
    if name not in log.property_names:
        return pd.Series([None] * len(rows), dtype="str")
    column = log.property(name)
    categories = pd.Series([*(column.categories or ()), None], dtype="str")
    codes = column.held[rows].astype(np.int64) if column.categories is not None else np.full(len(rows), -1)
    return categories.iloc[codes].reset_index(drop=True)


def _with_record(sends: pd.DataFrame, logged: pd.DataFrame, match: pd.Timedelta) -> pd.DataFrame:
    """The sends that were made, each with whether the log has it and with which propensity."""
    made = sends[sends["is_sent"]].reset_index(drop=True)
    made["message"] = made["message"].astype("str")
    made["from_at"] = made["decided_at"] - _BEFORE
    order = made["from_at"].argsort(kind="stable").to_numpy()
    found = pd.merge_asof(
        made.iloc[order],
        logged.sort_values("at", kind="stable"),
        left_on="from_at",
        right_on="at",
        by=["contact", "message"],
        direction="forward",
        tolerance=match + _BEFORE,
    )
    made = made.iloc[order].reset_index(drop=True)
    made["is_on_record"], made["propensity"] = found["at"].notna(), found["propensity"]
    return made.sort_values(["contact", "entry", "decided_at"], kind="stable", ignore_index=True)


def _nodes(nodes: pd.DataFrame, sends: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """The table of `SupportMap.nodes`, and for each send the weight with which it stands for all: 0 off the record."""
    so_far = sends.groupby(["contact", "entry"], sort=False)["is_on_record"]
    # The journey comes to a send in fact only where the log has all sends before it.
    is_fact = so_far.cummin().groupby([sends["contact"], sends["entry"]]).shift(fill_value=True).astype(bool)
    rows, weights = [], np.zeros(len(sends))
    for node in nodes.loc[nodes["verb"] == "send", "node"]:
        mine = ((sends["node"] == node) & is_fact).to_numpy()
        found = _judged(sends[mine])
        weights[mine] = found.weights
        rows.append((node, *found[:7]))
    columns = ["node", "n_sends", "n_on_record", "effective_n", "propensity_low", "propensity_high", "status", "why"]
    return pd.DataFrame(rows, columns=columns), weights


class _Judged(NamedTuple):
    n_sends: int
    n_on_record: int
    effective_n: float
    propensity_low: float
    propensity_high: float
    status: str
    why: str | None
    weights: NDArray[np.float64]


def _judged(sends: pd.DataFrame) -> _Judged:
    """What the log has of the sends of one node."""
    n, is_on_record = len(sends), sends["is_on_record"].to_numpy(bool)
    n_on_record, propensity = int(is_on_record.sum()), sends["propensity"].to_numpy(float)
    low, high = (np.nan, np.nan) if np.isnan(propensity).all() else (np.nanmin(propensity), np.nanmax(propensity))

    def judged(status: str, why: str | None, weights: NDArray[np.float64], effective_n: float) -> _Judged:
        return _Judged(n, n_on_record, effective_n, low, high, status, why, weights)

    nothing = np.zeros(n)
    if not n:
        why = say("nobody comes here with all sends before it on record")
        return judged("not identified", why, nothing, 0.0)
    if not n_on_record:
        why = say("the log never made this send to those whom the journey would")
        return judged("not identified", why, nothing, 0.0)
    if n_on_record >= FULL * n:
        few = n_on_record < _FEW
        only = plural("only {n} send", "only {n} sends", n_on_record) if few else None
        return judged("weak" if few else "identified", only, is_on_record.astype(float), float(n_on_record))
    is_known = ~np.isnan(propensity[is_on_record])
    if is_known.mean() < FULL or (propensity[is_on_record][is_known] <= 0).any():
        why = say(
            "the log made {share} of these sends, and with which probability is not on record",
            share=share_text(n_on_record / n),
        )
        return judged("not identified", why, is_on_record.astype(float), 0.0)
    weights = np.where(is_on_record, 1 / np.nan_to_num(propensity, nan=1.0), 0.0)
    found = diagnose(weights)
    lacking = 1 - found.mean_weight
    if lacking > max(0.05, _ERRORS * found.mean_weight_standard_error):
        why = say("chance left out {share} of those whom the journey would send this", share=share_text(lacking))
        return judged("not identified", why, weights, found.effective_n)
    reasons = reasons_to_refuse(found, "send")
    if any(reason.diagnostic == "mean_weight" for reason in reasons):
        why = "; ".join(reason.text for reason in reasons)
        return judged("not identified", why, weights, found.effective_n)
    doubts = "; ".join(reason.text for reason in reasons) or None
    return judged("weak" if reasons else "identified", doubts, weights, found.effective_n)


def _with_history(visits: pd.DataFrame, sends: pd.DataFrame, nodes: pd.DataFrame) -> pd.DataFrame:
    """The closed visits with what lies behind them: the weight of their sends so far, and the worst status of these."""
    status = dict(zip(nodes["node"], nodes["status"].map(STATUSES.index), strict=True))
    keys = ["contact", "entry", "node", "visit"]
    plain = visits[visits["left_at"].notna()].astype({"node": "str", "branch": "str"})
    made = sends[[*keys, "weight", "propensity"]].astype({"node": "str"})
    joined = plain.merge(made, on=keys, how="left").sort_values(["contact", "entry", "left_at"], kind="stable")
    is_send = joined["weight"].notna()
    by = [joined["contact"], joined["entry"]]
    joined["status"] = joined["node"].map(status).where(is_send, 0).fillna(0).groupby(by).cummax().astype(int)
    joined["weight"] = joined["weight"].fillna(1.0).groupby(by).cumprod()
    joined["propensity"] = joined["propensity"].where(joined["weight"] > 0).fillna(1.0).groupby(by).cumprod()
    return joined


def _edges(journey: Journey, visits: pd.DataFrame) -> pd.DataFrame:
    """The table of `SupportMap.edges`."""
    rows = []
    for node, definition in journey.nodes.items():
        for branch, target in dict.fromkeys((branch, target) for branch, target, _ in definition.branches()):
            mine = visits[(visits["node"] == node) & (visits["branch"] == branch)]
            known = mine[mine["weight"] > 0]
            weights = known["weight"].to_numpy(float)
            effective_n = float(weights.sum() ** 2 / (weights**2).sum()) if len(weights) else 0.0
            worst = STATUSES[int((known if len(known) else mine)["status"].max())] if len(mine) else STATUSES[-1]
            if worst == "identified" and effective_n < _FEW:
                worst = "weak"
            low, high = (known["propensity"].min(), known["propensity"].max()) if len(known) else (np.nan, np.nan)
            rows.append((node, definition.verb, branch, target, len(mine), len(known), effective_n, low, high, worst))
    columns = ["node", "verb", "branch", "target", "n_visits", "n_on_record", "effective_n", "propensity_low",
               "propensity_high", "status"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True, eq=False, repr=False)
class SupportMap(Tables):
    """What a log can say about each edge of a journey.

    Attributes:
        journey: the journey.
        nodes: its sends: `node` (text), `n_sends` (how many the journey makes where all sends before are on record),
            `n_on_record` (how many of them the log made), `effective_n` (how many equally weighted ones these tell as
            much as), `propensity_low`, `propensity_high` (0..1, as logged, missing where nothing was), `status`
            (identified, weak or not identified) and `why` (text, missing where identified).
        edges: `node, verb, branch, target` (text), `n_visits` (of a plain replay), `n_on_record` (those behind whom
            every send is on record), `effective_n`, `propensity_low`, `propensity_high` (of all sends behind them
            together; 1 where there is none) and `status`: the worst of these sends', or weak for fewer than 100.
    """

    _table_names: ClassVar = ("nodes", "edges")

    journey: Journey
    nodes: pd.DataFrame
    edges: pd.DataFrame

    def __repr__(self) -> str:
        n = self.edges["status"].value_counts()
        return f"SupportMap({self.journey.journey}: {', '.join(f'{n.get(one, 0)} {one}' for one in STATUSES)})"

    def draw(self) -> str:
        """The journey drawn with every edge marked, as SVG; `edges` is its table."""
        return svg(self.journey, support=self.edges)

    def _repr_html_(self) -> str:
        rows = [
            (one.node, formatted(one.n_sends), formatted(one.n_on_record), formatted(one.effective_n, ",.0f"),
             say(one.status), one.why if isinstance(one.why, str) else "")
            for one in self.nodes.itertuples()
        ]  # fmt: skip
        head = ("send", say("sends"), say("on record"), say("effective"), say("status"), say("why"))
        return block(repr(self), self.draw(), table(head, rows))
