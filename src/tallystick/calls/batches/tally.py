"""What a batch has used and what that costs, answer by answer. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from tallystick.ledger.event import CostStatus, UsageSource
from tallystick.pricing.cost import price_usage
from tallystick.pricing.price import PriceSheet
from tallystick.wire.batch_lines import LineSplitter, read_output_line
from tallystick.wire.usage import Usage

_NO_USAGE: Final = Usage()
_STATUSES: Final[Mapping[str, CostStatus]] = {
    "priced": "priced",
    "unpriced": "unpriced",
    "reported": "reported",
    "free": "free",
}
_WORST_FIRST: Final = ("unpriced", "priced", "reported", "free")


class Bill(NamedTuple):
    """The sum over all answers."""

    usage: Usage
    usage_source: UsageSource
    cost_nano_usd: int
    cost_status: CostStatus
    breakdown: Mapping[str, int]
    price_version: str
    counts: Mapping[str, int]
    """Answers that succeeded and failed, and lines that could not be read."""


class Tally:
    """Reads the files that a batch has made, in chunks; prices each answer by itself, as live ones are."""

    def __init__(self, *, endpoint: str, sheet: PriceSheet | None) -> None:
        self._endpoint = endpoint
        self._sheet = sheet
        self._splitter = LineSplitter()
        self._sums: dict[str, int] = {}
        self._breakdown: dict[str, int] = {}
        self._statuses: set[str] = set()
        self._counts = {"succeeded": 0, "failed": 0, "unreadable": 0}
        self._has_estimates = False
        self._price_version = ""

    def feed(self, chunk: bytes) -> None:
        """Count the answers that are complete now."""
        for line in self._splitter.feed(chunk):
            self._count(line)

    def end_file(self) -> None:
        """The file is over; another one may follow."""
        for line in self._splitter.finish():
            self._count(line)

    def bill(self) -> Bill:
        """Return the sum."""
        self._counts["unreadable"] += self._splitter.oversized
        self._splitter.oversized = 0
        source: UsageSource = "none"
        if self._sums:
            source = "estimated" if self._has_estimates else "provider"
        if self._counts["unreadable"]:  # What they cost is not known.
            self._statuses.add("unpriced")
        status = next((each for each in _WORST_FIRST if each in self._statuses), "free")
        return Bill(
            usage=Usage(**self._sums) if self._sums else _NO_USAGE,
            usage_source=source,
            cost_nano_usd=sum(self._breakdown.values()),
            cost_status=_STATUSES[status],
            breakdown=self._breakdown,
            price_version=self._price_version,
            counts=self._counts,
        )

    def _count(self, raw: bytes) -> None:
        line = read_output_line(raw, self._endpoint)
        if line is None:
            self._counts["unreadable"] += 1
            return
        self._counts["failed" if line.is_failure else "succeeded"] += 1
        if line.usage is None:
            return
        self._has_estimates |= line.is_estimated
        cost = price_usage(line.usage, self._sheet, reported_nano_usd=line.reported_cost_nano_usd)
        self._statuses.add(cost.status)
        self._price_version = self._price_version or cost.price_version
        for name, quantity in msgspec.structs.asdict(line.usage).items():
            if quantity is not None:
                self._sums[name] = self._sums.get(name, 0) + quantity
        for unit, nano_usd in cost.breakdown.items():
            self._breakdown[unit] = self._breakdown.get(unit, 0) + nano_usd


def estimated(input_tokens: int, sheet: PriceSheet | None) -> Bill:
    """Return what is billed of a batch of which nobody can say what became: its input, as of any call cut short."""
    usage = Usage(input_tokens=input_tokens)
    cost = price_usage(usage, sheet)
    return Bill(
        usage, "estimated", cost.nano_usd, _STATUSES[cost.status], cost.breakdown, cost.price_version, counts={}
    )
