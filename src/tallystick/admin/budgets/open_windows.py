"""The windows of budgets that run now, the fullest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from tallystick.access.budget_store import BudgetStore, WindowSum
from tallystick.access.leasing.bounds import NO_LIMIT
from tallystick.access.scoped_limits import corrections_of
from tallystick.access.scopes import Correction, Scope, Window
from tallystick.admin.budgets.views import shown_window
from tallystick.admin.services import AdminServices
from tallystick.control.objects import ControlObject, Kind, ObjectRef, member_id
from tallystick.control.store import ControlStore

WINDOWS_MAX: Final = 200_000
"""More are not looked at."""
_PAGE: Final = 1_000
_KINDS: Final[Mapping[str, Kind]] = {
    "key": Kind.KEY,
    "user": Kind.USER,
    "personal": Kind.USER,
    "team": Kind.TEAM,
    "team_member": Kind.TEAM_MEMBER,
    "organization": Kind.ORGANIZATION,
    "organization_member": Kind.ORGANIZATION_MEMBER,
    "end_user": Kind.CUSTOMER,
    "tag": Kind.TAG,
}


class WindowsPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page, and how many there are in all."""

    windows: tuple[dict[str, Any], ...]  # Any: JSON.
    total_count: int
    is_cut: bool
    """Whether there are more than are looked at."""


class OpenWindows:
    """Lists windows that somebody has leased from, with the limit of the last lease."""

    def __init__(self, services: AdminServices) -> None:
        self._budgets: BudgetStore = services.budgets
        self._control: ControlStore = services.control

    async def page(self, *, scope_type: str | None, over: float, offset: int, limit: int) -> WindowsPage:
        """Return those of a type of which more than the share `over` is spent, by that share."""
        found: list[tuple[float, WindowSum]] = []
        looked, after = 0, None
        while looked < WINDOWS_MAX:
            some = await self._budgets.open_windows(after=after, limit=_PAGE)
            found += [
                (share, each)
                for each in some
                if scope_type in {None, each.window.scope.type} and (share := _share_of(each)) >= over
            ]
            looked += len(some)
            if len(some) < _PAGE:
                break
            after = some[-1].window
        found.sort(key=lambda ranked: (-ranked[0], ranked[1].window))
        shown = [each for _, each in found[offset : offset + limit]]
        return WindowsPage(
            windows=tuple(await self._shown(shown)), total_count=len(found), is_cut=looked >= WINDOWS_MAX
        )

    async def _shown(self, windows: Sequence[WindowSum]) -> list[dict[str, Any]]:  # Any: JSON.
        """Return the windows with the names of those to whom they belong, and with the corrections of admins."""
        refs = [ref for each in windows if (ref := _ref_of(each.window.scope)) is not None]
        held = {each.ref: each for each in await self._control.find_many(tuple(set(refs)))} if refs else {}
        shown = []
        for each in windows:
            ref = _ref_of(each.window.scope)
            holder = held.get(ref) if ref is not None else None
            correction = _correction_of(holder, each.window)
            limit = _limit_of(each)
            limit = None if limit is None else limit + correction
            fields = shown_window(each, limit_nano_usd=limit, correction_nano_usd=correction)
            share = _share_of(each, correction)
            shown.append({**fields, "name": holder.name or None if holder else None, "share": round(share, 4)})
        return sorted(shown, key=lambda fields: -fields["share"])


def _share_of(held: WindowSum, correction: int = 0) -> float:
    """Return which part of the limit is spent; 1 where nothing may be, 0 where there is no limit."""
    limit = _limit_of(held)
    if limit is None:
        return 0.0
    spent = held.spent_nano_usd + held.carried_nano_usd + correction
    return spent / (limit + correction) if limit + correction > 0 else 1.0


def _limit_of(held: WindowSum) -> int | None:
    """Return the limit of the last lease, from which corrections are taken off; None where there is none."""
    limit = held.limit_nano_usd
    return None if limit is None or limit >= NO_LIMIT else limit


def _ref_of(scope: Scope) -> ObjectRef | None:
    kind = _KINDS.get(scope.type)
    if kind is None:
        return None
    return ObjectRef(kind, member_id(scope.id, scope.member_id) if scope.type.endswith("_member") else scope.id)


def _correction_of(holder: ControlObject | None, window: Window) -> int:
    if holder is None or window.scope.model:
        return 0
    corrections = corrections_of(
        int(holder.spec.get("spend_adjustment_nano_usd", 0)),
        msgspec.convert(holder.spec.get("spend_corrections", ()), tuple[Correction, ...]),
    )
    return sum(
        each.nano_usd for each in corrections if each.starts_at == window.starts_at and each.ends_at == window.ends_at
    )
