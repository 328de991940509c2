"""The simulated shop: its logs replay exactly, its figures are the published ones, and its truth does what it says."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from journeylab import datasets, journeyfile
from journeylab.errors import DataError, DefinitionError
from journeylab.eventlog import EventLog
from journeylab.journey import Decide, Exit, Journey, Policy, Send, Split, Trigger, Wait, WaitFor
from journeylab.replay import replay
from journeylab.sendtimes import SendTimes
from journeylab.shop import Shop
from journeylab.shopreactions import Sends

pytestmark = pytest.mark.long


def journey(nodes, trigger=None, name="probe", **more) -> Journey:
    return Journey(journey=name, trigger=trigger or Trigger(event="signup"), nodes=nodes, **more)


def one_send(message="welcome_1", **more) -> Journey:
    return journey({"hello": Send(send=message, next="done"), "done": Exit(exit="done")}, **more)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(20_000, seed=2026)


@pytest.fixture(scope="module")
def history():
    return journeyfile.read(datasets.fixtures() / "shop" / "history.yaml")


@pytest.fixture(scope="module")
def run(shop, history):
    return shop.run(history)


@pytest.fixture(scope="module")
def sent(run) -> pd.DataFrame:
    """Every send of the history with what a person did with it; delays in hours."""
    events = run.events
    first = events[(events["event"] != "sent") & events["message"].notna() & ~events["is_machine"].fillna(value=False)]
    table = events[events["event"] == "sent"].sort_values("occurred_at")
    table = table.assign(place=table.groupby(["contact", "message"]).cumcount())
    assert table["place"].max() <= 1
    for event in ("opened", "clicked", "unsubscribed"):
        mine = first.loc[first["event"] == event, ["contact", "message", "occurred_at"]].sort_values("occurred_at")
        mine = mine.rename(columns={"occurred_at": event})
        table = pd.merge_asof(
            table, mine, left_on="occurred_at", right_on=event, by=["contact", "message"], direction="forward"
        )
    later = table.groupby(["contact", "message"])["occurred_at"].shift(-1)
    for event in ("opened", "clicked", "unsubscribed"):
        table[event] = table[event].where(later.isna() | (table[event] < later))
    return table.assign(delay=(table["opened"] - table["occurred_at"]) / timedelta(hours=1))


@pytest.fixture(scope="module")
def small() -> Shop:
    return Shop(1_500, seed=5)


def assert_same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    if not one.equals(other):  # which is fast; what differs is told slowly
        pd.testing.assert_frame_equal(one, other)


def assert_replays_exactly(journeys, run, **options) -> None:
    again = replay(journeys, run.log, assumed_consent=run.assumed_consent, **options)
    assert_same(again.visits, run.visits)
    assert_same(again.entries, run.entries)
    assert_same(again.branches, run.branches)
    assert_same(again.sends, run.sends.drop(columns="propensity"))


# The log of a run is all that replaying its journeys needs


def test_history_replays_exactly_and_is_all_on_record(history, run):
    assert_replays_exactly(history, run)
    assert set(run.visits["evidence"]) == {"observed"}


@pytest.mark.parametrize("name", ["trial_welcome", "shop_portfolio", "keen_care", "trial_ends"])
def test_bundled_journeys_replay_exactly(small, name):
    journeys = journeyfile.read(datasets.journey_file(name))
    run = small.run(journeys)
    assert len(run.sends) > 50
    assert_replays_exactly(journeys, run)


def test_journeys_that_messages_trigger_and_end_replay_exactly(small):
    reader = one_send("offer_plain", name="reader", trigger=Trigger(event="opened", reentry="7d"))
    buyer = one_send(
        "reminder", name="buyer", trigger=Trigger(event="purchase", where="amount == 59", reentry="always")
    )
    loop = journey(
        {
            "mail": Send(send="welcome_1", next="pause"),
            "pause": WaitFor(wait_for="clicked(mail)", within="3d", then="done", **{"else": "tired"}),
            "tired": Decide(decide=[{"if": 'count("sent", "14d") >= 4', "go": "done"}], **{"else": "rest"}),
            "rest": Wait(wait="1h", next="mail"),
            "done": Exit(exit="done"),
        },
        exit_when=[{"event": "purchase", "goal": True}, {"event": "complained"}],
        holdout="20%",
    )
    journeys = [reader, buyer, loop]
    run = small.run(journeys)
    assert set(run.entries["journey"]) == {"probe", "reader", "buyer"}
    assert run.entries["converted"].any()
    assert_replays_exactly(journeys, run)
    assert set(run.visits["evidence"]) == {"observed"}


def test_another_purpose_replays_exactly_with_the_same_consent_assumed(small):
    one = one_send(purpose="news")
    run = small.run(one)
    assert run.assumed_consent == {"news"}
    assert_replays_exactly(one, run)


def test_run_up_to_an_earlier_horizon_is_what_had_happened_by_then(small, history):
    early, whole = small.run(history, until="2026-03-20T12:00:00+00:00"), small.run(history)
    assert_replays_exactly(history, early)
    at = pd.Timestamp("2026-03-20T12:00Z")
    assert early.events["occurred_at"].max() <= at
    pd.testing.assert_frame_equal(early.events, whole.events[whole.events["occurred_at"] <= at].reset_index(drop=True))
    pd.testing.assert_frame_equal(early.visits, replay(history, whole.log, until=early.until).visits)


def test_saved_run_reads_as_its_log_and_says_that_it_is_simulated(small, history, tmp_path):
    run = small.run(history)
    run.save(tmp_path)
    log = EventLog.read(tmp_path / "events.parquet", contacts=tmp_path / "contacts.parquet")
    pd.testing.assert_frame_equal(log.events(), run.log.events())
    pd.testing.assert_frame_equal(replay(history, log, until=run.until).branches, run.branches)
    for name in ("events", "contacts"):
        assert b"simulated" in pq.read_schema(tmp_path / f"{name}.parquet").metadata[b"description"]
    assert "simulated" in repr(run)
    assert "simulated" in repr(small)


# The figures (XCampaign, Mailprofiler, CIKM 2025)


def test_as_many_sends_are_opened_as_published(sent):
    assert sent["opened"].notna().mean() == pytest.approx(0.091, abs=0.005)


@pytest.mark.parametrize(("hours", "share"), [(1, 0.259), (6 + 25 / 60, 0.5), (24, 0.712), (168, 0.93)])
def test_opens_come_as_soon_as_published(sent, hours, share):
    opened = sent["delay"].dropna()
    assert (opened <= hours).mean() == pytest.approx(share, abs=0.03)


def test_contacts_differ_in_how_much_they_open(sent):
    by_contact = sent["opened"].notna().groupby(sent["contact"]).mean()
    assert by_contact.std() > 0.15


# Effects


def test_messages_shortly_before_make_opening_rarer_and_leaving_likelier(shop):
    flood = journey(
        {
            "lot": Split(split={"many": "50%", "calm": "50%"}),
            "many": Send(send="first", next="day_1"),
            "day_1": Wait(wait="1d", next="more"),
            "more": Send(send="second", next="day_2"),
            "day_2": Wait(wait="1d", next="mail"),
            "calm": Wait(wait="2d", next="mail"),
            "mail": Send(send="third", next="done"),
            "done": Exit(exit="done"),
        }
    )
    run = Shop(20_000, seed=1, machine_share=0).run(flood)
    events = run.events[run.events["message"] == "third"]
    n = {event: set(events.loc[events["event"] == event, "contact"]) for event in ("sent", "opened", "unsubscribed")}
    arm = run.visits[run.visits["node"] == "lot"].set_index("contact")["branch"].astype("str")
    opened, left = ({}, {})
    for name in ("many", "calm"):
        mine = set(arm.index[arm == name])
        opened[name] = len(n["opened"] & mine) / len(n["sent"] & mine)
        left[name] = len(n["unsubscribed"] & mine) / len(n["opened"] & mine)
    assert opened["many"] < 0.75 * opened["calm"]
    assert left["many"] > 1.3 * left["calm"]
    calm = Shop(5_000, seed=1, machine_share=0, fatigue=0).run(flood)
    tired = Shop(5_000, seed=1, machine_share=0).run(flood)
    assert _total(calm, "opened") > 1.15 * _total(tired, "opened")


def _total(run, outcome: str) -> float:
    return run.outcomes.set_index("outcome").loc[outcome, "total"]


def test_contacts_open_more_of_what_comes_in_their_own_hours(shop, sent):
    who = np.searchsorted(shop.names, sent["contact"].to_numpy().astype(str))
    at = sent["occurred_at"].astype("int64").to_numpy()
    contacts = shop._contacts
    weight = contacts.rhythm.weight(contacts.habit[who], contacts.hour_of_week(who, at))
    rate = sent["opened"].notna().groupby(weight > 1.5).mean()
    assert rate[True] > 1.25 * rate[False]


def test_sending_at_the_contacts_best_hours_truly_pays(small):
    contacts = small._contacts
    best = pd.DataFrame(
        {"contact": small.names, "hour_of_week": contacts.rhythm.weights[contacts.habit].argmax(axis=1)}
    )
    at_best = journey(
        {"hello": Send(send="welcome_1", at="best", expires="8d", next="done"), "done": Exit(exit="done")}
    )
    usual, timed = small.run(one_send()), small.run(at_best, send_times=best)
    assert _total(timed, "opened") > 1.1 * _total(usual, "opened")
    assert_replays_exactly(at_best, timed, send_times=best)
    assert set(timed.visits["evidence"]) == {"observed"}
    assert "slots" not in timed.events.columns
    assert timed.events.loc[timed.events["event"] == "sent", "send_times"].nunique() == 1


def test_a_run_that_explores_leaves_a_log_with_the_probability_of_each_hour(small):
    scores = np.tile(np.arange(168, dtype=np.float32), (2, 1))
    scores[1, ::3] = np.nan
    n = len(small.names)
    times = SendTimes(
        pa.array(small.names[: n // 2]), np.arange(n // 2, dtype=np.int32) % 2, scores, 1,
        np.zeros(n // 2, np.int8), np.full((n // 2, 3), np.nan, np.float32),
    )  # fmt: skip
    at = {"best": "opens", "between": ["08:00", "21:00"], "within": "1d", "explore": "100%"}
    explores = journey({"hello": Send(send="welcome_1", at=at, next="done"), "done": Exit(exit="done")}, holdout="10%")
    run = small.run(explores, send_times={"opens": times})
    sent = run.events[run.events["event"] == "sent"]
    assert len(sent) > 500
    assert set(run.sends.loc[run.sends["is_sent"], "advice"]) == {"explored"}
    assert set(sent["send_times"]) == {times.version}
    bits = sent["slots"].map(lambda text: int(text, 16).bit_count())
    assert set(sent["slots"].str.len()) == {42}
    assert set(bits) == {9, 10, 13, 14}
    moved = set(small.organic.events().query("event == 'attribute_changed' and name == 'timezone'")["contact"])
    late = sent["slot_propensity"].isna()  # the window of a contact that moves while a send is held moves, too
    assert set(sent.loc[late, "contact"]) < moved
    np.testing.assert_allclose(sent["slot_propensity"][~late], 1 / bits[~late])
    assert run.log.property("slot_propensity").kind == "number"
    assert_replays_exactly(explores, run, send_times={"opens": times})
    zone = small.contacts.set_index("contact")["timezone"]
    walls = [at.tz_convert(zone[who]) for who, at in zip(sent["contact"], sent["occurred_at"], strict=True)]
    hours = [wall.weekday() * 24 + wall.hour for wall in walls]
    rows = zip(sent["contact"], hours, sent["slots"], strict=True)
    assert all(int(slots, 16) >> hour & 1 for who, hour, slots in rows if who not in moved)


def test_visits_follow_the_local_day_in_every_zone_and_across_clock_changes(shop):
    visits = shop.organic.events()
    visits = visits[visits["event"] == "visit"]
    for zone in ("Europe/Warsaw", "Australia/Sydney"):
        mine = visits[visits["contact"].isin(shop.contacts.loc[shop.contacts["timezone"] == zone, "contact"])]
        for after in (False, True):
            change = pd.Timestamp("2026-04-06", tz="UTC")
            part = mine[(mine["occurred_at"] > change) == after]
            hours = part["occurred_at"].dt.tz_convert(zone).dt.hour.value_counts(normalize=True)
            assert hours.reindex(range(5)).sum() < 0.06
            assert hours.reindex(range(8, 22)).sum() > 0.75


def test_every_message_has_its_own_level(small):
    one = one_send("special")
    few, many = (Shop(1_500, seed=5, opens={"special": level}).run(one) for level in (0.02, 0.4))
    assert _total(many, "opened") > 5 * _total(few, "opened")
    none, all_of_them = (Shop(1_500, seed=5, opens={"special": 0.5}, sells={"special": p}).run(one) for p in (0, 0.9))
    assert _total(none, "purchases") == 0
    assert _total(all_of_them, "purchases") > 0.5 * _total(all_of_them, "clicked")


def test_drift_changes_what_comes_after_it_and_nothing_before():
    one = one_send()
    at = pd.Timestamp("2026-03-15", tz="UTC")
    usual, drifted = Shop(5_000, seed=5), Shop(5_000, seed=5, drift_at="2026-03-15T00:00:00+00:00", drift=0.4)
    before, after = (shop.run(one).events for shop in (usual, drifted))
    pd.testing.assert_frame_equal(before[before["occurred_at"] < at], after[after["occurred_at"] < at])
    opened = [
        (events["event"].eq("opened") & ~events["is_machine"].fillna(value=False) & (events["occurred_at"] > at)).sum()
        for events in (before, after)
    ]
    assert opened[1] < 0.7 * opened[0]


def test_machines_open_at_apple_mailboxes_and_click_at_company_ones(run):
    machine = run.events[run.events["is_machine"].fillna(value=False)]
    mailbox = machine["contact"].map(run.shop.contacts.set_index("contact")["mailbox"])
    assert set(mailbox[machine["event"] == "opened"]) == {"apple", "company"}
    assert set(mailbox[machine["event"] == "clicked"]) == {"company"}
    without = Shop(500, seed=1, machine_share=0).run(one_send()).events
    assert not without["is_machine"].fillna(value=False).any()


# Truth


def test_what_happens_without_messages_is_the_same_under_every_journey(small, history):
    columns = ["contact", "event", "occurred_at", "page", "amount"]
    organic = small.organic.events()[columns].drop_duplicates()
    for journeys in (history, one_send()):
        events = small.run(journeys).events[columns].drop_duplicates()
        both = events.merge(organic.assign(organic=True), on=columns, how="left")
        assert both["organic"].fillna(value=False).sum() == len(organic)
        extra = both[both["organic"].isna() & (both["event"] == "purchase")]
        assert (extra["amount"] == 59).all()


def test_same_message_at_the_same_instant_is_answered_alike_under_any_policy(small):
    half = journey(
        {
            "lot": Split(split={"hello": "50%", "done": "50%"}),
            "hello": Send(send="welcome_1", next="done"),
            "done": Exit(exit="done"),
        }
    )
    everybody, some = (small.run(one).events for one in (one_send(), half))
    some = some[some["message"].notna()].drop(columns="propensity")
    same = everybody[everybody["contact"].isin(some["contact"]) & everybody["message"].notna()]
    assert 0.4 < some["contact"].nunique() / everybody.loc[everybody["message"].notna(), "contact"].nunique() < 0.6
    pd.testing.assert_frame_equal(some.reset_index(drop=True), same.drop(columns="propensity").reset_index(drop=True))


def test_answers_do_not_depend_on_the_order_of_contacts(small):
    n = small.n_contacts
    rng = np.random.default_rng(1)
    at = np.full(n, 1_771_000_000_000_000) + rng.integers(0, 10**6, n) * 10**6
    sends = Sends(np.arange(n), at, np.zeros(n, np.int64), rng.integers(0, 3, n), np.ones(n), np.ones(n))
    order = rng.permutation(n)
    found = small._reactions.answered(sends, ["welcome_1"])
    mixed = small._reactions.answered(Sends(*(column[order] for column in sends)), ["welcome_1"])
    rows = [
        sorted(zip(*(column.tolist() for column in one), strict=True))
        for one in (found, mixed._replace(send=order[mixed.send]))
    ]
    assert rows[0] == rows[1]


def test_purchase_that_a_message_caused_happens_whatever_is_sent_before_it():
    options = {"opens": {"first": 0.9}, "sells": {"first": 0.9, "second": 0.0}}
    send_both = journey(
        {
            "one": Send(send="first", next="look"),
            "look": WaitFor(wait_for="clicked(one)", within="3d", then="two", **{"else": "done"}),
            "two": Send(send="second", next="done"),
            "done": Exit(exit="done"),
        }
    )
    alone, both = (Shop(800, seed=2, **options).run(one) for one in (one_send("first"), send_both))
    caused = [run.events[(run.events["event"] == "purchase") & (run.events["amount"] == 59)] for run in (alone, both)]
    assert len(caused[0]) > 50
    pd.testing.assert_frame_equal(*(one.reset_index(drop=True) for one in caused))
    assert_replays_exactly(send_both, both)


def test_truth_is_what_a_run_counts(small, history):
    pd.testing.assert_frame_equal(small.truth(history), small.run(history).branches)
    assert small.truth(history)["branch"].notna().any()


def test_outcomes_add_up_the_log(run):
    events = run.events
    people = ~events["is_machine"].fillna(value=False)
    assert _total(run, "opened") == (events["event"].eq("opened") & people).sum()
    assert _total(run, "sends") == events["event"].eq("sent").sum() == run.sends["is_sent"].sum()
    caused = events["event"].eq("purchase") & (events["amount"] == 59)
    assert _total(run, "purchases") == caused.sum()
    assert _total(run, "revenue") == events.loc[caused, "amount"].sum()
    assert _total(run, "entries") == len(run.entries)


# Propensities


def test_propensity_is_the_product_of_the_choices_since_the_send_before(small):
    two = journey(
        {
            "a": Split(split={"b": "25%", "wait": "75%"}),
            "wait": Wait(wait="1h", next="b"),
            "b": Split(split={"left": "80%", "right": "20%"}),
            "left": Send(send="m_x", next="c"),
            "right": Send(send="m_y", next="c"),
            "c": Split(split={"z": "50%", "done": "50%"}),
            "z": Send(send="m_z", next="last"),
            "last": Send(send="m_last", next="done"),
            "done": Exit(exit="done"),
        },
        holdout="10%",
    )
    run = small.run(two)
    sends = run.sends[run.sends["is_sent"]]
    waited = set(run.visits.loc[run.visits["node"] == "wait", "contact"])
    first = sends["contact"].isin(waited).map({True: 0.75, False: 0.25}) * 0.9
    expected = {"m_x": first * 0.8, "m_y": first * 0.2, "m_z": 0.5 + 0 * first, "m_last": np.nan * first}
    for message, propensity in expected.items():
        mine = sends["message"] == message
        assert mine.sum() > 10
        np.testing.assert_allclose(sends.loc[mine, "propensity"], propensity[mine])
    assert run.sends.loc[~run.sends["is_sent"], "propensity"].isna().all()
    logged = run.events[run.events["event"] == "sent"]
    keys = ["contact", "message"]
    both = logged.merge(sends.astype({"message": "str"}), on=keys, validate="one_to_one")
    assert len(both) == len(sends)
    pd.testing.assert_series_equal(both["propensity_x"], both["propensity_y"], check_names=False)


def test_propensity_counts_in_the_holdouts_of_the_journey_and_of_the_policy(small):
    hello = journey({"hello": Send(send="m_x", next="done"), "done": Exit(exit="done")}, holdout="10%")
    sends = small.run(hello, policy=Policy(holdout="20%")).sends
    np.testing.assert_allclose(sends.loc[sends["is_sent"], "propensity"], 0.9 * 0.8)
    assert set(sends.loc[~sends["is_sent"], "reason"]) == {"holdout"}


def test_offers_were_sent_as_often_as_their_propensities_say(run):
    offers = run.sends[run.sends["is_sent"] & run.sends["message"].astype("str").str.startswith("offer_")]
    shares = offers["message"].astype("str").value_counts(normalize=True)
    for message, propensity in {"offer_discount": 0.4, "offer_free_month": 0.4, "offer_plain": 0.2}.items():
        assert set(offers.loc[offers["message"] == message, "propensity"]) == {propensity}
        assert shares[message] == pytest.approx(
            propensity, abs=4 * (propensity * (1 - propensity) / len(offers)) ** 0.5
        )


# Bounds


def test_shop_depends_on_its_arguments_and_on_nothing_else(history):
    first, second, other = (Shop(200, seed=seed).run(history).events for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, second)
    assert not first.equals(other)


def test_smallest_shop_runs(history):
    run = Shop(1, seed=2, days=3).run(history)
    assert len(run.entries) <= 1
    assert run.events["event"].isin(["signup", "visit"]).any()
    assert Shop(1, days=3).run(journey({"done": Exit(exit="done")})).outcomes["total"].tolist()[2] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_contacts": 0}, "at least one contact, got n_contacts=0"),
        ({"days": 2}, "at least three days, got days=2"),
        ({"opens": {"a": 1.1}}, "opens of 'a' is a share"),
        ({"sells": {"a": -0.1}}, "sells of 'a' is a share"),
        ({"machine_share": 1.1}, "machine_share is a share"),
        ({"drift": 0.0}, "drift is a factor above 0"),
        ({"drift_at": "2026-03-01"}, "has no time zone"),
    ],
)
def test_impossible_shop_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        Shop(**{"n_contacts": 10, **options})


def test_horizon_beyond_the_end_is_refused(small):
    with pytest.raises(DataError, match="open until 2026-05-26T00:00:00"):
        small.run(one_send(), until="2026-06-01T00:00:00+00:00")


def test_journey_that_asks_what_no_send_tells_is_refused(small):
    waiting = journey(
        {
            "mail": Send(send="welcome_1", next="look"),
            "look": WaitFor(wait_for='clicked(mail, "pricing")', within="3d", then="done", **{"else": "done"}),
            "done": Exit(exit="done"),
        }
    )
    with pytest.raises(DataError, match="asks for link of events"):
        small.run(waiting)
    counting = one_send(trigger=Trigger(event="visit", where='count("bounced", where="bounce_type == \'hard\'") == 0'))
    with pytest.raises((DataError, DefinitionError), match="bounce_type"):
        small.run(counting)
