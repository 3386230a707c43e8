"""Commits on PostgreSQL: racing, on hot rows, with data that it refuses, and the plans of what is asked most."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import asyncpg
import pytest

from ledger_kit import START, make_event
from tallystick.errors import RowRefused
from tallystick.ledger.batch import Batch, DeadLetter, batch_of
from tallystick.ledger.store import EventFilter
from tallystick.runtime.clock import SystemClock
from tallystick.stores.postgres.audit import PostgresAuditor
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.ledger import PostgresLedger
from tallystick.wire.usage import Usage


@pytest.fixture
async def instances(postgres_url):
    """Ledgers with connections of their own, as several processes have."""
    databases = [PostgresDatabase(postgres_url, clock=SystemClock()) for _ in range(4)]
    yield [PostgresLedger(database=database) for database in databases]
    for database in databases:
        await database.close()


async def no_difference(database, *, events):
    audit = await PostgresAuditor(database=database).audit()
    assert audit.differences == ()
    assert audit.events == events


async def test_two_committers_race_with_the_same_batches(instances, postgres_database):
    events = [make_event(end_user_id=f"c{number % 7}", tags=("a", "b")) for number in range(300)]
    batches = [batch_of("p", start + 1, events[start : start + 10]) for start in range(0, 300, 10)]

    async def deliver(ledger):
        for batch in batches:
            assert await ledger.commit(batch) >= batch.last_seq

    await asyncio.gather(*(deliver(ledger) for ledger in instances[:2]))
    await no_difference(postgres_database, events=300)
    assert (await instances[0].total("global", "")).requests == 300


async def test_four_producers_on_the_same_rows_never_lock_each_other_out(instances, postgres_database):
    """Each writes the same keys, users and tags, in another order within its batches."""

    async def deliver(number, ledger):
        for run in range(15):
            names = [f"n{(index * (2 * number + 1) + run) % 20}" for index in range(40)]
            if number % 2:
                names.reverse()
            events = [make_event(key_hash=name, user_id=name, end_user_id=name, tags=(name, "x")) for name in names]
            assert await ledger.commit(batch_of(f"p{number}", run * 40 + 1, events)) == (run + 1) * 40

    await asyncio.gather(*(deliver(number, ledger) for number, ledger in enumerate(instances)))
    await no_difference(postgres_database, events=4 * 15 * 40)
    async with postgres_database.connection() as connection:
        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert await connection.fetchval(deadlocks) == 0


REFUSED = {
    "a NUL character": {"user_agent": "a\x00b"},
    "a NUL character in a sum": {"user_id": "a\x00b"},
    "a NUL character in JSON": {"metadata": {"a": "b\x00c"}},
    "a lone surrogate": {"user_agent": "\ud800"},
    "a lone surrogate in a sum": {"end_user_id": "\ud800"},
    "a lone surrogate in JSON": {"metadata": {"a": "\ud800"}},
    "a number beyond 64 bits": {"cost_nano_usd": 2**63},
    "a quantity beyond 64 bits": {"usage": Usage(input_tokens=2**70)},
    "an id that is none": {"event_id": "not-a-uuid"},
    "a key longer than an index takes": {"end_user_id": "".join(chr(0x4E00 + n % 20000) for n in range(9000))},
    "a text that is none": {"user_agent": 5},
}


@pytest.mark.parametrize("name", REFUSED)
async def test_data_that_can_not_be_stored_is_refused_and_nothing_is_changed(postgres_database, name):
    ledger = PostgresLedger(database=postgres_database)
    events = [make_event(), make_event(**REFUSED[name]), make_event()]
    with pytest.raises(RowRefused):
        await ledger.commit(batch_of("p", 1, events))
    assert await ledger.watermark("p") == 0
    await no_difference(postgres_database, events=0)
    assert await ledger.commit(batch_of("p", 1, [make_event()])) == 1


async def test_an_event_id_seen_before_is_refused(postgres_database):
    ledger = PostgresLedger(database=postgres_database)
    event = make_event()
    await ledger.commit(batch_of("p", 1, [event]))
    with pytest.raises(RowRefused):
        await ledger.commit(batch_of("q", 1, [event]))


async def test_a_sum_that_would_overflow_is_refused(postgres_database):
    ledger = PostgresLedger(database=postgres_database)
    await ledger.commit(batch_of("p", 1, [make_event(cost_nano_usd=2**62)]))
    with pytest.raises(RowRefused):
        await ledger.commit(batch_of("p", 2, [make_event(cost_nano_usd=2**62)]))
    assert (await ledger.total("global", "")).cost_nano_usd == 2**62


async def test_a_dead_letter_may_hold_what_made_it_one(postgres_database):
    ledger = PostgresLedger(database=postgres_database)
    letter = DeadLetter(seq=1, event_id="a\x00b", reason="NUL \x00 \ud800", cost_nano_usd=7, payload=b"\x00\xff")
    batch = Batch(producer_id="p", first_seq=1, last_seq=1, numbers=(), events=(), dead_letters=(letter,))
    assert await ledger.commit(batch) == 1
    audit = await PostgresAuditor(database=postgres_database).audit()
    assert (audit.dead_letters, audit.dead_letter_cost_nano_usd, audit.difference_count) == (1, 7, 0)


AWKWARD = [
    '"',
    "\\",
    '\\"',
    "{",
    "}",
    ",",
    "NULL",
    "null",
    " ",
    "a\tb\nc",
    "'",
    "${x}",
    "{name}",
    "ü€😀",
    "\x01\x1f\x7f",
]


async def test_awkward_names_come_back_from_events_and_sums(postgres_database):
    ledger = PostgresLedger(database=postgres_database)
    events = [make_event(user_id=text, end_user_id=text, tags=(text, text + "2"), model=text) for text in AWKWARD]
    await ledger.commit(batch_of("p", 1, events))
    page = await ledger.events_after("", limit=100, where=EventFilter())
    assert [committed.event for committed in page.events] == events
    for text in AWKWARD:
        for entity_type in ("user", "end_user", "tag", "model"):
            assert (await ledger.total(entity_type, text)).requests == 1
    await no_difference(postgres_database, events=len(events))


async def test_a_large_batch_lets_the_event_loop_go_on(postgres_database):
    ledger = PostgresLedger(database=postgres_database)
    events = [
        make_event(key_hash=f"k{n % 1000}", end_user_id=f"c{n}", tags=(f"t{n % 50}", f"u{n % 50}")) for n in range(5000)
    ]
    await ledger.commit(batch_of("p", 1, [make_event()]))
    commit = asyncio.get_running_loop().create_task(ledger.commit(batch_of("p", 2, events)))
    turns = 0
    while not commit.done():
        turns += 1
        await asyncio.sleep(0)
    assert await commit == 5001
    # As many slices as there are, twice (encoding and folding), whatever the machine's speed.
    assert turns >= 40


@pytest.fixture
async def explained(postgres_url, postgres_database):
    """Some days with events, and a function that tells how a statement of the store is planned."""
    ledger = PostgresLedger(database=postgres_database)
    for day in range(4):
        events = [
            make_event(started_at=START + timedelta(days=day, seconds=n), key_hash=f"k{n % 50}", end_user_id=f"c{n}")
            for n in range(2000)
        ]
        await ledger.commit(batch_of("p", day * 2000 + 1, events))
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("ANALYZE")

    async def explain(statement, *values):
        rows = await connection.fetch(f"EXPLAIN (FORMAT JSON, ANALYZE) {statement}", *values)
        return json.loads(rows[0][0])[0]["Plan"]

    yield explain, postgres_database.queries, ledger
    await connection.close()


def scans(plan):
    """Yield every executed scan of a table."""
    if "Relation Name" in plan and plan["Actual Loops"] > 0:
        yield plan
    for child in plan.get("Plans", []):
        yield from scans(child)


def event_scans(plan):
    return [scan for scan in scans(plan) if scan["Relation Name"].startswith("spend_events")]


async def test_the_feed_reads_only_the_days_and_numbers_of_its_commits(explained):
    explain, queries, _ = explained
    statement = queries["events_of_commits"].format(filters="TRUE")
    day = START + timedelta(days=2)
    plan = await explain(statement, 3, 5990, 3, 20, day, day + timedelta(hours=1))
    read = event_scans(plan)
    assert {scan["Relation Name"] for scan in read} == {f"spend_events_{day:%Y%m%d}"}
    assert all(scan["Node Type"] != "Seq Scan" for scan in read)
    assert sum(scan["Actual Rows"] for scan in read) <= 20


async def test_one_event_is_found_by_its_id_in_one_partition(explained):
    explain, queries, ledger = explained
    event = (await ledger.latest_events(limit=1, where=EventFilter()))[0].event
    filters = "event.event_id = $3::uuid AND event.event_time = $4::timestamptz"
    plan = await explain(queries["latest_events"].format(filters=filters), 1, 0, event.event_id, event.started_at)
    read = event_scans(plan)
    assert len(read) == 1
    assert read[0]["Node Type"] == "Index Scan"


async def test_the_newest_events_of_a_key_come_from_its_index(explained):
    explain, queries, _ = explained
    plan = await explain(queries["latest_events"].format(filters="event.key_hash = $3::text"), 10, 0, "k7")
    assert event_scans(plan)
    assert not [scan for scan in event_scans(plan) if scan["Node Type"] == "Seq Scan" and scan["Actual Rows"]]


async def test_a_total_and_a_watermark_come_from_their_indexes(explained):
    explain, queries, _ = explained
    plan = await explain(queries["total"], "end_user", "c77", "")
    assert [scan["Node Type"] for scan in scans(plan)] == ["Index Scan"]
    assert (await explain(queries["watermark"], "p"))["Plan Rows"] == 1
