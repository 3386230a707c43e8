"""Answers of GET /v1/models."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model that a caller may name."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "tallystick"


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """All of them."""

    object: str = "list"
    data: list[Model]


def render_model(model_id: str, *, created: int) -> bytes:
    """Return the body of GET /v1/models/{id}. `created` is in Unix seconds."""
    return msgspec.json.encode(Model(id=model_id, created=created))


def render_model_list(model_ids: Iterable[str], *, created: int) -> bytes:
    """Return the body of GET /v1/models, in the order given."""
    return msgspec.json.encode(ModelList(data=[Model(id=model_id, created=created) for model_id in model_ids]))
