"""The forecast of a release: where its contacts will go, with intervals that a live share may be held against.

A simulation's interval is of the log that it ran over. What is to hold for contacts who come later needs more: the log
itself was a sample, and what was still open at its end is not known. Both make the intervals here wider; nothing makes
them narrower. The shares of a split are known, and have no interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from journeylab.errors import DataError
from journeylab.graph import Place, edges_of, places, reachable
from journeylab.journey import CONTACT, Journey, Run, Split
from journeylab.jsontext import data_of

from .frozen import sends_of

if TYPE_CHECKING:
    import pandas as pd

    from journeylab.eventlog import EventLog
    from journeylab.simulation import Simulation

__all__ = ["EXITS", "Expected", "Forecast"]

Kind = Literal["branch", "exit", "response"]
EXITS: Final = "(exits)"
"""What stands for a node where the outcome is an exit of the entry."""
WITHIN: Final = "7d"
"""How long after a send its opens and clicks are looked for."""


@dataclass(frozen=True, slots=True)
class Expected:
    """One figure: the share of `outcome` among what ended at a node, and where it is expected to lie.

    Attributes:
        kind: `branch` (of a node's visits), `exit` (of entries) or `response` (of sends of a message).
        node: the node's name in visits; `(exits)`; or the message.
        outcome: the branch, the exit, or `opened` and `clicked`.
        share, low, high: 0..1.
        is_goal: whether it is an exit by which the entry has converted.
    """

    kind: Kind
    node: str
    outcome: str
    share: float
    low: float
    high: float
    is_goal: bool = False


@dataclass(frozen=True, repr=False)
class Forecast:
    """What is expected of a release.

    Attributes:
        journey, version: of which it speaks.
        level: of the intervals.
        n_entries: how many entries it rests on.
        expected: the figures that are watched, each contact counted once for each node.
        unwatched: the nodes that are not, and why, as sentences.
        notes: what it rests on, as the simulation says it.
    """

    journey: str
    version: str
    level: float
    n_entries: float
    expected: tuple[Expected, ...]
    unwatched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Forecast({self.journey} {self.version}: {len(self.expected)} shares at level {self.level:g})"

    @property
    def table(self) -> pd.DataFrame:
        """The figures, a row each: `kind, node, outcome` (text), `share, low, high` (0..1), `is_goal` (bool)."""
        import pandas as pd

        columns = [*Expected.__dataclass_fields__]
        return pd.DataFrame([asdict(one) for one in self.expected], columns=columns)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, as a release keeps it."""
        expected = [asdict(one) for one in self.expected]
        return {**asdict(self), "expected": expected, "unwatched": [*self.unwatched], "notes": [*self.notes]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Forecast:
        """The forecast of which `to_dict` made `data`."""
        expected = tuple(Expected(**one) for one in data["expected"])
        return cls(**{**data, "expected": expected, "unwatched": (*data["unwatched"],), "notes": (*data["notes"],)})

    @classmethod
    def of(cls, simulation: Simulation, journey: Journey) -> Forecast:
        """The forecast of a journey by its simulation; it tells first visits apart where contacts come back.

        Raises:
            DataError: when the simulation is of another version.
        """
        first = None
        if any(_comes_back(journey, place) for place in places(journey)):
            first = _firsts(simulation, journey.journey)
        return cls.of_summary(simulation.summary(journey.journey), journey, first=first)

    @classmethod
    def of_summary(
        cls, summary: Mapping[str, Any], journey: Journey, *, first: Mapping[tuple[str, str], float] | None = None
    ) -> Forecast:
        """The forecast by what `journeylab simulate --json` printed.

        Args:
            summary: of the one journey, or of several under `journeys`.
            journey: the journey that is to be released.
            first: by node and outcome, how much larger the share is among first visits than among all. Without it
                nothing is said of nodes to which contacts come back.

        Raises:
            DataError: when it is no such output, or of another version.
        """
        found = _summary_of(summary, journey)
        made = _Making(found, journey, first)
        expected = [*made.branches(), *made.exits()]
        return cls(
            journey.journey, journey.version, float(found["level"]), made.n_entries, tuple(expected),
            tuple(made.unwatched), tuple(found["notes"]),
        )  # fmt: skip

    @classmethod
    def read(cls, path: str | Path, journey: Journey) -> Forecast:
        """The forecast by a file of `journeylab simulate --json`.

        Raises:
            DataError: when there is no such file, it is something else, or of another version.
        """
        path = Path(path)
        try:
            data = data_of(path.read_bytes())
        except (OSError, ValueError) as problem:
            raise DataError(f"the forecast {path} cannot be read: {problem}") from None
        import numpy as np

        try:
            with np.errstate(over="raise", invalid="raise"):
                return cls.of_summary(data, journey)
        except DataError as problem:
            raise DataError(f"{path}: {problem}") from None
        except (TypeError, LookupError, ValueError, AttributeError, ArithmeticError):
            raise DataError(
                f"{path}: no forecast of {journey.journey}: a part of it is of another shape; `journeylab simulate … "
                "--json` prints one"
            ) from None

    def with_responses(self, log: EventLog, journey: Journey, kinds: Sequence[str] = ("opened", "clicked")) -> Forecast:
        """The same with the shares of sends that were opened or clicked within 7 days, as the log has them.

        Of a message that the log does not have, nothing is said. The first send of a message to a contact counts, if it
        was looked at for so long.

        Args:
            log: the log.
            journey: whose messages.
            kinds: which of `opened` and `clicked` the sender will come to know.
        """
        return replace(self, expected=(*self.expected, *_responses(log, journey, kinds)))


def _responses(log: EventLog, journey: Journey, kinds: Sequence[str]) -> Iterator[Expected]:
    import numpy as np

    from journeylab.clock import microseconds
    from journeylab.sendhistory import sends_in
    from journeylab.visits import wilson_interval
    from journeylab.worlds import horizon_of

    if "message" not in log.property_names or "sent" not in log.event_names:
        return
    sends, until = sends_in(log, None, WITHIN, None), microseconds(horizon_of(None, log))
    for message in sorted(sends_of(journey)):
        if message not in sends.messages:
            continue
        mine = np.flatnonzero(sends.message == sends.messages.index(message))
        _, first = np.unique(sends.contact[mine], return_index=True)  # sends are in order of time
        rows = mine[first]
        rows = rows[sends.at[rows] <= until - sends.within_us]
        for kind in kinds:
            if len(rows) and kind in sends.came:
                seen = sends.seen(kind, until)
                n = int(np.isin(rows, seen.rows[seen.came]).sum())
                low, high = (float(end[0]) for end in wilson_interval([n], [len(rows)]))
                yield Expected("response", message, kind, n / len(rows), low, high)


def _comes_back(journey: Journey, place: Place) -> bool:
    """Whether a contact may visit a node more than once: it lies on a loop, or entries may follow each other."""
    if journey.trigger.reentry != "never":
        return True
    *runs, name = place.name.split(".")
    inside = journey
    for one in (*runs, name):
        edges = edges_of(inside)
        if one in reachable(edges.get(one, ()), edges):
            return True
        node = inside.nodes[one]
        inside = inside.parts[node.run] if isinstance(node, Run) and node.run in inside.parts else inside
    return False


def _summary_of(data: Any, journey: Journey) -> Mapping[str, Any]:
    """The part of a simulation's output that is of a journey."""
    several = data.get("journeys") if isinstance(data, dict) else None
    of = [one for one in several or [data] if isinstance(one, dict) and one.get("journey") == journey.journey]
    if not of or not {"nodes", "exits", "level", "version", "notes"} <= of[0].keys():
        raise DataError(f"no forecast of {journey.journey}; `journeylab simulate … --json` prints one")
    if of[0]["version"] != journey.version:
        raise DataError(
            f"the forecast is of version {of[0]['version']} of {journey.journey}, and this is {journey.version}; "
            "simulate this one"
        )
    found: Mapping[str, Any] = of[0]
    return found


def _firsts(simulation: Simulation, name: str) -> dict[tuple[str, str], float]:
    """How much larger each share is among first visits, in contacts' first entries, than among all: in one draw."""
    visits, entries = simulation.visits(0), simulation.entries(0)
    visits = visits[(visits["journey"] == name) & visits["left_at"].notna()]
    entries = entries[(entries["journey"] == name) & entries["left_at"].notna()]
    first = visits[(visits["entry"] == 1) & (visits["visit"] == 1)]
    found: dict[tuple[str, str], float] = {}
    for of, mine, node, outcome in (
        (visits, first, visits["node"], "branch"),
        (entries, entries[entries["entry"] == 1], None, "exit"),
    ):
        keys = [outcome] if node is None else ["node", outcome]
        whole, part = (
            frame.groupby(keys, observed=True).size()
            / (len(frame) if node is None else frame.groupby("node", observed=True).size())
            for frame in (of, mine)
        )
        for key, share in whole.items():
            named = (EXITS, str(key)) if node is None else (str(key[0]), str(key[1]))
            found[named] = float(part.get(key, 0.0) - share)
    return found


class _Making:
    """The making of a forecast's figures from a simulation's summary."""

    def __init__(
        self, summary: Mapping[str, Any], journey: Journey, first: Mapping[tuple[str, str], float] | None
    ) -> None:
        self.summary, self.journey, self.first = summary, journey, first
        self.n_entries = sum(one["n_entries"] for one in summary["exits"].values())
        self.places = [*places(journey)]
        self.unwatched: list[str] = []

    def branches(self) -> Iterator[Expected]:
        """The branches of nodes that end in more than one way."""
        arrived = self._arrived()
        for place in self.places:
            found = self.summary["nodes"].get(place.name)
            if found is None or not found["branches"]:
                continue
            if isinstance(place.node, Split):
                yield from self._split(place)
                continue
            if _comes_back(self.journey, place) and self.first is None:
                self.unwatched.append(_again(place.name))
                continue
            n_closed = found["n_visits"]
            n_open = max(0.0, arrived.get(place.name, n_closed) - n_closed)
            for branch in dict(place.branches):
                one = found["branches"].get(branch)
                if one is not None and one["share"] is not None and n_closed > 0:
                    yield self._expected("branch", place.name, branch, one["share"], one["interval"], n_closed, n_open)

    def _split(self, place: Place) -> Iterator[Expected]:
        assert isinstance(place.node, Split)
        if self.journey.unit != CONTACT:
            self.unwatched.append(
                f"{place.name}: contacts of one {self.journey.unit} share an arm; an experiment watches it"
            )
        elif place.node.per == "entry" and _comes_back(self.journey, place):
            self.unwatched.append(
                f"{place.name}: a contact draws an arm at each entry; an experiment watches such splits"
            )
        else:
            for arm, share in sorted(place.node.split.items()):
                yield Expected("branch", place.name, arm, float(share), float(share), float(share))

    def exits(self) -> Iterator[Expected]:
        """The exits of entries; whoever was still inside may leave by any."""
        if self.journey.trigger.reentry != "never" and self.first is None:
            self.unwatched.append(_again(EXITS))
            return
        exits = self.summary["exits"]
        n_inside = exits.get("still_inside", {"interval": [0, 0]})["interval"][1]
        for text, one in exits.items():
            if text != "still_inside" and one["share"] is not None:
                left = self.n_entries - exits.get("still_inside", {"n_entries": 0})["n_entries"]
                scale = self.n_entries / left if left else 1.0  # shares among those who left
                share, ends = one["share"] * scale, [end * scale for end in one["share_interval"]]
                yield self._expected("exit", EXITS, text, share, ends, left, n_inside, is_goal=one["is_goal"])

    def _expected(
        self, kind: Kind, node: str, outcome: str, share: float, ends: Sequence[float], n_closed: float, n_open: float,
        *, is_goal: bool = False,
    ) -> Expected:  # fmt: skip
        """A figure whose interval also holds the sampling error of the log, and whatever becomes of what was open."""
        from journeylab.visits import wilson_interval

        moved = 0.0 if self.first is None else self.first.get((node, outcome), 0.0)
        share, low, high = (min(1.0, max(0.0, one + moved)) for one in (share, *ends))
        low = float(wilson_interval([low * n_closed], [n_closed])[0][0])
        high = float(wilson_interval([high * n_closed], [n_closed])[1][0])
        open_share = n_open / (n_closed + n_open)
        low, high = low * (1 - open_share), min(1.0, high * (1 - open_share) + open_share)
        return Expected(kind, node, outcome, share, low, high, is_goal)

    def _arrived(self) -> dict[str, float]:
        """How many visits each node had, whether they ended or not: what led to it."""
        arrived = {self.journey.first: self.n_entries}
        for place in self.places:
            branches = self.summary["nodes"].get(place.name, {"branches": {}})["branches"]
            for branch, target in dict(place.branches).items():
                arrived[target] = arrived.get(target, 0.0) + branches.get(branch, {"n_visits": 0.0})["n_visits"]
        for place in self.places:
            part = place.owner.parts.get(place.node.run) if isinstance(place.node, Run) else None
            if part is not None:  # a part is begun with the visit of the node that runs it
                first = f"{place.name}.{part.first}"
                arrived[first] = arrived.get(first, 0.0) + arrived.get(place.name, 0.0)
        return arrived


def _again(node: str) -> str:
    return (
        f"{node}: contacts come back here, and a file tells of all visits together; give the event log for a forecast "
        "of first visits"
    )
