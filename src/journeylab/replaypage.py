"""The page of a replay for analysts: one HTML file that opens without a network, reads without scripts, names nobody.

The file holds aggregates only. A number of people below `smallest` is shown as such, never itself; differences between
numbers may still tell of few, so what is for others is a report (`reports`). All text of journeys is escaped, and the
page forbids itself scripts and anything from elsewhere by its content security policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import zip_longest
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, Protocol

import pandas as pd
from markupsafe import Markup

from .drawing.svg import svg
from .durations import length_text
from .errors import DataError
from .findings import found, observed_share
from .journey import Journey, Policy
from .journeytext import plain_text
from .language import (
    again,
    count_text,
    current,
    duration_words,
    formatted,
    plural,
    say,
    share_text,
    using,
)
from .pages import template
from .plots import curve_plot, flow_plots
from .timetoevent import time_to_exit
from .visits import branch_table, exits_table, funnel, paths, waiting_times

__all__ = ["Result", "write_page"]

_CHECKPOINTS = tuple(timedelta(days=days) for days in (1, 3, 7, 14, 30, 60, 90, 180, 365))
_MOST_BYTES = 400_000


class Result(Protocol):
    """What a page is made from; a replay has it all.

    `counts`, `visits` and `entries` are the frames of a replay; `notes` are sentences on what was assumed (rules 31
    to 35), `log_summary` one phrase on the log, such as "2.1 million events of 120,000 contacts".
    """

    @property
    def journeys(self) -> Sequence[Journey]:
        """The journeys, the latest version last where there are several of one name."""

    @property
    def policy(self) -> Policy:
        """What held over all journeys."""

    @property
    def until(self) -> datetime:
        """The horizon."""

    @property
    def counts(self) -> pd.DataFrame:
        """Closed visits by branch."""

    @property
    def visits(self) -> pd.DataFrame:
        """The visits."""

    @property
    def entries(self) -> pd.DataFrame:
        """The entries."""

    @property
    def notes(self) -> Sequence[str]:
        """What was assumed."""

    @property
    def log_summary(self) -> str:
        """What the log holds."""


def write_page(
    result: Result | Sequence[Result],
    path: str | Path,
    *,
    title: str | None = None,
    data: Sequence[str] = (),
    smallest: int = 5,
    language: str | None = None,
) -> Path:
    """Writes the page, of at most 400 KB, and returns its path.

    Args:
        result: a replay, or anything else with the attributes of `Result`; or several, which share the page.
        path: the file to write; its folder is made when it does not exist.
        title: the heading; by default the journeys' titles.
        data: what the data of each result is, such as "Akacja: a simulated shop"; shown wherever its numbers are.
        smallest: numbers of entries or visits below this are shown as "<5", without their shares.
        language: the language of its words, "en" or "pl"; by default the current one of `language`.

    Raises:
        DataError: when the path is a folder, a frame lacks a column, there is no such language, or the page would be
            longer than 400 KB.
    """
    target = Path(path)
    if target.is_dir():
        raise DataError(f"{target} is a folder; name a file in it, such as {target / 'replay.html'}")
    results = list(result) if isinstance(result, Sequence) else [result]
    with using(language or current()):
        sections = [_section(one, about, smallest) for one, about in zip_longest(results, data)]
        titles = [one.journey.title or one.journey.journey for section in sections for one in section.chapters]
        heading = title or ", ".join(titles)
        page = template("replay.html.j2").render(title=heading, smallest=smallest, sections=sections)
    n_bytes = len(page.encode())
    if n_bytes > _MOST_BYTES:
        raise DataError(
            f"the page of {len(titles)} journeys would be {n_bytes / 1000:,.0f} KB, and a page has at most "
            f"{_MOST_BYTES / 1000:.0f} KB: put fewer journeys in one"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page, encoding="utf-8")
    return target


class _Section(NamedTuple):
    """What one result adds to the page."""

    data: str | None
    log_summary: str
    until: datetime
    policy: str
    notes: list[str]
    chapters: list[SimpleNamespace]

    @property
    def n_chapters(self) -> int:
        """How many journeys it tells of."""
        return len(self.chapters)


def _section(result: Result, data: str | None, smallest: int) -> _Section:
    latest = {journey.journey: journey for journey in result.journeys}
    chapters = [SimpleNamespace(**_chapter(result, journey, smallest)) for journey in latest.values()]
    summary, notes = again(result.log_summary), [again(note) for note in result.notes]
    return _Section(data, summary, result.until, _policy_text(result.policy), notes, chapters)


class _Measure(NamedTuple):
    """A number with its share as text, and the same share and interval as percentages for a bar."""

    n: str
    share: str
    interval: str
    bar: tuple[float, float, float] | None


def _measure(n: int, share: float, low: float, high: float, smallest: int) -> _Measure:
    if 0 < n < smallest or pd.isna(share):
        return _Measure(count_text(n, smallest), share_text(float("nan")), "", None)
    interval = _interval(share_text(low), share_text(high))
    return _Measure(count_text(n), share_text(share), interval, (100 * share, 100 * low, 100 * high))


def _chapter(result: Result, journey: Journey, smallest: int) -> dict[str, object]:
    """Everything that the template shows of one journey, as texts and percentages."""
    counts, visits, entries = (_of(journey, frame) for frame in (result.counts, result.visits, result.entries))
    goals = [one.text for one in journey.exit_when if one.goal]
    curve = time_to_exit(entries, result.until) if goals and len(entries) else None
    drawn_curve = None if curve is None or int(entries["converted"].sum()) < smallest else curve
    n_converted, n_inside = int(entries["converted"].sum()), int(entries["left_at"].isna().sum())
    n_entries = len(entries)
    figures = [(say("entries"), count_text(n_entries, smallest), "")]
    if goals:
        figures.append((say("converted"), *_figure(n_converted, n_entries, smallest)))
    figures.append((say("still inside"), *_figure(n_inside, n_entries, smallest)))
    evidence = observed_share(counts)
    if evidence is not None:
        figures.append((say("of the answers are in the log"), share_text(evidence), ""))
    return {
        "journey": journey,
        "purpose": journey.purpose,
        "versions": sorted({*entries["version"].astype(str).unique()} or {journey.version}),
        "n_entries": n_entries,
        "span": (entries["entered_at"].min(), entries["entered_at"].max()) if n_entries >= smallest else None,
        "figures": figures,
        "found": found(counts, visits, entries, curve, result.until, smallest),
        "drawing": Markup(svg(journey, counts if len(counts) else None, smallest=smallest)),
        "branches": _branch_rows(journey, counts, smallest),
        "funnel": [
            (row.node, _measure(row.n_entries, row.reached_share, row.low, row.high, smallest))
            for row in funnel(visits).itertuples()
        ],
        "curve": None if drawn_curve is None else curve_plot(drawn_curve, smallest),
        "over_time": flow_plots(journey, visits, smallest),
        "checkpoints": [] if drawn_curve is None else _checkpoints(drawn_curve, smallest),
        "goals": goals,
        "exits": [
            (
                say("still inside") if pd.isna(row.exit) else row.exit,
                bool(row.converted),
                _measure(row.n_entries, row.exit_share, row.low, row.high, smallest),
            )
            for row in exits_table(entries).itertuples()
        ],
        "inside": _inside_rows(visits, result.until, smallest),
        "waits": _wait_rows(journey, visits, smallest),
        "paths": [
            (row.path, _measure(row.n_entries, row.path_share, row.low, row.high, smallest))
            for row in paths(visits, most=8).itertuples()
            if row.n_entries >= smallest
        ],
        "evidence": _evidence_rows(counts, smallest),
        "definition": plain_text(journey),
    }


def _of(journey: Journey, frame: pd.DataFrame) -> pd.DataFrame:
    if "journey" not in frame.columns:
        raise DataError("a page needs frames with the column journey")
    return frame[frame["journey"] == journey.journey].reset_index(drop=True)


def _figure(n: int, of: int, smallest: int) -> tuple[str, str]:
    shown = of and not 0 < n < smallest
    return count_text(n, smallest), say("{share} of entries", share=share_text(n / of)) if shown else ""


def _interval(low: str, high: str) -> str:
    return say("{low} to {high}", low=low, high=high)


def _in_order(journey: Journey, table: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of the definition, the nodes of a part after the `run` that names it, no branch last."""
    names = {name: place for place, name in enumerate(journey.nodes)}
    branches = {(name, branch): place for place, (name, branch, _) in enumerate(journey.edges())}

    def place(row: int) -> tuple[int, str, bool, int]:
        node, branch = table["node"].iat[row], table["branch"].iat[row]
        own = names.get(node.split(".")[0], len(names))
        return own, node, pd.isna(branch), branches.get((node, branch), 0)

    return table.iloc[sorted(range(len(table)), key=place)]


def _branch_rows(journey: Journey, counts: pd.DataFrame, smallest: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for row in _in_order(journey, branch_table(counts)).itertuples():
        gone = pd.isna(row.branch)
        rows.append(
            {
                "node": row.node,
                "first": not rows or rows[-1]["node"] != row.node,
                "verb": row.verb,
                "branch": say("left the journey") if gone else row.branch,
                "target": "" if gone or row.branch == row.target else row.target,
                "measure": _measure(row.n_visits, row.branch_share, row.low, row.high, smallest),
                "unsure": _unsure_text(row.n_visits, row.n_assumed, row.n_predicted, smallest),
            }
        )
    return rows


def _unsure_text(n: int, n_assumed: int, n_predicted: int, smallest: int) -> str:
    if n < smallest:
        return ""
    assumed, predicted = (
        count_text(part, smallest) if part < smallest else share_text(part / n) for part in (n_assumed, n_predicted)
    )
    texts = [say("{share} assumed", share=assumed)] if n_assumed else []
    texts += [say("{share} predicted", share=predicted)] if n_predicted else []
    return ", ".join(texts)


def _inside_rows(visits: pd.DataFrame, until: datetime, smallest: int) -> list[tuple[str, str, str]]:
    """Where those still inside are, most first, and for how long half of them have been there."""
    inside = visits[visits["left_at"].isna()]
    waited = (pd.Timestamp(until) - inside["arrived_at"]).groupby(inside["node"], observed=True)
    rows = [(str(node), len(times), times.median()) for node, times in waited]
    return [
        (node, count_text(n, smallest), duration_words(median) if n >= smallest else "")
        for node, n, median in sorted(rows, key=lambda row: (-row[1], row[0]))
    ]


def _wait_rows(journey: Journey, visits: pd.DataFrame, smallest: int) -> list[tuple[str, str, str, str, str]]:
    """How long visits that took time lasted, by node and branch."""
    return [
        (
            row.node,
            say("left the journey") if pd.isna(row.branch) else row.branch,
            count_text(row.n_visits),
            duration_words(row.median),
            _interval(duration_words(row.p10), duration_words(row.p90)),
        )
        for row in _in_order(journey, waiting_times(visits)).itertuples()
        if row.n_visits >= smallest and row.p90 > timedelta(0)
    ]


def _evidence_rows(counts: pd.DataFrame, smallest: int) -> list[dict[str, object]]:
    """For each node with an outcome that is not in the log: how many of its visits are, and how many are not."""
    sums = counts.groupby("node", observed=True, sort=False)[["n_visits", "n_assumed", "n_predicted"]].sum()
    rows: list[dict[str, object]] = []
    for row in sums[(sums["n_assumed"] > 0) | (sums["n_predicted"] > 0)].itertuples():
        shares = {
            word: 100 * n / row.n_visits for word, n in (("assumed", row.n_assumed), ("predicted", row.n_predicted))
        }
        shown = row.n_visits >= smallest
        rows.append(
            {
                "node": row.Index,
                "n": count_text(row.n_visits, smallest),
                "assumed": count_text(row.n_assumed, smallest),
                "predicted": count_text(row.n_predicted, smallest),
                "bar": (100 - sum(shares.values()), shares["assumed"], shares["predicted"]) if shown else None,
            }
        )
    return rows


def _checkpoints(curve: pd.DataFrame, smallest: int) -> list[tuple[str, str, str, str]]:
    """The curve as a table at round times: (after, share, interval, entries followed that long)."""
    rows = []
    for after in _CHECKPOINTS:
        followed = curve[curve["after"] >= after]
        if followed.empty or followed["n_at_risk"].iloc[0] < smallest:
            break
        last = curve[curve["after"] <= after].iloc[-1]
        interval = "" if pd.isna(last.low) else _interval(share_text(last.low), share_text(last.high))
        rows.append(
            (duration_words(after), share_text(last.reached_share), interval, count_text(followed["n_at_risk"].iloc[0]))
        )
    return rows


def _policy_text(policy: Policy) -> str:
    texts = []
    if policy.cap is not None:
        texts.append(
            plural(
                "at most {n} send to a contact within {length} over all journeys",
                "at most {n} sends to a contact within {length} over all journeys",
                policy.cap.sends,
                length=length_text(policy.cap.within),
            )
        )
    if policy.holdout:
        share = f"{formatted(float(policy.holdout * 100), '.4g')}%"
        texts.append(say("{share} of contacts held out of all journeys for marketing", share=share))
    return "; ".join(texts)
