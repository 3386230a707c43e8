"""The cost of a call, against hand-made examples and an independent calculation in fractions."""

from __future__ import annotations

from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.pricing.cost import UNITS, price_usage
from tallystick.pricing.price import Cost, PriceSheet, Rate, Tier
from tallystick.wire.usage import Usage

USD = 10**9  # nano-USD


def sheet_of(*, discount_ppm=0, margin_ppm=0, margin_fixed_nano_usd=0, **usd_per_million):
    return PriceSheet(
        version="test",
        rates={unit: Rate(nano_usd_per_million=round(usd * USD)) for unit, usd in usd_per_million.items()},
        discount_ppm=discount_ppm,
        margin_ppm=margin_ppm,
        margin_fixed_nano_usd=margin_fixed_nano_usd,
    )


def test_cached_tokens_are_part_of_the_input():
    cost = price_usage(
        Usage(input_tokens=1000, cache_read_tokens=400, output_tokens=10),
        sheet_of(input=2.5, cache_read=1.25, output=10),
    )
    assert cost == Cost(
        nano_usd=2_100_000,
        status="priced",
        breakdown={"cache_read": 500_000, "input": 1_500_000, "output": 100_000},
        price_version="test",
    )


def test_a_part_without_a_rate_costs_what_its_whole_costs():
    usage = Usage(
        input_tokens=1000, cache_read_tokens=400, audio_input_tokens=100, output_tokens=50, reasoning_tokens=30
    )
    cost = price_usage(usage, sheet_of(input=1, output=2))
    assert cost.breakdown == {"input": 1_000_000, "output": 100_000}


def test_cache_writes_for_an_hour_are_part_of_the_cache_writes():
    usage = Usage(input_tokens=1000, cache_write_tokens=300, cache_write_1h_tokens=100)
    cost = price_usage(usage, sheet_of(input=1, cache_write=1.25, cache_write_1h=2))
    assert cost.breakdown == {"cache_write_1h": 200_000, "cache_write": 250_000, "input": 700_000}
    without = price_usage(usage, sheet_of(input=1, cache_write=1.25))
    assert without.breakdown == {"cache_write": 375_000, "input": 700_000}
    only_hour = price_usage(usage, sheet_of(input=1, cache_write_1h=2))
    assert only_hour.breakdown == {"cache_write_1h": 200_000, "input": 900_000}


def test_reasoning_and_audio_are_part_of_the_output():
    usage = Usage(output_tokens=100, reasoning_tokens=60, audio_output_tokens=10, image_output_tokens=5)
    cost = price_usage(usage, sheet_of(output=1, reasoning=2, audio_output=3, image_output=4))
    assert cost.breakdown == {"reasoning": 120_000, "audio_output": 30_000, "image_output": 20_000, "output": 25_000}


def test_parts_larger_than_their_whole_never_make_it_negative():
    cost = price_usage(Usage(output_tokens=10, reasoning_tokens=11), sheet_of(output=1, reasoning=1))
    assert cost.nano_usd == 11_000
    assert min(cost.breakdown.values()) >= 0


@pytest.mark.parametrize(("input_tokens", "rate"), [(128_000, 1), (128_001, 2), (200_000, 2), (200_001, 4)])
def test_the_highest_tier_that_the_prompt_exceeds_holds_for_the_whole_call(input_tokens, rate):
    tiers = (
        Tier(above_input_tokens=128_000, nano_usd_per_million=2 * USD),
        Tier(above_input_tokens=200_000, nano_usd_per_million=4 * USD),
    )
    sheet = PriceSheet(version="t", rates={"output": Rate(nano_usd_per_million=USD, tiers=tiers)})
    cost = price_usage(Usage(input_tokens=input_tokens, output_tokens=1000), sheet)
    assert cost.nano_usd == rate * 1_000_000


def test_time_images_searches_and_requests():
    usage = Usage(milliseconds=90_000, images=2, searches=3)
    rates = {
        "hours": Rate(nano_usd_per_million=360_000_000 * 1_000_000),
        "images": Rate(nano_usd_per_million=40_000_000 * 1_000_000),
        "searches": Rate(nano_usd_per_million=10_000_000 * 1_000_000),
        "requests": Rate(nano_usd_per_million=5_000_000 * 1_000_000),
    }
    cost = price_usage(usage, PriceSheet(version="t", rates=rates))
    assert cost.breakdown == {"hours": 9_000_000, "images": 80_000_000, "searches": 30_000_000, "requests": 5_000_000}


def test_discount_comes_before_margin_and_both_are_shown():
    sheet = sheet_of(input=1000, discount_ppm=100_000, margin_ppm=500_000, margin_fixed_nano_usd=7)
    cost = price_usage(Usage(input_tokens=1), sheet)
    assert cost.nano_usd == 1_350_007
    assert cost.breakdown == {"input": 1_000_000, "discount": -100_000, "margin": 450_007}


def test_a_call_that_used_nothing_pays_no_fixed_margin():
    assert price_usage(Usage(), sheet_of(input=1, margin_fixed_nano_usd=7)).nano_usd == 0


def test_a_reported_cost_wins_as_it_is_even_when_it_is_0():
    sheet = sheet_of(input=1000, margin_ppm=500_000)
    cost = price_usage(Usage(input_tokens=1), sheet, reported_nano_usd=5)
    assert (cost.nano_usd, cost.status, cost.breakdown) == (5, "reported", {"reported": 5})
    assert price_usage(Usage(input_tokens=1), None, reported_nano_usd=0).status == "reported"


def test_no_sheet_is_a_state_not_an_error():
    assert price_usage(Usage(input_tokens=1), None) == Cost(nano_usd=0, status="unpriced")


def test_a_sheet_that_prices_nothing_of_what_was_used_leaves_it_unpriced():
    assert price_usage(Usage(input_tokens=5), sheet_of(hours=1)).status == "unpriced"
    assert price_usage(Usage(input_tokens=5), sheet_of()).status == "unpriced"


def test_rates_of_zero_are_free_and_differ_from_unpriced():
    assert price_usage(Usage(input_tokens=5), sheet_of(input=0, output=0)).status == "free"
    assert price_usage(Usage(input_tokens=5), sheet_of(input=0, output=3)).status == "priced"


def test_half_a_nano_usd_goes_to_the_even_neighbour():
    half = PriceSheet(version="t", rates={"input": Rate(nano_usd_per_million=500_000)})
    assert [price_usage(Usage(input_tokens=tokens), half).nano_usd for tokens in (1, 3, 5)] == [0, 2, 2]


rates = st.builds(
    lambda base, steps: Rate(
        nano_usd_per_million=base,
        tiers=tuple(
            Tier(above_input_tokens=above, nano_usd_per_million=base + more) for above, more in sorted(steps.items())
        ),
    ),
    st.integers(0, 10**12),
    st.dictionaries(st.integers(0, 300_000), st.integers(0, 10**12), max_size=2),
)
sheets = st.builds(
    lambda rates, discount, margin, fixed: PriceSheet(
        version="t", rates=rates, discount_ppm=discount, margin_ppm=margin, margin_fixed_nano_usd=fixed
    ),
    st.dictionaries(st.sampled_from(sorted(UNITS)), rates, min_size=1),
    st.integers(0, 1_000_000),
    st.integers(0, 3_000_000),
    st.integers(0, 10**9),
)
quantities = st.none() | st.integers(0, 10**7)
usages = st.builds(Usage, **dict.fromkeys(msgspec.structs.asdict(Usage()), quantities))

CHILDREN = {
    "input": ("cache_read", "cache_write", "audio_input", "image_input"),
    "cache_read": ("audio_cache_read",),
    "cache_write": ("cache_write_1h",),
    "output": ("reasoning", "audio_output", "image_output"),
}
FIELDS = {"images": "images", "searches": "searches", "hours": "milliseconds"}
FIELDS |= {"pixels": "pixels", "characters": "characters"}
FIELDS |= {"file_searches": "file_searches", "code_sessions": "code_sessions"}


def exact_cost(usage, sheet):
    """The cost in fractions, written apart from the code under test: top down, where that goes bottom up."""

    def quantity(unit):
        if unit == "requests":
            return int(any(value is not None for value in msgspec.structs.asdict(usage).values()))
        return getattr(usage, FIELDS.get(unit, f"{unit}_tokens")) or 0

    def covered(unit):
        """What a unit and its parts take out of their whole when they are priced apart."""
        inside = sum(covered(child) for child in CHILDREN.get(unit, ()))
        return max(quantity(unit), inside) if unit in sheet.rates else inside

    total, used = Fraction(0), False
    for unit, rate in sheet.rates.items():
        own = max(0, quantity(unit) - sum(covered(child) for child in CHILDREN.get(unit, ())))
        used = used or own > 0
        price = Fraction(rate.nano_usd_per_million)
        for tier in rate.tiers:
            if (usage.input_tokens or 0) > tier.above_input_tokens:
                price = Fraction(tier.nano_usd_per_million)
        total += own * price / 10**6 / (3_600_000 if unit == "hours" else 1)
    total = total * (10**6 - sheet.discount_ppm) / 10**6 * (10**6 + sheet.margin_ppm) / 10**6
    return round(total) + (sheet.margin_fixed_nano_usd if used else 0)  # Fraction rounds half-even.


@given(usages, sheets)
def test_it_equals_exact_fractions_rounded_once(usage, sheet):
    assert price_usage(usage, sheet).nano_usd == exact_cost(usage, sheet)


@given(usages, sheets)
def test_the_breakdown_adds_up_and_all_of_it_is_integers(usage, sheet):
    cost = price_usage(usage, sheet)
    assert sum(cost.breakdown.values()) == cost.nano_usd >= 0
    assert all(type(nano_usd) is int for nano_usd in (cost.nano_usd, *cost.breakdown.values()))
    assert all(nano_usd > 0 for line, nano_usd in cost.breakdown.items() if line != "discount")
    assert cost.breakdown.get("discount", 0) <= 0


@given(usages, sheets, st.integers(0, 10**6))
def test_more_output_never_costs_less(usage, sheet, more):
    longer = msgspec.structs.replace(usage, output_tokens=(usage.output_tokens or 0) + more)
    assert price_usage(longer, sheet).nano_usd >= price_usage(usage, sheet).nano_usd


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(1, 1000), st.integers(0, 10**9))
def test_cost_is_linear_where_nothing_is_rounded(input_tokens, output_tokens, times, rate):
    sheet = PriceSheet(
        version="t",
        rates={"input": Rate(nano_usd_per_million=rate * 10**6), "output": Rate(nano_usd_per_million=rate * 3 * 10**6)},
    )
    once = price_usage(Usage(input_tokens=input_tokens, output_tokens=output_tokens), sheet)
    many = price_usage(Usage(input_tokens=input_tokens * times, output_tokens=output_tokens * times), sheet)
    assert many.nano_usd == once.nano_usd * times


@given(usages, sheets)
def test_a_reported_cost_wins_over_any_sheet(usage, sheet):
    assert price_usage(usage, sheet, reported_nano_usd=42).nano_usd == 42
