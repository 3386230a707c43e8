"""From pass-through endpoints as they are written, in the file or in the database, to ones that can be called."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, get_args
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec
import pydantic

from tallystick.config.pass_through_settings import METHODS, PassThroughEntry
from tallystick.config.references import ENVIRONMENT_PREFIX, resolve_text
from tallystick.config.settings import Settings
from tallystick.control.candidates import Candidate
from tallystick.control.objects import ControlObject, Kind
from tallystick.control.pass_through import PassThrough, PassThroughEndpoint
from tallystick.control.resolve import Around, resolve
from tallystick.control.resolving import CannotServe
from tallystick.control.snapshot import LeftOut
from tallystick.errors import ConfigError, TallystickError, UpstreamUnreachable
from tallystick.pricing.overrides import deployment_sheet, no_seed
from tallystick.pricing.price import PriceSheet
from tallystick.providers.base import Target
from tallystick.providers.destination import Destination
from tallystick.providers.passing import EXACT
from tallystick.wire.passed.operations import Prefix

OpenSpec = Callable[[Kind, str, Mapping[str, Any]], dict[str, Any]]  # Any: JSON.
PASS_THROUGH: Final = "pass_through"  # noqa: S105 - a word.
"""The provider of endpoints, in events and in costs by provider."""
_PROVIDERS: Final[tuple[str, ...]] = get_args(Prefix)
_ANY_MODELS: Final[Mapping[str, str]] = {"vertex_ai": "gemini-2.5-flash"}
"""Where a model's name must be one that there is, so that its provider can be resolved."""
_EMBEDDED: Final = re.compile(r"os\.environ/[A-Za-z_][A-Za-z0-9_]*")
_PRICES_MAX: Final = 1024


def build_pass_through(
    settings: Settings,
    *,
    objects: Sequence[ControlObject],
    around: Around,
    open_spec: OpenSpec,
    left_out: list[LeftOut],
) -> PassThrough:
    """Return what calls are passed through to. Of two endpoints with one path the file's is in force."""
    by_path = {
        endpoint.path: endpoint
        for index, entry in enumerate(settings.pass_through.endpoints)
        if (endpoint := _of_file(index, entry, around, left_out)) is not None
    }
    for held in sorted(objects, key=lambda each: (each.created_at, each.object_id)):
        if held.kind != Kind.PASS_THROUGH_ENDPOINT or held.blocked:
            continue
        try:
            endpoint = endpoint_of_object(held, open_spec(held.kind, held.object_id, held.spec), around)
            if endpoint.path in by_path:
                raise CannotServe("path", f"there is another endpoint with the path {endpoint.path}")
        except (TallystickError, ValueError) as error:
            reason = f"{error.field}: {error}" if isinstance(error, CannotServe) else str(error)
            left_out.append(LeftOut(kind=held.kind, object_id=held.object_id, name=held.name, reason=reason))
            continue
        by_path[endpoint.path] = endpoint

    @lru_cache(_PRICES_MAX)
    def find_price(provider: str, model: str) -> PriceSheet | None:
        return _listed_price(provider, model, around)

    return PassThrough(
        endpoints=tuple(sorted(by_path.values(), key=lambda each: len(each.path), reverse=True)),
        accounts=dict(_accounts(settings, objects, around)),
        find_price=find_price,
    )


def check_endpoints(entries: Sequence[PassThroughEntry], around: Around) -> None:
    """Raise ConfigError that names the entry of the file which can't be called, or whose path is another's."""
    places: dict[str, int] = {}
    for index, entry in enumerate(entries):
        where = f"general_settings.pass_through_endpoints[{index}]"
        if entry.path in places:
            raise ConfigError(f"'{entry.path}' is the path of [{places[entry.path]}] too", key_path=f"{where}.path")
        places[entry.path] = index
        try:
            _endpoint(id_of_entry(entry), entry, around)
        except CannotServe as error:
            raise ConfigError(str(error), key_path=f"{where}.{error.field}") from error


def endpoint_of_object(
    held: ControlObject, spec: Mapping[str, Any], around: Around
) -> PassThroughEndpoint:  # Any: JSON
    """Return a row's endpoint, its spec given with secrets opened. Raises CannotServe."""
    try:
        entry = PassThroughEntry.model_validate({**spec, "path": held.name})
    except pydantic.ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise CannotServe(str(first["loc"][0]), first["msg"].removeprefix("Value error, ")) from None
    return _endpoint(held.object_id, entry, around)


def id_of_entry(entry: PassThroughEntry) -> str:
    """Return the id of an endpoint of the file: the same at every start."""
    return entry.id or sha256(f"{PASS_THROUGH}:{entry.path}".encode()).hexdigest()[:32]


def _of_file(
    index: int, entry: PassThroughEntry, around: Around, left_out: list[LeftOut]
) -> PassThroughEndpoint | None:
    try:
        return _endpoint(id_of_entry(entry), entry, around)
    except CannotServe as error:  # A variable of the database is not there any more.
        reason = f"pass_through_endpoints[{index}].{error.field}: {error}"
        left_out.append(
            LeftOut(kind=Kind.PASS_THROUGH_ENDPOINT, object_id=id_of_entry(entry), name=entry.path, reason=reason)
        )
        return None


def _endpoint(endpoint_id: str, entry: PassThroughEntry, around: Around) -> PassThroughEndpoint:
    address = urlsplit(entry.target)
    parameters = {
        name: _text(value, around, "default_query_params") for name, value in entry.default_query_params.items()
    }
    query = "&".join(part for part in (address.query, urlencode(parameters)) if part)
    timeout = entry.timeout or around.timeout_seconds
    target = Target(
        provider=PASS_THROUGH,
        model="",
        api_base=urlunsplit(address._replace(query="", path=address.path.rstrip("/"))),
        headers={name.lower(): _text(value, around, "headers") for name, value in entry.headers.items()},
        query=query,
        path_style=EXACT,
        timeout_seconds=timeout,
        stream_idle_seconds=entry.timeout or around.stream_timeout_seconds or timeout,
    )
    try:
        Destination(target.api_base, target.headers)
    except UpstreamUnreachable as error:
        raise CannotServe("target", str(error)) from error
    return PassThroughEndpoint(
        endpoint_id=endpoint_id,
        path=entry.path,
        target=target,
        price=_fixed_price(endpoint_id, entry.cost_per_request, around),
        auth=entry.auth,
        methods=entry.methods or METHODS,
        include_subpath=entry.include_subpath,
        forward_headers=entry.forward_headers,
    )


def _text(value: str, around: Around, field: str) -> str:
    """Resolve a reference, which may also stand behind other text, as in `Bearer os.environ/NAME`."""
    try:
        if ENVIRONMENT_PREFIX not in value or value.startswith(ENVIRONMENT_PREFIX):
            return resolve_text(value, around.environment)
        return _EMBEDDED.sub(lambda found: resolve_text(found[0], around.environment), value)
    except ValueError as error:
        raise CannotServe(field, str(error)) from None


def _fixed_price(endpoint_id: str, usd: Decimal | None, around: Around) -> PriceSheet | None:
    if usd is None:
        return None
    return deployment_sheet(
        deployment_id=endpoint_id,
        provider=PASS_THROUGH,
        model="",
        prices={"input_cost_per_request": usd},
        base_model=None,
        costs=around.costs,
        seed=no_seed,
    )


def _accounts(settings: Settings, objects: Sequence[ControlObject], around: Around) -> Iterator[tuple[str, Target]]:
    """Yield what each provider is called with where no deployment is: a credential's values, else the environment."""
    facts: dict[str, Mapping[str, Any]] = {  # Any: JSON.
        entry.credential_name: entry.credential_info for entry in settings.credential_list
    }
    for held in objects:
        if held.kind == Kind.CREDENTIAL:
            facts[held.object_id] = held.spec.get("credential_info") or {}
    unpriced = msgspec.structs.replace(around, prices=_NoPrices)
    for provider in _PROVIDERS:
        named = [name for name, info in sorted(facts.items()) if info.get("custom_llm_provider") == provider]
        model = f"{provider}/{_ANY_MODELS.get(provider, '-')}"
        for params in (*({"litellm_credential_name": name} for name in named), {}):
            candidate = Candidate(
                deployment_id=PASS_THROUGH, model_group=provider, params={"model": model, **params}, info={}
            )
            try:
                target = resolve(candidate, unpriced, shown={}).deployment.target
            except CannotServe:
                continue
            yield provider, msgspec.structs.replace(target, model="")
            break


class _NoPrices:
    """A PriceList that is empty: who is signed in with has no price, and loading the list takes long."""

    def resolve(self, _provider: str, _model: str, *, now: datetime, api_base: str = "") -> None:
        """See PriceList."""

    def next_change(self, _provider: str, _model: str, *, now: datetime, api_base: str = "") -> None:
        """See PriceList."""

    def context_tokens(self, _provider: str, _model: str, *, api_base: str = "") -> None:
        """See PriceList."""


def _listed_price(provider: str, model: str, around: Around) -> PriceSheet | None:
    prices = around.prices()
    around.note_change(prices.next_change(provider, model, now=around.now))
    return deployment_sheet(
        deployment_id=f"{PASS_THROUGH}:{provider}",
        provider=provider,
        model=model,
        prices={},
        base_model=None,
        costs=around.costs,
        seed=lambda provider, model: prices.resolve(provider, model, now=around.now),
    )
