"""From a request as its own provider gets it to how the answer is read; and which request an address is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tallystick.wire.anthropic.reading import PASSED_THROUGH
from tallystick.wire.anthropic.request import ANTHROPIC, parse_messages
from tallystick.wire.call_request import MEDIA, UNBILLED, CallRequest, Endpoint
from tallystick.wire.dialect import Reading
from tallystick.wire.form import is_form
from tallystick.wire.media.answer import media_reading
from tallystick.wire.media.request import parse_media, parse_media_form
from tallystick.wire.native_reading import COUNTED
from tallystick.wire.openai.reading import USAGE_HIDDEN, USAGE_SHOWN
from tallystick.wire.openai.request import parse_request
from tallystick.wire.responses.reading import ResponsesReading
from tallystick.wire.responses.request import RESPONSES, parse_responses

Parse = Callable[[Endpoint, bytes], CallRequest]

_CALLS: Final[Mapping[Endpoint, Parse]] = {  # `completions` behind `chat/completions`, whose end it is.
    "chat/completions": parse_request,
    "completions": parse_request,
    "embeddings": parse_request,
    "responses": parse_responses,
    "responses/compact": parse_responses,
    "responses/input_tokens": parse_responses,
    "messages": parse_messages,
    "messages/count_tokens": parse_messages,
}


def request_at(path: str, body: bytes, content_type: str) -> CallRequest | None:
    """Return the call that a POST to a provider makes; None when it is none that is known. Raises BadRequest."""
    for endpoint, parse in _CALLS.items():
        if path.endswith("/" + endpoint):
            return parse(endpoint, body)
    for endpoint in MEDIA:
        if path.endswith("/" + endpoint):
            if is_form(content_type):
                return parse_media_form(endpoint, body, content_type=content_type, model_in_path=None)
            return parse_media(endpoint, body)
    return None


def reading_of(request: CallRequest, *, hides_usage: bool) -> Reading:
    """Return how the answer of a provider that speaks the caller's dialect is read."""
    if request.endpoint in UNBILLED:
        return COUNTED
    if request.endpoint in MEDIA:
        return media_reading(request)
    if request.dialect == ANTHROPIC:
        return PASSED_THROUGH
    if request.dialect == RESPONSES:
        return ResponsesReading()
    return USAGE_HIDDEN if hides_usage else USAGE_SHOWN


def asks_for_usage(request: CallRequest) -> bool:
    """Whether a stream has to be asked for its usage, because its caller has not."""
    return request.endpoint in ("chat/completions", "completions") and request.stream and not request.client_wants_usage
