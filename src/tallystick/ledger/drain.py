"""The leader's side of the buffer: it merges the batches of many producers into one transaction.

If it dies between any two steps, or if two of them drain at the same time, batches are committed that were committed
before: that changes nothing, because the watermark in the database decides.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Final

import structlog

from tallystick.errors import RowRefused, StoreError
from tallystick.ledger.batch import Batch
from tallystick.ledger.buffer import Answer, Buffer, Entry, decode_batch
from tallystick.ledger.store import LedgerStore
from tallystick.runtime.clock import Clock
from tallystick.runtime.masking import mask_text
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger(__name__)

ENTRIES_PER_DRAIN: Final = 32
_IDLE_SECONDS: Final = 0.02
_BEAT_SECONDS: Final = 1.0
_RETRY_SECONDS_MIN: Final = 0.05
_RETRY_SECONDS_MAX: Final = 2.0


class Drain:
    """Commits what is in the buffer, oldest first. `run` goes on until cancelled."""

    def __init__(self, *, buffer: Buffer, store: LedgerStore, clock: Clock, metrics: Metrics) -> None:
        self._buffer = buffer
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._beaten_at = -_BEAT_SECONDS
        self._entries_max = ENTRIES_PER_DRAIN

    async def run(self) -> None:
        """Drain for ever. What can't be done now is tried again, with a growing, jittered pause."""
        pause = _RETRY_SECONDS_MIN
        try:
            while True:
                try:
                    is_idle = not await self.drain_once()
                except StoreError as error:
                    self._metrics.buffer_drains.labels("postponed").inc()
                    log.warning("drain_postponed", reason=mask_text(error.message), pause_seconds=pause)
                    await self._clock.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (jitter, not a secret)
                    pause = min(pause * 2, _RETRY_SECONDS_MAX)
                    continue
                pause = _RETRY_SECONDS_MIN
                if is_idle:
                    await self._clock.sleep(_IDLE_SECONDS)
        finally:
            self._show(entries=0, size=0, lag_seconds=0.0)  # Whoever drains next shows it.

    async def drain_once(self) -> int:
        """Commit and settle the oldest entries; return how many. Raises StoreUnavailable; nothing is lost then."""
        entries = await self._read()
        if entries:
            answers = await self._commit(entries)
            await self._buffer.settle(entries, answers)
            self._metrics.buffer_drained_batches.inc(len(entries))
        await self._beat(is_idle=not entries)
        return len(entries)

    async def _read(self) -> Sequence[Entry]:
        """Read the oldest entries: fewer at once where so many were too much, as they are over a slow network."""
        try:
            entries = await self._buffer.read(limit=self._entries_max)
        except StoreError:
            self._entries_max = max(1, self._entries_max // 2)
            raise
        self._entries_max = min(ENTRIES_PER_DRAIN, self._entries_max + 1)
        return entries

    async def _commit(self, entries: Sequence[Entry]) -> dict[str, Answer]:
        """Commit what the entries hold; return the answer to the last entry of each producer."""
        batches: list[Batch] = []
        refused: set[str] = set()
        for entry in entries:
            batch = decode_batch(entry.payload)
            if batch is None or batch.producer_id != entry.producer_id:
                log.warning("entry_unreadable", producer_id=entry.producer_id)
                refused.add(entry.producer_id)
            else:
                batches.append(batch)
            await asyncio.sleep(0)
        watermarks = await self._commit_batches(batches, refused)
        nonces = {entry.producer_id: entry.nonce for entry in entries}
        return {
            producer_id: Answer(
                nonce=nonce, watermark=watermarks.get(producer_id, 0), is_refused=producer_id in refused
            )
            for producer_id, nonce in nonces.items()
        }

    async def _commit_batches(self, batches: Sequence[Batch], refused: set[str]) -> dict[str, int]:
        """Commit batches in one transaction, or find by halves whose is refused and commit the others."""
        watermarks: dict[str, int] = {}
        waiting = [batches] if batches else []
        while waiting:
            some = waiting.pop()
            try:
                watermarks |= await self._store.commit_many(some)
            except RowRefused as error:
                self._metrics.buffer_drains.labels("refused").inc()
                if len(some) == 1:
                    log.warning("entry_refused", producer_id=some[0].producer_id, reason=mask_text(error.message))
                    refused.add(some[0].producer_id)
                else:
                    middle = len(some) // 2
                    waiting += [some[middle:], some[:middle]]
                continue
            self._metrics.buffer_drains.labels("committed").inc()
        return watermarks

    async def _beat(self, *, is_idle: bool) -> None:
        """Now and then say that the buffer is drained, if only by finding nothing, and show how large it is."""
        now = self._clock.monotonic()
        if now - self._beaten_at < _BEAT_SECONDS:
            return
        self._beaten_at = now
        if is_idle:
            await self._buffer.settle((), {})
        size = await self._buffer.size()
        self._show(entries=size.entries, size=size.bytes, lag_seconds=size.lag_seconds)

    def _show(self, *, entries: int, size: int, lag_seconds: float) -> None:
        self._metrics.buffer_entries.set(entries)
        self._metrics.buffer_bytes.set(size)
        self._metrics.buffer_lag_seconds.set(lag_seconds)
