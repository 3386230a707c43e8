"""Answers of the Responses API for callers who speak it: passed through, but for the ids of responses.

Callers get ids that lead back to the deployment that made a response. Everything else keeps its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tallystick.wire.dialect import PlainReading, StreamMeter
from tallystick.wire.native_reading import NativeReading, NativeStream
from tallystick.wire.responses.answer import read_facts
from tallystick.wire.responses.stream import ResponsesEvents

# A quote inside of a string has a backslash before it, so that what the model says is never taken for an id.
_ID = re.compile(rb'("id"\s*:\s*")([^"\\]{1,256})"')
_PREVIOUS = re.compile(rb'("previous_response_id"\s*:\s*")([^"\\]{1,256})"')


class IdReplacer:
    """Writes the ids of one response, and of the one that it went on from, as the caller is to know them."""

    __slots__ = ("_known", "_told_id")

    def __init__(self, told_id: Callable[[str], str], *, known: str = "") -> None:
        """`known` is the id of the response, where that is known before it is read."""
        self._told_id = told_id
        self._known = known.encode()

    def learn(self, upstream_id: str) -> None:
        """Take the id of the response. The first one counts."""
        if not self._known:
            self._known = upstream_id.encode()

    def write(self, body: bytes) -> bytes:
        """Return bytes of the answer with the ids that the caller is to have."""
        if self._known and self._known in body:
            body = _ID.sub(self._own, body)
        return _PREVIOUS.sub(self._any, body) if b'"previous_response_id"' in body else body

    def _own(self, found: re.Match[bytes]) -> bytes:
        return self._any(found) if found[2] == self._known else found[0]

    def _any(self, found: re.Match[bytes]) -> bytes:
        return found[1] + self._told_id(found[2].decode(errors="replace")).encode() + b'"'


class ResponsesReading(NativeReading):
    """The Reading of a response that passes through. It inherits all but the ids."""

    __slots__ = ("_told_id",)

    def __init__(self, told_id: Callable[[str], str] = str) -> None:
        super().__init__(read_facts=read_facts, stream_events=lambda: ResponsesEvents().read)
        self._told_id = told_id

    def read_plain(self, body: bytes) -> PlainReading:
        """See Reading."""
        facts = read_facts(body)
        return PlainReading(facts, IdReplacer(self._told_id, known=facts.response_id).write(body))

    def meter(self) -> StreamMeter:
        """See Reading."""
        return _Stream(IdReplacer(self._told_id))


class _Stream(NativeStream):
    """The meter of such a stream."""

    __slots__ = ("_ids",)

    def __init__(self, ids: IdReplacer) -> None:
        super().__init__(ResponsesEvents().read)
        self._ids = ids

    def feed(self, chunk: bytes) -> bytes:
        """Return the events that are complete now."""
        return self._write(super().feed(chunk))

    def finish(self) -> bytes:
        """Return the last event and what came behind it."""
        return self._write(super().finish())

    def _write(self, out: bytes) -> bytes:
        self._ids.learn(self.response_id)
        return self._ids.write(out) if out else out
