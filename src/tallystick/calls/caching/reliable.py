"""A store that is away is asked nothing: a call waits for it once, within its timeout, and no call after that.

What is to be kept is put into a queue, so that no answer waits for it either. While the store is away a loop asks it
each second whether it is back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import Final, NamedTuple

import structlog

from tallystick.calls.caching.store import AnswerStore
from tallystick.errors import RowRefused, StoreUnavailable
from tallystick.runtime.clock import Clock
from tallystick.runtime.masking import mask_text
from tallystick.runtime.service import SupervisedLoop
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger(__name__)

RETRY_SECONDS: Final = 1.0
_QUEUE_MAX: Final = 1_000
_QUEUE_BYTES_MAX: Final = 32 * 1024 * 1024


class _Put(NamedTuple):
    key: str
    value: bytes
    ttl_seconds: float


class ReliableAnswers:
    """A `Service`, and an `AnswerStore` whose `get` and `put` raise nothing and hardly wait."""

    name = "answer_cache"

    def __init__(self, store: AnswerStore, *, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._queue: deque[_Put] = deque()
        self._queue_bytes = 0
        self._wake = asyncio.Event()
        self._is_away = False
        self._loop = SupervisedLoop("answer_cache_writer", self._run, clock=clock, metrics=metrics)

    async def start(self) -> None:
        """Ask the store once, so that the first call need not, and go on keeping."""
        await self._try(self._store.ping())
        await self._loop.start()

    async def stop(self) -> None:
        """Stop, and close the store. What is not kept by then is not kept."""
        await self._loop.stop()
        await self._store.close()

    async def get(self, key: str) -> bytes | None:
        """`AnswerStore`; None while it is away."""
        if self._is_away:
            self._metrics.cache_errors.inc()
            return None
        try:
            return await self._store.get(key)
        except (StoreUnavailable, RowRefused) as error:
            self._metrics.cache_errors.inc()
            self._go_away(error)
            return None

    async def put(self, key: str, value: bytes, *, ttl_seconds: float) -> bool:
        """Keep it soon; not where the store is away or the queue full."""
        if self._is_away or len(self._queue) >= _QUEUE_MAX or self._queue_bytes + len(value) > _QUEUE_BYTES_MAX:
            return False
        self._queue.append(_Put(key, value, ttl_seconds))
        self._queue_bytes += len(value)
        self._wake.set()
        return True

    async def delete(self, keys: Sequence[str]) -> int:
        """`AnswerStore`."""
        return await self._store.delete(keys)

    async def flush(self) -> int:
        """`AnswerStore`."""
        self._queue.clear()
        self._queue_bytes = 0
        return await self._store.flush()

    async def ping(self) -> None:
        """`AnswerStore`."""
        await self._store.ping()

    async def close(self) -> None:
        """`AnswerStore`."""
        await self.stop()

    async def _run(self) -> None:
        while True:
            if self._is_away:
                await self._clock.sleep(RETRY_SECONDS)
                await self._try(self._store.ping())
            elif self._queue:
                await self._keep(self._queue.popleft())
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _keep(self, put: _Put) -> None:
        self._queue_bytes -= len(put.value)
        try:
            await self._store.put(put.key, put.value, ttl_seconds=put.ttl_seconds)
        except (StoreUnavailable, RowRefused) as error:
            self._metrics.cache_writes.labels("failed").inc()
            self._go_away(error)

    async def _try(self, ping: Awaitable[None]) -> None:
        try:
            await ping
        except (StoreUnavailable, RowRefused) as error:
            self._go_away(error)
        else:
            self._is_away = False

    def _go_away(self, error: StoreUnavailable | RowRefused) -> None:
        if not self._is_away:
            log.warning("answer_cache_away", reason=mask_text(error.message))
        self._is_away = True
        self._metrics.redis_errors.labels("unavailable").inc()
        self._wake.set()
