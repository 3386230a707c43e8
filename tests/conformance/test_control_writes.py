"""The contract of `ControlStore.apply`: all or nothing, nobody's change lost, no name twice."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from conformance.kit import Engine
from control_kit import (
    ADMIN,
    START,
    add,
    apply,
    creation,
    deletion,
    found,
    make_key,
    make_member,
    make_object,
    make_team,
    update,
)
from tallystick.control.objects import Kind, ObjectRef
from tallystick.control.store import AuditFilter, Author, NoneLeft, ObjectFilter
from tallystick.errors import AlreadyExists, ChangedMeanwhile, Conflict, RowRefused

TEAMS = ObjectFilter(kind=Kind.TEAM)
DELETED_TEAMS = ObjectFilter(kind=Kind.TEAM, deleted=True)


async def everything(engine: Engine) -> tuple[object, ...]:
    """What a failed change must leave as it was."""
    objects = await engine.control.load(list(Kind))
    audit = await engine.control.list_audit(AuditFilter(), offset=0, limit=1000)
    feed = await engine.control.changes_after(0, limit=1000)
    return sorted(objects.objects, key=lambda held: held.ref), objects.revision, audit, feed


async def test_an_object_is_made_changed_and_deleted(engine: Engine) -> None:
    (made,) = await add(engine.control, make_team("t", name="One", spec={"a": 1}))
    later = START + timedelta(hours=1)
    revision = await apply(
        engine.control, update(made, name="Two", team_id="x", blocked=True, spec={"b": 2}, updated_at=later)
    )
    changed = await found(engine.control, made.ref)
    assert changed.revision == revision == 2
    assert (changed.name, changed.team_id, changed.blocked, changed.spec) == ("Two", "x", True, {"b": 2})
    assert (changed.created_at, changed.updated_at) == (START, later)
    assert await apply(engine.control, deletion(changed), now=later) == 3
    (gone,) = (await engine.control.list_objects(DELETED_TEAMS)).objects
    assert gone.deleted_at == later
    assert gone.deleted_by == "admin"
    assert gone.revision == 3
    assert (gone.name, gone.spec) == ("Two", {"b": 2})


async def test_who_has_no_user_is_named_by_the_key(engine: Engine) -> None:
    (made,) = await add(engine.control, make_team("t"))
    await apply(engine.control, deletion(made), author=Author(key_hash="k"))
    assert (await engine.control.list_objects(DELETED_TEAMS)).objects[0].deleted_by == "k"


async def test_each_change_has_its_own_revision_in_the_order_of_kind_and_id(engine: Engine) -> None:
    objects = [make_team("b"), make_object(Kind.USER, "a"), make_team("a"), make_key("z"), make_team("ä")]
    team_b, user, team_a, key, team_umlaut = await add(engine.control, *objects)
    assert [held.revision for held in (key, team_a, team_b, team_umlaut, user)] == [1, 2, 3, 4, 5]
    feed = await engine.control.changes_after(0, limit=10)
    assert [entry.ref for entry in feed] == [held.ref for held in (key, team_a, team_b, team_umlaut, user)]
    assert [entry.revision for entry in feed] == [1, 2, 3, 4, 5]


async def test_no_change_is_a_change_too(engine: Engine) -> None:
    await add(engine.control, make_team("t"))
    assert await apply(engine.control) == 1
    with pytest.raises(ChangedMeanwhile):
        await apply(engine.control, requires=[ObjectRef(Kind.TEAM, "u")])
    with pytest.raises(ChangedMeanwhile):
        await apply(engine.control, none_left=[NoneLeft(kind=Kind.TEAM, relation="team_id", value="")])


async def test_an_id_is_taken_once(engine: Engine) -> None:
    (team,) = await add(engine.control, make_team("t"))
    before = await everything(engine)
    for twice in ([creation(make_team("t"))], [creation(make_team("u")), creation(make_team("u"))]):
        with pytest.raises(AlreadyExists):
            await apply(engine.control, *twice)
    assert await everything(engine) == before
    await add(engine.control, make_object(Kind.USER, "t"))
    assert await found(engine.control, team.ref) == team


async def test_an_id_may_be_used_again_after_a_deletion(engine: Engine) -> None:
    for number in range(3):
        (team,) = await add(engine.control, make_team("t", name=f"number {number}"))
        await apply(engine.control, deletion(team))
    (team,) = await add(engine.control, make_team("t", name="the living one"))
    assert await found(engine.control, team.ref) == team
    deleted = await engine.control.list_objects(DELETED_TEAMS, sort_by="name", descending=False)
    assert [held.name for held in deleted.objects] == ["number 0", "number 1", "number 2"]
    assert (await engine.control.list_objects(TEAMS)).objects == (team,)


async def test_the_hash_of_a_key_stays_taken_for_ever(engine: Engine) -> None:
    (key,) = await add(engine.control, make_key("h", name="alias"))
    await apply(engine.control, deletion(key))
    before = await everything(engine)
    with pytest.raises(AlreadyExists, match="'h'"):
        await apply(engine.control, creation(make_key("h2")), creation(make_key("h")))
    assert await everything(engine) == before
    await add(engine.control, make_key("h2", name="alias"))


@pytest.mark.parametrize("kind", [Kind.KEY, Kind.ACCESS_GROUP])
async def test_names_of_some_kinds_are_taken_once(engine: Engine, kind: Kind) -> None:
    one, other = await add(engine.control, make_object(kind, "1", name="N"), make_object(kind, "2", name="M"))
    before = await everything(engine)
    for change in (creation(make_object(kind, "3", name="N")), update(other, name="N")):
        with pytest.raises(AlreadyExists, match="'N'"):
            await apply(engine.control, change)
    with pytest.raises(AlreadyExists, match="'X'"):
        await apply(
            engine.control, creation(make_object(kind, "3", name="X")), creation(make_object(kind, "4", name="X"))
        )
    assert await everything(engine) == before
    await add(engine.control, make_object(kind, "3", name="n"), make_object(kind, "4"), make_object(kind, "5"))
    await apply(engine.control, update(one, blocked=True))  # It keeps its own.


async def test_names_of_other_kinds_may_repeat(engine: Engine) -> None:
    await add(engine.control, make_team("1", name="N"), make_team("2", name="N"), make_key("3", name="N"))
    await add(engine.control, make_object(Kind.ACCESS_GROUP, "4", name="N"))


async def test_a_name_may_pass_from_one_to_another_in_one_go(engine: Engine) -> None:
    first, last = await add(engine.control, make_key("a", name="N"), make_key("z", name="M"))
    await apply(engine.control, deletion(last), creation(make_key("b", name="M")))
    await apply(engine.control, deletion(first), creation(make_key("0", name="N")))
    for one_id, other_id in (("0", "b"), ("b", "0")):
        one = await found(engine.control, ObjectRef(Kind.KEY, one_id))
        other = await found(engine.control, ObjectRef(Kind.KEY, other_id))
        await apply(engine.control, update(one, name=other.name), update(other, name=one.name))
    one = await found(engine.control, ObjectRef(Kind.KEY, "0"))
    other = await found(engine.control, ObjectRef(Kind.KEY, "b"))
    assert (one.name, other.name) == ("N", "M")
    await apply(engine.control, update(one, name=""), update(other, name="N"), creation(make_key("c", name="M")))
    assert (await found(engine.control, other.ref)).name == "N"


async def test_a_name_is_free_again_after_a_change_or_a_deletion(engine: Engine) -> None:
    (one,) = await add(engine.control, make_key("1", name="N"))
    await apply(engine.control, update(one, name="M"))
    await add(engine.control, make_key("2", name="N"))
    with pytest.raises(AlreadyExists):
        await apply(engine.control, update(await found(engine.control, one.ref), name="N"))


@pytest.mark.parametrize("late", ["update", "delete"])
async def test_an_old_view_changes_nothing(engine: Engine, late: str) -> None:
    team, bystander = await add(engine.control, make_team("t"), make_team("bystander"))
    await apply(engine.control, update(team, name="first"))
    before = await everything(engine)
    change = update(team, name="second") if late == "update" else deletion(team)
    with pytest.raises(ChangedMeanwhile, match="'t'"):
        await apply(engine.control, change, deletion(bystander), creation(make_team("new")))
    assert await everything(engine) == before
    await apply(engine.control, deletion(await found(engine.control, team.ref)))
    await add(engine.control, make_team("t"))
    for view in (deletion(team), update(team, name="second")):
        with pytest.raises(ChangedMeanwhile):
            await apply(engine.control, view)


async def test_what_was_deleted_can_not_be_changed(engine: Engine) -> None:
    (team,) = await add(engine.control, make_team("t"))
    await apply(engine.control, deletion(team))
    for change in (update(team, name="x"), deletion(team)):
        with pytest.raises(ChangedMeanwhile):
            await apply(engine.control, change)


async def test_an_object_is_changed_once_in_one_go(engine: Engine) -> None:
    (team,) = await add(engine.control, make_team("t"))
    before = await everything(engine)
    for pair in ((update(team, name="x"), update(team, name="y")), (update(team, name="x"), deletion(team))):
        with pytest.raises(ChangedMeanwhile):
            await apply(engine.control, *pair)
    assert await everything(engine) == before


async def test_what_is_required_must_live(engine: Engine) -> None:
    (team,) = await add(engine.control, make_team("t"))
    await apply(engine.control, creation(make_key("k", team_id="t")), requires=[team.ref, team.ref])
    before = await everything(engine)
    with pytest.raises(ChangedMeanwhile, match="'u'"):
        await apply(
            engine.control, creation(make_key("k2", team_id="u")), requires=[team.ref, ObjectRef(Kind.TEAM, "u")]
        )
    with pytest.raises(ChangedMeanwhile):
        await apply(engine.control, creation(make_team("v")), requires=[ObjectRef(Kind.TEAM, "v")])
    assert await everything(engine) == before
    await apply(engine.control, update(team, name="x"), requires=[team.ref])


@pytest.mark.parametrize("relation", ["team_id", "organization_id", "user_id", "budget_id"])
async def test_none_may_be_left(engine: Engine, relation: Any) -> None:
    key, _, team = await add(
        engine.control,
        make_key("k", **{relation: "x"}),
        make_object(Kind.USER, "u", **{relation: "x"}),
        make_team("t", **{relation: "y"}),
    )
    before = await everything(engine)
    condition = NoneLeft(kind=Kind.KEY, relation=relation, value="x")
    fine = NoneLeft(kind=Kind.KEY, relation=relation, value="y")
    with pytest.raises(ChangedMeanwhile):
        await apply(engine.control, deletion(team), none_left=[fine, condition])
    assert await everything(engine) == before
    await apply(engine.control, deletion(team), deletion(key), none_left=[condition, fine])


async def test_moving_away_leaves_none(engine: Engine) -> None:
    (key,) = await add(engine.control, make_key("k", team_id="x"))
    condition = NoneLeft(kind=Kind.KEY, relation="team_id", value="x")
    await apply(engine.control, update(key, team_id="y"), none_left=[condition])
    (key,) = await engine.control.find_key("k")
    with pytest.raises(ChangedMeanwhile):
        await apply(engine.control, update(key, team_id="x"), none_left=[condition])


async def test_what_can_not_be_kept_is_refused(engine: Engine) -> None:
    if engine.kind == "memory":
        pytest.skip("memory holds everything")
    before = await everything(engine)
    for value in (object(), "\ud800", {1: object()}):
        with pytest.raises(RowRefused):
            await apply(engine.control, creation(make_team("t0")), creation(make_team("t", spec={"x": value})))
        with pytest.raises(RowRefused):
            await apply(engine.control, creation(make_team("t0"), shown_after={"x": value}))
    with pytest.raises(RowRefused):
        await apply(engine.control, creation(make_team("\ud800")))
    assert await everything(engine) == before


async def test_many_changes_in_one_go(engine: Engine) -> None:
    keys = await add(engine.control, *(make_key(f"k{number:04}", team_id="t") for number in range(1000)))
    (team,) = await add(engine.control, make_team("t"))
    none_left = [NoneLeft(kind=Kind.KEY, relation="team_id", value="t")]
    revision = await apply(engine.control, deletion(team), *map(deletion, keys), none_left=none_left)
    assert revision == 2002
    assert (await engine.control.load(list(Kind))).objects == ()
    deleted = ObjectFilter(kind=Kind.KEY, team_ids=("t",), deleted=True)
    assert (await engine.control.list_objects(deleted, limit=1)).total_count == 1000


# Two at once


async def test_no_update_is_lost(engine: Engine) -> None:
    stores = (engine.control, engine.peer_control)
    await add(engine.control, make_team("t", spec={"count": 0}))
    refused = 0

    async def count_up(store: Any) -> None:
        nonlocal refused
        done = 0
        while done < 8:
            held = await found(store, ObjectRef(Kind.TEAM, "t"))
            try:
                await apply(store, update(held, spec={"count": held.spec["count"] + 1}))
            except ChangedMeanwhile:
                refused += 1
            else:
                done += 1

    await asyncio.gather(*(count_up(stores[number % 2]) for number in range(6)))
    assert (await found(engine.control, ObjectRef(Kind.TEAM, "t"))).spec == {"count": 48}
    assert await engine.control.revision() == 49
    assert refused > 0


async def test_of_two_that_want_one_name_one_gets_it(engine: Engine) -> None:
    stores = (engine.control, engine.peer_control)
    replies = await asyncio.gather(
        *(apply(stores[number % 2], creation(make_key(f"h{number}", name="alias"))) for number in range(6)),
        return_exceptions=True,
    )
    assert sum(isinstance(reply, AlreadyExists) for reply in replies) == 5
    assert await engine.control.revision() == 1


async def test_of_two_that_want_one_id_one_gets_it(engine: Engine) -> None:
    stores = (engine.control, engine.peer_control)
    for kind in (Kind.TEAM, Kind.KEY):
        replies = await asyncio.gather(
            *(apply(stores[number % 2], creation(make_object(kind, "x"))) for number in range(6)),
            return_exceptions=True,
        )
        assert sum(isinstance(reply, AlreadyExists) for reply in replies) == 5
    assert await engine.control.revision() == 2


@pytest.mark.parametrize("attempt", range(5))
async def test_no_key_is_left_without_its_team(engine: Engine, attempt: int) -> None:
    (team,) = await add(engine.control, make_team("t"))
    stores = (engine.control, engine.peer_control)

    async def add_key(number: int) -> None:
        key = make_key(f"k{number}", team_id="t")
        await apply(stores[number % 2], creation(key), requires=[team.ref])

    async def delete_team() -> int:
        """As an endpoint does: with all keys that there are, again when one was added."""
        none_left = [NoneLeft(kind=Kind.KEY, relation="team_id", value="t")]
        for tries in range(100):
            keys = await engine.peer_control.list_objects(ObjectFilter(kind=Kind.KEY, team_ids=("t",)))
            try:
                await apply(engine.peer_control, deletion(team), *map(deletion, keys.objects), none_left=none_left)
            except ChangedMeanwhile:
                continue
            return tries
        raise AssertionError("it never succeeds")

    work = [add_key(number) for number in range(12)]
    work.insert(attempt * 3, delete_team())
    replies = await asyncio.gather(*work, return_exceptions=True)
    assert all(reply is None or isinstance(reply, int | ChangedMeanwhile) for reply in replies), replies
    assert (await engine.control.load([Kind.KEY, Kind.TEAM])).objects == ()
    refused = sum(isinstance(reply, ChangedMeanwhile) for reply in replies)
    gone = await engine.control.list_objects(ObjectFilter(kind=Kind.KEY, deleted=True))
    assert gone.total_count + refused == 12


async def test_writers_in_each_others_way_all_get_an_answer(engine: Engine) -> None:
    """Rows are locked in one order, whatever the order in which they are given."""
    teams = [make_team(f"t{number}") for number in range(6)]
    await add(engine.control, *teams, make_object(Kind.USER, "u"), make_object(Kind.ORGANIZATION, "o"))

    async def write(number: int) -> int:
        store = (engine.control, engine.peer_control)[number % 2]
        done = 0
        for _ in range(10):
            held = list(await store.find_many([team.ref for team in teams]))
            held = held if number % 3 else held[::-1]
            mine, others = held[:3], held[3:]
            requires = [each.ref for each in others] + [ObjectRef(Kind.USER, "u"), ObjectRef(Kind.ORGANIZATION, "o")]
            try:
                await apply(store, *(update(each, name=f"{number}") for each in mine), requires=requires)
            except Conflict:
                continue
            done += 1
        return done

    assert sum(await asyncio.gather(*map(write, range(6)))) > 0


async def test_members_of_a_team_are_added_while_it_is_changed(engine: Engine) -> None:
    (team,) = await add(engine.control, make_team("t"))

    async def rename() -> None:
        held = team
        for number in range(10):
            await apply(engine.peer_control, update(held, name=str(number)), author=ADMIN)
            held = await found(engine.peer_control, team.ref)

    async def add_members() -> None:
        for number in range(10):
            await apply(engine.control, creation(make_member("t", f"u{number}")), requires=[team.ref])

    await asyncio.gather(rename(), add_members())
    assert (await engine.control.list_objects(ObjectFilter(kind=Kind.TEAM_MEMBER))).total_count == 10
