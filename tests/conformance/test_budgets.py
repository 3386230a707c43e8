"""Windows: what is spent in them is the sum of their committed events, whenever they were made."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from conformance.budget_kit import (
    DAY,
    EVERY_SCOPE,
    KEY,
    MIDNIGHT,
    SECONDS,
    TEAM,
    TIMES,
    commit,
    day_of,
    lease,
    lifetime_of,
    look,
    motley_events,
    request,
    spent_in,
    take,
)
from conformance.kit import START, Engine, make_batch, make_event, with_dead_letter
from tallystick.access.budget_store import WindowSum
from tallystick.access.scopes import Scope, Window
from tallystick.ledger.batch import batch_of


@pytest.mark.parametrize("model", ["", "small"])
@pytest.mark.parametrize("times", TIMES)
async def test_a_window_begins_with_what_was_spent_in_it_and_goes_on(engine: Engine, times: str, model: str) -> None:
    past, more = motley_events(), motley_events()
    windows = [Window(scope._replace(model=model), *TIMES[times]) for scope in EVERY_SCOPE]
    await engine.ledger.commit(batch_of("p", 1, past))

    unmade = await engine.budgets.sums([(window, ()) for window in windows])
    made = await lease(engine, "p", *(request(window, 2**50) for window in windows))
    assert [state.spent_nano_usd for state in made.states] == [spent_in(past, window) for window in windows]
    assert [each.spent_nano_usd for each in unmade] == [spent_in(past, window) for window in windows]

    await engine.ledger.commit(batch_of("q", 1, more))
    again = await lease(engine, "p", *(request(window, 2**50) for window in windows))
    assert [each.spent_nano_usd for each in again.states] == [spent_in(past + more, window) for window in windows]
    shown = await engine.budgets.sums([(window, ()) for window in windows])
    assert [each.spent_nano_usd for each in shown] == [each.spent_nano_usd for each in again.states]
    assert (await engine.auditor.audit()).differences == ()


async def test_a_window_without_events_holds_nothing(engine: Engine) -> None:
    reply = await lease(engine, "p", request(day_of(), need=10, want=10))
    assert reply.granted
    (state,) = reply.states
    assert (state.window, state.spent_nano_usd, state.carried_nano_usd) == (day_of(), 0, 0)
    assert (state.leased_nano_usd, state.amount_nano_usd, state.is_wanted) == (10, 10, False)
    assert await look(engine, day_of()) == WindowSum(
        window=day_of(), spent_nano_usd=0, leased_nano_usd=10, limit_nano_usd=10_000
    )


async def test_a_batch_counts_once_however_often_it_is_delivered(engine: Engine) -> None:
    await lease(engine, "p", request(day_of()))
    first, second = make_batch("p", 1, 3), make_batch("p", 4, 3)
    overlap = batch_of("p", 2, [*first.events[1:], *second.events])
    for batch in (second, first, first, overlap, second, overlap, make_batch("p", 9, 1)):
        await engine.ledger.commit(batch)
    assert (await look(engine, day_of())).spent_nano_usd == 6_000
    await asyncio.gather(*(ledger.commit(make_batch("p", 7, 2)) for ledger in (engine.ledger, engine.peer)))
    assert (await look(engine, day_of())).spent_nano_usd == 8_000
    assert (await engine.auditor.audit()).differences == ()


async def test_dead_letters_are_not_spent(engine: Engine) -> None:
    await lease(engine, "p", request(day_of()))
    await engine.ledger.commit(with_dead_letter(make_batch("p", 1, 3), 2))
    assert (await look(engine, day_of())).spent_nano_usd == 2_000


async def test_an_event_of_several_tags_counts_in_each_and_in_each_once(engine: Engine) -> None:
    red, blue = day_of(Scope("tag", "red")), day_of(Scope("tag", "blue"))
    await lease(engine, "p", request(red), request(blue))
    await commit(engine, "p", 1, [5, 7], tags=("red", "blue", "red"))
    await commit(engine, "p", 3, [9], tags=("blue",))
    assert [each.spent_nano_usd for each in await engine.budgets.sums([(red, ()), (blue, ())])] == [12, 21]


async def test_windows_of_one_scope_count_side_by_side(engine: Engine) -> None:
    windows = [
        day_of(),
        day_of(KEY._replace(model="small")),
        day_of(KEY._replace(model="large")),
        lifetime_of(),
        Window(KEY, START + timedelta(seconds=1), START + timedelta(seconds=2)),
        day_of(TEAM),
        day_of(Scope("team", "t2")),
    ]
    await lease(engine, "p", *(request(window) for window in windows))
    events = [
        make_event(cost_nano_usd=1),
        make_event(cost_nano_usd=10, model_group="large"),
        make_event(cost_nano_usd=100, started_at=START + timedelta(seconds=1)),
        make_event(cost_nano_usd=1_000, started_at=START + timedelta(seconds=2)),
        make_event(cost_nano_usd=10_000, started_at=START + DAY),
        make_event(cost_nano_usd=100_000, key_hash="k2", team_id="t2"),
    ]
    await engine.ledger.commit(batch_of("p", 1, events))
    found = await engine.budgets.sums([(window, ()) for window in windows])
    assert [each.spent_nano_usd for each in found] == [1_111, 1_101, 10, 11_111, 100, 1_111, 100_000]


async def test_a_correcting_event_lowers_what_was_spent(engine: Engine) -> None:
    await lease(engine, "p", request(day_of(), need=100))
    await commit(engine, "p", 1, [60, -10])
    found = await look(engine, day_of())
    assert (found.spent_nano_usd, found.leased_nano_usd) == (50, 50)


async def test_a_window_that_is_made_while_commits_go_on_is_exact(engine: Engine) -> None:
    scopes = [Scope("key", "k1"), Scope("team", "t1"), Scope("global"), Scope("user", "u1"), Scope("tag", "red")]
    windows = [day_of(scope) for scope in scopes] + [lifetime_of(scope) for scope in scopes]

    async def spend(ledger_name: str, producer_id: str) -> None:
        for first_seq in range(1, 61, 3):
            await getattr(engine, ledger_name).commit(make_batch(producer_id, first_seq, 3))

    async def make(budgets_name: str) -> None:
        for window in windows:
            await getattr(engine, budgets_name).lease("h", [request(window, 10**9)], seconds=60, share=1)

    await asyncio.gather(spend("ledger", "p"), make("peer_budgets"), spend("peer", "q"), make("budgets"))
    found = await engine.budgets.sums([(window, ()) for window in windows])
    assert [each.spent_nano_usd for each in found] == [120_000] * len(windows)
    assert (await engine.auditor.audit()).differences == ()


# Further ids of a scope.


async def test_further_ids_count_before_and_after_they_are_known(engine: Engine) -> None:
    await commit(engine, "p", 1, [1], key_hash="k1")
    await commit(engine, "p", 2, [10], key_hash="k2")
    await lease(engine, "p", request(day_of()), request(lifetime_of(KEY._replace(model="small"))))
    assert (await look(engine, day_of())).spent_nano_usd == 1
    assert (await look(engine, day_of(), "k2")).spent_nano_usd == 11, "shown also before it is known"

    reply = await lease(engine, "p", request(day_of(), entity_ids=("k2", "k1")))
    assert reply.states[0].spent_nano_usd == 11
    assert (await look(engine, lifetime_of(KEY._replace(model="small")))).spent_nano_usd == 11, "of the whole scope"
    await commit(engine, "p", 3, [100, 200], key_hash="k2")
    assert (await look(engine, day_of())).spent_nano_usd == 311
    await lease(engine, "p", request(lifetime_of(), entity_ids=("k2", "k3")))
    await commit(engine, "p", 5, [1_000], key_hash="k3")
    assert (await look(engine, lifetime_of())).spent_nano_usd == 1_311
    assert (await look(engine, day_of())).spent_nano_usd == 1_311
    assert (await engine.auditor.audit()).differences == ()


async def test_an_id_counts_for_its_own_scope_too(engine: Engine) -> None:
    own = day_of(Scope("key", "k2"))
    await lease(engine, "p", request(day_of(), entity_ids=("k2",)), request(own))
    await commit(engine, "p", 1, [1], key_hash="k1")
    await commit(engine, "p", 2, [10], key_hash="k2")
    assert [each.spent_nano_usd for each in await engine.budgets.sums([(day_of(), ()), (own, ())])] == [11, 10]
    assert (await engine.auditor.audit()).differences == ()


async def test_a_key_with_many_hashes_is_summed_over_all(engine: Engine) -> None:
    await engine.ledger.commit(batch_of("p", 1, motley_events()))
    for start, end in TIMES.values():
        window = Window(KEY, start, end)
        expected = spent_in(motley_events(), window, ["k2", "k9"])
        assert (await look(engine, window, "k2", "k9")).spent_nano_usd == expected
        reply = await lease(engine, "p", request(window, 2**50, entity_ids=("k2", "k9")))
        assert reply.states[0].spent_nano_usd == expected


# What was spent above the limit in the window before.


async def test_overspend_is_carried_into_the_next_window(engine: Engine) -> None:
    yesterday, today = Window(KEY, MIDNIGHT - DAY, MIDNIGHT), day_of()
    await lease(engine, "p", request(yesterday, 100))
    await commit(engine, "p", 1, [130], started_at=MIDNIGHT - timedelta(seconds=1))
    reply = await lease(engine, "p", request(today, 100, need=70, previous=yesterday))
    assert reply.granted
    assert reply.states[0].carried_nano_usd == 30
    assert not (await lease(engine, "p", request(today, 100, need=1, previous=yesterday))).granted

    tomorrow = Window(KEY, MIDNIGHT + DAY, MIDNIGHT + 2 * DAY)
    await commit(engine, "p", 2, [90])
    reply = await lease(engine, "p", request(tomorrow, 100, previous=today))
    assert reply.states[0].carried_nano_usd == 20, "what was carried counts there, too"
    assert (await look(engine, tomorrow)).carried_nano_usd == 20


@pytest.mark.parametrize(("spent", "carried"), [(130, 30), (100, 0), (70, 0)])
async def test_a_window_before_that_nobody_made_is_summed(engine: Engine, spent: int, carried: int) -> None:
    yesterday = Window(KEY, MIDNIGHT - DAY, MIDNIGHT)
    await commit(engine, "p", 1, [spent], key_hash="k2", started_at=MIDNIGHT - timedelta(seconds=1))
    asked = request(day_of(), 100, previous=yesterday, entity_ids=("k2",))
    assert (await lease(engine, "p", asked)).states[0].carried_nano_usd == carried


@pytest.mark.parametrize("is_made", [True, False])
@pytest.mark.parametrize(("limit", "previous_limit", "carried"), [(100, 130, 0), (100, 110, 20), (500, 100, 30)])
async def test_what_is_carried_is_above_the_limit_of_the_window_before(
    engine: Engine, limit: int, previous_limit: int, carried: int, is_made: bool
) -> None:
    """What an admin has forgiven there is in that limit; what is in force in the new window is no part of it."""
    yesterday = Window(KEY, MIDNIGHT - DAY, MIDNIGHT)
    if is_made:
        await lease(engine, "p", request(yesterday, 100))
    await commit(engine, "p", 1, [130], started_at=MIDNIGHT - timedelta(seconds=1))
    asked = request(day_of(), limit, previous=yesterday, previous_limit_nano_usd=previous_limit)
    assert (await lease(engine, "p", asked)).states[0].carried_nano_usd == carried


async def test_without_a_window_before_nothing_is_carried(engine: Engine) -> None:
    await commit(engine, "p", 1, [130], started_at=MIDNIGHT - timedelta(seconds=1))
    assert (await lease(engine, "p", request(day_of(), 100))).states[0].carried_nano_usd == 0


# What reports see.


async def test_sums_do_not_make_windows_and_keep_the_order(engine: Engine) -> None:
    await commit(engine, "p", 1, [5])
    await lease(engine, "p", request(day_of(TEAM), 70, need=10))
    asked = [lifetime_of(), day_of(TEAM), day_of()]
    assert await engine.budgets.sums([(window, ()) for window in asked]) == (
        WindowSum(window=lifetime_of(), spent_nano_usd=5),
        WindowSum(window=day_of(TEAM), spent_nano_usd=5, leased_nano_usd=10, limit_nano_usd=70),
        WindowSum(window=day_of(), spent_nano_usd=5),
    )
    assert await engine.budgets.sums([]) == ()
    assert [each.window for each in await engine.budgets.open_windows(after=None, limit=9)] == [day_of(TEAM)]


async def test_open_windows_come_in_pages(engine: Engine) -> None:
    now = engine.clock.now()
    ended = Window(KEY, now - DAY, now)
    windows = sorted(
        [
            lifetime_of(),
            Window(KEY, now - DAY, now + timedelta(seconds=1)),
            Window(KEY._replace(model="small"), now, now + DAY),
            Window(Scope("user", "Ä"), now, now + DAY),
            Window(Scope("user", "z"), now, now + DAY),
            Window(Scope("global"), now + DAY, now + 2 * DAY),
        ]
    )
    await lease(engine, "p", *(request(window, 70) for window in (*reversed(windows), ended)))
    found: list[WindowSum] = []
    while page := await engine.budgets.open_windows(after=found[-1].window if found else None, limit=2):
        assert len(page) <= 2
        found += page
    assert [each.window for each in found] == windows
    assert {each.limit_nano_usd for each in found} == {70}
    assert await engine.budgets.open_windows(after=ended, limit=9) == tuple(
        each for each in found if each.window > ended
    )


async def test_an_alert_of_a_level_is_claimed_once(engine: Engine) -> None:
    await lease(engine, "p", request(day_of()))
    claims = await asyncio.gather(
        *(budgets.claim_alert(day_of(), level=80) for budgets in (engine.budgets, engine.peer_budgets) for _ in "abc")
    )
    assert sorted(claims) == [False] * 5 + [True]
    assert not await engine.budgets.claim_alert(day_of(), level=50)
    assert await engine.peer_budgets.claim_alert(day_of(), level=95)
    assert await engine.budgets.claim_alert(lifetime_of(), level=50), "each window has alerts of its own"
    assert not await engine.budgets.claim_alert(lifetime_of(), level=50)


async def test_an_alert_of_a_window_that_nobody_leased_from(engine: Engine) -> None:
    await commit(engine, "p", 1, [5])
    assert await engine.budgets.claim_alert(day_of(), level=50)
    assert not await engine.peer_budgets.claim_alert(day_of(), level=50)
    await commit(engine, "p", 2, [7])
    assert await look(engine, day_of()) == WindowSum(window=day_of(), spent_nano_usd=12)
    assert (await engine.auditor.audit()).differences == ()


@pytest.mark.parametrize(
    "scope", [Scope("session", "s1", "k1"), Scope("end_user", "e1"), Scope("end_user", "e1", "", "m")]
)
async def test_windows_without_an_end_that_nobody_asks_for_are_trimmed_and_made_anew(
    engine: Engine, scope: Scope
) -> None:
    window = lifetime_of(scope)
    await take(engine, "p", window, 10)
    await lease(engine, "p", request(lifetime_of(KEY)))
    await commit(engine, "p", 1, [7], session_id="s1", end_user_id="e1", model_group="m")
    await engine.let_pass(31 * 86_400)
    await engine.budgets.renew("p", seconds=SECONDS)
    assert await engine.budgets.trim(ended_days=30) == 0, "there is a lease of it"
    await engine.budgets.release("p")
    await lease(engine, "p", request(window))
    assert await engine.budgets.trim(ended_days=32) == 0
    assert (await look(engine, window)).limit_nano_usd == 10_000
    assert await engine.budgets.trim(ended_days=30) == 1, "a key's stays"
    assert (await look(engine, window)).limit_nano_usd is None
    await commit(engine, "p", 2, [5], session_id="s1", end_user_id="e1", model_group="m")
    assert (await take(engine, "q", window, 10)).spent_nano_usd == 12
    await engine.let_pass(29 * 86_400)
    assert await engine.budgets.trim(ended_days=30) == 0
    assert (await engine.auditor.audit()).differences == ()


async def test_old_windows_are_trimmed(engine: Engine) -> None:
    now = engine.clock.now()
    old, leased, recent, open_ = (
        Window(KEY, now - 40 * DAY, now - 31 * DAY),
        Window(TEAM, now - 40 * DAY, now - 31 * DAY),
        Window(KEY, now - 31 * DAY, now - 29 * DAY),
        lifetime_of(),
    )
    await lease(engine, "p", *(request(window) for window in (old, recent, open_)))
    await lease(engine, "p", request(leased, need=10))
    assert await engine.budgets.trim(ended_days=30) == 1
    assert (await look(engine, leased)).leased_nano_usd == 10
    assert (await look(engine, recent)).limit_nano_usd == 10_000
    assert (await look(engine, old)).limit_nano_usd is None
    await engine.let_pass(3_600)
    assert await engine.budgets.trim(ended_days=30) == 1, "its lease has lapsed"
    assert await engine.budgets.renew("p", seconds=60) == ()
    assert (await engine.auditor.audit()).differences == ()
    await commit(engine, "p", 1, [5], started_at=now - 35 * DAY)
    assert (await lease(engine, "p", request(old))).states[0].spent_nano_usd == 5
