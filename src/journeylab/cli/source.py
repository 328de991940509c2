"""Where a command's event log comes from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from journeylab.display import counted

from .screen import step

if TYPE_CHECKING:
    from journeylab.bucketed import BucketedLog
    from journeylab.eventlog import EventLog
    from journeylab.journey import Policy, Portfolio

__all__ = ["Source", "write_rejects"]


@dataclass(frozen=True)
class Source:
    """Where an event log comes from and how it is understood, as the options say."""

    events: str
    contacts: str | None
    columns: dict[str, str] | None
    event: str | None
    timezone: str | None
    query: str | None
    rejects: Path | None
    memory: str | None = None

    def opened(self) -> EventLog | BucketedLog:
        """The event log, in buckets where it is kept so; for what does not need it in memory."""
        from journeylab.bucketed import BucketedLog

        if not BucketedLog.is_in(self.events):
            if self.memory is not None:
                raise typer.BadParameter(
                    f"a budget is kept with a log in buckets: journeylab events bucket {self.events} FOLDER",
                    param_hint="--memory",
                )
            return self.read()
        given = {
            "--contacts": self.contacts, "--columns": self.columns, "--event": self.event, "--timezone": self.timezone,
            "--query": self.query, "--rejects": self.rejects,
        }  # fmt: skip
        if said := [name for name, value in given.items() if value]:
            raise typer.BadParameter(
                "a log in buckets was understood when it was written; give this to journeylab events bucket",
                param_hint=said[0],
            )
        return BucketedLog.open(self.events, memory=self.memory)

    def read_for(self, portfolio: Portfolio, until: datetime | None, match: str, policy: Policy) -> EventLog:
        """As much of the log in a database as a replay of journeys needs; what was set aside is written and counted."""
        from journeylab.pushdown import read_for

        with step("reading what the journeys need") as reading:
            log = read_for(
                portfolio, self.events, str(self.query), contacts=self.contacts, columns=self.columns, event=self.event,
                timezone=self.timezone, rejects="error" if self.rejects is None else "set_aside", until=until,
                match=match, policy=policy, progress=reading.progress,
            )  # fmt: skip
            reading.done = (
                f"read the {counted(log.n_events, 'event')} of {counted(log.n_contacts, 'contact')} that the journeys "
                "look at"
            )
        write_rejects(log, self.rejects)
        return log

    def read(self) -> EventLog:
        """The event log in memory; what was set aside is written and counted."""
        from journeylab.bucketed import BucketedLog
        from journeylab.eventlog import EventLog

        with step("reading the event log") as reading:
            if BucketedLog.is_in(self.events):
                kept = self.opened()
                log = kept.sample(1) if isinstance(kept, BucketedLog) else kept
            else:
                log = EventLog.read(
                    self.events,
                    contacts=self.contacts,
                    columns=self.columns,
                    event=self.event,
                    timezone=self.timezone,
                    query=self.query,
                    rejects="error" if self.rejects is None else "set_aside",
                    progress=reading.progress,
                )
            reading.done = f"read {counted(log.n_events, 'event')} of {counted(log.n_contacts, 'contact')}"
        write_rejects(log, self.rejects)
        return log


def write_rejects(log: EventLog | BucketedLog, path: Path | None) -> None:
    """Writes what was set aside, and says how much it is."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    log.rejects.to_pandas().to_csv(path, index=False)
    n_rows = len(set(zip(*(log.rejects[name].to_pylist() for name in ("source", "row")), strict=True)))
    typer.echo(f"set aside {counted(n_rows, 'bad row')}: {path}", err=True)
