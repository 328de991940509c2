"""Salesforce: contacts or leads and their consent are pulled; consent and what happened here is told.

It keeps to Salesforce's "REST API Developer Guide" (Query, QueryAll, sObject Rows by External ID, Status Codes and
Error Responses), to "OAuth 2.0 Client Credentials Flow" and to the object reference.

What changed is found in the order of `SystemModstamp` and `Id`. Each page is a query of its own for what comes after
the last row of the page before; the rest of a query, to which `nextRecordsUrl` leads, is not read: it is of the instant
at which the query was made, ends with its cursor, and what changed meanwhile would be left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, model_validator

from journeylab.journey import Name
from journeylab.references import SecretReference

from .connector import Broken, Page, Reach, Secrets
from .credentials import ClientCredentials
from .crm import Crm, FieldName, instant_of, part, rows_in, said_of
from .http import Call
from .salesforcetarget import SalesforceTarget, reading

__all__ = ["Salesforce", "SalesforceSource"]

_MOST: Final = 2000
"""Rows of one query."""
_CHANGED: Final = "SystemModstamp"
_OPTED_OUT: Final = "HasOptedOutOfEmail"
_CONSENT: Final = {"OptIn": "consent_given", "OptOut": "consent_withdrawn"}
_ID: Final = re.compile(r"[A-Za-z0-9]{15}([A-Za-z0-9]{3})?")
_ON_UTC: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)\+0000")
RecordId = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{15}([A-Za-z0-9]{3})?$")]
_Cursor = Mapping[str, Any]


class Salesforce(Crm):
    """What the settings say of an org.

    Attributes:
        url: the org's My Domain, `https://MyDomainName.my.salesforce.com`.
        client_id, client_secret: the consumer key and secret of the connected app.
        version: of the API.
        object: what a contact is: `Contact` or `Lead`.
        opt_out: the purpose of which `HasOptedOutOfEmail` speaks.
        purposes: the id of the `DataUsePurpose` of each purpose that has records of `ContactPointTypeConsent`.
        consent_id: the external id of `ContactPointTypeConsent` that keeps our key of a consent.
        task_id: the external id of `Task` that keeps a fact's id; for `push: [timeline]`.
    """

    streams: ClassVar[tuple[str, ...]] = ("contacts", "consent", "opt_outs", "deleted")
    kind: Literal["salesforce"]
    client_id: str
    client_secret: SecretReference
    version: Annotated[str, Field(pattern=r"^\d+\.0$")] = "62.0"
    object: Literal["Contact", "Lead"] = "Contact"
    address: FieldName = "Email"
    attributes: dict[Name, FieldName] = Field(default_factory=dict)
    opt_out: Name | None = None
    purposes: dict[Name, RecordId] = Field(default_factory=dict)
    consent_id: FieldName | None = None
    task_id: FieldName | None = None

    @model_validator(mode="after")
    def _says_what_is_needed(self) -> Salesforce:
        if "consent" in self.pull and not self.purposes:
            raise ValueError("pull: `consent` needs `purposes`")
        if "opt_outs" in self.pull and self.opt_out is None:
            raise ValueError("pull: `opt_outs` needs `opt_out`, the purpose of which it speaks")
        if "consent" in self.push and self.opt_out is None and not self.purposes:
            raise ValueError("push: `consent` needs `opt_out` or `purposes`")
        if "consent" in self.push and self.purposes and self.consent_id is None:
            raise ValueError("push: `consent` needs `consent_id`, an external id, so that no consent stands twice")
        if "timeline" in self.push and self.task_id is None:
            raise ValueError("push: `timeline` needs `task_id`, an external id, so that nothing stands there twice")
        return self

    def with_credentials(self, reach: Reach, secrets: Secrets) -> Reach:
        """Makes calls with a token of the connected app, anew where its session has ended."""
        ways = ClientCredentials(
            token_path="services/oauth2/token",
            client_id=self.client_id,
            client_secret=self.client_secret,
        )
        return ways.put_on(reach, secrets)

    def source(self) -> SalesforceSource:
        """What is pulled."""
        return SalesforceSource(self)

    def target(self) -> SalesforceTarget:
        """What is told."""
        return SalesforceTarget(self)


class SalesforceSource:
    """Pulls an org's contacts or leads; see the module's text.

    | stream | brings |
    |---|---|
    | `contacts` | contacts that changed, with address and attributes |
    | `consent` | `consent_given` and `consent_withdrawn`, by the records of `ContactPointTypeConsent` for e-mail |
    | `opt_outs` | `consent_withdrawn` of contacts that changed and have `HasOptedOutOfEmail` |
    | `deleted` | an event of each contact that lies in the recycle bin |
    """

    def __init__(self, settings: Salesforce) -> None:
        self.settings = settings
        self.streams = {
            "contacts": self._contacts, "consent": self._consent, "opt_outs": self._opt_outs, "deleted": self._deleted
        }  # fmt: skip

    def pull(self, stream: str, cursor: _Cursor | None, reach: Reach) -> Page:
        """The next page of a stream; see `Source`."""
        return self.streams[stream](cursor or {}, reading(reach))

    def _contacts(self, cursor: _Cursor, reach: Reach) -> Page:
        wanted = self.settings
        names = [wanted.address, *wanted.attributes.values()]
        rows, following, is_last = self._changed(cursor, reach, wanted.object, [wanted.contact, *names], self._known)
        contacts = []
        for row in rows:
            address = row.get(wanted.address)
            one = {
                "contact": row.get(wanted.contact),
                "attributes": {name: _plain(row.get(field)) for name, field in wanted.attributes.items()},
                "changed_at": instant_of(row.get(_CHANGED), _CHANGED),
            }
            contacts.append(one | ({"address": address} if address else {}))
        return Page(contacts=contacts, cursor=following, is_last=is_last)

    def _opt_outs(self, cursor: _Cursor, reach: Reach) -> Page:
        wanted, where = self.settings, f"{self._known} AND {_OPTED_OUT} = TRUE"
        rows, following, is_last = self._changed(cursor, reach, wanted.object, [wanted.contact], where)
        about = {"properties": {"purpose": wanted.opt_out}}
        events = [self._event(row[wanted.contact], row, "consent_withdrawn", _OPTED_OUT) | about for row in rows]
        return Page(events=events, cursor=following, is_last=is_last)

    def _consent(self, cursor: _Cursor, reach: Reach) -> Page:
        purpose_of = {record[:15]: purpose for purpose, record in self.settings.purposes.items()}
        wanted = ", ".join(f"'{one}'" for one in sorted(self.settings.purposes.values()))
        where = f"ContactPointType = 'Email' AND DataUsePurposeId IN ({wanted})"
        names = ["PartyId", "PrivacyConsentStatus", "CaptureDate", "DataUsePurposeId"]
        rows, following, is_last = self._changed(cursor, reach, "ContactPointTypeConsent", names, where, 200)
        contact_of = self._contacts_of({_record(row.get("PartyId")) for row in rows}, reach)
        events: list[dict[str, Any]] = []
        for row in rows:
            event = _CONSENT.get(part(row, "PrivacyConsentStatus", str))
            at = instant_of(row.get("CaptureDate"), "CaptureDate")
            purpose = purpose_of.get(_record(row.get("DataUsePurposeId"))[:15])
            if purpose is None:
                raise Broken("its reply has a purpose that was not asked for")
            about = {"event": event, "occurred_at": at, "properties": {"purpose": purpose}}
            events += [
                {**about, "contact": contact, "id": f"{_record(row.get('Id'))}/{record}/{event}/{at.isoformat()}"}
                for record, contact in (contact_of.get(row["PartyId"], []) if event else [])
            ]
        return Page(events=events, cursor=following, is_last=is_last)

    def _deleted(self, cursor: _Cursor, reach: Reach) -> Page:
        wanted, where = self.settings, f"{self._known} AND IsDeleted = TRUE"
        names = [wanted.contact]
        rows, following, is_last = self._changed(cursor, reach, wanted.object, names, where, resource="queryAll")
        events = [self._event(row[wanted.contact], row, wanted.deleted, "deleted") | {"properties": {}} for row in rows]
        return Page(events=events, cursor=following, is_last=is_last)

    def _event(self, contact: object, row: _Cursor, event: str, what: str) -> dict[str, Any]:
        at = instant_of(row.get(_CHANGED), _CHANGED)
        identity = f"{_record(row.get('Id'))}/{what}/{at.isoformat()}"
        return {"contact": contact, "event": event, "occurred_at": at, "id": identity}

    @property
    def _known(self) -> str:
        """The condition of records that have an id of ours."""
        return f"{self.settings.contact} != null"

    def _changed(
        self,
        cursor: _Cursor,
        reach: Reach,
        kind: str,
        names: Sequence[str],
        where: str,
        most: int = _MOST,
        resource: str = "query",
    ) -> tuple[list[Any], dict[str, Any], bool]:
        """Rows that changed, where to go on, and whether these were the last; see the module's text.

        In a cursor `since` is the instant from which on is read, `beyond` the id after which that very instant is.
        """
        since, beyond = cursor.get("since"), cursor.get("beyond")
        if since is not None and beyond is not None:
            where += f" AND ({_CHANGED} > {since} OR ({_CHANGED} = {since} AND Id > '{beyond}'))"
        elif since is not None:
            where += f" AND {_CHANGED} >= {since}"
        fields = ", ".join(dict.fromkeys(["Id", _CHANGED, *names]))
        soql = f"SELECT {fields} FROM {kind} WHERE {where} ORDER BY {_CHANGED}, Id LIMIT {most}"
        said = said_of(reach(Call("GET", f"{_path(self.settings)}/{resource}", query={"q": soql})))
        rows = rows_in(said, "records")
        if rows:
            since, beyond = _literal(instant_of(rows[-1].get(_CHANGED), _CHANGED)), _record(rows[-1].get("Id"))
        if rows and (len(rows) == most or not part(said, "done", bool)):
            return rows, {"since": since, "beyond": beyond}, False
        if since is None:
            return rows, {}, True
        if beyond is None:  # nothing since, and `since` is before what was seen by the overlap already
            return rows, {"since": since}, True
        return rows, {"since": _literal(instant_of(since, "since") - self.settings.overlap)}, True

    def _contacts_of(self, parties: set[str], reach: Reach) -> dict[str, list[tuple[str, str]]]:
        """The records and contacts of individuals, of whom several may have the same."""
        wanted, found = self.settings, dict[str, list[tuple[str, str]]]()
        if parties:
            among = ", ".join(f"'{one}'" for one in sorted(parties))
            fields = ", ".join(dict.fromkeys(["Id", "IndividualId", wanted.contact]))
            soql = f"SELECT {fields} FROM {wanted.object} WHERE IndividualId IN ({among})"
            query = {"q": f"{soql} AND {self._known}"}
            said = said_of(reach(Call("GET", f"{_path(wanted)}/query", query=query)))
            if not part(said, "done", bool):
                raise Broken("more contacts have an individual of a page than a query gives")
            for row in rows_in(said, "records"):
                whose = _record(row.get("Id")), part(row, wanted.contact, str)
                found.setdefault(part(row, "IndividualId", str), []).append(whose)
        return found


def _path(settings: Salesforce) -> str:
    return f"services/data/v{settings.version}"


def _record(value: object) -> str:
    """A record's id, which may stand in a query."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise Broken("its reply has no id where its reference has one")
    return value


def _literal(at: datetime) -> str:
    """An instant as SOQL writes it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: object) -> object:
    """A field's value, an instant with the zone as ISO 8601 writes it everywhere."""
    match = _ON_UTC.fullmatch(value) if isinstance(value, str) else None
    return f"{match[1]}Z" if match else value
