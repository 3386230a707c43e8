"""Parts and multiples of rates."""

from __future__ import annotations

from typing import Final

from tallystick.pricing.price import Rate, Tier

PPM: Final = 1_000_000
"""Parts per million that are the whole."""


def scaled_rate(rate: Rate, part_ppm: int) -> Rate:
    """Return so many parts per million of a rate and of its tiers."""
    tiers = tuple(
        Tier(
            above_input_tokens=tier.above_input_tokens, nano_usd_per_million=_part(tier.nano_usd_per_million, part_ppm)
        )
        for tier in rate.tiers
    )
    return Rate(nano_usd_per_million=_part(rate.nano_usd_per_million, part_ppm), tiers=tiers)


def _part(nano_usd_per_million: int, part_ppm: int) -> int:
    """Round half up: a rate is exact to a nano-USD for a million."""
    return (nano_usd_per_million * part_ppm + PPM // 2) // PPM
