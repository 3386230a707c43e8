"""From the name that a caller asks for to the deployments behind it: aliases, what it may call, what there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from tallystick.access.model_access import Level, denial_of, meant_model
from tallystick.access.principal import Principal
from tallystick.control.deployment import Deployment
from tallystick.control.snapshot import Snapshot
from tallystick.errors import BadRequest, ModelNotAllowed

_SHOWN_CHARACTERS: Final = 256
ERROR_TYPES: Final[Mapping[Level, str]] = {
    "key": "key_model_access_denied",
    "user": "user_model_access_denied",
    "team": "team_model_access_denied",
    "organization": "org_model_access_denied",
}


def choose_model(principal: Principal, asked: str, snapshot: Snapshot) -> Sequence[Deployment]:
    """Return the deployments of the model group that the caller means. Raises ModelNotAllowed, BadRequest."""
    own = meant_model(principal, asked)
    model = _group_of(own, snapshot)
    deployments = snapshot.find(model, team_id=principal.team_id)
    level = _denial(principal, asked, own, model, deployments, snapshot)
    if level is not None:
        raise ModelNotAllowed(
            f"The requested model '{asked[:_SHOWN_CHARACTERS]}' is not available for this API key, or the model name "
            "is invalid. GET /v1/models lists the models that it may call.",
            error_type=ERROR_TYPES[level],
            param="model",
        )
    if not deployments:
        raise BadRequest(
            f"Invalid model name: there is no model '{asked[:_SHOWN_CHARACTERS]}'. "
            "GET /v1/models lists the models there are.",
            param="model",
        )
    return deployments


def callable_models(principal: Principal, snapshot: Snapshot, *, wildcards: bool = False) -> Iterator[str]:
    """Return the names that this caller may ask for: model groups, then aliases of them.

    A wildcard group is no name to ask for, and stands for more names than anybody knows; with `wildcards` it is named.
    """
    groups = snapshot.groups_seen_by(principal.team_id)
    shown = (alias for alias, meant in snapshot.settings.routing.model_group_alias.items() if not meant.hidden)
    for asked in dict.fromkeys((*groups, *shown, *principal.model_aliases)):
        own = meant_model(principal, asked)
        model = _group_of(own, snapshot)
        deployments = groups.get(model, ()) if wildcards else ()
        if not deployments or deployments[0].named is None:
            deployments = snapshot.find(model, team_id=principal.team_id)
        if deployments and _denial(principal, asked, own, model, deployments, snapshot) is None:
            yield asked


def is_of_wildcard(principal: Principal, asked: str, snapshot: Snapshot) -> bool:
    """Whether a wildcard group stands for a name, and this caller may ask for it."""
    try:
        return choose_model(principal, asked, snapshot)[0].is_of_wildcard
    except (ModelNotAllowed, BadRequest):
        return False


def _group_of(name: str, snapshot: Snapshot) -> str:
    """Return the model group that everybody means by a name: the settings' aliases come first."""
    alias = snapshot.settings.routing.model_group_alias.get(name)
    return name if alias is None else alias.model


def _denial(
    principal: Principal, asked: str, own: str, model: str, deployments: Sequence[Deployment], snapshot: Snapshot
) -> Level | None:
    """`own` is what the caller's aliases make of what it asked for, `model` what the settings' make of that."""
    return denial_of(
        principal,
        model,
        snapshot.access_groups,
        asked=asked if asked != own else "",
        also=own if own != model else "",
        is_teams_own=bool(deployments) and deployments[0].team_id != "",
    )
