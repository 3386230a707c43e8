"""The ceiling is never below what such a call is then charged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.pricing.ceiling import cost_ceiling, is_free
from tallystick.pricing.cost import UNITS, price_usage
from tallystick.pricing.price import PriceSheet, Rate, Tier
from tallystick.wire.usage import Usage

_UNITS = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning", "audio_input", "audio_output",
          "image_input", "image_output", "requests", "hours")  # fmt: skip
_AMOUNTS = st.integers(0, 10**13)


@st.composite
def _sheets(draw) -> PriceSheet:
    rates = {"input": Rate(nano_usd_per_million=draw(_AMOUNTS)), "output": Rate(nano_usd_per_million=draw(_AMOUNTS))}
    for unit in draw(st.sets(st.sampled_from(_UNITS))):
        tiers = (Tier(above_input_tokens=1_000, nano_usd_per_million=draw(_AMOUNTS)),) if draw(st.booleans()) else ()
        rates[unit] = Rate(nano_usd_per_million=draw(_AMOUNTS), tiers=tiers)
    if "cache_read" in rates:  # Reading is cheaper than sending anew.
        cheapest = min(
            rates["input"].nano_usd_per_million, *(t.nano_usd_per_million for t in rates["input"].tiers), 10**13
        )
        rates["cache_read"] = Rate(nano_usd_per_million=cheapest)
    return PriceSheet(
        version="t",
        rates=rates,
        discount_ppm=draw(st.integers(0, 999_999)),
        margin_ppm=draw(st.integers(0, 10**6)),
        margin_fixed_nano_usd=draw(st.integers(0, 10**6)),
    )


@given(sheet=_sheets(), input_tokens=st.integers(1, 10**5), output_tokens=st.integers(0, 10**5), data=st.data())
def test_no_usage_within_the_bounds_costs_more(sheet, input_tokens, output_tokens, data):
    def part(of: int) -> int:
        return data.draw(st.integers(0, of))

    written = part(input_tokens)
    read = part(input_tokens - written)
    usage = Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_write_tokens=written,
        cache_write_1h_tokens=part(written),
        cache_read_tokens=read,
        audio_input_tokens=part(input_tokens - written - read),
        reasoning_tokens=part(output_tokens),
        milliseconds=part(60_000),
    )
    ceiling = cost_ceiling(
        sheet,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        writes_cache=True,
        has_audio=True,
        milliseconds=60_000,
    )
    assert price_usage(usage, sheet).nano_usd <= ceiling


@pytest.mark.parametrize(("caches", "expected"), [(False, 10 * 3 + 5 * 15), (True, 10 * 4 + 5 * 15)])
def test_the_dearest_rate_that_may_apply_counts_for_all(caches, expected):
    rates = {"input": 3_000_000, "cache_write": 4_000_000, "output": 15_000_000}
    sheet = PriceSheet(version="t", rates={unit: Rate(nano_usd_per_million=rate) for unit, rate in rates.items()})
    assert cost_ceiling(sheet, input_tokens=10, output_tokens=5, writes_cache=caches) == expected


def test_a_fraction_of_a_nano_usd_is_rounded_up():
    sheet = PriceSheet(version="t", rates={"input": Rate(nano_usd_per_million=1)})
    assert cost_ceiling(sheet, input_tokens=1, output_tokens=0) == 1


@pytest.mark.parametrize("unit", [None, *UNITS])
def test_a_sheet_is_free_when_nothing_on_it_costs(unit):
    nothing = {each: Rate(nano_usd_per_million=0) for each in UNITS}
    dear = Rate(nano_usd_per_million=1)
    in_a_tier = Rate(nano_usd_per_million=0, tiers=(Tier(above_input_tokens=1_000, nano_usd_per_million=1),))
    for rate in (dear, in_a_tier):
        assert is_free(PriceSheet(version="t", rates=nothing | ({unit: rate} if unit else {}))) is (unit is None)


def test_a_fixed_margin_is_not_free():
    assert not is_free(PriceSheet(version="t", rates={}, margin_fixed_nano_usd=1))
