"""Bodies of requests about credentials."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from tallystick.admin.fields import JSONObject, RequestBody, Text

_Name = Annotated[Text, Field(min_length=1)]


class NewCredential(RequestBody):
    """A credential to add."""

    model_config = ConfigDict(extra="allow", strict=True, protected_namespaces=())

    credential_name: _Name = Field(description="What deployments call it.", examples=["openai-production"])
    credential_values: JSONObject | None = Field(
        default=None,
        description="Parameters of a deployment: `api_key`, `api_base` … Sealed at rest, never shown.",
        examples=[{"api_key": "os.environ/OPENAI_API_KEY"}],
    )
    credential_info: JSONObject | None = Field(default=None, description="Facts about it.")
    model_id: _Name | None = Field(default=None, description="Take the values from this deployment instead.")


class PatchedCredential(RequestBody):
    """What to change: what is omitted stays, a null inside of an object removes the entry."""

    credential_name: _Name | None = Field(default=None, description="Its name, which stays as it is.")
    credential_values: JSONObject | None = Field(
        default=None, description="Values to set.", examples=[{"api_key": "sk-the-next-one"}]
    )
    credential_info: JSONObject | None = Field(default=None, description="Facts to set.")
