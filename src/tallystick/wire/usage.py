"""Usage: the quantities that a provider bills, in one shape for every dialect."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Quantities of one call. A kind that the provider does not report is None, which is not 0.

    `input_tokens` is the whole prompt, cached parts included; `output_tokens` includes reasoning. The audio and image
    tokens are parts of input or output in the same way; `cache_write_1h_tokens` is a part of `cache_write_tokens`.
    `audio_cache_read_tokens` is a part of `cache_read_tokens`, and not of `audio_input_tokens`, where a provider tells.
    `pixels` are those of all images; `searches` are also the search units of a rerank,
    `file_searches` those in the provider's own stores, `code_sessions` the containers in which code was run.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_cache_read_tokens: int | None = None
    audio_output_tokens: int | None = None
    image_input_tokens: int | None = None
    image_output_tokens: int | None = None
    images: int | None = None
    milliseconds: int | None = None
    searches: int | None = None
    characters: int | None = None
    pixels: int | None = None
    file_searches: int | None = None
    code_sessions: int | None = None
