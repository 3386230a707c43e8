"""One chunk of a stream in OpenAI's dialect: the few fields that the ledger needs."""

from __future__ import annotations

import msgspec

from tallystick.wire.openai.usage import ReportedUsage, XGroq


def read_chunk(data: bytes) -> StreamChunk:
    """Decode a chunk. Raises msgspec.DecodeError when it is not JSON; an odd field does not cost the others."""
    try:
        return _CHUNK.decode(data)
    except msgspec.ValidationError:
        return _odd_chunk(data)


def characters_of(choice: _Choice) -> int:
    """Count what a choice generated: text, reasoning, refusal and arguments of tool calls."""
    count = len(choice.text) if choice.text else 0
    delta = choice.delta
    if delta is None:
        return count
    content = delta.content
    if content:
        count += len(content) if isinstance(content, str) else sum(len(bytes(part)) for part in content)
    thought = delta.reasoning or delta.reasoning_content  # The same text under two names.
    if thought:
        count += len(thought)
    if delta.refusal:
        count += len(delta.refusal)
    if delta.tool_calls:
        for call in delta.tool_calls:
            if call.function is not None and call.function.arguments:
                count += len(call.function.arguments)
    if delta.function_call is not None and delta.function_call.arguments:
        count += len(delta.function_call.arguments)
    return count


class _Function(msgspec.Struct, gc=False):
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | list[msgspec.Raw] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    text: str | None = None


class StreamChunk(msgspec.Struct, gc=False):
    """The fields of a chunk."""

    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: ReportedUsage | None = None
    x_groq: XGroq | None = None
    error: msgspec.Raw = msgspec.Raw()


class _OddChunk(msgspec.Struct, gc=False):
    """The fields that matter most, read one by one, for a chunk that has an unexpected type somewhere."""

    id: object = None
    model: object = None
    choices: list[msgspec.Raw] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_CHUNK = msgspec.json.Decoder(StreamChunk, strict=False)
_ODD_CHUNK = msgspec.json.Decoder(_OddChunk)
_USAGE = msgspec.json.Decoder(ReportedUsage | None, strict=False)


def _odd_chunk(data: bytes) -> StreamChunk:
    try:
        odd = _ODD_CHUNK.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        return StreamChunk()
    chunk = StreamChunk(error=odd.error)
    chunk.id = odd.id if isinstance(odd.id, str) else None
    chunk.model = odd.model if isinstance(odd.model, str) else None
    if odd.choices is not None:
        # Their text can't be read by its field, so all of it counts.
        chunk.choices = [_Choice(text=bytes(choice).decode(errors="replace")) for choice in odd.choices]
    if odd.usage:
        try:
            chunk.usage = _USAGE.decode(odd.usage)
        except msgspec.MsgspecError:
            chunk.usage = None
    return chunk
