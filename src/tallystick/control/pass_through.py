"""What calls are passed through to: endpoints that admins made, and the APIs of providers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from tallystick.pricing.price import PriceSheet
from tallystick.providers.base import Target


class PassThroughEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An address that callers reach by a path of the gateway."""

    endpoint_id: str
    path: str
    target: Target
    price: PriceSheet | None
    """Of a request; None: unknown."""
    auth: bool
    methods: tuple[str, ...]
    include_subpath: bool
    forward_headers: bool

    def rest_of(self, path: str) -> str | None:
        """Return what of a path is below the endpoint's own, '' for that itself; None when it is another's."""
        if path == self.path:
            return ""
        below = self.include_subpath and path.startswith(self.path + "/")
        return path[len(self.path) + 1 :] if below else None


class FindPrice(Protocol):
    """Looks up what a provider charges for a model that no deployment has."""

    def __call__(self, provider: str, model: str) -> PriceSheet | None:
        """Return the price as it is now; None when nobody knows. May take long the first time."""


class PassThrough(msgspec.Struct, frozen=True, kw_only=True):
    """Of one snapshot."""

    endpoints: tuple[PassThroughEndpoint, ...]
    """Those with the longest paths come first."""
    accounts: Mapping[str, Target]
    """By provider: what is signed in with where no deployment is, from credentials and the environment."""
    find_price: FindPrice

    def find(self, path: str) -> tuple[PassThroughEndpoint, str] | None:
        """Return the endpoint that a path is of, and the rest of the path."""
        for endpoint in self.endpoints:
            rest = endpoint.rest_of(path)
            if rest is not None:
                return endpoint, rest
        return None


def _no_price(provider: str, model: str) -> PriceSheet | None:  # noqa: ARG001 - the shape of a FindPrice.
    return None


NO_PASS_THROUGH = PassThrough(endpoints=(), accounts={}, find_price=_no_price)
