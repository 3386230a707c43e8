"""LiteLLM itself, from an environment of its own, with our logger among its callbacks: N calls, N events.

Not part of the suite, because LiteLLM brings 60 packages and must never be in a lock of ours:
`pytest tests/acceptance/test_litellm_logger.py --litellm-python /path/to/venv/bin/python`. Never 1.82.7 or 1.82.8,
which were malware.
"""

from __future__ import annotations

import asyncio
import os
import sysconfig
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tallystick.bootstrap import open_store
from tallystick.config.load import load_settings
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.store import EventFilter
from tallystick.runtime.clock import SystemClock
from upstream import Upstream, running_upstream

SCRIPT = Path(__file__).with_name("litellm_script.py")
SOURCE = Path(__file__).parents[2] / "src"
SECONDS_MAX = 120


class LiteLLMPrograms:
    """Runs programs on one database, and says what its ledger has."""

    def __init__(self, python: str, upstream: Upstream, home: Path, database_url: str) -> None:
        self.python = python
        self.upstream = upstream
        self.home = home
        self.database_url = database_url

    async def start(self, scenario: str, *, cost: str = "price_list") -> asyncio.subprocess.Process:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PYTHONPATH": str(SOURCE),
            "PACKAGES": sysconfig.get_path("platlib"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # It asks the internet otherwise.
            "SDK_UPSTREAM": self.upstream.url,
            "SDK_DATABASE": self.database_url,
            "SDK_HOME": str(self.home),
            "SDK_NAME": scenario,
            "SDK_COST": cost,
        }
        return await asyncio.create_subprocess_exec(
            self.python, SCRIPT, scenario, env=environment, stdin=-1, stdout=-1, stderr=-1
        )

    async def run(self, scenario: str, *, cost: str = "price_list") -> Counter[str]:
        """Run a program to its end and return whose answers came."""
        process = await self.start(scenario, cost=cost)
        async with asyncio.timeout(SECONDS_MAX):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()[-3000:]
        assert b"not_recorded" not in err, err.decode()[-3000:]
        return Counter(line.removeprefix("done ") for line in out.decode().splitlines() if line.startswith("done "))

    async def events(self) -> list[SpendEvent]:
        """Return all events, after `verify` has found no difference."""
        overrides = {"home": str(self.home), "database_url": self.database_url}
        settings = load_settings(config_file=None, overrides=overrides, environ={})
        store = open_store(settings, clock=SystemClock())
        try:
            page = await store.reader.events_after("", limit=10_000, where=EventFilter())
            assert (await store.auditor.audit()).differences == ()
            return [committed.event for committed in page.events]
        finally:
            await store.close()


@pytest.fixture(params=["sqlite", "postgres"])
async def programs(
    request: pytest.FixtureRequest, litellm_python: str, tmp_path: Path
) -> AsyncIterator[LiteLLMPrograms]:
    if request.param == "sqlite":
        database_url = f"sqlite:///{tmp_path}/calls.db"
    else:
        database_url = request.getfixturevalue("empty_postgres_url")
    async with running_upstream() as upstream:
        yield LiteLLMPrograms(litellm_python, upstream, tmp_path, database_url)


@pytest.mark.timeout(180)
async def test_each_call_is_one_event(programs: LiteLLMPrograms) -> None:
    answered = await programs.run("script")
    events = await programs.events()

    assert len(answered) == 60
    assert Counter(event.end_user_id for event in events) == answered
    for event in events:
        failed = "failed" in event.end_user_id
        assert event.status == ("failure" if failed else "success"), event
        assert (event.provider, event.call_type) == ("openai", "chat_completion")
        assert (event.tags, event.metadata["job"]) == (("blue",), "nightly")
        if failed:
            assert (event.cost_nano_usd, event.error_code) == (0, "429" if "-afailed" in event.end_user_id else "400")
            continue
        assert event.usage_source == "provider", (event.end_user_id, event.usage)
        assert (event.usage.input_tokens, event.usage.output_tokens) == (12, 6)
        assert (event.cost_status, event.cost_nano_usd) == ("priced", 12 * 2_500 + 6 * 10_000)
        assert (event.first_token_at is not None) == ("stream" in event.end_user_id)


@pytest.mark.timeout(180)
async def test_a_stream_that_nobody_counted_is_estimated(programs: LiteLLMPrograms) -> None:
    await programs.run("uncounted")
    (event,) = await programs.events()

    assert event.status == "success"  # LiteLLM estimates where it has its tokenizer; it does not say so.
    assert event.usage.input_tokens is not None
    assert event.usage.output_tokens is not None
    assert event.cost_nano_usd == event.usage.input_tokens * 2_500 + event.usage.output_tokens * 10_000 > 0


@pytest.mark.timeout(180)
async def test_litellms_own_price_may_count(programs: LiteLLMPrograms) -> None:
    await programs.run("plain", cost="litellm")
    (event,) = await programs.events()

    assert (event.cost_status, event.cost_nano_usd) == ("reported", 12 * 2_500 + 6 * 10_000)


@pytest.mark.timeout(180)
async def test_each_attempt_of_the_router_is_a_call(programs: LiteLLMPrograms) -> None:
    await programs.run("routed")
    events = await programs.events()

    assert [(event.model_group, event.status) for event in events] == [("bad", "failure"), ("good", "success")]
    assert len(programs.upstream.requests) == 2


@pytest.mark.timeout(240)
async def test_killed_in_the_middle_each_call_is_still_one_event(programs: LiteLLMPrograms) -> None:
    process = await programs.start("endless")
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS_MAX):
        answered = [(await process.stdout.readline()).decode().split()[1] for _ in range(60)]
    process.kill()
    rest, _ = await process.communicate()
    answered += [line.removeprefix("done ") for line in rest.decode().splitlines()]
    await programs.run("uncounted")  # The next program takes over what the dead one has left.
    events = [event for event in await programs.events() if event.end_user_id.startswith("endless")]

    asked = Counter(each["user"] for each in programs.upstream.requests if each["user"].startswith("endless"))
    recorded = Counter(event.end_user_id for event in events)
    assert set(recorded.values()) == {1}
    assert asked.keys() <= recorded.keys()
    assert len(recorded - asked) <= 4  # Their intents were written, and nothing was sent any more.
    assert set(answered) <= recorded.keys()
    assert {event.status for event in events} <= {"success", "interrupted"}
