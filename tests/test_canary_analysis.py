"""A person whose every field is a token goes through all analysis: nothing that is written of it has one of them.

Tokens are looked for as texts travel: as they are, in URLs, HTML, JSON, base 64, hexadecimal, and hashed. That the
search finds what there is, is shown beside: with a guard off, or in the tables of people that stay inside.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import journeylab as jl
from constantmodel import ConstantModel
from journeylab import datasets, experimentpage, sendtimepage
from journeylab.disclosure import Ledger, LedgerKey, cells, check_notebook, disclose
from journeylab.disclosure.addresses import forms, holding
from journeylab.eventlog import EventLog
from journeylab.experiments import Experiment
from journeylab.reports import report
from journeylab.sendtime import HabitModel, send_table

pytestmark = pytest.mark.long

_WORDS = ("id", "zone", "country", "plan", "mailbox", "first_name", "page", "product", "link", "value", "city")
TOKENS = {word: f"Zq{word}K7canary" for word in _WORDS}
"""The tokens of the person, one for each field. Time zones are of a closed list, and get none."""


@cache
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The shop's events and contacts with one person more, by tokens, who entered, was sent, clicked and bought."""
    folder = datasets.fixtures() / "shop"
    events, contacts = (pd.read_parquet(folder / f"{name}.parquet") for name in ("events", "contacts"))
    other = "akacja-00002"
    mine = events[events["contact"] == other].assign(contact=TOKENS["id"])
    # What a journey's trigger asks for stays, so that the person enters; all else is a token.
    mine.loc[mine["event"] == "visit", "page"] = TOKENS["page"]
    mine.loc[mine["event"] == "clicked", "link"] = TOKENS["link"]
    mine["product"], mine["city"] = TOKENS["product"], TOKENS["city"]
    changed = mine.head(1).assign(event="attribute_changed", name="first_name", value=TOKENS["value"])
    person = contacts[contacts["contact"] == other].assign(
        contact=TOKENS["id"], mailbox=TOKENS["mailbox"], first_name=TOKENS["first_name"]
    )
    # A second one has tokens everywhere, and so enters nothing.
    stranger = person.assign(contact=TOKENS["id"] + "2", country=TOKENS["country"], plan=TOKENS["plan"])
    hers = mine[mine["event"] == "signup"].assign(
        contact=TOKENS["id"] + "2", country=TOKENS["country"], plan=TOKENS["plan"]
    )
    return (
        pd.concat([events, mine, changed, hers]).sort_values("occurred_at", kind="stable"),
        pd.concat([contacts, person, stranger]),
    )


@cache
def log() -> EventLog:
    return EventLog.read(tables()[0], contacts=tables()[1])


@cache
def welcome() -> jl.Journey:
    return jl.Journey.read(datasets.journey_file("trial_welcome"))


@cache
def replayed() -> jl.Replay:
    return jl.replay(welcome(), log())


@cache
def sends() -> Any:
    return send_table(log(), segment="mailbox")


@cache
def times() -> jl.SendTimes:
    return HabitModel().fit(sends()).send_times()


@cache
def model() -> ConstantModel:
    messages = [*sends().messages, "offer_discount", "offer_free_month", "offer_plain", "reminder", "welcome_1"]
    return ConstantModel(messages, converts="purchase", opened=0.4, clicked=0.1, converted=0.02)


@cache
def simulated() -> jl.Simulation:
    return jl.simulate(welcome(), log(), responses=model(), draws=5)


@cache
def backtested() -> jl.Backtest:
    history = datasets.shop_history().one("akacja_welcome")
    return jl.backtest(history, log(), cutoff="2026-03-15", responses=model(), draws=5)


@cache
def analysed() -> Any:
    declared = Experiment.read(datasets.fixtures() / "experiments" / "offer_test.yaml")
    by_mailbox = declared.model_copy(update={"segments": ("mailbox", "country")})
    return by_mailbox.analyze(log())


def reports(folder: Path) -> Iterator[tuple[str, str]]:
    """All files that a report is written as, as texts."""
    ledger = Ledger(folder / "ledger", LedgerKey(bytes(32)))
    for result, more in (
        (replayed(), {}), (simulated(), {}), (backtested(), {}), (analysed(), {}), (times(), {"sends": sends()}),
    ):  # fmt: skip
        for language in ("en", "pl") if result is replayed() else ("en",):
            made = report(result, ledger=ledger, language=language, **more)
            yield f"{made.of} {language} html", made.html()
            yield f"{made.of} {language} json", json.dumps(made.to_dict(), default=str)
            yield f"{made.of} {language} notebook", made._repr_html_() + repr(made)
            for name, table in made.tables.items():
                yield f"{made.of} {language} {name}.csv", table.to_csv()


def pdfs(folder: Path) -> Iterator[tuple[str, str]]:
    pypdf = pytest.importorskip("pypdf")
    pytest.importorskip("weasyprint", exc_type=OSError)  # where Pango is missing
    ledger = Ledger(folder / "ledger", LedgerKey(bytes(32)))
    for result in (replayed(), analysed()):
        path = report(result, ledger=ledger).write(folder / "report.pdf")
        yield "pdf", " ".join(one.extract_text() for one in pypdf.PdfReader(path).pages)
        yield "pdf bytes", path.read_bytes().decode("latin-1")


def pages(folder: Path) -> Iterator[tuple[str, str]]:
    """What analysts look at in a page; inside of their zone, and nameless all the same."""
    yield "replay page", replayed().page(folder / "replay.html").read_text(encoding="utf-8")
    yield "analysis page", experimentpage.analysis_page(analysed())
    yield "send times page", sendtimepage.write_page(times(), folder / "times.html").read_text(encoding="utf-8")
    yield "drawing", replayed().draw() + simulated().draw()
    yield "support map", jl.support_map(welcome(), log()).draw()
    yield "card", HabitModel().fit(sends()).card() if hasattr(HabitModel, "card") else ""
    yield "chart", replayed().chart().to_json()


def displays(folder: Path) -> Iterator[tuple[str, str]]:
    """What objects show of themselves in notebooks and terminals."""
    for one in (log(), replayed(), simulated(), backtested(), analysed(), times(), sends(), model(), welcome()):
        yield f"repr of {type(one).__name__}", repr(one)
        yield f"html of {type(one).__name__}", one._repr_html_() if hasattr(one, "_repr_html_") else ""


def summaries(folder: Path) -> Iterator[tuple[str, str]]:
    """What the command line prints for machines, and the notes."""
    for one in (replayed(), simulated(), backtested()):
        yield f"summary of {type(one).__name__}", json.dumps(one.summary(), default=str)
    yield "analysis", json.dumps(analysed().to_dict(), default=str) + "\n".join(analysed().sentences())
    yield "notes", "\n".join([*replayed().notes, *simulated().notes])


@pytest.mark.parametrize("artefacts", [reports, pdfs, pages, displays, summaries], ids=lambda one: one.__name__)
def test_no_artefact_has_a_token_of_the_person(
    artefacts: Callable[[Path], Iterator[tuple[str, str]]], tmp_path: Path
) -> None:
    found = {name: holding(text, TOKENS.values()) for name, text in artefacts(tmp_path)}
    assert len(found) > 1
    assert {name: tokens for name, tokens in found.items() if tokens} == {}


def test_the_person_did_go_through_everything() -> None:
    """Where people are named, inside, the search finds the tokens."""
    entered = replayed().entries
    assert (entered["contact"].astype(str) == TOKENS["id"]).any()
    assert holding(replayed().visits.to_csv(), TOKENS.values()) == [TOKENS["id"]]
    assert holding(replayed().sends.to_csv(), TOKENS.values()) == [TOKENS["id"]]
    assert TOKENS["id"] in sends().table()["contact"].astype(str).tolist()
    everywhere = "".join(
        one.to_pandas().to_csv() for one in (log().events, log().contacts) if hasattr(one, "to_pandas")
    )
    if everywhere:
        assert set(holding(everywhere, TOKENS.values())) >= {TOKENS["id"], TOKENS["mailbox"]}


def test_a_value_that_one_person_has_is_not_listed_and_is_with_the_guard_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from journeylab.disclosure import gate

    people = datasets.fixtures() / "shop" / "contacts.parquet"
    frame = pd.read_parquet(people)
    frame.loc[0, "mailbox"] = TOKENS["mailbox"]
    since, until = pd.Timestamp("2026-01-01", tz="UTC"), pd.Timestamp("2026-06-01", tz="UTC")

    def shown(name: str) -> str:
        made = disclose(
            [cells(frame, table="mailboxes", by=["mailbox"])], of="contacts", period=(since, until), data_until=until,
            ledger=Ledger(tmp_path / name, LedgerKey(bytes(32))),
        )  # fmt: skip
        return made._repr_html_() + json.dumps(made.to_dict())

    assert not holding(shown("on"), TOKENS.values())
    of = gate.frame_of
    monkeypatch.setattr(gate, "frame_of", lambda table, *more: of(replace(table, is_listed=True), *more))
    assert holding(shown("off"), TOKENS.values()) == [TOKENS["mailbox"]]


def test_a_saved_notebook_with_the_person_in_it_is_found_in_every_form(tmp_path: Path) -> None:
    for number, form in enumerate(forms(TOKENS["first_name"])):
        notebook = {
            "cells": [
                {"cell_type": "code", "source": "1", "metadata": {}, "execution_count": 1,
                 "outputs": [{"output_type": "stream", "name": "stdout", "text": f"before {form} after"}]}
            ],
            "metadata": {}, "nbformat": 4, "nbformat_minor": 5,
        }  # fmt: skip
        path = tmp_path / f"{number}.ipynb"
        path.write_text(json.dumps(notebook))
        assert {one.kind for one in check_notebook(path, canaries=[TOKENS["first_name"]])} == {"canary"}
    path.write_text(json.dumps({**notebook, "cells": []}))
    assert not check_notebook(path, canaries=[TOKENS["first_name"]])


@pytest.mark.browser
@pytest.mark.parametrize(
    "notebook", ["01_explore_segments", "03_replay_and_backtest", "04_learn_send_times", "05_test_variants"]
)
def test_a_notebook_that_ran_over_the_persons_log_and_was_exported_has_no_token(notebook: str, tmp_path: Path) -> None:
    events, contacts = tables()
    events.to_parquet(tmp_path / "events.parquet")
    contacts.to_parquet(tmp_path / "contacts.parquet")
    folder = Path(__file__).parents[1] / "notebooks"
    given = {"JOURNEYLAB_EVENTS": "events.parquet", "JOURNEYLAB_CONTACTS": "contacts.parquet"}
    subprocess.run(
        [sys.executable, "-m", "marimo", "export", "html", str(folder / f"{notebook}.py"), "-o", "out.html"],
        cwd=tmp_path, env={**os.environ, **given, "PYTHONPATH": str(folder)}, check=True, timeout=900,
        capture_output=True,
    )  # fmt: skip
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert len(text) > 100_000
    assert holding(text, TOKENS.values()) == []
