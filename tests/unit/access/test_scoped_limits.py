"""What an object's limits mean for its scope."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from tallystick.access.limits import Limits, WindowLimit, amount_nano_usd, member_limits, with_shared
from tallystick.access.model_budgets import ModelBudget, read_model_budgets
from tallystick.access.scoped_limits import RateLimits, corrections_of, limits_of, log_unreadable
from tallystick.access.scopes import LIFETIME_END, LIFETIME_START, Budget, Correction, Scope, Window

SCOPE = Scope("key", "h")
NOW = datetime(2026, 5, 1, tzinfo=UTC)
USD = 10**9


def test_without_limits_there_are_none():
    assert limits_of(SCOPE, Limits()).is_empty
    assert limits_of(SCOPE, Limits(), shared=Limits()).is_empty
    assert not limits_of(SCOPE, Limits(max_budget_nano_usd=0)).is_empty
    assert not limits_of(SCOPE, Limits(rpm_limit=0)).is_empty
    assert not limits_of(SCOPE, Limits(soft_budget_nano_usd=1)).is_empty


def test_each_window_is_a_budget_of_its_own():
    limits = Limits(
        max_budget_nano_usd=10,
        soft_budget_nano_usd=8,
        budget_duration="30d",
        budget_limits=(WindowLimit(budget_duration="1d", max_budget_nano_usd=2),),
        temp_budget_increase_nano_usd=5,
        temp_budget_expiry=NOW,
    )
    of = limits_of(SCOPE, limits, entity_ids=("h2",))
    assert of.budgets == (
        Budget(
            scope=SCOPE,
            limit_nano_usd=10,
            soft_limit_nano_usd=8,
            duration="30d",
            entity_ids=("h2",),
            increase_nano_usd=5,
            increase_until=NOW,
        ),
        Budget(scope=SCOPE, limit_nano_usd=2, duration="1d", entity_ids=("h2",)),
    )
    assert [of.budgets[0].limit_at(NOW - timedelta(seconds=1)), of.budgets[0].limit_at(NOW)] == [15, 10]


def test_corrections_are_of_the_scope_as_a_whole():
    day = Correction(starts_at=NOW, ends_at=NOW + timedelta(days=1), nano_usd=-3)
    limits = Limits(max_budget_nano_usd=10, model_max_budget={"m": 1})
    of = limits_of(SCOPE, limits, corrections=corrections_of(-7, (day,)))
    (budget,), (of_model,) = of.budgets, of.model_budgets["m"]
    assert budget.correction_of(Window(SCOPE, LIFETIME_START, LIFETIME_END)) == -7
    assert budget.correction_of(Window(SCOPE, day.starts_at, day.ends_at)) == -3
    assert of_model.corrections == ()
    assert corrections_of(0, ()) == ()
    assert corrections_of(0, (day,)) == (day,)


def test_rates_by_model_stand_beside_those_of_all():
    limits = Limits(
        rpm_limit=1,
        tpm_limit=2,
        tpd_limit=3,
        max_parallel_requests=4,
        model_rpm_limit={"a": 5},
        model_tpm_limit={"a": 6, "b": 7},
        model_max_budget={"b": {"budget_limit": 1, "tpm_limit": 70, "rpm_limit": 8}, "c": {"rpm_limit": 9}},
    )
    of = limits_of(SCOPE, limits)
    assert of.rates == RateLimits(requests_per_minute=1, tokens_per_minute=2, tokens_per_day=3, parallel_requests=4)
    assert of.model_rates == {
        "a": RateLimits(requests_per_minute=5, tokens_per_minute=6),
        "b": RateLimits(requests_per_minute=8, tokens_per_minute=7),
        "c": RateLimits(requests_per_minute=9),
    }
    assert of.model_budgets.keys() == {"b"}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"budget_limit": 1.0, "time_period": "1d"}, ModelBudget(limit_nano_usd=USD, duration="1d")),
        ({"max_budget": "0.1", "budget_duration": "30d"}, ModelBudget(limit_nano_usd=USD // 10, duration="30d")),
        ({"budget_limit": 0, "max_budget": 5}, ModelBudget(limit_nano_usd=0)),
        ({"budget_limit": None, "max_budget": 5, "time_period": None}, ModelBudget(limit_nano_usd=5 * USD)),
        (2, ModelBudget(limit_nano_usd=2 * USD)),
        ("2.5", ModelBudget(limit_nano_usd=5 * USD // 2)),
        ({"rpm_limit": 3, "surplus": []}, ModelBudget(rpm_limit=3)),
    ],
)
def test_litellm_s_shapes_of_budgets_by_model(written, expected):
    assert read_model_budgets({"m": written}) == ({"m": expected}, {})


@pytest.mark.parametrize(
    "written",
    [
        {},
        None,
        [],
        True,
        "much",
        "NaN",
        "Infinity",
        "1e999999",
        -1,
        1e300,
        {"budget_limit": True},
        {"budget_limit": [1]},
        {"budget_limit": 1, "time_period": "soon"},
        {"budget_limit": 1, "time_period": 30},
        {"budget_limit": 1, "time_period": "0d"},
        {"rpm_limit": -1},
        {"rpm_limit": True},
        {"tpm_limit": "3"},
    ],
)
def test_what_can_t_be_read_holds_for_nothing_and_is_told(written):
    of = limits_of(SCOPE, Limits(model_max_budget={"good": 1, "m": written}))
    assert of.model_budgets.keys() == {"good"}
    assert of.unreadable.keys() == {"model_max_budget[m]"}
    with capture_logs() as logs:
        log_unreadable((of,))
    assert [(each["event"], each["place"]) for each in logs] == [("limit_unreadable", "model_max_budget[m]")]


def test_the_model_is_in_the_scope_of_its_budget():
    of = limits_of(SCOPE, Limits(model_max_budget={"m": 1}), entity_ids=("h2",))
    assert of.model_budgets == {
        "m": (Budget(scope=Scope("key", "h", "", "m"), limit_nano_usd=USD, entity_ids=("h2",)),)
    }


def test_own_limits_go_before_those_of_the_shared_row_field_by_field():
    shared = Limits(max_budget_nano_usd=10, budget_duration="30d", rpm_limit=5, model_rpm_limit={"a": 1})
    assert with_shared(Limits(), shared) == shared
    own = Limits(max_budget_nano_usd=0, tpm_limit=7)
    merged = with_shared(own, shared)
    assert (merged.max_budget_nano_usd, merged.budget_duration) == (0, "30d")
    assert (merged.rpm_limit, merged.tpm_limit, merged.model_rpm_limit) == (5, 7, {"a": 1})
    assert with_shared(own, Limits()) == own
    assert limits_of(SCOPE, own, shared=shared) == limits_of(SCOPE, merged)


def test_who_has_an_own_budget_does_not_take_over_the_window_of_the_team_s():
    defaults = Limits(max_budget_nano_usd=10, budget_duration="30d", tpm_limit=3)
    assert member_limits(Limits(), defaults) == defaults
    own = member_limits(Limits(max_budget_nano_usd=5), defaults)
    assert (own.max_budget_nano_usd, own.budget_duration, own.tpm_limit) == (5, "", 3)


def test_amounts_are_exact():
    assert [amount_nano_usd(usd) for usd in (0.1, "0.000000001", 3)] == [100_000_000, 1, 3 * USD]
