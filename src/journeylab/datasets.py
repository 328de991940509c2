"""The data that comes with JourneyLab: the CDNOW purchases, which are real, and the shop Akacja, which is simulated.

`cdnow` and `shop` read them as event logs, `journey_file` finds the journeys that the demo replays over them, and
`make_shop` simulates Akacja in any size, and `shop.Shop` knows the truth behind it. What each file holds, and whom to
thank, is in `data/fixtures/README.md`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import DataError, known

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from .eventlog import EventLog
    from .journey import Portfolio
    from .shop import ShopRun

__all__ = ["CDNOW_COLUMNS", "cdnow", "fixtures", "journey_file", "make_shop", "save_shop", "shop", "shop_history"]

CDNOW_COLUMNS = {"customer_id": "contact", "date": "occurred_at"}
SHOP_CONTACTS, SHOP_SEED = 7_000, 2026
_PLACES = (Path(__file__).parent / "fixtures", Path(__file__).parents[2] / "data" / "fixtures")


def fixtures() -> Path:
    """The folder of the bundled data: inside an installed package, or `data/fixtures` of a checkout.

    Raises:
        DataError: when it is in neither place.

    >>> sorted(folder.name for folder in fixtures().iterdir() if folder.is_dir())
    ['cdnow', 'experiments', 'journeys', 'messages', 'shop']
    """
    for place in _PLACES:
        if place.is_dir():
            return place
    places = " nor ".join(str(place) for place in _PLACES)
    raise DataError(f"the bundled data is missing: neither {places} exists; install JourneyLab anew")


def journey_file(name: str) -> Path:
    """The path of a bundled journey file, by its name without `.yaml`.

    Raises:
        DataError: when there is none of that name.

    >>> journey_file("trial_welcome").name
    'trial_welcome.yaml'
    """
    files = (fixtures() / "journeys").glob("*.yaml")
    found = {path.stem: path for path in files if not path.name.endswith(".tests.yaml")}
    if name not in found:
        raise DataError(f"no bundled journey file {name!r}; {known(name, found, 'journey files')}")
    return found[name]


def cdnow() -> EventLog:
    """The event log of CDNOW: 69,659 purchases of 23,570 customers, 1997-01-01 to 1998-06-30, by day.

    Properties: `number_of_cds` (int64) and `dollar_value` (float64, US dollars; 0 for 80 purchases). The days are read
    as midnights in UTC. There is no consent and there are no messages in it: every send is `assumed`.
    """
    from .eventlog import EventLog

    source = fixtures() / "cdnow" / "purchases.parquet"
    return EventLog.read(source, columns=CDNOW_COLUMNS, event="purchase", timezone="UTC")


def shop() -> EventLog:
    """The event log and contacts of the simulated shop Akacja, as bundled; `make_shop` says what is in it."""
    from .eventlog import EventLog

    folder = fixtures() / "shop"
    return EventLog.read(folder / "events.parquet", contacts=folder / "contacts.parquet")


def shop_history() -> Portfolio:
    """The journeys that Akacja's messages in the log come from: its logging policy, with what it left to chance.

    >>> shop_history()
    Portfolio(2 journeys: akacja_welcome, akacja_winback)
    """
    from .journeyfile import read

    return read(fixtures() / "shop" / "history.yaml")


def make_shop(
    n_contacts: int = SHOP_CONTACTS, *, rng: np.random.Generator | int = SHOP_SEED
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The event log and contacts of the shop Akacja, simulated, as (events, contacts); equal for equal seeds.

    It is what a `Shop` of that seed leaves behind after `shop_history`; the shop itself knows what any other journey
    would have brought.

    Events, in order of `occurred_at` (UTC, whole seconds, 120 days to 2026-05-26), about 30 for each contact:
    `contact`, `event`, `occurred_at`, and the properties, missing where the event has none: `plan`, `country`
    (signup), `page` (visit), `amount` (purchase, in euro; 59 where a message caused it), `purpose` (consent_given,
    consent_withdrawn), `message` (sent and its responses), `propensity` (sent, where chance led to it), `link`
    (clicked), `is_machine` (opened, clicked), `bounce_type` (bounced: `hard` or `soft`), `name` and `value`
    (attribute_changed).

    Contacts, one row each: `contact` (a pseudonym such as `akacja-00017`), `timezone`, `country`, `plan` (at signup:
    `trial` or `paid`), `mailbox` (`webmail`, `apple` or `company`) and `trial_ends_on` (a date, missing for paid
    plans).

    Raises:
        DataError: for less than one contact.

    >>> events, contacts = make_shop(20, rng=7)
    >>> contacts.loc[0, ["contact", "timezone", "plan"]].tolist()
    ['akacja-00001', 'Europe/London', 'trial']
    >>> bool(events["occurred_at"].is_monotonic_increasing)
    True
    """
    run = _run(n_contacts, rng)
    return run.events, run.shop.contacts


def save_shop(folder: str | Path) -> None:
    """Writes the default `make_shop()` as `events.parquet` and `contacts.parquet`, marked as simulated."""
    _run(SHOP_CONTACTS, SHOP_SEED).save(folder)


def _run(n_contacts: int, rng: np.random.Generator | int) -> ShopRun:
    from .shop import Shop

    seed = rng if isinstance(rng, int) else int(rng.integers(2**32))
    return Shop(n_contacts, seed=seed).run(shop_history())
