"""What objects have spent, as LiteLLM's clients expect it: in the window that runs now, or in all where none resets.

The ledger's sums are corrected by what admins have set. A list of objects takes three reads: of the budgets and teams
that their limits come from, of the sums of their whole lives, and of their windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from tallystick.access.budget_store import BudgetStore
from tallystick.access.budgets import budget_limits
from tallystick.access.customers import CustomerSpec
from tallystick.access.keys import KeySpec
from tallystick.access.limits import Limits, member_limits, with_shared
from tallystick.access.scopes import Correction, Scope, Window
from tallystick.access.tags import TagSpec
from tallystick.access.teams import MemberSpec, OrganizationSpec, TeamSpec
from tallystick.access.users import UserSpec
from tallystick.admin.limits import nano_usd, usd
from tallystick.admin.object_spend import ObjectSpend, WindowSpend
from tallystick.admin.present import Present, correction_of, whole_life
from tallystick.admin.services import AdminServices
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_as, spec_from
from tallystick.control.store import ControlStore
from tallystick.errors import BadRequest
from tallystick.ledger.store import EntityRef, LedgerReader

_SPECS: Final[Mapping[Kind, type[Any]]] = {  # Any: specs of every kind, each with limits or corrections.
    Kind.KEY: KeySpec,
    Kind.USER: UserSpec,
    Kind.TEAM: TeamSpec,
    Kind.TEAM_MEMBER: MemberSpec,
    Kind.ORGANIZATION: OrganizationSpec,
    Kind.ORGANIZATION_MEMBER: MemberSpec,
    Kind.CUSTOMER: CustomerSpec,
    Kind.TAG: TagSpec,
}
_CORRECTIONS_MAX: Final = 100
_KEPT_LENGTHS: Final = 1.25
"""For so many times its own length the correction of a window that has ended is kept: the next is about as long."""


class Spend:
    """Sums what control objects have spent, and corrects it."""

    def __init__(self, services: AdminServices) -> None:
        self._ledger: LedgerReader = services.ledger_reader
        self._budgets: BudgetStore = services.budgets
        self._control: ControlStore = services.control
        self._services = services

    async def of(self, objects: Sequence[ControlObject], *, present: Present | None = None) -> list[ObjectSpend]:
        """Return what each has spent, in the same order."""
        return await self._of(objects, await self._limits_of(objects), present or self._services.present())

    async def _of(
        self, objects: Sequence[ControlObject], limits: Sequence[Limits], present: Present
    ) -> list[ObjectSpend]:
        totals = await self._ledger.spend_of(tuple({entity for each in objects for entity in _entities_of(each)}))
        asked = [self._windows_of(held, limit, present) for held, limit in zip(objects, limits, strict=True)]
        sums = await self._sums({window: ids for each in asked for window, ids in each.values()})
        found = []
        for held, limit, by_duration in zip(objects, limits, asked, strict=True):
            ledger = sum(totals[entity] for entity in _entities_of(held))
            corrections = _corrections_of(held)
            windows = {
                duration: _window_spend(window, sums[window], corrections)
                for duration, (window, _) in by_duration.items()
            }
            main = windows.get(limit.budget_duration)
            shown = main.shown_nano_usd if main else ledger + _adjustment_of(held)
            found.append(ObjectSpend(nano_usd=shown, ledger_nano_usd=ledger, windows=windows))
        return found

    async def of_one(self, held: ControlObject) -> ObjectSpend:
        """Return what one has spent."""
        (spent,) = await self.of((held,))
        return spent

    async def with_spend(
        self, held: ControlObject, target_usd: float, *, limits: Limits | None = None
    ) -> ControlObject:
        """Return the object with corrections that make its spend what an admin says. Calls that run go on to count.

        In windows besides the one of its limit (`budget_limits`), more than they hold is not added. `limits` are those
        that the object is about to get.
        """
        present, target = self._services.present(), nano_usd(target_usd)
        if limits is None:
            (limits,) = await self._limits_of((held,))
        (spent,) = await self._of((held,), [limits], present)
        adjustment = target - spent.ledger_nano_usd
        corrections = []
        for duration, each in spent.windows.items():
            wanted = target if duration == limits.budget_duration else min(target, each.shown_nano_usd)
            corrections.append(correction_of(each.window, wanted - each.counted_nano_usd))
        enforced = whole_life(self.scope_of(held))
        if enforced.scope.type == "personal":
            # A user's spend is shown as a whole; the budget that never resets counts personal calls alone.
            counted = (await self._sums({enforced: ()}))[enforced]
            corrections.append(correction_of(enforced, target - counted - adjustment))
        return _corrected(held, adjustment, corrections, present)

    async def patch(
        self,
        held: ControlObject,
        patch: Callable[[ControlObject], ControlObject],
        target_usd: float | None,
        *,
        limits: Limits | None = None,
    ) -> Callable[[ControlObject], ControlObject]:
        """Return a patch that also corrects the spend, as `with_spend` does for what it makes of `held`."""
        if target_usd is None:
            return patch
        corrected = spend_fields(await self.with_spend(patch(held), target_usd, limits=limits))

        def patched(before: ControlObject) -> ControlObject:
            after = patch(before)
            return msgspec.structs.replace(after, spec={**after.spec, **corrected})

        return patched

    async def reset(self, held: ControlObject, reset_to: float, *, who: str) -> ControlObject:
        """Do the same for less than is spent. Raises BadRequest for more."""
        spent = (await self.of_one(held)).nano_usd
        if nano_usd(reset_to) > spent:
            raise BadRequest(
                f"'reset_to' must be at most what the {who} has spent, {usd(spent)} USD, not {reset_to:g}.",
                param="reset_to",
            )
        return await self.with_spend(held, reset_to)

    async def begun_with(self, held: ControlObject, spent_usd: float) -> ControlObject:
        """Return a new object that shall have spent something already."""
        present, spent = self._services.present(), nano_usd(spent_usd)
        (limits,) = await self._limits_of((held,))
        corrections = []
        if limits.budget_duration:
            corrections.append(correction_of(present.window_of(self.scope_of(held), limits.budget_duration), spent))
        return _corrected(held, spent, corrections, present)

    def scope_of(self, held: ControlObject) -> Scope:
        """Return the scope that an object's limits hold for."""
        match held.kind:
            case Kind.KEY:
                return Scope("key", _hashes_of(held)[0])
            case Kind.USER:
                return Scope("user" if self._services.user_budget_holds_in_teams else "personal", held.object_id)
            case Kind.TEAM_MEMBER:
                return Scope("team_member", held.team_id, held.user_id)
            case Kind.ORGANIZATION_MEMBER:
                return Scope("organization_member", held.organization_id, held.user_id)
            case Kind.CUSTOMER:
                return Scope("end_user", held.object_id)
            case _:
                return Scope(str(held.kind), held.object_id)

    async def _limits_of(self, objects: Sequence[ControlObject]) -> list[Limits]:
        """Return the limits that hold for each: its own, its budget row's, its team's for members."""
        refs = {ObjectRef(Kind.BUDGET, budget_id) for each in objects if (budget_id := self._budget_id_of(each))}
        refs |= {ObjectRef(Kind.TEAM, each.team_id) for each in objects if each.kind == Kind.TEAM_MEMBER}
        rows = {each.ref: each for each in await self._control.find_many(tuple(refs))} if refs else {}
        return [_limits_of(each, self._budget_id_of(each), rows) for each in objects]

    def _budget_id_of(self, held: ControlObject) -> str:
        return held.budget_id or (self._services.customer_budget_id if held.kind == Kind.CUSTOMER else "")

    def _windows_of(
        self, held: ControlObject, limits: Limits, present: Present
    ) -> dict[str, tuple[Window, tuple[str, ...]]]:
        scope = self.scope_of(held)
        ids = tuple(_hashes_of(held)[1:]) if held.kind == Kind.KEY else ()
        durations = (limits.budget_duration, *(each.budget_duration for each in limits.budget_limits))
        return {each: (present.window_of(scope, each), ids) for each in durations if each}

    async def _sums(self, windows: Mapping[Window, tuple[str, ...]]) -> dict[Window, int]:
        found = await self._budgets.sums(tuple(windows.items())) if windows else ()
        return {each.window: each.spent_nano_usd + each.carried_nano_usd for each in found}


def spend_fields(held: ControlObject) -> dict[str, Any]:  # Any: JSON.
    """Return those fields of an object's spec that correct its spend."""
    spec = held.spec
    return {
        "spend_adjustment_nano_usd": spec.get("spend_adjustment_nano_usd", 0),
        "spend_corrections": spec.get("spend_corrections", []),
    }


def begun_spend(held: ControlObject) -> ObjectSpend:
    """Return what an object that was just made shows as spent."""
    return ObjectSpend(nano_usd=_adjustment_of(held))


def _window_spend(window: Window, counted: int, corrections: Sequence[Correction]) -> WindowSpend:
    corrected = sum(
        each.nano_usd for each in corrections if each.starts_at == window.starts_at and each.ends_at == window.ends_at
    )
    return WindowSpend(window=window, counted_nano_usd=counted, shown_nano_usd=counted + corrected)


def _limits_of(held: ControlObject, budget_id: str, rows: Mapping[ObjectRef, ControlObject]) -> Limits:
    own: Limits = getattr(spec_as(_SPECS[held.kind], held.spec), "limits", Limits())
    if budget_id:
        own = with_shared(own, budget_limits(rows.get(ObjectRef(Kind.BUDGET, budget_id))))
    team = rows.get(ObjectRef(Kind.TEAM, held.team_id)) if held.kind == Kind.TEAM_MEMBER else None
    return own if team is None else member_limits(own, spec_as(TeamSpec, team.spec).member_limits)


def _entities_of(held: ControlObject) -> tuple[EntityRef, ...]:
    if held.kind == Kind.KEY:
        return tuple(("key", key_hash, "") for key_hash in _hashes_of(held))
    if held.kind == Kind.TEAM_MEMBER:
        return (("team_member", held.team_id, held.user_id),)
    if held.kind == Kind.ORGANIZATION_MEMBER:
        return ()
    return (("end_user" if held.kind == Kind.CUSTOMER else str(held.kind), held.object_id, ""),)


def _hashes_of(key: ControlObject) -> tuple[str, ...]:
    """Return all hashes that a key has had, the first one first."""
    return (*spec_as(KeySpec, key.spec).prior_hashes, key.object_id)


def _adjustment_of(held: ControlObject) -> int:
    return int(held.spec.get("spend_adjustment_nano_usd", 0))


def _corrections_of(held: ControlObject) -> tuple[Correction, ...]:
    return msgspec.convert(held.spec.get("spend_corrections", ()), tuple[Correction, ...])


def _corrected(
    held: ControlObject, adjustment: int, corrections: Sequence[Correction], present: Present
) -> ControlObject:
    """Return the object with these corrections, and those it had of other windows that it may still need.

    One that has ended is needed until the next has: what is carried over is what is above the limit without it.
    """
    renewed = {(each.starts_at, each.ends_at) for each in corrections}
    kept = [
        each
        for each in _corrections_of(held)
        if present.now - each.ends_at < _KEPT_LENGTHS * (each.ends_at - each.starts_at)
        and (each.starts_at, each.ends_at) not in renewed
    ]
    spec = msgspec.structs.replace(
        spec_as(_SPECS[held.kind], held.spec),
        spend_adjustment_nano_usd=adjustment,
        spend_corrections=(*kept[-_CORRECTIONS_MAX:], *(each for each in corrections if each.nano_usd)),
    )
    return msgspec.structs.replace(held, spec=spec_from(spec))
