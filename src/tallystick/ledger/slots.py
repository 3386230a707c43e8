"""Journal slots: one directory each, held by one process through a file lock.

    journal/
      slot-0001/
        lock            held with flock by the process that writes here
        producer.json   who numbers the events: producer id, boot, place, last number at the last clean close
        0000000000000001.journal …
      damaged/          copies of segments that could not be read to their end

A slot outlives the process: whoever takes it next takes over the work that is left in it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from pathlib import Path

import msgspec

from tallystick.errors import LedgerUnavailable, SlotTaken
from tallystick.ledger.places import SlotPlace, place_of

SEGMENT_SUFFIX = ".journal"
_SLOTS_MAX = 9999
_BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


class CopiedWork(msgspec.Struct, frozen=True, kw_only=True):
    """What a slot holds that was copied with it: the place of the original, and who numbered the events there."""

    original: SlotPlace
    producer_ids: tuple[str, ...]


class ProducerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a slot remembers of its producer."""

    producer_id: str
    boot_id: str
    place: SlotPlace
    last_seq: int | None = None
    """Set by a clean close that left no segment to read it from."""
    copied: CopiedWork | None = None


class Renumbering(msgspec.Struct, frozen=True, kw_only=True):
    """A producer whose numbers the store can't continue: its events go by another name, `offset` lower."""

    store_id: str
    offset: int


class Slot:
    """One slot, locked. `release()` gives it to whoever comes next."""

    def __init__(self, directory: Path, lock_fd: int) -> None:
        self.directory = directory
        self._lock_fd = lock_fd

    @property
    def name(self) -> str:
        return self.directory.name

    def segments(self) -> list[Path]:
        """The segment files, oldest first."""
        return sorted(self.directory.glob(f"*{SEGMENT_SUFFIX}"))

    def segment_path(self, ordinal: int) -> Path:
        return self.directory / f"{ordinal:016d}{SEGMENT_SUFFIX}"

    def place(self) -> SlotPlace:
        """Return where the slot is now. Raises OSError."""
        return place_of(self.directory)

    def read_producer(self) -> ProducerRecord | None:
        """Return what the slot remembers; None for a new slot or an unreadable record."""
        try:
            return msgspec.json.decode((self.directory / "producer.json").read_bytes(), type=ProducerRecord)
        except (OSError, msgspec.MsgspecError):
            return None

    def write_producer(self, record: ProducerRecord) -> None:
        """Replace the record so that either the old or the new one is there after a power loss."""
        self._replace("producer.json", msgspec.json.encode(record))

    def read_renumbered(self) -> dict[str, Renumbering]:
        """Return the producers of this slot that the store knows by another name."""
        try:
            return msgspec.json.decode((self.directory / "renumbered.json").read_bytes(), type=dict[str, Renumbering])
        except FileNotFoundError:
            return {}

    def write_renumbered(self, renumbered: dict[str, Renumbering]) -> None:
        self._replace("renumbered.json", msgspec.json.encode(renumbered))

    def set_aside(self, segment: Path) -> Path:
        """Keep a copy of a damaged segment beside the slots, for people to look at."""
        aside = self.directory.parent / "damaged"
        aside.mkdir(exist_ok=True)
        copy = aside / f"{self.name}-{segment.name}"
        shutil.copyfile(segment, copy)
        return copy

    def release(self) -> None:
        os.close(self._lock_fd)

    def _replace(self, name: str, content: bytes) -> None:
        path = self.directory / name
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(self.directory)


def claim_slot(root: Path) -> Slot:
    """Take a free slot, one with unfinished work first, or make a new one.

    Raises LedgerUnavailable when the directory can't be written or has no number left.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        waiting = sorted(slot_directories(root), key=lambda path: (not any(path.glob(f"*{SEGMENT_SUFFIX}")), path.name))
        for directory in waiting:
            try:
                return lock_slot(directory)
            except SlotTaken:
                continue
        for number in range(1, _SLOTS_MAX + 1):
            directory = root / f"slot-{number:04d}"
            try:
                directory.mkdir()
            except FileExistsError:
                continue
            try:
                return lock_slot(directory)
            except SlotTaken:  # Somebody who looks for unfinished work was quicker by a moment.
                continue
    except OSError as error:
        raise LedgerUnavailable(f"the journal directory {root} can't be used: {error.strerror or error}") from error
    raise LedgerUnavailable(f"the journal directory {root} has no free slot: {_SLOTS_MAX} are held")


def lock_slot(directory: Path) -> Slot:
    """Lock one slot. Raises SlotTaken when a process holds it, OSError when the directory can't be used."""
    lock_fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock_fd)
        raise SlotTaken(f"journal slot {directory} is held by another process") from error
    return Slot(directory, lock_fd)


def slot_directories(root: Path) -> list[Path]:
    """Every slot below `root`, held or not."""
    return [path for path in root.glob("slot-*") if path.is_dir()]


def abandoned_slots(root: Path) -> list[Slot]:
    """Lock and return every slot that has unfinished work and that nobody holds."""
    found = []
    for directory in sorted(slot_directories(root)):
        if not any(directory.glob(f"*{SEGMENT_SUFFIX}")):
            continue
        try:
            found.append(lock_slot(directory))
        except SlotTaken:
            continue
    return found


def new_producer_id() -> str:
    return str(uuid.uuid4())


def current_boot_id() -> str:
    """Return an id that changes when the machine boots, '' where the system tells none.

    What a process wrote and did not sync survives its death, but not the machine's; so numbers are only continued
    within one boot.
    """
    try:
        return _BOOT_ID_FILE.read_text().strip()
    except OSError:
        return ""


def sync_directory(directory: Path) -> None:
    """Make names created or removed in a directory durable."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
