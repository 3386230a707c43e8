"""Where a setting may be given, and the registry of all settings that follows from it.

A field of a settings model carries a `Given` in its annotation: its flat name, what it is for, and the further places
that mean the same. Loading, warnings about unknown keys and the reference page all read this one registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import time
from decimal import Decimal
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pydantic
from pydantic.fields import FieldInfo

OWN_SECTION = "general_settings"
OWN_PREFIX = "TALLYSTICK_"

_TYPE_NAMES: Mapping[Any, str] = {  # Any: types.
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Decimal: "decimal number",
    Path: "path",
    time: "time of day",
    NoneType: "none",
}


@dataclass(frozen=True, slots=True)
class Place:
    """One spelling of a setting elsewhere: `litellm_settings.request_timeout`, `NUM_WORKERS`.

    `read` turns what is written there into the setting's own unit or sense; it raises ValueError when it can't.
    """

    name: str
    read: Callable[[object], object] = lambda value: value


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """How a setting is given: by its flat name in `general_settings`, as TALLYSTICK_<NAME>, and in further places."""

    name: str
    description: str
    file: tuple[Place | str, ...] = ()
    environment: tuple[Place | str, ...] = ()
    in_file: bool = True
    in_environment: bool = True
    refers: bool = False
    """Whether a variable, too, may hold a reference instead of the value; the file always may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingEntry:
    """A line of the registry."""

    name: str
    field_path: tuple[str, ...]
    """Where it is in `Settings`: ("journal", "sync")."""
    description: str
    type_name: str
    default: str
    file_places: tuple[Place, ...]
    """In order of precedence."""
    environment_places: tuple[Place, ...]
    """In order of precedence."""
    refers: bool
    """Whether a variable may hold a reference."""


def registry(model: type[pydantic.BaseModel]) -> tuple[SettingEntry, ...]:
    """List every setting of a settings model, in the order in which they are written."""
    return tuple(_entries(model, ()))


def negated(value: object) -> bool:
    """Read a switch that says the opposite."""
    return not pydantic.TypeAdapter(bool).validate_python(value)


def megabytes(value: object) -> int:
    """Read mebibytes as bytes; fractions are allowed."""
    return round(pydantic.TypeAdapter(float).validate_python(value) * 1024 * 1024)


def _entries(model: type[pydantic.BaseModel], above: tuple[str, ...]) -> Iterator[SettingEntry]:
    for field_name, field in model.model_fields.items():
        path = (*above, field_name)
        given = next((item for item in field.metadata if isinstance(item, Given)), None)
        if given is not None:
            yield _entry(field, given, path)
        elif isinstance(field.annotation, type) and issubclass(field.annotation, pydantic.BaseModel):
            yield from _entries(field.annotation, path)


def _entry(field: FieldInfo, given: Given, path: tuple[str, ...]) -> SettingEntry:
    own_file = (f"{OWN_SECTION}.{given.name}",) if given.in_file else ()
    own_environment = (OWN_PREFIX + given.name.upper(),) if given.in_environment else ()
    return SettingEntry(
        name=given.name,
        field_path=path,
        description=given.description,
        type_name=_type_name(field.annotation),
        default=_default(field),
        file_places=_places((*own_file, *given.file)),
        environment_places=_places((*own_environment, *given.environment)),
        refers=given.refers,
    )


def _places(places: tuple[Place | str, ...]) -> tuple[Place, ...]:
    return tuple(place if isinstance(place, Place) else Place(place) for place in places)


def _type_name(annotation: Any) -> str:  # Any: an annotation may be any typing construct.
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{argument}`" for argument in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_type_name(argument) for argument in arguments)
    if origin is tuple:
        return f"list of {_type_name(arguments[0])}"
    if origin is Mapping:
        return f"mapping of {_type_name(arguments[0])} to {_type_name(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return f"{{{', '.join(annotation.model_fields)}}}"
    return _TYPE_NAMES[annotation]


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "none"
    if field.is_required():
        return "computed"
    default = field.default
    if default in (None, (), ""):
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)
