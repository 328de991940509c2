"""The outbox: told at least once under one id, whatever the other side does, and nothing is lost in silence."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from standardwebhooks import Webhook
from werkzeug import Request, Response

from journeylab.connectors import http
from journeylab.connectors.http import wait_after
from journeylab.sender.sending import outbox
from journeylab.sender.sending.notices import tell
from journeylab.sender.sending.outbox import MOST_ATTEMPTS, Delivered, dead_letters, deliver, try_again
from journeylab.sender.sending.recipients import Recipients
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from outside import SECRET, at, settings, told
from stores import START, rows_of

PATH = "/hook"


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTSIDE_SECRET", SECRET)


@pytest.fixture
def crm(httpserver: HTTPServer) -> Settings:
    return settings(crm=at(httpserver, PATH))


def tells(store: Store, *ids: str, target: str = "crm", **data: Any) -> None:
    with store.writing() as connection:
        now = store.now(connection)
        for one in ids:
            tell(connection, target, one, "consent.withdrawn", {"contact": "ada"} | data, now)


def delivered(store: Store, to: Settings) -> Delivered:
    with store.reading() as connection:
        now = store.now(connection)
    return deliver(store, to, now)


def later(store: Store, **by: float) -> None:
    store.clock.move(**by)  # type: ignore[attr-defined]


def replies(server: HTTPServer, *statuses: int, **headers: str) -> None:
    """A server that replies these one after the other, and 204 from then on."""
    left = [*statuses]

    def reply(request: Request) -> Response:
        if not left:
            return Response(status=204)
        return Response(status=left.pop(0), headers={name.replace("_", "-"): value for name, value in headers.items()})

    server.expect_request(PATH, method="POST").respond_with_handler(reply)


def causes(store: Store) -> list[str]:
    return [one.cause for one in rows_of(store, t.alerts) if one.resolved_at is None]


def test_what_is_told_is_signed_and_told_once(store: Store, httpserver: HTTPServer, crm: Settings) -> None:
    store.clock.at = datetime.now(UTC)  # type: ignore[attr-defined]  # the library that verifies looks at the clock
    replies(httpserver)
    tells(store, "m1", name="Zoë")
    assert delivered(store, crm) == (1, 0, 0)
    assert delivered(store, crm) == (0, 0, 0)
    ((request, _),) = httpserver.log
    body = Webhook(SECRET).verify(request.data, dict(request.headers))
    assert body["type"] == "consent.withdrawn"
    assert body["data"] == {"contact": "ada", "name": "Zoë"}
    assert request.headers["webhook-id"] == "m1"
    (row,) = rows_of(store, t.outbox)
    assert (row.reply, row.attempts, row.lease_until) == ("204", 1, None)
    assert row.delivered_at is not None


def test_failures_are_repeated_under_the_same_id_until_it_is_taken(
    store: Store, httpserver: HTTPServer, crm: Settings
) -> None:
    replies(httpserver, 500, 503, 404, 302, 429)
    tells(store, "m1")
    for _ in range(5):
        assert delivered(store, crm) == (0, 1, 0)
        assert delivered(store, crm) == (0, 0, 0)  # not before its time
        later(store, hours=13)
    assert causes(store) == ["outbox/crm"]
    assert delivered(store, crm) == (1, 0, 0)
    assert {headers["webhook-id"] for headers, _ in told(httpserver)} == {"m1"}
    assert len({str(body) for _, body in told(httpserver)}) == 1
    assert len({headers["webhook-timestamp"] for headers, _ in told(httpserver)}) == 6
    assert causes(store) == []


def test_nobody_is_led_elsewhere(store: Store, httpserver: HTTPServer, crm: Settings) -> None:
    elsewhere = httpserver.url_for("/elsewhere")
    httpserver.expect_request(PATH).respond_with_data("", 307, {"Location": elsewhere})
    httpserver.expect_request("/elsewhere").respond_with_data("", 200)
    tells(store, "m1")
    assert delivered(store, crm) == (0, 1, 0)
    assert told(httpserver, "/elsewhere") == []
    assert rows_of(store, t.outbox)[0].reply.startswith("307: it points elsewhere")


@pytest.mark.parametrize("is_date", [False, True])
def test_a_target_that_asks_for_quiet_gets_it(
    store: Store, httpserver: HTTPServer, crm: Settings, *, is_date: bool
) -> None:
    after = format_datetime(START + timedelta(hours=2), usegmt=True) if is_date else "7200"
    replies(httpserver, 429, 500, Retry_After=after)
    tells(store, *(f"m{n}" for n in range(20)))
    assert delivered(store, crm).n_retried >= 2
    n_calls = len(httpserver.log)
    assert n_calls <= http.AT_ONCE
    later(store, hours=1, minutes=59)
    assert delivered(store, crm) == (0, 0, 0)
    assert len(httpserver.log) == n_calls
    later(store, minutes=2)
    assert delivered(store, crm).n_delivered >= 4


def test_a_retry_after_counts_for_at_most_a_day(store: Store, httpserver: HTTPServer, crm: Settings) -> None:
    replies(httpserver, 503, 503, Retry_After="999999999")
    tells(store, "m1")
    delivered(store, crm)
    later(store, hours=24, seconds=1)
    assert delivered(store, crm) == (0, 1, 0)


def test_a_target_that_is_gone_is_told_nothing_until_somebody_says_so(
    store: Store, httpserver: HTTPServer, crm: Settings
) -> None:
    replies(httpserver, 410)
    tells(store, "m1")
    assert delivered(store, crm) == (0, 1, 0)
    tells(store, "m2")
    later(store, days=30)
    assert delivered(store, crm) == (0, 0, 0)
    assert len(httpserver.log) == 1
    assert causes(store) == ["outbox/crm/gone"]
    with store.writing() as connection:
        assert try_again(connection, "crm", "ada", store.now(connection)) == 0
    assert delivered(store, crm) == (2, 0, 0)
    assert causes(store) == []
    assert [(one.actor, one.action, one.object) for one in rows_of(store, t.audit)] == [("ada", "retry", "outbox/crm")]


def test_after_days_it_is_a_dead_letter_with_its_reason_which_can_be_tried_again(
    store: Store, httpserver: HTTPServer, crm: Settings
) -> None:
    replies(httpserver, *[500] * MOST_ATTEMPTS)
    tells(store, "m1")
    for n in range(MOST_ATTEMPTS):
        assert delivered(store, crm) == (0, int(n < MOST_ATTEMPTS - 1), int(n == MOST_ATTEMPTS - 1))
        later(store, hours=12)
    assert delivered(store, crm) == (0, 0, 0)
    with store.writing() as connection:
        (dead,) = dead_letters(connection, "crm")
        assert (dead.webhook_id, dead.reply, dead.attempts) == ("m1", "500", MOST_ATTEMPTS)
        assert "outbox/crm/dead" in causes(store)
        assert try_again(connection, "crm", "ada", store.now(connection), webhook_id="m1") == 1
    assert delivered(store, crm) == (1, 0, 0)
    with store.reading() as connection:
        assert dead_letters(connection, "crm") == []
    assert causes(store) == []


def test_it_is_tried_for_days(store: Store) -> None:
    for key in ("a", "b", "c"):
        waits = [wait_after(n, key) for n in range(1, MOST_ATTEMPTS)]
        assert timedelta(days=2) < sum(waits, timedelta()) < timedelta(days=5)
        assert waits[0] < timedelta(seconds=5)
    assert len({wait_after(5, str(n)) for n in range(100)}) == 100


def test_a_server_that_is_not_there_is_a_failure_in_words(store: Store, crm: Settings) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tells(store, "m1")
    gone = settings(crm={"url": f"http://127.0.0.1:{port}/hook", "secret": "env:OUTSIDE_SECRET"})
    assert delivered(store, gone) == (0, 1, 0)
    assert rows_of(store, t.outbox)[0].reply == "it cannot be reached"


@pytest.fixture
def silent() -> Iterator[tuple[int, list[bytes]]]:
    """A server that accepts, reads, and says what is in the list, and then nothing."""
    says: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            kept = []
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    break
                for one in says:
                    kept[-1].sendall(one)
            for one in kept:
                one.close()

        thread = Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], says
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize(
    "says",
    [[], [b"HTTP/1.1 200"], [b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"]],
)
def test_a_server_that_says_nothing_or_half_is_not_waited_for(
    store: Store, silent: tuple[int, list[bytes]], says: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_READ_SECONDS", 0.3)
    http._pool.cache_clear()
    port, list_ = silent
    list_.extend(says)
    slow = settings(crm={"url": f"http://127.0.0.1:{port}/hook", "secret": "env:OUTSIDE_SECRET"})
    tells(store, *(f"m{n}" for n in range(40)))
    assert delivered(store, slow) == (0, http.AT_ONCE, 0)
    http._pool.cache_clear()
    assert rows_of(store, t.outbox)[0].reply.startswith("no reply within")


def test_one_target_that_fails_holds_up_no_other(store: Store, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/crm").respond_with_data("", 500)
    httpserver.expect_request("/alerts").respond_with_data("", 200)
    both = settings(crm=at(httpserver, "/crm"), alerts={"url": httpserver.url_for("/alerts")})
    tells(store, *(f"m{n}" for n in range(40)))
    tells(store, *(f"a{n}" for n in range(20)), target="alerts")
    got = delivered(store, both)
    assert got.n_delivered == 20
    assert got.n_retried == 16
    assert "webhook-signature" not in told(httpserver, "/alerts")[0][0]  # its settings have no secret


def test_workers_at_once_tell_everything_once(store: Store, httpserver: HTTPServer, crm: Settings) -> None:
    replies(httpserver)
    tells(store, *(f"m{n}" for n in range(100)))
    with ThreadPoolExecutor(4) as threads:
        got = [*threads.map(lambda _: delivered(store, crm), range(4))]
    assert sum(one.n_delivered for one in got) == 100
    assert sorted(headers["webhook-id"] for headers, _ in told(httpserver)) == sorted(f"m{n}" for n in range(100))


def test_what_a_worker_took_with_it_is_told_by_the_next(
    store: Store, httpserver: HTTPServer, crm: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies(httpserver)
    tells(store, "m1")

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "_settled", crash)
        with pytest.raises(KeyboardInterrupt):
            delivered(store, crm)
    assert delivered(store, crm) == (0, 0, 0)  # its lease lasts
    later(store, minutes=4)
    assert delivered(store, crm) == (1, 0, 0)
    assert [headers["webhook-id"] for headers, _ in told(httpserver)] == ["m1", "m1"]


def test_a_worker_that_comes_back_late_undoes_nothing(
    store: Store, httpserver: HTTPServer, crm: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies(httpserver, 500)
    tells(store, "m1")
    really = Recipients.reply

    def slowly(self: Recipients, *args: Any, **more: Any) -> Any:
        late = really(self, *args, **more)
        later(store, minutes=4)
        with monkeypatch.context() as patched:
            patched.setattr(Recipients, "reply", really)
            assert delivered(store, crm) == (1, 0, 0)
        return late

    with monkeypatch.context() as patched:
        patched.setattr(Recipients, "reply", slowly)
        delivered(store, crm)
    (row,) = rows_of(store, t.outbox)
    assert row.delivered_at is not None
    assert row.reply == "204"


def test_staging_records_and_calls_nobody(store: Store, httpserver: HTTPServer) -> None:
    tells(store, "m1")
    staging = settings(crm=at(httpserver, PATH), staging={"domains": ["staging.example"]})
    assert delivered(store, staging) == (1, 0, 0)
    assert httpserver.log == []
    (row,) = rows_of(store, t.outbox)
    assert row.delivered_at is not None
    assert row.reply == "staging: recorded, not sent"


def test_what_the_settings_have_no_address_for_is_kept_with_its_reason(store: Store) -> None:
    tells(store, "m1", target="alerts")
    assert delivered(store, settings()) == (0, 0, 0)
    with store.reading() as connection:
        assert [one.reply for one in dead_letters(connection)] == ["the settings say no address for alerts"]
    assert causes(store) == []


def test_what_is_too_large_is_kept_with_its_reason(store: Store, httpserver: HTTPServer, crm: Settings) -> None:
    tells(store, "m1", text="x" * 20_000)
    assert delivered(store, crm) == (0, 0, 1)
    assert httpserver.log == []
    assert "20,000" in rows_of(store, t.outbox)[0].reply
    assert causes(store) == ["outbox/crm/dead"]


@pytest.mark.parametrize("secret", [None, "", "whsec_"])
def test_without_its_secret_nothing_is_sent_and_nothing_is_lost(
    store: Store, httpserver: HTTPServer, crm: Settings, secret: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OUTSIDE_SECRET")
    if secret is not None:
        monkeypatch.setenv("OUTSIDE_SECRET", secret)
    tells(store, "m1")
    assert delivered(store, crm) == (0, 1, 0)
    assert httpserver.log == []
    assert "env:OUTSIDE_SECRET" in rows_of(store, t.outbox)[0].reply


def test_a_certificate_that_nobody_trusts_is_refused(store: Store, authority: Any) -> None:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate())
    with HTTPServer(host="localhost", ssl_context=context) as server:
        server.expect_request(PATH).respond_with_data("", 200)
        tells(store, "m1")
        assert delivered(store, settings(crm=at(server, PATH))) == (0, 1, 0)
        assert server.log == []
    assert rows_of(store, t.outbox)[0].reply == "its certificate cannot be trusted, or its TLS is too old"


def test_no_secret_and_no_reply_of_others_is_kept(store: Store, httpserver: HTTPServer, crm: Settings) -> None:
    httpserver.expect_request(PATH).respond_with_data("ada@rcpt.test is unknown", 400)
    tells(store, "m1")
    delivered(store, crm)
    assert rows_of(store, t.outbox)[0].reply == "400"


def test_the_tests_secret_is_a_file_as_well(store: Store, httpserver: HTTPServer, tmp_path: Path) -> None:
    replies(httpserver)
    (tmp_path / "hook").write_text(f"{SECRET}\n")
    tells(store, "m1")
    by_file = settings(crm={"url": httpserver.url_for(PATH), "secret": "file:hook"})
    assert delivered(store, by_file.model_copy(update={"folder": tmp_path})) == (1, 0, 0)
