"""What `verify_ledger` asks of an auditor, and when."""

from __future__ import annotations

import pytest

from ledger_kit import make_event
from tallystick.ledger.batch import batch_of
from tallystick.ledger.verify import verify_ledger
from tallystick.testing import MemoryStore


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await store.commit(batch_of("p", 1, [make_event(), make_event()]))
    store.calls.clear()
    return store


async def test_a_good_ledger_is_not_repaired(store: MemoryStore) -> None:
    found = await verify_ledger(store, repair=True, difference_limit=10)

    assert (found.is_good, found.rows_repaired) == (True, 0)
    assert store.calls == ["audit"]


async def test_without_repair_nothing_is_changed(store: MemoryStore) -> None:
    store.books.totals["key", "k1", ""][-1] += 1

    found = await verify_ledger(store, repair=False, difference_limit=10)

    assert (found.is_good, found.rows_repaired) == (False, None)
    assert store.calls == ["audit"]


async def test_only_the_audit_after_a_repair_counts(store: MemoryStore) -> None:
    store.books.totals["key", "k1", ""][-1] += 1

    found = await verify_ledger(store, repair=True, difference_limit=10)

    assert (found.is_good, found.rows_repaired) == (True, 1)
    assert store.calls == ["audit", "repair", "audit"]


async def test_a_missing_event_stays_a_difference(store: MemoryStore) -> None:
    del store.books.events[0]

    assert not (await verify_ledger(store, repair=True, difference_limit=10)).is_good
