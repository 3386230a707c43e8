"""Windows of budgets, as answers show what is left of them."""

from __future__ import annotations

from typing import Any

from tallystick.access.budget_store import WindowSum
from tallystick.access.scopes import LIFETIME_END
from tallystick.admin.limits import usd
from tallystick.admin.present import text_of


def shown_window(held: WindowSum, *, limit_nano_usd: int | None, correction_nano_usd: int) -> dict[str, Any]:
    """Return a window with its limit, what is spent, and what is left of it, a part of which instances have reserved.

    `correction_nano_usd` is what admins have added to the spend. Any: JSON.
    """
    scope, ends_at = held.window.scope, held.window.ends_at
    spent = held.spent_nano_usd + held.carried_nano_usd + correction_nano_usd
    return {
        "scope": scope.type,
        "id": scope.id or None,
        "member_id": scope.member_id or None,
        "model": scope.model or None,
        "limit": usd(limit_nano_usd),
        "spent": usd(spent),
        "reserved": usd(held.leased_nano_usd),
        "left": None if limit_nano_usd is None else usd(max(0, limit_nano_usd - spent)),
        "starts_at": None if ends_at == LIFETIME_END else text_of(held.window.starts_at),
        "reset_at": None if ends_at == LIFETIME_END else text_of(ends_at),
    }
