"""Rows about people: only with a grant for a purpose, under names that are made for one report and can be destroyed."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import pandas as pd

from journeylab.errors import DataError, known, listed

from .addresses import has_address

if TYPE_CHECKING:
    from .keys import PseudonymKeys

__all__ = ["PERMISSION", "Grant", "pseudonymised"]

PERMISSION: Final = "report.pseudonymised_rows"
_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Grant:
    """That somebody may do something for a purpose until an instant.

    Attributes:
        who: the person or service.
        permission: what they may do, such as "report.pseudonymised_rows".
        purpose: what for.
        expires_at: from when on no more; aware.
    """

    who: str
    permission: str
    purpose: str
    expires_at: datetime


def pseudonymised(
    frame: pd.DataFrame,
    *,
    report: str,
    purpose: str,
    grant: Grant,
    keys: PseudonymKeys,
    columns: Sequence[str],
    now: datetime,
    contact: str = "contact",
    epoch: str = "1",
) -> pd.DataFrame:
    """The rows with a pseudonym for each contact, in the order of the pseudonyms.

    A pseudonym is the first 128 bits of HMAC-SHA256 of the id, under a key made at random for the report and epoch and
    destroyed when the grant of its first use expires: the same contact has another one in every report, and who lacks
    the key cannot make it from a list of ids or addresses, as anyone can a hash. Rows under pseudonyms are still data
    about people: what the other columns hold may tell who they are.

    Args:
        frame: the rows.
        report: the report's id.
        purpose: what the rows are for; the grant's.
        grant: the permission "report.pseudonymised_rows".
        keys: where the reports' keys are kept.
        columns: all other columns that may leave. A column that is not named here is refused, not left out.
        now: the instant of asking, aware.
        contact: the column of the ids.
        epoch: another one begins new pseudonyms for the same report.

    Raises:
        DataError: when the grant is another's, has expired or is for another purpose; a column is not declared or not
            there; a value of a declared column is one of the ids or holds an address; or the key is destroyed.
    """
    _check_grant(grant, purpose, now)
    for column in (contact, *columns):
        if column not in frame.columns:
            raise DataError(f"no column {column!r}; {known(column, frame.columns, 'columns')}")
    if undeclared := [column for column in frame.columns if column not in (contact, *columns)]:
        raise DataError(f"columns that are not declared: {listed(undeclared)}; name in columns= what may leave")
    ids = frame[contact]
    if ids.isna().any():
        raise DataError(f"{contact} is missing in some rows; take them out")
    everybody = set(ids.astype(str))
    for column in columns:
        for value in pd.unique(frame[column]):
            if has_address(str(value)) or (isinstance(value, str) and value in everybody):
                raise DataError(f"column {column!r} has an id or an address; take it out of columns=")
    key = keys.of(report, epoch, expires_at=grant.expires_at, now=now)
    names = {one: hmac.digest(key, one.encode(), sha256)[:_BYTES].hex() for one in everybody}
    rows = frame[list(columns)].copy()
    rows.insert(0, "pseudonym", ids.astype(str).map(names))
    # The order of the rows could tell the order of the ids.
    return rows.sort_values(["pseudonym", *columns], kind="stable").reset_index(drop=True)


def _check_grant(grant: Grant, purpose: str, now: datetime) -> None:
    if now.tzinfo is None or grant.expires_at.tzinfo is None:
        raise DataError("now and the grant's expires_at have a time zone; say it")
    if not purpose.strip():
        raise DataError("rows about people leave for a purpose; say which")
    if grant.permission != PERMISSION:
        raise DataError(f"{grant.who} has permission {grant.permission!r}; rows under pseudonyms need {PERMISSION!r}")
    if grant.purpose != purpose:
        raise DataError(f"{grant.who} has the permission for {grant.purpose!r}, not for {purpose!r}")
    if grant.expires_at <= now:
        raise DataError(f"the permission of {grant.who} expired at {grant.expires_at.isoformat()}; ask for a new one")
