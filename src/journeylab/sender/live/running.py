"""What runs: the releases of all journeys with their spans and pauses, as the machine takes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from journeylab.program import Release
from journeylab.sender.sending.timeline import NOBODY, Timeline

if TYPE_CHECKING:
    import pandas as pd

    from journeylab.sendtimes import SendTimes

__all__ = ["Running", "Version"]


@dataclass(frozen=True, eq=False)
class Version:
    """A frozen release as it runs.

    Attributes:
        release_id: its number in the store.
        spans: the same journey version for each span in which it takes entries, with the journey's pauses.
        transactional: the messages that are no marketing, whatever the journey's purpose.
    """

    release_id: int
    spans: tuple[Release, ...]
    transactional: frozenset[str] = frozenset()

    @property
    def journey(self) -> str:
        """The journey's name."""
        return self.spans[0].journey.journey

    @cached_property
    def version(self) -> str:
        """The journey's version."""
        return self.spans[0].journey.version

    def is_open(self, at: datetime) -> bool:
        """Whether it takes entries at an instant, or will."""
        return any(span.until_at is None or span.until_at > at for span in self.spans)


@dataclass(frozen=True, eq=False)
class Running:
    """All releases that ever took entries, and what holds over them.

    Attributes:
        versions: the releases.
        basis: the purposes whose basis is not consent.
        send_times: for `at: best`, by the names under which the releases ask for them.
        scores: tables of scores, likewise.
        timeline: who is told of entries.
    """

    versions: tuple[Version, ...]
    basis: Collection[str] = ()
    send_times: Mapping[str, SendTimes] = field(default_factory=dict)
    scores: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    timeline: Timeline = NOBODY

    def needed(self, at: datetime, entered: Collection[tuple[str, str]]) -> Sequence[Version]:
        """The releases that can matter to contacts who entered some (journey, version): these, and those still open."""
        return [one for one in self.versions if one.is_open(at) or (one.journey, one.version) in entered]

    @cached_property
    def _by_span(self) -> dict[int, Version]:
        return {id(span): one for one in self.versions for span in one.spans}

    def of(self, span: Release) -> Version:
        """The release of one of the spans: two may be of one version, and differ in messages, models or policy."""
        return self._by_span[id(span)]

    def arguments(self) -> dict[str, Any]:
        """What `worlds.prepared` takes beside journeys and log."""
        return {
            "assumed_consent": frozenset(self.basis),
            "send_times": dict(self.send_times) or None,
            "scores": dict(self.scores),
        }
