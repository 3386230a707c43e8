"""Deployments as they are written, in the file or in the database, before they are resolved."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from tallystick.config.model_list import LitellmParams, ModelEntry, ModelInfo
from tallystick.control.objects import ControlObject, spec_as
from tallystick.control.specs import ModelSpec
from tallystick.errors import ConfigError


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment as it is written."""

    deployment_id: str
    model_group: str
    params: Mapping[str, Any]  # Any: JSON.
    info: Mapping[str, Any]  # Any: JSON.
    from_file: bool = False
    index: int = 0
    """Its place in the file's list."""

    @property
    def credential_name(self) -> str:
        name = self.params.get("litellm_credential_name")
        return name if isinstance(name, str) else ""


def candidates_of_file(model_list: Sequence[ModelEntry]) -> tuple[Candidate, ...]:
    """Return the file's deployments, in its order. Raises ConfigError when two have the same id."""
    places: dict[str, int] = {}
    fingerprints: Counter[str] = Counter()
    found: list[Candidate] = []
    for index, entry in enumerate(model_list):
        deployment_id = entry.model_info.id or _deployment_id(entry, fingerprints)
        if deployment_id in places:
            raise ConfigError(
                f"'{deployment_id}' is the id of model_list[{places[deployment_id]}] too: give each its own",
                key_path=f"model_list[{index}].model_info.id",
            )
        places[deployment_id] = index
        found.append(
            Candidate(
                deployment_id=deployment_id,
                model_group=entry.model_name,
                params=_written(entry.litellm_params),
                info=_written(entry.model_info),
                from_file=True,
                index=index,
            )
        )
    return tuple(found)


def candidate_of_object(held: ControlObject, spec: Mapping[str, Any]) -> Candidate:  # Any: JSON.
    """Return a database row's deployment, its spec given with secrets opened. Raises ValueError for a wrong spec."""
    typed = spec_as(ModelSpec, dict(spec))
    info = dict(typed.model_info)
    info.pop("id", None)
    if held.team_id:
        info["team_id"] = held.team_id
    return Candidate(deployment_id=held.object_id, model_group=held.name, params=typed.litellm_params, info=info)


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


def _written(record: LitellmParams | ModelInfo) -> dict[str, Any]:  # Any: JSON.
    """Return a record of the file as it was written, but for fields that were left out."""
    own = record.model_dump(exclude={"prices", "extra"}, exclude_defaults=True)
    return {**record.extra, **_numbers(record.prices), **own}


def _numbers(prices: Mapping[str, Decimal]) -> dict[str, float]:
    return {name: float(price) for name, price in prices.items()}
