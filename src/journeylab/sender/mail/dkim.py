"""DKIM signatures (RFC 6376, RFC 8463): who signs, over what, and the record to publish.

Headers and body are made canonical by dkimpy; the signature itself is made by `cryptography`, and its time is that of
the message's Date, so that the same message always has the same bytes.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from journeylab.errors import DataError
from journeylab.keyfiles import read_private, write_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from journeylab.sender.settings import Settings

__all__ = ["SIGNED", "DkimKey", "dns_record", "signed", "write_key"]

SIGNED: Final = (
    "From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Reply-To", "List-Id",
    "List-Unsubscribe", "List-Unsubscribe-Post", "Feedback-ID",
)  # fmt: skip
"""The headers that are signed; each also once more than it is there, so that none can be added (RFC 6376, 8.15)."""
LEAST_BITS: Final = 2048


@dataclass(frozen=True)
class DkimKey:
    """A private key with the domain (`d=`) and the selector (`s=`) under which its public half is published."""

    domain: str
    selector: str
    key: RSAPrivateKey | Ed25519PrivateKey = field(repr=False)

    @classmethod
    def from_pem(cls, pem: bytes, domain: str, selector: str, source: str = "the DKIM key") -> DkimKey:
        """The key in a PEM text: RSA of at least 2048 bits, or Ed25519.

        Raises:
            DataError: when it is no such key, saying how to make one.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        make = "make one: openssl genrsa -out dkim.pem 2048"
        if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", selector, re.IGNORECASE):
            raise DataError(f"{selector!r} is no DKIM selector; it has letters, digits and hyphens, such as s1")
        try:
            key = load_pem_private_key(pem, None)
        except TypeError:
            raise DataError(
                f"{source}: the key asks for a password; store it without one, for its owner alone"
            ) from None
        except (ValueError, UnsupportedAlgorithm):
            raise DataError(f"{source}: there is no private key in PEM here; {make}") from None
        if isinstance(key, Ed25519PrivateKey):
            return cls(domain, selector, key)
        if not isinstance(key, RSAPrivateKey):
            raise DataError(f"{source}: DKIM signs with RSA or Ed25519, and this is another kind of key; {make}")
        if key.key_size < LEAST_BITS:
            raise DataError(f"{source}: RSA of {key.key_size} bits is too weak, {LEAST_BITS} are needed; {make}")
        return cls(domain, selector, key)

    @classmethod
    def read(cls, settings: Settings) -> DkimKey | None:
        """The key that the settings name; None where they name none.

        Raises:
            DataError: when it cannot be read, others may read it, or it is no key for DKIM.
        """
        if settings.dkim is None:
            return None
        path = settings.path(settings.dkim.key)
        pem = read_private(path, "`journeylab messages dkim --make-key` makes one")
        return cls.from_pem(pem, settings.dkim.domain, settings.dkim.selector, str(path))

    @property
    def algorithm(self) -> str:
        """`rsa` or `ed25519`, as the record's `k=` names it."""
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

        return "rsa" if isinstance(self.key, RSAPrivateKey) else "ed25519"

    @property
    def record_name(self) -> str:
        """The name in DNS under which the public key is looked up."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def public(self) -> str:
        """The public key as the record's `p=` has it: SubjectPublicKeyInfo for RSA, the 32 bytes for Ed25519."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        kind = self.algorithm
        encoding, form = (
            (Encoding.DER, PublicFormat.SubjectPublicKeyInfo) if kind == "rsa" else (Encoding.Raw, PublicFormat.Raw)
        )
        return b64encode(self.key.public_key().public_bytes(encoding, form)).decode()

    def sign(self, digest: bytes) -> bytes:
        """The signature of a SHA-256 digest."""
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
        from cryptography.hazmat.primitives.hashes import SHA256

        if isinstance(self.key, RSAPrivateKey):
            return self.key.sign(digest, PKCS1v15(), Prehashed(SHA256()))
        return self.key.sign(digest)


def write_key(path: Path) -> None:
    """Makes a key, RSA of 2048 bits, and writes it as PEM to a new file that its owner alone may read.

    Raises:
        DataError: when there is a file already, or it cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = generate_private_key(65537, LEAST_BITS)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(path, pem, "name another file and another selector for a new one")


def dns_record(key: DkimKey) -> str:
    """The line of a zone file that publishes a key: a TXT record, its text in strings of at most 255 letters."""
    text = f"v=DKIM1; k={key.algorithm}; p={key.public}"
    strings = " ".join(f'"{text[i : i + 255]}"' for i in range(0, len(text), 255))
    return f"{key.record_name}. IN TXT ( {strings} )"


def signed(data: bytes, key: DkimKey) -> bytes:
    """The message with a DKIM-Signature before its first header: relaxed/relaxed, the headers of `SIGNED`.

    Raises:
        DataError: when the message has no From or no Date.
    """
    from dkim import HashThrough, fold, hash_headers, rfc822_parse
    from dkim.canonicalization import CanonicalizationPolicy

    headers, body = rfc822_parse(data)
    names = [name.lower() for name, _ in headers]
    dates = [value for name, value in headers if name.lower() == b"date"]
    if b"from" not in names or not dates:
        raise DataError("a message without From and Date cannot be signed")
    policy = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")
    include = [name.lower().encode() for name in SIGNED]
    include = sorted([name for name in names if name in include] + include, key=include.index)
    fields = [
        (b"v", b"1"),
        (b"a", f"{key.algorithm}-sha256".encode()),
        (b"c", policy.to_c_value()),
        (b"d", key.domain.encode()),
        (b"s", key.selector.encode()),
        (b"t", str(int(parsedate_to_datetime(dates[0].decode().strip()).timestamp())).encode()),
        (b"h", b" : ".join(include)),
        (b"bh", b64encode(sha256(policy.canonicalize_body(body)).digest())),
        (b"b", b""),
    ]
    unsigned = fold(b"; ".join(b"=".join(one) for one in fields), len("DKIM-Signature"), b"\r\n")
    hashed: Any = HashThrough(sha256())
    hash_headers(
        hashed,
        policy,
        policy.canonicalize_headers(headers),
        include,
        (b"DKIM-Signature", b" " + unsigned),
        dict(fields),
    )
    signature = b64encode(key.sign(hashed.digest())).decode()
    lines = [signature[i : i + 72] for i in range(0, len(signature), 72)]
    header: bytes = b"DKIM-Signature: " + unsigned + b"\r\n " + "\r\n ".join(lines).encode()
    return header + b"\r\n" + data
