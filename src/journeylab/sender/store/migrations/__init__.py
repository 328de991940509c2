"""The versions of the tables, and the way from one to the next (Alembic)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from journeylab.errors import DataError

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection, Engine

__all__ = ["refuse_other_version", "upgrade"]


def _config(connection: Connection | None = None) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine) -> None:
    """Brings the tables up to date, or makes them: all steps, or none of them."""
    from alembic import command

    with engine.execution_options(is_writing=True).connect() as connection, connection.begin():
        command.upgrade(_config(connection), "head")


def refuse_other_version(engine: Engine, shown: str) -> None:
    """Refuses a database whose tables are not those of this version.

    Raises:
        DataError: saying what to do.
    """
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    scripts = ScriptDirectory.from_config(_config())
    head = scripts.get_current_head()
    if found is None:
        raise DataError(f"the store {shown} has no tables yet; `journeylab promote` makes them with the first release")
    if found != head:
        known = {one.revision for one in scripts.walk_revisions()}
        what = "older: `journeylab promote --upgrade` brings them up to date" if found in known else "newer: update it"
        raise DataError(f"the store {shown} has tables of version {found}, this JourneyLab those of {head}; {what}")
