"""Where Gemini's models are: addresses of the developer API and of Vertex AI, and what is wrong with a deployment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tallystick.providers import vertex
from tallystick.providers.catalog import InvalidTarget, build_target
from tallystick.providers.gemini import method_url

ACCOUNT = {"type": "service_account", "project_id": "own", "private_key": "k"}
GOOGLE = "https://generativelanguage.googleapis.com/v1beta"


@pytest.mark.parametrize(
    ("model", "options", "url"),
    [
        ("gemini/gemini-2.5-pro", {}, f"{GOOGLE}/models/gemini-2.5-pro:m"),
        ("gemini/tunedModels/mine", {}, f"{GOOGLE}/tunedModels/mine:m"),
        ("gemini/gemini-x", {"api_base": "http://h:1/"}, "http://h:1/v1beta/models/gemini-x:m"),
        ("gemini/gemini-x", {"api_base": "http://h:1/v1"}, "http://h:1/v1/models/gemini-x:m"),
        ("gemini/gemini x", {}, f"{GOOGLE}/models/gemini%20x:m"),
    ],
)
def test_the_developer_api(model: str, options: dict[str, Any], url: str) -> None:
    target = build_target(model, api_key="k", **options)
    assert method_url(target, "m") == url
    assert target.headers == {"x-goog-api-key": "k"}


@pytest.mark.parametrize(
    ("model", "params", "url"),
    [
        (
            "gemini-2.5-pro",
            {"vertex_project": "p"},
            "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1/publishers/google/models/",
        ),
        (
            "gemini-2.5-pro",
            {"vertex_project": "p", "vertex_location": "global"},
            "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/google/models/",
        ),
        (
            "gemini-2.5-pro",
            {"vertex_location": "eu", "vertex_credentials": ACCOUNT},
            "https://aiplatform.eu.rep.googleapis.com/v1/projects/own/locations/eu/publishers/google/models/",
        ),
        (
            "1234567890",
            {"vertex_project": "example.com:p", "vertex_location": "asia-east1"},
            "https://asia-east1-aiplatform.googleapis.com/v1/projects/example.com:p/locations/asia-east1/endpoints/",
        ),
    ],
)
def test_vertex(model: str, params: dict[str, Any], url: str) -> None:
    target = build_target(f"vertex_ai/{model}", options=params)
    assert method_url(target, "m") == f"{url}{model}:m"
    given = params.get("vertex_credentials")
    assert target.options == {"vertex_credentials": json.dumps(given, separators=(",", ":")) if given else ""}
    assert target.headers == {}


def test_vertex_with_a_key_needs_no_project() -> None:
    target = build_target("vertex_ai/gemini-2.5-pro", api_key="k")
    assert method_url(target, "m") == "https://aiplatform.googleapis.com/v1/publishers/google/models/gemini-2.5-pro:m"
    assert (target.headers, target.options) == ({"x-goog-api-key": "k"}, {})


def test_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "account.json"
    file.write_text(json.dumps(ACCOUNT))
    environment = {"GOOGLE_APPLICATION_CREDENTIALS": str(file), "VERTEXAI_LOCATION": "us-east5"}
    target = build_target("vertex_ai/gemini-2.5-pro", environment=environment)
    assert target.api_base == "https://us-east5-aiplatform.googleapis.com/v1/projects/own/locations/us-east5"
    assert target.options == {"vertex_credentials": file.read_text()}
    target = build_target("vertex_ai/gemini-2.5-pro", environment={**environment, "VERTEXAI_PROJECT": "p"})
    assert "/projects/p/" in target.api_base


@pytest.mark.parametrize(
    ("model", "params", "field", "words"),
    [
        ("gemini-2.5-pro", {}, "vertex_project", "VERTEXAI_PROJECT"),
        ("claude-sonnet-4", {"vertex_project": "p"}, "model", "is no Gemini model"),
        ("gemini-2.5-pro", {"vertex_project": "p/../q"}, "vertex_project", "can't be one"),
        ("gemini-2.5-pro", {"vertex_project": "p", "vertex_location": "evil.example/"}, "vertex_location", "can't be"),
        ("gemini-2.5-pro", {"vertex_credentials": "/no/such/file"}, "vertex_credentials", "can't be read"),
        ("gemini-2.5-pro", {"vertex_credentials": "{secret"}, "vertex_credentials", "JSON object"),
        ("gemini-2.5-pro", {"vertex_credentials": {"type": "external_account"}}, "vertex_credentials", "its type"),
    ],
)
def test_what_is_wrong_is_said(model: str, params: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidTarget, match=words) as wrong:
        build_target(f"vertex_ai/{model}", options=params)
    assert wrong.value.field == field
    assert "secret" not in str(wrong.value)


def test_the_package_is_asked_for_before_a_call_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vertex, "find_spec", lambda name: None)
    with pytest.raises(InvalidTarget, match=r"tallystick\[vertex\]"):
        build_target("vertex_ai/gemini-2.5-pro", options={"vertex_project": "p"})
    assert build_target("vertex_ai/gemini-2.5-pro", api_key="k")
