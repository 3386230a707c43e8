"""Virtual keys on PostgreSQL, and the change feed that tells of them."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec

from tallystick.access.keys import VirtualKey
from tallystick.access.store import KeyChange, KeyFilter, KeyPage
from tallystick.errors import Conflict
from tallystick.stores.postgres.connection import Connection
from tallystick.stores.postgres.database import PostgresDatabase

_decode_metadata = msgspec.json.Decoder(dict[str, Any]).decode  # Any: the admin's own JSON object.


class PostgresKeyStore:
    """Implements KeyStore."""

    def __init__(self, *, database: PostgresDatabase) -> None:
        self._database = database
        self._queries = database.queries

    async def find(self, key_hash: str) -> VirtualKey | None:
        """Return the key with this hash; None for an unknown or deleted one."""
        return await self._find_one("find_key", key_hash)

    async def find_by_alias(self, key_alias: str) -> VirtualKey | None:
        """Return the key with this alias, or None."""
        return await self._find_one("find_key_by_alias", key_alias)

    async def insert(self, key: VirtualKey) -> None:
        """Add a key. Raises Conflict when its hash or its (non-empty) alias exists already."""
        async with self._database.transaction() as connection:
            try:
                await connection.execute(self._queries["add_key"], *_row_of(key))
            except asyncpg.UniqueViolationError as error:
                if error.constraint_name == "virtual_keys_by_alias":
                    message = f"A key with alias {key.key_alias!r} exists already."
                    raise Conflict(message, param="key_alias") from error
                raise Conflict("This key exists already.", param="key") from error
            await self._append_changes(connection, [key.key_hash])

    async def set_blocked(self, key_hash: str, blocked: bool) -> VirtualKey | None:
        """Block or unblock; return the key as it is now, None when there is none."""
        async with self._database.transaction() as connection:
            now = self._database.clock.now()
            row = await connection.fetchrow(self._queries["set_key_blocked"], key_hash, blocked, now)
            if row is None:
                return None
            await self._append_changes(connection, [key_hash])
            return _key_of(row)

    async def delete(self, key_hashes: tuple[str, ...]) -> tuple[str, ...]:
        """Delete all of them or, when one does not exist, none; return the hashes that were deleted (or ())."""
        wanted = list(dict.fromkeys(key_hashes))
        if not wanted:
            return ()
        async with self._database.transaction() as connection:
            locked = await connection.fetch(self._queries["lock_keys"], wanted)
            if len(locked) < len(wanted):
                return ()
            await connection.execute(self._queries["delete_keys"], wanted, self._database.clock.now())
            await self._append_changes(connection, wanted)
        return tuple(wanted)

    async def list_keys(self, where: KeyFilter, *, offset: int, limit: int) -> KeyPage:
        """Return one page, newest first, and the number of all, as they are at one moment."""
        filters = (where.user_id, where.team_id, where.organization_id, where.key_hash, where.key_alias)
        async with self._database.transaction(isolation="repeatable_read", readonly=True) as connection:
            rows = await connection.fetch(self._queries["list_keys"], *filters, limit, offset)
            total_count = await connection.fetchval(self._queries["count_keys"], *filters)
        return KeyPage(keys=tuple(_key_of(row) for row in rows), total_count=total_count)

    async def revision(self) -> int:
        """Return the newest revision of the change feed, 0 when it is empty."""
        async with self._database.connection() as connection:
            return int(await connection.fetchval(self._queries["revision"]))

    async def changes_after(self, revision: int, *, limit: int) -> tuple[KeyChange, ...]:
        """Return the changes above `revision` in ascending order."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._queries["key_changes_after"], revision, limit)
        return tuple(KeyChange(revision=row["revision"], key_hash=row["object_id"]) for row in rows)

    async def _find_one(self, query: str, value: str) -> VirtualKey | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._queries[query], value)
        return None if row is None else _key_of(row)

    async def _append_changes(self, connection: Connection, key_hashes: list[str]) -> None:
        await connection.execute(self._queries["append_changes"], "key", key_hashes, self._database.clock.now())


def _row_of(key: VirtualKey) -> tuple[Any, ...]:  # Any: text, lists, flags and times, in the order of the columns.
    return (
        key.key_hash,
        key.key_name,
        key.key_alias,
        key.user_id,
        key.team_id,
        key.organization_id,
        key.models,
        key.tags,
        msgspec.json.encode(key.metadata).decode(),
        key.blocked,
        key.expires_at,
        key.created_by,
        key.created_at,
        key.updated_at,
    )


def _key_of(row: asyncpg.Record) -> VirtualKey:
    return VirtualKey(
        key_hash=row["key_hash"],
        key_name=row["key_name"],
        key_alias=row["key_alias"],
        user_id=row["user_id"],
        team_id=row["team_id"],
        organization_id=row["organization_id"],
        models=tuple(row["models"]),
        tags=tuple(row["tags"]),
        metadata=_decode_metadata(row["metadata"]),
        blocked=row["blocked"],
        expires_at=row["expires_at"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
