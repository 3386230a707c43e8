"""Writes organizations, customers and tags together with the budgets that hold their limits, all or nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

import msgspec

from tallystick.access.budgets import REFERRERS, AskedBudget, BudgetSpec, budget_of, owner_of, unused
from tallystick.access.changing import retried
from tallystick.access.limits import Limits
from tallystick.control.listing import list_all
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_as, spec_from
from tallystick.control.store import Author, Change, ControlStore, NoneLeft, ObjectFilter
from tallystick.control.writer import ObjectWriter
from tallystick.errors import AlreadyExists, BadRequest, NotFound
from tallystick.runtime.clock import Clock
from tallystick.runtime.ids import new_event_id


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """An object as it was written, and its budget."""

    holder: ControlObject
    budget: ControlObject | None


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How the budget of an object is to change."""

    budget: ControlObject | None = None
    changes: tuple[Change, ...] = ()
    requires: tuple[ObjectRef, ...] = ()
    none_left: tuple[NoneLeft, ...] = ()


class BudgetHolders:
    """Makes, changes and deletes objects of one kind. With `always`, each has a budget even when it has no limits."""

    def __init__(
        self, kind: Kind, store: ControlStore, writer: ObjectWriter, *, clock: Clock, always: bool = False
    ) -> None:
        self._kind = kind
        self._store = store
        self._writer = writer
        self._clock = clock
        self._always = always

    async def create(self, made: ControlObject, *, asked: AskedBudget, author: Author) -> Written:
        """Add an object with its budget. Raises BadRequest, also when its id is taken."""
        if await self._store.find(made.ref) is not None:
            raise _taken(made.ref)

        async def attempt() -> Written:
            return await self._write(None, made, asked=asked, author=author, action="created")

        try:
            return await retried(attempt)
        except AlreadyExists as error:
            raise _taken(made.ref) from error

    async def update(
        self,
        object_id: str,
        patch: Callable[[ControlObject], ControlObject],
        *,
        asked: AskedBudget,
        author: Author,
        action: str = "updated",
        absent: ControlObject | None = None,
    ) -> Written:
        """Change an object and its budget. `absent` is what is changed when it does not exist; else NotFound."""
        ref = ObjectRef(self._kind, object_id)

        async def attempt() -> Written:
            before = await self._store.find(ref)
            if before is None and absent is None:
                raise NotFound(f"{self._kind.capitalize()} '{object_id}' not found: it does not exist.")
            start = before or absent
            assert start is not None, "one of them was there"
            return await self._write(before, patch(start), asked=asked, author=author, action=action)

        return await retried(attempt)

    async def delete(
        self,
        object_ids: Sequence[str],
        *,
        author: Author,
        related: Callable[[], Awaitable[Sequence[NoneLeft]]] | None = None,
    ) -> tuple[ControlObject, ...]:
        """Delete objects, all or none, with their own budgets and all that the conditions of `related` match.

        A budget of one's own stays, as a shared one, when others refer to it. Raises NotFound.
        """
        refs = [ObjectRef(self._kind, object_id) for object_id in dict.fromkeys(object_ids)]

        async def attempt() -> tuple[ControlObject, ...]:
            found = await self._store.find_many(refs)
            missing = sorted(set(refs) - {each.ref for each in found})
            if missing:
                names = ", ".join(f"'{ref.object_id}'" for ref in missing[:10])
                raise NotFound(f"{self._kind.capitalize()} not found: {names} does not exist. Nothing was deleted.")
            conditions = [] if related is None else list(await related())
            gone = {each.ref: each for each in found}
            for condition in conditions:
                gone |= {each.ref: each for each in await self._matching(condition)}
            changes = [Change(action="deleted", before=each, after=None) for each in gone.values()]
            parting = await self._parting(found, gone=gone)
            await self._writer.write(
                [*changes, *parting.changes], author=author, none_left=[*conditions, *parting.none_left]
            )
            return found

        return await retried(attempt)

    async def _write(
        self, before: ControlObject | None, after: ControlObject, *, asked: AskedBudget, author: Author, action: str
    ) -> Written:
        plan = await self._plan(after, asked)
        after = msgspec.structs.replace(after, budget_id=plan.budget.object_id if plan.budget else "")
        change = Change(action=action, before=before, after=after)
        written = await self._writer.write(
            [change, *plan.changes],
            author=author,
            requires=plan.requires,
            none_left=plan.none_left,
            keeps_unchanged=True,
        )
        held = {each.ref: each.after for each in written if each.after is not None}
        return Written(holder=held[after.ref], budget=plan.budget and held.get(plan.budget.ref, plan.budget))

    async def _plan(self, holder: ControlObject, asked: AskedBudget) -> _Plan:
        """Decide which budget the object has; `holder` has the one that it refers to until now."""
        current = await budget_of(self._store, holder)
        keeps = current is not None and asked.budget_id in {msgspec.UNSET, current.object_id}
        if current is not None and keeps:
            return self._patched(holder, current, asked)
        parting = _Plan() if current is None else await self._parting((holder,), gone={holder.ref})
        if asked.budget_id is not msgspec.UNSET and asked.budget_id:
            return await self._referring(asked.budget_id, asked, parting)
        limits = asked.patch(Limits())
        if limits == Limits() and not self._always:
            return parting
        own = self._own(holder, limits)
        made = Change(action="created", before=None, after=own)
        return msgspec.structs.replace(parting, budget=own, changes=(*parting.changes, made))

    def _patched(self, holder: ControlObject, current: ControlObject, asked: AskedBudget) -> _Plan:
        spec = spec_as(BudgetSpec, current.spec)
        limits = asked.patch(spec.limits)
        if limits == spec.limits:
            return _Plan(budget=current, requires=(current.ref,))
        if owner_of(current) != holder.ref:
            raise BadRequest(
                f"The limits of {holder.kind} '{holder.object_id}' are those of the shared budget "
                f"'{current.object_id}': /budget/update changes them for all who share it, and with null as its "
                "'budget_id' it gets limits of its own.",
                param="budget_id",
            )
        patched = msgspec.structs.replace(current, spec=spec_from(msgspec.structs.replace(spec, limits=limits)))
        return _Plan(budget=patched, changes=(Change(action="updated", before=current, after=patched),))

    async def _referring(self, budget_id: str, asked: AskedBudget, parting: _Plan) -> _Plan:
        if asked.gives_limits:
            raise BadRequest(
                "Set either 'budget_id' or limits such as 'max_budget', not both: those of a shared budget are changed "
                "with /budget/update.",
                param="budget_id",
            )
        shared = await self._store.find(ObjectRef(Kind.BUDGET, budget_id))
        if shared is None:
            raise BadRequest(f"Budget '{budget_id}' does not exist. Make it with /budget/new.", param="budget_id")
        return msgspec.structs.replace(parting, budget=shared, requires=(shared.ref,))

    def _own(self, holder: ControlObject, limits: Limits) -> ControlObject:
        now = self._clock.now()
        spec = BudgetSpec(limits=limits, owner_kind=holder.kind, owner_id=holder.object_id)
        return ControlObject(
            kind=Kind.BUDGET, object_id=new_event_id(now), spec=spec_from(spec), created_at=now, updated_at=now
        )

    async def _parting(self, holders: Sequence[ControlObject], *, gone: Collection[ObjectRef]) -> _Plan:
        """Return how the own budgets of these objects go, and the conditions under which they may."""
        named = [ObjectRef(Kind.BUDGET, each.budget_id) for each in holders if each.budget_id]
        owners = {each.ref for each in holders}
        own = [budget for budget in await self._store.find_many(named) if owner_of(budget) in owners]
        if not own:
            return _Plan()
        used = await self._used(tuple(each.object_id for each in own), gone=gone)
        unneeded = [each for each in own if each.object_id not in used]
        return _Plan(
            changes=(
                *(Change(action="deleted", before=each, after=None) for each in unneeded),
                *(Change(action="updated", before=each, after=_shared(each)) for each in own if each.object_id in used),
            ),
            none_left=tuple(condition for each in unneeded for condition in unused(each.object_id)),
        )

    async def _used(self, budget_ids: tuple[str, ...], *, gone: Collection[ObjectRef]) -> set[str]:
        """Return those of the budgets to which others refer than what goes."""
        used: set[str] = set()
        for kind in REFERRERS:
            referrers = await list_all(self._store, ObjectFilter(kind=kind, budget_ids=budget_ids))
            used |= {each.budget_id for each in referrers if each.ref not in gone}
        return used

    async def _matching(self, condition: NoneLeft) -> list[ControlObject]:
        where = ObjectFilter(kind=condition.kind)
        return await list_all(
            self._store, msgspec.structs.replace(where, **{f"{condition.relation}s": (condition.value,)})
        )


def _shared(budget: ControlObject) -> ControlObject:
    """Return an own budget as a shared one."""
    spec = msgspec.structs.replace(spec_as(BudgetSpec, budget.spec), owner_kind="", owner_id="")
    return msgspec.structs.replace(budget, spec=spec_from(spec))


def _taken(ref: ObjectRef) -> BadRequest:
    return BadRequest(f"{ref.kind.capitalize()} '{ref.object_id}' already exists. Change it with /{ref.kind}/update.")
