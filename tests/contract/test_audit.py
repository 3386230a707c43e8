"""The audit: each write leaves one row per object that it changed, with who, before and after, and no secret."""

from __future__ import annotations

from datetime import timedelta

import pytest

from contract.office import MASTER, Office
from tallystick.access.keys import hash_key

WRITES = [
    ("POST", "/budget/new", {"budget_id": "b1"}, [("created", "budget", "b1")]),
    ("POST", "/budget/update", {"budget_id": "b1", "max_budget": 2.0}, [("updated", "budget", "b1")]),
    (
        "POST",
        "/organization/new",
        {"organization_id": "o1", "organization_alias": "One", "budget_id": "b1"},
        [("created", "organization", "o1")],
    ),
    (
        "PATCH",
        "/organization/update",
        {"organization_id": "o1", "metadata": {"api_key": "sk-very-secret"}},
        [("updated", "organization", "o1")],
    ),
    (
        "POST",
        "/organization/member_add",
        {"organization_id": "o1", "member": {"role": "internal_user", "user_id": "ada"}},
        [("created", "organization_member", '["o1","ada"]')],
    ),
    (
        "PATCH",
        "/organization/member_update",
        {"organization_id": "o1", "user_id": "ada", "role": "org_admin"},
        [("updated", "organization_member", '["o1","ada"]')],
    ),
    (
        "DELETE",
        "/organization/member_delete",
        {"organization_id": "o1", "user_id": "ada"},
        [("deleted", "organization_member", '["o1","ada"]')],
    ),
    ("POST", "/customer/new", {"user_id": "c1"}, [("created", "customer", "c1")]),
    ("POST", "/customer/update", {"user_id": "c1", "alias": "C"}, [("updated", "customer", "c1")]),
    ("POST", "/customer/block", {"user_ids": ["c1"]}, [("blocked", "customer", "c1")]),
    ("POST", "/customer/block", {"user_ids": ["c1"]}, []),
    ("POST", "/customer/unblock", {"user_ids": ["c1"]}, [("unblocked", "customer", "c1")]),
    ("POST", "/customer/delete", {"user_ids": ["c1"]}, [("deleted", "customer", "c1")]),
    ("POST", "/tag/new", {"name": "t1"}, [("created", "tag", "t1")]),
    ("POST", "/tag/update", {"name": "t1", "description": "T"}, [("updated", "tag", "t1")]),
    ("POST", "/tag/delete", {"name": "t1"}, [("deleted", "tag", "t1")]),
    ("DELETE", "/organization/delete", {"organization_ids": ["o1"]}, [("deleted", "organization", "o1")]),
    ("POST", "/budget/delete", {"id": "b1"}, [("deleted", "budget", "b1")]),
]


@pytest.fixture
async def office():
    office = Office()
    await office.make_person("ada")
    await office.make_person("root", role="proxy_admin")
    return office


async def test_each_write_leaves_one_row(office):
    key = "sk-key-of-root-0123456789"
    for method, path, body, expected in WRITES:
        count = len(await office.audit_since(0))
        await office.good(method, path, body, key=key, headers={"litellm-changed-by": "terraform"})
        rows = await office.audit_since(count)
        assert [(row.action, row.ref.kind, row.ref.object_id) for row in rows] == expected, path
        for row in rows:
            assert (row.before is None) == (row.action == "created")
            assert (row.after is None) == (row.action == "deleted")
            assert (row.author.key_hash, row.author.user_id, row.author.changed_by) == (
                hash_key(key), "root", "terraform",
            )  # fmt: skip
    assert "very-secret" not in str(await office.audit_since(0))
    listed = await office.client.get("/audit", page_size=100)
    assert b"very-secret" not in listed.body


async def test_own_budgets_have_rows_of_their_own(office):
    count = len(await office.audit_since(0))
    await office.good("POST", "/tag/new", {"name": "t1", "max_budget": 1.0})
    await office.good("POST", "/tag/update", {"name": "t1", "max_budget": 2.0})
    await office.good("POST", "/tag/delete", {"name": "t1"})
    rows = await office.audit_since(count)
    assert sorted((row.ref.kind, row.action) for row in rows) == [
        ("budget", "created"), ("budget", "deleted"), ("budget", "updated"), ("tag", "created"), ("tag", "deleted"),
    ]  # fmt: skip


async def test_a_row_in_litellms_shape(office):
    await office.good("POST", "/budget/new", {"budget_id": "b1", "max_budget": 1.0})
    await office.good(
        "POST", "/budget/update", {"budget_id": "b1", "max_budget": 2.0}, headers={"litellm-changed-by": "tf"}
    )
    answer = await office.good("GET", "/audit", page_size=1)
    (row,) = answer.pop("audit_logs")
    assert answer["page"] == answer["page_size"] == 1
    assert answer["total"] == answer["total_pages"] == 6
    assert row.pop("updated_at")
    assert await office.good("GET", f"/audit/{row['id']}")
    before, after = row.pop("before_value"), row.pop("updated_values")
    assert before["spec"]["limits"]["max_budget_nano_usd"] == 1_000_000_000
    assert after["spec"]["limits"]["max_budget_nano_usd"] == 2_000_000_000
    assert row.pop("id")
    assert row == {
        "changed_by": "tf",
        "changed_by_api_key": "litellm_proxy_master_key",
        "user_id": None,
        "action": "updated",
        "table_name": "LiteLLM_BudgetTable",
        "object_type": "budget",
        "object_id": "b1",
    }


async def test_filters_and_pages(office):
    begin = office.clock.now()
    root = "sk-key-of-root-0123456789"
    await office.good("POST", "/budget/new", {"budget_id": "b1"}, key=root)
    office.clock.advance(timedelta(days=2).total_seconds())
    await office.good("POST", "/tag/new", {"name": "t1"}, headers={"litellm-changed-by": "tf"})
    await office.good("POST", "/tag/delete", {"name": "t1"})

    async def found(**query):
        answer = await office.good("GET", "/audit", **query)
        return [(row["object_type"], row["action"]) for row in answer["audit_logs"]]

    assert await found(object_type="budget") == [("budget", "created")]
    assert await found(table_name="LiteLLM_TagTable") == [("tag", "deleted"), ("tag", "created")]
    assert await found(table_name="LiteLLM_TagTable", sort_order="asc") == [("tag", "created"), ("tag", "deleted")]
    assert await found(sort_order="asc", page=3, page_size=2, object_type="tag") == []
    assert await found(sort_order="asc", page=2, page_size=1, object_type="tag") == [("tag", "deleted")]
    assert await found(changed_by="tf") == [("tag", "created")]
    assert await found(changed_by="root") == await found(changed_by_api_key=root) == [("budget", "created")]
    assert await found(changed_by_api_key=MASTER) == [("tag", "deleted"), ("tag", "created")]
    assert await found(action="deleted") == await found(object_id="t1", page_size=1) == [("tag", "deleted")]
    assert await found(object_type="budget", end_date=begin.date().isoformat()) == [("budget", "created")]
    assert await found(object_type="budget", start_date=(begin + timedelta(days=1)).date().isoformat()) == []
    past = await office.good("GET", "/audit", page=99)
    assert (past["audit_logs"], past["total"]) == ([], 7)
    for query, param in (
        ({"sort_order": "up"}, "sort_order"),
        ({"sort_by": "action"}, "sort_by"),
        ({"start_date": "soon"}, "start_date"),
        ({"page": 0}, "page"),
    ):
        assert (await office.refused(400, "GET", "/audit", **query))["param"] == param


async def test_an_unknown_row_is_not_found(office):
    for audit_id in ("nothing", "01890a5d-ac96-774b-bcce-b302099a8057"):
        assert "not found" in (await office.refused(404, "GET", f"/audit/{audit_id}"))["message"]


async def test_who_may(office):
    viewer = await office.make_person("vera", role="proxy_admin_viewer")
    await office.good("GET", "/audit", key=viewer)
    await office.refused(401, "GET", "/audit", key="sk-key-of-ada-0123456789")
