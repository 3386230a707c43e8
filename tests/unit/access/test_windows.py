"""Windows tile time: every moment is in exactly one window of a duration, whatever the zone does to its clocks."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tallystick.access.scopes import LIFETIME_END, LIFETIME_START, Scope, Window
from tallystick.access.windows import MIDNIGHT_UTC, Period, WindowRule
from tallystick.errors import BadRequest

HOUR = timedelta(hours=1)
SCOPE = Scope("key", "h")
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",  # Turned back from 01:00 to 00:00: midnight comes twice.
    "America/Sao_Paulo",  # Until 2019, midnight was skipped when summer began.
    "Asia/Beirut",  # Midnight is skipped when summer begins.
    "Asia/Kolkata",
    "Australia/Lord_Howe",  # Summer is half an hour.
    "Pacific/Apia",  # 30 December 2011 did not exist.
    "America/St_Johns",  # Until 2011, turned back from 00:01: a Sunday began, and it was Saturday once more.
)
DURATIONS = ("30s", "15m", "1h", "7h", "1d", "24h", "2d", "7d", "1w", "2w", "10d", "30d", "1mo", "3mo", "5mo", "12mo")


def at(text):
    return datetime.fromisoformat(text)


def rule(zone="UTC", day_starts=time()):
    return WindowRule(zone=ZoneInfo(zone), day_starts=day_starts)


rules = st.builds(
    WindowRule,
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    day_starts=st.one_of(st.just(time()), st.builds(time, st.integers(0, 23), st.sampled_from((0, 15, 30, 59)))),
)
# Seconds from 1990 to 2040, with parts of them.
moments = st.integers(631_152_000_000_000, 2_208_988_800_000_000).map(
    lambda microseconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
)


@given(rules, st.sampled_from(DURATIONS), moments)
@example(rule("America/Havana", time(0, 30)), "1d", at("2024-11-03T05:10:00+00:00"))
@example(rule("America/St_Johns"), "1d", at("2010-11-07T03:00:00+00:00"))
@example(rule("Pacific/Apia"), "1d", at("2011-12-30T10:00:00+00:00"))
@example(rule("Pacific/Apia"), "1d", at("2011-12-30T09:59:59.999999+00:00"))
@example(rule("Asia/Beirut"), "1d", at("2024-03-30T22:00:00+00:00"))
@example(rule("Australia/Lord_Howe", time(2, 15)), "1d", at("2024-10-05T15:40:00+00:00"))
def test_windows_tile_time(of, duration, moment):
    period = of.window_at(duration, moment)
    assert period.starts_at <= moment < period.ends_at
    tick = timedelta(microseconds=1)
    for inside in (period.starts_at, period.ends_at - tick):
        assert of.window_at(duration, inside) == period
    assert of.window_at(duration, period.ends_at).starts_at == period.ends_at
    before = of.window_at(duration, period.starts_at - tick)
    assert before.ends_at == period.starts_at
    window = of.window_of(SCOPE, duration, moment)
    assert of.previous(window, duration) == Window(SCOPE, *before)


@given(rules, st.sampled_from(("1d", "7d", "1mo")), moments)
def test_the_zone_in_which_a_moment_is_written_does_not_matter(of, duration, moment):
    elsewhere = moment.astimezone(ZoneInfo("Asia/Tokyo"))
    assert of.window_at(duration, elsewhere) == of.window_at(duration, moment)


@pytest.mark.parametrize(
    ("duration", "starts_at", "ends_at"),
    [
        ("30s", "2026-05-14T13:45:30", "2026-05-14T13:46:00"),
        ("15m", "2026-05-14T13:45:00", "2026-05-14T14:00:00"),
        ("1h", "2026-05-14T13:00:00", "2026-05-14T14:00:00"),
        ("24h", "2026-05-14T00:00:00", "2026-05-15T00:00:00"),
        ("1d", "2026-05-14T00:00:00", "2026-05-15T00:00:00"),
        ("7d", "2026-05-11T00:00:00", "2026-05-18T00:00:00"),
        ("1w", "2026-05-11T00:00:00", "2026-05-18T00:00:00"),
        ("30d", "2026-05-01T00:00:00", "2026-06-01T00:00:00"),
        ("1mo", "2026-05-01T00:00:00", "2026-06-01T00:00:00"),
        ("3mo", "2026-04-01T00:00:00", "2026-07-01T00:00:00"),
        ("12mo", "2026-01-01T00:00:00", "2027-01-01T00:00:00"),
    ],
)
def test_windows_are_aligned(duration, starts_at, ends_at):
    expected = Period(at(starts_at + "+00:00"), at(ends_at + "+00:00"))
    assert MIDNIGHT_UTC.window_at(duration, at("2026-05-14T13:45:31+00:00")) == expected


@pytest.mark.parametrize(
    ("zone", "noon", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T12:00:00+02:00", 23),
        ("Europe/Berlin", "2026-10-25T12:00:00+01:00", 25),
        ("Europe/Berlin", "2026-10-26T12:00:00+01:00", 24),
        ("Australia/Lord_Howe", "2026-10-04T12:00:00+11:00", 23.5),
        ("Australia/Lord_Howe", "2026-04-05T12:00:00+10:30", 24.5),
        ("Asia/Beirut", "2024-03-31T12:00:00+03:00", 23),
        ("America/Sao_Paulo", "2018-11-04T12:00:00-02:00", 23),
        ("America/Havana", "2024-11-03T12:00:00-05:00", 25),
    ],
)
def test_a_day_is_as_long_as_the_zone_makes_it(zone, noon, hours):
    period = rule(zone).window_at("1d", at(noon))
    assert period.ends_at - period.starts_at == hours * HOUR


def test_a_day_whose_midnight_does_not_exist_begins_when_the_clocks_jump():
    period = rule("Asia/Beirut").window_at("1d", at("2024-03-31T12:00:00+03:00"))
    assert period.starts_at == at("2024-03-31T01:00:00+03:00")


def test_a_day_that_does_not_exist_has_no_window():
    samoa = rule("Pacific/Apia")
    last = samoa.window_at("1d", at("2011-12-29T12:00:00-10:00"))
    following = samoa.window_at("1d", at("2011-12-31T12:00:00+14:00"))
    assert last.ends_at == following.starts_at
    assert following.ends_at - last.starts_at == 48 * HOUR


def test_days_weeks_and_months_begin_at_the_time_of_day_and_hours_do_not():
    berlin = rule("Europe/Berlin", time(6, 30))
    early = at("2026-06-01T06:29:59+02:00")
    assert berlin.window_at("1d", early).starts_at == at("2026-05-31T06:30:00+02:00")
    assert berlin.window_at("7d", early).starts_at == at("2026-05-25T06:30:00+02:00")
    assert berlin.window_at("1mo", early).starts_at == at("2026-05-01T06:30:00+02:00")
    assert berlin.window_at("1mo", early + timedelta(seconds=1)).starts_at == at("2026-06-01T06:30:00+02:00")
    assert berlin.window_at("1h", early) == MIDNIGHT_UTC.window_at("1h", early)


def test_bounds_are_in_utc():
    period = rule("Europe/Berlin").window_at("1d", at("2026-05-14T13:00:00+00:00"))
    assert (period.starts_at.tzinfo, period.ends_at.tzinfo) == (UTC, UTC)


def test_without_a_duration_there_is_one_window_for_ever():
    window = MIDNIGHT_UTC.window_of(SCOPE, "", at("2026-05-14T13:00:00+00:00"))
    assert window == Window(SCOPE, LIFETIME_START, LIFETIME_END)
    assert MIDNIGHT_UTC.previous(window, "") is None


def test_what_is_no_duration_is_refused():
    with pytest.raises(BadRequest, match="budget_duration"):
        MIDNIGHT_UTC.window_at("soon", at("2026-05-14T13:00:00+00:00"))
