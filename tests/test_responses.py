"""Response models: nothing later leaks in, sends still waiting pull no rate down, trees are used where they help."""

import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.utils.estimator_checks import parametrize_with_checks

import journeylab as jl
from journeylab import datasets
from journeylab.delays import delay_distribution, delay_table
from journeylab.estimators import BoostedResponses, ShrunkenRates, recalibrated
from journeylab.responses import ResponseModel, Responses, fit_responses
from journeylab.sendhistory import Features, sends_in, training_table

START = pd.Timestamp("2026-01-05", tz="UTC")
HOUR, DAY, WEEK = 3_600, 86_400, 7 * 86_400
RATES = {"hello": 0.1, "news": 0.2, "offer": 0.35}
FEATURES = ["keen", "noise"]


class World(NamedTuple):
    """A stationary world: its events and contacts, and the truth of every send, in order of time."""

    events: pd.DataFrame
    contacts: pd.DataFrame
    sends: pd.DataFrame

    def log(self, until: pd.Timestamp | None = None) -> jl.EventLog:
        events = self.events if until is None else self.events[self.events["occurred_at"] <= until]
        return jl.EventLog.read(events, contacts=self.contacts)


def world(
    n_contacts: int = 900, n_weeks: int = 10, *, seed: int = 1, effect: float = 0.0, burst: int = 0, drift: float = 0.0
) -> World:
    """Sends at random times of every other week; `burst` more in the last two days, before anybody had time for them.

    An attribute `keen` moves the log-odds of an open by `effect` each; weeks differ by `drift`.
    """
    rng = np.random.default_rng(seed)
    names = np.array([f"c{i:05d}" for i in range(n_contacts)])
    keen = rng.normal(size=n_contacts)
    who, week = np.tile(np.arange(n_contacts), n_weeks), np.repeat(np.arange(n_weeks), n_contacts)
    kept = rng.random(who.size) < 0.5
    who, week = who[kept], week[kept]
    at = week * WEEK + rng.integers(0, WEEK, who.size)
    end = n_weeks * WEEK
    if burst:
        end += 3 * WEEK  # the messages before have had their time
        who = np.append(who, rng.choice(n_contacts, burst, replace=False))
        at = np.append(at, end - rng.integers(HOUR, 2 * DAY, burst))
    order = np.argsort(at, kind="stable")
    who, at = who[order], at[order]
    message = (who + at // WEEK) % len(RATES)
    p = expit(logit(np.array(list(RATES.values()))[message]) + effect * keen[who]
              + drift * rng.normal(size=n_weeks + 4)[at // WEEK])  # fmt: skip
    delay = _delays(rng, who.size)
    opens = rng.random(who.size) < p
    clicks = opens & (rng.random(who.size) < 0.3)
    texts = np.array(list(RATES))[message]
    opened_at = at + delay
    clicked_at = opened_at + 1 + rng.exponential(600, who.size)
    visitor = rng.integers(0, n_contacts, 2 * n_contacts)
    parts = [
        pd.DataFrame({"contact": names[who], "event": "sent", "at": at.astype(float), "message": texts}),
        pd.DataFrame(
            {"contact": names[who[opens]], "event": "opened", "at": opened_at[opens], "message": texts[opens]}
        ),
        pd.DataFrame(
            {"contact": names[who[clicks]], "event": "clicked", "at": clicked_at[clicks], "message": texts[clicks]}
        ),
        pd.DataFrame({"contact": names[visitor], "event": "visit", "at": rng.random(visitor.size) * end}),
        pd.DataFrame({"contact": names[:1], "event": "visit", "at": float(end)}),
    ]
    events = pd.concat(parts, ignore_index=True)
    events = events[events["at"] <= end].sort_values("at", ignore_index=True)
    events["occurred_at"] = START + pd.to_timedelta((events.pop("at") * 1e6).astype("int64"), unit="us")
    contacts = pd.DataFrame({"contact": names, "keen": keen, "noise": rng.normal(size=n_contacts)})
    sends = pd.DataFrame({"contact": names[who], "at": at, "message": texts, "p": p, "opens": opens})
    return World(events, contacts, sends)


def _delays(rng: np.random.Generator, n: int) -> np.ndarray:
    """Weibull delays in seconds, none above a week."""
    delay = rng.weibull(0.433, n) * 15.16 * HOUR
    while (late := delay > WEEK).any():
        delay[late] = rng.weibull(0.433, int(late.sum())) * 15.16 * HOUR
    return np.maximum(delay, 1e-3)


def opened(model: ResponseModel) -> int:
    return model.responses.index("opened")


def predicted(model: ResponseModel, log: jl.EventLog) -> tuple[np.ndarray, np.ndarray]:
    """The predictions for all sends of a log, and the places of their messages."""
    sends = sends_in(log, None, "7d", None)
    x = Features(log, model.features).values(sends.contact, sends.at)
    return model.predict(x, sends.message), sends.message


def message_event(contact: str, event: str, hours: float, message: str = "hello", **more: Any) -> dict[str, Any]:
    at = START + pd.Timedelta(hours=hours)
    return {"contact": contact, "event": event, "occurred_at": at, "message": message, **more}


def seen(*events: dict[str, Any], converts: str | None = None) -> pd.DataFrame:
    end = message_event("zed", "visit", 400, message="none")
    return training_table(jl.EventLog.from_rows([*events, end]), converts=converts, features=["local_hour()"])


@pytest.fixture(scope="module")
def matters() -> World:
    return world(effect=1.5)


@pytest.fixture(scope="module")
def model(matters: World) -> ResponseModel:
    return fit_responses(matters.log(), features=FEATURES)


@pytest.fixture(scope="module")
def of_shop() -> ResponseModel:
    return fit_responses(datasets.shop(), converts="purchase")


# The estimators


@parametrize_with_checks([ShrunkenRates(), BoostedResponses()])
def test_estimators_keep_to_the_conventions(estimator: Any, check: Any) -> None:
    check(estimator)


def test_a_small_group_is_drawn_to_the_mean_and_a_large_one_keeps_its_rate() -> None:
    x = np.repeat([[0.0], [1.0], [2.0]], [1000, 1000, 4], axis=0)
    y = np.concatenate([np.arange(1000) < 100, np.arange(1000) < 300, np.ones(4)])
    rates = ShrunkenRates().fit(x, y)
    assert rates.rates_[:2] == pytest.approx([0.1, 0.3], abs=0.01)
    assert rates.rates_[1] < rates.rates_[2] < 0.6
    assert rates.predict_proba([[9.0]])[0, 1] == pytest.approx(rates.mean_rate_)


def test_what_never_came_is_not_impossible() -> None:
    rates = ShrunkenRates().fit(np.zeros((50, 1)), np.arange(50) < 0)
    assert 0 < rates.mean_rate_ < 0.02


def test_a_row_that_was_seen_in_part_counts_in_part() -> None:
    rng = np.random.default_rng(3)
    x = np.column_stack([np.zeros(20_000), rng.normal(size=20_000)])
    p = expit(-0.5 + x[:, 1])
    exposure = np.where(rng.random(20_000) < 0.5, 0.3, 1.0)
    y = rng.random(20_000) < p * exposure
    for estimator in (ShrunkenRates(), BoostedResponses(0)):
        foretold = estimator.fit(x, y, exposure).predict_proba(x)[:, 1]
        assert foretold.mean() == pytest.approx(p.mean(), abs=0.01)
    assert np.corrcoef(foretold, p)[0, 1] > 0.98


def test_predictions_of_each_group_add_up_to_what_came() -> None:
    rng = np.random.default_rng(4)
    group = rng.integers(0, 3, 6000)
    x = np.column_stack([rng.normal(size=6000), group])
    y = rng.random(6000) < expit(logit(np.array([0.05, 0.2, 0.6])[group]) + x[:, 0])
    foretold = BoostedResponses(1).fit(x, y).predict_proba(x)[:, 1]
    for one in range(3):
        mine = group == one
        assert foretold[mine].mean() == pytest.approx(y[mine].mean(), abs=0.01)


def test_recalibration_finds_what_was_wrong() -> None:
    rng = np.random.default_rng(5)
    z = rng.normal(size=50_000)
    y = (rng.random(50_000) < expit(0.3 + 0.8 * z)).astype(float)
    assert recalibrated(z, y, np.ones(50_000), slope=True) == pytest.approx((0.3, 0.8), abs=0.05)


@pytest.mark.parametrize("exposure", [np.zeros(4), np.full(4, 1.5), np.ones(3)])
def test_an_exposure_is_a_share_of_each_row(exposure: np.ndarray) -> None:
    with pytest.raises(ValueError, match="exposure is a share for each row"):
        ShrunkenRates().fit(np.zeros((4, 1)), [0, 1, 0, 1], exposure)


# What came of a send


def test_a_response_belongs_to_the_last_send_before_it() -> None:
    table = seen(
        message_event("ada", "sent", 0), message_event("ada", "sent", 10), message_event("ada", "opened", 12),
        message_event("ada", "opened", 14), message_event("ada", "sent", 20), message_event("ada", "opened", 20),
    )  # fmt: skip
    assert table["opened"].tolist() == [False, True, False]
    assert table["opened_after"][1] == timedelta(hours=2)
    assert table["opened_looked"].tolist() == [timedelta(hours=10)] * 2 + [timedelta(days=7)]


def test_another_message_answers_for_itself() -> None:
    table = seen(message_event("ada", "sent", 0), message_event("ada", "sent", 1, "news"),
                 message_event("ada", "opened", 5))  # fmt: skip
    assert table["opened"].tolist() == [True, False]


def test_a_click_counts_from_the_open_and_without_one_is_an_open() -> None:
    table = seen(
        message_event("ada", "sent", 0), message_event("ada", "opened", 2), message_event("ada", "clicked", 5),
        message_event("bo", "sent", 6), message_event("bo", "clicked", 9), message_event("cy", "sent", 7),
    )  # fmt: skip
    assert table["opened"].tolist() == [True, True, False]
    assert table["opened_after"].tolist()[:2] == [timedelta(hours=2), timedelta(hours=3)]
    assert table["clicked"].tolist() == [True, True, pd.NA]
    assert table["clicked_after"].tolist()[:2] == [timedelta(hours=3), timedelta(microseconds=1)]


def test_a_bounced_send_cannot_be_opened() -> None:
    table = seen(message_event("ada", "sent", 0), message_event("ada", "bounced", 0.1), message_event("bo", "sent", 1),
                 message_event("bo", "opened", 2))  # fmt: skip
    assert table["bounced"].tolist() == [True, False]
    assert table["opened"].tolist() == [pd.NA, True]


def test_the_next_send_of_any_message_takes_a_conversion_over() -> None:
    buys = {"contact": "ada", "event": "purchase", "occurred_at": START + pd.Timedelta(hours=30)}
    table = seen(message_event("ada", "sent", 0), message_event("ada", "sent", 24, "news"), buys, converts="purchase")
    assert table["converted"].tolist() == [False, True]
    assert table["converted_looked"].tolist() == [timedelta(hours=24), timedelta(days=7)]


def test_features_see_the_instant_of_sending_but_not_the_send() -> None:
    events = [message_event("ada", "visit", 9), message_event("ada", "sent", 9), message_event("ada", "sent", 12)]
    texts = ['count("sent")', 'count("visit")', 'since("visit")', "local_hour()", "weekday()", 'did("sent", "1h")']
    table = training_table(jl.EventLog.from_rows(events), features=texts)
    assert table[texts].to_numpy().tolist() == [[0, 1, 0, 9, 0, 0], [1, 1, 3 * HOUR * 1e6, 12, 0, 0]]


def test_local_time_is_that_of_the_contact_else_as_told() -> None:
    people = [{"contact": "ada", "timezone": "Asia/Tokyo"}, {"contact": "bo", "timezone": None}]
    log = jl.EventLog.from_rows([message_event("ada", "sent", 1), message_event("bo", "sent", 1)], people)
    table = training_table(log, features=["local_hour()"], timezone="Europe/Warsaw")
    assert table["local_hour()"].tolist() == [10, 2]


def test_default_features_are_what_the_log_offers(of_shop: ResponseModel) -> None:
    expected = ['count("sent", "7d")', 'since("opened")', 'sum("purchase.amount", "90d")', 'country == "PL"']
    assert {*expected, 'count("visit", "30d")', "local_hour()", "weekday()"} <= {*of_shop.features}


# Nothing later is looked at


def test_a_shorter_log_tells_the_same_of_every_send_before_its_end(matters: World) -> None:
    cut = START + pd.Timedelta(weeks=6, hours=5)
    whole, part = (training_table(log, features=[*FEATURES, 'since("opened")', 'count("sent")'])
                   for log in (matters.log(), matters.log(cut)))  # fmt: skip
    before = whole[whole["sent_at"] <= cut].reset_index(drop=True)
    known = before.columns[: list(before.columns).index("opened")]
    pd.testing.assert_frame_equal(before[known], part[known])
    by_then = before["sent_at"] + before["opened_after"] <= cut
    assert part["opened"].fillna(False).tolist() == by_then.tolist()
    assert 0 < by_then.sum() < before["opened"].sum()


def test_a_model_does_not_move_with_what_came_later(matters: World) -> None:
    cut = START + pd.Timedelta(weeks=7)
    marker = pd.DataFrame({"contact": ["c00000"], "event": "visit", "occurred_at": [cut]})
    events = pd.concat([matters.events, marker]).sort_values("occurred_at", kind="stable", ignore_index=True)
    # After the cut there are other events, and the rows of the log and of the contacts stand in another order.
    late = events["occurred_at"] > cut
    events.loc[late, "message"] = "later"
    events.loc[late, "event"] = events.loc[late, "event"].replace({"visit": "signup"})
    log = jl.EventLog.read(events.iloc[::-1], contacts=matters.contacts)
    model, again = (
        fit_responses(log, until=cut.to_pydatetime()),
        fit_responses(jl.EventLog.read(events[~late], contacts=matters.contacts[::-1])),
    )
    assert (model.features, model.messages, model.responses) == (again.features, again.messages, again.responses)
    pd.testing.assert_frame_equal(model.validation, again.validation)
    pd.testing.assert_frame_equal(model.calibration, again.calibration)
    assert np.array_equal(model.shift_sd, again.shift_sd)
    x = np.random.default_rng(1).normal(size=(50, len(model.features)))
    assert np.array_equal(model.predict(x, np.zeros(50, int)), again.predict(x, np.zeros(50, int)))
    assert np.array_equal(model.delays["opened"].quantiles, again.delays["opened"].quantiles)


# Sends that are still waiting


def test_sends_that_had_no_time_yet_pull_no_rate_down() -> None:
    ratios, naive = [], []
    for seed in range(6):
        made = world(burst=900, seed=seed, n_weeks=2)
        log = made.log()
        model = fit_responses(log, features=["noise"])
        p, message = predicted(model, log)
        truth = np.array([RATES[name] for name in model.messages])[message]
        ratios.append(p[:, opened(model)].mean() / truth.mean())
        naive.append(training_table(log, features=["noise"])["opened"].mean() / truth.mean())
    assert np.mean(naive) < 0.9
    assert np.mean(ratios) == pytest.approx(1, abs=0.04)


def test_delays_that_were_cut_off_are_put_right() -> None:
    rng = np.random.default_rng(2)
    delay = (_delays(rng, 40_000) * 1e6).astype(np.int64)
    looked = np.where(rng.random(delay.size) < 0.7, rng.integers(1, WEEK * 1_000_000, delay.size), WEEK * 1_000_000)
    came = delay <= looked
    share = delay_distribution(delay[came], looked[came]).share(np.array([1, 24]) * HOUR * 1_000_000)
    whole = [np.mean(delay <= hours * HOUR * 1e6) for hours in (1, 24)]
    assert share == pytest.approx(whole, abs=0.02)
    assert np.mean(delay[came] <= 24 * HOUR * 1e6) > whole[1] + 0.04


# Delays


def test_delays_are_those_of_the_weibull(model: ResponseModel) -> None:
    u = np.linspace(0, 1, 20_001)
    drawn = model.draw_delays("opened", np.full(u.size, -1), np.full(u.size, 2), u)
    assert drawn.dtype == np.int64
    assert (np.diff(drawn) >= 0).all()
    assert drawn.min() >= 1
    assert drawn.max() <= WEEK * 1_000_000
    # Of opens within a week, 94.1 % of all.
    for hours, share in ((1, 0.265), (6.42, 0.498), (24, 0.705)):
        assert np.mean(drawn <= hours * HOUR * 1e6) == pytest.approx(share / 0.941, abs=0.05)


def test_a_slot_with_few_responders_borrows_from_all() -> None:
    after = np.append(np.full(1000, 10), np.full(10, 1000)).astype(np.int64)
    slot = np.append(np.zeros(1000), np.ones(10)).astype(np.int64)
    table = delay_table(after, np.full(1010, 5000), np.zeros(1010, np.int64), slot, 1, 6, 5000)
    assert table.n_responders.tolist() == [1000, 10, 0, 0, 0, 0]
    assert [np.mean(row == 10) for row in table.quantiles[-1, :3]] == pytest.approx([0.99, 0.9, 0.99], abs=0.01)


def test_clicks_have_one_slot_and_count_from_the_open(model: ResponseModel) -> None:
    n_messages = len(model.messages) + 1  # and all of them together
    assert model.delays["opened"].quantiles.shape == (n_messages, 6, 256)
    assert model.delays["clicked"].quantiles.shape == (n_messages, 1, 256)
    middle = model.draw_delays("clicked", np.full(6, -1), np.arange(6), np.full(6, 0.5))
    assert middle / 1e6 == pytest.approx(600 * np.log(2), rel=0.2)


def test_slots_are_four_hours_long(model: ResponseModel) -> None:
    assert model.slot_of(np.array([0.0, 3.0, 4.0, 23.0])).tolist() == [0, 0, 1, 5]


# What is used, and what it is worth


def test_trees_are_used_where_features_matter(model: ResponseModel) -> None:
    worth = model.validation.set_index("response").loc["opened"]
    assert worth["used"] == "boosted"
    assert worth["gain"] > 3 * worth["gain_se"]
    assert worth["brier"] < worth["baseline_brier"]
    assert worth["calibration_slope"] == pytest.approx(1, abs=0.25)
    p = model.predict(np.array([[-1.0, 0], [1.0, 0]]), np.zeros(2, int))[:, opened(model)]
    assert p[1] > 3 * p[0]


def test_rates_are_used_where_features_are_noise() -> None:
    model = fit_responses(world(seed=8).log(), features=["noise", "local_hour()"])
    assert set(model.validation["used"]) == {"baseline"}
    x = np.random.default_rng(1).normal(size=(3, 2))
    p = model.predict(x, np.arange(3))[:, opened(model)]
    assert p == pytest.approx(list(RATES.values()), abs=0.04)
    assert np.array_equal(p, model.predict(-x, np.arange(3))[:, opened(model)])


def test_the_validation_is_on_later_sends_than_the_fit(model: ResponseModel, matters: World) -> None:
    at = START + pd.to_timedelta(matters.sends["at"], unit="s")
    late = (at >= model.cut_at) & (at <= model.until - model.within)
    row = model.validation.set_index("response").loc["opened"]
    assert row["n_sends"] == late.sum()
    bins = model.calibration[(model.calibration["response"] == "opened") & (model.calibration["model"] == "boosted")]
    assert bins["n_sends"].sum() == late.sum()
    assert bins["predicted_rate"].is_monotonic_increasing
    assert bins["predicted_rate"].between(bins["low"] - 0.03, bins["high"] + 0.03).mean() >= 0.8


def test_totals_of_later_sends_lie_within_their_interval() -> None:
    made = world(n_weeks=14, effect=1.0, seed=11)
    log = made.log()
    cut = START + pd.Timedelta(weeks=9)
    model = fit_responses(log, until=cut.to_pydatetime(), features=FEATURES)
    p, message = predicted(model, log)
    p = p[:, opened(model)]
    late = (made.sends["at"] >= 9 * WEEK).to_numpy()
    for place, name in enumerate(model.messages):
        mine = late & (message == place)
        spread = (p[mine] * (1 - p[mine])).sum()
        error = np.hypot(np.sqrt(spread), model.shift_sd[place, opened(model)] * spread)
        came = made.sends["opens"].to_numpy()[mine].sum()
        assert abs(came - p[mine].sum()) < 2.6 * error, name


def test_errors_of_levels_are_as_large_as_they_say() -> None:
    ratios = []
    for seed in range(8):
        made = world(600, 6, seed=20 + seed)
        model = fit_responses(made.log(), features=["noise"])
        x = np.zeros((3, 1))
        error = logit(model.predict(x, np.arange(3))[:, opened(model)]) - logit(np.array(list(RATES.values())))
        ratios.append(error / model.shift_sd[:, opened(model)])
    assert 0.5 < np.sqrt(np.mean(np.square(ratios))) < 1.5


def test_weeks_that_differ_widen_the_error() -> None:
    still, moving = (fit_responses(world(seed=5, drift=drift).log(), features=["noise"]) for drift in (0, 0.6))
    assert (moving.shift_sd[:, opened(moving)] > 0.35).all()
    assert (still.shift_sd[:, opened(still)] < 0.2).all()


def test_a_message_that_was_never_sent_has_the_mean_and_the_spread_between_messages(model: ResponseModel) -> None:
    p = model.predict(np.zeros((4, 2)), np.array([0, 1, 2, -1]))[:, opened(model)]
    assert p[0] < p[3] < p[2]
    assert model.unseen_sd[opened(model)] > 2 * model.shift_sd[:, opened(model)].max()


def test_fits_are_the_same_for_the_same_seed(model: ResponseModel, matters: World) -> None:
    steps: list[tuple[int, int]] = []
    again = fit_responses(
        matters.log(), features=FEATURES, rng=np.random.default_rng(0), progress=lambda *step: steps.append(step)
    )
    pd.testing.assert_frame_equal(model.validation, again.validation)
    x = np.random.default_rng(2).normal(size=(20, 2))
    assert np.array_equal(model.predict(x, np.zeros(20, int)), again.predict(x, np.zeros(20, int)))
    assert steps == [(1, 2), (2, 2)]


# The shop


def test_the_shop_has_all_responses(of_shop: ResponseModel) -> None:
    asked: Responses = of_shop
    expected = ("delivered", "opened", "clicked", "bounced", "complained", "unsubscribed", "converted")
    assert asked.responses == expected
    assert asked.shift_sd.shape == (len(asked.messages), 7)
    assert (asked.shift_sd > 0).all()
    assert (asked.unseen_sd > 0).all()
    assert (asked.within, asked.converts) == (timedelta(days=7), "purchase")
    p = asked.predict(np.zeros((5, len(asked.features))), np.arange(5))
    assert ((p > 0) & (p < 1)).all()
    assert p[:, 0] + p[:, 3] == pytest.approx(np.ones(5), abs=0.01)


def test_the_shop_sends_as_it_is_known_to(of_shop: ResponseModel) -> None:
    row = of_shop.validation.set_index("response")
    assert row.loc["opened", "rate"] == pytest.approx(0.2, abs=0.04)
    assert abs(row.loc["opened", "calibration_intercept"]) < 0.25


def test_what_cannot_be_validated_is_said_to_be_so() -> None:
    sends = [message_event(f"c{i}", "sent", i) for i in range(120)]
    opens = [message_event(f"c{i}", event, i + 0.5) for i in range(115, 120) for event in ("opened", "clicked")]
    log = jl.EventLog.from_rows([*sends, *opens, message_event("zed", "visit", 289, "none")])
    model = fit_responses(log, features=["local_hour()"])
    row = model.validation.set_index("response").loc["clicked"]
    assert (row["used"], row["n_sends"]) == ("baseline", 5)
    assert np.isnan(row["gain"])
    assert 0 < model.predict(np.zeros((1, 1)), np.zeros(1, int))[0, 0] < 0.2
    assert "not tried" in model.card()
    assert "<script" not in model._repr_html_()


# How it is shown


def test_the_card_says_what_it_is_worth_and_what_not_to_use_it_for(model: ResponseModel) -> None:
    card = model.card("a world made up for a test")
    for text in (
        "# Response model", "Data: a world made up for a test", "`keen`", "hello, news, offer", "nothing later",
        "Better than the rates of messages: opened.", "never sent", "machine", "at random", "| opened |",
    ):  # fmt: skip
        assert text in card
    assert "nan" not in card
    assert "backtest" not in card
    assert "## What a backtest found wrong\n\n- read: 5% more" in replace(model, failures=("read: 5% more",)).card()


def test_it_shows_itself_without_scripts(of_shop: ResponseModel, model: ResponseModel) -> None:
    assert repr(model).startswith("ResponseModel(2 responses to 3 messages within 7d, from ")
    assert repr(model).endswith("1 of 2 beat the shrunken rates out of time)")
    for one in (model, of_shop):
        html = one._repr_html_()
        assert "<svg" in html
        assert "<script" not in html
        assert "nan" not in html.replace("unless", "")


# What is refused


def test_a_log_without_sends_is_refused() -> None:
    log = jl.EventLog.from_rows([{"contact": "ada", "event": "visit", "occurred_at": "2026-03-01T09:00Z"}])
    with pytest.raises(jl.DataError, match=r"no `sent` events in this log.*visit"):
        fit_responses(log)


def test_sends_have_to_say_their_message() -> None:
    at = "2026-03-01T09:00Z"
    sent = {"contact": "ada", "event": "sent", "occurred_at": at}
    with pytest.raises(jl.DataError, match='need a text property "message"'):
        fit_responses(jl.EventLog.from_rows([sent]))
    with pytest.raises(jl.DataError, match="1 of 2 `sent` events have no `message`"):
        fit_responses(jl.EventLog.from_rows([sent, {**sent, "message": "hello"}]))


def test_too_few_sends_are_refused_with_a_remedy() -> None:
    log = jl.EventLog.from_rows([message_event("ada", "sent", hours) for hours in range(60)])
    with pytest.raises(jl.DataError, match="0 of 60 sends were looked at for all of 7d, and 50 are needed"):
        fit_responses(log)


@pytest.mark.parametrize("converts", ["sent", "purchse"])
def test_a_conversion_is_an_event_of_the_log(matters: World, converts: str) -> None:
    with pytest.raises(jl.DataError, match=f"converts='{converts}'"):
        fit_responses(matters.log(), converts=converts)


@pytest.mark.parametrize("until", ["2020-01-01T00:00:00+00:00", "2026-02-01", "soon"])
def test_an_instant_lies_in_the_log_and_is_aware(matters: World, until: str) -> None:
    with pytest.raises(jl.DataError, match="until"):
        fit_responses(matters.log(), until=until)


@pytest.mark.parametrize("within", ["0d", "7", "1mo"])
def test_within_is_a_duration(matters: World, within: str) -> None:
    with pytest.raises(jl.DataError, match="within"):
        fit_responses(matters.log(), within=within)


def test_features_that_do_not_fit_are_named_all_at_once(matters: World) -> None:
    texts = ["keen", "colour", 'count("visit"', 'segment("x")', 'last("sent.message")', "keen", 'score("y") + 1']
    with pytest.raises(jl.DefinitionError) as caught:
        fit_responses(matters.log(), features=texts)
    message = str(caught.value)
    for text in ("features.1: no attribute 'colour'", "features.2", "no segment 'x'", "is a text", "twice", "score("):
        assert text in message


def test_without_lightgbm_the_extra_is_named(matters: World, monkeypatch: pytest.MonkeyPatch) -> None:
    log = matters.log()
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(jl.JourneyLabError, match=r"journeylab\[models\]"):
        fit_responses(log)
