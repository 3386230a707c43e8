"""The audit of admin writes on PostgreSQL."""

from __future__ import annotations

from typing import Any, Protocol
from uuid import UUID

from tallystick.control.objects import Kind
from tallystick.control.store import AuditFilter, AuditPage
from tallystick.stores.postgres.connection import Readable
from tallystick.stores.postgres.control_rows import audit_row_of
from tallystick.stores.postgres.texts import holdable

_NOTHING = AuditPage(rows=(), total_count=0)


class AuditReader(Protocol):
    """Whoever can list the audit."""

    async def page(self, where: AuditFilter, *, offset: int, limit: int) -> AuditPage:
        """Return one page, newest first."""


class AuditLog:
    """Reads the audit."""

    def __init__(self, *, database: Readable) -> None:
        self._database = database
        self._queries = database.queries

    async def page(self, where: AuditFilter, *, offset: int, limit: int) -> AuditPage:
        """Return one page, newest first."""
        if not all(holdable(value) for value in _wanted(where).values() if isinstance(value, str)):
            return _NOTHING
        if where.audit_id is not None and not _is_uuid(where.audit_id):
            return _NOTHING
        statement, values = self.statement(where, offset=offset, limit=limit)
        async with self._database.connection() as connection:
            rows = await connection.fetch(statement, *values)
        found = tuple(audit_row_of(row) for row in rows if row["kind"] is not None)
        return AuditPage(rows=found, total_count=rows[0]["total_count"])

    def statement(self, where: AuditFilter, *, offset: int, limit: int) -> tuple[str, list[Any]]:
        """Return the statement of a page and its values. Any: text, lists, numbers, times."""
        wanted = _wanted(where)
        conditions = [
            self._queries[f"audit_filter_{name}"].format(value=f"${number}")
            for number, name in enumerate(wanted, start=4)
        ]
        filters = " AND ".join(conditions) or self._queries["audit_filter_none"]
        statement = self._queries["list_audit_log"].format(filters=filters)
        return statement, [list(Kind), limit, offset, *wanted.values()]


def _wanted(where: AuditFilter) -> dict[str, Any]:
    """Return the filters that are set, by name. Any: text and times."""
    names = ("audit_id", "kind", "object_id", "action", "changed_by", "key_hash", "since", "until")
    values = {name: getattr(where, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
