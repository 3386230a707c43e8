"""Keep secrets out of log lines: every value is looked at, wherever it stands in the event."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

TEXT_LENGTH_MAX: Final = 16_384
_DEPTH_MAX: Final = 6
_ITEMS_MAX: Final = 100
_MASK: Final = "***"
_SECRET_FIELDS: Final = frozenset((
    "api-key", "api_key", "authorization", "cookie", "credential", "master_key", "password", "proxy-authorization",
    "secret", "set-cookie", "x-api-key", "x-litellm-api-key",
))  # fmt: skip
_SECRETS: Final = (
    # Keys of ours and of most providers. The lookbehind spares words such as 'task-…'.
    (re.compile(r"(?<![A-Za-z0-9])(sk|pk|rk|xai|gsk|hf)([-_])[A-Za-z0-9_-]{8,}"), r"\1\2" + _MASK),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 " + _MASK),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?"), _MASK),
    # The password inside an address, such as a database's.
    (re.compile(r"(://[^/\s:@]*):[^@\s/]+@"), r"\1:" + _MASK + "@"),
)


def mask_secrets(value: Any, *, depth: int = 0) -> Any:  # Any: whatever somebody logs.
    """Return `value` with everything masked that looks like a credential, and cut where it is too large for a log."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return mask_text(value)
    if depth >= _DEPTH_MAX:
        return "…"
    if isinstance(value, Mapping):
        items = list(value.items())[:_ITEMS_MAX]
        return {str(name): _mask_field(str(name), item, depth) for name, item in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask_secrets(item, depth=depth + 1) for item in list(value)[:_ITEMS_MAX]]
    return mask_text(_text_of(value))


def mask_text(text: str) -> str:
    """Return `text` without its credentials, and not longer than a log line should be."""
    if len(text) > TEXT_LENGTH_MAX:
        text = f"{text[:TEXT_LENGTH_MAX]}… ({len(text)} characters)"
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _mask_field(name: str, value: Any, depth: int) -> Any:  # Any: as above.
    return _MASK if name.lower() in _SECRET_FIELDS and value else mask_secrets(value, depth=depth + 1)


def _text_of(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value[: TEXT_LENGTH_MAX * 4]).decode("utf-8", "replace")
    return str(value)
