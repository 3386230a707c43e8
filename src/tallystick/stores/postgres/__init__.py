"""PostgreSQL: the ledger, its audit and the control objects. The only package that knows asyncpg."""

from __future__ import annotations
