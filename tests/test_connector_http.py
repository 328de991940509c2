"""One call outside: it goes where it is meant to and nowhere else, and whatever comes back is a reply."""

from __future__ import annotations

import gzip
import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from journeylab.connectors.credentials import with_token
from journeylab.connectors.http import Call, Reply, Server, _NotCalled, _target, beside, exchange
from stores import START


@pytest.fixture
def echo(httpserver: HTTPServer) -> HTTPServer:
    def reply(request: Request) -> Response:
        said = {"path": request.path, "query": request.query_string.decode(), "body": request.data.decode()}
        return Response(json.dumps(said | {"method": request.method}), content_type="application/json; charset=utf-8")

    httpserver.expect_request(re.compile(".*")).respond_with_handler(reply)
    return httpserver


@pytest.mark.parametrize(
    ("base", "path", "query", "wanted"),
    [
        ("/", "/api/x", None, ("/api/x", "")),
        ("/gate/", "api/x", None, ("/gate/api/x", "")),
        ("/gate", "//evil.example/x", None, ("/gate/evil.example/x", "")),
        ("/hook", "", None, ("/hook", "")),
        ("", "", None, ("/", "")),
        ("/", "/x?after=2", {"limit": 5}, ("/x", "after=2&limit=5")),
        ("/", "/x", {"q": "a=b^ORDERBYc & d", "f": ["1", "2"]}, ("/x", "q=a%3Db%5EORDERBYc+%26+d&f=1&f=2")),
    ],
)
def test_a_path_comes_after_the_servers(
    echo: HTTPServer, base: str, path: str, query: Any, wanted: tuple[str, str]
) -> None:
    reply = exchange(Server(echo.url_for("/").rstrip("/") + base), Call("GET", path, query=query), START)
    assert (reply.status, reply.said["path"], reply.said["query"]) == (200, *wanted)


def test_a_link_to_the_same_server_is_followed_and_no_other(echo: HTTPServer) -> None:
    here = Server(echo.url_for("/base"))
    link = echo.url_for("/next") + "?cursor=x"
    assert exchange(here, Call("GET", link), START).said["path"] == "/next"
    n_calls = len(echo.log)
    port = echo.port
    for elsewhere in (
        f"http://evil.example:{port}/x",
        f"https://localhost:{port}/x",
        f"http://localhost:{port + 1}/x",
        f"http://localhost@evil.example:{port}/x",
        f"http://user@localhost:{port}/x",
        f"http://localhost:{port}@evil.example/x",
        "http://[::1/x",
        "ftp://localhost/x",
        "file:///etc/passwd",
    ):
        reply = exchange(here, Call("GET", elsewhere), START)
        assert (reply.status, reply.is_hopeless) == (None, True), elsewhere
        assert reply.text == "a link leads to another server, which is not followed"
    assert len(echo.log) == n_calls


@given(some.text(max_size=60), some.dictionaries(some.text(max_size=5), some.text(max_size=10), max_size=3))
def test_no_path_leaves_the_server_or_breaks_the_request(path: str, query: dict[str, str]) -> None:
    server = Server("https://crm.example:8443/base")
    try:
        target = _target(server, Call("GET", path, query=query))
    except _NotCalled:
        return
    assert target.startswith("/")
    assert target.isascii()
    assert target.isprintable()
    assert " " not in target
    if query and "?" not in path:
        assert dict(parse_qsl(target.partition("?")[2], keep_blank_values=True)) == query


@pytest.mark.parametrize("headers", [{"x": "a\r\nhost: evil"}, {"x y": "a"}, {"x": "é"}, {"x\n": "a"}])
def test_a_header_that_cannot_be_sent_is_named_without_its_value(echo: HTTPServer, headers: dict[str, str]) -> None:
    reply = exchange(Server(echo.url_for("/")), Call("GET", "/", headers), START)
    assert reply.is_hopeless
    assert "has characters that no header has" in reply.text
    assert "evil" not in reply.text
    assert echo.log == []


def test_json_goes_out_as_it_is_and_comes_back(echo: HTTPServer) -> None:
    reply = exchange(Server(echo.url_for("/")), Call.of_json("PUT", "/x", {"b": 1, "a": "ł"}), START)
    assert reply.said["body"] == '{"a":"ł","b":1}'
    assert echo.log[0][0].headers["Content-Type"] == "application/json"
    with pytest.raises(ValueError, match="JSON"):
        Call.of_json("PUT", "/x", float("nan"))


def test_what_is_said_in_a_failure_is_read_too(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/").respond_with_json({"code": "INVALID"}, 400, {"X-Limit": "5"})
    reply = exchange(Server(httpserver.url_for("/")), Call("GET"), START)
    assert (reply.status, reply.said, reply.headers["x-limit"]) == (400, {"code": "INVALID"}, "5")
    assert "INVALID" not in reply.text


@pytest.mark.parametrize(
    ("body", "content_type", "said", "fault"),
    [
        (b"[1, 2]", "application/problem+json", [1, 2], None),
        (b"<p>", "text/html", None, None),
        (b"", "application/json", None, None),
        (b"{", "application/json", None, "no JSON that can be read"),
        (b'{"a": NaN}', "application/json", None, "NaN is no JSON"),
        (b'"' + b"x" * 70_000 + b'"', "application/json", None, "more than 65,536 bytes"),
    ],
)
def test_what_cannot_be_read_is_a_fault_of_what_was_taken(
    httpserver: HTTPServer, body: bytes, content_type: str, said: Any, fault: str | None
) -> None:
    httpserver.expect_request("/").respond_with_data(body, 200, content_type=content_type)
    reply = exchange(Server(httpserver.url_for("/")), Call("GET"), START)
    assert reply.is_taken
    assert reply.said == said
    assert (reply.fault is None) if fault is None else (fault in str(reply.fault))


def test_what_is_compressed_is_not_unpacked(httpserver: HTTPServer) -> None:
    small = gzip.compress(b'"' + b"x" * 10_000_000 + b'"')
    headers = {"Content-Encoding": "gzip"}
    httpserver.expect_request("/").respond_with_data(small, 200, headers, content_type="application/json")
    reply = exchange(Server(httpserver.url_for("/")), Call("GET"), START)
    assert reply.said is None
    assert reply.fault


@pytest.mark.parametrize(
    ("says", "status"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{", None),
        (b"HTTP/1.1 503 No\r\nretry-after: 7\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{", 503),
        (b"nonsense\r\n\r\n", None),
        (b"", None),
    ],
)
def test_half_a_reply_is_none_but_its_status_where_it_failed(says: bytes, status: int | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            there, _ = server.accept()
            there.recv(1000)
            there.sendall(says)
            there.close()

        thread = Thread(target=serve)
        thread.start()
        reply = exchange(Server(f"http://127.0.0.1:{server.getsockname()[1]}"), Call("GET"), START)
        thread.join()
    assert (reply.status, reply.is_taken) == (status, False)
    assert (reply.retry_after is not None) is (status == 503)


def test_many_are_done_beside_each_other_in_their_order() -> None:
    assert beside(lambda n: n * n, range(100)) == [n * n for n in range(100)]
    assert beside(lambda n: n, []) == []


def test_of_calls_whose_token_is_refused_at_once_one_asks_for_another() -> None:
    tokens, all_of_them = ["first"], Barrier(8)

    def ask() -> Reply:
        return Reply(200, "200", said={"access_token": tokens[-1]})

    def reach(call: Call) -> Reply:
        if call.headers["authorization"] == f"Bearer {tokens[-1]}":
            return Reply(200, "200")
        all_of_them.wait(10)  # until each has been refused
        return Reply(401, "401")

    n_asked: list[None] = []
    call = with_token(reach, lambda: (n_asked.append(None), ask())[1])
    assert call(Call("GET", "/")).status == 200
    tokens.append("second")
    with ThreadPoolExecutor(8) as threads:
        replies = [*threads.map(call, [Call("GET", "/")] * 8)]
    assert [one.status for one in replies] == [200] * 8
    assert len(n_asked) == 2
