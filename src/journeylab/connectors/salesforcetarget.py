"""What is told to Salesforce. Each fact looks its contact up first, and acts on the record that it found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from .connector import Broken, Later, Reach
from .crm import instant_of, judged, part, said_of
from .facts import Fact, passed_over
from .http import Call, Reply

if TYPE_CHECKING:
    from .salesforce import Salesforce

__all__ = ["SalesforceTarget", "reading"]

_HOPELESS: Final = frozenset({300, 400, 404, 405, 413, 415})
"""What stays as it is until somebody changes something here."""
_PASSING: Final = frozenset({"UNABLE_TO_LOCK_ROW"})
_LIMITED: Final = "REQUEST_LIMIT_EXCEEDED"
_WAIT: Final = timedelta(minutes=15)
"""How long the org is left alone when it has had its calls of a day, of which no header says when it begins anew."""

_NO_INDIVIDUAL: Final = Reply(None, "the contact has no individual in Salesforce (IndividualId)", is_hopeless=True)


class SalesforceTarget:
    """Tells an org what came about.

    | fact | becomes |
    |---|---|
    | consent for the purpose `opt_out` | `HasOptedOutOfEmail` |
    | consent for one of `purposes` | a `ContactPointTypeConsent` of the contact's individual, by our external id |
    | nothing goes to an address any more | `EmailBouncedReason` and `EmailBouncedDate`, after a complaint the opt-out |
    | a person was erased | `ShouldForget` of the contact's individual, and the opt-out; the record stays |
    | a message, a journey | fields with what happened last, a completed task by our external id, or both |
    """

    def __init__(self, settings: Salesforce) -> None:
        self.settings = settings
        self.path = f"services/data/v{settings.version}/sobjects"

    def tell(self, fact: Fact, reach: Reach) -> Reply:
        """Tells a fact; see `Target`."""
        wanted, reach = self.settings, reading(reach)
        if fact.kind not in wanted.told():
            return passed_over("Salesforce is not told this")
        purpose = fact.data.get("purpose")
        if purpose is not None and purpose != wanted.opt_out and purpose not in wanted.purposes:
            return passed_over("its purpose is none that Salesforce keeps")
        key = quote(fact.data["contact"], safe="")
        way = key if wanted.contact == "Id" else f"{wanted.contact}/{key}"
        names = dict.fromkeys(["Id", "IndividualId", *([wanted.as_of] if wanted.as_of else [])])
        found = reach(Call("GET", f"{self.path}/{wanted.object}/{way}", query={"fields": ",".join(names)}))
        if found.status == 300:
            return replace(found, text="several records have the contact's id")
        if found.status == 404:
            return _nobody(fact, found)
        if not found.is_taken:
            return found
        try:
            return self._tell_of(fact, said_of(found), reach)
        except (Broken, Later) as problem:
            return Reply(None, problem.text)

    def _tell_of(self, fact: Fact, record: Mapping[str, Any], reach: Reach) -> Reply:
        at = _text(fact.occurred_at)
        if fact.kind.startswith("consent."):
            return self._consent(fact, record, reach)
        if fact.kind == "contact.suppressed":
            reason = fact.data["reason"]
            fields: dict[str, object] = {"HasOptedOutOfEmail": True}
            if reason == "bounced":
                fields = {"EmailBouncedReason": fact.data.get("status") or reason, "EmailBouncedDate": at}
            return self._write(
                record, fields | ({self.settings.suppressed: reason} if self.settings.suppressed else {}), reach
            )
        if fact.kind == "contact.erased":
            if not record.get("IndividualId"):
                return _NO_INDIVIDUAL
            reply = self._write(record, {"HasOptedOutOfEmail": True}, reach)
            individual = {"ShouldForget": True}
            return self._patch("Individual", record["IndividualId"], individual, reach) if reply.is_taken else reply
        return self._happened(fact, record, reach)

    def _consent(self, fact: Fact, record: Mapping[str, Any], reach: Reach) -> Reply:
        wanted, purpose, is_given = self.settings, fact.data["purpose"], fact.kind == "consent.given"
        if purpose is None and is_given:
            return passed_over("a consent has a purpose")
        reply = passed_over("its purpose is none that Salesforce keeps")
        if purpose is None or purpose == wanted.opt_out:
            reply = self._write(record, {"HasOptedOutOfEmail": not is_given}, reach)
        for one in sorted(wanted.purposes) if purpose is None else (purpose,):
            if not reply.is_taken:
                return reply
            if one in wanted.purposes:
                reply = self._keep(fact, one, record, reach)
        return reply

    def _keep(self, fact: Fact, purpose: str, record: Mapping[str, Any], reach: Reach) -> Reply:
        """Writes the record of a consent: one for each contact and purpose."""
        if not record.get("IndividualId"):
            return _NO_INDIVIDUAL
        key = f"{purpose}:{fact.data['contact']}"
        fields = {
            "Name": f"{purpose} by e-mail",
            "PartyId": record["IndividualId"],
            "ContactPointType": "Email",
            "CaptureContactPointType": "Email" if fact.data.get("route") == "mail" else "Web",
            "CaptureDate": _text(fact.occurred_at),
            "CaptureSource": str(fact.data.get("route") or "JourneyLab")[:255],
            "PrivacyConsentStatus": "OptIn" if fact.kind == "consent.given" else "OptOut",
            "DataUsePurposeId": self.settings.purposes[purpose],
        }
        return self._patch(
            "ContactPointTypeConsent", f"{self.settings.consent_id}/{quote(key, safe='')}", fields, reach
        )

    def _happened(self, fact: Fact, record: Mapping[str, Any], reach: Reach) -> Reply:
        wanted, reply = self.settings, passed_over("Salesforce is not told of this kind")
        if "timeline" in wanted.push:
            said = {key: value for key, value in fact.data.items() if key != "contact" and value is not None}
            fields = {
                "WhoId": part(record, "Id", str),
                "Subject": f"{fact.kind}: {said.get('message') or said.get('journey') or ''}"[:255],
                "Status": "Completed",
                "ActivityDate": fact.occurred_at.astimezone(UTC).date().isoformat(),
                "Description": "\n".join(f"{key}: {value}" for key, value in sorted(said.items())),
            }
            reply = self._patch("Task", f"{wanted.task_id}/{quote(fact.webhook_id, safe='')}", fields, reach)
        if not reply.is_taken or "contacts" not in wanted.push or wanted.as_of is None:
            return reply
        before = record.get(wanted.as_of)
        if before and instant_of(before, wanted.as_of) >= fact.occurred_at.replace(microsecond=0):
            return reply
        return self._write(record, {**wanted.written(fact), wanted.as_of: _text(fact.occurred_at)}, reach)

    def _write(self, record: Mapping[str, Any], fields: Mapping[str, object], reach: Reach) -> Reply:
        return self._patch(self.settings.object, part(record, "Id", str), fields, reach)

    def _patch(self, kind: str, way: str, fields: Mapping[str, object], reach: Reach) -> Reply:
        return reach(Call.of_json("PATCH", f"{self.path}/{kind}/{way}", dict(fields)))


def reading(reach: Reach) -> Reach:
    """Makes calls, and says of each reply what Salesforce finds fault with and whether trying again helps."""

    def made(call: Call) -> Reply:
        reply = reach(call)
        if reply.status == 403 and _code(reply.said) == _LIMITED:
            return replace(reply, status=429, text=f"403: Salesforce says {_LIMITED}", retry_after=_WAIT)
        return judged(
            reply, "Salesforce", _code, lambda status, code: status in _HOPELESS and code not in _PASSING
        )  # fmt: skip

    return made


def _code(said: object) -> object:
    """The code of the first fault; a token is refused in OAuth's own words (RFC 6749, 5.2)."""
    first = said[0] if isinstance(said, list) and said else said
    return first.get("errorCode") or first.get("error") if isinstance(first, Mapping) else None


def _nobody(fact: Fact, reply: Reply) -> Reply:
    """What becomes of a fact about somebody whom Salesforce does not know: consent may still find its contact."""
    text = "Salesforce has no such contact"
    if fact.kind.startswith(("consent.", "contact.suppressed")):
        return replace(reply, text=text, is_hopeless=True)
    return passed_over(text)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
