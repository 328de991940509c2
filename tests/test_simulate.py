"""The model world: what a simulation does whatever the model says, and what cannot depend on how it is worked out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import journeylab as jl
from constantmodel import ConstantModel
from journeylab import draws, execution
from journeylab import layout as o
from journeylab.errors import DataError
from journeylab.sendtimes import SendTimes
from journeylab.shop import Shop
from journeylab.simulate import simulate

DAY = pd.Timedelta(days=1)
START = pd.Timestamp("2026-03-02T09:00:00Z")


def journey(**changes):
    data = {
        "journey": "welcome",
        "trigger": {"event": "signup"},
        "exit_when": [{"event": "purchase", "goal": True}],
        "nodes": {
            "hello": {"send": "welcome_1", "next": "read"},
            "read": {"wait_for": "opened(hello)", "within": "2d", "then": "offer", "else": "pause"},
            "offer": {"send": "offer_1", "next": "took"},
            "took": {"wait_for": "clicked(offer)", "within": "3d", "then": "fan", "else": "cold"},
            "pause": {"wait": "1d", "next": "nudge"},
            "nudge": {"send": "reminder", "next": "heard"},
            "heard": {"wait_for": "opened(nudge)", "within": "2d", "then": "fan", "else": "cold"},
            "fan": {"exit": "fan"},
            "cold": {"exit": "cold"},
        },
    }
    return jl.Journey.from_data(data | changes)


def log_of(n=400, extra=(), days=40):
    """Signups, one a minute, a consent each, and whatever else a test needs; the log ends long after them."""
    rows = []
    for k in range(n):
        at = START + pd.Timedelta(minutes=k)
        rows.append({"contact": f"c{k:04d}", "event": "consent_given", "occurred_at": at, "purpose": "marketing"})
        rows.append({"contact": f"c{k:04d}", "event": "signup", "occurred_at": at})
    rows.append({"contact": "zz", "event": "visit", "occurred_at": START + days * DAY})
    rows += extra
    frame = pd.DataFrame(rows).reindex(columns=["contact", "event", "occurred_at", "purpose", "message", "propensity"])
    return jl.EventLog.read(frame.astype({"purpose": "str", "message": "str"}))


MESSAGES = ("welcome_1", "offer_1", "reminder")


def shares(result):
    frame = result.branches.assign(branch=result.branches["branch"].astype(object).fillna("left"))
    return frame.set_index(["node", "branch"])["branch_share"]


def test_branches_follow_the_probabilities_of_the_model():
    result = simulate(journey(), log_of(), responses=ConstantModel(MESSAGES, opened=0.3, clicked=0.5), draws=50)
    found = shares(result)
    assert found["read", "then"] == pytest.approx(0.3, abs=0.01)
    assert found["took", "then"] == pytest.approx(0.3 * 0.5, abs=0.015)  # a click comes after an open
    assert found["heard", "then"] == pytest.approx(0.3, abs=0.015)
    assert result.observed_share == 0.0
    assert result.n_entries == 400


def test_intervals_hold_the_luck_of_a_finite_number_and_the_models_own_error():
    # 400 contacts at .3 have a standard error of .0229; a level off by .2 in log-odds is one of .042 in the share, and
    # an error of .3 in the level of all sends counts as if a third of them were like these.
    for sd in (0.0, 0.3):
        model = ConstantModel(MESSAGES, opened=0.3, sd=sd)
        found = simulate(journey(), log_of(), responses=model, draws=400).branches
        width = (found["branch_share_high"] - found["branch_share_low"])[found["branch"] == "then"].iloc[0]
        level = 0.3 * 0.7 * np.sqrt(sd**2 * 3 + 0.2**2)
        assert width == pytest.approx(2 * 1.645 * np.sqrt(0.3 * 0.7 / 400 + level**2), rel=0.15)


def test_following_only_those_whom_a_send_stirs_changes_no_count():
    model = ConstantModel(
        MESSAGES, converts="purchase", opened=0.4, clicked=0.5, unsubscribed=0.05, bounced=0.1, converted=0.1, sd=0.2
    )
    result = simulate(journey(), log_of(200), responses=model, draws=6, rng=5)
    for draw in range(6):
        visits = result.visits(draw)
        counted = visits.dropna(subset="branch").groupby(["node", "branch"], observed=True).size()
        for edge, info in enumerate(result.compiled.edges):
            name = result.compiled.nodes[info.node].name
            assert result.tally.n_by_edge[draw, edge].sum() == counted.get((name, info.branch), 0)
        exits = result.entries(draw)["exit"].value_counts()
        for place, (_, text, _) in enumerate(result.compiled.exits):
            assert result.tally.n_by_exit[draw, place] == exits.get(text, 0)


@pytest.mark.parametrize(("name", "value"), [("AT_ONCE", 1), ("AT_ONCE", 700), ("COUNTS_AT_ONCE", 200), ("CHUNK", 16)])
def test_how_much_is_followed_at_once_changes_no_count(monkeypatch, name, value):
    model = ConstantModel(MESSAGES, opened=0.4, clicked=0.5, unsubscribed=0.05, bounced=0.1, sd=0.2)
    whole = simulate(journey(), log_of(200), responses=model, draws=9, rng=5).tally
    module = execution if name == "CHUNK" else draws
    monkeypatch.setattr(module, name, value)
    for one, other in zip(whole, simulate(journey(), log_of(200), responses=model, draws=9, rng=5).tally, strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_draw_has_its_own_fates_and_equal_seeds_have_equal_ones():
    model, log = ConstantModel(MESSAGES, opened=0.3), log_of(100)
    first, again, other = (simulate(journey(), log, responses=model, draws=5, rng=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.tally.n_by_edge, again.tally.n_by_edge)
    assert (first.tally.n_by_edge != other.tally.n_by_edge).any()
    assert len({draw.tobytes() for draw in first.tally.n_by_edge}) == 5


def test_a_draw_does_not_depend_on_who_else_is_there():  # rule 27
    model, log = ConstantModel(MESSAGES, opened=0.3, clicked=0.4), log_of(120)
    whole = simulate(journey(), log, responses=model, draws=4, rng=3)
    parts = [simulate(journey(), log.partition(k, 3), responses=model, draws=4, rng=3) for k in range(3)]
    np.testing.assert_array_equal(whole.tally.n_by_edge, sum(part.tally.n_by_edge for part in parts))


def test_what_the_log_answers_is_observed_and_asks_nothing():
    ran = journey()
    log = Shop(300, seed=4, opens={"offer_1": 0.3}).run(ran).log
    model = ConstantModel(MESSAGES, opened=0.9)
    result, replayed = simulate(ran, log, responses=model, draws=3), jl.replay(ran, log)
    assert model.asked == []
    assert result.observed_share == 1.0
    np.testing.assert_array_equal(result.tally.n_by_edge[1], replayed.tally.n_by_edge)
    pd.testing.assert_frame_equal(
        result.visits().reset_index(drop=True), replayed.visits.reset_index(drop=True), check_dtype=False
    )


def test_a_contact_is_the_models_from_the_first_send_that_the_log_does_not_have():  # rules 31 and 33
    at = START + pd.Timedelta(minutes=5)
    extra = [
        {"contact": "c0005", "event": "sent", "occurred_at": at, "message": "welcome_1"},
        {"contact": "c0005", "event": "opened", "occurred_at": at + pd.Timedelta("2h"), "message": "welcome_1"},
        # Its own offer came a day late: that is another send.
        {"contact": "c0005", "event": "sent", "occurred_at": at + DAY, "message": "offer_1"},
        {"contact": "c0005", "event": "clicked", "occurred_at": at + DAY + pd.Timedelta("1h"), "message": "offer_1"},
    ]
    result = simulate(journey(), log_of(10, extra), responses=ConstantModel(MESSAGES), draws=2)
    visits = result.visits()
    mine = visits[visits["contact"] == "c0005"].set_index("node")
    assert mine.loc["hello", "evidence"] == "observed"
    assert mine.loc["read", "branch"] == "then"
    assert mine.loc["read", "evidence"] == "observed"
    assert mine.loc["offer", "evidence"] == "predicted"
    assert mine.loc["took", "branch"] == "else"  # the click answered the other send
    assert set(visits.loc[visits["contact"] != "c0005", "evidence"]) == {"predicted"}


def test_an_earlier_send_does_not_answer_for_a_later_one():
    # What came of it may have come before the journey's own send.
    at = START - pd.Timedelta("30min")
    extra = [
        {"contact": "c0000", "event": "sent", "occurred_at": at, "message": "welcome_1"},
        {"contact": "c0000", "event": "opened", "occurred_at": at + pd.Timedelta("1min"), "message": "welcome_1"},
    ]
    model = ConstantModel(MESSAGES)
    simulate(journey(), log_of(1, extra), responses=model, draws=2)
    assert "welcome_1" in model.asked


def test_reactions_to_other_messages_are_not_seen_but_what_contacts_do_anyway_is():
    at = START + DAY
    extra = [
        {"contact": "c0000", "event": "purchase", "occurred_at": at},
        {"contact": "c0001", "event": "account_closed", "occurred_at": at},
        {"contact": "c0002", "event": "consent_withdrawn", "occurred_at": at, "purpose": "marketing"},
        {"contact": "c0003", "event": "unsubscribed", "occurred_at": at, "message": "newsletter"},
        {"contact": "c0004", "event": "unsubscribed", "occurred_at": at, "message": "bulletin"},
        {"contact": "c0004", "event": "consent_withdrawn", "occurred_at": at, "purpose": "marketing"},
        {"contact": "c0003", "event": "consent_withdrawn", "occurred_at": at, "purpose": "marketing"},
    ]
    ends = [{"event": "purchase", "goal": True}, {"event": "account_closed"}]
    model = ConstantModel(MESSAGES, converts="purchase")
    log = log_of(5, extra)
    result = simulate(journey(exit_when=ends), log, responses=model, draws=2, replaces=["newsletter"])
    exits = result.entries().set_index("contact")["exit"].astype("str")
    assert exits.to_dict() == {
        "c0000": "cold",  # the purchase is for the model to say
        "c0001": "account_closed",
        "c0002": "consent_withdrawn",
        "c0003": "cold",  # so is unsubscribing from a message that is replaced
        "c0004": "consent_withdrawn",  # the bulletin goes on
    }
    with pytest.raises(DataError, match="no message 'newsleter' in the log"):
        simulate(journey(), log, responses=model, draws=2, replaces=["newsleter"])


def test_a_send_that_the_journey_does_not_make_ends_the_record():
    extra = [
        {"contact": "c0000", "event": "sent", "occurred_at": START, "message": "welcome_1"},
        {"contact": "c0000", "event": "sent", "occurred_at": START + DAY, "message": "bulletin"},
        {"contact": "c0000", "event": "purchase", "occurred_at": START + DAY + pd.Timedelta("1h")},
    ]
    log, model = log_of(1, extra), ConstantModel(MESSAGES, converts="purchase")
    goes_on = simulate(journey(), log, responses=model, draws=2)
    assert goes_on.outcomes["exit"].tolist() == ["goal:purchase"]
    assert any("other messages go on as they were sent: bulletin" in note for note in goes_on.notes)
    replaced = simulate(journey(), log, responses=model, draws=2, replaces=["bulletin"])
    assert replaced.outcomes["exit"].tolist() == ["cold"]


@pytest.mark.parametrize(
    ("chances", "exit_"),
    [({"unsubscribed": 1.0}, "consent_withdrawn"), ({"converted": 1.0}, "goal:purchase"), ({"opened": 1.0}, "cold")],
)
def test_responses_do_what_events_do(chances, exit_):
    model = ConstantModel(MESSAGES, converts="purchase", **chances)
    result = simulate(journey(), log_of(20), responses=model, draws=2)
    assert result.outcomes["exit"].tolist() == [exit_]


def test_a_hard_bounce_stops_further_messages():  # rule 17
    result = simulate(journey(), log_of(20), responses=ConstantModel(MESSAGES, bounced=1.0), draws=2)
    assert shares(result)["nudge", "skipped"] == 1.0


def test_a_later_send_takes_over_the_conversion_of_an_earlier_one():
    # A conversion five days after each send: the reminder comes after three, and only its own is left.
    late = {"converted": 5 * 24.0}
    nodes = journey().nodes
    model = ConstantModel(MESSAGES, converts="purchase", converted=1.0, delay_hours=late)
    result = simulate(journey(), log_of(5), responses=model, draws=2)
    assert result.outcomes["exit"].tolist() == ["cold"]
    assert nodes["heard"].within == pd.Timedelta(days=2)


def test_a_message_never_sent_is_refused_unless_it_is_assumed_to_be_like_another():  # rule 32
    model = ConstantModel(("welcome_1", "offer_1"), opened=0.3)
    with pytest.raises(DataError, match=r"'reminder' was never sent .*\(rule 32\)"):
        simulate(journey(), log_of(10), responses=model, draws=2)
    with pytest.raises(DataError, match="'welcome_2', which the model does not know"):
        simulate(journey(), log_of(10), responses=model, draws=2, like={"reminder": "welcome_2"})
    result = simulate(journey(), log_of(200), responses=model, draws=100, like={"reminder": "welcome_1"})
    assert "Responses to 'reminder' are assumed to be like those to 'welcome_1'." in result.notes
    wide = result.branches.set_index(["node", "branch"])
    spread = wide["branch_share_high"] - wide["branch_share_low"]
    assert spread["heard", "then"] > 2 * spread["read", "then"]  # nobody knows its own level


def test_a_model_that_fails_is_refused_unless_overridden_in_print():
    model = ConstantModel(MESSAGES, opened=0.3)
    model.failures = ("opened: 9% came, 20% to 30% was predicted",)
    with pytest.raises(DataError, match=r"does not reproduce the log's own rates .* opened: 9% came"):
        simulate(journey(), log_of(10), responses=model, draws=2)
    result = simulate(journey(), log_of(10), responses=model, draws=2, override="only to see the shape")
    assert result.notes[0].startswith("OVERRIDDEN (only to see the shape): ")
    assert result.summary()["notes"][0].startswith("OVERRIDDEN")


def test_nothing_is_predicted_twice_for_one_contact_instant_and_message():
    model = ConstantModel(MESSAGES, opened=0.3, clicked=0.5)
    result = simulate(journey(), log_of(50), responses=model, draws=40)
    # All welcomes and all reminders are sent at one instant for each contact, whatever the draw.
    assert model.asked.count("welcome_1") == 50
    assert model.asked.count("reminder") == 50
    assert len(model.asked) == result._runs.answering.n_predicted < result._runs.answering.n_asked


def test_features_are_values_as_of_the_send_and_hold_what_the_draw_has_made():
    seen = []

    class Noting(ConstantModel):
        def predict(self, X, message):
            seen.extend((self.messages[one], *row) for one, row in zip(message, X.tolist(), strict=True))
            return super().predict(X, message)

    features = ['count("sent")', 'count("opened")', 'since("signup")']
    model = Noting(MESSAGES, opened=1.0, features=features)
    simulate(journey(), log_of(1), responses=model, draws=2)
    hour = 3_600_000_000.0
    assert ("welcome_1", 0.0, 0.0, 0.0) in seen
    assert ("offer_1", 1.0, 1.0, hour) in seen


def test_the_naive_share_is_that_of_those_who_happened_to_be_sent():
    at = START
    extra = [
        {"contact": "c0000", "event": "sent", "occurred_at": at, "message": "welcome_1"},
        {"contact": "c0000", "event": "opened", "occurred_at": at + pd.Timedelta("2h"), "message": "welcome_1"},
    ]
    model = ConstantModel(MESSAGES, opened=0.1)
    result = simulate(journey(), log_of(200, extra), responses=model, draws=20)
    row = result.branches.query("node == 'read' and branch == 'then'").iloc[0]
    assert (row["n_naive"], row["naive_share"]) == (1, 1.0)
    assert row["branch_share"] == pytest.approx(0.105, abs=0.02)


def test_the_summary_is_plain_and_says_what_is_on_record():
    result = simulate(journey(), log_of(50), responses=ConstantModel(MESSAGES, opened=0.2), draws=20, level=0.8)
    summary = result.summary()
    assert summary["journey"] == "welcome"
    assert summary["level"] == 0.8
    branch = summary["nodes"]["read"]["branches"]["then"]
    assert branch["interval"][0] <= branch["share"] <= branch["interval"][1]
    assert "0% of these decisions are on record" in summary["notes"][0]
    assert repr(result) == "Simulation(welcome: 20 draws of 50 entries, 0% of the decisions on record)"
    assert result._repr_html_().count("<svg") == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [({"draws": 1}, "at least 2"), ({"level": 1.0}, "between 0 and 1"), ({"scores": {"x": len}}, "as tables")],
)
def test_arguments_out_of_bounds_are_refused(given, message):
    with pytest.raises(DataError, match=message):
        simulate(journey(), log_of(5), responses=ConstantModel(MESSAGES), **given)


def test_what_no_stream_hears_is_not_made():
    model = ConstantModel(MESSAGES, delivered=1.0, opened=0.5)
    result = simulate(journey(), log_of(30), responses=model, draws=2)
    compiled = result.compiled
    hello = next(i for i, one in enumerate(compiled.nodes) if one.name == "hello")
    assert result._runs.answering._wanted[hello, o.DELIVERED] == 0
    assert shares(result)["read", "then"] == pytest.approx(0.5, abs=0.2)


def test_predicted_sends_go_at_the_hours_that_a_replay_gives_them():
    nodes = journey().data()["nodes"]
    nodes["hello"] |= {"at": {"best": "opens", "between": ["08:00", "21:00"], "explore": "30%"}}
    nodes["offer"] |= {"at": "best"}
    best = journey(nodes=nodes)
    scores = np.random.default_rng(2).normal(size=(3, 168)).astype(np.float32)
    contacts = pa.array([f"c{k:04d}" for k in range(300)])
    profile, gain = np.arange(300, dtype=np.int32) % 2, np.full((300, 3), np.nan, np.float32)
    times = {"opens": SendTimes(contacts, profile, scores, 2, np.zeros(300, np.int8), gain), "best": "nowhere.parquet"}
    with pytest.raises(DataError, match=r"no file 'nowhere\.parquet'"):
        simulate(best, log_of(), responses=ConstantModel(MESSAGES, opened=0.3), send_times=times)
    times["best"] = times["opens"]
    result = simulate(best, log_of(), responses=ConstantModel(MESSAGES, opened=0.3), draws=3, send_times=times)
    replayed = jl.replay(best, log_of(), send_times=times).sends
    replayed = replayed[replayed["node"] == "hello"].set_index("contact")["decided_at"]
    for draw in range(3):
        visits = result.visits(draw)
        hello = visits[visits["node"] == "hello"].set_index("contact")["left_at"]
        pd.testing.assert_series_equal(hello, replayed, check_names=False)
