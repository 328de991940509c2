"""Filters that no condition says, and connections that lead nowhere."""

from __future__ import annotations

from collections.abc import Collection

from journeylab.errors import known

from .draft import Draft
from .export import Part

__all__ = ["Unsaid", "quiet", "target_of"]


class Unsaid(Exception):
    """A part of a filter that no condition says; its text is why."""


def quiet(part: Part) -> None:
    """Notes all of a part as looked at, where it is said as a whole that it is not in the journey."""
    part.skip(*part.data)


def target_of(part: Part, key: str, target: str | None, actions: Collection[str], draft: Draft) -> str:
    """The node that a connection leads to, the exit where it leads nowhere.

    Raises:
        Malformed: when there is no such element.
    """
    if target is None:
        return draft.exit()
    if target not in actions:
        raise part.malformed(f"there is no action {target!r}; {known(target, actions, 'actions')}", key)
    return draft.name(target)
