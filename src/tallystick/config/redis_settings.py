"""Settings of Redis, which instances share their rate limits by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
from pydantic import AfterValidator, Field

from tallystick.config.places import Given, Place
from tallystick.config.record import Count, Frozen, Seconds

_PORT: Final = 6379
_WHAT_A_URL_IS: Final = "must be redis://, rediss:// or unix://, as in redis://:password@host:6379/0"

Port = Annotated[int, Field(ge=1, le=65535)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """Where Redis is, and how to get in."""

    host: str = ""
    port: int = _PORT
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ssl: bool = False
    socket_path: str | None = None
    nodes: tuple[tuple[str, int], ...] = ()
    """Of a cluster; its other nodes are found through these."""

    @property
    def shown(self) -> str:
        """The place, without what is secret."""
        if self.nodes:
            return ", ".join(f"{host}:{port}" for host, port in self.nodes)
        return self.socket_path or f"{self.host}:{self.port}/{self.db}"


def parse_redis_url(url: str) -> RedisAddress:
    """Read an address. Raises ValueError, without the address in its message."""
    scheme, separator, _ = url.partition("://")
    if scheme not in ("redis", "rediss", "unix") or not separator:
        raise ValueError(_WHAT_A_URL_IS)
    try:
        parts = urlsplit(url)
        port = parts.port or _PORT
        query = parse_qs(parts.query)
        written_db = query["db"][0] if "db" in query else parts.path.strip("/") if scheme != "unix" else ""
        db = int(written_db or 0)
    except ValueError:
        raise ValueError(f"{_WHAT_A_URL_IS}; special characters of the password are percent-encoded") from None
    if scheme != "unix" and not parts.hostname:
        raise ValueError(_WHAT_A_URL_IS)
    return RedisAddress(
        host=parts.hostname or "",
        port=port,
        db=db,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        ssl=scheme == "rediss",
        socket_path=parts.path if scheme == "unix" else None,
    )


def _checked_url(url: str) -> str:
    parse_redis_url(url)
    return url


def _from_json(value: object) -> object:
    """Read a list that stands in a variable."""
    if not isinstance(value, str):
        return value
    try:
        found: object = msgspec.json.decode(value)
    except msgspec.MsgspecError:
        return value  # Reported as no list.
    return found


RedisURL = Annotated[str, AfterValidator(_checked_url)]


class RedisNode(Frozen):
    """One node of a cluster."""

    host: Annotated[str, Field(min_length=1)]
    port: Port = _PORT


class CoordinationRedis(Frozen):
    """A Redis in LiteLLM's `coordination_redis`: a `url`, or its parts."""

    url: Annotated[RedisURL | None, Field(repr=False)] = None
    host: str | None = None
    port: Port = _PORT
    db: Count = 0
    username: str | None = None
    password: str | None = Field(default=None, repr=False)
    ssl: bool = False


class RedisSettings(Frozen):
    """Which Redis, if any, and how long to wait for it."""

    coordination: Annotated[
        CoordinationRedis | None,
        Given(
            name="coordination_redis",
            description="The Redis by which instances share rate limits: `url`, or `host`, `port`, `db`, `username`, "
            "`password`, `ssl`. It goes before the `redis_…` settings.",
            in_environment=False,
        ),
    ] = None
    url: Annotated[
        RedisURL | None,
        Field(repr=False),
        Given(
            name="redis_url",
            description="The Redis by which instances share rate limits: `redis://`, `rediss://` (TLS) or `unix://`. "
            "Without one, each worker counts for itself.",
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
    ] = _PORT
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
        bool, Given(name="redis_ssl", description="Whether to connect by TLS.", environment=("REDIS_SSL",))
    ] = False
    cluster_nodes: Annotated[
        tuple[RedisNode, ...],
        Given(
            name="redis_cluster_nodes",
            description="Some nodes of a Redis Cluster, in place of `redis_host`: `[{host: …, port: …}]`, in the "
            "variable as JSON. User, password and TLS are as above.",
            environment=(Place("REDIS_CLUSTER_NODES", _from_json),),
            in_environment=False,
        ),
    ] = ()
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
        str,
        Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$"),
        Given(
            name="redis_key_prefix",
            description="How Tallystick's keys begin in Redis, in braces. Installations that share a Redis and not "
            "their limits have different ones.",
        ),
    ] = "tallystick"

    @property
    def address(self) -> RedisAddress | None:
        """The Redis that is given; None when none is."""
        own = self.coordination
        if own is not None and own.url is not None:
            return parse_redis_url(own.url)
        if own is not None and own.host is not None:
            return _of_parts(own, own.host)
        if self.cluster_nodes:
            nodes = tuple((node.host, node.port) for node in self.cluster_nodes)
            return RedisAddress(username=self.username, password=self.password, ssl=self.ssl, nodes=nodes)
        if self.url is not None:
            return parse_redis_url(self.url)
        return None if self.host is None else _of_parts(self, self.host)


def _of_parts(parts: CoordinationRedis | RedisSettings, host: str) -> RedisAddress:
    return RedisAddress(
        host=host, port=parts.port, db=parts.db, username=parts.username, password=parts.password, ssl=parts.ssl
    )
