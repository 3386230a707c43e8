"""Batches that upstreams work off, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import asyncpg
import msgspec

from tallystick.control.owner import Owner
from tallystick.ledger.batch_jobs import BatchJob
from tallystick.ledger.event import SpendEvent
from tallystick.runtime.ids import event_time
from tallystick.stores.postgres.database import PostgresDatabase

_TEMPLATE = msgspec.json.Decoder(SpendEvent)


class PostgresBatchJobs:
    """Implements BatchJobStore."""

    def __init__(self, *, database: PostgresDatabase) -> None:
        self._database = database
        self._queries = database.queries

    async def begin(self, job: BatchJob) -> None:
        """Note a job before the upstream is asked."""
        template = msgspec.json.encode(job.template).decode()
        async with self._database.connection() as connection:
            await connection.execute(
                self._queries["begin_job"],
                job.job_id,
                job.deployment_id,
                *job.owner,
                job.made_at,
                job.next_look_at,
                template,
            )

    async def opened(self, job_id: str, *, upstream_id: str, answer: str, next_look_at: datetime) -> None:
        """The upstream has it."""
        async with self._database.connection() as connection:
            await connection.execute(self._queries["open_job"], upstream_id, answer, next_look_at, job_id)

    async def drop(self, job_id: str, *, state: Literal["lost"] | None = None) -> None:
        """The upstream has not taken it."""
        query = self._queries["drop_job" if state is None else "lose_job"]
        async with self._database.connection() as connection:
            await connection.execute(query, job_id)

    async def find(self, deployment_id: str, upstream_id: str) -> BatchJob | None:
        """Return a job by the upstream's id."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._queries["find_job"], deployment_id, upstream_id)
        return None if row is None else _job(row)

    async def listed(self, owner: Owner | None, *, after: tuple[str, str] | None, limit: int) -> tuple[BatchJob, ...]:
        """Return an owner's jobs, newest first."""
        after_deployment, after_upstream = after or ("", "")
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                self._queries["list_jobs"],
                owner is None,
                *(owner or Owner("", "", "")),
                after_upstream,
                after_deployment,
                limit,
            )
        return tuple(map(_job, rows))

    async def take_due(self, *, now: datetime, until: datetime, limit: int) -> tuple[BatchJob, ...]:
        """Return jobs that are to be looked at, which nobody else has before `until`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._queries["take_due_jobs"], until, now, limit)
        return tuple(map(_job, rows))

    async def looked(self, job_id: str, *, answer: str | None, next_look_at: datetime) -> None:
        """Note what the upstream said, and when to look again."""
        async with self._database.connection() as connection:
            await connection.execute(self._queries["note_job_look"], answer, next_look_at, job_id)

    async def give_event(self, job_id: str, event_id: str) -> str:
        """Give the event of a job its id, unless it has one."""
        async with self._database.connection() as connection:
            await connection.execute(self._queries["give_job_event"], event_id, event_time(event_id), job_id)
            given = await connection.fetchval(self._queries["job_event"], job_id)
        assert given, "jobs that are open are not deleted"
        return str(given)

    async def close_charged(self) -> int:
        """Close the open jobs whose event the ledger holds."""
        async with self._database.connection() as connection:
            return len(await connection.fetch(self._queries["close_charged_jobs"]))

    async def count(self) -> Mapping[str, int]:
        """Return how many jobs are not done, by state."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._queries["count_jobs"])
        return {row["state"]: row["jobs"] for row in rows}


def _job(row: asyncpg.Record) -> BatchJob:
    return BatchJob(
        job_id=row["job_id"],
        state=row["state"],
        deployment_id=row["deployment_id"],
        upstream_id=row["upstream_id"],
        owner=Owner(row["key_hash"], row["user_id"], row["team_id"]),
        made_at=row["made_at"],
        next_look_at=row["next_look_at"],
        looks=row["looks"],
        event_id=row["event_id"],
        template=_TEMPLATE.decode(row["template"]),
        answer=row["answer"],
    )
