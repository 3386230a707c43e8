"""Files and batches of upstreams in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeVar

import msgspec

from tallystick.access.kept_files import KeptFile
from tallystick.control.owner import Owner
from tallystick.ledger.batch_jobs import BatchJob
from tallystick.runtime.ids import event_time
from tallystick.testing.store import MemoryStore

_ThingT = TypeVar("_ThingT", KeptFile, BatchJob)


class MemoryKeptFiles:
    """`KeptFileStore`, forgotten at the end."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, str], KeptFile] = {}

    async def add(self, file: KeptFile) -> None:
        """Note a file, unless it is noted."""
        self._files.setdefault((file.deployment_id, file.upstream_id), file)

    async def forget(self, deployment_id: str, upstream_id: str) -> None:
        """Forget a file."""
        self._files.pop((deployment_id, upstream_id), None)

    async def listed(
        self, owner: Owner | None, *, purpose: str | None, after: tuple[str, str] | None, limit: int
    ) -> tuple[KeptFile, ...]:
        """Return an owner's files, newest first."""
        found = [file for file in self._files.values() if purpose is None or file.purpose == purpose]
        return _page(found, list(self._files.values()), lambda file: file.file_no, owner, after, limit)


class MemoryBatchJobs:
    """`BatchJobStore`, forgotten at the end. `store` is the ledger whose events close jobs."""

    def __init__(self, *, store: MemoryStore) -> None:
        self._store = store
        self._jobs: dict[str, BatchJob] = {}

    async def begin(self, job: BatchJob) -> None:
        """Note a job before the upstream is asked."""
        self._jobs[job.job_id] = job

    async def opened(self, job_id: str, *, upstream_id: str, answer: str, next_look_at: datetime) -> None:
        """The upstream has it."""
        job = self._jobs.get(job_id)
        if job is not None and job.state == "creating":
            self._jobs[job_id] = msgspec.structs.replace(
                job, state="open", upstream_id=upstream_id, answer=answer, next_look_at=next_look_at
            )

    async def drop(self, job_id: str, *, state: Literal["lost"] | None = None) -> None:
        """The upstream has not taken it."""
        job = self._jobs.get(job_id)
        if job is None or job.state != "creating":
            return
        if state is None:
            del self._jobs[job_id]
        else:
            self._jobs[job_id] = msgspec.structs.replace(job, state=state)

    async def find(self, deployment_id: str, upstream_id: str) -> BatchJob | None:
        """Return a job by the upstream's id."""
        return next(
            (
                job
                for job in self._jobs.values()
                if upstream_id and (job.deployment_id, job.upstream_id) == (deployment_id, upstream_id)
            ),
            None,
        )

    async def listed(self, owner: Owner | None, *, after: tuple[str, str] | None, limit: int) -> tuple[BatchJob, ...]:
        """Return an owner's jobs, newest first."""
        found = [job for job in self._jobs.values() if job.upstream_id]
        return _page(found, found, lambda job: job.job_id, owner, after, limit)

    async def take_due(self, *, now: datetime, until: datetime, limit: int) -> tuple[BatchJob, ...]:
        """Return jobs that are to be looked at, which nobody else has before `until`."""
        due = [job for job in self._jobs.values() if job.state in ("creating", "open") and job.next_look_at <= now]
        taken = sorted(due, key=lambda job: job.next_look_at)[:limit]
        for job in taken:
            self._jobs[job.job_id] = msgspec.structs.replace(job, next_look_at=until, looks=job.looks + 1)
        return tuple(self._jobs[job.job_id] for job in taken)

    async def looked(self, job_id: str, *, answer: str | None, next_look_at: datetime) -> None:
        """Note what the upstream said, and when to look again."""
        job = self._jobs[job_id]
        if job.state in ("creating", "open"):
            said = job.answer if answer is None else answer
            self._jobs[job_id] = msgspec.structs.replace(job, answer=said, next_look_at=next_look_at)

    async def give_event(self, job_id: str, event_id: str) -> str:
        """Give the event of a job its id, unless it has one."""
        event_time(event_id)
        job = self._jobs[job_id]
        if not job.event_id:
            self._jobs[job_id] = job = msgspec.structs.replace(job, event_id=event_id)
        return job.event_id

    async def close_charged(self) -> int:
        """Close the open jobs whose event the ledger holds."""
        books = self._store.books
        held = {committed.event.event_id for committed in books.events}
        held |= {letter.letter.event_id for letter in books.dead_letters}
        closed = [job for job in self._jobs.values() if job.state == "open" and job.event_id in held - {""}]
        for job in closed:
            self._jobs[job.job_id] = msgspec.structs.replace(job, state="charged")
        return len(closed)

    async def count(self) -> Mapping[str, int]:
        """Return how many jobs are not done, by state."""
        states = [job.state for job in self._jobs.values()]
        return {state: states.count(state) for state in ("creating", "open") if state in states}


def _page(
    found: Sequence[_ThingT],
    known: Sequence[_ThingT],
    number: Callable[[_ThingT], str],
    owner: Owner | None,
    after: tuple[str, str] | None,
    limit: int,
) -> tuple[_ThingT, ...]:
    things = [each for each in found if owner is None or _belongs(each.owner, owner)]
    if after is not None:
        behind = [number(each) for each in known if (each.deployment_id, each.upstream_id) == after]
        things = [each for each in things if behind and number(each) < behind[0]]
    return tuple(sorted(things, key=number, reverse=True)[:limit])


def _belongs(made_by: Owner, asking: Owner) -> bool:
    return made_by.key_hash == asking.key_hash or any(
        mine and mine == other for mine, other in zip(made_by[1:], asking[1:], strict=True)
    )
