"""What the contract tests share: the ports of one engine in one bundle, events, and falsifications."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tallystick.access.budget_store import BudgetStore
from tallystick.access.kept_files import KeptFileStore
from tallystick.control.rotation import SpecStore
from tallystick.control.store import ControlStore
from tallystick.ledger.batch import ENTITY_TYPES, Batch, Counters, DeadLetter, TotalKey, batch_of, fold
from tallystick.ledger.batch_jobs import BatchJobStore
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.store import (
    CommittedEvent,
    EventFilter,
    LedgerAuditor,
    LedgerReader,
    LedgerStore,
    SumRow,
)
from tallystick.runtime.ids import new_event_id
from tallystick.runtime.instances import InstanceStore
from tallystick.testing import FakeClock, MemoryStore
from tallystick.wire.usage import Usage

START = datetime(2026, 3, 14, 9, 26, 53, 589000, tzinfo=UTC)
EVERYTHING = EventFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One database behind all its ports; `peer` is a second way into the same ledger, as another process has it."""

    kind: str
    ledger: LedgerStore
    peer: LedgerStore
    reader: LedgerReader
    auditor: LedgerAuditor
    control: ControlStore
    peer_control: ControlStore
    specs: SpecStore
    instances: InstanceStore
    batch_jobs: BatchJobStore
    kept_files: KeptFileStore
    clock: FakeClock
    tamper: Callable[[str], Awaitable[None]]
    budgets: BudgetStore
    peer_budgets: BudgetStore
    let_pass: Callable[[float], Awaitable[None]]
    """Let so many seconds pass, also for the database's own clock, by which leases are counted."""


def make_event(**fields: Any) -> SpendEvent:
    """Return an event of 2026-03-14; any field may be given, the id follows from `started_at`."""
    started_at = fields.pop("started_at", START)
    values: dict[str, Any] = {
        "event_id": new_event_id(started_at),
        "call_type": "chat",
        "endpoint": "/v1/chat/completions",
        "status": "success",
        "started_at": started_at,
        "ended_at": started_at + timedelta(seconds=1),
        "key_hash": "k1",
        "user_id": "u1",
        "team_id": "t1",
        "organization_id": "o1",
        "end_user_id": "e1",
        "tags": ("red", "blue"),
        "model_group": "small",
        "model": "small-1",
        "provider": "demo",
        "usage": Usage(input_tokens=10, output_tokens=5),
        "usage_source": "provider",
        "cost_nano_usd": 1_000,
        "cost_status": "priced",
    }
    return SpendEvent(**(values | fields))


def make_events(count: int, **fields: Any) -> list[SpendEvent]:
    """Return events of `count` successive milliseconds."""
    return [make_event(started_at=START + timedelta(milliseconds=index), **fields) for index in range(count)]


def make_batch(producer_id: str, first_seq: int, count: int, **fields: Any) -> Batch:
    return batch_of(producer_id, first_seq, make_events(count, **fields))


def with_dead_letter(batch: Batch, seq: int) -> Batch:
    """Return the batch with the event of this number turned into a dead letter."""
    position = batch.numbers.index(seq)
    event = batch.events[position]
    letter = DeadLetter(
        seq=seq, event_id=event.event_id, reason="refused", cost_nano_usd=event.cost_nano_usd, payload=b"\x00\xff"
    )
    return Batch(
        producer_id=batch.producer_id,
        first_seq=batch.first_seq,
        last_seq=batch.last_seq,
        numbers=batch.numbers[:position] + batch.numbers[position + 1 :],
        events=batch.events[:position] + batch.events[position + 1 :],
        dead_letters=(*batch.dead_letters, letter),
    )


def counters_of(row: SumRow) -> Counters:
    return [
        row.requests,
        row.successful_requests,
        row.failed_requests,
        row.input_tokens,
        row.output_tokens,
        row.cache_read_tokens,
        row.cache_write_tokens,
        row.reasoning_tokens,
        row.cost_nano_usd,
    ]


async def all_totals(engine: Engine) -> dict[TotalKey, Counters]:
    """Return every total that the store has."""
    totals: dict[TotalKey, Counters] = {}
    for entity_type in ENTITY_TYPES:
        for row in await engine.reader.totals(entity_type, limit=10_000):
            totals[entity_type, row.group["entity_id"], row.group["member_id"]] = counters_of(row)
    return totals


async def follow(
    engine: Engine, *, limit: int, cursor: str = "", where: EventFilter = EVERYTHING
) -> list[CommittedEvent]:
    """Read the feed to its end. `next` may lie behind the last event: what is filtered out or dead is passed, too."""
    found: list[CommittedEvent] = []
    while True:
        page = await engine.reader.events_after(cursor, limit=limit, where=where)
        assert len(page.events) <= limit
        found += page.events
        if page.next == cursor:
            assert not page.events
            return found
        cursor = page.next


async def assert_adds_up(engine: Engine, events: Iterable[SpendEvent]) -> None:
    """The sums are those of exactly these events, and the store's own audit agrees."""
    expected = fold(events)
    assert await all_totals(engine) == expected.totals
    audit = await engine.auditor.audit()
    assert audit.differences == ()
    assert audit.difference_count == 0
    assert audit.events == sum(1 for _ in events)


# Falsifications: the same by name for every engine. What they do to the sums, `repair` can mend; not so the rest.
BUDGETS_MENDABLE = {
    "change what was spent": "UPDATE budget_windows SET spent_nano_usd = spent_nano_usd + 3 WHERE scope_type = 'key'",
    "change what is leased": "UPDATE budget_windows SET leased_nano_usd = leased_nano_usd + 3 WHERE scope_type = 'key'",
    "change a lease": "UPDATE budget_leases SET amount_nano_usd = amount_nano_usd + 1",
    "lose a lease": "DELETE FROM budget_leases",
    "lose a leased window": "DELETE FROM budget_windows WHERE scope_type = 'key'",
}
MENDABLE = {
    "change a total": "UPDATE totals SET cost_nano_usd = cost_nano_usd + 1 WHERE entity_type = 'key'",
    "lose a total": "DELETE FROM totals WHERE entity_type = 'team_member'",
    "change the cube": "UPDATE daily_spend SET input_tokens = input_tokens - 1",
    "invent a day": """
        INSERT INTO daily_spend (
          day, key_hash, user_id, team_id, organization_id, model_group, model, provider, endpoint, tool, requests,
          successful_requests, failed_requests, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
          reasoning_tokens, cost_nano_usd
        ) VALUES ('2026-01-01', 'ghost', '', '', '', '', '', '', '', '', 1, 1, 0, 0, 0, 0, 0, 0, 5)
    """,
    "change a tag": "UPDATE daily_entity_spend SET requests = requests + 1 WHERE entity_type = 'tag'",
}
LASTING = {
    "lose an event": "DELETE FROM spend_events WHERE seq = 2",
    "change an event": "UPDATE spend_events SET cost_nano_usd = cost_nano_usd + 7 WHERE seq = 3",
    "lose a commit": "DELETE FROM commits WHERE position = 1",
    "change a commit": "UPDATE commits SET cost_nano_usd = cost_nano_usd + 1 WHERE position = 2",
    "bump a watermark": "UPDATE producers SET watermark = watermark + 1",
    "lose a dead letter": "DELETE FROM dead_letters",
}


def falsify_memory(store: MemoryStore, name: str) -> None:
    """Do to the books in memory what the statement of this name does to a database."""
    books = store.books
    match name:
        case "change a total":
            books.totals["key", "k1", ""][-1] += 1
        case "lose a total":
            del books.totals["team_member", "t1", "u1"]
        case "change the cube":
            next(iter(books.daily_spend.values()))[3] -= 1
        case "invent a day":
            books.daily_spend[datetime(2026, 1, 1, tzinfo=UTC).date(), "ghost", *[""] * 8] = [1, 1, *[0] * 6, 5]
        case "change a tag":
            next(row for key, row in books.daily_entity_spend.items() if key[1] == "tag")[0] += 1
        case "change what was spent":
            next(row for window, row in books.budgets.windows.items() if window.scope.type == "key").spent_nano_usd += 3
        case "change what is leased":
            next(
                row for window, row in books.budgets.windows.items() if window.scope.type == "key"
            ).leased_nano_usd += 3
        case "change a lease":
            for lease in books.budgets.leases.values():
                lease.amount_nano_usd += 1
        case "lose a lease":
            books.budgets.leases.clear()
        case "lose a leased window":
            books.budgets.windows = {
                window: row for window, row in books.budgets.windows.items() if window.scope.type != "key"
            }
        case "lose an event":
            books.events = [committed for committed in books.events if committed.seq != 2]
        case "change an event":
            books.events = [_dearer(committed) if committed.seq == 3 else committed for committed in books.events]
        case "lose a commit":
            del books.commits[0]
        case "change a commit":
            books.commits[1] = replace(books.commits[1], cost_nano_usd=books.commits[1].cost_nano_usd + 1)
        case "bump a watermark":
            books.watermarks = {producer_id: watermark + 1 for producer_id, watermark in books.watermarks.items()}
        case "lose a dead letter":
            books.dead_letters = []
        case _:
            raise AssertionError(name)


def _dearer(committed: CommittedEvent) -> CommittedEvent:
    event = msgspec.structs.replace(committed.event, cost_nano_usd=committed.event.cost_nano_usd + 7)
    return msgspec.structs.replace(committed, event=event)
