"""Settings of Redis, by which instances share rate limits and work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

from pydantic import Field

from tallystick.config.places import Given, Place
from tallystick.config.record import Count, Frozen, Seconds
from tallystick.config.redis_address import REDIS_PORT, RedisAddress
from tallystick.config.redis_parts import (
    CertificateTrust,
    KeyPrefix,
    Port,
    RedisNodes,
    RedisParts,
    RedisURL,
    Remark,
    SentinelNodes,
)


class Chosen(NamedTuple):
    """The Redis that is used, of those that are given."""

    where: str
    """The field that holds it, `coordination` or `cache`; "" for the settings of their own."""
    parts: RedisParts


def parts_of_cache(value: object) -> object:
    """Read LiteLLM's `cache_params`: what says where its Redis is. None where the cache is something else."""
    if not isinstance(value, dict):
        return value  # Reported as no mapping.
    if value.get("type") not in (None, "", "redis"):
        return None
    return {name: part for name, part in value.items() if name in CACHE_PARTS}


CACHE_PARTS = frozenset({*RedisParts.model_fields, "redis_startup_nodes"})
"""The keys of `cache_params` that are read."""


class RedisSettings(Frozen):
    """Which Redis, if any, and how long to wait for it."""

    coordination: Annotated[
        RedisParts | None,
        Given(
            name="coordination_redis",
            description="The Redis by which instances share rate limits, and work: `url`, `host`, `startup_nodes` or "
            "`sentinel_nodes`, with what belongs to it. It goes before the `redis_…` settings.",
            in_environment=False,
        ),
    ] = None
    url: Annotated[
        RedisURL | None,
        Field(repr=False),
        Given(
            name="redis_url",
            description="The Redis by which instances share rate limits, and work: `redis://`, `rediss://` (TLS) or "
            "`unix://`. Options `ssl_…` in it are as in the settings below. Without any Redis, each worker counts its "
            "limits for itself, and the database knows who leads.",
            file=("router_settings.redis_url",),
            environment=("REDIS_URL",),
            refers=True,
        ),
    ] = None
    host: Annotated[
        str | None,
        Given(
            name="redis_host",
            description="Host of that Redis, where no `redis_url` is given.",
            file=("router_settings.redis_host",),
            environment=("REDIS_HOST",),
        ),
    ] = None
    port: Annotated[
        Port,
        Given(
            name="redis_port",
            description="Port of that Redis.",
            file=("router_settings.redis_port",),
            environment=("REDIS_PORT",),
        ),
    ] = REDIS_PORT
    db: Annotated[
        Count,
        Given(
            name="redis_db",
            description="Number of the database at that Redis.",
            file=("router_settings.redis_db",),
            environment=("REDIS_DB",),
        ),
    ] = 0
    username: Annotated[
        str | None, Given(name="redis_username", description="User at that Redis.", environment=("REDIS_USERNAME",))
    ] = None
    password: Annotated[
        str | None,
        Field(repr=False),
        Given(
            name="redis_password",
            description="Password at that Redis.",
            file=("router_settings.redis_password",),
            environment=("REDIS_PASSWORD",),
            refers=True,
        ),
    ] = None
    ssl: Annotated[
        bool | None,
        Given(
            name="redis_ssl",
            description="Whether to connect by TLS; a `redis_url` says it by `rediss://`.",
            environment=("REDIS_SSL",),
        ),
    ] = None
    ssl_ca_certs: Annotated[
        str | None,
        Given(
            name="redis_ssl_ca_certs",
            description="File with the certificates of authorities that are trusted besides the machine's own.",
            environment=("REDIS_SSL_CA_CERTS",),
        ),
    ] = None
    ssl_certfile: Annotated[
        str | None,
        Given(
            name="redis_ssl_certfile",
            description="File with the certificate that Redis asks for, if it asks.",
            environment=("REDIS_SSL_CERTFILE",),
        ),
    ] = None
    ssl_keyfile: Annotated[
        str | None,
        Given(
            name="redis_ssl_keyfile",
            description="File with the key of `redis_ssl_certfile`, not encrypted; it may be in the same file.",
            environment=("REDIS_SSL_KEYFILE",),
        ),
    ] = None
    ssl_cert_reqs: Annotated[
        CertificateTrust | None,
        Given(
            name="redis_ssl_cert_reqs",
            description="Whether Redis has to show a certificate that is trusted: `required` unless this is given; "
            "with `none` whoever is on the way can read and change everything.",
            environment=("REDIS_SSL_CERT_REQS",),
        ),
    ] = None
    ssl_check_hostname: Annotated[
        bool | None,
        Given(
            name="redis_ssl_check_hostname",
            description="Whether that certificate has to be for the host that is called: true unless this is given, or "
            "`redis_ssl_cert_reqs` is `none`.",
            environment=("REDIS_SSL_CHECK_HOSTNAME",),
        ),
    ] = None
    startup_nodes: Annotated[
        RedisNodes,
        Given(
            name="redis_cluster_nodes",
            description="Some nodes of a Redis Cluster, in place of `redis_host`: `[{host: …, port: …}]`, in the "
            "variable as JSON. User, password and TLS are as above.",
            environment=("REDIS_CLUSTER_NODES",),
            in_environment=False,
        ),
    ] = ()
    sentinel_nodes: Annotated[
        SentinelNodes,
        Given(
            name="redis_sentinel_nodes",
            description="Sentinels that know where the master is, in place of `redis_host`: `[[host, port]]`, in the "
            "variable as JSON. Needs `redis_service_name`. User, password, database and TLS are as above.",
            environment=("REDIS_SENTINEL_NODES",),
            in_environment=False,
        ),
    ] = ()
    service_name: Annotated[
        str | None,
        Given(
            name="redis_service_name",
            description="What the sentinels call the master.",
            environment=("REDIS_SERVICE_NAME",),
        ),
    ] = None
    sentinel_username: Annotated[
        str | None,
        Given(
            name="redis_sentinel_username",
            description="User at the sentinels.",
            environment=("REDIS_SENTINEL_USERNAME",),
        ),
    ] = None
    sentinel_password: Annotated[
        str | None,
        Field(repr=False),
        Given(
            name="redis_sentinel_password",
            description="Password at the sentinels, if they have one.",
            environment=("REDIS_SENTINEL_PASSWORD",),
            refers=True,
        ),
    ] = None
    cache: Annotated[
        RedisParts | None,
        Given(
            name="cache_params",
            description="LiteLLM's cache: where its `type` is `redis`, this is the Redis where no other is given, and "
            "what it leaves out is as in the `redis_…` settings. What else is read of it are the `cache_…` settings.",
            file=(Place("litellm_settings.cache_params", parts_of_cache),),
            in_file=False,
            in_environment=False,
        ),
    ] = None
    socket_timeout_seconds: Annotated[
        Seconds,
        Given(
            name="redis_socket_timeout",
            description="Seconds to wait for an answer of Redis. Then the worker counts for itself, and tries again "
            "each second.",
            environment=("REDIS_SOCKET_TIMEOUT",),
        ),
    ] = 0.1
    key_prefix: Annotated[
        KeyPrefix,
        Given(
            name="redis_key_prefix",
            description="How Tallystick's keys begin in Redis, in braces. Installations that share a Redis and "
            "nothing else have different ones. Where it is not given, a `namespace` beside the address is it.",
        ),
    ] = "tallystick"

    @property
    def address(self) -> RedisAddress | None:
        """The Redis that is used; None when none is given."""
        return self.chosen.parts.address

    @property
    def keys_begin_with(self) -> str:
        """How keys begin there."""
        namespace = self.chosen.parts.namespace
        return self.key_prefix if namespace is None or "key_prefix" in self.model_fields_set else namespace

    @property
    def chosen(self) -> Chosen:
        """The first that says where it is: `coordination_redis`, the settings of their own, `cache_params`."""
        own = RedisParts(
            **{name: getattr(self, name) for name in self.model_fields_set & RedisParts.model_fields.keys()}
        )
        if self.coordination is not None:
            return Chosen("coordination", self.coordination)
        if own.place is None and self.cache is not None and self.cache.place is not None:
            return Chosen("cache", RedisParts(**(own.given() | self.cache.given())))
        return Chosen("", own)

    def contradictions(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Find settings that can't all be meant, each by its path in here, with the reason."""
        where, parts = self.chosen
        if where == "coordination" and parts.place is None:
            yield ("coordination",), "names no Redis: it needs url, host, startup_nodes or sentinel_nodes"
        for remark in parts.contradictions():
            yield self._path(where, remark), remark.text

    def unused(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Find settings that are given and change nothing, each by its path in here, with the reason."""
        where, parts = self.chosen
        for remark in parts.unused():
            yield self._path(where, remark), remark.text
        if where == "coordination":
            for name in sorted(self.model_fields_set & RedisParts.model_fields.keys()):
                yield (name,), "not used: coordination_redis goes before it"
        if where != "cache" and self.cache is not None:
            if self.cache.place is not None:
                yield ("cache",), "its Redis is not used: another one is given, which goes before it"
            else:
                for name in sorted(self.cache.model_fields_set - {"namespace"}):  # It is the cache's own, too.
                    yield ("cache", name), "not used: it does not say where a Redis is"

    def _path(self, where: str, remark: Remark) -> tuple[str, ...]:
        """Return where a part was given: what one place leaves out may come from the other."""
        of_cache = where == "cache" and self.cache is not None and remark.part in self.cache.model_fields_set
        return (where, remark.part) if of_cache or where == "coordination" else (remark.part,)
