"""Reports from the sums: running totals of entities, and the cube by one column."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import asyncpg

from tallystick.ledger.batch import COUNTERS
from tallystick.ledger.store import (
    CUBE_GROUPS,
    ENTITY_DAY_GROUPS,
    ActivityFilter,
    EntityDayType,
    EntityRef,
    GroupBy,
    SumRow,
)
from tallystick.stores.postgres.connection import Readable
from tallystick.stores.postgres.texts import holdable

_COLUMN_OF: dict[GroupBy, str] = {
    "key": "key_hash",
    "user": "user_id",
    "team": "team_id",
    "organization": "organization_id",
    "model_group": "model_group",
    "model": "model",
    "provider": "provider",
    "endpoint": "endpoint",
}


class SumReports:
    """Reads `totals` and `daily_spend`."""

    def __init__(self, *, database: Readable) -> None:
        self._database = database
        self._queries = database.queries

    async def total(self, entity_type: str, entity_id: str, member_id: str) -> SumRow:
        """Return one running sum, zeros where there is none."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._queries["total"], entity_type, entity_id, member_id)
        return _sum_row({"entity_id": entity_id, "member_id": member_id}, row)

    async def totals(self, entity_type: str, *, limit: int) -> tuple[SumRow, ...]:
        """Return the running sums of one type, dearest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._queries["totals"], entity_type, limit)
        return tuple(_sum_row({"entity_id": row["entity_id"], "member_id": row["member_id"]}, row) for row in rows)

    async def spend_of(self, entities: Sequence[EntityRef]) -> dict[EntityRef, int]:
        """Return what each entity has spent, 0 for one that never spent."""
        spend = dict.fromkeys(entities, 0)
        wanted = [entity for entity in spend if all(map(holdable, entity))]
        if wanted:
            async with self._database.connection() as connection:
                rows = await connection.fetch(self._queries["spend_of"], *zip(*wanted, strict=True))
            for row in rows:
                spend[row["entity_type"], row["entity_id"], row["member_id"]] = row["cost_nano_usd"]
        return spend

    async def daily(
        self, *, group_by: GroupBy, first: date, last: date, limit: int, key_hash: str | None
    ) -> tuple[SumRow, ...]:
        """Return the cube by one column, dearest first; by day in the order of days."""
        name = "daily_filter_none" if key_hash is None else "daily_filter_key_hash"
        filters = self._queries[name]
        if group_by == "day":
            statement = self._queries["daily_by_day"].format(filters=filters)
        else:
            statement = self._queries["daily_by_column"].format(column=_COLUMN_OF[group_by], filters=filters)
        values = [first, last, limit] if key_hash is None else [first, last, limit, key_hash]
        async with self._database.connection() as connection:
            rows = await connection.fetch(statement, *values)
        return tuple(_sum_row({group_by: row["value"]}, row) for row in rows)

    async def activity(self, *, where: ActivityFilter, first: date, last: date, limit: int) -> tuple[SumRow, ...]:
        """Return the cube by all of `CUBE_GROUPS`, in their order."""
        lists = [_holdable(getattr(where, name)) for name in where.__struct_fields__]
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._queries["activity"], first, last, limit, *lists)
        return tuple(_sum_row({name: row[name] for name in CUBE_GROUPS}, row) for row in rows)

    async def entity_activity(
        self,
        *,
        entity_type: EntityDayType,
        entity_ids: tuple[str, ...] | None,
        models: tuple[str, ...] | None,
        first: date,
        last: date,
        limit: int,
    ) -> tuple[SumRow, ...]:
        """Return the days of end users or tags by all of `ENTITY_DAY_GROUPS`, in their order."""
        values = (first, last, limit, entity_type, _holdable(entity_ids), _holdable(models))
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._queries["entity_activity"], *values)
        return tuple(_sum_row({name: row[name] for name in ENTITY_DAY_GROUPS}, row) for row in rows)


def _holdable(values: tuple[str, ...] | None) -> list[str] | None:
    """Leave out what the database can't hold: it has no such row."""
    return None if values is None else [value for value in values if holdable(value)]


def _sum_row(group: dict[str, str], row: asyncpg.Record | None) -> SumRow:
    return SumRow(group=group, **{counter: 0 if row is None else row[counter] for counter in COUNTERS})
