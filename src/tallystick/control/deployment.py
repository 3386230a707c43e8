"""Deployments: one upstream behind a model group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

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
