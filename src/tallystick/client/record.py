"""Answers as they are handed out: the provider's JSON, to be read by attribute and by item."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from tallystick.ledger.event import SpendEvent

_NANO: Final = Decimal("1e-9")
# What the dialects leave out when there is nothing to say. Any other name that is absent is a mistake of whoever asks.
_MAY_BE_ABSENT: Final = frozenset((
    "annotations", "audio", "cache_creation_input_tokens", "cache_read_input_tokens", "citations",
    "completion_tokens_details", "content", "delta", "error", "finish_reason", "function_call", "id",
    "incomplete_details", "index", "input_tokens_details", "logprobs", "message", "model", "name",
    "output_tokens_details", "prompt_tokens_details", "reasoning", "reasoning_content", "refusal", "role",
    "service_tier", "stop_reason", "stop_sequence", "system_fingerprint", "text", "tool_calls", "usage",
))  # fmt: skip
_RecordT = TypeVar("_RecordT", bound="Record")


class Record(dict[str, Any]):  # Any: the provider's JSON.
    """A JSON object. `record.name` is `record["name"]`; where it is the name of a method of dict, ask by item."""

    def __getattr__(self, name: str) -> Any:  # Any: as above.
        try:
            return self[name]
        except KeyError:
            if name in _MAY_BE_ABSENT:
                return None
            raise AttributeError(f"This part of the answer has no '{name}'; it has {', '.join(self)}.") from None

    def model_dump(self) -> dict[str, Any]:  # Any: as above.
        """Return plain dicts and lists."""
        plain: dict[str, Any] = json.loads(msgspec.json.encode(self))  # Any: as above.
        return plain

    def model_dump_json(self) -> str:
        """Return it as JSON."""
        return msgspec.json.encode(self).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the ledger has of the call that an answer came from."""

    event_id: str
    status: str
    """`success`, `failure` or `interrupted`; `running` while a provider goes on in the background."""
    cost_nano_usd: int
    cost_status: str
    """`priced`, `reported`, `free`, or `unpriced` where the price is not known and the cost counts as 0."""
    model_group: str
    model: str
    provider: str
    deployment_id: str
    cache_hit: bool

    @property
    def cost_usd(self) -> Decimal:
        """The cost in US dollars, exactly."""
        return self.cost_nano_usd * _NANO if self.cost_nano_usd else Decimal(0)


class Answer(Record):
    """A whole answer. `tallystick` tells what it cost and which event records it."""

    tallystick: Recorded

    @property
    def output_text(self) -> str:
        """The text of an answer of the Responses API."""
        parts = (part for item in self.get("output", ()) for part in item.get("content") or ())
        return "".join(part["text"] for part in parts if part.get("type") == "output_text")


def read_record(data: bytes, kind: Callable[[], _RecordT]) -> _RecordT:
    """Return what a JSON object says. Raises ValueError when it is none."""
    try:
        decoded = msgspec.json.decode(data)
    except RecursionError as error:
        raise ValueError("The answer is nested too deeply.") from error
    if not isinstance(decoded, dict):
        raise ValueError("The answer is no JSON object.")  # noqa: TRY004 - for callers it is one kind of wrong answer.
    record = kind()
    for name, value in decoded.items():
        record[name] = _as_records(value)
    return record


def recorded(event_id: str, event: SpendEvent | None) -> Recorded:
    """Return what is to be told of an event; None: there will be one."""
    if event is None:
        return Recorded(
            event_id=event_id,
            status="running",
            cost_nano_usd=0,
            cost_status="unpriced",
            model_group="",
            model="",
            provider="",
            deployment_id="",
            cache_hit=False,
        )
    return Recorded(
        event_id=event_id,
        status=event.status,
        cost_nano_usd=event.cost_nano_usd,
        cost_status=event.cost_status,
        model_group=event.model_group,
        model=event.model,
        provider=event.provider,
        deployment_id=event.deployment_id,
        cache_hit=event.cache_hit,
    )


def _as_records(value: Any) -> Any:  # Any: JSON.
    if isinstance(value, dict):
        return Record((name, _as_records(item)) for name, item in value.items())
    if isinstance(value, list):
        return [_as_records(item) for item in value]
    return value
