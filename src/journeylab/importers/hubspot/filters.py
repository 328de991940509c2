"""HubSpot's filter branches as conditions, and when they may begin to hold.

Sources: "List (segment) filters overview", and the filter schemas of the published automation API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from journeylab.errors import known
from journeylab.importers.draft import Draft, literal, name_of
from journeylab.importers.export import Part
from journeylab.importers.outcomes import Verdict
from journeylab.importers.spans import span
from journeylab.importers.unsaid import Unsaid, quiet

from .eventtypes import PROPERTIES, PROPERTY_CHANGED, event_name

__all__ = ["Filters", "Moment", "Said", "email_title"]

_DEEPEST: Final = 40
_NUMBERS: Final = {
    "IS_EQUAL_TO": "==", "IS": "==", "IS_NOT_EQUAL_TO": "!=", "IS_NOT": "!=", "IS_GREATER_THAN": ">",
    "IS_GREATER_THAN_OR_EQUAL_TO": ">=", "IS_LESS_THAN": "<", "IS_LESS_THAN_OR_EQUAL_TO": "<=",
}  # fmt: skip
_OF_EMAILS: Final = {
    "OPENED": ("opened", True), "LINK_CLICKED": ("clicked", True), "BOUNCED": ("bounced", True),
    "MARKED_SPAM": ("complained", True), "UNSUBSCRIBED": ("unsubscribed", True), "RECEIVED": ("delivered", True),
    "SENT": ("sent", True), "REPLIED": ("replied", True),
}  # fmt: skip
_OF_BOTH: Final = {
    "OPENED_BUT_LINK_NOT_CLICKED": ("opened", "clicked"), "OPENED_BUT_NOT_REPLIED": ("opened", "replied"),
    "RECEIVED_BUT_NOT_OPENED": ("delivered", "opened"), "SENT_BUT_LINK_NOT_CLICKED": ("sent", "clicked"),
    "SENT_BUT_NOT_RECEIVED": ("sent", "delivered"),
}  # fmt: skip
_UNSAID: Final = {
    "ASSOCIATION": "contacts have attributes and events here, and no other records",
    "PROPERTY_ASSOCIATION": "contacts have attributes and events here, and no other records",
    "NUM_ASSOCIATIONS": "contacts have attributes and events here, and no other records",
    "RESTRICTED": "the export does not show what this filter asks",
    "EMAIL_SUBSCRIPTION": "subscriptions are known to HubSpot; a journey's own consent is its purpose's (rule 34)",
    "COMMUNICATION_SUBSCRIPTION": "subscriptions are known to HubSpot; a journey's own consent is its purpose's",
    "CTA": "calls to action are known to HubSpot",
    "EVENT": "this kind of event is known to HubSpot",
    "INTEGRATION_EVENT": "events of integrations are known to HubSpot",
    "WEBINAR": "webinars are known to HubSpot",
    "SURVEY_MONKEY": "surveys are known to HubSpot",
    "SURVEY_MONKEY_VALUE": "surveys are known to HubSpot",
    "ADS_TIME": "advertisements are known to HubSpot",
    "ADS_SEARCH": "advertisements are known to HubSpot",
    "CAMPAIGN_INFLUENCED": "the influence of campaigns is known to HubSpot",
    "PRIVACY": "privacy settings are known to HubSpot",
    "UNIFIED_EVENTS": "this kind of event is known to HubSpot",
    "FORM_SUBMISSION_ON_PAGE": "on which page a form was filled out is known to HubSpot",
}
_BRANCHES: Final = (
    "AND",
    "OR",
    "NOT_ALL",
    "NOT_ANY",
    "UNIFIED_EVENTS",
    "RESTRICTED",
    "ASSOCIATION",
    "PROPERTY_ASSOCIATION",
)
_JOINED: Final = {"AND": " and ", "OR": " or ", "NOT_ALL": " and ", "NOT_ANY": " or "}


@dataclass(frozen=True)
class Moment:
    """An event with which a condition may begin to hold, and what is asked then."""

    event: str
    where: str


@dataclass
class Said:
    """A condition, and the attributes and events that it speaks of."""

    text: str = ""
    attributes: set[str] = field(default_factory=set)
    events: set[str] = field(default_factory=set)
    direct: dict[str, str] = field(default_factory=dict)
    """Of a condition that an event has happened, what is asked of the event."""

    def moments(self, text: str) -> Iterator[Moment]:
        """The events with which a condition on these may begin to hold."""
        if self.attributes:
            names = ", ".join(literal(one) for one in sorted(self.attributes))
            yield Moment("attribute_changed", f"name in [{names}] and {text}")
        for event in sorted(self.events):
            yield Moment(event, self.direct.get(text, text))


class Filters:
    """The filters of one workflow.

    Args:
        draft: the journey that is being made of it.
        titles: what lists, forms and e-mails are called, by id, as far as the export says it.
        sends: the nodes that send, by the id of the e-mail.
    """

    def __init__(self, draft: Draft, titles: Mapping[str, str], sends: Mapping[str, Sequence[str]]) -> None:
        self._draft, self._titles, self._sends = draft, titles, sends
        self._said = Said()
        self._inside = False

    def said(self, part: Part, *, inside: bool = False) -> Said:
        """The condition that a filter branch is; `inside` where it is asked of a contact in the workflow."""
        self._said, self._inside = Said(), inside
        text = self._branch(part)
        self._said.text = self._draft.condition(text, part)
        return self._said

    def member(self, identity: str) -> str:
        """The flag attribute that a list is."""
        return self._draft.attribute_for(("list", identity), f"list {self._titles.get(identity, identity)}")

    def event(self, part: Part) -> Moment:
        """The event that a branch of events awaits, and what is asked of it."""
        self._said, self._inside = Said(), False
        event = event_name(part.text("eventTypeId"))
        part.skip("filterBranchType")
        if (
            part.choice("operator", ("HAS_COMPLETED", "HAS_NOT_COMPLETED"), "operators", "HAS_COMPLETED")
            != "HAS_COMPLETED"
        ):
            raise part.malformed("an event that has not happened enrolls nobody", "operator")
        if part.raw("coalescingRefineBy") is not None:
            self._draft.left_out(part, "refinement of an event", "the first time counts, and at any time")
        where = self._flagged(part, "UNIFIED_EVENTS", self._of_event)
        return Moment(event, self._draft.condition(where, part) if where else "")

    # Branches

    def _branch(self, part: Part, depth: int = 0) -> str:
        if depth > _DEEPEST:
            raise part.malformed(f"filter branches are nested more than {_DEEPEST} deep")
        kind = part.choice("filterBranchType", _BRANCHES, "kinds of filter branches")
        if kind == "UNIFIED_EVENTS":
            return self._flagged(part, kind, self._events)
        if kind in _UNSAID:
            return self._flagged(part, kind, None)
        filters = part.parts("filters")
        if any(one.data.get("property") == "hs_name" for one in filters):
            texts = [self._flagged(part, "PROPERTY", lambda _: " and ".join(self._changed(filters)) or "true")]
        else:
            texts = [self._filter(one) for one in filters]
        texts += [self._branch(one, depth + 1) for one in part.parts("filterBranches")]
        if not texts:
            return "true" if kind in ("AND", "NOT_ANY") else "false"
        joined = _JOINED[kind].join(texts)
        if kind.startswith("NOT"):
            return f"not ({joined})"
        return f"({joined})" if len(texts) > 1 else joined

    def _filter(self, part: Part) -> str:
        kind = part.text("filterType")
        says: dict[str, Callable[[Part], str]] = {
            "PROPERTY": self._property, "IN_LIST": self._in_list, "FORM_SUBMISSION": self._form,
            "PAGE_VIEW": self._page, "EMAIL_EVENT": self._email, "CONSTANT": self._constant,
        }  # fmt: skip
        if kind not in says and kind not in _UNSAID:
            raise part.malformed(
                f"{kind!r} is no known filter; {known(kind, [*says, *_UNSAID], 'filters')}", "filterType"
            )
        return self._flagged(part, kind, says.get(kind))

    def _flagged(self, part: Part, kind: str, say: Callable[[Part], str] | None) -> str:
        """What is said of a part, or the flag attribute that stands for what no condition says."""
        try:
            if say is None:
                raise Unsaid(_UNSAID[kind])
            return say(part)
        except Unsaid as why:
            quiet(part)
            flag = self._draft.flag_of_filter(_label(kind, part.data), part, why)
            self._said.attributes.add(flag)
            return flag

    # Filters

    def _property(self, part: Part) -> str:
        operation = part.part("operation")
        try:
            text = _compared(self._draft.attribute(part.text("property"), part), operation)
        except Unsaid:
            quiet(operation)
            raise
        self._said.attributes.add(self._draft.attribute(part.text("property"), part))
        return text

    def _in_list(self, part: Part) -> str:
        identity = part.text("listId")
        flag, title = self.member(identity), self._titles.get(identity, identity)
        inside = part.choice("operator", ("IN_LIST", "NOT_IN_LIST"), "operators", "IN_LIST") == "IN_LIST"
        note = f"the export does not say who is on it: the flag attribute {flag}, which contacts have to have"
        self._draft.note(part, f"list {title!r}", Verdict.approximated, flag, note=note)
        self._said.attributes.add(flag)
        return flag if inside else f"not {flag}"

    def _form(self, part: Part) -> str:
        done = part.choice("operator", ("FILLED_OUT", "NOT_FILLED_OUT"), "operators") == "FILLED_OUT"
        form = part.optional("formId")
        where = "" if form is None else f"form == {literal(form)}"
        return self._happened("form_submitted", where, part, "pruningRefineBy", done=done)

    def _page(self, part: Part) -> str:
        operator = part.text("operator")
        if operator not in ("HAS_PAGEVIEW_EQ", "NOT_HAS_PAGEVIEW_EQ"):
            raise Unsaid(f"no condition looks into an address: {operator}")
        part.skip("enableTracking")
        where = f"url == {literal(part.text('pageUrl'))}"
        return self._happened("page_view", where, part, "pruningRefineBy", done=not operator.startswith("NOT"))

    def _email(self, part: Part) -> str:
        identity, operator = part.text("emailId"), part.text("operator")
        if part.raw("clickUrl") is not None:
            raise Unsaid("on which link somebody clicked is asked by its address there")
        if operator in _OF_EMAILS:
            return self._of_email(_OF_EMAILS[operator][0], identity, part)
        if operator in _OF_BOTH:
            one, other = _OF_BOTH[operator]
            return f"({self._of_email(one, identity, part)} and not {self._of_email(other, identity, part)})"
        raise part.malformed(
            f"{operator!r} is no known operator; {known(operator, [*_OF_EMAILS, *_OF_BOTH], 'operators')}", "operator"
        )

    def _message(self, identity: str) -> str:
        """What an e-mail is as a message here, as a literal."""
        return literal(self._draft.message(email_title(self._titles, identity), identity))

    def _of_email(self, event: str, identity: str, part: Part) -> str:
        nodes = self._sends.get(identity, ())
        if self._inside and len(nodes) == 1 and event not in ("replied",):
            return f"{event}({nodes[0]})"
        return self._happened(event, f"message == {self._message(identity)}", part, "pruningRefineBy", done=True)

    def _constant(self, part: Part) -> str:
        return "true" if part.flag("shouldAccept") else "false"

    # Events

    def _events(self, part: Part) -> str:
        identity = part.text("eventTypeId")
        done = part.choice("operator", ("HAS_COMPLETED", "HAS_NOT_COMPLETED"), "operators") == "HAS_COMPLETED"
        return self._happened(event_name(identity), self._of_event(part), part, "coalescingRefineBy", done=done)

    def _of_event(self, part: Part) -> str:
        """What a branch of events asks of them."""
        filters, changed = part.parts("filters"), part.text("eventTypeId") == PROPERTY_CHANGED
        if part.parts("filterBranches"):
            raise Unsaid("events are asked for one by one here")
        if changed:
            asked = self._changed(filters)
            name = literal(next(iter(self._said.attributes), ""))
            return " and ".join([f"name == {name}", *asked] if filters else [])
        texts = []
        for one in filters:
            one.choice("filterType", ("PROPERTY",), "filters of events", "PROPERTY")
            label, operation = one.text("property"), one.part("operation")
            if label == "hs_email_id":
                quiet(operation)
                texts.append(f"message == {self._message(_value(one))}")
                continue
            try:
                texts.append(_compared(PROPERTIES.get(label) or name_of(label), operation))
            except Unsaid:
                quiet(operation)
                raise
        return " and ".join(texts)

    def _changed(self, filters: list[Part]) -> list[str]:
        """What is asked of a property that has changed: of the attribute that it is, which is as it was changed to."""
        named = [one for one in filters if one.data.get("property") == "hs_name"]
        if filters and len(named) != 1:
            raise filters[0].malformed("one hs_name says which property has changed", "property")
        texts = []
        for one in filters:
            one.skip("filterType")
            attribute = self._draft.attribute(_value(named[0]), named[0])
            self._said.attributes.add(attribute)
            operation = one.part("operation")
            if one.text("property") == "hs_name":
                quiet(operation)
                continue
            try:
                texts.append(_compared(attribute, operation))
            except Unsaid:
                quiet(operation)
                raise
        return texts

    def _happened(self, event: str, where: str, part: Part, key: str, *, done: bool) -> str:
        """Whether, or how often, an event has happened."""
        refined = part.optional_part(key)
        self._said.events.add(event)
        keyword = f", where={where!r}" if where else ""
        window, least, most = "", 1, None
        if refined is not None:
            try:
                window, least, most = _refined(refined)
            except Unsaid:
                quiet(refined)
                raise
        negation = "" if done else "not "
        if (least, most) == (1, None):
            text = f"{negation}did({literal(event)}{window}{keyword})"
            if done and not window:
                self._said.direct[text] = where
            return text
        counted = f"count({literal(event)}{window}{keyword})"
        texts = [f"{counted} >= {least}"] if least else []
        texts += [] if most is None else [f"{counted} <= {most}"]
        joined = " and ".join(texts) or "true"
        return f"{negation}({joined})"


def email_title(titles: Mapping[str, str], identity: str) -> str:
    """What an e-mail is called: by its number, where the export does not say more."""
    return titles.get(identity, f"email {identity}" if identity.isdigit() else identity)


def _refined(part: Part) -> tuple[str, int, int | None]:
    """The window, and how often at least and at most."""
    kind = part.text("type", "ALL_HISTORY")
    if kind == "ALL_HISTORY":
        return "", 1, None
    if kind == "NUM_OCCURRENCES":
        most = part.whole("maxOccurrences") if "maxOccurrences" in part else None
        return "", part.whole("minOccurrences", 0), most
    offset = part.optional_part("timeOffset") if kind == "RELATIVE_COMPARATIVE" else None
    if offset is not None and part.text("comparison", "") in ("GREATER_THAN", "AFTER", "IS_AFTER"):
        unit = offset.choice("timeUnit", ("MINUTES", "HOURS", "DAYS", "WEEKS"), "units")
        if offset.text("offsetDirection", "PAST") == "PAST" and offset.number("amount") > 0:
            return f', "{span(offset, "amount", offset.number("amount"), unit)}"', 1, None
    raise Unsaid(f"no window of a condition is {kind}")


def _value(part: Part) -> Any:
    operation = part.data.get("operation")
    found = operation.get("value", operation.get("values")) if isinstance(operation, dict) else None
    found = found[0] if isinstance(found, list) and len(found) == 1 else found
    if not isinstance(found, str):
        raise part.malformed("there must be the name of one property here", "operation")
    return found


def _compared(name: str, part: Part) -> str:
    """A comparison of an attribute or property with an operation."""
    kind, operator = part.choice("operationType", _OPERATIONS, "kinds of operations"), part.text("operator")
    text = _asked(name, kind, operator, part)
    return f"(missing({name}) or {text})" if part.flag("includeObjectsWithNoValueSet", default=False) else text


def _asked(name: str, kind: str, operator: str, part: Part) -> str:
    if operator in ("IS_KNOWN", "HAS_PROPERTY"):
        return f"not missing({name})"
    if operator in ("IS_UNKNOWN", "IS_NOT_KNOWN", "NOT_HAS_PROPERTY"):
        return f"missing({name})"
    if kind in ("NUMBER", "NUMBER_RANGED"):
        if operator in ("IS_BETWEEN", "IS_NOT_BETWEEN"):
            low, high = (f"{part.number(key):.15g}" for key in ("lowerBound", "upperBound"))
            return f"{'not ' if operator == 'IS_NOT_BETWEEN' else ''}({low} <= {name} <= {high})"
        return f"{name} {_operator(part, operator)} {part.number('value'):.15g}"
    if kind == "BOOL":
        return f"{name} {_operator(part, operator, ('==', '!='))} {literal(part.flag('value'))}"
    if kind in ("STRING", "MULTISTRING", "ENUMERATION"):
        if operator in ("IS_ANY_OF", "IS_EQUAL_TO", "IS_EXACTLY", "IS"):
            return _among(name, part, "==", "in")
        if operator in ("IS_NONE_OF", "IS_NOT_EQUAL_TO", "IS_NOT_EXACTLY", "IS_NOT"):
            return _among(name, part, "!=", "not in")
        raise Unsaid(f"no condition looks into a text, or into what a property was before: {operator}")
    if kind == "TIME_POINT" and operator in ("IS_BEFORE", "IS_AFTER"):
        return f"{name} {'<' if operator == 'IS_BEFORE' else '>'} {_instant(part.part('timePoint'))}"
    if kind == "TIME_RANGED" and operator in ("IS_BETWEEN", "IS_NOT_BETWEEN"):
        low, high = (_instant(part.part(f"{end}BoundTimePoint")) for end in ("lower", "upper"))
        part.skip("lowerBoundEndpointBehavior", "upperBoundEndpointBehavior")
        return f"{'not ' if operator == 'IS_NOT_BETWEEN' else ''}({name} >= {low} and {name} <= {high})"
    raise Unsaid(f"no condition asks how long ago a date was, or how near it is: {kind} {operator}")


def _operator(part: Part, operator: str, allowed: Sequence[str] = ()) -> str:
    found = _NUMBERS.get(operator)
    if found is None or (allowed and found not in allowed):
        if "EVER" in operator:
            raise Unsaid(f"no condition looks into what a property was before: {operator}")
        raise part.malformed(f"{operator!r} is no operator here; {known(operator, _NUMBERS, 'operators')}", "operator")
    return found


def _among(name: str, part: Part, one: str, several: str) -> str:
    values = part.values("values" if "values" in part else "value")
    if not values:
        raise part.malformed("there is no value here", "values")
    texts = [literal(str(value)) for value in values]
    return f"{name} {one} {texts[0]}" if len(texts) == 1 else f"{name} {several} [{', '.join(texts)}]"


def _instant(part: Part) -> str:
    """A date or an instant that is fixed, as a text."""
    if part.text("timeType", "") != "DATE":
        quiet(part)
        raise Unsaid("no condition asks how long ago a date was, or how near it is")
    zone = part.text("zoneId", "UTC")
    fields = [part.whole(key, default) for key, default in (("year", 1970), ("month", 1), ("day", 1))]
    clock = [part.whole(key, 0) for key in ("hour", "minute", "second", "millisecond")]
    part.skip("timezoneSource")
    try:
        found = datetime(fields[0], fields[1], fields[2], clock[0], clock[1], clock[2], tzinfo=UTC)
    except (ValueError, OverflowError) as problem:
        raise part.malformed(f"this is no date: {problem}") from None
    if any(clock) and zone not in ("UTC", "Z"):
        raise Unsaid(f"instants in the zone {zone} are not compared here")
    return literal(found.strftime("%Y-%m-%dT%H:%M:%SZ") if any(clock) else found.strftime("%Y-%m-%d"))


def _label(kind: str, data: Mapping[str, Any]) -> str:
    """What a filter that no condition says is called: its kind, what it is about, and what it asks."""
    operation = data.get("operation")
    asked = operation if isinstance(operation, dict) else {}
    values = asked.get("values")
    words = [
        kind.lower(), *(data.get(key) for key in _WORDS if isinstance(data.get(key), str | int)),
        *(asked.get(key) for key in ("operator", "value") if isinstance(asked.get(key), str | int)),
        *(one for one in (values if isinstance(values, list) else ()) if isinstance(one, str)),
    ]  # fmt: skip
    return " ".join(str(one) for one in words).removeprefix("property ")


_WORDS: Final = (
    "property", "formId", "pageUrl", "emailId", "ctaName", "objectTypeId", "associationTypeId", "eventTypeId",
    "subscriptionId", "campaignId", "operator",
)  # fmt: skip
_OPERATIONS: Final = (
    "ALL_PROPERTY", "STRING", "MULTISTRING", "ENUMERATION", "NUMBER", "NUMBER_RANGED", "BOOL", "TIME_POINT",
    "TIME_RANGED", "DATE", "DATETIME", "CALENDAR_DATE", "COMPARATIVE_DATE", "COMPARATIVE_PROPERTY_UPDATED",
    "RANGED_DATE", "ROLLING_DATE_RANGE", "ROLLING_PROPERTY_UPDATED",
)  # fmt: skip
