"""Usage as the endpoints for images, sound and ranks report it, brought into one shape."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from tallystick.wire.usage import Usage

_COUNT_MAX: Final = 1_000_000_000  # Above any model's limit: such a number is garbled.


class _Details(msgspec.Struct, gc=False):
    audio_tokens: int | None = None
    image_tokens: int | None = None
    cached_tokens: int | None = None


class MediaUsage(msgspec.Struct, gc=False, kw_only=True):
    """The `usage` object with the fields of every dialect, and Cohere's `billed_units`."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: _Details | None = None
    input_token_details: _Details | None = None
    output_tokens_details: _Details | None = None
    seconds: Decimal | None = None
    prompt_audio_seconds: Decimal | None = None  # Mistral's
    search_units: int | None = None
    search_queries: int | None = None


def media_usage(reported: MediaUsage | None, known: Usage | None) -> Usage | None:
    """Return the quantities in our terms; `known` are those that OpenAI's other endpoints report by other names.

    None when nothing was counted. Counts below 0 or beyond any model are left out.
    """
    if reported is None:
        return known
    inputs = reported.input_tokens_details or reported.input_token_details or _Details()
    outputs = reported.output_tokens_details or _Details()
    input_tokens = reported.input_tokens
    if input_tokens is None and reported.output_tokens is None and (known is None or known.input_tokens is None):
        input_tokens = reported.total_tokens  # Of ranks, which have no output.
    seconds = reported.prompt_audio_seconds if reported.seconds is None else reported.seconds
    searches = reported.search_queries if reported.search_units is None else reported.search_units
    found = {
        "input_tokens": input_tokens,
        "output_tokens": reported.output_tokens,
        "cache_read_tokens": inputs.cached_tokens,
        "audio_input_tokens": inputs.audio_tokens,
        "image_input_tokens": inputs.image_tokens,
        "audio_output_tokens": outputs.audio_tokens,
        "image_output_tokens": outputs.image_tokens,
        "milliseconds": None if seconds is None or not seconds.is_finite() else round(seconds * 1000),
        "searches": searches,
    }
    counted = {name: count for name, count in found.items() if count is not None and 0 <= count <= _COUNT_MAX}
    if not counted:
        return known
    return Usage(**counted) if known is None else msgspec.structs.replace(known, **counted)
