"""The `model_list` of the configuration file, typed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, model_validator

from tallystick.config.record import Frozen, Seconds
from tallystick.config.routing_settings import Retries

PRICE_FIELDS = frozenset(
    {
        "input_cost_per_token",
        "output_cost_per_token",
        "cache_read_input_token_cost",
        "cache_read_input_audio_token_cost",
        "cache_creation_input_token_cost",
        "cache_creation_input_token_cost_above_1hr",
        "output_cost_per_reasoning_token",
        "input_cost_per_audio_token",
        "output_cost_per_audio_token",
        "input_cost_per_image_token",
        "output_cost_per_image_token",
        "input_cost_per_image",
        "input_cost_per_pixel",
        "output_cost_per_pixel",
        "input_cost_per_character",
        "input_cost_per_query",
        "file_search_cost_per_1k_calls",
        "code_interpreter_cost_per_session",
        "input_cost_per_second",
        "output_cost_per_second",
        "output_cost_per_image",
        "input_cost_per_request",
    }
)
BATCH_PRICE_FIELDS = frozenset(("input_cost_per_token_batches", "output_cost_per_token_batches"))
"""What tokens cost in batches that the upstream works off when it has time."""
TIER_SUFFIX = re.compile(r"_above_(\d{1,6})k_tokens$")

_LIBRARIES = ("any-llm/", "litellm/")

Price = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class _PricedRecord(Frozen):
    """A record that may hold price fields and fields that we don't know; both are kept aside by their names."""

    prices: Mapping[str, Price] = {}
    """USD per unit, by LiteLLM's field name, tiers included."""
    extra: Mapping[str, Any] = Field(default={}, repr=False)  # Any: whatever the file holds.

    @model_validator(mode="before")
    @classmethod
    def _set_aside(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        given = {name: item for name, item in value.items() if item is not None}
        own = cls.model_fields.keys() - {"prices", "extra"}
        record: dict[str, object] = {name: item for name, item in given.items() if name in own}
        record["prices"] = {name: item for name, item in given.items() if is_price_field(name)}
        record["extra"] = {name: item for name, item in given.items() if name not in own and not is_price_field(name)}
        return record


class LitellmParams(_PricedRecord):
    """How a deployment is called."""

    model: Annotated[str, Field(min_length=1)]
    """`provider/name`."""
    api_key: str | None = Field(default=None, repr=False)
    api_base: str | None = None
    api_version: str | None = None
    organization: str | None = None
    timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds."""
    stream_timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds."""
    weight: Annotated[int, Field(ge=0)] | None = None
    order: int | None = None
    """Deployments with the lowest are tried before the others of their group."""
    tags: tuple[str, ...] = ()
    """Calls with one of these tags come here, where `enable_tag_filtering` is on."""
    num_retries: Retries | None = None
    cooldown_time: Seconds | None = None
    """Seconds for which it is left alone when it fails."""
    rpm: Annotated[int, Field(ge=0)] | None = None
    tpm: Annotated[int, Field(ge=0)] | None = None
    max_parallel_requests: Annotated[int, Field(ge=0)] | None = None
    max_retries: Retries | None = None
    """The same as `num_retries`, which goes before it."""
    extra_headers: Mapping[str, str] = Field(default={}, repr=False)
    mock_response: str | None = None
    drop_params: bool | None = None
    """Whether what the upstream's dialect can't say is dropped; None: as the setting says."""
    base_model: str | None = None
    vertex_project: str | None = None
    vertex_location: str | None = None
    vertex_credentials: str | Mapping[str, Any] | None = Field(default=None, repr=False)  # Any: JSON.
    """A service account as JSON, or the path of a file with it."""
    litellm_credential_name: str | None = None
    """A credential whose values hold where this deployment has none of its own."""
    aws_access_key_id: str | None = Field(default=None, repr=False)
    aws_secret_access_key: str | None = Field(default=None, repr=False)
    aws_session_token: str | None = Field(default=None, repr=False)
    aws_region_name: str | None = None
    aws_profile_name: str | None = None
    """Of the files that AWS' own tools read."""
    aws_role_name: str | None = None
    """The ARN of a role that is assumed with the credentials."""
    aws_session_name: str | None = None
    """What a session of that role is called."""
    aws_bedrock_runtime_endpoint: str | None = None
    """In place of the region's own address."""

    @property
    def aws(self) -> Mapping[str, str]:
        """The parameters of AWS that are given, by their names."""
        given = {name: getattr(self, name) for name in LitellmParams.model_fields if name.startswith("aws_")}
        return {name: value for name, value in given.items() if value}


class ModelInfo(_PricedRecord):
    """Facts about a deployment; free-form ones are kept in `extra`."""

    id: Annotated[str, Field(min_length=1)] | None = None
    mode: str | None = None
    base_model: str | None = None
    max_tokens: int | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    access_groups: tuple[str, ...] = ()
    """Names under which lists of models may allow it."""
    health_check_model: str | None = None
    """The model that checks ask for in place of its own."""
    disable_background_health_check: bool = False
    team_id: str | None = None
    """The only team that may see and call it."""
    team_public_model_name: str | None = None
    """What that team calls it, when not by its model group's name."""


class CredentialEntry(Frozen):
    """An entry of `credential_list`: parameters that deployments name by `litellm_credential_name`."""

    credential_name: Annotated[str, Field(min_length=1)]
    credential_values: Mapping[str, Any] = Field(default={}, repr=False)  # Any: parameters of any provider.
    credential_info: Mapping[str, Any] = {}  # Any: free-form facts.


class ModelEntry(Frozen):
    """One deployment of a model group."""

    model_name: Annotated[str, Field(min_length=1)]
    litellm_params: LitellmParams
    model_info: ModelInfo = ModelInfo()

    @model_validator(mode="before")
    @classmethod
    def _leave_unknown_keys(cls, value: object) -> object:
        """Unknown keys of an entry are warned about by `unknown_keys`; they are not an error."""
        if not isinstance(value, Mapping):
            return value
        return {name: item for name, item in value.items() if name in cls.model_fields and item is not None}

    @property
    def prices(self) -> Mapping[str, Decimal]:
        """Price fields of both places; `litellm_params` wins."""
        return {name: price for name, price in self._given_prices.items() if name not in BATCH_PRICE_FIELDS}

    @property
    def batch_prices(self) -> Mapping[str, Decimal]:
        """Those of them that hold for calls in batches."""
        return {name: price for name, price in self._given_prices.items() if name in BATCH_PRICE_FIELDS}

    @property
    def _given_prices(self) -> Mapping[str, Decimal]:
        return {**self.model_info.prices, **self.litellm_params.prices}

    @property
    def base_model(self) -> str | None:
        """The model whose price and limits this deployment has, when its own name does not say it."""
        return self.model_info.base_model or self.litellm_params.base_model


def is_of_library(model: object) -> bool:
    """Whether a model is called by a library, which takes parameters that we don't know."""
    return isinstance(model, str) and model.startswith(_LIBRARIES)


def is_price_field(name: str) -> bool:
    """Whether a field holds a price that we know: `input_cost_per_token`, `input_cost_per_token_above_200k_tokens`."""
    return TIER_SUFFIX.sub("", name) in PRICE_FIELDS or name in BATCH_PRICE_FIELDS
