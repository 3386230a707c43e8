"""The paths that the gateway serves itself, described for the OpenAPI document and the page made from it."""

from __future__ import annotations

from typing import Any

_MESSAGES = [{"role": "user", "content": "Say hello."}]
_MEDIA: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("/v1/images/generations", "Draw images.", {"prompt": "A tally stick."}),
    ("/v1/audio/speech", "Speak a text.", {"input": "Hello.", "voice": "alloy"}),
    ("/v1/moderations", "Judge texts.", {"input": "Hello."}),
    ("/v1/rerank", "Rank documents by a query.", {"query": "Who owes whom?", "documents": ["A stick.", "A stone."]}),
)
"""Those that take JSON; forms are in the reference."""


def data_plane_paths() -> dict[str, Any]:  # Any: a part of an OpenAPI document.
    """Return the `paths` of calls, models and health."""
    calls, models, health = "Calls", "Models", "Health"
    return {
        "/v1/chat/completions": {
            "post": _call(
                calls,
                "Answer a chat. With `stream`, as server-sent events.",
                {"model": "demo", "messages": _MESSAGES, "stream": False},
                ("model", "messages"),
            )
        },
        "/v1/completions": {
            "post": _call(calls, "Continue a text.", {"model": "demo", "prompt": "Once upon"}, ("model", "prompt"))
        },
        "/v1/embeddings": {
            "post": _call(calls, "Turn texts into vectors.", {"model": "demo", "input": ["hello"]}, ("model", "input"))
        },
        **{
            path: {"post": _call(calls, summary, {"model": "demo", **example}, ("model", *example))}
            for path, summary, example in _MEDIA
        },
        "/engines/{model}/chat/completions": {
            "post": _call(
                calls, "The same with the model in the path.", {"messages": _MESSAGES}, ("messages",), "model"
            )
        },
        "/v1/models": {"get": _read(models, "List the models that the key may call.")},
        "/v1/models/{id}": {"get": _read(models, "Show one model.", "id")},
        "/health/liveliness": {"get": _read(health, "Say that the process runs.", secured=False)},
        "/health/readiness": {
            "get": _read(health, "Say whether calls can be served, and the database.", secured=False)
        },
        "/health": {"get": _read(health, "Show services, journal and deployments, to admins.")},
        "/metrics": {"get": _read(health, "Metrics for Prometheus.", secured=False)},
    }


def _call(
    tag: str, summary: str, example: dict[str, object], required: tuple[str, ...], path_parameter: str | None = None
) -> dict[str, Any]:  # Any: as above.
    schema = {
        "type": "object",
        "additionalProperties": True,
        "properties": {name: _schema_of(value) for name, value in example.items()},
        "required": list(required),
    }
    return {
        **_read(tag, summary, path_parameter),
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}},
    }


def _read(
    tag: str, summary: str, path_parameter: str | None = None, *, secured: bool = True
) -> dict[str, Any]:  # Any: as above.
    operation: dict[str, Any] = {"tags": [tag], "summary": summary, "responses": {"200": {"description": "Done."}}}
    if secured:
        operation["security"] = [{"HTTPBearer": []}]
    if path_parameter is not None:
        place = {"name": path_parameter, "in": "path", "required": True, "schema": {"type": "string"}}
        operation["parameters"] = [place]
    return operation


def _schema_of(value: object) -> dict[str, Any]:  # Any: as above.
    match value:
        case bool():
            return {"type": "boolean"}
        case str():
            return {"type": "string"}
        case _:
            return {"type": "array", "items": {}}
