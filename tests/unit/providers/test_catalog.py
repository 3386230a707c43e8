from __future__ import annotations

from typing import Any

import pytest

from tallystick.providers.base import Target
from tallystick.providers.catalog import FAMILIES, build_target, split_model
from tallystick.providers.openai_compatible import endpoint_url


def chat_url(target: Target) -> str:
    return endpoint_url(target, "chat/completions")


@pytest.mark.parametrize(
    ("text", "provider", "model"),
    [
        ("openai/gpt-4o", "openai", "gpt-4o"),
        ("gpt-4o-mini", "openai", "gpt-4o-mini"),
        ("o3", "openai", "o3"),
        ("text-embedding-3-small", "openai", "text-embedding-3-small"),
        ("openrouter/anthropic/claude-sonnet-4.5", "openrouter", "anthropic/claude-sonnet-4.5"),
        ("together_ai/meta-llama/Llama-3", "together_ai", "meta-llama/Llama-3"),
    ],
)
def test_split(text: str, provider: str, model: str) -> None:
    assert split_model(text) == (provider, model)


def test_a_bare_name_with_a_base_is_openai() -> None:
    assert split_model("llama", has_api_base=True) == ("openai", "llama")


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        (
            "nobody/model",
            {},
            "'nobody' is not a provider: write <provider>/<model> with one of anthropic, any-llm, azure",
        ),
        ("llama", {}, "'llama' has no provider"),
        ("openai/", {"api_key": "k"}, "openai/<model>"),
        ("openai/gpt-4o", {}, "OPENAI_API_KEY"),
        ("azure/d", {"api_key": "k"}, "set api_base"),
        ("hosted_vllm/m", {}, "HOSTED_VLLM_API_BASE"),
        ("vllm/m", {"api_base": "localhost:8000"}, "base URL"),
        ("vllm/m", {"api_base": "http://h/v1?x=1"}, "base URL"),
        ("openai/m", {"api_key": "a\nb"}, "'authorization'"),
        ("openai/m", {"api_key": "a", "extra_headers": {"X": "ü—"}}, "'x'"),
    ],
)
def test_what_is_wrong_is_said(text: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(")) as caught:
        build_target(text, **options)
    assert "a\nb" not in str(caught.value)


@pytest.mark.parametrize("provider", [name for name, family in FAMILIES.items() if family.api_base])
def test_default_bases_and_keys(provider: str) -> None:
    family = FAMILIES[provider]
    target = build_target(f"{provider}/m", environment={family.key_environment[0]: "k"})
    assert chat_url(target) == f"{family.api_base}/chat/completions"
    name = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}.get(family.adapter)
    assert target.headers == ({"authorization": "Bearer k"} if name is None else {name: "k"})


@pytest.mark.parametrize("base", ["http://h", "http://h/", "http://h/v1", "http://h/v1/messages"])
def test_anthropic_s_base_with_and_without_its_version(base: str) -> None:
    target = build_target("claude-sonnet-4-5", api_key="k", environment={"ANTHROPIC_BASE_URL": base})
    assert (target.provider, target.model, target.api_base) == ("anthropic", "claude-sonnet-4-5", "http://h/v1")


def test_the_deployment_wins_over_the_environment() -> None:
    environment = {"OPENAI_API_KEY": "e", "OPENAI_BASE_URL": "http://e/v1"}
    target = build_target(
        "gpt-4o", api_key=" d\n", api_base="http://d/v1/", organization="org", environment=environment
    )
    assert chat_url(target) == "http://d/v1/chat/completions"
    assert target.headers == {"authorization": "Bearer d", "openai-organization": "org"}
    assert chat_url(build_target("gpt-4o", environment=environment)) == "http://e/v1/chat/completions"


def test_an_own_server_needs_no_key() -> None:
    assert build_target("openai/m", api_base="http://h:8000/v1").headers == {}
    assert chat_url(build_target("ollama/m")) == "http://localhost:11434/v1/chat/completions"
    assert chat_url(build_target("ollama/m", api_base="http://h:11434")) == "http://h:11434/v1/chat/completions"
    assert chat_url(build_target("vllm/m", api_base="http://h/v1/chat/completions")) == "http://h/v1/chat/completions"


@pytest.mark.parametrize(
    "base", ["https://r.azure.com", "https://r.azure.com/", "https://r.azure.com/openai/deployments/x"]
)
def test_azure(base: str) -> None:
    target = build_target("azure/my dep", api_key="k", api_base=base, api_version="2025-01-01")
    assert chat_url(target) == "https://r.azure.com/openai/deployments/my%20dep/chat/completions?api-version=2025-01-01"
    assert (target.headers, target.model) == ({"api-key": "k"}, "my dep")


def test_azure_in_openais_path_style() -> None:
    target = build_target("azure/d", api_key="k", api_base="https://r.azure.com/openai/v1/")
    assert chat_url(target) == "https://r.azure.com/openai/v1/chat/completions"
    assert target.headers == {"api-key": "k"}


def test_huggingface_names_its_inference_provider() -> None:
    assert build_target("huggingface/together/deepseek-ai/DeepSeek-R1", api_key="k").model == (
        "deepseek-ai/DeepSeek-R1:together"
    )
    assert build_target("huggingface/deepseek-ai/DeepSeek-R1:together", api_key="k").model == (
        "deepseek-ai/DeepSeek-R1:together"
    )
    assert build_target("huggingface/a/b/c", api_base="http://tgi/v1").model == "a/b/c"


def test_extra_headers_win() -> None:
    target = build_target("openai/m", api_key="k", extra_headers={"Authorization": "Basic x", "X-A": "1"})
    assert target.headers == {"authorization": "Basic x", "x-a": "1"}


def test_what_is_answered_here_needs_nothing() -> None:
    assert build_target("demo/echo").api_base == ""
    target = build_target("azure/x", options={"mock_response": "hi"})
    assert (target.provider, target.model, target.options) == ("azure", "x", {"mock_response": "hi"})


def test_a_login_in_the_address_is_sent_and_not_shown() -> None:
    target = build_target("vllm/m", api_base="https://ada:p%40ss@[::1]:8000/v1/")

    assert target.api_base == "https://[::1]:8000/v1"
    assert target.headers["authorization"] == "Basic YWRhOnBAc3M="
    assert build_target("vllm/m", api_base="https://ada:x@h/v1", api_key="k").headers["authorization"] == "Bearer k"
