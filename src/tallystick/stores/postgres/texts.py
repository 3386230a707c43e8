"""Texts that PostgreSQL can't hold: it has none with them, so there is nothing to ask it."""

from __future__ import annotations

from collections.abc import Iterable


def holdable(text: str) -> bool:
    """Whether a column can hold this text: it has no NUL, and no half of a surrogate pair."""
    if "\x00" in text:
        return False
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def holdable_only(texts: Iterable[str]) -> list[str]:
    """Return those that a column can hold."""
    return [text for text in texts if holdable(text)]
