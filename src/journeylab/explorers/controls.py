"""The controls of explorers: what a person may choose, as plain data for the browser, and checks of what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from journeylab.errors import DataError, known
from journeylab.language import say

__all__ = [
    "Again",
    "Choice",
    "ConditionText",
    "Control",
    "ControlError",
    "Kept",
    "Several",
    "Slider",
    "Stepper",
    "Text",
    "Toggle",
    "checked_values",
]


class ControlError(DataError):
    """What is chosen at one control cannot be; `control` is its name."""

    def __init__(self, control: str, message: str) -> None:
        super().__init__(message)
        self.control = control


@dataclass(frozen=True, kw_only=True)
class Control:
    """What all controls have: a `name` among the values, a `label`, and a `hint` below it."""

    kind: ClassVar[str]
    name: str
    label: str
    hint: str = ""

    def checked(self, value: Any) -> Any:
        """The value, when it can be one of this control's.

        Raises:
            ControlError: when it cannot.
        """
        return value

    def sent(self) -> dict[str, Any]:
        """The control as the browser takes it."""
        return {"kind": self.kind, **asdict(self)}


def _one_of(control: Control, value: Any, options: Sequence[tuple[Any, str]]) -> Any:
    values = [one for one, _ in options]
    if value not in values:
        raise ControlError(control.name, f"{control.name}={value!r}: {known(str(value), values, 'values')}")
    return value


@dataclass(frozen=True, kw_only=True)
class Choice(Control):
    """One of some values, each with its words."""

    kind = "choice"
    options: Sequence[tuple[Any, str]]

    def checked(self, value: Any) -> Any:
        return _one_of(self, value, self.options)


@dataclass(frozen=True, kw_only=True)
class Slider(Control):
    """One of some values in their order, each with its words, along a line."""

    kind = "slider"
    options: Sequence[tuple[Any, str]]

    def checked(self, value: Any) -> Any:
        return _one_of(self, value, self.options)


@dataclass(frozen=True, kw_only=True)
class Several(Control):
    """Any number of some values."""

    kind = "several"
    options: Sequence[tuple[Any, str]]

    def checked(self, value: Any) -> list[Any]:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ControlError(self.name, f"{self.name} is a list of values, got {value!r}")
        return [_one_of(self, one, self.options) for one in value]


@dataclass(frozen=True, kw_only=True)
class Text(Control):
    """Any text of one line."""

    kind = "text"

    def checked(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ControlError(self.name, f"{self.name} is a text, got {value!r}")
        return " ".join(value.split())


@dataclass(frozen=True, kw_only=True)
class ConditionText(Text):
    """The text of a condition, completed by the names of the log."""

    kind = "condition"


@dataclass(frozen=True, kw_only=True)
class Toggle(Control):
    """Yes or no."""

    kind = "toggle"

    def checked(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ControlError(self.name, f"{self.name} is true or false, got {value!r}")
        return value


@dataclass(frozen=True, kw_only=True)
class Stepper(Control):
    """A whole number from 0 on, one step at a time: the place among `n` things, or among any number of them."""

    kind = "stepper"
    n: int | None = None

    def checked(self, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ControlError(self.name, f"{self.name} is a whole number from 0 on, got {value!r}")
        return value if self.n is None else min(value, max(0, self.n - 1))


@dataclass(frozen=True, kw_only=True)
class Again(Stepper):
    """How often something was asked anew: one button, which its label names."""

    kind = "again"


@dataclass(frozen=True, kw_only=True)
class Kept(Control):
    """Named conditions that are kept: a list of `{"name": ..., "condition": ...}`.

    The condition of what was given otherwise than as a condition is None. `text` and `title` name the controls that
    hold the condition and the name of what would be kept next.
    """

    kind = "kept"
    text: str
    title: str

    def checked(self, value: Any) -> list[dict[str, Any]]:
        try:
            found = [{"name": " ".join(str(one["name"]).split()), "condition": one["condition"]} for one in value]
        except (KeyError, TypeError):
            raise ControlError(self.name, f"{self.name} is a list of names and conditions, got {value!r}") from None
        names = [one["name"] for one in found]
        for one in names:
            if not one or names.count(one) > 1:
                raise ControlError(self.name, say("Give each segment a name of its own."))
        return found


def checked_values(controls: Sequence[Control], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of controls by name, each checked.

    Raises:
        DataError: for a value of a control that there is not, and for one that its control cannot have.
    """
    names = [one.name for one in controls]
    for name in values:
        if name not in names:
            raise DataError(f"values: no control {name!r}; {known(name, names, 'controls')}")
    return {one.name: one.checked(values[one.name]) for one in controls if one.name in values}
