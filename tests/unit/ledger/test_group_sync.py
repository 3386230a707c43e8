"""Group sync: everybody who waits is durable, whoever makes the sync, and no descriptor is closed under it."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tallystick.errors import LedgerUnavailable
from tallystick.ledger.group_sync import QUICK_SECONDS, GroupSync


class Disk:
    """Stands in for fdatasync: notes who called it, takes as long as told, and fails when told."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.now = 0.0
        self.error: OSError | None = None
        self.threads: list[str] = []
        self.open: set[int] = set()

    def sync(self, fd: int) -> None:
        os.fstat(fd)  # Fails for a descriptor that is closed.
        self.threads.append(threading.current_thread().name)
        self.now += self.seconds
        if self.error is not None:
            raise self.error

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "fdatasync", disk.sync)
    return disk


@pytest.fixture
def new_file(tmp_path: Path) -> Callable[[], int]:
    """Makes files; their descriptors end with the test's process, but for those that the sync closes."""
    return lambda: os.open(tmp_path / os.urandom(8).hex(), os.O_RDWR | os.O_CREAT)


def sync_of(disk: Disk) -> GroupSync:
    return GroupSync(on_sync_seconds=lambda _seconds: None, monotonic=disk.monotonic)


async def test_a_quick_disk_is_synced_in_the_loop_and_a_slow_one_in_the_thread(
    disk: Disk, new_file: Callable[[], int]
) -> None:
    sync, fd = sync_of(disk), new_file()
    for _ in range(4):
        await sync.durable(fd)
    assert set(disk.threads) == {"journal-sync"}  # Until it is known what a sync takes.

    disk.threads.clear()
    await sync.durable(fd)
    assert disk.threads == [threading.main_thread().name]

    disk.seconds = 10 * QUICK_SECONDS
    for _ in range(16):
        await sync.durable(fd)
    disk.threads.clear()
    await sync.durable(fd)
    assert disk.threads == ["journal-sync"]
    sync.close()


@pytest.mark.parametrize("quick", [True, False])
async def test_one_sync_serves_everybody_who_came_before_it(
    disk: Disk, new_file: Callable[[], int], quick: bool
) -> None:
    disk.seconds = 0.0 if quick else 10 * QUICK_SECONDS
    sync, fd = sync_of(disk), new_file()
    for _ in range(4):
        await sync.durable(fd)
    disk.threads.clear()

    await asyncio.gather(*(sync.durable(fd) for _ in range(50)))

    assert len(disk.threads) <= (1 if quick else 50)
    sync.close()


@pytest.mark.parametrize("quick", [True, False])
async def test_a_refusal_reaches_everybody_who_waits(disk: Disk, new_file: Callable[[], int], quick: bool) -> None:
    disk.seconds = 0.0 if quick else 10 * QUICK_SECONDS
    sync, fd = sync_of(disk), new_file()
    for _ in range(4):
        await sync.durable(fd)
    disk.error = OSError(errno.EIO, "Input/output error")

    results = await asyncio.gather(*(sync.durable(fd) for _ in range(3)), return_exceptions=True)

    assert [type(result) for result in results] == [LedgerUnavailable] * 3
    disk.error = None
    await sync.durable(fd)
    sync.close()


@pytest.mark.parametrize("quick", [True, False])
async def test_a_retired_descriptor_is_closed_after_the_sync_of_those_who_wait_for_it(
    disk: Disk, new_file: Callable[[], int], monkeypatch: pytest.MonkeyPatch, quick: bool
) -> None:
    disk.seconds = 0.0 if quick else 10 * QUICK_SECONDS
    closed: list[int] = []
    close = os.close
    monkeypatch.setattr(os, "close", lambda fd: closed.append(fd) or close(fd))
    sync, fd = sync_of(disk), new_file()
    for _ in range(200):
        waiting = sync.durable(fd)
        sync.retire(fd)
        fd = new_file()
        await asyncio.gather(waiting, sync.durable(fd))  # A descriptor that is closed too early raises here.
    sync.close()

    assert len(closed) == 200
    os.fstat(fd)
