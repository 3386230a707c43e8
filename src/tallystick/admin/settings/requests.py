"""Bodies of requests about settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tallystick.admin.fields import JSONObject, RequestBody, Text

ConfigType = Literal["general_settings", "litellm_settings", "router_settings"]
_Name = Annotated[Text, Field(min_length=1)]


class ConfigUpdate(RequestBody):
    """Settings to write, by section; a null removes one. All are written, or none."""

    general_settings: JSONObject | None = Field(default=None, description="As in the file.")
    litellm_settings: JSONObject | None = Field(
        default=None, description="As in the file.", examples=[{"cost_margin_config": {"global": 0.1}}]
    )
    router_settings: JSONObject | None = Field(default=None, description="As in the file.")
    environment_variables: JSONObject | None = Field(
        default=None, description="Variables that references may name. Sealed at rest, never shown."
    )


class FieldUpdate(RequestBody):
    """One setting to write."""

    field_name: _Name = Field(description="The setting's name.", examples=["num_retries"])
    field_value: Any = Field(description="Its value.", examples=[3])  # Any: JSON.
    config_type: ConfigType | None = Field(default=None, description="Its section.", examples=["router_settings"])


class FieldDelete(RequestBody):
    """One setting to remove from the database."""

    field_name: _Name = Field(description="The setting's name.", examples=["num_retries"])
    config_type: ConfigType | None = Field(default=None, description="Its section.", examples=["router_settings"])
