"""What a caller is told whose budget has no room. The beginnings are LiteLLM's, because clients look for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tallystick.access.leasing.bounds import Bound
from tallystick.access.scopes import LIFETIME_END, Scope
from tallystick.pricing.money import format_usd

_NAMES: Final[Mapping[str, Callable[[Scope, str], str]]] = {
    "key": lambda _, caller: f"Key={caller}",
    "team": lambda scope, _: f"Team={scope.id}",
    "team_member": lambda scope, _: f"User={scope.member_id} in Team={scope.id}",
    "organization": lambda scope, _: f"Organization={scope.id}",
    "organization_member": lambda scope, _: f"User={scope.member_id} in Organization={scope.id}",
    "tag": lambda scope, _: f"Tag={scope.id}",
    "session": lambda scope, _: f"Session={scope.id}",
    "provider": lambda scope, _: f"Provider={scope.id}",
    "global": lambda *_: "Proxy",
}


def denial_of(bound: Bound, *, caller: str) -> str:
    """Return the message: the scope, what is spent and what is reserved, the limit, and when it resets."""
    account = bound.account
    scope = account.window.scope
    correction = bound.budget.correction_of(account.window)
    spent, limit = account.known_spend + correction, bound.limit + correction
    told = f"{_beginning(scope, spent, limit, caller)}{_model(scope)}"
    reserved = bound.limit - account.known_spend
    if reserved > 0:
        told += f" {format_usd(reserved)} are left, which running calls have reserved or which this call may exceed."
    if account.window.ends_at < LIFETIME_END:
        return f"{told} It resets at {account.window.ends_at.isoformat()}."
    return f"{told} It does not reset; an admin can raise it."


def _beginning(scope: Scope, spent: int, limit: int, caller: str) -> str:
    if scope.type in {"personal", "user"}:
        return f"ExceededBudget: User={scope.id} over budget. Spend={_usd(spent)}, Budget={_usd(limit)}."
    if scope.type == "end_user":
        return f"ExceededBudget: End User={scope.id} over budget. Spend={_usd(spent)}, Budget={_usd(limit)}."
    name = _NAMES[scope.type](scope, caller)
    return f"Budget has been exceeded! {name} Current cost: {_usd(spent)}, Max budget: {_usd(limit)}."


def _model(scope: Scope) -> str:
    return f" The budget is for the model '{scope.model}'." if scope.model else ""


def _usd(nano_usd: int) -> str:
    return format_usd(nano_usd, decimals_min=2).replace("$", "")
