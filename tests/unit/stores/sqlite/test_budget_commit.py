"""Commits and the making of windows, in the one order that could count an event twice or never."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import pytest

from conformance.budget_kit import TEAM, day_of, lifetime_of, request
from conformance.kit import make_batch
from tallystick.stores.sqlite import SqliteAuditor, SqliteBudgetStore, SqliteDatabase, SqliteLedger
from tallystick.stores.sqlite import ledger as ledger_module
from tallystick.testing import FakeClock


@pytest.mark.parametrize("is_first", [True, False])
async def test_what_is_made_between_the_glance_of_a_commit_and_its_lock_is_charged(
    tmp_path, monkeypatch, is_first: bool
) -> None:
    clock = FakeClock()
    database, other = (SqliteDatabase(tmp_path / "ledger.db", clock=clock) for _ in "ab")
    ledger, budgets = SqliteLedger(database=database), SqliteBudgetStore(database=other)
    await ledger.commit(make_batch("p", 1, 2))
    await ledger.commit(make_batch("p", 3, 1, key_hash="k2"))
    if not is_first:
        await budgets.lease("p", [request(lifetime_of(TEAM), need=7_000)], seconds=60, share=1)
    loop = asyncio.get_running_loop()
    asked = request(day_of(), need=5_000, entity_ids=("k2",))
    immediate = ledger_module.immediate

    @contextmanager
    def late(connection):
        monkeypatch.setattr(ledger_module, "immediate", immediate)
        making = budgets.lease("p", [asked], seconds=60, share=1)
        asyncio.run_coroutine_threadsafe(making, loop).result()
        with immediate(connection):
            yield

    monkeypatch.setattr(ledger_module, "immediate", late)
    await ledger.commit(make_batch("p", 4, 3, key_hash="k2"))

    (found,) = await budgets.sums([(day_of(), ())])
    assert (found.spent_nano_usd, found.leased_nano_usd) == (6_000, 2_000)
    assert (await SqliteAuditor(database=database).audit()).differences == ()
    await database.close()
    await other.close()


async def test_a_sum_that_is_wrong_does_not_keep_events_out(tmp_path) -> None:
    database = SqliteDatabase(tmp_path / "ledger.db", clock=FakeClock())
    ledger, budgets = SqliteLedger(database=database), SqliteBudgetStore(database=database)
    await budgets.lease("p", [request(day_of(), need=5_000)], seconds=60, share=1)
    await database.write(lambda connection: connection.execute("UPDATE budget_windows SET leased_nano_usd = 10"))
    assert await ledger.commit(make_batch("p", 1, 3)) == 3
    auditor = SqliteAuditor(database=database)
    (difference,) = (await auditor.audit()).differences
    assert (difference.column, difference.found, difference.expected) == ("leased_nano_usd", 0, 2_000)
    assert await auditor.repair() == 1
    await database.close()
