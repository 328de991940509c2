"""The command that says by which SQL PostgreSQL itself holds who may read and write what."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["grants"]


def grants(
    prefix: Annotated[str, typer.Option("--prefix", metavar="NAME", help="How the roles' names begin.")] = "journeylab",
    schema: Annotated[str, typer.Option("--schema", metavar="NAME", help="Where the tables are.")] = "public",
) -> None:
    """Show the SQL of PostgreSQL's roles: sender, operator, analyst, auditor, maintenance and source. It runs nothing.

    Each is given the columns that it needs and no other. It is for the owner of the tables, again after each upgrade;
    people then get roles by `grant journeylab_analyst to ewa`.

    \b
    Examples:
      journeylab grants | psql --username owner --set ON_ERROR_STOP=1 journeylab
    """
    from journeylab.sender.databaseroles import statements

    for line in statements(prefix, schema):
        typer.echo(line)
