"""What budgets cost: CPU of a call that six of them bound, and what is asked of the database for 1,000 calls.

    python bench/admission.py [--calls 2000] [--rounds 9] [--engine postgres]

The ASGI application is called in this process with an upstream that answers at once, by two keys in turn that differ in
nothing but the budgets of key, team, team member, organization, end user and tag. A round ends when its events are
committed, so that what the commit does for budgets is in the whole process's time; the loop's is what calls wait for.
Then 16 callers use a key far from its limit, and one whose limit is 50 calls; every transaction of the budget store is
counted. The ledger is on SQLite, or on a PostgreSQL that is started for it.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "tests")]

import uvloop
from call_cost import Immediate
from load import BODY, MASTER_KEY

from server_kit import SECRET_KEYS
from services import PostgresServer
from tallystick.access.keys import hash_key
from tallystick.bootstrap import Services, open_key_ring, open_store
from tallystick.cli.serve import build_gateway
from tallystick.config.load import load_settings
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics

Headers = list[tuple[bytes, bytes]]
_PLENTY_USD = 1_000_000
_CALL_USD = 0.001
"""About what the static answer costs; the limit near which calls are made is 50 times that."""


class Counting:
    """A budget store that counts what is asked of it: each is one transaction."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        async def ask(*args: Any, **named: Any) -> Any:
            self.asked[name] += 1
            return await getattr(self._store, name)(*args, **named)

        return ask


class Gateway:
    """The application in this process."""

    def __init__(self, home: Path, database_url: str | None) -> None:
        settings = load_settings(
            config_file=_config(home, database_url), overrides={}, environ={"TALLYSTICK_HOME": str(home)}
        )
        clock = SystemClock()
        store = open_store(settings, clock=clock)
        self.budgets = Counting(store.budgets)
        self.services = Services(
            settings,
            store=dataclasses.replace(store, budgets=self.budgets),
            key_ring=open_key_ring(settings, now=clock.now()),
            master_key_hash=hash_key(MASTER_KEY),
            environ={},
            clock=clock,
            metrics=Metrics(),
        )
        self.services.upstreams.providers = {"openai": Immediate()}

    async def start(self) -> None:
        self._app = build_gateway(self.services, await self.services.start())

    async def ask(self, path: str, body: bytes, headers: Headers) -> tuple[int, bytes]:
        """Return the status and the answer of one request."""
        sent: list[dict[str, Any]] = []
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [*headers, (b"content-length", b"%d" % len(body))],
            "client": ("::1", 1),
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        return int(sent[0]["status"]), b"".join(message.get("body", b"") for message in sent[1:])

    async def write(self, path: str, **fields: Any) -> dict[str, Any]:
        status, answer = await self.ask(path, json.dumps(fields).encode(), _headers(MASTER_KEY))
        assert status == 200, (path, status, answer)
        return dict(json.loads(answer))

    async def committed(self) -> None:
        """Wait until nothing is left to commit."""
        journal = self.services.ledger.journal
        while journal.watermark < journal.last_seq:  # noqa: ASYNC110 - it tells nobody.
            await asyncio.sleep(0.001)


def _config(home: Path, database_url: str | None) -> Path:
    general = {
        "master_key": MASTER_KEY,
        "secret_keys": SECRET_KEYS,
        "journal_sync": "write",
        "batch_wait_seconds": 0.02,
    }
    price = {"input_cost_per_token": 0.000003, "output_cost_per_token": 0.00001}
    model = {"model_name": "bench", "litellm_params": {"model": "openai/bench", "api_key": "k", **price}}
    config = home / "config.yaml"
    config.write_text(
        json.dumps(
            {
                "model_list": [model],
                "general_settings": {**general, **({"database_url": database_url} if database_url else {})},
            }
        )
    )
    return config


def _headers(key: str, tag: str = "") -> Headers:
    headers = [(b"host", b"x"), (b"authorization", b"Bearer " + key.encode()), (b"user-agent", b"bench")]
    headers.append((b"content-type", b"application/json"))
    return [*headers, (b"x-litellm-tags", tag.encode())] if tag else headers


async def _caller_of(gateway: Gateway, name: str, limits: dict[str, float]) -> Callable[[], Any]:
    """Make a key in a team of an organization, and return what makes a call of it, for an end user and with a tag."""
    organization = {"organization_id": name, "organization_alias": name, **limits}
    await gateway.write("/organization/new", **organization)
    await gateway.write("/team/new", team_id=name, organization_id=name, **limits)
    in_team = {"max_budget_in_team": limits["max_budget"]} if limits else {}
    await gateway.write("/team/member_add", team_id=name, member={"role": "user", "user_id": name}, **in_team)
    await gateway.write("/customer/new", user_id=f"customer-{name}", **limits)
    await gateway.write("/tag/new", name=name, **limits)
    key = (await gateway.write("/key/generate", team_id=name, user_id=name, **limits))["key"]
    headers = _headers(key, name)
    body = json.dumps({**json.loads(BODY), "user": f"customer-{name}"}).encode()

    async def call() -> int:
        return (await gateway.ask("/v1/chat/completions", body, headers))[0]

    return call


async def _cost(gateway: Gateway, calls: int, rounds: int) -> None:
    """Print the CPU of a call without budgets and with six, and what these add."""
    callers = {
        "without budgets": await _caller_of(gateway, "unbounded", {}),
        "with 6 budgets": await _caller_of(gateway, "bounded", {"max_budget": _PLENTY_USD}),
    }
    for call in callers.values():
        for _ in range(500):
            assert await call() == 200
    of_loop: dict[str, list[float]] = {name: [] for name in callers}
    of_process: dict[str, list[float]] = {name: [] for name in callers}
    for number in range(rounds):
        for name in list(callers) if number % 2 else reversed(list(callers)):
            call = callers[name]
            await gateway.committed()
            loop, process = time.thread_time(), time.process_time()
            for _ in range(calls):
                assert await call() == 200
            of_loop[name].append((time.thread_time() - loop) / calls * 1e6)
            await gateway.committed()
            of_process[name].append((time.process_time() - process) / calls * 1e6)
    for what, times in (("event loop", of_loop), ("whole process, its commits too", of_process)):
        without, bounded = (statistics.median(times[name]) for name in callers)
        added = statistics.median(b - a for a, b in zip(*times.values(), strict=True))
        print(
            f"CPU of a call, {what}: {without:.1f} us without budgets, {bounded:.1f} us with 6: "
            f"+{added:.1f} us, {bounded / without:.2f} times"
        )


async def _statements(gateway: Gateway, name: str, limit_usd: float, calls: int) -> None:
    """Print how often the budget store was asked while many calls were made."""
    key = (await gateway.write("/key/generate", max_budget=limit_usd))["key"]
    headers, numbers, statuses = _headers(key), iter(range(calls)), Counter[int]()
    gateway.budgets.asked.clear()

    async def caller() -> None:
        for _ in numbers:
            statuses[(await gateway.ask("/v1/chat/completions", BODY, headers))[0]] += 1
            await asyncio.sleep(0)

    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(16):
            group.create_task(caller())
    seconds = time.monotonic() - begun
    asked = gateway.budgets.asked
    kinds = ", ".join(f"{count} {kind}" for kind, count in asked.most_common())
    print(
        f"{name}: {calls} calls ({statuses[200]} answered) in {seconds:.1f} s: {asked.total()} transactions "
        f"({kinds or 'none'}), {asked.total() / calls * 1000:.1f} for 1,000 calls"
    )


async def measure(home: Path, database_url: str | None, calls: int, rounds: int) -> None:
    gateway = Gateway(home, database_url)
    if database_url:
        await gateway.services.store.migrate()
    await gateway.start()
    await _cost(gateway, calls, rounds)
    await _statements(gateway, "far from the limit", _PLENTY_USD, 5 * calls)
    await _statements(gateway, "at a limit of some 50 calls", 50 * _CALL_USD, max(calls // 2, 1000))
    await gateway.services.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--engine", choices=["sqlite", "postgres"], default="sqlite")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tallystick-bench-")))
        is_postgres = arguments.engine == "postgres"
        database_url = stack.enter_context(PostgresServer(fsync=True)).url() if is_postgres else None
        uvloop.run(measure(home, database_url, arguments.calls, arguments.rounds))


if __name__ == "__main__":
    main()
