"""Translation of one call between the dialect of its caller and that of its upstream.

What can't be said in the other dialect is handled by one rule. A field that only hints (caching, ids, what is kept
where, who the user is) goes where it can go and is dropped silently elsewhere. A field that changes the answer is
refused with 400, which names it, unless `drop_params` is set: in the request, on the deployment (`litellm_params`), or
for all (`litellm_settings`); the first that says anything decides. Parts of an answer that the caller's dialect has no
place for are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tallystick.errors import Untranslatable, UpstreamGarbled, UpstreamRefused
from tallystick.wire.call_request import CallRequest
from tallystick.wire.conversation import Written
from tallystick.wire.dialect import CallerDialect, ContentTypes, PlainReading, StreamMeter, UpstreamDialect
from tallystick.wire.reply import Delta, Ended
from tallystick.wire.reported import AnswerFacts, ReportedError
from tallystick.wire.stream_tally import StreamTally

_CONTENT_TYPES = ContentTypes(plain="application/json", stream="text/event-stream; charset=utf-8")
_CUT_OFF = ReportedError(message="The upstream's stream ended before the answer did.", type="upstream_error")


def translate(
    request: CallRequest, caller: CallerDialect, upstream: UpstreamDialect, *, model: str, drop_params: bool
) -> Written:
    """Return the request as the upstream is to get it. `drop_params` is what is configured; the request's wins.

    Raises BadRequest for a request that is wrong, and Untranslatable for one that the upstream's dialect can't say.
    """
    conversation = caller.read_request(request)
    written = upstream.write_request(conversation, model=model)
    refuse_unsaid(request, (*conversation.unsaid, *written.unsaid), dialect=upstream.name, drop_params=drop_params)
    return written


def refuse_unsaid(request: CallRequest, unsaid: Sequence[str], *, dialect: str, drop_params: bool) -> None:
    """Raise Untranslatable, which names what a dialect can't say, unless it is to be dropped; see `translate`."""
    drops = drop_params if request.drop_params is None else request.drop_params
    if unsaid and not drops:
        fields = ", ".join(f"'{field}'" for field in unsaid)
        raise Untranslatable(
            f"The model '{request.model[:256]}' is served in the dialect '{dialect}', which can't say {fields}: "
            "leave it out, or set drop_params to have it dropped.",
            param=unsaid[0],
        )


def _refusal(error: ReportedError, body: bytes, dialect: str) -> UpstreamRefused:
    """Return the error that an answer with status 200 is: other dialects have no such answers."""
    status = int(error.code) if error.code.isdecimal() and 400 <= int(error.code) <= 599 else 502
    return UpstreamRefused(
        error.message or None,
        status=status,
        body=body,
        content_type=_CONTENT_TYPES.plain,
        dialect=dialect,
        reported_type=error.type,
    )


class TranslatedReading:
    """The Reading of an answer that comes in another dialect than the caller's."""

    __slots__ = ("_caller", "_now_seconds", "_request", "_upstream")

    def __init__(
        self,
        request: CallRequest,
        caller: CallerDialect,
        upstream: UpstreamDialect,
        *,
        now_seconds: Callable[[], int],
    ) -> None:
        self._request = request
        self._caller = caller
        self._upstream = upstream
        self._now_seconds = now_seconds

    @property
    def content_types(self) -> ContentTypes:
        """See Reading."""
        own = self._request.stream_content_type
        return _CONTENT_TYPES if not own else _CONTENT_TYPES._replace(stream=own)

    def read_plain(self, body: bytes) -> PlainReading:
        """See Reading."""
        reply = self._upstream.read_reply(body)
        facts = AnswerFacts(reply.usage, reply.id, reply.model, reply.reported_cost_nano_usd, reply.error)
        if reply.error is not None and not reply.parts:
            return PlainReading(facts, body, _refusal(reply.error, body, self._upstream.name))
        return PlainReading(facts, self._caller.write_reply(reply, created=self._now_seconds()))

    def meter(self) -> StreamMeter:
        """See Reading."""
        return TranslatedStream(self._request, self._caller, self._upstream, created=self._now_seconds())


class TranslatedStream(StreamTally):
    """The meter of a stream that is read in one dialect and written in another; see StreamMeter."""

    __slots__ = ("_caller", "_reader", "_writer")

    def __init__(self, request: CallRequest, caller: CallerDialect, upstream: UpstreamDialect, *, created: int) -> None:
        super().__init__()
        self._caller = caller
        self._reader = upstream.stream_reader()
        self._writer = caller.stream_writer(request, created=created)

    def feed(self, chunk: bytes) -> bytes:
        """Return what the next bytes mean in the caller's dialect."""
        out = b""
        for delta in self._reader.feed(chunk):
            if self.saw_done:
                break
            self.note(delta)
            out += self._writer.write(delta)
        return out

    def finish(self) -> bytes:
        """Return the end, or the error that stands in its place."""
        out = b""
        if not self.saw_done:
            for delta in (*self._rest(), Ended()):
                self.note(delta)
                out += self._writer.write(delta)
        if self.error is None and not self.has_stopped:
            self.error = _CUT_OFF
        if self.error is not None:
            return out + self._caller.render_stream_error(self.error)
        return out + self._writer.finish()

    def _rest(self) -> Sequence[Delta]:
        try:
            return self._reader.finish()
        except UpstreamGarbled:  # Half an event: the stream was cut off.
            return ()

    @property
    def unscanned_events(self) -> int:
        return self._reader.unscanned_events
