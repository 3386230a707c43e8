"""Anthropic's dialect as it is spoken to: a Conversation becomes a request, answers become Replies and deltas.

Anthropic has no sampling seed and no penalties, and wants a limit on what is generated: without one of the caller's,
DEFAULT_MAX_TOKENS above what it may think. An effort becomes a budget of thought. Its thoughts go back only with their
signatures, so that those of other models are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from tallystick.errors import BadRequest, UpstreamGarbled
from tallystick.wire.anthropic.request import ANTHROPIC
from tallystick.wire.anthropic.stream import AnthropicEvents
from tallystick.wire.anthropic.usage import AnthropicUsage, normalize_usage, read_stop_reason
from tallystick.wire.conversation import (
    CacheMark,
    Conversation,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Written,
)
from tallystick.wire.error_envelope import read_error_text
from tallystick.wire.reply import Reply, ReplyPart
from tallystick.wire.reported import AnswerFacts, ReportedError
from tallystick.wire.stream_reader import SSEReader

JSON = dict[str, Any]  # Any: a body of many shapes that is encoded at once.

DEFAULT_MAX_TOKENS: Final = 4096
_BUDGET_MIN: Final = 1024
_BUDGETS: Final = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384}
_UNSAYABLE: Final = ("seed", "frequency_penalty", "presence_penalty")


class AnthropicUpstream:
    """The UpstreamDialect of the Messages API."""

    name = ANTHROPIC

    def write_request(self, conversation: Conversation, *, model: str) -> Written:
        """See UpstreamDialect."""
        said = conversation
        unsaid = [field for field in _UNSAYABLE if getattr(said, field) is not None]
        body: JSON = {"model": model, "messages": _merged(_messages(said, unsaid))}
        _write_limits(said, body)
        if said.stream:
            body["stream"] = True
        if said.system:
            body["system"] = [_marked({"type": "text", "text": text.text}, text.cache) for text in said.system]
        for field, value in (
            ("temperature", said.temperature),
            ("top_p", said.top_p),
            ("top_k", said.top_k),
            ("stop_sequences", said.stop or None),
        ):
            if value is not None:
                body[field] = value
        if said.tools:
            body["tools"] = [_tool(tool) for tool in said.tools]
            _write_tool_choice(said, body)
        if said.user:
            body["metadata"] = {"user_id": said.user}
        output = _output(said, unsaid)
        if output:
            body["output_config"] = output
        return Written(_ENCODER.encode(body), tuple(unsaid))

    def read_reply(self, body: bytes) -> Reply:
        """See UpstreamDialect."""
        try:
            answer = _ANSWER.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamGarbled(f"The upstream answered with a body that is no message: {error}") from error
        if answer.type != "message":
            raise UpstreamGarbled("The upstream answered with a body that is no message.")
        return Reply(
            id=answer.id,
            model=answer.model,
            parts=tuple(_reply_parts(answer.content)),
            stop_reason=read_stop_reason(answer.stop_reason),
            stop_sequence=answer.stop_sequence,
            usage=normalize_usage(answer.usage) if answer.usage is not None else None,
        )

    def stream_reader(self) -> SSEReader:
        """See UpstreamDialect."""
        return SSEReader(AnthropicEvents().read)

    def read_refusal(self, body: bytes) -> ReportedError:
        """See UpstreamDialect."""
        return read_error_text(body)


def read_facts(body: bytes) -> AnswerFacts:
    """Read what the ledger needs of a message. Raises UpstreamGarbled when the body is not a JSON object."""
    try:
        facts = _FACTS.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamGarbled(f"The upstream answered with a body that is no message: {error}") from error
    usage = normalize_usage(facts.usage) if facts.usage is not None else None
    reported = read_error_text(body) if facts.type == "error" else None
    return AnswerFacts(usage, facts.id, facts.model, None, reported)


class _Facts(msgspec.Struct, gc=False):
    type: str = ""
    id: str = ""
    model: str = ""
    usage: AnthropicUsage | None = None


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    text: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw()
    thinking: str = ""
    signature: str = ""
    data: str = ""


class _Answer(msgspec.Struct, gc=False):
    type: str = ""
    id: str = ""
    model: str = ""
    content: list[_Block] = []
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: AnthropicUsage | None = None


_FACTS = msgspec.json.Decoder(_Facts)
_ANSWER = msgspec.json.Decoder(_Answer)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()


def _reply_parts(blocks: list[_Block]) -> Iterator[ReplyPart]:
    for block in blocks:
        if block.type == "text":
            yield Text(block.text)
        elif block.type == "tool_use":
            yield ToolCall(id=block.id, name=block.name, arguments=bytes(block.input).decode() or "{}")
        elif block.type == "thinking":
            yield Thinking(text=block.thinking, signature=block.signature)
        elif block.type == "redacted_thinking":
            yield Thinking(redacted=block.data)


def _write_limits(said: Conversation, body: JSON) -> None:
    """Write how much may be generated and thought: the limit counts thoughts, so it must be above their budget."""
    limit = DEFAULT_MAX_TOKENS if said.max_tokens is None else said.max_tokens
    thinking = _thinking(said.reasoning)
    budget = thinking.get("budget_tokens")
    if budget is not None and limit <= budget:
        if said.max_tokens is None or said.reasoning is None or said.reasoning.budget_tokens is not None:
            limit = budget + limit
        elif limit > _BUDGET_MIN:
            thinking["budget_tokens"] = _BUDGET_MIN  # An effort is a wish; the caller's limit is not.
        else:
            thinking = {}
    if thinking:
        body["thinking"] = thinking
    body["max_tokens"] = limit


def _thinking(reasoning: Reasoning | None) -> JSON:
    if reasoning is None:
        return {}
    if reasoning.off:
        return {"type": "disabled"}
    if reasoning.adaptive:
        return {"type": "adaptive", **({"display": reasoning.summary} if reasoning.summary else {})}
    if reasoning.budget_tokens is not None:
        return {"type": "enabled", "budget_tokens": reasoning.budget_tokens}
    budget = _BUDGETS.get(reasoning.effort)
    return {} if budget is None else {"type": "enabled", "budget_tokens": budget}


def _output(said: Conversation, unsaid: list[str]) -> JSON:
    """Return what the answer is to be like. Where the model decides how much to think, an effort guides it."""
    output: JSON = {}
    if said.reasoning is not None and said.reasoning.adaptive and said.reasoning.effort:
        output["effort"] = said.reasoning.effort
    wanted = said.response_format
    if wanted is not None and bytes(wanted.schema):
        output["format"] = {"type": "json_schema", "schema": wanted.schema}
    elif wanted is not None:
        unsaid.append("response_format (json_object)")
    return output


def _messages(said: Conversation, unsaid: list[str]) -> Iterator[tuple[str, list[JSON]]]:
    for number, message in enumerate(said.messages):
        blocks = list(_blocks(message, f"messages.{number}", unsaid))
        if blocks:
            yield message.role, blocks


def _merged(messages: Iterator[tuple[str, list[JSON]]]) -> list[JSON]:
    """Join turns of the same role, which Anthropic would do anyway."""
    merged: list[JSON] = []
    for role, blocks in messages:
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"] += blocks
        else:
            merged.append({"role": role, "content": blocks})
    return merged


def _blocks(message: Message, place: str, unsaid: list[str]) -> Iterator[JSON]:
    for part in message.parts:
        if isinstance(part, Text | Refusal):
            if part.text:  # An empty one is refused.
                mark = part.cache if isinstance(part, Text) else None
                yield _marked({"type": "text", "text": part.text}, mark)
        elif isinstance(part, Thinking):
            yield from _thought(part)
        else:
            block = _block(part, place, unsaid)
            if block is None:
                unsaid.append(f"{place}.content ({type(part).__name__.lower()})")
            else:
                yield block


def _thought(part: Thinking) -> Iterator[JSON]:
    if part.redacted:
        yield {"type": "redacted_thinking", "data": part.redacted}
    elif part.signature:
        yield {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _block(part: Part, place: str, unsaid: list[str]) -> JSON | None:
    if isinstance(part, Image):
        source = (
            {"type": "base64", "media_type": part.media_type, "data": part.data}
            if part.data
            else {"type": "url", "url": part.url}
        )
        return _marked({"type": "image", "source": source}, part.cache)
    if isinstance(part, Document):
        return _marked(_document(part), part.cache)
    if isinstance(part, ToolCall):
        block = {"type": "tool_use", "id": part.id, "name": part.name, "input": _arguments(part, place)}
        return _marked(block, part.cache)
    if isinstance(part, ToolResult):
        content = _result_content(part.parts, place, unsaid)
        result: JSON = {"type": "tool_result", "tool_use_id": part.call_id, "content": content}
        if part.is_error:
            result["is_error"] = True
        return _marked(result, part.cache)
    return None


def _result_content(parts: Sequence[Text | Image | Document], place: str, unsaid: list[str]) -> str | list[JSON]:
    if len(parts) == 1 and isinstance(parts[0], Text) and parts[0].cache is None:
        return parts[0].text
    return list(_blocks(Message("user", tuple(parts)), place, unsaid))


def _document(part: Document) -> JSON:
    source: JSON
    if part.text:
        source = {"type": "text", "media_type": "text/plain", "data": part.text}
    elif part.file_id:
        source = {"type": "file", "file_id": part.file_id}
    elif part.data:
        source = {"type": "base64", "media_type": part.media_type or "application/pdf", "data": part.data}
    else:
        source = {"type": "url", "url": part.url}
    block: JSON = {"type": "document", "source": source}
    if part.name:
        block["title"] = part.name
    return block


def _arguments(call: ToolCall, place: str) -> msgspec.Raw:
    """Return the arguments as the object that they must be here."""
    text = call.arguments.strip() or "{}"
    try:
        _OBJECT.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadRequest(
            f"The arguments of the tool call '{call.id[:256]}' are not a JSON object.", param=f"{place}.tool_calls"
        ) from error
    return msgspec.Raw(text.encode())


def _tool(tool: Tool) -> JSON:
    written: JSON = {
        "name": tool.name,
        "input_schema": tool.parameters if bytes(tool.parameters) else {"type": "object", "properties": {}},
    }
    if tool.description:
        written["description"] = tool.description
    if tool.strict is not None:
        written["strict"] = tool.strict
    return _marked(written, tool.cache)


def _write_tool_choice(said: Conversation, body: JSON) -> None:
    choice = said.tool_choice
    if choice is None and said.parallel_tool_calls is not False:
        return
    written: JSON = {"type": "auto"} if choice is None else {"type": choice.kind}
    if choice is not None and choice.kind == "tool":
        written["name"] = choice.name
    if said.parallel_tool_calls is False and written["type"] != "none":
        written["disable_parallel_tool_use"] = True
    body["tool_choice"] = written


def _marked(block: JSON, mark: CacheMark | None) -> JSON:
    if mark is not None:
        block["cache_control"] = {"type": "ephemeral", **({"ttl": mark.ttl} if mark.ttl else {})}
    return block
