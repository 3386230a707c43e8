"""Of many recorded exchanges, one of each shape: near-duplicates prove nothing new, and each takes a gateway."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_TELLS_KIND = frozenset(("type", "finish_reason", "stop_reason", "finishReason", "status", "modality"))
"""Fields whose values are words of the dialect."""
_OPAQUE = frozenset(("input", "args", "groundingMetadata", "annotations", "results", "tools", "metadata", "schema"))
"""What is the caller's or the world's."""


def one_of_each(recorded: Sequence[Any]) -> list[Any]:
    """Return the first exchange of each shape; also of those that are in `pytest.param`."""
    first: dict[tuple[object, ...], Any] = {}
    for each in recorded:
        exchange = each if isinstance(each, dict) else each.values[0]
        first.setdefault(_shape(exchange), each)
    return list(first.values())


def _shape(exchange: dict[str, Any]) -> tuple[object, ...]:
    """Return provider, endpoint, status, form and which fields of which kinds an answer has, however many there are."""
    path = str(exchange["path"]).partition("?")[0]
    endpoint = path.rpartition(":")[2] if ":" in path else path.rpartition("/")[2]
    fields = frozenset(field for value in _values(exchange["body"]) for field in _fields(value, ()))
    return exchange["provider"], endpoint, exchange["status"], exchange["content_type"], fields


def _values(body: str) -> Iterator[Any]:
    try:
        yield json.loads(body)
    except ValueError:
        lines: Iterable[str] = body.splitlines()
        yield from (json.loads(line[6:]) for line in lines if line.startswith("data: {"))


def _fields(value: Any, place: tuple[str, ...]) -> Iterator[tuple[object, ...]]:
    if isinstance(value, list):
        for item in value:
            yield from _fields(item, place)
    elif isinstance(value, dict):
        for name, item in value.items():
            is_kind = name in _TELLS_KIND and isinstance(item, str)
            yield (*place, name, item if is_kind else item is None or item in (0, "", []))
            if name not in _OPAQUE:
                yield from _fields(item, (*place, name))
