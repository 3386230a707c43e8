"""Callbacks of the configuration, through the whole gateway: told after the event, never in a call's way."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway_kit import RunningGateway, running_gateway, scripted
from tallystick.errors import ConfigError
from upstream import USAGE, running_upstream

MODULE = """
import threading, time, dataclasses

@dataclasses.dataclass
class Told:
    what: str
    args: tuple

told = []
gate = threading.Event()

class Logger:
    def log_pre_api_call(self, model, messages, kwargs):
        told.append(Told("pre", (model, messages, kwargs)))

    def log_post_api_call(self, kwargs, response_obj, start_time, end_time):
        told.append(Told("post", (kwargs, response_obj, start_time, end_time)))

    def log_success_event(self, kwargs, response_obj, start_time, end_time):
        told.append(Told("not this one", ()))

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        told.append(Told("success", (kwargs, response_obj, start_time, end_time)))

    async def async_log_failure_event(self, kwargs, response_obj, start_time, end_time):
        told.append(Told("failure", (kwargs, response_obj, start_time, end_time)))

class Quiet(Logger):
    turn_off_message_logging = True

class Hooked(Logger):
    async def async_pre_call_hook(self, *args): ...

logger, quiet = Logger(), Quiet()

def on_success(kwargs, response_obj, start_time, end_time):
    told.append(Told("function", (kwargs, response_obj, start_time, end_time)))

async def on_input(kwargs):
    told.append(Told("input", (kwargs,)))

def broken(kwargs, response_obj, start_time, end_time):
    raise KeyError("sk-proj-0123456789abcdef")

def leaving(kwargs, response_obj, start_time, end_time):
    raise SystemExit(3)

def hanging(kwargs, response_obj, start_time, end_time):
    told.append(Told("hanging", ()))
    gate.wait(60)

async def blocking(kwargs, response_obj, start_time, end_time):
    gate.wait(60)

number = 7
"""


class World:
    """A gateway with the module above beside its configuration."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway

    @property
    def module(self) -> Any:
        callback = self.gateway.services.callback_lists.all()[0].callback
        function = callback if hasattr(callback, "__globals__") else type(callback).log_pre_api_call
        return function.__globals__

    def told(self, what: str = "") -> list[Any]:
        return [each for each in list(self.module["told"]) if not what or each.what == what]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.005)

    def counted(self, callback: str, outcome: str) -> float:
        labels = {"callback": callback, "outcome": outcome}
        return self.gateway.metrics.registry.get_sample_value("tallystick_callbacks_total", labels) or 0.0


@pytest.fixture
async def serve(tmp_path: Path) -> Any:
    """Return what makes a World of litellm_settings."""
    (tmp_path / "my_callbacks.py").write_text(MODULE)

    class Serving:
        async def __call__(self, litellm_settings: dict[str, Any], **general: Any) -> World:
            self.upstream = await self.stack.enter_async_context(running_upstream())
            models = ("plain", "stream", "status:429", "status:400", "hang", "reset", "slow:300")
            config = {
                **scripted(self.upstream.url, *models, num_retries=0),
                "litellm_settings": litellm_settings,
                "general_settings": general,
            }
            return World(await self.stack.enter_async_context(running_gateway(tmp_path, config)))

    from contextlib import AsyncExitStack

    async with AsyncExitStack() as stack:
        serving = Serving()
        serving.stack = stack
        yield serving


async def test_an_object_hears_of_start_and_success(serve: Any) -> None:
    world = await serve({"callbacks": "my_callbacks.logger"})
    _, body, headers = await world.gateway.chat("plain", user="ann", metadata={"tags": ["blue"], "job": "nightly"})
    await world.until(lambda: len(world.told()) == 3)

    event = await world.gateway.event()
    # `log_pre_api_call` and `log_post_api_call` may block, so that they run beside the coroutines.
    model, messages, before = world.told("pre")[0].args
    assert (model, messages[0]["content"]) == ("plain", "Who owes whom?")
    assert before["litellm_call_id"] == event.event_id == headers["x-litellm-call-id"]
    kwargs, response, start, end = world.told("success")[0].args
    assert [each.what for each in world.told() if each.what != "post"] in (["pre", "success"], ["success", "pre"])
    assert (start, end) == (event.started_at, event.ended_at)
    assert response == json.loads(body)
    assert response.choices[0].message.content == json.loads(body)["choices"][0]["message"]["content"]
    assert (response.usage.prompt_tokens, response["usage"]["completion_tokens"]) == (12, 6)
    assert kwargs["response_cost"] == pytest.approx(event.cost_nano_usd / 1e9)
    assert kwargs["response_cost_nano_usd"] == event.cost_nano_usd > 0
    assert kwargs["cache_hit"] is False
    assert kwargs["litellm_params"]["metadata"]["user_api_key_hash"] == event.key_hash
    standard = kwargs["standard_logging_object"]
    assert standard["status"] == "success"
    assert standard["litellm_call_id"] == event.event_id
    assert standard["id"] == event.provider_response_id
    assert (standard["prompt_tokens"], standard["completion_tokens"], standard["total_tokens"]) == (12, 6, 18)
    assert standard["request_tags"] == ["blue"]
    assert standard["end_user"] == "ann"
    assert standard["metadata"]["requester_metadata"]["job"] == "nightly"
    assert standard["messages"] == messages
    assert standard["response"] == response
    assert sum(standard["cost_breakdown_nano_usd"].values()) == event.cost_nano_usd
    assert standard["startTime"] == event.started_at.timestamp()
    assert standard["call_type"] == "acompletion"


async def test_no_key_is_among_what_callbacks_get(serve: Any) -> None:
    world = await serve({"callbacks": ["my_callbacks.logger"]})
    await world.gateway.chat("plain", api_key="sk-the-callers-own-0123456789")
    await world.until(lambda: len(world.told("success")) == 1)

    assert "sk-the-callers" not in repr(world.told())
    assert "sk-test" not in repr(world.told())
    assert "up-key" not in repr(world.told())


async def test_a_stream_is_told_once_with_its_whole_answer(serve: Any) -> None:
    world = await serve({"success_callback": ["my_callbacks.on_success"]})
    async with world.gateway.open_stream("stream") as response:
        sent = await response.text()
    await world.until(lambda: len(world.told()) == 1)

    kwargs, answer, *_ = world.told("function")[0].args
    assert answer.choices[0].message.content == "The stick has two halves."
    assert answer.usage.total_tokens == USAGE["total_tokens"]
    assert "usage" not in sent
    assert kwargs["complete_streaming_response"] is answer
    assert kwargs["standard_logging_object"]["stream"] is True


async def test_anthropic_callers_are_told_in_openais_shape(serve: Any) -> None:
    world = await serve({"success_callback": ["my_callbacks.on_success"]})
    message = {"model": "plain", "max_tokens": 99, "messages": [{"role": "user", "content": "Who owes whom?"}]}
    _, body, _ = await world.gateway.post("/v1/messages", message)
    await world.gateway.post("/v1/messages", {**message, "stream": True, "model": "stream"})
    await world.until(lambda: len(world.told()) == 2)

    plain, streamed = (each.args[1] for each in world.told())
    assert plain.choices[0].message.content == json.loads(body)["content"][0]["text"]
    assert streamed.choices[0].message.content == "The stick has two halves."
    assert plain.usage.prompt_tokens == streamed.usage.prompt_tokens == 12


@pytest.mark.parametrize(("model", "code"), [("status:429", "429"), ("status:400", "400"), ("reset", "502")])
async def test_failures_are_told_as_failures(serve: Any, model: str, code: str) -> None:
    world = await serve({"callbacks": ["my_callbacks.logger"]})
    await world.gateway.chat(model)
    await world.until(lambda: len(world.told("failure")) == 1)

    kwargs, answer, *_ = world.told("failure")[0].args
    assert answer is None
    assert world.told("success") == []
    assert kwargs["exception"].status_code == int(code)
    standard = kwargs["standard_logging_object"]
    assert standard["status"] == "failure"
    assert standard["error_information"]["error_code"] == code
    assert standard["response_cost"] == 0.0


async def test_a_client_that_leaves_is_a_failure_with_what_it_cost(serve: Any) -> None:
    world = await serve({"callbacks": ["my_callbacks.logger"]})
    async with world.gateway.open_stream("hang") as response:
        await response.content.readany()
    await world.until(lambda: len(world.told("failure")) == 1)

    kwargs = world.told("failure")[0].args[0]
    event = await world.gateway.event()
    assert event.status == "interrupted"
    assert kwargs["response_cost_nano_usd"] == event.cost_nano_usd > 0
    assert kwargs["tallystick_event"]["status"] == "interrupted"


async def test_a_call_answered_from_the_cache_is_told_with_its_answer(serve: Any) -> None:
    world = await serve({"success_callback": ["my_callbacks.on_success"], "cache": True})
    for _ in range(2):
        await world.gateway.chat("plain")
    await world.until(lambda: len(world.told()) == 2)

    first, second = (each.args for each in world.told())
    assert second[0]["cache_hit"] is True
    assert second[0]["response_cost_nano_usd"] == 0
    assert second[1].choices == first[1].choices


async def test_messages_are_turned_off_for_all_and_for_one(serve: Any) -> None:
    world = await serve({"callbacks": ["my_callbacks.quiet", "my_callbacks.logger"]})
    await world.gateway.chat("plain")
    await world.until(lambda: len(world.told("success")) == 2)
    quiet, loud = (each.args for each in world.told("success"))

    assert "Who owes whom?" in repr(loud)
    assert "Who owes whom?" not in repr(quiet)
    assert loud[1].choices[0].message.content not in repr(quiet)
    assert quiet[0]["standard_logging_object"]["total_tokens"] == 18


async def test_messages_are_turned_off_by_the_setting(serve: Any) -> None:
    world = await serve({"callbacks": ["my_callbacks.logger"], "turn_off_message_logging": True})
    await world.gateway.chat("plain")
    await world.gateway.chat("status:400")
    await world.until(lambda: len(world.told()) == 5)

    assert "Who owes whom?" not in repr(world.told())
    assert "status:400 was asked" not in repr(world.told("failure")[0].args[0]["standard_logging_object"]["error_str"])


async def test_an_error_is_logged_once_counted_and_in_nobodys_way(
    serve: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = ["my_callbacks.broken", "my_callbacks.leaving", "my_callbacks.on_success"]
    world = await serve({"success_callback": entries})
    for _ in range(3):
        assert (await world.gateway.chat("plain"))[0] == 200
    await world.until(lambda: len(world.told()) == 3)

    assert world.counted("my_callbacks.broken", "failed") == 3
    assert world.counted("my_callbacks.leaving", "failed") == 3
    assert world.counted("my_callbacks.on_success", "done") == 3
    logged = [line for line in capsys.readouterr().out.splitlines() if "callback_failed" in line]
    assert len(logged) == 2
    assert any("KeyError" in line and "my_callbacks.py:" in line for line in logged)
    assert not any("0123456789abcdef" in line for line in logged)


async def test_a_callback_that_hangs_is_left_and_calls_are_as_fast(serve: Any) -> None:
    entries = ["my_callbacks.hanging", "my_callbacks.on_success"]
    world = await serve({"success_callback": entries}, callback_timeout=0.05)
    for _ in range(3):
        begun = time.perf_counter()
        await world.gateway.chat("plain")
        assert time.perf_counter() - begun < 2
    await world.until(lambda: len(world.told("function")) == 3)

    assert world.counted("my_callbacks.hanging", "timeout") == 3
    assert len([each for each in threading.enumerate() if "blocking-callbacks" in each.name]) >= 3
    world.module["gate"].set()


async def test_a_full_queue_drops_counts_and_keeps_the_ledger_whole(serve: Any) -> None:
    world = await serve(
        {"success_callback": ["my_callbacks.hanging"]}, callback_queue_max=2, callback_drain_timeout=0.05
    )
    for _ in range(6):
        assert (await world.gateway.chat("plain"))[0] == 200
    await world.gateway.events(6)

    assert world.counted("my_callbacks.hanging", "dropped") == 3  # One runs and two wait.
    assert world.gateway.metrics.registry.get_sample_value("tallystick_callbacks_waiting") == 2
    await world.gateway.services._callbacks.stop()
    assert world.counted("my_callbacks.hanging", "dropped") == 5
    world.module["gate"].set()


async def test_a_coroutine_that_blocks_is_in_nobodys_way(serve: Any) -> None:
    world = await serve(
        {"success_callback": ["my_callbacks.blocking", "my_callbacks.on_success"]}, callback_drain_timeout=0.05
    )
    async with asyncio.timeout(5):
        for _ in range(3):
            assert (await world.gateway.chat("plain"))[0] == 200
    world.module["gate"].set()
    await world.until(lambda: len(world.told("function")) == 3)


async def test_what_waits_is_told_before_the_end(serve: Any) -> None:
    world = await serve({"input_callback": ["my_callbacks.on_input"], "success_callback": ["my_callbacks.on_success"]})
    module = world.module
    for _ in range(20):
        await world.gateway.chat("plain")
    await serve.stack.aclose()

    assert sorted(each.what for each in module["told"]) == ["function"] * 20 + ["input"] * 20


async def test_the_pages_list_them(serve: Any) -> None:
    names = ["my_callbacks.on_success", "langfuse"]
    world = await serve(
        {"callbacks": ["my_callbacks.logger"], "success_callback": names, "failure_callback": ["my_callbacks.broken"]}
    )
    _, listed, _ = await world.gateway.get("/callbacks/list")
    _, active, _ = await world.gateway.get("/active/callbacks")

    assert json.loads(listed) == {"success": ["on_success"], "failure": ["broken"], "success_and_failure": ["Logger"]}
    shown = json.loads(active)
    assert shown["litellm.callbacks"] == ["my_callbacks.logger"]
    assert shown["litellm.success_callback"] == ["my_callbacks.on_success"]
    assert shown["num_callbacks"] == len(shown["all_litellm_callbacks"]) == 3


async def test_hooks_that_are_not_called_are_named(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    world = await serve({"callbacks": "my_callbacks.Hooked"})
    assert (await world.gateway.chat("plain"))[0] == 200

    assert "async_pre_call_hook" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("nowhere.logger", "there is no module nowhere beside the configuration file"),
        ("my_callbacks.missing", "has no missing"),
        ("my_callbacks.number", "is a int: it must be a function, or an object with"),
        ("failing.logger", "the module failing can't be imported: RuntimeError: no"),
        ("needing.logger", "can't be imported: ModuleNotFoundError: No module named 'surely_not_there'"),
        ("https://a/b", "must be an import path"),
    ],
)
async def test_what_can_not_be_imported_stops_the_start(serve: Any, tmp_path: Path, entry: str, words: str) -> None:
    (tmp_path / "failing.py").write_text("raise RuntimeError('no')")
    (tmp_path / "needing.py").write_text("import surely_not_there")
    with pytest.raises(ConfigError) as caught:
        await serve({"success_callback": ["my_callbacks.on_success", entry]})

    assert words in str(caught.value)
    assert f"{tmp_path / 'config.yaml'}: litellm_settings.success_callback[1]: " in str(caught.value)
