"""The journal's disk is full, or can't be written at all."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from acceptance.kit import enough, finish, server_of
from acceptance.load import Load
from server_kit import UpstreamProcess, eventually, serving

_DISK = "4m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


async def test_a_full_disk_refuses_new_calls_and_loses_none(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, small_disk: Path
) -> None:
    journal = {"journal_directory": str(small_disk / "journal"), "journal_segment_bytes": 64 * 1024}
    server = server_of(tmp_path, upstream, None, **journal)
    server.journal = small_disk / "journal"
    with serving(server):
        await server.ready(session)
        async with Load(server.url, 1) as load:
            load.start(session, clients=8)
            await enough(load, 100)
            _fill(small_disk / "filler")
            refused = await eventually(
                lambda: [call for call in load.calls if call.status == 503], seconds=60, what="a call is refused"
            )
            assert b"ledger_unavailable" in refused[0].body
            (small_disk / "filler").unlink()
            await enough(load, 100)
            seen = await finish(server, load, upstream, session)
    refused = [call for call in load.calls if call.status == 503]
    assert not {call.call_id for call in refused} & set(seen), "a refused call was dispatched"
    assert [call for call in load.calls if call.status not in (200, 503)] == []


@pytest.mark.parametrize("place", ["below a file", "read-only"])
async def test_a_directory_that_can_not_be_written_stops_the_start(
    tmp_path: Path, upstream: UpstreamProcess, small_disk: Path, place: str
) -> None:
    """Root may write everywhere but below a file and on a file system that is mounted read-only."""
    if place == "read-only":
        await asyncio.to_thread(_mount_read_only, small_disk)
        directory = small_disk / "journal"
    else:
        (small_disk / "file").write_text("")
        directory = small_disk / "file" / "journal"
    server = server_of(tmp_path, upstream, None, journal_directory=str(directory))
    with serving(server):
        code = await server.ended(seconds=30)
    log = server.log_tail(20_000)
    assert code in (1, 2)
    assert str(directory) in log
    assert ("Read-only file system" if place == "read-only" else "Not a directory") in log
    assert log.splitlines()[-1].startswith("tallystick: "), log
    assert "Traceback" not in log, log


def _mount_read_only(place: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)


def _fill(file: Path) -> None:
    """Take what is left of a disk."""
    with file.open("wb") as filler:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    os.write(filler.fileno(), b"x" * size)
            except OSError:
                continue
