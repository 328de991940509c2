"""What a portfolio runs on: the program compiled against a log, and the world that the log makes.

Replay and simulation prepare the same world; they differ in who answers the sends. Here are also the answers that an
analyst gives to what no log has: scores, send times, the outcomes of calls, and a release's own sends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from . import layout as o
from .advice import Advice, SendTimesGiven, advice_of
from .binding import AsOf, LogNames
from .clock import NEVER, instant, microseconds
from .durations import parse_duration
from .errors import DataError, known
from .execution import Answer, Request, answered, no_answers_yet
from .journey import Journey, Policy, Portfolio
from .machine.state import FINGERPRINT
from .ownsends import answers_of, own_of
from .program import Compiled, Model, Release, compile_portfolio, for_purpose
from .sendtimes import SendTimes
from .tablesource import Table, as_frame, is_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .bucketed import BucketedLog
    from .eventlog import EventLog
    from .replayruns import LogElsewhere

__all__ = [
    "Call", "Journeys", "Ready", "Score", "codes_of", "goal_of", "horizon_of", "key_of", "prepared",
    "releases_of",
]  # fmt: skip

Journeys = Journey | Portfolio | Sequence[Journey] | Sequence[Release]
Call = Callable[[object, datetime], bool]
Score = Callable[[Sequence[object], Sequence[datetime]], Sequence[float]]


_A_MINUTE = 60_000_000


class Ready(NamedTuple):
    """A portfolio ready to run over a log; `kept` are the arrays whose addresses the world holds."""

    compiled: Compiled
    log: EventLog
    until: datetime
    policy: Policy
    assumed_consent: frozenset[str]
    names: LogNames
    world: o.World
    kept: list[Any]
    advice: Advice


def prepared(
    journeys: Journeys,
    log: EventLog,
    *,
    until: datetime | str | None = None,
    match: timedelta | str = "1d",
    policy: Policy | None = None,
    scores: Mapping[str, Table | Score] | None = None,
    send_times: SendTimesGiven | None = None,
    calls: Mapping[str, Call] | None = None,
    assumed_consent: Collection[str] | None = None,
    live: bool = False,
    own: pd.DataFrame | None = None,
    model: Model | None = None,
    ask_from: datetime | None = None,
) -> Ready:
    """The portfolio ready to run; see `replay.replay` for the arguments.

    `own` is what a live log's own sends are, where the log itself does not say it (see `ownsends.own_of`). With a
    `model` the sends that the log does not have are asked for, and from `ask_from` on all of them.
    """
    portfolio = releases_of(journeys)
    names = LogNames(log)
    if assumed_consent is None:
        purposes = {release.journey.purpose for release in portfolio}
        assumed_consent = {purpose for purpose in purposes if not _has_consent(names, purpose)}
    assumed = frozenset(assumed_consent)
    policy = policy or (journeys.policy if isinstance(journeys, Portfolio) else Policy())
    compiled = compile_portfolio(portfolio, policy, names, assume_consent=assumed, model=model)
    horizon = horizon_of(until, log)
    tables, asked = _scores(names, log, scores or {})
    advice = advice_of(send_times, compiled.models, log)
    world, kept = names.world(
        compiled.program.code,
        until_us=microseconds(horizon),
        match_us=parse_duration(match) // timedelta(microseconds=1),
        scores=tables,
        units=log.unit_hashes if model is not None or _needs_units(compiled) else np.empty(0, np.uint64),
        first_at=log.first_at if _needs_first(compiled) else np.empty(0, np.int64),
        ranks=advice.ranks,
        rank_rows=advice.rows.ravel(),
        asked_calls=np.array([name in (calls or {}) for name in compiled.calls], np.uint8),
    )
    world.limits[o.L_RANKED] = log.n_contacts if advice.times else 0
    world.limits[o.L_FALLBACKS] = advice.first_fallback
    if model is not None:
        world.limits[o.L_ASK_SENDS] = 1
        # What came of an earlier send may have come before this one: such a send cannot answer for it.
        world.limits[o.L_BEFORE] = min(world.limits[o.L_MATCH], _A_MINUTE)
        if ask_from is not None:
            world.limits[o.L_ASK_FROM] = microseconds(ask_from)
    elif asked or calls or live:
        world.limits[o.L_LIVE] = int(live)
        answer = _answerer(compiled, log, asked, calls or {}, names.score_names)
        own = no_answers_yet() if not live else answers_of(own_of(log) if own is None else own, compiled)
        world = answered(compiled.program, world, len(compiled.exits), log.n_contacts, answer, own)
    return Ready(compiled, log, horizon, policy, assumed, names, world, kept, advice)


def key_of(journeys: Journeys, given: Mapping[str, Any]) -> Any:
    """What tells whether results over one log were asked for alike: as JSON, or None where a function answers.

    `given` are arguments of `prepared`.
    """
    if any(callable(one) and not is_table(one) for name in ("scores", "calls") for one in (given[name] or {}).values()):
        return None
    releases = [
        [one.journey.journey, one.journey.version, one.from_at, one.until_at, one.pauses, one.share, one.share_salt,
         None if one.policy is None else one.policy.data(), dict(one.models)]
        for one in releases_of(journeys)
    ]  # fmt: skip
    own = journeys.policy if isinstance(journeys, Portfolio) else None
    told = {name: value for name, value in given.items() if name not in ("scores", "calls", "send_times", "policy")}
    if given["assumed_consent"] is not None:
        told["assumed_consent"] = sorted(given["assumed_consent"])
    policies = [None if one is None else one.data() for one in (own, given["policy"])]
    return [FINGERPRINT, releases, policies, told, _digest(given["scores"]), _digest(given["send_times"])]


def _digest(value: Any) -> Any:
    """What tells tables, send times and files apart, those in mappings, too."""
    if isinstance(value, Mapping):
        return {name: _digest(one) for name, one in value.items()}
    if isinstance(value, SendTimes):
        return value.version
    if isinstance(value, str | Path):
        state = Path(value).stat()
        return [str(value), state.st_size, state.st_mtime_ns]
    if value is None:
        return None
    frame = as_frame(value)
    digest = hashlib.sha256(repr([*frame.dtypes.astype(str).items()]).encode())
    digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def goal_of(journeys: Iterable[Journey]) -> str | None:
    """The event that is the only goal of all journeys together, if there is one."""
    goals = {one.event for journey in journeys for one in journey.exit_when if one.goal}
    return goals.pop() if len(goals) == 1 else None


def releases_of(journeys: Journeys) -> list[Release]:
    """The releases that run, each journey one that takes entries at any time where it is none."""
    if isinstance(journeys, Journey):
        return [Release(journey=journeys)]
    several = journeys.journeys if isinstance(journeys, Portfolio) else journeys
    releases = [one if isinstance(one, Release) else Release(journey=one) for one in several]
    if not releases:
        raise DataError("there is no journey to replay")
    return releases


def _has_consent(names: LogNames, purpose: str) -> bool:
    """Whether the log has any event of giving or withdrawing consent for a purpose (rule 34)."""
    if names.log.part_of is not None:
        return names.log.part_of.has_consent(purpose)
    about = for_purpose(purpose, names)
    return any(names.has_events(event, about) for event in ("consent_given", "consent_withdrawn"))


def horizon_of(until: datetime | str | None, log: EventLog | BucketedLog | LogElsewhere) -> datetime:
    """The horizon that is asked for, or the log's last instant (rule 35)."""
    if until is None:
        return instant(log.end_us)
    try:
        when = datetime.fromisoformat(until) if isinstance(until, str) else until
        return instant(microseconds(when))
    except ValueError as problem:
        raise DataError(f"the horizon: {problem}; write it as 2026-03-29T12:00:00+00:00") from None


def _needs_units(compiled: Compiled) -> bool:
    program = compiled.program
    holdouts = program.journeys_x[:, [o.X_HOLDOUT, o.X_POLICY_HOLDOUT]]
    shares = program.journeys_x[:, [o.X_SHARE_FROM, o.X_SHARE_TO]]
    by_chance = (holdouts > 0).any() or (shares != (0, 1)).any()
    return bool(len(program.arms) > 0 or (program.bests_x > 0).any() or by_chance)


def _needs_first(compiled: Compiled) -> bool:
    return bool((compiled.program.journeys[:, o.J_TRIGGER] == o.TRIGGER_SEGMENT).any())


def codes_of(log: EventLog, contacts: Any, what: str) -> NDArray[np.int64]:
    """The indices of contacts, -1 for those that the log does not have."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        ids = pa.array(contacts, log.contact_ids.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as problem:
        raise DataError(f"{what}: the contacts are not like those of the log ({problem})") from None
    return np.asarray(pc.fill_null(pc.index_in(ids, log.contact_ids), -1), dtype=np.int64)


def _columns(table: pd.DataFrame, wanted: Sequence[str], what: str) -> None:
    for column in wanted:
        if column not in table.columns:
            raise DataError(f"{what} needs a column {column!r}; {known(column, table.columns, 'columns')}")


def _scores(
    names: LogNames, log: EventLog, scores: Mapping[str, Table | Score]
) -> tuple[dict[str, AsOf], dict[str, Score]]:
    """The scores that are tables, and those that are asked for."""
    tables, asked = {}, {}
    for name in names.score_names:
        if name not in scores:
            raise DataError(f"no score {name!r} was given; {known(name, scores, 'scores')}")
        score = scores[name]
        if callable(score) and not is_table(score):
            asked[name] = score
            continue
        score = as_frame(score, f"score {name!r}")
        _columns(score, ("contact", "score"), f"score {name!r}")
        code = codes_of(log, score["contact"], f"score {name!r}")
        at = (
            score["as_of"].map(microseconds).to_numpy(np.int64)
            if "as_of" in score.columns
            else np.full(len(code), -NEVER)
        )
        order = np.lexsort((at, code))
        order = order[code[order] >= 0]
        code, at, value = code[order], at[order], score["score"].to_numpy(np.float64)[order]
        offsets = np.searchsorted(code, np.arange(log.n_contacts + 1)).astype(np.int64)
        base = np.full(log.n_contacts, np.nan)
        tables[name] = AsOf("number", base, offsets, at, np.arange(len(at)), value)
    return tables, asked


def _answerer(
    compiled: Compiled,
    log: EventLog,
    scores: Mapping[str, Score],
    calls: Mapping[str, Call],
    score_names: Sequence[str],
) -> Callable[[Sequence[Request]], list[Answer]]:
    """What answers requests for scores and calls, a round at a time."""

    def answer(requests: Sequence[Request]) -> list[Answer]:
        answers = []
        for name, index in ((name, i) for i, name in enumerate(score_names) if name in scores):
            mine = [one for one in requests if one.kind == o.ASK_SCORE and one.name == index]
            if mine:
                contacts = [log.contact_ids[one.contact].as_py() for one in mine]
                values = scores[name](contacts, [instant(one.at) for one in mine])
                answers += [Answer(one, float(value), one.at) for one, value in zip(mine, values, strict=True)]
        for one in requests:
            if one.kind == o.ASK_CALL:
                service = compiled.nodes[one.name].node.call  # type: ignore[attr-defined]
                succeeds = calls[service](log.contact_ids[one.contact].as_py(), instant(one.at))
                answers.append(Answer(one, float(bool(succeeds)), one.at))
        return answers

    return answer
