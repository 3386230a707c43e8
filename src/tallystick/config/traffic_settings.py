"""Settings of what moves calls: server, upstream connections, streams."""

from __future__ import annotations

from typing import Annotated, Literal

from tallystick.config.places import Given, Place, megabytes
from tallystick.config.record import MIB, Frozen, PositiveCount, Seconds


class ServerSettings(Frozen):
    """The HTTP server."""

    body_bytes_max: Annotated[
        PositiveCount,
        Given(
            name="body_bytes_max",
            description="Largest request body in bytes; a larger one is answered with 413. "
            "`max_request_size_mb` is in MiB.",
            file=(Place("general_settings.max_request_size_mb", megabytes),),
        ),
    ] = 100 * MIB
    drain_seconds: Annotated[
        Seconds,
        Given(
            name="drain_seconds",
            description="Longest time that running calls get to end after SIGTERM.",
            environment=("GRACEFUL_SHUTDOWN_TIMEOUT",),
        ),
    ] = 30.0
    backlog: Annotated[
        PositiveCount, Given(name="backlog", description="Connections that may wait to be accepted.")
    ] = 2048
    key_cache_max: Annotated[
        PositiveCount,
        Given(
            name="key_cache_max",
            description="Virtual keys that one worker keeps in memory.",
            file=("general_settings.user_api_key_cache_max_size",),
        ),
    ] = 100_000


class UpstreamSettings(Frozen):
    """Connections to providers."""

    connections_max: Annotated[
        PositiveCount, Given(name="upstream_connections_max", description="Most upstream connections of one worker.")
    ] = 1000
    connections_per_host_max: Annotated[
        PositiveCount,
        Given(name="upstream_connections_per_host_max", description="Most connections of one worker to one upstream."),
    ] = 1000
    timeout_seconds: Annotated[
        Seconds,
        Given(
            name="upstream_timeout_seconds",
            description="Longest wait for a whole plain answer; a deployment's and the request's `timeout` go before "
            "it.",
            file=("router_settings.timeout", "litellm_settings.request_timeout"),
        ),
    ] = 600.0
    stream_timeout_seconds: Annotated[
        Seconds | None,
        Given(
            name="upstream_stream_timeout_seconds",
            description="Longest wait for the first byte of a stream, and longest pause inside it; a deployment's and "
            "the request's `stream_timeout` go before it. None: as `timeout`.",
            file=("router_settings.stream_timeout",),
        ),
    ] = None
    connect_timeout_seconds: Annotated[
        Seconds,
        Given(name="upstream_connect_timeout_seconds", description="Longest wait for a connection to an upstream."),
    ] = 10.0
    keepalive_seconds: Annotated[
        Seconds, Given(name="upstream_keepalive_seconds", description="How long an idle connection is kept open.")
    ] = 15.0
    drop_params: Annotated[
        bool,
        Given(
            name="drop_params",
            description="Whether fields of a request that the dialect of the upstream can't say are dropped. Otherwise "
            "they are refused. A deployment's `drop_params` goes before it, and the request's before both.",
            file=("litellm_settings.drop_params",),
        ),
    ] = False
    unknown_providers: Annotated[
        Literal["any-llm", "litellm"] | None,
        Given(
            name="unknown_providers",
            description="The library that calls providers which Tallystick does not know itself, as if the model were "
            "`any-llm/<provider>/<model>`; it must be installed. None: a model of such a provider is refused.",
        ),
    ] = None


class StreamSettings(Frozen):
    """Streamed answers."""

    on_client_disconnect: Annotated[
        Literal["close", "drain"],
        Given(
            name="on_client_disconnect",
            description="When a client leaves a stream: `close` the upstream and estimate what was used, or `drain` "
            "it to learn the provider's own count.",
        ),
    ] = "close"
    drain_seconds: Annotated[
        Seconds, Given(name="stream_drain_seconds", description="Longest time that a left stream is drained.")
    ] = 60.0
