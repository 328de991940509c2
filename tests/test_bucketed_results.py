"""What is asked of a log in buckets: equal to what the log in memory says, within a budget, resumed when stopped."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import journeylab as jl
from constantmodel import ConstantModel
from journeylab import datasets
from journeylab.bucketed import BucketedLog, bucket_log, running
from journeylab.bucketed.budget import PROCESS, budget_of, needed
from journeylab.experiments import Proportion, Revenue
from journeylab.experiments.experiment import Stopping
from journeylab.logfacts import exact_sum
from journeylab.replayruns import TABLES

SHOP = datasets.fixtures() / "shop"
SEGMENTS = {"idle": 'since("visit") > "7d"', "polish": 'country == "PL"'}
AT = "2026-03-01T09:00:00Z"
equal = pd.testing.assert_frame_equal


@pytest.fixture(scope="module")
def shop():
    return datasets.shop()


@pytest.fixture(scope="module")
def bucketed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop") / "log"
    return bucket_log(SHOP / "events.parquet", folder, contacts=SHOP / "contacts.parquet", n_buckets=3)


@pytest.fixture(scope="module")
def journey():
    return jl.Journey.read(datasets.journey_file("trial_welcome"))


@pytest.fixture
def in_processes(monkeypatch):
    monkeypatch.setattr(running, "WORTH_PROCESSES", 0)
    monkeypatch.setattr("journeylab.bucketed.log.n_processors", lambda: 2)


def small(folder, n_contacts=40, **more):
    rows = [{"contact": n, "event": "signup", "occurred_at": AT} for n in range(n_contacts)]
    return bucket_log(rows, folder / "log", **{"n_buckets": 4, **more})


HELLO = jl.Journey.from_data(
    {"journey": "hello", "trigger": {"event": "signup"}, "nodes": {"done": {"exit": "finished"}}}
)


@pytest.mark.long
def test_in_processes_a_replay_is_the_replay(bucketed, shop, journey, in_processes):
    found, whole = jl.replay(journey, bucketed), jl.replay(journey, shop)
    assert found.summary() == whole.summary()
    assert repr(found) == repr(whole)
    equal(found.visits, whole.visits)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_written_as_the_log_in_memory_writes_it(bucketed, shop, journey, tmp_path, name, ending):
    ours, theirs = tmp_path / f"ours.{ending}", tmp_path / "whole" / f"theirs.{ending}"
    n_rows = jl.replay(journey, bucketed).write(ours, name)
    assert n_rows == jl.replay(journey, shop).write(str(theirs), name)
    if ending == "csv":
        assert ours.read_text() == theirs.read_text()
    else:
        equal(pd.read_parquet(ours), pd.read_parquet(theirs))
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == [ours.name]


def test_what_cannot_be_written_is_refused(shop, journey, tmp_path):
    replayed = jl.replay(journey, shop)
    with pytest.raises(jl.DataError, match=r"no table 'visit' to be written; did you mean 'visits'\?"):
        replayed.write(tmp_path / "v.parquet", "visit")
    with pytest.raises(jl.DataError, match=r"v\.json: a table is written as \.parquet or \.csv"):
        replayed.write(tmp_path / "v.json")


def test_a_table_without_rows_is_written_too(tmp_path):
    log = small(tmp_path)
    nobody = HELLO.model_copy(update={"trigger": jl.Trigger(event="purchase")})
    assert jl.replay(nobody, log).write(tmp_path / "v.parquet") == 0
    assert list(pd.read_parquet(tmp_path / "v.parquet").columns)[:3] == ["contact", "journey", "version"]
    assert jl.replay(nobody, log).assignments["probability"].dtype == float


def test_audiences_are_those_of_the_log(bucketed, shop):
    equal(jl.audience(bucketed, SEGMENTS["idle"]), jl.audience(shop, SEGMENTS["idle"]))
    equal(jl.membership(bucketed, SEGMENTS), jl.membership(shop, SEGMENTS))
    equal(jl.sizes(bucketed, SEGMENTS, "28d"), jl.sizes(shop, SEGMENTS, "28d"))
    equal(jl.overlap(bucketed, SEGMENTS), jl.overlap(shop, SEGMENTS))


def test_a_simulation_is_that_of_the_log(bucketed, shop, journey):
    sent = [one.send for one in journey.nodes.values() if isinstance(one, jl.Send)]
    model = ConstantModel(sent, converts="purchase", sd=0.3, delivered=0.98, opened=0.4, clicked=0.2, converted=0.05)
    given = {"responses": model, "draws": 5, "rng": 3}
    found, whole = jl.simulate(journey, bucketed, **given), jl.simulate(journey, shop, **given)
    assert found.summary() == whole.summary()
    assert repr(found) == repr(whole)
    equal(found.branches, whole.branches)
    equal(found.outcomes, whole.outcomes)
    equal(found.visits(2), whole.visits(2))
    equal(found.entries(4), whole.entries(4))
    for log in (bucketed, shop):
        with pytest.raises(jl.DataError, match="replaces: no message 'helo' in the log"):
            jl.simulate(journey, log, replaces=["helo"], **given)


def test_a_generator_draws_alike_in_each_bucket(bucketed, shop, journey):
    sent = [one.send for one in journey.nodes.values() if isinstance(one, jl.Send)]
    model = ConstantModel(sent, sd=0.3, opened=0.4)
    found, whole = (
        jl.simulate(journey, log, responses=model, draws=2, rng=np.random.default_rng(5)) for log in (bucketed, shop)
    )
    assert found.summary() == whole.summary()


@pytest.mark.long
def test_a_fit_and_a_backtest_are_those_of_the_log(bucketed, shop):
    welcome = datasets.shop_history().journeys[0]
    given = {"cutoff": "2026-04-15", "draws": 10}
    found, whole = jl.backtest(welcome, bucketed, **given), jl.backtest(welcome, shop, **given)
    assert found.summary() == whole.summary()
    equal(found.responses.validation, whole.responses.validation)


def test_an_experiment_is_that_of_the_log(bucketed, shop):
    history = datasets.shop_history()
    experiment = jl.Experiment.of_split(
        history.journeys[0], "offer", portfolio=history, experiment="offers", control="plain", window="14d",
        primary=Proportion("purchase"), secondary=[Revenue("purchase.amount")], segments=("country",),
        stopping=Stopping(planned_n=2000),
    )  # fmt: skip
    found, whole = experiment.analyze(bucketed), experiment.analyze(shop)
    assert json.dumps(found.to_dict(), default=str) == json.dumps(whole.to_dict(), default=str)


def test_a_share_of_contacts_is_the_same_whatever_the_buckets(tmp_path):
    few, many = small(tmp_path / "a", n_buckets=1), small(tmp_path / "b", n_buckets=7)
    chosen = [sorted(one.sample(0.5).contact_ids.to_pylist()) for one in (few, many)]
    assert chosen[0] == chosen[1]
    assert 0 < len(chosen[0]) < 40
    assert {*few.sample(0.25).contact_ids.to_pylist()} < {*chosen[0]}
    assert few.sample(1).n_contacts == 40
    with pytest.raises(jl.DataError, match=r"a share of contacts lies in 0\.\.1, got 0"):
        few.sample(0)


def test_the_log_of_some_contacts_has_the_span_and_the_events_of_the_whole(bucketed, shop):
    some = shop.contact_ids[:10].to_pylist()
    log = bucketed.of(some)
    assert sorted(log.contact_ids.to_pylist()) == sorted(some)
    assert (log.start_us, log.end_us) == (shop.start_us, shop.end_us)
    assert all(log.occurs(event) for event in shop.event_names)
    assert not log.occurs("nothing")
    with pytest.raises(jl.DataError, match="1 contact are not in the log, the first of them 'nobody'"):
        bucketed.of([*some, "nobody"])


def test_a_function_answers_for_buckets_too(tmp_path):
    log = small(tmp_path)
    journey = jl.Journey.from_data(
        {
            "journey": "hello", "trigger": {"event": "signup"},
            "nodes": {"ask": {"decide": [{"if": 'score("luck") > 0.5', "go": "keep"}], "else": "drop"},
                      "keep": {"exit": "lucky"}, "drop": {"exit": "unlucky"}},
        }
    )  # fmt: skip

    def luck(contacts, _at):
        return [float(one % 2) for one in contacts]

    assert jl.replay(journey, log, scores={"luck": luck}).summary()["exits"] == {"lucky": 20, "unlucky": 20}


# Budget


@pytest.mark.parametrize(
    ("text", "size"), [("4GiB", 4 << 30), ("1.5 GB", 1_500_000_000), ("2048MiB", 2 << 30), (3 << 30, 3 << 30)]
)
def test_a_budget_is_read(text, size):
    assert budget_of(text) == size


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("four", "is no size; write it as 4GiB"),
        ("4", "is no size"),
        ("100MiB", "100MiB is too little; give at least 1GiB"),
    ],
)
def test_what_is_no_budget_is_refused(tmp_path, text, says):
    with pytest.raises(jl.DataError, match=says):
        small(tmp_path, memory=text)


def test_a_budget_decides_how_many_processes_work_and_how_many_buckets_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr("journeylab.bucketed.log.n_processors", lambda: 8)
    log = small(tmp_path)
    log._meta["n_events"] = [2_000_000] * 4
    bucket = needed(2_000_000, 0)
    log.memory = PROCESS + 3 * bucket
    assert log.n_processes() == 3
    log.memory = bucket
    assert log.n_processes() == 1
    log.memory = bucket - 1
    with pytest.raises(jl.DataError, match=r"its largest bucket has 2,000,000 events and needs about .*more buckets"):
        log.n_processes()


def test_a_log_too_large_for_the_budget_is_not_brought_into_memory(tmp_path, monkeypatch):
    log = small(tmp_path)
    monkeypatch.setattr("journeylab.bucketed.log.needed", lambda n_events, _: n_events << 30)
    log.memory = 8 << 30
    with pytest.raises(jl.DataError, match="ask for fewer contacts, or give more memory"):
        log.sample(1)
    assert log.share_in_memory() == 0.0625  # of 40 contacts


# Stopped and resumed


def test_who_is_stopped_goes_on_where_they_were(tmp_path, monkeypatch):
    monkeypatch.setenv("JOURNEYLAB_CACHE", str(tmp_path / "cache"))
    log, real = small(tmp_path), BucketedLog.bucket
    looked: list[int] = []

    def stopping(self, k):
        looked.append(k)
        if looked.count(2) == 1 and k == 2:
            raise KeyboardInterrupt
        return real(self, k)

    expected = jl.replay(HELLO, log).summary()
    monkeypatch.setattr(BucketedLog, "bucket", stopping)
    with pytest.raises(KeyboardInterrupt):
        jl.replay(HELLO, log)
    other = HELLO.model_copy(update={"nodes": {"done": jl.Exit(exit="gone")}})
    told = []
    assert jl.replay(HELLO, log, progress=lambda *done: told.append(done)).summary() == expected
    assert looked == [0, 1, 2, 2, 3]
    assert told == [(2, 4), (3, 4), (4, 4)]
    assert jl.replay(other, log).summary()["exits"] == {"gone": 40}
    assert not list((tmp_path / "cache" / ".buckets").iterdir())


def test_what_is_kept_is_of_that_log_and_that_question(tmp_path, monkeypatch):
    monkeypatch.setenv("JOURNEYLAB_CACHE", str(tmp_path / "cache"))
    log = small(tmp_path)

    def stopped(k=1):
        real = BucketedLog.bucket

        def bucket(self, place):
            if place == k:
                raise KeyboardInterrupt
            return real(self, place)

        with monkeypatch.context() as patched:
            patched.setattr(BucketedLog, "bucket", bucket)
            with pytest.raises(KeyboardInterrupt):
                jl.replay(HELLO, log)

    stopped()
    until = pd.Timestamp("2026-02-01T00:00Z").to_pydatetime()
    assert jl.replay(HELLO, log, until=until).n_entries == 0
    os.utime(log.folder / "events" / "bucket-0000.parquet", ns=(0, 0))
    told = []
    jl.replay(HELLO, log, progress=lambda *done: told.append(done))
    assert told[0] == (0, 4)


@pytest.mark.long
def test_a_process_that_ends_is_told_of_and_what_is_done_is_kept(tmp_path, monkeypatch, in_processes):
    monkeypatch.setenv("JOURNEYLAB_CACHE", str(tmp_path / "cache"))
    log = small(tmp_path)
    marker = tmp_path / "once"

    def work(part, k, folder):
        if k == 3 and not marker.exists():
            marker.touch()
            os._exit(9)
        return part.n_contacts

    with pytest.raises(jl.DataError, match="a process ended before its bucket was done"), running.kept(log, "q") as one:
        running.each_bucket(log, work, one, lambda *_: None)
    with running.kept(log, "q") as again:
        assert again == one
        assert sum(running.each_bucket(log, work, again, lambda *_: None)) == 40


# Sums


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=30), st.randoms())
def test_a_sum_is_exact_in_any_order(values, random):
    expected = sum((Fraction(one) for one in values), Fraction(0))
    random.shuffle(values)
    assert exact_sum(np.array(values, np.float64)) == expected


# The command line


def journeylab(*arguments, folder):
    done = subprocess.run(
        [Path(sys.executable).with_name("journeylab"), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.long
def test_the_commands_take_a_log_in_buckets(tmp_path, journey):
    file = datasets.journey_file("trial_welcome")
    given = ["--contacts", SHOP / "contacts.parquet"]
    code, out, _ = journeylab(
        "events", "bucket", SHOP / "events.parquet", "log", *given, "--buckets", 3, "--json", folder=tmp_path
    )
    assert code == 0
    assert (json.loads(out)["n_buckets"], json.loads(out)["n_events"]) == (3, datasets.shop().n_events)
    _, whole, _ = journeylab("replay", file, "--events", SHOP / "events.parquet", *given, "--json", folder=tmp_path)
    code, out, _ = journeylab(
        "replay", file, "--events", "log", "--memory", "1GiB", "--visits", "v.csv", "--json", folder=tmp_path
    )
    assert (code, json.loads(out)) == (0, json.loads(whole))
    assert (tmp_path / "v.csv").read_text().count("\n") == 1 + len(jl.replay(journey, datasets.shop()).visits)
    for arguments, says in [
        (["--events", SHOP / "events.parquet", "--memory", "2GiB"], "journeylab events bucket"),
        (["--events", "log", "--timezone", "UTC"], "a log in buckets was understood when it was written"),
        (["--events", "log", "--memory", "2"], "is no size"),
    ]:
        code, _, err = journeylab("replay", file, *arguments, folder=tmp_path)
        assert (code, "Traceback" in err) == (2, False)
        assert says in err
