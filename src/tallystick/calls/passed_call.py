"""The story of a call that is passed through: choose, admit, write down, send, meter, settle.

It is that of `calls.pipeline` with nothing to translate and nothing to try again: the caller speaks to one upstream,
and hears what it says. What can't be metered is recorded without a price.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Final

import msgspec

from tallystick.calls.admission import CallAdmission, Headers
from tallystick.calls.answer_headers import cost_header, deployment_headers, time_headers
from tallystick.calls.attribution import Attributor
from tallystick.calls.call import NO_FAILURE, NO_USAGE, CallContext, Failure, RunningCall
from tallystick.calls.metered_stream import MeteredStream, StreamLimits
from tallystick.calls.passed_choice import of_endpoint, of_model, signed_in, unnamed
from tallystick.calls.pipeline import require_customer
from tallystick.calls.plain_answer import PlainAnswer
from tallystick.calls.settle import Settler
from tallystick.control.deployment import Deployment
from tallystick.control.pass_through import PassThroughEndpoint
from tallystick.control.snapshot import Snapshot
from tallystick.errors import BadRequest, UpstreamError, UpstreamRefused
from tallystick.ledger.event import UsageSource
from tallystick.providers.base import Answer
from tallystick.providers.passing import PassedRequest, Sends
from tallystick.providers.transport import RawAnswer
from tallystick.wire.call_request import NOT_GENERATING, UNBILLED
from tallystick.wire.dialect import Reading
from tallystick.wire.passed.operations import Operation, Prefix
from tallystick.wire.passed.readings import OPAQUE
from tallystick.wire.reported import AnswerFacts
from tallystick.wire.token_estimate import NO_INPUT, estimate_input_tokens, estimate_output_tokens
from tallystick.wire.usage import Usage

_NOT_FORWARDED: Final = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "date", "keep-alive", "proxy-authenticate",
     "proxy-authentication-info", "proxy-connection", "server", "set-cookie", "strict-transport-security", "te",
     "trailer", "transfer-encoding", "upgrade", "via", "alt-svc", "location", "www-authenticate"}
)  # fmt: skip
_OURS: Final = ("x-litellm-", "x-tallystick-", "access-control-", "cf-")
_HEADER_BYTES_MAX: Final = 16 * 1024
_REQUEST_ONLY: Final = Usage(input_tokens=0)
"""Of a call that has a price, whatever it uses."""
_BEDROCK_INPUT, _BEDROCK_OUTPUT = "x-amzn-bedrock-input-token-count", "x-amzn-bedrock-output-token-count"


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """Where a call goes, and what goes there."""

    request: PassedRequest
    prefix: Prefix | None
    """A provider; None: an endpoint."""
    endpoint: PassThroughEndpoint | None
    operation: Operation
    is_json: bool


class PassedCalls:
    """Runs passed calls. One for a process."""

    def __init__(
        self,
        *,
        snapshot: Callable[[], Snapshot],
        passing: Sends,
        attributor: Attributor,
        blocked_customers: Container[str],
        admission: CallAdmission,
        settler: Settler,
        stream_limits: StreamLimits,
        monotonic: Callable[[], float],
    ) -> None:
        self._snapshot = snapshot
        self._passing = passing
        self._attributor = attributor
        self._blocked_customers = blocked_customers
        self._admission = admission
        self._settler = settler
        self._stream_limits = stream_limits
        self._monotonic = monotonic

    async def run(self, context: CallContext, passage: Passage) -> PlainAnswer | MeteredStream:
        """Pass one call through. A stream settles itself when it is read to its end or abandoned.

        An error status of the upstream is an answer like others. Raises what `Pipeline.run` raises, but no
        UpstreamRefused.
        """
        attribution = self._attributor.attribute(
            context.request, principal=context.principal, headers=context.headers, requester_ip=context.requester_ip
        )
        require_customer(attribution, self._blocked_customers)
        deployments = await self._choose(context, passage)
        input_tokens = estimate_input_tokens(context.request) if passage.is_json else NO_INPUT
        admitted = await self._admission.admit(context, attribution, deployments, input_tokens)
        call = RunningCall(
            context=context,
            attribution=attribution,
            deployment=admitted.current,
            input_tokens_estimate=input_tokens.estimate,
        )
        self._settler.begin(call.intent, admitted)
        try:
            return await self._answer(call, passage, admitted.headers())
        except BaseException as error:
            # Cancelled because the server stops, or a fault of ours: what the upstream billed is not known.
            if self._settler.is_running(context.event_id):
                self._settler.end_unheard(call.cut_short(error, ended_at=self._settler.now()))
            raise

    async def _choose(self, context: CallContext, passage: Passage) -> Sequence[Deployment]:
        if passage.endpoint is not None:
            return (of_endpoint(passage.endpoint),)
        assert passage.prefix is not None
        snapshot, principal, model = self._snapshot(), context.principal, context.request.model
        deployments = of_model(principal, passage.prefix, model, snapshot) if model else ()
        if not deployments:
            deployment = signed_in(principal, passage.prefix, model, snapshot)
            target = deployment.target
            if target.model:  # The list of prices takes long when it is read for the first time.
                price = await asyncio.to_thread(snapshot.pass_through.find_price, target.provider, target.model)
                deployment = msgspec.structs.replace(deployment, price=price)
            deployments = (deployment,)
        if _is_metered(context, passage):
            return deployments
        return [msgspec.structs.replace(each, price=None) for each in deployments]

    async def _answer(self, call: RunningCall, passage: Passage, headers: Headers) -> PlainAnswer | MeteredStream:
        begun = self._monotonic()
        try:
            raw = await self._passing.send(passage.request, call.deployment.target)
        except (UpstreamError, BadRequest) as error:
            return await self._settle_failure(call, passage, headers, error)
        self._settler.count_attempt(call.deployment, "success")
        seconds = self._monotonic() - begun
        headers = [
            *deployment_headers(call.deployment),
            *time_headers(whole_seconds=seconds, upstream_seconds=seconds),
            *headers,
            *_forwarded(raw.headers),
        ]
        if raw.chunks is None:
            return await self._settle_plain(call, passage, raw, headers)
        reading = passage.operation.stream
        if reading is OPAQUE or not passage.is_json:
            self._leave_unpriced(call, passage)
        answer = Answer(
            status=raw.status,
            content_type=raw.content_type,
            headers=raw.headers,
            reading=reading,
            chunks=raw.chunks,
        )
        return MeteredStream(
            call=call, answer=answer, headers=headers, settler=self._settler, limits=self._stream_limits
        )

    async def _settle_failure(
        self, call: RunningCall, passage: Passage, headers: Headers, error: UpstreamError | BadRequest
    ) -> PlainAnswer:
        """Write down that nothing came of it, and hand the upstream's own words on; raise what is ours."""
        self._settler.count_attempt(call.deployment, "failure")
        if passage.prefix is not None and call.deployment.deployment_id.startswith("pass_through:"):
            call.deployment = unnamed(call.deployment, passage.prefix)
        await self._settler.end(call.event(status="failure", ended_at=self._settler.now(), failure=Failure.of(error)))
        headers = [*deployment_headers(call.deployment), *headers]
        if not isinstance(error, UpstreamRefused):
            if isinstance(error, UpstreamError):
                error.headers = headers
            raise error
        retry = [(b"retry-after", error.retry_after.encode("latin-1", "replace"))] if error.retry_after else []
        return PlainAnswer(
            status=error.http_status, content_type=error.content_type, body=error.body, headers=[*headers, *retry]
        )

    async def _settle_plain(self, call: RunningCall, passage: Passage, raw: RawAnswer, headers: Headers) -> PlainAnswer:
        reading = passage.operation.plain
        body, facts = _read(reading, raw)
        usage, source = self._usage_of(call, passage, facts, len(raw.body))
        event = call.event(
            status="failure" if facts.error is not None else "success",
            ended_at=self._settler.now(),
            usage=usage,
            usage_source=source,
            reported_cost_nano_usd=facts.reported_cost_nano_usd,
            service_tier=facts.service_tier,
            provider_response_id=facts.response_id,
            failure=Failure.reported(facts.error) if facts.error is not None else NO_FAILURE,
        )
        await self._settler.end(event)
        return PlainAnswer(
            status=raw.status, content_type=raw.content_type, body=body, headers=[*headers, *cost_header(event)]
        )

    def _usage_of(
        self, call: RunningCall, passage: Passage, facts: AnswerFacts, answer_bytes: int
    ) -> tuple[Usage, UsageSource]:
        """Return what the provider counted; an estimate where it counts and did not; else that there is no price."""
        endpoint = call.request.endpoint
        if endpoint in UNBILLED:
            return NO_USAGE, "none"
        if facts.usage is not None:
            return facts.usage, "provider"
        if endpoint == "pass_through":
            self._leave_unpriced(call, passage)
            return _REQUEST_ONLY, "none"
        output_tokens = None if endpoint in NOT_GENERATING else estimate_output_tokens(answer_bytes)
        return Usage(input_tokens=call.input_tokens_estimate, output_tokens=output_tokens), "estimated"

    def _leave_unpriced(self, call: RunningCall, passage: Passage) -> None:
        """A price for tokens prices nothing that nobody counted; one for a request stays."""
        if passage.endpoint is None:
            call.deployment = msgspec.structs.replace(call.deployment, price=None)


def _is_metered(context: CallContext, passage: Passage) -> bool:
    """Whether the answer may tell what is billed by tokens."""
    return passage.is_json and (context.request.endpoint != "pass_through" or passage.operation.plain is not OPAQUE)


def _read(reading: Reading, raw: RawAnswer) -> tuple[bytes, AnswerFacts]:
    """Read a whole answer; one that can't be read passes all the same."""
    nothing = AnswerFacts(None, "", "", None)
    try:
        read = reading.read_plain(raw.body)
    except UpstreamError:
        return raw.body, nothing
    facts = read.facts
    if facts.usage is None and raw.headers.get(_BEDROCK_OUTPUT, "").isdecimal():
        counted = [raw.headers.get(name, "") for name in (_BEDROCK_INPUT, _BEDROCK_OUTPUT)]
        tokens = [int(count) if count.isdecimal() and len(count) < 10 else None for count in counted]
        facts = facts._replace(usage=Usage(input_tokens=tokens[0], output_tokens=tokens[1]))
    return read.body, facts


def _forwarded(headers: Mapping[str, str]) -> Headers:
    """Return the upstream's own headers, but for what is of its connection, its site, or ours to tell."""
    forwarded: Headers = []
    left = _HEADER_BYTES_MAX
    for name, value in headers.items():
        if name in _NOT_FORWARDED or name.startswith(_OURS) or not value.isprintable():
            continue
        left -= len(name) + len(value)
        if left < 0:
            break
        forwarded.append((name.encode("latin-1"), value.encode("latin-1", "replace")))
    return forwarded
