"""Moving in from another system: its journey and its events together say what it would have done, and what it did."""

import json

import pytest

import journeylab as jl
from journeylab.errors import DataError

SENT = "SubscriberKey,SendID,EventDate,BatchID,ListID,TriggeredSendExternalKey,EventType\n"
JOBS = "SendID,EmailName\n901,Welcome 1\n"


@pytest.fixture
def extract(tmp_path):
    """A tracking extract of one mail of a journey, opened by one of two contacts."""
    folder = tmp_path / "extract"
    folder.mkdir()
    (folder / "Sent.csv").write_text(
        SENT + "ada,901,3/2/2026 4:00:00 AM,1,1,welcome-ts,Sent\nbob,901,3/2/2026 5:00:00 AM,1,1,welcome-ts,Sent\n"
    )
    (folder / "Opens.csv").write_text(SENT + "ada,901,3/2/2026 6:00:00 AM,1,1,welcome-ts,Open\n")
    (folder / "SendJobs.csv").write_text(JOBS)
    return folder


SIGNUPS = [
    {"contact": "ada", "event": "signup", "occurred_at": "2026-03-02T10:00:00Z", "id": "1"},
    {"contact": "bob", "event": "signup", "occurred_at": "2026-03-02T11:00:00Z", "id": "2"},
]
JOURNEY = jl.Journey(
    journey="welcome",
    trigger=jl.Trigger(event="signup"),
    nodes={
        "hello": jl.Send(send="hello_mail", next="read"),
        "read": jl.WaitFor.model_validate(
            {"wait_for": "opened(hello)", "within": "3d", "then": "done", "else": "done"}
        ),
        "done": jl.Exit(exit="finished"),
    },
)


def replayed(log):
    return jl.replay(JOURNEY, jl.EventLog.read(log), until="2026-03-10T00:00:00Z")


def test_messages_are_called_in_the_log_as_in_the_journey_whichever_way_the_system_speaks_of_them(extract, tmp_path):
    for i, theirs in enumerate(("901", "Welcome 1", "welcome-ts")):
        log = tmp_path / f"{i}.parquet"
        jl.import_events("warehouse", SIGNUPS, log)
        plain = replayed(log)
        assert set(plain.sends["evidence"]) == {"assumed"}
        got = jl.import_events("salesforce", extract, log, messages={theirs: "hello_mail"})
        assert set(got.events["message"].drop_null().to_pylist()) == {"hello_mail"}
        result = replayed(log)
        assert set(result.sends["evidence"]) == {"observed"}
        visits = result.visits
        assert visits[visits["node"] == "read"].set_index("contact")["branch"].to_dict() == {
            "ada": "then",
            "bob": "else",
        }


def test_the_log_keeps_what_messages_are_called(extract, tmp_path):
    log = tmp_path / "log.parquet"
    file = tmp_path / "messages.csv"
    file.write_text("message,called\nhello_mail,welcome-ts\nhello_mail,Welcome 1\n")
    jl.import_events("salesforce", extract, log, messages=file)
    before = log.read_bytes()
    jl.import_events("salesforce", extract, log, messages=file)
    again = jl.import_events("salesforce", extract, log)
    assert log.read_bytes() == before
    assert (again.n_new, again.n_repeated, again.n_changed) == (0, 3, 0)
    (extract / "Opens.csv").write_text(SENT + "bob,901,3/2/2026 7:00:00 AM,1,1,welcome-ts,Open\n")
    later = jl.import_events("salesforce", extract / "Opens.csv", log)
    assert set(later.events["message"].to_pylist()) == {"hello_mail"}


def test_a_system_that_has_names_alone_is_told_by_them(tmp_path):
    rows = [{"contact": "ada", "event": "sent", "occurred_at": "2026-03-02T10:00:00Z", "id": "1", "message": "Hello!"}]
    log = tmp_path / "log.parquet"
    jl.import_events("warehouse", rows, log)
    got = jl.import_events("warehouse", rows, log, messages={"Hello!": "hello_mail"})
    assert got.events["message"].to_pylist() == ["hello_mail"]
    assert got.events["message_id"].to_pylist() == ["Hello!"]
    again = jl.import_events("warehouse", rows, log)
    assert (again.n_new, again.n_changed, again.events["message"].to_pylist()) == (0, 0, ["hello_mail"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("message,id\na,b\n", "line 2: a row has `message` and `called`"),
        ("message,called\na,x\nb,x\n", "line 3: 'x' is called 'a' and 'b'; keep one"),
        ("message,called\na,\n", "line 2: a row has `message` and `called`"),
    ],
)
def test_a_file_of_messages_that_is_none_is_refused(tmp_path, text, said):
    file = tmp_path / "messages.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=said.replace("?", r"\?")):
        jl.import_events("warehouse", SIGNUPS, messages=file)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        jl.import_events("warehouse", SIGNUPS, messages=tmp_path / "none.csv")


def test_what_convert_writes_is_what_the_import_of_events_takes(tmp_path):
    from importing import EXPORTS

    made = jl.import_journeys(EXPORTS / "dittofeed" / "welcome.json", "dittofeed")
    assert made.called() == [
        ("welcome_mail", "t-welcome"), ("welcome_mail", "Welcome mail"), ("first_purchase_nudge", "t-nudge"),
        ("first_purchase_nudge", "First purchase nudge"),
    ]  # fmt: skip
    data = json.loads(json.dumps({theirs: ours for ours, theirs in made.called()}))
    rows = [{"contact": "ada", "event": "sent", "occurred_at": "2026-03-02T10:00:00Z", "id": "1", "message": "t-nudge"}]
    got = jl.import_events("warehouse", rows, messages=data)
    assert got.events["message"].to_pylist() == ["first_purchase_nudge"]
