"""Answers in OpenAI's dialect for callers who speak it: passed through, and read on the way."""

from __future__ import annotations

from tallystick.wire.dialect import PlainReading, StreamMeter
from tallystick.wire.openai.answer import read_answer
from tallystick.wire.sse import StreamScanner


class OpenAIReading:
    """The Reading of an answer that passes through."""

    content_types = None

    __slots__ = ("_hide_usage",)

    def __init__(self, *, hide_usage: bool) -> None:
        self._hide_usage = hide_usage

    def read_plain(self, body: bytes) -> PlainReading:
        """See Reading."""
        return PlainReading(read_answer(body), body)

    def meter(self) -> StreamMeter:
        """See Reading."""
        return StreamScanner(hide_usage=self._hide_usage)


USAGE_SHOWN = OpenAIReading(hide_usage=False)
USAGE_HIDDEN = OpenAIReading(hide_usage=True)
"""For a stream whose caller did not ask for the usage."""
