"""`tallystick secrets`: make keys, bring every secret under the newest one, and see which keys are still needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.console import Console

from tallystick.cli.database import use_store
from tallystick.cli.options import GOOD, PROBLEM, ConfigOption, DatabaseOption, JsonOption, ends_well, settings_of
from tallystick.cli.output import counted, print_json, print_table, printable, say
from tallystick.config.secret_keys import text_of_key
from tallystick.config.settings import Settings
from tallystick.control.key_ring import find_key_ring, new_secret_key
from tallystick.control.rotation import PAGE_SIZE, Census, Rotation, rotate, take_census
from tallystick.control.sealer import Sealer
from tallystick.runtime.clock import SystemClock

secrets_app = typer.Typer(
    no_args_is_help=True, help="Make keys that seal secrets, and bring secrets under a new one.", rich_markup_mode=None
)

_UNREADABLE_SHOWN: Final = 20
_PageOption = Annotated[int, typer.Option("--page-size", min=1, max=10_000, help="Objects read at once.")]


@secrets_app.command("new-key")
@ends_well
def new_key(
    _config: ConfigOption = None,
    _database_url: DatabaseOption = None,
    json: JsonOption = False,
) -> None:
    """Make a key and print it, as it goes into TALLYSTICK_SECRET_KEYS. It is kept nowhere, and no setting is read."""
    key = new_secret_key(SystemClock().now())
    if json:
        print_json({"key_id": key.key_id, "key": text_of_key(key)})
        return
    typer.echo(text_of_key(key))
    say("Put it into TALLYSTICK_SECRET_KEYS, before the keys that are there, and keep a copy where you keep passwords.")


@secrets_app.command("rotate")
@ends_well
def rotate_secrets(
    page_size: _PageOption = PAGE_SIZE,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json: JsonOption = False,
) -> int:
    """Bring every secret under the first key, while gateways serve. Exit code 1 when one is left."""
    settings = settings_of(config, database_url)
    sealer = Sealer(find_key_ring(settings.secret_keys, home=settings.home))
    with _progress("Sealing anew") as show:

        def on_page(done: Rotation) -> None:
            show(f"{counted(done.objects, 'object')} read, {counted(done.resealed, 'secret')} sealed anew")

        done = use_store(
            settings,
            lambda store: rotate(store.specs, sealer, page_size=page_size, on_page=on_page),
            makes_database=False,
        )
    census = _census(settings, sealer, page_size)
    if json:
        print_json({**_facts(census), "resealed": done.resealed, "contested": done.contested})
    else:
        typer.echo(f"{counted(done.resealed, 'secret')} sealed anew under '{sealer.ring.first.key_id}'.")
        _show(census)
    return GOOD if census.is_good else PROBLEM


@secrets_app.command("check")
@ends_well
def check_secrets(
    page_size: _PageOption = PAGE_SIZE,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json: JsonOption = False,
) -> int:
    """Open every secret, and count them by key. Exit code 1 when one can't be opened or needs another key."""
    settings = settings_of(config, database_url)
    census = _census(settings, Sealer(find_key_ring(settings.secret_keys, home=settings.home)), page_size)
    if json:
        print_json(_facts(census))
    else:
        _show(census)
    return GOOD if census.is_good else PROBLEM


def _census(settings: Settings, sealer: Sealer, page_size: int) -> Census:
    with _progress("Opening every secret") as show:
        return use_store(
            settings,
            lambda store: take_census(
                store.specs,
                sealer,
                page_size=page_size,
                on_page=lambda objects: show(f"{counted(objects, 'object')} read"),
            ),
            makes_database=False,
        )


def _facts(census: Census) -> dict[str, Any]:  # Any: JSON.
    return {
        "ok": census.is_good,
        "objects": census.objects,
        "secrets": census.values,
        "first_key": census.first_key,
        "by_key": census.by_key,
        "unsealed": census.unsealed,
        "unreadable_count": census.unreadable_count,
        "unreadable": [msgspec.to_builtins(value) for value in census.unreadable],
    }


def _show(census: Census) -> None:
    rows = [
        (key_id, f"{count:,}", "seals" if key_id == census.first_key else "is still needed")
        for key_id, count in census.by_key.items()
    ]
    if census.unsealed:
        rows.append(("(not sealed)", f"{census.unsealed:,}", "`tallystick secrets rotate` seals them"))
    if rows:
        print_table((("key", "left"), ("secrets", "right"), ("", "left")), rows)
    for value in census.unreadable[:_UNREADABLE_SHOWN]:
        typer.echo(printable(f"can't be opened: {value.place}: {value.problem}"))
    if census.unreadable_count > _UNREADABLE_SHOWN:
        typer.echo(f"… and {census.unreadable_count - _UNREADABLE_SHOWN:,} more that can't be opened.")
    typer.echo(f"{counted(census.values, 'secret')} in {counted(census.objects, 'object')}. {_verdict(census)}")


def _verdict(census: Census) -> str:
    if census.unreadable_count:
        return f"{census.unreadable_count:,} can't be opened: add the keys that are missing, or write them anew."
    if not census.is_good:
        return "Not all are under the first key: run `tallystick secrets rotate`."
    return f"All can be opened, and no key but '{census.first_key}' is needed."


@contextmanager
def _progress(what: str) -> Iterator[Callable[[str], None]]:
    """Show on stderr, where that is a terminal, how far the work is."""
    console = Console(stderr=True, markup=False, highlight=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(what) as status:
        yield lambda text: status.update(f"{what}: {text}")
