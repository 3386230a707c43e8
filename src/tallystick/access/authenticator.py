"""From the key that a caller presents to the principal behind it: a cache in front of the control store.

There is no TTL: the change feed says which key changed (`invalidate`). So known keys are served while the database is
away, and a change is in force as soon as the feed has brought it.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from tallystick.access.key_lookup import KeyLookups
from tallystick.access.keys import hash_key
from tallystick.access.principal import MASTER_KEY_HASH, Principal, master_principal
from tallystick.control.objects import Kind, ObjectRef
from tallystick.control.store import ControlStore
from tallystick.errors import AuthenticationFailed
from tallystick.runtime.clock import Clock
from tallystick.runtime.telemetry import Metrics

KEY_LENGTH_MAX: Final = 512
_KEY_PREFIX: Final = "sk-"
_UNKNOWN_SECONDS: Final = 1.0
_UNKNOWN_MAX: Final = 10_000


class Authenticator:
    """Authenticate callers. One per process, for one event loop."""

    def __init__(
        self,
        store: ControlStore,
        *,
        master_key_hash: str,
        clock: Clock,
        metrics: Metrics,
        cache_max: int = 100_000,
        lookups_max: int = 25,
        lookup_timeout_seconds: float = 5.0,
        user_budget_holds_in_teams: bool = False,
    ) -> None:
        self._master_key_hash = master_key_hash
        self._master = master_principal()
        self._clock = clock
        self._metrics = metrics
        self._hits = metrics.key_cache_hits
        self._cache_max = cache_max
        self._entries: OrderedDict[str, Principal] = OrderedDict()
        # The hashes of the cached principals that depend on an object, so that a change of it finds them.
        self._dependents: dict[ObjectRef, set[str]] = {}
        # Keys that are in no table, and until when that is believed. Dicts keep the order of insertion: oldest first.
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._lookups = KeyLookups(
            store,
            on_principal=self._remember,
            metrics=metrics,
            concurrent_max=lookups_max,
            timeout_seconds=lookup_timeout_seconds,
            user_budget_holds_in_teams=user_budget_holds_in_teams,
        )

    def lookup_cached(self, token: str) -> Principal | None:
        """Return the principal when that needs no wait: the hot path. None: ask `authenticate`, which says why not."""
        key_hash = hash_key(token)
        principal = self._entries.get(key_hash)
        if principal is None:
            return self._master if hmac.compare_digest(key_hash, self._master_key_hash) else None
        if principal.refusal or (principal.expires_at is not None and principal.is_expired(self._clock.now())):
            return None
        self._entries.move_to_end(key_hash)
        self._hits.inc()
        return principal

    async def authenticate(self, token: str | None) -> Principal:
        """Return the principal behind a key (see `presented.presented_key` for how to find it in the headers).

        Raises AuthenticationFailed for a missing, malformed, unknown, blocked or expired key, and StoreUnavailable
        when the key is not cached and the store can't say.
        """
        if not token:
            raise self._refusal("missing", "No api key passed in. Send 'Authorization: Bearer sk-…'.")
        principal = self.lookup_cached(token)
        if principal is not None:
            return principal
        if not token.startswith(_KEY_PREFIX) or len(token) > KEY_LENGTH_MAX:
            raise self._refusal(
                "malformed",
                f"LiteLLM Virtual Key expected: it starts with '{_KEY_PREFIX}' and has at most {KEY_LENGTH_MAX} "
                "characters.",
            )
        return self._admit(await self._principal_of(hash_key(token)))

    def hash_of(self, key: str) -> str:
        """Return the hash under which a key's spend is found, given the key itself or already its hash."""
        key_hash = hash_key(key)
        if hmac.compare_digest(key_hash, self._master_key_hash):
            return MASTER_KEY_HASH
        return key_hash if key.startswith(_KEY_PREFIX) else key

    def invalidate(self, changed: ObjectRef) -> None:
        """Forget every principal that the object is a part of, and what look-ups now under way will say of it."""
        if changed.kind in {Kind.KEY, Kind.RETIRED_KEY}:
            self._forget(changed.object_id)
        for key_hash in tuple(self._dependents.get(changed, ())):
            self._forget(key_hash)
        self._lookups.taint(changed)
        self._metrics.key_cache_entries.set(len(self._entries))

    async def follow(self, changed: Sequence[ObjectRef]) -> None:
        """`Follower`: forget whom these changes concern."""
        for ref in changed:
            self.invalidate(ref)

    async def start_over(self) -> None:
        """`Follower`."""
        self.invalidate_all()

    def invalidate_all(self) -> None:
        """Forget every key, for when it is not known which ones changed."""
        self._entries.clear()
        self._dependents.clear()
        self._unknown.clear()
        self._lookups.taint_all()
        self._metrics.key_cache_entries.set(0)

    async def _principal_of(self, key_hash: str) -> Principal | None:
        principal = self._entries.get(key_hash)
        if principal is not None:
            return principal
        if self._unknown.get(key_hash, 0.0) > self._clock.monotonic():
            return None
        self._metrics.key_cache_misses.inc()
        return await self._lookups.find(key_hash)

    def _admit(self, principal: Principal | None) -> Principal:
        if principal is None:
            raise self._refusal("unknown", "Invalid proxy server token passed. The key is unknown or was deleted.")
        if principal.refusal:
            raise self._refusal("blocked", principal.refusal)
        expires_at, now = principal.expires_at, self._clock.now()
        if expires_at is not None and expires_at <= now:
            raise self._refusal(
                "expired", f"Expired Key. The key expired at {expires_at.isoformat()}; it is now {now.isoformat()}."
            )
        return principal

    def _remember(self, key_hash: str, principal: Principal | None) -> None:
        """Keep what the store said. Called without a wait since the read, so no change can come in between."""
        if principal is None:
            self._unknown[key_hash] = self._clock.monotonic() + _UNKNOWN_SECONDS
            self._unknown.move_to_end(key_hash)
            if len(self._unknown) > _UNKNOWN_MAX:
                self._unknown.popitem(last=False)
            return
        self._forget(key_hash)
        self._entries[key_hash] = principal
        for ref in principal.depends_on:
            self._dependents.setdefault(ref, set()).add(key_hash)
        if len(self._entries) > self._cache_max:
            self._forget(next(iter(self._entries)))
        self._metrics.key_cache_entries.set(len(self._entries))

    def _forget(self, key_hash: str) -> None:
        self._unknown.pop(key_hash, None)
        principal = self._entries.pop(key_hash, None)
        if principal is None:
            return
        for ref in principal.depends_on:
            held = self._dependents[ref]
            held.discard(key_hash)
            if not held:
                del self._dependents[ref]

    def _refusal(self, reason: str, message: str) -> AuthenticationFailed:
        self._metrics.auth_failures.labels(reason).inc()
        return AuthenticationFailed(f"Authentication Error, {message}")
