"""A system outside that keeps its vendor's contract, and can be told to fail in any of the ways in which calls fail."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

FAULTS = ("busy", "broken", "lost", "cut", "half", "silent")
"""The ways in which a call fails.

`busy`: 429, not taken. `broken`: 500, not taken. `lost`: the connection closes before anything was taken. `cut`: taken,
and the connection closes without a reply. `half`: taken, and half of the reply arrives. `silent`: taken, and nothing is
replied until the caller has given up."""


@dataclass(frozen=True)
class Request:
    """What was asked for; header names have small letters, a query parameter its last value."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        """The body's JSON; None where it has none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class Answer:
    """A reply: JSON, or no body where `said` is None."""

    status: int
    said: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """A reply that a vendor gives instead of doing what it was asked for."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self.answer = answer


class System:
    """A server on this machine; subclasses say in `answer` what the vendor does.

    `faults` are taken by the next calls, one each; None is none. `calls` has every call that came, the failed too.
    """

    def __init__(self) -> None:
        self.faults: list[str | None] = []
        self.calls: list[Request] = []
        self.lock = Lock()
        self._stopped = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, what: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail(self, *faults: str | None) -> None:
        """Lets the next calls fail, one by one."""
        self.faults.extend(faults)

    def paths(self, method: str | None = None) -> list[str]:
        """The paths that were asked for."""
        return [one.path for one in self.calls if method in (None, one.method)]

    def answer(self, request: Request) -> Answer:
        """What the vendor replies; may raise `Refusal`."""
        raise NotImplementedError

    def busy(self) -> Answer:
        """What it replies when it is called too often."""
        return Answer(429, {"message": "too many requests"}, {"retry-after": "7"})

    def broken(self) -> Answer:
        """What it replies when it is at fault."""
        return Answer(500, {"message": "internal error"})

    def reply(self, request: Request) -> tuple[Answer | None, str | None]:
        """The answer, and the fault that befalls it; no answer where the connection just closes."""
        with self.lock:
            self.calls.append(request)
            fault = self.faults.pop(0) if self.faults else None
            if fault == "busy":
                return self.busy(), None
            if fault == "broken":
                return self.broken(), None
            if fault == "lost":
                return None, fault
            try:
                answer = self.answer(request)
            except Refusal as refused:
                answer = refused.answer
            return answer, fault

    def wait(self) -> None:
        """Waits until the caller has given up, or the test is over."""
        self._stopped.wait(5)


def _handler(system: System) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body together, or each reply waits for the caller's acknowledgement

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Says nothing."""

        def _take(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            answer, fault = system.reply(Request(self.command, parts.path, query, headers, body))
            if fault == "silent":
                system.wait()
            if answer is None or fault in ("cut", "silent"):
                self.close_connection = True
                return
            content = b"" if answer.said is None else json.dumps(answer.said).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if content:
                self.send_header("content-type", "application/json;charset=utf-8")
            if answer.status != 204:
                self.send_header("content-length", str(len(content)))
            if fault == "half" and content:
                content = content[: len(content) // 2]
                self.close_connection = True
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _take  # noqa: N815

    return Handler


def missing(data: object, names: Iterable[str]) -> list[str]:
    """The names of what a body must have and has not."""
    given = data if isinstance(data, dict) else {}
    return [name for name in names if given.get(name) in (None, "")]
