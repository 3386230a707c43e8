"""Gemini's dialect as upstreams speak it: a Conversation becomes a request, answers become Replies and deltas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from tallystick.wire.conversation import (
    Audio,
    Conversation,
    Document,
    Image,
    Message,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    Written,
)
from tallystick.wire.error_envelope import read_error_text
from tallystick.wire.gemini.answer import read_reply
from tallystick.wire.gemini.events import GeminiEvents
from tallystick.wire.gemini.media import write_media
from tallystick.wire.gemini.request import GEMINI
from tallystick.wire.gemini.results import write_result
from tallystick.wire.gemini.thinking import takes_levels, write_thinking
from tallystick.wire.reply import Reply
from tallystick.wire.reported import ReportedError
from tallystick.wire.stream_reader import SSEReader

JSON = dict[str, Any]  # Any: a body of many shapes that is encoded at once.

_SIGNATURE = re.compile(r"[A-Za-z0-9+/_=-]+")
_NO_SIGNATURE: Final = "skip_thought_signature_validator"
"""What Google documents for calls whose signature is not there: of another model, or of a caller who lost it."""
_CONFIG: Final[Mapping[str, str]] = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "max_tokens": "maxOutputTokens",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}


class Gemini(NamedTuple):
    """The UpstreamDialect of `generateContent`."""

    tells_call_ids: bool = True
    """Whether calls and results of tools have ids; elsewhere their names and their order tell."""

    @property
    def name(self) -> str:
        return GEMINI

    def write_request(self, conversation: Conversation, *, model: str) -> Written:
        """See UpstreamDialect. The model's name and whether it is a stream stand in the address."""
        said = conversation
        unsaid: list[str] = []
        system = [{"text": text.text} for text in said.system if text.text]
        contents = list(_Contents(model, tells_call_ids=self.tells_call_ids, unsaid=unsaid).write(said))
        body: JSON = {"contents": contents}
        if system and not contents:  # There must be something to answer.
            body["contents"] = [{"role": "user", "parts": system}]
        elif system:
            body["systemInstruction"] = {"parts": system}
        if said.tools:
            body.update(_tools(said))
        if said.parallel_tool_calls is False and said.tools:
            unsaid.append("parallel_tool_calls")
        config = _config(said, model, unsaid)
        if config:
            body["generationConfig"] = config
        return Written(_ENCODER.encode(body), tuple(unsaid))

    def read_reply(self, body: bytes) -> Reply:
        """See UpstreamDialect."""
        return read_reply(body)

    def stream_reader(self) -> SSEReader:
        """See UpstreamDialect."""
        return SSEReader(GeminiEvents().read)

    def read_refusal(self, body: bytes) -> ReportedError:
        """See UpstreamDialect. Google's `status` is a name for what the HTTP status says already."""
        return ReportedError(read_error_text(body).message)


_ENCODER = msgspec.json.Encoder()


class _Contents:
    """Writes turns; results of tools are told by the names of their calls."""

    def __init__(self, model: str, *, tells_call_ids: bool, unsaid: list[str]) -> None:
        self._tells_call_ids = tells_call_ids
        self._wants_signatures = takes_levels(model)
        self._unsaid = unsaid
        self._names: dict[str, str] = {}

    def write(self, said: Conversation) -> Iterator[JSON]:
        """Yield the turns that say something."""
        for number, message in enumerate(said.messages):
            parts = list(self._parts(message, f"messages.{number}"))
            if parts:
                yield {"role": "model" if message.role == "assistant" else "user", "parts": parts}

    def _parts(self, message: Message, place: str) -> Iterator[JSON]:
        """Write a turn. Earlier thoughts are left out: Gemini does without them, and takes no other model's."""
        is_first_call = True
        seen: list[JSON] = []
        for part in message.parts:
            if isinstance(part, ToolCall):
                yield self._call(part, is_first=is_first_call)
                is_first_call = False
            elif isinstance(part, ToolResult):
                yield self._result(part, seen, place)
            elif isinstance(part, Text | Refusal):
                if part.text:
                    yield {"text": part.text}
            elif isinstance(part, Image | Audio | Document):
                written = write_media(part)
                if written is None:
                    self._unsaid.append(f"{place}.content ({type(part).__name__.lower()})")
                else:
                    yield written
        yield from seen

    def _call(self, call: ToolCall, *, is_first: bool) -> JSON:
        self._names[call.id] = call.name
        written: JSON = {"name": call.name, "args": _arguments(call.arguments)}
        if self._tells_call_ids and call.id:
            written["id"] = call.id
        part: JSON = {"functionCall": written}
        if _SIGNATURE.fullmatch(call.signature):
            part["thoughtSignature"] = call.signature
        elif self._wants_signatures and is_first:
            part["thoughtSignature"] = _NO_SIGNATURE
        return part

    def _result(self, result: ToolResult, seen: list[JSON], place: str) -> JSON:
        """Write a result; what is no text follows behind all results, where every model takes it."""
        texts = [part.text for part in result.parts if isinstance(part, Text)]
        response: JSON = {
            "name": self._names.get(result.call_id) or result.name or result.call_id,
            "response": write_result("\n".join(texts), is_error=result.is_error),
        }
        if self._tells_call_ids and result.call_id:
            response["id"] = result.call_id
        media = []
        for part in result.parts:
            if isinstance(part, Text):
                continue
            written = write_media(part)
            if written is None:
                self._unsaid.append(f"{place}.content ({type(part).__name__.lower()} of a tool)")
            else:
                media.append(written)
        if media:
            seen.append({"text": f"Returned by the tool {response['name']}:"})
            seen += media
        return {"functionResponse": response}


def _arguments(text: str) -> msgspec.Raw:
    """Return the arguments as an object, which the model's text may fail to be."""
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError):
        return msgspec.Raw(_ENCODER.encode({"arguments": text}) if text.strip() else b"{}")
    return msgspec.Raw(text.encode())


def _tools(said: Conversation) -> JSON:
    declarations = []
    for tool in said.tools:
        declared: JSON = {"name": tool.name}
        if tool.description:
            declared["description"] = tool.description
        if bytes(tool.parameters):
            declared["parametersJsonSchema"] = tool.parameters
        declarations.append(declared)
    body: JSON = {"tools": [{"functionDeclarations": declarations}]}
    choice = said.tool_choice
    if choice is not None:
        calling: JSON = {"mode": {"auto": "AUTO", "none": "NONE", "any": "ANY", "tool": "ANY"}[choice.kind]}
        if choice.kind == "tool":
            calling["allowedFunctionNames"] = [choice.name]
        body["toolConfig"] = {"functionCallingConfig": calling}
    return body


def _config(said: Conversation, model: str, unsaid: list[str]) -> JSON:
    config: JSON = {}
    for field, name in _CONFIG.items():
        value = getattr(said, field)
        if value is not None:
            config[name] = value
    if said.stop:
        config["stopSequences"] = said.stop
    wanted = said.response_format
    if wanted is not None:
        config["responseMimeType"] = "application/json"
        if bytes(wanted.schema):
            config["responseJsonSchema"] = wanted.schema
    if said.reasoning is not None:
        thinking = write_thinking(said.reasoning, model)
        if thinking is not None:
            config["thinkingConfig"] = thinking
        elif not said.reasoning.off:
            unsaid.append("reasoning")
    return config
