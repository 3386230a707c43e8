"""Names of fields in Google's JSON, which may be written in two ways: `toolConfig` and `tool_config`."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

_SNAKE_NAME = re.compile(rb'"[a-z]+_[a-z_]+"\s*:')
_OPAQUE: Final = frozenset(
    ("args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema", "labels")
)
"""What is not Google's: values of the caller's, and schemas."""


def with_camel_names(raw: bytes) -> bytes:
    """Return the body with all of Google's fields in the first way."""
    if _SNAKE_NAME.search(raw) is None:
        return raw
    return msgspec.json.encode(_renamed(msgspec.json.decode(raw)))


def _renamed(value: Any) -> Any:  # Any: JSON.
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    if not isinstance(value, dict):
        return value
    out = {}
    for name, item in value.items():
        camel = _camel(name)
        out[camel] = item if camel in _OPAQUE else _renamed(item)
    return out


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others) if first else name
