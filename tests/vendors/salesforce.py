"""A Salesforce org as the published references describe it.

It follows the pages "OAuth 2.0 Client Credentials Flow", "Query" and "QueryAll" (REST API Developer Guide), "Insert or
Update (Upsert) a Record Using an External ID", "sObject Rows", "Status Codes and Error Responses", "API Limits and
Monitoring" (`Sforce-Limit-Info`), and the object reference of Contact, Lead, Task, Individual and
ContactPointTypeConsent. Of these: an access token ends with its session, and calls are then answered with 401
`INVALID_SESSION_ID`; a query gives at most 2,000 rows at once, often fewer, and the address of the rest;
what is deleted is found by `queryAll` alone; SOQL does not mix AND and OR without parentheses; an external id that
several records have is answered with 300; errors are a list of `errorCode` and `message`; fields that are not there, or
are missing where they are required, are refused.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs, unquote

from .system import Answer, Refusal, Request, System

CLIENT_ID, CLIENT_SECRET = "3MVG9of.tests", "of-tests"
VERSION: Final = "62.0"
_OWN: Final = {"Id", "IsDeleted", "SystemModstamp", "CreatedDate"}
_PREFIX: Final = {
    "Contact": "003", "Lead": "00Q", "Task": "00T", "Individual": "0PK", "ContactPointTypeConsent": "0ZX"
}  # fmt: skip
Record = dict[str, Any]
_Test = Callable[[Record], bool]


class Salesforce(System):
    """An org.

    Attributes:
        now: the org's clock; each write moves it by a second, which is as fine as `SystemModstamp` is.
        fields: of each object, beside those that all have.
        external: the fields that are external ids, by object.
        required: the fields without which a record is not made.
        records: by object and id.
        batch: how many rows are given at once.
        n_written: how many calls changed something.
        n_tokens: how many tokens were given; the last is the valid one.
        while_querying: what somebody else does in the org during a query.
    """

    def __init__(self, *, batch: int = 2000) -> None:
        super().__init__()
        self.batch = batch
        self.now = datetime(2026, 3, 2, 9, tzinfo=UTC)
        person = {"LastName", "Email", "HasOptedOutOfEmail", "IndividualId", "EmailBouncedReason", "EmailBouncedDate"}
        self.fields: dict[str, set[str]] = {
            "Contact": {*person, "Customer_Id__c", "Plan__c", "JL_Journey__c", "JL_Message__c", "JL_As_Of__c"},
            "Lead": {*person, "Company", "Customer_Id__c"},
            "Task": {"WhoId", "Subject", "Status", "ActivityDate", "Description", "JourneyLab_Id__c"},
            "Individual": {"LastName", "ShouldForget"},
            "ContactPointTypeConsent": {
                "Name", "PartyId", "ContactPointType", "CaptureContactPointType", "CaptureDate", "CaptureSource",
                "PrivacyConsentStatus", "DataUsePurposeId", "JourneyLab_Id__c",
            },
        }  # fmt: skip
        self.external = {"Contact": {"Customer_Id__c"}, "Lead": {"Customer_Id__c"}}
        self.external |= {"Task": {"JourneyLab_Id__c"}, "ContactPointTypeConsent": {"JourneyLab_Id__c"}}
        self.required = {
            "Contact": {"LastName"}, "Lead": {"LastName", "Company"}, "Individual": {"LastName"},
            "ContactPointTypeConsent": {
                "Name", "PartyId", "ContactPointType", "CaptureContactPointType", "CaptureDate", "CaptureSource",
                "PrivacyConsentStatus",
            },
        }  # fmt: skip
        self.records: dict[str, dict[str, Record]] = {name: {} for name in self.fields}
        self.n_written = self.n_tokens = 0
        self.while_querying: Callable[[], None] = lambda: None

    def put(self, kind: str = "Contact", record: str | None = None, **values: Any) -> str:
        """Writes a record as somebody in Salesforce does, and gives its id."""
        if record is None:
            record = f"{_PREFIX[kind]}{len(self.records[kind]):012}AAA"
            flags = {"HasOptedOutOfEmail": False} if kind in ("Contact", "Lead") else {}
            self.records[kind][record] = {"Id": record, "IsDeleted": False, "CreatedDate": self._tick(), **flags}
        self.records[kind][record].update(values, SystemModstamp=self._tick())
        return record

    def expire(self) -> None:
        """Ends the session that a token was given for."""
        self.n_tokens += 1

    def of(self, kind: str, **values: Any) -> list[Record]:
        """The records with some values that are not deleted."""
        found = (row for row in self.records[kind].values() if not row["IsDeleted"])
        return [row for row in found if all(row.get(name) == value for name, value in values.items())]

    def busy(self) -> Answer:
        if self.calls[-1].path == "/services/oauth2/token":
            return Answer(503, None)
        return _errors(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")

    def broken(self) -> Answer:
        return _errors(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred.")

    def answer(self, request: Request) -> Answer:
        if request.path == "/services/oauth2/token" and request.method == "POST":
            return self._token(request)
        if request.headers.get("authorization") != f"Bearer {self._session()}":
            raise Refusal(_errors(401, "INVALID_SESSION_ID", "Session expired or invalid"))
        way = request.path.removeprefix(f"/services/data/v{VERSION}/")
        if way == request.path:
            raise _refused("NOT_FOUND", "The requested resource does not exist", 404)
        parts = [unquote(one) for one in way.split("/")]
        usage = {"sforce-limit-info": f"api-usage={len(self.calls)}/15000"}
        if parts[0] in ("query", "queryAll") and request.method == "GET":
            found = self._query(request, parts[0] == "queryAll", parts[1:])
        elif parts[0] == "sobjects" and len(parts) in (3, 4) and parts[1] in self.fields:
            found = self._row(request, parts[1], parts[2:])
        else:
            raise _refused("NOT_FOUND", "The requested resource does not exist", 404)
        return Answer(found.status, found.said, usage)

    def _session(self) -> str:
        return f"00D!session.{self.n_tokens}"

    def _token(self, request: Request) -> Answer:
        form = {name: values[-1] for name, values in parse_qs(request.body.decode()).items()}
        if form.get("grant_type") != "client_credentials":
            return Answer(400, {"error": "unsupported_grant_type", "error_description": "grant type not supported"})
        scheme, _, basic = request.headers.get("authorization", "").partition(" ")
        who = b64decode(basic).decode() if scheme == "Basic" else f"{form.get('client_id')}:{form.get('client_secret')}"
        if who != f"{CLIENT_ID}:{CLIENT_SECRET}":
            return Answer(400, {"error": "invalid_client", "error_description": "invalid client credentials"})
        self.n_tokens += 1
        said = {"access_token": self._session(), "instance_url": self.url, "token_type": "Bearer", "scope": "api"}
        return Answer(200, {**said, "id": f"{self.url}/id/00D/005", "issued_at": "1772442000000", "signature": "x"})

    def _query(self, request: Request, deleted: bool, locator: list[str]) -> Answer:
        if locator:  # whoever has read on by a query of its own has let it go
            raise _refused("INVALID_QUERY_LOCATOR", "invalid query locator")
        kind, names, test, order, limit = self._parsed(request.query.get("q", ""))
        rows = [row for row in self.records[kind].values() if (deleted or not row["IsDeleted"]) and test(row)]
        for name in reversed(order):
            rows.sort(key=lambda row: row[name])
        rows = rows[:limit]
        shown = [
            {"attributes": {"type": kind, "url": f"/services/data/v{VERSION}/sobjects/{kind}/{row['Id']}"}}
            | {name: _text(row.get(name)) for name in names}
            for row in rows[: self.batch]
        ]
        self.while_querying()
        said: Record = {"totalSize": len(rows), "done": len(rows) <= self.batch, "records": shown}
        if not said["done"]:
            said["nextRecordsUrl"] = f"/services/data/v{VERSION}/query/01gD0000002HU6KIAW-{self.batch}"
        return Answer(200, said)

    def _parsed(self, soql: str) -> tuple[str, list[str], _Test, list[str], int | None]:
        match = re.fullmatch(
            r"SELECT (?P<names>[\w, ]+) FROM (?P<kind>\w+) WHERE (?P<where>.+?)"
            r"(?: ORDER BY (?P<order>[\w, ]+?))?(?: LIMIT (?P<limit>\d+))?",
            soql,
        )
        if match is None or match["kind"] not in self.fields:
            raise _refused("MALFORMED_QUERY", "unexpected token")
        names = match["names"].split(", ")
        order = match["order"].split(", ") if match["order"] else []
        test, used = _Where(match["where"]).read()
        if len({*names}) < len(names):
            raise _refused("INVALID_FIELD", "duplicate field selected")
        for name in {*names, *order, *used}:
            self._known(match["kind"], name)
        return match["kind"], names, test, order, int(match["limit"]) if match["limit"] else None

    def _known(self, kind: str, name: str) -> None:
        if name not in self.fields[kind] | _OWN:
            raise _refused("INVALID_FIELD", f"No such column '{name}' on entity '{kind}'.")

    def _row(self, request: Request, kind: str, key: list[str]) -> Answer:
        by, value = ("Id", key[0]) if len(key) == 1 else (key[0], key[1])
        if by != "Id" and by not in self.external.get(kind, ()):
            raise _refused("NOT_FOUND", f"Provided external ID field does not exist: {by}", 404)
        found = [row for row in self.records[kind].values() if row.get(by) == value and not row["IsDeleted"]]
        if len(found) > 1:
            raise Refusal(Answer(300, [f"/services/data/v{VERSION}/sobjects/{kind}/{row['Id']}" for row in found]))
        if request.method == "GET":
            if not found:
                raise _refused("NOT_FOUND", "The requested resource does not exist", 404)
            names = request.query.get("fields", "Id").split(",")
            for name in names:
                self._known(kind, name)
            return Answer(200, {"attributes": {"type": kind}} | {name: _text(found[0].get(name)) for name in names})
        if request.method != "PATCH" or not isinstance(request.data, dict):
            raise _refused("METHOD_NOT_ALLOWED", "HTTP Method not allowed", 405)
        given: Record = request.data
        for name in given:
            self._known(kind, name)
            if name in _OWN or name == by:
                raise _refused("INVALID_FIELD_FOR_INSERT_UPDATE", f"The value of {name} is set already")
        if found:
            if any(found[0].get(name) != one for name, one in given.items()):
                self.put(kind, found[0]["Id"], **given)
                self.n_written += 1
            if by == "Id":
                return Answer(204)
            return Answer(200, {"id": found[0]["Id"], "success": True, "errors": [], "created": False})
        if by == "Id":
            raise _refused("NOT_FOUND", "The requested resource does not exist", 404)
        if absent := sorted(one for one in self.required.get(kind, ()) if given.get(one) in (None, "")):
            raise _refused("REQUIRED_FIELD_MISSING", f"Required fields are missing: {absent}")
        self.n_written += 1
        made = self.put(kind, **{by: value, **given})
        return Answer(201, {"id": made, "success": True, "errors": [], "created": True})

    def _tick(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


class _Where:
    """Reads the conditions of a query."""

    _TOKEN = re.compile(
        r"\s*(?:(?P<text>'(?:[^'\\]|\\.)*')|(?P<at>\d{4}-\d\d-\d\dT[\d:.]+Z)|(?P<word>\w+)|(?P<sign>>=|<=|!=|[=<>(),]))"
    )

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        place = 0
        while place < len(text):
            match = self._TOKEN.match(text, place)
            if match is None:
                raise _refused("MALFORMED_QUERY", "unexpected token")
            self.tokens.append(match[0].strip())
            place = match.end()
        self.used: set[str] = set()

    def read(self) -> tuple[_Test, set[str]]:
        test = self._several()
        if self.tokens:
            raise _refused("MALFORMED_QUERY", "unexpected token")
        return test, self.used

    def _several(self) -> _Test:
        tests, words = [self._one()], set()
        while self.tokens and self.tokens[0] in ("AND", "OR"):
            words.add(self.tokens.pop(0))
            tests.append(self._one())
        if len(words) > 1:
            raise _refused("MALFORMED_QUERY", "unexpected token: OR beside AND without parentheses")
        return (
            (lambda row: any(one(row) for one in tests)) if "OR" in words else (lambda row: all(t(row) for t in tests))
        )

    def _one(self) -> _Test:
        if not self.tokens:
            raise _refused("MALFORMED_QUERY", "unexpected end")
        name = self.tokens.pop(0)
        if name == "(":
            test = self._several()
            self._sign(")")
            return test
        self.used.add(name)
        operator = self.tokens.pop(0)
        if operator == "IN":
            self._sign("(")
            values = [self._value()]
            while self.tokens[0] == ",":
                self._sign(",")
                values.append(self._value())
            self._sign(")")
            return lambda row: row.get(name) in values
        value = self._value()
        ways: dict[str, Callable[[Any], bool]] = {
            "=": lambda it: it == value, "!=": lambda it: it != value, ">": lambda it: it is not None and it > value,
            ">=": lambda it: it is not None and it >= value, "<": lambda it: it is not None and it < value,
        }  # fmt: skip
        return lambda row: ways[operator](row.get(name))

    def _sign(self, wanted: str) -> None:
        if not self.tokens or self.tokens.pop(0) != wanted:
            raise _refused("MALFORMED_QUERY", f"expected {wanted}")

    def _value(self) -> Any:
        token = self.tokens.pop(0)
        if token in ("null", "TRUE", "FALSE"):
            return {"null": None, "TRUE": True, "FALSE": False}[token]
        return re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith("'") else datetime.fromisoformat(token)


def _errors(status: int, code: str, message: str) -> Answer:
    return Answer(status, [{"errorCode": code, "message": message}])


def _refused(code: str, message: str, status: int = 400) -> Refusal:
    return Refusal(_errors(status, code, message))


def _text(value: Any) -> Any:
    return value.strftime("%Y-%m-%dT%H:%M:%S.000+0000") if isinstance(value, datetime) else value
