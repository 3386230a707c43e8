"""The journal directory: can it be written, who holds its slots, what waits in them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tallystick.cli.checks.check import Check
from tallystick.cli.checks.machine import bytes_text, nearest_directory
from tallystick.cli.output import counted
from tallystick.config.settings import Settings
from tallystick.ledger.places import is_locked
from tallystick.ledger.slots import SEGMENT_SUFFIX, current_boot_id, slot_directories

_FULL_PERCENT: Final = 80
_SlotState = Literal["held", "free", "abandoned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotFacts:
    """A slot as it is found: `abandoned` is one with unfinished work that no process holds."""

    name: str
    state: _SlotState
    segments: int
    size_bytes: int


def check_journal(settings: Settings) -> Iterator[Check]:
    """Everything about the journal but the free space of its disk."""
    directory = settings.journal.directory
    yield _check_writable(directory)
    yield from _check_boot_id()
    if not directory.is_dir():
        return
    slots = [read_slot(path) for path in sorted(slot_directories(directory))]
    yield _check_slots(slots)
    yield _check_limit(slots, settings.journal.bytes_max)
    yield from _check_damage(directory / "damaged")


def read_slot(directory: Path) -> SlotFacts:
    """Look at a slot without taking it."""
    sizes = []
    for path in directory.glob(f"*{SEGMENT_SUFFIX}"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # It was committed, and removed, in between.
            continue
    state: _SlotState = "held" if _is_held(directory) else "abandoned" if sizes else "free"
    return SlotFacts(name=directory.name, state=state, segments=len(sizes), size_bytes=sum(sizes))


def _is_held(directory: Path) -> bool:
    try:
        return is_locked(directory)
    except FileNotFoundError:
        return False


def _check_writable(directory: Path) -> Check:
    place = nearest_directory(directory)
    try:
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(b"\0")
            probe.flush()
    except OSError as error:
        return Check(
            name="journal",
            state="bad",
            found=f"{place} can't be written: {error.strerror or error}",
            mend="Give it to the user that runs the server, or set journal_directory to another local directory.",
        )
    if place != directory.absolute():
        return Check(name="journal", state="good", found=f"{directory} will be made at first start")
    return Check(name="journal", state="good", found=f"{directory} is writable")


def _check_boot_id() -> Iterator[Check]:
    if not current_boot_id():
        yield Check(
            name="journal: boot id",
            state="warn",
            found="the system does not tell when it booted: each start numbers its events as a new producer",
            mend="Nothing is lost by it. Mount /proc to get rid of it.",
        )


def _check_slots(slots: Sequence[SlotFacts]) -> Check:
    counts = {state: sum(slot.state == state for slot in slots) for state in ("held", "free", "abandoned")}
    segments = sum(slot.segments for slot in slots)
    size = bytes_text(sum(slot.size_bytes for slot in slots))
    found = (
        f"{', '.join(f'{count} {state}' for state, count in counts.items())}; {counted(segments, 'segment')}, {size}"
    )
    abandoned = [slot.name for slot in slots if slot.state == "abandoned"]
    if abandoned:
        return Check(
            name="journal: slots",
            state="warn",
            found=f"{found}; not all of it may be in the database: {', '.join(abandoned)}",
            mend="Start `tallystick serve` with this journal directory: it commits what was left.",
        )
    return Check(name="journal: slots", state="good", found=found)


def _check_limit(slots: Sequence[SlotFacts], bytes_max: int) -> Check:
    largest = max((slot.size_bytes for slot in slots), default=0)
    percent = largest * 100 // bytes_max
    found = f"the fullest slot has {percent} % of journal_bytes_max ({bytes_text(bytes_max)})"
    mend = "Bring the database back, so that the journal can be committed, or raise journal_bytes_max."
    if percent >= 100:
        return Check(name="journal: limit", state="bad", found=f"{found}: new calls are refused", mend=mend)
    if percent >= _FULL_PERCENT:
        return Check(name="journal: limit", state="warn", found=found, mend=mend)
    return Check(name="journal: limit", state="good", found=found)


def _check_damage(directory: Path) -> Iterator[Check]:
    copies = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
    if copies:
        yield Check(
            name="journal: damage",
            state="warn",
            found=f"{len(copies)} segments could not be read to their end: {', '.join(copies[:5])}",
            mend=f"Check the disk; `tallystick verify` counts what was lost. Then move the copies out of {directory}.",
        )
