"""The contract of the change feed: every change once, in the order of commits, none late."""

from __future__ import annotations

import asyncio

from conformance.kit import Engine
from control_kit import add, apply, creation, deletion, found, make_key, make_team, update
from tallystick.control.store import FeedEntry


async def test_the_feed_begins_empty_and_is_read_in_pieces(engine: Engine) -> None:
    assert await engine.control.revision() == 0
    assert await engine.control.changes_after(0, limit=5) == ()
    (first,) = await add(engine.control, make_team("t0"))
    for number in range(1, 5):
        await add(engine.control, make_team(f"t{number}"))
    await apply(engine.control, update(first, name="x"))
    await apply(engine.control, deletion(await found(engine.control, first.ref)))
    everything = await engine.control.changes_after(0, limit=100)
    assert [entry.ref.object_id for entry in everything] == ["t0", "t1", "t2", "t3", "t4", "t0", "t0"]
    revisions = [entry.revision for entry in everything]
    assert revisions == list(range(1, 8))
    assert await engine.control.revision() == revisions[-1]
    assert await engine.control.changes_after(2, limit=2) == everything[2:4]
    assert await engine.peer_control.changes_after(revisions[-1], limit=2) == ()


async def test_no_change_appears_late_while_many_write(engine: Engine) -> None:
    done = asyncio.Event()

    async def write(writer: int) -> None:
        store = (engine.control, engine.peer_control)[writer % 2]
        for number in range(10):
            made = await add(store, make_key(f"h{writer}-{number}"), make_team(f"t{writer}-{number}"))
            await apply(store, *(update(held, blocked=True) for held in made))

    async def read() -> list[FeedEntry]:
        seen: list[FeedEntry] = []
        while True:
            last_round = done.is_set()
            changes = await engine.control.changes_after(seen[-1].revision if seen else 0, limit=3)
            seen += changes
            if last_round and not changes:
                return seen

    async def write_all() -> None:
        await asyncio.gather(*(write(writer) for writer in range(4)))
        done.set()

    seen, _ = await asyncio.gather(read(), write_all())
    assert seen == list(await engine.control.changes_after(0, limit=1_000))
    assert [entry.revision for entry in seen] == list(range(1, 161))
    for held in (await engine.control.load(["key", "team"])).objects:
        assert held.revision == max(entry.revision for entry in seen if entry.ref == held.ref)


async def test_a_wait_ends_with_the_timeout(engine: Engine) -> None:
    async def pass_time() -> None:
        while not waiting.done():
            engine.clock.advance(1)
            await asyncio.sleep(0.001)

    waiting = asyncio.ensure_future(engine.control.wait_for_change(timeout_seconds=0.05))
    async with asyncio.timeout(10):
        await asyncio.gather(waiting, pass_time())


async def test_a_change_may_end_a_wait(engine: Engine) -> None:
    """Whether it does is up to the engine; that the change is there then is not."""
    waiting = asyncio.ensure_future(engine.peer_control.wait_for_change(timeout_seconds=0.05))
    revision = await apply(engine.control, creation(make_team("t")))
    while not waiting.done():
        engine.clock.advance(1)
        await asyncio.sleep(0.001)
    await waiting
    assert [entry.revision for entry in await engine.peer_control.changes_after(0, limit=10)] == [revision]
