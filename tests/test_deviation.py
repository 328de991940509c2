"""Whether reality leaves the forecast: exact against other sums, never a false alarm too many, and true on a store."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from sqlalchemy import insert, select

from journeylab.errors import DataError
from journeylab.journey import Exit, Journey, Policy, Send, Trigger, WaitFor
from journeylab.sender.mail.messages import Message, Messages
from journeylab.sender.promotion.deviation import compare, counted_of, deviations, live_interval, log_evidence
from journeylab.sender.promotion.forecast import EXITS, Expected, Forecast
from journeylab.sender.promotion.frozen import Frozen
from journeylab.sender.promotion.releases import promote
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


def forecast(*expected: Expected) -> Forecast:
    return Forecast("hello", "0" * 12, 0.9, 1000.0, expected)


def branch(node: str, outcome: str, low: float, high: float) -> Expected:
    return Expected("branch", node, outcome, (low + high) / 2, low, high)


# The evidence


@pytest.mark.parametrize(("taken", "n", "edge"), [(60, 100, 0.5), (3, 40, 0.2), (0, 25, 0.05), (40, 41, 0.9)])
def test_evidence_is_that_of_the_mixture_integrated_numerically(taken: int, n: int, edge: float) -> None:
    prior = stats.beta(40 * edge, 40 * (1 - edge))

    def gained(share: float) -> float:
        return float(prior.pdf(share) * (share / edge) ** taken * ((1 - share) / (1 - edge)) ** (n - taken))

    above = integrate.quad(gained, edge, 1, epsabs=1e-14)[0] / prior.sf(edge)
    below = integrate.quad(gained, 0, edge, epsabs=1e-14)[0] / prior.cdf(edge)
    assert float(log_evidence(taken, n, edge, "above")) == pytest.approx(math.log(above), abs=1e-5)
    assert float(log_evidence(taken, n, edge, "below")) == pytest.approx(math.log(below), abs=1e-5)


@given(st.floats(0.01, 0.99), st.floats(0, 1), st.integers(1, 200), st.data())
def test_a_bet_is_never_expected_to_grow_while_the_chance_is_within(
    edge: float, part: float, n: int, data: st.DataObject
) -> None:
    taken = data.draw(st.integers(0, n))
    chance = edge * part  # anything up to the edge
    before = float(log_evidence(taken, n, edge, "above"))
    more, less = (float(log_evidence(taken + one, n + 1, edge, "above")) for one in (1, 0))
    if before > -300:
        assert chance * math.exp(more - before) + (1 - chance) * math.exp(less - before) <= 1 + 1e-6


def test_at_the_ends_nothing_and_everything_is_evidence() -> None:
    assert float(log_evidence(5, 5, 1.0, "above")) == 0
    assert float(log_evidence(0, 5, 0.0, "above")) == 0
    assert float(log_evidence(1, 5, 0.0, "above")) == math.inf
    assert float(log_evidence(4, 5, 1.0, "below")) == math.inf


@given(st.integers(1, 3000), st.data())
def test_the_interval_of_a_live_share_holds_it_and_is_wider_than_one_that_is_looked_at_once(
    n: int, data: st.DataObject
) -> None:
    taken = data.draw(st.integers(0, n))
    low, high = live_interval(taken, n, 0.05)
    assert 0 <= low <= taken / n <= high <= 1
    once = stats.binomtest(taken, n).proportion_ci(0.95, method="wilson")
    if 5 < taken < n - 5:
        assert high - low > once.high - once.low
    assert (1 - high, 1 - low) == pytest.approx(live_interval(n - taken, n, 0.05))


def alarms(n_releases: int, looks: Sequence[int], seed: int, *, drifts: bool = False) -> float:
    """The share of releases with any alarm at any look, whose shares all lie at the edge of their forecast."""
    rng = np.random.default_rng(seed)
    n, of = looks[-1], np.array(looks)
    ends = [(0.3, 0.4, 0.4), (0.05, 0.08, 0.05), (0.9, 0.95, 0.95), (0.5, 0.5, 0.5)]
    any_alarm = np.zeros(n_releases, bool)
    for low, high, truth in ends:
        chance: Any = truth
        if drifts:  # anywhere within, as the past goes: whatever the worst would be
            chance = np.where(np.arange(n) // 50 % 2 == 0, low, high)
        taken = np.cumsum(rng.random((n_releases, n)) < chance, axis=1)[:, of - 1]
        evidence = np.maximum(log_evidence(taken, of, high, "above"), log_evidence(taken, of, low, "below"))
        any_alarm |= (2 * np.exp(-evidence) <= 0.05 / len(ends)).any(axis=1)
    return float(any_alarm.mean())


@pytest.mark.parametrize("drifts", [False, True])
def test_false_alarms_over_the_whole_life_of_a_release_stay_below_5_percent(drifts: bool) -> None:
    assert alarms(400, [*range(1, 50), *range(50, 1500, 20)], seed=1, drifts=drifts) <= 0.05


@pytest.mark.nightly
@pytest.mark.parametrize("drifts", [False, True])
def test_false_alarms_over_long_lives_stay_below_5_percent(drifts: bool) -> None:
    found = [alarms(150, range(1, 5001), seed=seed, drifts=drifts) for seed in range(4)]
    assert np.mean(found) <= 0.05


def test_a_share_that_is_off_is_found() -> None:
    rng = np.random.default_rng(4)
    of = np.arange(20, 3001, 20)
    taken = np.cumsum(rng.random((200, 3000)) < 0.5, axis=1)[:, of - 1]
    found = 2 * np.exp(-log_evidence(taken, of, 0.4, "above")) <= 0.05 / 30
    assert found.any(axis=1).all()
    assert np.median(of[found.argmax(axis=1)]) < 800


# The table


def test_each_row_has_its_verdict_and_says_it() -> None:
    expected = forecast(
        branch("read", "then", 0.3, 0.4), branch("read", "else", 0.6, 0.7), branch("late", "then", 0.1, 0.2),
        branch("never", "then", 0.1, 0.2), Expected("exit", EXITS, "goal:buy", 0.1, 0.08, 0.12, is_goal=True),
        Expected("response", "welcome_1", "opened", 0.3, 0.25, 0.35),
    )  # fmt: skip
    counts = {
        ("branch", "read"): {"then": 520, "else": 470, None: 10}, ("branch", "late"): {"then": 3, "else": 17},
        ("exit", EXITS): {"goal:buy": 100, "finished": 900},
        ("response", "welcome_1/opened"): {"opened": 300, None: 700},
    }  # fmt: skip
    table = deviations(expected, counts)
    assert table["verdict"].tolist() == ["outside", "outside", "too_few", "too_few", "within", "within"]
    assert table["n"].tolist() == [1000, 1000, 20, 0, 1000, 1000]
    assert table["n_taken"].tolist() == [520, 470, 3, 0, 100, 300]
    outside = table[table["verdict"] == "outside"]
    assert ((outside["low"] > outside["forecast_high"]) | (outside["high"] < outside["forecast_low"])).all()
    assert table["sentence"][0] == (
        "read: then: 52.0% of 1,000 contacts (46.2% to 57.7%), outside of the forecast of 30.0% to 40.0%."
    )
    assert table["sentence"][3] == "never: then: no contact yet; forecast 10.0% to 20.0%."


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_outside_means_that_the_intervals_do_not_meet(taken: int, rest: int) -> None:
    (row,) = deviations(
        forecast(branch("read", "then", 0.3, 0.4)), {("branch", "read"): {"then": taken, "else": rest}}
    )[["low", "high", "verdict"]].itertuples()
    assert (row.verdict == "outside") == (row.low > 0.4 + 1e-9 or row.high < 0.3 - 1e-9)


# On a store


class Shop:
    """A store with one release, whose contacts arrive one a minute and wait up to three days for an open."""

    def __init__(self, store: Store) -> None:
        self.store = store
        journey = Journey(
            journey="hello",
            trigger=Trigger(event="signup"),
            nodes={
                "greet": Send(send="welcome_1", next="read"),
                "read": WaitFor.model_validate({
                    "wait_for": "opened(greet)", "within": "3d", "then": "done", "else": "unread"
                }),
                "done": Exit(exit="finished"),
                "unread": Exit(exit="unread"),
            },
        )  # fmt: skip
        self.version = journey.version
        expected = [
            branch("read", "then", 0.3, 0.4), branch("read", "else", 0.6, 0.7),
            Expected("exit", EXITS, "finished", 0.35, 0.3, 0.4),
            Expected("response", "welcome_1", "opened", 0.35, 0.3, 0.4),
        ]  # fmt: skip
        what = Forecast("hello", journey.version, 0.9, 1000.0, tuple(expected)).to_dict()
        message = Message(message="welcome_1", subject="Hi", templates={"welcome_1.html": "<p>Hi</p>"})
        frozen = Frozen(journey, Policy(), Messages({"welcome_1": message}), forecast=what)
        self.release_id = int(promote(store, frozen, actor="ada").release_id or 0)
        with store.reading() as connection:
            self.start = connection.scalars(select(t.spans.c.from_at)).one()

    def come(self, n: int, opens: Callable[[int], bool], until: datetime, entry: int = 1) -> None:
        """Contacts as the sender would have them at an instant."""
        entries, visits, sends, events = [], [], [], []
        for i in range(n):
            at = self.start + timedelta(minutes=i)
            if at >= until:
                break
            takes = timedelta(hours=2) if opens(i) else timedelta(days=3)
            left = at + takes if at + takes <= until else None
            of = {"contact": f"c{i}", "journey": "hello", "entry": entry, "version": self.version}
            exit_ = None if left is None else "finished" if opens(i) else "unread"
            entries.append(
                {**of, "entered_at": at, "left_at": left, "exit": exit_, "converted": False, "held_out": False}
            )
            visit = {**of, "visit": 1, "arrived_at": at, "evidence": "observed"}
            visits.append({**visit, "node": "greet", "left_at": at, "branch": "next"})
            taken = None if left is None else "then" if opens(i) else "else"
            visits.append({**visit, "node": "read", "left_at": left, "branch": taken})
            sends.append({
                "message_key": f"{i}.{entry}", "journey": "hello", "contact": f"c{i}", "entry": entry, "node": "greet",
                "visit": 1, "release_id": self.release_id, "message": "welcome_1", "purpose": "marketing",
                "transactional": False, "state": "accepted", "planned_at": at, "not_after": at, "attempts": 1,
                "fence": 1, "gated_at": at,
            })  # fmt: skip
            if opens(i) and left is not None:
                events.append({
                    "contact": f"c{i}", "event": "opened", "occurred_at": left, "received_at": left,
                    "properties": {"message": "welcome_1"},
                })  # fmt: skip
        with self.store.writing() as connection:
            for table, rows in ((t.entries, entries), (t.visits, visits), (t.sends, sends), (t.events, events)):
                if rows:
                    connection.execute(insert(table), rows)

    def compared(self, now: datetime) -> dict[tuple[str, str], Any]:
        with self.store.writing() as connection:
            table = compare(connection, self.release_id, now)
        return {(row.node, row.outcome): row for row in table.itertuples()}

    def alerts(self) -> list[tuple[str, bool]]:
        with self.store.reading() as connection:
            rows = connection.execute(select(t.alerts).order_by(t.alerts.c.alert_id))
            return [(row.cause, row.resolved_at is None) for row in rows]


def mixed(share: float) -> Callable[[int], bool]:
    drawn = np.random.default_rng(2).random(3000)
    return lambda i: bool(drawn[i] < share)


@pytest.fixture
def shop(store: Store) -> Shop:
    return Shop(store)


def test_what_ends_soon_is_not_counted_before_what_ends_late(shop: Shop) -> None:
    now = shop.start + timedelta(hours=60)  # nobody has waited for three days; all who opened are through
    shop.come(3000, mixed(0.35), now)
    found = shop.compared(now)
    assert found["read", "then"].n < 10
    assert found["read", "then"].verdict == "too_few"
    assert shop.alerts() == []


def test_a_release_within_its_forecast_raises_nothing(shop: Shop) -> None:
    now = shop.start + timedelta(days=12)
    shop.come(3000, mixed(0.35), now)
    found = shop.compared(now)
    assert {row.verdict for row in found.values()} == {"within"}
    assert found["read", "then"].n == 3000
    assert found["welcome_1", "opened"].n == 3000
    assert found["welcome_1", "opened"].n_taken == found["read", "then"].n_taken == found[EXITS, "finished"].n_taken
    assert shop.alerts() == []


def test_a_release_that_leaves_its_forecast_alerts_once_for_each_node(shop: Shop) -> None:
    now = shop.start + timedelta(days=12)
    shop.come(3000, mixed(0.5), now)
    for _ in range(2):
        found = shop.compared(now)
    assert found["read", "then"].verdict == "outside"
    causes = [f"forecast:hello:{shop.version}:{node}" for node in ("read", EXITS, "welcome_1")]
    assert sorted(shop.alerts()) == sorted((cause, True) for cause in causes)


def test_a_contact_counts_once_and_entries_of_other_versions_do_not(shop: Shop) -> None:
    now = shop.start + timedelta(days=12)
    shop.come(1000, mixed(0.35), now)
    shop.come(1000, mixed(0.9), now, entry=2)
    with shop.store.writing() as connection:
        for version, at in (("f" * 12, shop.start + HOUR), (shop.version, shop.start - HOUR)):
            of = {"contact": f"other{at}", "journey": "hello", "entry": 1, "version": version}
            row = {**of, "entered_at": at, "left_at": at, "exit": "finished", "converted": False, "held_out": False}
            connection.execute(insert(t.entries), row)
    with shop.store.reading() as connection:
        counts = counted_of(connection, shop.release_id, now)
    assert sum(counts["branch", "read"].values()) == sum(counts["exit", EXITS].values()) == 1000
    assert counts["branch", "greet"] == {"next": 1000}
    assert counts["branch", "read"]["then"] == sum(map(mixed(0.35), range(1000)))


def test_an_alert_ends_when_the_share_is_within_again(shop: Shop) -> None:
    from journeylab.sender.sending.alerts import raise_alert

    now = shop.start + timedelta(days=12)
    shop.come(3000, mixed(0.35), now)
    cause = f"forecast:hello:{shop.version}:read"
    with shop.store.writing() as connection:
        raise_alert(connection, cause, "warning", "off", now)
    shop.compared(now)
    assert shop.alerts() == [(cause, False)]


def test_a_release_without_forecast_has_nothing_to_compare(shop: Shop) -> None:
    with shop.store.reading() as connection:
        journey = Journey(journey="other", trigger=Trigger(event="signup"), nodes={"done": Exit(exit="seen")})
    done = promote(shop.store, Frozen(journey, Policy(), Messages({})), actor="ada")
    with shop.store.writing() as connection:
        assert compare(connection, int(done.release_id or 0), done.at).empty
        with pytest.raises(DataError, match="there is no release 99"):
            compare(connection, 99, done.at)
