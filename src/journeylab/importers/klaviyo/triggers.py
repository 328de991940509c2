"""Who enters a flow of Klaviyo, and who qualifies for it."""

from __future__ import annotations

from typing import Any

from journeylab.importers.draft import name_of
from journeylab.importers.export import Part
from journeylab.importers.outcomes import Verdict
from journeylab.importers.spans import MONTH, span

from .filters import length_of
from .flow import QUALIFIES, Flow, time_of

__all__ = ["Entering"]


class Entering:
    """The trigger, re-entry and profile filter of a flow."""

    def __init__(self, flow: Flow) -> None:
        self.flow, self.draft = flow, flow.draft
        self.again = ""
        with flow.export.noting():
            self._profile_filter()
        with flow.export.noting():
            self._trigger()
        self._qualify()

    def _trigger(self) -> None:
        triggers = self.flow.definition.parts("triggers", needed=True)
        if len(triggers) != 1:
            raise self.flow.definition.malformed(f"a flow has one trigger, and here are {len(triggers)}", "triggers")
        trigger, draft = triggers[0], self.draft
        kind = trigger.text("type")
        again = self._reentry(kind)
        if self.again:
            again = {"reentry": self.again}
        if kind in ("list", "segment"):
            identity = trigger.text("id")
            flag, title = self.flow.filters.member(identity), self.flow.filters.titles.get(identity, identity)
            but = f"the flag attribute is {flag}"
            if again:
                # An entry that is over would begin again at once, if it were enough to be on it still.
                draft.fields["trigger"] = {
                    "event": "attribute_changed",
                    "where": f'name == "{flag}" and {flag}',
                    **again,
                }
                but += "; as profiles may enter again, it is the change of it that begins, as it happens"
            else:
                draft.fields["trigger"] = {"segment": draft.segment(f"joined {title}", flag), "every": "1h"}
            if kind == "segment":
                self.flow.qualifying.append(flag)
            draft.did(trigger, kind, title, "trigger", but=but)
        elif kind in ("metric", "price-drop", "low-inventory"):
            self._on_event(trigger, kind, again)
        elif kind == "date":
            self._on_date(trigger, again)
        else:
            draft.did(trigger, kind)  # says which types there are
            raise trigger.malformed(f"{kind} is no trigger", "type")

    def _on_event(self, trigger: Part, kind: str, again: dict[str, Any]) -> None:
        event = self.flow.filters.event(trigger.text("id")) if kind == "metric" else name_of(kind)
        where = trigger.optional_part("trigger_filter")
        text = None if where is None else self.flow.filters.said(where)
        self.draft.fields["trigger"] = {"event": event, **({"where": text} if text else {}), **again}
        if kind == "metric":
            named = event == trigger.text("id")
            but = "the export does not say what the metric is called; name its events so, or bring its name along"
            self.draft.did(trigger, kind, event, "trigger", but=but if named else "")
            return
        said = [", ".join(map(str, trigger.values("audience"))), f"within {trigger.whole('timeframe_days', 30)} days"]
        if kind == "price-drop":
            said.append(
                f"by {trigger.number('price_drop_amount_value'):g} {trigger.text('price_drop_amount_unit', '')}"
            )
        else:
            said.append(f"below {trigger.whole('inventory_count')} of a {trigger.text('product_level')}")
        self.draft.did(trigger, kind, "", "trigger", but=f"the audience is {'; '.join(said)}")

    def _on_date(self, trigger: Part, again: dict[str, Any]) -> None:
        field = trigger.choice("date_field_type", ("profile-property", "custom-object"), "kinds of dates")
        if field == "profile-property":
            label = trigger.text("date_profile_property")
        else:
            label = f"{trigger.text('custom_object_label')} {trigger.text('custom_object_property_id')}"
            trigger.skip("object_type_id", "object_type_relationship_id")
        self.flow.date = self.draft.attribute(label, trigger)
        unit = trigger.choice("timedelta_unit_before_date", ("days", "weeks", "months"), "units", "weeks")
        before = trigger.whole("timedelta_value_before_date")
        said: dict[str, Any] = {"date": self.flow.date}
        if before:
            said["offset"] = span(trigger, "timedelta_value_before_date", -before, unit)
        said["time"] = time_of(trigger, "trigger_time")
        frequency = trigger.choice(
            "recurrence_frequency", ("never", "weekly", "monthly", "annually"), "ones", "monthly"
        )
        if frequency != "never":
            again = again or {"reentry": "after_exit"}
        self.draft.fields["trigger"] = {**said, **again}
        buts = [MONTH] if unit == "months" and before else []
        if frequency != "never":
            buts.append(f"it returns {frequency} there: write the next date into {self.flow.date} each time")
        if field == "custom-object":
            buts.append("contacts have to bring the object's date as this attribute")
        days = self.flow.weekdays(trigger, "trigger_days")
        if days:
            buts.append(f"only on {', '.join(days)} there: here, on any day of the week")
        self.flow.zone(trigger)
        self.draft.did(trigger, "date", label, "trigger", but="; ".join(buts))

    def _reentry(self, kind: str) -> dict[str, Any]:
        criteria = self.flow.definition.optional_part("reentry_criteria")
        draft, part = self.draft, self.flow.part
        if criteria is None:
            word = "always" if kind in ("metric", "price-drop", "low-inventory") else "never"
            note = f"the export does not say it; here it is {word}, which is how such flows begin (rule 12)"
            draft.note(part, "re-entry", Verdict.approximated, "trigger", note=note)
            return {"reentry": word} if word != "never" else {}
        unit = criteria.choice("unit", ("hour", "day", "week", "alltime"), "units")
        duration = criteria.whole("duration")
        if unit == "alltime":
            draft.note(criteria, "re-entry", Verdict.mapped, "trigger")
            return {} if duration else {"reentry": "always"}
        if duration <= 0:
            raise criteria.malformed(f"{duration} {unit}s are no time until re-entry", "duration")
        note = "it counts from the last entry's start, as there; here, that entry must be over, too (rule 12)"
        draft.note(criteria, "re-entry", Verdict.approximated, "trigger", note=note)
        return {"reentry": span(criteria, "duration", duration, unit)}

    def _profile_filter(self) -> None:
        """What is asked of profiles at the entry and before each action, and what ends the entry when it happens."""
        part = self.flow.definition.optional_part("profile_filter")
        if part is None:
            return
        for group in part.parts("condition_groups", needed=True):
            conditions = group.parts("conditions", needed=True)
            ending = self.flow.filters.since_start(conditions[0]) if len(conditions) == 1 else None
            if ending is not None:
                said = {"event": ending.event, **({"where": ending.where} if ending.where else {})}
                self.draft.fields.setdefault("exit_when", []).append(said)
                note = "it ends the entry when it happens (rule 14); there, before the next action"
                self.draft.note(group, f"filter on {ending.event!r}", Verdict.approximated, "exit_when", note=note)
                continue
            if len(conditions) == 1 and conditions[0].text("type") == "profile-not-in-flow":
                self._not_in_flow(conditions[0])
                continue
            text = self.flow.filters.group(conditions)
            if text:
                self.flow.qualifying.append(self.draft.condition(text, group))

    def _not_in_flow(self, condition: Part) -> None:
        """Whoever was in the flow lately, or ever, does not enter again."""
        timeframe = condition.part("timeframe_filter")
        timeframe.skip("type")
        ever = timeframe.choice("operator", ("alltime", "in-the-last"), "time frames") == "alltime"
        self.again = "never" if ever else length_of(timeframe)
        note = "it counts from the last entry's start, which must be over, too (rule 12)"
        self.draft.note(condition, "profile filter on the flow", Verdict.approximated, "trigger", note=note)

    def _qualify(self) -> None:
        """Asks for what is left of the profile filter at the entry; before actions, gates do."""
        if not self.flow.qualifying:
            return
        draft = self.draft
        draft.segment(QUALIFIES, " and ".join(self.flow.qualifying))
        if "trigger" in draft.fields:
            trigger, asked = draft.fields["trigger"], f'segment("{QUALIFIES}") >= 0.5'
            trigger["where"] = f"({trigger['where']}) and {asked}" if "where" in trigger else asked
        note = "it is asked at the entry and before each action but delays and splits; who fails it leaves"
        draft.note(self.flow.part, "who qualifies", Verdict.mapped, QUALIFIES, note=note)
