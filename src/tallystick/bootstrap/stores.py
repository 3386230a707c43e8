"""Open the database that the settings name: the only place where an adapter is chosen and loaded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tallystick.access.budget_store import BudgetStore
from tallystick.access.kept_files import KeptFileStore
from tallystick.bootstrap.postgres import open_postgres
from tallystick.config.settings import Settings
from tallystick.control.rotation import SpecStore
from tallystick.control.store import ControlStore
from tallystick.errors import ConfigError
from tallystick.ledger.batch_jobs import BatchJobStore
from tallystick.ledger.inspection import StoreInspector
from tallystick.ledger.store import LedgerAuditor, LedgerReader, LedgerStore
from tallystick.runtime.clock import Clock
from tallystick.runtime.instances import InstanceStore
from tallystick.runtime.leadership import LeadershipStore


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
    leaderships: LeadershipStore
    ledger_id: Callable[[], Awaitable[str]] | None
    """Asks the database which ledger it is; None for one that only one machine can use."""
    prepare: Callable[[], Awaitable[None]] | None
    """Makes ahead what coming events need; None where they need nothing."""
    instances: InstanceStore
    batch_jobs: BatchJobStore
    kept_files: KeptFileStore
    ping: Callable[[], Awaitable[None]]
    migrate: Callable[[], Awaitable[tuple[int, ...]]]
    close: Callable[[], Awaitable[None]]
    suspend: Callable[[float], bool] = lambda _timeout_seconds: True
    """Before this process forks: closes what a child must not inherit; False when it could not within so long."""
    resume: Callable[[], None] = lambda: None
    """After a fork, in the parent."""
    loops: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    """By name, what a server runs beside it for ever. A command goes without."""


def _nothing(_outcome: str) -> None:
    return


def open_store(settings: Settings, *, clock: Clock, on_replica_read: Callable[[str], None] = _nothing) -> Store:
    """Return the store that `database_url` names. Raises ConfigError when its adapter can't be loaded.

    `on_replica_read` hears where each read went that might go to a read replica.
    """
    scheme = settings.database_url.partition(":")[0]
    if scheme == "sqlite":
        return _open_sqlite(settings, clock)
    try:
        return _open_postgres(settings, clock, on_replica_read)
    except ImportError as error:
        raise ConfigError(
            f"PostgreSQL needs the package {error.name}: install tallystick[postgres]", key_path="database_url"
        ) from error


def _open_sqlite(settings: Settings, clock: Clock) -> Store:
    from tallystick.stores.sqlite.audit import SqliteAuditor
    from tallystick.stores.sqlite.batch_jobs import SqliteBatchJobs
    from tallystick.stores.sqlite.budgets import SqliteBudgetStore
    from tallystick.stores.sqlite.control import SqliteControlStore
    from tallystick.stores.sqlite.database import SqliteDatabase
    from tallystick.stores.sqlite.inspect import SqliteInspector
    from tallystick.stores.sqlite.instances import SqliteInstances
    from tallystick.stores.sqlite.kept_files import SqliteKeptFiles
    from tallystick.stores.sqlite.leadership import SqliteLeaderships
    from tallystick.stores.sqlite.ledger import SqliteLedger
    from tallystick.stores.sqlite.specs import SqliteSpecStore

    path = sqlite_path(settings.database_url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path.parent} can't be made: {error.strerror}", key_path="database_url") from error
    database = SqliteDatabase(path, clock=clock, auto_migrate=settings.database.auto_migrate and not settings.read_only)
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
        leaderships=SqliteLeaderships(database=database),
        ledger_id=None,
        prepare=None,
        instances=SqliteInstances(database=database),
        batch_jobs=SqliteBatchJobs(database=database),
        kept_files=SqliteKeptFiles(database=database),
        ping=database.ping,
        migrate=database.migrate,
        close=database.close,
        suspend=lambda timeout_seconds: database.suspend(timeout_seconds=timeout_seconds),
        resume=database.resume,
    )


def _open_postgres(settings: Settings, clock: Clock, on_replica_read: Callable[[str], None]) -> Store:
    from tallystick.stores.postgres.audit import PostgresAuditor
    from tallystick.stores.postgres.batch_jobs import PostgresBatchJobs
    from tallystick.stores.postgres.budgets import PostgresBudgetStore
    from tallystick.stores.postgres.control import PostgresControlStore
    from tallystick.stores.postgres.inspect import PostgresInspector
    from tallystick.stores.postgres.instances import PostgresInstances
    from tallystick.stores.postgres.kept_files import PostgresKeptFiles
    from tallystick.stores.postgres.leadership import PostgresLeaderships
    from tallystick.stores.postgres.ledger import PostgresLedger
    from tallystick.stores.postgres.specs import PostgresSpecStore

    opened = open_postgres(settings, clock=clock, on_replica_read=on_replica_read)
    database = opened.database
    ledger = PostgresLedger(database=database)
    return Store(
        kind="postgres",
        ledger=ledger,
        reader=opened.replicated_reader or ledger,
        auditor=PostgresAuditor(database=database),
        inspector=PostgresInspector(database=database),
        control=PostgresControlStore(database=database, audit_log=opened.replicated_audit),
        budgets=PostgresBudgetStore(database=database),
        specs=PostgresSpecStore(database=database),
        leaderships=PostgresLeaderships(database=database),
        ledger_id=ledger.ledger_id,
        prepare=ledger.prepare,
        instances=PostgresInstances(database=database),
        batch_jobs=PostgresBatchJobs(database=database),
        kept_files=PostgresKeptFiles(database=database),
        ping=database.ping,
        migrate=database.migrate,
        close=opened.close,
        loops=opened.loops,
    )


def sqlite_path(database_url: str) -> Path:
    """Return the file that a `sqlite:///path` URL names."""
    return Path(unquote(urlsplit(database_url).path.removeprefix("/") or "tallystick.db"))
