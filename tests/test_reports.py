"""Reports: the numbers of the gate's tables and no others, of six kinds, in one file that asks nobody for anything."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from html import unescape
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import insert

import journeylab as jl
from constantmodel import ConstantModel
from journeylab import datasets
from journeylab.disclosure import Ledger, LedgerKey
from journeylab.errors import DataError
from journeylab.experiments import Experiment
from journeylab.journey import Policy
from journeylab.reports import Report, released, report
from journeylab.reports.asking import last_midnight
from journeylab.reports.flows import Flow
from journeylab.sender.mail.messages import Messages
from journeylab.sender.promotion.forecast import Expected, Forecast
from journeylab.sender.promotion.frozen import Frozen
from journeylab.sender.promotion.releases import promote
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sendtime import HabitModel, send_table
from stores import KEYS, MovedClock

TABLES = ("exits", "conversions")
KINDS = ("replay", "simulation", "backtest", "experiment", "send_times", "release")


@cache
def welcome() -> jl.Journey:
    return jl.Journey.read(datasets.journey_file("trial_welcome"))


@cache
def replayed() -> jl.Replay:
    return jl.replay(welcome(), datasets.shop())


@cache
def sent() -> list[str]:
    """The messages of the shop's log and of the welcome."""
    return [*sends().messages, "offer_discount", "offer_free_month", "offer_plain", "reminder", "welcome_1"]


@cache
def simulated() -> jl.Simulation:
    model = ConstantModel(sent(), converts="purchase", sd=0.2, opened=0.4, clicked=0.1, converted=0.02)
    return jl.simulate(welcome(), datasets.shop(), responses=model, draws=20)


@cache
def backtested() -> jl.Backtest:
    history = datasets.shop_history().one("akacja_welcome")
    model = ConstantModel(sent(), sd=0.2, opened=0.25)
    return jl.backtest(history, datasets.shop(), cutoff="2026-03-15", responses=model, draws=20)


@cache
def analysed() -> Any:
    declared = Experiment.read(datasets.fixtures() / "experiments" / "offer_test.yaml")
    return declared.analyze(datasets.shop())


@cache
def sends() -> Any:
    return send_table(datasets.shop())


@cache
def times() -> jl.SendTimes:
    return HabitModel().fit(sends()).send_times()


def forecast() -> Forecast:
    """What was forecast of the welcome: what came of `read`, and something else of `last_chance`."""
    expected = [
        Expected("branch", "read", "then", 0.28, 0.2, 0.35), Expected("branch", "read", "else", 0.72, 0.65, 0.8),
        Expected("branch", "last_chance", "then", 0.3, 0.25, 0.35),
    ]  # fmt: skip
    return Forecast("trial_welcome", welcome().version, 0.9, 3000.0, tuple(expected))


def filled(store: Store) -> None:
    """A store in which the welcome was released and has done what its replay says, of entries that are over."""
    promote(store, Frozen(welcome(), Policy(), Messages({}), forecast=forecast().to_dict()), actor="ewa")
    with store.writing() as connection:
        entries = replayed().entries[replayed().entries["left_at"].notna()]
        visits = replayed().visits.merge(entries[["contact", "entry"]], on=["contact", "entry"])
        for table, frame in ((t.entries, entries), (t.visits, visits)):
            columns = [one.name for one in table.columns if one.name in frame.columns]
            rows = frame[columns].astype(object)
            values = [
                {name: None if pd.isna(one) else getattr(one, "to_pydatetime", lambda one=one: one)()
                 for name, one in row.items()}
                for row in rows.to_dict("records")
            ]  # fmt: skip
            connection.execute(insert(table), values)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path = tmp_path_factory.mktemp("released") / "journeylab.db"
    clock = MovedClock(datetime(2026, 1, 24, 9, tzinfo=UTC))
    made = Store.open(f"sqlite:///{path}", KEYS, clock=clock, create=True)
    filled(made)
    clock.at = datetime(2026, 5, 27, 9, tzinfo=UTC)
    yield made
    made.close()


@pytest.fixture(scope="module")
def make(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Report]:
    """Makes the report of a kind, each once in a language, for readers of their own."""
    folder = tmp_path_factory.mktemp("ledgers")
    results: dict[str, Callable[[], Any]] = {
        "replay": replayed, "simulation": simulated, "backtest": backtested, "experiment": analysed,
        "send_times": times, "release": lambda: released(store, "trial_welcome"),
    }  # fmt: skip
    made: dict[tuple[str, str], Report] = {}

    def one(kind: str, language: str = "en") -> Report:
        if (kind, language) not in made:
            more = {"sends": sends()} if kind == "send_times" else {}
            ledger = Ledger(folder / kind, LedgerKey(bytes(32)))
            made[kind, language] = report(results[kind](), ledger=ledger, language=language, **more)
        return made[kind, language]

    return one


def words_of(html: str) -> str:
    """The text that a reader sees."""
    body = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body)))


def rows_of(html: str) -> list[list[str]]:
    """The cells of all rows of all tables."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, flags=re.DOTALL)
    return [[unescape(re.sub(r"<[^>]*>", "", one)) for one in re.findall(r"<td[^>]*>(.*?)</td>", row, flags=re.DOTALL)]
            for row in rows]  # fmt: skip


# What it says --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_what_was_asked_the_answer_what_is_not_known_and_what_to_do(make, kind):
    made = make(kind)
    page = words_of(made.html())
    for heading in (
        "What was asked", "The answer", "What is observed, predicted and assumed", "What cannot be known from this",
        "What to do next", "How to read the numbers",
    ):  # fmt: skip
        assert heading in page
    for text in (*made.asked, made.answer, *made.basis, *made.unknown, *made.next_steps, *made.reading):
        assert text
        assert " ".join(text.split()) in page
    assert made.disclosed.n_shown >= 10
    assert ("<svg" in made.drawing) == (kind not in ("experiment", "send_times"))


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_people_are_those_of_the_tables_behind_and_no_others(make, kind):
    made = make(kind)
    people = {
        int(n) for table in made.tables.values() for name in ("n_contacts", "n_within") if name in table
        for n in table[name].dropna()
    }  # fmt: skip
    said = {int(n.replace(",", "")) for n in re.findall(r"[Aa]bout ([\d,]+)", words_of(made.html()))}
    assert said
    assert said <= people
    assert not any(n % 5 for n in people)


def test_rows_of_the_page_are_the_rows_of_the_table(make):
    made = make("replay")
    table = made.tables["branches"]
    rows = [row for row in rows_of(made.html()) if len(row) >= 6]
    assert [row[1] for row in rows] == table["branch"].tolist()
    for row, (_, behind) in zip(rows, table.iterrows(), strict=True):
        if pd.isna(behind["n_contacts"]):
            assert row[2:4] == ["\N{EN DASH}", "\N{EN DASH}"]
        else:
            assert row[2] == f"about {behind['n_contacts']:,}"
            assert float(row[3].rstrip("%")) == pytest.approx(
                100 * behind["n_contacts"] / behind["n_within"], abs=0.051
            )


def test_shown_numbers_are_true_to_half_a_step_by_sql_over_the_visits(make):
    """A foreign oracle: DuckDB counts the people of each branch in the replay's visits."""
    import duckdb

    made = make("replay")
    upto = replayed().advance(made.disclosed.period.until_at)
    visits = upto.visits.astype({"contact": str, "node": str, "branch": object})
    assert len(visits)
    found = duckdb.sql(
        "select node, branch, count(distinct contact) from visits where branch is not null and left_at is not null "
        "group by node, branch"
    ).fetchall()
    true = {(node, branch): n for node, branch, n in found}
    shown = made.tables["branches"].dropna(subset=["n_contacts"])
    assert len(shown) >= 5
    for _, row in shown.iterrows():
        assert abs(int(row["n_contacts"]) - true[row["node"], row["branch"]]) <= 2


def exact_numbers() -> set[str]:
    """Counts of the replay as analysts see them, that no rounding to five leaves as they are."""
    upto = replayed().advance(last_midnight(replayed().until, "Europe/Warsaw"))
    counts = {int(n) for n in upto.counts["n_visits"]} | {int(n) for n in upto.exits["n_entries"]}
    counts |= {upto.n_entries, upto.n_contacts}
    return {f"{n:,}" for n in counts if n >= 100 and n % 5}


@pytest.mark.parametrize("kind", ["replay", "simulation", "release"])
def test_exact_counts_stay_inside(make, kind, tmp_path):
    inside = words_of(replayed().advance(last_midnight(replayed().until, "Europe/Warsaw"))
                      .page(tmp_path / "page.html").read_text(encoding="utf-8"))  # fmt: skip
    numbers = exact_numbers()
    found = {one for one in numbers if re.search(rf"(?<![\d,.]){re.escape(one)}(?![\d,])", inside)}
    assert len(found) >= 10, "on the analysts' page they stand"
    page = words_of(make(kind).html())
    assert not {one for one in numbers if re.search(rf"(?<![\d,.]){re.escape(one)}(?![\d,])", page)}


@pytest.mark.parametrize("kind", KINDS)
def test_no_contact_is_named(make, kind):
    made = make(kind)
    everybody = set(replayed().entries["contact"].astype(str))
    text = made.html() + "".join(table.to_csv() for table in made.tables.values()) + str(made.to_dict())
    assert not {one for one in re.findall(r"akacja-\d+", text) if one in everybody}


def test_of_a_hidden_number_no_estimate_is_shown(make):
    for kind, name, columns in (
        ("simulation", "branches", ["predicted_share", "low", "high"]),
        ("backtest", "exits", ["predicted_share", "low", "high", "verdict"]),
        ("release", "branches", ["forecast_share", "verdict"]),
    ):
        table = make(kind).tables[name]
        hidden = table[table["status"] != "shown"]
        assert len(hidden)
        assert hidden[columns].isna().all().all()
        assert table.loc[table["status"] == "shown", columns[0]].notna().any()


def test_no_effect_is_told_of_arms_whose_numbers_are_hidden(make):
    tables = make("experiment").tables
    clicked = tables["clicked by arm"]
    hidden = set(clicked.loc[clicked["n_contacts"].isna(), "arm"])
    assert hidden
    told = tables["effects"]
    assert not ((told["metric"] == "clicked") & (told["arm"].isin(hidden) | told["control"].isin(hidden))).any()
    exact = {round(one.effect, 6) for one in analysed().primary.effects}
    assert not exact & set(told["effect"])


def test_a_release_is_held_against_its_forecast(make):
    made = make("release")
    table = made.tables["branches"].set_index(["node", "branch"])
    assert table.loc[("read", "then"), "verdict"] == "within"
    assert table.loc[("last_chance", "then"), "verdict"] == "outside"
    assert "outside of its forecast" in made.answer
    assert "pause" in made.next_steps[0]


# The file ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_asks_nobody_for_anything_and_allows_no_scripts_and_its_own_styles_alone(make, kind):
    page = make(kind).html()
    assert len(page.encode()) <= 400_000
    policy = unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1))
    styles = re.findall(r"<style>(.*?)</style>", page, flags=re.DOTALL)
    hashes = {f"'sha256-{base64.b64encode(sha256(one.encode()).digest()).decode()}'" for one in styles}
    allowed = re.search(r"style-src ([^;]*)", policy).group(1).split()
    assert set(allowed) == hashes
    assert policy.startswith("default-src 'none'; ")
    for forbidden in ("<script", "javascript:", " style=", "<link", "<iframe", "@import", "url(", " onload", "<form"):
        assert forbidden not in page
    assert not re.findall(r"(?:src|href)=\"?(?!#)[^\s>]*", page)


def test_the_same_again_is_the_same_file_and_a_dict_for_machines(make, tmp_path):
    made = make("replay")
    ledger = Ledger(tmp_path / "ledger", LedgerKey(bytes(32)))
    first, again = (report(replayed(), ledger=ledger).html() for _ in range(2))
    assert first == again == made.html()
    assert made.to_dict()["tables"]["branches"][0]["n_contacts"] == int(made.tables["branches"]["n_contacts"].iloc[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_polish_report_has_the_same_numbers_and_no_english(make, kind):
    from words import english_in

    english, polish = make(kind), make(kind, "pl")
    for name, table in english.tables.items():
        pd.testing.assert_frame_equal(table, polish.tables[name])
    page = polish.html()
    assert '<html lang="pl">' in page
    assert not english_in(page)
    assert "Odpowiedź" in page


def test_as_pdf_it_says_the_same(make, tmp_path):
    pypdf = pytest.importorskip("pypdf")
    pytest.importorskip("weasyprint", exc_type=OSError)  # where Pango is missing
    made = make("replay")
    made.write(tmp_path / "report.pdf")
    read = pypdf.PdfReader(io.BytesIO((tmp_path / "report.pdf").read_bytes()))
    text = " ".join(" ".join(one.extract_text().split()) for one in read.pages)
    assert made.answer in text
    assert "How contacts left" in text
    for n in made.tables["branches"]["n_contacts"].dropna():
        assert f"{int(n):,}" in text
    assert read.metadata.title == made.title
    assert (tmp_path / "report.pdf").stat().st_size < 400_000


def test_a_report_is_html_or_pdf_and_no_folder(make, tmp_path):
    with pytest.raises(DataError, match=r"is a folder; name a file in it, such as .*report\.html"):
        make("replay").write(tmp_path)
    with pytest.raises(DataError, match=r"written as \.html or as \.pdf"):
        make("replay").write(tmp_path / "report.docx")
    assert not [*tmp_path.iterdir()]


# A company's own templates -------------------------------------------------------------------------------------------


def test_a_company_restyles_it_by_a_sheet_and_by_blocks(make, tmp_path):
    (tmp_path / "report.css").write_text("h1 { color: #7a1030; }")
    (tmp_path / "report.html.j2").write_text(
        '{% extends "journeylab/report.html.j2" %}{% block header %}<p>Akacja S.A.</p>{{ super() }}{% endblock %}'
    )
    page = make("replay").html(templates=tmp_path)
    assert "<p>Akacja S.A.</p>" in page
    assert "#7a1030" in page
    assert "--blue" not in page, "the sheet took the place of ours"
    assert "'sha256-" in page
    assert make("replay").answer in words_of(page)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% if %}", r"report\.html\.j2, line 1: Expected an expression"),
        ("{{ report.nothing }}", r"report\.html\.j2, line 1: .*has no attribute 'nothing'"),
        ('{% extends "other.html" %}', "there is no template other.html"),
        ("{{ report.__class__.__mro__ }}", "unsafe"),
        ("{{ report.write('stolen.html') }}", "has no attribute 'write'"),
        ("{{ 'x' * 500000 }}", "at most 400 KB"),
    ],
)  # fmt: skip
def test_faults_of_a_template_are_said_with_their_place(make, tmp_path, text, said):
    (tmp_path / "report.html.j2").write_text(text)
    with pytest.raises(DataError, match=said):
        make("replay").html(templates=tmp_path)


def test_templates_stand_in_a_folder(make, tmp_path):
    with pytest.raises(DataError, match="no folder of templates"):
        make("replay").html(templates=tmp_path / "none")


# The period, and what was shown before -------------------------------------------------------------------------------


def test_a_report_is_of_whole_days_that_are_over(tmp_path):
    ledger = Ledger(tmp_path / "ledger", LedgerKey(bytes(32)))
    with pytest.raises(DataError, match="not on its grid of midnights"):
        report(replayed(), ledger=ledger, since="2026-03-01T12:00:00+00:00")
    with pytest.raises(DataError, match="does not say its time zone"):
        report(replayed(), ledger=ledger, since="2026-03-01T00:00:00")
    with pytest.raises(DataError, match="none is: say an earlier start"):
        report(replayed(), ledger=ledger, since="2026-05-25T22:00:00+00:00")
    with pytest.raises(DataError, match="is nothing to report"):
        report(42, ledger=ledger)  # type: ignore[arg-type]
    made = report(replayed(), ledger=ledger, since="2026-02-28T23:00:00+00:00")
    assert [str(day) for day in made.disclosed.days] == ["2026-03-01", "2026-05-26"]
    assert made.tables["weeks"]["week"].iloc[0] == "2026-02-23"


def test_of_several_versions_the_latest_is_reported(tmp_path):
    """An older one has nodes and exits that the latest does not know."""
    older = jl.Journey(
        journey="trial_welcome", trigger=welcome().trigger,
        nodes={"soon": jl.Wait(wait="1h", next="old"), "old": jl.Exit(exit="long ago")},
    )  # fmt: skip
    change = datetime(2026, 3, 1, tzinfo=UTC)
    both = [jl.Release(journey=older, until_at=change), jl.Release(journey=welcome(), from_at=change)]
    result = jl.replay(both, datasets.shop())
    assert (result.entries["exit"] == "long ago").any()
    made = report(result, ledger=Ledger(tmp_path / "ledger", LedgerKey(bytes(32))))
    assert "long ago" not in made.html()
    assert str(made.disclosed.days[0]) == "2026-03-01"


def test_who_knows_all_but_a_few_learns_nothing_from_a_second_report(tmp_path):
    """Differencing: the same journey over the same log without seven buyers, for the same readers and for others."""
    buyers = replayed().entries.loc[replayed().entries["converted"].astype(bool), "contact"].astype(str).tolist()
    gone = set(buyers[:7])
    since, until = datetime(2026, 1, 24, 23, tzinfo=UTC), last_midnight(replayed().until, "Europe/Warsaw")
    upto = replayed().advance(until)

    def shown(ledger: Ledger, without: set[str]) -> dict[str, pd.DataFrame]:
        visits, entries = (one[~one["contact"].astype(str).isin(without)] for one in (upto.visits, upto.entries))
        tables = [one for one in Flow(welcome(), visits, entries, since, until).tables() if one.table in TABLES]
        return jl.disclosure.disclose(
            tables, of="trial_welcome", period=(since, until), data_until=until, ledger=ledger, timezone="Europe/Warsaw"
        ).tables  # type: ignore[return-value]

    def differences(before: dict[str, pd.DataFrame], after: dict[str, pd.DataFrame]) -> int:
        n = 0
        for name in TABLES:
            one, other = before[name], after[name]
            both = one["n_contacts"].notna() & other["n_contacts"].notna()
            n += int((one["n_contacts"][both].astype(int) != other["n_contacts"][both].astype(int)).sum())
        return n

    same = Ledger(tmp_path / "same", LedgerKey(bytes(32)))
    assert differences(shown(same, set()), shown(same, gone)) == 0
    one, other = (Ledger(tmp_path / name, LedgerKey(bytes(32))) for name in ("one", "other"))
    assert differences(shown(one, set()), shown(other, gone)) > 0, "two ledgers know nothing of each other"
