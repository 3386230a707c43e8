"""From options to the bodies of requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tallystick.cli.admin.nouns import Field
from tallystick.errors import BadRequest


def body_of(fields: Sequence[Field], values: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return the body that these options ask for; `settings` are those of `--set`, which go last.

    Any: as the options and JSON have them. Raises BadRequest for JSON that is none.
    """
    body: dict[str, Any] = {}  # Any: JSON.
    for field in fields:
        value = values.get(option_name(field.option))
        if value is not None and value != []:
            _put(body, field.path, _value_of(field, value))
    for setting in settings:
        path, separator, text = setting.partition("=")
        if not path or not separator:
            raise BadRequest(f"--set takes FIELD=JSON, as in --set 'max_budget=25', not {setting[:40]!r}.")
        _put(body, path, _json_of(text, f"--set {path}"))
    return body


def option_name(option: str) -> str:
    """Return the name under which the value of an option arrives."""
    return "field_" + option.removeprefix("--").replace("-", "_")


def _value_of(field: Field, value: Any) -> Any:  # Any: as above.
    if field.type == "texts":
        return [part.strip() for text in value for part in text.split(",") if part.strip()]
    if field.type == "object":
        parsed = _json_of(value, field.option)
        if not isinstance(parsed, dict):
            raise BadRequest(f"{field.option} takes a JSON object, as in '{{\"cost centre\": 7}}'.")
        return parsed
    return value


def _json_of(text: str, option: str) -> Any:  # Any: as above.
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequest(f'{option} takes JSON, such as 25, null, "text" or ["a"]: {error}') from error


def _put(body: dict[str, Any], path: str, value: Any) -> None:  # Any: as above.
    *parents, name = path.split(".")
    inner = body
    for parent in parents:
        inner = inner.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise BadRequest(f"'{path}' leads into '{parent}', which is no object.")
    inner[name] = value
