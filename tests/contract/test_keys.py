"""The contract's rows for virtual keys: each endpoint, each status."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest

from contract.world import ALPHA, BETA, ORG_A, ORG_B, World, user_of
from models_kit import SEALER
from tallystick.access.keys import hash_key
from tallystick.access.limits import Limits
from tallystick.access.teams import TeamSpec
from tallystick.control.objects import Kind, ObjectRef

SENT = {
    "models": ["gpt-4o-mini", "openai/*"], "key_alias": "ci", "max_budget": 12.5, "budget_duration": "30d",
    "user_id": "nobody-in-the-database", "aliases": {"mine": "gpt-4o-mini"}, "metadata": {"cost_center": 7},
    "tags": ["a", "b"], "tpm_limit": 1000, "rpm_limit": 10, "tpd_limit": 9000, "model_rpm_limit": {"gpt-4o-mini": 5},
    "model_tpm_limit": {"gpt-4o-mini": 500}, "max_parallel_requests": 3,
    "model_max_budget": {"gpt-4o-mini": {"budget_limit": 1.0, "time_period": "1d"}},
    "allowed_routes": ["llm_api_routes"], "permissions": {"get_spend_routes": True}, "soft_budget": 10.0,
    "guardrails": ["pii"], "policies": ["p"], "object_permission": {"mcp_servers": ["m"]},
    "router_settings": {"num_retries": 2}, "allowed_cache_controls": ["no-cache"], "config": {"x": 1},
    "enforced_params": ["user"], "prompts": ["greeting"], "project_id": "proj", "agent_id": "agent",
    "auto_rotate": True, "rotation_interval": "30d", "rpm_limit_type": "best_effort_throughput",
    "tpm_limit_type": "guaranteed_throughput", "allowed_passthrough_routes": ["/x"], "blocked": False,
    "access_group_ids": ["g"], "key_type": "llm_api",
}  # fmt: skip
PLAIN = {name: value for name, value in SENT.items() if name not in {"key_type", "allowed_routes"}}
"""Without what keeps the key itself from the routes under test."""
ABSENT = {
    "models": [], "aliases": {}, "metadata": {}, "tags": [], "allowed_routes": [], "guardrails": [], "policies": [],
    "allowed_cache_controls": [], "allowed_passthrough_routes": [], "enforced_params": [], "prompts": [], "config": {},
    "permissions": {}, "blocked": False, "key_alias": None, "max_budget": None, "budget_duration": None,
    "budget_id": None, "max_parallel_requests": None, "tpm_limit": None, "rpm_limit": None, "organization_id": None,
    "team_id": None, "user_id": None, "project_id": None, "soft_budget": None, "rpm_limit_type": None,
    "tpm_limit_type": None, "expires": None,
}  # fmt: skip


async def generate(world: World, **fields):
    return await world.ask("POST", "/key/generate", fields)


async def info(world: World, key: str):
    return (await world.ask("GET", "/key/info", key=key))["info"]


async def status_of(world: World, key: str) -> int:
    return (await world.client.request("GET", "/key/info", key=key)).status


async def put_budget(world: World, budget_id: str, limits: Limits) -> None:
    class Spec(msgspec.Struct):
        limits: Limits

    await world.put(Kind.BUDGET, budget_id, Spec(limits))


# --- generate -----------------------------------------------------------------------------------------------------


async def test_generate_echoes_every_field_and_info_reads_it_back(world):
    made = await generate(world, **SENT)
    assert {name: made[name] for name in SENT} == SENT
    assert made["key"].startswith("sk-")
    assert made["token"] == made["token_id"] == hash_key(made["key"])
    assert made["key_name"] == f"sk-...{made['key'][-4:]}"
    assert {"expires", "created_at", "updated_at", "team_id"} <= made.keys()
    shown = await info(world, made["key"])
    assert {name: shown[name] for name in SENT} == SENT
    assert "token" not in shown


async def test_generate_without_anything(world):
    made = await generate(world)
    assert {name: made[name] for name in ABSENT} == ABSENT


async def test_generate_with_relations(world):
    made = await generate(world, team_id=ALPHA, organization_id=ORG_A, duration="24h")
    assert (made["team_id"], made["organization_id"], made["duration"]) == (ALPHA, ORG_A, "24h")
    assert made["expires"] == (world.clock.now() + timedelta(hours=24)).isoformat()
    for field, wrong in (("team_id", "nope"), ("organization_id", "nope"), ("budget_id", "nope")):
        error = await world.ask("POST", "/key/generate", {field: wrong}, status=400)
        assert (error["param"], "does not exist" in error["message"]) == (field, True)
    error = await world.ask("POST", "/key/generate", {"team_id": ALPHA, "organization_id": ORG_B}, status=400)
    assert error["param"] == "organization_id"


async def test_generate_with_budget_limits(world):
    made = await generate(world, budget_limits=[{"budget_duration": "1d", "max_budget": 5}])
    (window,) = made["budget_limits"]
    assert (window["budget_duration"], window["max_budget"]) == ("1d", 5.0)


async def test_a_shared_budget_is_shown_with_each_referrers_own_spend(world):
    await put_budget(world, "b1", Limits(max_budget_nano_usd=5_000_000_000, budget_duration="1d"))
    first, second = await generate(world, budget_id="b1"), await generate(world, budget_id="b1")
    await world.spend(2_000_000_000, key_hash=first["token"])
    assert first["litellm_budget_table"]["max_budget"] == 5.0
    shown = await info(world, first["key"])
    assert shown["litellm_budget_table"]["budget_id"] == shown["budget_id"] == "b1"
    assert shown["litellm_budget_table"]["budget_reset_at"] > world.clock.now().isoformat()
    assert (shown["spend"], (await info(world, second["key"]))["spend"]) == (2.0, 0.0)


@pytest.mark.parametrize(("limit", "word"), [("tpm_limit", "TPM limit"), ("rpm_limit", "RPM limit")])
async def test_guaranteed_throughput_is_set_aside_from_the_teams(world, limit, word):
    kind = f"{limit}_type"
    await world.put(Kind.TEAM, "team", TeamSpec(limits=Limits(tpm_limit=100, rpm_limit=100)))
    wish = {"team_id": "team", limit: 60, kind: "guaranteed_throughput"}
    await world.ask("POST", "/key/generate", {**wish, limit: 101}, status=400)
    made = await generate(world, **wish)
    error = await world.ask("POST", "/key/generate", wish, status=400)
    assert word in error["message"]
    assert error["param"] == limit
    await generate(world, **{**wish, limit: 40})
    await generate(world, **{**wish, kind: "best_effort_throughput"})
    await world.ask("POST", "/key/update", {"key": made["key"], limit: 61}, status=400)
    await world.ask("POST", "/key/update", {"key": made["key"], limit: 59})


async def test_guaranteed_throughput_is_never_given_twice(world):
    await world.put(Kind.TEAM, "team", TeamSpec(limits=Limits(tpm_limit=100)))
    wish = {"team_id": "team", "tpm_limit": 60, "tpm_limit_type": "guaranteed_throughput"}
    answers = await asyncio.gather(*(world.client.post("/key/generate", wish) for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [200, 400, 400, 400]


async def test_generate_is_denied_without_a_key_and_to_viewers(world):
    answer = await world.client.request("POST", "/key/generate", {}, key="sk-unknown-unknown")
    assert answer.status == 401
    assert (await world.call("OA", "POST", "/key/generate", {})).status == 401


async def test_a_users_key_belongs_to_that_user(world):
    made = (await world.call("IU", "POST", "/key/generate", {})).json()
    assert made["user_id"] == user_of("IU")
    assert (await world.call("IU", "POST", "/key/generate", {"user_id": user_of("PA")})).status == 403
    assert (await world.call("IU", "POST", "/key/generate", {"organization_id": ORG_B})).status == 403
    assert (await world.call("IU", "POST", "/key/generate", {"spend": 0})).status == 403


async def test_team_admins_make_keys_for_plain_members_only(world):
    async def status_for(user_id):
        body = {"team_id": ALPHA, "user_id": user_id}
        return (await world.call("TA", "POST", "/key/generate", body)).status

    await world.put_member(ALPHA, user_of("PA"), "user")
    assert await status_for(user_of("OW")) == 200
    assert await status_for(user_of("XO")) == 403
    assert await status_for(user_of("PA")) == 403


async def test_members_make_keys_when_their_team_permits(world):
    denied = await world.call("IU", "POST", "/key/generate", {"team_id": ALPHA})
    assert (denied.status, denied.error["type"]) == (401, "team_member_permission_error")
    await world.permit(ALPHA, "/key/generate")
    assert (await world.call("IU", "POST", "/key/generate", {"team_id": ALPHA})).status == 200
    assert (await world.call("IU", "POST", "/key/service-account/generate", {"team_id": ALPHA})).status == 401
    await world.permit(ALPHA, "/key/service-account/generate")
    assert (await world.call("IU", "POST", "/key/service-account/generate", {"team_id": ALPHA})).status == 200


async def test_what_a_key_without_a_user_makes_is_bounded_as_it_is(world):
    key = (await world.ask("POST", "/key/generate", {"models": ["a", "b"]}))["key"]

    async def made(body):
        answer = await world.client.request("POST", "/key/generate", body, key=key)
        return answer.status, answer.json().get("models")

    assert await made({}) == (200, ["a", "b"])
    assert await made({"models": ["a"]}) == (200, ["a"])
    assert (await made({"models": ["c"]}))[0] == 403
    assert (await made({"models": ["*"]}))[0] == 403
    assert (await world.call("SA", "POST", "/key/generate", {})).json()["team_id"] == ALPHA


# --- service accounts -----------------------------------------------------------------------------------------------


async def test_a_service_account_has_a_team_and_no_user(world):
    body = {"team_id": ALPHA, "user_id": "u", "metadata": {"service_account_id": "s"}}
    made = await world.ask("POST", "/key/service-account/generate", body)
    assert (made["user_id"], made["team_id"]) == (None, ALPHA)
    for wrong in ({}, {"team_id": "nope"}):
        error = await world.ask("POST", "/key/service-account/generate", wrong, status=400)
        assert error["param"] == "team_id"


# --- info -----------------------------------------------------------------------------------------------------------


async def test_info_of_the_own_key_of_others_and_of_none(world):
    own = (await world.call("IU", "GET", "/key/info")).json()
    assert (own["key"], own["info"]["user_id"]) == (hash_key(world.keys["IU"]), user_of("IU"))
    assert (await world.call("IU", "GET", "/key/info", key=hash_key(world.owner_key))).status == 200
    assert (await world.call("IU", "GET", "/key/info", key=world.cross_key)).status == 403
    error = await world.ask("GET", "/key/info", status=404, key="sk-not-there-not-there")
    assert "not found" in error["message"]
    assert "does not exist" in error["message"]


@pytest.mark.parametrize("path", ["/key/block", "/key/delete"])
async def test_a_blocked_or_deleted_caller_is_401(world, path):
    made = await generate(world)
    await world.ask("POST", path, {"key": made["key"], "keys": [made["key"]]})
    assert await status_of(world, made["key"]) == 401


async def test_several_infos(world):
    keys = [world.owner_key, world.cross_key, world.keys["IU"], "sk-not-there-not-there"]

    async def seen(column):
        answer = await world.call(column, "POST", "/v2/key/info", {"keys": keys})
        return {each["token"] for each in answer.json()["info"]}

    owner, cross, own = (hash_key(key) for key in keys[:3])
    assert await seen("PA") == {owner, cross, own}
    assert await seen("IU") == {owner, own}
    assert await seen("XO") == {cross}
    assert await seen("SA") == {owner}
    assert (await world.ask("POST", "/v2/key/info", {"keys": ["sk-not-there-not-there"]}))["info"] == []
    for body in (None, {}):
        await world.ask("POST", "/v2/key/info", body, status=422)


# --- update ---------------------------------------------------------------------------------------------------------


async def test_update_keeps_what_is_omitted_and_clears_what_is_null(world):
    made = await generate(world, **{**SENT, "duration": "24h"})
    changed = await world.ask("POST", "/key/update", {"key": made["key"], "max_budget": 20, "metadata": {"new": 1}})
    expected = {**SENT, "max_budget": 20.0, "metadata": {"new": 1}}
    assert changed["key"] == made["key"]
    assert {name: changed[name] for name in expected} == expected
    assert (changed["budget_reset_at"], changed["expires"]) == (made["budget_reset_at"], made["expires"])
    nulls = {name: None for name in SENT if name != "blocked"}
    cleared = await world.ask("POST", "/key/update", {"key": made["token"], **nulls, "duration": None})
    assert {name: cleared[name] for name in ABSENT} == ABSENT
    assert cleared["budget_reset_at"] is None
    shown = await info(world, made["key"])
    assert shown.pop("budgets") == []
    assert cleared == {**shown, **{name: cleared[name] for name in ("key", "token", "token_id", "duration")}}


async def test_an_unrelated_update_leaves_the_reset(world):
    made = await generate(world, max_budget=1, budget_duration="30d")
    changed = await world.ask("POST", "/key/update", {"key": made["key"], "tags": ["x"]})
    assert changed["budget_reset_at"] == made["budget_reset_at"]
    cleared = await world.ask("POST", "/key/update", {"key": made["key"], "budget_duration": None})
    assert (cleared["budget_duration"], cleared["budget_reset_at"], cleared["max_budget"]) == (None, None, 1.0)


async def test_update_by_alias_and_of_the_alias(world):
    made = await generate(world, key_alias="one")
    await generate(world, key_alias="two")
    assert (await world.ask("POST", "/key/update", {"key_alias": "one", "tags": ["x"]}))["token"] == made["token"]
    error = await world.ask("POST", "/key/update", {"key": made["key"], "key_alias": "two"}, status=400)
    assert "already exists" in error["message"]
    await world.ask("POST", "/key/update", {"key": made["key"], "key_alias": "one"})
    await world.ask("POST", "/key/update", {"tags": []}, status=400)
    for body in ({"key": "sk-not-there-not-there"}, {"key_alias": "three"}):
        assert "not found" in (await world.ask("POST", "/key/update", body, status=404))["message"]


async def test_update_sets_spend_and_the_ledger_stays(world):
    made = await generate(world, spend=3)
    assert made["spend"] == 3.0
    await world.spend(2_000_000_000, key_hash=made["token"])
    assert (await info(world, made["key"]))["spend"] == 5.0
    assert (await world.ask("POST", "/key/update", {"key": made["key"], "spend": 0.5}))["spend"] == 0.5
    await world.spend(1_000_000_000, key_hash=made["token"])
    assert (await info(world, made["key"]))["spend"] == 1.5
    assert (await world.ledger.total("key", made["token"])).cost_nano_usd == 3_000_000_000


async def test_a_temporary_increase_needs_its_expiry(world):
    made = await generate(world, max_budget=1)
    both = {"temp_budget_increase": 5, "temp_budget_expiry": "2026-03-01"}
    for name, value in both.items():
        body = {"key": made["key"], name: value}
        assert "belong together" in (await world.ask("POST", "/key/update", body, status=400))["message"]
    changed = await world.ask("POST", "/key/update", {"key": made["key"], **both})
    assert changed["temp_budget_increase"] == 5.0
    assert changed["temp_budget_expiry"].startswith("2026-03-01")


async def test_who_may_update(world):
    body = {"key": world.owner_key, "metadata": {"x": 1}}
    denied = await world.call("OW", "POST", "/key/update", body)
    assert (denied.status, denied.error["type"]) == (401, "team_member_permission_error")
    assert (await world.call("TA", "POST", "/key/update", body)).status == 403
    await world.permit(ALPHA, "/key/update")
    assert (await world.call("OW", "POST", "/key/update", body)).status == 200
    assert (await world.call("IU", "POST", "/key/update", body)).status == 403
    for refused in (
        {"spend": 0}, {"team_id": BETA}, {"user_id": user_of("PA")}, {"organization_id": ORG_B}, {"max_budget": 9},
        {"blocked": True}, {"allowed_routes": ["/x"]}, {"team_id": None},
    ):  # fmt: skip
        answer = await world.call("OW", "POST", "/key/update", {"key": world.owner_key, **refused})
        assert answer.status == 403, refused


async def test_concurrent_updates_all_count(world):
    made = await generate(world)
    fields = [{"max_budget": 5}, {"tpm_limit": 7}, {"tags": ["t"]}, {"key_alias": "a"}]
    await asyncio.gather(*(world.ask("POST", "/key/update", {"key": made["key"], **each}) for each in fields))
    shown = await info(world, made["key"])
    assert (shown["max_budget"], shown["tpm_limit"], shown["tags"], shown["key_alias"]) == (5.0, 7, ["t"], "a")


async def test_bulk_update(world):
    first, second = await generate(world), await generate(world)
    keys = [
        {"key": first["key"], "max_budget": 5}, {"key": "sk-not-there-not-there"},
        {"key": second["token"], "max_budget": "much"}, {"key": second["token"], "tags": ["x"]}, {},
    ]  # fmt: skip
    answer = await world.ask("POST", "/key/bulk_update", {"keys": keys})
    assert answer["total_requested"] == 5
    assert [each["key"] for each in answer["successful_updates"]] == [first["key"], second["token"]]
    assert [each["key"] for each in answer["failed_updates"]] == ["sk-not-there-not-there", second["token"], None]
    assert all(each["failed_reason"] for each in answer["failed_updates"])
    assert (await info(world, first["key"]))["max_budget"] == 5.0
    odd = [{"key": "\ud800"}, {"key": 2**70}, {"key": world.owner_key, "aliases": {"\ud800": 1}}, {"key": None}]
    assert len((await world.ask("POST", "/key/bulk_update", {"keys": odd}))["failed_updates"]) == 4
    for wrong in ([], [{"key": "sk-x"}] * 501):
        assert (await world.ask("POST", "/key/bulk_update", {"keys": wrong}, status=400))["param"] == "keys"
    assert (await world.call("TA", "POST", "/key/bulk_update", {"keys": keys})).status == 403


# --- delete, block, spend -------------------------------------------------------------------------------------------


async def test_delete_all_or_nothing(world):
    first, second = await generate(world, key_alias="one"), await generate(world)
    error = await world.ask("POST", "/key/delete", {"keys": [second["key"], "sk-not-there-not-there"]}, status=404)
    assert "not found" in error["message"]
    answer = await world.ask("POST", "/key/delete", {"keys": [second["key"]], "key_aliases": ["one"]})
    assert answer == {"deleted_keys": [second["key"], "one"]}
    for made in (first, second):
        assert await status_of(world, made["key"]) == 401
        await world.ask("GET", "/key/info", status=404, key=made["key"])
    listed = await world.ask("GET", "/key/list")
    query = {"status": "deleted", "return_full_object": "true"}
    deleted = (await world.client.request("GET", "/key/list", query=query)).json()
    assert first["token"] not in listed["keys"]
    assert {each["token"] for each in deleted["keys"]} == {first["token"], second["token"]}
    assert all(each["deleted_at"] for each in deleted["keys"])


async def test_delete_of_several_when_one_is_not_the_callers(world):
    body = {"keys": [world.keys["IU"], world.owner_key]}
    assert (await world.call("IU", "POST", "/key/delete", body)).status == 403
    assert await status_of(world, world.keys["IU"]) == 200


async def test_block_and_unblock(world):
    made = await generate(world)
    assert (await world.ask("POST", "/key/block", {"key": made["key"]}))["blocked"] is True
    assert (await info(world, made["key"]))["blocked"] is True
    assert await status_of(world, made["key"]) == 401
    await world.ask("POST", "/key/unblock", {"key": made["token"]})
    assert await status_of(world, made["key"]) == 200
    for path in ("/key/block", "/key/unblock"):
        await world.ask("POST", path, {"key": "sk-not-there-not-there"}, status=404)


async def test_reset_spend(world):
    made = await generate(world)
    await world.spend(2_000_000_000, key_hash=made["token"])
    path = f"/key/{made['key']}/reset_spend"
    await world.ask("POST", path, {"reset_to": 2.5}, status=400)
    assert (await world.ask("POST", path, {"reset_to": 0.5}))["spend"] == 0.5
    assert (await info(world, made["key"]))["spend"] == 0.5
    assert (await world.ask("POST", f"/key/{made['token']}/reset_spend", {"reset_to": 0}))["spend"] == 0.0
    for wrong in ({}, {"reset_to": -1}, {"reset_to": None}):
        await world.ask("POST", path, wrong, status=400)
    await world.ask("POST", "/key/sk-not-there-not-there/reset_spend", {"reset_to": 0}, status=404)


# --- regenerate -----------------------------------------------------------------------------------------------------


async def test_regenerate_keeps_everything_but_the_secret(world):
    made = await generate(world, **PLAIN)
    await world.spend(2_000_000_000, key_hash=made["token"])
    new = await world.ask("POST", "/key/regenerate", {"key": made["key"]})
    assert new["key"].startswith("sk-")
    assert new["key"] != made["key"]
    assert {name: new[name] for name in PLAIN} == PLAIN
    assert (new["spend"], new["token"]) == (2.0, hash_key(new["key"]))
    assert (await status_of(world, made["key"]), await status_of(world, new["key"])) == (401, 200)
    await world.ask("GET", "/key/info", status=404, key=made["key"])
    again = await world.ask("POST", f"/key/{new['token']}/regenerate", {"new_key": "sk-my-own-new-key-1234"})
    assert (again["key"], again["spend"], again["key_alias"]) == ("sk-my-own-new-key-1234", 2.0, "ci")


async def test_secrets_in_metadata_are_masked_and_survive_a_regeneration(world):
    logging = [{"callback_name": "langfuse", "callback_vars": {"langfuse_secret_key": "sk-lf-very-secret"}}]
    made = await generate(world, metadata={"logging": logging, "team": "x"})
    new = await world.ask("POST", "/key/regenerate", {"key": made["key"], "grace_period": "1h"})
    listed = await world.ask("GET", "/key/list", return_full_object="true", size=100)
    for shown in (made, new, listed, await info(world, new["key"])):
        assert "very-secret" not in str(shown)
        assert "sealed:" not in str(shown)
    kept = await world.ask("POST", "/key/update", {"key": new["key"], "metadata": new["metadata"], "max_budget": 1})
    held = await world.control.find(ObjectRef(Kind.KEY, kept["token"]))
    opened = SEALER.open(held.kind, held.object_id, held.spec)
    assert opened["metadata"] == {"logging": logging, "team": "x"}


@pytest.mark.parametrize("number", range(8))
async def test_regenerate_keeps_the_alias_whatever_the_hashes_are(world, number):
    await generate(world, key=f"sk-the-former-{number}-0123456789", key_alias="ci")
    body = {"key": f"sk-the-former-{number}-0123456789", "new_key": f"sk-the-latter-{number}-0123456789"}
    assert (await world.ask("POST", "/key/regenerate", body))["key_alias"] == "ci"


async def test_regenerate_with_grace(world):
    made = await generate(world)
    second = await world.ask("POST", "/key/regenerate", {"key": made["key"], "grace_period": "24h"})
    assert (await status_of(world, made["key"]), await status_of(world, second["key"])) == (200, 200)
    own = (await world.client.request("GET", "/key/info", key=made["key"])).json()
    assert own["key"] == second["token"]
    third = await world.ask("POST", "/key/regenerate", {"key": second["key"], "grace_period": "48h"})
    for key in (made["key"], second["key"], third["key"]):
        assert await status_of(world, key) == 200
    world.clock.advance(25 * 3600)
    statuses = [await status_of(world, each["key"]) for each in (made, second, third)]
    assert statuses == [401, 200, 200]
    await world.ask("POST", "/key/regenerate", {"key": third["key"]})
    assert [await status_of(world, each["key"]) for each in (made, second, third)] == [401, 401, 401]


async def test_regenerate_is_refused(world):
    for body in ({"key": "sk-not-there-not-there"},):
        await world.ask("POST", "/key/regenerate", body, status=404)
    for wrong in ({}, {"key": world.owner_key, "new_key": "short"}, {"key": world.owner_key, "grace_period": "soon"},
                  {"key": world.owner_key, "new_key": world.cross_key}):  # fmt: skip
        await world.ask("POST", "/key/regenerate", wrong, status=400)
    assert await status_of(world, world.owner_key) == 200


async def test_regenerating_is_no_way_to_more(world):
    """Neither to limits that an admin has set, nor to the key of somebody who may do more."""
    own = {"key": world.keys["IU"], "max_budget": None}
    assert (await world.call("IU", "POST", "/key/regenerate", own)).status == 403
    await world.put_member(ALPHA, user_of("PA"), "user")
    admins = await world.put_key("sk-key-of-pa-in-alpha", user_id=user_of("PA"), team_id=ALPHA)
    assert (await world.call("TA", "POST", "/key/regenerate", {"key": admins})).status == 403
    assert await status_of(world, admins) == 200


# --- lists ----------------------------------------------------------------------------------------------------------


async def test_list_defaults_to_the_own(world):
    async def listed(column, **query):
        answer = await world.call(column, "GET", "/key/list", size=100, **query)
        assert answer.status == 200, answer.body
        return set(answer.json()["keys"])

    owner, cross = hash_key(world.owner_key), hash_key(world.cross_key)
    everything = await listed("PA")
    assert {owner, cross} <= everything
    assert await listed("OW") == {hash_key(world.keys["OW"]), owner}
    assert await listed("IU") == {hash_key(world.keys["IU"])}
    assert await listed("SA") == {hash_key(world.keys["SA"])}
    assert await listed("TA", team_id=ALPHA) == {owner, hash_key(world.keys["SA"])}
    assert await listed("IU", team_id=ALPHA) == set()
    assert await listed("IU", include_team_keys="true") == {
        hash_key(world.keys["IU"]), owner, hash_key(world.keys["SA"]),
    }  # fmt: skip
    assert (await world.call("IU", "GET", "/key/list", user_id=user_of("OW"))).status == 403
    assert (await world.call("IU", "GET", "/key/list", team_id=BETA)).status == 403
    assert await listed("PA", organization_id=ORG_A) == {owner, hash_key(world.keys["SA"])}
    assert await listed("PA", user_id=user_of("XO")) == {cross, hash_key(world.keys["XO"])}
    assert await listed("PA", key_hash=owner) == {owner}


async def test_list_with_the_keys_that_the_caller_made(world):
    made = (await world.call("TA", "POST", "/key/generate", {"team_id": ALPHA, "user_id": user_of("OW")})).json()
    own = (await world.call("TA", "GET", "/key/list")).json()["keys"]
    more = (await world.call("TA", "GET", "/key/list", include_created_by_keys="true")).json()["keys"]
    assert made["token"] not in own
    assert made["token"] in more


async def test_list_pages_search_and_sort(world):
    for number in range(12):
        world.clock.advance(1)
        await generate(world, key_alias=f"alias-{number:02}", user_id="lister")
    page = await world.ask("GET", "/key/list", user_id="lister", page=2, size=5, sort_by="key_alias", sort_order="asc",
                           return_full_object="true")  # fmt: skip
    assert [each["key_alias"] for each in page["keys"]] == [f"alias-{number:02}" for number in range(5, 10)]
    assert (page["total_count"], page["current_page"], page["total_pages"]) == (12, 2, 3)
    assert (await world.ask("GET", "/key/list", search="ALIAS-1"))["total_count"] == 2
    assert (await world.ask("GET", "/key/list", key_alias="alias-07"))["total_count"] == 1
    await world.ask("GET", "/key/list", status=400, sort_by="spend")
    await world.ask("GET", "/key/list", status=400, sort_order="up")
    answer = await world.client.request("GET", "/key/list", query={"status": "gone"})
    assert (answer.status, answer.error["param"]) == (400, "status")


async def test_aliases(world):
    for alias in ("beta-2", "Beta-1", "other"):
        await generate(world, key_alias=alias)
    assert (await world.ask("GET", "/key/aliases"))["aliases"] == ["Beta-1", "beta-2", "other"]
    assert (await world.ask("GET", "/key/aliases", search="beta", size=1))["aliases"] == ["Beta-1"]
    assert (await world.call("IU", "GET", "/key/aliases")).json()["aliases"] == []
    await world.ask("POST", "/key/update", {"key": world.owner_key, "key_alias": "of-alpha"})
    assert (await world.call("IU", "GET", "/key/aliases")).json()["aliases"] == ["of-alpha"]
    assert (await world.call("IU", "GET", "/key/aliases", team_id=ALPHA)).json()["aliases"] == ["of-alpha"]


async def test_health(world):
    assert await world.ask("POST", "/key/health") == {"key": "healthy", "logging_callbacks": None}
    world.client.key = None
    assert (await world.client.request("POST", "/key/health")).status == 401


# --- as terraform does it -------------------------------------------------------------------------------------------


async def test_terraform_key_and_key_block(world):
    desired = {**SENT, "team_id": ALPHA, "tpm_limit_type": "best_effort_throughput"}
    made = await generate(world, **desired)
    assert {k: v for k, v in (await info(world, made["token"])).items() if k in desired} == desired
    desired |= {"max_budget": 99.5, "tags": [], "metadata": {}, "models": ["*"], "key_alias": "renamed"}
    await world.ask("POST", "/key/update", {"key": made["key"], **desired})
    shown = await info(world, made["key"])
    assert {k: v for k, v in shown.items() if k in desired} == desired
    assert await info(world, made["key"]) == shown
    await world.ask("POST", "/key/block", {"key": made["key"]})
    assert (await info(world, made["key"]))["blocked"] is True
    await world.ask("POST", "/key/unblock", {"key": made["key"]})
    await world.ask("POST", "/key/delete", {"keys": [made["key"]]})
    gone = await world.ask("GET", "/key/info", status=404, key=made["key"])
    assert "not found" in gone["message"]
    again = await world.ask("POST", "/key/delete", {"keys": [made["key"]]}, status=404)
    assert "does not exist" in again["message"]


async def test_an_unknown_field_is_named(world):
    answer = await world.client.post("/key/generate", {"send_invite_email": True, "max_budget": 1})
    assert answer.headers["x-tallystick-ignored-fields"] == "send_invite_email"
    assert (await world.control.find(ObjectRef(Kind.KEY, answer.json()["token"]))).kind == Kind.KEY
