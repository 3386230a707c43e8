"""The shapes of `/v1/models`."""

from __future__ import annotations

from collections.abc import Iterable

# OpenAI's clients require a creation time; a model group has none that means anything.
_CREATED = 1677610602


def describe_model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "tallystick"}


def list_models(names: Iterable[str]) -> dict[str, object]:
    return {"object": "list", "data": [describe_model(name) for name in names]}
