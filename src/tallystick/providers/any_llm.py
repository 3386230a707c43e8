"""Mozilla's any-llm as a Library. Importing it takes long, so that `bootstrap` does it when a call needs it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from any_llm import AnyLLM
from any_llm.types.completion import CompletionParams
from pydantic import BaseModel

from tallystick.providers.library import LibraryCall
from tallystick.providers.library_stream import JSON, LibraryStream

_CLIENTS_MAX: Final = 256
_UNSUPPORTED: Final = "unsupported"


class AnyLLMLibrary:
    """The library's clients, one for each set of credentials; they keep connections. See Library."""

    def __init__(self) -> None:
        self._clients: dict[tuple[str, bytes], AnyLLM] = {}
        self.chat_fields = frozenset(CompletionParams.model_fields) - {"model_id", "stream"}

    async def chat(self, call: LibraryCall) -> JSON:
        """See Library."""
        client = await self._client(call)
        return _body(await client.acompletion(call.model, stream=False, **_said(call, client)))

    async def stream_chat(self, call: LibraryCall) -> LibraryStream:
        """See Library."""
        client = await self._client(call)
        return _Chunks(await client.acompletion(call.model, stream=True, **_said(call, client)))

    async def embed(self, call: LibraryCall) -> JSON:
        """See Library."""
        client = await self._client(call)
        fields = dict(call.fields)
        return _body(await client.aembedding(call.model, fields.pop("input"), **fields, **_headers(call)))

    async def aclose(self) -> None:
        """See Library."""
        while self._clients:
            _, client = self._clients.popitem()
            close = getattr(getattr(client, "client", None), "close", None)  # Each provider's SDK has its own, or none.
            closing = close() if callable(close) else None
            if inspect.isawaitable(closing):
                await closing

    async def _client(self, call: LibraryCall) -> AnyLLM:
        key = (call.provider, _ENCODER.encode(call.access))
        client = self._clients.get(key)
        if client is None:
            # It imports the provider's SDK, and reads certificates.
            made = await asyncio.to_thread(_create, call)
            if len(self._clients) >= _CLIENTS_MAX:
                self._clients.pop(next(iter(self._clients)))  # Calls that use it still do.
            client = self._clients.setdefault(key, made)
        return client


_ENCODER = msgspec.msgpack.Encoder()


class _Chunks:
    """A LibraryStream of any-llm's chunks."""

    def __init__(self, chunks: Any) -> None:  # Any: an iterator of the library's own classes.
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[JSON]:
        return self

    async def __anext__(self) -> JSON:
        return _body(await anext(self._chunks))

    async def aclose(self) -> None:
        """See LibraryStream."""
        await self._chunks.aclose()


def _create(call: LibraryCall) -> AnyLLM:
    retries = {} if AnyLLM.get_provider_class(call.provider).MAX_RETRIES_SUPPORT == _UNSUPPORTED else {"max_retries": 0}
    access = call.access
    return AnyLLM.create(
        call.provider,
        api_key=access.api_key or None,
        api_base=access.api_base or None,
        unified_exceptions=True,
        **{**retries, **access.params},
    )


def _said(call: LibraryCall, client: AnyLLM) -> dict[str, Any]:  # Any: JSON.
    timeout = {} if client.TIMEOUT_SUPPORT == _UNSUPPORTED else {"timeout": call.timeout_seconds}
    return {**call.fields, **_headers(call), **timeout}


def _headers(call: LibraryCall) -> dict[str, Any]:  # Any: one more keyword for the provider's SDK.
    return {"extra_headers": dict(call.access.headers)} if call.access.headers else {}


def _body(answer: Any) -> JSON:  # Any: a union of the library's classes; those of other calls have no place here.
    assert isinstance(answer, BaseModel), f"any-llm answered with a {type(answer).__name__}"
    return answer.model_dump(mode="json", exclude_none=True, warnings=False)
