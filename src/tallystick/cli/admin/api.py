"""The admin API as commands ask it: one request after the other, refusals as errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import msgspec

from tallystick.errors import RequestError, StoreUnavailable, TallystickError

CHANGED_BY: Final = {"litellm-changed-by": "command line"}
"""What the audit says of who changed something, beside the key."""
_MESSAGE_CHARACTERS_MAX: Final = 500


class AdminAPI(Protocol):
    """Where the requests of a command go."""

    async def send(
        self, method: str, path: str, *, query: Mapping[str, object] | None = None, body: object = None
    ) -> Any:  # Any: JSON.
        """Return the answer's JSON. Raises RequestError with the API's own message, StoreUnavailable."""


def target(path: str, query: Mapping[str, object] | None) -> str:
    """Return path and query as a request line has them. What is None is left out."""
    given = {name: _text_of(value) for name, value in (query or {}).items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def content_of(status: int, body: bytes) -> Any:  # Any: JSON.
    """Return the JSON of a good answer. Raises RequestError, StoreUnavailable for the others."""
    try:
        content: Any = msgspec.json.decode(body)  # Any: JSON.
    except (msgspec.DecodeError, UnicodeDecodeError):
        content = None
    if 200 <= status < 300 and content is not None:
        return content
    error = content.get("error") if isinstance(content, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    if not isinstance(message, str):
        raise TallystickError(
            f"The answer (status {status}) is not that of an admin API: {body[:80].decode(errors='replace')!r}"
        )
    message = message[:_MESSAGE_CHARACTERS_MAX]
    if status == StoreUnavailable.http_status:
        raise StoreUnavailable(message)
    raise RequestError(message)


def _text_of(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
