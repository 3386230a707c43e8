"""Answers that pass through where no dialect of callers is known: whatever bytes, read on the way."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from tallystick.errors import UpstreamGarbled
from tallystick.wire.anthropic.stream import AnthropicEvents
from tallystick.wire.bedrock.stream import ConverseStream, exception_in
from tallystick.wire.bedrock.usage import TokenUsage
from tallystick.wire.bedrock.usage import normalize_usage as normalize_converse
from tallystick.wire.cohere.stream import CohereEvents
from tallystick.wire.cohere.usage import CohereUsage
from tallystick.wire.cohere.usage import normalize_usage as normalize_cohere
from tallystick.wire.dialect import PlainReading, StreamMeter
from tallystick.wire.event_stream import EventStream, StreamMessage
from tallystick.wire.native_reading import NativeReading
from tallystick.wire.openai.answer import read_answer
from tallystick.wire.reply import Delta, Failed, UsageTold
from tallystick.wire.reported import AnswerFacts, ReportedError
from tallystick.wire.stream_tally import StreamTally
from tallystick.wire.usage import Usage

_NOTHING: Final = AnswerFacts(None, "", "", None)
ReadFacts = Callable[[bytes], AnswerFacts]
ReadChunk = Callable[[bytes], Iterable[Delta]]


class PassedReading:
    """The Reading of an answer that is passed on whatever it is. One that can't be read tells nothing."""

    content_types = None

    __slots__ = ("_read_facts", "_stream_chunks")

    def __init__(self, *, read_facts: ReadFacts, stream_chunks: Callable[[], ReadChunk]) -> None:
        """`read_facts` reads a plain answer; `stream_chunks` returns what reads the chunks of one stream."""
        self._read_facts = read_facts
        self._stream_chunks = stream_chunks

    def read_plain(self, body: bytes) -> PlainReading:
        """See Reading."""
        try:
            return PlainReading(self._read_facts(body), body)
        except UpstreamGarbled:
            return PlainReading(_NOTHING, body)

    def meter(self) -> StreamMeter:
        """See Reading."""
        return WatchedStream(self._stream_chunks())


class WatchedStream:
    """The meter of a stream in any framing: every chunk passes as it came, and is read beside. See StreamMeter.

    What comes once the dialect says that it ends is held back, so that the end leaves after the event. The stream is
    read to the end of its bytes: what follows is not ours to judge.
    """

    saw_done = False
    is_whole = False  # What is passed through is not kept, and is not rebuilt: nobody asks.
    unscanned_events = 0

    __slots__ = ("_held", "_read", "_tally")

    def __init__(self, read: ReadChunk) -> None:
        self._read: ReadChunk | None = read
        self._tally = StreamTally()
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """See StreamMeter."""
        if self._read is not None:
            try:
                for delta in self._read(chunk):
                    self._tally.note(delta)
            except UpstreamGarbled:
                self._read = None
        if not self._tally.saw_done:
            return chunk
        free, self._held = self._held, chunk
        return free

    def finish(self) -> bytes:
        """See StreamMeter."""
        return self._held

    @property
    def usage(self) -> Usage | None:
        return self._tally.usage

    @property
    def begun_usage(self) -> Usage | None:
        return self._tally.begun_usage

    @property
    def reported_cost_nano_usd(self) -> int | None:
        return self._tally.reported_cost_nano_usd

    @property
    def response_id(self) -> str:
        return self._tally.response_id

    @property
    def error(self) -> ReportedError | None:
        return self._tally.error

    @property
    def output_characters(self) -> int:
        return self._tally.output_characters

    @property
    def first_content(self) -> bool:
        return self._tally.output_characters > 0


class _CohereAnswer(msgspec.Struct, gc=False):
    id: object = None
    usage: CohereUsage | None = None
    meta: CohereUsage | None = None


class _ConverseAnswer(msgspec.Struct, gc=False):
    usage: TokenUsage | None = None


class _Metrics(msgspec.Struct, gc=False, rename="camel"):
    """What Bedrock counted, in the last chunk of an invocation."""

    input_token_count: int | None = None
    output_token_count: int | None = None


class _Chunk(msgspec.Struct, gc=False):
    bytes: str = ""


class _Invoked(msgspec.Struct, gc=False):
    type: object = None
    metrics: _Metrics | None = msgspec.field(name="amazon-bedrock-invocationMetrics", default=None)


_COHERE = msgspec.json.Decoder(_CohereAnswer, strict=False)
_CONVERSE = msgspec.json.Decoder(_ConverseAnswer, strict=False)
_CHUNK = msgspec.json.Decoder(_Chunk)
_INVOKED = msgspec.json.Decoder(_Invoked, strict=False)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError)


def _no_facts(_body: bytes) -> AnswerFacts:
    return _NOTHING


def _no_deltas() -> ReadChunk:
    return lambda _chunk: ()


def _cohere_facts(body: bytes) -> AnswerFacts:
    try:
        answer = _COHERE.decode(body)
    except _UNREADABLE as error:
        raise UpstreamGarbled from error
    response_id = answer.id if isinstance(answer.id, str) else ""
    return AnswerFacts(normalize_cohere(answer.usage) or normalize_cohere(answer.meta), response_id, "", None)


def _converse_facts(body: bytes) -> AnswerFacts:
    try:
        answer = _CONVERSE.decode(body)
    except _UNREADABLE as error:
        raise UpstreamGarbled from error
    return AnswerFacts(None if answer.usage is None else normalize_converse(answer.usage), "", "", None)


def _converse_chunks() -> ReadChunk:
    return ConverseStream(response_id="", model="").feed


class _InvocationChunks:
    """Reads the stream of an invocation: Anthropic's events by their dialect, of other models what Bedrock counts."""

    def __init__(self) -> None:
        self._messages = EventStream()
        self._anthropic = AnthropicEvents()
        self._is_anthropic = False

    def read(self, chunk: bytes) -> Iterable[Delta]:
        """Return what a chunk says. Raises UpstreamGarbled."""
        return [delta for message in self._messages.feed(chunk) for delta in self._read(message)]

    def _read(self, message: StreamMessage) -> Iterable[Delta]:
        failure = exception_in(message)
        if failure is not None:
            return (Failed(failure),)
        try:
            data = b64decode(_CHUNK.decode(message.payload).bytes)
            told = _INVOKED.decode(data)
        except _UNREADABLE as error:
            raise UpstreamGarbled from error
        if isinstance(told.type, str):
            self._is_anthropic = self._is_anthropic or told.type == "message_start"
        if self._is_anthropic:
            return self._anthropic.read(b"", data)
        metrics = told.metrics
        if metrics is None or metrics.output_token_count is None:
            return ()
        usage = Usage(input_tokens=metrics.input_token_count, output_tokens=metrics.output_token_count)
        return (UsageTold(usage=usage),)


OPAQUE: Final = PassedReading(read_facts=_no_facts, stream_chunks=_no_deltas)
"""Of an answer that nobody here can read."""
OPENAI_OTHERS: Final = PassedReading(read_facts=read_answer, stream_chunks=_no_deltas)
"""Of OpenAI's other endpoints: a plain answer may tell its usage."""
COHERE_PLAIN: Final = PassedReading(read_facts=_cohere_facts, stream_chunks=_no_deltas)
COHERE_CHAT: Final = NativeReading(read_facts=_cohere_facts, stream_events=lambda: CohereEvents(model="").read)
CONVERSE: Final = PassedReading(read_facts=_converse_facts, stream_chunks=_converse_chunks)
INVOCATION: Final = PassedReading(read_facts=_no_facts, stream_chunks=lambda: _InvocationChunks().read)
"""Of a stream; plain answers are in the dialect of each model."""
