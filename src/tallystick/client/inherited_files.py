"""Files that a forked child has from its parent."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final

_PATH_BYTES_MAX: Final = 1024


def close_files_below(directory: Path) -> None:
    """Close every file that is open below a directory: a lock on one would last as long as any copy is open."""
    try:
        names = [path.name for path in Path("/dev/fd").iterdir()]
    except OSError:
        return
    prefix = os.path.realpath(directory)
    for name in names:
        if name.isdigit() and _path_of(int(name)).startswith(prefix + os.sep):
            with contextlib.suppress(OSError):
                os.close(int(name))


def _path_of(descriptor: int) -> str:
    """Return the path of an open file; '' when the system does not tell."""
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        command = getattr(fcntl, "F_GETPATH", None)  # macOS has no /proc.
        if command is None:
            return ""
    try:
        return fcntl.fcntl(descriptor, command, bytes(_PATH_BYTES_MAX)).rstrip(b"\0").decode(errors="replace")
    except OSError:
        return ""
