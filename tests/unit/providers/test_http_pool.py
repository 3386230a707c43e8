"""The pool's promises, with connections that are no more than Wires."""

from __future__ import annotations

import asyncio
import random

import pytest

from tallystick.providers.destination import Origin
from tallystick.providers.http_connection import HTTPConnection
from tallystick.providers.http_pool import ConnectionPool
from unit.providers.wires import FakeDialer

A, B = Origin("http", "a", 80), Origin("http", "b", 80)


def new_pool(
    *, most: int = 10, per_host: int = 10, keep_alive_seconds: float = 100.0
) -> tuple[ConnectionPool, FakeDialer]:
    dialer = FakeDialer()
    pool = ConnectionPool(
        dialer=dialer,  # type: ignore[arg-type]  # Only `dial` is used.
        connections_max=most,
        connections_per_host_max=per_host,
        keep_alive_seconds=keep_alive_seconds,
        body_bytes_max=1000,
        error_bytes_max=1000,
    )
    return pool, dialer


async def get(pool: ConnectionPool, origin: Origin = A, seconds: float = 10.0) -> HTTPConnection:
    now = asyncio.get_running_loop().time()
    return pool.take_idle(origin, now=now) or await pool.connect(origin, deadline=now + seconds)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_connection_used_last_is_used_next() -> None:
    pool, dialer = new_pool()
    first, second = await get(pool), await get(pool)
    pool.release(first)
    pool.release(second)
    assert [await get(pool), await get(pool)] == [second, first]
    assert len(dialer.opened) == 2
    await pool.aclose()


async def test_origins_are_apart() -> None:
    pool, _ = new_pool()
    connection = await get(pool, A)
    pool.release(connection)
    assert await get(pool, B) is not connection
    assert await get(pool, Origin("https", "a", 80)) is not connection
    await pool.aclose()


async def test_calls_beyond_the_limit_of_a_host_wait_in_line() -> None:
    pool, dialer = new_pool(per_host=1)
    connection = await get(pool)
    order: list[int] = []

    async def call(number: int) -> None:
        own = await get(pool)
        order.append(number)
        await asyncio.sleep(0)
        pool.release(own)

    calls = [asyncio.ensure_future(call(number)) for number in range(5)]
    await settle()
    assert not order
    assert await get(pool, B)  # Another host is not concerned.
    pool.release(connection)
    newcomer = asyncio.ensure_future(call(5))
    await asyncio.gather(*calls, newcomer)
    assert order == [0, 1, 2, 3, 4, 5]
    assert len(dialer.opened) == 2
    await pool.aclose()


async def test_who_waited_longest_comes_first_over_all_hosts() -> None:
    pool, dialer = new_pool(most=1)
    connection = await get(pool, A)
    order: list[Origin] = []

    async def call(origin: Origin) -> None:
        own = await get(pool, origin)
        order.append(origin)
        pool.release(own)

    calls = []
    for origin in (A, B, A, B):
        calls.append(asyncio.ensure_future(call(origin)))
        await settle()
    pool.release(connection)
    await asyncio.gather(*calls)
    assert order == [A, B, A, B]
    assert sum(not one.closed for one in dialer.opened) == 1
    await pool.aclose()


async def test_an_idle_connection_makes_room_for_another_host() -> None:
    pool, dialer = new_pool(most=2)
    older, newer = await get(pool, A), await get(pool, A)
    pool.release(older)
    await asyncio.sleep(0.01)
    pool.release(newer)
    await get(pool, B)
    assert (older.closed, newer.closed) == (True, False)
    assert len(dialer.opened) == 3
    await pool.aclose()


@pytest.mark.parametrize("lose", [True, False])
async def test_a_lost_connection_leaves_its_slot_to_the_next(lose: bool) -> None:
    pool, dialer = new_pool(per_host=1)
    connection = await get(pool)
    waiting = asyncio.ensure_future(get(pool))
    await settle()
    if lose:
        connection.connection_lost(None)
    else:
        pool.discard(connection)
    assert await waiting is dialer.opened[1]
    await settle()
    assert len(dialer.opened) == 2
    await pool.aclose()


async def test_a_failure_to_connect_frees_the_slot() -> None:
    pool, dialer = new_pool(per_host=1)
    dialer.failure = OSError("no")
    calls = [asyncio.ensure_future(get(pool)) for _ in range(3)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, OSError) for result in results)
    dialer.failure = None
    dialer.dead_on_arrival = True
    with pytest.raises(ConnectionResetError):
        await get(pool)
    dialer.dead_on_arrival = False
    assert await get(pool)
    await pool.aclose()


async def test_waiting_ends_at_the_deadline() -> None:
    pool, _ = new_pool(per_host=1)
    connection = await get(pool)
    with pytest.raises(TimeoutError):
        await get(pool, seconds=0.01)
    pool.release(connection)
    assert await get(pool) is connection
    await pool.aclose()


@pytest.mark.parametrize("gives", ["release", "discard"])
async def test_what_is_given_to_a_call_that_just_gave_up_goes_to_the_next(gives: str) -> None:
    pool, _ = new_pool(per_host=1)
    connection = await get(pool)
    first, second = asyncio.ensure_future(get(pool)), asyncio.ensure_future(get(pool))
    await settle()
    getattr(pool, gives)(connection)  # To the first …
    first.cancel()  # … which does not know it yet.
    with pytest.raises(asyncio.CancelledError):
        await first
    pool.release(await second)
    assert await get(pool)
    await pool.aclose()


async def test_an_idle_connection_that_dies_is_not_given_out() -> None:
    pool, _ = new_pool()
    for end in ("connection_lost", "eof", "unasked"):
        connection = await get(pool)
        pool.release(connection)
        if end == "connection_lost":
            connection.connection_lost(None)
        elif end == "eof":
            connection.eof_received()
        else:
            connection.data_received(b"HTTP/1.1 408 Timeout\r\n\r\n")
        assert await get(pool) is not connection
    await pool.aclose()


async def test_idle_connections_are_closed_in_time() -> None:
    pool, dialer = new_pool(keep_alive_seconds=0.05)
    older, newer = await get(pool), await get(pool)
    for connection in (older, newer):
        pool.release(connection)
        async with asyncio.timeout(10):
            while not connection.closed:
                await asyncio.sleep(0.01)
    assert await get(pool) is dialer.opened[2]
    await pool.aclose()


async def test_what_is_too_old_is_not_used_even_before_it_is_closed() -> None:
    pool, _ = new_pool(keep_alive_seconds=50)
    connection = await get(pool)
    pool.release(connection)
    now = asyncio.get_running_loop().time()
    assert pool.take_idle(A, now=now + 51) is None
    assert connection.closed
    await pool.aclose()


async def test_closing_ends_everything() -> None:
    pool, dialer = new_pool(per_host=1)
    connection = await get(pool)
    waiting = asyncio.ensure_future(get(pool))
    dialer.turns = 5
    connecting = asyncio.ensure_future(get(pool, B))
    await asyncio.sleep(0)
    await pool.aclose()
    for call in (waiting, connecting):
        with pytest.raises(ConnectionError):
            await call
    with pytest.raises(ConnectionError):
        await get(pool)
    pool.release(connection)
    await settle()
    assert all(one.closed for one in dialer.opened)


@pytest.mark.parametrize("seed", range(30))
async def test_no_slot_is_ever_lost_and_no_limit_broken(seed: int) -> None:
    chance = random.Random(seed)
    pool, dialer = new_pool(most=4, per_host=3)
    in_use: dict[HTTPConnection, int] = {}

    async def call(number: int) -> None:
        origin = chance.choice([A, B, Origin("http", "c", 80)])
        connection = await get(pool, origin)
        assert connection.origin == origin
        assert connection not in in_use
        in_use[connection] = number
        open_now = [one for one in dialer.opened if not one.closed]
        assert len(open_now) <= 4
        assert sum(one.origin == origin for one in open_now) <= 3
        try:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
        finally:
            del in_use[connection]
            chance.choice([pool.release, pool.release, pool.discard])(connection)

    dialer.turns = seed % 3
    calls = []
    for number in range(300):
        calls.append(asyncio.ensure_future(call(number)))
        if chance.random() < 0.3:
            chance.choice(calls).cancel()
        if chance.random() < 0.1 and in_use:
            chance.choice(list(in_use)).abort()
        dialer.failure = OSError("no") if chance.random() < 0.1 else None
        if chance.random() < 0.5:
            await asyncio.sleep(0)
    dialer.failure = None
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30)
    assert {type(result) for result in results} <= {type(None), asyncio.CancelledError, OSError}
    await settle()
    assert pool._slots == sum(host.slots for host in pool._hosts.values()) == len(pool._connections)
    assert pool._waiting == 0
    assert all(host.slots for host in pool._hosts.values())
    await pool.aclose()
