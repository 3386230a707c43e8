"""PostgreSQL: the ledger, its audit and the virtual keys. The only package that knows asyncpg."""

from __future__ import annotations
