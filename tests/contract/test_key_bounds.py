"""What nobody gets by making, regenerating or changing keys: somebody else's rights, or fewer bounds."""

from __future__ import annotations

import pytest

from contract.world import ALPHA, World, user_of
from tallystick.access.keys import KeySpec
from tallystick.access.limits import Limits
from tallystick.access.teams import MemberSpec
from tallystick.access.users import UserSpec
from tallystick.control.objects import Kind, ObjectRef, member_id
from tallystick.control.store import Author, Change

BOSS = "boss"


@pytest.fixture
async def world() -> World:
    return await World.build()


async def make_boss(world: World) -> str:
    """Make an admin of organization B by membership, who is a plain member of alpha; return the own key."""
    await world.put(Kind.USER, BOSS, UserSpec())
    await world.put_member(ALPHA, BOSS, "user")
    await world.put(
        Kind.ORGANIZATION_MEMBER,
        member_id("org-b", BOSS),
        MemberSpec(role="org_admin"),
        organization_id="org-b",
        user_id=BOSS,
    )
    return await world.put_key("sk-own-key-of-the-boss-01", user_id=BOSS)


async def statuses(world: World, key: str) -> set[int]:
    """Return what a key gets where its user may do things."""
    asked = [
        await world.client.request("GET", "/key/list", key=key),
        await world.client.request("GET", "/user/info", key=key),
        await world.client.request("POST", "/team/block", {"team_id": "beta"}, key=key),
        await world.client.request("POST", "/key/generate", {}, key=key),
    ]
    return {answer.status for answer in asked}


async def test_a_key_made_for_somebody_else_has_none_of_their_rights(world: World) -> None:
    own = await make_boss(world)
    assert (await world.client.request("POST", "/team/block", {"team_id": "beta"}, key=own)).status == 200
    made = await world.call("TA", "POST", "/key/generate", {"team_id": ALPHA, "user_id": BOSS, "key_type": "default"})
    assert made.status == 200
    assert made.json()["key_type"] == "llm_api"
    assert await statuses(world, made.json()["key"]) == {403}


async def test_a_key_regenerated_by_somebody_else_has_none_of_its_user_s_rights(world: World) -> None:
    await make_boss(world)
    plain = await world.put_key("sk-key-of-the-boss-in-alpha", user_id=BOSS, team_id=ALPHA)
    renewed = await world.call("TA", "POST", "/key/regenerate", {"key": plain})
    assert renewed.status == 200
    assert await statuses(world, renewed.json()["key"]) == {403}
    own = await world.call("OW", "POST", "/key/regenerate", {"key": world.owner_key})
    assert own.json().get("key_type") != "llm_api"


async def test_only_proxy_admins_change_the_type_of_a_key(world: World) -> None:
    plain = await world.put_key(
        "sk-calls-only-key-in-alpha", spec=KeySpec(key_type="llm_api"), user_id=user_of("IU"), team_id=ALPHA
    )
    await world.permit(ALPHA, "/key/update")
    for who, status in (("TA", 403), ("IU", 403), ("PA", 200)):
        answer = await world.call(who, "POST", "/key/update", {"key": plain, "key_type": "default"})
        assert answer.status == status, who


@pytest.mark.parametrize("limits", [Limits(max_budget_nano_usd=10**9), Limits(rpm_limit=1)], ids=["budget", "rate"])
async def test_a_key_without_a_user_that_is_limited_makes_no_keys(world: World, limits: Limits) -> None:
    plain = await world.put_key("sk-limited-service-account", spec=KeySpec(limits=limits), team_id=ALPHA)
    answer = await world.client.request("POST", "/key/generate", {}, key=plain)
    assert answer.status == 403
    assert "budget or rate limits" in answer.error["message"]


async def test_a_key_without_a_user_passes_its_bounds_on(world: World) -> None:
    expires_at = world.clock.now().replace(year=2099)
    spec = KeySpec(models=("mini",), access_group_ids=("g",), allowed_routes=("/key/generate",))
    plain = await world.put_key("sk-bound-service-account", spec=spec, team_id=ALPHA, expires_at=expires_at)
    body = {"allowed_routes": [], "access_group_ids": ["other"], "duration": None}
    made = (await world.client.request("POST", "/key/generate", body, key=plain)).json()
    assert (made["models"], made["access_group_ids"], made["team_id"]) == (["mini"], ["g"], ALPHA)
    assert made["allowed_routes"] == ["/key/generate"]
    assert made["expires"] == expires_at.isoformat()
    refused = await world.client.request("POST", "/key/generate", {"models": ["dear"]}, key=plain)
    assert refused.status == 403


@pytest.mark.parametrize("path", ["/key/generate", "/key/service-account/generate"])
async def test_a_permission_of_the_team_does_not_lift_the_bounds_of_a_key_without_a_user(
    world: World, path: str
) -> None:
    await world.permit(ALPHA, path)
    plain = await world.put_key("sk-bound-service-account", spec=KeySpec(models=("mini",)), team_id=ALPHA)
    made = await world.client.request("POST", path, {"team_id": ALPHA}, key=plain)
    assert made.status == 200
    assert made.json()["models"] == ["mini"]
    refused = await world.client.request("POST", path, {"team_id": ALPHA, "models": ["dear"]}, key=plain)
    assert refused.status == 403


async def test_a_key_that_was_deleted_elsewhere_makes_no_key_before_this_instance_hears_of_it(world: World) -> None:
    """The caller is still in the cache; the write itself asks whether its key lives."""
    key = world.keys["IU"]
    assert (await world.client.request("POST", "/key/generate", {}, key=key)).status == 200
    row = (await world.control.find_key(world.authenticator.hash_of(key)))[0]
    await world.control.apply(
        [Change(action="deleted", before=row, after=None)], author=Author(key_hash="another"), now=world.clock.now()
    )
    answer = await world.client.request("POST", "/key/generate", {}, key=key)
    assert answer.status in {401, 409}
    assert await world.control.find(ObjectRef(Kind.KEY, row.object_id)) is None


@pytest.mark.parametrize(
    "lifted",
    [{"duration": "-1"}, {"duration": "90d"}, {"models": []}, {"models": ["dear"]}, {"aliases": {"mini": "dear"}},
     {"access_group_ids": ["g"]}],
    ids=str,
)  # fmt: skip
async def test_a_member_lifts_nothing_that_was_put_on_its_key(world: World, lifted: dict) -> None:
    await world.permit(ALPHA, "/key/update")
    spec = KeySpec(models=("mini",))
    plain = await world.put_key("sk-bound-key-of-a-member", spec=spec, user_id=user_of("IU"), team_id=ALPHA)
    await world.ask("POST", "/key/update", {"key": plain, "duration": "1d"})
    answer = await world.call("IU", "POST", "/key/update", {"key": plain, **lifted})
    assert answer.status == 403, answer.body
    assert (await world.call("PA", "POST", "/key/update", {"key": plain, **lifted})).status == 200
    assert (await world.call("IU", "POST", "/key/update", {"key": plain, "metadata": {"note": 1}})).status == 200


async def test_only_proxy_admins_put_a_key_under_a_shared_budget(world: World) -> None:
    await world.ask("POST", "/budget/new", {"budget_id": "shared", "max_budget": 777})
    answer = await world.call("IU", "POST", "/key/generate", {"budget_id": "shared"})
    assert answer.status == 403
    assert "777" not in answer.body.decode()


async def test_ids_of_deleted_teams_and_users_are_only_for_proxy_admins(world: World) -> None:
    await world.ask("POST", "/team/new", {"team_id": "gone", "organization_id": "org-a"})
    await world.ask("POST", "/team/delete", {"team_ids": ["gone"]})
    await world.spend(5, team_id="spent")
    for team_id in ("gone", "spent"):
        answer = await world.call("OB", "POST", "/team/new", {"team_id": team_id, "organization_id": "org-b"})
        assert (answer.status, answer.error["param"]) == (400, "team_id"), team_id
    fresh = await world.call("OB", "POST", "/team/new", {"team_id": "fresh", "organization_id": "org-b"})
    assert fresh.status == 200
    await world.ask("POST", "/team/new", {"team_id": "gone", "organization_id": "org-a"})
    await world.ask("POST", "/user/new", {"user_id": "left"})
    await world.ask("POST", "/user/delete", {"user_ids": ["left"]})
    body = {"team_id": ALPHA, "member": {"role": "user", "user_id": "left"}}
    assert (await world.call("TA", "POST", "/team/member_add", body)).status == 400
    assert (await world.call("PA", "POST", "/team/member_add", body)).status == 200


async def test_who_is_taken_out_of_a_team_loses_the_keys_for_it(world: World) -> None:
    assert (await world.client.request("GET", "/key/info", key=world.owner_key)).status == 200
    await world.ask("POST", "/user/update", {"user_id": user_of("OW"), "teams": []})
    assert (await world.client.request("GET", "/key/info", key=world.owner_key)).status == 401
    assert (await world.call("OW", "GET", "/key/info")).status == 200


async def test_a_team_that_moves_takes_its_keys_along(world: World) -> None:
    made = await world.ask("POST", "/key/generate", {"team_id": ALPHA, "organization_id": "org-a"})
    await world.ask("POST", "/team/update", {"team_id": ALPHA, "organization_id": "org-b"})
    assert (await world.authenticator.authenticate(made["key"])).organization_id == "org-b"
