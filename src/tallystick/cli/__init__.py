"""The command line."""

from __future__ import annotations

from typing import Annotated

import typer

from tallystick import __version__
from tallystick.cli.admin.budgets import budgets
from tallystick.cli.admin.commands import noun_app
from tallystick.cli.admin.nouns import KEYS, MODELS, ORGANIZATIONS, TEAMS, USERS
from tallystick.cli.config import config_app
from tallystick.cli.doctor import doctor
from tallystick.cli.migrate import migrate
from tallystick.cli.options import ConfigOption, DatabaseOption, ends_well
from tallystick.cli.secrets import secrets_app
from tallystick.cli.serve import run_server
from tallystick.cli.sinks import sinks_app
from tallystick.cli.spend import spend
from tallystick.cli.verify import verify

app = typer.Typer(
    name="tallystick",
    help="An LLM gateway whose ledger is exact.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """An LLM gateway whose ledger is exact."""


@app.command()
@ends_well
def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (4000).", show_default=False)] = None,
    workers: Annotated[
        int | None, typer.Option(help="Worker processes that share the port (1).", show_default=False)
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Add a model group `demo` that needs no account.")] = False,
    database_url: DatabaseOption = None,
    worker_socket: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> int:
    """Run the gateway until SIGTERM or Ctrl-C."""
    overrides = {
        "host": host,
        "port": port,
        "workers": workers,
        "demo": demo or None,
        "database_url": database_url,
    }
    return run_server(config_file=config, overrides=overrides, worker_socket=worker_socket)


app.command()(migrate)
app.command()(verify)
app.command()(doctor)
app.command()(spend)
app.command()(budgets)
for noun in (KEYS, TEAMS, USERS, ORGANIZATIONS, MODELS):
    app.add_typer(noun_app(noun), name=noun.name)
app.add_typer(secrets_app, name="secrets")
app.add_typer(config_app, name="config")
app.add_typer(sinks_app, name="sinks")


def main() -> None:
    """Run the command line."""
    app(prog_name="tallystick")
