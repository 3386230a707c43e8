"""Answers in memory: bounded, and for a time."""

from __future__ import annotations

from tallystick.calls.caching.memory import MemoryAnswers
from tallystick.testing import FakeClock


async def test_an_answer_lapses():
    clock = FakeClock()
    answers = MemoryAnswers(bytes_max=10_000, monotonic=clock.monotonic)
    await answers.put("a", b"1", ttl_seconds=5)
    clock.advance(4.9)
    assert await answers.get("a") == b"1"
    clock.advance(0.2)
    assert await answers.get("a") is None
    assert answers.size_bytes == 0


async def test_it_never_grows_beyond_its_size_and_drops_what_was_used_longest_ago():
    answers = MemoryAnswers(bytes_max=10_000, monotonic=FakeClock().monotonic)
    for name in "abcdefgh":
        assert await answers.put(name, bytes(1_000), ttl_seconds=60)
        await answers.get("a")
        assert answers.size_bytes <= 10_000
    assert [name for name in "abcdefgh" if await answers.get(name)] == ["a", "c", "d", "e", "f", "g", "h"]
    assert not await answers.put("large", bytes(20_000), ttl_seconds=60)
    await answers.put("a", b"again", ttl_seconds=60)
    assert await answers.flush() == 7
    assert answers.size_bytes == 0
