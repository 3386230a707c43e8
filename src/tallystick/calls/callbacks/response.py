"""The `response_obj` of a callback: the answer in OpenAI's shape, whatever the caller's dialect.

Plain answers of OpenAI's dialect and Responses are as the caller got them. Messages and Gemini's answers are written as
chat completions. Streams of these dialects are put together. Of everything else (sound, binary answers, answers beyond
`callback_answer_bytes_max`) there is what the event tells: id, model and usage.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tallystick.calls.call import PASS_THROUGH
from tallystick.calls.callbacks.answer import HeardAnswer
from tallystick.errors import TallystickError
from tallystick.ledger.event import SpendEvent
from tallystick.wire.anthropic.request import ANTHROPIC
from tallystick.wire.anthropic.upstream import AnthropicUpstream
from tallystick.wire.assembled import assemble
from tallystick.wire.call_request import CallRequest
from tallystick.wire.dialect import UpstreamDialect
from tallystick.wire.gemini.request import GEMINI
from tallystick.wire.gemini.upstream import Gemini
from tallystick.wire.openai.chat_caller import OpenAIChatCaller, write_usage
from tallystick.wire.openai.chat_upstream import OpenAIChat
from tallystick.wire.openai.request import OPENAI
from tallystick.wire.reply import Delta
from tallystick.wire.responses.request import RESPONSES
from tallystick.wire.sse_frames import SSEFrames

_DIALECTS: Final[Mapping[str, UpstreamDialect]] = {
    OPENAI: OpenAIChat(asks_usage=True, names_completion_tokens=False),
    ANTHROPIC: AnthropicUpstream(),
    GEMINI: Gemini(),
}
"""How the caller's bytes are read again, by the dialect that the caller speaks."""
_CONVERSATIONS: Final = ("chat/completions", "messages", "generateContent")
_WRITER: Final = OpenAIChatCaller()


class ResponseDict(dict[str, Any]):  # Any: JSON.
    """A JSON object whose fields are attributes too, as callbacks written for LiteLLM read them."""

    def __getattr__(self, name: str) -> Any:  # Any: JSON.
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def model_dump(self, **_options: object) -> dict[str, Any]:  # Any: JSON.
        """Return a plain copy; LiteLLM's answers have this method."""
        copy: dict[str, Any] = json.loads(json.dumps(self))  # Any: JSON.
        return copy


def read_json(body: bytes) -> Any:  # Any: JSON.
    """Return what a body holds, with objects as ResponseDict; None when it is no JSON."""
    try:
        return json.loads(body, object_hook=ResponseDict)
    except (ValueError, RecursionError):
        return None


def response_of(request: CallRequest, event: SpendEvent, answer: HeardAnswer) -> ResponseDict:
    """Return the answer of a call that succeeded; what is known of it where it can't be read."""
    body = answer.body()
    found: Any = None  # Any: JSON.
    if body:
        try:
            found = _read(request, event, body, is_stream=answer.is_stream)
        except TallystickError:  # The caller's bytes are in no dialect that we know: this is no fault of the call.
            found = None
    if isinstance(found, ResponseDict):
        found.setdefault("usage", usage_of(event))
        return found
    return known_of(event)


def known_of(event: SpendEvent) -> ResponseDict:
    """Return what is known of an answer without its text."""
    created = int(event.ended_at.timestamp())
    return ResponseDict(
        id=event.provider_response_id or event.event_id,
        object=None,
        created=created,
        model=event.model,
        choices=[],
        usage=usage_of(event),
    )


def usage_of(event: SpendEvent) -> ResponseDict:
    """Return the event's usage as OpenAI writes it. Calls without tokens have zeros, as in LiteLLM."""
    usage: ResponseDict = json.loads(json.dumps(write_usage(event.usage)), object_hook=ResponseDict)
    return usage


def _read(request: CallRequest, event: SpendEvent, body: bytes, *, is_stream: bool) -> Any:  # Any: JSON.
    if event.call_type == PASS_THROUGH:
        found = read_json(body)
        return ResponseDict(response=body.decode("utf-8", "replace") if found is None else found)
    if is_stream and request.dialect == RESPONSES:
        return _last_response(body)
    dialect = _DIALECTS.get(request.dialect)
    if dialect is None or request.endpoint not in _CONVERSATIONS:
        return None if is_stream else read_json(body)
    if not is_stream and request.dialect == OPENAI:
        return read_json(body)
    reply = assemble(_deltas(dialect, body)) if is_stream else dialect.read_reply(body)
    written = read_json(_WRITER.write_reply(reply, created=int(event.ended_at.timestamp())))
    written["usage"] = usage_of(event)  # Streams don't tell it to callers who did not ask for it.
    return written


def _deltas(dialect: UpstreamDialect, body: bytes) -> Iterator[Delta]:
    reader = dialect.stream_reader()
    yield from reader.feed(body)
    yield from reader.finish()


def _last_response(body: bytes) -> Any:  # Any: JSON.
    """Return the response that the last event of a stream of Responses holds."""
    frames = SSEFrames()
    for frame in reversed([*frames.feed(body), *frames.finish()]):
        if frame.data and isinstance(event := read_json(frame.data), dict) and "response" in event:
            return event["response"]
    return None
