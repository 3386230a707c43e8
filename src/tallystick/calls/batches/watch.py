"""The leader's job: looks at batches that are not charged, sooner at first, and closes those that the ledger has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from tallystick.calls.batches.charging import Charger
from tallystick.errors import StoreError, TallystickError
from tallystick.ledger.batch_jobs import BatchJob, BatchJobStore
from tallystick.runtime.clock import Clock
from tallystick.runtime.masking import mask_text
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger(__name__)

TICK_SECONDS: Final = 5.0
CLAIM: Final = timedelta(minutes=5)
"""So long who has taken a batch may be at it before somebody else does the same."""
_LOOKS_AT_ONCE: Final = 8


class BatchWatch:
    """Runs for ever; more than one of them is harmless."""

    def __init__(
        self, *, jobs: BatchJobStore, charger: Callable[[], Charger | None], clock: Clock, metrics: Metrics
    ) -> None:
        """`charger` returns None until the process has begun to serve."""
        self._jobs = jobs
        self._charger = charger
        self._clock = clock
        self._metrics = metrics

    async def run(self) -> None:
        """Look again and again."""
        try:
            while True:
                try:
                    is_busy = await self.tick()
                except StoreError as error:
                    log.warning("batches_postponed", reason=mask_text(error.message))
                    is_busy = False
                if not is_busy:
                    await self._clock.sleep(TICK_SECONDS)
        finally:
            self._metrics.open_batches.set(0)  # Who leads next shows them.

    async def tick(self) -> bool:
        """Close what is charged and look at what is due; whether there may be more. Raises StoreUnavailable."""
        charger = self._charger()
        if charger is None:
            return False
        self._metrics.charged_batches.inc(await self._jobs.close_charged())
        now = self._clock.now()
        due = await self._jobs.take_due(now=now, until=now + CLAIM, limit=_LOOKS_AT_ONCE)
        await asyncio.gather(*(self._look(charger, job) for job in due))
        self._metrics.open_batches.set(sum((await self._jobs.count()).values()))
        return len(due) == _LOOKS_AT_ONCE

    async def _look(self, charger: Charger, job: BatchJob) -> None:
        try:
            await charger.look(job)
        except StoreError:
            raise
        except TallystickError as error:
            self._metrics.batch_looks_failed.inc()
            log.warning("batch_look_failed", job_id=job.job_id, reason=mask_text(error.message))
            await charger.postpone(job)
