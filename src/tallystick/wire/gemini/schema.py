"""Gemini's own schemas of parameters and answers, which are a dialect of OpenAPI's, as JSON schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

_COUNTS: Final[Mapping[str, str]] = {
    "minItems": "minItems",
    "maxItems": "maxItems",
    "minLength": "minLength",
    "maxLength": "maxLength",
    "minProperties": "minProperties",
    "maxProperties": "maxProperties",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
}
"""Numbers, which may come as text, in both spellings."""
_LEFT_OUT: Final = frozenset(("propertyOrdering", "property_ordering", "nullable"))
_LISTS: Final[Mapping[str, str]] = {"anyOf": "anyOf", "any_of": "anyOf"}


def json_schema(given: msgspec.Raw) -> msgspec.Raw:
    """Return a schema of Gemini's as a JSON schema; one that is no object as it is."""
    raw = bytes(given)
    if not raw or raw == b"null":
        return msgspec.Raw()
    schema = msgspec.json.decode(raw)
    return msgspec.Raw(msgspec.json.encode(_converted(schema))) if isinstance(schema, dict) else given


def _converted(schema: Any) -> Any:  # Any: JSON.
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}  # Any: JSON.
    for name, value in schema.items():
        if name in _LEFT_OUT or value == "TYPE_UNSPECIFIED":
            continue
        if name == "type" and isinstance(value, str):
            out[name] = value.lower()
        elif name == "properties" and isinstance(value, dict):
            out[name] = {key: _converted(each) for key, each in value.items()}
        elif name in _LISTS and isinstance(value, list):
            out[_LISTS[name]] = [_converted(each) for each in value]
        elif name in _COUNTS:
            out[_COUNTS[name]] = int(value) if isinstance(value, str) and value.isdecimal() else value
        elif name == "items":
            out[name] = _converted(value)
        else:
            out[name] = value
    if schema.get("nullable") is True and isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
    return out
