"""Settings of routing, by LiteLLM's names: strategy, retries, cooldowns, fallbacks. All may change while calls run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from tallystick.config.places import Given
from tallystick.config.record import Count, Frozen, PositiveCount, Seconds

RETRIES_MAX = 20

Strategy = Literal[
    "simple-shuffle",
    "least-busy",
    "usage-based-routing",
    "usage-based-routing-v2",
    "latency-based-routing",
    "cost-based-routing",
]
RetryKey = Literal[
    "BadRequestErrorRetries",
    "AuthenticationErrorRetries",
    "NotFoundErrorRetries",
    "TimeoutErrorRetries",
    "RateLimitErrorRetries",
    "ContentPolicyViolationErrorRetries",
    "InternalServerErrorRetries",
    "BadGatewayErrorRetries",
    "ServiceUnavailableErrorRetries",
]
AllowedFailsKey = Literal[
    "BadRequestErrorAllowedFails",
    "AuthenticationErrorAllowedFails",
    "NotFoundErrorAllowedFails",
    "TimeoutErrorAllowedFails",
    "RateLimitErrorAllowedFails",
    "ContentPolicyViolationErrorAllowedFails",
    "InternalServerErrorAllowedFails",
    "BadGatewayErrorAllowedFails",
    "ServiceUnavailableErrorAllowedFails",
]
Retries = Annotated[Count, Field(le=RETRIES_MAX)]
RetryPolicy = Mapping[RetryKey, Retries]
EVERY_GROUP = "*"
"""The key of fallbacks that hold for every group without its own."""


def _by_group(value: object) -> object:
    """Read `[{"a": ["b"]}, {"c": ["d"]}]`, as LiteLLM writes fallbacks; the first entry of a group holds."""
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        return value
    groups: dict[object, object] = {}
    for entry in value:
        if isinstance(entry, str):
            groups.setdefault(EVERY_GROUP, (entry,))
        elif isinstance(entry, Mapping):
            for group, names in entry.items():
                groups.setdefault(group, tuple(names) if isinstance(names, list) else names)
        else:
            raise ValueError('each entry must be like {"model": ["its fallback"]}')  # noqa: TRY004 - pydantic's way.
    return groups


Fallbacks = Annotated[Mapping[str, tuple[str, ...]], BeforeValidator(_by_group)]


class StrategyArguments(Frozen):
    """What `latency-based-routing` goes by."""

    ttl: Seconds = 3600.0
    """Seconds after which a latency is forgotten."""
    lowest_latency_buffer: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 0.0
    """Deployments slower than the fastest by no more than this share of its latency are as good as it."""
    max_latency_list_size: Annotated[PositiveCount, Field(le=1000)] = 10
    """Latencies that are remembered of a deployment."""


class ModelGroupAlias(Frozen):
    """A further name of a model group."""

    model: Annotated[str, Field(min_length=1)]
    hidden: bool = False
    """Whether lists of models leave it out."""


def _by_name(value: object) -> object:
    """Read an alias that is the plain name of a group."""
    if not isinstance(value, Mapping):
        return value
    return {alias: ModelGroupAlias(model=meant) if isinstance(meant, str) else meant for alias, meant in value.items()}


class RoutingSettings(Frozen):
    """From a model group to the deployments that a call tries."""

    strategy: Annotated[
        Strategy,
        Given(
            name="routing_strategy",
            description="How the deployments of a group are put in order: `simple-shuffle` at random, by `weight`, "
            "else by `rpm` or `tpm` where all have one; the one with the fewest running calls, the fewest tokens of "
            "this minute, the lowest latency, or the lowest price.",
            file=("router_settings.routing_strategy",),
        ),
    ] = "simple-shuffle"
    strategy_arguments: Annotated[
        StrategyArguments,
        Given(
            name="routing_strategy_args",
            description="Of `latency-based-routing`: `ttl` (3600) is after how many seconds a latency is forgotten, "
            "`max_latency_list_size` (10) how many are remembered, `lowest_latency_buffer` (0) by which share of the "
            "lowest latency another may be slower and still be chosen.",
            file=("router_settings.routing_strategy_args",),
            in_file=False,
            in_environment=False,
        ),
    ] = StrategyArguments()
    num_retries: Annotated[
        Retries,
        Given(
            name="num_retries",
            description="Further tries of a call after one that failed in a way that may pass. A deployment's and the "
            "request's `num_retries` go before it.",
            file=("router_settings.num_retries", "litellm_settings.num_retries"),
        ),
    ] = 2
    retry_after_seconds: Annotated[
        float,
        Field(ge=0, le=60, allow_inf_nan=False),
        Given(
            name="retry_after_seconds",
            description="Shortest pause before a deployment that failed is tried again by the same call.",
            file=("router_settings.retry_after",),
        ),
    ] = 0.0
    retry_policy: Annotated[
        RetryPolicy,
        Given(
            name="retry_policy",
            description="Retries by error class, in place of `num_retries`.",
            file=("router_settings.retry_policy",),
            in_file=False,
            in_environment=False,
        ),
    ] = Field(default_factory=dict)
    model_group_retry_policy: Annotated[
        Mapping[str, RetryPolicy],
        Given(
            name="model_group_retry_policy",
            description="Retries by error class of single model groups, in place of `retry_policy`.",
            file=("router_settings.model_group_retry_policy",),
            in_file=False,
            in_environment=False,
        ),
    ] = Field(default_factory=dict)
    allowed_fails: Annotated[
        Count | None,
        Given(
            name="allowed_fails",
            description="Failures within `cooldown_time` after which a deployment is left alone. None: LiteLLM's rules "
            "decide (429, 401, 404, more than half of a minute's calls).",
            file=("router_settings.allowed_fails", "litellm_settings.allowed_fails"),
        ),
    ] = None
    allowed_fails_policy: Annotated[
        Mapping[AllowedFailsKey, Count],
        Given(
            name="allowed_fails_policy",
            description="`allowed_fails` by error class.",
            file=("router_settings.allowed_fails_policy",),
            in_file=False,
            in_environment=False,
        ),
    ] = Field(default_factory=dict)
    cooldown_seconds: Annotated[
        Seconds,
        Given(
            name="cooldown_seconds",
            description="How long a deployment that fails is left alone. Its own `cooldown_time` and the upstream's "
            "`retry-after` go before it.",
            file=("router_settings.cooldown_time",),
        ),
    ] = 5.0
    disable_cooldowns: Annotated[
        bool,
        Given(
            name="disable_cooldowns",
            description="Never leave a deployment alone because it fails.",
            file=("router_settings.disable_cooldowns",),
        ),
    ] = False
    fallbacks: Annotated[
        Fallbacks,
        Given(
            name="fallbacks",
            description='Model groups that are tried when one fails: `[{"gpt-4o": ["claude", "gemini"]}]`.',
            file=("router_settings.fallbacks", "litellm_settings.fallbacks"),
            in_file=False,
            in_environment=False,
        ),
    ] = Field(default_factory=dict)
    context_window_fallbacks: Annotated[
        Fallbacks,
        Given(
            name="context_window_fallbacks",
            description="Model groups that are tried when the input is too long for one.",
            file=("router_settings.context_window_fallbacks", "litellm_settings.context_window_fallbacks"),
            in_file=False,
            in_environment=False,
        ),
    ] = Field(default_factory=dict)
    content_policy_fallbacks: Annotated[
        Fallbacks,
        Given(
            name="content_policy_fallbacks",
            description="Model groups that are tried when one refuses the input by its content policy.",
            file=("router_settings.content_policy_fallbacks", "litellm_settings.content_policy_fallbacks"),
            in_file=False,
            in_environment=False,
        ),
    ] = Field(default_factory=dict)
    default_fallbacks: Annotated[
        tuple[str, ...],
        Given(
            name="default_fallbacks",
            description="Fallbacks of every model group that has none of its own.",
            file=("router_settings.default_fallbacks", "litellm_settings.default_fallbacks"),
            in_file=False,
            in_environment=False,
        ),
    ] = ()
    max_fallbacks: Annotated[
        Count,
        Field(le=100),
        Given(
            name="max_fallbacks",
            description="Most model groups that one call falls back to.",
            file=("router_settings.max_fallbacks",),
        ),
    ] = 5
    model_group_alias: Annotated[
        Mapping[str, ModelGroupAlias],
        BeforeValidator(_by_name),
        Given(
            name="model_group_alias",
            description="Further names of model groups: `{alias: group}`, or `{alias: {model: group, hidden: true}}`.",
            file=("router_settings.model_group_alias",),
            in_file=False,
            in_environment=False,
        ),
    ] = Field(default_factory=dict)
    enable_pre_call_checks: Annotated[
        bool,
        Given(
            name="enable_pre_call_checks",
            description="Leave out deployments whose context window is smaller than the input, by `max_input_tokens` "
            "or the list of prices.",
            file=("router_settings.enable_pre_call_checks",),
        ),
    ] = False
    enable_tag_filtering: Annotated[
        bool,
        Given(
            name="enable_tag_filtering",
            description="Choose among the deployments whose `tags` match the call's, else among those tagged "
            "`default`.",
            file=("router_settings.enable_tag_filtering",),
        ),
    ] = False
    tag_filtering_match_any: Annotated[
        bool,
        Given(
            name="tag_filtering_match_any",
            description="Whether one common tag suffices; else a deployment needs all tags of the call.",
            file=("router_settings.tag_filtering_match_any",),
        ),
    ] = True
