"""The contract of `KeyStore`."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from conformance.kit import START, Engine, make_key
from tallystick.access.store import KeyChange, KeyFilter
from tallystick.errors import Conflict

ALL = KeyFilter()


async def test_a_key_comes_back_as_it_was_added(engine: Engine) -> None:
    key = make_key(
        "h1",
        created_by="admin",
        key_alias="Ünïque ✓",
        user_id="u",
        team_id="t",
        organization_id="o",
        models=("b", "a", "with,comma"),
        tags=("y", "x"),
        metadata={"deep": {"list": [1, 2.5, None, True, "ü"]}},
        blocked=True,
        expires_at=START + timedelta(days=3, microseconds=1),
        updated_at=START + timedelta(microseconds=5),
    )
    await engine.keys.insert(key)
    assert await engine.keys.find("h1") == key
    assert await engine.keys.find_by_alias("Ünïque ✓") == key
    plain = make_key("h2")
    await engine.keys.insert(plain)
    assert await engine.keys.find("h2") == plain


async def test_unknown_keys(engine: Engine) -> None:
    await engine.keys.insert(make_key("h1"))
    assert await engine.keys.find("h2") is None
    assert await engine.keys.find_by_alias("nobody") is None
    assert await engine.keys.find_by_alias("") is None
    assert await engine.keys.set_blocked("h2", True) is None
    assert await engine.keys.delete(("h2",)) == ()
    assert await engine.keys.revision() == 1


async def test_a_hash_or_an_alias_is_taken_once(engine: Engine) -> None:
    await engine.keys.insert(make_key("h1", key_alias="alias"))
    for twin in (make_key("h1"), make_key("h2", key_alias="alias")):
        with pytest.raises(Conflict):
            await engine.keys.insert(twin)
    await engine.keys.insert(make_key("h3"))
    await engine.keys.insert(make_key("h4"))
    assert await engine.keys.revision() == 3
    assert (await engine.keys.list_keys(ALL, offset=0, limit=10)).total_count == 3


async def test_of_two_that_want_one_alias_one_gets_it(engine: Engine) -> None:
    stores = (engine.keys, engine.peer_keys)
    replies = await asyncio.gather(
        *(stores[index % 2].insert(make_key(f"h{index}", key_alias="alias")) for index in range(6)),
        return_exceptions=True,
    )
    assert replies.count(None) == 1
    assert sum(isinstance(reply, Conflict) for reply in replies) == 5
    assert await engine.keys.revision() == 1


async def test_block_and_unblock(engine: Engine) -> None:
    await engine.keys.insert(make_key("h1"))
    engine.clock.advance(5)
    blocked = await engine.keys.set_blocked("h1", True)
    assert blocked is not None
    assert blocked.blocked
    assert blocked.updated_at == engine.clock.now()
    assert await engine.keys.find("h1") == blocked
    unblocked = await engine.keys.set_blocked("h1", False)
    assert unblocked is not None
    assert not unblocked.blocked
    assert [change.key_hash for change in await engine.keys.changes_after(0, limit=9)] == ["h1"] * 3


async def test_keys_are_deleted_all_or_none(engine: Engine) -> None:
    for name in ("h1", "h2", "h3"):
        await engine.keys.insert(make_key(name))
    assert await engine.keys.delete(("h1", "missing", "h2")) == ()
    assert (await engine.keys.list_keys(ALL, offset=0, limit=10)).total_count == 3
    assert await engine.keys.revision() == 3
    assert sorted(await engine.keys.delete(("h2", "h1"))) == ["h1", "h2"]
    assert await engine.keys.find("h1") is None
    assert (await engine.keys.list_keys(ALL, offset=0, limit=10)).total_count == 1
    assert await engine.keys.delete(("h1",)) == ()
    assert await engine.keys.delete(()) == ()
    changes = await engine.keys.changes_after(3, limit=10)
    assert sorted(change.key_hash for change in changes) == ["h1", "h2"]


async def test_a_deleted_key_does_not_come_back_but_its_alias_is_free(engine: Engine) -> None:
    await engine.keys.insert(make_key("h1", key_alias="alias"))
    await engine.keys.delete(("h1",))
    assert await engine.keys.find_by_alias("alias") is None
    assert await engine.keys.set_blocked("h1", False) is None
    with pytest.raises(Conflict):
        await engine.keys.insert(make_key("h1"))
    await engine.keys.insert(make_key("h2", key_alias="alias"))
    assert (await engine.keys.find_by_alias("alias")) == make_key("h2", key_alias="alias")


async def test_keys_are_listed_newest_first_by_page(engine: Engine) -> None:
    keys = [make_key(f"h{index}", created_at=START + timedelta(seconds=index)) for index in range(7)]
    for key in keys:
        await engine.keys.insert(key)
    pages = [await engine.keys.list_keys(ALL, offset=offset, limit=3) for offset in (0, 3, 6, 9)]
    assert [len(page.keys) for page in pages] == [3, 3, 1, 0]
    assert {page.total_count for page in pages} == {7}
    assert [key for page in pages for key in page.keys] == keys[::-1]


async def test_pages_do_not_repeat_keys_of_one_moment(engine: Engine) -> None:
    for index in range(5):
        await engine.keys.insert(make_key(f"h{index}"))
    pages = [await engine.keys.list_keys(ALL, offset=offset, limit=2) for offset in (0, 2, 4)]
    assert sorted(key.key_hash for page in pages for key in page.keys) == [f"h{index}" for index in range(5)]


async def test_keys_are_filtered(engine: Engine) -> None:
    await engine.keys.insert(make_key("h1", user_id="u1", team_id="t1", key_alias="a1"))
    await engine.keys.insert(make_key("h2", user_id="u1", organization_id="o1"))
    await engine.keys.insert(make_key("h3", user_id="u2", team_id="t1"))
    cases = {
        KeyFilter(user_id="u1"): ["h1", "h2"],
        KeyFilter(team_id="t1"): ["h1", "h3"],
        KeyFilter(organization_id="o1"): ["h2"],
        KeyFilter(key_hash="h3"): ["h3"],
        KeyFilter(key_alias="a1"): ["h1"],
        KeyFilter(user_id="u1", team_id="t1"): ["h1"],
        KeyFilter(user_id="nobody"): [],
    }
    for where, expected in cases.items():
        page = await engine.keys.list_keys(where, offset=0, limit=10)
        assert sorted(key.key_hash for key in page.keys) == expected, where
        assert page.total_count == len(expected)


async def test_the_feed_begins_empty_and_is_read_in_pieces(engine: Engine) -> None:
    assert await engine.keys.revision() == 0
    assert await engine.keys.changes_after(0, limit=5) == ()
    for index in range(5):
        await engine.keys.insert(make_key(f"h{index}"))
    everything = await engine.keys.changes_after(0, limit=100)
    assert [change.key_hash for change in everything] == [f"h{index}" for index in range(5)]
    revisions = [change.revision for change in everything]
    assert revisions == sorted(set(revisions))
    assert await engine.keys.revision() == revisions[-1]
    assert await engine.keys.changes_after(revisions[1], limit=2) == everything[2:4]
    assert await engine.keys.changes_after(revisions[-1], limit=2) == ()


async def test_no_change_appears_late_while_many_write(engine: Engine) -> None:
    done = asyncio.Event()

    async def write(writer: int) -> None:
        store = (engine.keys, engine.peer_keys)[writer % 2]
        for index in range(10):
            await store.insert(make_key(f"h{writer}-{index}"))
            await store.set_blocked(f"h{writer}-{index}", True)

    async def read() -> list[KeyChange]:
        seen: list[KeyChange] = []
        while True:
            last_round = done.is_set()
            changes = await engine.keys.changes_after(seen[-1].revision if seen else 0, limit=3)
            seen += changes
            if last_round and not changes:
                return seen

    async def write_all() -> None:
        await asyncio.gather(*(write(writer) for writer in range(4)))
        done.set()

    seen, _ = await asyncio.gather(read(), write_all())
    assert seen == list(await engine.keys.changes_after(0, limit=1_000))
    assert len(seen) == 80
