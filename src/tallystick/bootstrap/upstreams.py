"""What reaches out to upstreams: connections, providers, and what is passed through."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.bootstrap.aws import load_aws_signer
from tallystick.bootstrap.google_tokens import GoogleTokensWhenNeeded
from tallystick.bootstrap.libraries import LibrariesWhenNeeded
from tallystick.config.settings import Settings, UpstreamSettings
from tallystick.providers.passing import Passing
from tallystick.providers.public_address import is_public
from tallystick.providers.registry import build_providers
from tallystick.providers.transport import Transport
from tallystick.runtime.clock import Clock
from tallystick.runtime.ids import new_event_id


class Upstreams:
    """The connections of one worker. What a provider needs beyond them is loaded by the first call that needs it."""

    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        self.transport = _transport(settings.upstream)
        self._guarded_transport = _transport(
            settings.upstream, may_dial=None if settings.pass_through.allow_private_targets else is_public
        )
        """To addresses that are no model's."""
        self._google_tokens = GoogleTokensWhenNeeded(clock=clock)
        self._libraries = LibrariesWhenNeeded()
        self.providers = build_providers(
            self.transport,
            new_id=lambda: new_event_id(clock.now()),
            now_seconds=lambda: int(clock.now().timestamp()),
            load_aws_signer=load_aws_signer,
            google_tokens=self._google_tokens,
            libraries=self._libraries,
        )
        self.passing = Passing(
            self.transport, self._guarded_transport, tokens=self._google_tokens, load_signer=load_aws_signer
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._google_tokens.aclose()
        await self._libraries.aclose()
        await self.transport.aclose()
        await self._guarded_transport.aclose()


def _transport(settings: UpstreamSettings, *, may_dial: Callable[[str], bool] | None = None) -> Transport:
    return Transport(
        may_dial=may_dial,
        connections_max=settings.connections_max,
        connections_per_host_max=settings.connections_per_host_max,
        keep_alive_seconds=settings.keepalive_seconds,
        connect_timeout_seconds=settings.connect_timeout_seconds,
    )
