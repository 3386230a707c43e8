"""The instances that serve on the database: who is silent, who is behind, and whether they are of one version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tallystick.cli.checks.check import Check
from tallystick.cli.output import counted
from tallystick.runtime.instances import SeenInstance

_NAME: Final = "database: instances"
_NAMED_MAX: Final = 5


def check_instances(seen: Sequence[SeenInstance]) -> Iterator[Check]:
    """Return what is to say of them."""
    here = [each for each in seen if not each.is_away]
    away = [each for each in seen if each.is_away]
    versions = sorted({each.instance.version for each in here})
    if not here:
        yield Check(name=_NAME, state="good", found="none serves now")
    else:
        pending = sum(each.instance.events_pending for each in here)
        found = f"{counted(len(here), 'worker')} here, {counted(pending, 'event')} not committed yet"
        yield Check(name=_NAME, state="good", found=found)
    if len(versions) > 1:
        yield Check(
            name=f"{_NAME}, versions",
            state="warn",
            found=f"{' and '.join(versions)} at once",
            mend="Well while an upgrade is under way. Afterwards restart those of the older version.",
        )
    if away:
        yield Check(
            name=f"{_NAME}, silent",
            state="warn",
            found=_named(away),
            mend="They were killed, or can't reach the database. What their journals hold is finished by whoever "
            "starts or runs on the same journal_directory.",
        )


def _named(away: Sequence[SeenInstance]) -> str:
    names = [
        f"{each.instance.host} (process {each.instance.pid}, silent for {each.silent_seconds:.0f} s, "
        f"{counted(each.instance.events_pending, 'event')} not committed when last heard)"
        for each in away[:_NAMED_MAX]
    ]
    more = len(away) - len(names)
    return "; ".join(names) + (f"; and {more} more" if more else "")
