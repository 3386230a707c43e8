"""Which models a caller may call: pure arithmetic over its lists."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from tallystick.access.principal import Principal

_EVERY_MODEL: Final = frozenset(("*", "all-proxy-models"))
_TEAM_MODELS: Final = "all-team-models"
_NO_MODELS: Final = "no-default-models"

AccessGroups = Mapping[str, AbstractSet[str]]
"""The models of each access group, by the group's name and by its id."""


class Denial(msgspec.Struct, frozen=True):
    """Whose list does not have the model: `key`, `user`, `team` or `organization`."""

    level: str


def denial_of(principal: Principal, model: str, groups: AccessGroups) -> Denial | None:
    """Return whose list refuses the model, None when all of them allow it."""
    lists = principal.models
    levels = (("key", lists.key), ("user", lists.user), ("team", lists.team), ("organization", lists.organization))
    for level, entries in levels:
        if entries and not allows(entries, model, groups):
            return Denial(level)
    return None


def allows(entries: tuple[str, ...], model: str, groups: AccessGroups) -> bool:
    """Whether a list names the model, a prefix of it as in `openai/*`, an access group that has it, or every model.

    `all-team-models` leaves the decision to the team's list; a list of `no-default-models` alone allows nothing.
    """
    return model in entries or any(_matches(entry, model, groups) for entry in entries)


def _matches(entry: str, model: str, groups: AccessGroups) -> bool:
    if entry in _EVERY_MODEL or entry == _TEAM_MODELS:
        return True
    if entry.endswith("*") and entry != _NO_MODELS:
        return model.startswith(entry[:-1])
    return model in groups.get(entry, ())
