"""From a deployment as it is written to one that can be called: credential, references, target, price."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
import pydantic

from tallystick.config.accounting_settings import CostSettings
from tallystick.config.model_list import SERVICE_TIERS, ModelEntry, is_of_library
from tallystick.config.references import resolve_text
from tallystick.control.candidates import Candidate
from tallystick.control.deployment import Deployment, DeploymentRates
from tallystick.control.prices import PriceList
from tallystick.control.resolving import CannotServe
from tallystick.control.wildcards import is_wildcard, model_for
from tallystick.errors import ConfigError
from tallystick.pricing.batch_price import batch_sheet
from tallystick.pricing.overrides import deployment_sheet, with_costs
from tallystick.pricing.price import PriceSheet
from tallystick.pricing.service_tier import with_service_tiers
from tallystick.providers.base import InvalidTarget, Target
from tallystick.providers.catalog import MOCK_RESPONSE, build_target
from tallystick.providers.openai_compatible import SPEAKS_RESPONSES
from tallystick.providers.vertex import VERTEX_PARAMS

_DEPTH_MAX: Final = 32
_CREDENTIAL: Final = "litellm_credential_name"
_RESPONSES_MODE: Final = "responses"
"""`model_info.mode` of a deployment that is called by the Responses API, whatever its callers speak."""
ANY_MODEL: Final = "*"
"""`litellm_params.model` of a wildcard group that passes any name on."""


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment is resolved with."""

    environment: Mapping[str, str]
    credentials: Mapping[str, Mapping[str, Any] | str]  # Any: JSON.
    """The values of each credential by its name, or why it can't be used."""
    costs: CostSettings
    prices: Callable[[], PriceList]
    """Called for the first deployment to price: loading the list takes long."""
    now: datetime
    timeout_seconds: float
    stream_timeout_seconds: float | None = None
    """None: as `timeout_seconds`, or the deployment's own."""
    drop_params: bool = False
    """On a deployment that does not say it itself."""
    unknown_providers: str = ""
    """The library that calls providers which are not known; '': none."""
    parallel_requests: int | None = None
    """On a deployment that does not say it itself."""
    note_change: Callable[[datetime | None], None] = lambda _: None
    """Told until when a price holds that is looked up later, for a model of a wildcard group."""


class Resolved(NamedTuple):
    """A deployment, and until when its price holds; None when that does not change by the calendar."""

    deployment: Deployment
    prices_until: datetime | None


def resolve(candidate: Candidate, around: Around, *, shown: Mapping[str, Any]) -> Resolved:  # Any: JSON.
    """Return what can be called. `shown` is its spec with secrets masked: what people see of it. Raises CannotServe."""
    entry = _entry(candidate, around)
    target = _target(entry, around)
    price = _price(entry, target, candidate.deployment_id, around)
    info, params = entry.model_info, entry.litellm_params
    group = (info.team_id and info.team_public_model_name) or entry.model_name
    deployment = Deployment(
        deployment_id=candidate.deployment_id,
        model_group=group,
        target=target,
        price=_with_service_tiers(price.sheet, entry, target, candidate.deployment_id, around),
        batch_price=_batch_price(price.sheet, entry, target, around),
        weight=params.weight,
        order=params.order,
        tags=params.tags,
        num_retries=params.max_retries if params.num_retries is None else params.num_retries,
        cooldown_seconds=params.cooldown_time,
        rates=_rates(entry, around),
        team_id=info.team_id or "",
        access_groups=info.access_groups,
        context_tokens=price.context_tokens,
        input_tokens_max=info.max_input_tokens or price.context_tokens,
        named=partial(_named, candidate, around, shown, group) if is_wildcard(group) else None,
        credential_name=params.litellm_credential_name or "",
        shown_params=shown.get("litellm_params", {}),
        model_info={**shown.get("model_info", {}), "id": candidate.deployment_id, "db_model": not candidate.from_file},
    )
    return Resolved(deployment, price.until)


def _named(
    candidate: Candidate,
    around: Around,
    shown: Mapping[str, Any],  # Any: JSON.
    pattern: str,
    name: str,
) -> Deployment:
    """Return what a wildcard deployment serves a model's name with. Raises CannotServe."""
    provider_model = candidate.params.get("model")
    if isinstance(provider_model, str):
        params = {**candidate.params, "model": model_for(pattern, provider_model, name)}
        candidate = msgspec.structs.replace(candidate, model_group=name, params=params)
    found, until = resolve(candidate, around, shown=shown)
    around.note_change(until)
    return msgspec.structs.replace(found, model_group=name, named=None, is_of_wildcard=True)


def _rates(entry: ModelEntry, around: Around) -> DeploymentRates | None:
    params = entry.litellm_params
    parallel = params.max_parallel_requests
    rates = DeploymentRates(
        requests_per_minute=params.rpm,
        tokens_per_minute=params.tpm,
        parallel_requests=around.parallel_requests if parallel is None else parallel,
    )
    return None if rates == DeploymentRates() else rates


def _entry(candidate: Candidate, around: Around) -> ModelEntry:
    """Merge the credential below the deployment's own parameters and resolve every reference."""
    given = {name: value for name, value in candidate.params.items() if value is not None}
    credential_name = given.get(_CREDENTIAL)
    if credential_name is not None:
        given = {**_credential(credential_name, around), **given}
    given = {
        name: value if name == _CREDENTIAL else _resolved(value, around.environment, depth=0, name=name)
        for name, value in given.items()
    }
    written = {"model_name": candidate.model_group, "litellm_params": given, "model_info": dict(candidate.info)}
    try:
        return ModelEntry.model_validate(written)
    except pydantic.ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = ".".join(str(step) for step in first["loc"] if step not in {"prices", "extra"})
        raise CannotServe(field, first["msg"].removeprefix("Value error, ")) from None


def _target(entry: ModelEntry, around: Around) -> Target:
    params = entry.litellm_params
    if params.model == ANY_MODEL:  # The provider is in each model's name.
        return Target(provider="", model=ANY_MODEL, api_base=params.api_base or "")
    timeout = params.timeout or around.timeout_seconds
    try:
        return build_target(
            params.model,
            api_key=params.api_key,
            api_base=params.api_base,
            api_version=params.api_version,
            organization=params.organization,
            extra_headers=params.extra_headers,
            timeout_seconds=timeout,
            drop_params=around.drop_params if params.drop_params is None else params.drop_params,
            stream_idle_seconds=params.stream_timeout or around.stream_timeout_seconds or timeout,
            aws=params.aws,
            options=_options(entry),
            params=_library_params(entry),
            unknown_providers=around.unknown_providers,
            environment=around.environment,
        )
    except InvalidTarget as error:
        raise CannotServe(f"litellm_params.{error.field}", str(error)) from error


def _options(entry: ModelEntry) -> dict[str, object]:
    """Return what only some adapters need."""
    given = {name: getattr(entry.litellm_params, name) for name in (MOCK_RESPONSE, *VERTEX_PARAMS)}
    options = {name: value for name, value in given.items() if value is not None}
    if entry.model_info.mode == _RESPONSES_MODE:
        options[SPEAKS_RESPONSES] = True
    return options


def _library_params(entry: ModelEntry) -> dict[str, object]:
    """Return what a library is given besides key and base: where it is named, all that is none of our parameters."""
    params = entry.litellm_params
    given = {name: getattr(params, name) for name in ("api_version", "organization", *VERTEX_PARAMS)}
    extra = params.extra if is_of_library(params.model) else {}
    return {name: value for name, value in {**given, **params.aws, **extra}.items() if value is not None}


class _Price(NamedTuple):
    sheet: PriceSheet | None
    until: datetime | None
    context_tokens: int | None


def _price(entry: ModelEntry, target: Target, deployment_id: str, around: Around) -> _Price:
    """Look the price up as it is now."""
    now, api_base = around.now, entry.litellm_params.api_base or ""
    changes: list[datetime | None] = []
    contexts: list[int | None] = []

    def seed(provider: str, model: str) -> PriceSheet | None:
        prices = around.prices()
        changes.append(prices.next_change(provider, model, now=now, api_base=api_base))
        contexts.append(prices.context_tokens(provider, model, api_base=api_base))
        return prices.resolve(provider, model, now=now, api_base=api_base)

    try:
        sheet = deployment_sheet(
            deployment_id=deployment_id,
            provider=target.provider,
            model=target.model,
            prices=entry.prices,
            base_model=entry.base_model,
            costs=around.costs,
            seed=seed,
        )
    except ConfigError as error:
        raise CannotServe("litellm_params", str(error)) from error
    until = min((change for change in changes if change is not None), default=None)
    return _Price(sheet, until, next((context for context in contexts if context is not None), None))


def _batch_price(sheet: PriceSheet | None, entry: ModelEntry, target: Target, around: Around) -> PriceSheet | None:
    """Return what the deployment charges in batches. A usual price has discount and margin already."""
    batches = batch_sheet(sheet, prices=entry.batch_prices, factor=around.costs.batch_price_factor)
    return with_costs(batches, target.provider, around.costs) if sheet is None and batches is not None else batches


def _with_service_tiers(
    sheet: PriceSheet | None, entry: ModelEntry, target: Target, deployment_id: str, around: Around
) -> PriceSheet | None:
    """Add what the deployment charges in service tiers. Where nobody knows its usual price, it may know those."""
    prices = {tier: entry.tier_prices(tier) for tier in SERVICE_TIERS}
    factors = entry.model_info.provider_specific_entry
    if not any(prices.values()) and (sheet is None or not factors):
        return sheet
    if sheet is None:
        sheet = with_costs(PriceSheet(version=f"config:{deployment_id}", rates={}), target.provider, around.costs)
    try:
        return with_service_tiers(sheet, deployment_id=deployment_id, prices=prices, factors=factors)
    except ConfigError as error:
        raise CannotServe("litellm_params", str(error)) from error


def _credential(name: object, around: Around) -> Mapping[str, Any]:  # Any: JSON.
    found = around.credentials.get(name) if isinstance(name, str) else None
    if found is None:
        reason = f"there is no credential {str(name)[:100]!r}: add it with POST /credentials"
        raise CannotServe(f"litellm_params.{_CREDENTIAL}", reason)
    if isinstance(found, str):
        raise CannotServe(f"litellm_params.{_CREDENTIAL}", f"the credential {name!r} can't be used: {found}")
    return {key: value for key, value in found.items() if value is not None}


def _resolved(value: Any, environment: Mapping[str, str], *, depth: int, name: str) -> Any:  # Any: JSON.
    if depth > _DEPTH_MAX:
        raise CannotServe(f"litellm_params.{name}", f"it must not be nested deeper than {_DEPTH_MAX} levels")
    if isinstance(value, str):
        try:
            return resolve_text(value, environment)
        except ValueError as error:
            raise CannotServe(f"litellm_params.{name}", str(error)) from None
    if isinstance(value, dict):
        return {key: _resolved(item, environment, depth=depth + 1, name=name) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, environment, depth=depth + 1, name=name) for item in value]
    return value
