"""Requests of the Responses API, read into a Conversation.

Its input is a list of items, of which several are one turn: what the model thought, said and called are items of their
own, and so is each result of a tool.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from tallystick.errors import BadRequest
from tallystick.wire.conversation import (
    Audio,
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

REDACTED: Final = "redacted:"
"""Stands before `encrypted_content` that holds thoughts which only their provider can read, and no signature."""
_OPENAIS_OWN: Final = "gAAAA"
"""How what OpenAI encrypts begins. No provider that requests are translated for can read it."""

_HINTS: Final = frozenset((
    "model", "stream_options", "store", "service_tier", "prompt_cache_key", "prompt_cache_retention", "metadata",
    "safety_identifier", "truncation", "max_tool_calls", "extra_headers", "extra_body", "extra_query",
    "client_metadata",
))  # fmt: skip
"""Fields that don't change what is answered, or only what the provider's own tools may do."""
_MEANS_NOTHING: Final[dict[str, tuple[bytes, ...]]] = {
    "background": (b"false",),
    "top_logprobs": (b"0",),
    "context_management": (b"[]",),
}
"""Values that ask for what would be done anyway."""
_NO_PLACE: Final = frozenset(("message.output_text.logprobs",))
"""What `include` may ask for and no other dialect has. The rest of it is of the provider's own tools."""


def read_responses_request(raw: bytes) -> Conversation:
    """Read a request. Raises BadRequest, which names the field."""
    body = decode_body(_BODY, raw)
    unsaid = list(unsaid_fields(raw, _KNOWN, _MEANS_NOTHING))
    unsaid += (f"include ({asked})" for asked in body.include or () if asked in _NO_PLACE)
    items = _Items(unsaid)
    if body.instructions:
        items.system.append(Text(body.instructions))
    messages = items.read([_Item(role="user", content=body.input)] if isinstance(body.input, str) else body.input or [])
    return Conversation(
        messages=messages,
        system=tuple(items.system),
        tools=tuple(_tools(body, unsaid)),
        tool_choice=_tool_choice(body, unsaid),
        parallel_tool_calls=body.parallel_tool_calls,
        max_tokens=body.max_output_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        response_format=_response_format(body, unsaid),
        reasoning=_reasoning(body.reasoning),
        user=body.user,
        stream=body.stream is True,
        unsaid=tuple(unsaid),
    )


class _InputAudio(msgspec.Struct, gc=False):
    data: str = ""
    format: str = ""


class _ContentPart(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    input_audio: _InputAudio | None = None
    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    filename: str | None = None


class _GoogleContent(msgspec.Struct, gc=False):
    thought_signature: str | None = None


class _ExtraContent(msgspec.Struct, gc=False):
    google: _GoogleContent | None = None


class _Item(msgspec.Struct, gc=False):
    type: str | None = None
    role: str | None = None
    content: str | list[_ContentPart] | None = None
    summary: list[_ContentPart] | None = None
    encrypted_content: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[_ContentPart] | None = None
    extra_content: _ExtraContent | None = None


class _Tool(msgspec.Struct, gc=False):
    type: str = "function"
    name: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw()
    strict: bool | None = None


class _NamedTool(msgspec.Struct, gc=False):
    type: str = ""
    name: str | None = None


class _Format(msgspec.Struct, gc=False):
    type: str = ""
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw = msgspec.Raw()
    strict: bool | None = None


class _TextOptions(msgspec.Struct, gc=False):
    format: _Format | None = None
    verbosity: str | None = None


class _Reasoning(msgspec.Struct, gc=False):
    effort: str | None = None
    summary: str | None = None


class _Body(msgspec.Struct, gc=False):
    input: str | list[_Item] | None = None
    instructions: str | None = None
    stream: bool | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _NamedTool | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    text: _TextOptions | None = None
    reasoning: _Reasoning | None = None
    include: list[str] | None = None
    user: str | None = None


_BODY = msgspec.json.Decoder(_Body)
_KNOWN: Final = frozenset(_Body.__struct_fields__) | _HINTS | GATEWAY_FIELDS


class _Items:
    """Reads items into turns: system prompts apart, and the results of tools as the user's turn."""

    def __init__(self, unsaid: list[str]) -> None:
        self.system: list[Text] = []
        self._unsaid = unsaid
        self._turns: list[Message] = []
        self._results: list[Part] = []
        self._said: list[Part] = []
        """What the model thought, said and called since the last turn."""

    def read(self, items: list[_Item]) -> tuple[Message, ...]:
        """Return the turns."""
        for number, item in enumerate(items):
            place = f"input.{number}"
            kind = item.type or "message"
            if kind == "message":
                self._read_message(item, place)
            elif kind == "function_call_output":
                self._end_said()
                parts: list[Text | Image | Document] = []
                for part in self._content(item.output, place):
                    if isinstance(part, Text | Image | Document):
                        parts.append(part)
                    else:
                        self._unsaid.append(f"{place}.output ({type(part).__name__.lower()})")
                self._results.append(ToolResult(call_id=item.call_id or "", parts=tuple(parts)))
            elif kind in ("function_call", "reasoning"):
                self._end_results()
                self._said.append(_call(item) if kind == "function_call" else _thought(item))
            else:
                self._unsaid.append(f"{place} ({kind[:64]})")
        self._end_said()
        self._end_results()
        return tuple(self._turns)

    def _read_message(self, item: _Item, place: str) -> None:
        content = tuple(self._content(item.content, place))
        if item.role in ("system", "developer"):
            self.system += (part for part in content if isinstance(part, Text))
            self._unsaid += (
                f"{place}.content ({type(part).__name__.lower()})" for part in content if not isinstance(part, Text)
            )
        elif item.role == "assistant":
            self._end_results()
            self._said += content
        elif item.role == "user":
            self._end_said()
            self._turns.append(Message("user", (*self._results, *content)))
            self._results = []
        else:
            raise BadRequest(f"'{place}.role': there is no role '{(item.role or '')[:64]}'.", param=f"{place}.role")

    def _end_results(self) -> None:
        if self._results:
            self._turns.append(Message("user", tuple(self._results)))
            self._results = []

    def _end_said(self) -> None:
        if self._said:
            self._turns.append(Message("assistant", tuple(self._said)))
            self._said = []

    def _content(self, content: str | list[_ContentPart] | None, place: str) -> Iterator[Part]:
        if isinstance(content, str):
            if content:
                yield Text(content)
            return
        for number, given in enumerate(content or ()):
            part = _part(given)
            if part is None:
                self._unsaid.append(f"{place}.content.{number} ({given.type[:64]})")
            else:
                yield part


def _call(item: _Item) -> ToolCall:
    google = item.extra_content.google if item.extra_content is not None else None
    return ToolCall(
        id=item.call_id or "",
        name=item.name or "",
        arguments=item.arguments or "{}",
        signature=(google.thought_signature or "") if google is not None else "",
    )


def _thought(item: _Item) -> Thinking:
    content = item.content if isinstance(item.content, list) else []
    text = "\n\n".join(part.text for part in (*(item.summary or ()), *content) if part.text)
    sealed = item.encrypted_content or ""
    if sealed.startswith(REDACTED):
        return Thinking(redacted=sealed.removeprefix(REDACTED))
    return Thinking(text=text, signature="" if sealed.startswith(_OPENAIS_OWN) else sealed)


def _part(given: _ContentPart) -> Part | None:
    """Return the part; None when this form has none like it."""
    if given.type in ("input_text", "output_text", "text"):
        return Text(given.text or "")
    if given.type == "refusal":
        return Refusal(given.refusal or "")
    if given.type == "input_image" and given.image_url:
        media_type, data = split_data_url(given.image_url)
        detail = given.detail or ""
        return Image(url="" if data else given.image_url, data=data, media_type=media_type, detail=detail)
    if given.type == "input_audio" and given.input_audio is not None:
        return Audio(data=given.input_audio.data, format=given.input_audio.format)
    if given.type == "input_file" and (given.file_data or given.file_id or given.file_url):
        media_type, data = split_data_url(given.file_data or "")
        return Document(
            url=given.file_url or (given.file_data or "" if not data else ""),
            data=data,
            media_type=media_type,
            file_id=given.file_id or "",
            name=given.filename or "",
        )
    return None


def _tools(body: _Body, unsaid: list[str]) -> Iterator[Tool]:
    for number, tool in enumerate(body.tools or ()):
        if tool.type != "function":
            unsaid.append(f"tools.{number} ({tool.type[:64]})")
            continue
        yield Tool(
            name=tool.name or "",
            description=tool.description or "",
            parameters=msgspec.Raw() if bytes(tool.parameters) == b"null" else tool.parameters,
            strict=tool.strict,
        )


def _tool_choice(body: _Body, unsaid: list[str]) -> ToolChoice | None:
    choice = body.tool_choice
    if choice is None:
        return None
    if isinstance(choice, _NamedTool):
        if choice.type == "function" and choice.name:
            return ToolChoice("tool", choice.name)
        unsaid.append(f"tool_choice ({choice.type[:64]})")
        return None
    if choice in ("auto", "none"):
        return ToolChoice("auto" if choice == "auto" else "none")
    if choice == "required":
        return ToolChoice("any")
    raise BadRequest(f"'tool_choice': there is no choice '{choice[:64]}'.", param="tool_choice")


def _response_format(body: _Body, unsaid: list[str]) -> ResponseFormat | None:
    if body.text is None:
        return None
    if body.text.verbosity not in (None, "medium"):
        unsaid.append("text.verbosity")
    given = body.text.format
    if given is None or given.type in ("", "text"):
        return None
    if given.type == "json_object":
        return ResponseFormat()
    return ResponseFormat(
        schema=given.schema, name=given.name or "", description=given.description or "", strict=given.strict
    )


def _reasoning(given: _Reasoning | None) -> Reasoning | None:
    if given is None or not (given.effort or given.summary):
        return None
    effort = given.effort or ""
    return Reasoning(effort=effort, off=effort == "none", summary=given.summary or "")
