"""The limits of what calls name: customers, tags, users, members, kept until the change feed tells of a change."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, Literal, TypeVar

from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.store import ControlStore, ObjectFilter
from tallystick.errors import StoreUnavailable
from tallystick.runtime.clock import Clock
from tallystick.runtime.telemetry import Metrics

ItemT = TypeVar("ItemT")
KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

LimitsOf = Callable[[str, ControlObject | None, ControlObject | None], tuple[ItemT, ...]]
"""From an id, its row and the budget row that it refers to, both None when absent, to its limits. Pure."""

_READS_MAX: Final = 3
_AWAY_SECONDS: Final = 1.0
_Outcome = dict[str, tuple[ItemT, ...]] | StoreUnavailable | Literal["abandoned"]


class Kept(Generic[KeyT, ValueT]):
    """What was made once and is to be the same object the next time, at most `kept_max` of it.

    What was used longest ago goes first.
    """

    def __init__(self, kept_max: int) -> None:
        self._kept_max = kept_max
        self._values: OrderedDict[KeyT, ValueT] = OrderedDict()

    def get(self, key: KeyT) -> ValueT | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: KeyT, value: ValueT) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._kept_max:
            self._values.popitem(last=False)

    def clear(self) -> None:
        self._values.clear()


class LimitLookups(Generic[ItemT]):
    """A `Follower` that keeps the limits of one kind of objects, also of ids that have no row.

    At most `cache_max` are kept; the one used longest ago goes first. At most `concurrent_max` reads run at once, and
    `waiting_max` ids are waited for; beyond that, when a read takes longer than `timeout_seconds`, and for a second
    after one has failed, StoreUnavailable is raised.
    """

    def __init__(
        self,
        kind: Kind,
        store: ControlStore,
        *,
        limits_of: LimitsOf[ItemT],
        clock: Clock,
        metrics: Metrics,
        cache_max: int,
        concurrent_max: int = 10,
        waiting_max: int = 1_000,
        timeout_seconds: float = 2.0,
    ) -> None:
        self._kind = kind
        self._store = store
        self._limits_of = limits_of
        self._clock = clock
        self._cache_max = cache_max
        self._waiting_max = waiting_max
        self._timeout_seconds = timeout_seconds
        self._read_count = metrics.limit_lookups.labels(kind.value)
        self._failed_count = metrics.limit_lookups_failed.labels(kind.value)
        self._size = metrics.limit_cache_entries
        self.is_void = False
        """Whether no id has limits: there are no rows, and nothing holds for those who have none."""
        self._may_exist = True
        self._kept: OrderedDict[str, tuple[ItemT, ...]] = OrderedDict()
        # The ids whose limits are those of a budget row, so that a change of it finds them.
        self._of_budget: dict[str, set[str]] = {}
        self._budget_of: dict[str, str] = {}
        # What ids without a row have, given to those of which it can't be told now whether they have one.
        self._guessed: Kept[str, tuple[ItemT, ...]] = Kept(cache_max)
        self._open: dict[str, _Read[ItemT]] = {}
        self._turns = asyncio.Semaphore(concurrent_max)
        self._away_until = 0.0

    def known(self, object_id: str) -> tuple[ItemT, ...] | None:
        """Return the limits when that needs no wait. None: `find` them."""
        kept = self._kept.get(object_id)
        if kept is not None:
            self._kept.move_to_end(object_id)
            return kept
        if self._may_exist:
            return None
        limits = self.without_row(object_id)
        if limits:  # What is nothing costs less to make than to keep.
            self._keep(object_id, limits, budget_id="")
        return limits

    def without_row(self, object_id: str) -> tuple[ItemT, ...]:
        """Return the limits of an id that has no row."""
        return self._limits_of(object_id, None, None)

    def at_hand(self, object_id: str) -> tuple[ItemT, ...]:
        """Return the limits without a wait: those of an id that has no row while they are not known."""
        limits = self.known(object_id)
        if limits is None:
            limits = self._guessed.get(object_id)
        if limits is None:
            limits = self.without_row(object_id)
            if limits:
                self._guessed.put(object_id, limits)
        return limits

    async def find(self, object_ids: Iterable[str]) -> dict[str, tuple[ItemT, ...]]:
        """Return the limits of each id. Callers that ask for the same id at the same time share one read.

        Raises StoreUnavailable.
        """
        found: dict[str, tuple[ItemT, ...]] = {}
        wanted = set(object_ids)
        while wanted:
            for object_id in wanted:
                limits = self.known(object_id)
                if limits is not None:
                    found[object_id] = limits
            wanted -= found.keys()
            mine = [object_id for object_id in wanted if object_id not in self._open]
            others = {self._open[object_id] for object_id in wanted if object_id in self._open}
            if mine:
                found |= await self._lead(mine)
            for read in others:
                # The shield keeps a caller that gives up from cancelling the outcome that the others wait for.
                outcome = await asyncio.shield(read.outcome)
                if isinstance(outcome, StoreUnavailable):
                    raise StoreUnavailable(str(outcome)) from outcome
                if not isinstance(outcome, str):
                    found |= outcome
                # Else the caller that read for all of us went away: one of us reads now.
            wanted -= found.keys()
        return found

    async def follow(self, changed: Sequence[ObjectRef]) -> None:
        """`Follower`: forget whom these changes concern, and what reads now under way will say of it."""
        for ref in changed:
            if ref.kind == self._kind:
                self._may_exist, self.is_void = True, False
                self._forget(ref.object_id)
            elif ref.kind == Kind.BUDGET:
                for object_id in tuple(self._of_budget.get(ref.object_id, ())):
                    self._forget(object_id)
            else:
                continue
            for read in self._open.values():
                read.changed.add(ref)

    async def start_over(self) -> None:
        """`Follower`: forget all, and see if there are any rows at all. Where there are none, none is looked up."""
        self._may_exist = True
        self.forget_all()
        page = await self._store.list_objects(ObjectFilter(kind=self._kind), limit=1)
        # A row that is written after this is told by the feed.
        self._may_exist = page.total_count > 0
        self._see_if_void()

    def forget_all(self) -> None:
        """Forget every one, for when it is not known what changed, or those without a row get other limits."""
        self._see_if_void()
        self._size.dec(len(self._kept))
        self._kept.clear()
        self._of_budget.clear()
        self._budget_of.clear()
        self._guessed.clear()
        for read in self._open.values():
            read.is_doubtful = True

    async def _lead(self, object_ids: list[str]) -> dict[str, tuple[ItemT, ...]]:
        if reason := self._why_not(len(object_ids)):
            self._failed_count.inc()
            raise StoreUnavailable(reason)
        read: _Read[ItemT] = _Read()
        self._open |= dict.fromkeys(object_ids, read)
        outcome: _Outcome[ItemT] = "abandoned"
        try:
            outcome = await self._read_in_turn(object_ids, read)
        except StoreUnavailable as error:
            outcome = error
            self._failed_count.inc()
            self._away_until = self._clock.monotonic() + _AWAY_SECONDS
            raise
        finally:
            for object_id in object_ids:
                del self._open[object_id]
            read.outcome.set_result(outcome)
        return outcome

    def _why_not(self, count: int) -> str:
        if len(self._open) + count > self._waiting_max:
            return "Too many budgets are being looked up. Try again in a second."
        if self._clock.monotonic() < self._away_until:
            return "The database did not answer a moment ago. Try again in a second."
        return ""

    async def _read_in_turn(self, object_ids: list[str], read: _Read[ItemT]) -> dict[str, tuple[ItemT, ...]]:
        try:
            async with asyncio.timeout(self._timeout_seconds), self._turns:
                return await self._read(object_ids, read)
        except TimeoutError as error:
            raise StoreUnavailable(
                f"The budgets could not be looked up within {self._timeout_seconds:g} s. Try again in a second."
            ) from error

    async def _read(self, object_ids: list[str], read: _Read[ItemT]) -> dict[str, tuple[ItemT, ...]]:
        """Read them, again what changed meanwhile. What never comes to rest is used but not kept."""
        found: dict[str, tuple[ItemT, ...]] = {}
        wanted = object_ids
        for _ in range(_READS_MAX):
            read.changed.clear()
            read.is_doubtful = False
            self._read_count.inc(len(wanted))
            rows = {row.object_id: row for row in await self._store.find_many(self._refs(wanted))}
            budget_ids = {row.budget_id for row in rows.values() if row.budget_id}
            budgets = await self._budgets(budget_ids) if budget_ids else {}
            unsettled = []
            for object_id in wanted:
                row = rows.get(object_id)
                budget_id = row.budget_id if row is not None else ""
                found[object_id] = self._limits_of(object_id, row, budgets.get(budget_id))
                if read.concerns(ObjectRef(self._kind, object_id), ObjectRef(Kind.BUDGET, budget_id)):
                    unsettled.append(object_id)
                else:
                    self._keep(object_id, found[object_id], budget_id=budget_id)
            if not unsettled:
                break
            wanted = unsettled
        return found

    async def _budgets(self, budget_ids: Iterable[str]) -> dict[str, ControlObject]:
        refs = [ObjectRef(Kind.BUDGET, budget_id) for budget_id in budget_ids]
        return {row.object_id: row for row in await self._store.find_many(refs)}

    def _refs(self, object_ids: Iterable[str]) -> list[ObjectRef]:
        return [ObjectRef(self._kind, object_id) for object_id in object_ids]

    def _see_if_void(self) -> None:
        self.is_void = not self._may_exist and not self.without_row("")

    def _keep(self, object_id: str, limits: tuple[ItemT, ...], *, budget_id: str) -> None:
        """Called without a wait since the read, so no change can come in between."""
        self._forget(object_id)
        self._kept[object_id] = limits
        self._size.inc()
        if budget_id:
            self._budget_of[object_id] = budget_id
            self._of_budget.setdefault(budget_id, set()).add(object_id)
        if len(self._kept) > self._cache_max:
            self._forget(next(iter(self._kept)))

    def _forget(self, object_id: str) -> None:
        if self._kept.pop(object_id, None) is None:
            return
        self._size.dec()
        budget_id = self._budget_of.pop(object_id, "")
        if budget_id:
            held = self._of_budget[budget_id]
            held.discard(object_id)
            if not held:
                del self._of_budget[budget_id]


class _Read(Generic[ItemT]):
    """A read under way, for everybody who waits for it."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[_Outcome[ItemT]] = asyncio.get_running_loop().create_future()
        self.changed: set[ObjectRef] = set()
        """What has changed since the read began."""
        self.is_doubtful = False
        """Whether anything may have changed since then."""

    def concerns(self, *refs: ObjectRef) -> bool:
        """Whether one of these may have changed."""
        return self.is_doubtful or not self.changed.isdisjoint(refs)
