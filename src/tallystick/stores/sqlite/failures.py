"""Translate what APSW raises into the store's errors: away (try again), or refused (do not)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import msgspec

from tallystick.errors import EventRepeated, RowRefused, StoreUnavailable

_REFUSED = (apsw.ConstraintError, apsw.TooBigError, apsw.MismatchError, apsw.RangeError)
# UnicodeEncodeError: a lone surrogate. OverflowError: an integer beyond 64 bit. EncodeError: JSON can't say it.
_REPEATED = "UNIQUE constraint failed: spend_events.event_time, spend_events.event_id"
_UNFIT = (UnicodeEncodeError, OverflowError, msgspec.EncodeError)
_REASONS: tuple[tuple[type[apsw.Error], str], ...] = (
    (apsw.BusyError, "it is locked by another process for longer than the busy timeout"),
    (apsw.LockedError, "it is locked"),
    (apsw.FullError, "the disk is full"),
    (apsw.ReadOnlyError, "it is read-only: check who owns the file and its directory"),
    (apsw.PermissionsError, "access is not permitted: check who owns the file and its directory"),
    (apsw.CorruptError, "the file is damaged: restore it from a backup"),
    (apsw.NotADBError, "the file is not a SQLite database"),
    (apsw.IOError, "reading or writing the file failed"),
    (apsw.NoMemError, "there is not enough memory"),
)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise RowRefused for what the data is to blame for, StoreUnavailable for everything else."""
    try:
        yield
    except _REFUSED as error:
        if _REPEATED in str(error):
            raise EventRepeated(f"SQLite refuses the row: {error}") from error
        raise RowRefused(f"SQLite refuses the row: {error}") from error
    except _UNFIT as error:
        raise RowRefused(f"SQLite can't hold the row: {error}") from error
    except apsw.CantOpenError as error:
        raise StoreUnavailable(f"The database {path} can't be opened: {_why_not_open(path)}.") from error
    except apsw.Error as error:
        raise StoreUnavailable(f"The database {path} is unavailable: {_reason(error)} ({error}).") from error


def _reason(error: apsw.Error) -> str:
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    return f"SQLite answers {type(error).__name__}"


def _why_not_open(path: Path) -> str:
    directory = path.parent
    if not directory.exists():
        return f"the directory {directory} does not exist"
    if not directory.is_dir():
        return f"{directory} is not a directory"
    if path.is_dir():
        return "it is a directory"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"the directory {directory} is not writable"
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return "the file is not readable and writable"
    return "the file or its -wal and -shm files can't be opened"
