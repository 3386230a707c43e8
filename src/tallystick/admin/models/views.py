"""Deployments as LiteLLM's clients read them. No secret is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from tallystick.admin.present import text_of
from tallystick.control.deployment import Deployment
from tallystick.control.objects import ControlObject
from tallystick.control.secret_fields import MASK, masked
from tallystick.pricing.price import NANO_USD_PER_USD, UNITS_PER_PRICE, PriceSheet

JSON = dict[str, Any]  # Any: JSON.

_SUPPORTS: Final = (
    "supports_vision",
    "supports_function_calling",
    "supports_parallel_function_calling",
    "supports_tool_choice",
    "supports_response_schema",
    "supports_system_messages",
    "supports_prompt_caching",
    "supports_reasoning",
    "supports_computer_use",
    "supports_web_search",
    "supports_url_context",
    "supports_pdf_input",
    "supports_audio_input",
    "supports_audio_output",
    "supports_native_streaming",
)
_RATES: Final[Mapping[str, str]] = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
}
_FACTS: Final = (
    "mode",
    "base_model",
    "tier",
    "max_tokens",
    "max_output_tokens",
    "team_id",
    "access_groups",
    *_SUPPORTS,
)


def stored_row(held: ControlObject) -> JSON:
    """Return a row of the database as writes answer it."""
    spec = masked(held.kind, held.object_id, held.spec)
    return {
        "model_id": held.object_id,
        "model_name": held.name,
        "litellm_params": spec["litellm_params"],
        "model_info": {**spec.get("model_info", {}), **_columns(held)},
        "blocked": held.blocked,
        "created_at": text_of(held.created_at),
        "created_by": held.created_by,
        "updated_at": text_of(held.updated_at),
        "updated_by": held.updated_by,
    }


def served_model(deployment: Deployment, held: ControlObject | None, *, name: str = "") -> JSON:
    """Return a deployment that is served, with what is known of its model.

    `name` is what its callers call it; without one it has the name under which it is written.
    """
    facts = {
        **dict.fromkeys(_FACTS),
        "max_input_tokens": deployment.context_tokens,
        **_rates(deployment.price),
        **deployment.model_info,
        "key": f"{deployment.target.provider}/{deployment.target.model}",
        "litellm_provider": deployment.target.provider,
    }
    if held is not None:
        facts |= _columns(held)
    return {
        "model_name": name or (deployment.model_group if held is None else held.name),
        "litellm_params": _without_secrets(deployment.shown_params),
        "model_info": facts,
    }


def unserved_model(held: ControlObject, reason: str | None) -> JSON:
    """Return a row that is not served: it is blocked, or it can't be, for this reason."""
    spec = masked(held.kind, held.object_id, held.spec)
    facts = {**dict.fromkeys((*_FACTS, "max_input_tokens", *_RATES)), **_object(spec, "model_info"), **_columns(held)}
    if reason is not None:
        facts["left_out_because"] = reason
    return {
        "model_name": held.name,
        "litellm_params": _without_secrets(_object(spec, "litellm_params")),
        "model_info": facts,
    }


def group_row(name: str, members: Sequence[Deployment], *, is_public: bool) -> JSON:
    """Return what a model group offers: of several deployments, the most that one of them does."""
    rows = [served_model(each, None)["model_info"] for each in members]

    def most(fact: str) -> Any:  # Any: JSON.
        return max((row[fact] for row in rows if isinstance(row.get(fact), int | float)), default=None)

    return {
        "model_group": name,
        "providers": sorted({each.target.provider for each in members}),
        "max_tokens": most("max_tokens"),
        "max_input_tokens": most("max_input_tokens"),
        "max_output_tokens": most("max_output_tokens"),
        "input_cost_per_token": most("input_cost_per_token"),
        "output_cost_per_token": most("output_cost_per_token"),
        "mode": next((row["mode"] for row in rows if row["mode"]), None),
        "tpm": _sum_of("tpm", members),
        "rpm": _sum_of("rpm", members),
        **{name: any(row.get(name) is True for row in rows) for name in _SUPPORTS},
        "supported_openai_params": None,
        "is_public_model_group": is_public,
    }


def _object(spec: JSON, name: str) -> JSON:
    """Return an object of a spec that may be of any form: what can't be served is shown nevertheless."""
    found = spec.get(name)
    return found if isinstance(found, dict) else {}


def _sum_of(limit: str, members: Iterable[Deployment]) -> int | None:
    given = [each.shown_params[limit] for each in members if isinstance(each.shown_params.get(limit), int)]
    return sum(given) if given else None


def _columns(held: ControlObject) -> JSON:
    return {
        "id": held.object_id,
        "db_model": True,
        "team_id": held.team_id or None,
        "blocked": held.blocked,
        "created_at": text_of(held.created_at),
        "created_by": held.created_by,
        "updated_at": text_of(held.updated_at),
        "updated_by": held.updated_by,
    }


def _rates(price: PriceSheet | None) -> JSON:
    """Return USD a token; divided once, so that a price that was given is shown as it was."""
    rates = price.rates if price is not None else {}
    return {
        name: rates[unit].nano_usd_per_million / (NANO_USD_PER_USD * UNITS_PER_PRICE) if unit in rates else None
        for name, unit in _RATES.items()
    }


def _without_secrets(params: Mapping[str, Any]) -> JSON:  # Any: JSON.
    """Leave secrets out instead of masking them: clients that write back what they read don't write the mask."""
    return {name: value for name, value in params.items() if value != MASK and name != "api_key"}
