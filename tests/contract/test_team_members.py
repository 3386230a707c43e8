"""What clients rely on of the endpoints about members of teams."""

from __future__ import annotations

import asyncio

import pytest

from contract.team_world import TeamWorld
from tallystick.access.keys import hash_key
from tallystick.access.users import UserSpec
from tallystick.control.objects import Kind


@pytest.fixture
async def world():
    return await TeamWorld.build()


def memberships(shown):
    return {each["user_id"]: each for each in shown["team_memberships"]}


async def test_a_member_is_added_by_id_and_the_user_made(world):
    body = {"team_id": "alpha", "member": {"role": "admin", "user_id": "new"}, "max_budget_in_team": 2.5,
            "budget_duration": "30d", "tpm_limit": 100, "rpm_limit": 10}  # fmt: skip
    answer = await world.good("/team/member_add", body, as_caller="TA")
    assert answer["team_id"] == "alpha"
    assert {"user_id": "new", "user_email": None, "role": "admin"} in answer["members_with_roles"]
    assert answer["updated_users"] == [{"user_id": "new", "user_email": None}]
    (added,) = answer["updated_team_memberships"]
    budget = added["litellm_budget_table"]
    assert (budget["max_budget"], budget["budget_duration"], budget["tpm_limit"], budget["rpm_limit"]) == (
        2.5, "30d", 100, 10,
    )  # fmt: skip
    assert await world.find(Kind.USER, "new") is not None
    assert memberships(await world.info("alpha"))["new"] == added


async def test_a_member_is_added_by_email(world):
    answer = await world.good("/team/member_add", {"team_id": "alpha", "member": {"user_email": "user-xo@example.com"}})
    assert {"user_id": "user-xo", "user_email": "user-xo@example.com", "role": "user"} in answer["members_with_roles"]
    assert answer["updated_users"] == []
    answer = await world.good("/team/member_add", {"team_id": "alpha", "member": {"user_email": "eve@example.org"}})
    (made,) = answer["updated_users"]
    assert made["user_email"] == "eve@example.org"
    both = {"user_id": made["user_id"], "user_email": "eve@example.org"}
    await world.good("/team/member_add", {"team_id": "beta", "member": both})


async def test_several_are_added_or_none(world):
    good = [{"role": "user", "user_id": "n1"}, {"role": "admin", "user_email": "n2@example.org"}]
    answer = await world.good("/team/member_add", {"team_id": "alpha", "member": good})
    assert len(answer["members_with_roles"]) == 6
    bad = [{"role": "user", "user_id": "n3"}, {"role": "user", "user_id": "user-iu"}]
    assert (
        "already in team"
        in (await world.refused(400, "/team/member_add", {"team_id": "alpha", "member": bad}))["message"]
    )
    twice = [{"user_email": "n4@example.org"}, {"user_email": "n4@example.org"}]
    await world.refused(400, "/team/member_add", {"team_id": "alpha", "member": twice})


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ({"role": "user"}, "user_id"),
        ({"role": "user", "user_id": ""}, "user_id"),
        ({"role": "owner", "user_id": "u"}, "role"),
        ([], "member"),
        ({"user_id": "user-iu", "user_email": "user-ow@example.com"}, "do not belong to the same user"),
        ({"user_id": "user-iu", "user_email": "nobody@example.org"}, "do not belong to the same user"),
        ({"user_id": "nobody", "user_email": "user-ow@example.com"}, "do not belong to the same user"),
        ({"user_email": "twice@example.org"}, "Multiple users found"),
        ({"user_id": "user-iu"}, "already in team"),
        ({"user_email": "user-iu@example.com"}, "already in team"),
    ],
)
async def test_add_refuses(world, member, message):
    for user_id in ("twin-1", "twin-2"):
        await world.make(Kind.USER, user_id, UserSpec(), name="twice@example.org")
    error = await world.refused(400, "/team/member_add", {"team_id": "alpha", "member": member})
    assert message in error["message"]


async def test_who_may_not_add(world):
    body = {"team_id": "alpha", "member": {"user_id": "new"}}
    assert "not allowed" in (await world.refused(403, "/team/member_add", body, as_caller="IU"))["message"]
    await world.refused(403, "/team/bulk_member_add", {"team_id": "alpha", "members": [{"user_id": "n"}]},
                        as_caller="IU")  # fmt: skip
    unknown = {"team_id": "nothing", "member": {"user_id": "new"}}
    assert "doesn't exist" in (await world.refused(404, "/team/member_add", unknown))["message"]


async def test_bulk_add_tells_of_each(world):
    members = [{"user_id": "n1"}, {"user_id": "user-iu"}, {"user_email": "n2@example.org"}]
    body = {"team_id": "alpha", "members": members, "max_budget_in_team": 1}
    answer = await world.good("/team/bulk_member_add", body)
    assert (answer["total_requested"], answer["successful_additions"], answer["failed_additions"]) == (3, 2, 1)
    assert [result["success"] for result in answer["results"]] == [True, False, True]
    assert "already in team" in answer["results"][1]["error"]
    assert memberships(await world.info("alpha"))["n1"]["litellm_budget_table"]["max_budget"] == 1
    await world.refused(400, "/team/bulk_member_add", {"team_id": "alpha", "members": []})


async def test_update_is_a_merge_patch(world):
    named = {"team_id": "alpha", "user_id": "user-un"}
    answer = await world.good("/team/member_update", {**named, "max_budget_in_team": 2, "rpm_limit": 5})
    assert (answer["max_budget_in_team"], answer["rpm_limit"], answer["role"]) == (2, 5, "user")
    answer = await world.good("/team/member_update", {**named, "role": "admin", "budget_duration": "1d"})
    assert (answer["max_budget_in_team"], answer["rpm_limit"], answer["role"]) == (2, 5, "admin")
    assert answer["budget_reset_at"]
    shown = await world.info("alpha")
    assert {"user_id": "user-un", "user_email": "user-un@example.com", "role": "admin"} in shown["team_info"][
        "members_with_roles"
    ]
    assert memberships(shown)["user-un"]["litellm_budget_table"]["max_budget"] == 2
    by_email = {"team_id": "alpha", "user_email": "user-un@example.com", "max_budget_in_team": None, "rpm_limit": None,
                "budget_duration": None}  # fmt: skip
    assert (await world.good("/team/member_update", by_email))["max_budget_in_team"] is None
    assert memberships(await world.info("alpha"))["user-un"]["litellm_budget_table"] is None


async def test_update_refuses(world):
    await world.refused(400, "/team/member_update", {"team_id": "alpha", "user_id": "user-xo", "role": "admin"})
    await world.refused(400, "/team/member_update", {"team_id": "alpha", "role": "admin"})
    await world.refused(
        400, "/team/member_update", {"team_id": "alpha", "user_id": "user-un", "max_budget_in_team": -1}
    )
    await world.refused(404, "/team/member_update", {"team_id": "nothing", "user_id": "user-un", "role": "admin"})


async def test_members_inherit_what_the_team_gives_all(world):
    await world.good("/team/member_update", {"team_id": "alpha", "user_id": "user-un", "max_budget_in_team": 1})
    defaults = {"team_member_budget": 5, "team_member_budget_duration": "7d", "team_member_rpm_limit": 3}
    await world.good("/team/update", {"team_id": "alpha", **defaults})
    shown = memberships(await world.info("alpha"))
    inherited, own = shown["user-iu"]["litellm_budget_table"], shown["user-un"]["litellm_budget_table"]
    assert (inherited["max_budget"], inherited["budget_duration"], inherited["rpm_limit"]) == (5, "7d", 3)
    assert inherited["budget_reset_at"]
    assert (own["max_budget"], own["budget_duration"], own["rpm_limit"]) == (1, None, 3)
    await world.good("/team/update", {"team_id": "alpha", "team_member_budget": 6})
    assert memberships(await world.info("alpha"))["user-iu"]["litellm_budget_table"]["max_budget"] == 6


async def test_delete_takes_the_keys_of_the_member_in_this_team_along(world):
    await world.make_key("un-in-alpha", user_id="user-un", team_id="alpha")
    await world.make_key("un-in-beta", user_id="user-un", team_id="beta")
    await world.make_key("iu-in-alpha", user_id="user-iu", team_id="alpha")
    assert (await world.get("/team/info", as_caller="un-in-alpha")).status == 200
    answer = await world.good("/team/member_delete", {"team_id": "alpha", "user_id": "user-un"}, as_caller="TA")
    assert {each["user_id"] for each in answer["members_with_roles"]} == {"user-ta", "user-iu", "user-ow"}
    assert (await world.get("/team/info", as_caller="un-in-alpha")).status == 401
    for left in ("UN", "un-in-beta", "iu-in-alpha"):
        assert await world.find(Kind.KEY, hash_key(world.keys[left])) is not None
    assert await world.find(Kind.USER, "user-un") is not None
    await world.good("/team/member_delete", {"team_id": "alpha", "user_email": "user-iu@example.com"})
    assert memberships(await world.info("alpha")).keys() == {"user-ta", "user-ow"}


async def test_delete_of_somebody_who_is_no_member(world):
    for named in ({"user_id": "user-xo"}, {"user_email": "user-xo@example.com"}, {"user_id": "nobody"}, {}):
        await world.refused(400, "/team/member_delete", {"team_id": "alpha", **named})
    await world.refused(404, "/team/member_delete", {"team_id": "nothing", "user_id": "user-xo"})


async def test_an_email_of_two_users_means_the_one_who_is_a_member(world):
    for user_id in ("twin-1", "twin-2"):
        await world.make(Kind.USER, user_id, UserSpec(), name="twice@example.org")
    await world.put_member("alpha", "twin-1", "user")
    named = {"team_id": "alpha", "user_email": "twice@example.org"}
    assert (await world.good("/team/member_update", {**named, "role": "admin"}))["user_id"] == "twin-1"
    await world.put_member("alpha", "twin-2", "user")
    assert "Multiple users found" in (await world.refused(400, "/team/member_delete", named))["message"]


async def test_spend_of_a_member_is_reset(world):
    await world.spend(4_000_000_000, key_hash="k", team_id="alpha", user_id="user-un")
    path = "/team/alpha/member/user-un/reset_spend"
    await world.refused(400, path, {"reset_to": 4.5})
    answer = await world.good(path, {"reset_to": 1.5}, as_caller="TA")
    assert (answer["spend"], answer["previous_spend"], answer["total_spend"]) == (1.5, 4.0, 4.0)
    await world.spend(1_000_000_000, key_hash="k", team_id="alpha", user_id="user-un")
    shown = memberships(await world.info("alpha"))["user-un"]
    assert (shown["spend"], shown["total_spend"]) == (2.5, 5.0)
    assert (await world.good(path))["spend"] == 0
    await world.refused(403, path, {"reset_to": 0}, as_caller="IU")
    await world.refused(400, "/team/alpha/member/user-xo/reset_spend", {"reset_to": 0})
    await world.refused(404, "/team/nothing/member/user-un/reset_spend", {"reset_to": 0})


async def test_the_same_member_added_at_the_same_time_is_added_once(world):
    body = {"team_id": "alpha", "member": {"user_id": "new"}}
    answers = await asyncio.gather(*(world.post("/team/member_add", body) for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [200, 400, 400, 400, 400]


async def test_nobody_joins_a_team_that_is_being_deleted(world):
    added, deleted = await asyncio.gather(
        world.post("/team/member_add", {"team_id": "alpha", "member": {"user_id": "new"}}),
        world.post("/team/delete", {"team_ids": ["alpha"]}),
    )
    assert deleted.status == 200
    assert added.status in {200, 404, 409}
    _, left = await world.everything()
    assert [each for each in left.values() if each.team_id == "alpha"] == []
