"""The bundled data is what it says it is, and the simulated shop keeps the rules that any real log would."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from journeylab import datasets
from journeylab.errors import DataError
from journeylab.journey import Journey
from journeylab.journeyfile import read
from journeylab.replay import replay


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
    drawn = [datasets.make_shop(50, rng=np.random.default_rng(1))[0] for _ in range(2)]
    pd.testing.assert_frame_equal(*drawn)


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


def test_nothing_is_sent_unless_consent_was_the_last_word(shop):
    events, _ = shop
    said = events[events["event"].isin(["consent_given", "consent_withdrawn"])]
    sends = events[events["event"] == "sent"]
    last = pd.merge_asof(
        sends[["contact", "occurred_at"]], said[["contact", "occurred_at", "event"]], on="occurred_at", by="contact"
    )
    assert set(last["event"]) == {"consent_given"}


def test_responses_follow_their_first_send(shop):
    events, _ = shop
    sent_at = events[events["event"] == "sent"].groupby(["contact", "message"])["occurred_at"].min()
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
    late = events[events["occurred_at"] > ended]
    assert set(late["event"]) <= {"delivered", "bounced"}  # of what was sent just before


def test_offers_were_drawn_with_their_recorded_propensities(shop):
    events, _ = shop
    sends = events[events["event"] == "sent"]
    shares = {"offer_discount": 0.4, "offer_free_month": 0.4, "offer_plain": 0.2}
    offers = sends[sends["message"].isin(list(shares))]
    assert offers["propensity"].to_numpy() == pytest.approx(offers["message"].map(shares).to_numpy(float))
    found = offers["message"].value_counts(normalize=True)
    for message, share in shares.items():
        assert found[message] == pytest.approx(share, abs=4 * (share * (1 - share) / len(offers)) ** 0.5)
    others = sends[~sends["message"].isin(list(shares))].groupby("message")["propensity"].unique()
    assert {name: sorted(found) for name, found in others.items()} == {
        "reminder": [0.5],
        "welcome_1": [0.4, 0.6],
        "winback_1": [0.9],
        "winback_2": [pytest.approx(0.3), pytest.approx(0.7)],
    }


def test_history_of_the_shop_replays_over_its_log_and_is_all_on_record():
    result = replay(datasets.shop_history(), datasets.shop())
    assert set(result.visits["evidence"]) == {"observed"}
    assert result.sends["is_sent"].sum() == len(datasets.shop().stream("sent").at)


def test_cdnow_is_complete():
    purchases = pd.read_parquet(datasets.fixtures() / "cdnow" / "purchases.parquet")
    assert purchases.columns.tolist() == ["customer_id", "date", "number_of_cds", "dollar_value"]
    assert (len(purchases), purchases["customer_id"].nunique()) == (69_659, 23_570)


def test_bundled_logs_read_without_further_arguments():
    assert datasets.cdnow().n_contacts == 23_570
    assert datasets.shop().n_contacts == 7_000


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
    assert sizes["shop"] < 3_000_000
