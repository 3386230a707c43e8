"""The keeper of leases: asks the store, keeps leases alive, gives back what is not used.

Its loops run beside the calls. A call waits for it only when what is leased does not suffice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import structlog

from tallystick.access.budget_store import BudgetStore, LeaseReply, LeaseRequest, LeaseState
from tallystick.access.leasing.account import Account
from tallystick.access.leasing.accounts import Accounts
from tallystick.access.leasing.bounds import NO_LIMIT, Bound
from tallystick.access.scopes import Window
from tallystick.errors import StoreUnavailable
from tallystick.runtime.clock import Clock
from tallystick.runtime.service import SupervisedLoop
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger()

_TICK_SECONDS: Final = 0.25
_TRUSTED_SHARE: Final = 0.8
"""A lease is trusted for this share of its time, counted from before it was asked for."""
_RENEWED_SHARE: Final = 0.3
_REFILL_PAUSE_SECONDS: Final = 1.0
_WATCH_SECONDS: Final = 5.0
_STORE_PAUSE_SECONDS: Final = 0.25
_TRIM_SECONDS: Final = 3600.0


class EventNumbers(Protocol):
    """What the keeper needs of the journal: whose events its leases pay, and how far they are committed."""

    @property
    def producer_id(self) -> str: ...

    @property
    def last_seq(self) -> int: ...

    @property
    def watermark(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLimits:
    """The settings of leases."""

    lease_seconds: float = 60.0
    idle_seconds: float = 5.0
    share: int = 8
    keep_days: float = 35.0


class _Sent(NamedTuple):
    """When a statement was sent, and up to which event everything was committed by then."""

    at: float
    watermark: int


class LeaseKeeper:
    """Owns the accounts. A service: from `start` on, when the journal is open, calls can be admitted."""

    name = "leases"

    def __init__(
        self,
        *,
        store: BudgetStore,
        numbers: Callable[[], EventNumbers],
        limits: LeaseLimits,
        on_state: Callable[[Account], None],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.accounts = Accounts()
        self._store = store
        self._limits = limits
        self._on_state = on_state
        self._clock = clock
        self._metrics = metrics
        self._numbers_of = numbers
        self._numbers: EventNumbers | None = None
        self._replayed_seq = 0
        self._is_ready = False
        self._store_away_until = 0.0
        self._is_unsure = False
        """Whether a statement may have done what nobody was told of."""
        self._low: dict[Account, Bound] = {}
        self._low_found = asyncio.Event()
        self._asking: set[asyncio.Task[LeaseReply]] = set()
        self._renewed_at = self._trimmed_at = clock.monotonic()
        self._loops = (
            SupervisedLoop("leases", self._keep_for_ever, clock=clock, metrics=metrics),
            SupervisedLoop("lease_refills", self._refill_for_ever, clock=clock, metrics=metrics),
        )

    async def start(self) -> None:
        """Begin to keep leases that pay for the events of the journal that is open now."""
        self._numbers = self._numbers_of()
        self._replayed_seq = self._numbers.last_seq
        for loop in self._loops:
            await loop.start()

    async def stop(self) -> None:
        """End the loops. The leases stay until `release`, because events may not be committed yet."""
        for loop in self._loops:
            await loop.stop()
        if self._asking:
            await asyncio.wait(self._asking)

    async def release(self, producer_id: str) -> None:
        """Give up all leases of a producer whose events are committed to the last; what is left goes back at once."""
        try:
            await self._store.release(producer_id)
        except StoreUnavailable as error:
            log.warning("leases_not_released", producer_id=producer_id, reason=str(error))

    # For admission

    def open(self, window: Window, entity_ids: tuple[str, ...]) -> Account:
        """Return the account of a window."""
        numbers = self._numbers
        assert numbers is not None, "the keeper has not been started"
        return self.accounts.open(
            window, since_seq=numbers.last_seq, entity_ids=entity_ids, now=self._clock.monotonic()
        )

    def can_ask(self, bounds: Sequence[Bound], now: float) -> bool:
        """Whether asking about these accounts may bring something now."""
        return (
            self._is_ready
            and now >= self._store_away_until
            and all(bound.account.may_be_asked_about(now) for bound in bounds)
        )

    @property
    def is_store_away(self) -> bool:
        """Whether the last statement found no database, or it is not known yet what this instance had leased."""
        return not self._is_ready or self._clock.monotonic() < self._store_away_until

    async def ask(self, bounds: Sequence[Bound], *, need: int, full: int) -> bool:
        """Lease on all of these accounts so that `need` becomes free, or on none. Raises StoreUnavailable.

        The statement goes on when the caller is cancelled: its answer belongs to all calls.
        """
        now = self._clock.monotonic()
        requests = [
            _request(bound, need=max(0, need - bound.account.free_at(now)), want=bound.account.want_of(full, now))
            for bound in bounds
        ]
        task = asyncio.get_running_loop().create_task(self._lease([bound.account for bound in bounds], requests))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return (await asyncio.shield(task)).granted

    def refill(self, bound: Bound) -> None:
        """Lease more in the background: what is free runs low."""
        account = bound.account
        if account not in self._low and not account.statements and self._clock.monotonic() >= account.ask_after:
            self._low[account] = bound
            self._low_found.set()

    def watch(self, bound: Bound) -> None:
        """Learn in the background, now and then, what stands in a window that bounds nothing."""
        account, now = bound.account, self._clock.monotonic()
        account.used_at = now
        if now >= account.refill_after and account not in self._low and not account.statements:
            account.refill_after = now + _WATCH_SECONDS
            self._low[account] = bound
            self._low_found.set()

    # Statements

    async def _lease(self, accounts: Sequence[Account], requests: Sequence[LeaseRequest]) -> LeaseReply:
        sent = self._begin(accounts)
        outcome = "unavailable"
        try:
            reply = await self._store.lease(
                self._holder, requests, seconds=self._limits.lease_seconds, share=self._limits.share
            )
            outcome = "granted" if reply.granted else "short"
        except StoreUnavailable as error:
            self._note_away(error)
            raise
        else:
            self._note_answer()
            for account, state in zip(accounts, reply.states, strict=True):
                gained = state.amount_nano_usd - account.amount
                self._apply(account, state, sent)
                if reply.granted:
                    account.note_grant(gained, sent.at)
            return reply
        finally:
            self._metrics.budget_leases.labels(outcome).inc()
            self._end(accounts)

    async def _give_back(self, amounts: Sequence[tuple[Account, int]]) -> None:
        """Return money. It is gone here before the store is asked, whatever becomes of the answer."""
        accounts = [account for account, _ in amounts]
        sent = self._begin(accounts)
        try:
            states = await self._store.give_back(
                self._holder, [(account.window, nano_usd) for account, nano_usd in amounts]
            )
            self._note_answer()
            for account, state in zip(accounts, states, strict=True):
                self._apply(account, state, sent, until=account.trusted_until)
        except StoreUnavailable as error:
            self._note_away(error)
        finally:
            self._end(accounts)

    async def _renew(self) -> None:
        """Keep all leases alive, and learn what stands in them."""
        begun = {each: each.statements_begun for each in self.accounts if not each.statements}
        sent = self._sending()
        states = await self._store.renew(self._holder, seconds=self._limits.lease_seconds)
        self._note_answer()
        self._renewed_at, self._is_unsure = sent.at, False
        orphans = []
        for state in states:
            account = self.accounts.find(state.window)
            if account is None:  # Granted by a statement whose answer was lost.
                orphans.append((state.window, state.amount_nano_usd))
            elif begun.pop(account, -1) == account.statements_begun and not account.statements:
                self._apply(account, state, sent)
        for account, statements_begun in begun.items():
            if account.statements_begun == statements_begun and account.amount:
                log.warning("lease_lapsed", scope=account.window.scope.type, nano_usd=account.amount)
                self._metrics.budget_leases_lapsed.inc()
                account.lose()
        if orphans:
            await self._store.give_back(self._holder, orphans)

    def _begin(self, accounts: Sequence[Account]) -> _Sent:
        for account in accounts:
            account.statements += 1
            account.statements_begun += 1
        return self._sending()

    def _sending(self) -> _Sent:
        assert self._numbers is not None, "the keeper has not been started"
        return _Sent(at=self._clock.monotonic(), watermark=self._numbers.watermark)

    def _end(self, accounts: Sequence[Account]) -> None:
        for account in accounts:
            account.statements -= 1
            account.wake(self._clock.monotonic())

    def _apply(self, account: Account, state: LeaseState, sent: _Sent, *, until: float | None = None) -> None:
        lasting = sent.at + self._limits.lease_seconds * _TRUSTED_SHARE
        account.apply(
            state, watermark=sent.watermark, sent_at=sent.at, trusted_until=lasting if until is None else until
        )
        self._on_state(account)

    def _note_answer(self) -> None:
        self._store_away_until = 0.0

    def _note_away(self, error: StoreUnavailable) -> None:
        if not self._store_away_until:
            log.warning("leases_unavailable", reason=str(error))
        self._is_unsure = True
        self._store_away_until = self._clock.monotonic() + _STORE_PAUSE_SECONDS

    @property
    def _holder(self) -> str:
        assert self._numbers is not None, "the keeper has not been started"
        return self._numbers.producer_id

    # Loops

    async def _refill_for_ever(self) -> None:
        while True:
            await self._low_found.wait()
            self._low_found.clear()
            low, self._low = self._low, {}
            now = self._clock.monotonic()
            bounds = [bound for bound in low.values() if self.can_ask((bound,), now)]
            if bounds:
                await self._refill(bounds)

    async def _refill(self, bounds: Sequence[Bound]) -> None:
        now = self._clock.monotonic()
        accounts = [bound.account for bound in bounds]
        before = [account.amount for account in accounts]
        requests = [
            _request(bound, need=0, want=0 if bound.limit == NO_LIMIT else bound.account.want_of(0, now))
            for bound in bounds
        ]
        try:
            await self._lease(accounts, requests)
        except StoreUnavailable:
            return
        for account, amount, request in zip(accounts, before, requests, strict=True):
            if (account.amount - amount) * 2 < request.want_nano_usd:  # Not where nothing was wanted.
                # It is no longer plenty: calls ask for what they need, and only now and then for more.
                account.refill_after = self._clock.monotonic() + _REFILL_PAUSE_SECONDS

    async def _keep_for_ever(self) -> None:
        await self._begin_anew()
        while True:
            await self._clock.sleep(_TICK_SECONDS)
            try:
                await self._keep()
            except StoreUnavailable as error:
                self._note_away(error)
            self._show()

    async def _begin_anew(self) -> None:
        """Give up the leases of the process that this one follows, once the events they pay for are committed."""
        assert self._numbers is not None
        while not self._is_ready:
            if self._numbers.watermark >= self._replayed_seq:
                try:
                    await self._store.release(self._holder)
                except StoreUnavailable as error:
                    self._note_away(error)
                else:
                    self._is_ready = True
                    break
            await self._clock.sleep(_STORE_PAUSE_SECONDS / 10)
        now = self._clock.monotonic()
        for account in self.accounts:
            account.wake(now)

    async def _keep(self) -> None:
        """What is to be done now and then, while there is anything leased."""
        now = self._clock.monotonic()
        if now - self._trimmed_at >= _TRIM_SECONDS:
            self._trimmed_at = now
            await self._store.trim(ended_days=self._limits.keep_days)
        if not len(self.accounts) and not self._is_unsure:
            self._renewed_at = now
            return
        if now - self._renewed_at >= self._limits.lease_seconds * _RENEWED_SHARE or self._is_unsure:
            await self._renew()
        wanted = frozenset(await self._store.wanted(self._holder))
        assert self._numbers is not None
        watermark = self._numbers.watermark
        for account in self.accounts:
            account.is_wanted = account.window in wanted
            account.fold(watermark)
        await self._return_unused(watermark)

    async def _return_unused(self, watermark: int) -> None:
        now = self._clock.monotonic()
        amounts = []
        for account in self.accounts:
            idle = now - account.used_at >= self._limits.idle_seconds
            if account.statements or not (idle or account.is_wanted):
                continue
            if account.is_unused and idle:
                self.accounts.drop(account)
            elif account.amount and account.is_settled(watermark):
                # All of it, also what the store may know of and we do not.
                account.clear()
                amounts.append((account, NO_LIMIT))
            elif (free := account.free_at(now)) > 0:
                account.amount -= free
                amounts.append((account, free))
        if amounts:
            await self._give_back(amounts)

    def _show(self) -> None:
        self._metrics.budget_leased_nano_usd.set(sum(account.amount for account in self.accounts))
        self._metrics.budget_held_nano_usd.set(sum(account.held for account in self.accounts))
        self._metrics.budget_accounts.set(len(self.accounts))


def _request(bound: Bound, *, need: int, want: int) -> LeaseRequest:
    account = bound.account
    return LeaseRequest(
        window=account.window,
        limit_nano_usd=bound.limit,
        need_nano_usd=need,
        want_nano_usd=want,
        since_seq=account.since_seq,
        entity_ids=tuple(sorted(account.entity_ids)),
        previous=bound.previous,
        previous_limit_nano_usd=bound.previous_limit,
    )
