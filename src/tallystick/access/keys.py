"""Virtual keys: what callers present. The key itself is shown once and never stored; its SHA-256 is its identity."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any, Final

import msgspec

from tallystick.access.limits import Limits
from tallystick.access.scopes import Correction

CALLS_ONLY: Final = "llm_api"
"""The type of a key that makes calls and administrates nothing."""


class KeySpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a key's row holds besides its columns. `models` empty means every model."""

    key_name: str = ""
    """The masked form, `sk-…` and the last four characters."""
    models: tuple[str, ...] = ()
    aliases: dict[str, str] = {}
    """What the key's callers call a model, and the model group that is meant."""
    access_group_ids: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}  # Any: the admin's own JSON object.
    limits: Limits = Limits()
    allowed_routes: tuple[str, ...] = ()
    """Paths that it may use, `/prefix/*`, or the groups `llm_api_routes`, `management_routes`, `info_routes`."""
    key_type: str = ""
    """`llm_api`, `management`, `read_only`; '' is the default and may use all that its role may."""
    prior_hashes: tuple[str, ...] = ()
    """Under which its events stand that were made before it was regenerated."""
    spend_adjustment_nano_usd: int = 0
    spend_corrections: tuple[Correction, ...] = ()
    """Of windows, beside the one of its whole life."""
    other: dict[str, Any] = {}  # Any: fields that are kept and shown, and have no effect here.


def new_key() -> str:
    """Return a fresh key: `sk-` and 256 random bits."""
    return "sk-" + secrets.token_urlsafe(32)


def hash_key(key: str) -> str:
    """Return the SHA-256 of a key in hex, under which it is stored and looked up."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def mask_key(key: str) -> str:
    """Return the form in which a key may be shown."""
    return f"sk-...{key[-4:]}"
