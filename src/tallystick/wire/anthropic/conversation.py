"""Anthropic's requests, read into a Conversation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from tallystick.errors import BadRequest
from tallystick.wire.conversation import (
    CacheMark,
    Conversation,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tallystick.wire.gateway_fields import GATEWAY_FIELDS
from tallystick.wire.request_body import decode_body, unsaid_fields

_HINTS: Final = frozenset(("model", "service_tier", "inference_geo", "cache_control"))
"""Fields that don't change what is answered."""


def read_messages_request(raw: bytes) -> Conversation:
    """Read a request. Raises BadRequest, which names the field."""
    body = decode_body(_BODY, raw)
    unsaid = list(unsaid_fields(raw, _KNOWN, {}))
    system = (Text(body.system),) if isinstance(body.system, str) else tuple(_system(body.system or [], unsaid))
    later_system: list[Text] = []
    messages = tuple(_messages(body.messages, later_system, unsaid))
    choice = body.tool_choice
    return Conversation(
        messages=messages,
        system=(*(text for text in system if text.text), *later_system),
        tools=tuple(_tools(body, unsaid)),
        tool_choice=_tool_choice(choice),
        parallel_tool_calls=False if choice is not None and choice.disable_parallel_tool_use else None,
        max_tokens=body.max_tokens,
        stop=tuple(body.stop_sequences or ()),
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        response_format=_response_format(body),
        reasoning=_reasoning(body),
        user=body.metadata.user_id if body.metadata is not None else None,
        stream=body.stream is True,
        unsaid=tuple(unsaid),
    )


class _CacheControl(msgspec.Struct, gc=False):
    ttl: str | None = None


class _Source(msgspec.Struct, gc=False):
    type: str = ""
    media_type: str = ""
    data: str = ""
    url: str = ""
    file_id: str = ""
    content: str | list[_Block] | None = None


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    text: str = ""
    source: _Source | None = None
    title: str | None = None
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw()
    tool_use_id: str = ""
    content: msgspec.Raw = msgspec.Raw()
    """Of a tool's result: text or blocks; other blocks have other things here."""
    is_error: bool | None = None
    thinking: str = ""
    signature: str = ""
    data: str = ""
    cache_control: _CacheControl | None = None


class _Message(msgspec.Struct, gc=False):
    role: str = ""
    content: str | list[_Block] = ""


class _Tool(msgspec.Struct, gc=False):
    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = msgspec.Raw()
    strict: bool | None = None
    cache_control: _CacheControl | None = None


class _ToolChoice(msgspec.Struct, gc=False):
    type: str = ""
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class _Thinking(msgspec.Struct, gc=False):
    type: str = ""
    budget_tokens: int | None = None
    display: str | None = None


class _Format(msgspec.Struct, gc=False):
    type: str = ""
    schema: msgspec.Raw = msgspec.Raw()


class _OutputConfig(msgspec.Struct, gc=False):
    effort: str | None = None
    format: _Format | None = None


class _Metadata(msgspec.Struct, gc=False):
    user_id: str | None = None


class _Body(msgspec.Struct, gc=False):
    messages: list[_Message] = []
    max_tokens: int | None = None
    system: str | list[_Block] | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    tools: list[_Tool] | None = None
    tool_choice: _ToolChoice | None = None
    thinking: _Thinking | None = None
    output_config: _OutputConfig | None = None
    output_format: _Format | None = None
    metadata: _Metadata | None = None


_BODY = msgspec.json.Decoder(_Body)
_RESULT = msgspec.json.Decoder(str | list[_Block] | None)
_KNOWN: Final = frozenset(_Body.__struct_fields__) | _HINTS | GATEWAY_FIELDS


def _system(blocks: list[_Block], unsaid: list[str]) -> Iterator[Text]:
    for number, block in enumerate(blocks):
        if block.type == "text":
            yield Text(block.text, _mark(block.cache_control))
        else:
            unsaid.append(f"system.{number} ({block.type})")


def _messages(messages: list[_Message], system: list[Text], unsaid: list[str]) -> Iterator[Message]:
    for number, message in enumerate(messages):
        place = f"messages.{number}"
        if message.role == "system":
            blocks = [_Block("text", message.content)] if isinstance(message.content, str) else message.content
            system += _system(blocks, unsaid)
        elif message.role == "user":
            yield Message("user", tuple(_content(message.content, place, unsaid)))
        elif message.role == "assistant":
            yield Message("assistant", tuple(_content(message.content, place, unsaid)))
        else:
            raise BadRequest(f"'{place}.role': there is no role '{message.role[:64]}'.", param=f"{place}.role")


def _content(content: str | list[_Block], place: str, unsaid: list[str]) -> Iterator[Part]:
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    for number, block in enumerate(content):
        part = _part(block, f"{place}.content.{number}", unsaid)
        if part is None:
            unsaid.append(f"{place}.content.{number} ({block.type})")
        else:
            yield part


def _part(block: _Block, place: str, unsaid: list[str]) -> Part | None:
    """Return the part; None when the neutral form has none like it."""
    mark = _mark(block.cache_control)
    kind = block.type
    if kind == "text":
        return Text(block.text, mark)
    if kind == "image" and block.source is not None and block.source.type in ("base64", "url"):
        source = block.source
        return Image(url=source.url, data=source.data, media_type=source.media_type, cache=mark)
    if kind == "document" and block.source is not None:
        return _document(block.source, block.title or "", mark)
    if kind == "tool_use":
        return ToolCall(id=block.id, name=block.name, arguments=bytes(block.input).decode() or "{}", cache=mark)
    if kind == "tool_result":
        return _result(block, place, unsaid)
    if kind == "thinking":
        return Thinking(text=block.thinking, signature=block.signature)
    if kind == "redacted_thinking":
        return Thinking(redacted=block.data)
    return None


def _document(source: _Source, name: str, mark: CacheMark | None) -> Document | None:
    if source.type == "text":
        return Document(text=source.data, media_type=source.media_type, name=name, cache=mark)
    if source.type == "content":
        blocks = source.content or ""
        texts = [blocks] if isinstance(blocks, str) else [block.text for block in blocks if block.type == "text"]
        return Document(text="\n".join(texts), name=name, cache=mark)
    if source.type in ("base64", "url", "file"):
        return Document(
            url=source.url,
            data=source.data,
            file_id=source.file_id,
            media_type=source.media_type,
            name=name,
            cache=mark,
        )
    return None


def _result(block: _Block, place: str, unsaid: list[str]) -> ToolResult:
    try:
        given = _RESULT.decode(block.content) if bytes(block.content) else None
    except msgspec.MsgspecError as error:
        raise BadRequest(f"'{place}.content': {error}.", param=f"{place}.content") from error
    parts = tuple(part for part in _content(given or "", place, unsaid) if isinstance(part, Text | Image | Document))
    return ToolResult(
        call_id=block.tool_use_id,
        parts=parts,
        is_error=block.is_error is True,
        cache=_mark(block.cache_control),
    )


def _mark(given: _CacheControl | None) -> CacheMark | None:
    return None if given is None else CacheMark(given.ttl or "")


def _tools(body: _Body, unsaid: list[str]) -> Iterator[Tool]:
    for number, tool in enumerate(body.tools or ()):
        if tool.type not in (None, "custom"):
            unsaid.append(f"tools.{number} ({tool.type})")
            continue
        yield Tool(
            name=tool.name,
            description=tool.description or "",
            parameters=tool.input_schema,
            strict=tool.strict,
            cache=_mark(tool.cache_control),
        )


def _tool_choice(given: _ToolChoice | None) -> ToolChoice | None:
    if given is None:
        return None
    if given.type == "tool":
        return ToolChoice("tool", given.name)
    if given.type in ("auto", "any", "none"):
        kinds: dict[str, Any] = {"auto": "auto", "any": "any", "none": "none"}  # Any: literals, for ToolChoice.
        return ToolChoice(kinds[given.type])
    raise BadRequest(f"'tool_choice.type': there is no choice '{given.type[:64]}'.", param="tool_choice.type")


def _response_format(body: _Body) -> ResponseFormat | None:
    given = body.output_config.format if body.output_config is not None else None
    given = given or body.output_format
    return None if given is None else ResponseFormat(schema=given.schema)


def _reasoning(body: _Body) -> Reasoning | None:
    effort = (body.output_config.effort if body.output_config is not None else None) or ""
    thinking = body.thinking
    if thinking is None:
        return Reasoning(effort=effort) if effort else None
    return Reasoning(
        effort=effort,
        budget_tokens=thinking.budget_tokens,
        adaptive=thinking.type == "adaptive",
        off=thinking.type == "disabled",
        summary=thinking.display or "",
    )
