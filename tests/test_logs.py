"""Logs: a line of JSON for each step, with keys, and never an address, whoever writes it; traces as an extra."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from journeylab.sender import logs
from journeylab.sender.logs import log_to, logger, trace
from journeylab.sender.sending.alerts import raise_alert
from journeylab.sender.sending.calls import make_calls
from journeylab.sender.sending.notices import tell
from journeylab.sender.sending.outbox import deliver
from journeylab.sender.store import Store
from outside import SECRET, at, settings
from test_calls import calls_of

CANARY = "canary.bird+tag@rcpt.test"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = log_to(stream, logging.DEBUG)
    yield stream
    logging.getLogger().removeHandler(handler)
    logging.getLogger("journeylab.sender").setLevel(logging.NOTSET)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_step_is_a_line_with_its_facts(written: io.StringIO) -> None:
    logger("outbox").info("delivered", webhook_id="m1", n=3, ok=True, nothing=None, of=["a", "b"])
    (line,) = lines(written)
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "delivered",
        "level": "info",
        "logger": "journeylab.sender.outbox",
        "webhook_id": "m1",
        "n": 3,
        "ok": True,
        "nothing": None,
        "of": ["a", "b"],
    }


def test_no_address_is_written_whoever_writes_it(written: io.StringIO) -> None:
    log = logger("worker").bind(reply=f"550 <{CANARY}>")
    log.warning(f"to {CANARY}", to=CANARY, deep={"list": [CANARY, (CANARY,)], CANARY: 1}, other=ValueError(CANARY))
    logging.getLogger("another.library").warning("sent to %s", CANARY, extra={"address": CANARY})
    structlog.get_logger("journeylab.sender").info("step", to=CANARY)
    try:
        raise RuntimeError(CANARY)
    except RuntimeError:
        log.exception("broken")
        logging.getLogger("another.library").exception("broken as well")
    assert len(lines(written)) == 5
    assert "RuntimeError: (address)" in lines(written)[3]["exception"]
    assert "RuntimeError: (address)" in lines(written)[4]["exception"]
    assert "canary" not in written.getvalue()
    assert "rcpt" not in written.getvalue()


def test_a_line_stays_one_line(written: io.StringIO) -> None:
    logger("worker").info("a\nb\r\u2028c", reply='x"\n{"event": "forged"}')
    assert written.getvalue().count("\n") == 1
    assert len(lines(written)) == 1


def test_what_is_done_outside_is_logged_by_its_keys(
    store: Store, httpserver: HTTPServer, written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTSIDE_SECRET", SECRET)
    left = [500]

    def reply(request: Request) -> Response:
        return Response(f"{CANARY} is unknown", left.pop() if left else 200, {"Retry-After": CANARY})

    httpserver.expect_request("/x").respond_with_handler(reply)
    to = settings(crm=at(httpserver, "/x"), calls={"scoring": at(httpserver, "/x")})
    calls_of(store, "ada")
    with store.writing() as connection:
        now = store.now(connection)
        tell(connection, "crm", "m1", "consent.withdrawn", {"contact": "ada", "address": CANARY}, now)
        raise_alert(connection, "x", "error", CANARY, now)
    store.clock.move(hours=1)  # type: ignore[attr-defined]
    for _ in range(3):
        with store.reading() as connection:
            now = store.now(connection)
        deliver(store, to, now)
        make_calls(store, to, now)
        store.clock.move(hours=1)  # type: ignore[attr-defined]
    ours = [line for line in lines(written) if line["logger"].startswith("journeylab")]
    assert [(line["event"], line.get("webhook_id") or line.get("call_key")) for line in ours] == [
        ("to be tried again", "m1"),
        ("succeeded", "key-ada"),
        ("delivered", "m1"),
    ]
    assert "canary" not in written.getvalue()
    assert SECRET not in written.getvalue()


def test_a_library_says_nothing_until_it_is_asked() -> None:
    code = "from journeylab.sender.logs import logger; logger('x').warning('loud'); logger('x').error('louder')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.fixture
def _without_tracer() -> Iterator[None]:
    logs._tracer.cache_clear()
    yield
    logs._tracer.cache_clear()


@pytest.mark.usefixtures("_without_tracer")
def test_spans_leave_where_the_extra_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="the extra otel is not installed")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(logs, "_tracer", lambda: provider.get_tracer("test"))
    with trace("tick", n=3), trace("send", to=CANARY):
        pass
    with pytest.raises(RuntimeError), trace("send", message_key="k"):
        raise RuntimeError(CANARY)
    inner, outer, failed = kept.get_finished_spans()
    assert (outer.name, dict(outer.attributes)) == ("tick", {"n": 3})
    assert (inner.name, dict(inner.attributes)) == ("send", {"to": "(address)"})
    assert inner.parent.span_id == outer.context.span_id
    assert not failed.status.is_ok
    assert "canary" not in failed.to_json()


@pytest.mark.usefixtures("_without_tracer")
def test_without_the_extra_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with trace("tick", n=3):
        pass
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert not logs.export_traces("shop")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    assert not logs.export_traces("shop")


def test_an_exporter_is_set_up_where_the_environment_names_a_collector(httpserver: HTTPServer) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")
    httpserver.expect_request("/v1/traces").respond_with_data("", 200)
    code = """
from journeylab.sender.logs import export_traces, trace
from opentelemetry.trace import get_tracer_provider
assert export_traces("shop")
with trace("tick"): pass
get_tracer_provider().shutdown()
"""
    import os

    environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": httpserver.url_for("").rstrip("/")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
    assert [request.path for request, _ in httpserver.log] == ["/v1/traces"]
