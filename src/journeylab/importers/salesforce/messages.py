"""Messages, what is done in other systems, and fields of contacts.

Sources: "Data Extension Update Activity Format" in the vendor's guide, "Configure Send Throttling" in its help, and the
e-mail, SMS, push and object activities of public exports.
"""

from __future__ import annotations

import re
from typing import Any, Final

from journeylab.expressions import Attribute, Compare, Text
from journeylab.importers.draft import name_of
from journeylab.importers.export import Part
from journeylab.importers.spans import clock_time
from journeylab.importers.unsaid import quiet

from .filters import scalar_of
from .steps import Step, Steps

__all__ = ["SERVICES", "BestTimes", "audience", "call", "custom", "email", "update"]

SERVICES: Final = {
    "SMSSYNC": "sms", "PUSHNOTIFICATIONACTIVITY": "push", "PUSHINBOXACTIVITY": "inbox", "INAPPSYNCACTIVITY": "inapp",
    "WHATSAPPACTIVITY": "whatsapp", "WHATSAPPSESSIONTRANSFERACTIVITY": "whatsapptransfer", "SENDTOLINESYNC": "line",
    "SLACKNOTIFIER": "slack", "ACTIVEAUDIENCEJOURNEYACTIVITY": "ads", "SALESCLOUDACTIVITY": "crm",
    "OBJECTACTIVITY": "crm", "LEAD": "crm", "CAMPAIGNMEMBER": "crm", "CASE": "crm", "REST": "webhook",
    "RESTDECISION": "webhook",
}  # fmt: skip
"""What the services of outside calls begin with, by the type of the activity."""
_KEYS: Final = ("triggeredSendKey", "r__triggeredSend_key", "triggeredSendId")
_WINDOWS: Final = ("honorBlackoutWindowEnum", "blockoutWindows", "sendWindowStartTime")
_CLOCK: Final = re.compile(r"\d{1,2}/\d{1,2}/\d{4} (\d{1,2}):(\d\d):\d\d (AM|PM)")
_WIDEST: Final = 168
_EXPIRES: Final = 48


def email(steps: Steps, step: Step) -> None:
    """An e-mail is a send; what the vendor's events call it is its triggered send."""
    settings, but = step.settings, []
    identity = next((found for key in _KEYS if (found := settings.optional(key)) is not None), None)
    settings.skip(*_KEYS)
    window = None
    if (send := settings.optional_part("triggeredSend")) is not None:
        identity = identity or send.optional("key") or send.optional("emailId")
        send.skip("key", "emailId", "name", "emailSubject", "dynamicEmailSubject", "preHeader", "description")
        window = _window(send)
    if identity is None:
        but.append("no e-mail is chosen for it there yet")
    if window is not None:
        but.append("its delivery window is by the contact's clock (rule 3); there it is by the account's")
    message = steps.draft.message(step.label or step.name, identity or "")
    steps.draft.node(step.name, step.part, send=message, at=window, next=steps.next(step))
    steps.did(step, step.name, but=but)


def _window(send: Part) -> dict[str, Any] | None:
    """The delivery window of an e-mail, which is midnight to midnight where there is none."""
    times = []
    for key in ("throttleOpens", "throttleCloses"):
        text = send.text(key, "")
        found = _CLOCK.fullmatch(text)
        if text and (found is None or not 1 <= int(found[1]) <= 12):
            raise send.malformed(f"{text!r} is no time such as 1/1/0001 8:00:00 AM", key)
        if found is not None:
            times.append(clock_time(send, int(found[1]) % 12 + 12 * (found[3] == "PM"), int(found[2]), key))
    if len(times) < 2 or times[0] == times[1]:
        return None
    return {"between": [times[0], "24:00" if times[1] == "00:00" else times[1]]}


def call(steps: Steps, step: Step) -> None:
    """A message of another channel, or something done in another system, is a call."""
    settings, but = step.settings, ""
    quiet(settings)  # what is sent is the service's
    if any(settings.data.get(key) not in (None, 0, "", "[]", []) for key in _WINDOWS):
        but = "the hours in which it may go out are left out; put a `wait_until` before it"
    service = name_of(f"{SERVICES[step.kind]} {step.label or step.name}", "service")
    steps.draft.node(step.name, step.part, call=service, next=steps.next(step))
    steps.did(step, step.name, but=but)


def custom(steps: Steps, step: Step) -> None:
    """A custom activity is a call; where it has several ways, the service has to say which one contacts go."""
    ways = steps.ways(step)
    if len(ways) < 2:
        call(steps, step)
        return
    quiet(step.settings)
    service = name_of(f"{SERVICES[step.kind]} {step.label or step.name}", "service")
    split, attribute = steps.draft.free(f"{step.name}_branch"), f"{step.name}_branch"
    named = [(str(steps.argument(one, "branchResult") or one.text("key", "path")), target) for one, target in ways]
    clauses = [
        steps.clause(Compare("==", Attribute(attribute), Text(said)), target, step.part) for said, target in named[:-1]
    ]
    steps.draft.node(step.name, step.part, call=service, next=split)
    steps.draft.node(split, step.part, decide=clauses, otherwise=named[-1][1])
    but = f"which way contacts go is what the service writes into their attribute {attribute}"
    steps.did(step, step.name, split, but=but)


class BestTimes:
    """The send-time optimisations of a journey, each of which is the time of the message that follows it."""

    def __init__(self) -> None:
        self._hours: dict[str, int] = {}

    def read(self, steps: Steps, step: Step) -> None:
        """Reads one; it has no node of its own.

        Raises:
            Malformed: when its time frame is none.
        """
        settings = step.settings
        params = settings.optional_part("params") or settings
        hours = params.whole("slidingWindowHours", 24)
        params.skip("enableRandomTime")
        if not 1 <= hours <= _WIDEST:
            raise params.malformed(f"a time frame has 1 to {_WIDEST} hours, not {hours}", "slidingWindowHours")
        steps.draft.passes(step.name, steps.next(step))
        self._hours[step.part.text("key")] = hours

    def write(self, steps: Steps, first: str) -> None:
        """Lets the messages that follow be sent at the best time, where all ways to them lead by one."""
        for key, hours in self._hours.items():
            after = steps.after(key)
            target = steps.by_key.get(after)
            node = {} if target is None else steps.draft.nodes.get(target.name, {})
            if target is None or "send" not in node:
                steps.did(steps.by_key[key], without="what follows is no e-mail, and only messages have a best time")
                continue
            if after == first or any(self._hours.get(one) != hours for one in steps.before(after)):
                why = "another way leads to the message, and a message has one time"
                steps.did(steps.by_key[key], without=why)
                continue
            window = {} if node.get("at") is None else {"between": node["at"]["between"]}
            node["at"] = {"best": "best", **window, "within": f"{hours}h"}
            if hours > _EXPIRES:
                node["expires"] = f"{hours}h"
            steps.did(steps.by_key[key], target.name)


def update(steps: Steps, step: Step) -> None:
    """Fields of a data extension are attributes of the contact; constants alone can be set."""
    settings, arguments = step.settings, step.part.optional_part("arguments")
    fields: list[tuple[str, Any, Part]] = []
    data = None if arguments is None else arguments.optional_part("activityData")
    if data is not None:
        for one in data.parts("updateContactFields"):
            one.skip("dataExtensionId")
            fields.append((one.text("field"), one.raw("value", ""), one))
    elif arguments is not None and "value" in arguments:
        settings.skip("dataExtensionId")
        fields.append((settings.text("field"), arguments.raw("value"), settings))
    if not fields:
        raise step.part.malformed("it names no field that is to be updated")
    made: dict[str, Any] = {}
    for field, value, place in fields:
        if isinstance(value, list | dict):
            raise place.malformed("there must be a text, a number or a flag here", "value")
        if isinstance(value, str) and re.search(r"\{\{|%%", value):
            note = f"its value is worked out there, {value!r}, and constants alone are set here"
            steps.draft.left_out(place, f"field {field!r}", note)
            continue
        made[steps.draft.attribute(field, place)] = scalar_of(value) if isinstance(value, str) else value
        steps.filters.looks()
    if made:
        steps.draft.node(step.name, step.part, set=made, next=steps.next(step))
        steps.did(step, step.name)
    else:
        steps.draft.passes(step.name, steps.next(step))
        steps.did(step, without="none of its values is a constant")


def audience(steps: Steps, step: Step) -> None:
    """Who is in an audience is a flag attribute."""
    quiet(step.settings)
    flag = steps.draft.attribute_for(("in", step.label or step.name), f"in {step.label or step.name}")
    steps.draft.node(step.name, step.part, set={flag: True}, next=steps.next(step))
    steps.did(step, step.name, but=f"it is {flag}")
