"""The port through which access reads and writes virtual keys, and hears of their changes."""

from __future__ import annotations

from typing import Protocol

import msgspec

from tallystick.access.keys import VirtualKey


class KeyFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which keys to list; None does not filter."""

    user_id: str | None = None
    team_id: str | None = None
    organization_id: str | None = None
    key_hash: str | None = None
    key_alias: str | None = None


class KeyPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of keys, newest first, and how many there are in all."""

    keys: tuple[VirtualKey, ...]
    total_count: int


class KeyChange(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was created, changed, blocked or deleted, at a revision of the change feed."""

    revision: int
    key_hash: str


class KeyStore(Protocol):
    """Virtual keys. Every write appends its row to the change feed in the same transaction.

    All methods raise StoreUnavailable when the database is away.
    """

    async def find(self, key_hash: str) -> VirtualKey | None:
        """Return the key with this hash, blocked or expired ones too; None for an unknown or deleted one."""

    async def find_by_alias(self, key_alias: str) -> VirtualKey | None:
        """Return the key with this alias, or None."""

    async def insert(self, key: VirtualKey) -> None:
        """Add a key. Raises Conflict when its hash or its (non-empty) alias exists already."""

    async def set_blocked(self, key_hash: str, blocked: bool) -> VirtualKey | None:
        """Block or unblock; return the key as it is now, None when there is none."""

    async def delete(self, key_hashes: tuple[str, ...]) -> tuple[str, ...]:
        """Delete all of them or, when one does not exist, none; return the hashes that were deleted (or ())."""

    async def list_keys(self, where: KeyFilter, *, offset: int, limit: int) -> KeyPage:
        """Return one page, newest first."""

    async def revision(self) -> int:
        """Return the newest revision of the change feed, 0 when it is empty."""

    async def changes_after(self, revision: int, *, limit: int) -> tuple[KeyChange, ...]:
        """Return the changes above `revision` in ascending order. Feed order is commit order: none appears late."""
