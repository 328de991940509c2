"""The bundled data is what it says it is, and the simulated shop keeps the rules that any real log would."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from journeylab import datasets
from journeylab.akacja import OFFER_EFFECTS, OFFERS
from journeylab.errors import DataError
from journeylab.journey import Journey
from journeylab.journeyfile import read


@pytest.fixture(scope="module")
def shop() -> tuple[pd.DataFrame, pd.DataFrame]:
    return datasets.make_shop()


@pytest.mark.parametrize("name", ["events", "contacts"])
def test_bundled_shop_is_what_the_generator_makes(shop, name):
    made = dict(zip(("events", "contacts"), shop, strict=True))[name]
    bundled = pd.read_parquet(datasets.fixtures() / "shop" / f"{name}.parquet")
    pd.testing.assert_frame_equal(bundled, made)


@pytest.mark.parametrize("name", ["events", "contacts"])
def test_bundled_shop_is_labelled_simulated(name):
    metadata = pq.read_schema(datasets.fixtures() / "shop" / f"{name}.parquet").metadata
    assert b"simulated" in metadata[b"description"]


def test_shop_depends_on_the_seed_and_on_nothing_else():
    first, second, other = datasets.make_shop(50, rng=1), datasets.make_shop(50, rng=1), datasets.make_shop(50, rng=2)
    pd.testing.assert_frame_equal(first[0], second[0])
    assert not first[0].equals(other[0])
    assert datasets.make_shop(50, rng=np.random.default_rng(1))[0].equals(first[0])


def test_shop_may_have_a_single_contact():
    _, contacts = datasets.make_shop(1)
    assert contacts["contact"].tolist() == ["akacja-00001"]


def test_shop_without_contacts_is_refused():
    with pytest.raises(DataError, match="at least one contact, got n_contacts=0"):
        datasets.make_shop(0)


def test_shop_spans_both_clock_changes(shop):
    events, contacts = shop
    assert events["occurred_at"].min() < pd.Timestamp("2026-03-29", tz="UTC")
    assert events["occurred_at"].max() > pd.Timestamp("2026-04-06", tz="UTC")
    expected = {"Europe/Warsaw", "Europe/London", "America/New_York", "Australia/Sydney", "Asia/Kolkata"}
    assert expected <= set(contacts["timezone"])


def test_every_contact_signs_up_once_before_anything_else_but_consent(shop):
    events, contacts = shop
    signups = events[events["event"] == "signup"].set_index("contact")["occurred_at"]
    assert sorted(signups.index) == contacts["contact"].tolist()
    assert (events["occurred_at"] >= events["contact"].map(signups)).all()


def test_nothing_is_sent_without_consent_or_after_it_was_withdrawn(shop):
    events, _ = shop
    sends = events[events["event"] == "sent"]
    given = events[events["event"] == "consent_given"].groupby("contact")["occurred_at"].min()
    withdrawn = events[events["event"] == "consent_withdrawn"].groupby("contact")["occurred_at"].min()
    assert (sends["contact"].map(given) <= sends["occurred_at"]).all()
    ended = sends["contact"].map(withdrawn)
    assert (ended.isna() | (sends["occurred_at"] < ended)).all()


def test_responses_follow_their_send(shop):
    events, _ = shop
    sent_at = events[events["event"] == "sent"].set_index(["contact", "message"])["occurred_at"]
    assert sent_at.index.is_unique
    responses = events[events["message"].notna() & (events["event"] != "sent")]
    after = (
        responses["occurred_at"].to_numpy()
        - sent_at.loc[list(zip(responses["contact"], responses["message"], strict=True))].to_numpy()
    )
    assert (after > np.timedelta64(0, "s")).all()


def test_nobody_does_anything_after_leaving(shop):
    events, _ = shop
    gone_at = events[events["event"].isin(["account_closed", "erased"])].groupby("contact")["occurred_at"].min()
    ended = events["contact"].map(gone_at)
    assert (ended.isna() | (events["occurred_at"] <= ended)).all()


def test_offers_were_drawn_with_their_recorded_propensities(shop):
    events, _ = shop
    offers = events[(events["event"] == "sent") & events["message"].isin(list(OFFERS))]
    assert offers["propensity"].equals(offers["message"].map(OFFERS).astype(float))
    assert set(OFFER_EFFECTS) == set(OFFERS)
    shares = offers["message"].value_counts(normalize=True)
    for message, propensity in OFFERS.items():
        assert shares[message] == pytest.approx(
            propensity, abs=4 * (propensity * (1 - propensity) / len(offers)) ** 0.5
        )


def test_cdnow_is_complete():
    purchases = pd.read_parquet(datasets.fixtures() / "cdnow" / "purchases.parquet")
    assert purchases.columns.tolist() == ["customer_id", "date", "number_of_cds", "dollar_value"]
    assert (len(purchases), purchases["customer_id"].nunique()) == (69_659, 23_570)


def test_bundled_logs_read_without_further_arguments():
    assert datasets.cdnow().n_contacts == 23_570
    assert datasets.shop().n_contacts == 3_600


@pytest.mark.data
def test_cdnow_is_unchanged_from_its_source(shared_data):
    bundled = datasets.fixtures() / "cdnow" / "purchases.parquet"
    pd.testing.assert_frame_equal(
        pd.read_parquet(bundled), pd.read_parquet(shared_data / "cdnow" / "cdnow_master.parquet")
    )


@pytest.mark.parametrize("name", ["cdnow_winback", "keen_care", "shop_portfolio", "trial_welcome"])
def test_bundled_journeys_are_sound(name):
    for journey in read(datasets.journey_file(name)).journeys:
        assert journey.check() == []


def test_portfolio_runs_the_same_welcome_as_the_single_file():
    alone = Journey.read(datasets.journey_file("trial_welcome"))
    beside = Journey.read(datasets.journey_file("shop_portfolio"), "trial_welcome")
    assert beside.version == alone.version


def test_unknown_journey_file_names_the_nearest():
    with pytest.raises(DataError, match="did you mean 'trial_welcome'"):
        datasets.journey_file("trial_welcom")


def test_bundled_data_stays_small():
    sizes = {
        folder.name: sum(file.stat().st_size for file in folder.iterdir())
        for folder in datasets.fixtures().iterdir()
        if folder.is_dir()
    }
    assert sizes["cdnow"] < 500_000
    assert sizes["shop"] < 1_500_000
