"""Writes down calls that another library makes: an intent before, an event after, both in our own journal.

any thread ── begin, end ──> the engine's event loop ──> journal ──> committer ──> database
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import cast

import msgspec

from tallystick.bootstrap import Services
from tallystick.client.engine import Engine
from tallystick.client.runtime import Runtime
from tallystick.ledger.event import CostStatus, SpendEvent
from tallystick.pricing.cost import price_usage


class Recorder:
    """Records calls that are described as events without a cost. Any thread may use it.

    What `begin` and `end` return is done when it is in the journal, as safe as `journal_sync` promises, and has the
    event as it was written. They raise TallystickError when the ledger can't be opened.
    """

    def __init__(self, open_services: Callable[[], Services]) -> None:
        """`open_services` is asked when the first call begins, and again in each process that is forked."""
        self._runtime = Runtime(open_services)

    def begin(self, intent: SpendEvent) -> Future[SpendEvent]:
        """Write an intent: the event as it should read if nothing more is heard of the call."""
        engine = self._runtime.engine()
        return engine.submit(self._begin(engine, intent))

    def end(
        self, event: SpendEvent, *, reported_nano_usd: int | None = None, reported_first: bool = False
    ) -> Future[SpendEvent]:
        """Write an event, priced by the price list; with `reported_first`, or without a price there, by what is told.

        Each event id may be given once.
        """
        engine = self._runtime.engine()
        return engine.submit(
            self._end(engine, event, reported_nano_usd=reported_nano_usd, reported_first=reported_first)
        )

    def flush(self, *, timeout_seconds: float) -> None:
        """Return when the database has all events that are in the journal now. Raises NotCommittedInTime."""
        engine = self._runtime.running
        if engine is not None:
            engine.submit(engine.dispatcher.flush(timeout_seconds)).result()

    def close(self, *, timeout_seconds: float) -> bool:
        """End it for good; False when the database did not take everything in time: the journal keeps the rest."""
        return self._runtime.close(timeout_seconds=timeout_seconds)

    async def _begin(self, engine: Engine, intent: SpendEvent) -> SpendEvent:
        priced = _priced(engine.services, intent, None, reported_first=False)
        engine.services.ledger.journal.append_intent(priced)
        return priced

    async def _end(
        self, engine: Engine, event: SpendEvent, *, reported_nano_usd: int | None, reported_first: bool
    ) -> SpendEvent:
        # Nothing is awaited before the event is in the journal: the end of the process cancels what waits.
        priced = _priced(engine.services, event, reported_nano_usd, reported_first=reported_first)
        journal = engine.services.ledger.journal
        seq = journal.append_event(priced)
        if seq is not None:
            await journal.settled(seq)
        return priced


def _priced(
    services: Services, event: SpendEvent, reported_nano_usd: int | None, *, reported_first: bool
) -> SpendEvent:
    if event.usage_source == "none" and reported_nano_usd is None:
        return event
    if reported_first and reported_nano_usd is not None:
        cost = price_usage(event.usage, None, reported_nano_usd=reported_nano_usd)
    else:
        price = services.snapshot().pass_through.find_price(event.provider, event.model)
        cost = price_usage(event.usage, price)
        if cost.status == "unpriced" and reported_nano_usd is not None:
            cost = price_usage(event.usage, None, reported_nano_usd=reported_nano_usd)
    return msgspec.structs.replace(
        event,
        cost_nano_usd=cost.nano_usd,
        cost_status=cast("CostStatus", cost.status),
        cost_breakdown=cost.breakdown,
        price_version=cost.price_version,
    )
