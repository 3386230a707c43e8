"""The command line as a test runs it, and ledgers for it to look at."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import apsw
import asyncpg
from typer.testing import CliRunner

from conformance.kit import LASTING, MENDABLE
from tallystick.bootstrap import Store, open_store, sqlite_path
from tallystick.cli import app
from tallystick.config.load import load_settings
from tallystick.ledger.batch import Batch
from tallystick.runtime.clock import SystemClock


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """`tallystick`, with a home directory and a database of the test's own."""

    environment: dict[str, str]
    database_url: str

    def __call__(self, *words: str, **environment: str) -> Outcome:
        """Run a command in this process: quick."""
        result = CliRunner().invoke(app, list(words), env={**self.environment, **environment})
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Outcome(code=result.exit_code, stdout=result.stdout, stderr=result.stderr)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Begin a command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "tallystick", *words],
            env={"PATH": os.environ["PATH"], **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> Outcome:
        """Run a command as people do, in a process of its own."""
        with self.start(*words) as process:
            stdout, stderr = process.communicate(timeout=60)
        return Outcome(code=process.returncode, stdout=stdout, stderr=stderr)

    def seed(self, *batches: Batch) -> None:
        """Commit batches."""

        async def commit(store: Store) -> None:
            for batch in batches:
                await store.ledger.commit(batch)

        self.with_store(commit)

    def with_store(self, work: Callable[[Store], Awaitable[Any]]) -> Any:
        """Do something with the ports themselves."""

        async def use() -> Any:
            settings = load_settings(
                config_file=None, overrides={"database_url": self.database_url}, environ=self.environment
            )
            store = open_store(settings, clock=SystemClock())
            try:
                return await work(store)
            finally:
                await store.close()

        return run_apart(use)

    def tamper(self, name: str) -> None:
        """Falsify the ledger behind Tallystick's back."""
        self.execute((MENDABLE | LASTING)[name])

    def execute(self, statement: str) -> None:
        """Run a statement past Tallystick."""
        if self.database_url.startswith("sqlite"):
            connection = apsw.Connection(str(sqlite_path(self.database_url)))
            connection.execute(statement)
            connection.close()
            return

        async def execute() -> None:
            connection = await asyncpg.connect(self.database_url)
            await connection.execute(statement)
            await connection.close()

        run_apart(execute)


def run_apart(work: Callable[[], Awaitable[Any]]) -> Any:
    """Run in an event loop of another thread: a test's own must not meet it."""

    async def run() -> Any:
        return await work()

    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(lambda: asyncio.run(run())).result()
