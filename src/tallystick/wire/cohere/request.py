"""A Conversation as Cohere's chat takes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from tallystick.wire.conversation import (
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
from tallystick.wire.data_url import data_url

JSON = dict[str, Any]  # Any: a body of many shapes that is encoded at once.

_NAMES: Final = {
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "p",
    "top_k": "k",
    "seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
"""Of fields that only have another name."""
_BUDGETS: Final = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384}
"""How many tokens of thought an effort is."""


def write_chat(said: Conversation, *, model: str) -> Written:
    """Return the body."""
    unsaid: list[str] = []
    body: JSON = {"model": model, "stream": said.stream, "messages": list(_messages(said, unsaid))}
    for field, name in _NAMES.items():
        value = getattr(said, field)
        if value is not None:
            body[name] = value
    if said.stop:
        body["stop_sequences"] = said.stop
    if said.tools:
        _write_tools(said, body, unsaid)
    if said.response_format is not None:
        body["response_format"] = {"type": "json_object"}
        if bytes(said.response_format.schema):
            body["response_format"]["json_schema"] = said.response_format.schema
    thinking = _thinking(said.reasoning)
    if thinking:
        body["thinking"] = thinking
    return Written(_ENCODER.encode(body), tuple(unsaid))


_ENCODER = msgspec.json.Encoder()


def _messages(said: Conversation, unsaid: list[str]) -> Iterator[JSON]:
    if said.system:
        yield {"role": "system", "content": "\n\n".join(text.text for text in said.system)}
    for number, message in enumerate(said.messages):
        place = f"messages.{number}.content"
        if message.role == "assistant":
            yield _assistant(message, place, unsaid)
        else:
            yield from _user(message, place, unsaid)


def _user(message: Message, place: str, unsaid: list[str]) -> Iterator[JSON]:
    """Results of tools are messages of their own, before what the user says."""
    content = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            yield {"role": "tool", "tool_call_id": part.call_id, "content": _result(part, place, unsaid)}
            continue
        block = _block(part)
        if block is None:
            unsaid.append(f"{place} ({type(part).__name__.lower()})")
        else:
            content.append(block)
    if content:
        yield {"role": "user", "content": _simplest(content)}


def _result(result: ToolResult, place: str, unsaid: list[str]) -> str:
    texts = []
    for part in result.parts:
        if isinstance(part, Text) or (isinstance(part, Document) and part.text):
            texts.append(part.text)
        else:
            unsaid.append(f"{place} ({type(part).__name__.lower()} of a tool)")
    return "\n".join(texts)


def _block(part: Part) -> JSON | None:
    """Return a part of a user's turn; None when there is none like it."""
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Document) and part.text:
        return {"type": "text", "text": part.text}
    if isinstance(part, Image):
        image: JSON = {"url": data_url(part.media_type, part.data) if part.data else part.url}
        if part.detail:
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}
    return None


def _simplest(content: list[JSON]) -> str | list[JSON]:
    """Return a single text as a string."""
    if len(content) == 1 and content[0]["type"] == "text":
        text: str = content[0]["text"]
        return text
    return content


def _assistant(message: Message, place: str, unsaid: list[str]) -> JSON:
    """Write an earlier answer. What was thought or said before a call of tools is the plan for it."""
    calls, content = [], []
    for part in message.parts:
        if isinstance(part, ToolCall):
            function = {"name": part.name, "arguments": part.arguments}
            calls.append({"id": part.id, "type": "function", "function": function})
        elif isinstance(part, Text | Refusal):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, Thinking):
            if part.text:
                content.append({"type": "thinking", "thinking": part.text})
        else:
            unsaid.append(f"{place} ({type(part).__name__.lower()})")
    if not calls:
        return {"role": "assistant", "content": _simplest(content) if content else ""}
    plan = "\n\n".join(block[block["type"]] for block in content)
    return {"role": "assistant", "tool_calls": calls, **({"tool_plan": plan} if plan else {})}


def _write_tools(said: Conversation, body: JSON, unsaid: list[str]) -> None:
    tools, choice = said.tools, said.tool_choice
    if choice is not None and choice.kind == "tool":
        tools = tuple(tool for tool in tools if tool.name == choice.name)  # One that must be called is the only one.
    body["tools"] = [_tool(tool) for tool in tools]
    if choice is not None and choice.kind != "auto":
        body["tool_choice"] = "NONE" if choice.kind == "none" else "REQUIRED"
    if all(tool.strict for tool in tools):
        body["strict_tools"] = True
    if said.parallel_tool_calls is False:
        unsaid.append("parallel_tool_calls")


def _tool(tool: Tool) -> JSON:
    schema = tool.parameters if bytes(tool.parameters) else {"type": "object", "properties": {}}
    function: JSON = {"name": tool.name, "parameters": schema}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _thinking(reasoning: Reasoning | None) -> JSON | None:
    if reasoning is None:
        return None
    if reasoning.off:
        return {"type": "disabled"}
    budget = reasoning.budget_tokens or _BUDGETS.get(reasoning.effort)
    return {"type": "enabled", **({} if budget is None else {"token_budget": budget})}
