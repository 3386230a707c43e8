"""Callbacks of a program's own client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import tallystick
from tallystick.errors import ConfigError, UpstreamError
from upstream import Upstream, running_upstream

ASKED: Any = [{"role": "user", "content": "Who owes whom?"}]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as running:
        yield running


def client_of(upstream: Upstream, home: Path, **callbacks: Any) -> tallystick.Client:
    models = [
        {
            "model_name": model,
            "litellm_params": {"model": f"openai/{model}", "api_base": upstream.url, "api_key": "k", "num_retries": 0},
            "model_info": {"id": model, "base_model": "gpt-4o"},
        }
        for model in ("plain", "status:400")
    ]
    return tallystick.Client(model_list=models, home=home, journal_sync="write", **callbacks)


async def test_functions_and_objects_hear_of_calls(upstream: Upstream, tmp_path: Path) -> None:
    told: list[tuple[str, Any, Any]] = []

    class Logger:
        def log_pre_api_call(self, model: str, messages: Any, kwargs: Any) -> None:
            told.append(("pre", kwargs, None))

        async def async_log_failure_event(self, kwargs: Any, response: Any, start: Any, end: Any) -> None:
            told.append(("failure", kwargs, response))

    def on_success(kwargs: Any, response: Any, start: Any, end: Any) -> None:
        told.append(("success", kwargs, response))

    client = client_of(upstream, tmp_path, callbacks=[Logger()], success_callback=on_success)

    def work() -> None:
        answer = client.completion("plain", ASKED, user="ann")
        with pytest.raises(UpstreamError):
            client.completion("status:400", ASKED)
        client.close()  # Callbacks that wait are called.
        (success,) = [each for each in told if each[0] == "success"]
        assert success[1]["standard_logging_object"]["end_user"] == "ann"
        assert success[1]["response_cost_nano_usd"] == answer.tallystick.cost_nano_usd
        assert success[1]["litellm_call_id"] == answer.tallystick.event_id
        assert success[2].choices[0].message.content == answer.choices[0].message.content
        assert sorted(each[0] for each in told) == ["failure", "pre", "pre", "success"]

    await asyncio.to_thread(work)


async def test_what_is_no_callback_is_refused(upstream: Upstream, tmp_path: Path) -> None:
    client = client_of(upstream, tmp_path, failure_callback=[7])
    with pytest.raises(ConfigError, match=r"failure_callback\[0\]: is a int"):
        await asyncio.to_thread(client.completion, "plain", ASKED)
    assert upstream.requests == []
    client.close()
