"""The paths of calls: which endpoint a path is, and in which dialect its body is to be read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from tallystick.wire.anthropic_request import ANTHROPIC, parse_messages
from tallystick.wire.call_request import CallRequest, Endpoint
from tallystick.wire.openai_request import OPENAI, parse_request


class Parse(Protocol):
    """Checks the body of a request."""

    def __call__(self, endpoint: Endpoint, raw: bytes, *, model_in_path: str | None) -> CallRequest:
        """Return the request; a model in the path wins over one in the body. Raises BadRequest."""


class CallPath(NamedTuple):
    """What is asked for at a path."""

    endpoint: Endpoint
    dialect: str
    """In which errors are rendered, also of a body that can't be parsed."""
    parse: Parse
    upstream_headers: tuple[bytes, ...] = ()
    """Headers of the caller that an upstream of the same dialect is to get."""

    def read(self, raw: bytes, headers: Mapping[bytes, bytes], *, model: str | None) -> CallRequest:
        """Read a request; `model` is the one in the path. Raises BadRequest."""
        request = self.parse(self.endpoint, raw, model_in_path=model)
        if not self.upstream_headers:
            return request
        for name in self.upstream_headers:
            value = headers.get(name)
            if value is not None:
                request.upstream_headers = {**request.upstream_headers, name.decode(): value.decode("latin-1")}
        return request


def find_call(path: str) -> tuple[CallPath, str | None] | None:
    """Return what a path asks for, and the model that it names; None when it is no call's."""
    found = _CALLS.get(path)
    if found is not None:
        return found, None
    engine = _ENGINE_PATH.fullmatch(path)
    return None if engine is None else (_CALLS["/" + engine["endpoint"]], engine["model"])


_CHAT = CallPath("chat/completions", OPENAI, parse_request)
_COMPLETIONS = CallPath("completions", OPENAI, parse_request)
_EMBEDDINGS = CallPath("embeddings", OPENAI, parse_request)
_ANTHROPIC_HEADERS = (b"anthropic-version", b"anthropic-beta")
_MESSAGES = CallPath("messages", ANTHROPIC, parse_messages, _ANTHROPIC_HEADERS)
_COUNT_TOKENS = CallPath("messages/count_tokens", ANTHROPIC, parse_messages, _ANTHROPIC_HEADERS)
_CALLS: Mapping[str, CallPath] = {
    "/v1/chat/completions": _CHAT,
    "/chat/completions": _CHAT,
    "/v1/completions": _COMPLETIONS,
    "/completions": _COMPLETIONS,
    "/v1/embeddings": _EMBEDDINGS,
    "/embeddings": _EMBEDDINGS,
    "/v1/messages": _MESSAGES,
    "/v1/messages/count_tokens": _COUNT_TOKENS,
}
_ENGINE_PATH = re.compile(
    r"(?:/v1)?(?:/openai/deployments|/engines)/(?P<model>.+?)/(?P<endpoint>chat/completions|completions|embeddings)"
)
