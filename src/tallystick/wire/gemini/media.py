"""Media in Gemini's dialect: pictures, sound and files are all told by their media type."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from typing import Any, Final

from tallystick.wire.conversation import Audio, Document, Image

JSON = dict[str, Any]  # Any: a body of many shapes that is encoded at once.

_FORMATS: Final[Mapping[str, str]] = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "x-aiff": "aiff"}
_ADDRESSES: Final = ("http://", "https://", "gs://", "files/")


def read_inline(data: str, media_type: str) -> Image | Audio | Document:
    """Return what base64 of a media type is."""
    kind, _, form = media_type.partition("/")
    if kind == "image":
        return Image(data=data, media_type=media_type)
    if kind == "audio":
        return Audio(data=data, format=_FORMATS.get(form, form))
    return Document(data=data, media_type=media_type)


def read_file(uri: str, media_type: str) -> Image | Document:
    """Return what an address is."""
    if media_type.startswith("image/"):
        return Image(url=uri, media_type=media_type)
    return Document(url=uri, media_type=media_type)


def write_media(part: Image | Audio | Document) -> JSON | None:
    """Return the part; None for a file that only another provider has."""
    if isinstance(part, Audio):
        return {"inlineData": {"mimeType": f"audio/{part.format}", "data": part.data}}
    if part.data:
        usual = "image/png" if isinstance(part, Image) else "application/pdf"
        return {"inlineData": {"mimeType": part.media_type or usual, "data": part.data}}
    if isinstance(part, Image):
        return _file(part.url, part.media_type or _guess(part.url) or "image/jpeg")
    if part.text:
        return {"text": part.text}
    address = part.url or part.file_id
    if not address.startswith(_ADDRESSES):
        return None
    return _file(address, part.media_type or _guess(part.name) or _guess(address))


def _file(uri: str, media_type: str) -> JSON:
    return {"fileData": {"fileUri": uri, **({"mimeType": media_type} if media_type else {})}}


def _guess(name: str) -> str:
    return mimetypes.guess_type(name.partition("?")[0])[0] or ""
