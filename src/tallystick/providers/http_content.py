"""Answers that are compressed although none was asked for: undone step by step, within the same limits."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator

_STEP_BYTES = 256 * 1024
_GZIP_FIRST_BYTE = 0x1F
_PLAIN = frozenset({"", "identity"})
_GZIP = frozenset({"gzip", "x-gzip"})


def inflater(encoding: str) -> Inflater | None:
    """Return what undoes a content-encoding, None if there is nothing to undo. Raises ValueError if it is unknown."""
    encoding = encoding.strip().lower()
    if encoding in _PLAIN:
        return None
    if encoding in _GZIP or encoding == "deflate":
        return Inflater(is_gzip=encoding in _GZIP)
    raise ValueError("it is compressed in an unknown way")


class Inflater:
    """Undoes gzip or deflate. Memory stays bounded: each step gives at most 256 KiB."""

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._member: zlib._Decompress | None = None

    def steps(self, data: bytes) -> Iterator[bytes]:
        """Yield what comes of the next bytes. Raises ValueError when they are damaged."""
        while data:
            member = self._member
            if member is None or member.eof:
                if member is not None and not (self._is_gzip and data[0] == _GZIP_FIRST_BYTE):
                    return  # Padding behind the end.
                member = self._member = self._new_member(data[0])
            try:
                part = member.decompress(data, _STEP_BYTES)
                while part:
                    yield part
                    part = member.decompress(member.unconsumed_tail, _STEP_BYTES)
            except zlib.error as error:
                raise ValueError("its compression is damaged") from error
            data = member.unused_data

    def end(self) -> None:
        """Raise ValueError if the end is missing."""
        if self._member is not None and not self._member.eof:
            raise ValueError("its compression has no end")

    def _new_member(self, first_byte: int) -> zlib._Decompress:
        if self._is_gzip:
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        # Some send deflate without zlib's header, whose first byte always has 8 in its lower half.
        return zlib.decompressobj(zlib.MAX_WBITS if first_byte & 0x0F == 8 else -zlib.MAX_WBITS)


class OversizedAnswer(ValueError):
    """A whole body is larger than allowed."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        super().__init__(f"it is larger than {bytes_max} bytes")


async def inflate_body(body: bytes, encoding: str, *, bytes_max: int, is_error: bool) -> bytes:
    """Return a whole body as it was before its compression.

    An error's body may be incomplete, and is cut at the limit; another one raises OversizedAnswer or ValueError.
    Other tasks run between the steps, because a small body may come out large.
    """
    undo = inflater(encoding)
    if undo is None:
        return body
    parts = bytearray()
    for part in undo.steps(body):
        parts += part
        if len(parts) > bytes_max:
            if is_error:
                return bytes(parts[:bytes_max])
            raise OversizedAnswer(bytes_max)
        await asyncio.sleep(0)
    if not is_error:
        undo.end()
    return bytes(parts)
