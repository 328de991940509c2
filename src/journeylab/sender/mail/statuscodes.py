"""What a status code of RFC 3463 says of an address: whether mail to it will ever arrive (`soft`), or never (`hard`).

A hard bounce ends all mail to a contact, so only what speaks of the address itself is one: that it does not exist, or
is closed. What speaks of the sender, of the message, or of today is soft, also where the code says "permanent".
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

__all__ = ["BounceType", "bounce_type_of", "status_in"]

BounceType: TypeAlias = Literal["hard", "soft"]

_MEANING: Final[dict[str, tuple[BounceType, str]]] = {
    "1": ("hard", "there is no such address"),
    "1.7": ("soft", "the sender's address was refused, which says nothing of the contact's"),
    "1.8": ("soft", "the sender's domain was refused, which says nothing of the contact's address"),
    "1.10": ("hard", "the domain takes no mail"),  # RFC 7505
    "2.1": ("hard", "the mailbox is closed"),
    "2.2": ("soft", "the mailbox is full"),
    "2.3": ("soft", "the message is too long for the mailbox"),
    "2.4": ("soft", "a mailing list behind the address could not be expanded"),
    "4.7": ("soft", "the message waited too long"),
    "4.310": ("hard", "the domain does not exist"),  # Exchange Online
    "6": ("soft", "the message's content was refused, which says nothing of the address"),
    "7": ("soft", "a policy or the sender's reputation was the reason, which says nothing of the address"),
    "7.17": ("hard", "the mailbox belongs to somebody else now"),  # RFC 7293
    "7.18": ("hard", "the domain belongs to somebody else now"),  # RFC 7293
}
"""By subject and detail, or by subject alone: RFC 3463 and the registry of enhanced status codes (RFC 5248)."""
_CODE: Final = re.compile(r"(?<![\d.])([245])\.([0-7])\.(\d{1,3})(?!\.?\d)", re.ASCII)
_REPLY: Final = re.compile(r"(?<![\d.])([45])[0-5]\d(?=[ -])", re.ASCII)
_NO_ADDRESS: Final = re.compile(
    r"(?:unknown|no such|invalid) (?:local |e-?mail )?(?:user|mailbox|recipient|address|account|person)"
    r"|(?:user|mailbox|recipient|address|account) (?:is )?(?:unknown|not found|disabled|closed|inactive|unavailable"
    r"|does not exist|doesn'?t exist|not exist|no longer)"
    r"|recipient address rejected: access denied|no mailbox here by that name|account that you tried to reach does not"
    r"|(?:host|domain)(?: name)? (?:not found|does not exist)|nonexistent ?domain|no such domain|unrouteable address",
    re.IGNORECASE,
)
_OF_SENDER: Final = re.compile(
    r"sender(?:'s)? (?:e-?mail )?(?:address |domain )?(?:is |was |verify )?"
    r"(?:rejected|refused|denied|blocked|invalid|not allowed|failed)",
    re.IGNORECASE,
)


def status_in(text: str) -> str | None:
    """The first status code in a text, or one as exact as the first SMTP reply code (`5.0.0` for 550); else None.

    >>> status_in("smtp; 550 5.1.1 no such user"), status_in("550 no such user"), status_in("from 192.0.2.1")
    ('5.1.1', '5.0.0', None)
    """
    if found := _CODE.search(text):
        return ".".join(str(int(part)) for part in found.groups())
    found = _REPLY.search(text)
    return f"{found[1]}.0.0" if found else None


def bounce_type_of(status: str, diagnostic: str = "") -> tuple[BounceType, str]:
    """Whether a failure of a status is hard or soft, and why in plain words.

    The table of RFC 3463 decides; where the code is vague (`5.0.0`, `5.4.1`, `5.5.0`), the words of the diagnostic.

    >>> bounce_type_of("5.1.1")
    ('hard', 'there is no such address')
    >>> bounce_type_of("5.7.1")[0], bounce_type_of("4.1.1")[0], bounce_type_of("5.0.0", "550 User unknown")[0]
    ('soft', 'soft', 'hard')
    """
    level, subject, detail = status.split(".")
    if level != "5":
        return "soft", "it is a passing failure"
    if _OF_SENDER.search(diagnostic):
        return _MEANING["1.7"]
    if meaning := _MEANING.get(f"{subject}.{detail}", _MEANING.get(subject)):
        return meaning
    if _NO_ADDRESS.search(diagnostic):
        return "hard", "there is no such address, as the relay's words say"
    return "soft", "it is permanent, but nothing says that the address is the reason"
