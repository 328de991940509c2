"""SMTP in phases: a relay gets a whole message but for the dot that ends it, and the dot only when the gate says so.

As long as the dot was not sent, the relay is responsible for nothing (RFC 5321 4.1.1.4) and the message may be sent
again. Between the dot and its reply nobody knows (RFC 1047). So the reply is awaited as long as RFC 5321 4.5.3.2.6
asks, and a reply that is not whole is none.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from collections.abc import Callable, Generator
from contextlib import suppress
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any, Final, Literal, NamedTuple, TypeVar

from journeylab.sender.logs import without_addresses
from journeylab.sender.settings import Relay, Settings

__all__ = ["Connection", "Outcome", "Unreached", "trusted"]

REPLY_TO_THE_DOT: Final = 600.0
"""How many seconds a relay has for its reply to the end of a message."""
_LONGEST_LINE: Final = 8192
_MOST_TEXT: Final = 500
_ENHANCED: Final = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})\b")
_PATH: Final = re.compile(r"[!-;=?-~]*")
_QUEUED: Final = (
    re.compile(r"queued as ([A-Za-z0-9.-]+)", re.IGNORECASE),  # Postfix, and most that follow it
    re.compile(r"\bid=([A-Za-z0-9-]+)"),  # Exim
    re.compile(r"\b([A-Za-z0-9]{10,20}) Message accepted", re.IGNORECASE),  # sendmail
)

_Result = TypeVar("_Result")
Talk = Generator[tuple["Connection", int], None, _Result]
"""A part of a conversation. It gives way with the connection and what it waits for: `EVENT_READ` or `EVENT_WRITE`."""
Kind = Literal["accepted", "rejected", "temporary", "unreached", "unknown", "withdrawn", "failed"]


class Outcome(NamedTuple):
    """What became of a message at a relay.

    Attributes:
        kind: `accepted`; `rejected`, a refusal for good; `temporary`, one for now, or a connection that broke before
            the dot; `unreached`, when no message could be offered; `unknown`, no reply to the dot; `withdrawn`, taken
            back before the dot; `failed`, when it cannot be made or must not be offered.
        stage: what was answered: `connect`, `mail`, `rcpt`, `data`, `body`, `dot`; `render` or `staging` before.
        code: the reply's code, if there was one.
        enhanced: its enhanced status (RFC 3463), such as 5.1.1.
        text: its text, or what went wrong.
        queue_id: the relay's own name for a message that it accepted, where it told.
    """

    kind: Kind
    stage: str
    code: int | None = None
    enhanced: str | None = None
    text: str = ""
    queue_id: str | None = None


class Unreached(Exception):
    """A relay does not take messages: `trouble` is `connection`, `tls` or `auth`, as the breaker has it."""

    def __init__(self, trouble: Literal["connection", "tls", "auth"], text: str) -> None:
        super().__init__(text)
        self.trouble = trouble


def _quiet(step: str) -> None:
    """Observes nothing."""


def trusted(relay: Relay, settings: Settings) -> ssl.SSLContext | None:
    """What a relay's TLS must be like: the version, and a certificate for its name; None where there is no TLS.

    Raises:
        DataError: when the file of authorities cannot be read.
    """
    from journeylab.errors import DataError

    if relay.tls == "none":
        return None
    try:
        context = ssl.create_default_context(cafile=None if relay.ca is None else str(settings.path(relay.ca)))
    except OSError as problem:
        raise DataError(f"the relay {relay.name}: its authorities {relay.ca} cannot be read: {problem}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if relay.tls_minimum == "1.3" else ssl.TLSVersion.TLSv1_2
    return context


def _at_once(talk: Talk[_Result]) -> _Result:
    """What a conversation over a socket that blocks comes to."""
    try:
        next(talk)
    except StopIteration as end:
        result: _Result = end.value
        return result
    raise RuntimeError("the socket does not block")


class Connection(smtplib.SMTP):
    """A connection to a relay, over which messages go one after another.

    It blocks until `unblock` is called; from then on only `offering` and `finishing` can be used, and whoever goes on
    with them after they gave way waits at most `patience` seconds, and then throws a TimeoutError into them.

    Args:
        relay: where to.
        hello: the name under which we come.
        context: as `trusted` gives it.
        password: for `relay.user`.

    Raises:
        Unreached: when the relay cannot be reached, is not trusted, or does not let us in.
    """

    def __init__(self, relay: Relay, hello: str, context: ssl.SSLContext | None, password: str | None = None) -> None:
        self._context = context
        self._is_implicit = relay.tls == "implicit"
        self.relay = relay.name
        self.patience = relay.timeout.total_seconds()
        try:
            super().__init__(relay.host, relay.port, local_hostname=hello, timeout=relay.timeout.total_seconds())
            self._greet(relay, password)
        except smtplib.SMTPAuthenticationError as refusal:
            self._drop()
            is_final = refusal.smtp_code >= 500
            raise Unreached(
                "auth" if is_final else "connection", _said(refusal.smtp_code, refusal.smtp_error)
            ) from None
        except (smtplib.SMTPNotSupportedError, ssl.SSLError) as problem:
            self._drop()
            is_cut = isinstance(problem, ssl.SSLEOFError | ssl.SSLZeroReturnError)
            raise Unreached("connection" if is_cut else "tls", str(problem)) from None
        except smtplib.SMTPResponseException as refusal:
            self._drop()
            raise Unreached("connection", _said(refusal.smtp_code, refusal.smtp_error)) from None
        except (OSError, smtplib.SMTPException) as problem:
            self._drop()
            raise Unreached("connection", str(problem) or type(problem).__name__) from None

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = socket.create_connection((host, port), timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._is_implicit or self._context is None:
            return plain
        try:
            return self._context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise

    def _greet(self, relay: Relay, password: str | None) -> None:
        self.ehlo_or_helo_if_needed()
        if relay.tls == "starttls":
            if not self.has_extn("starttls"):
                raise smtplib.SMTPNotSupportedError("the relay does not offer STARTTLS")
            try:
                self.starttls(context=self._context)
            except smtplib.SMTPResponseException as refusal:
                if refusal.smtp_code < 500:
                    raise
                said = _said(refusal.smtp_code, refusal.smtp_error)
                raise smtplib.SMTPNotSupportedError(f"STARTTLS: {said}") from None
            self._held = b""  # what came in the clear behind the reply is nobody's
            self.ehlo_or_helo_if_needed()
        if relay.user is not None and password is not None:
            if not self.has_extn("auth"):
                raise smtplib.SMTPAuthenticationError(530, b"the relay does not ask who is there (no AUTH)")
            try:
                self.login(relay.user, password)
            except (smtplib.SMTPResponseException, smtplib.SMTPServerDisconnected):
                raise
            except smtplib.SMTPException as problem:  # no way of proving who we are that both know
                raise smtplib.SMTPAuthenticationError(504, str(problem).encode()) from None
        self._pipelines = self.has_extn("pipelining")

    def unblock(self) -> None:
        """Lets conversations give way from now on, where they would wait."""
        self._is_blocking = False
        self.sock.settimeout(0)

    def getreply(self) -> tuple[int, bytes]:
        """A reply with all its lines; half a reply is none.

        Raises:
            smtplib.SMTPServerDisconnected: when the connection ends first, or what comes is no reply.
        """
        return _at_once(self._replying())

    def _replying(self) -> Talk[tuple[int, bytes]]:
        lines: list[bytes] = []
        while True:
            end = self._held.find(b"\n") + 1
            if not end and len(self._held) < _LONGEST_LINE:
                more = yield from self._reading()
                if more:
                    self._held += more
                    continue
            line, self._held = self._held[:end], self._held[end:]
            if not end or not line[:3].isdigit() or len(lines) > 100:
                was_over = not end and len(self._held) < _LONGEST_LINE
                self.close()
                raise smtplib.SMTPServerDisconnected("the connection ended" if was_over else "what came is no reply")
            lines.append(line[4:].strip(b" \t\r\n"))
            if line[3:4] != b"-":
                return int(line[:3]), b"\n".join(lines)

    def _reading(self) -> Talk[bytes]:
        while True:
            if self.sock is None:
                raise smtplib.SMTPServerDisconnected("the connection is closed")
            try:
                found: bytes = self.sock.recv(_LONGEST_LINE)
            except (BlockingIOError, ssl.SSLWantReadError):
                yield self, EVENT_READ
            except ssl.SSLWantWriteError:
                yield self, EVENT_WRITE
            else:
                return found

    def _writing(self, data: bytes) -> Talk[None]:
        rest = memoryview(data)
        while rest:
            if self.sock is None:
                raise smtplib.SMTPServerDisconnected("the connection is closed")
            try:
                rest = rest[self.sock.send(rest) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                yield self, EVENT_WRITE
            except ssl.SSLWantReadError:
                yield self, EVENT_READ

    def close(self) -> None:
        """Ends the connection."""
        self._held = b""
        super().close()

    @property
    def is_open(self) -> bool:
        """Whether another message can be offered over it."""
        return self.sock is not None

    def offer(
        self, return_path: str, address: str, data: bytes, observe: Callable[[str], None] = _quiet
    ) -> Outcome | None:
        """The same as `offering`, over a connection that blocks."""
        return _at_once(self.offering(return_path, address, data, observe))

    def offering(
        self, return_path: str, address: str, data: bytes, observe: Callable[[str], None] = _quiet
    ) -> Talk[Outcome | None]:
        """None when the relay has the message and waits for its end; otherwise what it said.

        Args:
            return_path: where it goes if it cannot be delivered.
            address: the one recipient.
            data: the message in ASCII, its lines ending with CRLF.
            observe: is told `after_rcpt`, `after_354` and `mid_body`.
        """
        fault = _fault(return_path, address, data)
        if fault is not None:
            return Outcome("rejected", "mail", text=fault)
        size = f" SIZE={len(data)}" if self.has_extn("size") else ""
        commands = (f"MAIL FROM:<{return_path}>{size}", f"RCPT TO:<{address}>", "DATA")
        stage, refusal = "mail", None
        try:
            if self._pipelines:
                yield from self._writing("".join(command + "\r\n" for command in commands).encode("ascii"))
            for stage, command in zip(("mail", "rcpt", "data"), commands, strict=True):
                if not self._pipelines:
                    yield from self._writing((command + "\r\n").encode("ascii"))
                answer = yield from self._refused(stage)
                refusal = refusal or answer
                if refusal is not None and not (self._pipelines and self.is_open):
                    break
                if refusal is None and stage == "rcpt":
                    observe("after_rcpt")
            if refusal is not None:
                yield from self._reset()
                return refusal
            observe("after_354")
            stage = "body"
            body = _stuffed(data)
            half = len(body) // 2
            yield from self._writing(body[:half])
            observe("mid_body")
            yield from self._writing(body[half:])
        except (OSError, smtplib.SMTPException) as problem:
            self.close()
            return refusal or Outcome("temporary", stage, text=str(problem) or type(problem).__name__)
        return None

    def _refused(self, stage: str) -> Talk[Outcome | None]:
        code, text = yield from self._replying()
        wanted = 300 if stage == "data" else 200
        is_taken = wanted <= code < wanted + 100
        if is_taken:
            # RFC 2920 lets a relay that took no recipient still say 354; what then follows is cut off by `_reset`.
            self._waits = stage == "data"
            return None
        kind: Kind = "rejected" if 500 <= code < 600 else "temporary"
        if code == 421:
            self.close()
        return _outcome(kind, stage, code, text)

    def _reset(self) -> Talk[None]:
        """Ends a message that was refused, so that another may follow; or else the connection."""
        is_clean = False
        if self.sock is not None and not self._waits:
            with suppress(OSError, smtplib.SMTPException):
                yield from self._writing(b"RSET\r\n")
                code, _ = yield from self._replying()
                is_clean = code == 250
        if not is_clean:
            self.close()

    def finish(self, observe: Callable[[str], None] = _quiet) -> Outcome:
        """The same as `finishing`, over a connection that blocks."""
        return _at_once(self.finishing(observe))

    def finishing(self, observe: Callable[[str], None] = _quiet) -> Talk[Outcome]:
        """Sends the dot, and gives what the relay says; `unknown` when no whole reply comes in 10 minutes.

        A relay that has ended the connection by then, or has said something, does not get the dot: it is `temporary`.

        Args:
            observe: is told `after_dot`.
        """
        self._waits = False
        if self.sock is None:
            return Outcome("withdrawn", "body", text="the connection was closed before the dot")
        if self._is_over():
            self.close()
            return Outcome("temporary", "body", text="the relay ended the message before the dot")
        try:
            self._have_patience(REPLY_TO_THE_DOT)
            yield from self._writing(b".\r\n")
            observe("after_dot")
            code, text = yield from self._replying()
            self._have_patience(self.timeout)
        except (OSError, smtplib.SMTPException) as problem:
            self.close()
            return Outcome("unknown", "dot", text=str(problem) or type(problem).__name__)
        if code == 421:
            self.close()
        kinds: dict[int, Kind] = {2: "accepted", 4: "temporary", 5: "rejected"}
        kind = kinds.get(code // 100, "unknown")
        if kind == "unknown":
            self.close()
        return _outcome(kind, "dot", code, text)

    def _is_over(self) -> bool:
        """Whether anything has come from the relay, which has nothing to say while a message is on its way."""
        if self._held:
            return True
        self.sock.settimeout(0)
        try:
            self.sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return True

    def _have_patience(self, seconds: float) -> None:
        self.patience = seconds
        if self._is_blocking:
            self.sock.settimeout(seconds)

    def withdraw(self) -> Outcome:
        """Ends the connection in the middle of the message, which is thereby not sent."""
        self.close()
        return Outcome("withdrawn", "body")

    def cut(self) -> None:
        """Ends the connection from another thread, whatever is going on over it."""
        if (sock := self.sock) is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def leave(self) -> None:
        """Says goodbye, whatever comes of it."""
        with suppress(OSError, smtplib.SMTPException):
            if self.sock is not None:
                self.sock.send(b"QUIT\r\n")
        self.close()

    def _drop(self) -> None:
        with suppress(OSError):
            self.close()

    # A refusal in `offer` finds out whether the relay waits for a message all the same.
    _waits: bool = False
    _pipelines: bool = False
    _is_blocking: bool = True
    _held: bytes = b""
    timeout: Any
    sock: Any


def _said(code: int, text: bytes | str) -> str:
    said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return without_addresses(f"{code} {said}")[:_MOST_TEXT]


def _outcome(kind: Kind, stage: str, code: int, reply: bytes) -> Outcome:
    text = without_addresses(" ".join(reply.decode("utf-8", "replace").split()))[:_MOST_TEXT]
    found = _ENHANCED.match(text)
    enhanced = found[0] if found is not None and found[1] == str(code)[0] else None
    ids = [one[1] for pattern in _QUEUED if (one := pattern.search(text)) is not None] if kind == "accepted" else []
    return Outcome(kind, stage, code, enhanced, text, ids[0] if ids else None)


def _fault(return_path: str, address: str, data: bytes) -> str | None:
    """Why a message cannot be put into SMTP as it is: what would end its lines, or its envelope, elsewhere."""
    if not address or not _PATH.fullmatch(return_path) or not _PATH.fullmatch(address):
        return "the return path or the address cannot stand in an envelope"
    if not data.count(b"\r\n") == data.count(b"\r") == data.count(b"\n"):
        return "the message has line breaks that are not CRLF"
    if not data.isascii() or b"\0" in data:
        return "the message is not ASCII"
    return None


def _stuffed(data: bytes) -> bytes:
    """The message with the dots at the beginning of lines doubled (RFC 5321 4.5.2), ending with a line."""
    stuffed = data.replace(b"\r\n.", b"\r\n..")
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    return stuffed if stuffed.endswith(b"\r\n") else stuffed + b"\r\n"
