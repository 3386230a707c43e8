"""The price sheet of one deployment: the configuration's own prices over the list's, with discount and margin.

A price in the configuration replaces the list's price of the same unit and of every part of it: whoever has a price of
their own per input token does not mean the list's price for the cached ones. The cached tokens then cost what input
costs, until the configuration prices them too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Protocol

import msgspec

from tallystick.config.model_list import TIER_SUFFIX
from tallystick.config.settings import CostSettings, Margin
from tallystick.errors import ConfigError
from tallystick.pricing.cost import UNITS
from tallystick.pricing.money import nano_usd_from_usd, nano_usd_per_million, parts_per_million
from tallystick.pricing.price import PriceSheet, Rate, Tier

_SECONDS_PER_HOUR = 3600

UNITS_OF_PRICE_FIELDS: Mapping[str, tuple[str, int | Decimal]] = {
    # LiteLLM's field -> our unit, and what to multiply a price by to have it per our unit.
    "input_cost_per_token": ("input", 1),
    "output_cost_per_token": ("output", 1),
    "cache_read_input_token_cost": ("cache_read", 1),
    "cache_read_input_audio_token_cost": ("audio_cache_read", 1),
    "cache_creation_input_token_cost": ("cache_write", 1),
    "cache_creation_input_token_cost_above_1hr": ("cache_write_1h", 1),
    "output_cost_per_reasoning_token": ("reasoning", 1),
    "input_cost_per_audio_token": ("audio_input", 1),
    "output_cost_per_audio_token": ("audio_output", 1),
    "input_cost_per_image_token": ("image_input", 1),
    "output_cost_per_image_token": ("image_output", 1),
    "output_cost_per_image": ("images", 1),
    "input_cost_per_image": ("images", 1),
    "input_cost_per_pixel": ("pixels", 1),
    "output_cost_per_pixel": ("pixels", 1),
    "input_cost_per_character": ("characters", 1),
    "input_cost_per_query": ("searches", 1),
    "file_search_cost_per_1k_calls": ("file_searches", Decimal("0.001")),
    "code_interpreter_cost_per_session": ("code_sessions", 1),
    "input_cost_per_second": ("hours", _SECONDS_PER_HOUR),
    "output_cost_per_second": ("hours", _SECONDS_PER_HOUR),
    "input_cost_per_request": ("requests", 1),
}


class Seed(Protocol):
    """Looks a model's prices up in a list: `price_map.resolve` with the time and the address filled in."""

    def __call__(self, provider: str, model: str) -> PriceSheet | None: ...


def no_seed(provider: str, model: str) -> PriceSheet | None:  # noqa: ARG001 - the shape of a Seed.
    """Know no prices."""
    return None


def deployment_sheet(
    *,
    deployment_id: str,
    provider: str,
    model: str,
    prices: Mapping[str, Decimal],
    base_model: str | None,
    costs: CostSettings,
    seed: Seed,
) -> PriceSheet | None:
    """Settle what a deployment charges; None when nobody knows.

    `prices` are USD per unit by LiteLLM's field names (`ModelEntry.prices`). `base_model` names the model to look up
    instead of `model`, with or without a provider's prefix. Raises ConfigError for a tier without a base price.
    """
    listed = _look_up(provider, model, base_model, seed)
    own = own_rates(prices, listed.rates if listed else {}, deployment_id)
    if not own:
        return listed and with_costs(listed, provider, costs)
    rates = with_own_rates(listed.rates if listed else {}, own)
    sheet = with_costs(PriceSheet(version="", rates=rates), provider, costs)
    return msgspec.structs.replace(sheet, version=f"config:{deployment_id}:{_fingerprint(sheet)}")


def _look_up(provider: str, model: str, base_model: str | None, seed: Seed) -> PriceSheet | None:
    if not base_model:
        return seed(provider, model)
    own_name = base_model.removeprefix(f"{provider}/")
    listed = seed(provider, own_name)
    if listed is None and "/" in base_model:
        other_provider, _, other_model = base_model.partition("/")
        listed = seed(other_provider, other_model)
    return listed


def with_own_rates(listed: Mapping[str, Rate], own: Mapping[str, Rate]) -> dict[str, Rate]:
    """Return the rates of a list with others in their place: each also replaces those of all parts of its unit."""
    replaced = {unit for unit in UNITS if not own.keys().isdisjoint(_lineage(unit))}
    return {unit: rate for unit, rate in listed.items() if unit not in replaced} | dict(own)


def own_rates(prices: Mapping[str, Decimal], listed: Mapping[str, Rate], deployment_id: str) -> dict[str, Rate]:
    """Return the rates of price fields. Raises ConfigError for a tier above a number of tokens without a base price."""
    bases: dict[str, int] = {}
    tiers: dict[str, list[Tier]] = {}
    for field, usd in sorted(prices.items()):
        unit, factor = UNITS_OF_PRICE_FIELDS[TIER_SUFFIX.sub("", field)]
        rate = nano_usd_per_million(usd * factor)
        match = TIER_SUFFIX.search(field)
        if match is None:
            # Prices per second of input and of output are both prices per second of the call; so it is with images.
            bases[unit] = bases.get(unit, 0) + rate
        else:
            above = int(match.group(1)) * 1000
            tiers.setdefault(unit, []).append(Tier(above_input_tokens=above, nano_usd_per_million=rate))
    rates: dict[str, Rate] = {}
    for unit in bases.keys() | tiers.keys():
        if unit not in bases and unit not in listed:
            raise ConfigError(
                f"deployment {deployment_id} has a price above a number of tokens for {unit}, but no base"
            )
        base = bases[unit] if unit in bases else listed[unit].nano_usd_per_million
        rates[unit] = Rate(nano_usd_per_million=base, tiers=_ascending(tiers.get(unit, ())))
    return rates


def _ascending(tiers: Iterable[Tier]) -> tuple[Tier, ...]:
    return tuple(sorted(tiers, key=lambda tier: tier.above_input_tokens))


def _lineage(unit: str) -> tuple[str, ...]:
    """The unit itself and the wholes that it is a part of."""
    parent = UNITS[unit].parent
    return (unit, *_lineage(parent)) if parent else (unit,)


def with_costs(sheet: PriceSheet, provider: str, costs: CostSettings) -> PriceSheet:
    """Return a sheet with the discount and the margin of a provider."""
    margin = costs.margins.get(provider) or costs.margins.get("global") or Margin()
    return msgspec.structs.replace(
        sheet,
        service_tiers={name: with_costs(tier, provider, costs) for name, tier in sheet.service_tiers.items()},
        discount_ppm=parts_per_million(costs.discounts.get(provider, Decimal(0))),
        margin_ppm=parts_per_million(margin.percentage),
        margin_fixed_nano_usd=nano_usd_from_usd(margin.fixed_amount),
    )


def _fingerprint(sheet: PriceSheet) -> str:
    """Twelve hex digits that change whenever a rate, the discount or the margin does."""
    told = {
        "version": sheet.version,
        "rates": dict(sorted(sheet.rates.items())),
        "discount_ppm": sheet.discount_ppm,
        "margin_ppm": sheet.margin_ppm,
        "margin_fixed_nano_usd": sheet.margin_fixed_nano_usd,
    }
    return hashlib.sha256(msgspec.json.encode(told)).hexdigest()[:12]
