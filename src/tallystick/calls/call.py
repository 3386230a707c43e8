"""A running call: what is known of it from its start, and the events it can end as."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec

from tallystick.access.principal import Principal
from tallystick.calls.attribution import Attribution
from tallystick.calls.caching.answer import CachedAnswer
from tallystick.calls.caching.cache import CacheUse
from tallystick.calls.callbacks.answer import HeardAnswer
from tallystick.calls.text import MESSAGE_CHARACTERS_MAX, clean_id, clean_text
from tallystick.control.deployment import Deployment
from tallystick.errors import TallystickError, UpstreamRefused
from tallystick.ledger.event import Attempt, CostStatus, SpendEvent, Status, UsageSource
from tallystick.pricing.cost import price_usage
from tallystick.pricing.price import Cost
from tallystick.pricing.service_tier import sheet_in_tier
from tallystick.wire.call_request import NO_UNITS, CallRequest
from tallystick.wire.reported import ReportedError
from tallystick.wire.usage import Usage

PASS_THROUGH: Final = "pass_through_endpoint"  # noqa: S105 - a word.
CALL_TYPES: Mapping[str, str] = {
    "chat/completions": "chat_completion",
    "completions": "text_completion",
    "embeddings": "embedding",
    "messages": "anthropic_messages",
    "messages/count_tokens": "count_tokens",
    "generateContent": "generate_content",
    "countTokens": "count_tokens",
    "batchEmbedContents": "embedding",
    "embedContent": "embedding",
    "pass_through": PASS_THROUGH,
    "responses": "responses",
    "responses/compact": "responses",
    "responses/input_tokens": "count_tokens",
    "images/generations": "image_generation",
    "images/edits": "image_edit",
    "audio/transcriptions": "transcription",
    "audio/translations": "translation",
    "audio/speech": "speech",
    "moderations": "moderation",
    "rerank": "rerank",
}


class CallContext(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway knows of a call before anything is decided."""

    event_id: str
    started_at: datetime
    path: str
    request: CallRequest
    principal: Principal
    headers: Mapping[bytes, bytes]
    requester_ip: str
    call_type: str = ""
    """What the event calls it; '': as its endpoint is called."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call did not succeed, as its event tells it."""

    error_class: str
    error_code: str
    message: str

    @classmethod
    def of(cls, error: TallystickError) -> Failure:
        """Describe an error of ours; an upstream's own words are kept."""
        message = error.message
        if isinstance(error, UpstreamRefused):
            message = error.body[: 4 * MESSAGE_CHARACTERS_MAX].decode("utf-8", "replace")
        return cls(error_class=type(error).__name__, error_code=str(error.http_status), message=clean_text(message))

    @classmethod
    def reported(cls, error: ReportedError) -> Failure:
        """Describe an error that came inside an answer."""
        return cls(
            error_class=clean_text(error.type, 128) or "UpstreamError",
            error_code=clean_text(error.code, 32),
            message=clean_text(error.message),
        )


_MILLISECOND = timedelta(milliseconds=1)
NO_USAGE = Usage()
NO_FAILURE = Failure(error_class="", error_code="", message="")
_PROCESS_DIED = Failure(
    error_class="Interrupted", error_code="", message="The process died while the call was running."
)
SERVER_STOPPED = Failure(
    error_class="Interrupted", error_code="", message="The server stopped while the call was running."
)
_CRASHED = Failure(
    error_class="InternalError", error_code="500", message="Something unexpected happened in the gateway; see its log."
)
_FREE = Cost(nano_usd=0, status="free")
_COST_STATUSES: Mapping[str, CostStatus] = {
    "priced": "priced",
    "unpriced": "unpriced",
    "reported": "reported",
    "free": "free",
}


class RunningCall:
    """One call between its admission and its event."""

    def __init__(
        self,
        *,
        context: CallContext,
        attribution: Attribution,
        deployment: Deployment,
        input_tokens_estimate: int,
    ) -> None:
        self.context = context
        self.deployment = deployment
        """The deployment of the current attempt, which is the last one when the call is over."""
        self.input_tokens_estimate = input_tokens_estimate
        self.cache: CacheUse | None = None
        """The response cache's part in it."""
        self.heard: HeardAnswer | None = None
        """Where the answer goes besides the caller; None where nobody listens."""
        self.failed_attempts: list[Attempt] = []
        self.first_token_at: datetime | None = None
        self.upstream_seconds = 0.0
        """How long upstreams were waited for."""
        principal = context.principal
        self._attributed = SpendEvent(
            event_id=context.event_id,
            call_type=context.call_type or CALL_TYPES[context.request.endpoint],
            endpoint=context.path,
            status="interrupted",
            started_at=context.started_at,
            ended_at=context.started_at,
            key_hash=principal.key_hash,
            key_alias=principal.key_alias,
            user_id=attribution.user_id,
            team_id=principal.team_id,
            organization_id=principal.organization_id,
            end_user_id=attribution.end_user_id,
            tags=attribution.tags,
            session_id=attribution.session_id,
            requester_ip=attribution.requester_ip,
            user_agent=attribution.user_agent,
            metadata=attribution.metadata,
        )
        """What every event of this call has in common."""

    @property
    def request(self) -> CallRequest:
        return self.context.request

    def note_failed_attempt(self, error: TallystickError) -> None:
        """Remember a try that gave no answer."""
        deployment = self.deployment
        self.failed_attempts.append(
            Attempt(
                deployment_id=deployment.deployment_id,
                provider=deployment.target.provider,
                model=deployment.target.model,
                status="failure",
                error_class=type(error).__name__,
                error_code=str(error.http_status),
            )
        )

    def input_usage(self) -> Usage:
        """Return an estimate of what the call's input is billed as. The images of a request are its output."""
        units = self.request.units
        if units is NO_UNITS:
            return Usage(input_tokens=self.input_tokens_estimate)
        return msgspec.structs.replace(units, input_tokens=self.input_tokens_estimate, images=None, pixels=None)

    def intent(self) -> SpendEvent:
        """Return the event as it should read if nothing more is heard: interrupted, with the input's estimated cost."""
        return self.event(
            status="interrupted",
            ended_at=self.context.started_at,
            usage=self.input_usage(),
            usage_source="estimated",
            failure=_PROCESS_DIED,
        )

    def replay_intent(self, answer: CachedAnswer) -> SpendEvent:
        """Return the intent of a call that is answered from the cache."""
        return self.replay_event(answer, ended_at=self.context.started_at, status="interrupted", failure=_PROCESS_DIED)

    def replay_event(
        self, answer: CachedAnswer, *, ended_at: datetime, status: Status = "success", failure: Failure = NO_FAILURE
    ) -> SpendEvent:
        """Return the event of a call that is answered from the cache: free, without tokens, and whose answer it is."""
        return msgspec.structs.replace(
            self.event(status=status, ended_at=ended_at, provider_response_id=answer.response_id, failure=failure),
            cache_hit=True,
            model=answer.model,
            deployment_id=answer.deployment_id,
            provider=answer.provider,
            api_base=answer.api_base,
        )

    def cut_short(self, error: BaseException, *, ended_at: datetime, usage: Usage | None = None) -> SpendEvent:
        """Return the event of a call that ended by a fault of ours (an Exception), or was cancelled by a stop."""
        crashed = isinstance(error, Exception)
        return self.event(
            status="failure" if crashed else "interrupted",
            ended_at=ended_at,
            usage=usage or self.input_usage(),
            usage_source="estimated",
            failure=_CRASHED if crashed else SERVER_STOPPED,
        )

    def event(
        self,
        *,
        status: Status,
        ended_at: datetime,
        usage: Usage = NO_USAGE,
        usage_source: UsageSource = "none",
        reported_cost_nano_usd: int | None = None,
        service_tier: str = "",
        provider_response_id: str = "",
        failure: Failure = NO_FAILURE,
    ) -> SpendEvent:
        """Return the event that this call ends as, priced as its answer says that it was served."""
        deployment = self.deployment
        target = deployment.target
        cost = _FREE
        if usage is not NO_USAGE:
            usage = _timed(usage, deployment, started_at=self.context.started_at, ended_at=ended_at)
            sheet = deployment.price
            if service_tier and sheet is not None:
                sheet = sheet_in_tier(sheet, service_tier, batch=deployment.batch_price)
            cost = price_usage(usage, sheet, reported_nano_usd=reported_cost_nano_usd)
        return msgspec.structs.replace(
            self._attributed,
            status=status,
            ended_at=ended_at,
            first_token_at=self.first_token_at,
            error_code=failure.error_code,
            error_class=failure.error_class,
            error_message=failure.message,
            model_group=deployment.model_group,
            model=target.model,
            deployment_id=deployment.deployment_id,
            provider=target.provider,
            api_base=target.api_base,
            attempts=self._attempts(status, cost.nano_usd, usage, failure) if self.failed_attempts else (),
            usage=usage,
            usage_source=usage_source,
            cost_nano_usd=cost.nano_usd,
            cost_status=_COST_STATUSES[cost.status],
            cost_breakdown=cost.breakdown,
            price_version=cost.price_version,
            provider_response_id=clean_id(provider_response_id),
        )

    def _attempts(self, status: Status, nano_usd: int, usage: Usage, failure: Failure) -> tuple[Attempt, ...]:
        """List the tries when there was more than one; the event itself describes a single one."""
        if status == "failure" and usage is NO_USAGE:  # The last one gave no answer either, and is listed already.
            return tuple(self.failed_attempts) if len(self.failed_attempts) > 1 else ()
        target = self.deployment.target
        last = Attempt(
            deployment_id=self.deployment.deployment_id,
            provider=target.provider,
            model=target.model,
            status=status,
            error_class=failure.error_class,
            error_code=failure.error_code,
            cost_nano_usd=nano_usd,
            usage=usage,
        )
        return (*self.failed_attempts, last)


def _timed(usage: Usage, deployment: Deployment, *, started_at: datetime, ended_at: datetime) -> Usage:
    """Add the call's duration where the deployment charges by time and the answer does not tell one."""
    if deployment.price is None or "hours" not in deployment.price.rates or usage.milliseconds is not None:
        return usage
    return msgspec.structs.replace(usage, milliseconds=max(0, (ended_at - started_at) // _MILLISECOND))
