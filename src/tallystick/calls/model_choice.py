"""From the name that a caller asks for to the deployments behind it: aliases, what it may call, what there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from tallystick.access.model_access import Level, denial_of, meant_model
from tallystick.access.principal import Principal
from tallystick.control.deployment import Deployment, Snapshot
from tallystick.errors import BadRequest, ModelNotAllowed

_SHOWN_CHARACTERS: Final = 256
_ERROR_TYPES: Final[Mapping[Level, str]] = {
    "key": "key_model_access_denied",
    "user": "user_model_access_denied",
    "team": "team_model_access_denied",
    "organization": "org_model_access_denied",
}


def choose_model(principal: Principal, asked: str, snapshot: Snapshot) -> Sequence[Deployment]:
    """Return the deployments of the model group that the caller means. Raises ModelNotAllowed, BadRequest."""
    model = meant_model(principal, asked)
    deployments = snapshot.find(model, team_id=principal.team_id)
    level = _denial(principal, asked, model, deployments, snapshot)
    if level is not None:
        raise ModelNotAllowed(
            f"The requested model '{asked[:_SHOWN_CHARACTERS]}' is not available for this API key, or the model name "
            "is invalid. GET /v1/models lists the models that it may call.",
            error_type=_ERROR_TYPES[level],
            param="model",
        )
    if not deployments:
        raise BadRequest(
            f"Invalid model name: there is no model '{asked[:_SHOWN_CHARACTERS]}'. "
            "GET /v1/models lists the models there are.",
            param="model",
        )
    return deployments


def callable_models(principal: Principal, snapshot: Snapshot) -> Iterator[str]:
    """Return the names that this caller may ask for: model groups, then its aliases of them."""
    groups = snapshot.groups_seen_by(principal.team_id)
    for asked in dict.fromkeys((*groups, *principal.model_aliases)):
        model = meant_model(principal, asked)
        deployments = groups.get(model)
        if deployments and _denial(principal, asked, model, deployments, snapshot) is None:
            yield asked


def _denial(
    principal: Principal, asked: str, model: str, deployments: Sequence[Deployment], snapshot: Snapshot
) -> Level | None:
    return denial_of(
        principal,
        model,
        snapshot.access_groups,
        asked=asked if asked != model else "",
        is_teams_own=bool(deployments) and deployments[0].team_id != "",
    )
