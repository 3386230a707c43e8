"""Spend events as rows of `spend_events`, and back."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import msgspec

from tallystick.ledger.event import Attempt, SpendEvent
from tallystick.ledger.store import CommittedEvent
from tallystick.stores.sqlite.moments import microseconds, moment_of
from tallystick.stores.sqlite.transactions import Row
from tallystick.wire.usage import Usage

USAGE_FIELDS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
TEXT_FIELDS = (
    "call_type",
    "endpoint",
    "status",
    "error_code",
    "error_class",
    "error_message",
    "key_hash",
    "key_alias",
    "user_id",
    "team_id",
    "organization_id",
    "end_user_id",
    "session_id",
    "model_group",
    "model",
    "deployment_id",
    "provider",
    "api_base",
    "tool",
    "usage_source",
    "cost_status",
    "price_version",
    "provider_response_id",
    "requester_ip",
    "user_agent",
    "body_ref",
)
_OTHER_USAGE_FIELDS = tuple(name for name in Usage.__struct_fields__ if name not in USAGE_FIELDS)
_NO_OTHER_USAGE = (None,) * len(_OTHER_USAGE_FIELDS)
_usage_of = attrgetter(*USAGE_FIELDS)
_other_usage_of = attrgetter(*_OTHER_USAGE_FIELDS)
_texts_of = attrgetter(*TEXT_FIELDS)

_encode = msgspec.json.Encoder().encode
_decode_tags = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_attempts = msgspec.json.Decoder(tuple[Attempt, ...]).decode
_decode_usage = msgspec.json.Decoder(dict[str, int]).decode
_decode_breakdown = msgspec.json.Decoder(dict[str, int]).decode
_decode_metadata = msgspec.json.Decoder(dict[str, Any]).decode  # Any: the caller's own JSON.


def event_row(event: SpendEvent, *, producer_no: int, seq: int) -> Row:
    """Return the values of `add_events`, in its order."""
    usage = event.usage
    other_usage = _other_usage_of(usage)
    return (
        microseconds(event.started_at),
        event.event_id,
        producer_no,
        seq,
        microseconds(event.ended_at),
        None if event.first_token_at is None else microseconds(event.first_token_at),
        *_usage_of(usage),
        event.cost_nano_usd,
        1 if event.cache_hit else 0,
        *_texts_of(event),
        _json(event.tags) if event.tags else None,
        _json(event.attempts) if event.attempts else None,
        None if other_usage == _NO_OTHER_USAGE else _json(_reported(other_usage)),
        _json(event.cost_breakdown) if event.cost_breakdown else None,
        _json(event.metadata) if event.metadata else None,
    )


def committed_event(row: Row) -> CommittedEvent:
    """Return the event of a row of `events_after` and its siblings."""
    producer_id, position, event_time, event_id, seq, ended_at, first_token_at = row[:7]
    texts = 14 + len(TEXT_FIELDS)
    tags, attempts, other_usage, breakdown, metadata = row[texts:]
    usage = dict(zip(USAGE_FIELDS, row[7:12], strict=True))
    if other_usage is not None:
        usage |= _decode_usage(other_usage)
    event = SpendEvent(
        event_id=event_id,
        started_at=moment_of(event_time),
        ended_at=moment_of(ended_at),
        first_token_at=None if first_token_at is None else moment_of(first_token_at),
        usage=Usage(**usage),
        cost_nano_usd=row[12],
        cache_hit=bool(row[13]),
        tags=() if tags is None else _decode_tags(tags),
        attempts=() if attempts is None else _decode_attempts(attempts),
        cost_breakdown={} if breakdown is None else _decode_breakdown(breakdown),
        metadata={} if metadata is None else _decode_metadata(metadata),
        **dict(zip(TEXT_FIELDS, row[14:texts], strict=True)),
    )
    return CommittedEvent(event=event, producer_id=producer_id, seq=seq, cursor=f"{position}:{seq}")


def _json(value: object) -> str:
    return _encode(value).decode()


def _reported(other_usage: tuple[int | None, ...]) -> dict[str, int]:
    pairs = zip(_OTHER_USAGE_FIELDS, other_usage, strict=True)
    return {name: quantity for name, quantity in pairs if quantity is not None}
