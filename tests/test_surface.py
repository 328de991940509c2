"""What the sender shows to the network: the headers of every answer of every route, limits, and those who stall."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.routing import Route

from journeylab.sender.mail.links import Links, Urls
from journeylab.sender.permissions import ROUTES
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sender.web import site as sites
from journeylab.sender.web.headers import SecurityHeaders
from journeylab.sender.web.limits import Buckets
from journeylab.sender.web.serving import MOST_AT_ONCE, impatient, serve, served
from stores import KEYS, people, rows_of
from test_web import LINKS, a_message
from webclient import Client, settings_for

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
SECRET = "a-secret-that-is-long-enough"
SHOWN = {"authorization": f"Bearer {SECRET}"}
HEADERS = {
    "content-security-policy": lambda value: (
        value.startswith("default-src 'none'; ") and "frame-ancestors 'none'" in value and "base-uri 'none'" in value
        and "unsafe" not in value and "script-src" not in value and "*" not in value
    ),
    "x-content-type-options": lambda value: value == "nosniff",
    "x-frame-options": lambda value: value == "DENY",
    "referrer-policy": lambda value: value == "no-referrer",
    "cache-control": lambda value: value == "no-store",
    "strict-transport-security": lambda value: value.startswith("max-age=31536000"),
    "permissions-policy": lambda value: "camera=()" in value and "geolocation=()" in value and "=*" not in value,
    "cross-origin-opener-policy": lambda value: value == "same-origin",
    "cross-origin-resource-policy": lambda value: value in ("same-origin", "cross-origin"),
    "x-robots-tag": lambda value: "noindex" in value,
}  # fmt: skip
NEVER = ("server", "x-powered-by", "set-cookie", "access-control-allow-origin")


def app_of(store: Store, folder: Path, **settings: Any) -> Any:
    (folder / "dashboard.secret").write_text(SECRET)
    given = {"dashboard": "file:dashboard.secret"} | settings
    return served(store, settings_for(folder, **given))


def inner(app: Any) -> Starlette:
    found: Starlette = app.app
    return found


def routes_of(app: Any) -> list[Route]:
    return [one for one in inner(app).router.routes if isinstance(one, Route)]


def faults(answer: httpx.Response) -> list[str]:
    """What of an answer's headers is not as it should be."""
    found = [name for name, holds in HEADERS.items() if not holds(answer.headers.get(name, ""))]
    return found + [name for name in NEVER if name in answer.headers]


def walked(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int, httpx.Response]]:
    """An answer of each kind from each route: what was asked, the status that was meant, and the answer."""
    people(store, "ada")
    key = a_message(store)
    urls, links = Urls(KEYS, ""), Links({"hello_mail": LINKS})
    asked = KEYS.token("confirm", bytes(16))
    paths = {
        "/u/{rest:path}": urls.unsubscribe(key), "/p/{rest:path}": urls.preferences(key),
        "/c/{rest:path}": urls.tracked(key, links, "hello_mail", "offer"), "/o/{rest:path}": urls.picture(key),
        "/confirm/{rest:path}": f"/confirm/{asked}",
    }  # fmt: skip
    app = app_of(store, folder)
    client = Client(app)
    for route in routes_of(app):
        path = paths.get(route.path, route.path)
        methods = sorted((route.methods or set()) - {"HEAD"})
        for method in methods:
            name = f"{method} {route.path}"
            if "the webhook's signature" in str(ROUTES_BY_PATH[route.path]):
                yield f"{name} signed", 200, client.signed(route.path, MAIL if route.path[-1:] == "s" else [])
                yield f"{name} unsigned", 401, client(method, path, content=b"[]")
                yield f"{name} too long", 413, client(method, path, content=b"x" * (1024 * 1024 + 1))
            else:
                yield name, 200, client(method, path, headers=SHOWN)
        yield f"PATCH {route.path}", 405, client("PATCH", path)
        if "{rest" in route.path:
            yield f"GET {route.path} of nothing", 200, client("GET", route.path.replace("{rest:path}", "x"))
    for secret in ("/dashboard", "/metrics"):
        yield f"{secret} without", 401, client("GET", secret)
        for n in range(40):
            last = client("GET", secret, headers={"authorization": f"Bearer {n}"})
        yield f"{secret} guessed", 429, last
    for path in ("/", "/nothing", "/events/", "/dashboard/", "//evil.example", "/%2e%2e/x", "/health/"):
        yield f"GET {path}", 404, client("GET", path)

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a fault of the program")

    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("select 1", {}, Exception("gone"))

    for status, reading in ((503, away), (500, broken)):
        monkeypatch.setattr(Store, "reading", reading)
        monkeypatch.setattr(Store, "writing", reading)
        fresh = Client(app_of(store, folder), ip=f"203.0.{status - 400}.1")
        for path in (paths["/u/{rest:path}"], paths["/p/{rest:path}"], "/health", paths["/c/{rest:path}"]):
            yield f"GET {path} {status}", status, fresh("GET", path)
        yield f"POST /contacts {status}", status, fresh.signed("/contacts", [{"contact": "ada"}])


MAIL = b"Subject: none\n\nHello"
ROUTES_BY_PATH = {name.split()[-1]: gate for name, gate in ROUTES.items()}


def test_every_answer_of_every_route_has_the_headers(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    for what, status, answer in walked(store, tmp_path, monkeypatch):
        assert faults(answer) == [], what
        assert answer.status_code == status or (status == 200 and answer.status_code in (202, 302, 400, 404)), what
        if status >= 400:
            assert answer.text, what
        assert "Traceback" not in answer.text
        seen.add(answer.status_code)
    assert {200, 302, 401, 404, 405, 413, 429, 500, 503} <= seen


def test_every_route_of_the_table_is_walked(store: Store, tmp_path: Path) -> None:
    assert {one.path for one in routes_of(app_of(store, tmp_path))} == {*ROUTES_BY_PATH}


def test_with_the_guard_off_no_answer_has_them(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def passed_on(self: SecurityHeaders, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    monkeypatch.setattr(SecurityHeaders, "__call__", passed_on)
    client = Client(app_of(store, tmp_path))
    for path in ("/nothing", "/health", "/u/x"):
        assert "content-security-policy" in faults(client("GET", path))


def test_only_the_picture_may_be_shown_by_others(store: Store, tmp_path: Path) -> None:
    """A mail is read on the page of a mailbox, on another site."""
    client = Client(app_of(store, tmp_path))
    policy = {
        path: client("GET", path).headers["cross-origin-resource-policy"] for path in ("/o/x.gif", "/u/x", "/c/x")
    }
    assert policy == {"/o/x.gif": "cross-origin", "/u/x": "same-origin", "/c/x": "same-origin"}


def test_no_answer_is_made_of_what_the_request_calls_its_host(store: Store, tmp_path: Path) -> None:
    app = app_of(store, tmp_path)
    for path in ("/dashboard/", "/health/", "/u/x", "/"):
        answer = Client(app)("GET", path, headers={"host": "evil.example", "x-forwarded-host": "evil.example"})
        assert "evil" not in f"{answer.headers}{answer.text}"
    inner(app).router.redirect_slashes = True  # the guard off
    answer = Client(app)("GET", "/health/", headers={"host": "evil.example"})
    assert answer.headers["location"].startswith("https://evil.example")


# Limits


@pytest.mark.parametrize("path", ["/u/x", "/p/x", "/confirm/x", "/c/x", "/health"])
def test_who_looks_in_masses_is_left_waiting_and_costs_the_database_nothing(
    store: Store, tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_reads = 0
    reading = Store.reading

    def counted(self: Store) -> Any:
        nonlocal n_reads
        n_reads += 1
        return reading(self)

    monkeypatch.setattr(Store, "reading", counted)
    monkeypatch.setattr(Buckets, "take", _small(Buckets.take))
    client = Client(app_of(store, tmp_path))
    statuses = [client("GET", path).status_code for _ in range(12)]
    assert statuses[-1] == 429
    before = n_reads
    answer = client("GET", path)
    assert (answer.status_code, n_reads) == (429, before)
    assert answer.headers["retry-after"]
    assert Client(client.app, ip="203.0.113.9")("GET", path).status_code != 429


def _small(take: Callable[[Buckets, Any], bool]) -> Callable[[Buckets, Any], bool]:
    """Buckets in which there are ten, so that a test need not ask three hundred times."""

    def taken(self: Buckets, key: Any) -> bool:
        self.size, self.per_second = min(self.size, 10), 0.0
        return take(self, key)

    return taken


def test_a_link_is_not_refused_because_of_its_neighbours(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(store, "ada")
    link = Urls(KEYS, "").unsubscribe(a_message(store))
    monkeypatch.setattr(Buckets, "take", _small(Buckets.take))
    client = Client(app_of(store, tmp_path))
    assert [client("GET", "/u/x").status_code for _ in range(12)][-1] == 429
    assert client("GET", link).status_code == 200
    assert client("POST", link, data={"List-Unsubscribe": "One-Click"}).status_code == 200


# Those who stall


@contextmanager
def listening(app: Any, **config: Any) -> Iterator[int]:
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, access_log=False, log_level="error", **config)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


def held(port: int, *parts: bytes, seconds: float = 2.5) -> bytes | None:
    """What a server says to somebody who says something bit by bit; None where it still waits."""
    with socket.create_connection(("127.0.0.1", port)) as one:
        for part in parts:
            one.sendall(part)
            time.sleep(0.05)
        one.settimeout(seconds)
        try:
            return one.recv(4096)
        except TimeoutError:
            return None


@pytest.mark.parametrize(
    "parts",
    [(), (b"GET /health HT",), (b"GET /health HTTP/1.1\r\n", b"Host: a\r\n", b"X-A: b"),
     (b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /heal")],
    ids=("nothing", "a line", "headers", "a second request"),
)  # fmt: skip
def test_who_stalls_is_hung_up_on(store: Store, tmp_path: Path, parts: tuple[bytes, ...]) -> None:
    app = app_of(store, tmp_path)
    with listening(app, http=impatient(0.6), ws="none", timeout_keep_alive=60) as port:
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", port)) as one:
            one.settimeout(8)
            for part in parts:
                one.sendall(part)
                time.sleep(0.05)
            while one.recv(4096):
                pass
        assert time.monotonic() - begun < 5


def test_with_the_guard_off_a_connection_is_held_for_ever(store: Store, tmp_path: Path) -> None:
    with listening(app_of(store, tmp_path), http="h11", timeout_keep_alive=1) as port:
        assert held(port, b"GET /health HTTP/1.1\r\n", b"Host: a\r\n") is None


def test_who_is_slow_with_a_body_but_speaks_is_heard_to_the_end_and_no_longer_than_that(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sites, "PATIENCE", 0.8)
    head = b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
    with listening(app_of(store, tmp_path), http=impatient(0.4)) as port:
        assert (held(port, head, *[b"x"] * 9) or b"").startswith(b"HTTP/1.1 401")
        late = held(port, head, b"x")
        assert late is not None
        assert late.startswith(b"HTTP/1.1 408")


def test_requests_that_are_none_are_answered_without_a_fault(store: Store, tmp_path: Path) -> None:
    asked = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 100_000,
        b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nX: " + b"b" * 200_000 + b"\r\n\r\n",
    ]  # fmt: skip
    with listening(app_of(store, tmp_path), http=impatient(1.0), ws="none") as port:
        for raw in asked:
            with socket.create_connection(("127.0.0.1", port)) as one:
                one.settimeout(5)
                try:
                    one.sendall(raw)
                    said = one.recv(4096)
                except (ConnectionResetError, BrokenPipeError):
                    said = b""
            assert said[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 401"), said
        assert httpx.get(f"http://127.0.0.1:{port}/health").json()["is_well"]


def test_who_serves_with_other_settings_is_noted(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(uvicorn, "run", lambda _, **config: given.update(config))
    for more in ({}, {}, {"tracking": {"opens": False}}):
        serve(store, settings_for(tmp_path, **more), host="127.0.0.1", port=1)
    noted = [(one.actor.partition("@")[0], one.action) for one in rows_of(store, t.audit)]
    first = ["settings_changed", "access_changed", "policy_changed", "key_changed"]
    assert noted == [("serve", one) for one in (*first, "settings_changed")]
    assert rows_of(store, t.audit)[-1].details["changed"] == ["tracking"]
    assert (given["limit_concurrency"], given["ws"], given["server_header"]) == (MOST_AT_ONCE, "none", False)
    assert given["http"].__name__ == "Impatient"
