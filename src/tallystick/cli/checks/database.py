"""The database: does it answer, is its schema up to date, does its time fit ours, has it dead letters, partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import uvloop

from tallystick.bootstrap import Store, open_store
from tallystick.cli.checks.check import Check
from tallystick.cli.checks.instances import check_instances
from tallystick.cli.database import require_file, without_migrating
from tallystick.cli.output import counted
from tallystick.config.database_url import masked_url
from tallystick.config.settings import Settings
from tallystick.errors import MigrationFailed, StoreUnavailable
from tallystick.ledger.inspection import Partitions, StoreFacts
from tallystick.ledger.store import EventFilter
from tallystick.pricing.money import format_usd
from tallystick.runtime.clock import Clock
from tallystick.runtime.instances import SHOWN_MAX

_CONNECT_SECONDS: Final = 3.0
_WHOLE_SECONDS: Final = 6.0
_CLOCK_GAP: Final = timedelta(minutes=1)
_TIME_GAP: Final = timedelta(seconds=2)


def check_database(settings: Settings, clock: Clock) -> list[Check]:
    """Everything about the database, within a few seconds."""
    name = masked_url(settings.database_url)
    try:
        require_file(settings)
    except StoreUnavailable:
        return [
            Check(
                name="database",
                state="warn",
                found=f"{name} is not there yet",
                mend="`tallystick serve` makes it at first start, or `tallystick migrate` now.",
            )
        ]
    return uvloop.run(_look(_in_a_hurry(settings), name, clock))


async def _look(settings: Settings, name: str, clock: Clock) -> list[Check]:
    checks: list[Check] = []
    store = open_store(without_migrating(settings), clock=clock)
    try:
        async with asyncio.timeout(_WHOLE_SECONDS):
            started = clock.monotonic()
            await store.ping()
            milliseconds = (clock.monotonic() - started) * 1_000
            asked = clock.now()
            facts = await store.inspector.inspect()
            answered = f"{name} answered in {milliseconds:.0f} ms ({facts.engine})"
            schema = f"version {facts.schema_version:04d} is up to date"
            checks.append(Check(name="database", state="good", found=answered))
            checks.append(Check(name="database: schema", state="good", found=schema))
            checks.append(_check_time(facts.now, asked, clock.now()))
            checks.append(await _check_newest_event(store, clock))
            checks.append(_check_dead_letters(facts))
            checks += check_instances(await store.instances.seen(limit=SHOWN_MAX))
            checks += _check_partitions(facts.partitions, facts.now)
    except MigrationFailed as error:
        checks.append(Check(name="database", state="good", found=f"{name} answers"))
        checks.append(_outdated(error, settings))
    except TimeoutError:
        checks.append(_away(f"{name} did not answer within {_WHOLE_SECONDS:.0f} s"))
    except StoreUnavailable as error:
        checks.append(_away(f"{name}: {error.message}"))
    finally:
        await store.close()
    return checks


def _in_a_hurry(settings: Settings) -> Settings:
    database = settings.database
    seconds = min(database.connect_timeout_seconds, _CONNECT_SECONDS)
    hurried = {"connect_timeout_seconds": seconds, "pool_timeout_seconds": _CONNECT_SECONDS}
    return settings.model_copy(update={"database": database.model_copy(update=hurried)})


def _away(found: str) -> Check:
    return Check(
        name="database",
        state="bad",
        found=found,
        mend="Start it, or correct database_url. Until then calls with known keys are served from the journal.",
    )


def _outdated(error: MigrationFailed, settings: Settings) -> Check:
    by_itself = settings.database.auto_migrate
    return Check(
        name="database: schema",
        state="warn" if by_itself else "bad",
        found=error.message,
        mend="`tallystick migrate`" + (", or the next start of `tallystick serve`." if by_itself else "."),
    )


async def _check_newest_event(store: Store, clock: Clock) -> Check:
    """A ledger whose newest event has not happened yet was written by a clock that is ahead of this one."""
    newest = await store.reader.latest_events(limit=1, where=EventFilter())
    if not newest:
        return Check(name="database: newest event", state="good", found="there is none yet")
    started_at = newest[0].event.started_at
    found = f"{started_at:%Y-%m-%d %H:%M:%S} UTC"
    if started_at - clock.now() > _CLOCK_GAP:
        return Check(
            name="database: newest event",
            state="warn",
            found=f"{found} lies in the future: a clock that wrote here is ahead, or this one is behind",
            mend="Set the clocks with NTP. The order of the ledger does not depend on them, its days do.",
        )
    return Check(name="database: newest event", state="good", found=found)


def _check_time(theirs: datetime, asked: datetime, answered: datetime) -> Check:
    """The database's time lies between question and answer, but for what two clocks may differ."""
    gap = max(asked - theirs, theirs - answered, timedelta(0))
    if gap > _TIME_GAP:
        return Check(
            name="database: time",
            state="warn",
            found=f"{theirs:%Y-%m-%d %H:%M:%S} UTC, {gap.total_seconds():.0f} s from this machine's",
            mend="Set both clocks with NTP. The order of the ledger does not depend on them, its days do.",
        )
    return Check(name="database: time", state="good", found="agrees with this machine's")


def _check_dead_letters(facts: StoreFacts) -> Check:
    if facts.dead_letters:
        return Check(
            name="database: dead letters",
            state="warn",
            found=f"{counted(facts.dead_letters, 'event')}, {format_usd(facts.dead_letter_cost_nano_usd)}, refused",
            mend="Read the reasons in the table dead_letters; `tallystick verify` counts them.",
        )
    return Check(name="database: dead letters", state="good", found="none")


def _check_partitions(partitions: Partitions | None, now: datetime) -> Iterator[Check]:
    """Partitions are made ahead by the instance that leads; where none serves, the next commit makes its own."""
    if partitions is None:
        return
    name = "database: partitions"
    if not partitions.default_is_empty:
        yield Check(
            name=name,
            state="warn",
            found="events lie in the default partition: that of their day was detached before they came",
            mend="Nothing is lost. Attach the day's partition again, with these events in it.",
        )
    elif partitions.last_day is None:
        yield Check(name=name, state="good", found="none yet; the instance that leads makes them")
    elif partitions.last_day <= now.date():
        found = f"made up to {partitions.last_day}; the instance that leads makes more"
        yield Check(name=name, state="good", found=found)
    else:
        yield Check(name=name, state="good", found=f"made ahead up to {partitions.last_day}")
