"""Whatever is sent to the sender over the network: an answer with a sentence, and never one that is a fault of ours."""

from __future__ import annotations

import json
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fuzzing import COMPLAINT, MAIL, PIECES, mutated
from journeylab.sender.mail.links import Urls
from journeylab.sender.sending import transport
from journeylab.sender.sending.transport import Connection, Outcome, Unreached
from journeylab.sender.settings import Relay
from journeylab.sender.store import Store
from stores import KEYS, people
from test_web import a_message
from webclient import Client, app_for, signature

few = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
many = settings(max_examples=3_000, suppress_health_check=list(HealthCheck))
on_one_database = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

EVENTS = (
    b'[{"contact": "ada", "event": "purchase", "occurred_at": "2026-03-01T10:00:00Z", "properties": {"n": 9.5}}]',
    b'{"contact": "ada", "event": "visit", "id": "a", "properties": {"page": "x", "is_new": true, "on": null}}',
)
CONTACTS = (b'[{"contact": "ada", "address": "ada@rcpt.test", "attributes": {"plan": "pro", "since": "2026-01-01"}}]',)
BODIES = {"/events": EVENTS, "/contacts": CONTACTS, "/bounces": (MAIL, COMPLAINT), "/unsubscriptions": (MAIL,)}


def is_said(answer: httpx.Response) -> None:
    """Whether an answer is no fault of ours, and says what is wrong where something is."""
    assert answer.status_code < 500, answer.text
    assert "Traceback" not in answer.text
    if answer.status_code >= 400:
        assert answer.text.strip()
        if answer.headers["content-type"].startswith("application/json"):
            assert answer.json()["error"]


@pytest.fixture
def client(store: Store, tmp_path: Path) -> Client:
    ticks = iter(range(0, 10**9, 1_000))  # so that no limit is ever reached
    return Client(app_for(store, tmp_path, clock=lambda: float(next(ticks))))


def sent(client: Client, data: st.DataObject, path: str) -> None:
    body = data.draw(mutated(BODIES[path]))
    try:
        headers = signature(body, "msg_1")
    except UnicodeDecodeError:
        headers = signature(b"[]", "msg_1")
    begun = time.thread_time()
    is_said(client("POST", path, content=body, headers=headers))
    assert time.thread_time() - begun < 3


@on_one_database
@pytest.mark.parametrize("path", BODIES)
@given(data=st.data())
@few
def test_whatever_is_signed_is_taken_or_refused(store: Store, client: Client, path: str, data: st.DataObject) -> None:
    sent(client, data, path)


@pytest.mark.nightly
@on_one_database
@pytest.mark.parametrize("path", BODIES)
@given(data=st.data())
@many
def test_whatever_at_all_is_signed(store: Store, client: Client, path: str, data: st.DataObject) -> None:
    sent(client, data, path)


@on_one_database
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 5_000, b"9" * 5_000, b'[{"contact": "ada", "event": "visit", "properties": {"n": 1e999}}]',
        b'[{"contact": "ada", "event": "visit", "properties": {"n": ' + b"9" * 400 + b"}}]",
        b'[{"contact": "ada", "event": "visit", "properties": {"n": 9223372036854775808}}]',
        b'[{"contact": "ada", "event": "visit", "properties": {"n": {"n": [[[[1]]]]}}}]',
        b'[{"contact": "ada", "event": "visit", "properties": {"\\u0000": "\\u0000"}}]',
        b'[{"contact": "ada", "event": "visit", "properties": {"' + b"n" * 70_000 + b'": 1}}]',
        b'[{"contact": "ada", "event": "visit", "occurred_at": "2026-03-01T10:00:00+23:59:59.999999"}]',
        b'[{"contact": "ada", "event": "visit", "occurred_at": 1e308}, {"contact": "ada"}]',
        b'[{"contact": "ada", "event": "visit", "id": ' + b'"\\ud800"}]', b"[[]]", b"[null]", b"\xef\xbb\xbf[]",
        b'[{"contact": {"a": 1}, "event": ["x"]}]', json.dumps([{"contact": "a" * 5_000, "event": "visit"}]).encode(),
        b'[{"contact": "ada", "contact": "ben", "event": "visit", "event": "sent"}]',
    ],
    ids=range(17),
)  # fmt: skip
def test_events_that_others_fall_over_are_taken_or_refused(store: Store, client: Client, body: bytes) -> None:
    is_said(client("POST", "/events", content=body, headers=signature(body)))


@on_one_database
@pytest.mark.parametrize("value", [b'"\\ud800"', b"1e999", b"9" * 400, b'"a\\u0000b@rcpt.test"', b"{}", b"[1]"])
@pytest.mark.parametrize("field", ["contact", "address", "attributes"])
def test_contacts_that_others_fall_over_are_taken_or_refused(
    store: Store, client: Client, field: str, value: bytes
) -> None:
    one = {"contact": b'"ada"', "address": b'"ada@rcpt.test"', "attributes": b'{"plan": %s}' % value} | {field: value}
    body = b"[{" + b", ".join(b'"%s": %s' % (name.encode(), given) for name, given in one.items()) + b"}]"
    is_said(client("POST", "/contacts", content=body, headers=signature(body)))


names = st.sampled_from(
    ["webhook-id", "webhook-timestamp", "webhook-signature", "authorization", "content-type", "accept-language",
     "user-agent", "content-encoding", "x-forwarded-for", "cookie", "range", "if-none-match", "expect", "te"]
)  # fmt: skip
values = st.binary(max_size=60).map(lambda one: one.translate(None, b"\r\n\0")) | st.sampled_from(
    [b"", b"nan", b"inf", b"-1", b"1e400", b"9" * 400, b"\xd9\xa3", b"v1,", b"v1,=", b"v1," + b"A" * 9_000, b"v1 v1",
     b"v2,x v1,x", b"whsec_", b"Bearer ", b"Bearer jl_x", b"Basic " + b"=" * 99, b"Basic \xff", b"a" * 9_000,
     *(piece[:2_000].translate(None, b"\r\n\0") for piece in PIECES)]
)  # fmt: skip


@on_one_database
@given(st.dictionaries(names, values, max_size=4), st.sampled_from([*BODIES, "/health", "/u/x", "/c/x/0", "/nothing"]))
@example({"webhook-timestamp": b"1e400"}, "/events")
@example({"webhook-timestamp": b"nan"}, "/events")
@example({"webhook-timestamp": b"9" * 400}, "/events")
@example({"webhook-signature": "v1,é".encode()}, "/events")
@example({"authorization": "Bearer é".encode()}, "/events")
@few
def test_whatever_headers_say(store: Store, client: Client, headers: dict[str, bytes], path: str) -> None:
    signed = {name: value.encode() for name, value in signature(b"[]").items()}
    for method in ("POST", "GET"):
        is_said(client(method, path, content=b"[]" if method == "POST" else None, headers=signed | headers))


paths = st.text(st.characters(codec="utf-8", exclude_characters="?#"), max_size=60) | st.sampled_from(
    [
        "%00",
        "%ff",
        "%2e%2e",
        "//",
        "a" * 9_000,
        "%",
        "%zz",
        "\u202e",
        "c/" + "a" * 52 + "/999",
        "o/" + "A" * 52 + ".gif",
    ]
)


@on_one_database
@given(st.sampled_from(["/u/", "/p/", "/confirm/", "/c/", "/o/", "/"]), paths, st.binary(max_size=99))
@few
def test_whatever_links_and_forms_say(store: Store, client: Client, start: str, rest: str, form: bytes) -> None:
    for method in ("GET", "POST"):
        try:
            is_said(client(method, start + rest, content=form if method == "POST" else None))
        except (httpx.InvalidURL, UnicodeError):
            return


@on_one_database
@given(form=mutated([b"shown=marketing&shown=surveys&wanted=surveys", b"List-Unsubscribe=One-Click", b"by=page"]))
@few
def test_whatever_a_form_of_a_good_link_says(store: Store, client: Client, form: bytes) -> None:
    people(store, "ada")
    key = a_message(store) if not getattr(client, "key", None) else client.key  # type: ignore[attr-defined]
    client.key = key  # type: ignore[attr-defined]
    urls = Urls(KEYS, "")
    for path in (urls.preferences(key), urls.unsubscribe(key)):
        is_said(client("POST", path, content=form))


@on_one_database
@given(st.text(max_size=80) | mutated([f"bounce+{KEYS.token('bounce', bytes(16))}@b.example".encode()]).map(
    lambda one: one.decode("utf-8", "replace")))  # fmt: skip
@few
def test_whatever_recipient_a_bounce_came_to(store: Store, client: Client, recipient: str) -> None:
    try:
        answer = client("POST", "/bounces", content=MAIL, headers=signature(MAIL), params={"recipient": recipient})
    except UnicodeEncodeError:
        return
    is_said(answer)


# Relays


class Quiet(socket.socket):
    """One end of a pair, which has no options of TCP."""

    def setsockopt(self, *_: Any) -> None:
        pass


class FakeSockets:
    """The module `socket`, by which one is connected to whoever holds the other end."""

    def __init__(self, ours: socket.socket) -> None:
        self._ours = ours

    def create_connection(self, *_: Any) -> socket.socket:
        return Quiet(fileno=self._ours.detach())

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)


def said_in_words(problem: Exception) -> None:
    assert str(problem)


RELAY = Relay(name="main", host="127.0.0.1", tls="none", timeout="2s")
REPLIES = (
    b"220 mx.example ESMTP\r\n250-mx.example\r\n250-SIZE 1000\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n354 go\r\n"
    b"250 2.0.0 Ok: queued as 4F1\r\n",
    b"220 mx\r\n250-mx\r\n250 SIZE\r\n250 ok\r\n550 5.1.1 <ada@rcpt.test>: no such user\r\n221 bye\r\n",
    b"220-a\r\n220 b\r\n502 what\r\n250 mx\r\n421 4.3.2 shutting down\r\n",
)


@given(said=mutated(REPLIES))
@example(b"220 " + b"a" * 20_000)
@example(b"220-a\r\n" * 500)
@example("٢٢٠ a\r\n".encode())
@example(b"220 mx\r\n250-mx\r\n250 SIZE " + b"9" * 5_000 + b"\r\n250 ok\r\n250 ok\r\n354 go\r\n999 x\r\n")
@example(b"220 mx\r\n250-\xff\xfe\r\n250 AUTH=\x00\r\n250 ok\r\n250 ok\r\n354 go\r\n250 id=" + b"a" * 9_000 + b"\r\n")
@settings(max_examples=50)
def test_whatever_a_relay_says_is_an_outcome(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with theirs, pytest.MonkeyPatch.context() as patched:
        patched.setattr(transport, "socket", FakeSockets(ours))
        patched.setattr(Connection, "_is_over", lambda _: False)  # all of it has come already
        theirs.send(said)
        theirs.shutdown(socket.SHUT_WR)
        begun = time.monotonic()
        try:
            connection = Connection(
                Relay(name="main", host="127.0.0.1", tls="none", timeout="2s"), "shop.example", None
            )
        except Unreached as problem:
            said_in_words(problem)
        else:
            found = connection.offer("a@b.example", "ada@rcpt.test", b"Subject: x\r\n\r\nHi\r\n")
            found = found or connection.finish()
            assert isinstance(found, Outcome)
            assert len(found.text) <= 500
            assert found.kind != "accepted" or found.code in range(200, 300)
            connection.leave()
        assert time.monotonic() - begun < 20  # on a busy machine, too; each reply is waited for two seconds


def test_a_relay_that_says_what_it_should_is_understood() -> None:
    """Else nothing beyond the first reply would be looked at."""
    ours, theirs = socket.socketpair()
    with theirs, pytest.MonkeyPatch.context() as patched:
        patched.setattr(transport, "socket", FakeSockets(ours))
        patched.setattr(Connection, "_is_over", lambda _: False)
        theirs.send(REPLIES[0])
        connection = Connection(RELAY, "shop.example", None)
        assert connection.offer("a@b.example", "ada@rcpt.test", b"Subject: x\r\n\r\nHi\r\n") is None
        assert connection.finish().queue_id == "4F1"
        connection.close()


NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


@given(
    value=st.text(max_size=30) | st.sampled_from(["²", "9" * 5_000, "-1", "1e9", "Wed, 99 Oct 9999 99:99:99 GMT", "٣"])
)
def test_whatever_asks_us_to_come_back_later_is_bounded(value: str) -> None:
    from journeylab.connectors.http import _LONGEST_RETRY_AFTER, _retry_after

    found: Any = _retry_after(value, NOW)
    assert found is None or found <= _LONGEST_RETRY_AFTER
