"""The key cache: known keys always, unknown keys never for long, stale rows never."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from structlog.testing import capture_logs
from tallystick.access.key_feed import KeyFeed

from tallystick.access.authenticator import Authenticator
from tallystick.access.keys import VirtualKey, hash_key
from tallystick.access.principal import MASTER_KEY_HASH
from tallystick.access.store import KeyChange
from tallystick.errors import AuthenticationFailed, StoreUnavailable
from tallystick.runtime.telemetry import Metrics

NOW = datetime(2026, 5, 1, tzinfo=UTC)
MASTER = "sk-the-master-key-of-this-test"
KEY = "sk-a-virtual-key-of-this-test"
HASH = hash_key(KEY)


@dataclass
class HeldClock:
    seconds: float = 0.0

    def now(self):
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self):
        return self.seconds

    async def sleep(self, seconds):
        self.seconds += seconds
        await asyncio.sleep(0)


@dataclass
class GatedKeys:
    """A key store whose reads can be held between reading the row and returning it, and which can be away."""

    rows: dict[str, VirtualKey] = field(default_factory=dict)
    changes: list[KeyChange] = field(default_factory=list)
    finds: list[str] = field(default_factory=list)
    is_away: bool = False
    gate: asyncio.Event | None = None
    reading: int = 0
    reading_peak: int = 0
    base: int = 0

    def put(self, key: VirtualKey) -> None:
        self.rows[key.key_hash] = key
        self.changes.append(KeyChange(revision=self.base + len(self.changes) + 1, key_hash=key.key_hash))

    async def find(self, key_hash):
        self.finds.append(key_hash)
        self._require()
        row = self.rows.get(key_hash)
        if self.gate is not None:
            self.reading += 1
            self.reading_peak = max(self.reading_peak, self.reading)
            try:
                await self.gate.wait()
            finally:
                self.reading -= 1
            self._require()
        return row

    async def revision(self):
        self._require()
        return self.changes[-1].revision if self.changes else self.base

    async def changes_after(self, revision, *, limit):
        self._require()
        return tuple(change for change in self.changes if change.revision > revision)[:limit]

    def _require(self):
        if self.is_away:
            raise StoreUnavailable


def row(key=KEY, **fields) -> VirtualKey:
    return VirtualKey(key_hash=hash_key(key), key_name="sk-...test", created_at=NOW, updated_at=NOW, **fields)


class Bench:
    def __init__(self, **settings):
        self.clock = HeldClock()
        self.keys = GatedKeys()
        self.metrics = Metrics()
        self.authenticator = Authenticator(
            self.keys, master_key_hash=hash_key(MASTER), clock=self.clock, metrics=self.metrics, **settings
        )
        self.feed = KeyFeed(self.keys, self.authenticator, clock=self.clock, metrics=self.metrics)

    async def refused(self, token):
        with pytest.raises(AuthenticationFailed) as caught:
            await self.authenticator.authenticate(token)
        assert caught.value.http_status == 401
        message = str(caught.value)
        assert message.startswith("Authentication Error")
        assert not token or len(token) < 8 or token not in message
        return message

    def counted(self, line: str) -> bool:
        return line in self.metrics.render().decode()


@pytest.fixture
def bench():
    with capture_logs():
        yield Bench()


async def test_a_known_key_is_read_once(bench):
    bench.keys.put(row(user_id="u", models=("m",), key_alias="a"))
    assert bench.authenticator.lookup_cached(KEY) is None
    principal = await bench.authenticator.authenticate(KEY)
    assert (principal.key_hash, principal.user_id, principal.models) == (HASH, "u", ("m",))
    assert bench.authenticator.lookup_cached(KEY) == principal
    assert await bench.authenticator.authenticate(KEY) == principal
    assert bench.keys.finds == [HASH]
    assert bench.counted("tallystick_key_cache_hits_total 2.0")
    assert bench.counted("tallystick_key_cache_misses_total 1.0")
    assert bench.counted("tallystick_key_cache_entries 1.0")


async def test_the_master_key_needs_no_store(bench):
    bench.keys.is_away = True
    principal = await bench.authenticator.authenticate(MASTER)
    assert principal.is_admin
    assert (principal.key_hash, principal.key_alias) == (MASTER_KEY_HASH, "master")
    assert bench.keys.finds == []
    assert bench.authenticator.hash_of(MASTER) == MASTER_KEY_HASH
    assert bench.authenticator.hash_of(KEY) == HASH == bench.authenticator.hash_of(HASH)


async def test_without_a_master_key_nothing_is_the_master_key():
    authenticator = Authenticator(GatedKeys(), master_key_hash="", clock=HeldClock(), metrics=Metrics())
    with pytest.raises(AuthenticationFailed):
        await authenticator.authenticate(MASTER)
    with pytest.raises(AuthenticationFailed):
        await authenticator.authenticate("")


async def test_refusals_say_why_and_never_the_key(bench):
    assert "No api key passed in" in await bench.refused(None)
    assert "No api key passed in" in await bench.refused("")
    assert "expected" in await bench.refused("some-other-kind-of-key")
    assert "expected" in await bench.refused("sk-" + "x" * 10_000)
    assert bench.keys.finds == []
    assert "Invalid proxy server token passed" in await bench.refused(KEY)
    bench.keys.put(row("sk-blocked-blocked", blocked=True))
    assert "blocked" in await bench.refused("sk-blocked-blocked")
    bench.keys.put(row("sk-expired-expired", expires_at=NOW))
    assert "expired at 2026-05-01" in await bench.refused("sk-expired-expired")
    for reason in ("malformed", "missing"):
        assert bench.counted(f'tallystick_auth_failures_total{{reason="{reason}"}} 2.0')


async def test_a_cached_key_expires_by_the_clock(bench):
    bench.keys.put(row(expires_at=NOW + timedelta(seconds=60)))
    await bench.authenticator.authenticate(KEY)
    bench.clock.seconds = 59.9
    assert bench.authenticator.lookup_cached(KEY) is not None
    bench.clock.seconds = 60
    assert bench.authenticator.lookup_cached(KEY) is None
    bench.keys.is_away = True
    assert "expired" in await bench.refused(KEY)


async def test_a_blocked_key_stays_refused_while_the_store_is_away(bench):
    bench.keys.put(row(blocked=True))
    await bench.refused(KEY)
    bench.keys.is_away = True
    bench.clock.seconds = 3_600
    await bench.refused(KEY)


async def test_callers_of_one_key_share_one_read(bench):
    bench.keys.put(row())
    bench.keys.gate = asyncio.Event()
    callers = [asyncio.create_task(bench.authenticator.authenticate(KEY)) for _ in range(50)]
    await asyncio.sleep(0)
    bench.keys.gate.set()
    principals = await asyncio.gather(*callers)
    assert len(set(map(id, principals))) <= 50
    assert bench.keys.finds == [HASH]


async def test_when_the_reading_caller_leaves_another_reads(bench):
    bench.keys.put(row())
    bench.keys.gate = asyncio.Event()
    first, second, third = (asyncio.create_task(bench.authenticator.authenticate(KEY)) for _ in range(3))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    third.cancel()
    await asyncio.sleep(0)
    bench.keys.gate.set()
    assert (await second).key_hash == HASH
    assert bench.keys.finds == [HASH, HASH]
    assert first.cancelled()
    assert third.cancelled()


async def test_a_row_read_before_a_change_is_not_kept(bench):
    bench.keys.put(row())
    bench.keys.gate = asyncio.Event()
    caller = asyncio.create_task(bench.authenticator.authenticate(KEY))
    await asyncio.sleep(0)
    bench.keys.put(row(blocked=True))
    bench.authenticator.invalidate(HASH)
    bench.keys.gate.set()
    with pytest.raises(AuthenticationFailed, match="blocked"):
        await caller
    assert bench.authenticator.lookup_cached(KEY) is None
    assert bench.keys.finds == [HASH, HASH]


async def test_a_row_that_never_comes_to_rest_is_used_but_not_kept(bench):
    bench.keys.put(row())
    find = bench.keys.find

    async def restless(key_hash):
        found = await find(key_hash)
        bench.authenticator.invalidate_all()
        return found

    bench.keys.find = restless
    assert (await bench.authenticator.authenticate(KEY)).key_hash == HASH
    assert bench.authenticator.lookup_cached(KEY) is None
    assert len(bench.keys.finds) == 3


async def test_an_unknown_key_does_not_hammer_the_store(bench):
    for _ in range(100):
        await bench.refused(KEY)
    assert len(bench.keys.finds) == 1
    bench.clock.seconds = 1.0
    await bench.refused(KEY)
    assert len(bench.keys.finds) == 2


async def test_a_key_made_a_moment_after_it_was_refused_is_good_at_once(bench):
    await bench.feed.poll()
    await bench.refused(KEY)
    bench.keys.put(row())
    await bench.feed.poll()
    assert (await bench.authenticator.authenticate(KEY)).key_hash == HASH


async def test_outage_known_keys_are_served_and_unknown_ones_get_503(bench):
    bench.keys.put(row())
    await bench.authenticator.authenticate(KEY)
    await bench.feed.poll()
    # The first poll forgets what was cached before its revision was known.
    await bench.authenticator.authenticate(KEY)
    bench.keys.is_away = True
    for _ in range(10):
        await bench.feed.poll()
    assert (await bench.authenticator.authenticate(KEY)).key_hash == HASH
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as caught:
            await bench.authenticator.authenticate("sk-never-seen-before")
        assert caught.value.http_status == 503


async def test_waiting_callers_all_hear_of_the_outage(bench):
    bench.keys.gate = asyncio.Event()
    callers = [asyncio.create_task(bench.authenticator.authenticate(KEY)) for _ in range(5)]
    await asyncio.sleep(0)
    bench.keys.is_away = True
    bench.keys.gate.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)


async def test_look_ups_are_bounded(bench):
    bench.keys.gate = asyncio.Event()
    callers = [asyncio.create_task(bench.authenticator.authenticate(f"sk-unknown-{n}")) for n in range(1_100)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert bench.keys.reading == 25
    refused_at_once = [caller for caller in callers if caller.done()]
    assert len(refused_at_once) == 1_100 - 1_025
    bench.keys.gate.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert sum(isinstance(outcome, StoreUnavailable) for outcome in outcomes) == 75
    assert sum(isinstance(outcome, AuthenticationFailed) for outcome in outcomes) == 1_025
    assert bench.keys.reading_peak == 25
    assert bench.counted("tallystick_auth_lookups_rejected_total 75.0")


async def test_a_look_up_that_takes_too_long_is_given_up():
    bench = Bench(lookup_timeout_seconds=0.0)
    bench.keys.gate = asyncio.Event()
    with pytest.raises(StoreUnavailable):
        await bench.authenticator.authenticate(KEY)
    assert bench.keys.reading == 0
    assert bench.counted("tallystick_auth_lookups_rejected_total 1.0")


async def test_the_cache_drops_the_key_used_longest_ago():
    bench = Bench(cache_max=2)
    names = ["sk-first-first-first", "sk-second-second-second", "sk-third-third-third"]
    for name in names:
        bench.keys.put(row(name))
    await bench.authenticator.authenticate(names[0])
    await bench.authenticator.authenticate(names[1])
    assert bench.authenticator.lookup_cached(names[0])
    await bench.authenticator.authenticate(names[2])
    assert [bench.authenticator.lookup_cached(name) is not None for name in names] == [True, False, True]
    assert bench.counted("tallystick_key_cache_entries 2.0")


async def test_unknown_keys_take_bounded_memory(bench):
    for number in range(10_100):
        await bench.refused(f"sk-guess-{number:08}")
    assert len(bench.authenticator._unknown) == 10_000


async def test_the_feed_puts_changes_in_force(bench):
    bench.keys.put(row())
    await bench.feed.poll()
    assert bench.feed.revision == 1
    await bench.authenticator.authenticate(KEY)
    bench.keys.put(row(blocked=True))
    assert bench.authenticator.lookup_cached(KEY)
    await bench.feed.poll()
    assert bench.authenticator.lookup_cached(KEY) is None
    assert bench.feed.revision == 2
    assert bench.counted("tallystick_change_feed_revision 2.0")


async def test_the_feed_goes_on_from_its_revision_after_an_outage(bench):
    bench.keys.put(row())
    other = "sk-another-key-of-this-test"
    bench.keys.put(row(other))
    await bench.feed.poll()
    await bench.authenticator.authenticate(KEY)
    await bench.authenticator.authenticate(other)
    bench.keys.is_away = True
    await bench.feed.poll()
    bench.keys.is_away = False
    bench.keys.put(row(blocked=True))
    await bench.feed.poll()
    assert bench.authenticator.lookup_cached(KEY) is None
    assert bench.authenticator.lookup_cached(other)
    assert bench.counted("tallystick_change_feed_errors_total 1.0")


async def test_an_overflowing_feed_clears_the_cache(bench):
    bench.keys.put(row())
    await bench.feed.poll()
    await bench.authenticator.authenticate(KEY)
    for number in range(1_500):
        bench.keys.put(row(f"sk-other-{number}"))
    await bench.feed.poll()
    assert bench.authenticator.lookup_cached(KEY) is None
    assert bench.feed.revision == 1_501


async def test_a_feed_that_went_back_clears_the_cache(bench):
    bench.keys.base = 500
    bench.keys.put(row())
    await bench.feed.poll()
    await bench.authenticator.authenticate(KEY)
    bench.keys.is_away = True
    await bench.feed.poll()
    bench.keys.is_away, bench.keys.base, bench.keys.changes = False, 7, []
    await bench.feed.poll()
    assert bench.authenticator.lookup_cached(KEY) is None
    assert bench.feed.revision == 7


async def test_the_feed_polls_as_a_service_and_survives_a_broken_poll(bench):
    broken = True
    changes_after = bench.keys.changes_after

    async def sometimes(revision, *, limit):
        nonlocal broken
        if broken:
            broken = False
            raise ValueError("a bug")
        return await changes_after(revision, limit=limit)

    bench.keys.changes_after = sometimes
    await bench.feed.start()
    assert bench.feed.name == "key_feed"
    bench.keys.put(row())
    await turns_until(lambda: bench.feed.revision == 1)
    bench.keys.put(msgspec.structs.replace(row(), blocked=True))
    await turns_until(lambda: bench.feed.revision == 2)
    await bench.feed.stop()
    assert bench.feed.health().state == "stopped"


async def test_the_hot_path_costs_microseconds(bench):
    bench.keys.put(row(expires_at=NOW + timedelta(days=1)))
    await bench.authenticator.authenticate(KEY)
    lookup_cached = bench.authenticator.lookup_cached
    best = min(_seconds_of(lookup_cached) for _ in range(20))
    # Beside the hash alone, which no look-up can do without, so that a slow machine does not fail the test.
    floor = min(_seconds_of(lambda token: hashlib.sha256(token.encode()).hexdigest()) for _ in range(20))
    print(f"look-up {best * 1e6:.2f} µs, hash {floor * 1e6:.2f} µs")
    assert best < 8 * floor


async def turns_until(is_so, turns_max=1_000):
    for _ in range(turns_max):
        if is_so():
            return
        await asyncio.sleep(0)
    pytest.fail("it never came to that")


def _seconds_of(work, times=2_000):
    begun = time.perf_counter()
    for _ in range(times):
        work(KEY)
    return (time.perf_counter() - begun) / times
