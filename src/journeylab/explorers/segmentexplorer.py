"""The segment explorer: who a condition finds, how many over time, who else they are, and what distinguishes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from journeylab.canvas.vocabulary import of_journey, of_log
from journeylab.clock import microseconds
from journeylab.conditions import Condition
from journeylab.disclosure.thresholds import FEWEST
from journeylab.errors import DataError
from journeylab.journey import Journey, Portfolio, Segment
from journeylab.language import count_text, current, date_text, plural, say, share_text
from journeylab.segments import overlap, sizes

from .contrasts import contrasts_of, members, values_of
from .controls import Choice, ConditionText, Control, ControlError, Kept, Slider, Stepper, Text
from .explorer import Explorer
from .samplepaths import paths_of
from .segmentpictures import MOST_COMBINATIONS, MOST_CONTRASTS, contrasts_svg, overlap_svg, paths_svg, sizes_svg
from .views import SMALLEST, Picture, View

if TYPE_CHECKING:
    from journeylab.eventlog import EventLog
    from journeylab.segments import Segments

__all__ = ["SegmentExplorer"]

_END = "end"
_MOST_ATTRIBUTES = 8
_TAKEN = ("contact", "n_contacts")  # columns of tables that have a column for each segment


class SegmentExplorer(Explorer):
    """Builds a condition and shows whom it finds: size over time, overlap, what distinguishes them, sample paths.

    Its values are `condition` and `name` of the segment that is looked at, the `segments` that are kept beside it,
    `as_of` (a date, 00:00 UTC, or "end"), `every` of the sizes, and which `sample` of paths. Its tables are `sizes`,
    `overlap`, `contrasts` and `paths`.

    >>> from journeylab import datasets
    >>> explorer = SegmentExplorer(datasets.shop(), 'plan == "paid"')
    >>> list(explorer.tables)
    ['sizes', 'overlap', 'contrasts', 'paths']
    """

    def __init__(self, log: EventLog, segments: Segments | None = None, *, language: str = "en") -> None:
        """Shows the first segment, the others are kept beside it.

        Args:
            log: the event log.
            segments: segments as for `journeylab.membership`; by default one that the log suggests.
            language: of the explorer, `en` or `pl`.

        Raises:
            DefinitionError: when a segment is at fault or does not fit the log.
            DataError: when there is no such language.
        """
        self._log = log
        self._given = _named(segments)
        first = next((name for name, one in self._given.items() if one.condition is not None), None)
        condition = self._given[first].condition if first is not None else _suggested(log)
        self._days = _days(log)
        self._known = of_log(log)
        self._values_as_of: dict[Any, Any] = {}
        self._made: dict[str, tuple[Any, Any]] = {}
        kept = [{"name": name, "condition": one.condition} for name, one in self._given.items() if name != first]
        super().__init__(
            {"condition": condition, "name": first or "segment", "segments": kept, "as_of": _END, "every": "7d",
             "sample": 0},
            language=language,
        )  # fmt: skip

    def title(self) -> str:
        return say("Segments")

    def controls(self, values: Mapping[str, Any]) -> Sequence[Control]:  # noqa: ARG002
        days = [(day, date_text(datetime.fromisoformat(day))) for day in self._days]
        return (
            ConditionText(name="condition", label=say("Condition")),
            Text(name="name", label=say("Name")),
            Kept(name="segments", label=say("Kept beside it"), text="condition", title="name"),
            Slider(name="as_of", label=say("As of"), options=[*days, (_END, say("the end of the log"))]),
            Choice(name="every", label=say("Sizes counted every"),
                   options=[("1d", say("day")), ("7d", say("week")), ("28d", say("4 weeks"))]),
            Stepper(name="sample", label=say("Sample of paths")),
        )  # fmt: skip

    def names(self, values: Mapping[str, Any]) -> dict[str, Any]:
        kept = [one["name"] for one in values["segments"]]
        return {**of_journey(None, self._known), "segments": kept}

    def place_of(self, path: Sequence[str | int], values: Mapping[str, Any]) -> str | None:
        if len(path) < 2 or path[0] != "segments":
            return None
        return "condition" if path[1] == values["name"] else "segments"

    def look(self, values: Mapping[str, Any]) -> View:
        log, name = self._log, values["name"]
        segments = self._segments(values)
        said = str(segments)
        as_of = log.end_at if values["as_of"] == _END else datetime.fromisoformat(values["as_of"]).replace(tzinfo=UTC)
        try:
            size_table = self._once("sizes", (said, values["every"]), lambda: sizes(log, segments, values["every"]))
        except DataError as error:
            raise ControlError("every", str(error)) from None
        inside, exists = self._once("members", (said, as_of), lambda: members(log, segments, name, as_of))
        n, of = int(inside.sum()), int(exists.sum())
        contrasts = contrasts_of(self._attributes(as_of), inside, exists)
        paths = paths_of(log, inside, microseconds(as_of), seed=values["sample"])
        return View(
            finding=_finding(name, n, of, as_of, contrasts),
            pictures=(
                _sizes_picture(size_table, as_of),
                _overlap_picture(self._once("overlap", (said, as_of), lambda: overlap(log, segments, as_of))),
                _contrasts_picture(contrasts, name),
                _paths_picture(paths, name),
            ),
            notes=(
                say("Counts of fewer than {n} people are not given, nor shares made of them.", n=SMALLEST),
                say("Only contacts who exist by the instant count: from their first event on."),
            ),
            code=_code(segments, name, None if values["as_of"] == _END else as_of, values),
        )

    def _segments(self, values: Mapping[str, Any]) -> dict[str, Segment | str]:
        name = values["name"]
        if not name:
            raise ControlError("name", say("Give the segment a name."))
        for place, one in (("name", name), *(("segments", one["name"]) for one in values["segments"])):
            if one in _TAKEN:
                raise ControlError(place, say("A segment cannot be called {name} here.", name=one))
        if not values["condition"].strip():
            raise ControlError("condition", say("Write a condition, such as {example}.", example=_suggested(self._log)))
        found: dict[str, Segment | str] = {name: values["condition"]}
        for one in values["segments"]:
            if one["name"] == name:
                continue
            if one["condition"] is None and one["name"] not in self._given:
                raise ControlError("segments", say("There is no segment {name} to take.", name=one["name"]))
            found[one["name"]] = self._given[one["name"]] if one["condition"] is None else one["condition"]
        return found

    def _once(self, what: str, of: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What was made last, when it is of the same, so that a control counts anew only what hangs on it."""
        if self._made.get(what, (None, None))[0] != of:
            self._made[what] = (of, make())
        return self._made[what][1]

    def _attributes(self, as_of: datetime) -> Any:
        key = (as_of, current())
        if key not in self._values_as_of:
            if len(self._values_as_of) >= _MOST_ATTRIBUTES:
                self._values_as_of.clear()
            self._values_as_of[key] = values_of(self._log, microseconds(as_of))
        return self._values_as_of[key]


def _named(segments: Segments | None) -> dict[str, Segment]:
    match segments:
        case None:
            return {}
        case Journey():
            return dict(segments.known_segments)
        case Portfolio():
            return {name: one for journey in segments.journeys for name, one in journey.known_segments.items()}
        case Mapping():
            given = dict(segments)
        case _:
            given = {"segment": segments}
    return {
        name: one if isinstance(one, Segment) else Segment(condition=one.text if isinstance(one, Condition) else one)
        for name, one in given.items()
    }


def _suggested(log: EventLog) -> str:
    """A condition that finds somebody in most logs: of the most frequent event, not more than a month ago."""
    counts = log.summary().sort_values("n_events", ascending=False)
    return f'did("{counts["event"].iloc[0]}", "30d")'


def _days(log: EventLog) -> list[str]:
    """The dates whose beginning in UTC lies within the log."""
    first = log.start_at.astimezone(UTC).date() + timedelta(days=1)
    n = (log.end_at.astimezone(UTC).date() - first).days + 1
    return [(first + timedelta(days=i)).isoformat() for i in range(n)]


def _finding(name: str, n: int, of: int, as_of: datetime, contrasts: pd.DataFrame) -> str:
    counted = {"name": name, "few": count_text(n, SMALLEST), "date": date_text(as_of)}
    if n < SMALLEST:
        return plural(
            "{name}: {few} of {n} contact on {date}; too few to say more.",
            "{name}: {few} of {n} contacts on {date}; too few to say more.",
            of,
            **counted,
        )
    size = plural(
        "{name}: {few} of {n} contact ({share}) on {date}",
        "{name}: {few} of {n} contacts ({share}) on {date}",
        of,
        share=share_text(n / of),
        **counted,
    )
    told = contrasts[(contrasts["n_inside"] >= SMALLEST) & (contrasts["n_outside"] >= SMALLEST)]
    told = told[(told["low"] > 0) | (told["high"] < 0)]
    if told.empty:
        return say("{size}.", size=size)
    row = told.iloc[0]
    return say(
        "{size}; they differ most in {attribute}: {inside} have {value}, of all others {outside}.",
        size=size, attribute=row["attribute"], value=row["value"], inside=share_text(row["inside_share"]),
        outside=share_text(row["outside_share"]),
    )  # fmt: skip


def _sizes_picture(table: pd.DataFrame, as_of: datetime) -> Picture:
    title = say("Size over time")
    return Picture(
        name="sizes",
        title=title,
        svg=sizes_svg(table, title, as_of),
        table=table,
        heads={"segment": say("Segment"), "as_of": say("As of"), "n_contacts": say("Contacts"),
               "n_known": say("Known by then"), "audience_share": say("Share")},
        hides={"n_contacts": ["audience_share"]},
        shares=["audience_share"],
        notes=[say("The number of known contacts grows too; the table has the share of them. "
                   "Counts below {n} are left out of the lines.", n=SMALLEST)],
    )  # fmt: skip


def _overlap_picture(table: pd.DataFrame) -> Picture:
    title = say("Who is in which")
    notes = [say("Each contact is counted once, in exactly one row; one of them is who is in none.")]
    if len(table) > MOST_COMBINATIONS:
        notes.append(say("The {n} largest combinations are drawn; the table has all.", n=MOST_COMBINATIONS))
    names = [one for one in table.columns if one != "n_contacts"]
    return Picture(
        name="overlap",
        title=title,
        svg=overlap_svg(table, title),
        table=table,
        heads={**{name: name for name in names}, "n_contacts": say("Contacts")},
        hides={"n_contacts": []},
        notes=notes,
    )


def _contrasts_picture(table: pd.DataFrame, name: str) -> Picture:
    title = say("What distinguishes {name}", name=name)
    # A value that few have may be somebody's own, and what is shown is saved with the notebook.
    table = table[table["n_inside"] + table["n_outside"] >= FEWEST].reset_index(drop=True)
    return Picture(
        name="contrasts",
        title=title,
        svg=contrasts_svg(table, title, name),
        table=table,
        heads={
            "attribute": say("Attribute"), "value": say("Value"), "n_inside": say("Inside"),
            "inside_share": say("Share inside"), "inside_low": say("from"), "inside_high": say("to"),
            "n_outside": say("Others"), "outside_share": say("Share of others"), "outside_low": say("from"),
            "outside_high": say("to"), "difference": say("Difference (points)"), "low": say("from"),
            "high": say("to"),
        },
        hides={"n_inside": ["inside_share", "inside_low", "inside_high", "difference", "low", "high"],
               "n_outside": ["outside_share", "outside_low", "outside_high", "difference", "low", "high"]},
        shares=["inside_share", "inside_low", "inside_high", "outside_share", "outside_low", "outside_high"],
        signed=["difference", "low", "high"],
        notes=[
            say("This describes who they are; it does not say what made them so, nor what would change them."),
            say("Values that fewer than {n} people have are not listed.", n=FEWEST),
            say("95 % intervals, each for its row alone: of many rows, some differ by chance. The {n} greatest "
                "differences are drawn.", n=MOST_CONTRASTS),
        ],
    )  # fmt: skip


def _paths_picture(table: pd.DataFrame, name: str) -> Picture:
    title = say("Last events of some in {name}", name=name)
    if table.empty:
        notes = [say("No paths are shown of fewer than {n} members: one could tell who they are.", n=SMALLEST)]
    else:
        notes = [say("Contacts are drawn at random and have pseudonyms that hold for this session only; a few of them "
                     "are examples, not evidence.")]  # fmt: skip
    return Picture(
        name="paths",
        title=title,
        svg="" if table.empty else paths_svg(table, title),
        table=table,
        heads={"contact": say("Pseudonym"), "event": say("Event"), "occurred_at": say("At")},
        notes=notes,
    )


def _code(segments: Mapping[str, Segment | str], name: str, as_of: datetime | None, values: Mapping[str, Any]) -> str:
    texts = {
        key: repr(one) if isinstance(one, str) else f"jl.Segment.model_validate({one.data()!r})"
        for key, one in segments.items()
    }
    written = "".join(f"    {key!r}: {text},\n" for key, text in texts.items())
    when = "None  # the end of the log" if as_of is None else repr(as_of.isoformat())
    return (
        f"import journeylab as jl\n\nsegments = {{\n{written}}}\nas_of = {when}\n"
        f"sizes = jl.sizes(log, segments, every={values['every']!r})\n"
        f"overlap = jl.overlap(log, segments, as_of)\n"
        f"contrasts = jl.explorers.attribute_contrasts(log, segments, {name!r}, as_of)\n"
        f"paths = jl.explorers.sample_paths(log, segments, {name!r}, as_of, seed={values['sample']})\n"
    )
