"""The snapshot of all that calls are served with."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tallystick.control.deployment import Deployment
from tallystick.control.live_settings import LiveSettings
from tallystick.control.pass_through import NO_PASS_THROUGH, PassThrough
from tallystick.control.wildcards import WildcardGroups


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A control object that is not in the snapshot, and why. It has no secret in it, and takes no other with it."""

    kind: str
    object_id: str
    name: str
    reason: str


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All that calls are served with, at a revision. A call keeps the snapshot it began with."""

    revision: int
    model_groups: Mapping[str, tuple[Deployment, ...]]
    """Of everybody, by name."""
    team_model_groups: Mapping[str, Mapping[str, tuple[Deployment, ...]]] = {}
    """Of single teams: by team id, then by name. A team's own model needs no entry in the team's list of models."""
    access_groups: Mapping[str, frozenset[str]] = {}
    """The models of each access group, by the group's name and by its id."""
    wildcards: WildcardGroups = WildcardGroups(())
    team_wildcards: Mapping[str, WildcardGroups] = {}
    settings: LiveSettings = LiveSettings()
    pass_through: PassThrough = NO_PASS_THROUGH
    left_out: tuple[LeftOut, ...] = ()

    def find(self, model_group: str, *, team_id: str = "") -> tuple[Deployment, ...]:
        """Return the deployments of a name as callers of a team see it; () when there is none."""
        own = self.team_model_groups.get(team_id, {}).get(model_group) if team_id else None
        found = own or self.model_groups.get(model_group)
        if found and found[0].named is None:
            return found
        if team_id in self.team_wildcards and (own := self.team_wildcards[team_id].find(model_group)):
            return own
        return self.wildcards.find(model_group)

    def groups_seen_by(self, team_id: str) -> Mapping[str, tuple[Deployment, ...]]:
        """Return all model groups as callers of a team see them; '' sees those of everybody."""
        own = self.team_model_groups.get(team_id) if team_id else None
        return {**self.model_groups, **own} if own else self.model_groups

    def deployments(self) -> Mapping[str, Deployment]:
        """Return every deployment that is served, by id."""
        groups = (self.model_groups, *self.team_model_groups.values())
        return {each.deployment_id: each for group in groups for members in group.values() for each in members}
