r"""The records that a SIEM reads: RFC 5424, the Elastic Common Schema, CEF and OCSF, from one event.

What has left cannot be erased any more: whom an entry concerns, and its details where it concerns anybody, stay at
home. The number and the leaf's hash are in every record, so that gaps show and each record can be held against the log.

Whatever a text has in it, an event is one record on one line: control characters, line and paragraph separators and
byte order marks are written as `\u000a`, and what a format gives a meaning to is escaped as it asks for. RFC 5424's
private data stand under 32473, the number that IANA keeps for examples, as nobody has one for this program.

Written after RFC 5424 (2009), ECS 8.11, ArcSight CEF revision 25 (`CEF:0`) and OCSF 1.1.0 (class 3004, Entity
Management).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from journeylab.sender.logs import without_addresses

from .entries import Entry, canonical, instant_of

__all__ = ["FORMATS", "Event", "Source", "event_of", "framed", "record", "visible"]

ECS, OCSF = "8.11.0", "1.1.0"
"""The versions of the schemas."""
_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_SD_ID: Final = "journeylab@32473"
_AUDIT: Final = 13
_LONGEST: Final = 4096


class _Kind(NamedTuple):
    """What schemas call an action: ECS's category and type, OCSF's activity, syslog's severity."""

    category: str
    type: str
    activity: int
    severity: int


_NOTICE, _WARNING = 5, 4
_CHANGED: Final = _Kind("configuration", "change", 3, _NOTICE)
_KINDS: Final = {
    "contact_revealed": _Kind("database", "access", 2, _WARNING),
    "entries_proved": _Kind("database", "access", 2, _NOTICE),
    "contact_copied": _Kind("database", "access", 2, _WARNING),
    "log_exported": _Kind("database", "access", 2, _WARNING),
    "approval_asked": _Kind("iam", "info", 2, _NOTICE),
    "approval_given": _Kind("iam", "change", 3, _WARNING),
    "token_created": _Kind("iam", "creation", 1, _WARNING),
    "token_revoked": _Kind("iam", "deletion", 4, _NOTICE),
    "erased": _Kind("iam", "deletion", 4, _NOTICE),
    "consent_requested": _Kind("iam", "change", 3, _NOTICE),
    "consent_given": _Kind("iam", "change", 3, _NOTICE),
    "consent_withdrawn": _Kind("iam", "change", 3, _NOTICE),
    "promote": _Kind("configuration", "creation", 1, _NOTICE),
    "worker_started": _Kind("process", "start", 3, _NOTICE),
    "worker_stopped": _Kind("process", "end", 3, _NOTICE),
    "checkpoint": _Kind("configuration", "info", 2, _NOTICE),
} | dict.fromkeys(
    (
        "access_changed", "adopt", "key_changed", "open", "pause", "policy_changed", "resolve", "roll_back",
        "settings_changed",
    ),
    _CHANGED._replace(severity=_WARNING),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """Where records come from: the sender's name, its domain, and the program's version."""

    sender: str
    host: str
    version: str


@dataclass(frozen=True, slots=True)
class Event:
    """What a record says.

    Attributes:
        seq: the entry's number; of a checkpoint, its size.
        leaf: the leaf's hash, hexadecimal; of a checkpoint, the root.
        at, actor, action, object: the entry's.
        details: JSON text, empty where there are none to be told.
        note: a checkpoint's signed note in base 64, else empty.
    """

    seq: int
    leaf: str
    at: datetime
    actor: str
    action: str
    object: str
    details: str = ""
    note: str = ""

    @property
    def sentence(self) -> str:
        """What was done, for people."""
        return f"{self.actor}: {self.action} {self.object}".rstrip()


def event_of(entry: Entry) -> Event:
    """What a SIEM is told of an entry."""
    details = "" if entry.contact is not None or not entry.details else canonical(entry.details).decode()
    return Event(
        entry.seq, entry.leaf_hash.hex(), entry.at, entry.actor, entry.action, without_addresses(entry.object),
        without_addresses(details)[:_LONGEST],
    )  # fmt: skip


def visible(text: str) -> str:
    r"""A text on one line, with nothing in it that is not seen.

    >>> visible("one\ntwo")
    'one\\u000atwo'
    """
    return _UNSEEN.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _escaped(text: str, characters: str) -> str:
    return re.sub(f"([{re.escape(characters)}])", r"\\\1", visible(text))


def _token(text: str, longest: int) -> str:
    """A text as a header's field: printable ASCII without blanks."""
    return re.sub(r"[^!-~]", "_", text)[:longest] or "-"


def _kind(event: Event) -> _Kind:
    return _KINDS.get(event.action, _CHANGED)


def _header(event: Event, source: Source) -> str:
    when, host, what = instant_of(event.at), _token(source.host, 255), _token(event.action, 32)
    return f"<{8 * _AUDIT + _kind(event).severity}>1 {when} {host} journeylab - {what}"


def _structured(fields: Mapping[str, str]) -> str:
    said = " ".join(f'{name}="{_escaped(value, chr(92) + chr(34) + chr(93))}"' for name, value in fields.items())
    return f"[{_SD_ID} {said}]"


def _text(message: str) -> str:
    """A message: UTF-8 is announced by a byte order mark (RFC 5424, 6.4)."""
    return message if message.isascii() else f"\ufeff{message}"


def _rfc5424(event: Event, source: Source) -> str:
    fields = {
        "seq": str(event.seq), "leaf": event.leaf, "actor": event.actor, "action": event.action,
        "object": event.object, "sender": source.sender,
    }  # fmt: skip
    fields |= {name: value for name, value in (("details", event.details), ("note", event.note)) if value}
    return f"{_header(event, source)} {_structured(fields)} {_text(visible(event.sentence))}"


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=True, separators=(",", ":"))


def _own(event: Event, source: Source) -> dict[str, str]:
    found = {"leaf": event.leaf, "sender": source.sender, "details": event.details, "note": event.note}
    return {name: visible(value) for name, value in found.items() if value}


def _ecs(event: Event, source: Source) -> str:
    kind = _kind(event)
    return _json({
        "@timestamp": instant_of(event.at),
        "ecs": {"version": ECS},
        "event": {
            "kind": "event", "category": [kind.category], "type": [kind.type], "action": visible(event.action),
            "sequence": event.seq, "id": event.leaf, "module": "journeylab", "dataset": "journeylab.audit",
            "outcome": "success", "severity": kind.severity,
        },
        "message": visible(event.sentence),
        "user": {"name": visible(event.actor)},
        "service": {"type": "journeylab", "name": visible(source.sender), "version": source.version},
        "host": {"name": visible(source.host)},
        "journeylab": {"object": visible(event.object), **_own(event, source)},
    })  # fmt: skip


def _cef(event: Event, source: Source) -> str:
    header = ("JourneyLab", "JourneyLab", source.version, event.action, event.action.replace("_", " "))
    severity = "6" if _kind(event).severity == _WARNING else "3"
    head = "|".join(_escaped(one, "\\|") for one in (*header, severity))
    fields = {
        "rt": str(int(event.at.timestamp() * 1000)), "externalId": str(event.seq), "suser": event.actor,
        "act": event.action, "dvchost": source.host, "cs1Label": "object", "cs1": event.object, "cs2Label": "leaf",
        "cs2": event.leaf, "cs3Label": "sender", "cs3": source.sender,
    }  # fmt: skip
    if event.note:
        fields |= {"cs4Label": "note", "cs4": event.note}
    if event.details:
        fields |= {"msg": event.details}
    said = " ".join(f"{name}={_escaped(value, chr(92) + '=')}" for name, value in fields.items())
    return f"CEF:0|{head}|{said}"


def _ocsf(event: Event, source: Source) -> str:
    kind = _kind(event)
    return _json({
        "class_uid": 3004, "category_uid": 3, "activity_id": kind.activity, "type_uid": 300400 + kind.activity,
        "severity_id": 3 if kind.severity == _WARNING else 1, "status_id": 1,
        "time": int(event.at.timestamp() * 1000),
        "message": visible(event.sentence),
        "actor": {"user": {"name": visible(event.actor)}},
        "entity": {"name": visible(event.object) or "sender", "type": visible(event.action)},
        "metadata": {
            "version": OCSF, "sequence": event.seq, "uid": event.leaf, "log_name": "audit",
            "product": {"name": "JourneyLab", "vendor_name": "JourneyLab", "version": source.version},
        },
        "unmapped": {"host": visible(source.host), **_own(event, source)},
    })  # fmt: skip


_WRITERS: Final[Mapping[str, Callable[[Event, Source], str]]] = {
    "rfc5424": _rfc5424, "ecs": _ecs, "cef": _cef, "ocsf": _ocsf,
}  # fmt: skip
FORMATS: Final = tuple(_WRITERS)
"""The names of the formats."""


def record(event: Event, source: Source, form: str) -> str:
    """An event as one line, without a line break, in one of `FORMATS`."""
    return _WRITERS[form](event, source)


def framed(event: Event, source: Source, form: str) -> bytes:
    """An event as a syslog message with its length before it (RFC 5425, 4.3); other formats are its text."""
    message = record(event, source, form)
    if form != "rfc5424":
        fields = {"seq": str(event.seq), "leaf": event.leaf}
        message = f"{_header(event, source)} {_structured(fields)} {_text(message)}"
    data = message.encode()
    return f"{len(data)} ".encode() + data
