"""What is told to HubSpot. Each fact looks its contact up first: HubSpot knows the address, which no fact says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from .connector import Broken, Later, Reach
from .crm import instant_of, judged, part, rows_in, said_of
from .facts import Fact, passed_over
from .http import Call, Reply
from .hubspotcalls import CONTACTS, EVENTS, ON_EMAIL, RECORD, STATUSES, code_of, hurried, properties_of, text_of, whole

if TYPE_CHECKING:
    from .hubspot import HubSpot

__all__ = ["HubSpotTarget"]

_HOPELESS: Final = frozenset({400, 404, 405, 413, 415, 422})
"""What stays as it is until somebody changes something here. Credentials (401, 403) may be mended over there."""

_NO_ADDRESS: Final = Reply(None, "the contact has no address in HubSpot", is_hopeless=True)


class HubSpotTarget:
    """Tells a portal what came about.

    | fact | becomes |
    |---|---|
    | consent given or withdrawn | the status of the purpose's subscription; of all purposes, an opt-out of all e-mail |
    | nothing goes to an address any more | a property; after a complaint an opt-out of all e-mail, too |
    | a person was erased | a permanent deletion |
    | a message, a journey | properties with what happened last, a completion of a custom event, or both |

    A status, a property and a deletion are the same when they are made twice. A completion has the fact's id as its
    property `journeylab_id`, by which it is looked up before it is made.
    """

    def __init__(self, settings: HubSpot) -> None:
        self.settings = settings

    def tell(self, fact: Fact, reach: Reach) -> Reply:
        """Tells a fact; see `Target`."""
        reply = self._told(fact, lambda call: hurried(reach(call)))
        return judged(reply, "HubSpot", code_of, lambda status, _: status in _HOPELESS)

    def _told(self, fact: Fact, reach: Reach) -> Reply:
        wanted = self.settings
        if fact.kind not in wanted.told():
            return passed_over("HubSpot is not told this")
        purpose = fact.data.get("purpose")
        if purpose is not None and purpose not in wanted.subscriptions:
            return passed_over("its purpose has no subscription in HubSpot")
        names = ",".join(dict.fromkeys(name for name in (wanted.address, wanted.as_of) if name))
        query = {"properties": names} | ({} if wanted.contact == RECORD else {"idProperty": wanted.contact})
        found = reach(Call("GET", f"{CONTACTS}/{quote(fact.data['contact'], safe='')}", query=query))
        if found.status == 404:
            return _nobody(fact, found)
        if not found.is_taken:
            return found
        try:
            record, given = part(said_of(found), "id", str), properties_of(said_of(found))
            return self._tell_of(fact, record, given, reach)
        except (Broken, Later) as problem:
            return Reply(None, problem.text)

    def _tell_of(self, fact: Fact, record: str, given: Mapping[str, str | None], reach: Reach) -> Reply:
        if fact.kind == "contact.erased":
            return reach(Call.of_json("POST", f"{CONTACTS}/gdpr-delete", {"objectId": record}))
        address, is_complaint = given.get(self.settings.address), fact.data.get("reason") == "complained"
        if fact.kind.startswith("consent."):
            return self._consent(fact, address, reach)
        if fact.kind == "contact.suppressed":
            reply = _write(record, {str(self.settings.suppressed): fact.data["reason"]}, reach)
            if is_complaint and reply.is_taken:
                return _opt_out(address, reach) if address else _NO_ADDRESS
            return reply
        return self._happened(fact, record, given, reach)

    def _consent(self, fact: Fact, address: str | None, reach: Reach) -> Reply:
        purpose, is_given = fact.data["purpose"], fact.kind == "consent.given"
        if not address:
            return _NO_ADDRESS
        if purpose is None:
            return passed_over("a consent has a purpose") if is_given else _opt_out(address, reach)
        body: dict[str, Any] = {
            **ON_EMAIL,
            "subscriptionId": self.settings.subscriptions[purpose],
            "statusState": "SUBSCRIBED" if is_given else "UNSUBSCRIBED",
        }
        if is_given:
            explanation = self.settings.legal_basis_explanation
            body |= {"legalBasis": self.settings.legal_basis, "legalBasisExplanation": explanation}
        return reach(Call.of_json("POST", f"{STATUSES}/{quote(address, safe='')}", body))

    def _happened(self, fact: Fact, record: str, given: Mapping[str, str | None], reach: Reach) -> Reply:
        wanted, reply = self.settings, passed_over("HubSpot is not told of this kind")
        if "timeline" in wanted.push and fact.kind in wanted.timeline:
            reply = self._complete(fact, record, reach)
        if not reply.is_taken or "contacts" not in wanted.push or wanted.as_of is None:
            return reply
        before = given.get(wanted.as_of)
        if before and instant_of(before, wanted.as_of) >= whole(fact.occurred_at):
            return reply
        return _write(record, {**wanted.written(fact), wanted.as_of: text_of(fact.occurred_at)}, reach)

    def _complete(self, fact: Fact, record: str, reach: Reach) -> Reply:
        """Adds a completion of a custom event, where there is none with the fact's id yet."""
        name = self.settings.timeline[fact.kind]
        query: dict[str, str | int] = {
            "objectType": "contact", "objectId": record, "eventType": name,
            "property.journeylab_id": fact.webhook_id, "limit": 1,
        }  # fmt: skip
        there = reach(Call("GET", f"{EVENTS}/events/", query=query))
        if not there.is_taken:
            return there
        if rows_in(said_of(there), "results"):
            return passed_over("HubSpot has it already")
        said = {key: str(value) for key, value in fact.data.items() if key != "contact" and value is not None}
        body = {
            "eventName": name,
            "objectId": record,
            "occurredAt": text_of(fact.occurred_at),
            "uuid": str(uuid5(NAMESPACE_URL, f"journeylab:{fact.webhook_id}")),
            "properties": {**said, "journeylab_id": fact.webhook_id},
        }
        return reach(Call.of_json("POST", f"{EVENTS}/send", body))


def _nobody(fact: Fact, reply: Reply) -> Reply:
    """What becomes of a fact about somebody whom HubSpot does not know: it has no timeline, but it may get consent."""
    text = "HubSpot has no such contact"
    if fact.kind.startswith(("consent.", "contact.suppressed")):
        return replace(reply, text=text, is_hopeless=True)
    return passed_over(text)


def _write(record: str, properties: Mapping[str, str], reach: Reach) -> Reply:
    return reach(Call.of_json("PATCH", f"{CONTACTS}/{record}", {"properties": dict(properties)}))


def _opt_out(address: str, reach: Reach) -> Reply:
    return reach(Call("POST", f"{STATUSES}/{quote(address, safe='')}/unsubscribe-all", query=ON_EMAIL))
