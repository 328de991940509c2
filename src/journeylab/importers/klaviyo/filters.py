"""Klaviyo's filters as conditions: groups of which all hold, of conditions of which one does.

Source: the OpenAPI description of create_flow (the condition and filter schemas), and "Segments API overview".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from keyword import iskeyword
from typing import Any, Final

from journeylab.errors import known
from journeylab.importers.draft import Draft, literal, name_of
from journeylab.importers.export import Part
from journeylab.importers.outcomes import Verdict
from journeylab.importers.spans import span
from journeylab.importers.unsaid import Unsaid, quiet

__all__ = ["METRICS", "Filters", "Metric", "length_of"]

METRICS: Final = {
    "Received Email": "delivered",
    "Opened Email": "opened",
    "Clicked Email": "clicked",
    "Bounced Email": "bounced",
    "Marked Email as Spam": "complained",
    "Unsubscribed from Email Marketing": "unsubscribed",
    "Unsubscribed": "unsubscribed",
    "Subscribed to Email Marketing": "consent_given",
}
"""What the metrics of messages are called here, by what Klaviyo calls them, as where its events are imported."""
_NUMBERS: Final = {
    "equals": "==", "not-equals": "!=", "greater-than": ">", "greater-than-or-equal": ">=", "less-than": "<",
    "less-than-or-equal": "<=",
}  # fmt: skip
_PATH: Final = re.compile(r"(?:properties|location)\['(.+)'\]|(?:properties|location)\.(.+)")


@dataclass(frozen=True)
class Metric:
    """What must not have happened: an event, and what is asked of its properties."""

    event: str
    where: str


@dataclass
class Filters:
    """The filters of one flow.

    Attributes:
        draft: the journey that is being made of it.
        titles: what lists, segments and metrics are called, by id, as far as the export says it.
        marker: the event that marks the flow's start, once a filter asks what happened since.
    """

    draft: Draft
    titles: Mapping[str, str]
    marker: str = ""
    _properties: set[str] = field(default_factory=set)

    def said(self, part: Part, *, of_entry: bool = False) -> str | None:
        """The condition that a filter is, None where it asks nothing; `of_entry` where it is of the trigger's event."""
        groups = part.parts("condition_groups", needed=True)
        texts = [self.group(one.parts("conditions", needed=True), of_entry=of_entry) for one in groups]
        return self.all_of([one for one in texts if one], part)

    def all_of(self, texts: list[str], part: Part) -> str | None:
        """The condition that all of some hold, None where there are none."""
        return self.draft.condition(" and ".join(texts), part) if texts else None

    def group(self, conditions: list[Part], *, of_entry: bool = False) -> str:
        """The condition that one of some holds, empty where there are none."""
        texts = [self._condition(one, of_entry=of_entry) for one in conditions]
        return f"({' or '.join(texts)})" if len(texts) > 1 else "".join(texts)

    def event(self, identity: str) -> str:
        """The event that a metric is: its name, or where the export does not say it, its id."""
        title = self.titles.get(identity, identity)
        return METRICS.get(title, title)

    def member(self, identity: str) -> str:
        """The flag attribute that a list or segment is."""
        return self.draft.attribute_for(("member", identity), f"in {self.titles.get(identity, identity)}")

    def since_start(self, condition: Part) -> Metric | None:
        """The event that must not have happened since the flow's start; None where a condition asks another thing."""
        data = condition.data
        timeframe, measured = data.get("timeframe_filter"), data.get("measurement_filter")
        if data.get("type") != "profile-metric" or not (isinstance(timeframe, dict) and isinstance(measured, dict)):
            return None
        never = (measured.get("operator"), measured.get("value")) in (("equals", 0), ("less-than", 1))
        if timeframe.get("operator") != "flow-start" or data.get("measurement") != "count" or not never:
            return None
        try:
            found = Metric(self.event(condition.text("metric_id")), self._where(condition))
        except Unsaid:
            return None
        quiet(condition)
        return found

    def _condition(self, part: Part, *, of_entry: bool) -> str:
        kind = part.text("type")
        says: dict[str, Callable[[Part], str]] = {
            "profile-property": self._property, "profile-group-membership": self._membership,
            "profile-predictive-analytics": self._prediction, "profile-marketing-consent": self._consent,
            "profile-metric": self._metric, "profile-not-sent-email": self._not_sent,
            **dict.fromkeys(_OF_EVENTS, partial(self._of_event, of_entry=of_entry)),
        }  # fmt: skip
        say = says.get(kind)
        if say is None and kind not in _UNSAID:
            raise part.malformed(f"{kind!r} is no known condition; {known(kind, _KINDS, 'conditions')}", "type")
        try:
            if say is None:
                raise Unsaid(_UNSAID[kind])
            return say(part)
        except Unsaid as why:
            quiet(part)
            return self.draft.flag_of_filter(_label(kind, part.data), part, why)

    # Of profiles

    def _property(self, part: Part) -> str:
        path = part.text("property")
        found = _PATH.fullmatch(path)
        label = path if found is None else found[1] or found[2]
        compared = part.part("filter")
        try:
            return _compared(self.draft, self.draft.attribute(label, part), compared)
        except Unsaid:
            quiet(compared)
            raise

    def _membership(self, part: Part) -> str:
        inside, groups = part.flag("is_member"), [str(one) for one in part.values("group_ids")]
        if not groups:
            raise part.malformed("there is no list and no segment here", "group_ids")
        for identity in groups:
            flag = self.member(identity)
            note = f"the export does not say who is in it: the flag attribute {flag}, which contacts have to have"
            title = self.titles.get(identity, identity)
            self.draft.note(part, f"list or segment {title!r}", Verdict.approximated, flag, note=note)
        text = " or ".join(self.member(one) for one in groups)
        text = f"({text})" if len(groups) > 1 else text
        if part.raw("timeframe_filter") is not None:
            note = "since when is not asked here: a flag attribute has no date"
            self.draft.left_out(part, "time of joining", note)
        return text if inside else f"not {text}"

    def _prediction(self, part: Part) -> str:
        dimension = part.text("dimension")
        if dimension == "channel_affinity":
            dimension = f"channel_affinity_{part.text('measurement')}_{part.text('predicted_channel')}"
        compared = part.part("filter")
        note = "predictions are made by Klaviyo, and contacts have to bring them as this attribute"
        self.draft.note(part, f"prediction {dimension!r}", Verdict.approximated, name_of(dimension), note=note)
        try:
            return _compared(self.draft, name_of(dimension), compared)
        except Unsaid:
            quiet(compared)
            raise

    def _consent(self, part: Part) -> str:
        consent = part.part("consent")
        channel = consent.choice("channel", ("email", "sms", "push"), "channels")
        can = consent.flag("can_receive_marketing")
        quiet(consent)
        if channel != "email":
            raise Unsaid(f"consent to {channel} is not the journey's own")
        note = "whoever is in the journey has consent to its purpose, and who withdraws it leaves (rules 11 and 14)"
        self.draft.note(part, "consent to e-mail", Verdict.approximated, "true" if can else "false", note=note)
        return "true" if can else "false"

    def _not_sent(self, part: Part) -> str:
        note = "it asks what the log has as sent; what the journey itself sends is a cap's business (rule 18)"
        self.draft.note(part, "no e-mail lately", Verdict.approximated, note=note)
        timeframe = part.part("timeframe_filter")
        if timeframe.choice("operator", ("alltime", "in-the-last"), "time frames") == "alltime":
            timeframe.skip("type")
            return 'not did("sent")'
        return f'not did("sent", "{length_of(timeframe)}")'

    # Of events

    def _of_event(self, part: Part, *, of_entry: bool = False) -> str:
        label = part.text("field")
        name = property_of(label)
        if name != label and label not in self._properties:
            self._properties.add(label)
            note = f"the property {name} stands for {label!r}; name it so where events are imported"
            self.draft.note(part, f"property {label!r}", Verdict.mapped, name, note=note)
        part.skip("metric_id")
        compared = part.part("filter")
        try:
            return _compared(self.draft, f"entry.{name}" if of_entry else name, compared)
        except Unsaid:
            quiet(compared)
            raise

    def _metric(self, part: Part) -> str:
        event, measured = self.event(part.text("metric_id")), part.part("measurement_filter")
        measurement = part.choice("measurement", ("count", "sum"), "measurements")
        operator, number = measured.choice("operator", _NUMBERS, "operators"), measured.number("value")
        measured.skip("type")
        where = _keyword(self._where(part))
        timeframe = part.part("timeframe_filter")
        timeframe.skip("type")
        try:
            return self._happened(event, where, measurement, _NUMBERS[operator], number, timeframe)
        except Unsaid:
            quiet(timeframe)
            raise

    def _happened(
        self, event: str, where: str, measurement: str, operator: str, number: float, timeframe: Part
    ) -> str:  # fmt: skip
        within = timeframe.choice("operator", _TIMEFRAMES, "time frames")
        ever, none = (operator, number) in ((">", 0), (">=", 1)), (operator, number) in (("==", 0), ("<", 1))
        quoted = literal(event)
        if within == "flow-start":
            if measurement == "sum" or not (ever or none):
                raise Unsaid("no condition counts what happened since the entry began")
            self.marker = self.marker or f"entered_{self.draft.fields['journey']}"
            happened = f"since({quoted}{where}) < since({literal(self.marker)})"
            return f"not {happened}" if none else happened
        of = f"sum({literal(event + '.amount')}" if measurement == "sum" else f"count({quoted}"
        if within == "alltime":
            window = ""
        elif within == "in-the-last":
            window = f', "{length_of(timeframe)}"'
        elif within in ("at-least", "between") and "date" not in timeframe:
            return f"{self._between(of, where, within, timeframe)} {operator} {number:g}"
        else:
            raise Unsaid(f"no window of a condition is {within}")
        if measurement == "count" and (ever or none):
            return f"{'not ' if none else ''}did({quoted}{window}{where})"
        return f"{of}{window}{where}) {operator} {number:g}"

    def _between(self, of: str, where: str, within: str, timeframe: Part) -> str:
        """How much happened before a time ago, or between two."""
        if within == "at-least":
            return f'{of}{where}) - {of}, "{length_of(timeframe)}"{where})'
        unit = timeframe.choice("unit", ("hour", "day", "week"), "units")
        ends = sorted((timeframe.number("start"), timeframe.number("end")))
        near, far = (span(timeframe, "end", one, unit) for one in ends)
        if ends[0] <= 0:
            return f'{of}, "{far}"{where})'
        return f'{of}, "{far}"{where}) - {of}, "{near}"{where})'

    def _where(self, part: Part) -> str:
        """What a condition asks of the properties of a metric's events, empty where it asks nothing."""
        texts = []
        for one in part.parts("metric_filters"):
            compared, name = one.optional_part("filter"), property_of(one.text("property"))
            if compared is None:
                continue
            try:
                texts.append(_compared(self.draft, name, compared))
            except Unsaid:
                quiet(compared)
                raise
        return " and ".join(texts)


def property_of(label: str) -> str:
    """The property of an event, called as where Klaviyo's events are imported.

    >>> property_of("$value"), property_of("Item Count"), property_of("size")
    ('amount', 'Item_Count', 'size')
    """
    if label == "$value":
        return "amount"
    name = re.sub(r"\W+", "_", label.removeprefix("$")) or "_"
    return f"_{name}" if name[0].isdigit() or iskeyword(name) else name


def _keyword(where: str) -> str:
    """The keyword of a function over events that keeps to some of them."""
    return f", where={where!r}" if where else ""


def length_of(timeframe: Part) -> str:
    unit = timeframe.choice("unit", ("hour", "day", "week"), "units")
    timeframe.skip("type")
    quantity = timeframe.number("quantity")
    if quantity <= 0:
        raise timeframe.malformed(f"{quantity:g} {unit}s are no window", "quantity")
    return span(timeframe, "quantity", quantity, unit)


def _compared(draft: Draft, name: str, part: Part) -> str:
    """A comparison of an attribute or property with a filter; what is not set is not equal to anything, as there."""
    kind = part.choice("type", ("string", "numeric", "boolean", "date", "list", "existence"), "kinds of filters")
    operator = part.text("operator")
    if kind == "existence":
        is_set = _one_of(part, operator, ("is-set", "not-set")) == "is-set"
        return f"{'not ' if is_set else ''}missing({name})"
    if kind == "boolean":
        _one_of(part, operator, ("equals",))
        return f"{name} == {literal(part.flag('value'))}"
    if kind == "numeric":
        if operator == "between":
            return f"({part.number('start'):g} <= {name} <= {part.number('end'):g})"
        return _different(f"{name} {_NUMBERS[_one_of(part, operator, _NUMBERS)]} {_number(part)}", name, operator)
    if kind == "list":
        if operator not in ("contains", "not-contains"):
            raise Unsaid(f"an attribute has one value, and no condition says {operator}")
        value = part.text("value")
        flag = draft.attribute_for(("has", name, value), f"{name} {value}")
        return flag if operator == "contains" else f"not {flag}"
    if kind == "date":
        return _dated(name, operator, part)
    if operator in ("in", "not-in"):
        values = ", ".join(literal(str(one)) for one in part.values("value"))
        if not values:
            raise part.malformed("there is nothing in this list", "value")
        return _different(f"{name} {'in' if operator == 'in' else 'not in'} [{values}]", name, operator)
    if operator not in ("equals", "not-equals"):
        raise Unsaid(f"no condition looks into a text: {operator}")
    if part.raw("value") is None:
        return f"missing({name})" if operator == "equals" else f"not missing({name})"
    return _different(f"{name} {_NUMBERS[operator]} {literal(part.text('value'))}", name, operator)


def _number(part: Part) -> str:
    return f"{part.number('value'):.15g}"


def _different(text: str, name: str, operator: str) -> str:
    return f"(missing({name}) or {text})" if operator in ("not-equals", "not-in") else text


def _dated(name: str, operator: str, part: Part) -> str:
    if operator in ("after", "before"):
        return f"{name} {'>' if operator == 'after' else '<'} {_date(part, 'date')}"
    if operator == "between-static":
        return f"({name} >= {_date(part, 'start')} and {name} <= {_date(part, 'end')})"
    raise Unsaid(f"no condition asks how long ago a date was, or how near it is: {operator}")


def _date(part: Part, key: str) -> str:
    """A date as a text; an instant where it is not at midnight."""
    text = part.text(key)
    if re.fullmatch(r"\d{4}-\d\d-\d\dT00:00:00(\.0+)?(Z|\+00:00)?", text):
        return literal(text[:10])
    return literal(text)


def _one_of(part: Part, operator: str, of: object) -> str:
    operators = list(of) if isinstance(of, tuple | dict) else []
    if operator not in operators:
        raise part.malformed(f"{operator!r} is no operator here; {known(operator, operators, 'operators')}", "operator")
    return operator


def _label(kind: str, data: Mapping[str, Any]) -> str:
    """What a filter that no condition says is called: its kind, what it is about, and what it asks."""
    found, consent = data.get("filter"), data.get("consent")
    asked = found if isinstance(found, dict) else {}
    data = {**(consent if isinstance(consent, dict) else {}), **data}
    words = [
        kind.removeprefix("profile-"), *(data.get(key) for key in _WORDS if isinstance(data.get(key), str | int)),
        *(asked.get(key) for key in ("operator", "value", "quantity", "unit") if isinstance(asked.get(key), str | int)),
    ]  # fmt: skip
    return " ".join(str(one) for one in words)


_WORDS: Final = (
    "property", "field", "region", "postal_code", "percentage", "channel", "metric_id", "measurement", "property_id",
    "object_type_id", "output_config_id",
)  # fmt: skip
_TIMEFRAMES: Final = (
    "alltime", "in-the-last", "in-the-next", "at-least", "between", "between-static", "after", "before", "flow-start",
    "anniversary-last", "anniversary-next",
)  # fmt: skip
_OF_EVENTS: Final = ("metric-property", "price-drop-property", "low-inventory-property")
_UNSAID: Final = {
    "profile-region": "what lies in a region is known to Klaviyo",
    "profile-postal-code-distance": "distances are known to Klaviyo",
    "profile-sample": "chance is no condition here (rule 22)",
    "profile-permissions": "permissions of WhatsApp are known to Klaviyo",
    "profile-has-custom-object": "contacts have attributes and events here, and no objects",
    "profile-not-sent-sms": "messages of other channels are outside calls, and no events",
    "profile-not-sent-push": "messages of other channels are outside calls, and no events",
    "profile-not-in-flow": "whether somebody was in the flow is a matter of re-entry (rule 12)",
    "custom-object-trigger-property": "contacts have attributes and events here, and no objects",
    "custom-object-property": "contacts have attributes and events here, and no objects",
    "action-output": "no call brings a value back into a journey",
}
_KINDS: Final = (
    "profile-property", "profile-group-membership", "profile-predictive-analytics", "profile-marketing-consent",
    "profile-metric", "profile-not-sent-email", *_OF_EVENTS, *_UNSAID,
)  # fmt: skip
