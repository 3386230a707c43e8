"""Which models a caller may call: pure arithmetic over its lists."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final, Literal

from tallystick.access.principal import ModelLists, Principal

_EVERY_MODEL: Final = frozenset(("*", "all-proxy-models"))
_TEAM_MODELS: Final = "all-team-models"
_UNBOUNDED: Final = ModelLists()

AccessGroups = Mapping[str, AbstractSet[str]]
"""The models of each access group, by the group's name and by its id."""

Level = Literal["key", "user", "team", "organization"]


def meant_model(principal: Principal, asked: str) -> str:
    """Return the model group that a caller means by a name: its aliases come first."""
    return principal.model_aliases.get(asked, asked)


def denial_of(
    principal: Principal,
    model: str,
    groups: AccessGroups,
    *,
    asked: str = "",
    also: str = "",
    is_teams_own: bool = False,
) -> Level | None:
    """Return whose list refuses a model group, None when all of them allow it.

    Where the caller asked for it by an alias, the key's list may name either; the team's list may name an alias of
    the team, and neither the user's nor the organization's list knows aliases: who makes a key chooses its aliases,
    and reaches no further with them. `also` is an alias that everybody has, so that every list may name it. A team's
    own model needs no entry in the lists of its team and organization.
    """
    lists = principal.models
    if lists == _UNBOUNDED:
        return None
    if not (_allow(lists.key, model, groups, also) or (asked and _allow(lists.key, asked, groups))):
        return "key"
    if not _allow(lists.user, model, groups, also):
        return "user"
    if is_teams_own:
        return None
    if not _allow(lists.member, model, groups, also):
        return "team"
    if not (
        _allow(lists.team, model, groups, also)
        or (asked and principal.team_aliases.get(asked) in (model, also) and _allow(lists.team, asked, groups))
    ):
        return "team"
    return None if _allow(lists.organization, model, groups, also) else "organization"


def allows(entries: tuple[str, ...], model: str, groups: AccessGroups) -> bool:
    """Whether a list names the model, a prefix of it as in `openai/*`, an access group that has it, or every model.

    `all-team-models` leaves the decision to the team's list; a list of `no-default-models` alone allows nothing.
    """
    return model in entries or any(_matches(entry, model, groups) for entry in entries)


def _allow(entries: tuple[str, ...], model: str, groups: AccessGroups, also: str = "") -> bool:
    """An empty list does not bound."""
    return not entries or allows(entries, model, groups) or (also != "" and allows(entries, also, groups))


def _matches(entry: str, model: str, groups: AccessGroups) -> bool:
    if entry in _EVERY_MODEL or entry == _TEAM_MODELS:
        return True
    if entry.endswith("*"):
        return model.startswith(entry[:-1])
    members = groups.get(entry, ())
    return model in members or any(member.endswith("*") and model.startswith(member[:-1]) for member in members)
