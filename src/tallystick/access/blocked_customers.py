"""Customers (end users) who are blocked: known by heart, so that a call needs no look-up for it."""

from __future__ import annotations

from collections.abc import Sequence

from tallystick.control.objects import Kind, ObjectRef
from tallystick.control.store import ControlStore


class BlockedCustomers:
    """A set of ids that follows the change feed. Few customers are blocked; the others take no memory."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store
        self._ids: set[str] = set()

    def __contains__(self, customer_id: object) -> bool:
        return customer_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    async def follow(self, changed: Sequence[ObjectRef]) -> None:
        """`Follower`: read the customers that changed."""
        refs = [ref for ref in changed if ref.kind == Kind.CUSTOMER]
        if refs:
            found = await self._store.find_many(refs)
            self._ids.difference_update(ref.object_id for ref in refs)
            self._ids.update(each.object_id for each in found if each.blocked)

    async def start_over(self) -> None:
        """`Follower`: read all customers."""
        loaded = await self._store.load((Kind.CUSTOMER,))
        self._ids = {each.object_id for each in loaded.objects if each.blocked}
