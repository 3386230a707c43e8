"""The seed of prices: genai-prices' list, which comes inside its package. No network, ever.

Importing this module costs about half a second and 35 MB, so only `bootstrap` loads it, and only where it is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from importlib.metadata import version

from genai_prices.data import providers as genai_providers
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from tallystick.pricing.money import nano_usd_per_million
from tallystick.pricing.price import PriceSheet, Rate, Tier

GENAI_PRICES_VERSION = version("genai-prices")

PROVIDERS: Mapping[str, str] = {
    # Our prefixes (as in `litellm_params.model`) -> the list's providers.
    "anthropic": "anthropic",
    "avian": "avian",
    "azure": "azure",
    "azure_ai": "azure",
    "baseten": "baseten",
    "bedrock": "aws",
    "cerebras": "cerebras",
    "cloudflare": "cloudflare",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "databricks": "databricks",
    "deepseek": "deepseek",
    "elevenlabs": "elevenlabs",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "groq": "groq",
    "minimax": "minimax",
    "mistral": "mistral",
    "moonshot": "moonshotai",
    "novita": "novita",
    "openai": "openai",
    "openrouter": "openrouter",
    "ovhcloud": "ovhcloud",
    "perplexity": "perplexity",
    "text-completion-openai": "openai",
    "together_ai": "together",
    "vertex_ai": "google",
    "voyage": "voyageai",
    "xai": "x-ai",
    "zai": "zai",
}

_UNITS_OF_PRICE_KEYS: Mapping[str, tuple[str, int]] = {
    # The list's price key -> our unit, and how many of our units that price is for.
    "input_mtok": ("input", 1_000_000),
    "output_mtok": ("output", 1_000_000),
    "cache_read_mtok": ("cache_read", 1_000_000),
    "cache_write_mtok": ("cache_write", 1_000_000),
    "cache_write_1h_mtok": ("cache_write_1h", 1_000_000),
    "output_reasoning_mtok": ("reasoning", 1_000_000),
    "cache_audio_read_mtok": ("audio_cache_read", 1_000_000),
    "input_audio_mtok": ("audio_input", 1_000_000),
    "output_audio_mtok": ("audio_output", 1_000_000),
    "input_image_mtok": ("image_input", 1_000_000),
    "output_image_mtok": ("image_output", 1_000_000),
    "audio_hours": ("hours", 1),
    "input_audio_hours": ("hours", 1),
    "web_searches_kcount": ("searches", 1_000),
    "requests_kcount": ("requests", 1_000),
    "input_mchars": ("characters", 1_000_000),
}

_SERVICE_TIERS = (
    # What the list says of its variants -> our name of the tier; see `wire.service_tier`.
    ({"service_tier": "flex"}, "flex"),
    ({"service_tier": "priority"}, "priority"),
    ({"service_tier": "fast"}, "fast"),
    ({"speed": "fast"}, "fast"),
)

_PROVIDERS_BY_ID: Mapping[str, Provider] = {provider.id: provider for provider in genai_providers}


def resolve(provider: str, model: str, *, now: datetime, api_base: str = "") -> PriceSheet | None:
    """Look a model's prices up as they are in force at `now`; None when the list does not know the model.

    `provider` is our prefix and `model` what the upstream calls the model. `api_base` tells which of Hugging Face's
    providers answers, when the model's name does not.
    """
    found = _find(provider, model, api_base)
    if found is None:
        return None
    listed_by, listed = found
    prices, since = _in_force(listed, now)
    rates = _rates(prices)
    if not rates and not _is_free_variant(listed_by, listed):
        return None
    name = f"{listed_by.id}/{listed.id}" + (f"@{since}" if since else "")
    version = f"genai-prices:{GENAI_PRICES_VERSION}:{name}"
    return PriceSheet(
        version=version,
        rates=rates or {"input": Rate(nano_usd_per_million=0), "output": Rate(nano_usd_per_million=0)},
        service_tiers={
            tier: PriceSheet(version=f"{version};{tier}", rates=_rates(prices))
            for tier, prices in _service_tiers(listed, now)
        },
    )


def next_change(provider: str, model: str, *, now: datetime, api_base: str = "") -> datetime | None:
    """When the answer of `resolve` may next be another: a price that starts on a date, or a daily window's bound."""
    found = _find(provider, model, api_base)
    if found is None:
        return None
    prices, variants = found[1].prices, found[1].price_variants or ()
    parts = [*variants] if isinstance(prices, ModelPrice) else [*prices, *variants]
    return min((moment for moment in _moments(parts, now) if moment > now), default=None)


def context_tokens(provider: str, model: str, *, api_base: str = "") -> int | None:
    """Return the most tokens of input that a model takes; None when the list does not say."""
    found = _find(provider, model, api_base)
    return None if found is None else found[1].context_window


def _find(provider: str, model: str, api_base: str) -> tuple[Provider, ModelInfo] | None:
    listed_by, name = _listed_provider(provider, model, api_base)
    if listed_by is None:
        return None
    listed = listed_by.find_model(name, all_providers=genai_providers)
    return None if listed is None else (listed_by, listed)


def _listed_provider(provider: str, model: str, api_base: str) -> tuple[Provider | None, str]:
    if provider != "huggingface":
        return _PROVIDERS_BY_ID.get(PROVIDERS.get(provider, "")), model
    inference_provider, _, rest = model.partition("/")
    by_name = _PROVIDERS_BY_ID.get(f"huggingface_{inference_provider}")
    if by_name is not None and "/" in rest:
        return by_name, rest
    for segment in re.split(r"[/:]+", api_base):
        by_address = _PROVIDERS_BY_ID.get(f"huggingface_{segment}")
        if by_address is not None:
            return by_address, model
    return None, model


def _in_force(listed: ModelInfo, now: datetime) -> tuple[ModelPrice, str]:
    """The last price whose constraint holds, and a name for since when it does ('' when it has always held)."""
    if isinstance(listed.prices, ModelPrice):
        return listed.prices, ""
    for conditional in reversed(listed.prices):
        if conditional.constraint is None:
            return conditional.prices, ""
        if conditional.constraint.active(now):
            return conditional.prices, _name_of_constraint(conditional.constraint)
    return listed.prices[0].prices, ""


def _service_tiers(listed: ModelInfo, now: datetime) -> Iterator[tuple[str, ModelPrice]]:
    """Yield the prices that the list has of service tiers, in force now."""
    for context, tier in _SERVICE_TIERS:
        if any(
            variant.when == context and (variant.constraint is None or variant.constraint.active(now))
            for variant in listed.price_variants or ()
        ):
            yield tier, listed.get_prices(now, context)


def _name_of_constraint(constraint: StartDateConstraint | TimeOfDateConstraint) -> str:
    if isinstance(constraint, StartDateConstraint):
        return constraint.start_date.isoformat()
    return f"{constraint.start_time:%H:%M}-{constraint.end_time:%H:%M}Z"


def _moments(prices: Sequence[ConditionalPrice | PriceVariant], now: datetime) -> Iterator[datetime]:
    for constraint in (conditional.constraint for conditional in prices):
        if isinstance(constraint, StartDateConstraint):
            yield datetime.combine(constraint.start_date, time(0), UTC)
        elif isinstance(constraint, TimeOfDateConstraint):
            today = now.astimezone(UTC).date()
            for bound in (constraint.start_time, constraint.end_time):
                for day in (today, today + timedelta(days=1)):
                    yield datetime.combine(day, bound, bound.tzinfo or UTC).astimezone(UTC)


def _rates(prices: ModelPrice) -> dict[str, Rate]:
    rates: dict[str, Rate] = {}
    for price_key, (unit, per) in _UNITS_OF_PRICE_KEYS.items():
        price: Decimal | TieredPrices | None = getattr(prices, price_key)
        if price is None:
            continue
        base, tiers = (price.base, price.tiers) if isinstance(price, TieredPrices) else (price, [])
        rates[unit] = Rate(
            nano_usd_per_million=nano_usd_per_million(base / per),
            tiers=tuple(
                Tier(above_input_tokens=tier.start, nano_usd_per_million=nano_usd_per_million(tier.price / per))
                for tier in tiers
            ),
        )
    return rates


def _is_free_variant(listed_by: Provider, listed: ModelInfo) -> bool:
    """OpenRouter's `…:free` models are listed without any price, because they have none."""
    return listed_by.id == "openrouter" and listed.id.endswith(":free")
