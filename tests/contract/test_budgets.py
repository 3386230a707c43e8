"""Budgets, as LiteLLM's clients and Terraform's resource use them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time
from zoneinfo import ZoneInfo

import pytest

from asgi_client import ASGIClient
from contract.office import MASTER, Office
from tallystick.access.keys import KeySpec
from tallystick.access.teams import MemberSpec
from tallystick.access.windows import WindowRule
from tallystick.admin.app import create_admin_app
from tallystick.control.objects import Kind, member_id
from tallystick.control.store import Author

SENT = {
    "max_budget": 25.5,
    "soft_budget": 20.0,
    "budget_duration": "30d",
    "tpm_limit": 1000,
    "tpd_limit": 100_000,
    "rpm_limit": 10,
    "max_parallel_requests": 3,
    "model_max_budget": {"gpt-4o": {"max_budget": 1.5, "budget_duration": "1d"}},
}


@pytest.fixture
def office():
    return Office()


async def test_terraform_budget(office):
    made = await office.good("POST", "/budget/new", SENT)
    (read,) = await office.good("POST", "/budget/info", {"budgets": [made["budget_id"]]})
    assert read == made
    assert {name: read[name] for name in SENT} == SENT
    assert datetime.fromisoformat(read["budget_reset_at"]) > office.clock.now()
    assert read["created_at"]

    changes = {"budget_id": made["budget_id"], "max_budget": 30.0, "tpm_limit": None, "budget_duration": None}
    changed = await office.good("POST", "/budget/update", changes)
    assert changed["budget_id"] == made["budget_id"]
    (read,) = await office.good("POST", "/budget/info", {"budgets": [made["budget_id"]]})
    assert {name: read[name] for name in SENT} == {
        **SENT, "max_budget": 30.0, "tpm_limit": None, "budget_duration": None,
    }  # fmt: skip
    assert read["budget_reset_at"] is None

    await office.good("POST", "/budget/delete", {"id": made["budget_id"]})
    for path, body in (
        ("/budget/info", {"budgets": [made["budget_id"]]}),
        ("/budget/delete", {"id": made["budget_id"]}),
        ("/budget/update", {"budget_id": made["budget_id"], "rpm_limit": 1}),
    ):
        error = await office.refused(404, "POST", path, body)
        assert "not found" in error["message"]


@pytest.mark.parametrize(
    "by_model",
    [{"m": {"budget_limit": "much"}}, {"m": {"max_budget": 1, "budget_duration": "soon"}}, {"m": {}}, {"m": -1}],
    ids=str,
)
async def test_budgets_by_model_that_can_t_be_read_are_refused(office, by_model):
    for path in ("/budget/new", "/key/generate", "/team/new", "/user/new"):
        error = await office.refused(400, "POST", path, {"model_max_budget": by_model})
        assert error["param"] == "model_max_budget"
        assert "model_max_budget[m]" in error["message"]


async def test_windows_are_shown_as_the_settings_say(office):
    rule = WindowRule(zone=ZoneInfo("Asia/Kolkata"), day_starts=time(6))
    office.client = ASGIClient(create_admin_app(replace(office.services, windows=rule)), key=MASTER)
    made = await office.good("POST", "/budget/new", {"budget_duration": "1d"})
    key = await office.good("POST", "/key/generate", {"budget_duration": "1d"})
    expected = rule.window_at("1d", office.clock.now()).ends_at.isoformat()
    assert made["budget_reset_at"] == key["budget_reset_at"] == expected
    assert expected.endswith("T00:30:00+00:00")


async def test_a_chosen_id_is_taken_once(office):
    made = await office.good("POST", "/budget/new", {"budget_id": "free"})
    assert (made["budget_id"], made["max_budget"], made["model_max_budget"]) == ("free", None, None)
    error = await office.refused(400, "POST", "/budget/new", {"budget_id": "free"})
    assert "already exists" in error["message"]


async def test_info_keeps_the_order_and_leaves_out_the_unknown(office):
    for budget_id in ("a", "b"):
        await office.good("POST", "/budget/new", {"budget_id": budget_id})
    found = await office.good("POST", "/budget/info", {"budgets": ["b", "none", "a"]})
    assert [each["budget_id"] for each in found] == ["b", "a"]
    assert await office.good("POST", "/budget/info", {"budgets": []}) == []
    listed = await office.client.get("/budget/list", size=1)
    assert [each["budget_id"] for each in listed.json()] == ["b"]
    assert listed.headers["x-tallystick-total-count"] == "2"


async def test_settings(office):
    await office.good("POST", "/budget/new", {"budget_id": "free", "max_budget": 5.0, "allowed_models": ["m"]})
    fields = {each["field_name"]: each for each in await office.good("GET", "/budget/settings", budget_id="free")}
    assert (fields["max_budget"]["field_value"], fields["max_budget"]["stored_in_db"]) == (5.0, True)
    assert (fields["tpm_limit"]["field_value"], fields["tpm_limit"]["stored_in_db"]) == (None, False)
    assert all(each["field_type"] for each in fields.values())
    await office.refused(404, "GET", "/budget/settings", budget_id="none")
    assert (await office.refused(400, "GET", "/budget/settings"))["param"] == "budget_id"


async def test_one_in_use_is_kept(office):
    await office.good("POST", "/budget/new", {"budget_id": "free"})
    holders = (
        (Kind.KEY, "hash", KeySpec(), {}),
        (Kind.TEAM_MEMBER, member_id("t", "u"), MemberSpec(role="user"), {"team_id": "t", "user_id": "u"}),
    )
    for kind, object_id, spec, columns in holders:
        held = await office.make(kind, object_id, spec, budget_id="free", **columns)
        error = await office.refused(409, "POST", "/budget/delete", {"id": "free"})
        assert f"in use by 1 {kind}" in error["message"]
        await office.writer.delete([held.ref], author=Author(key_hash="test"))
    await office.good("POST", "/budget/delete", {"id": "free"})


async def test_one_that_comes_into_use_at_the_same_time_is_kept(office, monkeypatch):
    await office.good("POST", "/budget/new", {"budget_id": "free"})
    apply, raced = office.control.apply, []

    async def apply_after_another(changes, **conditions):
        if not raced:
            raced.append(True)
            await office.make(Kind.KEY, "hash", KeySpec(), budget_id="free")
        return await apply(changes, **conditions)

    monkeypatch.setattr(office.control, "apply", apply_after_another)
    answer = await office.client.post("/budget/delete", {"id": "free"})
    assert answer.status == 409
    assert await office.find(Kind.BUDGET, "free") is not None


async def test_who_may(office):
    await office.good("POST", "/budget/new", {"budget_id": "free"})
    user = await office.make_person("ada")
    viewer = await office.make_person("vera", role="proxy_admin_viewer")
    writes = (("/budget/new", {}), ("/budget/update", {"budget_id": "free"}), ("/budget/delete", {"id": "free"}))
    for path, body in writes:
        for key in (user, viewer):
            error = await office.refused(401, "POST", path, body, key=key)
            assert "proxy admin" in error["message"]
            assert "not allowed" in error["message"]
    reads = (("POST", "/budget/info", {"budgets": ["free"]}), ("GET", "/budget/list", None))
    for method, path, body in reads:
        await office.refused(401, method, path, body, key=user)
        await office.good(method, path, body, key=viewer)


async def test_what_is_wrong_is_named(office):
    for body, param in (
        ({"max_budget": -1}, "max_budget"),
        ({"max_budget": "5"}, "max_budget"),
        ({"budget_duration": "soon"}, "budget_duration"),
        ({"rpm_limit": 1.5}, "rpm_limit"),
        ({"budget_id": ""}, "budget_id"),
    ):
        assert (await office.refused(400, "POST", "/budget/new", body))["param"] == param
