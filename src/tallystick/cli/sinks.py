"""`tallystick sinks`: how far they have come, sending events again, and making a table."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

import msgspec
import typer
import uvloop

from tallystick.bootstrap import Sinks, Store, make_table, shown_place
from tallystick.cli.database import use_store
from tallystick.cli.options import GOOD, PROBLEM, ConfigOption, DatabaseOption, JsonOption, ends_well, settings_of
from tallystick.cli.output import counted, log_errors_only, print_json, print_table, printable, working
from tallystick.config.settings import Settings, SinkEntry
from tallystick.errors import BadRequest
from tallystick.ledger.sinks.look import SinkStanding, look_at_sinks
from tallystick.ledger.sinks.replay import Replayed, replay
from tallystick.ledger.sinks.sink import SinkPlan
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.masking import mask_text

ResultT = TypeVar("ResultT")

sinks_app = typer.Typer(
    invoke_without_command=True, help="Show how far sinks have come, and send events again.", rich_markup_mode=None
)

_FORMATS: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]
_NameArgument = Annotated[str, typer.Argument(help="Name of the sink.", show_default=False)]


@sinks_app.callback()
def _root(
    context: typer.Context,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json: JsonOption = False,
) -> None:
    """Show each sink, what it was sent, and what waits for it in the journals of this machine."""
    if context.invoked_subcommand is None:
        _show_all(config=config, database_url=database_url, json=json)
    elif config is not None or database_url is not None or json:
        raise typer.BadParameter(f"options stand behind {context.invoked_subcommand}, not before it")


@ends_well
def _show_all(*, config: Any, database_url: str | None, json: bool) -> int:  # Any: a path, or None.
    settings = settings_of(config, database_url)
    log_errors_only()
    now = SystemClock().now()
    with working("Reading the journals"):
        standings = look_at_sinks(settings.journal.directory, [entry.name for entry in settings.sinks])
    rows = list(zip(settings.sinks, standings, strict=True))
    if json:
        print_json({"sinks": [_facts(entry, standing, now) for entry, standing in rows]})
    elif not rows:
        typer.echo("There are no sinks: the settings name none.")
    else:
        _show(rows, now)
    return GOOD


@sinks_app.command("replay")
@ends_well
def replay_sink(
    name: _NameArgument,
    since: Annotated[
        datetime, typer.Option(formats=_FORMATS, help="Calls that began then or later, UTC.", show_default=False)
    ],
    until: Annotated[
        datetime | None, typer.Option(formats=_FORMATS, help="Calls that began before, UTC.", show_default=False)
    ] = None,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json: JsonOption = False,
) -> int:
    """Send events of the ledger to a sink again. What it has counts once. Exit code 1 when it refuses some."""
    settings = settings_of(config, database_url)
    entry = _entry(settings, name)
    first, last = since.replace(tzinfo=UTC), None if until is None else until.replace(tzinfo=UTC)
    if last is not None and last <= first:
        raise BadRequest("--until must be later than --since.")

    async def work(store: Store) -> Replayed:
        async def send(plan: SinkPlan) -> Replayed:
            return await replay(store.reader, plan, since=first, until=last, clock=SystemClock())

        return await _with_sink(settings, entry, send)

    with working(f"Sending to {printable(name)}"):
        done = use_store(settings, work, makes_database=False)
    if json:
        print_json({"sink": name, **msgspec.structs.asdict(done)})
    else:
        refused = f", {done.refused:,} refused" if done.refused else ""
        present = f", {done.present:,} were there" if done.present else ""
        typer.echo(f"{counted(done.read, 'event')} read, {done.sent:,} sent{present}{refused}.")
    return PROBLEM if done.refused else GOOD


@sinks_app.command("create-table")
@ends_well
def create_table(
    name: _NameArgument,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json: JsonOption = False,
) -> None:
    """Make the table of a `dynamodb` sink, billed by request. One that is there stays as it is."""
    settings = settings_of(config, database_url)
    entry = _entry(settings, name)
    log_errors_only()

    async def make(plan: SinkPlan) -> bool | None:
        return await make_table(plan.sink)

    with working("Making the table"):
        created = uvloop.run(_with_sink(settings, entry, make))
    if created is None:
        raise BadRequest(f"{name!r} has no table that this command makes: docs/reference/sinks.md has Supabase's.")
    if json:
        print_json({"sink": name, "created": created})
    else:
        typer.echo(f"{shown_place(entry)} was made." if created else f"{shown_place(entry)} is there already.")


async def _with_sink(settings: Settings, entry: SinkEntry, work: Callable[[SinkPlan], Awaitable[ResultT]]) -> ResultT:
    sinks = Sinks((entry,), environ={**settings.environment_variables, **os.environ}, clock=SystemClock())
    try:
        return await work(sinks.plans[0])
    finally:
        await sinks.aclose()


def _entry(settings: Settings, name: str) -> SinkEntry:
    for entry in settings.sinks:
        if entry.name == name:
            return entry
    names = ", ".join(entry.name for entry in settings.sinks) or "none"
    raise BadRequest(f"There is no sink {name[:64]!r}; there is {names}.")


def _facts(entry: SinkEntry, standing: SinkStanding, now: datetime) -> dict[str, Any]:  # Any: JSON.
    return {
        "name": entry.name,
        "type": getattr(entry, "type", ""),
        "place": shown_place(entry),
        "events": entry.events,
        "state": _state(standing),
        "lag_events": standing.lag_events,
        "lag_seconds": _lag_seconds(standing, now),
        "sent": standing.sent,
        "refused": standing.refused,
        "skipped": standing.skipped,
        "error": mask_text(standing.error),
        "failing_since": standing.failing_since,
    }


def _show(rows: list[tuple[SinkEntry, SinkStanding]], now: datetime) -> None:
    titles = ("lag", "age of the oldest", "sent", "refused", "skipped")
    print_table(
        (("sink", "left"), ("place", "left"), ("state", "left"), *((title, "right") for title in titles)),
        [
            (
                entry.name,
                shown_place(entry),
                _state(standing),
                f"{standing.lag_events:,}",
                f"{_lag_seconds(standing, now):,.0f} s",
                f"{standing.sent:,}",
                f"{standing.refused:,}",
                f"{standing.skipped:,}",
            )
            for entry, standing in rows
        ],
    )
    for entry, standing in rows:
        if standing.error:
            typer.echo(printable(f"{entry.name}: {mask_text(standing.error)}"))
        if standing.refused or standing.skipped:
            typer.echo(f"{entry.name}: `tallystick sinks replay {entry.name} --since …` sends what it did not get.")


def _state(standing: SinkStanding) -> str:
    return "failing" if standing.error else "behind" if standing.lag_events else "caught up"


def _lag_seconds(standing: SinkStanding, now: datetime) -> float:
    return 0.0 if standing.oldest is None else round(max(0.0, (now - standing.oldest).total_seconds()), 3)
