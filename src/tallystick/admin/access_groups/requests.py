"""Bodies of requests about access groups."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from tallystick.admin.fields import RequestBody, Text

_Name = Annotated[Text, Field(min_length=1)]
_Names = Annotated[list[_Name], Field(max_length=10_000)]


class NewAccessGroup(RequestBody):
    """A named set of models."""

    model_config = ConfigDict(extra="allow", strict=True, protected_namespaces=())

    access_group: _Name = Field(description="What lists of models call it.", examples=["beta-models"])
    model_names: _Names = Field(default=[], description="Model groups in it.", examples=[["gpt-4o"]])
    model_ids: _Names = Field(default=[], description="Deployments whose model groups are in it.")


class ChangedAccessGroup(RequestBody):
    """What is in the group from now on."""

    model_config = ConfigDict(extra="allow", strict=True, protected_namespaces=())

    model_names: _Names = Field(default=[], description="Model groups in it.", examples=[["gpt-4o"]])
    model_ids: _Names = Field(default=[], description="Deployments whose model groups are in it.")


class UnifiedFields(RequestBody):
    """Fields of a unified access group: what is omitted stays, a null clears."""

    description: Annotated[str, Field(max_length=4_096)] | None = Field(default=None, description="What it is for.")
    access_model_names: _Names | None = Field(
        default=None, description="Model groups in it, as callers will ask for them.", examples=[["gpt-4o"]]
    )
    access_mcp_server_ids: _Names | None = Field(default=None, description="Kept and shown.")
    access_agent_ids: _Names | None = Field(default=None, description="Kept and shown.")
    assigned_team_ids: _Names | None = Field(default=None, description="Kept and shown.")
    assigned_key_ids: _Names | None = Field(default=None, description="Kept and shown.")


class NewUnified(UnifiedFields):
    """An access group to add."""

    access_group_name: _Name = Field(description="What lists of models call it.", examples=["beta-models"])


class ChangedUnified(UnifiedFields):
    """An access group's new fields."""

    access_group_name: _Name | None = Field(default=None, description="What lists of models call it.")
