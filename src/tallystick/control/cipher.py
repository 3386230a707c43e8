"""Seal one text for one place, and open it there and nowhere else.

    sealed:v1:<key id>:<base64url of nonce, ciphertext and tag>

AES-256-GCM. The associated data is the place, so that a value that was moved to another row or field does not open.
Nonces are random: 96 bits, so one key may seal 2^32 values, which is more than a database of them is rotated for.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tallystick.control.key_ring import KeyRing
from tallystick.errors import SecretUnreadable

_PREFIX: Final = "sealed:v1:"
_ANY_VERSION: Final = re.compile(r"\s*sealed:v[0-9]+:", re.IGNORECASE)
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16


def seems_sealed(text: str) -> bool:
    """Whether a text has the beginning of a sealed one, of any version; only opening it tells whether it is."""
    return _ANY_VERSION.match(text) is not None


def key_id_of(sealed: str) -> str:
    """Return the id of the key that sealed a value; '?' when it does not say."""
    if not sealed.startswith(_PREFIX):
        return "?"
    key_id, colon, _ = sealed.removeprefix(_PREFIX).partition(":")
    return key_id if colon and re.fullmatch(r"[a-z0-9-]{1,32}", key_id) else "?"


class Cipher:
    """Seals with the first key of a ring, opens with any."""

    def __init__(self, ring: KeyRing) -> None:
        self.ring = ring
        self._ciphers = {key_id: AESGCM(key.key) for key_id in ring.key_ids if (key := ring.find(key_id))}

    def seal(self, text: str, *, place: str) -> str:
        """Return the text sealed for a place. It is another one each time."""
        key_id = self.ring.first.key_id
        nonce = secrets.token_bytes(_NONCE_BYTES)
        # Lone surrogates are text to Python and no UTF-8; JSON can bring them.
        clear = text.encode("utf-8", "surrogatepass")
        box = nonce + self._ciphers[key_id].encrypt(nonce, clear, place.encode("utf-8", "surrogatepass"))
        return f"{_PREFIX}{key_id}:{base64.urlsafe_b64encode(box).decode().rstrip('=')}"

    def open(self, sealed: str, *, place: str) -> str:
        """Return what was sealed for this place. Raises SecretUnreadable, which says why and never shows the value."""
        key_id = key_id_of(sealed)
        cipher = self._ciphers.get(key_id)
        if key_id == "?":
            raise SecretUnreadable("it is malformed", place=place, key_id=key_id)
        if cipher is None:
            raise SecretUnreadable(f"the key '{key_id}' is not in secret_keys", place=place, key_id=key_id)
        box = _unpacked(sealed.removeprefix(f"{_PREFIX}{key_id}:"))
        if box is None:
            raise SecretUnreadable("it is malformed", place=place, key_id=key_id)
        nonce, rest = box[:_NONCE_BYTES], box[_NONCE_BYTES:]
        try:
            clear = cipher.decrypt(nonce, rest, place.encode("utf-8", "surrogatepass"))
        except InvalidTag:
            reason = f"the key '{key_id}' did not seal it for this place, or it was altered"
            raise SecretUnreadable(reason, place=place, key_id=key_id) from None
        return clear.decode("utf-8", "surrogatepass")


def _unpacked(encoded: str) -> bytes | None:
    try:
        box = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return box if len(box) >= _NONCE_BYTES + _TAG_BYTES else None
