"""What a call is estimated at, so that no budget is asked for less than the call may cost."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tallystick.calls.estimate import FREE, CallEstimator, priced
from tallystick.control.deployment import Deployment
from tallystick.pricing.price import PriceSheet, Rate
from tallystick.pricing.service_tier import with_service_tiers
from tallystick.providers.base import Target
from tallystick.wire.call_request import Endpoint
from tallystick.wire.media.request import parse_media, parse_media_form
from tallystick.wire.openai.request import parse_request
from tallystick.wire.token_estimate import InputTokens, estimate_input_tokens

USD = 10**9
TOKENS = {"input": USD, "output": 10 * USD}  # For a million: 1,000 and 10,000 nano-USD for one.
MESSAGES = [{"role": "user", "content": "hi"}]


def deployment(rates: dict[str, int] | None) -> Deployment:
    price = None
    if rates is not None:
        price = PriceSheet(version="t", rates={unit: Rate(nano_usd_per_million=rate) for unit, rate in rates.items()})
    target = Target(provider="openai", model="m", api_base="")
    return Deployment(deployment_id="d", model_group="g", target=target, price=price)


def estimate(
    *rates: dict[str, int] | None, raw: bytes | None = None, endpoint: Endpoint = "chat/completions", **fields
):
    body: dict[str, Any] = {"model": "g", "max_tokens": 100} | fields
    if endpoint == "chat/completions":
        body.setdefault("messages", MESSAGES)
    request = parse_request(endpoint, raw or json.dumps(body).encode())
    deployments = [deployment(each) for each in rates]
    return CallEstimator(output_tokens_default=4096).estimate(request, deployments, estimate_input_tokens(request))


def test_each_prompt_is_answered() -> None:
    assert estimate(TOKENS, endpoint="completions", prompt=["a"] * 1000, n=2).need_nano_usd >= 1000 * 2 * 100 * 10_000


@pytest.mark.parametrize("unit", ["images", "searches", "hours"])
def test_what_is_charged_by_other_things_than_tokens_is_not_free(unit: str) -> None:
    found = estimate({unit: USD})
    assert found.need_nano_usd == 1
    assert found.full_nano_usd >= 1


def test_where_time_has_a_price_a_call_holds_a_minute_if_it_can() -> None:
    found = estimate({"hours": 60 * 10**6 * USD})
    assert (found.need_nano_usd, found.full_nano_usd) == (1, USD)


@pytest.mark.parametrize(
    ("endpoint", "unit", "fields", "count"),
    [
        ("images/generations", "images", {"prompt": "a", "n": 3}, 3),
        ("images/generations", "pixels", {"prompt": "a", "n": 2, "size": "512x256"}, 2 * 512 * 256),
        ("images/generations", "output", {"prompt": "a", "n": 2, "quality": "low"}, 2 * 408),
        ("audio/speech", "characters", {"input": "äöü" * 100}, 300),
        ("rerank", "searches", {"query": "q", "documents": ["a"] * 101}, 2),
    ],
)
def test_what_a_request_tells_of_its_units_is_held(
    endpoint: Endpoint, unit: str, fields: dict[str, Any], count: int
) -> None:
    request = parse_media(endpoint, json.dumps({"model": "g"} | fields).encode())
    sheets = [deployment({unit: 10**6 * USD})]
    found = CallEstimator(output_tokens_default=4096).estimate(request, sheets, estimate_input_tokens(request))
    assert found is not None
    assert (found.need_nano_usd, found.takes_the_rest) == (count * USD, False)


def test_sound_is_held_for_as_long_as_it_lasts() -> None:
    head = b'--cut\r\nContent-Disposition: form-data; name="model"\r\n\r\ng\r\n--cut\r\n'
    head += b'Content-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n'
    raw = head + bytes(3600 * 4000) + b"\r\n--cut--"
    request = parse_media_form("audio/transcriptions", raw, content_type="multipart/form-data; boundary=cut")
    sheets = [deployment({"hours": 10**6 * USD})]
    tokens = estimate_input_tokens(request)
    found = CallEstimator(output_tokens_default=4096).estimate(request, sheets, tokens)
    assert found is not None
    assert found.need_nano_usd == USD
    assert tokens.bound < 36_100  # The bytes of a file are not read as words.


def test_only_what_is_free_everywhere_is_free() -> None:
    assert estimate({"input": 0}, {"output": 0, "hours": 0}) is FREE
    assert estimate({"input": 0}, {"searches": 1}).need_nano_usd == 1


def test_a_price_is_known_where_a_sheet_has_a_rate() -> None:
    deployments = [deployment(rates) for rates in (TOKENS, None, {"input": 0}, {})]
    assert priced(deployments) == [deployments[0], deployments[2]]
    assert estimate(None, {}) is None
    assert estimate(TOKENS, None) == estimate(TOKENS)


@pytest.mark.parametrize(
    ("rate", "name", "escaped"),
    [
        ("audio_input", b'"audio"', rb'"\u0061udio"'),
        ("audio_output", b'"input_audio"', rb'"input\u005Faudio"'),
        ("cache_write", b'"cache_control"', rb'"cache_contro\u006c"'),
    ],
)
def test_a_dearer_rate_counts_however_its_name_is_written(rate: str, name: bytes, escaped: bytes) -> None:
    def need(key: bytes) -> int:
        raw = b'{"model":"g","max_tokens":100,"messages":[{' + key + b":{}}]}"
        return estimate(TOKENS | {rate: 1000 * USD}, raw=raw).need_nano_usd

    assert need(name) > 10 * need(b'"x"')
    assert need(escaped) >= need(name)


def test_an_estimate_fits_into_64_bits() -> None:
    assert estimate(TOKENS, max_tokens=10**9, n=10**15).full_nano_usd < 2**62


def tiered_need(**fields: Any) -> int:
    usual = PriceSheet(version="t", rates={unit: Rate(nano_usd_per_million=rate) for unit, rate in TOKENS.items()})
    prices = {
        "priority": {"input_cost_per_token": Decimal("0.000002"), "output_cost_per_token": Decimal("0.00002")},
        "flex": {"input_cost_per_token": Decimal("0.0000005"), "output_cost_per_token": Decimal("0.000005")},
    }
    factors = {"fast": Decimal(6), "us": Decimal("1.1")}
    sheet = with_service_tiers(usual, deployment_id="d", prices=prices, factors=factors)
    body = {"model": "g", "max_tokens": 100, "messages": MESSAGES} | fields
    request = parse_request("chat/completions", json.dumps(body).encode())
    tokens = InputTokens(b"", text_bytes=0, tokens=10)
    deployments = [msgspec.structs.replace(deployment(TOKENS), price=sheet)]
    found = CallEstimator(output_tokens_default=4096).estimate(request, deployments, tokens)
    assert found is not None
    return found.need_nano_usd


@pytest.mark.parametrize(
    ("fields", "times"),
    [
        ({}, Decimal("1.1")),
        ({"service_tier": "auto"}, Decimal("2.2")),
        ({"service_tier": "priority"}, Decimal("2.2")),
        ({"service_tier": "default"}, Decimal("1.1")),
        ({"service_tier": "flex"}, Decimal("1.1")),
        ({"service_tier": "standard_only", "speed": "fast"}, Decimal("6.6")),
        ({"service_tier": "auto", "speed": "fast"}, Decimal("13.2")),
    ],
)
def test_the_dearest_tier_that_a_request_may_be_served_in_counts(fields: dict[str, Any], times: Decimal) -> None:
    bound = InputTokens(b"", text_bytes=0, tokens=10).bound
    assert tiered_need(**fields) == (bound * 1_000 + 100 * 10_000) * times
