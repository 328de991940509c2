"""The store that a sender's settings name, opened with the sender's keys where its file is encrypted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from journeylab.errors import DataError

from .keys import key_ring
from .store import Store
from .store.encrypted import is_encrypted

if TYPE_CHECKING:
    from .keys import Keys
    from .settings import Settings
    from .store import Clock

__all__ = ["own_store", "store_of", "store_url"]


def store_url(settings: Settings) -> str:
    """The URL of the store that settings name; a SQLite file is relative to the settings' file, like all paths."""
    url = make_url(settings.store)
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return settings.store
    return url.set(database=str(settings.path(url.database))).render_as_string(hide_password=False)


def own_store(
    settings: Settings,
    keys: Keys | None = None,
    *,
    url: str | None = None,
    clock: Clock | None = None,
    create: bool = False,
) -> Store:
    """The sender's store.

    Args:
        settings: the sender's.
        keys: the sender's, where personal data are to be opened.
        url: the store's, where it is another one than the settings'.
        clock: another clock than the database's.
        create: whether to make what is missing; see `Store.open`.

    Raises:
        DataError: when it cannot be reached or used, or the key ring that a file is encrypted with cannot be read.
    """
    where = url or store_url(settings)
    file_key = key_ring(settings, create=create).of("file") if keys is None and is_encrypted(make_url(where)) else None
    return Store.open(where, keys, file_key=file_key, clock=clock, create=create)


def store_of(settings: Settings, *, url: str | None = None, clock: Clock | None = None) -> Store | None:
    """The sender's store; None where there are no tables yet. The arguments are those of `own_store`.

    Raises:
        DataError: as `own_store`.
    """
    parsed = make_url(url or store_url(settings))
    if parsed.get_backend_name() == "sqlite" and parsed.database and not Path(parsed.database).exists():
        return None
    try:
        return own_store(settings, url=url, clock=clock)
    except DataError as problem:
        if "has no tables yet" in str(problem):
            return None
        raise
