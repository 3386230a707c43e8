"""All sinks of one journal, and all journals of one process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from tallystick.errors import SinkUnavailable
from tallystick.ledger.journal import Journal
from tallystick.ledger.sinks.forwarder import Forwarder
from tallystick.ledger.sinks.meter import SinkMeter, SinkStatus
from tallystick.ledger.sinks.sink import SinkPlan
from tallystick.runtime.clock import Clock
from tallystick.runtime.service import SupervisedLoop
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger()


class JournalForwarding:
    """The forwarders of one journal."""

    def __init__(self, forwarders: dict[str, Forwarder], *, slot: str, clock: Clock, metrics: Metrics) -> None:
        self._forwarders = forwarders
        self._slot = slot
        self._loops = [
            SupervisedLoop(f"sink_{name}", forwarder.run, clock=clock, metrics=metrics)
            for name, forwarder in forwarders.items()
        ]
        self._last_loops = [
            SupervisedLoop(f"sink_{name}", forwarder.finish, clock=clock, metrics=metrics)
            for name, forwarder in forwarders.items()
        ]

    async def start(self) -> None:
        """Send what comes."""
        for loop in self._loops:
            await loop.start()

    async def start_finishing(self) -> None:
        """Send what is there, of a journal to which nothing is added any more."""
        for loop in self._last_loops:
            await loop.start()

    @property
    def is_finished(self) -> bool:
        """Whether everything is sent that there was when `start_finishing` was called."""
        return all(loop.health().state == "finished" for loop in self._last_loops)

    async def stop(self) -> None:
        """Stop sending; what is not noted as sent is sent again by whoever comes next."""
        for loop in (*self._loops, *self._last_loops):
            await loop.stop()

    async def drain(self, seconds: float) -> None:
        """Send what is left, all sinks at once, within a time. What a sink does not take stays in the journal."""

        async def drain(name: str, forwarder: Forwarder) -> None:
            try:
                async with asyncio.timeout(seconds):
                    await forwarder.drain()
            except (SinkUnavailable, TimeoutError) as error:
                log.warning("sink_left_events", sink=name, slot=self._slot, reason=type(error).__name__)

        await asyncio.gather(*(drain(name, forwarder) for name, forwarder in self._forwarders.items()))

    def close(self) -> None:
        for forwarder in self._forwarders.values():
            forwarder.close()


class Forwarding:
    """Makes the forwarders of each journal that this process opens, and shows how the sinks are."""

    def __init__(self, plans: Sequence[SinkPlan], *, clock: Clock, metrics: Metrics) -> None:
        self._plans = tuple(plans)
        self._meters = {plan.name: SinkMeter(plan.name, plan.sink.kind, metrics) for plan in plans}
        self._clock = clock
        self._metrics = metrics

    def of(self, journal: Journal) -> JournalForwarding:
        """Return the forwarders of a journal. From now on it keeps what they have not sent."""
        forwarders = {
            plan.name: Forwarder(journal=journal, plan=plan, meter=self._meters[plan.name], clock=self._clock)
            for plan in self._plans
        }
        return JournalForwarding(forwarders, slot=journal.slot.name, clock=self._clock, metrics=self._metrics)

    @property
    def has_sinks(self) -> bool:
        return bool(self._plans)

    def statuses(self) -> tuple[SinkStatus, ...]:
        return tuple(meter.status() for meter in self._meters.values())

    async def aclose(self) -> None:
        """Close the connections of all sinks."""
        for plan in self._plans:
            await plan.sink.aclose()
