"""Which master keys are too weak to guard anything."""

from __future__ import annotations

LENGTH_MIN = 16

_DISTINCT_MIN = 6
_SEQUENCES = ("1234567890" * 7, "abcdefghijklmnopqrstuvwxyz" * 3, "1234567890abcdef" * 5, "0123456789abcdef" * 5)
_WELL_KNOWN = frozenset(
    # Examples of documentation and templates, which people forget to change; without case, punctuation and digits
    # at their end.
    {"changeme", "changethis", "yourmasterkey", "yourkey", "yoursecretkey", "masterkey", "mymasterkey", "litellm",
     "litellmmasterkey", "litellmkey", "tallystick", "tallystickmasterkey", "password", "secret", "supersecret",
     "supersecretkey", "mysecretkey", "replaceme", "example", "examplekey", "test", "testkey", "todo", "admin"}
)  # fmt: skip


def weakness_of_master_key(key: str) -> str | None:
    """Say why a key can be guessed, without showing it; None when it is good."""
    bare = "".join(character for character in key.removeprefix("sk-").lower() if character.isalnum())
    if bare.rstrip("0123456789") in _WELL_KNOWN or any(bare in sequence for sequence in _SEQUENCES):
        return "this master key is a well-known example; make one with: openssl rand -hex 32"
    if len(key) < LENGTH_MIN:
        return f"a master key has at least {LENGTH_MIN} characters; make one with: openssl rand -hex 32"
    if len(set(bare)) < _DISTINCT_MIN:
        return "this master key repeats a few characters; make one with: openssl rand -hex 32"
    return None
