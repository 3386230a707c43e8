"""The producer's side of the buffer: a ledger whose commits go through it, and past it whenever that is better.

Whatever happens to the buffer, a batch is committed: directly, when the buffer can't be reached, when nobody drains
it, when its answer takes too long. A batch that is committed on both ways counts once, because the watermark in the
database decides.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from tallystick.errors import StoreError
from tallystick.ledger.batch import Batch
from tallystick.ledger.buffer import Buffer, encode_batch
from tallystick.ledger.store import LedgerStore
from tallystick.runtime.clock import Clock
from tallystick.runtime.masking import mask_text
from tallystick.runtime.service import ServiceHealth, SupervisedLoop
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger(__name__)

ENTRY_EVENTS: Final = 500
"""So that writing an entry down takes a millisecond, and no entry keeps Redis busy for long."""
ENTRY_BYTES: Final = 1 << 20
"""A single event that is larger is committed directly."""
_PROBE_SECONDS: Final = 1.0
_LOOK_SECONDS_MIN: Final = 0.005
_LOOK_SECONDS_MAX: Final = 0.05
_FULL_SECONDS: Final = 0.1
_NOT_WRITABLE: Final = (UnicodeEncodeError, OverflowError, msgspec.EncodeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferStatus:
    """What health pages show."""

    state: str
    """`buffered`, or `direct`."""
    reason: str = ""
    """Why direct."""


class BufferedLedger:
    """A `LedgerStore` for committers, and a `Service`: until `start` and from `stop` on it commits directly.

    Nothing is taken for committed before the own database says so: a copy of it may have the same buffer.

    Where it can commit directly it is stopped before the committers drain: at the end nobody may be there who answers.
    """

    name = "redis_buffer"

    def __init__(
        self,
        *,
        store: LedgerStore,
        buffer: Buffer,
        wait_seconds: float,
        reads_standby: bool,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        """`wait_seconds`: so long may a batch go without an answer before it is committed directly.

        `reads_standby`: the database may get later what was committed, and what it says is waited for.
        """
        self._store = store
        self._buffer = buffer
        self._wait_seconds = wait_seconds
        self._reads_standby = reads_standby
        self._clock = clock
        self._outcomes = metrics.buffer_batches
        self._is_stopped = True
        self._away_because = ""
        self._undrained = False
        self._probing = SupervisedLoop("buffer_probe", self._probe_for_ever, clock=clock, metrics=metrics)

    async def start(self) -> None:
        """Commit through the buffer from now on, as soon as it is found to answer."""
        self._is_stopped = False
        self._away_because = "not tried yet"
        await self._probing.start()

    async def stop(self) -> None:
        """Commit directly from now on, also what waits for an answer."""
        self._is_stopped = True
        await self._probing.stop()

    def health(self) -> ServiceHealth:
        """Of the loop that looks whether the buffer is back; to commit directly is no fault."""
        return self._probing.health()

    def status(self) -> BufferStatus:
        """Tell which way commits go."""
        if self._is_stopped:
            return BufferStatus(state="direct", reason="not started")
        if self._away_because:
            return BufferStatus(state="direct", reason=self._away_because)
        if self._undrained:
            return BufferStatus(state="direct", reason="no instance drains the buffer")
        return BufferStatus(state="buffered")

    # LedgerStore

    async def watermark(self, producer_id: str) -> int:
        """`LedgerStore`: what the database says."""
        return await self._store.watermark(producer_id)

    async def commit_many(self, batches: Sequence[Batch]) -> dict[str, int]:
        """`LedgerStore`, directly."""
        return await self._store.commit_many(batches)

    async def commit(self, batch: Batch) -> int:
        """`LedgerStore`: returns when the database has the batch, by whichever way."""
        if not self._is_stopped and not self._away_because:
            deadline = self._clock.monotonic() + self._wait_seconds
            told = await self._told_by_buffer(batch, deadline)
            if told is not None and (watermark := await self._own_watermark(batch, told, deadline)) is not None:
                return watermark
        return await self._store.commit(batch)

    async def _told_by_buffer(self, batch: Batch, deadline: float) -> int | None:
        try:
            return await self._through_buffer(batch, deadline)
        except StoreError as error:
            self._go_away(error)
        except _NOT_WRITABLE:
            self._outcomes.labels("refused").inc()  # The database will say what is wrong with it.
        return None

    async def _own_watermark(self, batch: Batch, told: int, deadline: float) -> int | None:
        """Return the database's own watermark when it has what the answer tells; None when it has not."""
        while (watermark := await self._store.watermark(batch.producer_id)) < told:
            if not self._reads_standby or self._is_over(deadline):
                self._outcomes.labels("elsewhere").inc()
                log.error("committed_elsewhere", producer_id=batch.producer_id, told=told, watermark=watermark)
                return None
            await self._clock.sleep(_LOOK_SECONDS_MAX)
        return watermark

    async def _through_buffer(self, batch: Batch, deadline: float) -> int | None:
        """Return the watermark that answers the batch; None when it has to be committed directly."""
        while True:
            sent = await self._send(batch, deadline)
            if sent is None:
                return None
            outcome, watermark = await self._await_answer(batch, sent, deadline)
            self._outcomes.labels(outcome).inc()
            if outcome != "lost":
                return watermark

    async def _send(self, batch: Batch, deadline: float) -> _Sent | None:
        """Append the batch, in parts; None when that is not to be."""
        nonces: set[str] = set()
        entry_id = nonce = ""
        async for payload in _payloads(batch):
            if len(payload) > ENTRY_BYTES:
                self._outcomes.labels("refused").inc()
                return None
            nonce = secrets.token_hex(8)
            nonces.add(nonce)
            while (taken := await self._buffer.append(batch.producer_id, nonce, payload)) == "full":
                self._outcomes.labels("full").inc()
                if self._is_over(deadline):
                    self._outcomes.labels("overdue").inc()
                    return None
                await self._clock.sleep(_FULL_SECONDS)
            self._note_drained(is_drained=taken != "undrained")
            if taken == "undrained":
                self._outcomes.labels("undrained").inc()
                return None
            entry_id = taken
        return _Sent(entry_id=entry_id, nonce=nonce, nonces=frozenset(nonces))

    async def _await_answer(self, batch: Batch, sent: _Sent, deadline: float) -> tuple[str, int | None]:
        """Return what became of the entries, and the watermark if that is what the database has said of them."""
        pause = _LOOK_SECONDS_MIN
        while True:
            look = await self._buffer.look(batch.producer_id, sent.entry_id)
            answer = look.answer
            # Only an answer to what was sent now tells what the database has now: it may have been restored since.
            if answer is not None and answer.nonce in sent.nonces:
                if answer.is_refused:
                    return "refused", None
                if answer.watermark >= batch.last_seq or answer.nonce == sent.nonce:
                    return "buffered", answer.watermark
            if not look.is_there:
                return "lost", None
            self._note_drained(is_drained=look.is_drained)
            if not look.is_drained:
                return "undrained", None
            if self._is_over(deadline):
                return "overdue", None
            await self._clock.sleep(pause)
            pause = min(pause * 1.5, _LOOK_SECONDS_MAX)

    def _is_over(self, deadline: float) -> bool:
        return self._is_stopped or self._clock.monotonic() >= deadline

    # Away and back

    async def _probe_for_ever(self) -> None:
        """While the buffer is away, try it beside the commits, so that none of them waits for it."""
        while True:
            if self._away_because:
                try:
                    await self._buffer.size()
                except StoreError as error:
                    self._away_because = _reason(error)
                else:
                    log.info("buffer_answers")
                    self._away_because = ""
            await self._clock.sleep(_PROBE_SECONDS)

    def _go_away(self, error: StoreError) -> None:
        self._outcomes.labels("away").inc()
        self._away_because = _reason(error)
        log.warning("buffer_is_away", reason=self._away_because)

    def _note_drained(self, *, is_drained: bool) -> None:
        if self._undrained == is_drained:
            self._undrained = not is_drained
            log.info("buffer_drained" if is_drained else "buffer_undrained")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """What was appended of one batch; the last entry ends it."""

    entry_id: str
    nonce: str
    nonces: frozenset[str]


async def _payloads(batch: Batch) -> AsyncIterator[bytes]:
    """Write a batch down in parts that are not too large, if they can be helped, and in ascending order."""
    parts = [batch]
    while parts:
        part = parts.pop()
        count = part.last_seq - part.first_seq + 1
        payload = encode_batch(part) if count <= ENTRY_EVENTS else b""
        if count > 1 and (not payload or len(payload) > ENTRY_BYTES):
            first, second = part.halves()
            parts += [second, first]
            continue
        yield payload
        await asyncio.sleep(0)


def _reason(error: StoreError) -> str:
    return mask_text(error.message) or "it does not answer"
