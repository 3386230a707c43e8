"""The text form of the keys that seal secrets: `<id>:<base64 of 32 bytes>`, separated by commas or line ends."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Final

KEY_BYTES: Final = 32
KEYS_MAX: Final = 64
_KEY_ID: Final = re.compile(r"[a-z0-9-]{1,32}")
_DISTINCT_MIN: Final = 8  # Of 32 random bytes so few differ once in 10^28 times; of a typed or repeated key, often.
_HOW_TO_MAKE: Final = "make one with: tallystick secrets new-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretKey:
    """One key of 256 bits, and the id by which sealed values name it."""

    key_id: str
    key: bytes = field(repr=False)

    def __str__(self) -> str:
        """Return the id; the key itself is shown by `text_of_key` alone."""
        return self.key_id


def text_of_key(key: SecretKey) -> str:
    """Return a key as it is written in a setting. This is the secret itself."""
    return f"{key.key_id}:{base64.urlsafe_b64encode(key.key).decode().rstrip('=')}"


def parse_secret_keys(text: str) -> tuple[SecretKey, ...]:
    """Return the keys in their order, the one that seals first.

    Raises ValueError, which says which key is wrong and why, and shows nothing of it.
    """
    entries = [entry for entry in re.split(r"[,\s]+", text) if entry]
    if not entries:
        raise ValueError(f"there is no key in it; {_HOW_TO_MAKE}")
    if len(entries) > KEYS_MAX:
        raise ValueError(f"holds {len(entries)} keys; {KEYS_MAX} is the most")
    keys = tuple(_parse_key(entry, number) for number, entry in enumerate(entries, start=1))
    for number, key in enumerate(keys, start=1):
        if any(other.key_id == key.key_id for other in keys[: number - 1]):
            raise ValueError(f"key {number}: the id '{key.key_id}' is the id of a key before it; give each its own")
    return keys


def _parse_key(entry: str, number: int) -> SecretKey:
    key_id, colon, encoded = entry.partition(":")
    if not colon:
        raise ValueError(f"key {number}: must be <id>:<key>; {_HOW_TO_MAKE}")
    if _KEY_ID.fullmatch(key_id) is None:
        # What stands there may be the key, in the wrong place.
        raise ValueError(f"key {number}: its id must be 1 to 32 of the characters a-z, 0-9 and '-'")
    # Both alphabets of base64 are taken, because `openssl rand -base64 32` writes the other one.
    bare = encoded.rstrip("=").replace("+", "-").replace("/", "_")
    try:
        key = base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"key {number} ('{key_id}'): is not base64 of {KEY_BYTES} bytes; {_HOW_TO_MAKE}") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"key {number} ('{key_id}'): has {len(key)} bytes, not {KEY_BYTES}; {_HOW_TO_MAKE}")
    if len(set(key)) < _DISTINCT_MIN:
        raise ValueError(f"key {number} ('{key_id}'): repeats a few bytes and can be guessed; {_HOW_TO_MAKE}")
    return SecretKey(key_id=key_id, key=key)
