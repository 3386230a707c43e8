"""The contract's rows for internal users: each endpoint, each status."""

from __future__ import annotations

import pytest

from contract.world import ALPHA, BETA, ORG_A, World, user_of
from tallystick.access.keys import hash_key
from tallystick.control.objects import Kind, ObjectRef, member_id
from tallystick.control.store import ObjectFilter

SENT = {
    "user_id": "ada", "user_email": "Ada@example.com", "user_alias": "Ada", "user_role": "internal_user",
    "models": ["gpt-4o-mini"], "max_budget": 10.0, "budget_duration": "30d", "tpm_limit": 1000, "rpm_limit": 10,
    "metadata": {"cost_center": 7}, "max_parallel_requests": 3, "sso_user_id": "sso-1", "policies": ["p"],
    "model_rpm_limit": {"gpt-4o-mini": 5}, "model_tpm_limit": {"gpt-4o-mini": 50}, "soft_budget": 8.0,
    "object_permission": {"mcp_servers": ["m"]},
}  # fmt: skip


async def new(world: World, **fields):
    return await world.ask("POST", "/user/new", fields)


async def info(world: World, user_id: str):
    return await world.ask("GET", "/user/info", user_id=user_id)


# --- new ------------------------------------------------------------------------------------------------------------


async def test_new_echoes_every_field_and_info_reads_it_back(world):
    made = await new(world, **SENT)
    assert {name: made[name] for name in SENT} == SENT
    assert made["key"].startswith("sk-")
    assert made["token"] == hash_key(made["key"])
    shown = await info(world, "ada")
    assert shown["user_id"] == "ada"
    assert {name: shown["user_info"][name] for name in SENT} == SENT
    assert (shown["user_info"]["spend"], shown["teams"]) == (0.0, [])
    (key,) = shown["keys"]
    assert {"token", "key_name", "key_alias", "expires", "spend"} <= key.keys()
    assert (key["token"], key["user_id"]) == (made["token"], "ada")
    principal = await world.authenticator.authenticate(made["key"])
    assert (principal.user_id, principal.models.user) == ("ada", ("gpt-4o-mini",))


async def test_new_needs_nothing(world):
    made = await new(world)
    assert len(made["user_id"]) == 36
    assert (made["user_role"], made["user_email"], made["models"], made["teams"]) == ("internal_user", None, [], [])
    assert (await world.client.request("GET", "/user/info", key=made["key"])).json()["user_id"] == made["user_id"]


async def test_new_with_settings_of_the_key(world):
    made = await new(world, user_id="ada", key_alias="adas", duration="24h", team_id=ALPHA, key_type="llm_api")
    shown = (await world.ask("GET", "/key/info", key=made["key"]))["info"]
    assert (shown["key_alias"], shown["team_id"], shown["key_type"]) == ("adas", ALPHA, "llm_api")
    assert shown["expires"] is not None
    assert (await world.ask("POST", "/user/new", {"key_type": "wrong"}, status=400))["param"] == "key_type"


async def test_new_without_a_key(world):
    made = await new(world, user_id="ada", auto_create_key=False)
    assert made["key"] is None
    assert (await info(world, "ada"))["keys"] == []


async def test_new_with_teams_and_organizations(world):
    teams = [ALPHA, {"team_id": BETA, "user_role": "admin", "max_budget_in_team": 3}]
    made = await new(world, user_id="ada", teams=teams, organizations=[ORG_A])
    assert (made["teams"], made["organizations"]) == ([ALPHA, BETA], [ORG_A])
    shown = await info(world, "ada")
    assert [team["team_id"] for team in shown["teams"]] == shown["user_info"]["teams"] == [ALPHA, BETA]
    member = await world.control.find(ObjectRef(Kind.TEAM_MEMBER, member_id(BETA, "ada")))
    assert member.spec == {"role": "admin", "limits": {"max_budget_nano_usd": 3_000_000_000}}
    assert await world.control.find(ObjectRef(Kind.ORGANIZATION_MEMBER, member_id(ORG_A, "ada"))) is not None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"user_role": "org_admin"}, 400), ({"user_role": "king"}, 400), ({"password": "secret"}, 400),
        ({"teams": ["nope"]}, 400), ({"organizations": ["nope"]}, 400), ({"max_budget": -1}, 400),
        ({"user_id": "user-iu"}, 409), ({"user_email": "USER-IU@example.com"}, 409), ({"user_id": ""}, 400),
        ({"duration": "soon"}, 400), ({"key_alias": "taken"}, 400), ({"teams": [{"user_role": "user"}]}, 400),
    ],
)  # fmt: skip
async def test_new_is_refused_as_a_whole(world, body, status):
    await world.ask("POST", "/key/generate", {"key_alias": "taken"})
    before = await world.objects()
    error = await world.ask("POST", "/user/new", body, status=status)
    assert "secret" not in error["message"]
    assert await world.objects() == before


@pytest.mark.parametrize("column", ["OA", "TA", "IU", "SA"])
@pytest.mark.parametrize("path", ["/user/new", "/user/delete", "/user/bulk_update"])
async def test_only_proxy_admins_make_and_delete_users(world, column, path):
    before = await world.objects()
    answer = await world.call(column, "POST", path, {"user_ids": [user_of("OW")]})
    assert answer.status in {401, 403}
    assert await world.objects() == before


async def test_a_key_for_calls_only_is_403(world):
    made = await world.ask("POST", "/key/generate", {"allowed_routes": ["llm_api_routes"]})
    answer = await world.client.request("POST", "/user/new", {}, key=made["key"])
    assert (answer.status, "not allowed to call this route" in answer.error["message"]) == (403, True)


# --- info -----------------------------------------------------------------------------------------------------------


async def test_info_of_oneself_of_others_and_of_none(world):
    own = (await world.call("OW", "GET", "/user/info")).json()
    assert (own["user_id"], own["user_info"]["teams"]) == (user_of("OW"), [ALPHA])
    assert {key["token"] for key in own["keys"]} == {hash_key(world.keys["OW"]), hash_key(world.owner_key)}
    assert (await world.call("OW", "GET", "/user/info", user_id=user_of("OW"))).status == 200
    for path in ("/user/info", "/v2/user/info"):
        for column in ("TA", "OA", "SA"):
            assert (await world.call(column, "GET", path, user_id=user_of("OW"))).status == 403
        assert "not found" in (await world.ask("GET", path, status=404, user_id="nobody"))["message"]
    assert (await world.call("OW", "GET", "/user/info", user_id="nobody")).status == 403


async def test_info_of_keys_without_a_user_in_the_table(world):
    account = (await world.call("SA", "GET", "/user/info")).json()
    assert (account["user_id"], [team["team_id"] for team in account["teams"]]) == (None, [ALPHA])
    assert [key["token"] for key in account["keys"]] == [hash_key(world.keys["SA"])]
    made = await world.ask("POST", "/key/generate", {"user_id": "ghost"})
    own = (await world.client.request("GET", "/user/info", key=made["key"])).json()
    assert (own["user_id"], own["user_info"], len(own["keys"])) == ("ghost", None, 1)
    assert (await world.ask("GET", "/user/info"))["keys"] == []


async def test_bare_info(world):
    shown = (await world.call("OW", "GET", "/v2/user/info")).json()
    assert (shown["user_id"], shown["teams"], "keys" in shown) == (user_of("OW"), [ALPHA], False)


async def test_a_users_spend_is_that_of_all_keys(world):
    await world.spend(1_500_000_000, user_id=user_of("OW"), key_hash="k1")
    await world.spend(500_000_000, user_id=user_of("OW"), key_hash="k2")
    assert (await info(world, user_of("OW")))["user_info"]["spend"] == 2.0
    await world.ask("POST", "/user/update", {"user_id": user_of("OW"), "spend": 0})
    assert (await info(world, user_of("OW")))["user_info"]["spend"] == 0.0


# --- update ---------------------------------------------------------------------------------------------------------


async def test_update_keeps_what_is_omitted_and_clears_what_is_null(world):
    await new(world, **SENT)
    changed = await world.ask("POST", "/user/update", {"user_id": "ada", "max_budget": 20, "metadata": {"n": 1}})
    expected = {**SENT, "max_budget": 20.0, "metadata": {"n": 1}}
    assert {name: changed["data"][name] for name in expected} == expected
    assert changed["user_id"] == "ada"
    nulls = {name: None for name in SENT if name not in {"user_id", "user_role"}}
    cleared = await world.ask("POST", "/user/update", {"user_id": "ada", **nulls})
    assert (cleared["max_budget"], cleared["budget_reset_at"], cleared["user_email"]) == (None, None, None)
    assert (cleared["models"], cleared["metadata"], cleared["policies"]) == ([], {}, [])


async def test_update_by_email_role_and_block(world):
    made = await new(world, **SENT)
    changed = await world.ask("POST", "/user/update", {"user_email": "ada@EXAMPLE.com", "user_role": "org_admin"})
    assert changed["user_role"] == "org_admin"
    await world.ask("POST", "/user/update", {"user_id": "ada", "blocked": True})
    assert (await world.client.request("GET", "/key/info", key=made["key"])).status == 401


async def test_update_sets_exactly_these_teams(world):
    await new(world, user_id="ada", teams=[{"team_id": ALPHA, "user_role": "admin"}])
    await world.ask("POST", "/user/update", {"user_id": "ada", "teams": [ALPHA, BETA]})
    assert (await info(world, "ada"))["user_info"]["teams"] == [ALPHA, BETA]
    member = await world.control.find(ObjectRef(Kind.TEAM_MEMBER, member_id(ALPHA, "ada")))
    assert member.spec["role"] == "admin"
    await world.ask("POST", "/user/update", {"user_id": "ada", "teams": [BETA]})
    assert (await info(world, "ada"))["user_info"]["teams"] == [BETA]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"user_id": "nobody"}, 404), ({"user_email": "no@example.com"}, 404), ({}, 400),
        ({"user_id": "user-iu", "user_role": "king"}, 400), ({"user_id": "user-iu", "password": "secret"}, 400),
        ({"user_id": "user-iu", "user_email": "user-ow@example.com"}, 409),
        ({"user_id": "user-iu", "teams": ["nope"]}, 400),
    ],
)  # fmt: skip
async def test_update_is_refused(world, body, status):
    before = await world.objects()
    await world.ask("POST", "/user/update", body, status=status)
    assert await world.objects() == before


async def test_users_change_nothing_but_their_alias(world):
    me = user_of("IU")
    changed = await world.call("IU", "POST", "/user/update", {"user_id": me, "user_alias": "Ina"})
    assert (changed.status, changed.json()["user_alias"]) == (200, "Ina")
    before = await world.objects()
    for body in (
        {"user_id": me, "user_role": "proxy_admin"}, {"user_id": me, "max_budget": None}, {"user_id": me, "models": []},
        {"user_id": me, "teams": [BETA]}, {"user_id": me, "spend": 0}, {"user_id": me, "blocked": False},
        {"user_id": me, "user_email": "x@example.com"}, {"user_id": user_of("OW"), "user_alias": "x"},
        {"user_id": "nobody", "user_alias": "x"}, {"user_email": "user-iu@example.com", "user_alias": "x"},
    ):  # fmt: skip
        for column in ("IU", "TA") if body["user_id" if "user_id" in body else "user_email"] != me else ("IU",):
            assert (await world.call(column, "POST", "/user/update", body)).status == 403, body
    assert await world.objects() == before


async def test_bulk_update(world):
    users = [
        {"user_id": user_of("IU"), "max_budget": 5},
        {"user_id": "nobody"},
        {"user_id": user_of("OW"), "models": 1},
    ]
    answer = await world.ask("POST", "/user/bulk_update", {"users": users})
    assert [each["success"] for each in answer["results"]] == [True, False, False]
    assert (answer["total_requested"], answer["successful_updates"], answer["failed_updates"]) == (3, 1, 2)
    for wrong in ({}, {"users": []}, {"users": users * 200}, {"all_users": True}):
        await world.ask("POST", "/user/bulk_update", wrong, status=400)
    answer = await world.ask("POST", "/user/bulk_update", {"all_users": True, "user_updates": {"rpm_limit": 3}})
    assert answer["successful_updates"] == 8
    assert (await info(world, user_of("XO")))["user_info"]["rpm_limit"] == 3


# --- delete ---------------------------------------------------------------------------------------------------------


async def test_delete_takes_keys_and_memberships_along(world):
    error = await world.ask("POST", "/user/delete", {"user_ids": [user_of("OW"), "nobody"]}, status=404)
    assert "does not exist" in error["message"]
    assert (await world.call("OW", "GET", "/key/info")).status == 200
    answer = await world.ask("POST", "/user/delete", {"user_ids": [user_of("OW")]})
    assert answer["deleted_users"] == 1
    for key in (world.keys["OW"], world.owner_key):
        assert (await world.client.request("GET", "/key/info", key=key)).status == 401
    for kind in (Kind.KEY, Kind.TEAM_MEMBER, Kind.ORGANIZATION_MEMBER):
        where = ObjectFilter(kind=kind, user_ids=(user_of("OW"),))
        assert (await world.control.list_objects(where)).objects == ()
    await world.ask("POST", "/user/delete", {"user_ids": []}, status=400)
    await world.ask("POST", "/user/delete", {}, status=400)
    await new(world, user_id=user_of("OW"))


# --- list -----------------------------------------------------------------------------------------------------------


async def test_list(world):
    async def listed(**query):
        answer = await world.ask("GET", "/user/list", **query)
        return [user["user_id"] for user in answer["users"]]

    everybody = await world.ask("GET", "/user/list", page_size=3, page=2, sort_by="user_id", sort_order="asc")
    assert [user["user_id"] for user in everybody["users"]] == ["user-ow", "user-pa", "user-ta"]
    assert (everybody["total"], everybody["page"], everybody["page_size"], everybody["total_pages"]) == (8, 2, 3, 3)
    (owner,) = (await world.ask("GET", "/user/list", user_ids="user-ow"))["users"]
    assert (owner["key_count"], owner["teams"], owner["user_email"]) == (2, [ALPHA], "user-ow@example.com")
    assert set(await listed(user_ids="user-ow,user-xo,nobody")) == {"user-ow", "user-xo"}
    assert await listed(role="proxy_admin") == ["user-pa"]
    assert await listed(user_email="USER-I") == ["user-iu"]
    assert await listed(search="xo@") == ["user-xo"]
    assert set(await listed(team=ALPHA)) == {"user-ta", "user-iu", "user-ow", "user-un"}
    assert await listed(team=ALPHA, user_ids="user-iu,user-xo") == ["user-iu"]
    for wrong in ({"role": "king"}, {"page_size": 101}, {"sort_by": "spend"}):
        await world.ask("GET", "/user/list", status=400, **wrong)
    assert (await world.call("IU", "GET", "/user/list")).status == 401


# --- as terraform does it -------------------------------------------------------------------------------------------


async def test_terraform_user(world):
    desired = {
        "user_email": "t@example.com", "user_alias": "T", "user_role": "internal_user_viewer", "teams": [ALPHA],
        "models": ["a", "b"], "max_budget": 10.0, "budget_duration": "7d", "tpm_limit": 5, "rpm_limit": 6,
        "metadata": {"a": "b"},
    }  # fmt: skip
    made = await new(world, user_id="t", **desired)
    assert made["key"]

    async def read():
        return {name: (await info(world, "t"))["user_info"][name] for name in desired}

    assert await read() == desired
    desired |= {"teams": [BETA], "max_budget": 11.5, "models": [], "metadata": {}, "user_alias": "U"}
    await world.ask("POST", "/user/update", {"user_id": "t", **desired})
    assert await read() == desired
    await world.ask("POST", "/user/delete", {"user_ids": ["t"]})
    assert "not found" in (await world.ask("GET", "/user/info", status=404, user_id="t"))["message"]
    assert "does not exist" in (await world.ask("POST", "/user/delete", {"user_ids": ["t"]}, status=404))["message"]
