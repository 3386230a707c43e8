"""Events and journals for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tallystick.ledger.committer import Committer, CommitterLimits
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.journal import Journal, JournalLimits, open_journal
from tallystick.ledger.slots import claim_slot
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.ids import new_event_id, truncate_to_millisecond
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import MemoryStore
from tallystick.wire.usage import Usage

START = datetime(2026, 11, 23, 12, 0, 0, 123000, tzinfo=UTC)


def make_event(**fields: Any) -> SpendEvent:
    """Return a plausible event; any field may be given."""
    started_at = truncate_to_millisecond(fields.pop("started_at", START))
    values: dict[str, Any] = {
        "event_id": new_event_id(started_at),
        "call_type": "chat_completion",
        "endpoint": "/v1/chat/completions",
        "status": "success",
        "started_at": started_at,
        "ended_at": started_at,
        "key_hash": "k1",
        "user_id": "u1",
        "team_id": "t1",
        "organization_id": "o1",
        "model_group": "gpt",
        "model": "gpt-4o",
        "provider": "openai",
        "usage": Usage(input_tokens=10, output_tokens=5),
        "usage_source": "provider",
        "cost_nano_usd": 75_000,
        "cost_status": "priced",
    }
    values.update(fields)
    return SpendEvent(**values)


def journal_in(
    root: Path,
    *,
    confirmed: dict[str, int] | None = None,
    metrics: Metrics | None = None,
    **limits: Any,
) -> Journal:
    """Open a journal below `root` with small segments; needs a running event loop."""
    settings: dict[str, Any] = {"sync": "write", "segment_bytes": 64 * 1024, **limits}
    return open_journal(
        claim_slot(root),
        limits=JournalLimits(**settings),
        clock=SystemClock(),
        metrics=metrics or Metrics(),
        confirmed=confirmed or {},
    )


def crash(journal: Journal) -> None:
    """Let go of a journal as a killed process does: nothing is finished, only the lock is gone."""
    journal._sync.close()
    journal.slot.release()


def value_of(counter: Any) -> float:
    """Return a prometheus counter's or gauge's value."""
    return counter._value.get()


ONE_CALL = 1024
"""So small a segment that each call begins a new one."""


def committer_of(journal: Journal, store: MemoryStore, *, metrics: Metrics | None = None, **limits: Any) -> Committer:
    quick = {"batch_wait_seconds": 0.0, "retry_seconds_min": 0.001, "retry_seconds_max": 0.002, **limits}
    return Committer(
        journal=journal,
        store=store,
        limits=CommitterLimits(**quick),
        clock=SystemClock(),
        metrics=metrics or Metrics(),
    )


def append_calls(journal: Journal, count: int, **fields: Any) -> list[SpendEvent]:
    """Write calls as they come: the intent, then the event."""
    events = [make_event(**fields) for _ in range(count)]
    for event in events:
        journal.append_intent(event)
        journal.append_event(event)
    return events


def committed(store: MemoryStore) -> list[SpendEvent]:
    return [found.event for found in store.books.events]


def assert_adds_up(store: MemoryStore) -> None:
    assert store.books.audit(difference_limit=10).differences == ()
