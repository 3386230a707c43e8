"""The paths of calls: which endpoint a path is, and in which dialect its body is to be read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, Protocol
from urllib.parse import unquote_plus

from tallystick.wire.anthropic.request import ANTHROPIC, parse_messages
from tallystick.wire.call_request import MEDIA, CallRequest, Endpoint
from tallystick.wire.form import is_form
from tallystick.wire.gemini.request import (
    GEMINI,
    GEMINI_ARRAY,
    parse_gemini,
    parse_gemini_array,
    parse_gemini_stream,
)
from tallystick.wire.media.request import parse_media, parse_media_form
from tallystick.wire.openai.request import OPENAI, parse_request
from tallystick.wire.responses.request import RESPONSES, parse_responses


class Parse(Protocol):
    """Checks the body of a request."""

    def __call__(self, endpoint: Endpoint, raw: bytes, *, model_in_path: str | None) -> CallRequest:
        """Return the request; a model in the path wins over one in the body. Raises BadRequest."""


class ParseForm(Protocol):
    """Checks a request that is a form."""

    def __call__(self, endpoint: Endpoint, raw: bytes, *, content_type: str, model_in_path: str | None) -> CallRequest:
        """Return the request; see Parse."""


class CallPath(NamedTuple):
    """What is asked for at a path."""

    endpoint: Endpoint
    dialect: str
    """In which errors are rendered, also of a body that can't be parsed."""
    parse: Parse
    parse_form: ParseForm | None = None
    """Of endpoints that take forms."""
    upstream_headers: tuple[bytes, ...] = ()
    """Headers of the caller that an upstream of the same dialect is to get."""

    def read(self, raw: bytes, headers: Mapping[bytes, bytes], *, model: str | None) -> CallRequest:
        """Read a request; `model` is the one in the path. Raises BadRequest."""
        if self.parse_form is not None and is_form(content_type := headers.get(b"content-type", b"").decode("latin-1")):
            return self.parse_form(self.endpoint, raw, content_type=content_type, model_in_path=model)
        request = self.parse(self.endpoint, raw, model_in_path=model)
        if not self.upstream_headers:
            return request
        for name in self.upstream_headers:
            value = headers.get(name)
            if value is not None:
                request.upstream_headers = {**request.upstream_headers, name.decode(): value.decode("latin-1")}
        return request


def find_call(path: str, query: bytes = b"") -> tuple[CallPath, str | None] | None:
    """Return what a path asks for, and the model that it names; None when it is no call's."""
    found = _CALLS.get(path)
    if found is not None:
        return found, None
    engine = _ENGINE_PATH.fullmatch(path)
    if engine is not None:
        return _CALLS["/" + engine["endpoint"]], engine["model"]
    google = _GOOGLE_PATH.fullmatch(path)
    if google is None:
        return None
    method = google["method"]
    if method == "streamGenerateContent":
        return (_EVENTS if _ALT_SSE.search(query) else _ARRAY), google["model"]
    return _GOOGLE_CALLS[method], google["model"]


def key_in_query(query: bytes) -> str | None:
    """Return the key that Google's clients may put into the address."""
    found = _KEY.search(query)
    return unquote_plus(found[1].decode("latin-1")) if found is not None else None


_CHAT = CallPath("chat/completions", OPENAI, parse_request)
_COMPLETIONS = CallPath("completions", OPENAI, parse_request)
_EMBEDDINGS = CallPath("embeddings", OPENAI, parse_request)
_ANTHROPIC_HEADERS = (b"anthropic-version", b"anthropic-beta")
_RESPONSES = CallPath("responses", RESPONSES, parse_responses)
_COMPACT = CallPath("responses/compact", RESPONSES, parse_responses)
_RESPONSES_INPUT = CallPath("responses/input_tokens", RESPONSES, parse_responses)
_MESSAGES = CallPath("messages", ANTHROPIC, parse_messages, upstream_headers=_ANTHROPIC_HEADERS)
_COUNT_TOKENS = CallPath("messages/count_tokens", ANTHROPIC, parse_messages, upstream_headers=_ANTHROPIC_HEADERS)
_MEDIA: Mapping[str, CallPath] = {
    endpoint: CallPath(endpoint, OPENAI, parse_media, parse_media_form) for endpoint in sorted(MEDIA)
}
_CALLS: Mapping[str, CallPath] = {
    **{f"/v1/{endpoint}": call for endpoint, call in _MEDIA.items()},
    **{f"/{endpoint}": call for endpoint, call in _MEDIA.items()},
    "/v2/rerank": _MEDIA["rerank"],
    "/v1/chat/completions": _CHAT,
    "/chat/completions": _CHAT,
    "/v1/completions": _COMPLETIONS,
    "/completions": _COMPLETIONS,
    "/v1/embeddings": _EMBEDDINGS,
    "/embeddings": _EMBEDDINGS,
    "/v1/responses": _RESPONSES,
    "/responses": _RESPONSES,
    "/v1/responses/compact": _COMPACT,
    "/responses/compact": _COMPACT,
    "/v1/responses/input_tokens": _RESPONSES_INPUT,
    "/responses/input_tokens": _RESPONSES_INPUT,
    "/v1/messages": _MESSAGES,
    "/v1/messages/count_tokens": _COUNT_TOKENS,
}
_ENGINE_PATH = re.compile(
    r"(?:/v1)?(?:/openai/deployments|/engines)/(?P<model>.+?)/"
    r"(?P<endpoint>chat/completions|completions|embeddings|images/(?:generations|edits)"
    r"|audio/(?:transcriptions|translations|speech))"
)
_EVENTS = CallPath("generateContent", GEMINI, parse_gemini_stream)
_ARRAY = CallPath("generateContent", GEMINI_ARRAY, parse_gemini_array)
_GOOGLE_CALLS: Mapping[str, CallPath] = {
    "generateContent": CallPath("generateContent", GEMINI, parse_gemini),
    "countTokens": CallPath("countTokens", GEMINI, parse_gemini),
    "batchEmbedContents": CallPath("batchEmbedContents", GEMINI, parse_gemini),
    "embedContent": CallPath("embedContent", GEMINI, parse_gemini),
}
_GOOGLE_PATH = re.compile(
    r"(?:/v1(?:beta|alpha)?)?/models/(?P<model>.+):"
    r"(?P<method>generateContent|streamGenerateContent|countTokens|batchEmbedContents|embedContent)"
)
_ALT_SSE = re.compile(rb"(?:^|&)(?:%24|\$)?alt=sse(?:&|$)")
_KEY = re.compile(rb"(?:^|&)key=([^&]+)")
