"""What gives a person away in a text: an address, or a token that was planted, in the forms in which texts travel."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from html import escape
from typing import Final
from urllib.parse import quote

__all__ = ["forms", "has_address", "holding"]

_ADDRESS: Final = re.compile(r"[\w.+'-]{1,64}(?:@|%40|&#64;|&#x40;|=40)(?:[\w-]{1,63}\.)+[^\W\d_]{2,24}(?![\w(]|%28)")


def has_address(text: str) -> bool:
    """Whether a text has an e-mail address in it.

    >>> has_address("to ada@shop.example."), has_address("ada%40shop.example"), has_address("@app.cell()")
    (True, True, False)
    """
    return _ADDRESS.search(text) is not None


@cache
def forms(token: str) -> tuple[str, ...]:
    """The token as it is, and as URLs, HTML, JSON, base 64, hexadecimal, quoted-printable and common hashes have it.

    >>> "YWRh" in forms("ada"), hashlib.md5(b"ada").hexdigest() in forms("ada")
    (True, True)
    """
    raw = token.encode()
    # Inside of a longer text in base 64 a token looks one of three ways, by where it begins; its ends depend on others.
    shifted = [base64.b64encode(bytes(n) + raw).decode()[-(-n * 8 // 6) : (n + len(raw)) * 8 // 6] for n in range(3)]
    hashes = [hashlib.new(name, token.strip().lower().encode()).hexdigest() for name in ("md5", "sha1", "sha256")]
    printable = "".join(chr(one) if 33 <= one <= 126 and one != 61 else f"={one:02X}" for one in raw)
    found = [
        token,
        token[::-1],
        quote(token, safe=""),
        escape(token),
        token.encode("unicode_escape").decode(),
        printable,
        raw.hex(),
    ]
    return tuple(dict.fromkeys([*found, *shifted, *hashes]))


def holding(text: str, tokens: Iterable[str]) -> list[str]:
    """Those of the tokens that a text has in any of their forms; letters of either case."""
    lower = text.casefold()
    return [token for token in tokens if any(form.casefold() in lower for form in forms(token) if len(form) > 3)]
