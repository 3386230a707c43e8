"""How events are written for sinks: with their own fields, or with LiteLLM's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from tallystick.ledger.sinks.sink import NumberedEvent
from tallystick.ledger.standard_payload import standard_payload

Shape = Callable[[NumberedEvent], dict[str, Any]]  # Any: JSON.
EventFormat = Literal["event", "standard"]

encode_json: Final = msgspec.json.Encoder().encode


def own_fields(numbered: NumberedEvent) -> dict[str, Any]:  # Any: JSON.
    """Return every field of an event, by its own name; money stays integer nano-USD."""
    event = numbered.event
    return {
        **{name: getattr(event, name) for name in event.__struct_fields__},
        "producer_id": numbered.producer_id,
        "seq": numbered.seq,
    }


def standard_fields(numbered: NumberedEvent) -> dict[str, Any]:  # Any: JSON.
    """Return LiteLLM's standard logging payload, with the event's own fields beside it under `tallystick`."""
    return {**standard_payload(numbered.event), "tallystick": own_fields(numbered)}


SHAPES: Final[dict[EventFormat, Shape]] = {"event": own_fields, "standard": standard_fields}
