"""A Redis in parts, as a mapping of the file names it: `coordination_redis`, `litellm_settings.cache_params`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, model_validator

from tallystick.config.record import Count, Frozen
from tallystick.config.redis_address import (
    REDIS_PORT,
    SENTINEL_PORT,
    RedisAddress,
    RedisTLS,
    Trust,
    parse_redis_url,
    read_trust,
    unread_options,
)

PLACES: Final[Mapping[str, str]] = {
    "url": "a URL",
    "startup_nodes": "nodes of a cluster",
    "sentinel_nodes": "sentinels",
    "host": "a host",
}
"""What says where a Redis is, in the order in which it is looked at."""
_TLS_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_WAYS: Final = ("ssl_cert_reqs", "ssl_check_hostname")
_OF_SENTINELS: Final = ("service_name", "sentinel_username", "sentinel_password")
_OF_THE_SERVER: Final = ("username", "password")

Port = Annotated[int, Field(ge=1, le=65535)]


def _from_json(value: object) -> object:
    """Read a list that stands in a variable."""
    if not isinstance(value, str):
        return value
    try:
        found: object = msgspec.json.decode(value)
    except msgspec.MsgspecError:
        return value  # Reported as no list.
    return found


def _pair(value: object) -> object:
    """Read a node that is written as `[host, port]`."""
    return {"host": value[0], "port": value[1]} if isinstance(value, list | tuple) and len(value) == 2 else value


def _checked_url(url: str) -> str:
    parse_redis_url(url)
    return url


class RedisNode(Frozen):
    """One node of a cluster."""

    host: Annotated[str, Field(min_length=1)]
    port: Port = REDIS_PORT


class SentinelNode(Frozen):
    """One sentinel."""

    host: Annotated[str, Field(min_length=1)]
    port: Port = SENTINEL_PORT


RedisURL = Annotated[str, AfterValidator(_checked_url)]
RedisNodes = Annotated[tuple[Annotated[RedisNode, BeforeValidator(_pair)], ...], BeforeValidator(_from_json)]
SentinelNodes = Annotated[tuple[Annotated[SentinelNode, BeforeValidator(_pair)], ...], BeforeValidator(_from_json)]
CertificateTrust = Annotated[Trust, BeforeValidator(read_trust)]
KeyPrefix = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$")]


class Remark(NamedTuple):
    """Something to say of one part."""

    part: str
    text: str


class RedisParts(Frozen):
    """Where one Redis is, in LiteLLM's words. What is null or empty is not given."""

    url: Annotated[RedisURL | None, Field(repr=False)] = None
    host: str | None = None
    port: Port = REDIS_PORT
    db: Count = 0
    username: str | None = None
    password: str | None = Field(default=None, repr=False)
    ssl: bool | None = None
    startup_nodes: Annotated[
        RedisNodes, Field(validation_alias=AliasChoices("startup_nodes", "redis_startup_nodes"))
    ] = ()
    sentinel_nodes: SentinelNodes = ()
    service_name: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = Field(default=None, repr=False)
    ssl_ca_certs: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_cert_reqs: CertificateTrust | None = None
    ssl_check_hostname: bool | None = None
    namespace: KeyPrefix | None = None

    @model_validator(mode="before")
    @classmethod
    def _given_ones(cls, value: Any) -> Any:  # Any: not yet checked.
        if not isinstance(value, dict):
            return value
        return {name: part for name, part in value.items() if part is not None and part not in ("", (), [])}

    @property
    def place(self) -> str | None:
        """The part that says where the Redis is; None when none does."""
        return next((name for name in PLACES if getattr(self, name)), None)

    def given(self) -> dict[str, Any]:  # Any: each part has its type.
        """Return what is given, by part."""
        return {name: getattr(self, name) for name in self.model_fields_set}

    @property
    def address(self) -> RedisAddress | None:
        """Put the parts together; None when no place is given."""
        tls = RedisTLS(
            ca_file=self.ssl_ca_certs,
            certificate_file=self.ssl_certfile,
            key_file=self.ssl_keyfile,
            trust=self.ssl_cert_reqs,
            checks_host=self.ssl_check_hostname,
        )
        if self.url is not None:
            address = parse_redis_url(self.url)
            written = {name: value for name in RedisTLS.__slots__ if (value := getattr(address.tls, name)) is not None}
            return replace(address, tls=replace(tls, **written))
        shared = RedisAddress(db=self.db, username=self.username, password=self.password, ssl=bool(self.ssl), tls=tls)
        if self.startup_nodes:
            return replace(shared, nodes=tuple((node.host, node.port) for node in self.startup_nodes))
        if self.sentinel_nodes:
            return replace(
                shared,
                sentinels=tuple((node.host, node.port) for node in self.sentinel_nodes),
                service_name=self.service_name or "",
                sentinel_username=self.sentinel_username,
                sentinel_password=self.sentinel_password,
            )
        return None if self.host is None else replace(shared, host=self.host, port=self.port)

    def contradictions(self) -> Iterator[Remark]:
        """Find parts that can't all be meant."""
        place, address = self.place, self.address
        if place is None or address is None:
            return
        for other in ("startup_nodes", "sentinel_nodes"):
            if other != place and getattr(self, other):
                text = f"names a Redis by {PLACES[other]}, and there is {PLACES[place]} beside it: give one of them"
                yield Remark(other, text)
        if place == "sentinel_nodes" and not self.service_name:
            yield Remark(
                "sentinel_nodes",
                "needs what the sentinels call the master: set service_name (REDIS_SERVICE_NAME) beside it",
            )
        if place == "startup_nodes" and self.db:
            yield Remark("db", "a cluster has database 0 only: leave this out")
        yield from self._contradictions_of_tls(address)

    def _contradictions_of_tls(self, address: RedisAddress) -> Iterator[Remark]:
        tls = address.tls
        if self.ssl and not address.ssl:
            yield Remark("ssl", "asks for TLS, and the URL is without: write rediss://")
        elif not address.ssl:
            for name in _TLS_FILES:
                if getattr(self, name):
                    yield Remark(name, "is for TLS, which is off: set ssl (or write rediss://), or leave this out")
        elif tls.key_file and not tls.certificate_file:
            yield Remark("ssl_keyfile", "is the key of a certificate that is not given: set ssl_certfile")
        elif tls.trust == "none" and tls.checks_host:
            text = "asks for a check of the host, and ssl_cert_reqs 'none' for none: leave one of them out"
            yield Remark("ssl_check_hostname", text)
        elif problem := tls.problem():
            of_authority = tls.ca_file is not None and problem.startswith("there is no certificate of an authority")
            yield Remark("ssl_ca_certs" if of_authority else "ssl_certfile", problem)

    def unused(self) -> Iterator[Remark]:
        """Find parts that are given and change nothing."""
        place, address = self.place, self.address
        if place is None or address is None:
            for name in sorted(self.model_fields_set - {"namespace"}):
                yield Remark(name, "not used: it does not say where a Redis is")
            return
        beside: tuple[str, ...] = ()
        if place == "url":
            beside = ("host", "port", "db", *_OF_THE_SERVER, *_OF_SENTINELS)
        elif place == "startup_nodes":
            beside = ("host", "port", *_OF_SENTINELS)
        elif place == "sentinel_nodes":
            beside = ("host", "port")
        else:
            beside = _OF_SENTINELS
        for name in beside:
            if name in self.model_fields_set:
                yield Remark(name, f"not used beside {PLACES[place]}")
        for name in _TLS_WAYS:
            if name in self.model_fields_set and not address.ssl:
                yield Remark(name, "not used without TLS")
        if address.ssl and address.tls.trust == "none" and self.ssl_ca_certs:
            yield Remark("ssl_ca_certs", "not used: by ssl_cert_reqs 'none' every certificate is good")
        if self.url is not None and (options := unread_options(self.url)):
            yield Remark("url", f"these options in it are not used: {', '.join(options)}")
