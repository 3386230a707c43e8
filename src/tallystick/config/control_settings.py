"""Settings of what is read from the database besides the ledger."""

from __future__ import annotations

from typing import Annotated, Literal

from tallystick.config.places import Given
from tallystick.config.record import Frozen

DatabaseObjects = Literal[
    "models",
    "config_overrides",
    "mcp",
    "guardrails",
    "policies",
    "vector_stores",
    "pass_through_endpoints",
    "prompts",
    "model_cost_map",
    "tools",
]


class ControlSettings(Frozen):
    """What admins may write into the database, and what is loaded of it."""

    store_model_in_db: Annotated[
        bool,
        Given(
            name="store_model_in_db",
            description="Whether models, credentials, settings and environment variables are read from the database "
            "and may be written by the admin API. Without it the file alone says what is served.",
            environment=("STORE_MODEL_IN_DB",),
        ),
    ] = True
    supported_db_objects: Annotated[
        tuple[DatabaseObjects, ...] | None,
        Given(
            name="supported_db_objects",
            description="Which of them are read: `models` (with credentials), `config_overrides` (settings and "
            "environment variables), `pass_through_endpoints`. LiteLLM's other names are accepted. None: all.",
            in_environment=False,
        ),
    ] = None
    public_model_groups: Annotated[
        tuple[str, ...],
        Given(
            name="public_model_groups",
            description="Model groups that `/model_group/info` calls public.",
            file=("litellm_settings.public_model_groups",),
            in_environment=False,
        ),
    ] = ()
