"""Money keeps every digit that was written."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.pricing import money


@pytest.mark.parametrize(
    ("usd", "nano_usd"),
    [
        ("0.0025", 2_500_000),
        ("1", 10**9),
        ("0.000000001", 1),
        (Decimal("12.5"), 12_500_000_000),
        ("-0.5", -(5 * 10**8)),
    ],
)
def test_dollars_become_nano_usd_exactly(usd, nano_usd):
    assert money.nano_usd_from_usd(usd) == nano_usd


def test_a_fraction_of_a_nano_usd_is_refused_not_rounded():
    with pytest.raises(ValueError, match="finer"):
        money.nano_usd_from_usd("0.0000000001")


@pytest.mark.parametrize("text", ["", "abc", "nan", "inf", "1,5"])
def test_what_is_not_a_number_is_refused(text):
    with pytest.raises(ValueError, match="number"):
        money.to_decimal(text)


def test_a_truth_value_is_not_a_number():
    with pytest.raises(ValueError, match="truth"):
        money.to_decimal(True)


@given(st.decimals(min_value=0, max_value=10**6, places=12, allow_nan=False))
def test_a_float_is_read_as_it_is_written(value):
    number = float(value)
    assert str(money.to_decimal(number)) == str(Decimal(repr(number)))


@pytest.mark.parametrize(
    ("usd", "nano_usd"), [(0.0076509169000000005, 7_650_917), ("0.0000000005", 0), ("0.0000000015", 2)]
)
def test_reported_costs_are_rounded_half_even(usd, nano_usd):
    assert money.round_usd_to_nano(usd) == nano_usd


@given(st.integers(min_value=0, max_value=10**15))
def test_prices_per_token_are_exact_down_to_ten_to_the_minus_fifteen(units):
    usd_per_token = Decimal(units).scaleb(-15)
    assert Fraction(money.nano_usd_per_million(usd_per_token)) == Fraction(usd_per_token) * 10**15 == units


@pytest.mark.parametrize(
    ("nano_usd", "shown"),
    [
        (1_234_000, "$0.001234"),
        (0, "$0.000000"),
        (1, "$0.000000001"),
        (-5 * 10**8, "-$0.500000"),
        (10**13, "$10,000.000000"),
    ],
)
def test_money_is_shown_exactly(nano_usd, shown):
    assert money.format_usd(nano_usd) == shown


@given(st.integers(min_value=-(10**18), max_value=10**18), st.integers(min_value=0, max_value=9))
def test_shown_money_reads_back(nano_usd, decimals_min):
    shown = money.format_usd(nano_usd, decimals_min=decimals_min)
    assert money.nano_usd_from_usd(shown.replace("$", "").replace(",", "")) == nano_usd


def test_fractions_become_parts_per_million_or_are_refused():
    assert money.parts_per_million(Decimal("0.05")) == 50_000
    with pytest.raises(ValueError, match="six decimals"):
        money.parts_per_million(Decimal("0.0000001"))
