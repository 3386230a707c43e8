"""What the rows of models, credentials, access groups and settings hold besides their columns."""

from __future__ import annotations

from typing import Any

import msgspec


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment, as in an entry of `model_list`; the model group is the row's name."""

    litellm_params: dict[str, Any]  # Any: JSON.
    model_info: dict[str, Any] = {}  # Any: JSON.


class CredentialSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters that deployments share, such as an api_key; a deployment's own go before them."""

    credential_values: dict[str, Any]  # Any: JSON.
    credential_info: dict[str, Any] = {}  # Any: JSON.


class AccessGroupSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A named set of models, which lists of models may name instead."""

    models: tuple[str, ...] = ()
    description: str = ""
    mcp_server_ids: tuple[str, ...] = ()
    agent_ids: tuple[str, ...] = ()
    team_ids: tuple[str, ...] = ()
    key_ids: tuple[str, ...] = ()


class SettingSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a setting."""

    value: Any  # Any: JSON.


class VariableSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The value of an environment variable."""

    value: str
