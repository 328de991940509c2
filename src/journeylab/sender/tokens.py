"""Tokens of services: what a CRM, a scraper of metrics or a CI job shows instead of sharing a secret with others.

A token is 256 bits of the system's randomness, shown once when it is made; kept is its SHA-256 alone, by which it is
found. Nobody could try all 2^256, so that digest needs neither salt nor key. A token is for what its scope says, until
it expires or is revoked, and it may nothing that its maker may not: who has no permission cannot hand it to a service,
and who loses one takes it from the tokens that they made. What tells of persons, looks after keys and tokens, or acts
for others is in no scope.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from sqlalchemy import Connection, Row, insert, select, update

from journeylab.durations import duration_text
from journeylab.errors import DataError, known
from journeylab.language import plural
from journeylab.sender.settings import WAYS_IN
from journeylab.sender.store import act
from journeylab.sender.store import tables as t

from .permissions import SCOPES, Permission, allowed

if TYPE_CHECKING:
    from .acting import Acting
    from .settings import Settings

__all__ = [
    "LONGEST",
    "PREFIX",
    "SOON",
    "Token",
    "create",
    "lamed",
    "listed",
    "looks_like_one",
    "revoke",
    "soon_over",
    "valid",
]

PREFIX: Final = "jlt_"
"""How every token begins, so that tools that look for secrets find it."""
LONGEST: Final = timedelta(days=400)
"""How long a token is valid at most."""
SOON: Final = timedelta(days=14)
"""How long before its end `doctor` warns of it."""
_FORM: Final = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
State = Literal["valid", "expired", "revoked"]


class Token(NamedTuple):
    """A token as it is kept: the service's name, what it may, and until when; instants are aware UTC."""

    name: str
    scope: frozenset[Permission]
    created_at: datetime
    created_by: str
    expires_at: datetime
    revoked_at: datetime | None
    revoked_by: str | None

    @property
    def actor(self) -> str:
        """The service as the audit log names it; no account of a system has a colon in its name."""
        return f"service:{self.name}"

    def state(self, now: datetime) -> State:
        """What it is at an instant."""
        if self.revoked_at is not None:
            return "revoked"
        return "valid" if now < self.expires_at else "expired"


def create(
    connection: Connection, maker: Acting, name: str, scope: Collection[str], lifetime: timedelta, now: datetime
) -> str:  # fmt: skip
    """A new token, which nobody can be shown again.

    Args:
        connection: of `Store.writing`.
        maker: who makes it, with what they may.
        name: the service's; of letters, digits, - and _.
        scope: the permissions that it has, some of `SCOPES`.
        lifetime: how long it is valid, at most 400 days.
        now: the store's instant.

    Raises:
        DataError: when the name is none or has a token, the scope is empty or more than a service or its maker may, or
            the lifetime is too long.
    """
    if not _NAME.fullmatch(name):
        raise DataError(
            f"{name!r} names no service; write small letters, digits, - and _, at most 40, as in crm-import"
        )
    if name in WAYS_IN:
        raise DataError(f"{name} is a way in of its own, by which settings know it; name the service otherwise")
    if not scope:
        raise DataError("a token is for something; say what with --may")
    wanted: set[Permission] = set()
    for one in scope:
        if one not in SCOPES:
            raise DataError(f"no token may have {one!r}; {known(one, SCOPES, 'permissions of services')}")
        if one not in maker.permissions:
            raise DataError(f"{maker.name} may not {one} and so can give it to nobody; somebody who may has to")
        wanted.add(one)
    if not timedelta(0) < lifetime <= LONGEST:
        raise DataError(f"a token is valid for at most {duration_text(LONGEST)}, got {duration_text(lifetime)}")
    there = connection.execute(select(t.tokens).where(t.tokens.c.name == name, _HOLDS)).one_or_none()
    if there is not None:
        raise DataError(
            f"{name} has a token until {there.expires_at:%Y-%m-%d}; revoke it, or name the new one otherwise"
        )
    text, expires_at = PREFIX + secrets.token_urlsafe(32), now + lifetime
    row = {
        "name": name, "digest": _digest(text), "scope": sorted(wanted), "created_at": now, "created_by": maker.name,
        "expires_at": expires_at,
    }  # fmt: skip
    connection.execute(insert(t.tokens), row)
    may = ", ".join(sorted(wanted))
    act(connection, now, maker.name, "token_created", f"token/{name}", may=may, expires_at=expires_at.isoformat())
    return text


def revoke(connection: Connection, name: str, actor: str, now: datetime) -> Token:
    """Takes a token's power from it at once.

    Raises:
        DataError: when the service has none.
    """
    found = connection.execute(select(t.tokens).where(t.tokens.c.name == name, _HOLDS)).one_or_none()
    if found is None:
        names = {*connection.scalars(select(t.tokens.c.name).where(_HOLDS))}
        raise DataError(f"{name!r} has no token; {known(name, names, 'services with one')}")
    ended = update(t.tokens).where(t.tokens.c.token_id == found.token_id)
    connection.execute(ended.values(revoked_at=now, revoked_by=actor))
    act(connection, now, actor, "token_revoked", f"token/{name}")
    return _token(found)._replace(revoked_at=now, revoked_by=actor)


def valid(connection: Connection, settings: Settings, text: str, now: datetime) -> Token | None:
    """The token that a text is, found by its digest; None where there is none, or it is expired or revoked.

    Its scope is what is left of it: what its maker may still do.
    """
    if not looks_like_one(text):
        return None
    found = connection.execute(select(t.tokens).where(t.tokens.c.digest == _digest(text))).one_or_none()
    token = None if found is None else _token(found)
    if token is None or token.state(now) != "valid":
        return None
    return token._replace(scope=token.scope & allowed(settings, token.created_by))


def looks_like_one(text: str) -> bool:
    """Whether a text is written as tokens are."""
    return _FORM.fullmatch(text) is not None


def listed(connection: Connection) -> list[Token]:
    """All tokens that there were, the newest first."""
    return [_token(row) for row in connection.execute(select(t.tokens).order_by(t.tokens.c.token_id.desc()))]


def lamed(connection: Connection, settings: Settings, now: datetime) -> list[str]:
    """The services whose valid token may less than it says, as its maker may less than then."""
    there = [one for one in listed(connection) if one.state(now) == "valid"]
    return sorted(one.name for one in there if not one.scope <= allowed(settings, one.created_by))


def soon_over(connection: Connection, now: datetime) -> str | None:
    """Which tokens expire within 14 days, as a sentence; None where none does."""
    found = [one for one in listed(connection) if one.state(now) == "valid" and one.expires_at - now <= SOON]
    if not found:
        return None
    names = ", ".join(f"{one.name} ({one.expires_at:%Y-%m-%d})" for one in reversed(found))
    return plural(
        "{n} token is over within 14 days: {names}; make another one in time",
        "{n} tokens are over within 14 days: {names}; make others in time",
        len(found), names=names,
    )  # fmt: skip


_HOLDS: Final = t.tokens.c.revoked_at.is_(None)


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _token(row: Row[tuple[object, ...]]) -> Token:
    return Token(
        row.name, frozenset(row.scope), row.created_at, row.created_by, row.expires_at, row.revoked_at, row.revoked_by
    )
