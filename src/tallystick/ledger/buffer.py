"""The port of the buffer between journals and the database, and how a batch is written down in it.

A producer appends its batch and waits for an answer; whoever leads reads the oldest batches of all producers, commits
them in one transaction, and settles them: it publishes the watermarks and drops what it has read. The buffer may lose
anything at any time. It decides nothing: the watermark in the database does.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol

import msgspec

from tallystick.ledger.batch import Batch, DeadLetter
from tallystick.ledger.event import Attempt, SpendEvent
from tallystick.wire.usage import Usage

NotTaken = Literal["full", "undrained"]
"""Why a batch was not appended: no room, or nobody has read anything for some seconds."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A batch in the buffer."""

    entry_id: str
    producer_id: str
    nonce: str
    """By which its producer knows the answer to it."""
    payload: bytes


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a producer's entry, and of all of its entries before."""

    nonce: str
    watermark: int
    """As the database returned it for this entry."""
    is_refused: bool = False
    """The entry can't be committed as it is; its producer has to do it, and to bisect."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """How things stand for one entry, as of one moment."""

    answer: Answer | None
    """The newest one to its producer, whichever entry it is for."""
    is_there: bool
    """Whether the entry is still in the buffer."""
    is_drained: bool
    """Whether somebody has read the buffer, with success, within the last seconds."""


class BufferSize(msgspec.Struct, frozen=True, kw_only=True):
    """How much waits."""

    entries: int
    bytes: int
    lag_seconds: float
    """Age of the oldest entry; 0 when there is none."""


class Buffer(Protocol):
    """Where batches wait for the leader. Every method raises StoreUnavailable, and RowRefused for what is refused."""

    async def append(self, producer_id: str, nonce: str, payload: bytes) -> str | NotTaken:
        """Append a batch and return the id of its entry, or why it was not taken. An empty buffer takes any."""

    async def look(self, producer_id: str, entry_id: str) -> Look:
        """Tell how things stand for an entry."""

    async def read(self, *, limit: int) -> Sequence[Entry]:
        """Return the oldest entries, in the order in which they were appended. They stay."""

    async def settle(self, entries: Sequence[Entry], answers: Mapping[str, Answer]) -> None:
        """Publish the answers by producer, then drop the entries, in one step; note that the buffer is drained.

        Entries that are not there any more are passed over. With none at all, only the note is renewed.
        """

    async def size(self) -> BufferSize:
        """Return how much waits."""


def encode_batch(batch: Batch) -> bytes:
    """Write a batch down, headed by the shape of what is in it."""
    return _SHAPE + _encode(batch)


def decode_batch(payload: bytes) -> Batch | None:
    """Read a batch; None when it is none, or when another version of the program wrote it, with other fields.

    Unknown fields would be lost silently. So the batch goes back to its producer, which knows them.
    """
    if not payload.startswith(_SHAPE):
        return None
    try:
        return _decode(memoryview(payload)[len(_SHAPE) :])
    except (msgspec.MsgspecError, AssertionError):  # The latter of a batch whose numbers make no sense.
        return None


_KINDS: Final = (Batch, DeadLetter, SpendEvent, Attempt, Usage)
_SHAPE: Final = zlib.crc32(repr([(kind.__name__, kind.__struct_fields__) for kind in _KINDS]).encode()).to_bytes(
    4, "big"
)
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Batch).decode
