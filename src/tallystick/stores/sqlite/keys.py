"""Virtual keys in SQLite."""

from __future__ import annotations

from typing import Any

import apsw
import msgspec

from tallystick.access.keys import VirtualKey
from tallystick.access.store import KeyChange, KeyFilter, KeyPage
from tallystick.errors import Conflict
from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite.database import SqliteDatabase
from tallystick.stores.sqlite.moments import microseconds, moment_of
from tallystick.stores.sqlite.transactions import Row, fetch, immediate, snapshot

_SQL = load_queries("tallystick.stores.sqlite")
_KIND = "key"
_decode_texts = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_metadata = msgspec.json.Decoder(dict[str, Any]).decode  # Any: the admin's own JSON object.


class SqliteKeys:
    """`KeyStore`."""

    def __init__(self, *, database: SqliteDatabase) -> None:
        self._database = database

    async def find(self, key_hash: str) -> VirtualKey | None:
        return await self._database.read(lambda connection: _first(connection, "find_key", key_hash))

    async def find_by_alias(self, key_alias: str) -> VirtualKey | None:
        return await self._database.read(lambda connection: _first(connection, "find_key_by_alias", key_alias))

    async def insert(self, key: VirtualKey) -> None:
        def work(connection: apsw.Connection) -> bool:
            with immediate(connection):
                if not fetch(connection, _SQL["add_key"], _row_of(key)):
                    return False
                _append_change(connection, key.key_hash, now=now)
                return True

        now = self._now()
        if not await self._database.write(work):
            raise Conflict(f"A key with this value or with the alias {key.key_alias!r} exists already.")

    async def set_blocked(self, key_hash: str, blocked: bool) -> VirtualKey | None:
        def work(connection: apsw.Connection) -> VirtualKey | None:
            with immediate(connection):
                if not fetch(connection, _SQL["set_key_blocked"], (int(blocked), now, key_hash)):
                    return None
                _append_change(connection, key_hash, now=now)
                return _first(connection, "find_key", key_hash)

        now = self._now()
        return await self._database.write(work)

    async def delete(self, key_hashes: tuple[str, ...]) -> tuple[str, ...]:
        hashes = tuple(dict.fromkeys(key_hashes))

        def work(connection: apsw.Connection) -> tuple[str, ...]:
            with immediate(connection):
                if not all(_first(connection, "find_key", key_hash) for key_hash in hashes):
                    return ()
                for key_hash in hashes:
                    fetch(connection, _SQL["delete_key"], (now, key_hash))
                    _append_change(connection, key_hash, now=now)
                return hashes

        now = self._now()
        return await self._database.write(work)

    async def list_keys(self, where: KeyFilter, *, offset: int, limit: int) -> KeyPage:
        arguments = msgspec.structs.asdict(where)

        def work(connection: apsw.Connection) -> KeyPage:
            with snapshot(connection):
                page = {**arguments, "offset": offset, "limit": limit}
                rows = fetch(connection, _SQL["list_keys"], page)
                ((total_count,),) = fetch(connection, _SQL["count_keys"], arguments)
            return KeyPage(keys=tuple(_key_of(row) for row in rows), total_count=total_count)

        return await self._database.read(work)

    async def revision(self) -> int:
        def work(connection: apsw.Connection) -> int:
            ((revision,),) = fetch(connection, _SQL["revision"])
            return int(revision)

        return await self._database.read(work)

    async def changes_after(self, revision: int, *, limit: int) -> tuple[KeyChange, ...]:
        def work(connection: apsw.Connection) -> list[Row]:
            return fetch(connection, _SQL["key_changes_after"], (revision, _KIND, limit))

        return tuple(KeyChange(revision=row[0], key_hash=row[1]) for row in await self._database.read(work))

    def _now(self) -> int:
        return microseconds(self._database.clock.now())


def _first(connection: apsw.Connection, query: str, argument: str) -> VirtualKey | None:
    rows = fetch(connection, _SQL[query], (argument,))
    return _key_of(rows[0]) if rows else None


def _append_change(connection: apsw.Connection, key_hash: str, *, now: int) -> None:
    connection.execute(_SQL["append_changes"], (_KIND, key_hash, now))


def _row_of(key: VirtualKey) -> Row:
    return (
        key.key_hash,
        key.key_name,
        microseconds(key.created_at),
        microseconds(key.updated_at),
        key.created_by,
        key.key_alias,
        key.user_id,
        key.team_id,
        key.organization_id,
        msgspec.json.encode(key.models).decode(),
        msgspec.json.encode(key.tags).decode(),
        msgspec.json.encode(key.metadata).decode(),
        int(key.blocked),
        None if key.expires_at is None else microseconds(key.expires_at),
    )


def _key_of(row: Row) -> VirtualKey:
    return VirtualKey(
        key_hash=row[0],
        key_name=row[1],
        created_at=moment_of(row[2]),
        updated_at=moment_of(row[3]),
        created_by=row[4],
        key_alias=row[5],
        user_id=row[6],
        team_id=row[7],
        organization_id=row[8],
        models=_decode_texts(row[9]),
        tags=_decode_texts(row[10]),
        metadata=_decode_metadata(row[11]),
        blocked=bool(row[12]),
        expires_at=None if row[13] is None else moment_of(row[13]),
    )
