"""Rough token counts from lengths, for budgets and for calls whose provider reported nothing.

No tokenizer: an estimate must cost microseconds, also for a body of megabytes, and it is never more than an estimate.
"""

from __future__ import annotations

from typing import NamedTuple

from tallystick.wire.openai_request import OpenAIRequest

_BYTES_PER_TOKEN = 4  # English text and JSON.
_BYTES_PER_TOKEN_BEYOND_ASCII = 3  # UTF-8 of most other scripts: about one token a character.
_BYTES_PER_TOKEN_AT_LEAST = 3  # Numbers and code; text of many short words.
_BYTES_PER_TOKEN_BEYOND_ASCII_AT_LEAST = 2
_CHARACTERS_PER_TOKEN = 4
_TOKENS_PER_MEDIA = 1000  # An image in fair detail, or half a minute of speech.
_BYTES_PER_MEDIA_TOKEN = 1000
_MEDIA_MARKS = (b";base64,", b'"data":"', b'"data": "')


class InputTokens(NamedTuple):
    """The tokens of a whole request."""

    estimate: int
    """About so many: what is billed when nobody counted."""
    bound: int
    """Hardly ever more: what a budget is asked for."""


def estimate_input_tokens(request: OpenAIRequest) -> InputTokens:
    """Estimate the tokens of a whole request; encoded images, sound and files count as media, not as text."""
    raw = request.raw
    text_bytes = len(raw)
    media_tokens = 0
    end = 0
    # Where each mark comes next. No regular expression: it takes ten times as long for a body of megabytes.
    following = {mark: raw.find(mark) for mark in _MEDIA_MARKS}
    while following := {mark: place for mark, place in following.items() if place >= 0}:
        mark = min(following, key=following.__getitem__)
        start = following[mark] + len(mark)
        if following[mark] >= end:
            end = raw.find(b'"', start)
            end = len(raw) if end < 0 else end
            if raw.find(b" ", start, end) < 0:  # Else words, not an encoding: somebody writes of it, or hides text.
                text_bytes -= end - start
                media_tokens += _TOKENS_PER_MEDIA + (end - start) // _BYTES_PER_MEDIA_TOKEN
        following[mark] = raw.find(mark, max(start, end))
    usual, least = _BYTES_PER_TOKEN, _BYTES_PER_TOKEN_AT_LEAST
    if not raw.isascii():
        usual, least = _BYTES_PER_TOKEN_BEYOND_ASCII, _BYTES_PER_TOKEN_BEYOND_ASCII_AT_LEAST
    return InputTokens(
        estimate=max(1, text_bytes // usual + media_tokens), bound=max(1, text_bytes // least + media_tokens)
    )


def estimate_output_tokens(characters: int) -> int:
    """Estimate the tokens of generated text from its length."""
    return -(-characters // _CHARACTERS_PER_TOKEN)
