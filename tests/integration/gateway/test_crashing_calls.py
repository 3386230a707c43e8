"""Calls in which something unexpected happens: each still ends as one event, at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway_kit import RunningGateway, running_gateway, scripted
from ledger_kit import value_of
from tallystick.calls import call as call_module
from tallystick.providers.base import Answer
from tallystick.wire.openai.reading import USAGE_HIDDEN
from tallystick.wire.usage import Usage

NOWHERE = "http://127.0.0.1:9/v1"
CHUNK = b'data: {"id":"x","choices":[{"delta":{"content":"abcd"}}]}\n\n'


class OneAnswer:
    """A provider that answers every call alike, or raises."""

    def __init__(self, answer: Answer | Exception) -> None:
        self._answer = answer

    async def send(self, _request: object, _target: object) -> Answer:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class Chunks:
    """Two chunks, then an error, or the end."""

    def __init__(self, error: Exception | None = None) -> None:
        self._left = 2
        self._error = error
        self.is_closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._left == 0:
            raise self._error or StopAsyncIteration
        self._left -= 1
        return CHUNK

    async def aclose(self) -> None:
        self.is_closed = True


def plain(body: bytes, content_type: str = "application/json") -> Answer:
    return Answer(status=200, content_type=content_type, headers={}, reading=USAGE_HIDDEN, body=body)


def streamed(chunks: Chunks, content_type: str = "text/event-stream") -> Answer:
    return Answer(status=200, content_type=content_type, headers={}, reading=USAGE_HIDDEN, chunks=chunks)


def answer_with(gateway: RunningGateway, answer: Answer | Exception) -> None:
    gateway.services.upstreams.providers["openai"] = OneAnswer(answer)


def assert_nothing_is_open(gateway: RunningGateway) -> None:
    assert gateway.services.ledger.journal.open_calls == 0
    assert value_of(gateway.metrics.open_calls) == 0


async def test_a_provider_that_crashes(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, scripted(NOWHERE, "gpt")) as gateway:
        answer_with(gateway, ValueError("a bug"))
        status, body, _ = await gateway.chat("gpt")
        event = await gateway.event()
        assert_nothing_is_open(gateway)

    assert status == 500
    assert b"a bug" not in body
    assert (event.status, event.error_class, event.usage_source) == ("failure", "InternalError", "estimated")
    assert event.cost_nano_usd > 0


async def test_a_stream_that_crashes(tmp_path: Path) -> None:
    chunks = Chunks(ValueError("a bug"))
    async with running_gateway(tmp_path, scripted(NOWHERE, "gpt")) as gateway:
        answer_with(gateway, streamed(chunks))
        with pytest.raises(aiohttp.ClientPayloadError):
            await gateway.chat("gpt", stream=True)
        event = await gateway.event()
        assert_nothing_is_open(gateway)

    assert (event.status, event.error_class) == ("failure", "InternalError")
    assert event.usage.output_tokens == 2
    assert chunks.is_closed


@pytest.mark.parametrize("fault", ["price", "journal"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_end_that_crashes(tmp_path: Path, monkeypatch: Any, fault: str, stream: bool) -> None:
    """The event can't be made, or not written: the call ends as its estimate."""
    body = b'{"id":"x","usage":{"prompt_tokens":7,"completion_tokens":3}}'
    usage_chunk = b'data: {"id":"x","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
    async with running_gateway(tmp_path, scripted(NOWHERE, "gpt")) as gateway:
        chunks = Chunks()
        answer_with(gateway, streamed(chunks) if stream else plain(body))
        if stream:
            monkeypatch.setattr(chunks, "_left", 0)
            monkeypatch.setattr(Chunks, "__anext__", _once(usage_chunk))
        if fault == "price":
            price = call_module.price_usage

            def crash(usage: Usage, *arguments: Any, **named: Any) -> Any:
                if usage.input_tokens == 7:
                    raise ZeroDivisionError
                return price(usage, *arguments, **named)

            monkeypatch.setattr(call_module, "price_usage", crash)
        else:
            journal = gateway.services.ledger.journal
            encode = journal._encode

            def refuse(event: Any) -> bytes:
                if event.usage.input_tokens == 7:
                    raise OverflowError
                return encode(event)

            monkeypatch.setattr(journal, "_encode", refuse)
        if stream:
            with pytest.raises(aiohttp.ClientPayloadError):
                await gateway.chat("gpt", stream=True)
        else:
            assert (await gateway.chat("gpt"))[0] == 500
        event = await gateway.event()
        assert_nothing_is_open(gateway)

    assert (event.status, event.error_class, event.usage_source) == ("failure", "InternalError", "estimated")
    assert event.cost_nano_usd > 0


def _once(chunk: bytes) -> Any:
    sent = []

    async def give(_chunks: Chunks) -> bytes:
        if sent:
            raise StopAsyncIteration
        sent.append(chunk)
        return chunk

    return give


@pytest.mark.parametrize("content_type", ["text/event-stream; x=\u20ac", "text/event-stream; x=\x7f"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_content_type_that_no_header_can_hold(tmp_path: Path, content_type: str, stream: bool) -> None:
    answer = streamed(Chunks(), content_type) if stream else plain(b'{"id":"x"}', content_type)
    async with running_gateway(tmp_path, scripted(NOWHERE, "gpt")) as gateway:
        answer_with(gateway, answer)
        status, _, headers = await gateway.chat("gpt", stream=stream)
        event = await gateway.event()
        assert_nothing_is_open(gateway)

    assert (status, headers["content-type"]) == (200, "text/event-stream; x=?")
    assert event.status == "success"


@pytest.mark.parametrize("client_leaves", [True, False])
async def test_a_server_that_stops_during_a_stream(tmp_path: Path, client_leaves: bool) -> None:
    """Also while the stream of a client that left is drained: the event is written before the journal is closed."""

    class Endless(Chunks):
        async def __anext__(self) -> bytes:
            if self._left == 0:
                await asyncio.sleep(3600)
            return await super().__anext__()

    config = scripted(NOWHERE, "gpt") | {"general_settings": {"on_client_disconnect": "drain"}}
    chunks = Endless()
    async with running_gateway(tmp_path, config) as gateway:
        answer_with(gateway, streamed(chunks))
        response = await gateway.open_stream("gpt")
        await response.content.readany()
        if client_leaves:
            response.close()
            await asyncio.sleep(0.05)
        stop_the_server()
        event = await gateway.event()
        assert_nothing_is_open(gateway)

    assert chunks.is_closed
    assert (event.status, event.error_class) == ("interrupted", "Interrupted")
    assert event.usage.output_tokens == 2


def stop_the_server() -> None:
    """Cancel what runs, as the server does when its time to stop is over."""
    for task in asyncio.all_tasks():
        if "run_asgi" in str(task.get_coro()):
            task.cancel()
