"""Answers that instances share, in Redis. Each has a key of its own, so that a cluster spreads them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Final, TypeVar

from tallystick.stores.redis.connection import (
    FAILURES,
    Client,
    close,
    heeding_cancellation,
    round_trips,
    translated,
)

_FLUSH_SECONDS: Final = 60.0
_SCAN_COUNT: Final = 1_000

_Answer = TypeVar("_Answer")


class RedisAnswers:
    """The answers of the response cache. They lapse by themselves; nothing else is under their prefix."""

    def __init__(self, client: Client, *, where: str, key_prefix: str, timeout_seconds: float) -> None:
        """`where` is what errors call the server; it is not secret."""
        self._client = client
        self._where = where
        self._prefix = f"{key_prefix}:answer:"
        self._timeout_seconds = timeout_seconds
        self._first_seconds = timeout_seconds * round_trips(client)

    async def get(self, key: str) -> bytes | None:
        """Return what is kept, None when nothing is. It waits no longer than the timeout, even to connect."""
        found = await self._within(self._timeout_seconds, self._client.get(self._prefix + key))
        return found.encode() if isinstance(found, str) else found  # Never a text: the client decodes nothing.

    async def put(self, key: str, value: bytes, *, ttl_seconds: float) -> bool:
        """Keep it."""
        milliseconds = max(1, round(ttl_seconds * 1000))
        await self._within(self._first_seconds, self._client.set(self._prefix + key, value, px=milliseconds))
        return True

    async def delete(self, keys: Sequence[str]) -> int:
        """Forget these; return how many there were."""
        count = 0
        for key in keys:  # One by one: they are on different nodes of a cluster.
            count += await self._within(self._first_seconds, self._client.unlink(self._prefix + key))
        return count

    async def flush(self) -> int:
        """Forget every answer, and nothing else that is in this Redis; return how many there were."""
        return await self._within(_FLUSH_SECONDS, self._flush())

    async def ping(self) -> None:
        """Return when Redis answers."""
        await self._within(self._first_seconds, self._client.exists(self._prefix + "ping"))

    async def close(self) -> None:
        """Close every connection."""
        await close(self._client)

    async def _flush(self) -> int:
        count = 0
        async for key in self._client.scan_iter(match=_literal(self._prefix) + "*", count=_SCAN_COUNT):
            count += await self._client.unlink(key)
        return count

    async def _within(self, seconds: float, command: Awaitable[_Answer]) -> _Answer:
        """Await a command. Raises StoreUnavailable, RowRefused."""
        try:
            with heeding_cancellation():
                async with asyncio.timeout(seconds):
                    return await command
        except FAILURES as error:
            raise translated(error, self._where) from error


def _literal(text: str) -> str:
    """Return a pattern that matches only the text."""
    return "".join(f"\\{each}" if each in "*?[]\\^-" else each for each in text)
