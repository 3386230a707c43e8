"""Requests of Gemini's callers, read into a Conversation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from tallystick.errors import BadRequest
from tallystick.wire.conversation import (
    Conversation,
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
from tallystick.wire.gemini.media import read_file, read_inline
from tallystick.wire.gemini.names import with_camel_names
from tallystick.wire.gemini.results import read_result
from tallystick.wire.gemini.schema import json_schema
from tallystick.wire.request_body import naming_fields, unsaid_fields

_HINTS: Final = frozenset(("model", "stream", "metadata", "litellmMetadata", "labels", "store", "serviceTier"))
"""Fields that don't change what is answered."""
_NO_FILTERS: Final = frozenset(("BLOCK_NONE", "OFF", "HARM_BLOCK_THRESHOLD_UNSPECIFIED", ""))
_CONFIG_MEANS_NOTHING: Final[dict[str, tuple[bytes, ...]]] = {
    "candidateCount": (b"1",),
    "responseModalities": (b'["TEXT"]', b"[]"),
    "responseLogprobs": (b"false",),
}
_LEVELS: Final = {"MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high"}


class _Blob(msgspec.Struct, rename="camel", gc=False):
    data: str = ""
    mime_type: str = ""


class _FileData(msgspec.Struct, rename="camel", gc=False):
    file_uri: str = ""
    mime_type: str = ""


class _FunctionCall(msgspec.Struct, gc=False):
    name: str = ""
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw()


class _ResponsePart(msgspec.Struct, rename="camel", gc=False):
    inline_data: _Blob | None = None
    file_data: _FileData | None = None


class _FunctionResponse(msgspec.Struct, gc=False):
    name: str = ""
    id: str | None = None
    response: msgspec.Raw = msgspec.Raw()
    parts: list[_ResponsePart] | None = None


class _Part(msgspec.Struct, rename="camel", gc=False):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    inline_data: _Blob | None = None
    file_data: _FileData | None = None
    function_call: _FunctionCall | None = None
    function_response: _FunctionResponse | None = None
    video_metadata: msgspec.Raw = msgspec.Raw()


class _Content(msgspec.Struct, gc=False):
    role: str | None = None
    parts: list[_Part] | _Part | None = None


class _Declaration(msgspec.Struct, rename="camel", gc=False):
    name: str = ""
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw()
    parameters_json_schema: msgspec.Raw = msgspec.Raw()


class _CallingConfig(msgspec.Struct, rename="camel", gc=False):
    mode: str | None = None
    allowed_function_names: list[str] | None = None


class _ToolConfig(msgspec.Struct, rename="camel", gc=False):
    function_calling_config: _CallingConfig | None = None


class _SafetySetting(msgspec.Struct, gc=False):
    threshold: str = ""


class _ThinkingConfig(msgspec.Struct, rename="camel", gc=False):
    thinking_budget: int | None = None
    thinking_level: str | None = None
    include_thoughts: bool | None = None


class _Config(msgspec.Struct, rename="camel", gc=False):
    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None
    seed: int | None = None
    max_output_tokens: int | None = None
    stop_sequences: list[str] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    response_mime_type: str | None = None
    response_schema: msgspec.Raw = msgspec.Raw()
    response_json_schema: msgspec.Raw = msgspec.Raw()
    thinking_config: _ThinkingConfig | None = None


class _Body(msgspec.Struct, rename="camel", gc=False):
    contents: list[_Content] | _Content | str = []
    system_instruction: _Content | str | None = None
    tools: list[dict[str, msgspec.Raw]] | dict[str, msgspec.Raw] | None = None
    tool_config: _ToolConfig | None = None
    safety_settings: list[_SafetySetting] | None = None
    generation_config: msgspec.Raw = msgspec.Raw()


_BODY = msgspec.json.Decoder(_Body)
_CONFIG = msgspec.json.Decoder(_Config)
_DECLARATIONS = msgspec.json.Decoder(list[_Declaration] | _Declaration | None)
_KNOWN: Final = frozenset(_Body.__struct_encode_fields__) | _HINTS | GATEWAY_FIELDS
_CONFIG_KNOWN: Final = frozenset(_Config.__struct_encode_fields__)


def read_gemini_request(raw: bytes, *, stream: bool) -> Conversation:
    """Read a request. Raises BadRequest, which names the field."""
    with naming_fields():
        raw = with_camel_names(raw)
        body = _BODY.decode(raw)
        config = _CONFIG.decode(body.generation_config) if bytes(body.generation_config) else _Config()
        unsaid = list(unsaid_fields(raw, _KNOWN, {}))
        if bytes(body.generation_config):
            unsaid += unsaid_fields(
                body.generation_config, _CONFIG_KNOWN, _CONFIG_MEANS_NOTHING, place="generationConfig."
            )
        tools = tuple(_tools(body, unsaid))
        wanted = _response_format(config, unsaid)
    if any(setting.threshold not in _NO_FILTERS for setting in body.safety_settings or ()):
        unsaid.append("safetySettings")
    return Conversation(
        messages=_Turns(unsaid).read(body.contents),
        system=tuple(_system(body.system_instruction)),
        tools=tools,
        tool_choice=_tool_choice(body.tool_config, tools, unsaid),
        max_tokens=config.max_output_tokens,
        stop=tuple(config.stop_sequences or ()),
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=None if config.top_k is None else int(config.top_k),
        seed=config.seed,
        frequency_penalty=config.frequency_penalty or None,
        presence_penalty=config.presence_penalty or None,
        response_format=wanted,
        reasoning=_reasoning(config.thinking_config),
        stream=stream,
        unsaid=tuple(unsaid),
    )


class _Turns:
    """Reads contents; results of tools find the calls that they answer."""

    def __init__(self, unsaid: list[str]) -> None:
        self._unsaid = unsaid
        self._unanswered: list[ToolCall] = []
        self._calls = 0

    def read(self, contents: list[_Content] | _Content | str) -> tuple[Message, ...]:
        """Return the turns."""
        if isinstance(contents, str):
            return (Message("user", (Text(contents),)),)
        turns = []
        for number, content in enumerate(contents if isinstance(contents, list) else [contents]):
            role = content.role or "user"
            if role not in ("user", "model", "function", "tool"):
                place = f"contents.{number}.role"
                raise BadRequest(f"'{place}': there is no role '{role[:64]}'.", param=place)
            parts = tuple(self._parts(content, f"contents.{number}"))
            turns.append(Message("assistant" if role == "model" else "user", parts))
        return tuple(turns)

    def _parts(self, content: _Content, place: str) -> Iterator[Part]:
        for number, given in enumerate(_listed(content.parts)):
            part = self._part(given)
            if part is None:
                if not given.thought_signature:  # A signature alone is of something that Gemini keeps to itself.
                    self._unsaid.append(f"{place}.parts.{number}")
                continue
            if bytes(given.video_metadata):
                self._unsaid.append(f"{place}.parts.{number}.videoMetadata")
            yield part

    def _part(self, given: _Part) -> Part | None:
        """Return the part; None when this form has none like it."""
        if given.function_call is not None:
            return self._call(given.function_call, given.thought_signature or "")
        if given.function_response is not None:
            return self._result(given.function_response)
        if given.inline_data is not None:
            return read_inline(given.inline_data.data, given.inline_data.mime_type)
        if given.file_data is not None:
            return read_file(given.file_data.file_uri, given.file_data.mime_type)
        if given.text is None:
            return None
        if given.thought:
            return Thinking(text=given.text, signature=given.thought_signature or "")
        return Text(given.text)

    def _call(self, given: _FunctionCall, signature: str) -> ToolCall:
        self._calls += 1
        arguments = bytes(given.args).decode()
        call = ToolCall(
            id=given.id or f"call_{self._calls}",
            name=given.name,
            arguments="{}" if arguments in ("", "null") else arguments,
            signature=signature,
        )
        self._unanswered.append(call)
        return call

    def _result(self, given: _FunctionResponse) -> ToolResult:
        call = next(
            (each for each in self._unanswered if (each.id == given.id if given.id else each.name == given.name)), None
        )
        if call is not None:
            self._unanswered.remove(call)
        call_id = given.id or (call.id if call is not None else given.name)
        text, is_error = read_result(bytes(given.response))
        media = []
        for part in given.parts or ():
            if part.inline_data is not None:
                media.append(read_inline(part.inline_data.data, part.inline_data.mime_type))
            elif part.file_data is not None:
                media.append(read_file(part.file_data.file_uri, part.file_data.mime_type))
        kept = tuple(part for part in media if not hasattr(part, "format"))
        return ToolResult(
            call_id=call_id, name=given.name, parts=(*((Text(text),) if text else ()), *kept), is_error=is_error
        )


def _listed(parts: list[_Part] | _Part | None) -> list[_Part]:
    return parts if isinstance(parts, list) else [] if parts is None else [parts]


def _system(given: _Content | str | None) -> Iterator[Text]:
    if isinstance(given, str):
        yield Text(given)
    elif given is not None:
        for part in _listed(given.parts):
            if part.text:
                yield Text(part.text)


def _tools(body: _Body, unsaid: list[str]) -> Iterator[Tool]:
    given = body.tools or []
    for number, kinds in enumerate(given if isinstance(given, list) else [given]):
        for kind, value in kinds.items():
            if kind != "functionDeclarations":
                unsaid.append(f"tools.{number}.{kind}")
                continue
            declared = _DECLARATIONS.decode(value)
            for each in declared if isinstance(declared, list) else [] if declared is None else [declared]:
                schema = bytes(each.parameters_json_schema)
                yield Tool(
                    name=each.name,
                    description=each.description or "",
                    parameters=each.parameters_json_schema
                    if schema and schema != b"null"
                    else json_schema(each.parameters),
                )


def _tool_choice(given: _ToolConfig | None, tools: tuple[Tool, ...], unsaid: list[str]) -> ToolChoice | None:
    calling = given.function_calling_config if given is not None else None
    if calling is None or not calling.mode or calling.mode == "MODE_UNSPECIFIED":
        return None
    allowed = calling.allowed_function_names or []
    if calling.mode == "ANY" and len(allowed) == 1:
        return ToolChoice("tool", allowed[0])
    if allowed and {tool.name for tool in tools} - set(allowed):
        unsaid.append("toolConfig.functionCallingConfig.allowedFunctionNames")
    if calling.mode in ("AUTO", "VALIDATED"):
        return ToolChoice("auto")
    if calling.mode in ("NONE", "ANY"):
        return ToolChoice("none" if calling.mode == "NONE" else "any")
    field = "toolConfig.functionCallingConfig.mode"
    raise BadRequest(f"'{field}': there is no mode '{calling.mode[:64]}'.", param=field)


def _response_format(config: _Config, unsaid: list[str]) -> ResponseFormat | None:
    if config.response_mime_type in (None, "", "text/plain"):
        return None
    if config.response_mime_type != "application/json":
        unsaid.append("generationConfig.responseMimeType")
        return None
    own = bytes(config.response_json_schema)
    return ResponseFormat(
        schema=config.response_json_schema if own and own != b"null" else json_schema(config.response_schema)
    )


def _reasoning(given: _ThinkingConfig | None) -> Reasoning | None:
    if given is None:
        return None
    budget = given.thinking_budget
    effort = _LEVELS.get((given.thinking_level or "").upper(), "")
    if budget is None:
        return Reasoning(effort=effort, adaptive=not effort)
    return Reasoning(budget_tokens=budget if budget > 0 else None, adaptive=budget < 0, off=budget == 0, effort=effort)
