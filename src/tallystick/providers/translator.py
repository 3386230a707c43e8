"""Calls whose caller speaks another dialect than the upstream: translated on the way out and on the way back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from tallystick.errors import Untranslatable
from tallystick.providers.base import Answer, Target
from tallystick.providers.transport import RawAnswer
from tallystick.wire.call_request import MEDIA, UNBILLED, CallRequest
from tallystick.wire.caller_dialects import CALLER_DIALECTS
from tallystick.wire.conversation import Written
from tallystick.wire.dialect import UpstreamDialect
from tallystick.wire.gemini.request import GEMINI_DIALECTS
from tallystick.wire.native_reading import COUNTED
from tallystick.wire.openai.chat_upstream import OpenAIChat
from tallystick.wire.openai.request import OPENAI, parse_request
from tallystick.wire.responses.request import RESPONSES
from tallystick.wire.token_estimate import estimate_input_tokens
from tallystick.wire.translation import TranslatedReading, translate

_JSON = "application/json"


class Translator:
    """Translates for providers. One for a process; the time is given, because some dialects tell it."""

    def __init__(self, *, now_seconds: Callable[[], int]) -> None:
        self._now_seconds = now_seconds

    async def send(
        self,
        request: CallRequest,
        target: Target,
        dialect: UpstreamDialect,
        ask: Callable[[Written], Awaitable[RawAnswer | Answer]],
    ) -> Answer:
        """Say the request in the upstream's dialect and ask it; the answer is read in the caller's; see Provider.send.

        `ask` sends what was written and returns the upstream's answer, or raises as Provider.send does.
        """
        if request.endpoint in UNBILLED:
            return _counted(request)
        caller = CALLER_DIALECTS[request.dialect]
        written = translate(request, caller, dialect, model=target.model, drop_params=target.drop_params)
        answer = await ask(written)
        return Answer(
            status=answer.status,
            content_type=answer.content_type,
            headers=answer.headers,
            reading=TranslatedReading(request, caller, dialect, now_seconds=self._now_seconds),
            body=answer.body,
            chunks=answer.chunks,
        )

    async def send_local(
        self, request: CallRequest, target: Target, answer: Callable[[CallRequest, Target], Answer]
    ) -> Answer:
        """Let an upstream of this process, which speaks OpenAI's dialect, answer."""
        if request.endpoint in MEDIA:
            raise Untranslatable(
                f"The model '{request.model[:256]}' is made up in this process, which has no /v1/{request.endpoint}.",
                param="model",
            )
        if request.dialect == OPENAI:
            return answer(request, target)

        async def ask(written: Written) -> Answer:
            return answer(parse_request("chat/completions", written.body), target)

        return await self.send(request, target, _LOCAL, ask)


_LOCAL = OpenAIChat(asks_usage=True, names_completion_tokens=False)


def _counted(request: CallRequest) -> Answer:
    """Estimate what the upstream can't be asked: to count tokens is said in each dialect by its own providers only."""
    name = "totalTokens" if request.dialect in GEMINI_DIALECTS else "input_tokens"
    counted: dict[str, object] = {name: estimate_input_tokens(request).estimate}
    if request.dialect == RESPONSES:
        counted["object"] = "response.input_tokens"
    body = msgspec.json.encode(counted)
    return Answer(status=200, content_type=_JSON, headers={"content-type": _JSON}, reading=COUNTED, body=body)
