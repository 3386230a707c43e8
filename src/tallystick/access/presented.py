"""Find the key in the headers of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# In order of precedence: ours where a proxy in front uses Authorization itself, then OpenAI's, Anthropic's, Azure's,
# Google's.
_HEADERS: Final = (b"x-litellm-api-key", b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key")


def presented_key(headers: Mapping[bytes, bytes], *, first: bytes | None = None) -> str | None:
    """Return the key that a request presents, None when there is none.

    Header names are in lower case, as in ASGI; the header `first`, when the settings name one, goes before all others.
    """
    for name in _HEADERS if first is None else (first, *_HEADERS):
        value = headers.get(name)
        if value and (token := token_of(value.decode("latin-1"))):
            return token
    return None


def token_of(header_value: str) -> str:
    """Return the key in a header value, which may be preceded by `Bearer`."""
    value = header_value.strip()
    if value[:7].lower() == "bearer ":
        return value[7:].strip()
    return value
