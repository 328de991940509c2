"""What all send-time models share: how they are fitted, what they may claim, and the advice that they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone

from journeylab.clock import NEVER
from journeylab.display import block, facts, frame, said
from journeylab.durations import duration_text, parse_duration
from journeylab.errors import DataError
from journeylab.eventlog import EventLog
from journeylab.fitted import require_fitted
from journeylab.journey import Best, Exit, Journey, Send, Trigger, Window
from journeylab.language import again, formatted, later, say, using
from journeylab.progress import Progress, shown
from journeylab.replay import replay
from journeylab.sendtimes import LEVELS, WEEK, SendTimes

from .evidence import FALSE_ALARM, Evidence, evidence_of, marks_of
from .sends import SendTable, send_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HourScores", "SendTimeEstimator"]

_EARLY = 0.7  # of the sends, from which the curves are learned that later ones test
_NEGLIGIBLE = 0.001  # of the chance: a gain that nobody would notice
_BLOCK = 20_000
_N_GROUPS = 3  # of contacts, by how much their own curves differ from their segments'
_FINEST = {
    ("segment", ("person",)): later(
        "Advice is segment's at the finest: curves of each person are not better beyond noise."
    ),
    ("everyone", ("segment",)): later(
        "Advice is everyone's at the finest: curves of each segment are not better beyond noise."
    ),
    ("everyone", ("person",)): later(
        "Advice is everyone's at the finest: curves of each person are not better beyond noise."
    ),
    ("everyone", ("segment", "person")): later(
        "Advice is everyone's at the finest: curves of each segment or person are not better beyond noise."
    ),
}
_PERSON, _SEGMENT, _EVERYONE, _FALLBACK = range(len(LEVELS))


class HourScores(NamedTuple):
    """Chances that a send is answered, by contact and hour of the week: float64 (contact, 168), 0..1.

    `low` and `high` are the ends of the interval; hour 0 is Monday 00:00 local.
    """

    chance: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def __repr__(self) -> str:
        if not len(self.chance):
            return "HourScores(0 contacts)"
        mean = self.chance.mean(axis=0)
        best = int(mean.argmax())
        return (
            f"HourScores({len(self.chance):,} contacts, on average best at hour {best} of the week: {mean[best]:.3f})"
        )

    def _repr_html_(self) -> str:
        return block(repr(self))


class SendTimeEstimator(BaseEstimator):  # type: ignore[misc]
    """The interface of every send-time model: `fit(log)`, `scores`, `best`, `send_times`.

    A model of one's own has `_learn` and at least one of `_everyone`, `_of_segments` and `_of_contacts`. What it may
    claim is not its own affair: `fit` learns it once from the first 70 % of the sends and asks the later ones, at hours
    that were drawn at random, whether its curves fit them better than no curve, segments' better than everyone's, and
    contacts' better than their segments' (`evidence`). What is not better beyond noise is not used. Then it is learned
    from everything.

    Attributes, once fitted:
        evidence_: a row for each level: `level`, `n_answers` (later ones at drawn hours), `z`, `p_value` (one-sided),
            `lift` (1 where the curves keep what they promise), `is_used`.
        is_causal_: whether any level is used, so that another hour can be said to change anything.
        n_sends_, n_random_, n_contacts_: what it was fitted to, and how many sends were at drawn hours.
        notes_: what to know before using it, in sentences.
    """

    is_rule = False
    """Whether it is a rule of thumb: it advises by itself, claims nothing and is not tested."""

    def fit(
        self,
        log: EventLog | SendTable,
        y: None = None,  # noqa: ARG002
        *,
        progress: Progress = None,
    ) -> Self:
        """The fitted model; `log` is an event log, or a `send_table` of one with other than the usual options.

        `progress` is `True` for a bar, or what to call with the stages done and in all; see `journeylab.progress`.

        Raises:
            DataError: when the log has no sends, or no person answered any.
        """
        with shown(progress, f"fitting {type(self).__name__}") as tell:
            sends = log if isinstance(log, SendTable) else send_table(log)
            tell(1, 3)
            self._sends_seen(sends)
            self._early: SendTimeEstimator | None = None
            self.evidence_, self._groups = self._tested(sends)
            tell(2, 3)
            self._learn(sends)
            self._early = None
            tell(3, 3)
        used = set(self.evidence_.loc[self.evidence_["is_used"], "level"])
        self.is_causal_ = bool(used)
        self.notes_ = [*sends.notes, *self._claims(used)]
        self._used, self._marks = used, marks_of(sends)
        self.__dict__.pop("_advised", None)
        return self

    def _sends_seen(self, sends: SendTable) -> None:
        self._contacts, self._segment, self.segments_ = sends.contacts, sends.segment, sends.segments
        self._known = np.unique(sends.contact)
        self.outcome_, self.within_, self.until_ = sends.outcome, sends.within, sends.until
        self.machine_rules_ = sends.machine_rules
        self.n_sends_, self.n_contacts_ = len(sends), len(self._known)
        self.n_random_ = int(sends.is_random.sum())
        self.rate_ = float(sends.answered.mean())

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:  # noqa: N803
        return " ".join(super().__repr__(N_CHAR_MAX).split())

    # scikit-learn's own picture of a model has scripts.
    _repr_mimebundle_ = None

    def _repr_html_(self) -> str:
        if not hasattr(self, "evidence_"):
            return block(repr(self), said(["It is not fitted."]))
        names = ("outcome_", "until_", "n_sends_", "n_random_", "n_contacts_", "is_causal_")
        fitted = facts((name.rstrip("_"), getattr(self, name)) for name in names)
        return block(repr(self), fitted, frame(self.evidence_), said(self.notes_))

    # What a model has

    def _learn(self, sends: SendTable) -> None:
        raise NotImplementedError

    def _everyone(self) -> NDArray[np.float32] | None:
        """The mean contact's chances: float32 (168,)."""
        return None

    def _everyone_error(self) -> NDArray[np.float32]:
        """Their standard errors: float32 (168,)."""
        return np.zeros(WEEK, np.float32)

    def _of_segments(self) -> NDArray[np.float32] | None:
        """The chances of segments: float32 (segment, 168)."""
        return None

    def _of_contacts(
        self,
        contact: NDArray[np.int64],  # noqa: ARG002
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """The chances of contacts (places among the log's) and their standard errors: float32 (contact, 168) each."""
        return None

    def _difference(
        self, contact: NDArray[np.int64], hour: NDArray[np.int64], other: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """By how much the chance at an hour is above that at another one, by contact, with its standard error."""
        found = self._of_contacts(contact)
        if found is None:
            nothing = np.full(len(contact), np.nan)
            return nothing, nothing
        rows, (chance, error) = np.arange(len(contact)), found
        both = np.sqrt(error[rows, hour].astype(float) ** 2 + error[rows, other].astype(float) ** 2)
        return chance[rows, hour].astype(float) - chance[rows, other], np.where(hour == other, 0.0, both)

    # What it may claim

    def _tested(self, sends: SendTable) -> tuple[pd.DataFrame, _Groups]:
        names = ("everyone", "segment", "person")
        found = dict.fromkeys(names, Evidence(0, float("nan"), float("nan")))
        groups = _Groups(np.empty(0), np.zeros(_N_GROUPS, bool))
        threshold = NormalDist().inv_cdf(1 - FALSE_ALARM / len(names))
        if not self.is_rule and sends.is_random.any():
            cut = np.quantile(sends.at, _EARLY)
            early = clone(self)
            early_sends, late = sends.rows(sends.at <= cut), _judges(sends.rows(sends.at > cut))
            if early_sends.answered.any():
                early._sends_seen(early_sends)
                early._early = None
                early._learn(early_sends)
                self._early = early  # where learning from everything may start
                found, groups = early._level_tests(late, threshold)
        table = pd.DataFrame([{"level": name, **one._asdict()} for name, one in found.items()])
        table["p_value"] = [1 - NormalDist().cdf(z) if z == z else np.nan for z in table["z"]]
        table["is_used"] = table["z"] > threshold
        return table[["level", "n_answers", "z", "p_value", "lift", "is_used"]], groups

    def _level_tests(self, late: SendTable, threshold: float) -> tuple[dict[str, Evidence], _Groups]:
        flat = np.ones((1, WEEK), np.float32)
        found = dict.fromkeys(("everyone", "segment", "person"), Evidence(0, float("nan"), float("nan")))
        base, base_row = flat, np.zeros(len(late), np.int64)
        everyone, segments = self._everyone(), self._of_segments()
        if everyone is not None:
            found["everyone"] = evidence_of(late, everyone[None], base, base_row)
            if found["everyone"].z > threshold:
                base = everyone[None].astype(np.float32)
        if segments is not None and len(segments):
            segment = late.segment[late.contact]
            ratio = np.broadcast_to(base, segments.shape)
            found["segment"] = evidence_of(late, segments, ratio, segment)
            if found["segment"].z > threshold:
                base, base_row = segments, np.maximum(segment, 0)
        groups = _Groups(np.empty(0), np.zeros(_N_GROUPS, bool))
        asked = np.unique(late.contact[late.is_random & late.answered])
        asked = asked[np.isin(asked, self._known)]
        if self._of_contacts(asked[:1]) is not None and len(asked):
            mine = late.is_random & late.answered & np.isin(late.contact, asked)
            late, rows = late.rows(mine), np.arange(int(mine.sum()))
            base = base[base_row[mine]] if len(base) > 1 else np.broadcast_to(base, (len(rows), WEEK))
            own = np.concatenate([self._chances(late.contact[i : i + _BLOCK]) for i in range(0, len(rows), _BLOCK)])
            found["person"] = evidence_of(late, own, base, rows)
            spread = _spread(own, base)
            edges = np.quantile(spread, np.arange(1, _N_GROUPS) / _N_GROUPS)
            group = np.searchsorted(edges, spread)
            passed = np.array(
                [evidence_of(late, own, base, np.where(group == one, rows, -1)).z > 0 for one in range(_N_GROUPS)]
            )
            groups = _Groups(edges, passed)
        return found, groups

    def _chances(self, contact: NDArray[np.int64]) -> NDArray[np.float32]:
        found = self._of_contacts(contact)
        assert found is not None
        return np.maximum(found[0], 1e-9)

    def _claims(self, used: set[str]) -> list[str]:
        if self.is_rule:
            return [say("A rule of thumb: it repeats when mail was opened, and claims no gain.")]
        if not self.n_random_:
            return [
                say(
                    "No send of this log went at an hour that was drawn at random, so it tells when people answer "
                    "given when they were sent to, and nothing of what another hour would change: nothing causal can "
                    "be learned. Let a share of the sends explore (`{option}`) and fit again.",
                    option="at: {best: …, explore: 5%}",
                )
            ]
        if not used:
            return [
                say(
                    "Whether any hour is better than another cannot be told from this log: {n} of {of} sends went at "
                    "drawn hours, and no curve fits the later of them better beyond noise.",
                    n=formatted(self.n_random_),
                    of=formatted(self.n_sends_),
                )
            ]
        finest = next(name for name in ("person", "segment", "everyone") if name in used)
        finer = [name for name in ("segment", "person") if name not in used and self._has(name)]
        if finest == "person" or not finer:
            return []
        return [say(_FINEST[finest, tuple(finer)])]

    def _has(self, level: str) -> bool:
        if level == "segment":
            return bool(self.segments_)
        return self._of_contacts(self._known[:1]) is not None

    # What it gives

    def scores(self, contacts: Sequence[Any] | None = None, *, level: float = 0.9) -> HourScores:
        """The chance that a send is answered, for contacts and hours of the week, with intervals, as `HourScores`.

        Args:
            contacts: of the log it was fitted to; by default all that were sent to, in the log's order.
            level: of the intervals, which hold for each hour by itself.

        Raises:
            DataError: for a contact that it does not know.
            NotFitted: before `fit`.
        """
        require_fitted(self)
        codes = self._known if contacts is None else self._codes(contacts)
        found = self._of_contacts(codes)
        if found is None:
            curve = self._everyone()
            assert curve is not None
            shape = len(codes), WEEK
            found = np.broadcast_to(curve, shape), np.broadcast_to(self._everyone_error(), shape)
        chance, error = found[0].astype(float), found[1].astype(float)
        half = NormalDist().inv_cdf((1 + level) / 2) * error
        return HourScores(chance, np.clip(chance - half, 0, 1), np.clip(chance + half, 0, 1))

    def _codes(self, contacts: Sequence[Any]) -> NDArray[np.int64]:
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pc.fill_null(pc.index_in(pa.array(contacts, self._contacts.type), self._contacts), -1)
        codes = np.asarray(found, np.int64)
        unknown = np.flatnonzero(~np.isin(codes, self._known))
        if len(unknown):
            raise DataError(
                f"contact {contacts[unknown[0]]!r} has no send in this log, which has sends to "
                f"{self.n_contacts_:,} contacts"
            )
        return codes

    def best(
        self, contact: Any, after: datetime, window: Window | None = None, *, within: timedelta | str = "24h",
        timezone: str = "UTC",
    ) -> datetime:  # fmt: skip
        """The instant at which `at: best` sends to a contact who is ready from an instant on, aware UTC (rule 17).

        It is what a journey of one send does, without exploring; a contact who is not known has the fallback's hours.

        Args:
            contact: an id.
            after: an aware instant.
            window: hours and days that are allowed, such as `jl.Window(between=("09:00", "17:00"))`.
            within: how much later it may be sent at the most, up to 7 days.
            timezone: the contact's zone.

        Raises:
            DataError: for a naive instant, a `within` that is none, or a window that never opens in that time.
            NotFitted: before `fit`.
        """
        require_fitted(self)
        open_at: dict[str, Any] = {} if window is None else {"between": window.between, "days": window.days}
        length = parse_duration(within)
        try:
            at = Best(best="best", explore=Fraction(0), within=length, **open_at)
        except ValueError as problem:
            raise DataError(f"within={duration_text(length)}: {problem}") from None
        if after.tzinfo is None:
            raise DataError(f"after: {after.isoformat()} has no time zone; say which instant is meant, as with +00:00")
        expires = max(length, timedelta(days=2))
        nodes = {"mail": Send(send="mail", at=at, expires=expires, next="done"), "done": Exit(exit="done")}
        journey = Journey(journey="one_send", timezone=timezone, trigger=Trigger(event="ready"), nodes=nodes)
        log = EventLog.from_rows([{"contact": contact, "event": "ready", "occurred_at": after}])
        sends = replay(journey, log, send_times=self.send_times(), until=after + expires + timedelta(days=1)).sends
        if not sends["is_sent"].all():
            raise DataError(f"the window does not open within {duration_text(expires)} of {after.isoformat()}")
        return cast("datetime", sends["decided_at"].iloc[0].to_pydatetime())

    def send_times(self, *, assume_causal: bool = False) -> SendTimes:
        """What the model advises every contact, as `SendTimes` for `at: best`.

        Each contact has the finest level that is better than the one below it beyond noise (`evidence_`); where hours
        cannot be told apart all are alike, so that a send goes at once, but for those that explore.

        Args:
            assume_causal: uses the curves of all levels even so. What it then says is when people answer, not when to
                send, and `about` has it as `assumed`.

        Raises:
            NotFitted: before `fit`.
        """
        require_fitted(self)
        kept: SendTimes | None = self.__dict__.get("_advised")
        if not assume_causal and kept is not None:
            return kept
        used = {"everyone", "segment", "person"} if assume_causal or self.is_rule else self._used
        times = self._advice(used, assume_causal)
        if not assume_causal:
            self._advised = times
        return times

    def _advice(self, used: set[str], assume_causal: bool) -> SendTimes:
        flat = np.full(WEEK, self.rate_, np.float32)
        everyone = self._everyone() if "everyone" in used else None
        profiles = [flat if everyone is None else everyone.astype(np.float32)]
        level = np.full(self.n_contacts_, _FALLBACK if everyone is None or self.is_rule else _EVERYONE, np.int8)
        profile = np.zeros(self.n_contacts_, np.int32)
        segments = self._of_segments() if "segment" in used else None
        if segments is not None and len(segments):
            mine = self._segment[self._known]
            level[mine >= 0], profile[mine >= 0] = _SEGMENT, 1 + mine[mine >= 0]
            profiles += list(segments.astype(np.float32))
        scores = np.array(profiles, np.float32)
        gain = np.full((self.n_contacts_, 3), np.nan, np.float32)
        overall = self._everyone()
        reference = int((scores[0] if overall is None else overall).argmax())
        own: list[NDArray[np.float32]] = []
        if ("person" in used or self.is_rule) and self._of_contacts(self._known[:1]) is not None:
            n_own = 0
            for first in range(0, self.n_contacts_, _BLOCK):
                codes = self._known[first : first + _BLOCK]
                chance = self._chances(codes)
                takes = self._takes_own(codes, chance, scores[profile[first : first + _BLOCK]], assume_causal)
                place = np.arange(first, first + len(codes))[takes]
                level[place], profile[place] = _PERSON, len(scores) + n_own + np.arange(len(place))
                own.append(chance[takes])
                n_own += len(place)
            if self.is_rule:  # few curves, that many have
                distinct, which = np.unique(np.concatenate(own), axis=0, return_inverse=True)
                profile[level == _PERSON] = len(scores) + which.ravel()
                own = [distinct]
            scores = np.concatenate([scores, *own])
        if used and not self.is_rule:
            best = scores.argmax(axis=1)[profile]
            z = NormalDist().inv_cdf(0.95)
            for first in range(0, self.n_contacts_, _BLOCK):
                part = slice(first, first + _BLOCK)
                mean, error = self._difference(self._known[part], best[part], np.full(len(best[part]), reference))
                gain[part] = np.column_stack([mean, mean - z * error, mean + z * error])
        return SendTimes(
            self._contacts.take(self._known), profile, scores, 0, level, gain, self._about(used, assume_causal)
        )

    def _takes_own(
        self, contact: NDArray[np.int64], chance: NDArray[np.float32], base: NDArray[np.float32], assume_causal: bool
    ) -> NDArray[np.bool_]:
        """Whose own curve is used: it promises a gain that is noticed, and such curves kept their promise."""
        if self.is_rule:
            return np.ones(len(contact), np.bool_)
        rows = np.arange(len(contact))
        gain = chance.max(axis=1) / chance[rows, base.argmax(axis=1)] - 1
        passed = np.ones(len(contact), np.bool_)
        if not assume_causal and len(self._groups.edges):
            passed &= self._groups.passed[np.searchsorted(self._groups.edges, _spread(chance, base))]
        return np.asarray((gain >= _NEGLIGIBLE) & passed)

    def _about(self, used: set[str], assume_causal: bool) -> dict[str, Any]:
        return {
            "model": type(self).__name__,
            "parameters": {name: value for name, value in self.get_params().items() if not hasattr(value, "fit")},
            "outcome": self.outcome_,
            "within": duration_text(self.within_),
            "segments": list(self.segments_),
            "marks": self._marks,
            "until": self.until_.isoformat(),
            "n_sends": self.n_sends_,
            "n_random": self.n_random_,
            "machine_rules": self.machine_rules_,
            "is_causal": self.is_causal_ and not assume_causal,
            "levels": sorted(used),
            "evidence": [
                {name: None if value != value else value for name, value in row.items()}
                for row in self.evidence_.to_dict("records")
            ],
            **_kept(self.notes_, assume_causal=assume_causal),
        }


def _kept(notes: Sequence[str], *, assume_causal: bool) -> dict[str, Any]:
    """The notes as files keep them: in English, so that a version does not depend on who reads it."""
    with using("en"):
        kept: dict[str, Any] = {"notes": [str(again(note)) for note in notes]}
        if assume_causal:
            kept["assumed"] = str(say("that what was learned from sends at hours nobody drew is causal"))
    return kept


def _judges(late: SendTable) -> SendTable:
    """The sends that judge, each looked at for equally long: for all of `within`, or two days where few have been."""
    if 2 * int(late.is_matured.sum()) >= len(late):
        return late.rows(late.is_matured)
    soon = min(late.within, timedelta(days=2)) // timedelta(microseconds=1)
    after = {name: np.where(one <= soon, one, NEVER) for name, one in late.after.items()}
    return replace(late, after=after).rows(late.looked >= soon)


class _Groups(NamedTuple):
    """Groups of contacts by the spread of their own curves around the level below, and whose kept their promise."""

    edges: NDArray[np.float64]
    passed: NDArray[np.bool_]


def _spread(own: NDArray[np.float32], base: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray((np.log(own) - np.log(np.maximum(base, 1e-9))).std(axis=1), np.float64)
