"""What is kept of a request as evidence: enough to show that somebody acted, not more (EDPB 05/2020, 5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any, Final

from sqlalchemy import Connection

from journeylab.sender.store.seals import Seal, seal_of

__all__ = ["evidence_of", "network_of", "opened_evidence", "sealed_evidence"]

_LONGEST_AGENT: Final = 200
_COLUMN: Final = "consents.evidence"


def network_of(ip: str | None) -> str | None:
    """The network of an IP address: its first 24 bits, or 48 of IPv6; None where it is no address.

    >>> network_of("192.0.2.77"), network_of("2001:db8:1:2::3"), network_of("::ffff:192.0.2.77"), network_of("unix:")
    ('192.0.2.0/24', '2001:db8:1::/48', '192.0.2.0/24', None)
    """
    try:
        address = ip_address((ip or "").partition("%")[0])
    except ValueError:
        return None
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(ip_network((address, 24 if address.version == 4 else 48), strict=False))


def evidence_of(ip: str | None = None, agent: str | None = None, **more: Any) -> dict[str, Any]:
    """The evidence of an act as plain data: the network it came from, the user agent cut to 200 characters, and more.

    What is missing is left out.

    >>> evidence_of("192.0.2.77", "Mozilla/5.0", form="footer")
    {'network': '192.0.2.0/24', 'agent': 'Mozilla/5.0', 'form': 'footer'}
    """
    found = {"network": network_of(ip), "agent": (agent or "")[:_LONGEST_AGENT] or None, **more}
    return {name: value for name, value in found.items() if value is not None}


def sealed_evidence(connection: Connection, contact: str, evidence: Mapping[str, Any]) -> bytes:
    """Evidence as `consents` keeps it: sealed with the contact's data key.

    Raises:
        DataError: when the contact's data were erased.
    """
    return seal_of(connection, contact).seal_json(_COLUMN, dict(evidence))


def opened_evidence(seal: Seal, sealed: bytes) -> dict[str, Any]:
    """The evidence that was sealed for a contact."""
    found: dict[str, Any] = seal.open_json(_COLUMN, sealed)
    return found
