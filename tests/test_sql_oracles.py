"""The machine against hand-written SQL on real logs: every visit and every exit, contact by contact.

The queries in tests/sql were written from docs/semantics.md and share nothing with the package. The logs are the loan
applications of BPI Challenge 2012 (beside the project) and the CDNOW purchases (bundled).
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd
import pytest

from journeylab import journeyfile
from journeylab.datasets import cdnow, fixtures
from journeylab.eventlog import EventLog
from journeylab.replay import Replay, replay

SQL = Path(__file__).parent / "sql"
COLUMNS = ["contact", "entry", "node", "arrived_at", "left_at", "branch"]
OFFER_FOLLOW_UP = """
journey: offer_follow_up
trigger: {event: O_SENT}
exit_when:
  - {event: O_ACCEPTED, goal: true}
  - {event: A_CANCELLED}
nodes:
  reply: {wait_for: O_SENT_BACK, within: 10d, then: worth, else: remind}
  remind: {send: offer_reminder, next: grace}
  grace: {wait_for: O_SENT_BACK, within: 7d, then: worth, else: lost}
  worth: {decide: [{if: 'count("O_CREATED") >= 2', go: several}], else: single}
  several: {wait: 2d, next: done}
  single: {wait: 1d, next: done}
  done: {exit: answered}
  lost: {exit: no_answer}
"""
OFFER_DESK = """
journey: offer_desk
trigger: {event: O_SENT, reentry: after_exit}
nodes:
  desk:
    wait_for:
      - {await: O_SENT_BACK, go: back}
      - {await: O_CANCELLED, go: withdrawn}
      - {await: A_DECLINED, go: declined}
    within: 14d
    else: chase
  chase: {send: offer_chased, next: last_call}
  last_call:
    wait_for: [{await: O_SENT_BACK, go: back}, {await: O_CANCELLED, go: withdrawn}]
    within: 21d
    else: silent
  back: {exit: back}
  withdrawn: {exit: withdrawn}
  declined: {exit: declined}
  silent: {exit: silent}
"""
SECOND_PURCHASE = """
journey: second_purchase
trigger: {event: purchase, where: dollar_value > 0, reentry: 180d}
nodes:
  pause: {wait: 30d, next: look}
  look:
    wait_for: event("purchase", where="dollar_value >= 20")
    within: 60d
    since: entry
    then: worth
    else: hint
  worth:
    decide:
      - {if: 'sum("purchase.dollar_value", "90d") >= 100.005', go: keen}
      - {if: 'count("purchase") >= 3', go: regular}
    else: occasional
  hint: {send: second_purchase_hint, next: last_call}
  last_call: {wait_for: purchase, within: 60d, then: back, else: lapsed}
  keen: {exit: keen}
  regular: {exit: regular}
  occasional: {exit: occasional}
  back: {exit: back}
  lapsed: {exit: lapsed}
"""


def replayed(text: str, log: EventLog, folder: Path) -> Replay:
    path = folder / "journey.yaml"
    path.write_text(text)
    return replay(journeyfile.read(path), log)


def asked(name: str, view: str, source: Path) -> pd.DataFrame:
    """The query's visits and exits."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"create view events as {view.format(source=source)}")
        return connection.sql((SQL / f"{name}.sql").read_text()).df()


def comparable(table: pd.DataFrame) -> pd.DataFrame:
    """The rows in an order and in types that compare."""
    kinds = {"contact": "int64", "entry": "int64", "node": "str", "branch": "str"}
    kinds |= {"arrived_at": "datetime64[us]", "left_at": "datetime64[us]"}
    return table[COLUMNS].astype(kinds).sort_values(COLUMNS, ignore_index=True)


def visits_and_exits(result: Replay) -> pd.DataFrame:
    """The replay's visits, and its finished entries as rows named (exit), as the queries give them."""
    entries = result.entries.dropna(subset="exit").assign(node="(exit)")
    exits = entries.rename(columns={"entered_at": "arrived_at", "exit": "branch"})
    both = [part[COLUMNS].astype({"node": "str", "branch": "str"}) for part in (result.visits, exits)]
    table = pd.concat(both, ignore_index=True)
    return table.assign(**{name: table[name].dt.tz_localize(None) for name in ("arrived_at", "left_at")})


def assert_same(result: Replay, expected: pd.DataFrame) -> None:
    """Every visit and exit is the same; and so are the counts, which are counted apart from the visits."""
    pd.testing.assert_frame_equal(comparable(visits_and_exits(result)), comparable(expected))
    summary = result.summary()
    exits = expected[expected["node"] == "(exit)"]
    visits = expected[expected["node"] != "(exit)"]
    assert summary["n_entries"] == len(visits.groupby(["contact", "entry"]))
    assert summary["still_inside"] == summary["n_entries"] - len(exits)
    assert summary["exits"] == exits["branch"].value_counts().to_dict()
    for node, of_node in visits.groupby("node"):
        found = summary["nodes"][node]
        assert found["n_visits"] == len(of_node)
        assert {k: n for k, n in found["branches"].items() if n and k == k} == of_node[
            "branch"
        ].value_counts().to_dict()


@pytest.fixture(scope="module")
def applications(shared_data: Path) -> tuple[EventLog, Path]:
    source = shared_data / "bpic2012" / "bpic2012.parquet"
    columns = {"case_id": "contact", "activity": "event", "timestamp": "occurred_at"}
    return EventLog.read(source, columns=columns), source


APPLICATIONS = """
select case_id as contact, activity as event, "timestamp" at time zone 'UTC' as occurred_at, file_row_number as row
from read_parquet('{source}', file_row_number = true)
"""
PURCHASES = """
select customer_id as contact, date as occurred_at, file_row_number as row, dollar_value
from read_parquet('{source}', file_row_number = true)
"""


@pytest.mark.data
@pytest.mark.parametrize(("name", "text"), [("offer_follow_up", OFFER_FOLLOW_UP), ("offer_desk", OFFER_DESK)])
def test_loan_applications_are_replayed_as_the_query_says(
    name: str, text: str, applications: tuple[EventLog, Path], tmp_path: Path
) -> None:
    log, source = applications
    assert_same(replayed(text, log, tmp_path), asked(name, APPLICATIONS, source))


def test_cdnow_purchases_are_replayed_as_the_query_says(tmp_path: Path) -> None:
    expected = asked("second_purchase", PURCHASES, fixtures() / "cdnow" / "purchases.parquet")
    assert_same(replayed(SECOND_PURCHASE, cdnow(), tmp_path), expected)
