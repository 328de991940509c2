"""What comes back of messages: bounces and complaints become events of their contact, and addresses are left alone.

| report | event | suppression |
|---|---|---|
| bounced, hard | `bounced` (`bounce_type` hard) | `bounced` |
| bounced, soft | `bounced` (`bounce_type` soft) | |
| complained | `complained` | `complained` |
| delivered | `delivered` | |
| delayed, an automatic reply, nothing known | none, but an action `report_left` with its reason | |

A second report of the same kind on the same message is the same report. The CRM is told of each new suppression.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Row, select

from journeylab.sender.keys import Keys
from journeylab.sender.live.intake import record
from journeylab.sender.mail.bounces import Report, ReportKind, read_report
from journeylab.sender.sending.gate import identity
from journeylab.sender.sending.notices import tell
from journeylab.sender.sending.timeline import NOBODY, Timeline
from journeylab.sender.store import act, insert_missing, lock_contacts
from journeylab.sender.store import tables as t
from journeylab.sender.store.seals import seals_of

__all__ = ["Taken", "take_report"]

_TAKEN: Final = ("bounced", "complained", "delivered")


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a report.

    Attributes:
        kind: what it is.
        reason: why it is of this kind, or why it was left; nobody's address is in it.
        is_taken: whether it says something of a message of this sender; else it is kept in the audit log.
        is_repeated: whether the same was known already.
        contact, message_key: of the message.
        suppressed: whether nothing goes to its address any more because of it.
    """

    kind: ReportKind
    reason: str
    is_taken: bool = False
    is_repeated: bool = False
    contact: str | None = None
    message_key: str | None = None
    suppressed: bool = False


def take_report(
    connection: Connection, raw: bytes, now: datetime, *, recipient: str | None = None, timeline: Timeline = NOBODY
) -> Taken:
    """What a mail that came to a return path changes; see the module's table. No report fails.

    Args:
        connection: a writing transaction.
        raw: the mail as it came.
        now: the store's instant.
        recipient: the address to which it came, by the envelope.
        timeline: who is told of messages that came back.
    """
    keys = seals_of(connection).keys
    report = read_report(raw, keys, recipient)
    send = _send_of(connection, report)
    reason = _left_because(report, send, keys)
    at = lock_contacts(connection, [send.contact], now) if send is not None and reason is None else {}
    if send is None or send.contact not in at:
        reason = reason or "its contact is not there any more"
        key = report.message_key.hex() if report.message_key else ""
        details = {"kind": report.kind, "status": report.status, "reason": reason, "said": report.reason}
        whose = None if send is None else send.contact
        act(connection, now, "reports", "report_left", key, contact=whose, **details)
        return Taken(report.kind, reason)
    if _is_known(connection, send, report):
        return Taken(
            report.kind, report.reason, is_taken=True, is_repeated=True, contact=send.contact,
            message_key=send.message_key,
        )  # fmt: skip
    instant = at[send.contact]
    about = {"message": send.message, **identity(send)}
    if report.kind == "bounced":
        about |= {"bounce_type": report.bounce_type, "status": report.status}
    record(connection, send.contact, report.kind, instant, **about)
    if report.kind == "bounced":
        timeline.tell_bounced(connection, send, instant, report.bounce_type or "hard", report.status)
    suppressed = report.kind == "complained" or (report.kind == "bounced" and report.bounce_type == "hard")
    if suppressed and send.address_digest is not None:
        of = {"address_digest": send.address_digest, "message_key": send.message_key}
        insert_missing(connection, t.suppressions, [{**of, "reason": report.kind, "at": instant}], ["address_digest"])
        data = {"contact": send.contact, "reason": report.kind, "status": report.status}
        tell(connection, "crm", f"{report.kind}_{send.message_key}", "contact.suppressed", data, instant)
    return Taken(
        report.kind, report.reason, is_taken=True, contact=send.contact, message_key=send.message_key,
        suppressed=suppressed,
    )  # fmt: skip


def _send_of(connection: Connection, report: Report) -> Row[tuple[object, ...]] | None:
    """The message that a report names, with the digest of the address it was written to."""
    if report.message_key is None:
        return None
    found = select(t.sends, t.renderings.c.address_digest).outerjoin(t.renderings)
    return connection.execute(found.where(t.sends.c.message_key == report.message_key.hex())).one_or_none()


def _left_because(report: Report, send: Row[tuple[object, ...]] | None, keys: Keys) -> str | None:
    if report.kind not in _TAKEN:
        return report.reason
    if report.message_key is None:
        return "nothing in it says which message it is of"
    if send is None:
        return "it is of a message that this sender does not have"
    if send.gated_at is None:
        return "its message has not been sent"
    written = send.address_digest
    if report.found_by == "message_id" and written is not None and report.is_of(written, keys) is False:
        return "it names a message by its Message-ID alone, and another address than that message's"
    return None


def _is_known(connection: Connection, send: Row[tuple[object, ...]], report: Report) -> bool:
    """Whether the same was said of the message: a hard bounce after a soft one is new, a soft one after it is not."""
    rows = connection.scalars(
        select(t.events.c.properties).where(t.events.c.contact == send.contact, t.events.c.event == report.kind)
    )
    same = [one for one in rows if {**one, **identity(send)} == one]
    if report.bounce_type == "hard":
        return any(one.get("bounce_type") != "soft" for one in same)
    return bool(same)
