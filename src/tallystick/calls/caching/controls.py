"""What a caller says of the cache: `cache` in the body, and the header Cache-Control where that says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from tallystick.errors import BadRequest

_HEADER: Final = b"cache-control"
_SECONDS_MAX: Final = 10 * 365 * 86_400
_NAMESPACE_MAX: Final = 256

_Age = Annotated[float, msgspec.Meta(ge=0, le=_SECONDS_MAX)]


class CacheControls(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """None and False: the caller does not say it."""

    no_cache: bool = False
    """Take no kept answer."""
    no_store: bool = False
    """Do not keep the answer."""
    use_cache: bool = False
    """Cache this call, where that is not the default."""
    ttl: Annotated[float, msgspec.Meta(gt=0, le=_SECONDS_MAX)] | None = None
    """How many seconds to keep the answer."""
    s_maxage: _Age | None = None
    """Take no answer that is older."""
    max_age: _Age | None = None
    """The same."""
    namespace: Annotated[str, msgspec.Meta(max_length=_NAMESPACE_MAX)] | None = None

    @property
    def age_max_seconds(self) -> float | None:
        """The oldest answer that the caller takes."""
        return self.s_maxage if self.s_maxage is not None else self.max_age


def read_cache_controls(raw: bytes, headers: Mapping[bytes, bytes]) -> CacheControls:
    """Return what the caller says. Raises BadRequest that names what is wrong in the body."""
    try:
        given = _BODY.decode(raw).cache
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$.")
        field = place.rstrip("`") or "cache"
        raise BadRequest(f"'{field}': {reason}.", param=field) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        given = None  # No JSON: what reads the dialect says so.
    if given is not None:
        return given
    header = headers.get(_HEADER)
    return NO_CONTROLS if header is None else _of_header(header)


class _Body(msgspec.Struct, gc=False):
    cache: CacheControls | None = None


_BODY = msgspec.json.Decoder(_Body)
NO_CONTROLS: Final = CacheControls()


def _of_header(header: bytes) -> CacheControls:
    """Read a header. What it says to others, and what can't be read, is left out, as HTTP wants it."""
    found: dict[str, object] = {}
    for part in header.decode("latin-1").lower().split(","):
        name, _, value = (text.strip().strip('"') for text in part.partition("="))
        if name in ("no-cache", "no-store"):
            found[name] = True
        elif name in ("s-maxage", "max-age") and value.isdecimal() and len(value) < 10:
            found[name] = min(int(value), _SECONDS_MAX)
    return msgspec.convert(found, CacheControls)
