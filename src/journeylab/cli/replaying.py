"""The command that replays journeys over an event log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
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

    from journeylab.bucketed import BucketedLog
    from journeylab.eventlog import EventLog
    from journeylab.replay import Replay

__all__ = ["Question", "entered_text", "replay"]

_TABLES = (".parquet", ".csv")


@dataclass(frozen=True)
class Question:
    """What is replayed, as the options say."""

    files: Sequence[Path]
    journey: str | None
    until: datetime | None
    match: str
    cap: str | None
    send_times: Sequence[str] | None

    def replayed(self, source: Source) -> Replay:
        """The replay; faults of the journeys and send times are found before the log is read."""
        from journeylab.journey import Policy

        cap = cap_of(self.cap)
        portfolio = read_portfolio(self.files, self.journey)
        send_times = send_times_of(self.send_times)
        policy = portfolio.policy if cap is None else Policy(cap=cap)
        if source.query is not None:
            log: EventLog | BucketedLog = source.read_for(portfolio, self.until, self.match, policy)
        else:
            log = source.opened()
        announce_compiling()
        from journeylab.replay import replay

        with step("replaying") as replaying:
            result = replay(
                portfolio, log, until=self.until, match=self.match, policy=policy, send_times=send_times,
                progress=replaying.progress,
            )  # fmt: skip
            names = counted(len(result.journeys), "journey")
            replaying.done = f"replayed {names}: {counted(result.n_entries, 'entry')}"
        return result


def replay(
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
    match: Match = "1d",
    cap: CapOption = None,
    journey: JourneyName = None,
    send_times: SendTimesFiles = None,
    visits: Annotated[
        Path | None,
        typer.Option("--visits", metavar="OUT.parquet|.csv", help="Write every visit to this table."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="OUT.html", help="Write a page for analysts, with all numbers and no names."),
    ] = None,
    language: Language = "en",
    as_json: AsJson = False,
) -> None:
    """Say what journeys would have seen and done over an event log. Nobody is sent anything.

    Several journeys run together, on the same contacts and under one cap.

    \b
    Examples:
      journeylab replay trial_welcome.yaml --events events.parquet --contacts contacts.parquet
      journeylab replay winback.yaml --events purchases.csv --event purchase --timezone UTC \\
          --columns customer_id=contact,date=occurred_at
      journeylab replay welcome.yaml winback.yaml --cap 3/7d --events events.parquet --html out.html
      journeylab replay welcome.yaml --events events.parquet --send-times opens=opens.parquet
      journeylab replay welcome.yaml --events postgresql://host/shop --query "SELECT * FROM events" --json
      journeylab replay welcome.yaml --events events.buckets --memory 4GiB --visits visits.parquet
    """
    if visits is not None and visits.suffix not in _TABLES:
        raise typer.BadParameter(f"{str(visits)!r} ends in neither .parquet nor .csv", param_hint="--visits")
    source = Source(events, contacts, columns, event, timezone, query, rejects, memory)
    result = Question(files, journey, until, match, cap, send_times).replayed(source)
    if visits is not None:
        with step("writing the visits") as writing:
            n_visits = result.write(visits)
            writing.done = f"wrote {counted(n_visits, 'visit')}: {visits}"
    if html is not None:
        with step("writing the page") as writing:
            result.page(html, language=language)
            writing.done = f"wrote the page: {html}"
    if as_json:
        show_json(_summary(result))
        return
    for line in _lines(result):
        typer.echo(line)
    typer.echo(_next_step(result, files, has_page=html is not None))


def _several(result: Replay) -> dict[str, Any]:
    return {"journeys": [result.summary(one.journey) for one in result.journeys]}


def _summary(result: Replay) -> dict[str, Any]:
    return result.summary() if len(result.journeys) == 1 else _several(result)


def _lines(result: Replay) -> Iterator[str]:
    """What a replay found, for people."""
    names = counted(len(result.journeys), "journey")
    yield f"{names} over {result.log_summary}, until {result.until:%Y-%m-%d %H:%M} UTC"
    for journey in result.journeys:
        summary = result.summary(journey.journey)
        yield ""
        yield f"{journey.journey} ({summary['version']}): {entered_text(summary)}"
        if summary["n_entries"]:
            yield from _branch_lines(result.branches[result.branches["journey"] == journey.journey])
            yield from _exit_lines(summary)
    if result.notes:
        yield ""
        yield from (f"note: {note}" for note in result.notes)
    yield ""


def entered_text(summary: dict[str, Any]) -> str:
    """Who entered, converted and is still inside, in one sentence."""
    from journeylab.drawing import share_text
    from journeylab.visits import wilson_interval

    n_entries, n_contacts = summary["n_entries"], summary["n_contacts"]
    if not n_entries:
        return "nobody entered"
    times = "once each" if n_contacts == n_entries else counted(n_entries, "time")
    parts = [f"{counted(n_contacts, 'contact')} entered {times}"]
    n_goals = sum(n for text, n in summary["exits"].items() if text.startswith("goal:"))
    if n_goals:
        low, high = (share_text(float(bound)) for bound in wilson_interval(n_goals, n_entries))
        parts.append(
            f"{counted(n_goals, 'entry')} converted ({share_text(n_goals / n_entries)}, 95% interval {low} to {high})"
        )
    parts.append(
        f"{summary['still_inside']:,} are still inside" if summary["still_inside"] else "nobody is still inside"
    )
    return ", ".join(parts)


def _branch_lines(branches: pd.DataFrame) -> Iterator[str]:
    """The lines of a table of branches; `skipped` and `failed` only where somebody took them."""
    from journeylab.drawing import share_text

    rows: list[tuple[str, ...]] = []
    node = None
    for row in branches.itertuples():
        is_left = not isinstance(row.branch, str)
        if not row.n_visits and row.branch in ("skipped", "failed"):
            continue
        n_unsure = {"assumed": row.n_assumed, "predicted": row.n_predicted}
        unsure = ", ".join(f"{share_text(n / row.n_visits)} {what}" for what, n in n_unsure.items() if n)
        interval = f"{share_text(row.low)} to {share_text(row.high)}" if row.n_visits else ""
        rows.append(
            (
                "" if row.node == node else row.node,
                "(left the journey)" if is_left else row.branch,
                f"{row.n_visits:,}",
                share_text(row.branch_share),
                interval,
                unsure,
            )
        )
        node = row.node
    yield from table_lines(
        ("node", "branch", "visits", "share", "95% interval", "not in the log"), rows, right="visits share"
    )


def _exit_lines(summary: dict[str, Any]) -> Iterator[str]:
    from journeylab.drawing import share_text

    exits = sorted(summary["exits"].items(), key=lambda item: (-item[1], item[0]))
    inside = [("(still inside)", summary["still_inside"])] if summary["still_inside"] else []
    rows = [(text, f"{n:,}", share_text(n / summary["n_entries"])) for text, n in [*exits, *inside]]
    yield ""
    yield from table_lines(("exit", "entries", "share"), rows, right="entries share")


def _next_step(result: Replay, files: Sequence[Path], *, has_page: bool) -> str:
    """What to do now."""
    if not result.n_entries:
        return "next: look at the trigger, its condition and consent; `journeylab draw FILE` shows how it begins"
    if not has_page:
        return "next: add --html OUT.html for a page, or --visits OUT.parquet; `journeylab report replay` is for others"
    cases = files[0].with_name(f"{files[0].stem}.tests.yaml")
    if cases.exists():
        return f"next: `journeylab test {files[0]}` runs the cases beside the journey; change it, and compare"
    return f"next: change it and replay again; write cases into {cases} (`journeylab test --help` shows one)"
