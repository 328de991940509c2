"""What an assistant is answered: the fields of each answer, with what they mean, as schemas say it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

__all__ = ["Change", "Checked", "Differences", "Drawing", "Fault", "Named", "Told", "Written"]

Cell = str | int | float | bool | None


class Named(BaseModel):
    """A journey that was read."""

    journey: str
    version: Annotated[str, Field(description="The hash of what the journey does.")]


class Fault(BaseModel):
    """What is wrong, and where."""

    file: str | None
    path: Annotated[list[str | int], Field(description="From the top of the file to the fault.")]
    line: int | None
    column: int | None
    message: str


class Checked(BaseModel):
    """Whether journeys are sound."""

    is_sound: bool
    journeys: list[Named]
    faults: list[Fault]
    notes: Annotated[list[str], Field(description="What is legal and worth knowing.")]
    not_in_the_log: Annotated[
        list[Fault],
        Field(description="Names that no ten people of the event log have: a journey that asks for them cannot run."),
    ]


class Drawing(BaseModel):
    """A journey as a picture."""

    journey: str
    version: str
    form: Annotated[str, Field(description='"mermaid" or "svg".')]
    text: Annotated[str, Field(description="The picture, in that form.")]


class Change(BaseModel):
    """One difference between two definitions."""

    journey: str
    path: list[str | int]
    kind: Annotated[str, Field(description='"added", "removed", "changed" or "renamed".')]
    before: Any
    after: Any
    text: Annotated[str, Field(description="The same in words.")]


class Differences(BaseModel):
    """What differs between two definitions; nothing does where there are no changes."""

    changes: list[Change]


class Told(BaseModel):
    """What may be told of people; every number of them went through the release gate."""

    of: Annotated[str, Field(description='"replay", "simulation" or "backtest".')]
    title: str
    version: Annotated[str, Field(description="The hash of what the journey does.")]
    is_told: Annotated[
        bool,
        Field(description="False where nothing may be told: nobody or few people entered, or it would tell of few."),
    ]
    answer: str
    first_day: Annotated[str | None, Field(description="The first day that the numbers are of.")]
    until_day: Annotated[str | None, Field(description="The day after the last one.")]
    tables: Annotated[
        dict[str, list[dict[str, Cell]]],
        Field(
            description="By name, a row for each number: how many contacts (rounded to five), of how many, the share, "
            "and a status; null is hidden, and asking in another way does not show it."
        ),
    ]
    n_shown: int
    n_hidden: int
    basis: Annotated[list[str], Field(description="What is observed, predicted and assumed.")]
    unknown: Annotated[list[str], Field(description="What cannot be known from this; say it with the numbers.")]
    next_steps: list[str]
    how_to_read: list[str]


class Written(BaseModel):
    """A report for readers."""

    title: str
    language: str
    is_told: bool
    markdown: Annotated[
        str, Field(description="The whole report. Quote it as it is; its numbers are what may be told.")
    ]
