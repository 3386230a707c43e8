"""The key cache: known keys always, unknown keys never for long, stale rows never."""

from __future__ import annotations

import asyncio
import hashlib
import time
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from gated_store import NOW, GatedControlStore, held, team_member
from tallystick.access.authenticator import Authenticator
from tallystick.access.keys import hash_key
from tallystick.access.principal import MASTER_KEY_HASH
from tallystick.control.feed import ChangeFeed
from tallystick.control.objects import Kind, ObjectRef
from tallystick.errors import AuthenticationFailed, StoreUnavailable
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock

MASTER = "sk-the-master-key-of-this-test"
KEY = "sk-a-virtual-key-of-this-test"
HASH = hash_key(KEY)


def row(key=KEY, **fields):
    return held(Kind.KEY, hash_key(key), **fields)


class Bench:
    def __init__(self, **settings):
        self.clock = FakeClock(NOW)
        self.store = GatedControlStore(clock=self.clock)
        self.metrics = Metrics()
        self.authenticator = Authenticator(
            self.store, master_key_hash=hash_key(MASTER), clock=self.clock, metrics=self.metrics, **settings
        )
        self.feed = ChangeFeed(self.store, (self.authenticator,), clock=self.clock, metrics=self.metrics)

    async def put(self, *objects):
        """Write as an admin does: answered when it is in force here."""
        await self.feed.catch_up(await self.store.put(*objects))

    async def refused(self, token):
        with pytest.raises(AuthenticationFailed) as caught:
            await self.authenticator.authenticate(token)
        assert caught.value.http_status == 401
        message = str(caught.value)
        assert message.startswith("Authentication Error")
        assert not token or len(token) < 8 or token not in message
        return message

    async def reading(self, count=1):
        """Let callers run until so many reads are held at the gate."""
        for _ in range(20):
            if self.store.reading >= count:
                return
            await asyncio.sleep(0)
        pytest.fail("nobody reads")

    def counted(self, line: str) -> bool:
        return line in self.metrics.render().decode()


@pytest.fixture
def bench():
    with capture_logs():
        yield Bench()


async def test_a_known_key_is_read_once(bench):
    await bench.store.put(row(user_id="u", name="a", spec={"models": ["m"]}))
    assert bench.authenticator.lookup_cached(KEY) is None
    principal = await bench.authenticator.authenticate(KEY)
    assert (principal.key_hash, principal.user_id, principal.models.key) == (HASH, "u", ("m",))
    assert bench.authenticator.lookup_cached(KEY) == principal
    assert await bench.authenticator.authenticate(KEY) == principal
    assert bench.store.finds == [HASH]
    assert bench.counted("tallystick_key_cache_hits_total 2.0")
    assert bench.counted("tallystick_key_cache_misses_total 1.0")
    assert bench.counted("tallystick_key_cache_entries 1.0")


async def test_the_master_key_needs_no_store(bench):
    bench.store.away = True
    principal = await bench.authenticator.authenticate(MASTER)
    assert principal.is_admin
    assert (principal.key_hash, principal.key_alias) == (MASTER_KEY_HASH, "master")
    assert bench.store.finds == []
    assert bench.authenticator.hash_of(MASTER) == MASTER_KEY_HASH
    assert bench.authenticator.hash_of(KEY) == HASH == bench.authenticator.hash_of(HASH)


async def test_without_a_master_key_nothing_is_the_master_key():
    clock = FakeClock()
    authenticator = Authenticator(GatedControlStore(clock=clock), master_key_hash="", clock=clock, metrics=Metrics())
    with pytest.raises(AuthenticationFailed):
        await authenticator.authenticate(MASTER)
    with pytest.raises(AuthenticationFailed):
        await authenticator.authenticate("")


async def test_refusals_say_why_and_never_the_key(bench):
    assert "No api key passed in" in await bench.refused(None)
    assert "No api key passed in" in await bench.refused("")
    assert "expected" in await bench.refused("some-other-kind-of-key")
    assert "expected" in await bench.refused("sk-" + "x" * 10_000)
    assert bench.store.finds == []
    assert "Invalid proxy server token passed" in await bench.refused(KEY)
    await bench.store.put(row("sk-blocked-blocked", blocked=True))
    assert "blocked" in await bench.refused("sk-blocked-blocked")
    await bench.store.put(row("sk-expired-expired", expires_at=NOW))
    assert "expired at 2026-05-01" in await bench.refused("sk-expired-expired")
    for reason in ("malformed", "missing"):
        assert bench.counted(f'tallystick_auth_failures_total{{reason="{reason}"}} 2.0')


async def test_a_cached_key_expires_by_the_clock(bench):
    await bench.store.put(row(expires_at=NOW + timedelta(seconds=60)))
    await bench.authenticator.authenticate(KEY)
    bench.clock.advance(59.9)
    assert bench.authenticator.lookup_cached(KEY) is not None
    bench.clock.advance(0.1)
    assert bench.authenticator.lookup_cached(KEY) is None
    bench.store.away = True
    assert "expired" in await bench.refused(KEY)


async def test_a_blocked_key_stays_refused_while_the_store_is_away(bench):
    await bench.store.put(row(blocked=True))
    await bench.refused(KEY)
    bench.store.away = True
    bench.clock.advance(3_600)
    await bench.refused(KEY)


async def test_callers_of_one_key_share_one_read(bench):
    await bench.store.put(row())
    bench.store.gate = asyncio.Event()
    callers = [asyncio.create_task(bench.authenticator.authenticate(KEY)) for _ in range(50)]
    await bench.reading()
    bench.store.gate.set()
    principals = await asyncio.gather(*callers)
    assert {principal.key_hash for principal in principals} == {HASH}
    assert bench.store.finds == [HASH]


async def test_when_the_reading_caller_leaves_another_reads(bench):
    await bench.store.put(row())
    bench.store.gate = asyncio.Event()
    first, second, third = (asyncio.create_task(bench.authenticator.authenticate(KEY)) for _ in range(3))
    await bench.reading()
    first.cancel()
    third.cancel()
    await asyncio.sleep(0)
    bench.store.gate.set()
    assert (await second).key_hash == HASH
    assert bench.store.finds == [HASH, HASH]
    assert first.cancelled()
    assert third.cancelled()


@pytest.mark.parametrize("how", ["blocked", "deleted"])
async def test_a_key_blocked_while_it_is_being_authenticated_is_not_let_in(bench, how):
    await bench.put(row())
    bench.store.gate = asyncio.Event()
    caller = asyncio.create_task(bench.authenticator.authenticate(KEY))
    await bench.reading()
    if how == "blocked":
        await bench.put(row(blocked=True))
    else:
        await bench.feed.catch_up(await bench.store.remove(ObjectRef(Kind.KEY, HASH)))
    bench.store.gate.set()
    with pytest.raises(AuthenticationFailed):
        await caller
    assert bench.authenticator.lookup_cached(KEY) is None
    assert bench.store.finds == [HASH, HASH]


async def test_a_team_blocked_while_its_key_is_being_authenticated_counts(bench):
    team = held(Kind.TEAM, "t")
    await bench.put(team, row(team_id="t"))
    bench.store.gate = asyncio.Event()
    caller = asyncio.create_task(bench.authenticator.authenticate(KEY))
    await bench.reading()
    await bench.put(held(Kind.TEAM, "t", blocked=True))
    bench.store.gate.set()
    with pytest.raises(AuthenticationFailed, match="Team 't' is blocked"):
        await caller
    assert bench.store.finds == [HASH, HASH]


async def test_a_change_of_something_else_does_not_repeat_the_read(bench):
    await bench.put(row(team_id="t"), held(Kind.TEAM, "t"))
    bench.store.gate = asyncio.Event()
    caller = asyncio.create_task(bench.authenticator.authenticate(KEY))
    await bench.reading()
    await bench.put(row("sk-some-other-key"), held(Kind.TEAM, "other"))
    bench.store.gate.set()
    await caller
    assert bench.store.finds == [HASH]
    assert bench.authenticator.lookup_cached(KEY) is not None


async def test_a_row_that_never_comes_to_rest_is_used_but_not_kept(bench):
    await bench.store.put(row())
    find_key = bench.store.find_key

    async def restless(key_hash):
        found = await find_key(key_hash)
        bench.authenticator.invalidate_all()
        return found

    bench.store.find_key = restless
    assert (await bench.authenticator.authenticate(KEY)).key_hash == HASH
    assert bench.authenticator.lookup_cached(KEY) is None
    assert len(bench.store.finds) == 3


async def test_an_unknown_key_does_not_hammer_the_store(bench):
    for _ in range(100):
        await bench.refused(KEY)
    assert len(bench.store.finds) == 1
    bench.clock.advance(1.0)
    await bench.refused(KEY)
    assert len(bench.store.finds) == 2


async def test_a_key_made_a_moment_after_it_was_refused_is_good_at_once(bench):
    await bench.feed.poll()
    await bench.refused(KEY)
    await bench.put(row())
    assert (await bench.authenticator.authenticate(KEY)).key_hash == HASH


async def test_outage_known_keys_are_served_and_unknown_ones_get_503(bench):
    await bench.put(row())
    await bench.authenticator.authenticate(KEY)
    bench.store.away = True
    for _ in range(10):
        await bench.feed.poll()
    assert (await bench.authenticator.authenticate(KEY)).key_hash == HASH
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as caught:
            await bench.authenticator.authenticate("sk-never-seen-before")
        assert caught.value.http_status == 503


async def test_waiting_callers_all_hear_of_the_outage(bench):
    bench.store.gate = asyncio.Event()
    callers = [asyncio.create_task(bench.authenticator.authenticate(KEY)) for _ in range(5)]
    await bench.reading()
    bench.store.away = True
    bench.store.gate.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)


async def test_look_ups_are_bounded(bench):
    bench.store.gate = asyncio.Event()
    callers = [asyncio.create_task(bench.authenticator.authenticate(f"sk-unknown-{n}")) for n in range(1_100)]
    await bench.reading(25)
    assert bench.store.reading == 25
    refused_at_once = [caller for caller in callers if caller.done()]
    assert len(refused_at_once) == 1_100 - 1_025
    bench.store.gate.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert sum(isinstance(outcome, StoreUnavailable) for outcome in outcomes) == 75
    assert sum(isinstance(outcome, AuthenticationFailed) for outcome in outcomes) == 1_025
    assert bench.store.reading_peak == 25
    assert bench.counted("tallystick_auth_lookups_rejected_total 75.0")


async def test_a_look_up_that_takes_too_long_is_given_up():
    bench = Bench(lookup_timeout_seconds=0.0)
    bench.store.gate = asyncio.Event()
    with pytest.raises(StoreUnavailable):
        await bench.authenticator.authenticate(KEY)
    assert bench.store.reading == 0
    assert bench.counted("tallystick_auth_lookups_rejected_total 1.0")


async def test_the_cache_drops_the_key_used_longest_ago():
    bench = Bench(cache_max=2)
    names = ["sk-first-first-first", "sk-second-second-second", "sk-third-third-third"]
    await bench.store.put(*(row(name) for name in names))
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


ORGANIZATION = held(Kind.ORGANIZATION, "o", spec={"models": ["m"]})
TEAM = held(Kind.TEAM, "t", organization_id="o", spec={"models": ["m"]})
USER = held(Kind.USER, "u")
MEMBER = team_member("t", "u", models=["m"])


@pytest.mark.parametrize(
    "changed",
    [
        held(Kind.ORGANIZATION, "o", spec={"models": ["m", "n"]}),
        held(Kind.TEAM, "t", organization_id="o", spec={"tags": ["x"]}),
        held(Kind.USER, "u", blocked=True),
        team_member("t", "u", models=["m", "n"]),
        row(team_id="t", user_id="u", spec={"models": ["n"]}),
    ],
    ids=lambda changed: changed.kind.value,
)
async def test_a_change_of_what_a_key_stands_for_is_in_force(bench, changed):
    await bench.put(ORGANIZATION, TEAM, USER, MEMBER, row(team_id="t", user_id="u"))
    before = await bench.authenticator.authenticate(KEY)
    await bench.put(changed)
    assert bench.authenticator.lookup_cached(KEY) is None
    try:
        after = await bench.authenticator.authenticate(KEY)
    except AuthenticationFailed:
        assert changed.blocked
    else:
        assert (after.models, after.tags) != (before.models, before.tags)


@pytest.mark.parametrize("made", [USER, MEMBER, ORGANIZATION, TEAM], ids=lambda made: made.kind.value)
async def test_what_is_made_after_the_key_was_read_counts_too(bench, made):
    """A key may name a user that has no row yet, and a team may be deleted and made again."""
    others = [each for each in (ORGANIZATION, TEAM, USER, MEMBER) if each is not made]
    await bench.put(*others, row(team_id="t", user_id="u", organization_id="o"))
    finds = len(bench.store.finds)
    try:
        await bench.authenticator.authenticate(KEY)
    except AuthenticationFailed:
        assert made is TEAM
    await bench.put(made)
    await bench.authenticator.authenticate(KEY)
    assert len(bench.store.finds) == finds + 2


async def test_a_deleted_team_takes_its_keys_along(bench):
    await bench.put(TEAM, row(team_id="t"))
    await bench.authenticator.authenticate(KEY)
    await bench.feed.catch_up(await bench.store.remove(TEAM.ref))
    assert "team 't' does not exist any more" in await bench.refused(KEY)


async def test_a_regenerated_key_leads_to_its_new_self_until_the_grace_ends(bench):
    new = hash_key("sk-the-new-one")
    await bench.put(row("sk-the-new-one", spec={"tags": ["now"]}))
    grace = NOW + timedelta(seconds=60)
    await bench.put(held(Kind.RETIRED_KEY, HASH, expires_at=grace, spec={"key_hash": new}))
    old = await bench.authenticator.authenticate(KEY)
    assert (old.key_hash, old.tags, old.expires_at) == (new, ("now",), grace)
    await bench.put(held(Kind.KEY, new, blocked=True))
    assert "blocked" in await bench.refused(KEY)
    await bench.put(held(Kind.KEY, new))
    await bench.authenticator.authenticate(KEY)
    bench.clock.advance(60)
    assert "expired" in await bench.refused(KEY)


async def test_the_index_of_dependencies_holds_nothing_of_forgotten_keys():
    bench = Bench(cache_max=10)
    await bench.put(TEAM, ORGANIZATION)
    for number in range(50):
        token = f"sk-number-{number}"
        await bench.put(row(token, team_id="t", user_id=f"u{number}"))
        await bench.authenticator.authenticate(token)
    index = bench.authenticator._dependents
    assert len(bench.authenticator._entries) == 10
    # For each cached key: itself, its user, two memberships; and for all of them the team and the organization.
    assert len(index) == 10 * 4 + 2
    assert len(index[TEAM.ref]) == 10
    await bench.put(held(Kind.TEAM, "t", organization_id="o", blocked=True))
    assert index == {}
    assert len(bench.authenticator._entries) == 0


async def test_the_hot_path_costs_microseconds(bench):
    await bench.store.put(row(expires_at=NOW + timedelta(days=1)))
    await bench.authenticator.authenticate(KEY)
    lookup_cached = bench.authenticator.lookup_cached
    best = min(_seconds_of(lookup_cached) for _ in range(20))
    # Beside the hash alone, which no look-up can do without, so that a slow machine does not fail the test.
    floor = min(_seconds_of(lambda token: hashlib.sha256(token.encode()).hexdigest()) for _ in range(20))
    print(f"look-up {best * 1e6:.2f} µs, hash {floor * 1e6:.2f} µs")
    assert best < 8 * floor


def _seconds_of(work, times=2_000):
    begun = time.perf_counter()
    for _ in range(times):
        work(KEY)
    return (time.perf_counter() - begun) / times
