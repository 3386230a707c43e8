"""Rate limits that instances share: what one instance sends to the store, and what it does while the store is away.

Calls that wait at the same moment are sent together, in one step, by one loop: so nothing of a call that is cancelled
is left half done, and what a call gives back arrives before what the next one takes. A batch whose answer was lost is
sent again under its number until the answer comes. Nobody waits for that: the calls in it are counted in memory
meanwhile, and what was taken for them all the same is given back afterwards.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec
import structlog

from tallystick.access.rates.quota import Quota
from tallystick.access.rates.sliding_window import slice_ms_of
from tallystick.access.rates.store import Batch, Correction, RateStore, Slot, Take, TakeReply
from tallystick.errors import RowRefused, StoreUnavailable
from tallystick.runtime.clock import Clock
from tallystick.runtime.masking import mask_text
from tallystick.runtime.service import ServiceGroup, SupervisedLoop
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger(__name__)

TAKES_PER_BATCH: Final = 64
COUNTERS_PER_BATCH: Final = 500
"""So that no batch keeps others waiting for long: Redis takes about 4 µs for one."""
CHANGES_PER_BATCH: Final = 500
HEARTBEAT_SECONDS: Final = 10.0
"""Slots of calls that run longer are renewed so often; a store keeps one three times as long."""
_RETRY_SECONDS: Final = 1.0
_QUEUE_MAX: Final = 10_000


_Key = TypeVar("_Key")
_Change = TypeVar("_Change")


class RateStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How rate limits are counted now."""

    counted: Literal["shared", "per_instance"]
    reason: str = ""
    """Why not shared."""


class _Waiter(NamedTuple):
    take: Take
    answer: asyncio.Future[TakeReply | None]


class SharedRates:
    """A `Service`. `take` says None where the store is away: then the instance counts for itself."""

    name = "shared_rates"

    def __init__(self, store: RateStore, *, clock: Clock, metrics: Metrics, queue_max: int = _QUEUE_MAX) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._queue_max = queue_max
        self._number = 0
        self._sending: tuple[Batch, list[_Waiter]] | None = None
        self._waiters: deque[_Waiter] = deque()
        self._releases: dict[tuple[str, str], Slot] = {}
        self._corrections: dict[tuple[str, int], Correction] = {}
        self._renewals: deque[Slot] = deque()
        self._running: dict[tuple[str, str], tuple[Slot, float]] = {}
        self._away_because = "not connected yet"
        self._wake = asyncio.Event()
        self._loops = ServiceGroup(
            (
                SupervisedLoop("rate_sender", self._send_for_ever, clock=clock, metrics=metrics),
                SupervisedLoop("rate_heartbeat", self._renew_for_ever, clock=clock, metrics=metrics),
            )
        )

    @property
    def is_shared(self) -> bool:
        """Whether the store answered last."""
        return not self._away_because

    def status(self) -> RateStatus:
        """Tell how limits are counted, for health pages."""
        if self.is_shared:
            return RateStatus(counted="shared")
        return RateStatus(counted="per_instance", reason=self._away_because)

    async def start(self) -> None:
        """Try the store once, and go on trying where it is away."""
        self._metrics.rate_limits_shared.set(0)
        await self._send_next()
        await self._loops.start()

    async def stop(self) -> None:
        """Send what is left, if the store takes it at once, and close it."""
        await self._loops.stop()
        while self.is_shared and (self._sending is not None or self._has_work):
            await self._send_next()
        self._give_up_waiters()
        await self._store.close()

    async def take(self, quotas: tuple[Quota, ...], amounts: tuple[int, ...], call_id: str) -> TakeReply | None:
        """Take an amount of every quota or of none; None when the store can't be asked."""
        if self._away_because or len(self._waiters) >= self._queue_max:
            return None
        answer: asyncio.Future[TakeReply | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(_Waiter(Take(quotas, amounts, call_id), answer))
        self._wake.set()
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled():  # It came in the same moment.
                self._give_back(quotas, amounts, call_id, answer.result())
            raise

    def correct(self, quota: Quota, amount: int, taken_ms: int) -> None:
        """Count `amount` more than was taken then, or less, soon."""
        # What was taken in one slice is corrected as one.
        key = (quota.key, taken_ms // slice_ms_of(quota.window_ms))
        known = self._corrections.get(key)
        if known is not None:
            amount += known.amount
        elif len(self._corrections) >= self._queue_max:
            self._metrics.rate_changes_dropped.inc()
            return
        self._corrections[key] = Correction(quota, amount, taken_ms)
        self._wake.set()

    def release(self, quota: Quota, call_id: str) -> None:
        """Count a running call no more, soon."""
        key = (quota.key, call_id)
        self._running.pop(key, None)
        if len(self._releases) >= self._queue_max:
            self._metrics.rate_changes_dropped.inc()  # It lapses.
            return
        self._releases[key] = Slot(quota, call_id)
        self._wake.set()

    async def _send_for_ever(self) -> None:
        while True:
            if not self.is_shared:
                await self._clock.sleep(_RETRY_SECONDS)
            elif self._sending is None and not self._has_work:
                await self._wake.wait()
            self._wake.clear()
            await self._send_next()

    async def _renew_for_ever(self) -> None:
        while True:
            await self._clock.sleep(HEARTBEAT_SECONDS)
            if self._renewals or not self.is_shared:
                continue  # The store has not even the last ones.
            before = self._clock.monotonic() - HEARTBEAT_SECONDS / 2
            self._renewals.extend(slot for slot, since in self._running.values() if since <= before)
            if self._renewals:
                self._wake.set()

    @property
    def _has_work(self) -> bool:
        return bool(self._waiters or self._releases or self._corrections or self._renewals)

    async def _send_next(self) -> None:
        """Send one batch and pass its answers on."""
        if self._sending is None:
            self._sending = self._next_batch()
        batch, waiters = self._sending
        replies: Sequence[TakeReply | None]
        try:
            replies = await self._store.apply(batch)
        except StoreUnavailable as error:
            self._go_away(error)
            return
        except RowRefused as error:
            log.error("rate_batch_refused", reason=mask_text(error.message))  # noqa: TRY400 - the reason says it all.
            self._metrics.redis_errors.labels("refused").inc()
            self._metrics.rate_changes_dropped.inc(len(batch.releases) + len(batch.corrections))
            replies = tuple(None for _ in waiters)
        self._sending = None
        self._come_back()
        for waiter, reply in zip(waiters, replies, strict=True):
            self._answer(waiter, reply)

    def _next_batch(self) -> tuple[Batch, list[_Waiter]]:
        self._number += 1
        waiters: list[_Waiter] = []
        counters = 0
        while self._waiters and len(waiters) < TAKES_PER_BATCH and counters < COUNTERS_PER_BATCH:
            waiter = self._waiters.popleft()
            if not waiter.answer.done():  # Else its call was cancelled.
                waiters.append(waiter)
                counters += len(waiter.take.quotas)
        batch = Batch(
            number=self._number,
            releases=_taken_out(self._releases),
            corrections=_taken_out(self._corrections),
            renewals=self._next_renewals(),
            takes=[waiter.take for waiter in waiters],
        )
        return batch, waiters

    def _next_renewals(self) -> Sequence[Slot]:
        """Return slots of calls that still run: what is released is not to come back."""
        some = [self._renewals.popleft() for _ in range(min(CHANGES_PER_BATCH, len(self._renewals)))]
        return [slot for slot in some if (slot.quota.key, slot.call_id) in self._running]

    def _answer(self, waiter: _Waiter, reply: TakeReply | None) -> None:
        quotas, amounts, call_id = waiter.take
        if waiter.answer.done():  # Its call was cancelled, or went on without the store.
            self._give_back(quotas, amounts, call_id, reply)
            return
        waiter.answer.set_result(reply)
        if reply is not None and reply.granted:
            now = self._clock.monotonic()
            for quota in quotas:
                if quota.kind == "parallel":
                    self._running[quota.key, call_id] = (Slot(quota, call_id), now)

    def _give_back(
        self, quotas: Sequence[Quota], amounts: Sequence[int], call_id: str, reply: TakeReply | None
    ) -> None:
        if reply is None or not reply.granted:
            return
        for quota, amount in zip(quotas, amounts, strict=True):
            if quota.kind == "parallel":
                self.release(quota, call_id)
            else:
                self.correct(quota, -amount, reply.at_ms)

    def _go_away(self, error: StoreUnavailable) -> None:
        if self.is_shared:
            log.warning("rate_limits_per_instance", reason=mask_text(error.message))
        self._away_because = mask_text(error.message) or "it does not answer"
        self._metrics.redis_errors.labels("unavailable").inc()
        self._metrics.rate_limits_shared.set(0)
        self._give_up_waiters()

    def _give_up_waiters(self) -> None:
        """Let every call go on without the store."""
        sent = self._sending[1] if self._sending is not None else []
        for waiter in (*sent, *self._waiters):
            if not waiter.answer.done():
                waiter.answer.set_result(None)
        self._waiters.clear()

    def _come_back(self) -> None:
        if self._away_because:
            log.info("rate_limits_shared")
        self._away_because = ""
        self._metrics.rate_limits_shared.set(1)


def _taken_out(queue: dict[_Key, _Change]) -> Sequence[_Change]:
    """Take the first of a queue out of it."""
    keys = list(islice(queue, CHANGES_PER_BATCH))
    return [queue.pop(key) for key in keys]
