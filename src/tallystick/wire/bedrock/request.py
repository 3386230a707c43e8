"""A Conversation as Bedrock's Converse takes it."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, Literal

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
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Written,
)

JSON = dict[str, Any]  # Any: a body of many shapes that is encoded at once.
Maker = Literal["claude", "nova", "gpt-oss", "mistral", "other", "unknown"]
"""Whose model it is: beside what Converse has in common, each has fields of its own. `unknown`: its name is an ARN."""

_MAKERS: Final[tuple[tuple[str, Maker], ...]] = (
    ("anthropic.", "claude"),
    ("amazon.nova", "nova"),
    ("openai.gpt-oss", "gpt-oss"),
    ("mistral.", "mistral"),
)
_IMAGE_FORMATS: Final = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENT_FORMATS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_TTLS: Final = ("5m", "1h")
_BUDGETS: Final = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384}
"""How many tokens of thought an effort is, for Claude: the same as where Anthropic itself serves it."""
_BUDGET_MIN: Final = 1024
_CALL_ID: Final = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9\s()\[\]-]+")
_DOCUMENT_NAME_MAX: Final = 180
_UNSAYABLE: Final = ("seed", "frequency_penalty", "presence_penalty")


def maker_of(model: str) -> Maker:
    """Return whose model it is: `anthropic.claude-…`, `eu.amazon.nova-…`, the ARN of a profile."""
    maker = next((maker for name, maker in _MAKERS if name in model), None)
    return maker or ("unknown" if model.startswith("arn:") else "other")


def write_converse(said: Conversation, *, model: str) -> Written:
    """Return the body, which is the same for a plain answer and a stream. Raises BadRequest for wrong arguments."""
    return _Writer(said, maker_of(model)).write()


class _Writer:
    """Writes one request."""

    def __init__(self, said: Conversation, maker: Maker) -> None:
        self._said = said
        self._maker = maker
        self._marks_caches = maker in ("claude", "nova", "unknown")
        self._unsaid: list[str] = []
        self._own: JSON = {}
        """Fields of the model's maker."""
        self._documents: set[str] = set()

    def write(self) -> Written:
        """Return the request."""
        said = self._said
        self._unsaid += (field for field in _UNSAYABLE if getattr(said, field) is not None)
        body: JSON = {"messages": list(self._messages())}
        if said.system:
            body["system"] = list(self._system())
        limits = self._limits()
        if limits:
            body["inferenceConfig"] = limits
        tools = self._tools()
        if tools:
            body["toolConfig"] = tools
        output = self._output(body)
        if output:
            body["outputConfig"] = output
        if said.top_k is not None:
            self._top_k(said.top_k)
        if self._own:
            body["additionalModelRequestFields"] = self._own
        return Written(_ENCODER.encode(body), tuple(self._unsaid))

    def _messages(self) -> Iterator[JSON]:
        """Roles must alternate, so that turns of one role become one. A turn with nothing in it is none."""
        written = (
            (message.role, list(self._content(message, f"messages.{number}")))
            for number, message in enumerate(self._said.messages)
        )
        for role, turns in groupby((turn for turn in written if turn[1]), key=itemgetter(0)):
            yield {"role": role, "content": [block for _, content in turns for block in content]}

    def _content(self, message: Message, place: str) -> Iterator[JSON]:
        for part in message.parts:
            if isinstance(part, Thinking) and not part.signature and not part.redacted:
                continue  # Thoughts are only taken back with the signature that they came with.
            if isinstance(part, Text) and not part.text.strip() and len(message.parts) > 1:
                continue  # Refused, and nothing is lost without.
            block = self._block(part, place)
            if block is None:
                self._unsaid.append(f"{place}.content ({type(part).__name__.lower()})")
                continue
            yield block
            if not isinstance(part, Audio | Thinking | Refusal) and part.cache is not None:
                yield from self._cache_point(part.cache)

    def _block(self, part: Part, place: str) -> JSON | None:
        """Return a part; None when there is none like it."""
        if isinstance(part, Text | Refusal):
            return {"text": part.text}
        if isinstance(part, Image):
            return _image(part)
        if isinstance(part, Document):
            return self._document(part)
        if isinstance(part, ToolCall):
            call = {"toolUseId": _call_id(part.id), "name": part.name, "input": _arguments(part, place)}
            return {"toolUse": call}
        if isinstance(part, ToolResult):
            return self._result(part, place)
        if isinstance(part, Thinking):
            thought: JSON = {"reasoningText": {"text": part.text, "signature": part.signature}}
            return {"reasoningContent": {"redactedContent": part.redacted} if part.redacted else thought}
        return {"audio": {"format": part.format, "source": {"bytes": part.data}}}

    def _result(self, result: ToolResult, place: str) -> JSON:
        content = []
        for part in result.parts:
            block = self._block(part, place)
            if block is None:
                self._unsaid.append(f"{place}.content ({type(part).__name__.lower()} of a tool)")
            else:
                content.append(block)
        written: JSON = {"toolUseId": _call_id(result.call_id), "content": content}
        if result.is_error:
            written["status"] = "error"
        return {"toolResult": written}

    def _document(self, document: Document) -> JSON | None:
        source: JSON
        form = _DOCUMENT_FORMATS.get(document.media_type.partition(";")[0])
        if document.text:
            form = form or "txt"
            source = {"bytes": b64encode(document.text.encode()).decode()}
        elif document.data:
            source = {"bytes": document.data}
        elif document.url.startswith("s3://"):
            form = form or document.url.rpartition(".")[2].lower()
            source = {"s3Location": {"uri": document.url}}
        else:
            return None
        if form not in _DOCUMENT_FORMATS.values():
            return None
        return {"document": {"format": form, "name": self._document_name(document.name), "source": source}}

    def _document_name(self, given: str) -> str:
        """Return a name of characters that are allowed. Each has its own, or they are refused."""
        words = _NOT_IN_NAMES.sub(" ", given.rpartition(".")[0] or given).split()
        name = " ".join(words)[:_DOCUMENT_NAME_MAX] or "document"
        number, free = 1, name
        while free in self._documents:
            number += 1
            free = f"{name} {number}"
        self._documents.add(free)
        return free

    def _cache_point(self, mark: CacheMark) -> Iterator[JSON]:
        if self._marks_caches:
            point: JSON = {"type": "default"}
            if mark.ttl in _TTLS:
                point["ttl"] = mark.ttl
            yield {"cachePoint": point}

    def _system(self) -> Iterator[JSON]:
        for text in self._said.system:
            if text.text.strip():
                yield {"text": text.text}
                if text.cache is not None:
                    yield from self._cache_point(text.cache)

    def _limits(self) -> JSON:
        said = self._said
        limits: JSON = {}
        if said.max_tokens is not None:
            limits["maxTokens"] = said.max_tokens
        if said.temperature is not None:
            limits["temperature"] = said.temperature
        if said.top_p is not None:
            limits["topP"] = said.top_p
        if said.stop:
            limits["stopSequences"] = said.stop
        return limits

    def _tools(self) -> JSON | None:
        said = self._said
        if not said.tools:
            return None
        choice = said.tool_choice
        if choice is not None and choice.kind == "none":
            if not any(isinstance(part, ToolCall | ToolResult) for each in said.messages for part in each.parts):
                return None  # Without any to choose from, none is chosen.
            self._unsaid.append("tool_choice")
        if said.parallel_tool_calls is False:
            self._unsaid.append("parallel_tool_calls")
        config: JSON = {"tools": [block for tool in said.tools for block in self._tool(tool)]}
        if choice is not None and choice.kind != "none":
            config["toolChoice"] = {choice.kind: {"name": choice.name} if choice.kind == "tool" else {}}
        return config

    def _tool(self, tool: Tool) -> Iterator[JSON]:
        schema = tool.parameters if bytes(tool.parameters) else {"type": "object", "properties": {}}
        written: JSON = {"name": tool.name, "inputSchema": {"json": schema}}
        if tool.description:
            written["description"] = tool.description
        if tool.strict:
            written["strict"] = True
        yield {"toolSpec": written}
        if tool.cache is not None and self._maker != "nova":  # Nova caches messages and system prompts only.
            yield from self._cache_point(tool.cache)

    def _output(self, body: JSON) -> JSON:
        said = self._said
        output: JSON = {}
        wanted = said.response_format
        if wanted is not None:
            if bytes(wanted.schema):
                schema = {"schema": bytes(wanted.schema).decode(), "name": wanted.name or "answer"}
                if wanted.description:
                    schema["description"] = wanted.description
                output["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": schema}}
            else:
                self._unsaid.append("response_format")
        if said.reasoning is not None:
            self._reason(said.reasoning, body, output)
        return output

    def _reason(self, reasoning: Reasoning, body: JSON, output: JSON) -> None:
        """Say how much to think, as the model's maker has it."""
        effort = reasoning.effort
        if reasoning.off:
            if self._maker in ("gpt-oss", "unknown"):
                self._unsaid.append("reasoning")
        elif self._maker == "claude":
            self._reason_as_claude(reasoning, body, output)
        elif self._maker == "nova" and effort:
            self._own["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": _three_levels(effort)}
        elif self._maker == "gpt-oss" and effort:
            self._own["reasoning_effort"] = _three_levels(effort)
        else:
            self._unsaid.append("reasoning")

    def _reason_as_claude(self, reasoning: Reasoning, body: JSON, output: JSON) -> None:
        if reasoning.adaptive:
            self._own["thinking"] = {"type": "adaptive"}
            if reasoning.effort:
                output["effort"] = reasoning.effort
            return
        budget, limit = reasoning.budget_tokens, self._said.max_tokens
        if budget is None:
            budget = _BUDGETS.get(reasoning.effort)
            if budget is None:
                self._unsaid.append("reasoning")
                return
            if limit is not None and limit <= budget:
                if limit <= _BUDGET_MIN:
                    return  # An effort is a wish; the caller's limit, which counts thoughts, is not.
                budget = _BUDGET_MIN
        elif limit is not None and limit <= budget:
            body["inferenceConfig"]["maxTokens"] = budget + limit
        self._own["thinking"] = {"type": "enabled", "budget_tokens": budget}

    def _top_k(self, top_k: int) -> None:
        if self._maker in ("claude", "mistral"):
            self._own["top_k"] = top_k
        elif self._maker == "nova":
            self._own["inferenceConfig"] = {"topK": top_k}
        else:
            self._unsaid.append("top_k")


_ENCODER = msgspec.json.Encoder()
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _image(image: Image) -> JSON | None:
    if image.data:
        form = _IMAGE_FORMATS.get(image.media_type)
        source: JSON = {"bytes": image.data}
    elif image.url.startswith("s3://"):
        form = image.url.rpartition(".")[2].lower().replace("jpg", "jpeg")
        source = {"s3Location": {"uri": image.url}}
    else:
        return None
    return {"image": {"format": form, "source": source}} if form in _IMAGE_FORMATS.values() else None


def _call_id(given: str) -> str:
    """Return an id of characters that are allowed: others' ids may be longer. The call and its result get the same."""
    return given if _CALL_ID.fullmatch(given) else f"call-{hashlib.sha256(given.encode()).hexdigest()[:32]}"


def _arguments(call: ToolCall, place: str) -> JSON:
    try:
        return _OBJECT.decode(call.arguments or "{}")
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadRequest(
            f"'{place}': the arguments of the call '{call.name[:64]}' are no JSON object.", param=place
        ) from error


def _three_levels(effort: str) -> str:
    if effort in ("minimal", "low"):
        return "low"
    return "medium" if effort == "medium" else "high"
