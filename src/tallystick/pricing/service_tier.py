"""Prices of service tiers: what a model costs when its answer says that it was made cheaper, faster or elsewhere.

Where an answer names a tier that nobody has given a price for, the usual price holds, and the version says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from tallystick.pricing.cost import UNITS
from tallystick.pricing.money import parts_per_million
from tallystick.pricing.overrides import own_rates, with_own_rates
from tallystick.pricing.price import PriceSheet, Rate
from tallystick.pricing.scaling import PPM, scaled_rate

_WHOLES: Final = frozenset(("input", "output"))


def with_service_tiers(
    sheet: PriceSheet,
    *,
    deployment_id: str,
    prices: Mapping[str, Mapping[str, Decimal]],
    factors: Mapping[str, Decimal],
) -> PriceSheet:
    """Return what a deployment charges with what it charges in service tiers.

    `prices` are those of each tier, in USD per unit by LiteLLM's field names without the tier; they go before the
    usual ones, as those go before the list's. Raises ConfigError as `deployment_sheet` does.
    """
    parts = {name.lower(): parts_per_million(factor) for name, factor in factors.items()}
    tiers = dict(sheet.service_tiers)
    for tier, own_prices in prices.items():
        if own_prices:
            below = tiers.get(tier, sheet)
            own = own_rates(own_prices, below.rates, deployment_id)
            version = f"{below.version};{tier}_prices={_listed(own)}"
            rates = with_own_rates(below.rates, own)
            tiers[tier] = msgspec.structs.replace(sheet, version=version, rates=rates, service_tiers={})
    return msgspec.structs.replace(sheet, service_tiers=tiers, factors=parts)


def sheet_in_tier(sheet: PriceSheet, service_tier: str, *, batch: PriceSheet | None = None) -> PriceSheet:
    """Return what is charged for an answer that was made in a tier; '' is the usual one. `batch` is that of batches."""
    known = sheet.service_tiers.get(service_tier)
    if known is not None or not service_tier:
        return known or sheet
    names, factors = service_tier.split("+"), sheet.factors
    known = batch if names[0] == "batch" else sheet.service_tiers.get(names[0])
    if known is not None:
        sheet = known
        del names[0]
    for name in names:
        factor = factors.get(name)
        if factor is None:
            sheet = msgspec.structs.replace(sheet, version=f"{sheet.version};no_price_for={name}")
        else:
            sheet = _multiplied(sheet, name, factor)
    return sheet


def possible_sheets(sheet: PriceSheet, *, without: frozenset[str]) -> list[PriceSheet]:
    """Return what may be charged for a call, the dearest among it: in any tier, and multiplied, but for those."""
    possible = [sheet, *(tier for name, tier in sheet.service_tiers.items() if name not in without)]
    for name, factor in sheet.factors.items():
        if factor > PPM and name not in without:
            possible = [_multiplied(each, name, factor) for each in possible]
    return possible


def _multiplied(sheet: PriceSheet, name: str, factor_ppm: int) -> PriceSheet:
    factor = Decimal(factor_ppm) / PPM
    rates = {unit: scaled_rate(rate, factor_ppm) if _is_of_tokens(unit) else rate for unit, rate in sheet.rates.items()}
    return msgspec.structs.replace(sheet, version=f"{sheet.version};{name}_factor={factor.normalize():f}", rates=rates)


def _is_of_tokens(unit: str) -> bool:
    while UNITS[unit].parent:
        unit = UNITS[unit].parent
    return unit in _WHOLES


def _listed(rates: Mapping[str, Rate]) -> str:
    """List rates: `input:1250000000`, and `input>200000:2500000000` above a number of tokens."""
    return ",".join(
        f"{unit}{above}:{nano_usd_per_million}"
        for unit, rate in sorted(rates.items())
        for above, nano_usd_per_million in (
            ("", rate.nano_usd_per_million),
            *((f">{tier.above_input_tokens}", tier.nano_usd_per_million) for tier in rate.tiers),
        )
    )
