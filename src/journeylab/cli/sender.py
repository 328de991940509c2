"""What the sender's commands share: its settings' file, its store, and who acts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from journeylab.errors import DataError
from journeylab.sender.acting import account

if TYPE_CHECKING:
    from journeylab.sender.store import Store

__all__ = ["SETTINGS", "Actor", "SettingsFile", "account", "opened", "permit", "who_acts"]

SettingsFile = Annotated[Path, typer.Option("--settings", metavar="FILE", help="The sender's settings.")]
Actor = Annotated[str | None, typer.Option("--actor", metavar="NAME", help="Who does it; by default who is logged in.")]
SETTINGS = Path("sender.yaml")


_service: ContextVar[str | None] = ContextVar("_service", default=None)


def who_acts(given: str | None) -> str:
    """Who acts: who is named, else the service whose token `permit` has found, else the account."""
    return given or _service.get() or account()


def permit(path: str, options: Mapping[str, Any]) -> None:
    """Lets a command go on that the account, or its token's service, may give; see `journeylab.sender.permissions`.

    Args:
        path: the command, without the program's name: "contacts show".
        options: its parameters by name.

    Raises:
        DataError: when who acts may not, or no table says who may.
    """
    from journeylab.sender.permissions import COMMANDS

    _service.set(None)
    if path not in COMMANDS:
        raise DataError(f"no permission is declared for `{path}`, so nobody may give it")
    given = (f"{path} --{name.replace('_', '-')}" for name, value in options.items() if value)
    needed = [COMMANDS[one] for one in (path, *given) if one in COMMANDS]
    wanted = [one for one in needed if one != "everybody"]
    if not wanted or "settings" not in options:
        return
    from journeylab.sender.acting import acting
    from journeylab.sender.settings import Settings

    if options["settings"] is None or not Path(options["settings"]).exists():
        return  # the command itself says so
    settings = Settings.read(options["settings"])
    who = acting(settings)
    for one in wanted:
        who.require(one)
    who.named(options.get("actor"))
    if who.is_service:
        _service.set(who.name)


@contextmanager
def made(settings: Path, *, personal: bool = False) -> Iterator[Store]:
    """The store of the settings in a file, which is made where there is none yet; `personal` as `opened` has it.

    Raises:
        DataError: when it cannot be made, or the key ring neither.
    """
    from journeylab.sender.keys import key_ring
    from journeylab.sender.ownstore import own_store
    from journeylab.sender.settings import Settings

    read = Settings.read(settings)
    store = own_store(read, key_ring(read, create=True) if personal else None, create=True)
    try:
        yield store
    finally:
        store.close()


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
    from journeylab.sender.ownstore import store_of
    from journeylab.sender.settings import Settings

    read = Settings.read(settings)
    store = store_of(read)
    if store is None:
        raise DataError("nothing was ever promoted to this store; `journeylab promote` makes the first release")
    try:
        yield store.with_keys(key_ring(read)) if personal else store
    finally:
        store.close()
