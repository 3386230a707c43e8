"""The faults that the store in memory can be told to have."""

from __future__ import annotations

import pytest

from conformance.kit import make_batch, make_event
from tallystick.errors import RowRefused, StoreUnavailable
from tallystick.ledger.batch import batch_of
from tallystick.testing import MemoryStore


async def test_the_next_calls_fail_and_do_nothing() -> None:
    store = MemoryStore()
    store.fail_next(2)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await store.commit(make_batch("p", 1, 1))
    assert await store.watermark("p") == 0
    store.fail_next(1, OSError("something else"))
    with pytest.raises(OSError, match="something else"):
        await store.audit()
    assert store.calls == ["commit", "commit", "watermark", "audit"]


async def test_a_lost_reply_was_applied() -> None:
    store = MemoryStore()
    store.lose_reply_next()
    with pytest.raises(StoreUnavailable):
        await store.commit(make_batch("p", 1, 2))
    assert await store.watermark("p") == 2


async def test_a_store_that_is_away_stays_away() -> None:
    store = MemoryStore()
    store.away = True
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await store.watermark("p")
    store.away = False
    assert await store.watermark("p") == 0


async def test_events_that_are_refused_refuse_their_batch() -> None:
    store = MemoryStore()
    store.refuse(lambda event: event.user_id == "poison")
    bad = batch_of("p", 1, [make_event(), make_event(user_id="poison")])
    with pytest.raises(RowRefused):
        await store.commit(bad)
    assert await store.watermark("p") == 0
    store.refuse(None)
    assert await store.commit(bad) == 2
