"""Mails a week: the curve is the simulated shop's truth whoever is sent more, and a log that cannot tell says so."""

import json
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.stats import gamma

import journeylab as jl
from journeylab import datasets
from journeylab.errors import DataError, DefinitionError
from journeylab.frequency import MailFrequency, mail_frequency
from journeylab.frequency.rates import fit_rates, level_before, standardised
from journeylab.frequency.result import Rates, curve_of, first_fall
from journeylab.frequency.sends import SendTable, people_only
from journeylab.shop import Shop
from journeylab.shopreactions import Sends

pytestmark = pytest.mark.long

MESSAGES = ["news_a", "news_b", "news_c", "news_d", "news_e"]
PAUSES = {1: "170h", 2: "85h", 3: "57h", 4: "43h"}  # for so many mails a week, none of them just a week after another
FOUND_IN_TIME = 0.99 * 0.93  # is delivered, and opened within a week


# Journeys whose contacts are sent different numbers of mails


def by_chance() -> jl.Journey:
    """A split draws how many mails a week a contact gets."""
    nodes: dict[str, Any] = {"volume": jl.Split(split={f"mail_{often}_0": "25%" for often in PAUSES})}
    for often, pause in PAUSES.items():
        for i, message in enumerate(MESSAGES):
            nodes[f"mail_{often}_{i}"] = jl.Send(send=message, next=f"pause_{often}_{i}")
            nodes[f"pause_{often}_{i}"] = jl.Wait(wait=pause, next=f"mail_{often}_{(i + 1) % len(MESSAGES)}")
    return jl.Journey(journey="by_chance", trigger=jl.Trigger(event="signup"), nodes=nodes)


def by_engagement() -> jl.Journey:
    """Before each pause it is asked how much the contact visited and opened; the keener, the shorter it is."""
    keen = 'count("visit", "14d") + 3 * count("opened", "14d")'
    nodes: dict[str, Any] = {}
    for i, message in enumerate(MESSAGES):
        arms = [{"if": f"{keen} >= {least}", "go": f"pause_{often}_{i}"} for often, least in ((4, 9), (3, 5), (2, 2))]
        nodes[f"mail_{i}"] = jl.Send(send=message, next=f"ask_{i}")
        nodes[f"ask_{i}"] = jl.Decide(**{"decide": arms, "else": f"pause_1_{i}"})
        for often, pause in PAUSES.items():
            nodes[f"pause_{often}_{i}"] = jl.Wait(wait=pause, next=f"mail_{(i + 1) % len(MESSAGES)}")
    return jl.Journey(journey="by_engagement", trigger=jl.Trigger(event="signup"), nodes=nodes)


def by_opens() -> jl.Journey:
    """Who opens a mail gets the next one soon, who does not waits for a week."""
    nodes: dict[str, Any] = {}
    for i, message in enumerate(MESSAGES):
        after = f"mail_{(i + 1) % len(MESSAGES)}"
        asked = {"wait_for": f"opened(mail_{i})", "within": "43h", "then": f"short_{i}", "else": f"long_{i}"}
        nodes[f"mail_{i}"] = jl.Send(send=message, next=f"ask_{i}")
        nodes[f"ask_{i}"] = jl.WaitFor(**asked)
        nodes[f"short_{i}"] = jl.Wait(wait="30h", next=after)
        nodes[f"long_{i}"] = jl.Wait(wait="130h", next=after)
    return jl.Journey(journey="by_opens", trigger=jl.Trigger(event="signup"), nodes=nodes)


class Known(NamedTuple):
    """What was found, and what is true: rates of opening at each number of mails, for the contacts and their sends."""

    found: MailFrequency
    true_rate: np.ndarray

    @property
    def true_ratio(self) -> np.ndarray:
        return self.true_rate[1:] / self.true_rate[0]

    @property
    def covers(self) -> np.ndarray:
        """For each number from two on, whether the interval of the rate over that at one mail holds the truth."""
        by_rate = self.found._rates.influence / self.found._rates.rate
        error = np.sqrt(((by_rate[:, 1:] - by_rate[:, :1]) ** 2).sum(axis=0))
        return np.abs(self.off) < 1.645 * error

    @property
    def off(self) -> np.ndarray:
        rate = self.found.curve["outcome_rate"].to_numpy()
        return np.log(rate[1:] / rate[0] / self.true_ratio)

    @property
    def naive_off(self) -> np.ndarray:
        rate = self.found.curve["naive_rate"].to_numpy()
        return np.log(rate[1:] / rate[0] / self.true_ratio)


@cache
def known(design: Callable[[], jl.Journey], fatigue: float, seed: int, n: int = 900, days: int = 80) -> Known:
    shop = Shop(n, seed=seed, fatigue=fatigue, days=days)
    log = shop.run(design()).log
    found = mail_frequency(log, outcome="opened", most=4, randomised=design is by_chance)
    return Known(found, true_rates(shop, log, found.curve["mean_mails"].to_numpy()))


def true_rates(shop: Shop, log: jl.EventLog, mails: np.ndarray) -> np.ndarray:
    """How many would truly have opened their sends, had they been sent so many mails in every week of the month."""
    table = SendTable.of(people_only(log)[0], "7d", None)
    place = {name: i for i, name in enumerate(shop.names)}
    shops = np.array([place[name] for name in log.contact_ids.to_pylist()])
    rows = table.rows[table.is_known]
    who, at, message = shops[table.sends.contact[rows]], table.sends.at[rows], table.sends.message[rows]
    _, of = np.unique(who, return_inverse=True)
    share = 1 / np.bincount(of)[of] / (of.max() + 1)
    nth, rates = np.zeros(len(who), np.int64), []
    for number in mails:
        in_week = np.full(len(who), number - 1)
        sends = Sends(who, at, message, nth, in_week, in_week + number * 23 / 7)
        rates.append(float((shop._reactions.open_rate(sends, table.sends.messages) * share).sum()))
    return FOUND_IN_TIME * np.array(rates)


@pytest.fixture(scope="module")
def drawn() -> jl.EventLog:
    return Shop(1000, seed=1, fatigue=0.25, days=90).run(by_chance()).log


@pytest.fixture(scope="module")
def found(drawn: jl.EventLog) -> MailFrequency:
    return mail_frequency(drawn, outcome="opened", most=4, randomised=True)


# The truth of the simulated shop


@pytest.mark.parametrize("design", [by_chance, by_engagement])
def test_without_fatigue_no_fall_is_claimed(design: Callable[[], jl.Journey]) -> None:
    runs = [known(design, 0.0, seed, n=500) for seed in range(5)]
    assert sum(run.found.falls_from is None for run in runs) >= 4
    assert np.concatenate([run.covers for run in runs]).mean() >= 0.75
    if design is by_chance:  # who opens most at many mails unsubscribes first, so that the rates on record fall
        assert np.mean([run.naive_off[-1] for run in runs]) < -0.1


@pytest.mark.parametrize("fatigue", [0.25, 0.5])
@pytest.mark.parametrize("design", [by_chance, by_engagement])
def test_the_fall_is_the_true_one_in_most_shops(design: Callable[[], jl.Journey], fatigue: float) -> None:
    runs = [known(design, fatigue, seed) for seed in range(20, 23)]
    assert np.concatenate([run.covers for run in runs]).mean() >= 0.7
    assert all(run.found.falls_from is not None for run in runs)
    low, high = (np.concatenate([run.found.curve[name] for run in runs]) for name in ("low", "high"))
    truth = np.concatenate([run.true_rate for run in runs])
    assert ((low < truth) & (truth < high)).mean() >= 0.7


def test_the_rates_on_record_are_wrong_where_the_keen_are_sent_more() -> None:
    runs = [known(by_engagement, 0.25, seed) for seed in range(20, 26)]
    naive = np.mean([run.naive_off[-1] for run in runs])
    assert naive > 0.4
    assert abs(np.mean([run.off[-1] for run in runs])) < naive / 2


@pytest.mark.nightly
@pytest.mark.parametrize("fatigue", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("design", [by_chance, by_engagement, by_opens])
def test_intervals_cover_as_often_as_they_say(design: Callable[[], jl.Journey], fatigue: float) -> None:
    runs = [known(design, fatigue, seed, n=1500, days=90) for seed in range(20)]
    assert np.concatenate([run.covers for run in runs]).mean() >= 0.7
    if fatigue == 0:
        assert sum(run.found.falls_from is None for run in runs) >= 18


def test_unsubscribes_rise_where_they_truly_do(found: MailFrequency) -> None:
    # The truth is exp((0.45 - 0.25) * load) times as many at each more, a load being 1 + 23 / 28 for each mail a week.
    curve = found.curve
    true = np.exp(0.2 * (1 + 23 / 28) * 3)
    assert curve["harm_low"].iloc[3] / curve["harm_high"].iloc[0] < true
    assert true < curve["harm_high"].iloc[3] / curve["harm_low"].iloc[0]


# The rates that are on record


def test_rates_on_record_are_those_of_sql(drawn: jl.EventLog, found: MailFrequency) -> None:
    events = drawn.events()
    start, end = pd.Timestamp(drawn.start_at), pd.Timestamp(drawn.end_at)
    sql = duckdb.connect()
    sql.register("events", events[["contact", "event", "occurred_at", "message", "is_machine"]])
    table = sql.execute(
        """
        WITH sends AS (
            SELECT contact, occurred_at AS sent_at, message, (
                SELECT count(*) FROM events AS e WHERE e.contact = s.contact AND e.event = 'sent'
                AND e.occurred_at < s.occurred_at AND e.occurred_at > s.occurred_at - INTERVAL 7 DAY) + 1 AS mails,
            (EXISTS (
                FROM events AS e WHERE e.contact = s.contact AND e.message = s.message AND NOT e.is_machine
                AND e.event IN ('opened', 'clicked') AND e.occurred_at > s.occurred_at
                AND e.occurred_at <= s.occurred_at + INTERVAL 7 DAY))::INT AS opened,
            (EXISTS (
                FROM events AS e WHERE e.contact = s.contact AND e.message = s.message AND e.event = 'unsubscribed'
                AND e.occurred_at > s.occurred_at AND e.occurred_at <= s.occurred_at + INTERVAL 7 DAY))::INT AS left_us
            FROM events AS s WHERE event = 'sent'
        )
        SELECT least(mails, 4) AS mails, count(*) AS n, count(DISTINCT contact) AS n_contacts, avg(opened) AS opened,
            avg(left_us) AS left_us
        FROM sends WHERE sent_at >= $start::TIMESTAMPTZ + INTERVAL 7 DAY
        AND sent_at <= $end::TIMESTAMPTZ - INTERVAL 7 DAY
        GROUP BY ALL ORDER BY ALL
        """,
        {"start": str(start), "end": str(end)},
    ).df()
    curve = found.curve
    assert curve["mails_per_week"].tolist() == table["mails"].tolist()
    assert curve["n_sends"].tolist() == table["n"].tolist()
    assert curve["n_contacts"].tolist() == table["n_contacts"].tolist()
    assert curve["naive_rate"].tolist() == pytest.approx(table["opened"].tolist())
    assert curve["naive_harm_rate"].tolist() == pytest.approx(table["left_us"].tolist())


def test_order_of_the_log_changes_nothing(drawn: jl.EventLog, found: MailFrequency) -> None:
    events = drawn.events().sample(frac=1, random_state=3).sort_values("occurred_at", kind="stable")
    again = mail_frequency(jl.EventLog.read(events).truncated(drawn.end_at), outcome="opened", most=4, randomised=True)
    pd.testing.assert_frame_equal(again.curve, found.curve, rtol=1e-6)


# What came of a send


def event(contact: str, name: str, day: float, message: str | None = "hello", **more: Any) -> dict[str, Any]:
    at = pd.Timestamp("2026-03-01T00:00Z") + pd.Timedelta(days=day)
    return {"contact": contact, "event": name, "occurred_at": at, "message": message, **more}


def send_table(*events: dict[str, Any], within: str = "7d") -> SendTable:
    log = jl.EventLog.from_rows([event("zed", "visit", -40, None), *events, event("zed", "visit", 100, None)])
    return SendTable.of(people_only(log)[0], within, None)


def test_mails_of_a_week_are_those_less_than_seven_days_before_and_the_send_itself() -> None:
    table = send_table(*(event("ada", "sent", day, f"m{day}") for day in (0, 6, 7, 7.5, 40)), event("bo", "sent", 7))
    assert table.week.tolist() == [1, 2, 2, 3, 1, 1]
    assert (table.rest * 23 / 7).round().tolist() == [0, 0, 1, 1, 0, 0]
    assert table.tenure.tolist()[:5] == [0, 7, 8, 8, 10]


def test_machines_open_nothing_and_a_click_is_an_open() -> None:
    table = send_table(
        event("ada", "sent", 0), event("ada", "opened", 1, is_machine=True),
        event("ada", "clicked", 1, is_machine=True),
        event("bo", "sent", 0), event("bo", "clicked", 2, is_machine=False), event("cy", "sent", 0),
        event("cy", "opened", 7.1, is_machine=False),
    )  # fmt: skip
    for response in ("opened", "clicked"):
        assert table.came(response).came.tolist() == [False, True, False]


def test_sends_that_one_has_not_looked_at_for_long_enough_are_left_out() -> None:
    table = send_table(event("ada", "sent", 92.9), event("ada", "sent", 93, "news"), event("ada", "sent", 93.1, "late"))
    assert len(table.at) == 2
    with pytest.raises(DataError, match="none of 1 sends was looked at for all of 30d"):
        send_table(event("ada", "sent", 80), within="30d")


def test_a_message_sent_again_counts_by_what_comes_so_soon() -> None:
    table = send_table(
        event("ada", "sent", 0), event("ada", "sent", 2), event("ada", "opened", 3), event("bo", "sent", 0),
        event("bo", "opened", 1), event("cy", "sent", 0), event("cy", "opened", 6),
    )  # fmt: skip
    came = table.came("opened")
    assert came.came.tolist() == [False, True, True, True]
    assert came.opportunity[0] == pytest.approx(2 / 3)
    assert table.cut_share == 0.25


def test_an_unsubscribe_without_a_message_is_laid_to_the_last_send() -> None:
    table = send_table(
        event("ada", "sent", 0), event("ada", "sent", 1, "news"), event("ada", "unsubscribed", 2, None),
        event("bo", "sent", 0), event("bo", "unsubscribed", 9, None), event("cy", "unsubscribed", 1, None),
        event("di", "sent", 0), event("di", "sent", 1, "news"), event("di", "unsubscribed", 2, "hello"),
    )  # fmt: skip
    assert table.came("unsubscribed").came.tolist() == [False, True, False, True, False]
    assert table.came("complained") is None


# The estimator


class Made(NamedTuple):
    came: np.ndarray
    design: Any
    contact: np.ndarray
    level: np.ndarray


def made(n: int, each: int, *, seed: int = 1, shape: float = 1.2) -> Made:
    rng = np.random.default_rng(seed)
    contact, x = np.repeat(np.arange(n), each), rng.integers(0, 3, n * each)
    level = rng.gamma(shape, 1 / shape, n)
    came = rng.random(n * each) < -np.expm1(-0.3 * level[contact] * np.exp(-0.4 * x))
    return Made(came, csr_matrix(np.column_stack([np.ones(n * each), x])), contact, level)


def test_fit_is_that_of_the_exact_likelihood_integrated_by_quadrature() -> None:
    one = made(120, 6)
    x, y = one.design.toarray()[:, 1].reshape(120, 6), one.came.reshape(120, 6)
    middles = (np.arange(4000) + 0.5) / 4000

    def loss(at: np.ndarray) -> float:
        rate, shape = np.exp(at[0] + at[1] * x), np.exp(at[2])

        come = -np.expm1(-gamma.ppf(middles, shape, scale=1 / shape)[:, None, None] * rate)
        return -float(np.log(np.where(y, come, 1 - come).prod(axis=2).mean(axis=0)).sum())

    fit = fit_rates(one.came, np.ones(720), one.design, one.contact, np.zeros(2))
    here = np.append(fit.coefficients, np.log(fit.shape))
    best = loss(here)
    for step in np.vstack([np.eye(3), -np.eye(3)]) * [0.15, 0.12, 0.5]:  # less than half of each error
        assert loss(here + step) > best


def test_errors_are_those_of_contacts_drawn_again() -> None:
    again = []
    for seed in range(40):
        one = made(400, 8, seed=seed)
        fit = fit_rates(one.came, np.ones(3200), one.design, one.contact, np.zeros(2))
        of = [standardised(fit, csr_matrix(np.column_stack([np.ones(400), np.full(400, x)])), np.arange(400))
              for x in (0.0, 2.0)]  # fmt: skip
        again.append([(found.mean, np.sqrt((found.influence**2).sum())) for found in of])
    mean, error = np.moveaxis(np.array(again), -1, 0)
    assert error.mean(axis=0) == pytest.approx(mean.std(axis=0), rel=0.35)
    true = [1 - (1 + 0.3 * np.exp(-0.4 * x) / 1.2) ** -1.2 for x in (0, 2)]
    assert mean.mean(axis=0) == pytest.approx(true, rel=0.03)


def test_stopping_at_what_comes_leaves_the_estimate_as_it_is() -> None:
    one = made(4000, 10, seed=5)
    before = np.cumsum(one.came.reshape(4000, 10), axis=1) - one.came.reshape(4000, 10)
    kept = (before < 1).ravel()  # nothing is sent any more to whom something came of
    fit = fit_rates(one.came[kept], np.ones(kept.sum()), one.design[kept], one.contact[kept], np.zeros(2))
    assert fit.coefficients == pytest.approx([np.log(0.3), -0.4], abs=0.12)


def test_more_for_those_of_whom_something_came_leaves_it_as_it_is_but_not_a_conditional_model() -> None:
    n, each, rng = 3000, 8, np.random.default_rng(6)
    level = rng.gamma(1.2, 1 / 1.2, n)
    came, more = np.zeros((n, each), bool), np.zeros((n, each))
    for i in range(each):  # more is sent after an open, and changes nothing
        more[:, i] = came[:, i - 1] if i else 0
        came[:, i] = rng.random(n) < -np.expm1(-0.3 * level)
    contact, x, y = np.repeat(np.arange(n), each), more.ravel(), came.ravel()
    fit = fit_rates(y, np.ones(len(y)), csr_matrix(np.column_stack([np.ones(len(y)), x])), contact, np.zeros(2))
    assert fit.coefficients[1] == pytest.approx(0, abs=0.06)
    n_came = np.bincount(contact, y)

    def conditional(at: np.ndarray) -> float:
        return float((n_came * np.log(np.bincount(contact, np.exp(at[0] * x)))).sum() - at[0] * x[y].sum())

    assert minimize(conditional, np.zeros(1)).x[0] < -0.25


def test_level_is_learned_from_sends_before() -> None:
    one = made(3000, 20, seed=2)
    fit = fit_rates(one.came, np.ones(60_000), one.design, one.contact, np.zeros(2))
    level = level_before(fit, one.came, np.ones(60_000), one.design, one.contact).reshape(3000, 20)
    assert level[:, 0] == pytest.approx(1)
    assert np.corrcoef(level[:, -1], one.level)[0, 1] > 0.75
    assert level[:, -1].mean() == pytest.approx(1, abs=0.05)


def test_without_levels_it_is_a_rate_for_each_group() -> None:
    one = made(2000, 5, seed=3, shape=400.0)
    x = one.design.toarray()[:, 1]
    design = csr_matrix(np.column_stack([np.ones(len(x)), x == 1, x == 2]))
    fit = fit_rates(one.came, np.ones(len(x)), design, one.contact, np.zeros(3), has_levels=False)
    for k in range(3):
        at = csr_matrix(np.tile([1.0, k == 1, k == 2], (2000, 1)))
        assert standardised(fit, at, np.arange(2000)).mean == pytest.approx(one.came[x == k].mean(), abs=0.002)


# Logs that cannot tell


def test_the_bundled_shop_sends_everybody_the_same_and_is_refused() -> None:
    with pytest.raises(DataError, match=r"nearly everybody is sent the same .* let a `split` draw .* contacts in each"):
        mail_frequency(datasets.shop())


def test_one_mail_a_week_for_all_is_refused() -> None:
    nodes: dict[str, Any] = {"mail": jl.Send(send="news", next="pause"), "pause": jl.Wait(wait="170h", next="mail")}
    journey = jl.Journey(journey="weekly", trigger=jl.Trigger(event="signup"), nodes=nodes)
    log = Shop(300, seed=1).run(journey).log
    with pytest.raises(DataError, match="sends after a contact's first are its only one in a week, and 0 are not"):
        mail_frequency(log, outcome="opened")


def test_volumes_of_a_week_only_are_refused_as_steady_ones_and_taken_as_they_are() -> None:
    nodes: dict[str, Any] = {"volume": jl.Split(split={"burst_0": "50%", "slow_0": "50%"})}
    for name, pauses in (("burst", ("30h", "30h", "22d")), ("slow", ("170h",) * 3)):
        for i, pause in enumerate(pauses):
            nodes[f"{name}_{i}"] = jl.Send(send=MESSAGES[i], next=f"{name}_{i}_on")
            nodes[f"{name}_{i}_on"] = jl.Wait(wait=pause, next=f"{name}_{(i + 1) % 3}")
    journey = jl.Journey(journey="bursts", trigger=jl.Trigger(event="signup"), nodes=nodes)
    log = Shop(1500, seed=4, fatigue=0.2).run(journey).log
    with pytest.raises(DataError, match=r"throughout a month, .* Ask with steady=False"):
        mail_frequency(log, outcome="opened", randomised=True)
    found = mail_frequency(log, outcome="opened", randomised=True, steady=False)
    assert not found.is_steady
    assert any("the weeks before as they were" in note for note in found.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outcome": "openned"}, r"outcome is one of clicked, opened; got 'openned'"),
        ({"harm": "bounced"}, r"harm is one of complained, unsubscribed; got 'bounced'"),
        ({"most": 1}, r"most is 2 or more"),
        ({"level": 90}, r"level lies between 0 and 1"),
        ({"within": "0d"}, r"within must be longer than zero"),
        ({"until": "2030-01-01T00:00:00+00:00"}, r"lies outside the log"),
    ],
)
def test_faulty_arguments_are_named(drawn: jl.EventLog, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        mail_frequency(drawn, **options)


def test_a_faulty_adjustment_is_named(drawn: jl.EventLog) -> None:
    with pytest.raises(DefinitionError, match="plann"):
        mail_frequency(drawn, outcome="opened", adjust=['plann == "paid"'])


def test_a_log_without_outcomes_or_with_odd_flags_is_refused() -> None:
    rows = [event("ada", "sent", 0), event("ada", "opened", 1), event("bo", "visit", 100, None)]
    with pytest.raises(DataError, match="no send of this log was clicked by a person within 7d"):
        mail_frequency(jl.EventLog.from_rows(rows))
    with pytest.raises(DataError, match=r"`is_machine` is true or false .* but a text"):
        mail_frequency(jl.EventLog.from_rows([{**row, "is_machine": "perhaps"} for row in rows]))


# What it says and shows


def result(rates: list[float], error: float, harms: list[float] | None = None, *, and_more: bool = False) -> Any:
    """A result of given rates, each with the same standard error, independent of each other."""
    n = len(rates)
    mails = np.arange(1.0, n + 1)
    outcome = Rates(mails, np.array(rates), np.eye(n) * error)
    harm = None if harms is None else Rates(mails, np.array(harms), np.eye(n) * 1e-5)
    numbers = np.arange(1, n + 1)
    counts = pd.DataFrame({"mails_per_week": numbers, "and_more": (numbers == n) & and_more, "mean_mails": mails,
                           "n_sends": 1000, "n_contacts": 100})  # fmt: skip
    curve = curve_of(outcome, harm, np.array(rates), np.array(harms or rates), counts, 0.9)
    return MailFrequency(
        curve=curve, falls_from=first_fall(outcome, 0.9), outcome="clicked", harm="unsubscribed",
        within=timedelta(days=7), is_steady=True, is_randomised=False, n_sends=1000, n_contacts=100, level=0.9,
        notes=[], _rates=outcome, _harms=harm,
    )  # fmt: skip


def test_curve_adds_up() -> None:
    curve = result([0.10, 0.08, 0.05], 0.001).curve
    assert curve["outcomes_per_week"].tolist() == pytest.approx([0.10, 0.16, 0.15])
    assert curve["marginal_outcomes"].tolist() == pytest.approx([0.10, 0.06, -0.01])
    assert (curve["low"] < curve["outcome_rate"]).all()
    assert (curve["outcome_rate"] < curve["high"]).all()


def test_cap_is_the_last_mail_that_still_adds_something() -> None:
    assert result([0.10, 0.08, 0.05], 0.001).cap() == jl.Cap(sends=2, within=timedelta(days=7))
    assert result([0.10, 0.04], 0.001).cap().sends == 1


def test_cap_keeps_harm_below_its_limit_and_weighs_it() -> None:
    one = result([0.10, 0.09, 0.08, 0.05], 0.001, [0.001, 0.002, 0.004, 0.008])
    assert one.cap().sends == 3
    assert one.cap(most_harm=0.003).sends == 2
    assert one.cap(harm_per_outcome=0.1).sends == 2  # the third mail adds 0.06 clicks and 0.008 unsubscribes
    with pytest.raises(DataError, match=r"at one mail a week .* are unsubscribed: not below 0.05%"):
        one.cap(most_harm=0.0005)
    with pytest.raises(DataError, match="already the first mail a week does more harm"):
        one.cap(harm_per_outcome=0.005)
    with pytest.raises(DataError, match="most_harm is greater than zero"):
        one.cap(most_harm=0)


def test_cap_is_refused_where_the_log_cannot_tell() -> None:
    with pytest.raises(DataError, match=r"the second mail a week adds 0.06 .* may be as much as the first"):
        result([0.10, 0.08, 0.05], 0.05).cap()
    with pytest.raises(DataError, match="up to 3 mails a week each adds something"):
        result([0.10, 0.10, 0.10], 0.001).cap()
    with pytest.raises(DataError, match="harm_per_outcome cannot be held to: too few sends"):
        result([0.10, 0.05], 0.001).cap(harm_per_outcome=0.1)


def test_a_fall_is_one_beyond_the_noise_of_all_numbers_together() -> None:
    assert result([0.10, 0.10, 0.08, 0.05], 0.001).falls_from == 3
    assert result([0.10, 0.098, 0.098, 0.098], 0.001).falls_from is None  # 1.4 errors: one of three is, now and then


def test_result_shows_one_line_static_html_and_plain_data(found: MailFrequency) -> None:
    assert repr(found).startswith("MailFrequency(opened within 7d, ")
    assert "\n" not in repr(found)
    html = found._repr_html_()
    assert "<script" not in html
    assert html.count("<svg") == 2
    assert "http" not in html
    data = found.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["curve"][0]["n_sends"] == found.curve["n_sends"].iloc[0]
    assert data["is_randomised"] is True


def test_notes_say_what_the_figures_rest_on(drawn: jl.EventLog, found: MailFrequency) -> None:
    assert found.is_randomised
    assert "taken from randomised=True" in found.notes[0]
    adjusted = mail_frequency(drawn, outcome="opened", most=3, adjust=['plan == "paid"', 'since("visit")'])
    assert not adjusted.is_randomised
    assert "rest on the adjustment, not on an experiment" in adjusted.notes[0]
    assert adjusted.curve["and_more"].tolist() == [False, False, True]
    assert adjusted.curve["mean_mails"].iloc[-1] > 3
    assert "up to 3 or more; adjusted, not randomised" in repr(adjusted)


def test_few_harms_are_left_out_and_said() -> None:
    log = Shop(500, seed=6, fatigue=0.5, days=60).run(by_chance()).log
    found = mail_frequency(log, outcome="opened", harm="complained", most=2, randomised=True)
    assert found.curve["harm_rate"].isna().all()
    assert any("too few to say how that goes with the number" in note for note in found.notes)
    assert found.to_dict()["curve"][0]["harm_rate"] is None
    assert found._repr_html_().count("<svg") == 1
    assert len(found.chart().data) == 4


def test_chart_shows_the_numbers_of_the_table(found: MailFrequency) -> None:
    figure = found.chart()
    shown = {(trace.name, trace.yaxis): list(trace.y) for trace in figure.data if trace.name}
    assert shown["adjusted", "y"] == found.curve["outcome_rate"].tolist()
    assert shown["on record, not adjusted", "y"] == found.curve["naive_rate"].tolist()
    assert shown["adjusted", "y2"] == found.curve["harm_rate"].tolist()
    bands = [list(trace.y) for trace in figure.data if trace.fill == "tonexty"]
    assert bands == [found.curve["high"].tolist(), found.curve["harm_high"].tolist()]
    with pytest.raises(DataError, match="naive_rate"):
        jl.charts.frequency_chart(found.curve.drop(columns="naive_rate"), "opened", "unsubscribed", 0.9)
