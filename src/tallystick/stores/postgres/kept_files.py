"""Files that upstreams keep, in PostgreSQL."""

from __future__ import annotations

import asyncpg

from tallystick.access.kept_files import KeptFile
from tallystick.control.owner import Owner
from tallystick.stores.postgres.database import PostgresDatabase


class PostgresKeptFiles:
    """Implements KeptFileStore."""

    def __init__(self, *, database: PostgresDatabase) -> None:
        self._database = database
        self._queries = database.queries

    async def add(self, file: KeptFile) -> None:
        """Note a file, unless it is noted."""
        async with self._database.connection() as connection:
            await connection.execute(
                self._queries["add_kept_file"],
                file.file_no,
                file.deployment_id,
                file.upstream_id,
                *file.owner,
                file.purpose,
                file.held,
                file.answer,
            )

    async def forget(self, deployment_id: str, upstream_id: str) -> None:
        """Forget a file."""
        async with self._database.connection() as connection:
            await connection.execute(self._queries["forget_kept_file"], deployment_id, upstream_id)

    async def listed(
        self, owner: Owner | None, *, purpose: str | None, after: tuple[str, str] | None, limit: int
    ) -> tuple[KeptFile, ...]:
        """Return an owner's files, newest first."""
        after_deployment, after_upstream = after or ("", "")
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                self._queries["list_kept_files"],
                owner is None,
                *(owner or Owner("", "", "")),
                purpose,
                after_upstream,
                after_deployment,
                limit,
            )
        return tuple(_file(row) for row in rows)


def _file(row: asyncpg.Record) -> KeptFile:
    return KeptFile(
        file_no=row["file_no"],
        deployment_id=row["deployment_id"],
        upstream_id=row["upstream_id"],
        owner=Owner(row["key_hash"], row["user_id"], row["team_id"]),
        purpose=row["purpose"],
        held=row["held"],
        answer=row["answer"],
    )
