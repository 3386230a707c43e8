"""The key of an answer: a hash of all that changes it, and of who may have it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from tallystick.access.principal import Principal
from tallystick.wire.call_request import CallRequest

CacheScope = Literal["key", "team", "organization", "everybody"]

_VERSION: Final = 1
_UNHASHED: Final = frozenset((
    "cache", "caching", "content_policy_fallbacks", "context_window_fallbacks", "default_fallbacks",
    "disable_fallbacks", "fallbacks", "litellm_call_id", "litellm_metadata", "litellm_session_id", "litellm_trace_id",
    "max_fallbacks", "max_retries", "metadata", "model", "no-log", "num_retries", "stream_timeout", "tags", "timeout",
))  # fmt: skip
"""Fields that say who calls and how the call is routed. All others are hashed, those too that nobody knows."""


def scope_of(principal: Principal, scope: CacheScope) -> tuple[str, str]:
    """Return who shares answers with a caller. No one else ever gets them, whatever namespace is named."""
    if scope == "everybody":
        return ("everybody", "")
    if scope == "organization" and principal.organization_id:
        return ("organization", principal.organization_id)
    if scope != "key":
        if principal.team_id:
            return ("team", principal.team_id)
        if principal.user_id:
            return ("user", principal.user_id)
    return ("key", principal.key_hash)


def cache_key(
    request: CallRequest,
    *,
    scope: tuple[str, str],
    namespace: str,
    model_group: str,
    model_team_id: str,
    tags: Sequence[str],
) -> str | None:
    """Return the key of the answer to a request; None for a body that can't be read.

    `model_team_id` is the team whose own model it is; `tags` are given where they choose the deployment.
    """
    try:
        body = _DECODER.decode(request.raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    asked = {name: value for name, value in body.items() if name not in _UNHASHED}
    whole = (
        _VERSION,
        scope,
        namespace,
        (model_group, model_team_id, sorted(tags)),
        (request.endpoint, request.dialect, request.stream, request.stream_content_type),
        dict(request.upstream_headers),
        asked,
    )
    try:
        text = _ENCODER.encode(whole)
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
        return None
    return hashlib.sha256(text).hexdigest()


_DECODER = msgspec.json.Decoder(dict[str, Any])  # Any: the caller's own JSON.
_ENCODER = msgspec.json.Encoder(order="sorted")
