"""A role of PostgreSQL whose password is changed, as that of a token that ends."""

from __future__ import annotations

import secrets

import asyncpg

from services import PostgresServer

_NAME = "rotating"


class RotatingRole:
    """Owns the database `ledger`, which it makes. The server takes other roles without a password."""

    def __init__(self, server: PostgresServer) -> None:
        self._admin_url = server.url()
        self._has_role = False
        self.password = ""
        self.url = f"postgresql://{_NAME}@127.0.0.1:{server.port}/ledger"
        (server.data / "pg_hba.conf").write_text(
            f"host all {_NAME} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
        )

    async def change(self) -> None:
        """Give it another password: from now on the former is refused."""
        password = secrets.token_hex(8)
        connection = await asyncpg.connect(self._admin_url)
        if not self._has_role:
            await connection.execute("SELECT pg_reload_conf()")
            await connection.execute(f"CREATE ROLE {_NAME} LOGIN")
            await connection.execute(f"CREATE DATABASE ledger OWNER {_NAME}")
            self._has_role = True
        await connection.execute(f"ALTER ROLE {_NAME} PASSWORD '{password}'")
        await connection.close()
        self.password = password

    async def sessions(self) -> int:
        """Return how many connections it has opened, by the server's own statistics."""
        connection = await asyncpg.connect(self._admin_url)
        try:
            return int(await connection.fetchval("SELECT sessions FROM pg_stat_database WHERE datname = 'ledger'"))
        finally:
            await connection.close()
