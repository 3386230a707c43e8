"""OpenAI's Responses API as callers speak it: Replies become responses, deltas become its events."""

from __future__ import annotations

import msgspec

from tallystick.errors import TallystickError, Untranslatable
from tallystick.wire.call_request import CallRequest
from tallystick.wire.conversation import Conversation
from tallystick.wire.dialect import RenderedError, StreamWriter
from tallystick.wire.error_envelope import printable, render
from tallystick.wire.reply import Reply
from tallystick.wire.reported import ReportedError
from tallystick.wire.responses.conversation import read_responses_request
from tallystick.wire.responses.object import ended, item_of, response_object
from tallystick.wire.responses.request import RESPONSES
from tallystick.wire.responses.writer import EventWriter


class ResponsesCaller:
    """The CallerDialect of `/v1/responses`."""

    name = RESPONSES

    def read_request(self, request: CallRequest) -> Conversation:
        """See CallerDialect."""
        if request.endpoint != RESPONSES:
            raise Untranslatable(
                f"The model '{request.model[:256]}' is served in a dialect that has no /v1/{request.endpoint}.",
                param="model",
            )
        return read_responses_request(request.raw)

    def write_reply(self, reply: Reply, *, created: int) -> bytes:
        """See CallerDialect."""
        response = response_object(reply.id, reply.model, created=created)
        items = [item_of(part, number, reply.id) for number, part in enumerate(reply.parts)]
        return _ENCODER.encode(ended(response, items, reply.stop_reason, reply.usage))

    def stream_writer(self, request: CallRequest, *, created: int) -> StreamWriter:  # noqa: ARG002 - nothing of it.
        """See CallerDialect."""
        return EventWriter(created=created)

    def render_error(self, error: TallystickError) -> RenderedError:
        """See CallerDialect."""
        return RenderedError(*render(error))

    def render_stream_error(self, error: TallystickError | ReportedError) -> bytes:
        """See CallerDialect."""
        told = error.error_type if isinstance(error, TallystickError) else error.code or error.type
        event = {
            "type": "error",
            "code": told or "upstream_error",
            "message": printable(error.message),
            "param": None,
            "sequence_number": 0,
        }
        return b"event: error\ndata: " + _ENCODER.encode(event) + b"\n\n"


_ENCODER = msgspec.json.Encoder()
