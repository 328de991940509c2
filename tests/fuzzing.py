"""Parsers of what comes from outside, each with samples of what it reads, and what hostile hands make of a sample.

A parser gives a value, or an error that speaks to whoever brought the input (`told`): nothing else, and soon.
"""

from __future__ import annotations

import gzip
import io
import json
import time
import zipfile
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import typer
from hypothesis import strategies as st

from auditlog import SIGNER, Log
from auditlog import START as AUDITED
from journeylab.errors import JourneyLabError
from journeylab.importers.systems import BUILT_IN, Writes, system_of
from stores import KEYS, START

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "data" / "fixtures"
EXPORTS = ROOT / "tests" / "exports"
SECONDS = 5.0
"""How long reading a few kilobytes may take on a busy machine."""


class Parser(NamedTuple):
    """A parser: what it is called, what it reads, how, and which errors beside our own it is written to raise."""

    name: str
    samples: tuple[bytes, ...]
    read: Callable[[bytes, Path], Any]
    told: tuple[type[Exception], ...] = ()


def reads(parser: Parser, data: bytes, folder: Path) -> Any:
    """What a parser makes of some bytes, or the sentence that it refuses them with.

    Raises:
        AssertionError: when it takes too long, or refuses without a sentence.
        Exception: what no parser may raise.
    """
    begun = time.thread_time()
    try:
        found = parser.read(data, folder)
    except (JourneyLabError, *parser.told) as problem:
        _is_said(problem)
        found = str(problem)
    assert time.thread_time() - begun < SECONDS, f"{parser.name} took too long"
    return found


def _is_said(problem: Exception) -> None:
    assert str(problem), "it refuses without a word"


def in_file(name: str, read: Callable[[Path], Any]) -> Callable[[bytes, Path], Any]:
    """Reads bytes as a file of some name."""

    def of(data: bytes, folder: Path) -> Any:
        path = folder / name
        path.write_bytes(data)
        path.chmod(0o600)
        return read(path)

    return of


def as_text(read: Callable[[str], Any]) -> Callable[[bytes, Path], Any]:
    """Reads bytes as text, whatever they are, surrogates among it where they are no UTF-8."""
    return lambda data, _: read(data.decode("utf-8", "surrogateescape"))


# What is read


def _export(system: str) -> Callable[[Path], None]:
    """Reads a file as an export of some system, first as far as it can be read, then all of it or nothing."""

    def read(path: Path) -> None:
        from journeylab.importers.events import import_events

        import_events(system, path, rejects="set_aside")
        import_events(system, path)

    return read


def _imported_log(path: Path) -> None:
    from journeylab.importers.events.logfile import Log

    Log.read(path)


def _an_imported_log() -> bytes:
    from tempfile import TemporaryDirectory

    from journeylab.importers.events import import_events

    with TemporaryDirectory() as folder:
        path = Path(folder) / "log.parquet"
        import_events("mautic", EXPORTS / "mautic", path)
        return path.read_bytes()


def _an_archive() -> bytes:
    """A tracking extract, in the encoding that these have."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((EXPORTS / "salesforce").iterdir()):
            archive.writestr(path.name, path.read_text().encode("utf-16-le"))
    return body.getvalue()


def _exported(system: str, pattern: str) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted((EXPORTS / system).glob(pattern)))


def _journey(path: Path) -> None:
    from journeylab.journeyfile import read

    path.with_name("keen_care.yaml").write_bytes((FIXTURES / "journeys" / "keen_care.yaml").read_bytes())
    read(path)


def _assistants(text: str) -> None:
    """A journey that an assistant has written, beside a folder with another."""
    from journeylab.assistants import JourneyFolder, Questions
    from journeylab.assistants.questions import About

    questions = Questions(JourneyFolder(FIXTURES / "journeys"))
    questions.check(About(text=text))
    questions.diff(About(text=text), About("keen_care.yaml"))


def _criteria(text: str) -> None:
    """A filter of Journey Builder, which is XML, as what lets contacts in."""
    from journeylab.importers import import_journeys

    entry = {"type": "Event", "eventDefinitionKey": "signup", "configurationArguments": {"criteria": text}}
    import_journeys({"name": "a", "triggers": [entry], "activities": [{"key": "m", "type": "EMAILV2"}]}, "salesforce")


def _resaved(path: Path) -> None:
    """Reads a journey, changes it, and has it written into the text that came."""
    from journeylab.journeyfile import read

    path.with_name("keen_care.yaml").write_bytes((FIXTURES / "journeys" / "keen_care.yaml").read_bytes())
    for one in read(path).journeys:
        names = [*one.nodes]
        changed = one.model_copy(update={"nodes": {name: one.nodes[name] for name in reversed(names)}})
        changed.save(path)


def _experiment(path: Path) -> None:
    from journeylab.experiments import Experiment

    path.with_name("history.yaml").write_bytes((FIXTURES / "shop" / "history.yaml").read_bytes())
    path.write_bytes(path.read_bytes().replace(b"../shop/", b""))
    Experiment.is_in(path)
    Experiment.read(path)


def _cases(path: Path) -> None:
    from journeylab.cases import read_cases

    for name, copy in (("trial_welcome", "fuzzed"), ("keen_care", "keen_care")):
        path.with_name(f"{copy}.yaml").write_bytes((FIXTURES / "journeys" / f"{name}.yaml").read_bytes())
    read_cases(path)


def _settings(path: Path) -> None:
    from journeylab.sender.settings import Settings

    Settings.read(path)


def _message(data: bytes, folder: Path) -> None:
    """A message's description, and the same bytes as its template."""
    from journeylab.sender.mail.messages import Messages

    place = folder / "messages"
    place.mkdir(exist_ok=True)
    is_description = data.lstrip().startswith((b"message", b"{"))
    (place / "hello.yaml").write_bytes(data if is_description else b"message: hello\nsubject: Hello\n")
    (place / "hello.html").write_bytes(b"<p>Hi {{ contact.name }}</p>" if is_description else data)
    Messages.read(place)


def _condition(text: str) -> None:
    from journeylab.conditions import canonical_text, parse, parse_awaited, parse_value

    refusals = []
    for read in (parse, parse_value, parse_awaited, canonical_text):
        try:
            read(text)
        except JourneyLabError as problem:
            refusals.append(problem)
    if len(refusals) == 4:
        raise refusals[0]


def _duration(text: str) -> None:
    from journeylab.durations import parse_duration, parse_time_of_day

    for read in (parse_duration, lambda one: parse_duration(one, signed=True), parse_time_of_day):
        try:
            read(text)
        except ValueError as problem:
            _is_said(problem)


def _options(text: str) -> None:
    from journeylab.cli.options import _columns, cap_of, send_times_of, until_of

    for read in (_columns, until_of, cap_of, lambda one: send_times_of([one])):
        try:
            read(text)
        except (typer.BadParameter, JourneyLabError) as problem:
            _is_said(problem)


def _column_map(text: str) -> None:
    """The column map of a notebook's environment, over a log that is there."""
    import os

    from journeylab.datasets import given_log

    kept = dict(os.environ)
    try:
        os.environ["JOURNEYLAB_EVENTS"] = str(FIXTURES / "cdnow" / "nothing.csv")
        if "\0" in text or not text:
            return
        os.environ["JOURNEYLAB_COLUMNS"] = text
        given_log()
    finally:
        os.environ.clear()
        os.environ.update(kept)


def _log(path: Path) -> None:
    """A file of events as replays read it, and as the sender's intake does."""
    from journeylab.eventlog import EventLog
    from journeylab.sender.live.arrivals import read_contacts, read_events
    from journeylab.sender.live.drops import open_table

    for read in (
        EventLog.read,
        lambda one: [*read_events(open_table(one), {}, "UTC", lambda row: f"{row}").parts()],
        lambda one: [*read_contacts(open_table(one), {}, "UTC").parts()],
    ):
        try:
            read(path)
        except JourneyLabError as problem:
            _is_said(problem)


def _send_times(path: Path) -> None:
    from journeylab.advice import read

    read(path)


def _scores(path: Path) -> None:
    from journeylab.sender.promotion.frozen import Model

    Model.read("scores", "best", path)


def _report(data: bytes, _: Path) -> None:
    from journeylab.sender.mail.bounces import read_report

    read_report(data, KEYS)


def _relay_log(text: str) -> None:
    from journeylab.sender.sending.reconcile import accepted_in_log

    accepted_in_log(text.splitlines())


def _token(text: str) -> None:
    from journeylab.sender.mail.bounces import returned_to
    from journeylab.sender.mail.links import Urls

    Urls(KEYS, "https://mail.shop.example").named_by(text)
    returned_to(text, KEYS)


def _request(text: str) -> None:
    """What stands in the headers and forms of requests."""
    from journeylab.sender.consent.evidence import evidence_of
    from journeylab.sender.web.choices import _fields
    from journeylab.sender.web.opening import _shown
    from journeylab.sender.web.words import preferred

    preferred(text), evidence_of(text, text), _shown(text), _fields(text.encode("utf-8", "surrogateescape"))


def _checkpoints(path: Path) -> None:
    from journeylab.sender.audit.folder import newest_in, outside

    outside(path, SIGNER.key)
    day = path.parent / "day"
    day.mkdir(exist_ok=True)
    (day / path.name).write_bytes(path.read_bytes())
    newest_in(path.parent, SIGNER.key)


def _proof(text: str) -> None:
    from journeylab.sender.audit.proofs import proven

    proven(text, SIGNER.key)


def _public_key(text: str) -> None:
    from journeylab.sender.audit.checkpoints import PublicKey

    PublicKey.parsed(text)


def _ring(text: str) -> None:
    from journeylab.sender.keys import Keys

    Keys.parsed(text, "the ring")


def _ledger_key(path: Path) -> None:
    from journeylab.disclosure.keys import LedgerKey

    LedgerKey.read(path).of("people")


def _pseudonym_keys(path: Path) -> None:
    from journeylab.disclosure.keys import PseudonymKeys

    PseudonymKeys(path).destroy_expired(START)


def _ledger(path: Path) -> None:
    from journeylab.disclosure.keys import LedgerKey
    from journeylab.disclosure.ledger import Ledger

    with Ledger(path, LedgerKey(bytes(32))).writing() as writing:
        writing.shown()


def _decision(path: Path) -> None:
    """A record as it came, and with the hash that whoever wrote it can compute."""
    from journeylab.experiments.record import DecisionRecord

    def asked() -> None:
        record = DecisionRecord.read(path)
        record.refusals("a"), record.decided_at, repr(record)

    try:
        asked()
    except JourneyLabError as problem:
        _is_said(problem)
    try:
        data = json.loads(path.read_bytes())
        text = json.dumps(
            {name: one for name, one in data.items() if name != "hash"},
            sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False,
        ).encode()  # fmt: skip
        path.write_bytes(_json(data | {"hash": sha256(text).hexdigest()}))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return
    asked()


def _declaration(path: Path) -> None:
    from journeylab.experiments.planning import read_declaration

    read_declaration(path)


@cache
def _a_journey() -> Any:
    from journeylab.journeyfile import read

    return read(FIXTURES / "journeys" / "trial_welcome.yaml").journeys[0]


def _forecast(path: Path) -> None:
    from journeylab.sender.promotion.forecast import Forecast

    Forecast.read(path, _a_journey())


def _notebook(path: Path) -> None:
    from journeylab.disclosure.notebooks import check_notebook

    check_notebook(path, canaries=["zebra-77"])


@cache
def _a_draft() -> Any:
    from journeylab.canvas.drafts import draft_of

    return draft_of(_a_journey())


def _draft(text: str) -> None:
    """What the canvas sends from the browser: a draft, of which faults, facts and the text are asked."""
    from journeylab.canvas.views import checked

    drawn = _a_draft().drawn(text)
    checked(drawn), drawn.facts(), drawn.triggers()
    for name in drawn.journeys:
        try:
            drawn.to_yaml(name)
        except JourneyLabError as problem:
            _is_said(problem)


def _receipt(line: bytes, _: Path) -> None:
    from journeylab.sender.sending.journal import Receipt

    Receipt.read(line)


def _erasures(path: Path) -> None:
    from journeylab.sender.persons import erasure
    from journeylab.sender.settings import Settings

    settings = Settings.model_construct(state=".", folder=path.parent)
    [*erasure._noted(settings)]


def _reply(data: bytes, _: Path) -> None:
    """What the other side of a webhook answers: its `Retry-After`, and a body."""
    from types import SimpleNamespace

    from journeylab.connectors.http import LONGEST_REPLY, _read

    text = data.decode("latin-1")
    body = io.BytesIO(data)
    headers = {"retry-after": text, "content-type": "application/json"}
    _read(SimpleNamespace(status=200, headers=headers, read1=body.read1), START, LONGEST_REPLY)  # type: ignore[arg-type]


def _incidents(data: bytes, _: Path) -> None:
    """What ServiceNow and PagerDuty say, whatever is asked of them."""
    from journeylab.connectors.credentials import with_token
    from journeylab.connectors.facts import Fact
    from journeylab.connectors.http import Reply, _said
    from journeylab.connectors.incidents import Origin
    from journeylab.connectors.pagerduty import PagerDutyTarget
    from journeylab.connectors.servicenow import EventTarget, IncidentTarget

    said, fault = _said(data, 1 << 20)
    reply, origin = Reply(200, "200", said=said, fault=fault), Origin("shop", "mail.shop.example")
    alert = {"dedup_key": "x", "severity": "error", "summary": "x", "started_at": START.isoformat()}
    targets = (IncidentTarget(origin, "Solution provided", {}), EventTarget(origin), PagerDutyTarget(origin, "x"))
    for target in targets:
        for kind in ("alert.raised", "alert.acknowledged", "alert.resolved"):
            target.tell(Fact(kind, "x", START, alert), with_token(lambda call: reply, lambda: reply))


def _crm(data: bytes, _: Path) -> None:
    """What HubSpot and Salesforce say, whatever is pulled and told."""
    from journeylab.connectors.connector import Broken, Later
    from journeylab.connectors.facts import Fact
    from journeylab.connectors.http import Reply, _said

    said, fault = _said(data, 1 << 20)
    about = {"contact": "ada", "purpose": "tips", "reason": "bounced", "route": "page", "message": "hello"}
    for status in (200, 207, 404, 429):
        reply = Reply(status, str(status), said=said, fault=fault)
        for one in _crms():
            for stream in one.pull:
                with suppress(Broken, Later):
                    one.source().pull(stream, None, lambda call, reply=reply: reply)
            for kind in ("consent.given", "contact.suppressed", "contact.erased", "message.sent"):
                one.target().tell(Fact(kind, "x", START, about), lambda call, reply=reply: reply)


@cache
def _crms() -> tuple[Any, ...]:
    from journeylab.connectors.connector import connector_of
    from test_hubspot import SETTINGS as HUBSPOT
    from test_salesforce import SETTINGS as SALESFORCE

    made = {"hubspot": ("https://api.hubapi.com", HUBSPOT), "salesforce": ("https://x.my.salesforce.com", SALESFORCE)}
    return tuple(connector_of({"kind": kind, "url": url, **said}) for kind, (url, said) in made.items())


@cache
def _pulling() -> tuple[Any, Any, Any]:
    """A store, its settings, and lists of events, contacts and products."""
    from tempfile import TemporaryDirectory

    from journeylab.sender.live.pulls import Puller
    from journeylab.sender.store import Store
    from pulling import ORDERS, PEOPLE
    from sendworld import make_settings
    from test_rest import PRODUCTS

    lists = {"orders": ORDERS, "people": PEOPLE, "shelf": PRODUCTS}
    paged = {**PEOPLE, "items": "orders", "paging": {"cursor": "next", "parameter": "after"}, "times": "epoch"}
    one = {"kind": "rest", "url": "https://erp.example", "pull": {**lists, "paged": paged}}
    owned = {"plan": {"source": "erp", "stream": "people", "max_age": "1d", "conflict": "fill"}}
    folder = TemporaryDirectory()
    settings = make_settings(Path(folder.name), connectors={"erp": one}, attributes=owned)
    store = Store.open(f"sqlite:///{folder.name}/sender.db", KEYS, create=True)
    return folder, settings, Puller(store, settings, "w")


def _list(data: bytes, _: Path) -> None:
    """What a system says of itself in lists, pulled and taken; what is taken is taken back."""
    from journeylab.connectors.connector import Broken, Later
    from journeylab.connectors.http import Reply, _said
    from journeylab.sender.live.pulledrows import Taking

    _, settings, puller = _pulling()
    said, fault = _said(data, 1 << 20)
    text = data[:200].decode("latin-1")
    reply = Reply(200, "200", said=said, headers={"link": text, "date": text}, fault=fault)
    for stream in settings.connectors["erp"].pull:
        puller._connections._made["erp"] = lambda call: reply
        try:
            page = puller._page(("erp", stream), None)
        except (Broken, Later) as problem:
            if "not understood" in problem.text:
                raise
            continue
        with suppress(_TakenBack), puller.store.writing() as connection:
            taking = Taking(connection, settings, ("erp", stream), KEYS, START, START)
            taking.products(page.products)
            taking.contacts(page.contacts)
            taking.events(page.events)
            taking.finish()
            raise _TakenBack


class _TakenBack(Exception):
    """Ends a transaction without what it has done."""


def _crm_replies() -> tuple[bytes, ...]:
    at, salesforce_at = "2026-03-01T10:00:00.000Z", "2026-03-01T10:00:00.000+0000"
    status = {"subscriptionId": 72, "status": "SUBSCRIBED", "timestamp": at}
    contact = {
        "id": "7", "objectId": "7", "occurredAt": at, "archivedAt": at, "subscriberIdString": "ada@shop.example",
        "properties": {"customer_id": "ada", "email": "ada@shop.example", "lastmodifieddate": at, "jl_as_of": at},
        "statuses": [status], "wideStatuses": [status],
    }  # fmt: skip
    record = {
        "Id": "003000000000001AAA", "SystemModstamp": salesforce_at, "Customer_Id__c": "ada", "CaptureDate": at,
        "PartyId": "0PK000000000001AAA", "IndividualId": "0PK000000000001AAA", "PrivacyConsentStatus": "OptIn",
        "DataUsePurposeId": "0ZW000000000001AAA", "JL_As_Of__c": salesforce_at,
    }  # fmt: skip
    return (
        _json({"results": [contact], "paging": {"next": {"after": "5"}}, **contact}),
        _json({"records": [record], "done": True, **record}),
        _json([{"errorCode": "NOT_FOUND", "message": "x"}]),
    )


# Samples


def _json(data: Any) -> bytes:
    return json.dumps(data).encode()


@cache
def _tables() -> dict[str, bytes]:
    """A small log in each form of file."""
    frame = pd.DataFrame({
        "contact": ["ada", "ben", "ada"], "event": ["signup", "signup", "opened"],
        "occurred_at": ["2026-03-02T09:00:00Z", "2026-03-02T10:00:00Z", "2026-03-03T09:00:00+01:00"],
        "amount": [1.5, None, 3.0], "paid": [True, False, None], "message": ["m", None, "żółw"],
    })  # fmt: skip
    table = pa.Table.from_pandas(frame, preserve_index=False)
    nested = table.append_column("properties", pa.array([{"a": 1, "b": ["x"]}, None, {"a": 2, "b": []}]))
    parquet, more, feather = io.BytesIO(), io.BytesIO(), io.BytesIO()
    frame.to_parquet(parquet)
    pa.parquet.write_table(nested, more, compression="zstd")
    pa.feather.write_feather(table, feather)
    scores = io.BytesIO()
    pd.DataFrame({"contact": ["ada", "ben"], "score": [0.5, 0.25]}).to_parquet(scores)
    csv = frame.to_csv(index=False).encode()
    lines = frame.to_json(orient="records", lines=True).encode()
    return {
        "parquet": parquet.getvalue(), "nested": more.getvalue(), "csv": csv, "jsonl": lines,
        "json": frame.to_json(orient="records").encode(), "arrow": feather.getvalue(), "scores": scores.getvalue(),
        "csv.gz": gzip.compress(csv, mtime=0),
    }  # fmt: skip


@cache
def _advice() -> tuple[bytes, bytes]:
    """A file of send times, and a table of hours."""
    from tempfile import TemporaryDirectory

    from journeylab.sendtimes import SendTimes

    frame = pd.DataFrame({"contact": ["ada", "ben"], "hour_of_week": [9, 33]})
    with TemporaryDirectory() as folder:
        path = Path(folder) / "times.parquet"
        SendTimes.of_hours(frame).write(path)
        return path.read_bytes(), frame.to_csv(index=False).encode()


def _proofs() -> bytes:
    """The proof of an entry, as `audit prove` writes it."""
    from journeylab.sender.audit.checkpoints import Checkpoint
    from journeylab.sender.audit.entries import instant_of
    from journeylab.sender.audit.tree import Tree

    entries = Log.of(5).entries
    tree = Tree([one.leaf_hash for one in entries])
    note = Checkpoint("shop", 5, tree.root(5), AUDITED).signed(SIGNER)
    plain = [
        {
            "seq": one.seq, "at": instant_of(one.at), "actor": one.actor, "action": one.action, "object": one.object,
            "contact": one.contact, "details": one.details, "salt": one.salt and one.salt.hex(),
            "commitment": one.commitment.hex(), "leaf_hash": one.leaf_hash.hex(),
            "proof": [node.hex() for node in tree.inclusion(one.seq - 1, 5)],
        }
        for one in entries
    ]  # fmt: skip
    return _json({"format": "journeylab audit proof 1", "checkpoint": note, "entries": plain})


def _a_ledger() -> bytes:
    from tempfile import TemporaryDirectory

    import numpy as np

    from journeylab.disclosure.keys import LedgerKey
    from journeylab.disclosure.ledger import Ledger, Outcome

    with TemporaryDirectory() as folder:
        path = Path(folder) / "ledger"
        with Ledger(path, LedgerKey(bytes(32))).writing() as writing:
            writing.decide(b"a", Outcome("shown", 3.0, np.arange(12, dtype=np.uint64)), "count", 0)
        return path.read_bytes()


def _note() -> bytes:
    from journeylab.sender.audit.checkpoints import Checkpoint

    return Checkpoint("shop", 3, bytes(32), AUDITED).signed(SIGNER).encode()


def _simulated() -> bytes:
    """What a simulation prints of a journey, with numbers that nobody has simulated."""
    journey = _a_journey()
    spread = {"interval": [0.4, 0.6], "share_interval": [0.4, 0.6]}
    shares = {"share": 0.5, "n_entries": 10.0, "n_visits": 5.0, "is_goal": False} | spread
    nodes = {
        name: {"n_visits": 10.0, "branches": dict.fromkeys(("yes", "no", "timeout", "next"), shares)}
        for name in journey.nodes
    }
    exits = dict.fromkeys(("finished", "goal", "(running)"), shares)
    said = {"journey": journey.journey, "version": journey.version, "level": 0.9, "notes": ["x"]}
    return _json({"journeys": [said | {"nodes": nodes, "exits": exits}]})


def _mails() -> tuple[bytes, ...]:
    """A checkpoint in a mail, as it is and encoded."""
    inner = b"--b\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\n" + b64encode(_note())
    return (
        b"Content-Type: text/plain; charset=utf-8\n\n" + _note(),
        b"Content-Type: multipart/mixed; boundary=b\n\n" + inner + b"\n--b--\n",
    )


def _record() -> bytes:
    from journeylab.experiments.record import DecisionRecord

    passed = {"passed": True, "sentence": "well"}
    made = DecisionRecord(
        experiment={"name": "offer", "versions": {"a": "v1"}}, asked={}, found={},
        checked={"ratio": passed, "maturity": passed, "guardrails": passed}, tried={},
        decided={"arm": "a", "decided_at": "2026-03-02T09:00:00+00:00"},
    )  # fmt: skip
    return _json(made.to_dict())


def _notebooks() -> tuple[bytes, ...]:
    table = "<table><tr><th>contact</th><th>n_sends</th></tr><tr><td>ada</td><td>3</td></tr></table>"
    output = {"output_type": "display_data", "data": {"text/html": [table], "application/json": [{"n": 3}]}}
    cell = {"cell_type": "code", "source": ["show(log)"], "outputs": [output], "metadata": {}}
    session = {"version": "1", "cells": [{"id": "a", "outputs": [{"type": "data", "data": {"text/html": table}}]}]}
    return _json({"cells": [cell], "metadata": {"a": "b"}, "nbformat": 4}), _json(session)


def _page() -> bytes:
    notebook, session = _notebooks()
    return b"<html><body>" + notebook[:0] + b'<script>x = {"session": ' + session + b"}</script></body></html>"


MAIL = b"""From: MAILER-DAEMON@mx.example
To: bounce+aaaa@bounces.shop.example
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

It could not be delivered: 550 5.1.1 <anna@rcpt.example>: no such user

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example

Final-Recipient: rfc822; anna@rcpt.example
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user

--b
Content-Type: message/rfc822

Message-ID: <aaaa@shop.example>
Subject: Hello

Hi
--b--
"""
COMPLAINT = MAIL.replace(b"delivery-status", b"feedback-report").replace(b"Action: failed", b"Feedback-Type: abuse")
RECEIPT = {
    "message_key": "ab" * 16, "journey": "welcome", "contact": "ada", "entry": 1, "node": "hello", "visit": 1,
    "message": "hello", "purpose": "marketing", "transactional": False, "release_id": 1, "fence": 1,
    "kind": "accepted", "code": 250, "enhanced": "2.0.0",
    "reply": "ok", "queue_id": "4F1", "relay": "main", "gated_at": "2026-03-02T09:00:00+00:00",
    "at": "2026-03-02T09:00:01+00:00",
}  # fmt: skip
ERASED = {"contact": "ab", "stand_in": "gone-1", "erased_at": "2026-03-02T09:00:00+00:00", "addresses": ["cd"]}
SETTINGS = b"""sender: shop
store: sqlite:///journeylab.db
domain: shop.example
from: {name: Our Shop, address: hello@shop.example}
list_id: news.shop.example
bounces: bounces.shop.example
public_url: https://mail.shop.example
dkim: {domain: shop.example, selector: s1, key: dkim.pem}
relays:
  - {name: main, host: smtp.example, port: 587, user: shop, password: env:RELAY_PASSWORD}
calls: {crm: {url: https://crm.example/hook, secret: env:X}}
inbox: {folder: inbox, timezone: Europe/Warsaw}
access: {people: {ewa: [analyst]}}
retention: {inactive: 730d}
attempts: 8
"""
CONDITIONS = (
    b'plan == "pro" and not opened(hello)', b'count("visit", where="page == \'pricing\'") >= 3',
    b'segment("vip") >= 0.5 or score("best") > 0.5', b'did("visit", where="amount > 3")',
    b'clicked(hello, "offer") and points + 3 * 2 < 7', b'local_hour() in [9, 10] or missing(plan)',
)  # fmt: skip


FILTERS = (
    b'<FilterDefinition><ConditionSet Operator="AND" ConditionSetName="a"><Condition Key="Event.signup.Plan" '
    b'Operator="Equal"><Value><![CDATA[trial]]></Value></Condition><ConditionSet Operator="OR"><Condition Key="A.B" '
    b'Operator="In"><Value>1, 2</Value></Condition></ConditionSet></ConditionSet></FilterDefinition>',
)  # fmt: skip


def _exports(system: str) -> tuple[bytes, ...]:
    """The two smallest exports of journeys of a system."""
    paths = (ROOT / "tests" / "journeyexports" / system).glob("*.json")
    return tuple(sorted((path.read_bytes() for path in paths), key=len)[:2])


def _converts(system: str) -> Callable[[Path], Any]:
    """Reads a file as an export of a system's journeys, which go back there as far as it can have them."""

    def read(path: Path) -> Any:
        from journeylab.importers import export_journey, import_journeys

        found = import_journeys(path, system)
        if isinstance(system_of(system), Writes):
            for journey in found.journeys:
                export_journey(journey, system)
        return found

    return read


def _files(folder: str, pattern: str) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted((FIXTURES / folder).glob(pattern)) if path.stat().st_size < 9_000)


def _journey_json() -> bytes:
    from journeylab.journeyfile import to_json

    return to_json(_a_journey()).encode()


def parsers() -> list[Parser]:
    """All parsers with their samples."""
    tables, times = _tables(), _advice()
    journeys = _files("journeys", "[a-z_]*.yaml")
    journeys = tuple(one for one in journeys if b"- case:" not in one)
    value = (ValueError,)
    return [
        Parser("journey.yaml", journeys, in_file("fuzzed.yaml", _journey)),
        Parser("journey.json", (_journey_json(),), in_file("fuzzed.json", _journey)),
        Parser("resaved.yaml", journeys, in_file("fuzzed.yaml", _resaved)),
        Parser("assistant's journey", journeys, as_text(_assistants)),
        *(Parser(f"journey of {system}", _exports(system), in_file("fuzzed.json", _converts(system)))
          for system in BUILT_IN),
        Parser("filter of Journey Builder", FILTERS, as_text(_criteria)),
        Parser("cases", _files("journeys", "trial_welcome.tests.yaml"), in_file("fuzzed.tests.yaml", _cases)),
        Parser("experiment", _files("experiments", "*.yaml"), in_file("fuzzed.yaml", _experiment)),
        Parser("settings", (SETTINGS,), in_file("fuzzed.yaml", _settings)),
        Parser("message", (*_files("messages", "*.yaml"), *_files("messages", "*.html")), _message),
        Parser("condition", CONDITIONS, as_text(_condition)),
        Parser("duration", (b"3d", b"1d12h", b"-90m", b"09:00", b"24:00"), as_text(_duration)),
        Parser("options", (b"customer_id=contact,date=occurred_at", b"2026-03-29T12:00:00+00:00", b"3/7d", b"best=x"),
               as_text(_options)),
        Parser("column map", (b'{"customer_id": "contact"}',), as_text(_column_map)),
        Parser("events.csv", (tables["csv"],), in_file("fuzzed.csv", _log)),
        Parser("events.csv.gz", (tables["csv.gz"],), in_file("fuzzed.csv.gz", _log)),
        Parser("events.jsonl", (tables["jsonl"],), in_file("fuzzed.jsonl", _log)),
        Parser("events.json", (tables["json"],), in_file("fuzzed.json", _log)),
        Parser("events.parquet", (tables["parquet"], tables["nested"]), in_file("fuzzed.parquet", _log)),
        Parser("events.arrow", (tables["arrow"],), in_file("fuzzed.arrow", _log)),
        Parser("send times.parquet", (times[0],), in_file("fuzzed.parquet", _send_times)),
        Parser("send times.csv", (times[1],), in_file("fuzzed.csv", _send_times)),
        Parser("scores.csv", (b"contact,score\nada,0.5\nben,0.25\n",), in_file("fuzzed.csv", _scores)),
        Parser("scores.parquet", (tables["scores"],), in_file("fuzzed.parquet", _scores)),
        Parser("bounce", (MAIL, COMPLAINT), _report),
        Parser("relay log", (b"mail postfix/cleanup[7]: 4F1: message-id=<a@shop.example>\nmail postfix/qmgr[9]: 4F1: "
                             b"from=<x@shop.example>, size=1, nrcpt=1 (queue active)\n",), as_text(_relay_log)),
        Parser("link", (b"/c/" + KEYS.token("click", bytes(16), b"0").encode() + b"/0", b"/u/" + KEYS.token(
            "unsubscribe", bytes(16)).encode(), f"bounce+{KEYS.token('bounce', bytes(16))}@b.example".encode()),
               as_text(_token)),
        Parser("request", (b"de, pl;q=0.8, en;q=0.9", b"Basic YTpi", b"shown=a&wanted=b", b"192.0.2.7", b"::1%eth0"),
               as_text(_request)),
        Parser("checkpoint", (_note(),), in_file("20260302T090000.000000Z-3.checkpoint", _checkpoints)),
        Parser("syslog file", (_note() + b'x [journeylab@32473 seq="1" leaf="' + b"ab" * 32 + b'"] y\n',),
               in_file("siem.log", _checkpoints)),
        Parser("checkpoint mail", _mails(), in_file("1.eml", _checkpoints)),
        Parser("proof", (_proofs(),), as_text(_proof)),
        Parser("public key", (str(SIGNER.key).encode(),), as_text(_public_key)),
        Parser("key ring", (KEYS.text().encode(), KEYS.rotated().text().encode()), as_text(_ring)),
        Parser("ledger's key", (_json({"ledger": "ab" * 32}),), in_file("fuzzed.key", _ledger_key)),
        Parser("pseudonyms' keys", (_json({"keys": {'["r","e"]': {"root": "ab" * 32, "expires_at":
               "2026-03-02T09:00:00+00:00"}}, "destroyed": {}}),), in_file("fuzzed.keys", _pseudonym_keys)),
        Parser("ledger", (_a_ledger(),), in_file("fuzzed.ledger", _ledger)),
        Parser("decision", (_record(),), in_file("fuzzed.json", _decision)),
        Parser("declaration", (_json({"plan": 1, "declared_at": "2026-03-02T09:00:00+00:00"}),),
               in_file("fuzzed.json", _declaration)),
        Parser("forecast", (_simulated(),),
               in_file("fuzzed.json", _forecast)),
        Parser("notebook.ipynb", _notebooks()[:1], in_file("fuzzed.ipynb", _notebook)),
        Parser("notebook.json", _notebooks()[1:], in_file("fuzzed.json", _notebook)),
        Parser("notebook.html", (_page(),), in_file("fuzzed.html", _notebook)),
        Parser("draft", (_a_draft().document().encode(),), as_text(_draft)),
        Parser("receipt", (_json(RECEIPT),), _receipt, value),
        Parser("erasures", (_json(ERASED) + b"\n" + _json(ERASED) + b"\n",), in_file("erasures.jsonl", _erasures)),
        Parser("reply of a system for incidents", (_json({"result": [
            {"sys_id": "0" * 32, "correlation_id": "shop/x/20260302T090000", "state": "1", "impact": "3"}],
            "access_token": "x"}), _json({"result": {"sys_id": "0" * 32}})), _incidents),
        Parser("reply of a CRM", _crm_replies(), _crm),
        Parser("list that is pulled", (_json({"orders": [
            {"id": 1, "customer": "ada", "mail": "ada@shop.example", "plan": "x", "total": 5, "created_at":
             "2026-03-02T09:00:00Z", "updated_at": "2026-03-02T09:00:00Z"}], "next": "x"}),
            _json({"items": [{"sys": {"id": "tea", "type": "DeletedEntry", "updatedAt": "2026-03-02T09:00:00Z"},
                              "fields": {"title": {"en-US": "Tea"}}}], "nextSyncUrl": "https://erp.example/x"})),
            _list),
        Parser("export.csv", _exported("salesforce", "Clicks.csv"),
               in_file("Clicks.csv", _export("salesforce"))),
        Parser("export.zip", (_an_archive(),), in_file("extract.zip", _export("salesforce"))),
        Parser("export.jsonl", _exported("dittofeed", "*"), in_file("fuzzed.jsonl", _export("dittofeed"))),
        Parser("export.json", _exported("klaviyo", "*"), in_file("fuzzed.json", _export("klaviyo"))),
        Parser("export of HubSpot", _exported("hubspot", "*"), in_file("fuzzed.json", _export("hubspot"))),
        Parser("export of Matomo", _exported("matomo", "*"), in_file("fuzzed.json", _export("matomo"))),
        Parser("export of Google Analytics", _exported("ga4", "*"), in_file("fuzzed.jsonl", _export("ga4"))),
        Parser("export of Segment", _exported("segment", "*.jsonl"), in_file("fuzzed.jsonl", _export("segment"))),
        Parser("imported log", (_an_imported_log(),), in_file("fuzzed.parquet", _imported_log)),
        Parser("reply to a webhook", (b'{"status": "ok"}', b"120", b"Wed, 21 Oct 2026 07:28:00 GMT"), _reply),
    ]  # fmt: skip


# What hostile hands make of a sample

PIECES: Sequence[bytes] = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"\xe2\x80\xae", b"\xe2\x80\xa8",
    b"\r", b"\n\n", b"\t", b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"9" * 400, b"9" * 5_000,
    b"1.7976931348623159e308",
    b"9223372036854775808", b"-9223372036854775809", b"null", b"true", b"[]", b"{}", b'""',
    b"[" * 1_200, b"{" * 1_200, b'{"a":' * 1_200, b"(" * 300, b"not " * 300, b"- " * 600, b"&a ", b"*a", b"<<: *a\n",
    b"!!python/object:os.system ",
    b"!!binary x", b"? ", b"--- \n", b"... \n", b"%YAML 9.9\n", b"|\n", b"> \n", b"{{", b"{%", b"{{ 9**9**9 }}",
    b"2026-02-30T25:61:61Z", b"0000-00-00", b"9999-12-31T23:59:59+23:59", b"0001-01-01T00:00:00+14:00", b"99999999999d",
    b"1" + b"0" * 30 + b"d", b"=", b",", b";" * 100, b'"', b"'", b"<![x[", b"<!doctype", b"<table><td>x<table>y",
    "ſ\u0130\u212a\u0663\u00b2".encode(), b"__class__", b"constructor", b"%00", b"%ff%fe", b"$(id)",
    b"../../etc/passwd",
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, samples: Sequence[bytes]) -> bytes:
    """A sample, or almost one: bits flipped, parts cut out, repeated, swapped, or others put in."""
    data = draw(st.sampled_from(samples))
    if _is_json(data) and draw(st.booleans()):
        return draw(reshaped(data))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        end = at + draw(st.integers(0, 60))
        kind = draw(st.integers(0, 6))
        if kind == 0 and data:
            at = min(at, len(data) - 1)
            data = data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at]
        elif kind == 2:
            data = data[:at] + data[at:end] * draw(st.integers(2, 5)) + data[end:]
        elif kind == 3:
            data = data[:at] + data[end:]
        elif kind == 4:
            other = draw(st.sampled_from(samples))
            data = data[:at] + other[draw(st.integers(0, len(other))) :]
        elif kind == 5:
            data = data[:at] + draw(st.binary(max_size=8)) + data[at:]
        else:
            data = data[:at] + draw(st.sampled_from(PIECES)) + data[end if draw(st.booleans()) else at :]
    return data


@cache
def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def _scalars() -> st.SearchStrategy[Any]:
    return (
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
        | st.sampled_from(["", "\0", "\ud800", "NaN", "2026-03-02T09:00:00Z", "3d", "ab" * 32, 10**400, -(2**63) - 1])
    )  # fmt: skip


@st.composite
def reshaped(draw: st.DrawFn, sample: bytes) -> bytes:
    """A sample in JSON with some of its values exchanged for ones of another kind, dropped, or put a level deeper."""
    whole = [json.loads(sample)]
    for _ in range(draw(st.integers(1, 3))):
        around: Any = whole
        place: Any = 0
        while isinstance(around[place], dict | list) and around[place] and draw(st.integers(0, 4)):
            around = around[place]
            place = draw(st.sampled_from([*around] if isinstance(around, dict) else range(len(around))))
        kind = draw(st.integers(0, 4))
        if kind == 0 and around is not whole:
            around.pop(place)
        elif kind == 1:
            around[place] = [around[place]]
        elif kind == 2:
            around[place] = {draw(st.text(max_size=4)): around[place]}
        else:
            around[place] = draw(_scalars() | st.just([]) | st.just({}) | st.lists(_scalars(), max_size=2))
    return json.dumps(whole[0]).encode("utf-8", "surrogatepass")
