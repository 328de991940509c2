"""What runs: the releases of all journeys with their spans and pauses, as the machine takes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from journeylab.journey import Policy
from journeylab.program import Release

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
        policy: the caps and the holdout over all journeys.
        basis: the purposes whose basis is not consent.
        send_times: for `at: best`, by the names that journeys have for them.
        scores: tables of scores by name.
    """

    versions: tuple[Version, ...]
    policy: Policy = field(default_factory=Policy)
    basis: Collection[str] = ()
    send_times: Mapping[str, SendTimes] = field(default_factory=dict)
    scores: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def needed(self, at: datetime, entered: Collection[tuple[str, str]]) -> Sequence[Version]:
        """The releases that can matter to contacts who entered some (journey, version): these, and those still open."""
        return [one for one in self.versions if one.is_open(at) or (one.journey, one.version) in entered]

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], Version]:
        return {(one.journey, one.version): one for one in self.versions}

    def of(self, journey: str, version: str) -> Version:
        """The release of a journey's version; of several the last."""
        return self._by_name[journey, version]

    def arguments(self) -> dict[str, Any]:
        """What `worlds.prepared` takes beside journeys and log."""
        return {
            "policy": self.policy,
            "assumed_consent": frozenset(self.basis),
            "send_times": dict(self.send_times) or None,
            "scores": dict(self.scores),
        }
