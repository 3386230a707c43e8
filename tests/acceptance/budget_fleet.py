"""Instances for tests of budgets: started together on one database, with services that a test may stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server_kit import ServerProcess, UpstreamProcess, serving
from services import PostgresServer, RedisServer

MODELS = ("fixed", "fixed:5", "fixed:30", "held")


@contextmanager
def started(
    tmp_path: Path,
    upstream: UpstreamProcess,
    database_url: str | None,
    *,
    instances: int = 1,
    models: tuple[str, ...] = MODELS,
    sections: dict[str, Any] | None = None,
    of_instance: Mapping[int, dict[str, Any]] | None = None,
    **general: Any,
) -> Iterator[list[ServerProcess]]:
    """Start instances, each with its own home; `of_instance` are settings of single ones.

    What is observed by calls is not to wait for the disk.
    """
    quick = {
        "database_connect_timeout_seconds": 1,
        "database_statement_timeout_seconds": 3,
        "journal_sync": "write",
        "budget_idle_seconds": 1,
    }
    with ExitStack() as stack:
        servers = [
            ServerProcess(
                tmp_path / f"home-{number}",
                upstream_url=upstream.url,
                models=models,
                database_url=database_url,
                general={**quick, **general, **(of_instance or {}).get(number, {})},
                sections=sections,
            )
            for number in range(instances)
        ]
        yield [stack.enter_context(serving(server)) for server in servers]


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Instances that several tests share, with all that they need."""

    servers: list[ServerProcess]
    upstream: UpstreamProcess
    postgres: PostgresServer
    redis: RedisServer
    thread: ThreadPoolExecutor
    """What is started by a thread ends with it, so the services are started by one that lives as long as they do."""

    async def do(self, act: Callable[[], object]) -> None:
        """Stop or start a service, and wait until that is done."""
        await asyncio.get_running_loop().run_in_executor(self.thread, act)
