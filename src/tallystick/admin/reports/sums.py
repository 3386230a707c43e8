"""Sums of activity: counters added up as integers, shown as LiteLLM's metrics."""

from __future__ import annotations

from typing import Any, Final

from tallystick.admin.limits import usd
from tallystick.ledger.store import SumRow

_ADDED: Final = (
    "requests",
    "successful_requests",
    "failed_requests",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cost_nano_usd",
)


class Sums:
    """Counters that grow by rows."""

    __slots__ = _ADDED

    requests: int
    successful_requests: int
    failed_requests: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cost_nano_usd: int

    def __init__(self) -> None:
        for name in _ADDED:
            setattr(self, name, 0)

    def add(self, row: SumRow) -> None:
        """Count a row."""
        self.requests += row.requests
        self.successful_requests += row.successful_requests
        self.failed_requests += row.failed_requests
        self.input_tokens += row.input_tokens
        self.output_tokens += row.output_tokens
        self.cache_read_tokens += row.cache_read_tokens
        self.cache_write_tokens += row.cache_write_tokens
        self.cost_nano_usd += row.cost_nano_usd

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def metrics(self) -> dict[str, Any]:  # Any: JSON.
        """Return the metrics of a day or of one part of it."""
        return {
            "spend": usd(self.cost_nano_usd),
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "cache_read_input_tokens": self.cache_read_tokens,
            "cache_creation_input_tokens": self.cache_write_tokens,
            "total_tokens": self.tokens,
            "successful_requests": self.successful_requests,
            "failed_requests": self.failed_requests,
            "api_requests": self.requests,
        }

    def totals(self) -> dict[str, Any]:  # Any: JSON.
        """Return the same as `metadata` names it."""
        return {f"total_{name.removeprefix('total_')}": value for name, value in self.metrics().items()}
