"""Every field of an event comes back as it went in."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from conformance.kit import EVERYTHING, START, Engine, make_event
from tallystick.ledger.batch import batch_of
from tallystick.ledger.event import Attempt, SpendEvent
from tallystick.wire.usage import Usage

FULL = {
    "call_type": "responses",
    "endpoint": "/v1/responses",
    "status": "failure",
    "first_token_at": START + timedelta(microseconds=250_001),
    "ended_at": START + timedelta(seconds=3, microseconds=7),
    "error_code": "429",
    "error_class": "RateLimit",
    "error_message": "slow down: 'quoted' \"text\"\n\twith % and \\ and {}",
    "key_hash": "f" * 64,
    "key_alias": "Schlüssel ✓",
    "user_id": "user@example.org",
    "team_id": "команда",
    "organization_id": "組織",
    "end_user_id": "😀",
    "tags": ("zeta", "alpha", "zeta", "", "with,comma", 'with"quote', "{brace}", "NULL"),
    "session_id": "session",
    "model_group": "group",
    "model": "model",
    "deployment_id": "deployment",
    "provider": "provider",
    "api_base": "https://example.org/v1",
    "tool": "tool",
    "attempts": (
        Attempt(deployment_id="d1", provider="a", model="m1", status="failure", error_class="X", error_code="500"),
        Attempt(
            deployment_id="d2",
            provider="b",
            model="m2",
            status="success",
            cost_nano_usd=5,
            usage=Usage(output_tokens=0),
        ),
    ),
    "cache_hit": True,
    "usage": Usage(**{name: index for index, name in enumerate(Usage.__struct_fields__)}),
    "usage_source": "estimated",
    "cost_nano_usd": 123_456_789,
    "cost_status": "reported",
    "cost_breakdown": {"input": 1, "output": -2, "ünï": 3},
    "price_version": "2026-03",
    "provider_response_id": "resp_1",
    "requester_ip": "2001:db8::1",
    "user_agent": "client/1.0",
    "metadata": {"a": [1, 2.5, None, True, {"b": "ü"}], "empty": {}, "list": [], "nested": {"x": {"y": "z"}}},
    "body_ref": "s3://bucket/body",
}


async def round_trip(engine: Engine, event: SpendEvent) -> SpendEvent:
    await engine.ledger.commit(batch_of("p", 1, [event]))
    (found,) = (await engine.reader.events_after("", limit=2, where=EVERYTHING)).events
    (latest,) = await engine.reader.latest_events(limit=2, where=EVERYTHING)
    assert latest == found
    assert (found.producer_id, found.seq) == ("p", 1)
    return found.event


def test_every_field_is_given_a_value() -> None:
    assert set(FULL) | {"event_id", "started_at"} == set(SpendEvent.__struct_fields__)


async def test_every_field_comes_back(engine: Engine) -> None:
    event = make_event(**FULL)
    assert await round_trip(engine, event) == event
    assert (await engine.auditor.audit()).differences == ()


async def test_an_event_with_nothing_but_what_it_needs_comes_back(engine: Engine) -> None:
    event = SpendEvent(
        event_id=make_event().event_id,
        call_type="",
        endpoint="",
        status="interrupted",
        started_at=START,
        ended_at=START,
    )
    assert await round_trip(engine, event) == event


@pytest.mark.parametrize("name", Usage.__struct_fields__)
async def test_a_quantity_that_is_absent_is_not_zero(engine: Engine, name: str) -> None:
    zeros = dict.fromkeys(Usage.__struct_fields__, 0)
    event = make_event(usage=Usage(**(zeros | {name: None})))
    assert await round_trip(engine, event) == event


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63) + 1])
async def test_the_extremes_of_64_bit_come_back(engine: Engine, number: int) -> None:
    usage = Usage(input_tokens=number, reasoning_tokens=number, milliseconds=number)
    event = make_event(cost_nano_usd=number, usage=usage, cost_breakdown={"all": number})
    assert await round_trip(engine, event) == event
    total = await engine.reader.total("key", "k1")
    assert (total.cost_nano_usd, total.input_tokens) == (number, number)
    assert (await engine.auditor.audit()).differences == ()


async def test_times_of_another_zone_are_the_same_moments(engine: Engine) -> None:
    local = datetime(2026, 3, 14, 1, 30, 0, 1000, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    event = make_event(started_at=local, ended_at=local + timedelta(microseconds=1))
    found = await round_trip(engine, event)
    assert (found.started_at, found.ended_at) == (event.started_at, event.ended_at)
    (row,) = await engine.reader.daily(group_by="day", first=local.date().replace(day=1), last=local.date(), limit=9)
    assert row.group == {"day": "2026-03-13"}


async def test_long_text_comes_back(engine: Engine) -> None:
    event = make_event(error_message="x" * 200_000, metadata={"blob": "é" * 100_000}, tags=("t" * 500,))
    assert await round_trip(engine, event) == event
