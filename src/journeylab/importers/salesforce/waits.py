"""Journey Builder's waits, and what it asks at their end: goals and exit criteria.

Sources: "Wait Format" and "Goals" in the vendor's guide ("Goals are evaluated every 24 hours and upon exiting each wait
activity"), and the help's "Wait Activities in Journey Builder".
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from journeylab.errors import known
from journeylab.expressions import Attribute
from journeylab.importers.draft import Draft, name_of
from journeylab.importers.export import Part
from journeylab.importers.moments import wait_until_instant
from journeylab.importers.outcomes import Verdict
from journeylab.importers.spans import MONTH, clock_time, span
from journeylab.instants import zone_names

from .filters import Filters

__all__ = ["Waits", "span_of"]

_UNITS: Final = ("MINUTES", "HOURS", "DAYS", "WEEKS", "MONTHS")
_TIME: Final = re.compile(r"(\d{1,2}):(\d\d)(:00)?")
_DATE: Final = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?Z?)?")


def span_of(settings: Part, *, signed: bool = False) -> tuple[str, str]:
    """The duration of a wait, and what differs in it.

    Raises:
        Malformed: when it is none, or none that is longer than nothing.
    """
    number, unit = settings.number("waitDuration"), settings.text("waitUnit").upper()
    if unit not in _UNITS:
        raise settings.malformed(f"{unit!r} is no unit of time; {known(unit, _UNITS, 'units')}", "waitUnit")
    if number <= 0 and not signed:
        raise settings.malformed("a wait is longer than nothing", "waitDuration")
    return span(settings, "waitDuration", number, unit), MONTH if unit == "MONTHS" else ""


def zone_of(name: str, part: Part, key: str) -> str:
    """The time zone of a name, which is one of Windows there, such as `Romance Standard Time`."""
    from babel.core import get_global

    zones = get_global("windows_zone_mapping")
    found = str(zones.get(name, name))
    if found not in zone_names():
        raise part.malformed(f"{name!r} is no time zone; {known(name, zones, 'time zones')}", key)
    return found


class Waits:
    """The waits of one journey.

    Args:
        draft: the journey.
        journey: its part of the export.
        filters: reads filters.
    """

    def __init__(self, draft: Draft, journey: Part, filters: Filters) -> None:
        self._draft, self._journey, self._filters = draft, journey, filters
        self._asked: list[dict[str, str]] = []
        self._before: dict[str, str] = {}
        if journey.export.timezone is not None:
            draft.fields["timezone"] = journey.export.timezone
        self._zone: str | None = None

    # Goals and exits

    def asks(self) -> None:
        """Reads the goals and exit criteria, which are asked whenever a wait is over."""
        for goal in self._journey.parts("goals"):
            with goal.export.noting():
                self._goal(goal)
        for one in self._journey.parts("exits"):
            with one.export.noting():
                name, said = self._criteria(one)
                element = f"exit criteria {name!r}" if name else "exit criteria"
                if said is None:
                    self._draft.left_out(one, element, "they have no filter")
                    continue
                end = self._draft.exit("exit criteria")
                self._asked.append({"if": said, "go": end})
                note = "asked after each wait, as there; an event in `exit_when` would end the entry at once (rule 14)"
                self._draft.note(one, element, Verdict.mapped, end, note=note)

    def _goal(self, goal: Part) -> None:
        name, said = self._criteria(goal)
        about = goal.optional_part("metaData")
        ends = about is not None and about.flag("isExitCriteria", default=False)
        if about is not None:
            about.skip(*about.data)
        element = f"goal {name!r}" if name else "goal"
        if said is None:
            self._draft.left_out(goal, element, "it has no filter")
            return
        if not ends:
            note = "it ends no entry there; count it as a conversion in a report"
            self._draft.left_out(goal, element, f"{note}: {said}")
            return
        event = name_of(f"goal {name}" if name else "goal reached", "goal_reached")
        made = self._draft.free(event)
        self._draft.node(made, goal, emit=event, next=self._draft.exit())
        self._draft.fields.setdefault("exit_when", []).append({"event": event, "goal": True})
        self._asked.append({"if": said, "go": made})
        note = f"asked after each wait, there every 24 hours, too; {event} then ends the entry as converted (rule 15)"
        self._draft.note(goal, element, Verdict.approximated, "exit_when", made, note=note)

    def _criteria(self, part: Part) -> tuple[str, str | None]:
        """What people call a goal or an exit, and its filter."""
        part.skip("id", "key", "type", "outcomes", "arguments", "schema", "description", "metaData")
        settings = part.optional_part("configurationArguments")
        name = part.text("name", "")
        if settings is None:
            return name, None
        settings.skip("schemaVersionId", "filterDefinitionId", "applicationExtensionKey")
        said = self._filters.condition(settings.text("criteria", ""), settings, "criteria")
        return "" if name.upper() in ("GOAL", "EXITCRITERIA", "EXIT CRITERIA") else name, said

    def then(self, target: str) -> str:
        """Where a wait leads that leads to `target`: by way of what is asked at its end."""
        if not self._asked:
            return target
        if target not in self._before:
            name = self._before[target] = self._draft.free(f"before_{target}")
            self._draft.node(name, self._journey, decide=list(self._asked), otherwise=target)
        return self._before[target]

    # The waits themselves

    def read(self, part: Part, settings: Part, name: str, onward: str) -> tuple[list[str], list[str]]:
        """Makes the nodes of a wait for a duration, a date, or the date in a field; gives them, and what differs."""
        settings.skip("description", "waitForEventKey", "waitForEventId", "waitEndDateAttributeDataBound")
        about = part.optional_part("metaData")
        extended = about is not None and about.flag("isExtended", default=False)
        if about is not None:
            about.skip(*about.data)
        clock = settings.optional("specifiedTime") or settings.optional("specificTime")
        settings.skip("specificTime", "timeZone", "timeZoneId")
        time = None if clock is None else self._time(clock, settings)
        path, day = settings.optional("waitEndDateAttributeExpression"), settings.optional("specificDate")
        if path is not None:
            return self._date_of_field(part, settings, name, onward, path, time)
        if day is not None:
            return self._date(part, settings, name, onward, day, time)
        return self._duration(part, settings, name, onward, time if extended else None)

    def _duration(
        self, part: Part, settings: Part, name: str, onward: str, time: str | None
    ) -> tuple[list[str], list[str]]:
        length, month = span_of(settings)
        if time is None:
            self._draft.node(name, part, wait=length, next=self.then(onward))
            return [name], [month]
        until = self._draft.free(f"{name}_until")
        self._draft.node(until, part, wait_until={"time": time}, next=self.then(onward))
        self._draft.node(name, part, wait=length, next=until)
        return [name, until], [month, self._clock(settings)]

    def _date(
        self, part: Part, settings: Part, name: str, onward: str, day: str, time: str | None
    ) -> tuple[list[str], list[str]]:
        settings.skip("waitDuration", "waitUnit")
        found = _DATE.fullmatch(day)
        zone = self._zone_of(settings) or self._draft.fields.get("timezone", "UTC")
        try:
            local = datetime.fromisoformat(f"{found[1] if found else day} {time or (found and found[2]) or '00:00'}")
            at = local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise settings.malformed(f"{day!r} is no date such as 2026-05-04", "specificDate") from None
        wait_until_instant(self._draft, name, part, at, self.then(onward))
        return [name], ["it is a date of the journey itself"]

    def _date_of_field(
        self, part: Part, settings: Part, name: str, onward: str, path: str, time: str | None
    ) -> tuple[list[str], list[str]]:
        but: list[str] = []
        until: dict[str, Any] = {}
        value = self._filters.value(path)
        if isinstance(value, Attribute):
            until["date"] = value.name
        else:
            column = path.strip("{}").replace('"', "").rpartition(".")[2]
            until["date"] = self._draft.attribute(column, self._journey)
            but.append(f"the date is the contact's attribute {until['date']}; there it is what came with the entry")
        if settings.raw("waitDuration") not in (None, 0, "0", ""):
            until["offset"], month = span_of(settings, signed=True)
            but += [month, f"its offset is taken to be {until['offset']}; look whether it is"]
        settings.skip("waitDuration", "waitUnit", "specificDate")
        if time not in (None, "00:00"):
            until["time"] = time
        but.append(self._clock(settings))
        self._draft.node(name, part, wait_until=until, next=self.then(onward))
        return [name], but

    @staticmethod
    def _time(text: str, settings: Part) -> str:
        found = _TIME.fullmatch(text)
        if found is None:
            raise settings.malformed(f"{text!r} is no time of day such as 09:00", "specifiedTime")
        return clock_time(settings, int(found[1]), int(found[2]), "specifiedTime")

    @staticmethod
    def _zone_of(settings: Part) -> str | None:
        """The zone of a wait, None where it says none."""
        key = "timeZone" if "timeZone" in settings else "timeZoneId"
        written = settings.optional(key)
        return None if written is None else zone_of(written, settings, key)

    def _clock(self, settings: Part) -> str:
        """Takes the zone of a wait for the journey, and says what differs."""
        zone = self._zone_of(settings)
        if zone is None:
            if "timezone" in self._draft.fields:
                return f"the clock is the contact's, else that of {self._draft.fields['timezone']} (rule 3)"
            return "the clock is the contact's, else that of UTC (rule 3); convert with --timezone for another"
        if self._zone is None:
            self._zone = self._draft.fields["timezone"] = zone
        note = f"the clock is the contact's where the contact has a zone (rule 3); there it is that of {zone}"
        return note if zone == self._zone else f"{note}, and the journey's here is that of {self._zone}"
