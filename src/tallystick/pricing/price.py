"""Prices as integers: nano-USD per million units."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

NANO_USD_PER_USD = 1_000_000_000
UNITS_PER_PRICE = 1_000_000


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """A rate that holds when the whole prompt has more than `above_input_tokens` tokens."""

    above_input_tokens: int
    nano_usd_per_million: int


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """The price of one kind of unit; the highest tier that is reached replaces the base."""

    nano_usd_per_million: int
    tiers: tuple[Tier, ...] = ()
    """In ascending order of `above_input_tokens`."""


class PriceSheet(msgspec.Struct, frozen=True, kw_only=True):
    """What one deployment charges, resolved once. `rates` maps a unit (`cost.UNITS`) to its rate.

    `discount_ppm` (parts per million off) and the margin are applied to the sum, in that order.
    """

    version: str
    """Names the source, so that an event can say which price it used: `genai-prices:0.2.3:openai/gpt-4o` …"""
    rates: Mapping[str, Rate]
    discount_ppm: int = 0
    margin_ppm: int = 0
    margin_fixed_nano_usd: int = 0
    service_tiers: Mapping[str, PriceSheet] = {}
    """What it charges in service tiers that have prices of their own, by their names; see `wire.service_tier`."""
    factors: Mapping[str, int] = {}
    """How much of its prices for tokens it charges, in parts per million, by what an answer says of how it was made."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """The price of one call, rounded once, half-even, on its sum. `breakdown` is by unit and adds up to `nano_usd`."""

    nano_usd: int
    status: str
    """`priced`, `unpriced`, `reported` or `free`, as in `ledger.event.CostStatus`."""
    breakdown: Mapping[str, int] = {}
    price_version: str = ""
