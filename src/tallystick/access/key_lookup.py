"""Reads of keys: one at a time for each, few at a time in all, and never one that is stale already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Literal

from tallystick.access.principal import Principal, principal_of
from tallystick.access.scoped_limits import log_unreadable
from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.store import ControlStore
from tallystick.errors import StoreUnavailable
from tallystick.runtime.telemetry import Metrics

_ABANDONED: Final = "abandoned"
_READS_MAX: Final = 3
_WAITING_MAX: Final = 1_000

_Outcome = Principal | StoreUnavailable | Literal["abandoned"] | None


class KeyLookups:
    """Look keys up in the store.

    At most `concurrent_max` reads run at once and 1,000 wait for their turn. Beyond that, or when a read with its wait
    takes longer than `timeout_seconds`, the caller gets StoreUnavailable.
    """

    def __init__(
        self,
        store: ControlStore,
        *,
        on_principal: Callable[[str, Principal | None], None],
        metrics: Metrics,
        concurrent_max: int,
        timeout_seconds: float,
        user_budget_holds_in_teams: bool,
    ) -> None:
        self._store = store
        self._on_principal = on_principal
        self._rejected = metrics.auth_lookups_rejected
        self._turns = asyncio.Semaphore(concurrent_max)
        self._open_max = concurrent_max + _WAITING_MAX
        self._timeout_seconds = timeout_seconds
        self._user_budget_holds_in_teams = user_budget_holds_in_teams
        self._open: dict[str, _Lookup] = {}

    async def find(self, key_hash: str) -> Principal | None:
        """Return the row of a key, or None. Callers that ask for the same key at the same time share one read."""
        while True:
            lookup = self._open.get(key_hash)
            if lookup is None:
                return await self._lead(key_hash)
            # The shield keeps a caller that gives up from cancelling the outcome that the others wait for.
            outcome = await asyncio.shield(lookup.outcome)
            if isinstance(outcome, StoreUnavailable):
                raise StoreUnavailable(str(outcome)) from outcome
            if not isinstance(outcome, str):
                return outcome
            # The caller that read for all of us went away: one of us reads now.

    def taint(self, changed: ObjectRef) -> None:
        """An object has changed: what was read of it before must not be kept."""
        for lookup in self._open.values():
            lookup.changed.add(changed)

    def taint_all(self) -> None:
        for lookup in self._open.values():
            lookup.is_doubtful = True

    async def _lead(self, key_hash: str) -> Principal | None:
        if len(self._open) >= self._open_max:
            self._rejected.inc()
            raise StoreUnavailable("Too many unknown keys are being looked up. Try again in a second.")
        lookup = self._open[key_hash] = _Lookup()
        outcome: _Outcome = _ABANDONED
        try:
            outcome = await self._read_in_turn(key_hash, lookup)
        except StoreUnavailable as error:
            outcome = error
            raise
        finally:
            del self._open[key_hash]
            lookup.outcome.set_result(outcome)
        return outcome

    async def _read_in_turn(self, key_hash: str, lookup: _Lookup) -> Principal | None:
        try:
            async with asyncio.timeout(self._timeout_seconds), self._turns:
                return await self._read(key_hash, lookup)
        except TimeoutError as error:
            self._rejected.inc()
            raise StoreUnavailable(
                f"The key could not be looked up within {self._timeout_seconds:g} s. Try again in a second."
            ) from error

    async def _read(self, key_hash: str, lookup: _Lookup) -> Principal | None:
        """Read it, again when it changed meanwhile. A principal that never comes to rest is used but not kept."""
        principal = None
        for _ in range(_READS_MAX):
            lookup.is_doubtful = False
            lookup.changed.clear()
            found = await self._store.find_key(key_hash)
            principal = self._principal_of(found) if found else None
            parts = principal.depends_on if principal else ()
            if not lookup.is_doubtful and lookup.changed.isdisjoint((*parts, *_own_refs(key_hash))):
                self._on_principal(key_hash, principal)
                break
        if principal is not None:
            log_unreadable(principal.limits)
        return principal

    def _principal_of(self, found: Sequence[ControlObject]) -> Principal:
        return principal_of(found, user_budget_holds_in_teams=self._user_budget_holds_in_teams)


class _Lookup:
    """A read under way, for everybody who waits for it."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        self.changed: set[ObjectRef] = set()
        """What has changed since the read began."""
        self.is_doubtful = False
        """Whether anything may have changed since then."""


def _own_refs(key_hash: str) -> tuple[ObjectRef, ObjectRef]:
    return ObjectRef(Kind.KEY, key_hash), ObjectRef(Kind.RETIRED_KEY, key_hash)
