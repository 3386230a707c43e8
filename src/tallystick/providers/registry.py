"""The table of providers, by the prefix that a Target carries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from tallystick.providers.anthropic import Anthropic
from tallystick.providers.aws_identity import AWSSigner
from tallystick.providers.base import Provider
from tallystick.providers.bedrock import Bedrock
from tallystick.providers.catalog import FAMILIES, Adapter
from tallystick.providers.cohere import Cohere
from tallystick.providers.demo import Demo
from tallystick.providers.gemini import GeminiModels, TokenSource
from tallystick.providers.library import Library, LibraryModels
from tallystick.providers.mock import Mock, Mockable
from tallystick.providers.openai_compatible import OpenAICompatible
from tallystick.providers.translator import Translator
from tallystick.providers.transport import Transport


class Libraries(Protocol):
    """Where libraries come from; each is imported by its first call."""

    def any_llm(self) -> Awaitable[Library]:
        """Return any-llm. Raises UpstreamUnreachable where it can't be imported."""

    def litellm(self) -> Awaitable[Library]:
        """Return LiteLLM's SDK. Raises UpstreamUnreachable where it can't be imported."""


def build_providers(
    transport: Transport,
    *,
    new_id: Callable[[], str],
    now_seconds: Callable[[], int],
    load_aws_signer: Callable[[], AWSSigner],
    google_tokens: TokenSource,
    libraries: Libraries,
) -> Mapping[str, Provider]:
    """Return the provider of each prefix. Prefixes of one family share an adapter, all adapters the connections.

    `load_aws_signer` is called when the first call to AWS is to be signed, in a thread.
    """
    translator = Translator(now_seconds=now_seconds)
    mock = Mock(new_id=new_id, now_seconds=now_seconds, translator=translator)
    adapters: Mapping[Adapter, Provider] = {
        "openai": OpenAICompatible(transport, translator),
        "anthropic": Anthropic(transport, translator),
        "bedrock": Bedrock(transport, translator, load_signer=load_aws_signer),
        "cohere": Cohere(transport, translator),
        "gemini": GeminiModels(transport, translator, tokens=google_tokens),
        "any-llm": LibraryModels("any-llm", translator, load=libraries.any_llm),
        "litellm": LibraryModels("litellm", translator, load=libraries.litellm),
        "demo": Demo(new_id=new_id, now_seconds=now_seconds, translator=translator),
    }
    mockable = {name: Mockable(provider, mock) for name, provider in adapters.items()}
    providers: dict[str, Provider] = {
        name: mockable[family.adapter] for name, family in FAMILIES.items() if family.adapter != "mock"
    }
    providers["mock"] = mock
    return providers
