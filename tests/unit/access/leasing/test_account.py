"""An account's arithmetic: what is free, and that the store's answers and our own events stay in step."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.access.budget_store import LeaseState
from tallystick.access.leasing.account import Account
from tallystick.access.scopes import LIFETIME_END, LIFETIME_START, Scope, Window

WINDOW = Window(Scope("key", "k1"), LIFETIME_START, LIFETIME_END)


def account(**fields) -> Account:
    return Account(WINDOW, since_seq=fields.pop("since_seq", 0), entity_ids=frozenset(), now=0.0)


def state(amount: int, *, settled_seq: int = 0, spent: int = 0, leased: int | None = None) -> LeaseState:
    return LeaseState(
        window=WINDOW,
        spent_nano_usd=spent,
        carried_nano_usd=0,
        leased_nano_usd=amount if leased is None else leased,
        amount_nano_usd=amount,
        settled_seq=settled_seq,
    )


def told(held: Account, amount: int, *, watermark: int = 0, **fields) -> None:
    held.apply(state(amount, **fields), watermark=watermark, sent_at=0.0, trusted_until=100.0)


def test_nothing_is_free_before_the_store_has_granted_anything():
    assert account().free_at(1.0) == 0


def test_holds_and_uncommitted_events_are_taken_off_what_is_leased():
    held = account()
    told(held, 100)
    held.hold(30, 1.0)
    held.settle(1, 20, 1.0)
    assert held.free_at(1.0) == 50


def test_a_lease_past_its_time_is_not_spent():
    held = account()
    told(held, 100)
    assert (held.free_at(99.9), held.free_at(100.0)) == (100, 0)


def test_an_answer_that_knows_an_event_does_not_take_it_off_twice():
    held = account()
    told(held, 100)
    held.settle(1, 20, 1.0)
    held.settle(2, 5, 1.0)
    told(held, 80, settled_seq=1, spent=20)
    assert held.free_at(1.0) == 75
    assert held.known_spend == 25


def test_what_was_committed_before_the_store_was_asked_is_in_its_answer_even_without_a_lease():
    held = account()
    held.settle(1, 20, 1.0)
    told(held, 0, watermark=1, spent=20)
    assert held.known_spend == 20


def test_an_event_that_the_store_has_settled_already_is_not_pending():
    held = account(since_seq=5)
    held.settle(5, 20, 1.0)
    assert held.pending == 0


def test_releasing_a_hold_twice_is_a_fault():
    held = account()
    held.hold(10, 1.0)
    held.release(10, 1.0)
    with pytest.raises(AssertionError):
        held.release(10, 1.0)


async def test_whoever_waits_hears_of_a_hold_that_ended():
    held = account()
    held.hold(10, 1.0)
    waiter = asyncio.get_running_loop().create_future()
    held.waiters[waiter] = 10
    held.release(10, 1.0)
    assert waiter.done()
    assert not held.waiters


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(0, 1_200))
def test_folding_committed_events_frees_memory_and_changes_nothing_that_is_free(costs, watermark):
    held = account()
    told(held, 10**6)
    events = (costs * 1_200)[:1_200]
    for seq, cost in enumerate(events, 1):
        held.settle(seq, cost, 1.0)
    before = held.free_at(1.0)
    held.fold(watermark)
    assert held.free_at(1.0) == before
    assert len(held._pending) == 1_200 - watermark


def test_a_fold_does_not_disturb_a_statement_that_is_under_way():
    held = account()
    told(held, 10**6)
    for seq in range(1, 1_002):
        held.settle(seq, 1, 1.0)
    held.statements = 1
    held.fold(1_001)
    told(held, 10**6, settled_seq=0)  # The answer was made before the commit.
    assert held.free_at(1.0) == 10**6 - 1_001


def test_a_fold_makes_answers_void_that_were_under_way():
    held = account()
    told(held, 10**6)
    for seq in range(1, 1_002):
        held.settle(seq, 1, 1.0)
    begun = held.statements_begun
    held.fold(1_001)
    assert held.statements_begun != begun


def test_a_lease_grows_while_it_is_used_up_quickly_and_shrinks_when_it_is_not():
    held = account()
    first = held.want_of(10, 0.0)
    held.note_grant(first, 0.0)
    second = held.want_of(10, 1.0)
    held.note_grant(second, 1.0)
    assert second == 2 * first
    assert held.want_of(10, 100.0) == first
