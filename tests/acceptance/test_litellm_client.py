"""LiteLLM's own command line client, from an environment of its own, against a running gateway.

Not part of the suite, because the client brings 60 packages: `pytest tests/acceptance/test_litellm_client.py
--litellm-proxy /path/to/litellm-proxy`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from acceptance.kit import server_of
from server_kit import MASTER_KEY, ServerProcess, UpstreamProcess, serving

Client = Callable[..., str]


@pytest.fixture
async def server(tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession) -> AsyncIterator[Any]:
    with serving(server_of(tmp_path, upstream, None)) as server:
        await server.ready(session)
        yield server


@pytest.fixture
def client(server: ServerProcess, litellm_proxy: str, tmp_path: Path) -> Client:
    """Run the client; it must end well."""

    def run(*command: str) -> str:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "COLUMNS": "400", "NO_COLOR": "1"}
        environment |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # It asks the internet otherwise.
        done = subprocess.run(
            [litellm_proxy, "--base-url", server.url, "--api-key", MASTER_KEY, *command],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout[-3_000:]}{done.stderr[-3_000:]}"
        assert "Error" not in done.stdout + done.stderr, done.stdout + done.stderr
        return done.stdout

    return run


def _json_in(text: str) -> Any:
    """Read the JSON that a command prints, after whatever it says before."""
    start = min(place for place in (text.find("{"), text.find("[")) if place >= 0)
    return json.JSONDecoder().raw_decode(text[start:])[0]


def test_keys_are_made_listed_and_deleted(client: Client) -> None:
    made = _json_in(client("keys", "generate", "--key-alias", "ci", "--models", "gpt-plain", "--duration", "24h"))
    assert made["key"].startswith("sk-")
    assert made["key_alias"] == "ci"
    listed = _json_in(client("keys", "list", "--format", "json", "--return-full-object"))
    assert [key["key_alias"] for key in listed["keys"]] == ["ci"]
    client("keys", "list", "--return-full-object")  # As a table: it reads more of the fields.
    client("keys", "delete", "--keys", made["key"])
    assert _json_in(client("keys", "list", "--format", "json"))["keys"] == []


def test_models_are_added_shown_changed_and_deleted(client: Client, server: ServerProcess) -> None:
    client(
        "models", "add", "from-client", "-p", "model=openai/gpt-4o-mini", "-p", f"api_base={server.url}/v1",
        "-p", "api_key=sk-upstream-secret-0001", "-i", "id=made-by-client",
    )  # fmt: skip
    assert "from-client" in client("models", "list")
    shown = client("models", "info", "--format", "json")
    assert "made-by-client" in shown
    assert "sk-upstream-secret-0001" not in shown
    client("models", "info")
    client("model-groups", "--help")
    client("models", "get", "--id", "made-by-client")
    client("models", "update", "made-by-client", "-p", "model=openai/gpt-4o", "-p", f"api_base={server.url}/v1")
    client("models", "delete", "made-by-client")
    assert "from-client" not in client("models", "list")


def test_users_teams_and_credentials(client: Client) -> None:
    client("users", "create", "--email", "ada@example.com", "--role", "internal_user", "--alias", "Ada")
    listed = client("users", "list")
    assert "ada@example.com" in listed
    client("teams", "list")
    client("teams", "available")
    client("credentials", "create", "azure", "--info", "{}", "--values", '{"api_key": "sk-upstream-secret-0002"}')
    shown = client("credentials", "get", "azure") + client("credentials", "list")
    assert "azure" in shown
    assert "sk-upstream-secret-0002" not in shown
    client("credentials", "delete", "azure")
