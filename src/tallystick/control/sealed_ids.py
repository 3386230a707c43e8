"""Ids that say something to us and nothing to callers: sealed, and the same each time.

AES-SIV, whose output depends on its input alone and that no nonce bounds: one text has one id. Its key is derived from
a key of the ring, for this use only.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tallystick.control.key_ring import KeyRing

_KEY_BYTES: Final = 64
_FORM: Final = re.compile(r"([a-z0-9-]{1,32})\.([A-Za-z0-9_-]{1,4096})")


class IdSealer:
    """Seals with the first key of a ring, opens with any: an id lives as long as its key is in the ring."""

    def __init__(self, ring: KeyRing, *, use: str) -> None:
        """`use` is what the ids are of; those of one use don't open as those of another."""
        self._first = ring.first.key_id
        self._ciphers = {
            key_id: AESSIV(HKDF(SHA256(), _KEY_BYTES, salt=None, info=use.encode()).derive(key.key))
            for key_id in ring.key_ids
            if (key := ring.find(key_id))
        }

    def seal(self, text: str) -> str:
        """Return the id of a text, in letters, digits, `-`, `_` and `.`."""
        box = self._ciphers[self._first].encrypt(text.encode("utf-8", "surrogatepass"), None)
        return f"{self._first}.{base64.urlsafe_b64encode(box).decode().rstrip('=')}"

    def open(self, sealed: str) -> str | None:
        """Return the text of an id; None for one that was not made here."""
        form = _FORM.fullmatch(sealed)
        cipher = self._ciphers.get(form[1]) if form is not None else None
        if form is None or cipher is None:
            return None
        try:
            box = base64.b64decode(form[2] + "=" * (-len(form[2]) % 4), altchars=b"-_", validate=True)
            return cipher.decrypt(box, None).decode("utf-8", "surrogatepass")
        except (binascii.Error, ValueError, InvalidTag):
            return None
