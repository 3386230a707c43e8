"""The ledger's ports: what it asks of a database. Implementations live in `stores/`; all pass one suite."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final, Literal, Protocol

import msgspec

from tallystick.ledger.batch import Batch
from tallystick.ledger.event import SpendEvent


class LedgerStore(Protocol):
    """Where batches go."""

    async def watermark(self, producer_id: str) -> int:
        """Return the highest committed sequence number of a producer, 0 for one never seen.

        Raises StoreUnavailable.
        """

    async def commit(self, batch: Batch) -> int:
        """Commit the part of `batch` above the producer's watermark, once, and return the watermark.

        In one transaction: lock the producer's row (made on first sight); if the batch continues the watermark, insert
        its events and dead letters, add its deltas to the sums, append one row to `commits`, set the watermark. A batch
        at or below the watermark changes nothing; one that overlaps applies the part above; one that leaves a gap
        changes nothing. So it may be called any number of times, by anyone, late, in parallel.

        Raises StoreUnavailable when it is unknown or untrue that it was committed (call again), RowRefused when the
        database refuses the data itself (nothing was changed; bisect); of these EventRepeated, where it has an event of
        this id and time already, from whichever producer.
        """

    async def commit_many(self, batches: Sequence[Batch]) -> dict[str, int]:
        """Commit batches of any producers in one transaction; return the watermark of each producer among them.

        All of it is as if they had been committed one after the other, each as `commit` promises: what repeats,
        overlaps or leaves a gap, also among them, counts once or not at all. A producer gets one row in `commits`.
        Either everything is in force afterwards, or, when this raises (as `commit`), nothing.
        """


class CommittedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the store holds it, with its number and its place in the order of commits."""

    event: SpendEvent
    producer_id: str
    seq: int
    cursor: str


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What to show of the feed; None does not filter. `since` is inclusive, `until` exclusive, both on `started_at`."""

    event_id: str | None = None
    key_hash: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    end_user_id: str | None = None
    session_id: str | None = None
    model: str | None = None
    """The model group that was asked for, or the model that answered."""
    is_success: bool | None = None
    cost_at_least_nano_usd: int | None = None
    cost_at_most_nano_usd: int | None = None
    provider_response_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class ActivityFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows of the cube to count; None does not filter, () matches nothing. All that is given has to match."""

    key_hashes: tuple[str, ...] | None = None
    user_ids: tuple[str, ...] | None = None
    team_ids: tuple[str, ...] | None = None
    organization_ids: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    """By the model group that was asked for, or the model that answered."""


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the feed. `next` is the cursor to go on from: it equals the one given when there is nothing new."""

    events: tuple[CommittedEvent, ...]
    next: str


class SumRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a report: the group's values by column name, and the counters (`batch.COUNTERS`)."""

    group: dict[str, str]
    requests: int
    successful_requests: int
    failed_requests: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_nano_usd: int


EntityRef = tuple[str, str, str]
"""Entity type (`batch.ENTITY_TYPES`), entity id, and member id or ''."""

GroupBy = Literal["key", "user", "team", "organization", "model_group", "model", "provider", "endpoint", "day"]
EntityDayType = Literal["end_user", "tag"]

CUBE_GROUPS: Final = ("day", "key", "user", "team", "organization", "model_group", "model", "provider", "endpoint")
ENTITY_DAY_GROUPS: Final = ("day", "entity_id", "model_group", "model", "provider", "endpoint")


class LedgerReader(Protocol):
    """What reports read."""

    async def events_after(self, cursor: str, *, limit: int, where: EventFilter) -> EventPage:
        """Return up to `limit` events committed after `cursor` ('' is the beginning), in the order of commits.

        Every committed event appears exactly once in the feed of a reader that follows `next`, however many producers
        commit at the same time. Raises BadRequest for a cursor that is none, StoreUnavailable.
        """

    async def latest_events(self, *, limit: int, where: EventFilter, offset: int = 0) -> tuple[CommittedEvent, ...]:
        """Return the newest events by `started_at`, newest first, without the first `offset` of them."""

    async def count_events(self, *, at_most: int, where: EventFilter) -> int:
        """Return how many events there are; counting ends at `at_most`."""

    async def total(self, entity_type: str, entity_id: str, member_id: str = "") -> SumRow:
        """Return the running sum of one entity (`batch.ENTITY_TYPES`); zeros for one that never spent."""

    async def totals(self, entity_type: str, *, limit: int) -> tuple[SumRow, ...]:
        """Return the running sums of one type, dearest first. Groups are named `entity_id` and `member_id`."""

    async def spend_of(self, entities: Sequence[EntityRef]) -> dict[EntityRef, int]:
        """Return what each entity has spent in all, in nano-USD; 0 for one that never spent."""

    async def daily(
        self, *, group_by: GroupBy, first: date, last: date, limit: int, key_hash: str | None = None
    ) -> tuple[SumRow, ...]:
        """Return the cube's sums over the days `first` to `last` (inclusive) by one column, dearest first.

        `day` is sorted by day instead. The group is named as `group_by` says; its value is '' where there was none.
        """

    async def activity(self, *, where: ActivityFilter, first: date, last: date, limit: int) -> tuple[SumRow, ...]:
        """Return the cube's sums over each of the days `first` to `last` by all of `CUBE_GROUPS`, in their order.

        At most `limit` rows: who gets as many has not got all.
        """

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
        """Return the same of end users or tags, by `ENTITY_DAY_GROUPS`. `models` as in ActivityFilter."""


class ProducerAudit(msgspec.Struct, frozen=True, kw_only=True):
    """What the store holds of one producer."""

    producer_id: str
    watermark: int
    events: int
    dead_letters: int


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A place where the ledger does not add up: which table, which row, which column, what is there, what follows."""

    table: str
    row: str
    column: str
    found: int
    expected: int


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a recomputation. `differences` is cut at the limit asked for; `difference_count` is not."""

    events: int
    dead_letters: int
    cost_nano_usd: int
    dead_letter_cost_nano_usd: int
    producers: tuple[ProducerAudit, ...]
    differences: tuple[Difference, ...]
    difference_count: int


class LedgerAuditor(Protocol):
    """Recomputes every sum from the events."""

    async def audit(self, *, difference_limit: int = 100) -> Audit:
        """Recompute, in one snapshot, while commits go on.

        Compared: per producer, events + dead letters = watermark and the numbers 1 … watermark each exactly once; the
        rows of `commits` against the events; `totals`, `daily_spend` and `daily_entity_spend` against Σ events, each
        counter; no event id twice.
        """

    async def repair(self) -> int:
        """Rebuild every sum from the events, keeping commits out meanwhile; return the number of rows changed."""
