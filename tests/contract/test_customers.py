"""Customers, as LiteLLM's clients use them; they exist from the first call that names them."""

from __future__ import annotations

import pytest

from contract.office import Office
from tallystick.access.customers import customer_refusal
from tallystick.control.objects import Kind


@pytest.fixture
def office():
    return Office()


@pytest.mark.parametrize("prefix", ["/customer", "/end_user"])
async def test_a_whole_life(office, prefix):
    sent = {
        "user_id": "c1",
        "alias": "Corner shop",
        "max_budget": 5.0,
        "budget_duration": "1d",
        "allowed_model_region": "eu",
        "default_model": "gpt-4o",
        "blocked": False,
    }
    made = await office.good("POST", f"{prefix}/new", sent)
    assert {name: made[name] for name in ("user_id", "alias", "allowed_model_region", "default_model", "blocked")} == {
        name: sent[name] for name in ("user_id", "alias", "allowed_model_region", "default_model", "blocked")
    }
    assert (made["spend"], made["litellm_budget_table"]["max_budget"]) == (0.0, 5.0)
    assert made["budget_id"] == made["litellm_budget_table"]["budget_id"]
    assert await office.good("GET", f"{prefix}/info", end_user_id="c1") == made
    assert await office.good("GET", f"{prefix}/list") == [made]

    change = {"user_id": "c1", "alias": None, "max_budget": 6.0}
    changed = await office.good("POST", f"{prefix}/update", change)
    assert (changed["alias"], changed["default_model"], changed["budget_id"]) == (None, "gpt-4o", made["budget_id"])
    assert changed["litellm_budget_table"]["max_budget"] == 6.0

    gone = await office.good("POST", f"{prefix}/delete", {"user_ids": ["c1"]})
    assert gone["deleted_customers"] == 1
    assert await office.good("GET", f"{prefix}/list") == []
    assert await office.find(Kind.BUDGET, made["budget_id"]) is None
    error = await office.refused(404, "GET", f"{prefix}/info", end_user_id="c1")
    assert "not found" in error["message"]
    await office.refused(404, "POST", f"{prefix}/delete", {"user_ids": ["c1"]})
    await office.refused(404, "POST", f"{prefix}/update", change)


async def test_a_customer_without_limits_has_no_budget(office):
    made = await office.good("POST", "/customer/new", {"user_id": "c1", "budget_id": None})
    assert (made["budget_id"], made["litellm_budget_table"]) == (None, None)
    change = await office.good("POST", "/customer/update", {"user_id": "c1", "rpm_limit": 3})
    assert change["litellm_budget_table"]["rpm_limit"] == 3
    change = await office.good("POST", "/customer/update", {"user_id": "c1", "budget_id": None})
    assert change["litellm_budget_table"] is None
    assert await office.good("GET", "/budget/list") == []


async def test_many_share_a_budget_and_each_has_its_own_spend(office):
    await office.good("POST", "/budget/new", {"budget_id": "free", "max_budget": 1.0})
    for user_id, spent in (("c1", 100), ("c2", 200_000_000)):
        await office.good("POST", "/customer/new", {"user_id": user_id, "budget_id": "free"})
        await office.spend(spent, end_user_id=user_id)
    listed = await office.good("GET", "/customer/list")
    assert [(each["user_id"], each["spend"]) for each in listed] == [("c2", 0.2), ("c1", 1e-07)]
    assert {each["litellm_budget_table"]["max_budget"] for each in listed} == {1.0}
    await office.good("POST", "/customer/delete", {"user_ids": ["c1", "c2"]})
    assert await office.find(Kind.BUDGET, "free") is not None


async def test_one_whom_a_call_named_is_there(office):
    await office.spend(2_000_000_000, end_user_id="seen")
    shown = await office.good("GET", "/customer/info", end_user_id="seen")
    assert (shown["user_id"], shown["spend"], shown["blocked"], shown["created_at"]) == ("seen", 2.0, False, None)
    assert await office.good("GET", "/customer/list") == [shown]
    changed = await office.good("POST", "/customer/update", {"user_id": "seen", "alias": "Known"})
    assert (changed["alias"], changed["spend"], changed["created_at"] is None) == ("Known", 2.0, False)
    assert await office.good("GET", "/customer/list") == [changed]


async def test_one_whom_a_call_named_can_be_deleted_and_made_again(office):
    await office.spend(2_000_000_000, end_user_id="seen")
    await office.good("POST", "/customer/delete", {"user_ids": ["seen"]})
    await office.refused(404, "GET", "/customer/info", end_user_id="seen")
    assert await office.good("GET", "/customer/list") == []
    again = await office.good("POST", "/customer/update", {"user_id": "seen"})
    assert (again["spend"], await office.good("GET", "/customer/list")) == (2.0, [again])


async def test_lists_go_on_from_the_made_to_the_seen(office):
    for user_id in ("made1", "made2"):
        await office.good("POST", "/customer/new", {"user_id": user_id})
    for user_id, spent in (("seen1", 1), ("seen2", 2), ("made1", 9)):
        await office.spend(spent, end_user_id=user_id)
    pages = []
    for page in (1, 2, 3):
        answer = await office.client.get("/customer/list", page=page, size=3)
        assert answer.headers["x-tallystick-total-count"] == "4"
        pages.append([each["user_id"] for each in answer.json()])
    assert pages == [["made2", "made1", "seen2"], ["seen1"], []]
    found = await office.good("GET", "/customer/list", search="N1")
    assert [each["user_id"] for each in found] == ["seen1"]


async def test_block_and_unblock(office):
    await office.good("POST", "/customer/new", {"user_id": "c1"})
    blocked = await office.good("POST", "/customer/block", {"user_ids": ["c1", "never-seen"]})
    assert [(each["user_id"], each["blocked"]) for each in blocked["blocked_users"]] == [
        ("c1", True),
        ("never-seen", True),
    ]
    assert (await office.good("GET", "/customer/info", end_user_id="never-seen"))["blocked"]
    assert "blocked" in customer_refusal(await office.find(Kind.CUSTOMER, "c1"))
    await office.good("POST", "/customer/unblock", {"user_ids": ["c1"]})
    assert not (await office.good("GET", "/customer/info", end_user_id="c1"))["blocked"]
    assert customer_refusal(await office.find(Kind.CUSTOMER, "c1")) == ""
    assert customer_refusal(None) == ""
    await office.refused(404, "POST", "/customer/unblock", {"user_ids": ["c1", "none"]})


async def test_what_can_not_be_made(office):
    await office.good("POST", "/customer/new", {"user_id": "c1"})
    error = await office.refused(400, "POST", "/customer/new", {"user_id": "c1"})
    assert "already exists" in error["message"]
    assert (await office.refused(400, "POST", "/customer/new", {}))["param"] == "user_id"
    error = await office.refused(400, "POST", "/customer/new", {"user_id": "c2", "allowed_model_region": "moon"})
    assert error["param"] == "allowed_model_region"
    error = await office.refused(400, "POST", "/customer/new", {"user_id": "c2", "budget_id": "none"})
    assert error["param"] == "budget_id"
    await office.refused(404, "POST", "/customer/delete", {"user_ids": ["c1", "none"]})


async def test_who_may(office):
    await office.good("POST", "/customer/new", {"user_id": "c1"})
    user = await office.make_person("ada")
    viewer = await office.make_person("vera", role="proxy_admin_viewer")
    for prefix in ("/customer", "/end_user"):
        for action in ("new", "update", "delete", "block", "unblock"):
            body = {"user_id": "c1", "user_ids": ["c1"]}
            for key in (user, viewer):
                await office.refused(401, "POST", f"{prefix}/{action}", body, key=key)
        await office.refused(401, "GET", f"{prefix}/list", key=user)
        await office.refused(401, "GET", f"{prefix}/info", key=user, end_user_id="c1")
        await office.good("GET", f"{prefix}/list", key=viewer)
