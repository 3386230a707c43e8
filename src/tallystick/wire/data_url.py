"""Data URLs: how some dialects put media into a text."""

from __future__ import annotations

_MARK = ";base64,"


def split_data_url(url: str) -> tuple[str, str]:
    """Return media type and base64 of a data URL; ('', '') when it is none."""
    if not url.startswith("data:"):
        return "", ""
    media_type, mark, data = url[len("data:") :].partition(_MARK)
    return (media_type.partition(";")[0], data) if mark else ("", "")


def data_url(media_type: str, data: str) -> str:
    """Return the data URL of what is base64 already."""
    return f"data:{media_type}{_MARK}{data}"
