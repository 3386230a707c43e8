"""Where a caller's path leads below a target's address."""

from __future__ import annotations

import pytest

from tallystick.errors import BadRequest
from tallystick.providers.base import Target
from tallystick.providers.passing import EXACT, passed_url

VERTEX = "https://eu-aiplatform.example/v1/projects/p-1/locations/eu"


@pytest.mark.parametrize(
    ("provider", "base", "path", "url"),
    [
        ("openai", "https://o.example/v1", "v1/files", "https://o.example/v1/files"),
        ("openai", "https://o.example/v1", "files", "https://o.example/v1/files"),
        ("openai", "https://o.example/v1", "v1/files/v1/x", "https://o.example/v1/files/v1/x"),
        ("openai", "https://o.example", "v1/files", "https://o.example/v1/files"),
        ("gemini", "https://g.example/v1beta", "v1alpha/models", "https://g.example/v1alpha/models"),
        ("cohere", "https://c.example", "v2/chat", "https://c.example/v2/chat"),
        ("bedrock", "https://b.example", "model/a%3Ab/invoke", "https://b.example/model/a%3Ab/invoke"),
        ("vertex_ai", VERTEX, "v1/projects/p-1/locations/eu/x:y", f"{VERTEX}/x:y"),
        ("vertex_ai", VERTEX, "projects/p-1/locations/eu/x:y", f"{VERTEX}/x:y"),
        ("vertex_ai", VERTEX, "publishers/google/models/m:y", f"{VERTEX}/publishers/google/models/m:y"),
        (
            "vertex_ai",
            VERTEX,
            "v1beta1/publishers/m:y",
            "https://eu-aiplatform.example/v1beta1/projects/p-1/locations/eu/publishers/m:y",
        ),
    ],
)
def test_a_path_below_a_providers_address(provider: str, base: str, path: str, url: str) -> None:
    assert passed_url(Target(provider=provider, model="", api_base=base), path, "") == url


@pytest.mark.parametrize(
    "path",
    [
        "v1/projects/p-2/locations/eu/x",
        "v1/projects/p-1/locations/us/x",
        "v1/projects/p-1",
        "projects/p-1/x/locations/eu",
    ],
)
def test_another_project_or_location_is_refused(path: str) -> None:
    with pytest.raises(BadRequest):
        passed_url(Target(provider="vertex_ai", model="", api_base=VERTEX), path, "")


def test_a_caller_adds_to_the_query_and_replaces_nothing_of_it() -> None:
    target = Target(provider="x", model="", api_base="https://s.example/a", query="key=ours&v=1", path_style=EXACT)
    assert passed_url(target, "", "") == "https://s.example/a?key=ours&v=1"
    asked = "v=2&k%65y=theirs&more=1&%76=3"
    assert passed_url(target, "b", asked) == "https://s.example/a/b?key=ours&v=1&more=1"
