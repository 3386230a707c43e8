"""The Responses API as upstreams speak it: a Conversation becomes a request, answers become Replies and deltas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from tallystick.wire.conversation import (
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
    ToolCall,
    ToolResult,
    Written,
)
from tallystick.wire.data_url import data_url
from tallystick.wire.error_envelope import read_error_text
from tallystick.wire.openai.chat_upstream import effort_of
from tallystick.wire.reply import Reply
from tallystick.wire.reported import ReportedError
from tallystick.wire.responses.answer import read_response
from tallystick.wire.responses.request import RESPONSES
from tallystick.wire.responses.stream import ResponsesEvents
from tallystick.wire.stream_reader import SSEReader

JSON = dict[str, Any]  # Any: a body of many shapes that is encoded at once.

_NOT_HERE = ("top_k", "stop", "seed", "frequency_penalty", "presence_penalty")


class ResponsesUpstream:
    """The UpstreamDialect of `/v1/responses`. The upstream is told to keep nothing: the caller has the whole talk."""

    name = RESPONSES

    def write_request(self, conversation: Conversation, *, model: str) -> Written:
        """See UpstreamDialect."""
        said = conversation
        unsaid = [field for field in _NOT_HERE if getattr(said, field) not in (None, ())]
        body: JSON = {"model": model, "input": list(_items(said, unsaid)), "store": False}
        if said.system:
            body["instructions"] = "\n\n".join(text.text for text in said.system)
        if said.stream:
            body["stream"] = True
        if said.max_tokens is not None:
            body["max_output_tokens"] = said.max_tokens
        for field in ("temperature", "top_p", "user"):
            value = getattr(said, field)
            if value is not None:
                body[field] = value
        if said.tools:
            body.update(_tools(said))
        if said.response_format is not None:
            body["text"] = {"format": _format(said.response_format)}
        if said.reasoning is not None:
            body.update(_reasoning(said.reasoning))
        return Written(_ENCODER.encode(body), tuple(unsaid))

    def read_reply(self, body: bytes) -> Reply:
        """See UpstreamDialect."""
        return read_response(body)

    def stream_reader(self) -> SSEReader:
        """See UpstreamDialect."""
        return SSEReader(ResponsesEvents().read)

    def read_refusal(self, body: bytes) -> ReportedError:
        """See UpstreamDialect."""
        return read_error_text(body)


_ENCODER = msgspec.json.Encoder()


def _items(said: Conversation, unsaid: list[str]) -> Iterator[JSON]:
    for number, message in enumerate(said.messages):
        place = f"messages.{number}"
        if message.role == "assistant":
            yield from _assistant(message, place, unsaid)
        else:
            yield from _user(message, place, unsaid)


def _user(message: Message, place: str, unsaid: list[str]) -> Iterator[JSON]:
    """Results of tools are items of their own, before what the user says."""
    content: list[JSON] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            yield {"type": "function_call_output", "call_id": part.call_id, "output": _output(part, place, unsaid)}
        elif (written := _content(part, place, unsaid)) is not None:
            content.append(written)
    if content:
        yield {"type": "message", "role": "user", "content": content}


def _output(result: ToolResult, place: str, unsaid: list[str]) -> str | list[JSON]:
    if all(isinstance(part, Text) for part in result.parts):
        return "\n".join(part.text for part in result.parts if isinstance(part, Text))
    return [written for part in result.parts if (written := _content(part, place, unsaid)) is not None]


def _content(part: Part, place: str, unsaid: list[str]) -> JSON | None:
    """Return a part of a user's turn; None, and its name among what is unsaid, when there is none like it."""
    if isinstance(part, Text):
        return {"type": "input_text", "text": part.text}
    if isinstance(part, Image):
        url = data_url(part.media_type, part.data) if part.data else part.url
        return {"type": "input_image", "image_url": url, "detail": part.detail or "auto"}
    if isinstance(part, Document):
        if part.text:
            return {"type": "input_text", "text": part.text}
        if part.file_id:
            return {"type": "input_file", "file_id": part.file_id}
        if part.url:
            return {"type": "input_file", "file_url": part.url}
        name = part.name or "document.pdf"
        return {"type": "input_file", "filename": name, "file_data": data_url(part.media_type, part.data)}
    unsaid.append(f"{place}.content ({type(part).__name__.lower()})")
    return None


def _assistant(message: Message, place: str, unsaid: list[str]) -> Iterator[JSON]:
    """Write an earlier answer. Thoughts go back only with what the upstream gave to know them by."""
    content: list[JSON] = []
    for part in message.parts:
        if isinstance(part, Text | Refusal):
            content.append(
                {"type": "output_text", "text": part.text, "annotations": []}
                if isinstance(part, Text)
                else {"type": "refusal", "refusal": part.text}
            )
            continue
        if content:
            yield {"type": "message", "role": "assistant", "content": content}
            content = []
        if isinstance(part, ToolCall):
            yield {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments}
        elif isinstance(part, Thinking):
            if part.signature:
                summary = [{"type": "summary_text", "text": part.text}] if part.text else []
                yield {"type": "reasoning", "summary": summary, "encrypted_content": part.signature}
        else:
            unsaid.append(f"{place}.content ({type(part).__name__.lower()})")
    if content:
        yield {"type": "message", "role": "assistant", "content": content}


def _tools(said: Conversation) -> JSON:
    tools = []
    for tool in said.tools:
        # Unlike in chat completions, `strict` is the default here.
        function: JSON = {"type": "function", "name": tool.name, "strict": bool(tool.strict)}
        if tool.description:
            function["description"] = tool.description
        function["parameters"] = tool.parameters if bytes(tool.parameters) else {"type": "object", "properties": {}}
        tools.append(function)
    body: JSON = {"tools": tools}
    choice = said.tool_choice
    if choice is not None:
        body["tool_choice"] = (
            {"type": "function", "name": choice.name}
            if choice.kind == "tool"
            else {"auto": "auto", "none": "none", "any": "required"}[choice.kind]
        )
    if said.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = said.parallel_tool_calls
    return body


def _format(wanted: ResponseFormat) -> JSON:
    if not bytes(wanted.schema):
        return {"type": "json_object"}
    written: JSON = {"type": "json_schema", "name": wanted.name or "answer", "schema": wanted.schema}
    written["strict"] = bool(wanted.strict)
    if wanted.description:
        written["description"] = wanted.description
    return written


def _reasoning(wanted: Reasoning) -> JSON:
    """Ask for thoughts that can be sent back, since the upstream keeps nothing."""
    effort = effort_of(wanted)
    if not effort:
        return {}
    reasoning = {"effort": effort}
    if effort == "none":
        return {"reasoning": reasoning}
    if wanted.summary in ("auto", "concise", "detailed"):
        reasoning["summary"] = wanted.summary
    return {"reasoning": reasoning, "include": ["reasoning.encrypted_content"]}
