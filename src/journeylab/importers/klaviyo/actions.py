"""The actions of a flow of Klaviyo as nodes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

from journeylab.importers.draft import ANY_TIME, name_of
from journeylab.importers.export import Part
from journeylab.importers.spans import MONTH, span
from journeylab.importers.unsaid import Unsaid, quiet

from .flow import QUALIFIES, Flow, label_of, time_of

__all__ = ["DOERS", "Doing"]

_UNQUALIFIED: Final = "no longer qualifies"
_CHANNELS: Final = {
    "send-sms": "sms", "send-mobile-push": "push", "send-whatsapp": "whatsapp", "send-webhook": "webhook",
    "send-internal-alert": "alert",
}  # fmt: skip
DOERS: Final = (
    "send-email", *_CHANNELS, "code", "internal-service", "ab-test", "content-experiment", "update-profile",
    "list-update",
)  # fmt: skip
"""The actions that do something, before which a profile must still qualify."""
_STATUSES: Final = ("draft", "manual", "live", "disabled")


class Doing:
    """The actions of a flow, each made a node."""

    def __init__(self, flow: Flow) -> None:
        self.flow, self.draft = flow, flow.draft
        for identity, action in flow.actions.items():
            with flow.export.noting():
                self._action(identity, action)

    def _action(self, identity: str, action: Part) -> None:
        kind, name = action.text("type"), self.draft.name(identity)
        do = {
            "send-email": self._email, "code": self._code, "internal-service": self._service,
            "time-delay": self._delay, "target-date": self._target_date, "countdown-delay": self._countdown,
            "back-in-stock-delay": self._back_in_stock, "conditional-split": self._split,
            "trigger-split": self._split, "action-output-split": self._split,
            "multi-branch-split": self._branches, "ab-test": self._experiment,
            "content-experiment": self._experiment, "update-profile": self._profile, "list-update": self._list,
            **dict.fromkeys(_CHANNELS, self._channel),
        }.get(kind)  # fmt: skip
        if do is None:
            self.draft.did(action, kind)  # says which types there are
            raise action.malformed(f"{kind} is no action", "type")
        if not self.flow.runs(action):
            self.draft.passes(name, self.flow.next_of(action))
            quiet(action)
            self.draft.did(action, kind, label_of(action), without="it is turned off, and profiles pass it by")
            return
        gate = self.flow.gates.get(identity)
        if gate is not None:
            clause = {"if": f'segment("{QUALIFIES}") >= 0.5', "go": name}
            self.draft.node(gate, action, decide=[clause], otherwise=self.draft.exit(_UNQUALIFIED))
        do(action, name)

    def _message(self, action: Part) -> tuple[Part, list[str]]:
        """The message of an action, and what is to be said of it."""
        data = action.part("data")
        status = data.choice("status", _STATUSES, "statuses", "draft")
        message = data.part("message")
        held = "it waits for a person there, who sends it" if self.flow.live and status == "manual" else ""
        return message, [held] if held else []

    def _email(self, action: Part, name: str) -> None:
        self._send(action, name, self.flow.next_of(action))

    def _send(self, action: Part, name: str, onward: str) -> None:
        """An e-mail, and whom it goes to."""
        message, buts = self._message(action)
        title, identity = _title(message, action), message.text("id", "")
        self.flow.smart.append(message.flag("smart_sending_enabled", default=True))
        self.flow.transactional.append(message.flag("transactional", default=False))
        said = {"when_capped": "skip"} if self.flow.smart[-1] else {}
        onto = self._only_if(message, name, onward)
        self.draft.node(onto, action, send=self.draft.message(title, identity), next=onward, **said)
        self.draft.did(action, "send-email", title, onto, but="; ".join(buts))

    def _only_if(self, message: Part, name: str, onward: str) -> str:
        """The node of a message: after its own filter, where it has one, which whoever fails passes it by."""
        extra = message.optional_part("additional_filters")
        text = None if extra is None else self.flow.filters.said(extra)
        if text is None:
            return name
        sends = self.draft.free(f"{name}_qualified")
        self.draft.node(name, message, decide=[{"if": text, "go": sends}], otherwise=onward)
        return sends

    def _channel(self, action: Part, name: str) -> None:
        self._call(action, name, self.flow.next_of(action))

    def _call(self, action: Part, name: str, onward: str) -> None:
        kind = action.text("type")
        message, buts = self._message(action)
        title = _title(message, action)
        service = name_of(f"{_CHANNELS[kind]} {title}", "service")
        asked = [message.flag(key, default=False) for key in ("smart_sending_enabled", "sms_quiet_hours_enabled")]
        if any(asked):
            buts.append("smart sending and quiet hours of this channel are the outside service's business")
        message.skip("transactional")
        onto = self._only_if(message, name, onward)
        self.draft.node(onto, action, call=service, next=onward)
        self.draft.did(action, kind, title, onto, but="; ".join([*buts, f"the call is {service}"]))

    def _code(self, action: Part, name: str) -> None:
        action.skip("data")
        service = f"code_{name_of(name, 'code')}"
        self.draft.node(name, action, call=service, next=self.flow.next_of(action))
        self.draft.did(action, "code", "", name, but=f"the call is {service}")

    def _service(self, action: Part, name: str) -> None:
        data = action.part("data")
        data.skip("status")
        does, onward = data.part("service_configuration"), self.flow.next_of(action)
        kinds = ("track-event", "schedule-report", "schedule-report-builder-report", "unknown")
        if does.choice("service_method_type", kinds, "services") == "track-event":
            event = does.text("event_key")
            does.skip("event_payload", "tracking_company_id")
            self.draft.node(name, action, emit=event, next=onward)
            self.draft.did(action, "internal-service", event, name)
        else:
            quiet(does)
            self.draft.passes(name, onward)
            self.draft.did(action, "internal-service", does.text("service_method_type"), without="it is for colleagues")

    def _delay(self, action: Part, name: str) -> None:
        data, onward = action.part("data"), self.flow.next_of(action)
        unit = data.choice("unit", ("days", "hours", "minutes"), "units", "days")
        value, more = data.number("value"), data.number("secondary_value", 0)
        smaller = {"days": "hours", "hours": "minutes"}.get(unit, "minutes")
        if value < 0 or more < 0:
            raise data.malformed("a delay cannot be negative", "value")
        minutes = value * {"days": 1440, "hours": 60, "minutes": 1}[unit] + more * (60 if smaller == "hours" else 1)
        clock, days = _clock(data, "delay_until_time"), self.flow.weekdays(data, "delay_until_weekdays")
        self.flow.zone(data)
        buts = [f"{more:g} of its second number are taken for {smaller}"] if more else []
        steps: list[dict[str, Any]] = []
        if clock is not None and unit == "days" and value:
            if value != int(value) or more:
                raise data.malformed(f"{value:g} days and {more:g} hours until {clock} are no calendar days", "value")
            steps.append({"wait_until": {"time": "00:00"}})
            if value > 1:
                steps.append({"wait": span(data, "value", value - 1, "days")})
        elif minutes:
            steps.append({"wait": span(data, "value", minutes, "minutes")})
        if clock is not None:
            steps.append({"wait_until": {"time": clock, **({"days": days} if days else {})}})
        elif days:
            steps.append({"wait_until": {**ANY_TIME, "days": days}})
        self._steps(action, "time-delay", name, steps, onward, buts)

    def _steps(
        self, action: Part, kind: str, name: str, steps: list[dict[str, Any]], onward: str, buts: list[str]
    ) -> None:  # fmt: skip
        """One node after the other."""
        endings = ("then" if "wait" in one else "until" for one in steps[1:])
        names = [name, *(self.draft.free(f"{name}_{ending}") for ending in endings)]
        for one, step, after in zip(names, steps, [*names[1:], onward], strict=False):
            self.draft.node(one, action, **step, next=after)
        if not steps:
            self.draft.passes(name, onward)
            buts = [*buts, "it waits for nothing, and has no node here"]
        self.draft.did(action, kind, "", *(names if steps else ()), but="; ".join(buts))

    def _target_date(self, action: Part, name: str) -> None:
        data = action.part("data")
        self._toward(action, "target-date", name, _at(data, "target_time"), data, "target_days", [])

    def _countdown(self, action: Part, name: str) -> None:
        data = action.part("data")
        unit, value = data.choice("unit", ("days", "weeks", "months"), "units", "days"), data.whole("value", 0)
        said = {"offset": span(data, "value", -value, unit)} if value else {}
        said |= _at(data, "delay_until_time")
        buts = [MONTH] if unit == "months" and value else []
        self._toward(action, "countdown-delay", name, said, data, "delay_until_weekdays", buts)

    def _toward(
        self, action: Part, kind: str, name: str, said: dict[str, Any], data: Part, days: str, buts: list[str]
    ) -> None:  # fmt: skip
        """A wait for the date that the flow is about."""
        if not self.flow.date:
            raise action.malformed("only a flow that a date property triggers has a date to wait for", "type")
        steps: list[dict[str, Any]] = [{"wait_until": {"date": self.flow.date, **said}}]
        allowed = self.flow.weekdays(data, days)
        if allowed:
            steps.append({"wait_until": {**ANY_TIME, "days": allowed}})
            buts.append("on another day, it goes on as the next allowed one begins")
        self.flow.zone(data)
        self._steps(action, kind, name, steps, self.flow.next_of(action), buts)

    def _back_in_stock(self, action: Part, name: str) -> None:
        missed = self.draft.exit("not back in stock")
        onward = self.flow.next_of(action)
        self.draft.node(name, action, wait_for="back_in_stock", within="365d", then=onward, otherwise=missed)
        self.draft.did(action, "back-in-stock-delay", "", name)

    def _split(self, action: Part, name: str) -> None:
        kind, data, links = action.text("type"), action.part("data"), action.part("links")
        yes = self.flow.goes(links, "next_if_true", links.optional("next_if_true"))
        no = self.flow.goes(links, "next_if_false", links.optional("next_if_false"))
        key = {
            "conditional-split": "profile_filter", "trigger-split": "trigger_filter",
            "action-output-split": "action_output_filter",
        }[kind]  # fmt: skip
        data.skip("trigger_type")
        asked = data.part(key)
        sample = _sample(asked.data)
        if kind == "conditional-split" and sample is not None:
            quiet(asked)
            share = Fraction(str(sample)) / 100
            if not 0 <= share <= 1:
                raise asked.malformed(f"{sample} % is no share")
            self.draft.arms(name, action, [("sampled", share, yes), ("others", 1 - share, no)])
            but = "the sample is a keyed hash of the contact, the same at every re-entry (rule 22)"
            self.draft.did(action, kind, f"{sample} %", name, but=but)
            return
        text = self.flow.filters.said(asked, of_entry=kind == "trigger-split")
        if text is None:
            raise asked.malformed("this split asks nothing", "condition_groups")
        self.draft.node(name, action, decide=[{"if": text, "go": yes}], otherwise=no)
        self.draft.did(action, kind, "", name)

    def _branches(self, action: Part, name: str) -> None:
        data = action.part("data")
        clauses, otherwise = [], None
        branches = data.parts("branches", needed=True)
        for branch in sorted(branches, key=lambda one: one.number("order", 0)):
            branch.skip("branch_id")
            target = self.flow.next_of(branch)
            asked = branch.optional_part("branch_filter")
            text = None if asked is None else self.flow.filters.said(asked, of_entry=_asks_event(asked.data))
            if branch.flag("is_else", default=False) or text is None:
                if otherwise is not None:
                    raise branch.malformed("this branch asks nothing, and another one is the rest already")
                otherwise = target
            else:
                clauses.append({"if": text, "go": target})
        otherwise = otherwise or self.draft.exit()
        if clauses:
            self.draft.node(name, action, decide=clauses, otherwise=otherwise)
        else:
            self.draft.passes(name, otherwise)
        self.draft.did(action, "multi-branch-split", data.text("name", ""), *([name] if clauses else []))

    def _experiment(self, action: Part, name: str) -> None:
        """A test: a split over its variations; one that is over, or has none, is its main message."""
        kind, data, onward = action.text("type"), action.part("data"), self.flow.next_of(action)
        main, test = data.part("main_action"), data.optional_part("current_experiment")
        done = data.text("experiment_status", "draft") == "completed"
        variations = [] if test is None or done else test.parts("variations", needed=True)
        if len(variations) < 2:
            self._one(main, name, onward)
            if test is not None:
                quiet(test)
            self.draft.did(
                action, kind, "", name, but="the test is over, or has one variation: its main message is sent"
            )
            return
        quiet(main)
        assert test is not None
        names = [self.draft.free(f"{name}_{name_of(label_of(one), 'variation')}") for one in variations]
        for one, node in zip(variations, names, strict=True):
            self._one(one, node, onward)
        shares, buts = _shares(test, variations)
        arms = [(node, share, node) for node, share in zip(names, shares, strict=True)]
        self.draft.arms(name, action, arms)
        winner = test.optional_part("automatic_winner_selection_settings")
        if winner is not None:
            quiet(winner)
            buts.append("a winner would be chosen there, and everybody would get it")
        self.draft.did(action, kind, test.text("name", ""), name, *names, but="; ".join(buts))

    def _one(self, action: Part, name: str, onward: str) -> None:
        kind = action.choice("type", ("send-email", *_CHANNELS), "messages of a test")
        if kind == "send-email":
            self._send(action, name, onward)
        else:
            self._call(action, name, onward)

    def _profile(self, action: Part, name: str) -> None:
        data = action.part("data")
        data.skip("status")
        sets: dict[str, Any] = {}
        buts: list[str] = []
        for one in data.parts("profile_operations", needed=True):
            try:
                attribute, value = self._operation(one)
            except Unsaid as why:
                quiet(one)
                buts.append(str(why))
            else:
                sets[attribute] = value
        onward = self.flow.next_of(action)
        if sets:
            self.draft.node(name, action, set=sets, next=onward)
            self.draft.did(action, "update-profile", "", name, but="; ".join(buts))
        else:
            self.draft.passes(name, onward)
            self.draft.did(action, "update-profile", without="; ".join(buts) or "it changes nothing")

    def _operation(self, one: Part) -> tuple[str, Any]:
        operator = one.choice("operator", ("create", "update", "delete"), "operations")
        key = one.text("property_key")
        if operator == "delete":
            raise Unsaid(f"{key} is not deleted: a value can be set, and not be taken away")
        kind = one.choice("property_type", ("string", "boolean", "numeric", "date", "list"), "types of properties")
        attribute = self.draft.attribute(key, one)
        if kind == "list":
            removes = one.text("property_operation", "add") == "remove"
            value = one.text("property_value")
            return self.draft.attribute_for(("has", attribute, value), f"{attribute} {value}"), not removes
        if kind == "boolean":
            return attribute, one.flag("property_value")
        if kind == "numeric":
            return attribute, one.number("property_value")
        value = one.text("property_value")
        if kind == "date" and value == "today":
            raise Unsaid(f"{key} is not set to the day: what is set is fixed")
        return attribute, value

    def _list(self, action: Part, name: str) -> None:
        data = action.part("data")
        identity, adds = data.text("list_id"), data.flag("on_execution")
        flag = self.flow.filters.member(identity)
        self.draft.node(name, action, set={flag: adds}, next=self.flow.next_of(action))
        self.draft.did(action, "list-update", data.text("name", ""), name, but=f"the flag attribute is {flag}")


def _asks_event(data: Any) -> bool:
    return '"metric-property"' in str(data).replace("'", '"')


def _sample(data: Any) -> float | None:
    """The percentage, where a filter is nothing but a random sample."""
    groups = data.get("condition_groups")
    conditions = (
        groups[0].get("conditions")
        if isinstance(groups, list) and len(groups) == 1 and isinstance(groups[0], dict)
        else None
    )
    one = conditions[0] if isinstance(conditions, list) and len(conditions) == 1 else None
    if not isinstance(one, dict) or one.get("type") != "profile-sample":
        return None
    percentage = one.get("percentage")
    return percentage if isinstance(percentage, int | float) and not isinstance(percentage, bool) else None


def _shares(test: Part, variations: list[Part]) -> tuple[list[Fraction], list[str]]:
    """The shares of a test's variations: as the export says them by their ids, even ones where it does not."""
    ids = [str(one.data.get("id", one.data.get("temporary_id", ""))) for one in variations]
    said = test.optional_part("allocations")
    if said is not None and all(one in said for one in ids):
        given = [Fraction(str(said.number(one))) for one in ids]
        total = sum(given)
        if any(one < 0 for one in given) or not total:
            raise test.malformed("shares are not negative, and not all of them nothing", "allocations")
        return [one / total for one in given], []
    return [Fraction(1, len(ids))] * len(ids), ["the export does not say the shares: they are even"]


def _clock(part: Part, key: str) -> str | None:
    return time_of(part, key) if key in part else None


def _at(part: Part, key: str) -> dict[str, str]:
    clock = _clock(part, key)
    return {} if clock is None else {"time": clock}


def _title(message: Part, action: Part) -> str:
    return message.text("name", "") or message.text("id", "") or action.text("id", "") or "message"
