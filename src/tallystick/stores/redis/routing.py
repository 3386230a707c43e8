"""What instances tell each other of deployments, in Redis: one script tells and reads in one step."""

from __future__ import annotations

from typing import Final

import msgspec

from tallystick.routing.store import Seen
from tallystick.routing.tracker import Changes, Use
from tallystick.stores.redis.connection import Client, close
from tallystick.stores.redis.script import Script, script_text

SCRIPT: Final = script_text("routing")


class RedisRoutingStore:
    """A `RoutingStore`. Time is Redis's own. All keys have one hash tag, so that a cluster keeps them on one node."""

    def __init__(self, client: Client, *, where: str, key_prefix: str, timeout_seconds: float) -> None:
        """`where` is what errors call the server; it is not secret."""
        self._client = client
        prefix = f"{{{key_prefix}}}:routing:"
        self._keys = (prefix + "cooldowns", prefix + "use")
        self._script = Script(client, SCRIPT, where=where, timeout_seconds=timeout_seconds)

    async def exchange(self, changes: Changes) -> Seen:
        """`RoutingStore`."""
        uses = [(name, use.requests, use.tokens) for name, use in changes.uses.items()]
        cooldowns = [(name, round(seconds * 1000)) for name, seconds in changes.cooldowns.items()]
        answer = await self._script.run(self._keys, (_ENCODER.encode((uses, cooldowns)),))
        used, cooling = _DECODER.decode(answer)
        return Seen(
            {name: Use(requests, tokens) for name, requests, tokens in used},
            {name: milliseconds / 1000 for name, milliseconds in cooling},
        )

    async def close(self) -> None:
        """`RoutingStore`."""
        await close(self._client)


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(tuple[list[tuple[str, int, int]], list[tuple[str, float]]])
