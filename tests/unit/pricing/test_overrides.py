"""The configuration's own prices, discounts and margins."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.config.model_list import PRICE_FIELDS
from tallystick.config.settings import CostSettings, Margin
from tallystick.errors import ConfigError
from tallystick.pricing.cost import price_usage
from tallystick.pricing.overrides import UNITS_OF_PRICE_FIELDS, deployment_sheet, no_seed
from tallystick.pricing.price import PriceSheet, Rate, Tier
from tallystick.wire.usage import Usage

LISTED = PriceSheet(
    version="list:1:openai/gpt",
    rates={
        "input": Rate(nano_usd_per_million=100),
        "cache_read": Rate(nano_usd_per_million=10),
        "output": Rate(nano_usd_per_million=200),
        "reasoning": Rate(nano_usd_per_million=300),
    },
)


def listing(provider, model):
    return LISTED if (provider, model) == ("openai", "gpt") else None


def settle(prices=None, *, provider="openai", model="gpt", base_model=None, costs=None, seed=listing):
    return deployment_sheet(
        deployment_id="d1",
        provider=provider,
        model=model,
        prices={name: Decimal(usd) for name, usd in (prices or {}).items()},
        base_model=base_model,
        costs=costs or CostSettings(),
        seed=seed,
    )


def test_without_own_prices_the_list_holds():
    assert settle() == LISTED
    assert settle(model="other") is None


@pytest.mark.parametrize("base_model", ["gpt", "openai/gpt"])
def test_a_base_model_is_looked_up_instead(base_model):
    assert settle(model="my-deployment", base_model=base_model) == LISTED
    assert settle(provider="azure", model="my-deployment", base_model="openai/gpt") == LISTED


def test_an_own_price_replaces_the_family_and_leaves_the_rest():
    sheet = settle({"input_cost_per_token": "0.000001"})
    assert sheet.rates == {
        "input": Rate(nano_usd_per_million=10**9),
        "output": LISTED.rates["output"],
        "reasoning": LISTED.rates["reasoning"],
    }


def test_an_own_price_of_a_part_leaves_its_whole():
    sheet = settle({"cache_read_input_token_cost": "0.0000005"})
    assert sheet.rates == {**LISTED.rates, "cache_read": Rate(nano_usd_per_million=5 * 10**8)}


def test_the_version_names_the_deployment_and_changes_with_the_prices():
    first = settle({"input_cost_per_token": "0.000001"}).version
    assert first.startswith("config:d1:")
    assert first == settle({"input_cost_per_token": "0.0000010"}).version
    assert first != settle({"input_cost_per_token": "0.000002"}).version
    assert first != settle({"input_cost_per_token": "0.000001"}, costs=CostSettings(margins={"openai": 0.1})).version


def test_tiers():
    sheet = settle(
        {
            "input_cost_per_token": "0.000001",
            "input_cost_per_token_above_200k_tokens": "0.000003",
            "input_cost_per_token_above_128k_tokens": "0.000002",
        }
    )
    assert sheet.rates["input"].tiers == (
        Tier(above_input_tokens=128_000, nano_usd_per_million=2 * 10**9),
        Tier(above_input_tokens=200_000, nano_usd_per_million=3 * 10**9),
    )


def test_a_tier_rests_on_the_lists_base_or_is_refused():
    prices = {"output_cost_per_token_above_200k_tokens": "0.000003"}
    assert settle(prices).rates["output"].nano_usd_per_million == 200
    with pytest.raises(ConfigError, match="no base"):
        settle(prices, seed=no_seed)


def test_seconds_become_hours_exactly():
    sheet = settle({"input_cost_per_second": "0.0001", "output_cost_per_second": "0.00000001"}, seed=no_seed)
    assert sheet.rates["hours"].nano_usd_per_million == 360_036_000 * 10**6


def test_tools_of_the_provider_by_the_thousand_and_by_the_session():
    sheet = settle({"file_search_cost_per_1k_calls": "2.5", "code_interpreter_cost_per_session": "0.03"}, seed=no_seed)
    cost = price_usage(Usage(input_tokens=1, file_searches=2, code_sessions=1), sheet)
    assert cost.breakdown == {"file_searches": 5_000_000, "code_sessions": 30_000_000}


def test_discount_and_margin_by_provider_else_global():
    costs = CostSettings(
        discounts={"openai": 0.05}, margins={"global": 0.1, "groq": Margin(percentage=0, fixed_amount="0.001")}
    )
    sheet = settle(costs=costs)
    assert (sheet.discount_ppm, sheet.margin_ppm, sheet.margin_fixed_nano_usd) == (50_000, 100_000, 0)
    assert sheet.version == LISTED.version
    groq = settle({"input_cost_per_token": "0.1"}, provider="groq", costs=costs)
    assert (groq.discount_ppm, groq.margin_ppm, groq.margin_fixed_nano_usd) == (0, 0, 1_000_000)


def test_every_price_field_of_the_configuration_has_a_unit():
    assert UNITS_OF_PRICE_FIELDS.keys() == PRICE_FIELDS


@given(st.dictionaries(st.sampled_from(sorted(PRICE_FIELDS)), st.decimals(0, 1, places=12), min_size=1))
def test_own_prices_arrive_exactly(prices):
    sheet = settle(prices, seed=no_seed)
    expected = {}
    for field, usd in prices.items():
        unit, factor = UNITS_OF_PRICE_FIELDS[field]
        expected[unit] = expected.get(unit, 0) + int(usd * factor * 10**15)
    assert {unit: rate.nano_usd_per_million for unit, rate in sheet.rates.items()} == expected
