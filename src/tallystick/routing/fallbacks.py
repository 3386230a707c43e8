"""Which model groups a call falls back to, by group and by what failed: the caller's list goes before the settings'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tallystick.config.routing_settings import EVERY_GROUP, RoutingSettings
from tallystick.routing.failure import FailureKind
from tallystick.wire.call_options import CallOptions

_NONE: Final[Mapping[str, Sequence[str]]] = {}


def fallbacks_of(group: str, kind: FailureKind, options: CallOptions, settings: RoutingSettings) -> Sequence[str]:
    """Return the groups to try, in order, when `group` has failed in this way.

    A failure that has fallbacks of its own goes by those; every other goes by `fallbacks`.
    """
    if options.disables_fallbacks:
        return ()
    special: tuple[Mapping[str, Sequence[str]], ...] = ()
    if kind is FailureKind.CONTEXT_WINDOW:
        special = (options.context_window_fallbacks or _NONE, settings.context_window_fallbacks)
    elif kind is FailureKind.CONTENT_POLICY:
        special = (options.content_policy_fallbacks or _NONE, settings.content_policy_fallbacks)
    for groups in (*special, options.fallbacks or _NONE, settings.fallbacks):
        found = groups.get(group) or _without_provider(group, groups) or groups.get(EVERY_GROUP)
        if found:
            return found
    return settings.default_fallbacks


def _without_provider(group: str, groups: Mapping[str, Sequence[str]]) -> Sequence[str] | None:
    """`openai/gpt-4o`, asked of a wildcard group, has the fallbacks of `gpt-4o`."""
    provider, slash, name = group.partition("/")
    return groups.get(name) if slash and provider else None
