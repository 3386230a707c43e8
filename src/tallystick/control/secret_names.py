"""Which names, and which texts, look like secrets. Where this is wrong it should hide too much, not too little."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final
from urllib.parse import parse_qsl, urlsplit

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_ANYWHERE: Final = frozenset(
    {"secret", "secrets", "password", "passwords", "passwd", "passphrase", "pwd", "credential", "credentials",
     "authorization", "cookie", "cookies", "dsn", "webhook", "webhooks", "bearer", "apikey", "apikeys", "salt"}
)  # fmt: skip
_AT_THE_END: Final = frozenset({"token", "jwt", "pat", "pem"})
_PAIRS: Final = frozenset(
    {("api", "key"), ("api", "keys"), ("access", "key"), ("private", "key"), ("master", "key"), ("signing", "key"),
     ("encryption", "key"), ("license", "key"), ("access", "tokens"), ("auth", "tokens"), ("connection", "string"),
     ("database", "url"), ("db", "url"), ("redis", "url"), ("direct", "url")}
)  # fmt: skip
# `secret_name`, `token_type`: words about a secret, not the secret.
_ABOUT: Final = frozenset({"name", "alias", "type", "header", "hash", "ttl", "duration", "expiry", "policy", "at"})
# `input_cost_per_token`, `max_token`: numbers, even where they are written as text.
_MEASURES: Final = frozenset({"per", "cost", "count", "limit", "max", "min", "price"})
_AUTHORIZATION: Final = re.compile(r"(?i)\s*(?:(?:bearer|basic)\s+\S{8,}|sk-[a-z0-9_-]{16,})\s*")


def looks_secret(name: str) -> bool:
    """Whether a field of this name holds a secret: `password`, `langfuseSecretKey`, `alert_to_webhook_url`."""
    words = _words(name)
    if not words or words[-1] in _ABOUT:
        return False
    return (
        not _ANYWHERE.isdisjoint(words)
        or (words[-1] in _AT_THE_END and _MEASURES.isdisjoint(words))
        or not _PAIRS.isdisjoint(pairwise(words))
    )


def may_be_secret(name: str) -> bool:
    """Whether a field that operators set, not their users, may hold a secret: also `some_key` and `basic_auth`."""
    words = _words(name)
    return looks_secret(name) or (len(words) > 1 and words[-1] in {"key", "keys", "auth"})


def holds_secret(text: str) -> bool:
    """Whether a text shows a credential by its form: an authorization, or an address with a password in it."""
    if _AUTHORIZATION.fullmatch(text):
        return True
    if "://" not in text:
        return False
    try:
        address = urlsplit(text.strip())
        parameters = parse_qsl(address.query, keep_blank_values=True)
    except ValueError:
        return True  # What can't be read can't be shown to be harmless.
    return "@" in address.netloc or any(may_be_secret(name) or name in {"sig", "code", "key"} for name, _ in parameters)


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]
