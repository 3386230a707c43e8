"""What adds up to a window: each moment of it once, and no other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from tallystick.access.scopes import LIFETIME_END, LIFETIME_START, Scope, Window
from tallystick.stores.window_days import Edge, WindowDays, days_of

SCOPE = Scope("key", "k1")
HALF_HOUR = timedelta(minutes=30)
BEGINNING = datetime(2026, 3, 14, tzinfo=UTC)
MOMENTS = st.integers(0, 6 * 48).map(lambda number: BEGINNING + number * HALF_HOUR)


def times_counted(days: WindowDays, moment: datetime) -> int:
    by_day = 1 if days.first <= moment.date() < days.end else 0
    return by_day + sum(edge.sign for edge in days.edges if edge.since <= moment < edge.until)


@given(MOMENTS, MOMENTS, st.integers(-12, 14))
def test_each_moment_of_a_window_counts_once(one: datetime, other: datetime, hours: int) -> None:
    starts_at, ends_at = min(one, other), max(one, other) + timedelta(microseconds=1)
    zone = timezone(timedelta(hours=hours))
    days = days_of(Window(SCOPE, starts_at.astimezone(zone), ends_at.astimezone(zone)))
    moments = [BEGINNING + number * HALF_HOUR for number in range(-48, 8 * 48)]
    counted = [times_counted(days, moment) for moment in moments]
    assert counted == [1 if starts_at <= moment < ends_at else 0 for moment in moments]


@given(MOMENTS, MOMENTS)
def test_at_most_half_a_day_is_read_at_either_end_and_of_one_day_only(one: datetime, other: datetime) -> None:
    days = days_of(Window(SCOPE, min(one, other), max(one, other) + HALF_HOUR))
    for edge in days.edges:
        assert edge.until - edge.since <= timedelta(hours=12)
        assert edge.is_empty or (edge.until - timedelta(microseconds=1)).date() == edge.day


def test_whole_days_have_no_edges() -> None:
    for starts_at, ends_at in [(LIFETIME_START, LIFETIME_END), (BEGINNING, BEGINNING + timedelta(days=2))]:
        days = days_of(Window(SCOPE, starts_at, ends_at))
        assert (days.first, days.end) == (starts_at.date(), ends_at.date())
        assert all(edge.is_empty for edge in days.edges)


def test_the_part_of_a_day_that_has_not_come_yet_is_read_rather_than_the_one_that_is_over() -> None:
    days = days_of(Window(SCOPE, BEGINNING - timedelta(hours=2), BEGINNING + timedelta(hours=22)))
    assert days.edges == (
        Edge(1, BEGINNING - timedelta(hours=2), BEGINNING),
        Edge(-1, BEGINNING + timedelta(hours=22), BEGINNING + timedelta(hours=24)),
    )
    assert (days.first, days.end) == (BEGINNING.date(), BEGINNING.date() + timedelta(days=1))
