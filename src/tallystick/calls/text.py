"""Texts that come from outside, made fit to be kept: no NUL characters, no lone surrogates, no unbounded length."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

ID_CHARACTERS_MAX = 256
MESSAGE_CHARACTERS_MAX = 1000
TAGS_MAX = 32
METADATA_DEPTH_MAX = 64
_DIGEST_CHARACTERS = 16


def clean_text(text: str, characters_max: int = MESSAGE_CHARACTERS_MAX) -> str:
    """Return `text` cut to a length, with what a database refuses replaced by U+FFFD."""
    if len(text) > characters_max:
        text = text[:characters_max]
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def clean_id(text: str) -> str:
    """Return an id fit to be part of a key. One that is too long keeps its start and gets a digest of the whole.

    So two long ids never become one entity because they begin alike.
    """
    if not text:
        return text
    if len(text) <= ID_CHARACTERS_MAX:
        return clean_text(text, ID_CHARACTERS_MAX)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{clean_text(text, ID_CHARACTERS_MAX - _DIGEST_CHARACTERS - 1)}~{digest}"


def clean_tags(tags: list[str]) -> tuple[str, ...]:
    """Return the distinct, non-empty tags in their order, at most TAGS_MAX."""
    cleaned = dict.fromkeys(clean_id(tag) for tag in tags if tag)
    return tuple(cleaned)[:TAGS_MAX]


def clean_metadata(metadata: Mapping[str, Any], bytes_max: int) -> dict[str, Any]:  # Any: the caller's own JSON.
    """Return metadata fit to be kept; one that is too large (as JSON) or nested too deeply becomes a note of that.

    Whoever reads the event later stands deeper in its stack than we do: what we can just decode, it could not.
    """
    if not metadata:
        return {}
    try:
        encoded = msgspec.json.encode(metadata)
        if len(encoded) > bytes_max:
            return {"dropped": f"metadata of {len(encoded)} bytes; the limit is {bytes_max}"}
        if encoded.count(b"[") + encoded.count(b"{") > METADATA_DEPTH_MAX and _is_deep(metadata, METADATA_DEPTH_MAX):
            return {"dropped": f"metadata nested more than {METADATA_DEPTH_MAX} levels deep"}
        if b"\\u0000" not in encoded and _LARGE_INTEGER.search(encoded) is None:
            return dict(metadata)
        cleaned = _clean_value(metadata)
    except (UnicodeEncodeError, RecursionError, msgspec.MsgspecError):
        return {"dropped": "metadata that can't be kept as JSON text"}
    assert isinstance(cleaned, dict)
    return cleaned


_LARGE_INTEGER = re.compile(rb"\d{19}")
_INTEGER_MAX = 2**63 - 1


def _is_deep(value: object, levels: int) -> bool:
    """Whether a JSON value is nested more than so many levels deep."""
    if isinstance(value, Mapping):
        return levels == 0 or any(_is_deep(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels == 0 or any(_is_deep(item, levels - 1) for item in value)
    return False


def _clean_value(value: object) -> object:
    """Return a JSON value without NUL characters; integers beyond 64 bits become their digits."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, Mapping):
        return {str(key).replace("\0", "\ufffd"): _clean_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean_value(item) for item in value]
    if isinstance(value, int) and abs(value) > _INTEGER_MAX:
        return str(value)
    return value
