"""What a connector can be told: the words of `push` in the settings, and the facts that each stands for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from journeylab.errors import known

__all__ = ["PUSHED", "check_push", "facts_of"]

_HAPPENED: Final = ("message.sent", "message.bounced", "journey.entered", "journey.left", "journey.converted")
PUSHED: Final[dict[str, tuple[str, ...]]] = {
    "consent": ("consent.given", "consent.withdrawn"),
    "suppression": ("contact.suppressed",),
    "erasure": ("contact.erased",),
    "contacts": _HAPPENED,
    "timeline": _HAPPENED,
}
"""The kinds of facts of each word: `contacts` keeps what happened last at the contact, `timeline` adds each to it."""


def facts_of(push: Iterable[str]) -> frozenset[str]:
    """The kinds of facts that are told where the settings say `push`.

    >>> sorted(facts_of(["consent", "erasure"]))
    ['consent.given', 'consent.withdrawn', 'contact.erased']
    """
    return frozenset(kind for word in push for kind in PUSHED.get(word, ()))


def check_push(push: tuple[str, ...], can: Iterable[str] = PUSHED) -> tuple[str, ...]:
    """The words, where each is one that a connector of a kind can be told.

    Raises:
        ValueError: as pydantic's validators do.
    """
    can = sorted(can)
    for word in push:
        if word not in can:
            raise ValueError(f"push: nothing is told by the word {word!r}; {known(word, can, 'words')}")
    return push
