"""What settings refer to outside of themselves: web servers by their address, and secrets by where they are.

A secret is `env:NAME`, `file:PATH`, `credential:NAME` (systemd's `LoadCredential`), or `command:PATH`, a program that
prints it, such as one that asks a key service.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

from pydantic import BeforeValidator

from journeylab.errors import DataError

__all__ = ["LOOPBACK", "BaseUrl", "SecretReference", "secret"]

LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_NOT_IN_URL: Final = re.compile(r"[^!-~]|[?#\\<>\"]")


def _base_url(value: object) -> str:
    from urllib.parse import urlsplit

    text = str(value).rstrip("/")
    if "@" in text:
        raise ValueError("an address of a web server has no user and no password in it")
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme not in ("https", "http") or not host or port == 0 or _NOT_IN_URL.search(text):
        raise ValueError(f"{value!r} is no address of a web server, such as https://mail.shop.example")
    if scheme == "http" and host not in LOOPBACK:
        raise ValueError(f"{value!r} must begin with https://; only this machine is reached by http://")
    return text


def _reference(value: object) -> str:
    """A secret's reference; a value that is none may be the secret itself, so no message shows it."""
    kind, _, name = str(value).partition(":")
    if kind not in _KINDS or not name.strip():
        raise ValueError(f"a secret is written {_WAYS}; it does not stand in the settings itself")
    return str(value)


BaseUrl = Annotated[str, BeforeValidator(_base_url)]
SecretReference = Annotated[str, BeforeValidator(_reference)]


def secret(reference: str, folder: Path) -> str:
    """The secret that a reference names; see the module's text. Paths are relative to `folder`.

    Raises:
        DataError: when there is none, saying how to give it; the message never has the secret.
    """
    kind, _, name = reference.partition(":")
    if kind not in _KINDS or not name.strip():
        raise DataError(f"a secret is written {_WAYS}; it does not stand in the settings itself")
    value = _KINDS[kind](reference, name, folder)
    if not value:
        raise DataError(f"the secret {reference} is empty")
    return value


def _of_environment(reference: str, name: str, folder: Path) -> str:  # noqa: ARG001
    value = os.environ.get(name)
    if not value:
        raise DataError(f"the secret {reference} is not set; set the environment variable {name}")
    return value


def _in_file(reference: str, name: str, folder: Path) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8").strip()
    except OSError as problem:
        raise DataError(f"the secret {reference} cannot be read: {problem.strerror}") from None
    except ValueError:
        raise DataError(f"the secret {reference} cannot be read: the file is no UTF-8 text") from None


def _credential(reference: str, name: str, folder: Path) -> str:  # noqa: ARG001
    """A credential that systemd has put down for the service (systemd.exec(5), LoadCredential)."""
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    if not given:
        raise DataError(f"the secret {reference} is not there: only a service that systemd starts has credentials")
    if "/" in name:
        raise DataError(f"the secret {reference} is no credential's name: it has a / in it")
    return _in_file(reference, name, Path(given))


def _printed(reference: str, name: str, folder: Path) -> str:
    """What a program prints; what it says on its error output is shown to whoever started the sender."""
    import subprocess

    try:
        done = subprocess.run([folder / name], stdout=subprocess.PIPE, timeout=_PATIENCE, check=True)
        return done.stdout.decode().strip()
    except OSError as problem:
        raise DataError(f"the secret {reference}: the program cannot be run: {problem.strerror}") from None
    except subprocess.CalledProcessError as problem:
        raise DataError(f"the secret {reference}: the program ended with {problem.returncode}") from None
    except subprocess.TimeoutExpired:
        raise DataError(f"the secret {reference}: the program took longer than {_PATIENCE} seconds") from None
    except ValueError:
        raise DataError(f"the secret {reference}: the program printed no UTF-8 text") from None


_KINDS: Final[dict[str, Callable[[str, str, Path], str]]] = {
    "env": _of_environment, "file": _in_file, "credential": _credential, "command": _printed,
}  # fmt: skip
_WAYS: Final = "env:NAME, file:PATH, credential:NAME or command:PATH"
_PATIENCE: Final = 30
