"""The port of where answers are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class AnswerStore(Protocol):
    """Bytes by key, each for a time. It may lose all of it at any moment.

    What can't be done raises StoreUnavailable, and RowRefused when it never can.
    """

    async def get(self, key: str) -> bytes | None:
        """Return what is kept, None when nothing is; within the store's timeout."""

    async def put(self, key: str, value: bytes, *, ttl_seconds: float) -> bool:
        """Keep it, or tell that there is no room."""

    async def delete(self, keys: Sequence[str]) -> int:
        """Forget these; return how many there were."""

    async def flush(self) -> int:
        """Forget every answer, and nothing else; return how many there were."""

    async def ping(self) -> None:
        """Return when the store answers."""

    async def close(self) -> None:
        """Close every connection."""
