"""The database goes away, dies or is cut off: calls with known keys are served, and afterwards nothing is missing.

pytest tests/acceptance/test_outage.py --outage-seconds 60 -s    keeps it away for a minute and prints the numbers
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from acceptance.kit import assert_none_failed, enough, finish, known_key, metric, proxied, server_of
from acceptance.load import Call, Load
from server_kit import AUTHORIZATION, ServerProcess, UpstreamProcess, eventually, serving
from services import PostgresServer

_CLIENTS = 8
_PAUSE = 0.02
_GROWTH_BYTES_MAX = 48 * 1024 * 1024
_CUTS = 24
_DEATHS = 4


@pytest.fixture
def database(own_postgres_server: PostgresServer) -> PostgresServer:
    return own_postgres_server


async def status_with(server: ServerProcess, session: aiohttp.ClientSession, key: str, path: str, body: Any) -> int:
    headers = {"authorization": f"Bearer {key}"}
    async with session.post(server.url + path, json=body, headers=headers) as response:
        await response.read()
        return response.status


async def assert_says_that_it_is_away(server: ServerProcess, session: aiohttp.ClientSession) -> None:
    """Only what needs the database is refused, and not as if the caller were wrong."""
    chat = {"model": "plain", "messages": [], "metadata": {"call": "nobody"}}
    assert await status_with(server, session, "sk-never-seen-before", "/v1/chat/completions", chat) == 503
    key = AUTHORIZATION["authorization"].removeprefix("Bearer ")
    assert await status_with(server, session, key, "/key/generate", {"user_id": "x"}) == 503


async def test_the_database_is_stopped_under_load(
    tmp_path: Path,
    upstream: UpstreamProcess,
    session: aiohttp.ClientSession,
    database: PostgresServer,
    outage_seconds: float,
) -> None:
    server = server_of(tmp_path, upstream, database.url())
    with serving(server):
        await server.ready(session)
        async with Load(server.url, 1) as load:
            await known_key(server, session, load)
            load.start(session, clients=_CLIENTS, pause=_PAUSE)
            await enough(load, 200)
            before, calls_before = server.rss_bytes(), len(load.calls)

            await asyncio.to_thread(database.stop)
            begun = time.monotonic()
            await assert_says_that_it_is_away(server, session)
            assert await server.status(session, "/health/readiness") == 200
            while time.monotonic() - begun < outage_seconds:
                await asyncio.sleep(0.1)
            after, calls_after = server.rss_bytes(), len(load.calls)
            waiting = await pending_events(server, session)
            await asyncio.to_thread(database.start)

            await enough(load, 50)
            await finish(server, load, upstream, session)
            assert_none_failed(load)
    print(f"away {outage_seconds} s: {calls_after - calls_before} calls meanwhile, {waiting} events waiting,")
    print(f"resident memory {before >> 20} MiB before, {after >> 20} MiB at the end of it")
    assert waiting > 0
    assert calls_after - calls_before > 20 * outage_seconds
    assert after - before < _GROWTH_BYTES_MAX


async def pending_events(server: ServerProcess, session: aiohttp.ClientSession) -> int:
    async with session.get(f"{server.url}/health", headers=AUTHORIZATION) as response:
        return int((await response.json())["journal"]["events_pending"])


async def test_the_database_dies_in_the_middle_of_commits(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, database: PostgresServer
) -> None:
    server = server_of(tmp_path, upstream, database.url(), batch_wait_seconds=0.01)
    draw = random.Random(7)
    with serving(server):
        await server.ready(session)
        async with Load(server.url, 2) as load:
            await known_key(server, session, load)
            load.start(session, clients=_CLIENTS, pause=_PAUSE)
            for number in range(_DEATHS):
                await enough(load, draw.randrange(20, 120))
                await asyncio.to_thread(database.kill if number % 2 else lambda: database.stop("immediate"))
                await enough(load, 20)
                await asyncio.to_thread(database.start)
            await finish(server, load, upstream, session)
            assert_none_failed(load)


async def test_connections_are_cut_in_the_middle_of_commits(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, postgres_url: str
) -> None:
    draw = random.Random(11)
    async with proxied(postgres_url) as (proxy, url):
        server = server_of(tmp_path, upstream, url, batch_wait_seconds=0.01)
        with serving(server):
            await server.ready(session)
            async with Load(server.url, 3) as load:
                await known_key(server, session, load)
                load.start(session, clients=_CLIENTS, pause=_PAUSE)
                for number in range(_CUTS):
                    # So that the next transaction is a batch's: after a cut, partitions are looked after first.
                    await another_commit(server, session)
                    cuts = proxy.cuts
                    if number % 2:
                        # Behind it, the database has committed and its reply is lost; before it, nothing was.
                        proxy.cut_at(b"COMMIT;", passed=number % 4 == 1)
                    elif number % 4:
                        proxy.cut_after(draw.randrange(8000), "to_server")
                    else:
                        proxy.cut_after(draw.randrange(4000), "to_client")
                    await eventually(
                        lambda before=cuts: proxy.cuts > before, seconds=30, what=f"cut {number} has happened"
                    )
                await finish(server, load, upstream, session)
                assert_none_failed(load)


async def test_a_database_that_no_longer_answers_holds_nothing_up(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, postgres_url: str
) -> None:
    """No reset, no refusal: packets vanish, as behind a firewall. Its end is only told by our own deadlines."""
    async with proxied(postgres_url) as (proxy, url):
        server = server_of(tmp_path, upstream, url)
        with serving(server):
            await server.ready(session)
            async with Load(server.url, 4) as load:
                await known_key(server, session, load)
                load.start(session, clients=_CLIENTS, pause=_PAUSE)
                await enough(load, 50)
                proxy.blackhole = True
                await assert_says_that_it_is_away(server, session)
                await enough(load, 200)
                proxy.blackhole = False
                proxy.delay_seconds = 0.02
                await enough(load, 50)
                proxy.delay_seconds = 0.0
                await finish(server, load, upstream, session)
                assert_none_failed(load)


async def test_look_ups_do_not_pile_up_while_the_database_is_slow(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, postgres_url: str
) -> None:
    """Unknown keys are asked for a few at a time. Who can't be told gets 503 with retry-after, never 401."""
    async with proxied(postgres_url) as (proxy, url):
        server = server_of(tmp_path, upstream, url)
        with serving(server):
            await server.ready(session)
            async with Load(server.url, 4) as load:
                await known_key(server, session, load)

                async def unknown(number: int) -> tuple[int, str | None]:
                    headers = {"authorization": f"Bearer sk-unknown-{number}"}
                    body = {"model": "plain", "messages": []}
                    async with session.post(f"{server.url}/v1/chat/completions", json=body, headers=headers) as answer:
                        await answer.read()
                        return answer.status, answer.headers.get("retry-after")

                proxy.blackhole = True
                began = time.monotonic()
                strangers = [asyncio.create_task(unknown(number)) for number in range(400)]
                load.start(session, clients=_CLIENTS, pause=_PAUSE)
                await enough(load, 100)
                assert {await each for each in strangers} == {(503, "1")}
                assert time.monotonic() - began < 20
                proxy.blackhole = False
                statuses: set[int] = set()

                async def is_told_again() -> bool:
                    statuses.add((await unknown(0))[0])
                    return 401 in statuses

                await eventually(is_told_again, seconds=30, what="the database tells that the key is none")
                assert statuses <= {401, 503}
                await finish(server, load, upstream, session)
                assert_none_failed(load)


async def test_the_database_is_away_at_the_start(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, database: PostgresServer
) -> None:
    await asyncio.to_thread(database.stop)
    server = server_of(tmp_path, upstream, database.url())
    with serving(server):
        await server.ready(session, path="/health/liveliness")
        assert await server.status(session, "/health/readiness") == 503
        await assert_says_that_it_is_away(server, session)
        async with Load(server.url, 5) as load:  # With the master key, which needs no database.
            load.start(session, clients=_CLIENTS, pause=_PAUSE)
            await enough(load, 50)

            await asyncio.to_thread(database.start)
            await server.ready(session)

            await enough(load, 20)
            await finish(server, load, upstream, session)
            assert_none_failed(load)


@pytest.mark.parametrize("policy", ["reject", "shed"])
async def test_the_journal_is_full(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, database: PostgresServer, policy: str
) -> None:
    small = {"journal_bytes_max": 1 << 20, "journal_segment_bytes": 64 * 1024, "journal_policy": policy}
    server = server_of(tmp_path, upstream, database.url(), **small)
    pad = {"metadata": {"pad": "x" * 12_000}}
    with serving(server):
        await server.ready(session)
        async with Load(server.url, 6) as load:
            await known_key(server, session, load)
            await asyncio.to_thread(database.stop)

            async def call_on() -> Call:
                number = len(load.calls)
                return await load.call(session, "plain", metadata={**pad["metadata"], "call": f"{load.seed}-{number}"})

            calls = [await call_on() for _ in range(150)]
            size = sum(path.stat().st_size for path in server.segments())
            await asyncio.to_thread(database.start)
            await server.ready(session)
            await eventually(lambda: is_accepted(call_on), seconds=30, what="calls are taken again")
            seen = await upstream.seen(session)

            assert size <= small["journal_bytes_max"] + small["journal_segment_bytes"]
            if policy == "reject":
                refused = [call for call in calls if call.status == 503]
                assert refused
                assert b"ledger_unavailable" in refused[0].body
                assert not {call.call_id for call in refused} & set(seen), "a refused call was dispatched"
                await finish(server, load, upstream, session)
            else:
                assert all(call.whole for call in calls)
                shed = await metric(server, session, "journal_shed_total")
                assert shed > 0
                assert await server.stop() == 0
                verified = await server.verify()
                assert verified["ok"]
                assert verified["events"] == len(seen) - shed, "what was shed was not counted"


async def another_commit(server: ServerProcess, session: aiohttp.ClientSession) -> None:
    """Wait until a batch was committed from now on."""
    before = await metric(server, session, "committed_events_total")

    async def has_grown() -> bool:
        return await metric(server, session, "committed_events_total") > before

    await eventually(has_grown, seconds=30, what="a batch is committed")


async def is_accepted(call_on: Any) -> bool:
    return bool((await call_on()).whole)
