"""Control objects: the rows that admins write and every instance follows.

One table holds them all: entities (organizations, teams, users, keys …) and what calls are served with (models,
credentials, settings). What they are looked up by is a column; the rest is `spec`, a JSON object whose type the kind
says.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec


class Kind(StrEnum):
    """What a control object is. The comment says what its id, its name and its relations are."""

    ORGANIZATION = "organization"  # name: alias; budget_id
    ORGANIZATION_MEMBER = "organization_member"  # id: member_id(organization_id, user_id); both are relations
    TEAM = "team"  # name: alias; organization_id
    TEAM_MEMBER = "team_member"  # id: member_id(team_id, user_id); both are relations; budget_id
    USER = "user"  # name: email
    KEY = "key"  # id: hash; name: alias, unique; user_id, team_id, organization_id, budget_id
    RETIRED_KEY = "retired_key"  # id: the former hash of a regenerated key, good until expires_at
    CUSTOMER = "customer"  # name: alias; budget_id
    TAG = "tag"  # id: the tag itself; budget_id
    BUDGET = "budget"
    ACCESS_GROUP = "access_group"  # name: unique
    MODEL = "model"  # id: deployment id; name: model group; team_id when only a team may use it
    CREDENTIAL = "credential"  # id: its name
    SETTING = "setting"  # id: section and key, as in `litellm_settings.cost_margin_config`
    ENVIRONMENT_VARIABLE = "environment_variable"  # id: its name
    PASS_THROUGH_ENDPOINT = "pass_through_endpoint"  # noqa: S105 # name: path


NAMED_ONCE: Final = frozenset({Kind.KEY, Kind.ACCESS_GROUP})
"""Kinds of which no two living objects share a name. The others' names are for people."""

SpecT = TypeVar("SpecT")


class ControlObject(msgspec.Struct, frozen=True, kw_only=True):
    """One row. '' is an absent id."""

    kind: Kind
    object_id: str
    name: str = ""
    organization_id: str = ""
    team_id: str = ""
    user_id: str = ""
    budget_id: str = ""
    blocked: bool = False
    expires_at: datetime | None = None
    spec: dict[str, Any] = {}  # Any: JSON; secrets in it are sealed (`secret_fields`).
    revision: int = 0
    """Number of its last change; 0 before it is written."""
    created_at: datetime
    created_by: str = ""
    updated_at: datetime
    updated_by: str = ""
    deleted_at: datetime | None = None
    deleted_by: str = ""

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(self.kind, self.object_id)


class ObjectRef(msgspec.Struct, frozen=True, order=True):
    """Names a living object."""

    kind: Kind
    object_id: str


def member_id(group_id: str, user_id: str) -> str:
    """Return the id of a membership. Ids may hold any character, so they are not merely joined."""
    return msgspec.json.encode([group_id, user_id]).decode()


def spec_as(of: type[SpecT], spec: dict[str, Any]) -> SpecT:  # Any: as above.
    """Return a spec as its type; fields that the type does not have are left out."""
    return msgspec.convert(spec, of)


def spec_from(typed: msgspec.Struct) -> dict[str, Any]:  # Any: as above.
    """Return the JSON object of a typed spec, just as a database returns it: tuples are lists.

    Fields at their defaults are omitted where the type says so.
    """
    spec: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(typed))  # Any: as above.
    return spec
