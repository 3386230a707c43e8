"""Several instances on one store, with journals, crashes, lost answers and time, all in one event loop without waits.

The world keeps its own account of real money: what every ended call has cost and what running calls hold. The promise
is about that, not about what tables say: for each window, real money ≤ limit + what calls cost beyond their holds +
what instances still spend after their leases were given to others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from ledger_kit import make_event
from tallystick.access.budget_store import BudgetStore
from tallystick.access.leasing.admission import Admission, AdmissionLimits, Estimate, Hold
from tallystick.access.leasing.bounds import Bound
from tallystick.access.leasing.keeper import LeaseKeeper, LeaseLimits
from tallystick.access.scopes import Budget, Scope, Window
from tallystick.access.windows import WindowRule
from tallystick.errors import BudgetExceeded, BudgetUnknown, StoreUnavailable
from tallystick.ledger.batch import batch_of
from tallystick.ledger.budget_scopes import scopes_of
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.store import LedgerStore
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock

LEASE_SECONDS = 20.0
IDLE_SECONDS = 5.0


class Numbers:
    """A journal as the keeper sees it: an own number for each event, and how far they are committed."""

    def __init__(self, producer_id: str) -> None:
        self.producer_id = producer_id
        self.last_seq = 0
        self.watermark = 0
        self.waiting: list[SpendEvent] = []

    def append(self, event: SpendEvent) -> int:
        self.last_seq += 1
        self.waiting.append(event)
        return self.last_seq


class Faulty:
    """A store that may be away, or lose its answer after it has done what it was asked."""

    def __init__(self, store: BudgetStore) -> None:
        self._store = store
        self.is_away = False
        self.loses_answers = 0
        self.statements = 0

    def __getattr__(self, name: str):
        async def ask(*args, **named):
            self.statements += 1
            if self.is_away:
                raise StoreUnavailable("away")
            answer = await getattr(self._store, name)(*args, **named)
            if self.loses_answers:
                self.loses_answers -= 1
                raise StoreUnavailable("the answer was lost")
            return answer

        return ask


@dataclass
class Call:
    """A running call: whose it is, when it began, and what it holds."""

    key: str
    team: str
    event: SpendEvent
    hold: Hold
    windows: tuple[Window, ...]


@dataclass
class Instance:
    """One process."""

    numbers: Numbers
    store: Faulty
    keeper: LeaseKeeper
    admission: Admission
    calls: list[Call] = field(default_factory=list)
    is_alive: bool = True


class World:
    """Instances, budgets and money."""

    def __init__(
        self, ledger: LedgerStore, budgets: BudgetStore, clock: FakeClock | SystemClock, *, instances: int = 3
    ) -> None:
        self.clock = clock
        self.ledger = ledger
        self.store = budgets
        self.windows = WindowRule()
        self.limits: dict[Scope, Budget] = {}
        self.paid: dict[Window, int] = defaultdict(int)
        self.slack: dict[Window, int] = defaultdict(int)
        self.denied = 0
        self.instances = [self._new_instance(Numbers(f"p{number}")) for number in range(instances)]

    def budget(self, scope: Scope, limit: int, duration: str = "") -> None:
        self.limits[scope] = Budget(scope=scope, limit_nano_usd=limit, duration=duration)

    def _new_instance(self, numbers: Numbers, *, is_ready: bool = True) -> Instance:
        store = Faulty(self.store)
        metrics = Metrics()
        keeper = LeaseKeeper(
            store=store,
            numbers=lambda: numbers,
            limits=LeaseLimits(lease_seconds=LEASE_SECONDS, idle_seconds=IDLE_SECONDS, share=4),
            on_state=lambda _: None,
            clock=self.clock,
            metrics=metrics,
        )
        keeper._numbers = numbers
        keeper._replayed_seq = numbers.last_seq
        keeper._is_ready = is_ready
        admission = Admission(
            keeper=keeper,
            windows=self.windows,
            limits=AdmissionLimits(wait_seconds=0.0),
            on_denied=lambda _: None,
            clock=self.clock,
            metrics=metrics,
        )
        return Instance(numbers=numbers, store=store, keeper=keeper, admission=admission)

    # What instances do

    async def begin(self, instance: Instance, key: str, team: str, estimate: int) -> Call | None:
        """Try to admit a call; None when it was denied."""
        event = make_event(
            started_at=self.clock.now(), key_hash=key, team_id=team, user_id="", organization_id="", cost_nano_usd=0
        )
        bounds = self._bounds(instance, key, team, event)
        need = Estimate(need_nano_usd=estimate, full_nano_usd=estimate)
        hold = instance.admission.try_admit(bounds, need)
        if hold is None:
            hold = await self._ask(instance, bounds, need)
        if hold is None:
            self.denied += 1
            return None
        call = Call(key=key, team=team, event=event, hold=hold, windows=tuple(bound.account.window for bound in bounds))
        instance.calls.append(call)
        return call

    async def _ask(self, instance: Instance, bounds: Sequence[Bound], need: Estimate) -> Hold | None:
        now = self.clock.monotonic()
        lacking = [bound for bound in bounds if bound.account.free_at(now) < need.need_nano_usd]
        if instance.keeper.can_ask(lacking, now):
            try:
                await instance.keeper.ask(lacking, need=need.need_nano_usd, full=need.full_nano_usd)
            except StoreUnavailable:
                return None
        try:
            return await instance.admission.admit(bounds, need, caller="k")
        except (BudgetExceeded, BudgetUnknown):
            return None

    def _bounds(self, instance: Instance, key: str, team: str, event: SpendEvent) -> list[Bound]:
        budgets = [self.limits[scope] for scope in (Scope("key", key), Scope("team", team)) if scope in self.limits]
        return [
            bound
            for each in budgets
            for bound in instance.admission.bounds.of_budgets((each,), moment=event.started_at)
        ]

    def end(self, instance: Instance, call: Call, cost: int) -> None:
        """A call ends: its event goes into the journal, its holds end."""
        instance.calls.remove(call)
        event = self._event_of(call, cost)
        seq = instance.numbers.append(event)
        held = call.hold.nano_usd
        instance.admission.settle(
            call.hold,
            scopes_of(event),
            model_group=event.model_group,
            started_at=event.started_at,
            seq=seq,
            cost_nano_usd=cost,
        )
        self._pay(call, cost, held=held)

    def _event_of(self, call: Call, cost: int) -> SpendEvent:
        fields = {name: getattr(call.event, name) for name in call.event.__struct_fields__}
        return SpendEvent(**(fields | {"cost_nano_usd": cost}))

    def _pay(self, call: Call, cost: int, *, held: int) -> None:
        for window in call.windows:
            self.paid[window] += cost
            self.slack[window] += max(0, cost - held)

    async def commit(self, instance: Instance, *, events: int, hears: bool = True) -> None:
        """Deliver some of the journal's events; without `hears` the answer is lost, and they are delivered again."""
        numbers = instance.numbers
        run = numbers.waiting[:events]
        if not run:
            return
        watermark = await self.ledger.commit(batch_of(numbers.producer_id, numbers.watermark + 1, run))
        if hears:
            del numbers.waiting[: watermark - numbers.watermark]
            numbers.watermark = watermark

    async def tick(self, instance: Instance) -> None:
        """One round of the keeper's loop, and the refills that calls have asked for."""
        keeper = instance.keeper
        if not keeper._is_ready:
            if instance.numbers.watermark >= keeper._replayed_seq and not instance.store.is_away:
                await keeper._store.release(instance.numbers.producer_id)
                keeper._is_ready = True
            return
        try:
            await keeper._keep()
        except StoreUnavailable as error:
            keeper._note_away(error)
        low, keeper._low = keeper._low, {}
        bounds = [bound for bound in low.values() if keeper.can_ask((bound,), self.clock.monotonic())]
        if bounds:
            await keeper._refill(bounds)

    def crash(self, position: int, costs: Sequence[int]) -> None:
        """kill -9 and a restart on the same journal: running calls end as interrupted with what was estimated."""
        dead = self.instances[position]
        for call, cost in zip(list(dead.calls), costs, strict=False):
            dead.numbers.append(self._event_of(call, min(cost, call.hold.nano_usd)))
            self._pay(call, min(cost, call.hold.nano_usd), held=call.hold.nano_usd)
        dead.calls.clear()
        dead.is_alive = False
        self.instances[position] = self._new_instance(dead.numbers, is_ready=False)

    # What must be true

    def check(self) -> None:
        """Real money stays within the limit, whatever the store and the instances believe."""
        held: dict[Window, int] = defaultdict(int)
        for instance in self.instances:
            for call in instance.calls:
                for window in call.windows:
                    held[window] += call.hold.nano_usd
        for window in {*self.paid, *held}:
            limit = self.limits[window.scope].limit_nano_usd
            assert limit is not None
            real = self.paid[window] + held[window]
            assert real <= limit + self.slack[window], (window, real, limit, self.slack[window])

    async def settle_down(self) -> None:
        """End what runs, commit everything, and let every lease go back."""
        for instance in self.instances:
            instance.store.is_away, instance.store.loses_answers = False, 0
            for call in list(instance.calls):
                self.end(instance, call, 0)
            while instance.numbers.waiting:
                await self.commit(instance, events=1_000)
        for _ in range(4):
            self.clock.advance(IDLE_SECONDS + 0.1)
            for instance in self.instances:
                await self.tick(instance)
                await self.tick(instance)

    def paid_in(self, scope: Scope) -> int:
        """What calls of a scope have really cost, in all of its windows."""
        return sum(nano_usd for window, nano_usd in self.paid.items() if window.scope == scope)
