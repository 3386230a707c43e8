"""Requests for images, sound, moderations and ranks: checked at the edge, and measured by what is charged for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from tallystick.errors import BadRequest
from tallystick.wire.call_request import CallRequest, Endpoint
from tallystick.wire.form import read_form, texts_of, with_model
from tallystick.wire.gateway_fields import GATEWAY_FIELDS, GatewayBody, call_request
from tallystick.wire.media.sound import sound_milliseconds
from tallystick.wire.openai.request import OPENAI, upstream_body
from tallystick.wire.request_body import decode_body
from tallystick.wire.usage import Usage

_MODERATION_MODEL: Final = "omni-moderation-latest"
"""What OpenAI documents as the default; no other of these endpoints has one."""
_IMAGES_MAX: Final = 1_000
_SIZE: Final = re.compile(r"(\d{1,5})x(\d{1,5})")
_PIXELS_AT_MOST: Final = 1536 * 1024
_DOCUMENTS_PER_SEARCH: Final = 100
_TOKENS_PER_IMAGE: Final = 1_500
# What OpenAI's image models generate for each image, square and oblong; `auto` may be the dearest.
_IMAGE_TOKENS: Final[Mapping[str, tuple[int, int]]] = {"low": (272, 408), "medium": (1056, 1584), "high": (4160, 6240)}
_PARTIAL_IMAGE_TOKENS: Final = 100
_AUDIO_TOKENS_PER_SECOND: Final = 10
_TEXT_TOKENS_PER_SECOND: Final = 6
_SPEECH_TOKENS_PER_CHARACTER: Final = 2
_MILLISECONDS_PER_CHARACTER: Final = 80
_TOP_N: Final = "top_n"
_OWN_PARTS: Final = GATEWAY_FIELDS | {"metadata"}
_FILES: Final[Mapping[Endpoint, tuple[str, ...]]] = {
    "images/edits": ("image", "image[]"),
    "audio/transcriptions": ("file",),
    "audio/translations": ("file",),
}


def parse_media(endpoint: Endpoint, raw: bytes, *, model_in_path: str | None = None) -> CallRequest:
    """Check a body that is JSON. Raises BadRequest, which names the field and what would be right."""
    if endpoint.startswith("audio/t"):
        raise BadRequest("Sound comes as a form: send content-type multipart/form-data.", param="file")
    body = decode_body(_BODY, raw)
    if endpoint == "moderations" and not body.model:
        body.model = _MODERATION_MODEL
    request = call_request(body, dialect=OPENAI, endpoint=endpoint, raw=raw, model_in_path=model_in_path)
    request.user = body.user
    if endpoint.startswith("images/"):
        _measure_images(request, body)
    elif endpoint == "audio/speech":
        _measure_speech(request, body)
    elif endpoint == "moderations":
        if bytes(body.input)[:1] not in (b'"', b"["):
            raise BadRequest("'input' is missing: give a string or a list.", param="input")
    else:
        _measure_rerank(request, body)
    return request


def parse_media_form(
    endpoint: Endpoint, raw: bytes, *, content_type: str, model_in_path: str | None = None
) -> CallRequest:
    """Check a body that is a form. Raises BadRequest, which names the part and what would be right."""
    files = _FILES.get(endpoint)
    if files is None:
        raise BadRequest("The request body must be JSON: send content-type application/json.")
    form = read_form(raw, content_type)
    texts = texts_of(form, raw)
    sizes = [part for part in form.parts if part.name in files and part.is_file]
    if not sizes:
        raise BadRequest(f"'{files[0]}' is missing: give a file.", param=files[0])
    body = _body_of(texts)
    request = call_request(body, dialect=OPENAI, endpoint=endpoint, raw=raw, model_in_path=model_in_path)
    request.user = body.user
    request.form = form
    request.form_text = msgspec.json.encode({"prompt": body.prompt or ""})
    if endpoint == "images/edits":
        request.token_ids = _TOKENS_PER_IMAGE * sum(part.is_file for part in form.parts)
        _measure_images(request, body)
        return request
    request.answer_format = texts.get("response_format", "")
    milliseconds = sum(sound_milliseconds(memoryview(raw)[part.start : part.end]) for part in sizes)
    seconds = -(-milliseconds // 1000)
    request.units = Usage(milliseconds=milliseconds)
    request.token_ids = _AUDIO_TOKENS_PER_SECOND * seconds
    request.max_output_tokens = _TEXT_TOKENS_PER_SECOND * seconds + 100
    return request


def media_body(request: CallRequest, *, model: str, top_n: str = _TOP_N) -> bytes:
    """Return the caller's body for the upstream: with its model's name, and without what is the gateway's.

    `top_n` is what the upstream calls the number of documents that are to be ranked.
    """
    if request.form is None:
        body = upstream_body(request, model=model, ask_usage=False)
        return body if top_n == _TOP_N else _renamed(body, _TOP_N, top_n)
    return with_model(request.form, request.raw, model=model, without=_OWN_PARTS)


def _renamed(body: bytes, name: str, other: str) -> bytes:
    fields = _FIELDS.decode(body)
    return msgspec.json.encode({other if field == name else field: value for field, value in fields.items()})


class _Body(GatewayBody, gc=False):
    """The fields that the gateway reads, of all these endpoints."""

    input: msgspec.Raw = msgspec.Raw()
    prompt: str | None = None
    n: int | None = None
    size: str | None = None
    quality: str | None = None
    partial_images: int | None = None
    stream_format: str | None = None
    query: msgspec.Raw = msgspec.Raw()
    documents: list[msgspec.Raw] | None = None
    user: str | None = None


_BODY = msgspec.json.Decoder(_Body)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)


def _body_of(texts: Mapping[str, str]) -> _Body:
    """Return what a form says as what a body would say."""
    return _Body(
        model=texts.get("model"),
        stream=texts.get("stream", "").strip().lower() in ("true", "1"),
        metadata=texts.get("metadata") or None,
        litellm_metadata=texts.get("litellm_metadata") or None,
        litellm_session_id=texts.get("litellm_session_id"),
        litellm_trace_id=texts.get("litellm_trace_id"),
        prompt=texts.get("prompt"),
        n=_count(texts, "n"),
        size=texts.get("size"),
        quality=texts.get("quality"),
        partial_images=_count(texts, "partial_images"),
        user=texts.get("user"),
    )


def _count(texts: Mapping[str, str], name: str) -> int | None:
    text = texts.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise BadRequest(f"'{name}': expected a whole number.", param=name)
    return int(text)


def pixels_of(size: str) -> int:
    """Return the pixels of an image of this size; the most that is usual where it says none."""
    found = _SIZE.fullmatch(size)
    return _PIXELS_AT_MOST if found is None else int(found[1]) * int(found[2])


def _measure_images(request: CallRequest, body: _Body) -> None:
    if not body.prompt:
        raise BadRequest("'prompt' is missing or empty: say what the image is to show.", param="prompt")
    images = 1 if body.n is None else body.n
    if not 0 < images <= _IMAGES_MAX:
        raise BadRequest(f"'n' must be from 1 to {_IMAGES_MAX}.", param="n")
    pixels = pixels_of(body.size or "")
    square, oblong = _IMAGE_TOKENS.get(body.quality or "", _IMAGE_TOKENS["high"])
    tokens = -(-square * pixels // 1024**2) if pixels > _PIXELS_AT_MOST else oblong if pixels > 1024**2 else square
    request.units = Usage(images=images, pixels=images * pixels)
    request.choices = images
    request.max_output_tokens = tokens + _PARTIAL_IMAGE_TOKENS * min(max(body.partial_images or 0, 0), 10)


def _measure_speech(request: CallRequest, body: _Body) -> None:
    try:
        text = _TEXT.decode(body.input)
    except msgspec.MsgspecError as error:
        raise BadRequest("'input' is missing: give the text that is to be spoken.", param="input") from error
    characters = len(text)
    request.units = Usage(characters=characters, milliseconds=_MILLISECONDS_PER_CHARACTER * characters)
    request.max_output_tokens = _SPEECH_TOKENS_PER_CHARACTER * characters + 50
    request.answer_format = body.stream_format or ""
    request.stream = True  # Sound is passed on as it comes, whether asked for or not.


def _measure_rerank(request: CallRequest, body: _Body) -> None:
    if bytes(body.query)[:1] not in (b'"', b"{"):
        raise BadRequest("'query' is missing: give a text.", param="query")
    if not body.documents:
        raise BadRequest("'documents' is missing or empty: give a list of texts.", param="documents")
    request.stream = False
    request.units = Usage(searches=-(-len(body.documents) // _DOCUMENTS_PER_SEARCH))
