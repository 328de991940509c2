"""The SMTP oracle's side of a connection: what it offers, what it answers, and what it does otherwise by rule."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from . import LOOPBACK
from .ledger import Ledger, Record

STAGES = ("connect", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "body", "bdat", "dot", "rset", "quit")
SIZE_LIMIT = 32 * 2**20

_FROM = re.compile(r"FROM: ?<([^<>]*)>(?: (.*))?", re.IGNORECASE)
_TO = re.compile(r"TO: ?<([^<>]+)>(?: (.*))?", re.IGNORECASE)
_HEADERS = {
    name: re.compile(rb"^" + name.encode() + rb":((?:[^\r\n]|\r\n[ \t])*)", re.IGNORECASE | re.MULTILINE)
    for name in ("Message-ID", "X-JourneyLab-Message")
}


@dataclass(frozen=True)
class Rule:
    """What the server does otherwise at one stage; the first rule that fits wins.

    Attributes:
        at: one of STAGES; `dot` is also `BDAT … LAST`, `bdat` any chunk before it, `body` what follows DATA's 354.
        nth: the occurrences for which it holds, counted from 1 among those that fit stage and recipient; None is all.
        recipient: a pattern (`*@late.test`) of a recipient: of that one at `rcpt`, of any from `data` on.
        reply: sent in place of the usual one; 421 also ends the connection. May hold several lines.
        delay: seconds before the reply, which a message taken is recorded before; at `body`, between small reads;
            with `half`, before the connection ends.
        close: ends the connection without a reply; at `body`, once `after` bytes of it came.
        half: sends the first half of the reply and ends the connection.
        record: at `dot`, whether the message is written down; None is: if the reply is 2xx and `close` is not set.
        hide: at `ehlo`, the extensions that are not offered.
    """

    at: str
    nth: tuple[int, ...] | None = None
    recipient: str = "*"
    reply: str | None = None
    delay: float = 0.0
    close: bool = False
    half: bool = False
    record: bool | None = None
    after: int = 0
    hide: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.at not in STAGES:
            raise ValueError(f"at: {self.at!r} is no stage; there are {', '.join(STAGES)}")

    @classmethod
    def read(cls, path: Path) -> list[Rule]:
        """The rules of a JSON file: a list of objects with the fields above; `nth` may be a single number."""
        rules = []
        for fields in json.loads(path.read_text()):
            nth = fields.get("nth")
            fields["nth"] = (nth,) if isinstance(nth, int) else nth and tuple(nth)
            rules.append(cls(**{**fields, "hide": tuple(fields.get("hide", ()))}))
        return rules


_PLAIN = Rule(at="connect")


@dataclass(frozen=True)
class Options:
    """How a server is: the keyword arguments of `SmtpOracle` and `OracleProcess`.

    Attributes:
        rules: what it does otherwise.
        port: 0 is any free one.
        fsync: whether the ledger is on disk before the reply; a benchmark's sink does without.
        keep: whether the ledger holds the messages themselves.
        chunking: whether BDAT is offered.
        certificate: a PEM file with key and chain; without one there is no TLS.
        tls: `starttls`, or `implicit` from the first byte; matters with a certificate only.
        newest_tls: the newest version spoken, "1.2" or "1.3".
        auth: `user:password` that AUTH PLAIN must give before MAIL; with a certificate, offered over TLS only.
    """

    rules: Sequence[Rule] = ()
    port: int = 0
    fsync: bool = True
    keep: bool = False
    chunking: bool = False
    certificate: Path | None = None
    tls: Literal["starttls", "implicit"] = "starttls"
    newest_tls: Literal["1.2", "1.3"] = "1.3"
    auth: str | None = None

    def context(self) -> ssl.SSLContext | None:
        if self.certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        context.maximum_version = ssl.TLSVersion["TLSv" + self.newest_tls.replace(".", "_")]
        return context


class _HangUp(Exception):
    """The connection is over; whatever was under way is forgotten."""


class _Wire:
    """A connection's bytes, by lines, by bodies and by counts."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._held = bytearray()
        self._unsent = bytearray()
        self.writer = writer

    def say(self, reply: bytes) -> None:
        """Sends it with the next `flush`; replies to pipelined commands travel together."""
        self._unsent += reply

    def flush(self) -> None:
        if self._unsent:
            self.writer.write(bytes(self._unsent))
            self._unsent.clear()

    async def _more(self, at_most: int = 2**16) -> None:
        self.flush()
        chunk = await self._reader.read(at_most)
        if not chunk:
            raise _HangUp
        self._held += chunk

    async def line(self) -> str:
        while (end := self._held.find(b"\r\n")) < 0:
            if len(self._held) > 2**16:
                raise _HangUp
            await self._more()
        line = self._held[:end].decode("utf-8", "replace")
        del self._held[: end + 2]
        return line

    async def body(self, rule: Rule) -> bytes:
        """What precedes the line with nothing but a dot, dots unstuffed."""
        self._held[:0] = b"\r\n"
        searched = 0
        while True:
            if rule.close and len(self._held) - 2 >= rule.after:
                raise _HangUp
            end = self._held.find(b"\r\n.\r\n", searched)
            if end >= 0:
                break
            searched = max(len(self._held) - 4, 0)
            if rule.delay:
                await asyncio.sleep(rule.delay)
            await self._more(1024 if rule.delay else 2**16)
        body = bytes(self._held[: end + 2])
        del self._held[: end + 5]
        return body.replace(b"\r\n.", b"\r\n")[2:]

    async def exactly(self, n_bytes: int) -> bytes:
        while len(self._held) < n_bytes:
            await self._more()
        taken = bytes(self._held[:n_bytes])
        del self._held[:n_bytes]
        return taken

    async def start_tls(self, context: ssl.SSLContext) -> None:
        self.flush()
        self._held.clear()  # what came in plain text before the handshake is nobody's word
        await self.writer.start_tls(context)


class _Session:
    def __init__(self, server: Server, wire: _Wire) -> None:
        self._server = server
        self._wire = wire
        self._authenticated = server.options.auth is None
        self._forget()
        self._commands: dict[str, Callable[[str], Awaitable[None]]] = {
            "EHLO": self._ehlo, "HELO": self._helo, "STARTTLS": self._starttls, "AUTH": self._auth,
            "MAIL": self._mail, "RCPT": self._rcpt, "DATA": self._data, "BDAT": self._bdat,
            "RSET": self._rset, "NOOP": self._noop, "QUIT": self._quit,
        }  # fmt: skip

    def _forget(self) -> None:
        self._mail_from: str | None = None
        self._recipients: list[str] = []
        self._chunks: list[bytes] = []

    @property
    def _tls(self) -> ssl.SSLObject | None:
        found: ssl.SSLObject | None = self._wire.writer.get_extra_info("ssl_object")
        return found

    async def run(self) -> None:
        await self._reply("connect", "220 oracle.test ESMTP")
        while True:
            verb, _, argument = (await self._wire.line()).partition(" ")
            command = self._commands.get(verb.upper())
            if command is None:
                self._say("500 5.5.2 no such command here")
            else:
                await command(argument.strip())

    def _say(self, reply: str) -> None:
        self._wire.say(reply.encode() + b"\r\n")

    async def _reply(self, stage: str, usual: str, recipients: Iterable[str] = ()) -> bool:
        """Whether what was asked for is granted, after the reply of the rule that fits or else the usual one."""
        return await self._follow(self._server.rule(stage, recipients), usual)

    async def _follow(self, rule: Rule, usual: str) -> bool:
        reply = rule.reply or usual
        if rule.half:
            self._wire.say(reply.encode()[: len(reply) // 2])
        if rule.delay:
            self._wire.flush()
            await asyncio.sleep(rule.delay)
        if rule.half or rule.close:
            raise _HangUp
        self._say(reply)
        if reply.startswith("421"):
            raise _HangUp
        return reply[0] == usual[0]

    async def _helo(self, argument: str) -> None:
        self._forget()
        await self._reply("ehlo", "250 oracle.test")

    async def _ehlo(self, argument: str) -> None:
        self._forget()
        options, rule = self._server.options, self._server.rule("ehlo")
        offered = ["PIPELINING", "8BITMIME", f"SIZE {SIZE_LIMIT}", "ENHANCEDSTATUSCODES"]
        if options.chunking:
            offered.append("CHUNKING")
        if self._server.context and not self._tls:
            offered.append("STARTTLS")
        elif options.auth:
            offered.append("AUTH PLAIN")
        lines = ["oracle.test", *(one for one in offered if one.partition(" ")[0] not in rule.hide)]
        usual = "\r\n".join(f"250{' ' if line is lines[-1] else '-'}{line}" for line in lines)
        await self._follow(rule, usual)

    async def _starttls(self, argument: str) -> None:
        if self._server.context is None or self._tls:
            self._say("502 5.5.1 no STARTTLS here")
        elif await self._reply("starttls", "220 2.0.0 go on"):
            await self._wire.start_tls(self._server.context)
            self._forget()

    async def _auth(self, argument: str) -> None:
        options = self._server.options
        if options.auth is None or (self._server.context and not self._tls):
            self._say("503 5.5.1 no AUTH here")
            return
        method, _, response = argument.partition(" ")
        if method.upper() != "PLAIN":
            self._say("504 5.5.4 AUTH PLAIN only")
            return
        if not response:
            self._say("334 ")
            response = await self._wire.line()
        user, _, password = options.auth.partition(":")
        if base64.b64decode(response).split(b"\0")[1:] == [user.encode(), password.encode()]:
            self._authenticated = await self._reply("auth", "235 2.7.0 welcome")
        else:
            self._say("535 5.7.8 wrong user or password")

    async def _mail(self, argument: str) -> None:
        found = _FROM.fullmatch(argument)
        parameters = dict(one.upper().partition("=")[::2] for one in ((found and found[2]) or "").split())
        if not self._authenticated:
            self._say("530 5.7.0 AUTH first")
        elif self._mail_from is not None:
            self._say("503 5.5.1 one MAIL at a time")
        elif found is None or not parameters.keys() <= {"SIZE", "BODY"}:
            self._say("501 5.5.4 MAIL FROM:<address> [SIZE=n] [BODY=8BITMIME]")
        elif int(parameters.get("SIZE") or 0) > SIZE_LIMIT:
            self._say("552 5.3.4 too large")
        elif await self._reply("mail", "250 2.1.0 ok"):
            self._mail_from = found[1]

    async def _rcpt(self, argument: str) -> None:
        found = _TO.fullmatch(argument)
        if self._mail_from is None:
            self._say("503 5.5.1 MAIL first")
        elif found is None or found[2]:
            self._say("501 5.5.4 RCPT TO:<address>")
        elif await self._reply("rcpt", "250 2.1.5 ok", [found[1]]):
            self._recipients.append(found[1])

    async def _data(self, argument: str) -> None:
        if not self._recipients:
            self._say("554 5.5.1 no valid recipients")
        elif await self._reply("data", "354 end with a dot", self._recipients):
            await self._take(await self._wire.body(self._server.rule("body", self._recipients)))

    async def _bdat(self, argument: str) -> None:
        size, _, last = argument.partition(" ")
        if not self._server.options.chunking or not size.isdecimal() or last.upper() not in ("", "LAST"):
            self._say("501 5.5.4 BDAT size [LAST], where CHUNKING is offered")
            raise _HangUp
        chunk = await self._wire.exactly(int(size))
        if not self._recipients:
            self._say("554 5.5.1 no valid recipients")
            return
        self._chunks.append(chunk)
        if last:
            await self._take(b"".join(self._chunks))
        elif not await self._reply("bdat", f"250 2.0.0 {size} bytes taken", self._recipients):
            self._forget()

    async def _take(self, content: bytes) -> None:
        rule = self._server.rule("dot", self._recipients)
        queue_id = self._server.next_queue_id()
        usual = f"250 2.0.0 Ok: queued as {queue_id}"
        is_recorded = rule.record
        if is_recorded is None:
            is_recorded = (rule.reply or usual).startswith("2") and not rule.close
        if is_recorded:
            assert self._mail_from is not None
            tls = self._tls.version() if self._tls else None
            self._server.record(content, self._mail_from, self._recipients, queue_id, tls)
        self._forget()
        await self._follow(rule, usual)

    async def _rset(self, argument: str) -> None:
        self._forget()
        await self._reply("rset", "250 2.0.0 ok")

    async def _noop(self, argument: str) -> None:
        self._say("250 2.0.0 ok")

    async def _quit(self, argument: str) -> None:
        await self._reply("quit", "221 2.0.0 bye")
        raise _HangUp


class Server:
    def __init__(self, ledger: Path, options: Options) -> None:
        self.options = options
        self.context = options.context()
        self.rules = options.rules
        self._ledger = Ledger(ledger, fsync=options.fsync)
        self._sessions: set[asyncio.Task[None]] = set()
        self._n_taken = 0

    @property
    def rules(self) -> Sequence[Rule]:
        return self._rules

    @rules.setter
    def rules(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self._n_fitting = [0] * len(self._rules)

    def rule(self, stage: str, recipients: Iterable[str] = ()) -> Rule:
        """The first rule that fits, or one that changes nothing."""
        found = None
        for index, rule in enumerate(self._rules):
            fits = rule.recipient == "*" or any(fnmatchcase(one, rule.recipient) for one in recipients)
            if rule.at == stage and fits:
                self._n_fitting[index] += 1
                if found is None and (rule.nth is None or self._n_fitting[index] in rule.nth):
                    found = rule
        return found or _PLAIN

    def next_queue_id(self) -> str:
        self._n_taken += 1
        return f"{os.getpid():X}Q{self._n_taken:06X}"

    def record(self, content: bytes, mail_from: str, recipients: Sequence[str], queue_id: str, tls: str | None) -> None:
        head = content.partition(b"\r\n\r\n")[0]
        found = {name: pattern.search(head) for name, pattern in _HEADERS.items()}
        values = {name: " ".join(one[1].decode().split()) if one else "" for name, one in found.items()}
        self._ledger.append(
            Record(
                at=datetime.now(UTC).isoformat(),
                message_id=values["Message-ID"],
                x_journeylab_message=values["X-JourneyLab-Message"],
                rcpt=list(recipients),
                mail_from=mail_from,
                sha256=hashlib.sha256(content).hexdigest(),
                size=len(content),
                queue_id=queue_id,
                tls=tls,
                content=content.decode("latin-1") if self.options.keep else None,
            )
        )

    async def start(self) -> int:
        """The port on which it listens from now on."""
        implicit = self.context if self.options.tls == "implicit" else None
        self._listener = await asyncio.start_server(
            self._connected, LOOPBACK, self.options.port, ssl=implicit, limit=2**16, backlog=512
        )
        listening = self._listener.sockets[0]
        if any(rule.at == "body" and rule.delay for rule in self.rules):
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # else the kernel reads on our behalf
        return int(listening.getsockname()[1])

    async def stop(self) -> None:
        self._listener.close()
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)
        await self._listener.wait_closed()
        await asyncio.sleep(0)  # transports close in the loop's next round
        self._ledger.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sessions.add(task)
        wire = _Wire(reader, writer)
        try:
            with contextlib.suppress(_HangUp, ConnectionError, ssl.SSLError, asyncio.CancelledError):
                await _Session(self, wire).run()
        finally:
            self._sessions.discard(task)
            wire.flush()
            writer.close()
