"""The counters of rate limits in Redis: one script does a batch in one step."""

from __future__ import annotations

from typing import Final

import msgspec

from tallystick.access.rates.quota import Quota
from tallystick.access.rates.shared import HEARTBEAT_SECONDS
from tallystick.access.rates.sliding_window import slice_ms_of
from tallystick.access.rates.store import Batch, TakeReply
from tallystick.stores.redis.connection import Client, close
from tallystick.stores.redis.script import Script, script_text

SCRIPT: Final = script_text("rates")
SLOT_SECONDS: Final = 3 * HEARTBEAT_SECONDS
"""How long the slot of a running call lasts when nobody renews it, because its instance died."""


class _Reply(msgspec.Struct, array_like=True, frozen=True):
    granted: int
    at_ms: int
    used: tuple[int, ...]
    wait_ms: tuple[int, ...]


class RedisRateStore:
    """A `RateStore`, for one instance. Time is Redis's own.

    All keys have one hash tag, so that a cluster keeps them on one node: a call takes of all its quotas or of none.
    """

    def __init__(
        self,
        client: Client,
        *,
        where: str,
        key_prefix: str,
        holder: str,
        timeout_seconds: float,
        script: str = SCRIPT,
        slot_seconds: float = SLOT_SECONDS,
    ) -> None:
        """`holder` is the instance's own id, `where` what errors call the server; neither is secret."""
        self._client = client
        self._prefix = f"{{{key_prefix}}}:rates:"
        self._holder = holder
        self._script = Script(client, script, where=where, timeout_seconds=timeout_seconds)
        self._slot_ms = round(slot_seconds * 1000)

    async def apply(self, batch: Batch) -> tuple[TakeReply, ...]:
        """`RateStore`."""
        keys = _Keys(self._prefix, self._holder)
        payload = _ENCODER.encode(
            (
                [(keys.place(slot.quota), slot.call_id) for slot in batch.releases],
                [
                    (keys.place(quota), quota.window_ms, slice_ms_of(quota.window_ms), amount, taken_ms)
                    for quota, amount, taken_ms in batch.corrections
                ],
                [(keys.place(slot.quota), slot.call_id) for slot in batch.renewals],
                [
                    (
                        call_id,
                        [
                            (keys.place(quota), quota.window_ms, slice_ms_of(quota.window_ms), quota.limit, amount)
                            for quota, amount in zip(quotas, amounts, strict=True)
                        ],
                    )
                    for quotas, amounts, call_id in batch.takes
                ],
            )
        )
        answer = await self._script.run(keys.names, (batch.number, self._slot_ms, payload))
        return tuple(
            TakeReply(bool(each.granted), each.at_ms, each.used, each.wait_ms) for each in _DECODER.decode(answer)
        )

    async def close(self) -> None:
        """`RateStore`."""
        await close(self._client)


class _Keys:
    """The keys of one batch, and their places in it."""

    __slots__ = ("_places", "_prefix", "names")

    def __init__(self, prefix: str, holder: str) -> None:
        self._prefix = prefix
        self.names = [f"{prefix}last:{holder}"]
        self._places: dict[str, int] = {}

    def place(self, quota: Quota) -> int:
        """Return where in KEYS the counter of a quota is, counted from 1."""
        place = self._places.get(quota.key)
        if place is None:
            self.names.append(self._prefix + quota.key)
            place = self._places[quota.key] = len(self.names)
        return place


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[_Reply])
