"""Things for people: a table of many, the fields of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tallystick.cli.admin.nouns import Noun
from tallystick.cli.output import print_table, usd_column
from tallystick.pricing.money import round_usd_to_nano

# Moments come as ISO 8601 in UTC, to the microsecond.
_MOMENT: Final = re.compile(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?\+00:00$")


def at(held: Any, path: str) -> Any:  # Any: JSON.
    """Return what is at a path, None when there is nothing."""
    for name in path.split("."):
        held = held.get(name) if isinstance(held, dict) else None
    return held


def print_things(noun: Noun, things: Sequence[Any]) -> None:  # Any: JSON.
    """Print a table with the noun's columns."""
    columns = [
        money_column([at(each, column.path) for each in things])
        if column.is_money
        else [_text(at(each, column.path)) for each in things]
        for column in noun.columns
    ]
    print_table(
        [(column.title, "right" if column.is_money else "left") for column in noun.columns],
        list(zip(*columns, strict=True)),
    )


def print_thing(thing: Any) -> None:  # Any: JSON.
    """Print what a thing has, field by field. What it has not is left out."""
    fields = thing if isinstance(thing, dict) else {"value": thing}
    rows = [(name, _text(value)) for name, value in fields.items()]
    print_table([("field", "left"), ("value", "left")], [row for row in rows if row[1]])


def money_column(amounts: Sequence[Any]) -> list[str]:  # Any: JSON.
    """Return amounts with equally many decimals; '' where there is none."""
    numbers = [float(each) for each in amounts if _is_number(each)]
    texts = iter(usd_column([round_usd_to_nano(each) for each in numbers]))
    return [next(texts) if _is_number(each) else "" for each in amounts]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:  # Any: JSON.
    if value is None or value in ([], {}):
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, str):
        return _MOMENT.sub(r"\1 \2", value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return msgspec.json.encode(_without_nothing(value)).decode()


def _without_nothing(value: Any) -> Any:  # Any: JSON.
    if isinstance(value, dict):
        return {name: _without_nothing(each) for name, each in value.items() if each is not None}
    return value
