"""Whose a thing is that an upstream keeps for a caller."""

from __future__ import annotations

from typing import NamedTuple


class Owner(NamedTuple):
    """The key that made it, and that key's user and team; '' where there is none."""

    key_hash: str
    user_id: str
    team_id: str
