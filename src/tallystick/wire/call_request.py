"""One request of a caller, in whatever dialect: the fields that the gateway needs, and the caller's own bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from tallystick.wire.call_options import NO_OPTIONS, CallOptions
from tallystick.wire.form import Form
from tallystick.wire.usage import Usage

Endpoint = Literal[
    "chat/completions",
    "completions",
    "embeddings",
    "messages",
    "messages/count_tokens",
    "generateContent",
    "countTokens",
    "batchEmbedContents",
    "embedContent",
    "pass_through",
    "responses",
    "responses/compact",
    "responses/input_tokens",
    "images/generations",
    "images/edits",
    "audio/transcriptions",
    "audio/translations",
    "audio/speech",
    "moderations",
    "rerank",
]
"""What is asked for, below `/v1/`; `pass_through`: something of which only the bytes are known."""

NOT_GENERATING: Final[frozenset[Endpoint]] = frozenset(
    (
        "embeddings",
        "messages/count_tokens",
        "countTokens",
        "batchEmbedContents",
        "embedContent",
        "responses/input_tokens",
        "moderations",
        "rerank",
    )
)
"""Endpoints whose answers have no output tokens."""
UNBILLED: Final[frozenset[Endpoint]] = frozenset(("messages/count_tokens", "countTokens", "responses/input_tokens"))
"""Endpoints that no provider charges for."""
MEDIA: Final[frozenset[Endpoint]] = frozenset(
    (
        "images/generations",
        "images/edits",
        "audio/transcriptions",
        "audio/translations",
        "audio/speech",
        "moderations",
        "rerank",
    )
)
"""Endpoints that are no conversations: passed through, and never translated."""


NO_UNITS: Final = Usage()


class CallRequest(msgspec.Struct, kw_only=True):
    """One request. A dialect's `parse_…` makes it; the pipeline, the attribution and the estimates read it."""

    dialect: str
    """The name of a `CallerDialect`: how `raw` is to be read, and how answers and errors are to be written."""
    endpoint: Endpoint
    model: str
    """The name that the caller asked for: a model group, not yet what the upstream calls it."""
    raw: bytes
    stream: bool = False
    client_wants_usage: bool = False
    """The caller asked for usage in the stream (`stream_options.include_usage`), so it must reach it."""
    upstream_headers: Mapping[str, str] = {}
    """Headers of the caller that belong to its dialect, for an upstream that speaks the same: `anthropic-beta` …"""
    stream_content_type: str = ""
    """What a stream is to the caller; '': server-sent events."""
    drop_params: bool | None = None
    """Whether fields that the upstream's dialect can't say are dropped, not refused. None: as configured."""
    options: CallOptions = NO_OPTIONS
    """What the body says of how the call is routed."""
    user: str | None = None
    metadata: dict[str, Any]  # Any: the caller's own JSON.
    litellm_metadata: dict[str, Any]  # Any: the caller's own JSON.
    tags: list[str]
    session_id: str = ""
    safety_identifier: str | None = None
    max_output_tokens: int | None = None
    """For one choice. None: the caller set no limit."""
    choices: int = 1
    """How many answers are generated and billed: `n`, or `best_of` where that is more, for each prompt of a list."""
    token_ids: int = 0
    """How many tokens of the input came as numbers."""
    token_id_bytes: int = 0
    """How many bytes of `raw` those are."""
    mock_response: str | None = None
    previous_response_id: str = ""
    """The earlier response that this one goes on from, by the id that the caller has."""
    upstream_previous_id: str = ""
    """The same by the id that the upstream has; see `calls.response_ids`."""
    is_background: bool = False
    """The upstream is to answer at once, and to generate afterwards."""
    form: Form | None = None
    """Of a body that is a form: where its parts lie in `raw`."""
    form_text: bytes = b""
    """Of a form: what it says in words, as JSON. Its files are not in it."""
    units: Usage = NO_UNITS
    """What is billed besides tokens, as far as the request tells."""
    answer_format: str = ""
    """The `response_format` of sound, the `stream_format` of speech."""

    @property
    def said(self) -> bytes:
        """What the request says in words, as JSON: all of it, but for files."""
        return self.raw if self.form is None else self.form_text
