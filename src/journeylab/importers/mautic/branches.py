"""Which events go on side by side.

Whatever follows one event in Mautic begins at once and goes on side by side, and an entry here is in one node. Actions
after which nothing comes are put one behind another, in the order in which they are due; other branches become journeys
of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from .events import Event

__all__ = ["Branches", "branches", "members"]


@dataclass(frozen=True)
class Branches:
    """Siblings in the order of their entry.

    Attributes:
        chain: those that follow one another in the same journey; the last one may lead on.
        aside: groups that are journeys of their own.
    """

    chain: tuple[Event, ...]
    aside: tuple[tuple[Event, ...], ...] = ()


def branches(siblings: Sequence[Event]) -> Branches:
    """How siblings go on."""
    leaves = sorted((one for one in siblings if one.is_leaf), key=lambda one: one.timing.delay)
    others = [one for one in siblings if not one.is_leaf]
    if not others:
        return Branches(tuple(leaves))
    only = others[0] if len(others) == 1 else None
    latest = max((one.timing.delay for one in leaves), default=timedelta(0))
    if only is not None and only.timing.is_plain and only.kind != "decision" and only.timing.delay >= latest:
        return Branches((*leaves, only))
    at_once = [one for one in leaves if not one.timing.delay]
    later = tuple(one for one in leaves if one.timing.delay)
    main = next((one for one in others if one.kind == "decision"), others[0])
    aside = [(one,) for one in others if one is not main]
    return Branches((*at_once, main), (*aside, *([later] if later else [])))


def members(roots: Sequence[Event]) -> set[str]:
    """The ids of all events that stay in the journey that begins with some."""
    found: set[str] = set()
    waiting = [tuple(roots)]
    while waiting:
        for event in branches(waiting.pop()).chain:
            found.add(event.id)
            waiting += [tuple(children) for children in event.children.values()]
    return found
