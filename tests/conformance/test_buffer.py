"""The contract of `Buffer`: entries in order until they are settled, an answer for each producer, and a bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from tallystick.config.redis_address import parse_redis_url
from tallystick.ledger.buffer import Answer, Buffer, BufferSize
from tallystick.stores.redis.buffer import RedisBuffer
from tallystick.stores.redis.connection import Client, connect
from tallystick.testing import FakeClock
from tallystick.testing.buffer import MemoryBuffer

BYTES_MAX = 1_000


@dataclass(frozen=True)
class Place:
    buffer: Buffer
    peer: Buffer
    """The buffer of another ledger, in the same place where there is one."""
    lose_everything: Callable[[], Awaitable[None]]
    forget_drain: Callable[[], Awaitable[None]]
    """Let so much time pass that nobody has drained lately."""


async def in_memory(_request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    clock = FakeClock()
    buffer = MemoryBuffer(clock=clock, bytes_max=BYTES_MAX)

    async def lose_everything() -> None:
        buffer.lose_everything()

    async def forget_drain() -> None:
        clock.advance(5.5)

    yield Place(buffer, MemoryBuffer(clock=clock), lose_everything, forget_drain)


async def in_redis(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    client = connect(parse_redis_url(request.getfixturevalue("redis_url")), timeout_seconds=5)
    prefix = request.getfixturevalue("redis_prefix")

    async def lose_everything() -> None:
        await client.delete(*await client.keys(f"{{{prefix}}}:buffer:ours:*"))

    async def forget_drain() -> None:
        await client.delete(f"{{{prefix}}}:buffer:ours:drained")

    yield Place(
        redis_buffer(client, "ours", prefix), redis_buffer(client, "other", prefix), lose_everything, forget_drain
    )
    await client.aclose()


def redis_buffer(client: Client, name: str, prefix: str) -> RedisBuffer:
    async def ledger_id() -> str:
        return name

    return RedisBuffer(
        client, ledger_id=ledger_id, where="tests", key_prefix=prefix, bytes_max=BYTES_MAX, timeout_seconds=5
    )


PLACES = {"memory": in_memory, "redis": in_redis}


@pytest.fixture(params=PLACES)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async for each in PLACES[request.param](request):
        await each.buffer.settle((), {})  # Somebody drains.
        yield each


async def read(buffer: Buffer, limit: int = 10) -> list[bytes]:
    return [entry.payload for entry in await buffer.read(limit=limit)]


async def test_entries_are_read_in_order_until_they_are_settled(place: Place) -> None:
    buffer = place.buffer
    ids = [await buffer.append(f"p{number % 2}", f"n{number}", b"x%d" % number) for number in range(5)]
    assert len(set(ids)) == 5
    assert await read(buffer, 3) == [b"x0", b"x1", b"x2"]
    entries = await buffer.read(limit=3)
    assert [(entry.entry_id, entry.producer_id, entry.nonce) for entry in entries] == [
        (ids[0], "p0", "n0"), (ids[1], "p1", "n1"), (ids[2], "p0", "n2"),
    ]  # fmt: skip
    await buffer.settle(entries, {"p0": Answer(nonce="n2", watermark=7), "p1": Answer(nonce="n1", watermark=0)})
    await buffer.settle(entries, {})
    assert await read(buffer) == [b"x3", b"x4"]
    assert (await buffer.size()).entries == 2


async def test_a_producer_sees_the_newest_answer_and_whether_its_entry_is_there(place: Place) -> None:
    buffer = place.buffer
    first, second = [await buffer.append("p", nonce, b"x") for nonce in ("n1", "n2")]
    look = await buffer.look("p", first)
    assert (look.answer, look.is_there, look.is_drained) == (None, True, True)
    answer = Answer(nonce="n1", watermark=2**53, is_refused=True)
    await buffer.settle(await buffer.read(limit=1), {"p": answer})
    look = await buffer.look("p", first)
    assert (look.answer, look.is_there) == (answer, False)
    assert (await buffer.look("p", second)).is_there
    assert (await buffer.look("q", second)).answer is None
    assert (await buffer.look("p", "17-3")).is_there is False


async def test_the_buffer_is_bounded_and_empties_to_nothing(place: Place) -> None:
    buffer = place.buffer
    assert await buffer.size() == BufferSize(entries=0, bytes=0, lag_seconds=0)
    for number in range(4):
        await buffer.append("p", f"n{number}", b"x" * 250)
    assert await buffer.append("p", "more", b"x") == "full"
    size = await buffer.size()
    assert (size.entries, size.bytes) == (4, 1_000)
    assert size.lag_seconds >= 0
    await buffer.settle(await buffer.read(limit=1), {})
    assert await buffer.append("p", "larger", b"x" * 251) == "full"
    assert await buffer.append("p", "fits", b"x" * 250) != "full"
    await buffer.settle(await buffer.read(limit=10), {})
    assert await buffer.size() == BufferSize(entries=0, bytes=0, lag_seconds=0)


async def test_an_empty_buffer_takes_an_entry_of_any_size(place: Place) -> None:
    await place.buffer.append("p", "n", b"x" * 5_000)
    assert await place.buffer.append("p", "n", b"x") == "full"
    assert (await place.buffer.size()).bytes == 5_000


async def test_nothing_is_appended_that_nobody_would_read(place: Place) -> None:
    entry = await place.buffer.append("p", "n", b"x")
    await place.forget_drain()
    assert await place.buffer.append("p", "n", b"x") == "undrained"
    assert (await place.buffer.look("p", entry)).is_drained is False
    await place.buffer.settle((), {})
    assert await place.buffer.append("p", "n", b"x") not in ("undrained", "full")


async def test_everything_may_be_lost(place: Place) -> None:
    buffer = place.buffer
    entry = await buffer.append("p", "n1", b"x" * 600)
    entries = await buffer.read(limit=10)
    await place.lose_everything()
    look = await buffer.look("p", entry)
    assert (look.answer, look.is_there, look.is_drained) == (None, False, False)
    await buffer.settle(entries, {"p": Answer(nonce="n1", watermark=1)})
    assert await buffer.size() == BufferSize(entries=0, bytes=0, lag_seconds=0)
    await buffer.append("p", "n2", b"x" * 600)
    assert (await buffer.size()).bytes == 600


async def test_many_append_and_settle_at_once(place: Place) -> None:
    buffer = place.buffer
    await asyncio.gather(*(buffer.append(f"p{number}", "n", b"x" * 10) for number in range(50)))
    entries = await buffer.read(limit=100)
    assert len(entries) == 50
    await asyncio.gather(*(buffer.settle(entries[: number * 10], {}) for number in range(1, 6)))
    assert await buffer.size() == BufferSize(entries=0, bytes=0, lag_seconds=0)


async def test_ledgers_that_share_a_redis_do_not_meet(place: Place) -> None:
    await place.peer.settle((), {})
    await place.peer.append("p", "n", b"theirs")
    assert await read(place.buffer) == []
