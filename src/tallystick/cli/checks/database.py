"""The database: does it answer, is its schema up to date, has it dead letters, does its time fit ours."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import uvloop

from tallystick.bootstrap import Store, open_store
from tallystick.cli.checks.check import Check
from tallystick.cli.database import require_file, without_migrating
from tallystick.config.database_url import masked_url
from tallystick.config.settings import Settings
from tallystick.errors import MigrationFailed, StoreUnavailable
from tallystick.ledger.store import EventFilter
from tallystick.pricing.money import format_usd
from tallystick.runtime.clock import Clock

_CONNECT_SECONDS: Final = 3.0
_WHOLE_SECONDS: Final = 6.0
_CLOCK_GAP: Final = timedelta(minutes=1)
# Dead letters are counted by an audit, which reads every event.
_EVENTS_COUNTED_MAX: Final = 100_000


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
            checks.append(Check(name="database", state="good", found=f"{name} answered in {milliseconds:.0f} ms"))
            checks.append(Check(name="database: schema", state="good", found="is up to date"))
            checks.append(await _check_newest_event(store, clock))
            checks.append(await _check_dead_letters(store))
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
    return settings.model_copy(
        update={"database": database.model_copy(update={"connect_timeout_seconds": seconds, "pool_size_max": 1})}
    )


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


async def _check_dead_letters(store: Store) -> Check:
    events = (await store.reader.total("global", "")).requests
    if events > _EVENTS_COUNTED_MAX:
        found = f"not counted among {events:,} events; `tallystick verify` does"
        return Check(name="database: dead letters", state="good", found=found)
    audit = await store.auditor.audit(difference_limit=1)
    if audit.dead_letters:
        return Check(
            name="database: dead letters",
            state="warn",
            found=f"{audit.dead_letters:,} events, {format_usd(audit.dead_letter_cost_nano_usd)}, were refused",
            mend="Read the reasons in the table dead_letters; `tallystick verify` counts them.",
        )
    return Check(name="database: dead letters", state="good", found=f"none among {audit.events:,} events")
