"""Our own client, in the test's process: what it answers, what it raises, and what its ledger has."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import tallystick
from tallystick.bootstrap import open_store
from tallystick.config.load import load_settings
from tallystick.errors import BadRequest, ClientClosed, ConfigError, NotCommittedInTime, UpstreamError, UpstreamRefused
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.store import EventFilter
from tallystick.runtime.clock import SystemClock
from upstream import Upstream, running_upstream

ASKED: Any = [{"role": "user", "content": "Who owes whom?"}]
MODELS = ("plain", "slow:200", "pause:30", "hang", "bare:500", "bare:429", "reset", "garbage")
COST = 12 * 2_500 + 6 * 10_000


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as running:
        yield running


def model_list(upstream: Upstream) -> list[dict[str, Any]]:
    return [
        {
            "model_name": model,
            "litellm_params": {"model": f"openai/{model}", "api_base": upstream.url, "api_key": "k", "num_retries": 0},
            "model_info": {"id": model, "base_model": "gpt-4o"},
        }
        for model in MODELS
    ] + [
        {  # Without a Responses API of its own.
            "model_name": "groq",
            "litellm_params": {"model": "groq/plain", "api_base": upstream.url, "api_key": "k"},
            "model_info": {"id": "groq", "base_model": "openai/gpt-4o"},
        }
    ]


@pytest.fixture
async def client(tmp_path: Path, upstream: Upstream) -> AsyncIterator[tallystick.Client]:
    made = tallystick.Client(model_list=model_list(upstream), home=tmp_path, journal_sync="write")
    yield made
    await asyncio.to_thread(made.close)


async def events_in(home: Path) -> list[SpendEvent]:
    settings = load_settings(config_file=None, overrides={"home": str(home)}, environ={})
    store = open_store(settings, clock=SystemClock())
    try:
        page = await store.reader.events_after("", limit=1000, where=EventFilter())
        assert (await store.auditor.audit()).differences == ()
        return [each.event for each in page.events]
    finally:
        await store.close()


async def flushed(client: tallystick.Client, home: Path) -> list[SpendEvent]:
    await asyncio.to_thread(client.flush)
    return await events_in(home)


async def test_a_call_is_answered_priced_attributed_and_recorded(client: tallystick.Client, tmp_path: Path) -> None:
    answer = await client.acompletion(
        "plain", ASKED, user="u", team="t", session="s", tags=["a", "b"], metadata={"run": 7}
    )

    assert answer.choices[0].message.content == "The stick has two halves."
    told = answer.tallystick
    assert (told.cost_nano_usd, told.model, told.deployment_id, told.status) == (COST, "plain", "plain", "success")
    (event,) = await flushed(client, tmp_path)
    assert (event.event_id, event.cost_nano_usd) == (told.event_id, COST)
    assert (event.end_user_id, event.team_id, event.session_id) == ("u", "t", "s")
    assert (event.tags, event.metadata, event.key_alias) == (("a", "b"), {"run": 7}, "sdk")


async def test_every_method_makes_its_kind_of_call(client: tallystick.Client, tmp_path: Path) -> None:
    def calls() -> None:
        assert client.completion("plain", ASKED)["usage"]["completion_tokens"] == 6
        assert client.text_completion("plain", "Who?").choices[0].text
        assert client.embedding("plain", "Who?").data[0].embedding == [0.1, 0.2]
        assert client.responses("groq", "Who?").output_text == "The stick has two halves."
        assert client.messages("plain", ASKED, max_tokens=9).content[0].text == "The stick has two halves."

    await asyncio.to_thread(calls)

    events = await flushed(client, tmp_path)
    assert [event.call_type for event in events] == [
        "chat_completion",
        "text_completion",
        "embedding",
        "responses",
        "anthropic_messages",
    ]


@pytest.mark.parametrize("is_async", [False, True])
async def test_streams_of_every_dialect_come_as_objects(
    client: tallystick.Client, tmp_path: Path, *, is_async: bool
) -> None:
    async def read(method: str, *arguments: Any, **more: Any) -> tuple[list[Any], Any]:
        if is_async:
            stream = await getattr(client, f"a{method}")(*arguments, stream=True, **more)
            return [each async for each in stream], stream.tallystick
        stream = await asyncio.to_thread(lambda: getattr(client, method)(*arguments, stream=True, **more))
        return await asyncio.to_thread(list, stream), stream.tallystick

    chunks, chat = await read("completion", "plain", ASKED)
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks]
    events, message = await read("messages", "plain", ASKED, max_tokens=9)
    parts, response = await read("responses", "groq", "Who?")

    assert "".join(texts) == "The stick has two halves."
    assert "".join(event.delta.text for event in events if event.type == "content_block_delta") == "".join(texts)
    assert "".join(part.delta for part in parts if part.type == "response.output_text.delta") == "".join(texts)
    recorded = await flushed(client, tmp_path)
    assert [chat.event_id, message.event_id, response.event_id] == [event.event_id for event in recorded]
    assert {event.cost_nano_usd for event in recorded} == {chat.cost_nano_usd} == {COST}


async def test_streams_that_are_left_are_settled(client: tallystick.Client, tmp_path: Path, upstream: Upstream) -> None:
    def leave() -> None:
        with client.completion("pause:30", ASKED, stream=True) as stream:
            next(stream)
        assert stream.tallystick is not None
        assert stream.tallystick.status == "interrupted"
        for _ in client.completion("pause:30", ASKED, stream=True):
            break  # Nobody has it any more.

    await asyncio.to_thread(leave)
    async with await client.acompletion("pause:30", ASKED, stream=True) as stream:
        await anext(stream)
    await anext(await client.acompletion("hang", ASKED, stream=True))
    late = await client.acompletion("hang", ASKED, stream=True)
    await anext(late)
    waiting = asyncio.create_task(anext(late))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    while len(events := await flushed(client, tmp_path)) < 5:
        await asyncio.sleep(0.01)
    assert {(event.status, event.usage_source) for event in events} == {("interrupted", "estimated")}
    async with asyncio.timeout(10):
        while upstream.open_streams > 2:  # Those that hang look at nothing.
            await asyncio.sleep(0.01)


async def test_errors_are_ours_and_show_nothing_of_the_inside(client: tallystick.Client, tmp_path: Path) -> None:
    for model, kind, status in (
        ("bare:500", UpstreamRefused, 500),
        ("bare:429", UpstreamRefused, 429),
        ("garbage", UpstreamError, 502),
        ("unknown", BadRequest, 400),
    ):
        with pytest.raises(kind) as caught:
            await asyncio.to_thread(client.completion, model, ASKED)
        assert caught.value.http_status == status
        assert caught.value.__cause__ is None
        names = {entry.path.name for entry in caught.traceback}
        assert not {"pipeline.py", "dispatcher.py", "attempts.py"} & names
        if kind is not BadRequest:
            assert (await flushed(client, tmp_path))[-1].event_id == caught.value.event_id


async def test_a_stream_that_breaks_raises_behind_what_came(client: tallystick.Client, tmp_path: Path) -> None:
    stream = await client.acompletion("reset", ASKED, stream=True)
    came = []
    with pytest.raises(UpstreamError):
        async for chunk in stream:
            came.append(chunk)

    assert len(came) >= 1
    assert stream.tallystick.status == "failure"
    assert [event.status for event in await flushed(client, tmp_path)] == ["failure"]


async def test_cancelling_cancels_the_call(client: tallystick.Client, tmp_path: Path, upstream: Upstream) -> None:
    waiting = asyncio.create_task(client.acompletion("hang", ASKED))
    while not upstream.requests:
        await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    while not (events := await flushed(client, tmp_path)):
        await asyncio.sleep(0.01)
    assert [event.status for event in events] == ["interrupted"]


async def test_many_threads_use_one_client(client: tallystick.Client, tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=lambda: [client.completion("plain", ASKED) for _ in range(10)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)

    assert len(await flushed(client, tmp_path)) == 80


async def test_waiting_inside_of_the_clients_own_thread_is_refused(client: tallystick.Client) -> None:
    async def inside() -> None:
        client.completion("plain", ASKED)

    engine = await asyncio.to_thread(client.runtime.engine)
    with pytest.raises(tallystick.TallystickError, match="inside of the client's own thread"):
        await asyncio.wrap_future(engine.submit(inside()))


async def test_a_closed_client_says_so(client: tallystick.Client, tmp_path: Path) -> None:
    hanging = asyncio.create_task(client.acompletion("hang", ASKED))
    stream = await client.acompletion("pause:30", ASKED, stream=True)
    await anext(stream)
    await asyncio.to_thread(client.close)

    with pytest.raises(ClientClosed, match="while the call was running"):
        await hanging
    with pytest.raises(ClientClosed, match="Make another one"):
        await client.acompletion("plain", ASKED)
    assert [event.status for event in await events_in(tmp_path)] == ["interrupted"] * 2
    await stream.aclose()  # Harmless: it was settled.
    client.close()
    client.flush()


async def test_with_the_database_away_calls_are_answered_and_committed_later(
    tmp_path: Path, upstream: Upstream
) -> None:
    (tmp_path / "away").mkdir()
    database = tmp_path / "away" / "calls.db"
    client = tallystick.Client(
        model_list=model_list(upstream),
        database_url=f"sqlite:///{database}",
        journal_directory=tmp_path / "journal",
        home=tmp_path,
    )
    await client.acompletion("plain", ASKED)
    await asyncio.to_thread(client.flush)
    (tmp_path / "away").rename(tmp_path / "gone")
    answer = await client.acompletion("plain", ASKED)

    assert answer.choices[0].message.content
    with pytest.raises(NotCommittedInTime, match="1 events are not in the database"):
        await asyncio.to_thread(lambda: client.flush(timeout_seconds=0.3))
    (tmp_path / "gone").rename(tmp_path / "away")
    await asyncio.to_thread(client.flush)
    await asyncio.to_thread(client.close)


async def test_an_async_client_serves_several_loops(tmp_path: Path, upstream: Upstream) -> None:
    async with tallystick.AsyncClient(model_list=model_list(upstream), home=tmp_path) as client:
        await asyncio.gather(*(client.completion("slow:200", ASKED) for _ in range(20)))

        def elsewhere() -> None:
            async def many() -> None:
                await asyncio.gather(*(client.acompletion("plain", ASKED) for _ in range(20)))
                async for _ in await client.messages("plain", ASKED, max_tokens=9, stream=True):
                    pass

            asyncio.run(many())

        await asyncio.gather(asyncio.to_thread(elsewhere), asyncio.to_thread(elsewhere))
        await client.flush()
        assert len(await events_in(tmp_path)) == 20 + 2 * 21


async def test_a_model_is_called_by_its_providers_name_and_an_address(tmp_path: Path, upstream: Upstream) -> None:
    with tallystick.Client(api_base=upstream.url, api_key="k-mine", home=tmp_path) as client:
        answer = await client.acompletion("groq/llama-3.3-70b-versatile", ASKED)
        assert (answer.tallystick.provider, answer.tallystick.cost_status) == ("groq", "priced")
        assert upstream.headers[0]["Authorization"] == "Bearer k-mine"
        with pytest.raises(BadRequest, match="'nobody' is not a provider"):
            await client.acompletion("nobody/model", ASKED)


async def test_the_demonstration_needs_no_account_and_has_a_price(tmp_path: Path) -> None:
    with tallystick.Client(home=tmp_path) as client:
        answer = await client.acompletion("demo", ASKED)

    assert answer.choices[0].message.content == "You said: Who owes whom?"
    assert answer.tallystick.cost_usd > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"databse_url": "x"}, "no such option: databse_url"),
        ({"model_list": [], "api_key": "k"}, "litellm_params of each model"),
        ({"config_file": "c.yaml", "api_base": "http://x"}, "in the configuration file"),
    ],
)
async def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tallystick.Client(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_list": [{"model_name": "m"}]}, r"model_list\[0\].litellm_params: Field required"),
        ({"database_url": "mysql://x"}, "database_url: must begin with"),
        ({"journal_sync": "never"}, "journal_sync: Input should be"),
    ],
)
async def test_wrong_settings_are_refused_by_the_first_call(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    client = tallystick.Client(home=tmp_path, **options)
    with pytest.raises(ConfigError, match=message):
        await asyncio.to_thread(client.completion, "demo/demo", ASKED)
    client.close()


async def test_a_configuration_file_serves_as_for_the_gateway(tmp_path: Path, upstream: Upstream) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "model_list:\n  - model_name: public\n    litellm_params:\n"
        f"      {{model: openai/gpt-4o, api_base: '{upstream.url}', api_key: os.environ/MY_KEY}}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MY_KEY", "k-referred")
        with tallystick.Client(config_file=file, home=tmp_path) as client:
            await client.acompletion("public", ASKED)

    assert upstream.headers[0]["Authorization"] == "Bearer k-referred"
