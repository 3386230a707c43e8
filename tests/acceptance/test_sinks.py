"""Sinks beside a serving gateway: away and back, throttling, garbage, hanging, and kill -9 in between."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiohttp import web

from acceptance.kit import make_key
from acceptance.load import MODELS
from server_kit import AUTHORIZATION, ServerProcess, UpstreamProcess, eventually, serving
from sink_services import AWS, HTTPProcess, Receiver, supabase_key
from tallystick.bootstrap import Sinks
from tallystick.config.load import load_settings
from tallystick.runtime.clock import SystemClock

QUICK = {"batch_wait_seconds": 0.05, "retry_seconds_min": 0.05, "retry_seconds_max": 0.2, "timeout_seconds": 2}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


def gateway(tmp_path: Path, upstream: UpstreamProcess, sinks: dict[str, Any], **options: Any) -> ServerProcess:
    sections = {"sinks": {name: {**QUICK, **sink} for name, sink in sinks.items()}}
    return ServerProcess(tmp_path / "home", upstream_url=upstream.url, models=MODELS, sections=sections, **options)


def webhook(receiver: Receiver, **terms: Any) -> dict[str, Any]:
    return {"hook": {"type": "webhook", "url": receiver.url, **terms}}


async def call(server: ServerProcess, session: aiohttp.ClientSession, headers: dict[str, str]) -> str:
    """Make one plain call, and return its id."""
    message = {"role": "user", "content": "plain"}
    body = {"model": MODELS[0], "messages": [message], "metadata": {"call": uuid.uuid4().hex}}
    async with session.post(f"{server.url}/v1/chat/completions", json=body, headers=headers) as response:
        assert response.status == 200, await response.text()
        return response.headers["x-litellm-call-id"]


async def calls(server: ServerProcess, session: aiohttp.ClientSession, count: int) -> set[str]:
    headers = await make_key(server, session)
    return set(await asyncio.gather(*(call(server, session, headers) for _ in range(count))))


async def health_of(server: ServerProcess, session: aiohttp.ClientSession) -> dict[str, Any]:
    async with session.get(f"{server.url}/health", headers=AUTHORIZATION) as response:
        found: dict[str, Any] = (await response.json())["sinks"][0]
        return found


async def test_a_sink_that_goes_away_and_comes_back_misses_nothing(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, receiver: Receiver
) -> None:
    with serving(gateway(tmp_path, upstream, webhook(receiver))) as server:
        await server.ready(session)
        made = await calls(server, session, 5)
        await eventually(lambda: set(receiver.times) == made, seconds=20, what="the first calls are there")
        await receiver.stop()
        made |= await calls(server, session, 20)

        async def is_failing() -> bool:
            return (await health_of(server, session))["state"] == "failing"

        await eventually(is_failing, seconds=20, what="the page tells that it fails")
        assert (await health_of(server, session))["lag_events"] > 0
        await receiver.start()
        receiver.answers = [
            web.Response(status=429, headers={"retry-after": "0"}),
            web.Response(status=500, text="<html>what?</html>"),
            web.Response(status=302, headers={"location": "http://127.0.0.1:1/"}),
        ]
        await eventually(lambda: set(receiver.times) >= made, seconds=20, what="all calls are there")
        assert await server.stop() == 0, server.log_tail()
    assert set(receiver.times) == made
    assert max(receiver.times.values()) == 1
    assert server.segments() == []


async def test_killed_at_any_moment_every_event_is_there(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, receiver: Receiver
) -> None:
    """Where a batch came twice, it came with the same key: by that, each event is there once."""
    server = gateway(tmp_path, upstream, webhook(receiver, batch_wait_seconds=0.0, batch_events_max=3))
    made: set[str] = set()
    with serving(server):
        for _ in range(4):
            await server.ready(session)
            made |= await calls(server, session, 15)
            server.kill()
            server.start()
        await server.ready(session)
        await eventually(lambda: set(receiver.times) >= made, seconds=30, what="all calls are there")
        assert await server.stop() == 0, server.log_tail()
        assert (await server.verify())["ok"]
    keyed = dict(zip((each["idempotency-key"] for each in receiver.headers), receiver.bodies, strict=True))
    events = [event["event_id"] for body in keyed.values() for event in json.loads(body)["events"]]
    assert len(events) == len(set(events)), "by their keys, none is there twice"
    assert set(events) >= made
    assert server.segments() == []


async def test_killed_at_any_moment_no_line_is_there_twice(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession
) -> None:
    """What is sent again after a death is the same batch, so that it makes the same object."""
    out = tmp_path / "out"
    sink = {"type": "file", "directory": str(out), "batch_wait_seconds": 0.0, "batch_events_max": 4}
    server = gateway(tmp_path, upstream, {"copy": sink})

    def ids() -> list[str]:
        files = [path.read_text() for path in out.rglob("*.jsonl")]
        return [json.loads(line)["event_id"] for text in files for line in text.splitlines()]

    made: set[str] = set()
    with serving(server):
        for number in range(5):
            await server.ready(session)
            made |= await calls(server, session, 12 + number)
            server.kill()
            server.start()
        await server.ready(session)
        await eventually(lambda: set(ids()) >= made, seconds=30, what="all calls are there")
        assert await server.stop() == 0, server.log_tail()
    assert sorted(ids()) == sorted(made)
    (standing,) = (await server.command("sinks"))["sinks"]
    assert (standing["state"], standing["sent"]) == ("caught up", len(made))


async def test_killed_between_sending_and_noting_it(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, receiver: Receiver
) -> None:
    """The answer is lost on its way: the sink has the batch, the gateway does not know it, and is killed."""
    server = gateway(tmp_path, upstream, webhook(receiver, retry_seconds_min=30, retry_seconds_max=30))
    with serving(server):
        await server.ready(session)
        receiver.keeps_and_fails = True
        made = await calls(server, session, 6)
        await eventually(lambda: receiver.bodies, seconds=20, what="a batch has come")
        server.kill()
        receiver.keeps_and_fails = False
        server.start()
        await server.ready(session)
        made |= await calls(server, session, 6)
        await eventually(lambda: set(receiver.times) >= made, seconds=20, what="all calls are there")
        assert await server.stop() == 0
    keys = [each["idempotency-key"] for each in receiver.headers]
    assert receiver.bodies[1] == receiver.bodies[0]
    assert keys[1] == keys[0]
    keyed = dict(zip(keys, receiver.bodies, strict=True))
    events = [event["event_id"] for body in keyed.values() for event in json.loads(body)["events"]]
    assert sorted(events) == sorted(made)


async def test_calls_are_answered_and_committed_while_the_sink_hangs(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, receiver: Receiver
) -> None:
    receiver.hangs = True
    with serving(gateway(tmp_path, upstream, webhook(receiver, timeout_seconds=300))) as server:
        await server.ready(session)
        made = await calls(server, session, 40)
        assert len(made) == 40

        async def all_committed() -> bool:
            return (await server.verify())["events"] == 40

        await eventually(all_committed, seconds=30, what="all is committed")
        assert (await health_of(server, session))["lag_events"] > 0
        receiver.hangs = False
        server.kill()
        server.start()
        await server.ready(session)
        await eventually(lambda: set(receiver.times) >= made, seconds=20, what="all calls are there")
        assert await server.stop() == 0
    assert set(receiver.times) == made


async def test_two_workers_one_of_which_dies(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, receiver: Receiver
) -> None:
    with serving(gateway(tmp_path, upstream, webhook(receiver), workers=2)) as server:
        await server.ready(session)
        await receiver.stop()
        made = await calls(server, session, 30)
        victims = await eventually(server.worker_pids, seconds=30, what="workers run")
        os.kill(victims[0], signal.SIGKILL)
        await receiver.start()
        made |= await calls(server, session, 10)
        await eventually(lambda: set(receiver.times) >= made, seconds=40, what="all calls are there")
        await eventually(
            lambda: server.all_serve() and not server.unfinished_slots(), seconds=30, what="no slot is left alone"
        )
        assert await server.stop() == 0
    assert set(receiver.times) == made
    assert server.segments() == []


async def test_supabase_over_restarts_of_it_and_of_the_gateway(
    tmp_path: Path,
    upstream: UpstreamProcess,
    session: aiohttp.ClientSession,
    supabase: HTTPProcess,
    empty_postgres_url: str,
) -> None:
    sink = {"supabase": {"url": supabase.url, "key": supabase_key(), "rest_path": ""}}
    server = gateway(tmp_path, upstream, sink)

    async def rows() -> dict[str, str]:
        connection = await asyncpg.connect(empty_postgres_url)
        try:
            found = await connection.fetch("SELECT litellm_call_id, status FROM request_logs")
        finally:
            await connection.close()
        return {row["litellm_call_id"]: row["status"] for row in found}

    with serving(server):
        await server.ready(session)
        made = await calls(server, session, 10)
        supabase.stop()
        made |= await calls(server, session, 10)
        server.kill()
        server.start()
        await server.ready(session)
        supabase.start()

        async def all_there() -> bool:
            return await rows() == dict.fromkeys(made, "success")

        await eventually(all_there, seconds=40, what="a row for each call")
        assert await server.stop() == 0, server.log_tail()
    assert supabase_key() not in server.log.read_text()


async def test_dynamodb_and_s3_by_litellms_names(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, moto: HTTPProcess
) -> None:
    async with session.put(f"{moto.url}/logs-of-calls") as response:
        assert response.status == 200
    sinks = {"dynamodb": {"endpoint_url": moto.url, **AWS}, "s3": {"endpoint_url": moto.url, **AWS}}
    server = gateway(tmp_path, upstream, sinks)
    content = json.loads(server.config.read_text())
    content["litellm_settings"] = {
        "success_callback": ["dynamodb", "s3_v2"],
        "dynamodb_table_name": "calls",
        "s3_callback_params": {"s3_bucket_name": "logs-of-calls", "s3_path": "a/b"},
    }
    server.config.write_text(json.dumps(content))
    made_table = await server.command("sinks", "create-table", "dynamodb")
    assert made_table == {"sink": "dynamodb", "created": True}

    with serving(server):
        await server.ready(session)
        made = await calls(server, session, 12)
        settings = load_settings(config_file=server.config, overrides={}, environ={})
        opened = Sinks(settings.sinks, environ={}, clock=SystemClock())
        dynamodb, s3 = (plan.sink for plan in opened.plans)

        async def all_there() -> bool:
            return set(await items(dynamodb)) == made and set(await lines(s3)) == made

        await eventually(all_there, seconds=40, what="an item and a line for each call")
        assert await server.stop() == 0, server.log_tail()
    assert sorted(await lines(s3)) == sorted(made)
    await opened.aclose()
    assert AWS["aws_secret_access_key"] not in server.log.read_text()


async def items(sink: Any) -> list[str]:
    answer = await sink._ask("Scan", {"TableName": "calls"})
    return [item["id"]["S"] for item in json.loads(answer.body)["Items"]]


async def lines(sink: Any) -> list[str]:
    contents = [await sink._place.get(name) for name in await sink._place.names("")]
    return [json.loads(line)["litellm_call_id"] for content in contents for line in content.splitlines()]
