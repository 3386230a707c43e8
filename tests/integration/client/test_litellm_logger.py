"""LiteLLMLogger as LiteLLM calls it, on a real journal and a real SQLite file; without LiteLLM itself."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tallystick
from tallystick.bootstrap import open_store
from tallystick.config.load import load_settings
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.store import EventFilter
from tallystick.runtime.clock import SystemClock

MESSAGES = [{"role": "user", "content": "Who owes whom?"}]
START = datetime(2026, 11, 24, 12, 0, 0)  # noqa: DTZ001 - LiteLLM's times are local and don't say so.
END = START + timedelta(seconds=2)
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 40},
    "completion_tokens_details": {"reasoning_tokens": 8},
}


def kwargs_of(call_id: str, **more: Any) -> dict[str, Any]:
    return {
        "litellm_call_id": call_id,
        "model": "gpt-4o",
        "custom_llm_provider": "openai",
        "call_type": "completion",
        "user": "ann",
        "litellm_params": {
            "api_base": "https://api.example.com/v1",
            "metadata": {"tags": ["blue"], "job": "nightly", "api_key": "sk-secret", "handle": object()},
        },
        "response_cost": 0.123,
        **more,
    }


def answer(**usage: Any) -> SimpleNamespace:
    return SimpleNamespace(id="chatcmpl-1", usage=usage or USAGE, choices=[])


@pytest.fixture
def logger(tmp_path: Path) -> Any:
    made = tallystick.LiteLLMLogger(database_url=f"sqlite:///{tmp_path}/calls.db", home=tmp_path, journal_sync="write")
    yield made
    made.close()


def events(home: Path) -> list[SpendEvent]:
    async def read() -> list[SpendEvent]:
        overrides = {"home": str(home), "database_url": f"sqlite:///{home}/calls.db"}
        settings = load_settings(config_file=None, overrides=overrides, environ={})
        store = open_store(settings, clock=SystemClock())
        try:
            page = await store.reader.events_after("", limit=100, where=EventFilter())
            assert (await store.auditor.audit()).differences == ()
            return [committed.event for committed in page.events]
        finally:
            await store.close()

    return asyncio.run(read())


def test_a_call_is_one_event_with_what_it_used(logger: Any, tmp_path: Path) -> None:
    kwargs = kwargs_of("one")
    logger.log_pre_api_call("gpt-4o", MESSAGES, kwargs)
    logger.log_success_event(kwargs, answer(), START, END)
    logger.flush()
    (event,) = events(tmp_path)

    assert (event.status, event.call_type, event.endpoint) == ("success", "chat_completion", "/v1/chat/completions")
    assert (event.usage.input_tokens, event.usage.output_tokens) == (100, 20)
    assert (event.usage.cache_read_tokens, event.usage.reasoning_tokens) == (40, 8)
    assert (event.cost_status, event.cost_nano_usd) == ("priced", 60 * 2_500 + 40 * 1_250 + 20 * 10_000)
    assert (event.end_user_id, event.tags, event.key_hash) == ("ann", ("blue",), "tallystick_litellm")
    assert event.metadata == {"litellm_call_id": "one", "job": "nightly"}
    assert event.provider_response_id == "chatcmpl-1"


def test_what_is_told_twice_counts_once(logger: Any, tmp_path: Path) -> None:
    kwargs = kwargs_of("one")
    logger.log_pre_api_call("gpt-4o", MESSAGES, kwargs)
    logger.log_pre_api_call("gpt-4o", MESSAGES, kwargs)

    async def again() -> None:
        await asyncio.gather(*(logger.async_log_success_event(kwargs, answer(), START, END) for _ in range(3)))

    asyncio.run(again())
    logger.log_success_event(kwargs, answer(), START, END)
    logger.log_failure_event(kwargs, None, START, END)
    logger.flush()

    assert [event.status for event in events(tmp_path)] == ["success"]


def test_a_failure_is_an_event_that_costs_nothing(logger: Any, tmp_path: Path) -> None:
    class BadRequestError(Exception):
        status_code = 400

    kwargs = kwargs_of("one", exception=BadRequestError("not so"))
    logger.log_pre_api_call("gpt-4o", MESSAGES, kwargs)
    logger.log_failure_event(kwargs, None, START, END)
    logger.flush()
    (event,) = events(tmp_path)

    assert (event.status, event.cost_nano_usd, event.usage_source) == ("failure", 0, "none")
    assert (event.error_class, event.error_code, event.error_message) == ("BadRequestError", "400", "not so")


@pytest.mark.parametrize(
    ("cost", "model", "status", "nano_usd"),
    [
        ("price_list", "gpt-4o", "priced", 400_000),
        ("price_list", "of-nobody", "reported", 123_000_000),
        ("litellm", "gpt-4o", "reported", 123_000_000),
    ],
)
def test_whose_price_counts(tmp_path: Path, cost: Any, model: str, status: str, nano_usd: int) -> None:
    with tallystick.LiteLLMLogger(cost=cost, database_url=f"sqlite:///{tmp_path}/calls.db", home=tmp_path) as logger:
        logger.log_success_event(kwargs_of("one", model=model), answer(), START, END)
    (event,) = events(tmp_path)

    assert (event.cost_status, event.cost_nano_usd) == (status, nano_usd)


def test_an_answer_from_litellms_cache_costs_nothing(logger: Any, tmp_path: Path) -> None:
    logger.log_success_event(kwargs_of("one", cache_hit=True), answer(), START, END)
    logger.flush()
    (event,) = events(tmp_path)

    assert (event.cache_hit, event.cost_nano_usd, event.usage.input_tokens) == (True, 0, None)


def test_an_answer_that_nobody_counted_is_estimated(logger: Any, tmp_path: Path) -> None:
    kwargs = kwargs_of("one", response_cost=None)
    logger.log_pre_api_call("gpt-4o", MESSAGES, kwargs)
    choice = SimpleNamespace(message=SimpleNamespace(content="Nobody owes anybody anything.", tool_calls=None))
    logger.log_success_event(kwargs, SimpleNamespace(id="1", usage=None, choices=[choice]), START, END)
    logger.flush()
    (event,) = events(tmp_path)

    assert event.usage_source == "estimated"
    assert (event.usage.input_tokens or 0) > 0
    assert (event.usage.output_tokens or 0) > 0


def test_a_call_that_never_ends_is_interrupted_when_it_is_closed(tmp_path: Path) -> None:
    with tallystick.LiteLLMLogger(database_url=f"sqlite:///{tmp_path}/calls.db", home=tmp_path) as logger:
        logger.log_pre_api_call("gpt-4o", MESSAGES, kwargs_of("one"))
    (event,) = events(tmp_path)

    assert (event.status, event.usage_source) == ("interrupted", "estimated")
    assert event.cost_nano_usd > 0


def test_calls_of_litellms_proxy_keep_their_keys(logger: Any, tmp_path: Path) -> None:
    metadata = {
        "user_api_key_hash": "abc123", "user_api_key_alias": "ci", "user_api_key_team_id": "team-a",
        "user_api_key_user_id": "ann", "user_api_key_org_id": "org", "model_group": "chat", "model_info": {"id": "d-1"},
    }  # fmt: skip
    kwargs = kwargs_of("one", litellm_params={"metadata": metadata}, call_type="acompletion")
    asyncio.run(logger.async_log_success_event(kwargs, answer(), START, END))
    logger.flush()
    (event,) = events(tmp_path)

    assert (event.key_hash, event.key_alias, event.team_id) == ("abc123", "ci", "team-a")
    assert (event.user_id, event.organization_id) == ("ann", "org")
    assert (event.model_group, event.deployment_id, event.call_type) == ("chat", "d-1", "chat_completion")


def test_nothing_that_goes_wrong_reaches_litellm(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    logger = tallystick.LiteLLMLogger(database_url=f"sqlite:///{tmp_path}/file/calls.db", home=tmp_path)
    logger.log_pre_api_call("gpt-4o", MESSAGES, kwargs_of("one"))
    logger.log_success_event({}, None, None, None)

    assert logger.failed == 2


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": "many"},
        {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": 7},
        {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12},
        {"prompt_tokens": 10, "completion_tokens": 2, "surprise": object()},
    ],
)
def test_strange_usage_is_read_with_care(logger: Any, tmp_path: Path, usage: dict[str, Any]) -> None:
    logger.log_success_event(kwargs_of("one"), answer(**usage), START, END)
    logger.flush()
    (event,) = events(tmp_path)

    assert (event.usage.input_tokens, event.usage.output_tokens) in ((10, 2), (None, None))
    assert logger.failed == 0


def test_too_many_open_calls_end_the_oldest_once(logger: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick.client.litellm_logger._OPEN_MAX", 1)
    for name in ("one", "two"):
        logger.log_pre_api_call("gpt-4o", MESSAGES, kwargs_of(name))
    for name in ("one", "two"):
        logger.log_success_event(kwargs_of(name), answer(), START, END)
    logger.flush()

    found = {event.metadata["litellm_call_id"]: event.status for event in events(tmp_path)}
    assert found == {"one": "interrupted", "two": "success"}
    assert len(events(tmp_path)) == 2
