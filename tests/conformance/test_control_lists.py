"""The contract of `ControlStore.list_objects`: filters, order, pages that do not overlap, search."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from conformance.kit import Engine
from control_kit import START, add, apply, deletion, make_key, make_member, make_team, update
from tallystick.control.objects import Kind
from tallystick.control.store import ObjectFilter, Scope

KEYS = ObjectFilter(kind=Kind.KEY)


def keys(**filters: Any) -> ObjectFilter:
    return ObjectFilter(kind=Kind.KEY, **filters)


async def listed(engine: Engine, where: ObjectFilter, **options: Any) -> list[str]:
    page = await engine.control.list_objects(where, **options)
    return [held.object_id for held in page.objects]


async def test_of_nothing_there_is_an_empty_page(engine: Engine) -> None:
    await add(engine.control, make_team("t"))
    page = await engine.control.list_objects(KEYS)
    assert (page.objects, page.total_count) == ((), 0)


async def test_filters(engine: Engine) -> None:
    objects = [
        make_key("h1", user_id="u1", team_id="t1", name="a1", budget_id="b1"),
        make_key("h2", user_id="u1", organization_id="o1"),
        make_key("h3", user_id="u2", team_id="t1", created_by="other", name="A1"),
        make_key("h4"),
    ]
    *_, last = await add(engine.control, *objects, make_team("h1", team_id="t1"), make_key("h5", team_id="t1"))
    await apply(engine.control, deletion(last))
    cases = {
        keys(): ["h1", "h2", "h3", "h4"],
        keys(user_ids=("u1",)): ["h1", "h2"],
        keys(user_ids=("u1", "u2", "nobody")): ["h1", "h2", "h3"],
        keys(user_ids=("",)): ["h4"],
        keys(user_ids=("", "u2")): ["h3", "h4"],
        keys(user_ids=()): [],
        keys(team_ids=("t1",)): ["h1", "h3"],
        keys(team_ids=("",)): ["h2", "h4"],
        keys(organization_ids=("o1",)): ["h2"],
        keys(budget_ids=("b1", "b2")): ["h1"],
        keys(budget_ids=("",)): ["h2", "h3", "h4"],
        keys(object_ids=("h3", "h5", "h9")): ["h3"],
        keys(object_ids=()): [],
        keys(names=("a1",)): ["h1"],
        keys(names=("",)): ["h2", "h4"],
        keys(created_by="other"): ["h3"],
        keys(created_by=""): [],
        keys(user_ids=("u1",), team_ids=("t1",)): ["h1"],
        keys(within=Scope()): [],
        keys(within=Scope(user_ids=("u2",), organization_ids=("o1",))): ["h2", "h3"],
        keys(within=Scope(team_ids=("t1",), object_ids=("h4", "h1", "h5"))): ["h1", "h3", "h4"],
        keys(within=Scope(team_ids=("t1",)), user_ids=("u1",)): ["h1"],
        keys(deleted=True): ["h5"],
        keys(deleted=True, team_ids=("t1",)): ["h5"],
        keys(deleted=True, object_ids=("h1", "h5")): ["h5"],
        keys(deleted=True, within=Scope(team_ids=("t1",))): ["h5"],
        keys(deleted=True, user_ids=("u1",)): [],
        keys(user_ids=("\x00",)): [],
        keys(names=("\x00", "a1")): ["h1"],
        keys(created_by="\x00"): [],
        keys(search="\x00"): [],
        keys(within=Scope(user_ids=("\x00",))): [],
    }
    for where, expected in cases.items():
        page = await engine.control.list_objects(where)
        assert sorted(held.object_id for held in page.objects) == expected, where
        assert page.total_count == len(expected), where


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort_by", ["created_at", "updated_at", "name", "object_id", "expires_at"])
async def test_pages_are_sorted_and_do_not_overlap(engine: Engine, sort_by: Any, descending: bool) -> None:
    """There are many equals of each value, and objects without one."""
    names = ["", "a", "B", "b", "ä", "z", "😀", "\uffee"]
    made = [
        make_key(
            f"h{number * 7 % 23:02}",
            name=f"{names[number % 8]}{number // 8 or ''}" if number % 8 else "",
            created_at=START + timedelta(seconds=number % 3),
            updated_at=START - timedelta(seconds=number % 4),
            expires_at=START + timedelta(days=number % 2) if number % 3 else None,
        )
        for number in range(23)
    ]
    for held in made:  # One by one: their age is the order in which they are added.
        await add(engine.control, held)
    pages = [
        await engine.control.list_objects(KEYS, sort_by=sort_by, descending=descending, offset=offset, limit=5)
        for offset in range(0, 30, 5)
    ]
    # `sorted` keeps equals in the order in which they are given, reversed or not.
    expected = sorted(
        reversed(made) if descending else made,
        key=lambda held: (getattr(held, sort_by) is not None, getattr(held, sort_by) or ""),
        reverse=descending,
    )
    assert [held.object_id for page in pages for held in page.objects] == [held.object_id for held in expected]
    assert {page.total_count for page in pages} == {23}


async def test_the_age_of_an_id_used_again_is_that_of_its_object(engine: Engine) -> None:
    first, _ = [(await add(engine.control, make_team(name)))[0] for name in ("a", "b")]
    await apply(engine.control, deletion(first))
    (again,) = await add(engine.control, make_team("a"))
    assert await listed(engine, ObjectFilter(kind=Kind.TEAM)) == ["a", "b"]
    await apply(engine.control, deletion(again))
    deleted = await engine.control.list_objects(ObjectFilter(kind=Kind.TEAM, deleted=True))
    assert [held.revision for held in deleted.objects] == [5, 3]


async def test_a_change_is_seen_in_lists(engine: Engine) -> None:
    one, _ = await add(engine.control, make_key("h1", name="a", team_id="t"), make_key("h2", name="b"))
    await apply(engine.control, update(one, name="c", team_id="u", updated_at=START + timedelta(seconds=1)))
    assert await listed(engine, keys(team_ids=("t",))) == []
    assert await listed(engine, keys(team_ids=("u",))) == ["h1"]
    assert await listed(engine, KEYS, sort_by="name") == ["h1", "h2"]
    assert await listed(engine, KEYS, sort_by="updated_at") == ["h1", "h2"]


SEARCHED = {
    "h1": "Production Key",
    "h2": "staging-key-1",
    "h3": "STAGING",
    "h4": "100%_sure",
    "h5": "Ünïcödé ẞtraße",
    "h6": "a'b\"c\\d:*&|!(e)",
    "h7": "日本語のキー",
    "h8": "ab",
    "h9": "",
    "h10": "x  y",
}


NEEDLES = [
    *["key", "KEY", "k", "K", "ey", "ion k", "staging", "taging-", "stagingx", "%", "_", "100%_", "0%", "ÜNÏ"],
    *["ß", "ẞ", "straß", "öd", "'", '"', "\\", "\\d:*", ":*", "*", "&|!(", "(e)", "本語", "日本語の", "語", "ー", "ab"],
    *["abc", "h", "h1", "H10", "1", "0", " ", "  ", "x  y", "prod ion", "a b", "", "zkey", "616263", "production key"],
    *["aaa", "Σ", "and", "NOT", "OR key", "-1", "\n"],
]


async def test_search_finds_what_has_the_text_in_its_name_or_id(engine: Engine) -> None:
    await add(
        engine.control,
        *(make_key(object_id, name=name) for object_id, name in SEARCHED.items()),
        make_team("t", name="key staging ab"),
    )
    for needle in NEEDLES:
        expected = sorted(
            object_id
            for object_id, name in SEARCHED.items()
            if needle.lower() in name.lower() or needle.lower() in object_id.lower()
        )
        page = await engine.control.list_objects(keys(search=needle))
        assert sorted(held.object_id for held in page.objects) == expected, needle
        assert page.total_count == len(expected), needle


async def test_search_follows_changes(engine: Engine) -> None:
    one, other = await add(engine.control, make_key("h1", name="old name"), make_key("h2", name="second"))
    await apply(engine.control, update(one, name="new name"), update(other, blocked=True))
    assert await listed(engine, keys(search="old")) == []
    assert await listed(engine, keys(search="new")) == ["h1"]
    assert await listed(engine, keys(search="second")) == ["h2"]
    (one,) = await engine.control.find_key("h1")
    await apply(engine.control, deletion(one))
    assert await listed(engine, keys(search="new")) == []
    assert await listed(engine, keys(search="new", deleted=True)) == ["h1"]


async def test_search_with_other_filters_in_order(engine: Engine) -> None:
    await add(
        engine.control,
        *(make_key(f"h{number}", name=f"prod {number}", team_id=f"t{number % 2}") for number in range(9)),
    )
    where = keys(search="PROD", team_ids=("t1",))
    assert await listed(engine, where, sort_by="name", descending=False, offset=1, limit=2) == ["h3", "h5"]
    assert (await engine.control.list_objects(where, limit=1)).total_count == 4


async def test_a_long_text_is_searched_whole(engine: Engine) -> None:
    text = "".join(f"part {number}, " for number in range(100))
    await add(engine.control, make_team("t1", name=text), make_team("t2", name=text[:-3]))
    assert await listed(engine, ObjectFilter(kind=Kind.TEAM, search=text)) == ["t1"]


async def test_members_are_searched_by_their_ids(engine: Engine) -> None:
    await add(engine.control, make_member("team-a", "user-b"), make_member("team-c", "user-d"))
    where = ObjectFilter(kind=Kind.TEAM_MEMBER, search="USER-b")
    assert (await engine.control.list_objects(where)).total_count == 1
