"""Charging a batch: once, when it has ended, whatever dies in between.

    look at the batch ── ended ──> count its files ──> give its event an id, in its row ──> journal ──> ledger
                                                                                                        │
                                            the row is closed, because the ledger has the event <───────┘

Any step may be cut off, and any may be done again, by anybody: until the row is closed somebody begins anew. All write
an event of the same id, the one in the row, and the ledger takes one event of an id; others become dead letters without
money. Nothing here has to be locked. What is claimed for a while in the row only spares work.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog

from tallystick.access.principal import Principal
from tallystick.calls.admission import Admitted, CallAdmission
from tallystick.calls.batches.places import deployment_of
from tallystick.calls.batches.tally import Bill, Tally, estimated
from tallystick.calls.call import CallContext
from tallystick.calls.settle import Settler
from tallystick.calls.text import clean_id, clean_text
from tallystick.control.deployment import Deployment
from tallystick.control.snapshot import Snapshot
from tallystick.errors import Conflict, UpstreamRefused
from tallystick.ledger.batch_jobs import BatchJob, BatchJobStore
from tallystick.ledger.event import SpendEvent, Status
from tallystick.providers.base import Target
from tallystick.providers.file_store import FileRequest, FileStore
from tallystick.runtime.clock import Clock
from tallystick.runtime.ids import event_time, new_event_id
from tallystick.wire.batch_objects import BatchObject, read_batch, read_batch_list
from tallystick.wire.call_request import CallRequest
from tallystick.wire.openai.request import OPENAI

log = structlog.get_logger(__name__)

PATH: Final = "/v1/batches"
CALL_TYPE: Final = "batch"
AGAIN: Final = timedelta(hours=1)
"""So long a journal has time to deliver an event, before it is written once more."""
GONE_AFTER: Final = timedelta(days=2)
"""A batch that its upstream does not know for so long is not coming back."""
LOST_AFTER: Final = timedelta(hours=1)
"""So long an upstream may take to show a batch that it was asked for."""
GIVEN_UP_AFTER: Final = timedelta(days=30)
LOOK_SECONDS_MIN: Final = 15.0
_PART_OF_AGE: Final = 0.1
_PAGES_MAX: Final = 50
_PAGE: Final = 100
_STATUSES: Final[dict[str, Status]] = {"completed": "success", "failed": "failure"}


class Charger:
    """Looks at batches and charges them. One per process."""

    def __init__(
        self,
        *,
        jobs: BatchJobStore,
        store: FileStore,
        settler: Settler,
        admission: CallAdmission,
        snapshot: Callable[[], Snapshot],
        clock: Clock,
        look_seconds_max: float,
    ) -> None:
        self._jobs = jobs
        self._store = store
        self._settler = settler
        self._admission = admission
        self._snapshot = snapshot
        self._clock = clock
        self._look_seconds_max = look_seconds_max

    async def look(self, job: BatchJob) -> None:
        """Ask an upstream what became of a batch, and charge it when it has ended.

        Raises NotFound where its deployment is not there, UpstreamError, LedgerUnavailable, StoreUnavailable: then it
        is to be looked at again.
        """
        age = self._clock.now() - job.made_at
        if age > GIVEN_UP_AFTER:
            await self._give_up(job)
            return
        place = (job.deployment_id, job.template.model_group, job.owner.team_id)
        deployment = deployment_of(self._snapshot(), *place)
        if job.state == "creating":
            await self._find_created(job, deployment)
            return
        asked = FileRequest(method="GET", path="batches", object_id=job.upstream_id)
        try:
            answer = await self._store.ask(deployment.target, asked)
        except UpstreamRefused as error:
            if error.http_status in (404, 410) and age > GONE_AFTER:
                await self._give_up(job, deployment)
                return
            raise
        batch = read_batch(answer.body)
        if batch.has_ended:
            await self._charge(job, batch, await self._count(batch, deployment), deployment)
        seen = answer.body.decode("utf-8", "replace")
        await self._jobs.looked(job.job_id, answer=seen, next_look_at=self._next(job, has_ended=batch.has_ended))

    async def postpone(self, job: BatchJob) -> None:
        """Look at a batch later: a look has failed. Raises StoreUnavailable."""
        await self._jobs.looked(job.job_id, answer=None, next_look_at=self._next(job, has_ended=False))

    async def charge_now(self, deployment_id: str, upstream_id: str) -> None:
        """See to it that a batch is charged, because what it has answered is about to be deleted.

        Raises Conflict when it has not ended, and as `look` does.
        """
        job = await self._jobs.find(deployment_id, upstream_id)
        if job is None or job.state != "open":
            return
        await self.look(job)
        job = await self._jobs.find(deployment_id, upstream_id)
        if job is not None and not job.event_id:
            raise Conflict("The batch that wrote this file has not ended; its file can be deleted when it has.")

    async def hasten(self, job_id: str, answer: str) -> None:
        """Have a batch of which a caller has heard that it has ended looked at soon. Raises StoreUnavailable."""
        await self._jobs.looked(job_id, answer=answer, next_look_at=self._clock.now())

    # Inside

    def _next(self, job: BatchJob, *, has_ended: bool) -> datetime:
        now = self._clock.now()
        if has_ended:
            return now + AGAIN
        seconds = max(LOOK_SECONDS_MIN, (now - job.made_at).total_seconds() * _PART_OF_AGE)
        return now + timedelta(seconds=min(seconds, self._look_seconds_max))

    async def _find_created(self, job: BatchJob, deployment: Deployment) -> None:
        """Look among the upstream's batches for one that it was asked for, and that it may never have heard of."""
        after = ""
        for _ in range(_PAGES_MAX):
            query = f"limit={_PAGE}" + (f"&after={after}" if after else "")
            answer = await self._store.ask(deployment.target, FileRequest(method="GET", path="batches", query=query))
            page = read_batch_list(answer.body)
            for batch in page.data:
                if batch.job_id == job.job_id:
                    await self._jobs.opened(job.job_id, upstream_id=batch.id, answer="", next_look_at=self._clock.now())
                    return
            if not page.has_more or not page.data:
                if self._clock.now() - job.made_at > LOST_AFTER:
                    log.info("batch_never_made", job_id=job.job_id)
                    await self._jobs.drop(job.job_id, state="lost")
                else:
                    await self.postpone(job)
                return
            after = page.data[-1].id
        log.warning("batch_not_found", job_id=job.job_id, reason="the upstream has too many batches to look through")
        await self.postpone(job)

    async def _count(self, batch: BatchObject, deployment: Deployment) -> Bill:
        """Read the files that a batch has made. Raises UpstreamError; then nothing of it counts."""
        tally = Tally(endpoint=batch.endpoint, sheet=deployment.batch_price)
        for file_id in dict.fromkeys((batch.output_file_id, batch.error_file_id)):
            if not file_id:
                continue
            asked = FileRequest(method="GET", path="files", object_id=file_id, below="/content", stream=True)
            answer = await self._store.ask(deployment.target, asked)
            if answer.chunks is None:
                tally.feed(answer.body)
            else:
                try:
                    async for chunk in answer.chunks:
                        tally.feed(chunk)
                finally:
                    await answer.chunks.aclose()
            tally.end_file()
        return tally.bill()

    async def _charge(
        self, job: BatchJob, batch: BatchObject, bill: Bill, deployment: Deployment, *, is_given_up: bool = False
    ) -> None:
        """Write a batch's event. The id that it has is the row's, whoever gave it, and so is the time of the event."""
        event_id = job.event_id or await self._jobs.give_event(job.job_id, new_event_id(self._clock.now()))
        event = _event(job, batch, bill, event_id)
        if is_given_up:
            event = msgspec.structs.replace(event, status="interrupted", error_class="BatchUnknown")
        ended_at = max(self._clock.now(), event.started_at)
        await self._write(msgspec.structs.replace(event, ended_at=ended_at), deployment)

    async def _write(self, event: SpendEvent, deployment: Deployment) -> None:
        """Put an event into the journal. Its intent is the event itself: it reads the same if this process dies."""
        context = CallContext(
            event_id=event.event_id,
            started_at=event.started_at,
            path=PATH,
            request=_REQUEST,
            principal=Principal(key_hash=event.key_hash),
            headers={},
            requester_ip="",
        )
        # Nothing is held: room was looked for when the batch was made.
        admitted = Admitted(self._admission, context, [deployment], tokens_estimate=0)
        if self._settler.is_running(event.event_id):
            raise Conflict("The batch is being charged at this moment: try again.")
        self._settler.begin(lambda: event, admitted)
        await self._settler.end(event)

    async def _give_up(self, job: BatchJob, deployment: Deployment | None = None) -> None:
        """Charge a batch of which nobody can say what became. One that may never have been made is lost."""
        if job.state == "creating":
            await self._jobs.drop(job.job_id, state="lost")
            return
        tokens = job.template.usage.input_tokens or 0
        if deployment is None:
            deployment = self._known(job)
        bill = estimated(tokens, deployment.batch_price if deployment is not None else None)
        log.warning("batch_given_up", job_id=job.job_id, model_group=job.template.model_group)
        placeholder = deployment or _NOWHERE
        await self._charge(job, BatchObject(), bill, placeholder, is_given_up=True)
        await self._jobs.looked(job.job_id, answer=None, next_look_at=self._clock.now() + AGAIN)

    def _known(self, job: BatchJob) -> Deployment | None:
        for each in self._snapshot().find(job.template.model_group, team_id=job.owner.team_id):
            if each.deployment_id == job.deployment_id:
                return each
        return None


def _event(job: BatchJob, batch: BatchObject, bill: Bill, event_id: str) -> SpendEvent:
    started_at = event_time(event_id)
    failure = batch.first_error
    return msgspec.structs.replace(
        job.template,
        event_id=event_id,
        started_at=started_at,
        ended_at=started_at,
        status=_STATUSES.get(batch.status, "interrupted"),
        error_class="" if batch.status == "completed" else clean_text(f"Batch{batch.status.title()}", 128),
        error_code=clean_text(failure.code or "", 32),
        error_message=clean_text(failure.message or ""),
        usage=bill.usage,
        usage_source=bill.usage_source,
        cost_nano_usd=bill.cost_nano_usd,
        cost_status=bill.cost_status,
        cost_breakdown=dict(bill.breakdown),
        price_version=bill.price_version,
        provider_response_id=clean_id(job.upstream_id),
        metadata={
            **job.template.metadata,
            "batch": {
                **job.template.metadata.get("batch", {}),
                "status": batch.status or "unknown",
                "made_at": job.made_at.isoformat(),
                "call_id": job.job_id,
                **bill.counts,
            },
        },
    )


_REQUEST: Final = CallRequest(
    dialect=OPENAI,
    endpoint="pass_through",
    model="",
    raw=b"",
    metadata={},
    litellm_metadata={},
    tags=[],
    max_output_tokens=0,  # What a batch generates teaches nothing about single calls.
)
_NOWHERE: Final = Deployment(
    deployment_id="", model_group="", target=Target(provider="", model="", api_base=""), price=None
)
