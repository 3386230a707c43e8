"""The registry of secrets: which texts of which kind of object are secret.

Sealing at each write, masking at each read and in the audit, and rotation all go by this one list. `_RULES` has a rule
for each kind; a test fails when a kind has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tallystick.config.model_list import is_price_field
from tallystick.config.references import is_reference
from tallystick.control.cipher import seems_sealed
from tallystick.control.objects import Kind
from tallystick.control.secret_names import holds_secret, looks_secret, may_be_secret

Path = tuple[str | int, ...]
"""Where a text is in a spec: names of fields and positions in lists."""
Replace = Callable[[Path, str], str]

MASK: Final = "****"
DEPTH_MAX: Final = 64
"""Deeper than this, nothing is looked at: `replace_texts` raises ValueError."""

_SHOWN_PARAMS: Final = frozenset(
    {"model", "api_base", "api_version", "custom_llm_provider", "base_model", "litellm_credential_name",
     "organization", "mock_response", "tags", "region_name", "aws_region_name", "aws_role_name",
     "aws_session_name", "aws_profile_name", "aws_bedrock_runtime_endpoint", "vertex_project",
     "vertex_location", "watsonx_region_name", "tenant_id", "timeout", "stream_timeout", "weight", "order",
     "rpm", "tpm", "max_retries", "max_parallel_requests", "max_budget", "budget_duration", "max_file_size_mb",
     "drop_params", "additional_drop_params", "use_in_pass_through", "use_litellm_proxy",
     "configurable_clientside_auth_params", "default_api_key_tpm_limit", "default_api_key_rpm_limit",
     "merge_reasoning_content_in_choices", "model_group", "temperature", "top_p", "max_tokens",
     "max_completion_tokens", "stop", "seed", "reasoning_effort", "frequency_penalty", "presence_penalty", "n",
     "response_format", "cache_control_injection_points", "mock_timeout", "tiered_pricing",
     "search_context_cost_per_query"}
)  # fmt: skip
"""Parameters of a deployment that are known not to be secret. All others are: a new provider's key has any name."""
_HEADERS: Final = frozenset({"headers", "extra_headers", "default_headers"})


def secret_here(kind: Kind, object_id: str, path: Path, text: str) -> bool:
    """Whether the text at this place of an object's spec is a secret, to be sealed at rest and never shown.

    References are none: they say where the secret is. Neither is the empty text.
    """
    return bool(text) and not is_reference(text) and _RULES[kind](object_id, path, text)


def masked(kind: Kind, object_id: str, spec: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON.
    """Return a spec as it may be shown: `****` for each secret, sealed or not; references as they are."""

    def hide(path: Path, text: str) -> str:
        return MASK if seems_sealed(text) or secret_here(kind, object_id, path, text) else text

    return replace_texts(spec, hide)


def replace_texts(spec: Mapping[str, Any], replace: Replace) -> dict[str, Any]:  # Any: JSON.
    """Return a spec with each of its texts replaced. Raises ValueError when it goes deeper than `DEPTH_MAX`."""
    return {name: _replaced(value, (name,), replace) for name, value in spec.items()}


def place_of(kind: Kind, object_id: str, path: Path) -> str:
    """Return the place of a value, as an address that no other value has: a JSON pointer below the object."""
    steps = ("control_objects", kind.value, object_id, *map(str, path))
    return "/".join(step.replace("~", "~0").replace("/", "~1") for step in steps)


def field_name(path: Path) -> str:
    """Write a path as people do: `litellm_params.extra_headers.authorization`, `metadata.logging[0]`."""
    shown = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return shown.removeprefix(".")


def text_at(spec: Mapping[str, Any], path: Path) -> str | None:  # Any: JSON.
    """Return the text at a path, or None when there is none."""
    value = value_at(spec, path)
    return value if isinstance(value, str) else None


def value_at(spec: Mapping[str, Any], path: Path) -> Any:  # Any: JSON.
    """Return what is at a path, or None when there is nothing."""
    value: Any = spec  # Any: JSON.
    for step in path:
        if isinstance(step, str) and isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, list | tuple) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def _replaced(value: Any, path: Path, replace: Replace) -> Any:  # Any: JSON.
    if isinstance(value, str):
        return replace(path, value)
    if isinstance(value, Mapping | list | tuple):
        if len(path) > DEPTH_MAX:
            raise ValueError(f"'{path[0]}' goes deeper than {DEPTH_MAX} levels")
        if isinstance(value, Mapping):
            return {name: _replaced(item, (*path, name), replace) for name, item in value.items()}
        return [_replaced(item, (*path, index), replace) for index, item in enumerate(value)]
    return value


# --- the rules -------------------------------------------------------------------------------------------------------

_Rule = Callable[[str, Path, str], bool]
"""From the object's id, the path and the text to whether it is secret."""


def _of_model(_object_id: str, path: Path, text: str) -> bool:
    if path[0] != "litellm_params":
        return _any_name(may_be_secret, path[1:])
    name = str(path[1]) if len(path) > 1 else ""
    is_shown = name in _SHOWN_PARAMS or is_price_field(name)
    return not is_shown or _any_name(may_be_secret, path[2:]) or holds_secret(text)


def _of_credential(_object_id: str, path: Path, _text: str) -> bool:
    return path[0] == "credential_values" or _any_name(may_be_secret, path[1:])


def _of_environment_variable(_object_id: str, path: Path, _text: str) -> bool:
    return path[0] == "value"


def _of_setting(object_id: str, path: Path, text: str) -> bool:
    """The id says the section and the key, so it may be what tells that the value is secret."""
    steps = (*object_id.split("."), *path)
    return _any_name(may_be_secret, steps) or not _HEADERS.isdisjoint(steps) or holds_secret(text)


def _of_pass_through_endpoint(_object_id: str, path: Path, text: str) -> bool:
    return path[0] in ("headers", "default_query_params") or _any_name(may_be_secret, path) or holds_secret(text)


def _of_entity(_object_id: str, path: Path, _text: str) -> bool:
    """What people write into `metadata` stays as it is, but for what logging callbacks sign in with, and names.

    So do the fields that are kept in `other`; inside of them, as in `router_settings`, the names say what is secret.
    """
    if path[0] == "other":
        return _any_name(looks_secret, path[2:])
    return path[0] == "metadata" and ("callback_vars" in path or _any_name(looks_secret, path[1:]))


def _any_name(is_secret: Callable[[str], bool], path: Sequence[str | int]) -> bool:
    """Whether a name on the way says so: what is below a secret name is secret, too."""
    return any(isinstance(step, str) and is_secret(step) for step in path)


_RULES: Final[Mapping[Kind, _Rule]] = {
    Kind.ORGANIZATION: _of_entity,
    Kind.ORGANIZATION_MEMBER: _of_entity,
    Kind.TEAM: _of_entity,
    Kind.TEAM_MEMBER: _of_entity,
    Kind.USER: _of_entity,
    Kind.KEY: _of_entity,
    Kind.RETIRED_KEY: _of_entity,
    Kind.CUSTOMER: _of_entity,
    Kind.TAG: _of_entity,
    Kind.BUDGET: _of_entity,
    Kind.ACCESS_GROUP: _of_entity,
    Kind.MODEL: _of_model,
    Kind.CREDENTIAL: _of_credential,
    Kind.SETTING: _of_setting,
    Kind.ENVIRONMENT_VARIABLE: _of_environment_variable,
    Kind.PASS_THROUGH_ENDPOINT: _of_pass_through_endpoint,
}
