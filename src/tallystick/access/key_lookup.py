"""Reads of the key store: one at a time for each key, few at a time in all, and never a row that is stale already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Literal

from tallystick.access.keys import VirtualKey
from tallystick.access.store import KeyStore
from tallystick.errors import StoreUnavailable
from tallystick.runtime.telemetry import Metrics

_ABANDONED: Final = "abandoned"
_READS_MAX: Final = 3
_WAITING_MAX: Final = 1_000

_Outcome = VirtualKey | StoreUnavailable | Literal["abandoned"] | None


class KeyLookups:
    """Look keys up in the store.

    At most `concurrent_max` reads run at once and 1,000 wait for their turn. Beyond that, or when a read with its wait
    takes longer than `timeout_seconds`, the caller gets StoreUnavailable.
    """

    def __init__(
        self,
        keys: KeyStore,
        *,
        on_row: Callable[[str, VirtualKey | None], None],
        metrics: Metrics,
        concurrent_max: int,
        timeout_seconds: float,
    ) -> None:
        self._keys = keys
        self._on_row = on_row
        self._rejected = metrics.auth_lookups_rejected
        self._turns = asyncio.Semaphore(concurrent_max)
        self._open_max = concurrent_max + _WAITING_MAX
        self._timeout_seconds = timeout_seconds
        self._open: dict[str, _Lookup] = {}

    async def find(self, key_hash: str) -> VirtualKey | None:
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

    def taint(self, key_hash: str) -> None:
        """The key has changed: a row that was read before must not be kept."""
        lookup = self._open.get(key_hash)
        if lookup is not None:
            lookup.tainted = True

    def taint_all(self) -> None:
        for lookup in self._open.values():
            lookup.tainted = True

    async def _lead(self, key_hash: str) -> VirtualKey | None:
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

    async def _read_in_turn(self, key_hash: str, lookup: _Lookup) -> VirtualKey | None:
        try:
            async with asyncio.timeout(self._timeout_seconds), self._turns:
                return await self._read(key_hash, lookup)
        except TimeoutError as error:
            self._rejected.inc()
            raise StoreUnavailable(
                f"The key could not be looked up within {self._timeout_seconds:g} s. Try again in a second."
            ) from error

    async def _read(self, key_hash: str, lookup: _Lookup) -> VirtualKey | None:
        """Read the row, again when it changed meanwhile. A row that never comes to rest is used but not kept."""
        row = None
        for _ in range(_READS_MAX):
            lookup.tainted = False
            row = await self._keys.find(key_hash)
            if not lookup.tainted:
                self._on_row(key_hash, row)
                break
        return row


class _Lookup:
    """A read under way, for everybody who waits for it."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        self.tainted = False
