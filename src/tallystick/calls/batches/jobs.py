"""Batches at upstreams: made, listed, read and cancelled by those whom they belong to; charged by `charging`."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from datetime import timedelta
from typing import Final, NamedTuple

import msgspec
import structlog

from tallystick.access.leasing.admission import Estimate
from tallystick.access.principal import Principal
from tallystick.calls.admission import CallAdmission, Headers
from tallystick.calls.attribution import Attributor
from tallystick.calls.batches.charging import CALL_TYPE, LOOK_SECONDS_MIN, PATH, Charger
from tallystick.calls.batches.ids import HeldIds, HeldObject, held_by
from tallystick.calls.batches.places import deployment_of
from tallystick.calls.call import CallContext
from tallystick.calls.model_choice import choose_model
from tallystick.calls.pipeline import require_customer
from tallystick.control.deployment import Deployment
from tallystick.control.snapshot import Snapshot
from tallystick.errors import BadRequest, StoreError, UpstreamRefused
from tallystick.ledger.batch_jobs import BatchJob, BatchJobStore
from tallystick.ledger.event import SpendEvent
from tallystick.pricing.ceiling import cost_ceiling
from tallystick.providers.file_store import FileRequest, FileStore
from tallystick.runtime.clock import Clock
from tallystick.runtime.masking import mask_text
from tallystick.wire.batch_lines import ENDPOINTS, endpoint_of
from tallystick.wire.batch_objects import (
    METADATA_MAX,
    BatchObject,
    BatchRequest,
    read_batch,
    read_batch_request,
    with_ids,
    write_batch_request,
    write_page,
)
from tallystick.wire.call_request import CallRequest
from tallystick.wire.openai.request import OPENAI
from tallystick.wire.usage import Usage

log = structlog.get_logger(__name__)

LIST_MAX: Final = 100
_UNSURE: Final = timedelta(minutes=2)
"""So long a batch may take to be made, before it is looked for at the upstream."""


class JobContext(NamedTuple):
    """Who asks, and by what request."""

    event_id: str
    principal: Principal
    headers: Mapping[bytes, bytes]
    requester_ip: str


class Batches:
    """Keeps callers' batches at upstreams. One per process."""

    def __init__(
        self,
        *,
        files: HeldIds,
        ids: HeldIds,
        jobs: BatchJobStore,
        store: FileStore,
        attributor: Attributor,
        blocked_customers: Container[str],
        admission: CallAdmission,
        charger: Charger,
        snapshot: Callable[[], Snapshot],
        clock: Clock,
    ) -> None:
        self._files = files
        self._ids = ids
        self._jobs = jobs
        self._store = store
        self._attributor = attributor
        self._blocked_customers = blocked_customers
        self._admission = admission
        self._charger = charger
        self._snapshot = snapshot
        self._clock = clock

    async def create(self, context: JobContext, raw: bytes) -> tuple[bytes, Headers]:
        """Have an upstream work a file of calls off; return what it says, and headers.

        Raises BadRequest, NotFound and PermissionDenied for the file, ModelNotAllowed, BudgetExceeded, BudgetUnknown,
        RateLimited, StoreUnavailable when it can't be noted (then the upstream was not asked), UpstreamError.
        """
        asked = _checked(read_batch_request(raw))
        principal = context.principal
        file = self._files.find(asked.input_file_id, principal, param="input_file_id")
        if not file.calls:
            raise BadRequest("The file was not uploaded with the purpose 'batch'.", param="input_file_id")
        choose_model(principal, file.model_group, self._snapshot())
        deployment = deployment_of(self._snapshot(), file.deployment_id, file.model_group, file.team_id)
        call = self._call(context, asked, deployment)
        attribution = self._attributor.attribute(
            call.request, principal=principal, headers=context.headers, requester_ip=context.requester_ip
        )
        require_customer(attribution, self._blocked_customers)
        admitted = await self._admission.admit_job(call, attribution, deployment, _estimate(file, deployment))
        try:
            job = BatchJob(
                job_id=context.event_id,
                deployment_id=file.deployment_id,
                owner=held_by(principal, deployment_id="", model_group="").owner,
                made_at=call.started_at,
                next_look_at=call.started_at + _UNSURE,
                template=SpendEvent(
                    event_id=context.event_id,
                    call_type=CALL_TYPE,
                    endpoint=PATH,
                    status="interrupted",
                    started_at=call.started_at,
                    ended_at=call.started_at,
                    key_hash=principal.key_hash,
                    key_alias=principal.key_alias,
                    user_id=attribution.user_id,
                    team_id=principal.team_id,
                    organization_id=principal.organization_id,
                    end_user_id=attribution.end_user_id,
                    tags=attribution.tags,
                    session_id=attribution.session_id,
                    model_group=deployment.model_group,
                    model=deployment.target.model,
                    deployment_id=deployment.deployment_id,
                    provider=deployment.target.provider,
                    api_base=deployment.target.api_base,
                    usage=Usage(input_tokens=file.input_tokens, output_tokens=file.output_tokens),
                    requester_ip=attribution.requester_ip,
                    user_agent=attribution.user_agent,
                    metadata={**attribution.metadata, "batch": {"calls": file.calls}},
                ),
            )
            await self._jobs.begin(job)
            answer = await self._begin(job, asked, file, deployment)
        except BaseException:
            admitted.cancel()
            raise
        headers = admitted.headers()
        admitted.end_without_event()
        held = held_by(
            principal,
            deployment_id=deployment.deployment_id,
            model_group=deployment.model_group,
            upstream_id=read_batch(answer).id,
        )
        held = msgspec.structs.replace(
            held, calls=file.calls, input_tokens=file.input_tokens, output_tokens=file.output_tokens
        )
        return self._shown(held, answer, input_file_id=asked.input_file_id), headers

    async def show(self, principal: Principal, batch_id: str) -> bytes:
        """Return what the upstream says of a batch. Raises NotFound, PermissionDenied, UpstreamError."""
        held = self._ids.find(batch_id, principal)
        return await self._ask(held, FileRequest(method="GET", path="batches", object_id=held.upstream_id))

    async def cancel(self, principal: Principal, batch_id: str) -> bytes:
        """Have a batch ended; what it has done by then is charged. Raises as `show`."""
        held = self._ids.find(batch_id, principal)
        asked = FileRequest(method="POST", path="batches", object_id=held.upstream_id, below="/cancel")
        return await self._ask(held, asked)

    async def listed(self, principal: Principal, *, after: str | None, limit: int) -> bytes:
        """Return a page of the caller's own batches, as they were when last looked at."""
        behind = None
        if after is not None:
            held = self._ids.find(after, principal, param="after")
            behind = (held.deployment_id, held.upstream_id)
        owner = None if principal.is_admin else held_by(principal, deployment_id="", model_group="").owner
        found = await self._jobs.listed(owner, after=behind, limit=limit + 1)
        shown = [(_held(job), job.answer.encode()) for job in found[:limit] if job.answer]
        ids = [self._ids.tell(held) for held, _ in shown]
        return write_page([self._shown(*each) for each in shown], ids=ids, has_more=len(found) > limit)

    # Inside

    def _call(self, context: JobContext, asked: BatchRequest, deployment: Deployment) -> CallContext:
        request = CallRequest(
            dialect=OPENAI,
            endpoint="pass_through",
            model=deployment.model_group,
            raw=b"",
            metadata=asked.metadata or {},
            litellm_metadata={},
            tags=[],
        )
        return CallContext(
            event_id=context.event_id,
            started_at=self._clock.now(),
            path=PATH,
            request=request,
            principal=context.principal,
            headers=context.headers,
            requester_ip=context.requester_ip,
            call_type=CALL_TYPE,
        )

    async def _begin(self, job: BatchJob, asked: BatchRequest, file: HeldObject, deployment: Deployment) -> bytes:
        """Ask the upstream. What it refuses is forgotten; of what stays unsure, the leader finds out."""
        body = write_batch_request(asked, input_file_id=file.upstream_id, job_id=job.job_id)
        try:
            answer = await self._store.ask(deployment.target, FileRequest(method="POST", path="batches", body=body))
        except UpstreamRefused as error:
            if error.http_status < 500 and error.http_status != 408:
                await self._forget(job)
            raise
        next_look_at = self._clock.now() + timedelta(seconds=LOOK_SECONDS_MIN)
        try:
            await self._jobs.opened(
                job.job_id,
                upstream_id=read_batch(answer.body).id,
                answer=answer.body.decode("utf-8", "replace"),
                next_look_at=next_look_at,
            )
        except StoreError as error:  # Its row is there, and says how to find it.
            log.warning("batch_not_noted", job_id=job.job_id, reason=mask_text(error.message))
        return answer.body

    async def _forget(self, job: BatchJob) -> None:
        try:
            await self._jobs.drop(job.job_id)
        except StoreError as error:  # It is looked for in vain, and lost then.
            log.warning("batch_not_forgotten", job_id=job.job_id, reason=mask_text(error.message))

    async def _ask(self, held: HeldObject, asked: FileRequest) -> bytes:
        deployment = deployment_of(self._snapshot(), held.deployment_id, held.model_group, held.team_id)
        body = (await self._store.ask(deployment.target, asked)).body
        await self._heed(held, read_batch(body), body)
        return self._shown(held, body)

    async def _heed(self, held: HeldObject, batch: BatchObject, body: bytes) -> None:
        """Have a batch charged soon, of which a caller hears that it has ended."""
        if not batch.has_ended:
            return
        try:
            job = await self._jobs.find(held.deployment_id, held.upstream_id)
            if job is not None and job.state == "open" and not job.event_id:
                await self._charger.hasten(job.job_id, body.decode("utf-8", "replace"))
        except StoreError as error:  # It is looked at when its time comes.
            log.warning("batch_not_hastened", reason=mask_text(error.message))

    def _shown(self, held: HeldObject, body: bytes, *, input_file_id: str | None = None) -> bytes:
        """Return a batch with the ids that callers have."""
        batch = read_batch(body)
        ids = {"id": self._ids.tell(held)}
        if batch.input_file_id:
            ids["input_file_id"] = input_file_id or self._tell_file(held, batch.input_file_id)
        if batch.output_file_id:
            ids["output_file_id"] = self._tell_file(held, batch.output_file_id, of_batch=held.upstream_id)
        if batch.error_file_id:
            ids["error_file_id"] = self._tell_file(held, batch.error_file_id, of_batch=held.upstream_id)
        return with_ids(body, ids)

    def _tell_file(self, held: HeldObject, upstream_id: str, *, of_batch: str = "") -> str:
        told = msgspec.structs.replace(held, upstream_id=upstream_id, of_batch=of_batch)
        if of_batch:  # What a batch has written can't be another one's input.
            told = msgspec.structs.replace(told, calls=0, input_tokens=0, output_tokens=0)
        return self._files.tell(told)


def _held(job: BatchJob) -> HeldObject:
    return HeldObject(
        upstream_id=job.upstream_id,
        deployment_id=job.deployment_id,
        model_group=job.template.model_group,
        key_hash=job.owner.key_hash,
        user_id=job.owner.user_id,
        team_id=job.owner.team_id,
        calls=job.template.metadata["batch"]["calls"],
        input_tokens=job.template.usage.input_tokens or 0,
        output_tokens=job.template.usage.output_tokens or 0,
    )


def _checked(asked: BatchRequest) -> BatchRequest:
    """Return what is asked for. Raises BadRequest for what can't be asked for here."""
    if endpoint_of(asked.endpoint) is None:
        raise BadRequest(f"'endpoint' must be one of {', '.join(sorted(ENDPOINTS))}.", param="endpoint")
    metadata = asked.metadata or {}
    if len(metadata) >= METADATA_MAX:
        raise BadRequest(f"'metadata' may have {METADATA_MAX - 1} keys here: one is the gateway's.", param="metadata")
    if not all(isinstance(value, str) for value in metadata.values()):
        raise BadRequest("'metadata': every value must be a text.", param="metadata")
    return asked


def _estimate(file: HeldObject, deployment: Deployment) -> Estimate | None:
    """Return what a batch may cost: its input, and the limits that its calls set on their output. None: unknown."""
    sheet = deployment.batch_price
    if sheet is None or not sheet.rates:
        return None
    # As so many calls of the same size: prices may rise with the length of a single prompt.
    one = cost_ceiling(
        sheet, input_tokens=-(-file.input_tokens // file.calls), output_tokens=-(-file.output_tokens // file.calls)
    )
    return Estimate(need_nano_usd=one * file.calls, full_nano_usd=one * file.calls)
