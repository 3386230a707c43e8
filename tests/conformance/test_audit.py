"""The audit finds whatever does not add up; repair mends the sums and only the sums."""

from __future__ import annotations

import pytest

from conformance.kit import LASTING, MENDABLE, Engine, assert_adds_up, make_batch, with_dead_letter


@pytest.fixture
async def spent(engine: Engine) -> list[object]:
    """Three commits of two producers, with a dead letter."""
    batches = [make_batch("p", 1, 3), with_dead_letter(make_batch("p", 4, 2), 5), make_batch("q", 1, 3)]
    for batch in batches:
        await engine.ledger.commit(batch)
    return [event for batch in batches for event in batch.events]


async def test_an_empty_ledger_adds_up(engine: Engine) -> None:
    audit = await engine.auditor.audit()
    assert (audit.events, audit.cost_nano_usd, audit.producers, audit.differences) == (0, 0, (), ())
    assert await engine.auditor.repair() == 0


async def test_a_good_ledger_has_nothing_to_repair(engine: Engine, spent: list[object]) -> None:
    await assert_adds_up(engine, spent)
    assert await engine.auditor.repair() == 0
    await assert_adds_up(engine, spent)


@pytest.mark.parametrize("name", MENDABLE)
async def test_a_wrong_sum_is_found_and_mended(engine: Engine, spent: list[object], name: str) -> None:
    await engine.tamper(name)
    audit = await engine.auditor.audit()
    assert audit.difference_count >= 1
    assert {difference.table for difference in audit.differences} <= {"totals", "daily_spend", "daily_entity_spend"}
    assert all(difference.found != difference.expected for difference in audit.differences)
    assert await engine.auditor.repair() >= 1
    await assert_adds_up(engine, spent)


@pytest.mark.parametrize("name", LASTING)
async def test_a_wrong_record_is_found_and_not_hidden_by_repair(engine: Engine, spent: list[object], name: str) -> None:
    await engine.tamper(name)
    assert (await engine.auditor.audit()).difference_count >= 1
    await engine.auditor.repair()
    audit = await engine.auditor.audit()
    assert audit.difference_count >= 1
    assert {difference.table for difference in audit.differences}.isdisjoint({"totals", "daily_spend"})


async def test_differences_are_cut_at_the_limit_and_counted(engine: Engine, spent: list[object]) -> None:
    for name in MENDABLE:
        await engine.tamper(name)
    everything = await engine.auditor.audit(difference_limit=1_000)
    assert everything.difference_count == len(everything.differences) > 4
    cut = await engine.auditor.audit(difference_limit=2)
    assert cut.difference_count == everything.difference_count
    assert len(cut.differences) == 2


async def test_commits_go_on_after_a_repair(engine: Engine, spent: list[object]) -> None:
    await engine.tamper("change a total")
    await engine.auditor.repair()
    more = make_batch("q", 4, 2)
    assert await engine.ledger.commit(more) == 5
    await assert_adds_up(engine, [*spent, *more.events])
