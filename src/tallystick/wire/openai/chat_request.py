"""OpenAI's chat requests, read into a Conversation.

Besides OpenAI's own fields, what LiteLLM's clients send in this dialect is understood: `cache_control` on parts and
tools, `thinking`, `top_k`, and the thoughts of earlier answers (`thinking_blocks`, `reasoning_content`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from tallystick.errors import BadRequest
from tallystick.wire.conversation import (
    Audio,
    CacheMark,
    Conversation,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tallystick.wire.data_url import split_data_url
from tallystick.wire.gateway_fields import GATEWAY_FIELDS
from tallystick.wire.request_body import decode_body, unsaid_fields

_HINTS: Final = frozenset((
    "model", "stream_options", "store", "service_tier", "prompt_cache_key", "prompt_cache_retention", "metadata",
    "safety_identifier", "prediction", "extra_headers", "extra_body",
))  # fmt: skip
"""Fields that don't change what is answered."""
_MEANS_NOTHING: Final[dict[str, tuple[bytes, ...]]] = {
    "n": (b"1",),
    "logprobs": (b"false",),
    "top_logprobs": (b"0",),
    "logit_bias": (b"{}",),
    "modalities": (b'["text"]',),
    "verbosity": (b'"medium"',),
}
"""Values that ask for what would be done anyway."""


def read_chat_request(raw: bytes) -> Conversation:
    """Read a request. Raises BadRequest, which names the field."""
    body = decode_body(_BODY, raw)
    unsaid = list(unsaid_fields(raw, _KNOWN, _MEANS_NOTHING))
    messages, system = _Messages(unsaid).read(body.messages)
    return Conversation(
        messages=messages,
        system=system,
        tools=_tools(body, unsaid),
        tool_choice=_tool_choice(body, unsaid),
        parallel_tool_calls=body.parallel_tool_calls,
        max_tokens=body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        seed=body.seed,
        frequency_penalty=body.frequency_penalty or None,
        presence_penalty=body.presence_penalty or None,
        response_format=_response_format(body.response_format),
        reasoning=_reasoning(body),
        user=body.user,
        stream=body.stream is True,
        unsaid=tuple(unsaid),
    )


class _CacheControl(msgspec.Struct, gc=False):
    ttl: str | None = None


class _ImageURL(msgspec.Struct, gc=False):
    url: str = ""
    detail: str | None = None


class _InputAudio(msgspec.Struct, gc=False):
    data: str = ""
    format: str = ""


class _File(msgspec.Struct, gc=False):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class _ContentPart(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: _ImageURL | str | None = None
    input_audio: _InputAudio | None = None
    file: _File | None = None
    cache_control: _CacheControl | None = None


class _FunctionCall(msgspec.Struct, gc=False):
    name: str = ""
    arguments: str | None = None


class _GoogleContent(msgspec.Struct, gc=False):
    thought_signature: str | None = None


class _ExtraContent(msgspec.Struct, gc=False):
    google: _GoogleContent | None = None


class _ToolCall(msgspec.Struct, gc=False):
    id: str = ""
    type: str = "function"
    function: _FunctionCall | None = None
    extra_content: _ExtraContent | None = None
    """As Google's own OpenAI endpoint has it."""
    provider_specific_fields: _GoogleContent | None = None
    """As LiteLLM's clients have it."""

    @property
    def signature(self) -> str:
        """What Gemini wants back with its call."""
        google = self.extra_content.google if self.extra_content is not None else self.provider_specific_fields
        return (google.thought_signature or "") if google is not None else ""


class _ThinkingBlock(msgspec.Struct, gc=False):
    type: str = ""
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class _Message(msgspec.Struct, gc=False):
    role: str = ""
    content: str | list[_ContentPart] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: _FunctionCall | None = None
    reasoning_content: str | None = None
    thinking_blocks: list[_ThinkingBlock] | None = None
    cache_control: _CacheControl | None = None


class _Function(msgspec.Struct, gc=False):
    name: str = ""
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw()
    strict: bool | None = None
    cache_control: _CacheControl | None = None


class _Tool(msgspec.Struct, gc=False):
    type: str = "function"
    function: _Function | None = None
    cache_control: _CacheControl | None = None


class _NamedTool(msgspec.Struct, gc=False):
    type: str = ""
    function: _Function | None = None


class _JSONSchema(msgspec.Struct, gc=False):
    name: str = ""
    description: str | None = None
    schema: msgspec.Raw = msgspec.Raw()
    strict: bool | None = None


class _ResponseFormat(msgspec.Struct, gc=False):
    type: str = ""
    json_schema: _JSONSchema | None = None


class _Thinking(msgspec.Struct, gc=False):
    type: str = ""
    budget_tokens: int | None = None


class _Body(msgspec.Struct, gc=False):
    messages: list[_Message] = []
    stream: bool | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _NamedTool | None = None
    functions: list[_Function] | None = None
    function_call: str | _FunctionCall | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    response_format: _ResponseFormat | None = None
    reasoning_effort: str | None = None
    thinking: _Thinking | None = None
    user: str | None = None


_BODY = msgspec.json.Decoder(_Body)
_KNOWN: Final = frozenset(_Body.__struct_fields__) | _HINTS | GATEWAY_FIELDS


class _Messages:
    """Reads messages: system prompts apart, and the results of tools as the user's turn."""

    def __init__(self, unsaid: list[str]) -> None:
        self._unsaid = unsaid
        self._system: list[Text] = []
        self._turns: list[Message] = []
        self._results: list[ToolResult] = []

    def read(self, messages: list[_Message]) -> tuple[tuple[Message, ...], tuple[Text, ...]]:
        """Return the turns and the system prompts."""
        for number, message in enumerate(messages):
            place = f"messages.{number}"
            if message.role in ("tool", "function"):
                self._results.append(self._result(message, place))
                continue
            if message.role in ("system", "developer"):
                for part in self._content(message, place):
                    if isinstance(part, Text):
                        self._system.append(part)
                    else:
                        self._unsaid.append(f"{place}.content ({type(part).__name__.lower()})")
                continue
            if message.role == "assistant":
                self._end_results()
                self._turns.append(Message("assistant", tuple(self._assistant(message, place)), message.name or ""))
            elif message.role == "user":
                parts = (*self._results, *self._content(message, place))
                self._results = []
                self._turns.append(Message("user", parts, message.name or ""))
            else:
                raise BadRequest(f"'{place}.role': there is no role '{message.role[:64]}'.", param=f"{place}.role")
        self._end_results()
        return tuple(self._turns), tuple(self._system)

    def _end_results(self) -> None:
        if self._results:
            self._turns.append(Message("user", tuple(self._results)))
            self._results = []

    def _result(self, message: _Message, place: str) -> ToolResult:
        parts: list[Text | Image | Document] = []
        for part in self._content(message, place):
            if isinstance(part, Text | Image | Document):
                parts.append(part)
            else:
                self._unsaid.append(f"{place}.content ({type(part).__name__.lower()})")
        return ToolResult(
            call_id=message.tool_call_id or message.name or "",
            name=message.name or "",
            parts=tuple(parts),
            cache=_mark(message.cache_control),
        )

    def _assistant(self, message: _Message, place: str) -> Iterator[Part]:
        if message.thinking_blocks:
            for block in message.thinking_blocks:
                yield Thinking(text=block.thinking or "", signature=block.signature or "", redacted=block.data or "")
        elif message.reasoning_content:
            yield Thinking(text=message.reasoning_content)
        yield from self._content(message, place)
        if message.refusal:
            yield Refusal(message.refusal)
        for number, call in enumerate(message.tool_calls or ()):
            if call.function is None:
                self._unsaid.append(f"{place}.tool_calls.{number}")
                continue
            yield ToolCall(
                id=call.id,
                name=call.function.name,
                arguments=call.function.arguments or "{}",
                signature=call.signature,
            )
        if message.function_call is not None:  # The form before `tool_calls`: a call's name is its id.
            name = message.function_call.name
            yield ToolCall(id=name, name=name, arguments=message.function_call.arguments or "{}")

    def _content(self, message: _Message, place: str) -> Iterator[Part]:
        content = message.content
        if content is None:
            return
        if isinstance(content, str):
            if content:
                yield Text(content, _mark(message.cache_control))
            return
        for number, given in enumerate(content):
            part = _part(given)
            if part is None:
                self._unsaid.append(f"{place}.content.{number}")
            else:
                yield part


def _part(given: _ContentPart) -> Part | None:
    """Return the part; None when this form has none like it."""
    mark = _mark(given.cache_control)
    if given.type in ("text", "input_text", "output_text"):
        return Text(given.text or "", mark)
    if given.type == "image_url" and given.image_url is not None:
        image = _ImageURL(given.image_url) if isinstance(given.image_url, str) else given.image_url
        media_type, data = split_data_url(image.url)
        return Image(
            url="" if data else image.url, data=data, media_type=media_type, detail=image.detail or "", cache=mark
        )
    if given.type == "input_audio" and given.input_audio is not None:
        return Audio(data=given.input_audio.data, format=given.input_audio.format)
    if given.type == "file" and given.file is not None:
        return _document(given.file, mark)
    if given.type == "refusal":
        return Refusal(given.refusal or "")
    return None


def _document(file: _File, mark: CacheMark | None) -> Document:
    media_type, data = split_data_url(file.file_data or "")
    url = file.file_data or "" if not data else ""
    file_id = file.file_id or ""
    if file_id.startswith(("http://", "https://")):  # LiteLLM's clients put addresses here.
        url, file_id = file_id, ""
    return Document(url=url, data=data, media_type=media_type, file_id=file_id, name=file.filename or "", cache=mark)


def _mark(given: _CacheControl | None) -> CacheMark | None:
    return None if given is None else CacheMark(given.ttl or "")


def _tools(body: _Body, unsaid: list[str]) -> tuple[Tool, ...]:
    tools = []
    for number, given in enumerate(body.tools or ()):
        if given.function is None:
            unsaid.append(f"tools.{number}")
        else:
            tools.append(_tool(given.function, given.cache_control or given.function.cache_control))
    tools += [_tool(function, function.cache_control) for function in body.functions or ()]
    return tuple(tools)


def _tool(function: _Function, mark: _CacheControl | None) -> Tool:
    return Tool(
        name=function.name,
        description=function.description or "",
        parameters=msgspec.Raw() if bytes(function.parameters) == b"null" else function.parameters,
        strict=function.strict,
        cache=_mark(mark),
    )


def _tool_choice(body: _Body, unsaid: list[str]) -> ToolChoice | None:
    choice = body.tool_choice
    if choice is None and body.function_call is not None:
        called = body.function_call
        choice = called if isinstance(called, str) else _NamedTool("function", _Function(called.name))
    if choice is None:
        return None
    if isinstance(choice, _NamedTool):
        if choice.function is None:
            unsaid.append("tool_choice")
            return None
        return ToolChoice("tool", choice.function.name)
    if choice in ("auto", "none"):
        return ToolChoice("auto" if choice == "auto" else "none")
    if choice in ("required", "any"):
        return ToolChoice("any")
    raise BadRequest(f"'tool_choice': there is no choice '{choice[:64]}'.", param="tool_choice")


def _response_format(given: _ResponseFormat | None) -> ResponseFormat | None:
    if given is None or given.type in ("", "text"):
        return None
    schema = given.json_schema
    if schema is None:
        return ResponseFormat()
    return ResponseFormat(
        schema=schema.schema, name=schema.name, description=schema.description or "", strict=schema.strict
    )


def _reasoning(body: _Body) -> Reasoning | None:
    if body.thinking is not None:
        return Reasoning(
            effort=body.reasoning_effort or "",
            budget_tokens=body.thinking.budget_tokens,
            adaptive=body.thinking.type == "adaptive",
            off=body.thinking.type == "disabled",
        )
    effort = body.reasoning_effort
    if not effort:
        return None
    return Reasoning(effort=effort, off=effort == "none")
