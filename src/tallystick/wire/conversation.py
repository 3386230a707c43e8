"""The neutral conversation: what a request says, in no dialect. Immutable; every translation goes through it.

A dialect reads its requests into a Conversation and writes a Conversation as its request. What a dialect has and this
form has not is named in `unsaid` by whoever reads it; what this form has and a dialect has not is named in
`Written.unsaid` by whoever writes it. See `wire.translation` for what becomes of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec


class CacheMark(msgspec.Struct, frozen=True):
    """The prompt is to be cached up to and with the part that bears this mark."""

    ttl: str = ""
    """`5m`, `1h`; '' leaves it to the provider."""


class Text(msgspec.Struct, frozen=True):
    """Plain text."""

    text: str
    cache: CacheMark | None = None


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """A picture, by address or as base64."""

    url: str = ""
    data: str = ""
    media_type: str = ""
    """Of `data`: image/png …"""
    detail: str = ""
    """`low`, `high`, `auto`; '' when the caller does not say."""
    cache: CacheMark | None = None


class Audio(msgspec.Struct, frozen=True, kw_only=True):
    """Sound, as base64."""

    data: str
    format: str
    """`wav`, `mp3` …"""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A file to read: by address, as base64, as plain text, or by the id that the provider gave it."""

    url: str = ""
    data: str = ""
    text: str = ""
    file_id: str = ""
    media_type: str = ""
    """Of `data`: application/pdf …"""
    name: str = ""
    cache: CacheMark | None = None


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """The model asks for a tool."""

    id: str
    name: str
    arguments: str
    """A JSON object, as text, as the model wrote it."""
    signature: str = ""
    """What some providers want back with the call: Gemini's thought signature."""
    cache: CacheMark | None = None


class ToolResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool gave back."""

    call_id: str
    parts: tuple[Text | Image | Document, ...]
    name: str = ""
    """The tool's name, where the dialect tells it."""
    is_error: bool = False
    cache: CacheMark | None = None


class Thinking(msgspec.Struct, frozen=True, kw_only=True):
    """What the model thought. Providers take it back only with the signature that they gave it."""

    text: str = ""
    signature: str = ""
    redacted: str = ""
    """Thoughts that only the provider can read; then there is no text."""


class Refusal(msgspec.Struct, frozen=True):
    """The model says that it will not answer."""

    text: str


Part = Text | Image | Audio | Document | ToolCall | ToolResult | Thinking | Refusal


class Message(msgspec.Struct, frozen=True):
    """One turn. Results of tools are parts of the user's turn, whatever role a dialect gives them."""

    role: Literal["user", "assistant"]
    parts: tuple[Part, ...]
    name: str = ""
    """Which of several speakers of that role."""


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call."""

    name: str
    description: str = ""
    parameters: msgspec.Raw = msgspec.Raw()
    """Its JSON schema; empty when there is none."""
    strict: bool | None = None
    cache: CacheMark | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """`auto`, `none`, `any` (some tool must be called), or `tool`, which is `name`."""

    kind: Literal["auto", "none", "any", "tool"]
    name: str = ""


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True):
    """JSON is asked for: of this schema, or of any when there is none."""

    schema: msgspec.Raw = msgspec.Raw()
    name: str = ""
    description: str = ""
    strict: bool | None = None


class Reasoning(msgspec.Struct, frozen=True, kw_only=True):
    """How much the model is to think. Dialects say it by effort or by budget; a writer turns one into the other."""

    effort: str = ""
    """`none`, `minimal`, `low`, `medium`, `high`, `xhigh`, `max`; '' when only a budget is given."""
    budget_tokens: int | None = None
    adaptive: bool = False
    """The model decides."""
    off: bool = False
    """It is not to think."""
    summary: str = ""
    """How much of it is shown; the dialect's own word."""


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """One request, in no dialect. None means that the caller did not say."""

    messages: tuple[Message, ...]
    system: tuple[Text, ...] = ()
    """All system prompts in their order, wherever in the conversation they stood."""
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    response_format: ResponseFormat | None = None
    reasoning: Reasoning | None = None
    user: str | None = None
    """The caller's name for its end user."""
    metadata: Mapping[str, str] = {}
    stream: bool = False
    unsaid: tuple[str, ...] = ()
    """Fields of the caller's request that change the answer and have no place here, as paths: `logit_bias`."""


class Written(msgspec.Struct, frozen=True):
    """A conversation as the body of a request."""

    body: bytes
    unsaid: tuple[str, ...] = ()
    """What the dialect can't say, by the names of Conversation's fields."""
    headers: Mapping[str, str] = {}
    """What the dialect says in headers."""
