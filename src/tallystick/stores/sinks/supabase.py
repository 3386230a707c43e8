"""Supabase: one row for each call, written by PostgREST; a call that still runs has its row already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tallystick.errors import SinkRefused, SinkUnavailable
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.sinks.shapes import encode_json, in_turns, own_fields
from tallystick.ledger.sinks.sink import NumberedEvent, Parcel
from tallystick.ledger.standard_payload import standard_payload, status_of, usd
from tallystick.providers.transport import RawAnswer
from tallystick.stores.sinks.asking import Asker, unavailable

STARTED: Final = "initiated"
_CONFLICT: Final = "litellm_call_id"
_REFUSED_CLASSES: Final = ("22", "23")
"""SQLSTATE: the data is wrong, or breaks a constraint. All else is of the table or the service, and may be mended."""
_WORDS_MAX: Final = 200


class Supabase:
    """A `Sink`. The row of a call is found by `litellm_call_id`, so that a second one changes nothing."""

    kind = "supabase"

    def __init__(self, asker: Asker, *, url: str, rest_path: str, key: str, table: str, wants_starts: bool) -> None:
        self._asker = asker
        self._url = f"{url.rstrip('/')}{rest_path}/{table}?on_conflict={_CONFLICT}"
        self._headers = {"apikey": key, "authorization": f"Bearer {key}"}
        self.wants_starts = wants_starts

    async def send(self, parcel: Parcel) -> None:
        """`Sink`: a start never replaces what is there; an end replaces the start."""
        if parcel.starts:
            await self._insert([_start_row(event) for event in parcel.starts], "ignore-duplicates")
        if parcel.events:
            await self._insert(await in_turns(_encoded_row, parcel.events), "merge-duplicates")

    async def missing(self, events: Sequence[NumberedEvent]) -> Sequence[NumberedEvent]:
        """`Sink`: a row that is there is written again, as it is."""
        return events

    async def aclose(self) -> None:
        """Nothing of its own."""

    async def _insert(self, rows: Sequence[Any], resolution: str) -> None:  # Any: JSON.
        headers = {**self._headers, "prefer": f"resolution={resolution},return=minimal"}
        answer = await self._asker.ask("POST", self._url, headers, encode_json(rows))
        if answer.status in (200, 201, 204) and not answer.body.strip():
            return
        raise _failure_of(answer)


def _failure_of(answer: RawAnswer) -> SinkUnavailable | SinkRefused:
    if answer.status < 400:
        return unavailable(answer, "not by PostgREST, as it seems")
    try:
        told = msgspec.json.decode(answer.body)
    except msgspec.MsgspecError:
        told = None
    code, message = (str(told.get(name, "")) for name in ("code", "message")) if isinstance(told, dict) else ("", "")
    words = f"{code} {message}".strip()[:_WORDS_MAX]
    if len(code) == 5 and code.startswith(_REFUSED_CLASSES):
        return SinkRefused(words)
    return unavailable(answer, words or ("is there such a table?" if answer.status == 404 else ""))


def _start_row(intent: SpendEvent) -> dict[str, Any]:  # Any: JSON.
    return _row(intent, status=STARTED, response_time=None, total_cost=None, error=None, details={})


def _encoded_row(numbered: NumberedEvent) -> msgspec.Raw:
    return msgspec.Raw(encode_json(_end_row(numbered)))


def _end_row(numbered: NumberedEvent) -> dict[str, Any]:  # Any: JSON.
    event = numbered.event
    payload = standard_payload(event)
    return _row(
        event,
        status=status_of(event),
        response_time=payload["response_time"],
        total_cost=usd(event.cost_nano_usd),
        error=payload["error_information"],
        details={**payload, "tallystick": own_fields(numbered)},
    )


def _row(
    event: SpendEvent,
    *,
    status: str,
    response_time: float | None,
    total_cost: float | None,
    error: dict[str, str] | None,
    details: dict[str, Any],  # Any: JSON.
) -> dict[str, Any]:
    return {
        _CONFLICT: event.event_id,
        "created_at": event.started_at,
        "model": event.model or event.model_group,
        "end_user": event.end_user_id,
        "status": status,
        "response_time": response_time,
        "total_cost": total_cost,
        "error": error,
        "additional_details": details,
    }
