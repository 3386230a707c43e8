"""The feed of committed events: in the order of commits for those who follow it, newest first for those who look."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from tallystick.errors import BadRequest
from tallystick.ledger.store import CommittedEvent, EventFilter, EventPage
from tallystick.runtime.ids import event_time
from tallystick.stores.postgres.connection import Connection, Readable
from tallystick.stores.postgres.rows import committed_event_of

# Commits that one statement looks through, so that none runs for long however rare the events are that are wanted.
COMMITS_PER_STATEMENT = 500

_CURSOR = re.compile(r"^(?P<position>[0-9]{1,18}):(?P<seq>[0-9]{1,18})$")


class EventFeed:
    """Reads committed events. A cursor is "position:seq": the commit, and the event's number in it."""

    def __init__(self, *, database: Readable) -> None:
        self._database = database
        self._queries = database.queries

    async def events_after(self, cursor: str, *, limit: int, where: EventFilter) -> EventPage:
        """Return up to `limit` events after `cursor`; none only when there is none up to the end of the feed."""
        position, seq = _parse_cursor(cursor)
        if where.event_id is not None:
            return await self._one_after(cursor, where)
        async with self._database.connection() as connection:
            while True:
                commits = await connection.fetch(self._queries["commits_from"], position, seq, COMMITS_PER_STATEMENT)
                if not commits:
                    return EventPage(events=(), next=cursor)
                events = await self._events_of(connection, commits, (position, seq), limit, where)
                if len(events) == limit:
                    return EventPage(events=events, next=events[-1].cursor)
                position, seq = commits[-1]["position"], commits[-1]["last_seq"]
                cursor = f"{position}:{seq}"
                if events:
                    return EventPage(events=events, next=cursor)

    async def latest_events(self, *, limit: int, where: EventFilter, offset: int = 0) -> tuple[CommittedEvent, ...]:
        """Return the newest events by `started_at`, newest first, without the first `offset` of them."""
        if where.event_id is not None and not _is_uuid(where.event_id):
            return ()
        filters, values = self._filters(where, first_parameter=3)
        statement = self._queries["latest_events"].format(filters=filters)
        async with self._database.connection() as connection:
            rows = await connection.fetch(statement, limit, offset, *values)
        return tuple(committed_event_of(row) for row in rows)

    async def count_events(self, *, at_most: int, where: EventFilter) -> int:
        """Return how many events there are; counting ends at `at_most`."""
        if where.event_id is not None and not _is_uuid(where.event_id):
            return 0
        filters, values = self._filters(where, first_parameter=2)
        statement = self._queries["count_events"].format(filters=filters)
        async with self._database.connection() as connection:
            return int(await connection.fetchval(statement, at_most, *values))

    async def _one_after(self, cursor: str, where: EventFilter) -> EventPage:
        """Look one event up by its id instead of walking to it."""
        found = await self.latest_events(limit=1, where=where)
        if not found or _parse_cursor(found[0].cursor) <= _parse_cursor(cursor):
            return EventPage(events=(), next=cursor)
        return EventPage(events=found, next=found[0].cursor)

    async def _events_of(
        self,
        connection: Connection,
        commits: list[asyncpg.Record],
        after: tuple[int, int],
        limit: int,
        where: EventFilter,
    ) -> tuple[CommittedEvent, ...]:
        first_time = min((row["first_time"] for row in commits if row["first_time"]), default=None)
        last_time = max((row["last_time"] for row in commits if row["last_time"]), default=None)
        if first_time is None:
            return ()  # Nothing but dead letters.
        filters, values = self._filters(where, first_parameter=7)
        rows: list[asyncpg.Record] = await connection.fetch(
            self._queries["events_of_commits"].format(filters=filters),
            *after,
            commits[-1]["position"],
            limit,
            first_time,
            last_time,
            *values,
        )
        return tuple(committed_event_of(row) for row in rows)

    def _filters(self, where: EventFilter, *, first_parameter: int) -> tuple[str, list[Any]]:
        """Return the conditions in SQL and their values. Any: text and times."""
        wanted = _wanted(where)
        if not wanted:
            return self._queries["filter_none"], []
        conditions = [
            self._queries[f"filter_{name}"].format(value=f"${number}")
            for number, name in enumerate(wanted, start=first_parameter)
        ]
        return " AND ".join(conditions), list(wanted.values())


def _wanted(where: EventFilter) -> Mapping[str, Any]:
    """Return the filters that are set, by name. Any: text and times."""
    values: dict[str, Any] = {
        "event_id": where.event_id,
        "event_time": None if where.event_id is None else _time_of(where.event_id),
        "key_hash": where.key_hash,
        "user_id": where.user_id,
        "team_id": where.team_id,
        "end_user_id": where.end_user_id,
        "session_id": where.session_id,
        "model": where.model,
        "is_success": where.is_success,
        "cost_at_least": where.cost_at_least_nano_usd,
        "cost_at_most": where.cost_at_most_nano_usd,
        "provider_response_id": where.provider_response_id,
        "since": where.since,
        "until": where.until,
    }
    return {name: value for name, value in values.items() if value is not None}


def _time_of(event_id: str) -> datetime | None:
    try:
        return event_time(event_id)
    except ValueError:
        return None  # A UUID that is not ours has no time: it is looked for in every partition.


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _parse_cursor(cursor: str) -> tuple[int, int]:
    if cursor == "":
        return 0, 0
    match = _CURSOR.match(cursor)
    if match is None:
        raise BadRequest(f"{cursor[:64]!r} is not a cursor: pass `next` of the page before, or nothing.", param="after")
    return int(match["position"]), int(match["seq"])
