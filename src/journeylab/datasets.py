"""The data that comes with JourneyLab: the CDNOW purchases, which are real, and the shop Akacja, which is simulated.

`cdnow` and `shop` read them as event logs, `journey_file` finds the journeys that the demo replays over them,
`given_log` is the log that `journeylab lab` was given, or else the shop's, `notebooks` is where the notebooks are, and
`make_shop` simulates Akacja in any size, and `shop.Shop` knows the truth behind it. What each file holds, and whom to
thank, is in `data/fixtures/README.md`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import DataError, known
from .jsontext import data_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from .eventlog import EventLog
    from .journey import Portfolio
    from .shop import ShopRun

__all__ = [
    "CDNOW_COLUMNS", "cdnow", "fixtures", "given_log", "journey_file", "log_environment", "make_shop", "notebooks",
    "save_shop", "semantics", "shop", "shop_history",
]  # fmt: skip

CDNOW_COLUMNS = {"customer_id": "contact", "date": "occurred_at"}
SHOP_CONTACTS, SHOP_SEED = 7_000, 2026
_HERE, _CHECKOUT = Path(__file__).parent, Path(__file__).parents[2]
_PLACES = (_HERE / "fixtures", _CHECKOUT / "data" / "fixtures")
_NOTEBOOKS = (_HERE / "notebooks", _CHECKOUT / "notebooks")
_RULES = (_HERE / "semantics.md", _CHECKOUT / "docs" / "semantics.md")
_LOG = ("events", "contacts", "columns", "event", "timezone", "query")


def fixtures() -> Path:
    """The folder of the bundled data: inside an installed package, or `data/fixtures` of a checkout.

    Raises:
        DataError: when it is in neither place.

    >>> sorted(folder.name for folder in fixtures().iterdir() if folder.is_dir())
    ['cdnow', 'experiments', 'journeys', 'messages', 'shop']
    """
    return _found("data is", _PLACES)


def semantics() -> str:
    """The rules of what a journey means, as Markdown: those of the installed package, or of a checkout.

    Raises:
        DataError: when they are in neither place.
    """
    return _found("rules are", _RULES).read_text(encoding="utf-8")


def notebooks() -> Path:
    """The folder of the bundled notebooks: inside an installed package, or `notebooks` of a checkout.

    Raises:
        DataError: when it is in neither place.
    """
    return _found("notebooks are", _NOTEBOOKS)


def _found(what: str, places: tuple[Path, ...]) -> Path:
    for place in places:
        if place.exists():
            return place
    looked = " nor ".join(str(place) for place in places)
    raise DataError(f"the bundled {what} missing: neither {looked} exists; install JourneyLab anew")


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


def given_log() -> EventLog:
    """The event log that `journeylab lab` was given, else the bundled shop's: what notebooks have for their data.

    It is given by environment variables, which are the arguments of `EventLog.read` of that name: `JOURNEYLAB_EVENTS`
    (a path or URL), `JOURNEYLAB_CONTACTS`, `JOURNEYLAB_COLUMNS` (a JSON object), `JOURNEYLAB_EVENT`,
    `JOURNEYLAB_TIMEZONE` and `JOURNEYLAB_QUERY`.

    Raises:
        DataError: when that log cannot be read, or contacts are given without events.

    >>> given_log()
    EventLog(237,659 events of 7,000 contacts, 15 kinds, 2026-01-25 to 2026-05-25)
    """
    from .eventlog import EventLog

    given = {name: os.environ[_variable(name)] for name in _LOG if os.environ.get(_variable(name))}
    if not given:
        return shop()
    if "events" not in given:
        there = ", ".join(_variable(name) for name in given)
        raise DataError(f"{there} is set, and {_variable('events')} is not: say where the events are")
    try:
        columns = data_of(given.get("columns", "{}"))
    except ValueError:
        columns = None
    if not isinstance(columns, dict):
        example = '{"customer_id": "contact"}'
        raise DataError(f"{_variable('columns')} is no JSON object of their names and ours, such as {example}")
    return EventLog.read(
        given["events"], contacts=given.get("contacts"), columns=columns, event=given.get("event"),
        timezone=given.get("timezone"), query=given.get("query"),
    )  # fmt: skip


def log_environment(events: str, *, columns: Mapping[str, str] | None = None, **more: str | None) -> dict[str, str]:
    """The environment variables by which `given_log` is given a log; arguments as for `EventLog.read`.

    >>> log_environment("https://example.com/log.csv", columns={"date": "occurred_at"}, timezone="UTC")
    {'JOURNEYLAB_EVENTS': 'https://example.com/log.csv', 'JOURNEYLAB_TIMEZONE': 'UTC',
    'JOURNEYLAB_COLUMNS': '{"date": "occurred_at"}'}
    """
    given = {"events": _absolute(events), **more}
    if given.get("contacts"):
        given["contacts"] = _absolute(str(given["contacts"]))
    if columns:
        given["columns"] = json.dumps(dict(columns))
    return {_variable(name): value for name, value in given.items() if value}


def _variable(name: str) -> str:
    return f"JOURNEYLAB_{name.upper()}"


def _absolute(place: str) -> str:
    return place if "://" in place else str(Path(place).expanduser().resolve())


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
