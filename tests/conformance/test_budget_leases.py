"""Leases: spent + carried + leased stays at or below the limit, whoever asks, dies or comes back."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from conformance.budget_kit import (
    DAY,
    KEY,
    MIDNIGHT,
    SECONDS,
    TEAM,
    commit,
    day_of,
    held,
    lease,
    lifetime_of,
    look,
    request,
    take,
)
from conformance.kit import Engine, make_batch, make_event
from tallystick.access.budget_store import LeaseReply, LeaseState
from tallystick.access.grants import notice_seconds
from tallystick.access.scopes import Scope, Window
from tallystick.ledger.batch import batch_of

LATER = SECONDS + 1
NOTICE = notice_seconds(SECONDS) + 1


async def let_lapse(engine: Engine, window: Window) -> None:
    """Let all leases on a window run out: somebody has to notice it first."""
    await engine.let_pass(LATER)
    await lease(engine, "z", request(window, 0, need=0))
    await engine.let_pass(NOTICE)


def amounts(reply: LeaseReply) -> list[int]:
    return [state.amount_nano_usd for state in reply.states]


# What is granted.


@pytest.mark.parametrize(
    ("need", "want", "share", "granted"),
    [
        (10, 0, 1, 10),
        (10, 50, 1, 50),
        (10, 500, 1, 100),
        (10, 500, 4, 25),
        (30, 500, 4, 30),
        (100, 500, 4, 100),
        (0, 500, 3, 33),
        (0, 0, 1, 0),
        (101, 500, 1, None),
    ],
)
async def test_a_grant_is_what_is_needed_and_a_share_of_the_rest(
    engine: Engine, need: int, want: int, share: int, granted: int | None
) -> None:
    reply = await lease(engine, "a", request(day_of(), 100, need=need, want=want), share=share)
    assert (reply.granted, amounts(reply)) == (granted is not None, [granted or 0])
    assert (await look(engine, day_of())).leased_nano_usd == (granted or 0)


async def test_the_room_is_what_is_neither_spent_nor_leased(engine: Engine) -> None:
    await commit(engine, "p", 1, [40])
    await take(engine, "a", day_of(), 25, limit=100)
    assert not (await lease(engine, "b", request(day_of(), 100, need=36))).granted
    await engine.let_pass(30)
    reply = await lease(engine, "b", request(day_of(), 100, want=500))
    assert reply.granted
    assert reply.states[0] == LeaseState(
        window=day_of(), spent_nano_usd=40, carried_nano_usd=0, leased_nano_usd=60, amount_nano_usd=35, settled_seq=0
    )
    assert amounts(await lease(engine, "a", request(day_of(), 100, want=500))) == [25], "nothing more, and no less"


@pytest.mark.parametrize("limit", [-5, 0, 40, 39])
async def test_where_nothing_is_left_only_a_need_of_nothing_is_met(engine: Engine, limit: int) -> None:
    await commit(engine, "p", 1, [40])
    reply = await lease(engine, "a", request(day_of(), limit, want=10))
    assert (reply.granted, amounts(reply)) == (True, [0])
    assert not (await lease(engine, "a", request(day_of(), limit, need=1, want=10))).granted
    assert await engine.budgets.renew("a", seconds=SECONDS) == ()


async def test_all_windows_or_none(engine: Engine) -> None:
    windows = [day_of(TEAM), lifetime_of(), day_of()]
    reply = await lease(engine, "a", *(request(window, 100, need=30, want=40) for window in windows))
    assert [(state.window, state.amount_nano_usd) for state in reply.states] == [(window, 40) for window in windows]

    short = [request(day_of(TEAM), 100, need=20), request(day_of(), 69, need=30), request(lifetime_of(), 100, need=1)]
    reply = await lease(engine, "b", *short)
    assert not reply.granted
    assert [(state.window, state.amount_nano_usd, state.leased_nano_usd) for state in reply.states] == [
        (day_of(TEAM), 0, 40),
        (day_of(), 0, 40),
        (lifetime_of(), 0, 40),
    ]
    assert await held(engine, "b") == {}
    assert (await engine.auditor.audit()).differences == ()


async def test_nothing_asked_is_granted(engine: Engine) -> None:
    assert await lease(engine, "a") == LeaseReply(granted=True, states=())


async def test_the_last_limit_is_shown(engine: Engine) -> None:
    await take(engine, "a", day_of(), 10, limit=100)
    await lease(engine, "b", request(day_of(), 5, need=1))
    assert (await look(engine, day_of())).limit_nano_usd == 5


async def test_many_who_ask_at_once_never_get_more_than_there_is(engine: Engine) -> None:
    windows = [day_of(), lifetime_of(), day_of(TEAM), day_of(Scope("end_user", "new"))]

    async def ask(number: int) -> LeaseReply:
        budgets = (engine.budgets, engine.peer_budgets)[number % 2]
        mine = windows if number % 4 < 2 else windows[::-1]
        asked = [request(window, 100, need=7, want=9) for window in mine]
        return await budgets.lease(f"h{number}", asked, seconds=SECONDS, share=1)

    replies = await asyncio.gather(*(ask(number) for number in range(24)))
    granted = [reply for reply in replies if reply.granted]
    assert 11 <= len(granted) <= 14
    for window in windows:
        total = sum(state.amount_nano_usd for reply in granted for state in reply.states if state.window == window)
        assert 93 < total <= 100
        assert (await look(engine, window)).leased_nano_usd == total
    assert (await engine.auditor.audit()).differences == ()


# How a commit turns lease into spend.


async def test_a_commit_turns_the_lease_of_its_producer_into_spend(engine: Engine) -> None:
    await take(engine, "a", day_of(), 100)
    await take(engine, "b", day_of(), 50)
    await commit(engine, "a", 1, [30, 10])
    (state,) = await engine.budgets.renew("a", seconds=SECONDS)
    assert state == LeaseState(
        window=day_of(), spent_nano_usd=40, carried_nano_usd=0, leased_nano_usd=110, amount_nano_usd=60, settled_seq=2
    )
    await commit(engine, "c", 1, [5])
    assert (await held(engine, "a"), await held(engine, "b")) == ({day_of(): 60}, {day_of(): 50})
    assert (await look(engine, day_of())).spent_nano_usd == 45
    assert (await engine.auditor.audit()).differences == ()


async def test_a_batch_delivered_again_takes_nothing_more(engine: Engine) -> None:
    await take(engine, "a", day_of(), 100)
    batch = await commit(engine, "a", 1, [30, 10])
    await asyncio.gather(engine.ledger.commit(batch), engine.peer.commit(batch))
    overlap = batch_of("a", 2, [batch.events[1], make_event(cost_nano_usd=1)])
    await asyncio.gather(engine.ledger.commit(overlap), engine.peer.commit(overlap))
    assert await held(engine, "a") == {day_of(): 59}
    assert (await look(engine, day_of())).leased_nano_usd == 59


async def test_a_cost_above_the_lease_takes_all_of_it_and_no_more(engine: Engine) -> None:
    await take(engine, "a", day_of(), 100, limit=200)
    await take(engine, "b", day_of(), 90, limit=200)
    await commit(engine, "a", 1, [130, 50])
    found = await look(engine, day_of())
    assert (found.spent_nano_usd, found.leased_nano_usd) == (180, 90)
    assert sum((await held(engine, "a")).values()) == 0
    assert not (await lease(engine, "a", request(day_of(), 200, need=1))).granted
    assert (await engine.auditor.audit()).differences == ()


async def test_a_lease_pays_in_its_own_window_only(engine: Engine) -> None:
    today, tomorrow, model = day_of(), Window(KEY, MIDNIGHT + DAY, MIDNIGHT + 2 * DAY), day_of(KEY._replace(model="x"))
    for window in (today, tomorrow, model, day_of(TEAM)):
        await take(engine, "a", window, 100)
    await commit(engine, "a", 1, [30])
    await commit(engine, "a", 2, [7], started_at=MIDNIGHT + DAY)
    await commit(engine, "a", 3, [1], model_group="x", team_id="")
    await commit(engine, "a", 4, [2], key_hash="k2")
    assert await held(engine, "a") == {today: 69, tomorrow: 93, model: 99, day_of(TEAM): 68}


async def test_a_lease_pays_for_events_of_further_ids(engine: Engine) -> None:
    await lease(engine, "a", request(day_of(), need=100, entity_ids=("k2",)))
    await commit(engine, "a", 1, [30], key_hash="k2")
    assert await held(engine, "a") == {day_of(): 70}


async def test_events_before_the_lease_only_count_as_spent(engine: Engine) -> None:
    await lease(engine, "a", request(day_of(), need=100, since_seq=3))
    await commit(engine, "a", 1, [1, 2, 4, 8, 16])
    (state,) = await engine.budgets.renew("a", seconds=SECONDS)
    assert (state.spent_nano_usd, state.amount_nano_usd, state.settled_seq) == (31, 76, 5)


@pytest.mark.parametrize("since", [0, 2, 9])
async def test_a_lease_keeps_the_number_that_it_began_with(engine: Engine, since: int) -> None:
    await lease(engine, "a", request(day_of(), need=100, since_seq=1))
    await lease(engine, "a", request(day_of(), need=10, since_seq=since))
    await commit(engine, "a", 1, [1, 2, 4])
    assert await held(engine, "a") == {day_of(): 104}


async def test_what_is_committed_already_is_settled(engine: Engine) -> None:
    await commit(engine, "a", 1, [30, 10])
    reply = await lease(engine, "a", request(day_of(), need=50), request(day_of(TEAM), need=50, since_seq=7))
    assert [state.settled_seq for state in reply.states] == [2, 7]
    reply = await lease(engine, "b", request(day_of(), need=50, since_seq=3))
    assert reply.states[0].settled_seq == 3
    await commit(engine, "a", 3, [5])
    assert await held(engine, "a") == {day_of(): 45, day_of(TEAM): 50}


async def test_leases_and_commits_that_race_are_exact(engine: Engine) -> None:
    async def spend(producer_id: str) -> None:
        for first_seq in range(1, 31, 3):
            await engine.peer.commit(make_batch(producer_id, first_seq, 3))

    async def refill(holder: str) -> None:
        for _ in range(10):
            await engine.budgets.lease(
                holder, [request(day_of(), 10**9, need=5_000), request(day_of(TEAM), 10**9)], seconds=SECONDS, share=1
            )

    await asyncio.gather(spend("a"), refill("a"), spend("b"), refill("b"), refill("c"))
    found = await look(engine, day_of())
    assert found.spent_nano_usd == 60_000
    left = [sum((await held(engine, holder)).values()) for holder in "abc"]
    assert left[2] == 50_000
    assert all(20_000 <= each <= 50_000 for each in left)
    assert found.leased_nano_usd == sum(left)
    assert (await engine.auditor.audit()).differences == ()


# How long a lease lasts.


async def test_a_lease_that_lapsed_makes_room_and_late_events_still_count(engine: Engine) -> None:
    await take(engine, "a", day_of(), 80, limit=100)
    assert not (await lease(engine, "b", request(day_of(), 100, need=50))).granted
    await let_lapse(engine, day_of())
    assert (await take(engine, "b", day_of(), 100, limit=100)).leased_nano_usd == 100
    assert await engine.budgets.renew("a", seconds=SECONDS) == (), "it was taken"
    await commit(engine, "a", 1, [30])
    found = await look(engine, day_of())
    assert (found.spent_nano_usd, found.leased_nano_usd) == (30, 100)
    assert (await engine.auditor.audit()).differences == ()


async def test_who_is_late_and_renews_keeps_the_lease(engine: Engine) -> None:
    """After an outage all are late, and whoever comes first must not take what the others have spent."""
    await take(engine, "a", day_of(), 80, limit=100)
    await engine.let_pass(LATER)
    assert not (await lease(engine, "b", request(day_of(), 100, need=50))).granted
    await engine.budgets.renew("a", seconds=SECONDS)
    await engine.let_pass(NOTICE)
    assert not (await lease(engine, "b", request(day_of(), 100, need=50))).granted
    await commit(engine, "a", 1, [80])
    found = await look(engine, day_of())
    assert (found.spent_nano_usd, found.leased_nano_usd) == (80, 0)


async def test_a_holder_that_is_late_and_asks_has_its_lease_still(engine: Engine) -> None:
    await take(engine, "a", day_of(), 80, limit=100)
    await engine.let_pass(LATER)
    reply = await lease(engine, "a", request(day_of(), 100, need=90))
    assert (reply.granted, reply.states[0].amount_nano_usd) == (False, 80)


async def test_a_lease_that_lapsed_and_nobody_took_can_be_renewed(engine: Engine) -> None:
    await take(engine, "a", day_of(), 80, limit=100)
    await engine.let_pass(LATER)
    assert await held(engine, "a") == {day_of(): 80}
    assert not (await lease(engine, "b", request(day_of(), 100, need=50))).granted


async def test_a_renewed_lease_lasts(engine: Engine) -> None:
    await take(engine, "a", day_of(), 80, limit=100)
    await take(engine, "a", day_of(TEAM), 10, limit=100)
    for _ in range(3):
        await engine.let_pass(SECONDS - 1)
        assert list(await held(engine, "a")) == [day_of(), day_of(TEAM)]
    assert not (await lease(engine, "b", request(day_of(), 100, need=50))).granted


@pytest.mark.parametrize("need", [0, 10, 90])
async def test_asking_lets_the_leases_on_these_windows_last(engine: Engine, need: int) -> None:
    await take(engine, "a", day_of(), 80, limit=100)
    await take(engine, "a", day_of(TEAM), 80, limit=100)
    await engine.let_pass(SECONDS - 1)
    reply = await lease(engine, "a", request(day_of(), 100, need=need))
    assert reply.granted == (need < 90)
    await engine.let_pass(SECONDS - 1)
    assert not (await lease(engine, "b", request(day_of(TEAM), 100, need=30))).granted, "it gets some more"
    await engine.let_pass(NOTICE)
    assert not (await lease(engine, "b", request(day_of(), 100, need=30))).granted
    assert (await lease(engine, "b", request(day_of(TEAM), 100, need=30))).granted, "the other one has lapsed"


async def test_what_was_settled_before_the_lapse_is_not_paid_again(engine: Engine) -> None:
    await take(engine, "a", day_of(), 80)
    await commit(engine, "a", 1, [30])
    await let_lapse(engine, day_of())
    await take(engine, "b", day_of(), 10)
    reply = await lease(engine, "a", request(day_of(), need=60, since_seq=0))
    assert (reply.states[0].amount_nano_usd, reply.states[0].settled_seq) == (60, 1)
    await commit(engine, "a", 2, [5])
    assert await held(engine, "a") == {day_of(): 55}


# How a lease goes back.


async def test_a_lease_goes_back_in_parts_and_at_most_what_is_there(engine: Engine) -> None:
    await take(engine, "a", day_of(TEAM), 10, limit=100)
    await take(engine, "a", day_of(), 80, limit=100)
    await take(engine, "b", day_of(), 20, limit=100)
    states = await engine.budgets.give_back("a", [(day_of(TEAM), 4), (day_of(), 30), (lifetime_of(), 5)])
    assert [(state.window, state.amount_nano_usd, state.leased_nano_usd) for state in states] == [
        (day_of(TEAM), 6, 6),
        (day_of(), 50, 70),
        (lifetime_of(), 0, 0),
    ]
    (state,) = await engine.budgets.give_back("a", [(day_of(), 90)])
    assert (state.amount_nano_usd, state.leased_nano_usd) == (0, 20)
    (state,) = await engine.budgets.give_back("a", [(day_of(), 90)])
    assert (state.amount_nano_usd, state.leased_nano_usd) == (0, 20)
    assert await held(engine, "a") == {day_of(TEAM): 6}
    assert (await engine.auditor.audit()).differences == ()


async def test_release_gives_back_all_leases_of_the_holder(engine: Engine) -> None:
    for window in (day_of(), lifetime_of(), day_of(TEAM)):
        await take(engine, "a", window, 80)
    await take(engine, "b", day_of(), 20)
    assert await engine.budgets.release("a") == 3
    assert await engine.budgets.release("a") == 0
    assert (await held(engine, "a"), await held(engine, "b")) == ({}, {day_of(): 20})
    assert (await look(engine, day_of())).leased_nano_usd == 20
    assert (await engine.auditor.audit()).differences == ()


async def test_commits_and_returns_that_race_are_exact(engine: Engine) -> None:
    await take(engine, "a", day_of(), 40_000, limit=10**9)

    async def spend() -> None:
        for first_seq in range(1, 31, 3):
            await engine.peer.commit(make_batch("a", first_seq, 3))

    async def give_back() -> None:
        for _ in range(10):
            await engine.budgets.give_back("a", [(day_of(), 700)])

    await asyncio.gather(spend(), give_back())
    found = await look(engine, day_of())
    assert (found.spent_nano_usd, found.leased_nano_usd) == (30_000, 3_000)
    assert await held(engine, "a") == {day_of(): 3_000}


# What is wanted.


async def test_holders_hear_of_what_others_lack(engine: Engine) -> None:
    await take(engine, "a", day_of(), 90, limit=100)
    await take(engine, "a", day_of(TEAM), 90, limit=1_000)
    await take(engine, "b", day_of(), 5, limit=100)
    assert await engine.budgets.wanted("a") == ()
    reply = await lease(engine, "b", request(day_of(), 100, need=20), request(day_of(TEAM), 1_000, need=20))
    assert not reply.granted
    assert await engine.peer_budgets.wanted("a") == (day_of(),), "the other has enough"
    assert await engine.budgets.wanted("b") == (), "it need not give back what itself it lacks"
    (state, other) = await engine.budgets.renew("a", seconds=SECONDS)
    assert (state.window, state.is_wanted, other.is_wanted) == (day_of(), True, False)

    reply = await lease(engine, "a", request(day_of(), 100, need=1, want=5))
    assert amounts(reply) == [91], "no more than the need"
    await engine.budgets.give_back("a", [(day_of(), 71)])
    assert (await lease(engine, "b", request(day_of(), 100, need=20, want=75))).states[0].amount_nano_usd == 25
    await engine.let_pass(30)
    assert await engine.budgets.wanted("a") == ()
    assert amounts(await lease(engine, "b", request(day_of(), 100, want=75))) == [80]


async def test_two_who_lack_the_same_both_hear_of_it(engine: Engine) -> None:
    await take(engine, "a", day_of(), 50, limit=100)
    await take(engine, "b", day_of(), 50, limit=100)
    for holder in "ab":
        assert not (await lease(engine, holder, request(day_of(), 100, need=20))).granted
    assert await engine.budgets.wanted("a") == await engine.budgets.wanted("b") == (day_of(),)


async def test_what_nobody_else_has_is_not_wanted(engine: Engine) -> None:
    await commit(engine, "a", 1, [50])
    await take(engine, "a", day_of(), 50, limit=100)
    assert not (await lease(engine, "a", request(day_of(), 100, need=1))).granted
    await engine.budgets.release("a")
    assert not (await lease(engine, "b", request(day_of(), 100, need=51))).granted
    await take(engine, "a", day_of(), 10, limit=100)
    assert await engine.budgets.wanted("a") == ()
    assert await engine.budgets.wanted("b") == ()


async def test_a_window_that_begins_later_can_be_leased(engine: Engine) -> None:
    later = Window(KEY, engine.clock.now() + timedelta(days=400), engine.clock.now() + timedelta(days=401))
    assert (await take(engine, "a", later, 30)).spent_nano_usd == 0
