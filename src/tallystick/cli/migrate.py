"""`tallystick migrate`: bring the schema up to date."""

from __future__ import annotations

import typer

from tallystick.cli.database import use_store
from tallystick.cli.options import ConfigOption, DatabaseOption, JsonOption, ends_well, settings_of
from tallystick.cli.output import print_json, working
from tallystick.config.database_url import masked_url


@ends_well
def migrate(config: ConfigOption = None, database_url: DatabaseOption = None, json: JsonOption = False) -> None:
    """Bring the database's schema up to date; wait for others that do the same."""
    settings = settings_of(config, database_url)
    with working("Migrating"):
        applied = use_store(settings, lambda store: store.migrate(), makes_database=True)
    database = masked_url(settings.database_url)
    if json:
        print_json({"database": database, "applied": applied})
    elif applied:
        numbers = ", ".join(f"{version:04d}" for version in applied)
        typer.echo(f"Applied {numbers} to {database}")
    else:
        typer.echo(f"Nothing to do: {database} is up to date.")
