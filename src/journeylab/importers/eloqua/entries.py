"""Where contacts come from: segments, feeders and other campaigns, as one trigger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from journeylab.durations import duration_text
from journeylab.expressions import Aggregate, Attribute, Compare, Or, Property, Text, Tree, expression_text
from journeylab.importers.draft import Draft
from journeylab.importers.export import Part
from journeylab.importers.moments import instant_in
from journeylab.importers.outcomes import Verdict

__all__ = ["Entry", "begin", "entry_of"]

_MONDAY: Final = datetime(1970, 1, 5, tzinfo=UTC)
_DAY: Final = timedelta(days=1)
_ONCE: Final = timedelta(days=36_525)
_SHORTEST: Final = timedelta(minutes=1)


@dataclass(frozen=True)
class Entry:
    """One step by which contacts enter.

    Attributes:
        part: the step.
        target: the node that follows it.
        event: the event that brings them; None where they are in a segment.
        where: what holds of the event; or of the contact, where they are in a segment.
        every: how often the segment is looked at; None for once, and where an event brings them.
    """

    part: Part
    target: str
    event: str | None
    where: Tree
    every: timedelta | None

    def holds(self) -> Tree:
        """Whether it has brought a contact."""
        return self.where if self.event is None else Aggregate("did", self.event, where=self.where)


def entry_of(part: Part, campaign: str, target: str, draft: Draft) -> Entry:
    """The entry of a step."""
    kind = part.text("type")
    if kind == "CampaignCloudFeeder":
        return Entry(
            part, target, "contact_fed", Compare("==", Property("feeder"), Text(part.text("name", kind))), None
        )
    if kind == "CampaignInput":
        return Entry(part, target, "campaign_joined", Compare("==", Property("campaign"), Text(campaign)), None)
    flag = draft.attribute(f"in_segment_{part.text('segmentId')}", part)
    every = None
    if part.flag("isRecurring", default=False):
        seconds = part.number("reEvaluationFrequency", _DAY.total_seconds())
        if not _SHORTEST.total_seconds() <= seconds <= _ONCE.total_seconds():
            raise part.malformed(
                f"{seconds:g} seconds are not from a minute to a hundred years", "reEvaluationFrequency"
            )
        every = timedelta(seconds=seconds)
    return Entry(part, target, None, Attribute(flag), every)


def begin(draft: Draft, campaign: Part, entries: Sequence[Entry]) -> None:
    """Writes the trigger and, where entries lead to different steps, the node that tells them apart."""
    draft.first = entries[0].target
    if len({one.target for one in entries}) > 1:
        draft.first = draft.free("entered_by")
        clauses = [
            {"if": draft.condition(one.holds(), one.part), "go": one.target} for one in entries[:-1]
        ]  # fmt: skip
        draft.node(draft.first, campaign, decide=clauses, otherwise=entries[-1].target)
        note = "who enters by several of the steps begins at the first of them here, and at each of them there"
        draft.note(campaign, "several entries", Verdict.approximated, draft.first, note=note)
    again = campaign.flag("isMemberAllowedReEntry", default=False)
    if all(one.event is not None for one in entries) and len({one.event for one in entries}) == 1:
        wheres = tuple(dict.fromkeys(one.where for one in entries))
        where = draft.condition(Or(wheres) if len(wheres) > 1 else wheres[0], campaign)
        draft.fields["trigger"] = {
            "event": entries[0].event, "where": where, **({"reentry": "after_exit"} if again else {}),
        }  # fmt: skip
        return
    if again:
        note = (
            "who may enter again does so as a new member of the segment there; here, membership alone would begin anew "
            "at every look (rule 11), so that each contact enters once: see `reentry`"
        )
        draft.left_out(campaign, "re-entry", note)
    text = " or ".join(expression_text(one.holds()) for one in entries)
    title = " or ".join(dict.fromkeys(one.part.text("name", "members") for one in entries))
    name = draft.segment(title, draft.condition(text, campaign))
    draft.fields["trigger"] = {"segment": name, **_schedule(draft, campaign, entries)}


def _schedule(draft: Draft, campaign: Part, entries: Sequence[Entry]) -> dict[str, Any]:
    """How often the segment is looked at, and from when."""
    starts = instant_in(campaign, "startAt", None) if campaign.optional("startAt") else None
    often = [one.every for one in entries if one.every is not None]
    if any(one.event is not None for one in entries):
        often.append(timedelta(hours=1))
        note = "who is brought by an event is taken at the next look"
        draft.note(campaign, "entries by events", Verdict.approximated, "trigger", note=note)
    if often:
        every = min(often)
        if any(one.every is None and one.event is None for one in entries):
            note = "a segment that is looked at once there, when the campaign starts, is looked at as often as the rest"
            draft.note(campaign, "segment of once", Verdict.approximated, "trigger", note=note)
        offset = (starts - _MONDAY) % every if starts is not None else timedelta(0)
        return {"every": duration_text(every), **({"offset": duration_text(offset)} if offset else {})}
    if starts is None:
        note = (
            "members are taken once there, when the campaign starts, and the export does not say when; here they are "
            "looked for every day, those who come later included"
        )
        draft.note(campaign, "start", Verdict.approximated, "trigger", note=note)
        return {"every": "1d"}
    note = (
        f"members are taken once, at {starts:%Y-%m-%d %H:%M} UTC: the next look is in a hundred years. To replay it "
        "over other times, write another `every` and `offset` (rule 11)"
    )
    draft.note(campaign, "start", Verdict.mapped, "trigger", note=note)
    return {"every": duration_text(_ONCE), "offset": duration_text(starts - _MONDAY)}
