"""Audit rows as LiteLLM's API shows them, and its names of tables for our kinds of objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tallystick.admin.present import text_of
from tallystick.control.objects import Kind
from tallystick.control.store import AuditRow

_TABLES: Final[Mapping[Kind, str]] = {
    Kind.ORGANIZATION: "LiteLLM_OrganizationTable",
    Kind.ORGANIZATION_MEMBER: "LiteLLM_OrganizationMembership",
    Kind.TEAM: "LiteLLM_TeamTable",
    Kind.TEAM_MEMBER: "LiteLLM_TeamMembership",
    Kind.USER: "LiteLLM_UserTable",
    Kind.KEY: "LiteLLM_VerificationToken",
    Kind.RETIRED_KEY: "LiteLLM_DeprecatedVerificationToken",
    Kind.CUSTOMER: "LiteLLM_EndUserTable",
    Kind.TAG: "LiteLLM_TagTable",
    Kind.BUDGET: "LiteLLM_BudgetTable",
    Kind.ACCESS_GROUP: "LiteLLM_AccessGroupTable",
    Kind.MODEL: "LiteLLM_ProxyModelTable",
    Kind.CREDENTIAL: "LiteLLM_CredentialsTable",
    Kind.SETTING: "LiteLLM_Config",
}
_KINDS: Final = {table: kind for kind, table in _TABLES.items()}


def kind_of(name: str) -> str:
    """Return the kind that a filter names: by our own word, or by LiteLLM's name of its table."""
    return _KINDS.get(name, name)


def table_of(kind: str) -> str:
    """Return LiteLLM's name of the table of a kind; our own word where it has none."""
    return next((table for known, table in _TABLES.items() if known == kind), kind)


def shown_audit(row: AuditRow) -> dict[str, Any]:  # Any: JSON.
    """Return an audit row. `changed_by` is what the author says of itself, else its user; `user_id` is certain."""
    return {
        "id": row.audit_id,
        "updated_at": text_of(row.changed_at),
        "changed_by": row.author.changed_by or row.author.user_id,
        "changed_by_api_key": row.author.key_hash,
        "user_id": row.author.user_id or None,
        "action": row.action,
        "table_name": table_of(row.ref.kind),
        "object_type": row.ref.kind,
        "object_id": row.ref.object_id,
        "before_value": row.before,
        "updated_values": row.after,
    }
