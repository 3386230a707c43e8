"""What calls in service tiers cost: the tier's own prices, the factors of a model, else the usual price."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import ConfigError
from tallystick.pricing.ceiling import cost_ceiling
from tallystick.pricing.cost import price_usage
from tallystick.pricing.price import PriceSheet, Rate, Tier
from tallystick.pricing.service_tier import possible_sheets, sheet_in_tier, with_service_tiers
from tallystick.wire.usage import Usage

USUAL = PriceSheet(
    version="list",
    rates={
        "input": Rate(nano_usd_per_million=2_000_000_000),
        "cache_read": Rate(nano_usd_per_million=200_000_000),
        "output": Rate(nano_usd_per_million=8_000_000_000),
        "searches": Rate(nano_usd_per_million=10_000_000_000_000),
    },
    discount_ppm=100_000,
)
PRIORITY = {"input_cost_per_token": Decimal("0.000004"), "output_cost_per_token": Decimal("0.000016")}
FLEX = {"input_cost_per_token": Decimal("0.000001")}
USAGE = Usage(input_tokens=1_000, cache_read_tokens=400, output_tokens=100)


def tiered(*, factors: dict[str, Decimal] | None = None, **prices: dict[str, Decimal]) -> PriceSheet:
    return with_service_tiers(USUAL, deployment_id="d1", prices=prices, factors=factors or {})


def cost(sheet: PriceSheet, tier: str) -> int:
    return price_usage(USAGE, sheet_in_tier(sheet, tier)).nano_usd


def test_a_tier_costs_its_own_prices_with_the_same_discount():
    sheet = tiered(priority=PRIORITY)
    assert cost(sheet, "") == (600 * 2_000 + 400 * 200 + 100 * 8_000) * 9 // 10
    # As everywhere, a price for the whole holds for its parts: those read from the cache too.
    assert cost(sheet, "priority") == (1_000 * 4_000 + 100 * 16_000) * 9 // 10
    with_cached = tiered(priority={**PRIORITY, "cache_read_input_token_cost": Decimal("0.0000004")})
    assert cost(with_cached, "priority") == 2 * cost(sheet, "")


def test_a_unit_without_a_price_in_the_tier_costs_as_usual():
    assert cost(tiered(flex=FLEX), "flex") == (1_000 * 1_000 + 100 * 8_000) * 9 // 10


def test_the_version_says_which_prices_were_used():
    above = {**PRIORITY, "input_cost_per_token_above_200k_tokens": Decimal("0.000008")}
    sheet = tiered(priority=above)
    assert sheet.version == "list"
    found = sheet_in_tier(sheet, "priority")
    assert found.version == "list;priority_prices=input:4000000000,input>200000:8000000000,output:16000000000"
    assert found.rates["input"].tiers == (Tier(above_input_tokens=200_000, nano_usd_per_million=8_000_000_000),)


def test_a_tier_that_nobody_has_priced_costs_the_usual_price_and_the_version_says_so():
    for sheet in (USUAL, tiered(priority=PRIORITY)):
        found = sheet_in_tier(sheet, "scale")
        assert found.rates == USUAL.rates
        assert found.version == "list;no_price_for=scale"


def test_factors_multiply_prices_of_tokens_and_nothing_else():
    sheet = tiered(priority=PRIORITY, factors={"us": Decimal("1.1"), "fast": Decimal(6)})
    found = sheet_in_tier(sheet, "priority+fast+us")
    assert found.rates["input"].nano_usd_per_million == 4_000_000_000 * 66 // 10
    assert found.rates["searches"] == USUAL.rates["searches"]
    assert found.version == ("list;priority_prices=input:4000000000,output:16000000000;fast_factor=6;us_factor=1.1")
    assert sheet_in_tier(sheet, "us").rates["cache_read"].nano_usd_per_million == 220_000_000
    assert sheet_in_tier(sheet, "fast+eu").version == "list;fast_factor=6;no_price_for=eu"


def test_what_was_made_in_a_batch_costs_what_batches_cost():
    batch = msgspec.structs.replace(USUAL, version="half")
    sheet = tiered(factors={"us": Decimal("1.1")})
    assert sheet_in_tier(sheet, "batch", batch=batch) is batch
    assert sheet_in_tier(sheet, "batch+us", batch=batch).version == "half;us_factor=1.1"
    assert sheet_in_tier(sheet, "batch").version == "list;no_price_for=batch"


def test_a_price_above_a_number_of_tokens_wants_a_base():
    nothing = PriceSheet(version="", rates={})
    prices = {"flex": {"input_cost_per_token_above_200k_tokens": Decimal("0.000001")}}
    with pytest.raises(ConfigError, match="d1 has a price above"):
        with_service_tiers(nothing, deployment_id="d1", prices=prices, factors={})


_PRICE = st.decimals(min_value=0, max_value="0.001", places=9)
_FIELDS = ("input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost",
           "output_cost_per_reasoning_token")  # fmt: skip
_PRICES = st.dictionaries(st.sampled_from(_FIELDS), _PRICE)


@given(
    prices=st.fixed_dictionaries({"flex": _PRICES, "priority": _PRICES}),
    factors=st.dictionaries(st.sampled_from(("us", "fast")), st.decimals(min_value=0, max_value=10, places=6)),
    tier=st.sampled_from(("", "flex", "priority", "scale")),
    said=st.sets(st.sampled_from(("fast", "us", "moon"))),
    tokens=st.tuples(st.integers(1, 10**5), st.integers(0, 10**5)),
)
def test_no_tier_costs_more_than_what_was_thought_possible(prices, factors, tier, said, tokens):
    sheet = with_service_tiers(USUAL, deployment_id="d1", prices=prices, factors=factors)
    usage = Usage(input_tokens=tokens[0], output_tokens=tokens[1], reasoning_tokens=tokens[1] // 2)
    found = sheet_in_tier(sheet, "+".join(filter(None, (tier, *sorted(said)))))
    ceiling = max(
        cost_ceiling(each, input_tokens=tokens[0], output_tokens=tokens[1])
        for each in possible_sheets(sheet, without=frozenset())
    )
    assert price_usage(usage, found).nano_usd <= ceiling


def test_tiers_that_a_request_rules_out_are_not_possible():
    sheet = tiered(priority=PRIORITY, flex=FLEX, factors={"fast": Decimal(6), "slow": Decimal("0.5")})
    possible = {each.version for each in possible_sheets(sheet, without=frozenset({"priority", "fast"}))}
    assert possible == {"list", "list;flex_prices=input:1000000000"}
    dearer = tiered(factors={"us": Decimal("1.1")})
    assert {each.version for each in possible_sheets(dearer, without=frozenset())} == {"list;us_factor=1.1"}
