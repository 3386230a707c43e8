"""The service tier in which an answer says that it was made: it decides which of a model's prices holds.

A tier is one word, such as `flex` or `priority`, or several with `+` between them, where a provider has more than one
thing that changes the price (Anthropic: `priority+fast+us`). The usual one, which costs the usual price, is ''.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

_USUAL: Final = frozenset(("", "default", "standard", "standard_only", "on_demand", "auto", "unspecified"))
_NAMED: Final = {"on_demand_flex": "flex", "on_demand_priority": "priority", "traffic_type_unspecified": ""}
_NEVER_PRIORITY: Final = frozenset(("default", "standard", "standard_only", "flex"))
_NOWHERE: Final = frozenset(("", "global", "not_available"))
_WORD = re.compile(r"[a-z0-9_.-]{1,32}", re.ASCII)


def read_tier(told: object) -> str:
    """Return the tier that a field of an answer names; '' for the usual one and for what is no name."""
    word = _word(told)
    return "" if word in _USUAL else _NAMED.get(word, word)


def read_place(told: object) -> str:
    """Return where the answer was made, where that is somewhere in particular."""
    word = _word(told)
    return "" if word in _NOWHERE else word


def join_tiers(*tiers: str) -> str:
    """Return one tier of several."""
    return "+".join(filter(None, tiers))


def tiers_ruled_out(said: bytes) -> frozenset[str]:
    """Return the dear tiers that an answer to a request is surely not made in.

    With `auto`, the provider may choose `priority`, as the account's settings say. Few accounts do without
    a word on it, and budgets are not held for that.
    """
    try:
        asked = _ASKED.decode(said)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return frozenset()
    tier = asked.service_tier or asked.gemini_service_tier
    out = {"priority"} if tier is None or (isinstance(tier, str) and tier.lower() in _NEVER_PRIORITY) else set()
    if asked.speed != "fast":
        out.add("fast")
    return frozenset(out)


class _Asked(msgspec.Struct, gc=False):
    service_tier: object = None
    gemini_service_tier: object = msgspec.field(name="serviceTier", default=None)
    """How Gemini's dialect spells it."""
    speed: object = None


_ASKED = msgspec.json.Decoder(_Asked)


def _word(told: object) -> str:
    if not isinstance(told, str):
        return ""
    word = told.lower()
    return word if _WORD.fullmatch(word) else ""
