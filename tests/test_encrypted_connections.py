"""Connections to others are encrypted by TLS 1.3 with the certificate verified, and go nowhere that nobody meant."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer

from journeylab.connectors import http
from journeylab.connectors.http import Reply
from journeylab.errors import DataError
from journeylab.sender.sending.webhooks import Request, post_all
from journeylab.sender.store import Store
from outside import SECRET, settings
from servers.certificates import Authority
from servers.postgres import Postgres
from stores import START


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTSIDE_SECRET", SECRET)


def posted(url: str, **more: Any) -> Reply:
    there = settings(crm={"url": url, "secret": "env:OUTSIDE_SECRET", **more})
    (reply,) = post_all([Request(there.crm, "crm", "m1", {"type": "test"}, START)], there)
    return reply


# Webhooks: encryption


@contextmanager
def https(
    authority: Authority, newest: ssl.TLSVersion | None = None, name: str = "localhost"
) -> Iterator[HTTPServer]:  # fmt: skip
    with HTTPServer(host="localhost", ssl_context=of_server(authority, name, newest)) as server:
        server.expect_request("/hook").respond_with_data("", 200)
        yield server


def test_a_webhook_goes_by_tls_1_3_to_whom_one_trusts(authority: Authority) -> None:
    with https(authority) as server:
        assert posted(server.url_for("/hook"), ca=str(authority.file)).is_taken
        assert server.log[0][0].headers["Host"] == f"localhost:{server.port}"
        refused = posted(server.url_for("/hook"))
        assert refused.text == "its certificate cannot be trusted, or its TLS is too old"
        assert "cannot be read" in posted(server.url_for("/hook"), ca="/nowhere.pem").text


def test_older_tls_is_for_those_who_say_so(authority: Authority) -> None:
    with https(authority, ssl.TLSVersion.TLSv1_2) as server:
        assert posted(server.url_for("/hook"), ca=str(authority.file)).status is None
        assert posted(server.url_for("/hook"), ca=str(authority.file), tls_minimum="1.2").is_taken


# Webhooks: where they lead


def resolving(*answers: str) -> Callable[..., list[Any]]:
    """A resolver that gives another address each time that it is asked, the last one from then on."""
    left = list(answers)

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        address = left.pop(0) if len(left) > 1 else left[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    return getaddrinfo


INSIDE = [
    "127.0.0.1", "10.0.0.7", "172.16.3.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
    "255.255.255.255", "::1", "::", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "ff02::1",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_a_name_that_leads_inside_is_not_called(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http.socket, "getaddrinfo", resolving(address))
    assert "crm.example leads into a private network" in posted("https://crm.example/hook").text


@given(st.integers(0, 2**32 - 1))
def test_an_address_inside_of_another_is_as_public_as_itself(number: int) -> None:
    plain = socket.inet_ntoa(number.to_bytes(4, "big"))
    for wrapped in (f"::ffff:{plain}", f"64:ff9b::{plain}"):
        assert http._public(wrapped) == http._public(plain)


def test_a_name_that_answers_otherwise_the_next_time_leads_nowhere_else(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    httpserver.expect_request("/hook").respond_with_data("", 200)
    connected: list[str] = []

    def connect(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        connected.append(address[0])
        raise OSError

    monkeypatch.setattr(http.socket, "getaddrinfo", resolving("93.184.215.14", "127.0.0.1"))
    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)
    assert posted(f"https://crm.example:{httpserver.port}/hook").text == "it cannot be reached"
    assert connected == ["93.184.215.14"]
    assert httpserver.log == []


def test_what_stands_inside_is_called_by_who_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http.socket, "getaddrinfo", resolving("127.0.0.1"))
    assert posted("https://crm.internal:1/hook", internal=True).text == "it cannot be reached"


def test_without_the_guard_a_name_would_lead_inside(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    with https(authority, name="crm.example") as server:
        monkeypatch.setattr(http.socket, "getaddrinfo", resolving("127.0.0.1"))
        there = f"https://crm.example:{server.port}/hook"
        assert not posted(there, ca=str(authority.file)).is_taken
        assert server.log == []
        monkeypatch.setattr(http, "_public", lambda _: True)
        assert posted(there, ca=str(authority.file)).is_taken


# PostgreSQL


class Terminator:
    """Speaks TLS before a PostgreSQL that has none, as its own server or a pooler does."""

    def __init__(self, behind: Path, context: ssl.SSLContext | None) -> None:
        self._behind, self._context, self.n_encrypted = behind, context, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            client.recv(8)  # SSLRequest
            client.sendall(b"N" if self._context is None else b"S")
            if self._context is None:
                return
            with (
                self._context.wrap_socket(client, server_side=True) as secure,
                socket.socket(socket.AF_UNIX) as server,
            ):
                self.n_encrypted += 1
                server.connect(str(self._behind))
                Thread(target=_copy, args=(server, secure), daemon=True).start()
                _copy(secure, server)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def database(postgres_server: Postgres, postgresql: str) -> Iterator[Callable[..., tuple[Terminator, str]]]:
    """Puts a terminator before the server; the URL of the database by it, under the name db.example."""
    name = postgresql.partition("?")[0].rpartition("/")[2]
    opened: list[Terminator] = []

    def before(context: ssl.SSLContext | None, host: str = "db.example") -> tuple[Terminator, str]:
        one = Terminator(postgres_server.folder / "data" / ".s.PGSQL.5432", context)
        opened.append(one)
        return one, f"postgresql://postgres@{host}:{one.port}/{name}?hostaddr=127.0.0.1&connect_timeout=10"

    yield before
    for one in opened:
        one.close()


def of_server(authority: Authority, name: str, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate(name))
    if newest is not None:
        context.maximum_version = newest
    return context


def test_a_database_elsewhere_is_reached_by_verified_tls_1_3(database: Any, authority: Authority) -> None:
    there, url = database(of_server(authority, "db.example"))
    Store.open(f"{url}&sslrootcert={authority.file}", create=True).close()
    assert there.n_encrypted > 0


@pytest.mark.parametrize("what", ["clear", "1.2", "another name", "another authority"])
def test_a_database_that_is_not_encrypted_as_it_should_is_refused(
    what: str, database: Any, authority: Authority, tmp_path: Path
) -> None:  # fmt: skip
    contexts = {
        "clear": None,
        "1.2": of_server(authority, "db.example", ssl.TLSVersion.TLSv1_2),
        "another name": of_server(authority, "other.example"),
        "another authority": of_server(Authority(tmp_path), "db.example"),
    }
    _, url = database(contexts[what])
    with pytest.raises(DataError, match="cannot be reached"):
        Store.open(f"{url}&sslrootcert={authority.file}", create=True)


def test_who_lowers_it_says_so_in_the_url(database: Any, authority: Authority) -> None:
    _, url = database(of_server(authority, "db.example", ssl.TLSVersion.TLSv1_2))
    Store.open(f"{url}&sslrootcert={authority.file}&ssl_min_protocol_version=TLSv1.2", create=True).close()
