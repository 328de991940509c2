"""The commands of send times: sendtime fit, evaluate and show."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from journeylab.display import counted

from .options import AsJson, Columns, Contacts, Event, Events, Language, Query, RejectsFile, Timezone, Until, until_of
from .screen import show_json, step
from .sendtimescreen import fact_lines, facts_of, shown, shown_lines, value_lines
from .source import Source

if TYPE_CHECKING:
    from journeylab.eventlog import EventLog
    from journeylab.sendtime.estimator import SendTimeEstimator
    from journeylab.sendtime.retraining import Challenge
    from journeylab.sendtime.sends import SendTable
    from journeylab.sendtimes import SendTimes

__all__ = ["ContactTimezone", "Converts", "Outcome", "Within", "sends_of", "sendtime"]

sendtime = typer.Typer(
    help="Learn from a log at which hour to send to whom, find out what that is worth, and look at it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_MODELS = {
    "habit": ("habit", "HabitModel"),
    "everyone": ("rules", "BestGlobalHour"),
    "median": ("rules", "MedianOfOpens"),
    "thompson": ("thompson", "ThompsonSlots"),
    "hazard": ("hazard", "HazardModel"),
}
_OUTCOMES = ("clicked", "converted", "opened")


def _model_name(text: str) -> str:
    from journeylab.extensions import found

    names = [*_MODELS, *found("models")]
    if text not in names:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(names)}")
    return text


def _outcome(text: str) -> str:
    if text not in _OUTCOMES:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(_OUTCOMES)}")
    return text


def _estimator(name: str) -> SendTimeEstimator:
    if name not in _MODELS:
        from journeylab.sendtime.own import own_model

        return own_model(name, _MODELS)
    module, kind = _MODELS[name]
    model: SendTimeEstimator = getattr(import_module(f"journeylab.sendtime.{module}"), kind)()
    return model


Outcome = Annotated[
    str | None,
    typer.Option(
        "--outcome",
        parser=_outcome,
        metavar="WHAT",
        help="What counts as an answer: clicked, converted or opened; by default clicks where they are enough.",
    ),
]
Converts = Annotated[
    str | None, typer.Option("--converts", metavar="EVENT", help="The event that a conversion is, such as purchase.")
]
_SegmentOf = Annotated[
    str | None, typer.Option("--segment", metavar="ATTR", help="An attribute of contacts whose values are segments.")
]
Within = Annotated[str, typer.Option("--within", metavar="DURATION", help="How long after a send an answer counts.")]
ContactTimezone = Annotated[
    str,
    typer.Option(
        "--contact-timezone", metavar="ZONE", help="Where contacts live that have no `timezone` of their own."
    ),
]
_MODEL_HELP = (
    "habit: each contact's own hours; everyone: one hour for all; median: that of their opens; thompson: a bandit of "
    "slots; hazard: a time-to-answer model; or one that an installed package brings."
)


@sendtime.command("fit")
def fit(
    events: Events,
    out: Annotated[Path, typer.Option("--out", metavar="TIMES.parquet", help="Write the send times there.")],
    contacts: Contacts = None,
    columns: Columns = None,
    event: Event = None,
    timezone: Timezone = None,
    query: Query = None,
    rejects: RejectsFile = None,
    model: Annotated[str, typer.Option("--model", parser=_model_name, metavar="MODEL", help=_MODEL_HELP)] = "habit",
    outcome: Outcome = None,
    converts: Converts = None,
    segment: _SegmentOf = None,
    within: Within = "14d",
    until: Until = None,
    contact_timezone: ContactTimezone = "UTC",
    assume_causal: Annotated[
        bool,
        typer.Option(
            "--assume-causal", help="Use all curves, whatever the log bears out; the file says that this was assumed."
        ),
    ] = False,
    champion: Annotated[
        Path | None,
        typer.Option(
            "--champion",
            metavar="OLD.parquet",
            help="The send times in use: written again, unless what is fitted now is better on the sends since.",
        ),
    ] = None,
    card: Annotated[
        Path | None, typer.Option("--card", metavar="CARD.md", help="Write the card of what is written there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Learn from a log when to send to whom, say what of it the log bears out, and write a file for `at: best`.

    Only sends at hours that chance drew can tell what another hour would bring. A log without any gets a file in which
    all hours are alike, and says so.

    With --champion, the log has the sends before and since the champion was fitted; both are judged on the latest that
    neither has seen, and the winner is written. Alarms about the champion are printed (in --json: `alarms`); the exit
    status is 0 all the same.

    \b
    Examples:
      journeylab sendtime fit --events events.parquet --contacts contacts.parquet --out times.parquet
      journeylab sendtime fit --events events.parquet --outcome opened --segment country --card card.md \\
          --out times.parquet
      journeylab sendtime fit --events live.parquet --champion times.parquet --out new.parquet --json
    """
    from journeylab.sendtimes import SendTimes

    old = None if champion is None else SendTimes.read(champion)
    if old is not None and outcome is None:
        outcome = old.about.get("outcome")
    log = Source(events, contacts, columns, event, timezone, query, rejects).read()
    sends = sends_of(log, outcome, converts, segment, within, until, contact_timezone)
    estimator = _estimator(model)
    with step(f"fitting {type(estimator).__name__}") as fitting:
        estimator.fit(sends, progress=fitting.progress)
        times = estimator.send_times(assume_causal=assume_causal)
        fitting.done = f"fitted {type(estimator).__name__} to {counted(len(sends), 'send')}"
    challenge = None
    if old is not None:
        from journeylab.sendtime.retraining import challenged

        with step("holding it against the champion") as holding:
            challenge = challenged(old, estimator, sends, assume_causal=assume_causal, progress=holding.progress)
            holding.done = f"held it against the champion from {challenge.held_out_from:%Y-%m-%d} on"
        if not challenge.is_won:
            times = old
    out.parent.mkdir(parents=True, exist_ok=True)
    times.write(out)
    if card is not None:
        _write_card(card, times, estimator, sends, challenge, Path(events).name)
    if as_json:
        show_json({**facts_of(times), "file": str(out), **_challenge_facts(challenge)})
        return
    for line in fact_lines(times):
        typer.echo(line)
    if challenge is not None:
        typer.echo("")
        for line in challenge.watch.sentences():
            typer.echo(line)
    what = "" if challenge is None else " (the challenger)" if challenge.is_won else " (the champion)"
    typer.echo(f"wrote {out}: version {times.version}{what}")


def _challenge_facts(challenge: Challenge | None) -> dict[str, Any]:
    if challenge is None:
        return {"alarms": [], "decision": None}
    found = challenge.watch
    return {
        "alarms": [alarm._asdict() for alarm in found.alarms],
        "decision": found.decision,
        "reason": found.reason,
        "held_out_from": challenge.held_out_from.isoformat(),
        "watch": found.to_dict(),
    }


def _write_card(
    path: Path, times: SendTimes, model: SendTimeEstimator, sends: SendTable, challenge: Challenge | None, data: str
) -> None:
    """The card of what is written, with its value out of time: of the challenge, or by fitting once more."""
    from journeylab.sendtime.evaluation import evaluate_out_of_time
    from journeylab.sendtime.modelcard import card

    with step("evaluating for the card") as evaluating:
        watched = None if challenge is None else challenge.watch
        value = watched.comparison if watched is not None else evaluate_out_of_time(
            sends, {"model": model}, progress=evaluating.progress
        )  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(card(times, value, watched, data), encoding="utf-8")
        evaluating.done = f"wrote the card: {path}"


def sends_of(
    log: EventLog, outcome: str | None, converts: str | None, segment: str | None, within: str,
    until: datetime | None, zone: str,
) -> SendTable:  # fmt: skip
    from journeylab.sendtime.sends import send_table

    if outcome == "converted" and converts is None:
        raise typer.BadParameter("name the event that a conversion is by --converts", param_hint="--outcome")
    return send_table(
        log, outcome=outcome, converts=converts, within=within, segment=segment, until=until, timezone=zone
    )


@sendtime.command("evaluate")
def evaluate(
    events: Events,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE|NAME=FILE]...", help="Send times, by the names they are to have."),
    ] = None,
    contacts: Contacts = None,
    columns: Columns = None,
    event: Event = None,
    timezone: Timezone = None,
    query: Query = None,
    rejects: RejectsFile = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", parser=_model_name, metavar="MODEL", help="Fit this to the log's beginning. " + _MODEL_HELP
        ),
    ] = None,
    share: Annotated[
        float,
        typer.Option("--share", min=0.01, max=0.99, metavar="SHARE", help="Of the sends, that models are fitted to."),
    ] = 0.7,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--since",
            parser=until_of,
            metavar="INSTANT",
            help="Only sends from then on; by default from when the send times were fitted.",
        ),
    ] = None,
    baseline: Annotated[
        str,
        typer.Option(
            "--baseline", metavar="NAME", help="Over whom gains are: a name, or everyone for one hour for all."
        ),
    ] = "everyone",
    slot_hours: Annotated[
        int,
        typer.Option("--slot-hours", min=1, max=3, metavar="N", help="Hours that count as one: less noise, more bias."),
    ] = 1,
    level: Annotated[
        float, typer.Option("--level", min=0.01, max=0.999, metavar="SHARE", help="The level of all intervals.")
    ] = 0.9,
    outcome: Outcome = None,
    converts: Converts = None,
    segment: _SegmentOf = None,
    within: Within = "14d",
    until: Until = None,
    contact_timezone: ContactTimezone = "UTC",
    as_json: AsJson = False,
) -> None:
    """Say what sends at the advised hours would have earned, by those that chance put there, or why nobody can say.

    Give files of send times to judge them on the sends since they were fitted; or models, which are fitted to the log's
    beginning and judged on the rest.

    \b
    Examples:
      journeylab sendtime evaluate times.parquet --events later.parquet
      journeylab sendtime evaluate old=times.parquet new=new.parquet --baseline old --events later.parquet --json
      journeylab sendtime evaluate --model habit --model median --events events.parquet --outcome opened
    """
    if bool(files) == bool(models):
        given = "both are" if files else "neither is"
        raise typer.BadParameter(f"give files or models, {given} given", param_hint="FILE / --model")
    from journeylab.advice import read
    from journeylab.sendtime.evaluation import evaluate as evaluated
    from journeylab.sendtime.evaluation import evaluate_out_of_time

    given_times = {name: read(path) for name, path in _named(files or []).items()}
    outcomes = {one.about["outcome"] for one in given_times.values() if "outcome" in one.about}
    if outcome is None and len(outcomes) == 1:
        [outcome] = outcomes
    log = Source(events, contacts, columns, event, timezone, query, rejects).read()
    sends = sends_of(log, outcome, converts, segment, within, until, contact_timezone)
    with step("evaluating") as evaluating:
        if models:
            arms = {name: _estimator(name) for name in models}
            value = evaluate_out_of_time(
                sends, arms, share=share, baseline=baseline, slot_hours=slot_hours, level=level,
                progress=evaluating.progress,
            )  # fmt: skip
        else:
            fitted_until = [one.about["until"] for one in given_times.values() if "until" in one.about]
            begin = since or (max(map(datetime.fromisoformat, fitted_until)) if fitted_until else None)
            value = evaluated(
                sends, given_times, since=begin, baseline=baseline, slot_hours=slot_hours, level=level,
                progress=evaluating.progress,
            )  # fmt: skip
        evaluating.done = f"evaluated on {counted(value.n_random, 'send')} at drawn hours"
    if as_json:
        show_json(value.to_dict())
        return
    for line in value_lines(value):
        typer.echo(line)


def _named(texts: Sequence[str]) -> dict[str, str]:
    """Files by the names that `NAME=FILE` gives them, or by their own."""
    named: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not (equals and name.isidentifier() and path):
            name, path = Path(text).stem, text
        if name in named:
            raise typer.BadParameter(f"{name!r} is there twice; write NAME=FILE", param_hint="FILE")
        named[name] = path
    return named


@sendtime.command("show")
def show(
    file: Annotated[Path, typer.Argument(metavar="TIMES.parquet", help="Send times.")],
    contact: Annotated[str | None, typer.Option("--contact", metavar="ID", help="The hours of this contact.")] = None,
    segment: Annotated[str | None, typer.Option("--segment", metavar="NAME", help="The hours of this segment.")] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="OUT.html", help="Write one page with all pictures, which names nobody."),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="OUT.svg", help="Draw the hours of the week there.")
    ] = None,
    language: Language = "en",
    events: Annotated[
        str | None,
        typer.Option(
            "--events",
            metavar="FILE|URL",
            help="With --html: a log of later sends, to hold what is predicted against what came.",
        ),
    ] = None,
    contacts: Contacts = None,
    columns: Columns = None,
    event: Event = None,
    timezone: Timezone = None,
    query: Query = None,
    rejects: RejectsFile = None,
    converts: Converts = None,
    within: Within = "14d",
    contact_timezone: ContactTimezone = "UTC",
    as_json: AsJson = False,
) -> None:
    """Show the hours of the week of send times: of everyone, or of a contact or segment.

    In the terminal a shade for each hour, fuller where it is better; + and - mark hours that differ from the mean
    beyond noise. A picture has the same.

    \b
    Examples:
      journeylab sendtime show times.parquet
      journeylab sendtime show times.parquet --contact c-0012
      journeylab sendtime show times.parquet --html times.html --events events.parquet
    """
    if events is not None and html is None:
        raise typer.BadParameter("a log is for the page that --html writes", param_hint="--events")
    from journeylab.advice import read
    from journeylab.sendtimeplots import pseudonym, week_table

    times = read(file)
    if contact is None and segment is None and times.fallback < 0:
        week = None
    else:
        week = week_table(times, contact=contact, segment=segment)
    if svg is not None:
        from journeylab.language import using
        from journeylab.sendtimedrawing import week_svg

        if week is None:
            raise typer.BadParameter("these send times have nothing for everyone; give --contact", param_hint="--svg")
        svg.parent.mkdir(parents=True, exist_ok=True)
        with using(language):
            who = pseudonym(contact) if contact is not None else segment or "everyone"
            svg.write_text(week_svg(week, who, times.about), encoding="utf-8")
        typer.echo(f"drew the hours of the week: {svg}", err=True)
    if html is not None:
        from journeylab.sendtimepage import write_page

        later = reliability = None
        if events is not None:
            log = Source(events, contacts, columns, event, timezone, query, rejects).read()
            later = sends_of(log, times.about.get("outcome"), converts, None, within, None, contact_timezone)
            if "until" in times.about:
                from journeylab.sendtime.watching import watch

                reliability = watch(times, later).reliability
        write_page(times, html, sends=later, reliability=reliability, language=language)
        typer.echo(f"wrote the page: {html}", err=True)
    facts = shown(times, week, contact, segment)
    if as_json:
        show_json(facts)
        return
    for line in shown_lines(times, week, facts):
        typer.echo(line)
