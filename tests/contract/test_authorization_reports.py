"""The authorization matrix, its rows about reports: whose spend a caller sees."""

from __future__ import annotations

import pytest

from contract.team_world import TeamWorld, user_of
from contract.world import COLUMNS, cells
from tallystick.access.keys import hash_key
from tallystick.admin.routes import RULES

MATRIX = """
row/target             PA  OA  TA  IU  OW  UN  XO  SA  OB
daily_activity/none    200 200 200 200 200 200 200 200 200
daily_activity/alpha   200 404 200 200 200 200 404 200 404
daily_activity/beta    200 404 404 404 404 404 200 404 404
"""
REPORTS = sorted(
    path
    for method, path in RULES
    if method == "GET" and (path.startswith(("/global/", "/spend/")) or "/daily/activity" in path)
)


async def spending_world():
    """Return a world in which each user of alpha and beta spent a power of two there, in nano-USD."""
    world = await TeamWorld.build()
    await world.spend(1, key_hash=hash_key(world.owner_key), user_id=user_of("OW"), team_id="alpha", tags=("t",))
    await world.spend(2, key_hash="key-of-iu", user_id=user_of("IU"), team_id="alpha", organization_id="org-a")
    await world.spend(4, key_hash=hash_key(world.keys["SA"]), team_id="alpha", end_user_id="e")
    await world.spend(8, key_hash=hash_key(world.cross_key), user_id=user_of("XO"), team_id="beta")
    await world.spend(16, key_hash=hash_key(world.keys["IU"]), user_id=user_of("IU"))
    return world


async def nano_usd(world, caller, path, **query):
    answer = await world.get(path, as_caller=caller, **query)
    assert answer.status == 200, answer.body
    assert (
        sum(day["metrics"]["api_requests"] for day in answer.json()["results"])
        == (answer.json()["metadata"]["total_api_requests"])
    )
    return round(answer.json()["metadata"]["total_spend"] * 10**9)


@pytest.mark.parametrize(("action", "target", "caller", "status"), cells(MATRIX))
@pytest.mark.parametrize("path", ["/team/daily/activity", "/team/daily/activity/aggregated"])
async def test_cell(action, target, caller, status, path):
    world = await spending_world()
    before = await world.everything()
    answer = await world.get(path, as_caller=caller, **({} if target == "none" else {"team_ids": target}))
    assert answer.status == status, answer.body
    if status == 404:
        assert answer.error["code"] == "404"
        assert "not found" in answer.error["message"]
    assert await world.everything() == before


@pytest.mark.parametrize(
    ("caller", "expected"),
    [("PA", 31), ("OA", 0), ("TA", 7), ("IU", 2), ("OW", 1), ("UN", 0), ("XO", 8), ("SA", 4), ("OB", 0)],
)
async def test_whose_spend_a_team_report_has(caller, expected):
    """All for admins of the proxy, a team for its admins, their own part for members."""
    world = await spending_world()
    assert await nano_usd(world, caller, "/team/daily/activity") == expected


async def test_members_see_the_whole_team_when_they_are_permitted():
    world = await spending_world()
    await world.permit("alpha", "/team/daily/activity")
    assert await nano_usd(world, "IU", "/team/daily/activity", team_ids="alpha") == 7


@pytest.mark.parametrize(
    ("caller", "expected"), [("PA", 31), ("TA", 0), ("IU", 18), ("OW", 1), ("XO", 8), ("SA", 4), ("OB", 0)]
)
async def test_whose_spend_a_user_report_has(caller, expected):
    world = await spending_world()
    assert await nano_usd(world, caller, "/user/daily/activity") == expected
    assert await nano_usd(world, caller, "/user/daily/activity/aggregated") == expected


async def test_users_see_nobody_elses():
    world = await spending_world()
    for path in ("/user/daily/activity", "/spend/logs/v2"):
        assert (await world.get(path, as_caller="OW", user_id=user_of("IU"))).status == 403
        assert (await world.get(path, as_caller="SA", user_id=user_of("IU"))).status == 403
    assert await nano_usd(world, "OW", "/user/daily/activity", user_id=user_of("OW")) == 1
    assert await nano_usd(world, "PA", "/user/daily/activity", user_id=user_of("IU")) == 18
    foreign = hash_key(world.cross_key)
    assert await nano_usd(world, "OW", "/user/daily/activity", api_key=foreign) == 0
    assert await nano_usd(world, "SA", "/user/daily/activity", api_key=foreign) == 0
    assert await nano_usd(world, "PA", "/user/daily/activity", api_key=foreign) == 8


async def test_organizations_are_their_admins():
    world = await spending_world()
    path = "/organization/daily/activity"
    assert await nano_usd(world, "OA", path) == 2
    assert await nano_usd(world, "OA", path, organization_ids="org-a") == 2
    assert await nano_usd(world, "OB", path) == 0
    assert await nano_usd(world, "TA", path) == 0
    assert (await world.get(path, as_caller="OA", organization_ids="org-b")).status == 404
    assert (await world.get(path, as_caller="IU", organization_ids="org-a")).status == 404


@pytest.mark.parametrize(
    ("caller", "spent"), [("PA", {1, 2, 4, 8, 16}), ("TA", set()), ("IU", {2, 16}), ("SA", {4}), ("OB", set())]
)
async def test_whose_calls_the_logs_have(caller, spent):
    world = await spending_world()
    for path in ("/spend/logs/v2", "/spend/logs/ui"):
        page = (await world.get(path, as_caller=caller)).json()
        assert {round(row["spend"] * 10**9) for row in page["data"]} == spent
        assert page["total"] == len(spent)
    every = (await world.get("/spend/logs/v2")).json()["data"]
    for row in every:
        answer = await world.get(f"/spend/logs/ui/{row['litellm_call_id']}", as_caller=caller)
        assert answer.status == (200 if round(row["spend"] * 10**9) in spent else 404)


async def test_admins_of_a_team_see_its_calls():
    world = await spending_world()
    page = (await world.get("/spend/logs/v2", as_caller="TA", team_id="alpha")).json()
    assert {round(row["spend"] * 10**9) for row in page["data"]} == {1, 2, 4}
    assert (await world.get("/spend/logs/v2", as_caller="TA", team_id="beta")).json()["data"] == []
    assert (await world.get("/spend/logs/v2", as_caller="IU", team_id="alpha")).json()["total"] == 1


@pytest.mark.parametrize("path", REPORTS)
async def test_reports_never_fail_and_change_nothing(path):
    world = await spending_world()
    await world.make_user_with_key("PV", role="proxy_admin_viewer")
    before = await world.everything()
    query = {"session_id": "s"} if "session" in path else {}
    path = path.replace("{request_id:path}", "none")
    for caller in ("PV", *COLUMNS):
        answer = await world.get(path, as_caller=caller, **query)
        allowed = {200} if caller in {"PA", "PV"} else {200, 401}
        assert answer.status in ({404} if path.endswith("/none") else allowed), (caller, answer.body)
    answer = await world.client.request("GET", path, key="sk-nobody-knows-this")
    assert answer.status == 401
    assert await world.everything() == before
