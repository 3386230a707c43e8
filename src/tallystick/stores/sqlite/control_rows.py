"""Control objects and audit rows as SQLite has them, and back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.store import AuditRow, Author
from tallystick.stores.changes import json_text
from tallystick.stores.sqlite.moments import microseconds, moment_of
from tallystick.stores.sqlite.transactions import Row

_decode = msgspec.json.Decoder(dict[str, Any]).decode  # Any: JSON.


def object_row(held: ControlObject, *, revision: int) -> Row:
    """Return what `add_object` and `update_object` bind. Raises RowRefused for what is not JSON."""
    return (
        held.kind.value,
        held.object_id,
        held.name,
        held.organization_id,
        held.team_id,
        held.user_id,
        held.budget_id,
        int(held.blocked),
        None if held.expires_at is None else microseconds(held.expires_at),
        microseconds(held.created_at),
        held.created_by,
        microseconds(held.updated_at),
        held.updated_by,
        held.name.lower(),
        held.object_id.lower(),
        json_text(held.spec),
        revision,
    )


def object_of(row: Row) -> ControlObject:
    """Return the object of a row that begins with all its columns."""
    return ControlObject(
        revision=row[0],
        created_at=moment_of(row[1]),
        updated_at=moment_of(row[2]),
        expires_at=_moment_or_none(row[3]),
        deleted_at=_moment_or_none(row[4]),
        blocked=bool(row[5]),
        kind=Kind(row[6]),
        object_id=row[7],
        name=row[8],
        organization_id=row[9],
        team_id=row[10],
        user_id=row[11],
        budget_id=row[12],
        created_by=row[13],
        updated_by=row[14],
        deleted_by=row[15],
        spec=_decode(row[16]),
    )


def audit_row_of(row: Row) -> AuditRow:
    """Return a row of the audit."""
    return AuditRow(
        audit_id=row[0],
        changed_at=moment_of(row[1]),
        author=Author(key_hash=row[2], user_id=row[3], changed_by=row[4]),
        action=row[5],
        ref=ObjectRef(Kind(row[6]), row[7]),
        before=None if row[8] is None else _decode(row[8]),
        after=None if row[9] is None else _decode(row[9]),
    )


def _moment_or_none(stored: int | None) -> datetime | None:
    return None if stored is None else moment_of(stored)
