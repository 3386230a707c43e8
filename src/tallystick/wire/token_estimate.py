"""Rough token counts from lengths, for budgets and for calls whose provider reported nothing.

No tokenizer: an estimate must cost microseconds, also for a body of megabytes, and it is never more than an estimate.
"""

from __future__ import annotations

from typing import Final

from tallystick.wire.call_request import CallRequest

_BYTES_PER_TOKEN = 4  # English text and JSON.
_BYTES_PER_TOKEN_BEYOND_ASCII = 3  # UTF-8 of most other scripts: about one token a character.
_BYTES_PER_TOKEN_AT_LEAST = 3  # Numbers and code; text of many short words.
_BYTES_PER_TOKEN_BEYOND_ASCII_AT_LEAST = 2
_CHARACTERS_PER_TOKEN = 4
_TOKENS_PER_MEDIA = 1000  # An image in fair detail, or half a minute of speech.
_BYTES_PER_MEDIA_TOKEN = 1000
_BASE64_MARK = b";base64,"
_MEDIA_MARKS = (_BASE64_MARK, b'"data":"', b'"data": "')
_MEDIA_KEYS = (b'"url"', b'"image_url"', b'"image"', b'"file_data"', b'"data"')
_MEDIA_MAX = 1_000  # More than any model takes; beyond it, all is text. It bounds the time that a body can take.
_MEDIA_TYPE_BYTES_MAX = 200
# No alphabet, but what is outside it: to look for one byte in megabytes takes microseconds, to look at each takes
# milliseconds. A backslash is looked at apart: some clients escape the slash.
_NOT_BASE64 = tuple(
    bytes((code,)) for code in range(0x20, 0x80) if not chr(code).isalnum() and chr(code) not in '+/="\\'
)
# What is sent by address or id can't be seen. A part says its name twice, as type and as key, so it counts 4,000: a
# picture in full detail takes up to 1,445 tokens (tiles of 512 pixels), 1,600 (a token per 750 pixels) or 3,800 (1,536
# patches times 2.5), by provider. A file of many pages takes more: only its provider can know.
_TOKENS_PER_MEDIA_NAME_AT_MOST = 2_000


class InputTokens:
    """The tokens of a whole request."""

    __slots__ = ("_text", "_text_bytes", "_tokens", "estimate")

    def __init__(self, text: bytes, *, text_bytes: int, tokens: int) -> None:
        self._text = text
        self._text_bytes = text_bytes
        self._tokens = tokens
        usual = _BYTES_PER_TOKEN if text.isascii() else _BYTES_PER_TOKEN_BEYOND_ASCII
        self.estimate: Final = max(min(1, len(text)), text_bytes // usual + tokens)
        """About so many: what is billed when nobody counted."""

    @property
    def bound(self) -> int:
        """Hardly ever more: what a budget is asked for. Counted when it is asked: most calls have no budget."""
        least = _BYTES_PER_TOKEN_AT_LEAST if self._text.isascii() else _BYTES_PER_TOKEN_BEYOND_ASCII_AT_LEAST
        names = _TOKENS_PER_MEDIA_NAME_AT_MOST * _media_names(self._text)
        return max(min(1, len(self._text)), self._text_bytes // least + self._tokens + names)


def estimate_input_tokens(request: CallRequest) -> InputTokens:
    """Estimate the tokens of a whole request; encoded images, sound and files count as media, not as text."""
    text, tokens = _without_media(request.said)
    return InputTokens(text, text_bytes=len(text) - request.token_id_bytes, tokens=tokens + request.token_ids)


NO_INPUT: Final = InputTokens(b"", text_bytes=0, tokens=0)
"""Of a call that brings nothing that could be counted."""


def hides_names(raw: bytes) -> bool:
    """Return whether the JSON writes ASCII letters as escapes, so that a name may stand in it unseen.

    Nobody needs to: other scripts, control characters and what HTML forbids have other escapes.
    """
    if b"\\" not in raw or not _has_escaped_letter(raw):
        return False
    # Behind an escaped backslash the same letters are text: source code, or JSON in a string.
    return _has_escaped_letter(raw.replace(b"\\\\", b"//"))


def _has_escaped_letter(raw: bytes) -> bool:
    return b"\\u00" in raw and any(escape in raw for escape in (b"\\u004", b"\\u005", b"\\u006", b"\\u007"))


def _media_names(raw: bytes) -> int:
    """Return how often media are named, which is at least once for each."""
    if hides_names(raw):
        return 2 * raw.count(b"{")  # Each is an object.
    names = raw.count(b'"image_url"') + raw.count(b'"input_audio"')
    if b'"source"' in raw:
        names += 2 * raw.count(b'"source"')  # Anthropic's; it is named once.
    if b'"file' in raw:
        names += sum(map(raw.count, (b'"file"', b'"file_id"', b'"fileUri"', b'"file_uri"')))
    return names


def _without_media(raw: bytes) -> tuple[bytes, int]:
    """Return the request without its encoded media, and the tokens of those. What is in doubt is text."""
    if _BASE64_MARK not in raw and b'"data"' not in raw:
        return raw, 0
    texts: list[bytes] = []
    text_start = media_tokens = found = end = 0
    # Where each mark comes next. No regular expression: it takes ten times as long for a body of megabytes.
    following = {mark: raw.find(mark) for mark in _MEDIA_MARKS}
    while found < _MEDIA_MAX and (following := {mark: place for mark, place in following.items() if place >= 0}):
        mark = min(following, key=following.__getitem__)
        place = following[mark]
        start = place + len(mark)
        found += 1
        if mark != _BASE64_MARK and raw.startswith(b"data:", start):
            pass  # A whole data URL: the other mark follows.
        elif place >= end:
            end = raw.find(b'"', start)
            end = len(raw) if end < 0 else end
            if (mark != _BASE64_MARK or _is_data_url(raw, place)) and _is_base64(raw, start, end):
                texts.append(raw[text_start:start])
                text_start = end
                media_tokens += _TOKENS_PER_MEDIA + (end - start) // _BYTES_PER_MEDIA_TOKEN
        following[mark] = raw.find(mark, max(start, end))
    if not texts:
        return raw, 0
    return b"".join((*texts, raw[text_start:])), media_tokens


def _is_data_url(raw: bytes, mark: int) -> bool:
    """Return whether the string that the mark stands in is a data URL, where media are given."""
    quote = raw.rfind(b'"', max(0, mark - _MEDIA_TYPE_BYTES_MAX), mark)
    if quote < 0 or not raw.startswith(b"data:", quote + 1):
        return False
    before = raw[max(0, quote - 32) : quote].rstrip()
    return before.endswith(b":") and before[:-1].rstrip().endswith(_MEDIA_KEYS)


def _is_base64(raw: bytes, start: int, end: int) -> bool:
    if any(raw.find(byte, start, end) >= 0 for byte in _NOT_BASE64):
        return False
    if raw.find(b"\\", start, end) >= 0 and raw.count(b"\\", start, end) != raw.count(b"\\/", start, end):
        return False
    return raw[start:end].isascii()


def estimate_output_tokens(characters: int) -> int:
    """Estimate the tokens of generated text from its length."""
    return -(-characters // _CHARACTERS_PER_TOKEN)
