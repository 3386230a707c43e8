"""Partitions of spend_events: every day has its own before its first event, and the default one stays empty."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from ledger_kit import START, make_event
from tallystick.errors import RowRefused
from tallystick.ledger.batch import batch_of
from tallystick.stores.postgres.audit import PostgresAuditor
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.ledger import PostgresLedger
from tallystick.testing import FakeClock


@pytest.fixture
async def connection(postgres_url):
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


async def partitions(connection):
    rows = await connection.fetch(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'spend_events'::regclass"
    )
    return {row[0].removeprefix("spend_events_") for row in rows}


async def test_days_to_come_have_their_partition(postgres_database, connection):
    today = datetime.now(UTC).date()
    await PostgresLedger(database=postgres_database).prepare()
    expected = {f"{today + timedelta(days=ahead):%Y%m%d}" for ahead in range(4)}
    assert expected <= await partitions(connection)


async def test_events_of_any_day_get_their_partition_and_none_is_in_the_default(postgres_database, connection):
    moments = [
        START,
        START - timedelta(days=400),
        START + timedelta(days=30),
        datetime(2026, 11, 22, 23, 59, 59, 999000, tzinfo=UTC),
        datetime(2026, 11, 23, tzinfo=UTC),
    ]
    events = [make_event(started_at=moment) for moment in moments]
    await PostgresLedger(database=postgres_database).commit(batch_of("p", 1, events))
    assert {f"{moment:%Y%m%d}" for moment in moments} <= await partitions(connection)
    assert await connection.fetchval("SELECT count(*) FROM spend_events_default") == 0
    assert await connection.fetchval("SELECT count(*) FROM spend_events") == len(events)


async def test_a_known_day_costs_no_query(postgres_database, monkeypatch):
    ledger = PostgresLedger(database=postgres_database)
    await ledger.commit(batch_of("p", 1, [make_event()]))

    async def refuse(days):
        raise AssertionError(f"asked again for {days}")

    monkeypatch.setattr(ledger._partitions, "_create", refuse)
    assert await ledger.commit(batch_of("p", 2, [make_event()])) == 2


async def test_two_instances_make_the_same_partitions_at_once(postgres_url):
    databases = [PostgresDatabase(postgres_url, clock=FakeClock()) for _ in range(4)]
    batches = [
        batch_of(f"p{number}", 1, [make_event(started_at=START - timedelta(days=day)) for day in range(5)])
        for number in range(4)
    ]
    watermarks = await asyncio.gather(
        *(PostgresLedger(database=database).commit(batch) for database, batch in zip(databases, batches, strict=True))
    )
    assert watermarks == [5, 5, 5, 5]
    assert (await PostgresAuditor(database=databases[0]).audit()).difference_count == 0
    for database in databases:
        await database.close()


async def test_late_events_of_a_detached_day_are_kept(postgres_database, connection):
    ledger = PostgresLedger(database=postgres_database)
    await ledger.commit(batch_of("p", 1, [make_event()]))
    await connection.execute(f"ALTER TABLE spend_events DETACH PARTITION spend_events_{START:%Y%m%d}")
    await connection.execute(f"DROP TABLE spend_events_{START:%Y%m%d}")
    assert await ledger.commit(batch_of("p", 2, [make_event()])) == 2
    # Another instance does not know the day. Its partition can't be made, since the default one has rows of it.
    assert await PostgresLedger(database=postgres_database).commit(batch_of("p", 3, [make_event()])) == 3
    assert await connection.fetchval("SELECT count(*) FROM spend_events") == 2


async def test_late_events_of_a_day_whose_partition_is_detached_and_kept(postgres_database, connection):
    await PostgresLedger(database=postgres_database).commit(batch_of("p", 1, [make_event()]))
    await connection.execute(f"ALTER TABLE spend_events DETACH PARTITION spend_events_{START:%Y%m%d}")

    assert await PostgresLedger(database=postgres_database).commit(batch_of("p", 2, [make_event()])) == 2
    assert await connection.fetchval("SELECT count(*) FROM spend_events_default") == 1


async def test_partitions_have_the_indexes_of_their_parent(postgres_database, connection):
    await PostgresLedger(database=postgres_database).commit(batch_of("p", 1, [make_event()]))
    attached = await connection.fetchval(
        """
        SELECT count(*) FROM pg_inherits
        WHERE inhparent IN ('spend_events_by_id'::regclass, 'spend_events_by_number'::regclass,
                            'spend_events_by_key'::regclass)
            AND inhrelid IN (SELECT indexrelid FROM pg_index WHERE indrelid = $1::text::regclass)
        """,
        f"spend_events_{START:%Y%m%d}",
    )
    assert attached == 3


@pytest.mark.parametrize("year", [1, 1969, 9999])
async def test_a_year_that_no_call_can_have_is_refused(postgres_database, year):
    event = make_event(event_id="01930000-0000-7000-8000-000000000000", started_at=datetime(year, 6, 1, tzinfo=UTC))
    with pytest.raises(RowRefused):
        await PostgresLedger(database=postgres_database).commit(batch_of("p", 1, [event]))
