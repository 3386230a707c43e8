"""`tallystick serve` with several workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from services import free_port


def test_workers_do_not_outlive_a_supervisor_that_dies_while_they_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tallystick", "serve", "--demo", "--workers", "2", "--port", str(free_port())]
    log = tmp_path / "log"
    with log.open("wb") as file:
        supervisor = subprocess.Popen(command, env={**os.environ, "TALLYSTICK_HOME": str(tmp_path)}, stderr=file)
    try:
        wait_for(lambda: len(children_of(supervisor.pid)) == 2, log)
        workers = children_of(supervisor.pid)
    finally:
        supervisor.send_signal(signal.SIGKILL)
        supervisor.wait()

    try:
        wait_for(lambda: not any(is_alive(worker) for worker in workers), log)
    finally:
        for worker in filter(is_alive, workers):
            os.kill(worker, signal.SIGKILL)


def wait_for(condition: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
