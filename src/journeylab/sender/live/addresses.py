"""E-mail addresses as they are kept: in their normal form, understood once for each domain."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

__all__ = ["normal_address"]

_PLAIN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LONGEST_LOCAL: Final = 64
_LONGEST: Final = 254


def normal_address(address: str) -> str | None:
    """An address in its normal form, or None where it is none.

    >>> normal_address("Ada@Mail.Example"), normal_address("ada@"), normal_address("ada@bücher.example")
    ('Ada@mail.example', None, 'ada@bücher.example')
    """
    local, _, domain = address.rpartition("@")
    if len(local) <= _LONGEST_LOCAL and len(address) <= _LONGEST and address.isascii() and _PLAIN.fullmatch(local):
        host = _host(domain)
        return host and f"{local}@{host}"
    return _understood(address)


@lru_cache(4096)
def _host(domain: str) -> str | None:
    found = _understood(f"a@{domain}")
    return found and found.partition("@")[2]


def _understood(address: str) -> str | None:
    from email_validator import EmailNotValidError, validate_email

    try:
        return validate_email(address, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError:
        return None
