"""Bodies of requests about deployments."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import ConfigDict, Field

from tallystick.admin.fields import JSONObject, RequestBody, Text
from tallystick.config.model_list import LitellmParams, is_price_field
from tallystick.errors import BadRequest

_Name = Annotated[Text, Field(min_length=1)]
_PARAMS: Final = LitellmParams.model_fields.keys() - {"prices", "extra"}
_EXAMPLE: Final = {"model": "openai/gpt-4o", "litellm_credential_name": "openai-production"}


class ModelBody(RequestBody):
    """What the bodies share."""

    model_config = ConfigDict(extra="allow", strict=True, protected_namespaces=())

    litellm_params: JSONObject | None = Field(
        default=None,
        description="How it is called: `model` as provider/name, `api_key`, `api_base`, `litellm_credential_name`, "
        "prices … A value may be a reference, as in `os.environ/NAME`.",
        examples=[_EXAMPLE],
    )
    model_info: JSONObject | None = Field(
        default=None, description="Facts: `mode`, `base_model`, `max_tokens`, `team_id`, `access_groups` …"
    )
    blocked: bool | None = Field(default=None, description="Whether no calls go to it.")

    def ignored(self) -> list[str]:
        """Return what was accepted and has no effect here."""
        given = self.litellm_params or {}
        unused = (name for name in given if name not in _PARAMS and not is_price_field(name))
        return [*self.unknown_fields(), *(f"litellm_params.{name}" for name in unused)]

    def id_in_info(self) -> str | None:
        """Return `model_info.id`."""
        given = (self.model_info or {}).get("id")
        if given is None:
            return None
        if not isinstance(given, str) or not 0 < len(given) <= 256:
            raise BadRequest("'model_info.id' must be a text of 1 to 256 characters.", param="model_info.id")
        return given


class NewModel(ModelBody):
    """A deployment to add."""

    model_name: _Name = Field(description="The model group: what callers call it.", examples=["gpt-4o"])
    litellm_params: JSONObject = Field(description="How it is called.", examples=[_EXAMPLE])


class PatchedModel(ModelBody):
    """What to change of a deployment: what is omitted stays, a null inside of an object removes the entry."""

    model_name: _Name | None = Field(default=None, description="The model group: what callers call it.")


class ChangedModel(PatchedModel):
    """The same, with the id in the body."""

    id: _Name | None = Field(default=None, description="The deployment; also as `model_info.id`.", examples=["m-1"])
    model_id: _Name | None = Field(default=None, description="The same.")


class ModelId(RequestBody):
    """Names a deployment."""

    model_config = ConfigDict(extra="allow", strict=True, protected_namespaces=())

    id: _Name | None = Field(default=None, description="The deployment.", examples=["m-1"])
    model_id: _Name | None = Field(default=None, description="The same.")


def required_id(*given: str | None) -> str:
    """Return the first id that was given. Raises BadRequest."""
    found = next((each for each in given if each), None)
    if found is None:
        raise BadRequest("'id' is required: the id of the deployment, as /model/info shows it.", param="id")
    return found
