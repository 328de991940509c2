"""What the sender's commands share: its settings' file, its store, and who acts."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from journeylab.errors import DataError

if TYPE_CHECKING:
    from journeylab.sender.store import Store

__all__ = ["SETTINGS", "Actor", "SettingsFile", "opened", "who_acts"]

SettingsFile = Annotated[Path, typer.Option("--settings", metavar="FILE", help="The sender's settings.")]
Actor = Annotated[str | None, typer.Option("--actor", metavar="NAME", help="Who does it; by default who is logged in.")]
SETTINGS = Path("sender.yaml")


def who_acts(given: str | None) -> str:
    """Who acts: who is named, else who is logged in."""
    if given:
        return given
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise typer.BadParameter("nobody is logged in here; say who does it", param_hint="--actor") from None


@contextmanager
def opened(settings: Path, *, personal: bool = False) -> Iterator[Store]:
    """The store of the settings in a file, which was promoted to before.

    Args:
        settings: the settings' file.
        personal: whether personal data are to be opened, for which the key ring is read.

    Raises:
        DataError: when nothing was, or the key ring cannot be read.
    """
    from journeylab.sender.keys import key_ring
    from journeylab.sender.promotion.promoting import store_of, store_url
    from journeylab.sender.settings import Settings

    read = Settings.read(settings)
    store = store_of(store_url(read))
    if store is None:
        raise DataError("nothing was ever promoted to this store; `journeylab promote` makes the first release")
    try:
        yield store.with_keys(key_ring(read)) if personal else store
    finally:
        store.close()
