"""Scopes: what a budget or a rate limit is counted over, and the budgets themselves as admission sees them."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

import msgspec

SCOPE_TYPES: Final = (
    "end_user",
    "global",
    "key",
    "organization",
    "organization_member",
    "personal",
    "provider",
    "session",
    "tag",
    "team",
    "team_member",
    "user",
)
"""`personal` are a user's calls by keys without a team, `user` are all of its calls."""

LIFETIME_START: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
LIFETIME_END: Final = datetime.fromisoformat("9999-12-31T00:00:00+00:00")


INVENTED_TYPES: Final = ("end_user", "session")
"""Of these, callers name as many as they like: their windows without an end go when nobody asks for them any more."""


class Scope(NamedTuple):
    """Whose calls are counted. A call counts in a scope when all of it matches the call's event."""

    type: str
    """One of SCOPE_TYPES."""
    id: str = ""
    """'' for `global`; the first hash of a key, which regenerating does not change; the session's own id."""
    member_id: str = ""
    """The user of a `team_member` or `organization_member`, the key's hash of a `session`; else ''."""
    model: str = ""
    """Only calls of this model group; '' counts all."""


class Window(NamedTuple):
    """One scope from `starts_at` up to, and without, `ends_at`, both UTC: where money is counted.

    Of a budget that never resets these are LIFETIME_START and LIFETIME_END. The order of windows is the order in which
    stores lock them.
    """

    scope: Scope
    starts_at: datetime
    ends_at: datetime


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """What an admin has set the spend of one window to, as the difference to what its events add up to."""

    starts_at: datetime
    ends_at: datetime
    nano_usd: int


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """A limit over each window of one scope. Several budgets of a scope may have the same windows; the least limits."""

    scope: Scope
    limit_nano_usd: int | None
    """None denies nothing: only the soft limit is watched."""
    soft_limit_nano_usd: int | None = None
    duration: str = ""
    """Length of a window, as in `30d`; '' never resets."""
    entity_ids: tuple[str, ...] = ()
    """Further ids whose calls count in the scope: the other hashes of a key that was regenerated."""
    corrections: tuple[Correction, ...] = ()
    increase_nano_usd: int = 0
    """On top of the limit until `increase_until`."""
    increase_until: datetime | None = None
    rolls_over: bool = False
    """Whether what was spent above the limit in the window before counts in this one too."""
    alerts: bool = True

    def limit_at(self, moment: datetime) -> int | None:
        """Return the limit in force at a moment."""
        if self.limit_nano_usd is None or self.increase_until is None or moment >= self.increase_until:
            return self.limit_nano_usd
        return self.limit_nano_usd + self.increase_nano_usd

    def correction_of(self, window: Window) -> int:
        """Return what is to be added to the spend of a window."""
        return sum(
            each.nano_usd
            for each in self.corrections
            if each.starts_at == window.starts_at and each.ends_at == window.ends_at
        )
