"""A journey on its way to another system: what became of each part of it, and what the system cannot have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, TypeVar

from journeylab.errors import DefinitionError, Fault
from journeylab.journey import Journey

from .export import Place
from .outcomes import Outcome, Verdict
from .unsaid import Unsaid

__all__ = ["Writing"]

Made = TypeVar("Made")


class Writing:
    """A journey that is being written in another system's format.

    Attributes:
        system: what messages call the system.
        source: the journey.
        outcomes: what became of its parts so far.
        faults: what the system cannot have.
    """

    system: ClassVar[str]

    def __init__(self, journey: Journey) -> None:
        self.source = journey
        self.outcomes: list[Outcome] = []
        self.faults: list[Fault] = []

    def did(self, place: Place, what: str, verdict: Verdict, *becomes: str, note: str = "") -> None:
        """Notes what became of a part."""
        self.outcomes.append(Outcome(place, what, verdict, becomes, note))

    def noted(self, place: Place, what: str, notes: Sequence[str], *becomes: str) -> None:
        """Notes what became of a part, which is approximated where there is anything to say of it."""
        said = dict.fromkeys(one for one in notes if one)
        self.did(place, what, Verdict.approximated if said else Verdict.mapped, *becomes, note="; ".join(said))

    def leaves_out(self, whole: Mapping[str, str]) -> None:
        """Notes the fields that the system has nothing for, where they say anything, with the reasons."""
        for field, why in whole.items():
            if getattr(self.source, field) != Journey.model_fields[field].get_default():
                self.did((field,), field, Verdict.left_out, note=why)

    def cannot(self, place: Place, why: object) -> None:
        """Notes what the system cannot have."""
        self.faults.append(Fault(place, f"{self.system} cannot have this: {why}", self.source.journey))

    def within(self, place: Place, do: Callable[[], Made]) -> Made | None:
        """What comes of writing a part; None, and noted, where the system cannot have it."""
        try:
            return do()
        except Unsaid as why:
            self.cannot(place, why)
            return None

    def done(self, made: Made) -> tuple[Made, list[Outcome]]:
        """What was made, and what became of each part.

        Raises:
            DefinitionError: with every part that the system cannot have in any way.
        """
        if self.faults:
            raise DefinitionError(self.faults)
        return made, self.outcomes
