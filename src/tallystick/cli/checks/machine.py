"""The machine: clock, disks, port, the SQLite library."""

from __future__ import annotations

import errno
import shutil
import socket
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from tallystick.bootstrap import sqlite_path
from tallystick.cli.checks.check import Check
from tallystick.config.database_url import database_kind
from tallystick.config.record import GIB, MIB
from tallystick.config.settings import Settings
from tallystick.runtime.clock import Clock

_FIRST_YEAR: Final = 2026
_LAST_YEAR: Final = 2100
_FREE_BYTES_LOW: Final = GIB
_FREE_BYTES_MIN: Final = 16 * MIB
# An older one can damage a file in WAL mode; the store refuses it as well.
_SQLITE_VERSION_MIN: Final = (3, 51, 3)


def check_clock(clock: Clock) -> Iterator[Check]:
    """The wall clock dates the events; the other one must never go back. The time zone does not matter."""
    now = clock.now()
    found = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if not _FIRST_YEAR <= now.year <= _LAST_YEAR:
        yield Check(name="clock", state="bad", found=found, mend="Set the machine's clock, and keep it set with NTP.")
    elif not time.get_clock_info("monotonic").monotonic:
        yield Check(
            name="clock",
            state="bad",
            found=f"{found}, and the monotonic clock is none",
            mend="Deadlines can't be kept here: use another system.",
        )
    else:
        yield Check(name="clock", state="good", found=f"{found}; the time zone does not matter")


def check_sqlite_library() -> Iterator[Check]:
    """SQLite comes with APSW, whose version begins with SQLite's."""
    version = metadata.version("apsw")
    numbers = tuple(int(part) for part in version.split(".")[:3])
    found = f"SQLite {'.'.join(map(str, numbers))} (apsw {version})"
    if numbers < _SQLITE_VERSION_MIN:
        wanted = ".".join(map(str, _SQLITE_VERSION_MIN))
        yield Check(
            name="sqlite",
            state="bad",
            found=f"{found} can damage files in WAL mode",
            mend=f"Install apsw {wanted} or newer.",
        )
    else:
        yield Check(name="sqlite", state="good", found=found)


def check_disks(settings: Settings) -> Iterator[Check]:
    """Free space where something is written."""
    journal = settings.journal
    yield _check_disk("disk: home", settings.home, low=_FREE_BYTES_LOW, least=_FREE_BYTES_MIN)
    yield _check_disk(
        "disk: journal",
        journal.directory,
        low=max(_FREE_BYTES_LOW, 2 * journal.bytes_max),
        least=2 * journal.segment_bytes,
    )
    if database_kind(settings.database_url) == "sqlite":
        directory = sqlite_path(settings.database_url).absolute().parent
        yield _check_disk("disk: database", directory, low=_FREE_BYTES_LOW, least=_FREE_BYTES_MIN)


def check_port(settings: Settings) -> Iterator[Check]:
    """Whether `serve` could listen. A port in use is no fault: it may be Tallystick itself."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    address = f"{settings.host}:{settings.port}"
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                yield Check(name="port", state="good", found=f"{address} is in use, perhaps by Tallystick itself")
            else:
                yield Check(
                    name="port",
                    state="warn",
                    found=f"{address}: {error.strerror or error}",
                    mend="Choose another --host or --port.",
                )
        else:
            yield Check(name="port", state="good", found=f"{address} is free")


def nearest_directory(path: Path) -> Path:
    """Return the path, or the nearest one above it that exists: what is below it can be made."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def bytes_text(count: int) -> str:
    """Return an amount of storage for people."""
    return f"{count / GIB:,.1f} GiB" if count >= GIB else f"{count / MIB:,.1f} MiB"


def _check_disk(name: str, directory: Path, *, low: int, least: int) -> Check:
    free = shutil.disk_usage(nearest_directory(directory)).free
    found = f"{bytes_text(free)} free for {directory}"
    if free < least:
        return Check(name=name, state="bad", found=found, mend="Make room: nothing more can be written.")
    if free < low:
        return Check(name=name, state="warn", found=found, mend=f"Make room: {bytes_text(low)} would be good.")
    return Check(name=name, state="good", found=found)
