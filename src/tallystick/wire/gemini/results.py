"""Results of tools in Gemini's dialect, where they are JSON objects; elsewhere they are text."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

_RESULT: Final = "result"
_ERROR: Final = "error"
_WRAPPERS: Final = frozenset((_RESULT, "output", _ERROR))
"""Names under which a result stands alone in its object."""

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)


class ReadResult(NamedTuple):
    """A result as text."""

    text: str
    is_error: bool


def write_result(text: str, *, is_error: bool) -> msgspec.Raw:
    """Return the object: the text itself where it is one, else one around it."""
    if not is_error:
        fields = _fields(text.encode())
        if fields is not None and not _wraps(fields):
            return msgspec.Raw(text.encode())
    return msgspec.Raw(msgspec.json.encode({_ERROR if is_error else _RESULT: text}))


def read_result(raw: bytes) -> ReadResult:
    """Return what `write_result` was given, and any other object as JSON."""
    fields = _fields(raw)
    if fields is None:
        return ReadResult("" if raw in (b"", b"null") else raw.decode(), is_error=False)
    if not _wraps(fields):
        return ReadResult(raw.decode(), is_error=False)
    name, value = next(iter(fields.items()))
    try:
        return ReadResult(_TEXT.decode(value), is_error=name == _ERROR)
    except msgspec.MsgspecError:
        return ReadResult(bytes(value).decode(), is_error=name == _ERROR)


def _fields(raw: bytes) -> dict[str, msgspec.Raw] | None:
    try:
        return _FIELDS.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _wraps(fields: dict[str, msgspec.Raw]) -> bool:
    return len(fields) == 1 and not _WRAPPERS.isdisjoint(fields)
