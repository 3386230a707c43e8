"""Reading from a streaming replica, and never less than what was committed before the read began.

The position that the primary has written its log up to is asked for at each read, and the replica reads when it has
replayed up to there. So whoever was told that a write is done finds it, on whichever instance it was made and whoever
asks, and nothing has to be remembered of anybody. It costs one short question to the primary and the replica's delay.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from typing import Final, Literal, TypeVar

import structlog

from tallystick.control.store import AuditFilter, AuditPage
from tallystick.errors import MigrationFailed, StoreUnavailable
from tallystick.ledger.store import (
    ActivityFilter,
    CommittedEvent,
    EntityDayType,
    EntityRef,
    EventFilter,
    EventPage,
    GroupBy,
    SumRow,
)
from tallystick.runtime.clock import Clock
from tallystick.stores.postgres.audit_log import AuditLog
from tallystick.stores.postgres.connection import Connection, Readable
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.errors import is_unreachable
from tallystick.stores.postgres.feed import EventFeed
from tallystick.stores.postgres.sums import SumReports

ReadOutcome = Literal["replica", "unchecked", "lagging", "busy", "away"]
"""Read at the replica; read there though the primary is away; read at the primary, because the replica is behind, the
primary too busy to be asked how far that is, or the replica away."""
ResultT = TypeVar("ResultT")
ReaderT = TypeVar("ReaderT")

_PRIMARY_SECONDS_MAX: Final = 2.0
_LOOK_SECONDS: Final = 0.01
_REST_SECONDS: Final[Mapping[ReadOutcome, float]] = {"lagging": 1.0, "busy": 1.0, "away": 5.0}
_log = structlog.get_logger(__name__)


class ReplicaBehind(Exception):
    """The replica does not have yet what was committed."""


class PrimaryBusy(Exception):
    """The primary is there, and did not get to say what was committed. It has to be read itself, in turn."""


class FreshReplica:
    """Lends connections to a replica that has everything which was committed when they were asked for.

    Raises ReplicaBehind when that takes longer than `wait_seconds`, or when the server is no standby; PrimaryBusy when
    the primary has no time for the question. While the primary is away, the replica is taken as it is, and the question
    is left out for 5 s, or until any other use of the primary succeeds.
    """

    def __init__(
        self,
        *,
        primary: PostgresDatabase,
        replica: PostgresDatabase,
        wait_seconds: float,
        on_unchecked: Callable[[], None],
    ) -> None:
        self.queries: Mapping[str, str] = replica.queries
        self.clock = replica.clock
        self._primary = primary
        self._replica = replica
        self._wait_seconds = wait_seconds
        self._on_unchecked = on_unchecked
        self._ask_primary_at = 0.0
        self._uses_when_away = 0

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection."""
        position = await self._committed_position()
        async with self._replica.connection() as connection:
            if position is None:
                self._on_unchecked()
            else:
                await self._await_replay(connection, position)
            yield connection

    async def _committed_position(self) -> str | None:
        uses = self._primary.uses_succeeded
        if uses == self._uses_when_away and self.clock.monotonic() < self._ask_primary_at:
            return None
        try:
            async with asyncio.timeout(_PRIMARY_SECONDS_MAX), self._primary.connection() as connection:
                return str(await connection.fetchval(self.queries["wal_position"]))
        except (StoreUnavailable, TimeoutError) as error:
            if not self._is_away(error, uses):
                raise PrimaryBusy from error
        self._uses_when_away = self._primary.uses_succeeded
        self._ask_primary_at = self.clock.monotonic() + _REST_SECONDS["away"]
        return None

    def _is_away(self, error: StoreUnavailable | TimeoutError, uses: int) -> bool:
        """Tell whether the primary is away. One that has answered others meanwhile, or is at work for them, is not."""
        if self._primary.uses_succeeded != uses:
            return False
        if isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError):
            return not self._primary.is_busy
        return is_unreachable(error)

    async def _await_replay(self, connection: Connection, position: str) -> None:
        deadline = self.clock.monotonic() + self._wait_seconds
        while not (has_replayed := await connection.fetchval(self.queries["has_replayed"], position)):
            if has_replayed is None or self.clock.monotonic() >= deadline:
                raise ReplicaBehind
            await self.clock.sleep(_LOOK_SECONDS)


class ReplicaReads:
    """Lets the replica answer, and the primary when the replica is away or can't be known to have everything.

    Then the replica rests for a moment.
    """

    def __init__(self, *, clock: Clock, on_read: Callable[[ReadOutcome], None]) -> None:
        self._clock = clock
        self._on_read = on_read
        self._resting_for: ReadOutcome = "away"
        self._rests_until = float("-inf")

    def note_unchecked(self) -> None:
        """A read was made at the replica, and nobody could tell whether it has everything."""
        self._on_read("unchecked")

    async def read(
        self, work: Callable[[ReaderT], Awaitable[ResultT]], *, replica: ReaderT, primary: ReaderT
    ) -> ResultT:
        """Return what `work` makes of one of the readers."""
        if self._clock.monotonic() >= self._rests_until:
            try:
                result = await work(replica)
            except ReplicaBehind:
                self._rest("lagging")
            except PrimaryBusy:
                self._rest("busy")
            except (StoreUnavailable, MigrationFailed) as error:
                self._rest("away")
                _log.warning("read_replica_away", reason=str(error))
            else:
                self._on_read("replica")
                return result
        self._on_read(self._resting_for)
        return await work(primary)

    def _rest(self, outcome: ReadOutcome) -> None:
        self._resting_for = outcome
        self._rests_until = self._clock.monotonic() + _REST_SECONDS[outcome]


class ReplicatedAudit:
    """`AuditReader`."""

    def __init__(self, reads: ReplicaReads, *, replica: Readable, primary: Readable) -> None:
        self._reads, self._replica, self._primary = reads, AuditLog(database=replica), AuditLog(database=primary)

    async def page(self, where: AuditFilter, *, offset: int, limit: int) -> AuditPage:
        """Return one page, newest first."""
        return await self._reads.read(
            lambda audit: audit.page(where, offset=offset, limit=limit), replica=self._replica, primary=self._primary
        )


class ReplicatedReader:
    """`LedgerReader`."""

    def __init__(self, reads: ReplicaReads, *, replica: Readable, primary: Readable) -> None:
        self._reads, self._replica, self._primary = reads, _Reports(replica), _Reports(primary)

    async def events_after(self, cursor: str, *, limit: int, where: EventFilter) -> EventPage:
        """Return a run of the feed, in the order of commits."""
        return await self._read(lambda reports: reports.feed.events_after(cursor, limit=limit, where=where))

    async def latest_events(self, *, limit: int, where: EventFilter, offset: int = 0) -> tuple[CommittedEvent, ...]:
        """Return the newest events by `started_at`, newest first."""
        return await self._read(lambda reports: reports.feed.latest_events(limit=limit, where=where, offset=offset))

    async def count_events(self, *, at_most: int, where: EventFilter) -> int:
        """Return how many events there are; counting ends at `at_most`."""
        return await self._read(lambda reports: reports.feed.count_events(at_most=at_most, where=where))

    async def total(self, entity_type: str, entity_id: str, member_id: str = "") -> SumRow:
        """Return the running sum of one entity."""
        return await self._read(lambda reports: reports.sums.total(entity_type, entity_id, member_id))

    async def totals(self, entity_type: str, *, limit: int) -> tuple[SumRow, ...]:
        """Return the running sums of one type, dearest first."""
        return await self._read(lambda reports: reports.sums.totals(entity_type, limit=limit))

    async def spend_of(self, entities: Sequence[EntityRef]) -> dict[EntityRef, int]:
        """Return what each entity has spent in all."""
        return await self._read(lambda reports: reports.sums.spend_of(entities))

    async def daily(
        self, *, group_by: GroupBy, first: date, last: date, limit: int, key_hash: str | None = None
    ) -> tuple[SumRow, ...]:
        """Return the cube's sums over some days by one column, dearest first."""
        return await self._read(
            lambda reports: reports.sums.daily(
                group_by=group_by, first=first, last=last, limit=limit, key_hash=key_hash
            )
        )

    async def activity(self, *, where: ActivityFilter, first: date, last: date, limit: int) -> tuple[SumRow, ...]:
        """Return the cube's sums over each of some days by all of its columns."""
        return await self._read(lambda reports: reports.sums.activity(where=where, first=first, last=last, limit=limit))

    async def entity_activity(
        self,
        *,
        entity_type: EntityDayType,
        entity_ids: tuple[str, ...] | None,
        models: tuple[str, ...] | None,
        first: date,
        last: date,
        limit: int,
    ) -> tuple[SumRow, ...]:
        """Return the same of end users or tags."""
        return await self._read(
            lambda reports: reports.sums.entity_activity(
                entity_type=entity_type, entity_ids=entity_ids, models=models, first=first, last=last, limit=limit
            )
        )

    async def _read(self, work: Callable[[_Reports], Awaitable[ResultT]]) -> ResultT:
        return await self._reads.read(work, replica=self._replica, primary=self._primary)


class _Reports:
    """What reads the ledger of one database."""

    def __init__(self, database: Readable) -> None:
        self.feed = EventFeed(database=database)
        self.sums = SumReports(database=database)
