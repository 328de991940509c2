"""The process in which templates run: it reads one line of JSON for each message and answers with one.

It is started by `rendering`, takes its templates from the first line, and then gives up what it could do harm with:
memory beyond a limit, files, sockets, other processes.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from html import escape
from typing import Any, Final

import css_inline
from jinja2 import Environment
from jinja2.exceptions import SecurityError, UndefinedError

from .templating import Missing, environment
from .textpart import text_of

MOST: Final = 1_000_000
"""How many letters a part may have."""
_ADDRESS = re.compile(r'\s(?:href|src|action|background|poster|formaction|srcset)="([^"]*)"', re.IGNORECASE)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)?")
_SCHEMES: Final = ("http", "https", "mailto", "tel", "cid")
_STYLESHEET = re.compile(r"<link\b[^>]*\bstylesheet\b", re.IGNORECASE)


class _FaultError(Exception):
    """A fault that is not of Jinja2: what is wrong, without values, and in which file."""

    def __init__(self, reason: str, file: str) -> None:
        super().__init__(reason)
        self.reason, self.file = reason, file


@dataclass
class _Templates:
    """The templates of all messages, compiled, and what turns their text into mail."""

    messages: Mapping[str, Mapping[str, Any]]
    sources: Mapping[str, str]
    env: Environment
    mjml: Callable[[str], str] | None = None
    inliner: css_inline.CSSInliner = field(
        default_factory=lambda: css_inline.CSSInliner(
            load_remote_stylesheets=False, keep_at_rules=True, keep_style_tags=False
        )
    )

    def rendered(self, request: Mapping[str, Any]) -> dict[str, str]:
        """Subject, HTML and text of a message."""
        name, values = request["message"], _values(request)
        message = self.messages[name]
        subject = self.env.get_template(f"{name}.subject").render(values).strip()
        values["subject"] = subject
        if message["has_preheader"]:
            values["preheader"] = self.env.get_template(f"{name}.preheader").render(values).strip()
        html = self.html(message["body"], values)
        if message["text"] is None:
            text = text_of(html)
        else:
            text = self.env.get_template(message["text"]).render(values).strip() + "\n"
        for part, file in ((html, message["body"]), (text, message["text"] or message["body"])):
            if len(part) > MOST:
                raise _FaultError(f"it has more than {MOST:,} letters", file)
        return {"subject": subject, "html": _with_picture(html, request["picture_url"]), "text": text}

    def html(self, file: str, values: Mapping[str, Any]) -> str:
        """The HTML of a message, its styles inlined, leading nowhere but to the web, mail and telephones."""
        html = self.env.get_template(file).render(values)
        if len(html) > MOST:
            raise _FaultError(f"it has more than {MOST:,} letters", file)
        if self.mjml is not None and file.endswith(".mjml"):
            try:
                html = self.mjml(html)
            except ValueError as error:
                at = re.search(r"position \d+:\d+", str(error))
                place = f" at {at[0]} of the text the template gave" if at else ""
                raise _FaultError(f"what its template gives is no MJML{place}", file) from None
        if _STYLESHEET.search(html):
            raise _FaultError("it links a stylesheet, which mail programs do not load; write it in <style>", file)
        try:
            html = self.inliner.inline(html)
        except (css_inline.InlineError, ValueError):
            raise _FaultError("its styles cannot be inlined; look for faulty CSS or HTML", file) from None
        for address in _ADDRESS.findall(html):
            scheme = _SCHEME.match(re.sub(r"[\x00-\x20]", "", address))
            if scheme and scheme[1].lower() not in _SCHEMES:
                raise _FaultError("a link in it leads to no web page, mailbox or telephone", file)
        return html


def _with_picture(html: str, address: str) -> str:
    """The HTML with an invisible picture at its end; as it is where there is no address."""
    if not address:
        return html
    before, end, after = html.rpartition("</body>")
    return f'{before}<img src="{escape(address)}" alt="" width="1" height="1" style="border:0">{end}{after}'


def _values(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a template sees; what is None is missing under its name."""

    def given(values: Mapping[str, Any], inside: str = "") -> dict[str, Any]:
        return {name: Missing(inside + name) if value is None else value for name, value in values.items()}

    link_url, recommended = request["link_url"], request["recommended"]
    return {
        **given(request["attributes"]),
        **given(request["links"]),
        **given({"postal_address": request["postal_address"], "preheader": None}),
        "entry": given(request["entry"], "entry."),
        "link": lambda name, address: link_url.get(name, address),
        "recommend": lambda n: [given(one, "product.") if isinstance(one, dict) else one for one in recommended[:n]],
    }


def _reason(error: Exception) -> dict[str, Any]:
    """What an error says without any value."""
    name = error.message if isinstance(error, UndefinedError) else None
    if name and _NAME.fullmatch(name):
        return {
            "reason": f"{name} has no value here; test it ({{% if {name} %}}) or give it a default",
            "attribute": name,
        }
    match error:
        case _FaultError():
            return {"reason": error.reason, "file": error.file}
        case UndefinedError():
            return {"reason": "it uses a value that is not there"}
        case SecurityError():
            return {"reason": "it does what the sandbox forbids"}
        case RecursionError():
            return {"reason": "its templates include each other without end"}
        case MemoryError():
            return {"reason": "it takes more memory than it may", "ends": True}
    return {"reason": f"its template fails with {type(error).__name__}"}


def _told(error: Exception, sources: Mapping[str, str]) -> dict[str, Any]:
    """An error as the answer tells it: what is wrong, and the last place in the templates before it."""
    told = _reason(error)
    at = error.__traceback__
    while at is not None:
        file = at.tb_frame.f_code.co_filename
        if file in sources:
            told |= {"file": file, "line": at.tb_lineno}
        at = at.tb_next
    return told


def _value(data: dict[str, Any]) -> Any:
    match data:
        case {"__datetime__": text}:
            return datetime.fromisoformat(text)
        case {"__date__": text}:
            return date.fromisoformat(text)
    return data


def _limited(memory: int) -> None:
    """Gives up what templates have no need of."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def _warm(templates: _Templates) -> None:
    """Does once what imports modules when it is first done, as there will be no files any more."""
    for file in templates.sources:
        templates.env.get_template(file)
    faulty = templates.env.from_string("{{ at.strftime('%d %B') }}{{ missing|upper }}")
    try:
        faulty.render(at=datetime(2026, 3, 2, tzinfo=UTC))
    except UndefinedError as error:
        _told(error, templates.sources)
    text_of(templates.inliner.inline("<style>p {color: #111}</style><p>&eacute;</p>"))


def main() -> None:
    """Answers requests until there are no more."""
    start = json.loads(sys.stdin.buffer.readline())
    templates = _Templates(start["messages"], start["sources"], environment(start["sources"]))
    if any(one["body"].endswith(".mjml") for one in start["messages"].values()):
        from mjml import mjml2html

        templates.mjml = partial(mjml2html, fonts={})  # no web fonts, which would be fetched from elsewhere
    _warm(templates)
    _limited(start["memory"])
    while line := sys.stdin.buffer.readline():
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(used.ru_utime + used.ru_stime) + 1 + start["cpu_seconds"]
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
        try:
            answer: dict[str, Any] = templates.rendered(json.loads(line, object_hook=_value))
        except Exception as error:  # whatever a template raises is told, without values
            answer = _told(error, templates.sources)
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()
        if answer.get("ends"):
            return


if __name__ == "__main__":
    main()
