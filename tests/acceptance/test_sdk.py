"""The SDK in real programs: whatever they do, and however they end, each call is in the ledger exactly once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
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

SCRIPT = Path(__file__).with_name("sdk_script.py")
SECONDS_MAX = 60


class Programs:
    """Runs programs on one database, and says what its ledger has."""

    def __init__(self, upstream: Upstream, home: Path, database_url: str) -> None:
        self.upstream = upstream
        self.home = home
        self.database_url = database_url
        self.answered: Counter[str] = Counter()
        self.starts = 0

    async def start(self, scenario: str) -> asyncio.subprocess.Process:
        self.starts += 1
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONWARNINGS": "ignore::DeprecationWarning",  # Newer interpreters warn of a fork beside threads.
            "SDK_UPSTREAM": self.upstream.url,
            "SDK_DATABASE": self.database_url,
            "SDK_HOME": str(self.home),
            "SDK_NAME": f"{scenario}{self.starts}",
        }
        return await asyncio.create_subprocess_exec(
            sys.executable, SCRIPT, scenario, env=environment, stdin=-1, stdout=-1, stderr=-1
        )

    async def end(self, process: asyncio.subprocess.Process, *, expected: int = 0, tell: bytes = b"") -> str:
        """Wait for its end; note which answers came."""
        async with asyncio.timeout(SECONDS_MAX):
            out, err = await process.communicate(tell)
        assert process.returncode == expected, err.decode()
        self.note(out.decode())
        return err.decode()

    def note(self, out: str) -> None:
        self.answered.update(line.removeprefix("done ") for line in out.splitlines() if line.startswith("done "))

    async def run(self, scenario: str) -> str:
        return await self.end(await self.start(scenario))

    @property
    def segments(self) -> list[Path]:
        """What is left in journals."""
        return list(self.home.rglob("*.journal"))

    async def events(self) -> list[SpendEvent]:
        """Return all events, after `verify` has found no difference."""
        overrides = {"home": str(self.home), "database_url": self.database_url}
        settings = load_settings(config_file=None, overrides=overrides, environ={})
        store = open_store(settings, clock=SystemClock())
        try:
            page = await store.reader.events_after("", limit=1000, where=EventFilter())
            assert (await store.auditor.audit()).differences == ()
            return [committed.event for committed in page.events]
        finally:
            await store.close()

    async def check(self) -> dict[str, SpendEvent]:
        """Compare what the upstream was asked with the ledger; return the events by who called."""
        events = await self.events()
        asked = Counter(request["user"] for request in self.upstream.requests)
        recorded = Counter(event.end_user_id for event in events)
        assert recorded == asked
        assert set(recorded.values()) == {1}
        by_user = {event.end_user_id: event for event in events}
        for user in self.answered:
            assert by_user[user].status == "success", by_user[user]
            assert by_user[user].cost_nano_usd > 0
        return by_user


@pytest.fixture(params=["sqlite", "postgres"])
async def programs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Programs]:
    if request.param == "sqlite":
        database_url = f"sqlite:///{tmp_path}/calls.db"
    else:
        database_url = request.getfixturevalue("empty_postgres_url")
    async with running_upstream() as upstream:
        yield Programs(upstream, tmp_path, database_url)


@pytest.mark.parametrize(("scenario", "calls"), [("script", 20), ("running_loop", 10), ("threads", 80)])
async def test_each_call_of_a_program_is_recorded_when_it_ends(programs: Programs, scenario: str, calls: int) -> None:
    complaints = await programs.run(scenario)

    events = await programs.check()
    assert len(programs.answered) == calls
    assert all(event.status == "success" for event in events.values())
    assert programs.segments == []
    assert complaints == ""


async def test_loops_may_cancel_calls_and_leave_streams(programs: Programs) -> None:
    await programs.run("asyncio_loops")

    events = await programs.check()
    assert len(programs.answered) == 40
    assert {user.rpartition("-")[2] for user, event in events.items() if event.status == "interrupted"} == {
        "cancelled",
        "left",
    }
    assert programs.segments == []


async def test_a_fork_leaves_each_process_its_own_journal(programs: Programs) -> None:
    complaints = await programs.run("fork")

    if programs.segments:  # Of a worker that ended without its last word.
        await programs.run("once")
    events = await programs.check()
    assert all(event.status == "success" for event in events.values())
    assert len(programs.answered) >= 1 + 40 + 15 + 1 + 5
    assert complaints == ""


async def test_a_child_does_not_hold_on_to_the_slot_of_its_parent(programs: Programs) -> None:
    process = await programs.start("orphan")
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS_MAX):
        while (line := await process.stdout.readline()) != b"ready\n":
            programs.note(line.decode())
    await programs.run("once")  # While the child lives.

    slots = {path.parent.name for path in programs.home.rglob("producer.json")}
    await programs.end(process, tell=b"x")
    await programs.check()
    assert slots == {"slot-0001"}
    assert programs.segments == []


async def test_an_exit_in_the_middle_settles_what_runs(programs: Programs) -> None:
    process = await programs.start("exits")
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS_MAX):
        while (line := await process.stdout.readline()) != b"ready\n":
            programs.note(line.decode())
        while len(programs.upstream.requests) < 7:
            await asyncio.sleep(0.01)
    await programs.end(process, expected=3)

    events = await programs.check()
    statuses = {user.partition("-")[2]: event.status for user, event in events.items()}
    assert statuses.pop("hanging") == statuses.pop("stream") == "interrupted"
    assert set(statuses.values()) == {"success"}
    assert programs.segments == []


async def test_a_kill_in_the_middle_loses_nothing(programs: Programs) -> None:
    for _ in range(3):
        process = await programs.start("for_ever")
        assert process.stdout is not None
        goal = len(programs.answered) + 30
        async with asyncio.timeout(SECONDS_MAX):
            while len(programs.answered) < goal:
                programs.note((await process.stdout.readline()).decode())
        os.kill(process.pid, signal.SIGKILL)
        await programs.end(process, expected=-signal.SIGKILL)
    await programs.run("once")

    events = await programs.check()
    assert any(event.status == "interrupted" for event in events.values()), "nothing ran when it was killed"
    assert programs.segments == []


async def test_programs_may_run_at_once(programs: Programs) -> None:
    processes = [await programs.start("script") for _ in range(4)]
    for process in processes:
        await programs.end(process)

    events = await programs.check()
    assert len(events) == 4 * 21
