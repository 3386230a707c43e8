"""Grams: what makes a part of a name findable by an index.

From each place of a text its next three characters make one gram (fewer at the end). What contains a text of three or
more characters has all of its grams; what contains a shorter one has a gram that begins with it. So grams find
candidates, which are then compared in full. A gram is written as the hexadecimal digits of its UTF-8: a word that every
engine takes as it is, and the beginning of a gram stays the beginning of its word.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from tallystick.control.objects import Kind

_LENGTH = 3
_WANTED_MAX = 32


def grams_of(kind: Kind, texts: Iterable[str]) -> list[str]:
    """Return the words under which an object is filed: one for its kind, and the grams of its texts."""
    grams = {text[start : start + _LENGTH] for text in texts for start in range(len(text))}
    return [_kind_word(kind), *sorted(gram.encode().hex() for gram in grams)]


def wanted_words(kind: Kind, needle: str, *, prefix_mark: str) -> list[str]:
    """Return the words that an object of this kind has if the needle is a part of its texts: at most 33.

    A needle too short for a whole gram is the beginning of one, which `prefix_mark` says in the engine's language.
    """
    if len(needle) < _LENGTH:
        return [_kind_word(kind), needle.encode().hex() + prefix_mark]
    grams = dict.fromkeys(needle[start : start + _LENGTH] for start in range(len(needle) - _LENGTH + 1))
    return [_kind_word(kind), *(gram.encode().hex() for gram in islice(grams, _WANTED_MAX))]


def _kind_word(kind: Kind) -> str:
    """Return the word for a kind. No gram has a 'z'."""
    return "z" + kind.replace("_", "")
