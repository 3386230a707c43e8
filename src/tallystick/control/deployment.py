"""Deployments: one upstream each, behind a model group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tallystick.pricing.price import PriceSheet
from tallystick.providers.base import Target


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream behind a model group, ready to be called."""

    deployment_id: str
    """`model_info.id`, else a hash of the group and the parameters: the same at every start."""
    model_group: str
    target: Target
    price: PriceSheet | None
    """None: the price is unknown, and events say so."""
    weight: int = 1
    model_info: Mapping[str, Any] = {}  # Any: free-form facts from the configuration, shown to callers.


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Every deployment at a revision. A call keeps the snapshot it began with."""

    revision: int
    model_groups: Mapping[str, tuple[Deployment, ...]]
