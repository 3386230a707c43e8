"""Real processes for tests: `tallystick serve`, the way people run it, and an upstream that outlives it."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from services import free_port

MASTER_KEY = "sk-acceptance-8d21f0c67b94e35a"
SECRET_KEYS = "acceptance-1:dGhpcnR5LXR3byBieXRlcyBvZiBhIHRlc3QncyBvd24"
AUTHORIZATION = {"authorization": f"Bearer {MASTER_KEY}"}
# Dollars for a token, and the same in nano-dollars: the tests compute costs of their own from them.
INPUT_USD, OUTPUT_USD = 0.0000025, 0.00001
INPUT_NANO_USD, OUTPUT_NANO_USD = 2500, 10_000
_UPSTREAM = Path(__file__).parent / "acceptance" / "upstream_process.py"
_START_SECONDS_MAX = 60.0
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


async def eventually(condition: Callable[[], Any], *, seconds: float, what: str, pause: float = 0.02) -> Any:
    """Wait until `condition` (plain or async) returns something true, and return that; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(pause)


class ServerProcess:
    """One `tallystick serve` with a home and a port of its own that it keeps over restarts."""

    def __init__(
        self,
        home: Path,
        *,
        upstream_url: str,
        models: tuple[str, ...],
        database_url: str | None = None,
        workers: int = 1,
        general: dict[str, Any] | None = None,
        sections: dict[str, Any] | None = None,
        prefix: tuple[str, ...] = (),
        variables: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        """`general` is added to the file's general settings; `sections` are further ones, or another `model_list`.

        `variables` are of the environment of `serve`, and of nothing else.
        """
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / "server.log"
        self.config = home / "config.yaml"
        self.journal = home / "journal"
        self.process: subprocess.Popen[bytes] | None = None
        self.database_url = database_url or f"sqlite:///{home / 'tallystick.db'}"
        self.workers = workers
        self._prefix = prefix
        self._python = python
        self._variables = dict(variables or {})
        home.mkdir(parents=True, exist_ok=True)
        settings: dict[str, Any] = {
            "master_key": MASTER_KEY,
            "secret_keys": SECRET_KEYS,
            "database_url": self.database_url,
            "drain_seconds": 15,
            "commit_retry_seconds_max": 0.5,
            **(general or {}),
        }
        file = {"model_list": model_list(upstream_url, models), "general_settings": settings, **(sections or {})}
        self.config.write_text(json.dumps(file))

    # Life

    def start(self) -> None:
        """Start it; `ready` waits until it serves."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        command = [*self._prefix, self._python, "-m", "tallystick", "serve", "--config", str(self.config)]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", str(self.workers)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env={**self.environment, **self._variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_end_with_parent,  # noqa: PLW1509  # It calls nothing but one system call.
            )

    async def ready(self, session: aiohttp.ClientSession, *, path: str = "/health/readiness") -> None:
        """Wait until it says that it serves."""

        async def answers() -> bool:
            assert self.process is not None
            code = self.process.poll()
            assert code is None, f"the server ended with {code}; its log:\n{self.log_tail()}"
            return await self.status(session, path) == 200

        await eventually(answers, seconds=_START_SECONDS_MAX, what=f"{path} is 200; log:\n{self.log_tail()}")

    async def status(self, session: aiohttp.ClientSession, path: str) -> int:
        """Return the status of one page, 0 when nobody answers."""
        try:
            # A connection of its own: a kept one may lead to a process that is just being killed.
            async with session.get(self.url + path, headers={**AUTHORIZATION, "connection": "close"}) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, OSError):
            return 0

    async def stop(self, *, seconds: float = 40.0) -> int:
        """Ask it to end as an operator does, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await self.ended(seconds=seconds)

    async def ended(self, *, seconds: float) -> int:
        """Wait for its end and return its exit code."""
        process = self.process
        assert process is not None
        await eventually(
            lambda: process.poll() is not None,
            seconds=seconds,
            what=f"the server ended; its log:\n{self.log_tail()}",
        )
        return int(process.returncode)

    def kill(self) -> None:
        """End it with all its workers as kill -9 does."""
        if self.process is None:
            return
        workers = self.worker_pids()
        self.process.kill()
        self.process.wait()
        for pid in workers:
            kill(pid)

    def worker_pids(self) -> list[int]:
        """The processes that the supervisor has started and that still run."""
        assert self.process is not None
        return [] if self.workers == 1 else _children(self.process.pid)

    def all_serve(self) -> bool:
        """Whether every worker is there and would end properly when asked to: it hears signals."""
        assert self.process is not None
        pids = [self.process.pid] if self.workers == 1 else self.worker_pids()
        return len(pids) == self.workers and all(_catches(pid, signal.SIGTERM) for pid in pids)

    # Looking at it

    @property
    def environment(self) -> dict[str, str]:
        """What commands of this server's operator see: its home, and nothing of the tests' own settings."""
        return {**environment_of_tests(), "TALLYSTICK_HOME": str(self.home)}

    def rss_bytes(self) -> int:
        """Resident memory of the serving process (one worker)."""
        assert self.process is not None
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024

    def segments(self) -> list[Path]:
        """The journal files that are there: none after a clean stop."""
        return sorted(self.journal.glob("slot-*/*.journal"))

    def unfinished_slots(self) -> list[str]:
        """The journal slots with work in them that no process holds: some live worker has to adopt them."""
        return [slot.name for slot in sorted(self.journal.glob("slot-*")) if _has_work(slot) and not _is_held(slot)]

    def log_tail(self, characters: int = 4000) -> str:
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else "(none)"

    async def verify(self) -> dict[str, Any]:
        """Run `tallystick verify --json` and return what it prints; its exit code must say the same."""
        command = [sys.executable, "-m", "tallystick", "verify", "--json", "--config", str(self.config)]
        process = await asyncio.create_subprocess_exec(
            *command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await process.communicate()
        assert out, err.decode()
        facts = json.loads(out)
        assert process.returncode == (0 if facts["ok"] else 1)
        return dict(facts)


def environment_of_tests() -> dict[str, str]:
    """What a process needs to run, and no setting of ours."""
    return {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG", "TMPDIR") if name in os.environ}


@contextmanager
def serving(server: ServerProcess) -> Iterator[ServerProcess]:
    """Start a server; it is surely gone when the block ends."""
    try:
        server.start()
        yield server
    finally:
        server.kill()


class UpstreamProcess:
    """The upstream of `acceptance/upstream_process.py`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._process = subprocess.Popen(
            [sys.executable, str(_UPSTREAM), str(self.port)],
            preexec_fn=_end_with_parent,  # noqa: PLW1509  # It calls nothing but one system call.
        )

    async def seen(self, session: aiohttp.ClientSession) -> list[str]:
        """Return the ids of all calls that were dispatched to it, waiting until it listens."""

        async def ask() -> list[Any] | None:
            assert self._process.poll() is None, "the upstream has ended"
            try:
                async with session.get(f"http://127.0.0.1:{self.port}/seen") as response:
                    return [await response.json()]
            except aiohttp.ClientConnectionError:
                return None

        return list((await eventually(ask, seconds=30, what="the upstream answers"))[0])

    async def release(self, session: aiohttp.ClientSession) -> None:
        """Let it answer the calls that it holds, and all that come."""
        async with session.get(f"http://127.0.0.1:{self.port}/release") as response:
            assert response.status == 200

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def upstream_process() -> Iterator[UpstreamProcess]:
    upstream = UpstreamProcess()
    try:
        yield upstream
    finally:
        upstream.close()


def model_list(upstream_url: str, models: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return model groups of one deployment each, with the tests' prices."""
    params = {"api_base": upstream_url, "api_key": "up-key"}
    prices = {"input_cost_per_token": INPUT_USD, "output_cost_per_token": OUTPUT_USD}
    return [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}", **params, **prices},
            "model_info": {"id": name},
        }
        for name in models
    ]


def kill(pid: int) -> None:
    """Kill one of a server's workers; it may be gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _has_work(slot: Path) -> bool:
    return any(slot.glob("*.journal"))


def _is_held(slot: Path) -> bool:
    """Look the lock up where the kernel lists it: taking it would be in the way of those who want it."""
    inode = (slot / "lock").stat().st_ino if (slot / "lock").exists() else -1
    return f":{inode} " in Path("/proc/locks").read_text()


def _catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    try:
        found = re.search(r"SigCgt:\s+([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return False
    return found is not None and bool(int(found[1], 16) >> (number - 1) & 1)


def _children(parent: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text()
        except OSError:
            continue
        state, ppid = text.rpartition(")")[2].split()[:2]
        if int(ppid) == parent and state != "Z":
            found.append(int(status.parent.name))
    return found


def _end_with_parent() -> None:
    """Let the kernel end the process when the tests are killed."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
