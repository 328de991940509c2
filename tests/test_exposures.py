"""Who was exposed, when and in which arm: against the log of a shop in which the journeys really ran."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeylab.errors import DataError
from journeylab.eventlog import EventLog
from journeylab.experiments.estimation.effects import effects
from journeylab.experiments.exposure.comparedjourneys import arms_of
from journeylab.experiments.exposure.exposures import Exposures, holdout_exposures, journey_exposures, split_exposures
from journeylab.experiments.exposure.outcomes import unit_table
from journeylab.experiments.metrics import Count, Proportion
from journeylab.journey import Journey, Policy, Portfolio
from journeylab.keyedhash import arm_of
from journeylab.program import Release
from journeylab.replay import Replay, replay
from journeylab.shop import Shop, ShopRun

OFFER: dict[str, Any] = {
    "journey": "offer_test",
    "trigger": {"event": "signup"},
    "nodes": {
        "offer": {"split": {"discount": "60%", "plain": "40%"}},
        "discount": {"send": "offer_discount", "next": "done"},
        "plain": {"send": "offer_plain", "next": "done"},
        "done": {"exit": "finished"},
    },
}


def journey(**changes: Any) -> Journey:
    return Journey.from_data({**OFFER, **changes})


def nodes(**more: Any) -> dict[str, Any]:
    return {**more, **OFFER["nodes"]}


def message_of(arm: str) -> dict[str, Any]:
    return {"go": {"send": f"offer_{arm}", "next": "done"}, "done": {"exit": "finished"}}


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(3_000, seed=5, days=60, opens={"offer_discount": 0.3, "offer_plain": 0.15})


@pytest.fixture(scope="module")
def run(shop: Shop) -> ShopRun:
    return shop.run(journey(holdout="20%"))


@pytest.fixture(scope="module")
def replayed(run: ShopRun) -> Replay:
    return replay(journey(holdout="20%"), run.log)


@pytest.fixture(scope="module")
def exposures(replayed: Replay) -> Exposures:
    return split_exposures(replayed, "offer", control="plain")


def sent(run: ShopRun) -> pd.DataFrame:
    return run.events.loc[run.events["event"] == "sent", ["contact", "occurred_at", "message"]]


# A split


def test_arms_and_instants_are_those_of_the_sends_in_the_log(run: ShopRun, exposures: Exposures):
    both = exposures.frame.merge(sent(run), on="contact", how="left", validate="one_to_one")
    was_sent = both["message"].notna()
    assert (both.loc[was_sent, "message"] == "offer_" + both.loc[was_sent, "arm"]).all()
    assert (both.loc[was_sent, "occurred_at"] == both.loc[was_sent, "exposed_at"]).all()
    assert not was_sent[both["arm"] == "holdout"].any()
    assert was_sent[both["arm"] != "holdout"].mean() > 0.99
    assert {*sent(run)["contact"]} <= {*exposures.frame["contact"]}


def test_the_holdout_is_an_arm_with_its_own_probability(replayed: Replay, exposures: Exposures):
    assert exposures.shares == pytest.approx({"discount": 0.48, "plain": 0.32, "holdout": 0.2})
    assert exposures.control == "plain"
    frame = exposures.frame
    assert (frame["probability"] == frame["arm"].map(exposures.shares)).all()
    held = replayed.entries.set_index("contact")["held_out"]
    assert ((frame["arm"] == "holdout").to_numpy() == held[frame["contact"]].to_numpy()).all()
    assert len(frame) == replayed.n_contacts == sum(exposures.counts().values())


def test_an_experiment_that_ran_is_confirmed(exposures: Exposures):
    assert exposures.has_run
    assert exposures.confirmed["observed_share"].tolist() == [1, 1]
    assert exposures.confirmed["message"].tolist() == ["offer_discount", "offer_plain"]
    assert exposures.sentences()[0].startswith("offer_test/offer ran")
    assert not exposures.crossed["n_crossed"].any()


def test_an_experiment_that_did_not_run_is_told(shop: Shop):
    found = split_exposures(replay(journey(), shop.organic), "offer")
    assert not found.has_run
    assert found.observed_shares == {"discount": 0, "plain": 0}
    assert "did not run" in found.sentences()[0]


def test_a_message_that_everybody_got_does_not_confirm_a_split(shop: Shop):
    """All were sent the plain offer: one arm's sends are in the log, the other's are not."""
    everybody = shop.run(journey(nodes=message_of("plain"), journey="plain_for_all"))
    found = split_exposures(replay(journey(), everybody.log), "offer")
    assert found.observed_shares["plain"] == 1
    assert not found.has_run
    crossed = found.crossed.set_index("arm")
    assert crossed.loc["discount", "crossed_share"] > 0.99
    assert crossed.loc["plain", "n_crossed"] == 0
    assert "only other arms get" in " ".join(found.sentences())


def test_contacts_sent_another_arms_message_are_counted(run: ShopRun, exposures: Exposures):
    frame = exposures.frame
    some = pd.concat([frame[frame["arm"] == "plain"].head(7), frame[frame["arm"] == "holdout"].head(3)])
    wrong = pd.DataFrame(
        {
            "contact": some["contact"],
            "event": "sent",
            "occurred_at": some["exposed_at"] + pd.Timedelta(hours=30),
            "message": "offer_discount",
        }
    )
    wrong.loc[wrong.index[0], "occurred_at"] = some["exposed_at"].iloc[0] - pd.Timedelta(hours=30)
    log = EventLog.read(pd.concat([run.events, wrong], ignore_index=True), contacts=run.shop.contacts)
    crossed = split_exposures(replay(journey(holdout="20%"), log), "offer").crossed.set_index("arm")
    assert crossed["n_crossed"].to_dict() == {"discount": 0, "plain": 6, "holdout": 3}


def test_the_effect_is_that_of_sending_one_message_or_the_other_to_everybody(shop: Shop, exposures: Exposures):
    """The shop answers a send to a contact alike in every run, so both outcomes of each contact can be had."""
    opened = Proportion("opened", where="message in ['offer_discount', 'offer_plain']")
    truth = {}
    for arm in ("discount", "plain"):
        log = shop.run(journey(nodes=message_of(arm))).log
        everybody = split_exposures(replay(journey(), log), "offer")
        table = unit_table(everybody, [opened], window="7d", machines=True)
        truth[arm] = table.rows("avg(opened)", "WHERE is_matured")[0][0]
    table = unit_table(exposures, [opened], window="7d", machines=True)
    found = {one.arm: one for one in effects(table.narrowed("is_matured"))}
    assert found["discount"].low <= truth["discount"] - truth["plain"] <= found["discount"].high
    assert found["discount"].low > 0
    assert found["holdout"].low <= -truth["plain"] <= found["holdout"].high
    assert found["holdout"].mean_arm == pytest.approx(0, abs=1e-12)


@pytest.mark.nightly
def test_intervals_hold_what_the_shop_knows():
    """In shops with other contacts each, the truth being both runs of all contacts; 95 % of intervals hold it."""
    n_held = n_shops = 0
    opened = Proportion("opened", where="message in ['offer_discount', 'offer_plain']")
    for seed in range(40):
        shop = Shop(800, seed=seed, days=40, opens={"offer_discount": 0.3, "offer_plain": 0.15})
        truth = []
        for arm in ("discount", "plain"):
            everybody = split_exposures(replay(journey(), shop.run(journey(nodes=message_of(arm))).log), "offer")
            table = unit_table(everybody, [opened], window="7d", machines=True)
            truth.append(table.rows("avg(opened)", "WHERE is_matured")[0][0])
        ran = split_exposures(replay(journey(), shop.run(journey()).log), "offer", control="plain")
        (found,) = effects(unit_table(ran, [opened], window="7d", machines=True).narrowed("is_matured"))
        n_held += found.low <= truth[0] - truth[1] <= found.high
        n_shops += 1
    assert n_held >= 0.85 * n_shops


def test_arms_that_are_alike_have_no_effect(shop: Shop):
    alike = journey(
        nodes={
            "split": {"split": {"a": "50%", "b": "50%"}},
            "a": {"send": "offer_plain", "next": "done"},
            "b": {"send": "offer_plain", "next": "done"},
            "done": {"exit": "finished"},
        }
    )
    found = split_exposures(replay(alike, shop.run(alike).log), "split")
    assert found.has_run
    metrics = [Proportion("opened"), Count("visit")]
    for one in effects(unit_table(found, metrics, window="7d").narrowed("is_matured")):
        assert one.low <= 0 <= one.high


def test_a_holdout_behind_a_message_is_left_out_and_said(shop: Shop):
    late = journey(
        holdout="20%",
        nodes=nodes(
            hello={"send": "welcome_1", "next": "read"},
            read={"wait_for": "opened(hello)", "within": "3d", "then": "offer", "else": "done"},
        ),
    )
    found = split_exposures(replay(late, shop.run(late).log), "offer")
    assert found.shares == {"discount": 0.6, "plain": 0.4}
    assert "left out" in found.notes[0]
    assert {*found.frame["arm"]} == {"discount", "plain"}


def test_a_holdout_before_which_nothing_is_sent_stays_where_the_split_comes_again(shop: Shop):
    loop = journey(
        holdout="20%",
        nodes={
            "offer": {"split": {"discount": "50%", "plain": "50%"}},
            "discount": {"send": "offer_discount", "next": "rest"},
            "plain": {"send": "offer_plain", "next": "rest"},
            "rest": {"wait": "20d", "next": "offer"},
        },
    )
    found = split_exposures(replay(loop, shop.run(loop).log), "offer")
    assert "holdout" in found.shares
    assert not found.frame["contact"].duplicated().any()


@pytest.mark.parametrize(("first", "is_alike"), [(None, True), ("welcome_1", False)])
def test_a_split_in_a_part_has_its_arms_and_its_holdout(first: str | None, is_alike: bool):
    before = {"hi": {"send": first, "next": "care"}} if first else {}
    whole = journey(
        holdout="20%",
        nodes={
            **before,
            "care": {"run": "care", "next": "late"},
            "late": {"send": "reminder", "next": "done"},
            "done": {"exit": "finished"},
        },
    ).model_copy(update={"parts": {"care": journey(journey="care")}})
    found = split_exposures(replay(whole, household_log()), "care.offer", control="care.plain")
    arms = {"care.discount": 0.6, "care.plain": 0.4}
    alike = {**{arm: 0.8 * share for arm, share in arms.items()}, "holdout": 0.2}
    assert found.shares == pytest.approx(alike if is_alike else arms)
    assert {*found.frame["arm"]} == {*found.shares}


def test_a_holdout_whom_an_earlier_entry_may_have_told_apart_is_left_out():
    """The letter is on another branch than the split, but an entry that took it may come before one that splits."""
    again = journey(
        holdout="20%",
        trigger={"event": "signup", "reentry": "after_exit"},
        nodes={
            "which": {"decide": [{"if": 'did("purchase")', "go": "offer"}], "else": "letter"},
            "letter": {"send": "welcome_1", "next": "done"},
            **OFFER["nodes"],
        },
    )
    events = [
        {"contact": n, "event": name, "occurred_at": f"2026-03-0{day}T09:00:00Z"}
        for n in range(50)
        for day, name in enumerate(("signup", "purchase", "signup"), start=1)
    ]
    log = EventLog.from_rows(events)
    assert "holdout" not in split_exposures(replay(again, log), "offer").shares
    once = again.model_copy(
        update={"trigger": again.trigger.model_copy(update={"reentry": "never", "event": "purchase"})}
    )
    assert "holdout" in split_exposures(replay(once, log), "offer").shares


def test_a_contact_is_exposed_once_and_an_entry_each_time(shop: Shop):
    again = {"trigger": {"event": "purchase", "reentry": "always"}}
    per_contact = journey(**again)
    log = shop.run(per_contact).log
    found, rows = split_exposures(replay(per_contact, log), "offer"), replay(per_contact, log).assignments
    assert len(rows) > len(found)
    first = rows.sort_values("assigned_at").drop_duplicates("contact").set_index("contact")
    assert (found.frame.set_index("contact")["exposed_at"] == first["assigned_at"]).all()
    split = {"split": {"discount": "60%", "plain": "40%"}, "per": "entry"}
    per_entry = journey(**again, nodes={**OFFER["nodes"], "offer": split})
    one = replay(per_entry, shop.run(per_entry).log)
    entries = split_exposures(one, "offer")
    assert len(entries) == len(one.assignments)
    assert entries.unit.is_unique
    assert (entries.frame["cluster"] == entries.frame["contact"]).all()
    assert entries.has_run


def household_log() -> EventLog:
    events = [
        {"contact": n, "event": "signup", "occurred_at": f"2026-03-{1 + n % 20:02d}T09:00:00Z"} for n in range(400)
    ]
    return EventLog.from_rows(events, [{"contact": n, "household": n // 4 if n < 360 else None} for n in range(400)])


def test_a_household_shares_its_arm_and_is_the_cluster():
    found = split_exposures(replay(journey(unit="household"), household_log()), "offer")
    assert found.frame.groupby("cluster")["arm"].nunique().max() == 1
    assert found.frame["cluster"].nunique() == 90 + 40
    assert {*found.frame["arm"]} == {"discount", "plain"}


def test_the_policys_holdout_joins_the_journeys():
    log = household_log()
    one = replay(journey(holdout="20%"), log, policy=Policy(holdout="25%"))
    found = split_exposures(one, "offer")
    assert found.shares == pytest.approx({"discount": 0.36, "plain": 0.24, "holdout": 0.4})
    assert (found.frame["arm"] == "holdout").sum() == one.entries["held_out"].sum()
    own, policy = holdout_exposures(one), holdout_exposures(one, holdout="policy")
    assert policy.shares == {"treated": 0.75, "holdout": 0.25}
    assert len(policy) == 400
    assert len(own) == policy.counts()["treated"]
    assert "the policy holds out" in own.notes[0]
    other = journey(journey="other", holdout="50%")
    both = replay(Portfolio(journeys=(journey(), other), policy=Policy(holdout="25%")), log)
    all_of_it = holdout_exposures(both, holdout="policy")
    assert len(all_of_it) == 400
    assert all_of_it.journeys == ("offer_test", "other")


def test_a_journey_against_its_holdout(run: ShopRun, replayed: Replay):
    found = holdout_exposures(replayed)
    assert found.shares == {"treated": 0.8, "holdout": 0.2}
    assert found.control == "holdout"
    treated = {*found.frame.loc[found.frame["arm"] == "treated", "contact"]}
    assert {*sent(run)["contact"]} <= treated
    assert found.has_run
    assert found.messages()["holdout"] == set()


def test_exposures_before_the_start_are_no_part(exposures: Exposures):
    middle = exposures.frame["exposed_at"].iloc[1000]
    late = exposures.since(middle)
    assert len(late) == (exposures.frame["exposed_at"] >= middle).sum()
    assert late.sends["row"].max() < len(late)
    arm = late.frame["arm"].to_numpy()[late.sends["row"]]
    assert (arm == late.sends["arm"]).all()
    with pytest.raises(DataError, match="no time zone"):
        exposures.since(middle.tz_localize(None))


def test_shares_that_changed_with_a_release_are_refused():
    log = household_log()
    at = pd.Timestamp("2026-03-10T00:00:00Z").to_pydatetime()
    raised = journey(nodes={**OFFER["nodes"], "offer": {"split": {"discount": "90%", "plain": "10%"}}})
    releases = [Release(journey=journey(), until_at=at), Release(journey=raised, from_at=at)]
    with pytest.raises(DataError, match="not the same in the versions"):
        split_exposures(replay(releases, log), "offer")


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda one: split_exposures(one, "ofer"), "did you mean 'offer'"),
        (lambda one: split_exposures(one, "plain"), "no split but a send"),
        (lambda one: split_exposures(one, "offer", "ofer_test"), "did you mean 'offer_test'"),
        (lambda one: split_exposures(one, "offer", control="plan"), "did you mean 'plain'"),
        (lambda one: holdout_exposures(one, holdout="policy"), "nobody is held out"),
    ],
)
def test_what_cannot_be_is_refused_with_the_nearest_name(replayed: Replay, call: Any, match: str):
    with pytest.raises(DataError, match=match):
        call(replayed)


def test_nobody_exposed_is_an_error():
    log = EventLog.from_rows([{"contact": 1, "event": "visit", "occurred_at": "2026-03-01T00:00:00Z"}])
    with pytest.raises(DataError, match="nobody was exposed"):
        split_exposures(replay(journey(), log), "offer")


# Journeys compared


@settings(max_examples=50)
@given(st.lists(st.text(max_size=5), min_size=1, max_size=20), st.integers(1, 9), st.text(max_size=4))
def test_arms_are_those_of_the_keyed_hash(units: list[str], part: int, salt: str):
    shares = {"b": Fraction(part, 10), "a": 1 - Fraction(part, 10)}
    assert arms_of(units, salt, shares).tolist() == [arm_of(unit, salt, shares) for unit in units]


SHARES = {"old": 0.5, "new": 0.5}
OLD, NEW = journey(nodes=message_of("plain")), journey(nodes=message_of("discount"))


@pytest.fixture(scope="module")
def compared(shop: Shop) -> EventLog:
    """The log of two versions that ran side by side, each for the contacts of its arm."""
    arm = dict(zip(shop.names, arms_of(shop.names, "test", SHARES), strict=True))
    runs = {"old": shop.run(OLD), "new": shop.run(NEW)}
    parts = [run.events[run.events["contact"].map(arm) == one] for one, run in runs.items()]
    return EventLog.read(pd.concat(parts, ignore_index=True), contacts=shop.contacts).truncated(shop.ends_at)


def test_compared_journeys_expose_each_contact_in_its_own_arm(shop: Shop, compared: EventLog):
    replays = {"old": replay(OLD, compared), "new": replay(NEW, compared)}
    found = journey_exposures(replays, SHARES, "test", control="old")
    assert (found.frame["arm"] == arms_of(found.frame["contact"].to_numpy(str), "test", SHARES)).all()
    entered_at = replays["old"].entries.set_index("contact")["entered_at"]
    assert (found.frame["exposed_at"] == found.frame["contact"].map(entered_at)).all()
    assert found.has_run
    assert found.messages() == {"old": {"offer_plain"}, "new": {"offer_discount"}}
    assert not found.crossed["n_crossed"].any()
    assert not journey_exposures(replays, SHARES, "another salt").has_run


def test_compared_households_stay_together():
    log = household_log()
    old, new = (one.model_copy(update={"unit": "household"}) for one in (OLD, NEW))
    replays = {"old": replay(old, log), "new": replay(new, log)}
    found = journey_exposures(replays, SHARES, "test")
    assert found.frame.groupby("cluster")["arm"].nunique().max() == 1
    first = found.frame.set_index("contact").loc[0]
    assert first["cluster"] == "0"
    assert first["arm"] == arm_of("0", "test", {arm: Fraction(share) for arm, share in SHARES.items()})
    alone = found.frame.set_index("contact").loc[399]
    assert alone["cluster"] == "399"


def test_compared_holdouts_are_left_out():
    log = household_log()
    replays = {"old": replay(OLD, log), "new": replay(journey(nodes=message_of("discount"), holdout="50%"), log)}
    found = journey_exposures(replays, SHARES, "test")
    held = replays["new"].entries.query("held_out")["contact"]
    new = held[arms_of(held.to_numpy(), "test", SHARES) == "new"]
    assert len(found) == 400 - len(new)
    assert "left out" in found.notes[0]


def test_comparisons_of_other_populations_are_refused(shop: Shop):
    log = household_log()
    others = [
        journey(nodes=message_of("discount"), purpose="service"),
        journey(nodes=message_of("discount"), trigger={"event": "visit"}),
    ]
    one, elsewhere = replay(OLD, log), replay(NEW, shop.organic)
    for other in others:
        with pytest.raises(DataError, match="not the same, so other contacts"):
            journey_exposures({"old": one, "new": replay(other, log)}, SHARES, "test")
    with pytest.raises(DataError, match="over the same log"):
        journey_exposures({"old": one, "new": elsewhere}, SHARES, "test")
    with pytest.raises(DataError, match="'new' has a share and no replay"):
        journey_exposures({"old": one, "newer": one}, SHARES, "test")
    with pytest.raises(DataError, match="add up to 1"):
        journey_exposures({"old": one, "new": one}, {"old": 0.5, "new": 0.6}, "test")
    events = [{"contact": 1, "event": "signup", "occurred_at": "2026-03-01T09:00:00Z"}]
    half = EventLog.from_rows(events, [{"contact": 1, "weight": 0.5}])
    weighed = {"old": replay(OLD, half), "new": replay(NEW, half)}
    with pytest.raises(DataError, match="a text or a whole number"):
        journey_exposures(weighed, SHARES, "test", "weight")


def test_exposures_show_themselves(exposures: Exposures):
    assert repr(exposures).startswith("Exposures(offer_test/offer: discount ")
    assert np.array_equal(exposures.log.contact_ids.take(exposures.contact).to_pandas(), exposures.frame["contact"])
