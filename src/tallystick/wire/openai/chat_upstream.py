"""OpenAI's chat dialect as upstreams speak it: a Conversation becomes a request, answers become Replies and deltas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from tallystick.errors import UpstreamGarbled
from tallystick.wire.conversation import (
    Audio,
    Conversation,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Written,
)
from tallystick.wire.data_url import data_url
from tallystick.wire.error_envelope import read_error_text
from tallystick.wire.openai.chat_stream import OpenAIChatEvents
from tallystick.wire.openai.stop import stop_reason
from tallystick.wire.openai.usage import ReportedUsage, normalize_usage, read_error, reported_cost_nano_usd
from tallystick.wire.reply import Reply, ReplyPart
from tallystick.wire.reported import ReportedError
from tallystick.wire.stream_reader import SSEReader

JSON = dict[str, Any]  # Any: a body of many shapes that is encoded at once.

_EFFORT_OF_BUDGET: Final = ((2048, "low"), (8192, "medium"))
"""A budget below a number is this effort; beyond all it is `high`."""


class OpenAIChat(NamedTuple):
    """The UpstreamDialect of chat completions."""

    asks_usage: bool
    """Whether streams are asked for usage; see Family.asks_usage."""
    names_completion_tokens: bool
    """Whether the limit is `max_completion_tokens`, which older upstreams don't know."""

    @property
    def name(self) -> str:
        return "openai"

    def write_request(self, conversation: Conversation, *, model: str) -> Written:
        """See UpstreamDialect."""
        said = conversation
        unsaid: list[str] = []
        body: JSON = {"model": model, "messages": list(_messages(said, unsaid))}
        if said.stream:
            body["stream"] = True
            if self.asks_usage:
                body["stream_options"] = {"include_usage": True}
        if said.max_tokens is not None:
            body["max_completion_tokens" if self.names_completion_tokens else "max_tokens"] = said.max_tokens
        for field in ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty", "user"):
            value = getattr(said, field)
            if value is not None:
                body[field] = value
        if said.top_k is not None:
            unsaid.append("top_k")
        if said.stop:
            body["stop"] = said.stop
        if said.tools:
            body.update(_tools(said))
        if said.response_format is not None:
            body["response_format"] = _response_format(said)
        if said.reasoning is not None and (effort := effort_of(said.reasoning)):
            body["reasoning_effort"] = effort
        return Written(_ENCODER.encode(body), tuple(unsaid))

    def read_reply(self, body: bytes) -> Reply:
        """See UpstreamDialect."""
        try:
            answer = _ANSWER.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamGarbled(f"The upstream answered with a body that is no chat completion: {error}") from error
        failure = read_error(bytes(answer.error)) if answer.error else None
        if not answer.choices and failure is None:
            raise UpstreamGarbled("The upstream answered with a chat completion that has no choice.")
        choice = answer.choices[0] if answer.choices else _Choice()
        usage = answer.usage
        return Reply(
            id=answer.id or "",
            model=answer.model or "",
            parts=tuple(_reply_parts(choice.message)),
            stop_reason=stop_reason(choice.finish_reason, called_tools=bool(choice.message.tool_calls)),
            usage=normalize_usage(usage) if usage is not None else None,
            reported_cost_nano_usd=reported_cost_nano_usd(usage) if usage is not None else None,
            error=failure,
        )

    def stream_reader(self) -> SSEReader:
        """See UpstreamDialect."""
        return SSEReader(OpenAIChatEvents().read)

    def read_refusal(self, body: bytes) -> ReportedError:
        """See UpstreamDialect."""
        return read_error_text(body)


_ENCODER = msgspec.json.Encoder()


class _Function(msgspec.Struct, gc=False):
    name: str = ""
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    id: str | None = None
    function: _Function | None = None


class _ContentPart(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | list[_ContentPart] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message = msgspec.field(default_factory=_Message)
    finish_reason: str | None = None


class _Answer(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] = []
    usage: ReportedUsage | None = None
    error: msgspec.Raw = msgspec.Raw()


_ANSWER = msgspec.json.Decoder(_Answer, strict=False)


def _reply_parts(message: _Message) -> Iterator[ReplyPart]:
    thought = message.reasoning_content or message.reasoning
    if thought:
        yield Thinking(text=thought)
    if isinstance(message.content, str):
        if message.content:
            yield Text(message.content)
    else:
        for part in message.content or ():
            if part.text:
                yield Text(part.text)
            elif part.refusal:
                yield Refusal(part.refusal)
    if message.refusal:
        yield Refusal(message.refusal)
    for call in message.tool_calls or ():
        if call.function is not None:
            yield ToolCall(id=call.id or "", name=call.function.name, arguments=call.function.arguments or "{}")


def _messages(said: Conversation, unsaid: list[str]) -> Iterator[JSON]:
    if said.system:
        yield {"role": "system", "content": "\n\n".join(text.text for text in said.system)}
    for number, message in enumerate(said.messages):
        if message.role == "assistant":
            yield _assistant(message, f"messages.{number}", unsaid)
        else:
            yield from _user(message, f"messages.{number}", unsaid)


def _user(message: Message, place: str, unsaid: list[str]) -> Iterator[JSON]:
    """Results of tools are messages of their own, before what the user says."""
    others: list[Part] = []
    seen: list[JSON] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            yield {"role": "tool", "tool_call_id": part.call_id, "content": _result_text(part, seen, place, unsaid)}
        else:
            others.append(part)
    content = [*seen, *_content(others, place, unsaid)]
    if content:
        yield {"role": "user", "content": _simplest(content), **({"name": message.name} if message.name else {})}


def _result_text(result: ToolResult, seen: list[JSON], place: str, unsaid: list[str]) -> str:
    """Return a result as text, which is all that a tool's message can hold; pictures go to the user's turn."""
    texts = []
    for part in result.parts:
        if isinstance(part, Text):
            texts.append(part.text)
            continue
        written = _written(part)
        if written is None:
            unsaid.append(f"{place}.content ({type(part).__name__.lower()} of a tool)")
        else:
            seen.append({"type": "text", "text": f"Returned by the tool call {result.call_id}:"})
            seen.append(written)
    return "\n".join(texts)


def _content(parts: list[Part], place: str, unsaid: list[str]) -> Iterator[JSON]:
    for part in parts:
        written = _written(part)
        if written is None:
            unsaid.append(f"{place}.content ({type(part).__name__.lower()})")
        else:
            yield written


def _written(part: Part) -> JSON | None:
    """Return a part of a user's turn; None when this dialect has none like it."""
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Image):
        image: JSON = {"url": data_url(part.media_type, part.data) if part.data else part.url}
        if part.detail:
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}
    if isinstance(part, Audio):
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
    if isinstance(part, Document):
        if part.text:
            return {"type": "text", "text": part.text}
        if part.file_id:
            return {"type": "file", "file": {"file_id": part.file_id}}
        if part.data:
            name = part.name or "document.pdf"
            return {"type": "file", "file": {"filename": name, "file_data": data_url(part.media_type, part.data)}}
    return None


def _simplest(content: list[JSON]) -> str | list[JSON]:
    """Return a single text as a string, which every upstream takes."""
    if len(content) == 1 and content[0]["type"] == "text":
        text: str = content[0]["text"]
        return text
    return content


def _assistant(message: Message, place: str, unsaid: list[str]) -> JSON:
    """Write an earlier answer. Its thoughts are left out: no upstream of this dialect takes them back."""
    texts = [part.text for part in message.parts if isinstance(part, Text)]
    written: JSON = {"role": "assistant", "content": "".join(texts) or None}
    if message.name:
        written["name"] = message.name
    refusals = [part.text for part in message.parts if isinstance(part, Refusal)]
    if refusals:
        written["refusal"] = "".join(refusals)
    calls = [
        {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
        for part in message.parts
        if isinstance(part, ToolCall)
    ]
    if calls:
        written["tool_calls"] = calls
    elif not texts and not refusals:
        written["content"] = ""
    unsaid += (
        f"{place}.content ({type(part).__name__.lower()})"
        for part in message.parts
        if not isinstance(part, Text | Refusal | ToolCall | Thinking)
    )
    return written


def _tools(said: Conversation) -> JSON:
    body: JSON = {"tools": [{"type": "function", "function": function} for function in _functions(said)]}
    choice = said.tool_choice
    if choice is not None:
        body["tool_choice"] = (
            {"type": "function", "function": {"name": choice.name}}
            if choice.kind == "tool"
            else {"auto": "auto", "none": "none", "any": "required"}[choice.kind]
        )
    if said.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = said.parallel_tool_calls
    return body


def _functions(said: Conversation) -> Iterator[JSON]:
    for tool in said.tools:
        function: JSON = {"name": tool.name}
        if tool.description:
            function["description"] = tool.description
        if bytes(tool.parameters):
            function["parameters"] = tool.parameters
        if tool.strict is not None:
            function["strict"] = tool.strict
        yield function


def _response_format(said: Conversation) -> Mapping[str, object]:
    wanted = said.response_format
    assert wanted is not None
    if not bytes(wanted.schema):
        return {"type": "json_object"}
    schema: JSON = {"name": wanted.name or "answer", "schema": wanted.schema}
    if wanted.description:
        schema["description"] = wanted.description
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}


def effort_of(reasoning: Reasoning) -> str:
    """Return the effort that is meant; '' for none that can be said."""
    if reasoning.effort:
        return "xhigh" if reasoning.effort == "max" else reasoning.effort  # The most that there is here.
    if reasoning.off or reasoning.budget_tokens is None:
        return ""
    return next((effort for budget, effort in _EFFORT_OF_BUDGET if reasoning.budget_tokens < budget), "high")
