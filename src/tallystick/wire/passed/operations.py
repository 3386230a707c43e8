"""What a path of a provider's own API asks for, and how its answer is read. What is not known here passes unmetered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote

from tallystick.wire.anthropic.reading import PASSED_THROUGH as ANTHROPIC_READING
from tallystick.wire.anthropic.request import ANTHROPIC
from tallystick.wire.call_request import Endpoint
from tallystick.wire.dialect import Reading
from tallystick.wire.gemini.native import GeminiReading
from tallystick.wire.gemini.request import GEMINI, GEMINI_ARRAY
from tallystick.wire.native_reading import COUNTED, NativeReading
from tallystick.wire.openai.reading import USAGE_SHOWN
from tallystick.wire.openai.request import OPENAI
from tallystick.wire.passed.readings import COHERE_CHAT, COHERE_PLAIN, CONVERSE, INVOCATION, OPAQUE, OPENAI_OTHERS
from tallystick.wire.responses.answer import read_facts as read_response
from tallystick.wire.responses.request import RESPONSES
from tallystick.wire.responses.stream import ResponsesEvents

Prefix = Literal["openai", "anthropic", "gemini", "vertex_ai", "bedrock", "cohere"]
PREFIXES: Final[Mapping[Prefix, str]] = {
    "openai": OPENAI,
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
    "vertex_ai": GEMINI,
    "bedrock": OPENAI,
    "cohere": OPENAI,
}
"""Beginnings of paths that stand for a provider's API, and the dialect in which errors of ours are told there."""


class Operation(NamedTuple):
    """What is asked for."""

    label: str
    """What events call it; there are few of them, whatever callers ask for."""
    plain: Reading = OPAQUE
    stream: Reading = OPAQUE
    endpoint: Endpoint = "pass_through"
    dialect: str = ""
    """In which a stream can tell of an error; '': in none."""
    model: str = ""
    """The one in the path."""
    is_stream: bool = False
    """The path says so."""
    as_array: bool = False
    """Google's stream as one array: asked for as events, which can be read as they come."""


def find_operation(prefix: Prefix, path: str, query: str) -> Operation:
    """Return what a path below a prefix asks for; the path is as in the request, without a slash at its begin."""
    path = _as_read(path)
    compatible = None if prefix == "openai" else _COMPATIBLE.search(path)
    if compatible is not None:
        known = _KNOWN["openai"][compatible["endpoint"]]
        return known._replace(label=f"/{prefix}/{known.label}")
    if prefix in ("gemini", "vertex_ai"):
        return _at_google(prefix, path, query)
    if prefix == "bedrock":
        return _at_bedrock(path)
    found = _KNOWN[prefix].get(_VERSION.sub("", path.lower()))
    label = "/" + prefix
    if found is None:
        return Operation(label, plain=_OTHERS[prefix])
    return found._replace(label=f"{label}/{found.label}")


def _as_read(path: str) -> str:
    """Return a path as a server reads it: no escape, no parameter of a part and no last slash makes it another one."""
    while (plain := unquote(path)) != path:
        path = plain
    return "/".join(part.partition(";")[0] for part in path.split("/")).rstrip("/")


def _at_google(prefix: Prefix, path: str, query: str) -> Operation:
    found = _GOOGLE.search(path)
    label = "/" + prefix
    if found is None:
        return Operation(label)
    method, model = found["method"], found["model"]
    if found["publisher"] == "anthropic":
        streams = method == "streamRawPredict"
        return Operation(
            f"{label}/rawPredict", ANTHROPIC_READING, ANTHROPIC_READING, "messages", ANTHROPIC, model, streams
        )
    if method == "streamGenerateContent":
        as_array = _ALT_SSE.search(query) is None
        streamed = GeminiReading(as_array=as_array)
        dialect = GEMINI_ARRAY if as_array else GEMINI
        return Operation(
            f"{label}/generateContent", streamed, streamed, "generateContent", dialect, model, True, as_array
        )
    endpoint = _GOOGLE_ENDPOINTS.get(method)
    if endpoint is None:
        return Operation(label, model=model)
    reading: Reading = COUNTED if endpoint == "countTokens" else GeminiReading(as_array=False)
    return Operation(f"{label}/{method}", reading, reading, endpoint, GEMINI, model)


def _at_bedrock(path: str) -> Operation:
    found = _BEDROCK.fullmatch(path)
    if found is None:
        return Operation("/bedrock")
    model, method = found["model"], found["method"]
    if method == "count-tokens":
        return Operation("/bedrock/count-tokens", COUNTED, endpoint="countTokens", model=model)
    streams = method in ("converse-stream", "invoke-with-response-stream")
    if method.startswith("converse"):
        return Operation("/bedrock/converse", CONVERSE, CONVERSE, "chat/completions", model=model, is_stream=streams)
    plain: Reading = ANTHROPIC_READING if "anthropic." in model else OPAQUE
    return Operation("/bedrock/invoke", plain, INVOCATION, "chat/completions", model=model, is_stream=streams)


_VERSION: Final = re.compile(r"^v\d+(?:alpha|beta)?\d*/")
_COMPATIBLE: Final = re.compile(r"(?:^|/)(?P<endpoint>chat/completions|embeddings|responses)$")
"""What others than OpenAI have in its dialect, below a path of their own."""
_ALT_SSE: Final = re.compile(r"(?:^|&)(?:%24|\$)?alt=sse(?:&|$)")
_GOOGLE: Final = re.compile(
    r"(?:^|/)(?:publishers/(?P<publisher>[a-z0-9-]+)/)?(?:models|tunedModels|endpoints)/(?P<model>[^:/]+):(?P<method>[A-Za-z]+)$"
)
_GOOGLE_ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    "generateContent": "generateContent",
    "countTokens": "countTokens",
    "embedContent": "embedContent",
    "batchEmbedContents": "batchEmbedContents",
}
_BEDROCK: Final = re.compile(
    r"model/(?P<model>[^/]+)/(?P<method>converse|converse-stream|invoke|invoke-with-response-stream|count-tokens)"
)
_RESPONSES: Final = NativeReading(read_facts=read_response, stream_events=lambda: ResponsesEvents().read)
_KNOWN: Final[Mapping[str, Mapping[str, Operation]]] = {
    "openai": {
        endpoint: Operation(endpoint, USAGE_SHOWN, USAGE_SHOWN, endpoint, OPENAI)
        for endpoint in ("chat/completions", "completions", "embeddings")
    }
    | {
        "responses": Operation("responses", _RESPONSES, _RESPONSES, "responses", RESPONSES),
        "responses/compact": Operation("responses/compact", _RESPONSES, _RESPONSES, "responses/compact", RESPONSES),
        "responses/input_tokens": Operation("responses/input_tokens", COUNTED, COUNTED, "responses/input_tokens"),
    },
    "anthropic": {
        "messages": Operation("messages", ANTHROPIC_READING, ANTHROPIC_READING, "messages", ANTHROPIC),
        "messages/count_tokens": Operation(
            "messages/count_tokens", COUNTED, COUNTED, "messages/count_tokens", ANTHROPIC
        ),
    },
    "cohere": {
        "chat": Operation("chat", COHERE_PLAIN, COHERE_CHAT, "chat/completions"),
        "generate": Operation("generate", COHERE_PLAIN, OPAQUE),
        "embed": Operation("embed", COHERE_PLAIN, OPAQUE, "embeddings"),
        "rerank": Operation("rerank", COHERE_PLAIN, OPAQUE),
    },
}
_OTHERS: Final[Mapping[str, Reading]] = {"openai": OPENAI_OTHERS, "anthropic": OPAQUE, "cohere": OPAQUE}
