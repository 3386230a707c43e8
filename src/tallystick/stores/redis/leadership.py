"""Leaderships in Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tallystick.runtime.leadership import Standing
from tallystick.stores.redis.connection import Client
from tallystick.stores.redis.script import Script, script_text


class RedisLeaderships:
    """A `LeadershipStore`. A leader's key lapses by itself; terms begin anew where Redis has lost everything.

    Keys carry the id of the ledger, as those of the buffer do: each has a leader of its own.
    """

    def __init__(
        self,
        client: Client,
        *,
        ledger_id: Callable[[], Awaitable[str]],
        where: str,
        key_prefix: str,
        timeout_seconds: float,
    ) -> None:
        self._ledger_id = ledger_id
        self._key_prefix = key_prefix
        self._prefix = ""
        self._take = Script(client, script_text("take_leadership"), where=where, timeout_seconds=timeout_seconds)
        self._give_up = Script(client, script_text("give_up_leadership"), where=where, timeout_seconds=timeout_seconds)

    async def take(self, name: str, holder: str, *, seconds: float) -> Standing:
        """`LeadershipStore`."""
        key = await self._key(name)
        keys = (key, f"{key}:term")
        leader, term = await self._take.run(keys, (holder, round(seconds * 1000)))
        return Standing(holder=leader.decode(), term=term)

    async def give_up(self, name: str, holder: str) -> None:
        """`LeadershipStore`."""
        await self._give_up.run((await self._key(name),), (holder,))

    async def _key(self, name: str) -> str:
        if not self._prefix:
            self._prefix = f"{{{self._key_prefix}}}:leader:{await self._ledger_id()}:"
        return self._prefix + name
