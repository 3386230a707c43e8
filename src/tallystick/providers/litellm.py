"""LiteLLM's SDK as a Library. Importing it takes seconds and 300 MB, so that `bootstrap` does it when it is needed.

It is not to log, count, cache, retry or fall back: that is the gateway's work. What it can only be told for the whole
process is told in `LiteLLMLibrary.__init__`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any, Final

import litellm

from tallystick.providers.library import LibraryCall
from tallystick.providers.library_stream import JSON, LibraryStream

_CHAT_FIELDS: Final = frozenset((
    "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens",
    "max_tokens", "messages", "modalities", "n", "parallel_tool_calls", "prediction", "presence_penalty",
    "prompt_cache_key", "reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier", "stop",
    "stream_options", "temperature", "thinking", "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity",
    "web_search_options",
))  # fmt: skip
"""By name, because what LiteLLM takes by the same way decides where the call goes, and with whose key."""
_LOGGERS: Final = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")


class LiteLLMLibrary:
    """The library, silenced. It keeps connections by itself. See Library."""

    chat_fields = _CHAT_FIELDS

    def __init__(self) -> None:
        litellm.suppress_debug_info = True  # It prints otherwise.
        litellm.set_verbose = False
        litellm.turn_off_message_logging = True
        litellm.disable_streaming_logging = True
        litellm.drop_params = False
        litellm.modify_params = False
        litellm.num_retries = 0
        litellm.cache = None
        litellm.user_url_validation = True  # It fetches pictures by their address: never from private ones.
        for callbacks in ("callbacks", "input_callback", "success_callback", "failure_callback", "service_callback"):
            setattr(litellm, callbacks, [])
        for name in _LOGGERS:
            logging.getLogger(name).disabled = True  # What goes wrong is raised; a line could hold a prompt.

    async def chat(self, call: LibraryCall) -> JSON:
        """See Library."""
        return _body(await litellm.acompletion(stream=False, **call.fields, **_access(call)))

    async def stream_chat(self, call: LibraryCall) -> LibraryStream:
        """See Library."""
        return _Chunks(await litellm.acompletion(stream=True, **call.fields, **_access(call)))

    async def embed(self, call: LibraryCall) -> JSON:
        """See Library."""
        return _body(await litellm.aembedding(**call.fields, **_access(call)))

    async def aclose(self) -> None:
        """See Library."""
        await litellm.close_litellm_async_clients()


class _Chunks:
    """A LibraryStream of LiteLLM's chunks."""

    def __init__(self, chunks: Any) -> None:  # Any: the library's own class.
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[JSON]:
        return self

    async def __anext__(self) -> JSON:
        return _body(await anext(self._chunks))

    async def aclose(self) -> None:
        """See LibraryStream."""
        await self._chunks.aclose()


def _access(call: LibraryCall) -> dict[str, Any]:  # Any: keywords of many kinds.
    access = call.access
    headers = {"extra_headers": dict(access.headers)} if access.headers else {}
    return {
        **access.params,
        **headers,
        "model": f"{call.provider}/{call.model}",
        "api_key": access.api_key or None,
        "api_base": access.api_base or None,
        "timeout": call.timeout_seconds,
        "max_retries": 0,
        "num_retries": 0,
        "no-log": True,
    }


def _body(answer: Any) -> JSON:  # Any: the library's own classes.
    body: JSON = answer.model_dump(mode="json", exclude_none=True, warnings=False)
    return body
