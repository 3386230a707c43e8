"""The connections to the database that each worker of this host may have, and what they come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_POOL_LEAST: Final = 2
"""One connection for commits, which may wait for others' commits, and one for all that reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBudget:
    """How many connections the workers of a host open at most."""

    workers: int
    pool_each: int
    """Connections in the pool of one worker."""
    listening_each: int
    """Connections of one worker on which it only hears of changes: 1, or 0 where sessions are not its own."""
    host_limit: int | None
    """What the host may have, where that is limited."""

    @property
    def host_max(self) -> int:
        """The most that all workers together open at once."""
        return self.workers * (self.pool_each + self.listening_each)

    def check(self) -> None:
        """Raise ValueError when the host's limit is too little for its workers, each with the least that it needs."""
        if self.host_limit is not None and self.host_max > self.host_limit:
            raise ValueError(
                f"{self.host_limit} connections are too few for this host: its {self.workers} workers need at least "
                f"{self.host_max}, {self.pool_each + self.listening_each} for each"
            )


def least_connections(*, listens: bool) -> int:
    """Return how many connections a worker can't do without."""
    return _POOL_LEAST + (1 if listens else 0)


def share_connections(each_max: int, *, host_limit: int | None, workers: int, listens: bool) -> ConnectionBudget:
    """Give each worker what it may have, within its share of what the host may have; never less than it needs."""
    each = each_max if host_limit is None else min(each_max, host_limit // workers)
    listening = 1 if listens else 0
    pool = max(each, least_connections(listens=listens)) - listening
    return ConnectionBudget(workers=workers, pool_each=pool, listening_each=listening, host_limit=host_limit)
