"""Which routes a key may use: what its own `allowed_routes` and `key_type` leave of what its role may."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Final

from tallystick.access.principal import Principal
from tallystick.errors import PermissionDenied


class RouteKind(StrEnum):
    """What a route is for."""

    CALL = "call"
    MODEL_LIST = "model_list"
    READ = "read"
    """A route of the admin API that changes nothing."""
    WRITE = "write"


_CALLS: Final = frozenset((RouteKind.CALL, RouteKind.MODEL_LIST))
_READS: Final = frozenset((RouteKind.MODEL_LIST, RouteKind.READ))

ROUTE_GROUPS: Final[Mapping[str, AbstractSet[RouteKind]]] = {
    "llm_api_routes": _CALLS,
    "openai_routes": _CALLS,
    "info_routes": _READS,
    "management_routes": _READS | {RouteKind.WRITE},
}
"""Names that `allowed_routes` may have beside paths."""

KEY_TYPES: Final[Mapping[str, AbstractSet[RouteKind]]] = {
    "": frozenset(RouteKind),
    "default": frozenset(RouteKind),
    "llm_api": _CALLS,
    "management": _READS | {RouteKind.WRITE},
    "read_only": _READS,
}
"""What a key of each type may use."""


def require_route(principal: Principal, kind: RouteKind, *paths: str) -> None:
    """Raise PermissionDenied when the key may not use a route, which is given by all of its spellings.

    Both `key_type` and `allowed_routes` must allow it; an empty list does not bound. An unknown type allows nothing.
    """
    if not principal.allowed_routes and not principal.key_type:
        return
    by_type = kind in KEY_TYPES.get(principal.key_type, ())
    listed = principal.allowed_routes
    if by_type and (not listed or any(_covers(entry, kind, paths) for entry in listed)):
        return
    only = ", ".join(listed[:10]) if by_type else f"those of the key type '{principal.key_type}'"
    raise PermissionDenied(
        f"Virtual key is not allowed to call this route. Only allowed to call routes: {only}. "
        f"Tried to call route: {paths[0][:256]}"
    )


def _covers(entry: str, kind: RouteKind, paths: tuple[str, ...]) -> bool:
    if entry in ROUTE_GROUPS:
        return kind in ROUTE_GROUPS[entry]
    if entry.endswith("/*"):
        return any(path.startswith(entry[:-1]) for path in paths)
    return entry == "*" or entry in paths
