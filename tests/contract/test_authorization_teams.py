"""The authorization matrix, its rows about teams: who may do what, and that a denied call is inert."""

from __future__ import annotations

import pytest

from contract.team_world import TEAMS, TeamWorld
from contract.world import COLUMNS

# '-' is a cell that no client relies on; there too a denied call has to be inert.
MATRIX = """
                       PA  OA  TA  IU  OW  UN  XO  SA  OB
team_new/none          200 401 401 401 401 401 401 401 401
team_new/org-a         200 200 401 401 401 401 401 401 401
team_new/org-b         200 401 401 401 401 401 401 401 200
team_update/alpha      200 200 401 401 401 401 401 401 401
team_update/beta       200 401 401 401 401 401 401 401 200
team_relocate/alpha    200 401 401 401 -   -   -   -   403
team_info/alpha        200 200 200 200 200 200 403 200 403
team_info/gamma        200 200 403 403 403 403 403 403 403
team_info/beta         200 403 403 403 403 403 200 403 200
team_delete/alpha      200 200 401 401 -   -   401 -   401
team_delete/beta       200 401 -   -   -   -   -   -   200
member_add/alpha       200 200 200 403 403 403 403 403 403
member_add/beta        200 403 403 403 403 403 403 403 200
member_delete/alpha    200 200 200 403 403 403 403 403 403
member_delete/beta     200 403 403 403 403 403 403 403 200
member_update/alpha    200 200 200 403 403 403 403 403 403
member_update/beta     200 403 403 403 403 403 403 403 200
team_block/alpha       200 200 401 401 401 401 401 401 401
team_block/beta        200 401 -   -   -   -   -   -   200
team_unblock/alpha     200 200 401 401 401 401 401 401 401
team_unblock/beta      200 401 -   -   -   -   -   -   200
team_model_add/alpha   200 401 401 401 401 401 401 401 401
team_model_delete/alpha 200 401 401 401 401 401 401 401 401
permissions_list/alpha 200 200 200 403 403 403 403 403 403
permissions_update/alpha 200 200 200 403 403 403 403 403 403
permissions_bulk/alpha 200 401 401 401 -   -   401 -   401
"""
ROWS = [line.split() for line in MATRIX.strip().splitlines()[1:]]
CELLS = [
    pytest.param(row, caller, status, id=f"{row}-{caller}")
    for row, *statuses in ROWS
    for caller, status in zip(COLUMNS, statuses, strict=True)
]
A_MEMBER = {"alpha": "user-un", "beta": "user-xo"}
READS = {"team_info", "permissions_list"}


def request_of(row):
    """Return method, path and body (or query) of a row."""
    action, target = row.split("/")
    team = {"team_id": target, "organization_id": TEAMS.get(target)}
    member = {"team_id": target, "user_id": A_MEMBER.get(target)}
    match action:
        case "team_new":
            body = {"team_alias": "scratch", "models": ["gpt-4o"]}
            return "POST", "/team/new", body if target == "none" else {**body, "organization_id": target}
        case "team_update":
            return "POST", "/team/update", {**team, "team_alias": "renamed", "max_budget": 5}
        case "team_relocate":
            return "POST", "/team/update", {"team_id": target, "organization_id": "org-b"}
        case "team_info":
            return "GET", "/team/info", {"team_id": target}
        case "team_delete":
            return "POST", "/team/delete", {"team_ids": [target], "organization_id": TEAMS[target]}
        case "team_block" | "team_unblock":
            return "POST", f"/team/{action.removeprefix('team_')}", team
        case "member_add":
            member = {"role": "user", "user_id": "a-new-user"}
            return "POST", "/team/member_add", {"team_id": target, "member": member}
        case "member_delete":
            return "POST", "/team/member_delete", member
        case "member_update":
            return "POST", "/team/member_update", {**member, "role": "admin", "max_budget_in_team": 5}
        case "team_model_add" | "team_model_delete":
            return "POST", f"/team/model/{action.removeprefix('team_model_')}", {**team, "models": ["gpt-4o"]}
        case "permissions_list":
            return "GET", "/team/permissions_list", {"team_id": target}
        case "permissions_update":
            body = {"team_id": target, "team_member_permissions": ["/key/generate"]}
            return "POST", "/team/permissions_update", body
        case "permissions_bulk":
            body = {"team_ids": [target], "permissions": ["/key/generate"]}
            return "POST", "/team/permissions_bulk_update", body
    raise AssertionError(row)


async def prepare(world, row):
    """Bring the target into a state from which the call would change it."""
    action, target = row.split("/")
    if action == "team_unblock":
        await world.good("/team/block", {"team_id": target})
    if action == "team_model_delete":
        await world.good("/team/model/add", {"team_id": target, "models": ["gpt-4o", "gpt-4o-mini"]})


@pytest.mark.parametrize(("row", "caller", "status"), CELLS)
async def test_cell(row, caller, status):
    world = await TeamWorld.build()
    await prepare(world, row)
    before = await world.everything()
    method, path, content = request_of(row)

    if method == "GET":
        answer = await world.get(path, as_caller=caller, **content)
    else:
        answer = await world.post(path, content, as_caller=caller)

    if status != "-":
        assert str(answer.status) == status, answer.body
    after = await world.everything()
    if answer.status == 200 and row.split("/")[0] not in READS:
        assert after != before
    else:
        assert after == before
    if answer.status != 200:
        assert answer.status in {401, 403}
        assert answer.error["code"] == str(answer.status)


@pytest.mark.parametrize("row", [row for row, *_ in ROWS])
async def test_organization_admin_by_membership_alone(row):
    """What counts is the role in the organization; a role of the same name in the user's own row adds nothing."""
    statuses = dict(zip(COLUMNS, next(rest for name, *rest in ROWS if name == row), strict=True))
    world = await TeamWorld.build()
    await world.make_user_with_key("BM")
    await world.join_organization("BM", "org-a")
    await world.make_user_with_key("NO", role="org_admin")
    await prepare(world, row)
    method, path, content = request_of(row)

    for caller, expected in (("NO", None), ("BM", statuses["OA"])):
        before = await world.everything()
        if method == "GET":
            answer = await world.get(path, as_caller=caller, **content)
        else:
            answer = await world.post(path, content, as_caller=caller)
        if expected is None:
            assert answer.status in {401, 403}
            assert await world.everything() == before
        else:
            assert str(answer.status) == expected, answer.body


async def test_lists_by_caller():
    world = await TeamWorld.build()

    async def listed(caller):
        plain = await world.get("/team/list", as_caller=caller)
        paged = await world.get("/v2/team/list", as_caller=caller)
        assert plain.status == paged.status == 200
        assert paged.json()["teams"] == plain.json()
        assert paged.json()["total"] == len(plain.json())
        return {team["team_id"] for team in plain.json()}

    assert await listed("PA") == {"alpha", "beta", "gamma"}
    assert await listed("OA") == {"alpha", "gamma"}
    assert await listed("OB") == {"beta"}
    for caller in ("TA", "IU", "OW", "UN", "SA"):
        assert await listed(caller) == {"alpha"}
    assert await listed("XO") == {"beta"}


async def test_lists_of_others_are_refused():
    world = await TeamWorld.build()
    for path in ("/team/list", "/v2/team/list"):
        assert (await world.get(path, as_caller="IU", user_id="user-xo")).status == 401
        assert (await world.get(path, as_caller="SA", user_id="user-xo")).status == 401
        assert (await world.get(path, as_caller="IU", user_id="user-iu")).status == 200
        assert (await world.get(path, as_caller="IU", organization_id="org-b")).status == 403
        assert (await world.get(path, as_caller="OA", organization_id="org-b")).status == 403
        assert (await world.get(path, as_caller="OA", organization_id="org-a")).status == 200
        assert (await world.get(path, status="active")).status == 400
        # An organization's admin sees of another user what belongs to the organization.
        seen = (await world.get(path, as_caller="OA", user_id="user-xo")).json()
        assert (seen["teams"] if isinstance(seen, dict) else seen) == []


async def test_viewers_read_and_never_write():
    world = await TeamWorld.build()
    await world.make_user_with_key("PV", role="proxy_admin_viewer")
    await world.make_user_with_key("IV", role="internal_user_viewer")
    await world.put_member("alpha", "IV", "admin")
    for row, *_ in ROWS:
        method, path, content = request_of(row)
        for caller in ("PV", "IV"):
            if method == "GET":
                wanted = 200 if caller == "PV" or row.endswith("alpha") else 403
                assert (await world.get(path, as_caller=caller, **content)).status == wanted
            else:
                await world.refused(401, path, content, as_caller=caller)
