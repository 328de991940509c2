"""The path explorer: what became of one contact in a replay, and why, under a pseudonym."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from journeylab.errors import DataError
from journeylab.language import current, duration_words, plural, say

from .controls import Choice, Control, Stepper
from .explorer import Explorer
from .pathpictures import path_svg
from .steps import ANY, EntryPath, counted_places, counted_words, entries_that_went, path_of
from .views import SMALLEST, Picture, View

if TYPE_CHECKING:
    from journeylab.replay import Replay

__all__ = ["PathExplorer"]


class PathExplorer(Explorer):
    """Shows one contact who went to a node, took a branch or left by an exit, step by step, with the reason of each.

    Its values are the `journey`, where the contact `went` ("any", "inside", "node:NAME", "branch:NODE:BRANCH" or
    "exit:NAME"), and which of those who did (`place`, from 0). Its tables are `steps` and `events`. Contacts have
    pseudonyms that hold for the session.

    >>> import journeylab as jl
    >>> journey = jl.Journey.read(jl.datasets.journey_file("trial_welcome"))
    >>> explorer = PathExplorer(jl.replay(journey, jl.datasets.shop()), went="exit:unmoved")
    >>> list(explorer.tables)
    ['steps', 'events']
    """

    def __init__(self, result: Replay, went: str = ANY, *, journey: str | None = None, language: str = "en") -> None:
        """Shows the first who went there.

        Args:
            result: a replay.
            went: where, as in the values.
            journey: the journey's name; by default the first.
            language: of the explorer, `en` or `pl`.

        Raises:
            DataError: when nobody entered, or there is no such journey, place or language.
        """
        if not result.n_entries:
            raise DataError("nobody entered in this replay, so there is no path to show")
        self._result = result
        self._entered = [one.journey for one in result.journeys if one.journey in set(result.entries["journey"])]
        self._places: dict[tuple[str, str], list[tuple[str, int, str]]] = {}
        self._went: dict[tuple[str, str], list[tuple[Any, int]]] = {}
        super().__init__({"journey": journey or self._entered[0], "went": went, "place": 0}, language=language)

    def title(self) -> str:
        return say("Paths of single contacts")

    def controls(self, values: Mapping[str, Any]) -> Sequence[Control]:
        choice = Choice(name="journey", label=say("Journey"), options=[(one, one) for one in self._entered])
        journey = choice.checked(values["journey"])
        key = (journey, current())
        if key not in self._places:
            self._places[key] = counted_places(self._result, journey)
        places = [(went, f"{words} ({counted_words(n, SMALLEST)})") for went, n, words in self._places[key]]
        is_there = values["went"] in [one for one, _ in places]
        n = len(self._those(journey, values["went"])) if is_there else 0
        return (
            choice,
            Choice(name="went", label=say("Show me one who"), options=places),
            Stepper(name="place", label=say("Which of them"), n=n if n >= SMALLEST else None if n > 1 else n),
        )

    def look(self, values: Mapping[str, Any]) -> View:
        there = self._those(values["journey"], values["went"])
        journey = next(one for one in self._result.journeys if one.journey == values["journey"])
        place = min(values["place"], len(there) - 1)
        contact, entry = there[place]
        path = path_of(self._result, contact, entry, journey)
        asked = f", journey={path.journey!r}" if len(self._result.journeys) > 1 else ""
        return View(
            finding=_finding(path),
            pictures=(_steps_picture(path), _events_picture(path)),
            notes=(
                say("A replay says what the journey would have done; the events are those of the log."),
                say("Whoever knows the contact may know this path: it is for looking, not for passing on."),
            ),
            code=(
                "import journeylab as jl\n\n"
                f"path = jl.explorers.contact_path(result, {values['went']!r}, {place}{asked})\n"
                "steps = path.steps\nevents = path.events\n"
            ),
        )

    def _those(self, journey: str, went: str) -> list[tuple[Any, int]]:
        if (journey, went) not in self._went:
            self._went[journey, went] = entries_that_went(self._result, went, journey)
        return self._went[journey, went]


def _finding(path: EntryPath) -> str:
    length = duration_words((path.steps["left_at"].max() - path.steps["arrived_at"].min()).to_pytimedelta())
    visits = plural("{n} visit", "{n} visits", len(path.steps))
    if path.exit is None:
        return say("{contact}: {visits}, still inside.", contact=path.pseudonym, visits=visits)
    return say("{contact}: {visits} in {length}, left by {exit}.", contact=path.pseudonym, visits=visits, length=length,
               exit=path.exit)  # fmt: skip


def _steps_picture(path: EntryPath) -> Picture:
    title = say("Visits, sends and events")
    return Picture(
        name="steps",
        title=title,
        svg=path_svg(path, title),
        table=path.steps,
        heads={"arrived_local": say("Arrived (local)"), "node": say("Node"), "branch": say("Branch"), "why": say("Why"),
               "evidence": say("Evidence")},
        notes=[say("Times are local, in {timezone}.", timezone=path.timezone)],
    )  # fmt: skip


def _events_picture(path: EntryPath) -> Picture:
    return Picture(
        name="events",
        title=say("Events around it"),
        svg="",
        table=path.events,
        heads={"occurred_local": say("At (local)"), "event": say("Event")},
        notes=[say("From a week before the entry until a week after it ended.")],
    )
