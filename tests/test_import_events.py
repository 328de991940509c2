"""Exports of each system, written from its public documentation, and the whole log that each must give.

`tests/exports/SYSTEM` has the files, `tests/exports/expected/SYSTEM.jsonl` the log, then the contacts, then what is
left out.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import journeylab as jl
from journeylab.errors import DataError
from journeylab.importers.events import adapter_of, import_events, section, system_names

EXPORTS = Path(__file__).parent / "exports"
ROOT = EXPORTS.parent.parent
SYSTEMS = sorted(path.stem for path in (EXPORTS / "expected").iterdir())
TOLD = {"eloqua": {"timezone": "America/New_York"}}


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what is missing and without ids, instants as texts."""
    return {
        name: value.isoformat() if hasattr(value, "isoformat") else value
        for name, value in row.items()
        if value is not None and name != "source_id"
    }


def rows_of(table: pa.Table | None) -> list[dict[str, Any]]:
    return [] if table is None else [plain(row) for row in table.to_pylist()]


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_export_gives_the_whole_log_written_by_hand(system):
    got = import_events(system, EXPORTS / system, **TOLD.get(system, {}))
    lines = [json.loads(line) for line in (EXPORTS / "expected" / f"{system}.jsonl").read_text().splitlines()]
    assert rows_of(got.events) == [line for line in lines if "event" in line]
    assert rows_of(got.contacts) == [line["a contact"] for line in lines if "a contact" in line]
    left_out = [{"table": table, "n_rows": n, "left_out": why} for (table, why), n in sorted(got.left_out.items())]
    assert left_out == [line for line in lines if "left_out" in line]
    ids = got.events["source_id"].to_pylist()
    assert len(set(ids)) == len(ids)
    assert all(re.match(rf"{system}/\w+/[^/]+/", one) for one in ids)


@pytest.mark.parametrize("system", SYSTEMS)
def test_no_address_name_or_number_of_a_person_is_kept_that_is_not_the_contact(system):
    got = import_events(system, EXPORTS / system, **TOLD.get(system, {}))
    rows = [*rows_of(got.events), *rows_of(got.contacts)]
    kept = " ".join(str(value) for row in rows for name, value in row.items() if name != "contact")
    for personal in ("rcpt.example", "192.0.2.", "Ada", "Lovelace"):
        assert personal not in kept
    if system not in ("salesforce", "matomo"):  # where it is an attribute of the account's own
        assert "Lublin" not in kept


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_log_that_was_imported_is_read_and_replayed(system, tmp_path):
    log, contacts = tmp_path / "events.parquet", tmp_path / "contacts.parquet"
    got = import_events(system, EXPORTS / system, log, contacts=contacts, **TOLD.get(system, {}))
    read = jl.EventLog.read(log, contacts=contacts if got.contacts is not None else None, cache=False)
    assert read.n_events == len(got.events)
    assert read.event_names == sorted(set(got.events["event"].to_pylist()))
    for name in read.attribute_names:
        if name != "modified_at":
            read.attribute(name)
    first = got.events["event"].to_pylist()[-1]
    journey = jl.Journey(
        journey="any", purpose="service", trigger=jl.Trigger(event=first, reentry="always"),
        nodes={"hello": jl.Send(send="hello", next="done"), "done": jl.Exit(exit="finished")},
    )  # fmt: skip
    n = sum(name == first for name in got.events["event"].to_pylist())
    assert jl.replay(journey, read, until="2027-01-01T00:00:00Z").n_entries == n


def test_a_journey_meets_the_sends_opens_and_withdrawals_of_the_export(tmp_path):
    log = tmp_path / "events.parquet"
    import_events("dittofeed", EXPORTS / "dittofeed", log)
    events = pd.read_parquet(log)
    given = {
        "contact": "u-1",
        "event": "consent_given",
        "occurred_at": pd.Timestamp("2026-03-01T08:00Z"),
        "purpose": "marketing",
    }
    read = jl.EventLog.read(pd.concat([events, pd.DataFrame([given])], ignore_index=True))
    journey = jl.Journey(
        journey="hello", purpose="marketing",
        trigger=jl.Trigger(event="signup", where='plan == "trial" and source == "ad"'),
        nodes={
            "hello": jl.Send(send="welcome", next="read"),
            "read": jl.WaitFor(wait_for="opened(hello)", within="3d", then="rest", **{"else": "done"}),
            "rest": jl.Wait(wait="3d", next="done"),
            "done": jl.Exit(exit="finished"),
        },
    )  # fmt: skip
    visits = jl.replay(journey, read, until="2026-03-10T00:00:00Z").visits
    assert visits["node"].tolist() == ["hello", "read", "rest"]
    assert visits["branch"].tolist()[:2] == ["next", "then"]
    assert set(visits["evidence"]) == {"observed"}
    assert visits["left_at"].iloc[-1] == pd.Timestamp("2026-03-01T11:00Z")  # the withdrawal


def test_data_views_are_read_as_extracts_are():
    views = pd.DataFrame(
        {"AccountID": [1], "OYBAccountID": [None], "JobID": [901], "ListID": [17], "BatchID": [1], "SubscriberID": [51],
         "SubscriberKey": ["c-100"], "EventDate": ["2026-03-01 02:00:00.123"], "Domain": ["rcpt.example"],
         "TriggererSendDefinitionObjectID": ["x"], "TriggeredSendCustomerKey": ["welcome-ts"]}
    )  # fmt: skip
    jobs = pd.DataFrame({"JobID": [901], "EmailName": ["Welcome 1"], "EmailSubject": ["Hello"]})
    got = import_events("salesforce", {"Sent": views, "SendJobs": jobs})
    assert rows_of(got.events) == [
        {"contact": "c-100", "event": "sent", "occurred_at": "2026-03-01T08:00:00.123000+00:00", "message": "Welcome 1",
         "message_id": "901", "triggered_send": "welcome-ts", "Domain": "rcpt.example"}
    ]  # fmt: skip


def test_contacts_of_a_crm_in_a_zone_that_the_file_does_not_tell():
    export = pd.DataFrame(
        {"Record ID": ["1"], "First Name": ["Ada"], "Email": ["ada@rcpt.example"],
         "Last Modified Date": ["2026-07-01 10:14"],
         "Lifecycle Stage": ["Lead"], "Unsubscribed from all email": ["true"], "Favourite tea": ["oolong"]}
    )  # fmt: skip
    with pytest.raises(
        DataError, match="in the zone of whoever exported it; say which zone they are in with timezone="
    ):
        import_events("hubspot", export)
    got = import_events("hubspot", export, timezone="Europe/Warsaw")
    assert rows_of(got.contacts) == [
        {"contact": "ada@rcpt.example", "modified_at": "2026-07-01T08:14:00+00:00", "hs_email_optout": True,
         "lifecyclestage": "Lead", "Favourite_tea": "oolong"}
    ]  # fmt: skip
    assert len(got.events) == 0  # that it opted out has no instant, so no event is made of it
    assert got.unnamed == {"contacts_export": ["Favourite_tea"]}


def test_eloqua_does_not_tell_its_zone_and_so_nobody_guesses():
    with pytest.raises(DataError) as raised:
        import_events("eloqua", EXPORTS / "eloqua")
    assert "the file does not tell which; say which zone they are in with timezone=" in str(raised.value)
    utc = import_events("eloqua", EXPORTS / "eloqua", timezone="UTC").events["occurred_at"].to_pylist()
    assert utc[0].isoformat() == "2026-03-08T01:30:00.123000+00:00"


@pytest.mark.parametrize(
    ("system", "rows", "said"),
    [
        (
            "klaviyo",
            [
                {
                    "type": "event",
                    "id": "k",
                    "attributes": {"datetime": "soon"},
                    "relationships": {"profile": {"data": {"id": "P"}}, "metric": {"data": {"id": "M"}}},
                }
            ],
            "'soon' is no time in ISO 8601",
        ),
        (
            "hubspot",
            [{"id": "e", "created": "x", "type": "SENT", "recipient": "a@b.example"}],
            "'x' is no number of time",
        ),
        (
            "hubspot",
            [{"id": "e", "created": 1, "type": "NEW", "recipient": "a@b.example"}],
            "'NEW' is no kind of email_events",
        ),
        ("hubspot", [{"id": "e", "created": 1772355600000, "type": "SENT", "recipient": ""}], "recipient: is missing"),
        ("braze", [{"id": "b", "event_type": "users.x", "time": 1, "external_user_id": "c"}], "'users.x' is no kind"),
        ("segment", [{"type": "play", "messageId": "s"}], "is no call; a call's `type` is track"),
        ("matomo", [{"idVisit": 1, "userId": "c"}], "has no actionDetails"),
        ("ga4", [{"event_name": "x"}], "the columns of no table of Google Analytics 4"),
    ],
)
def test_rows_at_fault_are_named_with_what_is_wrong(system, rows, said, tmp_path):
    file = tmp_path / "bad.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError) as raised:
        import_events(system, file)
    assert said in str(raised.value)
    assert "line 1" in str(raised.value)
    assert raised.value.rejects.num_rows >= 1
    aside = import_events(system, file, rejects="set_aside")
    assert (aside.n_set_aside, len(aside.events)) == (1, 0)


def test_unknown_systems_files_and_tables_are_named_with_what_there_is(tmp_path):
    with pytest.raises(DataError, match="did you mean 'hubspot'"):
        import_events("hubspott", [])
    with pytest.raises(DataError, match="there are no sources"):
        import_events("hubspot", [])
    with pytest.raises(DataError, match=r"there is no file .*nothing\.csv"):
        import_events("hubspot", tmp_path / "nothing.csv")
    file = tmp_path / "unknown.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"has the columns of no table of Mautic; for .*, the nearest, it lacks"):
        import_events("mautic", file)
    with pytest.raises(DataError, match="has no table 'leeds'; did you mean 'leads'"):
        import_events("mautic", {"leeds": file})
    with pytest.raises(DataError, match="a query needs a database"):
        import_events("mautic", EXPORTS / "mautic", query="SELECT 1")


def test_events_without_ids_are_not_taken_for_contacts():
    row = {"contact": "ada", "event": "buy", "occurred_at": "2026-03-01T09:00:00Z"}
    with pytest.raises(DataError, match="for events, the nearest, it lacks id"):
        import_events("warehouse", pd.DataFrame([row]))
    with pytest.raises(DataError, match=r"row 0, column .line.: .*has the columns of no table of tables of your own"):
        import_events("warehouse", [row])


def test_tables_with_the_same_columns_are_told_by_their_names(tmp_path):
    body = (EXPORTS / "salesforce" / "Unsubs.csv").read_text()
    for name, event in (
        ("acme_20260301_UNSUBS.csv", "unsubscribed"),
        ("Sent-2026.csv", "sent"),
        ("not_sent.csv", None),
    ):
        file = tmp_path / name
        file.write_text(body)
        kinds = import_events("salesforce", file).events["event"].to_pylist()
        assert kinds == [] if event is None else event in kinds
    nameless = tmp_path / "export.csv"
    nameless.write_text(body)
    with pytest.raises(DataError, match=r"which have the same columns; name the file after one of them, or say which"):
        import_events("salesforce", nameless)
    assert import_events("salesforce", f"Complaints={nameless}").events["event"].to_pylist() == ["complained"]


def test_the_purpose_is_that_of_the_import():
    got = import_events("salesforce", EXPORTS / "salesforce" / "Unsubs.csv", purpose="newsletter")
    assert set(got.events.filter(pa.compute.is_valid(got.events["purpose"]))["purpose"].to_pylist()) == {"newsletter"}


def test_what_is_a_number_only_by_word_of_whoever_imports(tmp_path):
    file = tmp_path / "tracks.csv"
    file.write_text("id,event_text,timestamp,user_id,amount\n1,buy,2026-03-01T09:00:00Z,u,12.50\n")
    assert rows_of(import_events("segment", file).events)[0]["amount"] == "12.50"
    assert rows_of(import_events("segment", file, numbers=["amount"]).events)[0]["amount"] == 12.5
    file.write_text("id,event_text,timestamp,user_id,amount\n1,buy,2026-03-01T09:00:00Z,u,much\n")
    with pytest.raises(DataError, match="line 2, column amount: 'much' is no number"):
        import_events("segment", file, numbers=["amount"])


def test_the_page_has_every_map_as_the_code_has_it():
    page = (ROOT / "docs" / "importing-events.md").read_text()
    for name in system_names():
        assert section(adapter_of(name)) in page, f"`cd tests && python -m exportmaps` writes the map of {name}"


def test_a_form_whose_values_have_odd_names_is_still_one():
    values = [{"name": ["a", {}], "value": "x"}, {"name": "email", "value": "ada@rcpt.example"}, {"name": None}]
    got = import_events("hubspot", [{"submittedAt": 1772000000000, "formId": "f", "values": values}])
    assert got.events["contact"].to_pylist() == ["ada@rcpt.example"]
