"""Who was in a comparison of journeys, or of versions of one: arms by keyed hashes, exposed at entry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from journeylab.errors import DataError, known
from journeylab.journey import CONTACT, Journey
from journeylab.keyedhash import mix, purpose_key, unit_hashes
from journeylab.language import plural
from journeylab.worlds import codes_of

from .exposuretable import Exposures, exposures_of, journey_of
from .windows import attribute_as_of, microseconds_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from journeylab.eventlog import EventLog
    from journeylab.replay import Replay

__all__ = ["arms_of", "journey_exposures"]

_ENTRY = "entry"


def arms_of(units: object, salt: str, shares: Mapping[str, Fraction | float]) -> NDArray[np.object_]:
    """The arm of each unit, as `keyedhash.arm_of` gives it (rule 22): texts.

    >>> arms_of(["ada", "bo", "cy", "di"], "offer_test", {"old": 0.5, "new": 0.5}).tolist()
    ['new', 'new', 'new', 'old']
    """
    import pyarrow as pa

    arms = sorted(arm for arm, share in shares.items() if share > 0)
    hashes = unit_hashes(pa.array(units))
    weights = np.empty((len(arms), len(hashes)))
    for weight, arm in zip(weights, arms, strict=True):
        mixed = mix(hashes ^ np.uint64(purpose_key(f"{salt}/{arm}")))
        uniform = ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        weight[:] = -np.log(uniform) / float(shares[arm])
    return np.asarray(np.array(arms, object)[np.argmin(weights, axis=0)])


def journey_exposures(
    replays: Mapping[str, Replay],
    shares: Mapping[str, Fraction | float],
    salt: str,
    unit: str | None = None,
    *,
    journey: str | None = None,
    control: str | None = None,
) -> Exposures:
    """The contacts who entered, each in the arm that a keyed hash gave it, exposed at its first entry.

    Each arm has a journey of its own, replayed over the same log for all contacts; a contact counts with the replay of
    its own arm. Journeys of other triggers would have other contacts and are refused. Whom the journeys' own holdouts
    or the policy's hold out is left out: they were sent nothing in any arm.

    Args:
        replays: by arm, the replay of its journey.
        shares: by arm, its probability; they add up to one.
        salt: what the assignment was keyed by, as for a split (rule 22).
        unit: what was assigned: contacts, or all contacts together who have the same value of this attribute as of
            their first entry. A contact without one is its own unit. By default the `unit` of the journeys.
        journey: the journey, where the replays have several.
        control: the arm that the others are held against; by default the first.

    Raises:
        DataError: when arms and shares do not fit, the logs or horizons are not the same, the journeys' triggers or
            first entries differ, nobody entered, or the unit is no attribute of texts or whole numbers.

    >>> from journeylab import EventLog, Journey, replay
    >>> rows = [{"contact": n, "event": "signup", "occurred_at": "2026-03-01T09:00Z"} for n in range(100)]
    >>> log, trigger = EventLog.from_rows(rows), {"event": "signup"}
    >>> nodes = {"old": {"wait": "1d", "next": "end"}, "new": {"wait": "2d", "next": "end"}}
    >>> replays = {
    ...     arm: replay(Journey.from_data({"journey": arm, "trigger": trigger,
    ...                                    "nodes": {arm: nodes[arm], "end": {"exit": "end"}}}), log)
    ...     for arm in nodes
    ... }
    >>> journey_exposures(replays, {"old": 0.5, "new": 0.5}, "waits")
    Exposures(old against new: old ..., new ... until 2026-03-01)
    """
    _check(replays, shares)
    title = f"{' against '.join(replays)}"
    names = {arm: journey_of(replay, journey) for arm, replay in replays.items()}
    firsts = {arm: _first_entries(replay, names[arm]) for arm, replay in replays.items()}
    journeys = {arm: _journey(replay, names[arm]) for arm, replay in replays.items()}
    _check_populations(title, journeys, firsts)
    if unit is None:
        unit, *others = {one.unit for one in journeys.values()}
        if others:
            raise DataError(f"{title}: the journeys' units are not the same; say by unit= what was assigned")
    entries = next(iter(firsts.values()))
    if entries.empty:
        raise DataError(f"{title}: nobody entered by the horizon; replay a log in which somebody did")
    log = next(iter(replays.values())).log_in_memory
    units = _units(log, entries, unit)
    arm = arms_of(units, salt, shares)
    held = np.column_stack([firsts[one]["held_out"].to_numpy(bool) for one in replays])
    is_held = held[np.arange(len(entries)), [list(replays).index(one) for one in arm]]
    rows = entries.assign(arm=arm, unit=units, node=_ENTRY, assigned_at=entries["entered_at"])[~is_held]
    notes = []
    if is_held.any():
        notes.append(
            plural(
                "{name}: {n} contact of a holdout were sent nothing in any arm and are left out.",
                "{name}: {n} contacts of a holdout were sent nothing in any arm and are left out.",
                int(is_held.sum()),
                name=title,
            )
        )
    return exposures_of(
        replays, rows, {one: float(shares[one]) for one in replays}, control=control, name=title,
        cluster=None if unit == CONTACT else "unit", journeys=sorted({*names.values()}), notes=notes,
    )  # fmt: skip


def _check(replays: Mapping[str, Replay], shares: Mapping[str, Fraction | float]) -> None:
    if len(replays) < 2:
        raise DataError("a comparison has two journeys or more, each an arm, with a replay")
    if odd := sorted({*replays} ^ {*shares}):
        lacks, there = (
            ("a share and no replay", [*replays]) if odd[0] in shares else ("a replay and no share", [*shares])
        )
        raise DataError(f"arm {odd[0]!r} has {lacks}; {known(odd[0], there, 'arms')}")
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-9) or min(shares.values()) <= 0:
        raise DataError("the shares of the arms lie above 0 and add up to 1")
    first, *others = replays.values()
    if any(one.log is not first.log or one.until != first.until for one in others):
        raise DataError("the arms' journeys must be replayed over the same log and until the same instant")


def _journey(replay: Replay, name: str) -> Journey:
    return next(one for one in replay.journeys if one.journey == name)


def _first_entries(replay: Replay, journey: str) -> pd.DataFrame:
    """Each contact's first entry, in order of the contacts' codes."""
    entries = replay.entries
    mine = entries[(entries["journey"] == journey) & (entries["entry"] == 1)]
    code = codes_of(replay.log_in_memory, mine[CONTACT], journey)
    return mine.iloc[np.argsort(code, kind="stable")].reset_index(drop=True)


def _check_populations(title: str, journeys: Mapping[str, Journey], firsts: Mapping[str, pd.DataFrame]) -> None:
    (arm, first), *others = journeys.items()
    for other, one in others:
        if _entering(one) != _entering(first):
            raise DataError(
                f"{title}: the triggers (or the purpose) of {arm!r} and {other!r} are not the same, so other contacts "
                "enter at other times and an effect could be theirs; compare journeys of one trigger, or split inside"
            )
        columns = [CONTACT, "entered_at"]
        if not firsts[other][columns].equals(firsts[arm][columns]):
            raise DataError(
                f"{title}: {len(firsts[arm]):,} contacts enter {arm!r} and {len(firsts[other]):,} enter {other!r}, and "
                "not all at the same instants; replay both over all contacts, with the same scores and consent"
            )


def _entering(journey: Journey) -> tuple[object, ...]:
    """What decides who enters first, and when."""
    trigger = journey.trigger.model_copy(update={"reentry": "never"})
    segment = journey.known_segments.get(trigger.segment or "")
    return trigger, journey.purpose, journey.timezone, segment


def _units(log: EventLog, entries: pd.DataFrame, unit: str) -> NDArray[np.object_]:
    """The text that the assignment is keyed by, for each first entry."""
    contacts = entries[CONTACT].astype("str").to_numpy(object)
    if unit == CONTACT:
        return np.asarray(contacts)
    code = codes_of(log, entries[CONTACT], unit)
    held = attribute_as_of(log, unit, code, microseconds_of(entries["entered_at"]))
    is_missing = np.isnan(held.values)
    values = np.where(is_missing, 0, held.values)
    if held.kind not in ("text", "number", "unknown") or (values != np.trunc(values)).any():
        raise DataError(f"unit {unit!r} is a {held.kind} in this log; a unit is a text or a whole number (rule 22)")
    whole = values.astype(np.int64)
    texts = np.array(held.categories, object)[whole] if held.categories else whole.astype("str").astype(object)
    return np.asarray(np.where(is_missing, contacts, texts))
