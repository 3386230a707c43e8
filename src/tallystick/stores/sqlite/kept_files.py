"""Files that upstreams keep, in SQLite."""

from __future__ import annotations

import apsw

from tallystick.access.kept_files import KeptFile
from tallystick.control.owner import Owner
from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite.database import SqliteDatabase
from tallystick.stores.sqlite.transactions import Row, fetch, immediate

_SQL = load_queries("tallystick.stores.sqlite")


class SqliteKeptFiles:
    """Implements KeptFileStore."""

    def __init__(self, *, database: SqliteDatabase) -> None:
        self._database = database

    async def add(self, file: KeptFile) -> None:
        """Note a file, unless it is noted."""
        values = {
            "file_no": file.file_no,
            "deployment_id": file.deployment_id,
            "upstream_id": file.upstream_id,
            **file.owner._asdict(),
            "purpose": file.purpose,
            "held": file.held,
            "answer": file.answer,
        }

        def work(connection: apsw.Connection) -> None:
            with immediate(connection):
                fetch(connection, _SQL["add_kept_file"], values)

        await self._database.write(work)

    async def forget(self, deployment_id: str, upstream_id: str) -> None:
        """Forget a file."""
        values = {"deployment_id": deployment_id, "upstream_id": upstream_id}

        def work(connection: apsw.Connection) -> None:
            with immediate(connection):
                fetch(connection, _SQL["forget_kept_file"], values)

        await self._database.write(work)

    async def listed(
        self, owner: Owner | None, *, purpose: str | None, after: tuple[str, str] | None, limit: int
    ) -> tuple[KeptFile, ...]:
        """Return an owner's files, newest first."""
        values = {**listing_values(owner, after=after, limit=limit), "purpose": purpose}

        def work(connection: apsw.Connection) -> list[Row]:
            return fetch(connection, _SQL["list_kept_files"], values)

        return tuple(_file(row) for row in await self._database.read(work))


def listing_values(
    owner: Owner | None, *, after: tuple[str, str] | None, limit: int
) -> dict[str, str | int | bool | None]:
    """Return what every list of an owner's things binds."""
    return {
        "everybody": int(owner is None),
        **(owner or Owner("", "", ""))._asdict(),
        "after_deployment": after[0] if after else "",
        "after_upstream": after[1] if after else "",
        "limit": limit,
    }


def _file(row: Row) -> KeptFile:
    return KeptFile(
        file_no=row[0],
        deployment_id=row[1],
        upstream_id=row[2],
        owner=Owner(row[3], row[4], row[5]),
        purpose=row[6],
        held=row[7],
        answer=row[8],
    )
