"""An example of every public object, for tests of what all of them have in common.

`EXAMPLES` are functions by class; what they take from each other is made once. What public functions give is here as
much as what the root package names.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

import journeylab as jl
from drawnsends import drawn_sends
from importing import EXPORTS
from journeylab import datasets, experiments, sendtime
from journeylab.shop import Shop


@cache
def log() -> jl.EventLog:
    return datasets.shop()


@cache
def welcome() -> jl.Journey:
    return jl.Journey.read(datasets.journey_file("trial_welcome"))


@cache
def model() -> jl.ResponseModel:
    return jl.fit_responses(log(), converts="purchase", features=['count("sent", "7d")'])


@cache
def replayed() -> jl.Replay:
    return jl.replay(welcome(), log())


@cache
def simulated() -> jl.Simulation:
    return jl.simulate(welcome(), log(), responses=model(), draws=5, override="an example")


@cache
def backtested() -> jl.Backtest:
    return jl.backtest(welcome(), log(), cutoff="2026-04-15", responses=model(), draws=5)


@cache
def imported() -> jl.Imported:
    return jl.import_journeys(EXPORTS / "dittofeed" / "welcome.json", "dittofeed")


@cache
def sends() -> sendtime.SendTable:
    return drawn_sends(3, lambda contact, hour: np.where(hour % 24 == 9, 0.5, 0.2))


@cache
def habit() -> sendtime.SendTimeEstimator:
    return sendtime.HabitModel().fit(sends())


@cache
def valued() -> sendtime.SendTimeValue:
    return sendtime.evaluate_out_of_time(sends(), {"habit": sendtime.HabitModel(), "rule": sendtime.BestGlobalHour()})


@cache
def watched() -> sendtime.Watch:
    from journeylab.sendtime.evaluation import known_by

    cut = int(np.quantile(sends().at, 0.5))
    return sendtime.watch(sendtime.HabitModel().fit(known_by(sends(), cut)).send_times(), sends())


@cache
def decisions() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    sent = rng.choice(["short", "long"], size=2000, p=[0.8, 0.2])
    return pd.DataFrame(
        {"sent": sent, "chance": np.where(sent == "long", 0.2, 0.8), "plan": "long", "spend": rng.normal(size=2000),
         "bought": rng.random(2000) < np.where(sent == "long", 0.15, 0.10)}
    )  # fmt: skip


def value_of(table: pd.DataFrame | None = None, **options: Any) -> jl.PolicyValue:
    table = decisions() if table is None else table
    return jl.policy_value(table, action="sent", reward="bought", target="plan", **options)


@cache
def propensities() -> Any:
    return jl.estimate_propensities(decisions(), action="sent", context=["spend"])


@cache
def frequency() -> jl.MailFrequency:
    nodes: dict[str, Any] = {"volume": jl.Split(split={"mail_1": "50%", "mail_3": "50%"})}
    for often, pause in ((1, "170h"), (3, "57h")):
        nodes[f"mail_{often}"] = jl.Send(send="news", next=f"pause_{often}")
        nodes[f"pause_{often}"] = jl.Wait(wait=pause, next=f"mail_{often}")
    journey = jl.Journey(journey="news", trigger=jl.Trigger(event="signup"), nodes=nodes)
    volumes = Shop(600, seed=3, fatigue=0.4).run(journey).log
    return jl.mail_frequency(volumes, outcome="opened", within="2d", randomised=True)


SEGMENT = jl.Segment(
    weights=[{"when": 'since("visit") > "30d"', "weight": 2.0}, {"when": 'did("opened", "60d")', "weight": -1.5}],
    bias=-2,
)


@cache
def fitted_segment() -> Any:
    return jl.fit(SEGMENT, log(), outcome="purchase", as_of="2026-03-15T00:00:00+00:00", within="21d")


@cache
def trial() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    n = 3_000
    at = pd.Timestamp("2026-03-02", tz="UTC") + pd.to_timedelta(np.arange(n), unit="m")
    city, arm = rng.choice(["Gdynia", "Lublin"], n), rng.choice(["mail", "none"], n)
    lifted = (city == "Gdynia") & (arm == "mail")
    return pd.DataFrame(
        {"arm": arm, "city": city, "at": at, "visit": rng.random(n) < np.where(lifted, 0.3, 0.15),
         "complaint": rng.random(n) < 0.01, "spend": rng.exponential(size=n)}
    )  # fmt: skip


@cache
def experiment() -> jl.Experiment:
    return jl.Experiment.of_table(
        "arm", experiment="spring", question="Does a mail bring visits?", control="none",
        primary=experiments.Proportion("visit"), secondary=[experiments.Revenue("spend")],
        guardrails=[experiments.Guardrail(experiments.Proportion("complaint", better="lower"), margin=0.02)],
        exposed_at="at", shares={"mail": "50%", "none": "50%"}, segments=["city"], features=["city"],
        stopping=experiments.Stopping(planned_n=3000),
    )  # fmt: skip


@cache
def analysis() -> experiments.Analysis:
    return experiment().analyze(trial())


@cache
def units() -> experiments.UnitTable:
    return experiments.read_units(trial(), arm="arm", control="none", metrics=[experiments.Proportion("visit")])


@cache
def journey_analysis() -> Any:
    """What an experiment on a split finds, with all checks."""
    from journeylab.experiments.analysis import analyze_experiment

    split = jl.Experiment.of_split(
        datasets.shop_history().one("akacja_welcome"), "hour", experiment="hour", control="hello", window="14d",
        primary=experiments.Proportion("purchase"), stopping=experiments.Stopping(planned_n=2000),
    )  # fmt: skip
    return analyze_experiment(split, log())


@cache
def exposures() -> Any:
    from journeylab.experiments.exposure.exposures import split_exposures

    return split_exposures(replayed(), "offer")


def split_batches() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    split = experiments.ThompsonSplit(["plain", "discount"], salt="a")
    parts = []
    for batch in range(3):
        rows = split.assign(range(batch * 300, (batch + 1) * 300))
        rows["outcome"] = (rng.random(300) < np.where(rows["arm"] == "plain", 0.1, 0.2)).astype(int)
        split.update({arm: one["outcome"] for arm, one in rows.groupby("arm")})
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def looks() -> Any:
    from journeylab.experiments.looks.sequential import group_sequential

    return group_sequential([0.5, 1.0], [0.03, 0.04], [0.02, 0.012])


def release() -> Any:
    return jl.Release(journey=welcome(), from_at=datetime(2026, 3, 1, tzinfo=UTC))


def changes() -> list[Any]:
    other = welcome().model_copy(update={"purpose": "service"})
    return jl.diff(welcome(), other)


def own_model() -> sendtime.SendTimeEstimator:
    from sklearn.linear_model import LogisticRegression

    return sendtime.FromClassifier(LogisticRegression())


def early_times() -> Any:
    from journeylab.sendtime.evaluation import known_by

    return sendtime.BestGlobalHour().fit(known_by(sends(), int(np.quantile(sends().at, 0.4)))).send_times()


def recruiting() -> Any:
    from journeylab.experiments.sizing.recruiting import duration

    return duration(3000, 400.0, "14d")


@cache
def bucketed_log() -> jl.BucketedLog:
    with TemporaryDirectory() as folder:
        rows = [{"contact": n, "event": "visit", "occurred_at": "2026-03-01T09:00:00Z"} for n in range(5)]
        return jl.bucket_log(rows, f"{folder}/log", n_buckets=2)


EXAMPLES: dict[str, Callable[[], Any]] = {
    # definitions
    "Send": lambda: jl.Send(send="welcome_1", at="best", expires="2d", next="read"),
    "Wait": lambda: jl.Wait(wait="4d", next="nudge"),
    "WaitUntil": lambda: jl.WaitUntil(wait_until={"date": "trial_ends_on", "offset": "-1d"}, next="done"),
    "WaitFor": lambda: jl.WaitFor(wait_for="opened(hello)", within="3d", then="offer", otherwise="pause"),
    "Decide": lambda: jl.Decide(decide=[{"if": 'count("purchase", "90d") >= 2', "go": "vip"}], otherwise="done"),
    "Split": lambda: jl.Split(split={"discount": "40%", "free_month": "40%", "plain": "20%"}),
    "Run": lambda: jl.Run(run="vip_care", next="done"),
    "Set": lambda: jl.Set(set={"is_keen": "true"}, next="done"),
    "Emit": lambda: jl.Emit(emit={"event": "lead", "with": {"source": "mail"}}, next="done"),
    "Call": lambda: jl.Call(call="scoring", next="done", failed="pause"),
    "Exit": lambda: jl.Exit(exit="finished"),
    "ExitWhen": lambda: jl.ExitWhen(event="purchase", goal=True),
    "Trigger": lambda: jl.Trigger(event="signup", where='plan == "trial" and country in ["PL", "DE"]'),
    "QuietHours": lambda: jl.QuietHours(start="21:00", end="08:00"),
    "Cap": lambda: jl.Cap(sends=3, within="7d"),
    "Window": lambda: jl.Window(between=("09:00", "17:00"), days=("mon", "tue")),
    "Best": lambda: jl.Best(best="hours", explore="5%"),
    "Segment": lambda: SEGMENT,
    "Policy": lambda: jl.Policy(cap=jl.Cap(sends=3, within="7d"), holdout="5%"),
    "Portfolio": datasets.shop_history,
    "Journey": welcome,
    "Release": release,
    "Condition": lambda: jl.condition('count("purchase", "30d", where="amount < 50") >= 2'),
    "Change": lambda: changes()[0],
    # logs and worlds
    "EventLog": log,
    "BucketedLog": bucketed_log,
    "Replay": replayed,
    "Simulation": simulated,
    "Backtest": backtested,
    "ResponseModel": model,
    "SupportMap": lambda: jl.support_map(welcome(), log()),
    "FittedSegment": fitted_segment,
    "ResultTables": lambda: replayed().tables,
    "Shop": lambda: Shop(300, seed=3),
    "ShopRun": lambda: Shop(300, seed=3).run(welcome()),
    # other systems
    "Imported": imported,
    "Losses": lambda: imported().losses,
    "Exported": lambda: jl.export_journey(imported().journeys[0], "dittofeed"),
    "ImportedEvents": lambda: jl.import_events(
        "warehouse",
        [{"contact": "ada", "event": "signup", "occurred_at": "2026-03-01T09:00:00Z", "id": "s-1", "plan": "trial"}],
    ),
    # send times
    "SendTimes": lambda: habit().send_times(),
    "SendTable": sends,
    "HabitModel": habit,
    "BestGlobalHour": sendtime.BestGlobalHour,
    "MedianOfOpens": sendtime.MedianOfOpens,
    "ThompsonSlots": lambda: sendtime.ThompsonSlots().fit(sends()),
    "HazardModel": sendtime.HazardModel,
    "FromClassifier": own_model,
    "HourScores": lambda: habit().scores(),
    "SendTimeValue": valued,
    "sendtime.Watch": watched,
    "Challenge": lambda: sendtime.challenged(early_times(), sendtime.BestGlobalHour(), sends()),
    # policies and volumes
    "PolicyValue": lambda: value_of(propensity="chance", context=["spend"]),
    "PolicyValue refused": lambda: value_of(propensity="chance", table=decisions().assign(plan="leaflet")),
    "PolicyValue estimated": lambda: value_of(propensity=propensities()),
    "EstimatedPropensities": propensities,
    "MailFrequency": frequency,
    # experiments
    "Experiment": experiment,
    "Stopping": lambda: experiments.Stopping(planned_n=3000, rule="group_sequential", looks=4),
    "Mean": lambda: experiments.Mean("spend"),
    "Proportion": lambda: experiments.Proportion("visit", covariate="before"),
    "Count": lambda: experiments.Count("visit"),
    "Revenue": lambda: experiments.Revenue("purchase.amount"),
    "Ratio": lambda: experiments.Ratio("spend / visit"),
    "Quantile": lambda: experiments.Quantile("spend", at=0.9),
    "TimeToEvent": lambda: experiments.TimeToEvent("purchase"),
    "Guardrail": lambda: experiment().guardrails[0],
    "Plan": lambda: experiment().plan(trial(), aa_runs=5),
    "Analysis": analysis,
    "Analysis of a journey": journey_analysis,
    "experiments.Watch": lambda: experiment().watch(trial(), looks=5),
    "DecisionRecord": lambda: analysis().record(
        "mail", by="the team", reason="It brings visits.", decided_at=datetime(2026, 5, 1, tzinfo=UTC)
    ),
    "Comparison": lambda: analysis().primary,
    "Effect": lambda: analysis().primary.effects[0],
    "GuardrailResult": lambda: analysis().guardrails[0],
    "Verdict": lambda: analysis().verdicts[0],
    "Maturity": lambda: analysis().maturity,
    "ForWhom": lambda: analysis().who,
    "ShrunkenEffect": lambda: analysis().shrunken["mail"],
    "SubgroupEffects": lambda: next(iter(analysis().who.segments.values())),
    "JudgedRanking": lambda: analysis().who.rankings["mail"],
    "Rate": lambda: analysis().who.rankings["mail"].autoc,
    "Recommendation": lambda: analysis().who.recommendation,
    "SampleRatio": lambda: experiments.SampleRatio.from_counts({"a": 5200, "b": 4800}, {"a": 0.5, "b": 0.5}),
    "UnitTable": units,
    "OutcomeTable": lambda: journey_analysis().units,
    "UpliftModel": lambda: experiments.UpliftModel("t").fit(
        trial(), features=["city"], treated="mail", control="none", outcome="visit"
    ),
    "Exposures": exposures,
    "CalendarBalance": lambda: journey_analysis().checks["calendar"],
    "Overlap": lambda: journey_analysis().checks["overlap"],
    "MachineCheck": lambda: journey_analysis().checks["machines"],
    "Novelty": lambda: journey_analysis().checks["novelty"],
    "Baseline": lambda: experiments.Baseline.of_proportion(0.1),
    "Design": experiments.Design,
    "Planned": lambda: experiments.units_needed(experiments.Baseline.of_proportion(0.1), 0.02),
    "Recruiting": lambda: recruiting(),
    "GroupSequential": looks,
    "Look": lambda: looks().looks[0],
    "ThompsonSplit": lambda: experiments.ThompsonSplit(["plain", "discount"], salt="welcome/offer"),
    "AdaptiveMeans": lambda: experiments.adaptive_means(split_batches(), control="plain"),
    "SplitComparison": lambda: experiments.compare_splits(
        {"plain": 0.1, "discount": 0.15}, control="plain", n_units=4000, n_runs=20
    ),
}
