"""What a call asked, as callbacks are told: the body without what signs in, the messages, and the parameters."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from tallystick.control.secret_names import looks_secret
from tallystick.wire.call_request import CallRequest

REDACTED: Final = "redacted-by-litellm"
"""The word that LiteLLM's consumers know."""
_INPUTS: Final = ("messages", "input", "prompt", "contents", "content", "requests", "query")
"""The fields that hold what is asked, in the order in which they are looked for."""
_NO_PARAMETERS: Final = frozenset(
    ("model", "metadata", "litellm_metadata", "user", "tags", "api_base", "base_url", "headers", "extra_headers")
)
_BODY: Final = msgspec.json.Decoder(dict[str, Any])  # Any: the caller's own JSON.


class Asked(NamedTuple):
    """One request, read."""

    body: dict[str, Any]  # Any: JSON, here and below.
    messages: Any
    """What stands in `messages`, else in `input`, `prompt` …"""
    parameters: dict[str, Any]


def read_asked(request: CallRequest, *, redacts: bool) -> Asked:
    """Read a request once more. With `redacts` nothing that was said is in it, and of parameters only numbers."""
    try:
        body = _BODY.decode(request.said)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # Passed through, and no JSON object.
        body = {}
    body = {name: value for name, value in body.items() if not looks_secret(name)}
    said = next((name for name in _INPUTS if name in body), "")
    parameters = {name: value for name, value in body.items() if name != said and name not in _NO_PARAMETERS}
    if not redacts:
        return Asked(body, body.get(said), parameters)
    parameters = {name: value for name, value in parameters.items() if isinstance(value, bool | int | float)}
    return Asked({}, [{"role": "user", "content": REDACTED}], parameters)
