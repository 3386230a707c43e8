"""What calls cost in batches: by the model's own prices for them, else a documented part of its usual prices."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from tallystick.pricing.cost import UNITS
from tallystick.pricing.money import nano_usd_per_million, parts_per_million
from tallystick.pricing.price import PriceSheet, Rate, Tier

_UNITS: Final[Mapping[str, str]] = {
    "input_cost_per_token_batches": "input",
    "output_cost_per_token_batches": "output",
}
_PPM: Final = 1_000_000


def batch_sheet(sheet: PriceSheet | None, *, prices: Mapping[str, Decimal], factor: Decimal) -> PriceSheet | None:
    """Return what a deployment charges for calls in batches; None when nobody knows.

    `sheet` is what it charges otherwise, `prices` are USD per token by LiteLLM's names for batches. Such a price holds
    for the unit and all of its parts, whatever those cost otherwise. The version says what was used.
    """
    own = {_UNITS[field]: Rate(nano_usd_per_million=nano_usd_per_million(usd)) for field, usd in prices.items()}
    if sheet is None:
        return PriceSheet(version=_version("config", own, None), rates=own) if own else None
    part_ppm = parts_per_million(factor)
    scaled = {
        unit: _scaled(rate, part_ppm) for unit, rate in sheet.rates.items() if own.keys().isdisjoint(_lineage(unit))
    }
    version = _version(sheet.version, own, factor if scaled else None)
    return msgspec.structs.replace(sheet, version=version, rates={**scaled, **own})


def _version(usual: str, own: Mapping[str, Rate], factor: Decimal | None) -> str:
    """Say which price was used: `…;batch_factor=0.5`, `…;batch_prices=input:1250000000`."""
    parts = [usual]
    if own:
        listed = ",".join(f"{unit}:{rate.nano_usd_per_million}" for unit, rate in sorted(own.items()))
        parts.append(f"batch_prices={listed}")
    if factor is not None:
        parts.append(f"batch_factor={factor.normalize():f}")
    return ";".join(parts)


def _scaled(rate: Rate, part_ppm: int) -> Rate:
    tiers = tuple(
        Tier(
            above_input_tokens=tier.above_input_tokens, nano_usd_per_million=_part(tier.nano_usd_per_million, part_ppm)
        )
        for tier in rate.tiers
    )
    return Rate(nano_usd_per_million=_part(rate.nano_usd_per_million, part_ppm), tiers=tiers)


def _part(nano_usd_per_million: int, part_ppm: int) -> int:
    """Round half up: a rate is exact to a nano-USD for a million."""
    return (nano_usd_per_million * part_ppm + _PPM // 2) // _PPM


def _lineage(unit: str) -> tuple[str, ...]:
    parent = UNITS[unit].parent
    return (unit, *_lineage(parent)) if parent else (unit,)
