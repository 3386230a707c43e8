"""The arithmetic of a sliding window: never more than the limit in any stretch, and no caller kept out for long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tallystick.access.rates.sliding_window import SLICES, SlidingWindow, slice_ms_of

WINDOW_MS = 6_000
SLICE_MS = slice_ms_of(WINDOW_MS)

STEPS = st.lists(
    st.tuples(st.one_of(st.integers(0, 5), st.integers(0, 250), st.integers(0, 8_000)), st.integers(1, 12)),
    max_size=120,
)


def admitted(steps, limit, *, begin=0):
    """Take what fits at each step; return what was granted, as moments and amounts, and what was not."""
    window, now = SlidingWindow(WINDOW_MS), begin
    granted, denied = [], []
    for pause, amount in steps:
        now += pause
        window.advance(now)
        if window.used + amount <= limit:
            window.add(amount, now)
            granted.append((now, amount))
        else:
            denied.append((now, amount, window.wait_ms(amount, limit, now)))
    return granted, denied


@given(STEPS, st.integers(1, 30), st.integers(0, 10**13))
def test_no_stretch_as_long_as_a_window_holds_more_than_the_limit(steps, limit, begin):
    granted, _ = admitted(steps, limit, begin=begin)

    for end, _ in granted:
        assert sum(amount for moment, amount in granted if end - WINDOW_MS <= moment <= end) <= limit


@given(STEPS, st.integers(1, 30))
def test_no_aligned_window_holds_more_than_the_limit(steps, limit):
    granted, _ = admitted(steps, limit)

    for number in {moment // WINDOW_MS for moment, _ in granted}:
        assert sum(amount for moment, amount in granted if moment // WINDOW_MS == number) <= limit


@given(STEPS, st.integers(1, 30))
def test_nothing_is_denied_that_fits_beside_a_window_and_one_slice(steps, limit):
    granted, denied = admitted(steps, limit)

    for now, amount, _ in denied:
        near = sum(each for moment, each in granted if now - WINDOW_MS - SLICE_MS <= moment <= now)
        assert near + amount > limit


@given(STEPS, st.integers(1, 30), st.integers(1, 30))
def test_the_wait_is_neither_too_short_nor_too_long(steps, limit, amount):
    amount = min(amount, limit)
    window, now = SlidingWindow(WINDOW_MS), 0
    for pause, each in steps:
        now += pause
        window.advance(now)
        if window.used + each <= limit:
            window.add(each, now)
    window.advance(now)
    wait = window.wait_ms(amount, limit, now)

    assert 0 <= wait <= WINDOW_MS + 1
    if wait:
        window.advance(now + wait - 1)
        assert window.used + amount > limit
    window.advance(now + wait)
    assert window.used + amount <= limit


@given(
    STEPS,
    st.lists(st.tuples(st.integers(-40, 40), st.integers(0, 8_000), st.integers(0, 3_000)), max_size=40),
)
def test_corrections_never_bring_it_below_nothing_and_all_of_it_goes_in_the_end(steps, corrections):
    window, now = SlidingWindow(WINDOW_MS), 10_000
    for pause, amount in steps:
        now += pause
        window.advance(now)
        window.add(amount, now)
    for amount, ago, pause in corrections:
        now += pause
        window.advance(now)
        before = window.used
        window.correct(amount, taken_ms=now - ago, now_ms=now)
        assert 0 <= window.used
        assert window.used <= before + max(0, amount)
    window.advance(now + WINDOW_MS + 1)
    assert window.used == 0
    assert window.is_empty


def test_who_keeps_to_the_limit_evenly_is_never_denied():
    for limit in (1, 3, 60):
        pause = WINDOW_MS // limit + 1
        granted, denied = admitted([(pause, 1)] * 500, limit)
        assert (len(granted), denied) == (500, [])


def test_a_slice_counts_until_its_newest_take_is_a_window_ago():
    window = SlidingWindow(WINDOW_MS)
    window.add(1, 100)
    window.add(1, 199)
    for now in (100 + WINDOW_MS + 1, 199 + WINDOW_MS):
        window.advance(now)
        assert window.used == 2
    window.advance(199 + WINDOW_MS + 1)
    assert window.used == 0


def test_what_goes_back_makes_room_where_it_was_taken():
    window = SlidingWindow(WINDOW_MS)
    window.add(10, 100)
    window.add(5, 3_000)
    window.correct(-8, taken_ms=100, now_ms=3_500)

    assert window.used == 7
    window.advance(100 + WINDOW_MS + 1)
    assert window.used == 5


def test_what_was_used_beyond_the_estimate_counts_from_when_it_was_used():
    window = SlidingWindow(WINDOW_MS)
    window.add(10, 100)
    window.correct(20, taken_ms=100, now_ms=5_000)
    window.advance(100 + WINDOW_MS + 1)

    assert window.used == 20


def test_a_correction_of_what_is_gone_changes_nothing():
    window = SlidingWindow(WINDOW_MS)
    window.add(10, 100)
    window.advance(20_000)
    window.add(4, 20_000)
    window.correct(-10, taken_ms=100, now_ms=20_000)

    assert window.used == 4


def test_it_stays_small():
    window = SlidingWindow(WINDOW_MS)
    for now in range(0, 60_000, 7):
        window.advance(now)
        window.add(1, now)

    assert len(window._slices) <= SLICES + 1
