"""The limits that hold for every call of a key: its own, and those of all that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
import structlog

from tallystick.access.key_rows import KeyRows
from tallystick.access.limits import Limits, amount_nano_usd, member_limits, with_shared
from tallystick.access.scoped_limits import ScopedLimits, corrections_of, limits_of
from tallystick.access.scopes import Scope
from tallystick.access.teams import MemberSpec
from tallystick.access.users import UserSpec

log = structlog.get_logger(__name__)

_NO_LIMITS: Final = Limits()
_PER_SESSION: Final = "max_budget_per_session"


def principal_limits(rows: KeyRows, *, user_budget_holds_in_teams: bool) -> tuple[ScopedLimits, ...]:
    """Return the limits of key, user, team, team member, organization and organization member, where there are any."""
    return tuple(each for each in _each(rows, user_budget_holds_in_teams) if not each.is_empty or each.unreadable)


def user_limits(user_id: str, user: UserSpec, *, user_budget_holds_in_teams: bool) -> tuple[ScopedLimits, ...]:
    """Return the limits of a user. Rates hold for all of its calls; budgets are `personal` unless a setting says so."""
    limits, corrections = user.limits, corrections_of(user.spend_adjustment_nano_usd, user.spend_corrections)
    whole = limits_of(Scope("user", user_id), limits, corrections=corrections)
    if user_budget_holds_in_teams:
        return () if whole.is_empty else (whole,)
    own = limits_of(Scope("personal", user_id), limits, corrections=corrections)
    parts = (
        msgspec.structs.replace(whole, budgets=(), model_budgets={}),
        msgspec.structs.replace(own, rates=None, model_rates={}, unreadable={}),
    )
    return tuple(each for each in parts if not each.is_empty or each.unreadable)


def limits_of_member(
    scope: Scope, member: MemberSpec, *, shared: Limits | None, defaults: Limits = _NO_LIMITS
) -> ScopedLimits:
    """Return a member's own limits, else those of its budget row, else the team's defaults: each spends its own."""
    own = member.limits if shared is None else with_shared(member.limits, shared)
    return limits_of(
        scope,
        member_limits(own, defaults),
        corrections=corrections_of(member.spend_adjustment_nano_usd, member.spend_corrections),
    )


def session_budget_of(rows: KeyRows) -> int | None:
    """Return what a session may cost, in nano-USD, as the metadata of the key says, or else of its team."""
    given = rows.key.metadata.get(_PER_SESSION)
    if given is None:
        given = rows.team.metadata.get(_PER_SESSION)
    if given is None:
        return None
    try:
        return amount_nano_usd(given)
    except ValueError as error:
        log.warning(
            "limit_unreadable", scope="session", id=rows.key_row.object_id, place=_PER_SESSION, reason=str(error)
        )
        return None


def _each(rows: KeyRows, user_budget_holds_in_teams: bool) -> Iterator[ScopedLimits]:
    key, team, row = rows.key, rows.team, rows.key_row
    user_id, team_id, organization_id = row.user_id, row.team_id, rows.organization_id
    first, *others = (*key.prior_hashes, row.object_id)
    yield limits_of(
        Scope("key", first),
        key.limits,
        shared=rows.shared(row),
        corrections=corrections_of(key.spend_adjustment_nano_usd, key.spend_corrections),
        entity_ids=tuple(others),
    )
    if rows.user_row is not None:
        for each in user_limits(user_id, rows.user, user_budget_holds_in_teams=user_budget_holds_in_teams):
            if each.scope.type != "personal" or not team_id:
                yield each
    if rows.team_row is not None:
        yield limits_of(
            Scope("team", team_id),
            team.limits,
            shared=rows.shared(rows.team_row),
            corrections=corrections_of(team.spend_adjustment_nano_usd, team.spend_corrections),
        )
        if user_id:
            yield limits_of_member(
                Scope("team_member", team_id, user_id),
                rows.member,
                shared=rows.shared(rows.member_row),
                defaults=team.member_limits,
            )
    if rows.organization_row is not None:
        organization = rows.organization
        yield limits_of(
            Scope("organization", organization_id),
            _NO_LIMITS,
            shared=rows.shared(rows.organization_row),
            corrections=corrections_of(organization.spend_adjustment_nano_usd, organization.spend_corrections),
        )
        if user_id:
            yield limits_of_member(
                Scope("organization_member", organization_id, user_id),
                rows.organization_member,
                shared=rows.shared(rows.organization_member_row),
            )
