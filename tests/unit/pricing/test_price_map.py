"""The seed agrees with its own calculator, on the recorded traffic and by dates."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import genai_prices
import pytest

from tallystick.pricing import price_map
from tallystick.pricing.cost import UNITS, price_usage
from tallystick.wire.usage import Usage

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
RECORDINGS = Path(__file__).parents[2] / "recordings" / "exchanges.jsonl"

UNLISTED = {
    ("groq", "compound-beta"),
    ("openrouter", "anthropic/claude-sonnet-4-5"),
    ("openrouter", "minimax/minimax-m2:free"),
}


def recorded_calls():
    for line in RECORDINGS.read_text(encoding="utf-8").splitlines():
        exchange = json.loads(line)
        if exchange["usage"]:
            yield exchange


def usage_of(reported):
    inside, outside = reported.get("prompt_tokens_details") or {}, reported.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=reported["prompt_tokens"],
        output_tokens=reported.get("completion_tokens"),
        cache_read_tokens=inside.get("cached_tokens", reported.get("cached_tokens")),
        cache_write_tokens=inside.get("cache_write_tokens"),
        audio_input_tokens=inside.get("audio_tokens"),
        audio_output_tokens=outside.get("audio_tokens"),
        reasoning_tokens=outside.get("reasoning_tokens"),
    )


def priced_by_the_list(provider_id, model, usage, now):
    """The list's own calculator, in Decimals, rounded half-even to nano-USD."""
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "input_audio_tokens": usage.audio_input_tokens,
        "output_audio_tokens": usage.audio_output_tokens,
        "output_reasoning_tokens": usage.reasoning_tokens,
    }
    reported = genai_prices.Usage(**{name: count for name, count in counts.items() if count})
    price = genai_prices.calc_price(reported, model, provider_id=provider_id, genai_request_timestamp=now)
    return int((price.total_price * 10**9).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


@pytest.mark.parametrize("now", [NOW, NOW.replace(hour=2), NOW.replace(year=2025)], ids=str)
def test_recorded_calls_cost_what_the_list_says(now):
    compared, unpriced = 0, set()
    for exchange in recorded_calls():
        provider, model = exchange["provider"], exchange["request"]["model"]
        address = "https://router.huggingface.co" + exchange["path"]
        usage = usage_of(exchange["usage"])
        sheet = price_map.resolve(provider, model, now=now, api_base=address)
        if sheet is None:
            unpriced.add((provider, model))
            continue
        list_id = sheet.version.split(":", 2)[2].split("/")[0]
        assert price_usage(usage, sheet).nano_usd == priced_by_the_list(list_id, model, usage, now), (provider, model)
        compared += 1
    assert compared >= 60, compared
    assert unpriced == UNLISTED


def test_every_listed_price_is_read_and_never_negative():
    read = 0
    for provider in price_map.genai_providers:
        for model in provider.models:
            conditional = isinstance(model.prices, list)
            for prices in [item.prices for item in model.prices] if conditional else [model.prices]:
                rates = price_map._rates(prices)
                assert rates.keys() <= UNITS.keys()
                assert all(rate.nano_usd_per_million >= 0 for rate in rates.values())
                assert all(
                    list(rate.tiers) == sorted(rate.tiers, key=lambda tier: tier.above_input_tokens)
                    for rate in rates.values()
                )
                read += bool(rates)
    assert read > 2000


def test_every_prefix_leads_to_a_provider_of_the_list():
    known = {provider.id for provider in price_map.genai_providers}
    assert {ours: theirs for ours, theirs in price_map.PROVIDERS.items() if theirs not in known} == {}


def test_the_version_names_list_provider_and_model():
    sheet = price_map.resolve("openai", "gpt-4o-mini-2024-07-18", now=NOW)
    assert sheet.version == f"genai-prices:{price_map.GENAI_PRICES_VERSION}:openai/gpt-4o-mini"


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "no-such-model"), ("ollama", "llama3"), ("huggingface", "a/b"), ("nobody", "gpt-4o")],
)
def test_an_unknown_model_has_no_sheet(provider, model):
    assert price_map.resolve(provider, model, now=NOW) is None


def test_tiers_come_along():
    sheet = price_map.resolve("gemini", "gemini-2.5-pro", now=NOW)
    assert sheet.rates["input"].tiers[0].above_input_tokens == 200_000


def test_hugging_face_names_the_provider_in_the_model_too():
    by_name = price_map.resolve("huggingface", "together/deepseek-ai/DeepSeek-R1", now=NOW)
    by_address = price_map.resolve(
        "huggingface", "deepseek-ai/DeepSeek-R1", now=NOW, api_base="https://router.huggingface.co/together/v1"
    )
    assert by_name == by_address
    assert by_name is not None


def test_transcription_is_priced_by_time_and_its_tokens_are_not_taken_for_free():
    sheet = price_map.resolve("openai", "whisper-1", now=NOW)
    assert price_usage(Usage(milliseconds=60_000), sheet).nano_usd == 6_000_000
    assert price_usage(Usage(input_tokens=500), sheet).status == "unpriced"


def test_a_free_variant_is_free_not_unknown():
    sheet = price_map.resolve("openrouter", "google/gemini-2.0-flash-exp:free", now=NOW)
    assert price_usage(Usage(input_tokens=5), sheet).status == "free"


def test_prices_that_change_by_the_hour_name_when_they_change_next():
    midnight = datetime(2026, 11, 20, 0, 0, tzinfo=UTC)
    changes, now = [], midnight
    while (now := price_map.next_change("deepseek", "deepseek-reasoner", now=now)) < midnight + timedelta(days=1):
        changes.append(now.strftime("%H:%M"))
    assert changes == ["00:30", "16:30"]
    night = price_map.resolve("deepseek", "deepseek-reasoner", now=midnight)
    day = price_map.resolve("deepseek", "deepseek-reasoner", now=midnight.replace(hour=1))
    assert day.version.endswith("@00:30-16:30Z")
    assert night.rates["input"].nano_usd_per_million < day.rates["input"].nano_usd_per_million
    assert price_map.next_change("openai", "gpt-4o", now=NOW) is None


def test_prices_of_service_tiers_are_listed_with_their_own_version() -> None:
    sheet = price_map.resolve("openai", "gpt-5", now=datetime(2026, 11, 24, tzinfo=UTC))
    assert sheet is not None
    assert {"flex", "priority"} <= sheet.service_tiers.keys()
    flex, priority = sheet.service_tiers["flex"], sheet.service_tiers["priority"]
    assert flex.version == f"{sheet.version};flex"
    for unit in ("input", "cache_read", "output"):
        usual = sheet.rates[unit].nano_usd_per_million
        assert flex.rates[unit].nano_usd_per_million < usual < priority.rates[unit].nano_usd_per_million
