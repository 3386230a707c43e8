"""A TCP proxy that fails on demand: between a client and its database, in the test's own event loop.

refuse(), accept()          nobody listens; somebody does again
blackhole = True            bytes are taken and go nowhere, as when a cable is pulled
delay_seconds = 0.1         each piece is late
cut_after(n, direction)     both sides are cut after n more bytes
cut_at(needle, passed=…)    both sides are cut where these bytes go to the server, before or behind them
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal, Self

from services import free_port

Direction = Literal["to_server", "to_client"]
_PIECE_BYTES = 64 * 1024


class FaultProxy:
    """Passes everything on to `host:port` until told otherwise. Use it with `async with`."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.port = free_port()
        self.blackhole = False
        self.delay_seconds = 0.0
        self.cuts = 0
        """How often a connection was cut as `cut_after` and `cut_at` asked for."""
        self._server_address = (host, port)
        self._listener: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._left: dict[Direction, int] = {}
        self._needle: tuple[bytes, bool] | None = None

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.refuse()

    async def accept(self) -> None:
        """Listen."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Stop listening and cut every connection."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self.cut()
        while self._pairs:
            await asyncio.sleep(0.001)

    def cut(self) -> None:
        """Cut every connection now."""
        for pair in list(self._pairs):
            pair.abort()

    def cut_after(self, count: int, direction: Direction) -> None:
        """Let `count` more bytes pass in one direction, counted over all connections, then cut."""
        self._left[direction] = count

    def cut_at(self, needle: bytes, *, passed: bool) -> None:
        """Cut the next connection on which these bytes go to the server: before them, or in place of their reply."""
        self._needle = (needle, passed)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection(*self._server_address)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, upstream[1])
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, upstream[1], "to_server", pair))
                group.create_task(self._pass(upstream[0], writer, "to_client", pair))
        finally:
            pair.abort()
            self._pairs.discard(pair)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction, pair: _Pair
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(_PIECE_BYTES):
                if self.blackhole:
                    continue
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                if pair.loses_reply and direction == "to_client":
                    self.cuts += 1
                    break
                kept, is_cut = self._what_passes(piece, direction, pair)
                writer.write(kept)
                if is_cut:
                    self.cuts += 1
                    await writer.drain()
                    pair.cut_behind(writer)
                    return
                await writer.drain()
        pair.abort()

    def _what_passes(self, piece: bytes, direction: Direction, pair: _Pair) -> tuple[bytes, bool]:
        """Return what of a piece passes, and whether the connection is cut behind that."""
        if self._needle is not None and direction == "to_server":
            needle, passed = self._needle
            place = piece.find(needle)
            if place >= 0:
                self._needle = None
                pair.loses_reply = passed
                return (piece, False) if passed else (piece[:place], True)
        left = self._left.get(direction)
        if left is None:
            return piece, False
        if len(piece) <= left:
            self._left[direction] = left - len(piece)
            return piece, False
        del self._left[direction]
        return piece[:left], True


class _Pair:
    """The two ends of one connection."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._client = client
        self._server = server
        self.loses_reply = False
        """Whether the server's next answer is the end of the connection."""

    def abort(self) -> None:
        self._client.transport.abort()
        self._server.transport.abort()

    def cut_behind(self, writer: asyncio.StreamWriter) -> None:
        """Let what was written to one side arrive there, and cut the other side at once."""
        other = self._server if writer is self._client else self._client
        other.transport.abort()
        writer.close()
