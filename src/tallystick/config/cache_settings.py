"""Settings of the response cache: `litellm_settings.cache` and `cache_params`, as LiteLLM calls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from tallystick.config.places import Given, Place
from tallystick.config.record import MIB, Frozen, PositiveCount, Seconds

CACHE_TYPES: Final = ("local", "redis")
CALL_TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "acompletion": ("chat/completions",),
    "completion": ("chat/completions",),
    "atext_completion": ("completions",),
    "text_completion": ("completions",),
    "aembedding": ("embeddings", "embedContent", "batchEmbedContents"),
    "embedding": ("embeddings", "embedContent", "batchEmbedContents"),
    "anthropic_messages": ("messages",),
    "agenerate_content": ("generateContent",),
    "generate_content": ("generateContent",),
}
"""LiteLLM's names of calls that are cached, and the endpoints that each means."""


def _known_type(value: object) -> object:
    """Read the type: one that is not supported caches nothing, and a warning says so."""
    if not isinstance(value, str) or value in CACHE_TYPES:
        return value
    return "none" if value else None


class CacheSettings(Frozen):
    """Whether answers are kept and given again, and for whom."""

    enabled: Annotated[
        bool,
        Given(
            name="cache",
            description="Keep answers, and give them again to calls that ask the same. Such a call costs nothing.",
            file=("litellm_settings.cache",),
        ),
    ] = False
    type: Annotated[
        Literal["local", "redis", "none"] | None,
        Given(
            name="cache_type",
            description="Where answers are kept: `local`, in each worker's memory, or `redis`, for all instances. "
            "Other types of LiteLLM's are not supported: nothing is cached, and a warning says so. Default: `redis` "
            "where a Redis is given, else `local`.",
            file=(Place("litellm_settings.cache_params.type", _known_type),),
        ),
    ] = None
    ttl_seconds: Annotated[
        Seconds,
        Given(
            name="cache_ttl",
            description="How many seconds an answer is kept, where the call does not say it.",
            file=("litellm_settings.cache_params.ttl",),
        ),
    ] = 600.0
    namespace: Annotated[
        str,
        Given(
            name="cache_namespace",
            description="Answers are found only under the namespace that they were kept in; a call may name another.",
            file=("litellm_settings.cache_params.namespace",),
        ),
    ] = ""
    mode: Annotated[
        Literal["default_on", "default_off"],
        Given(
            name="cache_mode",
            description='`default_off`: only calls that say `"cache": {"use-cache": true}` are cached.',
            file=("litellm_settings.cache_params.mode",),
        ),
    ] = "default_on"
    supported_call_types: Annotated[
        tuple[str, ...],
        Given(
            name="cache_supported_call_types",
            description=f"What is cached: {', '.join(f'`{name}`' for name in CALL_TYPES)}. Default: all of them. "
            "Others are named in a warning.",
            file=("litellm_settings.cache_params.supported_call_types",),
            in_environment=False,
        ),
    ] = tuple(CALL_TYPES)
    scope: Annotated[
        Literal["key", "team", "organization", "everybody"],
        Given(
            name="cache_scope",
            description="Who shares answers. `team`: the keys of a team; without a team those of a user, and a key "
            "without either has its own. `organization`: the keys of an organization, else as `team`. `key`: each key "
            "has its own. `everybody`: all callers of the gateway, as in LiteLLM.",
        ),
    ] = "team"
    memory_bytes_max: Annotated[
        PositiveCount,
        Given(
            name="cache_memory_bytes_max",
            description="Size of a worker's `local` cache; beyond it, answers that were used longest ago are dropped.",
        ),
    ] = 100 * MIB
    answer_bytes_max: Annotated[
        PositiveCount,
        Given(name="cache_answer_bytes_max", description="A larger answer is not cached."),
    ] = MIB

    def endpoints(self) -> frozenset[str]:
        """Return the endpoints whose answers are cached."""
        return frozenset(each for name in self.supported_call_types for each in CALL_TYPES.get(name, ()))
