"""What is read of a body that goes to a provider as it is: model, stream, limits, end user."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec

from tallystick.errors import BadRequest
from tallystick.wire.form import is_form, read_form, texts_of
from tallystick.wire.gateway_fields import OUTPUT_TOKENS_MAX
from tallystick.wire.token_estimate import hides_names


class PassedBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a body says. Fields of unexpected types say nothing: the provider will refuse them."""

    is_json: bool = False
    is_form: bool = False
    is_unreadable: bool = False
    """It begins like a JSON object and can't be read as one; the provider may be less strict."""
    model: str = ""
    stream: bool = False
    wants_usage: bool = False
    """`stream_options.include_usage`."""
    max_output_tokens: int | None = None
    choices: int = 1
    user: str | None = None
    metadata: dict[str, Any] = {}  # Any: the caller's own JSON.


def read_passed_body(raw: bytes, content_type: str) -> PassedBody:
    """Read a body, of which nothing has to be right. Raises BadRequest when it names several models.

    Which of two the provider would take nobody knows, and the caller may be allowed only one of them. The same goes for
    a form that could be read in two ways.
    """
    if is_form(content_type):
        return PassedBody(is_form=True, model=texts_of(read_form(raw, content_type), raw).get("model", ""))
    if _OBJECT.match(raw) is None:
        return PassedBody(is_unreadable=_is_object_in_disguise(raw))
    try:
        body = _BODY.decode(raw)
        # Almost always it stands there once, and in plain small letters.
        if not raw.lower().count(b'"model"') <= raw.count(b'"model"') <= 1 or hides_names(raw):
            _require_one_model(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return PassedBody(is_unreadable=True)
    config = _Config()
    for each in (body.generation_config, body.generation_config_snake, body.inference_config):
        config = each if isinstance(each, _Config) else config
    limits = (
        body.max_tokens, body.max_completion_tokens, body.max_output_tokens, body.max_tokens_to_sample,
        config.max_output_tokens, config.max_output_tokens_snake, config.max_tokens,
    )  # fmt: skip
    given = [limit for limit in limits if _is_count(limit)]
    choices = [count for count in (body.n, body.best_of, config.candidate_count) if _is_count(count)]
    return PassedBody(
        is_json=True,
        model=body.model if isinstance(body.model, str) else "",
        stream=body.stream is True,
        wants_usage=isinstance(body.stream_options, _StreamOptions) and body.stream_options.include_usage is True,
        max_output_tokens=min(max(given), OUTPUT_TOKENS_MAX) if given else None,
        choices=max((1, *choices)),
        user=body.user if isinstance(body.user, str) else None,
        metadata=body.metadata if isinstance(body.metadata, dict) else {},
    )


def asking_usage(raw: bytes) -> bytes:
    """Return a body of OpenAI's that asks a stream for its usage; every other value keeps its bytes."""
    fields = _FIELDS.decode(raw)
    options = fields.get("stream_options")
    asked = {} if options is None or bytes(options) == b"null" else _FIELDS.decode(options)
    asked["include_usage"] = msgspec.Raw(b"true")
    fields["stream_options"] = msgspec.Raw(_ENCODER.encode(asked))
    return _ENCODER.encode(fields)


class _Config(msgspec.Struct, gc=False):
    max_output_tokens: Any = msgspec.field(name="maxOutputTokens", default=None)  # Any: not yet checked.
    max_output_tokens_snake: Any = msgspec.field(name="max_output_tokens", default=None)  # Any: as above.
    candidate_count: Any = msgspec.field(name="candidateCount", default=None)  # Any: as above.
    max_tokens: Any = msgspec.field(name="maxTokens", default=None)  # Any: as above.


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: Any = None  # Any: not yet checked.


_Other = list[msgspec.Raw] | str | int | float | bool | None


class _Body(msgspec.Struct, gc=False):
    model: Any = None  # Any: not yet checked, here and below.
    stream: Any = None  # Any
    stream_options: _StreamOptions | _Other = None
    max_tokens: Any = None  # Any
    max_completion_tokens: Any = None  # Any
    max_output_tokens: Any = None  # Any
    max_tokens_to_sample: Any = None  # Any
    n: Any = None  # Any
    best_of: Any = None  # Any
    user: Any = None  # Any
    metadata: Any = None  # Any
    generation_config: _Config | _Other = msgspec.field(name="generationConfig", default=None)
    generation_config_snake: _Config | _Other = msgspec.field(name="generation_config", default=None)
    inference_config: _Config | _Other = msgspec.field(name="inferenceConfig", default=None)


_OBJECT: Final = re.compile(rb"\s*\{")
_LOOKED_AT_BYTES: Final = 64 * 1024
_BODY: Final = msgspec.json.Decoder(_Body)
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER: Final = msgspec.json.Encoder()


def _is_object_in_disguise(raw: bytes) -> bool:
    """Whether it is an object with a mark of its encoding before it, or in an encoding that JSON has no more."""
    encoding = json.detect_encoding(raw[:4])
    if encoding == "utf-8":
        return False
    text = raw[:_LOOKED_AT_BYTES].decode(encoding, "replace").lstrip()
    return text.startswith("{") or (not text and len(raw) >= _LOOKED_AT_BYTES)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _require_one_model(raw: bytes) -> None:
    """Raise BadRequest when the body itself has several values of `model`, or one by a name that some take for it."""
    members: list[tuple[str, Any]] = []  # Any: JSON.

    def keep(pairs: list[tuple[str, Any]]) -> None:  # Any: JSON.
        members[:] = pairs  # The outermost object comes last.

    json.loads(raw, object_pairs_hook=keep)
    named = [(name, value) for name, value in members if name.lower() == "model"]
    if len({repr(value) for _, value in named}) > 1 or any(name != "model" for name, _ in named):
        raise BadRequest("The body names more than one model, or not by 'model'.", param="model")
