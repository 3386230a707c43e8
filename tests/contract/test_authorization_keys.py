"""The authorization matrix of virtual keys: every cell that the contract pins, and nothing changed by what is denied.

PA proxy admin, OA org admin of A, TA team admin of alpha, IU/OW/UN members of alpha, XO member of beta, SA service
account of alpha, OB org admin of B. Targets: self is a key of the caller without a team, owner OW's key in alpha, cross
XO's key in beta.
"""

from __future__ import annotations

import pytest

from contract.world import ALPHA, BETA, World, cells, user_of

MATRIX = """
route/target               PA  OA  TA  IU  OW  UN  XO  SA  OB
key_generate/none          200 401 200 200 200 200 200 200 -
key_generate/alpha         200 401 200 401 -   -   400 -   -
key_generate/beta          200 401 400 400 -   -   401 -   -
key_info/own               200 200 200 200 200 200 200 200 -
key_info/owner             200 403 200 200 200 200 403 200 -
key_info/cross             200 403 403 403 403 403 200 403 -
key_update/self            200 401 403 403 403 403 403 403 -
key_update/owner           200 401 403 403 -   403 403 403 -
key_update/cross           200 401 403 -   403 -   401 403 -
key_delete/self            200 401 200 200 200 200 200 200 -
key_delete/owner           200 401 200 403 -   403 403 403 -
key_delete/cross           200 401 403 -   403 -   200 403 -
key_regenerate/self        200 401 200 200 200 200 200 200 -
key_regenerate/owner       200 401 200 401 -   401 401 401 -
key_regenerate/cross       200 401 401 -   401 -   401 401 -
key_block/self             200 401 403 403 -   -   403 -   -
key_block/owner            200 401 200 403 403 403 403 403 401
key_block/cross            200 401 403 -   -   -   403 -   401
key_unblock/self           200 401 403 403 -   -   403 -   -
key_unblock/owner          200 401 200 403 403 403 403 403 401
key_unblock/cross          200 401 403 -   -   -   403 -   401
key_reset_spend/self       200 401 403 403 -   -   403 -   -
key_reset_spend/owner      200 401 200 403 403 403 403 403 401
key_reset_spend/cross      200 401 403 -   -   -   403 -   401
key_bulk_update/self       200 401 403 403 403 403 403 403 -
key_service_account/alpha  200 401 200 401 401 401 400 401 401
key_service_account/beta   200 401 400 400 -   -   401 -   401
key_service_account/none   400 401 400 400 -   -   400 -   -
key_health/own             200 200 200 200 200 200 200 200 200
"""
_TEAMS = {"alpha": {"team_id": ALPHA}, "beta": {"team_id": BETA}, "none": {}}
_CELLS = cells(MATRIX)


@pytest.mark.parametrize(
    ("action", "target", "column", "status"), _CELLS, ids=[f"{a}-{t}-{c}" for a, t, c, _ in _CELLS]
)
async def test_matrix(action: str, target: str, column: str, status: int) -> None:
    world = await World.build()
    method, path, body, query = _request(action, target, await _target_key(world, target, column))
    before = await world.objects()

    answer = await world.call(column, method, path, body, **query)

    assert answer.status == status, answer.body
    if status != 200:
        assert answer.error["code"] == str(status)
        assert await world.objects() == before
    elif action not in {"key_info", "key_health", "key_reset_spend", "key_unblock"}:
        assert await world.objects() != before


def test_every_row_is_there() -> None:
    assert len(_CELLS) == 199


async def _target_key(world: World, target: str, column: str) -> str:
    if target == "owner":
        return world.owner_key
    if target == "cross":
        return world.cross_key
    if target != "self":
        return world.keys[column]
    if column == "SA":
        return (await world.call("SA", "POST", "/key/generate", {})).json()["key"]
    return await world.put_key("sk-another-key-of-the-caller", user_id=user_of(column))


def _request(action: str, target: str, key: str) -> tuple[str, str, dict | None, dict]:
    match action:
        case "key_generate":
            return "POST", "/key/generate", _TEAMS[target], {}
        case "key_service_account":
            return "POST", "/key/service-account/generate", _TEAMS[target], {}
        case "key_info":
            return "GET", "/key/info", None, {} if target == "own" else {"key": key}
        case "key_update":
            return "POST", "/key/update", {"key": key, "metadata": {"changed": True}}, {}
        case "key_bulk_update":
            return "POST", "/key/bulk_update", {"keys": [{"key": key, "metadata": {"changed": True}}]}, {}
        case "key_delete":
            return "POST", "/key/delete", {"keys": [key]}, {}
        case "key_reset_spend":
            return "POST", f"/key/{key}/reset_spend", {"reset_to": 0}, {}
        case "key_health":
            return "POST", "/key/health", None, {}
        case _:
            return "POST", f"/{action.replace('_', '/', 1)}", {"key": key}, {}
