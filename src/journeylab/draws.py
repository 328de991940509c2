"""Draws of a response model: what happens to each contact in each of them, over a log in memory or in buckets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from . import layout as o
from .answering import LOCAL_HOUR, Answering, silence
from .bucketed.merging import Part, gathered, write_part
from .bucketed.running import each_bucket, kept
from .clock import NEVER
from .divergence import diverged_since, hidden_after
from .execution import Answers, Asked, in_rounds, offsets_of, run
from .journey import Policy, Send
from .logfacts import LogFacts, facts_of
from .machine import Out
from .program import Compiled, Model
from .progress import Progress, shown
from .records import (
    Tally,
    added,
    entries_table,
    in_order,
    plain_counts,
    tally,
    tally_by_group,
    tally_of,
    visits_table,
)
from .tablesource import Table
from .worlds import Journeys, Ready, key_of, prepared

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .advice import SendTimesGiven
    from .bucketed import BucketedLog
    from .eventlog import EventLog
    from .responses import Responses

__all__ = ["Drawn", "Draws", "DrawsInBuckets", "Question"]

AT_ONCE = 1 << 21
"""How many contacts, each in its draw, are looked at together; most are not stirred."""
COUNTS_AT_ONCE = 1 << 20
"""How many counts, each of its draw, each chunk of contacts has: eight bytes each."""


class _Silent(NamedTuple):
    """The sends that contacts come to who respond to none: by contact, with what is predicted of them."""

    sends: Asked
    offsets: NDArray[np.int64]
    chances: NDArray[np.float32]
    slots: NDArray[np.int64]


def _ranges(start: NDArray[np.int64], end: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All numbers from each start up to its end, after the place of the range that each belongs to."""
    lengths = end - start
    place = np.repeat(np.arange(len(start)), lengths)
    return place, np.arange(len(place)) + np.repeat(start - (np.cumsum(lengths) - lengths), lengths)


class Drawn(NamedTuple):
    """What a model's draws count.

    Attributes:
        tally: the counts of all contacts by draw.
        base: those of a plain replay of the contacts for whom the log speaks to the end.
        naive: those of a plain replay of all.
        n_asked, n_predicted: how many sends the model answered, and how many predictions that took.
    """

    tally: Tally
    base: Tally
    naive: Tally
    n_asked: int
    n_predicted: int


@dataclass(frozen=True)
class Question:
    """What a simulation is asked; see `simulate.simulate`.

    Attributes:
        until, assumed_consent: None where the log that is simulated over decides.
    """

    journeys: Journeys
    responses: Responses
    draws: int
    rng: np.random.Generator | int
    match: timedelta | str
    policy: Policy | None
    scores: Mapping[str, Table] | None
    send_times: SendTimesGiven | None
    replaces: frozenset[str]
    like: Mapping[str, str]
    forget_from: datetime | None
    until: datetime | str | None
    assumed_consent: Collection[str] | None

    def prepared(self, log: EventLog, facts: LogFacts, **more: Any) -> Ready:
        """The journeys ready to run over a log, or a part of the one whose facts these are."""
        features, converts = (*self.responses.features, LOCAL_HOUR), self.responses.converts
        given: dict[str, Any] = {"until": self.until, "assumed_consent": self.assumed_consent, **more}
        return prepared(
            self.journeys, log, match=self.match, policy=self.policy, scores=self.scores, send_times=self.send_times,
            model=Model(features, converts, facts.means), ask_from=self.forget_from, **given,
        )  # fmt: skip

    def key(self) -> Any:
        """What tells whether two questions are alike, as JSON."""
        given = {
            "scores": self.scores, "calls": None, "send_times": self.send_times, "policy": self.policy,
            "match": self.match, "until": self.until, "assumed_consent": self.assumed_consent,
            "replaces": sorted(self.replaces), "like": self.like, "forget_from": self.forget_from, "draws": self.draws,
        }  # fmt: skip
        from loky.backend.reduction import dumps  # written to be told apart by, never to be read

        model = hashlib.sha256(dumps((self.responses, self.rng))).hexdigest()
        return ["simulate", model, key_of(self.journeys, given)]

    def replaced(self, compiled: Compiled) -> set[str]:
        """The messages of the log that the journeys take the place of."""
        return {info.node.send for info in compiled.nodes if isinstance(info.node, Send)} | self.replaces


class Draws:
    """The draws of a response model over a log in memory.

    `facts` are of the log, or of the one in buckets whose part it is. `diverged` are the contacts that the model
    speaks for.
    """

    def __init__(self, question: Question, log: EventLog, facts: LogFacts, progress: Progress) -> None:
        self.facts, self.log, self.draws, self.progress = facts, log, question.draws, progress
        ready = question.prepared(log, facts)
        replaced, converts = question.replaced(ready.compiled), question.responses.converts
        since = diverged_since(ready, replaced)
        on_record = np.flatnonzero(since == NEVER)
        # An empty list of contacts would stand for all.
        self.base = _tally(ready, asks=True, contacts=on_record) if len(on_record) else tally(ready.compiled, [])
        self.naive = _tally(ready, asks=False)
        hidden = hidden_after(ready, since, replaced, converts, everything=question.forget_from is not None)
        self.ready = question.prepared(
            log.hiding(hidden), facts, until=ready.until, assumed_consent=ready.assumed_consent
        )
        self.answering = Answering(
            self.ready.compiled,
            self.ready.world,
            question.responses,
            like=question.like,
            n_draws=question.draws,
            rng=np.random.default_rng(deepcopy(question.rng)),  # each part of a log has the same draws
            soft_share=facts.soft_share,
            withdraws=facts.withdraws,
            is_as_logged=question.forget_from is not None,
        )
        self.compiled, self.until = self.ready.compiled, self.ready.until
        self.diverged = np.flatnonzero(since != NEVER)
        self._follow()

    def drawn(self) -> Drawn:
        """The counts of all contacts in all draws."""
        return Drawn(self.tally, self.base, self.naive, self.answering.n_asked, self.answering.n_predicted)

    def _follow(self) -> None:
        self._units = self.log.unit_hashes[self.diverged]
        silent = self._follow_silence()
        n_counts = sum(one.size for one in silent)
        size, parts = max(1, min(AT_ONCE // max(1, len(self.diverged)), COUNTS_AT_ONCE // n_counts)), []
        with shown(self.progress, "drawing responses") as tell:
            for start in range(0, self.draws, size):
                end = min(start + size, self.draws)
                parts.append(self._stirred(start, end))
                tell(end, self.draws)
        self.tally = Tally(
            *(
                np.concatenate(stirred) + quiet + rest
                for *stirred, quiet, rest in zip(*parts, silent, self.base, strict=True)
            )
        )

    def _run(
        self,
        contacts: NDArray[np.int64],
        answer: Callable[[Asked], Answers],
        **how: Any,
    ) -> list[Out]:
        compiled = self.ready.compiled
        return in_rounds(compiled.program, self.ready.world, len(compiled.exits), contacts, answer, **how)

    def _follow_silence(self) -> Tally:
        """The counts of all contacts if nothing came of any send; keeps the sends that they then come to.

        Most sends are not responded to. So this is worked out once, and a draw has to follow only those contacts in
        whom it stirs something, from their first response on.
        """
        contacts, found = self.diverged, []

        def answer(asked: Asked) -> Answers:
            found.append(asked)
            return silence(asked)

        outs = self._run(contacts, answer)
        place = np.concatenate([one.place for one in found] or [np.empty(0, np.int64)])
        order = np.argsort(place, kind="stable")
        sends = Asked(
            place[order],
            np.concatenate([one.rows for one in found] or [np.empty((0, 5), np.int64)])[order],
            np.concatenate([one.features for one in found] or [np.empty((0, 1))])[order],
        )
        chances = self.answering.chances(contacts[sends.place], sends)
        slots = self.answering.slots(sends, self.log.first_at[contacts[sends.place]])
        self._silent = _Silent(sends, offsets_of(sends.place, len(contacts)), chances, slots)
        return tally(self.ready.compiled, outs)

    def _stirred(self, start: int, end: int) -> Tally:
        """What some draws count of those who respond, beyond what they would count if all of these stayed silent.

        Contacts come one after the other, each in all draws in which it responds, so that its events stay at hand.
        """
        found = self.answering.stirred(self._units, (start, end), *self._silent)
        who, draws, first = np.ascontiguousarray(found.T)
        contacts, silent = self.diverged[who], self._silent
        in_groups = {"group": draws - start, "n_groups": end - start}
        place, send = _ranges(silent.offsets[who], first + 1)
        sends = Asked(place, silent.sends.rows[send], np.empty((len(place), 0)))
        known_answers = self.answering.answers(
            self._units[who[place]], draws[place], sends, silent.chances[send], silent.slots[send]
        )
        more = self._run(contacts, self._answerer(contacts, self._units[who], draws), known=known_answers, **in_groups)
        place, send = _ranges(silent.offsets[who], silent.offsets[who + 1])
        quiet = silence(Asked(place, silent.sends.rows[send], np.empty((len(place), 0))))
        less = self._run(contacts, silence, known=quiet, **in_groups)
        counts = (tally_by_group(self.ready.compiled, outs, end - start) for outs in (more, less))
        return Tally(*(of_more - of_less for of_more, of_less in zip(*counts, strict=True)))

    def _answerer(
        self, contacts: NDArray[np.int64], units: NDArray[np.uint64], draws: NDArray[np.int64]
    ) -> Callable[[Asked], Answers]:
        def answer(asked: Asked) -> Answers:
            chances = self.answering.chances(contacts[asked.place], asked)
            slots = self.answering.slots(asked, self.log.first_at[contacts[asked.place]])
            return self.answering.answers(units[asked.place], draws[asked.place], asked, chances, slots)

        return answer

    def table(self, name: str, draw: int) -> pd.DataFrame:
        compiled, n_contacts = self.ready.compiled, self.log.n_contacts
        contacts, draws = self.diverged, np.full(len(self.diverged), draw)
        outs = self._run(contacts, self._answerer(contacts, self._units, draws), record=True)
        rest = np.setdiff1d(np.arange(n_contacts), contacts)
        if len(rest):
            outs += run(compiled.program, self.ready.world, len(compiled.exits), n_contacts, record=True, contacts=rest)
        listed = visits_table if name == "visits" else entries_table
        return listed(compiled, self.ready.log, in_order(self.ready.log, outs))


def _tally(ready: Ready, *, asks: bool, contacts: NDArray[np.int64] | None = None) -> Tally:
    """The counts of a plain replay; where `asks`, of those contacts alone who come to no send that is to be asked."""
    ready.world.limits[o.L_ASK_SENDS] = int(asks)
    compiled, n_contacts = ready.compiled, ready.log.n_contacts
    outs = run(compiled.program, ready.world, len(compiled.exits), n_contacts, record=False, contacts=contacts)
    ready.world.limits[o.L_ASK_SENDS] = 1
    return tally(compiled, outs)


@dataclass(frozen=True)
class _Drawn:
    """A bucket's draws."""

    question: Question
    facts: LogFacts

    def __call__(self, log: EventLog, k: int, folder: Path) -> Drawn:  # noqa: ARG002
        return Draws(self.question, log, self.facts, None).drawn()

    def plain(self, result: Drawn) -> Any:
        return [*map(plain_counts, (result.tally, result.base, result.naive)), result.n_asked, result.n_predicted]

    def made(self, data: Any, k: int, folder: Path) -> Drawn:  # noqa: ARG002
        return Drawn(tally_of(data[0]), tally_of(data[1]), tally_of(data[2]), data[3], data[4])


@dataclass(frozen=True)
class _Table:
    question: Question
    facts: LogFacts
    name: str
    draw: int

    def __call__(self, log: EventLog, k: int, folder: Path) -> Part:
        return write_part(Draws(self.question, log, self.facts, None).table(self.name, self.draw), folder, k)


@dataclass(frozen=True)
class _Facts:
    question: Question

    def __call__(self, log: EventLog, k: int, folder: Path) -> LogFacts:  # noqa: ARG002
        return facts_of(log, self.question.responses.converts, self.question.forget_from)


class DrawsInBuckets:
    """The draws of a response model over a log in buckets, each by itself, with the fates of the whole."""

    def __init__(self, question: Question, log: BucketedLog, progress: Progress) -> None:
        self._question, self._log, self._progress = question, log, progress
        with kept(log, None) as folder, shown(progress, "looking at the log") as tell:
            self.facts = LogFacts.sum(each_bucket(log, _Facts(question), folder, tell))
        ready = question.prepared(log.nobody(), self.facts)
        self.compiled, self.until = ready.compiled, ready.until

    def drawn(self) -> Drawn:
        """The counts of all contacts in all draws."""
        with kept(self._log, self._question.key()) as folder, shown(self._progress, "drawing responses") as tell:
            parts = each_bucket(self._log, _Drawn(self._question, self.facts), folder, tell)
        return Drawn(
            added([one.tally for one in parts]),
            added([one.base for one in parts]),
            added([one.naive for one in parts]),
            sum(one.n_asked for one in parts),
            sum(one.n_predicted for one in parts),
        )

    def table(self, name: str, draw: int) -> pd.DataFrame:
        """The visits or entries of one draw."""
        with kept(self._log, None) as folder, shown(self._progress, f"listing {name}") as tell:
            return gathered(each_bucket(self._log, _Table(self._question, self.facts, name, draw), folder, tell))
