"""Where a caller's key may stand in a request."""

from __future__ import annotations

from collections.abc import Mapping

_HEADERS = (b"x-litellm-api-key", b"x-api-key", b"api-key")
_BEARER = b"bearer "


def presented_key(headers: Mapping[bytes, bytes], *, extra_header: bytes | None) -> str | None:
    """Return the key that a request presents, None when there is none.

    `Authorization: Bearer` first, then the headers that other dialects' clients use; a header named in the settings
    goes before all of them.
    """
    if extra_header is not None and (value := headers.get(extra_header)):
        return _without_scheme(value)
    authorization = headers.get(b"authorization")
    if authorization:
        return _without_scheme(authorization)
    for name in _HEADERS:
        if value := headers.get(name):
            return _without_scheme(value)
    return None


def _without_scheme(value: bytes) -> str:
    if value[:7].lower() == _BEARER:
        value = value[7:]
    return value.strip().decode("latin-1")
