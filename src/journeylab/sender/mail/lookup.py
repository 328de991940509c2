"""Looking up in DNS what `lint` asks of the sender's domains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dns.resolver import Resolver

    from .lint import Dns

__all__ = ["lookup"]

SECONDS: Final = 5.0
"""How long one look-up may take."""


def lookup(resolver: Resolver | None = None) -> Dns:
    """How names are looked up: the texts of the records, empty where there are none.

    The texts of a TXT record are joined, as SPF and DKIM ask (RFC 7208, 3.3; RFC 6376, 3.6.2.2). What is called raises
    OSError where no answer comes. Each name and type is asked for once.

    Args:
        resolver: dnspython's; by default that of this machine's own configuration.
    """
    from dns.exception import DNSException
    from dns.resolver import NXDOMAIN, NoAnswer, NoResolverConfiguration
    from dns.resolver import Resolver as Made

    known: dict[tuple[str, str], list[str]] = {}
    made = resolver

    def ask(name: str, kind: str) -> list[str]:
        nonlocal made
        if (name, kind) not in known:
            try:
                made = made or Made()
                answers = made.resolve(f"{name}.", kind, lifetime=SECONDS)
                known[name, kind] = [
                    b"".join(one.strings).decode("utf-8", "replace") if kind == "TXT" else one.to_text()
                    for one in answers
                ]
            except (NXDOMAIN, NoAnswer):
                known[name, kind] = []
            except (DNSException, NoResolverConfiguration) as problem:
                raise OSError(f"{name} {kind}: {problem}") from None
        return known[name, kind]

    return ask
