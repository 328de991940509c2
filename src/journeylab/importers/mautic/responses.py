"""What a decision awaits: a response to an e-mail, or something else that a contact does."""

from __future__ import annotations

from typing import Final

from journeylab.expressions import Aggregate, And, Compare, Property, Text, Tree, literal_text
from journeylab.importers.draft import Draft

from .actions import Actions
from .comparisons import any_of
from .conditions import Asking, awaited_text
from .events import Event

__all__ = ["Responses"]

_RESPONSES: Final = {"email.open": "opened", "email.click": "clicked", "email.reply": "replied"}


class Responses:
    """What the decisions of one campaign await.

    Args:
        asking: its conditions and events.
        actions: its actions, for their messages.
    """

    def __init__(self, asking: Asking, actions: Actions) -> None:
        self._asking, self._actions = asking, actions

    def said(
        self, event: Event, parent: Event | None, node: str | None, draft: Draft
    ) -> tuple[list[str], list[str]]:  # fmt: skip
        """What a decision awaits, and the conditions that ask whether it has been.

        Args:
            event: the decision.
            parent: the event that it follows.
            node: the node that sends the e-mail before it; None where that is in another journey, and where none is.
            draft: the journey.
        """
        if event.type not in _RESPONSES:
            return self._either(*self._asking.awaited(event), event, draft)
        if parent is None or parent.type not in ("email.send", "message.send"):
            raise event.part.malformed(f"{event.type} follows an e-mail only, and this one follows none", "parent_id")
        response = _RESPONSES[event.type]
        links = _links(event) if event.type == "email.click" else []
        is_like = any(sign in link for link in links for sign in "*?[")
        if node is not None and response != "replied" and not is_like:
            texts = [f"{response}({node}, {literal_text(link)})" for link in links] or [f"{response}({node})"]
            texts = [draft.condition(one, event.config, "urls") for one in texts]
            return texts, texts
        if parent.type != "email.send":
            return self._either(response, None, event, draft)
        it: Tree = Compare("==", Property("message"), Text(self._actions.message(parent)))
        if links:
            it = And((it, any_of([self._asking.like("link", link, event.config) for link in links])))
        return self._either(response, it, event, draft)

    @staticmethod
    def _either(kind: str, where: Tree | None, event: Event, draft: Draft) -> tuple[list[str], list[str]]:
        asked = draft.condition(Aggregate("did", kind, where=where), event.part)
        return [awaited_text(kind, where)], [asked]


def _links(event: Event) -> list[str]:
    """The links of which one is to be clicked, none where any counts."""
    urls = event.config.optional_part("urls")
    return [str(one) for one in urls.values("list") if str(one)] if urls is not None and urls.raw("list") else []
