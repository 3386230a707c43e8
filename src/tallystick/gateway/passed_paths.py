"""What of a caller's request goes on to another address: its path and query, and which of its headers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote, unquote_plus

from tallystick.errors import BadRequest
from tallystick.wire.passed.operations import PREFIXES, Prefix

_PATH_BYTES_MAX: Final = 8 * 1024
_DECODED_TIMES: Final = 4
_NO_NAME: Final = frozenset("/\\#?")
_VISIBLE: Final = re.compile(rb"[\x21-\x7e]*")
_HARMLESS: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/-]*(?:%[0-9A-Fa-f]{2}[A-Za-z0-9._~!$&'()*+,;=:@/-]*)*")
_QUERY: Final = re.compile(r"[\x21\x22\x24-\x7e]*")
_HEADER: Final = re.compile(r"[\x20-\x7e\x80-\xff\t]*")
_OF_THE_CONNECTION: Final = frozenset(
    {"connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-connection", "te",
     "trailer", "transfer-encoding", "upgrade", "accept-encoding"}
)  # fmt: skip
_WHO_CALLS: Final = frozenset(
    {"authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "x-litellm-api-key", "cookie",
     "openai-organization", "openai-project", "x-goog-user-project", "forwarded", "x-real-ip", "via", "origin",
     "referer", "x-amz-security-token", "x-amz-date", "x-amz-content-sha256"}
)  # fmt: skip
"""Who signs in and from where is ours to say, and nobody's business."""
_PREFIXES_OF_OURS: Final = ("x-litellm-", "x-tallystick-", "x-forwarded-")
_ALWAYS: Final = frozenset({"accept", "content-type"})


def find_prefix(path: str) -> tuple[Prefix, str] | None:
    """Return the provider that a path is of, and the rest of it."""
    first, slash, rest = path.removeprefix("/").partition("/")
    for prefix in PREFIXES:
        if first == prefix and slash and rest:
            return prefix, rest
    return None


def checked_path(raw_path: bytes) -> str:
    """Return the path as it stands in the request. Raises BadRequest for one that means another place to anybody.

    Servers differ in how often they undo escapes and what they take for a separator, so that nothing passes that one of
    them might read as a way up or out: dots, empty parts and separators in any disguise.
    """
    if len(raw_path) > _PATH_BYTES_MAX or not _VISIBLE.fullmatch(raw_path):
        raise _wrong_path()
    path = raw_path.decode("ascii")
    if not _HARMLESS.fullmatch(path) or "//" in path:
        raise _wrong_path()
    if not all(map(_stays, path.split("/"))):
        raise _wrong_path()
    return path


def _stays(part: str) -> bool:
    """Whether a part of a path is a name to whoever reads it, however often it undoes escapes."""
    for _ in range(_DECODED_TIMES):
        plain = unicodedata.normalize("NFKC", part)  # A dot or a slash that only looks like one becomes one somewhere.
        if plain.partition(";")[0] in (".", "..") or not _NO_NAME.isdisjoint(plain) or not part.isprintable():
            return False
        try:
            decoded = unquote(part, errors="strict")
        except UnicodeDecodeError:
            return False
        if decoded == part:
            return True
        part = decoded
    return False


def checked_query(query: bytes, *, key: str | None, key_names: Iterable[str] = ()) -> str:
    """Return the query without the caller's key, and without parameters of these names. Raises BadRequest."""
    text = query.decode("latin-1")
    if not _QUERY.fullmatch(text):
        raise BadRequest("The query has characters that must be escaped.")
    without = frozenset(key_names)
    kept = []
    for part in text.split("&") if text else ():
        name, _, value = part.partition("=")
        if unquote_plus(name) not in without and not (key and key in unquote_plus(value)):
            kept.append(part)
    return "&".join(kept)


def passed_headers(
    headers: Mapping[bytes, bytes], *, key: str | None, key_header: bytes | None, all_of_them: bool
) -> dict[str, str]:
    """Return what goes on of a caller's headers: never its key, nor what is of its connection with us."""
    named = {each.strip().lower() for each in headers.get(b"connection", b"").decode("latin-1").split(",")}
    passed = {}
    for raw_name, raw_value in headers.items():
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if not all_of_them and name not in _ALWAYS:
            continue
        if name in _OF_THE_CONNECTION or name in _WHO_CALLS or name in named or name.startswith(_PREFIXES_OF_OURS):
            continue
        if raw_name == key_header or (key and key in value) or not _HEADER.fullmatch(value):
            continue
        passed[name] = value
    return passed


def _wrong_path() -> BadRequest:
    return BadRequest(
        "This path can't be passed on: it must have no empty part, no '.' or '..', and no escaped separator."
    )
