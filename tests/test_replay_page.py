"""The page of a replay: one file that opens anywhere, says the numbers of the frames, and names nobody."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from journeylab.drawing import count_text, share_text
from journeylab.errors import DataError
from journeylab.journey import Journey, Policy
from journeylab.language import duration_words
from journeylab.plots import flow_plots
from journeylab.replaypage import write_page
from journeylab.timetoevent import time_to_exit
from journeylab.visits import branch_table, exits_table, flow, funnel

UNTIL = datetime(2026, 3, 29, 12, tzinfo=UTC)
TRIAL_WELCOME: dict[str, Any] = {
    "journey": "trial_welcome",
    "title": "Welcome for new trial accounts",
    "timezone": "Europe/Warsaw",
    "trigger": {"event": "signup", "where": 'plan == "trial" and country in ["PL", "DE"]'},
    "exit_when": [{"event": "purchase", "goal": True}, {"event": "account_closed"}],
    "quiet_hours": {"from": "21:00", "to": "08:00"},
    "cap": {"sends": 3, "within": "7d"},
    "holdout": "5%",
    "nodes": {
        "hello": {"send": "welcome_1", "at": "best", "next": "read"},
        "read": {"wait_for": "opened(hello)", "within": "3d", "then": "offer", "else": "pause"},
        "offer": {"split": {"discount": "40%", "free_month": "40%", "plain": "20%"}},
        "discount": {
            "send": "offer_discount",
            "at": {"between": ["09:00", "17:00"], "days": ["mon", "tue", "wed", "thu", "fri"]},
            "next": "value",
        },
        "free_month": {"send": "offer_free_month", "next": "value"},
        "plain": {"send": "offer_plain", "next": "value"},
        "value": {
            "decide": [
                {"if": 'sum("purchase.amount", "90d") >= 500', "go": "vip"},
                {"if": "days_active < 3", "go": "pause"},
            ],
            "else": "done",
        },
        "vip": {"set": {"tier": "vip"}, "next": "done"},
        "pause": {"wait": "4d", "next": "nudge"},
        "nudge": {"send": "reminder", "skipped": "done", "next": "done"},
        "done": {"exit": "finished"},
    },
}
# How likely a visit takes each branch, and the mean hours for which a node holds it.
CHANCES = {"hello": [0.95, 0.05], "read": [0.55, 0.45], "value": [0.002, 0.24, 0.758]}
HOURS = {"hello": 5.0, "read": 30.0, "pause": 96.0, "discount": 14.0, "nudge": 3.0}


@dataclass
class MadeUp:
    """A result as a replay returns it."""

    journeys: list[Journey]
    counts: pd.DataFrame
    visits: pd.DataFrame
    entries: pd.DataFrame
    policy: Policy = field(default_factory=Policy)
    until: datetime = UNTIL
    notes: list[str] = field(default_factory=lambda: ["Consent for marketing is assumed: the log has none (rule 34)."])
    log_summary: str = "48,210 events of 3,000 contacts"


def made_up(journey: Journey, n_contacts: int = 2000, seed: int = 7) -> MadeUp:
    """Random walks through a journey, with the frames that follow from them."""
    rng = np.random.default_rng(seed)
    visits, entries = [], []
    for number in range(n_contacts):
        contact = f"person{number}@example.com"
        about = {"contact": contact, "journey": journey.journey, "version": "9aeb8bc72c0b", "entry": 1}
        at = entered_at = pd.Timestamp(UNTIL) - pd.Timedelta(hours=float(rng.uniform(1, 24 * 60)))
        leaves_at = at + pd.Timedelta(hours=float(rng.exponential(600)))
        exit_text = "goal:purchase" if rng.random() < 0.7 else "account_closed"
        node, left_at, left_by = journey.first, pd.NaT, None
        while True:
            branches = [(branch, target) for branch, target, _ in journey.nodes[node].branches()]
            gone_at = at + pd.Timedelta(hours=float(rng.exponential(HOURS[node]) if node in HOURS else 0)).floor("us")
            chances = CHANCES.get(node, [1.0, 0.0] if len(branches) == 2 else [0.4, 0.4, 0.2][: len(branches)] or None)
            branch, target = (
                branches[rng.choice(len(branches), p=chances if len(branches) > 1 else None)]
                if branches
                else (None, None)
            )
            evidence = "assumed" if (node, branch) == ("read", "else") and rng.random() < 0.6 else "observed"
            visit = about | {
                "node": node,
                "visit": 1,
                "arrived_at": at,
                "left_at": gone_at,
                "branch": branch,
                "evidence": evidence,
            }
            if min(gone_at, leaves_at) > pd.Timestamp(UNTIL):
                visits.append(visit | {"left_at": pd.NaT, "branch": None})
                break
            if leaves_at < gone_at:
                visits.append(visit | {"left_at": leaves_at, "branch": None, "evidence": "observed"})
                left_at, left_by = leaves_at, exit_text
                break
            visits.append(visit)
            if target is None:
                left_at, left_by = gone_at, journey.nodes[node].exit
                break
            node, at = target, gone_at
        converted = left_by == "goal:purchase"
        entries.append(about | {"entered_at": entered_at, "left_at": left_at, "exit": left_by, "converted": converted,
                                "held_out": bool(rng.random() < 0.05)})  # fmt: skip
    counts = counts_of(journey, pd.DataFrame(visits))
    return MadeUp([journey], counts, *(with_categories(pd.DataFrame(rows)) for rows in (visits, entries)))


def with_categories(frame: pd.DataFrame) -> pd.DataFrame:
    names = [name for name in ("journey", "version", "node", "branch", "evidence", "exit") if name in frame]
    return frame.astype(dict.fromkeys(names, "category"))


def counts_of(journey: Journey, visits: pd.DataFrame) -> pd.DataFrame:
    closed = visits[visits["left_at"].notna()].copy()
    closed["n_assumed"], closed["n_predicted"] = closed["evidence"] == "assumed", closed["evidence"] == "predicted"
    groups = closed.groupby(["journey", "node", "branch"], dropna=False, sort=False)
    counts = groups.agg(n_visits=("node", "size"), n_assumed=("n_assumed", "sum"), n_predicted=("n_predicted", "sum"))
    counts = counts.reset_index()
    targets = {(node, branch): target for node, branch, target in journey.edges()}
    counts["target"] = [targets.get(pair) for pair in zip(counts["node"], counts["branch"], strict=True)]
    counts["verb"] = [journey.nodes[name].verb for name in counts["node"]]
    order = {name: place for place, name in enumerate(journey.nodes)}
    return counts.sort_values("node", key=lambda names: names.map(order), kind="stable", ignore_index=True)


@pytest.fixture(scope="module")
def welcome() -> MadeUp:
    return made_up(Journey(**TRIAL_WELCOME))


@pytest.fixture(scope="module")
def page(welcome: MadeUp, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_page(welcome, tmp_path_factory.mktemp("pages") / "welcome.html").read_text(encoding="utf-8")


def words_of(html: str) -> str:
    """The text that a reader sees."""
    body = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body)))


def renamed(result: MadeUp, journey: Journey) -> MadeUp:
    frames = {name: getattr(result, name).assign(journey=journey.journey) for name in ("counts", "visits", "entries")}
    return replace(result, journeys=[journey], **frames)


def test_a_page_needs_no_network_and_forbids_itself_scripts(page: str) -> None:
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    assert not re.search(r"<script|<link|<iframe|@import|url\(|javascript:|\son\w+=", page)
    assert not re.search(r"(src|href)=\"(?!#)", page)


def test_a_page_is_small(page: str) -> None:
    assert len(page.encode()) < 100_000


def test_a_page_names_no_contact(page: str) -> None:
    assert "@example.com" not in page
    assert "person1" not in page


def test_the_page_shows_the_numbers_of_the_frames(page: str, welcome: MadeUp) -> None:
    words = words_of(page)
    shown = [*branch_table(welcome.counts).itertuples(), *exits_table(welcome.entries).itertuples()]
    for row in shown:
        n = row.n_visits if hasattr(row, "n_visits") else row.n_entries
        share = row.branch_share if hasattr(row, "branch_share") else row.exit_share
        if n >= 5:
            assert f"{count_text(n)} {share_text(share)}" in words


def test_the_page_says_what_was_found_and_what_was_assumed(page: str, welcome: MadeUp) -> None:
    words = words_of(page)
    n = int(welcome.entries["converted"].sum())
    assert f"{count_text(n)} entries converted by the horizon: {share_text(n / 2000)}" in words
    assert "Consent for marketing is assumed: the log has none (rule 34)." in words
    assert "48,210 events of 3,000 contacts" in words
    assert "not what the journey would have caused" in words


def test_text_of_journeys_is_escaped(welcome: MadeUp, tmp_path: Path) -> None:
    evil = Journey(**TRIAL_WELCOME | {"title": "<script>alert(1)</script>", "description": "<img src=x onerror=x>"})
    noted = replace(renamed(welcome, evil), notes=["<script>note</script>"], log_summary="<b>log</b>")
    html = write_page(noted, tmp_path / "evil.html").read_text(encoding="utf-8")
    assert not re.search(r"<script|<img|<b>log", html)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_small_groups_are_not_shown(tmp_path: Path) -> None:
    few = made_up(Journey(**TRIAL_WELCOME), n_contacts=4)
    words = words_of(write_page(few, tmp_path / "few.html").read_text(encoding="utf-8"))
    findings = words[words.index("What was found") : words.index("The definition")]
    assert "<5 entries: too few to say more" in findings
    assert not re.search(r"\d\.\d%", findings)
    assert str(few.entries["entered_at"].min().date()) not in words


def test_flow_over_time_has_the_numbers_of_the_flow_and_gaps_for_small_ones(welcome: MadeUp) -> None:
    plots = {plot.node: plot for plot in flow_plots(welcome.journeys[0], welcome.visits, smallest=5)}
    assert {"read", "offer", "value"} <= set(plots)
    read = plots["read"]
    table = flow(welcome.visits, read.every).query("node == 'read'").set_index(["period_at", "branch"])["n_visits"]
    shown = {(date, branch): n for date, numbers in read.rows for branch, n in zip(read.branches, numbers, strict=True)}
    expected = {(f"{at:%Y-%m-%d}", branch): count_text(n, 5) for (at, branch), n in table.items()}
    assert {key: n for key, n in shown.items() if n != "0"} == expected
    drawn = sum(len(re.findall("[ML]", line)) for line in read.lines)
    assert drawn == sum(n != "<5" for n in shown.values())


def test_flow_over_time_is_in_the_page_with_its_table(page: str) -> None:
    words = words_of(page)
    assert "Which way visits went over time" in words
    assert "read as a table from then else" in words or "read as a table from else then" in words
    assert page.count('class="line c1"') >= 3


def test_a_journey_that_nobody_entered_is_said_to_be(welcome: MadeUp, tmp_path: Path) -> None:
    nobody = replace(welcome, **{name: getattr(welcome, name).iloc[:0] for name in ("counts", "visits", "entries")})
    words = words_of(write_page(nobody, tmp_path / "nobody.html").read_text(encoding="utf-8"))
    assert "Nobody entered" in words


def test_a_portfolio_has_a_chapter_for_each_journey(welcome: MadeUp, tmp_path: Path) -> None:
    second = Journey(**TRIAL_WELCOME | {"journey": "second", "title": "The second"})
    other = renamed(welcome, second)
    both = replace(
        welcome,
        journeys=[*welcome.journeys, second],
        policy=Policy(cap={"sends": 3, "within": "7d"}),
        **{n: pd.concat([getattr(welcome, n), getattr(other, n)]) for n in ("counts", "visits", "entries")},
    )
    html = write_page(both, tmp_path / "both.html", title="Spring").read_text(encoding="utf-8")
    assert re.findall(r'<article id="(\w+)">', html) == ["trial_welcome", "second"]
    assert "at most 3 sends to a contact within 7d over all journeys" in words_of(html)
    assert "<title>Spring</title>" in html


def test_a_journey_without_goals_says_so(tmp_path: Path) -> None:
    plain = Journey(**TRIAL_WELCOME | {"exit_when": [{"event": "account_closed"}]})
    words = words_of(write_page(made_up(plain, n_contacts=50), tmp_path / "plain.html").read_text(encoding="utf-8"))
    assert "The journey names no goal" in words


def test_the_same_result_gives_the_same_file(welcome: MadeUp, page: str, tmp_path: Path) -> None:
    assert write_page(welcome, tmp_path / "deep" / "again.html").read_text(encoding="utf-8") == page


def test_a_folder_is_refused_with_a_remedy(welcome: MadeUp, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a folder; name a file in it, such as .*replay\.html"):
        write_page(welcome, tmp_path)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0 s"),
        (timedelta(minutes=90), "90 min"),
        (timedelta(hours=30), "30 hours"),
        (timedelta(days=1), "1 day"),
        (timedelta(days=2.55), "2.5 days"),
    ],
)
def test_durations_are_told_in_a_unit_that_suits_them(duration: timedelta, text: str) -> None:
    assert duration_words(duration) == text


def test_every_chart_shows_the_numbers_of_its_table(welcome: MadeUp) -> None:
    charts = pytest.importorskip("journeylab.charts")
    branches, steps = branch_table(welcome.counts), funnel(welcome.visits)
    assert list(charts.branch_chart(branches).data[0].x) == branches["branch_share"].tolist()
    assert list(charts.funnel_chart(steps).data[0].customdata) == steps["n_entries"].tolist()
    curve = time_to_exit(welcome.entries, UNTIL)
    assert list(charts.time_to_event_chart(curve).data[-1].y) == curve["reached_share"].tolist()
    moved = flow(welcome.visits)
    assert sum(sum(trace.y) for trace in charts.flow_chart(moved).data) == moved["n_visits"].sum()
    sizes = pd.DataFrame({"segment": "dormant", "as_of": [UNTIL - timedelta(days=7), UNTIL], "n_contacts": [120, 340]})
    assert charts.segment_size_chart(sizes).layout.title.text == "dormant: from 120 to 340 contacts"
    overlaps = pd.DataFrame({"dormant": [True, True], "trial": [False, True], "n_contacts": [7, 9]})
    assert list(charts.segment_overlap_chart(overlaps).data[0].y) == [9, 7]
