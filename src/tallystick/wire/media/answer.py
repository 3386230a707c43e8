"""Answers with images, sound, moderations and ranks: passed through, and read on the way for what is charged."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec

from tallystick.errors import UpstreamGarbled
from tallystick.wire.call_request import CallRequest
from tallystick.wire.dialect import PlainReading, Reading, StreamMeter
from tallystick.wire.media.request import pixels_of
from tallystick.wire.media.usage import MediaUsage, media_usage
from tallystick.wire.native_reading import NativeStream
from tallystick.wire.openai.answer import read_answer
from tallystick.wire.openai.usage import read_error
from tallystick.wire.reply import Delta, Ended, Failed, PartGrown, UsageTold
from tallystick.wire.reported import AnswerFacts, ReportedError
from tallystick.wire.token_estimate import estimate_input_tokens
from tallystick.wire.usage import Usage

_TEXT_FORMATS: Final = frozenset(("text", "srt", "vtt"))
_NO_FACTS: Final = AnswerFacts(None, "", "", None)
_SPOKEN_MILLISECONDS_PER_CHARACTER: Final = 70
_SPOKEN_TOKENS_PER_SECOND: Final = 21


def media_reading(request: CallRequest) -> Reading:
    """Return how the answer to a request of these endpoints is read."""
    if request.endpoint == "audio/speech":
        return _SpeechReading(request)
    return _MediaReading(request)


class _MediaReading:
    """The Reading of images, transcripts, moderations and ranks."""

    content_types = None

    __slots__ = ("_request",)

    def __init__(self, request: CallRequest) -> None:
        self._request = request

    def read_plain(self, body: bytes) -> PlainReading:
        """See Reading."""
        request = self._request
        if request.answer_format in _TEXT_FORMATS and body.lstrip()[:1] != b"{":
            return PlainReading(_NO_FACTS, body)
        facts = read_answer(body)
        try:
            answer = _ANSWER.decode(body)
        except msgspec.MsgspecError:
            return PlainReading(facts, body)
        usage = media_usage(answer.usage, facts.usage)
        if request.endpoint.startswith("images/"):
            usage = _with_images(usage, request, len(answer.data or ()), answer.size)
        elif request.endpoint == "rerank":
            usage = _with_searches(usage, answer.meta)
            body = _as_ranks(body, answer, usage)
        elif request.endpoint.startswith("audio/") and answer.duration is not None:
            usage = _with_duration(usage, answer.duration)
        return PlainReading(facts._replace(usage=usage), body)

    def meter(self) -> StreamMeter:
        """See Reading."""
        return NativeStream(_MediaEvents(self._request).read)


class _SpeechReading:
    """The Reading of speech: bytes of sound, or events that hold them."""

    content_types = None

    __slots__ = ("_request",)

    def __init__(self, request: CallRequest) -> None:
        self._request = request

    def read_plain(self, body: bytes) -> PlainReading:
        """See Reading. Speech comes as a stream; JSON in its place is an error, or none that we know."""
        return PlainReading(read_answer(body), body)

    def meter(self) -> StreamMeter:
        """See Reading."""
        if self._request.answer_format == "sse":
            return NativeStream(_MediaEvents(self._request).read)
        return SoundMeter(_spoken(self._request))


class SoundMeter:
    """The meter of a stream of bytes that tell nothing; the last one is held back. See StreamMeter.

    What it is billed as does not hang on how much came: a provider charges for the text.
    """

    __slots__ = ("_held", "_usage", "first_content")

    reported_cost_nano_usd = None
    response_id = ""
    error = None
    output_characters = 0
    saw_done = False
    is_whole = False  # No byte says that it is the last.
    unscanned_events = 0
    usage = None

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self._held = b""
        self.first_content = False

    @property
    def begun_usage(self) -> Usage | None:
        return self._usage

    def feed(self, chunk: bytes) -> bytes:
        """Return all but the last byte."""
        if not chunk:
            return b""
        self.first_content = True
        passed = self._held + chunk[:-1]
        self._held = chunk[-1:]
        return passed

    def finish(self) -> bytes:
        """Return the last byte."""
        return self._held


class _MediaEvents:
    """Reads the events of one stream of images, transcripts or speech."""

    __slots__ = ("_has_begun", "_images", "_request", "_usage")

    def __init__(self, request: CallRequest) -> None:
        self._request = request
        self._has_begun = False
        self._images = 0
        self._usage: Usage | None = None

    def read(self, _name: bytes, data: bytes) -> Sequence[Delta]:
        """See ReadEvent."""
        if data == b"[DONE]":
            return (Ended(),)
        try:
            event = _EVENT.decode(data)
        except msgspec.MsgspecError as error:
            raise UpstreamGarbled(f"The upstream's stream has an event that can't be read: {error}") from error
        if event.error:
            failure = read_error(bytes(event.error))
            return () if failure is None else (Failed(failure),)
        if event.type == "error":
            return (Failed(ReportedError(message=event.message or "", type="upstream_error")),)
        if event.type.endswith(".partial_image"):
            return self._begun(_drawn(self._request))
        if event.type == "speech.audio.delta":
            return self._begun(_spoken(self._request))
        if event.type.endswith(".delta"):
            return (PartGrown(0, event.delta or ""),)
        if event.type.endswith(".completed") and self._request.endpoint.startswith("images/"):
            return self._image(event)
        if event.type.endswith(".done"):
            usage = media_usage(event.usage, None)
            return (Ended(),) if usage is None else (UsageTold(usage=usage), Ended())
        return ()

    def _begun(self, usage: Usage) -> Sequence[Delta]:
        """The provider has begun to make what it charges for as a whole, whether the rest is heard or not."""
        if self._has_begun:
            return ()
        self._has_begun = True
        return (UsageTold(usage=usage, final=False), PartGrown(0, " "))

    def _image(self, event: _Event) -> Sequence[Delta]:
        self._images += 1
        usage = _with_images(media_usage(event.usage, None), self._request, 1, event.size)
        self._usage = usage if self._usage is None else _sum(self._usage, usage)
        told = UsageTold(usage=self._usage)
        return (told, Ended()) if self._images >= self._request.choices else (told,)


class _Meta(msgspec.Struct, gc=False):
    billed_units: MediaUsage | None = None


class _Answer(msgspec.Struct, gc=False):
    usage: MediaUsage | None = None
    data: list[msgspec.Raw] | None = None
    results: list[msgspec.Raw] | None = None
    size: str | None = None
    duration: Decimal | None = None
    meta: _Meta | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: str | None = None
    usage: MediaUsage | None = None
    size: str | None = None
    error: msgspec.Raw = msgspec.Raw()
    message: str | None = None


_ANSWER = msgspec.json.Decoder(_Answer, strict=False)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_EVENT = msgspec.json.Decoder(_Event, strict=False)


def _with_images(usage: Usage | None, request: CallRequest, images: int, size: str | None) -> Usage:
    """Add how many images there are, in the size that the answer tells, else in the one that was asked for."""
    asked = request.units
    pixels = (asked.pixels or 0) // (asked.images or 1) if size is None else pixels_of(size)
    return msgspec.structs.replace(
        usage or Usage(),
        images=images,
        pixels=images * pixels,
        # All that an image model generates is image, where it does not tell its words apart.
        image_output_tokens=usage.output_tokens
        if usage is not None and usage.image_output_tokens is None
        else usage and usage.image_output_tokens,
    )


def _with_searches(usage: Usage | None, meta: _Meta | None) -> Usage | None:
    """Add what Cohere bills."""
    billed = None if meta is None or meta.billed_units is None else media_usage(meta.billed_units, None)
    return usage if billed is None else billed


def _as_ranks(body: bytes, answer: _Answer, usage: Usage | None) -> bytes:
    """Return ranks in Cohere's shape, where they came in a list as OpenAI's (Voyage)."""
    if answer.results is not None or not answer.data:
        return body
    tokens = None if usage is None else usage.input_tokens
    told = {"results": answer.data, "meta": {"billed_units": {"total_tokens": tokens}}}
    return msgspec.json.encode({**_FIELDS.decode(body), **told})


def _with_duration(usage: Usage | None, seconds: Decimal) -> Usage | None:
    """Add how long the sound is; what the provider says that it bills goes before it."""
    timed = media_usage(MediaUsage(seconds=seconds), None)
    if timed is None or (usage is not None and usage.milliseconds is not None):
        return usage
    return timed if usage is None else msgspec.structs.replace(usage, milliseconds=timed.milliseconds)


def _drawn(request: CallRequest) -> Usage:
    """Estimate what images are billed as that were not drawn to their end."""
    tokens = (request.max_output_tokens or 0) * request.choices
    return msgspec.structs.replace(
        request.units,
        input_tokens=estimate_input_tokens(request).estimate,
        output_tokens=tokens,
        image_output_tokens=tokens,
    )


def _spoken(request: CallRequest) -> Usage:
    """Estimate what a text is billed as when it is spoken; its characters are exact."""
    characters = request.units.characters or 0
    milliseconds = _SPOKEN_MILLISECONDS_PER_CHARACTER * characters
    tokens = -(-_SPOKEN_TOKENS_PER_SECOND * milliseconds // 1000)
    return Usage(
        input_tokens=-(-characters // 4),
        output_tokens=tokens,
        audio_output_tokens=tokens,
        characters=characters,
        milliseconds=milliseconds,
    )


def _sum(first: Usage, second: Usage) -> Usage:
    pairs = zip(msgspec.structs.astuple(first), msgspec.structs.astuple(second), strict=True)
    sums = [None if one is None and other is None else (one or 0) + (other or 0) for one, other in pairs]
    return Usage(**dict(zip(Usage.__struct_fields__, sums, strict=True)))
