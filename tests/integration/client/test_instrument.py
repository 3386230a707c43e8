"""Official clients, instrumented: what the ledger has of their calls is what it has of calls through the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import structlog
from aiohttp import web

import tallystick
from gateway_kit import running_gateway
from tallystick.bootstrap import open_store
from tallystick.config.load import load_settings
from tallystick.errors import ConfigError
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.store import EventFilter
from tallystick.runtime.clock import SystemClock
from upstream import Upstream, running_upstream

RECORDINGS = Path(__file__).resolve().parents[2] / "recordings"
ASKED: Any = [{"role": "user", "content": "Who owes whom?"}]
COMPARED = ("status", "provider", "model", "provider_response_id", "endpoint", "call_type")
COUNTED = ("usage_source", "usage", "cost_nano_usd", "cost_status", "cost_breakdown")
FAILED = ("error_class", "error_code", "error_message")


def recorded(name: str, path_end: str) -> list[dict[str, Any]]:
    lines = (RECORDINGS / f"{name}.jsonl").read_text().splitlines()
    return [each for each in map(json.loads, lines) if each["path"].endswith(path_end)]


class Ledger:
    """A client of ours on a database of its own, and what it has recorded."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.officials: list[Any] = []
        self.client = tallystick.Client(home=home, journal_sync="write")

    async def events(self) -> list[SpendEvent]:
        await asyncio.to_thread(self.client.flush)
        settings = load_settings(config_file=None, overrides={"home": str(self.home)}, environ={})
        store = open_store(settings, clock=SystemClock())
        try:
            page = await store.reader.events_after("", limit=1000, where=EventFilter())
            assert (await store.auditor.audit()).differences == ()
            return [each.event for each in page.events]
        finally:
            await store.close()

    async def event(self) -> SpendEvent:
        (event,) = await self.events()
        return event


@asynccontextmanager
async def ledger_in(home: Path) -> AsyncIterator[Ledger]:
    ledger = Ledger(home)
    try:
        yield ledger
    finally:
        for official in ledger.officials:
            closing = official.close()
            if closing is not None:
                await closing
        await asyncio.to_thread(ledger.client.close)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with ledger_in(tmp_path / "sdk") as opened:
        yield opened


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as running:
        yield running


def replaying(upstream: Upstream) -> Callable[[dict[str, Any]], None]:
    """Return what makes the upstream answer with a recorded exchange."""

    def replay(exchange: dict[str, Any]) -> None:
        async def answer(_request: web.Request, _body: dict[str, Any]) -> web.Response:
            headers = {"content-type": exchange["content_type"]}
            return web.Response(body=exchange["body"].encode(), status=exchange["status"], headers=headers)

        upstream.answer = answer

    return replay


def openai_client(kind: Any, upstream: Upstream, ledger: Ledger, **options: Any) -> Any:
    official = kind(api_key="sk-theirs", base_url=upstream.url, max_retries=0)
    ledger.officials.append(official)
    return tallystick.instrument(official, into=ledger.client, **options)


async def through_gateway(
    home: Path, upstream: Upstream, exchanges: list[dict[str, Any]], path: str
) -> list[SpendEvent]:
    """Return the events of the same calls, made at a gateway."""
    replay = replaying(upstream)
    providers = {exchange["provider"] for exchange in exchanges}
    entries = [
        {"model_name": f"{name}/*", "litellm_params": {"model": f"{name}/*", "api_base": upstream.url, "api_key": "k"}}
        for name in providers
    ]
    home.mkdir()
    async with running_gateway(home, {"model_list": entries}) as gateway:
        for number, exchange in enumerate(exchanges):
            replay(exchange)
            model = f"{exchange['provider']}/{exchange['request']['model']}"
            await gateway.post(path, {**exchange["request"], "model": model})
            await gateway.events(number + 1)
        return [each.event for each in await gateway.events(len(exchanges))]


def assert_same(mine: list[SpendEvent], theirs: list[SpendEvent]) -> None:
    assert len(mine) == len(theirs)
    for own, other in zip(mine, theirs, strict=True):
        # An estimate goes by the bytes of the request, which the official clients write in their own way.
        counted = ("usage_source",) if own.usage_source == "estimated" else COUNTED
        for name in (*COMPARED, *FAILED, *counted):
            assert getattr(own, name) == getattr(other, name), (name, own, other)


@pytest.mark.parametrize("is_async", [False, True])
async def test_chats_are_recorded_as_through_the_gateway(
    tmp_path: Path, upstream: Upstream, ledger: Ledger, *, is_async: bool
) -> None:
    exchanges = [each for each in recorded("exchanges", "chat/completions") if each["provider"] != "huggingface"]
    theirs = await through_gateway(tmp_path / "gateway", upstream, exchanges, "/v1/chat/completions")
    replay = replaying(upstream)
    for exchange in exchanges:
        replay(exchange)
        kind = openai.AsyncOpenAI if is_async else openai.OpenAI
        client = openai_client(kind, upstream, ledger, provider=exchange["provider"])
        request = {**exchange["request"]}
        known = {name: request.pop(name) for name in ("model", "messages", "stream") if name in request}
        await ask(client.chat.completions.create, is_async=is_async, extra_body=request, **known)

    assert_same(await ledger.events(), theirs)


async def ask(create: Any, *, is_async: bool, **arguments: Any) -> None:
    """Make one call and read its answer to the end; that it fails is for the ledger to tell."""

    def wait() -> None:
        answer = create(**arguments)
        if arguments.get("stream"):
            for _ in answer:
                pass

    try:
        if not is_async:
            await asyncio.to_thread(wait)
            return
        answer = await create(**arguments)
        if arguments.get("stream"):
            async for _ in answer:
                pass
    except (openai.APIError, anthropic.APIError):
        return


@pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")
@pytest.mark.parametrize("is_async", [False, True])
async def test_messages_are_recorded_as_through_the_gateway(
    tmp_path: Path, upstream: Upstream, ledger: Ledger, *, is_async: bool
) -> None:
    exchanges = recorded("anthropic", "/messages")
    theirs = await through_gateway(tmp_path / "gateway", upstream, exchanges, "/v1/messages")
    kind = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
    client = kind(api_key="theirs", base_url=upstream.url.removesuffix("/v1"), max_retries=0)
    ledger.officials.append(client)
    assert tallystick.instrument(client, into=ledger.client) is client
    replay = replaying(upstream)
    for exchange in exchanges:
        replay(exchange)
        request = {**exchange["request"]}
        known = {name: request.pop(name) for name in ("model", "messages", "max_tokens", "stream") if name in request}
        known.setdefault("max_tokens", 64)
        await ask(client.messages.create, is_async=is_async, extra_body=request, **known)

    assert_same(await ledger.events(), theirs)


async def test_responses_are_recorded_as_through_the_gateway(
    tmp_path: Path, upstream: Upstream, ledger: Ledger
) -> None:
    exchanges = [each for each in recorded("responses", "/responses") if "previous_response_id" not in each["request"]]
    exchanges = [each for each in exchanges if not each["request"].get("background")]
    theirs = await through_gateway(tmp_path / "gateway", upstream, exchanges, "/v1/responses")
    replay = replaying(upstream)
    for exchange in exchanges:
        replay(exchange)
        client = openai_client(openai.AsyncOpenAI, upstream, ledger, provider=exchange["provider"])
        request = {**exchange["request"]}
        known = {name: request.pop(name) for name in ("model", "input", "stream") if name in request}
        await ask(client.responses.create, is_async=True, extra_body=request, **known)

    assert_same(await ledger.events(), theirs)


async def test_a_stream_asks_for_usage_and_hides_it(upstream: Upstream, ledger: Ledger) -> None:
    client = openai_client(openai.AsyncOpenAI, upstream, ledger)

    chunks = [each async for each in await client.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True)]

    assert all(chunk.choices for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "The stick has two halves."
    assert upstream.requests[0]["stream_options"] == {"include_usage": True}
    event = await ledger.event()
    assert (event.status, event.usage_source, event.usage.output_tokens) == ("success", "provider", 6)
    assert event.first_token_at is not None
    assert event.cost_nano_usd == 12 * 2_500 + 6 * 10_000


async def test_who_asks_for_usage_sees_it_and_who_must_not_is_left_alone(upstream: Upstream, ledger: Ledger) -> None:
    client = openai_client(openai.OpenAI, upstream, ledger, asks_usage=False)
    options: Any = {"model": "gpt-4o", "messages": ASKED, "stream": True}

    seen = await asyncio.to_thread(
        lambda: list(client.chat.completions.create(**options, stream_options={"include_usage": True}))
    )
    await asyncio.to_thread(lambda: list(client.chat.completions.create(**options)))

    assert seen[-1].usage.completion_tokens == 6
    assert "stream_options" not in upstream.requests[1]
    assert [event.usage_source for event in await ledger.events()] == ["provider", "estimated"]


async def test_whatever_way_leads_to_a_call_is_recorded_once(upstream: Upstream, ledger: Ledger) -> None:
    client = openai_client(openai.OpenAI, upstream, ledger)
    client = tallystick.instrument(client, into=ledger.client)  # Again: it counts once all the same.
    asked: Any = {"model": "gpt-4o", "messages": ASKED}

    def calls() -> None:
        raw = client.chat.completions.with_raw_response.create(**asked)
        assert raw.parse().choices[0].message.content == "The stick has two halves."
        with client.chat.completions.with_streaming_response.create(**asked) as streamed:
            assert json.loads(streamed.read())["usage"]["completion_tokens"] == 6
        with client.chat.completions.stream(**asked) as events:
            for _ in events:
                pass
        client.with_options(timeout=9).chat.completions.create(**asked)
        client.embeddings.create(model="text-embedding-3-small", input="Who?")
        client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Who?")
        with contextlib.suppress(openai.APIError):
            client.models.list()  # No call of a model.

    await asyncio.to_thread(calls)

    events = await ledger.events()
    endpoints = [event.endpoint.removeprefix("/v1/") for event in events]
    assert endpoints == [*["chat/completions"] * 4, "embeddings", "completions"]
    assert {(event.status, event.usage_source) for event in events} == {("success", "provider")}


async def test_a_stream_that_is_left_or_breaks_is_recorded(upstream: Upstream, ledger: Ledger) -> None:
    client = openai_client(openai.AsyncOpenAI, upstream, ledger)
    left = await client.chat.completions.create(model="pause:30", messages=ASKED, stream=True)
    await anext(left)
    await left.close()
    broken = await client.chat.completions.create(model="reset", messages=ASKED, stream=True)
    with pytest.raises(Exception, match=r".+"):
        async for _ in broken:
            pass
    waiting = asyncio.create_task(client.chat.completions.create(model="hang", messages=ASKED))
    while len(upstream.requests) < 3:
        await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    events = await ledger.events()
    while len(events) < 3:
        events = await ledger.events()
    assert [(event.status, event.usage_source) for event in events] == [("interrupted", "estimated")] * 3
    assert [event.error_class for event in events] == ["ClientDisconnected", "UpstreamUnreachable", "Interrupted"]


@pytest.mark.parametrize("stream", [False, True])
async def test_refusals_and_retries_are_recorded_each(upstream: Upstream, ledger: Ledger, *, stream: bool) -> None:
    client = openai_client(openai.AsyncOpenAI, upstream, ledger).with_options(max_retries=1)

    with pytest.raises(openai.InternalServerError, match="upstream says 500"):
        await client.chat.completions.create(model="bare:500", messages=ASKED, stream=stream)

    events = await ledger.events()
    assert [(event.status, event.error_code, event.cost_nano_usd) for event in events] == [("failure", "500", 0)] * 2
    assert "upstream says 500" in events[0].error_message


async def test_no_connection_is_recorded_too(ledger: Ledger) -> None:
    official = openai.AsyncOpenAI(api_key="k", base_url="http://127.0.0.1:9/v1", max_retries=0)
    ledger.officials.append(official)
    client = tallystick.instrument(official, into=ledger.client)

    with pytest.raises(openai.APIConnectionError):
        await client.chat.completions.create(model="gpt-4o", messages=ASKED)

    assert (await ledger.event()).error_class == "UpstreamUnreachable"


async def test_a_compressed_stream_is_read(upstream: Upstream, ledger: Ledger) -> None:
    events = b"".join(
        b"data: " + json.dumps({"id": "c1", "choices": [{"index": 0, "delta": {"content": word}}]}).encode() + b"\n\n"
        for word in ("two ", "halves")
    )
    usage = b'data: {"id": "c1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}\n\n'

    async def answer(_request: web.Request, _body: dict[str, Any]) -> web.Response:
        body = gzip.compress(events + usage + b"data: [DONE]\n\n")
        return web.Response(body=body, headers={"content-type": "text/event-stream", "content-encoding": "gzip"})

    upstream.answer = answer
    client = openai_client(openai.AsyncOpenAI, upstream, ledger)
    chunks = [each async for each in await client.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True)]

    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == "two halves"
    assert (await ledger.event()).usage.output_tokens == 2


async def test_calls_belong_to_whom_they_are_said_to(upstream: Upstream, ledger: Ledger) -> None:
    client = openai_client(
        openai.AsyncOpenAI, upstream, ledger, team="t", user="u", session="s", tags=["a"], metadata={"run": 7}
    )
    await client.chat.completions.create(model="gpt-4o", messages=ASKED)
    await client.chat.completions.create(model="gpt-4o", messages=ASKED, user="other")

    first, second = await ledger.events()
    assert (first.team_id, first.end_user_id, first.session_id, first.tags) == ("t", "u", "s", ("a",))
    assert first.metadata == {"run": 7}
    assert second.end_user_id == "other"


async def test_an_error_of_ours_breaks_no_call_and_is_told_once(upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    own = tallystick.Client(home=tmp_path / "file")
    client = tallystick.instrument(openai.AsyncOpenAI(api_key="k", base_url=upstream.url, max_retries=0), into=own)

    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            answer = await client.chat.completions.create(model="gpt-4o", messages=ASKED)
            assert answer.choices[0].message.content == "The stick has two halves."
    await client.close()
    await asyncio.to_thread(own.close)

    (line,) = [line for line in lines if line["event"] == "call_not_recorded"]
    assert "ConfigError" in line["reason"]


async def test_a_full_journal_breaks_no_call_and_is_counted(upstream: Upstream, ledger: Ledger) -> None:
    client = openai_client(openai.AsyncOpenAI, upstream, ledger)
    await client.chat.completions.create(model="gpt-4o", messages=ASKED)
    await asyncio.to_thread(ledger.client.flush)
    engine = ledger.client.runtime.engine()
    engine._services.ledger.journal._limits = type(engine._services.ledger.journal._limits)(bytes_max=1)
    for _ in range(2):
        await client.chat.completions.create(model="gpt-4o", messages=ASKED)

    assert "tallystick_unrecorded_calls_total 2.0" in ledger.client.metrics()


async def test_what_can_not_be_instrumented_is_refused() -> None:
    with pytest.raises(ConfigError, match="no client of the packages"):
        tallystick.instrument(object())
    with pytest.raises(ConfigError, match="is no provider"):
        tallystick.instrument(openai.OpenAI(api_key="k"), into=tallystick.Client(home="/nowhere"), provider="nobody")
