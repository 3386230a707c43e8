"""Pages of control objects and of the audit in SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from tallystick.control.objects import Kind
from tallystick.control.store import AuditFilter, AuditPage, ObjectFilter, ObjectPage, SortField
from tallystick.stores.grams import wanted_words
from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite.control_rows import audit_row_of, object_of
from tallystick.stores.sqlite.moments import microseconds
from tallystick.stores.sqlite.transactions import fetch, snapshot

_SQL = load_queries("tallystick.stores.sqlite")


class ObjectPageRead:
    """One read of a page of objects: called with a reader's connection."""

    def __init__(self, where: ObjectFilter, *, sort_by: SortField, descending: bool, offset: int, limit: int) -> None:
        filters, self.arguments = _object_filters(where)
        parts = {
            "living": _SQL["objects_deleted" if where.deleted else "objects_living"],
            "filters": filters,
            "column": sort_by if _has_ordered_index(where, sort_by) else f"+{sort_by}",
            "direction": "DESC" if descending else "ASC",
        }
        self.page_statement = _SQL["list_objects"].format(**parts)
        self.count_statement = _SQL["count_objects"].format(**parts)
        self.bounds = {"offset": offset, "limit": limit}

    def __call__(self, connection: apsw.Connection) -> ObjectPage:
        with snapshot(connection):
            rows = fetch(connection, self.page_statement, self.arguments | self.bounds)
            ((total_count,),) = fetch(connection, self.count_statement, self.arguments)
        return ObjectPage(objects=tuple(object_of(row) for row in rows), total_count=total_count)


class AuditPageRead:
    """One read of a page of the audit: called with a reader's connection."""

    def __init__(self, where: AuditFilter, *, offset: int, limit: int) -> None:
        wanted = _audit_filters(where)
        filters = " AND ".join(_SQL[f"audit_filter_{name}"] for name in wanted) or _SQL["audit_filter_none"]
        self.page_statement = _SQL["list_audit_log"].format(filters=filters)
        self.count_statement = _SQL["count_audit_log"].format(filters=filters)
        self.arguments = {**wanted, "kinds": json_list(list(Kind))}
        self.bounds = {"offset": offset, "limit": limit}

    def __call__(self, connection: apsw.Connection) -> AuditPage:
        with snapshot(connection):
            rows = fetch(connection, self.page_statement, self.arguments | self.bounds)
            ((total_count,),) = fetch(connection, self.count_statement, self.arguments)
        return AuditPage(rows=tuple(audit_row_of(row) for row in rows), total_count=total_count)


def json_list(values: Sequence[object]) -> str:
    """Return a list as JSON, which is how a statement takes any number of values."""
    return msgspec.json.encode(values).decode()


def _has_ordered_index(where: ObjectFilter, sort_by: SortField) -> bool:
    """Whether an index has the rows in the order of the page."""
    lists = (where.object_ids, where.names, where.user_ids, where.budget_ids, where.within, where.search or None)
    if any(wanted is not None for wanted in lists):
        return False
    groups = [wanted for wanted in (where.organization_ids, where.team_ids) if wanted is not None]
    if groups or where.created_by is not None:
        return sort_by == "created_at" and all(len(wanted) == 1 for wanted in groups)
    return True


def _object_filters(where: ObjectFilter) -> tuple[str, dict[str, Any]]:
    """Return the conditions in SQL, and their values by name. Any: text, numbers."""
    conditions: list[str] = []
    arguments: dict[str, Any] = {"kind": where.kind.value}  # Any: as above.
    columns = {
        "object_id": where.object_ids,
        "name": where.names,
        "organization_id": where.organization_ids,
        "team_id": where.team_ids,
        "user_id": where.user_ids,
        "budget_id": where.budget_ids,
    }
    for column, wanted in columns.items():
        if wanted is not None:
            name = "objects_filter_by_one" if len(wanted) == 1 else "objects_filter_by_some"
            conditions.append(_SQL[name].format(column=column, value=f"{column}s"))
            arguments[f"{column}s"] = wanted[0] if len(wanted) == 1 else json_list(wanted)
    if where.within is not None:
        living = _SQL["objects_deleted" if where.deleted else "objects_living"]
        conditions.append(_SQL["objects_filter_within"].format(living=living))
        for name in ("user_ids", "team_ids", "organization_ids", "object_ids"):
            arguments[f"within_{name}"] = json_list(getattr(where.within, name))
    if where.created_by is not None:
        conditions.append(_SQL["objects_filter_created_by"])
        arguments["created_by"] = where.created_by
    if where.search:
        needle = where.search.lower()
        conditions.append(_SQL["objects_filter_search"])
        arguments |= {"needle": needle, "grams": " AND ".join(wanted_words(where.kind, needle, prefix_mark="*"))}
    return " AND ".join(conditions) or _SQL["objects_filter_none"], arguments


def _audit_filters(where: AuditFilter) -> dict[str, Any]:
    """Return the filters that are set, by name. Any: text and times."""
    names = ("audit_id", "kind", "object_id", "action", "changed_by", "key_hash")
    values: dict[str, Any] = {name: getattr(where, name) for name in names}  # Any: as above.
    values["since"] = None if where.since is None else microseconds(where.since)
    values["until"] = None if where.until is None else microseconds(where.until)
    return {name: value for name, value in values.items() if value is not None}
