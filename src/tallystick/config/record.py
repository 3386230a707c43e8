"""The kind of model that all settings are, and the numbers they share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
PositiveCount = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
KIB, MIB, GIB = 1024, 1024**2, 1024**3


class Frozen(BaseModel):
    """A record that can't be changed, knows all its fields, and never shows a refused value."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True, protected_namespaces=()
    )
