"""Which deployment a passed call is of: whose credentials it goes with, and what it costs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from tallystick.access.model_access import denial_of
from tallystick.access.principal import Principal
from tallystick.calls.model_choice import ERROR_TYPES
from tallystick.control.deployment import Deployment
from tallystick.control.pass_through import PassThroughEndpoint
from tallystick.control.snapshot import Snapshot
from tallystick.errors import ModelNotAllowed, NotFound
from tallystick.providers.base import Target
from tallystick.providers.catalog import FAMILIES
from tallystick.wire.passed.operations import Prefix

_PROVIDERS_OF: Final[Mapping[Prefix, tuple[str, ...]]] = {"cohere": ("cohere", "cohere_chat")}
_NAME: Final = re.compile(r"[\x21-\x7e]{1,200}")
"""A model's name that may stand in an event although no deployment has it."""
_SHOWN_CHARACTERS: Final = 256


def of_endpoint(endpoint: PassThroughEndpoint) -> Deployment:
    """Return an endpoint as what calls are settled on."""
    return Deployment(
        deployment_id=endpoint.endpoint_id, model_group=endpoint.path, target=endpoint.target, price=endpoint.price
    )


def of_model(principal: Principal, prefix: Prefix, model: str, snapshot: Snapshot) -> Sequence[Deployment]:
    """Return the deployments of a provider that serve a model by the provider's own name, () when none does.

    Raises ModelNotAllowed when there are some, and the caller may use none of them.
    """
    found = [each for each in _of_provider(prefix, principal, snapshot) if _serves(each, model)]
    if not found:  # A wildcard group, such as openai/*, may stand for it.
        named = snapshot.find(f"{prefix}/{model}", team_id=principal.team_id)
        found = [each for each in named if each.target.provider in _providers_of(prefix) and _serves(each, model)]
    found = [each for each in found if not each.target.library]  # A library's credentials are no headers.
    groups = list(dict.fromkeys(each.model_group for each in found))
    allowed = next((group for group in groups if _may_call(principal, group, found, snapshot)), None)
    if found and allowed is None:
        raise _not_allowed(principal, groups[0], snapshot)
    return [each for each in found if each.model_group == allowed]


def signed_in(principal: Principal, prefix: Prefix, model: str, snapshot: Snapshot) -> Deployment:
    """Return what a provider is called with where no deployment serves the model, '' for one that is not known.

    First a deployment at the provider's own address, then a credential or the environment, then any deployment of it.
    Its price is not known yet. Raises ModelNotAllowed for a caller who may call some models and not this one; NotFound
    when the provider is not configured.
    """
    if model:
        _require_model(principal, prefix, model, snapshot)
    target = _target_of(prefix, principal, snapshot)
    if target is None:
        raise NotFound(
            f"There is no way to sign in at {prefix}: configure a model or a credential of it, or its environment "
            "variables."
        )
    known = model if _NAME.fullmatch(model) else ""
    return Deployment(
        deployment_id=f"pass_through:{prefix}",
        model_group=known or prefix,
        target=msgspec.structs.replace(target, model=known),
        price=None,
    )


def unnamed(deployment: Deployment, prefix: Prefix) -> Deployment:
    """Return it without the model: what a caller asked for in vain is no dimension of reports."""
    target = msgspec.structs.replace(deployment.target, model="")
    return msgspec.structs.replace(deployment, model_group=prefix, target=target)


def _of_provider(prefix: Prefix, principal: Principal, snapshot: Snapshot) -> Iterator[Deployment]:
    """Yield the deployments that call a provider, as callers of a team see them."""
    providers = _providers_of(prefix)
    for group in snapshot.groups_seen_by(principal.team_id).values():
        for each in group:
            if each.target.provider in providers and each.target.api_base and not each.target.library:
                yield each


def _providers_of(prefix: Prefix) -> tuple[str, ...]:
    return _PROVIDERS_OF.get(prefix, (prefix,))


def _serves(deployment: Deployment, model: str) -> bool:
    return deployment.named is None and deployment.target.model == model


def _may_call(principal: Principal, group: str, found: Sequence[Deployment], snapshot: Snapshot) -> bool:
    is_teams_own = any(each.model_group == group and each.team_id for each in found)
    return denial_of(principal, group, snapshot.access_groups, is_teams_own=is_teams_own) is None


def _require_model(principal: Principal, prefix: Prefix, model: str, snapshot: Snapshot) -> None:
    """A list of models may name it alone, or with its provider; a name with a provider alone goes before."""
    if denial_of(principal, f"{prefix}/{model}", snapshot.access_groups, also=model) is not None and (
        denial_of(principal, model, snapshot.access_groups) is not None
    ):
        raise _not_allowed(principal, model, snapshot)


def _not_allowed(principal: Principal, model: str, snapshot: Snapshot) -> ModelNotAllowed:
    level = denial_of(principal, model, snapshot.access_groups) or "key"
    return ModelNotAllowed(
        f"The requested model '{model[:_SHOWN_CHARACTERS]}' is not available for this API key. GET /v1/models lists "
        "the models that it may call.",
        error_type=ERROR_TYPES[level],
        param="model",
    )


def _target_of(prefix: Prefix, principal: Principal, snapshot: Snapshot) -> Target | None:
    deployments = list(_of_provider(prefix, principal, snapshot))
    own = next((each.target for each in deployments if each.target.api_base == FAMILIES[prefix].api_base), None)
    if own is not None:
        return own
    account = snapshot.pass_through.accounts.get(prefix)
    return account or next((each.target for each in deployments), None)
