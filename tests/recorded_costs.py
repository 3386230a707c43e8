"""What recorded usage costs, worked out apart from the gateway's own code."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import genai_prices

from tallystick.ledger.event import SpendEvent


def independent_cost(event: SpendEvent, provider: str) -> int | None:
    """Price the event's usage by genai-prices' own calculation; None for a model without a price."""
    usage = event.usage
    try:
        price = genai_prices.calc_price(
            genai_prices.Usage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_read_tokens=usage.cache_read_tokens,
                cache_write_tokens=usage.cache_write_tokens,
                input_audio_tokens=usage.audio_input_tokens,
                output_audio_tokens=usage.audio_output_tokens,
            ),
            model_ref=event.model.split("/", 1)[1] if provider.startswith("huggingface") else event.model,
            provider_id={"huggingface": "huggingface_together"}.get(provider, provider),
            genai_request_timestamp=datetime.now(UTC),
        )
    except LookupError:
        return None
    return int((price.total_price * 10**9).to_integral_value(ROUND_HALF_EVEN))


def check_cost(event: SpendEvent, exchange: dict[str, Any]) -> None:
    reported = exchange["usage"].get("cost")
    if reported is not None and not exchange["usage"].get("is_byok"):
        assert event.cost_status == "reported"
        assert event.cost_nano_usd == int((Decimal(str(reported)) * 10**9).to_integral_value(ROUND_HALF_EVEN))
        return
    if event.cost_status == "reported":
        return
    cost = independent_cost(event, exchange["provider"])
    if cost is None:
        assert (event.cost_status, event.cost_nano_usd) == ("unpriced", 0)
    else:
        assert (event.cost_status, event.cost_nano_usd) == ("priced" if cost else "free", cost)
    assert sum(event.cost_breakdown.values()) == event.cost_nano_usd
