"""What of a call's answer is kept for the callbacks: the caller's own bytes, up to a limit."""

from __future__ import annotations


class HeardAnswer:
    """The pieces of one answer, as the caller got them."""

    __slots__ = ("_bytes_max", "_pieces", "is_stream", "size_bytes")

    def __init__(self, *, bytes_max: int) -> None:
        self.size_bytes = 0
        self.is_stream = False
        self._bytes_max = bytes_max
        self._pieces: list[bytes] | None = []
        """None: it is too large, and nothing of it is kept."""

    def add(self, piece: bytes) -> None:
        """Take the next bytes."""
        if self._pieces is None:
            return
        self.size_bytes += len(piece)
        if self.size_bytes > self._bytes_max:
            self._pieces, self.size_bytes = None, 0
            return
        self._pieces.append(piece)

    def replace(self, body: bytes) -> None:
        """Take an answer in place of the one that was there: that of a call which went on in the background."""
        self._pieces, self.size_bytes = [], 0
        self.add(body)

    def body(self) -> bytes:
        """Return the whole answer; b'' when there is none, or when it was too large."""
        return b"".join(self._pieces or ())
