"""The buffer in Redis: one stream for all producers, and an answer for each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from tallystick.ledger.buffer import Answer, BufferSize, Entry, Look, NotTaken
from tallystick.stores.redis.connection import FAILURES, Client, translated
from tallystick.stores.redis.script import Script, script_text

DRAINED_SECONDS: Final = 5.0
"""For so long after the last sign of a leader do producers wait for one."""
_ANSWER_SECONDS: Final = 600
_KEPT_SECONDS: Final = 86_400


class RedisBuffer:
    """A `Buffer`. All keys have one hash tag, so that a cluster keeps them on one node.

    Keys carry the id of the ledger, as its database says it: batches of two ledgers never meet in one Redis.
    """

    def __init__(
        self,
        client: Client,
        *,
        ledger_id: Callable[[], Awaitable[str]],
        where: str,
        key_prefix: str,
        bytes_max: int,
        timeout_seconds: float,
    ) -> None:
        """`where` is what errors call the server; `ledger_id` is asked until it does not raise StoreUnavailable."""
        self._client = client
        self._ledger_id = ledger_id
        self._where = where
        self._key_prefix = key_prefix
        self._bytes_max = bytes_max
        self._timeout_seconds = timeout_seconds
        self._keys: _Keys | None = None
        self._append, self._look, self._settle, self._size = (
            Script(client, script_text(name), where=where, timeout_seconds=timeout_seconds)
            for name in ("buffer_append", "buffer_look", "buffer_settle", "buffer_size")
        )

    async def append(self, producer_id: str, nonce: str, payload: bytes) -> str | NotTaken:
        """`Buffer`."""
        keys = await self._names()
        taken = await self._append.run(
            (keys.stream, keys.sizes, keys.size, keys.drained),
            (producer_id, nonce, payload, self._bytes_max, _KEPT_SECONDS),
        )
        return str(taken.decode())

    async def look(self, producer_id: str, entry_id: str) -> Look:
        """`Buffer`."""
        keys = await self._names()
        answer, is_there, is_drained = await self._look.run(
            (keys.sizes, keys.drained, keys.answer + producer_id), (entry_id,)
        )
        return Look(
            answer=None if answer is None else _decode(answer), is_there=bool(is_there), is_drained=bool(is_drained)
        )

    async def read(self, *, limit: int) -> Sequence[Entry]:
        """`Buffer`."""
        keys = await self._names()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                found: Any = await self._client.xrange(keys.stream, count=limit)  # Any: typed there for all protocols.
        except FAILURES as error:
            raise translated(error, self._where) from error
        return tuple(
            Entry(
                entry_id=entry_id.decode(),
                producer_id=fields.get(b"producer", b"").decode(errors="replace"),
                nonce=fields.get(b"nonce", b"").decode(errors="replace"),
                payload=fields.get(b"batch", b""),
            )
            for entry_id, fields in found
        )

    async def settle(self, entries: Sequence[Entry], answers: Mapping[str, Answer]) -> None:
        """`Buffer`."""
        keys = await self._names()
        await self._settle.run(
            (
                *(keys.stream, keys.sizes, keys.size, keys.drained),
                *(keys.answer + producer_id for producer_id in answers),
            ),
            (
                *(round(DRAINED_SECONDS * 1000), _ANSWER_SECONDS * 1000),
                *(_encode(answer) for answer in answers.values()),
                *(entry.entry_id for entry in entries),
            ),
        )

    async def size(self) -> BufferSize:
        """`Buffer`."""
        keys = await self._names()
        entries, size, lag_ms = await self._size.run((keys.stream, keys.size), ())
        return BufferSize(entries=entries, bytes=size, lag_seconds=max(0, lag_ms) / 1000)

    async def _names(self) -> _Keys:
        if self._keys is None:
            prefix = f"{{{self._key_prefix}}}:buffer:{await self._ledger_id()}:"
            self._keys = _Keys(
                stream=prefix + "stream",
                sizes=prefix + "sizes",
                size=prefix + "size",
                drained=prefix + "drained",
                answer=prefix + "answer:",
            )
        return self._keys


class _Keys(NamedTuple):
    stream: str
    sizes: str
    size: str
    drained: str
    answer: str


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Answer).decode
