"""Field types of admin requests: checked at the edge, so that the database never has to refuse a value."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final

import msgspec
from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

TEXT_LENGTH_MAX: Final = 256
_METADATA_BYTES_MAX: Final = 65_536
_DEPTH_MAX: Final = 32
_SHOWN_LENGTH_MAX: Final = 512
_INTEGER_MAX: Final = 2**63 - 1


def storable_text(text: str) -> str:
    """Refuse characters that databases can't hold."""
    if "\0" in text:
        raise ValueError("it must not hold a NUL character")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("it must not hold half of a surrogate pair")
    return text


def storable_object(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse JSON that is too large, too deep, or holds what databases can't."""
    _check(value, depth=0)
    if len(msgspec.json.encode(value)) > _METADATA_BYTES_MAX:
        raise ValueError(f"it must be at most {_METADATA_BYTES_MAX} bytes of JSON")
    return value


def shown_text(value: object) -> str | None:
    """Return a text of a request that was not checked yet as an answer may repeat it; None for what is no text."""
    return value.encode(errors="replace").decode()[:_SHOWN_LENGTH_MAX] if isinstance(value, str) else None


def _given_text(text: str | None) -> str | None:
    """Clients that fill in forms send empty parameters; those are not given."""
    return storable_text(text) if text else None


def _check(value: object, *, depth: int) -> None:
    if depth > _DEPTH_MAX:
        raise ValueError(f"it must not be nested deeper than {_DEPTH_MAX} levels")
    if isinstance(value, str):
        storable_text(value)
    elif isinstance(value, dict):
        for name, item in value.items():
            storable_text(name)
            _check(item, depth=depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth=depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("numbers must be finite")
    elif isinstance(value, int) and abs(value) > _INTEGER_MAX:
        raise ValueError("integers must fit into 64 bits")


class RequestBody(BaseModel):
    """A request body: types are strict, and fields that are not known are kept, to be named in the answer."""

    model_config = ConfigDict(extra="allow", strict=True)

    def unknown_fields(self) -> list[str]:
        return list(self.model_extra or ())


Text = Annotated[str, Field(max_length=TEXT_LENGTH_MAX), AfterValidator(storable_text)]
KeyOrHash = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(storable_text)]
JSONObject = Annotated[dict[str, Any], AfterValidator(storable_object)]  # Any: the caller's own JSON.
QueryText = Annotated[str | None, Query(max_length=512), AfterValidator(_given_text)]
QueryID = Annotated[str, Query(min_length=1, max_length=TEXT_LENGTH_MAX), AfterValidator(storable_text)]
PathID = Annotated[str, Path(min_length=1, max_length=TEXT_LENGTH_MAX), AfterValidator(storable_text)]
