"""Bedrock's stop reasons and exceptions, in the words of all dialects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from tallystick.wire.error_envelope import type_of_status
from tallystick.wire.reply import StopReason
from tallystick.wire.reported import ReportedError

_STOPS: Final[Mapping[str, StopReason]] = {
    "end_turn": "end",
    "tool_use": "tool_calls",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "guardrail_intervened": "refusal",
    "content_filtered": "refusal",
    "model_context_window_exceeded": "context_full",
}
_STATUSES: Final[Mapping[str, int]] = {
    "accessdeniedexception": 403,
    "internalserverexception": 500,
    "modelerrorexception": 424,
    "modelnotreadyexception": 429,
    "modelstreamerrorexception": 424,
    "modeltimeoutexception": 408,
    "resourcenotfoundexception": 404,
    "servicequotaexceededexception": 400,
    "serviceunavailableexception": 503,
    "throttlingexception": 429,
    "validationexception": 400,
}
"""What Bedrock answers with where it can still choose a status: in a stream, it has answered 200 already."""


def stop_reason(reason: str | None) -> StopReason | None:
    """Return why the model stopped; what is not known is an end like others."""
    return None if reason is None else _STOPS.get(reason, "end")


def read_stop_sequence(own_fields: msgspec.Raw) -> str | None:
    """Return the sequence that stopped the model, which some tell in fields of their own."""
    try:
        return _OWN_FIELDS.decode(own_fields).stop_sequence
    except msgspec.MsgspecError:
        return None


def reported_exception(name: str, message: str) -> ReportedError:
    """Return an exception that Bedrock names, as `throttlingException` or `ThrottlingException`."""
    status = _STATUSES.get(name.lower(), 502)
    return ReportedError(message or name or "The upstream failed.", type=type_of_status(status), code=str(status))


class _OwnFields(msgspec.Struct, gc=False):
    stop_sequence: str | None = None


_OWN_FIELDS = msgspec.json.Decoder(_OwnFields)
