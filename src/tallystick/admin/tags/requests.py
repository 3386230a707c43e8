"""Bodies of the requests that manage tags."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import ConfigDict, Field

from tallystick.access.tags import TagSpec
from tallystick.admin.budget_fields import HeldBudgetFields
from tallystick.admin.fields import RequestBody, Text
from tallystick.control.objects import ControlObject, spec_as, spec_from

ID = Annotated[Text, Field(min_length=1)]


class TagFields(HeldBudgetFields):
    """What a tag is besides its spend."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "nightly", "description": "Batch runs", "max_budget": 50.0}]}
    )

    name: ID = Field(description="The tag, as calls name it.")
    description: Text | None = Field(default=None, description="What it is for.")
    models: Annotated[list[Text], Field(max_length=1_000)] | None = Field(
        default=None, description="Deployments, by their ids, that calls with this tag go to."
    )

    def patched(self, before: ControlObject) -> ControlObject:
        """Return the tag with what this body sets: what is omitted stays, null clears."""
        given = self.model_fields_set
        changes: dict[str, Any] = {}  # Any: each field's own type.
        if "description" in given:
            changes["description"] = self.description or ""
        if "models" in given:
            changes["models"] = tuple(self.models or ())
        spec = msgspec.structs.replace(spec_as(TagSpec, before.spec), **changes)
        return msgspec.structs.replace(before, spec=spec_from(spec))


class NameTag(RequestBody):
    """The tag to delete."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "nightly"}]})

    name: ID


class NameTags(RequestBody):
    """Tags to show."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"names": ["nightly"]}]})

    names: Annotated[list[Text], Field(max_length=1_000)]
