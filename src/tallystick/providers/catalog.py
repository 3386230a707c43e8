"""What we know about each provider prefix, and how a configured deployment becomes a Target."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Literal
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit

import msgspec

from tallystick.providers.aws_target import AWS_IDENTITY, bedrock_place
from tallystick.providers.base import InvalidTarget, Target
from tallystick.providers.library_target import LIBRARY_ACCESS, PACKAGES, LibraryAccess, library_access, library_model
from tallystick.providers.openai_compatible import ASK_USAGE
from tallystick.providers.vertex import VERTEX_CREDENTIALS, VERTEX_PARAMS, VERTEX_STYLE, WrongVertex, find_vertex

AZURE_API_VERSION = "2024-10-21"
"""Used when a deployment names none."""
MOCK_RESPONSE = "mock_response"
"""Option of a Target: the answer to give instead of calling the upstream."""
_UPSTREAM_TIMEOUT_SECONDS = 600.0


Adapter = Literal["openai", "anthropic", "bedrock", "cohere", "gemini", "any-llm", "litellm", "demo", "mock"]


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One provider prefix."""

    adapter: Adapter = "openai"
    """Which Provider serves it; `registry` builds one of each."""
    api_base: str = ""
    """Where its calls go unless a deployment says otherwise; '' when each deployment has to say it."""
    key_environment: tuple[str, ...] = ()
    """Environment variables that hold its key, the first one set wins."""
    base_environment: tuple[str, ...] = ()
    """Environment variables that hold its base URL."""
    key_required: bool = True
    """Whether the default base can't be called without a key."""
    is_local: bool = False
    """Answers come from this process."""
    asks_usage: bool = True
    """Whether streams are asked for usage; False where the option is refused and usage comes unasked."""


_OWN_SERVER = Family(key_required=False)
_COHERE = Family(
    adapter="cohere",
    api_base="https://api.cohere.com",
    key_environment=("COHERE_API_KEY", "CO_API_KEY"),
    base_environment=("COHERE_API_BASE",),
)
FAMILIES: Mapping[str, Family] = {
    "openai": Family(
        api_base="https://api.openai.com/v1",
        key_environment=("OPENAI_API_KEY",),
        base_environment=("OPENAI_BASE_URL", "OPENAI_API_BASE"),
    ),
    "azure": Family(key_environment=("AZURE_API_KEY",), base_environment=("AZURE_API_BASE",)),
    "anthropic": Family(
        adapter="anthropic",
        api_base="https://api.anthropic.com/v1",
        key_environment=("ANTHROPIC_API_KEY",),
        base_environment=("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"),
    ),
    "bedrock": Family(adapter="bedrock", key_required=False),
    "cohere": _COHERE,
    "cohere_chat": _COHERE,
    "gemini": Family(
        adapter="gemini",
        api_base="https://generativelanguage.googleapis.com/v1beta",
        key_environment=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        base_environment=("GEMINI_API_BASE",),
    ),
    "vertex_ai": Family(adapter="gemini", key_required=False),
    "groq": Family(api_base="https://api.groq.com/openai/v1", key_environment=("GROQ_API_KEY",)),
    "mistral": Family(api_base="https://api.mistral.ai/v1", key_environment=("MISTRAL_API_KEY",), asks_usage=False),
    "openrouter": Family(api_base="https://openrouter.ai/api/v1", key_environment=("OPENROUTER_API_KEY",)),
    "deepseek": Family(api_base="https://api.deepseek.com", key_environment=("DEEPSEEK_API_KEY",)),
    "xai": Family(api_base="https://api.x.ai/v1", key_environment=("XAI_API_KEY",)),
    "together_ai": Family(
        api_base="https://api.together.xyz/v1", key_environment=("TOGETHERAI_API_KEY", "TOGETHER_API_KEY")
    ),
    "fireworks_ai": Family(
        api_base="https://api.fireworks.ai/inference/v1",
        key_environment=("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"),
    ),
    "huggingface": Family(
        api_base="https://router.huggingface.co/v1",
        key_environment=("HF_TOKEN", "HUGGINGFACE_API_KEY", "HUGGINGFACE_API_TOKEN"),
    ),
    "jina_ai": Family(api_base="https://api.jina.ai/v1", key_environment=("JINA_AI_API_KEY", "JINA_API_KEY")),
    "ollama": Family(
        api_base="http://localhost:11434/v1",
        key_environment=("OLLAMA_API_KEY",),
        base_environment=("OLLAMA_API_BASE",),
        key_required=False,
    ),
    "voyage": Family(api_base="https://api.voyageai.com/v1", key_environment=("VOYAGE_API_KEY",)),
    "vllm": _OWN_SERVER,
    "hosted_vllm": Family(
        key_environment=("HOSTED_VLLM_API_KEY",), base_environment=("HOSTED_VLLM_API_BASE",), key_required=False
    ),
    "litellm_proxy": Family(
        key_environment=("LITELLM_PROXY_API_KEY",), base_environment=("LITELLM_PROXY_API_BASE",), key_required=False
    ),
    "custom_openai": _OWN_SERVER,
    "openai_like": _OWN_SERVER,
    "any-llm": Family(adapter="any-llm", key_required=False),
    "litellm": Family(adapter="litellm", key_required=False),
    "demo": Family(adapter="demo", is_local=True, key_required=False),
    "mock": Family(adapter="mock", is_local=True, key_required=False),
}

_OPENAI_NAME = re.compile(r"(?:gpt-|chatgpt-|o\d|text-embedding-|davinci-|babbage-|ft:|codex-)")
_FIELD_OF_HEADER = {
    "authorization": "api_key",
    "api-key": "api_key",
    "x-api-key": "api_key",
    "openai-organization": "organization",
}
_COHERE_ENDPOINT = re.compile(r"(?:/v[12](?:/(?:chat|embed|rerank))?)$")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\x80-\xff]*")


def split_model(provider_model: str, *, has_api_base: bool = False, unknown: str = "") -> tuple[str, str]:
    """Split `provider/name` at the first slash. Of a bare name, an api_base or how it begins tells the provider.

    `unknown` is the library that calls providers which are not listed here; then it is the provider, and what is given
    the name. Raises InvalidTarget that lists the providers.
    """
    provider, slash, name = provider_model.partition("/")
    if slash and provider in FAMILIES:
        if not name and provider not in PACKAGES:
            raise InvalidTarget("model", f"'{provider_model}' names no model: write {provider}/<model>")
        return provider, name
    if not slash and provider_model.startswith("claude-") and not has_api_base:
        return "anthropic", provider_model
    if not slash and (has_api_base or _OPENAI_NAME.match(provider_model)):
        return "openai", provider_model
    if slash and unknown:
        return unknown, provider_model
    known = ", ".join(sorted(FAMILIES))
    what = f"'{provider}' is not a provider" if slash else f"'{provider_model}' has no provider"
    raise InvalidTarget("model", f"{what}: write <provider>/<model> with one of {known}")


def build_target(
    provider_model: str,
    *,
    api_key: str | None = None,
    api_base: str | None = None,
    api_version: str | None = None,
    organization: str | None = None,
    extra_headers: Mapping[str, str] | None = None,
    timeout_seconds: float = _UPSTREAM_TIMEOUT_SECONDS,
    stream_idle_seconds: float = _UPSTREAM_TIMEOUT_SECONDS,
    drop_params: bool = False,
    options: Mapping[str, object] | None = None,
    aws: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    unknown_providers: str = "",
    params: Mapping[str, object] | None = None,
) -> Target:
    """Resolve one deployment. Key and base may come from `environment` under the provider's usual names.

    `aws` has the parameters whose names begin so, `params` those that only libraries know; `unknown_providers` names
    the library that calls what is not listed here. Raises InvalidTarget that says what would be right.
    """
    provider, model = split_model(provider_model, has_api_base=bool(api_base), unknown=unknown_providers)
    family = FAMILIES[provider]
    options = dict(options or {})
    library = provider if provider in PACKAGES else ""
    if library:
        provider, model = library_model(library, model)
    if not family.asks_usage:
        options.setdefault(ASK_USAGE, False)
    bare = Target(
        provider=provider,
        model=model,
        api_base="",
        options=options,
        library=library,
        drop_params=drop_params,
        timeout_seconds=timeout_seconds,
        stream_idle_seconds=stream_idle_seconds,
    )
    if family.is_local or MOCK_RESPONSE in options:
        return bare
    if library:
        return _at_library(bare, library_access(library, api_key, api_base, extra_headers or {}, params or {}))
    given = environment or {}
    key, own_base = _key_and_base(family, api_key, api_base, given)
    if family.adapter == "bedrock":
        place = bedrock_place(model, api_key=key, api_base=own_base, params=aws or {}, environment=given)
        model, own_base, key = place.model, place.api_base, place.token
        if place.identity is not None:
            options[AWS_IDENTITY] = place.identity
    elif aws:
        raise InvalidTarget(next(iter(aws)), f"it has no effect on {provider}: only bedrock is called by AWS")
    if not key and family.key_required and not own_base:
        what = f"{provider} needs a key: set api_key, or {family.key_environment[0]} in the environment"
        raise InvalidTarget("api_key", what)
    path_style, query = "openai", ""
    if provider == "vertex_ai":
        own_base, options = _at_vertex(model, options, own_base, has_key=bool(key), environment=given)
        path_style = VERTEX_STYLE
    base, login = _without_login(_base_of(provider, own_base or family.api_base))
    if provider == "azure" and not base.endswith("/openai/v1"):
        path_style = "azure"
        base = base.partition("/openai/deployments/")[0].removesuffix("/openai")
        query = urlencode({"api-version": api_version or given.get("AZURE_API_VERSION") or AZURE_API_VERSION})
    headers = {**login, **_headers(provider, key, organization, extra_headers or {})}
    model = _huggingface_model(model) if provider == "huggingface" and not own_base else model
    return msgspec.structs.replace(
        bare, model=model, api_base=base, headers=headers, query=query, path_style=path_style, options=options
    )


def _at_library(bare: Target, access: LibraryAccess) -> Target:
    """Return a target that a library calls; of its address people see no login."""
    base, _ = _without_login(access.api_base)
    return msgspec.structs.replace(bare, api_base=base, options={LIBRARY_ACCESS: access})


def _key_and_base(
    family: Family, api_key: str | None, api_base: str | None, environment: Mapping[str, str]
) -> tuple[str, str]:
    """Return what is given, else what the environment has under the provider's usual names."""
    key = api_key or _first(environment, family.key_environment)
    return key.strip(), api_base or _first(environment, family.base_environment)


def _at_vertex(
    model: str,
    options: Mapping[str, object],
    own_base: str,
    *,
    has_key: bool,
    environment: Mapping[str, str],
) -> tuple[str, dict[str, object]]:
    """Return the base URL of a model at Vertex AI, and the options with what its tokens are asked with."""
    base = _base_of("vertex_ai", own_base) if own_base else ""
    try:
        place = find_vertex(model, options, api_base=base, has_key=has_key, environment=environment)
    except WrongVertex as error:
        raise InvalidTarget(error.field, str(error)) from error
    kept = {name: value for name, value in options.items() if name not in VERTEX_PARAMS}
    if place.credentials is not None:
        kept[VERTEX_CREDENTIALS] = place.credentials
    return place.api_base, kept


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")


def _base_of(provider: str, api_base: str) -> str:
    if not api_base:
        names = FAMILIES[provider].base_environment
        environment = f", or {names[0]} in the environment" if names else ""
        raise InvalidTarget("api_base", f"{provider} has no default address: set api_base to its base URL{environment}")
    base = api_base.strip().rstrip("/")
    try:
        parts = urlsplit(base)
    except ValueError as error:
        raise InvalidTarget("api_base", f"api_base is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InvalidTarget("api_base", "api_base must be a base URL such as https://host/v1, without a query")
    for endpoint in ("/chat/completions", "/completions", "/embeddings", "/messages", "/responses", "/rerank"):
        base = base.removesuffix(endpoint)
    if FAMILIES[provider].adapter == "anthropic" and not base.endswith("/v1"):
        base += "/v1"
    if FAMILIES[provider].adapter == "cohere":
        base = _COHERE_ENDPOINT.sub("", base)
    if FAMILIES[provider].adapter == "gemini" and not parts.path.strip("/"):
        base += "/v1beta" if provider == "gemini" else "/v1"
    if provider == "ollama" and not parts.path.strip("/"):
        base += "/v1"  # Ollama's own API is at the root; its OpenAI dialect is below /v1.
    return base


def _without_login(base: str) -> tuple[str, Mapping[str, str]]:
    """Take the login out of an address, which is shown and recorded; return it as the header that it means."""
    parts = urlsplit(base)
    if "@" not in parts.netloc:
        return base, {}
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    return urlunsplit(bare), {"authorization": f"Basic {b64encode(login.encode()).decode()}"}


def _headers(provider: str, key: str, organization: str | None, extra_headers: Mapping[str, str]) -> Mapping[str, str]:
    headers = {}
    if key and provider == "azure":
        headers["api-key"] = key
    elif key and FAMILIES[provider].adapter == "anthropic":
        headers["x-api-key"] = key
    elif key and FAMILIES[provider].adapter == "gemini":
        headers["x-goog-api-key"] = key
    elif key:
        headers["authorization"] = f"Bearer {key}"
    if organization:
        headers["openai-organization"] = organization
    headers.update({name.lower(): value for name, value in extra_headers.items()})
    for name, value in headers.items():
        if not _HEADER_VALUE.fullmatch(value):
            raise InvalidTarget(
                _FIELD_OF_HEADER.get(name, "extra_headers"),
                f"the value of the header '{name}' has characters that HTTP does not allow",
            )
    return headers


def _huggingface_model(model: str) -> str:
    """Turn `together/org/name`, which names the inference provider first, into the router's `org/name:together`."""
    parts = model.split("/")
    return f"{parts[1]}/{parts[2]}:{parts[0]}" if len(parts) == 3 and ":" not in model else model
