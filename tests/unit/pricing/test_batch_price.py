"""What calls in batches cost: own prices for batches, else a part of the usual price."""

from __future__ import annotations

from decimal import Decimal

from tallystick.pricing.batch_price import batch_sheet
from tallystick.pricing.price import PriceSheet, Rate, Tier

USUAL = PriceSheet(
    version="list",
    rates={
        "input": Rate(
            nano_usd_per_million=2_500_000_001,
            tiers=(Tier(above_input_tokens=200_000, nano_usd_per_million=5_000_000_000),),
        ),
        "cache_read": Rate(nano_usd_per_million=1_250_000_000),
        "output": Rate(nano_usd_per_million=10_000_000_000),
    },
    discount_ppm=50_000,
)
HALF = Decimal("0.5")


def test_without_prices_of_its_own_all_units_cost_the_factor() -> None:
    sheet = batch_sheet(USUAL, prices={}, factor=HALF)
    assert sheet is not None
    assert sheet.version == "list;batch_factor=0.5"
    assert sheet.rates["input"].nano_usd_per_million == 1_250_000_001  # Half a nano-USD for a million is rounded up.
    assert sheet.rates["input"].tiers[0].nano_usd_per_million == 2_500_000_000
    assert sheet.rates["cache_read"].nano_usd_per_million == 625_000_000
    assert sheet.discount_ppm == 50_000


def test_a_price_for_batches_holds_for_its_parts_too_and_the_factor_for_the_rest() -> None:
    sheet = batch_sheet(USUAL, prices={"input_cost_per_token_batches": Decimal("0.000001")}, factor=HALF)
    assert sheet is not None
    assert set(sheet.rates) == {"input", "output"}
    assert sheet.rates["input"] == Rate(nano_usd_per_million=1_000_000_000)
    assert sheet.rates["output"].nano_usd_per_million == 5_000_000_000
    assert sheet.version == "list;batch_prices=input:1000000000;batch_factor=0.5"


def test_with_both_prices_no_factor_is_used() -> None:
    prices = {
        "input_cost_per_token_batches": Decimal("0.000001"),
        "output_cost_per_token_batches": Decimal("0.000002"),
    }
    sheet = batch_sheet(USUAL, prices=prices, factor=HALF)
    assert sheet is not None
    assert sheet.version == "list;batch_prices=input:1000000000,output:2000000000"
    alone = batch_sheet(None, prices=prices, factor=HALF)
    assert alone is not None
    assert alone.rates == sheet.rates


def test_an_unknown_price_stays_unknown() -> None:
    assert batch_sheet(None, prices={}, factor=HALF) is None
