"""The types of connections, one that the pool lends and one apart, and who lends them for reading."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

DirectConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
"""A connection that is not the pool's."""


class Readable(Protocol):
    """What readers need of a database."""

    @property
    def queries(self) -> Mapping[str, str]: ...

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection; errors inside come out as ours."""
