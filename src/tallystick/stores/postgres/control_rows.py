"""Control objects and audit rows as PostgreSQL has them, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.store import AuditRow, Author
from tallystick.stores.changes import json_text

Columns = list[list[Any]]  # Any: text, flags and times, a list for each column.

_decode = msgspec.json.Decoder(dict[str, Any]).decode  # Any: JSON.


def columns_of_objects(objects: Sequence[ControlObject]) -> Columns:
    """Return the columns that `add_objects` and `update_objects` take. Raises RowRefused for what is not JSON."""
    rows = [
        (
            held.kind,
            held.object_id,
            held.name,
            held.organization_id,
            held.team_id,
            held.user_id,
            held.budget_id,
            held.blocked,
            held.expires_at,
            held.created_at,
            held.created_by,
            held.updated_at,
            held.updated_by,
            held.name.lower(),
            held.object_id.lower(),
            json_text(held.spec),
        )
        for held in objects
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def columns_of_refs(refs: Sequence[ObjectRef]) -> Columns:
    """Return kinds and ids."""
    return [[ref.kind for ref in refs], [ref.object_id for ref in refs]]


def object_of(row: asyncpg.Record) -> ControlObject:
    """Return the object of a row that has all its columns."""
    return ControlObject(
        kind=Kind(row["kind"]),
        object_id=row["object_id"],
        name=row["name"],
        organization_id=row["organization_id"],
        team_id=row["team_id"],
        user_id=row["user_id"],
        budget_id=row["budget_id"],
        blocked=row["blocked"],
        expires_at=row["expires_at"],
        spec=_decode(row["spec"]),
        revision=row["revision"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        updated_at=row["updated_at"],
        updated_by=row["updated_by"],
        deleted_at=row["deleted_at"],
        deleted_by=row["deleted_by"],
    )


def audit_row_of(row: asyncpg.Record) -> AuditRow:
    """Return a row of the audit."""
    return AuditRow(
        audit_id=str(row["audit_id"]),
        changed_at=row["changed_at"],
        author=Author(key_hash=row["key_hash"], user_id=row["user_id"], changed_by=row["changed_by"]),
        action=row["action"],
        ref=ObjectRef(Kind(row["kind"]), row["object_id"]),
        before=None if row["before"] is None else _decode(row["before"]),
        after=None if row["after"] is None else _decode(row["after"]),
    )
