"""What Eloqua's decisions ask, and the event that answers.

Source: "Configuring campaign canvas elements: Decisions" in the vendor's help.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from journeylab.durations import parse_duration
from journeylab.expressions import (
    Aggregate,
    Attribute,
    Compare,
    MessageEvent,
    MessageKind,
    Number,
    Or,
    Property,
    Text,
    Tree,
    expression_text,
    literal_text,
)
from journeylab.importers.draft import Draft
from journeylab.importers.export import Part
from journeylab.importers.spans import span
from journeylab.importers.unsaid import Unsaid, quiet

from .comparisons import compared

__all__ = ["Decisions", "Question"]

_RESPONSES: Final[dict[str, tuple[MessageKind, str]]] = {
    "CampaignEmailOpenedRule": ("opened", "numberOfOpens"),
    "CampaignEmailClickthroughRule": ("clicked", "numberOfClicks"),
    "CampaignEmailSentRule": ("sent", "numberOfSends"),
}
_EVENTS: Final = {
    "CampaignSubmitFormRule": ("form_submitted", "asset_id", "formId", "numberOfSubmits"),
    "CampaignWebsiteVisitRule": ("page_viewed", "", "", "numberOfVisits"),
    "CampaignSmsSentRule": ("sms_sent", "sms", "smsId", "numberOfSends"),
    "CampaignSmsClickthroughRule": ("sms_clicked", "sms", "smsId", "numberOfClicks"),
    "CampaignSmsReplyRule": ("sms_replied", "sms", "smsId", "numberOfReplies"),
}
"""The event, the property that names the asset, the key that has its id, and the key that says how often."""


@dataclass(frozen=True)
class Question:
    """What a decision asks.

    Attributes:
        now: the condition on arrival.
        awaited: the event that makes it true later; None where none does.
        is_open: whether the wait for it also takes what came before (rule 9), so that nothing is asked on arrival.
        but: what differs.
    """

    now: Tree
    awaited: str | None = None
    is_open: bool = False
    but: str = ""


class Decisions:
    """The decisions of one campaign.

    Args:
        draft: its draft.
        sends: the nodes that send an e-mail.
        message: the message of an e-mail.
    """

    def __init__(
        self, draft: Draft, sends: Callable[[str], list[str]], message: Callable[[str], str]
    ) -> None:  # fmt: skip
        self._draft, self._sends, self._message = draft, sends, message

    def question(self, step: Part, kind: str) -> Question:
        """The question of a decision."""
        if kind in _RESPONSES:
            return self._response(step, *_RESPONSES[kind])
        if kind in _EVENTS:
            return self._event(step, *_EVENTS[kind])
        if kind == "CampaignContactListMembershipRule":
            return Question(Attribute(self._draft.attribute(f"list_{step.text('listId')}", step)))
        if kind == "CampaignContactFilterMembershipRule":
            return Question(Attribute(self._draft.attribute(f"filter_{step.text('filterId')}", step)))
        if kind == "CampaignContactFieldComparisonRule":
            return self._field(step)
        label = step.text("name", kind)
        step.skip("customObjectId", "fieldConditions", "date", "operator", "condition")
        return Question(Attribute(self._draft.flag_of_filter(f"answer {label}", step, "the log does not know it")))

    def _response(self, step: Part, response: MessageKind, key: str) -> Question:
        email, times = step.text("emailId"), _times(step, key)
        window = _window(step)
        nodes = self._sends(email)
        if len(nodes) == 1 and times == 1:
            since = "what came since it was sent counts (rule 9), and there what came in the period named"
            but, asked = "" if window is None else since, MessageEvent(response, nodes[0])
            if response == "sent":
                return Question(asked, but=but)
            return Question(asked, f"{response}({nodes[0]})", is_open=True, but=but)
        of = Compare("==", Property("message"), Text(self._message(email)))
        if response == "sent" and nodes:
            sent = tuple(MessageEvent("sent", one) for one in nodes)
            but = "sends of this entry are asked for, not of others"
            return Question(Or(sent) if len(sent) > 1 else sent[0], but=but)
        if response == "sent":
            return Question(self._counted(response, of, times, window).now)
        return self._counted(response, of, times, window)

    def _event(self, step: Part, event: str, asset: str, identity: str, key: str) -> Question:
        of: Tree | None = None
        if identity:
            of = Compare("==", Property(asset), Text(step.text(identity)))
        return self._counted(event, of, _times(step, key), _window(step))

    def _counted(self, event: str, where: Tree | None, times: int, window: int | None) -> Question:
        """Whether an event has come so often in a period; another one answers only where one is enough."""
        if times > 1:
            often = Compare(">=", Aggregate("count", event, window_us=window, where=where), Number(times))
            return Question(often, but="several times are counted on arrival, and once more at the end of a period")
        filtered = "" if where is None else f", where={literal_text(expression_text(where))}"
        return Question(
            Aggregate("did", event, window_us=window, where=where), f"event({literal_text(event)}{filtered})"
        )

    def _field(self, step: Part) -> Question:
        field, condition = step.text("fieldId"), step.part("condition")
        try:
            return Question(compared(Attribute(self._draft.attribute(f"field_{field}", step)), condition))
        except Unsaid as why:
            label = f"field {field} {condition.text('operator')} {condition.data.get('value', '')}"
            quiet(condition)
            return Question(Attribute(self._draft.flag_of_filter(label, step, why)))


def _times(step: Part, key: str) -> int:
    times = step.whole(key, 1)
    if times < 1:
        raise step.malformed("there must be a number of one or more here", key)
    return times


def _window(step: Part) -> int | None:
    """The period in which something counts, in microseconds; None where all history counts."""
    seconds = step.number("withinLast", 0)
    if seconds <= 0:
        return None
    length = parse_duration(span(step, "withinLast", seconds, "seconds"))
    return round(length.total_seconds() * 1_000_000) or None
