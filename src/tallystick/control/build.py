"""From the configuration's model list to a snapshot of deployments."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from tallystick.config.model_list import ModelEntry
from tallystick.control.deployment import Deployment, Snapshot
from tallystick.errors import ConfigError
from tallystick.pricing.price import PriceSheet
from tallystick.providers.base import Target
from tallystick.providers.catalog import MOCK_RESPONSE, InvalidTarget, build_target


class PriceFor(Protocol):
    """Finds the price of a deployment, from its own settings or a price map; None when nobody knows it."""

    def __call__(self, entry: ModelEntry, provider: str, model: str, deployment_id: str) -> PriceSheet | None: ...


def build_snapshot(
    model_list: Sequence[ModelEntry],
    *,
    price_for: PriceFor,
    revision: int,
    timeout_seconds: float = 600.0,
    stream_idle_seconds: float = 600.0,
    environment: Mapping[str, str] | None = None,
) -> Snapshot:
    """Resolve every entry, in its order. The timeouts hold where an entry has none of its own.

    Raises ConfigError that names the entry and its field.
    """
    groups: dict[str, list[Deployment]] = {}
    places: dict[str, int] = {}
    fingerprints: Counter[str] = Counter()
    for index, entry in enumerate(model_list):
        target = _target(
            entry,
            index,
            timeout_seconds=timeout_seconds,
            stream_idle_seconds=stream_idle_seconds,
            environment=environment or {},
        )
        deployment_id = entry.model_info.id or _deployment_id(entry, fingerprints)
        if deployment_id in places:
            raise ConfigError(
                f"'{deployment_id}' is the id of model_list[{places[deployment_id]}] too: give each its own",
                key_path=f"model_list[{index}].model_info.id",
            )
        places[deployment_id] = index
        params = entry.litellm_params
        deployment = Deployment(
            deployment_id=deployment_id,
            model_group=entry.model_name,
            target=target,
            price=price_for(entry, target.provider, target.model, deployment_id),
            weight=1 if params.weight is None else params.weight,
            model_info=_model_info(entry, deployment_id),
        )
        groups.setdefault(entry.model_name, []).append(deployment)
    return Snapshot(revision=revision, model_groups={name: tuple(members) for name, members in groups.items()})


def _target(
    entry: ModelEntry,
    index: int,
    *,
    timeout_seconds: float,
    stream_idle_seconds: float,
    environment: Mapping[str, str],
) -> Target:
    params = entry.litellm_params
    try:
        return build_target(
            params.model,
            api_key=params.api_key,
            api_base=params.api_base,
            api_version=params.api_version,
            organization=params.organization,
            extra_headers=params.extra_headers,
            timeout_seconds=params.timeout or timeout_seconds,
            stream_idle_seconds=params.stream_timeout or stream_idle_seconds,
            options={} if params.mock_response is None else {MOCK_RESPONSE: params.mock_response},
            environment=environment,
        )
    except InvalidTarget as error:
        key_path = f"model_list[{index}].litellm_params.{error.field}"
        raise ConfigError(f"{error} (model group '{entry.model_name}')", key_path=key_path) from error


def _deployment_id(entry: ModelEntry, fingerprints: Counter[str]) -> str:
    """Return an id that is the same at every start and moves with nothing but where the calls go.

    Secrets are no part of it, so that a rotated key is the same deployment; equal entries are told apart by order.
    """
    params = entry.litellm_params
    place = [
        entry.model_name,
        params.model,
        params.api_base,
        params.api_version,
        params.organization,
        params.base_model,
    ]
    fingerprint = hashlib.sha256(msgspec.json.encode(place)).hexdigest()
    fingerprints[fingerprint] += 1
    ordinal = fingerprints[fingerprint]
    return fingerprint if ordinal == 1 else hashlib.sha256(f"{fingerprint}:{ordinal}".encode()).hexdigest()


def _model_info(entry: ModelEntry, deployment_id: str) -> Mapping[str, Any]:  # Any: free-form facts.
    info = entry.model_info
    facts = {**info.extra, **info.model_dump(exclude={"prices", "extra"}, exclude_none=True)}
    return facts | {"id": deployment_id, "db_model": False}
