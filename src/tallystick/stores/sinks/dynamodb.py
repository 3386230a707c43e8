"""DynamoDB: one item for each call, whose key is the event's id, over the service's JSON protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tallystick.errors import SinkRefused, SinkUnavailable
from tallystick.ledger.sinks.shapes import encode_json, in_turns, own_fields
from tallystick.ledger.sinks.sink import NumberedEvent, Parcel
from tallystick.ledger.standard_payload import standard_payload
from tallystick.providers.transport import RawAnswer
from tallystick.stores.sinks.asking import Asker, unavailable

_ITEMS_MAX: Final = 25
_TRIES: Final = 5
_PAUSE_SECONDS: Final = 0.05
_WORDS_MAX: Final = 200


class DynamoDB:
    """A `Sink`. Putting an item again replaces it by the same."""

    kind = "dynamodb"
    wants_starts = False

    def __init__(self, asker: Asker, *, url: str, table: str) -> None:
        self._asker = asker
        self._url = url
        self._table = table

    async def send(self, parcel: Parcel) -> None:
        """`Sink`."""
        items = await in_turns(_item, parcel.events)
        for first in range(0, len(items), _ITEMS_MAX):
            await self._put(items[first : first + _ITEMS_MAX])

    async def missing(self, events: Sequence[NumberedEvent]) -> Sequence[NumberedEvent]:
        """`Sink`: an item that is there is put again, as it is."""
        return events

    async def aclose(self) -> None:
        """Nothing of its own."""

    async def create_table(self) -> bool:
        """Make the table, billed by request; False when there is one of this name. Raises SinkUnavailable."""
        wanted = {
            "TableName": self._table,
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "BillingMode": "PAY_PER_REQUEST",
        }
        answer = await self._ask("CreateTable", wanted)
        if answer.status == 200:
            return True
        if "ResourceInUseException" in _words_of(answer):
            return False
        raise unavailable(answer, _words_of(answer))

    async def _put(self, items: Sequence[dict[str, Any]]) -> None:  # Any: JSON.
        requests: dict[str, Any] = {self._table: [{"PutRequest": {"Item": item}} for item in items]}
        for number in range(_TRIES):
            if number:
                await asyncio.sleep(_PAUSE_SECONDS * 2**number)
            answer = await self._ask("BatchWriteItem", {"RequestItems": requests})
            requests = _unprocessed(answer)
            if not requests:
                return
        raise SinkUnavailable("it takes fewer items than are sent: its table is throttled")

    async def _ask(self, operation: str, content: dict[str, Any]) -> RawAnswer:  # Any: JSON.
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"DynamoDB_20120810.{operation}"}
        return await self._asker.ask("POST", self._url, headers, encode_json(content))


def _unprocessed(answer: RawAnswer) -> dict[str, Any]:  # Any: JSON.
    """Return what was not taken. Raises SinkUnavailable for an answer that does not say it."""
    words = _words_of(answer)
    if answer.status == 400 and words.startswith("ValidationException") and "size" in words.lower():
        raise SinkRefused(words)  # Of an item that is too large; whatever else is invalid may be the table.
    if answer.status != 200:
        raise unavailable(answer, words)
    try:
        told = msgspec.json.decode(answer.body)
    except msgspec.MsgspecError:
        told = None
    left = told.get("UnprocessedItems") if isinstance(told, dict) else None
    if not isinstance(left, dict):
        raise unavailable(answer, "not by DynamoDB, as it seems")
    return left


def _words_of(answer: RawAnswer) -> str:
    try:
        told = msgspec.json.decode(answer.body)
    except msgspec.MsgspecError:
        return ""
    if not isinstance(told, dict):
        return ""
    kind = str(told.get("__type", "")).rpartition("#")[2]
    return f"{kind} {told.get('message', told.get('Message', ''))}".strip()[:_WORDS_MAX]


def _item(numbered: NumberedEvent) -> dict[str, Any]:  # Any: JSON.
    """Return the item: LiteLLM's attributes as text, as there, and what one sums or filters by as numbers."""
    event = numbered.event
    payload = standard_payload(event)
    texts = {
        "id": event.event_id,
        "litellm_call_id": event.event_id,
        "provider_response_id": event.provider_response_id,
        "call_type": event.call_type,
        "startTime": event.started_at.isoformat(),
        "endTime": event.ended_at.isoformat(),
        "model": event.model,
        "model_group": event.model_group,
        "custom_llm_provider": event.provider,
        "user": event.user_id,
        "team_id": event.team_id,
        "organization_id": event.organization_id,
        "end_user": event.end_user_id,
        "api_key": event.key_hash,
        "status": str(payload["status"]),
        "error_str": event.error_message,
        "usage": encode_json(event.usage).decode(),
        "metadata": encode_json(payload["metadata"]).decode(),
        "event": encode_json(own_fields(numbered)).decode(),
    }
    numbers = {
        "cost_nano_usd": event.cost_nano_usd,
        "prompt_tokens": payload["prompt_tokens"],
        "completion_tokens": payload["completion_tokens"],
        "total_tokens": payload["total_tokens"],
    }
    return {
        **{name: {"S": text} for name, text in texts.items() if text},
        **{name: {"N": str(number)} for name, number in numbers.items()},
    }
