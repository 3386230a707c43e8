"""Leaderships in Redis."""

from __future__ import annotations

from tallystick.runtime.leadership import Standing
from tallystick.stores.redis.connection import Client
from tallystick.stores.redis.script import Script, script_text


class RedisLeaderships:
    """A `LeadershipStore`. A leader's key lapses by itself; terms begin anew where Redis has lost everything."""

    def __init__(self, client: Client, *, where: str, key_prefix: str, timeout_seconds: float) -> None:
        self._prefix = f"{{{key_prefix}}}:leader:"
        self._take = Script(client, script_text("take_leadership"), where=where, timeout_seconds=timeout_seconds)
        self._give_up = Script(client, script_text("give_up_leadership"), where=where, timeout_seconds=timeout_seconds)

    async def take(self, name: str, holder: str, *, seconds: float) -> Standing:
        """`LeadershipStore`."""
        keys = (self._prefix + name, f"{self._prefix}{name}:term")
        leader, term = await self._take.run(keys, (holder, round(seconds * 1000)))
        return Standing(holder=leader.decode(), term=term)

    async def give_up(self, name: str, holder: str) -> None:
        """`LeadershipStore`."""
        await self._give_up.run((self._prefix + name,), (holder,))
