"""The actions of a workflow of HubSpot as nodes."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Final

from journeylab.importers.draft import ANY_TIME, literal, name_of
from journeylab.importers.export import Part
from journeylab.importers.spans import span
from journeylab.importers.unsaid import quiet

from .actiontypes import CALLS, OTHER_APPS
from .filters import email_title
from .flow import DAYS, Flow, enrolled_in, kind_of, time_of_day

__all__ = ["Doing"]

_UNITS: Final = ("SECONDS", "MINUTES", "HOURS", "DAYS", "WEEKS", "MONTHS")
_LABELS: Final = ("subject", "task_type", "object_type_id", "sequenceId", "email_content_id", "campaign_id")


class Doing:
    """The actions of a workflow, each made a node."""

    def __init__(self, flow: Flow) -> None:
        self.flow, self.draft = flow, flow.draft
        for identity, action in flow.actions.items():
            with flow.export.noting():
                self._action(identity, action)

    def _action(self, identity: str, action: Part) -> None:
        kind, name = kind_of(action), self.draft.name(identity)
        do = {
            "LIST_BRANCH": self._list_branch, "STATIC_BRANCH": self._static_branch, "AB_TEST_BRANCH": self._test,
            "WEBHOOK": self._outside, "CUSTOM_CODE": self._outside, "0-1": self._delay,
            "0-29": self._wait_for, "0-35": self._until_date, "0-4": self._email, "0-5": self._set,
            "0-13": self._list, "0-63809083": self._list, "0-63863438": self._list, "0-15": self._enroll,
        }.get(kind)  # fmt: skip
        if do is not None:
            do(action, name)
        elif kind in CALLS or kind.startswith("1-"):
            self._call(action, name)
        else:
            self.draft.did(action, kind)  # says which types there are
            raise action.malformed(f"{kind} is no action", "actionTypeId")

    # Branches

    def _list_branch(self, action: Part, name: str) -> None:
        clauses = []
        for branch in action.parts("listBranches", needed=True):
            text = self.flow.filters.said(branch.part("filterBranch"), inside=True).text
            clauses.append({"if": text, "go": self.flow.goes(branch, "connection")})
        otherwise = self.flow.goes(action, "defaultBranch")
        self._decided(action, "LIST_BRANCH", name, clauses, otherwise)

    def _static_branch(self, action: Part, name: str) -> None:
        value, said = action.optional_part("inputValue"), ""
        branches = action.parts("staticBranches")
        otherwise = self.flow.goes(action, "defaultBranch")
        if value is None:
            if branches:
                raise action.malformed("this is missing: of what are these branches?", "inputValue")
            self._decided(action, "STATIC_BRANCH", name, [], otherwise)
            return
        kind = value.choice("type", _VALUES, "kinds of values", "OBJECT_PROPERTY")
        but = ""
        if kind == "OBJECT_PROPERTY":
            asked = self.draft.attribute(value.text("propertyName"), value)
        elif kind == "FIELD_DATA":
            asked, but = self._output(value)
        else:
            quiet(value)
            asked = name_of(f"value of {name}")
            but = f"a value of the kind {kind} is the attribute {asked}, which contacts have to have"
        clauses = []
        for branch in branches:
            said = branch.text("branchValue")
            clauses.append({"if": _equal(asked, said), "go": self.flow.goes(branch, "connection")})
        self._decided(action, "STATIC_BRANCH", name, clauses, otherwise, but)

    def _output(self, value: Part) -> tuple[str, str]:
        """The attribute that holds what came of an action, and what is to be said of it."""
        identity, key = value.text("actionId"), value.text("dataKey", "")
        other = self.flow.actions.get(identity)
        if other is None:
            raise value.malformed(f"there is no action {identity!r}", "actionId")
        if kind_of(other) == "0-29":
            return _met(identity), ""
        asked = name_of(f"output {identity} {key}")
        return asked, f"no call brings a value back: it is the attribute {asked}, which contacts have to have"

    def _decided(
        self, action: Part, kind: str, name: str, clauses: list[dict[str, str]], otherwise: str, but: str = ""
    ) -> None:  # fmt: skip
        if clauses:
            self.draft.node(name, action, decide=clauses, otherwise=otherwise)
            self.draft.did(action, kind, "", name, but=but)
        else:
            self.draft.passes(name, otherwise)
            self.draft.did(action, kind, "", but="it asks nothing, and has no node here")

    def _test(self, action: Part, name: str) -> None:
        arms, shares = [], []
        for i, branch in enumerate(action.parts("testBranches", needed=True)):
            connection = branch.optional_part("connection") or branch
            share = branch.number("percentage") if "percentage" in branch else None
            shares.append(share)
            arms.append((branch.text("branchName", "") or f"{name} {i + 1}", self.flow.led(connection)))
        if not arms:
            raise action.malformed("a test has branches, and here are none", "testBranches")
        said = [Fraction(str(one)) / 100 for one in shares if one is not None]
        even = len(said) < len(arms)
        if any(one < 0 for one in said):
            raise action.malformed("no share is negative", "testBranches")
        each = [Fraction(1, len(arms))] * len(arms) if even else said
        listed = [(label, share, target) for (label, target), share in zip(arms, each, strict=True)]
        self.draft.arms(name, action, listed)
        but = "the export does not say the shares: they are even" if even else ""
        self.draft.did(action, "AB_TEST_BRANCH", "", name, but=but)

    # Waits

    def _delay(self, action: Part, name: str) -> None:
        fields, onward = action.part("fields"), self.flow.goes(action, "connection")
        unit = fields.choice("time_unit", _UNITS, "units", "MINUTES")
        delta = fields.number("delta", 0)
        if delta < 0:
            raise fields.malformed("a delay cannot be negative", "delta")
        steps: list[dict[str, Any]] = [{"wait": span(fields, "delta", delta, unit)}] if delta else []
        clock, days = fields.optional_part("time_of_day"), self._days(fields)
        if clock is not None:
            steps.append({"wait_until": {"time": time_of_day(clock), **({"days": days} if days else {})}})
        elif days:
            steps.append({"wait_until": {**ANY_TIME, "days": days}})
        self._steps(action, name, steps, onward, [_MONTHS] if unit == "MONTHS" else [])

    def _days(self, fields: Part) -> list[str]:
        """The days of the week that are allowed, in order; none where all are."""
        days = [str(one).upper() for one in fields.values("days_of_week")]
        unknown = [one for one in days if one not in DAYS]
        if unknown:
            raise fields.malformed(f"{unknown[0]!r} is no day of the week", "days_of_week")
        return [] if len({*days}) == len(DAYS) else [one[:3].lower() for one in DAYS if one in days]

    def _until_date(self, action: Part, name: str) -> None:
        fields, onward = action.part("fields"), self.flow.goes(action, "connection")
        date = fields.part("date")
        unit, delta = fields.choice("time_unit", _UNITS, "units", "DAYS"), fields.number("delta", 0)
        clock = fields.optional_part("time_of_day")
        steps: list[dict[str, Any]] = []
        if date.choice("type", ("STATIC_VALUE", "OBJECT_PROPERTY"), "kinds of dates") == "STATIC_VALUE":
            attribute = name_of(f"date of {name}")
            steps.append({"set": {attribute: _day(date)}})
        else:
            attribute = self.draft.attribute(date.text("propertyName"), date)
        until: dict[str, Any] = {"date": attribute}
        if delta:
            until["offset"] = span(fields, "delta", delta, unit)
        if clock is not None:
            until["time"] = time_of_day(clock)
        steps.append({"wait_until": until})
        self._steps(action, name, steps, onward, [_MONTHS] if unit == "MONTHS" else [])

    def _steps(self, action: Part, name: str, steps: list[dict[str, Any]], onward: str, buts: list[str]) -> None:
        """One node after the other."""
        names = [name, *(self.draft.free(f"{name}_until") for _ in steps[1:])]
        for one, step, after in zip(names, steps, [*names[1:], onward], strict=False):
            self.draft.node(one, action, **step, next=after)
        if not steps:
            self.draft.passes(name, onward)
            buts = [*buts, "it waits for nothing, and has no node here"]
        self.draft.did(action, kind_of(action), "", *(names if steps else ()), but="; ".join(buts))

    def _wait_for(self, action: Part, name: str) -> None:
        fields, onward = action.part("fields"), self.flow.goes(action, "connection")
        moments = [self.flow.filters.event(one) for one in fields.parts("event_filter_branches", needed=True)]
        if not moments:
            raise fields.malformed("there is no event to wait for", "event_filter_branches")
        minutes = fields.number("expiration_minutes", 0)
        within, buts = span(fields, "expiration_minutes", minutes, "minutes"), []
        if minutes <= 0:
            within = "365d"
            buts.append("it has no end there, and a year here")
        identity = action.text("actionId")
        came, missed = onward, onward
        if identity in self.flow.asked:
            came, missed = (self.draft.free(f"{name}_{word}") for word in ("came", "missed"))
            self.draft.node(came, action, set={_met(identity): True}, next=onward)
            self.draft.node(missed, action, set={_met(identity): False}, next=onward)
        awaited = [_awaited(one.event, one.where) for one in moments]
        if len(awaited) == 1:
            self.draft.node(name, action, wait_for=awaited[0], within=within, then=came, otherwise=missed)
        else:
            listed = [{"await": one, "go": came} for one in awaited]
            self.draft.node(name, action, wait_for=listed, within=within, otherwise=missed)
        self.draft.did(action, "0-29", ", ".join(one.event for one in moments), name, but="; ".join(buts))

    # What is done

    def _email(self, action: Part, name: str) -> None:
        fields = action.part("fields")
        identity = fields.text("content_id")
        title = email_title(self.flow.titles, identity)
        message = self.draft.message(title, identity)
        self.draft.node(name, action, send=message, next=self.flow.goes(action, "connection"))
        self.draft.did(action, "0-4", title, name)

    def _set(self, action: Part, name: str) -> None:
        fields, onward = action.part("fields"), self.flow.goes(action, "connection")
        label, value = fields.text("property_name"), fields.part("value")
        kind = value.choice("type", _VALUES, "kinds of values", "STATIC_VALUE")
        elsewhere = fields.optional_part("association")
        if elsewhere is not None and elsewhere.data:
            quiet(elsewhere)
        if kind == "STATIC_VALUE" and not (elsewhere is not None and elsewhere.data):
            attribute = self.draft.attribute(label, fields)
            self.draft.node(name, action, set={attribute: self._typed(label, value)}, next=onward)
            self.draft.did(action, "0-5", label, name)
            return
        quiet(value)
        service = name_of(f"set {label}")
        self.draft.node(name, action, call=service, next=onward)
        whose = "it is of another record" if elsewhere is not None and elsewhere.data else f"the value is a {kind}"
        self.draft.did(action, "0-5", label, name, but=f"{whose}: the call is {service}")

    def _typed(self, label: str, value: Part) -> Any:
        """The value that is set, in the kind in which filters compare it; true and false are flags."""
        text = value.text("staticValue")
        if self.flow.kinds.get(label) == "NUMBER":
            number = value.number("staticValue")
            return int(number) if number == int(number) else number
        return {"true": True, "false": False}.get(text.lower(), text)

    def _list(self, action: Part, name: str) -> None:
        kind, fields = kind_of(action), action.part("fields")
        identity = fields.text("listId" if "listId" in fields else "list_id")
        adds = kind == "0-63809083"
        if kind == "0-13":
            adds = fields.choice("operation", ("ADD", "REMOVE"), "operations") == "ADD"
        fields.skip("targetObject")
        flag = self.flow.filters.member(identity)
        self.draft.node(name, action, set={flag: adds}, next=self.flow.goes(action, "connection"))
        title = self.flow.titles.get(identity, identity)
        self.draft.did(action, kind, title, name, but=f"the flag attribute is {flag}")

    def _enroll(self, action: Part, name: str) -> None:
        fields = action.part("fields")
        identity = fields.text("flow_id")
        self.draft.node(name, action, emit=enrolled_in(identity), next=self.flow.goes(action, "connection"))
        self.draft.did(action, "0-15", identity, name)

    def _outside(self, action: Part, name: str) -> None:
        kind = kind_of(action)
        label = action.text("webhookUrl", "") if kind == "WEBHOOK" else ""
        action.skip(
            "method",
            "queryParams",
            "authSettings",
            "sourceCode",
            "runtime",
            "secretNames",
            "inputFields",
            "outputFields",
        )
        service = name_of(f"{'webhook' if kind == 'WEBHOOK' else 'code'} {action.text('actionId')}")
        self.draft.node(name, action, call=service, next=self.flow.goes(action, "connection"))
        self.draft.did(action, kind, label, name, but=f"the call is {service}")

    def _call(self, action: Part, name: str) -> None:
        kind, fields = kind_of(action), action.optional_part("fields")
        data = {} if fields is None else fields.data
        label = next((str(data[key]) for key in _LABELS if isinstance(data.get(key), str) and data[key]), "")
        if fields is not None:
            quiet(fields)
        prefix = CALLS[kind][0] if kind in CALLS else f"app {kind}"
        service = name_of(f"{prefix} {label or action.text('actionId')}")
        self.draft.node(name, action, call=service, next=self.flow.goes(action, "connection"))
        named = kind if kind in CALLS else OTHER_APPS
        self.draft.did(action, named, label if kind in CALLS else kind, name, but=f"the call is {service}")


def _met(identity: str) -> str:
    return f"event_{name_of(identity, 'action').removeprefix('n_')}_came"


def _equal(asked: str, value: str) -> str:
    """That an attribute has a value of a branch, where true and false are flags."""
    if value.lower() in ("true", "false"):
        return f"{asked} == {value.lower()}"
    return f"{asked} == {literal(value)}"


def _awaited(event: str, where: str) -> str:
    if not where and event.isidentifier():
        return event
    return f"event({literal(event)}, where={where!r})" if where else f"event({literal(event)})"


def _day(date: Part) -> str:
    """The day of a calendar date, which is written in milliseconds since 1970 (UTC)."""
    number = date.number("staticValue")
    try:
        return datetime.fromtimestamp(number / 1000, UTC).strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):
        raise date.malformed(f"{number:g} is no instant in milliseconds since 1970", "staticValue") from None


_MONTHS: Final = "a month is 30 days here (rule 2)"
_VALUES: Final = (
    "STATIC_VALUE", "OBJECT_PROPERTY", "FIELD_DATA", "TIMESTAMP", "RELATIVE_DATETIME", "INCREMENT",
    "FETCHED_OBJECT_PROPERTY", "APPEND_OBJECT_PROPERTY", "STATIC_APPEND_VALUE", "ENROLLMENT_EVENT_PROPERTY",
)  # fmt: skip
