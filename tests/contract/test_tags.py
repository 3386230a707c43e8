"""Tags, as LiteLLM's clients and Terraform's resource use them."""

from __future__ import annotations

import pytest

from contract.office import Office
from tallystick.control.objects import Kind

LIMITS = {
    "max_budget": 50.0,
    "soft_budget": 40.0,
    "budget_duration": "7d",
    "tpm_limit": 1000,
    "rpm_limit": 10,
    "max_parallel_requests": 2,
    "model_max_budget": {"gpt-4o": {"max_budget": 1.5, "budget_duration": "1d"}},
}


@pytest.fixture
def office():
    return Office()


async def info(office, name):
    return (await office.good("POST", "/tag/info", {"names": [name]}))[name]


async def test_terraform_tag(office):
    assert await office.good("GET", "/tag/list") == []
    sent = {"name": "nightly", "description": "Batch runs", "models": ["m1"], **LIMITS}
    made = await office.good("POST", "/tag/new", sent)
    read = await info(office, "nightly")
    assert (read["name"], read["description"], read["models"]) == ("nightly", "Batch runs", ["m1"])
    table = read["litellm_budget_table"]
    assert {name: table[name] for name in LIMITS} == LIMITS
    assert {name: read[name] for name in LIMITS} == LIMITS
    assert read["budget_id"] == table["budget_id"]
    assert made["tag"] == read
    assert await office.good("GET", "/tag/list") == [read]

    await office.good("POST", "/tag/update", {"name": "nightly", "description": None, "models": []})
    budget = {"budget_id": read["budget_id"], "max_budget": 60.0, "rpm_limit": None, "budget_reset_at": None}
    assert (await office.good("POST", "/budget/update", budget))["budget_id"] == read["budget_id"]
    changed = await info(office, "nightly")
    assert (changed["description"], changed["models"], changed["budget_id"]) == (None, [], read["budget_id"])
    table = changed["litellm_budget_table"]
    assert {name: table[name] for name in LIMITS} == {**LIMITS, "max_budget": 60.0, "rpm_limit": None}

    await office.good("POST", "/tag/delete", {"name": "nightly"})
    for path, body in (("/tag/info", {"names": ["nightly"]}), ("/tag/delete", {"name": "nightly"})):
        error = await office.refused(404, "POST", path, body)
        assert "not found" in error["message"]
    assert await office.find(Kind.BUDGET, read["budget_id"]) is None


async def test_a_tag_may_share_a_budget_or_have_none(office):
    await office.good("POST", "/budget/new", {"budget_id": "shared", "max_budget": 3.0})
    await office.good("POST", "/tag/new", {"name": "plain"})
    plain = await info(office, "plain")
    assert (plain["budget_id"], plain["litellm_budget_table"], plain["max_budget"]) == (None, None, None)
    await office.good("POST", "/tag/update", {"name": "plain", "budget_id": "shared"})
    assert (await info(office, "plain"))["max_budget"] == 3.0
    await office.refused(400, "POST", "/tag/update", {"name": "plain", "max_budget": 4.0})
    await office.good("POST", "/tag/delete", {"name": "plain"})
    assert await office.find(Kind.BUDGET, "shared") is not None


async def test_one_that_a_call_named_is_there(office):
    await office.good("POST", "/tag/new", {"name": "made"})
    await office.spend(3_000_000_000, tags=("seen", "made"))
    listed = await office.good("GET", "/tag/list")
    assert [(each["name"], each["spend"]) for each in listed] == [("made", 3.0), ("seen", 3.0)]
    found = await office.good("POST", "/tag/info", {"names": ["seen", "none", "made"]})
    assert {name: each["spend"] for name, each in found.items()} == {"seen": 3.0, "made": 3.0}
    await office.good("POST", "/tag/update", {"name": "seen", "description": "Now known"})
    assert (await info(office, "seen"))["description"] == "Now known"
    await office.good("POST", "/tag/delete", {"name": "seen"})
    await office.refused(404, "POST", "/tag/info", {"names": ["seen"]})


async def test_what_can_not_be_made(office):
    await office.good("POST", "/tag/new", {"name": "nightly"})
    error = await office.refused(400, "POST", "/tag/new", {"name": "nightly"})
    assert "already exists" in error["message"]
    assert (await office.refused(400, "POST", "/tag/new", {}))["param"] == "name"
    assert (await office.refused(400, "POST", "/tag/new", {"name": ""}))["param"] == "name"
    await office.refused(404, "POST", "/tag/update", {"name": "none", "description": "x"})


async def test_who_may(office):
    await office.good("POST", "/tag/new", {"name": "nightly"})
    user = await office.make_person("ada")
    viewer = await office.make_person("vera", role="proxy_admin_viewer")
    for action in ("new", "update", "delete"):
        for key in (user, viewer):
            await office.refused(401, "POST", f"/tag/{action}", {"name": "nightly"}, key=key)
    await office.refused(401, "POST", "/tag/info", {"names": ["nightly"]}, key=user)
    await office.refused(401, "GET", "/tag/list", key=user)
    await office.good("GET", "/tag/list", key=viewer)
    await office.good("POST", "/tag/info", {"names": ["nightly"]}, key=viewer)
