"""Who may do what with a virtual key, besides proxy admins: one table, which reads like the authorization matrix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, Literal

import msgspec

from tallystick.access.keys import KeySpec
from tallystick.access.limits import Limits
from tallystick.access.teams import TEAM_ADMIN
from tallystick.access.users import Role
from tallystick.errors import BadRequest, PermissionDenied, TeamPermissionMissing

GUARANTEED: Final = "guaranteed_throughput"
PLAIN_ROLES: Final = frozenset({Role.INTERNAL_USER, Role.INTERNAL_USER_VIEWER})
"""Roles of users for whom others may hold a key: nobody gains by it."""


class KeyAction(StrEnum):
    """What is done with a key, by the route that does it: teams list these as their members' permissions."""

    INFO = "/key/info"
    GENERATE = "/key/generate"
    SERVICE_ACCOUNT = "/key/service-account/generate"
    UPDATE = "/key/update"
    DELETE = "/key/delete"
    REGENERATE = "/key/regenerate"
    BLOCK = "/key/block"
    UNBLOCK = "/key/unblock"
    RESET_SPEND = "/key/{key}/reset_spend"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a caller stands to a key, or to the team for which it wants one."""

    is_owner: bool = False
    """It is the key itself, a key of the same user, or, for keys without users, one that the key made."""
    team_id: str = ""
    team_role: str = ""
    """The caller's role in that team: `admin`, `user`, or '' when it is no member."""
    permissions: tuple[str, ...] = ()
    """What the team lets its plain members do."""

    def is_permitted(self, action: KeyAction) -> bool:
        """Whether the caller's place in the team lets it do this with the keys of the team."""
        return self.team_role == TEAM_ADMIN or (bool(self.team_role) and action in self.permissions)


Answer = Literal["yes", "by team, 401", "by team, 403", "401", "403"]
"""`by team`: team admins may, and members whose team permits the route; the others get the status."""
_YES: Final = "yes"
_TEAM_401: Final = "by team, 401"
_TEAM_403: Final = "by team, 403"
_401: Final = "401"
_403: Final = "403"


class _Row(msgspec.Struct, frozen=True):
    own: Answer
    own_in_team: Answer
    of_team: Answer
    foreign: Answer


_TABLE: Final[Mapping[KeyAction, _Row]] = {
    #                           own   own, in a team  other's in own team  any other
    KeyAction.INFO: _Row(_YES, _YES, _YES, _403),
    KeyAction.UPDATE: _Row(_403, _TEAM_401, _403, _403),
    KeyAction.DELETE: _Row(_YES, _YES, _TEAM_403, _403),
    KeyAction.REGENERATE: _Row(_YES, _TEAM_401, _TEAM_401, _401),
    KeyAction.BLOCK: _Row(_403, _TEAM_403, _TEAM_403, _403),
    KeyAction.UNBLOCK: _Row(_403, _TEAM_403, _TEAM_403, _403),
    KeyAction.RESET_SPEND: _Row(_403, _TEAM_403, _TEAM_403, _403),
}


def require_allowed(action: KeyAction, standing: Standing) -> None:
    """Raise PermissionDenied or TeamPermissionMissing unless the table lets the caller do this with the key."""
    answer = _answer(action, standing)
    if answer == _YES or (answer in {_TEAM_401, _TEAM_403} and standing.is_permitted(action)):
        return
    if answer in {_TEAM_401, _401}:
        raise _missing(action, standing)
    if action == KeyAction.UPDATE and standing.is_owner:
        raise PermissionDenied(
            "This key is not allowed to update keys without a team, not even its own: a proxy admin can.", param="key"
        )
    raise PermissionDenied(
        f"This key is not allowed to use {action} on that key: it belongs to somebody else, or only its team's admins "
        "may.",
        param="key",
    )


def allows(action: KeyAction, standing: Standing) -> bool:
    """Whether the table lets the caller do this with the key."""
    answer = _answer(action, standing)
    return answer == _YES or (answer in {_TEAM_401, _TEAM_403} and standing.is_permitted(action))


def require_member(action: KeyAction, standing: Standing) -> None:
    """Raise BadRequest unless the caller is in the team for which it wants a key, TeamPermissionMissing unless it may.

    Not being a member is an error of the request, as LiteLLM's clients expect.
    """
    if not standing.team_role:
        raise BadRequest(
            f"You are no member of team '{standing.team_id}': only its admins and members can make keys for it.",
            param="team_id",
        )
    if not standing.is_permitted(action):
        raise _missing(action, standing)


def require_within_team(wanted: KeySpec, team: Limits, others: Iterable[KeySpec]) -> None:
    """Raise BadRequest when a guaranteed throughput is more than the team has left beside its other guaranteed keys."""
    guaranteed = tuple(others)
    for limit, of_models in (("tpm_limit", "model_tpm_limit"), ("rpm_limit", "model_rpm_limit")):
        if not is_guaranteed(wanted, limit):
            continue
        rivals = [spec.limits for spec in guaranteed if is_guaranteed(spec, limit)]
        _require_left(limit, getattr(wanted.limits, limit), getattr(team, limit), [getattr(r, limit) for r in rivals])
        for model, asked in getattr(wanted.limits, of_models).items():
            taken = [getattr(r, of_models).get(model) for r in rivals]
            _require_left(limit, asked, getattr(team, of_models).get(model), taken, model=model)


def is_guaranteed(spec: KeySpec, limit: str) -> bool:
    """Whether this limit of the key (`tpm_limit` or `rpm_limit`) is set aside for it from its team's."""
    return spec.other.get(f"{limit}_type") == GUARANTEED


def _require_left(
    limit: str, asked: int | None, of_team: int | None, taken: Iterable[int | None], *, model: str = ""
) -> None:
    if asked is None or of_team is None:
        return
    sum_taken = sum(each for each in taken if each is not None)
    if asked + sum_taken > of_team:
        name = f"{limit[:3].upper()} limit" + (f" of model '{model}'" if model else "")
        raise BadRequest(
            f"{name}: {asked} can't be guaranteed, because the team's {name} is {of_team} and {sum_taken} of it are "
            "guaranteed to its other keys.",
            param=limit if not model else f"model_{limit}",
        )


def _answer(action: KeyAction, standing: Standing) -> Answer:
    row = _TABLE[action]
    if standing.is_owner:
        return row.own_in_team if standing.team_id else row.own
    return row.of_team if standing.team_role else row.foreign


def _missing(action: KeyAction, standing: Standing) -> TeamPermissionMissing:
    if not standing.team_role:
        return TeamPermissionMissing(f"This key is not allowed to use {action} on that key: it belongs to others.")
    permitted = ", ".join(standing.permissions) or "none"
    return TeamPermissionMissing(
        f"Team member does not have the permission {action}. Members of team '{standing.team_id}' have: {permitted}. "
        "An admin can add to them with /team/permissions_update."
    )
