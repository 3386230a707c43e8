"""Deployments, and the snapshot of all that calls are served with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tallystick.control.live_settings import LiveSettings
from tallystick.control.pass_through import NO_PASS_THROUGH, PassThrough
from tallystick.control.wildcards import WildcardGroups
from tallystick.pricing.price import PriceSheet
from tallystick.providers.base import Target


class DeploymentRates(msgspec.Struct, frozen=True, kw_only=True):
    """What one deployment may be asked. None does not limit; one of these always does."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    parallel_requests: int | None = None


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream behind a model group, ready to be called."""

    deployment_id: str
    """`model_info.id`, else a hash of the group and the parameters: the same at every start."""
    model_group: str
    """What callers call it; for a team's own model, what the team calls it."""
    target: Target
    price: PriceSheet | None
    """None: the price is unknown, and events say so."""
    batch_price: PriceSheet | None = None
    """What calls in batches cost; None: that is unknown."""
    weight: int | None = None
    order: int | None = None
    """Those with the lowest are tried before the others of the group; None comes last."""
    tags: tuple[str, ...] = ()
    num_retries: int | None = None
    """None: as the settings say."""
    cooldown_seconds: float | None = None
    """None: as the upstream or the settings say."""
    rates: DeploymentRates | None = None
    """None: it is not limited."""
    team_id: str = ""
    """The only team that may see and call it; '' is everybody's."""
    access_groups: tuple[str, ...] = ()
    context_tokens: int | None = None
    """The most input tokens, where the list of prices knows them."""
    input_tokens_max: int | None = None
    """The most input tokens: `model_info.max_input_tokens`, else `context_tokens`."""
    named: Callable[[str], Deployment] | None = None
    """Of a wildcard group: what it serves a model's name with. Raises CannotServe."""
    is_of_wildcard: bool = False
    """It was made for a name by a wildcard group, and shares its id with the others of it."""
    credential_name: str = ""
    shown_params: Mapping[str, Any] = {}  # Any: JSON.
    """`litellm_params` with secrets masked."""
    model_info: Mapping[str, Any] = {}  # Any: free-form facts, shown to callers.


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
