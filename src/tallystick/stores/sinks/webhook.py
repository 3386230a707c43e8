"""The webhook: batches of events as JSON, in the order of their numbers, signed."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from tallystick.errors import SinkRefused
from tallystick.ledger.sinks.shapes import SHAPES, EventFormat, encode_json, in_turns
from tallystick.ledger.sinks.sink import NumberedEvent, Parcel
from tallystick.stores.sinks.asking import Asker, unavailable

SIGNATURE_HEADER: Final = "x-tallystick-signature"
TIMESTAMP_HEADER: Final = "x-tallystick-timestamp"
KEY_HEADER: Final = "idempotency-key"
_REFUSALS: Final = frozenset({400, 413, 422})


class Webhook:
    """A `Sink`. Any 2xx means that the batch was taken; redirects are not followed."""

    kind = "webhook"
    wants_starts = False

    def __init__(
        self,
        asker: Asker,
        *,
        name: str,
        url: str,
        secret: str | None,
        headers: Mapping[str, str],
        event_format: EventFormat,
        now: Callable[[], datetime],
    ) -> None:
        self._asker = asker
        self._name = name
        self._url = url
        self._secret = None if secret is None else secret.encode()
        self._headers = dict(headers)
        self._shape = SHAPES[event_format]
        self._now = now

    async def send(self, parcel: Parcel) -> None:
        """`Sink`."""
        if not parcel.events:
            return
        events = await in_turns(self._encoded, parcel.events)
        body = encode_json({"sink": self._name, "events": events})
        key = hashlib.sha256(body).hexdigest()
        headers = {**self._headers, KEY_HEADER: key, **self._signed(body)}
        answer = await self._asker.ask("POST", self._url, headers, body)
        if 200 <= answer.status < 300:
            return
        if answer.status in _REFUSALS:
            raise SinkRefused(f"it answered with status {answer.status}")
        raise unavailable(answer)

    async def missing(self, events: Sequence[NumberedEvent]) -> Sequence[NumberedEvent]:
        """`Sink`: only its receiver knows."""
        return events

    async def aclose(self) -> None:
        """Nothing of its own."""

    def _encoded(self, numbered: NumberedEvent) -> msgspec.Raw:
        return msgspec.Raw(encode_json(self._shape(numbered)))

    def _signed(self, body: bytes) -> dict[str, str]:
        """Return the time and the signature over time and body, so that nothing old passes for new."""
        timestamp = str(int(self._now().timestamp()))
        if self._secret is None:
            return {TIMESTAMP_HEADER: timestamp}
        return {TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: sign(self._secret, timestamp, body)}


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return the signature: HMAC-SHA256 of `<timestamp>.<body>`."""
    return "v1=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
