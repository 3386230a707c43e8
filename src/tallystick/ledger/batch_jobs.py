"""Batches of calls that upstreams work off: each is charged once, when it has ended.

Not to be mixed up with a batch of the ledger, a run of events; so here they are called jobs. A job's row is made before
the upstream hears of it, and stays open until the ledger itself holds its event. The event's id is written into the row
before the event is first written anywhere, and never changes: however often and by however many a job is charged, the
ledger takes one event of that id (`EventRepeated`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from tallystick.control.owner import Owner
from tallystick.ledger.event import SpendEvent

State = Literal["creating", "open", "charged", "lost"]
"""`creating`: the upstream was asked, and it is not known whether it has it. `lost`: the upstream never had it."""


class BatchJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job."""

    job_id: str
    """A UUIDv7, which the upstream keeps with the job, too."""
    state: State = "creating"
    deployment_id: str
    upstream_id: str = ""
    """As the upstream calls it; '' until that is known."""
    owner: Owner
    made_at: datetime
    next_look_at: datetime
    looks: int = 0
    event_id: str = ""
    """The id of the event that charges it; '' before it is first charged."""
    template: SpendEvent
    """The event but for what is only known at the end: whom it belongs to, and by what deployment."""
    answer: str = ""
    """What the upstream said of it last, as JSON."""


class BatchJobStore(Protocol):
    """Where jobs are kept. All methods raise StoreUnavailable."""

    async def begin(self, job: BatchJob) -> None:
        """Note a job before the upstream is asked."""

    async def opened(self, job_id: str, *, upstream_id: str, answer: str, next_look_at: datetime) -> None:
        """The upstream has it: a job that is `creating` is open. Any other is left alone."""

    async def drop(self, job_id: str, *, state: Literal["lost"] | None = None) -> None:
        """The upstream has not taken it: a job that is `creating` is forgotten, or kept as `lost`."""

    async def find(self, deployment_id: str, upstream_id: str) -> BatchJob | None:
        """Return a job by the upstream's id."""

    async def listed(self, owner: Owner | None, *, after: tuple[str, str] | None, limit: int) -> tuple[BatchJob, ...]:
        """Return jobs that the upstream has, newest first; see KeptFileStore.listed."""

    async def take_due(self, *, now: datetime, until: datetime, limit: int) -> tuple[BatchJob, ...]:
        """Return jobs that are to be looked at, and let nobody else have them before `until`.

        That is to spare work: what is done to a job may be done by two at once, and again.
        """

    async def looked(self, job_id: str, *, answer: str | None, next_look_at: datetime) -> None:
        """Note what the upstream said of an uncharged job, and when to look again. None: nothing new."""

    async def give_event(self, job_id: str, event_id: str) -> str:
        """Give the event of a job its id, unless it has one; return the one it has. It must be a UUIDv7."""

    async def close_charged(self) -> int:
        """Close the open jobs whose event the ledger holds, committed or as a dead letter; return how many."""

    async def count(self) -> Mapping[str, int]:
        """Return how many jobs there are that are not done, by state."""
