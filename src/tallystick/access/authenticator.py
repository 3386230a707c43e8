"""From the key that a caller presents to the principal behind it: a cache in front of the key store.

There is no TTL: the change feed says which key changed (`invalidate`). So known keys are served while the database is
away, and a change is in force as soon as the feed has brought it.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from typing import Final

import msgspec

from tallystick.access.key_lookup import KeyLookups
from tallystick.access.keys import VirtualKey, hash_key
from tallystick.access.principal import MASTER_KEY_HASH, Principal, master_principal, principal_of
from tallystick.access.store import KeyStore
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
        keys: KeyStore,
        *,
        master_key_hash: str,
        clock: Clock,
        metrics: Metrics,
        cache_max: int = 100_000,
        lookups_max: int = 25,
        lookup_timeout_seconds: float = 5.0,
    ) -> None:
        self._master_key_hash = master_key_hash
        self._master = master_principal()
        self._clock = clock
        self._metrics = metrics
        self._hits = metrics.key_cache_hits
        self._cache_max = cache_max
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        # Keys that are in no table, and until when that is believed. Dicts keep the order of insertion: oldest first.
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._lookups = KeyLookups(
            keys,
            on_row=self._remember,
            metrics=metrics,
            concurrent_max=lookups_max,
            timeout_seconds=lookup_timeout_seconds,
        )

    def lookup_cached(self, token: str) -> Principal | None:
        """Return the principal when that needs no wait: the hot path. None: ask `authenticate`, which says why not."""
        key_hash = hash_key(token)
        entry = self._entries.get(key_hash)
        if entry is None:
            return self._master if hmac.compare_digest(key_hash, self._master_key_hash) else None
        principal = entry.principal
        if entry.blocked or (principal.expires_at is not None and principal.is_expired(self._clock.now())):
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
        return self._admit(await self._entry_of(hash_key(token)))

    def hash_of(self, key: str) -> str:
        """Return the hash under which a key's spend is found, given the key itself or already its hash."""
        key_hash = hash_key(key)
        if hmac.compare_digest(key_hash, self._master_key_hash):
            return MASTER_KEY_HASH
        return key_hash if key.startswith(_KEY_PREFIX) else key

    def invalidate(self, key_hash: str) -> None:
        """Forget what is known of a key, and what a look-up now under way will say of it."""
        self._entries.pop(key_hash, None)
        self._unknown.pop(key_hash, None)
        self._lookups.taint(key_hash)
        self._metrics.key_cache_entries.set(len(self._entries))

    def invalidate_all(self) -> None:
        """Forget every key, for when it is not known which ones changed."""
        self._entries.clear()
        self._unknown.clear()
        self._lookups.taint_all()
        self._metrics.key_cache_entries.set(0)

    async def _entry_of(self, key_hash: str) -> _Entry | None:
        entry = self._entries.get(key_hash)
        if entry is not None:
            return entry
        if self._unknown.get(key_hash, 0.0) > self._clock.monotonic():
            return None
        self._metrics.key_cache_misses.inc()
        row = await self._lookups.find(key_hash)
        return None if row is None else _entry_for(row)

    def _admit(self, entry: _Entry | None) -> Principal:
        if entry is None:
            raise self._refusal("unknown", "Invalid proxy server token passed. The key is unknown or was deleted.")
        if entry.blocked:
            raise self._refusal("blocked", "Key is blocked. An admin can unblock it with /key/unblock.")
        expires_at, now = entry.principal.expires_at, self._clock.now()
        if expires_at is not None and expires_at <= now:
            raise self._refusal(
                "expired", f"Expired Key. The key expired at {expires_at.isoformat()}; it is now {now.isoformat()}."
            )
        return entry.principal

    def _remember(self, key_hash: str, row: VirtualKey | None) -> None:
        """Keep what the store said. Called without a wait since the read, so no change can come in between."""
        if row is None:
            self._unknown[key_hash] = self._clock.monotonic() + _UNKNOWN_SECONDS
            self._unknown.move_to_end(key_hash)
            if len(self._unknown) > _UNKNOWN_MAX:
                self._unknown.popitem(last=False)
            return
        self._entries[key_hash] = _entry_for(row)
        if len(self._entries) > self._cache_max:
            self._entries.popitem(last=False)
        self._metrics.key_cache_entries.set(len(self._entries))

    def _refusal(self, reason: str, message: str) -> AuthenticationFailed:
        self._metrics.auth_failures.labels(reason).inc()
        return AuthenticationFailed(f"Authentication Error, {message}")


class _Entry(msgspec.Struct, frozen=True):
    """What the cache holds of a key. Blocked ones too: they are refused while the database is away."""

    principal: Principal
    blocked: bool


def _entry_for(row: VirtualKey) -> _Entry:
    return _Entry(principal_of(row), row.blocked)
