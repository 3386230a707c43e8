"""Settings of who is charged, and what: attribution, discounts, margins."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tallystick.config.places import Given
from tallystick.config.record import Frozen, PositiveCount


class UserHeaderMapping(Frozen):
    """A request header and what it names."""

    header_name: Annotated[str, Field(min_length=1)]
    litellm_user_role: Literal["internal_user", "customer"] = "customer"


class AttributionSettings(Frozen):
    """Whom a call belongs to."""

    user_header_mappings: Annotated[
        tuple[UserHeaderMapping, ...],
        Given(
            name="user_header_mappings",
            description="Request headers that name the end user (`litellm_user_role: customer`) or the internal user "
            "(`internal_user`).",
            in_environment=False,
        ),
    ] = ()
    user_header_name: Annotated[
        str | None,
        Given(name="user_header_name", description="One request header that names the end user (older form)."),
    ] = None
    reject_clientside_metadata_tags: Annotated[
        bool,
        Given(
            name="reject_clientside_metadata_tags",
            description="Refuse calls whose body or headers bring their own tags.",
        ),
    ] = False
    disable_end_user_cost_tracking: Annotated[
        bool,
        Given(
            name="disable_end_user_cost_tracking",
            description="Record no end user.",
            file=("litellm_settings.disable_end_user_cost_tracking",),
        ),
    ] = False
    litellm_key_header_name: Annotated[
        str | None,
        Given(name="litellm_key_header_name", description="A further request header that may carry the virtual key."),
    ] = None
    metadata_bytes_max: Annotated[
        PositiveCount,
        Given(name="metadata_bytes_max", description="Largest metadata kept with an event, in bytes of JSON."),
    ] = 16384


class Margin(Frozen):
    """What is put on top of a provider's price."""

    percentage: Annotated[Decimal, Field(ge=0, decimal_places=6)] = Decimal(0)
    """A fraction: 0.1 is ten percent."""
    fixed_amount: Annotated[Decimal, Field(ge=0, decimal_places=9)] = Decimal(0)
    """USD a call."""

    @model_validator(mode="before")
    @classmethod
    def _read_number(cls, value: object) -> object:
        return value if isinstance(value, Mapping) else {"percentage": value}


class CostSettings(Frozen):
    """Discounts and margins by provider."""

    discounts: Annotated[
        Mapping[str, Annotated[Decimal, Field(ge=0, le=1, decimal_places=6)]],
        Given(
            name="cost_discount_config",
            description="Discount by provider, as a fraction: `{openai: 0.05}` is five percent off.",
            file=("litellm_settings.cost_discount_config",),
            in_environment=False,
        ),
    ] = Field(default_factory=dict)
    margins: Annotated[
        Mapping[str, Margin],
        Given(
            name="cost_margin_config",
            description="Margin by provider, or `global` for all others: a fraction, or `percentage` and "
            "`fixed_amount` (USD a call).",
            file=("litellm_settings.cost_margin_config",),
            in_environment=False,
        ),
    ] = Field(default_factory=dict)
    batch_price_factor: Annotated[
        Decimal,
        Field(ge=0, le=1, decimal_places=6),
        Given(
            name="batch_price_factor",
            description="What a call in a batch (`/v1/batches`) costs of its usual price, where the model has no "
            "prices of its own for batches (`input_cost_per_token_batches`, `output_cost_per_token_batches`). "
            "Providers document half.",
        ),
    ] = Decimal("0.5")
