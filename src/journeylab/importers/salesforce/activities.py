"""Journey Builder's activities as nodes.

No public page shows how the waits for events, for chat responses and for engagement with push messages are written;
they are read as waits whose `waitForEventKey` names the event, with a time-out in `waitDuration` and `waitUnit`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from journeylab.expressions import Compare, Property, Text, expression_text, literal_text
from journeylab.importers.draft import name_of
from journeylab.importers.export import Part
from journeylab.importers.unsaid import quiet

from .messages import SERVICES, BestTimes, audience, call, custom, email, update
from .splits import decision, engagement, frequency, random
from .steps import Step, Steps
from .waits import span_of

__all__ = ["read_activities"]


def read_activities(steps: Steps, journey: Part, leads_to: str | None) -> None:
    """Makes the nodes of all activities; `leads_to` is the activity that the entry source names, if it names one."""
    best, first = BestTimes(), leads_to or steps.root
    for step in steps.by_key.values():
        with step.part.export.noting():
            if step.kind == "STOWAIT":
                best.read(steps, step)
            elif step.kind in SERVICES and not step.kind.startswith("REST"):
                call(steps, step)
            else:
                _READS[step.kind](steps, step)
    with journey.export.noting():
        if first not in steps.by_key:
            raise journey.malformed(f"the entry source leads to {first!r}, and there is no such activity", "triggers")
        steps.draft.first = steps.by_key[first].name
    best.write(steps, first)


def _onward(steps: Steps, step: Step) -> None:
    quiet(step.settings)
    steps.draft.passes(step.name, steps.next(step))
    steps.did(step)


def _stop(steps: Steps, step: Step) -> None:
    step.part.skip("outcomes", "configurationArguments")
    steps.draft.passes(step.name, steps.draft.exit())
    steps.did(step, steps.draft.exit())


def _wait(steps: Steps, step: Step) -> None:
    if step.settings.text("waitForEventKey", ""):
        _event(steps, step)
        return
    becomes, but = steps.waits.read(step.part, step.settings, step.name, steps.next(step))
    steps.did(step, *becomes, but=but)


def _event(steps: Steps, step: Step) -> None:
    """A wait for an event, with its time-out."""
    settings = step.settings
    settings.skip("specifiedTime", "timeZone", "timeZoneId", "specificDate", "waitEndDateAttributeExpression")
    settings.skip("schemaVersionId", "description", "eventDefinitionKey", "waitForEventId")
    key = settings.optional("waitForEventKey") or settings.text("eventDefinitionKey")
    event = name_of(key, "event")
    where = steps.filters.where(settings.text("criteria", ""), settings, "criteria", key, columns=False)
    within, month = span_of(settings)
    yes, no = steps.yes_and_no(step)
    _awaits(steps, step, [(_awaited(event, where), yes)], within, no)
    named = f"the event is {event} here, and {key!r} there" if event != key else ""
    steps.did(step, step.name, but=[month, named])


def _engaged(steps: Steps, step: Step) -> None:
    """A wait for what contacts do with a push or in-app message."""
    settings = step.settings
    of, (within, month) = settings.optional("refActivityCustomerKey"), span_of(settings)
    quiet(settings)
    about = steps.by_key[of].name if of in steps.by_key and of is not None else step.name
    event = name_of(f"{about} engaged", "event")
    yes, no = steps.yes_and_no(step)
    _awaits(steps, step, [(event, yes)], within, no)
    steps.did(step, step.name, but=[f"it is {event}", month])


def _chat(steps: Steps, step: Step) -> None:
    """A wait for an answer in a chat; which of the expected ones it is, the event has to say."""
    within, month = span_of(step.settings)
    quiet(step.settings)
    answers, late = [], steps.draft.exit()
    for outcome, target in steps.ways(step):
        label = steps.label(outcome)
        if label.lower().replace(" ", "").replace("_", "").startswith("noresponse"):
            late = target
        else:
            where = expression_text(Compare("==", Property("path"), Text(label)))
            answers.append((_awaited("chat_response", where), target))
    if not answers:
        raise step.part.malformed("there is no outcome of an answer", "outcomes")
    _awaits(steps, step, answers, within, late)
    note = "it is chat_response, whose property `path` is the name of the outcome"
    steps.did(step, step.name, but=[note, month])


def _awaited(event: str, where: str | None) -> str:
    """What is awaited, as a `wait_for` writes it."""
    return event if where is None else f"event({literal_text(event)}, where={literal_text(where)})"


def _awaits(steps: Steps, step: Step, ways: Sequence[tuple[str, str]], within: str, late: str) -> None:
    then, late = steps.waits.then, steps.waits.then(late)
    if len(ways) == 1:
        awaited, target = ways[0]
        steps.draft.node(step.name, step.part, wait_for=awaited, within=within, then=then(target), otherwise=late)
    else:
        listed = [{"await": awaited, "go": then(target)} for awaited, target in ways]
        steps.draft.node(step.name, step.part, wait_for=listed, within=within, otherwise=late)


_READS: Final[dict[str, Callable[[Steps, Step], None]]] = {
    "EMAILV2": email, "REST": custom, "RESTDECISION": custom, "UPDATECONTACTDATA": update,
    "UPDATECONTACTDATAV2": update, "CONTACTUPDATE": update, "DATAEXTENSIONUPDATE": update, "ADDAUDIENCE": audience,
    "MULTICRITERIADECISION": decision, "MULTICRITERIADECISIONV2": decision, "MULTICRITERIADECISIONEXTENSION": decision,
    "EINSTEINENGAGEMENTFREQUENCYSPLIT": frequency, "ENGAGEMENTDECISION": engagement, "ENGAGEMENTSPLITV2": engagement,
    "RANDOMSPLIT": random, "RANDOMSPLITV2": random, "ABNTEST": random, "PATHOPTIMIZER": random, "ABNTESTSTOP": _onward,
    "JOIN": _onward, "UNCONFIGUREDJOIN": _onward, "NOOP": _onward, "START": _onward, "SETCONTACTKEY": _onward,
    "STOP": _stop, "WAIT": _wait, "WAITBYDURATION": _wait, "WAITBYATTRIBUTE": _wait, "WAITUNTILDATE": _wait,
    "WAITBYEVENT": _event, "WAITUNTILAPI": _event, "WAITUNTILPUSHENGAGEMENT": _engaged,
    "WAITUNTILPUSHINAPPENGAGEMENT": _engaged, "WAITUNTILCHATRESPONSE": _chat,
}  # fmt: skip
