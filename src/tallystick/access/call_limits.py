"""From a call to the limits that hold for it: its key's, and those of all that the call itself names.

To the principal's come, in this order: a user whom a header names and its memberships, the end user, the tags, the
session, and the global budget. Most calls add nothing, and get the principal's own tuple.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from decimal import Decimal
from functools import partial
from typing import Final

import msgspec
import structlog

from tallystick.access.budgets import budget_limits
from tallystick.access.customers import CustomerSpec
from tallystick.access.limit_lookups import ItemT, Kept, LimitLookups
from tallystick.access.limits import Limits
from tallystick.access.principal import Principal
from tallystick.access.principal_limits import limits_of_member, user_limits
from tallystick.access.scoped_limits import ScopedLimits, corrections_of, limits_of, log_unreadable
from tallystick.access.scopes import Budget, Scope
from tallystick.access.tags import TagSpec
from tallystick.access.teams import MemberSpec
from tallystick.access.users import UserSpec
from tallystick.config.settings import BudgetSettings
from tallystick.control.feed import Follower
from tallystick.control.live_settings import LiveSettings
from tallystick.control.objects import ControlObject, Kind, ObjectRef, member_id, spec_as
from tallystick.control.store import ControlStore
from tallystick.errors import BudgetUnknown, StoreUnavailable
from tallystick.pricing.money import nano_usd_from_usd
from tallystick.runtime.clock import Clock
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger(__name__)

Found = tuple[ScopedLimits, ...]

_NOTHING: Final[Found] = ()
_SESSIONS_MAX: Final = 10_000
_NOBODY: Final = MemberSpec(role="")


class _Membership(msgspec.Struct, frozen=True, kw_only=True):
    """A user in a team, as its row and its budget row say. What the team gives its members comes with each call."""

    spec: MemberSpec
    shared: Limits | None


class CallLimits:
    """Gives the limits of calls, the same objects call after call: others keep what they made of them by identity.

    A `Follower` of the change feed, which goes before those who read what it changes.
    """

    def __init__(
        self,
        store: ControlStore,
        *,
        settings: BudgetSettings,
        live: Callable[[], LiveSettings],
        clock: Clock,
        metrics: Metrics,
        cache_max: int = 100_000,
    ) -> None:
        self._store = store
        self._settings = settings
        self._live = live
        self._global = _global_limits(settings)
        self._session_budget_nano_usd = _nano_usd(settings.max_budget_per_session)
        self._end_user_default = Limits(max_budget_nano_usd=_nano_usd(settings.max_end_user_budget))
        self._sessions: Kept[tuple[str, str, int], Found] = Kept(_SESSIONS_MAX)
        self._is_default_known = settings.max_end_user_budget_id is None
        self._providers = _provider_budgets(settings)
        self._rollover = _Rollover(kept_max=cache_max)
        lookups = partial(LimitLookups[ScopedLimits], store=store, clock=clock, metrics=metrics, cache_max=cache_max)
        self._users = lookups(Kind.USER, limits_of=self._of_user)
        self._organization_members = lookups(Kind.ORGANIZATION_MEMBER, limits_of=_of_organization_member)
        self._customers = lookups(Kind.CUSTOMER, limits_of=self._of_customer)
        self._tags = lookups(Kind.TAG, limits_of=self._of_tag)
        self._team_members = LimitLookups(
            Kind.TEAM_MEMBER, store, limits_of=_membership_of, clock=clock, metrics=metrics, cache_max=cache_max
        )
        self._of_team_members: Kept[Scope, tuple[tuple[_Membership, ...], Limits, Found]] = Kept(cache_max)
        self._lookups: tuple[Follower, ...] = (
            self._users,
            self._team_members,
            self._organization_members,
            self._customers,
            self._tags,
        )

    def known(
        self,
        principal: Principal,
        *,
        user_id: str = "",
        end_user_id: str = "",
        tags: tuple[str, ...] = (),
        session_id: str = "",
    ) -> tuple[ScopedLimits, ...] | None:
        """Return the limits of a call with this attribution when that needs no wait. None: `find` them."""
        added = _NOTHING
        if user_id and not principal.user_id:
            of_user = self._known_of_user(principal, user_id)
            if of_user is None:
                return None
            added = of_user
        if end_user_id and not self._customers.is_void:
            of_end_user = self._customers.known(end_user_id) if self._is_default_known else None
            if of_end_user is None:
                return None
            added += of_end_user
        if tags and not self._tags.is_void:
            for tag in tags:
                of_tag = self._tags.known(tag)
                if of_tag is None:
                    return None
                added += of_tag
        if session_id:
            added += self._of_session(principal, session_id)
        added += self._global
        limits = (*principal.limits, *added) if added else principal.limits
        return self._rollover.applied(limits) if self._live().budget_rollover else limits

    async def find(
        self,
        principal: Principal,
        *,
        user_id: str = "",
        end_user_id: str = "",
        tags: tuple[str, ...] = (),
        session_id: str = "",
    ) -> tuple[ScopedLimits, ...]:
        """Return the limits of a call, and look up what is not known.

        When the database is away, what is not known is taken to have no limits of its own: the default of end users
        holds. Raises BudgetUnknown instead where `fail_closed_budget_enforcement` says so.
        """
        of_user = await self._found_of_user(principal, user_id) if user_id and not principal.user_id else _NOTHING
        of_customers = await self._found(self._customers, {end_user_id} if end_user_id else ())
        of_tags = await self._found(self._tags, tags)
        limits = (
            *principal.limits,
            *of_user,
            *of_customers.get(end_user_id, _NOTHING),
            *(each for tag in tags for each in of_tags[tag]),
            *(self._of_session(principal, session_id) if session_id else ()),
            *self._global,
        )
        return self._rollover.applied(limits) if self._live().budget_rollover else limits

    def of_provider(self, provider: str) -> tuple[Budget, ...]:
        """Return the budgets of a provider, which hold for a call that is sent to one of its deployments."""
        of_provider = self._providers.get(provider)
        if of_provider is None:
            return ()
        (limits,) = self._rollover.applied((of_provider,)) if self._live().budget_rollover else (of_provider,)
        return limits.budgets

    async def follow(self, changed: Sequence[ObjectRef]) -> None:
        """`Follower`."""
        for lookups in self._lookups:
            await lookups.follow(changed)
        if any(ref.kind == Kind.BUDGET and ref.object_id == self._settings.max_end_user_budget_id for ref in changed):
            await self._read_default()

    async def start_over(self) -> None:
        """`Follower`."""
        await self._read_default()
        for lookups in self._lookups:
            await lookups.start_over()

    async def _read_default(self) -> None:
        """Read the budget that end users have who have none, and forget whom the one before was given."""
        budget_id = self._settings.max_end_user_budget_id
        if budget_id is None:
            return
        budget = await self._store.find(ObjectRef(Kind.BUDGET, budget_id))
        if budget is None:
            log.warning("end_user_budget_missing", budget_id=budget_id)
        amount = Limits(max_budget_nano_usd=_nano_usd(self._settings.max_end_user_budget))
        self._end_user_default = amount if budget is None else budget_limits(budget)
        self._is_default_known = True
        self._customers.forget_all()

    def _known_of_user(self, principal: Principal, user_id: str) -> Found | None:
        """Return the limits of a user whom a header names, and of its memberships in what the key belongs to."""
        of_user = self._users.known(user_id)
        if of_user is None:
            return None
        found = _for(principal, of_user)
        if principal.team_id:
            team_members = self._team_members
            named = () if team_members.is_void else team_members.known(member_id(principal.team_id, user_id))
            if named is None:
                return None
            found += self._of_team_member(principal, user_id, named)
        if principal.organization_id and not self._organization_members.is_void:
            of_member = self._organization_members.known(member_id(principal.organization_id, user_id))
            if of_member is None:
                return None
            found += of_member
        return found

    async def _found_of_user(self, principal: Principal, user_id: str) -> Found:
        found = _for(principal, (await self._found(self._users, (user_id,)))[user_id])
        if principal.team_id:
            membership = member_id(principal.team_id, user_id)
            named = (await self._found(self._team_members, (membership,)))[membership]
            found += self._of_team_member(principal, user_id, named)
        if principal.organization_id:
            membership = member_id(principal.organization_id, user_id)
            found += (await self._found(self._organization_members, (membership,)))[membership]
        return found

    def _of_team_member(self, principal: Principal, user_id: str, named: tuple[_Membership, ...]) -> Found:
        """What was made is kept: it is the same for every call until the membership or the team's default changes."""
        defaults = principal.member_limits
        if not named and defaults == _NO_LIMITS:
            return _NOTHING
        scope = Scope("team_member", principal.team_id, user_id)
        kept = self._of_team_members.get(scope)
        if kept is not None and kept[:2] == (named, defaults):
            return kept[2]
        spec, shared = (named[0].spec, named[0].shared) if named else (_NOBODY, None)
        found = _in_force(limits_of_member(scope, spec, shared=shared, defaults=defaults))
        self._of_team_members.put(scope, (named, defaults, found))
        return found

    async def _found(self, lookups: LimitLookups[ItemT], object_ids: Collection[str]) -> dict[str, tuple[ItemT, ...]]:
        if not object_ids:
            return {}
        try:
            return await self._look_up(lookups, object_ids)
        except StoreUnavailable as error:
            if self._settings.is_fail_closed:
                raise BudgetUnknown(
                    "The database is away, and whether this call's end user, tags or user have budgets of their own "
                    "can't be told. Try again in a second."
                ) from error
        return {object_id: lookups.at_hand(object_id) for object_id in object_ids}

    async def _look_up(self, lookups: LimitLookups[ItemT], object_ids: Collection[str]) -> dict[str, tuple[ItemT, ...]]:
        if lookups is self._customers and not self._is_default_known:
            raise StoreUnavailable("The budget of end users who have none was not read yet.")
        return await lookups.find(object_ids)

    def _of_user(self, user_id: str, row: ControlObject | None, _budget: ControlObject | None) -> Found:
        spec = UserSpec() if row is None else spec_as(UserSpec, row.spec)
        holds_in_teams = self._settings.applies_user_budget_to_team_keys
        return _in_force(*user_limits(user_id, spec, user_budget_holds_in_teams=holds_in_teams))

    def _of_customer(self, end_user_id: str, row: ControlObject | None, budget: ControlObject | None) -> Found:
        """An end user's own budget, else the default one; each spends it for itself, also who was never seen."""
        limits = self._end_user_default if budget is None else budget_limits(budget)
        if limits == _NO_LIMITS:
            return _NOTHING
        spec = CustomerSpec() if row is None else spec_as(CustomerSpec, row.spec)
        corrections = corrections_of(spec.spend_adjustment_nano_usd, spec.spend_corrections)
        return _in_force(limits_of(Scope("end_user", end_user_id), limits, corrections=corrections))

    def _of_tag(self, tag: str, row: ControlObject | None, budget: ControlObject | None) -> Found:
        if row is None or budget is None:
            return _NOTHING
        spec = spec_as(TagSpec, row.spec)
        corrections = corrections_of(spec.spend_adjustment_nano_usd, spec.spend_corrections)
        return _in_force(limits_of(Scope("tag", tag), budget_limits(budget), corrections=corrections))

    def _of_session(self, principal: Principal, session_id: str) -> Found:
        amount = principal.session_budget_nano_usd
        if amount is None:
            amount = self._session_budget_nano_usd
        if amount is None:
            return _NOTHING
        named = (principal.key_hash, session_id, amount)
        found = self._sessions.get(named)
        if found is None:
            scope = Scope("session", session_id, principal.key_hash)
            budget = Budget(scope=scope, limit_nano_usd=amount, alerts=False)
            found = (ScopedLimits(scope=scope, budgets=(budget,)),)
            self._sessions.put(named, found)
        return found


class _Rollover:
    """Gives budgets that reset the mark that they roll over. What was marked is kept: it is the same for every call."""

    def __init__(self, *, kept_max: int) -> None:
        # By identity, with what it is the identity of: as long as that is held, no other object has it.
        self._kept: Kept[int, tuple[ScopedLimits, ScopedLimits]] = Kept(kept_max)

    def applied(self, limits: tuple[ScopedLimits, ...]) -> tuple[ScopedLimits, ...]:
        return tuple(self._of(each) for each in limits)

    def _of(self, limits: ScopedLimits) -> ScopedLimits:
        if not limits.model_budgets and not any(each.duration for each in limits.budgets):
            return limits
        kept = self._kept.get(id(limits))
        if kept is not None:
            return kept[1]
        marked = msgspec.structs.replace(
            limits,
            budgets=_rolling(limits.budgets),
            model_budgets={model: _rolling(budgets) for model, budgets in limits.model_budgets.items()},
        )
        self._kept.put(id(limits), (limits, marked))
        return marked


_NO_LIMITS: Final = Limits()


def _membership_of(_member: str, row: ControlObject | None, budget: ControlObject | None) -> tuple[_Membership, ...]:
    if row is None:
        return ()
    shared = None if budget is None else budget_limits(budget)
    return (_Membership(spec=spec_as(MemberSpec, row.spec), shared=shared),)


def _of_organization_member(_member: str, row: ControlObject | None, budget: ControlObject | None) -> Found:
    if row is None:
        return _NOTHING
    scope = Scope("organization_member", row.organization_id, row.user_id)
    shared = None if budget is None else budget_limits(budget)
    return _in_force(limits_of_member(scope, spec_as(MemberSpec, row.spec), shared=shared))


def _rolling(budgets: tuple[Budget, ...]) -> tuple[Budget, ...]:
    return tuple(msgspec.structs.replace(each, rolls_over=True) if each.duration else each for each in budgets)


def _in_force(*limits: ScopedLimits) -> Found:
    log_unreadable(limits)
    return tuple(each for each in limits if not each.is_empty)


def _for(principal: Principal, of_user: Found) -> Found:
    """A user's personal limits hold for calls without a team."""
    return tuple(each for each in of_user if each.scope.type != "personal") if principal.team_id else of_user


def _global_limits(settings: BudgetSettings) -> Found:
    amount = _nano_usd(settings.max_budget)
    if not amount:
        return _NOTHING
    scope = Scope("global")
    budget = Budget(scope=scope, limit_nano_usd=amount, duration=settings.duration)
    return (ScopedLimits(scope=scope, budgets=(budget,)),)


def _provider_budgets(settings: BudgetSettings) -> dict[str, ScopedLimits]:
    found = {}
    for provider, each in settings.provider_budgets.items():
        scope = Scope("provider", provider)
        amount = nano_usd_from_usd(each.budget_limit)
        budget = Budget(scope=scope, limit_nano_usd=amount, duration=each.time_period)
        found[provider] = ScopedLimits(scope=scope, budgets=(budget,))
    return found


def _nano_usd(usd: Decimal | None) -> int | None:
    return None if usd is None else nano_usd_from_usd(usd)
