"""Answers in the memory of one process, bounded by their bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

_OVERHEAD_BYTES: Final = 300
"""Of an entry beside its bytes, about."""


class MemoryAnswers:
    """An `AnswerStore`. Beyond its size, what was used longest ago is dropped."""

    def __init__(self, *, bytes_max: int, monotonic: Callable[[], float]) -> None:
        self._bytes_max = bytes_max
        self._monotonic = monotonic
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self.size_bytes = 0

    async def get(self, key: str) -> bytes | None:
        """`AnswerStore`."""
        found = self._entries.get(key)
        if found is None:
            return None
        value, until = found
        if until <= self._monotonic():
            self._forget(key)
            return None
        self._entries.move_to_end(key)
        return value

    async def put(self, key: str, value: bytes, *, ttl_seconds: float) -> bool:
        """`AnswerStore`."""
        self._forget(key)
        if len(value) + _OVERHEAD_BYTES > self._bytes_max:
            return False
        self._entries[key] = (value, self._monotonic() + ttl_seconds)
        self.size_bytes += len(value) + _OVERHEAD_BYTES
        while self.size_bytes > self._bytes_max:
            self._forget(next(iter(self._entries)))
        return True

    async def delete(self, keys: Sequence[str]) -> int:
        """`AnswerStore`."""
        return sum(self._forget(key) for key in keys)

    async def flush(self) -> int:
        """`AnswerStore`."""
        return await self.delete(list(self._entries))

    async def ping(self) -> None:
        """`AnswerStore`."""

    async def close(self) -> None:
        """`AnswerStore`."""

    def _forget(self, key: str) -> bool:
        found = self._entries.pop(key, None)
        if found is not None:
            self.size_bytes -= len(found[0]) + _OVERHEAD_BYTES
        return found is not None
