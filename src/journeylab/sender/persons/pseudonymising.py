"""A copy of the log for analysts: each contact under a pseudonym, and of attributes and properties only what is named.

The copy replays like any log. A contact's pseudonym is another one in every copy, and its key is destroyed when the
copy expires, so that nobody, we included, can tell from then on who a pseudonym was. Arms are drawn anew from the
pseudonyms (rule 22): what a split really did is in the log's own events.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from journeylab.disclosure import Grant, PseudonymKeys, pseudonymised
from journeylab.disclosure.pseudonyms import PERMISSION
from journeylab.errors import DataError, known
from journeylab.sender.acting import acting
from journeylab.sender.live.intake import plain_properties
from journeylab.sender.live.productionlog import export
from journeylab.sender.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from journeylab.sender.settings import Settings

__all__ = ["Copied", "pseudonymised_log"]

KEYS: Final = "pseudonyms.json"
"""The file of the pseudonyms' keys, in the state folder."""
_OF_EVENTS: Final = ("event", "occurred_at", "received_at")


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy has: how many events and contacts, and the names of all columns beside the contact."""

    n_events: int
    n_contacts: int
    columns: tuple[str, ...]


def pseudonymised_log(
    store: Store,
    settings: Settings,
    events_path: Path,
    contacts_path: Path,
    *,
    purpose: str,
    actor: str,
    expires_at: datetime,
    now: datetime,
    attributes: Collection[str] = (),
    properties: Collection[str] = (),
) -> Copied:
    """Writes a pseudonymised copy of the production log as two Parquet files.

    Events have `contact` (the pseudonym, text), `event`, `occurred_at`, `received_at` (UTC) and what the contract of
    their events names, such as `message`; and the properties that are asked for. Contacts have `contact` and the
    attributes that are asked for.

    Args:
        store: the sender's database, opened with its keys.
        settings: the sender's, in whose state folder the pseudonyms' keys are kept.
        events_path: where the events go.
        contacts_path: where the contacts go.
        purpose: what the copy is for.
        actor: who asks for it.
        expires_at: when the pseudonyms' key is destroyed, aware.
        now: the store's instant.
        attributes: the attributes that may leave.
        properties: the properties that may leave.

    Raises:
        DataError: when who acts may not export the log, there is no attribute or property of a name, one of them holds
            addresses or ids, or the copy would expire at once.
    """
    import pandas as pd

    who = acting(settings)
    who.require("export_log")
    actor = who.named(actor)
    done = export(store, events_path, contacts_path, now)
    try:
        events, contacts = pd.read_parquet(events_path), pd.read_parquet(contacts_path)
    finally:
        events_path.unlink()
        contacts_path.unlink()
    for names, frame, what in ((properties, events, "properties"), (attributes, contacts, "attributes")):
        for name in names:
            if name not in frame.columns:
                raise DataError(f"no such name {name!r}; {known(name, frame.columns, what)}")
    plain = [name for name in plain_properties() if name in events.columns and name not in properties]
    columns = [*_OF_EVENTS, *plain, *properties]
    grant = Grant(actor, PERMISSION, purpose, expires_at)
    keys, report = PseudonymKeys(settings.path(settings.state) / KEYS), f"{purpose} {now.isoformat()}"

    def under_pseudonyms(frame: pd.DataFrame, kept: list[str]) -> pd.DataFrame:
        found = pseudonymised(
            frame[["contact", *kept]], report=report, purpose=purpose, grant=grant, keys=keys, columns=kept, now=now
        )
        return found.rename(columns={"pseudonym": "contact"})

    copies = under_pseudonyms(events, columns), under_pseudonyms(contacts, [*attributes])
    copies[0].sort_values(["received_at", "contact"], kind="stable").to_parquet(events_path, index=False)
    copies[1].to_parquet(contacts_path, index=False)
    return Copied(done.n_events, done.n_contacts, (*columns, *attributes))
