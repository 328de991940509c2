"""The commands that ask a response model: simulate and backtest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from journeylab.display import counted

from .definitions import read_portfolio
from .options import (
    AsJson,
    CapOption,
    Columns,
    Contacts,
    Event,
    Events,
    Files,
    JourneyName,
    Language,
    Match,
    Memory,
    Query,
    RejectsFile,
    SendTimesFiles,
    Timezone,
    Until,
    cap_of,
    send_times_of,
)  # fmt: skip
from .screen import announce_compiling, show_json, step, table_lines
from .source import Source

if TYPE_CHECKING:
    import pandas as pd

    from journeylab.backtest import Backtest
    from journeylab.bucketed import BucketedLog
    from journeylab.eventlog import EventLog
    from journeylab.journey import Journey, Policy, Portfolio
    from journeylab.responses import Responses
    from journeylab.simulation import Simulation

__all__ = [
    "Converts", "Draws", "Level", "Like", "Model", "Override", "Replaces", "Seed", "Within", "backtest", "backtested",
    "fitted", "policy_of", "simulate", "simulated",
]  # fmt: skip

Draws = Annotated[int, typer.Option("--draws", min=2, metavar="N", help="How many times the model answers.")]
Level = Annotated[
    float, typer.Option("--level", min=0.01, max=0.999, metavar="SHARE", help="The level of prediction intervals.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Decides the draws.")]
Converts = Annotated[
    str | None,
    typer.Option("--converts", metavar="EVENT", help="The event that a conversion is; by default the journeys' goal."),
]
Within = Annotated[
    str, typer.Option("--within", metavar="DURATION", help="How long after a send its responses are looked for.")
]

Model = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="A response model that an installed package brings; by default ours."),
]


def _like(text: str) -> dict[str, str]:
    """The mapping that `new=old,other=old` says."""
    mapping: dict[str, str] = {}
    for part in text.split(","):
        ours, equals, theirs = part.partition("=")
        if not (ours.strip() and equals and theirs.strip()):
            raise typer.BadParameter(f"{part!r} says nothing; write NEW_MESSAGE=KNOWN_MESSAGE,...")
        mapping[ours.strip()] = theirs.strip()
    return mapping


Replaces = Annotated[
    list[str] | None,
    typer.Option("--replaces", metavar="MESSAGE", help="A message of the log that the journeys take the place of."),
]
Like = Annotated[
    dict[str, str] | None,
    typer.Option(
        "--like",
        parser=_like,
        metavar="NEW=KNOWN,...",
        help="For messages that were never sent, the ones whose responses they are assumed to have.",
    ),
]
Override = Annotated[
    str | None,
    typer.Option("--override", metavar="WHY", help="Use a model that does not reproduce the log's own rates; printed."),
]


def simulate(
    files: Files,
    events: Events,
    contacts: Contacts = None,
    columns: Columns = None,
    event: Event = None,
    timezone: Timezone = None,
    query: Query = None,
    rejects: RejectsFile = None,
    memory: Memory = None,
    until: Until = None,
    match: Match = "1h",
    cap: CapOption = None,
    journey: JourneyName = None,
    send_times: SendTimesFiles = None,
    draws: Draws = 200,
    level: Level = 0.9,
    seed: Seed = 0,
    converts: Converts = None,
    within: Within = "7d",
    replaces: Replaces = None,
    like: Like = None,
    override: Override = None,
    model: Model = None,
    card: Annotated[
        Path | None, typer.Option("--card", metavar="OUT.md", help="Write the response model's card there.")
    ] = None,
    support: Annotated[
        Path | None,
        typer.Option("--support", metavar="OUT.svg", help="Draw what the log can tell of each branch there."),
    ] = None,
    language: Language = "en",
    as_json: AsJson = False,
) -> None:
    """Say what journeys would have done, with a model answering the sends that the log does not have.

    Each figure has a prediction interval, and says how much of it is on record.

    \b
    Examples:
      journeylab simulate trial_welcome.yaml --events events.parquet --contacts contacts.parquet
      journeylab simulate welcome.yaml --events events.parquet --draws 500 --level 0.95 --json
      journeylab simulate welcome.yaml --events events.parquet --like welcome_2=welcome_1
    """
    portfolio = read_portfolio(files, journey)
    hours, policy = send_times_of(send_times), policy_of(portfolio, cap)
    log = Source(events, contacts, columns, event, timezone, query, rejects, memory).opened()
    announce_compiling()
    from journeylab.worlds import goal_of

    if support is not None:
        if len(portfolio.journeys) > 1:
            raise typer.BadParameter(
                "a support map is of one journey; choose it with --journey", param_hint="--support"
            )
        _draw_support(portfolio.journeys[0], log, match, support, language)
    if card is not None and model is not None:
        raise typer.BadParameter("only our own response models write a card; leave out --model", param_hint="--card")
    answers = fitted(log, converts or goal_of(portfolio.journeys), within, seed, model)
    if card is not None:
        card.parent.mkdir(parents=True, exist_ok=True)
        card.write_text(answers.card(), encoding="utf-8")  # type: ignore[attr-defined]
        typer.echo(f"wrote the model card: {card}", err=True)
    result = simulated(
        portfolio, log, responses=answers, draws=draws, level=level, rng=seed, until=until, match=match, policy=policy,
        replaces=replaces, like=like, override=override, send_times=hours,
    )  # fmt: skip
    if as_json:
        several = [result.summary(one.journey) for one in result.journeys]
        show_json(several[0] if len(several) == 1 else {"journeys": several})
        return
    for line in _simulated_lines(result):
        typer.echo(line)


def backtest(
    files: Files,
    events: Events,
    cutoff: Annotated[
        str, typer.Option("--cutoff", metavar="INSTANT", help="The model knows nothing later: 2026-03-01.")
    ],
    contacts: Contacts = None,
    columns: Columns = None,
    event: Event = None,
    timezone: Timezone = None,
    query: Query = None,
    rejects: RejectsFile = None,
    memory: Memory = None,
    match: Match = "1d",
    cap: CapOption = None,
    journey: JourneyName = None,
    send_times: SendTimesFiles = None,
    draws: Draws = 200,
    level: Level = 0.9,
    seed: Seed = 0,
    converts: Converts = None,
    within: Within = "7d",
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Hold a model's predictions of a journey that really ran against what came after a cutoff.

    Every node gets a verdict: calibrated, biased or unknowable, and why.

    \b
    Examples:
      journeylab backtest trial_welcome.yaml --events events.parquet --contacts contacts.parquet --cutoff 2026-04-15
      journeylab backtest welcome.yaml --events events.parquet --cutoff 2026-04-15 --json
    """
    source = Source(events, contacts, columns, event, timezone, query, rejects, memory)
    result = backtested(
        files, source, journey, cap, send_times, model, cutoff=cutoff, converts=converts, within=within, draws=draws,
        level=level, rng=seed, match=match,
    )  # fmt: skip
    if as_json:
        show_json(result.summary())
        return
    for line in _backtest_lines(result):
        typer.echo(line)


def policy_of(portfolio: Portfolio, cap: str | None) -> Policy:
    """What holds over all journeys: the cap of the option, else the portfolio's own policy."""
    from journeylab.journey import Policy

    given = cap_of(cap)
    return portfolio.policy if given is None else Policy(cap=given)


def simulated(portfolio: Portfolio, log: EventLog | BucketedLog, **given: Any) -> Simulation:
    """The simulation, with its progress on the screen."""
    from journeylab.simulate import simulate as run

    with step("simulating") as simulating:
        result = run(portfolio, log, progress=simulating.progress, **given)
        simulating.done = f"simulated {counted(result.draws, 'draw')} of {counted(result.n_entries, 'entry')}"
    return result


def backtested(
    files: Sequence[Path],
    source: Source,
    journey: str | None,
    cap: str | None,
    send_times: Sequence[str] | None,
    model: str | None,
    **given: Any,
) -> Backtest:
    """The backtest of the one journey of the files, with its progress on the screen."""
    portfolio = read_portfolio(files, journey)
    if len(portfolio.journeys) > 1:
        names = ", ".join(one.journey for one in portfolio.journeys)
        raise typer.BadParameter(f"a backtest is of one journey; choose one of {names}", param_hint="--journey")
    hours = send_times_of(send_times)
    from journeylab.responses import own_fit

    responses = None if model is None else own_fit(model)
    log = source.opened()
    announce_compiling()
    from journeylab.backtest import backtest as run

    with step("predicting what came") as predicting:
        result = run(
            portfolio.journeys[0], log, responses=responses, policy=policy_of(portfolio, cap), send_times=hours,
            progress=predicting.progress, **given,
        )  # fmt: skip
        predicting.done = f"predicted {counted(result.n_entries, 'entry')}"
    return result


def _draw_support(journey: Journey, log: EventLog | BucketedLog, match: str, path: Path, language: str) -> None:
    from journeylab.bucketed import BucketedLog
    from journeylab.language import using
    from journeylab.supportmap import support_map

    if isinstance(log, BucketedLog):
        log = log.sample(1)
    found = support_map(journey, log, match=match)
    path.parent.mkdir(parents=True, exist_ok=True)
    with using(language):
        path.write_text(found.draw(), encoding="utf-8")
    typer.echo(f"drew the support map: {path}", err=True)


def fitted(log: EventLog | BucketedLog, converts: str | None, within: str, seed: int, model: str | None) -> Responses:
    """The response model, ours or an installed package's, with its progress on the screen."""
    from journeylab.bucketed import BucketedLog
    from journeylab.responses import fit_responses, own_fit

    fit = fit_responses if model is None else own_fit(model)
    with step("fitting the response models") as fitting:
        if isinstance(log, BucketedLog):
            share = log.share_in_memory()
            if share < 1:
                typer.echo(
                    f"the response models are fitted to {share:.3g} of the contacts, for more than that do not "
                    "fit into half of the memory",
                    err=True,
                )
            log = log.largest_sample()
        made = fit(log, converts=converts, within=within, rng=seed, progress=fitting.progress)
        fitting.done = f"fitted {counted(len(made.responses), 'response')}"
        if n_sends := getattr(made, "n_sends", None):
            fitting.done += f" to {counted(n_sends, 'send')}"
    return made


def _simulated_lines(result: Simulation) -> Iterator[str]:
    """What a simulation found, for people."""
    yield (
        f"{counted(result.draws, 'draw')} over {counted(result.log.n_events, 'event')} of "
        f"{counted(result.log.n_contacts, 'contact')}, until {result.until:%Y-%m-%d %H:%M} UTC"
    )
    for journey in result.journeys:
        yield ""
        yield f"{journey.journey} ({journey.version})"
        yield from _branch_lines(result, result.branches[result.branches["journey"] == journey.journey])
        yield ""
        yield from _outcome_lines(result, result.outcomes[result.outcomes["journey"] == journey.journey])
    yield ""
    yield from (f"note: {note.replace('replaces=[…]', '--replaces MESSAGE')}" for note in result.notes)


def _interval(low: float, high: float) -> str:
    from journeylab.drawing import share_text

    return "" if low != low else f"{share_text(low)} to {share_text(high)}"


def _share(value: float) -> str:
    from journeylab.drawing import share_text

    return "" if value != value else share_text(value)


def _branch_lines(result: Simulation, branches: pd.DataFrame) -> Iterator[str]:
    rows, node = [], None
    for row in branches.itertuples():
        if not row.n_visits_high and row.branch in ("skipped", "failed"):
            continue
        rows.append(
            (
                "" if row.node == node else row.node,
                row.branch if isinstance(row.branch, str) else "(left the journey)",
                f"{row.n_visits:,.0f}",
                _share(row.branch_share),
                _interval(row.branch_share_low, row.branch_share_high),
                _share(row.observed_share),
                _share(row.naive_share),
            )
        )
        node = row.node
    head = ("node", "branch", "visits", "share", f"{result.level:.0%} interval", "on record", "naive")
    yield from table_lines(head, rows, right="visits share naive")


def _outcome_lines(result: Simulation, outcomes: pd.DataFrame) -> Iterator[str]:
    rows = [
        (
            row.exit if isinstance(row.exit, str) else "(still inside)",
            f"{row.n_entries:,.0f}",
            f"{row.n_entries_low:,.0f} to {row.n_entries_high:,.0f}",
            _share(row.entry_share),
            _interval(row.entry_share_low, row.entry_share_high),
        )
        for row in outcomes.sort_values("n_entries", ascending=False).itertuples()
    ]
    interval = f"{result.level:.0%} interval"
    yield from table_lines(("exit", "entries", interval, "share", " " + interval), rows, right="entries share")


def _backtest_lines(result: Backtest) -> Iterator[str]:
    """What a backtest found, for people."""
    level = f"{result.predicted.level:.0%} interval"
    yield (
        f"{result.journey.journey} ({result.journey.version}): {counted(result.n_entries, 'entry')} from "
        f"{result.cutoff:%Y-%m-%d %H:%M} UTC on, predicted from before, against what came"
    )
    yield ""
    verdict = {row.node: row.verdict for row in result.nodes.itertuples()}
    rows: list[tuple[Any, ...]] = []
    node = None
    for row in result.branches.itertuples():
        if not row.n_came and not (row.high or 0) > 0:
            continue
        rows.append(
            (
                "" if row.node == node else row.node,
                row.branch if isinstance(row.branch, str) else "(left the journey)",
                f"{row.n_came:,}",
                _share(row.came_share),
                _share(row.predicted_share),
                _interval(row.low, row.high),
                "" if row.node == node else verdict[row.node],
            )
        )
        node = row.node
    yield from table_lines(
        ("node", "branch", "visits", "came", "predicted", level, "verdict"), rows, right="visits came predicted"
    )
    yield ""
    exits = [
        (
            row.exit if isinstance(row.exit, str) else "(still inside)",
            f"{row.n_came:,}",
            _share(row.came_share),
            _share(row.predicted_share),
            _interval(row.low, row.high),
            row.verdict,
        )
        for row in result.outcomes.sort_values("n_came", ascending=False).itertuples()
    ]
    yield from table_lines(
        ("exit", "entries", "came", "predicted", level, "verdict"), exits, right="entries came predicted"
    )
    yield ""
    for row in (*result.nodes.itertuples(), *result.outcomes.itertuples()):
        if isinstance(row.why, str):
            yield f"{row.verdict}: {getattr(row, 'node', None) or getattr(row, 'exit', None)}: {row.why}"
    if result.failures:
        yield "The model does not reproduce what came: scenarios with it need --override WHY, which is printed."
