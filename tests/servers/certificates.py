"""Certificates of an authority that only tests trust."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from . import LOOPBACK


class Authority:
    """A certificate authority of the tests' own; who trusts `file` trusts its certificates.

    `certificate()` writes a key and its chain to one PEM file, as servers here want it. By default it is for
    `localhost` and 127.0.0.1; other names, or `expired=True`, make one that a careful client refuses.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self._n_issued = 0
        self.file = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def certificate(self, *names: str, expired: bool = False) -> Path:
        now = datetime.now(UTC)
        issued = self._authority.issue_cert(
            *(names or ("localhost", LOOPBACK)),
            not_before=now - timedelta(days=2),
            not_after=now + timedelta(days=-1 if expired else 30),
        )
        self._n_issued += 1
        path = self._folder / f"server{self._n_issued}.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(str(path))
        return path
