"""Settings of pass-through endpoints: addresses that callers reach by a path of the gateway."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from tallystick.config.places import Given
from tallystick.config.record import Frozen, Seconds

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
METHODS: Final[tuple[Method, ...]] = ("GET", "POST", "PUT", "PATCH", "DELETE")
RESERVED: Final = frozenset(
    {"access_group", "active", "audit", "budget", "cache", "callbacks", "config", "credentials", "customer", "docs",
     "end_user", "get", "global", "health", "key", "ledger", "metrics", "model", "model_group", "openapi.json",
     "organization", "provider", "routes", "spend", "tag", "team", "ui", "user"}
)  # fmt: skip
"""First parts of paths that are the gateway's own."""
_SHARED: Final = re.compile(r"/(?:v\d[a-z0-9]*)?")
"""Paths below which the gateway has paths of its own, beside which there is room."""
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


class PassThroughEntry(Frozen):
    """An endpoint, as in an entry of `pass_through_endpoints`."""

    path: Annotated[str, Field(max_length=256)]
    target: Annotated[str, Field(max_length=2048)]
    id: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    headers: Mapping[str, str] = Field(default={}, repr=False)
    """Sent with each request; a value may hold a reference."""
    default_query_params: Mapping[str, str] = Field(default={}, repr=False)
    """Put into each request's query; a caller can't replace them."""
    auth: bool = True
    """Whether callers need a virtual key."""
    cost_per_request: Annotated[Decimal, Field(ge=0, le=1_000_000)] | None = None
    """USD. None: the price is unknown."""
    methods: Annotated[tuple[Method, ...], Field(min_length=1)] | None = None
    """None: all of them."""
    include_subpath: bool = False
    """Whether paths below this one are passed too."""
    forward_headers: bool = False
    """Whether the caller's headers are sent on, but for those that say who calls."""
    timeout: Seconds | None = None
    """None: as for models."""

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        path = path.rstrip("/")
        if not _PATH.fullmatch(path) or any(part in (".", "..") for part in path.split("/")):
            raise ValueError("it must be a path such as /my-service, of letters, digits, '.', '_', '~' and '-'")
        if path.split("/")[1] in RESERVED or _SHARED.fullmatch(path):
            raise ValueError(f"the gateway has paths of its own below {path}")
        return path

    @field_validator("target")
    @classmethod
    def _check_target(cls, target: str) -> str:
        target = target.strip()
        try:
            parts = urlsplit(target)
            has_host = bool(parts.hostname) and parts.port != 0
        except ValueError:
            has_host = False
        if not has_host or parts.scheme not in ("http", "https") or parts.fragment or "@" in parts.netloc:
            raise ValueError("it must be an address such as https://host/path, without a login (put it into headers)")
        return target

    @field_validator("headers", "default_query_params", mode="before")
    @classmethod
    def _as_texts(cls, value: Any) -> Any:  # Any: not yet checked.
        """Take numbers and truth values as they are written in YAML."""
        if not isinstance(value, Mapping):
            return value
        return {name: str(item) if isinstance(item, int | float) else item for name, item in value.items()}


class PassThroughSettings(Frozen):
    """Pass-through endpoints."""

    endpoints: Annotated[
        tuple[PassThroughEntry, ...],
        Given(
            name="pass_through_endpoints",
            description="Addresses that callers reach by a path of the gateway: see "
            "[Pass calls through](../how-to/pass-through.md). More of them may be in the database.",
            in_environment=False,
        ),
    ] = ()
    allow_private_targets: Annotated[
        bool,
        Given(
            name="allow_private_pass_through_targets",
            description="Whether the targets of pass-through endpoints may be private, loopback or link-local "
            "addresses, such as a service in the same network. Addresses of models always may.",
        ),
    ] = False
