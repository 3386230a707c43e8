"""How request bodies are decoded: what is wrong with one is told by the name of the field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar

import msgspec

from tallystick.errors import BadRequest

_Body = TypeVar("_Body", bound=msgspec.Struct)

_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NOTHING: Final = (b"null", b"[]", b"{}")


def decode_body(decoder: msgspec.json.Decoder[_Body], raw: bytes) -> _Body:
    """Decode a request. Raises BadRequest, which names the field and what would be right."""
    with naming_fields():
        return decoder.decode(raw)


@contextmanager
def naming_fields() -> Iterator[None]:
    """Around what decodes a body: raise BadRequest in place of the decoder's own errors."""
    try:
        yield
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        field = place.rstrip("`").lstrip(".").removesuffix("[...]") or None
        if field is None:
            raise BadRequest(f"The request body must be a JSON object: {reason}.") from error
        raise BadRequest(f"'{field}': {reason}.", param=field) from error
    except (msgspec.DecodeError, ValueError, OverflowError) as error:
        raise BadRequest(f"The request body is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise BadRequest("The request body is nested too deeply.") from error


def unsaid_fields(
    raw: bytes | msgspec.Raw, known: frozenset[str], means_nothing: Mapping[str, tuple[bytes, ...]], *, place: str = ""
) -> Iterator[str]:
    """Yield the fields of an object that are not known and say something, as `place` and their name.

    Null and what is empty says nothing, and `means_nothing` has further values of single fields that don't.
    """
    for name, value in _FIELDS.decode(raw).items():
        if name not in known and bytes(value) not in (*_NOTHING, *means_nothing.get(name, ())):
            yield place + name
