"""Where a command's event log comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from journeylab.display import counted

from .screen import step

if TYPE_CHECKING:
    from journeylab.eventlog import EventLog

__all__ = ["Source"]


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

    def read(self) -> EventLog:
        """The event log; what was set aside is written and counted."""
        from journeylab.eventlog import EventLog

        with step("reading the event log") as reading:
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
        if self.rejects is not None:
            self.rejects.parent.mkdir(parents=True, exist_ok=True)
            log.rejects.to_pandas().to_csv(self.rejects, index=False)
            n_rows = len(set(zip(*(log.rejects[name].to_pylist() for name in ("source", "row")), strict=True)))
            typer.echo(f"set aside {counted(n_rows, 'bad row')}: {self.rejects}", err=True)
        return log
