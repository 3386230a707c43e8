"""How events are written for sinks: with their own fields, or with LiteLLM's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeVar

import msgspec

from tallystick.ledger.sinks.sink import NumberedEvent
from tallystick.ledger.standard_payload import standard_payload

T = TypeVar("T")
_SLICE: Final = 20

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


async def in_turns(shape: Callable[[NumberedEvent], T], events: Sequence[NumberedEvent]) -> list[T]:
    """Return what a function makes of each event; calls get their turn in between."""
    made: list[T] = []
    for index, numbered in enumerate(events):
        if index % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)
        made.append(shape(numbered))
    return made


SHAPES: Final[dict[EventFormat, Shape]] = {"event": own_fields, "standard": standard_fields}
