"""The SQLite implementation of the ports, with APSW. One file, any number of processes on one machine."""

from __future__ import annotations

from tallystick.stores.sqlite.audit import SqliteAuditor
from tallystick.stores.sqlite.budgets import SqliteBudgetStore
from tallystick.stores.sqlite.control import SqliteControlStore
from tallystick.stores.sqlite.database import SqliteDatabase
from tallystick.stores.sqlite.ledger import SqliteLedger

__all__ = ["SqliteAuditor", "SqliteBudgetStore", "SqliteControlStore", "SqliteDatabase", "SqliteLedger"]
