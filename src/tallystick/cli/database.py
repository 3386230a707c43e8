"""Open the database for one command, and close it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import uvloop

from tallystick.bootstrap import Store, open_store, sqlite_path
from tallystick.cli.output import log_errors_only
from tallystick.config.database_url import database_kind, masked_url
from tallystick.config.settings import Settings
from tallystick.errors import StoreUnavailable
from tallystick.runtime.clock import SystemClock

ResultT = TypeVar("ResultT")

SQLITE: Final = "sqlite"


def use_store(settings: Settings, work: Callable[[Store], Awaitable[ResultT]], *, makes_database: bool) -> ResultT:
    """Return what `work` makes of the opened store.

    Without `makes_database` nothing is made that is not there: no file and no table. Raises StoreUnavailable, which
    names the database, and MigrationFailed.
    """
    log_errors_only()
    if not makes_database:
        require_file(settings)
        settings = without_migrating(settings)
    return uvloop.run(_use(settings, work))


def require_file(settings: Settings) -> None:
    """Raise StoreUnavailable when the database is a file that is not there."""
    if database_kind(settings.database_url) == SQLITE and not sqlite_path(settings.database_url).exists():
        raise StoreUnavailable(
            f"There is no database {sqlite_path(settings.database_url)}: `tallystick serve` or `tallystick migrate` "
            "makes it."
        )


def without_migrating(settings: Settings) -> Settings:
    """Return settings with which a database that is not up to date is refused and left as it is."""
    database = settings.database.model_copy(update={"auto_migrate": False})
    return settings.model_copy(update={"database": database})


async def _use(settings: Settings, work: Callable[[Store], Awaitable[ResultT]]) -> ResultT:
    store = open_store(settings, clock=SystemClock())
    try:
        return await work(store)
    except StoreUnavailable as error:
        if database_kind(settings.database_url) == SQLITE:
            raise  # Its messages name the file.
        raise StoreUnavailable(f"{error.message} (database: {masked_url(settings.database_url)})") from error
    finally:
        await store.close()
