"""The contract of `ControlStore`: what was written is found again, by id, by key, by kind."""

from __future__ import annotations

from datetime import timedelta

from conformance.kit import Engine
from control_kit import (
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
from tallystick.control.objects import Kind, ObjectRef, member_id

ODD = "Ünïque ✓ 😀 ' \" \\ %_*:&|!() \t\n"


async def test_an_object_comes_back_as_it_was_written(engine: Engine) -> None:
    held = make_key(
        "h1",
        name=ODD,
        organization_id="o",
        team_id="t",
        user_id="u" + ODD,
        budget_id="b",
        blocked=True,
        expires_at=START + timedelta(days=3, microseconds=1),
        spec={"z": {"deep": [1, 2.5, 1.0, None, True, ODD, 2**60]}, "a": {}, "m": []},
        created_by="c" + ODD,
        updated_at=START + timedelta(microseconds=5),
        updated_by="d",
    )
    revision = await apply(engine.control, creation(held))
    again = await found(engine.control, held.ref)
    assert again.revision == revision == 1
    assert list(again.spec) == ["z", "a", "m"]
    for name in held.__struct_fields__:
        if name != "revision":
            assert getattr(again, name) == getattr(held, name), name


async def test_a_plain_object_comes_back(engine: Engine) -> None:
    (again,) = await add(engine.control, make_object(Kind.SETTING, "general_settings.x"))
    assert again.expires_at is None
    assert again.deleted_at is None
    assert (again.name, again.team_id, again.spec, again.blocked) == ("", "", {}, False)


async def test_only_what_lives_is_found(engine: Engine) -> None:
    team, key = await add(engine.control, make_team("x"), make_key("x"))
    assert await engine.control.find(ObjectRef(Kind.USER, "x")) is None
    assert await engine.control.find(ObjectRef(Kind.TEAM, "y")) is None
    await apply(engine.control, deletion(team))
    assert await engine.control.find(team.ref) is None
    assert await engine.control.find(key.ref) == key
    assert await engine.control.find_many([team.ref, key.ref, ObjectRef(Kind.USER, "x"), key.ref]) == (key,)
    assert await engine.control.find_many([]) == ()


async def test_nothing_is_found_under_odd_texts(engine: Engine) -> None:
    await add(engine.control, make_team("a"))
    for text in ("", "\x00", "a\x00b", "' OR 1=1 --", ODD):
        assert await engine.control.find_key(text) == ()
        assert await engine.control.find(ObjectRef(Kind.TEAM, text)) is None
        assert await engine.control.find_many([ObjectRef(Kind.TEAM, text)]) == ()


async def test_a_key_is_found_with_all_it_stands_for(engine: Engine) -> None:
    user_id = '"q" \x1f\n' + ODD
    objects = [
        make_key("h1", team_id="t", user_id=user_id),
        make_team("t", organization_id="o"),
        make_member("t", user_id),
        make_object(Kind.USER, user_id),
        make_object(Kind.ORGANIZATION, "o"),
        make_object(Kind.ORGANIZATION_MEMBER, member_id("o", user_id), organization_id="o", user_id=user_id),
    ]
    await add(
        engine.control,
        *objects,
        make_member("t", "other"),
        make_member("other", user_id),
        make_team("other"),
        make_object(Kind.ORGANIZATION, "other"),
        make_object(Kind.ORGANIZATION_MEMBER, member_id("other", user_id), organization_id="other", user_id=user_id),
        make_key("h2", team_id="t", user_id=user_id),
    )
    assert [each.ref for each in await engine.control.find_key("h1")] == [each.ref for each in objects]
    assert (await engine.control.find_key("h1"))[2] == await found(engine.control, objects[2].ref)


async def test_a_key_is_found_with_the_budgets_of_all_it_stands_for(engine: Engine) -> None:
    now = engine.clock.now()
    await add(
        engine.control,
        make_key("h1", team_id="t", user_id="u", budget_id="b1"),
        make_team("t", organization_id="o", budget_id="b2"),
        make_member("t", "u", budget_id="b3"),
        make_object(Kind.ORGANIZATION, "o", budget_id="b2"),
        make_object(Kind.ORGANIZATION_MEMBER, member_id("o", "u"), organization_id="o", user_id="u", budget_id=ODD),
        make_object(Kind.RETIRED_KEY, "old", spec={"key_hash": "h1"}, expires_at=now + timedelta(minutes=1)),
        *(make_object(Kind.BUDGET, budget_id) for budget_id in ("b1", "b2", ODD, "of another")),
        make_key("h2", budget_id="gone"),
    )
    found = await engine.control.find_key("old")
    kinds = [Kind.KEY, Kind.TEAM, Kind.TEAM_MEMBER, Kind.ORGANIZATION, Kind.ORGANIZATION_MEMBER]
    assert [each.kind for each in found] == [*kinds, *[Kind.BUDGET] * 3, Kind.RETIRED_KEY]
    assert {each.object_id for each in found if each.kind == Kind.BUDGET} == {"b1", "b2", ODD}
    assert [each.object_id for each in await engine.control.find_key("h2")] == ["h2"]


async def test_the_organization_of_a_team_goes_before_that_of_its_key(engine: Engine) -> None:
    await add(
        engine.control,
        make_key("h1", team_id="t", organization_id="o1"),
        make_team("t", organization_id="o2"),
        make_object(Kind.ORGANIZATION, "o1"),
        make_object(Kind.ORGANIZATION, "o2"),
    )
    assert [each.object_id for each in await engine.control.find_key("h1")] == ["h1", "t", "o2"]


async def test_a_key_without_relations_is_found_alone(engine: Engine) -> None:
    await add(engine.control, make_key("h1"), make_key("h2", team_id="gone", user_id="gone"))
    assert [each.object_id for each in await engine.control.find_key("h1")] == ["h1"]
    assert [each.object_id for each in await engine.control.find_key("h2")] == ["h2"]
    assert await engine.control.find_key("h3") == ()


async def test_what_was_deleted_is_not_found_with_a_key(engine: Engine) -> None:
    key, team, user = await add(
        engine.control, make_key("h1", team_id="t", user_id="u"), make_team("t"), make_object(Kind.USER, "u")
    )
    await apply(engine.control, deletion(team))
    assert await engine.control.find_key("h1") == (key, user)
    await apply(engine.control, deletion(key))
    assert await engine.control.find_key("h1") == ()


async def test_a_retired_hash_leads_to_the_key_that_took_its_place(engine: Engine) -> None:
    now = engine.clock.now()
    retired = make_object(Kind.RETIRED_KEY, "old", spec={"key_hash": "new"}, expires_at=now + timedelta(minutes=1))
    for_ever = make_object(Kind.RETIRED_KEY, "older", spec={"key_hash": "new"})
    await add(engine.control, make_key("new", team_id="t"), make_team("t"), retired, for_ever)
    ids = ["new", "t", "old"]
    assert [each.object_id for each in await engine.control.find_key("old")] == ids
    assert [each.object_id for each in await engine.control.find_key("new")] == ["new", "t"]
    engine.clock.advance(60)
    assert await engine.control.find_key("old") == ()
    assert [each.object_id for each in await engine.control.find_key("older")] == ["new", "t", "older"]
    await apply(engine.control, deletion(await found(engine.control, ObjectRef(Kind.KEY, "new"))))
    assert await engine.control.find_key("older") == ()


async def test_kinds_are_loaded_with_their_revision(engine: Engine) -> None:
    empty = await engine.control.load([Kind.TEAM])
    assert (empty.revision, empty.objects) == (0, ())
    team, key, user = await add(engine.control, make_team("t"), make_key("k"), make_object(Kind.USER, "u"))
    (other,) = await add(engine.control, make_team("t2"))
    await apply(engine.control, deletion(user), update(key, blocked=True))
    loaded = await engine.control.load([Kind.TEAM, Kind.USER])
    assert loaded.revision == await engine.control.revision() == 6
    assert sorted(loaded.objects, key=lambda held: held.object_id) == [team, other]
    assert (await engine.control.load([])).objects == ()
