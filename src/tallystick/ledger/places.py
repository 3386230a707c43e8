"""Places: what tells a slot's directory from a copy of it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec


class SlotPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where a slot's directory is. A copy of it has another device or inode; one that was moved, only another path."""

    path: str
    device: int
    inode: int

    def is_same_directory(self, other: SlotPlace) -> bool:
        return (self.device, self.inode) == (other.device, other.inode)


def place_of(directory: Path) -> SlotPlace:
    """Return the place of a directory. Raises OSError."""
    facts = directory.stat()
    return SlotPlace(path=str(directory.absolute()), device=facts.st_dev, inode=facts.st_ino)


def is_held(place: SlotPlace) -> bool:
    """Whether the slot is where it was, and a process holds it; False when that can't be seen."""
    directory = Path(place.path)
    try:
        return place_of(directory).is_same_directory(place) and is_locked(directory)
    except OSError:
        return False


def is_locked(directory: Path) -> bool:
    """Whether a process has a slot's lock. Raises OSError when that can't be seen.

    We share the lock for a moment to find out. A server that wants the slot in this very moment takes the next one,
    and adopts this one's work a little later.
    """
    lock_fd = os.open(directory / "lock", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock_fd)
    return False
