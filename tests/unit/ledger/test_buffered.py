"""Commits through the buffer, and past it: whatever becomes of the buffer, each event is committed once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import msgspec
import pytest

from ledger_kit import assert_adds_up, committed, make_event, value_of
from tallystick.errors import RowRefused, StoreUnavailable
from tallystick.ledger.batch import batch_of
from tallystick.ledger.buffer import Answer, decode_batch, encode_batch
from tallystick.ledger.buffered import ENTRY_BYTES, ENTRY_EVENTS, BufferedLedger
from tallystick.ledger.drain import ENTRIES_PER_DRAIN, Drain
from tallystick.ledger.event import SpendEvent
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock, MemoryStore
from tallystick.testing.buffer import MemoryBuffer

ResultT = TypeVar("ResultT")


class World:
    """A database, a buffer, one instance that commits, and a leader that may be told to drain."""

    def __init__(self, *, bytes_max: int = 1 << 30, reads_standby: bool = False) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore()
        self.buffer = MemoryBuffer(clock=self.clock, bytes_max=bytes_max)
        self.metrics = Metrics()
        self.ledger = BufferedLedger(
            store=self.store,
            buffer=self.buffer,
            wait_seconds=30,
            reads_standby=reads_standby,
            clock=self.clock,
            metrics=self.metrics,
        )
        self.drain = Drain(buffer=self.buffer, store=self.store, clock=self.clock, metrics=self.metrics)
        self.leads = True

    async def finish(self, work: Coroutine[Any, Any, ResultT], *, seconds: float = 100) -> ResultT:
        """Let time pass, and the leader drain if it leads, until the work is done."""
        task = asyncio.ensure_future(work)
        for _ in range(round(seconds / 0.05)):
            if self.leads:
                with suppress(StoreUnavailable):
                    await self.drain.drain_once()
            for _ in range(20):
                await asyncio.sleep(0)
            if task.done():
                return task.result()
            self.clock.advance(0.05)
        raise AssertionError("it is not done")

    def outcomes(self, name: str) -> float:
        return value_of(self.metrics.buffer_batches.labels(name))


@asynccontextmanager
async def world(**arguments: Any) -> AsyncIterator[World]:
    each = World(**arguments)
    await each.ledger.start()
    await each.drain.drain_once()
    await settle()  # It is tried whether the buffer answers.
    assert each.ledger.status().state == "buffered"
    try:
        yield each
    finally:
        await each.ledger.stop()
        assert_adds_up(each.store)


async def settle() -> None:
    for _ in range(40):
        await asyncio.sleep(0)


def commits(each: World) -> list[str]:
    return [call for call in each.store.calls if call.startswith("commit")]


def events(count: int) -> list[SpendEvent]:
    return [make_event() for _ in range(count)]


async def test_a_batch_goes_through_the_buffer_and_is_committed_by_the_leader() -> None:
    async with world() as each:
        run = events(3)
        assert await each.finish(each.ledger.commit(batch_of("p", 1, run))) == 3
        assert (committed(each.store), commits(each)) == (run, ["commit_many"])
        assert (each.outcomes("buffered"), each.buffer.entries) == (1, {})
        assert each.ledger.status().state == "buffered"


async def test_a_large_batch_goes_in_parts_and_is_answered_when_the_last_is_committed() -> None:
    async with world() as each:
        run = events(ENTRY_EVENTS * 3 + 1)
        assert await each.finish(each.ledger.commit(batch_of("p", 1, run))) == len(run)
        assert committed(each.store) == run
        assert each.buffer.calls.count("append") == 4


async def test_it_is_not_answered_before_the_database_has_it() -> None:
    async with world() as each:
        each.leads = False
        waiting = asyncio.ensure_future(each.ledger.commit(batch_of("p", 1, events(2))))
        for _ in range(40):
            await asyncio.sleep(0)
            each.clock.advance(0.01)
        assert not waiting.done()
        # An answer to something else, however promising, is none: the database may have been restored since.
        each.buffer.answers["p"] = Answer(nonce="of an earlier batch", watermark=1_000)
        for _ in range(40):
            await asyncio.sleep(0)
            each.clock.advance(0.01)
        assert not waiting.done()
        each.leads = True
        assert await each.finish(waiting) == 2


async def test_what_is_said_of_its_first_parts_does_not_answer_a_batch() -> None:
    async with world() as each:
        each.leads = False
        count = ENTRY_EVENTS + 1
        waiting = asyncio.ensure_future(each.ledger.commit(batch_of("p", 1, events(count))))
        await settle()
        first, last = (entry for entry, _ in each.buffer.entries.values())
        each.buffer.answers["p"] = Answer(nonce=first.nonce, watermark=ENTRY_EVENTS)
        await settle()
        each.clock.advance(0.1)
        await settle()
        assert not waiting.done()
        assert last.entry_id in each.buffer.entries
        each.leads = True
        assert await each.finish(waiting) == count


async def test_what_another_database_has_committed_is_committed_here() -> None:
    """A copy of our database may have the same buffer, and a leader: its word does not count."""
    async with world() as each:
        each.leads = False
        copy = MemoryStore()
        drain = Drain(buffer=each.buffer, store=copy, clock=each.clock, metrics=Metrics())
        run = events(2)
        waiting = asyncio.ensure_future(each.ledger.commit(batch_of("p", 1, run)))
        await settle()
        assert await drain.drain_once() == 1
        assert await each.finish(waiting) == 2
        assert committed(each.store) == run
        assert (each.outcomes("elsewhere"), each.store.calls[-1]) == (1, "commit")


async def test_where_the_database_is_a_standby_it_is_waited_for() -> None:
    async with world(reads_standby=True) as each:
        each.leads = False
        primary = MemoryStore()
        drain = Drain(buffer=each.buffer, store=primary, clock=each.clock, metrics=Metrics())
        batch = batch_of("p", 1, events(2))
        waiting = asyncio.ensure_future(each.ledger.commit(batch))
        await settle()
        assert await drain.drain_once() == 1
        for _ in range(40):
            await settle()
            each.clock.advance(0.05)
        assert not waiting.done(), "the journal keeps it until the standby has it"
        await each.store.commit(batch)  # As the standby does when it replays.
        assert await each.finish(waiting) == 2
        assert (each.outcomes("buffered"), each.outcomes("elsewhere")) == (1, 0)


async def test_what_the_buffer_lost_is_sent_again() -> None:
    async with world() as each:
        each.leads = False
        waiting = asyncio.ensure_future(each.ledger.commit(batch_of("p", 1, events(2))))
        await settle()
        assert each.buffer.entries
        each.buffer.lose_everything()
        await each.buffer.settle((), {})  # The leader is there, and finds nothing.
        each.leads = True
        assert await each.finish(waiting) == 2
        assert (each.outcomes("lost"), each.outcomes("buffered"), commits(each)) == (1, 1, ["commit_many"])


async def test_where_the_buffer_is_away_commits_are_direct_at_once_and_it_is_used_again_when_it_is_back() -> None:
    async with world() as each:
        each.leads = False
        each.buffer.away = True
        assert await each.ledger.commit(batch_of("p", 1, events(2))) == 2
        asked = len(each.buffer.calls)
        assert await each.ledger.commit(batch_of("p", 3, events(2))) == 4
        assert len(each.buffer.calls) == asked, "no commit waits for a buffer that is known to be away"
        status = each.ledger.status()
        assert (status.state, "away" in status.reason) == ("direct", True)
        each.buffer.away = False
        await settle()
        each.clock.advance(1.1)
        await settle()
        each.leads = True
        assert await each.finish(each.ledger.commit(batch_of("p", 5, events(2)))) == 6
        assert commits(each) == ["commit", "commit", "commit_many"]


async def test_a_buffer_that_goes_away_while_a_batch_waits_lets_it_be_committed_directly() -> None:
    async with world() as each:
        each.leads = False
        waiting = asyncio.ensure_future(each.ledger.commit(batch_of("p", 1, events(2))))
        await settle()
        each.buffer.away = True
        assert await each.finish(waiting) == 2
        each.buffer.away = False
        assert await each.drain.drain_once() == 1, "what was in there changes nothing"
        assert len(committed(each.store)) == 2


async def test_where_nobody_drains_commits_are_direct() -> None:
    async with world() as each:
        each.leads = False
        assert await each.finish(each.ledger.commit(batch_of("p", 1, events(2)))) == 2
        assert each.ledger.status().reason == "no instance drains the buffer"
        assert await each.ledger.commit(batch_of("p", 3, events(2))) == 4, "the next one does not wait for it at all"
        assert each.outcomes("undrained") == 2
        each.leads = True
        await each.drain.drain_once()
        each.clock.advance(1)
        await each.drain.drain_once()
        assert await each.finish(each.ledger.commit(batch_of("p", 5, events(2)))) == 6
        assert each.outcomes("buffered") == 1


async def test_an_answer_that_does_not_come_is_not_waited_for_longer_than_the_setting_says() -> None:
    async with world() as each:
        each.leads = False
        begun = each.clock.monotonic()
        waiting = asyncio.ensure_future(each.ledger.commit(batch_of("p", 1, events(2))))
        while not waiting.done():
            await each.buffer.settle((), {})  # Somebody says that it drains, and does not.
            for _ in range(5):
                await asyncio.sleep(0)
            each.clock.advance(0.05)
        assert await waiting == 2
        assert 29 < each.clock.monotonic() - begun < 32
        assert each.outcomes("overdue") == 1


async def test_a_full_buffer_leaves_the_events_in_the_journal_until_there_is_room() -> None:
    async with world(bytes_max=1) as each:
        each.leads = False
        first = asyncio.ensure_future(each.ledger.commit(batch_of("p", 1, events(2))))
        await settle()
        second = asyncio.ensure_future(each.ledger.commit(batch_of("q", 1, events(2))))
        for _ in range(40):
            await asyncio.sleep(0)
            each.clock.advance(0.01)
        assert len(each.buffer.entries) == 1
        assert not second.done()
        each.leads = True
        assert await each.finish(first) == 2
        assert await each.finish(second) == 2
        assert each.outcomes("full") >= 1


async def test_a_refused_batch_goes_back_to_its_producer_and_takes_no_other_with_it() -> None:
    async with world() as each:
        poison = make_event(user_id="poison")
        each.store.refuse(lambda event: event.user_id == "poison")
        good = [asyncio.ensure_future(each.ledger.commit(batch_of(f"p{n}", 1, events(2)))) for n in range(3)]
        with pytest.raises(RowRefused):
            await each.finish(each.ledger.commit(batch_of("bad", 1, [poison, *events(1)])))
        assert [await each.finish(one) for one in good] == [2, 2, 2]
        assert each.outcomes("refused") == 1
        each.store.refuse(None)
        assert await each.finish(each.ledger.commit(batch_of("bad", 1, [poison]))) == 1


async def test_a_database_that_is_away_leaves_everything_where_it_is() -> None:
    async with world() as each:
        each.store.away = True
        with pytest.raises(StoreUnavailable):
            await each.finish(each.ledger.commit(batch_of("p", 1, events(2))))
        assert len(each.buffer.entries) == 1
        with pytest.raises(StoreUnavailable):
            await each.ledger.commit(batch_of("p", 1, events(2)))
        assert len(each.buffer.entries) == 1, "trying again fills no buffer that nobody drains"
        each.store.away = False
        each.buffer.lose_everything()


async def test_at_the_end_nothing_waits_for_an_answer() -> None:
    async with world() as each:
        each.leads = False
        waiting = asyncio.ensure_future(each.ledger.commit(batch_of("p", 1, events(2))))
        await settle()
        await each.ledger.stop()
        assert await each.finish(waiting, seconds=1) == 2
        assert await each.ledger.commit(batch_of("p", 3, events(1))) == 3
        assert each.store.calls == ["commit", "commit"]


async def test_a_gap_in_the_database_is_told_as_it_is() -> None:
    async with world() as each:
        assert await each.finish(each.ledger.commit(batch_of("p", 4, events(2)))) == 0
        assert committed(each.store) == []


async def test_a_batch_that_can_not_be_written_down_is_left_to_the_database() -> None:
    async with world() as each:
        each.leads = False
        each.store.refuse(lambda event: event.user_id == "\ud800")
        with pytest.raises(RowRefused):
            await each.ledger.commit(batch_of("p", 1, [make_event(user_id="\ud800")]))


# What is written down


def test_a_batch_is_read_as_it_was_written() -> None:
    batch = batch_of("p", 7, [make_event(tags=("a", "ü"), metadata={"deep": [1, {"x": None}]}) for _ in range(3)])
    assert decode_batch(encode_batch(batch)) == batch


def test_what_another_version_wrote_is_not_read_in_part() -> None:
    payload = encode_batch(batch_of("p", 1, events(1)))
    assert decode_batch(b"\0\0\0\0" + payload[4:]) is None
    assert decode_batch(payload[:4] + msgspec.msgpack.encode({"producer_id": "p"})) is None
    assert decode_batch(b"") is None


def test_what_makes_no_sense_is_no_batch() -> None:
    batch = msgspec.structs.asdict(batch_of("p", 1, events(2))) | {"last_seq": 9}
    assert decode_batch(payload_of(batch)) is None


def payload_of(fields: dict[str, Any]) -> bytes:
    """Return what `encode_batch` would write if such a batch could be."""
    return encode_batch(batch_of("p", 1, events(1)))[:4] + msgspec.msgpack.encode(fields)


async def test_an_entry_of_another_version_goes_back_to_its_producer() -> None:
    async with world() as each:
        each.leads = False
        waiting = asyncio.ensure_future(each.ledger.commit(batch_of("p", 1, events(2))))
        await settle()
        ((entry_id, (entry, came)),) = each.buffer.entries.items()
        each.buffer.entries[entry_id] = (msgspec.structs.replace(entry, payload=b"\0\0\0\0rest"), came)
        each.leads = True
        assert await each.finish(waiting) == 2
        assert (each.outcomes("refused"), each.store.calls) == (1, ["commit"])


async def test_an_entry_with_somebody_elses_batch_is_refused() -> None:
    async with world() as each:
        each.leads = False
        waiting = asyncio.ensure_future(each.ledger.commit(batch_of("p", 1, events(2))))
        await settle()
        ((entry_id, (entry, came)),) = each.buffer.entries.items()
        forged = encode_batch(batch_of("other", 1, events(2)))
        each.buffer.entries[entry_id] = (msgspec.structs.replace(entry, payload=forged), came)
        each.leads = True
        assert await each.finish(waiting) == 2
        assert each.outcomes("refused") == 1
        assert await each.store.watermark("other") == 0


async def test_an_event_that_is_too_large_for_the_buffer_is_committed_directly() -> None:
    async with world() as each:
        large = make_event(metadata={"text": "x" * ENTRY_BYTES})
        assert await each.finish(each.ledger.commit(batch_of("p", 1, [*events(1), large, *events(1)]))) == 3
        assert max(map(len, (entry.payload for entry, _ in each.buffer.entries.values())), default=0) < ENTRY_BYTES
        assert each.outcomes("refused") == 1


async def test_less_is_read_at_once_where_so_much_is_too_much() -> None:
    async with world() as each:
        for number in range(ENTRIES_PER_DRAIN):
            await each.buffer.append(f"p{number}", "n", encode_batch(batch_of(f"p{number}", 1, events(1))))
        slow = SlowBuffer(each.buffer, entries_max=3)
        drain = Drain(buffer=slow, store=each.store, clock=each.clock, metrics=Metrics())  # type: ignore[arg-type]
        for _ in range(40):
            with suppress(StoreUnavailable):
                await drain.drain_once()
        assert each.buffer.entries == {}


class SlowBuffer:
    """Gives no more than so many entries in time."""

    def __init__(self, buffer: MemoryBuffer, *, entries_max: int) -> None:
        self._buffer = buffer
        self._entries_max = entries_max

    async def read(self, *, limit: int) -> Any:
        if limit > self._entries_max:
            raise StoreUnavailable("It took too long.")
        return await self._buffer.read(limit=limit)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._buffer, name)
