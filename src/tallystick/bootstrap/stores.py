"""Open the database that the settings name: the only place where an adapter is chosen and loaded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tallystick.access.budget_store import BudgetStore
from tallystick.bootstrap.passwords import open_passwords
from tallystick.config.settings import Settings
from tallystick.control.rotation import SpecStore
from tallystick.control.store import ControlStore
from tallystick.errors import ConfigError
from tallystick.ledger.inspection import StoreInspector
from tallystick.ledger.store import LedgerAuditor, LedgerReader, LedgerStore
from tallystick.runtime.clock import Clock
from tallystick.runtime.instances import InstanceStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """One opened database, by the ports that it implements. Nothing is connected before the first use."""

    kind: str
    ledger: LedgerStore
    reader: LedgerReader
    auditor: LedgerAuditor
    inspector: StoreInspector
    control: ControlStore
    budgets: BudgetStore
    specs: SpecStore
    instances: InstanceStore
    ping: Callable[[], Awaitable[None]]
    migrate: Callable[[], Awaitable[tuple[int, ...]]]
    close: Callable[[], Awaitable[None]]
    loops: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    """By name, what a server runs beside it for ever. A command goes without."""


def open_store(settings: Settings, *, clock: Clock) -> Store:
    """Return the store that `database_url` names. Raises ConfigError when its adapter can't be loaded."""
    scheme = settings.database_url.partition(":")[0]
    if scheme == "sqlite":
        return _open_sqlite(settings, clock)
    try:
        return _open_postgres(settings, clock)
    except ImportError as error:
        raise ConfigError(
            f"PostgreSQL needs the package {error.name}: install tallystick[postgres]", key_path="database_url"
        ) from error


def _open_sqlite(settings: Settings, clock: Clock) -> Store:
    from tallystick.stores.sqlite.audit import SqliteAuditor
    from tallystick.stores.sqlite.budgets import SqliteBudgetStore
    from tallystick.stores.sqlite.control import SqliteControlStore
    from tallystick.stores.sqlite.database import SqliteDatabase
    from tallystick.stores.sqlite.inspect import SqliteInspector
    from tallystick.stores.sqlite.instances import SqliteInstances
    from tallystick.stores.sqlite.ledger import SqliteLedger
    from tallystick.stores.sqlite.specs import SqliteSpecStore

    path = sqlite_path(settings.database_url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path.parent} can't be made: {error.strerror}", key_path="database_url") from error
    database = SqliteDatabase(path, clock=clock, auto_migrate=settings.database.auto_migrate)
    ledger = SqliteLedger(database=database)
    return Store(
        kind="sqlite",
        ledger=ledger,
        reader=ledger,
        auditor=SqliteAuditor(database=database),
        inspector=SqliteInspector(database=database),
        control=SqliteControlStore(database=database),
        budgets=SqliteBudgetStore(database=database),
        specs=SqliteSpecStore(database=database),
        instances=SqliteInstances(database=database),
        ping=database.ping,
        migrate=database.migrate,
        close=database.close,
    )


def _open_postgres(settings: Settings, clock: Clock) -> Store:
    from tallystick.stores.postgres.audit import PostgresAuditor
    from tallystick.stores.postgres.budgets import PostgresBudgetStore
    from tallystick.stores.postgres.control import PostgresControlStore
    from tallystick.stores.postgres.database import PostgresDatabase
    from tallystick.stores.postgres.inspect import PostgresInspector
    from tallystick.stores.postgres.instances import PostgresInstances
    from tallystick.stores.postgres.ledger import PostgresLedger
    from tallystick.stores.postgres.specs import PostgresSpecStore

    passwords = open_passwords(settings.database.login, url=settings.database_url, clock=clock)
    database = PostgresDatabase(
        settings.database_url,
        clock=clock,
        pool_size_max=settings.connections.pool_each,
        connect_timeout_seconds=settings.database.connect_timeout_seconds,
        pool_timeout_seconds=settings.database.pool_timeout_seconds,
        idle_seconds_max=settings.database.idle_seconds_max,
        statement_timeout_seconds=settings.database.statement_timeout_seconds,
        **({} if settings.database.statement_cache else {"statement_cache_size": 0}),
        auto_migrate=settings.database.auto_migrate,
        passwords=passwords.source if passwords else None,
    )

    async def close() -> None:
        await database.close()
        if passwords is not None:
            await passwords.close()

    ledger = PostgresLedger(database=database)
    return Store(
        kind="postgres",
        ledger=ledger,
        reader=ledger,
        auditor=PostgresAuditor(database=database),
        inspector=PostgresInspector(database=database),
        control=PostgresControlStore(database=database),
        budgets=PostgresBudgetStore(database=database),
        specs=PostgresSpecStore(database=database),
        instances=PostgresInstances(database=database),
        ping=database.ping,
        migrate=database.migrate,
        close=close,
        loops={"database_token": passwords.keep_fresh} if passwords else {},
    )


def sqlite_path(database_url: str) -> Path:
    """Return the file that a `sqlite:///path` URL names."""
    return Path(unquote(urlsplit(database_url).path.removeprefix("/") or "tallystick.db"))
