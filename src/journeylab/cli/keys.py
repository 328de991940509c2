"""The commands over the key ring: what it has, a new key, and the destruction of one that nothing needs any more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from journeylab.display import counted
from journeylab.errors import DataError

from .options import AsJson
from .screen import show_json
from .sender import SETTINGS, Actor, SettingsFile, opened, who_acts

if TYPE_CHECKING:
    from journeylab.sender.keys import Keys
    from journeylab.sender.settings import Settings

__all__ = ["keys"]

keys = typer.Typer(
    help="Rotate the keys with which personal data are sealed and links are made.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Where the new ring goes, when the settings' one is in no file."),
]


def _ring(settings: Path) -> tuple[Settings, Keys]:
    from journeylab.sender.keys import key_ring
    from journeylab.sender.settings import Settings

    read = Settings.read(settings)
    return read, key_ring(read)


def _target(read: Settings, out: Path | None) -> Path:
    """The file that the ring is written to: its own, or another one that is named."""
    kind, _, name = read.key_ring.partition(":")
    if out is not None:
        return out
    if kind != "file":
        raise DataError(
            f"the key ring is in {read.key_ring}, which cannot be written to; say --out FILE and put it there"
        )
    return read.path(name)


@keys.command("list")
def list_keys(settings: SettingsFile = SETTINGS, as_json: AsJson = False) -> None:
    """Say how many keys the ring has, which one is used, and how many contacts each one seals."""
    from journeylab.sender.store.seals import sealed_by

    _, ring = _ring(settings)
    with opened(settings) as store, store.reading() as connection:
        n = sealed_by(connection)
    states = dict.fromkeys(range(1, ring.newest), "kept") | dict.fromkeys(ring.destroyed, "destroyed")
    states[ring.newest] = "in use"
    if as_json:
        rows = [{"key": key, "state": state, "n_contacts": n.get(key, 0)} for key, state in states.items()]
        show_json({"keys": rows})
        return
    for key, state in states.items():
        typer.echo(f"{key}: {state}, seals {counted(n.get(key, 0), 'contact')}")


@keys.command("rotate")
def rotate(settings: SettingsFile = SETTINGS, out: Out = None, actor: Actor = None) -> None:
    """Make a new key, and seal all contacts' data keys with it; links that were made before stay valid.

    Processes that run keep what they know until they are started anew.

    \b
    Examples:
      journeylab keys rotate
    """
    from journeylab.sender.store import act
    from journeylab.sender.store.seals import rewrap

    who = who_acts(actor)
    read, ring = _ring(settings)
    target, turned = _target(read, out), ring.rotated()
    with opened(settings) as store:
        turned.write(target)  # before anything is sealed with it
        n = rewrap(store.with_keys(turned))
        with store.writing() as connection:
            act(connection, store.now(connection), who, "key_rotated", "key ring", newest=turned.newest, n_contacts=n)
    typer.echo(f"{target}: key {turned.newest} is in use; {counted(n, 'contact')} sealed with it")


@keys.command("destroy")
def destroy(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="The key's number, as `keys list` shows it.")],
    settings: SettingsFile = SETTINGS,
    out: Out = None,
    actor: Actor = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Destroy a key with which nothing is sealed any more; links and return paths that it made are not known then.

    \b
    Examples:
      journeylab keys destroy 2
    """
    from journeylab.sender.store import act
    from journeylab.sender.store.seals import sealed_by

    who = who_acts(actor)
    read, ring = _ring(settings)
    left = ring.without(number)
    with opened(settings) as store:
        with store.reading() as connection:
            n = sealed_by(connection).get(number, 0)
        if n:
            raise DataError(f"key {number} still seals {n} contacts; `journeylab keys rotate` seals them anew")
        if not yes:
            typer.confirm(f"destroy key {number}? Unsubscribe links that it made will not work any more", abort=True)
        target = _target(read, out)
        left.write(target)
        with store.writing() as connection:
            act(connection, store.now(connection), who, "key_destroyed", "key ring", number=number)
    typer.echo(f"{target}: key {number} is destroyed")
