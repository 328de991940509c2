"""Unsubscribing by mail, as some mail programs do where `List-Unsubscribe` names a mailbox (RFC 2369)."""

from __future__ import annotations

import re
from datetime import datetime
from email.parser import BytesHeaderParser
from typing import Final

from sqlalchemy import Connection, select

from journeylab.errors import DataError
from journeylab.sender.keys import Keys
from journeylab.sender.store import tables as t
from journeylab.sender.store.seals import seals_of

from .withdrawals import Receipt, withdraw

__all__ = ["mailto", "take_unsubscription"]

_MOST_BYTES: Final = 64 * 1024
_TOKEN: Final = re.compile(r"[a-z2-7]{52}", re.IGNORECASE | re.ASCII)


def mailto(mailbox: str, keys: Keys, message_key: bytes) -> str:
    """The mailbox with the subject that names a message, for `Envelope.unsubscribe_mailto`.

    >>> mailto("unsubscribe@shop.example", Keys(bytes(32)), bytes(16))
    'unsubscribe@shop.example?subject=aaaaaaaaaaaaaaaaaaaaaaaaaa...'
    """
    return f"{mailbox}?subject={keys.token('unsubscribe', message_key)}"


def take_unsubscription(connection: Connection, raw: bytes, now: datetime) -> Receipt | None:
    """The receipt of a withdrawal that came by mail, or None where the mail asks for none.

    The subject must be the token that a message has put there, and nothing else: an answer that quotes a message, and
    one that a program sent, withdraw nothing.

    Args:
        connection: a writing transaction.
        raw: the mail as it came.
        now: the store's instant.
    """
    mail = BytesHeaderParser().parsebytes(raw[:_MOST_BYTES])
    subject = "".join(str(mail.get("Subject", "")).split())
    is_automatic = str(mail.get("Auto-Submitted", "no")).strip().lower() != "no"
    if is_automatic or _TOKEN.fullmatch(subject) is None:
        return None
    key = seals_of(connection).keys.named_by("unsubscribe", subject)
    send = key and connection.execute(select(t.sends).where(t.sends.c.message_key == key.hex())).one_or_none()
    if not send:
        return None
    try:
        return withdraw(connection, send.contact, send.purpose, "mail", {}, now, message_key=send.message_key)
    except DataError:  # the contact is not there any more
        return None
