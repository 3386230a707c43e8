"""Amazon Bedrock: by Converse, or as they are where caller and model both speak Anthropic's dialect.

Calls are signed, or bear a token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from tallystick.providers.asking import Routes, ask
from tallystick.providers.aws_identity import AWSIdentity, AWSSigner
from tallystick.providers.aws_target import AWS_IDENTITY
from tallystick.providers.base import Answer, Target
from tallystick.providers.destination import Destination
from tallystick.providers.translator import Translator
from tallystick.providers.transport import RawAnswer, Transport
from tallystick.wire.anthropic.request import ANTHROPIC
from tallystick.wire.bedrock.invoke import (
    CountedReading,
    InvokedReading,
    count_body,
    counted_model,
    invoke_body,
    speaks_anthropic,
)
from tallystick.wire.bedrock.upstream import Converse
from tallystick.wire.call_request import UNBILLED, CallRequest
from tallystick.wire.conversation import Written
from tallystick.wire.dialect import Reading

_SERVICE: Final = "bedrock"
_REQUEST_ID: Final = "x-amzn-requestid"


class Bedrock:
    """The Provider of Bedrock's models."""

    def __init__(self, transport: Transport, translator: Translator, *, load_signer: Callable[[], AWSSigner]) -> None:
        """`load_signer` is called in a thread, when the first call is to be signed: it imports botocore."""
        self._transport = transport
        self._translator = translator
        self._load_signer = load_signer
        self._signer: AWSSigner | None = None
        self._routes = Routes()

    async def send(self, request: CallRequest, target: Target) -> Answer:
        """Call the upstream; see Provider.send."""
        if request.dialect == ANTHROPIC and speaks_anthropic(target.model):
            return await self._send_native(request, target)
        dialect = Converse(model=target.model)
        operation = "converse-stream" if request.stream else "converse"

        async def converse(written: Written) -> RawAnswer:
            answer = await self._ask(request, target, _url(target, target.model, operation), written.body)
            dialect.response_id = answer.headers.get(_REQUEST_ID, "")
            return answer

        return await self._translator.send(request, target, dialect, converse)

    async def _send_native(self, request: CallRequest, target: Target) -> Answer:
        """Let Anthropic's own models answer callers who speak their dialect."""
        reading: Reading
        if request.endpoint in UNBILLED:
            url = _url(target, counted_model(target.model), "count-tokens")
            body, reading = count_body(request), CountedReading()
        else:
            url = _url(target, target.model, "invoke-with-response-stream" if request.stream else "invoke")
            body, reading = invoke_body(request), InvokedReading()
        answer = await self._ask(request, target, url, body)
        return Answer(
            status=answer.status,
            content_type=answer.content_type,
            headers=answer.headers,
            reading=reading,
            body=answer.body,
            chunks=answer.chunks,
        )

    async def _ask(self, request: CallRequest, target: Target, url: str, body: bytes) -> RawAnswer:
        destination = await self._destination(target, url, body)
        dialect = Converse(model=target.model)
        return await ask(self._transport, destination, body, target, stream=request.stream, dialect=dialect)

    async def _destination(self, target: Target, url: str, body: bytes) -> Destination:
        identity = target.options.get(AWS_IDENTITY)
        if not isinstance(identity, AWSIdentity):
            return self._routes.find(target, url) or self._routes.add(target, url, url, target.headers)
        if self._signer is None:
            self._signer = await asyncio.to_thread(self._load_signer)
        headers = {"content-type": "application/json", **target.headers}
        signed = await self._signer.sign(identity, service=_SERVICE, url=url, headers=headers, body=body)
        return Destination(url, signed)


def _url(target: Target, model: str, operation: str) -> str:
    return f"{target.api_base}/model/{quote(model, safe='')}/{operation}"
