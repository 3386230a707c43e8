"""SIGTERM: what runs may end, what has ended is committed, and what can't be committed is kept."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import aiohttp
import pytest

from acceptance.kit import assert_none_failed, enough, finish, known_key, proxied, server_of
from acceptance.load import Load, assert_nothing_missing_or_double
from server_kit import UpstreamProcess, eventually, serving
from services import PostgresServer

_CLIENTS = 8
_PAUSE = 0.02


@pytest.mark.parametrize("workers", [1, 2])
async def test_running_calls_end_and_everything_is_committed(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, workers: int
) -> None:
    models = ("plain", "pause:100", "pause:150", "slow:900")
    server = server_of(tmp_path, upstream, None, workers=workers, models=models)
    with serving(server):
        await server.ready(session)
        await eventually(server.all_serve, seconds=60, what="all workers serve")
        async with Load(server.url, 1) as load:
            running = [asyncio.create_task(load.call(session, model)) for model in models[1:] * 3]
            await eventually(lambda: _dispatched(upstream, session, 9), seconds=30, what="the calls are running")
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)

            calls = await asyncio.gather(*running)

            assert await server.ended(seconds=30) == 0, server.log_tail()
            assert [call for call in calls if not call.whole] == []
            assert (await load.call(session, "plain")).status == 0  # Nobody listens any more.
            assert server.segments() == []
            await assert_nothing_missing_or_double(server, load, await upstream.seen(session))


async def test_a_load_that_goes_on_while_the_server_stops(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession
) -> None:
    server = server_of(tmp_path, upstream, None)
    with serving(server):
        await server.ready(session)
        async with Load(server.url, 2) as load:
            load.start(session, clients=_CLIENTS)
            await enough(load, 100)
            assert await server.stop() == 0, server.log_tail()
            await load.stop()
            assert server.segments() == []
            broken = [call for call in load.calls if call.status == 200 and not call.whole and not call.left]
            assert broken == []
            await assert_nothing_missing_or_double(server, load, await upstream.seen(session))


@pytest.mark.parametrize("fault", ["refuse", "blackhole"])
async def test_a_stop_without_the_database_keeps_the_journal(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, postgres_url: str, fault: str
) -> None:
    async with proxied(postgres_url) as (proxy, url):
        server = server_of(tmp_path, upstream, url, drain_seconds=3)
        with serving(server):
            await server.ready(session)
            async with Load(server.url, 3) as load:
                await known_key(server, session, load)
                load.start(session, clients=_CLIENTS, pause=_PAUSE)
                await enough(load, 50)
                if fault == "refuse":
                    await proxy.refuse()
                else:
                    proxy.blackhole = True
                await enough(load, 50)
                begun = time.monotonic()
                assert await server.stop() == 0, server.log_tail()
                took = time.monotonic() - begun
                assert server.segments() != []

                if fault == "refuse":
                    await proxy.accept()
                proxy.blackhole = False
                server.start()
                await server.ready(session)
                await finish(server, load, upstream, session)
        print(f"stopped in {took:.1f} s")
        assert took < 12


async def test_a_stream_longer_than_the_limit_is_interrupted(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession
) -> None:
    server = server_of(tmp_path, upstream, None, drain_seconds=1, models=("pause:2000", "slow:20000"))
    with serving(server):
        await server.ready(session)
        async with Load(server.url, 4) as load:
            running = [asyncio.create_task(load.call(session, "pause:2000")) for _ in range(2)]
            running.append(asyncio.create_task(load.call(session, "slow:20000")))
            await eventually(lambda: _dispatched(upstream, session, 3), seconds=30, what="the calls are running")
            assert await server.stop(seconds=15) == 0, server.log_tail()
            assert not any(call.whole for call in await asyncio.gather(*running))
            outcome = await assert_nothing_missing_or_double(server, load, await upstream.seen(session))
            assert outcome.interrupted == 3
            assert server.segments() == []


async def test_a_stop_in_the_middle_of_the_start_leaves_nothing(
    tmp_path: Path, upstream: UpstreamProcess, postgres_url: str
) -> None:
    """The journal is open, and the start waits for a database that does not answer."""
    async with proxied(postgres_url) as (proxy, url):
        proxy.blackhole = True
        server = server_of(tmp_path, upstream, url, drain_seconds=1)
        with serving(server):
            await eventually(server.segments, seconds=60, what="the journal is open", pause=0.001)
            assert await server.stop(seconds=15) == 0, server.log_tail()
    assert server.segments() == []
    assert "Traceback" not in server.log_tail(20_000)


async def test_two_servers_on_one_home_take_different_slots(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession
) -> None:
    first = server_of(tmp_path, upstream, None)
    with serving(first):
        await first.ready(session)
        second = server_of(tmp_path, upstream, None)  # Same home, same file, another port.
        with serving(second):
            await second.ready(session)
            async with Load(first.url, 5) as load, Load(second.url, 6) as other:
                for clients in (load, other):
                    clients.start(session, clients=4, pause=_PAUSE)
                await asyncio.gather(enough(load, 100), enough(other, 100))
                assert sorted(path.parent.name for path in first.segments()) == ["slot-0001", "slot-0002"]
                await asyncio.gather(load.stop(), other.stop())
                assert_none_failed(load)
                assert_none_failed(other)
                assert await second.stop() == 0, second.log_tail()
                assert await first.stop() == 0, first.log_tail()
                assert first.segments() == []
                load.calls += other.calls
                await assert_nothing_missing_or_double(first, load, await upstream.seen(session))


async def test_the_database_comes_back_while_the_server_drains(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, own_postgres_server: PostgresServer
) -> None:
    server = server_of(tmp_path, upstream, own_postgres_server.url())
    with serving(server):
        await server.ready(session)
        async with Load(server.url, 7) as load:
            await known_key(server, session, load)
            own_postgres_server.stop("immediate")
            calls = await asyncio.gather(*(load.call(session, "plain") for _ in range(30)))
            assert all(call.whole for call in calls)
            own_postgres_server.start()
            assert await server.stop() == 0, server.log_tail()
            assert server.segments() == []
            await assert_nothing_missing_or_double(server, load, await upstream.seen(session))


async def _dispatched(upstream: UpstreamProcess, session: aiohttp.ClientSession, count: int) -> bool:
    return len(await upstream.seen(session)) >= count
