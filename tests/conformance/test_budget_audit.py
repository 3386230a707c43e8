"""The audit finds windows and leases that do not add up; repair mends them from events and leases."""

from __future__ import annotations

import pytest

from conformance.budget_kit import DAY, KEY, MIDNIGHT, commit, day_of, held, lease, lifetime_of, look, request, take
from conformance.kit import BUDGETS_MENDABLE, Engine
from tallystick.access.scopes import Scope, Window


@pytest.fixture
async def leased(engine: Engine) -> None:
    """One window of a key with what was spent in it, an alias and a lease, and windows of others."""
    await commit(engine, "p", 1, [10, 20])
    await lease(engine, "p", request(day_of(), need=100, entity_ids=("k2",)))
    await take(engine, "p", lifetime_of(Scope("team", "t1")), 50)
    await lease(engine, "q", request(day_of(Scope("tag", "red"))))
    await commit(engine, "p", 3, [5], key_hash="k2")


async def test_good_windows_have_nothing_to_repair(engine: Engine, leased: None) -> None:
    assert (await engine.auditor.audit()).differences == ()
    assert await engine.auditor.repair() == 0


@pytest.mark.parametrize("name", BUDGETS_MENDABLE)
async def test_what_does_not_add_up_is_found_and_mended(engine: Engine, leased: None, name: str) -> None:
    await engine.tamper(name)
    audit = await engine.auditor.audit()
    assert audit.difference_count == len(audit.differences) >= 1
    assert {difference.table for difference in audit.differences} <= {"budget_windows", "budget_leases"}
    assert any(difference.row.startswith("key k1") for difference in audit.differences)
    assert all(difference.found != difference.expected for difference in audit.differences)
    assert (await engine.auditor.audit(difference_limit=0)).difference_count == audit.difference_count

    assert await engine.auditor.repair() >= 1
    assert (await engine.auditor.audit()).differences == ()
    found = await look(engine, day_of(), "k2")
    assert (found.spent_nano_usd, found.leased_nano_usd) == (35, sum(await _leased(engine, day_of())))
    assert await engine.auditor.repair() == 0


async def test_the_difference_is_told(engine: Engine, leased: None) -> None:
    await engine.tamper("change what was spent")
    (difference,) = (await engine.auditor.audit()).differences
    assert (difference.table, difference.column) == ("budget_windows", "spent_nano_usd")
    assert (difference.found, difference.expected) == (38, 35)


async def test_repair_keeps_what_was_carried(engine: Engine) -> None:
    yesterday = Window(KEY, MIDNIGHT - DAY, MIDNIGHT)
    await commit(engine, "p", 1, [130], started_at=MIDNIGHT - DAY)
    await lease(engine, "p", request(day_of(), 100, previous=yesterday))
    await engine.tamper("change what was spent")
    assert await engine.auditor.repair() == 1
    found = await look(engine, day_of())
    assert (found.spent_nano_usd, found.carried_nano_usd) == (0, 30)


async def test_leases_and_commits_go_on_after_a_repair(engine: Engine, leased: None) -> None:
    await engine.tamper("lose a leased window")
    await engine.auditor.repair()
    await take(engine, "p", day_of(), 40)
    await commit(engine, "p", 4, [7])
    assert (await look(engine, day_of())).spent_nano_usd == 42
    assert (await held(engine, "p"))[day_of()] == 33
    assert (await engine.auditor.audit()).differences == ()


async def _leased(engine: Engine, window: Window) -> list[int]:
    return [
        amount
        for holder in "pq"
        for held_window, amount in (await held(engine, holder)).items()
        if held_window == window
    ]
