"""Events and journals for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tallystick.ledger.event import SpendEvent
from tallystick.ledger.journal import Journal, JournalLimits, open_journal
from tallystick.ledger.slots import claim_slot
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.ids import new_event_id, truncate_to_millisecond
from tallystick.runtime.telemetry import Metrics
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
