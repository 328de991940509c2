"""The commands of experiments: experiment plan, analyze and watch."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from journeylab.display import counted

from .experimentscreen import analysis_lines, comparison_lines, plan_lines, watch_lines
from .options import (
    AsJson,
    Columns,
    Contacts,
    Event,
    Language,
    Memory,
    Query,
    RejectsFile,
    SendTimesFiles,
    Timezone,
    Until,
    send_times_of,
)
from .screen import announce_compiling, show_json, step
from .source import Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from journeylab.experiments import Experiment, Metric
    from journeylab.experiments.analysis import Analysis
    from journeylab.experiments.heterogeneity.forwhom import ForWhom
    from journeylab.experiments.unittable import UnitTable

__all__ = ["ExperimentFile", "LogEvents", "Table", "analyzed", "experiment", "read_experiment", "source_of"]

experiment = typer.Typer(
    help="Plan an experiment, find out what it says, and watch it while it runs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _one_of(*names: str) -> Any:
    def parsed(text: str) -> str:
        if text not in names:
            raise typer.BadParameter(f"{text!r} is none of {', '.join(names)}")
        return text

    return parsed


def _ratio(text: str) -> str:
    if text.count("/") != 1 or not all(part.strip() for part in text.split("/")):
        raise typer.BadParameter(f"{text!r} is no ratio; write it as spend/visit")
    return text


def _shares(text: str) -> dict[str, float]:
    """The shares that `control=50%,mail=50%` says."""
    shares = {}
    for part in text.split(","):
        arm, equals, share = part.rpartition("=")
        try:
            shares[arm.strip()] = float(share.strip().removesuffix("%")) / (100 if share.strip().endswith("%") else 1)
        except ValueError:
            equals = ""
        if not (arm.strip() and equals):
            raise typer.BadParameter(f"{part!r} is no share; write control=50%,mail=50%")
    return shares


def _leave_out(given: Mapping[str, Any], why: str) -> None:
    """Refuses options that would do nothing."""
    for name, value in given.items():
        if value:
            raise typer.BadParameter(why, param_hint=name)


def read_experiment(path: Path) -> Experiment:
    from journeylab.experiments import Experiment

    return Experiment.read(path)


def source_of(
    declared: Experiment, events: str | None, table: str | None, contacts: str | None, columns: dict[str, str] | None,
    event: str | None, timezone: str | None, query: str | None, rejects: Path | None,
    memory: str | None = None,
) -> Any:  # fmt: skip
    """The data of a declared experiment: its table's source, or the event log."""
    if declared.is_of_table:
        if table is None:
            raise typer.BadParameter(f"{declared.experiment} is on a table; name it", param_hint="--table")
        return table
    if events is None:
        raise typer.BadParameter(f"{declared.experiment} is on journeys; name the log", param_hint="--events")
    return Source(events, contacts, columns, event, timezone, query, rejects, memory).opened()


def analyzed(
    declared: Experiment, source: Any, until: datetime | None, send_times: Sequence[str] | None, query: str | None,
    past: Sequence[Path],
) -> Analysis:  # fmt: skip
    from journeylab.experiments.analysis import analyze_experiment
    from journeylab.experiments.record import DecisionRecord

    records = [DecisionRecord.read(path) for path in past]

    announce_compiling()
    with step("analysing") as analysing:
        found = analyze_experiment(
            declared, source, until=until, send_times=send_times_of(send_times), query=query, past=records,
            progress=analysing.progress,
        )  # fmt: skip
        analysing.done = f"analysed {counted(found.maturity.n_matured, 'matured unit')}"
    return found


def _plan_of(path: Path, declared: Experiment) -> dict[str, Any]:
    """The declaration in a plan's file; whoever analyses something else is told."""
    from journeylab.experiments.planning import read_declaration

    plan = read_declaration(path)
    if plan["version"] != declared.version:
        typer.echo(
            f"{path} declares version {plan['version']}, and this is {declared.version}: the question was changed "
            "after it was declared, and the record says so",
            err=True,
        )
    return plan


def _for_whom(units: UnitTable, segments: Sequence[str], features: Sequence[str], seed: int) -> ForWhom:
    from journeylab.experiments.heterogeneity.forwhom import for_whom

    if not features:
        return for_whom(units, units.metrics[0], segments=segments)
    with step("learning for whom it works") as learning:
        found = for_whom(
            units, units.metrics[0], segments=segments, features=features, seed=seed, progress=learning.progress
        )
        learning.done = "learned for whom it works"
    return found


def _write(path: Path, page: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    typer.echo(f"wrote {path}", err=True)


ExperimentFile = Annotated[Path, typer.Argument(metavar="FILE", help="The experiment, YAML or JSON.")]
LogEvents = Annotated[
    str | None,
    typer.Option("--events", metavar="FILE|URL", help="The event log, for an experiment on journeys."),
]
Table = Annotated[
    str | None,
    typer.Option("--table", metavar="FILE|URL", help="The table of units, for an experiment on one."),
]
_Seed = Annotated[int, typer.Option("--seed", metavar="N", help="For what is drawn.")]
_Html = Annotated[
    Path | None, typer.Option("--html", metavar="OUT.html", help="Write a page with the pictures and their numbers.")
]


@experiment.command("plan")
def plan(
    file: ExperimentFile,
    events: LogEvents = None,
    table: Table = None,
    contacts: Contacts = None,
    columns: Columns = None,
    event: Event = None,
    timezone: Timezone = None,
    query: Query = None,
    rejects: RejectsFile = None,
    memory: Memory = None,
    until: Until = None,
    send_times: SendTimesFiles = None,
    aa_runs: Annotated[
        int, typer.Option("--aa-runs", metavar="N", min=0, help="How many A/A experiments to run on history.")
    ] = 200,
    seed: _Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="PLAN.json", help="Write the plan and the declaration there, before the start."),
    ] = None,
    html: _Html = None,
    language: Language = "en",
    as_json: AsJson = False,
) -> None:
    """Say what an experiment can find, how long it takes, and how often it would be wrong, from history.

    The journeys are replayed over the log: who would have been exposed, how fast they came, and how their values are
    spread. The plan that is written has the experiment's version and this instant, and `analyze --plan` holds the
    analysis to it.

    \b
    Examples:
      journeylab experiment plan offer_test.yaml --events events.parquet --contacts contacts.parquet
      journeylab experiment plan offer_test.yaml --events events.parquet --out offer_test.plan.json --json
    """
    from journeylab.experiments.planning import plan_experiment

    declared = read_experiment(file)
    source = source_of(declared, events, table, contacts, columns, event, timezone, query, rejects, memory)
    announce_compiling()
    with step("planning") as planning:
        found = plan_experiment(
            declared, source, until=until, send_times=send_times_of(send_times), aa_runs=aa_runs, seed=seed,
            progress=planning.progress,
        )  # fmt: skip
        planning.done = f"planned on {counted(found.n_units, 'unit')} of history"
    if out is not None:
        found.declared(datetime.now(UTC)).write(out)
    if html is not None:
        from journeylab.experimentpage import plan_page

        _write(html, plan_page(found, language=language))
    if as_json:
        show_json({**found.to_dict(), "file": None if out is None else str(out)})
        return
    for line in plan_lines(found):
        typer.echo(line)
    if out is not None:
        typer.echo(f"wrote {out}: version {declared.version}")


@experiment.command("analyze")
def analyze(
    data: Annotated[
        str, typer.Argument(metavar="DATA|FILE", help="A table with one row for each unit, or an experiment's file.")
    ],
    arm: Annotated[str | None, typer.Option("--arm", metavar="COL", help="The column that has the arms.")] = None,
    control: Annotated[
        str | None, typer.Option("--control", metavar="VALUE", help="The arm that the others are held against.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="COL", help="A column whose means are compared; may be given several times."),
    ] = None,
    ratio: Annotated[
        list[str] | None,
        typer.Option("--ratio", parser=_ratio, metavar="COL/COL", help="A ratio of means; may be given several times."),
    ] = None,
    covariate: Annotated[
        list[str] | None,
        typer.Option("--covariate", metavar="COL", help="What was known before and adjusts the metrics."),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", metavar="COL", help="The unit of assignment, where it has several rows.")
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option("--unit", metavar="COL", help="The column that names units, each of which occurs once."),
    ] = None,
    shares: Annotated[
        dict[str, float] | None,
        typer.Option(
            "--shares", parser=_shares, metavar="ARM=SHARE,...", help="The arms' planned shares; else all are equal."
        ),
    ] = None,
    exposed_at: Annotated[
        str | None, typer.Option("--exposed-at", metavar="COL", help="When each unit was exposed.")
    ] = None,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="Intervals that are valid whenever one looks; needs --planned-n.")
    ] = False,
    planned_n: Annotated[
        int | None,
        typer.Option("--planned-n", metavar="N", min=2, help="The units, of all arms together, that are planned."),
    ] = None,
    adjust: Annotated[
        Any,
        typer.Option(
            "--adjust",
            parser=_one_of("cuped", "regression", "none"),
            metavar="HOW",
            help="How covariates adjust: cuped, regression or none.",
        ),
    ] = "cuped",
    correction: Annotated[
        Any,
        typer.Option(
            "--correction",
            parser=_one_of("holm", "fdr_bh", "none"),
            metavar="HOW",
            help="How p values are corrected for each other: holm, fdr_bh or none.",
        ),
    ] = "holm",
    segment: Annotated[
        list[str] | None,
        typer.Option(
            "--segment", metavar="COL", help="For whom the first metric's effect is looked at, declared before."
        ),
    ] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option("--feature", metavar="COL", help="What a rule for whom to treat may look at; several times."),
    ] = None,
    events: LogEvents = None,
    table: Table = None,
    contacts: Contacts = None,
    columns: Columns = None,
    event: Event = None,
    timezone: Timezone = None,
    query: Query = None,
    rejects: RejectsFile = None,
    memory: Memory = None,
    until: Until = None,
    send_times: SendTimesFiles = None,
    plan_file: Annotated[
        Path | None,
        typer.Option("--plan", metavar="PLAN.json", help="What was declared before the start, from `experiment plan`."),
    ] = None,
    past: Annotated[
        list[Path] | None,
        typer.Option(
            "--past", metavar="RECORD.json", help="Records of past experiments, all of them: what effects are like."
        ),
    ] = None,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="OUT.json", help="Write the decision record there.")
    ] = None,
    decide: Annotated[
        str | None, typer.Option("--decide", metavar="ARM", help="For the record: the arm to ship; without it, none.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="WHO", help="For the record: who decides.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="For the record: why.")] = None,
    seed: _Seed = 0,
    html: _Html = None,
    language: Language = "en",
    as_json: AsJson = False,
) -> None:
    """Say what an experiment found, from a table with one row for each unit, or from an experiment's file and its data.

    Where the arms do not have the units that they should, no effect is given; the exit status is 0 all the same: the
    answer is why.

    \b
    Examples:
      journeylab experiment analyze units.csv --arm group --control none --metric visit --metric spend \\
          --ratio spend/visit --covariate history
      journeylab experiment analyze units.parquet --arm group --control none --metric visit \\
          --sequential --planned-n 64000 --json
      journeylab experiment analyze offer_test.yaml --events events.parquet --plan offer_test.plan.json \\
          --record offer_test.record.json --decide discount --by "growth team" --reason "more purchases"
    """
    of_table = {
        "--arm": arm, "--control": control, "--metric": metric, "--ratio": ratio, "--covariate": covariate,
        "--cluster": cluster, "--unit": unit, "--shares": shares, "--exposed-at": exposed_at,
        "--sequential": sequential, "--planned-n": planned_n, "--adjust": adjust != "cuped",
        "--correction": correction != "holm", "--segment": segment, "--feature": feature,
    }  # fmt: skip
    of_file = {
        "--events": events, "--table": table, "--contacts": contacts, "--columns": columns, "--event": event,
        "--rejects": rejects, "--until": until, "--send-times": send_times, "--plan": plan_file, "--past": past,
        "--record": record, "--decide": decide, "--by": by, "--reason": reason,
    }  # fmt: skip
    if Path(data).suffix in (".yaml", ".yml") or (Path(data).suffix == ".json" and (events or table)):
        _leave_out(of_table, "the experiment's file says so already; leave it out")
        if record is None:
            _leave_out({name: of_file[name] for name in ("--decide", "--by", "--reason")}, "it goes with --record")
        elif by is None or reason is None:
            raise typer.BadParameter("a record says who decided and why: --by and --reason", param_hint="--record")
        declared = read_experiment(Path(data))
        source = source_of(declared, events, table, contacts, columns, event, timezone, query, rejects, memory)
        found = analyzed(declared, source, until, send_times, query, past or [])
        plan = None if plan_file is None else _plan_of(plan_file, declared)
        if record is not None:
            found.record(
                decide, by=str(by), reason=str(reason), decided_at=datetime.now(UTC),
                declared_at=None if plan is None else plan["declared_at"],
                declared_version=None if plan is None else plan["version"],
            ).write(record)  # fmt: skip
        if as_json:
            show_json({**found.to_dict(), "declared": plan, "record": None if record is None else str(record)})
        else:
            for line in analysis_lines(found):
                typer.echo(line)
        if html is not None:
            from journeylab.experimentpage import analysis_page

            _write(html, analysis_page(found, language=language))
        return
    _leave_out(of_file, "it goes with an experiment's file, which this is not")
    if arm is None or control is None:
        raise typer.BadParameter("a plain table needs both", param_hint="--arm, --control")
    if not metric and not ratio:
        raise typer.BadParameter("name what is compared, by --metric or --ratio", param_hint="--metric")
    if sequential and planned_n is None:
        raise typer.BadParameter("say how many units are planned, by --planned-n", param_hint="--sequential")
    from journeylab.experiments import Mean, Ratio, Stopping
    from journeylab.experiments.comparison import compare
    from journeylab.experiments.plaintable import read_units

    first, others = (covariate[0], covariate[1:]) if covariate else (None, [])
    metrics: list[Metric] = [
        *(Mean(column, covariate=first) for column in metric or []),
        *(Ratio(columns, covariate=first) for columns in ratio or []),
    ]
    kept = list(dict.fromkeys([*others, *(segment or []), *(feature or [])]))
    with step("reading the table") as reading:
        units = read_units(
            data, arm=arm, control=control, metrics=metrics, cluster=cluster, unit=unit, shares=shares,
            exposed_at=exposed_at, keep=kept, query=query, timezone=timezone,
        )  # fmt: skip
        reading.done = f"read {counted(sum(units.counts().values()), 'unit')}"
    stopping = None
    if planned_n is not None:
        stopping = Stopping(planned_n=planned_n, rule="always_valid" if sequential else "fixed")
    compared = compare(units, stopping=stopping, correction=correction, adjust=adjust, covariates=others)
    who = None if compared.refused else _for_whom(units, segment or [], feature or [], seed)
    if as_json:
        show_json({**compared.to_dict(), **({} if who is None else who.to_dict())})
    else:
        for line in comparison_lines(compared):
            typer.echo(line)
        for line in [] if who is None else who.sentences():
            typer.echo(f"\n{line}")
    if html is not None:
        from journeylab.experimentpage import comparison_page

        _write(html, comparison_page(compared, who, language=language))


@experiment.command("watch")
def watch(
    file: ExperimentFile,
    events: LogEvents = None,
    table: Table = None,
    contacts: Contacts = None,
    columns: Columns = None,
    event: Event = None,
    timezone: Timezone = None,
    query: Query = None,
    rejects: RejectsFile = None,
    memory: Memory = None,
    until: Until = None,
    send_times: SendTimesFiles = None,
    looks: Annotated[int, typer.Option("--looks", metavar="N", min=2, help="How many looks the path has.")] = 40,
    html: _Html = None,
    language: Language = "en",
    as_json: AsJson = False,
) -> None:
    """Show an experiment while it runs: the effect with an interval that holds whenever one looks, and the arms' ratio.

    Alarms (in --json: `alarms`) are a ratio that fails and effects beyond chance; the exit status is 0 all the same.

    \b
    Examples:
      journeylab experiment watch offer_test.yaml --events events.parquet
      journeylab experiment watch offer_test.yaml --events events.parquet --html watch.html --json
    """
    from journeylab.experiments.exposed import exposed_units
    from journeylab.experiments.watching import watch as watched

    declared = read_experiment(file)
    source = source_of(declared, events, table, contacts, columns, event, timezone, query, rejects, memory)
    announce_compiling()
    with step("looking at the units as they came in") as looking:
        exposed = exposed_units(
            declared, source, until=until, send_times=send_times_of(send_times), query=query, progress=looking.progress
        )
        found = watched(
            exposed.units, stopping=declared.stopping, alpha=declared.alpha, looks=looks, progress=looking.progress
        )
        looking.done = f"looked at {counted(sum(exposed.units.counts().values()), 'unit')}"
    if as_json:
        show_json(found.to_dict())
    else:
        for line in watch_lines(found):
            typer.echo(line)
    if html is not None:
        from journeylab.experimentpage import watch_page

        _write(html, watch_page(found, language=language))
