"""Recommendations: the cosine of buyers as a plain table gives it, and nothing that was not known yet."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeylab import EventLog
from journeylab.errors import DataError
from journeylab.sender.mail.recommend import RECENT, BoughtTogether

DAY = datetime(2026, 3, 2, 9, tzinfo=UTC)
LATER = DAY + timedelta(days=1)


def bought(*pairs, at=DAY):
    return [(contact, item, at) for contact, items in pairs for item in items.split()]


PURCHASES = st.lists(
    st.tuples(
        st.sampled_from(["ada", "bob", "cyd", "dan", "eve"]),
        st.sampled_from(["cup", "hat", "jam", "tea", "urn"]),
        st.integers(0, 200).map(lambda days: DAY + timedelta(days=days)),
    ),
    max_size=40,
)


def by_table(purchases, contact, given_items, as_of, n):
    """The same by a table of contacts and products."""
    known = [row for row in purchases if row[2] <= as_of]
    items, contacts = sorted({item for _, item, _ in known}), sorted({who for who, _, _ in known})
    table = np.array([[any(r[:2] == (who, item) for r in known) for item in items] for who in contacts], float)
    own = {item for who, item, _ in known if who == contact} | {*given_items}
    norm = np.sqrt(table.sum(axis=0)) if items else np.zeros(0)
    likeness = table.T @ table / np.outer(norm, norm) if items else np.zeros((0, 0))
    scores = {
        item: round(sum(likeness[i, items.index(other)] for other in own if other in items), 9)
        for i, item in enumerate(items)
    }
    recent = {item: sum(i == item and at > as_of - RECENT for _, i, at in known) for item in items}
    alike = sorted((-scores[item], item) for item in items if scores[item] > 0 and item not in own)
    most = sorted((-recent[item], item) for item in items if not scores[item] and recent[item] and item not in own)
    return [item for _, item in alike + most][:n]


@given(PURCHASES, st.sampled_from(["ada", "bob", "zoe"]), st.sets(st.sampled_from(["cup", "tea", "new"])),
       st.integers(-1, 210), st.integers(0, 5))  # fmt: skip
def test_it_is_what_a_table_of_contacts_and_products_gives(purchases, contact, given_items, days, n):
    as_of = DAY + timedelta(days=days)
    made = BoughtTogether(purchases).recommend(contact, given_items, as_of, n)
    assert made == by_table(purchases, contact, given_items, as_of, n)


@given(PURCHASES, PURCHASES, st.integers(0, 200))
def test_what_comes_later_changes_nothing(purchases, later, days):
    as_of = DAY + timedelta(days=days)
    future = [(who, item, as_of + timedelta(microseconds=1) + (at - DAY)) for who, item, at in later]
    known = [row for row in purchases if row[2] <= as_of]
    made = BoughtTogether([*purchases, *future]).recommend("ada", ["tea"], as_of, 5)
    assert made == BoughtTogether(known).recommend("ada", ["tea"], as_of, 5)


def test_purchases_at_the_very_instant_count():
    shop = BoughtTogether(bought(("ada", "tea cup"), ("bob", "tea")))
    assert shop.recommend("bob", [], DAY, 3) == ["cup"]
    assert shop.recommend("bob", ["tea"], DAY - timedelta(microseconds=1), 3) == []


def test_a_niche_product_beats_one_that_everybody_buys():
    shop = BoughtTogether(
        bought(("ada", "tea pot jam"), ("bob", "tea pot jam"), ("cyd", "jam"), ("dan", "jam"), ("eve", "jam"))
    )
    assert shop.recommend("new", ["tea"], DAY, 2) == ["pot", "jam"]


def test_too_little_is_filled_with_what_was_bought_most_in_90_days():
    old = bought(("ada", "urn"), ("bob", "urn"), ("cyd", "urn"), at=DAY - RECENT)
    shop = BoughtTogether([*old, *bought(("ada", "tea"), ("bob", "hat"), ("cyd", "hat"), ("dan", "cup"))])
    assert shop.recommend("new", [], DAY, 9) == ["hat", "cup", "tea"]
    assert shop.recommend("new", [], DAY - timedelta(microseconds=1), 9) == ["urn"]


def test_what_was_bought_already_is_never_recommended():
    shop = BoughtTogether(bought(("ada", "tea cup"), ("bob", "tea cup")))
    assert shop.recommend("ada", [], DAY, 3) == []
    assert shop.recommend("new", ["tea", "cup", "unknown"], DAY, 3) == []


def test_a_log_gives_its_purchases():
    rows = [
        {"contact": who, "event": "purchase", "occurred_at": at.isoformat(), "product": item}
        for who, item, at in bought(("ada", "tea cup"), ("bob", "tea"), ("cyd", "hat"))
    ]
    rows.append({"contact": "bob", "event": "visit", "occurred_at": DAY.isoformat(), "product": "hat"})
    rows.append({"contact": "bob", "event": "purchase", "occurred_at": DAY.isoformat()})
    log = EventLog.from_rows(rows)
    assert BoughtTogether.from_log(log).recommend("bob", [], LATER, 3) == ["cup", "hat"]
    with pytest.raises(DataError, match="did you mean 'purchase'"):
        BoughtTogether.from_log(log, "purchases")
    with pytest.raises(DataError, match="did you mean 'product'"):
        BoughtTogether.from_log(log, item="products")


def test_instants_without_a_zone_are_refused():
    naive = DAY.replace(tzinfo=None)
    with pytest.raises(DataError, match="no time zone"):
        BoughtTogether([("ada", "tea", naive)])
    with pytest.raises(DataError, match="no time zone"):
        BoughtTogether([]).recommend("ada", [], naive, 1)


def test_no_purchases_give_no_recommendation():
    assert BoughtTogether([]).recommend("ada", ["tea"], DAY, 3) == []
