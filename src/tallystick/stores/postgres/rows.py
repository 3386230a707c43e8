"""Spend events as rows of spend_events, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import asyncpg
import msgspec

from tallystick.ledger.event import Attempt, SpendEvent
from tallystick.ledger.store import CommittedEvent
from tallystick.wire.usage import Usage

Record = tuple[Any, ...]  # Any: a row of many types, in the order of EVENT_COLUMNS.

EVENT_COLUMNS = (
    "event_time",
    "event_id",
    "seq",
    "producer_no",
    "cache_hit",
    "ended_at",
    "first_token_at",
    "cost_nano_usd",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
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
    "tags",
    "attempts",
    "cost_breakdown",
    "metadata",
    "usage_other",
)

# Fields of the event that are columns of the same name and type.
_PLAIN_FIELDS = tuple(
    name
    for name in EVENT_COLUMNS
    if name in SpendEvent.__struct_fields__
    and name not in {"event_id", "tags", "attempts", "cost_breakdown", "metadata"}
)
_USAGE_COLUMNS = tuple(name for name in EVENT_COLUMNS if name in Usage.__struct_fields__)


_encode = msgspec.json.Encoder().encode
_decode_attempts = msgspec.json.Decoder(tuple[Attempt, ...]).decode
_decode_breakdown = msgspec.json.Decoder(dict[str, int]).decode
_decode_metadata = msgspec.json.Decoder(dict[str, Any]).decode  # Any: the caller's own JSON object.
_decode_usage = msgspec.json.Decoder(dict[str, int]).decode


def records_of(producer_no: int, numbers: Iterable[int], events: Iterable[SpendEvent]) -> list[Record]:
    """Return the rows of numbered events, as COPY takes them."""
    return [
        (
            event.started_at,
            event.event_id,
            seq,
            producer_no,
            event.cache_hit,
            event.ended_at,
            event.first_token_at,
            event.cost_nano_usd,
            event.usage.input_tokens,
            event.usage.output_tokens,
            event.usage.cache_read_tokens,
            event.usage.cache_write_tokens,
            event.usage.reasoning_tokens,
            event.call_type,
            event.endpoint,
            event.status,
            event.error_code,
            event.error_class,
            event.error_message,
            event.key_hash,
            event.key_alias,
            event.user_id,
            event.team_id,
            event.organization_id,
            event.end_user_id,
            event.session_id,
            event.model_group,
            event.model,
            event.deployment_id,
            event.provider,
            event.api_base,
            event.tool,
            event.usage_source,
            event.cost_status,
            event.price_version,
            event.provider_response_id,
            event.requester_ip,
            event.user_agent,
            event.body_ref,
            event.tags,
            _encode(event.attempts).decode() if event.attempts else None,
            _encode(event.cost_breakdown).decode() if event.cost_breakdown else None,
            _encode(event.metadata).decode() if event.metadata else None,
            _other_usage(event.usage),
        )
        for seq, event in zip(numbers, events, strict=True)
    ]


def committed_event_of(row: asyncpg.Record) -> CommittedEvent:
    """Return the event of a row that has EVENT_COLUMNS, producer_id and position."""
    usage = {name: row[name] for name in _USAGE_COLUMNS}
    if row["usage_other"]:
        usage |= _decode_usage(row["usage_other"])
    event = SpendEvent(
        event_id=str(row["event_id"]),
        started_at=row["event_time"],
        usage=Usage(**usage),
        tags=tuple(row["tags"]),
        attempts=_decode_attempts(row["attempts"]) if row["attempts"] else (),
        cost_breakdown=_decode_breakdown(row["cost_breakdown"]) if row["cost_breakdown"] else {},
        metadata=_decode_metadata(row["metadata"]) if row["metadata"] else {},
        **{name: row[name] for name in _PLAIN_FIELDS},
    )
    return CommittedEvent(
        event=event,
        producer_id=row["producer_id"],
        seq=row["seq"],
        cursor=f"{row['position']}:{row['seq']}",
    )


def _other_usage(usage: Usage) -> str | None:
    """Return the kinds that have no column, as JSON; most calls have none."""
    if (
        usage.cache_write_1h_tokens is None
        and usage.audio_input_tokens is None
        and usage.audio_cache_read_tokens is None
        and usage.audio_output_tokens is None
        and usage.image_input_tokens is None
        and usage.image_output_tokens is None
        and usage.images is None
        and usage.milliseconds is None
        and usage.searches is None
        and usage.characters is None
        and usage.pixels is None
        and usage.file_searches is None
        and usage.code_sessions is None
    ):
        return None
    kinds = msgspec.structs.asdict(usage)
    return _encode(
        {name: value for name, value in kinds.items() if value is not None and name not in _USAGE_COLUMNS}
    ).decode()
