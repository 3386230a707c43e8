"""What instances do together, put together: who leads, the leader's jobs, and the buffer in Redis."""

from __future__ import annotations

import os
import platform
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from tallystick.bootstrap.stores import Store
from tallystick.config.redis_address import RedisAddress
from tallystick.config.settings import Settings
from tallystick.errors import ConfigError, StoreError
from tallystick.ledger.buffer import Buffer
from tallystick.ledger.buffered import BufferedLedger
from tallystick.ledger.drain import Drain
from tallystick.ledger.store import LedgerStore
from tallystick.runtime.clock import Clock
from tallystick.runtime.ids import new_event_id
from tallystick.runtime.leadership import Leadership, LeadershipStatus
from tallystick.runtime.masking import mask_text
from tallystick.runtime.service import Service, SupervisedLoop
from tallystick.runtime.telemetry import Metrics

if TYPE_CHECKING:
    from tallystick.stores.redis.connection import Client

log = structlog.get_logger(__name__)

_LEADERSHIP: Final = "jobs"
# An answer may carry 16 MB, and nobody's call waits for it.
_REDIS_SECONDS_MIN: Final = 1.0
_HOUR: Final = 3600.0
_NEVER_LEADS: Final = LeadershipStatus(name=_LEADERSHIP, is_leader=False, term=0, holder="")


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedWork:
    """What one worker has of it."""

    ledger: LedgerStore
    """Where its committers deliver to."""
    leadership: Leadership | None
    """None in read-only mode: all that a leader does is written."""
    buffered: BufferedLedger | None
    connection: Service | None

    @property
    def before(self) -> Sequence[Service]:
        """What is started before the ledger, and stopped behind it.

        In read-only mode the buffer is: there nothing can be committed directly, not even at the end.
        """
        return _those_that_are(self.connection, None if self.leadership else self.buffered)

    @property
    def behind(self) -> Sequence[Service]:
        """What is started behind the ledger and stopped before it: at its end a ledger commits directly."""
        return _those_that_are(self.buffered if self.leadership else None, self.leadership)

    @property
    def is_leader(self) -> bool:
        """Whether this process leads."""
        return self.leadership is not None and self.leadership.is_leader

    def health(self) -> Mapping[str, object]:
        """Return what the page `/health` shows."""
        status = _NEVER_LEADS if self.leadership is None else self.leadership.status()
        return {
            "leadership": msgspec.structs.asdict(status),
            "redis_buffer": {"state": "off", "reason": ""} if self.buffered is None else asdict(self.buffered.status()),
        }


def build_shared_work(
    settings: Settings, *, store: Store, jobs: Sequence[Service] = (), clock: Clock, metrics: Metrics
) -> SharedWork:
    """Put it together; `jobs` are further ones of the leader's.

    Nothing is connected before its start. Raises ConfigError when a library is not installed.
    """
    shared = settings.instances
    of_leader = [*_jobs(settings, store=store, clock=clock, metrics=metrics), *jobs]
    address = settings.redis.address
    leaderships, buffered, connection = store.leaderships, None, None
    # All processes of a SQLite file are on one machine: they need nobody to tell who leads.
    if address is not None and store.ledger_id is not None:
        redis = _Redis(settings, address, ledger_id=store.ledger_id)
        connection = redis.service
        leaderships = redis.leaderships
        if shared.uses_redis_buffer:
            buffer = redis.buffer(bytes_max=shared.redis_buffer_bytes_max)
            drain = Drain(buffer=buffer, store=store.ledger, clock=clock, metrics=metrics)
            of_leader.append(SupervisedLoop("buffer_drain", drain.run, clock=clock, metrics=metrics))
            buffered = BufferedLedger(
                store=store.ledger,
                buffer=buffer,
                wait_seconds=shared.redis_buffer_wait_seconds,
                reads_standby=settings.read_only,
                clock=clock,
                metrics=metrics,
            )
    leadership = None
    if not settings.read_only:
        leadership = Leadership(
            _LEADERSHIP,
            store=leaderships,
            holder=f"{platform.node()}:{os.getpid()}:{new_event_id(clock.now())[-8:]}",
            jobs=of_leader,
            lease_seconds=shared.leader_lease_seconds,
            clock=clock,
            metrics=metrics,
        )
    return SharedWork(
        ledger=store.ledger if buffered is None else buffered,
        leadership=leadership,
        buffered=buffered,
        connection=connection,
    )


def _those_that_are(*services: Service | None) -> Sequence[Service]:
    return tuple(service for service in services if service is not None)


def _jobs(settings: Settings, *, store: Store, clock: Clock, metrics: Metrics) -> list[Service]:
    """Return what the leader does now and then; each job is harmless when two do it."""

    async def trim() -> None:
        await store.budgets.trim(ended_days=settings.budgets.windows_keep_days)

    hourly: dict[str, Callable[[], Awaitable[None]]] = {"budget_trimming": trim}
    if store.prepare is not None:
        hourly["event_partitions"] = store.prepare
    return [
        SupervisedLoop(name, _each_hour(name, work, clock), clock=clock, metrics=metrics)
        for name, work in hourly.items()
    ]


def _each_hour(name: str, work: Callable[[], Awaitable[None]], clock: Clock) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        while True:
            try:
                await work()
            except StoreError as error:
                log.warning("job_postponed", job=name, reason=mask_text(error.message))
                await clock.sleep(_HOUR / 60)
                continue
            await clock.sleep(_HOUR)

    return run


class _Redis:
    """What is kept in Redis, over one client."""

    def __init__(self, settings: Settings, address: RedisAddress, *, ledger_id: Callable[[], Awaitable[str]]) -> None:
        try:
            from tallystick.stores.redis.connection import close, connect
            from tallystick.stores.redis.leadership import RedisLeaderships
        except ImportError as error:
            raise ConfigError(
                f"Redis needs the package {error.name}: install tallystick[redis]", key_path="redis_url"
            ) from error
        self._timeout_seconds = max(_REDIS_SECONDS_MIN, settings.redis.socket_timeout_seconds)
        self._client = connect(address, timeout_seconds=self._timeout_seconds)
        self._ledger_id = ledger_id
        self._where = address.shown
        self._key_prefix = settings.redis.keys_begin_with
        self.service = _Connection(self._client, close)
        self.leaderships = RedisLeaderships(
            self._client,
            ledger_id=ledger_id,
            where=self._where,
            key_prefix=self._key_prefix,
            timeout_seconds=self._timeout_seconds,
        )

    def buffer(self, *, bytes_max: int) -> Buffer:
        from tallystick.stores.redis.buffer import RedisBuffer

        return RedisBuffer(
            self._client,
            ledger_id=self._ledger_id,
            where=self._where,
            key_prefix=self._key_prefix,
            bytes_max=bytes_max,
            timeout_seconds=self._timeout_seconds,
        )


class _Connection:
    """A `Service`: closes the client at the end."""

    name = "redis"

    def __init__(self, client: Client, close: Callable[[Client], Awaitable[None]]) -> None:
        self._client = client
        self._close = close

    async def start(self) -> None:
        """Nothing: the first command connects."""

    async def stop(self) -> None:
        """Close the connections."""
        await self._close(self._client)
