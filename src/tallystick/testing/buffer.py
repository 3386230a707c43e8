"""The buffer in plain Python, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from tallystick.errors import StoreUnavailable
from tallystick.ledger.buffer import Answer, BufferSize, Entry, Look, NotTaken
from tallystick.runtime.clock import Clock

_DRAINED_SECONDS = 5.0


class MemoryBuffer:
    """A `Buffer`, forgotten at the end, or when a test says so."""

    def __init__(self, *, clock: Clock, bytes_max: int = 1 << 30) -> None:
        self._clock = clock
        self._bytes_max = bytes_max
        self._next_id = 0
        self._drained_until = float("-inf")
        self.entries: dict[str, tuple[Entry, float]] = {}
        """By id, with when they came."""
        self.answers: dict[str, Answer] = {}
        self.away = False
        """While true, every call raises StoreUnavailable."""
        self.calls: list[str] = []
        """The names of the port's methods that were called, in order."""

    def lose_everything(self) -> None:
        """Forget all, as FLUSHALL does."""
        self.entries.clear()
        self.answers.clear()
        self._drained_until = float("-inf")

    async def append(self, producer_id: str, nonce: str, payload: bytes) -> str | NotTaken:
        await self._begin("append")
        if self._clock.monotonic() >= self._drained_until:
            return "undrained"
        held = self._bytes
        if held and held + len(payload) > self._bytes_max:
            return "full"
        self._next_id += 1
        entry = Entry(entry_id=str(self._next_id), producer_id=producer_id, nonce=nonce, payload=payload)
        self.entries[entry.entry_id] = (entry, self._clock.monotonic())
        return entry.entry_id

    async def look(self, producer_id: str, entry_id: str) -> Look:
        await self._begin("look")
        return Look(
            answer=self.answers.get(producer_id),
            is_there=entry_id in self.entries,
            is_drained=self._clock.monotonic() < self._drained_until,
        )

    async def read(self, *, limit: int) -> Sequence[Entry]:
        await self._begin("read")
        return tuple(entry for entry, _ in self.entries.values())[:limit]

    async def settle(self, entries: Sequence[Entry], answers: Mapping[str, Answer]) -> None:
        await self._begin("settle")
        self.answers |= answers
        for entry in entries:
            self.entries.pop(entry.entry_id, None)
        self._drained_until = self._clock.monotonic() + _DRAINED_SECONDS

    async def size(self) -> BufferSize:
        await self._begin("size")
        oldest = min((came for _, came in self.entries.values()), default=self._clock.monotonic())
        return BufferSize(entries=len(self.entries), bytes=self._bytes, lag_seconds=self._clock.monotonic() - oldest)

    @property
    def _bytes(self) -> int:
        return sum(len(entry.payload) for entry, _ in self.entries.values())

    async def _begin(self, name: str) -> None:
        self.calls.append(name)
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable("The buffer was told to be away.")
