"""Budgets of the file: LiteLLM's names, exact money, zones that exist and times of day."""

from __future__ import annotations

from datetime import UTC, time
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.access.durations import parse_duration
from tallystick.config.budget_settings import BudgetSettings, ProviderBudget
from tallystick.config.load import load_settings
from tallystick.config.problems import InvalidConfig


@pytest.fixture
def read(tmp_path):
    def read(text, **environ):
        file = tmp_path / "c.yaml"
        file.write_text(text)
        return load_settings(config_file=file, overrides={}, environ=environ)

    return read


def test_litellm_s_names_are_read_where_litellm_has_them(read):
    settings = read("""
litellm_settings:
  max_budget: 100.1
  budget_duration: 30d
  max_end_user_budget: 0.000000001
  max_end_user_budget_id: free
  timezone: Europe/Berlin
  budget_reset_time: "12:30"
  budget_rollover: true
  block_requests_for_models_without_pricing: true
general_settings:
  fail_closed_budget_enforcement: true
  apply_user_budget_to_team_keys: true
  budget_exceeded_status_code: 429
router_settings:
  provider_budget_config:
    openai: {budget_limit: 0.3, time_period: 1d}
    azure: {max_budget: "7", budget_duration: 1mo}
""")
    budgets = settings.budgets
    assert settings.warnings == ()
    assert (budgets.max_budget, budgets.duration) == (Decimal("100.1"), "30d")
    assert (budgets.max_end_user_budget, budgets.max_end_user_budget_id) == (Decimal("0.000000001"), "free")
    assert (budgets.zone, budgets.reset_time) == (ZoneInfo("Europe/Berlin"), time(12, 30))
    assert (budgets.rollover, budgets.blocks_unpriced_models, budgets.is_fail_closed) == (True, True, True)
    assert budgets.applies_user_budget_to_team_keys
    assert budgets.exceeded_status_code == 429
    assert budgets.provider_budgets == {
        "openai": ProviderBudget(budget_limit=Decimal("0.3"), time_period="1d"),
        "azure": ProviderBudget(budget_limit=Decimal(7), time_period="1mo"),
    }


def test_without_any_the_defaults_are_as_documented(read):
    budgets = read("").budgets
    assert budgets == BudgetSettings()
    assert (budgets.zone, budgets.reset_time, budgets.exceeded_status_code) == (UTC, time(), 422)
    assert (budgets.unknown_price, budgets.database_away) == ("allow", "deny")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('"09:05"', time(9, 5)),
        ("9:05", time(9, 5)),  # YAML takes it for a number of minutes,
        ("12:00:30", time(12, 0, 30)),  # and this one for a number of seconds.
        ("00:30", time(0, 30)),
        ('"23:59"', time(23, 59)),
    ],
)
def test_a_time_of_day_is_read_with_and_without_quotes(read, written, expected):
    assert read(f"litellm_settings: {{budget_reset_time: {written}}}").budgets.reset_time == expected


def test_the_environment_gives_zone_and_time(read):
    budgets = read("", TALLYSTICK_BUDGET_TIMEZONE="Asia/Kolkata", TALLYSTICK_BUDGET_RESET_TIME="06:00").budgets
    assert (budgets.zone, budgets.reset_time) == (ZoneInfo("Asia/Kolkata"), time(6))


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("litellm_settings: {timezone: Mars/Olympus}", "litellm_settings.timezone", "name of a time zone"),
        ("litellm_settings: {timezone: ../../etc/passwd}", "litellm_settings.timezone", "name of a time zone"),
        ("litellm_settings: {timezone: ''}", "litellm_settings.timezone", "name of a time zone"),
        ("litellm_settings: {budget_reset_time: '24:00'}", "litellm_settings.budget_reset_time", "time of day"),
        ("litellm_settings: {budget_reset_time: noon}", "litellm_settings.budget_reset_time", "time of day"),
        ("litellm_settings: {budget_reset_time: true}", "litellm_settings.budget_reset_time", "time of day"),
        ("litellm_settings: {budget_reset_time: 86400}", "litellm_settings.budget_reset_time", "time of day"),
        ("litellm_settings: {budget_duration: soon}", "litellm_settings.budget_duration", "a number and a unit"),
        ("litellm_settings: {max_budget: -1}", "litellm_settings.max_budget", "greater than or equal to 0"),
        ("litellm_settings: {max_budget: .inf}", "litellm_settings.max_budget", "finite"),
        ("litellm_settings: {max_budget: 0.0000000001}", "litellm_settings.max_budget", "decimal places"),
        ("general_settings: {budget_exceeded_status_code: 500}", "general_settings", "less than or equal to 499"),
        ("general_settings: {budget_idle_seconds: 60}", "budgets", "must be less than budget_lease_seconds"),
        (
            "router_settings: {provider_budget_config: {openai: {time_period: 1d}}}",
            "router_settings.provider_budget_config.openai",
            "Field required",
        ),
    ],
)
def test_what_is_wrong_stops_the_start(read, text, place, reason):
    with pytest.raises(InvalidConfig) as caught:
        read(text)
    assert place in str(caught.value)
    assert reason in str(caught.value)


DURATIONS = st.one_of(
    st.builds(lambda number, unit: f"{number}{unit}", st.integers(1, 10**8), st.sampled_from(("s", "m", "h", "d"))),
    st.builds(lambda number, unit: f"{number}{unit}", st.integers(1, 2_000), st.sampled_from(("w", "mo"))),
)


@given(DURATIONS)
def test_a_duration_that_the_file_may_have_is_one_for_windows(text):
    try:
        read = BudgetSettings(duration=text)
    except ValueError:
        return
    parse_duration(read.duration)
