"""What is left of each budget that bounds a key."""

from __future__ import annotations

from typing import Any

from tallystick.access.key_rows import KeyRows, key_rows
from tallystick.access.organizations import ORG_ADMIN
from tallystick.access.principal_limits import principal_limits
from tallystick.access.scopes import Budget, Scope, Window
from tallystick.admin.budgets.views import shown_window
from tallystick.admin.callers import Caller
from tallystick.admin.limits import usd
from tallystick.admin.present import Present
from tallystick.admin.services import AdminServices


class KeyBudgets:
    """Reads the budgets of a key: its own, and those of all that it belongs to."""

    def __init__(self, services: AdminServices) -> None:
        self._control = services.control
        self._budgets = services.budgets
        self._user_budget_holds_in_teams = services.user_budget_holds_in_teams

    async def of(self, caller: Caller, key_hash: str, *, present: Present) -> list[dict[str, Any]]:  # Any: JSON.
        """Return those that the caller may see, in two reads."""
        found = await self._control.find_key(key_hash)
        if not found:
            return []
        rows = key_rows(found)
        scoped = principal_limits(rows, user_budget_holds_in_teams=self._user_budget_holds_in_teams)
        visible = {each.scope for each in scoped if await _may_see(caller, each.scope, rows)}
        budgets: list[tuple[Window, Budget]] = [
            (present.window_of(budget.scope, budget.duration), budget)
            for each in scoped
            if each.scope in visible
            for budget in (*each.budgets, *(one for budgets in each.model_budgets.values() for one in budgets))
        ]
        windows = {window: budget.entity_ids for window, budget in budgets}
        sums = {each.window: each for each in await self._budgets.sums(tuple(windows.items()))} if windows else {}
        return [
            {
                **shown_window(
                    sums[window],
                    limit_nano_usd=budget.limit_at(present.now),
                    correction_nano_usd=budget.correction_of(window),
                ),
                "soft_limit": usd(budget.soft_limit_nano_usd),
                "duration": budget.duration or None,
            }
            for window, budget in budgets
        ]


async def _may_see(caller: Caller, scope: Scope, rows: KeyRows) -> bool:
    """Whether who may see a key may see this sum, too: as in the answers about users, teams and organizations."""
    if caller.may_see_all or scope.type == "key":
        return True
    own_user = caller.principal.user_id
    match scope.type:
        case "user" | "personal":
            return own_user == scope.id
        case "team" | "team_member":
            if caller.principal.team_id == scope.id or await caller.team_role(scope.id):
                return True
            return await caller.organization_role(rows.organization_id) == ORG_ADMIN
        case _:
            return bool(await caller.organization_role(scope.id))
