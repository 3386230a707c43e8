"""The table of providers, by the prefix that a Target carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tallystick.providers.base import Provider
from tallystick.providers.catalog import FAMILIES
from tallystick.providers.demo import Demo
from tallystick.providers.mock import Mock, Mockable
from tallystick.providers.openai_compatible import OpenAICompatible
from tallystick.providers.transport import Transport


def build_providers(
    transport: Transport, *, new_id: Callable[[], str], now_seconds: Callable[[], int]
) -> Mapping[str, Provider]:
    """Return the provider of each prefix. All remote ones share one adapter and its connections."""
    mock = Mock(new_id=new_id, now_seconds=now_seconds)
    remote = Mockable(OpenAICompatible(transport), mock)
    providers: dict[str, Provider] = {name: remote for name, family in FAMILIES.items() if not family.is_local}
    providers["demo"] = Mockable(Demo(new_id=new_id, now_seconds=now_seconds), mock)
    providers["mock"] = mock
    return providers
