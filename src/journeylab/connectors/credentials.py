"""How a connector shows who calls: by a token, a password, a key in a header, or a token asked for first (OAuth)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import Annotated, TypeAlias
from urllib.parse import quote_plus, urlencode

from pydantic import Field

from journeylab.journey import Definition
from journeylab.references import SecretReference

from .connector import Reach, Secrets
from .http import Call, Reply

__all__ = ["Bearer", "ClientCredentials", "Credentials", "HeaderKey", "Password", "basic", "with_token"]


class Bearer(Definition):
    """A token of the other system (RFC 6750)."""

    bearer: SecretReference

    def put_on(self, reach: Reach, secrets: Secrets) -> Reach:
        """Makes calls with the token."""
        return lambda call: reach(_with(call, "authorization", f"Bearer {secrets(self.bearer)}"))


class Password(Definition):
    """User and password (RFC 7617)."""

    user: str
    password: SecretReference

    def put_on(self, reach: Reach, secrets: Secrets) -> Reach:
        """Makes calls with user and password."""
        return lambda call: reach(_with(call, "authorization", basic(self.user, secrets(self.password))))


class HeaderKey(Definition):
    """A key in a header of its own, such as `X-Api-Key`."""

    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]
    value: SecretReference

    def put_on(self, reach: Reach, secrets: Secrets) -> Reach:
        """Makes calls with the key."""
        return lambda call: reach(_with(call, self.header.lower(), secrets(self.value)))


class ClientCredentials(Definition):
    """A token that is asked for first, with the client's own id and secret (RFC 6749, 4.4).

    Attributes:
        token_path: where, after the connector's URL.
        client_id: the client's id.
        client_secret: its secret's reference.
        scope: what the token is asked for.
    """

    token_path: str
    client_id: str
    client_secret: SecretReference
    scope: str | None = None

    def put_on(self, reach: Reach, secrets: Secrets) -> Reach:
        """Makes calls with the token; a new one is asked for where it is not taken any more."""

        def ask() -> Reply:
            form = {"grant_type": "client_credentials"} | ({} if self.scope is None else {"scope": self.scope})
            # Each is form-encoded before they are joined (RFC 6749, 2.3.1).
            who = basic(quote_plus(self.client_id), quote_plus(secrets(self.client_secret)))
            headers = {"authorization": who, "content-type": "application/x-www-form-urlencoded"}
            return reach(Call("POST", self.token_path, headers, urlencode(form).encode()))

        return with_token(reach, ask)


Credentials: TypeAlias = Bearer | Password | HeaderKey | ClientCredentials


def with_token(reach: Reach, ask: Callable[[], Reply]) -> Reach:
    """Makes calls with a token that `ask` gets, as `access_token`; once anew for a call that is answered with 401.

    What comes instead of a token is the reply to the call. The token is kept by what is returned, for all threads that
    make calls with it: of those that are refused at once, one asks.
    """
    return _WithToken(reach, ask)


class _WithToken:
    def __init__(self, reach: Reach, ask: Callable[[], Reply]) -> None:
        self._reach, self._ask, self._lock = reach, ask, Lock()
        self._token: str | None = None

    def __call__(self, call: Call) -> Reply:
        token, is_new = self._other_than(None)
        while isinstance(token, str):
            reply = self._reach(_with(call, "authorization", f"Bearer {token}"))
            if reply.status != 401:
                return reply
            if is_new:
                self._forget(token)
                return reply
            token, is_new = self._other_than(token)[0], True
        return token

    def _other_than(self, refused: str | None) -> tuple[str | Reply, bool]:
        """A token that was not refused, or why there is none; and whether it was asked for just now."""
        with self._lock:
            if self._token is not None and self._token != refused:
                return self._token, False
            reply = self._ask()
            token = reply.said.get("access_token") if reply.is_taken and isinstance(reply.said, dict) else None
            if not isinstance(token, str) or not token:
                self._token = None
                text = f"no token: {reply.text}"
                return replace(reply, status=None if reply.is_taken else reply.status, text=text, said=None), False
            self._token = token
            return token, True

    def _forget(self, token: str) -> None:
        with self._lock:
            if self._token == token:
                self._token = None


def basic(user: str, password: str) -> str:
    """The header's value for a user and a password (RFC 7617).

    >>> basic("Aladdin", "open sesame")
    'Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=='
    """
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def _with(call: Call, name: str, value: str) -> Call:
    return replace(call, headers={**call.headers, name: value})
