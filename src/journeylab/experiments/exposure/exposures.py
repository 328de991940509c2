"""Who was in an experiment, from when on, and in which arm: exposures, from a replay of the journey that ran.

A unit is exposed when it reaches the place at which arms part, in every arm and in the holdout alike. A replay of the
released journey over the log that it left reproduces who reached that place, when, and with which arm (rules 22, 23
and 29); what followed is in the log. `Exposures.confirmed` says how many of the replayed sends the log has, and so
whether the experiment really ran.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import numpy as np

from journeylab import layout as o
from journeylab.errors import DataError, known, listed
from journeylab.experiments.experiment import HOLDOUT
from journeylab.graph import reachable
from journeylab.journey import CONTACT, Exit, Run, Send, Split
from journeylab.language import plural

from .comparedjourneys import journey_exposures
from .exposuretable import Exposures, exposures_of, journey_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from journeylab.program import Compiled
    from journeylab.replay import Replay

__all__ = ["TREATED", "Exposures", "holdout_exposures", "journey_exposures", "split_exposures"]

TREATED: Final = "treated"
"""The arm of those who are not held out, where a whole journey is held against its holdout."""
_OF_POLICY = "policy_holdout"
_Value = TypeVar("_Value")


def split_exposures(replay: Replay, node: str, journey: str | None = None, *, control: str | None = None) -> Exposures:
    """The units that reached a split, exposed at the first time, each in the arm that it was assigned.

    Units are contacts; with a journey's `unit` they share their arm, and the unit is their `cluster`; of a split
    `per: entry` entries are the units, and those whose entries they are, contacts or the journey's units, the clusters.
    Those whom the journey's holdout (share h) or the policy's (share p) holds out reach the split like all others, and
    form the arm `holdout` with probability 1 - (1 - h)(1 - p), an arm of share s then having (1 - h)(1 - p) s. Where a
    message may come before the split, the held out who reach it are not like the others who do: they are left out, and
    a note says so.

    Args:
        replay: of the journey as it was released, over the log that it left.
        node: the split's name (in a part, `NODE.NAME`).
        journey: the journey, where the replay has several.
        control: the arm that the others are held against; by default the first that the split lists.

    Raises:
        DataError: when there is no such journey, split or arm, nobody reached it, or its shares are not the same in
            all versions that were replayed.

    >>> from journeylab import datasets, replay
    >>> split_exposures(replay(datasets.shop_history(), datasets.shop()), "offer", "akacja_welcome")
    Exposures(akacja_welcome/offer: discount ..., free_month ..., plain ... until 2026-05-25)
    """
    name = journey_of(replay, journey)
    split = _one_of_all(_splits(replay, name, node), f"the split {node!r}")
    arms = {f"{_prefix(node)}{arm}": float(share) for arm, share in split.split.items() if share > 0}
    held_share = _held_share(replay, name)
    if HOLDOUT in arms:
        raise DataError(f"{name}/{node}: an arm is called {HOLDOUT!r}, as those held out are; call it something else")
    keys = [CONTACT, "entry"] if split.per == "entry" else [CONTACT]
    assigned = replay.assignments
    assigned = assigned[assigned["journey"] == name]
    rows, notes = _first_rows(assigned[assigned["node"] == node], keys, f"{name}/{node}")
    held = assigned[assigned["node"].isin([HOLDOUT, _OF_POLICY]) & (assigned["arm"] == HOLDOUT)]
    is_held = _is_among(rows, held)
    shares = arms
    if held_share > 0 and _may_send_before(replay, name, node):
        rows = rows[~is_held]
        notes.append(
            plural(
                "{name}: {n} unit of the holdout reached the split without the messages that may come before it and "
                "are not like the others who did; they are left out. What the whole journey brings is told by "
                "holdout_exposures.",
                "{name}: {n} units of the holdout reached the split without the messages that may come before it and "
                "are not like the others who did; they are left out. What the whole journey brings is told by "
                "holdout_exposures.",
                int(is_held.sum()),
                name=f"{name}/{node}",
            )
        )
    elif held_share > 0:
        rows = rows.assign(arm=rows["arm"].where(~is_held, HOLDOUT))
        shares = {**{arm: (1 - held_share) * share for arm, share in arms.items()}, HOLDOUT: held_share}
    cluster = _unit_column(replay, name)
    if split.per == "entry":
        cluster = cluster or CONTACT
        rows = rows.assign(assigned_unit=rows["unit"].astype("str") + "#" + rows["entry"].astype("str"))
    return exposures_of(
        dict.fromkeys(shares, replay), rows, shares, control=control, name=f"{name}/{node}", cluster=cluster,
        journeys=[name], keys=keys, notes=notes,
    )  # fmt: skip


def holdout_exposures(
    replay: Replay,
    journey: str | None = None,
    *,
    holdout: Literal["journey", "policy"] = "journey",
    control: str = HOLDOUT,
) -> Exposures:
    """The contacts who entered, exposed at their first entry: the arm `treated` against the arm `holdout`.

    With `holdout="journey"` it is a journey against its own holdout; those whom the policy holds out are left out. With
    `holdout="policy"` it is everything that the policy may hold out (or, where one is named, one journey) against the
    policy's holdout.

    Raises:
        DataError: when there is no such journey, nothing is held out, nobody entered, or the share held out is not the
            same in all versions that were replayed.

    >>> from journeylab import datasets, replay
    >>> holdout_exposures(replay(datasets.shop_history(), datasets.shop()), "akacja_winback")
    Exposures(the holdout of akacja_winback: treated 3,637, holdout 400 until 2026-05-25)
    """
    assigned = replay.assignments
    if holdout == "policy":
        names = [journey_of(replay, journey)] if journey is not None else list(replay.compiled.groups)
        held = {
            name: float(_one_of_all(_by_version(replay, name, _OF_POLICY), "the policy's holdout")) for name in names
        }
        names = [one for one in names if held[one] > 0]
        share, node, title = max(held.values()), _OF_POLICY, "the policy's holdout"
    else:
        names = [journey_of(replay, journey)]
        share = _one_of_all(_by_version(replay, names[0], HOLDOUT), f"the holdout of {names[0]!r}")
        node, title = HOLDOUT, f"the holdout of {names[0]}"
    if not share:
        raise DataError(f"{title}: nobody is held out; give the {holdout} a holdout, such as 5%, before it is released")
    mine = assigned[assigned["journey"].isin(names)]
    drawn, notes = mine[mine["node"] == node], []
    if holdout == "journey":
        others = mine[(mine["node"] == _OF_POLICY) & (mine["arm"] == HOLDOUT)]
        is_other = _is_among(drawn, others)
        drawn = drawn[~is_other]
        if is_other.any():
            notes.append(
                plural(
                    "{name}: {n} entry of contacts whom the policy holds out are left out.",
                    "{name}: {n} entries of contacts whom the policy holds out are left out.",
                    int(is_other.sum()),
                    name=title,
                )
            )
    rows, more = _first_rows(drawn, [CONTACT], title)
    return exposures_of(
        {TREATED: replay, HOLDOUT: replay}, rows, {TREATED: 1 - share, HOLDOUT: share}, control=control, name=title,
        cluster=_unit_column(replay, names[0]) if holdout == "journey" else None, journeys=names, notes=[*notes, *more],
    )  # fmt: skip


def _first_rows(rows: pd.DataFrame, keys: list[str], name: str) -> tuple[pd.DataFrame, list[str]]:
    """The first assignment of each contact (or entry), and a note on those who were in another arm later.

    Raises:
        DataError: when there is none.
    """
    if rows.empty:
        raise DataError(f"{name}: nobody was exposed by the replay's horizon; replay a log in which somebody was")
    rows = rows.astype({"arm": "str", "node": "str"}).sort_values("assigned_at", kind="stable")
    first = rows.drop_duplicates(keys)
    n_moved = rows.drop_duplicates([*keys, "arm"]).duplicated(keys).sum()
    notes = []
    if n_moved:
        notes.append(
            plural(
                "{name}: {n} contact came back in another arm, the unit having changed or the version; they count in "
                "the arm of their first exposure.",
                "{name}: {n} contacts came back in another arm, the unit having changed or the version; they count in "
                "the arm of their first exposure.",
                int(n_moved),
                name=name,
            )
        )
    return first, notes


def _prefix(node: str) -> str:
    """What the arms of a split in a part are called before their own names."""
    run, dot, _ = node.rpartition(".")
    return run + dot


def _splits(replay: Replay, journey: str, node: str) -> dict[str, Split]:
    """The split of each version that has it."""
    compiled = replay.compiled
    mine = [
        (compiled.releases[one.journey].journey.version, one)
        for one in compiled.nodes
        if compiled.releases[one.journey].journey.journey == journey
    ]
    found = {version: one.node for version, one in mine if one.name == node}
    splits = {version: one for version, one in found.items() if isinstance(one, Split)}
    if not splits:
        names = {one.name for _, one in mine if isinstance(one.node, Split)}
        what = f"{node!r} is no split but a {next(iter(found.values())).verb}" if found else f"no split {node!r}"
        raise DataError(f"journey {journey!r}: {what}; {known(node, names, 'splits')}")
    return splits


def _by_version(replay: Replay, journey: str, holdout: str) -> dict[str, float]:
    """The share that each version's own holdout, or the policy's, holds out."""
    return {
        one.journey.version: float(
            replay.policy.holdout_of(one.journey) if holdout == _OF_POLICY else one.journey.holdout
        )
        for one in replay.compiled.releases
        if one.journey.journey == journey
    }


def _held_share(replay: Replay, journey: str) -> float:
    shares = [_one_of_all(_by_version(replay, journey, one), "the holdout") for one in (HOLDOUT, _OF_POLICY)]
    return 1 - math.prod(1 - share for share in shares)


def _one_of_all(by_version: Mapping[str, _Value], what: str) -> _Value:
    """What all versions have alike.

    Raises:
        DataError: when they do not.
    """
    first, *others = by_version.values()
    if any(other != first for other in others):
        raise DataError(
            f"{what} is not the same in the versions {listed(by_version)}; contacts who entered before and after a "
            "release are not alike, so replay each version up to the next one's release, and judge them apart"
        )
    return first


def _unit_column(replay: Replay, journey: str) -> str | None:
    """The column of assignments that has the clusters, where contacts do not have arms of their own."""
    units = {one.journey.unit for one in replay.compiled.releases if one.journey.journey == journey}
    return None if units == {CONTACT} else "unit"


def _is_among(rows: pd.DataFrame, others: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows are of an entry that other rows have."""
    keys = [CONTACT, "journey", "entry"]
    there = others[keys].drop_duplicates().assign(is_there=True)
    return np.asarray(rows[keys].merge(there, on=keys, how="left")["is_there"].notna())


def _may_send_before(replay: Replay, journey: str, node: str) -> bool:
    """Whether a contact may have been sent something by the journey before it first reaches a node."""
    compiled = replay.compiled
    for index, release in enumerate(compiled.releases):
        if release.journey.journey != journey:
            continue
        nodes = {one.name: one.node for one in compiled.nodes if one.journey == index}
        following = _following(compiled, index)
        comes_back, split = release.journey.trigger.reentry != "never", nodes.get(node)
        again = comes_back and isinstance(split, Split) and split.per == "entry"
        before = _reached(release.journey.first, None if again else node, following)
        if not comes_back:  # else an entry that never reached the node may have gone before
            backwards: dict[str, list[str]] = {}
            for name, targets in following.items():
                for target in targets:
                    backwards.setdefault(target, []).append(name)
            before &= _reached(node, None, backwards)
        if any(isinstance(nodes[name], Send) for name in before):
            return True
    return False


def _following(compiled: Compiled, index: int) -> dict[str, list[str]]:
    """The nodes that may follow each node of a version: a `run` its part's first, its part's exits what comes next."""
    names = {place: one.name for place, one in enumerate(compiled.nodes) if one.journey == index}
    following: dict[str, list[str]] = {name: [] for name in names.values()}
    for edge in compiled.edges:
        if edge.node in names:
            following[names[edge.node]].append(edge.target)
    after_part = {f"{name}.": following[name] for name in following}
    for place, name in names.items():
        node = compiled.nodes[place].node
        if isinstance(node, Run):
            following[name] = [names[int(compiled.program.nodes[place, o.A])]]
        elif isinstance(node, Exit) and _prefix(name):
            following[name] = after_part[_prefix(name)]
    return following


def _reached(start: str, end: str | None, edges: Mapping[str, Collection[str]]) -> set[str]:
    """The nodes that can be reached without passing through `end`; it is not among them."""
    onward = {name: [one for one in targets if one != end] for name, targets in edges.items()}
    return reachable([start] if start != end else [], onward)
