"""The types of connections: one that the pool lends, and one apart."""

from __future__ import annotations

from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

DirectConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
"""A connection that is not the pool's."""
