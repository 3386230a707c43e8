"""No list, search or look-up of control objects reads a whole table: what the planners say of 20,000 keys."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from control_kit import add, apply, creation, deletion, make_key, make_team, update
from tallystick.control.objects import Kind
from tallystick.control.store import AuditFilter, ControlStore, ObjectFilter, Scope
from tallystick.runtime.clock import SystemClock
from tallystick.stores.postgres.control import PostgresControlStore
from tallystick.stores.postgres.control_lists import ControlLists
from tallystick.stores.sqlite import SqliteControlStore, SqliteDatabase
from tallystick.stores.sqlite.control_lists import AuditPageRead, ObjectPageRead

KEYS = 20_000
BATCH = 5_000
TABLES = {"control_objects", "control_search", "audit_log", "change_feed"}
BY_AGE: dict[str, Any] = {"sort_by": "created_at", "descending": True, "offset": 0, "limit": 100}


def keys(**filters: Any) -> ObjectFilter:
    return ObjectFilter(kind=Kind.KEY, **filters)


# What is asked, how the page is sorted, and the index that must lead to it.
LISTS: list[tuple[ObjectFilter, dict[str, Any], str]] = [
    (keys(), {}, "control_objects_by_age"),
    (keys(), {"offset": KEYS - 100}, "control_objects_by_age"),
    (keys(), {"descending": False}, "control_objects_by_age"),
    (keys(), {"sort_by": "updated_at"}, "control_objects_by_update"),
    (keys(), {"sort_by": "name"}, "control_objects_by_name"),
    (keys(), {"sort_by": "name", "descending": False}, "control_objects_by_name"),
    (keys(), {"sort_by": "object_id"}, "control_objects_in_order_of_ids"),
    (keys(), {"sort_by": "expires_at"}, "control_objects_by_expiry"),
    (keys(), {"sort_by": "expires_at", "descending": False}, "control_objects_by_expiry"),
    (keys(names=("service-000123",)), {}, "control_objects_by_name|control_objects_by_unique_name"),
    (keys(object_ids=("abc", "def")), {}, "control_objects_by_id|control_objects_in_order_of_ids|by_key_hash"),
    (keys(team_ids=("team-7",)), {}, "control_objects_by_team"),
    (keys(team_ids=("team-7", "team-8")), {"sort_by": "name"}, "control_objects_by_team"),
    (keys(user_ids=("user-7",)), {}, "control_objects_by_user"),
    (keys(user_ids=("user-7", "user-8")), {}, "control_objects_by_user"),
    (keys(user_ids=("user-7",)), {"sort_by": "name"}, "control_objects_by_user"),
    (keys(organization_ids=("organization-7",)), {}, "control_objects_by_organization"),
    (keys(budget_ids=("budget-7",)), {}, "control_objects_by_budget"),
    (keys(created_by="creator-7"), {}, "control_objects_by_creator"),
    (keys(team_ids=("team-7",), deleted=True), {}, "control_objects_by_team"),
    (keys(within=Scope(user_ids=("user-7",), team_ids=("team-9",))), {}, "control_objects_by_user"),
    (keys(search="service-0123"), {}, "control_search"),
    (keys(search="4F3A9b"), {"sort_by": "name"}, "control_search"),
    (keys(search="7~"), {}, "control_search"),
]


def make_numbered_key(number: int) -> Any:
    return make_key(
        hashlib.sha256(str(number).encode()).hexdigest(),
        name=f"service-{number:06}",
        team_id=f"team-{number % 100}",
        user_id=f"user-{number % 1000}",
        organization_id=f"organization-{number % 50}",
        budget_id=f"budget-{number % 2000}",
        created_by=f"creator-{number % 300}",
    )


async def fill(store: ControlStore) -> None:
    for first in range(0, KEYS, BATCH):
        await apply(store, *(creation(make_numbered_key(number)) for number in range(first, first + BATCH)))
    teams = await add(store, *(make_team(f"team-{number}") for number in range(100)))
    await apply(store, *(update(team, name="x") for team in teams[:10]), *map(deletion, teams[10:20]))
    gone = await store.list_objects(keys(team_ids=("team-7",)), limit=20)
    await apply(store, *map(deletion, gone.objects))


# PostgreSQL


async def plan_of(connection: Any, statement: str, values: list[Any]) -> list[dict[str, Any]]:
    """Return all nodes of the plan that is made for these values."""
    text = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *values)
    nodes: list[dict[str, Any]] = []

    def walk(node: dict[str, Any]) -> None:
        nodes.append(node)
        for child in node.get("Plans", []):
            walk(child)

    walk(json.loads(text)[0]["Plan"])
    return nodes


def assert_led_by(nodes: list[dict[str, Any]], indexes: str, what: object) -> None:
    scanned = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
    assert not scanned & TABLES, (what, scanned)
    used = " ".join(node.get("Index Name", "") for node in nodes)
    assert any(index in used for index in indexes.split("|")), (what, used)


@pytest.mark.parametrize("is_analyzed", [False, True])
async def test_postgres_reads_no_whole_table(postgres_database, is_analyzed: bool) -> None:
    store, lists = PostgresControlStore(database=postgres_database), ControlLists(database=postgres_database)
    queries = postgres_database.queries
    await fill(store)
    async with postgres_database.connection() as connection:
        await connection.execute("VACUUM ANALYZE" if is_analyzed else "VACUUM")
        for where, options, indexes in LISTS:
            asked = lists.statement(where, **(BY_AGE | options))
            assert asked is not None
            assert_led_by(await plan_of(connection, *asked), indexes, (where, options))
        now = postgres_database.clock.now()
        found = await plan_of(connection, queries["find_key_and_relations"], ["a" * 64, now])
        assert_led_by(found, "control_objects_by_key_hash", "find_key")
        refs = [["key"] * 100, [make_numbered_key(number).object_id for number in range(100)]]
        for name in ("find_objects", "lock_changed_objects", "lock_required_objects"):
            assert_led_by(await plan_of(connection, queries[name], refs), "control_objects", name)
        left = [["key"], ["team_id"], ["team-1"]]
        assert_led_by(await plan_of(connection, queries["relations_left"], left), "control_objects_by_team", "left")
        changes = [KEYS, 100, list(Kind)]
        assert_led_by(await plan_of(connection, queries["changes_after"], changes), "change_feed_pkey", "feed")


AUDITED = {
    AuditFilter(object_id=make_numbered_key(5).object_id): "audit_log_by_object",
    AuditFilter(action="updated"): "audit_log_by_action|audit_log_by_kind",
    AuditFilter(kind="team", action="updated"): "audit_log_by_action|audit_log_by_kind",
    AuditFilter(changed_by="nobody"): "audit_log_by_user",
    AuditFilter(key_hash="nobody"): "audit_log_by_key",
}


async def test_postgres_reads_the_audit_by_index(postgres_database) -> None:
    store = PostgresControlStore(database=postgres_database)
    await fill(store)
    async with postgres_database.connection() as connection:
        await connection.execute("VACUUM ANALYZE")
        for where, indexes in AUDITED.items():
            statement, values = store._audit.statement(where, offset=0, limit=100)
            assert_led_by(await plan_of(connection, statement, values), indexes, where)


# SQLite


def sqlite_plan(connection: Any, statement: str, arguments: Any) -> list[str]:
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", arguments)]


def assert_searched(details: list[str], indexes: str, what: object) -> None:
    """A scan of a table of ours would read all of it; one of the grams is led by what is matched ("M")."""
    for detail in details:
        if detail.startswith("SCAN") and any(table in detail for table in TABLES):
            assert detail.startswith("SCAN control_search VIRTUAL TABLE INDEX 0:M"), (what, details)
    assert any(index in detail for index in indexes.split("|") for detail in details), (what, details)


@pytest.mark.parametrize("is_analyzed", [False, True])
async def test_sqlite_reads_no_whole_table(tmp_path, is_analyzed: bool) -> None:
    database = SqliteDatabase(tmp_path / "control.db", clock=SystemClock())
    await fill(SqliteControlStore(database=database))

    def check(connection: Any) -> None:
        if is_analyzed:
            connection.execute("ANALYZE")
        for where, options, indexes in LISTS:
            read = ObjectPageRead(where, **(BY_AGE | options))
            for statement, arguments in (
                (read.page_statement, read.arguments | read.bounds),
                (read.count_statement, read.arguments),
            ):
                # To count, any index that has all the columns will do.
                led_by = indexes if statement == read.page_statement else "control_objects_|control_search"
                assert_searched(sqlite_plan(connection, statement, arguments), led_by, (where, options))
        for where, indexes in AUDITED.items():
            audit = AuditPageRead(where, offset=0, limit=100)
            assert_searched(sqlite_plan(connection, audit.count_statement, audit.arguments), indexes, where)

    await database.write(check)
    await database.close()
