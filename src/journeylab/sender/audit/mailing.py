"""Checkpoints by mail: the signed note to a mailbox that is not the sender's, and the notes in mails that were saved.

A mail has the note and, a line each, the hashes of the leaves that came since the mail before, by which a fault is
located to the entry. Nothing about a person can be read from either. What a mailbox has taken nobody takes back who
administers the sender; the note's own signature is what is verified, so that a mail may be forwarded or saved anyhow.
"""

from __future__ import annotations

from collections.abc import Sequence
from email import message_from_bytes
from email.message import Message
from html import escape
from typing import Final

from journeylab.language import instant_text, plural, say, using
from journeylab.sender.mail.compose import Envelope, HeaderError, compose
from journeylab.sender.mail.dkim import DkimKey, signed
from journeylab.sender.mail.rendering import Rendered
from journeylab.sender.sending.onemail import NotTaken, hand_over
from journeylab.sender.settings import Settings

from .checkpoints import Checkpoint
from .shipping import Unsent

__all__ = ["composed", "mail", "text_in"]

_MOST_LEAVES: Final = 5000
"""How many leaves a mail has at most; where more have come, it has none, and a fault is located by its note alone."""
_MOST_BYTES: Final = 4 * 1024 * 1024


def composed(note: str, made: Checkpoint, first: int, leaves: Sequence[bytes], settings: Settings) -> bytes:
    """The mail with a checkpoint, DKIM-signed where the settings name a key.

    Args:
        note: the signed note.
        made: what it states.
        first: the number of the first leaf.
        leaves: the hashes of the leaves from there on.
        settings: the sender's, whose `audit.mail` says to whom.

    Raises:
        DataError: when the DKIM key cannot be read.
        HeaderError: when the sender's name or the mailbox can stand in no header.
    """
    to = settings.audit.mail
    assert to is not None  # the settings see to it
    lines = [f'seq="{seq}" leaf="{leaf.hex()}"' for seq, leaf in enumerate(leaves, first)]
    with using(settings.language):
        subject = say("Checkpoint of the audit log: {sender}, {n}", sender=settings.sender, n=made.size)
        said = [
            plural(
                "At {at} the audit log of {sender} had {n} entry.",
                "At {at} the audit log of {sender} had {n} entries.",
                made.size, at=instant_text(made.at, is_long=True), sender=settings.sender,
            ),
            say(
                "Keep this mail where nobody who runs the sender can change or delete it. With it the command "
                "“journeylab audit verify --against FOLDER” finds what was changed in the log before."
            ),
        ]  # fmt: skip
    text = "\n".join([*said, "", note.rstrip("\n"), "", *(lines if len(lines) <= _MOST_LEAVES else []), ""])
    domain = settings.domain
    envelope = Envelope(
        f"<checkpoint.{made.at:%Y%m%dT%H%M%S.%f}.{made.size}@{domain}>", settings.from_.address, to.to, made.at,
        from_name=settings.from_.name,
    )  # fmt: skip
    page = f"<!doctype html><html><body><pre>{escape(text)}</pre></body></html>"
    data = compose(Rendered(subject, page, text), envelope).data
    key = DkimKey.read(settings)
    return data if key is None else signed(data, key)


def mail(note: str, made: Checkpoint, first: int, leaves: Sequence[bytes], settings: Settings) -> None:
    """Gives a checkpoint to a relay, and returns once that has taken it.

    Raises:
        Unsent: when it has not taken it, as far as can be known; it may come twice then.
        DataError, HeaderError: as `composed`, and when the relay's password or authorities cannot be read.
    """
    to = settings.audit.mail
    assert to is not None  # the settings see to it
    try:
        data = composed(note, made, first, leaves, settings)
        hand_over(data, to.to, settings, to.relay)
    except HeaderError as problem:
        raise Unsent(f"the checkpoint cannot be written as a mail: {problem}") from None
    except NotTaken as problem:
        raise Unsent(f"the checkpoint: {problem}") from None


def text_in(raw: bytes) -> str:
    """The plain text in a mail as it was saved, its transfer encoding undone; empty where there is none."""
    parts = message_from_bytes(raw[:_MOST_BYTES]).walk()
    return "\n".join(_text(one) for one in parts if one.get_content_type() == "text/plain").replace("\r\n", "\n")


def _text(part: Message) -> str:
    data = part.get_payload(decode=True)
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else ""
