"""Rendering: messages for one contact, in a process of their own that can neither run on nor take all memory.

A sandbox keeps templates from what they must not touch, not from `{{ 'a' * 10**9 }}` or endless loops. So templates
run in a process with limits of memory and time that has no files, no network and no database, and gets plain values.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Final

from journeylab.errors import DataError, JourneyLabError, known

from .messages import Messages
from .templateuse import LINKS

__all__ = ["Context", "RenderError", "Rendered", "Renderer"]

MEMORY: Final = 512 * 2**20


class RenderError(JourneyLabError):
    """A message cannot be rendered: the text names message, file, line and attribute, and never a value.

    Attributes:
        message, reason: what could not be rendered, and why.
        file, line: where in the templates, where that is known.
        attribute: the name of what is missing (`plan`, `entry.amount`), where something is.
    """

    def __init__(
        self, message: str, reason: str, file: str | None = None, line: int | None = None, attribute: str | None = None
    ) -> None:
        place = ":".join(str(part) for part in (file, line) if part is not None)
        super().__init__(f"{place + ': ' if place else ''}the message {message} cannot be rendered: {reason}")
        self.message, self.reason, self.file, self.line, self.attribute = message, reason, file, line, attribute


@dataclass(frozen=True)
class Context:
    """What a message is rendered from: plain values (texts, numbers, flags, dates, and lists and mappings of them).

    Attributes:
        attributes: of the contact; only those that the message declares reach its templates. None, NaN and what is not
            there are missing: templates may test them or give a default, but not write them.
        entry: properties of the trigger event, likewise.
        links: `unsubscribe_url`, `preferences_url`, `confirm_url`, as far as there are such.
        postal_address: who stands behind the mail; empty is missing.
        recommended: what `recommend(n)` takes the first n of.
        link_url: addresses that stand in for those of named links, by name: the tracked ones.
        picture_url: of the picture by which an open is noted; empty for none.
    """

    attributes: Mapping[str, Any] = field(default_factory=dict)
    entry: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    postal_address: str = ""
    recommended: Sequence[Any] = ()
    link_url: Mapping[str, str] = field(default_factory=dict)
    picture_url: str = ""


@dataclass(frozen=True)
class Rendered:
    """A message as one contact gets it: subject, HTML with its styles inlined, and the text part."""

    subject: str
    html: str
    text: str


class Renderer:
    r"""Renders messages in a process of its own, started when it is first needed and anew after it was killed.

    It may be used by several threads, one at a time; use it in `with`, or `close` it.

    >>> from journeylab.sender.mail.messages import Message
    >>> hello = Message(message="hello", subject="Hi {{ name|default('you') }}", attributes=["name"],
    ...                 templates={"hello.html": "<p>All is well, {{ name|default('dear reader') }}.</p>"})
    >>> with Renderer(Messages({"hello": hello})) as renderer:
    ...     rendered = renderer.render("hello", Context(attributes={"name": "Ala & Ola"}))
    >>> rendered.subject, rendered.text
    ('Hi Ala & Ola', 'All is well, Ala & Ola.\n')
    """

    def __init__(
        self, messages: Messages, *, memory: int = MEMORY, cpu_seconds: int = 2, wall_seconds: float = 20
    ) -> None:
        """Takes the messages and the limits: bytes of address space, and seconds for one message.

        Raises:
            DataError: when a message is written in MJML and its library is not installed.
        """
        self.messages = messages
        self._limits = {"memory": memory, "cpu_seconds": cpu_seconds}
        self._wall_seconds = wall_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()
        mjml = [one.body for one in messages.values() if one.body.endswith(".mjml")]
        if mjml and find_spec("mjml") is None:
            raise DataError(f"{mjml[0]} is MJML, for which a library is missing: pip install 'journeylab[mjml]'")

    def render(self, name: str, context: Context) -> Rendered:
        """A message for one contact.

        Raises:
            RenderError: when a value that it writes is missing, a template is at fault, or it takes too long or too
                much memory.
            DataError: when the context has what is no plain value, or a link that there is not.
            DefinitionError: when there is no such message.
        """
        message = self.messages[name]
        unknown = [one for one in context.links if one not in LINKS]
        if unknown:
            raise DataError(f"no template knows the link {unknown[0]!r}; {known(unknown[0], LINKS, 'links')}")
        values = {
            "attributes": {one: _plain(context.attributes.get(one), one) for one in message.attributes},
            "entry": {one: _plain(context.entry.get(one), f"entry.{one}") for one in message.entry},
            "links": {one: context.links.get(one) or None for one in LINKS},
            "postal_address": context.postal_address or None,
            "recommended": _plain(list(context.recommended), "recommended"),
            "link_url": dict(context.link_url),
            "picture_url": context.picture_url,
        }
        with self._lock:
            answer = self._answer(json.dumps({"message": name, **values}).encode() + b"\n")
        if "reason" in answer:
            raise RenderError(name, **answer)
        return Rendered(**answer)

    def close(self) -> None:
        """Ends the process; the next rendering starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    _closed(pipe)

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _answer(self, request: bytes) -> dict[str, Any]:
        """What the process answers; or the reason why it does not."""
        process = self._process or self._started()
        assert process.stdin is not None  # it is a pipe
        try:
            process.stdin.write(request)
            process.stdin.flush()
            line = self._line(process)
        except BrokenPipeError:
            line = b""
        if line.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            if answer.pop("ends", False):
                self.close()
            return answer
        code = process.wait()
        self.close()
        if code == -signal.SIGXCPU:
            return {"reason": f"it takes more than {self._limits['cpu_seconds']} s of processor time"}
        if code == -signal.SIGKILL:
            return {"reason": f"it is not done after {self._wall_seconds:g} s"}
        return {"reason": f"its process ended with status {code}; it takes more memory than it may, most likely"}

    def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        """A line that the process writes; less where it ends before, by itself or since it takes too long."""
        assert process.stdout is not None  # it is a pipe
        ready = select.poll()
        ready.register(process.stdout, select.POLLIN)
        end, line = time.monotonic() + self._wall_seconds, b""
        while not line.endswith(b"\n"):
            if not ready.poll(max(0, end - time.monotonic()) * 1000):
                process.kill()
            more = os.read(process.stdout.fileno(), 2**16)
            if not more:
                break
            line += more
        return line

    def _started(self) -> subprocess.Popen[bytes]:
        messages = {
            name: {"body": one.body, "text": one.text, "has_preheader": one.preheader is not None}
            for name, one in self.messages.items()
        }
        sources = {file: source for one in self.messages.values() for file, source in one.sources.items()}
        root = Path(__file__).parents[3]
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
        self._process = process = subprocess.Popen(
            [sys.executable, "-P", "-m", "journeylab.sender.mail.renderprocess"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**kept, "PYTHONPATH": str(root), "PYTHONUTF8": "1", "PYTHONHASHSEED": "0"},
            cwd="/",
            start_new_session=True,
        )
        assert process.stdin is not None  # it is a pipe
        try:
            process.stdin.write(json.dumps({"messages": messages, "sources": sources, **self._limits}).encode() + b"\n")
        except BrokenPipeError:
            self.close()
            raise DataError("the process that renders messages cannot be started") from None
        return process


def _closed(pipe: Any) -> None:
    try:
        pipe.close()
    except BrokenPipeError:
        return


def _plain(value: Any, place: str) -> Any:
    """A value as JSON carries it: dates in a mapping that says so, what is missing as None."""
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        value = value.item()
    if value is None or (isinstance(value, float | datetime) and value != value):  # NaN, NaT
        return None
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime):
        return {"__datetime__": value.isoformat()}
    if isinstance(value, date):
        return {"__date__": value.isoformat()}
    if isinstance(value, Mapping):
        return {str(key): _plain(one, f"{place}.{key}") for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, place) for one in value]
    kind = type(value).__name__
    raise DataError(f"{place} is a {kind}; templates take texts, numbers, flags, dates, and lists and mappings of them")
