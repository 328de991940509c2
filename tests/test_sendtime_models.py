"""The send-time models that the habit model is held against: rules, Thompson slots, hazards, one's own classifier."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from journeylab.errors import DataError, JourneyLabError
from journeylab.eventlog import EventLog
from journeylab.journey import Exit, Journey, Send, Trigger, Wait
from journeylab.sendtime.estimator import SendTimeEstimator
from journeylab.sendtime.features import CONTACT_COLUMNS, HOUR_COLUMNS, contact_features, near_shares, training_matrix
from journeylab.sendtime.hazard import HazardModel, period_rows
from journeylab.sendtime.own import FromClassifier
from journeylab.sendtime.rules import BestGlobalHour, MedianOfOpens
from journeylab.sendtime.sends import HOUR_US, SendTable, send_table
from journeylab.sendtime.thompson import ThompsonSlots
from journeylab.sendtimes import WEEK
from journeylab.shop import Shop
from test_best_hours import of_everyone

pytestmark = pytest.mark.long

MONDAY = pd.Timestamp("2026-03-02", tz="UTC")
EARLY, LATE = 8, 20  # the busiest hours of contacts of odd and even numbers


def events(sent: pd.DataFrame, opened: pd.Series, minutes: Any) -> pd.DataFrame:
    answers = sent[opened].assign(event="opened", slot_propensity=np.nan)
    answers["occurred_at"] = answers["occurred_at"] + pd.to_timedelta(minutes, unit="m")
    return pd.concat([sent, answers], ignore_index=True)


def planted(n_contacts: int = 600, n_each: int = 30, *, seed: int = 1, weeks: int = 20) -> pd.DataFrame:
    """Sends at hours drawn evenly, opened mostly near 8:00 by odd contacts and near 20:00 by even ones."""
    rng = np.random.default_rng(seed)
    n = n_contacts * n_each
    at = MONDAY + pd.to_timedelta(rng.integers(0, weeks * WEEK * 60, n), unit="m")
    sent = pd.DataFrame(
        {
            "contact": [f"c{number}" for number in np.repeat(np.arange(n_contacts), n_each)],
            "event": "sent",
            "occurred_at": at,
            "message": rng.choice(["a", "b"], n),
            "slot_propensity": 1 / WEEK,
        }
    )
    busiest = np.where(np.repeat(np.arange(n_contacts) % 2, n_each) == 1, EARLY, LATE)
    away = np.abs((at.hour - busiest + 12) % 24 - 12)
    is_opened = rng.random(n) < 0.04 + 0.75 * np.exp(-away / 2)
    return events(sent, is_opened, rng.exponential(40, is_opened.sum()) + 1)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return planted()


@pytest.fixture(scope="module")
def log(rows: pd.DataFrame) -> EventLog:
    return EventLog.read(rows)


@pytest.fixture(scope="module")
def sends(log: EventLog) -> SendTable:
    return send_table(log)


def hazard(**options: Any) -> HazardModel:
    return HazardModel(**{"n_trees": 30, "n_leaves": 16, **options})


MODELS: dict[str, Callable[[], SendTimeEstimator]] = {
    "global": lambda: BestGlobalHour(smoothing=2.0),
    "median": lambda: MedianOfOpens(n_last=20, n_least=3),
    "thompson": lambda: ThompsonSlots(prior_sends=5.0, within="7d"),
    "hazard": lambda: hazard(rng=7),
    "own": lambda: FromClassifier(DecisionTreeClassifier(max_depth=6, min_samples_leaf=50, random_state=0)),
}


@pytest.fixture(scope="module")
def fitted(sends: SendTable) -> dict[str, Any]:
    return {name: make().fit(sends) for name, make in MODELS.items()}


# All of them --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_cloned_with_its_parameters_and_fits_a_log_as_its_table(
    name: str, log: EventLog, fitted: dict[str, Any]
) -> None:
    model = clone(MODELS[name]())
    assert str(model.get_params()) == str(MODELS[name]().get_params())
    assert clone(fitted[name]).get_params().keys() == model.get_params().keys()
    again = model.fit(log)
    known = log.contact_ids.to_pylist()[:50]
    np.testing.assert_array_equal(again.scores(known).chance, fitted[name].scores(known).chance)
    assert again.send_times().version == fitted[name].send_times().version


@pytest.mark.parametrize("name", MODELS)
def test_a_fitted_model_is_kept_by_pickle(name: str, fitted: dict[str, Any]) -> None:
    copy = pickle.loads(pickle.dumps(fitted[name]))
    np.testing.assert_array_equal(copy.scores(["c3"]).chance, fitted[name].scores(["c3"]).chance)


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_between_0_and_1_and_have_a_row_for_each_contact(name: str, fitted: dict[str, Any]) -> None:
    scores = fitted[name].scores()
    assert scores.chance.shape == scores.low.shape == scores.high.shape == (600, WEEK)
    assert ((scores.chance > 0) & (scores.chance <= 1)).all()
    with pytest.raises(DataError, match="'nobody' has no send"):
        fitted[name].scores(["nobody"])


@pytest.mark.parametrize("name", ["thompson", "hazard", "own"])
def test_contacts_own_hours_are_found(name: str, sends: SendTable, fitted: dict[str, Any]) -> None:
    by_hour = fitted[name].scores().chance.reshape(-1, 7, 24).mean(axis=1)
    is_early = np.array([int(contact[1:]) % 2 == 1 for contact in sends.contacts.to_pylist()])
    is_found = np.where(is_early, by_hour[:, EARLY] > by_hour[:, LATE], by_hour[:, LATE] > by_hour[:, EARLY])
    # By chance it would be half; slots by themselves learn little from thirty sends.
    assert is_found.mean() > (0.6 if name == "thompson" else 0.8)


@pytest.mark.parametrize("name", ["hazard", "own"])
def test_contacts_own_hours_are_borne_out_by_drawn_ones(name: str, fitted: dict[str, Any]) -> None:
    assert fitted[name].evidence_.set_index("level").loc["person", "is_used"]
    table = fitted[name].send_times().table()
    own = table[table["level"] == "person"]
    assert len(own) > 0.25 * len(table)  # for the others everyone's best hour is theirs as well
    assert (own["gain"] > 0).all()
    assert own["low"].isna().all()


@pytest.mark.parametrize("name", ["global", "thompson", "hazard", "own"])
def test_nothing_is_claimed_where_hours_do_not_matter(name: str) -> None:
    rng = np.random.default_rng(11)
    sent = planted(150, 30, seed=9)
    sent = sent[sent["event"] == "sent"]
    is_opened = rng.random(len(sent)) < 0.2
    model = MODELS[name]().fit(EventLog.read(events(sent, pd.Series(is_opened, sent.index), 30)))
    assert not model.evidence_["is_used"].any()
    assert set(model.send_times().table()["level"]) == {"fallback"}


def test_sends_at_hours_that_nobody_drew_advise_nothing(rows: pd.DataFrame) -> None:
    model = BestGlobalHour().fit(EventLog.read(rows.drop(columns="slot_propensity")))
    assert not model.is_causal_
    assert model.scores().chance[0].std() > 0  # it still knows when people answer


@pytest.mark.parametrize("name", ["hazard", "own"])
def test_segments_have_curves_of_their_own(name: str, rows: pd.DataFrame) -> None:
    names = rows["contact"].unique()
    teams = ["early" if int(contact[1:]) % 2 == 1 else "late" for contact in names]
    log = EventLog.read(rows, contacts=pd.DataFrame({"contact": names, "team": teams}))
    model = MODELS[name]().fit(send_table(log, segment="team"))
    assert model.evidence_.set_index("level").loc["segment", "is_used"]
    times = model.send_times()
    segments = times.scores[1 : 1 + len(model.segments_)].reshape(-1, 7, 24).mean(axis=1)
    difference = dict(zip(model.segments_, segments[:, EARLY] - segments[:, LATE], strict=True))
    assert difference["early"] > 0.1
    assert difference["late"] < -0.1


# One hour for everyone ----------------------------------------------------------------------------------------------


SENDS_SQL = """
    select s.contact, s.message, s.occurred_at as sent_at,
        24 * (isodow(s.occurred_at) - 1) + hour(s.occurred_at) as hour_of_week,
        lead(s.occurred_at, 1, timestamp '2100-01-01') over (
            partition by s.contact, s.message order by s.occurred_at) as again_at
    from events s where event = 'sent'
"""
ANSWERS_SQL = f"""
    select s.*, min(o.occurred_at) as opened_at
    from ({SENDS_SQL}) s left join events o
        on o.event = 'opened' and o.contact = s.contact and o.message = s.message
        and o.occurred_at > s.sent_at and o.occurred_at <= s.sent_at + interval 14 day and o.occurred_at <= s.again_at
    group by all
"""


def sql(query: str, rows: pd.DataFrame) -> pd.DataFrame:
    events = rows.assign(occurred_at=rows["occurred_at"].dt.tz_localize(None))
    connection = duckdb.connect()
    connection.register("events", events)
    return connection.execute(query).df()


def test_hours_are_counted_as_sql_counts_them(rows: pd.DataFrame, fitted: dict[str, Any]) -> None:
    expected = sql(
        f"""select hour_of_week, count(*) as n_sends, count(opened_at) as n_answers
            from ({ANSWERS_SQL}) group by all order by 1""",
        rows,
    )
    found = fitted["global"].hours_[["hour_of_week", "n_sends", "n_answers"]]
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_the_hour_that_is_best_for_everyone_is_found_across_the_weeks_end() -> None:
    rng = np.random.default_rng(5)
    sent = planted(400, 25, seed=2)
    sent = sent[sent["event"] == "sent"].reset_index(drop=True)
    hour = 24 * sent["occurred_at"].dt.day_of_week + sent["occurred_at"].dt.hour
    away = np.abs((hour - 167.5 + 84) % WEEK - 84)
    is_opened = pd.Series(rng.random(len(sent)) < 0.1 + 0.5 * np.exp(-((away / 4) ** 2)))
    model = BestGlobalHour().fit(EventLog.read(events(sent, is_opened, 5)))
    curve = model.scores().chance[0]
    assert curve.argmax() in (0, 1, 166, 167)
    assert abs(curve[0] - curve[167]) < 0.1 * curve.max()
    assert set(model.send_times().table()["level"]) == {"everyone"}
    band = model.scores()
    assert (band.low[0] < band.chance[0]).all()
    assert (band.high[0] > band.chance[0]).all()


def test_hours_are_held_against_sends_drawn_from_the_same_hours() -> None:
    """Lively contacts are only ever sent to in the morning, and no hour is any better."""
    rng = np.random.default_rng(8)
    n = 8000
    is_lively = np.arange(n) % 2 == 0
    hour = np.where(is_lively, rng.integers(6, 12, n), rng.integers(12, 24, n))
    sets = [sum(1 << (24 * day + one) for day in range(7) for one in range(*ends)) for ends in ((12, 24), (6, 12))]
    sent = pd.DataFrame(
        {
            "contact": np.arange(n),
            "event": "sent",
            "occurred_at": MONDAY + pd.to_timedelta(24 * rng.integers(0, 56, n) + hour, unit="h"),
            "message": "a",
            "slot_propensity": np.where(is_lively, 1 / 42, 1 / 84),
            "slots": np.array([f"{one:042x}" for one in sets])[is_lively.astype(int)],
        }
    )
    opened = pd.Series(rng.random(n) < np.where(is_lively, 0.5, 0.1))
    model = BestGlobalHour().fit(EventLog.read(events(sent, opened, 5)))
    by_day = model.hours_["ratio"].to_numpy().reshape(7, 24)
    assert by_day[:, 6:12].mean() == pytest.approx(by_day[:, 12:].mean(), abs=0.1)


# The rule of thumb --------------------------------------------------------------------------------------------------


def test_medians_are_those_of_sql(rows: pd.DataFrame, fitted: dict[str, Any]) -> None:
    expected = sql(
        f"""with opens as (
                select contact, hour(opened_at) as hour, opened_at from ({ANSWERS_SQL}) where opened_at is not null
                qualify row_number() over (partition by contact order by opened_at desc) <= 20),
            hours as (select range as median from range(24)),
            away as (
                select contact, median, count(*) as n, sum(d) as away, sum(d * d) as squares
                from (select contact, median, least((hour - median + 24) % 24, (median - hour + 24) % 24) as d
                      from opens, hours) group by all having n >= 3)
            select contact, median from away
            qualify row_number() over (partition by contact order by away, squares, median) = 1 order by contact""",
        rows,
    )
    table = fitted["median"].send_times().table()
    found = table[table["level"] == "person"].sort_values("contact")
    assert len(found) > 500
    assert found["contact"].tolist() == expected["contact"].tolist()
    assert found["hour_of_week"].tolist() == expected["median"].tolist()  # on Monday, the earliest of equals
    assert table.loc[table["level"] != "person", "level"].isin(["fallback"]).all()


def hand_made(opens: dict[str, list[int]], **more: Any) -> EventLog:
    return EventLog.read(hand_made_rows(opens, **more))


def hand_made_rows(opens: dict[str, list[int]], **more: Any) -> pd.DataFrame:
    """Contacts who open sends, one each day from Monday, at such local hours."""
    sent = [
        {"contact": contact, "event": "sent", "message": f"m{day}",
         "occurred_at": MONDAY + pd.Timedelta(days=day, hours=hour) - pd.Timedelta(minutes=30)}
        for contact, hours in opens.items() for day, hour in enumerate(hours)
    ]  # fmt: skip
    opened = [
        {**one, "event": "opened", "occurred_at": one["occurred_at"] + pd.Timedelta(minutes=35), **more} for one in sent
    ]
    return pd.DataFrame([*sent, *opened])


def test_the_median_is_that_of_the_clocks_face() -> None:
    log = hand_made({"night": [23, 1, 23, 1, 0], "even": [9, 11, 9, 11, 9, 11], "few": [20] * 4, "moved": [3] * 9 +
                     [15] * 25})  # fmt: skip
    model = MedianOfOpens().fit(log)
    table = model.send_times().table().set_index("contact")
    assert table["hour_of_week"].to_dict() == {"night": 0, "even": 10, "few": 33, "moved": 15}
    assert table["level"].to_dict() == {"night": "person", "even": "person", "few": "fallback", "moved": "person"}
    ranks = model.scores(["night", "few"])
    assert np.isnan(ranks.low).all()
    night, few = ranks.chance.reshape(2, 7, 24)
    assert (night == night[0]).all()
    assert np.argsort(-night[0], kind="stable")[:5].tolist() == [0, 1, 23, 2, 22]
    order = np.argsort(-few.ravel(), kind="stable")
    assert order[:9].tolist() == [33, 34, 35, 81, 82, 83, 9, 10, 11]
    assert len(set(few.ravel()[order[9:]])) == 1
    assert not model.is_causal_
    assert model.send_times().about["is_causal"] is False


def test_the_median_is_local() -> None:
    rows = hand_made_rows({"c": [20] * 6, "d": [20] * 6})
    zones = pd.DataFrame({"contact": ["c", "d"], "timezone": ["America/New_York", "Asia/Kolkata"]})
    table = MedianOfOpens().fit(EventLog.read(rows, contacts=zones)).send_times().table()
    assert table["hour_of_week"].tolist() == [15, 1]  # from 20:05 UTC


def test_opens_by_machines_are_no_opens() -> None:
    people, machines = (hand_made({"c": [20] * 6, "d": [9] * 6}, is_machine=flag) for flag in (False, True))
    assert MedianOfOpens().fit(people).send_times().table()["hour_of_week"].tolist() == [20, 9]
    with pytest.raises(DataError, match="no person answered"):
        MedianOfOpens().fit(machines)


# Thompson slots -----------------------------------------------------------------------------------------------------


def slots_by_sql(rows: pd.DataFrame, contact: str) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Matured sends and answers in seven days by slot of everyone, and the parameters of a contact's posteriors."""
    query = f"""
        select hour_of_week // 2 as slot, count(*) as n,
            count(*) filter (opened_at <= sent_at + interval 7 day) as k
        from ({ANSWERS_SQL})
        where sent_at + interval 7 day <= (select max(occurred_at) from events) {{}}
        group by all
    """
    everyone, own = (
        sql(query.format(where), rows).set_index("slot").reindex(range(84), fill_value=0)
        for where in ("", f"and contact = '{contact}'")
    )
    mean = (everyone["k"].sum() + 0.5) / (everyone["n"].sum() + 1)
    prior = ((everyone["k"] + 5 * mean) / (everyone["n"] + 5)).to_numpy()
    return everyone, (5 * prior + own["k"]).to_numpy(), (5 * (1 - prior) + own["n"] - own["k"]).to_numpy()


def test_chances_and_intervals_are_those_of_the_beta_posteriors(rows: pd.DataFrame, fitted: dict[str, Any]) -> None:
    _, a, b = slots_by_sql(rows, "c17")
    scores = fitted["thompson"].scores(["c17"], level=0.6827)
    np.testing.assert_allclose(scores.chance[0], np.repeat(beta(a, b).mean(), 2), rtol=1e-5)
    sd = np.repeat(beta(a, b).std(), 2)
    np.testing.assert_allclose(scores.high[0] - scores.chance[0], sd, rtol=1e-3)


def test_a_draw_is_one_from_every_posterior(rows: pd.DataFrame, fitted: dict[str, Any]) -> None:
    model = fitted["thompson"]
    place = model.send_times().contacts.to_pylist().index("c17")
    drawn = np.array([(times := model.draw(seed)).scores[times.profile[place]] for seed in range(150)])
    assert (drawn[:, 0::2] == drawn[:, 1::2]).all()
    _, a, b = slots_by_sql(rows, "c17")
    z = (drawn[:, ::2].mean(axis=0) - beta(a, b).mean()) / (beta(a, b).std() / 150**0.5)
    assert np.abs(z).max() < 4.5
    ratio = drawn[:, ::2].var(axis=0) / beta(a, b).var()
    assert ratio.mean() == pytest.approx(1, abs=0.05)


def test_draws_are_the_same_for_a_seed_and_leave_the_advice_by_means_alone(fitted: dict[str, Any]) -> None:
    model = fitted["thompson"]
    assert model.draw(4).version == model.send_times(rng=4).version == model.draw(np.random.default_rng(4)).version
    assert model.draw(4).version != model.draw(5).version
    rng = np.random.default_rng(4)
    assert model.draw(rng).version != model.draw(rng).version
    times = model.draw(4)
    assert set(times.table()["level"]) == {"person"}
    assert "drawn" in times.about
    assert "drawn" not in model.send_times().about


# What was known as of a send ----------------------------------------------------------------------------------------


def test_a_sends_features_are_those_of_a_log_that_ends_before_it(rows: pd.DataFrame, sends: SendTable) -> None:
    matrix = training_matrix(sends)
    rng = np.random.default_rng(2)
    for row in rng.choice(matrix.index, 12, replace=False):
        contact, at = sends.contact[[row]], sends.at[[row]]
        instant = pd.Timestamp(int(at[0]), unit="us", tz="UTC")
        later = rows["occurred_at"] >= instant
        assert later.any()
        # What comes later comes otherwise: other answers, at other hours.
        other = rows[~later | (rows["event"] == "sent")]
        changed = send_table(EventLog.read(other), outcome="opened")
        name = sends.contacts[int(contact[0])].as_py()
        code = np.array([changed.contacts.to_pylist().index(name)])
        message = np.array([changed.messages.index(sends.messages[int(sends.message[row])])])
        found = contact_features(changed, code, at, message)
        np.testing.assert_array_equal(found[0], matrix.loc[row, list(CONTACT_COLUMNS)])
        near = near_shares(changed, code, at)[0, int(sends.hour[row]) % 24]
        assert near == np.float32(matrix.loc[row, "near_share"])


def test_features_are_those_of_a_plain_reading(sends: SendTable) -> None:
    matrix = training_matrix(sends)
    after = sends.after["opened"]
    day = 24 * HOUR_US
    for row in matrix.index[::1501]:
        at, mine = sends.at[row], sends.contact == sends.contact[row]
        before = sends.at[mine & (sends.at < at)]
        is_in = sends.answered & (sends.at + np.where(sends.answered, after, 0) < at)
        answers = (sends.at + after)[mine & is_in]
        hours = ((sends.hour + after / HOUR_US) % WEEK)[mine & is_in]
        rate = (is_in.sum() + 1) / ((sends.at < at).sum() + 20)
        same = sends.message == sends.message[row]
        expected = {
            "hours_since_send": (at - before.max()) / HOUR_US if len(before) else 8760,
            "hours_since_answer": (at - answers.max()) / HOUR_US if len(answers) else 8760,
            "sends_7d": (before >= at - 7 * day).sum(), "sends_30d": (before >= at - 30 * day).sum(),
            "n_sends": len(before), "n_answers": len(answers),
            "answer_rate": (len(answers) + 5 * rate) / (len(before) + 5),
            "night_share": ((hours % 24 < 6).sum() + 0.25) / (len(hours) + 1),
            "morning_share": ((hours % 24 // 6 == 1).sum() + 0.25) / (len(hours) + 1),
            "afternoon_share": ((hours % 24 // 6 == 2).sum() + 0.25) / (len(hours) + 1),
            "evening_share": ((hours % 24 >= 18).sum() + 0.25) / (len(hours) + 1),
            "weekend_share": ((hours >= 120).sum() + 2 / 7) / (len(hours) + 1),
            "segment": -1,
            "message_rate": ((is_in & same).sum() + 20 * rate) / ((same & (sends.at < at)).sum() + 20),
        }  # fmt: skip
        away = np.abs((np.floor(hours % 24) - int(sends.hour[row]) % 24 + 12) % 24 - 12)
        expected["near_share"] = ((away <= 2).sum() + 5 / 24) / (len(hours) + 1)
        turns = 2 * np.pi * (int(sends.hour[row]) + 0.5) / np.array([24, WEEK])
        circles = zip(("day", "week"), np.sin(turns), np.cos(turns), strict=True)
        for name, sine, cosine in circles:
            expected |= {f"{name}_sin": sine, f"{name}_cos": cosine}
        assert matrix.drop(columns="is_answered").loc[row].to_dict() == pytest.approx(expected)
    assert np.isfinite(matrix.drop(columns="is_answered").to_numpy()).all()
    assert matrix.index.tolist() == np.flatnonzero(sends.is_matured).tolist()


# Hazards ------------------------------------------------------------------------------------------------------------


def test_chances_are_one_less_the_product_of_what_the_booster_says_of_each_bin(
    sends: SendTable, fitted: dict[str, Any]
) -> None:
    model = fitted["hazard"]
    codes = np.array([0, 1, 17])
    known = contact_features(sends, codes, np.full(3, sends.at.max() + 1))
    for contact, row in zip(codes, known, strict=True):
        name = sends.contacts[int(contact)].as_py()
        chance = model.scores([name]).chance[0]
        for hour in range(0, WEEK, 5):
            cells = []
            for number, start in enumerate([0, 1, 3, 6, 12, 24, 48]):
                then = (hour + start) % WEEK
                turns = [2 * np.pi * (one + 0.5) / 24 for one in (hour, then)]
                cells.append([*row, hour % 24, hour // 24, np.sin(turns[0]), np.cos(turns[0]), number, then % 24,
                              then // 24, np.sin(turns[1]), np.cos(turns[1])])  # fmt: skip
            survived = np.prod(1 - model.booster_.predict(np.array(cells, np.float32)))
            assert chance[hour] == pytest.approx(1 - survived, rel=1e-5)


def test_a_send_has_a_row_for_each_bin_until_its_answer_or_the_end_of_the_log(log: EventLog) -> None:
    sends = send_table(log, until=MONDAY + timedelta(weeks=12), outcome="opened")
    ends = np.array([1, 3, 24, 14 * 24])
    row, number, answered = period_rows(sends, ends)
    found = list(zip(row.tolist(), number.tolist(), answered.tolist(), strict=True))
    expected = []
    for one in range(len(sends)):
        start = 0
        for place, end in enumerate(ends.tolist()):
            after = sends.after["opened"][one]
            if sends.looked[one] < end * HOUR_US or after <= start * HOUR_US:
                break
            expected.append((one, place, bool(after <= end * HOUR_US)))
            start = end
    assert found == expected
    is_looked_at = sends.looked >= 24 * HOUR_US
    assert not is_looked_at.all()
    assert set(np.flatnonzero(sends.answered & is_looked_at)) >= set(row[answered & is_looked_at[row]])


def test_fewer_rows_say_the_same_of_chances(sends: SendTable, fitted: dict[str, Any]) -> None:
    whole = fitted["hazard"].scores().chance
    some = hazard(rng=7, most_rows=60_000).fit(sends)
    assert some.scores().chance.mean() == pytest.approx(whole.mean(), rel=0.05)
    again = hazard(rng=np.random.default_rng(3), most_rows=60_000, n_trees=5)
    times = [clone(again).fit(sends).send_times() for _ in range(2)]
    assert times[0].version == times[1].version
    assert times[0].about["parameters"]["rng"] == "a generator"


# One's own classifier -----------------------------------------------------------------------------------------------


def test_ones_own_classifier_is_fitted_to_the_matrix_and_asked_about_every_hour(
    sends: SendTable, fitted: dict[str, Any]
) -> None:
    matrix = training_matrix(sends)
    tree = clone(fitted["own"].estimator).fit(matrix.drop(columns="is_answered"), matrix["is_answered"])
    contact = sends.contacts.to_pylist().index("c5")
    now = np.array([contact]), np.array([sends.at.max() + 1])
    known, near = contact_features(sends, *now).astype(np.float32)[0], near_shares(sends, *now)[0]
    chance = fitted["own"].scores(["c5"]).chance[0]
    for hour in range(WEEK):
        turns = 2 * np.pi * (hour + 0.5) / np.array([24, WEEK])
        row = [*known, np.sin(turns[0]), np.cos(turns[0]), np.sin(turns[1]), np.cos(turns[1]), near[hour % 24]]
        asked = pd.DataFrame([row], columns=[*CONTACT_COLUMNS, *HOUR_COLUMNS])
        assert chance[hour] == pytest.approx(max(tree.predict_proba(asked)[0, 1], 1e-9), rel=1e-5)


def test_parameters_of_the_classifier_are_reached_as_in_scikit_learn(sends: SendTable) -> None:
    inner = make_pipeline(StandardScaler(), LogisticRegression(C=0.5))
    model = FromClassifier(inner)
    assert model.get_params()["estimator__logisticregression__C"] == 0.5
    model.set_params(estimator__logisticregression__C=2.0)
    assert clone(model).get_params()["estimator__logisticregression__C"] == 2.0
    outer = Pipeline([("times", model)]).fit(sends)
    assert outer.named_steps["times"].n_sends_ == len(sends)
    assert not hasattr(inner[-1], "coef_")  # a clone was fitted
    assert "LogisticRegression" in outer.named_steps["times"].send_times().about["parameters"]["estimator"]


# In the shop --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop_log() -> EventLog:
    """Seven sends to each of 1,500 contacts of the simulated shop, all at hours drawn from a whole week."""
    nodes: dict[str, Any] = {}
    for number in range(7):
        at: Any = {"best": "flat", "explore": "100%", "within": "7d"}
        nodes[f"n{number}"] = Send(send=f"m{number}", at=at, expires="8d", next=f"w{number}")
        nodes[f"w{number}"] = Wait(wait="1d", next=f"n{number + 1}" if number < 6 else "done")
    nodes["done"] = Exit(exit="finished")
    journey = Journey(journey="probe", trigger=Trigger(event="signup"), nodes=nodes)
    shop = Shop(1500, seed=3, opens={f"m{number}": 0.3 for number in range(7)}, fatigue=0.0)
    return shop.run(journey, send_times=of_everyone(np.ones(WEEK))).log


@pytest.mark.parametrize("name", MODELS)
def test_models_fit_what_the_shop_sends_at_drawn_hours(name: str, shop_log: EventLog) -> None:
    sends = send_table(shop_log, outcome="opened")
    assert sends.is_random.mean() > 0.9
    model = MODELS[name]().fit(sends)
    times = model.send_times()
    assert len(times.contacts) == model.n_contacts_
    if name == "global":
        curve = model.scores().chance[0].reshape(7, 24)
        assert curve[:, 8:21].mean() > 1.2 * curve[:, 0:5].mean()


# Faults -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (BestGlobalHour(smoothing=-1), "smoothing=-1: it is a number of hours"),
        (MedianOfOpens(n_last=0), "n_last=0: it is a number of opens"),
        (ThompsonSlots(prior_sends=0), "prior_sends=0: it is a number of sends above 0"),
        (ThompsonSlots(within="20d"), "within='20d' is longer than the log's table looks"),
        (HazardModel(bins=(3, 1)), r"bins=\(3, 1\): they are whole hours that rise"),
        (HazardModel(n_leaves=64), "n_leaves=64: a tree has from 2 to 32 leaves"),
        (FromClassifier(StandardScaler()), "has no predict_proba"),
    ],
)
def test_parameters_that_cannot_be_are_refused(model: SendTimeEstimator, fault: str, sends: SendTable) -> None:
    with pytest.raises(DataError, match=fault):
        model.fit(sends)


def test_sends_that_nobody_looked_at_long_enough_are_no_slots(rows: pd.DataFrame) -> None:
    log = EventLog.read(rows[rows["occurred_at"] < MONDAY + timedelta(days=6)])
    with pytest.raises(DataError, match="no send was looked at for all of 2w"):
        ThompsonSlots().fit(log)


def test_a_missing_lightgbm_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, sends: SendTable) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(JourneyLabError, match=r"HazardModel needs LightGBM: pip install \"journeylab\[models\]\""):
        hazard().fit(sends)
