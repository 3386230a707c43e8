"""Batches that upstreams work off, in SQLite."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import apsw
import msgspec

from tallystick.control.owner import Owner
from tallystick.ledger.batch_jobs import BatchJob
from tallystick.ledger.event import SpendEvent
from tallystick.runtime.ids import event_time
from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite.database import SqliteDatabase
from tallystick.stores.sqlite.kept_files import listing_values
from tallystick.stores.sqlite.moments import microseconds, moment_of
from tallystick.stores.sqlite.transactions import Row, fetch, immediate

_SQL = load_queries("tallystick.stores.sqlite")
_TEMPLATE = msgspec.json.Decoder(SpendEvent)


class SqliteBatchJobs:
    """Implements BatchJobStore."""

    def __init__(self, *, database: SqliteDatabase) -> None:
        self._database = database

    async def begin(self, job: BatchJob) -> None:
        """Note a job before the upstream is asked."""
        await self._write(
            "begin_job",
            {
                "job_id": job.job_id,
                "deployment_id": job.deployment_id,
                **job.owner._asdict(),
                "made_at": microseconds(job.made_at),
                "next_look_at": microseconds(job.next_look_at),
                "template": msgspec.json.encode(job.template).decode(),
            },
        )

    async def opened(self, job_id: str, *, upstream_id: str, answer: str, next_look_at: datetime) -> None:
        """The upstream has it."""
        await self._write(
            "open_job",
            {
                "job_id": job_id,
                "upstream_id": upstream_id,
                "answer": answer,
                "next_look_at": microseconds(next_look_at),
            },
        )

    async def drop(self, job_id: str, *, state: Literal["lost"] | None = None) -> None:
        """The upstream has not taken it."""
        await self._write("drop_job" if state is None else "lose_job", {"job_id": job_id})

    async def find(self, deployment_id: str, upstream_id: str) -> BatchJob | None:
        """Return a job by the upstream's id."""
        values = {"deployment_id": deployment_id, "upstream_id": upstream_id}
        rows = await self._read("find_job", values)
        return _job(rows[0]) if rows else None

    async def listed(self, owner: Owner | None, *, after: tuple[str, str] | None, limit: int) -> tuple[BatchJob, ...]:
        """Return an owner's jobs, newest first."""
        return tuple(map(_job, await self._read("list_jobs", listing_values(owner, after=after, limit=limit))))

    async def take_due(self, *, now: datetime, until: datetime, limit: int) -> tuple[BatchJob, ...]:
        """Return jobs that are to be looked at, which nobody else has before `until`."""
        values = {"now": microseconds(now), "until": microseconds(until), "limit": limit}
        return tuple(map(_job, await self._write("take_due_jobs", values)))

    async def looked(self, job_id: str, *, answer: str | None, next_look_at: datetime) -> None:
        """Note what the upstream said, and when to look again."""
        values = {"job_id": job_id, "answer": answer, "next_look_at": microseconds(next_look_at)}
        await self._write("note_job_look", values)

    async def give_event(self, job_id: str, event_id: str) -> str:
        """Give the event of a job its id, unless it has one."""
        given = {"job_id": job_id, "event_id": event_id, "event_time": microseconds(event_time(event_id))}

        def work(connection: apsw.Connection) -> list[Row]:
            with immediate(connection):
                fetch(connection, _SQL["give_job_event"], given)
                return fetch(connection, _SQL["job_event"], {"job_id": job_id})

        rows = await self._database.write(work)
        assert rows, "jobs that are open are not deleted"
        return str(rows[0][0])

    async def close_charged(self) -> int:
        """Close the open jobs whose event the ledger holds."""
        return len(await self._write("close_charged_jobs", {}))

    async def count(self) -> Mapping[str, int]:
        """Return how many jobs are not done, by state."""
        return {str(state): int(jobs) for state, jobs in await self._read("count_jobs", {})}

    async def _read(self, query: str, values: Mapping[str, Any]) -> list[Row]:  # Any: what SQLite binds.
        return await self._database.read(lambda connection: fetch(connection, _SQL[query], values))

    async def _write(self, query: str, values: Mapping[str, Any]) -> list[Row]:  # Any: what SQLite binds.
        def work(connection: apsw.Connection) -> list[Row]:
            with immediate(connection):
                return fetch(connection, _SQL[query], values)

        return await self._database.write(work)


def _job(row: Row) -> BatchJob:
    return BatchJob(
        job_id=row[0],
        state=row[1],
        deployment_id=row[2],
        upstream_id=row[3],
        owner=Owner(row[4], row[5], row[6]),
        made_at=moment_of(row[7]),
        next_look_at=moment_of(row[8]),
        looks=row[9],
        event_id=row[10],
        template=_TEMPLATE.decode(row[11]),
        answer=row[12],
    )
