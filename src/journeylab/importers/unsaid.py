"""What exports say that no condition of ours says: flag attributes, which contacts have to bring."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from journeylab.errors import known

from .draft import Draft, name_of
from .export import Part
from .outcomes import Verdict

__all__ = ["Flags", "Unsaid", "quiet", "target_of"]

_LABELS: Final = 40


class Unsaid(Exception):
    """A part of a filter that no condition says; its text is why."""


class Flags:
    """The flag attributes of one journey that stand for filters which no condition says."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._labels: dict[str, str] = {}

    def of(self, label: str, part: Part, why: object) -> str:
        """The flag attribute for a filter, the same whenever the same label comes; noted with the reason."""
        wanted = name_of(label[:_LABELS], "filter")
        name, n = wanted, 2
        while self._labels.get(name, label) != label:
            name, n = f"{wanted}_{n}", n + 1
        self._labels[name] = label
        note = f"{why}; here it is the flag attribute {name}, which the contacts have to have"
        self._draft.note(part, f"filter {label!r}", Verdict.approximated, name, note=note)
        return name


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
