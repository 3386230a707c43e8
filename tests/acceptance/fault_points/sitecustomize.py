"""Named points at which a process of the gateway may be killed or stopped. Python loads this by itself at its start.

A test arms a process by writing `kill before commit.events`, or `stop behind buffer.settle`, into a file that is named
after the process's id, in the directory of FAULTS. The process that reaches the point renames the file, and is no more.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAULTS = "TALLYSTICK_TEST_FAULTS"

# By name: the module, the class and the method. The names of these that begin with "_" are steps of one transaction.
POINTS = {
    "journal.intent": ("tallystick.ledger.journal", "Journal", "append_intent"),
    "journal.event": ("tallystick.ledger.journal", "Journal", "append_event"),
    "journal.confirm": ("tallystick.ledger.journal", "Journal", "confirm"),
    "buffer.append": ("tallystick.stores.redis.buffer", "RedisBuffer", "append"),
    "buffer.look": ("tallystick.stores.redis.buffer", "RedisBuffer", "look"),
    "buffer.read": ("tallystick.stores.redis.buffer", "RedisBuffer", "read"),
    "buffer.settle": ("tallystick.stores.redis.buffer", "RedisBuffer", "settle"),
    "commit": ("tallystick.stores.postgres.ledger", "PostgresLedger", "commit_many"),
    "commit.events": ("tallystick.stores.postgres.ledger", "PostgresLedger", "_write_events"),
    "commit.sums": ("tallystick.stores.postgres.ledger", "PostgresLedger", "_add"),
    "commit.watermarks": ("tallystick.stores.postgres.ledger", "PostgresLedger", "_advance"),
    "commit.budgets": ("tallystick.stores.postgres.budget_commit", "BudgetCommit", "write"),
    "leadership.take": ("tallystick.stores.redis.leadership", "RedisLeaderships", "take"),
}
OF_BATCHES = {
    "batch.id": ("tallystick.stores.sqlite.batch_jobs", "SqliteBatchJobs", "give_event"),
    "batch.row": ("tallystick.stores.sqlite.batch_jobs", "SqliteBatchJobs", "looked"),
}
"""Steps that only processes that charge batches come to."""
OF_LEADERS = ("buffer.read", "buffer.settle", "commit", "commit.events", "commit.sums", "commit.watermarks")
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def _reach(directory: Path, point: str) -> None:
    order = directory / str(os.getpid())
    try:
        act, _, where = order.read_text().partition(" ")
    except OSError:
        return
    if where == point:
        order.rename(order.with_suffix(".reached"))
        os.kill(os.getpid(), _SIGNALS[act])


def _with_points(directory: Path, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def waited_for(*arguments: Any, **named: Any) -> Any:
            _reach(directory, f"before {name}")
            result = await method(*arguments, **named)
            _reach(directory, f"behind {name}")
            return result

        return waited_for

    @functools.wraps(method)
    def called(*arguments: Any, **named: Any) -> Any:
        _reach(directory, f"before {name}")
        result = method(*arguments, **named)
        _reach(directory, f"behind {name}")
        return result

    return called


def _install(directory: Path) -> None:
    for name, (module, class_name, method) in {**POINTS, **OF_BATCHES}.items():
        owner = getattr(importlib.import_module(module), class_name)
        setattr(owner, method, _with_points(directory, name, getattr(owner, method)))


if FAULTS in os.environ:
    _install(Path(os.environ[FAULTS]))
