"""The connections to the database that this host may have, and what each of its workers gets of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_EACH_BY_DEFAULT: Final = 10
_POOL_LEAST: Final = 2
"""One connection for commits, which may wait for others' commits, and one for all that reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBudget:
    """How a host's connections are shared out."""

    workers: int
    pool_each: int
    """Connections in the pool of one worker."""
    listening_each: int
    """Connections of one worker on which it only hears of changes: 1, or 0 where sessions are not its own."""

    @property
    def host_max(self) -> int:
        """The most that all workers together open at once."""
        return self.workers * (self.pool_each + self.listening_each)


def share_connections(host_max: int | None, *, workers: int, listens: bool) -> ConnectionBudget:
    """Divide what a host may have among its workers. Raises ValueError when it is too little for them."""
    listening = 1 if listens else 0
    each = _EACH_BY_DEFAULT if host_max is None else host_max // workers
    if each < _POOL_LEAST + listening:
        least = workers * (_POOL_LEAST + listening)
        raise ValueError(
            f"database_pool_size_max is {host_max} for all workers of this host; {workers} of them need at least "
            f"{least}, {_POOL_LEAST + listening} for each"
        )
    return ConnectionBudget(workers=workers, pool_each=each - listening, listening_each=listening)
