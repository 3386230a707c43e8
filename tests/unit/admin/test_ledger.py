"""Reading the ledger over HTTP: rows in LiteLLM's shape, events in ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tallystick.access.principal import MASTER_KEY_HASH
from tallystick.ledger.batch import batch_of
from tallystick.ledger.event import Attempt, SpendEvent
from tallystick.runtime.ids import new_event_id
from tallystick.wire.usage import Usage

DAY = datetime(2026, 1, 5, tzinfo=UTC)


def event_at(moment: datetime, **fields) -> SpendEvent:
    base = {
        "event_id": new_event_id(moment),
        "call_type": "acompletion",
        "endpoint": "/v1/chat/completions",
        "status": "success",
        "started_at": moment,
        "ended_at": moment + timedelta(milliseconds=1500),
    }
    return SpendEvent(**{**base, **fields})


FULL = event_at(
    DAY,
    first_token_at=DAY + timedelta(milliseconds=200),
    key_hash="h1", key_alias="ci", user_id="u1", team_id="t1", organization_id="o1", end_user_id="e1",
    tags=("a", "b"), session_id="s1", model_group="gpt", model="gpt-4o", deployment_id="d1", provider="openai",
    api_base="https://api.openai.com/v1", attempts=(
        Attempt(deployment_id="d0", provider="openai", model="m", status="failure"),
        Attempt(deployment_id="d1", provider="openai", model="m", status="success"),
    ),
    usage=Usage(input_tokens=10, output_tokens=5, cache_read_tokens=4), usage_source="provider",
    cost_nano_usd=2_500_000, cost_status="priced", cost_breakdown={"input": 1_500_000, "output": 1_000_000},
    price_version="v1", provider_response_id="chatcmpl-1", requester_ip="10.0.0.1", user_agent="curl",
    metadata={"job": "x"},
)  # fmt: skip
FAILED = event_at(
    DAY + timedelta(days=1), status="failure", key_hash="h2", user_id="u2", error_code="429",
    error_class="UpstreamRefused", error_message="slow down", provider_response_id="chatcmpl-2",
)  # fmt: skip
CACHED = event_at(DAY + timedelta(days=2), key_hash="h1", cache_hit=True, provider_response_id="chatcmpl-1")


@pytest.fixture
async def house(house):
    await house.store.commit(batch_of("p1", 1, [FULL, FAILED]))
    await house.store.commit(batch_of("p2", 1, [CACHED]))
    return house


async def rows(house, *, key=None, **query):
    answer = await house.client.request("GET", "/spend/logs", key=key, query=query)
    assert answer.status == 200, answer.body
    return answer.json()


async def test_a_row_has_litellms_shape(house):
    (row,) = await rows(house, request_id=FULL.event_id)
    expected = {
        "request_id": "chatcmpl-1", "litellm_call_id": FULL.event_id, "call_type": "acompletion", "api_key": "h1",
        "spend": 0.0025, "total_tokens": 15, "prompt_tokens": 10, "completion_tokens": 5,
        "startTime": "2026-01-05T00:00:00.000+00:00", "endTime": "2026-01-05T00:00:01.500+00:00",
        "completionStartTime": "2026-01-05T00:00:00.200+00:00", "request_duration_ms": 1500, "model": "gpt-4o",
        "model_group": "gpt", "model_id": "d1", "api_base": "https://api.openai.com/v1",
        "custom_llm_provider": "openai", "user": "u1", "team_id": "t1", "organization_id": "o1", "end_user": "e1",
        "request_tags": ["a", "b"], "session_id": "s1", "cache_hit": "False", "status": "success",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    metadata = row["metadata"]
    assert metadata["status"] == "success"
    assert (metadata["user_api_key"], metadata["user_api_key_team_id"], metadata["user_api_key_org_id"]) == (
        "h1", "t1", "o1",
    )  # fmt: skip
    assert metadata["cost_breakdown"] == {"input": 0.0015, "output": 0.001}
    assert metadata["usage_object"] == {"input_tokens": 10, "output_tokens": 5, "cache_read_tokens": 4}
    assert metadata["attempted_retries"] == 1
    assert metadata["error_information"] is None


async def test_a_failure_is_named_by_its_event(house):
    (row,) = await rows(house, request_id=FAILED.event_id.upper())
    assert row["request_id"] == FAILED.event_id
    assert (row["status"], row["spend"], row["team_id"]) == ("failure", 0.0, None)
    assert row["metadata"]["error_information"] == {
        "error_code": "429", "error_class": "UpstreamRefused", "error_message": "slow down", "traceback": "",
    }  # fmt: skip


async def test_calls_are_found_by_the_providers_id(house):
    found = await rows(house, request_id="chatcmpl-1")
    assert [row["litellm_call_id"] for row in found] == [CACHED.event_id, FULL.event_id]
    cached = found[0]["request_id"]
    assert cached.startswith("chatcmpl-1_cache_hit")
    assert [row["request_id"] for row in await rows(house, request_id=cached)] == [cached]
    assert await rows(house, request_id="chatcmpl-9") == []
    assert await rows(house, request_id="00000000-0000-4000-8000-000000000000") == []


async def test_filters(house):
    async def ids(**query):
        return [row["litellm_call_id"] for row in await rows(house, **query)]

    full, failed, cached = FULL.event_id, FAILED.event_id, CACHED.event_id
    assert await ids() == [cached, failed, full]
    assert await ids(api_key="h1") == [cached, full]
    assert await ids(user_id="u2") == [failed]
    assert await ids(start_date="2026-01-06", end_date="2026-01-06") == [failed]
    assert await ids(start_date="2026-01-06 00:00:01") == [cached]
    assert await ids(end_date="2026-01-06T00:00:00Z") == [full]
    assert await ids(end_date="2026-01-06 01:00:00+01:00") == [full]


async def test_the_master_key_and_its_spend(house):
    moment = DAY + timedelta(days=3)
    await house.store.commit(batch_of("p3", 1, [event_at(moment, key_hash=MASTER_KEY_HASH)]))
    assert [row["api_key"] for row in await rows(house, api_key=house.master)] == [MASTER_KEY_HASH]


async def test_a_cut_answer_says_so(house):
    answer = await house.client.get("/spend/logs", limit=2)
    assert len(answer.json()) == 2
    assert answer.headers["x-litellm-spend-logs-truncated"] == "true"
    assert "x-litellm-spend-logs-truncated" not in (await house.client.get("/spend/logs", limit=3)).headers


async def test_who_is_no_admin_sees_the_own_calls(house):
    made = await house.make_key(user_id="u1")
    mine = event_at(DAY + timedelta(days=4), key_hash=made["token"])
    await house.store.commit(batch_of("p4", 1, [mine]))
    for query in ({}, {"api_key": made["key"]}, {"api_key": made["token"]}, {"request_id": mine.event_id}):
        assert [row["litellm_call_id"] for row in await rows(house, key=made["key"], **query)] == [mine.event_id]
    for query in ({"request_id": FULL.event_id}, {"request_id": "chatcmpl-1"}, {"user_id": "u2"}):
        assert await rows(house, key=made["key"], **query) == []
    await house.client.request("GET", "/spend/logs", key=made["key"], query={"api_key": "h1"})
    answer = await house.client.request("GET", "/spend/logs", key=made["key"], query={"api_key": "h1"})
    assert answer.status == 403


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/spend/logs", {"start_date": "yesterday"}),
        ("/spend/logs", {"end_date": "9999-12-31"}),
        ("/spend/logs", {"end_date": "0001-01-01T00:00:00+23:00"}),
        ("/spend/logs", {"limit": 10_001}),
        ("/spend/logs", {"request_id": "nul\0"}),
        ("/ledger/events", {"since": "2026-13-01"}),
        ("/ledger/events", {"event_id": "chatcmpl-1"}),
        ("/ledger/events", {"event_id": "00000000-0000-4000-8000-000000000000"}),
        ("/ledger/events", {"after": "nonsense"}),
        ("/ledger/events", {"limit": 0}),
    ],
)
async def test_wrong_parameters_are_named(house, path, query):
    assert (await house.refused(400, path, **query))["param"] == next(iter(query))


async def test_the_feed_shows_every_event_once_in_full(house):
    first = (await house.client.get("/ledger/events", limit=2)).json()
    second = (await house.client.get("/ledger/events", limit=2, after=first["next"])).json()
    third = (await house.client.get("/ledger/events", after=second["next"])).json()
    events = [*first["events"], *second["events"]]
    assert [event["event_id"] for event in events] == [FULL.event_id, FAILED.event_id, CACHED.event_id]
    assert [(event["producer_id"], event["seq"]) for event in events] == [("p1", 1), ("p1", 2), ("p2", 1)]
    assert (third["events"], third["next"]) == ([], second["next"])
    full = events[0]
    assert set(SpendEvent.__struct_fields__) < full.keys()
    assert full["cost_nano_usd"] == 2_500_000
    assert full["cost_breakdown"] == {"input": 1_500_000, "output": 1_000_000}
    assert full["usage"] == {"input_tokens": 10, "output_tokens": 5, "cache_read_tokens": 4}
    assert full["started_at"] == "2026-01-05T00:00:00Z"
    assert events[1]["cost_nano_usd"] == 0
    assert events[1]["tags"] == []


async def test_the_feeds_filters(house):
    async def ids(**query):
        return [event["event_id"] for event in (await house.client.get("/ledger/events", **query)).json()["events"]]

    assert await ids(event_id=FAILED.event_id) == [FAILED.event_id]
    assert await ids(key_hash="h1") == [FULL.event_id, CACHED.event_id]
    assert await ids(since="2026-01-06", until="2026-01-07") == [FAILED.event_id]
