"""Send-time models in the simulated shop, where the truth is known: `python -m benchmarks.sendtime`.

Everybody is mailed at hours drawn at random, 3, 10, 30 or 100 times. Each model is fitted to the log alone and advises
every contact one hour of the week; what that is worth is read off the shop's true chances. Printed, for every number of
sends and seed, in answers for each thousand sends: the chance at the hour that is best for everyone (as one knows who
knows the truth), and the gain over it of every model; of the limit, a Bayes-optimal learner who knows how the simulator
works and how common each habit is, and sees the same sends; and of the oracle who knows each contact's habit. `share`
is the habit model's part of the limit.

With `--speed` instead: the habit model fitted to 5 million sends of 500,000 contacts and all 168 hours scored for all
of them, against LightGBM alone on the same sends.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.special import logsumexp
from scipy.stats import gamma

from journeylab.sendtime.estimator import SendTimeEstimator
from journeylab.sendtime.habit import HabitModel
from journeylab.sendtime.hazard import HazardModel
from journeylab.sendtime.rules import BestGlobalHour, MedianOfOpens
from journeylab.sendtime.sends import HOUR_US, SendTable, send_table
from journeylab.sendtime.thompson import ThompsonSlots
from journeylab.shop import Shop
from journeylab.shopcontacts import BUSIEST, N_HABITS
from journeylab.shopreactions import DELAY_SCALE, DELAY_SHAPE, LATE_AFTER, LATENESS, Sends

from .compared import Compared, shown

# How many contacts: with fewer, which weekday is best for everyone (they differ by 2 %) is noise, and costs some models
# more than contacts' own hours gain.
N_CONTACTS = {3: 300_000, 10: 100_000, 30: 100_000, 100: 30_000}
MODELS: dict[str, Callable[[], SendTimeEstimator]] = {
    "habit": HabitModel,
    "everyone": BestGlobalHour,
    "median of opens": MedianOfOpens,
    "thompson": ThompsonSlots,
    "hazard": HazardModel,
}
COMMON = (np.array([0.5, 0.3, 0.2])[:, None] * BUSIEST / BUSIEST.sum()).ravel()
MESSAGE = "welcome_1"


def moved(weight: np.ndarray) -> np.ndarray:
    """What the weight of the hour of sending does to the rate of opening, as in `shopreactions`."""
    return 0.55 + 0.45 * np.minimum(weight, 3)


def limit_hours(shop: Shop, sends: SendTable, block: int = 4_000) -> np.ndarray:
    """The hour that a learner advises each contact who knows the simulator but for each contact's habit and interest.

    It even knows who still visits the shop at each send, which no log tells.
    """
    contacts, weights = shop._contacts, shop._contacts.rhythm.weights
    who = np.array([int(name[7:]) - 1 for name in sends.contacts.to_pylist()])[sends.contact]
    order = np.argsort(who, kind="stable")
    who, at, hour, after = who[order], sends.at[order], sends.hour[order], sends.after["opened"][order]
    is_open, nth = sends.answered[order], np.arange(len(order)) - np.searchsorted(who, who)
    reached = Sends(who, at, np.zeros_like(who), nth, np.zeros(len(who)), np.minimum(nth, 4).astype(float))
    mine = moved(weights[contacts.habit[who], hour.astype(int)]) * contacts.interest[who]
    exposure = -np.log1p(-shop._reactions.open_rate(reached, [MESSAGE])) / mine
    interest = gamma.ppf((np.arange(12) + 0.5) / 12, 1.2, scale=1 / 1.2)
    rate = -np.log1p(-0.106) * 1.15 * moved(weights)
    value = np.stack([-np.expm1(-v * rate) for v in interest], axis=1).reshape(-1, 168)
    advised = np.empty(shop.n_contacts, np.int64)
    for first in range(0, shop.n_contacts, block):
        last = min(first + block, shop.n_contacts)
        rows = slice(*np.searchsorted(who, [first, last]))
        place, x = who[rows] - first, exposure[rows, None] * moved(weights)[:, hour[rows].astype(int)].T
        opened = np.flatnonzero(is_open[rows])
        missed = np.zeros((last - first, N_HABITS))
        np.add.at(missed, place, np.where(is_open[rows, None], 0, x))
        likely = -missed[:, :, None] * interest + np.log(COMMON + 1e-300)[None, :, None]
        np.add.at(likely, place[opened], np.log(-np.expm1(-x[opened][:, :, None] * interest)))
        hours = np.maximum(after[rows][opened] / HOUR_US - 0.005, 1e-3)
        for habit in range(N_HABITS):
            of = np.full(len(opened), habit)
            own = contacts.rhythm.counted(of, hour[rows][opened], hours)
            is_late = own > LATE_AFTER
            drawn = np.where(is_late, (own + LATENESS * LATE_AFTER) / (1 + LATENESS), own)
            z = np.maximum(drawn, 1e-6) / DELAY_SCALE
            density = (DELAY_SHAPE - 1) * np.log(z) - z**DELAY_SHAPE - np.where(is_late, np.log(1 + LATENESS), 0)
            density += np.log(weights[habit, ((hour[rows][opened] + hours) % 168).astype(int)])
            np.add.at(likely[:, habit], place[opened], density[:, None])
        likely = likely.reshape(last - first, -1)
        chance = np.exp(likely - logsumexp(likely, axis=1, keepdims=True))
        advised[first:last] = (chance @ value).argmax(axis=1)
    return advised


def advice_of(model: SendTimeEstimator, sends: SendTable, shop: Shop) -> np.ndarray:
    """The hour of the week that a fitted model advises each contact of the shop."""
    table = model.fit(sends).send_times().table()
    who = table["contact"].str[7:].astype(int).to_numpy() - 1
    hours = np.empty(shop.n_contacts, np.int64)
    hours[who] = table["hour_of_week"]
    return hours


def compared(n_each: int, n_contacts: int, seed: int, names: list[str]) -> dict[str, float]:
    """Gains over the hour that is best for everyone, for each thousand sends."""
    shop = Shop(n_contacts, seed=seed, days=30)
    sends = send_table(shop.mailed(n_each, message=MESSAGE, seed=seed), outcome="opened", within="30d")
    truth, everybody = shop.chances(MESSAGE), np.arange(n_contacts)
    base = truth[:, truth.mean(axis=0).argmax()].mean()

    def gain(hours: np.ndarray) -> float:
        return float(truth[everybody, hours].mean() - base) * 1000

    row = {"n_each": n_each, "n_contacts": n_contacts, "seed": seed, "opened": float(sends.answered.mean()) * 1000}
    row |= {"best hour": base * 1000, "limit": gain(limit_hours(shop, sends)), "oracle": gain(truth.argmax(axis=1))}
    for name in names:
        row[name] = gain(advice_of(MODELS[name](), sends, shop))
    if "habit" in row:
        row["share"] = row["habit"] / row["limit"]
    return row


def speed(n_contacts: int, n_each: int) -> list[Compared]:
    """The time of the habit model beside LightGBM's on the same sends, once."""
    import lightgbm

    log = Shop(n_contacts, seed=1, days=30).mailed(n_each, message=MESSAGE)
    sends = send_table(log, outcome="opened", within="30d")
    start = time.perf_counter()
    model = HabitModel().fit(sends)
    fit = time.perf_counter() - start
    start = time.perf_counter()
    for first in range(0, n_contacts, 20_000):
        model.scores(sends.contacts[first : first + 20_000].to_pylist())
    score = time.perf_counter() - start
    place = np.arange(len(sends)) - np.searchsorted(sends.contact, sends.contact)
    so_far = np.cumsum(sends.answered) - sends.answered
    matrix = np.column_stack(
        [
            sends.hour.astype(int), sends.hour.astype(int) % 24, sends.hour.astype(int) // 24, place,
            so_far - so_far[np.searchsorted(sends.contact, sends.contact)], np.diff(sends.at, prepend=sends.at[0]),
            sends.message, sends.segment[sends.contact],
        ]
    )  # fmt: skip
    start = time.perf_counter()
    booster = lightgbm.LGBMClassifier(n_estimators=100, verbosity=-1, n_jobs=2).fit(matrix, sends.answered)
    fit_of_other = time.perf_counter() - start
    last = matrix[np.searchsorted(sends.contact, np.arange(n_contacts), side="right") - 1]
    few = min(20_000, n_contacts)
    start = time.perf_counter()
    for first in range(0, few, 5_000):
        rows = np.repeat(last[first : first + 5_000], 168, axis=0)
        rows[:, 0] = np.tile(np.arange(168), len(rows) // 168)
        rows[:, 1], rows[:, 2] = rows[:, 0] % 24, rows[:, 0] // 24
        booster.predict_proba(rows)
    score_of_other = (time.perf_counter() - start) * n_contacts / few
    size, ours = f"{len(sends):,} sends, 168 hours for {n_contacts:,} contacts", fit + score
    return [
        Compared("send times, fitted and scored", size, ours, "LightGBM", [(fit_of_other + score_of_other) / ours]),
        Compared("send times, fitted and scored", size, ours, "LightGBM's fit alone", [fit_of_other / ours]),
    ]


def main() -> None:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sends", type=int, nargs="+", default=list(N_CONTACTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--contacts", type=int, help="instead of the numbers that fit the sends")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--speed", action="store_true")
    arguments = parser.parse_args()
    if arguments.speed:
        print(shown(speed(arguments.contacts or 500_000, 10)))
        return
    rows = []
    for n_each in arguments.sends:
        for seed in range(1, arguments.seeds + 1):
            n_contacts = arguments.contacts or N_CONTACTS.get(n_each, 30_000)
            rows.append(compared(n_each, n_contacts, seed, arguments.models))
            print(pd.DataFrame(rows[-1:]).round(3).to_string(index=False), flush=True)
    print(pd.DataFrame(rows).groupby("n_each").mean().drop(columns="seed").round(3).to_string())


if __name__ == "__main__":
    main()
