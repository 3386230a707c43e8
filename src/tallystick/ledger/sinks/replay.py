"""Replay: send committed events to a sink again, from the ledger instead of the journal."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

from tallystick.errors import SinkRefused, SinkUnavailable
from tallystick.ledger.sinks.sink import NumberedEvent, Parcel, SinkPlan
from tallystick.ledger.store import EventFilter, LedgerReader
from tallystick.runtime.clock import Clock

_TRIES: Final = 6


class Replayed(msgspec.Struct, kw_only=True):
    """What a replay came to."""

    read: int = 0
    """Events that the ledger has from that time."""
    sent: int = 0
    present: int = 0
    """Those that the sink had, where it can tell."""
    unwanted: int = 0
    """Those that the sink is not sent by its `events`."""
    refused: int = 0


def _nothing(_replayed: Replayed) -> None:
    return


async def replay(
    reader: LedgerReader,
    plan: SinkPlan,
    *,
    since: datetime,
    until: datetime | None,
    clock: Clock,
    on_page: Callable[[Replayed], None] = _nothing,
) -> Replayed:
    """Send what the ledger has of calls that began in a time, in the order of commits.

    Sending it twice is harmless. Raises SinkUnavailable when the sink is away for long, StoreUnavailable; then it may
    be begun again.
    """
    done = Replayed()
    where = EventFilter(since=since, until=until)
    cursor = ""
    while True:
        page = await reader.events_after(cursor, limit=plan.terms.batch_events_max, where=where)
        if not page.events:
            return done
        cursor = page.next
        done.read += len(page.events)
        wanted = [
            NumberedEvent(committed.event, committed.producer_id, committed.seq)
            for committed in page.events
            if plan.terms.wants(committed.event)
        ]
        done.unwanted += len(page.events) - len(wanted)
        await _send_missing(plan, wanted, done, clock)
        on_page(done)


async def _send_missing(plan: SinkPlan, wanted: list[NumberedEvent], done: Replayed, clock: Clock) -> None:
    missing = await plan.sink.missing(wanted)
    done.present += len(wanted) - len(missing)
    waiting = [Parcel(events=tuple(missing))] if missing else []
    while waiting:
        part = waiting.pop()
        try:
            await _send(plan, part, clock)
        except SinkRefused:
            if len(part) == 1:
                done.refused += 1
            else:
                waiting.extend(reversed(part.parts()))
            continue
        done.sent += len(part)


async def _send(plan: SinkPlan, part: Parcel, clock: Clock) -> None:
    pause, tries = plan.terms.retry_seconds_min, 0
    while True:
        try:
            return await plan.sink.send(part)
        except SinkUnavailable as error:
            tries += 1
            if tries >= _TRIES:
                raise
            wanted = min(error.retry_after_seconds or 0.0, plan.terms.retry_seconds_max)
            await clock.sleep(max(wanted, pause * random.uniform(0.5, 1.0)))  # noqa: S311 (jitter, not a secret)
            pause = min(pause * 2, plan.terms.retry_seconds_max)
