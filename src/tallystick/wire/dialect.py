"""The two sides of a dialect. An `UpstreamDialect` is how a provider is spoken to, a `CallerDialect` how callers speak.

    caller's request ── CallerDialect.read_request ──> Conversation ── UpstreamDialect.write_request ──> to the upstream
    caller's answer <── CallerDialect.write_reply ──── Reply <──────── UpstreamDialect.read_reply ────── from it
    caller's stream <── StreamWriter ───────────────── deltas <─────── StreamReader ──────────────────── from it

Where both speak the same, nothing of this is used: bytes pass through, and a `Reading` of that dialect only looks.
All of it is pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from tallystick.errors import TallystickError, UpstreamRefused
from tallystick.wire.call_request import CallRequest
from tallystick.wire.conversation import Conversation, Written
from tallystick.wire.reply import Delta, Reply
from tallystick.wire.reported import AnswerFacts, ReportedError
from tallystick.wire.usage import Usage


class UpstreamDialect(Protocol):
    """How conversations go out: one per family of providers."""

    @property
    def name(self) -> str:
        """A caller whose dialect has the same name is passed through."""

    def write_request(self, conversation: Conversation, *, model: str) -> Written:
        """Say it in this dialect; what can't be said is left out and named. Raises Untranslatable for the rest."""

    def read_reply(self, body: bytes) -> Reply:
        """Read a whole answer. Raises UpstreamGarbled when it is none."""

    def stream_reader(self) -> StreamReader:
        """Return a reader for one stream."""

    def read_refusal(self, body: bytes) -> ReportedError:
        """Read the body of an answer with an error status; a body that is none of this dialect gives its text."""


class CallerDialect(Protocol):
    """How callers speak: one per family of endpoints."""

    @property
    def name(self) -> str:
        """As in `CallRequest.dialect`."""

    def read_request(self, request: CallRequest) -> Conversation:
        """Read a request. Raises BadRequest naming the field; Untranslatable when it is no conversation."""

    def write_reply(self, reply: Reply, *, created: int) -> bytes:
        """Return the body of a plain answer; `created` is the time in seconds."""

    def stream_writer(self, request: CallRequest, *, created: int) -> StreamWriter:
        """Return a writer for one stream."""

    def render_error(self, error: TallystickError) -> RenderedError:
        """Return the answer that tells a caller about an error."""

    def render_stream_error(self, error: TallystickError | ReportedError) -> bytes:
        """Return the event that tells of an error in a stream that has begun."""


class RenderedError(NamedTuple):
    """An error as an answer."""

    status: int
    body: bytes
    headers: dict[str, str]


class StreamReader(Protocol):
    """Reads one upstream's stream: bytes in any pieces, deltas out."""

    @property
    def unscanned_events(self) -> int:
        """How many events were too long to read."""

    def feed(self, chunk: bytes) -> Sequence[Delta]:
        """Take the next bytes. Raises UpstreamGarbled when they are no stream of this dialect."""

    def finish(self) -> Sequence[Delta]:
        """The bytes are over: return what was still held back, [] if nothing."""


class StreamWriter(Protocol):
    """Writes one stream for a caller: deltas in, bytes of server-sent events out."""

    def write(self, delta: Delta) -> bytes:
        """Return the bytes that may leave now; the end of the stream is not among them."""

    def finish(self) -> bytes:
        """Return the end of the stream: why it stopped, usage if it is to be told, and the last event."""


class StreamMeter(Protocol):
    """What a metered stream runs on: it takes the upstream's bytes, returns the caller's, and counts on the way."""

    @property
    def usage(self) -> Usage | None:
        """What the provider reported for the whole call."""

    @property
    def reported_cost_nano_usd(self) -> int | None:
        """What it says that the call costs."""

    @property
    def response_id(self) -> str:
        """The provider's id of the answer."""

    @property
    def error(self) -> ReportedError | None:
        """What it says went wrong."""

    @property
    def output_characters(self) -> int:
        """Length of what was generated; for an estimate where usage is missing."""

    @property
    def saw_done(self) -> bool:
        """Whether the stream's end has come, whatever bytes follow."""

    @property
    def is_whole(self) -> bool:
        """Whether the answer came to its end, and not only the bytes to theirs; asked when the stream is over."""

    @property
    def unscanned_events(self) -> int:
        """How many events were too long to read."""

    @property
    def begun_usage(self) -> Usage | None:
        """What the provider counted before it generated: a better estimate of the input than ours."""

    @property
    def first_content(self) -> bool:
        """Whether anything generated has come yet."""

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes from the upstream and return those that may go to the caller now."""

    def finish(self) -> bytes:
        """Return the end of the stream, which `feed` held back."""


class PlainReading(NamedTuple):
    """A plain answer, read: what the ledger needs, and the body for the caller."""

    facts: AnswerFacts
    body: bytes
    refusal: UpstreamRefused | None = None
    """What the caller gets in place of the body: the answer is an error, which its dialect tells by a status."""


class ContentTypes(NamedTuple):
    """The content types of answers."""

    plain: str
    stream: str


class Reading(Protocol):
    """How the answer to one request is read and handed on."""

    @property
    def content_types(self) -> ContentTypes | None:
        """What the caller is told; None: what the upstream said."""

    def read_plain(self, body: bytes) -> PlainReading:
        """Read a plain answer. Raises UpstreamGarbled when it is none."""

    def meter(self) -> StreamMeter:
        """Return the meter of a streamed answer."""
